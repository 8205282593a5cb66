"""The collection without Ansible: arguments, what is read from virtfix, and what is said of its trouble."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer
import yaml

from fixer.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECTION: Final = Path(__file__).parents[3] / "ansible"
UTILS: Final = "ansible_collections.virtfix.libvirt.plugins.module_utils"
MODULES: Final = ("apply", "facts", "plan", "rollback", "verify")


@pytest.fixture(scope="module")
def utils(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Import what the modules share, by the names that it has on a managed host."""
    root = tmp_path_factory.mktemp("collections")
    place = root / "ansible_collections" / "virtfix"
    place.mkdir(parents=True)
    (place / "libvirt").symlink_to(COLLECTION)
    before = {name for name in sys.modules if name.partition(".")[0] == "ansible_collections"}
    assert not before
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield SimpleNamespace(
            **{name: importlib.import_module(f"{UTILS}.{name}") for name in ("options", "program", "results")}
        )
    finally:
        sys.path.remove(str(root))
        for name in [name for name in sys.modules if name.partition(".")[0] == "ansible_collections"]:
            del sys.modules[name]


def groups_of(options: Any) -> dict[str, dict[str, Any]]:
    return {name: group for name, group in vars(options).items() if name.isupper() and name != "_FLAGS"}


def params(options: Any, **given: Any) -> dict[str, Any]:
    """Return the parameters as Ansible hands them to a module: defaults filled in, None without."""
    return {
        name: given.get(name, option.get("default"))
        for group in groups_of(options).values()
        for name, option in group.items()
    }


# --- arguments ----------------------------------------------------------------------------------------


def test_what_is_not_given_is_no_argument(utils: Any) -> None:
    """The defaults of virtfix hold, those of a later version too."""
    options = utils.options
    everything = [group for group in groups_of(options).values() if group is not options.EXECUTABLE]
    assert len(everything) > 7
    assert options.arguments(params(options), *everything) == []


def test_each_value_stays_in_one_word_with_its_option(utils: Any) -> None:
    """No value is taken for an option, split, or read by a shell."""
    options = utils.options
    given = params(options, domains=["--all", "a b", "$HOME"], os_map=["x,y"], canary=2, wait=1.5, esp=True)
    groups = (options.CHOICE, options.GUEST, options.PLANNING, options.APPLYING, options.RUN)
    assert options.arguments(given, *groups) == [
        "--domain=--all",
        "--domain=a b",
        "--domain=$HOME",
        "--os-map=x,y",
        "--esp",
        "--canary=2",
        "--wait=1.5",
    ]


def test_an_empty_value_is_handed_on(utils: Any) -> None:
    """What a variable that is not set leaves behind is for virtfix to refuse, not for us to drop."""
    options = utils.options
    assert options.arguments(params(options, domains=[""]), options.CHOICE) == ["--domain="]


@pytest.mark.parametrize(
    ("domains", "every", "wrong"),
    [
        (["a"], False, ""),
        (None, True, ""),
        ([], True, ""),
        (None, False, "no domain is chosen: name domains, or set all to true"),
        ([], False, "no domain is chosen: name domains, or set all to true"),
        (["a"], True, "give domains or all, not both"),
    ],
)
def test_an_empty_choice_is_never_all(utils: Any, domains: Any, every: bool, wrong: str) -> None:
    assert utils.options.selection_problem({"domains": domains, "all": every}) == wrong


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        ("plan", ("CONNECT", "CHOICE", "GUEST", "ASKING", "PLANNING", "TARGET")),
        ("apply", ("CONNECT", "CHOICE", "GUEST", "ASKING", "PLANNING", "TARGET", "APPLYING", "RUN")),
        ("rollback", ("RUN",)),
        ("verify", ("CONNECT", "CHOICE", "GUEST", "PLANNING")),
        ("audit", ("CONNECT", "CHOICE", "GUEST")),
    ],
)
def test_every_option_is_one_of_the_command(utils: Any, command: str, groups: tuple[str, ...]) -> None:
    """The modules cannot drift from the command line: each option exists there, and repeats where it is a list."""
    known = {
        flag: option
        for option in typer.main.get_command(app).commands[command].params
        for flag in option.opts
    }
    for group in groups:
        for name, spec in getattr(utils.options, group).items():
            flag = utils.options._FLAGS.get(name, "--" + name.replace("_", "-"))
            assert flag in known, f"{command} {flag}"
            assert bool(known[flag].multiple) == (spec["type"] == "list"), flag
            assert bool(known[flag].is_flag) == (spec["type"] == "bool"), flag


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_documented_and_import_nothing_of_the_package(name: str) -> None:
    """What runs on managed hosts has Ansible's Python, which need not be one that virtfix runs on."""
    tree = ast.parse((COLLECTION / "plugins" / "modules" / f"{name}.py").read_bytes(), feature_version=(3, 6))
    texts = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    }
    assert yaml.safe_load(texts["DOCUMENTATION"])["module"] == name
    for task in yaml.safe_load(texts["EXAMPLES"]):
        assert next(key for key in task if "." in key).startswith(("virtfix.libvirt.", "ansible.builtin."))
    assert yaml.safe_load(texts["RETURN"])
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= {"ansible", "ansible_collections"}


