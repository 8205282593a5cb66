"""Say model='virtio-transitional', on a conventional slot (libvirt >= 5.2.0, QEMU >= 4.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.machine import Family
from fixer.remedies.base import Case, Desk, Offer, model_edits, move_edits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.domain.edits import Edit

NAME = "transitional"
TITLE = "By model='virtio-transitional', on a conventional slot"
MODEL = "virtio-transitional"


def offer(case: Case, desk: Desk) -> Offer:
    if case.legacy_only:
        return Offer(NAME, "a transitional model offers virtio 1.0 too, which this guest does not bear")
    if case.device.tag == "interface" and case.device.type == "vdpa":
        return Offer(NAME, "libvirt gives a NIC of type vdpa no model")
    if case.properties:  # QEMU would refuse to start
        return Offer(NAME, "QEMU properties are set on it, which a transitional model does not know")
    if desk.right_place(case):
        return _in_place(case, desk)
    if desk.domain.machine.family is not Family.Q35:
        return Offer(NAME, "the machine has no express ports to come from")
    return desk.offer_bridge(NAME, case)


def _in_place(case: Case, desk: Desk) -> Offer:
    window = desk.costs_window(case.device)
    if not case.device.variant:
        return Offer(NAME, "the place is right already")
    if case.current is None or not case.low < case.current < case.high:
        return Offer(NAME, "a device before it in the guest's order moves behind it")
    if window and desk.windows_left() < 1:
        return Offer(NAME, f"all {desk.capacity} I/O windows of the firmware are used")
    price = desk.price(NAME, moved=False, windows=int(window))
    return Offer(NAME, "", price, note="the place is right; the model changes")


def edits(case: Case, offer: Offer, desk: Desk) -> Iterable[Edit]:
    if offer.spot is None:
        return model_edits(case.device, MODEL)
    return move_edits(case, offer.spot, MODEL, desk)
