"""A short command stays short: what it does not need is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLE = "samples/rhel6-q35-ovmf.xml"

# Each costs tens of milliseconds, or (libvirt) need not be installed at all.
HEAVY = {"libvirt", "deepdiff", "rich", "msgspec", "http", "ssl", "requests", "asyncio"}


def test_planning_a_file_imports_nothing_heavy() -> None:
    """``virtfix plan FILE --format diff`` works without libvirt and at the speed of its parser."""
    command = [sys.executable, "-X", "importtime", "-m", "fixer.cli.app", "plan", SAMPLE, "--format", "diff"]
    # Coverage and the like hook into child processes through the environment.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTHON"))
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, [line for line in done.stderr.splitlines() if "import time:" not in line]
    assert done.stdout.startswith("--- "), "the command must have planned, or this test proves nothing"
    assert imported(done.stderr) & HEAVY == set()


def imported(report: str) -> set[str]:
    """Return the top-level packages in what ``-X importtime`` prints: "import time: 12 | 34 |   name"."""
    lines = [line for line in report.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines}
