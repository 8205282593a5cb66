"""Plans in processes of their own, so that planning and libvirt do not wait for each other."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from fixer.cli.redefine import Job
    from fixer.cli.sources import DomainRef
    from fixer.cli.wiring import Settings
    from fixer.execution.meant import Meant
    from fixer.planning.planner import Request


class Planners:
    """Processes that plan: one core is left to libvirt and to what is written down."""

    def __init__(self, settings: Settings) -> None:
        workers = max(1, len(os.sched_getaffinity(0)) - 1)
        # Not by fork: libvirt has threads here that would be missing there.
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (settings,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def plan(self, job: Job, data: bytes, *, check: bool) -> Meant:
        """Return what a job makes of a domain, held against libvirt's schema where ``check``.

        Where the other process was ended, it is planned in this one.
        """
        try:
            return self._pool.submit(_plan, job.reference, data, check).result()
        except BrokenProcessPool:
            return job.meant(data)


_worker: tuple[Request, Settings] | None = None


def _start(settings: Settings) -> None:
    global _worker  # noqa: PLW0603 - a worker process has one request
    import signal  # noqa: PLC0415

    from fixer.cli.batch import collect_seldom  # noqa: PLC0415
    from fixer.cli.wiring import build_request  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    _end_with_parent()
    _worker = build_request(settings), settings
    collect_seldom()


def _end_with_parent() -> None:
    """End when the parent does, also where it was killed and could tell nobody."""
    from multiprocessing.connection import wait  # noqa: PLC0415
    from threading import Thread  # noqa: PLC0415

    parent = parent_process()
    assert parent is not None, "this runs in a process that multiprocessing started"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _plan(reference: DomainRef, data: bytes, check: bool) -> Meant:
    from fixer.adapters import schema_check  # noqa: PLC0415
    from fixer.cli.redefine import planned_now  # noqa: PLC0415
    from fixer.execution.apply import hold  # noqa: PLC0415

    assert _worker is not None
    meant = planned_now(reference, *_worker).meant(data)
    if check and meant.edits:
        hold(schema_check.validate, meant.news)
    return meant._replace(checked=check)
