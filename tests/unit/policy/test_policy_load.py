"""What a policy may say, and how its mistakes are answered."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fixer.errors import VirtfixError
from fixer.policy import ids, schema, yamltext
from fixer.policy.load import load
from fixer.policy.model import ASSUMED_LEGACY, ASSUMED_MODERN

if TYPE_CHECKING:
    from fixer.policy.match import PolicySet

GUESTS = """\
format: 1
kind: guests
family: test
sources:
  db: osinfo-db
releases:
  - name: Test 6
    osinfo: [test6, test6.0..test6.10]
    interface: {value: legacy, source: db, confidence: confirmed}
    drivers:
      block, net: {value: yes, source: db, confidence: confirmed}
      scsi: {value: yes, since: 6.10, source: db, confidence: likely}
    quirks:
      - "q: inherited"
    notes:
      - of this release only
"""
SITE = "format: 1\nkind: site\nname: default\nweights: {override: 5}\nhotplug: [block]\n"


def guests(text: str = GUESTS) -> PolicySet:
    return load([("g.yaml", text.encode())])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("family: test", "famliy: test", 'p.yaml:3:1: unknown key "famliy"; did you mean "family"?'),
        (
            "    drivers:",
            "    driver:",
            'p.yaml:10:5: unknown key "driver" in releases[0]; did you mean "drivers"?',
        ),
        (
            "source: db, confidence: confirmed}\n    drivers",
            "sorce: db, confidence: confirmed}\n    drivers",
            'p.yaml:9:32: unknown key "sorce" in releases[0].interface; did you mean "source"?',
        ),
        (
            "value: legacy",
            "value: legcy",
            'p.yaml:9:24: "legcy" is no value of releases[0].interface.value; did you mean "legacy"?',
        ),
        (
            "block, net:",
            "blok, net:",
            'p.yaml:11:7: unknown key "blok" in releases[0].drivers; did you mean "block"?',
        ),
        ("kind: guests", "kind: guest", 'p.yaml:2:7: "guest" is no value of kind; did you mean "guests"?'),
        ("kind: guests", "knid: guests", 'p.yaml:1:1: missing key "kind"; did you mean "kind" by "knid"?'),
        ("format: 1\n", "", 'p.yaml:1:1: missing key "format"; add format: 1'),
        ("format: 1", "format: 2", 'p.yaml:1:9: "2" is no value of format; it is one of 1'),
        ("    osinfo: [test6, test6.0..test6.10]\n", "", 'p.yaml:7:5: missing key "osinfo" in releases[0]'),
        (
            "osinfo: [test6, test6.0..test6.10]",
            "osinfo: test6",
            "p.yaml:8:13: releases[0].osinfo wants a list",
        ),
        ("osinfo: [test6, test6.0..test6.10]", "osinfo: []", "p.yaml:8:13: releases[0].osinfo is empty"),
        ("name: Test 6", "name: 6", "p.yaml:7:11: releases[0].name wants text, got 6; quote it: '6'"),
        ("name: Test 6", "name: yes", "p.yaml:7:11: releases[0].name wants text, got yes; quote it"),
        ("name: Test 6", "name:", "p.yaml:7:10: releases[0].name has no value"),
        ("name: Test 6", "name: [a]", "p.yaml:7:11: releases[0].name wants text, got a list"),
        ("test6.10]", "rhel6.10]", 'p.yaml:8:21: "test6.0..rhel6.10" is no range of one family'),
        (
            "value: legacy,",
            "value: depends,",
            'p.yaml:9:16: missing key "condition" in releases[0].interface',
        ),
        (
            "value: legacy, source: db",
            "value: legacy, source: dbx",
            'unknown source "dbx"; did you mean "db"?',
        ),
        ("since: 6.10", "since: soon", 'p.yaml:12:33: "soon" is no version'),
        (
            "    interface: {value",
            "    like: test5\n    interface: {value",
            'p.yaml:9:11: no earlier release is "test5"',
        ),
        (
            "family: test",
            "family: test\nfamily: other",
            'p.yaml:4:1: the key "family" stands here twice; the first',
        ),
        ("    drivers:", "\tdrivers:", "p.yaml:10:1: a tab stands where YAML wants spaces"),
        ("confirmed}\n    drivers", "confirmed\n    drivers", "not YAML: did not find expected"),
        ("family: test", "family: !!python/name:os.system", "the tag"),
        ("family: test", "family: !x y", "the tag"),
        ("family: test", "family: &a test", 'p.yaml:3:9: the anchor "&a" is not allowed in a policy'),
        ("family: test", "family: *a", 'p.yaml:3:9: the alias "*a" is not allowed in a policy'),
        ("family: test", "? [a]\n: b\nfamily: test", "a key that is not text"),
        ("family: test", "family: te\x07st", "p.yaml:3: not YAML: control characters are not allowed"),
        ("kind: guests", "--- \nkind: guests", "a second document is not allowed"),
    ],
)
def test_guest_mistakes(old: str, new: str, message: str) -> None:
    """A mistake is answered with its place and the nearest right word, on one line."""
    assert old in GUESTS
    with pytest.raises(VirtfixError) as caught:
        load([("p.yaml", GUESTS.replace(old, new, 1).encode())])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("p.yaml:")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights", "wieghts", 'unknown key "wieghts"; did you mean "weights"?'),
        (
            "override: 5",
            "overide: 5",
            's.yaml:4:11: unknown key "overide" in weights; did you mean "override"?',
        ),
        ("override: 5", "override: cheap", 's.yaml:4:21: weights.override wants a whole number, got "cheap"'),
        ("override: 5", "override: -5", "s.yaml:4:21: weights.override is -5; it lies between 0 and 1000000"),
        ("override: 5", "override: 5.5", 'weights.override wants a whole number, got "5.5"'),
        ("override: 5", "override: '5'", 'weights.override wants a whole number, got "5"'),
        ("[block]", "[blocks]", 's.yaml:5:11: "blocks" is no value of hotplug[0]; did you mean "block"?'),
        ("[block]", "block", 's.yaml:5:10: hotplug wants a list ([a, b]), got "block"'),
        ("name: default", "strategy: bridges", 'did you mean "bridge"?'),
        (
            "name: default",
            "name: a\nextends: defualt",
            's.yaml:4:10: no profile "defualt"; did you mean "default"?',
        ),
    ],
)
def test_site_mistakes(old: str, new: str, message: str) -> None:
    assert old in SITE
    with pytest.raises(VirtfixError) as caught:
        load([("s.yaml", SITE.replace(old, new, 1).encode())])
    assert message in str(caught.value)


DEEP = b"[" * 5000
HOSTILE = {
    "empty": (b"", "the file is empty"),
    "comment only": (b"# nothing\n", "the file is empty"),
    "not a mapping": (b"- a\n- b\n", "h.yaml:1:1: a policy is a mapping"),
    "scalar": (b"hello", "a policy is a mapping"),
    "binary": (bytes(range(256)), "h.yaml:2: byte 0x80 is not UTF-8"),
    "latin-1": ("famille: é".encode("latin-1"), "h.yaml:1: byte 0xe9 is not UTF-8"),
    "utf-16": ("format: 1".encode("utf-16"), "not UTF-8"),
    "nul": (b"format: 1\nkind: \x00", "not YAML"),
    "deep flow": (DEEP, "nesting deeper than"),
    "deep block": (b"".join(b" " * n + b"a:\n" for n in range(400)), "nesting deeper than"),
    "deep dashes": (b"- " * 100_000, "nesting deeper than"),
    "many nodes": (b"a: [" + b"x," * 300_000 + b"]", "more than 100000 values"),
    "large": (b"#" * 50_000_000, "the file has more than 2000000 bytes"),
    "bomb": (b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "the anchor"),
    "merge": (b"a: &a {b: c}\nd: {<<: *a}\n", "the anchor"),
    "tag": (b"!!python/object/apply:os.system ['true']", "the tag"),
    "directive": (b"%TAG ! tag:x,2000:\n---\n!a b", "the tag"),
    "truncated": (GUESTS.encode()[:300], "h.yaml:"),
    "long key": (b"format: 1\nkind: site\n" + b"k" * 900 + b": 1\n", "h.yaml:3:1: unknown key"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("pure", [False, True], ids=["libyaml", "python"])
def test_hostile(case: str, pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile files cost little and get one printable line, with PyYAML's own parser as well."""
    if pure and case == "many nodes":
        pytest.skip("the Python parser needs seconds for it; the limit is the same")
    if pure:
        monkeypatch.setattr(yamltext, "_LOADER", yaml.SafeLoader)
    data, message = HOSTILE[case]
    began = time.perf_counter()
    with pytest.raises(VirtfixError) as caught:
        load([("h.yaml", data)])
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800
    assert time.perf_counter() - began < 5


