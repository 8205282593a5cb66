"""The shipped policies say what they are meant to say."""

from __future__ import annotations

import json
import pickle
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixer.policy import schema
from fixer.policy.load import load
from fixer.policy.model import KINDS, NIC_RULES, Fact, GuestCapabilities, SitePreferences

if TYPE_CHECKING:
    from fixer.policy.match import PolicySet

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "policies").rglob("*.yaml"))


def facts(guest: GuestCapabilities) -> list[Fact]:
    alone = [
        guest.interface,
        guest.kernel,
        guest.uefi,
        guest.secure_boot,
        guest.nic_naming,
        guest.disk_naming,
    ]
    return [*alone, *guest.drivers.values(), *guest.chipset.values(), *guest.hotplug.values()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_loads_alone(path: Path) -> None:
    """A shipped file depends on no other."""
    load([(path.name, path.read_bytes())])


def test_schema_file_is_current() -> None:
    """policies/schema.json is the format as the walker knows it."""
    generated = json.dumps(schema.json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert (ROOT / "policies" / "schema.json").read_text(encoding="utf-8") == generated


def test_default_site_equals_built_in(shipped: PolicySet) -> None:
    """Without any site file the same preferences hold."""
    assert shipped.site == SitePreferences()


def test_generated_files_are_current() -> None:
    """The ledger, the schema and the compiled form: python docs/generate_policy.py has been run."""
    sys.path.insert(0, str(ROOT / "docs"))
    import generate_policy

    made = generate_policy.files()
    if ROOT / "docs" / "ledger.md" not in made:
        pytest.skip("the osinfo-db that the ledger is made of is not installed")
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, path


def test_the_ledger_gives_a_reason_for_each_difference() -> None:
    """About 400 systems, nearly all answers alike, and no difference without a source."""
    text = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    differs, _, verdicts = text.partition("## Where virtfix differs, and why")[2].partition("## All verdicts")
    rows = [line.strip("| ").split(" | ") for line in differs.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 30
    for row in rows:
        assert len(row) == 5, row
        assert row[4].endswith(("(confirmed)", "(likely)", "(unknown)")), row
    listed = [line.strip("| ").split(" | ") for line in verdicts.splitlines() if line.startswith("| ")][1:]
    assert len(listed) == 408
    assert all(row[1] in {"legacy", "modern", "depends"} and row[2] for row in listed)


def test_every_known_id_resolves_with_sourced_facts(shipped: PolicySet) -> None:
    """Every id that the policies name leads to a whole record whose facts name line and listed source."""
    for os_id in shipped.known():
        guest = shipped.find(os_id)
        assert guest is not None, os_id
        assert guest.id == os_id
        assert set(guest.drivers) == set(KINDS), os_id
        assert guest.nic_naming.value in NIC_RULES
        for fact in facts(guest):
            if fact is guest.kernel and not fact.source:  # no Linux
                continue
            assert fact.source in guest.sources, (os_id, fact)
            assert re.fullmatch(r"guests/[a-z]+\.yaml:\d+", fact.where), (os_id, fact)
            assert fact.confidence in {"confirmed", "likely", "unknown"}
            assert (fact.value == "depends") == bool(fact.condition)


def test_place_of_a_fact_is_its_line(shipped: PolicySet) -> None:
    guest = shipped.find("rhel6.9")
    assert guest is not None
    name, line = guest.drives("rng").where.split(":")
    text = (ROOT / "policies" / name).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert text.strip() == "rng: {value: yes, source: rh-rng, confidence: confirmed}"


LEGACY = ["rhel3", "rhel4.8", "rhel5.2", "rhel5.3", "rhel5.11", "rhel6", "rhel6.0", "rhel6.10", "centos6.9"]
LEGACY += ["scientificlinux6.4", "rhel7.0", "rhel7.1", "ol7.1", "fedora8", "fedora18", "fedora19", "fedora20"]
LEGACY += ["winxp", "win2k3", "win2k3r2", "debian7", "ubuntu12.04", "ubuntu15.04", "oel5.4", "centos5.11"]
MODERN = [
    "rhel7.2",
    "rhel7.3",
    "rhel7.9",
    "rhel8.6",
    "rhel9.1",
    "centos8",
    "centos-stream9",
    "almalinux9",
    "rocky8.5",
]
MODERN += [
    "fedora23",
    "fedora24",
    "fedora37",
    "fedora41",
    "debian9",
    "debian12",
    "ubuntu16.04",
    "ubuntu22.04",
]
MODERN += ["win10", "win11", "win2k16", "win2k22", "fedora-rawhide", "debiantesting"]
DEPENDS = ["centos7.0", "rhel7", "rhel7-unknown", "ol6.9", "fedora21", "fedora22", "debian8", "ubuntu14.04"]
DEPENDS += ["win7", "win2k8", "win2k8r2", "win8", "win2k12", "win8.1", "win2k12r2", "winvista"]


@pytest.mark.parametrize(
    ("os_id", "interface"),
    [(os_id, "legacy") for os_id in LEGACY]
    + [(os_id, "modern") for os_id in MODERN]
    + [(os_id, "depends") for os_id in DEPENDS],
)
def test_interface(shipped: PolicySet, os_id: str, interface: str) -> None:
    guest = shipped.find(os_id)
    assert guest is not None
    assert guest.interface.value == interface
    assert guest.is_modern == (interface == "modern")


@pytest.mark.parametrize(
    ("os_id", "kind", "value", "confidence"),
    [
        ("rhel6.2", "scsi", "no", "confirmed"),
        ("rhel6.3", "scsi", "yes", "confirmed"),
        ("rhel6.4", "scsi", "yes", "confirmed"),
        ("rhel6.10", "scsi", "yes", "confirmed"),
        ("rhel6", "scsi", "yes", "confirmed"),
        ("rhel6-unknown", "scsi", "yes", "confirmed"),
        ("centos6.2", "scsi", "no", "confirmed"),
        ("ol6.4", "scsi", "yes", "confirmed"),
        ("rhel8.1", "fs", "no", "confirmed"),
        ("rhel8.10", "fs", "yes", "confirmed"),
        ("rhel6.9", "block", "yes", "confirmed"),
        ("rhel6.9", "9p", "no", "confirmed"),
        ("rhel6.9", "gpu", "no", "likely"),
        ("rhel5.2", "block", "no", "confirmed"),
        ("rhel5.3", "block", "yes", "confirmed"),
        ("rhel5.3", "scsi", "no", "likely"),
        ("fedora15", "scsi", "no", "likely"),
        ("fedora16", "scsi", "depends", "likely"),
        ("fedora17", "scsi", "yes", "confirmed"),
        ("fedora25", "vsock", "yes", "likely"),
        ("fedora29", "vsock", "yes", "confirmed"),
        ("win2k8r2", "scsi", "yes", "confirmed"),
        ("win2k8r2", "gpu", "no", "confirmed"),
        ("win2k12", "gpu", "depends", "confirmed"),
        ("winxp", "scsi", "no", "confirmed"),
    ],
)
def test_driver(shipped: PolicySet, os_id: str, kind: str, value: str, confidence: str) -> None:
    guest = shipped.find(os_id)
    assert guest is not None
    assert (guest.drives(kind).value, guest.drives(kind).confidence) == (value, confidence)


def test_open_minor_is_said(shipped: PolicySet) -> None:
    guest = shipped.find("rhel6")
    assert guest is not None
    assert guest.drives("scsi").note.startswith("from release 6.3 on, which this id leaves open")


@pytest.mark.parametrize(
    ("uri", "os_id"),
    [
        ("http://redhat.com/rhel/6.9", "rhel6.9"),
        ("http://centos.org/centos/6.9", "centos6.9"),
        ("http://centos.org/centos-stream/8", "centos-stream8"),
        ("http://microsoft.com/win/2k12", "win2k12"),
        ("http://microsoft.com/win/2k8r2", "win2k8r2"),
        ("http://microsoft.com/win/xp", "winxp"),
        ("http://fedoraproject.org/fedora/20", "fedora20"),
        ("http://fedoraproject.org/fedora/rawhide", "fedora-rawhide"),
        ("http://oracle.com/oel/5.4", "oel5.4"),
        ("HTTP://UBUNTU.COM/ubuntu/14.04 ", "ubuntu14.04"),
    ],
)
def test_uris(shipped: PolicySet, uri: str, os_id: str) -> None:
    guest = shipped.find(uri)
    assert guest is not None
    assert guest == shipped.find(os_id)
    assert guest.id == os_id


@pytest.mark.parametrize(
    "os_id", ["", "rhel", "rhel6.11", "rhel6.", "rhel99999999999999", "/", "http://", "x" * 5000]
)
def test_unknown_ids(shipped: PolicySet, os_id: str) -> None:
    assert shipped.find(os_id) is None


def test_near(shipped: PolicySet) -> None:
    assert shipped.near("rhel6.11")[0] in {"rhel6.1", "rhel6.10"}
    assert "win2k8r2" in shipped.near("win2k8-r2")
    assert shipped.near("zzz") == ()


def test_capabilities_travel(shipped: PolicySet) -> None:
    """Values go to other processes."""
    guest = shipped.find("win2k12")
    assert pickle.loads(pickle.dumps(guest)) == guest


def test_conditions_are_listed(shipped: PolicySet) -> None:
    guest = shipped.find("win2k8r2")
    assert guest is not None
    assert "interface: virtio-win >= 0.1.126 is modern" in guest.conditions
    assert guest.interface.legacy_until == "virtio-win 0.1.126"
