"""Boots a domain with a real Linux guest and reports which virtio devices a legacy driver gets.

The guest is Debian's cloud kernel with a small initramfs. With `legacy=True` its virtio driver prefers the
legacy interface: a device without one falls back to virtio 1.0 and shows VIRTIO_F_VERSION_1 (bit 32), which
is how a device that a legacy-only guest would miss is told from one that it would drive.

The domain runs as a throw-away copy: PCI topology, models, addresses, aliases, qemu:override and
qemu:commandline stay; what stands behind the devices (images, networks, displays) is replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import libvirt
from lxml import etree

from fixer.adapters import guest_image
from fixer.adapters.qemu_bench import QEMU_CONF
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.adapters.guest_image import Guest

CMDLINE: Final = (
    "console=ttyS0 loglevel=4 log_buf_len=4M panic=-1 nokaslr mitigations=off virtfix.legacy={legacy}"
)
AGENT_PACKAGE: Final = "qemu-guest-agent"
BEGIN: Final = "VIRTFIX-BEGIN"
END: Final = "VIRTFIX-END"

OVMF_CODE: Final = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS: Final = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")

GUARD: Final = """\
cat >/dev/null
for pid in "$1"/run/qemu/guest-*.pid; do [ -e "$pid" ] && kill -9 "$(cat "$pid")"; done
rm -rf "$1"
"""

SECTOR: Final = 512
FIRST_DISK_SECTORS: Final = 2048  # 1 MiB; each further disk is 4 KiB larger, so its size names it
DISK_STEP_SECTORS: Final = 8


class BootError(RuntimeError):
    """The guest did not report."""


@dataclass(frozen=True)
class VirtioDevice:
    name: str
    pci: str
    driver: str | None
    legacy: bool


@dataclass(frozen=True)
class Disk:
    name: str
    pci: str
    target: str
    scsi: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Nic:
    name: str
    mac: str
    pci: str


@dataclass(frozen=True)
class PciFunction:
    address: str
    vendor: int
    device: int
    pci_class: int


@dataclass(frozen=True)
class Report:
    """What the guest saw. The `legacy_*` views mean something after a boot with `legacy=True` only.

    `unmapped` are the PCI functions the firmware gave no room: this kernel maps them itself, but firmware
    cannot boot from them and other guests lose them. The `legacy_*` views leave them out.
    """

    devices: tuple[VirtioDevice, ...]
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    pci: tuple[PciFunction, ...]
    unmapped: frozenset[str]
    log: str = field(repr=False, compare=False)

    @property
    def legacy_addresses(self) -> frozenset[str]:
        bound = frozenset(device.pci for device in self.devices if device.legacy and device.driver)
        return bound - self.unmapped

    @property
    def legacy_disks(self) -> list[str]:
        return [disk.target for disk in self.disks if disk.pci in self.legacy_addresses]

    @property
    def legacy_nics(self) -> list[str]:
        return [nic.mac for nic in self.nics if nic.pci in self.legacy_addresses]

    @property
    def legacy_drivers(self) -> Counter[str]:
        seen = self.legacy_addresses
        return Counter(device.driver for device in self.devices if device.driver and device.pci in seen)

    @property
    def drivers(self) -> Counter[str]:
        return Counter(device.driver for device in self.devices if device.driver)


# --- the guest ---------------------------------------------------------------------------------------


@cache
def the_guest() -> Guest:
    """Build the guest of virtfix itself, with the guest agent on top."""
    return guest_image.build_guest(guest_image.default_cache(), AGENT_PACKAGE, _agent_files)


def _agent_files(cached: Path, scratch: Path) -> list[guest_image.Entry]:
    """Return the guest agent with the libraries of this host that it is linked to, for the initramfs."""
    package = guest_image.package(cached, AGENT_PACKAGE)
    unpacked = scratch / "agent"
    guest_image.run("dpkg-deb", "-x", str(package), str(unpacked))
    program = unpacked / "usr" / "sbin" / "qemu-ga"
    libraries = {Path(found) for found in re.findall(r"(/\S+) \(0x", guest_image.run("ldd", str(program)))}
    folders = {parent for library in libraries for parent in library.parents} - {Path("/")}
    return [
        *((str(folder)[1:], 0o40755, b"") for folder in sorted(folders)),
        *((str(library)[1:], 0o100755, library.read_bytes()) for library in sorted(libraries)),
        ("bin/qemu-ga", 0o100755, program.read_bytes()),
    ]


# --- libvirt in this process -------------------------------------------------------------------------


@cache
def why_unavailable() -> str | None:
    """Name what this machine lacks to boot a guest; None where nothing is lacking."""
    if os.geteuid() != 0:
        return "qemu:///embed boots guests for root only"
    for program in ("qemu-system-x86_64", "apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(program):
            return f"{program} is missing"
    for path, package in ((guest_image.BUSYBOX, "busybox-static"), (OVMF_CODE, "ovmf"), (OVMF_VARS, "ovmf")):
        if not path.exists():
            return f"{path} is missing: install {package}"
    try:
        connection()
        the_guest()
    except libvirt.libvirtError as error:
        return f"libvirt's QEMU driver does not open: {error}"
    except VirtfixError as error:
        return str(error)
    return None


@cache
def connection() -> libvirt.virConnect:
    """Open the one qemu:///embed of this process (libvirt allows no second one with another root)."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()
    opened = libvirt.open(f"qemu:///embed?root={_root()}")
    atexit.register(_close, opened)
    return opened


