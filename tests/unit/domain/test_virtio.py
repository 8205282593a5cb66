"""Which interface each virtio device shows, and which ports need an I/O window."""

from __future__ import annotations

import pytest
from helpers import (
    BARE,
    QEMU,
    disk,
    disk_names,
    domain,
    modes,
    nic,
    nic_key,
    pci,
    port,
    ports,
    read,
)

from fixer.domain.document import parse
from fixer.domain.virtio import Properties, aliases

L, T, M, N, X = "legacy", "transitional", "modern-only", "virtio 1.0", "neither"

BRIDGE = port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "01:00.0")
DMI = pci(1, "dmi-to-pci-bridge", "00:1e.0") + pci(2, "pci-bridge", "01:01.0")
SWITCH = (
    port(1, "00:02.0")
    + pci(2, "pcie-switch-upstream-port", "01:00.0")
    + pci(3, "pcie-switch-downstream-port", "02:00.0")
)
CONVENTIONAL = [("q35", "", "00:03.0"), ("q35", "", "00:1e.7"), ("q35", BRIDGE, "02:01.0"), ("q35", DMI, "01:02.0"),
                ("q35", DMI, "02:01.0"), ("pc", "", "00:03.0"),
                ("pc", pci(1, "pci-bridge", "00:04.0"), "01:01.0")]  # fmt: skip
EXPRESS = [("q35", port(1, "00:02.0"), "01:00.0"), ("q35", SWITCH, "03:00.0")]


def mode(devices: str, key: str, machine: str = "q35", tail: str = "") -> str:
    return modes(read(domain(devices, machine, tail=tail)))[key]


# --- Place and model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "model", "expected"),
    [
        pytest.param(CONVENTIONAL, "virtio", T, id="conventional or integrated: transitional"),
        pytest.param(EXPRESS, "virtio", M, id="behind a port: modern only"),
        pytest.param(
            CONVENTIONAL + EXPRESS, "virtio-transitional", T, id="a transitional model is so anywhere"
        ),
        pytest.param(
            CONVENTIONAL + EXPRESS, "virtio-non-transitional", M, id="a modern model is so anywhere"
        ),
    ],
)
def test_the_place_and_the_model_decide(
    places: list[tuple[str, str, str]], model: str, expected: str
) -> None:
    """FACTS 1: the bus decides, unless the model fixes the interface."""
    for machine, topology, place in places:
        devices = BARE + topology + disk("vda", place, f" model='{model}'")
        assert mode(devices, "disk[vda]", machine) == expected, (machine, place)


