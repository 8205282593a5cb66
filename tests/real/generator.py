"""Random domains for the real tests: the same seed gives the same domain.

They mix what libvirt treats differently when it places devices: virtio in its three models, express and
conventional devices, bridges of every sort, devices that bring a controller with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

_DISK_MODELS = ("", "", "", " model='virtio-transitional'", " model='virtio-non-transitional'")
_NIC_MODELS = (
    *("virtio", "virtio", "virtio", "virtio-transitional", "virtio-non-transitional"),
    *("e1000e", "e1000", "rtl8139", ""),
)
_SCSI_MODELS = (
    *("virtio-scsi", "virtio-scsi", "virtio-transitional", "virtio-non-transitional"),
    *("lsilogic", "lsisas1078"),
)
_BALLOON_MODELS = ("none", "virtio", "virtio-transitional")
_VIDEO_MODELS = ("virtio", "qxl", "vga", "cirrus", "bochs", "none", "ramfb")
_USB_MODELS = ("none", "qemu-xhci", "nec-xhci", "piix3-uhci", "pci-ohci", "ehci")


def domain(rng: Random, machine: str = "q35", *, uefi: bool = False) -> str:
    """Return a domain whose devices stand in random order and have no addresses."""
    devices = [*_storage(rng), *_networks(rng), *_virtio_extras(rng), *_plain_extras(rng), *_usb(rng)]
    if machine != "pc":
        devices += _pcie_controllers(rng)
        if rng.random() < 0.1:
            devices.append(
                "<memory model='virtio-pmem'><source><path>/tmp/p</path></source>"
                "<target><size unit='MiB'>256</size></target></memory>"
            )
    rng.shuffle(devices)
    text = f"""\
<domain type='qemu'>
  <name>random</name>
  <maxMemory slots='4' unit='MiB'>4096</maxMemory>
  <memory unit='MiB'>1024</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <vcpu>1</vcpu>
  <os{" firmware='efi'" if uefi else ""}>
    <type arch='x86_64' machine='{machine}'>hvm</type>
  </os>
  <features><acpi/></features>
  <cpu><numa><cell id='0' cpus='0' memory='1024' unit='MiB'/></numa></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{"".join(f"    {device}{chr(10)}" for device in devices)}\
  </devices>
</domain>
"""
    return text.replace("'", '"') if rng.random() < 0.5 else text


def strip(rng: Random, dump: str) -> str:
    """Drop some addresses of libvirt's dump, and sometimes PCI controllers, which libvirt then adds."""
    root = etree.fromstring(dump.encode())
    devices = root.find("devices")
    share = rng.choice((0.1, 0.3, 0.6))
    for element in list(devices):
        address = element.find("address[@type='pci']")
        if address is None or rng.random() >= share:
            continue
        if not _is_pci_controller(element) or rng.random() < 0.4:
            element.remove(address)
    if rng.random() < 0.3:
        for element in list(devices):
            if _is_pci_controller(element) and element.get("index") != "0" and rng.random() < 0.3:
                devices.remove(element)
    return etree.tostring(root, encoding="unicode")


def _is_pci_controller(element: etree._Element) -> bool:
    return element.tag == "controller" and element.get("type") == "pci"


def _storage(rng: Random) -> Iterator[str]:
    letters = list("abcdefghijklmnop")
    rng.shuffle(letters)
    for letter in letters[: rng.choice((0, 1, 1, 2, 3, 6))]:
        yield (
            f"<disk type='file' device='disk'{rng.choice(_DISK_MODELS)}><driver name='qemu' type='raw'/>"
            f"<source file='/tmp/vd{letter}'/><target dev='vd{letter}' bus='virtio'/></disk>"
        )
    others = rng.choice((0, 0, 1, 2))
    if others > 0:
        target = f"sd{rng.choice('abcdefghij')}"
        yield f"<disk type='file' device='disk'><source file='/tmp/s'/><target dev='{target}' bus='sata'/></disk>"
    if others > 1:
        yield "<disk type='file' device='disk'><source file='/tmp/z'/><target dev='sdz' bus='scsi'/></disk>"
    for index in range(rng.choice((0, 0, 1, 2))):
        yield f"<controller type='scsi' index='{index}' model='{rng.choice(_SCSI_MODELS)}'/>"


