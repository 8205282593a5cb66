"""virtfix history, rollback, resume: what runs did, and how to undo or finish them."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from fixer.cli import redefine, sources
from fixer.cli.exit_codes import Exit
from fixer.cli.redefine import Wishes, carefully, report
from fixer.cli.saved import job_of
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Settings, build_request, state_dir
from fixer.domain.document import digest
from fixer.errors import VirtfixError, printable
from fixer.execution.apply import Allowed, Result, Status, Target, apply_one, not_done
from fixer.execution.journal import (
    DEFINED,
    ENDED,
    LEFT,
    PLANNED,
    PUT_BACK,
    RESTORED,
    UNKNOWN,
    Entry,
    damaged,
    entries,
    orphans,
    read_events,
)
from fixer.execution.rollback import finish, restore
from fixer.planning.replay import check_saved

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from fixer.adapters.state_dir import Run


def history(run: str, state: str, form: str) -> Exit:
    """List the runs, or what became of each domain of one."""
    place = state_dir(state)
    if run:
        found = place.find(run)
        events = _journal(found)
        known = list(entries(events).values())
        put_back = [event for event in events if event["event"] == PUT_BACK]
        for broken in map(_broken, orphans(events)):
            sys.stderr.write(f"virtfix: {redefine.line(broken)}")
        if form == "json":
            value = {"run": found.id, "domains": [_entry_json(found, entry) for entry in known]}
            value["put_back"] = [
                {key: event[key] for key in _PUT_BACK}
                | {"replaced": _stored(found, event.get("replaced", ""))}
                for event in put_back
            ]
            sys.stdout.write(json.dumps(value, indent=2) + "\n")
            return Exit.DONE
        for entry in known:
            told = f"; {printable(entry.reason, 300)}" if entry.reason else ""
            sys.stdout.write(
                f"{_word(entry):<9}  {printable(entry.name)}  {entry.uuid}  {printable(entry.uri)}{told}\n"
            )
            old = _stored(found, entry.backup) if entry.before != digest(b"") else "none, it was not there"
            sys.stdout.write(f"{'':<9}  old XML: {printable(old)}\n")
        for event in put_back:
            uri, uuid, name, source = (printable(str(event[key])) for key in _PUT_BACK)
            sys.stdout.write(f"{'put back':<9}  {name}  {uuid}  {uri}; as before run {source}\n")
            if event.get("replaced"):
                sys.stdout.write(f"{'':<9}  replaced XML: {printable(_stored(found, event['replaced']))}\n")
        return Exit.DONE
    runs = [_run_json(place.find(name)) for name in place.runs()]
    if form == "json":
        sys.stdout.write(json.dumps(runs, indent=2) + "\n")
        return Exit.DONE
    for one in runs:
        counts = ", ".join(f"{count} {word}" for word, count in one["counts"].items())
        unfinished = "" if one["ended"] or one["command"] != "apply" else "; unfinished: virtfix resume"
        sys.stdout.write(
            f"{one['run']}  {one['command']:<8}  {counts or 'nothing was changed'}{unfinished}\n"
        )
    return Exit.DONE


def _stored(run: Run, name: str) -> str:
    """Return where a run keeps XML, '' for none."""
    return str(run.folder / name) if name else ""


def _journal(run: Run) -> list[dict[str, Any]]:
    """Return the events of a run; what of its journal can not be read is told."""
    data = run.journal()
    lines = damaged(data)
    if lines:
        backups = printable(str(run.folder / "backup"))
        what = f"{lines} line{'s' * (lines != 1)} can not be read"
        sys.stderr.write(
            f"virtfix: {run.id}: its journal was damaged, {what}; the old XML of each domain is in {backups}\n"
        )
    return read_events(data)


def _command(run: Run) -> str:
    try:
        return printable(str(run.asked.get("command", "")), 20)
    except VirtfixError:
        return "?"  # one broken run hides no other


_PUT_BACK = ("uri", "uuid", "name", "run")
# Words for people and programs: what a domain has now, as far as its run knows.
_WORDS = {PLANNED: "cut off", LEFT: "kept old", RESTORED: "restored", UNKNOWN: "unknown"}


def _word(entry: Entry) -> str:
    return "unchanged" if entry.same else _WORDS.get(entry.event, "changed")


def _entry_json(run: Run, entry: Entry) -> dict[str, Any]:
    value = {key: getattr(entry, key) for key in ("uri", "uuid", "name", "before", "after", "now", "reason")}
    return {"status": _word(entry), **value, "backup": _stored(run, entry.backup)}


def _run_json(run: Run) -> dict[str, Any]:
    events = _journal(run)
    known = list(entries(events).values())
    counts: dict[str, int] = {}
    words = [_word(entry) for entry in known]
    words += ["put back" for event in events if event["event"] == PUT_BACK]
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    # What stays open keeps a run unfinished, also where everything was tried.
    ended = any(event["event"] == ENDED for event in events) and not any(entry.open for entry in known)
    return {"run": run.id, "command": _command(run), "ended": ended, "counts": counts}


def rollback(run: str, domain: str, wishes: Wishes, *, force: bool, detailed: bool) -> Exit:
    """Put back what a run replaced: all of it, or one domain's latest change. Raises VirtfixError."""
    place = state_dir(wishes.state)
    with place.locked("virtfix rollback", wishes.wait):
        chosen, damaged = _of_run(place.find(run), domain) if run else ([_latest(place, domain)], [])
        if not wishes.yes:
            _ask(chosen)
        of = {run.id: run for run, _ in chosen}
        with contextlib.ExitStack() as opened:
            made = opened.enter_context(place.create({"command": "rollback", "of": sorted(of)}))
            for source in of.values():
                opened.enter_context(source)

            def one(pair: tuple[Run, Entry]) -> Result:
                source, entry = pair
                return _restored(source, made, entry, force=force)

            results = _after(damaged, carefully(one, _failed_pair, chosen, wishes))
            with redefine.stopping("the same command goes on"):
                total = len(damaged) + len(chosen)
                return report(results, wishes, total, made, detailed=detailed, again="the same command")


