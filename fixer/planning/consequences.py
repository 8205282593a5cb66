"""What guest and owner will notice of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.planning.plan import Consequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.model import Domain
    from fixer.planning.plan import Change
    from fixer.policy.model import GuestCapabilities

# What a NIC's name hangs on (policy: naming.nic), and what a move that keeps the order does to it.
_NIC = {
    "mac-bound": "keep their names: this guest binds them to the MAC address",
    "kernel-order": "keep their names: this guest numbers them in PCI order, which stays",
    "kudzu": "may make kudzu ask at the next boot, or leave the interface down: it notices moved hardware",
    "systemd-path": "are renamed: this guest names them by PCI place; pin the names by MAC before the move",
    "windows-location": "come back as new adapters with DHCP; static addresses stay on the hidden old ones",
}
_NIC_UNKNOWN = "may be renamed: the policy does not know what this guest's names hang on"


def consequences(
    before: Domain, after: Domain, changes: tuple[Change, ...], guest: GuestCapabilities, capacity: int
) -> tuple[Consequence, ...]:
    """Return what will be noticed, the weightiest first."""
    if not changes:
        return ()
    return tuple(_all(before, after, changes, guest, capacity))


def _all(
    before: Domain, after: Domain, changes: tuple[Change, ...], guest: GuestCapabilities, capacity: int
) -> Iterator[Consequence]:
    yield Consequence(
        "restart", (), "takes effect at the next full stop and start; a reboot keeps the old devices"
    )
    moved = [change for change in changes if change.address_before != change.address_after]
    nics = tuple(change.device for change in moved if change.driver == "net")
    if nics:
        rule = _NIC.get(guest.nic_naming.value, _NIC_UNKNOWN)
        yield Consequence("nic-names", nics, f"moved NICs {rule}")
    disks = tuple(change.device for change in moved if change.driver in {"block", "scsi"})
    if disks:
        yield from _disk_consequences(before, disks, guest)
    lost = tuple(change.device for change in changes if change.remedy == "integrated")
    if lost:
        yield Consequence(
            "hotplug", lost, "can not be hot-plugged or unplugged on pcie.0; ask for it with --hotplug"
        )
    if any(change.remedy in {"bridge", "transitional"} for change in changes):
        yield Consequence("hotplug-bridge", (), _shpc(guest))
    tainted = tuple(
        change.device for change in changes if change.remedy == "override" or change.mode_after == "legacy"
    )
    if tainted:
        by_global = before.properties.by_type != after.properties.by_type
        needs = "" if by_global else ", and needs version 8.2.0 or later for qemu:override"
        yield Consequence("taint", tainted, f"libvirt marks the domain tainted{needs}")
    written = tuple(
        change.device
        for change in changes
        if before.by_key[change.device].implicit and not after.by_key[change.device].implicit
    )
    if written:
        yield Consequence(
            "implicit", written, "libvirt adds it by itself; it is written down so that it gets a place"
        )
    used = sum(after.io_windows.values())
    if used:
        firmware = "OVMF" if before.firmware.kind == "uefi" else "SeaBIOS"
        yield Consequence(
            "io-windows", (), f"I/O windows: {used} of the {capacity} that {firmware} has room for"
        )


def _disk_consequences(
    before: Domain, disks: tuple[str, ...], guest: GuestCapabilities
) -> Iterator[Consequence]:
    if guest.family == "windows":
        yield Consequence(
            "windows-disks", disks, "Windows finds new hardware; data disks may come up offline"
        )
    elif guest.disk_naming.value == "content-bound":
        yield Consequence(
            "disk-names", disks, "disks keep their order; this guest finds them by UUID, label or LVM"
        )
    else:
        yield Consequence(
            "disk-names", disks, "disks keep their order, and so their names /dev/vda, /dev/sda, ..."
        )
    if before.firmware.kind == "uefi":
        text = "UEFI boot entries that name a disk by its PCI path no longer match; the boot order of the XML holds"
        yield Consequence("uefi-entries", disks, text)


def _shpc(guest: GuestCapabilities) -> str:
    fact = guest.hotplug.get("shpc-bridge")
    if fact is not None and fact.value == "yes":
        return "devices behind the bridge stay hot-pluggable"
    return (
        "hot-plug behind a bridge depends on the guest: QEMU's documentation names Windows 7 and older and Linux "
        "before 4.14 as failing (written before the ACPI hot-plug of QEMU 6.1)"
    )
