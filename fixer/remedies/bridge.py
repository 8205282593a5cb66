"""Put the device behind a conventional PCI bridge, where QEMU makes it transitional."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.machine import Family
from fixer.remedies.base import Case, Desk, Offer, model_for_move, move_edits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.domain.edits import Edit

NAME = "bridge"
TITLE = "Behind a conventional PCI bridge"


def offer(case: Case, desk: Desk) -> Offer:
    if desk.domain.machine.family is not Family.Q35:
        return Offer(NAME, "the machine has no express ports to come from")
    if desk.right_place(case):
        return Offer(NAME, "the place is right already; what is wrong stays wrong elsewhere")
    return desk.offer_bridge(NAME, case)


def edits(case: Case, offer: Offer, desk: Desk) -> Iterable[Edit]:
    assert offer.spot is not None
    return move_edits(case, offer.spot, model_for_move(case), desk)
