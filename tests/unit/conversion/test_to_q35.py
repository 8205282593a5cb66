"""i440FX to Q35: each rule, the bytes that it writes, and what stays as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from converting import (
    PC,
    Q35,
    REFUSED,
    controller,
    converted,
    drive,
    ide,
    moved,
    on_pc,
    sata,
    swapped,
    to_q35_type,
    unresolved,
)
from helpers import (
    LEGACY_ONLY,
    NO_BALLOON,
    NO_USB,
    QEMU,
    at,
    data,
    disk,
    disk_names,
    domain,
    modes,
    nic,
    nic_key,
    order,
    pci,
    places,
    policies,
    read,
    request,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fixer.conversion import REMEDY
from fixer.conversion.board import Conversion, Wishes
from fixer.conversion.to_q35 import to_q35
from fixer.domain.edits import AddElement, Edit, SetAddress, splices
from fixer.domain.writing import Element, apply_splices
from fixer.planning.codec import decode_edit, encode_edit, encode_plan
from fixer.planning.planner import plan_bytes
from fixer.planning.prove import ProofError, prove_conversion
from fixer.planning.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.domain.devices import Address
    from fixer.planning.plan import Plan
    from fixer.policy.model import GuestCapabilities

ADDED_BALLOON = f"    <memballoon model='virtio'>\n      {at('00:02.0')}\n    </memballoon>\n"
ADDED_XHCI = (
    f"    <controller type='usb' index='0' model='qemu-xhci'>\n      {at('00:01.0')}\n    </controller>\n"
)


# --- Places -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param("", id="nothing"),
        pytest.param(disk("vda", "00:03.0") + nic(1, "00:04.0"), id="virtio"),
        pytest.param(nic(1, "00:04.0", "e1000") + nic(2, "00:05.0", "rtl8139"), id="emulated cards"),
        pytest.param(disk("vda", "00:1e.0") + disk("vdb", "00:1f.1"), id="high slots that Q35 leaves free"),
        pytest.param(disk("vda", "00:05.0") + disk("vdb", "00:05.7"), id="functions"),
        pytest.param(pci(1, "pci-bridge", "00:04.0") + nic(1, "01:03.0"), id="a bridge and what is behind it"),
        pytest.param(nic(1, "00:1b.0") + nic(2, "00:1d.0"), id="slots that Q35 likes for itself"),
    ],
)  # fmt: skip
def test_only_the_machine_type_changes(devices: str) -> None:
    """What has its place written down keeps every byte; the name of the machine is all that differs."""
    xml = on_pc(devices)
    made = converted(xml)
    assert made.result.decode() == to_q35_type(xml)
    assert made.after.machine.name == Q35
    before = places(made.domain)
    assert {key: places(made.after)[key] for key in before} == before


def test_a_root_that_is_written_down() -> None:
    """<controller type='pci' index='0'> becomes the other root, and nothing is written where it is not there."""
    xml = on_pc(controller("pci", 0, model="pci-root") + disk("vda", "00:03.0"))
    wanted = swapped(to_q35_type(xml), ("'pci-root'", "'pcie-root'"))
    assert converted(xml).result.decode() == wanted


def test_what_has_no_address_gets_the_one_that_it_had() -> None:
    """Else libvirt would place it anew on Q35, behind ports."""
    xml = on_pc(disk("vda") + nic(1))
    made = converted(xml)
    assert made.result.decode() == swapped(
        to_q35_type(xml),
        ("bus='virtio'/></disk>", f"bus='virtio'/>{at('00:03.0')}</disk>"),
        ("<model type='virtio'/></interface>", f"<model type='virtio'/>{at('00:02.0')}</interface>"),
    )
    assert places(made.after).items() >= places(made.domain).items()


def test_what_libvirt_adds_is_written_down_where_it_was() -> None:
    """A balloon that is nowhere in the XML would come behind a port, where an old guest can not drive it."""
    xml = domain("", PC)
    made = converted(xml, "rhel9.0")
    wanted = to_q35_type(xml).replace("  </devices>", ADDED_BALLOON + ADDED_XHCI + "  </devices>")
    assert made.result.decode() == wanted
    assert modes(made.after)["memballoon"] == "transitional"


def test_an_implicit_video_card_is_written_down() -> None:
    """What <graphics> brings along stands at slot 2, as it did."""
    made = converted(on_pc("    <graphics type='vnc'/>\n" + nic(1)))
    assert places(made.after) == places(made.domain) | {"controller[sata 0]": "00:1f.2"}
    assert "video[cirrus]" in places(made.after)
    assert f"<video>\n      <model type='cirrus'/>\n      {at('00:02.0')}" in made.result.decode()


def test_a_bridge_that_libvirt_adds_stays_a_bridge() -> None:
    """libvirt would fill the gap by a root port on Q35."""
    made = converted(on_pc(pci(1, "pci-bridge", "00:04.0") + nic(1, "02:03.0")))
    assert places(made.after).items() >= places(made.domain).items()
    assert {dev.model for dev in made.after.devices if dev.is_bridge} == {"pci-bridge"}


def test_virtio_is_what_it_was() -> None:
    """The point of it all: on pcie.0 itself virtio stays transitional, in the same order."""
    xml = on_pc("".join(disk(name) for name in disk_names(5)) + nic(1) + nic(2))
    made = converted(xml)
    assert set(modes(made.after).values()) == {"transitional"}
    assert order(made.after) == order(made.domain)
    assert made.unresolved == ()


def test_another_remedy_follows_where_the_guest_needs_one() -> None:
    """What comes out is planned like any other domain: a legacy-only guest gets its setting on top."""
    made = converted(on_pc(disk("vda", "00:03.0")), LEGACY_ONLY)
    assert {change.remedy for change in made.changes} > {REMEDY}
    assert places(made.after)["disk[vda]"] == "00:03.0"
    assert modes(made.after)["disk[vda]"] == "legacy"


# --- What the chipset is in the way of ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("00:1f.0",), ("00:1f.1",)),
        (("00:1f.0", "00:1f.1"), ("00:1f.1", "00:1f.4")),
        (("00:1f.1", "00:1f.2"), ("00:1f.1", "00:1f.4")),
        (("00:1f.3", "00:1f.4", "00:1f.7"), ("00:1f.4", "00:1f.5", "00:1f.7")),
        (("00:1f.0", "00:1f.1", "00:1f.2", "00:1f.3", "00:1f.4"), ("00:1f.1", "00:1f.4", "00:1f.5", "00:1f.6", "00:1f.7")),
        (("00:01.4",), ("00:01.0",)),
        (("00:01.4", "00:01.6"), ("00:01.0", "00:01.6")),
    ],
)  # fmt: skip
def test_slots_of_the_chipset(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Beside the LPC bridge the next free functions are taken, in order; in slot 1 somebody is function 0."""
    xml = on_pc("".join(nic(number, place) for number, place in enumerate(before)))
    made = converted(xml)
    assert tuple(places(made.after)[nic_key(number)] for number in range(len(before))) == after
    assert order(made.after)["net"] == [nic_key(number) for number in range(len(before))]
    told = moved(made)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        assert told.get(nic_key(number)) == (None if old == new else (old, new))


