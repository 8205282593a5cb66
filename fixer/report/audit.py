"""How machines stand: a page for people, values for programs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from fixer.domain.devices import short_address
from fixer.errors import printable
from fixer.planning.audit import WRONG, Verdict
from fixer.planning.codec import encode_finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fixer.findings import Code
    from fixer.planning.audit import Audit, Look, Row

_COMPACT_FROM = 10  # more domains than this are shown by one line each


class Page:
    """Lays out what a person reads: a line a machine, and what is wrong below it where they are few."""

    _VERDICT, _STATE, _GUEST = 20, 7, 16
    _GAPS, _SHOWN = 6, 49  # columns between those, and those of the table of devices without their names
    _LEAST = 8  # columns of a name, however narrow the terminal is

    def __init__(self, names: Sequence[str], *, width: int, color: bool, uris: int = 1) -> None:
        self._width, self._color = width, color
        most = max(self._width - self._VERDICT - self._STATE - self._GUEST - self._GAPS, self._LEAST)
        self._name = min(max(len(printable(name)) for name in (*names, "domain")), most)
        self._compact = len(names) > _COMPACT_FROM
        self._uri = "" if uris > 1 else None  # the connection that is being told of, where there are several

    def lines(self, audit: Audit, *, first: bool) -> Iterator[str]:
        """Yield the lines of one machine, below the heads of the columns where it is the first."""
        if first:
            yield self._row("verdict", "state", "domain", "guest")
        if self._uri is not None and self._uri != audit.uri:
            self._uri = audit.uri
            yield f"{printable(audit.uri)}:"
        guest = audit.guest
        name = "" if guest is None else guest.name if guest.how in {"assumed", "unknown"} else guest.id
        row = self._row(audit.verdict.value, audit.state, audit.name, name)
        yield self._paint(row, audit.verdict)
        yield from self._wrapped(audit.reason, "  ")
        if self._compact:
            return
        yield from self._table(audit)
        yield from self._findings(audit)
        for note in audit.notes:
            yield from self._wrapped(note, "  ")

    def _row(self, verdict: str, state: str, name: str, guest: str) -> str:
        cut = printable(name, self._name)
        used = self._VERDICT + self._STATE + self._name + self._GAPS
        told = printable(guest, max(self._width - used, 1))
        return f"{verdict:<{self._VERDICT}}  {state:<{self._STATE}}  {cut:<{self._name}}  {told}".rstrip()

    def _table(self, audit: Audit) -> Iterator[str]:
        """Yield a line for each device that QEMU shows; those that the guest can not drive have a mark."""
        shown = [row for row in audit.rows if row.qemu is not None]
        if not shown or audit.now is None:
            return
        wrong = {finding.device for finding in audit.now.findings}
        most = max(self._width - self._SHOWN, self._LEAST)
        wide = min(max(len("device"), *(len(printable(row.device)) for row in shown)), most)
        yield f"  {'device':<{wide}}  {'bus':<8}  {'PCI id':<9}  disable-legacy  I/O BAR"
        for row in shown:
            device = row.qemu
            assert device is not None
            mark = "! " if row.device in wrong else "  "
            yield (
                f"{mark}{printable(row.device, wide):<{wide}}  {printable(device.bus, 8):<8}  "
                f"{device.pci_id:<9}  {device.disable_legacy or '-':<14}  {device.io}"
            )

    def _findings(self, audit: Audit) -> Iterator[str]:
        now, after = _by_code(audit.now), _by_code(audit.next)
        if now and now == after:
            yield from self._group("now and after the next start", now)
            return
        yield from self._group("now", now)
        yield from self._group("after the next start", after)

    def _group(self, when: str, found: Mapping[Code, list[str]]) -> Iterator[str]:
        for code, devices in found.items():
            # A key is one word to textwrap, whatever stands in it.
            names = ", ".join(printable(name, 200).replace(" ", "\xa0") for name in devices)
            for line in self._wrapped(f"{when}: {code.value} {names}", "  "):
                yield line.replace("\xa0", " ")

    def _wrapped(self, text: str, indent: str) -> list[str]:
        return textwrap.wrap(
            printable(text, 2000),
            self._width,
            initial_indent=indent,
            subsequent_indent=indent * 2,
            break_on_hyphens=False,
        )

    def _paint(self, text: str, verdict: Verdict) -> str:
        if not self._color:
            return text
        red = verdict in WRONG or verdict is Verdict.ERROR
        return f"\x1b[{31 if red else 32}m{text}\x1b[0m"


def _by_code(look: Look | None) -> dict[Code, list[str]]:
    found: dict[Code, list[str]] = {}
    for finding in look.findings if look is not None else ():
        found.setdefault(finding.code, []).append(finding.device)
    return found


def values(audit: Audit) -> dict[str, Any]:
    """Return an audit as values for JSON."""
    guest = audit.guest
    return {
        "uri": audit.uri,
        "uuid": audit.uuid,
        "name": audit.name,
        "state": audit.state,
        "verdict": audit.verdict.value,
        "reason": audit.reason,
        "guest": guest
        and {"id": guest.id, "name": guest.name, "interface": guest.interface, "how": guest.how},
        "now": _look_json(audit.now),
        "next": _look_json(audit.next),
        "devices": [_row_json(row) for row in audit.rows],
        "notes": list(audit.notes),
    }


def _look_json(look: Look | None) -> dict[str, Any] | None:
    if look is None:
        return None
    findings = [encode_finding(finding) for finding in look.findings]
    return {"by": look.by, "findings": findings}


def _row_json(row: Row) -> dict[str, Any]:
    device = row.qemu
    shown = device and {
        "id": device.id,
        "type": device.type,
        "bus": device.bus,
        "bus_type": device.bus_type,
        "address": short_address(device.function.address),
        "pci_id": device.pci_id,
        "io": device.io,
        "disable_legacy": device.disable_legacy,
        "disable_modern": device.disable_modern,
        "rule": device.ruled.value,
    }
    return row._asdict() | {"qemu": shown}


def summary(done: list[Audit]) -> str:
    """Return the counts of all machines, and how those that run were looked at."""
    counts = [(verdict.value, sum(audit.verdict is verdict for audit in done)) for verdict in Verdict]
    told = ", ".join(f"{count} {word}" for word, count in counts if count)
    lines = [f"{len(done)} machine{'s' * (len(done) != 1)}" + (f": {told}" if told else "")]
    if any(audit.now is not None and audit.now.by == "live XML" for audit in done):
        lines.append(
            "running ones were judged by their live XML and QEMU's rule; --monitor asks QEMU itself, which taints them"
        )
    return "".join(f"virtfix: {line}\n" for line in lines)
