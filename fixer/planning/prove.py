"""The plan's self-checks, run on every plan before anybody sees it.

A failure is a bug of virtfix, not a mistake of its user: the plan is refused with the evidence.
Numbers are those of the invariants in docs/architecture.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.diagnose import acceptable_modes, diagnose
from fixer.domain.edits import RemoveElement, SetAddress, SetAttribute
from fixer.domain.model import read_domain
from fixer.domain.virtio import Mode
from fixer.domain.writing import apply_splices
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixer.conversion.board import Conversion
    from fixer.domain.devices import Device
    from fixer.domain.document import Node
    from fixer.domain.edits import Edit
    from fixer.domain.model import Domain
    from fixer.domain.writing import Splice
    from fixer.findings import Finding
    from fixer.policy.model import GuestCapabilities


class ProofError(Exception):
    """A plan does not hold what it promises. ``invariant`` is its number; ``result`` the refused XML."""

    def __init__(self, invariant: int, what: str, original: bytes, result: bytes) -> None:
        super().__init__(f"invariant {invariant}: {what}")
        self.invariant = invariant
        self.original = original
        self.result = result


def result_of(domain: Domain, splices: list[Splice]) -> Domain:
    """Return the domain as splices leave it, read again from its bytes. Raises ProofError where that is refused."""
    source = apply_splices(domain.document.source, splices)
    try:
        after = read_domain(domain.document.encode(source))
        after.modes  # noqa: B018 - places every device, which is the check
    except VirtfixError as error:
        raise ProofError(4, f"the result is not accepted: {error}", domain.document.source, source) from error
    return after


def prove(
    before: Domain,
    after: Domain,
    *,
    guest: GuestCapabilities,
    unresolved: tuple[Finding, ...],
    edits: tuple[Edit, ...],
    splices: list[Splice],
    capacity: int,
    strict: bool,
) -> None:
    """Check the result of a plan against the invariants. Raises ProofError.

    ``strict`` wants the order kept of every kind of PCI device, and of those that this guest does not
    drive; else of the virtio devices that it drives.
    """
    lost = None if strict else {finding.device for finding in unresolved}
    checks = (
        (2, _nothing_left(after, guest, unresolved)),
        (3, _untouched_bytes(before, after, splices)),
        (4, _visible(before, after, {})),
        (5, _same_order(before, after, lost)),
        (6, _all_cured(after, guest, unresolved)),
        (7, _windows(before, after, capacity)),
        (8, _accounted(before, after, edits) or _in_force(after, edits, {})),
    )
    for invariant, what in checks:
        if what:
            raise ProofError(invariant, what, before.document.source, after.document.source)


def prove_conversion(
    before: Domain,
    converted: Domain,
    after: Domain,
    conversion: Conversion,
    *,
    guest: GuestCapabilities,
    unresolved: tuple[Finding, ...],
    edits: tuple[Edit, ...],
    splices: list[Splice],
) -> None:
    """Check a plan that changes the machine: what it does not name is where it was. Raises ProofError.

    ``converted`` is what the conversion alone makes of it; what is cured after that has a proof of its own.
    """
    judged = not guest.is_modern  # such a guest drives whatever it finds
    checks = (
        (2, _nothing_left(after, guest, unresolved)),
        (3, _untouched_bytes(before, after, splices)),
        (4, _visible(before, after, conversion.keys)),
        (5, _order_kept(before, converted, conversion)),
        (6, _all_cured(after, guest, unresolved) if judged else ""),
        (8, _named(before, converted, conversion) or _in_force(after, edits, conversion.keys)),
    )
    for invariant, what in checks:
        if what:
            raise ProofError(invariant, what, before.document.source, after.document.source)


def _order_kept(before: Domain, after: Domain, conversion: Conversion) -> str:
    """Devices of one kind stay in order, but for those that are another kind afterwards."""
    layout = after.layout
    assert layout is not None
    other = {move.device for move in conversion.moves if move.becomes and move.becomes != move.was}
    keys = conversion.keys
    for kind, devices in before.by_kind.items():
        stay = [after.by_key.get(keys.get(dev.key, dev.key)) for dev in devices if dev.key not in other]
        places = [layout.order(layout.at[device]) for device in stay if device is not None]
        if places != sorted(places):
            return f"the order of the {kind} devices changes: {[dev.key for dev in devices]}"
    return ""


def _named(before: Domain, after: Domain, conversion: Conversion) -> str:
    """No device is gone, new or elsewhere but those that the conversion names."""
    assert before.layout is not None
    assert after.layout is not None
    moved = {move.device: move.after for move in conversion.moves}
    named = {move.now for move in conversion.moves}
    keys = conversion.keys
    for device in before.layout.devices:
        made_up = device.node is None and device.key not in moved  # by libvirt, which makes up others then
        if device.is_bridge and (device.index == 0 or made_up):
            continue
        now = after.by_key.get(keys.get(device.key, device.key))
        if now is None:
            if keys.get(device.key) != "":
                return f"{device.key} is gone"
        elif after.layout.at.get(now) != (moved.get(device.key) or before.layout.at.get(device)):
            return f"{device.key} is elsewhere"
    known = {keys.get(device.key, device.key) for device in before.layout.devices} | named
    extra = [key for key in after.by_key if key not in known]
    return f"{', '.join(extra)} appeared" if extra else ""


def _nothing_left(after: Domain, guest: GuestCapabilities, unresolved: tuple[Finding, ...]) -> str:
    known = {finding.device for finding in unresolved}
    left = [finding.device for finding in diagnose(after, guest) if finding.device not in known]
    return f"the result still has findings: {', '.join(left)}" if left else ""


def _untouched_bytes(before: Domain, after: Domain, splices: list[Splice]) -> str:
    source, result = before.document.source, after.document.source
    old = new = 0
    for splice in splices:
        length = splice.start - old
        if length < 0 or source[old : splice.start] != result[new : new + length]:
            return f"bytes {old} to {splice.start} changed"
        new += length
        if result[new : new + len(splice.new)] != splice.new:
            return f"the edit at byte {splice.start} is not in the result"
        new += len(splice.new)
        old = splice.end
    return "" if source[old:] == result[new:] else f"bytes from {old} on changed"


def _visible(before: Domain, after: Domain, keys: Mapping[str, str]) -> str:
    """Placing the result has checked that addresses exist, are legal and unique; function 0 remains."""
    hidden = {keys.get(device.key, device.key) for device in before.devices if before.is_hidden(device)}
    lost = [dev.key for dev in after.devices if dev.key not in hidden and after.is_hidden(dev)]
    return f"function 0 is missing for {', '.join(lost)}" if lost else ""


def _same_order(before: Domain, after: Domain, lost: set[str] | None) -> str:
    old, new = _orders(before, lost), _orders(after, lost)
    for kind, keys in old.items():
        if keys != new.get(kind):
            return f"the order of the {kind} devices changes from {keys} to {new.get(kind)}"
    return ""


def _orders(domain: Domain, lost: set[str] | None) -> dict[str, list[str]]:
    """Return the keys of each kind in the guest's order; a model that the plan changes is no kind."""
    if lost is None:
        return {kind: [device.key for device in devices] for kind, devices in domain.by_kind.items()}
    return {
        driver: [device.key for device in devices if device.key not in lost]
        for driver, devices in domain.by_driver.items()
    }