def test_a_head_of_several_is_none_afterwards() -> None:
    """multifunction='on' goes with function 0: beside the LPC bridge there is nobody to head."""
    shared = at("00:1f.0").replace("/>", " multifunction='on'/>")
    xml = swapped(on_pc(nic(1, "00:1f.0") + nic(2, "00:1f.1")), (at("00:1f.0"), shared))
    made = converted(xml)
    assert b"multifunction" not in made.result
    assert places(made.after)[nic_key(1)] == "00:1f.1"


def test_more_than_the_last_slot_holds() -> None:
    """Six functions do not fit beside the chipset's three: refused, nothing changed."""
    made = converted(on_pc("".join(nic(number, f"00:1f.{number}") for number in range(6))))
    assert unresolved(made) == [(REFUSED, "domain")]
    assert made.edits == ()


# --- Disks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(ide("hda"), sata("hda"), id="no address"),
        pytest.param(ide("hda", drive()), sata("hda", drive()), id="primary master"),
        pytest.param(ide("hdb", drive(unit=1)), sata("hdb", drive(unit=1)), id="primary slave"),
        pytest.param(ide("hdc", drive(bus=1)), sata("hdc", drive(unit=2)), id="secondary master"),
        pytest.param(ide("hdd", drive(bus=1, unit=1)), sata("hdd", drive(unit=3)), id="secondary slave"),
        pytest.param(
            ide("hdc", "<address type='drive' bus='1'/>"),
            sata("hdc", "<address type='drive' bus='0' unit='2'/>"),
            id="parts of an address",
        ),
        pytest.param(
            ide("hdc", "<address type='drive' controller='0x0' bus='0x1' unit='00'/>"),
            sata("hdc", "<address type='drive' controller='0x0' bus='0' unit='2'/>"),
            id="other spellings",
        ),
        pytest.param(
            "    <disk type='file'><target dev='hda'/></disk>\n",
            "    <disk type='file'><target dev='hda' bus='sata'/></disk>\n",
            id="no bus: hda says it",
        ),
        pytest.param(ide("sda", drive()), sata("sda", drive()), id="a name of another bus"),
        pytest.param(ide("hdc", drive(bus=1), device="cdrom"), sata("hdc", drive(unit=2), device="cdrom"), id="a CD drive"),
        pytest.param(
            ide("hda", inner="<geometry cyls='16383' heads='16' secs='63' trans='lba'/>"),
            sata("hda", "<geometry cyls='16383' heads='16' secs='63'/>"),
            id="the translation goes, the geometry stays",
        ),
        pytest.param(ide("hda", inner="<wwn>5000c50015ea71ad</wwn>"), sata("hda"), id="the WWN goes"),
        pytest.param(
            ide("hda", inner="<boot order='1'/><serial>x</serial>"),
            sata("hda", "<boot order='1'/><serial>x</serial>"),
            id="boot order and serial stay",
        ),
    ],
)  # fmt: skip
def test_ide_becomes_sata(before: str, after: str) -> None:
    """The port is 2 * bus + unit; target name, boot order and all else stay."""
    xml = on_pc(before)
    made = converted(xml)
    assert made.result.decode() == swapped(to_q35_type(xml), (before, after))
    assert moved(made) == {"controller[ide 0]": ("00:01.1", "00:1f.2")}


