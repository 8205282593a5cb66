"""Free places, and their rank in the order of the guest."""

from __future__ import annotations

import pytest
from helpers import BARE, disk, disk_names, domain, pci, port, ports, read

from fixer.domain.devices import short_address
from fixer.domain.places import FIRST, LAST, Places

BRIDGE = port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "01:00.0")
ALL_SLOTS = list(range(1, 0x1F))


def places(devices: str) -> Places:
    return Places(read(domain(BARE + devices)))


def full(first: int = 1, last: int = 0x1E) -> str:
    return "".join(
        disk(name, f"00:{slot:02x}.0")
        for slot, name in zip(range(first, last + 1), disk_names(30), strict=False)
    )


@pytest.mark.parametrize(
    ("devices", "taken"),
    [
        pytest.param("", set(), id="slots 0 and 1f are never free"),
        pytest.param(disk("vda", "00:03.0"), {3}, id="a device's"),
        pytest.param(disk("vda", "00:03.0") + disk("vdb", "00:03.1"), {3}, id="two functions of a slot"),
        pytest.param(BRIDGE + disk("vda", "02:05.0"), {2}, id="devices on other buses take none"),
        pytest.param(disk("vda"), {1}, id="ports that libvirt will add are counted"),
        pytest.param("    <video><model type='vga'/></video>\n", {1}, id="unaddressed video has slot 1"),
        pytest.param("    <sound model='ich9'/>\n", {0x1B}, id="unaddressed ICH9 sound has slot 1b"),
        pytest.param(pci(1, "dmi-to-pci-bridge"), {0x1E}, id="an unaddressed dmi bridge has slot 1e"),
        pytest.param(full(), set(ALL_SLOTS), id="none left"),
    ],
)
def test_free_slots(devices: str, taken: set[int]) -> None:
    """A slot is free where neither the XML, nor the chipset, nor libvirt's choice puts anything."""
    assert places(devices).free_slots() == [slot for slot in ALL_SLOTS if slot not in taken]


def test_a_place_that_is_taken_is_free_no_more() -> None:
    """take() uses up function and slot."""
    desk = places("")
    desk.plan_root(2, spare=0)
    first = desk.on_root(FIRST, LAST)
    assert first is not None
    desk.take(first.address)
    second = desk.on_root(FIRST, LAST)
    assert second is not None
    assert second.rank > first.rank
    assert first.address >> 3 not in desk.free_slots()


def planned(devices: str, count: int, spare: int = 0) -> list[str]:
    desk = places(devices)
    desk.plan_root(count, spare=spare)
    found = []
    while (spot := desk.on_root(FIRST, LAST)) is not None:
        desk.take(spot.address)
        found.append(short_address(spot.address))
    return found


@pytest.mark.parametrize(
    ("devices", "count", "expected"),
    [
        pytest.param("", 3, ["00:02.0", "00:03.0", "00:04.0"], id="a slot each; slot 1 is left for video"),
        pytest.param(disk("vda", "00:03.0"), 2, ["00:02.0", "00:04.0"], id="around what is there"),
        pytest.param(full(1, 0x1C), 2, ["00:1d.0", "00:1e.0"], id="the last two"),
        pytest.param(full(2, 0x1E), 1, ["00:01.0"], id="slot 1 where no other is left"),
        pytest.param(full(1, 0x1D), 3, ["00:1e.0", "00:1e.1", "00:1e.2"], id="functions where slots run out"),
        pytest.param(full(), 1, [], id="nothing where all is full"),
    ],
)
def test_the_root_bus_is_laid_out(devices: str, count: int, expected: list[str]) -> None:
    """Slots first, in order; functions only where slots do not suffice."""
    assert planned(devices, count)[:count] == expected


@pytest.mark.parametrize("count", [31, 60, 120, 240])
def test_as_few_slots_as_will_do_are_packed(count: int) -> None:
    """Many devices are laid out in ascending order, the last slots with eight functions each."""
    found = planned("", count)
    slots = [place[3:5] for place in found]
    packed = {slot for slot in slots if slots.count(slot) == 8}
    assert len(found) >= count
    assert found == sorted(found)
    assert len(found) - 7 < count or not packed, "one packed slot less would not have sufficed"
    assert all(slots.count(slot) in {1, 8} for slot in slots)


def test_slots_are_kept_for_bridges() -> None:
    """``spare`` slots, the last ones, stay out of the plan."""
    assert "00:1e.0" in planned("", 30)
    assert not [place for place in planned("", 40, spare=2) if place[3:5] in {"1d", "1e"}]


