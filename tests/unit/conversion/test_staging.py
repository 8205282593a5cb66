"""Two steps for guests that have to meet their disk controller first."""

from __future__ import annotations

import json

import pytest
from converting import (
    PC,
    REFUSED,
    controller,
    converted,
    drive,
    ide,
    on_pc,
    sata,
    swapped,
    to_q35_type,
    unresolved,
)
from helpers import BARE, at, disk, domain, nic, pci, places

from fixer.planning.codec import encode_plan
from fixer.planning.replay import replay

BOOT = ide("hda", drive())
HELPER = """\
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <target dev='sdz' bus='sata'/>
      <readonly/>
      <serial>virtfix-helper</serial>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/>
    </disk>
    <controller type='sata' index='0'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x1f' function='0x0'/>
    </controller>
"""


def first(devices: str = BOOT, guest: str = "win7", **asked: object) -> bytes:
    return converted(on_pc(devices), guest, staged=True, **asked).result  # type: ignore[arg-type]


# --- Who needs no two steps ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guest", "devices"),
    [
        pytest.param("rhel6", BOOT, id="a guest with AHCI"),
        pytest.param("win10", BOOT, id="a Windows with AHCI"),
        pytest.param("win7", disk("vda", "00:03.0"), id="a disk that is on virtio"),
        pytest.param("win7", ide("hda", device="cdrom"), id="a CD drive only"),
    ],
)
def test_one_step(guest: str, devices: str) -> None:
    """--staged makes no difference to guests that find their disk anyway."""
    assert converted(on_pc(devices), guest, staged=True).result == converted(on_pc(devices), guest).result
    assert converted(on_pc(devices), guest, staged=True).after.machine.name == "pc-q35-6.2"


def test_who_can_not_learn_is_refused() -> None:
    """Windows XP has no driver to load: two steps would end in front of a dead disk."""
    for asked in ({}, {"staged": True}, {"driver_bound": True}, {"staged": True, "driver_bound": True}):
        made = converted(on_pc(BOOT), "winxp", **asked)  # type: ignore[arg-type]
        assert unresolved(made) == [(REFUSED, "disk[hda]")]
        assert made.edits == ()


# --- The first step -----------------------------------------------------------------------------------


def test_the_first_step_adds_the_helper_and_nothing_else() -> None:
    """The old machine stays, with a controller in its last slot and an empty drive on it."""
    xml = on_pc(BOOT + nic(1))
    made = converted(xml, "win7", staged=True)
    assert made.result.decode() == swapped(xml, ("  </devices>", HELPER + "  </devices>"))
    assert places(made.after).items() >= places(made.domain).items()
    assert [item.code for item in made.consequences] == ["restart", "stage"]
    assert made.forecast == ()


def test_the_first_step_leaves_the_firmware() -> None:
    """A step between is no place to change the firmware: the guest starts as it did."""
    assert first(firmware="efi", esp=True).decode() == swapped(
        on_pc(BOOT), ("  </devices>", HELPER + "  </devices>")
    )


@pytest.mark.parametrize(
    ("devices", "key", "place", "target"),
    [
        pytest.param(nic(1, "00:1f.0"), "controller[sata 0]", "00:1e.0", "sdz", id="the last slot is taken"),
        pytest.param(
            controller("sata", 0, at("00:05.0")) + sata("sdz", drive()), "controller[sata 1]", "00:1f.0", "sdy", id="a card"
        ),
        pytest.param(controller("sata", 3, at("00:05.0")), "controller[sata 0]", "00:1f.0", "sdz", id="a card of number 3"),
    ],
)  # fmt: skip
def test_where_the_helper_goes(devices: str, key: str, place: str, target: str) -> None:
    """A free slot, the lowest free number (libvirt fills gaps below a disk), a target name that no disk has."""
    made = converted(on_pc(BOOT + devices), "win7", staged=True)
    assert places(made.after)[key] == place
    assert f"disk[{target}]" in made.after.by_key
    number = key.removeprefix("controller[sata ").removesuffix("]")
    assert f"<address type='drive' controller='{number}'" in made.result.decode()


