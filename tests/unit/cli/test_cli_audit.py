"""virtfix audit: domains of libvirt's own test driver, a monitor that is made up, and saved texts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid as uuids
from typing import TYPE_CHECKING, Any

import pytest
from cli_runner import ROOT, SAMPLES, Done, Run, clean

from fixer.cli import audit, sources
from fixer.errors import VirtfixError
from fixer.guest.clues import Seen
from fixer.guest.negotiated import Device, Observation, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def sample(name: str) -> str:
    text = (SAMPLES / f"{name}.xml").read_text().replace("type='kvm'", "type='test'", 1)
    return re.sub(r"<emulator>.*?</emulator>", "", text)


WRONG, RIGHT = sample("rhel6-q35-ovmf"), sample("already-right")
NAMELESS = re.sub(r"<metadata>.*?</metadata>", "", WRONG, flags=re.DOTALL)


def named(text: str, name: str, uuid: str = "") -> str:
    uuid = uuid or str(uuids.uuid5(uuids.NAMESPACE_DNS, name))
    text = re.sub(r"<name>.*?</name>", f"<name>{name}</name>", text, count=1)
    return re.sub(r"<uuid>.*?</uuid>", f"<uuid>{uuid}</uuid>", text, count=1)


class Host:
    """A connection to the test driver; its domains run with one XML and are defined by another."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def domain(self, name: str) -> Any:
        return sources.store(self.uri, writable=True)._connection.lookupByName(name)

    def redefine(self, name: str, text: str) -> None:
        sources.store(self.uri, writable=True)._connection.defineXML(named(text, name))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Four that run: fine and broken as defined, mended and marred as they are defined since. One is off."""
    pytest.importorskip("libvirt")
    running = {"fine": RIGHT, "broken": WRONG, "mended": WRONG, "marred": RIGHT, "off": WRONG}
    node = tmp_path / "node.xml"
    node.write_text(f"<node>{''.join(named(text, name) for name, text in running.items())}</node>")
    sources._stores.clear()
    made = Host(f"test://{node}")
    made.redefine("mended", RIGHT)
    made.redefine("marred", WRONG)
    made.domain("off").destroy()
    yield made
    sources._stores.clear()


@pytest.fixture
def told(virtfix: Run, host: Host) -> Callable[..., dict[str, Any]]:
    """Return the audits by name."""

    def run(*arguments: object) -> dict[str, Any]:
        done = virtfix("audit", "--connect", host.uri, "--format", "json", *arguments)
        return {one["name"]: one for one in json.loads(done.out)}

    return run


# --- Domains ------------------------------------------------------------------------------------------


def test_each_domain_is_judged_as_it_runs_and_as_it_is_defined(told: Callable[..., Any]) -> None:
    found = told()
    assert {name: (one["state"], one["verdict"]) for name, one in found.items()} == {
        "broken": ("running", "broken now"),
        "fine": ("running", "right"),
        "marred": ("running", "breaks at next start"),
        "mended": ("running", "right at next start"),
        "off": ("off", "breaks at next start"),
    }
    assert [(one["now"] or {}).get("by") for one in found.values()] == ["live XML"] * 4 + [None]
    assert {one["next"]["by"] for one in found.values()} == {"definition"}
    wrong = {"disk[vda]", "interface[52:54:00:6a:1e:0c]", "controller[scsi 0]", "memballoon"}
    assert wrong < {finding["device"] for finding in found["mended"]["now"]["findings"]}
    assert found["mended"]["next"]["findings"] == found["fine"]["now"]["findings"] == []
    (disk,) = [row for row in found["mended"]["devices"] if row["device"] == "disk[vda]"]
    assert (disk["kind"], disk["now"], disk["next"], disk["qemu"]) == (
        "block", "modern-only", "transitional", None,
    )  # fmt: skip
    assert found["fine"]["guest"]["id"].startswith("rhel6")


def keys(value: Any, path: str = "") -> set[str]:
    """Return the paths of all keys, as ``now.findings[].code``."""
    if isinstance(value, list):
        return {found for item in value for found in keys(item, path + "[]")}
    if not isinstance(value, dict):
        return set()
    inside = {name: f"{path}.{name}" if path else name for name in value}
    return set(inside.values()) | {found for name in value for found in keys(value[name], inside[name])}


def test_the_keys_are_those_of_the_document(told: Callable[..., Any]) -> None:
    """A key of the JSON is a promise: it stands in docs/audit.md, and nothing else does."""
    table = (ROOT / "docs" / "audit.md").read_text().partition("| key |")[2]
    documented = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    text = audit.values(audit.of_text(audit.read_qtree(QTREE.encode()), "x", request()))
    found = keys(list(told().values()), "") | keys([text], "")
    found = {key.removeprefix("[].") for key in found}
    assert {key for key in found if not key.startswith("next.")} == documented
    assert {key.replace("next.", "now.", 1) for key in found if key.startswith("next.")} <= documented


def request() -> Any:
    from fixer.cli.wiring import Settings, build_request

    return build_request(Settings())


def test_the_table(virtfix: Run, host: Host) -> None:
    done = virtfix("audit", "--connect", host.uri)
    assert done.code == 4
    lines = done.text.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "verdict               state    domain  guest",
        "broken now            running  broken  rhel6.10",
        "right                 running  fine    rhel6.9",
        "breaks at next start  running  marred  rhel6.9",
        "right at next start   running  mended  rhel6.10",
        "breaks at next start  off      off     rhel6.10",
    ]
    assert lines[2].startswith("  now and after the next start: VF001 disk[vda], controller[scsi 0],")
    assert lines[lines.index("breaks at next start  running  marred  rhel6.9") + 1].startswith(
        "  after the next start: VF001 "
    )
    assert lines[lines.index("right at next start   running  mended  rhel6.10") + 1].startswith(
        "  now: VF001 "
    )
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.text
    assert done.err.splitlines()[0] == (
        "virtfix: 5 machines: 1 broken now, 2 breaks at next start, 1 right at next start, 1 right"
    )
    assert "judged by their live XML and QEMU's rule; --monitor asks QEMU itself" in done.err


def test_colour_is_for_those_who_ask(virtfix: Run, host: Host) -> None:
    done = virtfix("audit", "--connect", host.uri, "--color", "always")
    assert "\x1b[31mbroken now" in done.text
    assert "\x1b[32mright " in done.text


def test_jsonl_has_an_object_a_line(virtfix: Run, host: Host, told: Callable[..., Any]) -> None:
    done = virtfix("audit", "--connect", host.uri, "--jsonl")
    assert [json.loads(line) for line in done.text.splitlines()] == list(told().values())


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["fine"], 0),
        (["broken"], 4),
        (["mended"], 4),
        (["marred"], 4),
        (["off"], 4),
        (["fine", "marred"], 4),
    ],
)
def test_exit_codes(virtfix: Run, host: Host, names: list[str], code: int) -> None:
    chosen = [word for name in names for word in ("--domain", name)]
    assert virtfix("audit", "--connect", host.uri, *chosen).code == code


def test_modern_guests_are_right(told: Callable[..., Any]) -> None:
    assert {one["verdict"] for one in told("--os", "fedora36").values()} == {"right"}


def test_an_unknown_guest_is_no_right_one(virtfix: Run, host: Host, told: Callable[..., Any]) -> None:
    host.redefine("off", NAMELESS)
    found = told("--domain", "off")["off"]
    assert (found["verdict"], found["now"], found["next"]) == ("unknown guest", None, None)
    assert "nothing says which OS" in found["reason"] or "names no operating system" in found["reason"]
    assert virtfix("audit", "--connect", host.uri, "--domain", "off").code == 4
    assert told("--domain", "off", "--assume", "legacy")["off"]["verdict"] == "breaks at next start"


def test_a_running_guest_is_known_by_its_definition_too(host: Host, told: Callable[..., Any]) -> None:
    """Who adds the metadata to the definition of a running domain has not told its live XML."""
    host.redefine("fine", NAMELESS)
    host.domain("fine").destroy()
    host.domain("fine").create()
    assert told("--domain", "fine")["fine"]["verdict"] == "unknown guest"
    host.redefine("fine", WRONG)
    found = told("--domain", "fine")["fine"]
    assert (found["verdict"], found["guest"]["id"]) == ("broken now", "rhel6.10")


def test_what_the_site_leaves_alone_is_not_judged(
    virtfix: Run, host: Host, told: Callable[..., Any], tmp_path: Path
) -> None:
    policy = tmp_path / "site.yaml"
    policy.write_text(
        "format: 1\nkind: site\nname: x\nextends: default\nrules:\n"
        "  - match: {name: [broken]}\n    exclude: the owner moves it\n    until: 2099-12-31\n"
        "  - match: {name: ['off']}\n    kinds: [block, net, scsi, console, rng]\n"
        "    exclude: not these\n    until: 2099-12-31\n"
    )
    found = told("--policy", policy)
    assert found["broken"]["verdict"] == "not judged"
    assert "the owner moves it" in found["broken"]["reason"]
    assert [one["device"] for one in found["off"]["next"]["findings"]] == ["memballoon"]
    assert virtfix("audit", "--connect", host.uri, "--policy", policy, "--domain", "broken").code == 0


def ports(count: int, balloon: str) -> str:
    """Return a domain under OVMF with NICs that an override keeps transitional, each behind a port of its own."""
    override = "".join(
        f"<qemu:device alias='ua-{n}'><qemu:frontend><qemu:property name='disable-legacy' type='string' "
        "value='off'/></qemu:frontend></qemu:device>"
        for n in range(count)
    )
    devices = "".join(
        f"<controller type='pci' index='{n + 1}' model='pcie-root-port'/>"
        f"<interface type='user'><mac address='52:54:00:00:00:0{n}'/><model type='virtio'/>"
        f"<alias name='ua-{n}'/><address type='pci' bus='{n + 1}' slot='0'/></interface>"
        for n in range(count)
    )
    devices = f"<devices>{devices}<memballoon model='{balloon}'/></devices>"
    text = re.sub(r"<devices>.*</devices>", devices, WRONG, flags=re.DOTALL)
    text = text.replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ", 1)
    return text.replace("</domain>", f"<qemu:override>{override}</qemu:override></domain>")


@pytest.mark.parametrize(
    ("count", "balloon", "codes"),
    [(9, "none", []), (10, "none", ["VF006"]), (10, "virtio", ["VF001", "VF006"]), (9, "virtio", ["VF001"])],
)
def test_too_many_windows_are_wrong(host: Host, count: int, balloon: str, codes: list[str]) -> None:
    """Devices that the guest drives where they sit, had the firmware room for them; beside others or alone."""
    found = audit_of(host, ports(count, balloon))
    assert [finding.code.value for finding in found.next.findings] == codes


def test_a_device_that_the_guest_has_no_driver_for_is_not_judged(
    host: Host, told: Callable[..., Any]
) -> None:
    host.redefine("off", RIGHT.replace("<memballoon", "<input type='tablet' bus='virtio'/><memballoon"))
    found = told("--domain", "off")["off"]
    assert {row["kind"]: row["next"] for row in found["devices"]}["input"] == "virtio 1.0"
    assert (found["verdict"], found["next"]["findings"]) == ("right", [])


@pytest.mark.parametrize("columns", range(60, 100, 3))
def test_no_key_is_torn(virtfix: Run, host: Host, columns: int) -> None:
    text = virtfix("audit", "--connect", host.uri, "--domain", "off", COLUMNS=str(columns)).text
    assert max(map(len, text.splitlines())) <= columns
    for key in ("controller[scsi 0]", "controller[virtio-serial 0]", "interface[52:54:00:6a:1e:0c]"):
        assert key in text


def test_what_one_has_to_know_is_noted(host: Host, told: Callable[..., Any]) -> None:
    """Conflicting evidence, what could not be asked, a saved state, a guest that nobody names."""
    conflicts = told("--domain", "broken", "--os", "fedora36")["broken"]["notes"]
    assert any("but the metadata (line" in note for note in conflicts)
    remarks = told("--domain", "fine", "--guest-agent")["fine"]["notes"]
    assert any("the guest agent did not answer" in note for note in remarks)
    assert told("--domain", "off", "--guest-agent")["off"]["notes"] == []
    host.domain("marred").managedSave(0)
    saved = told("--domain", "marred")["marred"]
    assert saved["state"] == "off"
    assert any("has a managed save" in note for note in saved["notes"])
    host.redefine("off", re.sub(r"<metadata>.*?</metadata>", "", RIGHT, flags=re.DOTALL))
    unknown = told("--domain", "off")["off"]
    assert unknown["verdict"] == "right"
    assert any("no device would change for a legacy one" in note for note in unknown["notes"])


def audit_of(host: Host, text: str) -> Any:
    """Judge a definition as it is, which the test driver, knowing no overrides, would not keep."""
    from fixer.cli.wiring import Settings
    from fixer.domain.state import State

    class Store:
        def public_xml(self, _uuid: str) -> bytes:
            return text.encode()

    reference = sources.DomainRef.of("x", "0", host.uri)
    case = audit._Case(reference, Store(), State(), request(), Settings())
    return case.judged(audit.Audit("x"), monitor=False)


@pytest.mark.parametrize("kind", [VirtfixError("libvirt.failed", "no luck"), ZeroDivisionError("ours")])
def test_what_goes_wrong_with_one_stops_no_other(
    virtfix: Run, host: Host, monkeypatch: pytest.MonkeyPatch, kind: Exception
) -> None:
    from fixer.adapters.libvirt_store import LibvirtStore

    bad = host.domain("marred").UUIDString()
    whole = LibvirtStore.live_xml

    def live_xml(store: LibvirtStore, uuid: str) -> bytes:
        if uuid == bad:
            raise kind
        return whole(store, uuid)

    monkeypatch.setattr(LibvirtStore, "live_xml", live_xml)
    done = virtfix("audit", "--connect", host.uri, "--format", "json")
    assert done.code == 1
    verdicts = {one["name"]: one["verdict"] for one in json.loads(done.out)}
    assert verdicts["marred"] == "error"
    assert (verdicts["broken"], verdicts["mended"], verdicts["fine"]) == (
        "broken now", "right at next start", "right",
    )  # fmt: skip
    text = virtfix("audit", "--connect", host.uri, "--domain", "marred").text
    assert ("defect of virtfix" in text) is (not isinstance(kind, VirtfixError))
    assert str(kind) in text


def test_a_domain_that_ends_meanwhile_is_judged_by_its_definition(
    host: Host, told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fixer.adapters.libvirt_store import LibvirtStore

    whole = LibvirtStore.state
    monkeypatch.setattr(LibvirtStore, "state", lambda *given: whole(*given)._replace(active=True))
    found = told("--domain", "off")["off"]
    assert (found["state"], found["verdict"], found["now"]) == ("off", "breaks at next start", None)


def test_many_are_shown_by_a_line_each_and_names_do_not_reach_the_terminal(
    virtfix: Run, tmp_path: Path
) -> None:
    pytest.importorskip("libvirt")
    names = [f"vm{n:02}-{'long' * 20}" for n in range(10)] + ["evil\u202ename"]
    node = tmp_path / "many.xml"
    node.write_text(f"<node>{''.join(named(WRONG, name) for name in names)}</node>", encoding="utf-8")
    sources._stores.clear()
    done = virtfix("audit", "--connect", f"test://{node}")
    sources._stores.clear()
    lines = done.text.splitlines()
    assert len(lines) == 12
    assert max(map(len, lines)) <= 80
    assert "\u202e" not in done.text
    assert "evil\\u202ename" in done.text


def test_several_connections_are_told_apart(virtfix: Run, host: Host) -> None:
    done = virtfix("audit", "--connect", host.uri, "--connect", "test:///default")
    assert [line for line in done.text.splitlines() if line.endswith(":")] == [
        f"{host.uri}:",
        "test:///default:",
    ]


# --- The monitor --------------------------------------------------------------------------------------

NET = """\
{indent}dev: virtio-net-pci, id "{id}"
{indent}  disable-legacy = "{legacy}"
{indent}  disable-modern = false
{indent}  class Ethernet controller, addr {at}, pci id 1af4:{ids}
{indent}  bar 0: {bar}
{indent}  bar 4: {memory}
{indent}  bus: virtio-bus
"""
UNMAPPED = "0xffffffffffffffff [0x1e]"


def machine(bar: str = "i/o at 0xc000 [0xc01f]", mapped: bool = True, name: str = "net0") -> str:
    """Return a machine with a NIC on pcie.0, one behind a port, and another device with an address."""
    memory = f"mem at {'0x10 [0x1f]' if mapped else UNMAPPED}"
    first = {"id": name, "legacy": "off", "at": "00:03.0", "ids": "1000 (sub 1af4:0001)", "bar": bar}
    second = {"id": "net1", "legacy": "on", "at": "01:00.0", "ids": "1041 (sub 1af4:1100)", "bar": memory}
    return (
        'bus: main-system-bus\n  type System\n  dev: q35-pcihost, id ""\n    bus: pcie.0\n      type PCIE\n'
        + NET.format(indent=" " * 6, memory=memory, **first)
        + '      dev: VGA, id "video0"\n        class VGA, addr 00:01.0, pci id 1234:1111 (sub 1af4:1100)\n'
        f"        bar 0: {memory}\n"
        '      dev: pcie-root-port, id "pci.1"\n'
        "        class PCI bridge, addr 00:02.0, pci id 1b36:000c (sub 0000:0000)\n"
        "        bus: pci.1\n          type PCIE\n"
        + NET.format(indent=" " * 10, memory=memory, **second)
        + '  dev: kvmvapic, id ""\n'
    )


QTREE = machine()
BEHIND = QTREE.replace('"net0"', '"other"').replace('"net1"', '"net0"')


class Monitor:
    """A QEMU that answers as it is told, and remembers of whom it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from fixer.adapters import monitor

        self.text: str | Exception = QTREE
        self.pci: Any = []
        self.asked: list[tuple[str, str]] = []
        patch.setattr(monitor, "human", self.human)
        patch.setattr(monitor, "execute", self.execute)

    def human(self, domain: Any, command: str) -> str:
        self.asked.append((domain.name(), command))
        if isinstance(self.text, Exception):
            raise self.text
        return self.text

    def execute(self, domain: Any, command: str) -> Any:
        self.asked.append((domain.name(), command))
        return self.pci


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> Monitor:
    pytest.importorskip("libvirt")
    return Monitor(monkeypatch)