def test_ranks_bound_the_search() -> None:
    """Only places between the two ranks are offered, the ends excluded."""
    desk = places("")
    desk.plan_root(5, spare=0)
    low, high = desk.rank(3 << 3), desk.rank(5 << 3)
    spot = desk.on_root(low, high)
    assert spot is not None
    assert short_address(spot.address) == "00:04.0"
    assert desk.on_root(low, desk.rank(4 << 3)) is None


def test_ranks_sort_as_the_guest_enumerates() -> None:
    """The root bus first, then buses by the place of the bridge that leads to them."""
    desk = places(
        port(1, "00:05.0")
        + port(2, "00:02.0")
        + pci(3, "pcie-to-pci-bridge", "02:00.0")
        + disk("vda", "01:00.0")
        + disk("vdb", "03:01.0")
        + disk("vdc", "03:1f.0")
        + disk("vdd", "00:1e.0")
    )
    ranks = {
        device.key: desk.rank(address) for device, address in desk.layout.at.items() if device.tag == "disk"
    }
    assert sorted(ranks, key=lambda key: ranks[key]) == ["disk[vdd]", "disk[vdb]", "disk[vdc]", "disk[vda]"]
    assert all(FIRST < rank < LAST for rank in ranks.values())


@pytest.mark.parametrize(
    ("devices", "hotplug", "expected"),
    [
        pytest.param("", False, [], id="none"),
        pytest.param(port(1, "00:02.0"), False, [], id="a root port is none"),
        pytest.param("    <sound model='ich6'/>\n", False, [], id="one that libvirt would add"),
        pytest.param(BRIDGE, False, [2], id="pcie-to-pci-bridge"),
        pytest.param(BRIDGE, True, [2], id="pcie-to-pci-bridge is hot-pluggable"),
        pytest.param(
            pci(1, "dmi-to-pci-bridge", "00:1e.0") + pci(2, "pci-bridge", "01:01.0"),
            False,
            [1, 2],
            id="dmi and pci bridge",
        ),
        pytest.param(
            pci(1, "dmi-to-pci-bridge", "00:1e.0") + pci(2, "pci-bridge", "01:01.0"),
            True,
            [2],
            id="a dmi bridge is not hot-pluggable",
        ),
        pytest.param(
            port(1, "00:05.0")
            + port(2, "00:02.0")
            + pci(3, "pcie-to-pci-bridge", "01:00.0")
            + pci(4, "pcie-to-pci-bridge", "02:00.0"),
            False,
            [4, 3],
            id="in the order of the guest",
        ),
    ],
)
def test_existing_bridges(devices: str, hotplug: bool, expected: list[int]) -> None:
    """Conventional buses of the XML, those that can be hot-plugged where that is asked for."""
    assert [bus.index for bus in places(devices).bridges(hotplug=hotplug)] == expected


def test_the_slots_of_a_bridge_run_out() -> None:
    """A bridge offers slots 1 to 31, those in use and those taken left out."""
    desk = places(BRIDGE + disk("vda", "02:01.0"))
    (bus,) = desk.bridges(hotplug=False)
    found = []
    while (spot := desk.on_bridge(bus, FIRST, LAST)) is not None:
        desk.take(spot.address)
        found.append(short_address(spot.address))
    assert found == [f"02:{slot:02x}.0" for slot in range(2, 32)]


@pytest.mark.parametrize(
    ("devices", "beside", "expected"),
    [
        pytest.param("", False, "00:02.0", id="the first free slot; slot 1 is left for video"),
        pytest.param(port(1, "00:1a.0"), False, "00:1c.0", id="slot 1b is left for sound"),
        pytest.param(port(1, "00:05.0"), False, "00:06.0", id="behind every other bridge"),
        pytest.param(ports(3), True, "00:02.3", id="a free function beside root ports costs no slot"),
        pytest.param(ports(3), False, "00:03.0", id="unless that is not wanted"),
        pytest.param(port(1, "00:02.0"), True, "00:03.0", id="not beside a port without multifunction"),
        pytest.param(
            ports(3) + disk("vda", "00:02.7"), True, "00:03.0", id="not beside another kind of device"
        ),
        pytest.param(port(1, "00:1e.0"), False, "00:1d.0", id="before it, where nothing is free behind"),
        pytest.param(full(), False, None, id="nothing where all is full"),
    ],
)
def test_a_place_for_a_new_bridge(devices: str, beside: bool, expected: str | None) -> None:
    """A new bridge goes behind the others, so that its devices come last; else where there is room."""
    address = next(places(devices).new_ports(beside=beside), None)
    assert (None if address is None else short_address(address)) == expected


def test_new_controllers_get_an_index_that_nothing_uses() -> None:
    """The next index is above all that the XML names: controllers, and buses of addresses."""
    assert places("").next_index == 1
    assert places(port(4, "00:02.0")).next_index == 5
    assert places(disk("vda", "07:00.0")).next_index == 8
