"""Kernels and driver builds: what a dependent answer becomes once the guest's build is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixer.errors import printable
from fixer.policy import ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixer.policy.model import Fact, GuestCapabilities

KERNEL, VIRTIO_WIN = PRODUCTS = ("kernel", "virtio-win")

# A build as virtio-win numbers its packages, 0.1.171-1 or 171; and DriverVer of an INF, where 62.77.104.17100 is
# build 171 (virtio-win-pkg-scripts, data/old-drivers). Other numbers (Red Hat's 1.9.x) follow another count.
_PACKAGE = re.compile(r"(?:0\.1\.)?(\d{1,3})(?:-\d{1,3})?")
_DRIVER_VER = re.compile(r"\d{2,3}\.\d+\.10[0-9]\.(\d{1,3})\d\d")
_LEADING = re.compile(r"\d{1,9}(?:[.-]\d{1,9})*")


def parse(product: str, text: str) -> ids.Version:
    """Return a build as numbers, () for what is none: ``3.10.0-327.el7.x86_64`` is (3, 10, 0, 327).

    A virtio-win build may be written 0.1.171, 171, 0.1.171-1 or as the DriverVer of an INF.
    """
    text = text.strip()
    if product == VIRTIO_WIN:
        build = _PACKAGE.fullmatch(text) or _DRIVER_VER.fullmatch(text)
        return (0, 1, int(build[1])) if build is not None else ()
    found = _LEADING.match(text)
    return tuple(int(part) for part in re.split(r"[.-]", found[0])) if found else ()


def settle(guest: GuestCapabilities, builds: Mapping[str, str]) -> GuestCapabilities:
    """Return ``guest`` with each answer decided that hangs on a build in ``builds`` (product -> version)."""
    if not builds:
        return guest
    return guest._replace(
        interface=_interface(guest.interface, builds),
        uefi=_answer(guest.uefi, builds),
        secure_boot=_answer(guest.secure_boot, builds),
        drivers={kind: _answer(fact, builds) for kind, fact in guest.drivers.items()},
        chipset={part: _answer(fact, builds) for part, fact in guest.chipset.items()},
        hotplug={way: _gained(fact, builds) for way, fact in guest.hotplug.items()},
    )


def _interface(fact: Fact, builds: Mapping[str, str]) -> Fact:
    return _decided(fact, fact.legacy_until, builds, "legacy", "modern")


def _answer(fact: Fact, builds: Mapping[str, str]) -> Fact:
    return _decided(fact, fact.needs, builds, "no", "yes")


def _gained(fact: Fact, builds: Mapping[str, str]) -> Fact:
    """Return the answer once the build is reached; before, it still hangs on how the host is set up."""
    settled = _answer(fact, builds)
    return settled if settled.value == "yes" else fact


def _decided(fact: Fact, threshold: str, builds: Mapping[str, str], before: str, after: str) -> Fact:
    product, _, first = threshold.partition(" ")
    if not first or product not in builds:
        return fact
    text = builds[product]
    later = ids.holds_since(parse(product, first), parse(product, text))
    if later is None:
        return fact
    relation = "is or follows" if later else "is older than"
    note = f"{product} {printable(text, 60)} {relation} {first}"
    return fact._replace(
        value=after if later else before, note="; ".join(filter(None, (note, fact.note))), condition=""
    )
