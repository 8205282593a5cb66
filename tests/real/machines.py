"""Machines on real QEMU, and what QEMU shows of their virtio devices once the firmware is through with PCI.

When that is was traced with ``-trace enable=pci_update_mappings_*`` (QEMU 7.2.22, OVMF 2022.11, SeaBIOS 1.16.2):

- ``query-pci`` gives an address to a BAR only while the device decodes it (hw/pci/pci.c, pci_bar_address), and
  shows what is behind a bridge only once the bridge has its bus number.
- OVMF maps all BARs and unmaps them twice before they stay, all within 50 to 150 ms: who looks at BARs alone may
  look in between. They stay from PlatformInitializeConsole on (DetectAndPreparePlatformPciDevicePath enables every
  device), which is before a console is connected. So nothing changes after its first byte on the serial port.
- SeaBIOS maps each device once, one after the other, and counts the processors next: what it says of them on the
  debug port is behind all mapping. Where I/O ports run out it says so there instead, and stops for good.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import helpers
import legacy_guest
import libvirt
import libvirt_qemu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

# Most of a start is waiting, for init to reap the QEMU that ended.
AT_A_TIME: Final = 8
TIMEOUT: Final = 60.0
_ROM: Final = 6
_SEABIOS_DONE: Final = re.compile(rb"Found \d+ cpu\(s\)|PCI: out of .* address space")
# Offsets in the legacy interface's I/O BAR, virtio specification 1.2, section 4.1.4.10.
_QUEUE_SIZE, _QUEUE_SELECT, _STATUS = 12, 14, 18
_ACKNOWLEDGE, _DRIVER = 1, 2
_NOWHERE: Final = "/nowhere"  # stands for folders that are made when a machine starts
_DEBUG_PORT: Final = ("-device", "isa-debugcon,iobase=0x402,chardev=debug", "-chardev")

Properties = tuple[tuple[str, str, str], ...]
"""Name, type and value, as <qemu:property> has them."""


def lacking() -> str:
    """Name what this host lacks to start machines, '' where nothing is lacking."""
    if os.geteuid() != 0:
        return "qemu:///embed starts machines for root only"
    if not shutil.which("qemu-system-x86_64"):
        return "qemu-system-x86_64 is missing"
    if not legacy_guest.OVMF_CODE.exists():
        return f"{legacy_guest.OVMF_CODE} is missing: install ovmf"
    try:
        legacy_guest.connection()
    except libvirt.libvirtError as error:
        return f"libvirt's QEMU driver does not open: {error}"
    return ""


def some_at_a_time(ask: Callable[[Machine], T], machines: Mapping[str, Machine]) -> dict[str, T]:
    """Return ``ask(machine)`` of each machine by its name."""
    legacy_guest.connection()  # it and the folder are made once, before there are threads
    backing()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return dict(zip(machines, pool.map(ask, machines.values()), strict=True))


# --- A machine that runs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """One PCI function; ``address`` is the guest's own: bus << 8 | slot << 3 | function.

    ``bars`` says where each BAR, the ROM aside, is decoded: None for nowhere.
    """

    address: int
    device_id: int
    bars: dict[int, int | None]
    has_io: bool

    @property
    def is_mapped(self) -> bool:
        return None not in self.bars.values()

    @property
    def is_lost(self) -> bool:
        return not any(self.bars.values())


class Running:
    """A machine that was stopped when its firmware was through with PCI."""

    def __init__(self, domain: libvirt.virDomain, xml: str, folder: Path) -> None:
        self._domain = domain
        self._folder = folder
        self.xml = xml

    def said(self, log: str) -> bytes:
        """Return what stands in the log: 'serial' or 'debug'."""
        return (self._folder / f"{log}.log").read_bytes()

    def run_until(self, done: Callable[[], bool]) -> None:
        self._domain.resume()
        wait(done)

    def functions(self) -> dict[str, Function]:
        """Return the devices, bridges aside, by the id that libvirt gave them: their alias."""
        found = (one for one in _all_devices(self._root_bus()) if "pci_bridge" not in one)
        return {one["qdev_id"]: _function(one) for one in found if one["qdev_id"]}

    def io_windows(self) -> dict[int, int]:
        """Return how many 4 KiB of I/O space each bridge on the root bus passes on: {its address: windows}."""
        ranges = {
            _address(one): one["pci_bridge"]["bus"]["io_range"]
            for one in self._root_bus()
            if "pci_bridge" in one
        }
        sizes = {address: (io["limit"] + 1 - io["base"]) // 4096 for address, io in ranges.items()}
        return {address: size for address, size in sizes.items() if size > 0}  # closed: base above limit

    def _root_bus(self) -> list[dict[str, Any]]:
        asked = libvirt_qemu.qemuMonitorCommand(self._domain, json.dumps({"execute": "query-pci"}), 0)
        (root,) = json.loads(asked)["return"]
        devices: list[dict[str, Any]] = root["devices"]
        return devices

    def revision(self, address: int) -> int:
        """Read the revision in configuration space (offset 8), which query-pci does not show."""
        self._human(f"o /w 0xcf8 {0x80000008 | address << 8:#x}")
        return self._read("b", 0xCFC)

    def speaks_legacy(self, port: int) -> bool:
        """Begin what a legacy driver does with the I/O BAR at ``port``: the status sticks, and there is a queue."""
        for status in (0, _ACKNOWLEDGE, _ACKNOWLEDGE | _DRIVER):
            self._human(f"o /b {port + _STATUS:#x} {status}")
        self._human(f"o /h {port + _QUEUE_SELECT:#x} 0")
        kept = self._read("b", port + _STATUS) == _ACKNOWLEDGE | _DRIVER
        return kept and 0 < self._read("h", port + _QUEUE_SIZE) <= 1024

    def _read(self, size: str, port: int) -> int:
        return int(self._human(f"i /{size} {port:#x}").rpartition("=")[2], 16)

    def _human(self, command: str) -> str:
        return str(libvirt_qemu.qemuMonitorCommand(self._domain, command, 1))  # 1: the human monitor


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not done():
        assert time.monotonic() < end, f"not within {TIMEOUT} s"
        time.sleep(0.01)


def _all_devices(devices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for device in devices:
        yield device
        yield from _all_devices(device.get("pci_bridge", {}).get("devices", []))


def _function(device: dict[str, Any]) -> Function:
    regions = [region for region in device["regions"] if region["bar"] != _ROM]
    return Function(
        _address(device),
        device["id"]["device"],
        {region["bar"]: None if region["address"] == -1 else region["address"] for region in regions},
        any(region["bar"] == 0 and region["type"] == "io" for region in regions),
    )


def _address(device: dict[str, Any]) -> int:
    address: int = device["bus"] << 8 | device["slot"] << 3 | device["function"]
    return address


# --- A machine to start ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """``overrides`` are properties by alias, ``arguments`` go into qemu:commandline."""

    devices: str
    kind: str = "q35"
    uefi: bool = False
    overrides: tuple[tuple[str, Properties], ...] = ()
    arguments: tuple[str, ...] = ()

    def xml(self, folder: Path | str = _NOWHERE) -> str:
        """Return the domain, with its logs and variables in ``folder``."""
        balloon = "" if "<memballoon" in self.devices else helpers.NO_BALLOON
        arguments = (*_DEBUG_PORT, f"file,id=debug,path={folder}/debug.log", *self.arguments)
        return f"""\
