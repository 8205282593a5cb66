"""The PCI topology: what libvirt accepts, where it puts the rest, how the guest numbers buses."""

from __future__ import annotations

import pytest
from helpers import (
    BARE,
    NO_BALLOON,
    at,
    disk,
    disk_names,
    domain,
    nic,
    nic_key,
    pci,
    places,
    port,
    ports,
    read,
)

from fixer.domain.model import read_domain
from fixer.errors import VirtfixError


def where(devices: str, machine: str = "q35") -> dict[str, str]:
    return places(read(domain(devices, machine)))


def refused(devices: str, machine: str = "q35") -> VirtfixError:
    with pytest.raises(VirtfixError) as caught:
        where(devices, machine)
    return caught.value


def expander(index: int, number: int, place: str) -> str:
    return pci(index, "pcie-expander-bus", place).replace("></con", f"><target busNr='{number}'/></con")


BRIDGE = port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "01:00.0")
DMI = pci(1, "dmi-to-pci-bridge", "00:1e.0") + pci(2, "pci-bridge", "01:01.0")
SWITCH = (
    port(1, "00:02.0")
    + pci(2, "pcie-switch-upstream-port", "01:00.0")
    + pci(3, "pcie-switch-downstream-port", "02:00.0")
)

# --- Addresses that the XML gives ---------------------------------------------------------------------


def test_every_place_on_pcie_0_is_accepted() -> None:
    """Slots 0x01 to 0x1e of the root bus take a device on every function."""
    for slot in range(1, 0x1F):
        for function in range(8):
            place = f"00:{slot:02x}.{function}"
            assert where(BARE + disk("vda", place))["disk[vda]"] == place


@pytest.mark.parametrize(
    ("topology", "place"),
    [
        pytest.param("", "00:1f.1", id="a free function of the chipset's slot"),
        pytest.param("", "00:1f.7", id="the last function of the chipset's slot"),
        pytest.param(BRIDGE, "02:01.0", id="pcie-to-pci-bridge, first slot"),
        pytest.param(BRIDGE, "02:1f.7", id="pcie-to-pci-bridge, last slot"),
        pytest.param(DMI, "01:00.0", id="dmi-to-pci-bridge, slot 0"),
        pytest.param(DMI, "01:1f.0", id="dmi-to-pci-bridge, last slot"),
        pytest.param(DMI, "02:01.0", id="pci-bridge, first slot"),
        pytest.param(DMI, "02:1f.0", id="pci-bridge, last slot"),
        pytest.param(port(1, "00:02.0"), "01:00.0", id="root port"),
        pytest.param(port(1, "00:02.0"), "01:00.7", id="root port, another function"),
        pytest.param(SWITCH, "03:00.0", id="switch downstream port"),
    ],
)
@pytest.mark.parametrize("model", ["", " model='virtio-transitional'", " model='virtio-non-transitional'"])
def test_legal_places(topology: str, place: str, model: str) -> None:
    """An address in the XML may put a virtio device of any model on a conventional or an express bus."""
    assert where(BARE + topology + disk("vda", place, model))["disk[vda]"] == place


@pytest.mark.parametrize(
    ("topology", "place", "code"),
    [
        pytest.param("", "00:1f.0", "address.duplicate", id="the LPC bridge"),
        pytest.param("", "00:1f.2", "address.duplicate", id="SATA"),
        pytest.param("", "00:1f.3", "address.duplicate", id="SMBus"),
        pytest.param(BRIDGE, "02:00.0", "address.bus", id="slot 0 of a pcie-to-pci-bridge"),
        pytest.param(DMI, "02:00.0", "address.bus", id="slot 0 of a pci-bridge"),
        pytest.param(port(1, "00:02.0"), "01:01.0", "address.bus", id="slot 1 of a root port"),
        pytest.param(SWITCH, "03:01.0", "address.bus", id="slot 1 of a downstream port"),
        pytest.param(SWITCH, "02:01.0", "address.bus", id="an upstream port takes downstream ports only"),
        pytest.param(disk("vdb", "00:03.0"), "00:03.0", "address.duplicate", id="another device's"),
        pytest.param(port(1, "00:03.0"), "00:03.0", "address.duplicate", id="a controller's"),
        pytest.param(
            "    <controller type='sata' index='0'>" + at("00:1f.2") + "</controller>\n",
            "00:1f.2",
            "address.duplicate",
            id="SATA that is written",
        ),
    ],
)
def test_illegal_places(topology: str, place: str, code: str) -> None:
    """What libvirt refuses is refused, with the line of the address or of the device that wants it."""
    error = refused(BARE + topology + disk("vda", place))
    assert error.code == code
    assert error.hint


