"""Plans of small domains: which remedy, which place, what is left alone and what is said."""

from __future__ import annotations

import pytest
from helpers import (
    BARE,
    LEGACY_ONLY,
    NO_USB,
    QEMU,
    STRATEGIES,
    at,
    bus_model,
    check_invariants,
    disk,
    disk_names,
    domain,
    modes,
    nic,
    nic_key,
    order,
    pci,
    places,
    plan,
    port,
    ports,
    read,
    remedies,
)

from fixer.domain.edits import AddElement, SetAddress, SetAttribute
from fixer.errors import VirtfixError
from fixer.findings import Code

BRIDGE = port(1, "00:02.0") + pci(2, "pcie-to-pci-bridge", "01:00.0")
ON_PORT = port(1, "00:02.0") + disk("vda", "01:00.0")


def on_ports(count: int) -> str:
    """Return ``count`` disks, each on a root port of its own."""
    return ports(count) + "".join(
        disk(name, f"{bus:02x}:00.0") for bus, name in enumerate(disk_names(count), 1)
    )


# --- Nothing to do ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "os"),
    [
        pytest.param(domain(on_ports(3)), "fedora24", id="Fedora 24 speaks virtio 1.0"),
        pytest.param(domain(on_ports(3), uefi=True), "win10", id="Windows 10 does too"),
        pytest.param(domain(disk("vda") + nic(1)), "rhel8", id="modern, without addresses"),
        pytest.param(domain(disk("vda") + nic(1), "pc"), "rhel6", id="i440FX has no express bus"),
        pytest.param(domain(disk("vda") + nic(1), "pc-i440fx-rhel7.0.0"), "rhel6", id="i440FX, versioned"),
        pytest.param(domain(BARE), "rhel6", id="no virtio device"),
        pytest.param(
            domain(BARE + disk("vda", "00:03.0") + nic(1, "00:04.0")), "rhel6", id="integrated already"
        ),
        pytest.param(domain(BARE + BRIDGE + disk("vda", "02:01.0")), "rhel6", id="behind a bridge already"),
        pytest.param(
            domain(BARE + disk("vda", "", " model='virtio-transitional'")), "rhel6", id="transitional already"
        ),
        pytest.param(
            domain(BARE + nic(1, model="e1000e") + nic(2, model="rtl8139")), "rhel6", id="emulated NICs"
        ),
        pytest.param(
            domain("    <garbage pci='yes'/>\n", "virt"), "rhel6", id="another architecture's board"
        ),
        pytest.param(domain(on_ports(2), "microvm"), "rhel6", id="microvm"),
        pytest.param(
            domain(BARE + disk("vda", "00:03.0")), None, id="nobody names the guest, and none would need more"
        ),
        pytest.param(domain(BARE + on_ports(1)).replace("\n", "\r\n"), "fedora24", id="CRLF"),
        pytest.param("\ufeff" + domain(BARE), "rhel6", id="a byte order mark"),
    ],
)
@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_who_needs_nothing_gets_the_same_bytes(xml: str, os: str | None, strategy: str | None) -> None:
    """Invariant 1, whatever remedy is asked for."""
    made = plan(xml, os, strategy=strategy)
    assert made.result == xml.encode()
    assert (made.edits, made.changes, made.unresolved, made.pending) == ((), (), (), False)
    assert made.digest_before == made.digest_after


@pytest.mark.parametrize(
    ("machine", "said"), [("virt", "virt"), ("microvm", "microvm"), ("isapc", "isapc"), ("none", "none")]
)
def test_a_machine_that_is_not_judged_is_skipped_with_the_reason(machine: str, said: str) -> None:
    """What was not looked at is said, not passed over in silence."""
    (skip,) = plan(domain(on_ports(1), machine)).skips
    assert said in skip.reason


def test_an_unknown_guest_is_an_error_only_where_it_matters() -> None:
    """Without a guest, a domain that even a legacy guest could use needs no answer; another one does."""
    assert plan(domain(BARE + disk("vda", "00:03.0")), None).skips[0].subject == "guest"
    with pytest.raises(VirtfixError) as caught:
        plan(domain(BARE + disk("vda")), None)
    assert caught.value.code == "guest.unknown"
    with pytest.raises(VirtfixError) as caught:
        plan(domain(BARE + disk("vda", "00:03.0")), "rhel6x")
    assert caught.value.code == "os-unknown"
    assert "rhel6" in caught.value.hint


@pytest.mark.parametrize(("assume", "pending"), [("modern", False), ("legacy", True)])
def test_assume_stands_in_for_a_guest_that_nobody_names(assume: str, pending: bool) -> None:
    """--assume says what the XML does not."""
    made = plan(domain(BARE + disk("vda")), None, assume=assume)
    assert (made.pending, made.guest.how) == (pending, "assumed")


def test_the_metadata_names_the_guest() -> None:
    """libosinfo's id in the XML is used where no --os is given."""
    metadata = (
        "  <metadata><l:libosinfo xmlns:l='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
        "<l:os id='http://redhat.com/rhel/6.9'/></l:libosinfo></metadata>\n"
    )
    made = plan(domain(BARE + on_ports(1), head=metadata), None)
    assert (made.guest.id, made.guest.how, made.pending) == ("rhel6.9", "metadata", True)


# --- Which remedy -------------------------------------------------------------------------------------


def test_integrated_is_the_default() -> None:
    """The cheapest remedy takes no I/O window and taints nothing."""
    xml = domain(BARE + on_ports(2) + nic(1))
    made = plan(xml)
    check_invariants(xml, made)
    assert set(remedies(made).values()) == {"integrated"}
    assert set(modes(made.after).values()) == {"transitional"}
    assert all(change.address_after.startswith("00:") for change in made.changes)


@pytest.mark.parametrize(
    ("strategy", "bus", "model", "override"),
    [
        ("integrated", "pcie-root", "virtio", False),
        ("bridge", "pcie-to-pci-bridge", "virtio", False),
        ("transitional", "pcie-to-pci-bridge", "virtio-transitional", False),
        ("override", "pcie-root-port", "virtio", True),
    ],
)
@pytest.mark.parametrize(
    "devices", [on_ports(2), disk("vda") + disk("vdb")], ids=["addressed", "unaddressed"]
)
def test_each_strategy(strategy: str, bus: str, model: str, override: bool, devices: str) -> None:
    """--strategy forces one remedy, which leaves its mark in place, model or override, and no other."""
    xml = domain(BARE + devices)
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    assert set(remedies(made).values()) == {strategy}
    for key in ("disk[vda]", "disk[vdb]"):
        assert bus_model(made.after, key) == bus
        assert made.after.by_key[key].model == model
    assert (made.after.qemu("override") is not None) is override
    assert any(consequence.code == "taint" for consequence in made.consequences) is override


