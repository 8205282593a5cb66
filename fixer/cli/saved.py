"""virtfix apply with saved plans, and with XML files that are to be defined."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixer.adapters.file_store import read_input
from fixer.cli import redefine, sources
from fixer.cli.redefine import Job
from fixer.cli.sources import DomainRef
from fixer.domain.document import digest
from fixer.domain.model import read_domain
from fixer.errors import VirtfixError
from fixer.execution.apply import Result, Status, Target, define_new
from fixer.planning.replay import check_saved, no_plan, replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixer.cli.exit_codes import Exit
    from fixer.cli.redefine import Wishes
    from fixer.cli.wiring import Settings
    from fixer.domain.model import Domain
    from fixer.planning.plan import Plan
    from fixer.planning.planner import Request

# A plan has some 10 KB; one of 10,000 domains is the largest that anybody would keep in a file.
_MAX_PLAN = 256 * 1024 * 1024


def is_plan(path: str) -> bool:
    """Whether a file holds JSON, as a saved plan does, rather than XML."""
    try:
        with Path(path).open("rb") as file:
            return file.read(64).lstrip()[:1] in {b"{", b"["}
    except OSError:
        return False  # reading it will say why


def run_plans(paths: Sequence[str], settings: Settings, wishes: Wishes, *, detailed: bool) -> Exit:
    """Carry saved plans out; nothing is planned anew. Raises VirtfixError before anything is changed."""
    jobs = [job for path in paths for job in _jobs(path, settings)]
    return redefine.carry_out(jobs, settings, wishes, detailed=detailed)


def _jobs(path: str, settings: Settings) -> Iterator[Job]:
    try:
        value = json.loads(read_input(path, _MAX_PLAN))
        plans = value if isinstance(value, list) else [value]
        for saved in plans:
            if isinstance(saved, dict) and saved.get("status") == "error":
                continue
            check_saved(saved)
            yield _job(saved, settings)
    except (ValueError, RecursionError):
        raise no_plan().at(path) from None
    except VirtfixError as error:
        raise (error if error.code.startswith(("file.", "libvirt.")) else error.at(path)) from None


def _job(saved: dict[str, Any], settings: Settings) -> Job:
    uri = settings.connect
    uuid, name = saved["domain"]["uuid"], saved["domain"]["name"]
    reference = DomainRef.of(name, uuid, uri)
    planned = saved["digest"]["before"]
    store = sources.store(uri, writable=True)
    # A plan that was made by a reader was made from the XML that readers get, which lacks passwords.
    if digest(store.public_xml(uuid)) == planned:
        planned = digest(store.xml(uuid))
    return Job(reference, Target(uuid, name, planned), lambda data: replay(data, saved), saved)


def run_files(
    paths: Sequence[str], request: Request, settings: Settings, wishes: Wishes, *, detailed: bool
) -> Exit:
    """Plan XML files and define the results. Raises VirtfixError before anything is changed."""
    from fixer.cli.wiring import state_dir  # noqa: PLC0415

    store = sources.store(settings.connect, writable=True)
    state = state_dir(wishes.state)
    if not wishes.yes and not redefine.confirmed_for(f"Define {len(paths)} files on {store.uri}?"):
        raise SystemExit(0)
    with contextlib.ExitStack() as held:
        held.enter_context(state.locked("virtfix apply", wishes.wait))
        made = held.enter_context(state.create({"command": "define", "files": list(paths), "domains": []}))

        def one(path: str) -> Result:
            base = Result(Status.UNCHANGED, store.uri, "", path)
            try:
                domain = _with_uuid(read_domain(sources.read(path, settings)))
                plan = _planned(domain, path, request, settings)
                return define_new(store, made, plan, wishes.allowed)
            except VirtfixError as error:
                return base._replace(status=Status.FAILED, code=error.code, reason=str(error))

        held.enter_context(redefine.stopping("the same command goes on"))
        results = redefine.in_order(one, paths)
        return redefine.report(results, wishes, len(paths), made.id, detailed=detailed)


def _with_uuid(domain: Domain) -> Domain:
    """Return a domain that has a UUID: libvirt would make one up that nobody could find again."""
    if domain.uuid:
        return domain
    import uuid  # noqa: PLC0415 - what virt-v2v writes has none

    document, name = domain.document, domain.root.find("name")
    at = name.end if name is not None else domain.root.open_end
    element = f"<uuid>{uuid.uuid4()}</uuid>".encode()
    return read_domain(document.encode(document.source[:at] + element + document.source[at:]))


def _planned(domain: Domain, path: str, request: Request, settings: Settings) -> Plan:
    from fixer.planning.planner import make_plan  # noqa: PLC0415

    return redefine.proved(lambda: make_plan(domain, request, sources.seen(path, domain, settings)))
