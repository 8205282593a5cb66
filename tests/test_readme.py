"""The README is true: its commands run, its output is real, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "samples" / "README.md"]
DOCS += [ROOT / "ansible" / "README.md", ROOT / "ansible" / "roles" / "install" / "README.md"]


class Command(NamedTuple):
    """A line of a block, the exit code that it names, and the output shown below it."""

    line: str
    code: int
    output: list[str]


def blocks() -> list[list[Command]]:
    """Return the commands of each block that calls virtfix."""
    found = []
    for kind, block in re.findall(
        r"```(console|sh)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    ):
        if not re.search(r"(?m)(^|\| *)(\$ )?(virtfix|virsh) ", block):
            continue
        lines, output = block.splitlines(), []
        if kind == "console":
            output = [line for line in lines if not line.startswith("$ ")]
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            assert len(lines) == 1, "a console block shows one command"
        codes = [re.search(r"# exit (\d)", line) for line in lines]
        found.append(
            [Command(line, int(c[1]) if c else 0, output) for line, c in zip(lines, codes, strict=True)]
        )
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a copy of the samples; ``virtfix`` is this one, ``virsh`` knows one domain and takes any."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    programs = tmp_path / "bin"
    programs.mkdir()
    virtfix = f'exec {shlex.quote(sys.executable)} -m fixer.cli.app "$@"\n'
    sample = shlex.quote(str(ROOT / "samples" / "rhel6-q35-ovmf.xml"))
    virsh = f'case $1 in dumpxml) cat {sample} ;; define) grep -q "<domain" "$3" ;; *) exit 1 ;; esac\n'
    for name, script in (("virtfix", virtfix), ("virsh", virsh)):
        (programs / name).write_text("#!/bin/sh\n" + script)
        (programs / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block[0].line.split("#")[0].strip())
def test_commands_run(block: list[Command], place: Path) -> None:
    """The commands of a block, in the folder of the samples, end with the codes that they say."""
    environment = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment.pop("COLUMNS", None)
    environment["LIBVIRT_DEFAULT_URI"] = "test:///default"
    environment["VIRTFIX_STATE_DIR"] = str(place / "state")
    for command in block:
        done = subprocess.run(
            ["sh", "-c", command.line],
            cwd=place / "samples",
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == command.code, command.line + "\n" + done.stderr
        assert "Traceback" not in done.stderr
        real = iter(done.stdout.splitlines())
        for line in command.output:
            assert line in {"...", ""} or line in real, f"not in the output, or not there: {line}"


def test_there_are_commands() -> None:
    """The test above must not pass by finding none."""
    lines = [command.line for block in blocks() for command in block]
    assert len(lines) >= 15
    for word in ("plan", "apply", "topology", "explain"):
        assert any(f"virtfix {word}" in line for line in lines)


def test_every_option_is_in_the_readme_or_its_help() -> None:
    """Options that the README names exist."""
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README.read_text(encoding="utf-8")))
    others = {"--inactive", "--security-info"}  # virsh's own
    known = set()
    for command in ("plan", "apply", "topology", "verify", "audit", "report"):
        done = subprocess.run(
            [sys.executable, "-m", "fixer.cli.app", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        known |= set(re.findall(r"--[a-z][a-z-]+", done.stdout))
    assert named - known - others == set()
    assert {"--os", "--assume", "--policy", "--strategy", "--hotplug"} <= known


@pytest.mark.parametrize("file", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    """Every relative link of the documents names a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (file.parent / target).exists(), target


@pytest.mark.parametrize("file", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_that_is_named_exists(file: Path) -> None:
    """Every path of the source that a document names is there; NAME stands for any."""
    text = file.read_text(encoding="utf-8")
    for path in set(re.findall(r"`((?:fixer|policies|tests|docs|samples|bench)/[\w./-]+)`", text)):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_the_version_has_its_entry() -> None:
    """CHANGELOG.md has the version of the package, with a date."""
    from fixer import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)
