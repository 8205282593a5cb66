"""Files for the guest where names change: what each holds, and that nothing of the domain's own text is in them."""

from __future__ import annotations

import configparser
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from helpers import BARE, at, data, disk, domain, nic, port, request

from fixer.planning.planner import plan_bytes
from fixer.report.fixups import fixups

if TYPE_CHECKING:
    from fixer.planning.plan import Plan

MAC = "52:54:00:00:00:01"
IDE = "    <disk type='file' device='disk'><target dev='hda' bus='ide'/></disk>\n"
ONE, TWO = nic(1, "00:03.0"), nic(1, "00:03.0") + nic(2, "00:04.0")
# eth0 and eth1 change places: the one behind the port comes before the other.
CROSSED = port(1, "00:02.0") + nic(1, "01:00.0") + nic(2, "00:10.0", "e1000")


def converted(devices: str, guest: str, machine: str = "q35", **asked: object) -> Plan:
    xml = domain(BARE + devices, "pc-q35-6.2" if machine == "pc" else "pc-i440fx-6.2")
    return plan_bytes(data(xml), request(guest)._replace(machine=machine, **asked))  # type: ignore[arg-type]


# --- Nothing to write ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "guest", "asked"),
    [
        pytest.param(TWO + disk("vda"), "rhel6", {}, id="bound to the MAC address"),
        pytest.param(ONE, "rhel5.11", {}, id="kudzu goes by the MAC address too"),
        pytest.param(ONE, "rhel7.9", {}, id="counted, and nothing changes"),
        pytest.param("", "rhel8.0", {}, id="no NIC"),
        pytest.param(IDE, "rhel8.0", {"driver_bound": True}, id="a disk of the same name, its driver bound"),
        pytest.param(ONE, "rhel8.0", {"machine": "", "firmware": "efi", "esp": True}, id="the machine stays"),
        pytest.param("", "win10", {}, id="Windows without NIC and disk"),
        pytest.param(IDE, "win7", {}, id="a conversion that is refused"),
    ],
)  # fmt: skip
def test_nothing_to_mend(devices: str, guest: str, asked: dict[str, object]) -> None:
    """Where the guest notices nothing there is no file, not even one that says so."""
    assert fixups(converted(devices, guest, **asked)) == {}  # type: ignore[arg-type]


# --- By family ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guest", "devices", "files"),
    [
        pytest.param("rhel8.0", ONE, {"10-virtfix-ens3.link", "ifcfg-ens3.add"}, id="rhel"),
        pytest.param("fedora38", ONE, {"10-virtfix-ens3.link", "ifcfg-ens3.add"}, id="fedora"),
        pytest.param("ubuntu20.04", ONE, {"10-virtfix-ens3.link", "60-virtfix.yaml"}, id="ubuntu"),
        pytest.param("debian12", ONE, {"10-virtfix-ens3.link"}, id="debian"),
        pytest.param(
            "debian12", TWO, {"10-virtfix-ens3.link", "10-virtfix-ens4.link"}, id="one for each NIC"
        ),
        pytest.param("rhel5.11", IDE, {"disks.txt", "initramfs.txt"}, id="disks of the old driver"),
        pytest.param("win10", ONE, {"before.ps1", "after.ps1"}, id="windows"),
    ],
)
def test_files(guest: str, devices: str, files: set[str]) -> None:
    """Each system gets what it reads, and a README that names every file once."""
    found = fixups(converted(devices, guest))
    assert set(found) == files | {"README.txt"}
    for name in files:
        (line,) = re.findall(rf"^{re.escape(name)}: (.+)$", found["README.txt"], re.MULTILINE)
        assert line
    assert all(text.endswith("\n") for text in found.values())


def test_link() -> None:
    """systemd.link(5): the NIC with this address keeps the name that it had."""
    found = fixups(converted(ONE, "debian12"))["10-virtfix-ens3.link"]
    read = configparser.ConfigParser()
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(found)
    assert {name: dict(read[name]) for name in read.sections()} == {
        "Match": {"MACAddress": MAC},
        "Link": {"Name": "ens3"},
    }


def test_netplan() -> None:
    """YAML with all NICs; a MAC address stays a text (52:54:00:00:00:01 is a number in YAML 1.1)."""
    found = yaml.safe_load(fixups(converted(TWO, "ubuntu20.04"))["60-virtfix.yaml"])
    assert found["network"]["version"] == 2
    assert found["network"]["ethernets"] == {
        name: {"match": {"macaddress": f"52:54:00:00:00:0{number}"}, "set-name": name}
        for number, name in ((1, "ens3"), (2, "ens4"))
    }


def test_ifcfg() -> None:
    """The lines that bind the configuration to the card."""
    assert fixups(converted(ONE, "rhel8.0"))["ifcfg-ens3.add"] == f"HWADDR={MAC}\nDEVICE=ens3\n"


