"""What each element of <devices> is: its key, its virtio driver, how it connects."""

from __future__ import annotations

import pytest
from helpers import domain, read

from fixer.domain import devices as d
from fixer.domain.devices import Device, disk_index, format_address, number, short_address
from fixer.errors import VirtfixError

AUTO_VIRTIO = d.AUTO | d.VIRTIO
AUTO_PCI = d.AUTO | d.PCI
AUTO_PCIE = d.AUTO | d.PCIE


def devices(xml: str, machine: str = "q35") -> list[Device]:
    return [device for device in read(domain(xml, machine)).devices if not device.implicit]


def only(xml: str) -> Device:
    (found,) = devices(xml)
    return found


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "0x", "1_000", "0x1_0", "08", "--1", "1.5", "0xg", "0o17", "0b1", "one", "\u0661"],
    ids=repr,
)
def test_no_numbers(text: str) -> None:
    """What libvirt does not read as a number is none, Python's own spellings included."""
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("00", 0), ("7", 7), ("010", 8), ("0x10", 16), ("0X1f", 31), ("0x0000", 0), ("31", 31)],
)
def test_numbers_have_the_base_that_their_prefix_says(text: str, value: int) -> None:
    """Decimal, octal with a leading 0, hexadecimal with 0x, as strtoul with base 0."""
    assert number(text) == value


@pytest.mark.parametrize(
    ("dev", "index"),
    [
        ("", -1), ("vd", -1), ("xyz", -1), ("vd1", -1), ("nvme0n1", -1), ("vda-b", -1),
        ("vda", 0), ("vdz", 25), ("vdaa", 26), ("vdaz", 51), ("vdba", 52), ("vdzz", 701), ("vdaaa", 702),
        ("sda", 0), ("hdb", 1), ("fda", 0), ("xvdc", 2), ("ubda", 0), ("vda1", 0),
    ],
)  # fmt: skip
def test_disk_index(dev: str, index: int) -> None:
    """Target names count like columns of a spreadsheet; what is no target name has no index."""
    assert disk_index(dev) == index


def test_addresses_are_written_as_people_do() -> None:
    """The long form has the domain, the short one does not."""
    assert format_address(0x3 << 8 | 0x1F << 3 | 2) == "0000:03:1f.2"
    assert short_address(0xFF << 8 | 1 << 3) == "ff:01.0"


