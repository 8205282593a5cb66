"""The virtio devices of a running machine, as QEMU's human monitor tells of them in ``info qtree``.

The form is QEMU's own (system/qdev-monitor.c: qbus_print, qdev_print; hw/pci/pci-hmp-cmds.c: pcibus_dev_print): two
spaces a level; ``bus: NAME`` with ``type TYPE`` below it; ``dev: TYPE, id "ID"`` with ``NAME = VALUE`` below it, and
for a device on PCI a line of its ids and one for each BAR.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.devices import Device
from fixer.domain.document import MAX_BYTES, parse
from fixer.domain.machine import Family
from fixer.domain.observed import UNMAPPED, VIRTIO_VENDOR, Function, Region
from fixer.domain.pci import Bus, Layout
from fixer.domain.virtio import NATIVE_DRIVERS, Mode, Properties, mode_of
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HINT = "give the whole output of: virsh qemu-monitor-command VM --hmp 'info qtree'"
# Virtio has 0x1000 to 0x107f of its vendor's ids; 0x1110 is ivshmem (specification 1.2, section 4.1.2).
_VIRTIO_IDS, _LEGACY_IDS = range(0x1000, 0x1080), range(0x1000, 0x1040)
# Device types (specification 1.2, section 5). A transitional device has its type as PCI subsystem id (4.1.2.1).
_KINDS = {
    1: "net", 2: "block", 3: "console", 4: "rng", 5: "balloon", 8: "scsi", 9: "9p", 16: "gpu", 18: "input",
    19: "vsock", 20: "crypto", 23: "iommu", 24: "mem", 25: "sound", 26: "fs", 27: "pmem",
}  # fmt: skip
_BUS = re.compile(r"bus: (.*)")
_TYPE = re.compile(r"type (\S+)")
_DEVICE = re.compile(r'dev: ([^,]+), id "(.*)"')
_PROPERTY = re.compile(r'(disable-legacy|disable-modern) = "?(\w+)"?')
_PCI_LINE = re.compile(
    r"class .*, addr ([0-9a-f]{2}):([01][0-9a-f])\.([0-7]), pci id ([0-9a-f]{4}):([0-9a-f]{4})"
    r" \(sub [0-9a-f]{4}:([0-9a-f]{4})\)"
)
_BAR = re.compile(r"bar (\d): (i/o|mem) at 0x([0-9a-f]{1,16}) \[0x([0-9a-f]{1,16})\]")
# pcibus_t is 64 bits wide, and was 32; PCI_BAR_UNMAPPED has all of them set.
_NOWHERE = frozenset({2**64 - 1, 2**32 - 1})


class QemuDevice(NamedTuple):
    """A virtio device on PCI. ``disable_legacy`` and ``disable_modern`` are '' where QEMU does not name them.

    ``express`` says whether it sits behind a PCI Express port.
    """

    type: str
    id: str
    kind: str
    bus: str
    bus_type: str
    express: bool
    disable_legacy: str
    disable_modern: str
    function: Function

    @property
    def mode(self) -> Mode:
        """The interface that it shows by its id and BARs, which is all that a driver looks at."""
        return Mode.NATIVE if self.kind in NATIVE_DRIVERS else self.function.mode

    @property
    def ruled(self) -> Mode:
        """The interface that it has by QEMU's rule, from its type, its properties and its bus."""
        device = Device("", None, "")
        device.driver = self.kind
        variant = re.search(r"-((?:non-)?transitional)$", self.type)
        device.variant = variant[1] if variant else ""
        buses = [Bus(0, "pcie-root", None), Bus(1, "pcie-root-port", None)]
        layout = Layout(Family.Q35, [device], buses, {device: self.express << 8 | 1 << 3})
        said = Properties(parse(b"<domain/>").root)
        said.by_alias[""] = {"disable-legacy": self.disable_legacy, "disable-modern": self.disable_modern}
        return mode_of(device, layout, said, "")

    @property
    def pci_id(self) -> str:
        return f"{self.function.vendor:04x}:{self.function.device:04x}"

    @property
    def io(self) -> str:
        """Where the I/O BAR of the legacy interface is mapped; unmapped, or none."""
        region = self.function.io
        if region is None:
            return "none"
        return "unmapped" if region.address == UNMAPPED else f"{region.address:#06x}"


class Tree(NamedTuple):
    """The virtio devices of a machine. ``mapped``: whether any of its PCI devices has an address.

    None has one before the firmware has set up PCI, and where SeaBIOS had no room for all.
    """

    devices: tuple[QemuDevice, ...]
    mapped: bool

    def confirmed(self, functions: Iterable[Function]) -> Tree:
        """Return it with ids and BARs as ``query-pci`` has them, which was asked after the tree."""
        functions = list(functions)
        named = {function.name: function for function in functions if function.name}
        devices = (one._replace(function=named.get(one.id, one.function)) for one in self.devices)
        return Tree(tuple(devices), any(map(_is_mapped, functions)))


