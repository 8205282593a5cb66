"""What names an OS: metadata of platforms, inspection reports, what QEMU says of a running guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixer.domain.model import Domain, read_domain
from fixer.errors import VirtfixError
from fixer.guest import names
from fixer.guest.clues import Seen, gather, metadata_values, of_inspection
from fixer.guest.knowledge import Knowledge
from fixer.guest.negotiated import Observation, Verdict, read_status
from fixer.policy.load import load

if TYPE_CHECKING:
    from fixer.policy.match import PolicySet


def domain(metadata: str, name: str = "vm") -> Domain:
    return read_domain(f"<domain><name>{name}</name><metadata>{metadata}</metadata></domain>".encode())


COCKPIT = (
    '<cockpit_machines:data xmlns:cockpit_machines="https://github.com/cockpit-project/cockpit/tree/master/pkg/machines">'
    "<cockpit_machines:has_install_phase>false</cockpit_machines:has_install_phase>"
    "<cockpit_machines:os_variant>{}</cockpit_machines:os_variant></cockpit_machines:data>"
)
BOXES = (
    '<boxes:gnome-boxes xmlns:boxes="https://wiki.gnome.org/Apps/Boxes"><os-state>installed</os-state>'
    "<media-id>{}</media-id></boxes:gnome-boxes>"
)
NOVA = (
    '<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>x</nova:name>'
    '<nova:flavor name="m1.large"><nova:memory>2048</nova:memory></nova:flavor>'
    '<nova:image uuid="1"><nova:properties><nova:property name="os_type">linux</nova:property>'
    '<nova:property name="os_distro">{}</nova:property>'
    '<nova:property name="os_version">{}</nova:property></nova:properties></nova:image></nova:instance>'
)
OVIRT = (
    '<ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0"><ovirt-vm:custom><ovirt-vm:osType>{}</ovirt-vm:osType>'
    "</ovirt-vm:custom></ovirt-vm:vm>"
)
VAGRANT = '<vagrant:vm xmlns:vagrant="http://vagrant-libvirt"><vagrant:box>{}</vagrant:box></vagrant:vm>'


@pytest.mark.parametrize(
    ("metadata", "os_id", "by"),
    [
        (COCKPIT.format("rhel6.9"), "rhel6.9", "Cockpit"),
        (COCKPIT.format("win2k8r2"), "win2k8r2", "Cockpit"),
        (BOXES.format("http://fedoraproject.org/fedora/20:3"), "fedora20", "GNOME Boxes"),
        (NOVA.format("rhel", "6.9"), "rhel6.9", "OpenStack"),
        (NOVA.format("sles", "12.1"), "sles12sp1", "OpenStack"),
        (NOVA.format("ubuntu14.04", ""), "ubuntu14.04", "OpenStack"),
        (NOVA.format("windows", "2008r2"), "win2k8r2", "OpenStack"),
        (OVIRT.format("rhel_6x64"), "rhel6", "oVirt"),
        (OVIRT.format("windows_2008R2x64"), "win2k8r2", "oVirt"),
        (OVIRT.format("windows_xp"), "winxp", "oVirt"),
        (OVIRT.format("ubuntu_14_04"), "ubuntu14.04", "oVirt"),
        (VAGRANT.format("generic/centos6"), "centos6", "Vagrant"),
        (VAGRANT.format("centos/7"), "centos7", "Vagrant"),
        (VAGRANT.format("debian/wheezy64"), "debianwheezy", "Vagrant"),
        (VAGRANT.format("ubuntu/trusty64"), "ubuntutrusty", "Vagrant"),
        (VAGRANT.format("bento/centos-6.9"), "centos6.9", "Vagrant"),
        (VAGRANT.format("fedora/20-cloud-base"), "fedora20", "Vagrant"),
    ],
)
def test_platforms(shipped: PolicySet, metadata: str, os_id: str, by: str) -> None:
    found = gather(domain(metadata), None, ())
    known = [(clue, guest) for clue in found if (guest := Knowledge(shipped).first(clue.ids))]
    assert [guest.id for _, guest in known] == [os_id]
    assert known[0][0].by == f"the {by} metadata (line 1)"
    assert known[0][0].kind == "platform"


@pytest.mark.parametrize(
    "value", ["other_linux", "linux", "Other OS", "unassigned", "", "x" * 300, "\u202e" + "a"]
)
def test_platforms_that_name_no_system(shipped: PolicySet, value: str) -> None:
    for template in (OVIRT, COCKPIT, VAGRANT):
        clues = gather(domain(template.format(value)), None, ())
        assert all(Knowledge(shipped).first(clue.ids) is None for clue in clues)


def test_foreign_metadata_is_no_clue() -> None:
    assert gather(domain('<a:b xmlns:a="urn:x" id="rhel6.9"><os>rhel6.9</os></a:b>'), None, ()) == []


TAGS = (
    '<t:site xmlns:t="urn:site"><t:tier>prod</t:tier><t:owner team="db"><t:name>ann</t:name></t:owner></t:site>'
    '<o:site xmlns:o="urn:other"><o:tier>test</o:tier></o:site>'
)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("tier", ["prod", "test"]),
        ("site/tier", ["prod", "test"]),
        ("site/owner/name", ["ann"]),
        ("site/owner/@team", ["db"]),
        ("name", ["ann"]),
        ("owner/name", []),
        ("site/@team", []),
        ("", []),
        ("/", []),
        ("@team", []),
    ],
)
def test_metadata_keys(key: str, values: list[str]) -> None:
    assert list(metadata_values(domain(TAGS), key)) == values


def test_a_domain_without_metadata_has_no_values() -> None:
    assert list(metadata_values(read_domain(b"<domain/>"), "tier")) == []


def test_a_mapping_is_heard() -> None:
    text = "format: 1\nkind: mapping\ndomains:\n  - {match: {metadata: {tier: prod}}, os: rhel6.9, kernel: 2.6.32}\n"
    mapping = load([("m.yaml", text.encode())]).mapping
    (clue,) = gather(domain(TAGS), None, mapping)
    assert (clue.kind, clue.ids, clue.by) == ("mapping", ("rhel6.9",), "the mapping (m.yaml:4)")
    assert clue.builds == {"kernel": "2.6.32"}


# --- virt-inspector -----------------------------------------------------------------------------------


def report(*systems: str) -> bytes:
    inside = "".join(f"<operatingsystem>{text}</operatingsystem>" for text in systems)
    return f"<?xml version='1.0'?><operatingsystems>{inside}</operatingsystems>".encode()


def linux(distro: str, version: str, *, osinfo: str = "", apps: str = "") -> str:
    major, _, minor = version.partition(".")
    stated = f"<osinfo>{osinfo}</osinfo>" if osinfo else ""
    return (
        f"<root>/dev/sda1</root><name>linux</name><arch>x86_64</arch><distro>{distro}</distro>"
        f"<product_name>{distro} release {version}</product_name><major_version>{major}</major_version>"
        f"<minor_version>{minor}</minor_version>{stated}<applications>{apps}</applications>"
    )


def application(name: str, version: str, release: str = "") -> str:
    return f"<application><name>{name}</name><version>{version}</version><release>{release}</release></application>"


WINDOWS = (
    "<root>/dev/sda2</root><name>windows</name><distro>windows</distro>"
    "<product_name>Windows Server 2008 R2 Standard</product_name><product_variant>Server</product_variant>"
    "<major_version>6</major_version><minor_version>1</minor_version>"
)


@pytest.mark.parametrize(
    ("system", "os_id", "builds"),
    [
        (linux("rhel", "6.9"), "rhel6.9", {}),
        (linux("centos", "7.4", osinfo="centos7.0"), "centos7.0", {}),
        (
            linux("centos", "7.1", apps=application("kernel", "3.10.0", "229.el7")),
            "centos7.1",
            {"kernel": "3.10.0-229.el7"},
        ),
        # Of several kernels the oldest counts: it may be the one that boots.
        (
            linux(
                "ubuntu",
                "14.04",
                apps=application("linux-image-4.4.0-31-generic", "4.4.0-31.50")
                + application("linux-image-3.13.0-24-generic", "3.13.0-24.47")
                + application("linux-image-generic", "3.13.0.24.28"),
            ),
            "ubuntu14.04",
            {"kernel": "3.13.0-24-generic"},
        ),
        (WINDOWS, "win2k8r2", {}),
        (
            WINDOWS
            + "<applications><application><name>{1}</name><display_name>Virtio-win-guest-tools</display_name>"
            "<version>0.1.208</version></application></applications>",
            "win2k8r2",
            {"virtio-win": "0.1.208"},
        ),
        (linux("sles", "11.4"), "sles11sp4", {}),
        # Numbers, not texts: 14.04 comes as 14 and 4.
        (linux("ubuntu", "14.4"), "ubuntu14.04", {}),
    ],
)
def test_inspection_reports(shipped: PolicySet, system: str, os_id: str, builds: dict[str, str]) -> None:
    (clue,) = of_inspection(report(system), "r.xml")
    guest = Knowledge(shipped).first(clue.ids)
    assert guest is not None
    assert guest.id == os_id
    assert clue.builds == builds


def test_a_report_of_two_systems_gives_two_clues() -> None:
    clues = of_inspection(report(linux("rhel", "6.9"), WINDOWS), "r.xml")
    assert [clue.ids[0] for clue in clues] == ["rhel6.9", "win2k8r2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "r.xml:1:0: not well-formed XML"),
        (
            b"<domain/>",
            "r.xml:1:1: the root element is <domain>, not <operatingsystems>; give the output of virt-inspector",
        ),
        (b"<operatingsystems/>", "r.xml: names no operating system"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><operatingsystems/>", "document type declaration"),
        (b"<operatingsystems>" + b"<a>" * 300, "nested deeper"),
        (b"x" * (65 * 1024 * 1024), "larger than 64 MiB"),
    ],
)
def test_bad_reports_are_told(data: bytes, message: str) -> None:
    with pytest.raises(VirtfixError) as error:
        of_inspection(data, "r.xml")
    assert message.replace(":1:0", "").split(":")[0] in str(error.value)
    assert message.rpartition(": ")[2].split(";")[0] in str(error.value)


# --- QEMU ---------------------------------------------------------------------------------------------

OFFERED = {
    "transports": ["VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)", "VIRTIO_RING_F_EVENT_IDX: x"]
}
OLD = {"transports": ["VIRTIO_RING_F_EVENT_IDX: x"]}
DRIVING = {
    "statuses": ["VIRTIO_CONFIG_S_ACKNOWLEDGE: x", "VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]
}
STOPPED = {"statuses": ["VIRTIO_CONFIG_S_ACKNOWLEDGE: x"]}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ({"status": DRIVING, "host-features": OFFERED, "guest-features": OFFERED}, Verdict.MODERN),
        ({"status": DRIVING, "host-features": OFFERED, "guest-features": OLD}, Verdict.LEGACY),
        ({"status": DRIVING, "host-features": OLD, "guest-features": OLD}, Verdict.NOT_OFFERED),
        ({"status": STOPPED, "host-features": OFFERED, "guest-features": OLD}, Verdict.SILENT),
        ({"status": {"statuses": []}}, Verdict.SILENT),
        ({}, Verdict.SILENT),
        ({"status": None, "host-features": 3, "guest-features": {"transports": 4}}, Verdict.SILENT),
        ({"status": {"statuses": [1, None]}, "host-features": []}, Verdict.SILENT),
    ],
)
def test_status_of_a_device(status: dict[str, object], verdict: Verdict) -> None:
    device = read_status("/machine/peripheral/x", "virtio-blk", status)
    assert (device.kind, device.verdict) == ("block", verdict)


def test_devices_are_counted_in_the_sentence() -> None:
    status = {"status": DRIVING, "host-features": OFFERED, "guest-features": OLD}
    devices = [
        read_status(name, name, status) for name in ("virtio-net", "virtio-blk", "virtio-net", "virtio-zzz")
    ]
    observation = Observation((*devices, read_status("b", "virtio-balloon", {})))
    assert observation.sentence == (
        "the running guest negotiated legacy: block, 2 net, virtio-zzz; no driver: balloon"
    )
    assert Observation(()).sentence.endswith("nothing: it has no virtio device")
    assert Seen(observation=observation).plus(Seen(remarks=("x",))).observation is observation


@pytest.mark.parametrize(
    ("kernel", "ids"),
    [("2.6.32-754.el6", ("linux2.6.32",)), ("5.10.0", ("linux5.10",)), ("x", ()), ("", ()), ("6", ())],
)
def test_ids_of_kernels(kernel: str, ids: tuple[str, ...]) -> None:
    assert names.of_kernel(kernel) == ids


@pytest.mark.parametrize(
    ("kernel", "interface"),
    [
        ("2.6.24", "legacy"),
        ("3.19", "legacy"),
        ("4.0", "depends"),
        ("4.1", "modern"),
        ("4.20", "modern"),
        ("5.0", "modern"),
        ("6.12", "modern"),
        ("7.3", "modern"),
    ],
)
def test_every_kernel_has_a_verdict(shipped: PolicySet, kernel: str, interface: str) -> None:
    guest = Knowledge(shipped).first(names.of_kernel(kernel))
    assert guest is not None
    assert guest.interface.value == interface
