"""Running the command line: what a test asks for and what it gets back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "samples"


class Done(NamedTuple):
    """What a command left behind: exit code, standard output and standard error."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    def error_line(self) -> str:
        """Return the one line on standard error, having checked that it is the only output."""
        assert self.out == b""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("virtfix: ")
        return lines[0]


Run = Callable[..., Done]


def clean(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which nothing decides on colour or width but the test."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    return {**kept, "PYTHONPATH": str(ROOT), **(extra or {})}
