"""BIOS to UEFI and back: only where the guest can follow, and the owner knows that its disk can."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.conversion.board import Note
from fixer.conversion.machine_type import below_preferred, too_old
from fixer.domain.edits import AddElement, Edit, RemoveElement, SetAttribute
from fixer.domain.machine import Family, family_of
from fixer.domain.writing import Element
from fixer.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.model import Domain
    from fixer.domain.target import Target
    from fixer.policy.model import GuestCapabilities

# <os firmware='efi'> came with libvirt 5.2.0, its <feature> elements with 7.2.0 (libvirt docs/formatdomain.rst).
_AUTOMATIC, _FEATURES = 5002000, 7002000
_SECURE_BUILD = ("secboot", "secure", ".ms.")  # how distributions call OVMF builds that enforce secure boot


class Esp(NamedTuple):
    """What says that the guest's disk has an EFI system partition; '' where nothing does."""

    evidence: str = ""


class Change(NamedTuple):
    """What becomes of the firmware: edits, notes and findings that stay unresolved."""

    edits: tuple[Edit, ...] = ()
    notes: tuple[Note, ...] = ()
    findings: tuple[Finding, ...] = ()


def to_firmware(
    domain: Domain, guest: GuestCapabilities, wanted: str, machine: str, esp: Esp, target: Target | None
) -> Change:
    """Return what gives a domain the firmware ``wanted`` (bios or efi); nothing where it has it."""
    has = "efi" if domain.firmware.kind == "uefi" else "bios"
    if not wanted or wanted == has:
        return Change()
    if wanted == "bios":
        return Change(tuple(_bios(domain)), (Note("firmware", (), _TO_BIOS),))
    refusal = _refusal(domain, guest, esp, target)
    if refusal is not None:
        return Change(findings=(refusal,))
    return Change(tuple(_efi(domain, target)), tuple(_efi_notes(domain, esp)), tuple(_old_machine(machine)))


_TO_BIOS = (
    "UEFI gives way to BIOS: the guest needs a boot loader in its MBR, and its NVRAM file is no longer used"
)


def _refusal(domain: Domain, guest: GuestCapabilities, esp: Esp, target: Target | None) -> Finding | None:
    if guest.uefi.value != "yes":
        word = {"no": "can not boot by UEFI", "depends": f"boots by UEFI only if {guest.uefi.condition}"}
        told = word.get(guest.uefi.value, "is not known to boot by UEFI")
        return _keeps(f"{guest.name} {told}", guest.uefi.where)
    if not esp.evidence:
        return _keeps("nothing says that its disk has an EFI system partition", "--esp was not given")
    if target is not None and target.firmware and "efi" not in target.firmware:
        return _keeps("the target offers no UEFI", target.where)
    os_node = domain.root.find("os")
    if os_node is None or os_node.find("loader") is not None or os_node.find("kernel") is not None:
        told = "there is no <os>" if os_node is None else "<os> names a loader or a kernel of its own"
        return _keeps(told, "libvirt docs/formatdomain.rst")
    if target is not None and _by_path(target) and not _plain_loader(target):
        return _keeps(
            "libvirt before 5.2.0 takes an image by its path, and the target names none", target.where
        )
    return None


def _by_path(target: Target) -> bool:
    return 0 < target.libvirt < _AUTOMATIC


def _keeps(why: str, evidence: str) -> Finding:
    return Finding(Code.KEEPS_BIOS, Severity.NOTE, "domain", f"it keeps BIOS: {why}", evidence, curable=False)


def _efi(domain: Domain, target: Target | None) -> Iterator[Edit]:
    """Let libvirt choose the image, without secure boot: a guest that was started by BIOS never had it."""
    loader = _plain_loader(target)
    if target is not None and _by_path(target):
        attrs = {"readonly": "yes", "type": "pflash"}
        yield AddElement("domain/os", Element("loader", attrs, text=loader), "")
    else:
        os_node = domain.root.find("os")
        yield SetAttribute("domain/os", "firmware", os_node.attrs.get("firmware") if os_node else None, "efi")
        if target is None or not 0 < target.libvirt < _FEATURES:
            off = Element("feature", {"enabled": "no", "name": "secure-boot"})
            yield AddElement("domain/os", Element("firmware", {}, (off,)), "")
    features = domain.root.find("features")
    if features is None:
        yield AddElement("domain", Element("features", {}, (Element("acpi", {}),)), "")
    elif features.find("acpi") is None:  # libvirt starts no UEFI without it (qemuValidateDomainDefBoot)
        yield AddElement("domain/features", Element("acpi", {}), "")


def _plain_loader(target: Target | None) -> str:
    images = target.loaders if target is not None else ()
    plain = [path for path in images if not any(mark in path.lower() for mark in _SECURE_BUILD)]
    return plain[0] if plain else ""


def _efi_notes(domain: Domain, esp: Esp) -> Iterator[Note]:
    text = f"BIOS gives way to UEFI without secure boot; the EFI system partition is known by {esp.evidence}"
    yield Note("firmware", (), text)
    floppies = tuple(
        device.key
        for device in domain.devices
        if device.tag == "disk" and device.node is not None and device.node.attrs.get("device") == "floppy"
    )
    if floppies:
        yield Note("floppy", floppies, "OVMF does not boot from floppy disks; the guest still finds them")


def _old_machine(machine: str) -> Iterator[Finding]:
    old, wished = too_old(machine), below_preferred(machine)
    if family_of(machine) is Family.Q35 and (old or wished):
        severity = Severity.BREAKS_BOOT if old else Severity.NOTE
        why = f"{machine} is older than {'UEFI on Q35 needs' if old else 'Red Hat prefers for UEFI'}"
        yield Finding(Code.UEFI_MACHINE, severity, "domain", why, "machine type", curable=False)


def _bios(domain: Domain) -> Iterator[Edit]:
    os_node = domain.root.find("os")
    assert os_node is not None, "a domain with UEFI says so in <os>"
    if "firmware" in os_node.attrs:
        yield SetAttribute("domain/os", "firmware", os_node.attrs["firmware"], None)
    for name in ("loader", "nvram", "firmware"):
        node = os_node.find(name)
        if node is not None:
            yield RemoveElement.of(f"domain/os/{name}", node)
