"""i440FX to Q35: what sat on pci.0 sits at the same slot and function of pcie.0, where virtio is transitional.

(QEMU hw/virtio/virtio-pci.c: the legacy interface goes off behind express ports only.) A pci-bridge keeps its place
too: libvirt takes one on pcie.0 where the XML says so (virDomainPCIAddressFlagsCompatible), so that bus numbers stay.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from fixer.conversion import staging, storage, usb
from fixer.conversion.board import (
    Board,
    Conversion,
    Move,
    NoRoomError,
    Note,
    Wishes,
    kept_note,
    refusal,
    seat,
    set_machine,
    written_down,
)
from fixer.conversion.doubts import overrides, quirks, raw_arguments, raw_places
from fixer.domain.devices import disk_letters, drive_seat, short_address
from fixer.domain.edits import Edit, RemoveElement, SetAttribute, new_controller
from fixer.domain.pci import EXPANDERS, LPC, PIIX_IDE, PIIX_ISA, SATA, SMBUS
from fixer.findings import Code, Finding, Severity
from fixer.policy.model import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain
    from fixer.policy.model import GuestCapabilities

_CHIPSET = (LPC, SATA, SMBUS)
# Controllers of the old chipset, as libvirt and QEMU call them; what is set on them finds nothing on the new one.
_CONTROLLERS = frozenset({"usb", "usb0", "ide", "ide0"})
# Functions of slot 1f that the ICH9 leaves free; its LPC bridge is function 0 and multifunction, so they are seen.
_BESIDE = tuple(LPC | function for function in (1, 4, 5, 6, 7))
_RULE = "QEMU hw/i386/pc_q35.c"
_INITRAMFS = (
    "the guest has to find its disks by another driver at boot: see before that ahci (or virtio_blk) is in its "
    "initramfs, which many systems make for the hardware that they find; --fixups says how"
)
_TAKEN = "Q35 has a device of its own there"


def to_q35(domain: Domain, guest: GuestCapabilities, machine: str, wishes: Wishes) -> Conversion:
    """Return what makes a Q35 machine, of the type ``machine``, out of an i440FX one; or the first step to it."""
    try:
        refused = [*_impossible(domain), *_unfit(guest, wishes)]
        refused += [*raw_arguments(domain, "pci.0", "ide"), *raw_places(domain, _CHIPSET)]
        refused += overrides(domain, _CONTROLLERS | _become_virtio(domain, wishes))
        blind = list(_blind(domain, guest, wishes))
        if blind and wishes.staged and not refused and _may_learn(guest):
            return _first_step(domain)
        refused += blind
        return (
            Conversion(refused=tuple(refused)) if refused else _Way(domain, guest, wishes).conversion(machine)
        )
    except NoRoomError as error:
        return Conversion(refused=(refusal("domain", str(error), _RULE),))


def _impossible(domain: Domain) -> Iterator[Finding]:
    source = "libvirt docs/formatdomain.rst"
    if domain.find("domain/os/type") is None:
        yield refusal("domain", "it has no <os><type> to write the machine type to", source)
    for device in domain.devices:
        if device.model in EXPANDERS:
            yield refusal(device.key, "a pci-expander-bus exists on i440FX only", source)


def _become_virtio(domain: Domain, wishes: Wishes) -> frozenset[str]:
    """Return the aliases of the disks that become virtio disks, which know none of the properties of IDE's."""
    disks = storage.disks_on(domain, "ide") if wishes.virtio_disks else []
    return frozenset(
        storage.alias_at("ide", *drive_seat(disk)) for disk in disks if storage.is_hard_disk(disk)
    )


def _unfit(guest: GuestCapabilities, wishes: Wishes) -> Iterator[Finding]:
    if wishes.ports and not guest.is_modern:
        why = f"behind root ports virtio is modern-only, and {guest.name} is not known to drive that: leave --layout"
        yield refusal("domain", why, guest.interface.where)