@pytest.mark.parametrize(
    ("xml", "key"),
    [
        pytest.param("<disk><target dev='vda' bus='virtio'/>A</disk>", "disk[vda]", id="disk"),
        pytest.param("<interface><model type='virtio'/>A</interface>", "interface[?]", id="nic"),
        pytest.param("<interface type='vdpa'>A</interface>", "interface[?]", id="vdpa"),
        pytest.param("<controller type='scsi' index='0' model='virtio-scsi'>A</controller>", "controller[scsi 0]",
                     id="scsi"),
        pytest.param("<controller type='virtio-serial' index='0'>A</controller>", "controller[virtio-serial 0]",
                     id="serial"),
        pytest.param("<memballoon model='virtio'>A</memballoon>", "memballoon", id="balloon"),
        pytest.param("<rng model='virtio'>A</rng>", "rng", id="rng"),
        pytest.param("<filesystem><target dir='t'/>A</filesystem>", "filesystem[t]", id="9p"),
        pytest.param("<hostdev type='scsi_host'>A</hostdev>", "hostdev[scsi_host]", id="vhost-scsi"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("bus", "slot", "expected"),
    [("0x00", "0x03", T), ("0x01", "0x00", M)],
    ids=["integrated", "behind a port"],
)
def test_every_kind_follows_the_rule(xml: str, key: str, bus: str, slot: str, expected: str) -> None:
    """The rule is of the bus, not of the kind of device."""
    base = BARE.replace("    <memballoon model='none'/>\n", "") if "balloon" in xml else BARE
    address = f"<address type='pci' bus='{bus}' slot='{slot}'/>"
    assert mode(base + port(1, "00:02.0") + xml.replace("A", address) + "\n", key) == expected


@pytest.mark.parametrize(
    ("xml", "key"),
    [
        pytest.param("<video><model type='virtio'/>A</video>", "video[virtio]", id="gpu"),
        pytest.param("<input type='tablet' bus='virtio'>A</input>", "input[tablet virtio]", id="input"),
        pytest.param("<sound model='virtio'>A</sound>", "sound[virtio]", id="sound"),
        pytest.param("<crypto model='virtio'>A</crypto>", "crypto", id="crypto"),
        pytest.param("<memory model='virtio-mem'>A</memory>", "memory[virtio-mem]", id="mem"),
        pytest.param("<memory model='virtio-pmem'>A</memory>", "memory[virtio-pmem]", id="pmem"),
        pytest.param(
            "<filesystem><driver type='virtiofs'/><target dir='t'/>A</filesystem>", "filesystem[t]", id="fs"
        ),
        pytest.param("<vsock model='virtio'>A</vsock>", "vsock", id="vsock"),
        pytest.param(
            "<vsock model='virtio-transitional'>A</vsock>", "vsock", id="vsock, said to be transitional"
        ),
        pytest.param("<iommu model='virtio'>A</iommu>", "iommu[virtio]", id="iommu"),
    ],
)
def test_devices_of_virtio_1_are_native_wherever_they_sit(xml: str, key: str) -> None:
    """FACTS 7: some kinds have no legacy interface, and no place or property gives them one."""
    tail = f"  <q:commandline xmlns:q='{QEMU}'><q:arg value='-global'/><q:arg value='virtio-pci.disable-legacy=off'/>\n"
    tail += "  </q:commandline>\n"
    for slot in ("<address type='pci' slot='3'/>", ""):
        assert mode(BARE + xml.replace("A", slot) + "\n", key, tail=tail) == N


@pytest.mark.parametrize(
    "xml", ["<rng model='egd'/>", "<memballoon model='none'/>", "<iommu model='intel'/>"]
)
def test_what_is_not_virtio_has_no_mode(xml: str) -> None:
    """Only virtio devices are judged."""
    assert modes(read(domain(BARE + xml + "\n"))) == {}


# --- Properties ---------------------------------------------------------------------------------------


def properties(inner: str) -> Properties:
    return Properties(parse(f"<domain xmlns:qemu='{QEMU}' xmlns:x='other'>{inner}</domain>".encode()).root)


def override(alias: str, *pairs: tuple[str, str], prefix: str = "qemu") -> str:
    inner = "".join(f"<{prefix}:property name='{name}' type='x' value='{value}'/>" for name, value in pairs)
    return (
        f"<{prefix}:override xmlns:{prefix}='{QEMU}'><{prefix}:device alias='{alias}'><{prefix}:frontend>{inner}"
        f"</{prefix}:frontend></{prefix}:device></{prefix}:override>"
    )


def commandline(*values: str) -> str:
    inner = "".join(f"<qemu:arg value='{value}'/>" for value in values)
    return f"<qemu:commandline xmlns:qemu='{QEMU}'>{inner}</qemu:commandline>"


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param("", id="nothing"),
        pytest.param("<override><device alias='ua-a'/></override>", id="not in the namespace of QEMU"),
        pytest.param(
            override("ua-a", ("disable-legacy", "off")).replace(QEMU, "other"), id="another namespace"
        ),
        pytest.param(commandline("-device", "x", "-global"), id="an option without its value"),
        pytest.param(commandline("-global", "no equals sign"), id="no assignment"),
        pytest.param(commandline("-global", "a=b"), id="no property"),
        pytest.param(
            commandline("-set", "device.virtio-disk0.disable-legacy=off"), id="-set, which fails at start"
        ),
    ],
)
def test_no_properties(inner: str) -> None:
    """Only libvirt's QEMU namespace counts, and only what QEMU would take."""
    found = properties(inner)
    assert (found.by_alias, found.by_type) == ({}, [])


