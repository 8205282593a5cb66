"""The report for a person: golden for each sample, in 80 columns, safe for a terminal."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, STRATEGIES, domain, plan

from fixer.remedies import load_remedies
from fixer.report import text, topology

if TYPE_CHECKING:
    from pathlib import Path

    from fixer.planning.plan import Plan

SAMPLES = sorted((ROOT / "samples").glob("*.xml"))
GOLDEN = ROOT / "tests" / "golden"
# The one sample that does not name its OS.
OS = {"handwritten-noaddr": "centos6.10"}
COLOUR = re.compile("\x1b\\[[0-9;]*m")


def planned(sample: Path, **asked: object) -> Plan:
    return plan(sample.read_bytes(), OS.get(sample.stem), **asked)


def agrees(name: str, now: str) -> None:
    """Compare with tests/golden/NAME; VIRTFIX_REGENERATE=1 writes it instead."""
    file = GOLDEN / name
    if os.environ.get("VIRTFIX_REGENERATE"):
        file.write_text(now, encoding="utf-8")
    assert file.exists(), f"{file} is missing: run with VIRTFIX_REGENERATE=1 and read what it writes"
    assert now == file.read_text(encoding="utf-8")


def head(report: str) -> list[str]:
    """Return the lines before the diff, which keeps the file's own width."""
    return report.partition("\n--- ")[0].splitlines()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_report(sample: Path) -> None:
    """What ``virtfix plan`` prints for each sample changes only when it is meant to."""
    agrees(f"{sample.stem}.txt", text.render(planned(sample), f"samples/{sample.name}"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_topology_report(sample: Path) -> None:
    """And so does what ``virtfix topology --after`` draws."""
    made = planned(sample)
    before, after = topology.tree(made.domain), topology.tree(made.after)
    agrees(f"{sample.stem}.topology.txt", topology.side_by_side(before, after, 80, color=False))


def test_explained_report() -> None:
    """--explain shows each remedy with its price or its refusal."""
    sample = ROOT / "samples" / "debian7-bridge.xml"
    made = planned(sample, all_offers=True)
    report = text.render(made, f"samples/{sample.name}", explain=True)
    agrees("debian7-bridge.explain.txt", report)
    for remedy in ("integrated", "bridge", "transitional", "override"):
        assert remedy in report


def test_every_golden_file_has_its_sample() -> None:
    """A sample that went takes its golden files with it."""
    known = {sample.stem for sample in SAMPLES}
    assert {file.name.partition(".")[0] for file in GOLDEN.glob("*.txt")} == known


@pytest.mark.parametrize("strategy", [None, "integrated", "bridge", "transitional", "override"])
@pytest.mark.parametrize("explain", [False, True], ids=["plain", "explain"])
@pytest.mark.parametrize("width", [60, 80, 132])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_no_line_is_wider_than_the_terminal(
    sample: Path, width: int, strategy: str | None, *, explain: bool
) -> None:
    """At most WIDTH columns but for the diff, whose lines are the file's; no blanks at line ends."""
    made = planned(sample, strategy=strategy, all_offers=explain)
    lines = head(text.render(made, sample.name, width=width, explain=explain))
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [60, 80, 132])
def test_names_are_never_wrapped(width: int) -> None:
    """The first line holds the names of file and domain whole, blanks and all; the rest keeps the width."""
    name = "a  domain - " + "with a long name " * 4 + "x"
    file = "/srv/a folder/" + "long-" * 20 + "vm.xml"
    data = domain().replace("<name>t</name>", f"<name>{name}</name>")
    first, *others = head(text.render(plan(data), file, width=width))
    assert first == f"{file}: {name}"
    assert max(map(len, others)) <= width


def table(report: str, title: str) -> list[str]:
    """Return the lines below a title, up to the blank line."""
    lines = head(report)
    start = lines.index(title) + 1
    return lines[start : lines.index("", start)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_table_is_titled_by_its_remedy(strategy: str) -> None:
    """Each remedy module says what stands above the devices that it cures."""
    made = planned(ROOT / "samples" / "rhel6-q35-ovmf.xml", strategy=strategy)
    assert {change.remedy for change in made.changes} == {strategy}
    rows = table(text.render(made, "vm.xml"), load_remedies()[strategy].TITLE)
    assert len(rows) == 1 + len(made.changes)


def test_the_title_of_an_override_says_where() -> None:
    """The one remedy that moves nothing."""
    assert load_remedies()["override"].TITLE == "By disable-legacy=off, where they sit"


def test_tables_share_their_columns() -> None:
    """Device, mode and address start in the same columns in the tables of all remedies."""
    made = planned(ROOT / "samples" / "debian7-bridge.xml")
    remedies = list(dict.fromkeys(change.remedy for change in made.changes))
    assert remedies == ["integrated", "bridge"]
    report = text.render(made, "vm.xml")
    for remedy in remedies:
        header, *rows = table(report, load_remedies()[remedy].TITLE)
        assert header.split() == ["Device", "Mode", "Address"]
        starts = [header.index(word) for word in header.split()]
        assert starts == [2, 2 + 28 + 2, 2 + 28 + 2 + 27 + 2]
        changes = [change for change in made.changes if change.remedy == remedy]
        assert [[row[at:].split("  ")[0] for at in starts] for row in rows] == [
            [
                change.device,
                f"{change.mode_before} -> {change.mode_after}",
                f"{change.address_before} -> {change.address_after}",
            ]
            for change in changes
        ]


def test_a_table_that_does_not_fit_has_two_lines_a_device() -> None:
    """To the column: what fits is a table with a header, what is one too narrow is none."""
    made = planned(ROOT / "samples" / "rhel6-q35-ovmf.xml")
    title = load_remedies()["integrated"].TITLE
    wide = table(text.render(made, "vm.xml"), title)
    fits = max(map(len, wide))
    assert table(text.render(made, "vm.xml", width=fits), title) == wide
    narrow = table(text.render(made, "vm.xml", width=fits - 1), title)
    assert narrow == [
        line
        for change in made.changes
        for line in (
            f"  {change.device}",
            f"    {change.mode_before} -> {change.mode_after}  {change.address_before} -> {change.address_after}",
        )
    ]


def test_consequences_name_their_devices_after_the_text() -> None:
    """Four at most, and how many more; what concerns the domain names none."""
    made = planned(ROOT / "samples" / "many-disks-q35.xml")
    lines = head(text.render(made, "vm.xml", width=1000))
    for item in made.consequences:
        named = ", ".join(item.devices[:4])
        more = f" and {len(item.devices) - 4} more" if len(item.devices) > 4 else ""
        assert f"  - {item.text}" + (f": {named}{more}" if named else "") in lines
    assert any(len(item.devices) > 4 for item in made.consequences)
    assert any(not item.devices for item in made.consequences)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_colour_adds_nothing_but_colour(sample: Path) -> None:
    """Colours off: no escape. Colours on: the same text, and each line ends without colour."""
    made = planned(sample)
    plain = text.render(made, sample.name, color=False)
    bright = text.render(made, sample.name, color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in bright
    stripped = [line.rstrip() for line in COLOUR.sub("", bright).splitlines()]
    assert stripped == [line.rstrip() for line in plain.splitlines()]


def test_an_explanation_comes_only_on_request() -> None:
    """The table names the remedy; prices and refusals are for --explain."""
    report = text.render(planned(ROOT / "samples" / "rhel6-q35-ovmf.xml"), "vm.xml")
    assert "and the other remedies" not in report


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("[bold]x[/bold]", id="markup"),
        pytest.param("a[/red]b", id="a closing tag"),
        pytest.param("a\\[/red]b", id="an escaped closing tag"),
        pytest.param("a\\", id="a backslash at the end"),
        pytest.param("a:smile:b", id="an emoji code"),
        pytest.param("工作-Möbel", id="other scripts"),
    ],
)
def test_names_are_shown_as_they_are(name: str) -> None:
    """No character of a name is taken for markup."""
    data = domain("    <memballoon model='none'/>\n").replace("<name>t</name>", f"<name>{name}</name>")
    assert text.render(plan(data), "vm.xml").splitlines()[0] == f"vm.xml: {name}"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a[1].xml", id="brackets"),
        pytest.param("a\\.xml", id="backslash"),
        pytest.param("[/red]", id="closing tag"),
        pytest.param("vm[bold]\\", id="a tag and a backslash"),
    ],
)
def test_file_names_are_shown_as_they_are(name: str) -> None:
    """The same for the name of the file."""
    assert text.render(plan(domain()), name).splitlines()[0] == f"{name}: t"


