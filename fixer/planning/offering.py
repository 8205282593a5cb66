"""What the host offers that the domain will run on: the plan uses nothing else, and says what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.model import Domain
    from fixer.domain.target import Target
    from fixer.policy.model import SitePreferences

# <qemu:override> came with libvirt 8.2.0, pcie-to-pci-bridge with QEMU 2.11 (libvirt and QEMU release notes).
_OVERRIDE = 8002000
_BRIDGE = 2011000


def offered(site: SitePreferences, target: Target | None) -> SitePreferences:
    """Return the preferences without what the target has not."""
    if target is None:
        return site
    if not target.offers_transitional:
        site = site._replace(forbid=site.forbid | {"transitional"})
    if 0 < target.libvirt < _OVERRIDE:
        site = site._replace(override_form="qemu-commandline")
    if 0 < target.qemu < _BRIDGE:
        site = site._replace(bridge_model="dmi-to-pci-bridge")
    return site


def lacking(after: Domain, target: Target) -> Iterator[Finding]:
    """Yield a finding for each thing that the planned domain needs and the target does not offer."""
    name = after.machine.name
    if not target.offers_machine(name):
        told = f"machine type {name}"
        if target.only and not target.machines:
            told += f" is not spoken of: the capabilities are those of {target.only}"
        else:
            told += " is not offered"
        yield _finding(told, target)
    kind = {"uefi": "efi"}.get(after.firmware.kind, after.firmware.kind)
    if target.firmware and kind not in target.firmware and kind == "efi":
        yield _finding("UEFI is not offered", target)
    if not target.offers_transitional:
        odd = [device.key for device in after.modes if device.variant]
        if odd:
            yield _finding(f"its models know no -transitional: {', '.join(odd[:4])}", target)


def _finding(what: str, target: Target) -> Finding:
    return Finding(
        Code.TARGET_LACKS,
        Severity.BREAKS_BOOT,
        "domain",
        f"on the target, {what}",
        target.where,
        curable=False,
    )
