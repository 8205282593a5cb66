"""How a guest drives one kind of virtio device, place by place."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from fixer.domain.virtio import NATIVE_DRIVERS
from fixer.errors import printable
from fixer.report.facts import INTERFACES, fact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.policy.model import GuestCapabilities


def driving_text(guest: GuestCapabilities, kind: str, width: int) -> str:
    """Return a page for a person: the verdict, then the facts behind it."""
    lines = [f"{printable(guest.name)}: virtio {kind}"]
    for text in _sentences(guest, kind):
        lines += textwrap.wrap(
            printable(text, 2000),
            width,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join(lines) + "\n"


def _sentences(guest: GuestCapabilities, kind: str) -> Iterator[str]:
    driver, interface = guest.drives(kind), guest.interface
    yield from _verdict(guest, kind)
    yield f"driver: {fact_text(driver, guest.sources.get(driver.source, ''))}"
    yield f"interface: {fact_text(interface, guest.sources.get(interface.source, ''))}"
    for title, fact in (("driver", driver), ("interface", interface)):
        if fact.where:
            yield f"{title} stated in {fact.where}"


def _verdict(guest: GuestCapabilities, kind: str) -> Iterator[str]:
    answer = guest.drives(kind).value
    if answer == "no":
        yield "it has no driver: the device does not work in any place, and does no harm"
        return
    if answer in {"unknown", "depends"}:
        yield "whether it has a driver is not sure; planned as if it had, which does no harm"
    if kind in NATIVE_DRIVERS:
        if answer != "yes":
            yield f"virtio {kind} came with virtio 1.0 and has no legacy interface, wherever it sits"
        else:
            yield f"virtio {kind} is virtio 1.0 wherever it sits, and the guest drives it"
        return
    yield f"{INTERFACES[interface]}" if (interface := guest.interface.value) in INTERFACES else interface
    if guest.is_modern:
        yield "works everywhere: on pcie.0, behind a conventional bridge and behind a PCI Express port"
        return
    yield "works on i440FX, and on Q35 on pcie.0, behind a conventional PCI bridge, and as virtio-transitional"
    yield "behind a pcie-root-port or switch port of Q35 it is modern-only: the guest does not see it"
    if guest.legacy_only:
        yield "the guest wants disable-modern on top"