def test_the_monitor_is_asked_only_where_that_is_wished(virtfix: Run, host: Host, monitor: Monitor) -> None:
    """Without --monitor nothing is asked, by a connection that may only read; with it, those that run."""
    sources._stores.clear()
    assert virtfix("audit", "--connect", host.uri).code == 4
    assert monitor.asked == []
    assert set(sources._stores) == {(host.uri, False)}
    sources._stores.clear()
    virtfix("audit", "--connect", host.uri, "--monitor")  # a new one: all of the test driver's domains run
    assert set(sources._stores) == {(host.uri, True)}
    assert {command for _, command in monitor.asked} == {"info qtree", "query-pci"}
    monitor.asked.clear()
    host.domain("off").destroy()
    virtfix("audit", "--connect", host.uri, "--monitor", "--domain", "off")
    assert monitor.asked == []


def test_what_qemu_shows_stands_above_the_live_xml(
    virtfix: Run, host: Host, monitor: Monitor, told: Callable[..., Any]
) -> None:
    found = told("--monitor", "--domain", "fine")["fine"]
    assert (found["verdict"], found["now"]["by"], found["next"]["by"]) == (
        "broken now" if found["next"]["findings"] else "right at next start", "monitor", "definition",
    )  # fmt: skip
    (finding,) = found["now"]["findings"]
    assert (finding["code"], finding["device"]) == ("VF001", "net1")
    assert "modern-only at 01:00.0 (pci.1, disable-legacy=on)" in finding["why"]
    shown = {row["device"]: row["qemu"] for row in found["devices"] if row["qemu"]}
    assert shown["net1"] == {
        "id": "net1", "type": "virtio-net-pci", "bus": "pci.1", "bus_type": "PCIE", "address": "01:00.0",
        "pci_id": "1af4:1041", "io": "none", "disable_legacy": "on", "disable_modern": "false",
        "rule": "modern-only",
    }  # fmt: skip
    text = virtfix("audit", "--connect", host.uri, "--monitor", "--domain", "fine").text
    assert "  device  bus       PCI id     disable-legacy  I/O BAR" in text
    assert "! net1    pci.1     1af4:1041  on              none" in text
    assert "  net0    pcie.0    1af4:1000  off             0xc000" in text


