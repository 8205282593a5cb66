"""Redefining domains in every state that libvirt knows, on its own QEMU driver with QEMU processes behind it."""

from __future__ import annotations

import json
import stat
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

libvirt = pytest.importorskip("libvirt")
redefining = pytest.importorskip("redefining")

from redefining import PASSWORD, PREFIX, Host, Person, inactive, live, xml_of  # noqa: E402

from fixer.domain.document import digest  # noqa: E402

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("oracle")]

# --- running, paused, saved ---------------------------------------------------------------------------


def test_a_running_domain_is_redefined_and_goes_on_as_it_runs(host: Host, oracle: ModuleType) -> None:
    """The live XML stays to the byte, status says what is pending, and the next start has the devices."""
    domain = host.define("runs")
    domain.create()
    running, before = live(domain), inactive(domain)
    assert oracle.modern_only(running), "this is what is to be cured"

    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert (done.code, done.err.count("1 changed"), done.err.count("1 pending restart")) == (0, 1, 1), done
    assert "pending restart" in done.out
    assert "the old devices stay until the domain is shut down and started" in done.err
    assert live(domain) == running
    assert inactive(domain) != before
    assert oracle.modern_only(inactive(domain)) == []

    standing = host.status(domain)
    assert standing["status"] == "pending restart"
    assert "shut it down and start it" in standing["reason"]
    assert host.virtfix("status", "--domain", domain.name(), "--detailed-exitcode").code == 3

    domain.reboot()
    assert host.status(domain)["status"] == "pending restart", "a reboot keeps the old devices"
    domain.destroy()
    assert host.status(domain)["status"] == "right"
    domain.create()
    assert oracle.modern_only(live(domain)) == []
    assert host.status(domain)["status"] == "right"


def test_a_paused_domain_stays_paused(host: Host) -> None:
    """It is neither resumed nor touched; what is pending is told in its own words."""
    domain = host.define("paused")
    domain.create()
    domain.suspend()
    running = live(domain)
    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert done.code == 0
    assert "pending restart, is paused" in done.out
    assert domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    assert live(domain) == running
    assert host.status(domain)["status"] == "pending restart"


def test_a_managed_save_is_given_up_for_named_domains_only(host: Host, oracle: ModuleType) -> None:
    """Its next start would take the old devices, so it is left alone; nothing loses memory by --all or a glob."""
    domain = host.define("saved")
    domain.create()
    domain.managedSave(0)
    before = inactive(domain)

    done = host.virtfix("apply", "--all", "--yes", "--detailed-exitcode")
    assert done.code == 4
    assert f"blocked    {domain.name()}  has a managed save" in done.err
    for choice in (("--all",), ("--domain", f"{PREFIX}*")):
        done = host.virtfix("apply", *choice, "--yes", "--remove-managed-save")
        assert (done.code, done.out) == (2, ""), done
        assert "--domain NAME" in done.err
    assert domain.hasManagedSaveImage()
    assert inactive(domain) == before

    done = host.virtfix("apply", "--domain", domain.name(), "--yes", "--remove-managed-save")
    assert done.code == 0
    assert "its managed save was removed, and the memory in it is lost" in done.out
    assert not domain.hasManagedSaveImage()
    domain.create()
    assert oracle.modern_only(live(domain)) == []


def test_a_domain_that_needs_nothing_keeps_its_managed_save(host: Host) -> None:
    """--remove-managed-save is no wish of its own: where nothing is to change, nothing is lost."""
    domain = host.define("right-saved", os_id="http://fedoraproject.org/fedora/36")
    domain.create()
    domain.managedSave(0)
    done = host.virtfix("apply", "--domain", domain.name(), "--yes", "--remove-managed-save")
    assert (done.code, "unchanged" in done.out) == (0, True), done
    assert domain.hasManagedSaveImage()


# --- snapshots, checkpoints ---------------------------------------------------------------------------


def test_a_snapshot_is_told_of_and_reverting_to_it_is_seen(host: Host) -> None:
    """A revert brings the old definition back; status tells that from a domain that was never changed."""
    domain = host.define("snapped", disk=host.image("snapped.qcow2"))
    domain.snapshotCreateXML("<domainsnapshot><name>was</name></domainsnapshot>", 0)
    before = inactive(domain)
    assert host.status(domain)["status"] == "to change"

    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert done.code == 0
    assert "has 1 snapshot: reverting to one brings the old devices back" in done.out
    assert host.status(domain)["status"] == "right"

    domain.revertToSnapshot(domain.snapshotLookupByName("was"))
    assert inactive(domain) == before
    standing = host.status(domain)
    assert standing["status"] == "came back"
    assert f"run {done.run} changed it" in standing["reason"]
    assert host.virtfix("status", "--domain", domain.name(), "--detailed-exitcode").code == 3

    assert host.virtfix("apply", "--domain", domain.name(), "--yes").code == 0
    assert host.status(domain)["status"] == "right"