@pytest.mark.parametrize(
    ("inner", "by_alias", "by_type"),
    [
        pytest.param(
            override("ua-a", ("disable-legacy", "off")),
            {"ua-a": {"disable-legacy": "off"}},
            [],
            id="override",
        ),
        pytest.param(
            override("ua-a", ("disable-legacy", "off"), prefix="q"),
            {"ua-a": {"disable-legacy": "off"}},
            [],
            id="any prefix",
        ),
        pytest.param(
            override("ua-a", ("disable-legacy", "off"), ("disable-legacy", "on"), ("x", "1")),
            {"ua-a": {"disable-legacy": "on", "x": "1"}},
            [],
            id="the last of a name wins",
        ),
        pytest.param(
            commandline("-global", "virtio-blk-pci.disable-legacy=off"),
            {},
            [("virtio-blk-pci", "disable-legacy", "off")],
            id="-global TYPE.PROPERTY=VALUE",
        ),
        pytest.param(
            commandline("--global", "virtio-pci.disable-modern=on"),
            {},
            [("virtio-pci", "disable-modern", "on")],
            id="two dashes",
        ),
        pytest.param(
            commandline("-global", "driver=virtio-net-pci,property=disable-legacy,value=off"),
            {},
            [("virtio-net-pci", "disable-legacy", "off")],
            id="-global driver=,property=,value=",
        ),
        pytest.param(
            commandline("-cpu", "host", "-global", "a.b=1", "-global", "a.b=2"),
            {},
            [("a", "b", "1"), ("a", "b", "2")],
            id="in order, among others",
        ),
    ],
)
def test_properties_are_read(
    inner: str, by_alias: dict[str, dict[str, str]], by_type: list[tuple[str, ...]]
) -> None:
    """Both ways to set QEMU properties, in their spellings."""
    found = properties(inner)
    assert (found.by_alias, found.by_type) == (by_alias, by_type)


ALIAS = "<alias name='ua-a'/>"
G = "-global"


@pytest.mark.parametrize(
    ("tail", "integrated", "on_port"),
    [
        pytest.param("", T, M, id="nothing set"),
        pytest.param(override("ua-b", ("disable-legacy", "off")), T, M, id="the alias of another device"),
        pytest.param(override("ua-a", ("num-queues", "4")), T, M, id="another property"),
        pytest.param(override("ua-a", ("disable-legacy", "auto")), T, M, id="auto is the default"),
        pytest.param(commandline(G, "virtio-net-pci.disable-legacy=off"), T, M, id="-global of another type"),
        pytest.param(override("ua-a", ("disable-legacy", "off")), T, T, id="legacy on"),
        pytest.param(override("ua-a", ("disable-legacy", "on")), M, M, id="legacy off"),
        pytest.param(
            override("ua-a", ("disable-modern", "true")), L, X, id="modern off: on a port QEMU does not start"
        ),
        pytest.param(override("ua-a", ("disable-modern", "on")), L, X, id="modern off, in another word"),
        pytest.param(override("ua-a", ("disable-modern", "false")), T, M, id="modern on"),
        pytest.param(
            override("ua-a", ("disable-legacy", "off"), ("disable-modern", "true")), L, L, id="legacy only"
        ),
        pytest.param(
            override("ua-a", ("disable-legacy", "on"), ("disable-modern", "true")), X, X, id="both off"
        ),
        pytest.param(commandline(G, "virtio-blk-pci.disable-legacy=off"), T, T, id="-global of its type"),
        pytest.param(commandline(G, "virtio-pci.disable-legacy=off"), T, T, id="-global of all types"),
        pytest.param(commandline(G, "virtio-pci.disable-legacy=on"), M, M, id="-global legacy off"),
        pytest.param(
            commandline(G, "driver=virtio-blk-pci,property=disable-legacy,value=off"),
            T,
            T,
            id="-global in long form",
        ),
        pytest.param(
            commandline(G, "virtio-pci.disable-legacy=on", G, "virtio-blk-pci.disable-legacy=off"),
            T,
            T,
            id="the last -global wins",
        ),
        pytest.param(
            commandline(G, "virtio-blk-pci.disable-legacy=off", G, "virtio-pci.disable-legacy=on"),
            M,
            M,
            id="the last -global wins, the general one too",
        ),
        pytest.param(
            commandline(G, "virtio-blk-pci.disable-legacy=on") + override("ua-a", ("disable-legacy", "off")),
            T,
            T,
            id="the device's own property outweighs -global",
        ),
        pytest.param(
            commandline(G, "virtio-blk-pci.disable-modern=true")
            + override("ua-a", ("disable-legacy", "off")),
            L,
            L,
            id="one from each",
        ),
    ],
)
def test_properties_change_the_mode(tail: str, integrated: str, on_port: str) -> None:
    """disable-legacy and disable-modern, per device or per type, for a plain virtio disk in either place."""
    topology = BARE + port(1, "00:02.0")
    assert mode(topology + disk("vda", "00:03.0", inner=ALIAS), "disk[vda]", tail=tail) == integrated
    assert mode(topology + disk("vda", "01:00.0", inner=ALIAS), "disk[vda]", tail=tail) == on_port


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        pytest.param("ua-a", T, id="a user alias survives define"),
        pytest.param("virtio-disk0", M, id="libvirt replaces any other, and names a disk by its target"),
    ],
)
def test_an_override_finds_its_device_by_the_alias_it_will_have(alias: str, expected: str) -> None:
    """Only ua- aliases are the user's; others are made anew when the domain starts."""
    devices = BARE + port(1, "00:02.0") + disk("vdb", "01:00.0", inner=f"<alias name='{alias}'/>")
    assert mode(devices, "disk[vdb]", tail=override(alias, ("disable-legacy", "off"))) == expected


