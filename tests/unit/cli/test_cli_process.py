"""What only a real process shows: terminals, broken pipes, worker processes, hash seeds."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_runner import SAMPLES, clean

if TYPE_CHECKING:
    from cli_runner import Run

PENDING, RIGHT = SAMPLES / "rhel6-q35-ovmf.xml", SAMPLES / "already-right.xml"
VIRTFIX = [sys.executable, "-m", "fixer.cli.app"]


# --- Many files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of 600 domains: every tenth is right, every 97th is broken."""
    folder = tmp_path_factory.mktemp("many")
    pending, right = PENDING.read_text(), RIGHT.read_text()
    for number in range(600):
        text = right if number % 10 == 0 else pending
        (folder / f"vm{number:04}.xml").write_text("<domain>" if number % 97 == 0 else text)
    return folder


def test_a_pool_keeps_the_order(process: Run, many: Path) -> None:
    """600 files by two processes: one line each, in order, and one summary line."""
    done = process("plan", many, "--jobs", "2")
    assert done.code == 1
    shown = [line.split()[1] for line in done.text.splitlines()]
    good = [number for number in range(600) if number % 97]
    assert shown == [f"{many}/vm{number:04}.xml" for number in good]
    lines = done.err.splitlines()
    assert lines[-1] == "virtfix: 600 domains: 534 to change, 59 unchanged, 7 failed"
    assert [line.split(":")[1].strip() for line in lines[:-1]] == [
        f"{many}/vm{number:04}.xml" for number in range(0, 600, 97)
    ]


@pytest.mark.parametrize("form", ["text", "diff", "json"])
def test_one_process_or_two_give_the_same(process: Run, many: Path, form: str) -> None:
    """The number of processes changes nothing that is written."""
    one = process("plan", many, "--format", form, "--jobs", "1")
    two = process("plan", many, "--format", form, "--jobs", "2")
    assert one == two
    if form == "json":
        assert len(json.loads(one.text)) == 600


def test_bulk_apply(process: Run, many: Path, tmp_path: Path) -> None:
    """Every good file arrives, whichever process wrote it, and no temporary file is left."""
    out = tmp_path / "out"
    done = process("apply", many, "--output-dir", out, "--jobs", "2")
    assert done.code == 1
    assert sorted(path.name for path in out.iterdir()) == [
        f"vm{number:04}.xml" for number in range(600) if number % 97
    ]
    assert len({path.read_bytes() for path in out.iterdir()}) == 2
    assert len(done.text.splitlines()) == 593


def test_the_hash_seed_changes_nothing(process: Run) -> None:
    """Sets are never the order of anything that is written."""
    for arguments in (
        ("plan", SAMPLES, "--format", "json", "--explain", "--os", "rhel6"),
        ("plan", SAMPLES, "--os", "rhel6", "--strategy", "override"),
        ("topology", "--after", SAMPLES / "many-disks-q35.xml"),
    ):
        seen = {process(*arguments, PYTHONHASHSEED=seed) for seed in ("0", "1", "12345")}
        assert len(seen) == 1


# --- Terminals ----------------------------------------------------------------------------------------


def on_a_terminal(*arguments: object, columns: int = 80, **environment: str) -> str:
    """Run with standard output and error on a terminal; return what it shows, line ends as in a file."""
    import fcntl
    import struct
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [*VIRTFIX, *map(str, arguments)]
    env = clean({"TERM": "xterm", **environment})
    running = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=env)
    os.close(child)
    shown = b""
    while True:
        try:
            data = os.read(parent, 65536)
        except OSError:  # Linux's way to say that the other side has closed
            break
        if not data:
            break
        shown += data
    os.close(parent)
    running.wait()
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "command", [("plan",), ("plan", "--format", "diff"), ("topology",), ("topology", "--after")]
)
def test_colour_on_a_terminal(command: tuple[str, ...]) -> None:
    """Colours come by themselves; NO_COLOR, --color never and a dumb terminal turn them off."""
    assert "\x1b[" in on_a_terminal(*command, PENDING)
    assert "\x1b[" not in on_a_terminal(*command, PENDING, NO_COLOR="1")
    assert "\x1b[" not in on_a_terminal(*command, PENDING, "--color", "never")
    assert "\x1b[" not in on_a_terminal(*command, PENDING, TERM="dumb")


