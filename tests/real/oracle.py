"""What libvirt itself makes of a domain, and what that means for a guest: the judge of the real tests.

The first half runs libvirt's QEMU driver inside this process, without a daemon: it validates and
defines for real, and starts nothing. The second half reads libvirt's own dump by rules written down
a second time, on purpose without a line of the package under test.
"""

from __future__ import annotations

import functools
import itertools
import re
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = tuple[int, int, int]
"""Bus as libvirt counts (the controller's index), slot, function."""

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"

# --- libvirt's QEMU driver in this process -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Host:
    """The embedded driver and what it offers."""

    libvirt: Any
    connection: Any
    emulator: str
    machines: frozenset[str]


@functools.cache
def _host() -> _Host:
    import legacy_guest  # a process can have one embedded driver only, so the two helpers share it
    import libvirt

    connection = legacy_guest.connection()
    capabilities = etree.fromstring(connection.getCapabilities().encode())
    emulator = capabilities.findtext(".//guest/arch[@name='x86_64']/emulator", "")
    machines = capabilities.iterfind(".//guest/arch[@name='x86_64']//machine")
    return _Host(libvirt, connection, emulator, frozenset(machine.text or "" for machine in machines))


@functools.cache
def available() -> str:
    """Return an empty string where ``define`` can run, else the reason why it cannot."""
    try:
        import libvirt
    except ImportError as error:
        return f"libvirt-python is not installed: {error}"
    try:
        emulator = _host().emulator
    except libvirt.libvirtError as error:
        return f"libvirt's QEMU driver does not run here: {error}"
    return "" if emulator else "libvirt finds no qemu-system-x86_64 on this machine"


def define(xml: bytes | str) -> str:
    """Define ``xml``, return libvirt's inactive dump with all secrets, and undefine it again.

    What belongs to the owner's host is made to fit this one first: name and uuid are fresh, the
    domain type is qemu, the emulator this host's, and a machine type that is not on offer here
    becomes the newest of its family. A domain that libvirt refuses raises ``libvirt.libvirtError``.
    """
    host = _host()
    libvirt = host.libvirt
    domain = host.connection.defineXMLFlags(_fit(xml, host), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        dump: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        return dump
    finally:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)


def _fit(xml: bytes | str, host: _Host) -> str:
    # A str has been decoded already, so what its declaration says no longer counts.
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False) if isinstance(xml, str) else None
    root = etree.fromstring(xml.encode() if isinstance(xml, str) else xml, parser)
    fresh = uuid.uuid4()
    root.set("type", "qemu")
    for tag, text in (("name", f"oracle-{fresh}"), ("uuid", str(fresh))):
        element = root.find(tag)
        if element is None:
            element = etree.Element(tag)
            root.insert(0, element)
        element.text = text
    for element in root.iterfind("sysinfo/system/entry[@name='uuid']"):
        element.text = str(fresh)  # libvirt refuses two that differ
    for element in root.iterfind("devices/emulator"):
        element.text = host.emulator
    kind = root.find("os/type")
    if kind is not None and (kind.get("machine") or "") not in {"", *host.machines}:
        kind.set("machine", "q35" if "q35" in kind.get("machine", "") else "pc")
    return etree.tostring(root, encoding="unicode")


# --- reading a dump ------------------------------------------------------------------------------

# The QEMU type without "-pci" -> the Linux driver that binds to it.
DRIVERS = {
    "virtio-blk": "virtio_blk",
    "vhost-user-blk": "virtio_blk",
    "virtio-net": "virtio_net",
    "virtio-scsi": "virtio_scsi",
    "vhost-scsi": "virtio_scsi",
    "virtio-serial": "virtio_console",
    "virtio-balloon": "virtio_balloon",
    "virtio-rng": "virtio_rng",
    "virtio-9p": "9pnet_virtio",
    "vhost-user-fs": "virtiofs",
    "vhost-vsock": "vmw_vsock_virtio_transport",
    "virtio-input": "virtio_input",
    "virtio-gpu": "virtio_gpu",
    "virtio-iommu": "virtio_iommu",
    "virtio-crypto": "virtio_crypto",
    "virtio-sound": "virtio_snd",
    "virtio-mem": "virtio_mem",
    "virtio-pmem": "virtio_pmem",
}

# They speak virtio 1.0 only, wherever they sit and whatever is set.
NATIVE = frozenset(
    {
        "vhost-user-fs",
        "virtio-input",
        "virtio-gpu",
        "virtio-iommu",
        "virtio-crypto",
        "virtio-sound",
        "virtio-mem",
        "virtio-pmem",
    }
)

