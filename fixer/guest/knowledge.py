"""All that is known of operating systems: the policies, and osinfo-db beneath them.

A policy's word holds. osinfo-db answers for systems that no policy knows, gives names to them, and fills what a
policy leaves unknown. Where a policy is not sure (likely) of virtio 1.0 and osinfo-db lists virtio devices but
none of 1.0, the answer depends: a transitional device is right under both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fixer.guest import osinfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fixer.guest.osinfo import Record
    from fixer.policy.match import PolicySet
    from fixer.policy.model import Fact, GuestCapabilities


class OsinfoSource(Protocol):
    """Where osinfo-db is read."""

    @property
    def version(self) -> str: ...
    def record(self, os_id: str) -> Record | None: ...


class Knowledge:
    """Answers for an OS by short id or URI. The same question has one answer for as long as it lives."""

    def __init__(self, policies: PolicySet, source: OsinfoSource | None = None) -> None:
        self.policies = policies
        self.osinfo = source
        self._found: dict[str, GuestCapabilities | None] = {}

    def find(self, os_id: str) -> GuestCapabilities | None:
        """Return what the OS can drive, None where nobody knows it."""
        key = os_id.strip().lower()
        if key not in self._found:
            if len(self._found) > 256:  # what a hostile fleet names must not fill the memory
                self._found.clear()
            self._found[key] = self._find(key)
        return self._found[key]

    def first(self, candidates: Iterable[str]) -> GuestCapabilities | None:
        """Return the first of several ids that is known."""
        found = (self.find(candidate) for candidate in candidates)
        return next((guest for guest in found if guest is not None), None)

    def near(self, os_id: str) -> tuple[str, ...]:
        return self.policies.near(os_id)

    def record(self, os_id: str) -> Record | None:
        """Return what osinfo-db alone says of an OS."""
        return None if self.osinfo is None or len(os_id) > 200 else self.osinfo.record(os_id.strip().lower())

    def _find(self, os_id: str) -> GuestCapabilities | None:
        guest = self.policies.find(os_id)
        if guest is not None and guest.is_modern and guest.interface.confidence == "confirmed":
            return guest  # osinfo-db has nothing to add that would matter to a domain
        record = self.record(os_id)
        if guest is None and record is not None:
            guest = self._by_another_name(record) or osinfo.capabilities(record, self._version)
        return guest if guest is None or record is None else merged(guest, record, self._version)

    def complete(self, os_id: str) -> GuestCapabilities | None:
        """Return the same with all that osinfo-db can add."""
        guest, record = self.find(os_id), self.record(os_id)
        return guest if guest is None or record is None else merged(guest, record, self._version)

    def _by_another_name(self, record: Record) -> GuestCapabilities | None:
        found = (self.policies.find(name) for name in (record.uri, *record.ids))
        return next((guest for guest in found if guest is not None), None)

    @property
    def _version(self) -> str:
        return self.osinfo.version if self.osinfo is not None else ""


def merged(guest: GuestCapabilities, record: Record, version: str) -> GuestCapabilities:
    """Return ``guest`` with what osinfo-db adds, and with the doubt that it raises."""
    said = osinfo.capabilities(record, version)
    return guest._replace(
        interface=_interface(guest.interface, said.interface, record),
        drivers=_filled(guest.drivers, said.drivers),
        chipset=_filled(guest.chipset, said.chipset),
        uefi=said.uefi if guest.uefi.value == "unknown" and said.uefi.value == "yes" else guest.uefi,
        sources={**guest.sources, **said.sources},
    )


def _filled(ours: Mapping[str, Fact], theirs: Mapping[str, Fact]) -> Mapping[str, Fact]:
    added = {key: fact for key, fact in theirs.items() if key not in ours or ours[key].value == "unknown"}
    return {**ours, **added} if added else ours


def _interface(ours: Fact, theirs: Fact, record: Record) -> Fact:
    doubted = ours.value == "modern" and ours.confidence != "confirmed"
    if not doubted or not record.legacy or record.modern:
        return ours
    condition = "a policy takes it for modern, osinfo-db lists no virtio 1.0 device for it"
    return ours._replace(
        value="depends", condition=condition, note=f"{ours.note}; {theirs.where}".lstrip("; ")
    )