def _after(first: list[Result], others: Generator[Result]) -> Generator[Result]:
    yield from first
    yield from others


def _broken(event: dict[str, Any]) -> Result:
    """Return the result of a domain that can not be put back, since the journal lost what it said of it."""
    error = VirtfixError(
        "run.broken",
        "the journal was damaged: it does not say any more what was replaced",
        hint=f"its old XML is in the run's folder: backup/{event['uuid']}.xml",
    )
    return not_done(Result(Status.FAILED, event["uri"], event["uuid"], str(event.get("name", ""))), error)


def _failed_pair(pair: tuple[Run, Entry], error: VirtfixError) -> Result:
    return _failed(pair[1], error)


def _restored(source: Run, made: Run, entry: Entry, *, force: bool) -> Result:
    before = source.backup(entry.backup)
    result = source.backup(entry.result) if entry.result else b""
    store = sources.store(entry.uri, writable=True)
    kept: list[str] = []
    # The undoing is a change too: what it replaces is kept.
    restored = restore(
        store,
        source,
        entry,
        before,
        force=force,
        keep=lambda data: kept.append(made.keep(entry.uuid, data)),
        result=result,
    )
    if restored.status in {Status.CHANGED, Status.UNCHANGED}:
        facts = {"uri": entry.uri, "uuid": entry.uuid, "name": entry.name, "run": source.id}
        made.write(PUT_BACK, {**facts, "replaced": kept[0] if kept else ""})
    return restored


def _failed(entry: Entry, error: VirtfixError) -> Result:
    return not_done(Result(Status.FAILED, entry.uri, entry.uuid, entry.name), error)