def test_a_checkpoint_is_told_of(host: Host) -> None:
    """It stays, and the note says what reverting would do."""
    domain = host.define("checked", disk=host.image("checked.qcow2"))
    domain.create()
    domain.checkpointCreateXML("<domaincheckpoint><name>since</name></domaincheckpoint>", 0)
    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert done.code == 0
    assert "has 1 checkpoint: reverting to one brings the old devices back" in done.out
    assert [one.getName() for one in domain.listAllCheckpoints()] == ["since"]


# --- transient, jobs ----------------------------------------------------------------------------------


def test_a_transient_domain_is_defined_only_where_that_is_wanted(host: Host) -> None:
    """It would stay for good: that needs --make-persistent, and its process goes on as it runs."""
    domain = host.connection.createXML(xml_of(f"{PREFIX}passing"))
    running = live(domain)
    done = host.virtfix("apply", "--domain", domain.name(), "--yes", "--detailed-exitcode")
    assert done.code == 4
    assert "is transient: defining it would make it persistent; give --make-persistent" in done.err
    assert not domain.isPersistent()

    done = host.virtfix("apply", "--domain", domain.name(), "--yes", "--make-persistent")
    assert (done.code, "1 changed" in done.err) == (0, True), done
    assert domain.isPersistent()
    assert live(domain) == running
    assert host.status(domain)["status"] == "pending restart"
    domain.destroy()
    assert host.status(domain)["status"] == "right"


def test_a_backup_under_way_is_waited_for_and_then_left_alone(host: Host) -> None:
    """A pull backup lasts until it is ended: the domain is busy, and free after that."""
    domain = host.define("backed-up", disk=host.image("backed-up.qcow2"))
    domain.create()
    before = inactive(domain)
    socket = Path(host.uri.partition("root=")[2]) / "nbd.sock"
    domain.backupBegin(
        f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/>"
        f"<disks><disk name='vda' backup='yes' type='file'><scratch file='{host.folder}/scratch'/></disk></disks>"
        "</domainbackup>",
        None,
    )
    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert (
        "is busy: a migration, save or backup is under way; run virtfix again when that is over" in done.err
    )
    assert "1 blocked" in done.err
    assert inactive(domain) == before
    domain.abortJob()
    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert "1 changed" in done.err, done


def test_a_block_copy_ends_in_the_new_definition(host: Host, oracle: ModuleType) -> None:
    """The pivot that follows changes the disk's file in the definition that virtfix made, and only that."""
    domain = host.define("copied", disk=host.image("copied.qcow2"))
    domain.create()
    target = host.folder / "copy.qcow2"
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    copy = f"<disk type='file'><source file='{target}'/><driver type='qcow2'/></disk>"
    domain.blockCopy("vda", copy, {}, flags)
    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert "1 changed" in done.err, done
    changed = inactive(domain)
    while not mirrored(domain):
        time.sleep(0.05)
    domain.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
    pivoted = inactive(domain).replace("      <backingStore/>\n", "")  # libvirt has looked, and found none
    assert pivoted == changed.replace(f"{host.folder}/copied.qcow2", str(target))
    assert oracle.modern_only(inactive(domain)) == []

    done = host.virtfix("rollback", done.run, "--yes")
    assert "was changed since" in done.err, "the old definition names the file that the pivot left"


def mirrored(domain: libvirt.virDomain) -> bool:
    """Whether libvirt takes a pivot: the job's counters meet some time before QEMU says that it is ready."""
    mirror = ET.fromstring(domain.XMLDesc()).find("devices/disk/mirror")
    assert mirror is not None, "the copy has ended"
    return mirror.get("ready") == "yes"


# --- changed by others --------------------------------------------------------------------------------


def retitle(domain: libvirt.virDomain, title: str) -> None:
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, title, None, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG)


def planned(host: Host, *domains: libvirt.virDomain, options: tuple[str, ...] = ()) -> Path:
    path = host.folder / "plan.json"
    names = [word for domain in domains for word in ("--domain", domain.name())]
    done = host.virtfix("plan", *names, "--out", path, *options)
    assert done.code == 0, done
    host.said.append(path.read_text())
    return path


