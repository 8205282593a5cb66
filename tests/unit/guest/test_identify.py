"""Which guest is taken, and what is said about the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixer.errors import VirtfixError
from fixer.guest.clues import Clue, of_agent, of_option
from fixer.guest.identify import identify
from fixer.guest.knowledge import Knowledge
from fixer.guest.negotiated import Device, Observation, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.guest.identify import GuestIdentity
    from fixer.policy.match import PolicySet


def metadata(uri: str, line: int) -> Clue:
    return Clue("metadata", f"the metadata (line {line})", uri, (uri,))


RHEL6 = metadata("http://redhat.com/rhel/6.9", 7)
FEDORA = metadata("http://fedoraproject.org/fedora/20", 9)
RHEL8 = metadata("http://redhat.com/rhel/8.6", 7)
OTHER = metadata("http://plan9.example/plan/9", 7)


def inspected(os_id: str, **builds: str) -> Clue:
    return Clue("inspection", "the inspection report r.xml", os_id, (os_id,), builds)


def mapped(os_id: str) -> Clue:
    return Clue("mapping", "the mapping (map.yaml:3)", os_id, (os_id,))


def seen(*verdicts: tuple[str, Verdict]) -> Observation:
    return Observation(
        tuple(Device(f"/machine/{n}", kind, verdict) for n, (kind, verdict) in enumerate(verdicts))
    )


LEGACY = seen(("block", Verdict.LEGACY), ("net", Verdict.LEGACY))
MODERN = seen(("block", Verdict.MODERN), ("rng", Verdict.SILENT))


@pytest.fixture(scope="module")
def known(shipped: PolicySet) -> Knowledge:
    return Knowledge(shipped)


def interface(found: GuestIdentity) -> str | None:
    return found.capabilities.interface.value if found.capabilities else None


@pytest.mark.parametrize(
    ("clues", "assume", "expected", "said"),
    [
        ([of_option("rhel6.9")], None, ("option", "rhel6.9", "legacy"), ["--os rhel6.9 names RHEL 6"]),
        ([of_option("rhel6.9"), RHEL6], None, ("option", "rhel6.9", "legacy"), ["--os rhel6.9"]),
        (
            [of_option("win2k12"), RHEL6],
            None,
            ("option", "win2k12", "depends"),
            ["--os win2k12", "conflict: the metadata (line 7)"],
        ),
        (
            [of_option("win8"), OTHER],
            None,
            ("option", "win8", "depends"),
            ["--os win8", "which no policy knows"],
        ),
        (
            [of_option("win8")],
            "modern",
            ("option", "win8", "depends"),
            ["--os win8", "--assume modern is not needed: --os names the guest"],
        ),
        (
            [of_option("http://redhat.com/rhel/6.9")],
            None,
            ("option", "rhel6.9", "legacy"),
            ["names RHEL 6"],
        ),
        (
            [of_option("plan9")],
            "legacy",
            ("assumed", "plan9", "legacy"),
            ["--os plan9 is known to no policy", "--assume legacy"],
        ),
        (
            [RHEL6],
            None,
            ("metadata", "rhel6.9", "legacy"),
            ["the metadata (line 7) names http://redhat.com"],
        ),
        (
            [RHEL6, FEDORA],
            None,
            ("metadata", "rhel6.9", "legacy"),
            ["(line 7)", "conflict: the metadata (line 9)"],
        ),
        ([OTHER, FEDORA], None, ("metadata", "fedora20", "legacy"), ["(line 7)", "(line 9)"]),
        (
            [RHEL6],
            "modern",
            ("metadata", "rhel6.9", "legacy"),
            ["(line 7)", "--assume modern is not needed: the metadata names the guest"],
        ),
        ([OTHER], None, ("unknown", OTHER.said, None), ["which no policy knows"]),
        (
            [OTHER],
            "modern",
            ("assumed", OTHER.said, "modern"),
            ["which no policy knows", "--assume modern"],
        ),
        ([], None, ("unknown", "", None), ["names no operating system"]),
        (
            [],
            "legacy",
            ("assumed", "", "legacy"),
            ["names no operating system", "taken for a legacy guest"],
        ),
    ],
)
def test_identity(
    known: Knowledge,
    clues: list[Clue],
    assume: str | None,
    expected: tuple[str, str, str | None],
    said: list[str],
) -> None:
    found = identify(clues, assume, known)
    assert (found.how, found.id, interface(found)) == expected
    for sentence in said:
        assert any(sentence in evidence for evidence in found.evidence), found.evidence


@pytest.mark.parametrize(
    ("clues", "how", "os_id", "verdict"),
    [
        # In the order option, mapping, metadata, platform, inspection, agent, whatever the order given.
        ([RHEL6, mapped("centos6.10"), of_option("sles11sp4")], "option", "sles11sp4", "legacy"),
        ([RHEL6, mapped("centos6.10")], "mapping", "centos6.10", "legacy"),
        ([inspected("sles11sp4"), RHEL6], "metadata", "rhel6.9", "legacy"),
        (
            [Clue("agent", "the guest agent", "x", ("fedora30",)), inspected("fedora20")],
            "inspection",
            "fedora20",
            "legacy",
        ),
        # A label that is modern and something seen that is not: right under both.
        ([RHEL8, inspected("rhel6.9")], "metadata", "rhel8.6", "depends"),
        ([RHEL8, inspected("rhel8.6")], "metadata", "rhel8.6", "modern"),
        # The owner's word is not doubted by labels.
        ([of_option("rhel8.6"), RHEL6], "option", "rhel8.6", "modern"),
        ([mapped("rhel8.6"), RHEL6, inspected("rhel6.9")], "mapping", "rhel8.6", "modern"),
    ],
)
def test_order_and_doubt(known: Knowledge, clues: list[Clue], how: str, os_id: str, verdict: str) -> None:
    found = identify(clues, None, known)
    assert (found.how, found.id, interface(found)) == (how, os_id, verdict)
    assert len({item.by for item in found.items}) == len(clues), "all of it is shown"


def test_conflicts_are_said(known: Knowledge) -> None:
    found = identify([RHEL8, inspected("rhel6.9")], None, known)
    assert found.conflicts == ("planned as RHEL 8 (all), but the inspection report r.xml names rhel6.9",)
    assert any(text.startswith("conflict: the inspection report") for text in found.evidence)
    assert found.capabilities is not None
    assert (
        found.capabilities.interface.condition
        == "it is not RHEL 6.0-6.10 (CentOS and Scientific Linux 6) after all"
    )


@pytest.mark.parametrize(
    ("clues", "builds", "verdict"),
    [
        ([metadata("http://centos.org/centos/7.0", 5)], {}, "depends"),
        ([metadata("http://centos.org/centos/7.0", 5)], {"kernel": "3.10.0-229.el7.x86_64"}, "legacy"),
        ([metadata("http://centos.org/centos/7.0", 5)], {"kernel": "3.10.0-1160.el7.x86_64"}, "modern"),
        ([metadata("http://centos.org/centos/7.0", 5)], {"kernel": "3.10.0"}, "depends"),
        ([of_option("ol6.9")], {"kernel": "4.1.12-37.4.1.el6uek"}, "modern"),
        ([of_option("ol6.9")], {"kernel": "2.6.32-754.el6"}, "legacy"),
        ([of_option("win2k12r2")], {"virtio-win": "0.1.126"}, "modern"),
        ([of_option("win2k12r2")], {"virtio-win": "110"}, "legacy"),
        ([of_option("win10")], {"virtio-win": "62.71.104.11000"}, "legacy"),
        ([of_option("ubuntu14.04"), inspected("ubuntu14.04", kernel="4.4.0-31-generic")], {}, "modern"),
        # What the owner states is heard first.
        (
            [of_option("ubuntu14.04"), inspected("ubuntu14.04", kernel="4.4.0")],
            {"kernel": "3.13.0-24"},
            "legacy",
        ),
        ([], {"kernel": "3.2.0-4-amd64"}, "legacy"),
        ([], {"kernel": "5.10.0-21-amd64"}, "modern"),
    ],
)
def test_builds_decide(known: Knowledge, clues: list[Clue], builds: dict[str, str], verdict: str) -> None:
    found = identify(clues, None, known, builds=builds)
    assert interface(found) == verdict


def test_builds_that_decided_are_recorded(known: Knowledge) -> None:
    found = identify([of_option("win2k12r2")], None, known, builds={"virtio-win": "0.1.171", "kernel": "9.9"})
    assert found.builds == {"virtio-win": "0.1.171"}
    assert found.capabilities is not None
    assert found.capabilities.drives("fs").value == "no", "0.1.187 brought it"
    assert found.capabilities.drives("input").value == "yes", "0.1.126 brought it"


@pytest.mark.parametrize(
    ("clues", "observation", "how", "verdict", "conflicts"),
    [
        ([], LEGACY, "negotiated", "legacy", 0),
        ([], MODERN, "negotiated", "modern", 0),
        ([OTHER], MODERN, "negotiated", "modern", 0),
        ([RHEL6], LEGACY, "metadata", "legacy", 0),
        ([RHEL6], MODERN, "metadata", "modern", 1),
        ([RHEL8], LEGACY, "metadata", "legacy", 1),
        ([of_option("rhel8.6")], LEGACY, "option", "legacy", 1),
        ([of_option("rhel6.9")], MODERN, "option", "legacy", 1),
        ([of_option("win2k12")], MODERN, "option", "depends", 0),
        ([metadata("http://microsoft.com/win/2k12", 5)], MODERN, "metadata", "modern", 0),
        ([RHEL8], seen(("balloon", Verdict.LEGACY), ("net", Verdict.MODERN)), "metadata", "legacy", 1),
        # Nothing is proved: no driver, or a host that offers no virtio 1.0.
        ([RHEL8], seen(("net", Verdict.SILENT)), "metadata", "modern", 0),
        ([RHEL8], seen(("net", Verdict.NOT_OFFERED)), "metadata", "modern", 0),
        ([], seen(("net", Verdict.NOT_OFFERED)), "unknown", None, 0),
    ],
)
def test_what_was_negotiated_is_proof(
    known: Knowledge,
    clues: Iterable[Clue],
    observation: Observation,
    how: str,
    verdict: str | None,
    conflicts: int,
) -> None:
    found = identify(clues, None, known, observation=observation)
    assert (found.how, interface(found), len(found.conflicts)) == (how, verdict, conflicts)
    assert any("the running guest negotiated" in text for text in found.evidence)


def test_a_guest_that_nobody_names_drives_what_it_drives(known: Knowledge) -> None:
    found = identify([], None, known, observation=MODERN)
    assert found.capabilities is not None
    assert found.capabilities.drives("block").value == "yes"
    assert found.capabilities.drives("rng").value == "unknown"
    assert found.capabilities.interface.confidence == "confirmed"


@pytest.mark.parametrize(
    ("said", "ids", "kernel"),
    [
        (
            {"id": "rhel", "version-id": "7.4", "kernel-release": "3.10.0-693.el7.x86_64"},
            "rhel7.4",
            "3.10.0-693.el7.x86_64",
        ),
        (
            {"id": "centos", "version-id": "7", "kernel-release": "3.10.0-123.el7"},
            "centos7",
            "3.10.0-123.el7",
        ),
        ({"id": "sles", "version-id": "12.1", "kernel-release": "3.12.49"}, "sles12sp1", "3.12.49"),
        ({"id": "unheardof", "kernel-release": "2.6.32-5-amd64"}, "linux2.6.32", "2.6.32-5-amd64"),
        (
            {"id": "mswindows", "kernel-version": "6.1", "kernel-release": "7601", "variant-id": "server"},
            "win2k8r2",
            None,
        ),
        ({"id": "mswindows", "kernel-version": "6.1", "variant": "client"}, "win7", None),
        (
            {"id": "mswindows", "kernel-version": "10.0", "kernel-release": "20348", "variant": "server"},
            "win2k22",
            None,
        ),
    ],
)
def test_guest_agent(known: Knowledge, said: dict[str, str], ids: str, kernel: str | None) -> None:
    clue = of_agent(said)
    assert clue is not None
    guest = known.first(clue.ids)
    assert guest is not None
    assert guest.id == ids
    assert clue.builds.get("kernel") == kernel


def test_guest_agent_that_says_nothing() -> None:
    assert of_agent({}) is None


def test_unknown_os_names_its_neighbours(known: Knowledge) -> None:
    with pytest.raises(VirtfixError) as caught:
        identify([of_option("rhel6.91"), RHEL6], None, known)
    assert caught.value.code == "os-unknown"
    assert "did you mean rhel6.9" in str(caught.value)


def test_unknown_os_without_neighbours(known: Knowledge) -> None:
    with pytest.raises(VirtfixError, match="--assume legacy"):
        identify([of_option("\x1b[31mzzz\n")], None, known)


def test_bad_assumption(known: Knowledge) -> None:
    with pytest.raises(VirtfixError, match="legacy or modern"):
        identify([], "old", known)


def test_evidence_is_printable(known: Knowledge) -> None:
    found = identify([metadata("http://x/\x1b[2J\n", 3)], None, known)
    assert all(sentence.isprintable() for sentence in found.evidence)


def test_remarks_are_said(known: Knowledge) -> None:
    found = identify([RHEL6], None, known, remarks=["the guest agent did not answer"])
    assert found.evidence[-1] == "the guest agent did not answer"
