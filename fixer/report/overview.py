"""The report over many hosts in a few lines for a terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fixer.report.gathered import FAILED
from fixer.report.markup import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixer.report.gathered import Gathered

_SHOWN = 10  # hosts, systems and codes, those with the most that is wrong first


def render(gathered: Gathered) -> Iterator[str]:
    """Yield the lines."""
    entries = gathered.entries
    hosts = {host for entry in entries for host in entry.hosts}
    yield f"{_count(len(entries), 'domain')} on {_count(len(hosts), 'named host')}"
    for standing, count in gathered.standings().items():
        yield f"  {count:>6}  {standing.value}"
    wrong = [entry for entry in entries if entry.standing in FAILED]
    yield from _block("by operating system", (entry.os or "unknown" for entry in wrong))
    yield from _block("by finding", (code for entry in wrong for code in entry.codes))
    yield from _block("by host", (host for entry in wrong for host in entry.hosts))


def _block(title: str, words: Iterable[str]) -> Iterator[str]:
    counts = Counter(words)
    if not counts:
        return
    yield f"wrong, {title}"
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    for word, count in ranked[:_SHOWN]:
        yield f"  {count:>6}  {shown(word, 70)}"
    if len(ranked) > _SHOWN:
        yield f"          and {len(ranked) - _SHOWN} more"


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"
