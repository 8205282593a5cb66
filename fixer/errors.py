"""Three kinds of trouble have three shapes; this module holds the second.

A problem of the domain is a ``Finding`` value. A mistake of the user is a
``VirtfixError``: one line for a person, no traceback. A mistake of ours keeps
its traceback.
"""

from __future__ import annotations

import re

# C0 and C1 controls, line and paragraph separators, and the bidirectional overrides: the characters
# that can move a cursor, start a line or reorder what a person reads (Unicode TR 36, section 3).
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str, limit: int = 200) -> str:
    """Return ``text`` on one line, safe for a terminal, at most ``limit`` characters long."""
    clean = _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "\u2026"


class VirtfixError(Exception):
    """A mistake that the user can mend.

    ``where`` names file and place, ``summary`` what is wrong, ``hint`` the remedy. ``str()`` joins
    them into one printable line. ``code`` is stable and is what programs branch on.
    """

    def __init__(self, code: str, summary: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(code, summary, where, hint)
        self.code = code
        self.summary = summary
        self.where = where
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are made again from their arguments alone, which here have names.
        return _remade, (type(self), self.code, self.summary, self.where, self.hint)

    def __str__(self) -> str:
        head = f"{printable(self.where)}: " if self.where else ""
        tail = f"; {printable(self.hint, 300)}" if self.hint else ""
        return f"{head}{printable(self.summary, 400)}{tail}"

    def at(self, where: str) -> VirtfixError:
        """Return the same error with ``where`` put before the place that it already names."""
        place = f"{where}:{self.where}" if self.where else where
        return VirtfixError(self.code, self.summary, where=place, hint=self.hint)


def _remade(kind: type[VirtfixError], code: str, summary: str, where: str, hint: str) -> VirtfixError:
    return kind(code, summary, where=where, hint=hint)
