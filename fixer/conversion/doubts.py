"""What may not work on the new machine, and that nobody can know from the XML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixer.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.model import Domain
    from fixer.policy.model import GuestCapabilities

_ROOT_BUS = re.compile(r"(?<![\w.])(pcie?\.0)(?![\w.])")


def raw_arguments(domain: Domain, old: str, new: str) -> Iterator[Finding]:
    """Yield a finding for each argument of qemu:commandline that names ``old``, the root bus that will be ``new``."""
    for node in domain.raw_arguments():
        if old in _ROOT_BUS.findall(node.attrs["value"]):
            yield Finding(
                Code.RAW_ARGUMENT,
                Severity.BREAKS_BOOT,
                "commandline",
                f"an argument of qemu:commandline names bus {old}, which is {new} on the other machine",
                f"line {node.line}",
                curable=False,
            )


def quirks(domain: Domain, guest: GuestCapabilities) -> Iterator[Finding]:
    """Yield what the policy reports of this guest on Q35."""
    for quirk in guest.quirks:
        name, _, told = quirk.partition(": ")
        if name == "pci-hole64":
            yield Finding(Code.PCI_HOLE64, Severity.DEGRADES, "domain", told, "policy: quirks", curable=False)
        elif name == "cpu-flags" and _shows_new_flags(domain):
            yield Finding(Code.CPU_FLAGS, Severity.NOTE, "domain", told, "policy: quirks", curable=False)


def _shows_new_flags(domain: Domain) -> bool:
    """Tell whether the CPU brings SMAP along, by what the host has; models are the owner's choice."""
    cpu = domain.root.find("cpu")
    if cpu is None or cpu.attrs.get("mode") not in {"host-passthrough", "host-model", "maximum"}:
        return False
    off = {"disable", "forbid"}
    return not any(
        node.attrs.get("name") == "smap" and node.attrs.get("policy") in off
        for node in cpu.findall("feature")
    )
