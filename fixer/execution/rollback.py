"""Puts definitions of a run back, and finishes a run that was cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.document import digest
from fixer.domain.edits import StaleEditError
from fixer.domain.edits import splices as splices_of
from fixer.domain.model import read_domain
from fixer.domain.state import State
from fixer.domain.writing import apply_splices
from fixer.errors import VirtfixError
from fixer.execution.apply import BlockedError, Result, Status, put_back
from fixer.execution.compare import differences, misplaced
from fixer.execution.journal import DEFINED, LEFT, RESTORED, Entry
from fixer.planning.codec import decode_edit

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.execution.ports import DomainStore, Journal


def restore(
    store: DomainStore,
    journal: Journal,
    entry: Entry,
    before: bytes,
    *,
    force: bool,
    keep: Callable[[bytes], object],
) -> Result:
    """Put back the definition that a run replaced; refuse where the domain was changed since, unless ``force``.

    ``keep`` stores what is replaced by that. An empty ``before`` stands for a domain that was not there.
    """
    base = Result(Status.UNCHANGED, store.uri, entry.uuid, entry.name)
    try:
        state, current = _now(store, entry.uuid)
        if current != before:
            if not force:
                _refuse_changed(current, entry, before)
            if current:
                keep(current)
            if before:
                put_back(store, entry.uuid, before)
            else:
                store.undefine(entry.uuid)
    except VirtfixError as error:
        return _failed(base, error)
    _note(journal, RESTORED, entry, digest(before))
    if current == before:
        return base._replace(code="rollback.there", reason="has its old definition already")
    return base._replace(status=Status.CHANGED, pending_restart=state.active)


def finish(store: DomainStore, journal: Journal, entry: Entry, before: bytes, meant: bytes = b"") -> Result:
    """Find out what became of a domain whose run was cut off, and finish it.

    ``meant`` is the XML that was meant, where it is not what the edits make of ``before``.
    """
    base = Result(Status.UNCHANGED, store.uri, entry.uuid, entry.name)
    try:
        state, current = _now(store, entry.uuid)
        stated, meant = bool(meant), meant or _meant(entry, before)
        if current == before:
            if state.managed_save:
                raise BlockedError(
                    "state.managed-save",
                    "has a managed save, from which its next start would take the old devices",
                    hint="start it and shut it down, then plan it again",
                )
            store.define(meant, validate=True)
            current = store.xml(entry.uuid)
        _refuse_other(meant, current, written_by_libvirt=not stated)
    except VirtfixError as error:
        _note(journal, LEFT, entry, "", error)
        return _failed(base, error)
    _note(journal, DEFINED, entry, digest(current))
    return base._replace(status=Status.CHANGED, pending_restart=state.active, devices=len(entry.edits))


def _now(store: DomainStore, uuid: str) -> tuple[State, bytes]:
    """Return what a domain is doing and its definition, b'' where it is not there."""
    try:
        return store.state(uuid), store.xml(uuid)
    except VirtfixError as error:
        if error.code != "libvirt.gone":
            raise
        return State(), b""


def _failed(base: Result, error: VirtfixError) -> Result:
    status = Status.BLOCKED if isinstance(error, BlockedError) else Status.FAILED
    return base._replace(status=status, code=error.code, reason=str(error))


def _refuse_changed(current: bytes, entry: Entry, before: bytes) -> None:
    if _is_ours(current, entry, before):
        return
    if not current:
        raise BlockedError(
            "rollback.gone", "is not there any more", hint="--force defines it again as it was"
        )
    was, now = (entry.now or entry.after)[:23], digest(current)[:23]
    raise BlockedError(
        "rollback.changed",
        f"was changed since: it was left as {was}, it is {now}",
        hint="--force puts the old definition back all the same, and what was changed since is lost",
    )


def _refuse_other(meant: bytes, current: bytes, *, written_by_libvirt: bool) -> None:
    wrong = (differences if written_by_libvirt else misplaced)(read_domain(meant), current)
    if wrong:
        raise BlockedError(
            "resume.changed",
            f"has neither its old definition nor the planned one: {'; '.join(wrong[:4])}",
            hint="plan it again; its old XML is kept: virtfix history",
        )


def _is_ours(current: bytes, entry: Entry, before: bytes) -> bool:
    """Whether the definition is the one that the run left behind."""
    if not current or not before:
        return bool(current) and digest(current) == entry.now
    if entry.now:
        return digest(current) == entry.now
    # The run was cut off before it could read back what it had defined.
    return not differences(read_domain(_meant(entry, before)), current)


def _meant(entry: Entry, before: bytes) -> bytes:
    """Return the XML that the run meant to define, made again from the old XML and the edits."""
    if digest(before) != entry.before:
        raise VirtfixError("run.broken", "the stored XML is not the one of the run", where=entry.backup)
    domain = read_domain(before)
    try:
        edits = tuple(decode_edit(edit) for edit in entry.edits)
        source = apply_splices(domain.document.source, splices_of(domain, edits))
    except StaleEditError as error:
        raise VirtfixError("run.broken", f"the edits of the run do not fit its XML: {error}") from error
    return domain.document.encode(source)


def _note(journal: Journal, event: str, entry: Entry, now: str, error: VirtfixError | None = None) -> None:
    facts = {"uri": entry.uri, "uuid": entry.uuid, "name": entry.name, "now": now}
    journal.write(event, facts | ({"code": error.code, "reason": str(error)} if error is not None else {}))
