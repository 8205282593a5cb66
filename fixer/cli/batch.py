"""Does one job for each of many files, on all cores, in order, with memory flat."""

from __future__ import annotations

import gc
import os
import sys
from collections import deque
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixer.errors import VirtfixError

# Files that a worker takes at once; and from how many on a second process pays for its start.
_CHUNK = 64
_PARALLEL_FROM = 256
_GARBAGE = 100_000  # objects that may gather before CPython looks for rings; its default is 700


class Outcome(NamedTuple):
    """What became of one input.

    ``status`` is unchanged, pending, unresolved or error; ``output`` goes to standard output, ``notes``
    to standard error, ``saved`` is the JSON of the plan where one was asked for.
    """

    path: str
    status: str
    output: bytes = b""
    notes: str = ""
    saved: str = ""
    changes: int = 0


class Tally:
    """Counts outcomes by status, and tells their notes after what standard output got so far."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("unchanged", "pending", "unresolved", "error"), 0)

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        if outcome.notes:
            sys.stdout.flush()
            sys.stderr.write(outcome.notes)


class Job(NamedTuple):
    """What to do: ``prepare(*arguments)`` once a process, then ``run(prepared, path, *arguments)`` for each."""

    prepare: Callable[..., object]
    run: Callable[..., Outcome]
    arguments: tuple[object, ...]


def run(paths: list[str], job: Job, *, jobs: int) -> Iterator[Outcome]:
    """Yield an outcome for each path, in order. ``jobs`` 0 takes every core that this process may use."""
    collect_seldom()
    workers = jobs or len(os.sched_getaffinity(0))
    if len(paths) < _PARALLEL_FROM or workers < 2:
        state = job.prepare(*job.arguments)
        outcomes: Iterator[Outcome] = (job.run(state, path, *job.arguments) for path in paths)
    else:
        outcomes = _parallel(paths, job, workers)
    yield from _with_progress(outcomes, len(paths)) if len(paths) >= _PARALLEL_FROM else outcomes


def collect_seldom() -> None:
    """Let CPython look for rings seldom: plans hold none, and what is loaded stays."""
    gc.freeze()
    gc.set_threshold(_GARBAGE)


# Mistakes that lie elsewhere than in the domain's XML, and name their own place.
_ELSEWHERE = ("file.", "inspection.", "libvirt.", "osinfo.", "policy-")


def failure(path: str, error: VirtfixError) -> Outcome:
    """Turn a user's mistake into an outcome, so that the other files go on."""
    told = error if error.code.startswith(_ELSEWHERE) else error.at(shown(path))
    return Outcome(path, "error", notes=f"virtfix: {told}\n")


def shown(path: str) -> str:
    return "standard input" if path == "-" else path


def _parallel(paths: list[str], job: Job, workers: int) -> Iterator[Outcome]:
    from concurrent.futures import Future, ProcessPoolExecutor  # noqa: PLC0415 - for large batches only

    chunks = (paths[at : at + _CHUNK] for at in range(0, len(paths), _CHUNK))
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(job,)) as pool:
        waiting: deque[Future[list[Outcome]]] = deque()
        try:
            while True:
                # No more than this is under way, so that results do not pile up.
                waiting.extend(
                    pool.submit(_work, chunk) for chunk in islice(chunks, 3 * workers - len(waiting))
                )
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


_worker: tuple[Job, object] | None = None


def _start(job: Job) -> None:
    global _worker  # noqa: PLW0603 - a worker process has one job
    import signal  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the pool
    _worker = job, job.prepare(*job.arguments)
    collect_seldom()


def _work(paths: list[str]) -> list[Outcome]:
    assert _worker is not None
    job, state = _worker
    return [job.run(state, path, *job.arguments) for path in paths]


def _with_progress(outcomes: Iterator[Outcome], total: int) -> Iterator[Outcome]:
    """Show a bar on standard error where it is a terminal."""
    if not sys.stderr.isatty():
        yield from outcomes
        return
    errors = 0
    with progress_bar(total) as advance:
        for outcome in outcomes:
            errors += outcome.status == "error"
            advance(errors)
            yield outcome


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with counts and the time left on standard error; yield what to call for each thing done."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[errors]} failed"),
        TimeRemainingColumn(),
    )
    # Lines of standard output go above the bar where both are on the terminal, and else where they belong.
    together = sys.stdout.isatty()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=together) as bar:
        task = bar.add_task("", total=total, errors=0)
        done = 0

        def advance(errors: int) -> None:
            nonlocal done
            done += 1
            if done % 50 == 0 or total < 1000:
                bar.update(task, completed=done, errors=errors)

        yield advance