# --- One row a device kind ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "key", "connect"),
    [
        pytest.param("<disk><target dev='sda' bus='sata'/></disk>", "disk[sda]", 0, id="sata disk"),
        pytest.param("<disk><target dev='sda'/></disk>", "disk[sda]", 0, id="the name says scsi"),
        pytest.param(
            "<disk><target dev='vda' bus='sata'/></disk>", "disk[vda]", 0, id="the bus outweighs the name"
        ),
        pytest.param("<disk><target dev='hda'/></disk>", "disk[hda]", 0, id="ide disk"),
        pytest.param("<disk><target dev='fda'/></disk>", "disk[fda]", 0, id="floppy"),
        pytest.param("<disk/>", "disk[?]", 0, id="a disk without a target"),
        pytest.param("<interface type='user'/>", "interface[?]", AUTO_PCI, id="no model: rtl8139"),
        pytest.param(
            "<interface type='user'><target dev='tap0'/><model type='e1000'/></interface>",
            "interface[tap0]",
            AUTO_PCI,
            id="named by its tap where it has no MAC",
        ),
        pytest.param("<interface><model type='e1000e'/></interface>", "interface[?]", AUTO_PCIE, id="e1000e"),
        pytest.param("<interface><model type='igb'/></interface>", "interface[?]", AUTO_PCIE, id="igb"),
        pytest.param("<interface><model type='usb-net'/></interface>", "interface[?]", 0, id="usb-net"),
        pytest.param(
            "<interface type='hostdev'/>", "interface[?]", AUTO_PCIE, id="a host's virtual function"
        ),
        pytest.param(
            "<controller type='scsi' index='0' model='lsilogic'/>", "controller[scsi 0]", AUTO_PCI, id="lsi"
        ),
        pytest.param(
            "<controller type='scsi' index='1'/>", "controller[scsi 1]", AUTO_PCI, id="scsi without a model"
        ),
        pytest.param("<controller type='sata' index='0'/>", "controller[sata 0]", AUTO_PCI, id="sata"),
        pytest.param("<controller type='ide' index='0'/>", "controller[ide 0]", AUTO_PCI, id="ide"),
        pytest.param("<controller type='fdc' index='0'/>", "controller[fdc 0]", 0, id="fdc"),
        pytest.param("<controller type='ccid' index='0'/>", "controller[ccid 0]", 0, id="ccid sits on USB"),
        pytest.param("<controller type='usb' index='0' model='none'/>", "controller[usb 0]", 0, id="no USB"),
        pytest.param(
            "<controller type='usb' model='qemu-xhci' index='0'/>", "controller[usb 0]", AUTO_PCIE, id="xhci"
        ),
        pytest.param(
            "<controller type='usb' model='nec-xhci' index='0'/>", "controller[usb 0]", AUTO_PCIE, id="nec"
        ),
        pytest.param(
            "<controller type='usb' index='0'/>", "controller[usb 0]", AUTO_PCI, id="USB by default"
        ),
        pytest.param(
            "<controller type='usb' index='0' model='ich9-uhci2'/>",
            "controller[usb 0 ich9-uhci2]",
            AUTO_PCI,
            id="companions share an index, so the model is in the key",
        ),
        pytest.param(
            "<hostdev mode='capabilities' type='net'/>", "hostdev[net]", 0, id="a host device of a container"
        ),
        pytest.param("<hostdev mode='subsystem' type='usb'/>", "hostdev[usb]", 0, id="usb host device"),
        pytest.param(
            "<hostdev mode='subsystem' type='pci'><source><address domain='0x0000' bus='0x06' slot='0x02' function='0x0'"
            "/></source></hostdev>",
            "hostdev[0000:06:02:0]",
            AUTO_PCIE,
            id="PCI host device, named by its source",
        ),
        pytest.param(
            "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='u1'/></source></hostdev>",
            "hostdev[mdev u1]",
            AUTO_PCIE,
            id="mediated device",
        ),
        pytest.param(
            "<hostdev mode='subsystem' type='mdev' model='vfio-ccw'><source><address uuid='u1'/></source></hostdev>",
            "hostdev[mdev u1]",
            0,
            id="a mediated device of s390",
        ),
        pytest.param("<memballoon model='none'/>", "memballoon", 0, id="no balloon"),
        pytest.param("<rng model='egd'/>", "rng", 0, id="rng that is not virtio"),
        pytest.param("<input type='tablet' bus='usb'/>", "input[tablet usb]", 0, id="usb tablet"),
        pytest.param("<input type='mouse' bus='ps2'/>", "input[mouse ps2]", 0, id="ps2 mouse"),
        pytest.param("<video><model type='qxl'/></video>", "video[qxl]", AUTO_PCI, id="qxl"),
        pytest.param("<video><model type='bochs'/></video>", "video[bochs]", AUTO_PCIE, id="bochs"),
        pytest.param("<video><model type='none'/></video>", "video[none]", 0, id="no video"),
        pytest.param("<video><model type='ramfb'/></video>", "video[ramfb]", 0, id="ramfb is not on PCI"),
        pytest.param("<sound model='ich9'/>", "sound[ich9]", AUTO_PCI, id="ich9"),
        pytest.param("<sound model='sb16'/>", "sound[sb16]", 0, id="an ISA card"),
        pytest.param("<sound model='usb'/>", "sound[usb]", 0, id="usb sound"),
        pytest.param("<memory model='dimm'/>", "memory[dimm]", 0, id="memory module"),
        pytest.param("<iommu model='intel'/>", "iommu[intel]", 0, id="the chipset's IOMMU"),
        pytest.param("<watchdog model='i6300esb'/>", "watchdog[i6300esb]", AUTO_PCI, id="PCI watchdog"),
        pytest.param("<watchdog model='ib700'/>", "watchdog[ib700]", 0, id="ISA watchdog"),
        pytest.param("<watchdog model='itco'/>", "watchdog[itco]", 0, id="the chipset's watchdog"),
        pytest.param(
            "<shmem name='s'><model type='ivshmem-plain'/></shmem>", "shmem[s]", AUTO_PCI, id="shared memory"
        ),
        pytest.param(
            "<serial><target type='pci-serial' port='1'/></serial>", "serial[1]", AUTO_PCI, id="PCI serial"
        ),
        pytest.param("<serial><target port='0'/></serial>", "serial[0]", 0, id="ISA serial"),
    ],
)
def test_devices_other_than_virtio(xml: str, key: str, connect: int) -> None:
    """A device that is not virtio has no driver kind; its connection says whether it takes a PCI place."""
    device = only(xml + "\n")
    assert (device.key, device.driver, device.variant, device.connect) == (key, "", "", connect)