def test_what_modules_share_is_python_3_6() -> None:
    for path in (COLLECTION / "plugins").rglob("*.py"):
        ast.parse(path.read_bytes(), feature_version=(3, 6))


# --- what virtfix prints ------------------------------------------------------------------------------


def plan(name: str, **given: Any) -> dict[str, Any]:
    """Return a plan in the form of ``virtfix plan --format json``, as far as the collection reads it."""
    change = {
        "device": "disk[vda]",
        "remedy": "integrated",
        "mode": {"before": "modern-only", "after": "transitional"},
        "address": {"before": "04:00.0", "after": "00:06.0", "listed": True},
        "price": 1,
    }
    return {
        "format": 1,
        "source": name,
        "status": "pending",
        "domain": {"name": name, "uuid": f"uuid-{name}"},
        "guest": {"id": "rhel6.9"},
        "machine": {"type": "q35"},
        "changes": [change],
        "unresolved": [],
        "consequences": [{"code": "restart", "devices": [], "text": "takes effect at the next start"}],
        "skips": [],
        "edits": [{"op": "set-address"}],
    } | given


UNRESOLVED: Final = {
    "code": "VF002",
    "severity": "breaks boot",
    "device": "disk[vdb]",
    "why": "no driver",
    "evidence": "x:1",
}
FAILED: Final = {
    "format": 1,
    "source": "vm",
    "status": "error",
    "error": {"code": "guest.unknown", "summary": "nobody knows", "where": "vm", "hint": "give --os"},
}


@pytest.mark.parametrize("text", ["{}", "[{}]", '[{"format": 2}]'])
def test_another_format_is_refused(utils: Any, text: str) -> None:
    with pytest.raises(utils.results.FormError, match="update the older"):
        utils.results.plans(text)


@pytest.mark.parametrize("text", ["[", "x", "1", "[1]"])
def test_what_is_no_list_of_objects_is_refused(utils: Any, text: str) -> None:
    with pytest.raises(utils.results.FormError, match="what it printed is no"):
        utils.results.listed(text)


def test_one_plan_many_plans_and_none(utils: Any) -> None:
    """One domain is an object, several are an array, and of no domain nothing is printed."""
    one = plan("a")
    assert utils.results.plans("") == []
    assert utils.results.plans(json.dumps(one)) == [one]
    assert utils.results.plans(json.dumps([one, FAILED])) == [one, FAILED]


def test_a_plan_is_cut_to_what_plays_decide_by(utils: Any) -> None:
    found = utils.results.of_plan(plan("a", unresolved=[UNRESOLVED], status="unresolved"))
    assert found["status"] == "unresolved"
    assert found["changes"][0].keys() == {"device", "remedy", "mode", "address"}
    assert found["unresolved"][0].keys() == {"code", "severity", "device", "why"}
    assert "edits" not in found
    failed = utils.results.of_plan(FAILED)
    assert (failed["name"], failed["code"], failed["error"]) == (
        "vm",
        "guest.unknown",
        "nobody knows; give --os",
    )


@pytest.mark.parametrize(
    ("given", "strict", "status", "code"),
    [
        (plan("a"), False, "changed", ""),
        (plan("a", edits=[], changes=[], status="unchanged"), False, "unchanged", "apply.unchanged"),
        (plan("a", unresolved=[UNRESOLVED], status="unresolved"), False, "changed", ""),
        (plan("a", unresolved=[UNRESOLVED], status="unresolved"), True, "blocked", "apply.strict"),
        (FAILED, False, "failed", "guest.unknown"),
    ],
)
def test_check_mode_foresees(utils: Any, given: Any, strict: bool, status: str, code: str) -> None:
    result = utils.results.foreseen(given, "qemu:///system", strict)
    assert (result["status"], result["code"], result["uri"]) == (status, code, "qemu:///system")