def test_a_strategy_can_be_for_one_kind() -> None:
    """The site forces a remedy for one kind of device; the others take the cheapest."""
    made = plan(domain(BARE + on_ports(1) + nic(1)), strategy_by_kind={"net": "bridge"})
    assert remedies(made) == {"disk[vda]": "integrated", nic_key(1): "bridge"}


def test_what_the_site_forbids_is_not_done() -> None:
    """A forbidden remedy gives way to the next cheapest."""
    xml = domain(BARE + on_ports(1))
    assert remedies(plan(xml, forbid=frozenset({"integrated"}))) == {"disk[vda]": "bridge"}
    made = plan(xml, forbid=frozenset(STRATEGIES))
    assert made.result == xml.encode()
    assert [finding.device for finding in made.unresolved] == ["disk[vda]"]
    assert "forbids" in made.unresolved[0].why


def test_prices_decide() -> None:
    """The weights of the site make another remedy the cheapest."""
    xml = domain(BARE + on_ports(1))
    weights = {
        "integrated": 50,
        "bridge": 40,
        "transitional": 30,
        "override": 60,
        "io-window": 2,
        "address-change": 1,
    }
    assert remedies(plan(xml, weights=weights)) == {"disk[vda]": "transitional"}
    assert remedies(plan(xml, weights={**weights, "override": 20})) == {"disk[vda]": "override"}
    assert remedies(plan(xml, weights={**weights, "override": 20, "io-window": 100})) == {
        "disk[vda]": "integrated"
    }


def test_all_offers_are_listed_with_price_or_refusal() -> None:
    """--explain shows what else could have been done."""
    (change,) = plan(domain(BARE + on_ports(1)), all_offers=True).changes
    assert sorted(offer.remedy for offer in change.others) == ["bridge", "override", "transitional"]
    assert all(offer.price > change.price for offer in change.others)


# --- Order --------------------------------------------------------------------------------------------


def test_moved_disks_go_behind_those_that_stay_before_them() -> None:
    """Disks at slots 3 and 7 of pcie.0 come first for the guest, and still do when others join them."""
    fixed = disk("vda", "00:03.0") + disk("vdb", "00:07.0")
    moving = ports(2, slot=8) + disk("vdc", "01:00.0") + disk("vdd", "02:00.0")
    xml = domain(BARE + fixed + moving)
    made = plan(xml)
    check_invariants(xml, made)
    assert order(made.after)["block"] == ["disk[vda]", "disk[vdb]", "disk[vdc]", "disk[vdd]"]
    found = places(made.after)
    assert (found["disk[vda]"], found["disk[vdb]"]) == ("00:03.0", "00:07.0")
    assert found["disk[vdb]"] < found["disk[vdc]"] < found["disk[vdd]"] < "00:1f"


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_the_guests_order_counts_not_the_names(strategy: str | None) -> None:
    """Ports in another order than their disks' names: the guest's vda stays its vda."""
    xml = domain(
        BARE
        + port(1, "00:05.0")
        + port(2, "00:04.0")
        + port(3, "00:03.0")
        + disk("vda", "01:00.0")
        + disk("vdb", "02:00.0")
        + disk("vdc", "03:00.0")
    )
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    assert order(made.after)["block"] == ["disk[vdc]", "disk[vdb]", "disk[vda]"]


@pytest.mark.parametrize(
    ("strategy", "remedy", "bus"),
    [
        pytest.param(None, "bridge", "pcie-to-pci-bridge", id="the cheapest that keeps the order"),
        pytest.param("integrated", "bridge", "pcie-to-pci-bridge", id="integrated is not feasible"),
        pytest.param("bridge", "bridge", "pcie-to-pci-bridge", id="bridge"),
        pytest.param("transitional", "transitional", "pcie-to-pci-bridge", id="transitional"),
        pytest.param("override", "override", "pcie-root-port", id="override"),
    ],
)
def test_behind_a_fixed_device_behind_a_bridge(strategy: str | None, remedy: str, bus: str) -> None:
    """A disk that follows one behind a bridge can not go to pcie.0, which the guest sees before any bridge."""
    xml = domain(BARE + BRIDGE + port(3, "00:03.0") + disk("vda", "02:01.0") + disk("vdb", "03:00.0"))
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    assert remedies(made) == {"disk[vdb]": remedy}
    assert bus_model(made.after, "disk[vdb]") == bus
    assert places(made.after)["disk[vda]"] == "02:01.0"


def test_a_full_bridge_gets_a_second_one_behind() -> None:
    """Where the bridge before it has no slot left, a new one follows it."""
    names = disk_names(32)
    fixed = "".join(disk(name, f"02:{slot:02x}.0") for slot, name in enumerate(names[:31], 1))
    xml = domain(BARE + BRIDGE + port(3, "00:03.0") + fixed + disk(names[31], "03:00.0"))
    made = plan(xml)
    check_invariants(xml, made)
    assert remedies(made) == {"disk[vdaf]": "bridge"}
    assert places(made.after)["disk[vdaf]"] == "05:01.0"


def test_devices_of_different_drivers_need_no_common_order() -> None:
    """A NIC behind a bridge does not keep a disk off pcie.0."""
    made = plan(domain(BARE + BRIDGE + port(3, "00:03.0") + nic(1, "02:01.0") + disk("vdb", "03:00.0")))
    assert remedies(made) == {"disk[vdb]": "integrated"}


def test_a_transitional_disk_without_an_address_is_pinned_among_movers() -> None:
    """libvirt would place it anew; the disks that move need it to stay where it is in the order."""
    xml = domain(BARE + disk("vda") + disk("vdb", "", " model='virtio-transitional'") + disk("vdc"))
    made = plan(xml)
    check_invariants(xml, made)
    assert order(made.after)["block"] == order(read(xml))["block"]


