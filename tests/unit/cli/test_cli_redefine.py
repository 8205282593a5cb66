"""apply, status, history, rollback, resume on libvirt's own test driver, one connection a test."""

from __future__ import annotations

import io
import json
import re
import sys
import uuid as uuids
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_runner import SAMPLES, Done, Run

libvirt = pytest.importorskip("libvirt")


from fixer.adapters.libvirt_store import LibvirtStore  # noqa: E402
from fixer.cli import redefine, sources  # noqa: E402
from fixer.cli.planners import Planners  # noqa: E402
from fixer.errors import VirtfixError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixer.execution.meant import Meant

SAMPLE = (SAMPLES / "rhel6-q35-ovmf.xml").read_text().replace("type='kvm'", "type='test'", 1)
SAMPLE = re.sub(r"<emulator>.*?</emulator>", "", SAMPLE)
RIGHT = (SAMPLES / "already-right.xml").read_text().replace("type='kvm'", "type='test'", 1)
RIGHT = re.sub(r"<emulator>.*?</emulator>", "", RIGHT)
SECURE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


def renamed(text: str, name: str) -> str:
    text = re.sub(r"<name>.*?</name>", f"<name>{name}</name>", text, count=1)
    number = uuids.uuid5(uuids.NAMESPACE_DNS, name)
    return re.sub(r"<uuid>.*?</uuid>", f"<uuid>{number}</uuid>", text, count=1)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A test driver with three domains that are to change and one that is right, and an empty state."""
    node = tmp_path / "node.xml"
    domains = [renamed(SAMPLE, f"vm{number}") for number in (1, 2, 3)] + [renamed(RIGHT, "fine")]
    node.write_text(f"<node>{''.join(domains)}</node>")
    monkeypatch.setenv("VIRTFIX_STATE_DIR", str(tmp_path / "state"))
    sources._stores.clear()
    made = Host(f"test://{node}", tmp_path)
    for name in ("vm1", "vm2", "vm3", "fine"):
        made.domain(name).destroy()  # the test driver starts what it is given
    yield made
    sources._stores.clear()


class Host:
    """The connection that the commands of one test share, and a look behind it."""

    def __init__(self, uri: str, place: Path) -> None:
        self.uri = uri
        self.place = place

    def domain(self, name: str) -> Any:
        return sources.store(self.uri, writable=True)._connection.lookupByName(name)

    def xml(self, name: str) -> str:
        return self.domain(name).XMLDesc(SECURE)

    def edit(self, name: str) -> None:
        text = self.xml(name).replace(
            "<vcpu placement='static'>", "<title>edited</title><vcpu placement='static'>", 1
        )
        assert "edited" in text
        sources.store(self.uri, writable=True)._connection.defineXML(text)


@pytest.fixture
def apply(virtfix: Run, host: Host) -> Callable[..., Done]:
    return lambda *arguments: virtfix("apply", *arguments, "--connect", host.uri)


def test_all_domains_are_redefined_and_only_once(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    before = {name: host.xml(name) for name in ("vm1", "fine")}
    done = apply("--all", "--yes")
    assert done.code == 0, done.err
    assert done.text.splitlines() == [
        "unchanged  fine", "changed    vm1  6 devices", "changed    vm2  6 devices", "changed    vm3  6 devices",
    ]  # fmt: skip
    table, summary = done.err.rsplit("virtfix: ", 1)
    assert [line.split() for line in table.splitlines()] == [
        ["changed", "unchanged", "pending", "restart", "blocked", "failed", "connection"],
        ["3", "1", "0", "0", "0", host.uri],
    ]
    assert summary.startswith(
        "4 domains of 4: 3 changed, 1 unchanged, 0 blocked, 0 failed, 0 pending restart; run 2"
    )
    assert host.xml("fine") == before["fine"]
    assert host.xml("vm1") != before["vm1"]
    again = apply("--all", "--yes")
    assert "0 changed, 4 unchanged" in again.err
    status = virtfix("status", "--connect", host.uri)
    assert {line.split()[0] for line in status.text.splitlines()} == {"right"}


def test_nothing_happens_without_a_yes(apply: Callable[..., Done], host: Host) -> None:
    before = host.xml("vm1")
    done = apply("--all")
    assert done.code == 1
    assert "standard input is no terminal; give --yes" in done.error_line()
    assert host.xml("vm1") == before
    assert not (host.place / "state").exists()


def test_results_as_json(apply: Callable[..., Done]) -> None:
    value = json.loads(apply("--domain", "vm1", "--yes", "--format", "json").out)
    assert [(one["name"], one["status"], one["devices"]) for one in value] == [("vm1", "changed", 6)]
    lines = apply("--all", "--yes", "--jsonl").out.splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["unchanged", "unchanged", "changed", "changed"]
    assert json.loads(apply("--domain", "vm1", "--yes", "--format", "json", "--exclude", "vm*").out) == []


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (("--all", "--exclude", "vm[12]", "--exclude", "vm1"), ["vm2", "vm3"]),
        (("--all", "--exclude", "vm*"), []),
        (("--all", "--limit", "2"), ["vm1"]),
        (("--domain", "vm3", "--domain", "vm1"), ["vm1", "vm3"]),
        (("--all", "--canary", "1"), ["vm1", "vm2", "vm3"]),
    ],
)
def test_which_domains_are_taken(
    apply: Callable[..., Done], host: Host, arguments: tuple[str, ...], changed: list[str]
) -> None:
    before = {name: host.xml(name) for name in ("vm1", "vm2", "vm3")}
    assert apply(*arguments, "--yes").code == 0
    assert [name for name in before if host.xml(name) != before[name]] == changed


def test_a_saved_plan_is_carried_out_as_it_is(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    """A plan of a reader, who sees no passwords, fits the XML that has them; it is not planned anew."""
    plan = host.place / "plan.json"
    assert (
        virtfix("plan", "--connect", host.uri, "--domain", "vm2", "--strategy", "bridge", "--out", plan).code
        == 0
    )
    assert apply(plan, "--yes").text == "changed    vm2  6 devices\n"
    assert "pcie-to-pci-bridge" in host.xml("vm2")
    host.edit("vm2")
    again = apply(plan, "--yes")
    assert again.code == 4
    assert "changed since the plan: it was sha256:" in again.err
    assert "1 blocked" in again.err


def test_a_domain_that_was_edited_meanwhile_is_left_alone(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm*", "--out", plan)
    host.edit("vm2")
    edited = host.xml("vm2")
    done = apply(plan, "--yes", "--detailed-exitcode")
    assert done.code == 4
    assert [line.split()[:2] for line in done.text.splitlines()] == [["changed", "vm1"], ["changed", "vm3"]]
    assert re.search(
        r"virtfix: blocked    vm2  changed since the plan: it was sha256:\w+, it is sha256:\w+", done.err
    )
    assert host.xml("vm2") == edited


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is no plan of format"),
        ("[1]", "is no plan"),
        ("{", "is no plan"),
        ('{"format": 99}', "is no plan"),
    ],
)
def test_what_is_no_plan_is_told(apply: Callable[..., Done], host: Host, text: str, said: str) -> None:
    file = host.place / "plan.json"
    file.write_text(text)
    done = apply(file, "--yes")
    assert done.code == 1
    assert said in done.error_line()


def test_rollback_gives_back_every_byte(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    before = {name: host.xml(name) for name in ("vm1", "vm2", "vm3")}
    apply("--all", "--yes")
    (run,) = runs(host)
    done = virtfix("rollback", run, "--yes")
    assert done.code == 0, done.err
    assert {name: host.xml(name) for name in before} == before
    assert "3 restored" in virtfix("history").text
    assert "there is nothing to put back" in virtfix("rollback", run, "--yes").error_line()


def test_rollback_of_one_domain_takes_its_last_change(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    before = host.xml("vm2")
    apply("--all", "--yes")
    assert virtfix("rollback", "--domain", "vm2", "--yes").text == "changed    vm2\n"
    assert host.xml("vm2") == before
    assert (
        "no run changed the domain 'nosuch'"
        in virtfix("rollback", "--domain", "nosuch", "--yes").error_line()
    )


def test_rollback_refuses_what_was_edited_since(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    before = host.xml("vm1")
    apply("--domain", "vm1", "--yes")
    host.edit("vm1")
    edited = host.xml("vm1")
    (run,) = runs(host)
    done = virtfix("rollback", run, "--yes", "--detailed-exitcode")
    assert done.code == 4
    assert "was changed since: it was left as sha256:" in done.err
    assert host.xml("vm1") == edited
    assert virtfix("rollback", run, "--yes", "--force").code == 0
    assert host.xml("vm1") == before


@pytest.mark.parametrize("cut", ["after the backup", "after the definition"])
def test_resume_finishes_what_was_cut_off(
    apply: Callable[..., Done], host: Host, virtfix: Run, cut: str
) -> None:
    """As if the process had been killed between the journal and the definition, or right behind it."""
    before = host.xml("vm1")
    apply("--all", "--yes")
    meant = {name: host.xml(name) for name in ("vm1", "vm2", "vm3")}
    (run,) = runs(host)
    journal = host.place / "state" / "runs" / run / "journal.jsonl"
    events = [line for line in journal.read_text().splitlines() if '"vm3"' not in line]
    kept = [line for line in events if not ('"defined"' in line and '"vm1"' in line)]
    journal.write_text("\n".join(kept) + "\n" + '{"event": "def')
    connection = sources.store(host.uri, writable=True)._connection
    if cut == "after the backup":
        connection.defineXML(before)
    old = renamed(SAMPLE, "vm3")
    connection.defineXML(old)
    done = virtfix("resume", run)
    assert done.code == 0, done.err
    assert {name: host.xml(name) for name in meant} == meant
    assert "0 failed" in done.err
    assert virtfix("rollback", run, "--yes").code == 0
    assert host.xml("vm1") == before


def test_resume_leaves_alone_what_is_neither_old_nor_new(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    apply("--domain", "vm1", "--yes")
    (run,) = runs(host)
    journal = host.place / "state" / "runs" / run / "journal.jsonl"
    journal.write_text(
        "\n".join(line for line in journal.read_text().splitlines() if '"defined"' not in line)
    )
    host.edit("vm1")
    edited = host.xml("vm1")
    done = virtfix("resume", run, "--detailed-exitcode")
    assert done.code == 4
    assert "has neither its old definition nor the planned one: <title> differs" in done.err
    assert host.xml("vm1") == edited


def test_files_are_defined(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    """What virt-v2v wrote is rewritten and defined; a rollback takes it away again."""
    file = host.place / "new.xml"
    # virt-v2v writes no UUID: it gets one.
    file.write_text(re.sub(r"<uuid>.*?</uuid>", "", renamed(SAMPLE, "new")))
    assert apply(file, "--define", "--yes").text == "changed    new  6 devices\n"
    assert "bus='0x00'" in host.xml("new")
    (run,) = runs(host)
    assert virtfix("rollback", run, "--yes").code == 0
    with pytest.raises(libvirt.libvirtError):
        host.domain("new")


def test_what_is_defined_already_is_not_told_as_changed(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    file = host.place / "new.xml"
    file.write_text(renamed(SAMPLE, "new"))
    apply(file, "--define", "--yes")
    first = host.xml("new")
    again = apply(file, "--define", "--yes")
    assert (again.code, again.text) == (0, "unchanged  new  is defined like that already\n"), again.err
    assert [line.split("  ")[-1] for line in virtfix("history").text.splitlines()] == [
        "1 changed",
        "1 unchanged",
    ]
    file.write_text(
        renamed(SAMPLE, "new").replace("<vcpu placement='static'>2<", "<vcpu placement='static'>3<")
    )
    assert apply(file, "--define", "--yes").text == "changed    new  6 devices\n"
    assert host.xml("new") != first


def test_what_was_defined_twice_is_taken_away_at_once(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    """The second time changed nothing, so it is no change to undo."""
    file = host.place / "new.xml"
    file.write_text(renamed(SAMPLE, "new"))
    for _ in range(2):
        apply(file, "--define", "--yes")
    assert virtfix("rollback", "--domain", "new", "--yes").code == 0
    with pytest.raises(libvirt.libvirtError):
        host.domain("new")


def test_a_running_domain_that_is_defined_twice_stays_pending(apply: Callable[..., Done], host: Host) -> None:
    file = host.place / "vm1.xml"
    file.write_text(host.xml("vm1"))
    told = [json.loads(apply(file, "--define", "--yes", "--format", "json").out)[0] for _ in range(2)]
    assert [one["status"] for one in told] == ["changed", "unchanged"]
    host.domain("vm1").create()
    (one,) = json.loads(apply(file, "--define", "--yes", "--format", "json").out)
    assert (one["status"], one["pending_restart"]) == ("unchanged", True)
    assert one["notes"]


def test_a_name_that_another_domain_has_is_refused(apply: Callable[..., Done], host: Host) -> None:
    before = host.xml("vm1")
    file = host.place / "clash.xml"
    file.write_text(renamed(SAMPLE, "other").replace("<name>other<", "<name>vm1<", 1))
    done = apply(file, "--define", "--yes")
    assert done.code == 1
    assert "already exists" in done.err
    assert host.xml("vm1") == before


def test_a_definition_that_differs_is_taken_back(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever libvirt makes of it: what was not meant does not stay."""
    real = LibvirtStore.define

    def odd(self: LibvirtStore, xml: bytes, *, validate: bool) -> None:
        real(
            self,
            xml.replace(b"<on_reboot>restart", b"<on_reboot>destroy") if validate else xml,
            validate=validate,
        )

    before = host.xml("vm1")
    monkeypatch.setattr(LibvirtStore, "define", odd)
    done = apply("--domain", "vm1", "--yes")
    assert done.code == 1
    assert "libvirt took something else than was meant: <on_reboot> differs" in done.err
    assert host.xml("vm1") == before


