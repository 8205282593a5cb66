"""Facts about guests for people and programs: a value with where it comes from."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from fixer.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fixer.policy.model import Fact, GuestCapabilities

INTERFACES = {
    "legacy": "legacy virtio only",
    "modern": "virtio 1.0",
    "depends": "virtio 1.0 only with newer drivers: planned as legacy, which is right under both",
}


def fact_json(fact: Fact, sources: Mapping[str, str], *, dependent: bool = False) -> dict[str, Any]:
    """Return a fact as JSON values.

    An answer that depends is ``unknown`` with a ``condition``, but for an interface (``dependent``), where
    depends is a value of its own.
    """
    value = "unknown" if fact.value == "depends" and not dependent else fact.value
    found = {
        "value": value,
        "source": sources.get(fact.source, fact.source),
        "source_id": fact.source,
        "confidence": fact.confidence,
        "where": fact.where,
    }
    optional = {
        "condition": fact.condition,
        "legacy_until": fact.legacy_until,
        "needs": fact.needs,
        "note": fact.note,
    }
    return found | {key: text for key, text in optional.items() if text}


def guest_json(guest: GuestCapabilities) -> dict[str, Any]:
    """Return all that is known of a guest as JSON values (docs/json.md)."""

    def group(facts: Mapping[str, Fact]) -> dict[str, Any]:
        return {key: fact_json(fact, guest.sources) for key, fact in facts.items()}

    return {
        "id": guest.id,
        "name": guest.name,
        "family": guest.family,
        "kernel": fact_json(guest.kernel, guest.sources),
        "virtio": {
            "interface": fact_json(guest.interface, guest.sources, dependent=True),
            "drivers": group(guest.drivers),
            "legacy_only": guest.legacy_only,
        },
        "firmware": group({"uefi": guest.uefi, "secure_boot": guest.secure_boot}),
        "chipset": group(guest.chipset),
        "hotplug": group(guest.hotplug),
        "naming": group({"nic": guest.nic_naming, "disk": guest.disk_naming}),
        "quirks": list(guest.quirks),
        "notes": list(guest.notes),
    }


def fact_text(fact: Fact, source: str) -> str:
    """Return a fact on one line: value, condition, confidence, ``source`` as it shall be named, note."""
    told = fact.value
    if fact.condition and fact.value == "depends":
        told += f": {fact.condition}"
    proof = ", ".join(filter(None, (fact.confidence, source)))
    return f"{told} ({proof})" + (f"; {fact.note}" if fact.note else "")


def guest_text(guest: GuestCapabilities, said: Iterable[str], width: int) -> str:
    """Return all that is known of a guest for a person. ``said`` is what osinfo-db says beside."""
    blocks: tuple[tuple[str, Mapping[str, Fact]], ...] = (
        ("virtio", {"interface": guest.interface, "kernel": guest.kernel}),
        ("drivers", guest.drivers),
        ("firmware", {"uefi": guest.uefi, "secure-boot": guest.secure_boot}),
        ("chipset", guest.chipset),
        ("hot-plug", guest.hotplug),
        ("naming", {"nic": guest.nic_naming, "disk": guest.disk_naming}),
    )
    lines = [f"{printable(guest.id)}: {printable(guest.name)}"]
    for title, facts in blocks:
        lines += _block(title, facts, width)
    used = dict.fromkeys(fact.source for _, facts in blocks for fact in facts.values())
    legend = tuple(f"{key}: {guest.sources[key]}" for key in used if key in guest.sources)
    for title, texts in (
        ("quirks", guest.quirks),
        ("notes", guest.notes),
        ("osinfo-db", tuple(said)),
        ("sources", legend),
    ):
        lines += ["", title] if texts else []
        for text in texts:
            lines += _wrapped(f"- {text}", width, "  ", "    ")
    return "\n".join(lines) + "\n"


def _block(title: str, facts: Mapping[str, Fact], width: int) -> Iterator[str]:
    """Yield a line a fact; kinds that share one stand together."""
    together: dict[str, list[str]] = {}
    for key, fact in facts.items():
        together.setdefault(fact_text(fact, fact.source), []).append(key)
    if together:
        yield from ("", title)
    for text, keys in together.items():
        yield from _wrapped(f"{', '.join(keys)}: {text}", width, "  ", "      ")


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        printable(text, 2000),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def osinfo_sentences(record: Any, version: str) -> list[str]:
    """Return what osinfo-db alone says of an OS."""
    if record is None:
        return []
    said = [f"osinfo-db {version}: {record.uri}"]
    for title, kinds in (("legacy devices", record.legacy), ("virtio 1.0 devices", record.modern)):
        said.append(f"{title}: {', '.join(sorted(kinds)) or 'none listed'}")
    said.append(f"other parts: {', '.join(sorted(record.parts)) or 'none listed'}")
    said.append(f"firmware (x86_64): {', '.join(sorted(record.firmware)) or 'none listed'}")
    return said
