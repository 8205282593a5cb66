"""Plans judged by libvirt itself: random domains, the samples, each strategy, for a RHEL 6 guest.

The verdict is read from libvirt's own dump of the result by ``oracle``, which shares no code with the
package under test.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import generator
import helpers
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from fixer.planning.plan import Plan

SEEDS = range(60)
# Found among the first 900 seeds. In each, a device leaves a bridge and others that have no address follow:
# conventional controllers (396), a disk on a bridge that libvirt would add (457), rng devices (793). They
# must not overtake one that has an address.
FOLLOWERS = (396, 457, 793)
LEGACY, MODERN = "rhel6", "rhel9.0"
WISHES: dict[str, dict[str, Any]] = {
    "no strategy": {},
    **{strategy: {"strategy": strategy} for strategy in helpers.STRATEGIES},
    "hotplug": {"hotplug": ("block", "net")},
}
SAMPLES = sorted((helpers.ROOT / "samples").glob("*.xml"))
UNCHANGED = frozenset({"already-right.xml", "i440fx-rhel6.xml"})
# What RHEL 6 has drivers for (the Linux driver's name). It has one for 9p in no kernel of its own.
DRIVEN = frozenset(
    {"virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "virtio_scsi", "virtio_rng"}
)
DRIVERS_KEPT_OFF_PCIE_0 = frozenset({"virtio_blk", "virtio_net"})


class Source(NamedTuple):
    """A domain and what libvirt makes of it."""

    name: str
    xml: bytes
    dump: str


def random_sources(oracle: ModuleType, seed: int) -> Iterator[Source]:
    """Yield a random domain, libvirt's dump of it, and the dump with some addresses taken away."""
    rng = random.Random(seed)
    xml = generator.domain(rng, uefi=rng.random() < 0.5)
    dump = oracle.define(xml)
    yield Source("as written", xml.encode(), dump)
    yield Source("dumped", dump.encode(), dump)
    stripped = generator.strip(rng, dump)
    again = accepted(oracle, stripped)
    if again is not None:
        yield Source("stripped", stripped.encode(), again)


def accepted(oracle: ModuleType, xml: str | bytes) -> str | None:
    import libvirt

    try:
        return oracle.define(xml)
    except libvirt.libvirtError:
        return None


