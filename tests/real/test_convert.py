"""Conversions judged by libvirt, QEMU and a guest: what sat on bus 0 sits there still, but for what the plan names.

The list of slots is read from libvirt's own dumps by ``oracle``, which shares no code with the package under test.
"""

from __future__ import annotations

import contextlib
import random
import re
from typing import TYPE_CHECKING, Any

import generator
import helpers
import pytest
from lxml import etree

from fixer.planning.planner import plan_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from fixer.planning.plan import Plan

SEEDS = range(60)
Q35, PC = "q35=pc-q35-7.2", "pc=pc-i440fx-7.2"
# What replaces one another: the disk and USB controllers of the two chipsets, on which nothing virtio hangs.
CHIPSET = re.compile(r"ide|sata|(piix3|ich9)-.*|qemu-xhci")


def plan(xml: str, os: str, machine: str, **asked: Any) -> Plan:
    request = helpers.request(os)._replace(machine=machine, **asked)
    return plan_bytes(xml.encode(), request)


def place(bus: int, slot: int, function: int = 0, more: str = "") -> str:
    return f"<address type='pci' domain='0x0000' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x{function}'{more}/>"


def nic(number: int, where: str = "", model: str = "virtio") -> str:
    mac = f"52:54:00:00:00:{number:02x}"
    return f"<interface type='user'><mac address='{mac}'/><model type='{model}'/>{where}</interface>"


def ide(target: str, inside: str = "", kind: str = "disk") -> str:
    return (
        f"<disk type='file' device='{kind}'><driver name='qemu' type='raw'/><source file='/tmp/{target}.img'/>"
        f"<target dev='{target}' bus='ide'/>{inside}</disk>"
    )


def bus_0(oracle: ModuleType, dump: str) -> dict[str, str]:
    """Return what sits on bus 0: BB:SS.F -> device, bridges included."""
    found = {
        f"00:{slot:02x}.{function}": device.key
        for device in oracle.pci_devices(dump)
        for bus, slot, function in [device.where]
        if bus == 0
    }
    for controller in etree.fromstring(dump.encode()).iterfind("devices/controller[@type='pci']"):
        address = controller.find("address")
        if address is not None and int(address.get("bus", "0"), 16) == 0:
            slot, function = (int(address.get(name, "0"), 16) for name in ("slot", "function"))
            found[f"00:{slot:02x}.{function}"] = f"bridge {controller.get('index')}"
    return found


def order(oracle: ModuleType, dump: str) -> dict[str, list[str]]:
    return {kind: keys for kind, keys in oracle.guest_order(dump).items() if not CHIPSET.fullmatch(kind)}


def faults(oracle: ModuleType, plan: Plan, before: str) -> Iterator[str]:
    """Yield what is wrong with a conversion; ``before`` is libvirt's dump of the domain."""
    import libvirt

    try:
        after = oracle.define(plan.result)
    except libvirt.libvirtError as error:
        yield f"libvirt refuses the result: {error}\n{plan.result.decode()}"
        return
    old, new = bus_0(oracle, before), bus_0(oracle, after)
    told = {where for change in plan.changes for where in (change.address_before, change.address_after)}
    for where in sorted(old.keys() | new.keys()):
        if old.get(where) != new.get(where) and where not in told:
            yield f"{where} was {old.get(where)}, is {new.get(where)}, and the plan does not say so"
    if order(oracle, before) != {
        kind: keys for kind, keys in order(oracle, after).items() if kind in order(oracle, before)
    }:
        yield f"the order changes: {order(oracle, before)} {order(oracle, after)}"
    if plan.guest.interface != "modern":
        left = (
            set(oracle.modern_only(after))
            - set(oracle.native(after))
            - {one.device for one in plan.unresolved}
        )
        yield from (f"{key} is modern-only" for key in sorted(left))
    again = plan_bytes(after.encode(), helpers.request(plan.guest.id)._replace(machine=Q35))
    yield from (f"a second plan does {edit}" for edit in again.edits)


