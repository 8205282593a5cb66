"""Where fixer.domain.pci puts what has no address, against libvirt's own placement."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import generator
import helpers
import pytest
from helpers import BARE, NO_BALLOON, at, disk, nic, pci, port
from lxml import etree

from fixer.domain.devices import short_address
from fixer.domain.virtio import Mode
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from types import ModuleType

SEEDS = range(150)
UNSEEN = frozenset({Mode.MODERN_ONLY, Mode.NATIVE})
VIDEO = "    <video><model type='vga'/></video>\n"
VNC = "    <graphics type='vnc'/>\n"
ICH9_SOUND = "    <sound model='ich9'/>\n"
NIC_1 = "nic[52:54:00:00:00:01]"


def libvirts(oracle: ModuleType, xml: str) -> str | None:
    """Return libvirt's dump of the domain, None where it refuses."""
    import libvirt

    try:
        return oracle.define(xml)
    except libvirt.libvirtError:
        return None


def ours(xml: str) -> dict[str, str] | None:
    """Return our places by device key, None where we refuse."""
    try:
        return helpers.places(helpers.read(xml))
    except VirtfixError:
        return None


def written(dump: str) -> dict[str, str]:
    """Return the addresses that stand in a dump by our device keys."""
    devices = helpers.read(dump).devices
    return {dev.key: short_address(dev.address) for dev in devices if dev.address is not None}


def all_addresses(dump: str) -> list[str]:
    """Return every PCI address of a dump, read without the package under test."""
    places = etree.fromstring(dump.encode()).iterfind("devices/*/address[@type='pci']")
    return sorted(
        "{:02x}:{:02x}.{}".format(*(int(place.get(part), 16) for part in ("bus", "slot", "function")))
        for place in places
    )


def compare(oracle: ModuleType, xml: str) -> str | None:
    """Assert that libvirt and we agree on a domain; return libvirt's dump where it accepts."""
    dump, found = libvirts(oracle, xml), ours(xml)
    if dump is None:
        assert found is None, f"libvirt refuses what we accept\n{xml}"
        return None
    assert found is not None, f"we refuse what libvirt accepts\n{xml}"
    expected = written(dump)
    assert found == expected, xml
    assert sorted(found.values()) == all_addresses(dump), xml
    compare_modes(oracle, dump)
    return dump


def compare_modes(oracle: ModuleType, dump: str) -> None:
    where = {device.key: device.where for device in oracle.pci_devices(dump)}
    bare = [
        f"{bus:02x}:{slot:02x}.{function}" for bus, slot, function in map(where.get, oracle.modern_only(dump))
    ]
    subject = helpers.read(dump)
    at_ours = helpers.places(subject)
    assert sorted(bare) == sorted(
        at_ours[dev.key] for dev, mode in subject.modes.items() if mode in UNSEEN
    ), dump


@pytest.mark.parametrize("seed", SEEDS)
def test_random_domains_are_placed_as_libvirt_places_them(oracle: ModuleType, seed: int) -> None:
    """Without addresses, and again with a part of libvirt's addresses and controllers taken away."""
    rng = random.Random(seed)
    machine = "pc" if seed % 3 == 2 else "q35"
    dump = compare(oracle, generator.domain(rng, machine))
    assert dump is not None, "the generator makes domains that libvirt accepts"
    compare(oracle, dump)
    for _ in range(3):
        compare(oracle, generator.strip(rng, dump))


# --- Each rule by itself --------------------------------------------------------------------------------

PORT = port(1, "00:02.0")
TO_PCI = PORT + pci(2, "pcie-to-pci-bridge", "01:00.0")
DMI = pci(1, "dmi-to-pci-bridge", "00:1e.0")
PCI_BRIDGE = DMI + pci(2, "pci-bridge", "01:00.0")
TRANSITIONAL, NON_TRANSITIONAL = " model='virtio-transitional'", " model='virtio-non-transitional'"


def pci_controller(model: str) -> str:
    return f"    <controller type='pci' model='{model}'/>\n"


def rule(name: str, devices: str, places: dict[str, str] | None, *, modern: tuple[str, ...] = ()) -> Any:
    """Return one rule: where libvirt puts devices and which are modern-only there.

    ``places`` is None where libvirt refuses.
    """
    return pytest.param(devices, places, modern, id=name)


def disk_at(place: str, before: str = "", *, accepted: bool = True, modern: bool = False) -> Any:
    """Return the rule for one disk with this address, behind ``before``."""
    behind = re.findall(r"model='([\w-]+)'", before)
    return rule(
        f"a disk at {place}{' behind ' + behind[-1] if behind else ''}",
        BARE + before + disk("vda", place),
        {"disk[vda]": place} if accepted else None,
        modern=("disk[vda]",) if modern else (),
    )


