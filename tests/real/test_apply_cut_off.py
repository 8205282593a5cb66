"""Runs whose last line did not reach the disk, and what happened to their domains before anybody looked."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("libvirt")

from redefining import PASSWORD, PREFIX, Fleet, Host, guarded_folder, inactive, xml_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("oracle")]


def cut_off(host: Host, run: str) -> None:
    """Leave of a journal what a loss of power may leave: what was planned, and not what came of it."""
    journal = host.state / "runs" / run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"planned"' in line))


def run_that_was_cut_off(host: Host, *words: object) -> str:
    done = host.virtfix("apply", *words, "--yes")
    assert done.code == 0, done
    cut_off(host, done.run)
    return done.run


def test_resume_never_gives_up_a_managed_save(host: Host) -> None:
    """What its owner saved since is not what the run was allowed to remove."""
    domain = host.define("saved-again")
    domain.create()
    domain.managedSave(0)
    run = run_that_was_cut_off(host, "--domain", domain.name(), "--remove-managed-save")
    domain.create()
    domain.managedSave(0)
    resumed = host.virtfix("resume", run)
    assert "has a managed save" in resumed.err, resumed
    assert domain.hasManagedSaveImage()
    domain.managedSaveRemove(0)
    assert "1 changed" in host.virtfix("resume", run).err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"passwd='{PASSWORD}'", "passwd='another'"),
        ("<listen type='none'/>", "<listen type='address' address='127.0.0.1'/>"),
        ("<on_reboot>restart</on_reboot>", "<on_reboot>destroy</on_reboot>"),
    ],
)
def test_rollback_of_a_run_that_was_cut_off_keeps_what_its_owner_changed_since(
    host: Host, old: str, new: str
) -> None:
    domain = host.define("edited-after-the-cut")
    run = run_that_was_cut_off(host, "--domain", domain.name())
    assert old in inactive(domain)
    host.connection.defineXML(inactive(domain).replace(old, new))
    edited = inactive(domain)
    undone = host.virtfix("rollback", run, "--yes", "--detailed-exitcode")
    assert (undone.code, "was changed since" in undone.err) == (4, True), undone
    assert inactive(domain) == edited
    assert host.virtfix("resume", run).code != 0
    assert inactive(domain) == edited


def test_a_file_whose_definition_nobody_read_back_is_undone_by_force_only(host: Host) -> None:
    """What libvirt filled up can not be told from what its owner changed since."""
    path = host.folder / "new.xml"
    path.write_text(xml_of(f"{PREFIX}written"))
    run = run_that_was_cut_off(host, path, "--define")
    for told in ("rollback", "resume", "rollback"):
        done = host.virtfix(told, run, "--yes") if told == "rollback" else host.virtfix(told, run)
        assert ("may have been changed since" in done.err) is (told == "rollback"), done
    assert host.connection.lookupByName(f"{PREFIX}written")
    assert "1 changed" in host.virtfix("rollback", run, "--yes", "--force").err
    assert host.connection.listAllDomains() == []


def test_the_second_step_waits_for_the_first(host: Host) -> None:
    domain = host.define("staged", machine="pc", os_id="http://microsoft.com/win/2k8r2")
    assert domain
    run = run_that_was_cut_off(host, "--all", "--machine", "q35", "--staged")
    done = host.virtfix("resume", run, "--driver-bound")
    assert (done.code, f"first: virtfix resume {run}" in done.err) == (1, True), done


@pytest.mark.parametrize("broken", [b"", b"<domain/>"])
def test_stored_xml_that_was_damaged_is_not_put_back(host: Host, broken: bytes) -> None:
    domain = host.define("broken-backup")
    done = host.virtfix("apply", "--all", "--yes")
    after = inactive(domain)
    (backup,) = (host.state / "runs" / done.run / "backup").iterdir()
    backup.write_bytes(broken)
    undone = host.virtfix("rollback", done.run, "--yes")
    assert (undone.code, "the stored XML is not the one of the run" in undone.err) == (1, True), undone
    assert inactive(domain) == after


def test_a_damaged_journal_is_told(host: Host) -> None:
    first, second = host.define("a-damaged"), host.define("b-whole")
    before = inactive(second)
    done = host.virtfix("apply", "--all", "--yes")
    journal = host.state / "runs" / done.run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    spoilt = [
        line.replace(b'"planned"', b'"pla\x00ned"') if first.name().encode() in line else line
        for line in lines
    ]
    journal.write_bytes(b"".join(spoilt))
    assert "the journal was damaged" in host.virtfix("history", "--run", done.run).err
    undone = host.virtfix("rollback", done.run, "--yes")
    assert (undone.code, "1 changed" in undone.err, "the journal was damaged" in undone.err) == (
        1,
        True,
        True,
    )
    assert inactive(second) == before


def test_what_libvirt_words_otherwise_is_still_the_runs_own(tmp_path: Path) -> None:
    """It puts controllers in another order when it reads its own files again, as after its restart."""
    with guarded_folder() as folder:
        fleet = Fleet(folder, "reload", 0)
        path = tmp_path / "new.xml"
        path.write_text(xml_of("reloaded"))
        done = fleet.virtfix("apply", path, "--define", "--yes")
        assert done.code == 0, done
        again = fleet.virtfix("apply", path, "--define", "--yes")
        assert (again.code, "is defined like that already" in again.out) == (0, True), again
        undone = fleet.virtfix("rollback", done.run, "--yes")
        assert (undone.code, "1 changed" in undone.err) == (0, True), undone
        assert fleet.dump() == {}


@pytest.fixture
def swtpm(tmp_path: Path) -> dict[str, str]:
    """Programs that say what libvirt asks of a TPM emulator before it defines a domain with one."""
    features = ["tpm-2.0", "cmdarg-seccomp", "cmdarg-pwd-fd"]
    for name in ("swtpm", "swtpm_setup", "swtpm_ioctl"):
        answer = json.dumps({"type": name, "features": features, "version": "0.7.0"})
        program = tmp_path / name
        program.write_text(
            f"#!/bin/sh\ncase \"$*\" in *print-capabilities*) echo '{answer}'; exit 0;; esac\nexit 1\n"
        )
        program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_undoing_a_definition_keeps_the_state_of_its_tpm(swtpm: dict[str, str], tmp_path: Path) -> None:
    """Keys of BitLocker and LUKS lie in it."""
    identity = "aaaaaaaa-0000-4000-8000-000000000001"
    tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
    path = tmp_path / "tpm.xml"
    path.write_text(xml_of("with-tpm", identity=identity).replace("<memballoon", f"{tpm}<memballoon"))
    with guarded_folder() as folder:
        fleet = Fleet(folder, "tpm", 0)
        own = {"env": os.environ | swtpm | fleet.environment()}
        done = fleet.virtfix("apply", path, "--define", "--yes", **own)
        assert done.code == 0, done
        state = fleet.root / "lib" / "swtpm" / identity / "tpm2" / "tpm2-00.permall"
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_bytes(b"keys")
        undone = fleet.virtfix("rollback", done.run, "--yes", **own)
        assert "1 changed" in undone.err or "would remove the state of its TPM" in undone.err, undone
        assert state.read_bytes() == b"keys"


def test_a_save_that_appears_before_the_definition_is_seen(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner saves the guest while the plan is being written down."""
    from fixer.adapters.state_dir import Run

    domain = host.define("saved-meanwhile")
    domain.create()
    before = inactive(domain)
    monkeypatch.setattr(Run, "keep", _after(Run.keep, lambda: domain.managedSave(0)))
    done = host.virtfix("apply", "--all", "--yes", "--detailed-exitcode")
    assert (done.code, "has a managed save" in done.err) == (4, True), done
    assert inactive(domain) == before


def _after(real: Callable[..., str], then: Callable[[], object]) -> Callable[..., str]:
    def both(*arguments: object) -> str:
        done = real(*arguments)
        then()
        return done

    return both
