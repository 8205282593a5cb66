"""virtfix audit on QEMU itself: what it says of its devices is what query-pci shows and what a guest negotiated."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

libvirt = pytest.importorskip("libvirt")
libvirt_qemu = pytest.importorskip("libvirt_qemu")
legacy_guest = pytest.importorskip("legacy_guest")
redefining = pytest.importorskip("redefining")

from redefining import PREFIX, Host, inactive, xml_of  # noqa: E402

from fixer.domain.observed import functions  # noqa: E402
from fixer.domain.qtree import Tree, read_qtree  # noqa: E402

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("oracle")]

HMP = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
FIRMWARE_SECONDS = 30


def audited(host: Host, domain: libvirt.virDomain, *options: str) -> dict[str, Any]:
    """Return the audit of a domain; its exit code must be that of its verdict."""
    words = ("audit", "--connect", host.uri, "--domain", domain.name(), "--format", "json", *options)
    done = host.virtfix(*words)
    (found,) = json.loads(done.out)
    assert done.code == (0 if found["verdict"] == "right" else 4), done
    return found


def tainted(domain: libvirt.virDomain) -> bool:
    """Whether a monitor command was sent; libvirt tells of taints in messages (libvirt >= 7.1)."""
    return any("custom" in text and "monitor" in text for text in domain.messages())


def asked(domain: libvirt.virDomain, command: str) -> Any:
    return json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command}), 0))["return"]


def qtree_of(domain: libvirt.virDomain) -> str:
    return str(libvirt_qemu.qemuMonitorCommand(domain, "info qtree", HMP))


def booted(domain: libvirt.virDomain) -> libvirt.virDomain:
    """Wait until the firmware has mapped the BARs of a domain."""
    end = time.monotonic() + FIRMWARE_SECONDS
    while time.monotonic() < end:
        shown = functions(asked(domain, "query-pci"))
        virtio = [one for one in shown if one.vendor == 0x1AF4]
        if virtio and all(any(part.address >= 0 for part in one.regions) for one in virtio):
            return domain
        time.sleep(0.2)
    pytest.fail("the firmware maps nothing")


def mended(host: Host, domain: libvirt.virDomain) -> None:
    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert done.code == 0, done


# --- Verdicts -----------------------------------------------------------------------------------------


def test_from_broken_to_right(host: Host, oracle: ModuleType) -> None:
    """A domain on its way: off, broken, mended but not restarted, right; each told by XML and by QEMU alike."""
    domain = host.define("way")
    assert audited(host, domain, "--monitor")["verdict"] == "breaks at next start"
    domain.create()
    assert audited(host, domain)["verdict"] == "broken now"
    assert not tainted(domain), "without --monitor nothing is asked"
    booted(domain)
    found = audited(host, domain, "--monitor")
    assert found["verdict"] == "broken now"
    keys = {"interface[52:54:00:00:00:01]", "memballoon", "rng[/dev/urandom]"}
    for look in ("now", "next"):
        assert {finding["device"] for finding in found[look]["findings"]} == keys
    assert {row["device"] for row in found["devices"]} == keys, "each alias leads to its key"
    assert tainted(domain)

    mended(host, domain)
    for options in ((), ("--monitor",)):
        found = audited(host, domain, *options)
        assert found["verdict"] == "right at next start"
        assert {(row["now"], row["next"]) for row in found["devices"]} == {("modern-only", "transitional")}

    domain.destroy()
    domain.create()
    assert oracle.modern_only(redefining.live(domain)) == []
    assert audited(host, domain)["verdict"] == "right"
    booted(domain)
    found = audited(host, domain, "--monitor")
    assert found["verdict"] == "right"
    assert all(row["qemu"]["io"].startswith("0x") for row in found["devices"])


def test_right_as_it_runs_and_wrong_as_it_is_defined(host: Host) -> None:
    domain = host.define("marred")
    before = inactive(domain)
    mended(host, domain)
    domain.create()
    booted(domain)
    host.connection.defineXML(before)
    for options in ((), ("--monitor",)):
        found = audited(host, domain, *options)
        assert found["verdict"] == "breaks at next start"
        assert found["now"]["findings"] == []
        assert "VF001" in {finding["code"] for finding in found["next"]["findings"]}


def test_a_transient_domain_has_no_next_start(host: Host) -> None:
    domain = host.connection.createXML(xml_of(PREFIX + "transient"))
    found = audited(host, domain)
    assert (found["verdict"], found["next"]) == ("broken now", None)


def test_what_was_plugged_is_seen(host: Host) -> None:
    """A NIC that is there as long as the domain runs, behind a port: broken now, right after the next start."""
    domain = host.define("plugged")
    mended(host, domain)
    domain.create()
    domain.attachDeviceFlags(
        "<interface type='user'><mac address='52:54:00:00:00:09'/><model type='virtio'/></interface>",
        libvirt.VIR_DOMAIN_AFFECT_LIVE,
    )
    for options in ((), ("--monitor",)):
        found = audited(host, domain, *options)
        assert found["verdict"] == "right at next start"
        assert [one["device"] for one in found["now"]["findings"]] == ["interface[52:54:00:00:00:09]"]


def test_a_device_of_the_command_line_is_seen_by_the_monitor_only(host: Host) -> None:
    """libvirt's XML does not have it as a device; QEMU does."""
    text = xml_of(PREFIX + "args").replace("<domain ", f"<domain xmlns:qemu='{QEMU}' ")
    line = "".join(
        f"<qemu:arg value='{word}'/>"
        for word in ("-device", "pcie-root-port,id=own,bus=pcie.0,addr=1d.0,chassis=99",
                     "-device", "virtio-rng-pci,bus=own,id=raw")
    )  # fmt: skip
    domain = host.connection.defineXML(
        text.replace("</domain>", f"<qemu:commandline>{line}</qemu:commandline></domain>")
    )
    mended(host, domain)
    domain.create()
    booted(domain)
    assert audited(host, domain)["verdict"] == "right"
    found = audited(host, domain, "--monitor")
    assert found["verdict"] == "right at next start", "of the definition nothing else is known"
    assert [(one["code"], one["device"]) for one in found["now"]["findings"]] == [("VF001", "raw")]


