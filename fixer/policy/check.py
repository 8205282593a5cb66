"""Holds a policy against the format and answers the first mistake in words: place, key, nearest right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixer.errors import VirtfixError, printable
from fixer.policy.schema import DEFS, DOCUMENTS, FORMAT
from fixer.policy.yamltext import Node, place

if TYPE_CHECKING:
    from fixer.policy.schema import Spec

_TYPES = {str: "text", list: "a list", dict: "a mapping"}
_WANTED = {
    "object": "a mapping (key: value)",
    "array": "a list ([a, b])",
    "string": "text",
    "integer": "a whole number",
    "boolean": "yes or no",
}


def check(name: str, root: Node) -> str:
    """Check a file against the format and return its kind; raise VirtfixError ``policy-invalid``."""
    walker = _Walker(name)
    if not isinstance(root.value, dict):
        raise walker.error(root, "a policy is a mapping that begins with format: 1")
    for key, allowed in (("format", [FORMAT]), ("kind", list(DOCUMENTS))):
        if key not in root.value:
            meant = near(key, root.value)
            hint = f'did you mean "{key}" by "{meant}"?' if meant else f"add {key}: {' or '.join(allowed)}"
            raise walker.error(root, f'missing key "{key}"', hint)
        walker.word(root.value[key], allowed, key)
    kind = root.keys["kind"].text
    walker.walk(root, DOCUMENTS[kind], "")
    return kind


class _Walker:
    """Walks nodes and format side by side; the first thing wrong ends the walk."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def walk(self, node: Node, spec: Spec, path: str) -> None:
        if "$ref" in spec:
            spec = DEFS[spec["$ref"][8:]]
        if "enum" in spec:
            self.word(node, [word for word in spec["enum"] if isinstance(word, str)], path)
            return
        kind = spec.get("type")
        if kind == "object":
            self.mapping(node, spec, path)
        elif kind == "array":
            self.sequence(node, spec, path)
        elif kind is not None:
            self.scalar(node, spec, path)

    def mapping(self, node: Node, spec: Spec, path: str) -> None:
        members = node.value
        if type(members) is not dict:
            raise self.wrong_type(node, spec, path)
        properties = spec.get("properties")
        for key, value in members.items():
            if properties is not None:
                inner = properties.get(key)
                if inner is None:
                    raise self.unknown(value, key, properties, path)
            else:
                self.key(value, key, spec, path)
                inner = spec["additionalProperties"]
            self.walk(value, inner, f"{path}.{key}" if path else key)
        required = spec.get("required", ())
        if "if" in spec and "value" in members and members["value"].text == "depends":
            required = [*required, *spec["then"]["required"]]
        for key in required:
            if key not in members:
                raise self.error(node, f'missing key "{key}"' + (f" in {path}" if path else ""))

    def key(self, value: Node, key: str, spec: Spec, path: str) -> None:
        """Check a key that the format lists by name, alone or with its neighbours."""
        shared = spec.get("x-names")
        names = shared or spec.get("propertyNames", {}).get("enum")
        if names is None:
            return
        for part in key.split(",") if shared else (key,):
            if part.strip(" ") not in names:
                raise self.unknown(value, part.strip(), names, path)

    def sequence(self, node: Node, spec: Spec, path: str) -> None:
        if type(node.value) is not list:
            raise self.wrong_type(node, spec, path)
        if len(node.value) < spec.get("minItems", 0):
            raise self.error(node, f"{path} is empty")
        items = spec["items"]
        for number, item in enumerate(node.value):
            self.walk(item, items, f"{path}[{number}]")

    def scalar(self, node: Node, spec: Spec, path: str) -> None:
        text = node.value
        kind = spec["type"]
        if type(text) is not str:
            raise self.wrong_type(node, spec, path)
        if not text or (node.plain and text in {"~", "null"}):
            raise self.error(node, f"{path} has no value")
        if kind == "integer":
            if not (node.plain and text.isascii() and text.lstrip("-").isdecimal()) or len(text) > 12:
                raise self.wrong_type(node, spec, path)
            if not spec["minimum"] <= int(text) <= spec["maximum"]:
                raise self.error(
                    node, f"{path} is {text}; it lies between {spec['minimum']} and {spec['maximum']}"
                )
        elif kind == "boolean":
            self.word(node, ["yes", "no"], path)
        elif spec.get("format") == "date":
            if not _is_date(text):
                summary = f'{path} wants a date, got "{printable(text, 60)}"'
                raise self.error(node, summary, "write it as 2027-03-31")
        elif kind == "string" and node.plain and (_is_number(text) or node.text in {"yes", "no"}):
            raise self.error(
                node, f"{path} wants text, got {printable(text, 60)}", f"quote it: '{printable(text, 60)}'"
            )

    def word(self, node: Node, words: list[str], path: str) -> None:
        if node.text in words:
            return
        if not isinstance(node.value, str):
            raise self.wrong_type(node, {"type": "string"}, path)
        meant = near(node.text, words)
        hint = f'did you mean "{meant}"?' if meant else f"it is one of {', '.join(words)}"
        raise self.error(node, f'"{printable(node.value, 60)}" is no value of {path}', hint)

    def unknown(self, node: Node, key: str, known: Any, path: str) -> VirtfixError:
        meant = near(key, known)
        hint = f'did you mean "{meant}"?' if meant else f"known here: {', '.join(known)}"
        inside = f" in {path}" if path else ""
        return self.error(node, f'unknown key "{printable(key, 60)}"{inside}', hint, at_key=True)

    def wrong_type(self, node: Node, spec: Spec, path: str) -> VirtfixError:
        kind = spec["type"]
        wanted = _WANTED[kind if isinstance(kind, str) else kind[0]]
        got = _TYPES[type(node.value)]
        if isinstance(node.value, str):
            got = f'"{printable(node.value, 60)}"' if node.value else "nothing"
        return self.error(node, f"{path or 'the file'} wants {wanted}, got {got}")

    def error(self, node: Node, summary: str, hint: str = "", *, at_key: bool = False) -> VirtfixError:
        mark = node.key if at_key else node.mark
        return VirtfixError("policy-invalid", summary, where=place(self.name, mark), hint=hint)


def _is_number(text: str) -> bool:
    """Whether a YAML reader takes a plain scalar for a number rather than for text."""
    if text[0] not in "+-.0123456789":
        return False
    if text[:2] in {"0x", "0o"} or text.lstrip("+-").lower() in {".inf", ".nan"}:
        return True
    try:
        float(text.replace("_", ""))
    except ValueError:
        return False
    return True


def _is_date(text: str) -> bool:
    import datetime as dt  # noqa: PLC0415 -- only rules that end need it

    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def near(word: str, known: Any) -> str:
    """Return the known word nearest to ``word``, or an empty string."""
    from difflib import get_close_matches  # noqa: PLC0415 -- 4 ms that only an error needs

    return next(iter(get_close_matches(word[:80].lower(), [str(name) for name in known], 1, 0.6)), "")
