"""Tree to bytes: the one writer. It replaces byte ranges, so what is not edited stays as it was."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.document import Document, Node

_ATTRIBUTE = re.compile(rb"""(\s+)([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")
_REMARK = re.compile(rb"(?:[ \t]*<!--(?:[^\n-]|-(?!-))*-->)+(?=[ \t]*\r?\n)")
_PLAIN = re.compile(r"[A-Za-z0-9 ._:/-]*")


class Element:
    """New XML as data: an element with its attributes and children or its text, not yet in anybody's style."""

    __slots__ = ("attrs", "children", "name", "text")

    def __init__(
        self, name: str, attrs: dict[str, str], children: tuple[Element, ...] = (), text: str = ""
    ) -> None:
        self.name = name
        self.attrs = attrs
        self.children = children
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Element) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.attrs.items()), self.children, self.text))

    def __repr__(self) -> str:
        return f"Element({self.name!r}, {self.attrs!r}, {self.children!r}, {self.text!r})"

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "attrs": self.attrs,
            "children": [child.to_json() for child in self.children],
            **({"text": self.text} if self.text else {}),
        }


class Splice:
    """Bytes ``start`` to ``end`` of the source give way to ``new``."""

    __slots__ = ("end", "new", "start")

    def __init__(self, start: int, end: int, new: bytes) -> None:
        self.start = start
        self.end = end
        self.new = new


class Writer:
    """Collects changes to one document; ``splices()`` gives them in order, in the document's style."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._attributes: dict[Node, dict[str, str | None]] = {}
        self._children: dict[Node, list[Element]] = {}
        self._removed: list[Node] = []

    def set_attribute(self, node: Node, name: str, value: str | None) -> None:
        self._attributes.setdefault(node, {})[name] = value

    def add_child(self, parent: Node, element: Element) -> None:
        self._children.setdefault(parent, []).append(element)

    def remove(self, node: Node) -> None:
        """Take an element out, with the line that it stands on where nothing else does."""
        self._removed.append(node)

    def splices(self) -> list[Splice]:
        source = self._document.source
        found = [_removal(source, node) for node in self._removed]
        for node, changes in self._attributes.items():
            found += self._attribute_splices(node, changes)
        for parent, elements in self._children.items():
            found.append(self._child_splice(parent, elements))
        found.sort(key=lambda splice: splice.start)
        return found

    def _attribute_splices(self, node: Node, changes: dict[str, str | None]) -> Iterator[Splice]:
        source = self._document.source
        tag_end = node.open_end
        name_end = node.start + 1 + len(node.name.encode("utf-8"))
        last = name_end
        pending = dict(changes)
        for found in _ATTRIBUTE.finditer(source, name_end, tag_end):
            last = found.end()
            name = found[2].decode("utf-8")
            if name not in pending:
                continue
            quote = source[last - 1 : last].decode("ascii")
            value = pending.pop(name)
            if value is None:
                yield Splice(found.start(), found.end(), b"")
            else:
                yield Splice(found.start(3) + 1, found.end(3) - 1, _escape(value, quote))
        if not pending:
            return
        quote = source[last - 1 : last].decode("ascii") if last > name_end else self._quote
        added = b"".join(
            f" {name}={quote}".encode() + _escape(value, quote) + quote.encode("ascii")
            for name, value in pending.items()
            if value is not None
        )
        if added:
            yield Splice(last, last, added)

    def _child_splice(self, parent: Node, elements: list[Element]) -> Splice:
        source = self._document.source
        quote = self._quote
        unit = self._unit()
        if parent.children:
            last = parent.children[-1]
            lead = _lead(source, last)
            at = last.end
            remark = _REMARK.match(source, at)  # a comment on the same line belongs to what it follows
            if remark:
                at = remark.end()
            return Splice(at, at, b"".join(_render(element, lead, unit, quote) for element in elements))
        own = _lead(source, parent)
        lead = own + unit if own else b""
        inner = b"".join(_render(element, lead, unit, quote) for element in elements) + own
        tag_end = parent.open_end
        if parent.empty_tag:
            slash = source.rindex(b"/", parent.start, tag_end)
            before = len(source[parent.start : slash].rstrip()) + parent.start
            return Splice(before, tag_end, b">" + inner + f"</{parent.name}>".encode())
        if source[tag_end : parent.close].strip():  # character data or comments: leave them where they are
            return Splice(parent.close, parent.close, inner[len(own) :] if own else inner)
        return Splice(tag_end, parent.close, inner)

    @cached_property
    def _quote(self) -> str:
        source = self._document.source
        return '"' if source.count(b'="') > source.count(b"='") else "'"

    def _unit(self) -> bytes:
        """What one level of indentation adds, from the first child of the root; b'' on one line."""
        children = self._document.root.children
        lead = _lead(self._document.source, children[0]) if children else b""
        return lead.lstrip(b"\r\n") if lead else b""


def apply_splices(source: bytes, splices: list[Splice]) -> bytes:
    """Return ``source`` with the splices done; they are in order and do not overlap."""
    parts: list[bytes] = []
    at = 0
    for splice in splices:
        assert at <= splice.start <= splice.end, "splices overlap"
        parts += (source[at : splice.start], splice.new)
        at = splice.end
    parts.append(source[at:])
    return b"".join(parts)


def _removal(source: bytes, node: Node) -> Splice:
    """Take the line along that an element stands on, unless a comment stands there too."""
    remark = _REMARK.match(source, node.end)
    if remark is None:
        return Splice(node.start - len(_lead(source, node)), node.end, b"")
    blanks = len(remark[0]) - len(remark[0].lstrip(b" \t"))
    return Splice(node.start, node.end + blanks, b"")


def _lead(source: bytes, node: Node) -> bytes:
    """Line end and indentation before a node, or b'' where something else stands before it."""
    newline = source.rfind(b"\n", 0, node.start)
    if newline < 0 or source[newline + 1 : node.start].strip(b" \t"):
        return b""
    start = newline - 1 if source[newline - 1 : newline] == b"\r" else newline
    return source[start : node.start]


def _render(element: Element, lead: bytes, unit: bytes, quote: str) -> bytes:
    mark = quote.encode("ascii")
    attrs = b"".join(
        b" " + name.encode() + b"=" + mark + _escape(value, quote) + mark
        for name, value in element.attrs.items()
    )
    head = lead + b"<" + element.name.encode() + attrs
    if not element.children:
        if element.text:
            return head + b">" + _escape(element.text, quote) + b"</" + element.name.encode() + b">"
        return head + b"/>"
    inner = b"".join(_render(child, lead + unit if lead else b"", unit, quote) for child in element.children)
    return head + b">" + inner + lead + b"</" + element.name.encode() + b">"


def _escape(value: str, quote: str) -> bytes:
    if _PLAIN.fullmatch(value):
        return value.encode("ascii")
    value = value.replace("&", "&amp;").replace("<", "&lt;")
    value = value.replace(quote, "&quot;" if quote == '"' else "&apos;")
    return value.replace("\n", "&#10;").replace("\t", "&#9;").replace("\r", "&#13;").encode("utf-8")
