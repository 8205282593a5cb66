"""What tests of conversions share: domains of both machines, plans that convert them, views of the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers import BARE, data, domain, request

from fixer.planning.planner import plan_bytes

if TYPE_CHECKING:
    from fixer.planning.plan import Plan

PC, Q35 = "pc-i440fx-6.2", "pc-q35-6.2"
REFUSED = "VF010"


def on_pc(devices: str = "", machine: str = PC, *, tail: str = "") -> str:
    """Return an i440FX domain without balloon and USB."""
    return domain(BARE + devices, machine, tail=tail)


def on_q35(devices: str = "", machine: str = Q35) -> str:
    return domain(BARE + devices, machine)


def converted(xml: str | bytes, os: str | None = "rhel6", machine: str = "q35", **asked: object) -> Plan:
    """Return the plan for --machine; ``asked`` are further fields of Request."""
    fields: dict[str, object] = {"machine": machine, **asked}
    return plan_bytes(data(xml), request(os)._replace(**fields))  # type: ignore[arg-type]


def swapped(xml: str, *pairs: tuple[str, str]) -> str:
    """Return ``xml`` with each first of a pair, which stands there once, in favour of the second."""
    for old, new in pairs:
        assert xml.count(old) == 1, f"{old} stands there {xml.count(old)} times"
        xml = xml.replace(old, new)
    return xml


def to_q35_type(xml: str) -> str:
    return swapped(xml, (PC, Q35))


def to_pc_type(xml: str) -> str:
    return swapped(xml, (Q35, PC))


def unresolved(plan: Plan) -> list[tuple[str, str]]:
    """Return (code, device) of what stays unresolved."""
    return [(finding.code.value, finding.device) for finding in plan.unresolved]


def moved(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return where devices were and are, of those that the plan names and that sit on PCI."""
    return {
        change.device: (change.address_before, change.address_after)
        for change in plan.changes
        if change.address_before or change.address_after
    }


def names(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return what the guest calls each NIC and disk, before and after."""
    return {name.device: (name.before, name.after) for name in plan.forecast}


# --- Devices, one line each ---------------------------------------------------------------------------


def drive(controller: int = 0, bus: int = 0, unit: int = 0) -> str:
    return f"<address type='drive' controller='{controller}' bus='{bus}' target='0' unit='{unit}'/>"


def ide(name: str, address: str = "", *, device: str = "disk", inner: str = "") -> str:
    return (
        f"    <disk type='file' device='{device}'><target dev='{name}' bus='ide'/>{inner}{address}</disk>\n"
    )


def sata(name: str, address: str = "", *, device: str = "disk") -> str:
    return f"    <disk type='file' device='{device}'><target dev='{name}' bus='sata'/>{address}</disk>\n"


def controller(kind: str, index: int, place: str = "", model: str = "") -> str:
    """Return a controller; ``place`` is its <address>, as helpers.at() makes it."""
    named = f" model='{model}'" if model else ""
    return f"    <controller type='{kind}' index='{index}'{named}>{place}</controller>\n"
