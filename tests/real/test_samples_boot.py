"""A guest without a driver for virtio 1.0 boots the rewritten samples and finds all it had, in its order."""

from __future__ import annotations

from functools import cache
from typing import Any

import helpers
import pytest

legacy_guest = pytest.importorskip("legacy_guest")  # needs libvirt-python
import oracle as libvirt_oracle  # noqa: E402 - behind the check for libvirt

pytestmark = [pytest.mark.real, pytest.mark.boot, pytest.mark.usefixtures("bootable")]

WISHES: dict[str, dict[str, Any]] = {
    "integrated": {"strategy": "integrated"},
    "bridge": {"strategy": "bridge"},
    "transitional": {"strategy": "transitional"},
    "override": {"strategy": "override"},
    "override as -global": {"strategy": "override", "override_form": "qemu-commandline"},
    "no strategy": {},
    "hotplug": {"hotplug": ("block", "net")},
}
# The guest of each, where the file does not name it.
REWRITTEN = {
    "rhel6-q35-ovmf": None,
    "handwritten-noaddr": "centos6.10",
    "many-disks-q35": None,
    "windows2008r2-q35": None,
    "debian7-bridge": None,
}
UNCHANGED = ("already-right", "i440fx-rhel6")


def grouped(sample: str, *rest: str) -> Any:
    """Keep the boots of one sample in one process, where its original is booted once."""
    mark = pytest.mark.xdist_group(f"boot {sample}")
    return pytest.param(sample, *rest, marks=mark, id=" ".join((sample, *rest)))


@cache
def sample_bytes(sample: str) -> bytes:
    return (helpers.ROOT / "samples" / f"{sample}.xml").read_bytes()


@cache
def booted(dump: str, *, legacy: bool) -> Any:
    """Boot what libvirt made of a domain; two plans with one result share the boot."""
    return legacy_guest.boot(dump, legacy=legacy)


@cache
def defined(xml: bytes) -> str:
    return libvirt_oracle.define(xml)


@pytest.mark.parametrize(("sample", "wish"), [grouped(name, wish) for name in REWRITTEN for wish in WISHES])
def test_a_legacy_guest_finds_everything_where_it_was(sample: str, wish: str) -> None:
    """The original boots with a modern driver and tells the order; the rewritten one with a legacy driver."""
    original = booted(defined(sample_bytes(sample)), legacy=False)
    plan = helpers.plan(sample_bytes(sample), REWRITTEN[sample], **WISHES[wish])
    report = booted(defined(plan.result), legacy=True)
    assert not plan.unresolved
    assert report.legacy_disks == [disk.target for disk in original.disks], report.log
    assert report.legacy_nics == [nic.mac for nic in original.nics], report.log
    assert report.legacy_drivers == original.drivers, report.log
    assert report.unmapped == frozenset()


@pytest.mark.parametrize("sample", [grouped("rhel6-q35-ovmf")])
def test_the_original_shows_a_legacy_guest_nothing(sample: str) -> None:
    """Without a plan there is no disk to boot from: what the test above says is due to the plan."""
    report = booted(defined(sample_bytes(sample)), legacy=True)
    assert len(report.devices) == 6, report.log
    assert report.legacy_disks == report.legacy_nics == []
    assert not report.legacy_drivers


@pytest.mark.parametrize("sample", [grouped(name) for name in REWRITTEN])
def test_the_oracle_knows_the_order_that_a_guest_finds(sample: str) -> None:
    """What the faster tests read from libvirt's dump is what a real guest enumerates."""
    dump = defined(sample_bytes(sample))
    report = booted(dump, legacy=False)
    order = libvirt_oracle.guest_order(dump)
    virtio_disks = [disk.target for disk in report.disks if disk.scsi is None]
    assert [f"disk[{name}]" for name in virtio_disks] == order["virtio_blk"]
    assert [f"nic[{nic.mac}]" for nic in report.nics] == order["virtio_net"]


@pytest.mark.parametrize("sample", [grouped(name) for name in UNCHANGED])
def test_samples_that_need_nothing_boot_as_they_are(sample: str) -> None:
    """The plan returns the same bytes, and the legacy guest drives every virtio device of them."""
    xml = sample_bytes(sample)
    assert helpers.plan(xml, None).result == xml
    dump = defined(xml)
    order = libvirt_oracle.guest_order(dump)
    report = booted(dump, legacy=True)
    assert [f"disk[{name}]" for name in report.legacy_disks] == order["virtio_blk"], report.log
    assert [f"nic[{mac}]" for mac in report.legacy_nics] == order["virtio_net"], report.log
    assert sum(report.legacy_drivers.values()) == len(libvirt_oracle.virtio_addresses(dump)), report.log
    assert report.unmapped == frozenset()


# --- Expanders ----------------------------------------------------------------------------------------


def _expander(index: int, number: int, slot: int) -> str:
    model = helpers.pci(index, "pcie-expander-bus", f"00:{slot:02x}.0")
    return model.replace("><add", f"><target busNr='{number}'/><add")


def _expanders(first: int, second: int) -> str:
    """Return a domain with a disk on bus 0, and one behind each of two expanders of these numbers."""
    buses = _expander(1, first, 4) + _expander(2, second, 5)
    buses += helpers.port(3, "01:00.0") + helpers.port(4, "02:00.0") + helpers.port(5, "00:06.0")
    disks = "".join(
        helpers.disk(name, f"{bus:02x}:00.0", inner=f"<source file='/tmp/{name}.img'/>")
        for name, bus in (("vda", 5), ("vdb", 4), ("vdc", 3))
    )
    memory = "  <memory unit='MiB'>512</memory>\n  <features><acpi/></features>\n"
    return helpers.domain(helpers.BARE + buses + disks, head=memory)


@pytest.mark.xdist_group("boot expanders")
@pytest.mark.parametrize("numbers", [(100, 200), (200, 100)])
def test_disks_behind_expanders_keep_their_order(numbers: tuple[int, int]) -> None:
    """A guest meets bus 0 first, then the expander that was made last, whatever the numbers of their buses are."""
    xml = _expanders(*numbers)
    dump = defined(xml.encode())
    report = booted(dump, legacy=False)
    assert [disk.target for disk in report.disks] == ["vda", "vdb", "vdc"], report.log
    assert libvirt_oracle.guest_order(dump)["virtio_blk"] == ["disk[vda]", "disk[vdb]", "disk[vdc]"]
    assert helpers.order(helpers.read(xml))["block"] == ["disk[vda]", "disk[vdb]", "disk[vdc]"]
    plan = helpers.plan(xml, "rhel6")
    assert not plan.unresolved
    assert booted(defined(plan.result), legacy=True).legacy_disks == ["vda", "vdb", "vdc"]
