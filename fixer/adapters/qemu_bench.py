"""Throw-away copies of domains on real QEMU, and what QEMU shows of them.

By default libvirt's QEMU driver runs in this process, on a folder of its own. A guard outlives the process: whatever
ends it, the guard ends what was started and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fixer.adapters.file_store import cache_folder
from fixer.adapters.libvirt_store import LibvirtStore, message
from fixer.adapters.monitor import MonitorError, execute, human
from fixer.domain.document import parse
from fixer.domain.machine import Family
from fixer.domain.throwaway import Bench
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.model import Domain
    from fixer.domain.throwaway import Copy

# The driver as it runs in a container, too; the guest needs nothing of the host. (src/qemu/qemu.conf.in)
QEMU_CONF = """\
security_driver = "none"
security_default_confined = 0
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
"""
# Standard input ends with the process that holds it, and says "done" where there is nothing to do. A QEMU may just
# have been forked: so look several times. Each names a file in the folder, also the ones that libvirt asks what they
# can do.
_GUARD = """\
read -r word && [ "$word" = done ] && exit
for round in 1 2 3 4 5; do
    for process in /proc/[0-9]*; do
        case "$(readlink "$process/exe")" in
        *qemu*) grep -aqF -- "$1/" "$process/cmdline" && kill -9 "${process#/proc/}" ;;
        esac
    done
    rm -rf "$1"
    sleep 0.2