# QEMU, hw/virtio/virtio-pci.c: disable-legacy=auto is "on" behind an express bus that is not a root.
EXPRESS_PORTS = frozenset({"pcie-root-port", "pcie-switch-upstream-port", "pcie-switch-downstream-port"})


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One device of a dump that has a PCI address and is no PCI controller."""

    key: str
    driver: str
    where: Address
    element: etree._Element
    qemu_type: str = ""
    """The QEMU type without ``-pci`` of a virtio device, empty for any other."""


def virtio_addresses(dump: str) -> dict[str, Address]:
    """Return the place of each virtio device by a readable key."""
    return {device.key: device.where for device in pci_devices(dump) if device.qemu_type}


def modern_only(dump: str) -> list[str]:
    """Return the keys of the virtio devices that a driver for legacy virtio cannot see.

    The kinds that are virtio 1.0 only are among them; ``native`` tells them apart.
    """
    root = _tree(dump)
    buses = {_index(bus): bus.get("model", "") for bus in _pci_controllers(root)}
    return [device.key for device in _devices(root) if _is_modern_only(device, root, buses)]


def native(dump: str) -> list[str]:
    """Return the keys of the virtio devices of a kind that never had a legacy interface."""
    root = _tree(dump)
    return [device.key for device in _devices(root) if _is_native(device, root)]


def guest_order(dump: str) -> dict[str, list[str]]:
    """Return the keys of each driver's devices in the order in which the guest's kernel meets them.

    Devices that are not virtio are there too, under the name of their model.
    """
    root = _tree(dump)
    numbers = bus_numbers(dump, as_met=True)
    met: defaultdict[str, list[str]] = defaultdict(list)
    for device in sorted(_devices(root), key=lambda device: (numbers[device.where[0]], *device.where[1:])):
        met[device.driver].append(device.key)
    return dict(met)


def bus_numbers(dump: str, *, as_met: bool = False) -> dict[int, int]:
    """Return the number that the firmware gives to each bus, by libvirt's controller index.

    With ``as_met`` they are counted as Linux meets them: bus 0, then the expanders, the last one made first.
    """
    children: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    roots = {0: 0}
    for controller in _pci_controllers(_tree(dump)):
        place = _address(controller)
        if controller.get("model") in {"pci-expander-bus", "pcie-expander-bus"}:
            number = int(controller.find("target").get("busNr", "0"))  # type: ignore[union-attr]
            # The conventional one comes with a bridge of its own between the new root and the bus.
            roots[_index(controller)] = number + (controller.get("model") == "pci-expander-bus")
        elif place is not None:
            bus, slot, function = place
            children[bus].append((slot, function, _index(controller)))
    numbers: dict[int, int] = {}

    def visit(index: int, number: int) -> int:
        """Number the bus and all below it, depth first by slot and function; return the last number."""
        numbers[index] = last = number
        for _slot, _function, child in sorted(children[index]):
            last = visit(child, last + 1)
        return last

    if as_met:
        last = -1
        for index in sorted(roots, key=lambda index: (index > 0, -index)):
            last = visit(index, last + 1)
        return numbers
    for index, number in roots.items():
        visit(index, number)
    return numbers


def pci_devices(dump: str) -> list[PciDevice]:
    """Return every device of a dump that has a PCI address, in the dump's order."""
    return list(_devices(_tree(dump)))


def _tree(dump: str) -> etree._Element:
    return etree.fromstring(dump.encode())


def _pci_controllers(root: etree._Element) -> list[etree._Element]:
    return root.findall("devices/controller[@type='pci']")


def _index(controller: etree._Element) -> int:
    return int(controller.get("index", "0"))


def _address(element: etree._Element) -> Address | None:
    address = element.find("address[@type='pci']")
    if address is None:
        return None
    return tuple(int(address.get(part, "0"), 0) for part in ("bus", "slot", "function"))  # type: ignore[return-value]


def _devices(root: etree._Element) -> Iterator[PciDevice]:
    seen: defaultdict[str, int] = defaultdict(int)
    for element in root.iterfind("devices/*"):
        tag = str(element.tag)
        position = seen[tag]
        seen[tag] += 1
        where = _address(element)
        if where is None or (tag == "controller" and element.get("type") == "pci"):
            continue
        qemu_type = _virtio_type(element)
        driver = DRIVERS[qemu_type] if qemu_type else _model(element)
        yield PciDevice(_key(element, position), driver, where, element, qemu_type)


