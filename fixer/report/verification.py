"""What QEMU and a real guest showed of a domain: a table for people, values for programs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from fixer.domain.guest_report import MODERN
from fixer.domain.observed import Verdict
from fixer.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.guest_report import Found, Thing
    from fixer.domain.observed import Row, Seen, Tried

_RED, _GREEN, _BOLD, _RESET = "\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
_PAINT = {Verdict.PASS: _GREEN, Verdict.FAIL: _RED, Verdict.UNJUDGED: ""}
# A table of 80 columns has no room for more.
_MODES = {"transitional": "trans", "modern-only": "modern", "virtio 1.0": "1.0"}
_HEAD = ("", "device", "at", "PCI id", "I/O", "features", "q0", "mode")
_DEVICE, _SHORTEST = 1, 12  # the column that gives way on a narrow terminal, and how far


def render(tried: Tried, name: str, *, width: int = 80, color: bool = False) -> str:
    """Return a table of one copy, what a guest found in it, and a sentence for each FAIL."""
    seen = tried.seen
    title = f"{printable(name)}, {tried.state}: {printable(tried.guest)}"
    lines = [f"{_BOLD}{title}{_RESET}" if color else title]
    cells = [_HEAD, *map(_cells, seen.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    widths[_DEVICE] = min(
        widths[_DEVICE], max(width - sum(widths) - len(widths) + 1 + widths[_DEVICE], _SHORTEST)
    )
    for number, row in enumerate(cells):
        fitting = (printable(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True))
        line = " ".join(fitting).rstrip()
        paint = _PAINT[seen.rows[number - 1].verdict] if number else ""
        lines.append(f"{paint}{line[:4]}{_RESET}{line[4:]}" if color and paint else line)
    lines += _wrapped(_reasons(seen.rows), width)
    if tried.booted is not None:
        lines += _booted(tried.booted, width)
    lines += _wrapped((f"note: {note}" for note in seen.notes), width)
    return "\n".join(lines) + "\n"


def _reasons(rows: tuple[Row, ...]) -> Iterator[str]:
    """Yield what was wrong, with the devices that it was wrong with."""
    devices: dict[str, list[str]] = {}
    for row in rows:
        if row.why:
            devices.setdefault(row.why, []).append(row.device)
    for why, keys in devices.items():
        yield f"{', '.join(keys)}: {why}"


def _wrapped(texts: Iterator[str], width: int) -> Iterator[str]:
    for text in texts:
        yield from textwrap.wrap(printable(text, 400), width, initial_indent="  ", subsequent_indent="    ")


def _cells(row: Row) -> tuple[str, ...]:
    shake = row.handshake
    answered = shake is not None and not shake.failed
    seen, expected = (_MODES.get(mode, mode) for mode in (row.seen, row.expected))
    mode = seen if seen == expected else f"{seen}, not {expected}"
    return (
        row.verdict.value,
        printable(row.device),
        row.address,
        row.pci_id,
        row.io.removeprefix("0x"),
        f"{shake.features:08x}" if shake is not None and answered else "",
        str(shake.queue) if shake is not None and answered else "",
        mode,
    )


def _booted(found: Found, width: int) -> Iterator[str]:
    yield "A Linux guest with legacy drivers found:"
    for kind, things in (("disks", found.disks), ("NICs", found.nics)):
        told = ", ".join(map(_thing, things)) or "none"
        yield from _wrapped(iter([f"{kind}: {told}"]), width)
    yield from _wrapped(iter(found.problems), width)


def _thing(thing: Thing) -> str:
    mark = ", by virtio 1.0" if thing.interface == MODERN else ""
    return f"{thing.name} = {thing.device} ({thing.address}{mark})"


def values(tried: Tried, name: str) -> dict[str, Any]:
    """Return the same as values for JSON."""
    value: dict[str, Any] = {
        "source": name,
        "domain": {"name": tried.name, "uuid": tried.uuid},
        "state": tried.state,
        "guest": tried.guest,
        "passed": tried.passed,
        "seconds": round(tried.seen.ready, 2),
        "devices": [_row(row) for row in tried.seen.rows],
        "notes": list(tried.seen.notes),
    }
    if tried.booted is not None:
        value["booted"] = {
            "disks": [thing._asdict() for thing in tried.booted.disks],
            "nics": [thing._asdict() for thing in tried.booted.nics],
            "problems": list(tried.booted.problems),
        }
    return value


def _row(row: Row) -> dict[str, Any]:
    shake = row.handshake
    return {
        **row._asdict(),
        "verdict": "unjudged" if row.verdict is Verdict.UNJUDGED else row.verdict.value.lower(),
        "handshake": None if shake is None else {**shake._asdict(), "features": f"{shake.features:#010x}"},
    }


def total(seen: Seen) -> str:
    """Return the counts of one copy, for a last line."""
    counts = {verdict: sum(row.verdict is verdict for row in seen.rows) for verdict in Verdict}
    told = f"{counts[Verdict.PASS]} pass, {counts[Verdict.FAIL]} fail"
    return told + (f", {counts[Verdict.UNJUDGED]} not judged" if counts[Verdict.UNJUDGED] else "")
