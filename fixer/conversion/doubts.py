"""What may not work on the new machine, and that nobody can know from the XML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixer.domain.devices import short_address
from fixer.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator

    from fixer.domain.devices import Address
    from fixer.domain.model import Domain
    from fixer.policy.model import GuestCapabilities

_BUS = re.compile(r"(?<![\w.])(pcie?\.\d+|ide\.\d)(?![\w.])")


def raw_arguments(domain: Domain, *buses: str) -> Iterator[Finding]:
    """Yield a finding for each argument of qemu:commandline that names a bus which the other machine has not.

    QEMU would not start.
    """
    for node in domain.raw_arguments():
        for bus in dict.fromkeys(_BUS.findall(node.attrs["value"])):
            if bus in buses or (bus.startswith("ide") and "ide" in buses):
                why = f"an argument of qemu:commandline names bus {bus}, which the other machine has not"
                yield _raw(why, f"line {node.line}")


def raw_places(domain: Domain, chipset: Collection[Address]) -> Iterator[Finding]:
    """Yield a finding for each place of the other machine's chipset that qemu:commandline gives to a device."""
    for address in sorted(domain.properties.places.intersection(chipset)):
        why = f"an argument of qemu:commandline puts a device at {short_address(address)}, which is the other chipset's"
        yield _raw(why, "qemu:commandline")


def overrides(domain: Domain, gone: Container[str]) -> Iterator[Finding]:
    """Yield a finding for each property that is set on a device which gives way; ``gone`` are their aliases."""
    for alias in domain.properties.by_alias:
        if alias in gone:
            yield _raw(
                f"a property of qemu:override is set on '{alias}', which is another device then",
                "qemu:override",
            )


def _raw(why: str, evidence: str) -> Finding:
    return Finding(Code.RAW_ARGUMENT, Severity.BREAKS_BOOT, "commandline", why, evidence, curable=False)


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
