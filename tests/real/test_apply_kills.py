"""Redefining many domains while processes are killed, disks are full and others want to do the same.

Each virtfix is a process on a libvirt driver of its own, opened on one root after the other. VIRTFIX_KILLS says how
often one is killed, VIRTFIX_SEED when, VIRTFIX_DOMAINS how many domains it has.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

libvirt = pytest.importorskip("libvirt")
redefining = pytest.importorskip("redefining")

from redefining import PASSWORD, Fleet, ended, guarded_folder, kill, wait_until  # noqa: E402

from fixer.adapters.state_dir import Run, StateDir  # noqa: E402
from fixer.errors import VirtfixError  # noqa: E402
from fixer.execution.journal import read_events  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("kills")]

KILLS = int(os.environ.get("VIRTFIX_KILLS", "12"))
SEED = int(os.environ.get("VIRTFIX_SEED", "20240229"))
DOMAINS = int(os.environ.get("VIRTFIX_DOMAINS", "42"))


class Ground(NamedTuple):
    """A fleet, and what its domains are before and after a whole run; how long apply and rollback work."""

    fleet: Fleet
    folder: Path
    old: dict[str, str]
    new: dict[str, str]
    seconds: dict[str, float]

    def check(self) -> dict[str, str]:
        """Return what there is, having checked that each domain is whole: its old self or its new one."""
        now = self.fleet.dump()
        assert now.keys() == self.old.keys(), "none is lost, none appeared"
        wrong = [name for name, xml in now.items() if xml not in (self.old[name], self.new[name])]
        assert wrong == []
        return now

    def changing(self) -> dict[str, str]:
        """Return the old XML of the domains that are to change."""
        return {name: xml for name, xml in self.old.items() if xml != self.new[name]}

    def is_old(self) -> bool:
        return self.fleet.dump() == self.old


@pytest.fixture(scope="module")
def made() -> Iterator[Ground]:
    if os.geteuid() != 0 or not Path(redefining.EMULATOR).exists():
        reason = "qemu:///embed needs root and QEMU"
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(reason)
    with guarded_folder() as folder:
        fleet = Fleet(folder, "fleet", DOMAINS)
        old = fleet.dump()
        seconds = {}
        process = fleet.start("apply", "--all", "--yes")
        seconds["apply"], applied = timed(process, fleet, 0)
        assert applied.code == 0, applied
        new = fleet.dump()
        process = fleet.start("rollback", applied.run, "--yes")
        seconds["rollback"], undone = timed(process, fleet, 1)
        assert undone.code == 0, undone
        assert sum(old[name] != new[name] for name in old) > DOMAINS / 2
        yield Ground(fleet, folder, old, new, seconds)


def timed(process: subprocess.Popen[str], fleet: Fleet, runs: int) -> tuple[float, redefining.Done]:
    """Wait for a process; return how long it went on after its run had begun."""
    wait_until(lambda: len(fleet.runs()) > runs, process)
    start = time.monotonic()
    done = ended(process)
    return time.monotonic() - start, done


@pytest.fixture
def ground(made: Ground) -> Ground:
    """The fleet with all domains as they were, also after a test that failed, and no runs."""
    kept, there = made.folder / "kept", made.fleet.root / "etc" / "qemu"
    if not kept.exists():
        shutil.copytree(there, kept)
    shutil.rmtree(there)
    shutil.copytree(kept, there)
    shutil.rmtree(made.fleet.state, ignore_errors=True)
    return made


def killed(process: subprocess.Popen[str], ground: Ground, what: str, chance: random.Random) -> str:
    """Kill a process at a moment of its work; return the run that it began, '' for none."""
    before = set(ground.fleet.runs())
    if chance.random() < 0.9 and wait_until(lambda: set(ground.fleet.runs()) - before, process):
        time.sleep(chance.uniform(0, ground.seconds[what]))
    else:
        time.sleep(chance.uniform(0, 0.5))
    kill(process)
    return next(iter(set(ground.fleet.runs()) - before), "")


@pytest.mark.parametrize("cycle", range((KILLS + 1) // 2))
def test_whatever_is_killed_each_domain_is_its_old_or_its_new_self(ground: Ground, cycle: int) -> None:
    """Kill apply: resume makes all new. Kill its rollback: the next rollback gives back every byte."""
    chance = random.Random(SEED + cycle)
    fleet = ground.fleet
    run = killed(fleet.start("apply", "--all", "--yes"), ground, "apply", chance)
    ground.check()
    begun = run and (fleet.state / "runs" / run / "run.json").exists()
    done = fleet.virtfix("resume", run) if begun else fleet.virtfix("apply", "--all", "--yes")
    assert done.code == 0, done
    assert ground.check() == ground.new
    assert fleet.virtfix("history").code == 0, "a run that was hardly begun is no hindrance"

    run = run if begun else done.run
    killed(fleet.start("rollback", run, "--yes"), ground, "rollback", chance)
    ground.check()
    done = fleet.virtfix("rollback", run, "--yes")
    assert done.code == 0 or "there is nothing to put back" in done.err, done
    assert ground.is_old()
    told = json.loads(fleet.virtfix("history", "--run", run, "--format", "json").out)["domains"]
    assert {one["name"]: Path(one["backup"]).read_text() for one in told} == ground.changing()


def test_a_cut_off_run_can_be_undone_without_being_finished(ground: Ground) -> None:
    """Rollback after a kill needs no resume; what the run had not begun is left alone."""
    fleet = ground.fleet
    chance = random.Random(SEED)
    process = fleet.start("apply", "--all", "--yes")
    assert wait_until(lambda: defined(fleet) > 3, process)
    time.sleep(chance.uniform(0, 0.05))
    kill(process)
    now = ground.check()
    assert now != ground.old
    (run,) = fleet.runs()
    done = fleet.virtfix("rollback", run, "--yes")
    assert done.code == 0, done
    assert ground.is_old()


def test_killed_again_and_again_it_comes_to_an_end(ground: Ground) -> None:
    """The resume is killed too, three times; the fourth ends with all domains new."""
    fleet = ground.fleet
    process = fleet.start("apply", "--all", "--yes")
    assert wait_until(lambda: defined(fleet) > 1, process)
    kill(process)
    (run,) = fleet.runs()
    for _ in range(3):
        ground.check()
        before = defined(fleet)
        process = fleet.start("resume", run)
        wait_until(lambda floor=before: defined(fleet) > floor + 2, process)
        kill(process)
    done = fleet.virtfix("resume", run)
    assert done.code == 0, done
    assert ground.check() == ground.new
    assert PASSWORD not in (fleet.state / "runs" / run / "journal.jsonl").read_text()
    assert fleet.virtfix("rollback", run, "--yes").code == 0
    assert ground.is_old()


def test_interrupted_it_says_how_to_go_on(ground: Ground) -> None:
    """Ctrl-C: what is under way is finished, the command that goes on is told, and it does."""
    fleet = ground.fleet
    for _ in range(10):  # a run of half a second can be over before the signal comes
        before = defined(fleet)
        process = fleet.start("apply", "--all", "--yes")
        assert wait_until(lambda before=before: defined(fleet) > before, process)
        process.send_signal(signal.SIGINT)
        done = ended(process)
        ground.check()
        run = fleet.runs()[-1]
        if done.code:
            break
        assert fleet.virtfix("rollback", run, "--yes").code == 0
    assert done.code == 130
    assert f"virtfix resume {run} goes on" in done.err
    assert "Traceback" not in done.err
    events = [
        event["event"] for event in read_events((fleet.state / "runs" / run / "journal.jsonl").read_bytes())
    ]
    assert events.count("planned") == events.count("defined"), "nothing was left half done"
    assert fleet.virtfix("resume", run).code == 0
    assert ground.check() == ground.new
    assert fleet.virtfix("rollback", run, "--yes").code == 0
    assert ground.is_old()


def test_a_reader_that_goes_away_stops_nothing_half_way(ground: Ground) -> None:
    """As with | head: domains are whole, and no error is told of a file that has none."""
    fleet = ground.fleet
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = fleet.virtfix("apply", "--all", "--yes", "--jsonl", stdout=writing)
    finally:
        os.close(writing)
    ground.check()
    assert "Traceback" not in done.err
    assert "/lock" not in done.err, "nothing is wrong with the lock"
    (run,) = fleet.runs()
    assert f"virtfix resume {run}" in done.err
    assert fleet.virtfix("resume", run).code == 0
    assert ground.check() == ground.new
    assert fleet.virtfix("rollback", run, "--yes").code == 0
    assert ground.is_old()


def test_a_run_that_ended_at_its_first_step_is_no_hindrance(ground: Ground) -> None:
    """Killed between the folder and what is written in it: it is a run that changed nothing."""
    fleet = ground.fleet
    empty = fleet.state / "runs" / "20260101T000000Z-0000"
    (empty / "backup").mkdir(parents=True)
    done = fleet.virtfix("apply", "--domain", "vm000", "--yes")
    assert done.code == 0, done
    for command in (("history",), ("history", "--format", "json"), ("status", "--all")):
        told = fleet.virtfix(*command)
        assert told.code == 0, told
    told = fleet.virtfix("resume", empty.name)
    assert "Traceback" not in told.err, told
    assert fleet.virtfix("rollback", "--domain", "vm000", "--yes").code == 0
    assert ground.is_old()


def test_runs_of_one_second_keep_their_order(tmp_path: Path) -> None:
    """The latest change of a domain is undone first, also where a script made several at once."""
    state = StateDir(tmp_path / "state")
    made = [state.create({"command": "apply"}).id for _ in range(12)]
    assert state.runs() == made


def defined(fleet: Fleet) -> int:
    """Return how many domains the latest run has redefined so far."""
    return sum(
        path.read_bytes().count(b'"event": "defined"') for path in fleet.state.glob("runs/*/journal.jsonl")
    )


# --- two at once --------------------------------------------------------------------------------------


def test_a_second_run_says_who_is_at_work_or_waits(ground: Ground) -> None:
    """One lock for all connections of a machine: the other run's command and process are told."""
    first = ground.fleet
    second = Fleet(ground.folder, "second", 3, like=first)
    before = second.dump()
    process = first.start("apply", "--all", "--yes")
    assert wait_until(lambda: defined(first) > 0, process)
    process.send_signal(signal.SIGSTOP)
    try:
        done = second.virtfix("apply", "--all", "--yes", state=first.state)
        assert (done.code, done.out) == (1, "")
        assert f"another run is changing domains: virtfix apply, process {process.pid}, since 2" in done.err
        assert "--wait SECONDS" in done.err
        done = second.virtfix("rollback", first.runs()[0], "--yes", "--wait", "0.3", state=first.state)
        assert done.code == 1
        assert f"process {process.pid}" in done.err
        assert second.dump() == before

        waiting = second.start("apply", "--all", "--yes", "--wait", "60", state=first.state)
        time.sleep(1.5)
        assert waiting.poll() is None
    finally:
        process.send_signal(signal.SIGCONT)
    done, other = ended(process), ended(waiting)
    assert (done.code, other.code) == (0, 0), (done, other)
    assert ground.check() == ground.new
    assert second.dump() != before
    assert first.virtfix("rollback", done.run, "--yes").code == 0
    assert ground.is_old()