def test_what_is_lost_with_ide_is_said() -> None:
    """Neither the WWN nor the translation goes without a word."""
    inner = "<geometry cyls='1' heads='1' secs='1' trans='lba'/><wwn>5000c50015ea71ad</wwn>"
    (change,) = [
        one for one in converted(on_pc(ide("hda", inner=inner))).changes if one.device == "disk[hda]"
    ]
    assert "5000c50015ea71ad" in change.why
    assert "CHS" in change.why


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            controller("ide", 0, at("00:01.1")), controller("sata", 0, at("00:1f.2")), id="with its place"
        ),
        pytest.param(controller("ide", 0), controller("sata", 0), id="without"),
        pytest.param(controller("ide", 0, model="piix3"), controller("sata", 0), id="its model goes"),
    ],
)
def test_the_ide_controller_becomes_the_sata_controller(before: str, after: str) -> None:
    """The element of the one is that of the other."""
    xml = on_pc(before + ide("hda", drive()))
    assert converted(xml).result.decode() == swapped(
        to_q35_type(xml), (before, after), ("bus='ide'", "bus='sata'")
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            controller("sata", 0, at("00:05.0")) + sata("sda", drive()),
            controller("sata", 1, at("00:05.0")) + sata("sda", drive(1)),
            id="a card",
        ),
        pytest.param(
            controller("sata", 0, at("00:05.0")) + sata("sdb"),
            controller("sata", 1, at("00:05.0")) + sata("sdb", drive(1, unit=1)),
            id="a disk without an address would come to the chipset",
        ),
        pytest.param(
            controller("sata", 0, at("00:05.0"))
            + controller("sata", 1, at("00:06.0"))
            + sata("sda", drive())
            + sata("sdg", drive(1)),
            controller("sata", 1, at("00:05.0"))
            + controller("sata", 2, at("00:06.0"))
            + sata("sda", drive(1))
            + sata("sdg", drive(2)),
            id="two cards",
        ),
        pytest.param(
            f"    <controller type='sata'>{at('00:05.0')}</controller>\n",
            f"    <controller type='sata' index='1'>{at('00:05.0')}</controller>\n",
            id="a card without a number",
        ),
    ],
)
def test_sata_cards_are_renumbered(before: str, after: str) -> None:
    """Number 0 is the chipset's: a card keeps its place and its disks under the next number."""
    xml = on_pc(before)
    made = converted(xml)
    assert made.result.decode() == swapped(to_q35_type(xml), (before, after))
    assert places(made.after)["controller[sata 1]"] == "00:05.0"
    assert places(made.after)["controller[sata 0]"] == "00:1f.2"


@pytest.mark.parametrize("place", ["00:1f.0", "00:1f.2"])
def test_a_card_in_the_chipsets_way(place: str) -> None:
    """Its number and its place change together."""
    made = converted(on_pc(controller("sata", 0, at(place)) + sata("sda", drive())))
    now = "00:1f.1" if place == "00:1f.0" else "00:1f.4"
    assert places(made.after) == {"controller[sata 1]": now, "controller[sata 0]": "00:1f.2"}
    assert (place, now) in [(one.address_before, one.address_after) for one in made.changes]


def test_ide_and_a_card() -> None:
    """The IDE disk takes the chipset's port, the card's disk stays on the card."""
    xml = on_pc(controller("sata", 0, at("00:05.0")) + sata("sda", drive()) + ide("hda", drive()))
    made = converted(xml)
    assert places(made.after) == {"controller[sata 1]": "00:05.0", "controller[sata 0]": "00:1f.2"}
    assert f"<target dev='hda' bus='sata'/>{drive()}" in made.result.decode()
    assert f"<target dev='sda' bus='sata'/>{drive(1)}" in made.result.decode()


@pytest.mark.parametrize(
    ("guest", "devices", "found"),
    [
        pytest.param("rhel6", ide("hda"), [], id="a guest with AHCI"),
        pytest.param("winxp", ide("hda"), [(REFUSED, "disk[hda]")], id="a hard disk of one without"),
        pytest.param("win7", ide("hda"), [(REFUSED, "disk[hda]")], id="of one that has to be made to load it"),
        pytest.param("win7", ide("hda") + ide("hdb"), [(REFUSED, "disk[hda]"), (REFUSED, "disk[hdb]")], id="two of them"),
        pytest.param(
            "win7", ide("hda", device="lun") + disk("vda"), [(REFUSED, "disk[hda]")], id="a disk that is passed through"
        ),
        pytest.param(
            "winxp", disk("vda") + ide("hda", device="cdrom"), [("VF011", "disk[hda]"), ("VF013", "domain")], id="a CD drive"
        ),
        pytest.param("winxp", disk("vda"), [("VF013", "domain")], id="virtio alone"),
        pytest.param("rhel3", ide("hda"), [("VF011", "disk[hda]")], id="nobody knows"),
    ],
)  # fmt: skip
def test_guests_without_ahci(guest: str, devices: str, found: list[tuple[str, str]]) -> None:
    """A guest that would not find its disk is not converted; a CD drive that it loses is said."""
    made = converted(on_pc(devices), guest)
    assert unresolved(made) == found
    assert made.pending == (REFUSED not in dict(found))
    if not made.pending:
        assert made.result.decode() == on_pc(devices)


# --- Disks that a site wants on virtio ----------------------------------------------------------------


def on_virtio(xml: str, guest: str = "rhel6") -> Plan:
    return plan_bytes(data(xml), request(guest, ide_disks="virtio")._replace(machine="q35"))


def test_ide_becomes_virtio_where_the_site_wants_it() -> None:
    """Behind the virtio disks that are there, so that their names stay; a CD drive goes to SATA."""
    xml = on_pc(disk("vda", "00:05.0") + ide("hda", drive()) + ide("hdc", drive(bus=1), device="cdrom"))
    made = on_virtio(xml)
    assert made.result.decode() == swapped(
        to_q35_type(xml),
        (ide("hda", drive()), disk("vdb", "00:06.0")),
        (ide("hdc", drive(bus=1), device="cdrom"), sata("hdc", drive(unit=2), device="cdrom")),
    )
    assert modes(made.after)["disk[vdb]"] == "transitional"
    assert [(one.device, one.before, one.after) for one in made.forecast if one.changes] == [
        ("disk[vdb]", "/dev/sda", "/dev/vdb")
    ]


