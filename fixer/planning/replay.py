"""A saved plan as a Plan again: its edits, on the XML that is there now. Nothing is decided anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixer.domain.edits import StaleEditError
from fixer.domain.edits import splices as splices_of
from fixer.domain.model import read_domain
from fixer.domain.writing import apply_splices
from fixer.errors import VirtfixError
from fixer.findings import Code, Finding, Severity
from fixer.planning.codec import decode_edit
from fixer.planning.plan import FORMAT, Change, Guest, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping


def replay(data: bytes, saved: Mapping[str, Any]) -> Plan:
    """Return the plan ``saved`` (docs/json.md) for the XML ``data``.

    Raises VirtfixError ``plan.stale`` where its edits do not fit, ``plan.format`` where it is no such plan.
    """
    domain = read_domain(data)
    try:
        edits = tuple(decode_edit(edit) for edit in saved["edits"])
        guest = guest_of(saved)
        unresolved = unresolved_of(saved)
        changes = tuple(_change(value) for value in saved["changes"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise no_plan() from error
    try:
        splices = splices_of(domain, edits)
    except StaleEditError as error:
        raise VirtfixError(
            "plan.stale", f"the plan does not fit any more: {error}", hint="plan it again"
        ) from error
    after = (
        read_domain(domain.document.encode(apply_splices(domain.document.source, splices)))
        if edits
        else domain
    )
    return Plan(
        domain,
        after,
        guest=guest,
        findings=unresolved,
        unresolved=unresolved,
        changes=changes,
        edits=edits,
        splices=splices,
        consequences=(),
        skips=(),
    )


def guest_of(saved: Mapping[str, Any]) -> Guest:
    """Return which guest a plan was made for. Raises VirtfixError ``plan.format`` where it does not say so."""
    try:
        return Guest(**{key: _frozen(saved["guest"].get(key, "")) for key in Guest._fields})
    except (KeyError, AttributeError):
        raise no_plan() from None


def unresolved_of(saved: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what a saved plan leaves unresolved. Raises VirtfixError ``plan.format`` where it does not say so."""
    try:
        return tuple(_finding(value) for value in saved["unresolved"])
    except (KeyError, TypeError, ValueError):
        raise no_plan() from None


def no_plan() -> VirtfixError:
    return VirtfixError(
        "plan.format",
        f"is no plan of format {FORMAT}",
        hint="make it by virtfix plan --out FILE, with this version",
    )


def check_saved(value: Any) -> dict[str, Any]:
    """Return a saved plan; raise VirtfixError ``plan.format`` for what is no saved plan."""
    try:
        right = value["format"] == FORMAT and isinstance(value["edits"], list)
        right = right and all(isinstance(value[key][name], str) for key, name in _TEXTS)
    except (KeyError, TypeError):
        right = False
    if not right:
        raise no_plan()
    assert isinstance(value, dict)
    return value


_TEXTS = (("domain", "uuid"), ("domain", "name"), ("digest", "before"), ("digest", "after"))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _finding(value: Mapping[str, Any]) -> Finding:
    return Finding(
        Code(value["code"]),
        Severity(value["severity"]),
        value["device"],
        value["why"],
        value["evidence"],
        curable=False,
    )


def _change(value: Mapping[str, Any]) -> Change:
    mode, address = value["mode"], value["address"]
    return Change(
        value["device"],
        value["driver"],
        mode["before"],
        mode["after"],
        address["before"],
        address["after"],
        bool(address["listed"]),
        value["remedy"],
        value["why"],
        int(value["price"]),
        (),
    )