def _of_run(run: Run, domain: str) -> tuple[list[tuple[Run, Entry]], list[Result]]:
    """Return what of a run can be put back, and what can not, since its journal was damaged. Raises VirtfixError."""
    events = _journal(run)
    known = [entry for entry in entries(events).values() if entry.event not in {LEFT, RESTORED}]
    if domain:
        known = [entry for entry in known if _is_called(entry, domain)]
    if not known:
        raise VirtfixError(
            "rollback.nothing", "there is nothing to put back", where=run.id, hint="virtfix history"
        )
    return [(run, entry) for entry in known], [] if domain else list(map(_broken, orphans(events)))


def _latest(place: Any, domain: str) -> tuple[Run, Entry]:
    undone = ""
    for name in reversed(place.runs()):
        run = place.find(name)
        known = [
            entry
            for entry in entries(_journal(run)).values()
            if _is_called(entry, domain) and entry.event != LEFT and not entry.same
        ]
        undone = undone or (run.id if known else "")
        found = [entry for entry in known if entry.event != RESTORED]
        if len(found) > 1:
            told = ", ".join(f"{entry.uuid} on {printable(entry.uri)}" for entry in found[:4])
            raise VirtfixError(
                "rollback.ambiguous",
                f"run {run.id} changed several domains called '{printable(domain, 80)}': {told}",
                hint="give its UUID, or the run",
            )
        if found:
            return run, found[0]
    title = printable(domain, 80)
    raise VirtfixError(
        "rollback.nothing",
        f"all changes of the domain '{title}' are undone; the last was of run {undone}"
        if undone
        else f"no run changed the domain '{title}'",
        hint="virtfix history lists the runs",
    )


def _is_called(entry: Entry, name: str) -> bool:
    return name == entry.name or name.lower() == entry.uuid


def _ask(chosen: list[tuple[Run, Entry]]) -> None:
    redefine.check_askable()
    for run, entry in chosen[:20]:
        sys.stdout.write(f"{printable(entry.name)}: as before run {run.id}\n")
    if not redefine.confirmed(f"Put back {len(chosen)} definition{'s' * (len(chosen) != 1)}?"):
        raise SystemExit(Exit.DONE)


def resume(run: str, wishes: Wishes, *, detailed: bool) -> Exit:
    """Finish a run that was cut off: first what it had begun, then what it had not. Raises VirtfixError."""
    place = state_dir(wishes.state)
    with place.locked("virtfix resume", wishes.wait):
        found = place.find(run)
        asked = found.asked
        if asked.get("command") not in {"apply", "define"}:
            raise VirtfixError(
                "resume.command",
                "is no run that defines domains",
                where=found.id,
                hint="run it again instead",
            )
        known = entries(_journal(found))
        if any(entry.event == RESTORED for entry in known.values()):
            raise VirtfixError(
                "resume.undone", "was rolled back", where=found.id, hint="virtfix apply makes a new run"
            )
        begun = [entry for entry in known.values() if entry.open]
        with found as journal, redefine.stopping(f"virtfix resume {found.id} goes on"):
            todo = list(_not_begun(asked, known))
            results = _resumed(journal, begun, todo, asked, wishes)
            done = report(results, wishes, len(begun) + len(todo), found, detailed=detailed)
        if not begun and not todo and _settings(asked)[0].staged:
            sys.stderr.write("virtfix: the first step is done; --driver-bound takes the second\n")
        files = len(asked.get("files", ())) - len(known)
        if files > 0:
            sys.stderr.write(
                f"virtfix: {files} files of the run were not defined: give them to apply again\n"
            )
        return done