def _key(element: etree._Element, position: int) -> str:
    """Name a device by what its owner knows it by, and by its position only where there is nothing."""
    match element.tag:
        case "disk":
            name = element.find("target").get("dev")  # type: ignore[union-attr]
            return f"disk[{name}]"
        case "interface":
            return f"nic[{element.find('mac').get('address')}]"  # type: ignore[union-attr]
        case "controller":
            # The parts of an ICH9 USB controller share one index.
            part = f" {element.get('model')}" if element.get("type") == "usb" else ""
            return f"controller[{element.get('type')} {element.get('index')}{part}]"
        case "filesystem":
            return f"filesystem[{element.find('target').get('dir')}]"  # type: ignore[union-attr]
        case "hostdev" if element.get("type") == "scsi_host":
            return f"hostdev[{element.find('source').get('wwpn')}]"  # type: ignore[union-attr]
        case "hostdev" if element.get("type") == "pci":
            place = element.find("source/address")
            parts = ("domain", "bus", "slot", "function")
            return "hostdev[{}:{}:{}.{}]".format(*(int(place.get(p, "0"), 0) for p in parts))  # type: ignore[union-attr]
        case "memballoon" | "vsock" | "iommu":
            return str(element.tag)
        case _:
            return f"{element.tag}[{position}]"


def _model(element: etree._Element) -> str:
    """Return what is said of the model, which stands in two places."""
    inner = element.find("model")
    return (
        element.get("model")
        or (inner.get("type") or inner.get("name") if inner is not None else None)
        or element.get("type")
        or str(element.tag)
    )


def _virtio_type(element: etree._Element) -> str:
    """Return the QEMU type of a virtio device without ``-pci``, or an empty string."""
    model = _model(element)
    virtio = model.startswith("virtio")
    source = element.get("type", "")
    match element.tag:
        case "disk" if element.find("target[@bus='virtio']") is not None:
            return "vhost-user-blk" if source == "vhostuser" else "virtio-blk"
        case "interface" if virtio:
            return "virtio-net"
        case "controller" if source == "scsi" and virtio:
            return "virtio-scsi"
        case "controller" if source == "virtio-serial":
            return "virtio-serial"
        case "memballoon" if virtio:
            return "virtio-balloon"
        case "rng" if virtio:
            return "virtio-rng"
        case "filesystem":
            return "vhost-user-fs" if element.find("driver[@type='virtiofs']") is not None else "virtio-9p"
        case "hostdev" if source == "scsi_host":
            return "vhost-scsi"
        case "vsock":
            return "vhost-vsock"
        case "input" if element.get("bus") == "virtio":
            return "virtio-input"
        case "video" if virtio:
            return "virtio-gpu"
        case "iommu" | "crypto" | "sound" if virtio:
            return f"virtio-{element.tag}"
        case "memory" if virtio:
            return model
        case _:
            return ""


def _is_native(device: PciDevice, root: etree._Element) -> bool:
    if device.qemu_type == "vhost-vsock":
        # Machine types >= 5.1 force it to virtio 1.0.
        machine = root.find("os/type")
        version = re.search(r"-(\d+)\.(\d+)", machine.get("machine", "") if machine is not None else "")
        return version is None or (int(version[1]), int(version[2])) >= (5, 1)
    return device.qemu_type in NATIVE


def _is_modern_only(device: PciDevice, root: etree._Element, buses: dict[int, str]) -> bool:
    if not device.qemu_type:
        return False
    model = _model(device.element)
    if _is_native(device, root) or model.endswith("-non-transitional"):
        return True
    if model.endswith("-transitional"):
        return False
    match _disable_legacy(device, root):
        case "on":
            return True
        case "off":
            return False
        case _:
            return buses[device.where[0]] in EXPRESS_PORTS


def _disable_legacy(device: PciDevice, root: etree._Element) -> str:
    """Return what the owner's QEMU settings say: a property of the device, else a global one."""
    alias = device.element.find("alias")
    if alias is not None:
        for override in root.iterfind(f"{QEMU}override/{QEMU}device"):
            if override.get("alias") == alias.get("name"):
                found = override.find(f"{QEMU}frontend/{QEMU}property[@name='disable-legacy']")
                if found is not None and found.get("type") != "remove":
                    return found.get("value", "auto")
    value = "auto"
    arguments = [arg.get("value", "") for arg in root.iterfind(f"{QEMU}commandline/{QEMU}arg")]
    for option, setting in itertools.pairwise(arguments):
        if option in {"-global", "--global"}:
            long_form = r"driver=([\w-]+),property=disable-legacy,value=(\w+)"
            match = re.fullmatch(rf"([\w-]+)\.disable-legacy=(\w+)|{long_form}", setting)
            if match and (match[1] or match[3]) in {f"{device.qemu_type}-pci", "virtio-pci"}:
                value = match[2] or match[4]
    return value
