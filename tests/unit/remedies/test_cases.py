"""Runs tests/cases/*.yaml: a file a remedy, dropped in and discovered.

Each case is a fragment of <devices> in a small Q35 domain, planned with that remedy asked for. The
runner adds what every case must hold: the invariants, the second plan and the rest of the file.
"""

from __future__ import annotations

from textwrap import indent
from typing import Any

import pytest
import yaml
from helpers import BARE, QEMU, ROOT, check_invariants, domain, plan, remedies

from fixer.remedies import load_remedies

FILES = sorted((ROOT / "tests" / "cases").glob("*.yaml"))
KEYS = {
    "unchanged": {"devices", "os", "machine", "tail", "unresolved"},
    "changed": {"before", "after", "os", "machine", "tail", "tail-after", "unresolved"},
}


def load(kind: str) -> list[Any]:
    contents = [(path.stem, yaml.safe_load(path.read_text())) for path in FILES]
    return [
        pytest.param(content["remedy"], case, id=f"{stem}: {name}")
        for stem, content in contents
        for name, case in content[kind].items()
    ]


def build(devices: str, tail: str, case: dict[str, Any], *, namespace: bool = False) -> str:
    xml = domain(BARE + indent(devices, "    "), case.get("machine", "q35"), tail=indent(tail, "  "))
    if namespace:
        xml = xml.replace("<domain type='kvm'>", f"<domain type='kvm' xmlns:qemu='{QEMU}'>")
    return xml.replace("'", '"') if '="' in devices else xml  # the quotes of the fragment are the file's


@pytest.mark.parametrize(("remedy", "case"), load("unchanged"))
def test_unchanged(remedy: str, case: dict[str, Any]) -> None:
    """What needs nothing, or can not be helped, keeps its bytes."""
    xml = build(case["devices"], case.get("tail", ""), case)
    made = plan(xml, case.get("os", "rhel6"), strategy=remedy)
    assert made.result.decode() == xml
    assert (made.edits, made.changes) == ((), ())
    assert [finding.device for finding in made.unresolved] == case.get("unresolved", [])
    check_invariants(xml, made, case.get("os", "rhel6"), strategy=remedy)


@pytest.mark.parametrize(("remedy", "case"), load("changed"))
def test_changed(remedy: str, case: dict[str, Any]) -> None:
    """The result is what the case says, to the byte, and holds every invariant."""
    os = case.get("os", "rhel6")
    xml = build(case["before"], case.get("tail", ""), case)
    made = plan(xml, os, strategy=remedy)
    tail = case.get("tail-after", case.get("tail", ""))
    expected = build(case["after"], tail, case, namespace="<qemu:override>" in tail)
    assert made.result.decode() == expected
    assert remedy in remedies(made).values()
    assert [finding.device for finding in made.unresolved] == case.get("unresolved", [])
    check_invariants(xml, made, os, strategy=remedy)


def test_every_remedy_has_a_case_file() -> None:
    """A remedy without cases, or cases without a remedy, is a mistake."""
    assert [path.stem for path in FILES] == sorted(load_remedies())


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_case_file_is_complete(path: Any) -> None:
    """Unchanged cases stand first, there is one of each at least, and no key is misspelt."""
    content = yaml.safe_load(path.read_text())
    assert list(content) == ["remedy", "unchanged", "changed"]
    assert content["remedy"] == path.stem
    for kind, allowed in KEYS.items():
        assert content[kind], f"no {kind} case"
        for name, case in content[kind].items():
            assert set(case) <= allowed, name
            assert kind == "unchanged" or case["before"] != case["after"] or "tail-after" in case, name


def test_remedies_say_what_they_are() -> None:
    """Each names itself, in a word for the command line and in a phrase for a person."""
    for name, remedy in load_remedies().items():
        assert name == remedy.NAME
        assert remedy.TITLE
        assert "\n" not in remedy.TITLE
