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
        found = [row for row in rows if re.sub(r"  \(.*\)$", "", row).endswith(f" {device.key}")]
        assert len(found) == 1, device.key
        assert f"{address >> 3 & 31:02x}.{address & 7} " in found[0]


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
    numbers = {
        row.split()[4]: row.split()[-1] for row in rows if "root port" in row and "implicit" not in row
    }
    assert numbers == {"2,": "02", "1,": "03"}, "bus 01 is the port that libvirt adds at 00:01.0"


def test_modes_are_named_and_coloured() -> None:
    """A modern-only device is red and says so, also without colour."""
    subject = read(domain(port(1, "00:02.0") + disk("vda", "01:00.0") + disk("vdb", "00:03.0")))
    rows = {line.text.split()[-1]: line for line in tree(subject) if "disk[" in line.text}
    assert "modern-only" in rows["disk[vda]"].text
    assert "31m" in rows["disk[vda]"].tint
    assert "transitional" in rows["disk[vdb]"].text
    assert "32m" in rows["disk[vdb]"].tint


def test_what_libvirt_adds_is_marked() -> None:
    """The memballoon that nobody wrote stands in the tree, as implicit."""
    rows = [line.text for line in tree(read(domain()))]
    assert any(row.endswith("memballoon  (implicit)") for row in rows)


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


def test_names_can_not_move_the_cursor() -> None:
    """Control characters in a target name are escaped."""
    shown = render(tree(read(domain(disk("vd\u009b2J\u202e")))), color=False)
    assert "disk[vd\\u009b2J\\u202e]" in shown
