"""Q35 to i440FX, the way back: what sat on pcie.0 keeps its slot, what sat behind ports comes onto pci.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.conversion import storage
from fixer.conversion.board import (
    Board,
    Conversion,
    Move,
    NoRoomError,
    Note,
    Wishes,
    seat,
    set_child,
    set_machine,
    written_down,
)
from fixer.domain.edits import Edit, RemoveElement, SetAttribute
from fixer.domain.pci import PIIX_IDE, PIIX_ISA, PIIX_PM, PIIX_USB, SATA
from fixer.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain
    from fixer.policy.model import GuestCapabilities

_CHIPSET = (PIIX_ISA, PIIX_IDE, PIIX_USB, PIIX_PM)
_IDE_PLACES = 4  # two channels with two disks each (QEMU hw/ide/piix.c)
_Q35_ONLY = {
    "iommu": "an Intel IOMMU needs Q35",
    "controller": "a pcie-expander-bus exists on Q35 only",
}


def to_pc(domain: Domain, guest: GuestCapabilities, machine: str, wishes: Wishes) -> Conversion:
    """Return what makes an i440FX machine, of the type ``machine``, out of a Q35 one."""
    del guest, wishes  # whatever drives Q35's devices drives these, and there is one way to place them
    refused = tuple(_impossible(domain))
    if refused:
        return Conversion(refused=refused)
    try:
        return _Way(domain, machine).conversion()
    except NoRoomError as error:
        return Conversion(refused=(_refusal("domain", str(error)),))


def _impossible(domain: Domain) -> Iterator[Finding]:
    if domain.find("domain/os/type") is None:
        yield _refusal("domain", "it has no <os><type> to write the machine type to")
    if domain.firmware.secure_boot:
        yield _refusal("domain", "secure boot needs the SMM of Q35")
    for device in domain.devices:
        if device.tag == "iommu" or device.model == "pcie-expander-bus":
            yield _refusal(device.key, _Q35_ONLY[device.tag])


def _refusal(device: str, why: str) -> Finding:
    return Finding(
        Code.NO_CONVERSION, Severity.BREAKS_BOOT, device, why, "libvirt docs/formatdomain.rst", curable=False
    )


class _Way:
    """One conversion while it is being made: places of pci.0, new numbers of the buses that stay."""

    def __init__(self, domain: Domain, machine: str) -> None:
        assert domain.layout is not None
        self.domain = domain
        self.layout = domain.layout
        self.board = Board(domain, _CHIPSET)
        self.edits: list[Edit] = [set_machine(domain, machine)]
        self.moves: list[Move] = []
        self._last: dict[str, int] = {}  # kind -> slot of the last one that was given a place
        # Conventional buses stay, numbered anew: libvirt fills gaps with bridges of its own.
        stay = [bus for bus in self.layout.buses if bus.index and self._stays(bus.index)]
        self.buses = {0: 0} | {bus.index: number for number, bus in enumerate(stay, 1)}

    def _stays(self, index: int) -> bool:
        return self.layout.buses[index].model in {"pci-bridge", "pcie-to-pci-bridge"}

    def conversion(self) -> Conversion:
        self._storage()
        kept, loose = self._sorted()
        for device, address in kept:
            self._seat(device, address)
        for device, address in loose:
            place = self._next_place(device)
            self._seat(device, place)
            if not device.is_bridge:
                why = "i440FX has no express ports" if address >> 8 else "the PIIX3 sits there"
                what = device.model or device.tag
                self.moves.append(Move(device.key, device.key, what, "", address, place, why))
        self._bridges()
        self._watchdogs()
        note = Note("kept", (), f"{len(kept)} PCI devices keep slot and function")
        return Conversion(tuple(self.edits), tuple(self.moves), (note,))

    def _sorted(self) -> tuple[list[tuple[Device, Address]], list[tuple[Device, Address]]]:
        """Part devices into those that keep their place and those that need one, in the guest's order."""
        kept, loose = [], []
        gone = {move.device for move in self.moves if move.after is not None}
        for device, address in sorted(self.layout.at.items(), key=lambda pair: self.layout.order(pair[1])):
            if device.key in gone or (device.is_bridge and not self._stays(device.index)):
                continue
            bus = self.buses.get(address >> 8)
            if bus is None or (bus == 0 and address in {*_CHIPSET, SATA}):
                loose.append((device, address))
            else:
                place = bus << 8 | address & 0xFF
                kept.append((device, self.board.take(place) if bus == 0 else place))
        return self._with_heads(kept), loose

    def _with_heads(self, kept: list[tuple[Device, Address]]) -> list[tuple[Device, Address]]:
        """Make the first device of a slot function 0 where that was the LPC bridge, or a port that goes."""
        found = []
        for device, place in kept:
            address = place
            if address >> 8 == 0 and not self.board.has_head(address) and not self.domain.is_hidden(device):
                head = self.board.take(address & ~7)
                self.board.taken.discard(address)
                what, why = device.model or device.tag, "function 0 of its slot goes"
                self.moves.append(Move(device.key, device.key, what, "", address, head, why))
                address = head
            found.append((device, address))
        return found

    def _next_place(self, device: Device) -> Address:
        """Return a free slot behind all devices of its kind, so that the guest finds them in the same order."""
        if device.type == "usb" and device.index == 0 and device.model in {"", "piix3-uhci"}:
            return PIIX_USB
        kind = device.driver or device.model or device.tag
        lowest = max(self._last.get(kind, 0), self._last_on_root(kind))
        free = self.board.free_slots(above=lowest)
        if not free:
            raise NoRoomError(f"pci.0 has no slot left for {device.key} that keeps the order of the devices")
        self._last[kind] = free[0]
        return self.board.take(free[0] << 3)

    def _last_on_root(self, kind: str) -> int:
        slots = (
            address >> 3
            for device, address in self.layout.at.items()
            if address >> 8 == 0
            and address not in _CHIPSET
            and (device.driver or device.model or device.tag) == kind
        )
        return max(slots, default=1)

    def _seat(self, device: Device, address: Address) -> None:
        if device.node is None:
            self.edits.append(written_down(device, address))
        else:
            self.edits += seat(device, address)

    def _bridges(self) -> None:
        for device in self.domain.devices:
            if not device.is_bridge or device.node is None:
                continue
            if device.index == 0:
                self.edits.append(
                    SetAttribute(device.key, "model", device.node.attrs.get("model"), "pci-root")
                )
            elif not self._stays(device.index):
                self.edits.append(RemoveElement(device.key, device.node.raw.decode("utf-8")))
                self.moves.append(
                    Move(device.key, "", device.model, "", None, None, "i440FX has no express ports")
                )
            else:
                self._bridge(device)

    def _bridge(self, device: Device) -> None:
        assert device.node is not None
        number = self.buses[device.index]
        if device.model != "pci-bridge":
            self.edits.append(SetAttribute(device.key, "model", device.node.attrs.get("model"), "pci-bridge"))
            model = device.node.find("model")
            if model is not None:  # <model name='pcie-pci-bridge'/>, QEMU's name of the old one
                self.edits.append(RemoveElement(f"{device.key}/model", model.raw.decode("utf-8")))
        if number != device.index or "index" not in device.node.attrs:
            self.edits.append(SetAttribute(device.key, "index", device.node.attrs.get("index"), str(number)))
        if number != device.index or device.model != "pci-bridge":
            now = f"controller[pci {number}]"
            why = "buses are numbered without the ports"
            self.moves.append(Move(device.key, now, device.model, "pci-bridge", None, None, why))

    def _storage(self) -> None:
        """Bring the disks of the built-in SATA controller onto IDE, where they all have a place there."""
        disks = storage.disks_on(self.domain, "sata")
        ports = {disk: storage.sata_port(disk) for disk in disks}
        own = [disk for disk in disks if ports[disk][0] == 0]
        controller = self.domain.by_key.get("controller[sata 0]")
        if controller is None or any(ports[disk][1] >= _IDE_PLACES for disk in own):
            return  # a SATA controller is a card of its own then
        why = "the chipset has IDE instead of SATA"
        if controller.node is not None:
            self.edits.append(SetAttribute(controller.key, "type", "sata", "ide"))
            self.edits += seat(controller, PIIX_IDE, multifunction=False)
        now = "controller[ide 0]" if controller.node is not None or own else ""
        self.moves.append(Move(controller.key, now, "sata", "ide" if now else "", SATA, PIIX_IDE, why))
        for disk in own:
            self.edits += storage.sata_to_ide(disk, ports[disk][1])
            self.moves.append(Move(disk.key, disk.key, "sata", "ide", None, None, why))
        self._renumber([disk for disk in disks if ports[disk][0]], ports)

    def _renumber(self, disks: list[Device], ports: dict[Device, tuple[int, int]]) -> None:
        for device in self.domain.devices:
            if (
                device.tag == "controller"
                and device.type == "sata"
                and device.index
                and device.node is not None
            ):
                index = str(device.index - 1)
                self.edits.append(SetAttribute(device.key, "index", device.node.attrs.get("index"), index))
                now = f"controller[sata {index}]"
                self.moves.append(Move(device.key, now, "sata", "", None, None, "number 0 is free"))
        for disk in disks:
            self.edits += set_child(disk, "address", "controller", str(ports[disk][0] - 1))

    def _watchdogs(self) -> None:
        for device in self.domain.devices:
            if device.tag == "watchdog" and device.model == "itco" and device.node is not None:
                self.edits.append(RemoveElement(device.key, device.node.raw.decode("utf-8")))
                self.moves.append(Move(device.key, "", "itco", "", None, None, "it is part of the ICH9"))
