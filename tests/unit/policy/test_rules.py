"""Rules of a site, mappings of domains, and the expectations that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixer.errors import VirtfixError
from fixer.policy.expect import broken
from fixer.policy.load import load
from fixer.policy.model import KINDS
from fixer.policy.rules import Subject, mapped, rule_for

if TYPE_CHECKING:
    from fixer.policy import rules
    from fixer.policy.match import PolicySet

TODAY = "2026-06-15"
META = {"tier": "prod", "instance/flavor/@name": "m1.large"}


def subject(name: str = "db-1", uuid: str = "", os: str = "rhel6.9") -> Subject:
    return Subject(name, uuid, lambda key: (META[key],) if key in META else (), os)


def site(text: str) -> PolicySet:
    return load([("site.yaml", f"format: 1\nkind: site\n{text}".encode())])


def ruling(text: str, domain: Subject | None = None, today: str = TODAY) -> rules.Ruling:
    return rule_for(site(text).site, domain or subject(), today)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("{}", True),
        ("{name: ['db-*']}", True),
        ("{name: [web-*, db-1]}", True),
        ("{name: ['web-*']}", False),
        ("{name: ['db-*'], os: [win7]}", False),
        ("{os: [rhel6.0..rhel6.10]}", True),
        ("{os: ['rhel6.*']}", True),
        ("{os: [rhel7..]}", False),
        ("{uuid: [AAAAAAAA-0000-0000-0000-000000000001]}", True),
        ("{uuid: [bbbbbbbb-0000-0000-0000-000000000001]}", False),
        ("{metadata: {tier: prod}}", True),
        ("{metadata: {tier: 'p*'}}", True),
        ("{metadata: {tier: test}}", False),
        ("{metadata: {owner: '*'}}", False),
        ("{metadata: {instance/flavor/@name: 'm1.*', tier: prod}}", True),
    ],
)
def test_selectors(match: str, fits: bool) -> None:
    domain = subject(uuid="aaaaaaaa-0000-0000-0000-000000000001")
    found = ruling(f"rules:\n  - match: {match}\n    strategy: bridge\n", domain)
    assert (found.site.strategy_for("block") == "bridge") == fits


def test_later_rules_override_earlier_ones_kind_by_kind() -> None:
    found = ruling(
        "rules:\n"
        "  - {strategy: bridge, hotplug: yes, forbid: [override]}\n"
        "  - {kinds: [net], strategy: override, hotplug: no, keep-address: yes, forbid: [bridge]}\n"
    ).site
    assert (found.strategy_for("block"), found.strategy_for("net")) == ("bridge", "override")
    assert found.hotplug == frozenset(KINDS) - {"net"}
    assert found.keep_address == {"net"}
    assert found.forbids("override", "block")
    assert found.forbids("bridge", "net")
    assert found.forbids("override", "net")
    assert not found.forbids("bridge", "block")


def test_weights_of_a_rule_are_added_to_those_of_the_site() -> None:
    found = ruling("weights: {bridge: 3}\nrules:\n  - weights: {override: 1}\n").site
    assert (found.weights["bridge"], found.weights["override"], found.weights["integrated"]) == (3, 1, 10)


@pytest.mark.parametrize(
    ("today", "left_alone"), [("2026-06-14", True), ("2026-06-15", True), ("2026-06-16", False)]
)
def test_an_exclusion_ends(today: str, left_alone: bool) -> None:
    found = ruling("rules:\n  - {exclude: frozen by audit, until: 2026-06-15}\n", today=today)
    assert bool(found.excluded) == left_alone
    if left_alone:
        assert found.excluded == "left alone until 2026-06-15: frozen by audit (site.yaml:4)"
    else:
        assert found.notes == (
            "the exclusion (frozen by audit) of the site ended on 2026-06-15 (site.yaml:4)",
        )


def test_kinds_are_excluded_alone() -> None:
    found = ruling("rules:\n  - {kinds: [net], exclude: no downtime, until: 2027-01-01}\n")
    assert not found.excluded
    assert set(found.site.excluded) == {"net"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n  - {exclude: because}\n", "an exclusion ends some day; add until"),
        ("rules:\n  - {exclude: because, until: soon}\n", 'wants a date, got "soon"; write it as 2027-03-31'),
        ("rules:\n  - {exclude: because, until: 2027-02-30}\n", "wants a date"),
        ("rules:\n  - {exclude: because, until: 2027-W01-1}\n", "wants a date"),
        ("rules:\n  - {strategie: bridge}\n", 'did you mean "strategy"?'),
        ("rules:\n  - {match: {nmae: [x]}}\n", 'did you mean "name"?'),
        ("rules:\n  - {match: {name: db}}\n", "wants a list"),
        ("rules:\n  - {match: {os: ['rhel6..fedora7']}, hotplug: no}\n", "is no range of one family"),
        ("rules:\n  - {}\n", "the rule says nothing"),
        ("rules:\n  - {match: {name: []}, hotplug: no}\n", "rules[0].match.name is empty"),
        ("rules:\n  - {kinds: [], hotplug: no}\n", "rules[0].kinds is empty"),
        ("rules:\n  - {kinds: [nett]}\n", 'did you mean "net"?'),
        ("rules:\n  - {kinds: [net], weights: {bridge: 1}}\n", "weights hold for a whole domain"),
        ("keep-address: [disk]\n", '"disk" is no value of keep-address[0]'),
    ],
)
def test_mistakes_are_told(text: str, message: str) -> None:
    with pytest.raises(VirtfixError) as error:
        site(text)
    assert message in str(error.value)
    assert str(error.value).startswith("site.yaml:4:") or "keep-address" in text


MAPPING = """\
format: 1
kind: mapping
domains:
  - {match: {name: ['legacy-*']}, os: rhel6.9}
  - {match: {name: ['legacy-win*']}, os: win2k8r2, virtio-win: 0.1.110}
  - {match: {metadata: {tier: prod}}, os: sles11sp4, kernel: 3.0.101}
  - {match: {uuid: [aaaaaaaa-0000-0000-0000-000000000001]}, os: "http://centos.org/centos/6.9"}
