"""The collection on real Ansible: three hosts with a QEMU driver and a state directory of their own each.

What became of the domains is read by libvirt, in a fresh process; what Ansible was told, by a callback of the test's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

pytest.importorskip("libvirt")

from redefining import PASSWORD, ROOT, Fleet, guarded_folder, xml_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("ansible")]

HOSTS: Final = ("alpha", "beta", "gamma")
NEEDY: Final = {"vm000", "vm001", "vm002", "vm003"}  # what Fleet makes of the samples; vm004 is right

LISTENER: Final = '''\
"""Writes down what each task of each host returned."""
import json, os
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "listener"

    def _tell(self, result, ignore_errors=False):
        value = getattr(result, "result", None) or result._result
        task = getattr(result, "task", None) or result._task
        host = getattr(result, "host", None) or result._host
        told = {"host": host.get_name(), "action": task.action.rpartition(".")[2], "result": value}
        with open(os.environ["LISTENER_FILE"], "a") as file:
            file.write(json.dumps(told, default=str) + "\\n")

    v2_runner_on_ok = v2_runner_on_failed = _tell
'''


class Played(NamedTuple):
    """What a play left behind: ``told`` is each task's result, by host and module."""

    code: int
    out: str
    told: dict[tuple[str, str], dict[str, Any]]

    def of(self, module: str) -> dict[str, dict[str, Any]]:
        return {host: result for (host, action), result in self.told.items() if action == module}


