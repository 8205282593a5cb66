"""Policy files to a PolicySet: read, check against the format, resolve what one entry takes from another.

Files come as (name, bytes) pairs in order of growing authority. A later release that matches an id
overrides an earlier one; a later site file of the same name changes the keys that it states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixer.errors import VirtfixError, printable
from fixer.policy import ids
from fixer.policy.check import check, near
from fixer.policy.decode import Release
from fixer.policy.match import PolicySet
from fixer.policy.model import SitePreferences
from fixer.policy.yamltext import Node, place, read

if TYPE_CHECKING:
    from collections.abc import Iterable


def load(files: Iterable[tuple[str, bytes]]) -> PolicySet:
    """Return the policies of ``files``.

    Raises VirtfixError, ``policy-syntax`` for what is no YAML that policies may use and
    ``policy-invalid`` for what breaks the format, each with ``FILE:LINE:COLUMN``.
    """
    releases: list[Release] = []
    profiles: dict[str, SitePreferences] = {}
    for name, data in files:
        root = read(name, data)
        if check(name, root) == "guests":
            _add_releases(name, root, releases)
        else:
            _add_profile(name, root, profiles)
    return PolicySet(releases, profiles)


def _add_releases(name: str, root: Node, releases: list[Release]) -> None:
    family = root.keys["family"].text
    sources = (
        {key: node.text for key, node in root.keys["sources"].keys.items()} if "sources" in root.keys else {}
    )
    for node in root.keys["releases"].items:
        _check_facts(name, node, sources)
        patterns = tuple(_pattern(name, item) for item in node.keys["osinfo"].items)
        base = _base(name, node.keys["like"], releases) if "like" in node.keys else None
        if base is None and "interface" not in node.keys:
            raise _invalid(name, node, 'missing key "interface" in a release that is like no other')
        releases.append(Release(name, family, sources, node, patterns=patterns, base=base))


def _check_facts(name: str, release: Node, sources: dict[str, str]) -> None:
    """Check what the format as data can not say: sources are listed, since-versions are versions."""
    for member in release.keys.values():
        for fact in (member, *member.keys.values()):
            parts = fact.keys
            if "source" not in parts:
                continue
            source = parts["source"]
            if source.text not in sources:
                meant = near(source.text, sources)
                hint = f'did you mean "{meant}"?' if meant else "add it to sources at the top of the file"
                raise _invalid(name, source, f'unknown source "{printable(source.text, 60)}"', hint)
            if "since" in parts and not ids.version(parts["since"].text):
                raise _invalid(name, parts["since"], f'"{printable(parts["since"].text, 60)}" is no version')


def _pattern(name: str, item: Node) -> ids.Pattern:
    found = ids.pattern(item.text)
    if found is None:
        raise _invalid(
            name,
            item,
            f'"{printable(item.text, 60)}" is no range of one family',
            "write it as rhel6.0..rhel6.10, or fedora24.. for an open end",
        )
    return found


def _base(name: str, like: Node, releases: list[Release]) -> Release:
    for release in reversed(releases):
        if release.matches(like.text):
            return release
    meant = near(like.text, PolicySet(releases, {}).known())
    hint = f'did you mean "{meant}"?' if meant else "it must stand above, or in a file that is loaded before"
    raise _invalid(name, like, f'no earlier release is "{printable(like.text, 60)}"', hint)


def _add_profile(name: str, root: Node, profiles: dict[str, SitePreferences]) -> None:
    keys = root.keys
    latest = next(reversed(profiles), "default")
    profile = keys["name"].text if "name" in keys else latest
    base = profiles.pop(profile, None) or SitePreferences(profile)
    if "extends" in keys and keys["extends"].text != profile:
        base = _extended(name, keys["extends"], profiles)
    # Put back last: the profile that was loaded last is in force.
    profiles[profile] = base._replace(name=profile, **_preferences(keys, base))


def _extended(name: str, extends: Node, profiles: dict[str, SitePreferences]) -> SitePreferences:
    if extends.text in profiles:
        return profiles[extends.text]
    if extends.text == "default":  # holds without a file too
        return SitePreferences()
    meant = near(extends.text, (*profiles, "default"))
    hint = f'did you mean "{meant}"?' if meant else "it must be loaded before"
    raise _invalid(name, extends, f'no profile "{printable(extends.text, 60)}"', hint)


def _preferences(keys: dict[str, Node], base: SitePreferences) -> dict[str, Any]:
    """Return the fields that a site file states: mappings merge key by key, the rest is replaced."""
    changes: dict[str, Any] = {}
    for key in ("strategy", "bridge-model", "override-form"):
        if key in keys:
            changes[key.replace("-", "_")] = keys[key].text
    for key in ("hotplug", "forbid"):
        if key in keys:
            changes[key] = frozenset(item.text for item in keys[key].items)
    for key, old in (("weights", base.weights), ("io-windows", base.io_windows)):
        if key in keys:
            changes[key.replace("-", "_")] = {
                **old,
                **{k: int(node.text) for k, node in keys[key].keys.items()},
            }
    if "strategy-by-kind" in keys:
        stated = {key: node.text for key, node in keys["strategy-by-kind"].keys.items()}
        changes["strategy_by_kind"] = {**base.strategy_by_kind, **stated}
    return changes


def _invalid(name: str, node: Node, summary: str, hint: str = "") -> VirtfixError:
    return VirtfixError("policy-invalid", summary, where=place(name, node.mark), hint=hint)
