"""The decision for KubeVirt and Nova: what it says there, what it can not, and that nothing in a name breaks out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from helpers import ROOT, domain, plan, request

from fixer.domain.devices import disk_letters
from fixer.planning.planner import plan_bytes
from fixer.report import kubevirt, nova

if TYPE_CHECKING:
    from fixer.planning.plan import Plan

DISK = (
    "    <disk type='file' device='disk'><source file='/a'/><target dev='{}' bus='{}'/></disk>\n"
    "    <memballoon model='none'/>\n"
)
LEGACY = "rhel6"


def sample(name: str, **asked: Any) -> Plan:
    return plan((ROOT / "samples" / f"{name}.xml").read_bytes(), None, **asked)


def spec(made: Plan) -> dict[str, Any]:
    """Return the patch as a reader of YAML sees it; it must be what was meant."""
    read = yaml.safe_load(kubevirt.render(made, "vm.xml"))
    assert read == kubevirt.patch(made)
    return read["spec"]["template"] if read else {}


def test_a_legacy_guest_on_the_root_bus() -> None:
    """Transitional, on pcie.0, by the annotation; machine and firmware as planned."""
    template = spec(sample("rhel6-q35-ovmf"))
    assert template["metadata"]["annotations"] == {"kubevirt.io/placePCIDevicesOnRootComplex": "true"}
    assert template["spec"]["domain"] == {
        "devices": {"useVirtioTransitional": True},
        "machine": {"type": "pc-q35-6.2"},
        "firmware": {"bootloader": {"efi": {"secureBoot": False}}},
    }


def test_more_devices_than_kubevirt_has_slots() -> None:
    """It takes slots 02 to 1e without 1b, and refuses a 29th device: no annotation, and that is said."""
    disks = "".join(
        f"<disk type='file'><target dev='vd{disk_letters(n)}' bus='virtio'/></disk>" for n in range(29)
    )
    for count, annotated in ((28, True), (29, False)):
        some = disks if count == 29 else disks.rpartition("<disk ")[0]
        os_node = "<os><type machine='pc-q35-6.2'>hvm</type></os>"
        xml = (
            f"<domain><name>many</name>{os_node}<devices>{some}<memballoon model='none'/></devices></domain>"
        )
        made = plan(xml, "rhel6.9")
        assert len(made.after.modes) == count
        assert ("metadata" in spec(made)) is annotated
        assert (
            f"can not be expressed: {count} devices on pcie.0" in kubevirt.render(made, "x")
        ) is not annotated


def test_behind_a_bridge() -> None:
    """No annotation: libvirt puts transitional models behind a bridge by itself."""
    made = sample("rhel6-q35-ovmf", strategy="bridge")
    assert "metadata" not in spec(made)
    assert "behind a PCI bridge" in kubevirt.render(made, "vm.xml")


def test_what_kubevirt_can_not_express_is_said() -> None:
    """Overrides in place, i440FX, IDE, findings that stay."""
    text = kubevirt.render(sample("rhel6-q35-ovmf", strategy="override"), "vm.xml")
    assert "# can not be expressed: disable-legacy=off in place (" in text
    text = kubevirt.render(sample("i440fx-rhel6"), "vm.xml")
    assert "# can not be expressed: i440FX" in text
    assert "# can not be expressed: disk[hda] on ide" in text
    text = kubevirt.render(plan(domain("    <input type='tablet' bus='virtio'/>\n")), "vm.xml")
    assert "# unresolved: VF002 input[tablet virtio]" in text


def test_a_conversion_is_carried_over() -> None:
    """The converted machine, and the quirk of 32-bit Windows as an annotation."""
    xml = domain(DISK.format("vda", "virtio"), "pc-i440fx-8.2").encode()
    made = plan_bytes(xml, request("winxp")._replace(machine="q35=pc-q35-8.2"))
    template = spec(made)
    assert template["metadata"]["annotations"]["kubevirt.io/disablePCIHole64"] == "true"
    assert template["spec"]["domain"]["machine"] == {"type": "pc-q35-8.2"}
    assert template["spec"]["domain"]["firmware"] == {"bootloader": {"bios": {}}}


def test_a_modern_guest_needs_no_interface() -> None:
    """Only machine and firmware."""
    assert "devices" not in spec(plan(domain(DISK.format("vda", "virtio")), "rhel9.0"))["spec"]["domain"]
    assert nova.properties(plan(domain(DISK.format("vda", "virtio")), "rhel9.0"))["hw_machine_type"] == "q35"


@pytest.mark.parametrize(
    ("os", "machine", "disk", "wanted"),
    [
        (LEGACY, "q35", ("vda", "virtio"), {"hw_machine_type": "pc", "hw_disk_bus": "virtio"}),
        (LEGACY, "q35", ("sda", "sata"), {"hw_machine_type": "q35", "hw_disk_bus": "sata"}),
        (LEGACY, "pc", ("hda", "ide"), {"hw_machine_type": "pc", "hw_disk_bus": "ide"}),
        ("rhel9.0", "q35", ("vda", "virtio"), {"hw_machine_type": "q35", "hw_disk_bus": "virtio"}),
        ("win2k8r2", "q35", ("vda", "virtio"), {"hw_machine_type": "pc", "os_distro": "windows"}),
    ],
)
def test_nova_gets_a_machine_on_which_the_guest_finds_its_devices(
    os: str, machine: str, disk: tuple[str, str], wanted: dict[str, str]
) -> None:
    """Nova's Q35 hides virtio from a legacy guest; its pc does not."""
    xml = domain(DISK.format(*disk).replace("virtio'/></disk>", "virtio'/></disk>"), machine)
    found = nova.properties(
        plan(xml.replace("</devices>", "<controller type='usb' model='none'/></devices>"), os)
    )
    assert {key: found[key] for key in wanted} == wanted


def test_one_property_a_line() -> None:
    """KEY=VALUE, and comments; nothing else."""
    lines = nova.render(sample("rhel6-q35-ovmf"), "vm.xml").splitlines()
    assert all(line.startswith("# ") or line.partition("=")[2] for line in lines)
    assert "os_secure_boot=disabled" in lines


def test_names_stay_in_their_line() -> None:
    """A name with a line feed, a tab or a bidi mark adds no key to a patch and no property."""
    hostile = "a&#10;spec: {evil: true}&#10;os_distro=evil\u202e"
    xml = domain(DISK.format("vda", "virtio"), head=f"<name>{hostile}</name>").encode()
    made = plan_bytes(xml, request(LEGACY))
    assert "evil" not in str(spec(made))
    assert "evil" not in nova.properties(made).get("os_distro", "")
    for text in (kubevirt.render(made, "vm\n.xml"), nova.render(made, "vm\n.xml")):
        assert all(line.startswith("#") for line in text.splitlines() if "evil" in line)
        assert "\u202e" not in text
