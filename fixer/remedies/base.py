"""What remedies share: the case they look at, the desk they work on, the offer they make."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol
from zlib import crc32

from fixer.domain.devices import is_kept_alias
from fixer.domain.edits import (
    AddElement,
    Edit,
    SetAddress,
    SetAttribute,
    address_element,
    new_controller,
)
from fixer.domain.pci import EXPRESS_PORTS, free_chassis
from fixer.domain.places import Places, Rank, Spot
from fixer.domain.virtio import IO_DEVICES_A_WINDOW, NUMBERED, has_io_bar
from fixer.domain.writing import Element

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain
    from fixer.domain.virtio import Mode
    from fixer.policy.model import SitePreferences


class Case(NamedTuple):
    """One device to be cured. ``low`` and ``high`` bound the ranks that keep its driver's order."""

    device: Device
    mode: Mode
    current: Rank | None
    low: Rank
    high: Rank
    keep_hotplug: bool
    pinned: str  # why it can not move, '' where it can
    legacy_only: bool  # the guest wants no virtio 1.0 beside
    hidden: bool  # a function of a slot without function 0
    companion: bool  # sits right, has no address yet, and must keep its order among devices that move
    forced: bool  # a QEMU property keeps the legacy interface off wherever it sits
    properties: bool  # QEMU properties are set on it, which the transitional types do not know


class Offer(NamedTuple):
    """What a remedy would do for a case. ``refusal`` says why it can not, '' where it can."""

    remedy: str
    refusal: str = ""
    price: int = 0
    spot: Spot | None = None  # None: the device stays
    bridge: NewBridge | None = None  # a bridge that has to be made for it
    note: str = ""


class Remedy(Protocol):
    """One file a remedy: module attributes of the ``remedies`` package fit this protocol."""

    NAME: str
    TITLE: str

    def offer(self, case: Case, desk: Desk) -> Offer: ...
    def edits(self, case: Case, offer: Offer, desk: Desk) -> Iterable[Edit]: ...


# The one that hangs from a root port, which can share a slot with others.
_PREFERRED = "pcie-to-pci-bridge"


class NewBridge:
    """A conventional bridge that the plan adds: one window, 31 slots.

    ``port`` is the place of its head on the root bus; ``behind`` is the bus of that head where it is an empty port of
    the XML, else the head is made too.
    """

    def __init__(
        self, port: Address, index: int, model: str, chassis: int, *, behind: int | None = None
    ) -> None:
        self.chassis = chassis
        self.port = port
        self.model = model
        self.behind = behind
        self.port_index = index if behind is None else behind
        self.index = index + 1 if behind is None else index
        self.used = 0

    @property
    def full(self) -> bool:
        return self.used >= 31  # slots 1 to 31 of virDomainPCIAddressBusSetModel

    def spot(self) -> Spot:
        slot = self.used + 1
        # A new bus follows every bus that hangs from a lower place on the root bus.
        return Spot(self.index << 8 | slot << 3, (self.port, self.index + 0.5, slot << 3))

    def controllers(self) -> list[AddElement]:
        """Return the controllers that make it: root port + pcie-to-pci-bridge, or dmi-to-pci-bridge + pci-bridge."""
        if self.behind is not None:
            return [new_controller(self.model, self.index, self.behind << 8)]
        if self.model == _PREFERRED:
            pair = (("pcie-root-port", self.port), ("pcie-to-pci-bridge", self.port_index << 8))
        else:
            pair = (("dmi-to-pci-bridge", self.port), ("pci-bridge", self.port_index << 8 | 1 << 3))
        return [
            new_controller(model, index, address, chassis=self.chassis if model in EXPRESS_PORTS else None)
            for index, (model, address) in enumerate(pair, self.port_index)
        ]


