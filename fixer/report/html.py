"""The report over many hosts as one HTML file that needs nothing else: no network, no font, no other script.

The overview and a line a domain stand in the page as they are. What is below the line of a domain stands there
too where they are few. Of many it is kept packed, and the script unpacks what is opened: thousands of open trees
would take a browser minutes and hundreds of megabytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections import Counter
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING

from fixer.findings import PAGES, Code
from fixer.report import section
from fixer.report.gathered import FAILED, Standing
from fixer.report.markup import Markup, code, h, ident, items, join, name, table, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fixer.report.gathered import Entry, Gathered

PLAIN = 100  # so many domains stand in the page as they are, and can be read without JavaScript
_PACK = 50  # domains that are unpacked together
_SHOWN = 15  # of what is broken, so many are named in the overview
_SHORT = 60  # characters of other names than those of domains
_NOWHERE, _NOBODY = "no host named", "unknown"


def render(gathered: Gathered, *, title: str, made: str) -> Iterator[str]:
    """Yield the page, part by part. ``made`` says by what and when."""
    style, script = _asset("report.css"), _asset("report.js")
    yield _head(title, style, script)
    yield _top(gathered, title, made)
    yield '<main id="main">\n'
    yield from _overview(gathered)
    yield from _domains(gathered)
    yield "</main>\n"
    yield from _packs(gathered.entries)
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def _asset(file: str) -> str:
    return files("fixer.report").joinpath(file).read_text(encoding="utf-8")


def _head(title: str, style: str, script: str) -> str:
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{h(title, 200)}</title>\n<style>{style}</style>\n</head>\n"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _top(gathered: Gathered, title: str, made: str) -> str:
    hosts = {host for entry in gathered.entries for host in entry.hosts}
    told = ", ".join(
        (
            _count(len(gathered.entries), "domain"),
            f"on {_count(len(hosts), 'host')}" if hosts else _NOWHERE,
            f"from {_count(len(gathered.sources), 'file')}",
        )
    )
    links = join(
        tag("li", Markup(f'<a href="#{place}">{h(text)}</a>')) for place, text in _places(gathered).items()
    )
    return (
        '<body>\n<a class="skip" href="#domains">Skip to the domains</a>\n'
        f'<header><h1>{h(title, 200)}</h1>\n<p class="dim">{told}. {h(made)}</p>\n'
        f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav></header>\n'
    )


def _places(gathered: Gathered) -> dict[str, str]:
    every = {
        "now": "Broken today",
        "next": "Next start",
        "guests": "Operating systems",
        "findings": "Findings",
        "notices": "Consequences",
        "hosts": "Hosts",
        "files": "Files",
        "domains": "Domains",
    }
    absent = {
        "findings": not any(entry.codes for entry in gathered.entries),
        "notices": not any(plan.consequences for entry in gathered.entries for plan in entry.plans),
    }
    return {place: text for place, text in every.items() if not absent.get(place)}


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"


# --- Overview -------------------------------------------------------------------------------------------


def _overview(gathered: Gathered) -> Iterator[str]:
    entries = gathered.entries
    standings = gathered.standings()
    yield _part("counts", "How they stand", _tiles(standings))
    now = [entry for entry in entries if entry.standing in {Standing.BROKEN, Standing.RESTART}]
    after = [
        entry
        for entry in entries
        if entry.standing in {Standing.BROKEN, Standing.BREAKS, Standing.UNRESOLVED}
    ]
    yield '<div class="pair">\n'
    yield _part(
        "now",
        "What is broken today",
        _named(now, "Nothing that was audited is broken as it runs."),
        note="Running machines with a device that their guest can not drive.",
    )
    yield _part(
        "next",
        "What is broken after the next start",
        _named(after, "No definition that was looked at breaks a guest."),
        note="Definitions with such a device, whether the machine runs now or not.",
    )
    yield "</div>\n"
    yield _part("guests", "By operating system", _matrix("Operating system", entries, standings, _oses))
    codes, notices = _codes(entries), _notices(entries)
    yield '<div class="pair">\n' if codes and notices else ""
    if codes:
        yield _part("findings", "By finding", codes)
    if notices:
        yield _part("notices", "What guests and owners will notice", notices)
    yield "</div>\n" if codes and notices else ""
    yield _part("hosts", "By host", _matrix("Host", entries, standings, _hosts))
    yield _part("files", "What this was made from", _files(gathered))


def _part(place: str, title: str, content: str, *, note: str = "") -> str:
    told = f'<p class="dim">{h(note)}</p>\n' if note else ""
    return f'<section id="{place}"><h2>{h(title)}</h2>\n{told}{content}\n</section>\n'


def _badge(standing: Standing) -> Markup:
    return Markup(f'<span class="badge {standing.slug}">{standing.value}</span>')


def _tiles(standings: dict[Standing, int]) -> Markup:
    tiles = (
        Markup(
            f'<a class="{standing.slug}" href="#domains" data-standing="{standing.slug}">'
            f"<b>{count:,}</b> {standing.value}</a>"
        )
        for standing, count in standings.items()
    )
    return items(tiles, class_="tiles") or tag("p", "There are no domains.")


def _named(entries: Sequence[Entry], otherwise: str) -> Markup:
    if not entries:
        return tag("p", otherwise)
    rows = [
        (
            Markup(f'<a href="#{_place(entry)}">{name(entry.label, _SHORT)}</a>'),
            _badge(entry.standing),
            name(entry.host or "-", _SHORT),
            code(" ".join(entry.codes)),
        )
        for entry in entries[:_SHOWN]
    ]
    more = len(entries) - _SHOWN
    told = tag("p", f"{more:,} more are in the list of domains.")
    return join(
        (table("The worst", ("Domain", "Stands", "Host", "Findings"), rows), told if more > 0 else "")
    )


def _place(entry: Entry) -> str:
    """Return the id of a domain in the page."""
    return f"d{entry.number}"


def _oses(entry: Entry) -> tuple[str, ...]:
    return (entry.os or _NOBODY,)


def _hosts(entry: Entry) -> tuple[str, ...]:
    return entry.hosts or (_NOWHERE,)


def _matrix(
    what: str,
    entries: Iterable[Entry],
    standings: Iterable[Standing],
    groups: Callable[[Entry], tuple[str, ...]],
) -> Markup:
    """Return a table of groups by standings, those with the most that is wrong first."""
    columns = list(standings)
    counts: dict[str, Counter[Standing]] = {}
    for entry in entries:
        for group in groups(entry):
            counts.setdefault(group, Counter())[entry.standing] += 1

    def wrong(pair: tuple[str, Counter[Standing]]) -> tuple[int, int, str]:
        group, found = pair
        return -sum(found[one] for one in FAILED), -found.total(), group

    rows = [
        (
            name(group, section.NAME),
            *(f"{found[one]:,}" if found[one] else "·" for one in columns),
            f"{found.total():,}",
        )
        for group, found in sorted(counts.items(), key=wrong)
    ]
    heads = (what, *(one.value for one in columns), "all")
    return table(f"{what}: how its domains stand", heads, rows, numbers=len(heads) - 1)


def _codes(entries: Iterable[Entry]) -> Markup:
    domains: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for entry in entries:
        domains.update(entry.codes)
        wrong.update(entry.codes if entry.standing in FAILED else ())
    rows = [
        (ident(found), _title(found), f"{count:,}", f"{wrong[found]:,}")
        for found, count in sorted(domains.items())
    ]
    if not rows:
        return Markup()
    heads = ("Code", "What it means", "domains", "still wrong")
    return table("Findings: how many domains have them", heads, rows, numbers=2)


def _title(found: str) -> str:
    known = {one.value: one for one in Code}
    return PAGES[known[found]].title if found in known else "a finding of another version"


def _notices(entries: Iterable[Entry]) -> Markup:
    found: Counter[str] = Counter()
    example: dict[str, str] = {}
    for entry in entries:
        told = {one.code: one.text for plan in entry.plans for one in plan.consequences}
        found.update(list(told))
        for word, text in told.items():
            example.setdefault(word, text)
    rows = [(ident(word), example[word], f"{count:,}") for word, count in found.most_common()]
    if not rows:
        return Markup()
    heads = ("Consequence", "For example", "domains")
    return table("Consequences of the plans", heads, rows, numbers=1)


def _files(gathered: Gathered) -> Markup:
    kinds = ("plan", "audit", "apply", "verify")
    rows = [
        (
            name(source.file, section.NAME),
            name(source.host or "-", section.NAME),
            *(f"{source.counts[kind]:,}" if source.counts[kind] else "·" for kind in kinds),
        )
        for source in gathered.sources
    ]
    return table("Files and how many results they hold", ("File", "Host", *kinds), rows, numbers=len(kinds))


# --- The domains ----------------------------------------------------------------------------------------


def _domains(gathered: Gathered) -> Iterator[str]:
    entries = gathered.entries
    plain = len(entries) <= PLAIN
    hosts = _numbered(host for entry in entries for host in _hosts(entry))
    oses = _numbered(os for entry in entries for os in _oses(entry))
    yield '<section id="domains" tabindex="-1"><h2>Domains</h2>\n'
    yield _search(gathered, list(hosts), list(oses))
    if not plain:
        yield (
            "<noscript><p>Their details are packed, since there are many: they need JavaScript. "
            "The list is whole without it.</p></noscript>\n"
        )
    yield '<ul id="list" role="list">\n'
    for number, entry in enumerate(entries):
        places = " ".join(str(hosts[host]) for host in _hosts(entry))
        yield _domain(entry, number, places, oses[_oses(entry)[0]], plain=plain)
    yield '</ul>\n<p id="none" hidden>No domain is like that.</p>\n</section>\n'


def _numbered(words: Iterable[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(sorted(set(words)))}


_FORM = """\
<form id="search" role="search" aria-label="Domains" hidden>
<label class="wide">Search <input type="search" id="q" placeholder="name, UUID, host, guest, code" autocomplete="off" \
spellcheck="false" aria-keyshortcuts="/" aria-controls="list"></label>
{choices}
<label>Order <select id="order"><option value="">worst first</option><option value="name">name</option>\
<option value="host">host</option><option value="guest">guest</option></select></label>
<span class="buttons"><button type="reset">Clear</button> <button type="button" id="open">Open shown</button> \
<button type="button" id="close">Close all</button></span>
<p class="dim"><span id="count" role="status"></span> Keys: <kbd>/</kbd> search, <kbd>↓</kbd> <kbd>↑</kbd> from domain \
to domain, <kbd>Enter</kbd> opens and closes, <kbd>Esc</kbd> clears.</p>
</form>
"""


def _search(gathered: Gathered, hosts: Sequence[str], oses: Sequence[str]) -> str:
    """Return what filters the list; it shows where there is a script for it."""
    codes = sorted({found for entry in gathered.entries for found in entry.codes})
    choices = join(
        (
            _choice("f-s", "Stands", [(one.slug, one.value) for one in gathered.standings()]),
            _choice("f-h", "Host", [(str(number), host) for number, host in enumerate(hosts)]),
            _choice("f-g", "Guest", [(str(number), os) for number, os in enumerate(oses)]),
            _choice("f-c", "Finding", [(found, found) for found in codes]),
        )
    )
    return Markup(_FORM.replace("{choices}", choices))


def _choice(place: str, label: str, options: Iterable[tuple[str, str]]) -> Markup:
    told = join(Markup(f'<option value="{h(value)}">{h(text, _SHORT)}</option>') for value, text in options)
    return Markup(
        f'<label>{label} <select id="{place}"><option value="">all</option>{told}</select></label>\n'
    )


def _domain(entry: Entry, number: int, hosts: str, os: int, *, plain: bool) -> str:
    line = join(
        (
            _badge(entry.standing),
            tag("h3", name(entry.label, section.NAME)),
            Markup(f'<span class="host">{name(entry.host or "-", _SHORT)}</span>'),
            Markup(f'<span class="os">{name(entry.os or _NOBODY, _SHORT)}</span>'),
            Markup(f'<span class="codes">{h(" ".join(entry.codes))}</span>'),
        )
    )
    data = f'data-s="{entry.standing.slug}" data-h="{hosts}" data-g="{os}" data-c="{h(" ".join(entry.codes))}" data-u="{h(entry.uuid)}"'
    body = section.render(entry) if plain else ""
    return f'<li {data}><details id="d{number}"><summary>{line}</summary><div class="body">{body}</div></details></li>\n'


def _packs(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the details of many domains, some in each block: base64 holds no markup, whatever is in it."""
    if len(entries) <= PLAIN:
        return
    rest = iter(entries)
    number = 0
    while some := list(islice(rest, _PACK)):
        packed = zlib.compress(json.dumps([section.render(entry) for entry in some]).encode())
        yield f'<script type="text/plain" id="p{number}" data-size="{_PACK}">{base64.b64encode(packed).decode()}</script>\n'
        number += 1
