"""The PCI tree as a picture in the terminal: buses, slots, devices, modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.machine import Family
from fixer.domain.pci import LPC, SMBUS
from fixer.domain.virtio import Mode
from fixer.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.devices import Device
    from fixer.domain.model import Domain
    from fixer.domain.pci import Layout

_NAMES = {
    "pcie-root-port": "root port",
    "pcie-to-pci-bridge": "PCIe-to-PCI bridge",
    "dmi-to-pci-bridge": "DMI-to-PCI bridge",
    "pci-bridge": "PCI bridge",
    "pcie-switch-upstream-port": "switch upstream port",
    "pcie-switch-downstream-port": "switch downstream port",
    "pcie-expander-bus": "PCIe expander bus",
    "pci-expander-bus": "PCI expander bus",
}
_TINT = {
    Mode.TRANSITIONAL: "\x1b[32m",
    Mode.LEGACY: "\x1b[32m",
    Mode.MODERN_ONLY: "\x1b[31m",
    Mode.NEITHER: "\x1b[31m",
    Mode.NATIVE: "\x1b[33m",
}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"


class Line:
    """One row: its text, and the colour that it is shown in."""

    __slots__ = ("text", "tint")

    def __init__(self, text: str, tint: str = "") -> None:
        self.text = text
        self.tint = tint


def tree(domain: Domain, *, unicode: bool = True) -> list[Line]:
    """Return the rows of the tree. Buses carry the numbers that the guest's firmware gives them."""
    layout = domain.layout
    if layout is None:
        return [Line(f"no PCI topology: {domain.machine.reason}")]
    kind = "UEFI" if domain.firmware.kind == "uefi" else "BIOS"
    rows = [Line(f"{domain.machine.name or 'default machine'}, {kind}")]
    for bus in layout.buses:
        if layout.top[bus.index] is None and bus.number >= 0:
            root = "pcie.0" if bus.model == "pcie-root" else "pci.0" if bus.model == "pci-root" else bus.model
            rows.append(Line(f"bus {bus.seen_as:02x}  {root}"))
            _walk(rows, domain, layout, bus.index, "", unicode=unicode)
    unplaced = [device for device in domain.devices if device.driver and device not in layout.at]
    rows += [Line(f"no PCI place: {printable(device.key)}") for device in unplaced]
    marks = {"*": "added by libvirt", "?": "no address in the XML"}
    rows += [Line(f"{mark} {text}", _DIM) for mark, text in marks.items() if _marked(rows, mark)]
    return rows


class Node(NamedTuple):
    """One row of the tree as values: a root bus (depth 0) or a device, with its place on the bus above it.

    ``bus`` is the number that the guest's firmware gives to the bus that a root or a bridge opens, ``mark``
    says what the XML leaves to libvirt: ``added`` or ``unwritten`` (no address).
    """

    depth: int
    at: str
    device: str
    mode: str = ""
    model: str = ""
    bus: str = ""
    mark: str = ""


def nodes(domain: Domain) -> Iterator[Node]:
    """Yield the rows of the tree, depth first, as the guest walks it; none where there is no PCI topology."""
    layout = domain.layout
    for bus in layout.buses if layout is not None else ():
        if layout is not None and layout.top[bus.index] is None and bus.number >= 0:
            yield Node(0, "", "", model=bus.model, bus=f"{bus.seen_as:02x}")
            yield from _below(domain, layout, bus.index, 1)


def _below(domain: Domain, layout: Layout, index: int, depth: int) -> Iterator[Node]:
    bridges = {bus.controller: bus for bus in layout.buses if bus.controller is not None}
    entries: list[tuple[int, Device | None, str]] = [
        *((address, device, device.key) for address, device in layout.children(index)),
        *_chipset(layout, index),
    ]
    for address, device, label in sorted(entries, key=lambda entry: entry[0]):
        place = f"{address >> 3 & 31:02x}.{address & 7}"
        mark = "" if device is None else _MARKS[_note(device)]
        if device is not None and device in bridges:
            bus = bridges[device]
            yield Node(depth, place, label, model=bus.model, bus=f"{bus.seen_as:02x}", mark=mark)
            yield from _below(domain, layout, bus.index, depth + 1)
        else:
            mode = None if device is None else domain.modes.get(device)
            yield Node(depth, place, label, mode.value if mode is not None else "", mark=mark)