def test_aliases_of_ones_own_and_nics_of_the_host_take_no_number() -> None:
    """Seen on libvirt 9.0.0: the NIC behind one with an alias of its own is net0."""
    text = (
        "<domain type='kvm'><os><type machine='q35'>hvm</type></os><devices>"
        "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><alias name='ua-n'/></interface>"
        "<interface type='hostdev'><mac address='52:54:00:00:00:02'/></interface>"
        "<interface type='user'><mac address='52:54:00:00:00:03'/><model type='virtio'/></interface>"
        "</devices></domain>"
    )
    named = {device.key: alias for device, alias in aliases(read(text).devices).items()}
    assert named["interface[52:54:00:00:00:01]"] == "ua-n"
    assert named["interface[52:54:00:00:00:03]"] == "net0"


def test_the_aliases_that_libvirt_makes_up() -> None:
    """How libvirt names devices at start: disks by target, controllers by index, others by position."""
    found = read(
        domain(
            disk("vdc") + nic(1) + nic(2) + "    <controller type='scsi' index='3' model='virtio-scsi'/>\n"
            "    <rng model='virtio'><alias name='ua-mine'/></rng>\n    <memballoon model='virtio'/>\n"
        )
    )
    named = aliases(found.devices)
    names = {device.key: alias for device, alias in named.items()}
    assert {
        key: names[key]
        for key in ("disk[vdc]", nic_key(1), nic_key(2), "controller[scsi 3]", "rng", "memballoon")
    } == {
        "disk[vdc]": "virtio-disk2",
        nic_key(1): "net0",
        nic_key(2): "net1",
        "controller[scsi 3]": "scsi3",
        "rng": "ua-mine",
        "memballoon": "balloon0",
    }


def test_iommu_platform_makes_a_device_modern() -> None:
    """iommu='on' is a feature of virtio 1.0: wherever the device sits, a legacy guest can not use it."""
    for place in ("00:03.0", "01:00.0"):
        devices = BARE + port(1, "00:02.0") + disk("vda", place, inner="<driver iommu='on'/>")
        assert mode(devices, "disk[vda]") == M


# --- I/O windows --------------------------------------------------------------------------------------