RULES = [
    *(
        disk_at(place)
        for place in ("00:01.0", "00:01.7", "00:0f.3", "00:1e.0", "00:1e.7", "00:1f.1", "00:1f.7")
    ),
    *(disk_at(place, accepted=False) for place in ("00:1f.0", "00:1f.2", "00:1f.3", "00:20.0", "00:01.8")),
    rule(
        "00:00.0 is no address",
        BARE + disk("vda", "00:00.0"),
        {"disk[vda]": "01:00.0"},
        modern=("disk[vda]",),
    ),
    rule(
        "slot 0 of bus 0 is no address, whatever the function",
        BARE + disk("vda", "00:00.1"),
        {"disk[vda]": "01:00.0"},
        modern=("disk[vda]",),
    ),
    rule(
        "another PCI domain",
        BARE + disk("vda", "00:03.0").replace("domain='0x0000'", "domain='0x0001'"),
        None,
    ),
    rule("two at one place", BARE + disk("vda", "00:05.0") + disk("vdb", "00:05.0"), None),
    rule("video likes slot 1", BARE + VIDEO, {"video[vga]": "00:01.0"}),
    rule(
        "video whose slot is taken goes behind a bridge",
        BARE + VIDEO + disk("vda", "00:01.0"),
        {"video[vga]": "02:01.0", "controller[pci 2]": "01:00.0", "disk[vda]": "00:01.0"},
    ),
    rule("video whose slot is shared", BARE + VIDEO + disk("vda", "00:01.1"), {"video[vga]": "02:01.0"}),
    rule("ich9 sound likes slot 1b", BARE + ICH9_SOUND, {"sound[ich9]": "00:1b.0"}),
    rule(
        "ich9 sound whose slot is taken goes behind a bridge",
        BARE + ICH9_SOUND + disk("vda", "00:1b.0"),
        {"sound[ich9]": "02:01.0", "controller[pci 2]": "01:00.0", "disk[vda]": "00:1b.0"},
    ),
    *(disk_at(place, TO_PCI) for place in ("02:01.0", "02:1f.7")),
    *(disk_at(place, PCI_BRIDGE) for place in ("02:01.0", "02:1f.7")),
    *(disk_at(place, DMI) for place in ("01:00.0", "01:1f.0")),
    *(disk_at(place, PORT, modern=True) for place in ("01:00.0", "01:00.1")),
    *(disk_at("02:00.0", bridge, accepted=False) for bridge in (TO_PCI, PCI_BRIDGE)),
    disk_at("01:01.0", PORT, accepted=False),
    rule(
        "a bus without a controller gets ports up to it",
        BARE + disk("vda", "04:00.0"),
        {f"controller[pci {index}]": f"00:01.{index - 1}" for index in (1, 2, 3, 4)},
        modern=("disk[vda]",),
    ),
    rule("a function without function 0", BARE + disk("vda", "00:05.1"), {"disk[vda]": "00:05.1"}),
    rule(
        "the spare port that libvirt leaves", BARE + nic(1), {"controller[pci 2]": "00:01.1"}, modern=(NIC_1,)
    ),
    rule(
        "a pcie-to-pci-bridge without index takes 0, which is the root's",
        BARE + PORT + pci_controller("pcie-to-pci-bridge"),
        None,
    ),
    rule(
        "a root port without index takes 0, which is the root's",
        BARE + pci_controller("pcie-root-port"),
        None,
    ),
    rule(
        "controllers without index behind a written root",
        BARE + pci_controller("pcie-root") + pci_controller("pcie-root-port") * 2 + disk("vda"),
        {"controller[pci 1]": "00:01.0", "controller[pci 2]": "00:01.1", "disk[vda]": "01:00.0"},
        modern=("disk[vda]",),
    ),
    rule("a pcie-to-pci-bridge of index 0", BARE + pci(0, "pcie-to-pci-bridge"), None),
    rule("a pcie-to-pci-bridge that leaves no room for its port", BARE + pci(1, "pcie-to-pci-bridge"), None),
    rule(
        "a pcie-to-pci-bridge goes onto a port that libvirt adds",
        BARE + pci(5, "pcie-to-pci-bridge"),
        {"controller[pci 5]": "01:00.0", "controller[pci 1]": "00:01.0"},
    ),
    rule("a pcie-to-pci-bridge on pcie.0", BARE + pci(1, "pcie-to-pci-bridge", "00:03.0"), None),
    rule(
        "a pcie-to-pci-bridge behind its like", BARE + TO_PCI + pci(3, "pcie-to-pci-bridge", "02:01.0"), None
    ),
    rule(
        "a dmi-to-pci-bridge likes 1e", BARE + pci(1, "dmi-to-pci-bridge"), {"controller[pci 1]": "00:1e.0"}
    ),
    rule(
        "a pci-bridge goes behind a dmi-to-pci-bridge",
        BARE + pci(1, "dmi-to-pci-bridge") + pci(2, "pci-bridge"),
        {"controller[pci 1]": "00:1e.0", "controller[pci 2]": "01:00.0"},
    ),
    rule(
        "a transitional disk gets a bridge of its own",
        BARE + disk("vda", "", TRANSITIONAL),
        {"disk[vda]": "02:01.0", "controller[pci 2]": "01:00.0", "controller[pci 1]": "00:01.0"},
    ),
    rule(
        "a transitional disk on a port",
        BARE + PORT + disk("vda", "01:00.0", TRANSITIONAL),
        {"disk[vda]": "01:00.0"},
    ),
    rule(
        "a non-transitional disk on pcie.0",
        BARE + disk("vda", "00:03.0", NON_TRANSITIONAL),
        {"disk[vda]": "00:03.0"},
        modern=("disk[vda]",),
    ),
    rule(
        "a non-transitional disk behind a bridge",
        BARE + TO_PCI + disk("vda", "02:01.0", NON_TRANSITIONAL),
        {"disk[vda]": "02:01.0"},
        modern=("disk[vda]",),
    ),
    rule(
        "ports are functions of one slot",
        BARE + "".join(nic(number) for number in range(1, 10)),
        {
            f"controller[pci {index}]": f"00:{1 + (index - 1) // 8:02x}.{(index - 1) % 8}"
            for index in range(1, 11)
        },
        modern=tuple(f"nic[52:54:00:00:00:{number:02x}]" for number in range(1, 10)),
    ),
    rule(
        "ports stay off the slot of the video",
        BARE + VIDEO + nic(1),
        {"controller[pci 1]": "00:02.0", helpers.nic_key(1): "01:00.0"},
        modern=(NIC_1,),
    ),
    rule(
        "nothing said: SATA, USB and balloon appear",
        "",
        {"controller[sata 0]": "00:1f.2", "controller[usb 0]": "01:00.0", "memballoon": "02:00.0"},
        modern=("memballoon",),
    ),
    rule("graphics bring a video device", BARE + VNC, {"video[cirrus]": "00:01.0"}),
    rule(
        "a virtio channel brings its controller",
        BARE + "    <channel type='unix'><target type='virtio' name='a'/></channel>\n",
        {"controller[virtio-serial 0]": "01:00.0"},
        modern=("controller[virtio-serial 0]",),
    ),
    rule(
        "a virtio console brings its controller",
        BARE + "    <console type='pty'><target type='virtio'/></console>\n",
        {"controller[virtio-serial 0]": "01:00.0"},
        modern=("controller[virtio-serial 0]",),
    ),
    rule(
        "a scsi disk brings lsilogic behind a bridge",
        BARE + "    <disk type='file' device='disk'><target dev='sda' bus='scsi'/></disk>\n",
        {"controller[scsi 0]": "02:01.0", "controller[pci 2]": "01:00.0"},
    ),
    rule(
        "a conventional NIC goes behind a bridge",
        BARE + nic(1, model="e1000"),
        {helpers.nic_key(1): "02:01.0", "controller[pci 2]": "01:00.0"},
    ),
    rule(
        "USB companions follow the first of libvirt's list",
        NO_BALLOON
        + "".join(
            f"    <controller type='usb' index='0' model='ich9-{model}'>{at(place)}</controller>\n"
            for model, place in (("ehci1", ""), ("uhci1", ""), ("uhci2", "00:1d.1"))
        ),
        {"controller[usb 0 ich9-uhci1]": "00:1a.0", "controller[usb 0 ich9-ehci1]": "00:1a.7"},
    ),
]