# --- Many devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [29, 31, 60, 120, 200, 239])
def test_many_disks_are_packed(count: int) -> None:
    """Slots first, then functions; all transitional, all in order."""
    xml = domain(BARE + "".join(disk(name) for name in disk_names(count)))
    made = plan(xml)
    check_invariants(xml, made)
    assert len(made.changes) == count
    assert not made.unresolved
    assert order(made.after)["block"] == [f"disk[{name}]" for name in disk_names(count)]


def test_function_0_of_a_packed_slot_says_multifunction() -> None:
    """The guest looks at functions 1 to 7 only where function 0 announces them."""
    made = plan(domain(BARE + "".join(disk(name) for name in disk_names(100))))
    heads = {}
    for device in made.after.modes:
        assert device.address is not None
        heads.setdefault(device.address >> 3, {})[device.address & 7] = device
    shared = [slot for slot in heads.values() if len(slot) > 1]
    assert shared
    assert all(slot[0].multifunction == "on" for slot in shared)


def test_300_disks_are_refused_as_libvirt_refuses_them() -> None:
    """More root ports than pcie.0 has functions: one clear error."""
    with pytest.raises(VirtfixError) as caught:
        plan(domain(BARE + "".join(disk(name) for name in disk_names(300))))
    assert caught.value.code == "address.room"


def test_300_disks_behind_bridges_are_planned() -> None:
    """Modern models on conventional buses: any number, without a move."""
    bridges = "".join(
        port(index * 2 + 1, f"00:{index + 2:02x}.0")
        + pci(index * 2 + 2, "pcie-to-pci-bridge", f"{index * 2 + 1:02x}:00.0")
        for index in range(9)
    )
    disks = "".join(
        disk(
            name, f"{n // 248 * 2 + 2:02x}:{n % 248 // 8 + 1:02x}.{n % 8}", " model='virtio-non-transitional'"
        )
        for n, name in enumerate(disk_names(300))
    )
    xml = domain(BARE + bridges + disks, uefi=True)
    made = plan(xml)
    check_invariants(xml, made)
    assert len(made.changes) + len(made.unresolved) >= 300


# --- Hot-plug -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("block",), ("net",), ("block", "net")], ids="+".join)
def test_kinds_that_must_stay_hot_pluggable_are_kept_off_pcie_0(kinds: tuple[str, ...]) -> None:
    """--hotplug puts a kind behind a bridge; the others take the cheapest."""
    xml = domain(BARE + ports(4) + disk("vda", "01:00.0") + disk("vdb", "02:00.0") + nic(1, "03:00.0"))
    made = plan(xml, hotplug=kinds)
    check_invariants(xml, made, hotplug=kinds)
    for device in made.after.modes:
        bus = bus_model(made.after, device.key)
        assert bus == ("pcie-to-pci-bridge" if device.driver in kinds else "pcie-root"), device.key


def test_hot_plug_wants_no_dmi_bridge() -> None:
    """An existing dmi-to-pci-bridge is of no use to it; the pci-bridge behind one is."""
    dmi = pci(1, "dmi-to-pci-bridge", "00:1e.0")
    xml = domain(BARE + dmi + port(2, "00:02.0") + disk("vda", "02:00.0"))
    assert bus_model(plan(xml, hotplug=["block"]).after, "disk[vda]") == "pcie-to-pci-bridge"
    with_pci_bridge = xml.replace(dmi, dmi + pci(3, "pci-bridge", "01:01.0"))
    assert bus_model(plan(with_pci_bridge, hotplug=["block"]).after, "disk[vda]") == "pci-bridge"


# --- Bridges ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["bridge", "transitional"])
def test_an_existing_bridge_is_used_first(strategy: str) -> None:
    """No controller is added while a conventional bridge has room."""
    xml = domain(BARE + BRIDGE + ports(2, 3, 4) + disk("vda", "03:00.0") + disk("vdb", "04:00.0"))
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    assert [places(made.after)[key] for key in ("disk[vda]", "disk[vdb]")] == ["02:01.0", "02:02.0"]
    assert not [edit for edit in made.edits if isinstance(edit, AddElement)]


def test_a_new_bridge_is_a_port_and_a_bridge_behind_it() -> None:
    """pcie-to-pci-bridge sits behind a root port, with explicit indexes and addresses."""
    made = plan(domain(BARE + ON_PORT), strategy="bridge")
    added = [edit.element for edit in made.edits if isinstance(edit, AddElement)]
    assert [(element.attrs["model"], element.attrs["index"]) for element in added] == [
        ("pcie-root-port", "2"),
        ("pcie-to-pci-bridge", "3"),
    ]
    found = places(made.after)
    assert found["controller[pci 3]"] == "02:00.0"
    assert found["disk[vda]"] == "03:01.0"


def test_the_older_pair_of_bridges() -> None:
    """Where the site says so, dmi-to-pci-bridge and pci-bridge, for a QEMU that lacks the other."""
    xml = domain(BARE + ON_PORT)
    asked = {"strategy": "bridge", "bridge_model": "dmi-to-pci-bridge"}
    made = plan(xml, **asked)
    check_invariants(xml, made, **asked)
    added = [edit.element.attrs["model"] for edit in made.edits if isinstance(edit, AddElement)]
    assert added == ["dmi-to-pci-bridge", "pci-bridge"]
    assert bus_model(made.after, "disk[vda]") == "pci-bridge"


def test_32_devices_get_two_bridges() -> None:
    """A bridge has 31 slots; the thirty-second device opens another behind it."""
    xml = domain(BARE + "".join(disk(name) for name in disk_names(32)))
    made = plan(xml, strategy="bridge")
    check_invariants(xml, made, strategy="bridge")
    used = {places(made.after)[f"disk[{name}]"][:2] for name in disk_names(32)}
    assert len(used) == 2


# --- I/O windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uefi", "count", "overrides"),
    [
        pytest.param(True, 9, 9, id="OVMF, as many as there is room for"),
        pytest.param(True, 10, 9, id="OVMF, one too many"),
        pytest.param(True, 24, 9, id="OVMF, many too many"),
        pytest.param(False, 14, 14, id="SeaBIOS, as many as there is room for"),
        pytest.param(False, 15, 14, id="SeaBIOS, one too many"),
        pytest.param(False, 24, 14, id="SeaBIOS, many too many"),
    ],
)
def test_overrides_stay_within_the_firmwares_windows(uefi: bool, count: int, overrides: int) -> None:
    """Each override costs a window; those for which there is none go elsewhere, and the order stays."""
    xml = domain(BARE + on_ports(count), uefi=uefi)
    made = plan(xml, strategy="override")
    check_invariants(xml, made, strategy="override")
    taken = list(remedies(made).values())
    assert taken.count("override") == overrides
    assert taken.count("integrated") == count - overrides
    assert sum(made.after.io_windows.values()) == overrides