def test_kinds_that_the_site_leaves_alone_are_left_alone_by_the_monitor_too(
    monitor: Monitor, told: Callable[..., Any], tmp_path: Path
) -> None:
    policy = tmp_path / "site.yaml"
    policy.write_text(
        "format: 1\nkind: site\nname: x\nextends: default\nrules:\n"
        "  - match: {name: [fine]}\n    kinds: [net]\n    exclude: theirs\n    until: 2099-12-31\n"
    )
    found = told("--monitor", "--domain", "fine", "--policy", policy)["fine"]
    assert (found["verdict"], found["now"]) == ("right", {"by": "monitor", "findings": []})


def test_query_pci_is_heard(monitor: Monitor, told: Callable[..., Any], host: Host) -> None:
    """An I/O BAR that has no address is wrong, and one that query-pci shows mapped is not."""
    monitor.text = machine(bar=f"i/o at {UNMAPPED}")
    function = {
        "bus": 0, "slot": 3, "function": 0, "qdev_id": "net0", "id": {"vendor": 0x1AF4, "device": 0x1000},
        "regions": [{"bar": 0, "type": "io", "address": -1, "size": 32}],
    }  # fmt: skip
    vga = function | {"slot": 1, "qdev_id": "video0", "regions": [
        {"bar": 0, "type": "memory", "address": 16, "size": 16}]}  # fmt: skip
    monitor.pci = [{"devices": [function, vga]}]

    def wrong() -> list[tuple[str, str]]:
        found = told("--monitor", "--domain", "fine")["fine"]["now"]["findings"]
        return [(finding["code"], finding["device"]) for finding in found]

    assert wrong() == [("VF006", "net0"), ("VF001", "net1")]
    function["regions"][0]["address"] = 0xC000
    assert wrong() == [("VF001", "net1")]


