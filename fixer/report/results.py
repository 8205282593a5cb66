"""What other commands printed as JSON, read back as values: plans, audits, what apply and verify did.

Files come from other machines and other versions: keys that are not known are left alone, one that is missing
is empty, and one of another kind is a mistake that is told with its place.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.errors import VirtfixError
from fixer.planning.plan import FORMAT
from fixer.report.topology import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK = re.compile(r"[ \t\n\r]*")
_HINT = "give what plan, audit, apply or verify print with --format json, --jsonl or --out"


class Origin(NamedTuple):
    """Where a result comes from: the host that was named for it, '' for none, and the file."""

    host: str
    file: str


class Found(NamedTuple):
    """A finding of a device."""

    code: str
    severity: str
    device: str
    why: str
    evidence: str


class Guest(NamedTuple):
    """The operating system, and what shows that."""

    id: str
    name: str
    interface: str
    how: str
    evidence: tuple[str, ...] = ()
    source: str = ""
    conflicts: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()


class Machine(NamedTuple):
    """Type, family and firmware."""

    type: str
    family: str
    firmware: str


class Changed(NamedTuple):
    """A device that a plan changes."""

    device: str
    mode_before: str
    mode_after: str
    address_before: str
    address_after: str
    listed: bool
    remedy: str
    price: str
    why: str


class Notice(NamedTuple):
    """What guest or owner will notice."""

    code: str
    devices: tuple[str, ...]
    text: str


class Name(NamedTuple):
    """What the guest calls a NIC or disk, before and after."""

    device: str
    kind: str
    before: str
    after: str
    rule: str
    changes: bool


class Planned(NamedTuple):
    """A plan, or why there is none (``error``, with its ``code``)."""

    origin: Origin
    source: str
    name: str
    uuid: str
    status: str
    machine: Machine
    machine_after: Machine
    guest: Guest | None
    findings: tuple[Found, ...]
    unresolved: tuple[Found, ...]
    changes: tuple[Changed, ...]
    consequences: tuple[Notice, ...]
    skips: tuple[tuple[str, str], ...]
    forecast: tuple[Name, ...]
    diff: str
    before: tuple[Node, ...]
    after: tuple[Node, ...]
    code: str = ""
    error: str = ""


class Look(NamedTuple):
    """What an audit saw, by what, and the devices that the guest can not drive there."""

    by: str
    findings: tuple[Found, ...]


class Seen(NamedTuple):
    """A virtio device of an audit."""

    device: str
    kind: str
    now: str
    next: str
    negotiated: str
    qemu: str


class Audited(NamedTuple):
    """How a machine stood."""

    origin: Origin
    uri: str
    name: str
    uuid: str
    state: str
    verdict: str
    reason: str
    guest: Guest | None
    now: Look | None
    next: Look | None
    devices: tuple[Seen, ...]
    notes: tuple[str, ...]


class Applied(NamedTuple):
    """What became of a redefinition."""

    origin: Origin
    uri: str
    name: str
    uuid: str
    status: str
    code: str
    reason: str
    devices: int
    unresolved: int
    pending_restart: bool
    notes: tuple[str, ...]


class Tried(NamedTuple):
    """A device of a copy that was started."""

    device: str
    address: str
    pci_id: str
    io: str
    seen: str
    expected: str
    verdict: str
    why: str


class Verified(NamedTuple):
    """What real QEMU and firmware showed of a copy; ``state`` is before or after, '' where it did not start."""

    origin: Origin
    source: str
    name: str
    uuid: str
    state: str
    guest: str
    passed: bool
    devices: tuple[Tried, ...]
    notes: tuple[str, ...]
    booted: tuple[str, ...]
    error: str


Result = Planned | Audited | Applied | Verified


# --- Text to JSON values -------------------------------------------------------------------------------


def values(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the line and the value of each result: arrays are taken apart, lines of JSON come one by one.

    One value at a time, so that only the small records of them all are kept. Raises VirtfixError.
    """
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise VirtfixError("report.encoding", f"is no text: byte {error.start}", hint=_HINT) from None
    reader = _Reader(text)
    while reader.more():
        if not reader.takes("["):
            yield reader.value()
            continue
        if reader.takes("]"):
            continue
        yield reader.value()
        while reader.takes(","):
            yield reader.value()
        if not reader.takes("]"):
            raise reader.broken("a list breaks off here" if not reader.more() else "',' or ']' is missing")