def test_windows_that_others_use_count() -> None:
    """Eight e1000e on ports leave OVMF one window."""
    nics = "".join(nic(number, f"{number:02x}:00.0", "e1000e") for number in range(1, 9))
    xml = domain(BARE + ports(10) + nics + disk("vda", "09:00.0") + disk("vdb", "0a:00.0"), uefi=True)
    made = plan(xml, strategy="override")
    check_invariants(xml, made, strategy="override")
    assert sorted(remedies(made).values()) == ["integrated", "override"]


def test_a_domain_that_starves_already_is_told_so() -> None:
    """Ten e1000e on ports are one too many for OVMF, before any plan: said, and not made worse."""
    nics = "".join(nic(number, f"{number:02x}:00.0", "e1000e") for number in range(1, 11))
    xml = domain(BARE + ports(11) + nics + disk("vda", "0b:00.0"), uefi=True)
    made = plan(xml)
    check_invariants(xml, made)
    assert [finding.code for finding in made.unresolved] == [Code.IO_WINDOWS]
    assert nic_key(1) in made.unresolved[0].device


# --- What is not written ------------------------------------------------------------------------------


def test_the_implicit_balloon_is_written_down() -> None:
    """No <memballoon> means that a modern-only one is about to appear."""
    xml = domain(NO_USB)
    made = plan(xml)
    check_invariants(xml, made)
    (edit,) = made.edits
    assert isinstance(edit, AddElement)
    assert (edit.element.name, edit.element.attrs, edit.key) == (
        "memballoon",
        {"model": "virtio"},
        "memballoon",
    )
    assert modes(made.after)["memballoon"] == "transitional"
    assert any(item.code == "implicit" and item.devices == ("memballoon",) for item in made.consequences)


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
@pytest.mark.parametrize("element", ["channel", "console"])
def test_the_implicit_serial_controller_is_written_down(element: str, strategy: str | None) -> None:
    """A channel or console of type virtio brings a controller, which needs a place too."""
    xml = domain(BARE + f"    <{element} type='pty'><target type='virtio'/></{element}>\n")
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    assert modes(made.after)["controller[virtio-serial 0]"] == "transitional"
    assert "<controller type='virtio-serial' index='0'" in made.result.decode()


@pytest.mark.parametrize(
    "xml",
    [
        pytest.param(
            "<domain type='kvm'><os><type machine='q35'>hvm</type></os></domain>", id="no <devices>"
        ),
        pytest.param(
            "<domain type='kvm'><os><type machine='q35'>hvm</type></os><devices/></domain>", id="<devices/>"
        ),
        pytest.param(
            "<domain type='kvm'>\n  <os>\n    <type machine='q35'>hvm</type>\n  </os>\n</domain>\n",
            id="indented",
        ),
    ],
)
@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_a_domain_without_devices_gets_its_balloon_placed(xml: str, strategy: str | None) -> None:
    """Even an empty domain has one virtio device."""
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    assert modes(made.after) == {"memballoon": "transitional"}


# --- Models, properties, security ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "key"),
    [
        pytest.param(disk("vda", "00:03.0", " model='virtio-non-transitional'"), "disk[vda]", id="disk"),
        pytest.param(nic(1, "00:03.0", "virtio-non-transitional"), nic_key(1), id="interface"),
        pytest.param(
            f"    <controller type='scsi' index='0' model='virtio-non-transitional'>{at('00:03.0')}</controller>\n",
            "controller[scsi 0]",
            id="scsi controller",
        ),
    ],
)
def test_a_modern_model_in_the_right_place_changes_its_model_only(device: str, key: str) -> None:
    """The address is right: only the word changes."""
    xml = domain(BARE + device)
    made = plan(xml)
    check_invariants(xml, made)
    assert made.result.decode() == xml.replace("virtio-non-transitional", "virtio-transitional")
    assert remedies(made) == {key: "transitional"}


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_a_modern_model_on_a_port(strategy: str | None) -> None:
    """A move alone does not cure it: the model changes too, to one that allows the override where that is used."""
    xml = domain(BARE + port(1, "00:02.0") + disk("vda", "01:00.0", " model='virtio-non-transitional'"))
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    expected = "virtio" if strategy == "override" else "virtio-transitional"
    assert made.after.by_key["disk[vda]"].model == expected


@pytest.mark.parametrize(
    ("device", "tail", "said"),
    [
        pytest.param(disk("vda", "01:00.0", inner="<driver iommu='on'/>"), "", "iommu", id="iommu='on'"),
        pytest.param(disk("vda", "01:00.0"), "  <launchSecurity type='sev'/>\n", "sev", id="SEV"),
        pytest.param(disk("vda", "01:00.0"), "  <launchSecurity type='tdx'/>\n", "tdx", id="TDX"),
    ],
)
def test_what_needs_virtio_1_is_said_and_left(device: str, tail: str, said: str) -> None:
    """Such a device can not serve a legacy guest: unresolved, with the reason, and untouched."""
    xml = domain(BARE + port(1, "00:02.0") + device, tail=tail)
    made = plan(xml)
    check_invariants(xml, made)
    assert made.result == xml.encode()
    assert [(finding.device, finding.code) for finding in made.unresolved] == [
        ("disk[vda]", Code.NEEDS_MODERN)
    ]
    assert said in made.unresolved[0].why


def test_a_device_that_needs_virtio_1_does_not_stop_the_others() -> None:
    """The rest is planned around it."""
    xml = domain(BARE + ports(2) + disk("vda", "01:00.0", inner="<driver iommu='on'/>") + nic(1, "02:00.0"))
    made = plan(xml)
    check_invariants(xml, made)
    assert remedies(made) == {nic_key(1): "integrated"}
    assert [finding.device for finding in made.unresolved] == ["disk[vda]"]