def next_step(run: str, wishes: Wishes, *, detailed: bool) -> Exit:
    """Take the second step of a staged run for the domains that took the first; a run of its own.

    Raises VirtfixError.
    """
    found = state_dir(wishes.state).find(run)
    settings, allowed = _settings(found.asked)
    if found.asked.get("command") != "apply" or not settings.staged or settings.driver_bound:
        raise VirtfixError(
            "resume.step",
            "is no first step of two",
            where=found.id,
            hint="virtfix apply --machine q35 --staged makes one",
        )
    known = entries(_journal(found))
    if any(entry.open for entry in known.values()):
        raise VirtfixError(
            "resume.unfinished",
            "was cut off before it knew what became of its first step",
            where=found.id,
            hint=f"first: virtfix resume {found.id}",
        )
    paths = [
        DomainRef.of(name, uuid, uri)
        for uri, uuid, name, _ in _domains(found.asked)
        if (entry := known.get((_actual(uri), uuid))) is not None and entry.event == DEFINED
    ]
    settings = settings._replace(driver_bound=True)
    return redefine.run(paths, settings, wishes._replace(allowed=allowed), detailed=detailed)


def _not_begun(asked: dict[str, Any], known: dict[tuple[str, str], Entry]) -> Iterator[tuple[DomainRef, str]]:
    # A domain stands in the journal under the URI that its connection gave, not the one that was asked for.
    for uri, uuid, name, planned in _domains(asked):
        if (_actual(uri), uuid) not in known:
            yield DomainRef.of(name, uuid, uri), planned


def _actual(uri: str | None) -> str:
    try:
        return str(sources.store(uri, writable=True).uri)
    except VirtfixError:
        return uri or ""  # its domains will say so, one by one


def _domains(asked: dict[str, Any]) -> list[tuple[str | None, str, str, str]]:
    found = asked.get("domains")
    right = isinstance(found, list) and all(
        isinstance(one, list) and len(one) == len(_DOMAIN) and all(isinstance(text, str) for text in one[1:])
        for one in found
    )
    if not right:
        raise VirtfixError("run.broken", "run.json does not say which domains the run is of")
    return [(one[0], one[1], one[2], one[3]) for one in found or ()]


_DOMAIN = ("uri", "uuid", "name", "digest")


def _resumed(
    journal: Run,
    begun: list[Entry],
    todo: list[tuple[DomainRef, str]],
    asked: dict[str, Any],
    wishes: Wishes,
) -> Generator[Result]:
    def one(entry: Entry) -> Result:
        meant = journal.backup(entry.meant) if entry.meant else b""
        store = sources.store(entry.uri, writable=True)
        return finish(store, journal, entry, journal.backup(entry.backup), meant)

    lost = False
    for result in carefully(one, _failed, begun, wishes):
        lost = lost or result.code == "libvirt.lost"
        yield result
    if lost or not todo:
        return
    settings, allowed = _settings(asked)
    request = build_request(settings)
    plans = {plan["domain"]["uuid"]: plan for plan in map(check_saved, journal.plans())}

    def other(item: tuple[DomainRef, str]) -> Result:
        reference, planned = item
        saved = plans.get(reference.uuid)
        if saved is None:
            job = redefine.planned_now(reference, request, settings)
        else:
            job = job_of(saved, reference.uri)
        target = Target(reference.uuid, str(reference), planned)
        return apply_one(redefine.store_of(reference), journal, target, job.meant, allowed)

    yield from carefully(other, lambda item, error: redefine.failure(item[0], error), todo, wishes)


def _settings(asked: dict[str, Any]) -> tuple[Settings, Allowed]:
    """Return what the run was asked for. Raises VirtfixError where another version wrote it.

    It was allowed to remove the managed saves that were there then; nobody knows whether those of now are the same.
    """
    try:
        lists: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in asked["settings"].items()
        }
        allowed = Allowed(**asked["allowed"])._replace(remove_managed_save=False)
        return Settings(**lists)._replace(today=time.strftime("%Y-%m-%d")), allowed
    except (AttributeError, KeyError, TypeError):
        raise VirtfixError(
            "run.broken",
            "the run was asked for by another version of virtfix",
            hint="finish it with that one, or call apply again",
        ) from None
