"""The devices of a domain, and the stable key of each.

A key names a device by what its owner knows it by: ``disk[vda]``, ``interface[52:54:00:12:34:56]``,
``controller[scsi 0]``. Devices that libvirt adds by itself stand in the list too, marked implicit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.domain.document import Node

# A PCI address as one number, as in a PCI config cycle: bus << 8 | slot << 3 | function.
Address = int

# How a device connects (names and meaning: libvirt src/conf/domain_addr.h, virDomainPCIConnectFlags).
PCI, PCIE, ROOT_PORT, UPSTREAM, DOWNSTREAM, DMI_BRIDGE = 1, 2, 4, 8, 16, 32
PCIE_PCI_BRIDGE, PCI_EXPANDER, PCIE_EXPANDER, PCI_BRIDGE = 64, 128, 256, 512
AUTO, AGGREGATE, INTEGRATED = 1024, 2048, 4096
VIRTIO = 8192  # express on a machine with pcie-root, conventional elsewhere; resolved by pci.py
TYPES = 1023

PCI_CONTROLLERS: dict[str, int] = {
    "pci-root": 0,
    "pcie-root": 0,
    "pci-bridge": PCI_BRIDGE,
    "dmi-to-pci-bridge": DMI_BRIDGE,
    "pcie-to-pci-bridge": PCIE_PCI_BRIDGE,
    "pcie-root-port": ROOT_PORT | AGGREGATE,
    "pcie-switch-upstream-port": UPSTREAM,
    "pcie-switch-downstream-port": DOWNSTREAM,
    "pci-expander-bus": PCI_EXPANDER,
    "pcie-expander-bus": PCIE_EXPANDER,
}

USB2_COMPANIONS = {"ich9-ehci1": 7, "ich9-uhci1": 0, "ich9-uhci2": 1, "ich9-uhci3": 2}  # model: function

_VARIANTS = {"virtio-transitional": "transitional", "virtio-non-transitional": "non-transitional"}
_VIRTIO_MODELS = frozenset({"virtio", *_VARIANTS})
_DISK_BUS_OF_PREFIX = (
    ("vd", "virtio"),
    ("sd", "scsi"),
    ("hd", "ide"),
    ("fd", "fdc"),
    ("xvd", "xen"),
    ("ubd", "uml"),
)
_NUMBER = re.compile(r"0[xX]([0-9a-fA-F]{1,16})|(0[0-7]{0,21})|([1-9][0-9]{0,19})")
_TARGET = re.compile(r"(?:xvd|[fhsv]d|ubd)([a-z]+)(?:\d*)$")
_KEPT_ALIAS = re.compile(r"ua-[A-Za-z0-9_-]*")


class Device:
    """One device. ``driver`` is the virtio device kind ('' where it is none).

    ``address`` is where the XML puts it, None where libvirt chooses; ``connect`` are the connect
    flags, 0 for a device that does not sit on PCI. ``variant`` is '', 'transitional' or 'non-transitional'.
    """

    __slots__ = (
        "address",
        "address_node",
        "alias",
        "connect",
        "driver",
        "implicit",
        "index",
        "is_bridge",
        "key",
        "model",
        "multifunction",
        "needs_modern",
        "node",
        "tag",
        "type",
        "variant",
    )

    def __init__(self, tag: str, node: Node | None, name: str) -> None:
        self.tag = tag
        self.node = node
        self.key = f"{tag}[{name}]" if name else tag
        self.type = ""
        self.model = ""
        self.index = 0
        self.driver = ""
        self.variant = ""
        self.connect = 0
        self.address: Address | None = None
        self.address_node: Node | None = None
        self.multifunction = ""
        self.alias = ""
        self.needs_modern = ""
        self.implicit = False
        self.is_bridge = False  # a PCI controller


def read_devices(root: Node) -> list[Device]:
    """Read the devices that stand in the XML, in its order.

    Raises VirtfixError for an address that no libvirt accepts, with its line.
    """
    found: list[Device] = []
    seen: dict[str, int] = {}
    for container in root.children:
        if container.name != "devices":
            continue
        for node in container.children:
            reader = _READERS.get(node.name)
            if reader is None:
                address = node.find("address")
                if address is None or address.attrs.get("type") != "pci":
                    continue
                reader = _other
            device = reader(node)
            _read_info(device, node)
            count = seen[device.key] = seen.get(device.key, 0) + 1
            if count > 1:
                device.key += f"#{count}"
            found.append(device)
    _fill_indexes(found)
    _refuse_doubles(found)
    return found


def _refuse_doubles(devices: list[Device]) -> None:
    """Refuse two controllers of one type and index, as virDomainDefRejectDuplicateControllers does; USB may have them."""
    met: set[tuple[str, int]] = set()
    for device in devices:
        if device.tag != "controller" or device.type == "usb":
            continue
        if (device.type, device.index) in met:
            raise VirtfixError(
                "controller.duplicate",
                f"there are two {device.type} controllers with index {device.index}",
                where=str(device.node.line) if device.node is not None else "",
                hint="libvirt refuses this domain too; give each an index of its own",
            )
        met.add((device.type, device.index))


def _fill_indexes(devices: list[Device]) -> None:
    """Give controllers without an index the lowest free one of their type, as libvirt does."""
    without = [device for device in devices if device.tag == "controller" and device.index < 0]
    if not without:
        return
    used = {(device.type, device.index) for device in devices if device.tag == "controller"}
    free: dict[str, int] = {}  # by type: all below are taken
    for device in without:
        if device.model in USB2_COMPANIONS and device.model != "ich9-ehci1":
            # A companion goes with the EHCI controller before it (virDomainAssignControllerIndexes).
            device.index = next((o.index for o in reversed(devices) if o.model == "ich9-ehci1"), 0)
            device.key = f"controller[usb {device.index} {device.model}]"
            continue
        index = free.get(device.type, 0)
        while (device.type, index) in used:
            index += 1
        free[device.type] = index
        used.add((device.type, index))
        device.index = index
        suffix = f" {device.model}" if device.model in USB2_COMPANIONS else ""
        device.key = f"controller[{device.type} {index}{suffix}]"


def _read_info(device: Device, node: Node) -> None:
    for child in node.children:
        name = child.name
        if name == "address":
            kind = child.attrs.get("type", "")
            if kind == "pci":
                device.address_node = child
                device.address = _address(child)
                device.multifunction = child.attrs.get("multifunction", "")
            elif kind:
                device.connect = 0
        elif name == "alias":
            device.alias = child.attrs.get("name", "")
        elif name == "driver" and child.attrs.get("iommu") == "on":
            device.needs_modern = "iommu='on'"


def kind_of(device: Device) -> str:
    """Return what a guest numbers together: the virtio devices of one driver, else those of a tag and model."""
    return device.driver or f"{device.tag} {device.model}"


def number(text: str) -> int | None:
    """Read an unsigned number as libvirt does (virStrToLong_ui with base 0), None where it is none."""
    known = _KNOWN.get(text)
    if known is not None:
        return known
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    digits, base = found[found.lastindex or 0], (16, 8, 10)[(found.lastindex or 1) - 1]
    return int(digits, base)


_FIELDS = (("domain", 0xFFFF), ("bus", 0xFF), ("slot", 0x1F), ("function", 7))
# The spellings that libvirt itself writes, read without parsing them again for every device.
_BUSES, _SLOTS, _FUNCTIONS = (
    {f"0x{value:0{width}x}": value for value in range(count)} for width, count in ((2, 256), (2, 32), (1, 8))
)
_KNOWN = {str(value): value for value in range(256)} | _BUSES | _FUNCTIONS | {"0x0000": 0}


def is_kept_alias(alias: str) -> bool:
    """Tell whether libvirt keeps an alias. Any other it drops without a word, and makes one up at each start.

    (docs/formatdomain.rst, <alias>, and src/conf/domain_conf.c, USER_ALIAS_CHARS; seen with libvirt 9.0.0)
    """
    return _KEPT_ALIAS.fullmatch(alias) is not None


def _address(node: Node) -> Address | None:
    attrs = node.attrs
    try:
        address = _BUSES[attrs["bus"]] << 8 | _SLOTS[attrs["slot"]] << 3 | _FUNCTIONS[attrs["function"]]
    except KeyError:
        return _other_spelling(node)
    if attrs.get("domain", "0x0000") != "0x0000":
        return _other_spelling(node)
    return address if address > 7 else None  # bus 0, slot 0: see _other_spelling


def _other_spelling(node: Node) -> Address | None:
    values = []
    for name, most in _FIELDS:
        value = number(node.attrs.get(name, "0"))
        if value is None or value > most:
            raise VirtfixError(
                "address.range",
                f"PCI {name}='{node.attrs[name]}' is out of range",
                where=str(node.line),
                hint=f"libvirt takes 0 to {most:#x}",
            )
        values.append(value)
    domain, bus, slot, function = values
    if domain:
        raise VirtfixError(
            "address.domain",
            f"PCI domain {domain:#06x} does not exist on x86",
            where=str(node.line),
            hint="only domain 0x0000 does",
        )
    # libvirt reads bus 0, slot 0 as "no address", whatever the function (virPCIDeviceAddressIsEmpty).
    return bus << 8 | slot << 3 | function if bus or slot else None


def format_address(address: Address) -> str:
    """Write an address as people do: 0000:BB:SS.F."""
    return f"0000:{address >> 8:02x}:{address >> 3 & 31:02x}.{address & 7}"


def short_address(address: Address) -> str:
    return f"{address >> 8:02x}:{address >> 3 & 31:02x}.{address & 7}"


# --- One reader a tag ---------------------------------------------------------------------------------


def attribute(node: Node, child: str, name: str) -> str:
    found = node.find(child)
    return "" if found is None else found.attrs.get(name, "")


def make_virtio(device: Device, driver: str, model: str = "virtio") -> None:
    device.driver = driver
    device.model = device.model or model
    device.variant = _VARIANTS.get(model, "")
    # libvirt asks for a conventional slot for a transitional device, an express one for the others.
    device.connect = AUTO | (PCI if device.variant == "transitional" else PCIE if device.variant else VIRTIO)


def disk_bus(node: Node) -> str:
    target = node.find("target")
    if target is None:
        return ""
    bus = target.attrs.get("bus")
    if bus:
        return bus
    dev = target.attrs.get("dev", "")
    return next((bus for prefix, bus in _DISK_BUS_OF_PREFIX if dev.startswith(prefix)), "ide")


def disk_index(dev: str) -> int:
    """Return the place of a target name in its row: vda 0, vdz 25, vdaa 26; -1 where it has none."""
    found = _TARGET.match(dev)
    if found is None:
        return -1
    value = 0
    for letter in found[1]:
        value = value * 26 + ord(letter) - 96
    return value - 1


def disk_letters(number: int) -> str:
    """Return the letters of the disk with this place in its row: 0 is a, 25 z, 26 aa."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(97 + rest) + text
    return text