MODELS = {"virtio": "", "virtio-transitional": "transitional", "virtio-non-transitional": "non-transitional"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("xml", "key", "driver"),
    [
        pytest.param("<disk model='M'><target dev='vda' bus='virtio'/></disk>", "disk[vda]", "block", id="disk"),
        pytest.param(
            "<interface><mac address='52:54:00:AB:CD:EF'/><model type='M'/></interface>",
            "interface[52:54:00:ab:cd:ef]",
            "net",
            id="interface, its MAC in lower case",
        ),
        pytest.param("<interface type='vdpa'><model type='M'/></interface>", "interface[?]", "net", id="vdpa"),
        pytest.param("<interface type='vhostuser'><model type='M'/></interface>", "interface[?]", "net", id="vhost-user"),
        pytest.param("<controller type='virtio-serial' index='2' model='M'/>", "controller[virtio-serial 2]", "console",
                     id="virtio-serial"),
        pytest.param("<memballoon model='M'/>", "memballoon", "balloon", id="balloon"),
        pytest.param("<rng model='M'><backend model='random'>/dev/urandom</backend></rng>", "rng[/dev/urandom]", "rng",
                     id="rng, named by its source"),
        pytest.param("<rng model='M'><backend model='builtin'/></rng>", "rng[builtin]", "rng", id="rng of QEMU's own"),
        pytest.param("<filesystem model='M'><target dir='share'/></filesystem>", "filesystem[share]", "9p", id="9p"),
        pytest.param("<filesystem model='M'><driver type='virtiofs'/><target dir='s'/></filesystem>", "filesystem[s]",
                     "fs", id="virtiofs"),
        pytest.param("<vsock model='M'/>", "vsock", "vsock", id="vsock"),
        pytest.param("<input type='tablet' bus='virtio' model='M'/>", "input[tablet virtio]", "input", id="input"),
        pytest.param("<hostdev mode='subsystem' type='scsi_host' model='M'><source protocol='vhost' wwpn='naa.5'/></hostdev>",
                     "hostdev[scsi_host naa.5]", "scsi", id="vhost-scsi"),
    ],
)  # fmt: skip
def test_virtio_devices_with_a_model(xml: str, key: str, driver: str, model: str) -> None:
    """Each kind takes the three spellings of its model; transitional wants a conventional slot."""
    device = only(xml.replace("'M'", f"'{model}'") + "\n")
    connect = {"": AUTO_VIRTIO, "transitional": AUTO_PCI, "non-transitional": AUTO_PCIE}[MODELS[model]]
    assert (device.key, device.driver, device.variant, device.connect) == (
        key,
        driver,
        MODELS[model],
        connect,
    )


