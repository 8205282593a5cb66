"""Q35 to i440FX, the way back: what sat on pcie.0 keeps its slot, what sat behind ports comes onto pci.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.conversion import storage
from fixer.conversion.board import (
    Board,
    Conversion,
    Move,
    NoRoomError,
    Wishes,
    kept_note,
    refusal,
    seat,
    set_machine,
    written_down,
)
from fixer.conversion.doubts import overrides, raw_arguments, raw_places
from fixer.domain.devices import drive_seat, kind_of
from fixer.domain.edits import Edit, RemoveElement, SetAttribute
from fixer.domain.pci import PIIX_IDE, PIIX_ISA, PIIX_PM, PIIX_USB, SATA
from fixer.domain.virtio import NATIVE_DRIVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain
    from fixer.domain.pci import Layout
    from fixer.findings import Finding
    from fixer.policy.model import GuestCapabilities

_CHIPSET = (PIIX_ISA, PIIX_IDE, PIIX_USB, PIIX_PM)
_IDE_PLACES = 4  # two channels with two disks each (QEMU hw/ide/piix.c)
_BESIDE = tuple(PIIX_ISA | function for function in range(4, 8))
_SLOTS = 32  # of a bus (PCI Local Bus Specification 3.0, section 3.2.2.3.2)
_NO_PORTS = "i440FX has no express ports"
_CONVENTIONAL = frozenset({"pci-bridge", "pcie-to-pci-bridge"})  # what becomes a pci-bridge


def to_pc(domain: Domain, guest: GuestCapabilities, machine: str, wishes: Wishes) -> Conversion:
    """Return what makes an i440FX machine, of the type ``machine``, out of a Q35 one."""
    del (
        guest
    )  # whatever drives Q35's devices drives these; its disks go back to IDE only if they came from there
    refused = (*_impossible(domain, wishes), *_dangling(domain))
    if refused:
        return Conversion(refused=refused)
    try:
        return _Way(domain, machine).conversion()
    except NoRoomError as error:
        return Conversion(refused=(refusal("domain", str(error)),))


def _impossible(domain: Domain, wishes: Wishes) -> Iterator[Finding]:
    if domain.find("domain/os/type") is None:
        yield refusal("domain", "it has no <os><type> to write the machine type to")
    if domain.firmware.secure_boot and not wishes.bios:
        yield refusal("domain", "secure boot needs the SMM of Q35; --firmware bios does without")
    for device in domain.devices:
        if device.tag == "iommu":
            yield refusal(device.key, "an IOMMU needs Q35")
        elif device.model == "pcie-expander-bus":
            yield refusal(device.key, "a pcie-expander-bus exists on Q35 only")
        elif device.driver and (why := _needs_express(domain, device)):
            yield refusal(device.key, f"{why} wants an express port, or the model -non-transitional")


def _needs_express(domain: Domain, device: Device) -> str:
    """Say why a virtio device only starts behind an express port, '' where it starts on pci.0 too."""
    if device.driver in NATIVE_DRIVERS or device.variant == "non-transitional":
        return ""
    legacy_off = domain.properties.get(device, "disable-legacy", domain.aliases.get(device, ""))
    return "" if legacy_off not in {"", "auto", "off"} else device.needs_modern


def _dangling(domain: Domain) -> Iterator[Finding]:
    """Yield what names buses and devices of QEMU that are not there then, or are others."""
    assert domain.layout is not None
    numbers = _numbers(domain.layout)
    lost = [f"pci.{bus.index}" for bus in domain.layout.buses if numbers.get(bus.index) != bus.index]
    yield from raw_arguments(domain, "pcie.0", "ide", *lost)
    yield from raw_places(domain, _CHIPSET)
    gone = [f"pci.{bus.index}" for bus in domain.layout.buses if bus.index not in numbers]
    yield from overrides(domain, {"ide", "sata0", *gone})


def _numbers(layout: Layout) -> dict[int, int]:
    """Return the new index of each bus that stays. libvirt fills gaps with bridges of its own, so there are none."""
    stay = [bus.index for bus in layout.buses if bus.index and bus.model in _CONVENTIONAL]
    return {0: 0} | {index: number for number, index in enumerate(stay, 1)}


def _is_piix_usb(device: Device) -> bool:
    """Tell whether a USB controller is the one that has its place in the PIIX3, wherever it sat on Q35."""
    return device.type == "usb" and device.index == 0 and device.model in {"", "piix3-uhci"}


class _Way:
    """One conversion while it is being made: places of pci.0, new numbers of the buses that stay."""

    def __init__(self, domain: Domain, machine: str) -> None:
        assert domain.layout is not None
        self.domain = domain
        self.layout = domain.layout
        self.board = Board(domain, _CHIPSET)
        self.edits: list[Edit] = [set_machine(domain, machine)]
        self.moves: list[Move] = []
        self.seats: dict[Device, Address] = {}  # in the guest's order
        self.cards: dict[Device, int] = {}  # SATA controllers and the numbers that they get
        self.aliases = domain.properties.by_alias
        self.buses = _numbers(self.layout)

    def conversion(self) -> Conversion:
        self._storage()
        self._take_seats()
        for device, place in self.seats.items():
            if not device.is_bridge:
                self._seat(device, place)
        self._bridges()
        self._watchdogs()
        memory = self.domain.find("domain/features/smm/tseg")
        if memory is not None:  # of Q35's SMM only; libvirt refuses it elsewhere
            self.edits.append(RemoveElement.of("domain/features/smm/tseg", memory))
        kept = sum(self.layout.at[device] == place for device, place in self.seats.items())
        return Conversion(tuple(self.edits), tuple(self.moves), kept_note(kept))

    # --- places ---------------------------------------------------------------------------------------

    def _take_seats(self) -> None:
        """Give every device its place: first those that keep theirs, then the others, in the guest's order."""
        gone = {move.device for move in self.moves if move.after is not None}
        order = sorted(self.layout.at.items(), key=lambda pair: self.layout.order(pair[1]))
        loose: list[Device] = []
        for device, address in order:
            if device.key in gone or (device.is_bridge and device.index not in self.buses):
                continue
            bus = self.buses.get(address >> 8)
            if bus is None or (bus == 0 and address in {*_CHIPSET, SATA}) or _is_piix_usb(device):
                loose.append(device)
            else:
                place = bus << 8 | address & 0xFF
                self.seats[device] = self.board.take(place) if bus == 0 else place
        self._add_heads()
        for device in loose:
            self.seats[device] = self.board.take(self._place_in_order(device))

    def _add_heads(self) -> None:
        """Make the first device of a slot function 0 where that was the LPC bridge, or a port that goes."""
        for device, place in list(self.seats.items()):
            if place >> 8 == 0 and not self.board.has_head(place) and not self.domain.is_hidden(device):
                self.board.taken.discard(place)
                self.seats[device] = self.board.take(place & ~7)

    def _place_in_order(self, device: Device) -> Address:
        """Return a free place between its like before and behind it. Raises NoRoomError."""
        if _is_piix_usb(device):
            return PIIX_USB
        mine = self.layout.order(self.layout.at[device])
        low, high = (-1, 0), (2, 0)
        last = following = 0  # where its like before and behind it sit
        for other, place in self.seats.items():
            if kind_of(other) != kind_of(device):
                continue
            order = self.layout.order(self.layout.at[other])
            rank = (int(place >> 8 > 0), order if place >> 8 else place)
            if order < mine:
                low, last = max((low, last), (rank, place))
            else:
                high, following = min((high, following), (rank, place))
        # Functions of slot 1 are seen too: the PIIX3's ISA bridge is its function 0.
        free = [slot << 3 for slot in self.board.free_slots()] + [
            at for at in _BESIDE if self.board.is_free(at)
        ]
        fitting = [at for at in free if low < (0, at) < high]
        if fitting:
            return fitting[0]
        behind_a_bridge = low[0] == 1 and low < high and following >> 8 != last >> 8
        slot = self._end_of(last >> 8) if behind_a_bridge else _SLOTS
        if slot == _SLOTS:
            raise NoRoomError(
                f"pci.0 has no place for {device.key} that keeps the order of the guest's devices"
            )
        return last & ~0xFF | slot << 3

    def _end_of(self, bus: int) -> int:
        """Return the slot behind all that are taken on a bus, 32 where the last one is."""
        return 1 + max(place >> 3 & 31 for place in self.seats.values() if place >> 8 == bus)

    def _seat(self, device: Device, place: Address) -> None:
        address = self.layout.at[device]
        number = self.cards.get(device)
        if device.node is None:
            self.edits.append(written_down(device, place, number))
        else:
            self.edits += seat(device, place, multifunction=None if place == address else False)
        now = device.key if number is None else f"controller[sata {number}]"
        if (now, place) != (device.key, address):
            what = device.model or device.type or device.tag
            why = self._why(address) if place != address else "number 0 is free"
            self.moves.append(Move(device.key, now, what, "", address, place, why))

    def _why(self, address: Address) -> str:
        if address >> 8 not in self.buses:
            return _NO_PORTS
        return "buses are numbered without the ports" if address >> 8 else "slot 1 is the PIIX3's"

    # --- bridges --------------------------------------------------------------------------------------

    def _bridges(self) -> None:
        for device in self.layout.devices:
            if not device.is_bridge:
                continue
            node = device.node
            if device.index == 0:
                if node is not None:
                    self.edits.append(SetAttribute(device.key, "model", node.attrs.get("model"), "pci-root"))
            elif device.index in self.buses:
                self._bridge(device)
            elif node is not None:
                self.edits.append(RemoveElement.of(device.key, node))
                at = self.layout.at.get(device)
                self.moves.append(Move(device.key, "", device.model, "", at, None, _NO_PORTS))

    def _bridge(self, device: Device) -> None:
        number, place = self.buses[device.index], self.seats[device]
        address = self.layout.at[device]
        now = f"controller[pci {number}]"
        self.edits += storage.follow(self.aliases, f"pci.{device.index}", f"pci.{number}")
        node = device.node
        if node is None:
            self.edits.append(written_down(device, place, number, "pci-bridge"))
        else:
            self.edits += seat(device, place, multifunction=None if place == address else False)
            if device.model != "pci-bridge":
                self.edits.append(SetAttribute(device.key, "model", node.attrs.get("model"), "pci-bridge"))
                name = node.find("model")
                if name is not None:  # <model name='pcie-pci-bridge'/>, QEMU's name of the old one
                    self.edits.append(RemoveElement.of(f"{device.key}/model", name))
            if number != device.index or "index" not in node.attrs:
                self.edits.append(SetAttribute(device.key, "index", node.attrs.get("index"), str(number)))
        if (now, device.model, place) != (device.key, "pci-bridge", address):
            why = "buses are numbered without the ports"
            self.moves.append(Move(device.key, now, device.model, "pci-bridge", address, place, why))

    # --- disks and the rest ---------------------------------------------------------------------------

    def _storage(self) -> None:
        """Bring the disks of the built-in SATA controller back to IDE, if that is where they came from.

        Disks that were called hdX were on IDE. Others stay on SATA, whose controller becomes a card: the guest has
        its driver, and may have none for IDE that it starts from.
        """
        disks = storage.disks_on(self.domain, "sata")
        ports = {disk: drive_seat(disk) for disk in disks}
        own = [disk for disk in disks if ports[disk][0] == 0]
        controller = self.domain.by_key.get("controller[sata 0]")
        if controller is None or any(
            ports[disk][1] >= _IDE_PLACES or not disk.key.startswith("disk[hd") for disk in own
        ):
            return
        why = "the chipset has IDE instead of SATA"
        if controller.node is not None:
            self.edits.append(SetAttribute(controller.key, "type", "sata", "ide"))
            self.edits += seat(controller, PIIX_IDE, multifunction=False)
        now = "controller[ide 0]" if controller.node is not None or own else ""
        self.moves.append(Move(controller.key, now, "sata", "ide" if now else "", SATA, PIIX_IDE, why))
        for disk in own:
            self.edits += storage.sata_to_ide(disk, ports[disk][1], self.aliases)
            self.moves.append(Move(disk.key, disk.key, "sata", "ide", None, None, why))
        for device in self.domain.devices:
            if device.tag == "controller" and device.type == "sata" and device.index:
                self.cards[device] = device.index - 1
                self.edits += storage.number_card(device, device.index - 1, self.aliases)
        for disk in disks:
            if ports[disk][0]:
                self.edits += storage.to_card(disk, ports[disk][0] - 1, self.aliases)

    def _watchdogs(self) -> None:
        for device in self.domain.devices:
            if device.tag == "watchdog" and device.model == "itco" and device.node is not None:
                self.edits.append(RemoveElement.of(device.key, device.node))
                self.moves.append(Move(device.key, "", "itco", "", None, None, "it is part of the ICH9"))
