"""Where fixer.domain.pci puts what has no address, against libvirt's own placement."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import generator
import helpers
import pytest
from helpers import BARE, at, disk, nic, pci, port
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
    assert found == written(dump), xml
    assert sorted(found.values()) == all_addresses(dump), xml
    compare_modes(oracle, dump)
    return dump


def compare_modes(oracle: ModuleType, dump: str) -> None:
    where = {device.key: device.where for device in oracle.pci_devices(dump)}
    bare = [f"{bus:02x}:{slot:02x}.{function}" for bus, slot, function in map(where.get, oracle.modern_only(dump))]
    subject = helpers.read(dump)
    at_ours = helpers.places(subject)
    assert sorted(bare) == sorted(at_ours[dev.key] for dev, mode in subject.modes.items() if mode in UNSEEN), dump


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


# --- Each rule by itself: where libvirt puts these, None where it refuses --------------------------------

A, B = helpers.nic_key(1), helpers.nic_key(2)
SLOT_ONE_VIDEO = {"video[0]": "00:01.0"}
RULES: list[Any] = [
    *(
        pytest.param(disk("vda", f"00:{slot:02x}.{function}"), {"disk[vda]": f"00:{slot:02x}.{function}"}, id=f"00:{slot:02x}.{function}")
        for slot, function in ((0x01, 0), (0x02, 0), (0x0F, 3), (0x1E, 0), (0x1E, 7), (0x1F, 1), (0x1F, 7))
    ),
    pytest.param(disk("vda", "00:00.0"), {"disk[vda]": "01:00.0"}, id="00:00.0 means no address"),
    pytest.param(disk("vda", "00:00.1"), {"disk[vda]": None}, id="another function of the host bridge's slot"),
    pytest.param(disk("vda", "00:1f.0"), None, id="the LPC bridge's place"),
    pytest.param(disk("vda", "00:1f.3"), None, id="the SMBus controller's place"),
    pytest.param(disk("vda", "00:1f.2") + "    <controller type='sata' index='0'/>\n", None, id="the SATA controller's place"),
]
