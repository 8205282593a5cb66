"""Plans as JSON values and back: the one place that knows the form (docs/json.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixer.domain.devices import Address, format_address
from fixer.domain.edits import AddElement, Edit, RemoveElement, SetAddress, SetAttribute
from fixer.domain.writing import Element
from fixer.errors import VirtfixError
from fixer.planning.plan import FORMAT, TOOL

if TYPE_CHECKING:
    from fixer.domain.model import Domain
    from fixer.findings import Finding
    from fixer.planning.plan import Change, Plan


def encode_plan(plan: Plan, source: str) -> dict[str, Any]:
    """Return a plan as JSON values. ``source`` names the file that it was made from."""
    return {
        "format": FORMAT,
        "tool": TOOL,
        "source": source,
        "domain": {"name": plan.domain.name, "uuid": plan.domain.uuid},
        "digest": {"before": plan.digest_before, "after": plan.digest_after},
        "machine": {**_machine(plan.domain), "after": _machine(plan.after)},
        "guest": plan.guest._asdict()
        | {
            "evidence": list(plan.guest.evidence),
            "conflicts": list(plan.guest.conflicts),
            "builds": list(plan.guest.builds),
        },
        "status": status(plan),
        "findings": [encode_finding(finding) for finding in plan.findings],
        "unresolved": [encode_finding(finding) for finding in plan.unresolved],
        "changes": [_change(change) for change in plan.changes],
        "consequences": [
            {"code": item.code, "devices": list(item.devices), "text": item.text}
            for item in plan.consequences
        ],
        "skips": [skip._asdict() for skip in plan.skips],
        "forecast": [name._asdict() | {"changes": name.changes} for name in plan.forecast],
        "edits": [encode_edit(edit) for edit in plan.edits],
    }


def _machine(domain: Domain) -> dict[str, str]:
    return {
        "type": domain.machine.name,
        "family": domain.machine.family.value,
        "firmware": domain.firmware.kind,
    }


def status(plan: Plan) -> str:
    """Return ``unresolved``, ``pending`` or ``unchanged``: the word that exit codes and summaries use."""
    if plan.unresolved:
        return "unresolved"
    return "pending" if plan.pending else "unchanged"


def encode_finding(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values."""
    return {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "device": finding.device,
        "why": finding.why,
        "evidence": finding.evidence,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "device": change.device,
        "driver": change.driver,
        "mode": {"before": change.mode_before, "after": change.mode_after},
        "address": {"before": change.address_before, "after": change.address_after, "listed": change.listed},
        "remedy": change.remedy,
        "price": change.price,
        "why": change.why,
        "others": [
            {"remedy": offer.remedy, "refusal": offer.refusal}
            if offer.refusal
            else {"remedy": offer.remedy, "price": offer.price}
            for offer in change.others
        ],
    }


def encode_edit(edit: Edit) -> dict[str, Any]:
    """Return an edit as JSON values; ``op`` names its kind."""
    if isinstance(edit, SetAttribute):
        return {"op": edit.op, "at": edit.at, "name": edit.name, "old": edit.old, "new": edit.new}
    if isinstance(edit, SetAddress):
        return {
            "op": edit.op,
            "at": edit.at,
            "old": None if edit.old is None else format_address(edit.old),
            "new": format_address(edit.new),
            "multifunction": edit.multifunction,
        }
    if isinstance(edit, RemoveElement):
        return {"op": edit.op, "at": edit.at, "old": edit.old}
    return {"op": edit.op, "at": edit.at, "key": edit.key, "element": edit.element.to_json()}


def decode_edit(value: dict[str, Any]) -> Edit:
    """Return the edit that ``encode_edit`` wrote. Raises VirtfixError for another form."""
    try:
        return _DECODERS[value["op"]](value)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise VirtfixError(
            "plan.edit", f"not an edit of plan format {FORMAT}", hint="make the plan again with this version"
        ) from error


def _set_attribute(value: dict[str, Any]) -> Edit:
    old, new = value["old"], value["new"]
    return SetAttribute(_text(value["at"]), _text(value["name"]), old and _text(old), new and _text(new))


def _set_address(value: dict[str, Any]) -> Edit:
    old = value["old"]
    return SetAddress(
        _text(value["at"]),
        None if old is None else _parse(old),
        _parse(value["new"]),
        bool(value["multifunction"]),
    )


def _add_element(value: dict[str, Any]) -> Edit:
    return AddElement(_text(value["at"]), _element(value["element"]), _text(value["key"]))


def _remove_element(value: dict[str, Any]) -> Edit:
    return RemoveElement(_text(value["at"]), _text(value["old"]))


_DECODERS = {
    "set-attribute": _set_attribute,
    "set-address": _set_address,
    "add-element": _add_element,
    "remove-element": _remove_element,
}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _parse(text: str) -> Address:
    _, bus, rest = text.split(":")
    slot, function = rest.split(".")
    return int(bus, 16) << 8 | int(slot, 16) << 3 | int(function, 16)


# Elements that virtfix adds have children and theirs, as <qemu:device><qemu:frontend><qemu:property/>.
_DEPTH = 8


def _element(value: dict[str, Any], depth: int = _DEPTH) -> Element:
    if not depth:
        raise ValueError(value["name"])
    attrs = {_text(name): _text(content) for name, content in value["attrs"].items()}
    children = tuple(_element(child, depth - 1) for child in value["children"])
    return Element(_text(value["name"]), attrs, children, _text(value.get("text", "")))
