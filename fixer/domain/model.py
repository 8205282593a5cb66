"""A domain as virtfix sees it: its document, its machine, its devices and where they sit."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from fixer.domain import virtio
from fixer.domain.devices import Device, kind_of, read_devices
from fixer.domain.document import Document, Node, parse
from fixer.domain.firmware import read_firmware
from fixer.domain.implicit import implicit_controllers
from fixer.domain.machine import Family, read_machine
from fixer.domain.pci import LPC, PIIX_ISA, Layout
from fixer.domain.placement import place

if TYPE_CHECKING:
    from fixer.domain.virtio import Mode

LIBOSINFO_NAMESPACE = "http://libosinfo.org/xmlns/libvirt/domain/1.0"


class Domain:
    """Everything that planning asks of a domain.

    Devices and layout are read when they are asked for, and only then judged: a domain whose guest needs
    nothing is not refused for anything. Machines that virtfix does not judge have no layout.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.root = document.root
        self.machine = read_machine(self.root)
        self.firmware = read_firmware(self.root)

    @cached_property
    def devices(self) -> list[Device]:
        """The devices of the XML and those that libvirt adds. Raises VirtfixError for impossible ones."""
        if not self.machine.applicable:
            return []
        written = read_devices(self.root)
        return written + implicit_controllers(self.root, written, self.machine.family is Family.Q35)

    @cached_property
    def layout(self) -> Layout | None:
        """Where they sit. Raises VirtfixError for addresses that libvirt refuses."""
        return place(self.machine.family, self.devices) if self.machine.applicable else None

    @cached_property
    def properties(self) -> virtio.Properties:
        return virtio.Properties(self.root, legacy_machine=self.machine.legacy_virtio)

    @cached_property
    def aliases(self) -> dict[Device, str]:
        return virtio.aliases(self.devices) if self.properties.by_alias else {}

    @cached_property
    def modes(self) -> dict[Device, Mode]:
        """The interface of each virtio device."""
        layout = self.layout
        if layout is None:
            return {}
        get, properties = self.aliases.get, self.properties
        return {
            device: virtio.mode_of(device, layout, properties, get(device, ""))
            for device in self.devices
            if device.driver and device in layout.at  # a ccw or mmio address is no PCI place
        }

    def is_hidden(self, device: Device) -> bool:
        """Tell whether a device is a function of a slot without function 0, where no firmware looks."""
        layout = self.layout
        assert layout is not None
        address = layout.at.get(device)
        if address is None or not address & 7:
            return False
        # The chipset's own slot always has function 0: the LPC bridge of Q35, the ISA bridge of PIIX3.
        own = LPC if layout.family is Family.Q35 else PIIX_ISA
        return address & ~7 not in layout.holder and address >> 3 != own >> 3

    @property
    def name(self) -> str:
        node = self.root.find("name")
        return node.text if node is not None else ""

    @property
    def uuid(self) -> str:
        node = self.root.find("uuid")
        return node.text if node is not None else ""

    @property
    def launch_security(self) -> str:
        """Type of <launchSecurity> (sev, sev-snp, tdx), '' without it."""
        node = self.root.find("launchSecurity")
        return "" if node is None else node.attrs.get("type", "")

    @cached_property
    def io_windows(self) -> dict[int, int]:
        assert self.layout is not None
        return virtio.io_windows(self.layout, self.modes, self.firmware.kind)

    def io_devices(self) -> dict[int, int]:
        """Return how many devices on each bus need I/O ports, by the index of the bus."""
        assert self.layout is not None
        return virtio.io_devices(self.layout, self.modes)

    @cached_property
    def by_kind(self) -> dict[str, list[Device]]:
        """Return all PCI devices of each kind (virtio driver, or tag and model) in the guest's order."""
        assert self.layout is not None
        numbers = [bus.number << 8 for bus in self.layout.buses]
        at = self.layout.at
        ranked = {
            numbers[address >> 8] | address & 0xFF: dev for dev, address in at.items() if not dev.is_bridge
        }
        found: dict[str, list[Device]] = {}
        for _, device in sorted(ranked.items()):
            found.setdefault(kind_of(device), []).append(device)
        return found

    @cached_property
    def by_driver(self) -> dict[str, list[Device]]:
        """Return the virtio devices of each driver in the order in which the guest enumerates them."""
        return {kind: devices for kind, devices in self.by_kind.items() if devices[0].driver}

    def libosinfo_ids(self) -> list[tuple[str, str]]:
        """Return (OS id as URI, line) for each <libosinfo:os> in the metadata."""
        metadata = self.root.find("metadata")
        if metadata is None:
            return []
        outer = {**self.root.attrs, **metadata.attrs}
        return [
            (node.attrs["id"], f"line {node.line}")
            for holder in metadata.children_in(LIBOSINFO_NAMESPACE, "libosinfo", self.root.attrs)
            for node in holder.children_in(LIBOSINFO_NAMESPACE, "os", outer)
            if "id" in node.attrs
        ]

    @cached_property
    def by_key(self) -> dict[str, Device]:
        return {device.key: device for device in self.devices}

    def find(self, ref: str) -> Node | None:
        """Return the element that an edit refers to.

        ``domain``; ``domain/NAME``; ``domain/NAME/CHILD``, or ``domain/NAME/CHILD#N`` for the Nth of them; ``override``; ``commandline``; a device key; ``KEY/CHILD``; ``override[ALIAS]``,
        ``override[ALIAS]/frontend`` or ``override[ALIAS]/PROPERTY`` of <qemu:override>.
        """
        if ref == "domain":
            return self.root
        if ref in {"override", "commandline"}:
            return self.qemu(ref)
        if ref in self.by_key:
            return self.by_key[ref].node
        head, _, child = ref.rpartition("/")
        if ref.startswith("override["):
            return self._find_override(ref, head, child)
        if head == "domain":
            return next((node for node in reversed(self.root.children) if node.name == child), None)
        if head.startswith("domain/"):
            parent = self.find(head)
            name, _, which = child.partition("#")
            same = [] if parent is None else parent.findall(name)
            return next((node for number, node in enumerate(same, 1) if str(number) == (which or "1")), None)
        device = self.by_key.get(head)
        if device is None or device.node is None:
            return None
        if child == "address" and device.address_node is not None:
            return device.address_node
        return device.node.find(child)

    def _find_override(self, ref: str, head: str, child: str) -> Node | None:
        alias = (ref if ref.endswith("]") else head)[len("override[") : -1]
        override = self.qemu("override")
        device = override and next(
            (node for node in override.children if node.attrs.get("alias") == alias), None
        )
        if not device or ref.endswith("]"):
            return device or None
        if child == "frontend":
            return next((node for node in device.children if virtio.local_name(node) == "frontend"), None)
        return next((node for node in device.iter() if node.attrs.get("name") == child), None)

    def raw_arguments(self) -> list[Node]:
        """Return the arguments of <qemu:commandline> that have a value."""
        found = self.qemu("commandline")
        return [] if found is None else [node for node in found.children if "value" in node.attrs]

    def qemu(self, local: str) -> Node | None:
        """Return the first element of libvirt's QEMU namespace of that name, whatever its prefix."""
        return next(iter(self.root.children_in(virtio.QEMU_NAMESPACE, local)), None)


def read_domain(data: bytes) -> Domain:
    """Parse domain XML. Raises VirtfixError, with the place in the file, for what is none."""
    return Domain(parse(data))
