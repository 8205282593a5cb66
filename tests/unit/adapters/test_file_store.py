"""Files: read with bounds, replaced whole, listed in order."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from fixer.adapters import file_store
from fixer.domain.document import MAX_BYTES
from fixer.errors import VirtfixError


def code(error: pytest.ExceptionInfo[VirtfixError]) -> str:
    return error.value.code


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- Reading ------------------------------------------------------------------------------------------


def test_reading_gives_the_bytes(tmp_path: Path) -> None:
    """Whatever they are."""
    (tmp_path / "a").write_bytes(b"\0\xff\r\n")
    assert file_store.read_input(str(tmp_path / "a")) == b"\0\xff\r\n"


def test_reading_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` is standard input, read no further than one byte over the limit."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * (MAX_BYTES + 500))))
    assert len(file_store.read_input("-")) == MAX_BYTES + 1


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1, 200 << 20])
def test_reading_is_bounded(tmp_path: Path, size: int) -> None:
    """A huge file costs no memory: what comes back is at most one byte over the limit."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)
    assert len(file_store.read_input(str(tmp_path / "big"))) == min(size, MAX_BYTES + 1)


def test_reading_a_pipe(tmp_path: Path) -> None:
    """A named pipe, as in <(virsh dumpxml vm), has no size and comes in parts."""
    reader, writer = os.pipe()
    os.write(writer, b"one ")
    os.write(writer, b"two")
    os.close(writer)
    try:
        assert file_store.read_input(f"/dev/fd/{reader}") == b"one two"
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("nosuch", "file.read"), (".", "file.directory"), ("file/below", "file.read")],
)
def test_reading_what_can_not_be_read(tmp_path: Path, path: str, expected: str) -> None:
    """A user's mistake that names the file, never a traceback."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(VirtfixError) as error:
        file_store.read_input(str(tmp_path / path))
    assert code(error) == expected
    assert error.value.where


# --- Listing ------------------------------------------------------------------------------------------


def test_expand(tmp_path: Path) -> None:
    """Arguments keep their order, directories give their *.xml by name, missing files stay for the reader."""
    for name in ("b.xml", "a.xml", "c.txt", "sub/d.xml", "sub.xml/e.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    root = str(tmp_path)
    listed = file_store.expand(["-", "nosuch", root, f"{root}/c.txt"], recursive=False)
    assert list(listed) == ["-", "nosuch", f"{root}/a.xml", f"{root}/b.xml", f"{root}/c.txt"]
    deep = list(file_store.expand([root + "/"], recursive=True))
    assert deep == [f"{root}/{name}" for name in ("a.xml", "b.xml", "sub/d.xml", "sub.xml/e.xml")]


def test_expand_of_nothing(tmp_path: Path) -> None:
    """A directory without *.xml is a mistake."""
    with pytest.raises(VirtfixError) as error:
        list(file_store.expand([str(tmp_path)], recursive=True))
    assert code(error) == "file.none"


def test_expand_ends_in_a_ring_of_links(tmp_path: Path) -> None:
    """A link to a directory above does not send it round for ever."""
    (tmp_path / "a.xml").write_text("")
    (tmp_path / "up").symlink_to(tmp_path)
    assert list(file_store.expand([str(tmp_path)], recursive=True)) == [f"{tmp_path}/a.xml"]


def test_expand_takes_links_to_files_and_the_link_that_is_named(tmp_path: Path) -> None:
    """Links to directories are not followed below a directory, but as an argument they are."""
    real, root = tmp_path / "real", tmp_path / "root"
    real.mkdir()
    root.mkdir()
    (real / "a.xml").write_text("")
    (root / "b.xml").symlink_to(real / "a.xml")
    (root / "sub").symlink_to(real)
    assert list(file_store.expand([str(root)], recursive=True)) == [f"{root}/b.xml"]
    assert list(file_store.expand([f"{root}/sub"], recursive=True)) == [f"{root}/sub/a.xml"]


# --- Writing ------------------------------------------------------------------------------------------


def test_replace_needs_what_was_expected(tmp_path: Path) -> None:
    """Another content than was planned for is left alone."""
    file = tmp_path / "a"
    file.write_bytes(b"new")
    with pytest.raises(VirtfixError) as error:
        file_store.replace(str(file), b"result", expected=b"old")
    assert code(error) == "file.changed"
    assert file.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_replace_is_one_step(tmp_path: Path) -> None:
    """Whoever has the old file open goes on reading the old bytes."""
    file = tmp_path / "a"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        file_store.replace(str(file), b"new", expected=b"old")
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_replace_follows_links(tmp_path: Path) -> None:
    """The link stays; file and backup lie where the target is."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real/a")
    file_store.replace(str(tmp_path / "link"), b"new", expected=b"old", backup_suffix=".bak")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["a", "a.bak"]
    assert (tmp_path / "real" / "a.bak").read_bytes() == b"old"


