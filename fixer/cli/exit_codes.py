"""Exit codes: one enum, documented in the README."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a command says by its exit code. 3 only with --detailed-exitcode; the README says which say 4 without it."""

    DONE = 0
    ERROR = 1
    USAGE = 2  # Typer's own
    PENDING = 3
    UNRESOLVED = 4
