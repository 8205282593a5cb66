"""A running guest says itself what it is: real QEMU, a real kernel with either virtio driver, a real guest agent."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

libvirt = pytest.importorskip("libvirt")
legacy_guest = pytest.importorskip("legacy_guest")

from fixer.adapters.guest_probe import ask  # noqa: E402
from fixer.adapters.libvirt_store import LibvirtStore  # noqa: E402
from fixer.cli import identify, sources  # noqa: E402
from fixer.cli.sources import DomainRef  # noqa: E402
from fixer.cli.wiring import Settings  # noqa: E402
from fixer.guest.negotiated import Verdict  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.guest.identify import GuestIdentity

pytestmark = [pytest.mark.real, pytest.mark.boot, pytest.mark.xdist_group("oracle")]


def domain_xml(machine: str = "pc", metadata: str = "") -> str:
    return f"""<domain type='qemu'>
  <name>spoken</name>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>512</memory>
  <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><source file='/x'/><target dev='vda' bus='virtio'/></disk>
    <controller type='scsi' model='virtio-scsi'/>
    <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio'/>
  </devices>
</domain>"""


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    reason = legacy_guest.why_unavailable()
    if reason:
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(reason)
    yield legacy_guest.connection().getURI()
    sources._stores.clear()


@pytest.mark.parametrize(("legacy", "interface"), [(True, "legacy"), (False, "modern")])
def test_what_it_negotiated_is_seen_without_being_told(
    uri: str, capsys: pytest.CaptureFixture[str], legacy: bool, interface: str
) -> None:
    """On i440FX, before any move: the domain names no OS, and virtfix knows the interface of its drivers."""
    with legacy_guest.running(domain_xml(), legacy=legacy, system="zzz:1") as domain:
        settings = Settings(connect=uri, negotiated=True, guest_agent=True)
        told = said_by(domain, settings, capsys)
        store = LibvirtStore(uri, writable=True)
        seen = ask(store, domain.UUIDString(), "", agent=False, negotiated=True)
    assert seen.observation is not None
    kinds = {device.kind: device.verdict for device in seen.observation.devices}
    assert set(kinds) == {"block", "scsi", "net", "console", "rng", "balloon"}
    assert set(kinds.values()) == {Verdict(interface)}
    assert told["interface"]["value"] == interface
    assert told["interface"]["source_id"] == "negotiated"


def test_a_guest_agent_names_the_system_and_its_kernel(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """CentOS 7 says no minor; the kernel that its agent names decides. Metadata that differs is a conflict."""
    metadata = (
        "<libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
        "<libosinfo:os id='http://redhat.com/rhel/6.9'/></libosinfo:libosinfo>"
    )
    with legacy_guest.running(domain_xml(), legacy=False, system="centos:7") as domain:
        told = said_by(domain, Settings(connect=uri, guest_agent=True), capsys)
        assert (told["id"], told["how"], told["interface"]["value"]) == ("centos7", "agent", "modern")
        assert told["builds"]["kernel"].startswith(("6.", "5.")), "Debian's kernel, which the guest runs"

        identity = said_of_xml(domain_xml(metadata=metadata), domain, uri)
        assert identity.how == "metadata"
        assert any("the guest agent names" in text for text in identity.conflicts)


def test_a_host_that_offers_no_virtio_1_proves_nothing(uri: str) -> None:
    """Machine types up to 2.6 switch virtio 1.0 off: a modern guest looks legacy there, and is not taken for it."""
    with legacy_guest.running(domain_xml("pc-i440fx-2.6"), legacy=False) as domain:
        if "pc-i440fx-2.6" not in domain.XMLDesc():
            pytest.skip("this QEMU has no pc-i440fx-2.6")
        seen = ask(LibvirtStore(uri, writable=True), domain.UUIDString(), "", agent=False, negotiated=True)
    assert seen.observation is not None
    assert {device.verdict for device in seen.observation.devices} == {Verdict.NOT_OFFERED}
    assert seen.observation.interface == ""


def test_what_can_not_be_asked_is_a_remark(uri: str) -> None:
    store = LibvirtStore(uri, writable=True)
    gone = ask(store, "00000000-0000-0000-0000-00000000dead", "nosuch", agent=True, negotiated=True)
    assert gone.observation is None
    assert gone.remarks == (f"{store.uri} has no such domain: its guest was not asked",)


def said_by(domain: libvirt.virDomain, settings: Settings, capsys: pytest.CaptureFixture[str]) -> dict:
    sources._stores.clear()
    reference = DomainRef.of(domain.name(), domain.UUIDString())
    capsys.readouterr()
    identify.run([reference], settings, "json", 80)
    return json.loads(capsys.readouterr().out)


def said_of_xml(xml: str, domain: libvirt.virDomain, uri: str) -> GuestIdentity:
    from fixer.cli.wiring import build_request
    from fixer.domain.model import read_domain
    from fixer.planning.planner import who_is

    settings = Settings(connect=uri, guest_agent=True)
    read = read_domain(xml.encode())
    reference = DomainRef.of(domain.name(), domain.UUIDString())
    return who_is(read, build_request(settings), sources.seen(reference, read, settings), always=True)
