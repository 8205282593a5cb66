"""The shipped policies in a form that is read only as far as a question needs.

It is made from the YAML files and carries their digest. A reader that finds another digest reads the YAML, so
a stale file costs time and never an answer. The first line is JSON: the digest, the index of ids, sources and
profiles. Each further line is JSON too: first the facts, then the releases, which name facts by their number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from fixer.policy.match import PolicySet
from fixer.policy.model import Fact, SitePreferences
from fixer.policy.release import Release
from fixer.policy.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VERSION = 1
_DEFAULT = SitePreferences()


def digest(files: Iterable[tuple[str, bytes]]) -> str:
    """Return what the (name, bytes) pairs are recognised by."""
    from hashlib import blake2b  # noqa: PLC0415

    found = blake2b(digest_size=16)
    for name, data in files:
        found.update(f"{name}\0{len(data)}\0".encode())
        found.update(data)
    return found.hexdigest()


def dump(policies: PolicySet, made_from: str) -> str:
    """Return policies in the compiled form."""
    facts: dict[Fact, int] = {}
    sources: list[Mapping[str, str]] = []
    releases = [release for shelf in policies.shelves for release in shelf.releases]
    rows = []
    for release in releases:
        if release.sources not in sources:
            sources.append(release.sources)
        # Kinds that share a fact are named together: "drivers.block drivers.net".
        by_fact: dict[int, list[str]] = {}
        for key, fact in release.facts.items():
            by_fact.setdefault(facts.setdefault(fact, len(facts)), []).append(key)
        stated = {" ".join(keys): number for number, keys in by_fact.items()}
        row = release._replace(facts=stated, sources=sources.index(release.sources))  # type: ignore[arg-type]
        rows.append([*row])
    head = {
        "version": _VERSION,
        "digest": made_from,
        "facts": len(facts),
        "index": Shelf(releases).index,
        "sources": sources,
        "profiles": [_profile(policies.profile(name)) for name in policies.profiles],
    }
    lines = [head, *([*fact] for fact in facts), *rows]
    return "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)


def parse(data: bytes, made_from: str) -> PolicySet | None:
    """Return the policies, None where they were made from other files or by another version."""
    lines = data.split(b"\n")
    try:
        head = json.loads(lines[0])
        if head["version"] != _VERSION or head["digest"] != made_from:
            return None
        releases = _Releases(lines, head["facts"], head["sources"])
        profiles = {row["name"]: _preferences(row) for row in head["profiles"]}
        return PolicySet([Shelf(releases, head["index"])], profiles)
    except (ValueError, KeyError, TypeError, IndexError):
        return None


class _Releases(Sequence[Release]):
    """The releases, each read when it is asked for."""

    def __init__(self, lines: list[bytes], facts: int, sources: list[dict[str, str]]) -> None:
        self._lines = lines
        self._count = facts
        self._sources = sources
        self._facts: dict[int, Fact] = {}
        self._read: dict[int, Release] = {}

    def __len__(self) -> int:
        return len(self._lines) - self._count - 2  # the head, and what follows the last line end

    @overload
    def __getitem__(self, number: int) -> Release: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Release]: ...
    def __getitem__(self, number: int | slice) -> Release | Sequence[Release]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        if number not in self._read:
            self._read[number] = self._release(json.loads(self._lines[1 + self._count + number]))
        return self._read[number]

    def _release(self, row: list[Any]) -> Release:
        name, family, file, osinfo, uris, stated, dated, source, quirks, notes, legacy_only = row
        facts = {key: self._fact(number) for keys, number in stated.items() for key in keys.split(" ")}
        return Release(
            name,
            family,
            file,
            tuple(osinfo),
            tuple(uris),
            facts,
            dated,
            self._sources[source],
            tuple(quirks),
            tuple(notes),
            legacy_only,
        )

    def _fact(self, number: int) -> Fact:
        if number not in self._facts:
            self._facts[number] = Fact(*json.loads(self._lines[1 + number]))
        return self._facts[number]


def _profile(site: SitePreferences) -> dict[str, Any]:
    if site.rules:
        raise ValueError("shipped profiles have no rules")
    return {
        key: sorted(value) if isinstance(value, frozenset) else value
        for key, value in site._asdict().items()
        if value != getattr(_DEFAULT, key) or key == "name"
    }


def _preferences(row: dict[str, Any]) -> SitePreferences:
    for key in ("hotplug", "forbid", "keep_address"):
        if key in row:
            row[key] = frozenset(row[key])
    return SitePreferences(**row)