def test_a_saved_plan_is_carried_out_as_it_was_saved(host: Host, oracle: ModuleType) -> None:
    """Made by a reader, who sees no passwords, and good for the domain that has some."""
    domain = host.define("planned")
    path = planned(host, domain)
    done = host.virtfix("apply", path, "--yes")
    assert (done.code, "1 changed" in done.err) == (0, True), done
    assert oracle.modern_only(inactive(domain)) == []
    assert f"passwd='{PASSWORD}'" in inactive(domain)


def test_a_saved_plan_that_was_carried_out_is_nothing_to_do(host: Host) -> None:
    """Also where libvirt has filled in what the plan leaves to it: chassis and port of the bridges."""
    domain = host.define("twice")
    path = planned(host, domain, options=("--strategy", "bridge"))
    assert "1 changed" in host.virtfix("apply", path, "--yes").err
    once = inactive(domain)
    assert digest(once.encode()) != json.loads(path.read_text())["digest"]["after"], (
        "or libvirt filled in nothing"
    )
    again = host.virtfix("apply", path, "--yes")
    assert (again.code, "is as planned already" in again.out) == (0, True), again
    assert inactive(domain) == once


def test_a_saved_plan_is_refused_after_an_edit(host: Host) -> None:
    """Both hashes are told: that of the plan and that of the domain."""
    domain, other = host.define("edited"), host.define("as-planned")
    planned_from = digest(inactive(domain).encode())
    path = planned(host, domain, other)
    retitle(domain, "edited")
    edited = inactive(domain)
    done = host.virtfix("apply", path, "--yes", "--detailed-exitcode")
    assert done.code == 4
    assert "changed since the plan" in done.err
    shown = json.loads(path.read_text())
    first = (shown if isinstance(shown, list) else [shown])[0]["digest"]["before"]
    assert first[:23] in done.err or planned_from[:23] in done.err
    assert digest(edited.encode())[:23] in done.err
    assert inactive(domain) == edited
    assert "1 changed" in done.err, "the other one fits its plan"


def test_what_was_shown_is_what_is_done(host: Host) -> None:
    """Edited while somebody reads the question: refused, both hashes told. The others go on."""
    domain, other = host.define("a-edited"), host.define("b-other")
    shown = digest(inactive(domain).encode())[:23]
    person = Person("yes", lambda: retitle(domain, "meanwhile"))
    done = host.virtfix("apply", "--all", person=person)
    now = digest(inactive(domain).encode())[:23]
    assert f"changed since the plan: it was {shown}, it is {now}" in done.err
    assert "1 changed" in done.err
    assert host.status(other)["status"] == "right"
    assert host.status(domain)["status"] == "to change"


def test_a_no_changes_nothing(host: Host) -> None:
    """Only a whole yes is one; where nobody can be asked, --yes is asked for. There is no run then."""
    domain = host.define("unasked")
    before = inactive(domain)
    for answer in ("no", "y", ""):
        done = host.virtfix("apply", "--all", person=Person(answer, lambda: None))
        assert (done.code, "nothing was changed" in done.out) == (0, True), done
    done = host.virtfix("apply", "--all")
    assert (done.code, done.out) == (1, "")
    assert "give --yes" in done.err
    assert inactive(domain) == before
    assert not (host.state / "runs").exists(), "there was no run"


def test_a_domain_that_vanishes_takes_no_other_with_it(host: Host) -> None:
    """Undefined while somebody reads the question: one failure, and it does not come back."""
    domain, other = host.define("a-vanishing"), host.define("b-staying")
    done = host.virtfix("apply", "--all", person=Person("yes", domain.undefine))
    assert done.code == 1
    assert f"failed     {PREFIX}a-vanishing" in done.err
    assert "1 changed" in done.err
    assert host.status(other)["status"] == "right"
    assert [one.name() for one in host.connection.listAllDomains()] == [other.name()]


def test_a_saved_plan_of_a_vanished_domain_is_one_clear_line(host: Host) -> None:
    """Nothing is defined in its place."""
    domain = host.define("planned-and-gone")
    path = planned(host, domain)
    domain.undefine()
    done = host.virtfix("apply", path, "--yes")
    assert done.code == 1
    assert "Domain not found" in done.err
    assert "Traceback" not in done.err
    assert host.connection.listAllDomains() == []


