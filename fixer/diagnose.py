"""Domain and guest capabilities to findings: what this guest can not drive where it sits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.devices import Device, short_address
from fixer.domain.virtio import NATIVE_DRIVERS, Mode
from fixer.findings import Code, Finding, Severity, severity_of, why_unseen

if TYPE_CHECKING:
    from fixer.domain.model import Domain
    from fixer.policy.model import GuestCapabilities

_SEEN = frozenset({Mode.LEGACY, Mode.TRANSITIONAL})
_LEGACY_ONLY = frozenset({Mode.LEGACY})


def acceptable_modes(guest: GuestCapabilities) -> frozenset[Mode]:
    """Return the modes in which a guest without virtio 1.0 drives a device."""
    return _LEGACY_ONLY if guest.legacy_only else _SEEN


def diagnose(domain: Domain, guest: GuestCapabilities) -> list[Finding]:
    """Return a finding for each virtio device that ``guest`` can not drive where it sits.

    A guest with virtio 1.0 needs nothing, and so does a machine that virtfix does not judge.
    """
    if guest.is_modern or domain.layout is None:
        return []
    found = []
    for device, mode in domain.modes.items():
        finding = _judge(domain, guest, device, mode)
        if finding is not None:
            found.append(finding)
    return found


def _judge(domain: Domain, guest: GuestCapabilities, device: Device, mode: Mode) -> Finding | None:
    driver = guest.drives(device.driver)
    hidden = domain.is_hidden(device)
    if mode in acceptable_modes(guest) and not hidden:
        return None
    evidence = driver.where or guest.interface.where
    severity = severity_of(device.driver)
    if driver.value == "no":
        if mode in _SEEN:
            return None  # it sits right; that the guest lacks the driver is nothing that a place changes
        why = f"{guest.name} has no driver for virtio {device.driver}"
        return Finding(Code.NO_DRIVER, Severity.NOTE, device.key, why, evidence, curable=False)
    if device.driver in NATIVE_DRIVERS:
        if driver.value == "yes":
            return None
        why = f"virtio {device.driver} has no legacy interface, wherever it sits"
        return Finding(Code.NATIVE_ONLY, severity, device.key, why, evidence, curable=False)
    needs_modern = device.needs_modern or (
        domain.launch_security and f"launch security {domain.launch_security}"
    )
    if needs_modern:
        why = f"{needs_modern} needs virtio 1.0"
        return Finding(Code.NEEDS_MODERN, severity, device.key, why, evidence, curable=False)
    evidence = guest.interface.where
    if hidden:
        why = f"function {domain_address(domain, device)[-1]} of a slot without function 0: no firmware looks there"
        return Finding(Code.HIDDEN_FUNCTION, severity, device.key, why, evidence, curable=True)
    if mode is Mode.TRANSITIONAL:
        why = f"offers virtio 1.0 too, which the drivers of {guest.name} do not bear"
        return Finding(Code.NOT_LEGACY_ONLY, severity, device.key, why, evidence, curable=True)
    return Finding(
        Code.MODERN_ONLY,
        severity,
        device.key,
        why_unseen(mode, domain_address(domain, device)),
        evidence,
        curable=True,
    )


def domain_address(domain: Domain, device: Device) -> str:
    assert domain.layout is not None
    address = domain.layout.at.get(device)
    return "no PCI address" if address is None else short_address(address)