@pytest.mark.parametrize(
    ("devices", "code"),
    [
        pytest.param(
            port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "00:03.0"),
            "address.bus",
            id="p2p bridge on pcie.0",
        ),
        pytest.param(
            BRIDGE + pci(3, "pcie-to-pci-bridge", "02:01.0"), "address.bus", id="p2p bridge behind another"
        ),
        pytest.param(BRIDGE + port(3, "02:01.0"), "address.bus", id="root port behind a conventional bridge"),
        pytest.param(
            port(1, "00:02.0") + port(2, "01:00.0"), "address.bus", id="root port behind a root port"
        ),
        pytest.param(
            pci(1, "pcie-switch-upstream-port", "00:02.0"), "address.bus", id="upstream port on pcie.0"
        ),
        pytest.param(
            pci(1, "pcie-switch-downstream-port", "00:02.0"), "address.bus", id="downstream port on pcie.0"
        ),
        pytest.param(
            BRIDGE + pci(3, "dmi-to-pci-bridge", "02:01.0"), "address.bus", id="dmi bridge not on pcie.0"
        ),
        pytest.param(port(1, "01:00.0"), "address.bus", id="root port behind itself"),
        pytest.param(
            pci(1, "pci-bridge", "02:01.0") + pci(2, "pci-bridge", "01:01.0"),
            "address.ring",
            id="a ring of two",
        ),
        pytest.param(pci(1, "pci-bridge", "01:01.0"), "address.ring", id="a bridge behind itself"),
        pytest.param(
            pci(1, "pci-bridge", "03:01.0")
            + pci(2, "pci-bridge", "01:01.0")
            + pci(3, "pci-bridge", "02:01.0"),
            "address.ring",
            id="a ring of three",
        ),
        pytest.param(pci(256, "pcie-root-port"), "address.room", id="more buses than PCI has"),
        pytest.param(disk("vda", "ff:00.0"), "address.room", id="a bus that would need 255 root ports"),
        pytest.param(
            "".join(disk(name, f"00:{slot:02x}.0") for slot, name in enumerate(disk_names(30), 1))
            + disk("vdx9"),
            "address.room",
            id="pcie.0 is full and libvirt has no place for a root port",
        ),
    ],
)
def test_topologies_that_libvirt_refuses(devices: str, code: str) -> None:
    """Bridges in the wrong place, in a ring, or without room end in an error with a stable code."""
    assert refused(BARE + devices).code == code


def test_the_error_names_line_and_both_parties() -> None:
    """A person finds the line of the second user, its name and the address."""
    error = refused(BARE + disk("vda", "00:03.0") + disk("vdb", "00:03.0"))
    assert (error.code, error.where) == ("address.duplicate", "10")
    assert "disk[vdb]" in error.summary
    assert "0000:00:03.0" in error.summary


# --- Places that libvirt chooses ----------------------------------------------------------------------


@pytest.mark.parametrize("place", ["00:00.0", "00:00.1", "00:00.7"])
def test_slot_zero_means_none(place: str) -> None:
    """Bus 0, slot 0 asks libvirt to choose, whatever the function: a root port for a virtio device."""
    assert where(BARE + disk("vda", place)) == where(BARE + disk("vda"))