def test_check_mode_answers_in_the_form_of_apply(utils: Any) -> None:
    """A play reads both with the same words."""
    from fixer.execution.apply import Result

    assert tuple(utils.results.foreseen(plan("a"), "", False)) == Result._fields


def test_a_run_that_was_killed_keeps_its_whole_lines(utils: Any) -> None:
    assert utils.results.lines('{"status": "changed"}\n{"stat') == [{"status": "changed"}]


def test_the_run_is_the_one_that_is_told_last(utils: Any) -> None:
    said = (
        "virtfix: a: run 20300101T000000Z-0000 changed it, and more\n"
        "virtfix: 1 domain of 2: 1 changed; run 20300102T000000Z-0001\n"
        "virtfix: 1 domain left alone; virtfix resume 20300102T000000Z-0001 goes on with them\n"
    )
    assert utils.results.run_id(said) == "20300102T000000Z-0001"
    assert utils.results.run_id("virtfix: nothing\n") == ""


def test_a_message_names_the_first_and_counts_the_rest(utils: Any) -> None:
    found = [{"name": str(n), "status": "failed", "reason": "why", "code": "c"} for n in range(5)]
    told = utils.results.problem([{"name": "x", "status": "changed", "reason": "", "code": ""}, *found])
    assert told == "5 of 6 domains not well: 0 failed: why; 1 failed: why; 2 failed: why; and 2 more"
    assert utils.results.problem(found[:0]) == ""


RUNS: Final = [
    {"run": "1", "command": "apply", "ended": True, "counts": {"changed": 2}},
    {"run": "2", "command": "apply", "ended": True, "counts": {"restored": 1}},
    {"run": "3", "command": "apply", "ended": True, "counts": {}},
    {"run": "4", "command": "rollback", "ended": True, "counts": {"put back": 1}},
]


def test_latest_goes_no_further_back_when_it_is_undone(utils: Any) -> None:
    """A second rollback finds the same run, restored, and not the run before."""
    assert utils.results.latest(RUNS) == "2"
    assert utils.results.latest([]) == ""


@pytest.mark.parametrize(
    ("domain", "names"), [(None, ["a", "c"]), ("a", ["a"]), ("UUID-C", ["c"]), ("b", []), ("none", [])]
)
def test_what_is_put_back_already_is_not_put_back_again(utils: Any, domain: Any, names: list[str]) -> None:
    statuses = {"a": "changed", "b": "restored", "c": "cut off", "d": "kept old"}
    history = {
        "domains": [{"name": name, "uuid": f"uuid-{name}", "status": word} for name, word in statuses.items()]
    }
    assert [one["name"] for one in utils.results.to_put_back(history, domain)] == names


def test_every_verdict_of_virtfix_has_its_list(utils: Any) -> None:
    """And one that a later version may bring is not passed over."""
    verdicts = [*utils.results.VERDICTS, "of a later version"]
    audited = [
        {
            "name": word,
            "uuid": "",
            "uri": "",
            "state": "off",
            "verdict": word,
            "reason": "",
            "guest": None,
            "now": None,
            "next": {"findings": [{"device": "disk[vda]"}]},
            "notes": [],
        }
        for word in verdicts
    ]
    found = utils.results.facts(audited, "0.1.0")
    assert found["broken"] == ["broken now", "breaks at next start"]
    assert found["pending"] == ["right at next start"]
    assert found["right"] == ["right"]
    assert found["unknown"] == ["unknown guest"]
    assert found["ignored"] == ["not judged"]
    assert found["failed"] == ["error", "of a later version"]
    assert found["domains"][0]["wrong_next"] == ["disk[vda]"]
    assert found["domains"][0]["wrong_now"] == []


def test_the_verdicts_are_those_of_the_documentation(utils: Any) -> None:
    text = (COLLECTION.parent / "docs" / "audit.md").read_text()
    assert [word for word in utils.results.VERDICTS if f"| `{word}` |" not in text] == []


def test_of_both_copies_the_plan_has_to_pass(utils: Any) -> None:
    device = {"device": "disk[vda]", "why": "no I/O BAR", "verdict": "fail"}
    before = utils.results.of_copy({"source": "a", "state": "before", "passed": False, "devices": [device]})
    after = utils.results.of_copy({"source": "a", "state": "after", "passed": True, "devices": []})
    error = utils.results.of_copy({"source": "b", "error": {"code": "x", "summary": "no such machine"}})
    assert utils.results.copy_problem([before, after], "both") == ""
    assert utils.results.copy_problem([before], "before") == "a (before): disk[vda]: no I/O BAR"
    assert utils.results.copy_problem([error], "both") == "b (both): no such machine"


