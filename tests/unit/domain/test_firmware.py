"""BIOS or UEFI, however the XML asks for it."""

from __future__ import annotations

import pytest

from fixer.domain.document import parse
from fixer.domain.firmware import Firmware, read_firmware


def firmware(os_element: str) -> Firmware:
    return read_firmware(parse(f"<domain>{os_element}</domain>".encode()).root)


@pytest.mark.parametrize(
    "os_element",
    [
        pytest.param("", id="no <os>"),
        pytest.param("<os/>", id="libvirt's default"),
        pytest.param("<os firmware='bios'/>", id="asked for"),
        pytest.param(
            "<os firmware='bios'><loader type='pflash'>/OVMF.fd</loader></os>", id="the attribute decides"
        ),
        pytest.param(
            "<os><loader>/usr/share/seabios/bios-256k.bin</loader></os>", id="a loader without a type"
        ),
        pytest.param("<os><loader type='rom'>/usr/share/seabios/bios.bin</loader></os>", id="a rom"),
        pytest.param(
            "<os><loader>/srv/ovmf/bios.bin</loader></os>", id="OVMF in the folder is not in the file name"
        ),
        pytest.param("<os><bios useserial='yes'/><bootmenu enable='no'/></os>", id="other elements"),
    ],
)
def test_bios(os_element: str) -> None:
    """SeaBIOS is the default, and what a rom is unless its name says otherwise."""
    found = firmware(os_element)
    assert (found.kind, found.secure_boot) == ("bios", False)
    assert found.how


@pytest.mark.parametrize(
    ("os_element", "nvram", "secure"),
    [
        pytest.param("<os firmware='efi'/>", "", False, id="automatic"),
        pytest.param(
            "<os firmware='efi'><loader secure='yes'/></os>", "", True, id="automatic with secure boot"
        ),
        pytest.param("<os firmware='efi'><loader secure='no'/></os>", "", False, id="secure boot declined"),
        pytest.param(
            "<os><loader type='pflash'>/x.fd</loader></os>", "", False, id="pflash, whatever its name"
        ),
        pytest.param(
            "<os><loader readonly='yes' secure='yes' type='pflash'>/c.fd</loader><nvram template='/t'>/v.fd</nvram></os>",
            "/v.fd",
            True,
            id="pflash with variables and secure boot",
        ),
        pytest.param(
            "<os><loader>/c.fd</loader><nvram>/v.fd</nvram></os>", "/v.fd", False, id="nvram shows it"
        ),
        pytest.param(
            "<os><loader type='rom'>/usr/share/OVMF/OVMF.fd</loader></os>", "", False, id="rom named OVMF"
        ),
        pytest.param("<os><loader>/usr/share/edk2-x64.bin</loader></os>", "", False, id="loader named edk2"),
    ],
)
def test_uefi(os_element: str, nvram: str, secure: bool) -> None:
    """UEFI is told by firmware='efi', by pflash, by nvram, or by the name of a rom image."""
    found = firmware(os_element)
    assert (found.kind, found.nvram, found.secure_boot) == ("uefi", nvram, secure)
    assert found.how
