"""A plan as JSON text, with DeepDiff's difference of its devices, the diff of its text, and the PCI tree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fixer.domain.devices import format_address
from fixer.planning.codec import encode_plan
from fixer.report.diff import unified
from fixer.report.topology import nodes

if TYPE_CHECKING:
    from fixer.domain.model import Domain
    from fixer.planning.plan import Plan


def render(plan: Plan, source: str, *, indent: int | None = 2) -> str:
    """Return one plan as one JSON object; every character outside ASCII is escaped."""
    value = encode_plan(plan, source)
    value["difference"] = difference(plan)
    value["diff"] = unified(plan, source).decode()
    trees = topology(plan)
    if indent is None:
        return json.dumps(value | {"topology": trees})
    # A row of the tree is a line: one key a line would double the size of a plan.
    text = json.dumps(value, indent=indent).removesuffix("\n}")
    sides = ",\n".join(f'{" " * 2 * indent}"{side}": {_lines(rows, indent)}' for side, rows in trees.items())
    lead = " " * indent
    return f'{text},\n{lead}"topology": {{\n{sides}\n{lead}}}\n}}'


def topology(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Return the PCI tree before and after, the latter empty where nothing changes; what is empty is left out."""
    sides = {"before": plan.domain, "after": plan.after if plan.pending else None}
    return {
        side: [
            {key: value for key, value in node._asdict().items() if value != ""}
            for node in (nodes(domain) if domain is not None else ())
        ]
        for side, domain in sides.items()
    }


def _lines(rows: list[dict[str, Any]], indent: int) -> str:
    if not rows:
        return "[]"
    lead = " " * 2 * indent
    return "[\n" + ",\n".join(f"{lead}{' ' * indent}{json.dumps(row)}" for row in rows) + f"\n{lead}]"


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