# --- the program --------------------------------------------------------------------------------------


class FailedError(Exception):
    """A module that ended with fail_json."""


class Module:
    """A module of Ansible, as far as Program uses one; ``answers`` are what commands print."""

    def __init__(self, *answers: Any, path: str | None = "/bin/virtfix") -> None:
        self.params = {"executable": "virtfix"}
        self.answers = list(answers)
        self.path = path
        self.commands: list[list[str]] = []

    def get_bin_path(self, _name: str, opt_dirs: Any = None) -> str | None:
        assert opt_dirs == ["/usr/local/bin"]
        return self.path

    def run_command(self, words: list[str], **options: Any) -> Any:
        assert options["expand_user_and_vars"] is False
        self.commands.append(words)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fail_json(self, msg: str, **_more: Any) -> None:
        assert sys.exc_info() == (None, None, None), "Ansible would add a traceback"
        raise FailedError(msg)


VERSION: Final = (0, "virtfix 0.1.0\n", "")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Module(path=None), "virtfix is missing: no executable 'virtfix' on this host"),
        (
            Module((0, "virtfix 0.0.9\n", "")),
            "virtfix 0.0.9 is too old: this collection needs 0.1.0 or later",
        ),
        (Module((0, "ls 9\n", "")), "/bin/virtfix does not work: it does not tell a version"),
        (
            Module((1, "", "Traceback (most recent call last):\n  x\nImportError: no lxml\n")),
            "/bin/virtfix does not work: a defect of virtfix, ImportError: run it on the host",
        ),
        (Module(PermissionError(13, "Permission denied")), "/bin/virtfix does not run: Permission denied"),
    ],
)
def test_a_program_that_will_not_do_is_told_in_one_sentence(utils: Any, module: Module, told: str) -> None:
    with pytest.raises(FailedError) as failure:
        utils.program.Program(module)
    assert str(failure.value).startswith(told)


@pytest.mark.parametrize(
    ("text", "version"), [("virtfix 1.2.3.dev4\n", (1, 2, 3)), ("virtfix 10\n", (10,)), ("virtfix", ())]
)
def test_versions(utils: Any, text: str, version: tuple[int, ...]) -> None:
    assert utils.program.version_in(text) == version


@pytest.mark.parametrize(
    ("code", "stderr", "told"),
    [
        (1, "2026-01-01 00:00:00.000+0000: 1: error: of libvirt\nvirtfix: first\nvirtfix: last\n", "last"),
        (2, "Usage: virtfix\n\nError: No such option: --x\n", "No such option: --x (is virtfix older"),
        (-9, "", "it was ended by signal 9"),
        (1, "2026-01-01 00:00:00.000+0000: 1: error: of libvirt\n", "it ended with exit code 1"),
    ],
)
def test_complaints(utils: Any, code: int, stderr: str, told: str) -> None:
    assert utils.program.complaint(code, stderr).startswith(told)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((1, "", "virtfix: can not connect\n"), "virtfix plan: can not connect"),
        ((0, "[", ""), "virtfix plan: what it printed is no JSON"),
        ((0, '[{"format": 1}]', ""), "virtfix plan: its JSON lacks 'source'"),
        ((1, "[", "virtfix: stopped\n"), "virtfix plan: stopped"),
    ],
)
def test_a_command_that_fails_or_prints_something_else(utils: Any, answer: Any, told: str) -> None:
    program = utils.program.Program(Module(VERSION, answer))

    def read(text: str) -> Any:
        return [utils.results.of_plan(one) for one in utils.results.plans(text)]

    with pytest.raises(FailedError) as failure:
        program.read("plan", [], read)
    assert str(failure.value) == told


def test_the_difference_is_of_what_changes_only(utils: Any) -> None:
    """By UUID, so that no other domain is in it; nothing to change asks nothing."""
    module = Module(VERSION, (0, "--- a\n", ""))
    program = utils.program.Program(module)
    assert program.diff(["--connect=x"], [plan("b", edits=[])]) == ""
    assert program.diff(["--connect=x"], [plan("a"), plan("b", edits=[])]) == "--- a\n"
    assert module.commands[1:] == [
        ["/bin/virtfix", "plan", "--connect=x", "--format=diff", "--domain=uuid-a"]
    ]