_MARKS = {"": "", " *": "added", " ?": "unwritten"}


def _marked(rows: list[Line], mark: str) -> bool:
    return any(row.text.endswith(f" {mark}") for row in rows)


def _walk(rows: list[Line], domain: Domain, layout: Layout, index: int, lead: str, *, unicode: bool) -> None:
    tee, corner, bar = ("├─", "└─", "│ ") if unicode else ("|-", "`-", "| ")
    entries = [(address, device, device.key) for address, device in layout.children(index)]
    bridges = {bus.controller: bus for bus in layout.buses if bus.controller is not None}
    named: list[tuple[int, Device | None, str]] = [*entries, *_chipset(layout, index)]
    named.sort(key=lambda entry: entry[0])
    for place, (address, device, label) in enumerate(named):
        last = place == len(named) - 1
        head = f"{lead}{corner if last else tee} {address >> 3 & 31:02x}.{address & 7} "
        if device is not None and device in bridges:
            bus = bridges[device]
            text = f"{_NAMES.get(bus.model, bus.model)} {device.index}, bus {bus.seen_as:02x}"
            empty = not layout.children(bus.index)
            rows.append(Line(head + text + _note(device), _DIM if empty else ""))
            _walk(rows, domain, layout, bus.index, lead + ("   " if last else bar + " "), unicode=unicode)
        else:
            rows.append(_device(domain, head, device, label))


def _device(domain: Domain, head: str, device: Device | None, label: str) -> Line:
    if device is None:
        return Line(head + label, _DIM)
    mode = domain.modes.get(device)
    # The mode stands first: a narrow screen cuts names, not what matters.
    text = head + (f"{mode.value}  " if mode is not None else "") + printable(label, 60)
    return Line(text + _note(device), _TINT[mode] if mode is not None else "")


def _note(device: Device) -> str:
    """Mark what the XML leaves to libvirt; ``tree`` explains the marks."""
    if device.node is None:
        return " *"
    return " ?" if device.address is None else ""


def _chipset(layout: Layout, index: int) -> list[tuple[int, None, str]]:
    if index or layout.family is not Family.Q35:
        return []
    return [(LPC, None, "LPC bridge"), (SMBUS, None, "SMBus")]


def render(lines: list[Line], *, color: bool) -> str:
    return "".join(_paint(line.text, line.tint, color=color) + "\n" for line in lines)


def side_by_side(
    before: list[Line], after: list[Line], width: int, *, color: bool, unicode: bool = True
) -> str:
    """Return two trees beside one another in ``width`` columns, cut where they must be."""
    bar = " │ " if unicode else " | "
    left = min(max(len(line.text) for line in before), (width - len(bar)) // 2)
    right = width - len(bar) - left
    ellipsis = "…" if unicode else "~"
    rows = [("before", "", "after", "")]
    for index in range(max(len(before), len(after))):
        one = before[index] if index < len(before) else Line("")
        two = after[index] if index < len(after) else Line("")
        rows.append((one.text, one.tint, two.text, two.tint))
    out = []
    for text, tint, other, other_tint in rows:
        cut, other_cut = _cut(text, left, ellipsis), _cut(other, right, ellipsis)
        out.append(
            _paint(cut.ljust(left), tint, color=color) + bar + _paint(other_cut, other_tint, color=color)
        )
    return "\n".join(line.rstrip() for line in out) + "\n"


def _cut(text: str, width: int, ellipsis: str) -> str:
    """Shorten a row: of a key its end stays, which tells devices apart, and so does the mark behind it."""
    if len(text) <= width:
        return text
    mark = text[-2:] if text[-2:] in {" *", " ?"} else ""
    body = text.removesuffix(mark)
    start, bracket = body.rfind("  ") + 2, body.find("[")
    keep = width - len(mark) - len(ellipsis)
    if start < bracket and keep - bracket > 4:
        return f"{body[: bracket + 1]}{ellipsis}{body[bracket + 1 - keep :]}{mark}"
    if start < bracket and keep - start > 4:
        return f"{body[:start]}{ellipsis}{body[start - keep :]}{mark}"
    return body[: max(keep, 0)] + ellipsis + mark


def _paint(text: str, tint: str, *, color: bool) -> str:
    return f"{tint}{text}{_RESET}" if color and tint else text
