"""Which operating system a domain runs, and by what evidence.

Clues are heard in the order of ``clues.KINDS``: the owner's word (--os, the mapping), the domain's metadata, a
platform's metadata, an inspection report, the guest agent. The first that a policy knows names the guest; the
others are said too, because a report has to show why a rewrite suits its guest. What the running guest
negotiated is proof of its interface. Where clues disagree on it and nothing is proved, the answer that is right
under both holds: legacy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.errors import VirtfixError, printable
from fixer.guest import clues as heard
from fixer.guest import names, negotiated
from fixer.policy.builds import settle
from fixer.policy.model import ASSUMED_LEGACY, ASSUMED_MODERN, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fixer.guest.clues import Clue
    from fixer.guest.knowledge import Knowledge
    from fixer.guest.negotiated import Observation
    from fixer.policy.model import GuestCapabilities

_ASSUMED = {"legacy": ASSUMED_LEGACY, "modern": ASSUMED_MODERN}


class Evidence(NamedTuple):
    """One clue and what became of it. ``id`` and ``name`` are empty where nothing known is named.

    ``kind`` is one of ``clues.KINDS``, or negotiated, or assumed; ``use`` is taken, agrees, conflicts, unknown
    or idle. ``by`` is who said it; where nobody did, ``said`` is the whole sentence.
    """

    kind: str
    by: str
    said: str
    id: str
    name: str
    interface: str
    use: str

    @property
    def sentence(self) -> str:
        if not self.by:
            return self.said
        said = printable(self.said, 80)
        if self.kind == "option":
            named = "is known to no policy" if self.use == "unknown" else f"names {self.name}"
            return f"{self.by} {said} {named}"
        if self.use == "unknown":
            return f"{self.by} names {said}, which no policy knows"
        told = f"{self.by} names {said}: {self.name}"
        return f"conflict: {told}; not used" if self.use == "conflicts" else told


class GuestIdentity(NamedTuple):
    """The guest of a domain.

    ``id`` is the short id, or what was stated where no policy knows it, or empty. ``capabilities`` is
    None where nothing is known and nothing assumed. ``how`` is the kind of the clue that was taken, or
    negotiated, assumed or unknown. ``conflicts`` are sentences; ``builds`` maps kernel and virtio-win to
    the builds that decided.
    """

    id: str
    capabilities: GuestCapabilities | None
    items: tuple[Evidence, ...]
    how: str
    conflicts: tuple[str, ...] = ()
    builds: Mapping[str, str] = {}

    @property
    def evidence(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.sentence for item in self.items))


def identify(
    clues: Iterable[Clue],
    assume: str | None,
    knowledge: Knowledge,
    *,
    observation: Observation | None = None,
    builds: Mapping[str, str] | None = None,
    remarks: Iterable[str] = (),
) -> GuestIdentity:
    """Return the guest.

    ``builds`` are those that the owner states; they override what clues know. ``remarks`` are said beside the
    evidence. Raises VirtfixError
    ``os-unknown`` for an --os that no policy knows, unless ``assume`` is given, and ``assume-unknown`` for an
    ``assume`` that is neither legacy nor modern.
    """
    if assume is not None and assume not in _ASSUMED:
        hint = "it is legacy or modern"
        raise VirtfixError("assume-unknown", f'--assume has no value "{assume}"', hint=hint)
    weighed = _weigh(clues, knowledge, builds or {})
    for clue, guest in weighed.items:
        if clue.kind == "option" and guest is None and assume is None:
            raise _unknown_os(clue.said, knowledge)
    if weighed.taken is None:
        found = _without_name(weighed, assume, observation)
    else:
        found = _named(weighed, weighed.taken, assume, observation)
    return found._replace(items=(*found.items, *(_spoken("remark", remark, "idle") for remark in remarks)))


class _Weighed(NamedTuple):
    items: tuple[tuple[Clue, GuestCapabilities | None], ...]
    taken: tuple[Clue, GuestCapabilities] | None
    builds: Mapping[str, str]


def _weigh(clues: Iterable[Clue], knowledge: Knowledge, stated: Mapping[str, str]) -> _Weighed:
    """Find what each clue names, and lay the builds together: the owner's first, then by order."""
    order = sorted(clues, key=lambda clue: heard.KINDS.index(clue.kind))
    builds: dict[str, str] = dict(stated)
    for clue in order:
        for product, build in clue.builds.items():
            builds.setdefault(product, build)
    found: list[tuple[Clue, GuestCapabilities | None]] = []
    for clue in order:
        guest = knowledge.first(clue.ids)
        found.append((clue, settle(guest, builds) if guest is not None else None))
    taken = next(((clue, guest) for clue, guest in found if guest is not None), None)
    if taken is None and "kernel" in builds:
        guest = knowledge.first(names.of_kernel(builds["kernel"]))
        clue = heard.Clue("option", "--kernel", builds["kernel"], ())
        if guest is not None and stated.get("kernel"):
            found.append((clue, guest))
            taken = clue, guest
    return _Weighed(tuple(found), taken, builds)