def test_the_lock_of_a_killed_run_is_free(ground: Ground) -> None:
    """The kernel drops it with the process: nobody has to remove a file by hand."""
    fleet = ground.fleet
    process = fleet.start("apply", "--all", "--yes")
    assert wait_until(lambda: defined(fleet) > 0, process)
    kill(process)
    (run,) = fleet.runs()
    assert fleet.virtfix("rollback", run, "--yes").code == 0
    assert ground.is_old()


# --- no room, no right --------------------------------------------------------------------------------


@pytest.fixture
def small(ground: Ground) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = ground.folder / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=False)
        place.rmdir()


def fill(place: Path, leaving: int) -> Path:
    """Fill a file system up to so many bytes."""
    ballast = place / "ballast"
    free = os.statvfs(place)
    ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leaving)))
    return ballast


def test_on_a_full_disk_nothing_is_changed(ground: Ground, small: Path) -> None:
    """One clear line; the run that could not be written down is no hindrance later on."""
    state = small / "state"
    state.mkdir(mode=0o700)
    ballast = fill(small, 0)
    done = ground.fleet.virtfix("apply", "--all", "--yes", state=state)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
    assert "no space left" in done.err.lower()
    assert ground.is_old()
    for command in (("history",), ("status", "--all")):
        done = ground.fleet.virtfix(*command, state=state)
        assert done.code == 0, done
    ballast.unlink()
    done = ground.fleet.virtfix("apply", "--domain", "vm000", "--yes", state=state)
    assert done.code == 0, done
    assert ground.fleet.virtfix("rollback", "--domain", "vm000", "--yes", state=state).code == 0
    assert ground.is_old()


