"""What the guest will call its NICs and disks, before and after, by the rule of its operating system.

systemd names a NIC by the number of its hot-plug slot where ACPI gives one (ens3), else by its place (enp0s3): i440FX
has such slots on its root bus, Q35 has none there (seen with QEMU 7.2: _SUN and /sys/bus/pci/slots;
systemd.net-naming-scheme(7)). Behind bridges nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.conversion.storage import is_hard_disk
from fixer.domain.devices import disk_letters, drive_seat
from fixer.domain.machine import Family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain
    from fixer.policy.model import GuestCapabilities

# From 2.6.25 or so distributions drove IDE disks by libata (sda), before by the old IDE driver (hda).
_LIBATA = (2, 6, 25)
# Families whose names are not Linux's: of these only the places are told.
_OTHERS = frozenset({"windows", "bsd", "solaris", "other"})


class Name(NamedTuple):
    """One NIC or disk: its key after the plan, nic or disk, what the guest calls it, and by which rule."""

    device: str
    kind: str
    before: str
    after: str
    rule: str

    @property
    def changes(self) -> bool:
        return self.before != self.after


def forecast(
    before: Domain, after: Domain, guest: GuestCapabilities, keys: Mapping[str, str]
) -> tuple[Name, ...]:
    """Return the names of all NICs and disks of a converted domain; ``keys`` are those that change."""
    return (*_nics(before, after, guest), *_disks(before, after, guest, keys))


# --- NICs ---------------------------------------------------------------------------------------------


def _nics(before: Domain, after: Domain, guest: GuestCapabilities) -> Iterator[Name]:
    rule = guest.nic_naming.value
    old, new = _places(before, "interface"), _places(after, "interface")
    for key, (order, address) in old.items():
        if key not in new:
            continue
        order_now, address_now = new[key]
        index = _acpi_index(before.by_key.get(key))
        if guest.family in _OTHERS:
            told = _location(before, address), _location(after, address_now)
        elif rule in {"mac-bound", "kudzu"}:
            told = "as before", "as before"
        elif rule == "kernel-order":
            told = f"eth{order}", f"eth{order_now}"
        elif rule == "systemd-path":
            told = _systemd_name(before, address, index), _systemd_name(after, address_now, index)
        else:
            told = _location(before, address), _location(after, address_now)
        yield Name(key, "nic", *told, rule)


def _acpi_index(device: Device | None) -> str:
    node = device.node.find("acpi") if device is not None and device.node is not None else None
    return "" if node is None else node.attrs.get("index", "")


def _places(domain: Domain, tag: str) -> dict[str, tuple[int, Address]]:
    """Return the place in the guest's order and the address of each device of a tag."""
    layout = domain.layout
    assert layout is not None
    found = sorted(
        (layout.order(at), device.key, at) for device, at in layout.at.items() if device.tag == tag
    )
    return {key: (number, at) for number, (_, key, at) in enumerate(found)}


def _systemd_name(domain: Domain, address: Address, index: str) -> str:
    """Return the name that systemd makes of the index that ACPI tells, else of the place.

    ACPI tells none on pcie.0 (seen in the tables of QEMU 7.2; where a later one does, a name that is bound to the MAC
    is right as well).
    """
    integrated = domain.machine.family is Family.Q35 and address >> 8 == 0
    return f"eno{index}" if index and not integrated else _path_name(domain, address)


def _path_name(domain: Domain, address: Address) -> str:
    """Return the name that systemd makes of a place."""
    layout = domain.layout
    assert layout is not None
    bus, slot, function = layout.buses[address >> 8], address >> 3 & 31, address & 7
    several = any(address & ~7 | other in layout.holder for other in range(8) if other != function)
    suffix = f"f{function}" if function or several else ""
    if layout.family is Family.I440FX and not bus.index and not suffix:
        return f"ens{slot}"
    return f"enp{bus.seen_as}s{slot}{suffix}"


def _location(domain: Domain, address: Address) -> str:
    layout = domain.layout
    assert layout is not None
    bus = layout.buses[address >> 8].seen_as
    return f"PCI bus {bus}, device {address >> 3 & 31}, function {address & 7}"


# --- Disks --------------------------------------------------------------------------------------------


def _disks(
    before: Domain, after: Domain, guest: GuestCapabilities, keys: Mapping[str, str]
) -> Iterator[Name]:
    rule = guest.disk_naming.value
    name = _disk_places if guest.family in _OTHERS else _linux_disks
    old, new = name(before, guest), name(after, guest)
    for key, called in old.items():
        now = keys.get(key, key)
        if now in new:
            yield Name(now, "disk", called, new[now], rule)


def _disk_places(domain: Domain, guest: GuestCapabilities) -> dict[str, str]:
    del guest
    found = {}
    for device in domain.devices:
        if device.tag == "disk":
            _, place = drive_seat(device)
            found[device.key] = (
                f"{device.type.upper()} place {place}" if device.type in _PORTED else device.type
            )
    return found


def _linux_disks(domain: Domain, guest: GuestCapabilities) -> dict[str, str]:
    """Return vdX and sdX by the order of the controllers and of the disks on them; hdX under old kernels."""
    found = {
        device.key: f"/dev/vd{disk_letters(number)}"
        for number, device in enumerate(domain.by_kind.get("block", ()))
        if device.tag == "disk"
    }
    ranks = _controllers(domain)
    old_ide = _is_before_libata(guest.kernel.value)
    scsi: list[tuple[int, int, str]] = []
    for device in domain.devices:
        if device.tag != "disk" or device.type not in _PORTED:
            continue
        controller, place = drive_seat(device)
        if device.type == "ide" and old_ide:
            found[device.key] = f"/dev/hd{disk_letters(place)}"
        elif is_hard_disk(device):
            rank = ranks.get((device.type, controller), 1 << 20)
            scsi.append((rank, place, device.key))
        elif old_ide:
            found[device.key] = "/dev/srN"
    for place, (_, _, key) in enumerate(sorted(scsi)):
        found[key] = f"/dev/sd{disk_letters(place)}"
    return found


# Buses whose disks share the names sdX.
_PORTED = frozenset({"ide", "sata", "scsi"})


def _controllers(domain: Domain) -> dict[tuple[str, int], int]:
    layout = domain.layout
    assert layout is not None
    return {
        (device.type, device.index): layout.order(address)
        for device, address in layout.at.items()
        if device.tag == "controller" and device.type in _PORTED
    }


def _is_before_libata(kernel: str) -> bool:
    parts = kernel.partition("-")[0].split(".")
    return all(part.isdigit() for part in parts) and tuple(map(int, parts)) < _LIBATA