def test_fail_fast_stops_and_others_do_not(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm*", "--out", plan)
    host.edit("vm1")
    done = apply(plan, "--yes")
    assert "2 changed, 0 unchanged, 1 blocked" in done.err


def test_canaries_that_fail_stop_the_rest(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm*", "--out", plan)
    host.edit("vm1")
    before = host.xml("vm2")
    done = apply(plan, "--yes", "--canary", "1")
    assert "not all canaries are well: 2 domains left alone" in done.err
    assert host.xml("vm2") == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("apply", "--all", "--remove-managed-save", "--yes"), "name each domain"),
        (("apply", "--domain", "v*", "--remove-managed-save", "--yes"), "name each domain"),
        (("apply", "--all", "--output-dir", "x"), "are for files"),
        (("apply", "--all", "--define"), "--define is for files"),
        (("apply",), "nothing to plan"),
        (("rollback",), "what to put back?"),
        (("apply", "--domain", "", "--yes"), "--domain: is empty"),
        (("status", "--domain", ""), "--domain: is empty"),
        (("apply", "x.xml", "--define", "--in-place"), "not for files that are written"),
        (("apply", "x.xml", "--output-dir", "x", "--limit", "1"), "not for files that are written"),
        (("apply", "x.xml", "--define", "--exclude", "y", "--yes"), "leave the file out"),
    ],
)
def test_wrong_usage(virtfix: Run, host: Host, arguments: tuple[str, ...], said: str) -> None:
    done = virtfix(*arguments)
    assert done.code == 2
    assert said in done.error_line()


