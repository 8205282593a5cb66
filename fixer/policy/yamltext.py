"""Reads the small, harmless part of YAML that policies need, and keeps the place of everything.

The parser's events are taken one by one: no object is built from a tag, no alias is followed, and depth
and number of nodes are counted while reading, so that a hostile file costs what its limits say and no
more. Scalars stay text: what a scalar means is the schema's to say, hence ``since: 6.10`` is not 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from fixer.errors import VirtfixError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 2_000_000
MAX_NODES = 100_000
MAX_DEPTH = 12  # the deepest key of the format sits at 6

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it
_BOOLEANS = {"yes": "yes", "true": "yes", "on": "yes", "no": "no", "false": "no", "off": "no"}


class Node:
    """A scalar (``str``), sequence (``list``) or mapping (``dict``) with its marks.

    ``plain`` tells an unquoted scalar from a quoted one; ``key`` is the mark of the key that holds the
    node, where a mapping does.
    """

    __slots__ = ("key", "mark", "plain", "value")

    def __init__(self, value: str | list[Node] | dict[str, Node], mark: Any, *, plain: bool = False) -> None:
        self.value = value
        self.mark = mark
        self.plain = plain
        self.key = mark

    @property
    def line(self) -> int:
        """Return the 1-based line of the node."""
        return int(self.mark.line) + 1

    @property
    def text(self) -> str:
        """Return the scalar's text, booleans written as yes and no."""
        value = self.value
        if not isinstance(value, str):
            return ""
        return _BOOLEANS.get(value.lower(), value) if self.plain else value

    @property
    def items(self) -> list[Node]:
        """Return the members of a sequence; empty for anything else."""
        return self.value if isinstance(self.value, list) else []

    @property
    def keys(self) -> dict[str, Node]:
        """Return the members of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}


def place(name: str, mark: Any) -> str:
    """Return ``FILE:LINE:COLUMN``, counted from 1."""
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


def read(name: str, data: bytes) -> Node:
    """Parse one file into nodes.

    Raises VirtfixError ``policy-syntax`` for what is too large, not UTF-8, not YAML, or uses more of
    YAML than policies need (tags, anchors, aliases, several documents, deep nesting).
    """
    if len(data) > MAX_BYTES:
        raise _syntax(name, f"the file has more than {MAX_BYTES} bytes, the most that a policy has")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "save the file as UTF-8"
        raise _syntax(f"{name}:{line}", f"byte 0x{data[error.start]:02x} is not UTF-8", hint) from None
    try:
        return _Builder(name).build(_LOADER(text).get_event)
    except yaml.YAMLError as error:
        raise _not_yaml(name, text, error) from None


class _Builder:
    """Stacks nodes as the events come: a loop, not a recursion, so depth cannot exhaust the stack."""

    __slots__ = ("count", "name", "open", "root")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.root: Node | None = None
        self.open: list[Node] = []  # the open collections, innermost last

    def build(self, next_event: Callable[[], Any]) -> Node:
        """Return the root; the branches stand in the order of how often they are taken."""
        stack = self.open
        key: Any = None  # the key that waits for its value
        while True:
            event = next_event()
            kind = type(event)
            if kind is ScalarEvent:
                if key is None and stack and type(stack[-1].value) is dict:
                    key = self.vet_key(event, stack[-1].value)
                    continue
                self.add(event, key, Node(event.value, event.start_mark, plain=not event.style))
                key = None
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                stack.pop()
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if len(stack) >= MAX_DEPTH:
                    raise self.refuse(event, f"nesting deeper than {MAX_DEPTH}", "")
                node = Node({} if kind is MappingStartEvent else [], event.start_mark)
                self.add(event, key, node)
                stack.append(node)
                key = None
            elif kind is AliasEvent:
                raise self.refuse(event, f'the alias "*{event.anchor}"', "write the value out")
            elif kind is DocumentStartEvent and self.root is not None:
                raise self.refuse(event, "a second document", "give each document a file")
            elif kind is StreamEndEvent:
                break
        if self.root is None:
            raise _syntax(self.name, "the file is empty", "a policy begins with format: 1 and kind: guests")
        return self.root

    def add(self, event: Any, key: Any, node: Node) -> None:
        """Put a node into the innermost open collection."""
        self.count += 1
        if event.tag is not None or event.anchor is not None or self.count > MAX_NODES:
            raise self.unwanted(event)
        if not self.open:
            self.root = node
            return
        holder = self.open[-1].value
        if type(holder) is list:
            holder.append(node)
        elif key is None:
            raise self.refuse(event, "a key that is not text", "")
        elif type(holder) is dict:
            node.key = key.start_mark
            holder[key.value] = node

    def vet_key(self, event: Any, members: dict[str, Node]) -> Any:
        """Return the event of a key, once it is known to be new and harmless."""
        self.count += 1
        if event.tag is not None or event.anchor is not None or self.count > MAX_NODES:
            raise self.unwanted(event)
        if event.value in members:
            summary = f'the key "{printable(event.value, 60)}" stands here twice'
            hint = f"the first is in line {members[event.value].key.line + 1}"
            raise _syntax(place(self.name, event.start_mark), summary, hint)
        return event

    def unwanted(self, event: Any) -> VirtfixError:
        if event.tag is not None:
            return self.refuse(event, f'the tag "{printable(str(event.tag), 60)}"', "leave it out")
        if event.anchor is not None:
            return self.refuse(event, f'the anchor "&{printable(event.anchor, 60)}"', "write the value out")
        return self.refuse(event, f"more than {MAX_NODES} values", "")

    def refuse(self, event: Any, what: str, hint: str) -> VirtfixError:
        return _syntax(place(self.name, event.start_mark), f"{what} is not allowed in a policy", hint)


def _syntax(where: str, summary: str, hint: str = "") -> VirtfixError:
    return VirtfixError("policy-syntax", summary, where=where, hint=hint)


def _not_yaml(name: str, text: str, error: yaml.YAMLError) -> VirtfixError:
    """Turn the parser's many lines into one."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # the reader's own errors (a control character) carry an offset instead
        offset = getattr(error, "position", 0)
        reason = getattr(error, "reason", "") or "cannot be read"
        line = text.encode()[:offset].count(b"\n") + 1
        return _syntax(f"{name}:{line}", f"not YAML: {reason}")
    lines = text.splitlines()
    line_text = lines[mark.line] if mark.line < len(lines) else ""
    if line_text[mark.column : mark.column + 1] == "\t" or line_text[: mark.column].strip(" ") == "\t":
        return _syntax(place(name, mark), "a tab stands where YAML wants spaces", "indent with spaces")
    problem = getattr(error, "problem", None) or "cannot be read"
    if "nesting depth" in problem:  # PyYAML 6.0.4 has a limit of its own, which is met first
        return _syntax(place(name, mark), f"nesting deeper than {MAX_DEPTH}")
    context = getattr(error, "context", None)
    tail = f" ({context})" if context else ""
    return _syntax(place(name, mark), f"not YAML: {problem}{tail}")
