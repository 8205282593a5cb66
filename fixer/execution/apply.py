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
from fixer.domain.model import read_domain
from fixer.domain.redaction import MARK, redact
from fixer.domain.state import State
from fixer.errors import VirtfixError
from fixer.execution.compare import differences, misplaced
from fixer.execution.journal import DEFINED, LEFT, PLANNED, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.execution.meant import Meant
    from fixer.execution.ports import DomainStore, Journal

# A domain that is being migrated or backed up is asked again: so often, so many seconds apart.
_TRIES = 3
_PAUSE = 2.0
UNTIL = "with its old devices until it is shut down and started"


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
    make: Callable[[bytes], Meant],
    allowed: Allowed,
) -> Result:
    """Plan and redefine one domain; what stands in the way is a result, not an error."""
    base = Result(Status.UNCHANGED, store.uri, target.uuid, target.name)
    try:
        return _apply(store, journal, target, make, allowed, base)
    except VirtfixError as error:
        return not_done(base, error)


def not_done(base: Result, error: VirtfixError) -> Result:
    """Return the result of a domain that an error stood in the way of: blocked, or failed."""
    status = Status.BLOCKED if isinstance(error, BlockedError) else Status.FAILED
    return base._replace(status=status, code=error.code, reason=str(error))


def _apply(
    store: DomainStore,
    journal: Journal,
    target: Target,
    make: Callable[[bytes], Meant],
    allowed: Allowed,
    base: Result,
) -> Result:
    state = ready(store, target.uuid, allowed)
    before = store.xml(target.uuid)
    check_digest(before, target.digest)
    meant = make(before)
    base = base._replace(unresolved=len(meant.unresolved))
    _refuse_unready(meant, allowed)
    if not meant.edits:
        return base._replace(code="apply.unchanged", reason=meant.skipped)
    _refuse_managed_save(state, allowed)
    _define(store, journal, target.uuid, Old.of(before, state), meant, {"edits": meant.edits})
    return base._replace(
        status=Status.CHANGED,
        devices=meant.devices,
        pending_restart=state.active,
        notes=notes(state),
    )


def _refuse_unready(meant: Meant, allowed: Allowed) -> None:
    if meant.refused:
        raise BlockedError("convert.refused", f"can not be converted: {meant.refused}")
    if meant.unresolved and allowed.strict:
        raise BlockedError("apply.strict", f"{len(meant.unresolved)} unresolved, first {meant.unresolved[0]}")


def _refuse_managed_save(state: State, allowed: Allowed) -> None:
    if state.managed_save and not allowed.remove_managed_save:
        raise is_saved()


def is_saved(
    hint: str = "start it and shut it down; or name it with --remove-managed-save, which loses the saved memory",
) -> BlockedError:
    what = "has a managed save, from which its next start would take the old devices"
    return BlockedError("state.managed-save", what, hint=hint)


def _is_busy(job: str) -> BlockedError:
    return BlockedError("state.job", f"is busy: {job}", hint="run virtfix again when that is over")


def _define(
    store: DomainStore,
    journal: Journal,
    uuid: str,
    old: Old,
    meant: Meant,
    kept: dict[str, Any],
    *,
    written_by_libvirt: bool = True,
) -> InForce:
    """Define the result of a plan, with backup, journal and a look back. Raises VirtfixError.

    On any error or difference the old definition is put back. A managed save is removed. ``kept`` is what says later
    which XML was meant: the edits, or the name of the stored XML.
    """
    facts: dict[str, Any] = {"uri": store.uri, "uuid": uuid, "name": meant.name}
    digests = {"before": digest(old.xml), "after": digest(meant.result)}
    was = {"backup": journal.keep(uuid, old.xml), "transient": old.transient}
    journal.write(PLANNED, {**facts, **digests, **was, **kept})
    if written_by_libvirt:
        return _carry_out(
            journal,
            facts,
            lambda: replace(store, journal, uuid, old, meant.result, news=meant.news, checked=meant.checked),
        )
    return _carry_out(
        journal,
        facts,
        lambda: replace(store, journal, uuid, old, meant.result, written_by_libvirt=False),
        keep_for=old,
    )


