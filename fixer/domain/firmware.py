"""The firmware of a domain: BIOS or UEFI, and how it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fixer.domain.document import Node


class Firmware:
    """``kind`` is 'bios' or 'uefi'; ``how`` says what in the XML shows it."""

    __slots__ = ("how", "kind", "nvram", "secure_boot")

    def __init__(self, kind: str, how: str, nvram: str, secure_boot: bool) -> None:
        self.kind = kind
        self.how = how
        self.nvram = nvram
        self.secure_boot = secure_boot


def read_firmware(root: Node) -> Firmware:
    """Read <os firmware=...>, <loader> and <nvram> (libvirt docs/formatdomain.rst, BIOS bootloader).

    A loader of type 'pflash' is UEFI. A loader of type 'rom' is SeaBIOS, unless its file name says OVMF
    (the way before pflash: one read-only image, variables lost at power-off).
    """
    os_node = root.find("os")
    if os_node is None:
        return Firmware("bios", "no <os>", "", secure_boot=False)
    loader, nvram = os_node.find("loader"), os_node.find("nvram")
    nvram_path = nvram.text if nvram is not None else ""
    secure = (loader is not None and loader.attrs.get("secure") == "yes") or _asks_for_secure_boot(os_node)
    if os_node.attrs.get("firmware") == "efi":
        return Firmware("uefi", "firmware='efi'", nvram_path, secure)
    if os_node.attrs.get("firmware") == "bios":
        return Firmware("bios", "firmware='bios'", nvram_path, secure_boot=False)
    if loader is not None:
        if loader.attrs.get("type") == "pflash" or nvram is not None:
            return Firmware("uefi", "loader of type pflash", nvram_path, secure)
        name = loader.text.rsplit("/", 1)[-1].lower()
        if "ovmf" in name or "edk2" in name:
            return Firmware("uefi", "loader of type rom that names OVMF", nvram_path, secure)
        return Firmware("bios", "loader of type rom", nvram_path, secure_boot=False)
    return Firmware("bios", "libvirt's default", nvram_path, secure_boot=False)


def _asks_for_secure_boot(os_node: Node) -> bool:
    """Read <firmware><feature enabled='yes' name='secure-boot'/>, by which libvirt chooses an image."""
    firmware = os_node.find("firmware")
    return firmware is not None and any(
        feature.attrs.get("name") == "secure-boot" and feature.attrs.get("enabled") == "yes"
        for feature in firmware.findall("feature")
    )
