"""Writes docs/findings/ from fixer.findings.PAGES: python docs/generate_findings.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

from fixer.findings import PAGES, Code, Page

FOLDER = Path(__file__).parent / "findings"
_INTRODUCTION = """\
# Findings

What virtfix can find in a domain, one page a code. `virtfix explain CODE` prints the same. Codes are
stable: scripts may branch on them, and a code is never given a second meaning. The pages are generated from
`fixer/findings.py` by `python docs/generate_findings.py`.

| code | what is wrong |
|---|---|
"""


def pages() -> dict[str, str]:
    """Return each file of docs/findings/ by name."""
    rows = "".join(f"| [{code.value}]({code.value}.md) | {page.title} |\n" for code, page in PAGES.items())
    return {"README.md": _INTRODUCTION + rows, **{f"{c.value}.md": _page(c, p) for c, p in PAGES.items()}}


def _page(code: Code, page: Page) -> str:
    return (
        f"# {code.value}: {page.title}\n\n"
        f"## What is wrong\n\n{page.problem}\n\n"
        f"## What helps\n\n{page.remedy}\n\n"
        f"## Source\n\n{page.source[0].upper()}{page.source[1:]}.\n\n"
        "[All findings](README.md)\n"
    )


def stale() -> list[str]:
    """Return the names of files that are missing, outdated or nobody's."""
    wanted = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*")}
    return sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))


def main() -> None:
    if "--check" in sys.argv[1:]:
        outdated = stale()
        if outdated:
            sys.exit(
                f"outdated in docs/findings: {', '.join(outdated)}; run python docs/generate_findings.py"
            )
        return
    FOLDER.mkdir(exist_ok=True)
    for name in stale():
        if name not in pages():
            (FOLDER / name).unlink()
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
