"""What a real Linux guest reports of its virtio devices over its serial console (fixer/adapters/guest-init)."""

from __future__ import annotations

from typing import NamedTuple

from fixer.errors import VirtfixError, printable

LEGACY, MODERN = "legacy", "virtio 1.0"  # the interface that a driver took
BEGIN, END = "VIRTFIX-BEGIN", "VIRTFIX-END"
# virtio_pci of Linux prefers the legacy interface with force_legacy=1; the init script takes its own word.
CMDLINE = "console=ttyS0 loglevel=4 log_buf_len=4M panic=-1 nokaslr mitigations=off virtfix.legacy={legacy}"
_SECTOR = 512


class Bound(NamedTuple):
    """One virtio device. ``driver`` is '' where none took it; ``legacy`` tells the interface that was taken."""

    address: str
    driver: str
    legacy: bool


class Thing(NamedTuple):
    """A disk or a NIC: the guest's name, the device of the domain, its address, the interface of its driver."""

    name: str
    device: str
    address: str
    interface: str


class Found(NamedTuple):
    """What the guest found, in its own order. ``problems`` are sentences."""

    bound: tuple[Bound, ...]
    disks: tuple[Thing, ...]
    nics: tuple[Thing, ...]
    problems: tuple[str, ...] = ()


def is_finished(console: bytes) -> bool:
    return f"\n{END}".encode() in console.replace(b"\r", b"")


def read_report(console: bytes, disks: dict[int, str], nics: dict[str, str]) -> Found:
    """Return what stands between the markers. ``disks`` names devices by bytes, ``nics`` by MAC.

    Raises VirtfixError for what the guest can not have written.
    """
    text = console.decode("utf-8", "replace").replace("\r", "")
    block = text.partition(f"\n{BEGIN}\n")[2].partition(f"\n{END}\n")[0]
    bound: dict[str, Bound] = {}
    found_disks: list[tuple[tuple[int, ...], Thing]] = []
    found_nics: list[Thing] = []
    assigned: set[tuple[str, str]] = set()
    moved: set[tuple[str, str]] = set()
    for line in block.splitlines():
        match line.split():
            case ["virtio", _, pci, driver, dialect]:
                bound[pci] = Bound(_short(pci), "" if driver == "none" else driver, dialect == "legacy")
            case ["disk", name, pci, sectors, place]:
                key = disks.get(int(sectors) * _SECTOR, f"a disk of {sectors} sectors")
                order = tuple(map(int, place.split(":"))) if ":" in place else ()
                found_disks.append((order, Thing(name, key, _short(pci), _interface(bound, pci))))
            case ["nic", name, mac, pci]:
                found_nics.append(Thing(name, nics.get(mac, mac), _short(pci), _interface(bound, pci)))
            case ["bar", pci, bar, event]:
                (assigned if event == "assigned" else moved).add((pci, bar))
            case ["pci", *_]:
                pass
            case _:
                raise VirtfixError(
                    "verify.report", f"the guest reports a line nobody understands: {printable(line, 80)}"
                )
    # Linux maps what the firmware had no room for; an older guest would not.
    starved = {pci for pci, _ in assigned - moved}
    for pci in starved & set(bound):
        bound[pci] = bound[pci]._replace(driver="")
    # Newer kernels name SCSI disks in the background: sorted by host and target, as old ones name them.
    ordered = sorted(found_disks, key=lambda pair: pair[0])
    gone = {_short(pci) for pci in starved}
    return Found(
        tuple(bound.values()),
        tuple(disk for _, disk in ordered if disk.address not in gone),
        tuple(nic for nic in found_nics if nic.address not in gone),
    )


def _interface(bound: dict[str, Bound], pci: str) -> str:
    one = bound.get(pci)
    return "" if one is None else LEGACY if one.legacy else MODERN


def _short(pci: str) -> str:
    return pci.removeprefix("0000:")