def windows(devices: str, *, uefi: bool = True) -> dict[str, int]:
    found = read(domain(BARE + devices, uefi=uefi)).io_windows
    return {f"{address >> 3:02x}.{address & 7}": count for address, count in found.items()}


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param("", id="no bridges"),
        pytest.param(
            disk("vda", "00:03.0") + nic(1, "00:04.0", "e1000"), id="integrated endpoints take none"
        ),
        pytest.param(ports(8), id="empty ports"),
        pytest.param(port(1, "00:02.0") + disk("vda", "01:00.0"), id="a modern-only device has no I/O BAR"),
        pytest.param(
            port(1, "00:02.0") + disk("vda", "01:00.0", " model='virtio-non-transitional'"),
            id="nor has a modern model",
        ),
        pytest.param(port(1, "00:02.0") + "<vsock model='virtio'/>\n", id="nor has a native one"),
        pytest.param(
            port(1, "00:02.0") + "<controller type='usb' index='1' model='qemu-xhci'/>\n", id="nor xhci"
        ),
        pytest.param(SWITCH + disk("vda", "03:00.0"), id="modern behind a switch"),
    ],
)
def test_no_windows(devices: str) -> None:
    """FACTS 3: without an I/O BAR below it a port takes no window, under OVMF and under SeaBIOS."""
    assert windows(devices) == {}
    assert windows(devices, uefi=False) == {}


TRANSITIONAL = " model='virtio-transitional'"


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        pytest.param(
            port(1, "00:02.0") + disk("vda", "01:00.0", TRANSITIONAL),
            {"02.0": 1},
            id="transitional on a port",
        ),
        pytest.param(port(1, "00:02.0") + nic(1, "01:00.0", "e1000e"), {"02.0": 1}, id="e1000e counts too"),
        pytest.param(port(1, "00:02.0") + nic(1, "01:00.0", "igb"), {"02.0": 1}, id="igb"),
        pytest.param(BRIDGE + disk("vda", "02:01.0"), {"02.0": 1}, id="behind a bridge: the port's window"),
        pytest.param(
            BRIDGE + "".join(disk(name, f"02:{slot:02x}.0") for slot, name in enumerate(disk_names(31), 1)),
            {"02.0": 1},
            id="31 devices behind one bridge share 4 KiB",
        ),
        pytest.param(
            BRIDGE
            + "".join(disk(name, f"02:{1 + n // 8:02x}.{n % 8}") for n, name in enumerate(disk_names(64))),
            {"02.0": 2},
            id="64 need 8 KiB",
        ),
        pytest.param(DMI + disk("vda", "02:01.0"), {"1e.0": 1}, id="behind a dmi bridge"),
        pytest.param(SWITCH + disk("vda", "03:00.0", TRANSITIONAL), {"02.0": 1}, id="behind a switch"),
        pytest.param(
            ports(10)
            + "".join(
                disk(name, f"{bus:02x}:00.0", TRANSITIONAL) for bus, name in enumerate(disk_names(10), 1)
            ),
            {**{f"02.{n}": 1 for n in range(8)}, "03.0": 1, "03.1": 1},
            id="one for each port",
        ),
        pytest.param(
            port(1, "00:02.0")
            + pci(2, "pcie-switch-upstream-port", "01:00.0")
            + pci(3, "pcie-switch-downstream-port", "02:00.0")
            + pci(4, "pcie-switch-downstream-port", "02:01.0")
            + disk("vda", "03:00.0", TRANSITIONAL)
            + disk("vdb", "04:00.0", TRANSITIONAL),
            {"02.0": 2},
            id="each downstream port needs 4 KiB of the switch's window",
        ),
    ],
)
def test_windows(devices: str, expected: dict[str, int]) -> None:
    """A bridge on pcie.0 takes as many 4 KiB windows as the I/O below it needs, under either firmware."""
    assert windows(devices) == expected
    assert windows(devices, uefi=False) == expected


def test_an_empty_bridge_takes_a_window_under_seabios_alone() -> None:
    """SeaBIOS opens one for an empty bridge that takes devices later; OVMF does not (tests/real/test_windows.py)."""
    assert windows(BRIDGE) == windows(DMI) == {}
    assert windows(BRIDGE, uefi=False) == {"02.0": 1}
    assert windows(DMI, uefi=False) == {"1e.0": 1}
    assert windows(pci(1, "dmi-to-pci-bridge", "00:1e.0"), uefi=False) == {}