def _blind(domain: Domain, guest: GuestCapabilities, wishes: Wishes) -> Iterator[Finding]:
    """Yield the hard disks that the guest would not find."""
    ahci = guest.chipset.get("ahci", UNKNOWN)
    if (
        ahci.value not in {"no", "depends"}
        or (wishes.driver_bound and _may_learn(guest))
        or wishes.virtio_disks
    ):
        return
    told = f"has an AHCI driver only if {ahci.condition}" if ahci.condition else "has no AHCI driver"
    hint = ""
    if _may_learn(guest):
        ready = (
            "give --driver-bound once it has run with the helper"
            if staging.helper(domain)
            else "see --staged"
        )
        hint = f"; {ready}"
    for disk in storage.disks_on(domain, "ide"):
        if storage.is_hard_disk(disk):
            yield refusal(disk.key, f"Q35 has no IDE, and {guest.name} {told}{hint}", ahci.where)


def _may_learn(guest: GuestCapabilities) -> bool:
    """Tell whether the guest has the driver, and has only to be made to load it."""
    return guest.chipset.get("ahci", UNKNOWN).value == "depends"


def _first_step(domain: Domain) -> Conversion:
    if staging.helper(domain) is None:
        return staging.first_step(domain)
    why = "the helper is there: start the guest once, see that it shows an AHCI controller, then give --driver-bound"
    return Conversion(refused=(refusal("domain", why, "step 1 of 2"),))