# --- Random domains -----------------------------------------------------------------------------------


def random_domain(seed: int) -> tuple[random.Random, str]:
    """Return a domain for i440FX, NICs with MAC addresses of their own, IDE disks and bridges among the rest."""
    rng = random.Random(seed)
    xml = generator.domain(rng, "pc", uefi=rng.random() < 0.2).replace('"', "'")
    count = iter(range(100))
    xml = re.sub(
        r"<interface type='user'><model", lambda _: nic(next(count)).partition("<model")[0] + "<model", xml
    )
    more = [
        ide(f"hd{one}", kind=rng.choice(("disk", "cdrom")))
        for one in rng.sample("abcd", rng.choice((0, 1, 2, 4)))
    ]
    if rng.random() < 0.3:
        more.append("<controller type='pci' index='1' model='pci-bridge'/>")
    if rng.random() < 0.15:
        more += [nic(100 + number) for number in range(rng.randrange(20, 32))]
    return rng, xml.replace("</devices>", "".join(more) + "</devices>")


@pytest.mark.parametrize("seed", SEEDS)
def test_random_domains_keep_their_places(oracle: ModuleType, seed: int) -> None:
    """As written, as dumped, and with some addresses gone: each device of bus 0 where it was, and all of it told."""
    import libvirt

    rng, xml = random_domain(seed)
    dump = oracle.define(xml)
    sources = [(xml, dump), (dump, dump)]
    stripped = generator.strip(rng, dump)
    with contextlib.suppress(libvirt.libvirtError):  # a bridge may be gone that something needs
        sources.append((stripped, oracle.define(stripped)))
    wrong = []
    for source, before in sources:
        for os in ("rhel6", "rhel9.0"):
            made = plan(source, os, Q35)
            assert made.pending, made.unresolved
            wrong += list(faults(oracle, made, before))
            back = plan(made.result.decode(), os, PC)
            if back.pending:
                oracle.define(back.result)
    assert not wrong, "\n".join(wrong)


# --- One thing after the other ------------------------------------------------------------------------

