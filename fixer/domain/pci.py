"""The PCI topology: buses, slots, who sits where.

The guest's own bus numbers come from a depth-first walk, as firmware numbers them. Where libvirt puts
what has no address is the business of ``placement``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain import devices as d

if TYPE_CHECKING:
    from collections.abc import Collection

    from fixer.domain.devices import Address, Device
    from fixer.domain.machine import Family

# What each controller model offers downstream: connect flags, first slot, last slot
# (virDomainPCIAddressBusSetModel, src/conf/domain_addr.c).
_BUS_RULES: dict[str, tuple[int, int, int]] = {
    "pci-root": (d.AUTO | d.PCI | d.PCI_BRIDGE | d.PCI_EXPANDER, 1, 31),
    "pci-bridge": (d.AUTO | d.PCI | d.PCI_BRIDGE, 1, 31),
    "pci-expander-bus": (d.AUTO | d.PCI | d.PCI_BRIDGE, 0, 31),
    "pcie-root": (d.PCIE | d.ROOT_PORT | d.DMI_BRIDGE | d.PCIE_EXPANDER, 1, 31),
    "dmi-to-pci-bridge": (d.PCI | d.PCI_BRIDGE, 0, 31),
    "pcie-to-pci-bridge": (d.AUTO | d.PCI | d.PCI_BRIDGE, 1, 31),
    "pcie-root-port": (d.AUTO | d.PCIE | d.UPSTREAM | d.PCIE_PCI_BRIDGE, 0, 0),
    "pcie-switch-downstream-port": (d.AUTO | d.PCIE | d.UPSTREAM | d.PCIE_PCI_BRIDGE, 0, 0),
    "pcie-switch-upstream-port": (d.DOWNSTREAM, 0, 31),
    "pcie-expander-bus": (d.ROOT_PORT | d.DMI_BRIDGE, 0, 31),
}
# QEMU makes virtio modern-only behind an express bus that is no root bus (hw/virtio/virtio-pci.c).
EXPRESS_PORTS = frozenset({"pcie-root-port", "pcie-switch-downstream-port", "pcie-switch-upstream-port"})
CONVENTIONAL = frozenset(
    {"pci-root", "pci-bridge", "pcie-to-pci-bridge", "dmi-to-pci-bridge", "pci-expander-bus"}
)
EXPANDERS = frozenset({"pci-expander-bus", "pcie-expander-bus"})
ROOTS = frozenset({"pci-root", "pcie-root"})

# Places of the chipset (hw/i386/pc_q35.c, pc_piix.c; qemuDomainValidateDevicePCISlots*).
LPC, SATA, SMBUS = 0x1F << 3, 0x1F << 3 | 2, 0x1F << 3 | 3
PIIX_ISA, PIIX_IDE, PIIX_USB, PIIX_PM = 1 << 3, 1 << 3 | 1, 1 << 3 | 2, 1 << 3 | 3
HDA = 0x1B << 3
# 8 bits of bus number, PCI Local Bus Specification 3.0, section 3.2.2.3.2.
MOST_BUSES = 256


class Bus:
    """One PCI bus: the controller that makes it, what may sit there, and what does.

    ``functions[slot]`` is a bit mask of the functions in use; ``number`` is its place in the guest's enumeration, -1
    where the guest's firmware can not reach the bus; ``seen_as`` is the number that firmware and guest give it, which
    differs from that below an expander.
    """

    __slots__ = (
        "aggregate",
        "controller",
        "first",
        "flags",
        "functions",
        "index",
        "last",
        "model",
        "number",
        "seen_as",
    )

    def __init__(self, index: int, model: str, controller: Device | None) -> None:
        self.index = index
        self.model = model
        self.controller = controller
        self.flags, self.first, self.last = _BUS_RULES[model]
        self.functions = [0] * 32
        self.aggregate = 0
        self.number = -1
        self.seen_as = -1

    @property
    def made_up(self) -> bool:
        """Whether libvirt adds the controller of this bus by itself."""
        return self.controller is None or self.controller.node is None


class Layout:
    """Where everything sits: ``at[device]`` is its address, ``holder[address]`` the device there."""

    __slots__ = ("at", "buses", "devices", "family", "holder", "top")

    def __init__(
        self, family: Family, devices: list[Device], buses: list[Bus], at: dict[Device, Address]
    ) -> None:
        self.family = family
        self.devices = devices
        self.buses = buses
        self.at = at
        self.holder = {address: device for device, address in at.items()}
        # Per bus index: the address on a root bus of the bridge that it hangs from, None for root buses.
        self.top: list[Address | None] = [None] * len(buses)
        self._number_buses()

    def bus_of(self, device: Device) -> Bus | None:
        address = self.at.get(device)
        return None if address is None else self.buses[address >> 8]

    def order(self, address: Address) -> int:
        """Return the place of an address in the guest's enumeration: guest's bus, slot, function."""
        return self.buses[address >> 8].number << 8 | address & 0xFF

    def headed_by(self, address: Address) -> list[Device]:
        """Return the other functions of a slot whose function 0 is at ``address``, [] where that is no function 0."""
        if address & 7:
            return []
        holder = self.holder
        return [holder[address | other] for other in range(1, 8) if address | other in holder]

    def children(self, bus: int) -> list[tuple[Address, Device]]:
        """Return the devices on a bus by slot and function."""
        return sorted(
            ((address, device) for device, address in self.at.items() if address >> 8 == bus),
            key=lambda pair: pair[0],
        )

    def _number_buses(self) -> None:
        bridges: dict[int, list[tuple[Address, Bus]]] = {}
        roots: list[Bus] = []
        for bus in self.buses:
            if bus.model in ROOTS:
                roots.append(bus)
                continue
            address = None if bus.controller is None else self.at.get(bus.controller)
            if bus.model in EXPANDERS:
                roots.append(bus)
            elif address is not None:
                bridges.setdefault(address >> 8, []).append((address, bus))
        # Bus 0 first, then the host bridges of expanders as the ACPI tables name them, the last one made first
        # (QEMU hw/i386/acpi-build.c, build_dsdt, goes through the list of child buses, to whose head each is added;
        # seen with Linux guests, whatever busNr says).
        roots.sort(key=lambda bus: -bus.index if bus.model in EXPANDERS else -MOST_BUSES)
        number = 0
        for root in roots:
            first, known_as = number, _expander_number(root) if root.model in EXPANDERS else number
            todo: list[tuple[Bus, Address | None]] = [(root, None)]
            while todo:
                bus, top = todo.pop()
                bus.number = number
                bus.seen_as = known_as + number - first
                self.top[bus.index] = top
                number += 1
                for address, child in sorted(bridges.get(bus.index, ()), key=lambda pair: -pair[0]):
                    todo.append((child, address if bus is root else top))

    def unreachable(self) -> list[Bus]:
        return [bus for bus in self.buses if bus.number < 0]


def _expander_number(bus: Bus) -> int:
    """Return the guest's number of an expander bus: busNr; libvirt gives the highest free ones where it is not written.

    A pci-expander-bus has a bridge of its own, behind which its devices sit (QEMU docs/pci_expander_bridge.txt).
    """
    inner = bus.model == "pci-expander-bus"
    return (_of_target(bus, "busNr") or MOST_BUSES - bus.index) + inner


def free_chassis(layout: Layout, index: int, given: Collection[int] = ()) -> int:
    """Return a chassis number for a new root port: its index, as libvirt would take, where no other port has it.

    QEMU does not start with two ports of one chassis and slot (hw/pci/pcie_port.c, pcie_chassis_add_slot). ``given``
    are the numbers that other new ports take.
    """
    used = {
        *given,
        *(chassis_of(bus) for bus in layout.buses if bus.model in EXPRESS_PORTS and not bus.made_up),
    }
    if index not in used:
        return index
    return next(number for number in range(255, 0, -1) if number not in used)  # 8 bits of chassis


def chassis_of(bus: Bus) -> int:
    """Return the chassis number of an express port: as written, else its index (src/conf/domain_addr.c)."""
    written = _of_target(bus, "chassis")
    return bus.index if written is None else written


def _of_target(bus: Bus, name: str) -> int | None:
    """Return a number of <target> of the controller that makes a bus, None where it is not written."""
    node = bus.controller.node if bus.controller is not None else None
    return d.number(d.attribute(node, "target", name)) if node is not None else None