def test_no_slot_for_the_helper() -> None:
    """A full bus is refused."""
    full = pci(1, "pci-bridge", "00:02.0") + "".join(nic(slot, f"00:{slot:02x}.0") for slot in range(3, 0x20))
    made = converted(on_pc(BOOT + full), "win7", staged=True)
    assert unresolved(made) == [(REFUSED, "domain")]
    assert made.edits == ()


def test_the_first_step_is_taken_once() -> None:
    """Asked again, it says what to do now, and adds no second helper."""
    made = converted(first(), "win7", staged=True)
    assert made.edits == ()
    ((code, device),) = unresolved(made)
    assert (code, device) == (REFUSED, "domain")
    assert "--driver-bound" in made.unresolved[0].why


def test_without_the_word_of_the_owner_nothing_is_converted() -> None:
    """The helper alone proves nothing: whether the guest has run with it virtfix can not see."""
    made = converted(first(), "win7")
    assert unresolved(made) == [(REFUSED, "disk[hda]")]
    assert made.edits == ()


# --- The second step ----------------------------------------------------------------------------------


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize(
    "devices",
    [
        pytest.param(BOOT, id="a disk"),
        pytest.param(BOOT + nic(1, "00:03.0") + disk("vda", "00:04.0"), id="and others"),
        pytest.param(BOOT + nic(1, "00:1f.0"), id="the last slot is taken"),
    ],
)
def test_the_second_step_converts_and_takes_the_helper_away(devices: str, staged: bool) -> None:
    """What comes out is what one step would have made, of a guest that had the driver."""
    made = converted(first(devices), "win7", staged=staged, driver_bound=True)
    assert made.result == converted(on_pc(devices), "win7", driver_bound=True).result
    assert b"virtfix-helper" not in made.result
    assert unresolved(made) == [("VF013", "domain")]


def test_the_second_step_leaves_a_card_of_the_owner() -> None:
    """Only the helper's controller goes; a card keeps place and disks."""
    devices = BOOT + controller("sata", 0, at("00:05.0")) + sata("sda", drive())
    made = converted(first(devices), "win7", driver_bound=True)
    assert made.result == converted(on_pc(devices), "win7", driver_bound=True).result
    assert places(made.after)["controller[sata 1]"] == "00:05.0"


def test_a_disk_that_was_put_on_the_helper_stays() -> None:
    """The drive goes, its controller stays as long as another disk hangs from it."""
    used = (
        first()
        .decode()
        .replace("    <controller type='sata'", sata("sdb", drive(unit=1)) + "    <controller type='sata'")
    )
    made = converted(used, "win7", driver_bound=True)
    assert "disk[sdz]" not in made.after.by_key
    assert places(made.after)["controller[sata 1]"] == "00:1f.1"
    assert sata("sdb", drive(1, unit=1)) in made.result.decode()


def test_a_driver_that_is_bound_without_a_helper() -> None:
    """The owner may have done it in another way."""
    made = converted(on_pc(BOOT), "win7", driver_bound=True)
    assert made.result.decode() == swapped(to_q35_type(on_pc(BOOT)), ("bus='ide'", "bus='sata'"))


@pytest.mark.parametrize("text", ["", "\r\n"])
def test_both_steps_through_json(text: str) -> None:
    """A saved plan of either step gives the same bytes, the text of <serial> included."""
    xml = domain(BARE + BOOT, PC)
    data = xml.replace("\n", text).encode() if text else xml.encode()
    for asked in ({"staged": True}, {"driver_bound": True}):
        made = converted(data, "win7", **asked)  # type: ignore[arg-type]
        assert made.edits
        assert replay(data, json.loads(json.dumps(encode_plan(made, "x.xml")))).result == made.result
        data = made.result
    assert data == converted(xml.replace("\n", text) if text else xml, "win7", driver_bound=True).result