BOTH = " multifunction='on'"
FEATURES = {
    "disk geometry": ide("hda", "<geometry cyls='16383' heads='16' secs='63' trans='lba'/>"),
    "WWN": ide("hda", "<wwn>5000c50015ea71ac</wwn>"),
    "serial number": ide("hda", "<serial>WD-WMAP9A966149</serial>"),
    "block sizes": ide("hda", "<blockio logical_block_size='512' physical_block_size='4096'/>"),
    "boot order": ide("hda", "<boot order='2'/>")
    + nic(1).replace("</interface>", "<boot order='1'/></interface>"),
    "IDE address": ide("hdb", "<address type='drive' controller='0' bus='1' target='0' unit='1'/>"),
    "no bus": ide("hda").replace(" bus='ide'", ""),
    "empty drive": "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>",
    "floppies": "".join(
        f"<disk type='file' device='floppy'><target dev='fd{one}' bus='fdc'/></disk>" for one in "ab"
    ),
    "SATA card": "<controller type='sata' index='0'/><disk type='file' device='disk'><source file='/tmp/s.img'/>"
    "<target dev='sda' bus='sata'/></disk>" + ide("hda"),
    "two UHCI": "<controller type='usb' index='0' model='piix3-uhci'/><controller type='usb' index='1' "
    f"model='piix3-uhci'>{place(0, 6)}</controller><input type='tablet' bus='usb'><address type='usb' bus='1' "
    "port='1'/></input>",
    "hub": "<hub type='usb'><address type='usb' bus='0' port='1'/></hub><input type='tablet' bus='usb'>"
    "<address type='usb' bus='0' port='1.1'/></input>",
    "no USB": "<controller type='usb' index='0' model='none'/>",
    "sound": "<sound model='ich6'><codec type='micro'/></sound><sound model='ac97'/><sound model='sb16'/>",
    "watchdog": "<watchdog model='i6300esb' action='reset'/>",
    "ISA watchdog": "<watchdog model='ib700' action='poweroff'/>",
    "ISA": "<serial type='pty'><target port='0'/></serial><parallel type='pty'><target port='0'/></parallel>"
    "<panic model='isa'/>",
    "functions": nic(1, place(0, 5, 0, BOTH)) + nic(2, place(0, 5, 1)) + nic(3, place(0, 5, 7)),
    "slot 1": nic(1, place(0, 1, 4)),
    "slot 1f": nic(1, place(0, 0x1F)),
    "slot 1f, three": nic(1, place(0, 0x1F, 0, BOTH)) + nic(2, place(0, 0x1F, 1)) + nic(3, place(0, 0x1F, 2)),
    "places of ICH9": "".join(nic(slot, place(0, slot)) for slot in (0x1A, 0x1B, 0x1D, 0x1E)),
    "bridges": "<controller type='pci' index='0' model='pci-root'/><controller type='pci' index='1' "
    "model='pci-bridge'/><controller type='pci' index='2' model='pci-bridge'>"
    f"{place(1, 3)}</controller>{nic(1, place(2, 4))}{nic(2, place(1, 1), 'e1000')}",
    "bridges that libvirt adds": nic(1, place(3, 4)),
    "PCI hole": "<controller type='pci' index='0' model='pci-root'><pcihole64 unit='KiB'>1048576</pcihole64>"
    "</controller>",
    "channels": "<controller type='virtio-serial' index='0' ports='16'/><channel type='pty'><target type='virtio' "
    "name='a.b'/><address type='virtio-serial' controller='1' bus='0' port='3'/></channel>",
    "SCSI": "<disk type='file' device='disk'><source file='/tmp/s.img'/><target dev='sda' bus='scsi'/></disk>",
    "host device": "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x06' "
    "slot='0x12' function='0x5'/></source></hostdev>",
    "screen": "<graphics type='vnc'/>",
    "two screens": "<graphics type='vnc'/><video><model type='qxl'/></video><video><model type='qxl'/></video>",
    "old NICs": "".join(
        nic(number, model=model) for number, model in enumerate(("ne2k_pci", "pcnet", "rtl8139", "e1000"))
    ),
    "full bus": "".join(map(nic, range(40))),
    "aliases": "<controller type='ide' index='0'><alias name='ua-ide'/></controller><controller type='usb' index='0'>"
    "<alias name='ua-usb'/></controller>",
    "comment": f"<!-- of 2009 --><controller type='ide' index='0'><!-- kept --></controller>{ide('hda')}",
}


def described(devices: str) -> str:
    return (
        "<domain type='qemu'>\n  <name>x</name>\n  <memory unit='MiB'>256</memory>\n  <os>\n    "
        "<type arch='x86_64' machine='pc'>hvm</type>\n  </os>\n  <features><acpi/></features>\n  <pm>"
        f"<suspend-to-mem enabled='no'/></pm>\n  <devices>\n    {devices}\n  </devices>\n</domain>\n"
    )


@pytest.mark.parametrize("os", ["rhel6", "rhel9.0"])
@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_is_taken_along(oracle: ModuleType, feature: str, os: str) -> None:
    """libvirt takes the result, and every difference on bus 0 is one that the plan tells."""
    xml = described(FEATURES[feature])
    dump = oracle.define(xml)
    for source in (xml, dump):
        made = plan(source, os, Q35)
        assert made.pending
        assert not list(faults(oracle, made, dump))
        assert "<!-- of 2009 -->" in made.result.decode() or "<!-- of 2009 -->" not in source


@pytest.mark.parametrize("os", ["rhel6", "rhel9.0"])
def test_uefi(oracle: ModuleType, os: str) -> None:
    """libvirt finds an image for it, without secure boot."""
    xml = described(nic(1) + ide("hda")).replace("<features><acpi/></features>", "")
    made = plan(xml, os, Q35, firmware="efi", esp=True)
    dump = oracle.define(made.result)
    assert "firmware='efi'" in dump
    assert "<feature enabled='no' name='secure-boot'/>" in dump
    assert made.after.firmware.kind == "uefi"


