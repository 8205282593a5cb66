"""Exit codes: one enum, documented in the README."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a command says by its exit code. 3 and 4 only with --detailed-exitcode."""

    DONE = 0
    ERROR = 1
    USAGE = 2  # Typer's own
    PENDING = 3
    UNRESOLVED = 4