@pytest.mark.parametrize(
    ("device", "key", "code"),
    [
        pytest.param("<input type='tablet' bus='virtio'/>", "input[tablet virtio]", Code.NO_DRIVER, id="input"),
        pytest.param("<video><model type='virtio'/></video>", "video[virtio]", Code.NO_DRIVER, id="gpu"),
        pytest.param("<vsock model='virtio'/>", "vsock", Code.NO_DRIVER, id="vsock"),
        pytest.param("<filesystem><target dir='t'/></filesystem>", "filesystem[t]", Code.NO_DRIVER, id="9p"),
        pytest.param("<filesystem><driver type='virtiofs'/><target dir='t'/></filesystem>", "filesystem[t]",
                     Code.NO_DRIVER, id="virtiofs"),
    ],
)  # fmt: skip
def test_a_kind_without_a_driver_is_said_and_left(device: str, key: str, code: Code) -> None:
    """RHEL 6 has no driver for it, and no place changes that."""
    xml = domain(BARE + f"    {device}\n")
    made = plan(xml)
    check_invariants(xml, made)
    assert made.result == xml.encode()
    assert [(finding.device, finding.code) for finding in made.unresolved] == [(key, code)]


def test_a_function_0_does_not_leave_its_slot() -> None:
    """Others of its slot would vanish from the guest: it is cured where it sits."""
    head = "<address type='pci' bus='0x01' slot='0x00' multifunction='on'/>"
    xml = domain(BARE + port(1, "00:02.0") + disk("vda", inner=head) + nic(1, "01:00.1", "e1000"))
    made = plan(xml)
    check_invariants(xml, made)
    assert remedies(made) == {"disk[vda]": "override"}
    assert "function 0" in made.changes[0].why


def test_a_whole_slot_may_move_together() -> None:
    """Where all functions of a slot are cured, none is left behind."""
    head = "<address type='pci' bus='0x01' slot='0x00' multifunction='on'/>"
    xml = domain(BARE + port(1, "00:02.0") + disk("vda", inner=head) + disk("vdb", "01:00.1"))
    made = plan(xml)
    check_invariants(xml, made)
    assert remedies(made) == {"disk[vda]": "integrated", "disk[vdb]": "integrated"}


@pytest.mark.parametrize("place", ["00:03.2", "00:03.7"])
def test_a_hidden_function_is_brought_to_light(place: str) -> None:
    """A function without function 0 is transitional, and nobody sees it: it moves."""
    xml = domain(BARE + disk("vda", place))
    made = plan(xml)
    check_invariants(xml, made)
    assert [finding.code for finding in made.findings] == [Code.HIDDEN_FUNCTION]
    assert places(made.after)["disk[vda]"].endswith(".0")


def test_a_property_that_outlives_a_move_is_set_where_it_stands() -> None:
    """disable-legacy=on makes a device modern on any bus: only the property itself cures it."""
    tail = (
        f"  <qemu:override xmlns:qemu='{QEMU}'>\n    <qemu:device alias='ua-a'><qemu:frontend>"
        "<qemu:property name='disable-legacy' type='string' value='on'/></qemu:frontend></qemu:device>\n"
        "  </qemu:override>\n"
    )
    xml = domain(BARE + disk("vda", "00:03.0", inner="<alias name='ua-a'/>"), tail=tail)
    made = plan(xml)
    check_invariants(xml, made)
    assert made.result.decode() == xml.replace("value='on'", "value='off'")


def property_tail(value: str) -> str:
    """Return an override of disable-legacy for the alias ua-a."""
    return (
        f"  <qemu:override xmlns:qemu='{QEMU}'>\n    <qemu:device alias='ua-a'><qemu:frontend>"
        f"<qemu:property name='disable-legacy' type='string' value='{value}'/></qemu:frontend></qemu:device>\n"
        "  </qemu:override>\n"
    )


UA = "<alias name='ua-a'/>"
CCW = "<address type='ccw'/>"


@pytest.mark.parametrize(
    ("xml", "os", "strategy"),
    [
        pytest.param(
            domain(BARE + f"    <rng model='virtio'>{at('00:04.0')}</rng>\n" + disk("vda")),
            LEGACY_ONLY,
            None,
            id="a transitional device that a legacy-only guest does not drive",
        ),
        pytest.param(
            domain(BARE + disk("vda", "00:03.3")),
            "rhel6",
            "override",
            id="an override shows no hidden function",
        ),
        pytest.param(
            domain(BARE + disk("vda", "00:03.3", inner=UA), tail=property_tail("off")),
            "rhel6",
            "override",
            id="a hidden function that has the override already",
        ),
        pytest.param(
            domain(BARE + disk("vda") + disk("vdb", inner=UA), tail=property_tail("off")),
            "rhel6",
            "bridge",
            id="a disk that is right on an implicit port, behind one that moves to a bridge",
        ),
        pytest.param(
            domain(BARE + disk("vda") + disk("vdb", inner=UA), tail=property_tail("on")),
            "rhel6",
            "bridge",
            id="a disk without an address that no move cures",
        ),
        pytest.param(
            domain(BARE + disk("vda", inner=CCW) + disk("vdb")),
            "rhel6",
            None,
            id="an address that is none of PCI's",
        ),
        pytest.param(
            domain(BARE + disk("vda", "", " model='virtio-non-transitional'", CCW)),
            "rhel6",
            None,
            id="a modern model with an address that is none of PCI's",
        ),
    ],
)
def test_domains_that_are_hard_to_plan(xml: str, os: str, strategy: str | None) -> None:
    """Found by the property tests: planned, or said to be unresolved, and stable; never an error of ours."""
    made = plan(xml, os, strategy=strategy)
    check_invariants(xml, made, os, strategy=strategy)


# --- Guests that want legacy only ---------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
@pytest.mark.parametrize(
    ("devices", "machine"),
    [
        pytest.param(disk("vda", "00:03.0"), "q35", id="integrated"),
        pytest.param(BRIDGE + disk("vda", "02:01.0"), "q35", id="behind a bridge"),
        pytest.param(ON_PORT, "q35", id="on a port"),
        pytest.param(disk("vda"), "q35", id="without an address"),
        pytest.param(port(1, "00:02.0") + disk("vda", "01:00.0", " model='virtio-transitional'"), "q35",
                     id="a transitional model"),
        pytest.param(disk("vda", "00:03.0", " model='virtio-non-transitional'"), "q35", id="a modern model"),
        pytest.param(disk("vda", "00:03.0"), "pc", id="i440FX offers virtio 1.0 too"),
    ],
)  # fmt: skip
def test_a_legacy_only_guest_gets_no_virtio_1(devices: str, machine: str, strategy: str | None) -> None:
    """disable-modern=on, with disable-legacy=off where the device stays on a port."""
    xml = domain(BARE + devices, machine)
    made = plan(xml, LEGACY_ONLY, strategy=strategy)
    check_invariants(xml, made, LEGACY_ONLY, strategy=strategy)
    assert modes(made.after) == {"disk[vda]": "legacy"}
    assert "<qemu:property name='disable-modern' type='bool' value='true'/>" in made.result.decode()
    assert made.after.by_key["disk[vda]"].variant == "", "the property does not exist on the other types"