# --- The text of QEMU ---------------------------------------------------------------------------------

DEVICES = """
<controller type='pci' index='0' model='pcie-root'/>
<controller type='pci' index='1' model='pcie-root-port'/>
<controller type='pci' index='2' model='pcie-to-pci-bridge'/>
<controller type='pci' index='3' model='dmi-to-pci-bridge'/>
<controller type='pci' index='4' model='pci-bridge'/>
<controller type='pci' index='5' model='pcie-root-port'/>
<controller type='pci' index='6' model='pcie-switch-upstream-port'/>
<controller type='pci' index='7' model='pcie-switch-downstream-port'/>
<controller type='usb' model='none'/>
<controller type='scsi' index='0' model='virtio-scsi'><address type='pci' bus='0' slot='0x10'/></controller>
<controller type='scsi' index='1' model='virtio-scsi'><address type='pci' bus='2' slot='1'/></controller>
<controller type='scsi' index='2' model='virtio-scsi'><address type='pci' bus='3' slot='1'/></controller>
<controller type='scsi' index='3' model='virtio-scsi'><address type='pci' bus='4' slot='1'/></controller>
<controller type='scsi' index='4' model='virtio-scsi'><address type='pci' bus='7' slot='0'/></controller>
<controller type='scsi' index='5' model='virtio-transitional'/>
<controller type='scsi' index='6' model='virtio-non-transitional'><address type='pci' bus='0' slot='0x11'/></controller>
<controller type='virtio-serial' index='0'/>
<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/><alias name='ua-off'/></interface>
<rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-old'/>
<address type='pci' bus='0' slot='0x12'/></rng>
<input type='tablet' bus='virtio'/>
<memballoon model='virtio'/>
"""
OVERRIDE = """
<qemu:override>
<qemu:device alias='ua-off'><qemu:frontend>
<qemu:property name='disable-legacy' type='string' value='off'/></qemu:frontend></qemu:device>
<qemu:device alias='ua-old'><qemu:frontend>
<qemu:property name='disable-modern' type='bool' value='true'/></qemu:frontend></qemu:device>
</qemu:override>"""


