"""osinfo-db as a source: its XML to entries, entries to one record an OS, records to a verdict.

osinfo-db states what an OS supports by listing devices; an OS also has what it derives from or clones has
(libosinfo, osinfo_os_get_all_devices), and what its drivers serve. Absence is no statement. Pure: bytes in,
values out; ``adapters/osinfo_db.py`` knows where the files are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.parsers import expat

from fixer.errors import VirtfixError, printable
from fixer.policy.model import Fact, GuestCapabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SOURCE = "osinfo-db"
# PCI device ids of virtio: transitional ones start at 0x1000, 1.0 ones are 0x1040 + device type
# (virtio specification 1.2, sections 4.1.2.1 and 5).
_LEGACY = {
    "1000": "net", "1001": "block", "1002": "balloon", "1003": "console", "1004": "scsi", "1005": "rng",
    "1009": "9p",
}  # fmt: skip
_MODERN = {
    "1041": "net", "1042": "block", "1043": "console", "1044": "rng", "1045": "balloon", "1048": "scsi",
    "1049": "9p", "1050": "gpu", "1052": "input", "1053": "vsock", "1054": "crypto", "1057": "iommu",
    "1058": "mem", "1059": "sound", "105a": "fs", "105b": "pmem",
}  # fmt: skip
_VIRTIO = "http://pcisig.com/pci/1af4/"
# 1b36:0004 is what osinfo-db calls qemu-xhci; QEMU's own id is 1b36:000d (docs/specs/pci-ids.rst).
_PARTS = {
    "http://qemu.org/chipset/x86/q35": "q35",
    "http://pcisig.com/pci/8086/100e": "e1000",
    "http://pcisig.com/pci/8086/10d3": "e1000e",
    "http://pcisig.com/pci/1b36/0004": "xhci",
    "http://pcisig.com/pci/1b36/000d": "xhci",
    "http://pcisig.com/pci/1033/0194": "xhci",
    "http://pcisig.com/pci/8086/293e": "hda",
    "http://pcisig.com/pci/8086/2668": "hda",
}
_MAX_CHAIN = 64  # releases that derive from one another; the longest in the database has about 30


class Entry(NamedTuple):
    """What the files of one OS state, before anything is inherited. URIs name devices and other OSs."""

    uri: str
    ids: tuple[str, ...] = ()
    name: str = ""
    family: str = ""
    parents: tuple[str, ...] = ()
    devices: tuple[tuple[str, bool], ...] = ()
    drivers: tuple[str, ...] = ()
    firmware: tuple[tuple[str, bool], ...] = ()  # types of x86_64


class Record(NamedTuple):
    """What osinfo-db says of one OS in all. ``legacy`` and ``modern`` are virtio kinds of each interface."""

    uri: str
    ids: tuple[str, ...]
    name: str
    family: str
    legacy: frozenset[str]
    modern: frozenset[str]
    driven: frozenset[str]  # kinds of either interface that need a driver package first
    parts: frozenset[str]
    firmware: frozenset[str]

    @property
    def virtio(self) -> frozenset[str]:
        return self.legacy | self.modern


def read_entry(data: bytes) -> Entry | None:
    """Return what one file states, None for a file that holds no OS.

    Raises VirtfixError ``osinfo.xml`` for what is no XML, or has a document type.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise VirtfixError(
            "osinfo.xml", f"not XML: {expat.ErrorString(error.code)}", where=str(error.lineno)
        ) from None
    return reader.entry()


def _refuse_doctype(*_: object) -> None:
    raise VirtfixError("osinfo.xml", "a document type is not allowed here")