# --- The text of an override --------------------------------------------------------------------------

PROPERTY = "<{p}:property name='disable-legacy' type='string' value='off'/>"
ALIASED = disk("vda", "01:00.0", inner="<alias name='{}'/>")


def override_of(xml: str) -> str:
    made = plan(xml, strategy="override")
    check_invariants(xml, made, strategy="override")
    return made.result.decode()


def test_an_override_is_written_with_namespace_and_alias() -> None:
    """The whole of it: xmlns:qemu on the root, a stable alias, the block as the last child."""
    xml = domain(BARE + ON_PORT)
    expected = (
        xml.replace("<domain type='kvm'>", f"<domain type='kvm' xmlns:qemu='{QEMU}'>")
        .replace(at("01:00.0") + "</disk>", at("01:00.0") + "<alias name='ua-virtfix-disk-vda'/></disk>")
        .replace(
            "</domain>",
            "  <qemu:override>\n"
            "    <qemu:device alias='ua-virtfix-disk-vda'>\n"
            "      <qemu:frontend>\n"
            "        <qemu:property name='disable-legacy' type='string' value='off'/>\n"
            "      </qemu:frontend>\n"
            "    </qemu:device>\n"
            "  </qemu:override>\n"
            "</domain>",
        )
    )
    assert override_of(xml) == expected


def test_a_users_alias_is_kept() -> None:
    """An alias that begins with ua- is the user's, and serves."""
    xml = domain(BARE + port(1, "00:02.0") + ALIASED.format("ua-root"))
    found = override_of(xml)
    assert "<alias name='ua-root'/>" in found
    assert "<qemu:device alias='ua-root'>" in found
    assert "virtfix" not in found


def test_libvirts_alias_is_replaced() -> None:
    """An alias of a running domain's XML does not survive define."""
    xml = domain(BARE + port(1, "00:02.0") + ALIASED.format("virtio-disk0"))
    found = override_of(xml)
    assert "<alias name='ua-virtfix-disk-vda'/>" in found
    assert found.count("<alias ") == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "<qemu:device alias='ua-b'/>",
            "<qemu:device alias='ua-b'/>\n    <qemu:device alias='ua-a'>\n      <qemu:frontend>\n        "
            + PROPERTY.format(p="qemu")
            + "\n      </qemu:frontend>\n    </qemu:device>",
            id="another device's entry stays, ours joins it",
        ),
        pytest.param(
            "<qemu:device alias='ua-a'><qemu:frontend><qemu:property name='x' type='bool' value='true'/></qemu:frontend>"
            "</qemu:device>",
            "<qemu:device alias='ua-a'><qemu:frontend><qemu:property name='x' type='bool' value='true'/>"
            + PROPERTY.format(p="qemu")
            + "</qemu:frontend></qemu:device>",
            id="our device's entry gets a property",
        ),
        pytest.param(
            "<qemu:device alias='ua-a'><qemu:frontend/></qemu:device>",
            "<qemu:device alias='ua-a'><qemu:frontend>"
            + PROPERTY.format(p="qemu")
            + "</qemu:frontend></qemu:device>",
            id="an empty frontend is filled",
        ),
        pytest.param(
            "<qemu:device alias='ua-a'></qemu:device>",
            "<qemu:device alias='ua-a'>\n      <qemu:frontend>\n        "
            + PROPERTY.format(p="qemu")
            + "\n      </qemu:frontend>\n    </qemu:device>",
            id="an empty device is filled",
        ),
        pytest.param(
            "<qemu:device alias='ua-a'><qemu:frontend>"
            "<qemu:property name='disable-legacy' type='string' value='auto'/></qemu:frontend></qemu:device>",
            "<qemu:device alias='ua-a'><qemu:frontend>"
            + PROPERTY.format(p="qemu")
            + "</qemu:frontend></qemu:device>",
            id="a property that is there gets another value",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["qemu", "q"])
def test_an_existing_override_is_extended(before: str, after: str, prefix: str) -> None:
    """What the owner overrides stays; the prefix of the file is used, whatever it is."""

    def document(inner: str) -> str:
        inner = inner.replace("qemu:", f"{prefix}:")
        tail = f"  <{prefix}:override>\n    {inner}\n  </{prefix}:override>\n"
        devices = BARE + port(1, "00:02.0") + ALIASED.format("ua-a")
        return domain(devices, tail=tail).replace("<domain ", f"<domain xmlns:{prefix}='{QEMU}' ")

    assert override_of(document(before)) == document(after)


def test_a_prefix_that_is_bound_to_something_else() -> None:
    """Where xmlns:qemu is bound to another namespace, the plan does not break what uses it."""
    xml = domain(BARE + ON_PORT).replace("<domain ", "<domain xmlns:qemu='http://example.com/other' ")
    xml = xml.replace("  <os>", "  <metadata><qemu:mine/></metadata>\n  <os>")
    made = plan(xml, strategy="override")
    assert modes(made.after) == {"disk[vda]": "transitional"}
    (metadata,) = made.after.root.findall("metadata")
    assert metadata.children_in("http://example.com/other", "mine", made.after.root.attrs)


# --- The plan as a value ------------------------------------------------------------------------------


def test_edits_say_what_was_and_what_shall_be() -> None:
    """An edit carries its own precondition."""
    made = plan(domain(BARE + ON_PORT))
    assert made.edits == (SetAddress("disk[vda]", 1 << 8, 3 << 3, multifunction=False),)
    made = plan(domain(BARE + disk("vda", "00:03.0", " model='virtio-non-transitional'")))
    assert made.edits == (
        SetAttribute("disk[vda]", "model", "virtio-non-transitional", "virtio-transitional"),
    )


