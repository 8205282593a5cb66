"""virtfix apply on libvirt: plans, shows, asks, redefines, and writes down what it does."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.cli import sources
from fixer.cli.exit_codes import Exit
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Settings, build_request, state_dir
from fixer.domain.document import digest
from fixer.domain.model import read_domain
from fixer.errors import VirtfixError, printable
from fixer.execution.apply import UNTIL, Allowed, Result, Status, Target, apply_one, not_done
from fixer.execution.journal import ENDED
from fixer.execution.meant import Meant
from fixer.planning.planner import make_plan
from fixer.planning.prove import ProofError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from fixer.adapters.state_dir import Run
    from fixer.cli.planners import Planners
    from fixer.planning.plan import Plan
    from fixer.planning.planner import Request

# Domains that are under way at once: libvirt works on them side by side, and the disk syncs side by side.
_THREADS = 8
_SHOWN = 10  # more domains than this are shown by one line each before asking
_PROGRESS_FROM = 20
_GRACE = 10.0  # seconds that the other calls have to come back from a connection that is lost
_APART_FROM = 200  # domains from which on a process that plans pays for its start


class Wishes(NamedTuple):
    """How to go about it. ``form`` is text, json or jsonl; ``canary`` changes so many first and then asks."""

    yes: bool = False
    form: str = "text"
    canary: int = 0
    limit: int = 0
    exclude: tuple[str, ...] = ()
    fail_fast: bool = False
    wait: float = 0
    state: str = ""
    allowed: Allowed = Allowed()
    width: int = 80
    color: bool = False


class Job(NamedTuple):
    """One domain to be redefined, and how its plan is made."""

    reference: DomainRef
    target: Target
    make: Callable[[bytes], Plan]
    saved: dict[str, Any] | None = None  # the saved plan that it carries out

    def meant(self, data: bytes) -> Meant:
        return Meant.of(self.make(data))


def run(paths: Sequence[str], settings: Settings, wishes: Wishes, *, detailed: bool) -> Exit:
    """Redefine domains of connections; return the exit code. Raises VirtfixError before anything is changed."""
    request = build_request(settings)
    jobs = [planned_now(ref, request, settings) for ref in paths if isinstance(ref, DomainRef)]
    return carry_out(jobs, settings, wishes, detailed=detailed)


def carry_out(
    jobs: list[Job], settings: Settings, wishes: Wishes, *, detailed: bool, unplanned: Sequence[Result] = ()
) -> Exit:
    """Show, ask, redefine, tell; ``unplanned`` are results of what has no plan."""
    jobs = [job for job in jobs if not sources.is_excluded(job.target.name, wishes.exclude)]
    jobs = _each_once(jobs)
    if wishes.limit:
        jobs = jobs[: wishes.limit]
    state = state_dir(wishes.state)
    failed = list(unplanned)
    if not wishes.yes:
        for result in unplanned:
            sys.stderr.write(f"virtfix: {line(result)}")
        jobs, more = _asked(jobs, wishes)
        failed += more
        if not jobs:
            return Exit.ERROR if failed else Exit.DONE
    with state.locked("virtfix apply", wishes.wait):
        asked = {
            "command": "apply",
            "settings": absolute(settings)._asdict(),
            "allowed": wishes.allowed._asdict(),
            "domains": [[_uri(job), job.target.uuid, job.target.name, job.target.digest] for job in jobs],
        }
        saved = [job.saved for job in jobs if job.saved is not None]
        with state.create(asked, saved) as made, stopping(f"virtfix resume {made.id} goes on"):
            results = _all(jobs, made, settings, wishes, failed)
            return report(results, wishes, len(jobs) + len(failed), made, detailed=detailed)


def _uri(job: Job) -> str:
    """Return the connection of a domain, also where it was libvirt's default: that may be another one tomorrow."""
    return job.reference.uri or str(store_of(job.reference).uri)


def _each_once(jobs: list[Job]) -> list[Job]:
    """Leave out what is chosen twice, as by two URIs of one host. Raises VirtfixError for two plans of a domain."""
    found: dict[tuple[str, str], Job] = {}
    for job in jobs:
        first = found.setdefault((store_of(job.reference).uri, job.target.uuid), job)
        if first is not job and (first.saved or job.saved):
            raise VirtfixError(
                "plan.twice", f"there are two plans of {printable(job.target.name)}", hint="give one of them"
            )
    return list(found.values())


def absolute(settings: Settings) -> Settings:
    """Return settings whose paths hold in another directory too: a run is finished from anywhere."""

    def whole(path: str) -> str:
        return str(Path(path).absolute()) if path and "://" not in path else path

    return settings._replace(
        policies=tuple(map(whole, settings.policies)),
        inspections=tuple(map(whole, settings.inspections)),
        mappings=tuple(map(whole, settings.mappings)),
        osinfo_db=whole(settings.osinfo_db),
        target=whole(settings.target),
    )


