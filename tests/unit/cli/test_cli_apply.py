"""virtfix apply: whole files or nothing, into a directory or in place."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from fixer.cli import apply as command

if TYPE_CHECKING:
    from pathlib import Path

    from cli_runner import Run

PENDING, RIGHT = "rhel6-q35-ovmf.xml", "already-right.xml"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def result(virtfix: Run, file: Path) -> bytes:
    return virtfix("plan", file, "--format", "xml").out


# --- --output-dir -------------------------------------------------------------------------------------


def test_every_input_arrives(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """The directory is made; what needs nothing arrives as the same bytes; the sources stay."""
    sources = sorted(samples.glob("*.xml"))
    before = {file.name: file.read_bytes() for file in sources}
    out = tmp_path / "new" / "out"
    done = virtfix("apply", *sources, "--output-dir", out, "--assume", "legacy")
    assert done.code == 0
    assert files(out) == sorted(before)
    assert {file.name: file.read_bytes() for file in sources} == before
    assert (out / RIGHT).read_bytes() == before[RIGHT]
    assert (out / PENDING).read_bytes() == result(virtfix, samples / PENDING)
    assert done.err == "virtfix: 7 domains: 5 changed, 2 unchanged\n"
    assert f"{samples / PENDING} -> {out / PENDING}: 6 devices changed\n" in done.text


def test_a_failure_does_not_stop_the_others(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """What failed is missing from the directory and named on standard error; the code is 1."""
    done = virtfix("apply", samples, "--output-dir", tmp_path / "out")
    assert done.code == 1
    assert files(tmp_path / "out") == sorted(
        path.name for path in samples.glob("*.xml") if path.name != "handwritten-noaddr.xml"
    )


def test_other_content_is_kept(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """A file that is there and differs is refused without --force; the same bytes are no obstacle."""
    out, place = tmp_path / "out", tmp_path / "out" / PENDING
    out.mkdir()
    place.write_text("mine")
    ask = ("apply", samples / PENDING, "--output-dir", out)
    done = virtfix(*ask)
    assert done.code == 1
    assert done.error_line() == f"virtfix: {place}: exists and differs; remove it, or give --force"
    assert place.read_text() == "mine"
    assert virtfix(*ask, "--force").code == 0
    assert place.read_bytes() == result(virtfix, samples / PENDING)
    assert virtfix(*ask).code == 0
    assert files(out) == [PENDING]


def test_two_inputs_of_one_name_are_refused(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """One would overwrite the other: nothing is written, not even the directory."""
    other = tmp_path / "other"
    other.mkdir()
    (other / PENDING).write_bytes((samples / PENDING).read_bytes())
    done = virtfix(
        "apply", samples / RIGHT, samples / PENDING, other / PENDING, "--output-dir", tmp_path / "o"
    )
    assert done.code == 1
    assert "same file" in done.error_line()
    assert not (tmp_path / "o").exists()


def test_the_directory_of_the_inputs_is_refused(virtfix: Run, samples: Path) -> None:
    """--in-place is for that; a way round through .. or a link does not help."""
    before = (samples / PENDING).read_bytes()
    for out in (samples, samples / ".." / "samples"):
        done = virtfix("apply", samples / PENDING, "--output-dir", out, "--force")
        assert done.code == 1
        assert "--in-place" in done.error_line()
    assert (samples / PENDING).read_bytes() == before


def test_a_directory_that_can_not_be_made(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """A file in its place is told in one line."""
    (tmp_path / "out").write_text("a file")
    done = virtfix("apply", samples / PENDING, "--output-dir", tmp_path / "out")
    assert done.code == 1
    assert str(tmp_path / "out") in done.error_line()


def test_standard_input_has_no_place(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """apply writes files; the hint says how to do it with plan."""
    done = virtfix("apply", "-", "--output-dir", tmp_path / "out", stdin=(samples / PENDING).read_bytes())
    assert done.code == 1
    assert "plan --format xml" in done.error_line()


def test_modes_come_along(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """A domain XML that others must not read stays so in the directory."""
    (samples / PENDING).chmod(0o640)
    virtfix("apply", samples / PENDING, "--output-dir", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / PENDING).stat().st_mode) == 0o640


# --- --in-place ---------------------------------------------------------------------------------------


def test_in_place(virtfix: Run, samples: Path) -> None:
    """Files are replaced whole; what needs nothing is not touched; a second run changes nothing."""
    expected = result(virtfix, samples / PENDING)
    right = (samples / RIGHT).stat().st_ino
    names = files(samples)
    done = virtfix("apply", samples / PENDING, samples / RIGHT, "--in-place")
    assert (done.code, done.err) == (0, "virtfix: 2 domains: 1 changed, 1 unchanged\n")
    assert (samples / PENDING).read_bytes() == expected
    assert (samples / RIGHT).stat().st_ino == right
    inode = (samples / PENDING).stat().st_ino
    assert (
        virtfix("apply", samples / PENDING, "--in-place").text == f"{samples / PENDING}: nothing to change\n"
    )
    assert (samples / PENDING).stat().st_ino == inode
    assert files(samples) == names


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_mode_is_kept(virtfix: Run, samples: Path, mode: int) -> None:
    """Also where the umask would say otherwise."""
    file = samples / PENDING
    file.chmod(mode)
    assert virtfix("apply", file, "--in-place", "--backup-suffix", ".old").code == 0
    for path in (file, file.with_name(PENDING + ".old")):
        assert stat.S_IMODE(path.stat().st_mode) == mode


@ROOT_ONLY
def test_owner_is_kept(virtfix: Run, samples: Path) -> None:
    """Root rewrites somebody else's file, and it stays theirs."""
    file = samples / PENDING
    os.chown(file, 1234, 4321)
    virtfix("apply", file, "--in-place")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 4321)