@cache
def _root() -> Path:
    """Make the folder of libvirt and of all boots, guarded by a process that outlives this one.

    The embedded driver has no autodestroy: were this process killed, its guests would stay. The guard's
    input ends with this process, however it ends, and the guard then ends the guests and the folder.
    """
    root = Path(tempfile.mkdtemp(prefix="virtfix-", dir="/tmp"))  # short: sockets below it, 107 bytes at most
    root.chmod(0o755)
    (root / "etc").mkdir()
    (root / "etc" / "qemu.conf").write_text(QEMU_CONF)
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "guard", str(root)], stdin=subprocess.PIPE, start_new_session=True
    )
    atexit.register(guard.communicate)
    return root


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _close(opened: libvirt.virConnect) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        opened.close()


@cache
def _machines() -> frozenset[str]:
    """List this host's machine types; libvirt's own list would make it probe every emulator for seconds."""
    listed = guest_image.run("qemu-system-x86_64", "-machine", "help").splitlines()[1:]
    return frozenset(line.split(maxsplit=1)[0] for line in listed)


@cache
def _video_models() -> frozenset[str]:
    answer = connection().getDomainCapabilities(None, "x86_64", "q35", "qemu")
    values = etree.fromstring(answer.encode()).iterfind("devices/video/enum[@name='modelType']/value")
    return frozenset(value.text or "" for value in values)


# --- the throw-away copy of a domain -----------------------------------------------------------------

_KEPT_IN_DOMAIN: Final = frozenset({"os", "features", "devices"})
_KEPT_FEATURES: Final = frozenset({"acpi", "apic", "pae"})
_KEPT_IN_DISK: Final = frozenset({"target", "address", "alias", "driver"})
_KEPT_IN_INTERFACE: Final = frozenset({"mac", "model", "address", "alias", "driver", "rom"})
_KEPT_IN_CHANNEL: Final = frozenset({"target", "address", "alias"})
# Options of <driver> that change what the guest negotiates; the others tune the host's side.
_KEPT_IN_DRIVER: Final = frozenset({"iommu", "ats", "packed", "page_per_vq"})


def throw_away_copy(
    xml: str | bytes, guest: Guest, folder: Path, *, legacy: bool, stay: str = ""
) -> tuple[str, dict[int, str]]:
    """Rewrite a domain so that it boots the guest and needs nothing of the host.

    Returns the XML and the libvirt target of each disk by its size in sectors. Left out, because they
    cannot start without the host's help: hostdev, tpm, smartcard, redirdev, shmem, vsock, iommu, virtiofs,
    memory modules.
    """
    # A str has been decoded already, so what its declaration says no longer counts.
    encoding = "utf-8" if isinstance(xml, str) else None
    parser = etree.XMLParser(encoding=encoding, remove_comments=True, remove_pis=True, resolve_entities=False)
    domain = etree.fromstring(xml.encode() if isinstance(xml, str) else xml, parser)
    domain.attrib.pop("id", "")
    domain.set("type", "qemu")
    for child in list(domain):
        if child.tag not in _KEPT_IN_DOMAIN and etree.QName(child).namespace is None:
            domain.remove(child)
    head = {
        "name": f"guest-{uuid.uuid4().hex[:8]}",
        "uuid": str(uuid.uuid4()),
        "memory": str(512 * 1024),
        "vcpu": "1",
        "on_poweroff": "destroy",
        "on_reboot": "destroy",
        "on_crash": "destroy",
    }
    for position, (tag, text) in enumerate(head.items()):
        domain.insert(position, _element(tag, text))
    for feature in list(domain.iterfind("features/*")):
        if feature.tag not in _KEPT_FEATURES:
            feature.getparent().remove(feature)
    _rewrite_os(domain, guest, folder, legacy=legacy, stay=stay)
    targets = _rewrite_devices(domain, folder)
    return etree.tostring(domain, encoding="unicode"), targets