def planned_now(reference: DomainRef, request: Request, settings: Settings) -> Job:
    def make(data: bytes) -> Plan:
        domain = read_domain(data)
        asked = sources.for_host(request, reference, settings)
        return proved(lambda: make_plan(domain, asked, sources.seen(reference, domain, settings)))

    return Job(reference, Target(reference.uuid, str(reference)), make)


def proved(make: Callable[[], Plan]) -> Plan:
    """Return a plan; one that failed its own checks is told as a bug of virtfix."""
    try:
        return make()
    except ProofError as error:
        from fixer.cli.plan import our_bug  # noqa: PLC0415 - the rare way

        raise our_bug(error) from error


def store_of(reference: DomainRef) -> Any:
    """Return the writable connection of a domain."""
    return sources.store(reference.uri, writable=True)


# --- Before anything is changed -----------------------------------------------------------------------


def _asked(jobs: list[Job], wishes: Wishes) -> tuple[list[Job], list[Result]]:
    """Show what would change and ask; return the jobs with the digests of what was shown, [] for a no.

    Beside them, what can not be planned.
    """
    check_askable()
    shown = 0
    failed: list[Result] = []
    kept: list[Job] = []
    for job in jobs:
        try:
            before = store_of(job.reference).xml(job.target.uuid)
            plan = job.make(before)
        except VirtfixError as error:
            sys.stderr.write(f"virtfix: {error.at(str(job.reference))}\n")
            failed.append(failure(job.reference, error))
            continue
        kept.append(job._replace(target=job.target._replace(digest=digest(before))))
        if not plan.pending:
            continue
        shown += 1
        show(plan, str(job.reference), shown, wishes)
    if not shown:
        sys.stdout.write("nothing to do\n")
        return [], failed
    if failed:
        sys.stdout.write(f"{_domains(len(failed))} can not be planned\n")
    return (kept if confirmed(f"Redefine {_domains(shown)}?") else []), failed


def show(plan: Plan, name: str, number: int, wishes: Wishes) -> None:
    """Show one of several plans: the first ones whole, the others by a line each."""
    from fixer.report import text  # noqa: PLC0415 - where somebody is asked

    whole = number <= _SHOWN
    sys.stdout.write(
        text.render(plan, name, width=wishes.width, color=wishes.color) + "\n"
        if whole
        else text.line(plan, name)
    )


def failure(reference: DomainRef, error: VirtfixError) -> Result:
    """Return the result of a domain that nothing could be done for."""
    return not_done(Result(Status.FAILED, reference.uri or "", reference.uuid, str(reference)), error)


def check_askable() -> None:
    """Raise VirtfixError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise VirtfixError(
            "apply.unasked",
            "nobody can be asked: standard input is no terminal",
            hint="give --yes to change domains",
        )


def confirmed(question: str, otherwise: str = "nothing was changed") -> bool:
    """Ask on the terminal; only a whole yes is one."""
    sys.stdout.write(f"{question} Only 'yes' is taken for a yes: ")
    sys.stdout.flush()
    given = sys.stdin.readline()
    answer = given.strip().lower() == "yes"
    if not answer:
        sys.stdout.write(("" if given else "\n") + otherwise + "\n")
    return answer


def _domains(count: int) -> str:
    return f"{count} domain{'s' * (count != 1)}"


# --- One domain after the other, several at a time ----------------------------------------------------


def _all(
    jobs: list[Job], made: Run, settings: Settings, wishes: Wishes, failed: list[Result]
) -> Generator[Result]:
    yield from failed
    with _planners(jobs, settings) as planners:

        def one(job: Job) -> Result:
            store = store_of(job.reference)

            def make(data: bytes) -> Meant:
                if planners is None or job.saved is not None:
                    return job.meant(data)
                return planners.plan(job, data, check=store.checks)

            return apply_one(store, made, job.target, make, wishes.allowed)

        yield from carefully(one, lambda job, error: failure(job.reference, error), jobs, wishes)


def _guarded(
    one: Callable[[Any], Result], failed: Callable[[Any, VirtfixError], Result], item: Any
) -> Result:
    """Return the result of one domain, also where it is an error: that stops no other."""
    try:
        return one(item)
    except VirtfixError as error:
        return failed(item, error)
    except Exception as error:  # noqa: BLE001 - a defect met in one domain stops no other either, and is told
        return failed(item, defect(error))


@contextlib.contextmanager
def _planners(jobs: list[Job], settings: Settings) -> Iterator[Planners | None]:
    """Plan on another core where that pays for its start; the guest is asked by this process only."""
    if len(jobs) < _APART_FROM or sources.asks_guest(settings):
        yield None
        return
    from fixer.cli.batch import collect_seldom  # noqa: PLC0415 - for many domains only
    from fixer.cli.planners import Planners  # noqa: PLC0415

    collect_seldom()
    try:
        started = Planners(settings, _THREADS)
    except OSError:  # no process or pipe is to be had: this one plans
        yield None
        return
    with started as planners:
        yield planners


def defect(error: Exception) -> VirtfixError:
    """Return what is told of an error that nobody foresaw, with the place where it was met."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = (
        f" in {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place is not None else ""
    )
    told = printable(f"{type(error).__name__}{where}: {error}", 300)
    return VirtfixError(
        "internal", f"a defect of virtfix: {told}", hint="please report it; virtfix resume tries again"
    )


