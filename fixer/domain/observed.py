"""PCI functions as QEMU's ``query-pci`` shows them (qapi/pci.json)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.domain.virtio import Mode

if TYPE_CHECKING:
    from fixer.domain.devices import Address

VIRTIO_VENDOR = 0x1AF4
# Virtio specification 1.2, section 4.1.2.1: transitional devices have 0x1000 to 0x103f.
_MODERN_FROM = 0x1040
UNMAPPED = -1  # PCI_BAR_UNMAPPED: no address, or decoding is off


class Region(NamedTuple):
    """One BAR. ``address`` is -1 where nothing is decoded."""

    bar: int
    is_io: bool
    address: int
    size: int


class Function(NamedTuple):
    """One PCI function; ``address`` is in the guest's own bus numbers, ``bridges`` those above it."""

    address: Address
    vendor: int
    device: int
    name: str  # the id that libvirt gave it, its alias
    regions: tuple[Region, ...]
    bridges: tuple[Address, ...]

    @property
    def io(self) -> Region | None:
        """The I/O BAR of virtio's legacy interface (specification 1.2, section 4.1.4.10)."""
        return next((region for region in self.regions if region.bar == 0 and region.is_io), None)

    @property
    def mode(self) -> Mode:
        """Which interface it shows to drivers that find it."""
        if self.device >= _MODERN_FROM or self.io is None:
            return Mode.MODERN_ONLY
        # The modern interface of QEMU's devices lies in memory BARs beside the table of MSI-X in BAR 1.
        modern = any(not region.is_io and region.bar not in {1, 6} for region in self.regions)
        return Mode.TRANSITIONAL if modern else Mode.LEGACY


def functions(answer: list[dict[str, Any]]) -> list[Function]:
    """Return the functions of all buses, as ``query-pci`` answers. Raises KeyError for another answer."""
    found: list[Function] = []
    todo: list[tuple[dict[str, Any], tuple[Address, ...]]] = [
        (device, ()) for bus in answer for device in bus["devices"]
    ]
    while todo:
        device, above = todo.pop()
        address = device["bus"] << 8 | device["slot"] << 3 | device["function"]
        regions = tuple(
            Region(region["bar"], region["type"] == "io", region["address"], region["size"])
            for region in device["regions"]
        )
        ids = device["id"]
        found.append(Function(address, ids["vendor"], ids["device"], device["qdev_id"], regions, above))
        below = device.get("pci_bridge", {}).get("devices", ())
        todo += [(child, (*above, address)) for child in below]
    return sorted(found, key=lambda one: one.address)
