"""Q35 to i440FX, the way back: what sat on pcie.0 keeps its slot, what sat behind ports comes onto pci.0."""

from __future__ import annotations

import json
import re

import pytest
from converting import (
    PC,
    REFUSED,
    controller,
    converted,
    drive,
    ide,
    moved,
    on_pc,
    on_q35,
    sata,
    swapped,
    to_pc_type,
    unresolved,
)
from helpers import (
    BARE,
    NO_BALLOON,
    NO_USB,
    QEMU,
    ROOT,
    at,
    disk,
    domain,
    nic,
    nic_key,
    order,
    pci,
    places,
    port,
    ports,
)

from fixer.domain.devices import drive_seat
from fixer.planning.codec import decode_edit, encode_edit, encode_plan
from fixer.planning.prove import ProofError
from fixer.planning.replay import replay

SAMPLE = ROOT / "samples" / "i440fx-rhel6.xml"


# --- There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_sample_comes_back_byte_by_byte(encoding: str, end: str) -> None:
    """What went to Q35 can go back, whatever its encoding and line ends."""
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + SAMPLE.read_text()
    source = text.replace("\n", end).encode(encoding)
    there = converted(source, None)
    assert there.after.machine.name == "pc-q35-2.11"
    assert converted(there.result, None, "pc").result == source


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param("", id="nothing"),
        pytest.param(disk("vda", "00:03.0") + nic(1, "00:04.0"), id="virtio"),
        pytest.param(controller("pci", 0, model="pci-root"), id="the root"),
        pytest.param(pci(1, "pci-bridge", "00:04.0") + nic(1, "01:03.0"), id="a bridge"),
        pytest.param(ide("hda", drive()) + ide("hdd", drive(bus=1, unit=1)), id="IDE disks"),
        pytest.param(ide("hdc") + controller("ide", 0, at("00:01.1")), id="an IDE controller"),
        pytest.param(controller("sata", 0, at("00:05.0")) + sata("sda", drive()), id="a SATA card"),
        pytest.param(
            controller("sata", 0, at("00:05.0")) + sata("sda", drive()) + ide("hda", drive()), id="a SATA card and IDE"
        ),
    ],
)  # fmt: skip
def test_there_and_back_again(devices: str) -> None:
    """The way back gives the same bytes for all that is not lost on the way there."""
    xml = on_pc(devices)
    assert converted(converted(xml).result, machine="pc").result.decode() == xml


# --- Places -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "now"),
    [
        pytest.param(
            nic(1, "00:03.0") + nic(2, "00:1e.0"), {nic_key(1): "00:03.0", nic_key(2): "00:1e.0"}, id="on pcie.0: kept"
        ),
        pytest.param(port(1, "00:02.0") + disk("vda", "01:00.0"), {"disk[vda]": "00:02.0"}, id="behind a port"),
        pytest.param(
            ports(3) + nic(1, "01:00.0") + nic(2, "02:00.0") + nic(3, "03:00.0"),
            {nic_key(1): "00:02.0", nic_key(2): "00:03.0", nic_key(3): "00:04.0"},
            id="behind ports: in order",
        ),
        pytest.param(
            ports(2) + nic(1, "01:00.0") + nic(2, "02:00.0") + nic(3, "00:05.0"),
            {nic_key(3): "00:05.0", nic_key(1): "00:06.0", nic_key(2): "00:07.0"},
            id="behind what stays of its kind",
        ),
        pytest.param(nic(1, "00:01.0") + disk("vda", "00:03.0"), {nic_key(1): "00:02.0", "disk[vda]": "00:03.0"}, id="slot 1"),
        pytest.param(
            port(1, "00:02.0", "multifunction='on'") + nic(1, "00:02.1") + nic(2, "00:02.2") + nic(3, "01:00.0"),
            {nic_key(1): "00:02.0", nic_key(2): "00:02.2", nic_key(3): "00:03.0"},
            id="function 0 of a slot goes: the next one is function 0",
        ),
        pytest.param(
            pci(1, "pci-bridge", "00:04.0") + nic(1, "01:03.0"),
            {"controller[pci 1]": "00:04.0", nic_key(1): "01:03.0"},
            id="a bridge",
        ),
        pytest.param(
            port(1, "00:02.0") + pci(2, "pci-bridge", "00:04.0") + nic(1, "02:03.0"),
            {"controller[pci 1]": "00:04.0", nic_key(1): "01:03.0"},
            id="a bridge behind a port's number: numbered anew",
        ),
    ],
)  # fmt: skip
def test_places(devices: str, now: dict[str, str]) -> None:
    """Root ports go; what sat behind them comes to free slots, so that each kind stays in order."""
    made = converted(on_q35(devices), machine="pc")
    assert {key: place for key, place in places(made.after).items() if key in now} == now
    assert not [dev for dev in made.after.devices if dev.model == "pcie-root-port"]
    assert order(made.after) == order(made.domain)
    assert made.unresolved == ()


