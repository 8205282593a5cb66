"""Machine type names: what family they belong to, and what the family implies."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fixer.domain.document import Node


class Family(Enum):
    """The board that a machine type builds."""

    Q35 = "q35"
    I440FX = "i440fx"
    OTHER = "other"


# QEMU hw/i386/pc_q35.c names its types pc-q35-VERSION; RHEL (pc-q35-rhel7.6.0) and Ubuntu
# (pc-q35-focal, pc-q35-jammy-hpb) follow it; Ubuntu also has the alias ubuntu-q35.
_Q35 = re.compile(r"q35$|pc-q35(-.+)?$|ubuntu-q35$")
# QEMU hw/i386/pc_piix.c: pc, pc-i440fx-VERSION and the old pc-0.10 .. pc-1.3; RHEL: rhel5.4.0, rhel6.6.0,
# pc-i440fx-rhel7.6.0; Ubuntu: ubuntu, pc-1.0-precise, pc-i440fx-focal.
_I440FX = re.compile(r"pc$|ubuntu$|pc-i440fx(-.+)?$|pc-[01]\.\d+(-.+)?$|rhel[56]\.\d+(\.\d+)?$|pc-lite$")

# Types of QEMU's own up to 2.6 (hw/core/machine.c, hw_compat_2_6: virtio-pci disable-modern=on, disable-legacy=off; seen
# in query-pci of pc-q35-2.6, behind root ports too).
_NUMBERED = re.compile(r"pc-(?:q35-|i440fx-)?(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?$")
_LAST_LEGACY = (2, 6)

_X86 = frozenset({"x86_64", "i686", "i386", "i486", "i586"})
# libvirt drivers whose guests QEMU does not run (docs/drivers.rst): virtio-pci rules do not hold there.
_FOREIGN_TYPES = frozenset(
    {
        "xen",
        "linux",
        "lxc",
        "openvz",
        "uml",
        "vmware",
        "vbox",
        "vz",
        "parallels",
        "hyperv",
        "bhyve",
        "phyp",
        "exe",
    }
)


class Machine:
    """The machine type of a domain. ``reason`` says why virtfix does not apply, '' where it does."""

    __slots__ = ("arch", "family", "name", "reason")

    def __init__(self, name: str, arch: str, family: Family, reason: str) -> None:
        self.name = name
        self.arch = arch
        self.family = family
        self.reason = reason

    @property
    def applicable(self) -> bool:
        return not self.reason

    @property
    def legacy_virtio(self) -> bool:
        """Whether this type makes virtio devices legacy, wherever they sit."""
        version = _NUMBERED.match(self.name)
        return version is not None and (int(version[1]), int(version[2])) <= _LAST_LEGACY


def read_machine(root: Node) -> Machine:
    """Read arch and machine type from <os><type>; the absent ones are libvirt's defaults."""
    os_node = root.find("os")
    type_node = os_node.find("type") if os_node is not None else None
    attrs = type_node.attrs if type_node is not None else {}
    name = attrs.get("machine", "")
    arch = attrs.get("arch", "x86_64")
    family = family_of(name) if name else _family_by_root_controller(root)
    return Machine(name, arch, family, _reason(root, name, arch, family, type_node))


def family_of(name: str) -> Family:
    """Return the family that a machine type name stands for."""
    if _Q35.match(name):
        return Family.Q35
    if _I440FX.match(name):
        return Family.I440FX
    return Family.OTHER


def _family_by_root_controller(root: Node) -> Family:
    # Without a machine type libvirt takes QEMU's default for x86, which is pc; a file that is written
    # for q35 shows it by its pcie-root.
    for devices in root.findall("devices"):
        if any(child.attrs.get("model") == "pcie-root" for child in devices.findall("controller")):
            return Family.Q35
    return Family.I440FX


def _reason(root: Node, name: str, arch: str, family: Family, type_node: Node | None) -> str:
    kind = root.attrs.get("type", "")
    if kind in _FOREIGN_TYPES:
        return f"domain type '{kind}' is not run by QEMU"
    if kind == "test" and not name:  # what libvirt's test driver makes up follows no rules of QEMU
        return "domain type 'test' without a machine type is not run by QEMU"
    if type_node is not None and type_node.text in {"xen", "linux", "exe", "uml"}:
        return f"guest type '{type_node.text}' is not a fully virtualised QEMU guest"
    if arch not in _X86:
        return f"architecture '{arch}' is not x86"
    if family is Family.OTHER:
        return f"machine type '{name}' is neither i440FX nor Q35"
    return ""