def test_what_has_no_plan_is_told_before_the_question(host: Host) -> None:
    nameless = host.folder / "nameless.xml"
    nameless.write_text("<domain><name>a</name><os><type machine='q35'>hvm</type></os></domain>")
    plan = host.folder / "plans.json"
    host.virtfix("plan", nameless, nameless, "--out", plan)
    done = host.virtfix("apply", plan, person=Person("yes", lambda: None))
    assert done.code == 1, done
    assert "could not be planned: " in done.err


def test_resume_carries_on_a_saved_plan_as_it_was_saved(host: Host) -> None:
    """A plan that was made with --strategy bridge is finished with bridges, after whatever stopped the run."""
    first, second = host.define("a-stopping"), host.define("b-bridge")
    path = planned(host, first, second, options=("--strategy", "bridge"))
    retitle(first, "edited")
    done = host.virtfix("apply", path, "--yes", "--canary", "1")
    assert "not all canaries are well" in done.err
    assert host.status(second)["status"] == "to change"
    resumed = host.virtfix("resume", done.run)
    assert "1 changed" in resumed.err, resumed
    assert "pcie-to-pci-bridge" in inactive(second)
    assert host.status(first)["status"] == "to change", "it does not fit its plan any more"


# --- defining files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", ["libvirt", "hand"])
def test_a_file_is_defined_with_its_devices_right_and_undone_wholly(
    host: Host, oracle: ModuleType, writer: str
) -> None:
    """A dump of libvirt's, or what somebody wrote who leaves addresses and defaults to libvirt."""
    path = host.folder / "new.xml"
    path.write_text(dumped(host, "new") if writer == "libvirt" else xml_of(f"{PREFIX}new"))
    done = host.virtfix("apply", path, "--define", "--yes")
    assert (done.code, "1 changed" in done.err) == (0, True), done
    domain = host.connection.lookupByName(f"{PREFIX}new")
    assert oracle.modern_only(inactive(domain)) == []
    assert f"passwd='{PASSWORD}'" in inactive(domain)
    undone = host.virtfix("rollback", done.run, "--yes")
    assert undone.code == 0, undone
    assert host.connection.listAllDomains() == [], "it was not there before"


@pytest.mark.parametrize("strategy", ["integrated", "bridge", "transitional", "override"])
def test_a_file_may_leave_to_libvirt_what_devices_are_called(
    host: Host, oracle: ModuleType, strategy: str
) -> None:
    """The MAC of a NIC and the source of an RNG, as in what virt-v2v and people write."""
    nic, rng = "<mac address='52:54:00:00:00:01'/>", "'random'>/dev/urandom</backend>"
    text = xml_of(f"{PREFIX}nameless")
    assert nic in text
    assert rng in text
    second = "<interface type='user'><model type='virtio'/></interface></devices>"
    path = host.folder / "nameless.xml"
    path.write_text(text.replace(nic, "").replace(rng, "'random'/>").replace("</devices>", second, 1))
    done = host.virtfix("apply", path, "--define", "--yes", "--strategy", strategy)
    assert (done.code, "1 changed" in done.err) == (0, True), done
    domain = host.connection.lookupByName(f"{PREFIX}nameless")
    assert oracle.modern_only(inactive(domain)) == []
    assert host.virtfix("rollback", done.run, "--yes").code == 0
    assert host.connection.listAllDomains() == []


def test_a_file_replaces_the_definition_of_its_uuid(host: Host, oracle: ModuleType) -> None:
    """The one that was there is kept and comes back by a rollback; where it is running it goes on."""
    domain = host.define("there")
    domain.create()
    before, running = inactive(domain), live(domain)
    path = host.folder / "there.xml"
    path.write_text(before.replace("rack 7", "rack 8"))
    done = host.virtfix("apply", path, "--define", "--yes")
    assert (done.code, "1 pending restart" in done.err) == (0, True), done
    assert "rack 8" in inactive(domain)
    assert oracle.modern_only(inactive(domain)) == []
    assert live(domain) == running
    assert host.virtfix("rollback", done.run, "--yes").code == 0
    assert inactive(domain) == before


def test_a_file_that_libvirt_refuses_leaves_nothing_behind(host: Host) -> None:
    """Without the definition there was before, and with the one there was."""
    xml = dumped(host, "refused").replace("type='user'", "type='nonsense'")
    path = host.folder / "refused.xml"
    path.write_text(xml)
    done = host.virtfix("apply", path, "--define", "--yes")
    assert (done.code, "1 failed" in done.err) == (1, True), done
    assert host.connection.listAllDomains() == []


