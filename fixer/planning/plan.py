"""The Plan: what was found, what was chosen and why, and the edits. The only input of apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer import __version__
from fixer.domain.document import digest
from fixer.domain.writing import apply_splices
from fixer.findings import Code

if TYPE_CHECKING:
    from fixer.conversion.forecast import Name
    from fixer.domain.edits import Edit
    from fixer.domain.model import Domain
    from fixer.domain.writing import Splice
    from fixer.findings import Finding, Skip
    from fixer.remedies.base import Offer

# Version of the JSON form of a plan (docs/json.md). It changes when a reader would have to.
FORMAT = 1
TOOL = f"virtfix {__version__}"


_REFUSALS = frozenset({Code.NO_CONVERSION, Code.RAW_ARGUMENT})


class Consequence(NamedTuple):
    """Something that guest or owner will notice. ``devices`` are keys, () where it is the domain."""

    code: str
    devices: tuple[str, ...]
    text: str


class Change(NamedTuple):
    """One device of the plan: mode and address before and after, the remedy, and the other offers.

    Addresses are written BB:SS.F; '' stands for none. ``listed`` says whether the address before
    stands in the XML, or is where libvirt would put the device.
    """

    device: str
    driver: str
    mode_before: str
    mode_after: str
    address_before: str
    address_after: str
    listed: bool
    remedy: str
    why: str
    price: int
    others: tuple[Offer, ...]


class Guest(NamedTuple):
    """Which operating system the plan is made for, and how that is known."""

    id: str
    name: str
    interface: str
    how: str
    evidence: tuple[str, ...]
    source: str
    conflicts: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()  # as "kernel 3.10.0-327", where answers hung on them


class Plan:
    """A finished plan for one domain. ``after`` is the domain as the edits leave it.

    ``forecast`` says what the guest will call its NICs and disks where the machine changes, ``family`` of which
    family of systems (rhel, windows, ...) the guest is then.
    """

    def __init__(
        self,
        domain: Domain,
        after: Domain,
        *,
        guest: Guest,
        findings: tuple[Finding, ...],
        unresolved: tuple[Finding, ...],
        changes: tuple[Change, ...],
        edits: tuple[Edit, ...],
        splices: list[Splice],
        consequences: tuple[Consequence, ...],
        skips: tuple[Skip, ...],
        forecast: tuple[Name, ...] = (),
        family: str = "",
    ) -> None:
        self.domain = domain
        self.after = after
        self.guest = guest
        self.findings = findings
        self.unresolved = unresolved
        self.changes = changes
        self.edits = edits
        self.splices = splices
        self.consequences = consequences
        self.skips = skips
        self.forecast = forecast
        self.family = family

    @property
    def refused(self) -> str:
        """Why a conversion that was asked for is not made, '' where it is or none was."""
        if self.edits:
            return ""
        return next((one.why for one in self.unresolved if one.code in _REFUSALS), "")

    @property
    def pending(self) -> bool:
        return bool(self.edits)

    @property
    def subject(self) -> str:
        """What changes, in words: how many devices, or else what of the machine; '' where nothing does."""
        if self.changes:
            return f"{len(self.changes)} device{'s' * (len(self.changes) != 1)}"
        before, after = self.domain, self.after
        parts = ["machine type"] if before.machine.name != after.machine.name else []
        parts += ["firmware"] if before.firmware.kind != after.firmware.kind else []
        return " and ".join(parts) or "other elements" * self.pending

    @property
    def result(self) -> bytes:
        """The rewritten XML in the encoding of the original: the same bytes where nothing changes."""
        document = self.domain.document
        if not self.edits:
            return document.original
        return document.encode(apply_splices(document.source, self.splices))

    @property
    def digest_before(self) -> str:
        return self.domain.document.digest

    @property
    def digest_after(self) -> str:
        return digest(self.result)


def untouched(domain: Domain, guest: Guest, *skips: Skip, unresolved: tuple[Finding, ...] = ()) -> Plan:
    """Return a plan that changes nothing; ``unresolved`` are its findings too."""
    return Plan(
        domain,
        domain,
        guest=guest,
        findings=unresolved,
        unresolved=unresolved,
        changes=(),
        edits=(),
        splices=[],
        consequences=(),
        skips=skips,
    )
