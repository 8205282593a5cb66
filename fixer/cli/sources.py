"""Where the XML of a domain comes from, and what is learnt of it beside the XML."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from fixer.errors import VirtfixError
from fixer.policy.ids import glob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fixer.adapters.libvirt_store import LibvirtStore
    from fixer.cli.wiring import Settings
    from fixer.domain.model import Domain
    from fixer.domain.target import Target
    from fixer.guest.clues import Clue, Seen
    from fixer.planning.planner import Request


class DomainRef(str):
    """A domain of a connection, in the place of a path: the text is what people see."""

    __slots__ = ("uri", "uuid")
    uuid: str
    uri: str | None

    @classmethod
    def of(cls, name: str, uuid: str, uri: str | None = None) -> DomainRef:
        made = cls(name or uuid)
        made.uuid = uuid
        made.uri = uri
        return made


def chosen_domains(settings: Settings, patterns: Iterable[str], *, writable: bool = False) -> list[str]:
    """Return the domains of the connections that ``patterns`` choose, all without any. Raises VirtfixError.

    A pattern has to choose a domain on one of the connections.
    """
    uris = settings.connections or (settings.connect,)
    patterns = tuple(patterns)
    if not all(patterns):
        # What a script passes whose variable is not set must not mean every domain.
        raise VirtfixError("usage.domain", "is empty", where="--domain", hint="give a name, a UUID or a glob")
    found: list[str] = []
    missing: VirtfixError | None = None
    chosen: set[str] = set()
    for uri in uris:
        one = store(uri, writable=writable or asks_guest(settings))
        for pattern in patterns or ("",):
            try:
                domains = one.select((pattern,) if pattern else ())
            except VirtfixError as error:
                if error.code != "libvirt.no-domain":
                    raise
                missing = missing or error
                continue
            chosen.add(pattern)
            found += [DomainRef.of(name, uuid, uri) for uuid, name in domains]
    if missing is not None and not chosen.issuperset(patterns):
        raise missing
    unique = {(ref.uri, ref.uuid): ref for ref in found if isinstance(ref, DomainRef)}
    return list(unique.values())


def taken(paths: Sequence[str], exclude: Sequence[str], limit: int) -> list[str]:
    """Return the first ``limit`` (0: all) domains or files, those left out whose name is one of the globs.

    Raises VirtfixError for globs and files.
    """
    if exclude and not all(isinstance(path, DomainRef) for path in paths):
        raise VirtfixError("usage.exclude", "--exclude is for domains; leave the file out instead")
    left = [path for path in paths if not is_excluded(path, exclude)]
    return left[: limit or len(left)]


def is_excluded(name: str, exclude: Sequence[str]) -> bool:
    return any(glob(pattern, name) for pattern in exclude)


def asks_guest(settings: Settings) -> bool:
    return settings.guest_agent or settings.negotiated


def read(path: str, settings: Settings) -> bytes:
    """Return the XML of a file, of standard input, or of a domain of the connection. Raises VirtfixError."""
    if isinstance(path, DomainRef):
        # What is only shown needs no passwords, whoever connects.
        return store(path.uri or settings.connect, writable=asks_guest(settings)).public_xml(path.uuid)
    from fixer.adapters.file_store import read_input  # noqa: PLC0415

    return read_input(path)


def seen(path: str, domain: Domain, settings: Settings) -> Seen:
    """Return what an inspection report and the running guest say. Raises VirtfixError."""
    from fixer.guest.clues import NOTHING_SEEN  # noqa: PLC0415

    found = NOTHING_SEEN
    if settings.inspections:
        found = found.plus(_inspected(domain, settings))
    if asks_guest(settings):
        from fixer.adapters.guest_probe import ask  # noqa: PLC0415 - loads libvirt

        uuid = path.uuid if isinstance(path, DomainRef) else domain.uuid
        uri = (path.uri if isinstance(path, DomainRef) else None) or settings.connect
        asked = ask(
            store(uri, writable=True),
            uuid,
            domain.name,
            agent=settings.guest_agent,
            negotiated=settings.negotiated,
        )
        found = found.plus(asked)
    return found


def for_host(request: Request, path: str, settings: Settings) -> Request:
    """Return the request with what the host offers that a domain is defined on, where its machine is to change.

    Files are on the host of --connect, if one is given. Raises VirtfixError.
    """
    if not settings.machine or settings.target or not (isinstance(path, DomainRef) or settings.connect):
        return request
    uri = (path.uri if isinstance(path, DomainRef) else None) or settings.connect
    return request._replace(host=_offer(uri))


@lru_cache(maxsize=64)
def _offer(uri: str | None) -> Target:
    return store(uri, writable=False).machines()


_stores: dict[tuple[str | None, bool], LibvirtStore] = {}
_opening = threading.Lock()  # threads share connections; an embedded driver bears no second one


def store(uri: str | None, *, writable: bool) -> LibvirtStore:
    """Return a connection, opened once a process. Questions to the guest, and changes, want it writable.

    An open one that can do more serves too: each connection to ``test:///FILE`` has its own domains.
    """
    from fixer.adapters.libvirt_store import LibvirtStore  # noqa: PLC0415 - loads libvirt

    with _opening:
        found = _stores.get((uri, True)) or _stores.get((uri, writable))
        if found is None:
            found = _stores[uri, writable] = LibvirtStore(uri, writable=writable)
        return found


def _inspected(domain: Domain, settings: Settings) -> Seen:
    """Find the report of a domain: the one file, or in a directory the one called after it.

    A domain's name never makes a path: the names in the directory are compared with it.
    """
    from fixer.adapters.file_store import read_input  # noqa: PLC0415
    from fixer.guest.clues import MAX_REPORT, Seen, esp_in_inspection, of_inspection  # noqa: PLC0415

    clues: list[Clue] = []
    esp = ""
    for given in settings.inspections:
        path = given
        if os.path.isdir(given):
            reports = _reports(given)
            name = next((n for n in (f"{domain.uuid}.xml", f"{domain.name}.xml") if n in reports), "")
            if not name:
                continue
            path = os.path.join(given, name)
        report = read_input(path, MAX_REPORT)
        clues += of_inspection(report, path)
        esp = esp or esp_in_inspection(report, path)
    return Seen(tuple(clues), esp=esp)


@lru_cache(maxsize=8)
def _reports(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError as error:
        from fixer.adapters.file_store import problem  # noqa: PLC0415

        raise problem(error, folder, "read") from None


def check_inspections(settings: Settings, paths: list[str]) -> None:
    """Refuse one report for several domains. Raises VirtfixError."""
    files = [given for given in settings.inspections if not os.path.isdir(given)]
    if files and len(paths) > 1:
        raise VirtfixError(
            "usage.inspection",
            f"one report can not speak for {len(paths)} domains",
            where=files[0],
            hint="give a directory with a NAME.xml or UUID.xml for each",
        )