class Desk:
    """The state of one plan in the making: places, windows and bridges used so far."""

    def __init__(self, domain: Domain, site: SitePreferences, *, settle_all: bool = False) -> None:
        self.settle_all = settle_all
        self.domain = domain
        self.site = site
        self.places = Places(domain)
        self.capacity = site.windows_for(domain.firmware.kind, domain.machine.family)
        self.windows = sum(domain.io_windows.values())
        self._io_devices = domain.io_devices()
        self.bridges: list[NewBridge] = []
        self.new_first = False  # bridges that the plan adds come before those of the XML
        # Names of the remedies in the order in which to ask them, by the one that was wanted.
        self.by_weight: dict[str | None, list[str]] = {}
        self.override_quota: frozenset[Device] | None = None
        self.curing: frozenset[Device] = frozenset()
        # Function-0 addresses whose slot gets several functions by this plan.
        self.multifunction: set[Address] = set()

    def windows_left(self) -> int:
        return self.capacity - self.windows

    def fresh_window(self, bus: int) -> bool:
        """Tell whether one more device with an I/O BAR on this bus takes one more window."""
        return bus != 0 and self._io_devices.get(bus, 0) % IO_DEVICES_A_WINDOW == 0

    def costs_window(self, device: Device) -> bool:
        """Tell whether a device takes one more window once it has an I/O BAR where it sits; many have one there."""
        has = has_io_bar(device, self.domain.modes[device])
        return not has and self.fresh_window(self.bus_of(device))

    def bus_of(self, device: Device) -> int:
        """Return the index of the bus where a device sits."""
        assert self.domain.layout is not None
        return self.domain.layout.at[device] >> 8

    def offer_bridge(self, remedy: str, case: Case) -> Offer:
        """Return the offer of a place behind a conventional bridge, in the name of ``remedy``."""
        if case.pinned:
            return Offer(remedy, case.pinned)
        spot, bridge, windows, refusal = self._bridge_spot(case)
        if spot is None:
            return Offer(remedy, refusal)
        price = self.price(remedy, moved=case.device.address is not None, windows=windows)
        return Offer(remedy, "", price, spot, bridge)

    def _bridge_spot(self, case: Case) -> tuple[Spot | None, NewBridge | None, int, str]:
        """Find a conventional slot: an existing bridge first, then one already planned, then a new one.

        Returns the spot, the new bridge it is on, the windows that it newly takes, and why there is none.
        """
        old = self._old_bridge(case)
        if old is not None and not self.new_first:
            return old
        for bridge in self.bridges:
            if not bridge.full and case.low < bridge.spot().rank < case.high:
                return bridge.spot(), bridge, 0, ""
        new = self._new_bridge(case)
        return old if new[0] is None and old is not None else new

    def _old_bridge(self, case: Case) -> tuple[Spot, None, int, str] | None:
        for bus in self.places.bridges(hotplug=case.keep_hotplug):
            fresh = int(self.fresh_window(bus.index))
            if fresh > self.windows_left():
                continue
            spot = self.places.on_bridge(bus, case.low, case.high)
            if spot is not None:
                return spot, None, fresh, ""
        return None

    def _new_bridge(self, case: Case) -> tuple[Spot | None, NewBridge | None, int, str]:
        if self.windows_left() < 1:
            return None, None, 0, f"all {self.capacity} I/O windows of the firmware are used"
        model = self.site.bridge_model
        if self.places.hangs_on_made_up_bridge():
            return None, None, 0, "libvirt makes up a bridge for addresses of the XML, and no longer would"
        index = self.places.next_index
        if index + 1 > 0xFF:
            return None, None, 0, "no PCI bus number is left"
        given = [one.chassis for one in self.bridges]
        chassis = free_chassis(self.places.layout, index, given)
        found = itertools.chain(
            (
                NewBridge(port, index, model, chassis)
                for port in self.places.new_ports(beside=model == _PREFERRED)
            ),
            (
                NewBridge(port, index, model, chassis, behind=bus)
                for bus, port in (self.places.empty_ports() if model == _PREFERRED else ())
            ),
        )
        bridge = next((bridge for bridge in found if case.low < bridge.spot().rank < case.high), None)
        if bridge is None:
            return (
                None,
                None,
                0,
                "pcie.0 has no place for a bridge that keeps the order of the guest's devices",
            )
        return bridge.spot(), bridge, 1, ""

    def commit(self, case: Case, offer: Offer) -> None:
        """Use up what an accepted offer takes."""
        if offer.bridge is not None:
            bridge = offer.bridge
            if bridge not in self.bridges:
                self.bridges.append(bridge)
                self.places.take(bridge.port if bridge.behind is None else bridge.behind << 8)
                self.places.heads.append(bridge.port)
                self.places.next_index = bridge.index + 1
                self.windows += 1
            bridge.used += 1
            return
        bus = self.bus_of(case.device)
        if offer.spot is None and has_io_bar(case.device, case.mode):
            return  # it is counted already
        if offer.spot is not None:
            bus = offer.spot.address >> 8
            self.places.take(offer.spot.address)
            if offer.spot.address & 7:
                self.multifunction.add(offer.spot.address & ~7)
        self.windows += self.fresh_window(bus)
        self._io_devices[bus] = self._io_devices.get(bus, 0) + 1

    def price(self, remedy: str, *, moved: bool, windows: int = 0, hotplug_lost: bool = False) -> int:
        weights = self.site.weights
        price = weights.get(remedy, 0) + windows * weights.get("io-window", 0)
        if moved:
            price += weights.get("address-change", 0)
        return price + (weights.get("hotplug-loss", 0) if hotplug_lost else 0)

    def has_siblings(self, device: Device) -> bool:
        return sum(other.driver == device.driver for other in self.domain.modes) > 1

    def right_place(self, case: Case) -> bool:
        """Tell whether the place is right and something else is wrong: the model, or a QEMU property."""
        return not case.companion and self.stays(case.device, legacy_only=case.legacy_only)

    def stays(self, device: Device, *, legacy_only: bool) -> bool:
        """Tell whether a device to be cured needs no other place."""
        # Without an address the place hangs on the model, which a legacy-only guest needs changed.
        floating = legacy_only and device.address is None
        return not (floating or self.on_port(device) or self.domain.is_hidden(device))

    def on_port(self, device: Device) -> bool:
        """Tell whether a device sits behind an express port, where it can be hot-plugged."""
        bus = self.places.layout.bus_of(device)
        return bus is not None and bus.model in EXPRESS_PORTS