def test_a_bus_without_a_controller_grows_root_ports() -> None:
    """An address on a bus that nobody makes has libvirt add root ports up to that index, and no spare one."""
    found = where(BARE + disk("vda", "03:00.0"))
    assert {key: place for key, place in found.items() if "pci" in key} == {
        "controller[pci 1]": "00:01.0",
        "controller[pci 2]": "00:01.1",
        "controller[pci 3]": "00:01.2",
    }
    assert found["disk[vda]"] == "03:00.0"


def test_function_n_without_function_0_is_accepted() -> None:
    """libvirt accepts a function that no guest will see, and uses the rest of that slot for nobody else."""
    found = where(BARE + disk("vda", "00:01.3") + port(1))
    assert (found["disk[vda]"], found["controller[pci 1]"]) == ("00:01.3", "00:02.0")


def test_video_gives_way_to_a_device_in_slot_1() -> None:
    """An unaddressed video device whose slot is taken ends behind a new pcie-to-pci-bridge."""
    video = "    <video><model type='vga'/></video>\n"
    assert where(BARE + video)["video[vga]"] == "00:01.0"
    found = where(BARE + video + disk("vda", "00:01.0"))
    assert (found["disk[vda]"], found["video[vga]"]) == ("00:01.0", "02:01.0")
    assert found["controller[pci 2]"] == "01:00.0"


def test_sound_gives_way_to_a_device_in_slot_1b() -> None:
    """The same for ICH9 sound and slot 0x1b; other sound cards have no place of their own."""
    sound = "    <sound model='ich9'/>\n"
    assert where(BARE + sound)["sound[ich9]"] == "00:1b.0"
    assert where(BARE + sound + disk("vda", "00:1b.0"))["sound[ich9]"] == "02:01.0"
    assert where(BARE + sound.replace("ich9", "ich6"))["sound[ich6]"] == "02:01.0"


def test_a_dmi_bridge_gets_slot_1e_and_the_pci_bridge_hangs_from_it() -> None:
    """libvirt's customary place for the one, its first slot for the other."""
    found = where(BARE + pci(1, "dmi-to-pci-bridge") + pci(2, "pci-bridge"))
    assert (found["controller[pci 1]"], found["controller[pci 2]"]) == ("00:1e.0", "01:00.0")
    taken = where(BARE + pci(1, "dmi-to-pci-bridge") + disk("vda", "00:1e.0"))
    assert taken["controller[pci 1]"] == "00:01.0"


@pytest.mark.parametrize(
    ("model", "bus"),
    [
        pytest.param("virtio", "pcie-root-port", id="virtio is express on Q35"),
        pytest.param("virtio-non-transitional", "pcie-root-port", id="so is modern virtio"),
        pytest.param("e1000e", "pcie-root-port", id="so is an express NIC"),
        pytest.param(
            "virtio-transitional", "pcie-to-pci-bridge", id="transitional asks for a conventional slot"
        ),
        pytest.param("e1000", "pcie-to-pci-bridge", id="so does a conventional NIC"),
    ],
)
def test_an_unaddressed_device_goes_where_its_kind_belongs(model: str, bus: str) -> None:
    """Express devices get a root port each, conventional ones a bridge behind one."""
    layout = read(domain(BARE + nic(1, model=model))).layout
    assert layout is not None
    found = next(device for device in layout.at if device.key == nic_key(1))
    made = layout.bus_of(found)
    assert made is not None
    assert made.model == bus


def test_root_ports_are_packed_as_functions() -> None:
    """Eight root ports share a slot; where video holds slot 1 they start in slot 2."""
    disks = "".join(disk(name) for name in disk_names(10))
    found = where(BARE + disks)
    expected = [f"00:01.{number}" for number in range(8)] + ["00:02.0", "00:02.1", "00:02.2"]
    assert [found[f"controller[pci {index}]"] for index in range(1, 12)] == expected
    assert [found[f"disk[{name}]"] for name in disk_names(10)] == [f"{bus:02x}:00.0" for bus in range(1, 11)]
    beside = where(BARE + "    <video><model type='vga'/></video>\n" + disks)
    assert beside["controller[pci 1]"] == "00:02.0"


