"""Give the device an address on pcie.0, where QEMU makes it transitional."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.machine import Family
from fixer.remedies.base import Case, Desk, Offer, model_for_move, move_edits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.domain.edits import Edit

NAME = "integrated"
TITLE = "Onto pcie.0, as integrated endpoints"


def offer(case: Case, desk: Desk) -> Offer:
    if desk.domain.machine.family is not Family.Q35:
        return Offer(NAME, "the machine has no pcie.0")
    if case.keep_hotplug:
        return Offer(NAME, "an integrated endpoint can not be hot-plugged, which was asked for")
    if desk.right_place(case):
        return Offer(NAME, "the place is right already; what is wrong stays wrong elsewhere")
    if case.pinned:
        return Offer(NAME, case.pinned)
    spot = desk.places.on_root(case.low, case.high)
    if spot is None:
        return Offer(NAME, "no place on pcie.0 keeps the order of the guest's devices")
    price = desk.price(NAME, moved=case.device.address is not None, hotplug_lost=desk.on_port(case.device))
    return Offer(NAME, "", price, spot)


def edits(case: Case, offer: Offer, desk: Desk) -> Iterable[Edit]:
    assert offer.spot is not None
    return move_edits(case, offer.spot, model_for_move(case), desk)
