"""Exit codes: what a script may rely on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_runner import SAMPLES

if TYPE_CHECKING:
    from cli_runner import Run

MODERN_ONLY = "<input type='tablet' bus='virtio'/>"


@pytest.fixture
def unresolved(samples: Path) -> Path:
    """Return a domain with a device that no remedy cures."""
    file = samples / "already-right.xml"
    file.write_text(file.read_text().replace("</devices>", f"  {MODERN_ONLY}\n  </devices>"))
    return file


@pytest.mark.parametrize(
    ("sample", "options", "code"),
    [
        pytest.param("already-right.xml", (), 0, id="nothing to do"),
        pytest.param("rhel6-q35-ovmf.xml", (), 0, id="changes, not asked about"),
        pytest.param("already-right.xml", ("--detailed-exitcode",), 0, id="nothing to do, asked"),
        pytest.param("rhel6-q35-ovmf.xml", ("--detailed-exitcode",), 3, id="changes pending"),
        pytest.param("handwritten-noaddr.xml", (), 1, id="a guest that nobody names"),
        pytest.param("handwritten-noaddr.xml", ("--detailed-exitcode",), 1, id="an error outweighs"),
        pytest.param("handwritten-noaddr.xml", ("--assume", "modern"), 0, id="taken for modern"),
        pytest.param(
            "handwritten-noaddr.xml", ("--assume", "legacy", "--detailed-exitcode"), 3, id="taken for legacy"
        ),
        pytest.param("nosuch.xml", (), 1, id="no such file"),
    ],
)
@pytest.mark.parametrize("form", ["text", "diff", "xml", "json"])
def test_plan(
    virtfix: Run, samples: Path, sample: str, options: tuple[str, ...], code: int, form: str
) -> None:
    """The code says what was found, whatever the format."""
    assert virtfix("plan", samples / sample, "--format", form, *options).code == code


@pytest.mark.parametrize("options", [(), ("--detailed-exitcode",)])
def test_plan_with_unresolved_findings(virtfix: Run, unresolved: Path, options: tuple[str, ...]) -> None:
    """4 where something stays unresolved, and only with --detailed-exitcode."""
    assert virtfix("plan", unresolved, *options).code == (4 if options else 0)


def test_of_many_the_worst_counts(virtfix: Run, samples: Path, unresolved: Path) -> None:
    """An error outweighs what is unresolved, which outweighs changes."""
    pending = samples / "rhel6-q35-ovmf.xml"
    ask = ("plan", "--detailed-exitcode")
    assert virtfix(*ask, pending, samples / "i440fx-rhel6.xml").code == 3
    assert virtfix(*ask, pending, unresolved).code == 4
    assert virtfix(*ask, pending, unresolved, samples / "nosuch.xml").code == 1


def test_apply(virtfix: Run, samples: Path, unresolved: Path, tmp_path: Path) -> None:
    """What was pending is done: 0; what is unresolved stays so: 4 if asked; --strict makes it an error."""
    out = ("--output-dir", tmp_path / "out")
    assert virtfix("apply", samples / "rhel6-q35-ovmf.xml", *out, "--detailed-exitcode").code == 0
    assert virtfix("apply", unresolved, *out).code == 0
    assert virtfix("apply", unresolved, *out, "--detailed-exitcode").code == 4
    strict = virtfix("apply", unresolved, "--output-dir", tmp_path / "strict", "--strict")
    assert strict.code == 1
    assert "VF00" in strict.error_line()
    assert list((tmp_path / "strict").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        pytest.param(("plan",), "--domain", id="no file"),
        pytest.param(("plan", "x.xml", "--nope"), "--nope", id="unknown option"),
        pytest.param(("nope",), "nope", id="unknown command"),
        pytest.param(("plan", "x.xml", "--jobs", "-1"), "--jobs", id="negative jobs"),
        pytest.param(("plan", "x.xml", "--jobs", "two"), "--jobs", id="jobs in words"),
        pytest.param(("plan", "x.xml", "--format", "yaml"), "--format", id="unknown format"),
        pytest.param(("plan", "x.xml", "--color", "pink"), "--color", id="unknown colour"),
        pytest.param(("plan", "x.xml", "--strategy", "magic"), "--strategy", id="unknown strategy"),
        pytest.param(("plan", "x.xml", "--assume", "old"), "--assume", id="unknown assumption"),
        pytest.param(("plan", "x.xml", "--hotplug", "floppy"), "--hotplug", id="unknown kind"),
        pytest.param(("policy", "explain", "rhel6.9", "floppy"), "DEVICE", id="unknown kind, of a policy"),
        pytest.param(("plan", "x.xml", "y.xml", "--format", "xml"), "xml", id="two domains as one XML"),
        pytest.param(
            ("apply", str(SAMPLES / "rhel6-q35-ovmf.xml")), "--output-dir", id="apply without a target"
        ),
        pytest.param(("apply", "x.xml", "--in-place", "--output-dir", "o"), "--in-place", id="two targets"),
        pytest.param(
            ("apply", "x.xml", "--output-dir", "o", "--backup-suffix", ".b"),
            "--in-place",
            id="a suffix alone",
        ),
        pytest.param(
            ("apply", "x.xml", "--in-place", "--backup-suffix", "/b"),
            "--backup-suffix",
            id="a path as suffix",
        ),
        pytest.param(
            ("apply", "x.xml", "--in-place", "--backup-suffix", ""),
            "--backup-suffix: is empty",
            id="no suffix",
        ),
        pytest.param(
            ("apply", "x.xml", "--machine", "", "--output-dir", "o"), "--machine: is empty", id="no machine"
        ),
        pytest.param(("plan", "x.xml", "--out", ""), "--out: is empty", id="no name to save to"),
        pytest.param(("audit", "--qtree="), "--qtree: is empty", id="no text to judge"),
        pytest.param(
            ("plan", "x.xml", "--hotplug", "disk", "--hotplug", ""), "--hotplug: is empty", id="one of two"
        ),
        pytest.param(("policy", "list", "--family", ""), "--family: is empty", id="no family"),
        pytest.param(("resume", "x", "--wait", "nan"), "--wait: nan is no number", id="no time"),
        pytest.param(("topology",), "FILE", id="topology of nothing"),
        pytest.param(("topology", "x.xml", "y.xml"), "y.xml", id="topology of two"),
    ],
)
def test_wrong_usage(virtfix: Run, arguments: tuple[str, ...], word: str, tmp_path: Path) -> None:
    """2, with the option named, nothing on standard output and nothing written."""
    done = virtfix(*arguments)
    assert done.code == 2
    assert word in done.err
    assert done.out == b""
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_of_ours_are_one_line(virtfix: Run) -> None:
    """They name the option and what it takes."""
    line = virtfix("plan", "x.xml", "--strategy", "magic").error_line()
    assert line == "virtfix: --strategy: 'magic' is none of integrated, bridge, transitional, override"


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("plan", "-h"), ("apply", "-h"), ("topology", "-h"), ("explain", "-h")],
)
def test_help_and_version(virtfix: Run, arguments: tuple[str, ...]) -> None:
    """0, on standard output, in 80 columns."""
    done = virtfix(*arguments)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.text.splitlines())) <= 80


def test_version_is_the_one_of_the_package(virtfix: Run) -> None:
    """One line for scripts."""
    from fixer import __version__

    assert virtfix("--version").text == f"virtfix {__version__}\n"


def test_the_readme_lists_every_exit_code() -> None:
    """The table of the README has each code of the enum."""
    from fixer.cli.exit_codes import Exit

    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    for member in Exit:
        assert f"\n| {member.value} |" in text


def test_help_says_each_command_whole_at_80_columns(virtfix: Run) -> None:
    text = virtfix("--help", COLUMNS="80").text
    assert "..." not in text.partition("Commands:")[2]
    assert max(map(len, text.splitlines())) <= 80
