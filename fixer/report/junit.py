"""The report as JUnit XML, as continuous integration shows it: a suite a host, a test case a domain."""

from __future__ import annotations

import html
from collections import Counter
from typing import TYPE_CHECKING

from fixer.report.gathered import FAILED, Standing
from fixer.report.markup import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.report.gathered import Entry, Gathered

_MOST = 50  # findings of one domain that are told


def render(gathered: Gathered) -> Iterator[str]:
    """Yield the document, part by part."""
    suites: dict[str, list[Entry]] = {}
    for entry in gathered.entries:
        suites.setdefault(entry.host or "no host named", []).append(entry)
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="virtfix"{_counts(gathered.entries)}>\n'
    for host in sorted(suites):
        yield f'  <testsuite name="{_text(host)}"{_counts(suites[host])}>\n'
        labels = Counter(entry.label for entry in suites[host])
        for entry in suites[host]:
            twice = labels[entry.label] > 1
            yield from _case(
                entry, host, f"{entry.label} ({entry.uuid or entry.source})" if twice else entry.label
            )
        yield "  </testsuite>\n"
    yield "</testsuites>\n"


def _text(value: str) -> str:
    return html.escape(shown(value))


def _counts(entries: list[Entry]) -> str:
    failures = sum(entry.standing in FAILED for entry in entries)
    errors = sum(entry.standing is Standing.ERROR for entry in entries)
    skipped = sum(entry.standing is Standing.NOT_JUDGED for entry in entries)
    return f' tests="{len(entries)}" failures="{failures}" errors="{errors}" skipped="{skipped}"'


def _case(entry: Entry, host: str, label: str) -> Iterator[str]:
    head = f'    <testcase classname="{_text(host)}" name="{_text(label)}"'
    kind = {Standing.ERROR: "error", Standing.NOT_JUDGED: "skipped"}.get(entry.standing, "failure")
    if entry.standing is Standing.RIGHT:
        yield f"{head}/>\n"
        return
    reasons = list(dict.fromkeys(_reasons(entry)))
    first = reasons[0] if reasons else entry.standing.value
    message = first if kind == "skipped" else f"{entry.standing.value}: {first}"
    yield f'{head}>\n      <{kind} message="{_text(message)}"'
    if kind == "skipped":
        yield "/>\n    </testcase>\n"
        return
    yield f' type="{entry.standing.value}">'
    yield "\n".join(map(_text, reasons[:_MOST]))
    yield f"</{kind}>\n    </testcase>\n"


def _reasons(entry: Entry) -> Iterator[str]:
    """Yield what is wrong, or why it was not looked at."""
    for audit in entry.audits:
        if audit.reason:
            yield audit.reason
    for plan in entry.plans:
        if plan.error:
            yield plan.error
        yield from (reason for subject, reason in plan.skips if subject == "domain")
        yield from (f"{one.code} {one.device}: {one.why}" for one in plan.unresolved)
    for done in entry.applied:
        if done.reason:
            yield done.reason
    for tried in entry.verified:
        if tried.error:
            yield tried.error
        yield from (
            f"{tried.state}, {one.device}: {one.why}" for one in tried.devices if one.verdict == "fail"
        )
    for found in entry.findings():
        yield f"{found.code} {found.device}: {found.why}"
