"""A plan as properties of a Glance image, by which OpenStack Nova makes the domain; with what they can not express.

Nova knows neither places nor the transitional models: on Q35 it puts each virtio device behind a root port. So a guest
with legacy drivers keeps i440FX there, or gets devices that are not virtio (Glance, "useful image properties"; Nova,
nova/virt/libvirt).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixer.domain.machine import Family
from fixer.errors import printable
from fixer.report.decision import is_legacy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.devices import Device
    from fixer.planning.plan import Plan

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
# Values of these properties that Nova's libvirt driver knows (nova/objects/fields.py).
_NICS = {"virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet"}
_VIDEO = {"vga", "cirrus", "vmvga", "xen", "qxl", "virtio", "gop", "none", "bochs"}


def render(plan: Plan, name: str) -> str:
    """Return KEY=VALUE a line, for openstack image set --property; notes as comments."""
    notes = "".join(f"# {line}\n" for line in _notes(plan, name))
    return notes + "".join(f"{key}={value}\n" for key, value in properties(plan).items())


def properties(plan: Plan) -> dict[str, str]:
    """Return the properties; {} for machines that are left alone."""
    domain = plan.after
    if not domain.machine.applicable:
        return {}
    found = {
        "hw_machine_type": "pc"
        if _needs_i440fx(plan)
        else domain.machine.family.value.replace("i440fx", "pc"),
        "hw_firmware_type": domain.firmware.kind,
    }
    if domain.firmware.kind == "uefi":
        found["os_secure_boot"] = "required" if domain.firmware.secure_boot else "disabled"
    disks = [device for device in domain.devices if device.tag == "disk"]
    _first(found, "hw_disk_bus", (one.type for one in disks if _kind(one) in {"disk", "lun"}))
    _first(found, "hw_cdrom_bus", (one.type for one in disks if _kind(one) == "cdrom"))
    if found["hw_machine_type"] == "pc":
        for key in ("hw_disk_bus", "hw_cdrom_bus"):
            if found.get(key) == "sata":
                found[key] = "ide"
    if any(one.tag == "controller" and one.driver == "scsi" for one in domain.devices):
        found["hw_scsi_model"] = "virtio-scsi"
    _first(found, "hw_vif_model", (_nic(one) for one in domain.devices if one.tag == "interface"))
    _first(
        found,
        "hw_video_model",
        (one.model for one in domain.devices if one.tag == "video" and one.model in _VIDEO),
    )
    if any(one.tag == "rng" for one in domain.devices):
        found["hw_rng_model"] = "virtio"
    if plan.guest.id and _WORD.fullmatch(plan.guest.id):
        found["os_distro"] = (
            "windows" if plan.guest.id.startswith("win") else re.sub(r"[\d.]+$", "", plan.guest.id)
        )
    return found


def _needs_i440fx(plan: Plan) -> bool:
    """Tell whether the guest would miss a virtio device on Nova's Q35."""
    return is_legacy(plan) and any(device.driver for device in plan.after.devices)


def _first(found: dict[str, str], key: str, values: Iterator[str]) -> None:
    value = next((one for one in values if one), "")
    if value:
        found[key] = value


def _kind(device: Device) -> str:
    return "" if device.node is None else device.node.attrs.get("device", "disk")


def _nic(device: Device) -> str:
    model = "virtio" if device.driver else device.model
    return model if model in _NICS else ""


def _notes(plan: Plan, name: str) -> Iterator[str]:
    domain = plan.after
    yield f"{printable(name)}: {printable(domain.name) or 'domain without a name'}"
    yield f"guest: {printable(plan.guest.name or plan.guest.id, 100) or 'not asked for'}"
    if not domain.machine.applicable:
        yield f"left alone: {printable(domain.machine.reason)}"
        return
    if _needs_i440fx(plan) and domain.machine.family is Family.Q35:
        yield "can not be expressed: virtio with a legacy interface on Q35; Nova has neither places nor transitional models"
        yield "so pc is asked for; where the cloud has none left: hw_machine_type=q35 with sata and e1000, if the guest drives them"
    yield "one bus and one NIC model hold for all disks and NICs of the image; PCI addresses are Nova's"
    buses = {device.type for device in domain.devices if device.tag == "disk" and _kind(device) == "disk"}
    if len(buses) > 1:
        yield f"can not be expressed: disks on several buses ({', '.join(sorted(map(printable, buses)))})"
    for finding in plan.unresolved:
        yield f"unresolved: {finding.code.value} {printable(finding.device)}: {printable(finding.why, 300)}"
