"""virtfix apply for files: writes what plan shows, whole files only."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from fixer.cli import batch, sources
from fixer.cli.batch import Job, Outcome, shown
from fixer.cli.plan import exit_code, notes, plan_source, summary
from fixer.cli.wiring import Settings, build_request
from fixer.errors import VirtfixError, printable
from fixer.planning.codec import status

if TYPE_CHECKING:
    from fixer.cli.exit_codes import Exit
    from fixer.planning.plan import Plan
    from fixer.planning.planner import Request


class Target(NamedTuple):
    """Where results go: ``folder``, or in place with an optional copy of the old file."""

    folder: str
    backup_suffix: str
    force: bool
    strict: bool
    validate: bool


def run(paths: list[str], settings: Settings, target: Target, *, jobs: int, detailed: bool) -> Exit:
    """Write each result; return the exit code. Raises VirtfixError before anything is written."""
    _check_names(paths, target)
    build_request(settings)
    sources.check_inspections(settings, paths)
    if target.folder:
        from fixer.adapters.file_store import make_folder  # noqa: PLC0415

        make_folder(target.folder)
    tally = batch.Tally()
    counts = tally.counts
    try:
        for outcome in batch.run(paths, Job(_prepare, _one, (settings, target)), jobs=jobs):
            sys.stdout.buffer.write(outcome.output)
            tally.add(outcome)
        sys.stdout.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        done = sum(counts.values())
        sys.stderr.write(
            f"virtfix: stopped: at least {done} of {len(paths)} files are done, each whole; run it again\n"
        )
        raise
    if len(paths) > 1:
        sys.stderr.write(summary(counts).replace("to change", "changed"))
    counts["pending"] = 0  # what was pending is done
    return exit_code(counts, detailed=detailed)


def _check_names(paths: list[str], target: Target) -> None:
    """Refuse what would let one result overwrite another, or an input."""
    if "-" in paths:
        raise VirtfixError(
            "apply.stdin",
            "standard input has no file to write to",
            hint="use: virtfix plan --format xml - > FILE",
        )
    seen: dict[str, str] = {}
    for path in paths:
        name = os.path.basename(path) if target.folder else os.path.realpath(path)
        if name in seen:
            raise VirtfixError(
                "apply.names",
                f"would be written to the same file as {printable(seen[name])}",
                where=path,
                hint="give each its own name or --output-dir" if target.folder else "name each file once",
            )
        seen[name] = path
        if target.folder and os.path.realpath(path) == os.path.realpath(os.path.join(target.folder, name)):
            raise VirtfixError("apply.same", "lies in --output-dir itself", where=path, hint="use --in-place")


def _prepare(settings: Settings, _target: Target) -> Request:
    return build_request(settings)


def _one(request: Request, path: str, settings: Settings, target: Target) -> Outcome:
    try:
        plan = plan_source(path, request, settings)
        _refuse_unresolved(plan, target)
        if target.validate:
            from fixer.adapters.schema_check import validate  # noqa: PLC0415 - only where asked for

            validate(plan.result)
        written = _write(plan, path, target)
    except VirtfixError as error:
        return batch.failure(path, error)
    return Outcome(
        path, status(plan), _line(plan, path, written).encode("utf-8", "backslashreplace"), notes(plan, path)
    )


def _refuse_unresolved(plan: Plan, target: Target) -> None:
    if plan.refused:
        raise VirtfixError(
            "convert.refused", f"can not be converted: {plan.refused}", hint="nothing was written; see plan"
        )
    if not target.strict or not plan.unresolved:
        return
    first = plan.unresolved[0]
    raise VirtfixError(
        "apply.strict",
        f"{len(plan.unresolved)} unresolved, first {first.code.value} {first.device}: {first.why}",
        hint="nothing was written; leave --strict out to write the rest",
    )


def _write(plan: Plan, path: str, target: Target) -> str:
    """Write the result; return where, '' for a file that stays as it is."""
    from fixer.adapters import file_store  # noqa: PLC0415

    if target.folder:
        place = os.path.join(target.folder, os.path.basename(path))
        file_store.create(place, plan.result, like=path, force=target.force)
        return place
    if not plan.pending:
        return ""
    original = plan.domain.document.original
    file_store.replace(path, plan.result, expected=original, backup_suffix=target.backup_suffix)
    return path


def _line(plan: Plan, path: str, written: str) -> str:
    what = f"{plan.subject} changed" if plan.subject else "nothing to change"
    where = f" -> {printable(written)}" if written and written != path else ""
    return f"{printable(shown(path))}{where}: {what}\n"