done 2>/dev/null
rm -rf "$1"
"""
_PREFIX = "virtfix-verify-"


class QemuBench:
    """A connection on which copies are tried: the embedded driver, or a local one that was given."""

    def __init__(self, uri: str = "") -> None:
        # Short: sockets lie below it, whose paths have 107 bytes at most (unix(7)).
        self._folder = Path("/tmp", f"virtfix-{secrets.token_hex(4)}")  # noqa: S108 - made below, with a random name
        self._name = _PREFIX + self._folder.name.removeprefix("virtfix-")
        self._guard = subprocess.Popen(  # noqa: S603 - all of it is our own
            ["/bin/sh", "-c", _GUARD, "virtfix-guard", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._left: set[str] = set()
        self._count = 0
        try:  # after its guard: so there is no moment at which it could stay
            self._folder.mkdir()
            self._folder.chmod(0o711)  # another user may run QEMU
        except OSError as error:
            self._guard.communicate(b"done\n")  # another's folder is not ours to remove
            raise VirtfixError(
                "verify.folder", f"can not be made: {error.strerror}", where=str(self._folder)
            ) from None
        # The driver in the process would write its log to standard error (libvirt docs/logging.rst).
        os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", f"3:file:{self._folder}/libvirt.log")
        try:
            self._cache = None if uri else _Cache(self._folder)
            self._store = LibvirtStore(uri or self._embedded(), writable=True)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(VirtfixError):
            self._store.close()
        self.close()

    def close(self) -> None:
        """Remove the folder; where something was left running, the guard ends it first."""
        if not self._left:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._guard.communicate(b"" if self._left else b"done\n")

    def _embedded(self) -> str:
        root = self._folder
        (root / "etc").mkdir()
        (root / "etc" / "qemu.conf").write_text(
            QEMU_CONF if os.geteuid() == 0 else 'stdio_handler = "file"\n'
        )
        return f"qemu:///embed?root={root}"

    def bench(self, domain: Domain, *, kvm: bool = False) -> Bench:
        """Return what this host has for a domain. Raises VirtfixError where it can run no such machine."""
        self._count += 1
        folder = self._folder / f"copy{self._count}"
        for path, mode in ((folder, 0o711), (folder / "shared", 0o755)):
            path.mkdir()
            path.chmod(mode)  # another user may run QEMU, and the umask be strict
        log = folder / "debug.log"  # what is on the command line libvirt makes ready for nobody
        log.touch()
        log.chmod(0o666)
        virt_type = "kvm" if kvm else "qemu"
        machine, root = self._capabilities(domain, virt_type)
        devices, os_node = root.find("devices"), root.find("os")
        loader = os_node.find("loader") if os_node is not None else None
        video = devices.find("video") if devices is not None else None
        emulator = root.find("path")
        return Bench(
            name=f"{self._name}-{self._count}",
            uuid=str(uuid.uuid4()),
            folder=str(folder),
            emulator=emulator.text if emulator is not None else "",
            virt_type=virt_type,
            machine=machine,
            loaders=frozenset(value.text for value in loader.findall("value"))
            if loader is not None
            else frozenset(),
            videos=_enum(video, "modelType"),
        )

    def _capabilities(self, domain: Domain, virt_type: str) -> tuple[str, Any]:
        """Return the machine type that stands for that of a domain, and libvirt's domain capabilities for it."""
        libvirt = self._store.libvirt
        family = "q35" if domain.machine.family is Family.Q35 else "pc"
        last: Any = None
        for machine in dict.fromkeys((domain.machine.name or "pc", family)):
            try:
                text = self._store.connection.getDomainCapabilities(None, "x86_64", machine, virt_type)
            except libvirt.libvirtError as error:
                last = error
                continue
            if self._cache is not None:
                self._cache.keep()
            return machine, parse(text.encode(), "domainCapabilities", 1 << 24).root
        raise VirtfixError(
            "verify.host",
            f"can not run such a machine: {message(last)}",
            where=self._store.uri,
            hint="install qemu-system-x86 (Debian) or qemu-kvm",
        )

    @contextlib.contextmanager
    def started(self, copy: Copy, bench: Bench) -> Iterator[Trial]:
        """Start a copy; it is destroyed and forgotten at the end. Raises VirtfixError."""
        for path, size in copy.images.items():
            with Path(path).open("xb") as image:
                image.truncate(size)
        libvirt = self._store.libvirt
        self._left.add(bench.name)  # from here on: an interrupt can come between the start and its end
        try:
            # Where a daemon runs it, it ends with this connection.
            flags = 0 if "/embed" in self._store.uri else libvirt.VIR_DOMAIN_START_AUTODESTROY
            domain = self._store.connection.createXML(copy.xml, flags)
        except libvirt.libvirtError as error:
            raise VirtfixError("verify.start", f"its copy does not start: {message(error)}") from None
        try:
            yield Trial(domain, Path(bench.folder))
        finally:
            self._end(domain, bench.name)
            shutil.rmtree(bench.folder, ignore_errors=True)

    def _end(self, domain: Any, name: str) -> None:
        """End a copy. libvirt waits for the process to be reaped, which is the business of others and can be slow."""
        try:
            pid = int((self._folder / "run" / "qemu" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            pid = 0  # a daemon runs it
        if not pid or not _killed(pid):
            try:
                domain.destroy()
            except self._store.libvirt.libvirtError:
                return  # it may have ended by itself; the guard makes sure
        self._left.discard(name)


def _killed(pid: int) -> bool:
    """Kill a process and wait until it runs no more; False where it does not end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for _ in range(500):
        try:
            # proc(5): the state follows the name, which stands in parentheses.
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in {"Z", "X"}:
            return True
        time.sleep(0.01)
    return False


def _enum(node: Any, name: str) -> frozenset[str]:
    found = [
        enum for enum in (node.findall("enum") if node is not None else ()) if enum.attrs.get("name") == name
    ]
    return frozenset(value.text for enum in found for value in enum.findall("value"))


class Trial:
    """A copy that runs."""

    def __init__(self, domain: Any, folder: Path) -> None:
        self._domain, self._folder = domain, folder

    def query_pci(self) -> list[dict[str, Any]]:
        with _asking():
            found: list[dict[str, Any]] = execute(self._domain, "query-pci")
            return found

    def human(self, command: str) -> str:
        with _asking():
            return human(self._domain, command)

    def xml(self) -> bytes:
        with _asking():
            return str(self._domain.XMLDesc(0)).encode()

    def log(self, name: str) -> bytes:
        try:
            return (self._folder / f"{name}.log").read_bytes()
        except FileNotFoundError:
            return b""

    def pause(self) -> None:
        with _asking():
            self._domain.suspend()


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    import libvirt  # noqa: PLC0415 - the store has loaded it

    try:
        yield
    except (MonitorError, libvirt.libvirtError) as error:
        told = message(error) if isinstance(error, libvirt.libvirtError) else error
        raise VirtfixError("verify.monitor", f"its copy does not answer: {told}") from None


class _Cache:
    """What libvirt has learnt of QEMU, which takes it seconds; it judges by itself whether that still holds."""

    def __init__(self, root: Path) -> None:
        self._kept = cache_folder("capabilities")
        self._used = root / "cache" / "qemu" / "capabilities"
        with contextlib.suppress(OSError):
            shutil.copytree(self._kept, self._used)

    def keep(self) -> None:
        """Keep what is new, whole files only; a cache that can not be written costs time only."""
        with contextlib.suppress(OSError):
            self._kept.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in self._used.iterdir():
                kept = self._kept / file.name
                if not kept.exists() or kept.read_bytes() != file.read_bytes():
                    part = kept.with_name(f".{file.name}.{os.getpid()}")
                    part.write_bytes(file.read_bytes())
                    part.replace(kept)