# Units of a controller before libvirt opens the next (virDomainDiskDefAssignAddress, src/conf/domain_conf.c).
DRIVE_UNITS = {"scsi": 7, "fdc": 2, "ide": 4, "sata": 6}


def drive_seat(device: Device) -> tuple[int, int]:
    """Return (controller, place on it) of a disk or SCSI host device: as written, or as libvirt makes it of its target.

    An IDE controller has its places on two buses of two; the place on a SATA controller is the port.
    """
    assert device.node is not None
    address = device.node.find("address")
    if address is None or address.attrs.get("type") != "drive":
        return divmod(
            max(disk_index(attribute(device.node, "target", "dev")), 0), DRIVE_UNITS.get(device.type, 1 << 16)
        )
    controller, bus, target, unit = (
        number(address.attrs.get(name, "0")) or 0 for name in ("controller", "bus", "target", "unit")
    )
    return controller, bus * (2 if device.type == "ide" else 1 << 8) + (target << 8) + unit


def _disk(node: Node) -> Device:
    device = Device("disk", node, attribute(node, "target", "dev") or "?")
    device.type = disk_bus(node)
    if device.type == "virtio":
        device.model = node.attrs.get("model", "virtio")
        make_virtio(device, "block", device.model)
    return device


def _interface(node: Node) -> Device:
    device = Device(
        "interface",
        node,
        attribute(node, "mac", "address").lower() or attribute(node, "target", "dev") or "?",
    )
    device.type = node.attrs.get("type", "")
    model = attribute(node, "model", "type")
    if device.type == "hostdev":
        device.connect = PCIE | AUTO
        return device
    # libvirt gives vdpa no other model (virDomainNetDefPostParse); without one, x86 gets rtl8139
    # (qemuDomainDefaultNetModel, src/qemu/qemu_domain.c).
    device.model = model or ("virtio" if device.type == "vdpa" else "rtl8139")
    if device.model in _VIRTIO_MODELS:
        make_virtio(device, "net", device.model)
    elif device.model.startswith("virtio-net"):  # QEMU's own name, which libvirt takes for virtio too
        make_virtio(device, "net", device.model.replace("-net-pci", ""))
    elif device.model != "usb-net":
        device.connect = AUTO | (PCIE if device.model in {"e1000e", "igb"} else PCI)
    return device