def test_before_the_firmware_has_run_no_bar_is_missed(monitor: Monitor, told: Callable[..., Any]) -> None:
    monitor.text = machine(bar=f"i/o at {UNMAPPED}", mapped=False)
    found = told("--monitor", "--domain", "fine")["fine"]
    assert [finding["device"] for finding in found["now"]["findings"]] == ["net1"]
    assert any("no PCI device has an address" in note for note in found["notes"])


@pytest.mark.parametrize(
    "text", ["nothing of the kind", QTREE[: QTREE.index("bar 0")], Exception("of the monitor")]
)
def test_a_monitor_that_fails_is_an_error(
    virtfix: Run, host: Host, monitor: Monitor, text: str | Exception
) -> None:
    """It is asked for what it is, so that the live XML is no answer."""
    from fixer.adapters.monitor import MonitorError

    monitor.text = MonitorError("sick") if isinstance(text, Exception) else text
    done = virtfix("audit", "--connect", host.uri, "--monitor", "--domain", "fine", "--format", "json")
    assert done.code == 1
    (found,) = json.loads(done.out)
    assert found["verdict"] == "error"
    assert ("sick" in found["reason"]) is isinstance(text, Exception)


@pytest.mark.parametrize("answer", [None, [3], [{"devices": [{}]}], {"x": 1}])
def test_an_answer_of_another_form_is_an_error(
    monitor: Monitor, told: Callable[..., Any], answer: Any
) -> None:
    monitor.pci = answer
    found = told("--monitor", "--domain", "fine")["fine"]
    assert (found["verdict"], found["reason"]) == ("error", "QEMU's monitor answers in an unknown form")