def test_two_of_them_stay_in_order() -> None:
    """Each has a name and a slot of its own."""
    made = on_virtio(on_pc(ide("hda") + ide("hdb")))
    assert order(made.after)["block"] == ["disk[vda]", "disk[vdb]"]
    assert made.unresolved == ()


def test_virtio_disks_behind_a_bridge() -> None:
    """A disk on pcie.0 would come before them: refused rather than renamed."""
    made = on_virtio(on_pc(pci(1, "pci-bridge", "00:04.0") + disk("vda", "01:01.0") + ide("hda")))
    assert unresolved(made) == [(REFUSED, "domain")]


@pytest.mark.parametrize("guest", ["win7", "winxp"])
def test_windows_does_not_start_from_a_driver_that_is_not_bound(guest: str) -> None:
    """A boot disk that turns up behind viostor for the first time stops Windows with 0x7B, as AHCI does."""
    made = on_virtio(on_pc(ide("hda")), guest)
    assert "breaks boot" in [finding.severity.value for finding in made.unresolved]


def test_more_disks_than_letters() -> None:
    """Behind vdz comes vdaa."""
    many = "".join(
        disk(name, f"00:{2 + number // 8:02x}.{number % 8}") for number, name in enumerate(disk_names(26))
    )
    assert "disk[vdaa]" in on_virtio(on_pc(many + ide("hda"))).after.by_key


# --- USB ----------------------------------------------------------------------------------------------

ICH9 = {
    "controller[usb 0 ich9-ehci1]": "00:1d.7",
    "controller[usb 0 ich9-uhci1]": "00:1d.0",
    "controller[usb 0 ich9-uhci2]": "00:1d.1",
    "controller[usb 0 ich9-uhci3]": "00:1d.2",
}
PIIX3 = controller("usb", 0, at("00:01.2"), "piix3-uhci")


@pytest.mark.parametrize(
    ("guest", "devices", "now"),
    [
        pytest.param("rhel9.0", PIIX3, {"controller[usb 0]": "00:01.0"}, id="xhci"),
        pytest.param("rhel9.0", "", {"controller[usb 0]": "00:01.0"}, id="xhci for one that libvirt adds"),
        pytest.param("rhel5.11", PIIX3, ICH9, id="no xhci: the ICH9's set"),
        pytest.param("rhel5.11", "", ICH9, id="the same for one that libvirt adds"),
        pytest.param("rhel5.11", controller("usb", 0), ICH9, id="written without model and place"),
        pytest.param(
            "rhel5.11",
            PIIX3 + nic(1, "00:1d.0"),
            {key: place.replace("1d", "1a") for key, place in ICH9.items()} | {nic_key(1): "00:1d.0"},
            id="the other slot where that is taken",
        ),
        pytest.param(
            "rhel5.11",
            PIIX3 + nic(1, "00:1d.0") + nic(2, "00:1a.3") + nic(3, "00:1a.0"),
            {key: place.replace("1d", "1e") for key, place in ICH9.items()}
            | {nic_key(1): "00:1d.0", nic_key(2): "00:1a.3", nic_key(3): "00:1a.0"},
            id="the last free one where both are",
        ),
        pytest.param(
            "rhel9.0",
            PIIX3 + nic(1, "00:01.4"),
            {"controller[usb 0]": "00:1e.0", nic_key(1): "00:01.0"},
            id="xhci where somebody is in slot 1",
        ),
    ],
)
def test_the_piix3_gives_way(guest: str, devices: str, now: dict[str, str]) -> None:
    """One qemu-xhci where the guest drives it, else the set of four that ICH9 has."""
    made = converted(domain(NO_BALLOON + devices, PC), guest)
    assert places(made.after) == now | {"controller[sata 0]": "00:1f.2"}
    assert made.unresolved == ()
    (head,) = [dev for dev in made.after.devices if dev.model in {"qemu-xhci", "ich9-uhci1"}]
    assert head.multifunction == ("" if head.model == "qemu-xhci" else "on")


def test_companions_share_the_ports() -> None:
    """Each of the slow controllers has its ports of the fast one."""
    text = converted(domain(NO_BALLOON + PIIX3, PC), "rhel5.11").result.decode()
    for number, first in ((1, 0), (2, 2), (3, 4)):
        assert f"model='ich9-uhci{number}'>\n      <master startport='{first}'/>" in text


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param(NO_USB, id="none"),
        pytest.param(controller("usb", 0, at("00:05.0"), "qemu-xhci"), id="xhci"),
        pytest.param(controller("usb", 0, at("00:05.0"), "nec-xhci"), id="another xhci"),
        pytest.param(controller("usb", 0, at("00:05.7"), "ich9-ehci1"), id="ICH9"),
    ],
)
def test_other_usb_controllers_stay(devices: str) -> None:
    """Only the PIIX3 is a part of the old chipset."""
    xml = domain(NO_BALLOON + devices, PC)
    assert converted(xml, "rhel5.11").result.decode() == to_q35_type(xml)


