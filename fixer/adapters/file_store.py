"""Files: reading them with bounds, replacing them whole."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fixer.domain.document import MAX_BYTES
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDIN = "-"


def read_input(path: str, limit: int = MAX_BYTES) -> bytes:
    """Read a file, or standard input for ``-``: never more than one byte over ``limit``.

    Raises VirtfixError for what can not be read or is too large.
    """
    try:
        if path == STDIN:
            return sys.stdin.buffer.read(limit + 1)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size > limit:
                return bytes(limit + 1)  # the parser refuses it by its size
            return _read_all(descriptor, limit)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise problem(error, path, "read") from None


def _read_all(descriptor: int, limit: int) -> bytes:
    """Read to the end, or to one byte over the limit: the size of a pipe is known to nobody."""
    parts: list[bytes] = []
    left = limit + 1
    while left and (part := os.read(descriptor, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def is_file(path: str | Path) -> bool:
    """Whether a regular file is there. What may not be looked at is none, and no error: pathlib raises there."""
    return os.path.isfile(path)


def is_folder(path: str | Path) -> bool:
    return os.path.isdir(path)


def cache_folder(name: str) -> Path:
    """Return where this user keeps what can be made again (XDG Base Directory Specification 0.8)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "virtfix" / name


def check_readable(path: str) -> str:
    """Return the whole path of a file that can be read. Raises VirtfixError."""
    try:
        with open(path, "rb"):
            return os.path.abspath(path)
    except OSError as error:
        raise problem(error, path, "read") from None


def problem(error: OSError, path: str, verb: str) -> VirtfixError:
    """Return what a user has to know of an error of the system: the file, what failed, the remedy."""
    if error.errno == errno.EISDIR:
        return VirtfixError("file.directory", "is a directory", where=path, hint="give a file")
    reason = (error.strerror or str(error)).lower()
    return VirtfixError(
        f"file.{verb}", f"can not {verb}: {reason}", where=path or "''", hint=_HINTS.get(error.errno or 0, "")
    )


_HINTS = {
    errno.ENOENT: "check the name",
    errno.EACCES: "check the permissions, or run as the owner",
    errno.ENOSPC: "free some space",
    errno.EROFS: "choose a place that can be written",
    errno.ENOTDIR: "check the name",
    errno.EEXIST: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "give the file that the links should lead to",
}


def expand(paths: Iterable[str], *, recursive: bool) -> Iterator[str]:
    """Yield the files that the arguments name; of a directory its *.xml, by name.

    Raises VirtfixError for a directory that can not be listed or holds no *.xml.
    """
    for path in paths:
        if path == STDIN or not os.path.isdir(path):
            yield path
            continue
        links = any(os.path.islink(name) for name in _listed(path, recursive=recursive, links=True))
        names = _listed(path, recursive=recursive)
        none = True
        for name in _each_once(names) if links else names:
            none = False
            yield name
        if none:
            raise VirtfixError("file.none", "has no *.xml", where=path, hint="give the files, or --recursive")


def _each_once(names: Iterable[str]) -> Iterator[str]:
    """Leave out what a link leads to as well: autostart/ of libvirt holds links to its neighbours."""
    found: set[str] = set()
    for name in names:
        real = os.path.realpath(name)
        if real not in found:
            found.add(real)
            yield name


def _listed(path: str, *, recursive: bool, links: bool = False) -> Iterator[str]:
    """Yield what a directory holds, by name; ``links`` leaves all files out that are none.

    What was yielded is let go: of 100,000 files, names and paths need not be there at once.
    """
    folders: set[str] = set()
    names: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                kind = _kind(entry)
                if kind == "folder" and recursive:
                    folders.add(entry.name)
                elif kind != "file" or not entry.name.endswith(".xml") or (links and not entry.is_symlink()):
                    continue
                names.append(entry.name)
    except OSError as error:
        raise problem(error, path, "read") from None
    names.sort(reverse=True)
    while names:
        name = names.pop()
        inner = f"{path.rstrip('/')}/{name}"
        if name not in folders:
            yield inner
        else:
            # What can not be listed is told when it is read, so that the others go on.
            below = os.access(inner, os.R_OK | os.X_OK)
            yield from _listed(inner, recursive=True, links=links) if below else [inner]


def _kind(entry: os.DirEntry[str]) -> str:
    """Return what an entry of a directory is: links to directories can go in rings, a pipe can hang."""
    try:
        if entry.is_dir():
            return "" if entry.is_symlink() else "folder"
        return "file" if entry.is_file() else "" if not entry.is_symlink() else "file"
    except OSError:  # a link in a ring: reading it says so
        return "file"


