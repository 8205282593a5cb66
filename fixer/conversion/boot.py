"""What a domain starts from: <boot dev=''/> of <os> means the first device of a kind, which a conversion can change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.conversion.board import Note
from fixer.domain.edits import AddElement, Edit, RemoveElement
from fixer.domain.virtio import disk_number
from fixer.domain.writing import Element

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixer.domain.devices import Device
    from fixer.domain.model import Domain

# What <boot dev=''/> means, and the devices of disks that it takes the first of (src/qemu/qemu_command.c,
# qemuBuildDisksCommandLine); "network" means the first NIC (qemuBuildInterfacesCommandLine).
_DISKS = {"hd": ("disk", "lun"), "cdrom": ("cdrom",), "fd": ("floppy",)}


def starts_otherwise(before: Domain, after: Domain, keys: Mapping[str, str]) -> bool:
    """Tell whether <boot dev=''/> means other devices afterwards; ``keys`` maps those that are called otherwise."""
    names = _boot_devices(before)
    old, new = [_first(before, name) for name in names], [_first(after, name) for name in names]
    return [keys.get(key, key) for key in old] != new


def by_device(domain: Domain) -> tuple[list[Edit], Note]:
    """Return the edits that say by <boot order=''/> of the devices what <boot dev=''/> says now, and what to tell."""
    os_node = domain.root.find("os")
    written = os_node.findall("boot") if os_node is not None else []
    edits: list[Edit] = [
        RemoveElement.of(f"domain/os/boot#{number}", node) for number, node in enumerate(written, 1)
    ]
    found = [key for name in _boot_devices(domain) if (key := _first(domain, name))]
    for order, key in enumerate(found, 1):
        edits.append(AddElement(key, Element("boot", {"order": str(order)}), ""))
    text = "named by <boot order=''/> now: <boot dev=''/> would mean another disk, since libvirt sorts those of a bus"
    return edits, Note("boot-order", tuple(found), text)


def _boot_devices(domain: Domain) -> list[str]:
    """Return dev of each <boot> of <os>; without any, and none at a device, libvirt starts from the first hard disk."""
    os_node = domain.root.find("os")
    found = [node.attrs.get("dev", "") for node in os_node.findall("boot")] if os_node is not None else []
    if found or (os_node is not None and os_node.find("kernel") is not None):
        return found
    ordered = any(device.node is not None and device.node.find("boot") for device in domain.devices)
    return [] if ordered else ["hd"]


def _first(domain: Domain, name: str) -> str:
    """Return the key of the device that <boot dev=''/> means, '' where there is none."""
    if name == "network":
        return next((device.key for device in domain.devices if device.tag == "interface"), "")
    kinds = _DISKS.get(name, ())
    return next((disk.key for disk in _in_order(domain) if _kind(disk) in kinds), "")


def _kind(disk: Device) -> str:
    return "" if disk.node is None else disk.node.attrs.get("device", "disk")


def _in_order(domain: Domain) -> list[Device]:
    """Return the disks as libvirt lists them: those of a bus together, by target (virDomainDiskInsert, domain_conf.c)."""
    disks = [device for device in domain.devices if device.tag == "disk"]
    met = {bus: number for number, bus in enumerate(dict.fromkeys(disk.type for disk in disks))}
    return sorted(disks, key=lambda disk: (met[disk.type], disk_number(disk)))