@pytest.mark.parametrize(
    ("xml", "key", "driver", "connect"),
    [
        pytest.param("<disk><target dev='vda'/></disk>", "disk[vda]", "block", AUTO_VIRTIO, id="the name says virtio"),
        pytest.param("<disk><target dev='vda' bus='virtio'/></disk>", "disk[vda]", "block", AUTO_VIRTIO, id="no model"),
        pytest.param("<disk device='lun'><target dev='sdq' bus='virtio'/></disk>", "disk[sdq]", "block", AUTO_VIRTIO,
                     id="the bus outweighs the name"),
        pytest.param("<interface type='vdpa'/>", "interface[?]", "net", AUTO_VIRTIO, id="vdpa knows no other model"),
        pytest.param("<controller type='scsi' index='0' model='virtio-scsi'/>", "controller[scsi 0]", "scsi",
                     AUTO_VIRTIO, id="virtio-scsi"),
        pytest.param("<controller type='virtio-serial' index='0'/>", "controller[virtio-serial 0]", "console",
                     AUTO_VIRTIO, id="virtio-serial without a model"),
        pytest.param("<memballoon/>", "memballoon", "balloon", AUTO_VIRTIO, id="a balloon is virtio by default"),
        pytest.param("<vsock/>", "vsock", "vsock", AUTO_VIRTIO, id="vsock without a model"),
        pytest.param("<hostdev type='scsi_host'><source wwpn='naa.5'/></hostdev>", "hostdev[scsi_host naa.5]", "scsi",
                     AUTO_VIRTIO, id="vhost-scsi without a model"),
        pytest.param("<video><model type='virtio' heads='1'/></video>", "video[virtio]", "gpu", AUTO_VIRTIO, id="gpu"),
        pytest.param("<sound model='virtio'/>", "sound[virtio]", "sound", AUTO_VIRTIO, id="sound"),
        pytest.param("<crypto model='virtio' type='qemu'><backend model='builtin'/></crypto>", "crypto[builtin]",
                     "crypto", AUTO_VIRTIO, id="crypto"),
        pytest.param("<memory model='virtio-mem'/>", "memory[virtio-mem]", "mem", AUTO_VIRTIO, id="memory"),
        pytest.param("<memory model='virtio-pmem'/>", "memory[virtio-pmem]", "pmem", AUTO_VIRTIO, id="pmem"),
        pytest.param("<iommu model='virtio'/>", "iommu[virtio]", "iommu", d.PCIE | d.INTEGRATED, id="iommu, integrated"),
    ],
)  # fmt: skip
def test_virtio_devices_by_default(xml: str, key: str, driver: str, connect: int) -> None:
    """What libvirt makes virtio without being told the model is virtio here too."""
    device = only(xml + "\n")
    assert (device.key, device.driver, device.variant, device.connect) == (key, driver, "", connect)


@pytest.mark.parametrize(
    "kind", ["ccw", "virtio-mmio", "spapr-vio", "drive", "usb", "isa", "unassigned"], ids=lambda kind: kind
)
def test_another_kind_of_address_takes_the_device_off_pci(kind: str) -> None:
    """A device with an address that is not PCI takes no PCI place."""
    device = only(f"<rng model='virtio'><address type='{kind}'/></rng>\n")
    assert (device.connect, device.address) == (0, None)


def test_keys_are_unique_and_in_the_order_of_the_file() -> None:
    """Devices that nothing tells apart are numbered from the second on."""
    keys = [
        device.key for device in devices("<rng model='virtio'/><rng model='virtio'/><rng model='virtio'/>\n")
    ]
    assert keys == ["rng", "rng#2", "rng#3"]


def test_a_key_does_not_depend_on_the_model() -> None:
    """A remedy changes the model: the key must still name the same device afterwards."""
    for model in MODELS:
        xml = f"<rng model='{model}'><backend model='random'>/dev/random</backend></rng><vsock model='{model}'/>\n"
        assert [device.key for device in devices(xml)] == ["rng[/dev/random]", "vsock"]


def test_unknown_elements_are_no_devices() -> None:
    """What sits nowhere on PCI, or is not known, is passed over."""
    assert devices("<emulator>/x</emulator><graphics type='vnc'/><tpm model='tpm-tis'/><unheard-of/>\n") == []


