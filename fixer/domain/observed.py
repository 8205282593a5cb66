"""What is seen of a running copy: PCI functions as ``query-pci`` shows them (qapi/pci.json), and what is said of them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.domain.virtio import Mode

if TYPE_CHECKING:
    from fixer.domain.devices import Address
    from fixer.domain.guest_report import Found

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


class Verdict(Enum):
    """What is said of a device; UNJUDGED ones are such that this guest does not drive."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    UNJUDGED = "-"


class Handshake(NamedTuple):
    """What a device answered. ``failed`` says what was wrong, '' for nothing."""

    features: int = 0
    queue: int = 0
    failed: str = ""


class Row(NamedTuple):
    """One virtio device. Addresses are BB:SS.F in the guest's bus numbers, '' where it is not there."""

    device: str
    driver: str
    expected_address: str
    address: str
    pci_id: str
    io: str
    handshake: Handshake | None
    expected: str
    seen: str
    verdict: Verdict
    why: str = ""


class Seen(NamedTuple):
    """What came of one copy. ``ready`` is after how many seconds its firmware had set up PCI."""

    rows: tuple[Row, ...]
    ready: float
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return all(row.verdict is not Verdict.FAIL for row in self.rows)


class Tried(NamedTuple):
    """One copy of a domain: ``state`` is before or after the plan, ``booted`` what a guest found in it.

    ``name`` and ``uuid`` are those of the domain, not of the copy.
    """

    state: str
    guest: str
    seen: Seen
    booted: Found | None = None
    name: str = ""
    uuid: str = ""

    @property
    def passed(self) -> bool:
        return self.seen.passed and not (self.booted is not None and self.booted.problems)
