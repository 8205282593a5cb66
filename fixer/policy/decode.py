"""Turns one release's checked nodes into GuestCapabilities, inherited facts and since-versions resolved.

Only the release that is asked for is decoded: a run looks at one guest, a policy set holds many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.policy import ids
from fixer.policy.model import UNKNOWN, Fact, GuestCapabilities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixer.policy.yamltext import Node

_SINCE_UNKNOWN = "from release {since} on, which this id leaves open; a domain that has the device shows its guest to drive it"


class Release:
    """One release of a guests file as it was read: where, what it matches, what it builds on."""

    __slots__ = ("base", "family", "file", "node", "patterns", "sources", "uris")

    def __init__(
        self,
        file: str,
        family: str,
        sources: Mapping[str, str],
        node: Node,
        *,
        patterns: tuple[ids.Pattern, ...],
        base: Release | None,
    ) -> None:
        self.file = file
        self.family = family
        self.sources = sources
        self.node = node
        self.patterns = patterns
        self.base = base
        self.uris = tuple(item.text for item in node.keys["uri"].items) if "uri" in node.keys else ()

    def matches(self, os_id: str) -> bool:
        return any(pattern.matches(os_id) for pattern in self.patterns)

    def matches_uri(self, uri: str) -> bool:
        return any(ids.glob(text, uri) for text in self.uris)


def capabilities(release: Release, os_id: str) -> GuestCapabilities:
    """Return what ``os_id``, an id that ``release`` matches, can drive."""
    chain = [release]
    while chain[0].base is not None:
        chain.insert(0, chain[0].base)
    reader = _Reader(ids.split(os_id)[1])
    for ancestor in chain:
        reader.overlay(ancestor)
    facts = reader.facts
    last: dict[str, Node] = {key: node for one in chain for key, node in one.node.keys.items()}
    # Notes speak of one release; quirks and legacy-only are inherited like facts.
    notes = release.node.keys.get("notes")
    return GuestCapabilities(
        id=os_id,
        name=release.node.keys["name"].text,
        family=release.family,
        interface=facts.get("interface", UNKNOWN),
        drivers=reader.groups["drivers"],
        kernel=facts.get("kernel", UNKNOWN),
        uefi=facts.get("uefi", UNKNOWN),
        secure_boot=facts.get("secure-boot", UNKNOWN),
        nic_naming=facts.get("nic-naming", UNKNOWN),
        disk_naming=facts.get("disk-naming", UNKNOWN),
        chipset=reader.groups["chipset"],
        hotplug=reader.groups["hotplug"],
        quirks=tuple(item.text for item in last["quirks"].items) if "quirks" in last else (),
        notes=tuple(item.text for item in notes.items) if notes else (),
        legacy_only="legacy-only" in last and last["legacy-only"].text == "yes",
        sources={key: text for one in chain for key, text in one.sources.items()},
    )


class _Reader:
    """Lays the facts of a release over those it inherits."""

    __slots__ = ("facts", "groups", "number")

    def __init__(self, number: ids.Version) -> None:
        self.number = number
        self.facts: dict[str, Fact] = {}
        self.groups: dict[str, dict[str, Fact]] = {"drivers": {}, "chipset": {}, "hotplug": {}}

    def overlay(self, release: Release) -> None:
        for key, node in release.node.keys.items():
            if key in self.groups:
                group = self.groups[key]
                for names, member in node.keys.items():
                    fact = self.fact(release.file, member)
                    group.update((name.strip(" "), fact) for name in names.split(","))
            elif "value" in node.keys:
                self.facts[key] = self.fact(release.file, node)

    def fact(self, file: str, node: Node) -> Fact:
        parts = {key: member.text for key, member in node.keys.items()}
        value, note, condition = parts["value"], parts.get("note", ""), parts.get("condition", "")
        if since := parts.get("since"):
            holds = ids.holds_since(ids.version(since), self.number)
            if holds is None:
                note = "; ".join(filter(None, (_SINCE_UNKNOWN.format(since=since), note)))
            elif not holds:
                value, condition = "no", ""
                note = "; ".join(filter(None, (f"only from release {since} on", note)))
        return Fact(
            value,
            parts["source"],
            parts["confidence"],
            note,
            f"{file}:{node.key.line + 1}",
            condition,
            parts.get("legacy-until", ""),
        )