def test_a_terminal_shows_no_control_characters(tmp_path: Path) -> None:
    """Not even in the lines of a diff, where a pipe gets the bytes as they are."""
    data = PENDING.read_bytes().replace(
        b"<target dev='vda'", "<!--\u009b2J\u202e--><target dev='vda'".encode()
    )
    (tmp_path / "vm.xml").write_bytes(data.replace(b"\n", b"\r\n"))
    shown = on_a_terminal("plan", "--format", "diff", tmp_path / "vm.xml", NO_COLOR="1")
    assert "\\u009b2J\\u202e" in shown
    assert "\r" not in shown


def test_the_terminal_gives_the_width() -> None:
    """Trees and tables fit the window."""
    shown = on_a_terminal("topology", "--after", PENDING, columns=64, NO_COLOR="1")
    assert max(map(len, shown.splitlines())) <= 64


def test_a_bulk_run_shows_its_progress(many: Path) -> None:
    """On a terminal a bar says how far it is, and goes away; the summary stays."""
    shown = on_a_terminal(
        "apply", many, "--in-place", "--strict", "--strategy", "integrated", "--os", "win10"
    )
    assert "/600" in shown
    assert "600 domains" in shown.splitlines()[-1]


# --- Streams and signals ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "diff", "json"])
def test_a_reader_may_go_away(many: Path, form: str) -> None:
    """``virtfix plan ... | head -1`` ends without a word on standard error about pipes."""
    command = [*VIRTFIX, "plan", str(many), "--format", form, "--jobs", "1"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean())
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.read(10)
    running.stdout.close()
    said = running.stderr.read().decode()
    running.stderr.close()
    assert running.wait() in {1, -signal.SIGPIPE}
    assert "Traceback" not in said
    assert "pipe" not in said.lower()


@pytest.mark.parametrize(
    "command",
    [("plan", PENDING), ("plan", "--format", "diff", PENDING), ("topology", PENDING), ("explain", "VF001")],
    ids=["plan", "diff", "topology", "explain"],
)
def test_standard_output_that_is_full(command: tuple[object, ...]) -> None:
    """A full disk behind ``>`` is an error in one line."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*VIRTFIX, *map(str, command)], stdout=full, stderr=subprocess.PIPE, env=clean(), check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "virtfix: standard output: can not write: no space left on device\n"


def test_an_interrupt_ends_it_in_one_line(many: Path, tmp_path: Path) -> None:
    """Ctrl-C stops all processes, with 130 and without a traceback; files are whole or absent."""
    out = tmp_path / "out"
    command = [*VIRTFIX, "apply", str(many), "--output-dir", str(out), "--jobs", "2"]
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean(), start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not (out.exists() and any(out.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode in {130, 1}, "1: it was faster than the signal"
    assert b"Traceback" not in said
    whole = {path.read_bytes() for path in out.iterdir() if path.suffix == ".xml"}
    assert len(whole) <= 2
    assert [path.name for path in out.iterdir() if path.suffix != ".xml"] == []


# --- Places that can not be used ----------------------------------------------------------------------

TOO_LONG = (
    "/" + "a" * 300
)  # NAME_MAX is 255: asking for it is an error, as asking below a folder of others is


@pytest.mark.parametrize(
    "name", ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "OSINFO_USER_DIR", "XDG_CACHE_HOME"]
)
@pytest.mark.parametrize("command", [("plan", PENDING), ("identify", PENDING), ("policy", "list")])
def test_a_folder_that_can_not_be_looked_at_is_none(name: str, command: tuple[object, ...]) -> None:
    done = subprocess.run(
        [*VIRTFIX, *map(str, command)],
        env=clean() | {name: TOO_LONG},
        cwd=SAMPLES.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command", [("apply", "x.xml", "--output-dir", "o"), ("history", "--state-dir", "s")]
)
def test_a_folder_that_was_removed(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The process stands in it: one line."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD"; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *VIRTFIX, *command],
        cwd=gone,
        env=clean() | {"PYTHONPATH": str(SAMPLES.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no such file or directory" in done.stderr


def test_the_results_of_a_report_that_have_no_possible_name(process: Run) -> None:
    done = process("report", TOO_LONG)
    assert (done.code, "file name too long" in done.error_line()) == (1, True)
