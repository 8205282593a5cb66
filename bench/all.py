"""Runs every benchmark and writes what they print as the table of docs/benchmarks.md.

Usage: python bench/all.py [--quick] [--write]
Each script prints ratios measured in one run. --quick takes fewer rounds and smaller fleets; --write replaces the table
in docs/benchmarks.md, whose text explains the method.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
# Script, arguments, arguments of --quick.
SCRIPTS = (
    ("plan.py", (), ("--quick",)),
    ("policy.py", (), ()),
    ("fleet.py", (), ("5000",)),
    ("apply.py", (), ("100",)),
    ("verify.py", (), ()),
    ("report.py", (), ("500",)),
    ("convert.py", ("200",), ("30",)),
)
_START, _END = "<!-- table -->", "<!-- end of table -->"


def lines_of(script: str, arguments: tuple[str, ...]) -> list[str]:
    """Run a script; return its lines, or one that says why there are none."""
    command = [sys.executable, str(ROOT / "bench" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return [f"not measured here: {last[0]}"]
    return [line for line in done.stdout.splitlines() if line.strip()]


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return (
        f"{time.strftime('%Y-%m-%d')}, {cores} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"virtfix {version('virtfix')}, lxml {version('lxml')}"
    )


def row(script: str, line: str) -> str:
    """Return a line as a row: what was measured, and what came out."""
    what, _, found = line.partition(": ")
    cells = (f"`{script}`", what if found else "", found or line)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main() -> None:
    quick, write = "--quick" in sys.argv, "--write" in sys.argv
    table = "| script | what | result |\n|---|---|---|\n"
    for script, arguments, fewer in SCRIPTS:
        for line in lines_of(script, fewer if quick else arguments):
            print(f"{script}: {line}", flush=True)
            table += row(script, line)
    if write:
        text = PAGE.read_text(encoding="utf-8")
        new = f"{_START}\n\n{machine()}\n\n{table}\n{_END}"
        PAGE.write_text(re.sub(f"{_START}.*{_END}", lambda _: new, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