def _element(tag: str, text: str | None = None, /, **attributes: str) -> etree._Element:
    made = etree.Element(tag, attributes)
    made.text = text
    return made


def _rewrite_os(domain: etree._Element, guest: Guest, folder: Path, *, legacy: bool, stay: str) -> None:
    os_element = domain.find("os")
    if os_element is None:
        raise BootError("the domain has no <os>")
    kind = os_element.find("type")
    machine = (kind.get("machine") if kind is not None else None) or "pc"
    loader = os_element.findtext("loader") or ""
    uefi = (
        os_element.get("firmware") == "efi"
        or os_element.find("nvram") is not None
        or os_element.find("loader[@type='pflash']") is not None
        or re.search(r"ovmf|edk2|efi", loader, re.IGNORECASE) is not None
    )
    fresh = _element("os")
    fresh.append(_element("type", "hvm", arch="x86_64", machine=_machine_here(machine)))
    if uefi:
        variables = folder / "vars.fd"
        shutil.copy(OVMF_VARS, variables)
        fresh.append(_element("loader", str(OVMF_CODE), readonly="yes", type="pflash"))
        fresh.append(_element("nvram", str(variables)))
    fresh.append(_element("kernel", str(guest.kernel)))
    fresh.append(_element("initrd", str(guest.initrd)))
    cmdline = CMDLINE.format(legacy=int(legacy)) + (f" virtfix.stay={stay}" if stay else "")
    fresh.append(_element("cmdline", cmdline))
    domain.replace(os_element, fresh)


def _machine_here(machine: str) -> str:
    """Map a machine type that this host lacks to the newest of its kind."""
    if machine in _machines():
        return machine
    return "q35" if "q35" in machine else "pc"


def _rewrite_devices(domain: etree._Element, folder: Path) -> dict[int, str]:
    devices = domain.find("devices")
    if devices is None:
        devices = etree.SubElement(domain, "devices")
    targets: dict[int, str] = {}
    fresh = _element("devices")
    fresh.append(_element("emulator", shutil.which("qemu-system-x86_64")))
    fresh.append(_serial(folder / "serial.log"))
    for device in devices:
        if device.tag == "disk":
            fresh.append(_disk(device, folder, targets))
        else:
            fresh.extend(_device(device, folder))
    if devices.find("graphics") is not None:  # libvirt adds a video device where there are graphics
        graphics = _element("graphics", type="vnc")
        graphics.append(_element("listen", type="none"))
        fresh.append(graphics)
    fresh.append(_element("audio", id="1", type="none"))
    domain.replace(devices, fresh)
    return targets


def _serial(path: Path) -> etree._Element:
    serial = _element("serial", type="file")
    serial.append(_element("source", path=str(path)))
    target = _element("target", type="isa-serial", port="0")
    target.append(_element("model", name="isa-serial"))
    serial.append(target)
    return serial


def _only(source: etree._Element, tag: str, kept: frozenset[str], /, **attributes: str) -> etree._Element:
    """Make an element with the named children of another, in their order."""
    fresh = _element(tag, **attributes)
    fresh.extend(copy.deepcopy(child) for child in source if child.tag in kept)
    for driver in fresh.iterfind("driver"):
        for name in set(driver.attrib) - _KEPT_IN_DRIVER:
            del driver.attrib[name]
    return fresh


