"""The remedy override as -global in qemu:commandline, for libvirt before 8.2.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers import check_invariants, domain, plan

from fixer.domain.model import read_domain
from fixer.domain.virtio import QEMU_NAMESPACE

if TYPE_CHECKING:
    from fixer.planning.plan import Plan

_PORT = "<controller type='pci' index='{}' model='pcie-root-port'><address type='pci' slot='0x0{}'/></controller>\n"
PORTS = "".join(_PORT.format(index, index + 1) for index in range(1, 5))
BALLOON = "<memballoon model='none'/>\n<controller type='usb' model='none'/>\n"


def disk(name: str, bus: int, more: str = "") -> str:
    return (
        f"<disk type='file' device='disk'{more}><target dev='{name}' bus='virtio'/>"
        f"<address type='pci' bus='{bus}' slot='0'/></disk>\n"
    )


def planned(devices: str) -> tuple[bytes, Plan]:
    xml = domain(BALLOON + PORTS + devices)
    xml = xml if isinstance(xml, bytes) else xml.encode()
    return xml, plan(xml, strategy="override", override_form="qemu-commandline")


def arguments(made: Plan) -> list[str]:
    node = read_domain(made.result).qemu("commandline")
    return [] if node is None else [child.attrs["value"] for child in node.children]


def test_a_guest_that_needs_nothing_gets_no_arguments() -> None:
    """A disk on pcie.0 is transitional without -global."""
    xml, made = planned(
        "<disk type='file'><target dev='vda' bus='virtio'/><address type='pci' slot='9'/></disk>"
    )
    assert made.result == xml


def test_devices_of_one_type_share_one_argument() -> None:
    """-global is for a type; the addresses stay, and no alias is needed."""
    xml, made = planned(disk("vda", 1) + disk("vdb", 2))
    check_invariants(xml, made, strategy="override", override_form="qemu-commandline")
    assert arguments(made) == ["-global", "virtio-blk-pci.disable-legacy=off"]
    assert b"<alias" not in made.result
    assert [change.mode_after for change in made.changes] == ["transitional", "transitional"]


def test_types_get_an_argument_each() -> None:
    """Each type has its own flag in front of its setting."""
    nic = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><address type='pci' bus='2' slot='0'/></interface>\n"
    _, made = planned(disk("vda", 1) + nic)
    flags, settings = arguments(made)[::2], arguments(made)[1::2]
    assert flags == ["-global", "-global"]
    assert sorted(settings) == ["virtio-blk-pci.disable-legacy=off", "virtio-net-pci.disable-legacy=off"]


def test_a_device_that_must_stay_modern_forbids_it() -> None:
    """iommu='on' would keep QEMU from starting with a legacy interface: another remedy is taken."""
    iommu = disk("vdb", 2).replace("<target", "<driver name='qemu' iommu='on'/><target")
    _, made = planned(disk("vda", 1) + iommu)
    assert arguments(made) == []
    assert {change.device: change.remedy for change in made.changes} == {"disk[vda]": "integrated"}


@pytest.mark.parametrize("tail", ["", "<qemu:arg value='-nodefaults'/>"], ids=["empty", "with arguments"])
def test_what_stands_in_the_commandline_stays(tail: str) -> None:
    """New arguments go behind the owner's: the last one wins in QEMU."""
    xml, _ = planned(disk("vda", 1))
    text = xml.decode().replace("<domain ", f"<domain xmlns:qemu='{QEMU_NAMESPACE}' ", 1)
    text = text.replace("</domain>", f"<qemu:commandline>{tail}</qemu:commandline>\n</domain>")
    made = plan(text.encode(), strategy="override", override_form="qemu-commandline")
    kept = ["-nodefaults"] if tail else []
    assert arguments(made) == [*kept, "-global", "virtio-blk-pci.disable-legacy=off"]
