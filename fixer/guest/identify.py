"""Which operating system a domain runs, and by what evidence.

In this order: the --os option, the libosinfo metadata of the domain, the --assume option. What was
consulted and set aside is said too, because a report has to show why a rewrite suits its guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.errors import VirtfixError, printable
from fixer.policy.model import ASSUMED_LEGACY, ASSUMED_MODERN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixer.policy.match import PolicySet
    from fixer.policy.model import GuestCapabilities

_ASSUMED = {"legacy": ASSUMED_LEGACY, "modern": ASSUMED_MODERN}


class GuestIdentity(NamedTuple):
    """The guest of a domain.

    ``id`` is the short id, or what was stated where no policy knows it, or empty. ``capabilities`` is
    None where nothing is known and nothing assumed. ``how`` is option, metadata, assumed or unknown.
    ``evidence`` is made of sentences.
    """

    id: str
    capabilities: GuestCapabilities | None
    evidence: tuple[str, ...]
    how: str


def identify(
    os_option: str | None,
    libosinfo_ids: Sequence[tuple[str, str]],
    assume: str | None,
    policies: PolicySet,
) -> GuestIdentity:
    """Return the guest.

    ``libosinfo_ids`` are (URI or id, place) pairs of the domain's metadata, a place being ``line 7``.
    Raises VirtfixError ``os-unknown`` for an --os that no policy knows, unless ``assume`` is given, and
    ``assume-unknown`` for an ``assume`` that is neither legacy nor modern.
    """
    if assume is not None and assume not in _ASSUMED:
        hint = "it is legacy or modern"
        raise VirtfixError("assume-unknown", f'--assume has no value "{assume}"', hint=hint)
    if os_option is not None:
        found = policies.find(os_option)
        if found is not None:
            said = (
                f"--os {printable(os_option, 80)} names {found.name}",
                *_beside(found, libosinfo_ids, policies),
            )
            return GuestIdentity(found.id, found, (*said, *_idle(assume, "--os")), "option")
        if assume is None:
            raise _unknown_os(os_option, policies)
        said = (f"--os {printable(os_option, 80)} is known to no policy",)
        return _assumed(os_option, assume, said)
    return _by_metadata(libosinfo_ids, assume, policies)


def _by_metadata(
    libosinfo_ids: Sequence[tuple[str, str]], assume: str | None, policies: PolicySet
) -> GuestIdentity:
    said: list[str] = []
    for uri, place in libosinfo_ids:
        found = policies.find(uri)
        if found is None:
            said.append(f"the metadata ({place}) names {printable(uri, 80)}, which no policy knows")
            continue
        others = [pair for pair in libosinfo_ids if pair != (uri, place)]
        said.append(f"the metadata ({place}) names {printable(uri, 80)}: {found.name}")
        said += [*_beside(found, others, policies), *_idle(assume, "the metadata")]
        return GuestIdentity(found.id, found, tuple(dict.fromkeys(said)), "metadata")
    if not said:
        said.append("the domain's metadata names no operating system")
    stated = libosinfo_ids[0][0] if libosinfo_ids else ""
    if assume is not None:
        return _assumed(stated, assume, tuple(said))
    return GuestIdentity(stated, None, tuple(said), "unknown")


def _assumed(stated: str, assume: str, said: tuple[str, ...]) -> GuestIdentity:
    sentence = f"--assume {assume}: taken for a {assume} guest"
    return GuestIdentity(stated, _ASSUMED[assume], (*said, sentence), "assumed")


def _beside(
    taken: GuestCapabilities, libosinfo_ids: Sequence[tuple[str, str]], policies: PolicySet
) -> tuple[str, ...]:
    """Return a sentence for each metadata entry that names another guest than the one taken."""
    said = []
    for uri, place in libosinfo_ids:
        other = policies.find(uri)
        if other is None:
            said.append(f"the metadata ({place}) names {printable(uri, 80)}, which no policy knows; not used")
        elif other.name != taken.name:
            said.append(
                f"conflict: the metadata ({place}) names {printable(uri, 80)}: {other.name}; not used"
            )
    return tuple(said)


def _idle(assume: str | None, by: str) -> tuple[str, ...]:
    return (f"--assume {assume} is not needed: {by} names the guest",) if assume else ()


def _unknown_os(os_option: str, policies: PolicySet) -> VirtfixError:
    near = policies.near(os_option)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else "add it by --policy, or plan with --assume legacy"
    )
    return VirtfixError(
        "os-unknown", f'no policy knows the operating system "{os_option}"', where="--os", hint=hint
    )
