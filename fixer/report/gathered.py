"""Results of many files as one entry a domain, and how each domain stands by all of them together."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from fixer.report.results import Applied, Audited, Planned, Verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixer.report.results import Found, Guest, Result


class Standing(Enum):
    """How a domain stands, the worst first."""

    BROKEN = "broken now"
    BREAKS = "breaks at next start"
    UNRESOLVED = "unresolved"
    RESTART = "right at next start"
    UNKNOWN = "unknown guest"
    ERROR = "error"
    NOT_JUDGED = "not judged"
    RIGHT = "right"

    @property
    def slug(self) -> str:
        return self.value.replace(" ", "-")

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {standing: rank for rank, standing in enumerate(Standing)}
FAILED = frozenset(
    {Standing.BROKEN, Standing.BREAKS, Standing.UNRESOLVED, Standing.RESTART, Standing.UNKNOWN}
)
_KINDS: dict[type, str] = {Planned: "plan", Audited: "audit", Applied: "apply", Verified: "verify"}


class _Claims:
    """What results say of a domain; a later one overrules an earlier one in what it speaks of."""

    __slots__ = ("definition", "other", "running")

    def __init__(self) -> None:
        self.running: Standing | None = None
        self.definition: Standing | None = None
        self.other: Standing | None = None

    def hear(self, result: Result) -> None:
        if isinstance(result, Planned):
            self._planned(result)
        elif isinstance(result, Audited):
            self._audited(result)
        elif isinstance(result, Applied):
            self._applied(result)
        else:
            self._verified(result)

    def _planned(self, plan: Planned) -> None:
        if plan.status == "error":
            self.other = Standing.UNKNOWN if plan.code == "guest.unknown" else Standing.ERROR
            return
        left_alone = any(subject == "domain" for subject, _ in plan.skips)
        self.other = Standing.NOT_JUDGED if left_alone else None
        self.definition = {
            "pending": Standing.BREAKS
            if plan.findings
            else Standing.RIGHT,  # else: only a wish, as a conversion
            "unresolved": Standing.UNRESOLVED,
            "unchanged": Standing.RIGHT,
        }.get(plan.status)

    def _audited(self, audit: Audited) -> None:
        self.other = _OTHER.get(audit.verdict)
        if self.other is not None:
            return
        if audit.now is not None:
            self.running = Standing.BROKEN if audit.now.findings else Standing.RIGHT
        else:
            self.running = None
        if audit.next is not None and (audit.next.findings or self.definition is not Standing.UNRESOLVED):
            wrong = self.definition if self.definition is Standing.UNRESOLVED else Standing.BREAKS
            self.definition = wrong if audit.next.findings else Standing.RIGHT

    def _applied(self, result: Applied) -> None:
        if result.status in {"changed", "unchanged"}:
            self.definition = Standing.UNRESOLVED if result.unresolved else Standing.RIGHT
            # What runs now was started anew, or runs still with what it had.
            self.running = Standing.BROKEN if result.pending_restart else None
            self.other = None
        elif result.code == "guest.unknown":
            self.other = Standing.UNKNOWN
        elif self.definition is None and result.status == "blocked":
            self.definition = Standing.BREAKS  # it should have changed, and was left alone
        elif self.definition is None:
            self.other = Standing.ERROR

    def _verified(self, tried: Verified) -> None:
        if tried.error:
            self.other = self.other or (Standing.ERROR if self.definition is None else None)
        elif tried.state == "before":
            if self.definition is None:
                self.definition = Standing.RIGHT if tried.passed else Standing.BREAKS
        elif not tried.passed:
            self.definition = Standing.UNRESOLVED  # what is planned does not help

    def standing(self) -> Standing:
        if self.running is Standing.BROKEN:
            return Standing.RESTART if self.definition is Standing.RIGHT else Standing.BROKEN
        if self.definition in {Standing.BREAKS, Standing.UNRESOLVED}:
            return self.definition
        return self.other or self.definition or self.running or Standing.NOT_JUDGED


_OTHER = {
    "unknown guest": Standing.UNKNOWN,
    "not judged": Standing.NOT_JUDGED,
    "error": Standing.ERROR,
}


class Entry:
    """One domain with all results of it, in the order in which they were given."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.name = ""
        self.source = ""
        self.number = 0  # its place in the report
        self.replaced = 0
        self.standing = Standing.NOT_JUDGED  # until all is gathered
        self._results: dict[tuple[str, str, str], Result] = {}

    def add(self, result: Result) -> None:
        """Take a result; of the same kind, host and state the one given last counts."""
        state = result.state if isinstance(result, Verified) else ""
        key = (_KINDS[type(result)], _host(result), state)
        self.replaced += self._results.pop(key, None) is not None
        self._results[key] = result
        self.name = result.name or self.name
        if isinstance(result, (Planned, Verified)):
            self.source = result.source or self.source

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(self._results.values())

    @property
    def label(self) -> str:
        return self.name or self.source or self.uuid or "(no name)"

    @property
    def plans(self) -> list[Planned]:
        return [one for one in self._results.values() if isinstance(one, Planned)]

    @property
    def audits(self) -> list[Audited]:
        return [one for one in self._results.values() if isinstance(one, Audited)]

    @property
    def applied(self) -> list[Applied]:
        return [one for one in self._results.values() if isinstance(one, Applied)]

    @property
    def verified(self) -> list[Verified]:
        return [one for one in self._results.values() if isinstance(one, Verified)]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts: those that were named, else the connections."""
        named = dict.fromkeys(one.origin.host for one in self._results.values() if one.origin.host)
        return tuple(named or dict.fromkeys(filter(None, map(_host, self._results.values()))))

    @property
    def host(self) -> str:
        return ", ".join(self.hosts)

    @property
    def guest(self) -> Guest | None:
        """Who the guest is: as the last plan says, else the last audit."""
        judged: list[Audited | Planned] = [*self.audits, *self.plans]
        known = [one.guest for one in judged if one.guest is not None]
        return known[-1] if known else None

    @property
    def os(self) -> str:
        guest = self.guest
        return (guest.name or guest.id) if guest is not None and guest.how != "unknown" else ""

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(sorted({found.code for found in self.findings() if found.code}))

    def findings(self) -> Iterator[Found]:
        for plan in self.plans:
            yield from plan.findings
            yield from plan.unresolved
        for audit in self.audits:
            for look in (audit.now, audit.next):
                yield from look.findings if look is not None else ()

    def judge(self) -> None:
        """Settle how the domain stands: on each of its hosts, and the worst of those."""
        hosts = self.hosts or ("",)
        self.standing = min((self._on(host) for host in hosts), key=lambda one: one.rank)

    def _on(self, host: str) -> Standing:
        claims = _Claims()
        named = any(one.origin.host for one in self._results.values())
        for one in self._results.values():
            where = one.origin.host if named else _host(one)
            if where in {"", host}:  # a plan of nobody's host is one of all
                claims.hear(one)
        return claims.standing()


def _host(result: Result) -> str:
    uri = result.uri if isinstance(result, (Audited, Applied)) else ""
    return result.origin.host or uri


class Source(NamedTuple):
    """A file that was read, and how many results of which kind it had."""

    host: str
    file: str
    counts: dict[str, int]


class Gathered:
    """All results, one entry a domain, the worst first."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.sources: list[Source] = []
        self._by_key: dict[tuple[str, ...], Entry] = {}
        self._late: list[Result] = []

    def open(self, host: str, file: str) -> None:
        """Begin a file."""
        self.sources.append(Source(host, file, dict.fromkeys(_KINDS.values(), 0)))

    def add(self, result: Result) -> None:
        """Take a result of the file that was begun last."""
        counts = self.sources[-1].counts
        counts[_KINDS[type(result)]] += 1
        uuid = result.uuid.strip().lower()
        if not uuid:  # who that is can only be told when all others are known
            self._late.append(result)
            return
        self._entry((uuid,), uuid).add(result)

    def _entry(self, key: tuple[str, ...], uuid: str) -> Entry:
        entry = self._by_key.get(key)
        if entry is None:
            entry = self._by_key[key] = Entry(uuid)
            self.entries.append(entry)
        return entry

    def finish(self) -> Gathered:
        """Find out whose the results without a UUID are, and how each domain stands."""
        known = _Names(self.entries)
        for result in self._late:
            entry = known.owner(result)
            if entry is None:
                entry = self._entry(("", _host(result), *_names(result)), "")
                entry.add(result)
                known.add(entry)
            else:
                entry.add(result)
        self._late = []
        for entry in self.entries:
            entry.judge()
        self.entries.sort(key=lambda one: (one.standing.rank, one.host, one.label, one.uuid))
        for number, entry in enumerate(self.entries):
            entry.number = number
        return self

    def standings(self) -> dict[Standing, int]:
        """Return how many domains stand in which way, without those in which none does."""
        found = Counter(entry.standing for entry in self.entries)
        return {standing: found[standing] for standing in Standing if found[standing]}


class _Names:
    """Who is called what: for results that name a file or a domain and have no UUID."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._known: dict[str, list[Entry]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        for name in dict.fromkeys(filter(None, (entry.source, entry.name))):
            self._known.setdefault(name, []).append(entry)

    def owner(self, result: Result) -> Entry | None:
        """Return the one entry that a result can belong to: of the same host, where hosts are named."""
        host = result.origin.host
        for name in _names(result):
            fitting = [
                entry
                for entry in self._known.get(name, ())
                if not host or not entry.hosts or host in entry.hosts
            ]
            exact = [entry for entry in fitting if entry.source == name] or fitting
            if len(exact) == 1 and name != "-":
                return exact[0]
        return None


def _names(result: Result) -> tuple[str, ...]:
    """Return what a result calls its domain: the file or domain that it was made from, then the name."""
    source = result.source if isinstance(result, (Planned, Verified)) else ""
    return tuple(filter(None, (source, result.name)))