class _Reader:
    """Walks over JSON text, value by value, and knows the line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._decoder = json.JSONDecoder()

    def more(self) -> bool:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at < len(self._text)

    def takes(self, sign: str) -> bool:
        taken = self.more() and self._text[self._at] == sign
        self._at += taken
        return taken

    def line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def value(self) -> tuple[int, Any]:
        self.more()
        line = self.line()
        try:
            found, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self.broken(error.msg[:1].lower() + error.msg[1:]) from None
        except RecursionError:
            raise self.broken("is nested too deeply") from None
        except ValueError:  # a number of thousands of digits
            raise self.broken("holds a number that is too long") from None
        return line, found

    def broken(self, what: str) -> VirtfixError:
        start = self._text.rfind("\n", 0, self._at) + 1
        place = f"line {self.line()}, column {self._at - start + 1}"
        return VirtfixError("report.json", f"is no JSON: {what}", where=place, hint=_HINT)


# --- JSON values to records ----------------------------------------------------------------------------


class _Box:
    """An object of the JSON, with the path that leads to it."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise VirtfixError("report.form", f"{path or 'a result'} is no JSON object", hint=_HINT)
        self._value: dict[str, Any] = value
        self._path = path

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def _wrong(self, key: str, wanted: str) -> VirtfixError:
        path = f"{self._path}.{key}" if self._path else key
        return VirtfixError("report.form", f"{path} is not {wanted}", hint=_HINT)

    def text(self, key: str) -> str:
        found = self._value.get(key)
        if found is None:
            return ""
        if not isinstance(found, str):
            raise self._wrong(key, "a text")
        return sys.intern(found)  # a fleet says the same sentences thousands of times

    def count(self, key: str) -> int:
        found = self._value.get(key, 0)
        if not isinstance(found, int):
            raise self._wrong(key, "a whole number")
        return found

    def flag(self, key: str) -> bool:
        found = self._value.get(key, False)
        if not isinstance(found, bool):
            raise self._wrong(key, "true or false")
        return found

    def number(self, key: str) -> str:
        """Return a number as it is shown, '' for none."""
        found = self._value.get(key)
        if found is None:
            return ""
        if not isinstance(found, (int, float)):
            raise self._wrong(key, "a number")
        return f"{found:g}" if isinstance(found, float) else str(found)

    def texts(self, key: str) -> tuple[str, ...]:
        found = self._list(key)
        if not all(isinstance(item, str) for item in found):
            raise self._wrong(key, "a list of texts")
        return tuple(map(sys.intern, found))

    def boxes(self, key: str) -> Iterator[_Box]:
        path = f"{self._path}.{key}" if self._path else key
        for number, item in enumerate(self._list(key)):
            yield _Box(item, f"{path}[{number}]")

    def box(self, key: str) -> _Box | None:
        found = self._value.get(key)
        return None if found is None else _Box(found, f"{self._path}.{key}" if self._path else key)

    def inside(self, key: str) -> _Box:
        return self.box(key) or _Box({}, key)

    def _list(self, key: str) -> list[Any]:
        found = self._value.get(key)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self._wrong(key, "a list")
        return found


def read(value: Any, origin: Origin) -> Result:
    """Return the result that a JSON value is. Raises VirtfixError where it is none, with the path inside it."""
    box = _Box(value)
    if "format" in box and "tool" in box:
        return _planned(box, origin)
    if "verdict" in box and "next" in box:
        return _audited(box, origin)
    if "pending_restart" in box and "status" in box:
        return _applied(box, origin)
    if "source" in box and ("passed" in box or "error" in box):
        return _verified(box, origin)
    raise VirtfixError("report.form", "is no result of plan, audit, apply or verify", hint=_HINT)


