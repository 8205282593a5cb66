"""The ledger: for every OS of osinfo-db that lists virtio devices, what virtfix says, and why where it differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.guest.knowledge import Knowledge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.guest.osinfo import Record, Snapshot
    from fixer.policy.match import PolicySet
    from fixer.policy.model import Fact, GuestCapabilities

# The version of osinfo-db that the ledger is made of: Debian's package 0.20221130-2.
OSINFO_DB = "20221203"

_ANSWERS = {"modern": "virtio 1.0", "legacy": "no virtio 1.0", "yes": "listed", "no": "not listed"}


class Answer(NamedTuple):
    """One thing that both speak of: ours, and osinfo-db's (modern or legacy; yes or, where not listed, no)."""

    what: str
    ours: Fact
    theirs: str

    @property
    def agrees(self) -> bool:
        return self.ours.value == self.theirs

    @property
    def silent(self) -> bool:
        """Whether osinfo-db lists nothing, which is no statement."""
        return self.theirs == "no"


class _Source:
    """A snapshot as the source of a Knowledge."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.version = snapshot.version
        self.record = snapshot.find


def answers(guest: GuestCapabilities, record: Record) -> Iterator[Answer]:
    """Yield what both speak of: the interface, each driver kind that osinfo-db lists, UEFI."""
    yield Answer(
        "interface", guest.interface, "modern" if record.modern & {"block", "net", "scsi"} else "legacy"
    )
    for kind in sorted(record.virtio):
        yield Answer(kind, guest.drives(kind), "yes")
    yield Answer("uefi", guest.uefi, "yes" if "efi" in record.firmware else "no")


def render(policies: PolicySet, snapshot: Snapshot) -> str:
    """Return the ledger as Markdown."""
    knowledge = Knowledge(policies, _Source(snapshot))
    table: list[str] = []
    differs: dict[tuple[str, str, str, str], list[str]] = {}
    counts = {"agree": 0, "differ": 0, "silent": 0}
    systems = 0
    for record in sorted(snapshot.records(), key=lambda one: one.ids[:1]):
        if not record.virtio:
            continue
        guest = knowledge.find(record.ids[0])
        assert guest is not None, "knowledge has osinfo-db beneath it"
        systems += 1
        table.append(_row(guest, record))
        for answer in answers(guest, record):
            counts["silent" if answer.silent else "agree" if answer.agrees else "differ"] += 1
            if not answer.agrees and not answer.silent:
                key = (answer.what, answer.ours.value, _ANSWERS[answer.theirs], _why(answer.ours, guest))
                differs.setdefault(key, []).append(record.ids[0])
    return _PAGE.format(
        version=snapshot.version,
        systems=systems,
        **counts,
        share=100 * counts["agree"] // (counts["agree"] + counts["differ"]),
        differs="\n".join(_differs(differs)),
        table="\n".join(table),
    )


def _why(fact: Fact, guest: GuestCapabilities) -> str:
    source = guest.sources.get(fact.source, fact.source)
    return "; ".join(filter(None, (fact.condition, fact.note, f"{source} ({fact.confidence})")))


def _differs(differs: dict[tuple[str, str, str, str], list[str]]) -> Iterator[str]:
    for (what, ours, theirs, why), systems in differs.items():
        yield f"| {', '.join(systems)} | {what} | {ours} | {theirs} | {_cell(why)} |"


def _row(guest: GuestCapabilities, record: Record) -> str:
    driven = [kind for kind, fact in guest.drivers.items() if fact.value == "yes"]
    fact = guest.interface
    cells = (
        record.ids[0],
        fact.value,
        f"{fact.source} ({fact.confidence})",
        ", ".join(driven),
        guest.uefi.value,
        guest.secure_boot.value,
        fact.where,
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_PAGE = """\
# Ledger

For every x86 operating system of osinfo-db {version} that lists virtio devices: the verdict of virtfix, where it
comes from, and where the two disagree. Made by `python docs/generate_policy.py`; a test keeps it true.

{systems} operating systems. Of what osinfo-db states (interface, listed drivers, UEFI), virtfix agrees in {agree}
answers and differs in {differ} ({share} % agree). In {silent} answers osinfo-db lists no UEFI, which states
nothing. Where they differ on virtio 1.0 and virtfix is not sure, its answer is `depends`: such a guest gets
transitional devices, which are right under both.

## Where virtfix differs, and why

| systems | about | virtfix | osinfo-db | why |
|---|---|---|---|---|
{differs}

## All verdicts

| system | virtio | source (confidence) | drives | UEFI | Secure Boot | stated in |
|---|---|---|---|---|---|---|
{table}
"""
