"""The report as a table for spreadsheets: a row a domain, RFC 4180."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from fixer.report.markup import LONGEST, shown

if TYPE_CHECKING:
    from fixer.report.gathered import Entry, Gathered
    from fixer.report.results import Found

HEADS = (
    "host",
    "domain",
    "uuid",
    "source",
    "stands",
    "os",
    "os_name",
    "interface",
    "machine",
    "machine_after",
    "state",
    "audit",
    "plan",
    "devices_to_change",
    "apply",
    "apply_code",
    "pending_restart",
    "verify_before",
    "verify_after",
    "findings",
    "unresolved",
    "reason",
)
# Signs that make a spreadsheet take a cell for a formula (OWASP, CSV injection), full-width ones among them.
_FORMULA = tuple("=+-@\t\r＝＋－＠")


def render(gathered: Gathered) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADS)
    writer.writerows(map(_row, gathered.entries))
    return out.getvalue()


def guarded(text: str) -> str:
    """Return text that no spreadsheet computes: such a cell gets an apostrophe."""
    told = shown(text, LONGEST)
    return f"'{told}" if text.lstrip(" ").startswith(_FORMULA) else told


def _row(entry: Entry) -> list[str]:
    guest = entry.guest
    plan = entry.plans[-1] if entry.plans else None
    audit = entry.audits[-1] if entry.audits else None
    done = entry.applied[-1] if entry.applied else None
    tried = {one.state: "error" if one.error else "pass" if one.passed else "fail" for one in entry.verified}
    reasons = [audit.reason if audit else "", plan.error if plan else "", done.reason if done else ""]
    cells = [
        entry.host,
        entry.label,
        entry.uuid,
        entry.source,
        entry.standing.value,
        guest.id if guest else "",
        guest.name if guest else "",
        guest.interface if guest else "",
        plan.machine.type if plan else "",
        plan.machine_after.type if plan else "",
        audit.state if audit else "",
        audit.verdict if audit else "",
        plan.status if plan else "",
        str(len(plan.changes)) if plan else "",
        done.status if done else "",
        done.code if done else "",
        ("yes" if done.pending_restart else "no") if done else "",
        tried.get("before", ""),
        tried.get("after", tried.get("", "")),
        " ".join(entry.codes),
        _told(plan.unresolved) if plan else "",
        "; ".join(filter(None, reasons)),
    ]
    return list(map(guarded, cells))


def _told(findings: tuple[Found, ...]) -> str:
    return "; ".join(f"{found.code} {found.device}" for found in findings)
