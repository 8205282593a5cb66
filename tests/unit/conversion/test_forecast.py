"""What the guest will call its NICs and disks, by each rule of naming."""

from __future__ import annotations

import pytest
from converting import controller, converted, drive, ide, names, on_pc, on_q35, sata
from helpers import at, disk, nic, nic_key, pci, port, request

from fixer.planning.planner import plan_bytes

SAME = ("as before", "as before")
ACPI = "<acpi index='1'/>"


@pytest.mark.parametrize(
    ("guest", "devices", "called"),
    [
        pytest.param("rhel6", nic(1, "00:03.0"), {nic_key(1): SAME}, id="mac-bound"),
        pytest.param("rhel5.11", nic(1, "00:03.0"), {nic_key(1): SAME}, id="kudzu"),
        pytest.param("rhel7.9", nic(1, "00:03.0"), {nic_key(1): ("eth0", "eth0")}, id="kernel-order"),
        pytest.param(
            "debian7",
            nic(1, "00:05.0") + nic(2, "00:03.0", "e1000"),
            {nic_key(1): ("eth1", "eth1"), nic_key(2): ("eth0", "eth0")},
            id="the kernel counts by place, whatever the model",
        ),
        pytest.param("rhel8.0", nic(1, "00:03.0"), {nic_key(1): ("ens3", "enp0s3")}, id="systemd-path"),
        pytest.param("rhel8.0", nic(1, "00:10.0"), {nic_key(1): ("ens16", "enp0s16")}, id="slots are told in tens"),
        pytest.param(
            "rhel8.0",
            nic(1, "00:03.0") + nic(2, "00:03.2"),
            {nic_key(1): ("enp0s3f0", "enp0s3f0"), nic_key(2): ("enp0s3f2", "enp0s3f2")},
            id="functions have names of their own",
        ),
        pytest.param(
            "rhel8.0",
            pci(1, "pci-bridge", "00:04.0") + nic(1, "01:03.0"),
            {nic_key(1): ("enp1s3", "enp1s3")},
            id="behind a bridge",
        ),
        pytest.param(
            "rhel8.0",
            pci(1, "pci-bridge", "00:05.0") + pci(2, "pci-bridge", "00:04.0") + nic(1, "01:03.0"),
            {nic_key(1): ("enp2s3", "enp2s3")},
            id="by the guest's number of the bus, not libvirt's",
        ),
        pytest.param(
            "rhel8.0", nic(1, "00:1f.0"), {nic_key(1): ("ens31", "enp0s31f1")}, id="one that has to move"
        ),
        pytest.param(
            "rhel8.0", nic(1, "00:03.0", inner=ACPI), {nic_key(1): ("eno1", "enp0s3")}, id="ACPI tells no index on pcie.0"
        ),
        pytest.param("rhel7.9", nic(1, "00:03.0", inner=ACPI), {nic_key(1): ("eth0", "eth0")}, id="kernel-order: no index"),
        pytest.param(
            "rhel8.0",
            pci(1, "pci-bridge", "00:04.0") + nic(1, "01:03.0", inner=ACPI),
            {nic_key(1): ("eno1", "eno1")},
            id="ACPI tells the index behind a bridge",
        ),
        pytest.param(
            "win10",
            nic(1, "00:03.0"),
            {nic_key(1): ("PCI bus 0, device 3, function 0",) * 2},
            id="windows-location",
        ),
        pytest.param(
            "win10",
            nic(1, "00:1f.0"),
            {nic_key(1): ("PCI bus 0, device 31, function 0", "PCI bus 0, device 31, function 1")},
            id="windows-location of one that moves",
        ),
    ],
)  # fmt: skip
def test_nics(guest: str, devices: str, called: dict[str, tuple[str, str]]) -> None:
    """Each system has its rule, and only what the rule looks at changes a name."""
    made = converted(on_pc(devices), guest)
    assert names(made) == called
    for name in made.forecast:
        assert name.kind == "nic"
        assert name.changes == (name.before != name.after)


def test_nics_of_an_unknown_guest() -> None:
    """Nobody knows its rule: where they sit is told."""
    made = plan_bytes(
        on_pc(nic(1, "00:03.0")).encode(), request(None, assume="modern")._replace(machine="q35")
    )
    assert names(made) == {nic_key(1): ("PCI bus 0, device 3, function 0",) * 2}