def _carry_out(
    journal: Journal, facts: dict[str, Any], act: Callable[[], bytes], *, keep_for: Old | None = None
) -> InForce:
    """Do what was written down as planned, and write down what became of it. Raises VirtfixError.

    ``keep_for`` is what was replaced by XML that libvirt has filled up: what is in force then is stored.
    """
    try:
        now = act()
    except VirtfixError as error:
        journal.write(outcome(error), {**facts, "code": error.code, "reason": str(error)})
        raise
    same = keep_for is not None and _is_same(keep_for, now)
    try:
        kept = {"result": journal.keep(facts["uuid"], now), "same": same} if keep_for is not None else {}
        # Where the machine dies before it is on disk, resume finds the new definition in force and writes it again.
        journal.write(DEFINED, {**facts, "now": digest(now), **kept}, wait=False)
    except VirtfixError as error:
        raise VirtfixError(
            "apply.unwritten",
            f"the new definition is in force, but that could not be written down: {error}",
            hint="virtfix resume writes it down",
        ) from error
    return InForce(now, same)


def outcome(error: VirtfixError) -> str:
    """Return the event for a change that failed: whether the old definition is known to be in force, and stays.

    Where the connection is lost, resume finds out, and goes on.
    """
    return UNKNOWN if error.code in {"apply.lost", "libvirt.lost"} else LEFT


def define_new(store: DomainStore, journal: Journal, meant: Meant, allowed: Allowed) -> Result:
    """Define the result of a plan that was made from a file, whether the domain is there already or not.

    Raises VirtfixError for a name or UUID that another domain has, BlockedError for what its owner can remove.
    """
    uuid = meant.uuid
    result = Result(
        Status.CHANGED, store.uri, uuid, meant.name, devices=meant.devices, unresolved=len(meant.unresolved)
    )
    _refuse_unready(meant, allowed)
    assert uuid, "whoever reads the file gives it one"
    old = old_xml(store, uuid)
    state = ready(store, uuid, allowed) if old else State()
    _refuse_managed_save(state, allowed)
    kept = {"meant": journal.keep(uuid, meant.result), "edits": []}
    now = _define(store, journal, uuid, Old.of(old, state), meant, kept, written_by_libvirt=False)
    lost = _fewer_secrets(old, now.xml)
    result = result._replace(pending_restart=state.active, notes=(*notes(state), *lost))
    if not now.same:
        return result
    return result._replace(
        status=Status.UNCHANGED, code="apply.unchanged", reason="is defined like that already", devices=0
    )


def _is_same(old: Old, now: bytes) -> bool:
    """Tell whether a definition is as it was: libvirt writes controllers in another order once it has reloaded them."""
    if not old.xml or old.transient:
        return False
    return now == old.xml or not differences(read_domain(old.xml), now)


def _fewer_secrets(old: bytes, now: bytes) -> tuple[str, ...]:
    """Return a note where a file lacks what the definition before had, as one that was dumped without it does."""
    kept, had = (redact(xml.decode("utf-8", "replace")).count(MARK) for xml in (now, old))
    return (
        ("has fewer passwords or keys than before; virtfix rollback brings them back",) if kept < had else ()
    )


def old_xml(store: DomainStore, uuid: str) -> bytes:
    """Return the definition that is there, b'' where there is none."""
    try:
        return store.xml(uuid)
    except VirtfixError as error:
        if error.code != "libvirt.gone":
            raise
        return b""


class InForce(NamedTuple):
    """The definition that came of it; ``same`` says of one from a file that it was there already."""

    xml: bytes
    same: bool


class Old(NamedTuple):
    """What is replaced: its XML, b'' for a domain that is not there, and what there is beside it."""

    xml: bytes
    transient: bool = False
    managed_save: bool = False  # to be removed

    @classmethod
    def of(cls, xml: bytes, state: State) -> Old:
        return cls(xml, transient=bool(xml) and not state.persistent, managed_save=state.managed_save)