<domain type='qemu' xmlns:qemu='{helpers.QEMU}'>
  <name>guest-{uuid.uuid4().hex[:8]}</name>
  <memory unit='MiB'>256</memory>
  <os><type arch='x86_64' machine='{self.kind}'>hvm</type>{_loader(folder) if self.uefi else ""}</os>
  <features><acpi/></features>
  <devices>
    <emulator>{shutil.which("qemu-system-x86_64")}</emulator>
{balloon}{helpers.NO_USB}{self.devices}    <serial type='file'><source path='{folder}/serial.log'/></serial>
  </devices>
  <qemu:override>{"".join(_override(*one) for one in self.overrides)}</qemu:override>
  <qemu:commandline>{"".join(f"<qemu:arg value='{one}'/>" for one in arguments)}</qemu:commandline>
</domain>
"""

    @contextlib.contextmanager
    def started(self) -> Iterator[Running]:
        """Start it and stop it when the firmware is through with PCI. Raises libvirtError where QEMU refuses."""
        with tempfile.TemporaryDirectory(dir=backing()) as scratch:
            folder = Path(scratch)
            shutil.copy(legacy_guest.OVMF_VARS, folder / "vars.fd")
            xml = self.xml(folder).replace(_NOWHERE, str(backing()))
            domain = legacy_guest.connection().createXML(xml)
            running = Running(domain, xml, folder)
            try:
                wait(lambda: self._is_done(running))
                domain.suspend()
                yield running
            finally:
                domain.destroy()

    def _is_done(self, running: Running) -> bool:
        if self.uefi:
            return running.said("serial") != b""
        return _SEABIOS_DONE.search(running.said("debug")) is not None

    def refusal(self) -> str:
        """Return why it does not start, '' where it does."""
        try:
            with self.started():
                return ""
        except libvirt.libvirtError as error:
            return str(error)


@cache
def backing() -> Path:
    """Make the folder of what is behind the devices, below the one that the guard removes."""
    made = legacy_guest._root() / "machines"
    (made / "shared").mkdir(parents=True)
    with (made / "disk.img").open("wb") as file:
        file.truncate(1 << 20)
    return made


def _loader(folder: Path | str) -> str:
    code = f"<loader readonly='yes' type='pflash'>{legacy_guest.OVMF_CODE}</loader>"
    return f"{code}<nvram>{folder}/vars.fd</nvram>"


def _override(alias: str, properties: Properties) -> str:
    inner = "".join(
        f"<qemu:property name='{name}' type='{kind}' value='{value}'/>" for name, kind, value in properties
    )
    return f"<qemu:device alias='{alias}'><qemu:frontend>{inner}</qemu:frontend></qemu:device>"


# --- One virtio device of each kind -----------------------------------------------------------------------

KINDS: Final = ("block", "scsi", "net", "balloon", "rng", "console", "9p")
"""As fixer.domain names them."""


def device(kind: str, number: int, place: str, *, model: str = "virtio", alias: str = "") -> str:
    """Return the ``number``th virtio device of a kind at BB:SS.F, the bus as libvirt counts."""
    where = (f"<alias name='{alias}'/>" if alias else "") + helpers.at(place)
    match kind:
        case "block":
            return _disk(helpers.disk_names(number + 1)[-1], model, where)
        case "scsi":
            model = "virtio-scsi" if model == "virtio" else model
            return f"    <controller type='scsi' index='{number}' model='{model}'>{where}</controller>\n"
        case "console":
            attributes = f"type='virtio-serial' index='{number}' model='{model}'"
            return f"    <controller {attributes}>{where}</controller>\n"
        case "net":
            return helpers.nic(number, model=model, inner=f"<rom enabled='no'/>{where}")
        case "balloon":
            return f"    <memballoon model='{model}'>{where}</memballoon>\n"
        case "rng":
            return f"    <rng model='{model}'><backend model='random'>/dev/urandom</backend>{where}</rng>\n"
        case _:
            return _share(number, model, where)


def _disk(name: str, model: str, where: str) -> str:
    source = f"<driver name='qemu' type='raw'/><source file='{_NOWHERE}/disk.img'/><readonly/>"
    target = f"<target dev='{name}' bus='virtio'/>"
    return f"    <disk type='file' device='disk' model='{model}'>{source}{target}{where}</disk>\n"


def _share(number: int, model: str, where: str) -> str:
    source = f"<source dir='{_NOWHERE}/shared'/><target dir='share{number}'/>"
    attributes = f"type='mount' accessmode='squash' model='{model}'"
    return f"    <filesystem {attributes}>{source}{where}</filesystem>\n"
