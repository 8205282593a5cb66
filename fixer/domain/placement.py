"""Where libvirt puts devices without an address, and the controllers that it adds for them.

``place`` follows qemuDomainAssignPCIAddresses (src/qemu/qemu_domain_address.c) and
src/conf/domain_addr.c of libvirt: a dry pass finds out which controllers are missing, a second one
gives the addresses. tests/real compares it with libvirt itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain import devices as d
from fixer.domain.devices import Address, Device, format_address
from fixer.domain.machine import Family
from fixer.domain.pci import (
    HDA,
    LPC,
    MOST_BUSES,
    PIIX_IDE,
    PIIX_ISA,
    PIIX_PM,
    PIIX_USB,
    SATA,
    SMBUS,
    Bus,
    Layout,
)
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from fixer.domain.document import Node

# The order in which libvirt gives addresses (qemuDomainAssignDevicePCISlots).
_ASSIGN_ORDER = {
    tag: place
    for place, tag in enumerate(
        (
            "bridge",
            "filesystem",
            "interface",
            "sound",
            "controller",
            "disk",
            "hostdev",
            "memballoon",
            "rng",
            "watchdog",
            "video",
            "shmem",
            "input",
            "serial",
            "vsock",
            "memory",
            "iommu",
            "crypto",
        )
    )
}
# The order of virDomainDeviceInfoIterateFlags (src/conf/domain_conf.c).
_COLLECT_ORDER = {
    tag: place
    for place, tag in enumerate(
        (
            *(
                "disk",
                "interface",
                "sound",
                "hostdev",
                "video",
                "controller",
                "serial",
                "input",
                "filesystem",
            ),
            *("watchdog", "memballoon", "rng", "shmem", "memory", "iommu", "vsock", "crypto"),
        )
    )
}


class _Addresses:
    """virDomainPCIAddressSet: buses being filled. In a dry pass it grows by the buses it lacks."""

    def __init__(self, buses: list[Bus], dry: bool) -> None:
        self.buses = buses
        self.dry = dry

    def in_use(self, address: Address) -> int:
        return self.buses[address >> 8].functions[address >> 3 & 31]

    def reserve(self, address: Address, flags: int, name: str, node: Node | None = None) -> Address:
        """Take an address that the XML names; return where it ends. Raises VirtfixError where libvirt refuses it.

        Where the bus has to be made, and a root port for it first, libvirt moves the address one bus on.
        """
        if address >> 8 >= len(self.buses):
            if address >> 8 == len(self.buses) and self._needs_port(flags):
                address += 1 << 8
            self.grow((address >> 8) + 1, flags, node)
        bus = self.buses[address >> 8]
        slot = address >> 3 & 31
        self._check(bus, slot, address, flags, name, node)
        if bus.functions[slot] & 1 << (address & 7):
            raise VirtfixError(
                "address.duplicate",
                f"{name} has the PCI address {format_address(address)}, which is taken",
                where=_line(node),
                hint="give it a free address, or remove the <address> and let libvirt choose",
            )
        self.take(address, flags)
        return address

    def _needs_port(self, flags: int) -> bool:
        """Tell whether a conventional bus for a device must start with a root port and a bridge behind it."""
        return bool(flags & d.PCI) and not any(bus.flags & d.PCI_BRIDGE for bus in self.buses)

    def take(self, address: Address, flags: int) -> None:
        bus, slot = self.buses[address >> 8], address >> 3 & 31
        if not bus.functions[slot] and flags & d.AGGREGATE:
            bus.aggregate |= 1 << slot
        bus.functions[slot] |= 1 << (address & 7)

    def _check(self, bus: Bus, slot: int, address: Address, flags: int, name: str, node: Node | None) -> None:
        offered = bus.flags
        if offered & (d.PCI | d.PCIE):  # an address in the XML may put either kind on either
            offered |= d.PCI | d.PCIE
        if flags & d.PCI_BRIDGE:
            flags |= d.PCI
        fits = flags & offered & d.TYPES and not (flags & d.INTEGRATED and bus.index)
        if fits and bus.first <= slot <= bus.last:
            return
        what = f"slot {slot:#04x} does not exist there" if fits else "that bus does not take such a device"
        raise VirtfixError(
            "address.bus",
            f"{name} can not sit at {format_address(address)} ({bus.model}): {what}",
            where=_line(node),
            hint="give it a place that libvirt accepts, or remove the <address>",
        )

    def next(self, flags: int, function: int = -1) -> Address:
        """Find the address that libvirt would give to a device with these flags."""
        wanted = max(function, 0)
        for bus in self.buses:
            if not flags & bus.flags & d.TYPES:
                continue
            if flags & d.AUTO and not bus.flags & d.AUTO:
                continue
            if flags & d.INTEGRATED and bus.index:
                continue
            for slot in range(bus.first, bus.last + 1):
                used = bus.functions[slot]
                if not used:
                    return bus.index << 8 | slot << 3 | wanted
                if flags & d.AGGREGATE and bus.aggregate & 1 << slot and used != 0xFF:
                    free = ~used & (used + 1)
                    return bus.index << 8 | slot << 3 | free.bit_length() - 1
        if not self.dry:
            raise _no_room(flags)
        before = len(self.buses)
        self.grow(before + 1, flags)
        added = self.buses[-1] if flags & d.PCI else self.buses[before]
        return added.index << 8 | added.first << 3 | wanted

    def grow(self, count: int, flags: int, node: Node | None = None) -> None:
        """Add the controllers that make bus ``count - 1`` exist (virDomainPCIAddressSetGrow)."""
        if not self.dry or count > MOST_BUSES or not flags & (d.PCI | d.PCIE | d.UPSTREAM):
            raise _no_room(flags, node)
        if flags & d.PCI:
            if self._needs_port(flags):
                count = max(count, len(self.buses) + 2)
                port = self._append("pcie-root-port")
                port.flags = d.PCIE_PCI_BRIDGE
                self._append("pcie-to-pci-bridge")
            model = "pci-bridge"
        else:
            model = "pcie-root-port"
        while len(self.buses) < count:
            self._append(model)

    def _append(self, model: str) -> Bus:
        bus = Bus(len(self.buses), model, None)
        self.buses.append(bus)
        return bus


def _line(node: Node | None) -> str:
    return str(node.line) if node is not None else ""


def _no_room(flags: int, node: Node | None = None) -> VirtfixError:
    what = "a PCI controller" if not flags & (d.PCI | d.PCIE) else "a device"
    return VirtfixError(
        "address.room",
        f"there is no PCI place left for {what}",
        where=_line(node),
        hint="libvirt refuses this domain too; remove devices or give addresses on pcie.0",
    )


def place(family: Family, devices: list[Device]) -> Layout:
    """Return where libvirt puts ``devices`` (implicit ones included), with the controllers it adds.

    Raises VirtfixError for addresses that libvirt refuses: taken, on a bus that does not take the
    device, on a slot that the bus has not, bridges in a ring.
    """
    floating = any(device.address is None and device.connect for device in devices)
    devices = _libvirt_order(devices) if floating else list(devices)  # the order decides about these only
    bridges = [device for device in devices if device.is_bridge]
    root = "pcie-root" if family is Family.Q35 else "pci-root"
    _check_root(bridges, root)
    if not any(device.index == 0 for device in bridges):
        bridges.insert(0, _controller(0, root))
        devices.insert(0, bridges[0])
    flags = _resolve(family, devices)
    written = {device: device.address for device in devices if device.address is not None}
    addresses, at = _first_pass(family, devices, bridges, flags, written)
    known = {device.index for device in bridges}
    added = [_controller(bus.index, bus.model) for bus in addresses.buses if bus.index not in known]
    if added:
        bridges += added  # libvirt appends what it adds, and gives addresses in that order
        devices = bridges + [device for device in devices if not device.is_bridge]
        flags.update((device, device.connect) for device in added)
    # The dry pass of pcie-root reserves nothing that the second would not, unless it added buses.
    floating = any(device.address is None for device in at)
    if added or (floating and family is not Family.Q35):
        addresses = _Addresses(_buses(bridges, root, len(addresses.buses)), dry=False)
        at = _assign(family, addresses, devices, flags, written)
    layout = Layout(family, devices, addresses.buses, at)
    for bus in layout.unreachable():
        if bus.made_up:  # libvirt: too many devices with fixed addresses (qemuDomainAssignPCIAddresses)
            raise VirtfixError(
                "address.room",
                "bus 0 has no slot left for the PCI bridge that devices without an address need",
                hint="libvirt refuses this domain too; free a slot on bus 0, or give them addresses",
            )
        node = bus.controller.node if bus.controller is not None else None
        raise VirtfixError(
            "address.ring",
            f"PCI controller {bus.index} hangs, through its own children, from itself",
            where=_line(node),
            hint="give it an address on a bus that leads to bus 0",
        )
    return layout


def _check_root(bridges: list[Device], root: str) -> None:
    for device in bridges:
        if device.index == 0 and device.model not in {"", root}:
            raise VirtfixError(
                "controller.root",
                f"PCI controller 0 is a {device.model}, and this machine has a {root} there",
                where=_line(device.node),
                hint="number the controllers from 1, or write the root down first",
            )


def _first_pass(
    family: Family,
    devices: list[Device],
    bridges: list[Device],
    flags: dict[Device, int],
    written: dict[Device, Address],
) -> tuple[_Addresses, dict[Device, Address]]:
    """Do the dry pass; the buses of the result are those that the domain will have."""
    root = "pcie-root" if family is Family.Q35 else "pci-root"
    highest = max(device.index for device in bridges)
    if highest >= MOST_BUSES:
        raise _no_room(0, max(bridges, key=lambda device: device.index).node)
    addresses = _Addresses(_buses(bridges, root, highest + 1), dry=True)
    explicit = len(addresses.buses)
    spare = family is Family.I440FX and any(flags[device] and device.address is None for device in devices)
    at = _assign(family, addresses, devices, flags, written, spare_slot=spare)
    if family is Family.Q35 and highest == 0 and len(addresses.buses) > 1:
        # libvirt leaves one empty root port in a domain whose topology it made itself.
        addresses.take(addresses.next(d.PCIE | d.AUTO), 0)
    index = explicit
    while index < len(addresses.buses):  # each added controller needs a place, which may add another
        addresses.take(addresses.next(d.PCI_CONTROLLERS[addresses.buses[index].model]), d.AGGREGATE)
        index += 1
    return addresses, at


def _controller(index: int, model: str) -> Device:
    device = Device("controller", None, f"pci {index}")
    device.type, device.model, device.index, device.is_bridge = "pci", model, index, True
    device.connect = d.PCI_CONTROLLERS[model]
    device.implicit = True
    return device


def _buses(bridges: list[Device], root: str, count: int) -> list[Bus]:
    by_index = {device.index: device for device in bridges}
    default = "pcie-root-port" if root == "pcie-root" else "pci-bridge"
    buses = []
    for index in range(count):
        controller = by_index.get(index)
        model = (controller.model if controller is not None else "") or (default if index else root)
        buses.append(Bus(index, model, controller))
    return buses


def _resolve(family: Family, devices: list[Device]) -> dict[Device, int]:
    virtio = d.PCIE if family is Family.Q35 else d.PCI
    flags = {}
    for device in devices:
        connect = device.connect
        if connect & d.VIRTIO:
            connect = connect & ~d.VIRTIO | virtio
        elif connect & d.PCIE and family is not Family.Q35 and not device.is_bridge:
            connect = connect & ~d.PCIE | d.PCI
        flags[device] = connect
    return flags


def _libvirt_order(devices: list[Device]) -> list[Device]:
    """Sort as libvirt keeps its lists: by kind, controllers by type and index, disks by target."""
    first: dict[str, int] = {}
    for device in devices:
        if device.tag == "controller":
            first.setdefault(device.type, len(first))

    def key(device: Device) -> tuple[int, int, int]:
        tag = device.tag
        if tag == "controller":
            if device.type == "pci":
                return 0, device.index, 0
            if device.implicit:  # appended, not sorted in (virDomainDefMaybeAddController)
                return _ASSIGN_ORDER[tag], len(first), 0
            return _ASSIGN_ORDER[tag], first[device.type], device.index
        if tag == "disk":
            return _ASSIGN_ORDER[tag], d.disk_index(device.key[5:-1]), 0
        if tag == "interface" and device.type == "hostdev":
            return _ASSIGN_ORDER["hostdev"], 0, 0
        return _ASSIGN_ORDER.get(tag, len(_ASSIGN_ORDER)), 1, 0  # an unknown one has an address

    return sorted(devices, key=key)


def _assign(
    family: Family,
    addresses: _Addresses,
    devices: list[Device],
    flags: dict[Device, int],
    written: dict[Device, Address],
    *,
    spare_slot: bool = False,
) -> dict[Device, Address]:
    """One pass: reserve what the XML names, then the chipset, then give addresses to the rest.

    ``written`` are the addresses of the XML; libvirt changes them where it has to make their bus.
    """
    at: dict[Device, Address] = {}
    todo = [
        device
        for device in devices
        if device.address is None and flags[device] and not (device.is_bridge and device.index == 0)
    ]
    piix = family is Family.I440FX
    for device in _collect_order(written, len(addresses.buses)):
        address = at[device] = written[device]
        if piix and device.tag == "controller" and address in {PIIX_IDE, PIIX_USB}:
            continue
        node = device.address_node
        at[device] = written[device] = addresses.reserve(address, flags[device] or d.PCI, device.key, node)
    chipset = _piix if piix else _q35
    chipset(addresses, devices, todo, at)
    if spare_slot:
        addresses.take(addresses.next(d.PCI | d.AUTO), 0)
    for device in todo:
        if device in at:
            continue
        address = (
            _companion(addresses, devices, device, at)
            if device.model in d.USB2_COMPANIONS
            else addresses.next(flags[device])
        )
        addresses.take(address, flags[device])
        at[device] = address
    return at


def _collect_order(written: dict[Device, Address], buses: int) -> list[Device]:
    """Return the devices with an address, in the order in which libvirt takes note of them.

    It matters only where an address names a bus without a controller: the first one decides what is made.
    """
    if all(address >> 8 < buses for address in written.values()):
        return list(written)
    return sorted(written, key=lambda device: _COLLECT_ORDER.get(device.tag, len(_COLLECT_ORDER)))


def _companion(
    addresses: _Addresses, devices: list[Device], device: Device, at: dict[Device, Address]
) -> Address:
    """USB 2 companions share the slot of the first of them, in libvirt's order, that has an address."""
    function = d.USB2_COMPANIONS[device.model]
    for other in devices:
        if other in at and other.index == device.index and other.model in d.USB2_COMPANIONS:
            return at[other] & ~7 | function
    return addresses.next(d.PCI | d.AUTO, function)


