"""The tutorial is true: its commands, in their order, in one folder, do and print what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
# Those that need more than files.
PROOF = "virtfix verify "


class Step(NamedTuple):
    """A command (with its here-document), the exit code that it names, and the output shown below it."""

    script: str
    code: int
    output: list[str]


def steps() -> list[Step]:
    found = []
    for kind, block in re.findall(
        r"(?m)^```(console|sh)\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL
    ):
        if kind == "console":
            first, *output = block.splitlines()
            assert first.startswith("$ "), "a console block shows one command"
            scripts = [first.removeprefix("$ ")]
        else:
            output = []
            scripts = [block] if "<<" in block else block.splitlines()
        for script in scripts:
            code = re.search(r"# exit (\d)", script)
            found.append(Step(script, int(code[1]) if code else 0, output))
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return an empty folder; ``virtfix`` is this one, ``virsh`` takes one domain, ``pipx`` is believed."""
    programs = tmp_path / "bin"
    programs.mkdir()
    virsh = 'case $1 in define) test "$2" = --validate && grep -q "<name>vm<" "$3" ;; shutdown|start) test "$2" = vm ;; *) exit 1 ;; esac\n'
    scripts = {
        "virtfix": f'exec {shlex.quote(sys.executable)} -m fixer.cli.app "$@"\n',
        "virsh": virsh,
        "pipx": 'test "$1" = install\n',
    }
    for name, script in scripts.items():
        (programs / name).write_text("#!/bin/sh\n" + script)
        (programs / name).chmod(0o755)
    return tmp_path


def follow(place: Path, *, proof: bool) -> int:
    """Run the steps, those of the proof too if ``proof``; return how many commands of virtfix ran."""
    environment = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment.pop("COLUMNS", None)
    folder, count = place, 0
    for step in steps():
        if step.script.startswith("cd "):
            folder /= step.script.removeprefix("cd ").strip()
        if step.script.startswith(PROOF) and not proof:
            continue
        done = subprocess.run(
            ["sh", "-c", step.script],
            cwd=folder if not step.script.startswith("cd ") else place,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if proof and step.script.startswith(PROOF) and done.returncode == 1:  # no QEMU here
            (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(done.stderr)
        assert done.returncode == step.code, step.script + "\n" + done.stdout + done.stderr
        assert done.stderr == "" or step.script.startswith("virtfix apply"), done.stderr
        count += step.script.startswith("virtfix ")
        real = iter(done.stdout.splitlines())
        for line in step.output:
            assert line in {"...", ""} or line in real, (
                f"{step.script}: not in the output: {line}\n{done.stdout}"
            )
    return count


def test_the_commands_run(place: Path) -> None:
    """Whoever has files only can follow the tutorial up to the proof, and define its result."""
    assert follow(place, proof=False) >= 8


@pytest.mark.real
def test_the_proof(place: Path) -> None:
    """On real QEMU and firmware the naive machine fails, and the converted one passes, as shown."""
    assert follow(place, proof=True) >= 10


def test_the_steps_are_found() -> None:
    """The tests above must not pass by finding none."""
    scripts = [step.script for step in steps()]
    for word in (
        "virtfix identify",
        "virtfix plan",
        "virtfix apply",
        PROOF,
        "virsh define",
        "cat > vm.xml <<",
    ):
        assert any(script.startswith(word) for script in scripts), word