def test_no_slot_for_usb() -> None:
    """A full bus is refused, not overfilled."""
    full = "".join(nic(slot, f"00:{slot:02x}.0") for slot in range(2, 0x1F)) + nic(99, "00:01.4")
    made = converted(domain(NO_BALLOON + full, PC), "rhel5.11")
    assert unresolved(made) == [(REFUSED, "domain")]
    assert made.edits == ()


# --- Refusals and doubts ------------------------------------------------------------------------------


def test_an_expander_is_refused() -> None:
    """A pci-expander-bus exists on i440FX only."""
    made = converted(on_pc(pci(1, "pci-expander-bus", "00:04.0") + nic(1, "01:03.0")))
    assert unresolved(made) == [(REFUSED, "controller[pci 1]")]
    assert made.after is made.domain


def test_a_domain_without_a_type_is_refused() -> None:
    """There is no attribute to write the machine to: one finding, no crash."""
    xml = "<domain type='kvm'><name>t</name><devices/></domain>"
    assert unresolved(converted(xml, machine="q35=pc-q35-8.2")) == [(REFUSED, "domain")]


@pytest.mark.parametrize(
    "asked", [{"machine": "pc=pc-i440fx-8.2"}, {"machine": "", "firmware": "efi", "esp": True}]
)
def test_a_domain_without_a_type_is_refused_in_other_ways_too(asked: dict[str, object]) -> None:
    """The same where board or machine stay."""
    xml = "<domain type='kvm'><name>t</name><devices/></domain>"
    made = converted(xml, **asked)  # type: ignore[arg-type]
    assert made.edits == ()
    assert made.unresolved != ()


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("e1000,bus=pci.0,addr=0x5", True),
        ("e1000,bus=pcie.0,addr=0x5", False),
        ("e1000,bus=pcie.0,id=x -device rtl8139,bus=pci.0", True),
        ("usb-tablet", False),
    ],
)
def test_arguments_that_name_the_old_bus(argument: str, told: bool) -> None:
    """QEMU would not start, as pci.0 is called pcie.0 there: refused, nothing changed."""
    tail = f"  <commandline xmlns='{QEMU}'>\n    <arg value='-device'/>\n    <arg value='{argument}'/>\n  </commandline>\n"
    made = converted(on_pc(tail=tail))
    assert unresolved(made) == [("VF012", "commandline")] * told
    assert bool(made.refused) == told
    assert made.result.decode() == (on_pc(tail=tail) if told else to_q35_type(on_pc(tail=tail)))


def test_properties_of_a_disk_follow_it() -> None:
    """qemu:override names devices by the alias that libvirt makes of the place: ide0-1-0 is sata0-0-2 then."""
    tail = (
        f"  <q:override xmlns:q='{QEMU}'>\n    <q:device alias='ide0-1-0'>\n      <q:frontend>\n"
        "        <q:property name='rotation_rate' type='unsigned' value='1'/>\n      </q:frontend>\n"
        "    </q:device>\n  </q:override>\n"
    )
    made = converted(on_pc(ide("hdc"), tail=tail))
    assert "<q:device alias='sata0-0-2'>" in made.result.decode()
    made = converted(on_pc(ide("hdc"), tail=tail.replace("ide0-1-0", "usb")))
    assert made.refused
    assert made.edits == ()


def test_hotplug_off_of_the_root_goes() -> None:
    """pcie.0 has no hot-plug, and libvirt refuses to hear that it is off."""
    root = "    <controller type='pci' index='0' model='pci-root'>\n      <target hotplug='off'/>\n    </controller>\n"
    assert "hotplug" not in converted(on_pc(root)).result.decode()


def test_disks_that_leave_ide_need_their_driver_at_boot() -> None:
    """Said of hard disks of systems that make an initramfs, unless the owner's word is given."""
    codes = [item.code for item in converted(on_pc(ide("hda")), "rhel7.9").consequences]
    assert {"initramfs", "disk-paths"} <= set(codes)
    assert "initramfs" not in [
        item.code for item in converted(on_pc(ide("hda")), "rhel7.9", driver_bound=True).consequences
    ]
    assert "initramfs" not in [item.code for item in converted(on_pc(), "rhel7.9").consequences]


@pytest.mark.parametrize(
    ("guest", "told"),
    [("winxp", True), ("win7", True), ("win2k8r2", False), ("win10", False), ("rhel6", False)],
)
def test_pci_hole64(guest: str, told: bool) -> None:
    """Windows of that age stumbles over the 64-bit window; whom the policy names, is told."""
    assert unresolved(converted(on_pc(), guest)) == [("VF013", "domain")] * told


@pytest.mark.parametrize(
    ("guest", "devices", "codes"),
    [
        ("rhel6", nic(1), ["restart", "kept", "hotplug", "risk"]),
        ("rhel9.0", nic(1), ["restart", "kept", "hotplug"]),
        ("rhel9.0", "", ["restart"]),
        ("win10", nic(1), ["restart", "kept", "hotplug", "windows-chipset"]),
    ],
)
def test_consequences(guest: str, devices: str, codes: list[str]) -> None:
    """What the owner will notice, and nothing that does not apply."""
    made = converted(on_pc(devices), guest)
    assert [item.code for item in made.consequences] == codes
    kept = [item.text for item in made.consequences if item.code == "kept"]
    assert kept == ["1 PCI device at the same bus, slot and function"] * bool(devices)


# --- Ports --------------------------------------------------------------------------------------------


