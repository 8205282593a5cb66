"""Free PCI places, and the order that a move must keep.

A guest names its disks and NICs in enumeration order (FACTS: guest-visible order), so the devices of
one driver must stay in order, moved or not. A ``Spot`` is a place together with its rank in that order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.pci import CONVENTIONAL, HDA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain
    from fixer.domain.pci import Bus

# Rank of a place: devfn on the root bus of the bridge above it (-1 on the root bus itself), the guest's
# number of its bus, slot and function. Tuples of these sort as the guest enumerates.
Rank = tuple[int, float, int]
FIRST: Rank = (-2, 0, 0)
LAST: Rank = (1 << 20, 0, 0)

# Places that QEMU and libvirt like for a first video card and for ICH9 sound. They are left free for
# devices that an owner adds later, as long as there is room elsewhere.
_LIKED = {1, HDA >> 3}
_CHIPSET_SLOT = 0x1F


class Spot(NamedTuple):
    """A free place: its address and its rank."""

    address: Address
    rank: Rank


class Places:
    """The free places of one domain while a plan is being made; ``take`` uses them up."""

    def __init__(self, domain: Domain) -> None:
        layout = domain.layout
        assert layout is not None
        self.layout = layout
        self.taken = set(layout.at.values()) | domain.properties.places
        self.root_slots = {address >> 3 & 31 for address in self.taken if address >> 8 == 0}
        self.root_slots |= {0, _CHIPSET_SLOT}
        self.heads: list[Address] = []  # places on the root bus of the bridges that the plan adds
        self._plan: list[Address] = []
        self._wanted: set[Address] = set()
        named = [dev.index for dev in domain.devices if dev.is_bridge]
        named += [dev.address >> 8 for dev in domain.devices if dev.address is not None]
        # Controllers that libvirt would add have no index yet: it fills in what the XML leaves open.
        self.next_index = max(named, default=0) + 1

    def rank(self, address: Address) -> Rank:
        bus = address >> 8
        if bus == 0:
            return -1, 0, address
        top = self.layout.top[bus]
        # What hangs from an expander comes behind all of bus 0.
        above = 1 << 16 if top is None or top >> 8 else top
        return above, self.layout.buses[bus].number, address & 0xFF

    def take(self, address: Address) -> None:
        self.taken.add(address)
        if address >> 8 == 0:
            self.root_slots.add(address >> 3 & 31)

    # --- pcie.0 -----------------------------------------------------------------------------------

    def free_slots(self) -> list[int]:
        return [slot for slot in range(1, _CHIPSET_SLOT) if slot not in self.root_slots]

    def reclaim(self, leaving: list[Device]) -> None:
        """Where slots are short, free those of root ports that libvirt would make up for ``leaving``.

        libvirt packs eight ports a slot, from the lowest free slot on.
        """
        if len(self.free_slots()) >= len(leaving):
            return
        at = self.layout.at
        ports = [bus for bus in self.layout.buses if bus.model == "pcie-root-port" and bus.made_up]
        slots = sorted({at[bus.controller] >> 3 for bus in ports if bus.controller is not None})
        left = max(len(ports) - sum(device.address is None for device in leaving), 1)
        freed = set(slots[-(-left // 8) :])
        self.root_slots -= freed
        self.taken = {address for address in self.taken if address >> 3 not in freed}

    def hangs_on_made_up_bridge(self) -> bool:
        """Tell whether an address of the XML lies on a conventional bus that only libvirt's growth makes.

        Controllers with higher indexes end that: libvirt then fills the gap with root ports.
        """
        buses = {address >> 8 for device, address in self.layout.at.items() if device.address is not None}
        return any(
            self.layout.buses[bus].made_up and self.layout.buses[bus].model in CONVENTIONAL for bus in buses
        )

    def plan_root(self, count: int, spare: int) -> None:
        """Lay out places for ``count`` integrated endpoints, ``spare`` slots kept for bridges.

        Each device gets a slot of its own while there are enough; else the last slots are filled with
        eight functions each, as few of them as will do.
        """
        slots = self.free_slots()
        liked = [slot for slot in slots if slot in _LIKED]
        if len(slots) - len(liked) - spare >= count:
            slots = [slot for slot in slots if slot not in _LIKED]
        usable = slots[: len(slots) - spare] if spare else slots
        packed = 0
        while len(usable) - packed + 8 * packed < count and packed < len(usable):
            packed += 1
        single = len(usable) - packed
        self._plan = [slot << 3 for slot in usable[:single]]
        self._plan += [slot << 3 | function for slot in usable[single:] for function in range(8)]
        self._wanted = set(self._plan[:count])

    def on_root(self, low: Rank, high: Rank) -> Spot | None:
        """Return the first free planned place on the root bus between two ranks."""
        for address in self._plan:
            if address in self.taken:
                continue
            rank: Rank = (-1, 0, address)
            if low < rank < high:
                return Spot(address, rank)
        return None

    # --- conventional bridges ---------------------------------------------------------------------

    def bridges(self, *, hotplug: bool) -> list[Bus]:
        """Return the conventional buses behind bridges of the XML, in the guest's order.

        A bridge that libvirt would add is not among them: its index is not settled.
        """
        found = [
            bus
            for bus in self.layout.buses
            if bus.index
            and bus.model in CONVENTIONAL
            and not bus.made_up
            and (not hotplug or bus.model in {"pci-bridge", "pcie-to-pci-bridge"})
        ]
        return sorted(found, key=lambda bus: bus.number)

    def on_bridge(self, bus: Bus, low: Rank, high: Rank) -> Spot | None:
        for slot in range(bus.first, bus.last + 1):
            address = bus.index << 8 | slot << 3
            if not bus.functions[slot] and not any(address | function in self.taken for function in range(8)):
                rank = self.rank(address)
                if low < rank < high:
                    return Spot(address, rank)
        return None

    # --- new bridges ------------------------------------------------------------------------------

    def new_ports(self, *, beside: bool) -> Iterator[Address]:
        """Yield places on the root bus for the head of a new bridge: those behind all others first.

        With ``beside`` a free function next to existing root ports will do, which costs no slot.
        """
        highest = max((top for top in (*self.layout.top, *self.heads) if top is not None), default=0)
        functions = list(self._beside_ports()) if beside else []
        free = [slot << 3 for slot in self.free_slots()]
        groups = (
            functions,
            [place for place in free if place not in self._wanted and place >> 3 not in _LIKED],
            [place for place in free if place in self._wanted and place >> 3 not in _LIKED],
            [place for place in free if place >> 3 in _LIKED],
        )
        yield from (place for group in groups for place in group if place > highest)
        yield from (place for group in groups for place in reversed(group) if place <= highest)

    def empty_ports(self) -> Iterator[tuple[int, Address]]:
        """Yield the bus of each root port of the XML that has nothing behind it, and the port's place on bus 0."""
        for bus in sorted(self.layout.buses, key=lambda bus: bus.number):
            top = self.layout.top[bus.index]
            if bus.model != "pcie-root-port" or bus.made_up or top is None or top >> 8:
                continue
            if not any(bus.functions) and bus.index << 8 not in self.taken:
                yield bus.index, top

    def _beside_ports(self) -> Iterator[Address]:
        """First free function of each slot that holds nothing but root ports of the XML, multifunction on."""
        slots: dict[int, list[Device]] = {}
        for device, address in self.layout.at.items():
            if address >> 8 == 0:
                slots.setdefault(address >> 3, []).append(device)
        for slot, devices in sorted(slots.items()):
            head = self.layout.holder.get(slot << 3)
            if head is None or head.node is None or head.multifunction != "on":
                continue
            if all(device.model == "pcie-root-port" for device in devices):
                yield from [slot << 3 | fn for fn in range(8) if slot << 3 | fn not in self.taken][:1]