def _disk(disk: etree._Element, folder: Path, targets: dict[int, str]) -> etree._Element:
    kind = {"cdrom": "cdrom", "floppy": "floppy"}.get(disk.get("device", "disk"), "disk")
    model = {"model": model} if (model := disk.get("model")) else {}
    fresh = _only(disk, "disk", _KEPT_IN_DISK, type="file", device=kind, **model)
    driver = fresh.find("driver")
    if driver is None:
        driver = etree.SubElement(fresh, "driver")
    driver.set("name", "qemu")
    driver.set("type", "raw")
    target = fresh.find("target")
    if target is None:
        raise BootError("a disk has no <target>")
    for tray in {"tray", "removable", "rotation_rate"} & set(target.attrib):
        del target.attrib[tray]
    if kind == "disk":
        sectors = FIRST_DISK_SECTORS + DISK_STEP_SECTORS * len(targets)
        name = target.get("dev", "")
        targets[sectors] = name
        image = folder / f"{name}.img"
        with image.open("wb") as file:
            file.truncate(sectors * SECTOR)
        fresh.append(_element("source", file=str(image)))
    else:
        fresh.append(_element("readonly"))
    return fresh


def _device(device: etree._Element, folder: Path) -> Iterator[etree._Element]:
    """Yield what stands in for a device: itself, a neutral form of it, or nothing."""
    match device.tag:
        case "controller":
            kept = copy.deepcopy(device)
            for driver in kept.iterfind("driver[@iothread]"):
                del driver.attrib["iothread"]
            yield kept
        case "memballoon" | "watchdog" | "hub" | "crypto":
            yield copy.deepcopy(device)
        case "interface":
            yield from _interface(device)
        case "channel" if device.find("target[@type='virtio']") is not None:
            yield _channel(device)
        case "console" if device.find("target[@type='virtio']") is not None:
            yield _channel(device)
        case "serial" if device.find("target[@type='pci-serial']") is not None:
            yield _only(device, "serial", _KEPT_IN_CHANNEL, type="null")
        case "rng":
            rng = copy.deepcopy(device)
            for backend in rng.findall("backend"):
                rng.replace(backend, _element("backend", "/dev/urandom", model="random"))
            yield rng
        case "input" if device.get("type") != "evdev":
            kind = {"passthrough": "keyboard"}.get(device.get("type", ""), device.get("type", ""))
            about = {name: value for name in ("bus", "model") if (value := device.get(name))}
            yield _only(device, "input", frozenset({"address", "alias", "driver"}), type=kind, **about)
        case "sound":
            yield _only(
                device, "sound", frozenset({"address", "alias", "codec"}), model=device.get("model", "ich9")
            )
        case "video":
            yield _video(device)
        case "filesystem" if device.find("driver[@type='virtiofs']") is None:
            yield _filesystem(device, folder)
        case _:
            return


def _interface(interface: etree._Element) -> Iterator[etree._Element]:
    if interface.get("type") == "hostdev":
        return
    fresh = _only(interface, "interface", _KEPT_IN_INTERFACE, type="user")
    if interface.get("type") == "vdpa" and fresh.find("model") is None:
        fresh.append(_element("model", type="virtio"))
    for rom in fresh.iterfind("rom[@file]"):
        del rom.attrib["file"]
    yield fresh


def _channel(channel: etree._Element) -> etree._Element:
    target = channel.find("target")
    agent = target is not None and target.get("name") == "org.qemu.guest_agent.0"
    # libvirt makes a socket of its own for the agent.
    fresh = _only(channel, str(channel.tag), _KEPT_IN_CHANNEL, type="unix" if agent else "null")
    for target in fresh.iterfind("target[@state]"):
        del target.attrib["state"]
    return fresh


def _video(video: etree._Element) -> etree._Element:
    model = video.find("model")
    kind = model.get("type", "vga") if model is not None else "vga"
    fresh = _only(video, "video", frozenset({"address", "alias", "driver"}))
    primary = {"primary": "yes"} if model is not None and model.get("primary") == "yes" else {}
    known = kind if kind in _video_models() or kind == "none" else "vga"
    fresh.insert(0, _element("model", type=known, **primary))
    return fresh


def _filesystem(filesystem: etree._Element, folder: Path) -> etree._Element:
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    model = {"model": model} if (model := filesystem.get("model")) else {}
    fresh = _only(filesystem, "filesystem", frozenset({"target", "address", "alias"}), type="mount", **model)
    fresh.set("accessmode", "squash")
    fresh.append(_element("source", dir=str(shared)))
    return fresh


# --- booting -----------------------------------------------------------------------------------------


