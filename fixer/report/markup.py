"""Text to HTML: whatever is not marked as HTML is escaped, so that nobody can forget to."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from fixer.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST = 6000  # a name may have 4 KiB, and a sentence may hold one
_KEPT = 200  # characters of a text that is worth remembering
# Marks that reorder or hide text and that a terminal bears: Arabic letter mark, zero-width characters, tags.
_HIDDEN = re.compile(
    "[\u061c\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


class Markup(str):
    """HTML that is finished."""

    __slots__ = ()


def shown(text: str, limit: int = LONGEST) -> str:
    """Return text in which what would be invisible, or reorder it, is written as an escape."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", printable(text, limit))


def h(value: str, limit: int = LONGEST) -> Markup:
    """Return text as HTML; what is HTML already stays as it is."""
    if isinstance(value, Markup):
        return value
    return _escaped(value, limit) if len(value) < _KEPT else Markup(html.escape(shown(value, limit)))


@lru_cache(maxsize=1 << 15)
def _escaped(value: str, limit: int) -> Markup:
    """Return short text as HTML: a fleet says the same words thousands of times."""
    return Markup(html.escape(shown(value, limit)))


def name(value: str, limit: int = LONGEST) -> Markup:
    """Return a name as HTML that does not turn round what stands beside it, whatever its script."""
    return Markup(f"<bdi>{h(value, limit)}</bdi>")


def join(parts: Iterable[str]) -> Markup:
    return Markup("".join(map(h, parts)))


def tag(kind: str, content: str, **attributes: str) -> Markup:
    """Return an element; ``class_`` stands for class, an underscore for a hyphen, '' for no such attribute."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{h(value)}"' for key, value in attributes.items() if value
    )
    return Markup(f"<{kind}{told}>{h(content)}</{kind}>")


def code(value: str, limit: int = LONGEST) -> Markup:
    return Markup(f"<code>{h(value, limit)}</code>") if value else Markup()


def ident(value: str) -> Markup:
    """Return a short code, which no line end parts."""
    return tag("code", value, class_="id")


def items(values: Iterable[str], **attributes: str) -> Markup:
    """Return a list, '' for an empty one."""
    told = join(Markup(f"<li>{h(value)}</li>") for value in values)
    return tag("ul", told, **attributes) if told else Markup()


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> Markup:
    """Return a table whose first column heads its rows; the last ``numbers`` columns are counts.

    It may be wider than a small screen: then it is scrolled, by the keyboard too.
    """
    count = len(heads) - numbers
    top = join(
        tag("th", head, scope="col", class_="n" if at >= count else "") for at, head in enumerate(heads)
    )
    body = join(_row(row, count) for row in rows)
    inner = (
        f"<table><caption>{h(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )
    return scroll(Markup(inner), caption)


def _row(row: Sequence[str], count: int) -> Markup:
    cells = [f'<th scope="row">{h(row[0])}</th>']
    cells += [
        f'<td class="n">{h(cell)}</td>' if at >= count else f"<td>{h(cell)}</td>"
        for at, cell in enumerate(row[1:], 1)
    ]
    return Markup(f"<tr>{''.join(cells)}</tr>")


def scroll(content: Markup, label: str) -> Markup:
    """Return a region that scrolls by itself, and that the keyboard reaches for that."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)
