"""BIOS to UEFI and back: who may, what is written, what is said."""

from __future__ import annotations

import pytest
from converting import controller, converted, ide, on_pc, on_q35, swapped, to_q35_type, unresolved
from helpers import at, domain, request

from fixer.domain.target import Target
from fixer.guest.clues import Seen
from fixer.planning.planner import plan_bytes

KEEPS = ("VF014", "domain")
FEATURE = "    <firmware>\n      <feature enabled='no' name='secure-boot'/>\n    </firmware>\n"
ACPI = "  <features>\n    <acpi/>\n  </features>\n"
PFLASH = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>"


def to_efi(xml: str, text: str = "") -> str:
    """Return ``xml`` with what --firmware efi writes; ``text`` is what stands before </domain> now."""
    return swapped(
        xml,
        ("<os>", "<os firmware='efi'>"),
        ("  </os>\n", FEATURE + "  </os>\n"),
        ("</domain>", text + "</domain>"),
    )


# --- Nothing to do ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "firmware"),
    [
        pytest.param(on_pc(), "bios", id="BIOS is there"),
        pytest.param(on_pc().replace("<os>", "<os firmware='efi'>"), "efi", id="UEFI is there"),
        pytest.param(on_pc().replace("</type>", f"</type>{PFLASH}"), "efi", id="UEFI by its loader"),
    ],
)
def test_the_same_firmware(xml: str, firmware: str) -> None:
    """What a domain has is not written again, whatever the guest can do."""
    made = converted(xml, "rhel5.11", "", firmware=firmware)
    assert made.result.decode() == xml
    assert KEEPS not in unresolved(made)


# --- To UEFI ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "wanted"),
    [
        pytest.param(on_pc(), to_efi(on_pc(), ACPI), id="no <features>"),
        pytest.param(
            domain(controller("usb", 0, model="none"), "pc-i440fx-6.2", head="  <features/>\n"),
            to_efi(
                domain(controller("usb", 0, model="none"), "pc-i440fx-6.2", head="  <features>\n    <acpi/>\n  </features>\n")
            ),
            id="<features> without ACPI",
        ),
        pytest.param(
            domain("", "pc-i440fx-6.2", head=ACPI), to_efi(domain("", "pc-i440fx-6.2", head=ACPI)), id="ACPI is there"
        ),
        pytest.param(
            on_pc().replace("<os>", "<os firmware='bios'>"), to_efi(on_pc(), ACPI), id="BIOS that is asked for by name"
        ),
    ],
)  # fmt: skip
def test_to_uefi(xml: str, wanted: str) -> None:
    """libvirt chooses the image, without secure boot; ACPI has to be there. The machine stays."""
    made = converted(xml, "rhel9.0", "", firmware="efi", esp=True)
    assert made.result.decode() == wanted
    assert made.after.firmware.kind == "uefi"
    assert not made.after.firmware.secure_boot
    assert made.unresolved == ()
    assert made.forecast == ()


def test_with_the_machine() -> None:
    """Both at once are one plan."""
    made = converted(on_pc(), "rhel9.0", firmware="efi", esp=True)
    assert made.result.decode() == to_q35_type(to_efi(on_pc(), ACPI))


@pytest.mark.parametrize(
    ("guest", "xml", "asked", "why"),
    [
        pytest.param("rhel5.11", on_pc(), {"esp": True}, "can not boot by UEFI", id="the guest can not"),
        pytest.param("winvista", on_pc(), {"esp": True}, "boots by UEFI only if", id="it hangs on something"),
        pytest.param("sles11", on_pc(), {"esp": True}, "is not known to boot", id="nobody knows"),
        pytest.param("rhel9.0", on_pc(), {}, "EFI system partition", id="nothing says that the disk can"),
        pytest.param(
            "rhel9.0",
            on_pc(),
            {"esp": True, "target": Target("caps.xml", firmware=frozenset({"bios"}))},
            "the target offers no UEFI",
            id="the host has none",
        ),
        pytest.param(
            "rhel9.0",
            on_pc().replace("</type>", "</type><loader type='rom'>/usr/share/seabios/bios.bin</loader>"),
            {"esp": True},
            "a loader or a kernel",
            id="a loader of its own",
        ),
        pytest.param(
            "rhel9.0",
            on_pc().replace("</type>", "</type><kernel>/boot/vmlinuz</kernel>"),
            {"esp": True},
            "a loader or a kernel",
            id="a kernel of its own",
        ),
    ],
)
def test_who_keeps_bios(guest: str, xml: str, asked: dict[str, object], why: str) -> None:
    """Where it would not boot, the firmware stays; the plan says why, and converts the machine all the same."""
    made = converted(xml, guest, firmware="efi", **asked)  # type: ignore[arg-type]
    (finding,) = [one for one in made.unresolved if one.code.value == "VF014"]
    assert why in finding.why
    assert finding.severity.value == "note"
    assert made.result.decode() == to_q35_type(xml)


def test_keeping_bios_alone_changes_nothing() -> None:
    """Without a machine to change there is only the finding."""
    made = converted(on_pc(), "rhel9.0", "", firmware="efi")
    assert unresolved(made) == [KEEPS]
    assert made.result.decode() == on_pc()


