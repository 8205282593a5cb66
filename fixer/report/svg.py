"""The PCI tree as a picture: SVG that stands in a page, takes its colours, and loads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from fixer.report.markup import Markup, h, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fixer.report.topology import Node

_ROW, _STEP, _LEFT = 20, 20, 18  # pixels: height of a row, indent of a bus, place of the first line
_CHARACTER = 7.3  # width of one at 12 px; monospaced fonts have 0.6 em
_LONGEST = 44  # characters of a key
_GOOD, _BAD = frozenset({"transitional", "legacy"}), frozenset({"modern-only", "neither"})
_MARKS = {"added": "added by libvirt", "unwritten": "no address in the XML"}
NAMES = {
    "pcie-root": "PCI Express root",
    "pci-root": "PCI root",
    "pcie-root-port": "root port",
    "pcie-to-pci-bridge": "PCIe-to-PCI bridge",
    "dmi-to-pci-bridge": "DMI-to-PCI bridge",
    "pci-bridge": "PCI bridge",
    "pcie-switch-upstream-port": "switch upstream port",
    "pcie-switch-downstream-port": "switch downstream port",
    "pcie-expander-bus": "PCIe expander bus",
    "pci-expander-bus": "PCI expander bus",
}


def tree(nodes: Sequence[Node], label: str, changed: Collection[str] = ()) -> Markup:
    """Return a picture of the tree; the rows of the devices in ``changed`` stand out."""
    rows, widest = [], 0.0
    for number, node in enumerate(nodes):
        row, width = _row(node, number * _ROW, changed=node.device in changed)
        rows.append(row)
        widest = max(widest, width)
    height = len(nodes) * _ROW + 4
    size = f'width="{widest:.0f}" height="{height}" viewBox="0 0 {widest:.0f} {height}"'
    lines = f'<path class="wire" d="{_wires(nodes)}"/>'
    return Markup(f'<svg class="tree" role="img" aria-label="{h(label)}" {size}>{lines}{"".join(rows)}</svg>')


def _wires(nodes: Sequence[Node]) -> str:
    """Return the lines from each bus to what is on it."""
    parts: list[str] = []
    drawn: dict[int, int] = {}  # by depth: down to where the line of the bus is drawn
    for number, node in enumerate(nodes):
        middle = number * _ROW + _ROW // 2 + 2
        if node.depth:
            x = _LEFT + (node.depth - 1) * _STEP
            start = drawn.get(node.depth, middle - _ROW + 7)
            parts.append(f"M{x} {start}V{middle}h{_STEP - 7}")
            drawn[node.depth] = middle
        for deeper in [depth for depth in drawn if depth > node.depth]:
            del drawn[deeper]
    return "".join(parts)


def _row(node: Node, top: int, *, changed: bool) -> tuple[str, float]:
    """Return a row, and how far to the right it goes."""
    x, y = _LEFT + max(node.depth - 1, -0.6) * _STEP + (_STEP - 4 if node.depth else 0), top + 16
    sign, words = _words(node)
    end = x + 12.0
    spans = []
    for kind, text in words:
        spans.append(f'<tspan class="{kind}" x="{end:.0f}">{h(text)}</tspan>')
        end += _width(text) + _CHARACTER
    back = (
        f'<rect class="hit" x="{x - 4:.0f}" y="{top + 2}" width="{end - x:.0f}" height="{_ROW - 1}" rx="3"/>'
    )
    shape = _shape(sign, x + 4, y - 4)
    return f'{back if changed else ""}{shape}<text y="{y}">{"".join(spans)}</text>', end + 8


def _words(node: Node) -> tuple[str, list[tuple[str, str]]]:
    """Return the class of the sign of a row, and its words with theirs."""
    words = [("at", node.at)] if node.at else []
    sign = "bus" if node.bus else "dev"
    if node.bus:
        number = node.device.removeprefix("controller[pci ").removesuffix("]")
        own = f" {number}" if node.device.startswith("controller[pci ") else ""
        words.append(("key", shown(NAMES.get(node.model, node.model) + own, _LONGEST)))
        words.append(("dim", f"bus {shown(node.bus, 8)}"))
    else:
        if node.mode:
            sign = "good" if node.mode in _GOOD else "bad" if node.mode in _BAD else "native"
            words.append((sign, shown(node.mode, 20)))
        words.append(("key", _cut(shown(node.device))))
    if node.mark in _MARKS:
        words.append(("dim", _MARKS[node.mark]))
    return sign, words


def _shape(sign: str, x: float, y: float) -> str:
    """Return a small sign: its form says what its colour says."""
    if sign == "bad":
        return f'<path class="bad" d="M{x - 4:.0f} {y + 4:.0f}h8l-4 -8z"/>'
    if sign == "bus":
        return f'<rect class="bus" x="{x - 4:.0f}" y="{y - 4:.0f}" width="8" height="8" rx="1"/>'
    return f'<circle class="{sign}" cx="{x:.0f}" cy="{y:.0f}" r="{3 if sign == "dev" else 4}"/>'


def _cut(text: str) -> str:
    """Shorten a key: its end tells devices apart."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]}…{text[1 - _LONGEST // 2 :]}"


def _width(text: str) -> float:
    wide = 0 if text.isascii() else sum(east_asian_width(sign) in "WF" for sign in text)
    return (len(text) + wide) * _CHARACTER
