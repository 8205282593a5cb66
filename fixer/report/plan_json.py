"""A plan as JSON text, with DeepDiff's difference of its devices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fixer.domain.devices import format_address
from fixer.planning.codec import encode_plan

if TYPE_CHECKING:
    from fixer.domain.model import Domain
    from fixer.planning.plan import Plan


def render(plan: Plan, source: str, *, indent: int | None = 2) -> str:
    """Return one plan as one JSON object; every character outside ASCII is escaped."""
    value = encode_plan(plan, source)
    value["difference"] = difference(plan)
    return json.dumps(value, indent=indent)


def difference(plan: Plan) -> dict[str, Any]:
    """Return what DeepDiff finds between the devices before and after, keyed by device.

    Dicts keyed by identity, never lists: on lists DeepDiff blames the wrong device.
    """
    if not plan.pending:
        return {}
    from deepdiff import DeepDiff  # noqa: PLC0415 - 100 ms of import that only this needs

    found = DeepDiff(devices(plan.domain), devices(plan.after), verbose_level=2)
    return json.loads(found.to_json())  # type: ignore[no-any-return]


def devices(domain: Domain) -> dict[str, dict[str, Any]]:
    """Return each device with what a guest sees of it."""
    if domain.layout is None:
        return {}
    found = {}
    for device in domain.layout.devices:
        address = domain.layout.at.get(device)
        mode = domain.modes.get(device)
        found[device.key] = {
            "address": None if address is None else format_address(address),
            "model": device.model,
            "mode": None if mode is None else mode.value,
            "written": device.node is not None,
        }
    return found
