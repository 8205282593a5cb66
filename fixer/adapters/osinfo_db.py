"""osinfo-db on this machine: a directory, an archive of osinfo-db-tools, or the snapshot of a user.

libosinfo looks in the same places (osinfo-db-tools, osinfo_db_get_path): the system's, the machine's own, the
user's; a later one adds to an earlier one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixer.adapters.file_store import create, is_file, is_folder, problem, read_input
from fixer.errors import VirtfixError
from fixer.guest import osinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixer.guest.osinfo import Entry, Record, Snapshot

# The database of 2022 has 800 files with 5 MB in all, the largest 100 KB.
_MAX_FILE = 4 * 1024 * 1024
_MAX_ALL = 64 * 1024 * 1024
_MAX_FILES = 50_000

_SHORT_ID = re.compile(rb"<short-id>([^<]{1,200})</short-id>")


def snapshot_path() -> Path:
    """Return where ``virtfix policy sync`` keeps the snapshot (XDG Base Directory Specification 0.8)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    home = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return home / "virtfix" / "osinfo.json"


def system_folders() -> list[Path]:
    """Return the folders of osinfo-db that are there, in the order in which they add to each other."""
    environment = os.environ.get
    data = environment("XDG_CONFIG_HOME", "") or str(Path.home() / ".config")
    folders = (
        environment("OSINFO_SYSTEM_DIR") or "/usr/share/osinfo",
        environment("OSINFO_LOCAL_DIR") or "/etc/osinfo",
        environment("OSINFO_USER_DIR") or f"{data}/osinfo",
    )
    return [Path(folder) for folder in folders if is_folder(Path(folder) / "os")]


class OsinfoDb:
    """Answers what osinfo-db says of an OS, reading no more than the question needs."""

    def __init__(self, path: str = "", tell: Callable[[VirtfixError], None] | None = None) -> None:
        """Take the directory or archive ``path``, or what is installed or was synchronised.

        ``tell`` is called with what is wrong with a snapshot, which is then not used.
        """
        self._path = path
        self._tell = tell
        self._opened = False
        self._snapshot: Snapshot | None = None
        self._folders: Folders | None = None
        self._found: dict[str, Record | None] = {}

    @property
    def version(self) -> str:
        """Return the version of the database, '' where there is none."""
        self._open()
        source = self._snapshot or self._folders
        return source.version if source is not None else ""

    def record(self, os_id: str) -> Record | None:
        """Return what is said of a short id or URI, None where nothing is. Raises VirtfixError."""
        self._open()
        if os_id not in self._found:
            if len(self._found) > 256:
                self._found.clear()
            source = self._snapshot or self._folders
            self._found[os_id] = source.find(os_id) if source is not None else None
        return self._found[os_id]

    def whole(self) -> Snapshot | None:
        """Return the whole database, None where there is none."""
        self._open()
        if self._snapshot is None and self._folders is not None:
            return self._folders.compile()
        return self._snapshot

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        if self._path:
            self._snapshot = compile_path(self._path)
            return
        folders = system_folders()
        if folders:
            self._folders = Folders(folders)
        snapshot = self._kept()
        if snapshot is not None and (self._folders is None or snapshot.version >= self._folders.version):
            self._snapshot = snapshot

    def _kept(self) -> Snapshot | None:
        path = snapshot_path()
        try:
            return osinfo.read_snapshot(read_input(str(path)), str(path)) if is_file(path) else None
        except VirtfixError as error:  # it only adds to what is known
            if self._tell is not None:
                self._tell(error)
            return None


