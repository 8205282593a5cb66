r"""A hook of mkdocs: what the documents have that its site can not show, in words that it can.

Links to other files of the repository, which the site does not have, become their text with the path behind it. A bar
in code in a table, which is written as `a\|b`, would keep its backslash. The documents stay as they are.
"""

from __future__ import annotations

import html
import posixpath
import re
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?\)")

_CODE = re.compile(r"`([^`]+)`")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page as the site can show it."""
    return bars_in_code(outside_named(markdown, page.file.src_uri))


def bars_in_code(markdown: str) -> str:
    """Return the text with the code of tables that holds a bar as HTML."""
    lines = markdown.split("\n")
    return "\n".join(_CODE.sub(_as_html, line) if line.startswith("|") else line for line in lines)


def _as_html(code: re.Match[str]) -> str:
    if "\\|" not in code[1]:
        return code[0]
    return f"<code>{html.escape(code[1].replace(chr(92) + '|', '|')).replace('|', '&#124;')}</code>"


def outside_named(markdown: str, source: str) -> str:
    """Do so for the text of ``source``, a path within docs/."""

    def name(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), link[2]))
        if path.startswith("docs/"):
            return link[0]
        return f"`{path}`" if link[1] in {path, f"`{path}`"} else f"{link[1]} (`{path}`)"

    return _LINK.sub(name, markdown)
