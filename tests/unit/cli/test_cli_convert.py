"""virtfix plan --machine, --firmware, --fixups: exit codes, one line for bad input, JSON, files for the guest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli_runner import Run

PC, Q35 = "i440fx-rhel6.xml", "rhel6-q35-ovmf.xml"
UUID = "0c1e7b54-3a55-4df1-8a2e-51e7f9c0b6a3"  # of PC
TO_Q35 = ("--machine", "q35")
HOST = """<capabilities><guest><os_type>hvm</os_type><arch name='x86_64'>
  <machine canonical='{0}'>{1}</machine><machine>{0}</machine></arch></guest></capabilities>"""


def capabilities(folder: Path, name: str = "pc-q35-8.2", alias: str = "q35") -> Path:
    file = folder / "host.xml"
    file.write_text(HOST.format(name, alias))
    return file


def with_guest(file: Path, osinfo: str, **other: str) -> Path:
    """Let the sample be of another guest; ``other`` is further text to replace."""
    text = file.read_text().replace("http://redhat.com/rhel/6.8", osinfo)
    assert osinfo in text
    for old, new in other.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return file


RHEL8 = "http://redhat.com/rhel/8.0"


# --- Exit codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "plain", "detailed"),
    [
        pytest.param((PC, *TO_Q35), 0, 3, id="to be converted"),
        pytest.param((PC, "--machine", "pc"), 0, 0, id="it is one already"),
        pytest.param((PC, "--machine", "pc=pc-i440fx-2.11"), 0, 0, id="of that type too"),
        pytest.param((PC, "--machine", "pc=pc-i440fx-8.2"), 0, 3, id="another type of the same board"),
        pytest.param((PC, *TO_Q35, "--firmware", "efi"), 0, 4, id="keeps its firmware"),
        pytest.param((PC, *TO_Q35, "--firmware", "efi", "--esp"), 0, 3, id="and changes it"),
        pytest.param((PC, *TO_Q35, "--layout", "ports"), 0, 4, id="refused"),
        pytest.param((PC, *TO_Q35, "--firmware", "bios"), 0, 3, id="has that firmware"),
    ],
)
def test_exit_codes(
    virtfix: Run, samples: Path, arguments: tuple[str, ...], plain: int, detailed: int
) -> None:
    """0 where there is a plan, whatever it says; with --detailed-exitcode 3 or 4."""
    file, *options = arguments
    assert virtfix("plan", samples / file, *options).code == plain
    assert virtfix("plan", samples / file, *options, "--detailed-exitcode").code == detailed


# --- One line for bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--machine", "q36"), "--machine: 'q36' is no machine type that a domain can be converted to; write it as q35=pc-q35-8.2"),
        (("--machine", "q35="), "--machine: 'q35=' is no machine type"),
        (("--machine", "q35=pc-i440fx-8.2"), "--machine: 'pc-i440fx-8.2' is no versioned machine type of q35"),
        (("--machine", "virt"), "--machine: 'virt' is no machine type"),
        (("--machine", "\x1b[2J"), "--machine: "),
        (("--firmware", "uefi"), "--firmware: 'uefi' is none of bios, efi"),
        ((*TO_Q35, "--layout", "port"), "--layout: 'port' is none of keep, ports"),
        (("--layout", "ports"), "--layout: goes with --machine q35"),
        (("--staged",), "--staged: goes with --machine q35"),
        (("--driver-bound",), "--driver-bound: goes with --machine q35"),
        (("--fixups", "out"), "--fixups: goes with --machine"),
        (("--esp",), "--esp: goes with --firmware efi"),
        (("--esp", "--firmware", "bios"), "--esp: goes with --firmware efi"),
    ],
)  # fmt: skip
def test_bad_options(virtfix: Run, samples: Path, options: tuple[str, ...], told: str) -> None:
    """A mistake on the command line is one line, before any work, and without codes for the terminal."""
    done = virtfix("plan", samples / PC, *options)
    assert done.code == 2
    assert done.error_line().startswith(f"virtfix: {told}")
    assert "\x1b" not in done.err


@pytest.mark.parametrize(
    ("machine", "hint"),
    [
        ("pc", "--machine q35=pc-q35-8.2"),
        ("pc-0.13", "--machine q35=pc-q35-8.2"),
        ("rhel6.6.0", "--target-capabilities"),
    ],
)
def test_no_sure_machine_type(virtfix: Run, samples: Path, machine: str, hint: str) -> None:
    """It is an error that says what to give; with it the same domain is planned."""
    file = samples / PC
    file.write_text(file.read_text().replace("pc-i440fx-2.11", machine))
    done = virtfix("plan", file, *TO_Q35)
    assert done.code == 1
    assert f"'{machine}' has no q35 type" in done.error_line()
    assert hint in done.err
    assert virtfix("plan", file, "--machine", "q35=pc-q35-8.2", "--detailed-exitcode").code == 3


def test_a_guest_that_nobody_names(virtfix: Run, samples: Path) -> None:
    """What it drives besides virtio decides, so that it has to be known."""
    file = samples / PC
    file.write_text(file.read_text().replace("http://redhat.com/rhel/6.8", "http://example.org/nothing"))
    assert virtfix("plan", file).code == 0
    done = virtfix("plan", file, *TO_Q35)
    assert done.code == 1
    assert "--os" in done.error_line()
    assert virtfix("plan", file, *TO_Q35, "--os", "rhel6.8").code == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<domain type='kvm'><name>t</name><devices/></domain>", id="no <os>"),
        pytest.param("<domain type='kvm'><name>t</name><os/><devices/></domain>", id="an empty <os>"),
        pytest.param("<domain type='kvm'><name>t</name></domain>", id="nothing at all"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        TO_Q35,
        ("--machine", "pc=pc-i440fx-8.2"),
        ("--machine", "q35=pc-q35-8.2"),
        ("--firmware", "efi", "--esp"),
    ],
)
def test_domains_with_holes(virtfix: Run, tmp_path: Path, text: str, options: tuple[str, ...]) -> None:
    """They give an error or a finding, never a crash."""
    file = tmp_path / "t.xml"
    file.write_text(text)
    done = virtfix("plan", file, *options, "--os", "rhel9.0")
    assert "Traceback" not in done.err
    assert "bug of virtfix" not in done.err
    assert done.code in {0, 1}


def test_one_that_can_not_be_does_not_stop_others(virtfix: Run, samples: Path) -> None:
    """Of several files each has its result, and the exit code tells of the one that failed."""
    bad = samples / "alias.xml"
    bad.write_text((samples / PC).read_text().replace("pc-i440fx-2.11", "pc"))
    done = virtfix("plan", bad, samples / PC, *TO_Q35, "--format", "json")
    assert done.code == 1
    first, second = json.loads(done.text)
    assert (first["status"], first["error"]["code"]) == ("error", "machine.version")
    assert (second["status"], second["machine"]["after"]["type"]) == ("pending", "pc-q35-2.11")
    assert done.err.splitlines()[-1] == "virtfix: 2 domains: 1 to change, 1 failed"


# --- The host -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "chosen"),
    [("q35", "pc-q35-8.2"), ("q35=pc-q35-8.2", "pc-q35-8.2"), ("pc-q35-8.2", "pc-q35-8.2")],
)
def test_the_host_decides(virtfix: Run, samples: Path, machine: str, chosen: str) -> None:
    """What --target-capabilities offers is taken."""
    host = capabilities(samples)
    done = virtfix(
        "plan", samples / PC, "--machine", machine, "--target-capabilities", host, "--format", "json"
    )
    assert json.loads(done.text)["machine"]["after"]["type"] == chosen


@pytest.mark.parametrize(
    ("machine", "name", "alias", "told"),
    [
        (
            "q35=pc-q35-9.0",
            "pc-q35-8.2",
            "q35",
            "does not offer the machine type pc-q35-9.0; it offers pc-q35-8.2",
        ),
        ("q35", "pc-i440fx-8.2", "pc", "offers no q35 machine type"),
    ],
)
def test_a_host_that_lacks_it(
    virtfix: Run, samples: Path, machine: str, name: str, alias: str, told: str
) -> None:
    """One line, with the file that says so."""
    host = capabilities(samples, name, alias)
    done = virtfix("plan", samples / PC, "--machine", machine, "--target-capabilities", host)
    assert done.code == 1
    assert str(host) in done.error_line()
    assert told in done.err


# --- What is printed ----------------------------------------------------------------------------------


def test_json(virtfix: Run, samples: Path) -> None:
    """The plan tells both machines, what the guest will call its disks and NICs, and the edits."""
    value = json.loads(virtfix("plan", samples / PC, *TO_Q35, "--format", "json").text)
    assert value["machine"] == {
        "type": "pc-i440fx-2.11",
        "family": "i440fx",
        "firmware": "bios",
        "after": {"type": "pc-q35-2.11", "family": "q35", "firmware": "bios"},
    }
    assert {name["device"] for name in value["forecast"]} == {
        "disk[vda]",
        "disk[vdb]",
        "interface[52:54:00:8c:02:5e]",
    }
    for name in value["forecast"]:
        assert set(name) == {"device", "kind", "before", "after", "rule", "changes"}
        assert name["changes"] is (name["before"] != name["after"])
    assert {change["remedy"] for change in value["changes"]} == {"convert"}
    assert {edit["op"] for edit in value["edits"]} <= {
        "set-attribute",
        "set-address",
        "add-element",
        "remove-element",
    }


def test_json_of_a_plan_that_keeps_the_machine(virtfix: Run, samples: Path) -> None:
    """The keys are there all the same: nothing is foretold, the machine is what it was."""
    value = json.loads(virtfix("plan", samples / Q35, "--format", "json").text)
    after = value["machine"].pop("after")
    assert after == value["machine"]
    assert value["forecast"] == []


def test_the_report(virtfix: Run, samples: Path) -> None:
    """A person sees what the machine becomes, and the names, each reason once."""
    text = virtfix("plan", with_guest(samples / PC, RHEL8), *TO_Q35, COLUMNS="200").text
    assert "  becomes   pc-q35-2.11, BIOS\n" in text
    assert "Comes with the other chipset\n" in text
    assert text.count("Q35 has no IDE") == 1
    assert "ens3 -> enp0s3 (systemd names it by its place; --fixups writes what keeps the old name)" in text


def test_there_and_back(virtfix: Run, samples: Path) -> None:
    """The XML of the one is the input of the other, and the bytes are the first ones."""
    there = virtfix("plan", samples / PC, *TO_Q35, "--format", "xml")
    back = virtfix("plan", "-", "--machine", "pc", "--format", "xml", stdin=there.out)
    assert back.out == (samples / PC).read_bytes() != there.out
    assert (there.err, back.err) == ("", "")


def test_apply_writes_what_plan_shows(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """apply --machine gives the bytes of plan --machine --format xml."""
    shown = virtfix("plan", samples / PC, *TO_Q35, "--format", "xml").out
    assert virtfix("apply", samples / PC, *TO_Q35, "--output-dir", tmp_path / "out").code == 0
    assert (tmp_path / "out" / PC).read_bytes() == shown


# --- Files for the guest ------------------------------------------------------------------------------


def written(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_fixups(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """They stand in a folder called after the UUID, and one line on standard error says where."""
    file, folder = with_guest(samples / PC, RHEL8), tmp_path / "for" / "guests"
    done = virtfix("plan", file, *TO_Q35, "--fixups", folder)
    assert done.code == 0
    assert written(folder) == {
        f"{UUID}/{name}" for name in ("README.txt", "10-virtfix-ens3.link", "ifcfg-ens3.add")
    }
    assert done.err == f"virtfix: {file}: 3 files for the guest are in {folder / UUID}\n"
    assert "MACAddress=" in (folder / UUID / "10-virtfix-ens3.link").read_text()


@pytest.mark.parametrize("form", ["text", "diff", "xml", "json"])
def test_fixups_leave_standard_output_alone(virtfix: Run, samples: Path, tmp_path: Path, form: str) -> None:
    """Whatever is printed is the same, with them and without; twice is as once."""
    file = with_guest(samples / PC, RHEL8)
    without = virtfix("plan", file, *TO_Q35, "--format", form)
    for _ in range(2):
        done = virtfix("plan", file, *TO_Q35, "--format", form, "--fixups", tmp_path / "out")
        assert (done.code, done.out) == (without.code, without.out)
    assert len(written(tmp_path / "out")) == 3


@pytest.mark.parametrize("options", [TO_Q35, ("--machine", "pc"), (*TO_Q35, "--layout", "ports")])
def test_no_fixups(virtfix: Run, samples: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A guest that notices nothing gets no folder, and nobody is told of one."""
    done = virtfix("plan", samples / PC, *options, "--fixups", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("uuid", "name"),
    [
        pytest.param(UUID.upper(), UUID, id="in capitals"),
        pytest.param(f"{{{UUID}}}", UUID, id="in braces"),
        pytest.param(UUID.replace("-", ""), UUID, id="without dashes"),
        pytest.param("../../../evil", None, id="a path"),
        pytest.param("/etc/evil", None, id="an absolute path"),
        pytest.param("", None, id="none"),
    ],
)
def test_a_hostile_domain_makes_no_path(
    virtfix: Run, samples: Path, tmp_path: Path, uuid: str, name: str | None
) -> None:
    """What is no UUID gives way to the digest; the name of the domain is in no path at all."""
    text = with_guest(samples / PC, RHEL8).read_text()
    text = text.replace(f"<uuid>{UUID}</uuid>", f"<uuid>{uuid}</uuid>")
    (samples / PC).write_text(text.replace("<name>mail</name>", "<name>../../evil</name>"))
    before = written(tmp_path)
    folder = tmp_path / "a" / "b"
    done = virtfix("plan", samples / PC, *TO_Q35, "--fixups", folder)
    assert done.code == 0
    new = written(tmp_path) - before
    assert len(new) == 3
    (made,) = {Path(one).parent for one in new}
    assert made.parent == Path("a/b")
    if name is None:
        assert len(made.name) == 32
        assert set(made.name) <= set("0123456789abcdef")
    else:
        assert made.name == name