def every_place(machine: str) -> str:
    text = xml_of(PREFIX + "places").replace("machine='q35'", f"machine='{machine}'")
    devices = (
        DEVICES if machine == "q35" else re.sub(r"<controller type='pci'.*\n|<address.*?/>", "", DEVICES)
    )
    return with_devices(text, devices).replace("</domain>", OVERRIDE + "</domain>")


def with_devices(text: str, devices: str) -> str:
    """Return a domain with other devices, and with the prefix of QEMU's namespace."""
    text = re.sub(
        r"(<emulator>.*?</emulator>).*</devices>",
        lambda found: f"{found[1]}{devices}</devices>",
        text,
        flags=re.DOTALL,
    )
    return text.replace("<domain ", f"<domain xmlns:qemu='{QEMU}' ")


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_the_text_says_what_query_pci_shows(host: Host, machine: str) -> None:
    """In every place: ids, BARs and addresses are the same, and the rule makes of bus and properties what they show."""
    domain = booted(host.connection.createXML(every_place(machine)))
    text = qtree_of(domain)
    tree = read_qtree(text.encode())
    shown = {one.name: one for one in functions(asked(domain, "query-pci"))}
    assert len(tree.devices) == 12
    for device in tree.devices:
        other = shown[device.id]
        assert device.function._replace(bridges=()) == other._replace(bridges=()), device
        assert device.ruled is device.mode, device
        assert device.io != "unmapped", device
    modes = {device.id: device.mode.value for device in tree.devices}
    express = {"scsi4", "scsi6", "virtio-serial0", "balloon0"} if machine == "q35" else {"scsi6"}
    assert {name for name, mode in modes.items() if mode == "modern-only"} == express
    assert (modes["ua-old"], modes["ua-off"], modes["input0"]) == ("legacy", "transitional", "virtio 1.0")
    assert tree == Tree(tree.devices, mapped=True)
    assert {one.name for one in shown.values() if one.vendor == 0x1AF4} == set(modes), "none is missed"


def test_a_saved_text_is_judged_as_the_running_domain(host: Host) -> None:
    """What a support case has, virsh's own output, leads to the verdict and the devices that the monitor leads to."""
    domain = booted(host.connection.createXML(every_place("q35")))
    saved = host.folder / "vm.qtree"
    saved.write_text(qtree_of(domain), newline="")
    done = host.virtfix("audit", "--qtree", saved, "--os", "rhel6.9", "--format", "json")
    (text,) = json.loads(done.out)
    assert done.code == 4
    live = audited(host, domain, "--monitor")
    names = {row["qemu"]["id"]: row["device"] for row in live["devices"]}
    assert {names[one["device"]] for one in text["now"]["findings"]} == {
        one["device"] for one in live["now"]["findings"]
    }
    assert [row["qemu"] for row in text["devices"]] == sorted(
        (row["qemu"] for row in live["devices"]), key=lambda one: one["address"]
    )


def test_before_the_firmware_has_run(host: Host) -> None:
    """Nothing has an address then, and nothing is called starved for it."""
    text = xml_of(PREFIX + "early").replace("machine='q35'", "machine='pc'")
    domain = host.connection.createXML(text, libvirt.VIR_DOMAIN_START_PAUSED)
    found = audited(host, domain, "--monitor")
    assert (found["state"], found["verdict"]) == ("paused", "right")
    assert {row["qemu"]["io"] for row in found["devices"]} == {"unmapped"}
    assert any("no PCI device has an address" in note for note in found["notes"])