def test_a_change_says_mode_and_place_before_and_after() -> None:
    """What the report's table is made of."""
    (change,) = plan(domain(BARE + ON_PORT)).changes
    assert (change.mode_before, change.mode_after) == ("modern-only", "transitional")
    assert (change.address_before, change.address_after, change.listed) == ("01:00.0", "00:03.0", True)
    (change,) = plan(domain(BARE + disk("vda"))).changes
    assert (change.address_before, change.listed) == ("01:00.0", False)


def test_findings_name_the_line_of_the_policy() -> None:
    """Evidence is a file and a line."""
    (finding,) = plan(domain(BARE + ON_PORT)).findings
    assert (finding.code, finding.device) == (Code.MODERN_ONLY, "disk[vda]")
    name, _, line = finding.evidence.rpartition(":")
    assert name.endswith("rhel.yaml")
    assert line.isdigit()


@pytest.mark.parametrize(
    ("xml", "asked", "codes"),
    [
        pytest.param(domain(BARE + ON_PORT, uefi=True), {}, {"restart", "disk-names", "uefi-entries", "hotplug"},
                     id="a disk moves under UEFI"),
        pytest.param(domain(BARE + ON_PORT), {}, {"restart", "disk-names", "hotplug"}, id="a disk moves under BIOS"),
        pytest.param(domain(BARE + port(1, "00:02.0") + nic(1, "01:00.0")), {}, {"restart", "nic-names", "hotplug"},
                     id="a NIC moves"),
        pytest.param(domain(BARE + ON_PORT), {"strategy": "override"}, {"restart", "taint", "io-windows"},
                     id="nothing moves"),
        pytest.param(domain(BARE + ON_PORT), {"strategy": "bridge"},
                     {"restart", "disk-names", "hotplug-bridge", "io-windows"}, id="behind a bridge"),
        pytest.param(domain(BARE + ON_PORT), {"os": "win2k8r2"}, {"restart", "windows-disks", "hotplug"}, id="Windows"),
    ],
)  # fmt: skip
def test_consequences(xml: str, asked: dict[str, str], codes: set[str]) -> None:
    """What guest and owner will notice is said, and nothing else."""
    assert {item.code for item in plan(xml, **asked).consequences} == codes


# --- Comments beside elements -------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
@pytest.mark.parametrize(
    "line",
    [
        "{disk}<!-- a --></disk> <!-- b -->\n",
        "{disk} <!-- a --></disk>{nic}<!-- b -->\n",
        "<!-- a -->{disk}<!-- b --><!-- c --></disk><!-- d --> <!-- e -->\n",
    ],
)
def test_an_edit_stays_within_its_element(line: str, strategy: str | None) -> None:
    """A comment inside of a device is none that stands behind it, however many share the line."""
    text = line.format(disk=disk("vda").strip().removesuffix("</disk>"), nic=nic(1).strip())
    xml = domain(BARE + "    " + text)
    made = plan(xml, strategy=strategy)
    check_invariants(xml, made, strategy=strategy)
    assert modes(made.after)["disk[vda]"] == "transitional"
    devices = made.after.root.find("devices")
    assert devices is not None
    assert {child.name for child in devices.children} <= {"disk", "interface", "memballoon", "controller"}


# --- Functions of one slot ----------------------------------------------------------------------------


def test_no_function_0_leaves_others_behind() -> None:
    """The second disk finds no place, so the first one, which is its function 0, must not go either."""
    shared = port(1, "00:02.0") + disk("vda", "01:00.0", inner="") + disk("vdb", "01:00.1")
    xml = domain(BARE + shared.replace("0x0'/></disk>", "0x0' multifunction='on'/></disk>", 1))
    for strategy in (None, *STRATEGIES):
        made = plan(xml, strategy=strategy, hotplug=("block",))
        check_invariants(xml, made, strategy=strategy, hotplug=("block",))
        heads = {place[:-2] for place in places(made.after).values() if place.endswith(".0")}
        assert {place[:-2] for key, place in places(made.after).items() if key.startswith("disk")} <= heads


# --- Bridges ------------------------------------------------------------------------------------------


def test_a_new_bridge_where_the_old_one_is_too_small() -> None:
    """Slot 1 before vdd would take one disk of three, and leave the others without a remedy."""
    bridge = port(4, "00:05.0") + pci(5, "pcie-to-pci-bridge", "04:00.0")
    on = port(1, "00:02.0") + port(2, "00:03.0") + port(3, "00:04.0")
    disks = "".join(disk(f"vd{name}", f"{bus:02x}:00.0") for bus, name in enumerate("abc", 1))
    xml = domain(BARE + on + bridge + disks + disk("vdd", "05:02.0"))
    made = plan(xml, hotplug=("block",))
    check_invariants(xml, made, hotplug=("block",))
    assert made.unresolved == ()
    assert set(modes(made.after).values()) == {"transitional"}
    assert order(made.after) == order(read(xml))


def test_a_bridge_behind_an_empty_port_where_pcie_0_is_full() -> None:
    """Every slot of pcie.0 holds a card but one, which holds ports; the last port is empty."""
    cards = "".join(nic(slot, f"00:{slot:02x}.0", "e1000") for slot in range(1, 0x1F) if slot != 2)
    xml = domain(BARE + ports(8) + cards + disk("vda", "01:00.0") + disk("vdb", "02:00.0"))
    made = plan(xml, strategy="bridge")
    check_invariants(xml, made, strategy="bridge")
    assert made.unresolved == ()
    assert places(made.after)["controller[pci 9]"] == "03:00.0"
    assert bus_model(made.after, "disk[vda]") == "pcie-to-pci-bridge"


def test_overrides_where_i_o_ports_are_already_cost_no_window() -> None:
    """31 disks behind a bridge and 8 on ports: 9 windows, as many as OVMF has, before and after."""
    names = disk_names(39)
    heads = ports(8) + port(9, "00:05.0") + pci(10, "pcie-to-pci-bridge", "09:00.0")
    disks = "".join(disk(name, f"{bus:02x}:00.0") for bus, name in enumerate(names[:8], 1))
    disks += "".join(disk(name, f"0a:{slot:02x}.0") for slot, name in enumerate(names[8:], 1))
    xml = domain(BARE + heads + disks, uefi=True)
    made = plan(xml, LEGACY_ONLY, strategy="override")
    check_invariants(xml, made, LEGACY_ONLY, strategy="override")
    assert [finding.code for finding in made.unresolved] == [Code.NO_UEFI], "of that age"
    assert set(remedies(made).values()) == {"override"}


