"""A copy of a domain to be tried and thrown away: the same machine, firmware, PCI topology, models and overrides.

What stands behind the devices is replaced: disks are empty, networks unconnected, displays unseen. Everything is
left out that is not known to need nothing of the host: only named elements and attributes reach the copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.devices import attribute
from fixer.domain.virtio import QEMU_NAMESPACE, local_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fixer.domain.devices import Device
    from fixer.domain.document import Node
    from fixer.domain.model import Domain

# 1 MiB; each further disk is 4 KiB larger, so that a guest can tell them apart by size.
FIRST_IMAGE, IMAGE_STEP = 1 << 20, 1 << 12
# Debian's OVMF and a kernel with its initramfs need more than 128 MiB; PCI windows do not depend on it.
MEMORY_MIB = 256
# MACs for NICs that have none, so that a guest can tell them apart (52:54:00 is QEMU's own prefix).
MAC = "52:54:00:fe:{:02x}:{:02x}"
# How the alias of a device begins that holds the place of one that is left out.
STAND_IN = "ua-virtfix-stand-in-"
# SeaBIOS and OVMF write what they do to this port (QEMU docs/specs/pvpanic and hw/char/debugcon.c; OVMF README).
DEBUG_PORT = "0x402"

_KEPT_FEATURES = frozenset({"acpi", "apic", "pae", "smm", "vmport"})
# Options of <driver> that change what is negotiated or how large a BAR is; the others tune the host's side.
_KEPT_IN_DRIVER = frozenset({"iommu", "ats", "packed", "page_per_vq"})
_KEPT_IN_CONTROLLER = frozenset({"type", "index", "model", "ports", "vectors"})
_KEPT_IN_VIDEO = frozenset({"type", "ram", "vram", "vram64", "vgamem", "heads", "primary"})
# Properties that name no path and no back end, and decide what a guest sees on PCI.
_KEPT_PROPERTIES = frozenset(
    {
        *("disable-legacy", "disable-modern", "page-per-vq", "vectors", "multifunction", "msi", "shpc"),
        *("io-reserve", "mem-reserve", "pref32-reserve", "pref64-reserve", "bus-reserve", "hotplug"),
        *("pci-hole64-size", "x-pci-hole64-fix", "x-native-hotplug", "acpi-pci-hotplug-with-bridge-support"),
    }
)


class Bench(NamedTuple):
    """What the copy is tried on. ``machine`` stands in where the host lacks that of the domain.

    ``loaders`` are the firmware images that libvirt knows here, ``videos`` the video models; ``folder`` is where
    images and logs of the copy lie.
    """

    name: str
    uuid: str
    folder: str
    emulator: str
    virt_type: str
    machine: str
    loaders: frozenset[str]
    videos: frozenset[str]


class Boot(NamedTuple):
    """A Linux guest that the copy boots."""

    kernel: str
    initrd: str
    cmdline: str


class Copy(NamedTuple):
    """The XML of a copy. ``images`` are files to make, by path, with their sizes in bytes.

    ``disks`` are the disks by the size of their image, ``nics`` the NICs by their MAC; ``notes`` say what is not as
    in the domain.
    """

    xml: str
    images: dict[str, int]
    disks: dict[int, str]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    nics: dict[str, str]


def throw_away(domain: Domain, bench: Bench, boot: Boot | None = None) -> Copy:
    """Return a copy of a domain that needs nothing of its host. Raises VirtfixError for an impossible domain."""
    return _Copier(domain, bench, boot).copy()


def _element(name: str, attrs: dict[str, str] | None = None, *children: str, text: str = "") -> str:
    head = name + "".join(f' {key}="{_escaped(value)}"' for key, value in (attrs or {}).items())
    inside = _escaped(text) + "".join(children)
    return f"<{head}>{inside}</{name}>" if inside else f"<{head}/>"


def _escaped(text: str) -> str:
    for sign, name in _ESCAPES:
        text = text.replace(sign, name)
    return text


# White space too: a parser would make blanks of it in attributes (XML 1.0, section 3.3.3).
_ESCAPES = (
    *(("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")),
    *(("\t", "&#9;"), ("\n", "&#10;"), ("\r", "&#13;")),
)


def _kept(node: Node, names: Iterable[str]) -> dict[str, str]:
    return {name: value for name, value in node.attrs.items() if name in names}


class _Copier:
    def __init__(self, domain: Domain, bench: Bench, boot: Boot | None) -> None:
        self.domain, self.bench, self.boot = domain, bench, boot
        self.images: dict[str, int] = {}
        self.disks: dict[int, str] = {}
        self.nics: dict[str, str] = {}
        self.notes: list[str] = []
        self.by_node = {device.node: device for device in domain.devices if device.node is not None}
        at = domain.layout.at if domain.layout is not None else {}
        self.pinned = False
        gone = [device for node, device in self.by_node.items() if not self._device(node)]
        self.lost = [device for device in gone if device in at]
        # libvirt places what has no address by what else is there (a SCSI host device calls for a controller): then
        # each device is told its place.
        scsi = any(device.tag == "hostdev" and device.type == "scsi" for device in gone)
        self.pinned = bool(self.lost or scsi or domain.properties.places)
        replaced = [node for node in self.by_node if node.name == "video" and self._stands_in(node)]
        self.left_out = tuple(device.key for device in (*self.lost, *map(self.by_node.__getitem__, replaced)))
        self.images, self.disks, self.nics, self.notes = {}, {}, {}, []

    def copy(self) -> Copy:
        bench = self.bench
        body = [
            _element("name", text=bench.name),
            _element("uuid", text=bench.uuid),
            _element("memory", {"unit": "MiB"}, text=str(MEMORY_MIB)),
            _element("vcpu", text="1"),
            self._os(),
            self._features(),
            *(_element(f"on_{event}", text="destroy") for event in ("poweroff", "reboot", "crash")),
            _element("devices", None, *self._devices()),
            *self._qemu(),
        ]
        xml = _element("domain", {"type": bench.virt_type, "xmlns:qemu": QEMU_NAMESPACE}, *body)
        notes = tuple(dict.fromkeys(self.notes))
        return Copy(xml, self.images, self.disks, self.left_out, notes, self.nics)

    # --- beside the devices ---------------------------------------------------------------------------

    def _os(self) -> str:
        machine = self.domain.machine
        if machine.name != self.bench.machine and machine.name:
            self.notes.append(
                f"machine type {machine.name} is not offered here: {self.bench.machine} stands in"
            )
        parts = [_element("type", {"arch": "x86_64", "machine": self.bench.machine}, text="hvm")]
        attrs: dict[str, str] = {}
        if self.domain.firmware.kind == "uefi":
            attrs, firmware = self._uefi()
            parts += firmware
        elif self.domain.firmware.how == "loader of type rom":
            self.notes.append("the host's own BIOS stands in for the firmware of the domain")
        if self.boot is not None:
            parts += [_element(name, text=value) for name, value in self.boot._asdict().items()]
        return _element("os", attrs, *parts)

    def _uefi(self) -> tuple[dict[str, str], list[str]]:
        variables = f"{self.bench.folder}/vars.fd"
        os_node = self.domain.root.find("os")
        loader = os_node.find("loader") if os_node is not None else None
        path = loader.text if loader is not None else ""
        if loader is not None and path in self.bench.loaders:
            form = _kept(loader, {"format"})
            kept = _kept(loader, {"secure"}) | {"readonly": "yes", "type": "pflash"} | form
            return {}, [_element("loader", kept, text=path), _element("nvram", form, text=variables)]
        if path:
            self.notes.append(f"firmware {path} is not known to libvirt here: the host's own UEFI stands in")
        secure = "yes" if self.domain.firmware.secure_boot else "no"
        feature = _element("feature", {"enabled": secure, "name": "secure-boot"})
        return {"firmware": "efi"}, [_element("firmware", None, feature), _element("nvram", text=variables)]

    def _features(self) -> str:
        node = self.domain.root.find("features")
        kept = [child for child in node.children if child.name in _KEPT_FEATURES] if node is not None else []
        return _element("features", None, *(_element(child.name, _kept(child, {"state"})) for child in kept))

    def _qemu(self) -> Iterator[str]:
        overrides = self.domain.root.children_in(QEMU_NAMESPACE, "override")
        devices = [_override(device) for override in overrides for device in override.children]
        if any(devices):
            yield _element("qemu:override", None, *filter(None, devices))
        arguments = ["-chardev", f"file,id=virtfix-debug,path={self.bench.folder}/debug.log"]
        arguments += ["-device", f"isa-debugcon,iobase={DEBUG_PORT},chardev=virtfix-debug"]
        arguments += self._arguments()
        yield _element(
            "qemu:commandline", None, *(_element("qemu:arg", {"value": value}) for value in arguments)
        )

    def _arguments(self) -> Iterator[str]:
        """Yield the options of the domain's own command line that are known to name nothing of the host."""
        commandlines = self.domain.root.children_in(QEMU_NAMESPACE, "commandline")
        arguments = [node for commandline in commandlines for node in commandline.children]
        values = [node.attrs.get("value", "") for node in arguments if local_name(node) == "arg"]
        at = 0
        while at < len(values):
            option, value = values[at], values[at + 1] if at + 1 < len(values) else ""
            at += 1
            known = option.lstrip("-") in {"global", "set"} and _names_known_property(value)
            if known and not (option.endswith("set") and _is_made_by(values, value)):
                yield option
                yield value
                at += 1
            elif option.startswith("-"):
                self.notes.append(f"{option} of qemu:commandline is left out")

    # --- devices --------------------------------------------------------------------------------------

    def _devices(self) -> Iterator[str]:
        yield _element("emulator", text=self.bench.emulator)
        yield self._console()
        containers = self.domain.root.findall("devices")
        for node in (child for devices in containers for child in devices.children):
            yield self._device(node)
        yield from self._stand_ins()
        if self.pinned:
            layout = self.domain.layout
            buses = [bus.controller for bus in layout.buses if bus.made_up] if layout is not None else []
            added = [device for device in self.domain.devices if device.node is None]
            yield from (self._made_up(device) for device in (*filter(None, buses), *added))
        if any(devices.find("graphics") is not None for devices in containers):
            # libvirt adds a video device where there are graphics.
            yield _element("graphics", {"type": "vnc"}, _element("listen", {"type": "none"}))
        yield _element("audio", {"id": "1", "type": "none"})

    def _stand_ins(self) -> Iterator[str]:
        """Firmware looks at a slot's other functions only where there is a function 0: so one stays there.

        A virtio keyboard needs nothing of the host and has no I/O ports.
        """
        layout = self.domain.layout
        if layout is None or not self.lost:
            return
        others = {address & ~7 for device, address in layout.at.items() if device not in self.lost}
        for device in self.lost:
            address = layout.at[device]
            if not address & 7 and address in others:
                alias = _element("alias", {"name": f"{STAND_IN}{address:04x}"})
                yield _element(
                    "input", {"type": "keyboard", "bus": "virtio"}, alias, *self._place(device, device.node)
                )

    def _console(self) -> str:
        """UEFI writes to the first serial port; so does the guest's kernel."""
        source = _element("source", {"path": f"{self.bench.folder}/serial.log"})
        model = _element("model", {"name": "isa-serial"})
        return _element(
            "serial",
            {"type": "file"},
            source,
            _element("target", {"type": "isa-serial", "port": "0"}, model),
        )

    def _made_up(self, device: Device) -> str:
        """Write down a device that libvirt would add, where each is told its place."""
        place = self._place(device, None)
        if device.tag == "controller":
            model = {"model": device.model} if device.is_bridge or device.type in {"usb", "scsi"} else {}
            kind = "pci" if device.is_bridge else device.type
            attrs = {"type": kind, "index": str(device.index), **model}
            return _element("controller", attrs, *place)
        if device.tag == "video":
            return _element("video", None, _element("model", {"type": device.model}), *place)
        return _element(device.tag, {"model": device.model}, *place)

    def _device(self, node: Node) -> str:
        """Return what stands in for a device, '' for one that can not be there."""
        copier = _COPIERS.get(node.name)
        return "" if copier is None else copier(self, node)

    def _common(self, node: Node, *names: str) -> list[str]:
        """Return place, alias, and the named children, with what they may say."""
        kept = [child for child in node.children if child.name in names]
        return [
            *(
                _element(child.name, dict(child.attrs), text=child.text)
                for child in kept
                if child.name != "driver"
            ),
            *(_element("driver", _kept(child, _KEPT_IN_DRIVER)) for child in kept if child.name == "driver"),
            *(_element("alias", _kept(child, {"name"})) for child in node.findall("alias")),
            *self._place(self.by_node.get(node), node),
        ]

    def _place(self, device: Device | None, node: Node | None) -> list[str]:
        written = node.find("address") if node is not None else None
        is_pci = written is not None and written.attrs.get("type") == "pci"
        if written is not None and not (is_pci and device is not None and device.address is None):
            return [_element("address", dict(written.attrs))]
        layout = self.domain.layout
        address = layout.at.get(device) if self.pinned and device and layout is not None else None
        if address is None or device is None:
            return []
        where = {"bus": hex(address >> 8), "slot": hex(address >> 3 & 31), "function": hex(address & 7)}
        more = {"multifunction": device.multifunction} if device.multifunction else {}
        return [_element("address", {"type": "pci", "domain": "0x0000", **where, **more})]

    def disk(self, node: Node) -> str:
        target = node.find("target")
        kind = node.attrs.get("device", "disk")
        kind = kind if kind in {"cdrom", "floppy"} else "disk"
        attrs = {"type": "file", "device": kind, **_kept(node, {"model"})}
        parts = self._common(node)
        driver = node.find("driver")
        virtio = self.by_node[node].type == "virtio"
        options = _kept(driver, {*_KEPT_IN_DRIVER, "queues"}) if driver is not None and virtio else {}
        parts.insert(0, _element("driver", {"name": "qemu", "type": "raw", **options}))
        if target is not None:
            parts.insert(1, _element("target", _kept(target, {"dev", "bus"})))
        if kind == "disk":
            size = FIRST_IMAGE + IMAGE_STEP * len(self.images)
            path = f"{self.bench.folder}/disk{len(self.images)}.img"
            self.images[path] = size
            self.disks[size] = self.by_node[node].key
            parts.append(_element("source", {"file": path}))
        else:
            parts.append(_element("readonly"))
        return _element("disk", attrs, *parts)

    def interface(self, node: Node) -> str:
        device = self.by_node[node]
        if device.type == "hostdev":
            return ""
        parts = self._common(node, "mac", "driver")
        mac = attribute(node, "mac", "address").lower()
        if not mac:
            mac = MAC.format(*divmod(len(self.nics), 256))
            parts = [_element("mac", {"address": mac}), *self._common(node, "driver")]
        self.nics[mac] = device.key
        parts.append(_element("model", {"type": device.model}))
        rom = node.find("rom")
        if rom is not None and _kept(rom, {"bar", "enabled"}):
            parts.append(_element("rom", _kept(rom, {"bar", "enabled"})))
        # QEMU's own network stack, unplugged. (libvirt 9.0 crashes on a null interface in the embedded driver.)
        return _element("interface", {"type": "user"}, *parts, _element("link", {"state": "down"}))

    def controller(self, node: Node) -> str:
        attrs = _kept(node, _KEPT_IN_CONTROLLER) | {"index": str(self.by_node[node].index)}
        parts = self._common(node, "model", "master", "driver")
        target, hole = node.find("target"), node.find("pcihole64")
        if target is not None:
            parts.append(
                _element("target", {name: value for name, value in target.attrs.items() if name != "node"})
            )
        if hole is not None:
            parts.append(_element("pcihole64", dict(hole.attrs), text=hole.text))
        return _element("controller", attrs, *parts)

    def port(self, node: Node) -> str:
        """A port of virtio-serial, or a serial port on PCI."""
        target = node.find("target")
        kind = target.attrs.get("type") if target is not None else None
        wanted = {"serial": "pci-serial"}.get(node.name, "virtio")
        if target is None or kind != wanted:
            return ""
        parts = self._common(node)
        return _element(
            node.name, {"type": "null"}, _element("target", _kept(target, {"type", "name", "port"})), *parts
        )

    def plain(self, node: Node) -> str:
        """A device that has nothing behind it."""
        return _element(
            node.name, _kept(node, {"model", "type", "bus"}), *self._common(node, "driver", "codec")
        )

    def sound(self, node: Node) -> str:
        """The ones on PCI; the old ISA ones want an option that QEMU has no more."""
        on_pci = node.attrs.get("model") in {"ac97", "es1370", "ich6", "ich7", "ich9"}
        return self.plain(node) if on_pci else ""

    def input(self, node: Node) -> str:
        kind = node.attrs.get("type", "")
        if kind == "evdev":  # no device, but a source of input for others
            return ""
        attrs = {"type": "keyboard" if kind == "passthrough" else kind, **_kept(node, {"bus", "model"})}
        return _element("input", attrs, *self._common(node, "driver"))

    def rng(self, node: Node) -> str:
        backend = _element("backend", {"model": "random"}, text="/dev/urandom")
        return _element("rng", _kept(node, {"model"}), backend, *self._common(node, "driver"))

    def watchdog(self, node: Node) -> str:
        return _element("watchdog", {**_kept(node, {"model"}), "action": "none"}, *self._common(node))

    def crypto(self, node: Node) -> str:
        backend = _element("backend", {"model": "builtin", "queues": "1"})
        return _element("crypto", _kept(node, {"model", "type"}), backend, *self._common(node, "driver"))

    def panic(self, node: Node) -> str:
        """The one on PCI; the others are ISA or paravirtual."""
        is_pci = node.attrs.get("model") == "pvpanic"
        return _element("panic", {"model": "pvpanic"}, *self._common(node)) if is_pci else ""

    def video(self, node: Node) -> str:
        model = node.find("model")
        attrs = _kept(model, _KEPT_IN_VIDEO) if model is not None else {}
        kind = attrs.get("type", "")
        if self._stands_in(node):
            self.notes.append(f"video model {kind} is not offered here: vga stands in")
            attrs = {"type": "vga", **_kept(model, {"primary"})} if model is not None else {}
        return _element("video", None, _element("model", attrs), *self._common(node, "driver"))

    def _stands_in(self, video: Node) -> bool:
        """Whether another model has to stand in for one that the host lacks."""
        kind = attribute(video, "model", "type")
        return kind not in {"", "none", *self.bench.videos}

    def filesystem(self, node: Node) -> str:
        driver, target = node.find("driver"), node.find("target")
        if (driver is not None and driver.attrs.get("type") == "virtiofs") or target is None:
            return ""
        attrs = {"type": "mount", "accessmode": "squash", **_kept(node, {"model"})}
        source = _element("source", {"dir": f"{self.bench.folder}/shared"})
        parts = self._common(node, "target")
        return _element("filesystem", attrs, source, *parts)


