"""virtfix policy: list, show, explain, check, schema, diff, test, sync."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from cli_runner import ROOT, Run

from fixer.policy.model import KINDS

if TYPE_CHECKING:
    from pathlib import Path

GUESTS = """\
format: 1
kind: guests
family: acme
sources: {s: a letter}
releases:
  - name: Acme 3
    osinfo: [acme3]
    like: rhel6.9
    interface: {value: modern, source: s, confidence: confirmed}
    uefi: {value: no, source: s, confidence: confirmed}
"""


def written(folder: Path, text: str, name: str = "p.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_list_names_every_release(virtfix: Run) -> None:
    done = virtfix("policy", "list")
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.text.splitlines()}
    assert "legacy" in lines["rhel6"]
    assert "modern" in lines["fedora23"]
    assert len(lines) > 300


def test_list_of_a_family_as_json(virtfix: Run) -> None:
    done = virtfix("policy", "list", "--family", "windows", "--format", "json")
    found = json.loads(done.out)
    assert {guest["family"] for guest in found} == {"windows"}
    assert all(guest["virtio"]["interface"]["source"] for guest in found)


def test_list_of_a_family_that_is_none(virtfix: Run) -> None:
    done = virtfix("policy", "list", "--family", "windoze")
    assert done.code == 1
    assert "windows" in done.error_line()


# The guests that the first users brought, and every device kind that they named.
SEED = [
    "rhel6",
    "rhel6.9",
    "rhel7.0",
    "rhel7.9",
    "fedora18",
    "fedora19",
    "fedora20",
    "win2k8r2",
    "win2k12",
    "win8",
]


@pytest.mark.parametrize("os_id", SEED)
def test_show_as_json_has_every_fact_with_its_source(virtfix: Run, os_id: str) -> None:
    done = virtfix("policy", "show", os_id, "--format", "json")
    assert done.code == 0
    value = json.loads(done.out)
    assert value["id"] == os_id
    facts = [value["virtio"]["interface"], *value["virtio"]["drivers"].values(), *value["firmware"].values()]
    assert value["virtio"]["interface"]["value"] in {"legacy", "modern", "depends"}
    assert set(value["virtio"]["drivers"]) == set(KINDS)
    assert set(value["firmware"]) == {"uefi", "secure_boot"}
    for fact in facts:
        assert fact["source"]
        assert fact["confidence"] in {"confirmed", "likely", "unknown"}
        assert fact["where"].startswith(("guests/", "osinfo-db "))
    for fact in facts[1:]:
        assert fact["value"] in {"yes", "no", "unknown"}
    for kind in ("block", "net", "balloon", "console", "scsi"):
        assert value["virtio"]["drivers"][kind]["value"] == "yes", kind


def test_show_says_on_what_an_answer_depends(virtfix: Run) -> None:
    value = json.loads(virtfix("policy", "show", "win2k12", "--format", "json").out)
    assert value["virtio"]["interface"]["condition"] == "virtio-win >= 0.1.126 is modern"
    gpu = value["virtio"]["drivers"]["gpu"]
    assert (gpu["value"], gpu["condition"], gpu["needs"]) == (
        "unknown",
        "virtio-win >= 0.1.196",
        "virtio-win 0.1.196",
    )


@pytest.mark.parametrize(
    ("arguments", "interface"),
    [
        (("centos7", "--kernel", "3.10.0-229"), "legacy"),
        (("centos7", "--kernel", "3.10.0-1160"), "modern"),
        (("win2k12", "--virtio-win", "0.1.171"), "modern"),
        (("win2k12", "--virtio-win", "100"), "legacy"),
    ],
)
def test_show_with_a_build_decides(virtfix: Run, arguments: tuple[str, ...], interface: str) -> None:
    value = json.loads(virtfix("policy", "show", *arguments, "--format", "json").out)
    assert value["virtio"]["interface"]["value"] == interface


def test_show_is_for_people(virtfix: Run) -> None:
    text = virtfix("policy", "show", "rhel6.9", COLUMNS="60").text
    assert text.startswith("rhel6.9: RHEL 6.0-6.10")
    assert "interface: legacy (confirmed, libvir)" in text
    assert "libvir: libvir-list thread" in text.partition("\nsources\n")[2].replace("\n   ", "")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "rhel66"), "did you mean rhel6.6"),
        (("show", "\x1b[2Jx"), "nobody knows the operating system '\\u001b[2Jx'"),
        (("explain", "zzz", "disk"), "virtfix policy list"),
        (("explain", "rhel6", "dsik"), "did you mean disk?"),
        (("show", "centos7", "--kernel", "newest"), "--kernel: 'newest' is no version"),
        (("show", "rhel6", "--osinfo-db", "/nosuch"), "/nosuch: can not read"),
    ],
)
def test_mistakes_are_one_line(virtfix: Run, arguments: tuple[str, ...], said: str) -> None:
    done = virtfix("policy", *arguments)
    assert done.code in {1, 2}
    assert said in done.error_line()


@pytest.mark.parametrize(
    ("os_id", "device", "said"),
    [
        ("rhel6.9", "disk", "behind a pcie-root-port or switch port of Q35 it is modern-only"),
        ("rhel8.6", "disk", "works everywhere"),
        ("rhel6.9", "gpu", "it has no driver"),
        ("win2k12", "gpu", "has no legacy interface, wherever it sits"),
        ("fedora30", "gpu", "is virtio 1.0 wherever it sits, and the guest drives it"),
        ("rhel6.9", "controller", "virtio console"),
    ],
)
def test_explain_says_where_a_device_works(virtfix: Run, os_id: str, device: str, said: str) -> None:
    done = virtfix("policy", "explain", os_id, device)
    assert done.code == 0
    assert said in " ".join(done.text.split())


def test_check_tells_right_and_wrong_files(virtfix: Run, tmp_path: Path) -> None:
    right = written(tmp_path, GUESTS)
    wrong = written(tmp_path, GUESTS.replace("uefi", "uefy"), "wrong.yaml")
    done = virtfix("policy", "check", right, wrong, tmp_path / "nosuch.yaml")
    assert done.code == 1
    assert done.text == f"{right}: right\n"
    first, second = done.err.splitlines()
    assert first == f'virtfix: {wrong}:10:5: unknown key "uefy" in releases[0]; did you mean "uefi"?'
    assert "nosuch.yaml: can not read" in second


def test_check_refuses_a_mapping_to_what_nobody_knows(virtfix: Run, tmp_path: Path) -> None:
    file = written(tmp_path, "format: 1\nkind: mapping\ndomains:\n  - {match: {name: [x]}, os: rehl6.9}\n")
    done = virtfix("policy", "check", file)
    assert done.code == 1
    assert f'{file}:4: nobody knows the operating system "rehl6.9"; did you mean rhel6.9' in done.error_line()


def test_check_lets_files_build_on_one_another(virtfix: Run, tmp_path: Path) -> None:
    """Later files of one call may be like releases of earlier ones."""
    first = written(tmp_path, GUESTS)
    second = written(tmp_path, GUESTS.replace("acme3", "acme4").replace("rhel6.9", "acme3"), "q.yaml")
    assert virtfix("policy", "check", first, second).code == 0
    assert virtfix("policy", "check", second).code == 1


def test_schema_is_the_published_one(virtfix: Run) -> None:
    assert virtfix("policy", "schema").text == (ROOT / "policies" / "schema.json").read_text()


def test_diff_names_what_changes(virtfix: Run, tmp_path: Path) -> None:
    changed = written(tmp_path, GUESTS.replace("acme3", "rhel6.9").replace("like: rhel6.9", "like: rhel6.8"))
    done = virtfix("policy", "diff", "shipped", changed)
    assert done.text.splitlines() == ["rhel6.9: interface legacy -> modern", "rhel6.9: uefi yes -> no"]
    assert done.err == "virtfix: 1 operating system with another verdict\n"
    assert virtfix("policy", "diff", "shipped", changed, "--detailed-exitcode").code == 3
    assert virtfix("policy", "diff", "shipped", "shipped", "--detailed-exitcode").code == 0
    value = json.loads(virtfix("policy", "diff", changed, "shipped", "--format", "json").out)
    assert {"os": "rhel6.9", "what": "uefi", "old": "no", "new": "yes"} in value


def test_diff_of_sets_that_stand_alone(virtfix: Run, tmp_path: Path) -> None:
    """Without the shipped policies beneath, what one set lacks is unknown in it."""
    old = written(tmp_path, GUESTS.replace("    like: rhel6.9\n", ""))
    new = written(tmp_path, old.read_text().replace("acme3", "acme4"), "q.yaml")
    done = virtfix("policy", "diff", old, new, "--alone")
    assert done.text.splitlines() == ["acme3: is known -> unknown", "acme4: is unknown -> known"]


def test_shipped_expectations_hold(virtfix: Run) -> None:
    done = virtfix("policy", "test")
    assert done.code == 0
    count, _, rest = done.text.partition(" ")
    assert int(count) > 100
    assert rest == "expectations: all hold\n"


def test_broken_expectations_are_told_with_their_place(virtfix: Run, tmp_path: Path) -> None:
    file = written(tmp_path, GUESTS + "expect:\n  - {os: acme3, interface: legacy, drivers: {block: yes}}\n")
    done = virtfix("policy", "test", file)
    assert done.code == 1
    assert done.err == f"virtfix: {file}:12:28: acme3: interface is modern, expected legacy\n"
    assert done.text.endswith(" hold, 1 do not\n")


def test_sync_makes_a_snapshot_that_is_used(virtfix: Run, tmp_path: Path) -> None:
    place = tmp_path / "db" / "os" / "x.org"
    place.mkdir(parents=True)
    (tmp_path / "db" / "VERSION").write_text("20990101")
    (place / "zeta-1.xml").write_text(
        '<libosinfo><os id="http://x.org/zeta/1"><short-id>zeta1</short-id><name>Zeta</name><devices>'
        '<device id="http://pcisig.com/pci/1af4/1041"/></devices></os></libosinfo>'
    )
    data = str(tmp_path / "data")
    done = virtfix("policy", "sync", "--osinfo-db", tmp_path / "db", XDG_DATA_HOME=data)
    assert done.text == f"osinfo-db 20990101: 1 operating systems -> {data}/virtfix/osinfo.json\n"
    shown = virtfix("policy", "show", "zeta1", "--format", "json", XDG_DATA_HOME=data)
    assert json.loads(shown.out)["virtio"]["interface"]["value"] == "modern"
    listed = virtfix("policy", "list", "--osinfo", XDG_DATA_HOME=data)
    assert "zeta1" in listed.text


def test_sync_without_a_database(virtfix: Run, tmp_path: Path) -> None:
    done = virtfix("policy", "sync", OSINFO_SYSTEM_DIR=str(tmp_path), OSINFO_USER_DIR=str(tmp_path))
    assert done.code == 1
    assert "osinfo-db is not installed" in done.error_line()


def test_hostile_policies_cost_a_line(virtfix: Run, tmp_path: Path) -> None:
    """Bombs, tags, anchors and 50 MB: refused with the place, before they cost anything."""
    bomb = "a: &a [x]\n" + "".join(f"b{n}: [*a, *a, *a]\n" for n in range(50))
    cases = {
        "bomb.yaml": (bomb, 'the anchor "&a" is not allowed'),
        "tag.yaml": ("!!python/object/apply:os.system ['x']", 'the tag "tag:yaml.org,2002:python'),
        "deep.yaml": ("[" * 5000, "nesting deeper than 12"),
        "large.yaml": ("#" * 50_000_000, "more than 2000000 bytes, the most that a policy has"),
    }
    for name, (text, message) in cases.items():
        done = virtfix("policy", "check", written(tmp_path, text, name))
        assert done.code == 1
        assert message in done.error_line()
        assert f"{name}" in done.error_line()


def test_every_key_is_documented(virtfix: Run) -> None:
    """docs/json-guests.md names the keys that are printed, and no others."""
    page = (ROOT / "docs" / "json-guests.md").read_text()
    first, second = page.partition("## `identify`")[::2]
    shown = json.loads(virtfix("policy", "show", "win2k12", "--format", "json").out)
    fact = {key for kind in shown["virtio"]["drivers"].values() for key in kind}
    fact |= set(shown["virtio"]["interface"])
    printed = fact | set(shown) - {"virtio", "firmware", "naming"}
    printed |= {f"{group}.{key}" for group in ("virtio", "firmware", "naming") for key in shown[group]}
    assert printed == documented(first)
    value = json.loads(virtfix("identify", ROOT / "samples" / "already-right.xml", "--format", "json").out)
    printed = set(value) - {"domain"} | {"domain.name", "domain.uuid"}
    printed |= {f"evidence[].{key}" for item in value["evidence"] for key in item}
    assert printed == documented(second)


def documented(text: str) -> set[str]:
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