def _controller(node: Node) -> Device:
    attrs = node.attrs
    kind, model = attrs.get("type", ""), attrs.get("model", "")
    index = attrs.get("index", "")
    device = Device("controller", node, f"{kind} {index}".rstrip())
    device.type, device.model = kind, model
    if "index" in attrs:
        value = number(index)
        if value is None or value > 0xFFFF:
            raise VirtfixError(
                "controller.index", f"controller index='{index}' is no index", where=str(node.line)
            )
        device.index = value
    else:
        device.index = -1
    if kind == "pci":
        device.is_bridge = True
        device.connect = _pci_controller(node, device)
    elif kind == "scsi":
        if model in {"virtio-scsi", *_VARIANTS}:
            make_virtio(device, "scsi", model)
        else:
            device.connect = PCI | AUTO
    elif kind == "virtio-serial":
        make_virtio(device, "console", model or "virtio")
    elif kind in {"sata", "ide"}:
        device.connect = PCI | AUTO
    elif kind == "usb" and model != "none":
        if model in USB2_COMPANIONS:
            device.key = f"controller[usb {index} {model}]"
        device.connect = AUTO | (PCIE if model in {"qemu-xhci", "nec-xhci"} else PCI)
    return device


def _pci_controller(node: Node, device: Device) -> int:
    if device.model not in PCI_CONTROLLERS:
        if not device.model and device.index <= 0:  # <controller type='pci' index='0'/> is the root
            return 0
        raise VirtfixError(
            "controller.model",
            f"PCI controller model '{device.model}' is not one that libvirt knows",
            where=str(node.line),
            hint="one of " + ", ".join(PCI_CONTROLLERS),
        )
    return PCI_CONTROLLERS[device.model]