def test_devices_are_known_by_their_alias(monitor: Monitor) -> None:
    """An alias of the live XML leads to the key; what a driver runs is right, whatever the policy says of it."""
    found = observed(BEHIND)
    assert [finding.device for finding in found.now.findings] == ["interface[52:54:00:00:00:01]"]
    assert found.verdict is audit.Verdict.BROKEN
    row = next(row for row in found.rows if row.device == "interface[52:54:00:00:00:01]")
    assert (row.now, row.next, row.negotiated) == ("modern-only", "modern-only", "")


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [(Verdict.MODERN, "right"), (Verdict.NOT_OFFERED, "right"), (Verdict.SILENT, "broken now")],
)
def test_what_the_guest_drives_is_not_broken(monitor: Monitor, verdict: Verdict, expected: str) -> None:
    """Driven now, it will be driven after the next start too, where it has the same interface."""
    driven = Observation((Device("/machine/peripheral/net0/virtio-backend", "net", verdict),))
    found = observed(BEHIND, driven)
    assert found.verdict.value == expected
    row = next(row for row in found.rows if row.device == "interface[52:54:00:00:00:01]")
    assert row.negotiated == verdict.value


def test_the_cause_that_the_xml_knows_is_told(monitor: Monitor) -> None:
    """QEMU shows a device without a legacy interface; that iommu='on' asks for it stands in the XML."""
    found = observed(BEHIND, driver="<driver iommu='on'/>")
    assert [finding.code.value for finding in found.now.findings] == ["VF004"]
    assert found.now == found.next._replace(by="monitor")