"""


@pytest.mark.parametrize(
    ("domain", "os_id", "builds"),
    [
        (Subject("legacy-1", "", lambda _: ()), "rhel6.9", {}),
        (Subject("legacy-win3", "", lambda _: ()), "win2k8r2", {"virtio-win": "0.1.110"}),
        (subject("legacy-2"), "sles11sp4", {"kernel": "3.0.101"}),
        (
            Subject("legacy-win1", "AAAAAAAA-0000-0000-0000-000000000001", lambda _: ()),
            "http://centos.org/centos/6.9",
            {},
        ),
        (Subject("web", "", lambda _: ()), None, {}),
    ],
)
def test_the_last_mapping_that_fits_holds(domain: Subject, os_id: str | None, builds: dict[str, str]) -> None:
    found = mapped(load([("map.yaml", MAPPING.encode())]).mapping, domain)
    assert (found.os if found else None) == os_id
    assert (dict(found.builds) if found else {}) == builds


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("match: {name: ['legacy-*']}, ", "", 'missing key "match"'),
        ("os: rhel6.9", "oss: rhel6.9", 'unknown key "oss"'),
        ("{name: ['legacy-*']}", "{}", "match names no domain"),
        ("kernel: 3.0.101", "kernel: newest", '"newest" is no version'),
        ("kind: mapping", "kind: maping", 'did you mean "mapping"?'),
    ],
)
def test_mistakes_of_a_mapping_are_told(old: str, new: str, message: str) -> None:
    with pytest.raises(VirtfixError) as error:
        load([("map.yaml", MAPPING.replace(old, new, 1).encode())])
    assert message in str(error.value)


EXPECTED = """\
format: 1
kind: site
rules:
  - {match: {name: ['db-*']}, strategy: bridge, hotplug: yes}
  - {match: {metadata: {tier: prod}}, kinds: [net], keep-address: yes, forbid: [override]}
  - {match: {os: [rhel5.0..rhel5.11]}, exclude: certified as it is, until: 2027-03-31}
