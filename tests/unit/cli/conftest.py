"""Runs the command line, in this process or in one of its own, and makes input for it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from fixer.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.fixture
def virtfix(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run the command line in this process, with standard streams of bytes and no terminal."""

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["virtfix", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as stop:
            main()
        monkeypatch.undo()
        out.flush()
        err.flush()
        return Done(int(stop.value.code or 0), out.buffer.getvalue(), err.buffer.getvalue().decode())

    return run


@pytest.fixture
def process() -> Callable[..., Done]:
    """Run the command line in a process of its own: what a shell sees."""

    def run(*arguments: object, stdin: bytes = b"", cwd: Path = ROOT, **environment: str) -> Done:
        command = [sys.executable, "-m", "fixer.cli.app", *map(str, arguments)]
        done = subprocess.run(
            command, input=stdin, cwd=cwd, capture_output=True, check=False, env=clean(environment)
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    return run


def clean(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which nothing decides on colour or width but the test."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    return {**kept, "PYTHONPATH": str(ROOT), **(extra or {})}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Return a copy of the samples, to be written to."""
    return Path(shutil.copytree(SAMPLES, tmp_path / "samples"))