def test_virtio_disks_where_the_site_wants_them(oracle: ModuleType) -> None:
    """A hard disk on IDE becomes a virtio disk behind those that are there; the drive goes to SATA."""
    there = ide("vdb").replace("bus='ide'", "bus='virtio'")
    xml = described(there + ide("hda", "<wwn>5000c50015ea71ac</wwn>") + ide("hdc", kind="cdrom") + nic(1))
    request = helpers.request("rhel6", ide_disks="virtio")._replace(machine=Q35)
    for source in (xml, oracle.define(xml)):
        made = plan_bytes(source.encode(), request)
        after = oracle.define(made.result)
        assert oracle.guest_order(after)["virtio_blk"] == ["disk[vdb]", "disk[vda]"]
        assert not oracle.modern_only(after)
        assert "<target dev='hdc' bus='sata'/>" in after


def test_root_ports_for_a_modern_guest(oracle: ModuleType) -> None:
    """Every virtio device gets a port of its own, in the same order."""
    xml = described(nic(1) + nic(2) + nic(3, model="e1000") + ide("hda"))
    made = plan(xml, "rhel9.0", Q35, layout="ports")
    after = oracle.define(made.result)
    buses = [where[0] for key, where in oracle.virtio_addresses(after).items() if key.startswith("nic[")]
    assert buses == sorted(set(buses))
    assert 0 not in buses
    assert order(oracle, oracle.define(xml))["virtio_net"] == order(oracle, after)["virtio_net"]


# --- A guest ------------------------------------------------------------------------------------------

BOOTED = described(
    "<controller type='pci' index='0' model='pci-root'/><controller type='pci' index='1' model='pci-bridge'>"
    f"{place(0, 4)}</controller>"
    + "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/tmp/{name}.img'/>"
        f"<target dev='{name}' bus='virtio'/>{where}</disk>"
        for name, where in (("vda", place(0, 9)), ("vdb", place(1, 3)), ("vdc", place(0, 0x1F)))
    )
    + nic(1, place(0, 8))
    + nic(2, place(1, 2))
    + nic(3, place(0, 3, 0, BOTH))
    + nic(4, place(0, 3, 1))
    + "<controller type='scsi' index='0' model='virtio-scsi'/><disk type='file' device='disk'><driver name='qemu' "
    "type='raw'/><source file='/tmp/s.img'/><target dev='sda' bus='scsi'/></disk>"
)


@pytest.mark.boot
@pytest.mark.usefixtures("bootable")
@pytest.mark.xdist_group("boot converted")
def test_a_legacy_guest_finds_all_at_the_same_places(oracle: ModuleType) -> None:
    """A kernel with legacy drivers only: on i440FX, on Q35 by SeaBIOS, on Q35 by OVMF; behind a bridge, in slot 1f."""
    legacy_guest = pytest.importorskip("legacy_guest")
    reports = [legacy_guest.boot(oracle.define(BOOTED), legacy=True)]
    for firmware in ({}, {"firmware": "efi", "esp": True}):
        made = plan(BOOTED, "rhel6", Q35, **firmware)
        assert not made.unresolved
        reports.append(legacy_guest.boot(oracle.define(made.result), legacy=True))
    before = reports[0]
    assert before.legacy_disks
    assert before.legacy_nics
    moved = {"0000:00:1f.0": "0000:00:1f.1"}  # the LPC bridge of Q35 is 00:1f.0
    for report in reports[1:]:
        assert report.legacy_disks == before.legacy_disks, report.log
        assert report.legacy_nics == before.legacy_nics, report.log
        assert report.legacy_drivers == before.legacy_drivers, report.log
        for kind in ("disks", "nics", "devices"):
            old = [moved.get(one.pci, one.pci) for one in getattr(before, kind)]
            assert [one.pci for one in getattr(report, kind)] == old, report.log
