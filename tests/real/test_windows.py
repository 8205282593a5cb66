"""Which devices starve where the firmware runs out of I/O ports: what virtfix foresees, and real QEMU and firmware.

A device starves where none of its BARs is mapped. Foreseen from ``io_windows`` and the room that the policies give
each firmware; and the finding VF006 is there if and only if something starves.
"""

from __future__ import annotations

import itertools
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import helpers
import pytest
from helpers import at, disk_names, pci, port, ports

pytest.importorskip("libvirt")
import machines
from machines import Machine

from fixer.findings import Code

if TYPE_CHECKING:
    from fixer.domain.model import Domain

pytestmark = [pytest.mark.real, pytest.mark.boot, pytest.mark.xdist_group("oracle")]

NAMES: Final = disk_names(90)
LEGACY: Final = (("disable-legacy", "string", "off"),)


class Seen(NamedTuple):
    """What became of a machine: its XML, devices without any BAR, those with some, windows by bridge."""

    xml: str
    lost: frozenset[str]
    partly: frozenset[str]
    windows: dict[int, int]


@pytest.fixture(scope="module", autouse=True)
def _able() -> None:
    lacking = machines.lacking()
    if lacking:
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(lacking)


# --- Machines -------------------------------------------------------------------------------------------


def disk(number: int, place: str) -> str:
    return machines.device("block", number, place, alias=f"ua-{NAMES[number]}")


def nic(number: int, place: str, model: str) -> str:
    return helpers.nic(
        number, model=model, inner=f"<rom enabled='no'/><alias name='ua-nic{number}'/>{at(place)}"
    )


def with_disks(count: int) -> str:
    """Return root ports with a disk below each, to be overridden; in the last one's place an e1000e."""
    below = [disk(number, f"{number + 1:02x}:00.0") for number in range(count - 1)]
    return ports(count) + "".join(below) + nic(1, f"{count:02x}:00.0", "e1000e")


def on_root(count: int, first: int = 1, number: int = 58) -> str:
    """Return integrated disks in slots of their own, or in eight functions where there are many."""
    places = (
        f"00:{first + one // 8:02x}.{one % 8}" if count > 30 else f"00:{first + one:02x}.0"
        for one in range(count)
    )
    return "".join(disk(number + one, place) for one, place in enumerate(places))


def bridge(index: int, place: str = "00:1c.0") -> str:
    """Return a port and a pcie-to-pci-bridge, whose own index is the next."""
    return port(index, place) + pci(index + 1, "pcie-to-pci-bridge", f"{index:02x}:00.0")


def dmi(index: int) -> str:
    return pci(index, "dmi-to-pci-bridge", "00:1e.0") + pci(index + 1, "pci-bridge", f"{index:02x}:01.0")


