"""What a domain is doing, as far as it matters to a redefinition."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    """The state of a domain. ``job`` is a migration, save or backup that is under way, '' where there is none."""

    persistent: bool = True
    active: bool = False
    paused: bool = False
    managed_save: bool = False
    snapshots: int = 0
    checkpoints: int = 0
    job: str = ""