def test_ports() -> None:
    """--layout ports: virtio behind a root port each, in the guest's order, eight ports a slot; the rest stays."""
    xml = on_pc("".join(disk(name) for name in disk_names(9)) + nic(1, "00:10.0", "e1000"))
    made = converted(xml, "rhel9.0", layout="ports")
    at_now = places(made.after)
    assert at_now[nic_key(1)] == "00:10.0"
    assert [at_now[f"disk[{name}]"] for name in disk_names(9)] == [
        f"{number:02x}:00.0" for number in range(1, 10)
    ]
    assert [at_now[f"controller[pci {number}]"] for number in (1, 2, 8, 9)] == [
        "00:01.0",
        "00:01.1",
        "00:01.7",
        "00:02.0",
    ]
    shared = {dev.index for dev in made.after.devices if dev.multifunction == "on"}
    assert shared == {1}, "the head of eight, and not the one that is alone in its slot"
    assert order(made.after) == order(made.domain)


def test_ports_are_numbered_behind_bridges() -> None:
    """What is behind a bridge stays there with all of its kind; ports take numbers that are free."""
    xml = on_pc(
        pci(1, "pci-bridge", "00:03.0") + disk("vda", "01:01.0") + disk("vdb", "00:05.0") + nic(1, "00:06.0")
    )
    made = converted(xml, "rhel9.0", layout="ports")
    now = places(made.after)
    assert (now["disk[vda]"], now["disk[vdb]"], now[nic_key(1)]) == ("01:01.0", "00:05.0", "02:00.0")


def test_ports_are_refused_for_old_guests() -> None:
    """Behind a port virtio is modern-only, which they do not drive."""
    made = converted(on_pc(disk("vda")), "rhel6", layout="ports")
    assert unresolved(made) == [(REFUSED, "domain")]
    assert made.edits == ()


# --- Bytes --------------------------------------------------------------------------------------------

STRANGE = """\
<?xml version="1.0"?>
<!-- kept: 'quotes' and "quotes" -->
<domain type="kvm"  xmlns:x='http://example.org/x'>
\t<name>  t&#x26;t </name>
\t<x:thing a = '1'><![CDATA[<os>]]></x:thing>
\t<os >
\t\t<type arch="x86_64"   machine="pc-i440fx-6.2" >hvm</type><!-- the machine -->
\t</os>
\t<devices>
\t\t<memballoon model="none"/>
\t\t<controller type="usb" index="0" model='none'/>
\t\t<disk type="file" device="disk"><!-- root --><target dev="hda"
\t\t\tbus="ide"/><unknown/></disk> <!-- beside -->
\t\t<interface type='user'><mac address='52:54:00:00:00:01'/><model type="virtio"/></interface>
\t</devices>
</domain>
<!-- the end -->
"""
STRANGE_AFTER = (
    ('machine="pc-i440fx-6.2"', 'machine="pc-q35-6.2"'),
    ('bus="ide"', 'bus="sata"'),
    ('<model type="virtio"/></interface>', f'<model type="virtio"/>{at("00:02.0")}</interface>'.replace("'", '"')),
)  # fmt: skip


