"""Saved plans: told apart whether they are still to be carried out, or were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, STRATEGIES, request

from fixer.domain.edits import splices
from fixer.domain.model import read_domain
from fixer.domain.writing import apply_splices
from fixer.planning.codec import encode_plan
from fixer.planning.planner import plan_bytes
from fixer.planning.replay import is_carried_out

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = [
    pytest.param(path, id=path.stem)
    for path in sorted((ROOT / "samples").glob("*.xml"))
    if path.stem not in {"already-right", "i440fx-rhel6"}
]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("path", SAMPLES)
def test_a_plan_is_carried_out_when_its_result_is_there_and_not_before(path: Path, strategy: str) -> None:
    plan = plan_bytes(path.read_bytes(), request("rhel6.9", strategy=strategy))
    assert plan.edits, "or this proves nothing"
    saved = json.loads(json.dumps(encode_plan(plan, "-")))
    assert not is_carried_out(plan.domain, saved)
    assert is_carried_out(plan.after, saved)
    # libvirt fills in chassis and port (virDomainControllerDefFormat), and the owner goes on.
    filled = plan.result.replace(b"</name>", b"</name><title>since</title>", 1).replace(
        b"model='pcie-root-port'>", b"model='pcie-root-port'><target chassis='9' port='0x18'/>"
    )
    assert is_carried_out(read_domain(filled), saved)


@pytest.mark.parametrize("path", SAMPLES)
def test_each_edit_counts(path: Path) -> None:
    """A domain that has all but one of the changes is not as planned."""
    plan = plan_bytes(path.read_bytes(), request("rhel6.9", strategy="bridge"))
    saved = json.loads(json.dumps(encode_plan(plan, "-")))
    for left_out in range(len(plan.edits)):
        edits = plan.edits[:left_out] + plan.edits[left_out + 1 :]
        part = apply_splices(plan.domain.document.source, splices(plan.domain, edits))
        assert not is_carried_out(read_domain(part), saved), plan.edits[left_out]


def test_a_plan_without_edits_is_never_carried_out() -> None:
    """It says of one XML that nothing is to be done, and nothing of another."""
    plan = plan_bytes((ROOT / "samples" / "already-right.xml").read_bytes(), request("rhel6.9"))
    assert not is_carried_out(plan.after, json.loads(json.dumps(encode_plan(plan, "-"))))
