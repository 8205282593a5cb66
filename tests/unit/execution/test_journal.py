"""The journal, read back after whatever happened to its writer."""

from __future__ import annotations

import json

import pytest

from fixer.execution.journal import entries, read_events

PLANNED = {
    "event": "planned", "uri": "u", "uuid": "1", "name": "vm", "before": "sha256:a", "after": "sha256:b",
    "backup": "backup/1.xml", "edits": [],
}  # fmt: skip


def lines(*events: object) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_the_last_word_holds() -> None:
    data = lines(PLANNED, {"event": "defined", "uri": "u", "uuid": "1", "now": "sha256:c"})
    (entry,) = entries(read_events(data)).values()
    assert (entry.event, entry.now, entry.open) == ("defined", "sha256:c", False)
    again = data + lines({"event": "restored", "uri": "u", "uuid": "1", "now": "sha256:a"})
    assert entries(read_events(again))["u", "1"].event == "restored"


def test_a_line_that_was_cut_off_is_left_out_and_hides_none() -> None:
    cut = lines(PLANNED) + b'{"event": "defi' + b"\n" + lines({"event": "planned", **PLANNED, "uuid": "2"})
    assert {entry.uuid: entry.open for entry in entries(read_events(cut)).values()} == {"1": True, "2": True}
    assert entries(read_events(lines(PLANNED)[:-20])) == {}


def test_foreign_lines_are_left_out() -> None:
    assert read_events(b'\n[]\n1\n"x"\n{"no": "event"}\n\xff\n') == []


@pytest.mark.parametrize(
    "event",
    [
        {"event": "planned", "uri": "u"},
        {**PLANNED, "edits": {}},
        {**PLANNED, "name": 1},
        {**PLANNED, "transient": "yes"},
        {"event": ["planned"]},
        {"event": "defined", "uuid": "1"},
        {"event": "restored-from", "uri": "u", "uuid": "1"},
    ],
)
def test_a_line_that_lacks_something_is_left_out(event: dict[str, object]) -> None:
    assert read_events(lines(event, {"event": "ended"})) == [{"event": "ended"}]


@pytest.mark.parametrize(("event", "is_open"), [("left", False), ("unknown", True), ("defined", False)])
def test_what_nobody_could_make_sure_of_stays_open(event: str, is_open: bool) -> None:
    data = lines(PLANNED, {"event": event, "uri": "u", "uuid": "1"})
    assert entries(read_events(data))["u", "1"].open is is_open