def _networks(rng: Random) -> Iterator[str]:
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        mac = "52:54:00:" + ":".join(f"{rng.randrange(256):02x}" for _ in range(3))
        model = rng.choice(_NIC_MODELS)
        inner = f"<model type='{model}'/>" if model else ""
        yield f"<interface type='user'><mac address='{mac}'/>{inner}</interface>"


def _virtio_extras(rng: Random) -> Iterator[str]:
    if rng.random() < 0.4:
        yield f"<controller type='virtio-serial' index='{rng.randrange(2)}'/>"
    if rng.random() < 0.5:
        yield "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    if rng.random() < 0.2:
        yield "<console type='pty'><target type='virtio'/></console>"
    if rng.random() < 0.5:
        yield f"<memballoon model='{rng.choice(_BALLOON_MODELS)}'/>"
    for _ in range(rng.choice((0, 0, 1, 2))):
        model = rng.choice(("virtio", "virtio", "virtio-transitional"))
        yield f"<rng model='{model}'><backend model='random'>/dev/urandom</backend></rng>"
    if rng.random() < 0.3:
        yield (
            "<filesystem type='mount' accessmode='passthrough'>"
            "<source dir='/tmp'/><target dir='shared'/></filesystem>"
        )
    if rng.random() < 0.2:
        yield (
            "<filesystem type='mount'><driver type='virtiofs'/>"
            "<source dir='/tmp'/><target dir='fast'/></filesystem>"
        )
    if rng.random() < 0.3:
        yield f"<vsock model='{rng.choice(('virtio', 'virtio-transitional'))}'><cid auto='yes'/></vsock>"
    for _ in range(rng.choice((0, 0, 1, 2))):
        yield f"<input type='{rng.choice(('tablet', 'keyboard', 'mouse'))}' bus='virtio'/>"


def _plain_extras(rng: Random) -> Iterator[str]:
    if rng.random() < 0.5:
        yield "<graphics type='vnc'/>"
    if rng.random() < 0.5:
        yield f"<video><model type='{rng.choice(_VIDEO_MODELS)}'/></video>"
    if rng.random() < 0.4:
        yield f"<sound model='{rng.choice(('ich6', 'ich9', 'ich9', 'ac97', 'es1370'))}'/>"
    if rng.random() < 0.2:
        yield f"<watchdog model='{rng.choice(('i6300esb', 'ib700'))}' action='reset'/>"
    if rng.random() < 0.1:
        yield "<serial type='pty'><target type='pci-serial' port='1'/></serial>"


def _usb(rng: Random) -> Iterator[str]:
    kind = rng.random()
    if kind < 0.2:
        yield f"<controller type='usb' index='0' model='{rng.choice(_USB_MODELS)}'/>"
    elif kind < 0.35:
        yield "<controller type='usb' index='0' model='ich9-ehci1'/>"
        for number in (1, 2, 3):
            yield (
                f"<controller type='usb' index='0' model='ich9-uhci{number}'>"
                f"<master startport='{2 * number - 2}'/></controller>"
            )


def _pcie_controllers(rng: Random) -> list[str]:
    kind = rng.random()
    if kind < 0.15:
        models = ["pcie-root-port"] * rng.randrange(1, 8)
    elif kind < 0.25:
        models = ["pcie-root-port", "pcie-to-pci-bridge"]
    elif kind < 0.35:
        models = ["dmi-to-pci-bridge", "pci-bridge"]
    elif kind < 0.42:
        models = ["pcie-root-port", "pcie-switch-upstream-port", *["pcie-switch-downstream-port"] * 3]
    else:
        models = []
    return [
        f"<controller type='pci' index='{index}' model='{model}'/>"
        for index, model in enumerate(models, start=1)
    ]
