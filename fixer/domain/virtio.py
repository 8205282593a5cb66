"""Which interface each virtio device shows to the guest where it sits.

The rule is QEMU's (hw/virtio/virtio-pci.c, virtio_pci_realize): disable-legacy=auto becomes on behind
an express bus that is no root bus, off elsewhere; the -transitional and -non-transitional types fix it.
"""

from __future__ import annotations

import itertools
import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.pci import EXPRESS_PORTS

if TYPE_CHECKING:
    from fixer.domain.devices import Device
    from fixer.domain.document import Node
    from fixer.domain.pci import Layout

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"


class Mode(Enum):
    """What a guest finds: PCI ids 1af4:100x with an I/O BAR (legacy, transitional) or 104x without."""

    LEGACY = "legacy"
    TRANSITIONAL = "transitional"
    MODERN_ONLY = "modern-only"
    NATIVE = "virtio 1.0"
    NEITHER = "neither"  # legacy and modern both off: QEMU refuses to start


# Devices that came with virtio 1.0 or that QEMU forces to it (virtio specification 1.2, section 5;
# QEMU hw/virtio/virtio-*-pci.c: virtio_pci_force_virtio_1). Nothing makes them legacy.
NATIVE_DRIVERS = frozenset({"gpu", "input", "iommu", "mem", "pmem", "fs", "sound", "crypto", "vsock"})

_QEMU_TYPES = {
    "block": "virtio-blk-pci",
    "net": "virtio-net-pci",
    "scsi": "virtio-scsi-pci",
    "console": "virtio-serial-pci",
    "balloon": "virtio-balloon-pci",
    "rng": "virtio-rng-pci",
    "9p": "virtio-9p-pci",
}
_TRUE = frozenset({"on", "true", "yes", "y", "1"})
# How libvirt names a device that has no alias of its own (src/qemu/qemu_alias.c).
_ALIAS_BY_POSITION = {"interface": "net", "rng": "rng", "filesystem": "fs", "hostdev": "hostdev"}
# Tags of what libvirt numbers in the order of the XML; what has an alias of its own is left out.
NUMBERED = frozenset(_ALIAS_BY_POSITION)
_ALIAS_SINGLE = {"memballoon": "balloon0", "vsock": "vsock0"}

# Devices other than virtio that QEMU gives an I/O BAR (their source files register it as such).
_IO_MODELS = frozenset(
    {
        *("e1000", "e1000e", "igb", "rtl8139", "pcnet", "ne2k_pci", "i82550", "i82557b", "i82559er", "tulip"),
        *("lsilogic", "lsisas1068", "lsisas1078", "am53c974", "dc390"),
        *("ich9-uhci1", "ich9-uhci2", "ich9-uhci3", "piix3-uhci", "piix4-uhci", "vt82c686b-uhci"),
        *("qxl", "vmvga", "es1370", "ac97", "pci-serial"),
    }
)
# An I/O window of a bridge is a multiple of 4 KiB (PCI-to-PCI Bridge Architecture 1.2, section 3.2.5.6);
# virtio-blk's legacy BAR of 128 bytes is the largest of the virtio devices (seen in query-pci).
_WINDOW, _IO_BAR = 4096, 128
IO_DEVICES_A_WINDOW = _WINDOW // _IO_BAR
# Conventional bridges that QEMU gives a hot-plug controller (SeaBIOS src/fw/pciinit.c, pci_bus_hotplug_support).
_HOT_PLUG_BRIDGES = frozenset({"pcie-to-pci-bridge", "pci-bridge"})


VIRTIO_PROPERTIES = ("disable-legacy", "disable-modern")


class RawDevice(NamedTuple):
    """A virtio device of qemu:commandline that leaves its interface to the bus that it names."""

    type: str
    bus: str
    line: int


