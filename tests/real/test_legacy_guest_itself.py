"""The test guest tells legacy devices from modern ones: what every other boot test rests on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

legacy_guest = pytest.importorskip("legacy_guest")  # needs libvirt-python
from fixer.adapters import guest_image  # noqa: E402

pytestmark = [pytest.mark.real, pytest.mark.boot, pytest.mark.usefixtures("bootable")]

MAC = "52:54:00:12:34:56"
# (bus, slot) of: target vda, target vdb, NIC, balloon. vdb sits in front of vda, so the guest swaps their names.
INTEGRATED = ((0, 5), (0, 4), (0, 6), (0, 7))
ON_ROOT_PORTS = ((2, 0), (1, 0), (3, 0), (4, 0))


def domain(*, machine: str, uefi: bool, places: tuple[tuple[int, int], ...]) -> str:
    addresses = [
        f"<address type='pci' domain='0x0000' bus='{bus:#04x}' slot='{slot:#04x}' function='0x0'/>"
        for bus, slot in places
    ]
    ports = "".join(
        f"<controller type='pci' index='{index}' model='pcie-root-port'>"
        f"<address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='{index - 1:#x}'"
        f" multifunction='{'on' if index == 1 else 'off'}'/></controller>"
        for index in sorted({bus for bus, _ in places if bus})
    )
    disks = "".join(
        f"<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/>"
        f"<source dev='/dev/nowhere/{name}'/><target dev='{name}' bus='virtio'/>{address}</disk>"
        for name, address in zip(("vda", "vdb"), addresses, strict=False)
    )
    return f"""
      <domain type='kvm'>
        <name>old</name><memory unit='GiB'>64</memory><vcpu>8</vcpu>
        <os{" firmware='efi'" if uefi else ""}><type arch='x86_64' machine='{machine}'>hvm</type></os>
        <features><acpi/></features><cpu mode='host-passthrough'/>
        <devices>
          {ports}{disks}
          <interface type='bridge'>
            <mac address='{MAC}'/><source bridge='br0'/><model type='virtio'/>{addresses[2]}
          </interface>
          <memballoon model='virtio'>{addresses[3]}</memballoon>
        </devices>
      </domain>"""


def test_modern_only_devices_on_root_ports_are_invisible_to_a_legacy_guest() -> None:
    """Behind root ports the guest drives everything, and nothing of it through the legacy interface."""
    report = legacy_guest.boot(domain(machine="q35", uefi=True, places=ON_ROOT_PORTS), legacy=True)
    assert report.drivers == Counter(virtio_blk=2, virtio_net=1, virtio_balloon=1), report.log
    assert [disk.target for disk in report.disks] == ["vdb", "vda"]
    assert report.legacy_disks == []
    assert report.legacy_nics == []
    assert report.legacy_drivers == Counter()


@pytest.mark.parametrize(
    ("machine", "uefi"),
    [
        pytest.param("q35", True, id="q35 under OVMF"),
        pytest.param("pc-q35-rhel7.4.0", False, id="a q35 this host lacks under SeaBIOS"),
        pytest.param("pc", False, id="i440FX under SeaBIOS"),
    ],
)
def test_integrated_devices_are_seen_wholly_and_in_pci_order(machine: str, *, uefi: bool) -> None:
    """On the root bus every device speaks legacy, and the guest names disks by address, not by target."""
    report = legacy_guest.boot(domain(machine=machine, uefi=uefi, places=INTEGRATED), legacy=True)
    assert report.legacy_disks == ["vdb", "vda"], report.log
    assert [disk.name for disk in report.disks] == ["vda", "vdb"]
    assert [disk.pci for disk in report.disks] == ["0000:00:04.0", "0000:00:05.0"]
    assert report.legacy_nics == [MAC]
    assert report.unmapped == frozenset()
    assert report.legacy_drivers == Counter(virtio_blk=2, virtio_net=1, virtio_balloon=1)


def test_a_modern_driver_takes_the_modern_interface_of_the_same_devices() -> None:
    """The verdict depends on the driver: where it may, the same guest speaks virtio 1.0 everywhere."""
    report = legacy_guest.boot(domain(machine="q35", uefi=False, places=INTEGRATED), legacy=False)
    assert report.drivers == Counter(virtio_blk=2, virtio_net=1, virtio_balloon=1), report.log
    assert report.legacy_drivers == Counter()


def test_devices_the_firmware_left_without_room_do_not_count_as_seen() -> None:
    """OVMF maps I/O for nine ports; Linux repairs the rest by itself, which must not pass for working."""
    names = [f"vd{letter}" for letter in "abcdefghijkl"]
    disks = "".join(
        f"<disk type='block' device='disk'><source dev='/dev/nowhere'/><target dev='{name}' bus='virtio'/>"
        f"<alias name='ua-{name}'/></disk>"
        for name in names
    )
    overrides = "".join(
        f"<qemu:device alias='ua-{name}'><qemu:frontend>"
        "<qemu:property name='disable-legacy' type='string' value='off'/></qemu:frontend></qemu:device>"
        for name in names
    )
    report = legacy_guest.boot(
        f"""
        <domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
          <name>crowd</name><memory unit='GiB'>1</memory>
          <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
          <devices>{disks}<memballoon model='none'/></devices>
          <qemu:override>{overrides}</qemu:override>
        </domain>""",
        legacy=True,
    )
    assert all(device.legacy for device in report.devices), report.log
    assert report.drivers == Counter(virtio_blk=len(names))
    starved = {disk.target for disk in report.disks if disk.pci in report.unmapped}
    assert starved
    assert report.legacy_disks == [name for name in names if name not in starved]
    assert report.legacy_drivers == Counter(virtio_blk=len(names) - len(starved))


def test_the_copy_keeps_the_topology_and_drops_the_host(tmp_path: Path) -> None:
    """Addresses and models stay; images, bridges and host devices go."""
    xml = domain(machine="q35", uefi=True, places=ON_ROOT_PORTS).replace(
        "</devices>",
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/></source></hostdev></devices>",
    )
    guest = guest_image.Guest(kernel=Path("/kernel"), initrd=Path("/initrd"))
    copied, targets = legacy_guest.throw_away_copy(xml, guest, tmp_path, legacy=True)
    assert set(targets.values()) == {"vda", "vdb"}
    assert copied.count("pcie-root-port") == 4
    assert 'bus="0x02" slot="0x00"' in copied
    for host in ("br0", "/dev/nowhere", "hostdev", "host-passthrough", "kvm"):
        assert host not in copied


def test_a_guest_that_cannot_start_is_reported_with_its_domain() -> None:
    """A refusal by libvirt names itself and shows the XML it refused."""
    xml = domain(machine="q35", uefi=False, places=((0, 31), (0, 4), (0, 6), (0, 7)))
    with pytest.raises(legacy_guest.BootError, match=r"(?s)double use.*<domain"):
        legacy_guest.boot(xml, legacy=True)
