"""Plans in processes of their own, so that planning and libvirt do not wait for each other."""

from __future__ import annotations

import os
from multiprocessing import get_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from fixer.adapters import schema_check
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from fixer.cli.redefine import Job
    from fixer.cli.sources import DomainRef
    from fixer.cli.wiring import Settings
    from fixer.execution.meant import Meant
    from fixer.planning.planner import Request


class Planners:
    """Processes that plan: one core is left to libvirt and to what is written down.

    Each of the ``askers``, threads that ask at the same time, has a pipe to one of them: a pool's queues
    and their threads take as long as a plan.
    """

    def __init__(self, settings: Settings, askers: int) -> None:
        # Not by fork: libvirt has threads here that would be missing there.
        context = get_context("spawn")
        pipes = [context.Pipe() for _ in range(askers)]
        workers = min(max(1, len(os.sched_getaffinity(0)) - 1), askers)
        self._free: SimpleQueue[Connection] = SimpleQueue()
        self._ends = [ours for ours, _ in pipes]
        for end in self._ends:
            self._free.put(end)
        self._processes = [
            context.Process(
                target=_serve, args=(settings, [theirs for _, theirs in pipes[number::workers]]), daemon=True
            )
            for number in range(workers)
        ]
        for process in self._processes:
            process.start()
        for _, theirs in pipes:
            theirs.close()  # only the process itself holds it now: when it ends, that is seen here

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.join()

    def plan(self, job: Job, data: bytes, *, check: bool) -> Meant:
        """Return what a job makes of a domain, held against libvirt's schema where ``check``.

        Where the other process was ended, it is planned in this one.
        """
        end = self._free.get()
        try:
            end.send((job.reference, data, check))
            answer = end.recv()
        except (EOFError, OSError):
            return job.meant(data)
        finally:
            self._free.put(end)
        if isinstance(answer, VirtfixError):
            raise answer
        meant: Meant = answer
        return meant


def _serve(settings: Settings, ends: list[Connection]) -> None:
    """Answer until nobody can ask any more, be it that the other process was killed."""
    import signal  # noqa: PLC0415
    from selectors import EVENT_READ, DefaultSelector  # noqa: PLC0415

    from fixer.cli.batch import collect_seldom  # noqa: PLC0415
    from fixer.cli.wiring import build_request  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    try:
        request = build_request(settings)
    except VirtfixError:
        return  # a policy that was edited this instant; who asks plans by itself
    collect_seldom()
    with DefaultSelector() as selector:
        for end in ends:
            selector.register(end, EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                asker: Any = key.fileobj
                try:
                    asker.send(_answer(request, settings, *asker.recv()))
                except (EOFError, OSError):
                    selector.unregister(asker)
                    asker.close()


def _answer(
    request: Request, settings: Settings, reference: DomainRef, data: bytes, check: bool
) -> Meant | VirtfixError:
    """Return what was asked for, or what whoever asked shall raise."""
    from fixer.cli.redefine import defect, planned_now  # noqa: PLC0415
    from fixer.execution.apply import hold  # noqa: PLC0415

    try:
        meant = planned_now(reference, request, settings).meant(data)
        if check and meant.edits:
            hold(schema_check.validate, meant.news)
    except VirtfixError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a defect met in one domain ends no planning of the others
        return defect(error)
    return meant._replace(checked=check)