def test_history_tells_where_the_old_xml_is(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    before = host.xml("vm1")
    apply("--domain", "vm1", "--yes")
    (run,) = runs(host)
    value = json.loads(virtfix("history", "--run", run, "--format", "json").out)
    (entry,) = value["domains"]
    assert (entry["name"], entry["status"]) == ("vm1", "changed")
    assert Path(entry["backup"]).read_text() == before
    assert entry["backup"] in virtfix("history", "--run", run).text
    assert json.loads(virtfix("history", "--format", "json").out)[0]["counts"] == {"changed": 1}


def test_status_finds_what_came_back(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    before = host.xml("vm1")
    apply("--domain", "vm1", "--yes")
    sources.store(host.uri, writable=True)._connection.defineXML(before)
    done = virtfix("status", "--connect", host.uri, "--detailed-exitcode")
    assert done.code == 3
    lines = {line.split()[-1] if line.startswith("right") else "": line for line in done.text.splitlines()}
    assert any(line.startswith("came back        vm1   run ") for line in done.text.splitlines()), done.text
    assert "right            fine" in lines.values()


def runs(host: Host) -> list[str]:
    return sorted(path.name for path in (host.place / "state" / "runs").iterdir())


def edited_plan(text: str, how: str) -> str:
    plan = json.loads(text)
    (one,) = plan if isinstance(plan, list) else [plan]
    places = [edit for edit in one["edits"] if edit["op"] == "set-address"]
    if how == "an edit left out":
        one["edits"].remove(places[-1])
    elif how == "another place":
        places[-1]["new"] = "0000:00:1e.0"
    elif how == "no text":
        places[-1]["at"] = []
    elif how == "endless":
        one["changes"][0]["price"] = float("inf")
    else:
        element: dict[str, Any] = {"name": "a", "attrs": {}, "children": []}
        for _ in range(400):
            element = {"name": "a", "attrs": {}, "children": [element]}
        one["edits"].append({"op": "add-element", "at": "domain/devices", "key": "", "element": element})
    return json.dumps(plan)


def test_a_saved_plan_that_was_carried_out_is_nothing_to_do(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm2", "--out", plan)
    assert apply(plan, "--yes").text == "changed    vm2  6 devices\n"
    again = apply(plan, "--yes")
    assert (again.code, again.text) == (0, "unchanged  vm2  is as planned already\n"), again.err


@pytest.mark.parametrize("strategy", ["integrated", "bridge"])
def test_carried_out_it_is_nothing_to_do_until_somebody_edits_what_came_of_it(
    apply: Callable[..., Done], host: Host, virtfix: Run, strategy: str
) -> None:
    """libvirt fills in chassis and port of a bridge, so what came of the plan is known from its run."""
    text = host.xml("vm2").replace("</devices>", "<vsock model='virtio'><cid auto='yes'/></vsock></devices>")
    sources.store(host.uri, writable=True)._connection.defineXML(text)
    plan = host.place / "plan.json"
    ask = ("plan", "--connect", host.uri, "--domain", "vm2", "--strategy", strategy, "--out", plan)
    assert virtfix(*ask).code == 0
    first = apply(plan, "--yes", "--detailed-exitcode")
    assert (first.code, first.text) == (4, "changed    vm2  6 devices; 1 unresolved\n"), first.err
    came = host.xml("vm2")
    again = apply(plan, "--yes", "--detailed-exitcode")
    assert (again.code, again.text) == (4, "unchanged  vm2  is as planned already; 1 unresolved\n"), again.err
    sources.store(host.uri, writable=True)._connection.defineXML(
        came.replace(
            "<disk type='file' device='disk'",
            "<disk type='file' device='disk' model='virtio-non-transitional'",
            1,
        )
    )
    broken = host.xml("vm2")
    assert "changed since the plan" in apply(plan, "--yes").err, (
        "its changes are in force, its devices are not right"
    )
    assert host.xml("vm2") == broken


def test_a_broken_run_does_not_hide_that_another_carried_a_plan_out(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm2", "--strategy", "bridge", "--out", plan)
    other = host.place / "other.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm1", "--out", other)
    apply(other, "--yes")
    apply(plan, "--yes")
    (host.place / "state" / "runs" / runs(host)[0] / "plans.json").write_text("{")
    assert apply(plan, "--yes").text == "unchanged  vm2  is as planned already\n"


def test_a_plan_of_another_name_is_refused(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    """What is told must be what is done: the UUID is of vm2."""
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm2", "--out", plan)
    plan.write_text(plan.read_text().replace('"name": "vm2"', '"name": "vm1"'))
    before = host.xml("vm2")
    done = apply(plan, "--yes")
    assert (done.code, "the plan was changed since it was made" in done.err) == (1, True), done.err
    assert host.xml("vm2") == before


def test_what_could_not_be_planned_is_no_success(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    plan, nameless = host.place / "plan.json", host.place / "nameless.xml"
    nameless.write_text("<domain><name>a</name><os><type machine='q35'>hvm</type></os></domain>")
    virtfix("plan", nameless, host.place / "nowhere.xml", "--out", plan)
    done = apply(plan, "--yes")
    assert done.code == 1
    assert "could not be planned: " in done.err


def test_resume_knows_the_connection_that_was_the_default(
    apply: Callable[..., Done], host: Host, virtfix: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tomorrow's default may be another host, with domains of the same UUIDs."""
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", host.uri)
    assert virtfix("apply", "--domain", "vm1", "--yes").code == 0
    (run,) = runs(host)
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
    sources._stores.pop((None, True), None)
    done = virtfix("resume", run)
    assert (done.code, done.text) == (0, ""), done.err
    assert "0 domains of 0" in done.err


def test_status_ends_as_plan_does(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    """What stays unresolved, and a guest that nobody knows, are no success of --detailed-exitcode."""
    connection = sources.store(host.uri, writable=True)._connection
    nameless = re.sub(r"<metadata>.*?</metadata>", "", SAMPLE, flags=re.DOTALL)
    connection.defineXML(renamed(nameless, "nobody"))
    lacking = host.xml("fine").replace("</devices>", "<input type='tablet' bus='virtio'/></devices>")
    connection.defineXML(lacking)
    for name, word in (("nobody", "unknown guest"), ("fine", "unresolved")):
        done = virtfix("status", "--connect", host.uri, "--domain", name, "--detailed-exitcode")
        assert (done.code, done.text.startswith(word)) == (4, True), done.text + done.err
        assert virtfix("status", "--connect", host.uri, "--domain", name).code == 0


def test_status_knows_a_run_that_was_cut_off(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    before = host.xml("vm1")
    apply("--domain", "vm1", "--yes")
    (run,) = runs(host)
    journal = host.place / "state" / "runs" / run / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"planned"' in line))
    sources.store(host.uri, writable=True)._connection.defineXML(before)
    done = virtfix("status", "--connect", host.uri, "--domain", "vm1")
    assert done.text.startswith("to change")
    assert f"was cut off amid it: virtfix resume {run}" in done.text


def test_a_conversion_that_plan_refuses_is_not_defined(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    file = host.place / "iommu.xml"
    text = (SAMPLES / "rhel6-q35-ovmf.xml").read_text()
    file.write_text(text.replace("</devices>", "<iommu model='intel'/></devices>"))
    done = apply(file, "--define", "--yes", "--machine", "pc=pc-i440fx-6.2", "--detailed-exitcode")
    assert (done.code, "can not be converted: " in done.err) == (4, True), done.err


@pytest.mark.parametrize("how", ["an edit left out", "another place", "no text", "endless", "deep"])
def test_a_plan_that_was_edited_is_refused(
    apply: Callable[..., Done], host: Host, virtfix: Run, how: str
) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm2", "--out", plan)
    plan.write_text(edited_plan(plan.read_text(), how))
    before = host.xml("vm2")
    done = apply(plan, "--yes")
    assert done.code == 1
    assert "make it again" in done.err or "make the plan again" in done.err or "is no plan" in done.err
    assert host.xml("vm2") == before


def test_a_plan_of_a_vanished_domain_stops_no_other(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm1", "--domain", "vm2", "--out", plan)
    host.domain("vm1").undefine()
    done = apply(plan, "--yes")
    assert (done.code, done.text) == (1, "changed    vm2  6 devices\n"), done.err
    assert "failed     vm1  " in done.err


def test_two_plans_of_a_domain_are_refused(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm2", "--out", plan)
    assert "there are two plans of vm2" in apply(plan, plan, "--yes").error_line()


def test_an_edit_while_libvirt_refuses_stays(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old definition is put back over what virtfix defined, never over what somebody else did."""

    def refuse(*_: object, **__: object) -> None:
        host.edit("vm1")
        raise VirtfixError("libvirt.failed", "no")

    monkeypatch.setattr(LibvirtStore, "define", refuse)
    done = apply("--domain", "vm1", "--yes")
    assert done.code == 4
    assert "was changed by somebody else meanwhile, and is left like that" in done.err
    assert "<title>edited</title>" in host.xml("vm1")


def test_what_the_schema_refuses_keeps_its_managed_save(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise VirtfixError("schema.invalid", "no")

    host.domain("vm1").create()
    host.domain("vm1").managedSave(0)
    monkeypatch.setattr(LibvirtStore, "check", refuse)
    done = apply("--domain", "vm1", "--yes", "--remove-managed-save")
    assert done.code == 1
    assert "the new definition is refused: no; nothing was changed" in done.err
    assert host.domain("vm1").hasManagedSaveImage() == 1


def test_a_rollback_that_one_host_can_not_do_goes_on(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    before = host.xml("vm2")
    apply("--all", "--yes")
    (run,) = runs(host)
    journal = host.place / "state" / "runs" / run / "journal.jsonl"
    lines = [
        re.sub(r'"uri": ".*?"', '"uri": "test:///nowhere.xml"', line) if '"vm1"' in line else line
        for line in journal.read_text().splitlines()
    ]
    journal.write_text("\n".join(lines) + "\n")
    done = virtfix("rollback", run, "--yes", "--format", "json")
    assert done.code == 1
    told = {one["name"]: one["status"] for one in json.loads(done.out)}
    assert told == {"vm1": "failed", "vm2": "changed", "vm3": "changed"}
    assert host.xml("vm2") == before


def test_two_files_of_one_uuid_are_not_both_defined(apply: Callable[..., Done], host: Host) -> None:
    first, second = host.place / "first.xml", host.place / "second.xml"
    first.write_text(renamed(SAMPLE, "new"))
    second.write_text(renamed(SAMPLE, "new").replace("<name>new<", "<name>newer<"))
    done = apply(first, second, "--define", "--yes")
    assert done.code == 1
    assert "1 changed, 0 unchanged, 0 blocked, 1 failed" in done.err
    assert "has the same UUID" in done.err


@pytest.mark.parametrize("write", [str.upper, lambda text: text.replace("-", "")])
def test_a_uuid_may_be_written_in_any_way_that_libvirt_takes(
    apply: Callable[..., Done], host: Host, write: Callable[[str], str]
) -> None:
    file = host.place / "new.xml"
    text = renamed(SAMPLE, "new")
    uuid = re.search(r"<uuid>(.*?)</uuid>", text)[1]  # type: ignore[index]
    file.write_text(text.replace(uuid, write(uuid)))
    assert apply(file, "--define", "--yes").text == "changed    new  6 devices\n"
    assert host.domain("new").UUIDString() == uuid


def test_files_that_are_no_domain_stop_no_other(apply: Callable[..., Done], host: Host) -> None:
    texts = {
        "latin": renamed(SAMPLE, "lätin"),
        "uuid": renamed(SAMPLE, "uuid"),
        "good": renamed(SAMPLE, "good"),
    }
    texts["uuid"] = re.sub(r"<uuid>.*?</uuid>", "<uuid>none</uuid>", texts["uuid"])
    files = []
    for name, text in texts.items():
        files.append(host.place / f"{name}.xml")
        encoding = "iso-8859-1" if name == "latin" else "utf-8"
        files[-1].write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'.encode(encoding))
    done = apply(*files, "--define", "--yes")
    assert done.code == 1
    assert done.text == "changed    good  6 devices\n"
    assert "libvirt takes XML in UTF-8 only" in done.err
    assert "<uuid> holds 'none', which is none" in done.err


def test_a_lost_connection_is_told_once(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise VirtfixError("libvirt.lost", "the connection is lost")

    monkeypatch.setattr(LibvirtStore, "state", lost)
    monkeypatch.setattr(redefine, "_THREADS", 1)
    done = apply("--all", "--yes")
    assert done.code == 1
    assert done.err.count("the connection is lost") == 1
    assert re.search(r"3 domains left alone; virtfix resume \S+ goes on with them", done.err)


def test_a_lost_connection_ends_rollback_and_resume_too(
    apply: Callable[..., Done], host: Host, virtfix: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says once that it is lost, and what goes on; nothing counts as done."""

    def lost(*_: object) -> None:
        raise VirtfixError("libvirt.lost", "the connection is lost")

    apply("--all", "--yes")
    (run,) = runs(host)
    journal = host.place / "state" / "runs" / run / "journal.jsonl"
    whole = journal.read_text()
    monkeypatch.setattr(LibvirtStore, "xml", lost)
    monkeypatch.setattr(redefine, "_THREADS", 1)
    undone = virtfix("rollback", run, "--yes")
    assert (undone.code, undone.err.count("the connection is lost")) == (1, 1), undone.err
    assert "2 domains left alone; the same command goes on with them" in undone.err
    journal.write_text("".join(line for line in whole.splitlines(True) if '"planned"' in line))
    resumed = virtfix("resume", run)
    assert (resumed.code, resumed.err.count("the connection is lost")) == (1, 1), resumed.err
    assert f"virtfix resume {run} goes on with them" in resumed.err
    assert "unfinished" in virtfix("history").text


def test_a_connection_that_is_lost_amid_a_domain_leaves_it_to_resume(
    apply: Callable[..., Done], host: Host, virtfix: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost at the last look before the definition: nothing was done to the domain, and resume does it."""
    real, asked = LibvirtStore.xml, []

    def lost(self: LibvirtStore, uuid: str) -> bytes:
        asked.append(uuid)
        if len(asked) == 2:
            raise VirtfixError("libvirt.lost", "the connection is lost")
        return real(self, uuid)

    before = host.xml("vm1")
    with monkeypatch.context() as patched:
        patched.setattr(LibvirtStore, "xml", lost)
        assert apply("--domain", "vm1", "--yes").code == 1
    assert host.xml("vm1") == before
    (run,) = runs(host)
    assert virtfix("resume", run).code == 0
    assert host.xml("vm1") != before


def test_history_knows_what_is_unfinished_and_what_was_undone(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm*", "--out", plan)
    host.edit("vm1")
    assert apply(plan, "--yes", "--canary", "1").code == 4
    assert apply("--domain", "vm1", "--yes").code == 0
    cut, whole = runs(host)
    told = dict(line.split("  ", 1) for line in virtfix("history").text.splitlines())
    assert told[cut].endswith("nothing was changed; unfinished: virtfix resume")
    assert told[whole].endswith("1 changed")
    assert virtfix("resume", cut).code == 4, "vm1 was changed since the plan"
    assert "unfinished" not in virtfix("history").text
    assert virtfix("rollback", whole, "--yes").code == 0
    assert virtfix("resume", whole).error_line().endswith("was rolled back; virtfix apply makes a new run")
    assert "1 put back" in virtfix("history").text


def test_one_broken_run_hides_no_other(apply: Callable[..., Done], host: Host, virtfix: Run) -> None:
    apply("--domain", "vm1", "--yes")
    apply("--domain", "vm2", "--yes")
    first, second = runs(host)
    (host.place / "state" / "runs" / first / "run.json").write_text("{")
    done = virtfix("history")
    assert done.code == 0
    assert [line.split()[:2] for line in done.text.splitlines()] == [[first, "?"], [second, "apply"]]
    assert "is no description of a run" in virtfix("resume", first).error_line()
    (host.place / "state" / "runs" / second / "run.json").write_text('{"command": "apply"}')
    assert "does not say which domains" in virtfix("resume", second).error_line()


def test_what_can_not_be_planned_counts_where_somebody_is_asked(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = redefine.planned_now

    def broken(reference: Any, request: Any, settings: Any) -> Any:
        def fail(_: bytes) -> Any:
            raise VirtfixError("guest.unknown", "no")

        job = real(reference, request, settings)
        return job._replace(make=fail) if str(reference) == "vm1" else job

    monkeypatch.setattr(redefine, "planned_now", broken)
    monkeypatch.setattr(redefine, "sys", Streams())
    done = apply("--all")
    assert done.code == 1
    assert "Redefine 2 domains?" in done.text
    assert "4 domains of 4: 2 changed, 1 unchanged, 0 blocked, 1 failed" in done.err


def test_a_defect_met_in_one_domain_stops_no_other(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LibvirtStore.state

    def broken(self: LibvirtStore, uuid: str) -> Any:
        if uuid == host.domain("vm1").UUIDString():
            raise TypeError("odd")
        return real(self, uuid)

    monkeypatch.setattr(LibvirtStore, "state", broken)
    done = apply("--all", "--yes")
    assert done.code == 1
    assert re.search(
        r"failed     vm1  a defect of virtfix: TypeError in \S+\.py:\d+: odd; please report it", done.err
    )
    assert "2 changed, 1 unchanged, 0 blocked, 1 failed" in done.err


class Person(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True


class Streams:
    """Standard streams with somebody at the terminal who says yes."""

    stdin = Person("yes\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def test_many_domains_are_planned_apart_with_the_same_outcome(
    apply: Callable[..., Done], host: Host, virtfix: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: host.xml(name) for name in ("vm1", "vm2", "vm3", "fine")}
    apply("--all", "--yes")
    alone = {name: host.xml(name) for name in before}
    virtfix("rollback", runs(host)[0], "--yes")
    assert {name: host.xml(name) for name in before} == before
    monkeypatch.setattr(redefine, "_APART_FROM", 1)
    planned: list[str] = []
    real = Planners.plan
    monkeypatch.setattr(
        Planners,
        "plan",
        lambda self, job, data, *, check: (
            planned.append(job.target.name) or real(self, job, data, check=check)
        ),
    )
    done = apply("--all", "--yes")
    assert "3 changed, 1 unchanged, 0 blocked, 0 failed" in done.err
    assert {name: host.xml(name) for name in before} == alone
    assert sorted(planned) == sorted(before)


def test_what_another_process_can_not_plan_is_told_as_by_this_one(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.sub(r"<metadata>.*?</metadata>", "", renamed(SAMPLE, "stranger"), flags=re.DOTALL)
    sources.store(host.uri, writable=True)._connection.defineXML(
        re.sub(r"<uuid>.*?</uuid>", f"<uuid>{uuids.uuid4()}</uuid>", text)
    )
    told = []
    for apart in (10**6, 1):
        monkeypatch.setattr(redefine, "_APART_FROM", apart)
        told.append(re.sub(r"run \S+", "", apply("--domain", "stranger", "--yes").err))
    assert told[0] == told[1]
    assert "failed     stranger" in told[0]


def test_without_a_planner_this_process_plans(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(redefine, "_APART_FROM", 1)
    monkeypatch.setattr(Planners, "__init__", fails)
    assert "3 changed, 1 unchanged, 0 blocked, 0 failed" in apply("--all", "--yes").err


@pytest.mark.parametrize("answers", [0, 1])
def test_a_planner_that_ends_is_done_without(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    monkeypatch.setattr(redefine, "_APART_FROM", 1)
    real = Planners.plan
    asked: list[str] = []

    def plan(self: Planners, job: redefine.Job, data: bytes, *, check: bool) -> Meant:
        if len(asked) == answers:
            for process in self._processes:
                process.kill()
                process.join()
        asked.append(job.target.name)
        return real(self, job, data, check=check)

    monkeypatch.setattr(Planners, "plan", plan)
    done = apply("--all", "--yes")
    assert "3 changed, 1 unchanged, 0 blocked, 0 failed" in done.err
    assert len(asked) == 4


def test_files_are_shown_before_somebody_is_asked(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shown is what is done, also where the file changes meanwhile; the same with one that is broken."""
    file, broken = host.place / "new.xml", host.place / "broken.xml"
    file.write_text(re.sub(r"<uuid>.*?</uuid>", "", renamed(SAMPLE, "new")))
    broken.write_text("<domain>")

    class Editor(Person):
        def readline(self, *_: Any) -> str:
            file.write_text(renamed(SAMPLE, "another"))
            return super().readline()

    streams = Streams()
    streams.stdin = Editor("yes\n")
    monkeypatch.setattr(redefine, "sys", streams)
    done = apply(file, broken, "--define")
    assert done.code == 1
    shown, _, told = done.text.partition(f"Define 1 file on {host.uri}? Only 'yes' is taken for a yes: ")
    assert "interface[52:54:00:6a:1e:0c]" in shown
    assert told == "changed    new  6 devices\n"
    assert "not well-formed" in done.err
    assert "bus='0x00'" in host.xml("new")
    with pytest.raises(libvirt.libvirtError):
        host.domain("another")


@pytest.mark.parametrize("answer", ["no\n", ""])
def test_a_no_defines_no_file(
    apply: Callable[..., Done], host: Host, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    file = host.place / "new.xml"
    file.write_text(renamed(SAMPLE, "new"))
    streams = Streams()
    streams.stdin = Person(answer)
    monkeypatch.setattr(redefine, "sys", streams)
    done = apply(file, "--define")
    assert (done.code, "nothing was changed" in done.text) == (0, True), done
    assert not (host.place / "state").exists()


def test_a_file_without_the_password_of_before_is_told(apply: Callable[..., Done], host: Host) -> None:
    file = host.place / "new.xml"
    graphics = "<graphics type='vnc' port='-1' autoport='yes' passwd='hunter2'/></devices>"
    file.write_text(renamed(SAMPLE, "new").replace("</devices>", graphics, 1))
    assert "password" not in apply(file, "--define", "--yes").text
    file.write_text(file.read_text().replace(" passwd='hunter2'", ""))
    assert "has fewer passwords or keys than before" in apply(file, "--define", "--yes").text
    assert "password" not in apply(file, "--define", "--yes").text


@pytest.mark.parametrize(
    "option",
    [
        ("--machine", "q35"), ("--strategy", "bridge"), ("--os", "rhel6.9"), ("--policy", "x.yaml"),
        ("--os-map", "x.yaml"), ("--target-capabilities", "x.xml"), ("--hotplug", "disk"), ("--virtio-win", "0.1.171"),
    ],
)  # fmt: skip
def test_a_saved_plan_takes_no_other_wishes(
    apply: Callable[..., Done], host: Host, virtfix: Run, option: tuple[str, str]
) -> None:
    plan = host.place / "plan.json"
    virtfix("plan", "--connect", host.uri, "--domain", "vm2", "--out", plan)
    before = host.xml("vm2")
    done = apply(plan, "--yes", *option)
    assert (done.code, done.error_line()) == (
        2, f"virtfix: {option[0]}: a saved plan is carried out as it is; leave it out, or plan again with it",
    )  # fmt: skip
    assert host.xml("vm2") == before


def test_a_plan_of_xml_without_a_uuid_says_what_to_do(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    file, plan = host.place / "new.xml", host.place / "plan.json"
    file.write_text(re.sub(r"<uuid>.*?</uuid>", "", renamed(SAMPLE, "new")))
    virtfix("plan", file, "--out", plan)
    done = apply(plan, "--yes")
    assert done.code == 1
    assert "without a UUID, so no domain is known by it; apply the file itself: --define" in done.error_line()
    assert "is a saved plan, no XML; leave --define out" in apply(plan, "--define", "--yes").error_line()


def test_a_journal_of_which_nothing_is_left_is_told(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    apply("--domain", "vm1", "--yes")
    (run,) = runs(host)
    folder = host.place / "state" / "runs" / run
    whole = (folder / "journal.jsonl").read_bytes()
    told = (
        f"virtfix: {run}: its journal was damaged, 2 lines can not be read; the old XML of each domain is in"
    )
    (folder / "journal.jsonl").write_bytes(b"\x00\xff rubbish\n\xfe\n" + whole[:9])
    for command in (("history",), ("history", "--run", run), ("rollback", run, "--yes")):
        assert told in virtfix(*command).err
    # What a writer leaves that was killed is no damage.
    for cut in range(0, len(whole), 7):
        (folder / "journal.jsonl").write_bytes(whole[:cut] + b"\n" + whole)
        assert "damaged" not in virtfix("history").err


def test_what_a_rollback_by_force_replaced_is_found_by_history(
    apply: Callable[..., Done], host: Host, virtfix: Run
) -> None:
    apply("--domain", "vm1", "--yes")
    host.edit("vm1")
    edited = host.xml("vm1")
    assert virtfix("rollback", "--domain", "vm1", "--yes", "--force").code == 0
    back = runs(host)[-1]
    (one,) = json.loads(virtfix("history", "--run", back, "--format", "json").text)["put_back"]
    assert Path(one["replaced"]).read_text() == edited
    assert f"replaced XML: {one['replaced']}" in virtfix("history", "--run", back).text


def test_a_file_without_a_uuid_does_not_guess_which_domain_it_is(
    apply: Callable[..., Done], host: Host
) -> None:
    file = host.place / "again.xml"
    file.write_text(re.sub(r"<uuid>.*?</uuid>", "", renamed(SAMPLE, "again")))
    assert apply(file, "--define", "--yes").code == 0
    uuid, before = host.domain("again").UUIDString(), host.xml("again")
    done = apply(file, "--define", "--yes")
    assert (done.code, host.xml("again")) == (1, before)
    assert f"is there, with UUID {uuid}; put <uuid>{uuid}</uuid> into it to replace that domain" in done.err
    file.write_text(file.read_text().replace("</name>", f"</name><uuid>{uuid}</uuid>"))
    assert apply(file, "--define", "--yes").text == "unchanged  again  is defined like that already\n"
