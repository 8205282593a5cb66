"""The devices that libvirt adds to a domain by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.devices import (
    AUTO,
    DRIVE_UNITS,
    PCI,
    PCIE,
    Device,
    attribute,
    drive_seat,
    make_virtio,
    number,
)

if TYPE_CHECKING:
    from fixer.domain.document import Node


def implicit_controllers(root: Node, devices: list[Device], q35: bool) -> list[Device]:
    """Return the devices that libvirt would add to these on define, in its order (FACTS: placement).

    Sources: qemuDomainDefAddDefaultDevices (src/qemu/qemu_domain.c) and virDomainDefAddImplicitDevices
    (src/conf/domain_conf.c).
    """
    have = {(device.type, device.index) for device in devices if device.tag == "controller"}
    tags = {device.tag for device in devices}
    kinds = {kind for kind, _ in have}
    added: list[Device] = []

    def controller(kind: str, index: int, model: str, connect: int) -> None:
        if (kind, index) in have:
            return
        have.add((kind, index))
        device = _implicit("controller", f"{kind} {index}", model, connect)
        device.type, device.index = kind, index
        if kind == "virtio-serial":
            make_virtio(device, "console")
        added.append(device)

    if q35:
        controller("sata", 0, "", PCI | AUTO)
    if "usb" not in kinds:
        controller("usb", 0, "qemu-xhci" if q35 else "piix3-uhci", AUTO | (PCIE if q35 else PCI))
    if "memballoon" not in tags:
        balloon = _implicit("memballoon", "", "virtio", 0)
        make_virtio(balloon, "balloon")
        added.append(balloon)
    if "video" not in tags and _has_graphics(root):
        added.append(_implicit("video", "cirrus", "cirrus", PCI | AUTO))
    highest = _controllers_of_disks(devices)
    for kind in DRIVE_UNITS:
        for index in range(highest.get(kind, -1) + 1):
            controller(kind, index, "lsilogic" if kind == "scsi" else "", 0 if kind == "fdc" else PCI | AUTO)
    for index in range(_virtio_serials(root) + 1):
        controller("virtio-serial", index, "virtio", 0)
    return added


def _implicit(tag: str, name: str, model: str, connect: int) -> Device:
    device = Device(tag, None, name)
    device.model = model
    device.connect = connect
    device.implicit = True
    return device


def _has_graphics(root: Node) -> bool:
    return any(child.name == "graphics" for devices in root.findall("devices") for child in devices.children)


def _controllers_of_disks(devices: list[Device]) -> dict[str, int]:
    """Return the highest controller index that disks and SCSI host devices of each bus ask for."""
    highest: dict[str, int] = {}
    for device in devices:
        kind = device.type
        if kind not in DRIVE_UNITS or device.tag not in {"disk", "hostdev"}:
            continue
        index, _ = drive_seat(device)
        if index > highest.get(kind, -1):
            highest[kind] = index
    return highest


def _virtio_serials(root: Node) -> int:
    """Return the highest virtio-serial controller index that channels and consoles ask for, or -1."""
    highest = -1
    for devices in root.findall("devices"):
        for child in devices.children:
            if child.name not in {"channel", "console"} or attribute(child, "target", "type") != "virtio":
                continue
            address = child.find("address")
            index = 0
            if address is not None and address.attrs.get("type") == "virtio-serial":
                index = number(address.attrs.get("controller", "0")) or 0
            highest = max(highest, index)
    return highest