def replace(
    store: DomainStore,
    journal: Journal,
    uuid: str,
    old: Old,
    after: bytes,
    *,
    written_by_libvirt: bool = True,
    news: bytes = b"",
    checked: bool = False,
) -> bytes:
    """Define and look back; return the XML that is in force. Raises VirtfixError, with the old one put back.

    It is ``apply.lost`` where nobody knows whether the old one is in force. A managed save is removed last.
    ``news`` is what is held against the schema, unless it was ``checked``: all, but where the rest is libvirt's own.
    """
    if not checked:
        hold(store.check, news or after)
    # libvirt has no compare-and-swap: this look comes as late as possible.
    _check_unchanged(store, uuid, old)
    # What a person or another tool wrote, libvirt fills up: only the places can be held against it.
    look = differences if written_by_libvirt else misplaced

    def wrong_in(got: bytes) -> list[str]:
        return look(read_domain(after), got) if got != after else []

    try:
        store.define(after, validate=True)
    except VirtfixError as error:
        _undo_refused(store, uuid, old, lambda got: not wrong_in(got))
        raise _refused(error) from error
    try:
        got = store.xml(uuid)
        wrong = wrong_in(got)
        if not wrong and old.managed_save:
            store.remove_managed_save(uuid)
    except VirtfixError as error:
        put_back(store, uuid, old)
        raise _refused(error) from error
    if wrong:
        try:
            journal.keep(uuid, got)  # it may be somebody's edit of this instant
        finally:
            put_back(store, uuid, old)
        raise VirtfixError(
            "apply.differs",
            f"libvirt took something else than was meant: {'; '.join(wrong[:4])}",
            hint="the old definition is in force again; please report this",
        )
    return got


def hold(check: Callable[[bytes], None], xml: bytes) -> None:
    """Hold XML against a schema. Raises VirtfixError ``apply.refused``."""
    try:
        check(xml)
    except VirtfixError as error:
        raise _refused(error) from error


def _refused(error: VirtfixError) -> VirtfixError:
    return VirtfixError(
        "apply.refused", f"the new definition is refused: {error}", hint="nothing was changed"
    )


def _check_unchanged(store: DomainStore, uuid: str, old: Old) -> None:
    """Look once more at what was seen before the plan. Raises BlockedError."""
    if old.xml:
        check_digest(store.xml(uuid), digest(old.xml))
        state = store.obstacles(uuid)
        if state.job:
            raise _is_busy(state.job)
        if state.managed_save and not old.managed_save:
            raise is_saved()
    elif old_xml(store, uuid):
        raise BlockedError("apply.stale", "was defined by somebody else meanwhile", hint="plan it again")


def _undo_refused(store: DomainStore, uuid: str, old: Old, ours: Callable[[bytes], bool]) -> None:
    """Put the old definition back after an error, unless what is there is somebody else's."""
    try:
        now = old_xml(store, uuid)
    except VirtfixError:
        put_back(store, uuid, old)  # which will say why nobody knows
        return
    if now != old.xml and now and not ours(now):
        raise BlockedError(
            "apply.stale",
            "was changed by somebody else meanwhile, and is left like that",
            hint="plan it again",
        )
    put_back(store, uuid, old)


def put_back(store: DomainStore, uuid: str, old: Old) -> bytes:
    """Put the old definition back, and make sure of it; return what is in force.

    Raises VirtfixError ``apply.lost`` where that fails.
    """
    try:
        if old.transient or not old.xml:
            # A running domain goes on when it loses its definition, and is transient again.
            if old_xml(store, uuid) and store.state(uuid).persistent:
                store.undefine(uuid)
            return old.xml
        if old_xml(store, uuid) != old.xml:
            store.define(old.xml, validate=False)
        got = store.xml(uuid)
        # A libvirt that was updated since may write the same definition in another way.
        wrong = differences(read_domain(old.xml), got) if got != old.xml else []
        if not wrong:
            return got
        reason = f"libvirt does not give back what it was given: {'; '.join(wrong[:4])}"
    except VirtfixError as error:
        reason = str(error)
    raise VirtfixError(
        "apply.lost",
        f"the old definition could not be put back: {reason}",
        hint="its XML is kept: virtfix history",
    )


def ready(store: DomainStore, uuid: str, allowed: Allowed) -> State:
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
    raise _is_busy(state.job)


def check_digest(data: bytes, planned: str) -> None:
    """Raise BlockedError ``apply.stale`` where XML is not what was planned."""
    if planned and digest(data) != planned:
        raise BlockedError(
            "apply.stale",
            f"changed since the plan: it was {planned[:23]}, it is {digest(data)[:23]}",
            hint="plan it again",
        )


def notes(state: State) -> tuple[str, ...]:
    """Return what a redefinition does not reach."""
    told = []
    if state.active:
        doing = "is paused" if state.paused else "runs"
        told.append(f"{doing} {UNTIL}")
    if state.managed_save:
        told.append("its managed save was removed, and the memory in it is lost")
    for count, what in ((state.snapshots, "snapshot"), (state.checkpoints, "checkpoint")):
        if count:
            told.append(
                f"has {count} {what}{'s' * (count > 1)}: reverting to one brings the old devices back"
            )
    return tuple(told)