def boot(xml: str | bytes, *, legacy: bool, timeout: float = 120) -> Report:
    """Boot a copy of the domain and return what the guest reports; raise BootError with its console."""
    guest = the_guest()
    with tempfile.TemporaryDirectory(prefix="boot-", dir=_root()) as scratch:
        folder = Path(scratch)
        copied, targets = throw_away_copy(xml, guest, folder, legacy=legacy)
        log = folder / "serial.log"
        try:
            domain = connection().createXML(copied)
        except libvirt.libvirtError as error:
            raise BootError(f"libvirt refuses the copy: {error}\n{copied}") from error
        try:
            finished = _wait(domain, log, timeout)
        finally:
            with contextlib.suppress(libvirt.libvirtError):  # it may have ended by itself
                domain.destroy()
        console = _read(log)
        if not finished:
            raise BootError(
                f"no report within {timeout} s or before the guest ended\n{console[-8000:]}\n{copied}"
            )
        return parse_report(console, targets)


@contextlib.contextmanager
def running(
    xml: str | bytes, *, legacy: bool, system: str = "linux:0", timeout: float = 120
) -> Iterator[libvirt.virDomain]:
    """Boot a copy whose guest stays and gives itself out for ``system`` (ID:VERSION_ID of os-release)."""
    guest = the_guest()
    with tempfile.TemporaryDirectory(prefix="stay-", dir=_root()) as scratch:
        folder = Path(scratch)
        copied, _ = throw_away_copy(xml, guest, folder, legacy=legacy, stay=system)
        domain = connection().createXML(copied)
        try:
            if not _wait(domain, folder / "serial.log", timeout):
                raise BootError(f"no report within {timeout} s\n{_read(folder / 'serial.log')[-8000:]}")
            _wait_for_agent(domain, timeout)
            yield domain
        finally:
            with contextlib.suppress(libvirt.libvirtError):
                domain.destroy()


def _wait_for_agent(domain: libvirt.virDomain, timeout: float) -> None:
    """Wait until the agent of a domain that has a channel for it answers."""
    end = time.monotonic() + timeout
    while "org.qemu.guest_agent.0" in domain.XMLDesc() and time.monotonic() < end:
        with contextlib.suppress(libvirt.libvirtError):
            domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS)
            return
        time.sleep(0.2)


def _wait(domain: libvirt.virDomain, log: Path, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if f"{END}\n" in _read(log):
            return True
        try:
            if not domain.isActive():
                break
        except libvirt.libvirtError:
            break
        time.sleep(0.1)
    return f"{END}\n" in _read(log)


def _read(log: Path) -> str:
    if not log.exists():
        return ""
    return log.read_bytes().decode(errors="replace").replace("\r", "")


def parse_report(console: str, targets: dict[int, str]) -> Report:
    """Read the block between the markers; `targets` maps sizes in sectors to libvirt's disk names."""
    block = console.partition(f"\n{BEGIN}\n")[2].partition(f"\n{END}\n")[0]
    devices: list[VirtioDevice] = []
    disks: list[Disk] = []
    nics: list[Nic] = []
    functions: list[PciFunction] = []
    bars: dict[str, set[tuple[str, int]]] = {"assigned": set(), "conflict": set()}
    for line in block.splitlines():
        match line.split():
            case ["virtio", name, pci, driver, dialect]:
                bound = None if driver == "none" else driver
                devices.append(VirtioDevice(name, pci, bound, legacy=dialect == "legacy"))
            case ["disk", name, pci, sectors, place]:
                scsi = tuple(map(int, place.split(":"))) if ":" in place else None
                disks.append(Disk(name, pci, targets[int(sectors)], scsi))
            case ["nic", name, mac, pci]:
                nics.append(Nic(name, mac, pci))
            case ["pci", address, vendor, device, pci_class]:
                functions.append(PciFunction(address, int(vendor, 16), int(device, 16), int(pci_class, 16)))
            case ["bar", address, bar, ("assigned" | "conflict") as event]:
                bars[event].add((address, int(bar)))
            case _:
                raise BootError(f"the guest reports a line nobody understands: {line!r}\n{console[-8000:]}")
    unmapped = frozenset(address for address, _ in bars["assigned"] - bars["conflict"])
    # Newer kernels name SCSI disks in the background: sort by host and target, as old ones name them.
    disks.sort(key=lambda disk: disk.scsi or ())
    return Report(tuple(devices), tuple(disks), tuple(nics), tuple(functions), unmapped, console)