def test_controllers_without_an_index_get_the_lowest_free_one() -> None:
    """libvirt fills in indexes per type; companions follow their EHCI."""
    xml = (
        "<controller type='scsi' index='0'/><controller type='scsi'/><controller type='scsi' index='2'/>"
        "<controller type='scsi'/><controller type='pci' index='0' model='pcie-root'/><controller type='pci' model='pcie-root-port'/><controller type='sata'/>"
        "<controller type='usb' index='3' model='ich9-ehci1'/><controller type='usb' model='ich9-uhci1'/>\n"
    )
    assert [device.key for device in devices(xml)] == [
        "controller[scsi 0]",
        "controller[scsi 1]",
        "controller[scsi 2]",
        "controller[scsi 3]",
        "controller[pci 0]",
        "controller[pci 1]",
        "controller[sata 0]",
        "controller[usb 3 ich9-ehci1]",
        "controller[usb 3 ich9-uhci1]",
    ]


@pytest.mark.parametrize(
    ("xml", "code"),
    [
        pytest.param(
            "<controller type='pci' index='x' model='pcie-root-port'/>", "controller.index", id="a letter"
        ),
        pytest.param(
            "<controller type='pci' index='65536' model='pcie-root-port'/>", "controller.index", id="too high"
        ),
        pytest.param(
            "<controller type='pci' index='-1' model='pcie-root-port'/>", "controller.index", id="negative"
        ),
        pytest.param(
            "<controller type='pci' index='1' model='pcie-root-prot'/>", "controller.model", id="misspelt"
        ),
        pytest.param(
            "<controller type='pci' index='1'/>", "controller.model", id="no model, and not the root"
        ),
    ],
)
def test_controllers_that_libvirt_refuses(xml: str, code: str) -> None:
    """A PCI controller must have a model that libvirt knows and an index; the line says which one has not."""
    with pytest.raises(VirtfixError) as caught:
        devices(xml + "\n")
    assert (caught.value.code, caught.value.where) == (code, "7")


# --- Addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        pytest.param("", None, id="only the type: libvirt chooses"),
        pytest.param("domain='0' bus='0' slot='0' function='0'", None, id="all zero means none"),
        pytest.param("domain='0x0000' bus='0x00' slot='0x00' function='0x0'", None, id="all zero in hex"),
        pytest.param("bus='0x00' slot='0x1e' function='0x7'", "00:1e.7", id="libvirt's spelling"),
        pytest.param("slot='3'", "00:03.0", id="parts left out are zero"),
        pytest.param("slot='30'", "00:1e.0", id="decimal"),
        pytest.param("slot='010'", "00:08.0", id="octal"),
        pytest.param("slot='0X0A' function='0X2'", "00:0a.2", id="upper case"),
    ],
)
def test_addresses_are_read_in_every_spelling(attrs: str, expected: str | None) -> None:
    """Numbers have the base of their prefix; the all-zero address stands for none."""
    device = only(f"<disk><target dev='vda' bus='virtio'/><address type='pci' {attrs}/></disk>\n")
    assert (None if device.address is None else short_address(device.address)) == expected
    assert device.address_node is not None


@pytest.mark.parametrize(
    ("attrs", "code"),
    [
        pytest.param("slot='0x20'", "address.range", id="slot 32"),
        pytest.param("slot='1' function='8'", "address.range", id="function 8"),
        pytest.param("bus='0x100' slot='1'", "address.range", id="bus 256"),
        pytest.param("domain='0x10000' slot='1'", "address.range", id="domain of 17 bits"),
        pytest.param("slot='-1'", "address.range", id="negative"),
        pytest.param("slot='x'", "address.range", id="no number"),
        pytest.param("slot=''", "address.range", id="empty"),
        pytest.param("slot=' 4 '", "address.range", id="white space around it"),
        pytest.param("slot='1_0'", "address.range", id="an underscore, which only Python takes"),
        pytest.param("domain='1' slot='1'", "address.domain", id="another domain"),
    ],
)
def test_addresses_out_of_range_are_refused_with_their_line(attrs: str, code: str) -> None:
    """What libvirt refuses, with the line of the <address>."""
    with pytest.raises(VirtfixError) as caught:
        devices(f"<disk><target dev='vda' bus='virtio'/>\n<address type='pci' {attrs}/></disk>\n")
    assert (caught.value.code, caught.value.where) == (code, "8")


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        pytest.param("", "", id="no driver"),
        pytest.param("<driver iommu='off' ats='on'/>", "", id="switched off"),
        pytest.param("<driver iommu='on'/>", "iommu='on'", id="switched on"),
    ],
)
def test_iommu_platform_needs_virtio_1(inner: str, expected: str) -> None:
    """VIRTIO_F_ACCESS_PLATFORM exists in virtio 1.0 only."""
    assert only(f"<disk><target dev='vda' bus='virtio'/>{inner}</disk>\n").needs_modern == expected


