"""What the rules of a site and its mapping of domains say of one domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.policy import ids
from fixer.policy.model import KINDS, Mapped, Rule, Selector, SitePreferences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Subject(NamedTuple):
    """The domain that is asked about. ``metadata`` returns the texts that its metadata has for a key."""

    name: str
    uuid: str
    metadata: Callable[[str], Iterable[str]]
    os: str = ""


class Ruling(NamedTuple):
    """The preferences that hold for one domain.

    ``excluded`` says why the whole domain is left alone, '' where it is not; ``notes`` are for its owner.
    """

    site: SitePreferences
    excluded: str = ""
    notes: tuple[str, ...] = ()


def selects(selector: Selector, subject: Subject) -> bool:
    """Tell whether every key of ``selector`` fits ``subject``."""
    if selector.names and not any(ids.glob(name, subject.name) for name in selector.names):
        return False
    if selector.uuids and subject.uuid.lower() not in selector.uuids:
        return False
    if selector.systems and not any(ids.Pattern.of(text).matches(subject.os) for text in selector.systems):
        return False
    return all(
        any(ids.glob(glob, value) for value in subject.metadata(key)) for key, glob in selector.metadata
    )


def mapped(entries: Sequence[Mapped], subject: Subject) -> Mapped | None:
    """Return the last entry of a mapping that fits."""
    return next((entry for entry in reversed(entries) if selects(entry.selector, subject)), None)


def rule_for(site: SitePreferences, subject: Subject, today: str) -> Ruling:
    """Return what ``site`` prefers for ``subject``. ``today`` is a date as 2027-03-31."""
    excluded = ""
    notes = []
    rules, site = site.rules, site._replace(rules=())
    for rule in rules:
        if not selects(rule.selector, subject):
            continue
        if rule.until and today > rule.until:
            what = f"the exclusion ({rule.exclude})" if rule.exclude else "a rule"
            notes.append(f"{what} of the site ended on {rule.until} ({rule.where})")
            continue
        site = _with(site, rule)
        if rule.exclude:
            reason = f"left alone until {rule.until}: {rule.exclude} ({rule.where})"
            if rule.kinds == KINDS:
                excluded = reason
            else:
                site = site._replace(excluded={**site.excluded, **dict.fromkeys(rule.kinds, reason)})
    return Ruling(site, excluded, tuple(notes))


def _with(site: SitePreferences, rule: Rule) -> SitePreferences:
    kinds = frozenset(rule.kinds)
    if rule.strategy:
        strategies = {**site.strategy_by_kind, **dict.fromkeys(rule.kinds, rule.strategy)}
        site = site._replace(strategy_by_kind=strategies)
    if rule.hotplug is not None:
        site = site._replace(hotplug=site.hotplug | kinds if rule.hotplug else site.hotplug - kinds)
    if rule.keep_address is not None:
        kept = site.keep_address
        site = site._replace(keep_address=kept | kinds if rule.keep_address else kept - kinds)
    if rule.forbid:
        forbidden = {kind: site.forbid_by_kind.get(kind, frozenset()) | rule.forbid for kind in rule.kinds}
        site = site._replace(forbid_by_kind={**site.forbid_by_kind, **forbidden})
    return site._replace(weights={**site.weights, **rule.weights}) if rule.weights else site