def _all_cured(after: Domain, guest: GuestCapabilities, unresolved: tuple[Finding, ...]) -> str:
    known = {finding.device for finding in unresolved}
    good = acceptable_modes(guest)
    for device, mode in after.modes.items():
        driver = guest.drives(device.driver).value
        if mode in good or device.key in known or driver == "no" or (mode is Mode.NATIVE and driver == "yes"):
            continue
        return f"{device.key} is {mode.value}"
    return ""


def _windows(before: Domain, after: Domain, capacity: int) -> str:
    used, now = sum(before.io_windows.values()), sum(after.io_windows.values())
    return f"{now} I/O windows of {capacity}" if now > max(used, capacity) else ""


def _accounted(before: Domain, after: Domain, edits: tuple[Edit, ...]) -> str:
    """The device-level difference holds nothing that no edit accounts for."""
    touched = {_device_of(edit.at, before) for edit in edits}
    added = {getattr(edit, "key", "") for edit in edits}
    for key, device in before.by_key.items():
        now = after.by_key.get(key)
        if now is None:
            return f"{key} is gone"
        if key not in touched and not _same(device, now) and key not in added:
            return f"{key} changed without an edit"
    extra = [key for key, device in after.by_key.items() if key not in before.by_key and key not in added]
    return f"{', '.join(extra)} appeared without an edit" if extra else ""


def _in_force(after: Domain, edits: tuple[Edit, ...], keys: Mapping[str, str]) -> str:
    """Each edit is found in the result, at the element that it is of; ``keys`` maps keys that are others there."""
    last = {(edit.at, getattr(edit, "name", ""), getattr(edit, "element", None)): edit for edit in edits}
    for edit in last.values():
        head, bracket, rest = edit.at.partition("]")
        key = keys.get(head + bracket, head + bracket)
        if not _holds(after, edit, key + rest):
            return f"{edit.at} is not what its edit says"
    return ""


def _holds(after: Domain, edit: Edit, at: str) -> bool:
    if isinstance(edit, RemoveElement):
        return True  # what is gone is missed, or was meant to go
    if isinstance(edit, SetAddress):
        device = after.by_key.get(at)
        return device is not None and device.address == edit.new
    if isinstance(edit, SetAttribute):
        renamed = edit.name == "alias" and at.startswith("override[")
        node = after.find(f"override[{edit.new}]" if renamed else at)
        return node is not None and node.attrs.get(edit.name) == edit.new
    node, wanted = after.find(at), edit.element
    return node is not None and any(
        child.name == wanted.name and wanted.attrs.items() <= child.attrs.items() for child in node.children
    )


def _device_of(at: str, domain: Domain) -> str:
    return at if at in domain.by_key else at.rpartition("/")[0]


def _same(old: Device, new: Device) -> bool:
    if old.node is None or new.node is None:
        return old.node is new.node
    return _raw(old.node) == _raw(new.node)


def _raw(node: Node) -> bytes:
    return node.raw