def test_udev_rules() -> None:
    """Where the kernel counts, the rules give each NIC that would change the number that it had."""
    found = fixups(converted(CROSSED, "rhel7.9", "pc"))
    assert set(found) == {"70-persistent-net.rules", "README.txt"}
    rules = found["70-persistent-net.rules"].splitlines()
    assert [re.findall(r'ATTR\{address\}=="(.+?)".*NAME="(.+?)"$', rule) for rule in rules] == [
        [("52:54:00:00:00:02", "eth0")],
        [(MAC, "eth1")],
    ]


def test_disks() -> None:
    """Old and new name a line, and only of disks whose name changes."""
    found = fixups(converted(IDE + disk("vda"), "rhel5.11"))["disks.txt"]
    assert [line for line in found.splitlines() if not line.startswith("#")] == ["/dev/hda /dev/sda"]


def test_only_nics_that_change() -> None:
    """One whose name stays needs nothing."""
    bridge = "    <controller type='pci' index='1' model='pci-bridge'>" + at("00:08.0") + "</controller>\n"
    found = fixups(converted(bridge + ONE + nic(2, "01:03.0"), "debian12"))
    assert set(found) == {"10-virtfix-ens3.link", "README.txt"}


def test_windows_brings_no_disk_online_that_the_owner_took_offline() -> None:
    """A disk of a cluster that two write to is lost: what comes online has to be named, not all that is offline."""
    after = fixups(converted(ONE + disk("vda"), "win10"))["after.ps1"]
    assert "OnlineAll" not in after, "the SAN policy of the guest changes for good"
    assert not re.search(r"IsOffline\s*}\s*\|\s*Set-Disk", after), "every disk that is offline comes online"


# --- Hostile domains ----------------------------------------------------------------------------------

HOSTILE = (
    "../../../etc/cron.d/evil",
    "$(evil)",
    "evil\nName=eth0",
    "52:54:00:00:00:01/../../evil",
    "evil]",
    "'\"; evil",
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("guest", ["rhel8.0", "ubuntu20.04", "debian12", "rhel5.11", "win10"])
def test_the_domains_own_text_is_in_no_file(guest: str, text: str) -> None:
    """Neither a name nor a content is made of what stands in the XML but for MAC addresses."""
    hostile = text.replace("\n", "&#10;").replace("'", "&apos;")
    xml = domain(
        BARE
        + ONE
        + IDE.replace("'hda'", f"'{hostile}'")
        + f"    <interface type='user'><mac address='{hostile}'/><target dev='{hostile}'/>"
        + f"<alias name='ua-{hostile}'/>{at('00:05.0')}</interface>\n"
        + f"    <interface type='user'><target dev='{hostile}'/>{at('00:06.0')}</interface>\n",
        "pc-i440fx-6.2",
    ).replace("<name>t</name>", f"<name>{hostile}</name><title>{hostile}</title><uuid>{hostile}</uuid>")
    found = fixups(plan_bytes(data(xml), request(guest)._replace(machine="q35")))
    for name, content in found.items():
        assert re.fullmatch(r"[0-9a-zA-Z][0-9a-zA-Z.-]*", name), name
        assert "evil" not in content
    if guest == "debian12":
        assert set(found) == {"10-virtfix-ens3.link", "initramfs.txt", "README.txt"}


@pytest.mark.parametrize(
    "mac", ["52:54:00:00:00:01\n", "52:54:00:00:00:01:02", "52-54-00-00-00-01", "52:54:00:00:00:0g", ""]
)
def test_what_is_no_mac_address(mac: str) -> None:
    """It is no match for a file."""
    xml = domain(
        BARE
        + f"    <interface type='user'><mac address='{mac}'/><model type='virtio'/>{at('00:03.0')}</interface>\n",
        "pc-i440fx-6.2",
    ).replace("\n'/>", "&#10;'/>")
    assert fixups(plan_bytes(data(xml), request("debian12")._replace(machine="q35"))) == {}


def test_a_mac_address_in_capitals() -> None:
    """It is the same address; files write it in small letters, as the kernel does."""
    xml = domain(BARE + ONE.replace(MAC, "52:54:00:AB:CD:EF"), "pc-i440fx-6.2")
    found = fixups(plan_bytes(data(xml), request("debian12")._replace(machine="q35")))
    assert "MACAddress=52:54:00:ab:cd:ef\n" in found["10-virtfix-ens3.link"]


def test_two_nics_of_one_address() -> None:
    """A file goes by the address: one is written for it, not two that contradict each other."""
    found = fixups(converted(ONE + ONE.replace("slot='0x03'", "slot='0x04'"), "debian12"))
    assert set(found) == {"10-virtfix-ens3.link", "README.txt"}
