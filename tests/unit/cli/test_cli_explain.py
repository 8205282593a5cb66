"""virtfix explain, and the pages that are generated from the same text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_runner import ROOT, clean

from fixer.findings import PAGES, Code

if TYPE_CHECKING:
    from cli_runner import Run


def test_every_code_has_a_page() -> None:
    """A finding that nobody can look up is not a finding."""
    assert set(PAGES) == set(Code)
    for page in PAGES.values():
        assert all(page)


def test_the_pages_in_docs_are_current() -> None:
    """docs/findings/ holds what docs/generate_findings.py makes, no more and no less."""
    done = subprocess.run(
        [sys.executable, "docs/generate_findings.py", "--check"],
        cwd=ROOT,
        env=clean(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_list(virtfix: Run) -> None:
    """Without a code: a line for each."""
    lines = virtfix("explain").text.splitlines()
    assert [line.split("  ")[0] for line in lines] == [code.value for code in Code]


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.value)
def test_a_page(virtfix: Run, code: Code) -> None:
    """Problem, remedy and source in 80 columns; upper or lower case."""
    done = virtfix("explain", code.value.lower())
    assert (done.code, done.err) == (0, "")
    assert done.text.startswith(f"{code.value}: ")
    assert max(map(len, done.text.splitlines())) <= 80
    for part in ("What is wrong", "What helps", "Source"):
        assert f"\n{part}\n" in done.text


def test_columns(virtfix: Run) -> None:
    """Narrower on a narrow terminal."""
    assert max(map(len, virtfix("explain", "VF001", COLUMNS="50").text.splitlines()[1:])) <= 50


def test_words_are_not_broken(virtfix: Run) -> None:
    """disable-legacy=auto is one word, and can be searched for."""
    for code, page in PAGES.items():
        text = virtfix("explain", code.value).text
        for word in f"{page.problem} {page.remedy} {page.source}".split():
            assert word in text


@pytest.mark.parametrize("code", ["VF999", "nonsense", "", "\x1b[31m"])
def test_an_unknown_code(virtfix: Run, code: str) -> None:
    """One line that lists the known ones."""
    done = virtfix("explain", code)
    assert done.code == 1
    line = done.error_line()
    assert "VF001" in line
    assert line.isprintable()


def test_pages_name_nothing_internal() -> None:
    """A reader outside of the project can follow every source."""
    for page in PAGES.values():
        assert "FACTS" not in "".join(page)


def test_docs_are_linked() -> None:
    """The README of the pages links each of them."""
    text = (Path(ROOT) / "docs" / "findings" / "README.md").read_text(encoding="utf-8")
    for code in Code:
        assert f"({code.value}.md)" in text
