"""Devices that qemu:commandline puts on the root bus keep their place."""

from __future__ import annotations

import pytest
from helpers import domain, plan, read

from fixer.domain.virtio import QEMU_NAMESPACE


@pytest.mark.parametrize(
    ("argument", "held"),
    [
        pytest.param("virtio-rng-pci,bus=pcie.0,addr=0x3", 3 << 3, id="plain"),
        pytest.param("virtio-rng-pci,addr=3.1,bus=pcie.0", 3 << 3 | 1, id="with a function"),
        pytest.param(
            "virtio-rng-pci,addr=10", 0x10 << 3, id="hexadecimal without a prefix, root bus by default"
        ),
        pytest.param("virtio-rng-pci,addr=1d.0", 0x1D << 3, id="hexadecimal letters"),
        pytest.param('{"driver":"virtio-rng-pci","bus":"pcie.0","addr":"0x3"}', 3 << 3, id="JSON"),
        pytest.param("virtio-rng-pci,bus=pci.5,addr=0x3", 5 << 8 | 3 << 3, id="bus 5 of libvirt's"),
        pytest.param("virtio-rng-pci,bus=mine,addr=0x3", None, id="a bus of QEMU's own"),
        pytest.param("virtio-rng-pci,macaddr=0x3", None, id="another property"),
        pytest.param("virtio-rng-pci", None, id="no address: QEMU takes what is free"),
    ],
)
def test_a_place_that_qemu_holds_is_not_given_away(argument: str, held: int | None) -> None:
    """QEMU would not start with two devices at one address, and libvirt does not see it coming."""
    disks = "".join(f"<disk type='file'><target dev='vd{c}' bus='virtio'/></disk>\n" for c in "abcdefghij")
    xml = domain(disks).replace("<domain ", f"<domain xmlns:qemu='{QEMU_NAMESPACE}' ", 1)
    quoted = argument.replace('"', "&quot;")
    raw = f'<qemu:commandline><qemu:arg value="-device"/><qemu:arg value="{quoted}"/></qemu:commandline>'
    xml = xml.replace("</domain>", f"{raw}\n</domain>")
    assert read(xml).properties.places == ({held} if held is not None else set())
    used = {device.address for device in plan(xml).after.modes}
    assert held not in used