class _Reader:
    """Collects what matters of <libosinfo><os>; elements of media, trees and variants lie deeper."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.values: dict[str, list[Any]] = {}
        self.uri = ""
        self._text: list[str] | None = None

    def start(self, name: str, attrs: dict[str, str]) -> None:
        self.path.append(name)
        where = "/".join(self.path[1:]) if len(self.path) < 5 else ""
        supported = attrs.get("supported", "true") != "false"
        if where == "os":
            self.uri = attrs.get("id", "")
        elif where in {"os/derives-from", "os/clones"}:
            self._add("parents", attrs.get("id", ""))
        elif where == "os/devices/device":
            self._add("devices", (attrs.get("id", ""), supported))
        elif where == "os/driver/device":
            self._add("drivers", attrs.get("id", ""))
        elif where == "os/firmware" and attrs.get("arch") == "x86_64":
            self._add("firmware", (attrs.get("type", ""), supported))
        elif where in {"os/short-id", "os/name", "os/family"} and not any(
            key.endswith("lang") for key in attrs
        ):
            self._text = []

    def text(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def end(self, _: str) -> None:
        name = self.path.pop()
        if self._text is not None:
            self._add(name, "".join(self._text).strip())
            self._text = None

    def _add(self, key: str, value: object) -> None:
        self.values.setdefault(key, []).append(value)

    def entry(self) -> Entry | None:
        get = self.values.get
        return (self.uri and Entry(
            self.uri,
            tuple(get("short-id", ())),
            next(iter(get("name", ())), ""),
            next(iter(get("family", ())), ""),
            tuple(get("parents", ())),
            tuple(get("devices", ())),
            tuple(get("drivers", ())),
            tuple(get("firmware", ())),
        )) or None  # fmt: skip


def merged(one: Entry, other: Entry) -> Entry:
    """Return what two files state of the same OS."""
    return Entry(
        one.uri,
        tuple(dict.fromkeys(one.ids + other.ids)),
        one.name or other.name,
        one.family or other.family,
        tuple(dict.fromkeys(one.parents + other.parents)),
        one.devices + other.devices,
        one.drivers + other.drivers,
        one.firmware + other.firmware,
    )


def resolve(uri: str, entry_of: Callable[[str], Entry | None]) -> Record | None:
    """Return the record of an OS; ``entry_of`` returns the entry of a URI."""
    own = entry_of(uri)
    if own is None:
        return None
    devices, drivers, firmware = _inherited(own, entry_of)
    virtio = [uri.removeprefix(_VIRTIO) for uri in devices if uri.startswith(_VIRTIO)]
    packaged = [uri.removeprefix(_VIRTIO) for uri in drivers if uri.startswith(_VIRTIO)]
    driven = {kind for table in (_LEGACY, _MODERN) for key, kind in table.items() if key in packaged}
    return Record(
        own.uri,
        own.ids,
        own.name,
        own.family,
        frozenset(_LEGACY[key] for key in (*virtio, *packaged) if key in _LEGACY),
        frozenset(_MODERN[key] for key in (*virtio, *packaged) if key in _MODERN),
        frozenset(driven - {_LEGACY.get(key) or _MODERN.get(key) for key in virtio}),
        frozenset(_PARTS[uri] for uri in devices if uri in _PARTS),
        frozenset(firmware),
    )


def _inherited(own: Entry, entry_of: Callable[[str], Entry | None]) -> tuple[set[str], set[str], set[str]]:
    """Return device URIs, driver URIs and firmware types, the parents' first and the own ones last."""
    order: list[Entry] = []
    todo, seen = [own], {own.uri}
    while todo and len(order) < _MAX_CHAIN:
        entry = todo.pop()
        order.append(entry)
        parents = [entry_of(uri) for uri in entry.parents if uri not in seen]
        seen.update(entry.parents)
        todo += [parent for parent in parents if parent is not None]
    devices: dict[str, bool] = {}
    firmware: dict[str, bool] = {}
    for entry in reversed(order):
        devices.update(entry.devices)
        firmware.update(entry.firmware)
    # A driver package is for one release: what a release derives from has packages of its own.
    return _supported(devices), set(own.drivers), _supported(firmware)


def _supported(stated: Mapping[str, bool]) -> set[str]:
    return {key for key, supported in stated.items() if supported}


def capabilities(record: Record, version: str) -> GuestCapabilities:
    """Return what osinfo-db's word alone makes of an OS: nothing that is not listed is taken for absent."""
    known = _Facts(record, version)
    return GuestCapabilities(
        id=record.ids[0] if record.ids else record.uri,
        name=record.name,
        family=record.family or "unknown",
        interface=known.interface(),
        drivers={kind: known.listed("virtio", kind in record.virtio) for kind in sorted(record.virtio)},
        uefi=known.listed("EFI", "efi" in record.firmware),
        chipset={part: known.listed(part, True) for part in sorted(record.parts - {"q35"})},
        sources={SOURCE: f"osinfo-db {version}"},
    )


