"""virtfix apply with saved plans."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixer.adapters.file_store import is_folder, read_input
from fixer.cli import redefine, sources
from fixer.cli.redefine import Job
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Settings, state_dir
from fixer.domain.document import digest
from fixer.domain.model import read_domain
from fixer.errors import VirtfixError, printable
from fixer.execution.apply import Result, Status, Target, check_digest
from fixer.execution.journal import DEFINED, entries, read_events
from fixer.findings import Skip
from fixer.planning.plan import untouched
from fixer.planning.replay import check_saved, guest_of, no_plan, replay, unresolved_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixer.adapters.state_dir import Run, StateDir
    from fixer.cli.exit_codes import Exit
    from fixer.cli.redefine import Wishes
    from fixer.planning.plan import Plan

# A plan has some 10 KB; one of 10,000 domains is the largest that anybody would keep in a file.
_MAX_PLAN = 256 * 1024 * 1024


def is_plan(path: str) -> bool:
    """Whether a file holds JSON, as a saved plan does, rather than XML."""
    try:
        with Path(path).open("rb") as file:
            return file.read(64).lstrip()[:1] in {b"{", b"["}
    except OSError:
        return False  # reading it will say why


def refuse_plans(paths: Sequence[str], what: str, hint: str) -> None:
    """Raise VirtfixError where one of the files is a saved plan and no XML."""
    plan = next(filter(is_plan, paths), None)
    if plan is not None:
        raise VirtfixError("usage.target", f"is a saved plan, {what}", where=plan, hint=hint)


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
