"""Which operating systems change their verdict between two policy sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fixer.policy.model import KINDS

if TYPE_CHECKING:
    from fixer.policy.match import PolicySet
    from fixer.policy.model import GuestCapabilities


class Change(NamedTuple):
    """One answer that differs: ``what`` is interface, a driver kind, uefi, secure-boot, or the OS itself."""

    os: str
    what: str
    old: str
    new: str

    @property
    def text(self) -> str:
        return f"{self.os}: {self.what} {self.old} -> {self.new}"

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def compare(old: PolicySet, new: PolicySet) -> list[Change]:
    """Return what differs, by the ids that either set names, in their order."""
    changes = []
    for os_id in dict.fromkeys((*old.known(), *new.known())):
        before, after = _verdict(old.find(os_id)), _verdict(new.find(os_id))
        if before is None or after is None:
            if before is not after:
                words = ("unknown", "known")
                changes.append(Change(os_id, "is", words[before is not None], words[after is not None]))
            continue
        changes += [
            Change(os_id, key, before[key], after[key]) for key in before if before[key] != after[key]
        ]
    return changes


def _verdict(guest: GuestCapabilities | None) -> dict[str, str] | None:
    if guest is None:
        return None
    answers = {"interface": guest.interface.value, "legacy-only": "yes" if guest.legacy_only else "no"}
    answers |= {kind: guest.drives(kind).value for kind in KINDS}
    return answers | {"uefi": guest.uefi.value, "secure-boot": guest.secure_boot.value}