def test_each_domain_has_its_folder(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """Two domains of one run do not mix."""
    one = with_guest(samples / PC, RHEL8)
    two = samples / "two.xml"
    two.write_text(one.read_text().replace(UUID, UUID.replace("0c1e", "0c1f")))
    done = virtfix("plan", one, two, *TO_Q35, "--fixups", tmp_path / "out", "--format", "diff")
    assert len({Path(name).parent for name in written(tmp_path / "out")}) == 2
    assert done.err.count("files for the guest are in") == 2


def test_a_folder_that_can_not_be(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """One line, and it is the exit code of an error."""
    place = tmp_path / "file"
    place.write_text("x")
    done = virtfix("plan", with_guest(samples / PC, RHEL8), *TO_Q35, "--fixups", place)
    assert done.code == 1
    assert str(place) in done.error_line()
    assert place.read_text() == "x"


def test_no_link_is_followed(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """A link that waits where a file comes is replaced, what it points to is not."""
    victim = tmp_path / "victim"
    victim.write_text("kept")
    folder = tmp_path / "out" / UUID
    folder.mkdir(parents=True)
    (folder / "README.txt").symlink_to(victim)
    virtfix("plan", with_guest(samples / PC, RHEL8), *TO_Q35, "--fixups", tmp_path / "out")
    assert victim.read_text() == "kept"
    assert not (folder / "README.txt").is_symlink()