def test_a_symbolic_link_stays_one(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """Its target changes, where it lies."""
    link = tmp_path / "vm.xml"
    link.symlink_to(samples / PENDING)
    expected = result(virtfix, samples / PENDING)
    assert virtfix("apply", link, "--in-place").code == 0
    assert link.is_symlink()
    assert (samples / PENDING).read_bytes() == expected


def test_a_file_and_a_link_to_it_are_refused(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """They are one file, and it would be written twice."""
    link = tmp_path / "vm.xml"
    link.symlink_to(samples / PENDING)
    done = virtfix("apply", samples / PENDING, link, "--in-place")
    assert done.code == 1
    assert "same file" in done.error_line()


def test_backup(virtfix: Run, samples: Path) -> None:
    """The old bytes are kept under the suffix; an older backup is never overwritten."""
    file, before = samples / PENDING, (samples / PENDING).read_bytes()
    assert virtfix("apply", file, "--in-place", "--backup-suffix", ".orig").code == 0
    backup = samples / (PENDING + ".orig")
    assert backup.read_bytes() == before
    file.write_bytes(before)
    done = virtfix("apply", file, "--in-place", "--backup-suffix", ".orig")
    assert done.code == 1
    assert "exists already" in done.error_line()
    assert file.read_bytes() == before


def test_no_backup_of_what_stays(virtfix: Run, samples: Path) -> None:
    """A domain that needs nothing gets no backup."""
    names = files(samples)
    virtfix("apply", samples / RIGHT, "--in-place", "--backup-suffix", ".orig")
    assert files(samples) == names


def test_a_file_that_changed_meanwhile_is_refused(
    virtfix: Run, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planned is no longer what is there: nothing is written."""
    file = samples / PENDING
    plan_source = command.plan_source

    def plan_and_change(path: str, *asked: object) -> object:
        made = plan_source(path, *asked)
        file.write_bytes(file.read_bytes() + b"<!-- somebody else -->")
        return made

    monkeypatch.setattr(command, "plan_source", plan_and_change)
    done = virtfix("apply", file, "--in-place", "--backup-suffix", ".orig")
    assert done.code == 1
    assert done.error_line() == f"virtfix: {file}: changed since it was planned; plan it again"
    assert file.read_bytes().endswith(b"<!-- somebody else -->")
    assert not file.with_name(PENDING + ".orig").exists()


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_nothing_is_written_on_error(
    virtfix: Run, samples: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A full disk or a failing rename leaves the old file and no rest of a new one."""
    file, before, names = samples / PENDING, (samples / PENDING).read_bytes(), files(samples)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    done = virtfix("apply", file, "--in-place")
    assert done.code == 1
    assert done.error_line() == f"virtfix: {file}: can not write: no space left on device; free some space"
    assert file.read_bytes() == before
    assert files(samples) == names


# --- What both share ----------------------------------------------------------------------------------


def test_strict(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """Unresolved findings do not stop the rest of a rewrite, unless --strict is given."""
    file = samples / PENDING
    file.write_text(file.read_text().replace("</devices>", "<input type='tablet' bus='virtio'/></devices>"))
    before = file.read_bytes()
    strict = virtfix("apply", file, "--in-place", "--strict")
    assert strict.code == 1
    assert "1 unresolved, first VF00" in strict.error_line()
    assert file.read_bytes() == before
    done = virtfix("apply", file, "--in-place")
    assert done.code == 0
    assert done.err.startswith(f"virtfix: {file}: VF00")
    assert file.read_bytes() != before


def test_names_can_not_move_the_cursor(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """File names are escaped on both streams."""
    folder = tmp_path / "a\x1b[2J\nb"
    folder.mkdir()
    for name in (PENDING, "handwritten-noaddr.xml"):
        (folder / f"\x1b]0;{name}").write_bytes((samples / name).read_bytes())
    targets = sorted(folder.iterdir())
    for arguments in (("plan",), ("plan", "--format", "diff"), ("apply", "--in-place")):
        done = virtfix(*arguments, *targets)
        assert b"\x1b" not in done.out
        assert "\x1b" not in done.err
        assert "\\u001b]0;handwritten" in done.err
        assert len(done.err.splitlines()) == 2