def observed(text: str, observation: Observation | None = None, driver: str = "") -> Any:
    """Judge a domain whose live XML has the aliases that libvirt gives (the test driver gives none)."""
    from fixer.cli.wiring import Settings
    from fixer.domain.qtree import read_qtree
    from fixer.domain.state import State

    xml = (
        "<domain type='kvm'{}><name>x</name><os><type machine='q35'>hvm</type></os><devices>"
        "<controller type='pci' index='1' model='pcie-root-port'/><controller type='usb' model='none'/>"
        "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/>{}{}"
        "<address type='pci' bus='1' slot='0'/></interface><memballoon model='none'/></devices></domain>"
    )

    class Store:
        uri = "test:///x"

        def live_xml(self, _uuid: str) -> bytes:
            return xml.format(" id='1'", driver, "<alias name='net0'/>").encode()

        def public_xml(self, _uuid: str) -> bytes:
            return xml.format("", driver, "").encode()

    from fixer.cli.wiring import build_request

    asked = build_request(Settings(os="rhel6.9"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "_asked", lambda *_: read_qtree(text.encode()))
        patch.setattr(sources, "seen", lambda *_: Seen(observation=observation))
        reference = sources.DomainRef.of("x", "0")
        case = audit._Case(reference, Store(), State(active=True), asked, Settings(os="rhel6.9"))
        return case.judged(audit.Audit("x"), monitor=True)


# --- A saved text -------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    file = tmp_path / "vm.qtree"
    file.write_text(QTREE)
    return file


def test_a_saved_text_is_judged(virtfix: Run, saved: Path) -> None:
    done = virtfix("audit", "--qtree", saved, "--os", "rhel6.9")
    assert done.code == 4
    assert done.text.splitlines()[1:] == [
        f"broken now            running  {saved_name(saved)}  rhel6.9",
        "  device  bus       PCI id     disable-legacy  I/O BAR",
        "  net0    pcie.0    1af4:1000  off             0xc000",
        "! net1    pci.1     1af4:1041  on              none",
        "  now: VF001 net1",
    ]
    assert done.err == "virtfix: 1 machine: 1 broken now\n"


def saved_name(path: Path) -> str:
    from fixer.errors import printable

    return printable(str(path), 80 - 20 - 7 - 16 - 6)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 4),
        (("--os", "rhel6.9"), 4),
        (("--assume", "legacy"), 4),
        (("--assume", "modern"), 0),
        (("--os", "fedora36"), 0),
        (("--os", "centos7", "--kernel", "3.10.0-957"), 0),
        (("--os", "centos7", "--kernel", "3.10.0-123"), 4),
        (("--kernel", "2.6.32-754.el6.x86_64"), 4),
        (("--os", "win95"), 0),  # has no driver for any of it: there is nothing to judge
    ],
)
def test_the_guest_decides(virtfix: Run, options: tuple[str, ...], code: int) -> None:
    done = virtfix("audit", "--qtree", "-", *options, "--format", "json", stdin=QTREE.encode())
    (found,) = json.loads(done.out)
    assert (done.code, found["verdict"]) == (code, "broken now" if code else "right")
    assert found["name"] == "standard input"
    assert any("judged as one with legacy virtio only" in note for note in found["notes"]) is (not options)


