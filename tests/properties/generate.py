"""Makes Q35 domains that libvirt would accept, out of one source of random numbers.

Three sorts: without addresses, with an address for every device, and a mixture of both. The text comes
in every style that a file may have: quotes, indentation, line ends, comments, foreign elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from random import Random

VIRTIO = ("virtio", "virtio", "virtio", "virtio-transitional", "virtio-non-transitional")
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"


class E(NamedTuple):
    """An element to be written: name, attributes, children."""

    name: str
    attrs: dict[str, str]
    children: list[E]


class Style(NamedTuple):
    """How the text is written."""

    quote: str
    unit: str  # '' for everything on one line
    newline: str
    comments: bool
    mixed: bool  # the other quote here and there


def e(tag: str, /, *children: E, **attrs: str) -> E:
    return E(tag, {key.rstrip("_"): value for key, value in attrs.items()}, list(children))


def generate(r: Random, machine: str = "q35") -> str:
    """Return the XML of one domain."""
    topology, places = _topology(r) if machine != "pc" else ([], _Places(r, machine))
    devices = _devices(r)
    share = r.choice((0.0, 1.0, 1.0, 0.5)) if machine != "pc" else 0.0
    aliased = []
    for device in devices:
        if device.name in _ON_PCI and _on_pci(device) and r.random() < share:
            device.children.append(places.take())
        if device.name in {"disk", "interface"} and r.random() < 0.15:
            alias = f"ua-{len(aliased)}"
            aliased.append(alias)
            device.children.append(e("alias", name=alias))
    everything = [*topology, *devices]
    if r.random() < 0.5:
        r.shuffle(everything)
    firmware = {"firmware": "efi"} if r.random() < 0.5 else {}
    root = e(
        "domain",
        e("name"),
        e("metadata", e("f:mine", **{"xmlns:f": "http://example.com/f", "f:k": "v"})),
        e("os", e("type", arch="x86_64", machine=machine), **firmware),
        e("devices", *everything),
        type="kvm",
    )
    _properties(r, root, aliased)
    style = Style(
        r.choice("'\""), r.choice(("  ", "  ", "    ", "\t", "")), r.choice(("\n", "\n", "\r\n")), r.random() < 0.5,
        r.random() < 0.3,
    )  # fmt: skip
    head = r.choice(("", "<?xml version='1.0' encoding='UTF-8'?>\n", "\ufeff", "<!-- made by hand -->\n"))
    return head.replace("\n", style.newline) + render(root, style, r).lstrip() + style.newline


def _properties(r: Random, root: E, aliased: list[str]) -> None:
    """Add an override or a command line, with a prefix of its own or the usual one."""
    prefix = r.choice(("qemu", "q"))
    chance = r.random()
    if aliased and chance < 0.3:
        value = r.choice(("off", "off", "on", "auto"))
        prop = e(f"{prefix}:property", name="disable-legacy", type="string", value=value)
        entry = e(f"{prefix}:device", e(f"{prefix}:frontend", prop), alias=r.choice(aliased))
        root.children.append(e(f"{prefix}:override", entry))
    elif chance < 0.4:
        value = r.choice(("virtio-pci.disable-legacy=off", "virtio-blk-pci.disable-legacy=off", "x.y=z"))
        arguments = (e(f"{prefix}:arg", value="-global"), e(f"{prefix}:arg", value=value))
        root.children.append(e(f"{prefix}:commandline", *arguments))
    else:
        return
    root.attrs[f"xmlns:{prefix}"] = QEMU


# --- Devices ------------------------------------------------------------------------------------------

_ON_PCI = {"disk", "interface", "controller", "memballoon", "rng", "filesystem", "vsock", "input", "video", "sound",
           "watchdog"}  # fmt: skip


def _on_pci(device: E) -> bool:
    attrs = device.attrs
    if device.name == "disk":
        return any(child.attrs.get("bus") == "virtio" for child in device.children)
    if device.name == "controller":
        return attrs["type"] in {"scsi", "virtio-serial"}
    if device.name == "video":
        return not any(child.attrs.get("type") in {"none", "ramfb"} for child in device.children)
    return attrs.get("model") != "none" and attrs.get("bus") != "usb"


def _devices(r: Random) -> list[E]:
    found: list[E] = []
    names = [f"vd{letter}" for letter in "abcdefghij"]
    r.shuffle(names)
    for name in names[: r.choice((0, 1, 1, 2, 3, 6))]:
        disk = e("disk", e("target", dev=name, bus="virtio"), type="file", device="disk")
        _model(r, disk.attrs)
        if r.random() < 0.1:
            disk.children.insert(0, e("driver", name="qemu", iommu=r.choice(("on", "off"))))
        found.append(disk)
    for number in range(r.choice((0, 1, 1, 2, 4))):
        model = r.choice((*VIRTIO, "e1000e", "rtl8139"))
        mac = f"52:54:00:00:00:{number:02x}"
        found.append(e("interface", e("mac", address=mac), e("model", type=model), type="user"))
    for number in range(r.choice((0, 0, 1, 2))):
        model = r.choice(
            ("virtio-scsi", "virtio-scsi", "virtio-transitional", "virtio-non-transitional", "lsilogic")
        )
        found.append(e("controller", type="scsi", index=str(number), model=model))
    for kind, make in _OPTIONAL.items():
        if r.random() < _CHANCE.get(kind, 0.2):
            found.append(make(r))
    return found


def _model(r: Random, attrs: dict[str, str]) -> None:
    if r.random() < 0.5:
        attrs["model"] = r.choice(VIRTIO)


def _with_model(tag: str, /, *children: E, **attrs: str):  # type: ignore[no-untyped-def]
    def make(r: Random) -> E:
        return e(tag, *children, model=r.choice(VIRTIO), **attrs)

    return make


_CHANCE = {"balloon": 0.5, "rng": 0.4, "channel": 0.4, "graphics": 0.4, "video": 0.4, "usb": 0.3}
_OPTIONAL = {
    "balloon": lambda r: e("memballoon", model=r.choice((*VIRTIO, "none", "none"))),
    "rng": _with_model("rng", e("backend", model="random")),
    "9p": _with_model("filesystem", e("target", dir="t"), type="mount"),
    "virtiofs": lambda _: e("filesystem", e("driver", type="virtiofs"), e("target", dir="fs"), type="mount"),
    "vsock": lambda _: e("vsock", e("cid", auto="yes"), model="virtio"),
    "input": lambda r: e("input", type="tablet", bus=r.choice(("virtio", "usb"))),
    "channel": lambda _: e("channel", e("target", type="virtio", name="org.qemu.guest_agent.0"), type="unix"),
    "serial": lambda _: e("controller", type="virtio-serial", index="0"),
    "graphics": lambda _: e("graphics", type="vnc"),
    "video": lambda r: e("video", e("model", type=r.choice(("virtio", "qxl", "vga", "bochs", "none")))),
    "sound": lambda r: e("sound", model=r.choice(("ich6", "ich9"))),
    "watchdog": lambda _: e("watchdog", model="i6300esb", action="reset"),
    "usb": lambda r: e("controller", type="usb", index="0", model=r.choice(("none", "qemu-xhci", "ich9-ehci1"))),
    "sata": lambda _: e("disk", e("target", dev="sda", bus="sata"), type="file", device="cdrom"),
    "unknown": lambda _: e("tpm", e("backend", type="emulator"), model="tpm-crb"),
}  # fmt: skip


# --- Topology -----------------------------------------------------------------------------------------


def _address(r: Random, bus: int, slot: int, function: int = 0, *, multifunction: bool = False) -> E:
    spell = r.choice(("hex", "hex", "decimal", "short"))
    if spell == "decimal":
        attrs = {"bus": str(bus), "slot": str(slot), "function": str(function)}
    elif spell == "short":
        attrs = {
            key: hex(value) for key, value in (("bus", bus), ("slot", slot), ("function", function)) if value
        }
    else:
        attrs = {
            "domain": "0x0000",
            "bus": f"0x{bus:02x}",
            "slot": f"0x{slot:02x}",
            "function": f"0x{function:x}",
        }
    if multifunction:
        attrs["multifunction"] = "on"
    return E("address", {"type": "pci", **attrs}, [])


class _Places:
    """Free places for devices, in random order."""

    def __init__(self, r: Random, machine: str) -> None:
        self._r = r
        self.slots = [slot for slot in range(1, 0x1E) if machine != "pc" or slot > 2]
        r.shuffle(self.slots)
        self.free: list[tuple[int, int, int]] = []

    def take(self) -> E:
        r = self._r
        if self.free and (r.random() < 0.6 or len(self.slots) < 4):
            bus, slot, function = self.free.pop()
        else:
            bus, slot, function = 0, self.slots.pop(), 0
            if r.random() < 0.15:  # three functions of a slot; or, now and then, one that nobody will see
                self.free += [(0, slot, 1), (0, slot, 2)]
                return _address(r, 0, slot, r.choice((0, 0, 0, 3)), multifunction=True)
        return _address(r, bus, slot, function)


def _topology(r: Random) -> tuple[list[E], _Places]:
    places = _Places(r, "q35")
    found: list[E] = []

    def controller(model: str, bus: int, slot: int, function: int = 0, *, multifunction: bool = False) -> int:
        index = len(found) + 1
        address = _address(r, bus, slot, function, multifunction=multifunction)
        found.append(e("controller", address, type="pci", index=str(index), model=model))
        return index

    count = r.choice((0, 0, 2, 5, 9, 12))
    packed = r.random() < 0.5
    slot = 0
    for number in range(count):
        function = number % 8 if packed else 0
        if not function:
            slot = places.slots.pop()
        port = controller("pcie-root-port", 0, slot, function, multifunction=packed and not function)
        kind = r.random()
        if kind < 0.15:
            bridge = controller("pcie-to-pci-bridge", port, 0)
            places.free += [(bridge, place, 0) for place in r.sample(range(1, 32), r.choice((1, 3, 20)))]
        elif kind < 0.2:
            switch = controller("pcie-switch-upstream-port", port, 0)
            for place in range(2):
                places.free.append((controller("pcie-switch-downstream-port", switch, place), 0, 0))
        else:
            places.free.append((port, 0, 0))
    if r.random() < 0.2:
        dmi = controller("dmi-to-pci-bridge", 0, 0x1E)
        places.free += [(dmi, place, 0) for place in (0, 7)]
        bridge = controller("pci-bridge", dmi, 1)
        places.free += [(bridge, place, 0) for place in (1, 2, 3)]
    r.shuffle(places.free)
    return found, places


# --- Text ---------------------------------------------------------------------------------------------


def render(element: E, style: Style, r: Random, depth: int = 0) -> str:
    lead = style.newline + style.unit * depth if style.unit else ""
    other = '"' if style.quote == "'" else "'"
    attrs = ""
    for name, value in element.attrs.items():
        quote = other if style.mixed and r.random() < 0.3 else style.quote
        attrs += r.choice((" ", " ", " ", "  ")) + f"{name}={quote}{value}{quote}"
    before = after = ""
    if style.comments and depth > 1 and r.random() < 0.1:
        before = lead + "<!-- <address type='pci'/> & so on -->"
    if style.comments and depth > 1 and r.random() < 0.1:
        after = " <!-- this one -->"
    if not element.children:
        text = {"name": "t", "type": "hvm", "backend": "/dev/urandom"}.get(element.name, "")
        close = f">{text}</{element.name}>" if text or r.random() < 0.1 else r.choice(("/>", "/>", " />"))
        return f"{before}{lead}<{element.name}{attrs}{close}{after}"
    inner = "".join(render(child, style, r, depth + 1) for child in element.children)
    return f"{before}{lead}<{element.name}{attrs}>{inner}{lead}</{element.name}>{after}"