def behind(index: int, count: int, number: int = 20) -> str:
    """Return disks on a bus, in slots of their own, or in eight functions where there are many."""
    places = ((1 + one // 8, one % 8) if count > 31 else (1 + one, 0) for one in range(count))
    return "".join(
        disk(number + one, f"{index:02x}:{slot:02x}.{function}")
        for one, (slot, function) in enumerate(places)
    )


def pci_bridges(count: int) -> str:
    """Return bridges on pci.0 with a disk behind each."""
    return "".join(
        pci(one, "pci-bridge", f"00:{2 + one:02x}.0") + disk(one, f"{one:02x}:01.0")
        for one in range(1, count + 1)
    )


def overridden(devices: str, *, uefi: bool, kind: str = "q35") -> Machine:
    """Return a machine whose disks all have disable-legacy=off."""
    there = (f"ua-{name}" for name in NAMES if f"'ua-{name}'" in devices)
    return Machine(devices, kind, uefi, tuple((alias, LEGACY) for alias in there))


# All slots of the root bus, and all of a bridge, whose port is a second function.
FULL = on_root(30) + bridge(1, "00:1e.1") + behind(2, 31)
MODERN_ONLY_FIRST = port(13, "00:01.0") + nic(2, "0d:00.0", "virtio")
OVMF: Final = {
    "9 ports and empty bridges": with_disks(9) + bridge(10) + dmi(12),
    "10 ports": with_disks(10),
    "12 ports, and before them one that needs no window": with_disks(12) + MODERN_ONLY_FIRST,
    "30 integrated and 31 behind one bridge": FULL,
}
SEABIOS: Final = {
    "14 ports": with_disks(14),
    "15 ports": with_disks(15),
    "13 ports and an empty bridge": with_disks(13) + bridge(14),
    "14 ports and an empty bridge": with_disks(14) + bridge(15),
    "13 ports and an empty pci-bridge": with_disks(13) + dmi(14),
    "14 ports and an empty pci-bridge": with_disks(14) + dmi(15),
    "14 ports and an empty dmi-to-pci-bridge": with_disks(14) + pci(15, "dmi-to-pci-bridge", "00:1e.0"),
    "12 ports and 64 behind one bridge": with_disks(12) + bridge(13) + behind(14, 64),
    "13 ports and 64 behind one bridge": with_disks(13) + bridge(14) + behind(15, 64),
    "30 integrated and 31 behind one bridge": FULL,
}
MACHINES: Final[dict[str, Machine]] = {
    **{f"OVMF: {name}": overridden(devices, uefi=True) for name, devices in OVMF.items()},
    **{f"SeaBIOS: {name}": overridden(devices, uefi=False) for name, devices in SEABIOS.items()},
    **{
        f"OVMF: pc with {count} pci-bridges": overridden(pci_bridges(count), uefi=True, kind="pc")
        for count in (3, 4)
    },
    **{
        f"SeaBIOS: pc with {count} pci-bridges": overridden(pci_bridges(count), uefi=False, kind="pc")
        for count in (8, 9)
    },
}

# Where what is foreseen is wrong: what is seen is right.
GAPS: Final[dict[str, tuple[Machine, str]]] = {
    "SeaBIOS: 14 ports and 32 integrated": (
        overridden(with_disks(14) + on_root(32, 0x10), uefi=False),
        "what the root bus needs beyond 4 KiB, with the chipset's own, comes out of the windows",
    ),
    "SeaBIOS: 64 small BARs behind one bridge": (
        overridden(
            bridge(1) + "".join(nic(one, f"02:{1 + one // 8:02x}.{one % 8}", "virtio") for one in range(64)),
            uefi=False,
        ),
        "the legacy BAR of net and rng has 32 bytes, of scsi, console and balloon 64: each counts as 128",
    ),
    "SeaBIOS: 31 large BARs behind one bridge": (
        overridden(
            bridge(1) + "".join(nic(one, f"02:{1 + one:02x}.0", "rtl8139") for one in range(31)), uefi=False
        ),
        "the BAR of rtl8139 has 256 bytes, that of ac97 1024: each counts as 128",
    ),
}


# --- The two sides --------------------------------------------------------------------------------------


def look(machine: Machine) -> Seen:
    with machine.started() as running:
        devices, windows = running.functions(), running.io_windows()
    lost = frozenset(alias for alias, one in devices.items() if one.is_lost)
    mapped = frozenset(alias for alias, one in devices.items() if one.is_mapped)
    return Seen(running.xml, lost, frozenset(devices) - lost - mapped, windows)


@cache
def seen() -> dict[str, Seen]:
    """Start all machines, some at a time."""
    return machines.some_at_a_time(look, MACHINES | {name: machine for name, (machine, _) in GAPS.items()})


def starving_ports(subject: Domain) -> list[int]:
    """Return the bridges on the root bus that get no window: under OVMF the lowest, under SeaBIOS all."""
    windows = subject.io_windows
    over = sum(windows.values()) - helpers.policies().site.windows_for(
        subject.firmware.kind, subject.machine.family
    )
    if over <= 0:
        return []
    if subject.firmware.kind == "bios":
        return list(windows)
    lowest = sorted(windows)
    freed = itertools.accumulate((windows[top] for top in lowest), initial=0)
    return lowest[: next(count for count, size in enumerate(freed) if size >= over)]


def foreseen_lost(subject: Domain) -> frozenset[str]:
    """Return the aliases of the devices that starve: SeaBIOS, where ports run out, maps nothing at all."""
    starving, layout = starving_ports(subject), subject.layout
    assert layout is not None
    everything = bool(starving) and subject.firmware.kind == "bios"
    return frozenset(
        device.alias
        for device, address in layout.at.items()
        if device.alias and (everything or layout.top[address >> 8] in starving)
    )


CASES: list[Any] = [
    *MACHINES,
    *(pytest.param(name, marks=pytest.mark.xfail(reason=why)) for name, (_, why) in GAPS.items()),
]


@pytest.mark.parametrize("name", CASES)
def test_what_starves_was_foreseen(name: str) -> None:
    """The same devices, each with all its BARs; and bridges have the windows that were counted."""
    found = seen()[name]
    subject = helpers.read(found.xml)
    starving = starving_ports(subject)
    assert found.lost == foreseen_lost(subject)
    assert not found.partly
    assert found.windows == {top: size for top, size in subject.io_windows.items() if top not in starving}


@pytest.mark.parametrize("name", MACHINES)
def test_the_finding_says_so(name: str) -> None:
    """VF006 is there if and only if something starves, and names what does."""
    found = seen()[name]
    said = [one for one in helpers.plan(found.xml).unresolved if one.code is Code.IO_WINDOWS]
    assert len(said) == bool(found.lost)
    named = {key for one in said for key in one.device.split(", ")}
    by_key = helpers.read(found.xml).by_key
    assert {by_key[key].alias for key in named} <= found.lost
    assert bool(named) == bool(found.lost)


def test_all_of_it_happens() -> None:
    """Nothing starves in some of the machines, one device, several, and everything in others."""
    lost = {name: len(found.lost) for name, found in seen().items()}
    assert lost["OVMF: 9 ports and empty bridges"] == lost["SeaBIOS: 14 ports"] == 0
    assert lost["OVMF: 10 ports"] == 1
    assert lost["OVMF: 12 ports, and before them one that needs no window"] == 3
    assert lost["SeaBIOS: 15 ports"] == 15