def _named(
    weighed: _Weighed,
    taken: tuple[Clue, GuestCapabilities],
    assume: str | None,
    observation: Observation | None,
) -> GuestIdentity:
    clue, guest = taken
    items = [_evidence(one, other, taken) for one, other in weighed.items]
    conflicts = [
        f"planned as {guest.name}, but {one.by} names {printable(one.said, 80)}"
        for one, other in weighed.items
        if other is not None and other.name != guest.name
    ]
    interface = guest.interface
    if guest.is_modern and clue.kind not in heard.OWNERS_WORD:
        interface = _doubted(interface, [other for _, other in weighed.items if other is not None])
    if observation is not None:
        items.append(_observed(observation))
        interface, conflict = _proved(interface, clue, guest, observation)
        conflicts += filter(None, (conflict,))
    used = _used_builds(guest, weighed.builds)
    for product, build in weighed.builds.items():
        items.append(_about_build(product, build, guest, used=product in used))
    if assume:
        by = "--os" if clue.kind == "option" else clue.by.partition(" (")[0]
        items.append(_spoken("assumed", f"--assume {assume} is not needed: {by} names the guest", "idle"))
    return GuestIdentity(
        guest.id, guest._replace(interface=interface), tuple(items), clue.kind, tuple(conflicts), used
    )


def _doubted(interface: Fact, others: list[GuestCapabilities]) -> Fact:
    """Return the interface that is right whichever of several guests it is."""
    older = next((other for other in others if not other.is_modern), None)
    if older is None:
        return interface
    condition = f"it is not {older.name} after all"
    return interface._replace(value="depends", condition=condition)


def _proved(
    interface: Fact, clue: Clue, guest: GuestCapabilities, observation: Observation
) -> tuple[Fact, str]:
    """Return the interface that was negotiated, and a sentence where it contradicts what was taken.

    Legacy is proof against anybody. Modern yields to the owner's word, under which a device stays
    transitional: right for both.
    """
    proved = observation.interface
    if not proved:
        return interface, ""
    differs = (interface.value == "modern") != (proved == "modern")
    contradicts = interface.value in {"legacy", "modern"} and interface.value != proved
    conflict = (
        f"{guest.name} is taken for {interface.value}, but {observation.sentence}" if contradicts else ""
    )
    if proved == "modern" and clue.kind in heard.OWNERS_WORD and differs:
        return interface, conflict
    return negotiated.interface_fact(observation, interface), conflict


def _without_name(weighed: _Weighed, assume: str | None, observation: Observation | None) -> GuestIdentity:
    items = [_evidence(clue, None, None) for clue, _ in weighed.items]
    stated = next((clue.said for clue, _ in weighed.items), "")
    if not items:
        items.append(_spoken("assumed", "the domain's metadata names no operating system", "idle"))
    if observation is not None:
        items.append(_observed(observation))
        if observation.interface:
            guest = negotiated.capabilities(observation)
            return GuestIdentity(stated, guest, tuple(items), "negotiated", (), weighed.builds)
    if assume is not None:
        items.append(_spoken("assumed", f"--assume {assume}: taken for a {assume} guest", "taken"))
        return GuestIdentity(stated, _ASSUMED[assume], tuple(items), "assumed")
    return GuestIdentity(stated, None, tuple(items), "unknown")


def _evidence(
    clue: Clue, guest: GuestCapabilities | None, taken: tuple[Clue, GuestCapabilities] | None
) -> Evidence:
    if guest is None:
        return Evidence(clue.kind, clue.by, clue.said, "", "", "", "unknown")
    if taken is not None and clue is taken[0]:
        use = "taken"
    else:
        use = "agrees" if taken is not None and guest.name == taken[1].name else "conflicts"
    return Evidence(clue.kind, clue.by, clue.said, guest.id, guest.name, guest.interface.value, use)


def _observed(observation: Observation) -> Evidence:
    use = "taken" if observation.interface else "idle"
    return Evidence("negotiated", "", observation.sentence, "", "", observation.interface, use)


def _spoken(kind: str, sentence: str, use: str) -> Evidence:
    return Evidence(kind, "", sentence, "", "", "", use)


def _about_build(product: str, build: str, guest: GuestCapabilities, *, used: bool) -> Evidence:
    what = "answers for it hang on that" if used else f"nothing that is known of {guest.name} hangs on it"
    return _spoken("build", f"{product} {printable(build, 60)}: {what}", "taken" if used else "idle")


def _used_builds(guest: GuestCapabilities, builds: Mapping[str, str]) -> Mapping[str, str]:
    """Return the builds that answers of this guest hang on."""
    facts = (guest.interface, *guest.drivers.values())
    products = {part.partition(" ")[0] for fact in facts for part in (fact.legacy_until, fact.needs) if part}
    return {product: build for product, build in builds.items() if product in products}


def _unknown_os(os_option: str, knowledge: Knowledge) -> VirtfixError:
    near = knowledge.near(os_option)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "add it by --policy, or plan with --assume legacy"
    )
    return VirtfixError(
        "os-unknown", f'no policy knows the operating system "{os_option}"', where="--os", hint=hint
    )