# --- What libvirt adds --------------------------------------------------------------------------------


def implicit(xml: str, machine: str = "q35") -> dict[str, str]:
    """Return the devices that libvirt adds, but bridges: {key: model}."""
    return {device.key: device.model for device in read(domain(xml, machine)).devices if device.implicit}


USB = "<controller type='usb' index='0' model='none'/>"
SATA = "<controller type='sata' index='0'/>"
NO_BALLOON = "<memballoon model='none'/>"
NOTHING = USB + SATA + NO_BALLOON


@pytest.mark.parametrize(
    ("xml", "machine", "expected"),
    [
        pytest.param(NOTHING, "q35", {}, id="everything is there"),
        pytest.param(USB + NO_BALLOON, "pc", {}, id="i440FX has no SATA"),
        pytest.param("", "q35", {"controller[sata 0]": "", "controller[usb 0]": "qemu-xhci", "memballoon": "virtio"},
                     id="what every Q35 domain gets"),
        pytest.param("", "pc", {"controller[usb 0]": "piix3-uhci", "memballoon": "virtio"}, id="what i440FX gets"),
        pytest.param(NOTHING.replace("none'/>", "virtio'/>"), "q35", {}, id="a balloon that is written"),
        pytest.param(NOTHING + "<graphics type='vnc'/>", "q35", {"video[cirrus]": "cirrus"}, id="graphics want video"),
        pytest.param(NOTHING + "<graphics type='vnc'/><video><model type='none'/></video>", "q35", {},
                     id="unless it is there"),
        pytest.param(NOTHING + "<disk><target dev='sda' bus='scsi'/></disk>", "q35", {"controller[scsi 0]": "lsilogic"},
                     id="a SCSI disk gets lsilogic, not virtio-scsi"),
        pytest.param(NOTHING + "<disk><target dev='sdh' bus='scsi'/></disk>", "q35",
                     {"controller[scsi 0]": "lsilogic", "controller[scsi 1]": "lsilogic"}, id="seven to a controller"),
        pytest.param(NOTHING + "<disk><target dev='sdg' bus='sata'/></disk>", "q35", {"controller[sata 1]": ""},
                     id="six to a SATA controller"),
        pytest.param(NOTHING + "<disk><target dev='sda' bus='sata'/><address type='drive' controller='2'/></disk>", "q35",
                     {"controller[sata 1]": "", "controller[sata 2]": ""}, id="a drive address names it"),
        pytest.param(NOTHING + "<disk><target dev='vda' bus='virtio'/></disk>", "q35", {}, id="a virtio disk needs none"),
        pytest.param(NOTHING + "<channel><target type='virtio'/></channel>", "q35",
                     {"controller[virtio-serial 0]": "virtio"}, id="a channel wants virtio-serial"),
        pytest.param(NOTHING + "<console><target type='virtio'/></console>", "q35",
                     {"controller[virtio-serial 0]": "virtio"}, id="so does a console"),
        pytest.param(NOTHING + "<console><target type='serial'/></console>", "q35", {}, id="a serial console does not"),
        pytest.param(NOTHING + "<controller type='virtio-serial' index='0'/><channel><target type='virtio'/></channel>",
                     "q35", {}, id="unless it is there"),
        pytest.param(
            NOTHING + "<channel><target type='virtio'/><address type='virtio-serial' controller='1'/></channel>", "q35",
            {"controller[virtio-serial 0]": "virtio", "controller[virtio-serial 1]": "virtio"},
            id="as many as the addresses say"),
        pytest.param(NOTHING + "<hostdev mode='subsystem' type='scsi'/>", "q35", {"controller[scsi 0]": "lsilogic"},
                     id="a SCSI host device wants a controller"),
    ],
)  # fmt: skip
def test_what_libvirt_adds(xml: str, machine: str, expected: dict[str, str]) -> None:
    """Devices that are not written, but will be there after define."""
    assert implicit(xml + "\n", machine) == expected