_COPIERS: dict[str, Callable[[_Copier, Node], str]] = {
    "disk": _Copier.disk,
    "interface": _Copier.interface,
    "controller": _Copier.controller,
    "channel": _Copier.port,
    "console": _Copier.port,
    "serial": _Copier.port,
    "memballoon": _Copier.plain,
    "hub": _Copier.plain,
    "sound": _Copier.sound,
    "input": _Copier.input,
    "rng": _Copier.rng,
    "watchdog": _Copier.watchdog,
    "crypto": _Copier.crypto,
    "panic": _Copier.panic,
    "video": _Copier.video,
    "filesystem": _Copier.filesystem,
}


def _override(device: Node) -> str:
    """Return <qemu:device> of <qemu:override> with the properties that may be kept, '' without any."""
    kept = [
        _element("qemu:property", _kept(node, {"name", "type", "value"}))
        for node in device.iter()
        if local_name(node) == "property" and node.attrs.get("name") in _KEPT_PROPERTIES
    ]
    if not kept:
        return ""
    return _element("qemu:device", _kept(device, {"alias"}), _element("qemu:frontend", None, *kept))


def _is_made_by(values: list[str], setting: str) -> bool:
    """Whether -set is about a device that the command line itself makes, which is left out."""
    kind, _, name = setting.partition(".")
    name = name.partition(".")[0]
    return kind == "device" and any(f"id={name}" in value.split(",") for value in values)


def _names_known_property(value: str) -> bool:
    """Whether a value of -global or -set is TYPE.PROPERTY=VALUE, or in keywords, of a property that may be kept."""
    words = dict(part.partition("=")[::2] for part in value.split(","))
    if "property" in words:
        return words["property"] in _KEPT_PROPERTIES and set(words) <= {"driver", "property", "value"}
    name, equals, _ = value.partition("=")
    return bool(equals) and "," not in value and name.rpartition(".")[2] in _KEPT_PROPERTIES
