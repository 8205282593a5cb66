"""The USB controller of the chipset: PIIX3 has one at 01.2, ICH9 a set of four in one slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.conversion.board import Board, Move, NoRoomError, seat
from fixer.domain.devices import USB2_COMPANIONS, short_address
from fixer.domain.edits import AddElement, Edit, SetAttribute, address_element
from fixer.domain.writing import Element
from fixer.policy.model import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain
    from fixer.policy.model import GuestCapabilities

# Where an ICH9 has its USB controllers (Intel ICH9 datasheet, table of PCI devices; libvirt looks there too).
_SLOTS = (0x1D, 0x1A)
# First port of each companion (libvirt docs/formatdomain.rst, <master startport>).
_PORTS = {"ich9-uhci1": 0, "ich9-uhci2": 2, "ich9-uhci3": 4}
_WHY = "Q35 has no PIIX3"


def primary(domain: Domain) -> Device | None:
    """Return the PIIX3 controller, written or made up by libvirt; None where the domain has others or none."""
    return next(
        (
            device
            for device in domain.devices
            if device.tag == "controller"
            and device.type == "usb"
            and device.index == 0
            and device.model in {"", "piix3-uhci"}
        ),
        None,
    )


def on_q35(
    device: Device, before: Address, guest: GuestCapabilities, board: Board
) -> tuple[list[Edit], list[Move]]:
    """Replace the PIIX3 controller by what the guest has drivers for; attached devices keep their ports."""
    # Early kernels that have an xhci driver had it as a preview: what is old gets what every guest drives.
    if guest.is_modern and guest.chipset.get("xhci", UNKNOWN).value == "yes":
        return _xhci(device, before, board)
    return _ich9(device, before, board)


def _xhci(device: Device, before: Address, board: Board) -> tuple[list[Edit], list[Move]]:
    slot = 1 if board.slot_is_free(1) else _any_slot(board)
    address = board.take(slot << 3)
    edits = list(_become(device, "qemu-xhci", address))
    return edits, [Move(device.key, device.key, "piix3-uhci", "qemu-xhci", before, address, _WHY)]


def _ich9(device: Device, before: Address, board: Board) -> tuple[list[Edit], list[Move]]:
    free = [slot for slot in _SLOTS if board.slot_is_free(slot)]
    slot = free[0] if free else _any_slot(board)
    places = {model: board.take(slot << 3 | function) for model, function in USB2_COMPANIONS.items()}
    index = str(device.index)
    head = places["ich9-ehci1"]
    now = f"controller[usb {index} ich9-ehci1]"
    edits = list(_become(device, "ich9-ehci1", head))
    moves = [Move(device.key, now, "piix3-uhci", "ich9-ehci1", before, head, _WHY)]
    for model, port in _PORTS.items():
        attrs = {"type": "usb", "index": index, "model": model}
        place = address_element(places[model], multifunction=model == "ich9-uhci1")
        key = f"controller[usb {index} {model}]"
        master = Element("master", {"startport": str(port)})
        edits.append(AddElement("domain/devices", Element("controller", attrs, (master, place)), key))
        why = f"its slow ports, beside {short_address(head)}"
        moves.append(Move("", key, "", model, None, places[model], why))
    return edits, moves


def _become(device: Device, model: str, address: Address) -> Iterator[Edit]:
    if device.node is None:
        attrs = {"type": "usb", "index": str(device.index), "model": model}
        key = f"controller[usb {device.index} {model}]" if model in USB2_COMPANIONS else device.key
        element = Element("controller", attrs, (address_element(address),))
        yield AddElement("domain/devices", element, key)
        return
    yield SetAttribute(device.key, "model", device.node.attrs.get("model"), model)
    yield from seat(device, address, multifunction=False)


def _any_slot(board: Board) -> int:
    """Return the last free slot. Raises NoRoomError."""
    free = board.free_slots()
    if not free:
        raise NoRoomError("pcie.0 has no slot left for a USB controller")
    return free[-1]
