from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixer.policy.load import load

if TYPE_CHECKING:
    from fixer.policy.match import PolicySet

POLICIES = Path(__file__).parents[3] / "policies"


@pytest.fixture(scope="session")
def shipped_bytes() -> list[tuple[str, bytes]]:
    return [(str(path.relative_to(POLICIES)), path.read_bytes()) for path in sorted(POLICIES.rglob("*.yaml"))]


@pytest.fixture(scope="session")
def shipped(shipped_bytes: list[tuple[str, bytes]]) -> PolicySet:
    return load(shipped_bytes)
