"""The plan as JSON: stable keys, each documented in docs/json.md."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from helpers import ROOT, domain, plan, port, request

from fixer.planning.codec import decode_edit, encode_edit
from fixer.planning.planner import plan_bytes
from fixer.report.plan_json import devices, render

if TYPE_CHECKING:
    from pathlib import Path

    from fixer.planning.plan import Plan

SAMPLES = sorted((ROOT / "samples").glob("*.xml"))
DOC = ROOT / "docs" / "json.md"
STRATEGIES = [None, "integrated", "bridge", "transitional", "override"]
UNSOLVED = "    <input type='tablet' bus='virtio'/>\n"


def keys(value: Any, path: str = "") -> set[str]:
    """Return the paths of all keys: ``changes[].mode.before``. DeepDiff's own and attribute names end a path."""
    if path == "difference" or path.endswith((".attrs", ".children[]")):
        return set()
    if isinstance(value, list):
        return {found for item in value for found in keys(item, path + "[]")}
    if not isinstance(value, dict):
        return set()
    found = set()
    for name, inner in value.items():
        inside = f"{path}.{name}" if path else name
        found |= {inside} | keys(inner, inside)
    return found


def documented() -> set[str]:
    """Return the keys in the first column of the tables of docs/json.md."""
    return set(re.findall(r"^\| `([^`]+)` \|", DOC.read_text(encoding="utf-8"), re.MULTILINE))


def outputs() -> list[dict[str, Any]]:
    """Return plans of every sample with every strategy, and some that show what the samples lack."""
    plans = [
        plan(sample.read_bytes(), "centos6.10", strategy=strategy, all_offers=True)
        for sample in SAMPLES
        for strategy in STRATEGIES
    ]
    plans += [
        plan(domain(UNSOLVED)),
        plan(domain("    <memballoon model='none'/>\n"), None),
        convert((ROOT / "samples" / "i440fx-rhel6.xml").read_bytes()),
        plan(domain("".join(port(n, f"00:{n + 1:02x}.0") for n in range(1, 29)))),
    ]
    return [json.loads(render(made, "vm.xml")) for made in plans]


def convert(xml: bytes) -> Plan:
    return plan_bytes(xml, request("rhel6")._replace(machine="q35=pc-q35-8.2"))


def test_every_key_is_documented() -> None:
    """A key of the JSON is a promise: it stands in docs/json.md, and nothing else does."""
    seen = {key for value in outputs() for key in keys(value)}
    errors = {"error", "error.code", "error.summary", "error.where", "error.hint"}
    assert seen - documented() == set(), "docs/json.md lacks these"
    assert documented() - seen - errors == set(), "docs/json.md has keys that do not exist"


def test_the_example_is_a_real_plan() -> None:
    """The example of the page has the keys and the values that virtfix prints for its sample."""
    sample = ROOT / "samples" / "rhel6-q35-ovmf.xml"
    real = json.loads(render(plan(sample.read_bytes(), None), "samples/rhel6-q35-ovmf.xml"))
    head, _, example = DOC.read_text(encoding="utf-8").partition("```json\n")
    if os.environ.get("VIRTFIX_REGENERATE"):
        example = json.dumps(_shortened(real), indent=2) + "\n```\n"
        DOC.write_text(head + "```json\n" + example, encoding="utf-8")
    shown = json.loads(example.removesuffix("```\n"))
    assert keys(shown) == keys(real)
    _is_part(shown, real, "")


def _shortened(value: dict[str, Any]) -> dict[str, Any]:
    """Cut the lists of a plan to their first item, the difference to two, a tree to a row of each kind."""
    lists = {name: value[name][:1] for name in ("findings", "changes", "edits", "consequences")}
    changed = dict(list(value["difference"]["values_changed"].items())[:2])
    tree = {side: _each_kind(rows) for side, rows in value["topology"].items()}
    return {**value, **lists, "difference": {"values_changed": changed}, "topology": tree}


def _each_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first row of each set of keys."""
    return list({tuple(row): row for row in reversed(rows)}.values())[::-1]


def _is_part(shown: Any, real: Any, path: str) -> None:
    """Check that all that is shown is real; lists may be shortened."""
    if isinstance(shown, dict):
        for name, value in shown.items():
            _is_part(value, real[name], f"{path}.{name}")
    elif isinstance(shown, list):
        for item in shown:
            assert item in real, f"{path}: {item}"
    else:
        assert shown == real, path


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("fixer/planning/consequences.py", r'Consequence\(\s*"([a-z0-9-]+)"'),
        ("fixer/domain/edits.py", r'op: Literal\["([a-z-]+)"\]'),
        ("fixer/findings.py", r'= "(VF\d+)"'),
        ("fixer/findings.py", r'(?m)^    [A-Z_]+ = "([a-z ]+)"'),
        ("fixer/domain/virtio.py", r'(?m)^    [A-Z_]+ = "([^"]+)"'),
        ("fixer/domain/machine.py", r'(?m)^    [A-Z0-9_]+ = "([^"]+)"'),
    ],
)
def test_every_word_that_programs_branch_on_is_documented(file: str, pattern: str) -> None:
    """Codes of consequences, findings, edits, modes and families stand in docs/json.md."""
    words = set(re.findall(pattern, (ROOT / file).read_text(encoding="utf-8")))
    assert words
    text = DOC.read_text(encoding="utf-8")
    assert {word for word in words if f"`{word}`" not in text} == set()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_edits_survive_the_way_through_json(sample: Path, strategy: str | None) -> None:
    """What is saved can be read back as the same edits."""
    for edit in plan(sample.read_bytes(), "centos6.10", strategy=strategy).edits:
        assert decode_edit(json.loads(json.dumps(encode_edit(edit)))) == edit


def test_the_difference_blames_the_device_that_changed() -> None:
    """Devices are keyed by identity, so a change of one is a change of that one."""
    made = plan((ROOT / "samples" / "rhel6-q35-ovmf.xml").read_bytes(), None)
    value = json.loads(render(made, "vm.xml"))
    changed = {path for path in value["difference"]["values_changed"] if "'address'" in path}
    assert changed == {f"root['{change.device}']['address']" for change in made.changes}


def test_nothing_to_do_is_no_difference() -> None:
    """A domain that is right has empty lists, equal digests and the status unchanged."""
    value = json.loads(render(plan((ROOT / "samples" / "already-right.xml").read_bytes(), None), "vm.xml"))
    assert value["status"] == "unchanged"
    assert value["digest"]["before"] == value["digest"]["after"]
    assert [value[name] for name in ("findings", "changes", "edits", "difference")] == [[], [], [], {}]


def test_json_is_ascii() -> None:
    """No terminal or pipe can be upset by what a name holds."""
    data = domain().replace("<name>t</name>", "<name>a\u009b\u202eб</name>")
    assert render(plan(data), "vm.xml").isascii()


def test_a_machine_that_is_not_judged_has_no_devices() -> None:
    """Where there is no PCI layout, the device view is empty rather than wrong."""
    data = domain().replace("arch='x86_64' machine='q35'", "arch='s390x' machine='s390-ccw-virtio'")
    assert devices(plan(data, None).domain) == {}
