"""Builders that tests share: small domains, plans with the shipped policies, views of the result."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fixer.domain.devices import short_address
from fixer.domain.model import Domain, read_domain
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
    return Request(policies(), preferences, os, assume, all_offers)


def plan(xml: str | bytes, os: str | None = "rhel6", **asked: object) -> Plan:
    return plan_bytes(data(xml), request(os, **asked))


def data(xml: str | bytes) -> bytes:
    return xml.encode() if isinstance(xml, str) else xml


def read(xml: str | bytes) -> Domain:
    return read_domain(data(xml))


def domain(devices: str = "", machine: str = "q35", *, uefi: bool = False, tail: str = "", head: str = "") -> str:
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
    return {driver: [device.key for device in found] for driver, found in subject.by_driver().items()}


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