def carefully(
    one: Callable[[Any], Result],
    failed: Callable[[Any, VirtfixError], Result],
    items: Sequence[Any],
    wishes: Wishes,
) -> Generator[Result]:
    """Do all: canaries first, none after the first failure where that is wished or the connection is lost.

    ``failed`` makes the result of an item whose ``one`` raised.
    """
    stop = threading.Event()
    lost = _Lost()

    def unless_stopped(item: Any) -> Result | None:
        if stop.is_set():
            return None
        result = _guarded(one, failed, item)
        bad = result.status in {Status.FAILED, Status.BLOCKED}
        if result.code == "libvirt.lost":
            lost.seen()
        if (wishes.fail_fast and bad) or result.code == "libvirt.lost":
            stop.set()
        return result

    try:
        first, rest = _canaries(items, unless_stopped, wishes.canary)
        yield from first
        if wishes.canary and rest and not _go_on(first, wishes, len(rest)):
            return
        others = (result for result in in_order(unless_stopped, rest) if result is not None)
        # Nothing is asked while the bar is there.
        yield from _progress(others, len(rest), wishes)
    finally:
        stop.set()
        lost.over()


class _Lost:
    """Ends the process where calls do not come back from a connection that is lost.

    Of several threads that wait for a host which answers no more, libvirt's client ends one (seen with 9.0.0,
    keepalive over TLS). Nothing is lost by it: what was under way stands in the journal.
    """

    def __init__(self) -> None:
        self._timer = threading.Timer(_GRACE, _leave)
        self._timer.daemon = True
        self._lock = threading.Lock()

    def seen(self) -> None:
        with self._lock:
            if self._timer.ident is None and not self._timer.finished.is_set():
                self._timer.start()

    def over(self) -> None:
        self._timer.cancel()


def _leave() -> None:
    with contextlib.suppress(OSError):  # nobody may read it any more
        sys.stdout.flush()
    sys.stderr.write(
        "virtfix: the connection is lost, and libvirt does not come back from it; "
        "virtfix history tells which run is unfinished, virtfix resume goes on\n"
    )
    sys.stderr.flush()
    os._exit(Exit.ERROR)


def _canaries(
    items: Sequence[Any], one: Callable[[Any], Result | None], count: int
) -> tuple[list[Result], Sequence[Any]]:
    """Change ``count`` domains one by one; return what became of them, and the rest."""
    results: list[Result] = []
    changed = at = 0
    while changed < count and at < len(items):
        result = one(items[at])
        at += 1
        if result is not None:
            results.append(result)
            changed += result.status is not Status.UNCHANGED
    return results, items[at:]


def _go_on(first: list[Result], wishes: Wishes, left: int) -> bool:
    """Whether to go on after the canaries: only if all went well, and somebody who can be asked says so."""
    bad = [result for result in first if result.status in {Status.FAILED, Status.BLOCKED}]
    if bad:
        sys.stderr.write(f"virtfix: not all canaries are well: {_domains(left)} left alone\n")
        return False
    if wishes.yes:
        return True
    question = f"The canaries are redefined. Go on with {_domains(left)}?"
    return confirmed(question, "the others were not changed")


def in_order(one: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]:
    """Yield what ``one`` makes of each item, in order, a few at a time."""
    from concurrent.futures import Future, ThreadPoolExecutor  # noqa: PLC0415

    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(one, item))
                if len(waiting) > 2 * _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # stopped from outside: what has not begun does not begin
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def stopping(hint: str) -> Iterator[None]:
    """Say how to go on where the run is stopped from outside."""
    try:
        yield
    except (KeyboardInterrupt, OSError):  # files have errors of their own; these are of standard output
        sys.stderr.write(f"virtfix: stopped; {hint}\n")
        raise