class Properties:
    """disable-legacy ('on', 'off', 'auto') and disable-modern of a device, and where each comes from."""

    __slots__ = ("by_alias", "by_type", "legacy_machine", "places", "raw_virtio")

    def __init__(self, root: Node, *, legacy_machine: bool = False) -> None:
        self.legacy_machine = legacy_machine  # the type of the machine makes all of them legacy
        self.by_alias: dict[str, dict[str, str]] = {}
        self.by_type: list[tuple[str, str, str]] = []
        # Addresses that devices of qemu:commandline hold; libvirt does not know them.
        self.places: set[int] = set()
        self.raw_virtio: list[RawDevice] = []
        if any(":" in node.name or "xmlns" in node.attrs for node in root.children):
            for node in root.children_in(QEMU_NAMESPACE, "override"):
                self._read_override(node)
            for node in root.children_in(QEMU_NAMESPACE, "commandline"):
                self._read_commandline(node)

    @property
    def none(self) -> bool:
        return not self.by_alias and not self.by_type

    def _read_override(self, override: Node) -> None:
        for device in override.children:
            for node in device.iter():
                if local_name(node) == "property":
                    name, value = node.attrs.get("name", ""), node.attrs.get("value", "")
                    self.by_alias.setdefault(device.attrs.get("alias", ""), {})[name] = value

    def _read_commandline(self, commandline: Node) -> None:
        arguments = [node for node in commandline.children if local_name(node) == "arg"]
        for option, node in itertools.pairwise(arguments):
            flag, value = option.attrs.get("value", ""), node.attrs.get("value", "")
            if flag in {"-global", "--global"}:
                parsed = _parse_global(value)
                if parsed is not None:
                    self.by_type.append(parsed)
            elif flag in {"-device", "--device"}:
                self._read_device(node, value)

    def _read_device(self, node: Node, value: str) -> None:
        self.places |= _raw_place(value)
        virtio, bus = _RAW_VIRTIO.search(value), _RAW_BUS.search(value)
        if virtio is not None and bus is not None and "disable-legacy" not in value:
            self.raw_virtio.append(RawDevice(virtio[1], bus[1], node.line))

    def get(self, device: Device, name: str, alias: str) -> str:
        """Return the value that QEMU will see for ``name``, '' for the default."""
        if self.by_alias and alias in self.by_alias and name in self.by_alias[alias]:
            return self.by_alias[alias][name]
        value = ""
        for owner, property_name, setting in self.by_type:
            if property_name == name and owner in {"virtio-pci", qemu_type(device)}:
                value = setting
        return value


def local_name(node: Node) -> str:
    """Return the name of an element of libvirt's QEMU namespace without its prefix, which may be the default one."""
    return node.name.rpartition(":")[2]


_RAW_BUS = re.compile(r"""(?:^|[,{\s"])bus"?\s*[=:]\s*"?([\w.]+)""")
_PCI_BUS = re.compile(r"pcie?\.(\d{1,3})")
_RAW_VIRTIO = re.compile(r"""(?:^|"driver"\s*:\s*")((?:virtio|vhost)-[\w-]+?)(?<!transitional)(?=[",]|$)""")
_RAW_ADDRESS = re.compile(
    r"""(?:^|[,{\s"])addr"?\s*[=:]\s*"?(?:0x)?([0-9a-fA-F]{1,2})(?:\.([0-7]))?(?![\w.])"""
)


def _raw_place(value: str) -> set[int]:
    """Return the address that a -device argument (plain or JSON) names, if it does: pci.N is bus N of libvirt's."""
    bus, address = _RAW_BUS.search(value), _RAW_ADDRESS.search(value)
    index = _PCI_BUS.fullmatch(bus[1]) if bus is not None else None
    if address is None or (bus is not None and index is None):
        return set()
    # QEMU reads the slot as hexadecimal (hw/core/qdev-properties-system.c, set_pci_devfn).
    place = (int(address[1], 16) & 31) << 3 | int(address[2] or 0)
    return {int(index[1]) << 8 | place if index is not None else place}


def _parse_global(value: str) -> tuple[str, str, str] | None:
    """Read -global TYPE.PROPERTY=VALUE or driver=TYPE,property=PROPERTY,value=VALUE (QEMU's man page)."""
    if value.startswith("driver="):
        fields = dict(part.partition("=")[::2] for part in value.split(","))
        return fields.get("driver", ""), fields.get("property", ""), fields.get("value", "")
    target, equals, setting = value.partition("=")
    owner, dot, name = target.partition(".")
    return (owner, name, setting) if equals and dot else None


def qemu_type(device: Device) -> str:
    """Return the QEMU type that libvirt uses for a virtio device that has a legacy interface."""
    if device.tag == "hostdev":
        return "vhost-scsi-pci"
    if device.tag == "disk" and device.node is not None and device.node.attrs.get("type") == "vhostuser":
        return "vhost-user-blk-pci"
    return _QEMU_TYPES.get(device.driver, "")


