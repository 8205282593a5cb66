"""Domains of a libvirt connection: which there are, what their XML is.

libvirt-python is an extra of this package, so it is imported when a connection is asked for.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.adapters.file_store import is_file
from fixer.domain.state import State
from fixer.domain.target import Target, merged, read_target
from fixer.errors import VirtfixError, printable
from fixer.policy.ids import glob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


# Seconds between questions to a host whether it is there, and how many may stay without an answer: as libvirtd's own
# (keepalive_interval, keepalive_count; src/remote/libvirtd.conf.in).
_ASKED_EACH, _UNANSWERED = 5, 5
_KEEPS_TPM = 8_009_000  # libvirt 8.9.0 (include/libvirt/libvirt-domain.h)
_HANDLES = 64  # domains that are under way at once, and some more


class DomainName(NamedTuple):
    """A domain as it is found: ``uuid`` names it for good, ``name`` for people."""

    uuid: str
    name: str


class LibvirtStore:
    """One connection. ``writable`` is for questions that libvirt answers to writers only."""

    def __init__(self, uri: str | None, *, writable: bool = False) -> None:
        """Connect to ``uri``, or as libvirt itself decides. Raises VirtfixError ``libvirt.connect``."""
        self._libvirt = _import_libvirt()
        _check_test_file(uri or "")
        _start_events(self._libvirt, uri)
        self._writable = writable
        self._handles: dict[str, Any] = {}
        self._lock = threading.Lock()
        opener = self._libvirt.open if writable else self._libvirt.openReadOnly
        try:
            self._connection = opener(uri)
            # Left to the interpreter's end, libvirt's own module would be gone before it.
            atexit.register(self.close)
            self.uri = str(self._connection.getURI())
            if not is_local(self.uri):
                self._watch()
        except self._libvirt.libvirtError as error:
            raise VirtfixError(
                "libvirt.connect",
                f"can not connect: {message(error)}",
                where=uri or "libvirt",
                hint="check the URI (--connect, LIBVIRT_DEFAULT_URI) and that its daemon runs",
            ) from None

    def _watch(self) -> None:
        """Notice that a host is gone, also where the network does not tell: without it a call never comes back."""
        # A driver of its own, as esx, has no such thing.
        with contextlib.suppress(self._libvirt.libvirtError):
            self._connection.setKeepAlive(_ASKED_EACH, _UNANSWERED)

    @property
    def connection(self) -> Any:
        """The connection of libvirt-python, for what is no business of a store."""
        return self._connection

    @property
    def libvirt(self) -> Any:
        return self._libvirt

    def close(self) -> None:
        self._handles.clear()  # they need libvirt's module to the last
        with contextlib.suppress(self._libvirt.libvirtError):  # it may be gone already
            self._connection.close()

    def select(self, patterns: Iterable[str] = ()) -> list[DomainName]:
        """Return the domains that names, UUIDs or globs choose, all without any; sorted by name.

        Raises VirtfixError ``libvirt.no-domain`` for a pattern that chooses none.
        """
        found = sorted(
            (self._name_of(domain) for domain in self._all()), key=lambda one: (one.name, one.uuid)
        )
        patterns = tuple(patterns)
        for pattern in patterns:
            if not any(_chooses(pattern, one) for one in found):
                near = _near(pattern, [one.name for one in found])
                hint = (
                    f"did you mean {near}?" if near else f"virsh -c {self.uri} list --all shows what is there"
                )
                raise VirtfixError(
                    "libvirt.no-domain",
                    f'has no domain "{printable(pattern, 80)}"',
                    where=self.uri,
                    hint=hint,
                )
        if not patterns:
            return found
        return [one for one in found if any(_chooses(pattern, one) for pattern in patterns)]

    def xml(self, uuid: str) -> bytes:
        """Return the inactive XML of a domain; passwords are in it only on a writable connection."""
        libvirt = self._libvirt
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | (libvirt.VIR_DOMAIN_XML_SECURE if self._writable else 0)
        try:
            return str(self.domain(uuid).XMLDesc(flags)).encode()
        except libvirt.libvirtError as error:
            raise self.failed(error, uuid) from None

    def target(self) -> Target:
        """Return what this host offers: machine types, firmware, models, versions. Raises VirtfixError."""
        libvirt, connection = self._libvirt, self._connection
        try:
            found = read_target(connection.getCapabilities().encode(), self.uri)
            found = found._replace(libvirt=connection.getLibVersion(), qemu=connection.getVersion())
            answer = connection.getDomainCapabilities(None, "x86_64", None, None)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:  # libvirt's test driver
                return found
            raise self.failed(error, "asking for its capabilities") from None
        return merged(found, read_target(answer.encode(), self.uri)._replace(only=""))

    def machines(self) -> Target:
        """Return the machine types of this host, which a reader may ask for too. Raises VirtfixError."""
        try:
            return read_target(self._connection.getCapabilities().encode(), self.uri)
        except self._libvirt.libvirtError as error:
            raise self.failed(error, "asking for its machine types") from None

    def state(self, uuid: str) -> State:
        """Return what a domain is doing. Raises VirtfixError."""
        libvirt, domain = self._libvirt, self.domain(uuid)
        try:
            active = bool(domain.isActive())
            return State(
                persistent=bool(domain.isPersistent()),
                active=active,
                paused=active and domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED,
                managed_save=bool(_asked(domain.hasManagedSaveImage, libvirt)),
                snapshots=_asked(domain.snapshotNum, libvirt),
                checkpoints=len(_asked(domain.listAllCheckpoints, libvirt) or ()),
                job=_job(domain, libvirt) if active else "",
            )
        except libvirt.libvirtError as error:
            raise self.failed(error, domain.name()) from None

    def obstacles(self, uuid: str) -> State:
        """Return the managed save and the job alone, which takes a third of the questions. Raises VirtfixError."""
        libvirt, domain = self._libvirt, self.domain(uuid)
        try:
            saved = bool(_asked(domain.hasManagedSaveImage, libvirt))
            return State(managed_save=saved, job=_job(domain, libvirt))
        except libvirt.libvirtError as error:
            raise self.failed(error, domain.name()) from None

    def check(self, xml: bytes) -> None:
        """Hold XML against libvirt's schema, on a local connection. Raises VirtfixError.

        The schema is the one that is installed here. It is read once and not, as by VIR_DOMAIN_DEFINE_VALIDATE,
        for each domain, which costs more than all the rest.
        """
        if self.checks:
            from fixer.adapters import schema_check  # noqa: PLC0415 - loads lxml

            schema_check.validate(xml)

    @cached_property
    def checks(self) -> bool:
        """Whether the host of the connection is this one, and has libvirt's schema installed."""
        from fixer.adapters import schema_check  # noqa: PLC0415 - loads lxml

        return is_local(self.uri) and schema_check.available()

    def define(self, xml: bytes, *, validate: bool) -> None:
        """Define a domain; where ``validate`` and ``check`` does not, libvirt checks it. Raises VirtfixError."""
        libvirt = self._libvirt
        flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE if validate and not self.checks else 0
        try:
            self._connection.defineXMLFlags(xml.decode(), flags)
        except libvirt.libvirtError as error:
            raise self.failed(error, "defining") from None
        except UnicodeDecodeError:
            raise VirtfixError(
                "libvirt.encoding",
                "libvirt takes XML in UTF-8 only",
                hint="convert it: xmllint --encode UTF-8",
            ) from None

    def undefine(self, uuid: str) -> None:
        """Undefine a domain that did not exist before; its NVRAM and the state of its TPM stay. Raises VirtfixError.

        Before 8.9.0 libvirt can not but remove the state of a TPM (VIR_DOMAIN_UNDEFINE_KEEP_TPM): then it is refused.
        """
        libvirt, domain = self._libvirt, self.domain(uuid)
        flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
        if self._has_tpm(uuid):
            if not self._keeps_tpm():
                raise VirtfixError(
                    "libvirt.tpm",
                    "to undefine it would remove the state of its TPM, with the keys in it",
                    where=self.uri,
                    hint="copy that state first, then use virsh undefine --keep-nvram",
                )
            flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
        try:
            domain.undefineFlags(flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:  # drivers without NVRAM
                raise self.failed(error, uuid) from None
            try:
                domain.undefine()
            except libvirt.libvirtError as again:
                raise self.failed(again, uuid) from None

    def _has_tpm(self, uuid: str) -> bool:
        return b"<tpm" in self.public_xml(uuid)

    def _keeps_tpm(self) -> bool:
        libvirt = self._libvirt
        try:
            known = self._connection.getLibVersion() >= _KEEPS_TPM
        except libvirt.libvirtError as error:
            raise self.failed(error, "asking for its version") from None
        return known and hasattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM")

    def remove_managed_save(self, uuid: str) -> None:
        try:
            self.domain(uuid).managedSaveRemove(0)
        except self._libvirt.libvirtError as error:
            raise self.failed(error, uuid) from None

    def live_xml(self, uuid: str) -> bytes:
        """Return the XML of a running domain as it runs. Raises VirtfixError."""
        try:
            return str(self.domain(uuid).XMLDesc(0)).encode()
        except self._libvirt.libvirtError as error:
            raise self.failed(error, uuid) from None

    def public_xml(self, uuid: str) -> bytes:
        """Return the inactive XML as a reader gets it, without secrets. Raises VirtfixError."""
        try:
            return str(self.domain(uuid).XMLDesc(self._libvirt.VIR_DOMAIN_XML_INACTIVE)).encode()
        except self._libvirt.libvirtError as error:
            raise self.failed(error, uuid) from None

    def domain(self, uuid: str) -> Any:
        """Return libvirt's own domain. Raises VirtfixError ``libvirt.gone``."""
        # libvirt finds a domain by its UUID with each question: a handle says nothing of what it was then.
        with self._lock:
            found = self._handles.pop(uuid, None)
        try:
            found = found or self._connection.lookupByUUIDString(uuid)
        except self._libvirt.libvirtError as error:
            raise self.failed(error, uuid) from None
        with self._lock:
            self._handles[uuid] = found
            if len(self._handles) > _HANDLES:
                del self._handles[next(iter(self._handles))]
        return found

    def find(self, uuid: str, name: str) -> Any | None:
        """Return the domain of a UUID, or where there is none of a name; None where it is not there."""
        lookups = ((self._connection.lookupByUUIDString, uuid), (self._connection.lookupByName, name))
        for lookup, key in lookups:
            try:
                if key:
                    return lookup(key)
            except self._libvirt.libvirtError as error:
                if error.get_error_code() not in {
                    self._libvirt.VIR_ERR_NO_DOMAIN,
                    self._libvirt.VIR_ERR_INVALID_ARG,  # a UUID that is none
                }:
                    raise self.failed(error, key) from None
        return None

    def failed(self, error: Any, what: str) -> VirtfixError:
        gone = error.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN
        if not gone and not self._alive():
            return VirtfixError("libvirt.lost", f"the connection is lost: {message(error)}", where=self.uri)
        return VirtfixError(
            "libvirt.gone" if gone else "libvirt.failed", f"{what}: {message(error)}", where=self.uri
        )

    def _alive(self) -> bool:
        try:
            return bool(self._connection.isAlive())
        except self._libvirt.libvirtError:
            return False

    def _all(self) -> list[Any]:
        try:
            return list(self._connection.listAllDomains(0))
        except self._libvirt.libvirtError as error:
            raise self.failed(error, "listing the domains") from None

    @staticmethod
    def _name_of(domain: Any) -> DomainName:
        return DomainName(domain.UUIDString(), domain.name())


def is_local(uri: str) -> bool:
    """Whether a URI names no other host (libvirt docs/uri.rst)."""
    scheme, _, rest = uri.partition("://")
    return rest.startswith("/") and scheme.partition("+")[2] in {"", "unix"}


def _asked(question: Callable[[], Any], libvirt: Any) -> Any:
    """Return an answer; nothing where the driver does not know of such a thing (libvirt's test driver)."""
    try:
        return question()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return 0
        raise


def _job(domain: Any, libvirt: Any) -> str:
    """Return what an active domain is busy with, '' where it is not."""
    try:
        kind = domain.jobInfo()[0]
    except libvirt.libvirtError as error:
        if error.get_error_code() in {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID}:
            return ""
        # The other side of a migration has no statistics (qemuDomainGetJobInfoMigrationStats).
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
            return "a migration of it is coming in"
        raise
    busy = {libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED}
    return "a migration, save or backup is under way" if kind in busy else ""


def message(error: Any) -> str:
    """Return what libvirt says of an error, on one line."""
    first = (error.get_error_message() or str(error)).partition("\n")[0]
    return printable(first.rstrip(), 300)


def _chooses(pattern: str, domain: DomainName) -> bool:
    return pattern.lower() == domain.uuid or pattern == domain.name or glob(pattern, domain.name)


def _near(pattern: str, names: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- 4 ms that only an error needs

    return printable(next(iter(get_close_matches(pattern, names, 1, 0.6)), ""), 80)


def _check_test_file(uri: str) -> None:
    """Say that the file of a test:///FILE is not there before libxml2 does, in its own words."""
    path = uri.removeprefix("test://")
    if path != uri and path.startswith("/") and path not in {"/", "/default"} and not is_file(path):
        raise VirtfixError(
            "libvirt.connect", "can not connect: there is no such file", where=uri, hint="check the URI"
        )


def _import_libvirt() -> Any:
    # libvirt's own log goes to standard error otherwise, beside the one line that says it (docs/logging.rst).
    os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "1:file:/dev/null")
    try:
        import libvirt  # noqa: PLC0415 - not installed where only files are planned
    except ImportError as error:
        raise VirtfixError(
            "libvirt.missing",
            f"the Python module libvirt can not be loaded: {error}",
            hint="install it: pip install 'virtfix[libvirt]', or the package python3-libvirt",
        ) from None
    # It would print each error beside the one line that says it.
    libvirt.registerErrorHandler(lambda *_: None, None)
    return libvirt


_events: list[threading.Thread] = []


def _start_events(libvirt: Any, uri: str | None) -> None:
    """Run libvirt's event loop, without which the embedded driver answers nothing, and no network is watched."""
    uri = uri or os.environ.get("LIBVIRT_DEFAULT_URI", "")
    if _events or not uri or (is_local(uri) and "/embed" not in uri):
        return
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run_events, args=(libvirt,), name="libvirt-events", daemon=True)
    _events.append(thread)
    thread.start()


def _run_events(libvirt: Any) -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
