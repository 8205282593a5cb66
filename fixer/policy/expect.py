"""Holds policies against the expectations that are written beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.errors import printable
from fixer.policy import builds, rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fixer.policy.match import Expected, PolicySet
    from fixer.policy.model import GuestCapabilities
    from fixer.policy.yamltext import Node


class Broken(NamedTuple):
    """One answer that is not the expected one: ``FILE:LINE:COLUMN``, what is otherwise, the number of the entry."""

    where: str
    what: str
    entry: int


def broken(policies: PolicySet, today: str) -> list[Broken]:
    """Return the expectations that do not hold. ``today`` is the date for rules that end."""
    found = []
    for number, entry in enumerate(policies.expected):
        for node, what in _CHECKS[entry.kind](policies, entry, today):
            where = f"{entry.file}:{node.mark.line + 1}:{node.mark.column + 1}"
            found.append(Broken(where, what, number))
    return found


def _guest(policies: PolicySet, entry: Expected, _today: str) -> Iterator[tuple[Node, str]]:
    keys = entry.node.keys
    os_id = keys["os"].text
    guest = policies.find(os_id)
    if guest is None:
        yield keys["os"], f"no policy knows {printable(os_id, 80)}"
        return
    guest = builds.settle(
        guest, {product: keys[product].text for product in builds.PRODUCTS if product in keys}
    )
    for key, got in _answers(guest):
        wanted = keys.get(key)
        if wanted is not None and wanted.text != got:
            yield wanted, f"{os_id}: {key} is {got}, expected {wanted.text}"
    for names, wanted in keys["drivers"].keys.items() if "drivers" in keys else ():
        for kind in (name.strip(" ") for name in names.split(",")):
            got = guest.drives(kind).value
            if wanted.text != got:
                yield wanted, f"{os_id}: {kind} is {got}, expected {wanted.text}"


def _answers(guest: GuestCapabilities) -> Iterator[tuple[str, str]]:
    yield "interface", guest.interface.value
    yield "uefi", guest.uefi.value
    yield "secure-boot", guest.secure_boot.value


def _site(policies: PolicySet, entry: Expected, today: str) -> Iterator[tuple[Node, str]]:
    keys = entry.node.keys
    kind = keys["kind"].text
    subject = _subject(keys, keys["os"].text if "os" in keys else "")
    ruling = rules.rule_for(policies.site, subject, keys["date"].text if "date" in keys else today)
    site = ruling.site
    forbidden = site.forbid | site.forbid_by_kind.get(kind, frozenset())
    got = {
        "strategy": site.strategy_for(kind) or "none",
        "hotplug": _yes(kind in site.hotplug),
        "keep-address": _yes(kind in site.keep_address),
        "excluded": _yes(bool(ruling.excluded) or kind in site.excluded),
    }
    for key, value in got.items():
        if key in keys and keys[key].text != value:
            yield keys[key], f"{kind}: {key} is {value}, expected {keys[key].text}"
    if "forbid" in keys and {item.text for item in keys["forbid"].items} != forbidden:
        yield keys["forbid"], f"{kind}: forbidden are {', '.join(sorted(forbidden)) or 'none'}"


def _mapping(policies: PolicySet, entry: Expected, _today: str) -> Iterator[tuple[Node, str]]:
    keys = entry.node.keys
    found = rules.mapped(policies.mapping, _subject(keys))
    got = found.os if found is not None else "none"
    if got != keys["os"].text:
        yield keys["os"], f"the domain runs {printable(got, 80)}, expected {keys['os'].text}"


def _subject(keys: dict[str, Node], os_id: str = "") -> rules.Subject:
    metadata = {key: node.text for key, node in keys["metadata"].keys.items()} if "metadata" in keys else {}

    def values(key: str) -> Iterable[str]:
        return (metadata[key],) if key in metadata else ()

    text = {key: keys[key].text if key in keys else "" for key in ("name", "uuid")}
    return rules.Subject(text["name"], text["uuid"], values, os_id)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


_CHECKS: dict[str, Callable[[PolicySet, Expected, str], Iterator[tuple[Node, str]]]] = {
    "guests": _guest,
    "site": _site,
    "mapping": _mapping,
}
