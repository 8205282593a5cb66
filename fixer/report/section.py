"""One domain of the HTML report: how it stands, what was found, what changes, what shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.report import svg
from fixer.report.markup import Markup, code, h, ident, items, join, name, scroll, table, tag
from fixer.report.topology import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixer.report.gathered import Entry
    from fixer.report.results import Applied, Audited, Changed, Found, Guest, Planned, Verified

NAME = 120  # characters of a name in the line of a domain; below that stands the whole one
_MOST_LINES = 2000  # of a diff; a longer one is no reading for a page
_SIGNS = {"+": "ins", "-": "del"}
_INTERFACES = {
    "legacy": "legacy virtio",
    "modern": "virtio 1.0",
    "depends": "virtio 1.0 with newer drivers only",
}
_HOW = {
    "option": "--os",
    "mapping": "--os-map",
    "metadata": "libosinfo metadata",
    "platform": "metadata of its platform",
    "inspection": "an inspection report",
    "agent": "the guest agent",
    "negotiated": "what its drivers negotiated",
    "assumed": "--assume",
}


def render(entry: Entry) -> Markup:
    """Return what stands below the line of a domain."""
    return join(
        (
            _facts(entry),
            tag("div", join(_cards(entry)), class_="cards"),
            _findings(entry),
            *(_plan(plan) for plan in entry.plans),
            *(_seen(audit) for audit in entry.audits),
            *(_tried(one) for one in entry.verified),
            _evidence(entry),
        )
    )


def _titled(title: str, *content: str) -> Markup:
    told = join(content)
    return join((tag("h4", title), told)) if told else Markup()


def _facts(entry: Entry) -> Markup:
    guest = entry.guest
    plan = entry.plans[-1] if entry.plans else None
    facts = {
        "Name": name(entry.name) if len(entry.name) > NAME else "",
        "Host": name(entry.host),
        "UUID": code(entry.uuid),
        "Source": name(entry.source) if entry.source != entry.name else "",
        "Guest": _guest(guest) if guest is not None else "",
        "Machine": _machine(plan) if plan is not None else "",
        "State": ", ".join(dict.fromkeys(filter(None, (audit.state for audit in entry.audits)))),
    }
    told = join(
        Markup(f"<div><dt>{h(key)}</dt><dd>{h(value)}</dd></div>") for key, value in facts.items() if value
    )
    return tag("dl", told, class_="facts")


def _guest(guest: Guest) -> str:
    if guest.how == "unknown":
        return "unknown"
    parts = [guest.name or guest.id]
    if guest.id and guest.id != guest.name:
        parts.append(guest.id)
    if guest.interface:
        parts.append(_INTERFACES.get(guest.interface, guest.interface))
    how = _HOW.get(guest.how, guest.how)
    return join((name(", ".join(parts)), f" (by {how})" if how else ""))


def _machine(plan: Planned) -> str:
    before, after = (
        f"{one.type or 'default machine'}, {'UEFI' if one.firmware == 'uefi' else 'BIOS'}"
        for one in (plan.machine, plan.machine_after)
    )
    if plan.status == "error" or not (plan.machine.type or plan.machine.family):
        return ""
    return before if before == after or not plan.machine_after.family else f"{before} → {after}"


# --- What each command said, side by side --------------------------------------------------------------


def _cards(entry: Entry) -> Iterator[Markup]:
    several = len(entry.hosts) > 1
    yield _card("Audit", [(one.origin.host or one.uri, _audit_lines(one)) for one in entry.audits], several)
    yield _card("Plan", [(one.origin.host, _plan_lines(one)) for one in entry.plans], several)
    yield _card("Apply", [(one.origin.host or one.uri, _apply_lines(one)) for one in entry.applied], several)
    yield _card("Verify", [(one.origin.host, _verify_lines(one)) for one in entry.verified], several)


class _Said(NamedTuple):
    """What one command said: a word, its colour, and what stands below."""

    tone: str
    word: str
    lines: list[str]


def _card(title: str, told: list[tuple[str, _Said]], several: bool) -> Markup:
    """Return a card of one command; where there are several hosts, each result names its own."""
    blocks = []
    for host, said in told:
        lines = [tag("p", line) for line in said.lines if line]
        lines += [tag("p", join(("on ", name(host, 200))))] if several and host else []
        blocks.append(join((tag("p", tag("strong", said.word or "?", class_=said.tone)), *lines)))
    content = join(blocks) if blocks else tag("p", "no result given", class_="dim")
    return tag("section", join((tag("h4", title), content)), class_="card" + ("" if blocks else " none"))


_TONES = {
    "right": "good",
    "changed": "good",
    "unchanged": "good",
    "passed": "good",
    "pending": "warn",
    "blocked": "warn",
    "unknown guest": "warn",
    "right at next start": "warn",
    "not judged": "dim",
}


def _tone(word: str) -> str:
    return _TONES.get(word, "bad")


def _audit_lines(audit: Audited) -> _Said:
    lines = [audit.reason]
    for title, look in (("running", audit.now), ("definition", audit.next)):
        if look is not None:
            count = len({found.device for found in look.findings})
            told = f"{_count(count, 'device')} that it can not drive" if count else "nothing wrong"
            lines.append(f"{title}: {told}" + (f" (by {look.by})" if title == "running" else ""))
    return _Said(_tone(audit.verdict), audit.verdict, lines)


def _plan_lines(plan: Planned) -> _Said:
    if plan.status == "error":
        word = "unknown guest" if plan.code == "guest.unknown" else "error"
        return _Said(_tone(word), word, [plan.error])
    what = _count(len(plan.changes), "device") if plan.changes else "machine" * (plan.status == "pending")
    lines = [f"{what} to change" if what else "nothing to change"]
    if plan.unresolved:
        lines.append(f"{_count(len(plan.unresolved), 'finding')} stay unresolved")
    return _Said(_tone(plan.status), plan.status, lines)


def _apply_lines(result: Applied) -> _Said:
    lines = [result.reason, f"{_count(result.devices, 'device')} changed" if result.devices else ""]
    lines += ["pending restart: it runs with its old devices"] if result.pending_restart else []
    lines += [f"{_count(result.unresolved, 'finding')} stay unresolved"] if result.unresolved else []
    return _Said(_tone(result.status), result.status, lines)


def _verify_lines(tried: Verified) -> _Said:
    if tried.error:
        return _Said("bad", "not tried", [tried.error])
    good = sum(one.verdict == "pass" for one in tried.devices)
    bad = sum(one.verdict == "fail" for one in tried.devices)
    word = f"{tried.state}: {'PASS' if tried.passed else 'FAIL'}"
    return _Said("good" if tried.passed else "bad", word, [f"{good} pass, {bad} fail"])


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"


# --- Findings -------------------------------------------------------------------------------------------


def _findings(entry: Entry) -> Markup:
    told: dict[tuple[str, str], tuple[Found, list[str]]] = {}
    for where, found in _found(entry):
        told.setdefault((found.code, found.device), (found, []))[1].append(where)
    rows = [
        (
            code(found.device),
            ident(found.code),
            found.severity,
            ", ".join(dict.fromkeys(where)),
            found.why,
            found.evidence,
        )
        for found, where in told.values()
    ]
    heads = ("Device", "Code", "Severity", "Seen in", "Why", "Evidence")
    return _titled("Findings", table("Findings", heads, rows)) if rows else Markup()


def _found(entry: Entry) -> Iterator[tuple[str, Found]]:
    """Yield each finding with who has it; what stays unresolved first, since it says why no remedy helps."""
    for plan in entry.plans:
        yield from (("plan: unresolved", found) for found in plan.unresolved)
        yield from (("plan", found) for found in plan.findings if found not in plan.unresolved)
    for audit in entry.audits:
        for where, look in (("running", audit.now), ("definition", audit.next)):
            yield from ((where, found) for found in (look.findings if look is not None else ()))


# --- The plan -------------------------------------------------------------------------------------------


def _plan(plan: Planned) -> Markup:
    return join(
        (
            _changes(plan.changes),
            _trees(plan),
            _difference(plan.diff),
            _titled("What guest and owner will notice", items(_notices(plan))),
            _names(plan),
        )
    )


def _changes(changes: tuple[Changed, ...]) -> Markup:
    if not changes:
        return Markup()
    rows = [
        (
            code(one.device),
            _arrow(one.mode_before, one.mode_after),
            _arrow(
                one.address_before if one.listed or not one.address_before else f"({one.address_before})",
                one.address_after,
            ),
            one.remedy,
            one.why,
        )
        for one in changes
    ]
    return _titled(
        "Devices that change",
        table("Devices that change", ("Device", "Mode", "Address", "Remedy", "Why this remedy"), rows),
    )


def _arrow(before: str, after: str) -> str:
    return before or "none" if before == after else f"{before or 'none'} → {after or 'none'}"


def _trees(plan: Planned) -> Markup:
    before, after = plan.before, plan.after
    partly = not before and bool(plan.changes)
    if partly:  # a plan of a version that did not write the tree
        before, after = (tuple(_partial(plan.changes, side)) for side in (0, 1))
    if not before:
        return Markup()
    changed = {one.device for one in plan.changes}
    added = {node.device for node in after} - {node.device for node in before} if after else set()
    sides = [
        _picture(side, nodes, changed | added)
        for side, nodes in (("before", before), ("after", after))
        if nodes
    ]
    note = "Only the devices that change: the plan does not hold the tree." if partly else ""
    return _titled("PCI tree", tag("p", note) if note else "", tag("div", join(sides), class_="trees"))


def _picture(side: str, nodes: tuple[Node, ...], changed: set[str]) -> Markup:
    modes = [node.mode for node in nodes if node.mode]
    told = ", ".join(f"{modes.count(mode)} {mode}" for mode in dict.fromkeys(modes))
    label = f"PCI tree {side}: {_count(len(nodes), 'row')}" + (f"; virtio devices: {told}" if told else "")
    caption = join((tag("b", side), f": {told}" if told else ""))
    inner = scroll(svg.tree(nodes, label, changed), f"PCI tree {side}")
    return tag("figure", join((tag("figcaption", caption), inner)))


def _partial(changes: tuple[Changed, ...], side: int) -> Iterator[Node]:
    """Yield a tree of the devices that change alone, by the buses of their addresses (libvirt's numbers)."""
    buses: dict[str, list[tuple[str, Changed]]] = {}
    for one in changes:
        bus, _, at = (one.address_after if side else one.address_before).partition(":")
        if at:
            buses.setdefault(bus, []).append((at, one))
    for bus in sorted(buses):
        yield Node(0, "", "", model="bus", bus=bus)
        for at, one in sorted(buses[bus], key=lambda pair: pair[0]):
            yield Node(1, at, one.device, one.mode_after if side else one.mode_before)


def _difference(diff: str) -> Markup:
    if not diff:
        return Markup()
    lines = diff.removesuffix("\n").split("\n")
    told = "\n".join(map(_line, lines[:_MOST_LINES]))
    more = (
        tag("p", f"{_count(len(lines) - _MOST_LINES, 'line')} more are left out.")
        if len(lines) > _MOST_LINES
        else ""
    )
    return _titled("Difference", scroll(Markup(f"<pre>{told}</pre>"), "Difference as a unified diff"), more)


def _line(line: str) -> str:
    kind = _SIGNS.get(line[:1], "") if line[:4] not in {"--- ", "+++ "} else "b"
    kind = "span" if line.startswith("@@") else kind
    text = h(line.removesuffix("\r"))
    return f"<{kind}>{text}</{kind}>" if kind else text


def _notices(plan: Planned) -> Iterator[Markup]:
    for one in plan.consequences:
        devices = join((": ", code(", ".join(one.devices)))) if one.devices else ""
        yield join((tag("b", one.code), " ", one.text, devices))


def _names(plan: Planned) -> Markup:
    rows = [
        (code(one.device), one.kind, _arrow(one.before, one.after), "yes" if one.changes else "no", one.rule)
        for one in plan.forecast
    ]
    heads = ("Device", "Kind", "Name in the guest", "Changes", "By which rule")
    return _titled("Names in the guest", table("Names in the guest", heads, rows)) if rows else Markup()


# --- What was seen ---------------------------------------------------------------------------------------


def _seen(audit: Audited) -> Markup:
    rows = [
        (code(one.device), one.kind, one.now or "-", one.next or "-", one.negotiated or "-", one.qemu or "-")
        for one in audit.devices
    ]
    heads = ("Device", "Kind", "Running", "Definition", "Negotiated", "In QEMU")
    return _titled("Devices as audited", table("Devices as audited", heads, rows)) if rows else Markup()


def _tried(tried: Verified) -> Markup:
    rows = [
        (
            code(one.device),
            one.verdict.upper() if one.verdict in {"pass", "fail"} else "-",
            one.address,
            one.pci_id,
            one.io or "none",
            one.seen if one.seen == one.expected or not one.expected else f"{one.seen}, not {one.expected}",
            one.why,
        )
        for one in tried.devices
    ]
    title = f"Verified on real QEMU: {tried.state}"
    heads = ("Device", "Verdict", "At", "PCI id", "I/O BAR", "Mode", "Why")
    return _titled(title, table(title, heads, rows), items(tried.booted)) if rows else Markup()


def _evidence(entry: Entry) -> Markup:
    guest = entry.guest
    lines: list[str] = []
    if guest is not None:
        lines += guest.evidence
        lines += [f"the interface: {guest.source}"] if guest.source else []
        lines += [f"disagrees: {text}" for text in guest.conflicts]
        lines += [f"answers hung on {text}" for text in guest.builds]
    for plan in entry.plans:
        lines += [f"left alone, {subject}: {reason}" for subject, reason in plan.skips]
    noted: list[Audited | Applied | Verified] = [*entry.audits, *entry.applied, *entry.verified]
    lines += (note for one in noted for note in one.notes)
    if len(entry.hosts) > 1:
        lines.append(f"{len(entry.hosts)} hosts have a domain with this UUID")
    if entry.replaced:
        lines.append(f"{_count(entry.replaced, 'earlier result')} gave way to later ones")
    return join(
        (
            _titled("Evidence and notes", items(dict.fromkeys(lines))),
            tag("p", join(("From ", join(_files(entry)))), class_="dim"),
        )
    )


def _files(entry: Entry) -> Iterable[Markup]:
    files = dict.fromkeys(one.origin.file for one in entry.results)
    for number, file in enumerate(files):
        yield join((", " if number else "", name(file, 300)))
