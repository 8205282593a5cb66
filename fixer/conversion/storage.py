"""IDE disks on SATA and back: the same disks, in the same order, under the same target names.

An IDE disk sits at (bus, unit), two by two, a SATA disk at a port; port = 2 * bus + unit is also what libvirt makes
of a target name without an address (virDomainDiskDefAssignAddress, src/conf/domain_conf.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.conversion.board import Move, seat, set_child
from fixer.domain.devices import drive_seat, number
from fixer.domain.edits import AddElement, Edit, RemoveElement, SetAttribute, address_element
from fixer.domain.pci import SATA
from fixer.domain.writing import Element

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain


def disks_on(domain: Domain, bus: str) -> list[Device]:
    return [device for device in domain.devices if device.tag == "disk" and device.type == bus]


def is_hard_disk(device: Device) -> bool:
    return device.node is not None and device.node.attrs.get("device", "disk") in {"disk", "lun"}


def ide_controller(domain: Domain) -> Device | None:
    return next((one for one in domain.devices if one.tag == "controller" and one.type == "ide"), None)


def ide_to_virtio(disk: Device, target: str, place: Address) -> tuple[list[Edit], list[Move]]:
    """Make a virtio disk of an IDE disk; it needs a target name of its own, of which libvirt makes its alias."""
    assert disk.node is not None
    edits = [*set_child(disk, "target", "bus", "virtio"), *set_child(disk, "target", "dev", target)]
    edits += set_child(
        disk, "target", "rotation_rate", None
    )  # which libvirt takes of SCSI, IDE and SATA only
    more, why = _only_ide(disk)
    edits += more
    address = disk.node.find("address")
    if address is not None:
        edits.append(RemoveElement.of(f"{disk.key}/address", address))
    edits.append(AddElement(disk.key, address_element(place), ""))
    why = f"the site wants virtio; its driver has to be in the initramfs{why}"
    return edits, [Move(disk.key, f"disk[{target}]", "ide", "virtio", None, place, why)]


def _only_ide(disk: Device) -> tuple[list[Edit], str]:
    """Take out what libvirt gives to IDE disks only; return what to say of it."""
    assert disk.node is not None
    edits: list[Edit] = []
    why = ""
    geometry = disk.node.find("geometry")
    if geometry is not None and "trans" in geometry.attrs:
        edits.append(SetAttribute(f"{disk.key}/geometry", "trans", geometry.attrs["trans"], None))
        why += "; only IDE takes a CHS translation"
    wwn = disk.node.find("wwn")
    if wwn is not None:
        edits.append(RemoveElement.of(f"{disk.key}/wwn", wwn))
        why += f"; only IDE and SCSI disks take a WWN, {wwn.text} goes"
    return edits, why


def alias_at(bus: str, controller: int, port: int) -> str:
    """Return the alias that libvirt makes of the place of an IDE or SATA disk (qemuAssignDeviceDiskAlias)."""
    place = f"{port // 2}-{port % 2}" if bus == "ide" else f"0-{port}"
    return f"{bus}{controller}-{place}"


def follow(aliases: Container[str], old: str, new: str) -> Iterator[Edit]:
    """Let properties of qemu:override find a device under the alias that it gets."""
    if old in aliases and old != new:
        yield SetAttribute(f"override[{old}]", "alias", old, new)


def ide_to_sata(disk: Device, aliases: Container[str] = ()) -> tuple[list[Edit], list[Move]]:
    """Put an IDE disk on the port of the built-in SATA controller that is like its place."""
    assert disk.node is not None
    edits = list(set_child(disk, "target", "bus", "sata"))
    more, why = _only_ide(disk)
    edits += more
    _, port = drive_seat(disk)
    edits += follow(aliases, alias_at("ide", 0, port), alias_at("sata", 0, port))
    address = disk.node.find("address")
    if address is not None and address.attrs.get("type") == "drive":
        edits += _drive(disk, controller=0, bus=0, unit=port)
    return edits, [Move(disk.key, disk.key, "ide", "sata", None, None, f"Q35 has no IDE{why}")]


def sata_to_ide(disk: Device, port: int, aliases: Container[str]) -> Iterator[Edit]:
    """Yield the edits that put a SATA disk at the IDE place that is like its port."""
    assert disk.node is not None
    yield from follow(aliases, alias_at("sata", 0, port), alias_at("ide", 0, port))
    yield from set_child(disk, "target", "bus", "ide")
    if disk.node.find("address") is not None:
        yield from _drive(disk, controller=0, bus=port // 2, unit=port % 2)


def renumber_sata(domain: Domain, gone: Container[str] = ()) -> Iterator[Edit]:
    """Yield the edits that make room for the built-in SATA controller, which is number 0.

    A SATA controller of an i440FX machine is a card of its own: it keeps its place and becomes the next.
    """
    aliases = domain.properties.by_alias
    for device in domain.devices:
        if device.tag == "controller" and device.type == "sata" and device.key not in gone:
            yield from number_card(device, device.index + 1, aliases)
    for disk in disks_on(domain, "sata"):
        if disk.key not in gone:
            yield from to_card(disk, drive_seat(disk)[0] + 1, aliases)


def number_card(card: Device, index: int, aliases: Container[str]) -> Iterator[Edit]:
    """Yield the edits that give a SATA controller another number; one that libvirt adds is written down elsewhere."""
    yield from follow(aliases, f"sata{card.index}", f"sata{index}")
    if card.node is not None:
        yield SetAttribute(card.key, "index", card.node.attrs.get("index"), str(index))


def to_card(disk: Device, controller: int, aliases: Container[str]) -> Iterator[Edit]:
    """Yield the edits that keep a SATA disk at its port while its controller gets another number."""
    old, port = drive_seat(disk)
    assert disk.node is not None
    yield from follow(aliases, alias_at("sata", old, port), alias_at("sata", controller, port))
    if disk.node.find("address") is not None:
        yield from set_child(disk, "address", "controller", str(controller))
        return
    place = {"controller": str(controller), "bus": "0", "target": "0", "unit": str(port)}
    yield AddElement(disk.key, Element("address", {"type": "drive", **place}), "")


def controller_to_sata(device: Device) -> Iterator[Edit]:
    """Yield the edits that make of the written IDE controller the written SATA controller of the chipset."""
    assert device.node is not None
    yield SetAttribute(device.key, "type", "ide", "sata")
    if "model" in device.node.attrs:
        yield SetAttribute(device.key, "model", device.node.attrs["model"], None)
    if device.address is not None:
        yield from seat(device, SATA, multifunction=False)


def _drive(disk: Device, **values: int) -> Iterator[Edit]:
    for name, value in values.items():
        assert disk.node is not None
        address = disk.node.find("address")
        old = address.attrs.get(name) if address is not None else None
        if (number(old or "0") or 0) != value:
            yield from set_child(disk, "address", name, str(value))
