"""Which versioned machine type a domain is converted to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.machine import Family, family_of
from fixer.errors import VirtfixError, printable

if TYPE_CHECKING:
    from fixer.domain.machine import Machine
    from fixer.domain.target import Target

_ALIASES = {"q35": Family.Q35, "pc": Family.I440FX}
_ALIAS = {family: alias for alias, family in _ALIASES.items()}
_PREFIX = {Family.Q35: "pc-q35-", Family.I440FX: "pc-i440fx-"}
# pc-q35-2.4 is the oldest that libvirt gives a floppy drive of its own (qemuDomainNeedsFDC), and QEMU has dropped
# those before it; RHEL supports UEFI on Q35 from pc-q35-rhel7.3.0 on.
_OLDEST: dict[str, tuple[int, ...]] = {"": (2, 4), "rhel": (7, 3, 0)}
_PREFERRED_RHEL = (7, 4, 0)
_VERSION = re.compile(r"(rhel)?(\d+(?:\.\d+)+)")
_CODE_NAME = re.compile(r"[a-z]{4,20}(?:-[a-z]{2,8})?")  # Ubuntu's: jammy, focal-hpb
# Ubuntu had no Q35 types of its own before xenial.
_NO_Q35 = frozenset({"precise", "quantal", "raring", "saucy", "trusty", "utopic", "vivid", "wily"})
_LAST_RHEL_I440FX = (7, 6, 0)
_OLD_PC = re.compile(r"pc-([01]\.\d+)(?:-.+)?|(rhel[56]\.\d+(?:\.\d+)?)")  # before pc-i440fx had its name


class Wanted(NamedTuple):
    """A board, and the machine type of it that the owner names ('' for virtfix to find)."""

    family: Family
    name: str


def read_wanted(text: str) -> Wanted:
    """Read what --machine says: q35, q35=NAME, pc, pc=NAME or the NAME alone. Raises VirtfixError."""
    alias, _, name = text.partition("=")
    if alias in _ALIASES and ("=" in text) == bool(name):
        family = _ALIASES[alias]
        if name and (family_of(name) is not family or _version(name) is None):
            raise _no_machine(name, f"no versioned machine type of {alias}")
        return Wanted(family, name)
    family = family_of(text)
    if family is Family.OTHER or _version(text) is None:
        raise _no_machine(text, "no machine type that a domain can be converted to")
    return Wanted(family, text)


def _no_machine(text: str, what: str) -> VirtfixError:
    return VirtfixError(
        "usage.machine",
        f"'{printable(text, 60)}' is {what}",
        where="--machine",
        hint="write it as q35=pc-q35-8.2",
    )


def choose(machine: Machine, wanted: Wanted, target: Target | None) -> str:
    """Return the versioned machine type for a domain: the twin of its own where there is one.

    What ``target`` offers decides; without it only a twin is known to exist. Raises VirtfixError.
    """
    offered = _offered(wanted.family, target)
    if target is not None and not offered and any(_version(name) for name in target.machines):
        raise VirtfixError(
            "machine.target", f"offers no {_ALIAS[wanted.family]} machine type", where=target.where
        )
    if wanted.name:
        # Domain capabilities speak of one type only: that another one is missing there says nothing.
        if target is not None and target.machines and offered and wanted.name not in offered:
            raise VirtfixError(
                "machine.target",
                f"does not offer the machine type {wanted.name}",
                where=target.where,
                hint=f"it offers {', '.join(sorted(offered, key=_rank)[-3:])}",
            )
        return wanted.name
    twin = _twin(machine.name, wanted.family)
    if target is not None and offered:
        return twin if twin in offered else _nearest(machine.name, wanted.family, offered, target)
    if twin and not too_old(twin):
        return twin
    alias = _ALIAS[wanted.family]
    told = f"'{printable(machine.name, 60)}' has no {alias} type of the same version that is sure to exist"
    raise VirtfixError(
        "machine.version",
        told if machine.name else "the domain names no machine type",
        hint=f"name one as --machine {alias}={_PREFIX[wanted.family]}8.2, or say what the host offers by "
        "--target-capabilities FILE|URI",
    )


def too_old(name: str) -> bool:
    """Tell whether a type is older than what UEFI and today's QEMU need; of those without a number nobody knows."""
    version = _version(name)
    return version is not None and bool(version.number) and version.number < _OLDEST.get(version.vendor, ())


def below_preferred(name: str) -> bool:
    """Tell whether RHEL would rather have a newer type under UEFI."""
    version = _version(name)
    return version is not None and version.vendor == "rhel" and version.number < _PREFERRED_RHEL


class _Version(NamedTuple):
    """Vendor ('' for QEMU itself) and number; a code name (pc-q35-jammy) is a vendor without a number."""

    vendor: str
    number: tuple[int, ...]


def _offered(family: Family, target: Target | None) -> frozenset[str]:
    """Return the versioned types of a family that a host offers, none where it does not speak of them."""
    if target is None:
        return frozenset()
    names = target.machines | ({target.only} if target.only else frozenset())
    return frozenset(
        name for name in names if family_of(name) is family and name not in target.aliases and _version(name)
    )


def _nearest(name: str, family: Family, offered: frozenset[str], target: Target) -> str:
    """Return the oldest type that is not older than the domain's own, else what the alias stands for."""
    own = _version(name)
    if own is not None and own.number:
        known = [(version, one) for one in offered if (version := _version(one)) is not None]
        newer = [pair for pair in known if pair[0].vendor == own.vendor and pair[0].number >= own.number]
        if newer:
            return min(newer)[1]
    standing = target.aliases.get(_ALIAS[family], "")
    return standing if standing in offered else max(offered, key=_rank)


def _twin(name: str, family: Family) -> str:
    """Return the type of the other board with the same version, '' for a name without one."""
    version = _version(name)
    if version is None:
        return ""
    if family is Family.Q35:
        never = version.vendor in _NO_Q35
    else:  # RHEL stopped at pc-i440fx-rhel7.6.0; QEMU's pc-q35-4.0.1 has no like
        never = version.vendor == "rhel" and version.number > _LAST_RHEL_I440FX
        never = never or (not version.vendor and len(version.number) > 2)
    return "" if never else _PREFIX[family] + _number_of(name)


def _number_of(name: str) -> str:
    """Return what of a name is its version: 8.2, rhel7.6.0, jammy; '' where there is none."""
    old = _OLD_PC.fullmatch(name)
    if old is not None:
        return old[1] or old[2]
    return next((name.removeprefix(prefix) for prefix in _PREFIX.values() if name.startswith(prefix)), "")


def _rank(name: str) -> tuple[bool, tuple[int, ...], str]:
    version = _version(name)
    return (version is not None and not version.vendor, () if version is None else version.number, name)


def _version(name: str) -> _Version | None:
    """Return the version of a versioned name, None for an alias."""
    text = _number_of(name)
    found = _VERSION.fullmatch(text)
    if found is not None:
        return _Version(found[1] or "", tuple(map(int, found[2].split("."))))
    return _Version(text, ()) if _CODE_NAME.fullmatch(text) else None