def test_an_inspection_that_saw_the_partition() -> None:
    """What virt-inspector saw is as good as --esp, and the plan says so."""
    asked = request("rhel9.0")._replace(firmware="efi")
    made = plan_bytes(on_pc().encode(), asked, Seen(esp="report.xml: /dev/sda1 on /boot/efi"))
    assert made.after.firmware.kind == "uefi"
    assert any("report.xml: /dev/sda1 on /boot/efi" in item.text for item in made.consequences)


@pytest.mark.parametrize(
    ("machine", "severities"),
    [
        ("pc-q35-8.2", []),
        ("pc-q35-2.3", ["breaks boot"]),
        ("pc-q35-rhel7.2.0", ["breaks boot"]),
        ("pc-q35-rhel7.3.0", ["note"]),
        ("pc-q35-rhel7.6.0", []),
        ("pc-q35-jammy", []),
    ],
)
def test_old_machine_types(machine: str, severities: list[str]) -> None:
    """The machine that is converted to is judged, not the one that it was."""
    made = converted(on_pc(), "rhel9.0", f"q35={machine}", firmware="efi", esp=True)
    assert [one.severity.value for one in made.unresolved if one.code.value == "VF015"] == severities


def test_floppies_are_told() -> None:
    """OVMF does not boot from them."""
    floppy = "    <disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>\n"
    made = converted(on_pc(floppy), "rhel9.0", "", firmware="efi", esp=True)
    assert [item.devices for item in made.consequences if item.code == "floppy"] == [("disk[fda]",)]
    assert not [
        item
        for item in converted(on_pc(), "rhel9.0", "", firmware="efi", esp=True).consequences
        if item.code == "floppy"
    ]


@pytest.mark.parametrize(
    ("libvirt", "loaders", "written"),
    [
        pytest.param(9000000, (), "<os firmware='efi'>", id="today's"),
        pytest.param(7001000, (), "<os firmware='efi'>", id="before 7.2: no features"),
        pytest.param(5001000, ("/x/OVMF_CODE.secboot.fd", "/x/OVMF_CODE.fd"), ">/x/OVMF_CODE.fd</loader>", id="before 5.2"),
        pytest.param(0, ("/x/OVMF_CODE.fd",), "<os firmware='efi'>", id="not said"),
    ],
)  # fmt: skip
def test_what_the_host_understands(libvirt: int, loaders: tuple[str, ...], written: str) -> None:
    """An old libvirt takes no firmware='efi' (5.2) and no <feature> (7.2); a secure build is never taken."""
    target = Target("qemu:///system", libvirt=libvirt, loaders=loaders)
    text = converted(on_pc(), "rhel9.0", "", firmware="efi", esp=True, target=target).result.decode()
    assert written in text
    assert ("<feature " in text) == (libvirt == 0 or libvirt >= 7002000)
    assert "secboot.fd" not in text


@pytest.mark.parametrize("loaders", [(), ("/x/OVMF_CODE.secboot.fd",)])
def test_an_old_libvirt_without_a_plain_image(loaders: tuple[str, ...]) -> None:
    """It would drop firmware='efi' without a word: the domain would go on by BIOS, or not at all."""
    target = Target("qemu:///system", libvirt=5001000, loaders=loaders)
    made = converted(on_pc(), "rhel9.0", "", firmware="efi", esp=True, target=target)
    assert "firmware='efi'" not in made.result.decode()
    assert unresolved(made) == [KEEPS]


# --- To BIOS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uefi",
    [
        pytest.param(
            on_q35()
            .replace("<os>", "<os firmware='efi'>")
            .replace(
                "</type>\n",
                "</type>\n    <firmware><feature enabled='no' name='secure-boot'/></firmware>\n"
                "    <loader readonly='yes' type='pflash'>/x/CODE.fd</loader>\n    <nvram>/x/VARS.fd</nvram>\n",
            ),
            id="all that may be there",
        ),
        pytest.param(on_q35().replace("<os>", "<os firmware='efi'>"), id="firmware='efi' alone"),
        pytest.param(on_q35().replace("</type>\n", f"</type>\n    {PFLASH}\n"), id="a loader alone"),
    ],
)
def test_to_bios(uefi: str) -> None:
    """What says UEFI goes, with its lines; what it costs is said."""
    made = converted(uefi, "rhel9.0", "", firmware="bios")
    assert made.result.decode() == on_q35()
    assert made.after.firmware.kind == "bios"
    assert any("MBR" in item.text for item in made.consequences)


def test_both_ways_at_once() -> None:
    """Machine and firmware of a secure domain go back together: BIOS needs no SMM."""
    secure = (
        on_q35().replace("<os>", "<os firmware='efi'>").replace("</type>", "</type><loader secure='yes'/>")
    )
    made = converted(secure, "rhel9.0", "pc", firmware="bios")
    assert (made.after.machine.name, made.after.firmware.kind) == ("pc-i440fx-6.2", "bios")


def test_a_refused_machine_leaves_the_firmware() -> None:
    """Where the conversion is refused nothing at all is written."""
    xml = on_pc(ide("hda") + controller("sata", 0, at("00:05.0")))
    made = converted(xml, "win7", firmware="efi", esp=True)
    assert made.result.decode() == xml