def dumped(host: Host, name: str) -> str:
    """Return what libvirt writes of a domain that is not there any more."""
    domain = host.define(name)
    xml = inactive(domain)
    domain.undefine()
    return xml


def test_a_name_that_another_domain_has_is_refused(host: Host) -> None:
    """Same name, other UUID: the one that is there stays as it is, and no second one appears."""
    good = host.folder / "good.xml"
    good.write_text(dumped(host, "free"))
    there = host.define("taken")
    before = inactive(there)
    path = host.folder / "clash.xml"
    path.write_text(before.replace(there.UUIDString(), str(uuid.uuid4())))
    done = host.virtfix("apply", path, good, "--define", "--yes", "--format", "json")
    assert done.code == 1
    clash, other = json.loads(done.out)
    assert (clash["status"], other["status"]) == ("failed", "changed")
    assert "already exists" in clash["reason"]
    assert inactive(there) == before
    names = sorted(domain.name() for domain in host.connection.listAllDomains())
    assert names == [f"{PREFIX}free", there.name()]


# --- what is kept -------------------------------------------------------------------------------------


def test_what_is_the_owners_is_kept(host: Host, oracle: ModuleType) -> None:
    """Autostart, UUID, title, metadata, NVRAM, passwords: all there afterwards, and after the rollback."""
    variables = host.folder / "vars.fd"
    variables.write_bytes(b"boot entries of the guest")
    loader = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
    domain = host.define("kept", os_extra=f"{loader}<nvram>{variables}</nvram>")
    domain.setAutostart(True)
    before, identity = inactive(domain), domain.UUIDString()
    done = host.virtfix("apply", "--domain", domain.name(), "--yes")
    assert done.code == 0

    again = host.connection.lookupByName(domain.name())
    after = inactive(again)
    assert again.UUIDString() == identity
    assert again.autostart()
    for kept in (
        f"<title>Of the owner: {domain.name()}</title>",
        "rack 7, &lt;do not touch&gt;",
        f"{variables}</nvram>",
        f"passwd='{PASSWORD}'",
        "<on_reboot>restart</on_reboot>",
    ):
        assert kept in before
        assert kept in after, kept
    assert variables.read_bytes() == b"boot entries of the guest"
    assert set(oracle.virtio_addresses(before)) == set(oracle.virtio_addresses(after)), "the same devices"

    assert host.virtfix("rollback", "--domain", domain.name(), "--yes").code == 0
    assert inactive(again) == before
    assert again.autostart()
    assert variables.read_bytes() == b"boot entries of the guest"


def test_passwords_lie_in_the_backup_only_and_nobody_else_may_read_it(host: Host) -> None:
    """Not in any output, plan or journal; files 0600 below folders 0700, whatever the umask."""
    domain = host.define("secret")
    planned(host, domain)
    for command in (
        ("plan", "--domain", domain.name()),
        ("plan", "--domain", domain.name(), "--format", "diff"),
        ("plan", "--domain", domain.name(), "--format", "json", "--explain"),
        ("status", "--all"),
        ("apply", "--all", "--yes", "--format", "json"),
        ("history",),
        ("history", "--format", "json"),
    ):
        done = host.virtfix(*command)
        assert done.code == 0, done
    (run,) = (host.state / "runs").iterdir()
    done = host.virtfix("history", "--run", run.name, "--format", "json")
    (told,) = json.loads(done.out)["domains"]
    backup = Path(told["backup"])
    assert f"passwd='{PASSWORD}'" in backup.read_text()
    for path in host.state.rglob("*"):
        if path.is_file() and path != backup:
            assert PASSWORD not in path.read_text(), path
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(host.state.stat().st_mode) == 0o700


def test_what_is_shown_before_the_question_holds_no_password(host: Host) -> None:
    """It is planned from the XML with all secrets."""
    domain = host.define("shown")
    done = host.virtfix("apply", "--all", person=Person("no", lambda: None))
    assert f"+++ {domain.name()}" in done.out, "a difference is shown"
    assert PASSWORD not in done.out + done.err


def test_a_plan_that_asks_the_guest_shows_no_password(host: Host) -> None:
    """Questions to the guest need a writable connection, whose XML has the secrets."""
    domain = host.define("asked")
    domain.create()
    for form in ("text", "diff", "json", "xml"):
        done = host.virtfix("plan", "--domain", domain.name(), "--negotiated", "--format", form)
        assert PASSWORD not in done.out + done.err, form


# --- rollback -----------------------------------------------------------------------------------------


