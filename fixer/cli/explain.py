"""virtfix explain: the page of a finding, or the list of all."""

from __future__ import annotations

import sys
import textwrap

from fixer.cli.exit_codes import Exit
from fixer.errors import VirtfixError
from fixer.findings import PAGES, Code


def run(code: str | None, width: int) -> Exit:
    """Print one page, or a line a code. Raises VirtfixError for a code that does not exist."""
    if code is None:
        for finding, page in PAGES.items():
            sys.stdout.write(f"{finding.value}  {page.title}\n")
        return Exit.DONE
    try:
        page = PAGES[Code(code.upper())]
    except ValueError:
        known = ", ".join(member.value for member in Code)
        raise VirtfixError("explain.code", f"there is no finding '{code}'", hint=f"one of {known}") from None
    width = min(width, 100)
    sys.stdout.write(f"{code.upper()}: {page.title}\n")
    for title, text in (
        ("What is wrong", page.problem),
        ("What helps", page.remedy),
        ("Source", page.source),
    ):
        sys.stdout.write(
            f"\n{title}\n"
            + textwrap.indent(
                textwrap.fill(text, width - 2, break_on_hyphens=False, break_long_words=False), "  "
            )
            + "\n"
        )
    return Exit.DONE
