"""Where runs are written down: private, whole, one at a time."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fixer.adapters.state_dir import StateDir, _SharedSync, state_root
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


def test_one_sync_serves_all_that_asked_before_it_began() -> None:
    free, entered = threading.Event(), threading.Event()
    syncs: list[None] = []

    def sync() -> None:
        entered.set()
        free.wait(30)
        syncs.append(None)

    shared = _SharedSync(sync)
    asked: list[int] = []

    def ask(number: int) -> None:
        asked.append(number)
        shared()

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    assert entered.wait(30)
    others = [threading.Thread(target=ask, args=(number,)) for number in range(1, 8)]
    for other in others:
        other.start()
    while len(asked) < 8:
        time.sleep(0.001)
    free.set()
    for thread in (first, *others):
        thread.join()
    # One for the first, one for all that came while it was under way; some more where a thread was late.
    assert 2 <= len(syncs) < len(asked)


def test_what_could_not_be_synced_once_is_never_taken_for_written() -> None:
    answers = [OSError(errno.EIO, "lost"), None]

    def sync() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    shared = _SharedSync(sync)
    for _ in range(2):
        with pytest.raises(OSError, match="lost"):
            shared()


def test_a_backup_that_is_found_is_made_sure_of(place: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    with place.create({}) as run:
        run.keep(UUID, b"<a/>")
        monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor)))
        run.keep(UUID, b"<a/>")
    assert len(synced) == 2, "the file and its folder"