def test_a_disk_that_gets_full_stops_what_can_not_be_written_down(ground: Ground, small: Path) -> None:
    """What was done is told and can be undone; the rest is as it was; with room again, resume ends it."""
    state = small / "state"
    state.mkdir(mode=0o700)
    ballast = fill(small, 100 * 1024)
    done = ground.fleet.virtfix("apply", "--all", "--yes", "--format", "json", state=state)
    assert done.code == 1
    now = ground.check()
    told = {one["name"]: one for one in json.loads(done.out)}
    assert {one["status"] for one in told.values()} >= {"changed", "failed"}
    for name, one in told.items():
        if one["status"] == "changed":
            assert now[name] == ground.new[name]
        if one["status"] == "failed":
            assert "no space left" in one["reason"].lower()
    ballast.unlink()
    subprocess.run(["mount", "-o", f"remount,size={4 + DOMAINS // 20}m", str(small)], check=True)
    resumed = ground.fleet.virtfix("resume", done.run, state=state)
    assert resumed.code == 0, resumed
    assert ground.check() == ground.new
    assert ground.fleet.virtfix("rollback", done.run, "--yes", state=state).code == 0
    assert ground.is_old()


def test_a_line_that_did_not_fit_swallows_none_that_does(ground: Ground, small: Path) -> None:
    """Threads share a journal: while one fails for want of room, room may come for the next."""
    folder = small / "run"
    (folder / "backup").mkdir(parents=True)
    with Run(folder) as journal:
        ballast = fill(small, 0)
        with pytest.raises(VirtfixError, match=r"(?i)no space left"):
            while True:
                journal.write("told", {"name": "x" * 700})
        ballast.unlink()
        journal.write("told", {"name": "fits"})
    names = [event["name"] for event in read_events((folder / "journal.jsonl").read_bytes())]
    assert names[-1:] == ["fits"]


def test_where_files_may_not_grow_nothing_is_changed(ground: Ground) -> None:
    """A limit on the size of files is a full disk, too: the run can not be written down, so there is none."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # libvirt's own pid file fits

    done = ground.fleet.virtfix("apply", "--all", "--yes", preexec_fn=limited)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
    assert str(ground.fleet.state) in done.err
    assert "Traceback" not in done.err
    assert ground.is_old()


@pytest.mark.parametrize("what", ["a file system", "a file"])
def test_without_a_place_to_write_nothing_is_changed(ground: Ground, small: Path, what: str) -> None:
    """Read-only, or a file in the way: one clear line that names the place."""
    state = small / "state"
    if what == "a file":
        state.write_text("in the way")
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    done = ground.fleet.virtfix("apply", "--all", "--yes", state=state)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
    assert str(state) in done.err
    assert ground.is_old()