def aliases(devices: list[Device]) -> dict[Device, str]:
    """Return the alias that each device has when libvirt starts the domain."""
    from fixer.domain.devices import is_kept_alias  # noqa: PLC0415 - only needed where there are overrides

    found: dict[Device, str] = {}
    counts: dict[str, int] = {}
    for device in devices:
        if is_kept_alias(device.alias):
            found[device] = device.alias
            continue
        # A device with an alias of its own takes no number, and a NIC of the host is no netN
        # (src/qemu/qemu_alias.c, qemuAssignDeviceNetAlias; seen with libvirt 9.0.0).
        kind = "hostdev" if device.tag == "interface" and device.type == "hostdev" else device.tag
        position = counts[kind] = counts.get(kind, -1) + 1
        if device.tag == "disk":
            found[device] = f"virtio-disk{disk_number(device)}"
        elif device.tag == "controller":
            found[device] = f"{device.type}{device.index}"
        elif kind in _ALIAS_BY_POSITION:
            found[device] = f"{_ALIAS_BY_POSITION[kind]}{position}"
        else:
            found[device] = _ALIAS_SINGLE.get(device.tag, "")
    return found


def disk_number(device: Device) -> int:
    from fixer.domain.devices import disk_index  # noqa: PLC0415 - only needed where overrides are written

    return disk_index(device.key[5:-1])


def mode_of(device: Device, layout: Layout, properties: Properties, alias: str) -> Mode:
    """Return the interface that ``device``, a virtio device, shows to the guest."""
    if device.driver in NATIVE_DRIVERS:
        return Mode.NATIVE
    if device.variant == "transitional":
        return Mode.TRANSITIONAL
    if device.variant == "non-transitional" or device.needs_modern:
        return Mode.MODERN_ONLY
    old = properties.legacy_machine
    disable_legacy = properties.get(device, "disable-legacy", alias) or ("off" if old else "")
    disable_modern = properties.get(device, "disable-modern", alias) or ("on" if old else "")
    legacy = not is_express(device, layout) if disable_legacy in {"", "auto"} else disable_legacy not in _TRUE
    modern = disable_modern not in _TRUE
    if legacy:
        return Mode.TRANSITIONAL if modern else Mode.LEGACY
    return Mode.MODERN_ONLY if modern else Mode.NEITHER


def is_express(device: Device, layout: Layout) -> bool:
    bus = layout.bus_of(device)
    return bus is not None and bus.model in EXPRESS_PORTS


def has_io_bar(device: Device, mode: Mode | None) -> bool:
    """Tell whether the guest's firmware must find I/O ports for a device (``mode``: of a virtio device)."""
    if mode is not None:
        return mode in {Mode.LEGACY, Mode.TRANSITIONAL}
    if device.model in _IO_MODELS or device.type == "sata":
        return True
    # A host device may have one; to count it is the safe side.
    return device.tag == "hostdev" and device.type == "pci"


def io_devices(layout: Layout, modes: dict[Device, Mode]) -> dict[int, int]:
    """Return how many devices on each bus need I/O ports, by the index of the bus."""
    found: dict[int, int] = {}
    for device, address in layout.at.items():
        if not device.is_bridge and has_io_bar(device, modes.get(device)):
            found[address >> 8] = found.get(address >> 8, 0) + 1
    return found


def io_windows(layout: Layout, modes: dict[Device, Mode], firmware: str) -> dict[int, int]:
    """Return how many 4 KiB I/O windows each bridge on the root bus takes: {its address: windows}.

    SeaBIOS gives an empty bridge that takes devices later one too; OVMF does not (FACTS: I/O space).
    """
    below = io_devices(layout, modes)
    need: dict[int, int] = {}
    windows: dict[int, int] = {}
    if firmware != "bios" and not any(below[bus] for bus in below if bus):
        return windows
    for bus in sorted(layout.buses, key=lambda bus: -bus.number):  # children before their parents
        size = below.get(bus.index, 0) * _IO_BAR + need.get(bus.index, 0)
        if bus.model in _HOT_PLUG_BRIDGES and firmware == "bios" and not size:
            size = 1
        top = layout.top[bus.index]
        if top is None or bus.controller is None or not size:
            continue
        rounded = -(-size // _WINDOW)
        parent = layout.at[bus.controller] >> 8
        if parent:
            need[parent] = need.get(parent, 0) + rounded * _WINDOW
        else:
            windows[top] = rounded
    return windows