@pytest.mark.parametrize("kind", ["input", "gpu"])
def test_devices_that_never_had_a_legacy_interface(virtfix: Run, kind: str) -> None:
    """A guest that has no driver for them is not asked to; of one of which nobody knows it is said."""
    number = {"input": "1052", "gpu": "1050"}[kind]
    text = machine().replace("1041 (sub", f"{number} (sub").encode()
    found = json.loads(virtfix("audit", "--qtree", "-", "--format", "json", stdin=text).out)[0]
    assert [finding["code"] for finding in found["now"]["findings"]] == ["VF003"]
    done = virtfix("audit", "--qtree", "-", "--os", "rhel6.9", stdin=text)
    assert done.code == 0, done.text


def test_a_guest_that_wants_legacy_only(virtfix: Run, tmp_path: Path) -> None:
    policy = tmp_path / "guests.yaml"
    policy.write_text(
        "format: 1\nkind: guests\nfamily: windows\nsources: {t: a test}\nreleases:\n"
        "  - {name: Legacy only, osinfo: [test-legacy-only], like: winxp, legacy-only: true}\n"
    )
    options = ("--policy", policy, "--os", "test-legacy-only", "--format", "json")
    found = json.loads(virtfix("audit", "--qtree", "-", *options, stdin=QTREE.encode()).out)[0]
    assert [finding["code"] for finding in found["now"]["findings"]] == ["VF005", "VF001"]


