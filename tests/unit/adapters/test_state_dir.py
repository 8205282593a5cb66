"""Where runs are written down: private, whole, one at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixer.adapters.state_dir import StateDir, state_root
from fixer.errors import VirtfixError

UUID = "2f0b4d5c-9a0e-4b6e-8c11-0d9a3c5e7f10"


@pytest.fixture
def place(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_for_its_owner_only(place: StateDir) -> None:
    with place.create({"command": "apply"}) as run:
        name = run.keep(UUID, b"<domain/>")
        run.write("planned", {"uuid": UUID})
    for folder, _, files in os.walk(place.root):
        assert mode(Path(folder)) == 0o700
        for file in files:
            assert mode(Path(folder) / file) == 0o600
    assert run.backup(name) == b"<domain/>"
    assert b'"planned"' in run.journal()
    assert run.asked["command"] == "apply"


def test_another_definition_of_a_domain_is_kept_beside_the_first(place: StateDir) -> None:
    with place.create({}) as run:
        names = [run.keep(UUID, data) for data in (b"<a/>", b"<a/>", b"<b/>")]
    assert names[0] == names[1] != names[2]
    assert run.backup(names[2]) == b"<b/>"


def test_runs_are_found_by_the_start_of_their_id(place: StateDir) -> None:
    with pytest.raises(VirtfixError, match="there is no run"):
        place.find("2026")
    with place.create({}) as run:
        pass
    assert place.find(run.id[:12]).id == run.id
    for wrong in ("", "../..", "x"):
        with pytest.raises(VirtfixError, match="no run"):
            place.find(wrong)


def test_a_second_run_is_told_who_holds_the_lock(place: StateDir) -> None:
    with place.locked("virtfix apply"):
        with pytest.raises(VirtfixError) as error, StateDir(place.root).locked("virtfix rollback"):
            pass
        assert f"virtfix apply, process {os.getpid()}, since" in str(error.value)
        assert "--wait SECONDS" in str(error.value)
    with place.locked("again"):
        pass


def test_a_second_run_may_wait(place: StateDir) -> None:
    script = (
        "import sys, time; from pathlib import Path; from fixer.adapters.state_dir import StateDir\n"
        "with StateDir(Path(sys.argv[1])).locked('first'): print('held', flush=True); time.sleep(1)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(place.root)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    start = time.monotonic()
    with place.locked("second", wait=30):
        assert time.monotonic() - start > 0.2
    holder.wait()
    holder.stdout.close()


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for use in (lambda p: p.create({}), lambda p: p.locked("x").__enter__()):
        with pytest.raises(VirtfixError) as error:
            use(StateDir(tmp_path / "file" / "state"))
        assert error.value.code == "file.write"


def test_the_place_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTFIX_STATE_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_root() == Path("/var/lib/virtfix")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/.state")
    assert state_root() == Path("/home/me/.state/virtfix")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_root() == Path.home() / ".local/state/virtfix"
    monkeypatch.setenv("VIRTFIX_STATE_DIR", "/x")
    assert state_root() == Path("/x")
    assert state_root("/y") == Path("/y")
