"""virtfix apply with saved plans, and with XML files that are to be defined."""

from __future__ import annotations

import contextlib
import json
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixer.adapters.file_store import is_folder, read_input
from fixer.cli import redefine, sources
from fixer.cli.exit_codes import Exit
from fixer.cli.redefine import Job
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Settings, state_dir
from fixer.domain.document import digest
from fixer.domain.model import read_domain
from fixer.errors import VirtfixError, printable
from fixer.execution.apply import Result, Status, Target, check_digest, define_new, not_done
from fixer.execution.journal import DEFINED, entries, read_events
from fixer.execution.meant import Meant
from fixer.findings import Skip
from fixer.planning.plan import untouched
from fixer.planning.replay import check_saved, guest_of, no_plan, replay, unresolved_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fixer.adapters.libvirt_store import LibvirtStore
    from fixer.adapters.state_dir import Run, StateDir
    from fixer.cli.redefine import Wishes
    from fixer.domain.model import Domain
    from fixer.planning.plan import Plan
    from fixer.planning.planner import Request

# A plan has some 10 KB; one of 10,000 domains is the largest that anybody would keep in a file.
_MAX_PLAN = 256 * 1024 * 1024


def is_plan(path: str) -> bool:
    """Whether a file holds JSON, as a saved plan does, rather than XML."""
    try:
        with Path(path).open("rb") as file:
            return file.read(64).lstrip()[:1] in {b"{", b"["}
    except OSError:
        return False  # reading it will say why


def check_kinds(paths: Sequence[str]) -> None:
    """Say which of the files is not there, or that they are of two kinds. Raises VirtfixError."""
    for path in paths:
        if not is_folder(path):
            read_input(path)
    if any(map(is_plan, paths)):
        raise VirtfixError("usage.target", "saved plans and XML files do not go together")


def run_plans(paths: Sequence[str], settings: Settings, wishes: Wishes, *, detailed: bool) -> Exit:
    """Carry saved plans out; nothing is planned anew. Raises VirtfixError before anything is changed."""
    _refuse_choices(settings)
    past = Past(state_dir(wishes.state))
    found = [job for path in paths for job in _jobs(path, settings, past)]
    jobs = [job for job in found if isinstance(job, Job)]
    unplanned = [result for result in found if isinstance(result, Result)]
    return redefine.carry_out(jobs, settings, wishes, detailed=detailed, unplanned=unplanned)


# Settings that hold for saved plans too: where the domains are, and what day it is.
_OF_ANY_RUN = frozenset({"connect", "connections", "today", "explain"})
_OPTIONS = {
    "policies": "policy",
    "mappings": "os-map",
    "inspections": "inspection",
    "target": "target-capabilities",
}


def _refuse_choices(settings: Settings) -> None:
    """Raise VirtfixError for an option that says how to plan: nothing is planned here."""
    for name, untold in Settings()._asdict().items():
        if name not in _OF_ANY_RUN and getattr(settings, name) != untold:
            raise VirtfixError(
                "usage.plan",
                "a saved plan is carried out as it is",
                where="--" + _OPTIONS.get(name, name).replace("_", "-"),
                hint="leave it out, or plan again with it",
            )


def _jobs(path: str, settings: Settings, past: Past) -> Iterator[Job | Result]:
    """Yield what to carry out, and a result for each domain that could not be planned."""
    try:
        value = json.loads(read_input(path, _MAX_PLAN))
        # No plan at all is no saved plan either.
        for saved in value if isinstance(value, list) and value else [value]:
            if isinstance(saved, dict) and saved.get("status") == "error":
                yield _unplanned(saved, settings)
                continue
            _check_uuid(check_saved(saved))
            yield job_of(saved, _holder(saved["domain"]["uuid"], settings), past)
    except RecursionError:
        raise no_plan().at(path) from None
    except ValueError as error:
        raise VirtfixError(
            "plan.json",
            f"is no plan: {printable(str(error), 100)}",
            where=path,
            hint="make it by virtfix plan --out FILE",
        ) from None
    except VirtfixError as error:
        raise (error if error.code.startswith(("file.", "libvirt.")) else error.at(path)) from None


