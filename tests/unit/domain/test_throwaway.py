"""A copy keeps what a guest sees on PCI, and nothing that stands behind it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fixer.domain.model import read_domain
from fixer.domain.throwaway import Bench, Boot, Copy, throw_away

SAMPLES = sorted((Path(__file__).parents[3] / "samples").glob("*.xml"))
LOADER = "/usr/share/OVMF/OVMF_CODE_4M.fd"
BENCH = Bench(
    name="copy-1",
    uuid="11111111-2222-4333-8444-555555555555",
    folder="/nowhere/copy1",
    emulator="/usr/bin/qemu-system-x86_64",
    virt_type="qemu",
    machine="pc-q35-7.2",
    loaders=frozenset({LOADER}),
    videos=frozenset({"vga", "virtio"}),
)
HEAD = "<name>guest</name><uuid>d5fd6b1e-0d4a-4f9e-8a0f-5a7f3b1c2d3e</uuid><memory>1</memory>"
QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


def copy_of(devices: str, *, more: str = "", os_more: str = "", machine: str = "pc-q35-7.2") -> Copy:
    text = (
        f"<domain type='kvm' {QEMU}>{HEAD}<os><type arch='x86_64' machine='{machine}'>hvm</type>{os_more}</os>"
        f"<devices>{devices}</devices>{more}</domain>"
    )
    return throw_away(read_domain(text.encode()), BENCH)


def root_of(copy: Copy) -> ET.Element:
    return ET.fromstring(copy.xml)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_every_virtio_device_keeps_its_place_and_its_mode(sample: Path) -> None:
    domain = read_domain(sample.read_bytes())
    bench = BENCH._replace(machine=domain.machine.name)
    copy = read_domain(throw_away(domain, bench).xml.encode())
    assert domain.layout is not None
    assert copy.layout is not None
    expected = {
        device.key: (domain.layout.order(domain.layout.at[device]), mode)
        for device, mode in domain.modes.items()
    }
    seen = {
        device.key: (copy.layout.order(copy.layout.at[device]), mode) for device, mode in copy.modes.items()
    }
    assert seen == expected
    assert seen


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_no_path_name_or_secret_of_the_owner_is_in_the_copy(sample: Path) -> None:
    text = sample.read_text()
    copy = throw_away(read_domain(text.encode()), BENCH)
    paths = set(re.findall(r"(?:file|dev|dir|path|socket|template)='(/[^']*)'", text))
    paths |= set(re.findall(r"<(?:nvram|emulator)[^>]*>([^<]+)<", text))
    allowed = {BENCH.emulator, LOADER, "/dev/urandom"}
    assert [path for path in paths - allowed if path.strip() and path in copy.xml] == []
    domain = read_domain(text.encode())
    assert not domain.uuid or domain.uuid not in copy.xml
    assert f"<name>{domain.name}</name>" not in copy.xml
    named = {node.text or node.get("file") or node.get("path") for node in root_of(copy).iter()}
    for name in filter(None, named):
        assert not name.startswith("/") or name.startswith(BENCH.folder) or name in allowed, name


def test_hostile_values_stay_values() -> None:
    evil = "x'/><filesystem type='mount'><source dir='/etc'/></filesystem><a b='"
    copy = copy_of(
        f"<disk type='file' device='disk'><source file='/etc/shadow'/>"
        f'<target dev="{evil.replace("<", "&lt;")}" bus="virtio"/></disk>'
    )
    root = root_of(copy)
    assert root.findall("devices/filesystem") == []
    assert root.find("devices/disk/target").get("dev") == evil  # type: ignore[union-attr]
    assert "/etc/shadow" not in copy.xml


@pytest.mark.parametrize(
    ("device", "key"),
    [
        ("<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='3' slot='0' function='0'/></source></hostdev>", "hostdev"),
        ("<vsock model='virtio'><cid auto='yes'/></vsock>", "vsock"),
        ("<interface type='hostdev'><mac address='52:54:00:00:00:09'/><source><address type='pci' domain='0' bus='3' slot='0' function='0'/></source></interface>", "interface"),
        ("<shmem name='x'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>", "shmem"),
    ],
)  # fmt: skip
def test_what_needs_the_host_is_left_out_and_the_others_stay_in_place(device: str, key: str) -> None:
    disk = "<disk type='block' device='disk'><source dev='/dev/sda'/><target dev='vda' bus='virtio'/></disk>"
    nic = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='n'/><model type='virtio'/></interface>"
    conventional = (
        "<interface type='user'><mac address='52:54:00:00:00:02'/><model type='e1000'/></interface>"
    )
    text = (
        f"<domain type='kvm'>{HEAD}<os><type machine='pc-q35-7.2'>hvm</type></os>"
        f"<devices>{device}{nic}{conventional}{disk}</devices></domain>"
    )
    domain = read_domain(text.encode())
    made = throw_away(domain, BENCH)
    assert [left.partition("[")[0] for left in made.left_out] == [key]
    copy = read_domain(made.xml.encode())
    assert domain.layout is not None
    assert copy.layout is not None
    for name in ("disk[vda]", "interface[52:54:00:00:00:01]", "interface[52:54:00:00:00:02]", "memballoon"):
        ours, theirs = domain.by_key[name], copy.by_key[name]
        assert domain.layout.at[ours] == copy.layout.at[theirs], name
    assert [bus.model for bus in domain.layout.buses] == [bus.model for bus in copy.layout.buses]


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (("-global", "virtio-blk-pci.disable-legacy=off"), True),
        (("-global", "driver=virtio-blk-pci,property=disable-legacy,value=off"), True),
        (("-set", "device.ua-x.disable-legacy=off"), True),
        (("-drive", "file=/etc/shadow,if=virtio"), False),
        (("-global", "isa-fdc.driveA=/etc/shadow"), False),
        (("-global", "driver=x,property=disable-legacy,value=off,file=/etc/shadow"), False),
        (("-global", "x.disable-legacy=off,file=/etc/shadow"), False),
        (("-netdev", "tap,id=x,script=/tmp/evil"), False),
    ],
)
def test_only_known_properties_of_the_command_line_are_kept(arguments: tuple[str, ...], kept: bool) -> None:
    args = "".join(f"<qemu:arg value='{value}'/>" for value in arguments)
    copy = copy_of("", more=f"<qemu:commandline>{args}</qemu:commandline>")
    assert (arguments[1] in copy.xml) is kept
    assert bool(copy.notes) is not kept


def test_all_blocks_of_the_command_line_count_and_only_their_arguments() -> None:
    arguments = (
        "<qemu:arg value='-global'/><qemu:env name='A' value='b'/><qemu:arg value='virtio-blk-pci.disable-legacy=off'/>",
        "<qemu:arg value='-global'/><qemu:arg value='virtio-net-pci.disable-legacy=off'/>",
    )
    blocks = "".join(f"<qemu:commandline>{one}</qemu:commandline>" for one in arguments)
    override = "".join(
        f"<qemu:override><qemu:device alias='{alias}'><qemu:frontend>"
        "<qemu:property name='disable-legacy' type='string' value='off'/>"
        "</qemu:frontend></qemu:device></qemu:override>"
        for alias in ("ua-a", "ua-b")
    )
    copy = copy_of("", more=blocks + override)
    values = [node.get("value") for node in root_of(copy).iter() if node.tag.endswith("}arg")]
    assert values[-4:] == [
        *("-global", "virtio-blk-pci.disable-legacy=off", "-global", "virtio-net-pci.disable-legacy=off")
    ]
    assert [node.get("alias") for node in root_of(copy).iter() if node.tag.endswith("}device")] == [
        "ua-a",
        "ua-b",
    ]


def test_nothing_is_set_on_a_device_that_is_left_out() -> None:
    values = ("-device", "virtio-rng-pci,id=a", "-set", "device.a.disable-legacy=off")
    args = "".join(f"<qemu:arg value='{value}'/>" for value in values)
    copy = copy_of("", more=f"<qemu:commandline>{args}</qemu:commandline>")
    assert "disable-legacy" not in copy.xml


def test_overrides_keep_what_decides_the_interface() -> None:
    override = (
        "<qemu:override><qemu:device alias='ua-a'><qemu:frontend>"
        "<qemu:property name='disable-legacy' type='string' value='off'/>"
        "<qemu:property name='drive' type='string' value='/etc/shadow'/>"
        "</qemu:frontend></qemu:device></qemu:override>"
    )
    copy = copy_of("", more=override)
    assert "disable-legacy" in copy.xml
    assert "shadow" not in copy.xml


@pytest.mark.parametrize(
    ("os_more", "said", "noted"),
    [
        (f"<loader readonly='yes' type='pflash'>{LOADER}</loader><nvram>/var/own.fd</nvram>", LOADER, False),
        ("<loader readonly='yes' type='pflash'>/other/CODE.fd</loader>", 'firmware="efi"', True),
        ("<nvram template='/x'>/var/own.fd</nvram><loader type='pflash'>/other/CODE.fd</loader>", "vars.fd", True),
    ],
)  # fmt: skip
def test_the_firmware_is_that_of_the_domain_with_variables_of_its_own(
    os_more: str, said: str, noted: bool
) -> None:
    copy = copy_of("", os_more=os_more)
    assert said in copy.xml
    assert "/var/own.fd" not in copy.xml
    assert f"<nvram>{BENCH.folder}/vars.fd</nvram>" in copy.xml
    assert any("firmware" in note for note in copy.notes) is noted


def test_disks_are_empty_files_that_a_guest_can_tell_apart() -> None:
    disks = "".join(
        f"<disk type='network' device='disk'><source protocol='rbd' name='p/{name}'><auth username='u'>"
        f"<secret type='ceph' uuid='d5fd6b1e-0d4a-4f9e-8a0f-5a7f3b1c2d3e'/></auth></source>"
        f"<target dev='{name}' bus='virtio'/></disk>"
        for name in ("vda", "vdb")
    )
    copy = copy_of(disks + "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>")
    assert sorted(copy.disks.values()) == ["disk[vda]", "disk[vdb]"]
    assert set(copy.disks) == set(copy.images.values())
    assert "rbd" not in copy.xml
    assert "secret" not in copy.xml


def test_a_guest_to_boot_is_booted_directly() -> None:
    domain = read_domain(SAMPLES[0].read_bytes())
    root = root_of(throw_away(domain, BENCH, Boot("/k", "/i", "console=ttyS0")))
    assert [root.findtext(f"os/{name}") for name in ("kernel", "initrd", "cmdline")] == [
        "/k",
        "/i",
        "console=ttyS0",
    ]


def test_a_slot_keeps_its_function_0() -> None:
    """Firmware looks at no other function of a slot without one."""
    place = "<address type='pci' domain='0' bus='0' slot='5' function='{}' {}/>"
    first = place.format(0, "multifunction='on'")
    vsock = f"<vsock model='virtio'><cid auto='yes'/>{first}</vsock>"
    disk = f"<disk type='file' device='disk'><target dev='vda' bus='virtio'/>{place.format(1, '')}</disk>"
    (stand_in,) = root_of(copy_of(vsock + disk)).findall("devices/input")
    address = stand_in.find("address")
    assert address is not None
    assert [address.get(name) for name in ("slot", "function", "multifunction")] == ["5", "0", "on"]
    alone = vsock + disk.replace("slot='5'", "slot='6'").replace("function='1'", "function='0'")
    assert root_of(copy_of(alone)).findall("devices/input") == []


def test_a_source_of_input_is_no_device() -> None:
    copy = copy_of("<input type='evdev'><source dev='/dev/input/event1' grab='all'/></input>")
    assert "<input" not in copy.xml


def test_nics_without_a_mac_get_the_same_each_time() -> None:
    nics = "<interface type='user'><model type='virtio'/></interface>" * 2
    one, other = copy_of(nics), copy_of(nics)
    assert one.nics == other.nics == {
        "52:54:00:fe:00:00": "interface[?]", "52:54:00:fe:00:01": "interface[?]#2",
    }  # fmt: skip
    macs = [node.get("address") for node in root_of(one).findall("devices/interface/mac")]
    assert macs == list(one.nics)


def test_a_scsi_host_device_keeps_the_controller_that_it_calls_for() -> None:
    copy = copy_of(
        "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/></source></hostdev>"
    )
    kinds = [node.get("type") for node in root_of(copy).findall("devices/controller")]
    assert "scsi" in kinds


def test_firmware_in_a_format_of_its_own_keeps_it() -> None:
    copy = copy_of("", os_more=f"<loader readonly='yes' type='pflash' format='qcow2'>{LOADER}</loader>")
    root = root_of(copy)
    assert [root.find(f"os/{name}").get("format") for name in ("loader", "nvram")] == ["qcow2"] * 2  # type: ignore[union-attr]


def test_another_bios_or_video_model_that_stands_in_is_told_of() -> None:
    video = "<video><model type='virtio'/></video>"
    domain = f"<domain type='kvm'>{HEAD}<os><type machine='pc'>hvm</type><loader type='rom'>/b.bin</loader></os><devices>{video}</devices></domain>"
    copy = throw_away(read_domain(domain.encode()), BENCH._replace(machine="pc", videos=frozenset({"vga"})))
    assert copy.left_out == ("video[virtio]",)
    assert any("BIOS" in note for note in copy.notes)
    assert any("vga stands in" in note for note in copy.notes)


def test_another_machine_that_stands_in_is_told_of() -> None:
    copy = copy_of("", machine="pc-q35-rhel7.6.0")
    assert copy.notes == ("machine type pc-q35-rhel7.6.0 is not offered here: pc-q35-7.2 stands in",)
