"""Two steps where a guest must meet its new disk controller before its boot disk hangs from it.

Windows Vista and 7 start their AHCI driver at boot only if they have seen such a controller before (Microsoft
KB 922976: stop 0x7B). The first step adds a SATA controller of the kind that Q35 has (8086:2922) with an empty drive
to the old machine; once the guest has run with it, the second one converts the domain and takes the helper away.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from fixer.conversion.board import Board, Conversion, Move, NoRoomError, Note
from fixer.conversion.storage import disks_on
from fixer.domain.devices import drive_seat
from fixer.domain.edits import AddElement, Edit, RemoveElement, address_element
from fixer.domain.pci import PIIX_IDE, PIIX_ISA, PIIX_PM, PIIX_USB
from fixer.domain.writing import Element

if TYPE_CHECKING:
    from fixer.domain.devices import Device
    from fixer.domain.model import Domain

SERIAL = "virtfix-helper"  # of the drive by which the second step knows it
_LAST_SLOT = 0x1F


def helper(domain: Domain) -> Device | None:
    """Return the drive that the first step added, None where there is none."""
    for disk in disks_on(domain, "sata"):
        serial = disk.node.find("serial") if disk.node is not None else None
        if serial is not None and serial.text == SERIAL:
            return disk
    return None


def first_step(domain: Domain) -> Conversion:
    """Return what adds the controller and the empty drive. Raises NoRoomError."""
    layout = domain.layout
    assert layout is not None
    board = Board(
        domain, (PIIX_ISA, PIIX_IDE, PIIX_USB, PIIX_PM, *(at for at in layout.at.values() if at < 1 << 8))
    )
    free = [slot for slot in range(2, _LAST_SLOT + 1) if board.slot_is_free(slot)]
    if not free:
        raise NoRoomError("pci.0 has no slot left for a second disk controller")
    place = free[-1] << 3
    used = {one.index for one in domain.devices if one.tag == "controller" and one.type == "sata"}
    index = str(next(number for number in count() if number not in used))  # libvirt fills gaps below a disk
    target = _free_target(domain)
    key, drive = f"controller[sata {index}]", f"disk[{target}]"
    controller = Element("controller", {"type": "sata", "index": index}, (address_element(place),))
    at = {"type": "drive", "controller": index, "bus": "0", "target": "0", "unit": "0"}
    disk = Element(
        "disk",
        {"type": "file", "device": "cdrom"},
        (
            Element("driver", {"name": "qemu", "type": "raw"}),
            Element("target", {"dev": target, "bus": "sata"}),
            Element("readonly", {}),
            Element("serial", {}, text=SERIAL),
            Element("address", at),
        ),
    )
    edits = (AddElement("domain/devices", disk, drive), AddElement("domain/devices", controller, key))
    why = "the guest is to meet the driver of Q35's disk controller"
    moves = (Move("", key, "", "sata", None, place, why), Move("", drive, "", "empty drive", None, None, why))
    return Conversion(edits, moves, (Note("stage", (), _GATE),), first_step=True)


_GATE = (
    "step 1 of 2: start the guest once and see that it shows an AHCI controller (Windows: Device Manager, 'Standard "
    "AHCI 1.0'); shut it down, then give --driver-bound for step 2 (of an applied run: virtfix resume RUN --driver-bound)"
)


def without_helper(domain: Domain, drive: Device) -> tuple[list[Edit], list[Move]]:
    """Return what takes the helper away again."""
    number, _ = drive_seat(drive)
    gone = [drive]
    others = [
        disk for disk in disks_on(domain, "sata") if disk is not drive and drive_seat(disk)[0] == number
    ]
    controller = domain.by_key.get(f"controller[sata {number}]")
    if controller is not None and controller.node is not None and not others:
        gone.append(controller)
    edits: list[Edit] = []
    moves = []
    for device in gone:
        assert device.node is not None
        edits.append(RemoveElement.of(device.key, device.node))
        moves.append(Move(device.key, "", "helper", "", None, None, "the driver is bound"))
    return edits, moves


def _free_target(domain: Domain) -> str:
    used = {device.key for device in domain.devices}
    return next(
        name
        for name in (f"sd{letter}" for letter in "zyxwvutsrqponmlkjihgfedcba")
        if f"disk[{name}]" not in used
    )
