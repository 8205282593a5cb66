"""Machine type names: which board they build, and which ones virtfix does not judge."""

from __future__ import annotations

import pytest

from fixer.domain.document import parse
from fixer.domain.machine import Family, Machine, family_of, read_machine


def machine(os_type: str, attrs: str = "type='kvm'", rest: str = "") -> Machine:
    return read_machine(parse(f"<domain {attrs}><os>{os_type}</os>{rest}</domain>".encode()).root)


@pytest.mark.parametrize(
    "name",
    [
        "virt", "virt-8.2", "none", "isapc", "microvm", "xenpv", "xenfv", "xenfv-4.2", "pseries-rhel7.6.0",
        "pseries", "s390-ccw-virtio", "s390-ccw-virtio-rhel9.2.0", "raspi3b", "x-remote", "spike", "petalogix",
        "q35x", "pc-q35x", "xq35", "pc-i440fxx", "pc-2.0x", "rhel7.0.0", "rhel8", "PC", "", " pc", "pc\n-q35-2.0",
    ],
)  # fmt: skip
def test_other_boards_are_neither(name: str) -> None:
    """What is not an x86 PC of QEMU, or only looks like one, belongs to no family that virtfix judges."""
    assert family_of(name) is Family.OTHER


@pytest.mark.parametrize(
    "name",
    [
        "q35", "pc-q35-7.2", "pc-q35-2.12", "pc-q35-10.0", "pc-q35-rhel7.3.0", "pc-q35-rhel7.4.0", "pc-q35-rhel9.6.0",
        "pc-q35-focal", "pc-q35-jammy-hpb", "pc-q35-bionic-sgx", "ubuntu-q35", "pc-q35",
    ],
)  # fmt: skip
def test_q35_in_every_spelling(name: str) -> None:
    """QEMU, RHEL and Ubuntu name their Q35 types differently."""
    assert family_of(name) is Family.Q35


@pytest.mark.parametrize(
    "name",
    [
        "pc", "pc-i440fx-7.2", "pc-i440fx-rhel7.0.0", "pc-i440fx-rhel7.4.0", "pc-i440fx-focal", "pc-i440fx-jammy-hpb",
        "pc-0.10", "pc-0.15", "pc-1.0", "pc-1.3", "pc-1.0-precise", "ubuntu",
        "rhel5.4.0", "rhel6.0.0", "rhel6.1.0", "rhel6.2.0", "rhel6.3.0", "rhel6.4.0", "rhel6.5.0", "rhel6.6.0",
    ],
)  # fmt: skip
def test_i440fx_in_every_spelling(name: str) -> None:
    """The same for the older board, the types of RHEL 5 and 6 included."""
    assert family_of(name) is Family.I440FX


@pytest.mark.parametrize(
    ("os_type", "attrs", "family"),
    [
        pytest.param(
            "<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>", "type='kvm'", Family.Q35, id="kvm"
        ),
        pytest.param(
            "<type arch='x86_64' machine='q35'>hvm</type>", "type='qemu'", Family.Q35, id="plain qemu"
        ),
        pytest.param("<type arch='i686' machine='pc'>hvm</type>", "type='kvm'", Family.I440FX, id="32 bits"),
        pytest.param(
            "<type machine='pc'>hvm</type>", "", Family.I440FX, id="neither type nor arch is written"
        ),
        pytest.param(
            "<type arch='x86_64'>hvm</type>", "type='kvm'", Family.I440FX, id="no machine: libvirt takes pc"
        ),
        pytest.param("", "type='kvm'", Family.I440FX, id="an empty <os>"),
        pytest.param(
            "<type machine='q35'>hvm</type>", "type='hvf'", Family.Q35, id="an accelerator of macOS"
        ),
    ],
)
def test_x86_guests_of_qemu_are_judged(os_type: str, attrs: str, family: Family) -> None:
    """What QEMU runs on x86 is judged, with libvirt's defaults for what is not written."""
    found = machine(os_type, attrs)
    assert (found.family, found.reason, found.applicable) == (family, "", True)


def test_a_pcie_root_shows_q35_where_no_machine_is_written() -> None:
    """A file without a machine type that has a pcie-root is written for Q35."""
    controller = "<devices><controller type='pci' index='0' model='pcie-root'/></devices>"
    assert machine("<type>hvm</type>", rest=controller).family is Family.Q35
    assert machine("<type>hvm</type>", rest=controller.replace("pcie", "pci")).family is Family.I440FX


@pytest.mark.parametrize(
    ("os_type", "attrs", "said"),
    [
        pytest.param("<type arch='aarch64' machine='virt'>hvm</type>", "type='kvm'", "aarch64", id="Arm"),
        pytest.param(
            "<type arch='ppc64le' machine='pseries'>hvm</type>", "type='kvm'", "ppc64le", id="Power"
        ),
        pytest.param(
            "<type arch='s390x' machine='s390-ccw-virtio'>hvm</type>", "type='kvm'", "s390x", id="s390"
        ),
        pytest.param("<type arch='riscv64' machine='virt'>hvm</type>", "type='qemu'", "riscv64", id="RISC-V"),
        pytest.param(
            "<type arch='aarch64' machine='q35'>hvm</type>", "type='kvm'", "aarch64", id="arch before name"
        ),
        pytest.param(
            "<type arch='x86_64' machine='microvm'>hvm</type>", "type='kvm'", "microvm", id="microvm"
        ),
        pytest.param("<type arch='x86_64' machine='isapc'>hvm</type>", "type='kvm'", "isapc", id="isapc"),
        pytest.param("<type arch='x86_64' machine='none'>hvm</type>", "type='kvm'", "none", id="none"),
        pytest.param(
            "<type arch='x86_64' machine='xenfv'>hvm</type>", "type='xen'", "xen", id="Xen, fully virtualised"
        ),
        pytest.param("<type arch='x86_64' machine='xenpv'>xen</type>", "", "xen", id="Xen, paravirtualised"),
        pytest.param(
            "<type arch='x86_64' machine='pc'>linux</type>", "", "linux", id="the old name of Xen guests"
        ),
        pytest.param("<type arch='x86_64'>exe</type>", "type='lxc'", "lxc", id="a container"),
        pytest.param("<type>hvm</type>", "type='vmware'", "vmware", id="VMware"),
        pytest.param("<type>hvm</type>", "type='bhyve'", "bhyve", id="bhyve, whose virtio is another's"),
    ],
)
def test_what_does_not_apply_says_why(os_type: str, attrs: str, said: str) -> None:
    """Other boards, architectures and hypervisors are left alone, with the reason in words."""
    found = machine(os_type, attrs)
    assert not found.applicable
    assert f"'{said}'" in found.reason