def _planned(box: _Box, origin: Origin) -> Planned:
    if box.count("format") != FORMAT:
        raise VirtfixError(
            "report.format",
            f"is a plan of format {box.count('format')}, this version reads {FORMAT}",
            hint="make it again with this version",
        )
    domain, machine, error = box.inside("domain"), box.inside("machine"), box.inside("error")
    guest = box.box("guest")
    trees = box.inside("topology")
    summary, place = error.text("summary"), error.text("where")
    return Planned(
        origin,
        box.text("source"),
        domain.text("name"),
        domain.text("uuid"),
        box.text("status"),
        _machine(machine),
        _machine(machine.inside("after")),
        None if guest is None else _guest(guest),
        _findings(box, "findings"),
        _findings(box, "unresolved"),
        tuple(map(_changed, box.boxes("changes"))),
        tuple(
            Notice(one.text("code"), one.texts("devices"), one.text("text"))
            for one in box.boxes("consequences")
        ),
        tuple((one.text("subject"), one.text("reason")) for one in box.boxes("skips")),
        tuple(map(_name, box.boxes("forecast"))),
        box.text("diff"),
        tuple(map(_node, trees.boxes("before"))),
        tuple(map(_node, trees.boxes("after"))),
        error.text("code"),
        f"{place}: {summary}" if place else summary,
    )


def _machine(box: _Box) -> Machine:
    return Machine(box.text("type"), box.text("family"), box.text("firmware"))


def _guest(box: _Box) -> Guest:
    return Guest(
        box.text("id"),
        box.text("name"),
        box.text("interface"),
        box.text("how"),
        box.texts("evidence"),
        box.text("source"),
        box.texts("conflicts"),
        box.texts("builds"),
    )


def _findings(box: _Box, key: str) -> tuple[Found, ...]:
    return tuple(Found(*(one.text(field) for field in Found._fields)) for one in box.boxes(key))


def _changed(box: _Box) -> Changed:
    mode, address = box.inside("mode"), box.inside("address")
    return Changed(
        box.text("device"),
        mode.text("before"),
        mode.text("after"),
        address.text("before"),
        address.text("after"),
        address.flag("listed"),
        box.text("remedy"),
        box.number("price"),
        box.text("why"),
    )


def _name(box: _Box) -> Name:
    text = box.text
    return Name(
        text("device"), text("kind"), text("before"), text("after"), text("rule"), box.flag("changes")
    )


def _node(box: _Box) -> Node:
    # A root bus is 0, a bus number has 8 bits: no tree is deeper, and no picture is drawn for one.
    depth = min(max(box.count("depth"), 0), 256)
    return Node(depth, *(box.text(field) for field in Node._fields[1:]))


def _audited(box: _Box, origin: Origin) -> Audited:
    guest = box.box("guest")
    return Audited(
        origin,
        box.text("uri"),
        box.text("name"),
        box.text("uuid"),
        box.text("state"),
        box.text("verdict"),
        box.text("reason"),
        None if guest is None else _guest(guest),
        _look(box.box("now")),
        _look(box.box("next")),
        tuple(map(_seen, box.boxes("devices"))),
        box.texts("notes"),
    )


def _look(box: _Box | None) -> Look | None:
    return None if box is None else Look(box.text("by"), _findings(box, "findings"))


def _seen(box: _Box) -> Seen:
    qemu = box.inside("qemu")
    shown = (qemu.text("bus"), qemu.text("pci_id"), f"I/O {qemu.text('io')}" if qemu.text("io") else "")
    text = box.text
    told = ", ".join(filter(None, shown))
    return Seen(text("device"), text("kind"), text("now"), text("next"), text("negotiated"), told)


def _applied(box: _Box, origin: Origin) -> Applied:
    return Applied(
        origin,
        box.text("uri"),
        box.text("name"),
        box.text("uuid"),
        box.text("status"),
        box.text("code"),
        box.text("reason"),
        box.count("devices"),
        box.count("unresolved"),
        box.flag("pending_restart"),
        box.texts("notes"),
    )


def _verified(box: _Box, origin: Origin) -> Verified:
    booted, domain = box.box("booted"), box.inside("domain")
    return Verified(
        origin,
        box.text("source"),
        domain.text("name"),
        domain.text("uuid"),
        box.text("state"),
        box.text("guest"),
        box.flag("passed"),
        tuple(map(_tried, box.boxes("devices"))),
        box.texts("notes"),
        () if booted is None else tuple(_booted(booted)),
        box.inside("error").text("summary"),
    )


def _tried(box: _Box) -> Tried:
    return Tried(*(box.text(field) for field in Tried._fields))


def _booted(box: _Box) -> Iterator[str]:
    """Yield a line each for the disks and NICs that a guest found, and for what was wrong."""
    for title, key in (("disks", "disks"), ("NICs", "nics")):
        told = [f"{one.text('name')} = {one.text('device')}" for one in box.boxes(key)]
        yield f"{title}: {', '.join(told) or 'none'}"
    yield from box.texts("problems")
