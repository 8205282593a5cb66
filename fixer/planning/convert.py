"""A plan that changes the machine: the conversion first, then what the guest still can not drive where it sits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.conversion import REMEDY, boot
from fixer.conversion.board import Conversion, Note, Wishes, refusal, set_machine
from fixer.conversion.firmware import Change as FirmwareChange
from fixer.conversion.firmware import to_firmware
from fixer.conversion.forecast import forecast
from fixer.conversion.machine_type import choose, read_wanted
from fixer.domain.devices import short_address
from fixer.domain.edits import AddElement, SetAddress, onto
from fixer.domain.edits import splices as splices_of
from fixer.domain.machine import Family
from fixer.planning.plan import Change, Consequence, Plan, untouched
from fixer.planning.prove import ProofError, prove_conversion, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.conversion.board import Move
    from fixer.conversion.firmware import Esp
    from fixer.domain.edits import Edit
    from fixer.domain.model import Domain
    from fixer.planning.plan import Guest
    from fixer.planning.planner import Request
    from fixer.policy.model import GuestCapabilities


def convert(
    domain: Domain,
    capabilities: GuestCapabilities,
    guest: Guest,
    request: Request,
    esp: Esp,
    cure: Callable[[Domain], Plan],
) -> Plan:
    """Plan a domain on the machine and firmware of ``request``; ``cure`` plans what comes out of that.

    Raises VirtfixError where no machine type can be chosen, ProofError where the plan fails its own checks.
    """
    conversion, firmware = _changes(domain, capabilities, request, esp)
    edits = conversion.edits + firmware.edits
    if conversion.refused:
        return untouched(domain, guest, unresolved=conversion.refused)
    if not edits:
        plan = cure(domain)
        plan.unresolved += firmware.findings
        return plan
    try:
        converted = result_of(domain, splices_of(domain, edits))
    except ProofError as error:  # express ports on pci.0, as in a domain that no libvirt would take
        return untouched(domain, guest, unresolved=(refusal("domain", str(error)),))
    notes = (*conversion.notes, *firmware.notes)
    if boot.starts_otherwise(domain, converted, conversion.keys):
        more, note = boot.by_device(domain)
        edits, notes = edits + tuple(more), (*notes, note)
        converted = result_of(domain, splices_of(domain, edits))
    cured = cure(converted)
    edits = _together(edits, cured.edits, conversion.keys)
    splices = splices_of(domain, edits)
    after = result_of(domain, splices) if cured.edits else cured.after
    unresolved = conversion.findings + firmware.findings + cured.unresolved
    changes = tuple(_change(move) for move in conversion.moves) + cured.changes
    prove_conversion(
        domain,
        converted,
        after,
        conversion,
        guest=capabilities,
        unresolved=unresolved,
        edits=edits,
        splices=splices,
    )
    return Plan(
        domain,
        after,
        guest=guest,
        findings=cured.findings,
        unresolved=unresolved,
        changes=changes,
        edits=edits,
        splices=splices,
        consequences=_consequences(notes, cured.consequences),
        skips=cured.skips,
        forecast=forecast(domain, after, capabilities, conversion.keys)
        if after.machine.family is not domain.machine.family
        else (),
        family=capabilities.family,
    )


def _changes(
    domain: Domain, guest: GuestCapabilities, request: Request, esp: Esp
) -> tuple[Conversion, FirmwareChange]:
    conversion, machine = Conversion(), domain.machine.name
    host = request.target or request.host
    if request.machine:
        wanted = read_wanted(request.machine)
        if wanted.family is not domain.machine.family:
            machine = choose(domain.machine, wanted, host)
            virtio = request.site.ide_disks == "virtio" and guest.drives("block").value == "yes"
            # Windows starts from a driver that it has met at boot only, installed or not.
            startable = guest.family != "windows" or request.driver_bound
            wishes = Wishes(
                ports=request.layout == "ports",
                staged=request.staged,
                driver_bound=request.driver_bound,
                virtio_disks=virtio and startable,
                virtio_unbound=virtio and not startable,
                bios=request.firmware == "bios",
            )
            conversion = _converter(wanted.family)(domain, guest, machine, wishes)
        elif wanted.name and wanted.name != machine:
            machine = choose(domain.machine, wanted, host)
            conversion = _renamed(domain, machine)
    if conversion.first_step:
        return conversion, FirmwareChange()
    return conversion, to_firmware(domain, guest, request.firmware, machine, esp, host)


def _renamed(domain: Domain, machine: str) -> Conversion:
    if domain.find("domain/os/type") is None:
        return Conversion(refused=(refusal("domain", "it has no <os><type> to write the machine type to"),))
    return Conversion((set_machine(domain, machine),))


def _converter(family: Family) -> Callable[[Domain, GuestCapabilities, str, Wishes], Conversion]:
    from fixer.conversion.to_pc import to_pc  # noqa: PLC0415 - one of the two
    from fixer.conversion.to_q35 import to_q35  # noqa: PLC0415

    return to_q35 if family is Family.Q35 else to_pc


def _together(first: tuple[Edit, ...], then: tuple[Edit, ...], keys: dict[str, str]) -> tuple[Edit, ...]:
    """Return the edits of both as edits of the first document; of two places of a device the last is in force.

    ``keys`` maps the keys of the first document to those of the second, where they differ.
    """
    seats = {edit.at: number for number, edit in enumerate(first) if isinstance(edit, SetAddress)}
    made = {
        edit.key: number for number, edit in enumerate(first) if isinstance(edit, AddElement) and edit.key
    }
    before = {now: was for was, now in keys.items() if now}
    edits = list(first)
    for edit in then:
        head, slash, rest = edit.at.partition("]/")
        key = head + slash[:1]
        if key in made:
            number = made[key]
            addition = edits[number]
            assert isinstance(addition, AddElement)
            edits[number] = addition._replace(element=onto(addition.element, edit, rest))
            continue
        key = before.get(key, key)
        edit = edit._replace(at=f"{key}/{rest}" if slash else key)  # noqa: PLW2901 - the same edit of the other document
        if isinstance(edit, SetAddress) and edit.at in seats:
            number = seats[edit.at]
            seated = edits[number]
            assert isinstance(seated, SetAddress)
            edits[number] = edit._replace(old=seated.old)
        else:
            edits.append(edit)
    return tuple(edits)


def _change(move: Move) -> Change:
    return Change(
        device=move.device or move.now,
        driver="",
        mode_before=move.was,
        mode_after=move.becomes or (move.was if move.now else "removed"),
        address_before="" if move.before is None else short_address(move.before),
        address_after="" if move.after is None else short_address(move.after),
        listed=True,
        remedy=REMEDY,
        why=move.why,
        price=0,
        others=(),
    )


_RESTART = Note(
    "restart", (), "takes effect at the next full stop and start; a reboot keeps the old machine and devices"
)


def _consequences(notes: tuple[Note, ...], then: tuple[Consequence, ...]) -> tuple[Consequence, ...]:
    own = tuple(Consequence(note.code, note.devices, note.text) for note in (_RESTART, *notes))
    return own + tuple(item for item in then if item.code != _RESTART.code)