def test_python_parser_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without libyaml the same values come out."""
    fast = guests().find("test6.4")
    monkeypatch.setattr(yamltext, "_LOADER", yaml.SafeLoader)
    assert guests().find("test6.4") == fast


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"---\n", b"# comment\n\n"])
def test_harmless_beginnings(prefix: bytes) -> None:
    assert load([("g.yaml", prefix + GUESTS.encode().replace(b"\n", b"\r\n"))]).find("test6") is not None


def test_unquoted_version_is_no_float() -> None:
    """since: 6.10 is the tenth minor release, not 6.1."""
    policies = guests()
    values = [policies.find(os_id) for os_id in ("test6.2", "test6.10", "test6")]
    assert [guest and guest.drives("scsi").value for guest in values] == ["no", "yes", "yes"]


OVERLAY = """\
format: 1
kind: guests
family: test
sources: {own: seen here}
releases:
  - name: ours
    osinfo: [test6.5]
    uri: ["http://corp.example/*/six"]
    like: test6.5
    legacy-only: yes
    drivers:
      net: {value: no, source: own, confidence: confirmed}
"""


def test_later_release_wins_and_inherits() -> None:
    policies = load([("g.yaml", GUESTS.encode()), ("o.yaml", OVERLAY.encode())])
    ours, theirs = policies.find("test6.5"), policies.find("test6.4")
    assert ours is not None
    assert theirs is not None
    assert (ours.name, ours.legacy_only, theirs.legacy_only) == ("ours", True, False)
    assert (ours.drives("net").value, ours.drives("net").where) == ("no", "o.yaml:12")
    assert (ours.drives("block").value, ours.drives("block").where) == ("yes", "g.yaml:11")
    assert (ours.quirks, ours.notes, theirs.notes) == (("q: inherited",), (), ("of this release only",))
    assert ours.sources == {"db": "osinfo-db", "own": "seen here"}
    by_uri = policies.find("http://corp.example/a/b/six")
    assert by_uri is not None
    assert (by_uri.name, by_uri.id) == ("ours", "test6.5")


def test_site_files_merge() -> None:
    """Same name: key by key. Another name: a profile upon the one it extends; the last is in force."""
    lab = b"format: 1\nkind: site\nname: lab\nextends: default\nstrategy: bridge\nio-windows: {uefi: 4}\n"
    more = b"format: 1\nkind: site\nforbid: [override]\nstrategy-by-kind: {scsi: bridge}\n"
    policies = load([("d.yaml", SITE.encode()), ("l.yaml", lab), ("m.yaml", more)])
    assert policies.profiles == ("default", "lab")
    assert policies.profile("default").weights["override"] == 5
    assert policies.profile("default").strategy is None
    site = policies.site
    assert (site.name, site.strategy, site.weights["override"], site.weights["bridge"]) == (
        "lab",
        "bridge",
        5,
        30,
    )
    assert site.io_windows == {"uefi": 4, "bios": 14}
    assert (site.hotplug, site.forbid) == (frozenset({"block"}), frozenset({"override"}))
    assert site.strategy_by_kind == {"scsi": "bridge"}
    with pytest.raises(VirtfixError, match='no site profile "x"; known: default, lab'):
        policies.profile("x")


def test_no_files() -> None:
    policies = load([])
    assert policies.find("rhel6") is None
    assert policies.site.weights["integrated"] == 10
    assert policies.near("rhel6") == ()


def test_assumptions() -> None:
    assert (ASSUMED_LEGACY.is_modern, ASSUMED_MODERN.is_modern) == (False, True)
    assert ASSUMED_LEGACY.drives("block").value == "unknown"
    assert (ASSUMED_LEGACY.interface.source, ASSUMED_LEGACY.interface.confidence) == ("--assume", "unknown")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("a6", ["a6"], ["a6.1", "a", "a66"]),
        ("a6.*", ["a6.0", "a6.x"], ["a6", "a7.6."]),
        ("a*c*e", ["ace", "abcde"], ["ac", "aec", "e"]),
        ("*6", ["a6", "6"], ["6a"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("a6.0..a6.10", ["a6.0", "a6.9", "a6.10"], ["a6", "a6.11", "b6.5", "a7.0"]),
        ("a24..", ["a24", "a99", "a24.1"], ["a23", "a", "ab24"]),
    ],
)
def test_patterns(text: str, inside: list[str], outside: list[str]) -> None:
    found = ids.pattern(text)
    assert found is not None
    assert [found.matches(os_id) for os_id in (*inside, *outside)] == [True] * len(inside) + [False] * len(
        outside
    )


@pytest.mark.parametrize("text", ["a..", "..a6", "a6..b7", "a7..a6", "a6..a", ".."])
def test_bad_ranges(text: str) -> None:
    assert ids.pattern(text) is None


KNOWN = {
    "$ref", "enum", "const", "type", "minLength", "description", "items", "minItems", "properties", "required",
    "additionalProperties", "propertyNames", "x-names", "minimum", "maximum", "if", "then",
    "format",
}  # fmt: skip


def test_walker_knows_every_keyword() -> None:
    """A keyword that only editors would enforce has no place in the format."""

    def visit(spec: dict[str, Any]) -> None:
        assert set(spec) <= KNOWN, spec
        for inner in spec.get("properties", {}).values():
            visit(inner)
        for key in ("items", "additionalProperties"):
            if isinstance(spec.get(key), dict):
                visit(spec[key])
        if "$ref" in spec:
            assert spec["$ref"].removeprefix("#/$defs/") in schema.DEFS

    for spec in (*schema.DOCUMENTS.values(), *schema.DEFS.values()):
        visit(spec)
    assert json.loads(json.dumps(schema.json_schema())) == schema.json_schema()
