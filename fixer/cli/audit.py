"""virtfix audit: which machines are broken now, which will be after the next start, which are right."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.cli import sources
from fixer.cli.batch import shown as shown_path
from fixer.cli.exit_codes import Exit
from fixer.cli.redefine import in_order, proved
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Screen, Settings, build_request
from fixer.diagnose import acceptable_modes
from fixer.domain.devices import short_address
from fixer.domain.model import Domain, read_domain
from fixer.domain.observed import functions
from fixer.domain.qtree import QemuDevice, Tree, read_qtree
from fixer.domain.virtio import Mode
from fixer.errors import VirtfixError, printable
from fixer.findings import Code, Finding, Severity, severity_of, why_unseen
from fixer.guest import negotiated
from fixer.guest.clues import Seen, of_domain, of_option, subject_of
from fixer.guest.identify import identify
from fixer.planning.plan import Guest, Plan
from fixer.planning.planner import make_plan, who_is
from fixer.policy.model import ASSUMED_LEGACY, GuestCapabilities
from fixer.policy.rules import rule_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fixer.adapters.libvirt_store import LibvirtStore
    from fixer.domain.state import State
    from fixer.planning.planner import Request

_COMPACT_FROM = 10  # more domains than this are shown by one line each
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


_WRONG = frozenset({Verdict.BROKEN, Verdict.BREAKS, Verdict.MENDED, Verdict.UNKNOWN})


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


def run(paths: Sequence[str], settings: Settings, form: str, screen: Screen, *, monitor: bool) -> Exit:
    """Judge domains as they run and as they are defined; ask QEMU itself only where ``monitor`` says so."""
    request = build_request(settings)
    references = [path for path in paths if isinstance(path, DomainRef)]
    sources.check_inspections(settings, list(references))

    def one(reference: DomainRef) -> Audit:
        return _audited(reference, request, settings, monitor=monitor)

    page = _Page(screen, references, uris=len({reference.uri for reference in references}))
    return _told(in_order(one, references), form, page)


def run_qtree(path: str, settings: Settings, form: str, screen: Screen) -> Exit:
    """Judge a saved text of ``info qtree``. Raises VirtfixError for what is none."""
    from fixer.adapters.file_store import read_input  # noqa: PLC0415 - the other ways read no file

    request = build_request(settings)
    data, name = read_input(path), shown_path(path)
    try:
        tree = read_qtree(data)
    except VirtfixError as error:
        raise error.at(name) from None
    return _told([_of_text(tree, name, request)], form, _Page(screen, [name]))


# --- Domains ------------------------------------------------------------------------------------------


def _audited(reference: DomainRef, request: Request, settings: Settings, *, monitor: bool) -> Audit:
    """Judge one domain; what goes wrong with it stops no other."""
    store = sources.store(reference.uri, writable=monitor or sources.asks_guest(settings))
    base = Audit(str(reference), store.uri, reference.uuid)
    try:
        state = store.state(reference.uuid)
        base = base._replace(state="paused" if state.paused else "running" if state.active else "off")
        case = _Case(reference, store, state, request, settings)
        base = base if case.live is not None else base._replace(state="off")
        return case.judged(base, monitor=monitor)
    except VirtfixError as error:
        if error.code == "guest.unknown":
            return base._replace(verdict=Verdict.UNKNOWN, reason=error.summary)
        return base._replace(verdict=Verdict.ERROR, reason=str(error))
    except Exception as error:  # noqa: BLE001 - a defect met in one domain stops no other, and is told
        told = f"a defect of virtfix, please report it: {type(error).__name__}: {error}"
        return base._replace(verdict=Verdict.ERROR, reason=told)


class _Case:
    """One domain with all that is known of it: how it runs, how it is defined, what names its guest."""

    def __init__(
        self, reference: DomainRef, store: LibvirtStore, state: State, request: Request, settings: Settings
    ) -> None:
        self._reference = reference
        self._store = store
        self._request = request
        self.state = state
        uuid = reference.uuid
        live = read_domain(store.live_xml(uuid)) if state.active else None
        # Of a domain that stopped meanwhile this is the definition; only a running one has an id.
        self.live = live if live is not None and "id" in live.root.attrs else None
        self.definition = read_domain(store.public_xml(uuid)) if state.persistent else None
        some = self.live or self.definition
        if some is None:
            raise VirtfixError("libvirt.gone", "ended meanwhile", where=str(reference))
        self.seen = sources.seen(reference, some, settings)

    def judged(self, base: Audit, *, monitor: bool) -> Audit:
        live, definition = self.live, self.definition
        plans = {domain: self._planned(domain) for domain in (live, definition) if domain is not None}
        plan = next(iter(plans.values()))
        skipped = next((skip.reason for skip in plan.skips if skip.subject == "domain"), "")
        if skipped:
            return base._replace(guest=plan.guest, verdict=Verdict.NOT_JUDGED, reason=skipped)
        audit = base._replace(
            guest=plan.guest,
            now=None if live is None else Look("live XML", _wrong(plans[live])),
            next=None if definition is None else Look("definition", _wrong(plans[definition])),
            rows=_modes(live, definition),
            notes=tuple(self._notes(plan)),
        )
        if live is not None and monitor:
            audit = self._observed(audit, live, _asked(self._store, self._reference.uuid))
        return audit._replace(verdict=_verdict(audit.now, audit.next))

    def _heard(self, domain: Domain) -> Seen:
        """Return what was learnt beside ``domain``: its other XML may have metadata that it lacks."""
        other = self.definition if domain is self.live else self.live
        return self.seen if other is None else self.seen.plus(Seen(tuple(of_domain(other))))

    def _planned(self, domain: Domain) -> Plan:
        return proved(lambda: make_plan(domain, self._request, self._heard(domain)))

    def _notes(self, plan: Plan) -> Iterator[str]:
        yield from plan.guest.conflicts
        yield from (skip.reason for skip in plan.skips if skip.subject == "site")
        if plan.guest.how == "unknown":
            yield "the guest is unknown, and no device would change for a legacy one"
        if self.live is not None:
            yield from self.seen.remarks
        elif self.state.managed_save:
            yield "has a managed save, which its next start restores: with the devices of then"

    def _observed(self, audit: Audit, live: Domain, tree: Tree) -> Audit:
        """Put what QEMU shows in the place of what the live XML makes expect."""
        identity = who_is(live, self._request, self._heard(live))
        site = rule_for(self._request.site, subject_of(live, identity.id), self._request.today).site
        names = {device.alias: device.key for device in live.devices if device.alias}
        shown = _shown(tree, names, identity.capabilities or ASSUMED_LEGACY, site.excluded)
        expected = audit.now.findings if audit.now is not None else ()
        causes = {finding.device: finding for finding in expected if finding.code in _CAUSES}
        findings = tuple(causes.get(finding.device, finding) for finding in shown.findings)
        if not tree.mapped:
            findings += tuple(finding for finding in expected if finding.code is Code.IO_WINDOWS)
        verdicts = _negotiated(self.seen.observation, names)
        rows = {row.device: row for row in audit.rows}
        for row in shown.rows:
            rows[row.device] = row._replace(next=rows[row.device].next if row.device in rows else "")
        for key in verdicts.keys() & rows.keys():
            rows[key] = rows[key]._replace(negotiated=verdicts[key].value)
        # What the guest drives is not broken, whatever is said of such guests; in the same mode it will not be.
        driven = {key for key, verdict in verdicts.items() if verdict in _DRIVEN}
        lasting = {key for key in driven & rows.keys() if rows[key].now == rows[key].next}
        return audit._replace(
            now=Look("monitor", _without(findings, driven)),
            next=audit.next and audit.next._replace(findings=_without(audit.next.findings, lasting)),
            rows=tuple(rows.values()),
            notes=(*audit.notes, *shown.notes),
        )


def _asked(store: LibvirtStore, uuid: str) -> Tree:
    """Ask QEMU for its devices, which taints the domain. Raises VirtfixError."""
    from fixer.adapters.monitor import MonitorError, execute, human  # noqa: PLC0415 - where it is asked for

    domain = store.domain(uuid)
    try:
        tree = read_qtree(human(domain, "info qtree").encode())
        return tree.confirmed(functions(execute(domain, "query-pci")))
    except MonitorError as error:
        raise VirtfixError("monitor.failed", f"QEMU's monitor does not answer: {error}") from None
    except (KeyError, TypeError, AttributeError):
        raise VirtfixError("monitor.answer", "QEMU's monitor answers in an unknown form") from None


def _wrong(plan: Plan) -> tuple[Finding, ...]:
    """Return what the guest can not drive, and what starves; not what it has no driver for anyway."""
    starving = [finding for finding in plan.unresolved if finding.code is Code.IO_WINDOWS]
    found = dict.fromkeys((*plan.findings, *starving))
    return tuple(finding for finding in found if finding.severity is not Severity.NOTE)


def _modes(live: Domain | None, definition: Domain | None) -> tuple[Row, ...]:
    rows = {}
    for device, mode in live.modes.items() if live is not None else ():
        rows[device.key] = Row(device.key, device.driver, now=mode.value)
    for device, mode in definition.modes.items() if definition is not None else ():
        row = rows.get(device.key, Row(device.key, device.driver))
        rows[device.key] = row._replace(next=mode.value)
    return tuple(rows.values())


def _negotiated(
    observation: negotiated.Observation | None, names: Mapping[str, str]
) -> dict[str, negotiated.Verdict]:
    devices = observation.devices if observation is not None else ()
    found = ((_PERIPHERAL.match(device.path), device.verdict) for device in devices)
    return {names.get(path[1], path[1]): verdict for path, verdict in found if path is not None}


def _without(findings: Iterable[Finding], devices: set[str]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.device not in devices)


def _verdict(now: Look | None, after: Look | None) -> Verdict:
    if now is not None and now.findings:
        return Verdict.MENDED if after is not None and not after.findings else Verdict.BROKEN
    return Verdict.BREAKS if after is not None and after.findings else Verdict.RIGHT


# --- What QEMU shows ----------------------------------------------------------------------------------


class _Shown(NamedTuple):
    """What is wrong with the devices that QEMU shows, a row for each, and remarks."""

    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def _of_text(tree: Tree, name: str, request: Request) -> Audit:
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
        verdict=_verdict(now, None),
        guest=Guest(identity.id, guest.name, fact.value, identity.how, identity.evidence, fact.where),
        now=now,
        rows=shown.rows,
        notes=shown.notes if identity.capabilities is not None else (unknown, *shown.notes),
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


# --- What is told -------------------------------------------------------------------------------------


def _told(audits: Iterable[Audit], form: str, page: _Page) -> Exit:
    """Write each audit as it comes, and return the exit code."""
    done: list[Audit] = []
    for audit in audits:
        if form == "jsonl":
            sys.stdout.write(json.dumps(_json(audit)) + "\n")
            sys.stdout.flush()
        elif form == "text":
            sys.stdout.writelines(f"{line}\n" for line in page.lines(audit, first=not done))
        done.append(audit)
    if form == "json":
        sys.stdout.write(json.dumps([_json(audit) for audit in done], indent=2) + "\n")
    elif form == "text":
        sys.stdout.flush()
        sys.stderr.write(_summary(done))
    verdicts = {audit.verdict for audit in done}
    if Verdict.ERROR in verdicts:
        return Exit.ERROR
    return Exit.UNRESOLVED if verdicts & _WRONG else Exit.DONE


def _summary(done: list[Audit]) -> str:
    counts = [(verdict.value, sum(audit.verdict is verdict for audit in done)) for verdict in Verdict]
    told = ", ".join(f"{count} {word}" for word, count in counts if count)
    lines = [f"{len(done)} machine{'s' * (len(done) != 1)}" + (f": {told}" if told else "")]
    if any(audit.now is not None and audit.now.by == "live XML" for audit in done):
        lines.append(
            "running ones were judged by their live XML and QEMU's rule; --monitor asks QEMU itself, which taints them"
        )
    return "".join(f"virtfix: {line}\n" for line in lines)


def _json(audit: Audit) -> dict[str, Any]:
    guest = audit.guest
    return {
        "uri": audit.uri,
        "uuid": audit.uuid,
        "name": audit.name,
        "state": audit.state,
        "verdict": audit.verdict.value,
        "reason": audit.reason,
        "guest": guest
        and {"id": guest.id, "name": guest.name, "interface": guest.interface, "how": guest.how},
        "now": _look_json(audit.now),
        "next": _look_json(audit.next),
        "devices": [_row_json(row) for row in audit.rows],
        "notes": list(audit.notes),
    }


def _look_json(look: Look | None) -> dict[str, Any] | None:
    if look is None:
        return None
    findings = [
        {
            "code": finding.code.value,
            "severity": finding.severity.value,
            "device": finding.device,
            "why": finding.why,
            "evidence": finding.evidence,
        }
        for finding in look.findings
    ]
    return {"by": look.by, "findings": findings}


def _row_json(row: Row) -> dict[str, Any]:
    device = row.qemu
    shown = device and {
        "id": device.id,
        "type": device.type,
        "bus": device.bus,
        "bus_type": device.bus_type,
        "address": short_address(device.function.address),
        "pci_id": device.pci_id,
        "io": device.io,
        "disable_legacy": device.disable_legacy,
        "disable_modern": device.disable_modern,
        "rule": device.ruled.value,
    }
    return row._asdict() | {"qemu": shown}


class _Page:
    """Lays out what a person reads: a line a machine, and what is wrong below it where they are few."""

    _VERDICT, _STATE, _GUEST = 20, 7, 16
    _GAPS, _SHOWN = 6, 49  # columns between those, and those of the table of devices without their names
    _LEAST = 8  # columns of a name, however narrow the terminal is

    def __init__(self, screen: Screen, names: Sequence[str], *, uris: int = 1) -> None:
        self._width, self._color = screen.width, screen.color
        most = max(self._width - self._VERDICT - self._STATE - self._GUEST - self._GAPS, self._LEAST)
        self._name = min(max(len(printable(name)) for name in (*names, "domain")), most)
        self._compact = len(names) > _COMPACT_FROM
        self._uri = "" if uris > 1 else None  # the connection that is being told of, where there are several

    def lines(self, audit: Audit, *, first: bool) -> Iterator[str]:
        if first:
            yield self._row("verdict", "state", "domain", "guest")
        if self._uri is not None and self._uri != audit.uri:
            self._uri = audit.uri
            yield f"{printable(audit.uri)}:"
        guest = audit.guest
        name = "" if guest is None else guest.name if guest.how in {"assumed", "unknown"} else guest.id
        row = self._row(audit.verdict.value, audit.state, audit.name, name)
        yield self._paint(row, audit.verdict)
        yield from self._wrapped(audit.reason, "  ")
        if self._compact:
            return
        yield from self._table(audit)
        yield from self._findings(audit)
        for note in audit.notes:
            yield from self._wrapped(note, "  ")

    def _row(self, verdict: str, state: str, name: str, guest: str) -> str:
        cut = printable(name, self._name)
        used = self._VERDICT + self._STATE + self._name + self._GAPS
        told = printable(guest, max(self._width - used, 1))
        return f"{verdict:<{self._VERDICT}}  {state:<{self._STATE}}  {cut:<{self._name}}  {told}".rstrip()

    def _table(self, audit: Audit) -> Iterator[str]:
        """Yield a line for each device that QEMU shows; those that the guest can not drive have a mark."""
        shown = [row for row in audit.rows if row.qemu is not None]
        if not shown or audit.now is None:
            return
        wrong = {finding.device for finding in audit.now.findings}
        most = max(self._width - self._SHOWN, self._LEAST)
        wide = min(max(len("device"), *(len(printable(row.device)) for row in shown)), most)
        yield f"  {'device':<{wide}}  {'bus':<8}  {'PCI id':<9}  disable-legacy  I/O BAR"
        for row in shown:
            device = row.qemu
            assert device is not None
            mark = "! " if row.device in wrong else "  "
            yield (
                f"{mark}{printable(row.device, wide):<{wide}}  {printable(device.bus, 8):<8}  "
                f"{device.pci_id:<9}  {device.disable_legacy or '-':<14}  {device.io}"
            )

    def _findings(self, audit: Audit) -> Iterator[str]:
        now, after = _by_code(audit.now), _by_code(audit.next)
        if now and now == after:
            yield from self._group("now and after the next start", now)
            return
        yield from self._group("now", now)
        yield from self._group("after the next start", after)

    def _group(self, when: str, found: Mapping[Code, list[str]]) -> Iterator[str]:
        for code, devices in found.items():
            # A key is one word to textwrap, whatever stands in it.
            names = ", ".join(printable(name, 200).replace(" ", "\xa0") for name in devices)
            for line in self._wrapped(f"{when}: {code.value} {names}", "  "):
                yield line.replace("\xa0", " ")

    def _wrapped(self, text: str, indent: str) -> list[str]:
        return textwrap.wrap(
            printable(text, 2000),
            self._width,
            initial_indent=indent,
            subsequent_indent=indent * 2,
            break_on_hyphens=False,
        )

    def _paint(self, text: str, verdict: Verdict) -> str:
        if not self._color:
            return text
        red = verdict in _WRONG or verdict is Verdict.ERROR
        return f"\x1b[{31 if red else 32}m{text}\x1b[0m"


def _by_code(look: Look | None) -> dict[Code, list[str]]:
    found: dict[Code, list[str]] = {}
    for finding in look.findings if look is not None else ():
        found.setdefault(finding.code, []).append(finding.device)
    return found
