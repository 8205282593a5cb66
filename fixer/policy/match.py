"""Answers from a loaded policy set: the capabilities of an OS, the ids near a misspelt one, a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.errors import VirtfixError
from fixer.policy import ids
from fixer.policy.model import SitePreferences
from fixer.policy.release import capabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fixer.policy.model import GuestCapabilities, Mapped
    from fixer.policy.release import Release
    from fixer.policy.shelf import Shelf
    from fixer.policy.yamltext import Node

# A fleet runs a few dozen operating systems; what a hostile one names must not fill the memory.
_REMEMBERED = 256
MAX_ID = 200  # osinfo-db's longest URI has 52 characters


class Expected(NamedTuple):
    """One entry of an ``expect`` block: the file, its kind, and the checked node."""

    file: str
    kind: str
    node: Node


class PolicySet:
    """Every release and profile of the files that were loaded, later ones first in force."""

    __slots__ = ("_found", "_profiles", "expected", "mapping", "shelves")

    def __init__(
        self,
        shelves: Sequence[Shelf],
        profiles: Mapping[str, SitePreferences],
        mapping: tuple[Mapped, ...] = (),
        expected: tuple[Expected, ...] = (),
    ) -> None:
        self.shelves = tuple(shelves)
        self.mapping = mapping
        self.expected = expected
        self._profiles = dict(profiles)
        self._found: dict[str, GuestCapabilities | None] = {}

    def find(self, os_id: str) -> GuestCapabilities | None:
        """Return what the OS of a libosinfo short id or URI can drive; None where no release matches.

        The last matching release wins. The result's id is the short id asked for, or the first id of the
        release where a URI matched as such.
        """
        os_id = os_id.strip().lower()
        if len(os_id) > MAX_ID:
            return None
        if os_id not in self._found:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            found = self.release(os_id)
            self._found[os_id] = capabilities(*found) if found else None
        return self._found[os_id]

    def release(self, os_id: str) -> tuple[Release, str] | None:
        """Return the release of a short id or URI, and the id under which it matches."""
        for shelf in reversed(self.shelves):
            found = shelf.find(os_id)
            if found is not None:
                return found
        return None

    def near(self, os_id: str, limit: int = 3) -> tuple[str, ...]:
        """Return known ids whose spelling is close to ``os_id``, the closest first."""
        from difflib import get_close_matches  # noqa: PLC0415 -- 4 ms that only an error needs

        wanted = ids.candidates(os_id.strip().lower()[:MAX_ID])[0]
        return tuple(get_close_matches(wanted, self.known(), limit, 0.6))

    def known(self) -> tuple[str, ...]:
        """Return the ids that the policies name, ranges spelled out, each once, in their order."""
        return tuple(dict.fromkeys(name for shelf in self.shelves for name in shelf.known()))

    @property
    def all_profiles(self) -> dict[str, SitePreferences]:
        return dict(self._profiles)

    @property
    def site(self) -> SitePreferences:
        """Return the profile in force: the one loaded last."""
        return next(reversed(self._profiles.values()), SitePreferences())

    @property
    def profiles(self) -> tuple[str, ...]:
        """Return the names of the profiles, the one in force last."""
        return tuple(self._profiles)

    def profile(self, name: str) -> SitePreferences:
        """Return a profile by name; raise VirtfixError ``profile-unknown``."""
        if name not in self._profiles:
            known = ", ".join(self._profiles) or "none"
            raise VirtfixError("profile-unknown", f'no site profile "{name}"', hint=f"known: {known}")
        return self._profiles[name]
