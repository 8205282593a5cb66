"""One release of a guests file as facts, what it inherits included, and the answers for one id of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.policy import ids
from fixer.policy.model import UNKNOWN, Fact, GuestCapabilities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixer.policy.yamltext import Node

GROUPS = ("drivers", "chipset", "hotplug")

_SINCE_UNKNOWN = "from release {since} on, which this id leaves open; a domain that has the device shows its guest to drive it"


class Release(NamedTuple):
    """What one release states, inherited facts laid in.

    ``facts`` maps ``interface``, ``uefi``, ``drivers.block``, ``hotplug.acpi`` ... to answers; ``dated`` holds,
    for those that come with a later minor release only, the release that brought them. ``file`` is where it
    stands, ``sources`` spells out the sources of its facts.
    """

    name: str
    family: str
    file: str
    osinfo: tuple[str, ...]
    uris: tuple[str, ...]
    facts: Mapping[str, Fact]
    dated: Mapping[str, str]
    sources: Mapping[str, str]
    quirks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    legacy_only: bool = False


def read_release(
    file: str, family: str, sources: Mapping[str, str], node: Node, base: Release | None
) -> Release:
    """Return the release that a checked node states, on top of what ``base`` does."""
    keys = node.keys
    facts = dict(base.facts) if base is not None else {}
    dated = dict(base.dated) if base is not None else {}
    for key, fact, since in _stated(file, node):
        facts[key] = fact
        dated.pop(key, None)
        if since:
            dated[key] = since
    # Notes speak of one release; quirks and legacy-only are inherited like facts.
    quirks = _texts(node, "quirks") if "quirks" in keys or base is None else base.quirks
    return Release(
        name=keys["name"].text,
        family=family,
        file=file,
        # Who asks is asked in lower case.
        osinfo=tuple(text.lower() for text in _texts(node, "osinfo")),
        uris=tuple(text.lower() for text in _texts(node, "uri")),
        facts=facts,
        dated=dated,
        sources={**base.sources, **sources} if base is not None and base.sources != sources else sources,
        quirks=quirks,
        notes=_texts(node, "notes"),
        legacy_only=keys["legacy-only"].text == "yes"
        if "legacy-only" in keys
        else base is not None and base.legacy_only,
    )


def capabilities(release: Release, os_id: str) -> GuestCapabilities:
    """Return what ``os_id``, an id that ``release`` matches, can drive."""
    facts = release.facts
    if release.dated:
        number = ids.split(os_id)[1]
        facts = {**facts, **{key: _since(facts[key], since, number) for key, since in release.dated.items()}}
    groups: dict[str, dict[str, Fact]] = {group: {} for group in GROUPS}
    for key, fact in facts.items():
        group, dot, kind = key.partition(".")
        if dot:
            groups[group][kind] = fact
    return GuestCapabilities(
        id=os_id,
        name=release.name,
        family=release.family,
        interface=facts.get("interface", UNKNOWN),
        drivers=groups["drivers"],
        kernel=facts.get("kernel", UNKNOWN),
        uefi=facts.get("uefi", UNKNOWN),
        secure_boot=facts.get("secure-boot", UNKNOWN),
        nic_naming=facts.get("nic-naming", UNKNOWN),
        disk_naming=facts.get("disk-naming", UNKNOWN),
        chipset=groups["chipset"],
        hotplug=groups["hotplug"],
        quirks=release.quirks,
        notes=release.notes,
        legacy_only=release.legacy_only,
        sources=release.sources,
    )


def _stated(file: str, node: Node) -> list[tuple[str, Fact, str]]:
    """Return (key, fact, since) of each fact that the node itself states."""
    found = []
    for key, member in node.keys.items():
        if key in GROUPS:
            for names, stated in member.keys.items():
                fact, since = _fact(file, stated)
                found += [(f"{key}.{name.strip(' ')}", fact, since) for name in names.split(",")]
        elif "value" in member.keys:
            found.append((key, *_fact(file, member)))
    return found


def _fact(file: str, node: Node) -> tuple[Fact, str]:
    parts = {key: member.text for key, member in node.keys.items()}
    fact = Fact(
        parts["value"],
        parts["source"],
        parts["confidence"],
        parts.get("note", ""),
        f"{file}:{node.key.line + 1}",
        parts.get("condition", ""),
        parts.get("legacy-until", ""),
        parts.get("needs", ""),
    )
    return fact, parts.get("since", "")


def _since(fact: Fact, since: str, number: ids.Version) -> Fact:
    """Return the answer for release ``number`` of a fact that holds from release ``since`` on."""
    holds = ids.holds_since(ids.version(since), number)
    if holds:
        return fact
    if holds is None:
        return fact._replace(note="; ".join(filter(None, (_SINCE_UNKNOWN.format(since=since), fact.note))))
    note = "; ".join(filter(None, (f"only from release {since} on", fact.note)))
    return fact._replace(value="no", condition="", note=note)


def _texts(node: Node, key: str) -> tuple[str, ...]:
    return tuple(item.text for item in node.keys[key].items) if key in node.keys else ()
