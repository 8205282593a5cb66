"""Runs the command line, in this process or in one of its own, and makes input for it."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from cli_runner import ROOT, SAMPLES, Done, clean

from fixer.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def virtfix() -> Callable[..., Done]:
    """Run the command line in this process, with standard streams of bytes and no terminal."""

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with pytest.MonkeyPatch.context() as patch:
            for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["virtfix", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as stop:
                main()
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


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Return a copy of the samples, to be written to."""
    return Path(shutil.copytree(SAMPLES, tmp_path / "samples"))
