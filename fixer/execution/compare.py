"""Whether what libvirt took is what was meant. What libvirt writes in its own way is no difference."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fixer.domain.devices import format_address, is_kept_alias
from fixer.domain.model import read_domain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixer.domain.devices import Device
    from fixer.domain.document import Node
    from fixer.domain.model import Domain

# Part of every Q35 machine; libvirt from 9.1.0 on writes it down (qemuDomainDefAddImplicitWatchdog).
_ADDED = frozenset({"watchdog[itco]"})
# What libvirt from 8.6 on writes beside firmware='efi' when it chooses the image (qemuFirmwareFillDomain).
_CHOSEN = frozenset({"loader", "nvram", "firmware"})

# libvirt puts these in an order of its own (virDomainDiskInsert, virDomainControllerInsert).
_SORTED = frozenset({"disk", "controller"})

Form = tuple[str, tuple[tuple[str, str], ...], str, tuple["Form", ...]]

# What libvirt fills in by itself where it is not stated: places and aliases of devices, chassis and port of a
# PCI controller (virDomainControllerDefFormat). Places on PCI are compared by themselves.
_FILLED = ("address", "alias")
_FILLED_IN_PCI_CONTROLLERS = ("address", "alias", "target", "model")


def differences(ours: Domain, got: bytes) -> list[str]:
    """Return what of the domain that was meant libvirt did not take, a phrase each; both are inactive XML."""
    theirs = read_domain(got)
    found = list(_places(ours, theirs, theirs.by_key)) + list(_devices(ours, theirs))
    if _attributes(ours.root) != _attributes(theirs.root):
        found.append("<domain> has other attributes")
    parts = dict.fromkeys((*_parts(ours.root, theirs.root), *_other_devices(ours, theirs)))
    return found + [f"<{name}> differs" for name in parts]


def misplaced(ours: Domain, got: bytes) -> list[str]:
    """Return which devices sit or show elsewhere than meant: for XML that libvirt had not written before."""
    theirs = read_domain(got)
    return list(_places(ours, theirs, {**theirs.by_key, **_renamed(ours, theirs)}))


def _renamed(ours: Domain, theirs: Domain) -> dict[str, Device]:
    """Return the devices that libvirt gave the name that was missing, as a NIC its MAC, under the keys they had.

    It keeps the order of devices of one kind.
    """
    nameless = {key: device for key, device in ours.by_key.items() if key not in theirs.by_key}
    left = [device for key, device in theirs.by_key.items() if key not in ours.by_key]
    found: dict[str, Device] = {}
    for tag in {device.tag for device in nameless.values()}:
        keys = [key for key, device in nameless.items() if device.tag == tag]
        named = [device for device in left if device.tag == tag and device.key not in _ADDED]
        if len(keys) == len(named):
            found.update(zip(keys, named, strict=True))
    return found


def without_known(ours: Domain, known: Domain) -> bytes:
    """Return the XML of a domain without the devices that ``known`` has to the byte, in UTF-8.

    Its schema judges each device by itself (domaincommon.rng: an interleave of devices), so what libvirt wrote
    need not be held against it again with each domain.
    """
    devices, before = ours.root.find("devices"), known.root.find("devices")
    source = ours.document.source
    if devices is None or before is None:
        return source
    same = {child.raw for child in before.children}
    parts, at = [], 0
    for child in devices.children:
        if child.raw in same:
            parts.append(source[at : child.start])
            at = child.end
    return b"".join([*parts, source[at:]])


def _places(ours: Domain, theirs: Domain, found: Mapping[str, Device]) -> Iterator[str]:
    """Compare where each device sits and which interface it shows, also those that libvirt adds.

    ``found`` has their devices under the keys of ours.
    """
    if ours.layout is None or theirs.layout is None:
        if (ours.layout is None) != (theirs.layout is None):
            yield "the machine type differs"
        return
    for device, address in ours.layout.at.items():
        other = found.get(device.key)
        place = theirs.layout.at.get(other) if other is not None else None
        if place != address:
            where = "nowhere" if place is None else format_address(place)
            yield f"{device.key} is at {where}, meant {format_address(address)}"
        elif other is not None and device in ours.modes and theirs.modes.get(other) is not ours.modes[device]:
            yield f"{device.key} is {theirs.modes[other].value}, meant {ours.modes[device].value}"


def _devices(ours: Domain, theirs: Domain) -> Iterator[str]:
    for key, device in ours.by_key.items():
        other = theirs.by_key.get(key)
        if device.node is None or other is None or other.node is None:
            if other is None:
                yield f"{key} is missing"
            continue
        if device.node.raw == other.node.raw:
            continue
        filled = _filled(device)
        if _form(device.node, filled) != _form(other.node, filled):
            yield f"{key} differs"
    extra = [key for key in theirs.by_key if key not in ours.by_key and key not in _ADDED]
    if extra:
        yield f"{', '.join(extra)} appeared"
    rows = _rows(theirs)
    for tag, keys in _rows(ours).items():
        now = [key for key in rows.get(tag, ()) if key in ours.by_key]
        if now != [key for key in keys if key in theirs.by_key]:
            yield f"the order of <{tag}> differs"


def _rows(domain: Domain) -> dict[str, list[str]]:
    """Return the keys of the devices of each tag whose order libvirt keeps: by it a machine starts from them."""
    found: dict[str, list[str]] = {}
    for device in domain.devices:
        if device.tag not in _SORTED and device.node is not None:
            found.setdefault(device.tag, []).append(device.key)
    return found


def _filled(device: Device) -> frozenset[str]:
    """Return the children that say no more than where a device is, or that libvirt fills in."""
    assert device.node is not None
    stated = {child.name for child in device.node.children}
    names = _FILLED_IN_PCI_CONTROLLERS if (device.tag, device.type) == ("controller", "pci") else _FILLED
    left_out = {name for name in names if name not in stated}
    if device.address_node is not None:
        left_out.add("address")
    if not is_kept_alias(device.alias):
        left_out.add("alias")
    return frozenset(left_out)


def _other_devices(ours: Domain, theirs: Domain) -> Iterator[str]:
    """Yield the names of what stands among the devices and is none that virtfix knows: graphics, emulator, ..."""
    yield from _differing(_unknown(ours), _unknown(theirs))


def _differing(left: Mapping[str, object], right: Mapping[str, object]) -> Iterator[str]:
    return (name for name in {**left, **right} if left.get(name) != right.get(name))


def _unknown(domain: Domain) -> dict[str, list[Form]]:
    known = {device.node for device in domain.devices if device.node is not None}
    found: dict[str, list[Form]] = {}
    for holder in domain.root.findall("devices"):
        for child in holder.children:
            if child not in known:
                found.setdefault(child.name, []).append(_form(child, frozenset({"alias"})))
    return found


def _parts(ours: Node, theirs: Node) -> Iterator[str]:
    """Yield the names of what differs beside the devices."""
    same = {child.raw for child in ours.children} & {child.raw for child in theirs.children}
    os_node = ours.find("os")
    chosen = os_node is not None and os_node.attrs.get("firmware") == "efi" and os_node.find("loader") is None
    left_out = {"os": _CHOSEN} if chosen else {}
    yield from _differing(_by_name(ours, same, left_out), _by_name(theirs, same, left_out))


def _by_name(
    root: Node, same: set[bytes], left_out: Mapping[str, frozenset[str]]
) -> dict[str, Counter[Form]]:
    """Return the forms of what is not the same to the byte, by name; without what libvirt fills in."""
    found: dict[str, Counter[Form]] = {}
    for child in root.children:
        if child.name != "devices" and child.raw not in same:
            name = _local(child.name)
            found.setdefault(name, Counter())[_form(child, left_out.get(name, frozenset()))] += 1
    return found


def _form(node: Node, left_out: frozenset[str]) -> Form:
    """Return an element apart from quotes, white space, prefixes, and the order of elements of different names."""
    attrs = _attributes(node)
    inside = (_form(child, frozenset()) for child in node.children if child.name not in left_out)
    return _local(node.name), attrs, node.text, tuple(sorted(inside, key=lambda form: form[0]))


def _attributes(node: Node) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in node.attrs.items() if not name.startswith("xmlns")))


def _local(name: str) -> str:
    return name.rpartition(":")[2]