@pytest.mark.parametrize(
    ("devices", "now"),
    [
        pytest.param(
            port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "01:00.0") + disk("vda", "02:01.0"),
            {"controller[pci 1]": "00:02.0", "disk[vda]": "01:01.0"},
            id="behind a port",
        ),
        pytest.param(
            pci(1, "dmi-to-pci-bridge", "00:1e.0") + pci(2, "pci-bridge", "01:01.0") + disk("vda", "02:01.0"),
            {"controller[pci 1]": "00:02.0", "disk[vda]": "01:01.0"},
            id="behind a bridge of DMI",
        ),
    ],
)
def test_bridges_of_q35(devices: str, now: dict[str, str]) -> None:
    """The conventional bus stays, as a pci-bridge on pci.0, with all that sits on it."""
    made = converted(on_q35(devices), machine="pc")
    assert places(made.after) == now
    assert [dev.model for dev in made.after.devices if dev.is_bridge and dev.index] == ["pci-bridge"]


def test_the_name_of_the_old_bridge_goes() -> None:
    """<model name='pcie-pci-bridge'/> is QEMU's name of a device that is there no longer."""
    bridge = pci(2, "pcie-to-pci-bridge", "01:00.0").replace("'><", "'><model name='pcie-pci-bridge'/><", 1)
    made = converted(on_q35(port(1, "00:02.0") + bridge + disk("vda", "02:01.0")), machine="pc")
    assert b"pcie" not in made.result


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param(NO_BALLOON + nic(1, "00:03.0"), id="a port"),
        pytest.param(BARE + nic(1, "00:03.0") + "    <sound model='ich6'/>\n", id="no port"),
        pytest.param(BARE + nic(1, "00:03.0") + nic(2, "", "e1000"), id="a bridge behind a port"),
    ],
)
def test_what_libvirt_adds_to_q35(devices: str) -> None:
    """Ports and bridges that are nowhere in the XML are no reason to fail."""
    made = converted(domain(devices, "pc-q35-6.2"), machine="pc")
    assert places(made.after)[nic_key(1)] == "00:03.0"


def test_an_unaddressed_domain() -> None:
    """The commonest hand-written domain: nothing has an address, all sits behind ports that libvirt makes."""
    made = converted(domain(disk("vda") + nic(1) + nic(2), "pc-q35-6.2"), "rhel9.0", machine="pc")
    assert order(made.after)["net"] == [nic_key(1), nic_key(2)]
    assert all(place.startswith("00:") for place in places(made.after).values())


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param(nic(1, "00:01.0") + nic(2, "00:03.0"), id="two of a kind, the first in slot 1"),
        pytest.param(nic(1, "00:01.0") + nic(2, "00:01.4"), id="two of a kind in slot 1"),
        pytest.param(
            port(1, "00:02.0")
            + pci(2, "pcie-to-pci-bridge", "01:00.0")
            + port(3, "00:03.0")
            + disk("vda", "02:01.0")
            + disk("vdb", "03:00.0"),
            id="one behind a bridge, the next behind a port",
        ),
    ],
)
def test_an_order_that_is_hard_to_keep(devices: str) -> None:
    """It is kept, or the conversion is refused with a reason: it is no bug that a user should report."""
    try:
        made = converted(on_q35(devices), "rhel9.0", machine="pc")
    except ProofError as error:
        pytest.fail(f"told as a bug of virtfix: {error}")
    if made.edits:
        assert order(made.after) == order(made.domain)
    else:
        assert REFUSED in dict(unresolved(made))


@pytest.mark.parametrize(
    ("devices", "now"),
    [
        pytest.param(disk("vda", "02:01.0"), {"disk[vdz]": "01:02.0"}, id="behind the one on the bridge"),
        pytest.param(
            disk("vda", "02:01.0") + nic(1, "02:09.0"),
            {"disk[vdz]": "01:0a.0"},
            id="behind all on the bridge",
        ),
        pytest.param(disk("vda", "02:1f.0"), None, id="the bridge has no slot behind it"),
        pytest.param(nic(1, "02:01.0"), {"disk[vdz]": "00:03.0"}, id="none of its kind there"),
    ],
)
def test_a_device_that_comes_behind_one_on_a_bridge_goes_there_too(
    devices: str, now: dict[str, str] | None
) -> None:
    bridged = port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "01:00.0") + port(3, "00:03.0") + devices
    made = converted(on_q35(bridged + disk("vdz", "03:00.0")), machine="pc")
    if now is None:
        assert unresolved(made) == [(REFUSED, "domain")]
        return
    assert {key: place for key, place in places(made.after).items() if key in now} == now
    assert order(made.after) == order(made.domain)