def _hostdev(node: Node) -> Device:
    kind = node.attrs.get("type", "")
    device = Device("hostdev", node, _hostdev_name(node, kind))
    device.type = kind
    if node.attrs.get("mode", "subsystem") != "subsystem":
        return device
    if kind == "scsi_host":
        make_virtio(device, "scsi", node.attrs.get("model", "virtio"))
    elif kind == "pci" or (kind == "mdev" and node.attrs.get("model", "vfio-pci") == "vfio-pci"):
        # libvirt looks whether the host's device is express; where it can not, it takes it for that.
        device.connect = PCIE | AUTO
    return device


def _hostdev_name(node: Node, kind: str) -> str:
    source = node.find("source")
    if source is None:
        return kind or "?"
    address = source.find("address")
    attrs = address.attrs if address is not None else source.attrs
    if kind == "pci":
        return ":".join(attrs.get(part, "0")[2:] or "0" for part in ("domain", "bus", "slot", "function"))
    return f"{kind} {attrs.get('uuid') or attrs.get('wwpn') or attrs.get('unit') or attrs.get('bus') or ''}".rstrip()


def _by_model(tag: str, driver: str, default: str = "") -> Callable[[Node], Device]:
    """Make a reader of a tag whose attribute ``model`` says all."""

    def read(node: Node) -> Device:
        model = node.attrs.get("model", default)
        device = Device(tag, node, model or "?")
        device.model = model
        if model in _VIRTIO_MODELS:
            make_virtio(device, driver, model)
        return device

    return read


