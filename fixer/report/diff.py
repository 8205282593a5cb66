"""Unified diff of a plan, made from its byte splices: linear in the size of the domain.

difflib would look for the changes again, in quadratic time; the plan knows where they are.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.redaction import may_hold_secrets, redact
from fixer.domain.writing import apply_splices
from fixer.errors import printable

if TYPE_CHECKING:
    from fixer.domain.writing import Splice
    from fixer.planning.plan import Plan

_CONTEXT = 3
_ESCAPED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_GREEN, _RED, _CYAN, _BOLD, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[1m", "\x1b[0m"


class Region(NamedTuple):
    """Lines ``start`` to ``end`` (0-based, end excluded) of the old text give way to ``new``."""

    start: int
    end: int
    new: list[bytes]


def regions(source: bytes, splices: list[Splice]) -> tuple[list[bytes], list[Region]]:
    """Return the lines of ``source`` and the line ranges that the splices, in order, change."""
    lines = _lines(source)
    ends = list(accumulate(map(len, lines)))
    found: list[Region] = []
    index = 0
    end = len(lines) - 1
    while index < len(splices):
        first = last = min(bisect_right(ends, splices[index].start), end)
        at = ends[first - 1] if first else 0
        text: list[bytes] = []
        while index < len(splices) and (splices[index].start < ends[last] or last == end):
            splice = splices[index]
            text += (source[at : splice.start], splice.new)
            at = splice.end
            last = max(last, min(bisect_left(ends, at), end))
            if at == ends[last] and last < end and not splice.new.endswith(b"\n"):
                last += 1  # the line end is gone: what follows joins this line
            index += 1
        text.append(source[at : ends[last]])
        found += _trim(lines, Region(first, last + 1, _lines(b"".join(text))))
    return lines, found


def _lines(data: bytes) -> list[bytes]:
    """Split at line feeds only, as patch does."""
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _trim(lines: list[bytes], region: Region) -> list[Region]:
    start, end, new = region
    while start < end and new and lines[start] == new[0]:
        start += 1
        new = new[1:]
    while end > start and new and lines[end - 1] == new[-1]:
        end -= 1
        new = new[:-1]
    return [Region(start, end, new)] if new or end > start else []


def unified(plan: Plan, name: str) -> bytes:
    """Return the plan's change as a unified diff that patch takes, b'' where nothing changes.

    A password in a line beside the change gives way to a mark, and patch will not find that line.
    """
    if not plan.splices:
        return b""
    source = plan.domain.document.source
    lines, found = regions(source, plan.splices)
    # What a secret is known by stands on one line, and each line of the result is an old or a changed one.
    changed = b"".join(line for region in found for line in region.new)
    if may_hold_secrets((source + changed).decode("utf-8")):
        lines, found = _without_secrets(source, apply_splices(source, plan.splices), found)
    title = printable(name).encode()
    if b" " in title:
        title += b"\t"  # GNU patch ends a name at the first blank otherwise
    out = [b"--- " + title + b"\n", b"+++ " + title + b"\n"]
    shift = 0
    for group in _groups(found):
        shift = _hunk(out, lines, group, shift)
    return b"".join(out)


def _without_secrets(old: bytes, new: bytes, found: list[Region]) -> tuple[list[bytes], list[Region]]:
    """Return the lines and regions as they may be shown: a secret is seen in the whole text, not in a hunk of it."""
    after = _lines(redact(new.decode("utf-8")).encode())
    marked, shift = [], 0
    for region in found:
        at = region.start + shift
        marked.append(region._replace(new=after[at : at + len(region.new)]))
        shift += len(region.new) - (region.end - region.start)
    return _lines(redact(old.decode("utf-8")).encode()), marked


def _groups(found: list[Region]) -> list[list[Region]]:
    groups: list[list[Region]] = []
    for region in found:
        if groups and region.start - groups[-1][-1].end <= 2 * _CONTEXT:
            groups[-1].append(region)
        else:
            groups.append([region])
    return groups


def _hunk(out: list[bytes], lines: list[bytes], group: list[Region], shift: int) -> int:
    start = max(group[0].start - _CONTEXT, 0)
    end = min(group[-1].end + _CONTEXT, len(lines))
    grown = sum(len(region.new) - (region.end - region.start) for region in group)
    old, new = end - start, end - start + grown
    out.append(b"@@ -%s +%s @@\n" % (_range(start, old), _range(start + shift, new)))
    at = start
    for region in group:
        out += [b" " + line for line in lines[at : region.start]]
        out += _side(b"-", lines[region.start : region.end])
        out += _side(b"+", region.new)
        at = region.end
    out += _side(b" ", lines[at:end])
    return shift + grown


def _side(sign: bytes, lines: list[bytes]) -> list[bytes]:
    """Mark lines with a sign; the last one of a file may lack its line end, which diff says."""
    marked = [sign + line for line in lines]
    if marked and not marked[-1].endswith(b"\n"):
        marked[-1] += b"\n\\ No newline at end of file\n"
    return marked


def _range(start: int, length: int) -> bytes:
    first = start + 1 if length else start
    return b"%d" % first if length == 1 else b"%d,%d" % (first, length)


def for_terminal(diff: bytes, *, color: bool) -> str:
    """Return a diff that is safe to show: control and reordering characters escaped, coloured if wanted."""
    text = diff.decode("utf-8").replace("\r\n", "\n")
    text = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if not color:
        return text
    lines = text.splitlines(keepends=True)
    head = (f"{_BOLD}{line.removesuffix(_NEWLINE)}{_RESET}{_NEWLINE}" for line in lines[:2])
    return "".join(head) + "".join(map(_paint, lines[2:]))


_NEWLINE = "\n"
_TINTS = {"@": _CYAN, "+": _GREEN, "-": _RED}


def _paint(line: str) -> str:
    tint = _TINTS.get(line[:1])
    return line if tint is None else f"{tint}{line.removesuffix(_NEWLINE)}{_RESET}{_NEWLINE}"
