"""The journal of a run, read back: what became of each domain, as far as the run came."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# Events about a domain, in the order of its life. ``planned`` is written before the definition is touched.
_STATED = ("uri", "uuid", "name", "before", "after", "backup", "edits")
_OPTIONAL: dict[str, str | bool] = {
    "meant": "",
    "transient": False,
    "now": "",
    "result": "",
    "same": False,
    "replaced": "",
    "reason": "",
}
# ``left``: the old definition is in force, that was made sure of. ``unknown``: nobody could make sure of anything.
PLANNED, DEFINED, LEFT, RESTORED, UNKNOWN = "planned", "defined", "left", "restored", "unknown"
# In the journal of a rollback: a domain that another run's backup was put back for.
PUT_BACK = "restored-from"
ENDED = "ended"  # the run has come to its end, and left nothing out

_KEY = ("uri", "uuid")
_BEGINNING = b'{"event": "'  # of a line, as it is written
_TEXTS = {
    PLANNED: tuple(name for name in _STATED if name != "edits"),
    **dict.fromkeys((DEFINED, LEFT, RESTORED, UNKNOWN), _KEY),
    PUT_BACK: (*_KEY, "name", "run"),
}


class Entry(NamedTuple):
    """One domain of a run. Digests are those of inactive XML: before, as it was meant, as it was read back."""

    uri: str
    uuid: str
    name: str
    before: str
    after: str
    backup: str
    edits: list[dict[str, Any]]
    meant: str = ""  # name of the XML that was meant, where it is not what the edits make of the old one
    transient: bool = False  # libvirt had no definition of it, only the running domain
    event: str = PLANNED
    now: str = ""
    result: str = ""  # name of the XML that was in force afterwards, where libvirt had filled it up
    reason: str = ""
    same: bool = False  # of a file that was defined like that already: nothing is to be undone

    @property
    def open(self) -> bool:
        """Whether the run ended before it knew what became of the domain."""
        return self.event in {PLANNED, UNKNOWN}


def read_events(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a journal; what is no whole event, as a line whose writer was killed, is left out."""
    events = []
    for line in data.split(b"\n"):
        try:
            event = json.loads(line) if line else None
        except ValueError:
            continue
        if isinstance(event, dict) and _is_whole(event):
            events.append(event)
    return events


def damaged(data: bytes) -> int:
    """Return how many lines of a journal hold what no writer wrote, killed or not: no event, and no beginning of one."""
    return sum(bool(line) and not _begins_as_event(line) for line in data.split(b"\n"))


def _begins_as_event(line: bytes) -> bool:
    return line.startswith(_BEGINNING) or _BEGINNING.startswith(line)


def _is_whole(event: dict[str, Any]) -> bool:
    """Whether an event has all that its kind has: journals are files, and files get broken."""
    kind = event.get("event")
    names = _TEXTS.get(kind, ()) if isinstance(kind, str) else ("event",)
    optional = all(isinstance(event.get(name, default), type(default)) for name, default in _OPTIONAL.items())
    right = optional and all(isinstance(event.get(name), str) for name in names)
    return right and (kind != PLANNED or isinstance(event.get("edits"), list))


def orphans(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an event for each domain that the journal speaks of without having told what was planned.

    That line was there, since it is on disk before anything else happens: the journal was damaged since.
    """
    planned: set[tuple[str, str]] = set()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if event["event"] == PLANNED:
            planned.add((event["uri"], event["uuid"]))
        elif event["event"] in {DEFINED, LEFT, RESTORED, UNKNOWN}:
            key = event["uri"], event["uuid"]
            if key not in planned:
                found[key] = event
    return list(found.values())


def entries(events: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Entry]:
    """Return what became of each domain, by URI and UUID, the last word in force."""
    found: dict[tuple[str, str], Entry] = {}
    for event in events:
        kind = event["event"]
        if kind == PLANNED:
            optional = {key: event[key] for key in ("meant", "transient") if key in event}
            entry = Entry(**{key: event[key] for key in _STATED}, **optional)
            found[entry.uri, entry.uuid] = entry
        elif kind in {DEFINED, LEFT, RESTORED, UNKNOWN}:
            key = event["uri"], event["uuid"]
            if key in found:
                found[key] = found[key]._replace(
                    event=kind,
                    now=event.get("now", ""),
                    result=event.get("result", ""),
                    reason=event.get("reason", ""),
                    same=event.get("same", False),
                )
    return found