def _q35(addresses: _Addresses, devices: list[Device], todo: list[Device], at: dict[Device, Address]) -> None:
    """What the ICH9 holds, and the places it likes (qemuDomainValidateDevicePCISlotsQ35)."""
    for device in todo:
        if device.type == "sata" and device.index == 0:
            at[device] = SATA
            addresses.reserve(SATA, d.PCI, device.key)
        elif device.model == "ich9-uhci1":
            for slot in (0x1D, 0x1A):
                if not addresses.in_use(slot << 3):
                    at[device] = slot << 3
                    addresses.take(slot << 3, 0)
                    break
        elif device.model == "dmi-to-pci-bridge" and not addresses.in_use(0x1E << 3):
            at[device] = 0x1E << 3
            addresses.take(0x1E << 3, 0)
    for address, name in ((LPC, "the LPC bridge"), (SMBUS, "the SMBus controller")):
        addresses.reserve(address, d.PCIE, name)
    _primary_video(addresses, devices, at, 1 << 3)
    sound = next((device for device in todo if device.tag == "sound" and device.model == "ich9"), None)
    if sound is not None and not addresses.in_use(HDA):
        at[sound] = HDA
        addresses.take(HDA, 0)


def _piix(
    addresses: _Addresses, devices: list[Device], todo: list[Device], at: dict[Device, Address]
) -> None:
    """What the PIIX3 holds (qemuDomainValidateDevicePCISlotsPIIX3)."""
    for device in todo:
        if device.type == "ide" and device.index == 0:
            at[device] = PIIX_IDE
        elif device.type == "usb" and device.index == 0 and device.model in {"", "piix3-uhci"}:
            at[device] = PIIX_USB
    for address in {PIIX_ISA, PIIX_PM, PIIX_IDE, PIIX_USB} & {PIIX_ISA, PIIX_PM, *at.values()}:
        addresses.take(address, 0)
    _primary_video(addresses, devices, at, 2 << 3)


def _primary_video(
    addresses: _Addresses, devices: list[Device], at: dict[Device, Address], address: Address
) -> None:
    video = next((device for device in devices if device.tag == "video"), None)
    if video is None or video in at or video.model in {"none", "ramfb"}:
        return
    if not addresses.in_use(address):
        at[video] = address
        addresses.take(address, 0)
    else:
        chosen = addresses.next(d.PCI | d.AUTO if video.model not in {"virtio", "bochs"} else d.PCIE | d.AUTO)
        at[video] = chosen
        addresses.take(chosen, 0)