def test_rollback_gives_back_every_byte(host: Host) -> None:
    """By run and by domain, running or not; a second rollback finds nothing to put back."""
    domains = [host.define(name) for name in ("back-1", "back-2", "back-3")]
    domains[0].create()
    before = [inactive(domain) for domain in domains]
    done = host.virtfix("apply", "--all", "--yes")
    assert "3 changed" in done.err

    undone = host.virtfix("rollback", "--domain", domains[1].name(), "--yes")
    assert "1 changed" in undone.err
    assert inactive(domains[1]) == before[1]
    assert inactive(domains[0]) != before[0]
    undone = host.virtfix("rollback", done.run, "--yes")
    assert "2 changed" in undone.err, undone
    assert [inactive(domain) for domain in domains] == before
    again = host.virtfix("rollback", done.run, "--yes")
    assert (again.code, "there is nothing to put back" in again.err) == (1, True), again
    told = [line.split(maxsplit=2)[1:] for line in host.virtfix("history").out.splitlines()]
    assert sorted(command for command, _ in told) == ["apply", "rollback", "rollback"]
    assert "nothing was changed" not in [what for _, what in told], "each of them changed something"
    assert [host.status(domain)["status"] for domain in domains] == ["to change"] * 3


def test_rollback_refuses_a_domain_that_was_edited_since(host: Host) -> None:
    """--force puts the old definition back all the same, and keeps what was there."""
    domain = host.define("edited-since")
    before = inactive(domain)
    done = host.virtfix("apply", "--all", "--yes")
    retitle(domain, "edited")
    edited = inactive(domain)
    refused = host.virtfix("rollback", done.run, "--yes", "--detailed-exitcode")
    assert refused.code == 4
    assert "was changed since" in refused.err
    assert digest(edited.encode())[:23] in refused.err
    assert inactive(domain) == edited

    forced = host.virtfix("rollback", done.run, "--yes", "--force")
    assert forced.code == 0
    assert inactive(domain) == before
    (kept,) = (host.state / "runs" / forced.run / "backup").iterdir()
    assert kept.read_text() == edited


def test_rollback_needs_a_yes(host: Host) -> None:
    """A rollback is a change, too: it asks as apply does."""
    domain = host.define("unasked-back")
    done = host.virtfix("apply", "--all", "--yes")
    after = inactive(domain)
    assert host.virtfix("rollback", done.run).code == 1
    assert host.virtfix("rollback", done.run, person=Person("no", lambda: None)).code == 0
    assert inactive(domain) == after
    assert host.virtfix("rollback", done.run, person=Person("yes", lambda: None)).code == 0
    assert inactive(domain) != after


def test_rollback_of_a_domain_that_was_made_persistent(host: Host) -> None:
    """It was not defined before, so it is not defined after: it goes with its process, as it would have."""
    domain = host.connection.createXML(xml_of(f"{PREFIX}passing-back"))
    done = host.virtfix("apply", "--all", "--yes", "--make-persistent")
    assert domain.isPersistent()
    assert host.virtfix("rollback", done.run, "--yes").code == 0
    assert domain.isActive()
    assert not domain.isPersistent()


def test_rollback_tells_of_a_managed_save(host: Host) -> None:
    """The memory that was saved has the new devices, and its next start would take them: no silent success."""
    domain = host.define("saved-since")
    done = host.virtfix("apply", "--all", "--yes")
    domain.create()
    domain.managedSave(0)
    undone = host.virtfix("rollback", done.run, "--yes")
    assert "managed save" in undone.out + undone.err, undone
    assert domain.hasManagedSaveImage(), "nobody gave it up"


def test_rollback_tells_of_a_domain_that_was_undefined_since(host: Host) -> None:
    """It is not brought back unasked, the other domain is put back; --force defines it as it was."""
    domain, other = host.define("a-gone-since"), host.define("b-there")
    before = inactive(domain), inactive(other)
    done = host.virtfix("apply", "--all", "--yes")
    domain.undefine()
    undone = host.virtfix("rollback", done.run, "--yes", "--detailed-exitcode")
    assert undone.code == 4, undone
    assert "is not there any more" in undone.err
    assert "1 changed" in undone.err
    assert [one.name() for one in host.connection.listAllDomains()] == [other.name()]
    assert inactive(other) == before[1]
    forced = host.virtfix("rollback", done.run, "--yes", "--force")
    assert forced.code == 0, forced
    assert inactive(host.connection.lookupByName(domain.name())) == before[0]