def test_a_rule_that_does_not_fit_is_told(virtfix: Run) -> None:
    text = QTREE.replace('disable-legacy = "on"', 'disable-legacy = "off"').encode()
    found = json.loads(virtfix("audit", "--qtree", "-", "--format", "json", stdin=text).out)[0]
    assert "net1 is modern-only, and by QEMU's rule transitional" in found["notes"]


def test_names_of_a_saved_text_do_not_reach_the_terminal(virtfix: Run) -> None:
    text = machine(name="\x1b[2Jnet\u202e" + "y" * 200).encode()
    done = virtfix("audit", "--qtree", "-", stdin=text)
    assert "\x1b" not in done.text
    assert "\u202e" not in done.text
    assert "\\u001b[2Jnet\\u202eyyy" in done.text
    assert max(map(len, done.text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--qtree", "/nosuch"), 1, "/nosuch: can not read"),
        (("--qtree", SAMPLES / "already-right.xml"), 1, "has no device of a PCI bus"),
        (("--qtree", "-"), 1, "standard input: has no device of a PCI bus"),
        (("--qtree", "-", "--os", "nosuch"), 1, "no policy knows the guest 'nosuch'"),
        (("--qtree", "-", "--all"), 2, "--qtree: a saved text has no domain to look at or to ask"),
        (("--qtree", "-", "--monitor"), 2, "--qtree: a saved text has no domain to look at or to ask"),
        (("--qtree", "-", "--connect", "test:///default"), 2, "--qtree: a saved text"),
        (("--all", "--domain", "x"), 2, "--domain or --all, not both"),
        (("--domain", ""), 2, "--domain: is empty"),
        (("--format", "xml"), 2, "--format: 'xml' is none of text, json"),
    ],
)
def test_mistakes(virtfix: Run, arguments: tuple[object, ...], code: int, said: str) -> None:
    if "--domain" in arguments:
        pytest.importorskip("libvirt")
    done: Done = virtfix("audit", *arguments)
    assert done.code == code
    assert said in done.error_line()


def test_a_saved_text_needs_no_libvirt(saved: Path) -> None:
    """A support case is looked at where no libvirt is installed; nothing heavy is loaded for it."""
    command = [sys.executable, "-X", "importtime", "-m", "fixer.cli.app", "audit", "--qtree", str(saved)]
    done = subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "fixer" in loaded, "or this proves nothing"
    assert loaded & {"libvirt", "libvirt_qemu", "deepdiff", "rich", "ssl", "asyncio"} == set()