def replace(path: str, data: bytes, *, expected: bytes | None, backup_suffix: str = "") -> None:
    """Replace a file by ``data`` in one step, keeping mode, owner and extended attributes.

    ``expected`` are the bytes that must still be there. A symbolic link stays one: its target changes.
    Raises VirtfixError, with the file untouched, where anything stands in the way.
    """
    target = os.path.realpath(path)
    try:
        if expected is not None and Path(target).read_bytes() != expected:
            raise VirtfixError(
                "file.changed", "changed since it was planned", where=path, hint="plan it again"
            )
        if backup_suffix:
            _write(target + backup_suffix, expected or b"", like=target, exclusive=True)
        _write(target, data, like=target, exclusive=False)
    except OSError as error:
        raise problem(error, path, "write") from None


def create(path: str, data: bytes, *, like: str | None, force: bool) -> None:
    """Write a new file in one step. Another content that is there already is kept, unless ``force``."""
    try:
        if not force and Path(path).exists():
            if Path(path).read_bytes() == data:
                return
            raise VirtfixError(
                "file.exists", "exists and differs", where=path, hint="remove it, or give --force"
            )
        _write(path, data, like=like, exclusive=False)
    except OSError as error:
        raise problem(error, path, "write") from None


def _write(path: str, data: bytes, *, like: str | None, exclusive: bool) -> None:
    """Write beside the place, to disk, then move there: a reader sees the old or the new, never a part."""
    folder, name = os.path.split(path)
    if exclusive and os.path.lexists(path):
        raise VirtfixError("file.exists", "exists already", where=path, hint="choose another --backup-suffix")
    temporary = os.path.join(folder, f".{name[:200]}.{os.getpid()}.virtfix")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            _dress(file.fileno(), like)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(temporary, path)
            os.unlink(temporary)
        else:
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder or ".")


def _dress(descriptor: int, like: str | None) -> None:
    """Give a new file mode, owner and extended attributes of ``like``; of nobody: what the umask leaves."""
    if like is None or like == STDIN:
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(descriptor, 0o666 & ~mask)
        return
    model = os.stat(like)
    if (model.st_uid, model.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):  # only root can give files away
            os.fchown(descriptor, model.st_uid, model.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(model.st_mode))
    with contextlib.suppress(OSError):  # not every file system has them
        for name in os.listxattr(like):
            os.setxattr(descriptor, name, os.getxattr(like, name))


def sync_folder(folder: str | Path) -> None:
    """Wait until the names in a folder are on disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise problem(error, path, "write") from None


def _refuse_to_overwrite(path: str) -> None:
    """Raise VirtfixError for what is there and is no plan: a domain's XML, a device, a link."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    regular = stat.S_ISREG(os.lstat(path).st_mode)
    if regular:
        with Path(path).open("rb") as file:
            if file.read(1) in {b"", b"{", b"["}:
                return
    what = "exists and is no plan" if regular else "is not a regular file"
    raise VirtfixError("file.exists", what, where=path, hint="choose another name for --out")


class JsonFile:
    """A JSON file that appears whole when it is closed, or not at all: one value, or an array of them."""

    def __init__(self, path: str, *, array: bool) -> None:
        self._path = path
        self._array = array
        self._count = 0
        folder, name = os.path.split(path)
        self._temporary = os.path.join(folder, f".{name[:200]}.{os.getpid()}.virtfix")

    def __enter__(self) -> Self:
        try:
            if os.path.lexists(self._path):
                _refuse_to_overwrite(self._path)
            # Plans show parts of the XML: as guarded as that should be.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")
        except OSError as error:
            raise problem(error, self._path, "write") from None
        return self

    def add(self, value: bytes) -> None:
        head = b"" if not self._array else b",\n" if self._count else b"[\n"
        try:
            self._file.write(head + value)
        except OSError as error:
            raise problem(error, self._path, "write") from None
        self._count += 1

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._file.write((b"" if self._count else b"[") + b"\n]\n" if self._array else b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if kind is None:
                os.replace(self._temporary, self._path)
        except OSError as error:
            raise problem(error, self._path, "write") from None
        finally:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)


def save_evidence(files: dict[str, bytes]) -> str:
    """Write files into a new folder that only the user can read; return its path."""
    import tempfile  # noqa: PLC0415 - only when something went wrong

    folder = tempfile.mkdtemp(prefix="virtfix-bug-")
    for name, data in files.items():
        Path(folder, name).write_bytes(data)
    return folder