@pytest.mark.parametrize(("devices", "places", "modern"), RULES)
def test_each_rule_of_libvirt(
    oracle: ModuleType, devices: str, places: dict[str, str] | None, modern: tuple[str, ...]
) -> None:
    """What libvirt does with one rule is what is written here, and what we foresee."""
    dump = compare(oracle, complete(devices))
    assert (dump is None) == (places is None)
    if dump is not None and places is not None:
        there = written(dump)
        assert {key: there.get(key) for key in places} == places
        assert oracle.modern_only(dump) == list(modern)


def complete(devices: str) -> str:
    """Return a domain with these devices; disks get the source that libvirt wants."""
    subject = helpers.domain(devices, head="  <memory>65536</memory>\n  <vcpu>1</vcpu>\n")
    return re.sub(r"(?=<target dev='(\w+)' bus)", r"<source file='/tmp/\1'/>", subject)


def test_function_zero_becomes_multifunction_where_nothing_is_said(oracle: ModuleType) -> None:
    """libvirt writes multifunction='on' into function 0 of a shared slot; 'off' stays as it was."""
    pair = BARE + disk("vda", "00:05.0") + disk("vdb", "00:05.1")
    assert oracle.define(complete(pair)).count("multifunction='on'") == 1
    off = pair.replace("function='0x0'/>", "function='0x0' multifunction='off'/>")
    assert "multifunction='on'" not in oracle.define(complete(off))
