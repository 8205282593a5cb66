"""A plan for a person: who the guest is, what changes, what it costs, what is left."""

from __future__ import annotations

import textwrap
from io import StringIO
from typing import TYPE_CHECKING

from fixer.errors import printable
from fixer.planning.codec import status
from fixer.report import diff

if TYPE_CHECKING:
    from rich.console import Console

    from fixer.findings import Finding
    from fixer.planning.plan import Change, Plan

REMEDY_TITLES = {
    "integrated": "Onto pcie.0, as integrated endpoints",
    "bridge": "Behind a conventional PCI bridge",
    "transitional": "model='virtio-transitional' on a conventional slot",
    "override": "By qemu:override, where they sit",
}
_INTERFACES = {
    "legacy": "legacy virtio only",
    "modern": "virtio 1.0",
    "depends": "virtio 1.0 only with newer drivers: planned as legacy, which is right under both",
}


def render(plan: Plan, name: str, *, width: int = 80, color: bool = False, explain: bool = False) -> str:
    """Return the report of one plan, diff included, at most ``width`` columns wide but for the diff."""
    from rich.console import Console  # noqa: PLC0415 - 45 ms of import that other formats do without

    out = StringIO()
    console = Console(
        file=out,
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        highlight=False,
    )
    _head(console, plan, name)
    if plan.changes:
        _tables(console, plan.changes)
    if explain:
        _offers(console, plan.changes)
    _list(console, "Consequences", [_with_devices(item.text, item.devices) for item in plan.consequences])
    _list(console, "Unresolved", [_finding(finding) for finding in plan.unresolved])
    for skip in plan.skips:
        console.print(f"  skipped: {skip.subject}: {skip.reason}", markup=False)
    report = _tidy(out.getvalue())
    if not plan.pending:
        return report
    return report + "\n" + diff.for_terminal(diff.unified(plan, name), color=color)


def _tidy(text: str) -> str:
    """Drop the blanks with which rich fills a line."""
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def _head(console: Console, plan: Plan, name: str) -> None:
    domain, guest = plan.domain, plan.guest
    console.print(f"[bold]{_plain(name)}[/bold]: {_plain(domain.name) or 'domain without a name'}")
    evidence = "; ".join(guest.evidence)
    interface = _INTERFACES.get(guest.interface, "")
    about = ", ".join(part for part in (guest.name or guest.id or "not asked for", interface) if part)
    _row(console, "guest", about)
    if evidence:
        _row(console, "known by", evidence)
    kind = "UEFI" if domain.firmware.kind == "uefi" else "BIOS"
    _row(console, "machine", f"{domain.machine.name or 'the default'}, {kind} ({domain.firmware.how})")
    _row(console, "result", _summary(plan))


def _row(console: Console, label: str, text: str) -> None:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=9, style="dim")
    grid.add_column()
    grid.add_row(label, _plain(text))
    console.print(Padding(grid, (0, 0, 0, 2)))


def _summary(plan: Plan) -> str:
    parts = []
    if plan.changes:
        parts.append(f"{len(plan.changes)} device{'s' * (len(plan.changes) != 1)} to change")
    if plan.unresolved:
        parts.append(f"{len(plan.unresolved)} unresolved")
    return ", ".join(parts) or "nothing to do"


def _tables(console: Console, changes: tuple[Change, ...]) -> None:
    """Print one table a remedy, with the same columns, so that a line fits in 80 columns."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    longest = max(len(printable(change.device)) for change in changes)
    for remedy in dict.fromkeys(change.remedy for change in changes):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
        table.title = f"[bold]{REMEDY_TITLES[remedy]}[/bold]"
        table.add_column("Device", overflow="fold", min_width=min(longest, 30))
        table.add_column("Mode", min_width=len("modern-only -> transitional"))
        table.add_column("Address", no_wrap=True)
        for change in changes:
            if change.remedy == remedy:
                table.add_row(_plain(change.device), _modes(change), _addresses(change))
        console.print(table)


def _modes(change: Change) -> str:
    before, after = change.mode_before, change.mode_after
    return after if before == after else f"[red]{before}[/red] -> [green]{after}[/green]"


def _addresses(change: Change) -> str:
    before = change.address_before if change.listed else f"({change.address_before})"
    if change.address_before == change.address_after:
        return before
    return f"{before} -> {change.address_after}"


def _offers(console: Console, changes: tuple[Change, ...]) -> None:
    rows = []
    for change in changes:
        rows.append(f"{change.device}: {change.remedy} chosen, price {change.price}")
        rows += [
            f"  {offer.remedy}: "
            + (f"not feasible, {offer.refusal}" if offer.refusal else f"price {offer.price}")
            for offer in change.others
        ]
    _list(console, "Why, and the other remedies", rows)


def _list(console: Console, title: str, items: list[str]) -> None:
    if not items:
        return
    from rich.text import Text  # noqa: PLC0415

    console.print(f"\n[bold]{title}[/bold]")
    for item in items:
        indent = " " * (2 + len(item) - len(item.lstrip()))
        text = textwrap.fill(
            printable(item.strip(), 1000),
            console.width,
            initial_indent=f"{indent}- ",
            subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
        )
        console.print(Text(text), soft_wrap=True)


def _with_devices(text: str, devices: tuple[str, ...]) -> str:
    if not devices:
        return text
    shown = ", ".join(devices[:4]) + (f" and {len(devices) - 4} more" if len(devices) > 4 else "")
    return f"{shown}: {text}"


def _finding(finding: Finding) -> str:
    return f"{finding.code.value} {finding.device} ({finding.severity.value}): {finding.why}"


def _plain(text: str) -> str:
    """Escape what a terminal or rich's markup would act on."""
    return printable(text, 400).replace("[", "\\[")


def line(plan: Plan, name: str) -> str:
    """Return one line for one plan of many: status, file, domain, guest, counts."""
    counts = f"{len(plan.changes)} to change, {len(plan.unresolved)} unresolved"
    guest = plan.guest.id or "guest not asked for"
    return f"{status(plan):<10}  {printable(name)}  {printable(plan.domain.name, 60)}  {printable(guest, 40)}  {counts}\n"
