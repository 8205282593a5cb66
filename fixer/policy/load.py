"""Policy files to a PolicySet: read, check against the format, resolve what one entry takes from another.

Files come as (name, bytes) pairs in order of growing authority. A later release that matches an id
overrides an earlier one; a later site file of the same name changes the keys that it states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixer.errors import VirtfixError, printable
from fixer.policy import builds, ids
from fixer.policy.check import check, near
from fixer.policy.match import Expected, PolicySet
from fixer.policy.model import KINDS, Mapped, Rule, Selector, SitePreferences
from fixer.policy.release import GROUPS, read_release
from fixer.policy.shelf import Shelf
from fixer.policy.yamltext import Node, place, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.policy.release import Release


def load(files: Iterable[tuple[str, bytes]], base: PolicySet | None = None) -> PolicySet:
    """Return the policies of ``files``, on top of those of ``base``.

    Raises VirtfixError, ``policy-syntax`` for what is no YAML that policies may use and
    ``policy-invalid`` for what breaks the format, each with ``FILE:LINE:COLUMN``.
    """
    base = base or PolicySet([], {})
    loader = _Loader(base)
    for name, data in files:
        loader.add(name, read(name, data))
    return loader.result()


class _Loader:
    """Takes one file after the other; each may build on those before."""

    def __init__(self, base: PolicySet) -> None:
        self._before = base
        self._shelf = Shelf([])
        self._profiles = base.all_profiles
        self._mapping = list(base.mapping)
        self._expected = list(base.expected)

    def add(self, name: str, root: Node) -> None:
        kind = check(name, root)
        if kind == "guests":
            self._add_releases(name, root)
        elif kind == "site":
            _add_profile(name, root, self._profiles)
        else:
            self._mapping += [_mapped(name, node) for node in root.keys["domains"].items]
        if "expect" in root.keys:
            self._expected += [Expected(name, kind, node) for node in root.keys["expect"].items]

    def result(self) -> PolicySet:
        shelves = self._before.shelves
        if len(self._shelf.releases):
            shelves = (*shelves, self._shelf)
        return PolicySet(shelves, self._profiles, tuple(self._mapping), tuple(self._expected))

    def _add_releases(self, name: str, root: Node) -> None:
        family = root.keys["family"].text
        stated = root.keys["sources"].keys if "sources" in root.keys else {}
        sources = {key: node.text for key, node in stated.items()}
        for node in root.keys["releases"].items:
            _check_facts(name, node, sources)
            for item in node.keys["osinfo"].items:
                _check_pattern(name, item)
            base = self._base(name, node.keys["like"]) if "like" in node.keys else None
            if base is None and "interface" not in node.keys:
                raise _invalid(name, node, 'missing key "interface" in a release that is like no other')
            self._shelf.add(read_release(name, family, sources, node, base))

    def _base(self, name: str, like: Node) -> Release:
        found = self._shelf.find(like.text.lower()) or self._before.release(like.text.lower())
        if found is not None:
            return found[0]
        meant = near(like.text, (*self._before.known(), *self._shelf.known()))
        hint = (
            f'did you mean "{meant}"?' if meant else "it must stand above, or in a file that is loaded before"
        )
        raise _invalid(name, like, f'no earlier release is "{printable(like.text, 60)}"', hint)


def _check_facts(name: str, release: Node, sources: dict[str, str]) -> None:
    """Check what the format as data can not say: sources are listed, since-versions are versions."""
    for key, member in release.keys.items():
        if key in GROUPS:
            _check_kinds(name, member)
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
            for until in ("legacy-until", "needs"):
                if until in parts:
                    _check_build(name, parts[until])


def _check_kinds(name: str, group: Node) -> None:
    """Check that no kind is stated twice, as by "rng, net" and "rng"."""
    seen: set[str] = set()
    for names, node in group.keys.items():
        for kind in (part.strip(" ") for part in names.split(",")):
            if kind in seen:
                raise VirtfixError(
                    "policy-invalid",
                    f'"{kind}" is stated twice',
                    where=place(name, node.key),
                    hint="keep one",
                )
            seen.add(kind)


def _check_build(name: str, node: Node) -> None:
    product, _, build = node.text.partition(" ")
    if product not in builds.PRODUCTS or not builds.parse(product, build):
        hint = "write it as kernel 4.0 or virtio-win 0.1.126"
        raise _invalid(name, node, f'"{printable(node.text, 60)}" is no build', hint)


def _check_pattern(name: str, item: Node) -> None:
    if ids.pattern(item.text) is None:
        raise _invalid(
            name,
            item,
            f'"{printable(item.text, 60)}" is no range of one family',
            "write it as rhel6.0..rhel6.10, or fedora24.. for an open end",
        )


def _add_profile(name: str, root: Node, profiles: dict[str, SitePreferences]) -> None:
    keys = root.keys
    latest = next(reversed(profiles), "default")
    profile = keys["name"].text if "name" in keys else latest
    base = profiles.pop(profile, None) or SitePreferences(profile)
    if "extends" in keys and keys["extends"].text != profile:
        base = _extended(name, keys["extends"], profiles)
    # Put back last: the profile that was loaded last is in force.
    profiles[profile] = base._replace(name=profile, **_preferences(name, keys, base))


def _extended(name: str, extends: Node, profiles: dict[str, SitePreferences]) -> SitePreferences:
    if extends.text in profiles:
        return profiles[extends.text]
    if extends.text == "default":  # holds without a file too
        return SitePreferences()
    meant = near(extends.text, (*profiles, "default"))
    hint = f'did you mean "{meant}"?' if meant else "it must be loaded before"
    raise _invalid(name, extends, f'no profile "{printable(extends.text, 60)}"', hint)


def _preferences(name: str, keys: dict[str, Node], base: SitePreferences) -> dict[str, Any]:
    """Return the fields that a site file states: mappings merge key by key, rules are added, the rest is replaced."""
    changes: dict[str, Any] = {}
    for key in ("strategy", "bridge-model", "override-form", "ide-disks"):
        if key in keys:
            changes[key.replace("-", "_")] = keys[key].text
    for key in ("hotplug", "forbid", "keep-address"):
        if key in keys:
            changes[key.replace("-", "_")] = frozenset(item.text for item in keys[key].items)
    for key, old in (("weights", base.weights), ("io-windows", base.io_windows)):
        if key in keys:
            changes[key.replace("-", "_")] = {
                **old,
                **{k: int(node.text) for k, node in keys[key].keys.items()},
            }
    if "strategy-by-kind" in keys:
        stated = {key: node.text for key, node in keys["strategy-by-kind"].keys.items()}
        changes["strategy_by_kind"] = {**base.strategy_by_kind, **stated}
    if "rules" in keys:
        changes["rules"] = (*base.rules, *(_rule(name, node) for node in keys["rules"].items))
    return changes


def _rule(name: str, node: Node) -> Rule:
    keys = node.keys
    if not keys.keys() - {"match", "kinds", "until"}:
        raise _invalid(name, node, "the rule says nothing", "add strategy, hotplug, forbid, ... or exclude")
    if "exclude" in keys and "until" not in keys:
        raise _invalid(
            name, keys["exclude"], "an exclusion ends some day", "add until: with its last day, as 2027-03-31"
        )
    if "weights" in keys and "kinds" in keys:
        raise _invalid(
            name, keys["weights"], "weights hold for a whole domain", "leave kinds out, or use strategy"
        )
    return Rule(
        selector=_selector(name, keys["match"]) if "match" in keys else Selector(),
        kinds=_texts(keys, "kinds") or KINDS,
        strategy=keys["strategy"].text if "strategy" in keys else "",
        hotplug=_flag(keys, "hotplug"),
        forbid=frozenset(_texts(keys, "forbid")),
        keep_address=_flag(keys, "keep-address"),
        weights={key: int(value.text) for key, value in keys["weights"].keys.items()}
        if "weights" in keys
        else {},
        exclude=keys["exclude"].text if "exclude" in keys else "",
        until=keys["until"].text if "until" in keys else "",
        where=f"{name}:{node.line}",
    )


def _mapped(name: str, node: Node) -> Mapped:
    keys = node.keys
    selector = _selector(name, keys["match"])
    if not keys["match"].keys:
        raise _invalid(name, keys["match"], "match names no domain", "add name, uuid or metadata")
    known = {}
    for product in builds.PRODUCTS:
        if product in keys:
            known[product] = keys[product].text
            if not builds.parse(product, known[product]):
                raise _invalid(name, keys[product], f'"{printable(known[product], 60)}" is no version')
    return Mapped(selector, keys["os"].text, known, f"{name}:{node.line}")


def _selector(name: str, node: Node) -> Selector:
    keys = node.keys
    for item in keys["os"].items if "os" in keys else ():
        _check_pattern(name, item)
    metadata = keys["metadata"].keys.items() if "metadata" in keys else ()
    return Selector(
        _texts(keys, "name"),
        tuple(text.lower() for text in _texts(keys, "uuid")),
        _texts(keys, "os"),
        tuple((key, value.text) for key, value in metadata),
    )


def _texts(keys: dict[str, Node], key: str) -> tuple[str, ...]:
    return tuple(item.text for item in keys[key].items) if key in keys else ()


def _flag(keys: dict[str, Node], key: str) -> bool | None:
    return keys[key].text == "yes" if key in keys else None


def _invalid(name: str, node: Node, summary: str, hint: str = "") -> VirtfixError:
    return VirtfixError("policy-invalid", summary, where=place(name, node.mark), hint=hint)
