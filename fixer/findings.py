"""What can be wrong with a domain, as values. Every code has a page in docs/findings/."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fixer.domain.virtio import Mode


class Severity(Enum):
    """What the guest loses."""

    BREAKS_BOOT = "breaks boot"
    BREAKS_DEVICE = "breaks device"
    DEGRADES = "degrades"
    NOTE = "note"


class Code(Enum):
    """Stable names of findings; programs branch on these."""

    MODERN_ONLY = "VF001"
    NO_DRIVER = "VF002"
    NATIVE_ONLY = "VF003"
    NEEDS_MODERN = "VF004"
    NOT_LEGACY_ONLY = "VF005"
    IO_WINDOWS = "VF006"
    HIDDEN_FUNCTION = "VF007"
    TARGET_LACKS = "VF008"
    NO_UEFI = "VF009"
    NO_CONVERSION = "VF010"
    NO_AHCI = "VF011"
    RAW_ARGUMENT = "VF012"
    PCI_HOLE64 = "VF013"
    KEEPS_BIOS = "VF014"
    UEFI_MACHINE = "VF015"
    CPU_FLAGS = "VF016"


class Finding(NamedTuple):
    """One device that the guest can not drive where it sits.

    ``device`` is its key, ``why`` one sentence, ``evidence`` the policy file and line or the rule that
    shows it. ``curable`` says whether a remedy may exist.
    """

    code: Code
    severity: Severity
    device: str
    why: str
    evidence: str
    curable: bool


class Skip(NamedTuple):
    """Something that was looked at and left alone, with the reason."""

    subject: str
    reason: str


class Page(NamedTuple):
    """The text behind ``virtfix explain CODE``."""

    title: str
    problem: str
    remedy: str
    source: str


_SEVERITY = {
    "block": Severity.BREAKS_BOOT,
    "scsi": Severity.BREAKS_BOOT,
    "balloon": Severity.DEGRADES,
    "rng": Severity.DEGRADES,
}


def severity_of(driver: str) -> Severity:
    """Return what a guest loses with a device of this kind: disks hold its root file system."""
    return _SEVERITY.get(driver, Severity.BREAKS_DEVICE)


def why_unseen(mode: Mode, where: str) -> str:
    return f"{mode.value} at {where}: no I/O BAR, PCI id 1af4:104x; a legacy driver does not bind"


PAGES: dict[Code, Page] = {
    Code.MODERN_ONLY: Page(
        "The device speaks only virtio 1.0 where it sits",
        "QEMU switches the legacy interface off behind PCI Express ports (disable-legacy=auto) and for models "
        "that end in -non-transitional. The guest finds PCI id 1af4:104x and no I/O BAR, and its driver, "
        "which knows virtio 0.9.5 only, does not bind: the disk or the NIC is not there.",
        "Four remedies: an address on pcie.0 (integrated endpoint), a place behind a conventional PCI bridge, "
        "model='virtio-transitional', or disable-legacy=off where it sits.",
        "QEMU hw/virtio/virtio-pci.c; virtio specification 1.2, section 4.1.2",
    ),
    Code.NO_DRIVER: Page(
        "The guest has no driver for this kind of device",
        "The policy of the guest says that its kernel or driver package has no driver for this kind of virtio "
        "device, neither legacy nor modern. No place in the PCI topology changes that.",
        "Replace the device by one that the guest drives (a USB tablet, VGA, SATA, e1000), or leave it for "
        "another guest: it does no harm.",
        "the policy file and line that the finding names",
    ),
    Code.NATIVE_ONLY: Page(
        "This kind of device came with virtio 1.0 and has no legacy interface",
        "GPU, input, IOMMU, memory, persistent memory, file system (virtiofs), sound, crypto and vsock devices "
        "are modern wherever they sit. disable-legacy=off is ignored, or breaks the start (virtiofs).",
        "Give a legacy guest another device: USB tablet, VGA or QXL, 9p where it has the driver, or none.",
        "virtio specification 1.2, section 5; QEMU virtio_pci_force_virtio_1",
    ),
    Code.NEEDS_MODERN: Page(
        "The device is configured so that it needs virtio 1.0",
        "iommu='on' (VIRTIO_F_ACCESS_PLATFORM) and launch security (SEV, TDX) exist in virtio 1.0 only. With "
        "them QEMU refuses a legacy interface: on a conventional slot the domain would not start.",
        "Remove iommu='on' from <driver>, where the guest does not need it; a guest under launch security "
        "must have virtio 1.0 drivers.",
        "virtio specification 1.2, section 6; QEMU hw/virtio/virtio-pci.c",
    ),
    Code.NOT_LEGACY_ONLY: Page(
        "The device offers virtio 1.0 to a guest that wants legacy only",
        "The policy says that this guest's drivers fail on devices that offer both interfaces (reported for "
        "Windows XP and 2003 drivers on Q35).",
        "disable-modern=on through qemu:override, on a conventional slot or on pcie.0.",
        "reports on Windows XP and 2003 guests; QEMU hw/virtio/virtio-pci.c",
    ),
    Code.IO_WINDOWS: Page(
        "The firmware has no I/O window left for a port",
        "Each bridge on pcie.0 with an I/O BAR below it takes a window of 4 KiB. OVMF has room for 9; from the "
        "tenth on, devices lose all their BARs, lowest bus first. SeaBIOS has room for 14; at 15 nothing at "
        "all is mapped.",
        "Move devices onto pcie.0, where they take no window, or put them behind one bridge: 31 devices share "
        "one window.",
        "measured with OVMF 2022.11 and SeaBIOS 1.16.2; PCI-to-PCI Bridge Architecture 1.2, section 3.2.5.6",
    ),
    Code.HIDDEN_FUNCTION: Page(
        "The device is a function of a slot that has no function 0",
        "Firmware and guests look at functions 1 to 7 only where function 0 exists and says that it has "
        "several. libvirt accepts such an address and QEMU starts; the guest never sees the device.",
        "virtfix moves virtio devices that the guest drives to a visible place; give another device an "
        "address with function 0.",
        "PCI Local Bus Specification 3.0, section 3.2.2.3.4",
    ),
    Code.TARGET_LACKS: Page(
        "The host that the domain is to run on lacks something that it needs",
        "The capabilities that were given by --target-capabilities do not offer the domain's machine type, its "
        "firmware, or a device model. On that host it can not be defined, or will not start.",
        "Choose another host, a machine type that it has, or install what it lacks. Where the host has no "
        "virtio-transitional models, virtfix uses another remedy by itself.",
        "libvirt docs/formatdomaincaps.rst, docs/formatcaps.rst",
    ),
    Code.NO_UEFI: Page(
        "The guest can not boot by UEFI, and the domain is defined so",
        "The firmware of the domain is OVMF, and the policy says that this operating system has no UEFI boot "
        "loader. It finds no disk to boot from, whatever its drivers.",
        "Take <loader>, <nvram> and firmware='efi' out of <os>, so that SeaBIOS starts the guest. If it does boot by "
        "UEFI, say so in a policy of your own (uefi: yes).",
        "UEFI specification 2.10, section 3.5; policies/guests",
    ),
    Code.NO_CONVERSION: Page(
        "The domain can not be converted to the machine type that was asked for",
        "Something that the guest needs does not exist on the other machine: an IDE disk whose guest has no driver "
        "for SATA, a PCI controller that only one board has, a place on the root bus. Nothing is changed.",
        "Give the guest the driver first (for Windows: boot once with a disk on a SATA controller), move the disk "
        "to a bus that it drives, or leave the domain on its machine type.",
        "QEMU docs/system/i386/pc.rst; Microsoft KB 922976",
    ),
    Code.NO_AHCI: Page(
        "A disk moves to SATA, and the guest may have no driver for it",
        "Q35 has no IDE. The disk keeps its target name and its place in the order, on the SATA controller of the "
        "chipset (00:1f.2). A guest without an AHCI driver, or with one that is not loaded at boot, does not find it.",
        "Look into the guest: Linux needs the module ahci in its initramfs, Windows Vista and 7 the service msahci "
        "with Start=0. For a hard disk do this before the conversion.",
        "QEMU hw/i386/pc_q35.c; Microsoft KB 922976",
    ),
    Code.RAW_ARGUMENT: Page(
        "What goes past libvirt names a bus or a controller of the old machine",
        "qemu:commandline holds an argument with a bus that the other machine has not (pci.0 and ide.N of i440FX, pcie.0 of "
        "Q35), or qemu:override sets a property on a controller that gives way. QEMU does not start, so the conversion is refused: virtfix does not rewrite what it does not understand.",
        "Change bus=pci.0 to bus=pcie.0 in that argument and see that its address is free; take out what is set on the old "
        "controller. Properties of IDE disks follow them to SATA by themselves.",
        "QEMU hw/i386/pc_q35.c, hw/pci-host/q35.c",
    ),
    Code.PCI_HOLE64: Page(
        "The guest may stumble over the 64-bit PCI window of Q35",
        "32-bit Windows up to 7 is reported to stop, or to lose devices, where the machine offers PCI memory above "
        "4 GiB. Q35 does so by default, i440FX as well but with less in it.",
        "If the guest stops: <pcihole64 unit='KiB'>0</pcihole64> in the pcie-root controller, or through "
        "qemu:commandline -global q35-pcihost.x-pci-hole64-fix=off.",
        "libvirt docs/formatdomain.rst, <pcihole64>; QEMU hw/pci-host/q35.c",
    ),
    Code.KEEPS_BIOS: Page(
        "The domain keeps BIOS, though UEFI was asked for",
        "A guest that was installed under BIOS boots by UEFI only if its operating system can, and if its disk has an "
        "EFI system partition with a boot loader. One of both is not known, so the firmware stays as it is.",
        "Make the EFI system partition in the guest first, then say so by --esp or by an inspection report "
        "(--inspection) that shows /boot/efi.",
        "UEFI specification 2.10, section 13.3; virt-inspector(1)",
    ),
    Code.UEFI_MACHINE: Page(
        "The machine type is older than UEFI on Q35 wants",
        "OVMF on Q35 needs at least pc-q35-2.4, on RHEL hosts pc-q35-rhel7.3.0; Red Hat prefers pc-q35-rhel7.4.0 or "
        "newer.",
        "Name a newer machine type: --machine q35=pc-q35-rhel7.6.0.",
        "the Q35 and OVMF notes of RHEL 7.4; QEMU hw/i386/pc_q35.c",
    ),
    Code.CPU_FLAGS: Page(
        "The CPU shows flags that this guest's kernel may not bear",
        "The domain takes the host's CPU (host-passthrough, host-model, maximum), and kernels of this age are reported "
        "to panic on flags that came after them, as SMAP and INVPCID. The conversion does not change the CPU, but the "
        "next start is the first one in a long time, perhaps on another host.",
        "<feature policy='disable' name='smap'/> in <cpu>, invpcid alike, or a CPU model of the guest's age.",
        "reports on RHEL and Oracle Linux 6 and Debian 6 to 9; libvirt docs/formatdomain.rst, <cpu>",
    ),
}
