"""virtfix plan: shows what would change, changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from fixer.cli import batch, sources
from fixer.cli.batch import Job, Outcome, shown
from fixer.cli.exit_codes import Exit
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Settings, build_request
from fixer.domain.model import read_domain
from fixer.errors import VirtfixError
from fixer.planning.codec import status
from fixer.planning.planner import make_plan
from fixer.planning.prove import ProofError

if TYPE_CHECKING:
    from fixer.planning.plan import Plan
    from fixer.planning.planner import Request


class View(NamedTuple):
    """How a plan is shown. ``compact`` is one line a domain; ``save`` asks for the JSON beside it."""

    format: str
    color: bool
    width: int
    terminal: bool
    compact: bool
    explain: bool
    save: bool
    validate: bool
    fixups: str = ""  # where to write what the guests need


def run(paths: list[str], settings: Settings, view: View, *, out: str, jobs: int, detailed: bool) -> Exit:
    """Plan each path, show it, save it; return the exit code."""
    build_request(settings)  # a mistake in options or policies is told once, before any work
    sources.check_inspections(settings, paths)
    if sources.asks_guest(settings) or any(isinstance(path, DomainRef) for path in paths):
        jobs = 1  # libvirt's connections do not cross a fork
    outcomes = batch.run(paths, Job(_prepare, _one, (settings, view)), jobs=jobs)
    tally = batch.Tally()
    many = len(paths) != 1  # no domain at all is an empty array
    with _Output(view, many=many) as output, _saving(out, many=many) as saved:
        for outcome in outcomes:
            tally.add(outcome)
            output.add(outcome.output)
            if saved is not None and outcome.saved:
                saved.add(outcome.saved.encode())
    if many:
        sys.stderr.write(summary(tally.counts))
    return exit_code(tally.counts, detailed=detailed)


def exit_code(counts: dict[str, int], *, detailed: bool) -> Exit:
    if counts["error"]:
        return Exit.ERROR
    if detailed and counts["unresolved"]:
        return Exit.UNRESOLVED
    return Exit.PENDING if detailed and counts["pending"] else Exit.DONE


def summary(counts: dict[str, int]) -> str:
    words = {
        "pending": "to change",
        "unresolved": "with unresolved findings",
        "unchanged": "unchanged",
        "error": "failed",
    }
    total = sum(counts.values())
    told = ", ".join(f"{counts[key]} {word}" for key, word in words.items() if counts[key])
    return f"virtfix: {total} domains{': ' * bool(told)}{told}\n"


def _prepare(settings: Settings, _view: View) -> Request:
    return build_request(settings)


def _one(request: Request, path: str, settings: Settings, view: View) -> Outcome:
    try:
        plan = plan_source(path, request, settings)
        if view.validate and plan.pending:
            from fixer.adapters.schema_check import validate  # noqa: PLC0415 - only where asked for

            validate(plan.result)
        written = _write_fixups(plan, path, view.fixups) if view.fixups else ""
    except VirtfixError as error:
        failed = batch.failure(path, error)
        saved = _failed_json(path, error) if view.format == "json" or view.save else ""
        return failed._replace(saved=saved, output=saved.encode() if view.format == "json" else b"")
    saved = _json(plan, path) if view.format == "json" or view.save else ""
    told = notes(plan, path) if view.format in {"diff", "xml"} or view.compact else ""
    rendered = _rendered(plan, path, view, saved)
    if view.format == "diff":
        told += _no_patch(plan, path, rendered)
    return Outcome(path, status(plan), rendered, told + written, saved)


def _no_patch(plan: Plan, path: str, diff: bytes) -> str:
    """Say where patch would not take a diff, '' where it does."""
    from fixer.domain.redaction import MARK  # noqa: PLC0415 - one format a run

    document = plan.domain.document
    why = "it hides secrets" if diff.count(MARK.encode()) > document.source.count(MARK.encode()) else ""
    if diff and document.encoding != "utf-8":
        why = f"it is in UTF-8, the file in {document.encoding}"
    if not why:
        return ""
    note = VirtfixError(
        "note", f"patch does not take this diff: {why}", where=shown(path), hint="use virtfix apply"
    )
    return f"virtfix: {note}\n"


def _write_fixups(plan: Plan, path: str, folder: str) -> str:
    """Write what the guest needs into a folder called after its UUID; return the line that says so.

    Raises VirtfixError.
    """
    from uuid import UUID  # noqa: PLC0415 - one option needs it

    from fixer.adapters import file_store  # noqa: PLC0415
    from fixer.report.fixups import fixups  # noqa: PLC0415

    files = fixups(plan)
    if not files:
        return ""
    try:  # the domain's own text never makes a path
        name = str(UUID(plan.domain.uuid))
    except ValueError:
        name = plan.digest_before.removeprefix("sha256:")[:32]
    place = Path(folder) / name
    for one in (folder, str(place)):
        file_store.make_folder(one)
    for name, text in files.items():
        file_store.create(str(place / name), text.encode(), like=None, force=True)
    told = VirtfixError("note", f"{len(files)} files for the guest are in {place}", where=shown(path))
    return f"virtfix: {told}\n"


def plan_source(path: str, request: Request, settings: Settings) -> Plan:
    """Read and plan one domain. Raises VirtfixError, also for a plan that failed its own checks."""
    domain = read_domain(sources.read(path, settings))
    seen = sources.seen(path, domain, settings)
    try:
        return make_plan(domain, sources.for_host(request, path, settings), seen)
    except ProofError as error:
        raise our_bug(error) from error


def our_bug(error: ProofError) -> VirtfixError:
    """Save what shows the bug and tell where; the plan is refused."""
    from fixer.adapters.file_store import save_evidence  # noqa: PLC0415

    folder = save_evidence(
        {"original.xml": error.original, "refused.xml": error.result, "why.txt": str(error).encode()}
    )
    return VirtfixError(
        "plan.proof",
        f"the plan failed virtfix's own check ({error}) and was refused: this is a bug of virtfix",
        hint=f"please report it with the files in {folder}",
    )


def _rendered(plan: Plan, path: str, view: View, saved: str) -> bytes:
    if view.format == "json":
        return saved.encode()
    if view.format == "xml":
        return plan.result
    if view.format == "diff":
        from fixer.report.diff import for_terminal, unified  # noqa: PLC0415 - one format a run

        diff = unified(plan, shown(path))
        return for_terminal(diff, color=view.color).encode() if view.terminal or view.color else diff
    if view.format in {"kubevirt", "nova"}:
        return _for_others(plan, path, view.format)
    from fixer.report import text  # noqa: PLC0415

    if view.compact:
        return text.line(plan, shown(path)).encode()
    report = text.render(plan, shown(path), width=view.width, color=view.color, explain=view.explain)
    return report.encode("utf-8", "backslashreplace")


def _for_others(plan: Plan, path: str, form: str) -> bytes:
    """Return the decision in the words of another maker of domains; several patches are a stream of YAML."""
    from fixer.report import kubevirt, nova  # noqa: PLC0415 - one format a run

    if form == "nova":
        return nova.render(plan, shown(path)).encode()
    return b"---\n" + kubevirt.render(plan, shown(path)).encode()


def notes(plan: Plan, path: str) -> str:
    """Return what a reader of a diff, an XML or of files would not see, a line each."""
    told = list(plan.guest.conflicts)
    told += [f"{finding.code.value} {finding.device}: {finding.why}" for finding in plan.unresolved]
    told += [f"skipped: {skip.reason}" for skip in plan.skips]
    return "".join(f"virtfix: {VirtfixError('note', text, where=shown(path))}\n" for text in told)


def _json(plan: Plan, path: str) -> str:
    from fixer.report.plan_json import render  # noqa: PLC0415

    return render(plan, path)


def _failed_json(path: str, error: VirtfixError) -> str:
    import json  # noqa: PLC0415

    from fixer.planning.plan import FORMAT, TOOL  # noqa: PLC0415

    told = {"code": error.code, "summary": error.summary, "where": error.where, "hint": error.hint}
    return json.dumps(
        {"format": FORMAT, "tool": TOOL, "source": path, "status": "error", "error": told}, indent=2
    )


class _Output:
    """Standard output: JSON of several domains becomes one array, everything else is written as it comes."""

    def __init__(self, view: View, *, many: bool) -> None:
        self._json = view.format == "json"
        self._array = self._json and many
        self._blank = many and view.format == "text" and not view.compact
        self._count = 0

    def __enter__(self) -> Self:
        if self._array:
            self._write(b"[\n")
        return self

    def add(self, data: bytes) -> None:
        if not data:
            return
        if self._count:
            self._write(b",\n" if self._array else b"\n" if self._blank else b"")
        self._write(data + (b"\n" if self._json and not self._array else b""))
        self._count += 1

    def __exit__(self, *_: object) -> None:
        if self._array:
            self._write(b"\n]\n")
        sys.stdout.flush()

    def _write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)


def _saving(out: str, *, many: bool):  # type: ignore[no-untyped-def]  # noqa: ANN202 - one of two context managers
    from contextlib import nullcontext  # noqa: PLC0415

    if not out:
        return nullcontext()
    from fixer.adapters.file_store import JsonFile  # noqa: PLC0415

    return JsonFile(out, array=many)
