"""virtfix report: files in, files out, and one clear line for what is wrong with them."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from cli_runner import Run  # noqa: TC002 - pytest reads the annotations of tests
from reporting import applied, audited, fleet, planned, uuid_of, verified

from fixer.cli import report as command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the results of two hosts, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.json").write_text(
        json.dumps([planned(name="vm", uuid=uuid_of(1), source="vm")], indent=2)
    )
    lines = [audited("broken now", name="vm", uuid=uuid_of(1)), audited("right", name="db", uuid=uuid_of(2))]
    (tmp_path / "audit.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "verify.json").write_text(json.dumps([verified("vm")]))
    return tmp_path


def test_without_an_output_a_summary_is_printed(virtfix: Run, place: Path) -> None:
    """The counts, and what is wrong by system, finding and host."""
    done = virtfix("report", "kvm1=plan.json", "kvm1=audit.jsonl", "kvm1=verify.json")
    assert (done.code, done.err) == (0, "")
    assert done.text.splitlines()[:3] == [
        "2 domains on 1 named host",
        "       1  broken now",
        "       1  right",
    ]
    assert "VF001" in done.text
    assert sorted(path.name for path in place.iterdir()) == ["audit.jsonl", "plan.json", "verify.json"]


def test_all_three_are_written(virtfix: Run, place: Path) -> None:
    """A page, a table and a test report of the same domains; standard output stays empty."""
    files = ("--html", "out.html", "--csv", "out.csv", "--junit", "out.xml", "--title", "Fleet <1>")
    done = virtfix("report", "plan.json", "audit.jsonl", "verify.json", *files)
    assert (done.code, done.out, done.err) == (0, b"", "")
    page = (place / "out.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<h1>Fleet &lt;1&gt;</h1>" in page
    assert page.count("<details ") == 2
    with (place / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["domain"] for row in csv.DictReader(file)] == ["vm", "db"]
    assert len(list(ET.parse(place / "out.xml").iter("testcase"))) == 2


def test_what_the_commands_print_is_taken(virtfix: Run, samples: Path, tmp_path: Path) -> None:
    """Real output of plan and of plan --out goes in, also through a pipe."""
    saved = tmp_path / "saved.json"
    first = virtfix("plan", samples, "--assume", "legacy", "--out", saved)
    piped = virtfix("plan", samples, "--assume", "legacy", "--format", "json")
    one, two = virtfix("report", saved), virtfix("report", "-", stdin=piped.out)
    assert (first.code, one.code, two.code) == (0, 0, 0)
    assert one.out == two.out
    assert one.text.startswith("7 domains")


def test_a_host_is_named_by_what_stands_before_the_file(virtfix: Run, place: Path) -> None:
    """HOST=FILE, also where either holds '='; a file that is called so is a file."""
    (place / "plan.json").rename(place / "a=b.json")
    assert command._split("kvm1=audit.jsonl") == ("kvm1", "audit.jsonl")
    assert command._split("a=b.json") == ("", "a=b.json")
    assert command._split("kvm1=a=b.json") == ("kvm1", "a=b.json")
    assert command._split("qemu:///embed?root=/x=audit.jsonl") == ("qemu:///embed?root=/x", "audit.jsonl")
    assert command._split("kvm1=-") == ("kvm1", "-")
    assert "no-such" in virtfix("report", "kvm1=no-such.json").error_line()
    assert "kvm1" in virtfix("report", "kvm1=audit.jsonl").text


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            "[" + json.dumps(applied("changed")) + "\n",
            "bad.json:line 2, column 1: is no JSON: a list breaks off here",
        ),
        ('{"a": 1}\n', "bad.json:line 1: is no result of plan, audit, apply or verify"),
        (
            json.dumps(applied("changed")) + "\n" + json.dumps(applied("changed") | {"devices": "x"}),
            "bad.json:line 2: devices is not a whole number",
        ),
        ("<domain/>", "bad.json:line 1, column 1: is no JSON: expecting value"),
        (
            json.dumps(planned() | {"format": 9}),
            "bad.json:line 1: is a plan of format 9, this version reads 1",
        ),
    ],
)
def test_bad_input_is_one_line_with_file_and_place(
    virtfix: Run, place: Path, content: str, line: str
) -> None:
    """Nothing is written where anything can not be read."""
    (place / "bad.json").write_text(content)
    done = virtfix("report", "plan.json", "bad.json", "--html", "out.html")
    assert done.code == 1
    assert line in done.error_line()
    assert not (place / "out.html").exists()


def test_what_can_not_be_read_or_written_is_one_line(virtfix: Run, place: Path) -> None:
    """Missing files, directories, two that are one, inputs as outputs."""
    (place / "folder").mkdir()
    for arguments, told in (
        (("no.json",), "no.json: can not read"),
        (("folder",), "folder: is a directory; give the JSON files in it"),
        (("-", "kvm=-"), "standard input is given twice"),
        (("plan.json", "--html", "plan.json"), "is read and would be written"),
        (("plan.json", "--html", "x", "--csv", "./x"), "two reports would go to one file"),
        (("plan.json", "--html", "-"), "a report goes to a file"),
        (("plan.json", "--html", "folder"), "folder: is not a regular file"),
        (("plan.json", "--html", "/dev/null", "--force"), "is not a regular file"),
        (("plan.json", "--html", "none/x.html"), "can not write"),
    ):
        done = virtfix("report", *arguments)
        assert done.code in {1, 2}
        assert told in done.error_line()


def test_a_file_that_is_there_stays_unless_forced(virtfix: Run, place: Path) -> None:
    """An older report gives way only to --force; the same content is no difference."""
    (place / "out.csv").write_text("mine")
    assert "exists and differs" in virtfix("report", "plan.json", "--csv", "out.csv").error_line()
    assert (place / "out.csv").read_text() == "mine"
    for options in (("--force",), ()):
        assert virtfix("report", "plan.json", "--csv", "out.csv", *options).code == 0
    assert "vm" in (place / "out.csv").read_text()


def test_a_file_without_results_is_told_and_does_not_stop_the_others(virtfix: Run, place: Path) -> None:
    """A host without domains prints nothing, and so does a command that failed."""
    (place / "empty.jsonl").write_text("")
    done = virtfix("report", "plan.json", "empty.jsonl")
    assert done.code == 0
    assert done.err == "virtfix: empty.jsonl: note: holds no results\n"


def test_a_file_that_is_too_large_is_refused(
    virtfix: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is told; nothing is read that is larger."""
    monkeypatch.setattr(command, "_MAX", 100)
    assert (
        "plan.json: is larger than 256 MiB; split it by host" in virtfix("report", "plan.json").error_line()
    )


def test_names_that_are_no_unicode_are_written(virtfix: Run, place: Path) -> None:
    """Hostile names go through all forms."""
    for host, results in fleet(30).items():
        (place / f"{host}.json").write_text(json.dumps(results))
    files = sorted(place.glob("kvm*.json"))
    done = virtfix("report", *files, "--html", "o.html", "--csv", "o.csv", "--junit", "o.xml")
    assert (done.code, done.err) == (0, "")
    for name in ("o.html", "o.csv", "o.xml"):
        (place / name).read_text(encoding="utf-8")


def test_a_plan_loads_no_report() -> None:
    """What makes pages is loaded by the report alone."""
    code = (
        "import sys; sys.argv = ['virtfix', 'plan', 'samples/already-right.xml', '--format', 'json']\n"
        "from fixer.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "loaded = {'fixer.report.html', 'fixer.report.section', 'fixer.report.gathered', 'csv'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    import subprocess
    import sys

    from cli_runner import ROOT, clean

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