@pytest.mark.parametrize(
    "form", [lambda text: text, lambda text: text.replace("\n", "\r\n")], ids=["line feeds", "CRLF"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_bytes_outside_the_edits_stay(form: Callable[[str], str], encoding: str) -> None:
    """Comments, quotes, blanks, line ends, encoding, foreign elements: all as they were, new text in their style."""
    text = form(STRANGE)
    if encoding.startswith("utf-16"):
        text = text.replace('"1.0"', '"1.0" encoding="utf-16"')
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    made = converted((mark + text).encode(encoding))
    assert made.result == swapped(mark + text, *STRANGE_AFTER).encode(encoding)


def test_new_elements_take_the_line_ends_of_the_file() -> None:
    """A file of CRLF stays one, elements of several lines included."""
    xml = domain("", PC).replace("\n", "\r\n")
    result = converted(xml).result
    assert result.count(b"\r\n") == result.count(b"\n") > xml.count("\n")


# --- Edits as data ------------------------------------------------------------------------------------

MANY = (
    controller("pci", 0, model="pci-root")
    + controller("ide", 0, at("00:01.1"), "piix3")
    + controller("sata", 0, at("00:09.0"))
    + sata("sda")
    + ide("hdc", drive(bus=1), inner="<geometry cyls='1' heads='1' secs='1' trans='lba'/><wwn>5000c50015ea71ad</wwn>")
    + disk("vda")
    + nic(1, "00:1f.0")
    + PIIX3
)  # fmt: skip


@pytest.mark.parametrize("guest", ["rhel6", "rhel5.11", "rhel9.0"])
def test_edits_survive_json(guest: str) -> None:
    """Every kind of edit goes through JSON and back, and a saved plan gives the same bytes."""
    xml = domain(MANY, PC)
    made = converted(xml, guest)
    assert {edit.op for edit in made.edits} == {
        "set-attribute",
        "set-address",
        "add-element",
        "remove-element",
    }
    for edit in made.edits:
        assert decode_edit(json.loads(json.dumps(encode_edit(edit)))) == edit
    saved = json.loads(json.dumps(encode_plan(made, "x.xml")))
    again = replay(xml.encode(), saved)
    assert again.result == made.result
    assert again.edits == made.edits
    assert saved["machine"]["after"] == {"type": Q35, "family": "q35", "firmware": "bios"}


def test_the_second_conversion_has_nothing_to_do() -> None:
    """A domain that is there already stays, byte for byte."""
    once = converted(domain(MANY, PC)).result
    again = converted(once)
    assert again.edits == ()
    assert again.result == once


def test_a_named_type_of_the_same_board() -> None:
    """q35=TYPE for a Q35 domain changes the type and nothing else; the same type changes nothing."""
    xml = to_q35_type(on_pc(disk("vda", "00:03.0")))
    made = converted(xml, machine="q35=pc-q35-8.2")
    assert made.result.decode() == swapped(xml, (Q35, "pc-q35-8.2"))
    assert made.forecast == ()
    assert converted(xml, machine=f"q35={Q35}").edits == ()


# --- The plan checks itself ---------------------------------------------------------------------------


PROVED = on_pc(nic(1, "00:03.0") + nic(2, "00:04.0") + nic(3, "00:05.0", "e1000") + ide("hda"))
CARD = Element("interface", {"type": "user"}, (Element("model", {"type": "e1000"}),))


def _proved(conversion: Conversion) -> None:
    before = read(PROVED)
    found = splices(before, conversion.edits)
    after = read(apply_splices(before.document.source, found))
    prove_conversion(
        before, after, after, conversion, guest=_guest(), unresolved=(), edits=conversion.edits, splices=found
    )


def _made() -> Conversion:
    return to_q35(read(PROVED), _guest(), Q35, Wishes())


def _guest() -> GuestCapabilities:
    guest = policies().find("rhel6")
    assert guest is not None
    return guest


def _with(*edits: Edit) -> Callable[[Conversion], Conversion]:
    return lambda made: made._replace(edits=made.edits + edits)


def _to(number: int, slot: int, now: Address) -> SetAddress:
    return SetAddress(nic_key(number), slot << 3, now, multifunction=False)


def test_a_right_conversion_is_proved() -> None:
    """What to_q35 makes passes."""
    _proved(_made())


@pytest.mark.parametrize(
    ("spoil", "invariant"),
    [
        pytest.param(_with(_to(2, 4, 6 << 3)), 8, id="a device is elsewhere and nobody says so"),
        pytest.param(_with(AddElement("domain/devices", CARD, "interface[?]")), 8, id="a device appeared"),
        pytest.param(lambda made: made._replace(moves=()), 8, id="a controller is gone and nobody says so"),
        pytest.param(_with(_to(1, 3, 6 << 3)), 5, id="the order changes"),
        pytest.param(_with(_to(3, 5, 5 << 3 | 1)), 4, id="a function without function 0"),
    ],
)
def test_a_wrong_conversion_is_refused(spoil: Callable[[Conversion], Conversion], invariant: int) -> None:
    """A bug in the rules is found before anybody sees its result."""
    with pytest.raises(ProofError) as caught:
        _proved(spoil(_made()))
    assert caught.value.invariant == invariant


# --- A property ---------------------------------------------------------------------------------------


@st.composite
def boards(draw: st.DrawFn) -> str:
    """Make an i440FX domain whose devices have places."""
    slots = draw(st.lists(st.integers(2, 0x1E), unique=True, max_size=12))
    devices = ""
    for number, slot in enumerate(slots):
        kind = draw(st.sampled_from(["disk", "virtio", "e1000", "pair"]))
        place = f"00:{slot:02x}.0"
        if kind == "disk":
            devices += disk(disk_names(len(slots))[number], place)
        elif kind == "pair":
            devices += nic(number, place) + nic(100 + number, f"00:{slot:02x}.{draw(st.integers(1, 7))}")
        else:
            devices += nic(number, place, kind)
    if draw(st.booleans()):
        devices += controller("ide", 0, at("00:01.1"))
    units = draw(st.sets(st.integers(0, 3)))
    devices += "".join(
        ide(f"hd{'abcd'[unit]}", drive(bus=unit // 2, unit=unit % 2)) for unit in sorted(units)
    )
    return on_pc(devices)


@given(xml=boards())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_there_and_back(xml: str) -> None:
    """Every device keeps its place, and the way back gives the same bytes."""
    there = converted(xml)
    assert there.unresolved == ()
    before, after = places(there.domain), places(there.after)
    assert {key: after[key] for key in before if key != "controller[ide 0]"} == {
        key: place for key, place in before.items() if key != "controller[ide 0]"
    }
    assert converted(there.result, machine="pc").result.decode() == xml


def test_a_type_of_the_same_board_and_a_cure_in_one_plan() -> None:
    """A Q35 domain gets the type that is named, and what its guest can not drive moves as in any plan."""
    xml = domain(pci(1, "pcie-root-port", "00:02.0") + nic(1, "01:00.0"), "pc-q35-6.2")
    made = converted(xml, machine="q35=pc-q35-8.2")
    assert made.after.machine.name == "pc-q35-8.2"
    assert set(modes(made.after).values()) == {"transitional"}


# --- Boot order, aliases, places of the chipset -------------------------------------------------------


BOOT = "<boot dev='hd'/>\n  </os>"


def orders(made: Plan) -> dict[str, str]:
    """Return what <boot order=''/> says of the devices of the result."""
    return {
        device.key: node.attrs["order"]
        for device in made.after.devices
        if device.node is not None and (node := device.node.find("boot")) is not None
    }


@pytest.mark.parametrize(
    ("devices", "virtio", "named"),
    [
        pytest.param(sata("sdb") + ide("hda"), False, "disk[sdb]", id="a SATA disk came first, the IDE disk would"),
        pytest.param(sata("sdb") + ide("hdc"), False, "", id="sdb stays before hdc"),
        pytest.param(ide("hda") + sata("sdb"), False, "", id="hda stays before sdb"),
        pytest.param(sata("sdb", device="cdrom") + ide("hda"), False, "", id="a CD-ROM is no hard disk"),
        pytest.param(disk("vda", "00:03.0") + ide("hda"), False, "", id="other buses keep the order of the XML"),
        pytest.param(ide("hda") + disk("vda", "00:03.0"), True, "disk[vdb]", id="hda becomes vdb"),
        pytest.param(ide("hda"), True, "", id="hda becomes vda, alone"),
    ],
)  # fmt: skip
def test_the_domain_starts_from_the_same_disk(devices: str, virtio: bool, named: str) -> None:
    """<boot dev='hd'/> is the first hard disk of libvirt's list, which is sorted by target within a bus."""
    xml = on_pc(devices + controller("sata", 0, at("00:07.0")) * ("sata" in devices)).replace("</os>", BOOT)
    made = on_virtio(xml, "rhel7.9") if virtio else converted(xml, "rhel7.9")
    assert not unresolved(made)
    assert (b"<boot dev=" in made.result) is not bool(named)
    assert orders(made) == ({named: "1"} if named else {})
    assert [item.code for item in made.consequences].count("boot-order") == bool(named)


@pytest.mark.parametrize(
    ("boot", "named"), [("", "sdb"), ("<boot order='1'/>", "hda")], ids=["libvirt's default", "by the device"]
)
def test_without_a_boot_device_it_is_the_first_hard_disk(boot: str, named: str) -> None:
    xml = on_pc(controller("sata", 0, at("00:07.0")) + sata("sdb") + ide("hda", inner=boot))
    assert orders(converted(xml, "rhel7.9")) == {f"disk[{named}]": "1"}


def test_each_boot_device_is_named_in_its_order() -> None:
    """Network, CD-ROM and disk, of which one means another device on Q35."""
    disks = sata("sdb") + ide("hda") + ide("hdc", device="cdrom")
    devices = controller("sata", 0, at("00:07.0")) + disks + nic(1, "00:03.0") + nic(2, "00:04.0")
    boots = "<boot dev='network'/>\n    <boot dev='cdrom'/>\n    <boot dev='hd'/>\n  </os>"
    made = converted(on_pc(devices).replace("</os>", boots), "rhel7.9")
    assert b"<boot dev" not in made.result
    assert orders(made) == {nic_key(1): "1", "disk[hdc]": "2", "disk[sdb]": "3"}
    again = replay(made.domain.document.original, json.loads(json.dumps(encode_plan(made, "x.xml"))))
    assert again.result == made.result


def test_properties_of_a_sata_disk_follow_it_to_its_new_number() -> None:
    """The IDE disk gets the alias that the disk of the card had."""
    tail = (
        f"  <q:override xmlns:q='{QEMU}'><q:device alias='sata0-0-1'><q:frontend>"
        "<q:property name='rotation_rate' type='unsigned' value='1'/></q:frontend></q:device></q:override>\n"
    )
    card = controller("sata", 0, at("00:07.0")) + sata("sdb")
    made = converted(on_pc(card + ide("hdb"), tail=tail))
    assert "<q:device alias='sata1-0-1'>" in made.result.decode()


def test_properties_of_an_ide_disk_are_none_of_a_virtio_disk() -> None:
    tail = (
        f"  <q:override xmlns:q='{QEMU}'><q:device alias='ide0-0-0'><q:frontend>"
        "<q:property name='rotation_rate' type='unsigned' value='1'/></q:frontend></q:device></q:override>\n"
    )
    made = on_virtio(on_pc(ide("hda"), tail=tail), "rhel7.9")
    assert unresolved(made) == [("VF012", "commandline")]


def test_a_rotation_rate_goes_with_ide() -> None:
    rotating = ide("hda").replace("bus='ide'", "bus='ide' rotation_rate='1'")
    assert b"rotation_rate" not in on_virtio(on_pc(rotating), "rhel7.9").result
    assert b"rotation_rate" in converted(on_pc(rotating), "rhel7.9").result


def test_a_raw_device_where_q35_has_its_own_is_refused() -> None:
    tail = f"  <q:commandline xmlns:q='{QEMU}'><q:arg value='-device'/><q:arg value='e1000,addr=1f.0'/></q:commandline>\n"
    made = converted(on_pc(tail=tail))
    assert unresolved(made) == [("VF012", "commandline")]
    assert made.edits == ()


def test_a_device_that_libvirt_adds_is_written_down_and_cured_in_one() -> None:
    """A guest that wants disable-modern: the balloon gets its place by the conversion, its alias by the cure."""
    made = converted(on_pc(disk("vda", "00:05.0")).replace(NO_BALLOON, ""), LEGACY_ONLY)
    assert set(modes(made.after).values()) == {"legacy"}
    assert made.result.count(b"<memballoon") == 1
    again = replay(made.domain.document.original, json.loads(json.dumps(encode_plan(made, "x.xml"))))
    assert again.result == made.result


def test_a_function_0_gets_no_port_while_others_stay_in_its_slot() -> None:
    shared = nic(1, "00:05.0").replace("0x0'/></i", "0x0' multifunction='on'/></i") + nic(
        2, "00:05.1", "e1000"
    )
    made = converted(on_pc(shared + disk("vda", "00:06.0")), "fedora38", layout="ports")
    now = places(made.after)
    assert (now[nic_key(1)], now[nic_key(2)]) == ("00:05.0", "00:05.1")
    assert now["disk[vda]"].endswith(":00.0")
