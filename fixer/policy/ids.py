"""libosinfo ids: their versions, the patterns that match them, and the ids that a URI stands for.

``rhel6.9`` is the family ``rhel`` and the version (6, 9); ``win2k8r2`` ends in a number too, but only ids
of one family are ever compared, so that does no harm.
"""

from __future__ import annotations

from functools import lru_cache

Version = tuple[int, ...]


@lru_cache(maxsize=64)
def split(os_id: str) -> tuple[str, Version]:
    """Return the family and the version of an id; the version is empty where there is none."""
    family = os_id.rstrip("0123456789.")
    number = os_id[len(family) :].lstrip(".")
    return os_id[: len(os_id) - len(number)], version(number)


def version(text: str) -> Version:
    """Return ``6.10`` as (6, 10); anything that is not digits and dots as ()."""
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        return ()
    return tuple(int(part) for part in parts)


def candidates(os_id: str) -> tuple[str, ...]:
    """Return the short ids that ``os_id`` may stand for, likeliest first.

    A URI such as ``http://redhat.com/rhel/6.9`` is rhel6.9 by osinfo-db's own habit; where the family
    holds a dash or the version is a word (rhel-atomic-7.0, fedora-rawhide) a dash joins the two.
    """
    if "/" not in os_id:
        return (os_id,)
    family, _, last = os_id.rstrip("/").rpartition("/")
    family = family.rpartition("/")[2]
    return (
        (family + last, f"{family}-{last}", family)
        if last == "rolling"
        else (family + last, f"{family}-{last}")
    )


class Pattern:
    """One entry of a release's ``osinfo`` list.

    ``family`` and ``low``..``high`` describe a range (``high`` empty: open at the end); else ``text`` is
    an id, or a glob where it holds an asterisk.
    """

    __slots__ = ("family", "high", "low", "text")

    def __init__(self, text: str, family: str = "", low: Version = (), high: Version = ()) -> None:
        self.text = text
        self.family = family
        self.low = low
        self.high = high

    def matches(self, os_id: str) -> bool:
        if self.low:
            family, number = split(os_id)
            inside = self.low <= number and (not self.high or number <= self.high)
            return family == self.family and inside
        return self.text == os_id or ("*" in self.text and glob(self.text, os_id))

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Return the pattern of an entry that is known to be right."""
        found = pattern(text)
        assert found is not None, text
        return found

    def names(self) -> list[str]:
        """Return the ids that the pattern names, for suggestions: a range spelled out where it is short."""
        if not self.low:
            return [self.text.rstrip("*").rstrip(".")]
        high = self.high or self.low
        *head, first = self.low
        if head != list(high[:-1]) or len(high) != len(self.low) or high[-1] - first > 30:
            return [self.family + ".".join(map(str, end)) for end in (self.low, high)]
        return [self.family + ".".join(map(str, (*head, minor))) for minor in range(first, high[-1] + 1)]


def pattern(text: str) -> Pattern | None:
    """Parse an ``osinfo`` entry; None for a range whose ends do not fit together."""
    first, dots, last = text.partition("..")
    if not dots:
        return Pattern(text)
    family, low = split(first)
    if not low or (not last and family):
        return Pattern(text, family, low) if low else None
    other, high = split(last)
    if other not in {family, ""} or not high or high < low:
        return None
    return Pattern(text, family, low, high)


def glob(text: str, candidate: str) -> bool:
    """Match ``*`` in ``text`` against any run of characters, in linear time."""
    first, *rest = text.split("*")
    if not rest or not candidate.startswith(first):
        return not rest and text == candidate
    place = len(first)
    for part in rest[:-1]:
        found = candidate.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return candidate.endswith(rest[-1]) and len(candidate) - len(rest[-1]) >= place


def holds_since(since: Version, number: Version) -> bool | None:
    """Whether release ``number`` is ``since`` or later; None where its minor number is not known."""
    if len(number) < len(since) and number == since[: len(number)]:
        return None
    return number >= since
