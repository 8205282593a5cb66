"""The values that policies turn into: what a guest can drive, what the site prefers.

Named tuples rather than dataclasses: importing the latter costs more than parsing all shipped policies.
Nothing here reads a file or decides anything. Every fact carries its source, its confidence and the
line that states it, so that a report can show why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.domain.machine import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

# A driver kind is what a guest's driver drives; disk and interface elements of a domain map to block and net.
KINDS = (
    "block", "net", "balloon", "console", "scsi", "rng", "9p", "gpu",
    "input", "vsock", "fs", "mem", "pmem", "crypto", "sound", "iommu",
)  # fmt: skip

CONFIDENCES = ("confirmed", "likely", "unknown")
INTERFACES = ("legacy", "modern", "depends")
ANSWERS = ("yes", "no", "unknown", "depends")
REMEDIES = ("integrated", "bridge", "transitional", "override")
WEIGHTS = (*REMEDIES, "io-window", "address-change", "hotplug-loss")
BRIDGE_MODELS = ("pcie-to-pci-bridge", "dmi-to-pci-bridge")
IDE_DISKS = ("sata", "virtio")
OVERRIDE_FORMS = ("qemu-override", "qemu-commandline")
FIRMWARES = ("uefi", "bios")
CHIPSET_PARTS = ("ahci", "xhci", "e1000", "e1000e", "hda")
HOTPLUG_WAYS = ("pcie-native", "acpi", "shpc-bridge")

# What a guest's name for a NIC hangs on when its PCI address changes.
NIC_RULES = ("mac-bound", "kudzu", "kernel-order", "systemd-path", "windows-location", "unknown")
# The same for disks: content-bound is UUID=, LABEL= or LVM, which no move disturbs.
DISK_RULES = ("content-bound", "kernel-order", "windows-signature", "unknown")


# Shared by all values that state nothing; mappings of this module are never written to.
_NONE: Mapping[str, Any] = {}


class Fact(NamedTuple):
    """One answer with its provenance.

    ``source`` is a key of the policy file's ``sources``; ``where`` is ``FILE:LINE``. ``condition`` says
    on what the answer hangs when ``value`` is ``depends``; ``legacy_until`` names the first driver build
    or kernel that is modern, ``needs`` the first for which the answer is yes: it decides where the build is known.
    """

    value: str
    source: str
    confidence: str
    note: str = ""
    where: str = ""
    condition: str = ""
    legacy_until: str = ""
    needs: str = ""


UNKNOWN = Fact("unknown", "", "unknown", "no policy says")


class GuestCapabilities(NamedTuple):
    """What one guest operating system can drive.

    ``interface`` is ``legacy``, ``modern`` or ``depends``; callers treat ``depends`` as legacy, because a
    transitional device is right under both. ``drivers`` maps kinds (``KINDS``) to yes, no, unknown or
    depends. ``legacy_only`` marks guests that want ``disable-modern`` on top. ``sources`` spells out the
    source keys of the facts.
    """

    id: str
    name: str
    family: str
    interface: Fact
    drivers: Mapping[str, Fact] = _NONE
    kernel: Fact = UNKNOWN
    uefi: Fact = UNKNOWN
    secure_boot: Fact = UNKNOWN
    nic_naming: Fact = UNKNOWN
    disk_naming: Fact = UNKNOWN
    chipset: Mapping[str, Fact] = _NONE
    hotplug: Mapping[str, Fact] = _NONE
    quirks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    legacy_only: bool = False
    sources: Mapping[str, str] = _NONE

    def drives(self, kind: str) -> Fact:
        """Return whether the guest has a driver of ``kind``; an unlisted kind is unknown."""
        return self.drivers.get(kind, UNKNOWN)

    @property
    def is_modern(self) -> bool:
        """Whether virtio 1.0 is sure to work: neither legacy nor dependent on a kernel or driver build."""
        return self.interface.value == "modern"

    @property
    def conditions(self) -> tuple[str, ...]:
        """Return what each dependent answer hangs on, as ``interface: virtio-win >= 0.1.126 is modern``."""
        facts = {"interface": self.interface, "uefi": self.uefi, "secure-boot": self.secure_boot}
        facts |= {**self.drivers, **self.chipset, **self.hotplug}
        return tuple(f"{key}: {fact.condition}" for key, fact in facts.items() if fact.condition)


def _assumed(interface: str) -> GuestCapabilities:
    fact = Fact(interface, "--assume", "unknown", "assumed, because no evidence names the guest")
    return GuestCapabilities(f"assumed-{interface}", f"assumed {interface} guest", "unknown", fact)


ASSUMED_LEGACY = _assumed("legacy")
ASSUMED_MODERN = _assumed("modern")

# Windows that the firmware can map before devices lose their BARs, as measured with OVMF 2022.11 and
# SeaBIOS 1.16.2: policies may say otherwise for another build.
_IO_WINDOWS = {"uefi": 9, "bios": 14}
# The I/O space of an i440FX machine is smaller: 16 KiB with OVMF (OvmfPkg/PlatformPei), 36 KiB with SeaBIOS
# (src/fw/pciinit.c, pci_io_low_end), of which the root bus takes one window (seen, tests/real/test_windows.py).
_MOST_ON_I440FX = {"uefi": 3, "bios": 8}
_WEIGHTS = {
    "integrated": 10,
    "bridge": 30,
    "transitional": 40,
    "override": 60,
    "io-window": 2,
    "address-change": 1,
    "hotplug-loss": 0,
}


class Selector(NamedTuple):
    """Which domains are meant: by name or glob, UUID, OS pattern, metadata key and glob. Empty keys fit all."""

    names: tuple[str, ...] = ()
    uuids: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()


class Rule(NamedTuple):
    """Preferences for the domains that ``selector`` names and the driver kinds ``kinds``.

    None and empty values change nothing. ``exclude`` is the reason why they are left alone; ``until`` is the
    last day (ISO 8601) on which the rule holds, '' for ever; ``where`` is ``FILE:LINE``.
    """

    selector: Selector
    kinds: tuple[str, ...] = KINDS
    strategy: str = ""
    hotplug: bool | None = None
    forbid: frozenset[str] = frozenset()
    keep_address: bool | None = None
    weights: Mapping[str, int] = _NONE
    exclude: str = ""
    until: str = ""
    where: str = ""


class Mapped(NamedTuple):
    """What the domains that ``selector`` names run, and the builds (product -> version) known of them."""

    selector: Selector
    os: str
    builds: Mapping[str, str]
    where: str


class SitePreferences(NamedTuple):
    """What the site prefers where several remedies are right.

    ``weights`` prices each name of ``WEIGHTS``; ``strategy`` forces one remedy for all kinds and
    ``strategy_by_kind`` for one; ``hotplug`` names kinds that must stay hot-pluggable; ``forbid`` names
    remedies that are never used, ``forbid_by_kind`` those for one kind; ``keep_address`` names kinds whose
    PCI addresses never change; ``excluded`` gives the reason for each kind that is left alone;
    ``io_windows`` is the room of each firmware; ``ide_disks`` is what becomes of hard disks on IDE where Q35 has
    none: sata, or virtio where the guest has the driver. ``rules`` change all this for some domains.
    """

    name: str = "default"
    weights: Mapping[str, int] = _WEIGHTS
    bridge_model: str = "pcie-to-pci-bridge"
    ide_disks: str = "sata"
    override_form: str = "qemu-override"
    strategy: str | None = None
    strategy_by_kind: Mapping[str, str] = _NONE
    hotplug: frozenset[str] = frozenset()
    forbid: frozenset[str] = frozenset()
    io_windows: Mapping[str, int] = _IO_WINDOWS
    forbid_by_kind: Mapping[str, frozenset[str]] = _NONE
    keep_address: frozenset[str] = frozenset()
    excluded: Mapping[str, str] = _NONE
    rules: tuple[Rule, ...] = ()

    def strategy_for(self, kind: str) -> str | None:
        """Return the remedy that the owner asked for devices of ``kind``, None for the cheapest."""
        return self.strategy_by_kind.get(kind) or self.strategy

    def windows_for(self, firmware: str, family: Family) -> int:
        """Return how many I/O windows the firmware of a machine has room for."""
        room = self.io_windows.get(firmware, 0)
        return min(room, _MOST_ON_I440FX[firmware]) if family is Family.I440FX else room

    def forbids(self, remedy: str, kind: str) -> bool:
        """Tell whether ``remedy`` is never used for devices of ``kind``."""
        return remedy in self.forbid or remedy in self.forbid_by_kind.get(kind, ())