@pytest.mark.parametrize("seed", [*SEEDS, *FOLLOWERS])
def test_plans_for_random_domains_hold_before_libvirt(oracle: ModuleType, seed: int) -> None:
    """Accepted, nothing modern-only left, order kept, nothing left to plan, nothing else touched."""
    wrong = [
        f"{source.name}, {wish}: {fault}"
        for source in random_sources(oracle, seed)
        for wish in WISHES
        for fault in faults(oracle, source, wish, LEGACY)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_modern_guest_keeps_every_byte(oracle: ModuleType, seed: int) -> None:
    """A guest that drives virtio 1.0 needs nothing, whatever is asked for."""
    for source in random_sources(oracle, seed):
        for wish in WISHES.values():
            plan = helpers.plan(source.xml, MODERN, **wish)
            assert plan.result == source.xml
            assert not plan.pending


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_plans_for_the_samples_hold_before_libvirt(oracle: ModuleType, path: Any, wish: str) -> None:
    """As they stand and as libvirt dumps them, for the guest that they name and for RHEL 6."""
    xml = path.read_bytes()
    dump = oracle.define(xml)
    own = None if b"libosinfo" in xml else "centos6.10"
    for source in (Source("as it stands", xml, dump), Source("dumped", dump.encode(), dump)):
        for os in (own, LEGACY):
            assert not faults(oracle, source, wish, os)
    assert (helpers.plan(xml, own).result == xml) == (path.name in UNCHANGED)


def faults(oracle: ModuleType, source: Source, wish: str, os: str | None) -> list[str]:
    """Plan a domain and return what is wrong with the plan; [] is what the tests want."""
    plan = helpers.plan(source.xml, os, **WISHES[wish])
    dump = accepted(oracle, plan.result)
    if dump is None:
        return [f"libvirt refuses the result\n{plan.result.decode()}"]
    return [
        *left_modern(oracle, plan, dump),
        *reordered(oracle, source.dump, dump),
        *touched(source.xml.decode(), plan.result.decode()),
        *(lost_hotplug(oracle, source.dump, dump) if wish == "hotplug" else ()),
        *(f"a second plan edits {name}" for name in second_plans(plan.result, dump, os, wish)),
    ]


def left_modern(oracle: ModuleType, plan: Plan, dump: str) -> Iterator[str]:
    drivers = {device.key: device.driver for device in oracle.pci_devices(dump)}
    for key in oracle.modern_only(dump):
        if drivers[key] in DRIVEN:
            yield f"{key} is left modern-only; unresolved: {[finding.device for finding in plan.unresolved]}"
    for finding in plan.unresolved:
        if finding.curable:
            yield f"{finding.device} is curable and yet unresolved: {finding.why}"


def reordered(oracle: ModuleType, before: str, after: str) -> Iterator[str]:
    """Yield the drivers whose devices the guest meets in another order, virtio or not."""
    old, new = oracle.guest_order(before), oracle.guest_order(after)
    for driver, keys in old.items():
        if keys != new.get(driver):
            yield f"order of {driver}: {keys} becomes {new.get(driver)}"


def lost_hotplug(oracle: ModuleType, before: str, after: str) -> Iterator[str]:
    old = oracle.virtio_addresses(before)
    for device in oracle.pci_devices(after):
        moved = device.where != old.get(device.key)
        if device.driver in DRIVERS_KEPT_OFF_PCIE_0 and device.where[0] == 0 and moved:
            yield f"{device.key} moved to pcie.0 and can not be unplugged"


def second_plans(result: bytes, dump: str, os: str | None, wish: str) -> Iterator[str]:
    """Yield which form of the result a second plan would edit: the result, libvirt's dump of it."""
    for name, xml in (("the result", result), ("libvirt's dump of the result", dump)):
        plan = helpers.plan(xml, os, **WISHES[wish])
        if plan.pending or plan.result != helpers.data(xml):
            yield f"{name}: {plan.edits}"


# --- Nothing but what an edit may touch ------------------------------------------------------------------

_TOKEN = re.compile(r"<!--.*?-->|<[^>]*>|[^<]+", re.DOTALL)
_PCI_ADDRESS = re.compile(r"<address\b[^>]*\btype=['\"]pci['\"]|</address>")
_MAY_CHANGE = re.compile(r"\s(?:model=['\"]virtio[\w-]*|xmlns:qemu=['\"][^'\"]*)['\"]")
_NAME = re.compile(r"<([^\s/>]+)")
_MODEL = re.compile(r"<model\b[^>]*\btype=['\"]virtio")


def touched(before: str, after: str) -> Iterator[str]:
    """Yield what stood in the source and does not stand in the result, at the same place in the row.

    Edits may add elements, rewrite a PCI address and the virtio model, and declare the qemu namespace.
    """
    rest = iter(_tokens(after))
    for token in _tokens(before):
        if token not in rest:  # reads on in the result until it is found
            yield f"{token!r} is gone or moved"
            return


def _tokens(xml: str) -> list[str]:
    """Split XML into tags and texts without what an edit may change."""
    tokens = []
    for token in _TOKEN.findall(xml):
        if token.isspace() or _PCI_ADDRESS.match(token):
            continue
        if token.startswith("<") and not token.startswith("<!"):
            kept = "<model virtio>" if _MODEL.match(token) else _MAY_CHANGE.sub("", token)
            tokens.append(kept.replace("/>", ">"))
            if token.endswith("/>"):
                tokens.append(f"</{_NAME.match(token)[1]}>")  # type: ignore[index]
        else:
            tokens.append(token.strip())
    return tokens