class _Facts:
    """Makes facts that say where in osinfo-db they stand."""

    def __init__(self, record: Record, version: str) -> None:
        self._record = record
        self._where = f"osinfo-db {version}: {record.uri}"

    def listed(self, what: str, listed: bool) -> Fact:
        if listed:
            return Fact("yes", SOURCE, "likely", "", self._where)
        return Fact(
            "unknown", SOURCE, "unknown", f"osinfo-db lists no {what}, which proves nothing", self._where
        )

    def interface(self) -> Fact:
        record = self._record
        # The modern balloon came later than the rest, so what carries disks or NICs decides.
        if record.modern & {"block", "net", "scsi"}:
            if record.driven:
                condition = "the driver package that osinfo-db names is installed"
                return Fact("depends", SOURCE, "likely", "", self._where, condition)
            return Fact("modern", SOURCE, "likely", "", self._where)
        if record.legacy:
            return Fact(
                "legacy", SOURCE, "likely", "osinfo-db lists virtio devices, none of 1.0", self._where
            )
        note = "osinfo-db lists no virtio device, which proves nothing; legacy is the safe answer"
        return Fact("legacy", SOURCE, "unknown", note, self._where)


# --- The compact snapshot ----------------------------------------------------------------------------

_SNAPSHOT = "virtfix-osinfo"
_FORMAT = 1


class Snapshot:
    """All records of one database, found by short id or URI. Rows become records when they are asked for."""

    def __init__(self, version: str, rows: list[list[Any]]) -> None:
        self.version = version
        self._rows = rows
        self._index = {key.lower(): row for row in rows for key in (row[0], *row[1])}

    def find(self, os_id: str) -> Record | None:
        row = self._index.get(os_id.strip().lower())
        return None if row is None else _record(row)

    def __len__(self) -> int:
        return len(self._rows)

    def records(self) -> Iterator[Record]:
        return map(_record, self._rows)

    def dump(self) -> bytes:
        """Return the snapshot as JSON, one line a record."""
        head = json.dumps({"snapshot": _SNAPSHOT, "format": _FORMAT, "version": self.version})[:-1]
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in self._rows)
        return f'{head}, "records": [\n{lines}\n]}}\n'.encode()


def _row(record: Record) -> list[Any]:
    return [record.uri, [*record.ids], record.name, record.family, *(sorted(kinds) for kinds in record[4:])]


def _record(row: list[Any]) -> Record:
    uri, ids, name, family, *sets = row
    return Record(uri, tuple(ids), name, family, *map(frozenset, sets))


def read_snapshot(data: bytes, where: str) -> Snapshot:
    """Return the snapshot that ``dump`` wrote. Raises VirtfixError ``osinfo.snapshot`` for anything else."""
    try:
        value = json.loads(data)
        rows = value["records"]
        right = value["snapshot"] == _SNAPSHOT and value["format"] == _FORMAT and all(map(_is_row, rows))
    except (ValueError, KeyError, TypeError, RecursionError):
        right = False
    if not right:
        hint = "make it again by 'virtfix policy sync'"
        raise VirtfixError("osinfo.snapshot", "is no snapshot of osinfo-db", where=where, hint=hint)
    return Snapshot(printable(str(value["version"]), 40), rows)


_SHAPE = (str, list, str, str, list, list, list, list, list)


def _is_row(row: Any) -> bool:
    return tuple(map(type, row)) == _SHAPE and all(
        type(item) is str for one in row if type(one) is list for item in one
    )


def compile_snapshot(version: str, entries: Iterable[Entry]) -> Snapshot:
    """Return the snapshot of a whole database."""
    by_uri: dict[str, Entry] = {}
    for entry in entries:
        by_uri[entry.uri] = merged(by_uri[entry.uri], entry) if entry.uri in by_uri else entry
    records = (resolve(uri, by_uri.get) for uri in sorted(by_uri))
    return Snapshot(version, [_row(record) for record in records if record is not None])
