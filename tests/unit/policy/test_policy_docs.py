"""Every YAML in docs/policy.md is a policy that loads, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixer.policy.expect import broken
from fixer.policy.load import load

if TYPE_CHECKING:
    from fixer.policy.match import PolicySet

DOC = Path(__file__).parents[3] / "docs" / "policy.md"
TODAY = "2026-06-01"


@pytest.fixture(scope="module")
def documented(shipped_bytes: list[tuple[str, bytes]]) -> PolicySet:
    examples = re.findall(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 7
    return load([*shipped_bytes, *((f"example{n}", text.encode()) for n, text in enumerate(examples))])


def test_examples_load_on_top_of_the_shipped_policies(documented: PolicySet) -> None:
    appliance = documented.find("acme3.1")
    assert appliance is not None
    assert appliance.drives("scsi").value == "no"
    assert documented.site.name == "lab"
    assert len(documented.site.rules) == 5
    assert len(documented.mapping) == 4


def test_the_expectations_of_the_page_hold(documented: PolicySet) -> None:
    assert sum(entry.file.startswith("example") for entry in documented.expected) >= 9
    assert broken(documented, TODAY) == []