def test_a_new_port_has_a_chassis_of_its_own() -> None:
    """libvirt would number it by its index, which another port has taken: QEMU would not start."""
    taken = port(1, "00:02.0").replace("><add", "><target chassis='2'/><add")
    xml = domain(BARE + taken + disk("vda", "01:00.0"))
    result = plan(xml, strategy="bridge").result.decode()
    assert "<target chassis='2'/>" in result
    assert "<target chassis='255'/>" in result
    assert "255" not in plan(domain(BARE + ON_PORT), strategy="bridge").result.decode()


# --- Raw devices --------------------------------------------------------------------------------------


def raw(*arguments: str) -> str:
    options = "".join(f"<q:arg value='-device'/><q:arg value='{argument}'/>" for argument in arguments)
    return f"  <q:commandline xmlns:q='{QEMU}'>{options}</q:commandline>\n"


def test_a_raw_device_behind_a_bridge_keeps_its_slot() -> None:
    xml = domain(
        BARE + BRIDGE + port(3, "00:03.0") + disk("vda", "03:00.0"), tail=raw("e1000,bus=pci.2,addr=1.3")
    )
    assert places(plan(xml, strategy="bridge").after)["disk[vda]"] == "02:02.0"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("virtio-blk-pci,bus=pci.1", True),
        ('{"driver":"virtio-net-pci","bus":"pci.1"}', True),
        ("virtio-blk-pci,bus=pcie.0,addr=5", False),
        ("virtio-blk-pci,bus=pci.1,disable-legacy=off", False),
        ("virtio-blk-pci-transitional,bus=pci.1", False),
        ("virtio-blk-pci", False),
        ("e1000,bus=pci.1", False),
    ],
)
def test_a_raw_virtio_device_behind_a_port_is_told(argument: str, told: bool) -> None:
    """Nothing here can move it, and the guest does not see it."""
    xml = domain(BARE + port(1, "00:02.0"), tail=raw(argument.replace('"', "&quot;")))
    found = [(finding.code, finding.device) for finding in plan(xml).unresolved]
    assert found == [(Code.MODERN_ONLY, "commandline")] * told
    assert plan(xml, "rhel8").unresolved == ()


# --- Overrides of the owner ---------------------------------------------------------------------------


def overridden(*aliases: str, prefix: str = "q:") -> str:
    binding = f"xmlns:q='{QEMU}'" if prefix else f"xmlns='{QEMU}'"
    entry = (
        "<{0}device alias='{1}'><{0}frontend><{0}property name='x-mine' type='signed' value='1'/>"
        "</{0}frontend></{0}device>"
    )
    return f"  <{prefix}override {binding}>{''.join(entry.format(prefix, one) for one in aliases)}</{prefix}override>\n"


@pytest.mark.parametrize("prefix", ["q:", ""])
@pytest.mark.parametrize(
    ("alias", "used"),
    [
        pytest.param("virtio-disk0", ["virtio-disk0", "ua-virtfix-interface"], id="the disk's"),
        pytest.param("net1", ["net1", "net0", "ua-virtfix-disk-vda"], id="of a NIC that is numbered with it"),
        pytest.param("rng0", ["rng0", "ua-virtfix-disk-vda", "ua-virtfix-interface"], id="of another kind"),
    ],
)
def test_properties_of_the_owner_keep_their_device(alias: str, used: list[str], prefix: str) -> None:
    """An alias of virtfix's own would orphan them, and shift those of the NICs behind it."""
    devices = ports(3) + disk("vda", "01:00.0") + nic(1, "02:00.0") + nic(2, "00:05.0")
    xml = domain(BARE + devices, tail=overridden(alias, prefix=prefix))
    made = plan(xml, strategy="override")
    check_invariants(xml, made, strategy="override")
    assert made.after.aliases[made.after.by_key[nic_key(2)]] == "net1" or alias != "net1"
    assert "x-mine" in made.after.properties.by_alias[alias]
    found = list(made.after.properties.by_alias)
    assert len(found) == len(used)
    assert all(any(one.startswith(want) for one in found) for want in used)


def test_tags_of_filesystems_that_look_alike_get_two_aliases() -> None:
    shares = "".join(
        f"    <filesystem type='mount'><source dir='/s'/><target dir='{tag}'/>{at(f'0{bus}:00.0')}</filesystem>\n"
        for bus, tag in enumerate(("home.user", "home-user", "共享", "文档"), 1)
    )
    xml = domain(BARE + ports(4) + shares)
    made = plan(xml, "debian7", strategy="override")
    assert len(made.after.properties.by_alias) == 4
    check_invariants(xml, made, "debian7", strategy="override")


# --- Machine types that make all of them legacy -------------------------------------------------------


@pytest.mark.parametrize(("machine", "mode"), [("pc-q35-2.6", "legacy"), ("pc-q35-2.7", "modern-only")])
def test_types_up_to_2_6_make_virtio_legacy_behind_ports_too(machine: str, mode: str) -> None:
    xml = domain(BARE + ON_PORT, machine)
    assert modes(read(xml)) == {"disk[vda]": mode}
    assert (plan(xml).edits == ()) is (mode == "legacy")


# --- What nothing here knows --------------------------------------------------------------------------


def test_an_unknown_device_holds_its_place() -> None:
    """A tag of a later libvirt: its address is taken, and nothing moves there."""
    panic = f"    <panic model='pvpanic'>{at('00:03.0')}</panic>\n"
    made = plan(domain(BARE + panic + ON_PORT))
    assert places(made.after)["panic[pvpanic]"] == "00:03.0"
    assert places(made.after)["disk[vda]"] == "00:04.0"


def test_a_vdpa_nic_gets_no_model() -> None:
    """libvirt takes none for it."""
    vdpa = f"    <interface type='vdpa'><mac address='52:54:00:00:00:01'/><source dev='/dev/vhost-vdpa-0'/>{at('01:00.0')}</interface>\n"
    made = plan(domain(BARE + port(1, "00:02.0") + vdpa), strategy="transitional")
    assert remedies(made) == {nic_key(1): "integrated"}
    assert b"model type" not in made.result