def read_qtree(data: bytes) -> Tree:
    """Return what the text of ``info qtree`` tells. Raises VirtfixError for what is none, or is not whole."""
    if len(data) > MAX_BYTES:
        raise VirtfixError("qtree.size", f"is larger than {MAX_BYTES >> 20} MiB", hint=HINT)
    found = list(_read(data.decode("utf-8-sig", "replace")))
    if not found:
        raise VirtfixError("qtree.none", "has no device of a PCI bus: is this 'info qtree'?", hint=HINT)
    devices = [device.shown() for device in found]
    virtio = [
        one for one in devices if one.function.vendor == VIRTIO_VENDOR and one.function.device in _VIRTIO_IDS
    ]
    virtio.sort(key=lambda one: one.function.address)
    return Tree(tuple(virtio), any(_is_mapped(one.function) for one in devices))


def _is_mapped(function: Function) -> bool:
    return any(region.address != UNMAPPED for region in function.regions)


class _Bus:
    """A bus as it is being read. ``above`` is the device that makes it."""

    def __init__(self, name: str, above: _Device | None) -> None:
        self.name = name
        self.type = ""
        self.above = above

    @property
    def is_pci(self) -> bool:
        """Whether its devices are PCI functions (PCI, PCIE, CXL, pxb-bus, pxb-pcie-bus, pxb-cxl-bus)."""
        return self.type in {"PCI", "PCIE", "CXL"} or self.type.startswith("pxb-")

    @property
    def is_port(self) -> bool:
        """Whether it is an express bus below another: root buses hang from a host bridge, which is no function."""
        express = self.type in {"PCIE", "CXL"}
        return express and self.above is not None and self.above.bus.is_pci


class _Device:
    """A device as it is being read."""

    def __init__(self, kind: str, name: str, bus: _Bus, line: int) -> None:
        self.type = kind
        self.id = name
        self.bus = bus
        self.line = line
        self.properties: dict[str, str] = {}
        self.ids: tuple[int, ...] = ()
        self.regions: list[Region] = []
        self.is_last = False  # the text ends with it

    def take(self, line: str) -> None:
        """Read one line below a device."""
        if found := _PROPERTY.fullmatch(line):
            self.properties[found[1]] = found[2]
        elif found := _PCI_LINE.fullmatch(line):
            self.ids = tuple(int(part, 16) for part in found.groups())
        elif found := _BAR.fullmatch(line):
            start, end = int(found[3], 16), int(found[4], 16)
            size = (end - start + 1) % 2**64
            self.regions.append(
                Region(int(found[1]), found[2] == "i/o", UNMAPPED if start in _NOWHERE else start, size)
            )

    def shown(self) -> QemuDevice:
        """Return it as it is told. Raises VirtfixError where the text breaks off before all of it is."""
        # Below a virtio device comes its virtio-bus, so that none is the last thing of a whole text.
        if not self.ids or (self.is_last and self.ids[3] == VIRTIO_VENDOR):
            raise VirtfixError(
                "qtree.cut", f"does not tell all of {self.type}", where=f"line {self.line}", hint=HINT
            )
        bus, slot, function, vendor, device, subsystem = self.ids
        number = subsystem if device in _LEGACY_IDS else device - _LEGACY_IDS.stop
        return QemuDevice(
            self.type,
            self.id,
            _KINDS.get(number, f"type {number}"),
            self.bus.name,
            self.bus.type,
            self.bus.is_port,
            self.properties.get("disable-legacy", ""),
            self.properties.get("disable-modern", ""),
            Function(bus << 8 | slot << 3 | function, vendor, device, self.id, tuple(self.regions), ()),
        )


def _read(text: str) -> Iterator[_Device]:
    """Yield the devices on PCI. Raises VirtfixError for a device outside of a bus."""
    above: list[tuple[int, _Bus | _Device]] = []  # what the next line is below, with the indent of each
    for number, full in enumerate(text.split("\n"), 1):
        line = full.strip()
        indent = len(full) - len(full.lstrip(" "))
        while line and above and above[-1][0] >= indent:
            done = above.pop()[1]
            if isinstance(done, _Device) and done.bus.is_pci:
                yield done
        holder = above[-1][1] if above else None
        if found := _BUS.fullmatch(line):
            above.append((indent, _Bus(found[1], holder if isinstance(holder, _Device) else None)))
        elif found := _DEVICE.fullmatch(line):
            if not isinstance(holder, _Bus):
                raise VirtfixError(
                    "qtree.shape", "has a device outside of a bus", where=f"line {number}", hint=HINT
                )
            above.append((indent, _Device(found[1], found[2], holder, number)))
        elif isinstance(holder, _Device):
            holder.take(line)
        elif isinstance(holder, _Bus) and (found := _TYPE.fullmatch(line)):
            holder.type = found[1]
    for place, (_, left) in enumerate(above, 1):
        if isinstance(left, _Device) and left.bus.is_pci:
            left.is_last = place == len(above)
            yield left
