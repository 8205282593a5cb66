"""Where runs are written down: one folder a run, with its journal and the XML that it replaced.

/var/lib/virtfix for root, else virtfix below $XDG_STATE_HOME (XDG Base Directory Specification 0.8). Folders are
for their owner only: the XML holds passwords.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fixer.adapters.file_store import problem, sync_folder
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def state_root(given: str = "") -> Path:
    """Return the folder of all runs: ``given``, $VIRTFIX_STATE_DIR, or the place for this user."""
    if given or os.environ.get("VIRTFIX_STATE_DIR"):
        return Path(given or os.environ["VIRTFIX_STATE_DIR"]).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/virtfix")
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "virtfix"


class StateDir:
    """All runs of this machine, and the lock that lets one at a time change domains."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def runs(self) -> list[str]:
        """Return the ids of the runs, the latest last."""
        try:
            return sorted(name for name in os.listdir(self.root / "runs") if _RUN.fullmatch(name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise problem(error, str(self.root), "read") from None

    def find(self, run: str) -> Run:
        """Return a run by its id, or by the start of it. Raises VirtfixError ``run.unknown``."""
        found = [name for name in self.runs() if name.startswith(run)] if run else []
        if len(found) != 1:
            what = "several runs begin with" if found else "there is no run"
            raise VirtfixError("run.unknown", f"{what} '{run}'", hint="virtfix history lists the runs")
        return Run(self.root / "runs" / found[0])

    def create(self, facts: Mapping[str, Any], plans: Sequence[Mapping[str, Any]] = ()) -> Run:
        """Make the folder of a new run and write down what it was asked for. Raises VirtfixError.

        ``plans`` are the saved ones that it carries out: ``resume`` plans nothing anew.
        """
        folder = self.root / "runs"
        try:
            _make_private(self.root)
            _make_private(folder)
            # Nobody ever sees a run that does not say what it was asked for.
            new = folder / f".new-{secrets.token_hex(8)}"
            new.mkdir(mode=0o700)
            (new / "backup").mkdir(mode=0o700)
            _write_new(new / "run.json", json.dumps(dict(facts), indent=2).encode() + b"\n")
            if plans:
                _write_new(new / "plans.json", json.dumps(list(plans)).encode())
            sync_folder(new)
            return Run(_into_place(new, folder))
        except OSError as error:
            raise problem(error, str(folder), "write") from None

    @contextlib.contextmanager
    def locked(self, what: str, wait: float = 0) -> Iterator[None]:
        """Hold the lock of this machine, waiting for it up to ``wait`` seconds. Raises VirtfixError ``run.locked``."""
        path = self.root / "lock"
        try:
            _make_private(self.root)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise problem(error, str(path), "write") from None
        try:
            try:
                self._acquire(descriptor, wait)
                os.truncate(descriptor, 0)
                since = time.strftime("%Y-%m-%d %H:%M:%S")
                os.pwrite(descriptor, f"{what}, process {os.getpid()}, since {since}".encode(), 0)
            except OSError as error:
                raise problem(error, str(path), "write") from None
            yield
        finally:
            os.close(descriptor)

    def _acquire(self, descriptor: int, wait: float) -> None:
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "another run"
                raise VirtfixError(
                    "run.locked",
                    f"another run is changing domains: {holder}",
                    hint="wait for it: --wait SECONDS",
                ) from None
            return


class _SharedSync:
    """One wait for the disk serves all threads that asked before it began.

    What failed once fails for good: the kernel tells of lost data only once (fsync(2), NOTES).
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._turn = threading.Lock()
        self._begun = self._done = 0
        self._failed: OSError | None = None

    def __call__(self) -> None:
        """Return when all that was written before the call is on disk. Raises OSError."""
        needed = self._begun + 1  # one that is under way may have begun too early
        with self._turn:
            if self._failed is not None:
                raise self._failed
            if self._done >= needed:
                return
            self._begun += 1
            try:
                self._sync()
            except OSError as error:
                self._failed = error
                raise
            self._done = self._begun


class Run:
    """One run: what it was asked for, its journal, its backups. Also a Journal for execution."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self._descriptor = -1
        self._lock = threading.Lock()
        self._sync_journal = _SharedSync(lambda: os.fdatasync(self._descriptor))
        self._sync_backups = _SharedSync(lambda: sync_folder(folder / "backup"))

    def __enter__(self) -> Self:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self.folder / "journal.jsonl", flags, 0o600)
            # A line that was cut off by the end of its writer must not swallow the next one.
            os.write(self._descriptor, b"\n")
            sync_folder(self.folder)
        except OSError as error:
            raise problem(error, str(self.folder), "write") from None
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._sync_journal()
        except OSError as error:
            raise problem(error, str(self.folder / "journal.jsonl"), "write") from None
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def asked(self) -> dict[str, Any]:
        """Return what the run was asked for, {} where nothing says it. Raises VirtfixError."""
        try:
            value = json.loads((self.folder / "run.json").read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise problem(error, str(self.folder), "read") from None
        except ValueError:
            raise VirtfixError(
                "run.broken", "is no description of a run", where=str(self.folder / "run.json")
            ) from None
        return value if isinstance(value, dict) else {}

    def journal(self) -> bytes:
        """Return the journal, a JSON object a line. Raises VirtfixError."""
        try:
            return (self.folder / "journal.jsonl").read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise problem(error, str(self.folder), "read") from None

    def plans(self) -> list[dict[str, Any]]:
        """Return the saved plans that the run carries out, [] where it makes its own. Raises VirtfixError."""
        try:
            value = json.loads((self.folder / "plans.json").read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise problem(error, str(self.folder), "read") from None
        except ValueError:
            raise VirtfixError(
                "run.broken", "is no list of plans", where=str(self.folder / "plans.json")
            ) from None
        return value if isinstance(value, list) else []

    def keep(self, uuid: str, data: bytes) -> str:
        """Store XML as it was, on disk before anything else happens, and return its name."""
        if not _UUID.fullmatch(uuid):
            raise VirtfixError("run.uuid", "a UUID that libvirt would not write")
        number = 0
        while True:
            name = f"backup/{uuid}{f'.{number}' if number else ''}.xml"
            try:
                if _hold(self.folder / name, data):
                    self._sync_backups()
                    return name
            except OSError as error:
                raise problem(error, str(self.folder / name), "write") from None
            number += 1  # the same UUID on another connection, or another definition

    def backup(self, name: str) -> bytes:
        """Return XML that ``keep`` stored. Raises VirtfixError."""
        try:
            return (self.folder / "backup" / Path(name).name).read_bytes()
        except OSError as error:
            raise problem(error, str(self.folder / name), "read") from None

    def write(self, event: str, facts: Mapping[str, Any], *, wait: bool = True) -> None:
        """Append an event; where ``wait``, it and all before it are on disk then. Raises VirtfixError."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}).encode() + b"\n"
        try:
            with self._lock:
                self._append(line)
            if wait:
                self._sync_journal()
        except OSError as error:
            raise problem(error, str(self.folder / "journal.jsonl"), "write") from None

    def _append(self, line: bytes) -> None:
        """Append a whole line or nothing: half of one would swallow the next, which may be another thread's."""
        size = os.fstat(self._descriptor).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise


def _into_place(new: Path, folder: Path) -> Path:
    """Give a run its id: ids sort by their age, also those of one second."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in range(1 << 16):
        path = folder / f"{stamp}-{number:04x}"
        if path.exists():  # whoever creates a run holds the lock
            continue
        new.rename(path)
        sync_folder(folder)
        return path
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


def _make_private(folder: Path) -> None:
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:  # a file, which is no folder to anybody
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
    for path in made:
        with contextlib.suppress(PermissionError):  # a folder that we may not read can not be synced by us
            sync_folder(path.parent)


def _hold(path: Path, data: bytes) -> bool:
    """Write a file, unless it is there: then return whether it holds this."""
    try:
        _write_new(path, data)
    except FileExistsError:
        if path.read_bytes() != data:
            return False
        with path.open("rb") as file:
            os.fsync(file.fileno())  # who wrote it may have been killed before it was on disk
    return True


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that must not be there yet, to disk, for its owner only.

    Whoever dies here leaves a part of it, which nothing refers to: the journal names what is whole.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)