def _check_uuid(saved: dict[str, Any]) -> None:
    if not saved["domain"]["uuid"]:
        raise VirtfixError(
            "plan.uuid",
            f"the plan of {printable(saved['domain']['name'])} was made from XML without a UUID, so no domain is known by it",
            hint="apply the file itself: --define",
        )


def _unplanned(saved: dict[str, Any], settings: Settings) -> Result:
    uri = sources.store((settings.connections or (settings.connect,))[0], writable=True).uri
    error, source = saved.get("error"), saved.get("source")
    why = str(error.get("summary", "")) if isinstance(error, dict) else ""
    reason = f"could not be planned: {why}" if why else "could not be planned"
    return Result(Status.FAILED, uri, "", str(source or ""), "plan.missing", reason)


def _holder(uuid: str, settings: Settings) -> str | None:
    """Return the connection that has the domain; the first where none has, which will say so."""
    uris = settings.connections or (settings.connect,)
    if len(uris) > 1:
        for uri in uris:
            if sources.store(uri, writable=True).find(uuid, "") is not None:
                return uri
    return uris[0]


class Past:
    """Which saved plans the runs of this machine carried out, and what was in force then; read when it is asked for."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def left(self, saved: dict[str, Any], uri: str, now: str) -> bool:
        """Tell whether the definition with the digest ``now`` is the one that came of a saved plan."""
        return (uri, *_plan_key(saved), now) in self._known

    @cached_property
    def _known(self) -> frozenset[tuple[str, ...]]:
        return frozenset(one for name in self._state.runs() for one in _carried_out(self._state.find(name)))


def _carried_out(run: Run) -> list[tuple[str, ...]]:
    try:
        plans = {plan["domain"]["uuid"]: _plan_key(plan) for plan in map(check_saved, run.plans())}
        found = entries(read_events(run.journal())).values() if plans else ()
    except VirtfixError:
        return []  # a run that is broken tells nothing of this plan
    return [
        (entry.uri, *plans[entry.uuid], entry.now)
        for entry in found
        if entry.event == DEFINED and entry.uuid in plans
    ]


def _plan_key(saved: dict[str, Any]) -> tuple[str, str, str]:
    return saved["domain"]["uuid"], saved["digest"]["before"], saved["digest"]["after"]


def job_of(saved: dict[str, Any], uri: str | None, past: Past | None = None) -> Job:
    """Return the job that carries a saved plan out; ``past`` knows whether it was, and what libvirt made of it."""
    uuid, name = saved["domain"]["uuid"], saved["domain"]["name"]
    planned, after = saved["digest"]["before"], saved["digest"]["after"]

    def is_done(now: str) -> bool:
        return past is not None and past.left(saved, sources.store(uri, writable=True).uri, now)

    def make(data: bytes) -> Plan:
        base = data
        if digest(data) != planned:
            # A plan that was made by a reader was made from the XML that readers get, which lacks passwords.
            base = sources.store(uri, writable=True).public_xml(uuid)
            if digest(base) != planned:
                domain = read_domain(data)
                if after in {digest(data), digest(base)} or is_done(digest(data)):
                    done = Skip("domain", "is as planned already")
                    return untouched(domain, guest_of(saved), done, unresolved=unresolved_of(saved))
                check_digest(data, planned)
        plan = replay(data, saved)
        result = plan.result if base is data else replay(base, saved).result
        if digest(result) != after or plan.domain.name != name:
            raise VirtfixError(
                "plan.edited",
                "the plan was changed since it was made",
                hint="make it again: virtfix plan --out FILE",
            )
        return plan

    return Job(DomainRef.of(name, uuid, uri), Target(uuid, name), make, saved)


def run_files(
    paths: Sequence[str], request: Request, settings: Settings, wishes: Wishes, *, detailed: bool
) -> Exit:
    """Plan XML files and define the results. Raises VirtfixError before anything is changed."""
    paths = list(dict.fromkeys(sources.taken(paths, wishes.exclude, wishes.limit)))
    store = sources.store(settings.connect, writable=True)
    state = state_dir(wishes.state)
    first: dict[str, str] = {}

    def planned(path: str) -> Plan:
        domain = read_domain(sources.read(path, settings))
        if not domain.uuid:
            _check_free(store, domain.name)
        domain = _ready_to_define(domain)
        _claim(first, domain.uuid, path)
        return _planned(domain, path, request, settings)

    shown = {} if wishes.yes else _shown(paths, planned, wishes)
    if not wishes.yes:
        ready = sum(isinstance(one, Meant) for one in shown.values())
        files = f"{ready} file{'s' * (ready != 1)}"
        if not ready or not redefine.confirmed(f"Define {files} on {printable(store.uri)}?"):
            return Exit.ERROR if ready < len(paths) else Exit.DONE
    with contextlib.ExitStack() as held:
        held.enter_context(state.locked("virtfix apply", wishes.wait))
        made = held.enter_context(state.create({"command": "define", "files": paths, "domains": []}))
        held.enter_context(redefine.stopping("the same command goes on"))

        def one(path: str) -> Result:
            meant = shown.get(path) or Meant.of(planned(path))
            if isinstance(meant, VirtfixError):
                raise meant
            return define_new(store, made, meant, wishes.allowed)

        def failed(path: str, error: VirtfixError) -> Result:
            return not_done(Result(Status.UNCHANGED, store.uri, "", path), error)

        results = redefine.carefully(one, failed, paths, wishes)
        return redefine.report(results, wishes, len(paths), made, detailed=detailed, again="the same command")


def _shown(
    paths: list[str], planned: Callable[[str], Plan], wishes: Wishes
) -> dict[str, Meant | VirtfixError]:
    """Show what would be defined; return it, so that this and nothing else is done, or why there is nothing."""
    redefine.check_askable()
    found: dict[str, Meant | VirtfixError] = {}
    for number, path in enumerate(paths, 1):
        try:
            plan = planned(path)
            found[path] = Meant.of(plan)
            redefine.show(plan, path, number, wishes)
        except VirtfixError as error:
            sys.stderr.write(f"virtfix: {error.at(path)}\n")
            found[path] = error
    return found


def _check_free(store: LibvirtStore, name: str) -> None:
    """Raise VirtfixError where a file without a UUID names a domain that is there: it may be meant, or not."""
    there = store.find("", name)
    if there is not None:
        uuid = there.UUIDString()
        raise VirtfixError(
            "apply.name",
            f"has no <uuid>, and a domain of this name is there, with UUID {uuid}",
            hint=f"put <uuid>{uuid}</uuid> into it to replace that domain, or choose another <name>",
        )


def _claim(first: dict[str, str], uuid: str, path: str) -> None:
    if first.setdefault(uuid, path) != path:
        raise VirtfixError("apply.twice", f"{printable(first[uuid])} has the same UUID", where=path)


def _ready_to_define(domain: Domain) -> Domain:
    """Return a domain with a UUID as libvirt writes them: it would make one up that nobody could find again."""
    import uuid  # noqa: PLC0415 - what virt-v2v writes has none

    if not domain.uuid:
        return _with_uuid(domain, str(uuid.uuid4()))
    try:
        whole = str(uuid.UUID(domain.uuid.strip()))
    except ValueError:
        raise VirtfixError(
            "xml.uuid", f"<uuid> holds '{printable(domain.uuid, 60)}', which is none"
        ) from None
    if whole == domain.uuid:
        return domain
    node, document = domain.root.find("uuid"), domain.document
    assert node is not None
    source = document.source
    return read_domain(document.encode(source[: node.start] + _uuid_element(whole) + source[node.end :]))


def _with_uuid(domain: Domain, uuid: str) -> Domain:
    document, name = domain.document, domain.root.find("name")
    at = name.end if name is not None else domain.root.open_end
    source = document.source
    return read_domain(document.encode(source[:at] + _uuid_element(uuid) + source[at:]))


def _uuid_element(uuid: str) -> bytes:
    return f"<uuid>{uuid}</uuid>".encode()


def _planned(domain: Domain, path: str, request: Request, settings: Settings) -> Plan:
    from fixer.planning.planner import make_plan  # noqa: PLC0415

    asked = sources.for_host(request, path, settings)
    return redefine.proved(lambda: make_plan(domain, asked, sources.seen(path, domain, settings)))