def test_existing_ports_are_used_before_new_ones_and_leave_no_spare() -> None:
    """A domain that brings its own ports gets no more than it needs."""
    found = where(BARE + ports(2) + disk("vda") + disk("vdb"))
    assert [key for key in found if "pci" in key] == ["controller[pci 1]", "controller[pci 2]"]
    more = where(BARE + ports(2) + disk("vda") + disk("vdb") + disk("vdc"))
    assert more["controller[pci 3]"] == "00:01.0", "a slot of its own: ports with an address are not packed"


def test_golden_unaddressed_domain() -> None:
    """The whole map of a domain without one address, as libvirt 9.0 makes it (checked by define)."""
    devices = (
        disk("vda")
        + disk("vdb")
        + "    <controller type='scsi' index='0' model='virtio-scsi'/>\n"
        + nic(1)
        + nic(2, model="rtl8139")
        + "    <channel type='pty'><target type='virtio' name='a'/></channel>\n"
        + "    <input type='tablet' bus='virtio'/>\n"
        + "    <graphics type='vnc'/>\n"
        + "    <sound model='ich9'/>\n"
        + "    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"
    )
    assert where(devices) == {
        "controller[sata 0]": "00:1f.2",
        "video[cirrus]": "00:01.0",
        "sound[ich9]": "00:1b.0",
        "controller[pci 1]": "00:02.0",
        "controller[pci 2]": "00:02.1",
        "controller[pci 3]": "01:00.0",
        "controller[pci 4]": "00:02.2",
        "controller[pci 5]": "00:02.3",
        "controller[pci 6]": "00:02.4",
        "controller[pci 7]": "00:02.5",
        "controller[pci 8]": "00:02.6",
        "controller[pci 9]": "00:02.7",
        "controller[pci 10]": "00:03.0",
        "controller[pci 11]": "00:03.1",
        "controller[pci 12]": "00:03.2",
        nic_key(1): "02:00.0",
        nic_key(2): "03:01.0",
        "controller[scsi 0]": "04:00.0",
        "controller[usb 0]": "05:00.0",
        "controller[virtio-serial 0]": "06:00.0",
        "disk[vda]": "07:00.0",
        "disk[vdb]": "08:00.0",
        "memballoon": "09:00.0",
        "rng[/dev/urandom]": "0a:00.0",
        "input[tablet virtio]": "0b:00.0",
    }


def test_i440fx_puts_everything_on_its_one_bus() -> None:
    """No express bus, no ports: slots of pci.0, behind what the PIIX3 holds."""
    found = where(disk("vda") + nic(1) + "    <graphics type='vnc'/>\n", "pc")
    assert found == {
        "controller[usb 0]": "00:01.2",
        "video[cirrus]": "00:02.0",
        nic_key(1): "00:03.0",
        "disk[vda]": "00:04.0",
        "memballoon": "00:05.0",
    }


def test_i440fx_grows_bridges_when_pci_0_is_full() -> None:
    """The thirty-first device has libvirt add a pci-bridge."""
    found = where(NO_BALLOON + "".join(disk(name) for name in disk_names(31)), "pc")
    assert found["controller[pci 1]"].startswith("00:")
    assert sum(place.startswith("01:") for key, place in found.items() if key.startswith("disk")) > 0


def test_disks_are_placed_by_target_name_not_by_line() -> None:
    """libvirt sorts disks by target before it gives addresses."""
    found = where(BARE + disk("vdc") + disk("vda") + disk("vdb"))
    assert [found[f"disk[{name}]"] for name in ("vda", "vdb", "vdc")] == ["01:00.0", "02:00.0", "03:00.0"]