def test_no_room_behind_its_kind() -> None:
    """Rather none than another order: refused, nothing changed."""
    full = "".join(nic(slot, f"00:{slot:02x}.0") for slot in range(2, 0x1F))
    made = converted(on_q35(full + port(1, "00:1f.4") + nic(99, "01:00.0")), machine="pc")
    assert unresolved(made) == [(REFUSED, "domain")]
    assert made.edits == ()


# --- Storage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (sata("hda"), ide("hda")),
        (sata("hda", drive()), ide("hda", drive())),
        (sata("hdb", drive(unit=1)), ide("hdb", drive(unit=1))),
        (sata("hdc", drive(unit=2)), ide("hdc", drive(bus=1))),
        (sata("hdd", drive(unit=3), device="cdrom"), ide("hdd", drive(bus=1, unit=1), device="cdrom")),
        (
            controller("sata", 0, at("00:1f.2")) + sata("hda"),
            controller("ide", 0, at("00:01.1")) + ide("hda"),
        ),
        (
            controller("sata", 1, at("00:05.0")) + sata("sdg", drive(1)),
            controller("sata", 0, at("00:05.0")) + sata("sdg", drive()),
        ),
        (
            controller("sata", 1, at("00:05.0")) + sata("hda", drive()) + sata("sdg", drive(1, unit=2)),
            controller("sata", 0, at("00:05.0")) + ide("hda", drive()) + sata("sdg", drive(unit=2)),
        ),
    ],
)
def test_the_chipsets_sata_becomes_ide(before: str, after: str) -> None:
    """Disks called hdX came from IDE: port n is place (n / 2, n % 2); cards move up by one number."""
    xml = on_q35(before)
    assert converted(xml, machine="pc").result.decode() == swapped(to_pc_type(xml), (before, after))


@pytest.mark.parametrize("unit", [4, 5])
def test_more_disks_than_ide_has_places(unit: int) -> None:
    """Then the controller becomes a card, with a place on pci.0, and its disks stay SATA."""
    xml = on_q35(sata("sda", drive()) + sata("sdf", drive(unit=unit)))
    made = converted(xml, machine="pc")
    assert made.unresolved == ()
    assert [dev.type for dev in made.after.devices if dev.tag == "disk"] == ["sata", "sata"]
    assert "controller[sata 0]" in places(made.after)


# --- What Q35 alone has -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "device"),
    [
        pytest.param(on_q35("    <iommu model='intel'/>\n"), "iommu[intel]", id="an Intel IOMMU"),
        pytest.param(
            on_q35(pci(1, "pcie-expander-bus", "00:04.0") + port(2, "01:00.0") + nic(1, "02:00.0")),
            "controller[pci 1]",
            id="an expander",
        ),
        pytest.param(
            on_q35()
            .replace("<os>", "<os firmware='efi'>")
            .replace("</type>", "</type><loader secure='yes'/>"),
            "domain",
            id="secure boot",
        ),
    ],
)
def test_what_i440fx_can_not_have(xml: str, device: str) -> None:
    """Refused, nothing changed."""
    made = converted(xml, machine="pc")
    assert unresolved(made) == [(REFUSED, device)]
    assert made.result.decode() == xml


def test_the_watchdog_of_the_chipset_goes() -> None:
    """It is a part of the ICH9, and its going is said; another one stays."""
    other = f"    <watchdog model='i6300esb' action='reset'>{at('00:05.0')}</watchdog>\n"
    itco = "    <watchdog model='itco' action='reset'/>\n"
    xml = on_q35(itco + other)
    made = converted(xml, machine="pc")
    assert made.result.decode() == swapped(to_pc_type(xml), (itco, ""))
    assert ("watchdog[itco]", "removed") in [(change.device, change.mode_after) for change in made.changes]


def test_an_element_goes_with_its_line() -> None:
    """No empty line is left where it was alone."""
    xml = on_q35(port(1, "00:02.0"))
    made = converted(xml, machine="pc")
    assert made.result.decode() == swapped(to_pc_type(xml), (port(1, "00:02.0"), ""))


def test_a_comment_on_the_line_stays_on_a_line_of_its_own() -> None:
    """It must not come to stand beside the element before, of which it says nothing."""
    devices = port(1, "00:02.0").replace("\n", " <!-- the port -->\n")
    made = converted(on_q35(devices), machine="pc")
    assert re.search(r"\n +<!-- the port -->\n", made.result.decode())


