"""What a plan decided, in the few words that other makers of domains understand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.virtio import NATIVE_DRIVERS

if TYPE_CHECKING:
    from fixer.planning.plan import Plan


def is_legacy(plan: Plan) -> bool:
    """Tell whether the guest wants the legacy interface of virtio."""
    return plan.guest.interface in {"legacy", "depends"}


def rooted(plan: Plan) -> bool:
    """Tell whether the virtio devices with a legacy interface end on the root bus of Q35, all of them."""
    layout = plan.after.layout
    if layout is None:
        return False
    places = [at for device, at in layout.at.items() if device.driver and device.driver not in NATIVE_DRIVERS]
    return bool(places) and not any(place >> 8 for place in places)
