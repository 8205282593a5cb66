"""virtfix apply --define: plans XML files and defines the results, whether their domains are there or not."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from fixer.cli import redefine, sources
from fixer.cli.exit_codes import Exit
from fixer.cli.wiring import state_dir
from fixer.domain.model import read_domain
from fixer.errors import VirtfixError, printable
from fixer.execution.apply import Result, Status, define_new, not_done
from fixer.execution.meant import Meant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fixer.adapters.libvirt_store import LibvirtStore
    from fixer.cli.redefine import Wishes
    from fixer.cli.wiring import Settings
    from fixer.domain.model import Domain
    from fixer.planning.plan import Plan
    from fixer.planning.planner import Request


def run(
    paths: Sequence[str], request: Request, settings: Settings, wishes: Wishes, *, detailed: bool
) -> Exit:
    """Plan XML files and define the results. Raises VirtfixError before anything is changed."""
    paths = list(dict.fromkeys(sources.taken(paths, wishes.exclude, wishes.limit)))
    store = sources.store(settings.connect, writable=True)
    state = state_dir(wishes.state)
    first: dict[str, str] = {}

    def planned(path: str) -> Plan:
        domain = read_domain(sources.read(path, settings))
        if not domain.uuid:
            _check_free(store, domain.name)
        domain = _ready_to_define(domain)
        _claim(first, domain.uuid, path)
        return _planned(domain, path, request, settings)

    shown = {} if wishes.yes else _shown(paths, planned, wishes)
    if not wishes.yes:
        ready = sum(isinstance(one, Meant) for one in shown.values())
        files = f"{ready} file{'s' * (ready != 1)}"
        if not ready or not redefine.confirmed(f"Define {files} on {printable(store.uri)}?"):
            return Exit.ERROR if ready < len(paths) else Exit.DONE
    with contextlib.ExitStack() as held:
        held.enter_context(state.locked("virtfix apply", wishes.wait))
        made = held.enter_context(state.create({"command": "define", "files": paths, "domains": []}))
        held.enter_context(redefine.stopping("the same command goes on"))

        def one(path: str) -> Result:
            meant = shown.get(path) or Meant.of(planned(path))
            if isinstance(meant, VirtfixError):
                raise meant
            return define_new(store, made, meant, wishes.allowed)

        def failed(path: str, error: VirtfixError) -> Result:
            return not_done(Result(Status.UNCHANGED, store.uri, "", path), error)

        results = redefine.carefully(one, failed, paths, wishes)
        return redefine.report(results, wishes, len(paths), made, detailed=detailed, again="the same command")


def _shown(
    paths: list[str], planned: Callable[[str], Plan], wishes: Wishes
) -> dict[str, Meant | VirtfixError]:
    """Show what would be defined; return it, so that this and nothing else is done, or why there is nothing."""
    redefine.check_askable()
    found: dict[str, Meant | VirtfixError] = {}
    for number, path in enumerate(paths, 1):
        try:
            plan = planned(path)
            found[path] = Meant.of(plan)
            redefine.show(plan, path, number, wishes)
        except VirtfixError as error:
            sys.stderr.write(f"virtfix: {error.at(path)}\n")
            found[path] = error
    return found


def _check_free(store: LibvirtStore, name: str) -> None:
    """Raise VirtfixError where a file without a UUID names a domain that is there: it may be meant, or not."""
    there = store.find("", name)
    if there is not None:
        uuid = there.UUIDString()
        raise VirtfixError(
            "apply.name",
            f"has no <uuid>, and a domain of this name is there, with UUID {uuid}",
            hint=f"put <uuid>{uuid}</uuid> into it to replace that domain, or choose another <name>",
        )


def _claim(first: dict[str, str], uuid: str, path: str) -> None:
    if first.setdefault(uuid, path) != path:
        raise VirtfixError("apply.twice", f"{printable(first[uuid])} has the same UUID", where=path)


def _ready_to_define(domain: Domain) -> Domain:
    """Return a domain with a UUID as libvirt writes them: it would make one up that nobody could find again."""
    import uuid  # noqa: PLC0415 - what virt-v2v writes has none

    if not domain.uuid:
        return _with_uuid(domain, str(uuid.uuid4()))
    try:
        whole = str(uuid.UUID(domain.uuid.strip()))
    except ValueError:
        raise VirtfixError(
            "xml.uuid", f"<uuid> holds '{printable(domain.uuid, 60)}', which is none"
        ) from None
    if whole == domain.uuid:
        return domain
    node, document = domain.root.find("uuid"), domain.document
    assert node is not None
    source = document.source
    return read_domain(document.encode(source[: node.start] + _uuid_element(whole) + source[node.end :]))


def _with_uuid(domain: Domain, uuid: str) -> Domain:
    document, name = domain.document, domain.root.find("name")
    at = name.end if name is not None else domain.root.open_end
    source = document.source
    return read_domain(document.encode(source[:at] + _uuid_element(uuid) + source[at:]))


def _uuid_element(uuid: str) -> bytes:
    return f"<uuid>{uuid}</uuid>".encode()


def _planned(domain: Domain, path: str, request: Request, settings: Settings) -> Plan:
    from fixer.planning.planner import make_plan  # noqa: PLC0415

    asked = sources.for_host(request, path, settings)
    return redefine.proved(lambda: make_plan(domain, asked, sources.seen(path, domain, settings)))