def test_edits_survive_json() -> None:
    """Through JSON and back, and a saved plan gives the same bytes."""
    xml = on_q35(
        controller("pci", 0, model="pcie-root")
        + pci(1, "pci-bridge", "00:04.0")
        + port(2, "00:02.0")
        + nic(1, "02:00.0")
        + disk("vda", "01:01.0")
        + sata("sdc", drive(unit=2))
    )
    made = converted(xml, machine="pc")
    assert made.edits
    for edit in made.edits:
        assert decode_edit(json.loads(json.dumps(encode_edit(edit)))) == edit
    saved = json.loads(json.dumps(encode_plan(made, "x.xml")))
    assert replay(xml.encode(), saved).result == made.result
    assert saved["machine"]["after"]["type"] == PC


def test_what_moves_is_told() -> None:
    """Each device that is elsewhere, and each port that goes."""
    made = converted(on_q35(port(1, "00:02.0") + disk("vda", "01:00.0")), machine="pc")
    assert moved(made)["disk[vda]"] == ("01:00.0", "00:02.0")
    assert [(one.device, one.mode_after) for one in made.changes if one.device == "controller[pci 1]"] == [
        ("controller[pci 1]", "removed")
    ]


# --- What would not start -----------------------------------------------------------------------------


def tailed(devices: str, tail: str) -> str:
    return on_q35(devices).replace("</domain>", f"{tail}</domain>")


def raw(argument: str) -> str:
    return f"  <q:commandline xmlns:q='{QEMU}'><q:arg value='-device'/><q:arg value='{argument}'/></q:commandline>\n"


def override(alias: str) -> str:
    return (
        f"  <q:override xmlns:q='{QEMU}'><q:device alias='{alias}'><q:frontend>"
        "<q:property name='x' type='string' value='y'/></q:frontend></q:device></q:override>\n"
    )


ISLAND = port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "01:00.0") + nic(1, "02:03.0")


@pytest.mark.parametrize(
    ("xml", "code"),
    [
        pytest.param(tailed(port(1, "00:02.0"), raw("e1000,bus=pci.1")), "VF012", id="a port that goes"),
        pytest.param(tailed(ISLAND, raw("e1000,bus=pci.2,addr=4")), "VF012", id="a bridge of another number"),
        pytest.param(tailed("", raw("ide-hd,bus=ide.3,drive=x")), "VF012", id="a port of SATA"),
        pytest.param(tailed("", raw("e1000,addr=1.0")), "VF012", id="the place of the PIIX3"),
        pytest.param(tailed(port(1, "00:02.0"), override("pci.1")), "VF012", id="a property of a port"),
        pytest.param(tailed("", override("ide")), "VF012", id="a property of the SATA controller"),
        pytest.param(
            on_q35(port(1, "00:02.0") + nic(1, "01:00.0", inner="<driver iommu='on'/>")), "VF010", id="iommu='on'"
        ),
        pytest.param(
            on_q35().replace("<os>", "<os firmware='efi'><firmware><feature enabled='yes' name='secure-boot'/></firmware>"),
            "VF010",
            id="secure boot by a feature",
        ),
    ],
)  # fmt: skip
def test_what_would_not_start_is_refused(xml: str, code: str) -> None:
    made = converted(xml, "fedora38", "pc")
    assert [found for found, _ in unresolved(made)] == [code]
    assert made.edits == ()


@pytest.mark.parametrize(
    ("alias", "now"),
    [pytest.param("pci.2", "pci.1", id="a bridge"), pytest.param("sata0-0-3", "ide0-1-1", id="a disk")],
)
def test_properties_follow_their_device(alias: str, now: str) -> None:
    made = converted(tailed(ISLAND + sata("hdd"), override(alias)), "fedora38", "pc")
    assert f"alias='{now}'" in made.result.decode()


@pytest.mark.parametrize("place", ["", "00:05.0"])
def test_the_piix3_takes_its_usb_controller_back(place: str) -> None:
    """libvirt takes index 0 of that model nowhere else."""
    usb = controller("usb", 0, at(place), model="piix3-uhci")
    made = converted(on_q35(usb).replace(NO_USB, ""), "fedora38", "pc")
    assert places(made.after)["controller[usb 0]"] == "00:01.2"


@pytest.mark.parametrize("written", [False, True])
def test_a_disk_of_a_sata_card_without_an_address(written: bool) -> None:
    """sdg is the first of the second controller, which becomes the first one of its kind."""
    card = controller("sata", 1, at("00:05.0")) if written else ""
    made = converted(on_q35(card + sata("hda", drive()) + sata("sdg")), "fedora38", "pc")
    assert made.unresolved == ()
    assert "disk[sdg]" in made.after.by_key
    assert drive_seat(made.after.by_key["disk[sdg]"]) == (0, 0)
    assert made.after.by_key["disk[hda]"].type == "ide"
