"""Which guest is taken, and what is said about the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixer.errors import VirtfixError
from fixer.guest.identify import identify

if TYPE_CHECKING:
    from fixer.policy.match import PolicySet

RHEL6 = ("http://redhat.com/rhel/6.9", "line 7")
FEDORA = ("http://fedoraproject.org/fedora/20", "line 9")
OTHER = ("http://haiku-os.org/haiku/r1", "line 7")


@pytest.mark.parametrize(
    ("option", "metadata", "assume", "expected", "said"),
    [
        ("rhel6.9", [], None, ("option", "rhel6.9", "legacy"), ["--os rhel6.9 names RHEL 6"]),
        ("rhel6.9", [RHEL6], None, ("option", "rhel6.9", "legacy"), ["--os rhel6.9"]),
        (
            "win2k12",
            [RHEL6],
            None,
            ("option", "win2k12", "depends"),
            ["--os win2k12", "conflict: the metadata (line 7)"],
        ),
        (
            "win8",
            [OTHER],
            None,
            ("option", "win8", "depends"),
            ["--os win8", "which no policy knows; not used"],
        ),
        ("win8", [], "modern", ("option", "win8", "depends"), ["--os win8", "--assume modern is not needed"]),
        ("http://redhat.com/rhel/6.9", [], None, ("option", "rhel6.9", "legacy"), ["names RHEL 6"]),
        (
            "plan9",
            [],
            "legacy",
            ("assumed", "plan9", "legacy"),
            ["--os plan9 is known to no policy", "--assume legacy"],
        ),
        (
            None,
            [RHEL6],
            None,
            ("metadata", "rhel6.9", "legacy"),
            ["the metadata (line 7) names http://redhat.com"],
        ),
        (
            None,
            [RHEL6, FEDORA],
            None,
            ("metadata", "rhel6.9", "legacy"),
            ["(line 7)", "conflict: the metadata (line 9)"],
        ),
        (None, [OTHER, FEDORA], None, ("metadata", "fedora20", "legacy"), ["(line 7)", "(line 9)"]),
        (
            None,
            [RHEL6],
            "modern",
            ("metadata", "rhel6.9", "legacy"),
            ["(line 7)", "--assume modern is not needed"],
        ),
        (None, [OTHER], None, ("unknown", OTHER[0], None), ["which no policy knows"]),
        (
            None,
            [OTHER],
            "modern",
            ("assumed", OTHER[0], "modern"),
            ["which no policy knows", "--assume modern"],
        ),
        (None, [], None, ("unknown", "", None), ["names no operating system"]),
        (
            None,
            [],
            "legacy",
            ("assumed", "", "legacy"),
            ["names no operating system", "taken for a legacy guest"],
        ),
    ],
)
def test_identity(
    *,
    shipped: PolicySet,
    option: str | None,
    metadata: list[tuple[str, str]],
    assume: str | None,
    expected: tuple[str, str, str | None],
    said: list[str],
) -> None:
    found = identify(option, metadata, assume, shipped)
    interface = found.capabilities.interface.value if found.capabilities else None
    assert (found.how, found.id, interface) == expected
    for sentence in said:
        assert any(sentence in evidence for evidence in found.evidence), found.evidence


def test_unknown_os_names_its_neighbours(shipped: PolicySet) -> None:
    with pytest.raises(VirtfixError) as caught:
        identify("rhel6.91", [RHEL6], None, shipped)
    assert caught.value.code == "os-unknown"
    assert "did you mean rhel6.9" in str(caught.value)


def test_unknown_os_without_neighbours(shipped: PolicySet) -> None:
    with pytest.raises(VirtfixError, match="--assume legacy"):
        identify("\x1b[31mzzz\n", [], None, shipped)


def test_bad_assumption(shipped: PolicySet) -> None:
    with pytest.raises(VirtfixError, match="legacy or modern"):
        identify(None, [], "old", shipped)


def test_evidence_is_printable(shipped: PolicySet) -> None:
    found = identify(None, [("http://x/\x1b[2J\n", "line 3")], None, shipped)
    assert all(sentence.isprintable() for sentence in found.evidence)