class Control:
    """The controller: an inventory, the collection where Ansible looks for it, and the programs of Ansible."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        place = folder / "collections" / "ansible_collections" / "virtfix"
        place.mkdir(parents=True)
        (place / "libvirt").symlink_to(ROOT / "ansible")
        (folder / "ansible.cfg").write_text("[defaults]\n")
        (folder / "callbacks").mkdir()
        (folder / "callbacks" / "listener.py").write_text(LISTENER)
        self.program = self.script("virtfix", f'exec "{sys.executable}" -m fixer.cli.app "$@"')

    def script(self, name: str, text: str) -> Path:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' export PYTHONPATH\n{text}\n")
        path.chmod(0o755)
        return path

    def inventory(self, fleets: dict[str, Fleet], **more: dict[str, str]) -> None:
        """Write down the hosts; ``more`` has variables of some."""
        hosts = {
            name: {"virtfix_connect": fleet.uri, "virtfix_state_dir": str(fleet.state)} | more.get(name, {})
            for name, fleet in fleets.items()
        }
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "virtfix_executable": str(self.program),
            "virtfix_become": False,
        }
        inventory = {"hypervisors": {"hosts": hosts, "vars": common}}
        (self.folder / "hosts.json").write_text(json.dumps(inventory))

    def run(self, program: str, *words: str) -> Played:
        listened = self.folder / "listened"
        listened.unlink(missing_ok=True)
        environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(self.folder / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "listener",
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",  # "ansible" loads them only so
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "local"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),  # none of this machine's
            "LISTENER_FILE": str(listened),
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [str(tool(program)), "-i", str(self.folder / "hosts.json"), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
            | environment,
            cwd=self.folder,
            timeout=120,
            check=False,
        )
        heard = listened.read_text() if listened.exists() else ""
        assert PASSWORD not in done.stdout + heard
        assert "Traceback" not in done.stdout, done.stdout
        told = [json.loads(line) for line in heard.splitlines()]
        results = {(one["host"], one["action"]): one["result"] for one in told}
        return Played(done.returncode, done.stdout, results)

    def play(self, *words: str) -> Played:
        return self.run("ansible-playbook", *words)

    def fleet(self, *words: str) -> Played:
        return self.play("virtfix.libvirt.fleet", "-e", json.dumps({"virtfix_serial": [1]}), *words)

    def tasks(self, *tasks: dict[str, Any], hosts: str = "hypervisors") -> Played:
        """Run tasks on all hosts at once, as a play of its own."""
        path = self.folder / "play.json"
        path.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": list(tasks)}]))
        return self.play(str(path))

    def rollback(self) -> Played:
        options = "run=latest executable={{virtfix_executable}} state_dir={{virtfix_state_dir}}"
        return self.run("ansible", "hypervisors", "-m", "virtfix.libvirt.rollback", "-a", options)


def tool(name: str) -> Path | None:
    """Find a program of Ansible, in the environment of this Python first."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return Path(found) if found else None


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    lacking = "" if tool("ansible-playbook") else "there is no ansible-playbook: pip install ansible-core"
    if lacking and os.environ.get("VIRTFIX_REQUIRE_REAL"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    with guarded_folder() as made:
        yield made


@pytest.fixture(scope="module")
def control(folder: Path, oracle: object) -> Control:
    """Return the controller; ``oracle`` skips the test where libvirt's QEMU driver does not work."""
    return Control(folder)


@pytest.fixture(scope="module")
def first(folder: Path, control: Control) -> Fleet:
    """Return a host that is never changed: the others get from it what libvirt has learnt of QEMU."""
    return Fleet(folder, "first", 1)


@pytest.fixture
def fleets(folder: Path, control: Control, first: Fleet) -> dict[str, Fleet]:
    """Make three hosts that no other test knows, with five domains each, and the inventory of them."""
    number = len(list(folder.glob("alpha*")))
    made = {name: Fleet(folder, f"{name}{number}", 5, like=first) for name in HOSTS}
    control.inventory(made)
    return made


def define(fleet: Fleet, xml: str) -> None:
    """Define one more domain on a host, in a process of its own as its driver needs."""
    code = (
        "import os, sys; from pathlib import Path; import redefining\n"
        "redefining._open(Path(sys.argv[1])).defineXML(sys.argv[2]); os._exit(0)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(fleet.root), xml],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_check_mode_shows_the_difference_and_changes_nothing(
    control: Control, fleets: dict[str, Fleet]
) -> None:
    """--check --diff of the fleet is its plan: each host would change, none does, no run is written down."""
    before = {name: fleet.dump() for name, fleet in fleets.items()}
    played = control.fleet("--check", "--diff", "-vvv")
    assert played.code == 0, played.out
    applied = played.of("apply")
    assert set(applied) == set(HOSTS)
    for result in applied.values():
        assert result["changed"]
        assert result["counts"] == {"changed": 4, "unchanged": 1, "blocked": 0, "failed": 0}
        assert {one["name"] for one in result["domains"] if one["status"] == "changed"} == NEEDY
        assert result["run"] == ""
    assert len(re.findall(r"(?m)^\+\+\+ vm000", played.out)) == len(HOSTS)
    assert "+++ vm004" not in played.out, "it needs nothing"
    assert "[secret]" in played.out or "passwd=" not in played.out
    assert {name: fleet.dump() for name, fleet in fleets.items()} == before
    assert [fleet.runs() for fleet in fleets.values()] == [[], [], []]


def test_check_mode_leaves_out_what_apply_would(control: Control, fleets: dict[str, Fleet]) -> None:
    """exclude and limit count in check mode too, and what they leave out is not in the difference."""
    before = fleets["alpha"].dump()
    words = ("--diff", "--limit", "alpha", "-e", json.dumps({"virtfix_exclude": ["*0"], "virtfix_limit": 2}))
    foreseen = control.fleet("--check", *words)
    assert foreseen.code == 0, foreseen.out
    played = control.fleet(*words)
    assert played.code == 0, played.out
    for told in (foreseen, played):
        result = told.told["alpha", "apply"]
        assert [one["name"] for one in result["domains"] if one["status"] == "changed"] == ["vm001", "vm002"]
        assert "+++ vm001" in told.out
        assert "+++ vm000" not in told.out
        assert "+++ vm003" not in told.out
    assert changed(before, fleets["alpha"].dump()) == {"vm001", "vm002"}


def test_a_fleet_stops_at_the_first_host_that_is_not_well(control: Control, fleets: dict[str, Fleet]) -> None:
    """One host at a time, one domain first; then mended, run again, looked at, and rolled back to the byte."""
    alpha, beta, gamma = fleets.values()
    nameless = xml_of("a-nameless", os_id="http://example.org/nobody/1")
    define(beta, nameless)
    before = {name: fleet.dump() for name, fleet in fleets.items()}

    stopped = control.fleet()
    assert stopped.code != 0
    assert set(stopped.of("apply")) == {"alpha", "beta"}, stopped.out
    failure = stopped.of("apply")["beta"]
    assert failure["msg"].startswith("virtfix apply: 1 of 1 domain not well: a-nameless failed: "), failure
    assert failure["domains"][0]["code"] == "guest.unknown"
    assert not failure["changed"]
    assert changed(before["alpha"], alpha.dump()) == NEEDY
    assert beta.dump() == before["beta"], "its canary is not well, so its other domains are left alone"
    assert gamma.dump() == before["gamma"]
    assert gamma.runs() == []

    # The owner says what the guest is.
    mended = control.fleet("-e", "virtfix_assume=legacy")
    assert mended.code == 0, mended.out
    assert {host: result["changed"] for host, result in mended.of("apply").items()} == {
        "alpha": False,
        "beta": True,
        "gamma": True,
    }
    assert changed(before["beta"], beta.dump()) == NEEDY | {"a-nameless"}
    assert changed(before["gamma"], gamma.dump()) == NEEDY
    facts = mended.of("facts")["beta"]["ansible_facts"]["virtfix"]
    assert facts["broken"] == []
    assert set(facts["right"]) == set(before["beta"])

    again = control.fleet("-e", "virtfix_assume=legacy", "--diff")
    assert again.code == 0, again.out
    assert [result["changed"] for result in again.of("apply").values()] == [False] * 3
    assert "+++" not in again.out

    undone = control.rollback()
    assert undone.code == 0, undone.out
    assert [result["counts"]["changed"] for _, result in sorted(undone.of("rollback").items())] == [4, 5, 4]
    assert {name: fleet.dump() for name, fleet in fleets.items()} == before

    once_more = control.rollback()
    assert once_more.code == 0, once_more.out
    assert [result["changed"] for result in once_more.of("rollback").values()] == [False] * 3
    assert {name: fleet.dump() for name, fleet in fleets.items()} == before


@pytest.mark.parametrize("serial", [[1], [2]], ids=["alone", "beside another"])
def test_a_fleet_stops_at_a_host_that_is_not_reached(
    control: Control, fleets: dict[str, Fleet], serial: list[int]
) -> None:
    """What ssh says of it, 255, is no failure for Ansible, which would go on; the play ends all the same."""
    ssh = str(control.script("ssh", "exit 255"))
    control.inventory(fleets, alpha={"ansible_connection": "ssh", "ansible_ssh_executable": ssh})
    given = {"virtfix_domains": ["vm000"], "virtfix_serial": serial}
    stopped = control.play("virtfix.libvirt.fleet", "-e", json.dumps(given))
    assert stopped.code != 0
    assert "UNREACHABLE" in stopped.out
    assert set(stopped.of("apply")) == set(HOSTS[1 : serial[0]]), stopped.out
    assert fleets["gamma"].runs() == []


def test_facts_plan_and_verify_tell_what_is_wrong(control: Control, fleets: dict[str, Fleet]) -> None:
    """Facts by what is to do, a plan that is never changed, and a copy of what is right on real QEMU."""
    define(fleets["gamma"], xml_of("a-nameless", os_id="http://example.org/nobody/1"))
    common = {"executable": "{{ virtfix_executable }}", "connect": "{{ virtfix_connect }}"}
    played = control.tasks(
        {"virtfix.libvirt.facts": common | {"all": True}},
        {"virtfix.libvirt.verify": common | {"domains": "vm004"}, "when": "inventory_hostname == 'alpha'"},
        {"virtfix.libvirt.plan": common | {"all": True}},
    )
    assert played.code != 0, "the last host has a guest that nobody names"
    facts = {host: result["ansible_facts"]["virtfix"] for host, result in played.of("facts").items()}
    for host in HOSTS:
        assert set(facts[host]["broken"]) == NEEDY
        assert facts[host]["right"] == ["vm004"]
        assert facts[host]["unknown"] == (["a-nameless"] if host == "gamma" else [])
    assert facts["alpha"]["domains"][0]["verdict"] == "breaks at next start"
    assert "disk[vda]" in facts["alpha"]["domains"][0]["wrong_next"]

    verified = played.told["alpha", "verify"]
    assert verified["passed"], verified
    assert [copy["name"] for copy in verified["copies"]] == ["vm004"]

    plans = played.of("plan")
    assert not any(plan["changed"] for plan in plans.values())
    assert plans["alpha"]["pending"]
    assert plans["alpha"]["counts"] == {"pending": 4, "unresolved": 0, "unchanged": 1, "error": 0}
    assert plans["gamma"]["msg"].startswith("virtfix plan: 1 of 6 domains can not be planned: a-nameless: ")


def test_blocked_domains_can_be_taken_for_no_failure(control: Control) -> None:
    """By the failed_when that the documentation gives; a run that never began still fails by it."""
    control.inventory({})
    blocked = {"status": "blocked", "name": "vm", "reason": "has a managed save", "pending_restart": False}
    version = '[ "$1" = --version ] && echo virtfix 0.1.0 && exit'
    programs = {
        "blocked": control.script("blocked", f"{version}\necho '{json.dumps(blocked)}'\nexit 4"),
        "dead": control.script("dead", f"{version}\necho virtfix: can not connect >&2\nexit 1"),
    }
    documented = re.findall(r"failed_when: (.+)", (ROOT / "docs" / "ansible.md").read_text())
    assert len(documented) == 1
    tasks: list[dict[str, Any]] = [
        {
            "virtfix.libvirt.apply": {"executable": str(programs[name]), "all": True},
            "register": "applied",
            **more,
        }
        for name, more in (
            ("blocked", {"ignore_errors": True}),
            ("blocked", {"failed_when": documented[0]}),
            ("dead", {"failed_when": documented[0]}),
        )
    ]
    played = control.tasks(*tasks, hosts="localhost")
    assert "1 of 1 domain not well: vm blocked: has a managed save" in played.out
    assert re.search(r"localhost +: ok=2 .* failed=1 .* ignored=1", played.out), played.out


def test_whatever_is_wrong_with_virtfix_is_one_sentence(control: Control) -> None:
    """Missing, too old, something else, dying: no traceback; and words reach the program as they are."""
    trace = control.folder / "words"
    control.inventory({})
    cases = {
        "missing": str(control.folder / "nowhere"),
        "old": str(control.script("old", "echo virtfix 0.0.9")),
        "other": str(control.script("other", "echo something 1.0")),
        "dying": str(control.script("dying", '[ "$1" = --version ] && echo virtfix 0.1.0 || kill -9 $$')),
        "newer": str(
            control.script(
                "newer",
                f'printf "%s\\n" "$@" >>"{trace}"\n'
                '[ "$1" = --version ] && echo virtfix 9.0 || echo "{\\"format\\": 2}"',
            )
        ),
    }
    name = "$(touch ran); -x"
    tasks: list[dict[str, Any]] = [
        {
            "virtfix.libvirt.plan": {"executable": path, "domains": [name]},
            "register": case,
            "ignore_errors": True,
        }
        for case, path in cases.items()
    ]
    shown = " ".join(f"{{{{ {case}.msg }}}}|" for case in cases)
    played = control.tasks(
        *tasks,
        {"virtfix.libvirt.apply": {"all": True, "domains": ["x"]}, "register": "both", "ignore_errors": True},
        {"ansible.builtin.debug": {"msg": shown + "{{ both.msg }}"}},
        hosts="localhost",
    )
    assert played.code == 0, played.out
    missing = f"virtfix is missing: no executable '{cases['missing']}' on this host"
    told = [part.strip() for part in played.told["localhost", "debug"]["msg"].split("|")]
    assert told == [
        f"{missing}; the role virtfix.libvirt.install installs it",
        "virtfix 0.0.9 is too old: this collection needs 0.1.0 or later",
        f"{cases['other']} does not work: it does not tell a version of virtfix",
        "virtfix plan: it was ended by signal 9",
        "virtfix plan: its plans have format 2, and this collection reads 1: update the older of both",
        "give domains or all, not both",
    ]
    assert f"--domain={name}" in trace.read_text().splitlines()
    assert not list(control.folder.rglob("ran")), "nothing was run by a shell"