expect:
  - {name: db-1, kind: block, strategy: bridge, hotplug: yes, excluded: no}
  - {name: web-1, kind: block, strategy: none, hotplug: no}
  - {metadata: {tier: prod}, kind: net, keep-address: yes, forbid: [override]}
  - {os: rhel5.8, kind: net, excluded: yes, date: 2027-03-31}
  - {os: rhel5.8, kind: net, excluded: no, date: 2027-04-01}
"""


def test_expectations_of_a_site_hold() -> None:
    assert broken(load([("s.yaml", EXPECTED.encode())]), TODAY) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            "strategy: bridge, hotplug: yes, excluded",
            "strategy: override, hotplug: yes, excluded",
            "strategy is bridge",
        ),
        ("strategy: none, hotplug: no", "strategy: none, hotplug: yes", "hotplug is no, expected yes"),
        ("forbid: [override]}\n  - {os: rhel5.8", "forbid: []}\n  - {os: rhel5.8", "forbidden are override"),
        ("excluded: no, date: 2027-04-01", "excluded: yes, date: 2027-04-01", "excluded is no"),
    ],
)
def test_broken_expectations_are_found(old: str, new: str, what: str) -> None:
    assert old in EXPECTED
    found = broken(load([("s.yaml", EXPECTED.replace(old, new).encode())]), TODAY)
    assert len(found) == 1
    assert what in found[0].what
    assert found[0].where.startswith("s.yaml:")


def test_expectations_of_a_mapping() -> None:
    expect = "expect:\n  - {name: legacy-1, os: rhel6.9}\n  - {name: web, os: none}\n  - {name: web, os: rhel6.9}\n"
    found = broken(load([("m.yaml", (MAPPING + expect).encode())]), TODAY)
    assert [(one.where, one.what) for one in found] == [
        ("m.yaml:11:21", "the domain runs none, expected rhel6.9")
    ]


GUEST = """\
format: 1
kind: guests
family: t
sources: {s: a source}
releases:
  - name: T
    osinfo: [t1]
    interface: {value: depends, source: s, confidence: likely, condition: kernel >= 4, legacy-until: kernel 4.0}
    drivers:
      block: {value: yes, source: s, confidence: likely}
expect:
  - {os: t1, interface: depends, drivers: {block: yes, gpu: unknown}}
  - {os: t1, kernel: "3.9", interface: legacy}
  - {os: t1, kernel: "4.9", interface: modern, uefi: unknown}
"""


def test_expectations_of_guests() -> None:
    assert broken(load([("g.yaml", GUEST.encode())]), TODAY) == []
    wrong = GUEST.replace("interface: modern", "interface: legacy").replace("gpu: unknown", "gpu: no")
    found = broken(load([("g.yaml", wrong.encode())]), TODAY)
    assert [one.what for one in found] == [
        "t1: gpu is unknown, expected no",
        "t1: interface is modern, expected legacy",
    ]


def test_capitals_are_folded() -> None:
    """An id is asked for in lower case, however the policy writes it."""
    again = GUEST.replace("osinfo: [t1]", "osinfo: [T1, 'Beta*', Gam1..Gam5]").partition("expect:")[0]
    again += "  - {name: U, osinfo: [u1], like: T1}\n"
    found = load([("g.yaml", again.encode())])
    assert all(found.find(os_id) for os_id in ("t1", "T1", "beta9", "Gam3", "u1"))


def test_a_kind_is_stated_once() -> None:
    twice = GUEST.replace(
        "      block: {", '      "net, block": {value: no, source: s, confidence: likely}\n      block: {'
    )
    with pytest.raises(VirtfixError, match='"block" is stated twice'):
        load([("g.yaml", twice.encode())])


@pytest.mark.parametrize("build", ["kernal 4.0", "kernel", "4.0 kernel", "virtio-win new"])
def test_thresholds_are_checked(build: str) -> None:
    with pytest.raises(VirtfixError, match="is no build"):
        load([("g.yaml", GUEST.replace("kernel 4.0", build).encode())])
