"""A plan for a person: who the guest is, what changes, what it costs, what is left."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from fixer.conversion import REMEDY, TITLE
from fixer.errors import printable
from fixer.planning.codec import status
from fixer.remedies import load_remedies
from fixer.report import diff
from fixer.report.facts import INTERFACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixer.conversion.forecast import Name
    from fixer.domain.model import Domain
    from fixer.findings import Finding
    from fixer.planning.plan import Change, Consequence, Plan

_BOLD, _DIM, _RED, _GREEN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
_LABEL = 10  # columns of the labels of the head


def render(plan: Plan, name: str, *, width: int = 80, color: bool = False, explain: bool = False) -> str:
    """Return the report of one plan, diff included, at most ``width`` columns wide but for names and the diff."""
    page = _Page(width, color=color)
    lines = [*page.head(plan, name), *page.tables(plan.changes)]
    lines += page.items("Why", _reasons(plan.changes))
    if explain:
        lines += page.items("Why, and the other remedies", _offers(plan.changes))
    lines += page.items("Consequences", map(_consequence, plan.consequences))
    lines += page.items("What the guest calls them", _names(plan.forecast))
    lines += page.items("Unresolved", map(_finding, plan.unresolved))
    lines += page.items("Skipped", (f"{skip.subject}: {skip.reason}" for skip in plan.skips))
    report = "\n".join(lines) + "\n"
    if not plan.pending:
        return report
    return report + "\n" + diff.for_terminal(diff.unified(plan, name), color=color)


def line(plan: Plan, name: str) -> str:
    """Return one line for one plan of many: status, file, domain, guest, counts."""
    what = plan.subject if plan.subject and not plan.changes else len(plan.changes)
    counts = f"{what} to change, {len(plan.unresolved)} unresolved"
    told = "; ".join(f"skipped: {skip.reason}" for skip in plan.skips) or counts
    guest = plan.guest.name if plan.guest.how in {"assumed", "unknown"} else plan.guest.id
    title = printable(plan.domain.name, 60) or "-"
    return f"{status(plan):<10}  {printable(name)}  {title}  {printable(guest, 40) or '-'}  {told}\n"


class _Page:
    """Lays out lines: a width to wrap at, and colour or none."""

    def __init__(self, width: int, *, color: bool) -> None:
        self._width = width
        self._color = color

    def head(self, plan: Plan, name: str) -> Iterator[str]:
        domain, guest = plan.domain, plan.guest
        title = printable(domain.name) or "domain without a name"
        yield f"{self._paint(printable(name), _BOLD)}: {title}"
        interface = INTERFACES.get(guest.interface, "")
        yield from self._row(
            "guest", ", ".join(filter(None, (guest.name or guest.id or "not asked for", interface)))
        )
        yield from self._row("known by", "; ".join(guest.evidence))
        yield from self._row("machine", f"{_machine(domain)} ({domain.firmware.how})")
        if _machine(plan.after) != _machine(domain):
            yield from self._row("becomes", _machine(plan.after))
        yield from self._row("result", _summary(plan))

    def _row(self, label: str, text: str) -> Iterator[str]:
        if text:
            first, *rest = self._wrapped(text, " " * (2 + _LABEL))
            yield f"  {self._paint(label.ljust(_LABEL), _DIM)}{first.strip()}"
            yield from rest

    def tables(self, changes: tuple[Change, ...]) -> Iterator[str]:
        """Yield a table a remedy, all with the same columns; two lines a device where they do not fit."""
        titles = {name: remedy.TITLE for name, remedy in load_remedies().items()} | {REMEDY: TITLE}
        device = max((len(printable(change.device)) for change in changes), default=0)
        mode = max((len(_modes(change)) for change in changes), default=0)
        address = max((len(_addresses(change)) for change in changes), default=0)
        for remedy in dict.fromkeys(change.remedy for change in changes):
            yield ""
            yield self._paint(titles[remedy], _BOLD)
            wide = 2 + device + 2 + mode + 2 + address <= self._width
            if wide:
                yield self._paint(f"  {'Device':<{device}}  {'Mode':<{mode}}  Address", _DIM)
            for change in changes:
                if change.remedy == remedy:
                    name, rest = (
                        printable(change.device),
                        f"{self._modes(change, mode)}  {_addresses(change)}",
                    )
                    rows = [f"  {name:<{device}}  {rest}"] if wide else [f"  {name}", f"    {rest}"]
                    yield from (row.rstrip() for row in rows)

    def _modes(self, change: Change, width: int) -> str:
        blank = " " * (width - len(_modes(change)))
        before, after = change.mode_before, change.mode_after
        if before == after or not before:
            return after + blank
        return f"{self._paint(before, _RED)} -> {self._paint(after, _GREEN)}{blank}"

    def items(self, title: str, items: Iterable[str]) -> Iterator[str]:
        first = True
        for item in items:
            if first:
                yield from ("", self._paint(title, _BOLD))
                first = False
            indent = " " * (2 + len(item) - len(item.lstrip()))
            head, *rest = self._wrapped(item.strip(), indent + "  ")
            yield f"{indent}- {head.strip()}"
            yield from rest

    def _wrapped(self, text: str, indent: str) -> list[str]:
        return textwrap.wrap(
            printable(text, 2000),
            self._width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [""]

    def _paint(self, text: str, tint: str) -> str:
        return f"{tint}{text}{_RESET}" if self._color else text


def _summary(plan: Plan) -> str:
    parts = [f"{plan.subject} to change"] if plan.subject else []
    if plan.unresolved:
        parts.append(f"{len(plan.unresolved)} unresolved")
    return ", ".join(parts) or "nothing to do"


def _machine(domain: Domain) -> str:
    firmware = "UEFI" if domain.firmware.kind == "uefi" else "BIOS"
    return f"{domain.machine.name or 'the default'}, {firmware}"


def _modes(change: Change) -> str:
    before, after = change.mode_before, change.mode_after
    return after if before == after else " -> ".join(filter(None, (before, after)))


def _addresses(change: Change) -> str:
    before = change.address_before if change.listed else f"({change.address_before})"
    if change.address_before == change.address_after:
        return before
    return " -> ".join(filter(None, (before, change.address_after)))


def _reasons(changes: tuple[Change, ...]) -> Iterator[str]:
    """Yield why a conversion changes devices, each reason once."""
    devices: dict[str, list[str]] = {}
    for change in changes:
        if change.remedy == REMEDY:
            devices.setdefault(change.why, []).append(change.device)
    for why, keys in devices.items():
        yield f"{why}: {_listed(tuple(keys))}"


def _listed(keys: tuple[str, ...]) -> str:
    more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
    return ", ".join(keys[:4]) + more


def _offers(changes: tuple[Change, ...]) -> Iterator[str]:
    for change in changes:
        if change.remedy == REMEDY:
            continue
        yield f"{change.device}: {change.remedy} chosen, price {change.price}"
        for offer in change.others:
            told = f"not feasible, {offer.refusal}" if offer.refusal else f"price {offer.price}"
            yield f"  {offer.remedy}: {told}"


def _consequence(item: Consequence) -> str:
    if not item.devices:
        return item.text
    return f"{item.text}: {_listed(item.devices)}"


def _names(names: tuple[Name, ...]) -> Iterator[str]:
    for name in names:
        if name.changes:
            told = f" ({_RULES[name.rule]})" if name.rule in _RULES else ""
            yield f"{name.device}: {name.before} -> {name.after}{told}"
    same = sum(not name.changes for name in names)
    if same:
        yield f"{same} NICs and disks as before" if same > 1 else "1 NIC or disk as before"


_RULES = {
    "systemd-path": "systemd names it by its place; --fixups writes what keeps the old name",
    "kernel-order": "the kernel counts",
    "content-bound": "harmless where fstab says UUID=, LABEL= or LVM",
    "windows-signature": "Windows knows the disk by its signature",
}


def _finding(finding: Finding) -> str:
    return f"{finding.code.value} {finding.device} ({finding.severity.value}): {finding.why}"