def test_a_backup_is_never_overwritten(tmp_path: Path) -> None:
    """Not even through a dangling link in its place."""
    file = tmp_path / "a"
    for kind in ("file", "link"):
        file.write_bytes(b"old")
        backup = tmp_path / f"a.{kind}"
        backup.write_bytes(b"older") if kind == "file" else backup.symlink_to("nosuch")
        with pytest.raises(VirtfixError) as error:
            file_store.replace(str(file), b"new", expected=b"old", backup_suffix=f".{kind}")
        assert code(error) == "file.exists"
        assert file.read_bytes() == b"old"
    assert names(tmp_path) == ["a", "a.file", "a.link"]


def test_extended_attributes_come_along(tmp_path: Path) -> None:
    """As mode and owner do, where the file system has them."""
    file = tmp_path / "a"
    file.write_bytes(b"old")
    try:
        os.setxattr(file, "user.note", b"mine")
    except OSError:
        pytest.skip("no extended attributes here")
    file_store.replace(str(file), b"new", expected=b"old")
    assert os.getxattr(file, "user.note") == b"mine"


def test_create_keeps_other_content(tmp_path: Path) -> None:
    """Unless forced; the same content is fine."""
    file = tmp_path / "a"
    file_store.create(str(file), b"one", like=None, force=False)
    file_store.create(str(file), b"one", like=None, force=False)
    with pytest.raises(VirtfixError) as error:
        file_store.create(str(file), b"two", like=None, force=False)
    assert code(error) == "file.exists"
    file_store.create(str(file), b"two", like=None, force=True)
    assert file.read_bytes() == b"two"
    assert names(tmp_path) == ["a"]


def test_a_new_file_has_the_mode_of_its_model_or_of_the_umask(tmp_path: Path) -> None:
    """Secrets that a domain XML may hold stay as guarded as they were."""
    model = tmp_path / "model"
    model.write_bytes(b"")
    model.chmod(0o600)
    old = os.umask(0o027)
    try:
        file_store.create(str(tmp_path / "like"), b"", like=str(model), force=False)
        file_store.create(str(tmp_path / "free"), b"", like=None, force=False)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "like").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "free").stat().st_mode) == 0o640


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_a_failure_leaves_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The temporary file goes, the old one stays, and the user is told why."""
    file = tmp_path / "a"
    file.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(VirtfixError) as error:
        file_store.replace(str(file), b"new", expected=b"old")
    assert code(error) == "file.write"
    assert "input/output error" in str(error.value)
    assert (names(tmp_path), file.read_bytes()) == (["a"], b"old")


def test_json_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """An exception inside leaves the older file; the array is closed; no rest is left."""
    place = str(tmp_path / "plan.json")
    with file_store.JsonFile(place, array=True) as file:
        file.add(b"1")
        file.add(b"2")
        assert names(tmp_path) != ["plan.json"]
    assert Path(place).read_bytes() == b"[\n1,\n2\n]\n"
    with pytest.raises(RuntimeError), file_store.JsonFile(place, array=False) as file:
        file.add(b"3")
        raise RuntimeError
    assert Path(place).read_bytes() == b"[\n1,\n2\n]\n"
    with file_store.JsonFile(place, array=True):
        pass
    assert Path(place).read_bytes().split() == [b"[", b"]"]
    assert names(tmp_path) == ["plan.json"]


# --- Evidence ---------------------------------------------------------------------------------------


def test_evidence_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a refused plan leaves may hold passwords: only the user can read it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = Path(file_store.save_evidence({"why.txt": b"because"}))
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "why.txt").read_bytes() == b"because"
