"""The PCI tree: every device once, within the columns, readable without colour and without Unicode."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, disk, domain, plan, port, read

from fixer.report.topology import Line, render, side_by_side, tree

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = sorted((ROOT / "samples").glob("*.xml"))
COLOUR = re.compile("\x1b\\[[0-9;]*m")


@pytest.mark.parametrize("unicode", [False, True], ids=["ascii", "unicode"])
@pytest.mark.parametrize("width", [40, 60, 79, 80, 200])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_two_trees_fit_the_columns(sample: Path, width: int, *, unicode: bool) -> None:
    """No line of the two trees is wider than the terminal, whatever its width."""
    made = plan(sample.read_bytes(), "centos6.10")
    before, after = tree(made.domain, unicode=unicode), tree(made.after, unicode=unicode)
    shown = side_by_side(before, after, width, color=False, unicode=unicode)
    assert max(map(len, shown.splitlines())) <= width
    assert "\x1b" not in shown
    assert unicode or shown.isascii()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_every_device_is_drawn_once(sample: Path) -> None:
    """Each device that has a place appears in the tree, at its slot and function."""
    subject = read(sample.read_bytes())
    assert subject.layout is not None
    rows = [line.text for line in tree(subject)]
    for device, address in subject.layout.at.items():
        if device.is_bridge:
            continue
        mark = " *" if device.node is None else " ?" if device.address is None else ""
        found = [row for row in rows if re.sub(r" [*?]$", "", row).endswith(f" {device.key}")]
        assert len(found) == 1, device.key
        assert f"{address >> 3 & 31:02x}.{address & 7} " in found[0]
        assert found[0].endswith(f" {device.key}{mark}")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_colour_changes_no_text(sample: Path) -> None:
    """With colours removed, the coloured tree is the plain one."""
    made = plan(sample.read_bytes(), "centos6.10")
    before, after = tree(made.domain), tree(made.after)
    assert COLOUR.sub("", render(before, color=True)) == render(before, color=False)
    coloured = COLOUR.sub("", side_by_side(before, after, 80, color=True))
    plain = side_by_side(before, after, 80, color=False)
    assert [row.rstrip() for row in coloured.splitlines()] == plain.splitlines()


def test_buses_carry_the_numbers_of_the_guest() -> None:
    """libvirt's index is not the guest's bus number: the port in the lower slot comes first."""
    subject = read(domain(port(1, "00:05.0") + port(2, "00:02.0") + disk("vda", "01:00.0")))
    rows = [line.text for line in tree(subject)]
    numbers = {row.split()[4]: row.split()[6:] for row in rows if "root port" in row}
    assert numbers == {"3,": ["01", "*"], "2,": ["02"], "1,": ["03"]}, "bus 01 is libvirt's port at 00:01.0"


def test_modes_are_named_and_coloured() -> None:
    """A modern-only device is red and says so, also without colour."""
    subject = read(domain(port(1, "00:02.0") + disk("vda", "01:00.0") + disk("vdb", "00:03.0")))
    rows = {line.text.split()[-1]: line for line in tree(subject) if "disk[" in line.text}
    assert "modern-only" in rows["disk[vda]"].text
    assert "31m" in rows["disk[vda]"].tint
    assert "transitional" in rows["disk[vdb]"].text
    assert "32m" in rows["disk[vdb]"].tint


def test_what_libvirt_adds_is_marked() -> None:
    """The memballoon that nobody wrote stands in the tree with a star, and so does its port."""
    rows = [line.text for line in tree(read(domain()))]
    assert any(row.endswith("modern-only  memballoon *") for row in rows)
    assert any(row.endswith("root port 1, bus 01 *") for row in rows)
    assert [row for row in rows if "implicit" in row or row.endswith(" ?")] == []


def test_what_has_no_address_is_marked() -> None:
    """It sits where libvirt would put it, so the place is no promise; what has an address carries no mark."""
    balloon = "    <memballoon model='none'/>\n"
    rows = [
        line.text
        for line in tree(read(domain(balloon + port(1, "00:02.0") + disk("vda") + disk("vdb", "00:03.0"))))
    ]
    assert any(row.endswith("modern-only  disk[vda] ?") for row in rows)
    assert any(row.endswith("transitional  disk[vdb]") for row in rows)
    assert any(row.endswith("02.0 root port 1, bus 02") for row in rows)


STAR, QUESTION = "* added by libvirt", "? no address in the XML"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_marks_are_explained(sample: Path) -> None:
    """The legend stands below the tree and has what the tree has, no more and no less."""
    made = plan(sample.read_bytes(), "centos6.10")
    for subject in (made.domain, made.after):
        rows = [line.text for line in tree(subject)]
        body = [row for row in rows if row not in {STAR, QUESTION}]
        used = [
            text for mark, text in (("*", STAR), ("?", QUESTION)) if any(r.endswith(f" {mark}") for r in body)
        ]
        assert rows == body + used


def test_a_legend_is_seen() -> None:
    """The samples have a domain with both marks, so that the test above tests something."""
    rows = [line.text for line in tree(read((ROOT / "samples" / "handwritten-noaddr.xml").read_bytes()))]
    assert rows[-2:] == [STAR, QUESTION]


def test_a_machine_without_pci_has_no_tree() -> None:
    """And says why."""
    data = domain().replace("arch='x86_64' machine='q35'", "arch='s390x' machine='s390-ccw-virtio'")
    (line,) = tree(read(data))
    assert line.text.startswith("no PCI topology: ")


def test_long_names_are_cut_with_a_sign() -> None:
    """A narrow terminal cuts names and says that it did."""
    long = [Line("x" * 100)]
    for row in side_by_side(long, long, 41, color=False).splitlines()[1:]:
        assert len(row) == 41
        assert row.count("…") == 2


@pytest.mark.parametrize(("unicode", "sign"), [(True, "…"), (False, "~")])
@pytest.mark.parametrize("mark", ["", " *", " ?"])
def test_rows_are_cut_inside_the_brackets(mark: str, sign: str, *, unicode: bool) -> None:
    """The end of a key tells devices apart, the start what they are, and a mark must stay."""
    row = f"├─ 03.0 transitional  interface[52:54:00:6a:1e:0c]{mark}"
    keep = "1e:0c]" + mark
    cut = f"├─ 03.0 transitional  interface[{sign}{keep}"
    shown = side_by_side([Line("")], [Line(row)], len(cut) + 3, color=False, unicode=unicode)
    assert shown.splitlines()[1].lstrip(" │|") == cut
    whole = side_by_side([Line("")], [Line(row)], len(row) + 3, color=False, unicode=unicode)
    assert whole.splitlines()[1].endswith(row)


def test_names_can_not_move_the_cursor() -> None:
    """Control characters in a target name are escaped."""
    shown = render(tree(read(domain(disk("vd\u009b2J\u202e")))), color=False)
    assert "disk[vd\\u009b2J\\u202e]" in shown