def _named(tag: str, driver: str, default: str = "") -> Callable[[Node], Device]:
    """Make a reader of a tag that is known by its backend: its model may be edited, so it is no name."""

    def read(node: Node) -> Device:
        device = _by_model(tag, driver, default)(node)
        backend = node.find("backend")
        name = (backend.text or backend.attrs.get("model", "")) if backend is not None else ""
        device.key = f"{tag}[{name}]" if name else tag
        return device

    return read


def _filesystem(node: Node) -> Device:
    device = Device("filesystem", node, attribute(node, "target", "dir") or "?")
    device.type = attribute(node, "driver", "type")
    device.model = node.attrs.get("model", "virtio")
    make_virtio(device, "fs" if device.type == "virtiofs" else "9p", device.model)
    return device


def _input(node: Node) -> Device:
    device = Device("input", node, f"{node.attrs.get('type', '')} {node.attrs.get('bus', '')}".strip())
    device.type = node.attrs.get("type", "")
    if node.attrs.get("bus") == "virtio":
        make_virtio(device, "input", node.attrs.get("model", "virtio"))
    return device


def _video(node: Node) -> Device:
    model = attribute(node, "model", "type")
    device = Device("video", node, model or "?")
    device.model = model
    if model == "virtio":
        make_virtio(device, "gpu")
    elif model == "bochs":
        device.connect = PCIE | AUTO
    elif model not in {"none", "ramfb", "gop"}:
        device.connect = PCI | AUTO
    return device


def _sound(node: Node) -> Device:
    device = Device("sound", node, node.attrs.get("model", "?"))
    device.model = node.attrs.get("model", "")
    if device.model == "virtio":
        make_virtio(device, "sound")
    elif device.model not in {"sb16", "pcspk", "usb"}:
        device.connect = PCI | AUTO
    return device


def _memory(node: Node) -> Device:
    model = node.attrs.get("model", "")
    device = Device("memory", node, model)
    device.model = model
    if model in {"virtio-mem", "virtio-pmem"}:
        make_virtio(device, model.removeprefix("virtio-"), model)
    return device


def _iommu(node: Node) -> Device:
    device = Device("iommu", node, node.attrs.get("model", "?"))
    device.model = node.attrs.get("model", "")
    if device.model == "virtio":
        make_virtio(device, "iommu")
        device.connect = PCIE | INTEGRATED
    return device


def _plain(tag: str, connect: int, attribute: str, *models: str) -> Callable[[Node], Device]:
    """Make a reader of a tag that sits on PCI with the given models only (all, where none are given)."""

    def read(node: Node) -> Device:
        model = node.attrs.get(attribute, "")
        device = Device(tag, node, node.attrs.get("name", model) or "?")
        device.model = model
        if not models or model in models:
            device.connect = connect | AUTO
        return device

    return read


def _serial(node: Node) -> Device:
    device = Device("serial", node, attribute(node, "target", "port") or "?")
    device.model = attribute(node, "target", "type")
    if device.model == "pci-serial":
        device.connect = PCI | AUTO
    return device


def _other(node: Node) -> Device:
    """Read a device of a tag that nothing here knows, as a later libvirt's: it holds its place."""
    device = Device(node.name, node, node.attrs.get("model", ""))
    device.model = node.attrs.get("model", "")
    return device


_READERS: dict[str, Callable[[Node], Device]] = {
    "controller": _controller,
    "disk": _disk,
    "interface": _interface,
    "hostdev": _hostdev,
    "memballoon": _named("memballoon", "balloon", "virtio"),
    "rng": _named("rng", "rng"),
    "filesystem": _filesystem,
    "vsock": _named("vsock", "vsock", "virtio"),
    "input": _input,
    "video": _video,
    "sound": _sound,
    "memory": _memory,
    "iommu": _iommu,
    "crypto": _named("crypto", "crypto"),
    "watchdog": _plain("watchdog", PCI, "model", "i6300esb"),
    "shmem": _plain("shmem", PCI, "name"),
    "serial": _serial,
}