@pytest.mark.parametrize("mac", ["52:54:00:ab:cd:0c", "52:ab:00:ab:00:ab", "0a:0b:0c:0d:0e:0f"])
def test_a_mac_address_is_no_emoji(mac: str) -> None:
    """``:ab:`` and others are emoji codes to some."""
    made = plan(
        domain(f"    <interface type='user'><mac address='{mac}'/><model type='virtio'/></interface>\n")
    )
    report = text.render(made, "vm.xml")
    assert report.partition("\n--- ")[0].count(f"interface[{mac}]") >= 2


def test_control_characters_are_escaped() -> None:
    """A name with C1 controls and reordering characters is shown on one line, escaped."""
    data = domain().replace("<name>t</name>", "<name>a\u009b31m\u202eb&#10;c</name>")
    report = text.render(plan(data), "v\x1bm\n.xml")
    assert report.splitlines()[0] == "v\\u001bm\\u000a.xml: a\\u009b31m\\u202eb\\u000ac"
    assert "\x1b" not in report


@pytest.mark.parametrize(
    ("xml", "start"),
    [
        pytest.param(domain(), "pending     vm.xml  t  rhel6  1 to change, 0 unresolved\n", id="to change"),
        pytest.param(
            domain("    <memballoon model='none'/>\n"),
            "unchanged   vm.xml  t  rhel6  0 to change, 0 unresolved\n",
            id="unchanged",
        ),
        pytest.param(
            domain("    <memballoon model='none'/>\n    <input type='tablet' bus='virtio'/>\n"),
            "unresolved  vm.xml  t  rhel6  0 to change, 1 unresolved\n",
            id="unresolved",
        ),
    ],
)
def test_one_line_a_domain(xml: str, start: str) -> None:
    """In a bulk run each domain has one line, status first."""
    assert text.line(plan(xml), "vm.xml") == start


def test_what_is_unresolved_stands_in_the_report() -> None:
    """With its code, for ``virtfix explain``, and the reason."""
    made = plan(domain("    <memballoon model='none'/>\n    <input type='tablet' bus='virtio'/>\n"))
    report = " ".join(text.render(made, "vm.xml").split())
    assert "1 unresolved" in report
    assert "VF002" in report or "VF003" in report
