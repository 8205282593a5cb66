"""Asking for all offers shows more; it decides nothing."""

from __future__ import annotations

import pytest
from helpers import domain, plan

WEIGHTS = {
    "integrated": 10,
    "bridge": 30,
    "transitional": 40,
    "override": 60,
    "io-window": 2,
    "address-change": 1,
}
XML = domain("".join(f"<disk type='file'><target dev='vd{c}' bus='virtio'/></disk>\n" for c in "abc"))


@pytest.mark.parametrize(
    ("weights", "strategy", "forbid"),
    [
        pytest.param({}, None, (), id="shipped prices"),
        pytest.param({"hotplug-loss": 50}, None, (), id="hot-plug is dear"),
        pytest.param(
            {"hotplug-loss": 50}, "override", ("override",), id="the wish is forbidden, hot-plug is dear"
        ),
        pytest.param({"integrated": 32, "address-change": 0}, None, (), id="two at one price"),
    ],
)
def test_the_same_remedies_with_and_without_explain(
    weights: dict[str, int], strategy: str | None, forbid: tuple[str, ...]
) -> None:
    """plan --explain must show what apply will do."""
    site = {"weights": {**WEIGHTS, **weights}, "forbid": frozenset(forbid)}
    plain, explained = (plan(XML, strategy=strategy, all_offers=every, **site) for every in (False, True))
    assert plain.changes
    assert plain.result == explained.result