@pytest.mark.parametrize(
    ("guest", "devices", "called"),
    [
        pytest.param(
            "rhel8.0",
            port(1, "00:02.0") + nic(1, "01:00.0"),
            {nic_key(1): ("enp1s0", "ens2")},
            id="systemd-path: from a port",
        ),
        pytest.param(
            "rhel8.0",
            port(1, "00:02.0") + nic(1, "01:00.0", inner=ACPI),
            {nic_key(1): ("eno1", "eno1")},
            id="systemd-path: with an index",
        ),
        pytest.param(
            "rhel7.9",
            port(1, "00:02.0") + nic(1, "01:00.0") + nic(2, "00:10.0", "e1000"),
            {nic_key(1): ("eth1", "eth0"), nic_key(2): ("eth0", "eth1")},
            id="kernel-order: two change places",
        ),
        pytest.param("rhel6", port(1, "00:02.0") + nic(1, "01:00.0"), {nic_key(1): SAME}, id="mac-bound"),
    ],
)
def test_nics_on_the_way_back(guest: str, devices: str, called: dict[str, tuple[str, str]]) -> None:
    """The same rules the other way."""
    assert names(converted(on_q35(devices), guest, "pc")) == called


def test_ports_change_names() -> None:
    """Behind a port each NIC has a bus of its own; tens of buses are written in tens."""
    made = converted(on_pc("".join(nic(number) for number in range(11))), "rhel8.0", layout="ports")
    found = names(made)
    assert found[nic_key(0)] == ("ens2", "enp1s0")
    assert found[nic_key(10)] == ("ens12", "enp11s0")


@pytest.mark.parametrize(
    ("guest", "devices", "called"),
    [
        pytest.param("rhel8.0", disk("vda") + disk("vdb"), {"disk[vda]": ("/dev/vda",) * 2, "disk[vdb]": ("/dev/vdb",) * 2}, id="virtio"),
        pytest.param("rhel8.0", disk("vdx"), {"disk[vdx]": ("/dev/vda",) * 2}, id="by order, not by target"),
        pytest.param("rhel8.0", ide("hda"), {"disk[hda]": ("/dev/sda",) * 2}, id="IDE by libata"),
        pytest.param("rhel5.11", ide("hda"), {"disk[hda]": ("/dev/hda", "/dev/sda")}, id="IDE by the old driver"),
        pytest.param(
            "rhel5.11",
            ide("hda", drive()) + ide("hdc", drive(bus=1)),
            {"disk[hda]": ("/dev/hda", "/dev/sda"), "disk[hdc]": ("/dev/hdc", "/dev/sdb")},
            id="the old driver leaves gaps, SCSI does not",
        ),
        pytest.param(
            "rhel8.0",
            controller("sata", 0, at("00:05.0")) + sata("sda", drive()) + ide("hda", drive()),
            {"disk[hda]": ("/dev/sda", "/dev/sdb"), "disk[sda]": ("/dev/sdb", "/dev/sda")},
            id="the chipset's controller was the first, and is the last",
        ),
        pytest.param("win10", ide("hdc", drive(bus=1)), {"disk[hdc]": ("IDE place 2", "SATA place 2")}, id="Windows: by its port"),
        pytest.param("win10", disk("vda"), {"disk[vda]": ("virtio", "virtio")}, id="Windows: virtio"),
    ],
)  # fmt: skip
def test_disks(guest: str, devices: str, called: dict[str, tuple[str, str]]) -> None:
    """vdX by place, sdX over all controllers, hdX under kernels without libata."""
    made = converted(on_pc(devices), guest, driver_bound=True)
    assert names(made) == called
    assert {name.kind for name in made.forecast} == {"disk"}


def test_many_disks_have_two_letters() -> None:
    """Behind z comes aa."""
    many = pci(1, "pci-bridge", "00:1e.0") + "".join(
        disk(f"vd{letter}", f"01:{number + 1:02x}.0")
        for number, letter in enumerate([*"abcdefghijklmnopqrstuvwxyz", "aa", "ab"])
    )
    found = names(converted(on_pc(many), "rhel8.0"))
    assert (found["disk[vdz]"][1], found["disk[vdaa]"][1], found["disk[vdab]"][1]) == (
        "/dev/vdz",
        "/dev/vdaa",
        "/dev/vdab",
    )


@pytest.mark.parametrize(
    ("xml", "asked"),
    [
        pytest.param(on_q35(nic(1, "00:03.0")), {"machine": "q35=pc-q35-8.2"}, id="the board stays"),
        pytest.param(on_pc(nic(1, "00:03.0")), {"machine": "", "firmware": "efi", "esp": True}, id="only the firmware"),
        pytest.param(on_pc(pci(1, "pci-expander-bus", "00:04.0")), {}, id="refused"),
    ],
)  # fmt: skip
def test_no_forecast_where_the_machine_stays(xml: str, asked: dict[str, object]) -> None:
    """Nothing is foretold where nothing changes."""
    assert converted(xml, "rhel8.0", **asked).forecast == ()  # type: ignore[arg-type]
