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
from fixer.execution.apply import (
    Allowed,
    BlockedError,
    Old,
    Result,
    Status,
    is_saved,
    not_done,
    notes,
    old_xml,
    outcome,
    put_back,
    ready,
    replace,
)
from fixer.execution.compare import differences, misplaced
from fixer.execution.journal import DEFINED, RESTORED, Entry
from fixer.planning.codec import decode_edit

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.execution.ports import DomainStore, Journal

_ANY = Allowed(make_persistent=True)  # what the run was allowed, its end is


def restore(
    store: DomainStore,
    journal: Journal,
    entry: Entry,
    before: bytes,
    *,
    force: bool,
    keep: Callable[[bytes], object],
    result: bytes = b"",
) -> Result:
    """Put back the definition that a run replaced; refuse where the domain was changed since, unless ``force``.

    ``keep`` stores what is replaced by that. An empty ``before`` stands for a domain that was not there.
    ``result`` is the XML that the run left behind, where the journal names it.
    """
    base = Result(Status.UNCHANGED, store.uri, entry.uuid, entry.name)
    old = Old(before, transient=entry.transient)
    try:
        _check_stored(before, entry.before, entry.backup)
        current = old_xml(store, entry.uuid)
        state = ready(store, entry.uuid, _ANY) if current else State()
        there = not (current and state.persistent) if entry.transient else current == before
        if not there:
            if not force:
                _refuse_changed(current, entry, before, result)
                _refuse_state(state, entry, before)
            if current:
                keep(current)
            if old_xml(store, entry.uuid) != current:
                raise BlockedError("apply.stale", "is being changed by somebody else", hint="try again")
            current = put_back(store, entry.uuid, old)
        _note(journal, RESTORED, entry, now=digest(current))
    except VirtfixError as error:
        return not_done(base, error)
    if there:
        return base._replace(code="rollback.there", reason="has its old definition already")
    return base._replace(
        status=Status.CHANGED,
        pending_restart=state.active,
        notes=_told(state, undefined=old.transient or not before),
    )


def _refuse_state(state: State, entry: Entry, before: bytes) -> None:
    if state.managed_save:
        raise BlockedError(
            "state.managed-save",
            "has a managed save, from which its next start would take the devices that it has now",
            hint="start it and shut it down first; --force puts the old definition back all the same",
        )
    if not before and state.active:
        raise BlockedError(
            "state.active",
            "was not there before and is running: without its definition it is gone when it stops",
            hint="shut it down first; --force undefines it all the same",
        )
    if entry.transient and not state.active:
        raise BlockedError(
            "state.transient",
            "was transient and is shut off: without its definition it is gone",
            hint="--force undefines it; its XML is kept",
        )


def _told(state: State, *, undefined: bool) -> tuple[str, ...]:
    if undefined:
        return ("is transient now: gone when it is shut down",) if state.active else ()
    if state.managed_save:
        return ("its next start takes the devices of its managed save",)
    return notes(state)


def finish(store: DomainStore, journal: Journal, entry: Entry, before: bytes, meant: bytes = b"") -> Result:
    """Find out what became of a domain whose run was cut off, and finish it.

    ``meant`` is the XML that was meant, where it is not what the edits make of ``before``.
    """
    base = Result(Status.UNCHANGED, store.uri, entry.uuid, entry.name)
    begun = False
    try:
        _check_stored(before, entry.before, entry.backup)
        if meant:
            _check_stored(meant, entry.after, entry.meant)
        current = old_xml(store, entry.uuid)
        state = ready(store, entry.uuid, _ANY) if current else State()
        stated, meant = bool(meant), meant or _meant(entry, before)
        if state.managed_save:
            # Whatever the run was allowed: nobody knows whether it is the save that was there then.
            raise is_saved(hint=_SAVED_HINT)
        if current == before:
            begun = True
            old = Old.of(current, state)
            current = replace(store, journal, entry.uuid, old, meant, written_by_libvirt=not stated)
            now = {
                "now": digest(current),
                **({"result": journal.keep(entry.uuid, current)} if stated else {}),
            }
        else:
            _refuse_other(meant, current, written_by_libvirt=not stated)
            # What libvirt filled up in stated XML can not be told from what its owner changed since.
            now = {} if stated else {"now": digest(current)}
        _note(journal, DEFINED, entry, **now)
    except VirtfixError as error:
        # What is not begun stays open: it can be finished when what stands in its way is gone.
        if begun and error.code.startswith("apply."):
            _note(journal, outcome(error), entry, code=error.code, reason=str(error))
        return not_done(base, error)
    return base._replace(
        status=Status.CHANGED, pending_restart=state.active, devices=len(entry.edits), notes=notes(state)
    )


_SAVED_HINT = (
    "start it and shut it down, or give its memory up: virsh managedsave-remove; then virtfix resume again"
)


def _check_stored(stored: bytes, planned: str, name: str) -> None:
    """Raise VirtfixError ``run.broken`` where stored XML is not what the journal says."""
    if digest(stored) != planned:
        raise VirtfixError("run.broken", "the stored XML is not the one of the run", where=name)


def _refuse_changed(current: bytes, entry: Entry, before: bytes, result: bytes) -> None:
    if _is_ours(current, entry, before, result):
        return
    if not current:
        raise BlockedError(
            "rollback.gone", "is not there any more", hint="--force defines it again as it was"
        )
    was, now = (entry.now or entry.after)[:23], digest(current)[:23]
    if entry.meant and not entry.now:
        raise BlockedError(
            "rollback.unknown",
            "may have been changed since: its run was cut off before it could look at what libvirt had made",
            hint="--force puts the old definition back, and what may have been changed since is lost",
        )
    raise BlockedError(
        "rollback.changed",
        f"was changed since: it was left as {was}, it is {now}",
        hint="--force puts the old definition back all the same, and what was changed since is lost",
    )


def _refuse_other(meant: bytes, current: bytes, *, written_by_libvirt: bool) -> None:
    if not current:
        raise BlockedError(
            "resume.gone", "is not there any more", hint="its old XML is kept: virtfix history"
        )
    wrong = (differences if written_by_libvirt else misplaced)(read_domain(meant), current)
    if wrong:
        raise BlockedError(
            "resume.changed",
            f"has neither its old definition nor the planned one: {'; '.join(wrong[:4])}",
            hint="plan it again; its old XML is kept: virtfix history",
        )


def _is_ours(current: bytes, entry: Entry, before: bytes, result: bytes) -> bool:
    """Whether the definition is the one that the run left behind, be it in other words.

    libvirt finds other words when it reads its own files again, and with each version.
    """
    if not current:
        return False
    if entry.now and digest(current) == entry.now:
        return True
    if entry.meant and not result:  # libvirt has filled it up, and nobody knows with what
        return False
    return not differences(read_domain(result or _meant(entry, before)), current)


def _meant(entry: Entry, before: bytes) -> bytes:
    """Return the XML that the run meant to define, made again from the old XML and the edits."""
    domain = read_domain(before)
    try:
        edits = tuple(decode_edit(edit) for edit in entry.edits)
        source = apply_splices(domain.document.source, splices_of(domain, edits))
    except StaleEditError as error:
        raise VirtfixError("run.broken", f"the edits of the run do not fit its XML: {error}") from error
    return domain.document.encode(source)


def _note(journal: Journal, event: str, entry: Entry, **more: str) -> None:
    journal.write(event, {"uri": entry.uri, "uuid": entry.uuid, "name": entry.name, **more})