def _progress(results: Iterator[Result], total: int, wishes: Wishes) -> Iterator[Result]:
    """Show a bar with counts and the time that is left, where standard error is a terminal."""
    mixed = wishes.form != "text" and sys.stdout.isatty()  # a bar between the lines of JSON
    if mixed or total < _PROGRESS_FROM or not sys.stderr.isatty():
        yield from results
        return
    from fixer.cli.batch import progress_bar  # noqa: PLC0415

    counts = dict.fromkeys(Status, 0)
    with progress_bar(total) as advance:
        for result in results:
            counts[result.status] += 1
            advance(counts[Status.FAILED])
            yield result


# --- What became of it --------------------------------------------------------------------------------


class _Counts:
    """How many domains came to what, a row a connection."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, int]] = {}
        self.unresolved = 0

    def add(self, result: Result) -> None:
        row = self.rows.setdefault(result.uri, dict.fromkeys(_COLUMNS, 0))
        row[result.status.value] += 1
        row[_PENDING] += result.pending_restart
        self.unresolved += bool(result.unresolved)

    @property
    def all(self) -> dict[str, int]:
        return {column: sum(row[column] for row in self.rows.values()) for column in _COLUMNS}

    def table(self) -> str:
        rows = [*self.rows.items(), *([("all", self.all)] if len(self.rows) > 1 else [])]
        lines = ["  ".join([*_COLUMNS, "connection"])]
        for uri, row in rows:
            counts = [str(row[column]).rjust(len(column)) for column in _COLUMNS]
            lines.append("  ".join([*counts, printable(uri)]))
        return "\n".join(lines) + "\n"


_PENDING = "pending restart"
_COLUMNS = ("changed", "unchanged", _PENDING, "blocked", "failed")


def report(
    results: Generator[Result], wishes: Wishes, total: int, made: Run, *, detailed: bool, again: str = ""
) -> Exit:
    """Tell each result as it comes, and the counts at the end; ``again`` says what goes on with those left alone."""
    counts = _Counts()
    number = 0
    lost = False
    if wishes.form == "json":
        sys.stdout.write("[\n")
    with contextlib.closing(results):  # what is under way ends before the journal does
        for number, result in enumerate(results, 1):
            counts.add(result)
            lost = lost or result.code == "libvirt.lost"
            _tell(result, wishes.form, number, made.id)
    if wishes.form == "json":
        sys.stdout.write("\n]\n" if number else "]\n")
    sys.stdout.flush()
    if wishes.form == "text" and number > 1:
        sys.stderr.write(counts.table())
    _summarize(counts.all, number, total, made, wishes.form, again or f"virtfix resume {made.id}")
    if number == total and not lost:
        made.write(ENDED, {})
    if counts.all["failed"]:
        return Exit.ERROR
    # What was asked for and not done is no success, whoever asks.
    return (
        Exit.UNRESOLVED
        if number < total or counts.all["blocked"] or (detailed and counts.unresolved)
        else Exit.DONE
    )


def _summarize(counts: dict[str, int], number: int, total: int, made: Run, form: str, again: str) -> None:
    told = ", ".join(f"{counts[status.value]} {status.value}" for status in Status)
    sys.stderr.write(
        f"virtfix: {_domains(number)} of {total}: {told}, {counts[_PENDING]} pending restart; run {made.id}\n"
    )
    if counts[_PENDING] and form == "text":
        sys.stderr.write(
            "virtfix: pending restart: the old devices stay until the domain is shut down and started\n"
        )
    if number < total:
        left = total - number
        sys.stderr.write(f"virtfix: {_domains(left)} left alone; {again} goes on with them\n")


def _tell(result: Result, form: str, number: int, run: str) -> None:
    if form == "text":
        stream = sys.stderr if result.status in {Status.FAILED, Status.BLOCKED} else sys.stdout
        prefix = "virtfix: " if stream is sys.stderr else ""
        if prefix:
            sys.stdout.flush()
        stream.write(prefix + line(result))
        return
    value = result._asdict() | {"status": result.status.value, "notes": list(result.notes), "run": run}
    separator = ",\n" if form == "json" and number > 1 else ""
    sys.stdout.write(separator + json.dumps(value) + ("" if form == "json" else "\n"))


def line(result: Result) -> str:
    """Return what became of one domain, on one line."""
    told = [result.reason] if result.reason else []
    if result.devices:
        told.append(f"{result.devices} device{'s' * (result.devices != 1)}")
    if result.unresolved:
        told.append(f"{result.unresolved} unresolved")
    if result.pending_restart:
        paused = any(note.startswith("is paused") for note in result.notes)
        told.append("pending restart" + ", is paused" * paused)
    # The summary says what that means.
    told += [note for note in result.notes if not (result.pending_restart and note.endswith(UNTIL))]
    return (
        f"{result.status.value:<9}  {printable(result.name)}"
        + (f"  {printable('; '.join(told), 600)}" if told else "")
        + "\n"
    )