def test_an_absent_balloon_is_a_virtio_device() -> None:
    """No <memballoon> means one is about to appear: it is judged like any other."""
    (balloon,) = read(domain(NOTHING.replace(NO_BALLOON, "") + "\n")).modes
    assert (balloon.key, balloon.driver, balloon.implicit, balloon.node) == (
        "memballoon",
        "balloon",
        True,
        None,
    )


def test_a_domain_without_devices() -> None:
    """A domain need not have <devices>; libvirt's own come all the same."""
    found = read("<domain type='kvm'><os><type machine='q35'>hvm</type></os></domain>").devices
    assert [device.key for device in found] == ["controller[sata 0]", "controller[usb 0]", "memballoon"]


def test_a_machine_that_is_not_judged_has_no_devices() -> None:
    """Nothing is read of what virtfix would not understand, wrong addresses included."""
    found = read(domain("<disk><address type='pci' slot='99'/></disk>\n", "virt"))
    assert (found.devices, found.layout) == ([], None)


# --- Work that hostile XML can not multiply -----------------------------------------------------------


@pytest.mark.parametrize(
    "devices",
    [
        "<disk><target dev='sda' bus='scsi'/><address type='drive' controller='400000000'/></disk>",
        "<channel type='unix'><target type='virtio'/><address type='virtio-serial' controller='400000000'/></channel>",
    ],
)
def test_a_controller_that_nobody_could_have_is_refused(devices: str) -> None:
    with pytest.raises(VirtfixError, match="names controller 400000000") as caught:
        _ = read(domain(devices + "\n")).devices
    assert caught.value.where == "7"


def test_controllers_without_a_number_take_the_next() -> None:
    """Ten thousand of them, which took the square of that."""
    found = read(
        domain("<controller type='ccid'/>\n" * 10_000 + "<controller type='ccid' index='3'/>\n")
    ).devices
    numbers = [device.index for device in found if device.type == "ccid"]
    assert numbers[:5] == [0, 1, 2, 4, 5]
    assert len(set(numbers)) == 10_001


@pytest.mark.parametrize(("kind", "refused"), [("scsi", True), ("sata", True), ("usb", False)])
def test_two_controllers_of_one_number(kind: str, refused: bool) -> None:
    """As virDomainDefRejectDuplicateControllers has it."""
    subject = read(domain(f"<controller type='{kind}' index='1'/>\n" * 2))
    if refused:
        with pytest.raises(VirtfixError, match=f"two {kind} controllers with index 1"):
            _ = subject.devices
    else:
        assert sum(device.type == kind and device.index == 1 for device in subject.devices) == 2


@pytest.mark.parametrize(
    ("channels", "controllers", "written"),
    [
        (0, 0, ""),
        (30, 1, ""),
        (31, 2, ""),
        (61, 3, ""),
        (16, 2, "<controller type='virtio-serial' index='0' ports='16'/>\n"),
    ],
)
def test_channels_that_one_controller_has_no_port_for(channels: int, controllers: int, written: str) -> None:
    """30 of 31 ports are for channels (seen with libvirt 9.0.0)."""
    text = "".join(
        f"<channel type='unix'><target type='virtio' name='c{n}'/></channel>\n" for n in range(channels)
    )
    found = [device for device in read(domain(text + written)).devices if device.type == "virtio-serial"]
    assert len(found) == controllers
