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
from fixer.errors import VirtfixError

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
    for index in range(_virtio_serials(root, devices) + 1):
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
            highest[kind] = _possible(index, device.node)
    return highest


# Ports of a virtio-serial controller where its XML does not say; number 0 is kept for consoles
# (src/conf/domain_addr.c, virDomainVirtioSerialAddrSetAddController and virDomainVirtioSerialAddrAssign).
_PORTS = 31
# The slots of all buses that PCI has (PCI Local Bus Specification 3.0, section 3.2.2.3.2).
_MOST_CONTROLLERS = 256 * 32


def _possible(index: int, node: Node | None) -> int:
    """Return a controller's index. Raises VirtfixError for one up to which no libvirt makes controllers."""
    if index < _MOST_CONTROLLERS:
        return index
    raise VirtfixError(
        "controller.index",
        f"an address names controller {index}, and libvirt would have to add all those before it",
        where=str(node.line) if node is not None else "",
        hint="name a controller that the domain has",
    )


def _virtio_serials(root: Node, devices: list[Device]) -> int:
    """Return the highest virtio-serial controller index that channels and consoles ask for, or -1."""
    used: dict[int, int] = {}  # channels by the controller that their address names
    loose = consoles = 0
    for container in root.findall("devices"):
        for child in container.children:
            if child.name not in {"channel", "console"} or attribute(child, "target", "type") != "virtio":
                continue
            address = child.find("address")
            if address is not None and address.attrs.get("type") == "virtio-serial":
                index = _possible(number(address.attrs.get("controller", "0")) or 0, address)
                used[index] = used.get(index, 0) + (child.name == "channel")
            elif child.name == "channel":
                loose += 1
            else:
                consoles += 1
    if not used and not loose:
        return 0 if consoles else -1
    room = {device.index: _ports(device) - 1 for device in devices if device.type == "virtio-serial"}
    index = -1
    while loose > 0 or index < max(used, default=-1):  # libvirt fills one controller after the other
        index += 1
        loose -= max(room.get(index, _PORTS - 1) - used.get(index, 0), 0)
    return index


def _ports(controller: Device) -> int:
    written = controller.node.attrs.get("ports", "") if controller.node is not None else ""
    return number(written) or _PORTS
