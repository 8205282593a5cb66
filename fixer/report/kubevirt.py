"""A plan as a patch for a KubeVirt VirtualMachine, with a note on what KubeVirt can not express.

KubeVirt makes the domain XML itself, so what can be carried over is the decision, not the edits: the interface
(spec.domain.devices.useVirtioTransitional), the place (the annotation kubevirt.io/placePCIDevicesOnRootComplex), the
machine and the firmware (KubeVirt API, v1.Devices, v1.Firmware; pkg/virt-launcher/virtwrap/converter).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fixer.domain.machine import Family
from fixer.errors import printable
from fixer.report.decision import is_legacy, rooted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.planning.plan import Plan

_ON_ROOT = "kubevirt.io/placePCIDevicesOnRootComplex"
# One device a slot, without those of the chipset (pkg/virt-launcher/virtwrap/converter, nextSlot): 02 to 1e, not 1b.
_ROOM_ON_ROOT = 28
_NO_HOLE = "kubevirt.io/disablePCIHole64"


def render(plan: Plan, name: str) -> str:
    """Return a merge patch as YAML: kubectl patch vm NAME --type merge --patch-file FILE."""
    notes = "".join(f"# {line}\n" for line in _notes(plan, name))
    return f"{notes}{_yaml(patch(plan))}"


def patch(plan: Plan) -> dict[str, Any]:
    """Return the patch as values; {} where nothing is to be said."""
    after = plan.after
    domain: dict[str, Any] = {}
    annotations = {}
    if is_legacy(plan):
        domain["devices"] = {"useVirtioTransitional": True}
        if _on_root(plan):
            annotations[_ON_ROOT] = "true"
    if any(finding.code.name == "PCI_HOLE64" for finding in plan.unresolved):
        annotations[_NO_HOLE] = "true"
    if after.machine.applicable:
        if after.machine.family is Family.Q35:
            domain["machine"] = {"type": after.machine.name or "q35"}
        domain["firmware"] = {"bootloader": _bootloader(plan)}
    template: dict[str, Any] = {"metadata": {"annotations": annotations}} if annotations else {}
    if domain:
        template["spec"] = {"domain": domain}
    return {"spec": {"template": template}} if template else {}


def _on_root(plan: Plan) -> bool:
    return rooted(plan) and len(plan.after.modes) <= _ROOM_ON_ROOT


def _bootloader(plan: Plan) -> dict[str, Any]:
    firmware = plan.after.firmware
    return {"efi": {"secureBoot": firmware.secure_boot}} if firmware.kind == "uefi" else {"bios": {}}


def _notes(plan: Plan, name: str) -> Iterator[str]:
    domain = plan.after
    yield f"{printable(name)}: {printable(domain.name) or 'domain without a name'}"
    yield f"guest: {printable(plan.guest.name or plan.guest.id, 100) or 'not asked for'}"
    if not domain.machine.applicable:
        yield f"left alone: {printable(domain.machine.reason)}"
        return
    if domain.machine.family is Family.I440FX:
        yield "can not be expressed: i440FX (KubeVirt offers Q35; convert it: --machine q35)"
    if is_legacy(plan):
        if _on_root(plan):
            yield "KubeVirt numbers the slots by its own order of devices: keep disks and interfaces in the guest's order"
        else:
            if rooted(plan):
                yield f"can not be expressed: {len(plan.after.modes)} devices on pcie.0 (KubeVirt has {_ROOM_ON_ROOT} slots there)"
            yield "all virtio devices become transitional and go behind a PCI bridge: KubeVirt knows no place a device"
        overridden = [change.device for change in plan.changes if change.remedy == "override"]
        if overridden:
            yield f"can not be expressed: disable-legacy=off in place ({', '.join(map(printable, overridden))})"
    for device in domain.devices:
        if device.tag == "disk" and device.type in {"ide", "fdc"}:
            yield f"can not be expressed: {printable(device.key)} on {device.type}; use sata"
    for finding in plan.unresolved:
        yield f"unresolved: {finding.code.value} {printable(finding.device)}: {printable(finding.why, 300)}"


def _yaml(value: Any, depth: int = 0) -> str:
    """Return plain nested mappings as YAML; JSON's scalars are YAML's."""
    if not value:
        return "{}\n"
    lines = []
    for key, inner in value.items():
        lead = f"{'  ' * depth}{key}:"
        if isinstance(inner, dict) and inner:
            lines.append(f"{lead}\n{_yaml(inner, depth + 1)}")
        else:
            lines.append(f"{lead} {json.dumps(inner)}\n")
    return "".join(lines)