class Folders:
    """An installed database, read OS by OS: files are called after the URI, as redhat.com/rhel-6.9.xml."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self.version = next((version for folder in folders if (version := _version(folder))), "unknown")
        self._by_id: dict[str, str] | None = None

    def find(self, os_id: str) -> Record | None:
        uri = os_id if "://" in os_id else self._uri_of(os_id)
        return osinfo.resolve(uri, self._entry) if uri else None

    def compile(self) -> Snapshot:
        return osinfo.compile_snapshot(self.version, _read_folders(self._folders))

    def _entry(self, uri: str) -> Entry | None:
        host, _, rest = uri.partition("://")[2].partition("/")
        stem = rest.replace("/", "-")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", host) or not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9._+-]*", stem
        ):
            return None
        found: Entry | None = None
        for folder in self._folders:
            place = folder / "os" / host
            for file in (place / f"{stem}.xml", *sorted((place / f"{stem}.d").glob("*.xml"))):
                entry = _read_file(file) if is_file(file) else None
                if entry is not None and entry.uri == uri:
                    found = osinfo.merged(found, entry) if found else entry
        return found

    def _uri_of(self, os_id: str) -> str:
        """Return the URI of a short id: looked for by file name first, then in all files."""
        if self._by_id is None:
            self._by_id = {}
            for file in self._files():
                self._by_id.setdefault(file.stem.replace("-", "", 1), str(file))
                self._by_id.setdefault(file.stem, str(file))
        guess = self._by_id.get(os_id)
        if guess is not None:
            entry = _read_file(Path(guess))
            if entry is not None and os_id in entry.ids:
                return entry.uri
        wanted = os_id.encode()
        for file in self._files():
            data = _bytes_of(file)
            if wanted in data and wanted in _SHORT_ID.findall(data):
                entry = _read_file(file)
                return entry.uri if entry is not None else ""
        return ""

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            yield from sorted((folder / "os").glob("*/*.xml"))
            yield from sorted((folder / "os").glob("*/*.d/*.xml"))


def compile_path(path: str) -> Snapshot:
    """Return the database of a directory or an archive. Raises VirtfixError."""
    if os.path.isdir(path):
        folder = Path(path)
        if not is_folder(folder / "os"):
            inner = [one for one in sorted(folder.glob("*/os")) if is_folder(one)]
            if len(inner) != 1:
                raise VirtfixError(
                    "osinfo.none",
                    "holds no osinfo-db",
                    where=path,
                    hint="give the directory that holds os/ and VERSION",
                )
            folder = inner[0].parent
        return _filled(osinfo.compile_snapshot(_version(folder) or "unknown", _read_folders([folder])), path)
    return _filled(_read_archive(path), path)


def write_snapshot(snapshot: Snapshot) -> Path:
    """Write the snapshot to its place, whole or not at all, and return the place."""
    path = snapshot_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise problem(error, str(path.parent), "write") from None
    create(str(path), snapshot.dump(), like=None, force=True)
    return path


def _filled(snapshot: Snapshot, path: str) -> Snapshot:
    if not len(snapshot):
        raise VirtfixError("osinfo.none", "names no operating system", where=path, hint="give an osinfo-db")
    return snapshot


def _version(folder: Path) -> str:
    try:
        with (folder / "VERSION").open("rb") as file:
            return file.read(40).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _read_folders(folders: list[Path]) -> Iterator[Entry]:
    budget = _Budget(str(folders[0]))
    for folder in folders:
        for file in sorted((folder / "os").rglob("*.xml")):
            data = _bytes_of(file)
            budget.take(len(data))
            entry = _entry_of(data, str(file))
            if entry is not None:
                yield entry


def _read_archive(path: str) -> Snapshot:
    """Read an archive as osinfo-db-export makes it: a top folder with VERSION and os/."""
    import lzma  # noqa: PLC0415 - one option needs them
    import tarfile  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    entries: list[Entry] = []
    version = "unknown"
    budget = _Budget(path)
    try:
        with Path(path).open("rb") as file:
            bounded: Any = _Bounded(file, path)
            archive = tarfile.open(fileobj=bounded, mode="r|")  # noqa: SIM115 - it holds nothing to close
            for member in archive:
                budget.take(member.size)
                parts = member.name.split("/")
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None:
                    continue
                if parts[-1] == "VERSION" and len(parts) <= 2:
                    version = stream.read(40).decode("ascii", "replace").strip()
                elif "os" in parts[:2] and parts[-1].endswith(".xml"):
                    entry = _entry_of(stream.read(_MAX_FILE), f"{path}:{member.name}")
                    if entry is not None:
                        entries.append(entry)
    except OSError as error:
        raise problem(error, path, "read") from None
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
        raise VirtfixError(
            "osinfo.archive",
            f"can not be read as an archive: {error}",
            where=path,
            hint="give a directory or .tar.xz",
        ) from None
    return osinfo.compile_snapshot(version, entries)


class _Bounded:
    """An archive decompressed as it is read, up to what a database may have: also what stands between files."""

    def __init__(self, file: Any, where: str) -> None:
        import bz2  # noqa: PLC0415 - one option needs them
        import gzip  # noqa: PLC0415
        import lzma  # noqa: PLC0415

        head = file.read(6)
        file.seek(0)
        openers = ((b"\xfd7zXZ\0", lzma.open), (b"\x1f\x8b", gzip.open), (b"BZh", bz2.open))
        opener = next((opener for magic, opener in openers if head.startswith(magic)), None)
        self._stream = file if opener is None else opener(file)
        self._left = _MAX_ALL
        self._where = where

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise _too_large(self._where)
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        return data


def _too_large(where: str) -> VirtfixError:
    return VirtfixError("osinfo.size", "is larger than any osinfo-db", where=where, hint="give an osinfo-db")


class _Budget:
    """Bounds what a database may hold, so that a hostile one costs no more."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._bytes = self._files = 0

    def take(self, size: int) -> None:
        self._bytes += size
        self._files += 1
        if size > _MAX_FILE or self._bytes > _MAX_ALL or self._files > _MAX_FILES:
            raise _too_large(self._where)


def _read_file(file: Path) -> Entry | None:
    return _entry_of(_bytes_of(file), str(file))


def _bytes_of(file: Path) -> bytes:
    return read_input(str(file))


def _entry_of(data: bytes, where: str) -> Entry | None:
    try:
        return osinfo.read_entry(data)
    except VirtfixError as error:
        raise error.at(where) from None
