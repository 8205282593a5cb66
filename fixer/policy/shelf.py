"""Finds the release that an id names: exact ids by a table, ranges by family, globs one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixer.policy import ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixer.policy.release import Release

Index = dict[str, Any]


class Shelf:
    """The releases of some files, the last one that matches in force.

    ``index`` is plain data: ``exact`` maps ids to the number of a release, ``ranges`` families to
    (pattern, number) pairs, ``globs`` and ``uris`` are such pairs.
    """

    __slots__ = ("_ranges", "index", "releases")

    def __init__(self, releases: Sequence[Release], index: Index | None = None) -> None:
        self.releases = releases if index is not None else list(releases)
        self.index = {"exact": {}, "ranges": {}, "globs": [], "uris": []} if index is None else index
        # Patterns of a family, read when one of its ids is asked for.
        self._ranges: dict[str, list[tuple[ids.Pattern, int]]] = {}
        if index is None:
            for number, release in enumerate(releases):
                self._enter(number, release)

    def add(self, release: Release) -> None:
        """Put one more release behind the others."""
        assert isinstance(self.releases, list), "a compiled shelf is whole"
        self.releases.append(release)
        self._enter(len(self.releases) - 1, release)

    def _enter(self, number: int, release: Release) -> None:
        self.index["uris"] += [(text, number) for text in release.uris]
        for text in release.osinfo:
            pattern = ids.Pattern.of(text)
            if pattern.low:
                self.index["ranges"].setdefault(pattern.family, []).append((text, number))
                self._ranges.setdefault(pattern.family, []).append((pattern, number))
            elif "*" in text:
                self.index["globs"].append((text, number))
            else:
                self.index["exact"][text] = number

    def find(self, os_id: str) -> tuple[Release, str] | None:
        """Return the release and the id under which it matches a short id or URI."""
        best, spelling = -1, ""
        for candidate in ids.candidates(os_id):
            number = self._number(candidate)
            if number > best:
                best, spelling = number, candidate
        for text, number in self.index["uris"]:
            if number > best and ids.glob(text, os_id):
                best = number
                spelling = ids.Pattern.of(self.releases[number].osinfo[0]).names()[0]
        return None if best < 0 else (self.releases[best], spelling)

    def _number(self, candidate: str) -> int:
        best: int = self.index["exact"].get(candidate, -1)
        for pattern, number in self._of_family(ids.split(candidate)[0]):
            if number > best and pattern.matches(candidate):
                best = number
        for text, number in self.index["globs"]:
            if number > best and ids.glob(text, candidate):
                best = number
        return best

    def _of_family(self, family: str) -> list[tuple[ids.Pattern, int]]:
        if family not in self._ranges:
            pairs = self.index["ranges"].get(family, ())
            self._ranges[family] = [(ids.Pattern.of(text), number) for text, number in pairs]
        return self._ranges[family]

    def known(self) -> tuple[str, ...]:
        """Return the ids that the releases name, ranges spelled out, each once, in their order."""
        patterns = (ids.Pattern.of(text) for release in self.releases for text in release.osinfo)
        # The stem of a glob need not fit it: rhel8.* does not name rhel8.
        names = (name for pattern in patterns for name in pattern.names() if pattern.matches(name))
        return tuple(dict.fromkeys(names))