class _Way:
    """One conversion while it is being made."""

    def __init__(self, domain: Domain, guest: GuestCapabilities, wishes: Wishes) -> None:
        assert domain.layout is not None
        self.domain = domain
        self.layout = domain.layout
        self.guest = guest
        self.wishes = wishes
        self.board = Board(domain, _CHIPSET)
        self.edits: list[Edit] = []
        self.moves: list[Move] = []
        self.places: dict[Device, Address] = {}
        self.gone: set[str] = set()  # keys of what goes: the helper of the first step

    def conversion(self, machine: str) -> Conversion:
        self.edits += [set_machine(self.domain, machine), *_root(self.domain)]
        drive = staging.helper(self.domain)
        if drive is not None:
            self._add(*staging.without_helper(self.domain, drive))
            self.gone = {move.device for move in self.moves}
        self._seats()
        self._storage()
        piix = usb.primary(self.domain)
        if piix is not None:
            self._add(*usb.on_q35(piix, self.layout.at[piix], self.guest, self.board))
        notes = tuple(_notes(self.domain, self.guest, self.wishes, self.moves))
        return Conversion(
            tuple(self.edits), tuple(self.moves), notes, tuple(_doubts(self.domain, self.guest, self.wishes))
        )

    def _add(self, edits: list[Edit], moves: list[Move]) -> None:
        self.edits += edits
        self.moves += moves

    def _seats(self) -> None:
        """Write down where every device sits; move only what the new chipset is in the way of, or what is wished."""
        replaced = {usb.primary(self.domain), storage.ide_controller(self.domain)}
        ported = self._ported() if self.wishes.ports else []
        left = {
            device: address
            for device, address in self.layout.at.items()
            if device not in replaced and device not in ported and device.key not in self.gone
        }
        root = _places({device: at for device, at in left.items() if not at >> 8}, self.board)
        for device, address in left.items():
            place = self.places[device] = root.get(device, address)
            if place == address:
                self.edits += _at(device, address)
            elif device.type == "sata":  # told with its new number
                self.edits += _at(device, place, multifunction=False)
            else:
                beside = address >> 3 == LPC >> 3
                self._move(device, address, place, _TAKEN if beside else "the PIIX3 was function 0")
        if ported:
            self._ports(ported)

    def _move(self, device: Device, address: Address, place: Address, why: str) -> None:
        self.edits += _at(device, place, multifunction=False)
        self.moves.append(Move(device.key, device.key, device.model or device.tag, "", address, place, why))

    def _ported(self) -> list[Device]:
        """Return what a root port suits, in the guest's order: virtio that moves without others of its kind staying."""
        at = self.layout.at
        found = [
            device
            for devices in self.domain.by_driver.values()
            if all(not one.variant and at[one] >> 8 == 0 for one in devices)
            for device in devices
        ]
        while stay := {device.driver for device in found if self._heads(device, found)}:
            found = [device for device in found if device.driver not in stay]
        return sorted(found, key=lambda device: at[device])

    def _heads(self, device: Device, moving: list[Device]) -> bool:
        """Tell whether a device is function 0 for others that stay, and would not be seen without it."""
        return any(other not in moving for other in self.layout.headed_by(self.layout.at[device]))

    def _ports(self, devices: list[Device]) -> None:
        """Give each device a root port of its own, eight ports a slot, as libvirt packs them."""
        index = max(bus.index for bus in self.layout.buses) + 1
        slots = self.board.free_slots()
        if len(slots) * 8 < len(devices):
            raise NoRoomError("pcie.0 has no slots left for so many root ports")
        why = "a root port for each, as was asked for"
        for number, device in enumerate(devices):
            port = self.board.take(slots[number // 8] << 3 | number % 8)
            shared = not number % 8 and number + 1 < len(devices)
            addition = new_controller("pcie-root-port", index + number, port, multifunction=shared)
            self.edits.append(addition)
            self.moves.append(Move("", addition.key, "", "pcie-root-port", None, port, why))
            self._move(device, self.layout.at[device], index + number << 8, why)

    def _storage(self) -> None:
        cards = [
            one
            for one in self.domain.devices
            if one.tag == "controller" and one.type == "sata" and one.key not in self.gone
        ]
        if cards:
            self.edits += storage.renumber_sata(self.domain, self.gone)
        for device in cards:
            now = f"controller[sata {device.index + 1}]"
            at, place = self.layout.at.get(device), self.places.get(device)
            why = "number 0 is that of the chipset" + (f"; {_TAKEN}" if at != place else "")
            self.moves.append(Move(device.key, now, "sata", "", at, place, why))
        controller = storage.ide_controller(self.domain)
        if controller is None:
            self.moves.append(Move("", "controller[sata 0]", "", "sata", None, SATA, "Q35 has one"))
        else:
            if controller.node is not None:
                self.edits += storage.controller_to_sata(controller)
            now = "controller[sata 0]"
            self.moves.append(Move(controller.key, now, "ide", "sata", PIIX_IDE, SATA, "Q35 has no IDE"))
        for disk in storage.disks_on(self.domain, "ide"):
            if self.wishes.virtio_disks and storage.is_hard_disk(disk):
                self._add(*storage.ide_to_virtio(disk, self._free_name(), self._behind_disks()))
            else:
                self._add(*storage.ide_to_sata(disk, self.domain.properties.by_alias))

    def _free_name(self) -> str:
        """Return the first vdX that no disk has, or has got."""
        used = {device.key for device in self.domain.devices} | {move.now for move in self.moves}
        names = (f"vd{disk_letters(number)}" for number in count())
        return next(name for name in names if f"disk[{name}]" not in used)

    def _behind_disks(self) -> Address:
        """Return a free slot behind all virtio disks, whose names so stay as they are."""
        disks = [at for device, at in self.layout.at.items() if device.driver == "block"]
        if any(at >> 8 for at in disks):
            raise NoRoomError(
                "a virtio disk on pcie.0 would come before those behind bridges: leave ide-disks at sata"
            )
        taken = [*disks, *(move.after for move in self.moves if move.becomes == "virtio" and move.after)]
        free = self.board.free_slots(above=max(taken, default=0) >> 3)
        if not free:
            raise NoRoomError("pcie.0 has no slot left behind the virtio disks")
        return self.board.take(free[0] << 3)


def _root(domain: Domain) -> Iterator[Edit]:
    for device in domain.devices:
        if not device.is_bridge or device.node is None:
            continue
        if device.index == 0:
            yield SetAttribute(device.key, "model", device.node.attrs.get("model"), "pcie-root")
            target = device.node.find("target")
            if (
                target is not None and "hotplug" in target.attrs
            ):  # which pcie.0 has not, and libvirt refuses there
                yield RemoveElement.of(f"{device.key}/target", target)


def _places(at: Mapping[Device, Address], board: Board) -> dict[Device, Address]:
    """Return the places on pcie.0 of what sits on pci.0: the same, but for what the new chipset is in the way of.

    In slot 1f devices go to the next function that the chipset leaves free, in their order; function 0 of slot 1
    was the PIIX3's ISA bridge, without which the functions beside it would not be seen. Raises NoRoomError.
    """
    found: dict[Device, Address] = {}
    free = list(_BESIDE)
    for device, address in sorted(at.items(), key=lambda pair: pair[1]):
        place: Address | None = address
        if address >> 3 == LPC >> 3:
            place = next((one for one in free if one >= address), None)
            free = [one for one in free if place is not None and one > place]
        elif address >> 3 == PIIX_ISA >> 3 and not board.has_head(address):
            place = next((slot << 3 for slot in board.free_slots()), None)
        if place is None:
            raise NoRoomError(f"pcie.0 has no place for the device at {short_address(address)}")
        found[device] = board.take(place)
    return found


def _at(device: Device, address: Address, *, multifunction: bool | None = None) -> Iterator[Edit]:
    if device.node is None:
        yield written_down(device, address, device.index + 1 if device.type == "sata" else None)
    else:
        yield from seat(device, address, multifunction=multifunction)


def _notes(domain: Domain, guest: GuestCapabilities, wishes: Wishes, moves: list[Move]) -> Iterator[Note]:
    layout = domain.layout
    assert layout is not None
    gone = {move.device for move in moves if move.after is not None}
    kept = [device for device in layout.at if device.key not in gone]
    yield from kept_note(len(kept))
    if any(address >> 8 == 0 for address in layout.at.values()):
        text = "nothing can be plugged into or out of pcie.0 while the domain runs; pci.0 could; bridges still can"
        yield Note("hotplug", (), text)
    left_ide = tuple(disk.key for disk in storage.disks_on(domain, "ide") if storage.is_hard_disk(disk))
    if left_ide and guest.family != "windows" and not wishes.driver_bound:
        yield Note("initramfs", left_ide, _INITRAMFS)
    if left_ide:
        text = "names below /dev/disk/by-path change, and those by WWN where one goes"
        yield Note("disk-paths", left_ide, text)
    if wishes.virtio_unbound:
        yield Note(
            "ide-disks",
            (),
            "the site wants virtio disks; of Windows only with --driver-bound, so they go to SATA",
        )
    if guest.family == "windows":
        yield Note(
            "windows-chipset",
            (),
            "Windows installs drivers for the chipset at its first start, and may want activation",
        )
    if not guest.is_modern:
        yield Note(
            "risk",
            (),
            "Red Hat advises against converting old guests to Q35: keep the old definition (virtfix rollback) until this one has run",
        )


def _doubts(domain: Domain, guest: GuestCapabilities, wishes: Wishes) -> Iterator[Finding]:
    """Yield what may not work on the new machine, and that nobody knows."""
    ahci = guest.chipset.get("ahci", UNKNOWN)
    known = wishes.driver_bound and _may_learn(guest)
    for disk in storage.disks_on(domain, "ide") if ahci.value != "yes" and not known else ():
        hard = storage.is_hard_disk(disk)
        if hard and wishes.virtio_disks:
            continue
        has = "no" if ahci.value in {"no", "depends"} else "perhaps no"
        yield Finding(
            Code.NO_AHCI,
            Severity.BREAKS_BOOT if hard else Severity.BREAKS_DEVICE,
            disk.key,
            f"moves from IDE to SATA, for which {guest.name} has {has} driver: make sure of AHCI before",
            ahci.where or "the policy does not say",
            curable=False,
        )
    yield from quirks(domain, guest)
