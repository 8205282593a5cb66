"""Results of many files become one entry a domain, and the entry says how the domain stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from reporting import applied, audited, failed, fleet, gather, gather_all, planned, uuid_of, verified

from fixer.errors import VirtfixError
from fixer.report.gathered import Gathered, Standing
from fixer.report.results import Applied, Audited, Origin, Planned, Verified, read, values

ONE, TWO = uuid_of(1), uuid_of(2)
BROKEN, BREAKS, RESTART = Standing.BROKEN, Standing.BREAKS, Standing.RESTART
RIGHT, UNRESOLVED, UNKNOWN = Standing.RIGHT, Standing.UNRESOLVED, Standing.UNKNOWN


def texts(data: bytes | str) -> list[Any]:
    return [value for _, value in values(data.encode() if isinstance(data, str) else data)]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": 2}\n',
        '[{"a": 1},\n{"a": 2}\n]\n',
        '[{"a": 1}]\n[{"a": 2}]',
        '\n {"a": 1} [{"a": 2}] []',
    ],
)
def test_every_form_that_commands_print_is_read(text: str) -> None:
    """Single objects, lines of JSON, arrays, and several of them behind one another."""
    assert texts(text) == [{"a": 1}, {"a": 2}]
    assert texts(text.encode("utf-8-sig")) == [{"a": 1}, {"a": 2}]
    assert texts(text.encode("utf-16")) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ["", " \n", "[]", "[ ]\n"])
def test_nothing_is_no_result(text: str) -> None:
    """A run over no domain prints nothing, or an empty array."""
    assert texts(text) == []


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ('{"a": 1}\n{"a": \n', "line 3, column 1", "expecting value"),
        ('[{"a": 1}', "line 1, column 10", "breaks off"),
        ('[{"a": 1} {"a": 2}]', "line 1, column 11", "missing"),
        ("<domain/>", "line 1, column 1", "expecting value"),
        ("[" + "[" * 100_000, "line 1, column 2", "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "line 1, column 1", "number that is too long"),
        ('{"a": 1},', "line 1, column 9", "expecting value"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(text: str, place: str, what: str) -> None:
    """A file that was cut off, or that is something else, ends with line and column."""
    with pytest.raises(VirtfixError) as told:
        texts(text)
    assert told.value.where == place
    assert what in told.value.summary


def test_what_is_no_text_is_told() -> None:
    """Bytes that are no UTF-8 are no results."""
    with pytest.raises(VirtfixError, match="byte 2"):
        texts(b'{"\xff": 1}')


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (planned(), Planned),
        (planned("conversion"), Planned),
        (failed("vm.xml"), Planned),
        (audited("broken now"), Audited),
        (audited("unknown guest"), Audited),
        (applied("changed"), Applied),
        (verified("vm.xml"), Verified),
        ({"source": "vm", "error": {"code": "x", "summary": "y"}}, Verified),
    ],
)
def test_results_are_known_by_their_keys(value: dict[str, Any], kind: type) -> None:
    """Nobody has to say which command wrote a file. Keys that are not known do no harm."""
    assert isinstance(read(value | {"later": [1]}, Origin("", "f")), kind)


def test_a_plan_without_a_tree_or_a_diff_is_read() -> None:
    """Plans of older versions lack keys, which are empty then."""
    value = planned()
    for key in ("topology", "diff", "forecast", "difference"):
        del value[key]
    plan = read(value, Origin("", "f"))
    assert isinstance(plan, Planned)
    assert (plan.before, plan.diff, plan.forecast) == ((), "", ())


def _set(value: dict[str, Any], path: str, new: object) -> dict[str, Any]:
    *before, last = path.split(".")
    inner: Any = value
    for step in before:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = new
    return value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (7, "is no JSON object"),
        ({"name": "vm"}, "is no result of plan, audit, apply or verify"),
        (_set(planned(), "format", 2), "format 2"),
        (_set(planned(), "domain", "vm"), "domain is no JSON object"),
        (_set(planned(), "domain.name", 7), "domain.name is not a text"),
        (
            _set(planned(), "changes.0.address.listed", "yes"),
            "changes[0].address.listed is not true or false",
        ),
        (_set(planned(), "changes.0.price", []), "changes[0].price is not a number"),
        (_set(planned(), "findings", {}), "findings is not a list"),
        (_set(planned(), "topology.before.3.depth", "1"), "topology.before[3].depth is not a whole number"),
        (_set(audited("right"), "notes", [1]), "notes is not a list of texts"),
        (_set(applied("changed"), "devices", "6"), "devices is not a whole number"),
    ],
)
def test_what_is_no_result_is_told_with_its_path(value: object, told: str) -> None:
    """A value of another kind is named by its path, and nothing is guessed."""
    with pytest.raises(VirtfixError) as error:
        read(value, Origin("", "f"))
    assert told in error.value.summary


def one(*results: dict[str, Any]) -> Standing:
    gathered = gather(results)
    assert len(gathered.entries) == 1
    return gathered.entries[0].standing


@pytest.mark.parametrize(
    ("results", "standing"),
    [
        ([planned(uuid=ONE)], BREAKS),
        ([planned("already-right", uuid=ONE)], RIGHT),
        ([planned("conversion", uuid=ONE)], RIGHT),
        ([failed("vm")], UNKNOWN),
        ([failed("vm", "document.malformed")], Standing.ERROR),
        ([audited("broken now", uuid=ONE)], BROKEN),
        ([audited("breaks at next start", uuid=ONE)], BREAKS),
        ([audited("breaks at next start", uuid=ONE, running=False)], BREAKS),
        ([audited("right at next start", uuid=ONE)], RESTART),
        ([audited("right", uuid=ONE)], RIGHT),
        ([audited("unknown guest", uuid=ONE)], UNKNOWN),
        ([audited("not judged", uuid=ONE)], Standing.NOT_JUDGED),
        ([audited("error", uuid=ONE)], Standing.ERROR),
        ([applied("changed", uuid=ONE)], RIGHT),
        ([applied("changed", uuid=ONE, pending_restart=True)], RESTART),
        ([applied("changed", uuid=ONE, unresolved=1)], UNRESOLVED),
        ([applied("blocked", uuid=ONE, code="state.managed-save")], BREAKS),
        ([applied("failed", uuid=ONE, code="libvirt.lost")], Standing.ERROR),
        ([applied("failed", uuid=ONE, code="guest.unknown")], UNKNOWN),
        ([planned(uuid=ONE), applied("changed", uuid=ONE)], RIGHT),
        ([planned(uuid=ONE), applied("failed", uuid=ONE)], BREAKS),
        ([audited("broken now", uuid=ONE), planned(uuid=ONE), applied("changed", uuid=ONE)], RIGHT),
        ([audited("broken now", uuid=ONE), applied("changed", uuid=ONE, pending_restart=True)], RESTART),
        ([applied("changed", uuid=ONE), audited("breaks at next start", uuid=ONE)], BREAKS),
        ([planned(uuid=ONE), audited("broken now", uuid=ONE)], BROKEN),
        ([verified("vm")], BREAKS),
        ([verified("vm", passed=True)], RIGHT),
        ([verified("vm"), verified("vm", "after")], UNRESOLVED),
        ([planned(uuid=ONE, source="vm"), verified("vm"), verified("vm", "after", passed=True)], BREAKS),
        ([{"source": "vm", "error": {"code": "x", "summary": "y"}}], Standing.ERROR),
    ],
)
def test_how_a_domain_stands(results: list[dict[str, Any]], standing: Standing) -> None:
    """Each result speaks of what runs, of what is defined, or of both; a later one overrules an earlier one."""
    assert one(*results) is standing


def test_one_domain_of_four_commands_is_one_entry() -> None:
    """Plan, audit and apply meet by the UUID, verify by the name of the source."""
    results = [
        verified("vm.xml"),
        planned(name="vm", uuid=ONE.upper(), source="vm.xml"),
        audited("right", name="vm", uuid=ONE),
        applied("changed", name="vm", uuid=ONE),
        verified("vm.xml", "after", passed=True),
    ]
    (entry,) = gather(results).entries
    assert [len(found) for found in (entry.plans, entry.audits, entry.applied, entry.verified)] == [
        1,
        1,
        1,
        2,
    ]
    assert (entry.label, entry.source, entry.host) == ("vm", "vm.xml", "qemu:///system")


def test_the_result_that_is_given_last_counts() -> None:
    """Yesterday's plan gives way to today's, and that is told."""
    (entry,) = gather([planned(uuid=ONE), planned("already-right", uuid=ONE)]).entries
    assert (entry.standing, entry.replaced, len(entry.plans)) == (RIGHT, 1, 1)


def test_files_of_one_name_on_two_hosts_are_two_domains() -> None:
    """Without a UUID name and source tell domains apart, and the host where it is named."""
    hosts = {host: [planned(name="vm", source="vm.xml") | {"domain": {"name": "vm"}}] for host in ("a", "b")}
    gathered = gather_all(hosts)
    assert [entry.host for entry in gathered.entries] == ["a", "b"]
    again = gather([*hosts["a"], *hosts["b"]])
    assert len(again.entries) == 1


def test_a_copy_that_was_tried_goes_to_the_domain_of_its_host() -> None:
    """Of two domains of one name, verify belongs to the one on its host; to none where that is not clear."""
    hosts = {
        "a": [planned(name="vm", uuid=ONE), verified("vm")],
        "b": [planned(name="vm", uuid=TWO)],
        "": [verified("vm", "after")],
    }
    found = {(entry.host, entry.uuid): len(entry.verified) for entry in gather_all(hosts).entries}
    assert found == {("a", ONE): 1, ("b", TWO): 0, ("", ""): 1}


def test_a_copy_that_names_its_domain_goes_to_it_whatever_the_file_is_called() -> None:
    """A verify of an export meets the plan that was made on the connection."""
    copy = verified("export/vm-of-today.xml") | {"domain": {"name": "vm", "uuid": ONE.upper()}}
    entries = gather([planned(name="vm", uuid=ONE), planned(name="vm2", uuid=TWO), copy]).entries
    assert {entry.uuid: len(entry.verified) for entry in entries} == {ONE: 1, TWO: 0}


def test_one_uuid_on_two_hosts_is_one_entry_with_the_worse_standing() -> None:
    """A domain that is defined twice stands as badly as it does on the worse host."""
    hosts = {"a": [audited("broken now", uuid=ONE)], "b": [audited("right", uuid=ONE)]}
    (entry,) = gather_all(hosts).entries
    assert (entry.hosts, entry.standing) == (("a", "b"), BROKEN)
    assert len(entry.audits) == 2


def test_connections_are_hosts_too() -> None:
    """Where no host is named, the connection says which it is."""
    results = [audited("right", uuid=ONE, uri=uri) for uri in ("qemu+ssh://a/system", "qemu+ssh://b/system")]
    results[0]["now"]["findings"] = audited("broken now")["now"]["findings"]
    (entry,) = gather(results).entries
    assert entry.hosts == ("qemu+ssh://a/system", "qemu+ssh://b/system")
    assert entry.standing is RESTART


def test_the_worst_come_first_and_all_are_there() -> None:
    """A fleet is sorted by how its domains stand; counts add up, whatever the order of the files."""
    hosts = fleet(200)
    gathered = gather_all(hosts)
    ranks = [entry.standing.rank for entry in gathered.entries]
    assert ranks == sorted(ranks)
    assert len(ranks) == 200 == sum(gathered.standings().values())
    assert [entry.number for entry in gathered.entries] == list(range(200))
    other = gather_all(dict(reversed(hosts.items())))
    assert [(entry.uuid, entry.standing) for entry in other.entries] == [
        (entry.uuid, entry.standing) for entry in gathered.entries
    ]


def test_files_are_counted() -> None:
    """Each file says how many results of which kind it had, also none."""
    gathered = Gathered()
    gathered.open("a", "empty.json")
    gathered.open("b", "two.json")
    for value in (planned(), audited("right")):
        gathered.add(read(json.loads(json.dumps(value)), Origin("b", "two.json")))
    assert [source.counts for source in gathered.finish().sources] == [
        {"plan": 0, "audit": 0, "apply": 0, "verify": 0},
        {"plan": 1, "audit": 1, "apply": 0, "verify": 0},
    ]
