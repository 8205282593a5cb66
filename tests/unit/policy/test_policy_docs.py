"""Every YAML in docs/policy.md is a policy that loads."""

from __future__ import annotations

import re
from pathlib import Path

from fixer.policy.load import load

DOC = Path(__file__).parents[3] / "docs" / "policy.md"


def test_examples_load_on_top_of_the_shipped_policies(shipped_bytes: list[tuple[str, bytes]]) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 2
    policies = load([*shipped_bytes, *((f"example{n}", text.encode()) for n, text in enumerate(examples))])
    appliance = policies.find("acme3.1")
    assert appliance is not None
    assert appliance.drives("scsi").value == "no"
    assert policies.site.name == "lab"
