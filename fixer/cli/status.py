"""virtfix status: which domains still run with their old devices, and which have them again."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

from fixer.cli import sources
from fixer.cli.exit_codes import Exit
from fixer.cli.redefine import in_order, proved
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Settings, build_request, state_dir
from fixer.domain.model import Domain, read_domain
from fixer.errors import VirtfixError, printable
from fixer.execution.journal import LEFT, RESTORED, Entry, entries, read_events
from fixer.planning.planner import make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixer.planning.planner import Request


class Standing(NamedTuple):
    """How a domain stands: right, pending restart, to change, came back, unresolved, unknown guest, or error."""

    uri: str
    uuid: str
    name: str
    status: str
    reason: str = ""


def run(paths: Sequence[str], settings: Settings, form: str, state: str, *, detailed: bool) -> Exit:
    """Tell how each domain stands. Exit codes of ``detailed``: 3 to change or to restart, 4 unresolved or unknown."""
    request = build_request(settings)
    known = _known(state)

    def one(reference: DomainRef) -> Standing:
        return _standing(reference, request, settings, known)

    found = list(in_order(one, [path for path in paths if isinstance(path, DomainRef)]))
    if form == "jsonl":
        sys.stdout.writelines(json.dumps(standing._asdict()) + "\n" for standing in found)
    elif form == "json":
        sys.stdout.write(json.dumps([standing._asdict() for standing in found], indent=2) + "\n")
    else:
        wide = max((len(printable(standing.name)) for standing in found), default=0)
        for standing in found:
            told = f"  {printable(standing.reason, 300)}" if standing.reason else ""
            sys.stdout.write(
                f"{standing.status:<15}  {printable(standing.name):<{wide}}{told}".rstrip() + "\n"
            )
    words = [standing.status for standing in found]
    if "error" in words:
        return Exit.ERROR
    if detailed and {"unresolved", "unknown guest"} & set(words):
        return Exit.UNRESOLVED
    waiting = {"pending restart", "to change", "came back"} & set(words)
    return Exit.PENDING if detailed and waiting else Exit.DONE


def _known(state: str) -> dict[tuple[str, str], tuple[str, Entry]]:
    """Return the last change of each domain that the runs know of, with its run."""
    place = state_dir(state)
    found: dict[tuple[str, str], tuple[str, Entry]] = {}
    for name in place.runs():
        for key, entry in entries(read_events(place.find(name).journal())).items():
            if entry.event == RESTORED:
                found.pop(key, None)
            elif entry.event != LEFT:
                found[key] = name, entry
    return found


def _standing(
    reference: DomainRef,
    request: Request,
    settings: Settings,
    known: dict[tuple[str, str], tuple[str, Entry]],
) -> Standing:
    store = sources.store(reference.uri, writable=sources.asks_guest(settings))
    base = Standing(store.uri, reference.uuid, str(reference), "right")
    try:
        domain = read_domain(store.public_xml(reference.uuid))
        plan = proved(lambda: make_plan(domain, request, sources.seen(reference, domain, settings)))
        if plan.pending:
            return _to_change(base, len(plan.changes), known.get((store.uri, reference.uuid)))
        state = store.state(reference.uuid)
        old = _old_devices(domain, read_domain(store.live_xml(reference.uuid))) if state.active else []
        if old:
            return base._replace(
                status="pending restart",
                reason=f"runs with the old {', '.join(old[:4])}: shut it down and start it",
            )
        if state.managed_save and (store.uri, reference.uuid) in known:
            return base._replace(reason="has a managed save, which may hold old devices")
        if plan.unresolved:
            first = plan.unresolved[0]
            told = f"{len(plan.unresolved)} unresolved, first {first.device}: {first.why}"
            return base._replace(status="unresolved", reason=told)
        return base._replace(reason="; ".join(skip.reason for skip in plan.skips))
    except VirtfixError as error:
        if error.code == "guest.unknown":
            return base._replace(status="unknown guest", reason=error.summary)
        return base._replace(status="error", reason=str(error))


def _to_change(base: Standing, count: int, last: tuple[str, Entry] | None) -> Standing:
    told = f"{count} device{'s' * (count != 1)} that its guest can not drive"
    if last is None:
        return base._replace(status="to change", reason=told)
    run, entry = last
    if entry.open:
        reason = f"{told}; run {run} was cut off amid it: virtfix resume {run}"
        return base._replace(status="to change", reason=reason)
    reason = f"run {run} changed it, and it was redefined since (a snapshot revert?): {told}"
    return base._replace(status="came back", reason=reason)


def _old_devices(inactive: Domain, live: Domain) -> list[str]:
    """Return the virtio devices that sit or show elsewhere in the running domain than in its definition."""
    if inactive.layout is None or live.layout is None:
        return []
    old = []
    for device, mode in inactive.modes.items():
        now = live.by_key.get(device.key)
        if now is None:
            continue  # unplugged, or of a kind that only the definition has
        if live.layout.at.get(now) != inactive.layout.at.get(device) or live.modes.get(now) is not mode:
            old.append(device.key)
    return old
