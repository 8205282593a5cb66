"""virtfix audit: which machines are broken now, which will be after the next start, which are right."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from fixer.cli import sources
from fixer.cli.batch import shown as shown_path
from fixer.cli.exit_codes import Exit
from fixer.cli.redefine import in_order, proved
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Screen, Settings, build_request
from fixer.domain.model import Domain, read_domain
from fixer.domain.observed import functions
from fixer.domain.qtree import Tree, read_qtree
from fixer.errors import VirtfixError
from fixer.guest.clues import Seen, of_domain
from fixer.planning.audit import WRONG, Audit, Look, Verdict, modes, observed, of_text, verdict_of, wrong
from fixer.planning.planner import make_plan
from fixer.report.audit import Page, summary, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fixer.adapters.libvirt_store import LibvirtStore
    from fixer.domain.state import State
    from fixer.planning.plan import Plan
    from fixer.planning.planner import Request


def run(paths: Sequence[str], settings: Settings, form: str, screen: Screen, *, monitor: bool) -> Exit:
    """Judge domains as they run and as they are defined; ask QEMU itself only where ``monitor`` says so."""
    request = build_request(settings)
    references = [path for path in paths if isinstance(path, DomainRef)]
    sources.check_inspections(settings, list(references))

    def one(reference: DomainRef) -> Audit:
        return _audited(reference, request, settings, monitor=monitor)

    uris = len({reference.uri for reference in references})
    page = Page(references, width=screen.width, color=screen.color, uris=uris)
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
    page = Page([name], width=screen.width, color=screen.color)
    return _told([of_text(tree, name, request)], form, page)


def _told(audits: Iterable[Audit], form: str, page: Page) -> Exit:
    """Write each audit as it comes, and return the exit code."""
    done: list[Audit] = []
    for audit in audits:
        if form == "jsonl":
            sys.stdout.write(json.dumps(values(audit)) + "\n")
            sys.stdout.flush()
        elif form == "text":
            sys.stdout.writelines(f"{line}\n" for line in page.lines(audit, first=not done))
        done.append(audit)
    if form == "json":
        sys.stdout.write(json.dumps([values(audit) for audit in done], indent=2) + "\n")
    elif form == "text":
        sys.stdout.flush()
        sys.stderr.write(summary(done))
    verdicts = {audit.verdict for audit in done}
    if Verdict.ERROR in verdicts:
        return Exit.ERROR
    return Exit.UNRESOLVED if verdicts & WRONG else Exit.DONE


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
            now=None if live is None else Look("live XML", wrong(plans[live])),
            next=None if definition is None else Look("definition", wrong(plans[definition])),
            rows=modes(live, definition),
            notes=tuple(self._notes(plan)),
        )
        if live is not None and monitor:
            tree = _asked(self._store, self._reference.uuid)
            audit = observed(audit, live, tree, self._request, self._heard(live))
        return audit._replace(verdict=verdict_of(audit.now, audit.next))

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