@pytest.mark.parametrize(("firmware", "ports"), [("uefi", 10), ("bios", 15)])
def test_a_machine_whose_devices_starve(host: Host, firmware: str, ports: int) -> None:
    """One port more than OVMF and SeaBIOS have I/O windows for: told by XML and QEMU, and by QEMU of which device."""
    extra = ""
    if firmware == "uefi":
        if not legacy_guest.OVMF_CODE.exists():
            (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)("OVMF is missing")
        variables = host.folder / "vars.fd"
        shutil.copy(legacy_guest.OVMF_VARS, variables)
        extra = f"<loader readonly='yes' type='pflash'>{legacy_guest.OVMF_CODE}</loader><nvram>{variables}</nvram>"
    made = range(ports)
    devices = "".join(
        f"<controller type='pci' index='{n + 1}' model='pcie-root-port'/>"
        f"<controller type='scsi' index='{n}' model='virtio-scsi'><alias name='ua-{n}'/>"
        f"<address type='pci' bus='{n + 1}' slot='0'/></controller>"
        for n in made
    )
    override = "".join(
        f"<qemu:device alias='ua-{n}'><qemu:frontend>"
        "<qemu:property name='disable-legacy' type='string' value='off'/></qemu:frontend></qemu:device>"
        for n in made
    )
    text = with_devices(xml_of(PREFIX + "starves", os_extra=extra), devices + "<memballoon model='none'/>")
    text = text.replace("<memory unit='MiB'>32<", "<memory unit='MiB'>256<")
    text = text.replace("</domain>", f"<qemu:override>{override}</qemu:override></domain>")
    domain = host.connection.createXML(text)
    expected = audited(host, domain)
    assert {one["code"] for one in expected["now"]["findings"]} == {"VF006"}
    end = time.monotonic() + FIRMWARE_SECONDS
    while firmware == "uefi" and not read_qtree(qtree_of(domain).encode()).mapped:
        assert time.monotonic() < end
        time.sleep(0.2)
    time.sleep(3)  # SeaBIOS gives up within one and shows nothing of it; OVMF goes on where it has begun
    found = audited(host, domain, "--monitor")
    assert found["verdict"] == "broken now"
    assert {one["code"] for one in found["now"]["findings"]} == {"VF006"}
    unmapped = [row["device"] for row in found["devices"] if row["qemu"]["io"] == "unmapped"]
    if firmware == "uefi":
        assert 0 < len(unmapped) < ports
        assert [one["device"] for one in found["now"]["findings"]] == unmapped
    else:
        assert len(unmapped) == ports
        assert any("no PCI device has an address" in note for note in found["notes"])


# --- A guest that drives them -------------------------------------------------------------------------


@pytest.mark.boot
def test_what_a_guest_drives(host: Host) -> None:
    """One NIC on pcie.0 and one behind a port: a driver that has to prefer legacy takes virtio 1.0 for the latter."""
    reason = legacy_guest.why_unavailable()
    if reason:
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(reason)
    nics = "".join(
        f"<interface type='user'><mac address='52:54:00:00:00:0{n}'/><model type='virtio'/>{place}</interface>"
        for n, place in ((1, "<address type='pci' bus='0' slot='0x10'/>"), (2, ""))
    )
    xml = (
        "<domain type='qemu'><name>driven</name><memory unit='MiB'>512</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>"
        f"<devices>{nics}<memballoon model='none'/></devices></domain>"
    )
    with legacy_guest.running(xml, legacy=True) as domain:
        known = audited(host, domain, "--os", "rhel6.9", "--monitor")
        asked_too = audited(host, domain, "--os", "rhel6.9", "--negotiated")
    behind = "interface[52:54:00:00:00:02]"
    assert [one["device"] for one in known["now"]["findings"]] == [behind]
    assert known["verdict"] == "broken now"
    told = {row["device"]: (row["now"], row["negotiated"]) for row in asked_too["devices"]}
    assert told == {
        "interface[52:54:00:00:00:01]": ("transitional", "legacy"),
        behind: ("modern-only", "modern"),
    }
    assert asked_too["verdict"] == "right", "this guest is seen to drive it"
