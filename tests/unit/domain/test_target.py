"""What a host offers, and what a plan makes of it."""

from __future__ import annotations

import pytest
from helpers import ROOT, policies

from fixer.domain.model import read_domain
from fixer.domain.target import Target, merged, read_target
from fixer.errors import VirtfixError
from fixer.guest.knowledge import Knowledge
from fixer.planning.planner import Request, make_plan

SAMPLE = (ROOT / "samples" / "rhel6-q35-ovmf.xml").read_bytes()
DOMAIN = """<domainCapabilities>
  <path>/usr/bin/qemu-system-x86_64</path><domain>kvm</domain><machine>{}</machine><arch>x86_64</arch>
  <os supported='yes'><enum name='firmware'>{}</enum>
    <loader supported='yes'><enum name='type'><value>rom</value>{}</enum></loader></os>
  <devices><disk supported='yes'><enum name='bus'><value>virtio</value></enum>
    <enum name='model'>{}</enum></disk></devices>
</domainCapabilities>"""
MODELS = "".join(f"<value>{m}</value>" for m in ("virtio", "virtio-transitional", "virtio-non-transitional"))
HOST = """<capabilities><host><arch>x86_64</arch></host>
  <guest><os_type>hvm</os_type><arch name='x86_64'><machine canonical='pc-q35-7.2'>q35</machine>
    <machine>pc-q35-6.2</machine><domain type='qemu'/></arch></guest>
  <guest><os_type>hvm</os_type><arch name='aarch64'><machine>virt-7.2</machine></arch></guest></capabilities>"""


def domain_caps(
    machine: str = "pc-q35-6.2", firmware: str = "efi", pflash: bool = True, models: str = MODELS
) -> Target:
    text = DOMAIN.format(
        machine, f"<value>{firmware}</value>", "<value>pflash</value>" if pflash else "", models
    )
    return read_target(text.encode(), "caps.xml")


def unresolved(target: Target, data: bytes = SAMPLE) -> list[str]:
    plan = make_plan(read_domain(data), Request(Knowledge(policies()), policies().site, target=target))
    return [finding.why for finding in plan.unresolved if finding.code.value == "VF008"]


def test_capabilities_of_a_host() -> None:
    target = read_target(HOST.encode(), "h")
    assert target.machines == {"q35", "pc-q35-7.2", "pc-q35-6.2"}
    assert [target.offers_machine(name) for name in ("q35", "pc-q35-6.2", "pc-q35-5.2", "virt-7.2", "")] == [
        True, True, False, False, True,
    ]  # fmt: skip


def test_capabilities_of_a_domain() -> None:
    target = domain_caps()
    assert (target.only, target.firmware, target.offers_transitional) == ("pc-q35-6.2", {"efi"}, True)
    assert target.offers_machine("q35")
    assert not target.offers_machine("pc")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (domain_caps(), []),
        (read_target(HOST.encode(), "h"), []),
        (
            domain_caps("pc-q35-7.2"),
            [
                "on the target, machine type pc-q35-6.2 is not spoken of: the capabilities are those of pc-q35-7.2"
            ],
        ),
        (Target("h", frozenset({"pc-q35-9.0"})), ["on the target, machine type pc-q35-6.2 is not offered"]),
        (domain_caps(firmware="bios", pflash=False), ["on the target, UEFI is not offered"]),
        (domain_caps(firmware="bios", pflash=True), []),
        (Target("nothing said"), []),
    ],
)
def test_what_is_missing_is_said(target: Target, said: list[str]) -> None:
    assert unresolved(target) == said


def test_a_plan_uses_only_what_the_target_has() -> None:
    """Without transitional models that remedy is not used, however much it was asked for."""
    site = policies().site._replace(strategy="transitional")
    for target, used in ((domain_caps(), True), (domain_caps(models="<value>virtio</value>"), False)):
        plan = make_plan(read_domain(SAMPLE), Request(Knowledge(policies()), site, target=target))
        assert ("transitional" in {change.remedy for change in plan.changes}) == used
        assert plan.pending


def test_an_old_libvirt_gets_the_override_that_it_knows() -> None:
    site = policies().site._replace(strategy="override")
    for version, element in ((8_000_000, b"<qemu:commandline>"), (9_000_000, b"<qemu:override>")):
        request = Request(Knowledge(policies()), site, target=Target("h", libvirt=version))
        assert element in make_plan(read_domain(SAMPLE), request).result


def test_what_one_does_not_say_the_other_may() -> None:
    both = merged(Target("a", libvirt=9), Target("b", only="pc", firmware=frozenset({"efi"})))
    assert both == Target("a", only="pc", firmware=frozenset({"efi"}), libvirt=9)


@pytest.mark.parametrize("data", [b"", b"<domain/>", b"<domainCapabilities>", b"<!DOCTYPE x><capabilities/>"])
def test_what_is_no_capabilities_is_told(data: bytes) -> None:
    with pytest.raises(VirtfixError) as error:
        read_target(data, "caps.xml")
    assert str(error.value).startswith("caps.xml:")
    assert "virsh domcapabilities" in str(error.value)