# --- As the guest numbers buses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topology", "numbers"),
    [
        pytest.param(port(1, "00:02.0") + port(2, "00:03.0"), [0, 1, 2], id="as libvirt counts"),
        pytest.param(port(1, "00:03.0") + port(2, "00:02.0"), [0, 2, 1], id="by slot, not by index"),
        pytest.param(
            port(1, "00:02.1") + port(2, "00:02.0", "multifunction='on'") + port(3, "00:01.0"),
            [0, 3, 2, 1],
            id="by function within a slot",
        ),
        pytest.param(
            port(1, "00:02.0") + port(2, "00:03.0") + pci(3, "pcie-to-pci-bridge", "01:00.0"),
            [0, 1, 3, 2],
            id="what hangs from a port comes before the next port",
        ),
        pytest.param(
            port(1, "00:05.0")
            + pci(2, "pcie-switch-upstream-port", "01:00.0")
            + pci(3, "pcie-switch-downstream-port", "02:04.0")
            + pci(4, "pcie-switch-downstream-port", "02:01.0")
            + port(5, "00:03.0"),
            [0, 2, 3, 5, 4, 1],
            id="a switch, depth first",
        ),
        pytest.param(
            expander(1, 200, "00:04.0") + port(2, "01:00.0") + port(3, "00:05.0"),
            [0, 2, 3, 1],
            id="an expander bus comes after the main one",
        ),
        *(
            pytest.param(
                expander(1, first, "00:04.0")
                + expander(2, second, "00:05.0")
                + port(3, "01:00.0")
                + port(4, "02:00.0"),
                [0, 3, 1, 4, 2],
                id=f"of two expanders the last one made comes first: {first} and {second}",
            )
            for first, second in ((100, 200), (200, 100))
        ),
    ],
)
def test_buses_are_numbered_depth_first(topology: str, numbers: list[int]) -> None:
    """The firmware numbers buses by slot, depth first: libvirt's index does not matter."""
    layout = read(domain(BARE + topology)).layout
    assert layout is not None
    assert [bus.number for bus in layout.buses] == numbers


def test_below_an_expander_the_firmware_counts_from_its_number() -> None:
    layout = read(domain(BARE + expander(1, 100, "00:04.0") + port(2, "01:00.0") + port(3, "00:05.0"))).layout
    assert layout is not None
    assert [bus.seen_as for bus in layout.buses] == [0, 100, 101, 1]


def test_order_is_the_guests_not_libvirts() -> None:
    """The disk on the port in the lowest slot is the guest's first, whatever it is called."""
    found = read(
        domain(
            BARE
            + port(1, "00:04.0")
            + port(2, "00:03.0")
            + port(3, "00:02.0")
            + disk("vda", "01:00.0")
            + disk("vdb", "02:00.0")
            + disk("vdc", "03:00.0")
            + disk("vdd", "00:1e.0")
        )
    )
    assert [device.key for device in found.by_driver["block"]] == [
        "disk[vdd]",
        "disk[vdc]",
        "disk[vdb]",
        "disk[vda]",
    ]


def test_top_is_the_bridge_on_the_root_bus() -> None:
    """Each bus knows the address on pcie.0 that leads to it; root buses have none."""
    layout = read(domain(BARE + SWITCH)).layout
    assert layout is not None
    port_at = 2 << 3
    assert layout.top == [None, port_at, port_at, port_at]
    assert [device.key for _, device in layout.children(1)] == ["controller[pci 2]"]
    assert layout.unreachable() == []


def test_a_full_pci_0_has_no_slot_for_the_bridge_that_libvirt_adds() -> None:
    """libvirt: too many devices with fixed addresses; no controller of the XML is to blame."""
    nics = "".join(
        f"<interface type='user'><mac address='52:54:00:00:00:{slot:02x}'/><model type='virtio'/>"
        f"<address type='pci' domain='0x0000' bus='0x00' slot='0x{slot:02x}' function='0x0'/></interface>"
        for slot in range(2, 32)
    )
    xml = f"<domain type='kvm'><os><type machine='pc-i440fx-6.2'>hvm</type></os><devices>{nics}</devices></domain>"
    with pytest.raises(VirtfixError) as error:
        read_domain(xml.encode()).modes  # noqa: B018
    assert error.value.code == "address.room"
    assert "no slot left for the PCI bridge" in str(error.value)
