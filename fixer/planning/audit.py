"""How a machine stands: by its XML, as it runs and as it is defined, and by the devices that QEMU shows."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from fixer.diagnose import acceptable_modes
from fixer.domain.devices import short_address
from fixer.domain.virtio import Mode
from fixer.findings import Code, Finding, Severity, severity_of, why_unseen
from fixer.guest import negotiated
from fixer.guest.clues import of_option, subject_of
from fixer.guest.identify import identify
from fixer.planning.plan import Guest, Plan
from fixer.planning.planner import who_is
from fixer.policy.model import ASSUMED_LEGACY, GuestCapabilities
from fixer.policy.rules import rule_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fixer.domain.model import Domain
    from fixer.domain.qtree import QemuDevice, Tree
    from fixer.guest.clues import Seen
    from fixer.planning.planner import Request

_PERIPHERAL = re.compile(r"/machine/peripheral/([^/]+)/")  # QEMU's path of a device that has an id
# Why QEMU shows a device as it does, where only the XML can tell.
_CAUSES = frozenset({Code.NEEDS_MODERN, Code.HIDDEN_FUNCTION})
_DRIVEN = frozenset({negotiated.Verdict.LEGACY, negotiated.Verdict.MODERN, negotiated.Verdict.NOT_OFFERED})


class Verdict(Enum):
    """How a machine stands."""

    BROKEN = "broken now"
    BREAKS = "breaks at next start"
    MENDED = "right at next start"
    RIGHT = "right"
    UNKNOWN = "unknown guest"
    NOT_JUDGED = "not judged"
    ERROR = "error"


WRONG = frozenset({Verdict.BROKEN, Verdict.BREAKS, Verdict.MENDED, Verdict.UNKNOWN})


class Look(NamedTuple):
    """What the guest can not drive. ``by`` is what was looked at: monitor, live XML, definition or qtree."""

    by: str
    findings: tuple[Finding, ...] = ()


class Row(NamedTuple):
    """One virtio device: its mode as it runs and as it is defined, '' where it is not there.

    ``negotiated`` is what the guest's driver shows, ``qemu`` the device as QEMU has it, where that was asked.
    """

    device: str
    kind: str
    now: str = ""
    next: str = ""
    negotiated: str = ""
    qemu: QemuDevice | None = None


class Audit(NamedTuple):
    """What is told of one machine. ``now`` is None where it does not run, ``next`` where it has no definition."""

    name: str
    uri: str = ""
    uuid: str = ""
    state: str = ""
    verdict: Verdict = Verdict.RIGHT
    reason: str = ""
    guest: Guest | None = None
    now: Look | None = None
    next: Look | None = None
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


# --- What the XML makes expect ------------------------------------------------------------------------


def verdict_of(now: Look | None, after: Look | None) -> Verdict:
    """Return how a machine stands that is looked at as it runs and as its next start will have it."""
    if now is not None and now.findings:
        return Verdict.MENDED if after is not None and not after.findings else Verdict.BROKEN
    return Verdict.BREAKS if after is not None and after.findings else Verdict.RIGHT


def wrong(plan: Plan) -> tuple[Finding, ...]:
    """Return what the guest can not drive, and what starves; not what it has no driver for anyway."""
    starving = [finding for finding in plan.unresolved if finding.code is Code.IO_WINDOWS]
    found = dict.fromkeys((*plan.findings, *starving))
    return tuple(finding for finding in found if finding.severity is not Severity.NOTE)


def modes(live: Domain | None, definition: Domain | None) -> tuple[Row, ...]:
    """Return a row for each virtio device of a domain as it runs and as it is defined."""
    rows = {}
    for device, mode in live.modes.items() if live is not None else ():
        rows[device.key] = Row(device.key, device.driver, now=mode.value)
    for device, mode in definition.modes.items() if definition is not None else ():
        row = rows.get(device.key, Row(device.key, device.driver))
        rows[device.key] = row._replace(next=mode.value)
    return tuple(rows.values())


# --- What QEMU shows ----------------------------------------------------------------------------------


class _Shown(NamedTuple):
    """What is wrong with the devices that QEMU shows, a row for each, and remarks."""

    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def of_text(tree: Tree, name: str, request: Request) -> Audit:
    """Judge a saved text. No XML names its guest: where the owner does not, it is taken for one of legacy virtio."""
    clues = [of_option(request.os)] if request.os is not None else []
    identity = identify(clues, request.assume, request.knowledge, builds=request.builds)
    guest = identity.capabilities or ASSUMED_LEGACY
    shown = _shown(tree, {}, guest, {})
    unknown = "neither --os nor --assume says what the guest is: judged as one with legacy virtio only"
    now, fact = Look("qtree", shown.findings), guest.interface
    return Audit(
        name,
        state="running",
        verdict=verdict_of(now, None),
        guest=Guest(identity.id, guest.name, fact.value, identity.how, identity.evidence, fact.where),
        now=now,
        rows=shown.rows,
        notes=shown.notes if identity.capabilities is not None else (unknown, *shown.notes),
    )


def observed(audit: Audit, live: Domain, tree: Tree, request: Request, seen: Seen) -> Audit:
    """Put what QEMU shows in the place of what the live XML makes expect."""
    identity = who_is(live, request, seen)
    site = rule_for(request.site, subject_of(live, identity.id), request.today).site
    names = {device.alias: device.key for device in live.devices if device.alias}
    shown = _shown(tree, names, identity.capabilities or ASSUMED_LEGACY, site.excluded)
    expected = audit.now.findings if audit.now is not None else ()
    verdicts = _negotiated(seen.observation, names)
    rows = _merged(audit.rows, shown.rows, verdicts)
    # What the guest drives is not broken, whatever is said of such guests; in the same mode it will not be.
    driven = {key for key, verdict in verdicts.items() if verdict in _DRIVEN}
    lasting = {key for key in driven & rows.keys() if rows[key].now == rows[key].next}
    return audit._replace(
        now=Look("monitor", _without(_explained(shown.findings, expected, mapped=tree.mapped), driven)),
        next=audit.next and audit.next._replace(findings=_without(audit.next.findings, lasting)),
        rows=tuple(rows.values()),
        notes=(*audit.notes, *shown.notes),
    )


def _shown(
    tree: Tree, names: Mapping[str, str], guest: GuestCapabilities, excluded: Mapping[str, str]
) -> _Shown:
    """Judge a machine by its devices; ``names`` are the keys of those whose aliases the XML has."""
    findings, rows, notes = [], [], []
    for device in tree.devices:
        name = device.id or f"{device.type} {short_address(device.function.address)}"
        key = names.get(device.id, name)
        rows.append(Row(key, device.kind, now=device.mode.value, qemu=device))
        finding = None if device.kind in excluded else _judged(device, key, guest, mapped=tree.mapped)
        if finding is not None:
            findings.append(finding)
        if device.ruled is not device.mode:
            notes.append(f"{key} is {device.mode.value}, and by QEMU's rule {device.ruled.value}")
    if not tree.devices:
        notes.append("it has no virtio device on PCI")
    elif not tree.mapped:
        told = "no PCI device has an address: the firmware has not come to it yet, or found no room for all"
        notes.append(told)
    return _Shown(tuple(findings), tuple(rows), tuple(notes))


def _judged(device: QemuDevice, key: str, guest: GuestCapabilities, *, mapped: bool) -> Finding | None:
    """Judge a device as ``diagnose`` does, by what it shows instead of what its XML makes expect."""
    driver, mode = guest.drives(device.kind), device.mode
    if guest.is_modern or driver.value == "no" or (mode is Mode.NATIVE and driver.value == "yes"):
        return None
    place = f"{short_address(device.function.address)} ({device.bus}, disable-legacy={device.disable_legacy or '-'})"
    if mode is Mode.NATIVE:
        code, why = Code.NATIVE_ONLY, f"virtio {device.kind} has no legacy interface, wherever it sits"
    elif mode in acceptable_modes(guest):
        if device.io != "unmapped" or not mapped:
            return None
        code = Code.IO_WINDOWS
        why = f"its I/O BAR at {place} is not mapped: the firmware had no room, or the guest switched it off"
    elif mode is Mode.TRANSITIONAL:
        code = Code.NOT_LEGACY_ONLY
        why = f"offers virtio 1.0 too, which the drivers of {guest.name} do not bear"
    else:
        code, why = Code.MODERN_ONLY, why_unseen(mode, place)
    evidence = driver.where or guest.interface.where
    return Finding(code, severity_of(device.kind), key, why, evidence, curable=False)


def _explained(
    shown: tuple[Finding, ...], expected: tuple[Finding, ...], *, mapped: bool
) -> tuple[Finding, ...]:
    """Return what QEMU shows, with the causes that the XML knows, and who will starve before that shows."""
    causes = {finding.device: finding for finding in expected if finding.code in _CAUSES}
    findings = tuple(causes.get(finding.device, finding) for finding in shown)
    if not mapped:
        findings += tuple(finding for finding in expected if finding.code is Code.IO_WINDOWS)
    return findings


def _merged(
    expected: tuple[Row, ...], shown: tuple[Row, ...], verdicts: Mapping[str, negotiated.Verdict]
) -> dict[str, Row]:
    """Return the rows by device: as QEMU shows them, what follows as the XML has it, what the driver shows."""
    rows = {row.device: row for row in expected}
    for row in shown:
        rows[row.device] = row._replace(next=rows[row.device].next if row.device in rows else "")
    for key in verdicts.keys() & rows.keys():
        rows[key] = rows[key]._replace(negotiated=verdicts[key].value)
    return rows


def _negotiated(
    observation: negotiated.Observation | None, names: Mapping[str, str]
) -> dict[str, negotiated.Verdict]:
    devices = observation.devices if observation is not None else ()
    found = ((_PERIPHERAL.match(device.path), device.verdict) for device in devices)
    return {names.get(path[1], path[1]): verdict for path, verdict in found if path is not None}


def _without(findings: Iterable[Finding], devices: set[str]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.device not in devices)
