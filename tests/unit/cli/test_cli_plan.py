"""virtfix plan: inputs, formats, saving, streams."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli_runner import Run

PENDING, RIGHT = "rhel6-q35-ovmf.xml", "already-right.xml"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("form", ["text", "diff", "xml", "json"])
def test_plan_changes_nothing(virtfix: Run, samples: Path, form: str) -> None:
    """Whatever is printed, no file is touched."""
    before = snapshot(samples)
    virtfix("plan", samples / PENDING, "--format", form)
    assert snapshot(samples) == before


def test_standard_output_carries_only_what_was_asked_for(virtfix: Run, samples: Path) -> None:
    """Of several files the plans go to standard output, the summary and the failures to standard error."""
    done = virtfix("plan", samples, "--format", "json")
    assert [value["source"] for value in json.loads(done.text)] == [
        str(path) for path in sorted(samples.glob("*.xml"))
    ]
    lines = done.err.splitlines()
    assert lines[0].startswith(f"virtfix: {samples}/handwritten-noaddr.xml: ")
    assert lines[-1] == "virtfix: 7 domains: 4 to change, 2 unchanged, 1 failed"
    assert len(lines) == 2


def test_a_failure_stands_in_the_json(virtfix: Run, samples: Path) -> None:
    """A reader of the array learns which file failed and why."""
    values = json.loads(virtfix("plan", samples, "--format", "json").text)
    (failed,) = [value for value in values if value["status"] == "error"]
    assert failed["error"]["code"] == "guest.unknown"
    assert set(failed["error"]) == {"code", "summary", "where", "hint"}


@pytest.mark.parametrize("form", ["text", "diff", "json"])
def test_many_keep_their_order(virtfix: Run, samples: Path, form: str) -> None:
    """Files come out in the order in which they were named."""
    names = [RIGHT, "many-disks-q35.xml", PENDING, "debian7-bridge.xml"]
    done = virtfix("plan", *(samples / name for name in names), "--format", form)
    found = re.findall(rb"[\w-]+\.xml", done.out)
    wanted = [name.encode() for name in names if form != "diff" or name != RIGHT]
    assert list(dict.fromkeys(found)) == wanted


def test_directories(virtfix: Run, samples: Path) -> None:
    """A directory stands for its *.xml by name; subdirectories only with --recursive; others are ignored."""
    inner = samples / "sub"
    inner.mkdir()
    (samples / RIGHT).rename(inner / RIGHT)
    (samples / "notes.txt").write_text("no XML")
    flat = virtfix("plan", samples, "--assume", "legacy")
    deep = virtfix("plan", samples, "--assume", "legacy", "-r")
    assert flat.err == "virtfix: 6 domains: 5 to change, 1 unchanged\n"
    assert deep.err == "virtfix: 7 domains: 5 to change, 2 unchanged\n"
    assert f"{inner}/{RIGHT}" in deep.text


def test_a_directory_without_xml(virtfix: Run, tmp_path: Path) -> None:
    """It is a mistake to be told, not an empty success."""
    done = virtfix("plan", tmp_path)
    assert done.code == 1
    assert done.error_line() == f"virtfix: {tmp_path}: has no *.xml; give the files, or --recursive"


def test_standard_input(virtfix: Run, samples: Path) -> None:
    """``-`` reads one domain; it is called standard input, where a file has its name."""
    data = (samples / PENDING).read_bytes()
    done = virtfix("plan", "-", stdin=data)
    assert done.code == 0
    assert done.text.startswith("standard input: rhel6.10\n")
    assert "\n--- standard input\t\n" in done.text  # the tab ends a name with blanks for patch
    done = virtfix("plan", "-", stdin=b"<domain>")
    assert done.error_line().startswith("virtfix: standard input:1:9: ")


def test_xml_of_a_right_domain_is_its_bytes(virtfix: Run, samples: Path) -> None:
    """--format xml gives the result, for a domain that is right the very same bytes."""
    file = samples / RIGHT
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert virtfix("plan", file, "--format", "xml").out == file.read_bytes()


def test_xml_can_be_planned_again(virtfix: Run, samples: Path) -> None:
    """What comes out needs nothing more."""
    result = virtfix("plan", samples / PENDING, "--format", "xml").out
    again = virtfix("plan", "-", "--format", "xml", "--detailed-exitcode", stdin=result)
    assert (again.code, again.out) == (0, result)


def test_a_diff_is_bytes_and_nothing_else(virtfix: Run, samples: Path) -> None:
    """Into a pipe the diff goes as it is, line ends included; for a right domain it is empty."""
    file = samples / PENDING
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    done = virtfix("plan", file, "--format", "diff")
    assert done.out.startswith(b"--- ")
    assert b"\r\n+      <address type='pci'" in done.out
    assert done.err == ""
    assert virtfix("plan", samples / RIGHT, "--format", "diff").out == b""


def test_unresolved_findings_reach_the_reader_of_a_diff(virtfix: Run, samples: Path) -> None:
    """They go to standard error, so that the diff stays one."""
    file = samples / PENDING
    file.write_text(file.read_text().replace("</devices>", "<input type='tablet' bus='virtio'/></devices>"))
    for form in ("diff", "xml"):
        done = virtfix("plan", file, "--format", form)
        assert done.code == 0
        assert done.err.startswith(f"virtfix: {file}: VF00")
        assert len(done.err.splitlines()) == 1


def test_prices_are_shown_on_request_only(virtfix: Run, samples: Path) -> None:
    """--explain shows the other remedies; without it the report stays short."""
    file = samples / "debian7-bridge.xml"
    assert "other remedies" in virtfix("plan", file, "--explain").text
    assert "other remedies" not in virtfix("plan", file).text


def test_many_plans_are_one_line_each(virtfix: Run, samples: Path) -> None:
    """From more than ten domains on the text is a list."""
    for number in range(11):
        (samples / f"copy{number:02}.xml").write_bytes((samples / PENDING).read_bytes())
    done = virtfix("plan", *sorted(samples.glob("copy*.xml")))
    assert len(done.text.splitlines()) == 11
    assert all(line.startswith("pending     ") for line in done.text.splitlines())


# --- Guest, strategy, policy --------------------------------------------------------------------------


def test_os_assume_and_policy(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """--os beats the metadata; --assume helps where nothing is known; a policy adds a guest."""
    file = samples / "handwritten-noaddr.xml"
    assert "known by  --os centos6.10" in virtfix("plan", file, "--os", "centos6.10").text
    assert "--assume legacy" in virtfix("plan", file, "--assume", "legacy").text
    policy = tmp_path / "acme.yaml"
    policy.write_text(
        "format: 1\nkind: guests\nfamily: acme\nsources: {s: x}\n"
        "releases:\n  - {name: Acme 3, osinfo: [acme3], like: rhel6.9}\n"
    )
    assert "Acme 3" in virtfix("plan", file, "--os", "acme3", "--policy", policy).text
    assert "Acme 3" in virtfix("plan", file, "--os", "acme3", "--policy", tmp_path).text


def test_an_unknown_os_gets_near_ones(virtfix: Run, samples: Path) -> None:
    """A typo in --os is answered with what was probably meant."""
    done = virtfix("plan", samples / PENDING, "--os", "rhel66")
    assert done.code == 1
    assert "did you mean rhel6.6" in done.error_line()


@pytest.mark.parametrize("strategy", ["integrated", "bridge", "transitional", "override"])
def test_strategy(virtfix: Run, samples: Path, strategy: str) -> None:
    """--strategy forces a remedy where it is feasible."""
    value = json.loads(virtfix("plan", samples / PENDING, "--strategy", strategy, "--format", "json").text)
    assert {change["remedy"] for change in value["changes"]} == {strategy}


@pytest.mark.parametrize("kinds", [("disk",), ("disk,scsi",), ("all",)])
def test_hotplug(virtfix: Run, samples: Path, kinds: tuple[str, ...]) -> None:
    """What must stay hot-pluggable is kept off pcie.0; kinds may be parted by commas."""
    value = json.loads(virtfix("plan", samples / PENDING, "--hotplug", *kinds, "--format", "json").text)
    remedy = {change["device"]: change["remedy"] for change in value["changes"]}
    assert remedy["disk[vda]"] != "integrated"
    assert (remedy["rng[/dev/urandom]"] == "integrated") == (kinds != ("all",))


def test_two_names_of_one_release_are_no_conflict(virtfix: Run, samples: Path) -> None:
    """--os rhel6 for a domain that says RHEL 6.10 agrees with it."""
    assert "conflict" not in virtfix("plan", samples / PENDING, "--os", "rhel6").text


# --- Saving -------------------------------------------------------------------------------------------


def test_out_saves_one_plan(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """--out holds the same JSON that --format json prints, and standard output what was asked for."""
    file, saved = samples / PENDING, tmp_path / "plan.json"
    done = virtfix("plan", file, "--out", saved)
    assert done.text.startswith(f"{file}: rhel6.10\n")
    assert json.loads(saved.read_text()) == json.loads(virtfix("plan", file, "--format", "json").text)


def test_out_saves_several_plans_as_an_array(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """Failures included, in the order of the files."""
    saved = tmp_path / "plans.json"
    done = virtfix("plan", samples, "--out", saved, "--format", "diff")
    assert done.code == 1
    values = json.loads(saved.read_text())
    assert [Path(value["source"]).name for value in values] == sorted(
        path.name for path in samples.glob("*.xml")
    )
    assert [value["status"] for value in values].count("error") == 1


def test_out_replaces_whole(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """An older plan gives way in one step; nothing else is left in the folder."""
    saved = tmp_path / "plan.json"
    saved.write_text('{"status": "old"}')
    virtfix("plan", samples / PENDING, "--out", saved)
    assert json.loads(saved.read_text())["status"] == "pending"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["plan.json"]


def test_out_does_not_overwrite_what_is_no_plan(virtfix: Run, samples: Path) -> None:
    """A slip of the hand must not cost the domain its XML."""
    before = (samples / PENDING).read_bytes()
    done = virtfix("plan", samples / PENDING, "--out", samples / PENDING)
    assert done.code == 1
    assert "exists and is no plan" in done.error_line()
    assert (samples / PENDING).read_bytes() == before


def test_out_does_not_replace_what_is_no_file(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """A pipe, a device or a link stays what it is."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(samples / PENDING)
    for place in (pipe, link):
        assert "is not a regular file" in virtfix("plan", samples / PENDING, "--out", place).error_line()
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_a_saved_plan_is_for_its_owner(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """It shows parts of the XML."""
    virtfix("plan", samples / PENDING, "--out", tmp_path / "plan.json")
    assert (tmp_path / "plan.json").stat().st_mode & 0o777 == 0o600


def test_os_against_the_metadata_is_said_in_every_format(virtfix: Run, samples: Path) -> None:
    """--os over a whole folder must not hide that one domain says otherwise."""
    for form in ("diff", "xml"):
        done = virtfix("plan", samples / PENDING, "--os", "rhel9.0", "--format", form)
        assert "planned as" in done.err
        assert "http://redhat.com/rhel/6.10" in done.err


def test_a_folder_with_odd_entries_is_planned(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """A pipe does not hang, a ring of links is told, and the domains are planned all the same."""
    folder = tmp_path / "vms"
    folder.mkdir()
    (folder / "good.xml").write_bytes((samples / PENDING).read_bytes())
    os.mkfifo(folder / "pipe.xml")
    (folder / "ring.xml").symlink_to("ring.xml")
    (folder / "again.xml").symlink_to("good.xml")
    done = virtfix("plan", folder, "--format", "diff")
    assert done.code == 1
    assert done.text.count("+++ ") == 1
    assert "ring.xml" in done.err


@pytest.mark.parametrize("place", ["nosuch/plan.json", "."])
def test_out_that_can_not_be_written(virtfix: Run, samples: Path, tmp_path: Path, place: str) -> None:
    """It is told before any work, in one line."""
    done = virtfix("plan", samples / PENDING, "--out", tmp_path / place)
    assert done.code == 1
    assert str(tmp_path) in done.error_line()


def test_out_is_private_to_the_umask(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """A saved plan has the mode that the umask leaves."""
    old = os.umask(0o077)
    try:
        virtfix("plan", samples / PENDING, "--out", tmp_path / "plan.json")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "plan.json").stat().st_mode) == 0o600


# --- Streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [
        pytest.param((), {}, False, id="a pipe"),
        pytest.param(("--color", "always"), {}, True, id="asked for"),
        pytest.param(("--color", "always"), {"NO_COLOR": "1"}, True, id="asked for, against NO_COLOR"),
        pytest.param(("--color", "never"), {}, False, id="refused"),
        pytest.param((), {"FORCE_COLOR": "1"}, False, id="another tool's variable"),
    ],
)
@pytest.mark.parametrize(
    "command", [("plan",), ("plan", "--format", "diff"), ("topology",), ("topology", "--after")]
)
def test_colour(
    virtfix: Run,
    samples: Path,
    command: tuple[str, ...],
    options: tuple[str, ...],
    environment: dict[str, str],
    coloured: bool,
) -> None:
    """Colour goes to terminals and to those who ask for it."""
    done = virtfix(*command, samples / PENDING, *options, **environment)
    assert (b"\x1b[" in done.out) == coloured


def test_columns_are_heeded(virtfix: Run, samples: Path) -> None:
    """COLUMNS sets the width where standard output is no terminal; the name of the file is never wrapped."""
    for columns in (60, 100):
        report = virtfix("plan", samples / PENDING, COLUMNS=str(columns)).text.partition("\n--- ")[0]
        first, *others = report.splitlines()
        assert first == f"{samples / PENDING}: rhel6.10"
        assert max(map(len, others)) <= columns
        trees = virtfix("topology", "--after", samples / PENDING, COLUMNS=str(columns)).text
        assert max(map(len, trees.splitlines())) <= columns
