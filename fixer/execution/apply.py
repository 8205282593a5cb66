"""Redefines one domain: nothing is lost, whatever happens in between.

The order is the safety: state, XML, plan, backup on disk, journal on disk, the XML once more, define, read back,
compare. Whoever dies in between leaves the old or the new definition, the old XML on disk, and a journal from
which ``resume`` and ``rollback`` know the rest.
"""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.domain.document import digest
from fixer.errors import VirtfixError
from fixer.execution.compare import differences, misplaced
from fixer.planning.codec import encode_edit

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.domain.model import Domain
    from fixer.domain.state import State
    from fixer.execution.ports import DomainStore, Journal
    from fixer.planning.plan import Plan

# A domain that is being migrated or backed up is asked again: so often, so many seconds apart.
_TRIES = 3
_PAUSE = 2.0


class Status(Enum):
    """What became of one domain."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"
    FAILED = "failed"


class Allowed(NamedTuple):
    """What the owner allows beyond a plain redefinition."""

    remove_managed_save: bool = False
    make_persistent: bool = False
    strict: bool = False  # nothing is defined that leaves a finding unresolved


class Target(NamedTuple):
    """One domain; ``digest`` is that of the XML it was planned from, '' where it is planned now."""

    uuid: str
    name: str
    digest: str = ""


class Result(NamedTuple):
    """What became of one domain. ``code`` is stable, ``reason`` for people; ``devices`` counts changes."""

    status: Status
    uri: str
    uuid: str
    name: str
    code: str = ""
    reason: str = ""
    devices: int = 0
    unresolved: int = 0
    pending_restart: bool = False
    notes: tuple[str, ...] = ()


class BlockedError(VirtfixError):
    """The domain is left alone, for a reason that its owner can remove."""


def apply_one(
    store: DomainStore,
    journal: Journal,
    target: Target,
    make: Callable[[bytes], Plan],
    allowed: Allowed,
) -> Result:
    """Plan and redefine one domain; what stands in the way is a result, not an error."""
    base = Result(Status.UNCHANGED, store.uri, target.uuid, target.name)
    try:
        return _apply(store, journal, target, make, allowed, base)
    except BlockedError as error:
        return base._replace(status=Status.BLOCKED, code=error.code, reason=str(error))
    except VirtfixError as error:
        return base._replace(status=Status.FAILED, code=error.code, reason=str(error))


def _apply(
    store: DomainStore,
    journal: Journal,
    target: Target,
    make: Callable[[bytes], Plan],
    allowed: Allowed,
    base: Result,
) -> Result:
    state = _ready(store, target.uuid, allowed)
    before = store.xml(target.uuid)
    _check_digest(before, target.digest)
    plan = make(before)
    base = base._replace(unresolved=len(plan.unresolved))
    if plan.unresolved and allowed.strict:
        raise BlockedError(
            "apply.strict",
            f"{len(plan.unresolved)} unresolved, first {plan.unresolved[0].device}: {plan.unresolved[0].why}",
        )
    if not plan.pending:
        skipped = "; ".join(skip.reason for skip in plan.skips)
        return base._replace(code="apply.unchanged", reason=skipped)
    if state.managed_save and not allowed.remove_managed_save:
        raise BlockedError(
            "state.managed-save",
            "has a managed save, from which its next start would take the old devices",
            hint="start it and shut it down; or name it with --remove-managed-save, which loses the saved memory",
        )
    define(store, journal, target.uuid, before, plan, remove_managed_save=state.managed_save)
    return base._replace(
        status=Status.CHANGED,
        devices=len(plan.changes),
        pending_restart=state.active,
        notes=_notes(state),
    )


def define(
    store: DomainStore,
    journal: Journal,
    uuid: str,
    before: bytes,
    plan: Plan,
    *,
    remove_managed_save: bool = False,
) -> None:
    """Define the result of a plan, with backup, journal and a look back. Raises VirtfixError.

    On any error or difference the old definition is put back.
    """
    after = plan.result
    facts: dict[str, Any] = {"uri": store.uri, "uuid": uuid, "name": plan.domain.name}
    backup = journal.keep(uuid, before)
    edits = [encode_edit(edit) for edit in plan.edits]
    digests = {"before": plan.digest_before, "after": digest(after)}
    journal.write(
        "planned", {**facts, **digests, "backup": backup, "edits": edits, "saved": remove_managed_save}
    )
    try:
        got = _define(store, uuid, before, plan.after, after, remove_managed_save=remove_managed_save)
    except VirtfixError as error:
        journal.write("left", {**facts, "code": error.code, "reason": str(error)})
        raise
    journal.write("defined", {**facts, "now": digest(got)})


def define_new(store: DomainStore, journal: Journal, plan: Plan, allowed: Allowed) -> Result:
    """Define the result of a plan that was made from a file, whether the domain is there already or not.

    Raises VirtfixError for a name or UUID that another domain has.
    """
    uuid, name = plan.domain.uuid.lower(), plan.domain.name
    result = Result(
        Status.CHANGED, store.uri, uuid, name, devices=len(plan.changes), unresolved=len(plan.unresolved)
    )
    if plan.unresolved and allowed.strict:
        return result._replace(status=Status.BLOCKED, code="apply.strict", reason=plan.unresolved[0].why)
    assert uuid, "whoever reads the file gives it one"
    old = _old_xml(store, uuid)
    state = store.state(uuid) if old else None
    if state is not None and state.managed_save and not allowed.remove_managed_save:
        return result._replace(status=Status.BLOCKED, code="state.managed-save", reason="has a managed save")
    facts = {"uri": store.uri, "uuid": uuid, "name": name}
    digests = {"before": digest(old), "after": digest(plan.result)}
    kept = {"backup": journal.keep(uuid, old), "meant": journal.keep(uuid, plan.result), "edits": []}
    journal.write("planned", {**facts, **digests, **kept})
    try:
        saved = state is not None and state.managed_save
        got = _define(
            store, uuid, old, plan.after, plan.result, remove_managed_save=saved, written_by_libvirt=False
        )
    except VirtfixError as error:
        journal.write("left", {**facts, "code": error.code, "reason": str(error)})
        raise
    journal.write("defined", {**facts, "now": digest(got)})
    active = state is not None and state.active
    return result._replace(pending_restart=active, notes=_notes(state) if state is not None else ())


def _old_xml(store: DomainStore, uuid: str) -> bytes:
    """Return the definition that is there, b'' where there is none."""
    try:
        return store.xml(uuid)
    except VirtfixError as error:
        if error.code != "libvirt.gone":
            raise
        return b""


def _define(
    store: DomainStore,
    uuid: str,
    before: bytes,
    meant: Domain,
    after: bytes,
    *,
    remove_managed_save: bool,
    written_by_libvirt: bool = True,
) -> bytes:
    """Define and look back; return the XML that is in force. Raises VirtfixError, with the old one put back."""
    # libvirt has no compare-and-swap: this look comes as late as possible.
    if before:
        _check_digest(store.xml(uuid), digest(before))
    if remove_managed_save:
        store.remove_managed_save(uuid)
    try:
        store.define(after, validate=True)
        # What a person or another tool wrote, libvirt fills up: only the places can be held against it.
        look = differences if written_by_libvirt else misplaced
        got = store.xml(uuid)
        wrong = look(meant, got)
    except VirtfixError as error:
        put_back(store, uuid, before)
        raise VirtfixError(
            "apply.refused", f"libvirt refuses the new definition: {error}", hint="the old one is in force"
        ) from error
    if wrong:
        put_back(store, uuid, before)
        raise VirtfixError(
            "apply.differs",
            f"libvirt took something else than was meant: {'; '.join(wrong[:4])}",
            hint="the old definition is in force again; please report this",
        )
    return got


def put_back(store: DomainStore, uuid: str, before: bytes) -> None:
    """Put the old definition back, and make sure of it. Raises VirtfixError ``apply.lost`` where that fails."""
    try:
        if not before:
            if _old_xml(store, uuid):
                store.undefine(uuid)
            return
        if _old_xml(store, uuid) != before:
            store.define(before, validate=False)
        if store.xml(uuid) == before:
            return
        reason = "libvirt does not give back what it was given"
    except VirtfixError as error:
        reason = str(error)
    raise VirtfixError(
        "apply.lost",
        f"the old definition could not be put back: {reason}",
        hint="its XML is kept: virtfix history",
    )


def _ready(store: DomainStore, uuid: str, allowed: Allowed) -> State:
    """Return the state of a domain that may be redefined; wait for one that is being moved or backed up."""
    for left in reversed(range(_TRIES)):
        state = store.state(uuid)
        if not state.persistent and not allowed.make_persistent:
            raise BlockedError(
                "state.transient",
                "is transient: defining it would make it persistent",
                hint="give --make-persistent if that is wanted",
            )
        if not state.job:
            return state
        if left:
            time.sleep(_PAUSE)
    raise BlockedError("state.job", f"is busy: {state.job}", hint="run virtfix again when that is over")


def _check_digest(data: bytes, planned: str) -> None:
    if planned and digest(data) != planned:
        raise BlockedError(
            "apply.stale",
            f"changed since the plan: it was {planned[:23]}, it is {digest(data)[:23]}",
            hint="plan it again",
        )


def _notes(state: State) -> tuple[str, ...]:
    """Return what a redefinition does not reach."""
    notes = []
    if state.active:
        doing = "is paused" if state.paused else "runs"
        notes.append(f"{doing} with its old devices until it is shut down and started")
    if state.managed_save:
        notes.append("its managed save was removed, and the memory in it is lost")
    for count, what in ((state.snapshots, "snapshot"), (state.checkpoints, "checkpoint")):
        if count:
            notes.append(
                f"has {count} {what}{'s' * (count > 1)}: reverting to one brings the old devices back"
            )
    return tuple(notes)
