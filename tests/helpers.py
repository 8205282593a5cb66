"""Builders that tests share: small domains, plans with the shipped policies, views of the result."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fixer.domain.devices import short_address
from fixer.domain.model import Domain, read_domain
from fixer.guest.knowledge import Knowledge
from fixer.planning.planner import Request, plan_bytes
from fixer.policy.load import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixer.domain.devices import Device
    from fixer.planning.plan import Plan
    from fixer.policy.match import PolicySet

ROOT = Path(__file__).parents[1]
STRATEGIES = ("integrated", "bridge", "transitional", "override")
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"

# No shipped guest wants disable-modern, so the tests bring one that does. LEGACY_ONLY drives the kinds
# that Windows XP drives: block, net, balloon, console.
LEGACY_ONLY = "test-legacy-only"
_EXTRA = b"""\
format: 1
kind: guests
family: windows
sources: {t: a guest of the tests}
releases:
  - name: Legacy only
    osinfo: [test-legacy-only]
    like: winxp
    legacy-only: true
"""


@cache
def policies() -> PolicySet:
    folder = ROOT / "policies"
    files = [(str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.glob("*/*.yaml"))]
    return load([*files, ("extra.yaml", _EXTRA)])


def request(
    os: str | None = "rhel6",
    *,
    strategy: str | None = None,
    hotplug: Iterable[str] = (),
    assume: str | None = None,
    all_offers: bool = False,
    **site: object,
) -> Request:
    """Return what a user would ask; ``site`` are further fields of SitePreferences."""
    preferences = policies().site._replace(strategy=strategy, hotplug=frozenset(hotplug), **site)
    return Request(Knowledge(policies()), preferences, os, assume, all_offers)


def plan(xml: str | bytes, os: str | None = "rhel6", **asked: object) -> Plan:
    return plan_bytes(data(xml), request(os, **asked))


def data(xml: str | bytes) -> bytes:
    return xml.encode() if isinstance(xml, str) else xml


def read(xml: str | bytes) -> Domain:
    return read_domain(data(xml))


def domain(
    devices: str = "", machine: str = "q35", *, uefi: bool = False, tail: str = "", head: str = ""
) -> str:
    """Return a domain with these devices; ``head`` goes before <devices>, ``tail`` behind."""
    firmware = " firmware='efi'" if uefi else ""
    return f"""\
<domain type='kvm'>
  <name>t</name>
  <os{firmware}>
    <type arch='x86_64' machine='{machine}'>hvm</type>
  </os>
{head}  <devices>
{devices}  </devices>
{tail}</domain>
"""


# --- Devices, one line each: no balloon unless it is asked for ----------------------------------------

NO_BALLOON = "    <memballoon model='none'/>\n"
NO_USB = "    <controller type='usb' index='0' model='none'/>\n"
BARE = NO_BALLOON + NO_USB


def at(place: str) -> str:
    """Return <address> for a place written as BB:SS.F, '' for none."""
    if not place:
        return ""
    bus, _, rest = place.partition(":")
    slot, _, function = rest.partition(".")
    return f"<address type='pci' domain='0x0000' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"


def disk(name: str, place: str = "", attrs: str = "", inner: str = "") -> str:
    return f"    <disk type='file' device='disk'{attrs}><target dev='{name}' bus='virtio'/>{inner}{at(place)}</disk>\n"


def nic(number: int, place: str = "", model: str = "virtio", inner: str = "") -> str:
    mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    return f"    <interface type='user'><mac address='{mac}'/><model type='{model}'/>{inner}{at(place)}</interface>\n"


def nic_key(number: int) -> str:
    return f"interface[52:54:00:00:{number >> 8:02x}:{number & 255:02x}]"


def pci(index: int, model: str, place: str = "", attrs: str = "") -> str:
    address = at(place).replace("/>", f" {attrs}/>") if attrs else at(place)
    return f"    <controller type='pci' index='{index}' model='{model}'>{address}</controller>\n"


def port(index: int, place: str = "", attrs: str = "") -> str:
    return pci(index, "pcie-root-port", place, attrs)


def ports(count: int, first: int = 1, slot: int = 2) -> str:
    """Return root ports with indexes from ``first`` on, eight functions a slot from ``slot`` on."""
    return "".join(
        port(
            first + number,
            f"00:{slot + number // 8:02x}.{number % 8}",
            "multifunction='on'" if number % 8 == 0 else "",
        )
        for number in range(count)
    )


def disk_names(count: int) -> list[str]:
    """Return vda, vdb, .. vdz, vdaa, .."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [*letters, *(one + two for one in letters for two in letters)]
    return [f"vd{name}" for name in names[:count]]


# --- Looking at results -------------------------------------------------------------------------------


def places(subject: Domain) -> dict[str, str]:
    """Return where each device sits: {key: 'BB:SS.F'}."""
    assert subject.layout is not None
    return {device.key: short_address(address) for device, address in subject.layout.at.items()}


def modes(subject: Domain) -> dict[str, str]:
    return {device.key: mode.value for device, mode in subject.modes.items()}


