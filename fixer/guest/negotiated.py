"""What the running guest negotiated, device by device: proof of the virtio interface that its drivers speak.

A driver that speaks virtio 1.0 takes VIRTIO_F_VERSION_1 where the device offers it (virtio specification 1.2,
section 6.1), and one that has set DRIVER_OK drives the device (section 2.1). So a device that offers the bit and
is driven without it has a legacy driver.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.policy.model import Fact, GuestCapabilities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VERSION_1 = "VIRTIO_F_VERSION_1"
_DRIVER_OK = "VIRTIO_CONFIG_S_DRIVER_OK"
SOURCE = "negotiated"


class Verdict(Enum):
    """What one device shows of its driver."""

    LEGACY = "legacy"
    MODERN = "modern"
    SILENT = "no driver"
    # The host offers no virtio 1.0 (machine types up to 2.6, disable-modern): any driver takes legacy there.
    NOT_OFFERED = "virtio 1.0 is not offered"


# Names of QEMU's virtio devices (hw/virtio/virtio-qmp.c, virtio_device_names) and the driver kinds.
_KINDS = {
    "virtio-net": "net", "virtio-blk": "block", "virtio-serial": "console", "virtio-console": "console",
    "virtio-rng": "rng", "virtio-balloon": "balloon", "virtio-scsi": "scsi", "virtio-9p": "9p",
    "virtio-gpu": "gpu", "virtio-input": "input", "vhost-vsock": "vsock", "virtio-vsock": "vsock",
    "virtio-crypto": "crypto", "virtio-iommu": "iommu", "virtio-mem": "mem", "virtio-sound": "sound",
    "virtio-fs": "fs", "vhost-user-fs": "fs", "virtio-pmem": "pmem", "vhost-user-blk": "block",
    "vhost-user-net": "net", "vhost-scsi": "scsi", "vhost-user-scsi": "scsi",
}  # fmt: skip


class Device(NamedTuple):
    """One device of a running guest: where QEMU has it, its driver kind, what it shows."""

    path: str
    kind: str
    verdict: Verdict


def read_status(path: str, name: str, status: Mapping[str, Any]) -> Device:
    """Return what x-query-virtio-status (QEMU >= 7.2, qapi/virtio.json) says of the device at ``path``."""
    statuses = _strings(status.get("status"), "statuses")
    offered = _has_version_1(status.get("host-features"))
    if not any(_DRIVER_OK in item for item in statuses):
        verdict = Verdict.SILENT
    elif _has_version_1(status.get("guest-features")):
        verdict = Verdict.MODERN
    else:
        verdict = Verdict.LEGACY if offered else Verdict.NOT_OFFERED
    return Device(path, _KINDS.get(name, name), verdict)


def _has_version_1(features: Any) -> bool:
    return any(_VERSION_1 in item for item in _strings(features, "transports"))


def _strings(value: Any, key: str) -> list[str]:
    found = value.get(key, []) if isinstance(value, dict) else []
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


class Observation(NamedTuple):
    """What all devices of a running guest show together."""

    devices: tuple[Device, ...]

    @property
    def interface(self) -> str:
        """Return legacy or modern, '' where nothing is proved: one legacy driver makes a legacy guest."""
        verdicts = {device.verdict for device in self.devices}
        if Verdict.LEGACY in verdicts:
            return "legacy"
        return "modern" if Verdict.MODERN in verdicts else ""

    @property
    def sentence(self) -> str:
        """Say what was seen, by verdict."""
        told = []
        for verdict in Verdict:
            kinds = sorted(device.kind for device in self.devices if device.verdict is verdict)
            if kinds:
                told.append(f"{verdict.value}: {_counted(kinds)}")
        return "the running guest negotiated " + ("; ".join(told) or "nothing: it has no virtio device")


def _counted(kinds: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in counts.items())


def interface_fact(observation: Observation, old: Fact | None = None) -> Fact:
    """Return the proved interface as a fact, in place of ``old``."""
    note = observation.sentence
    if old is not None and old.note:
        note = f"{note}; {old.note}"
    return Fact(observation.interface, SOURCE, "confirmed", note, "QEMU: x-query-virtio-status")


def capabilities(observation: Observation) -> GuestCapabilities:
    """Return what a guest that nobody names can drive, by what it drives now."""
    driven = {d.kind for d in observation.devices if d.verdict is not Verdict.SILENT}
    fact = Fact("yes", SOURCE, "confirmed", "", "QEMU: x-query-virtio-status")
    return GuestCapabilities(
        id="",
        name=f"a guest that negotiated {observation.interface} virtio",
        family="unknown",
        interface=interface_fact(observation),
        drivers=dict.fromkeys(sorted(driven), fact),
        sources={SOURCE: "the running guest, asked through QEMU"},
    )