def move_edits(case: Case, spot: Spot, model: str | None, desk: Desk) -> list[Edit]:
    """Return the edits that put a device at ``spot``; ``model`` is the model that it must have, None for any."""
    device = case.device
    shared = spot.address in desk.multifunction
    if device.node is None:
        children: tuple[Element, ...] = (address_element(spot.address, multifunction=shared),)
        alias = alias_for(device, desk.domain)
        if case.legacy_only and is_kept_alias(alias):  # its override hangs on an alias
            children = (Element("alias", {"name": alias}), *children)
        return [implicit_with(device, children, model)]
    edits: list[Edit] = [SetAddress(device.key, device.address, spot.address, shared)]
    return edits + model_edits(device, model)


def model_edits(device: Device, model: str | None) -> list[Edit]:
    """Return the edit that gives a device the virtio model ``model``, none where it has it."""
    if model is None or device.node is None:
        return []
    at, name = (f"{device.key}/model", "type") if device.tag == "interface" else (device.key, "model")
    node = device.node.find("model") if device.tag == "interface" else device.node
    if node is None:  # an interface of type vdpa, whose model libvirt knows by itself
        element = Element("model", {"type": model})
        return [AddElement(device.key, element, "")]
    old = node.attrs.get(name)
    return [] if old == model else [SetAttribute(at, name, old, model)]


def plain_model(device: Device) -> str:
    """Return the spelling of the virtio model that leaves the interface to the place."""
    return "virtio-scsi" if device.tag == "controller" and device.type == "scsi" else "virtio"


def model_for_move(case: Case) -> str | None:
    """Return the model that a device needs on a conventional slot: only -non-transitional is in the way."""
    if case.device.variant != "non-transitional":
        return None
    return plain_model(case.device) if case.legacy_only else "virtio-transitional"


def implicit_with(device: Device, children: tuple[Element, ...], model: str | None = None) -> AddElement:
    """Return the edit that writes down a device which libvirt would add, with ``children``."""
    if device.tag == "memballoon":
        attrs = {"model": model or "virtio"}
    else:
        attrs = {"type": device.type, "index": str(device.index)}
        if model and model != "virtio":
            attrs["model"] = model
    return AddElement("domain/devices", Element(device.tag, attrs, children), device.key)


def alias_for(device: Device, domain: Domain) -> str:
    """Return the alias by which properties find a device.

    That is the owner's; or the one that libvirt makes, where properties of the owner count on it, which another would
    orphan, as it would those of the devices that libvirt numbers with it; else a stable one made from the key.
    """
    if is_kept_alias(device.alias):
        return device.alias
    usual = domain.aliases.get(device, "")
    family = re.compile(
        re.escape(usual.rstrip("0123456789")) + r"\d+" if device.tag in NUMBERED else re.escape(usual)
    )
    if usual and any(family.fullmatch(alias) for alias in domain.properties.by_alias):
        return usual
    # libvirt takes letters, digits, '_' and '-' after 'ua-'.
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", device.key).strip("-")
    if device.tag == "filesystem" and re.search(r"[^\w\[\]-]", device.key, re.ASCII):
        plain += f"-{crc32(device.key.encode()):08x}"  # tags are free text: two could come out alike
    return f"ua-virtfix-{plain}"