def order(subject: Domain) -> dict[str, list[str]]:
    return {driver: [device.key for device in found] for driver, found in subject.by_driver.items()}


def remedies(made: Plan) -> dict[str, str]:
    return {change.device: change.remedy for change in made.changes}


def bus_model(subject: Domain, key: str) -> str:
    """Return the model of the controller whose bus the device sits on."""
    assert subject.layout is not None
    bus = subject.layout.bus_of(subject.by_key[key])
    assert bus is not None
    return bus.model


def virtio_devices(subject: Domain) -> Iterator[Device]:
    yield from subject.modes


# --- The corpus of other projects ---------------------------------------------------------------------


def corpus() -> list[Path]:
    """Return the XML files of VIRTFIX_CORPUS, or of shared/corpus beside the repository; [] without."""
    folder = Path(os.environ.get("VIRTFIX_CORPUS") or ROOT.parent / "shared" / "corpus")
    return sorted(path for path in folder.rglob("*") if path.is_file())


# --- The invariants of docs/architecture.md, checked without planning/prove.py ------------------------

CURED = {"legacy", "transitional"}


def check_invariants(xml: str | bytes, made: Plan, os: str | None = "rhel6", **asked: object) -> None:
    """Assert that a plan holds invariants 1 to 8, by means of its own."""
    before, after = read(xml), read(made.result)
    source, result = data(xml), made.result
    if not made.edits:
        assert result == source, "1: nothing to do, the same bytes"
    again = plan(result, os, **asked)
    assert again.edits == (), (
        f"2: the second plan still changes {[change.device for change in again.changes]}"
    )
    assert again.result == result
    _check_untouched(before, made)
    _check_places(after)
    if before.layout is None:
        return
    unresolved = {key for finding in made.unresolved for key in finding.device.split(", ")}
    keys = {
        driver: [key for key in found if key not in unresolved] for driver, found in order(before).items()
    }
    now = {driver: [key for key in found if key not in unresolved] for driver, found in order(after).items()}
    assert keys == now, "5: devices of one driver keep their order"
    guest = policies().find(os) if os else None
    for device, mode in after.modes.items():
        driven = guest is not None and not guest.is_modern and guest.drives(device.driver).value == "yes"
        if driven and device.key not in unresolved:
            good = {"legacy"} if guest.legacy_only else CURED
            assert mode.value in good, f"6: {device.key} is {mode.value} and nobody says so"
    room = {"uefi": 9, "bios": 14}[before.firmware.kind]
    used, was = sum(after.io_windows.values()), sum(before.io_windows.values())
    assert used <= max(room, was), f"7: {used} I/O windows of {room}"
    if was > room and made.findings:
        assert any(finding.code.value == "VF006" for finding in made.unresolved), "7: starving, and not said"
    _check_accounted(before, after, made)


def _check_untouched(before: Domain, made: Plan) -> None:
    """3: take the new text out of the result, and the old text that it replaces is all that is missing."""
    source, rest, at_byte = before.document.source, made.after.document.source, 0
    for splice in made.splices:
        kept = source[at_byte : splice.start]
        assert rest.startswith(kept), f"3: bytes before {splice.start} changed"
        rest = rest[len(kept) :]
        assert rest.startswith(splice.new)
        rest, at_byte = rest[len(splice.new) :], splice.end
        assert b"<!--" not in source[splice.start : splice.end], "3: a comment is gone"
    assert rest == source[at_byte:], "3: bytes behind the last edit changed"


def _check_places(after: Domain) -> None:
    """4: unique, legal, visible. That the result could be read shows legality; the rest is counted here."""
    if after.layout is None:
        return
    places_of = list(after.layout.at.values())
    assert len(set(places_of)) == len(places_of), "4: an address twice"
    reserved = {0, 0x1F << 3, 0x1F << 3 | 3}
    assert not reserved & set(places_of), "4: an address of the chipset"
    for device, address in after.layout.at.items():
        if address & 7 and device.driver and device.node is not None and "ua-virtfix" not in device.alias:
            head = after.layout.holder.get(address & ~7)
            if head is not None and head.address is not None:
                assert head.multifunction != "off", f"4: {device.key} hides behind {head.key}"


def _check_accounted(before: Domain, after: Domain, made: Plan) -> None:
    """8: what differs between the two domains is what the edits name."""
    named = {edit.at.partition("]/")[0] + ("]" if "]/" in edit.at else "") for edit in made.edits}
    named |= {edit.at.partition("/")[0] for edit in made.edits}
    named |= {getattr(edit, "key", "") for edit in made.edits}
    for key, device in before.by_key.items():
        now = after.by_key.get(key)
        assert now is not None, f"8: {key} is gone"
        if device.node is not None and now.node is not None and device.node.raw != now.node.raw:
            assert key in named, f"8: {key} changed without an edit"
    for key, device in after.by_key.items():
        if device.node is not None and (key not in before.by_key or before.by_key[key].node is None):
            assert key in named, f"8: {key} appeared without an edit"
