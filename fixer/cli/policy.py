"""virtfix policy: what each of its commands does."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from fixer.adapters import osinfo_db as database
from fixer.adapters import policy_files
from fixer.cli.exit_codes import Exit
from fixer.cli.wiring import DEVICE_KINDS, Settings, build_knowledge, check_builds
from fixer.errors import VirtfixError, printable
from fixer.guest.knowledge import Knowledge
from fixer.policy.builds import settle
from fixer.policy.ids import Pattern
from fixer.policy.model import KINDS
from fixer.policy.release import capabilities
from fixer.report import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.guest.osinfo import Snapshot
    from fixer.policy.match import PolicySet
    from fixer.policy.model import GuestCapabilities


def list_known(settings: Settings, family: str, form: str, *, osinfo: bool) -> Exit:
    """Print a line, or a JSON value, for each release that is known."""
    knowledge = build_knowledge(settings)
    known = [guest for guest in _known(knowledge, osinfo=osinfo) if family in {"", guest.family}]
    if family and not known:
        families = sorted({guest.family for guest in _known(knowledge, osinfo=osinfo)})
        raise VirtfixError(
            "policy.family", f"no family '{family}'", where="--family", hint=f"one of {', '.join(families)}"
        )
    if form == "json":
        _print_json([facts.guest_json(guest) for guest in known])
        return Exit.DONE
    wide = max((len(guest.id) for guest in known), default=0)
    for guest in known:
        interface = f"{guest.interface.value} ({guest.interface.confidence})"
        sys.stdout.write(f"{printable(guest.id):<{wide}}  {interface:<20}  {printable(guest.name)}\n")
    return Exit.DONE


def _known(knowledge: Knowledge, *, osinfo: bool) -> Iterator[GuestCapabilities]:
    """Yield the first id of each release, then what only osinfo-db knows."""
    policies = knowledge.policies
    for release in (release for shelf in policies.shelves for release in shelf.releases):
        ids = (name for text in release.osinfo for name in Pattern.of(text).names())
        named = next((name for name in ids if (found := policies.release(name)) and found[0] == release), "")
        # A release that a later one hides has no id left; one that is all globs is shown by the first.
        guest = knowledge.find(named) if named else None
        yield guest or capabilities(release, release.osinfo[0])
    whole = _whole(knowledge) if osinfo else None
    for record in whole.records() if whole is not None else ():
        key = record.ids[0] if record.ids else record.uri
        if knowledge.policies.find(key) is None:
            guest = knowledge.find(key)
            if guest is not None:
                yield guest


def _whole(knowledge: Knowledge) -> Snapshot | None:
    source = knowledge.osinfo
    return source.whole() if isinstance(source, database.OsinfoDb) else None


def show(settings: Settings, os_id: str, form: str, width: int) -> Exit:
    """Print all that is known of an OS. Raises VirtfixError for one that nobody knows."""
    knowledge = build_knowledge(settings)
    guest = _guest(knowledge, os_id, settings)
    record = knowledge.record(os_id) or knowledge.record(guest.id)
    said = facts.osinfo_sentences(record, knowledge.osinfo.version if knowledge.osinfo else "")
    if form == "json":
        _print_json(facts.guest_json(guest) | {"osinfo_db": said})
    else:
        sys.stdout.write(facts.guest_text(guest, said, width))
    return Exit.DONE


def explain(settings: Settings, os_id: str, device: str, width: int) -> Exit:
    """Print how an OS drives a kind of device. Raises VirtfixError for a kind that does not exist."""
    kinds = DEVICE_KINDS.get(device.lower()) or ((device.lower(),) if device.lower() in KINDS else ())
    if not kinds:
        from fixer.policy.check import near  # noqa: PLC0415

        meant = near(device, (*DEVICE_KINDS, *KINDS))
        hint = f"did you mean {meant}?" if meant else f"one of {', '.join(sorted({*DEVICE_KINDS, *KINDS}))}"
        raise VirtfixError("usage.kind", f"no device kind '{device}'", where="DEVICE", hint=hint)
    guest = _guest(build_knowledge(settings), os_id, settings)
    from fixer.report.driving import driving_text  # noqa: PLC0415

    sys.stdout.write("\n".join(driving_text(guest, kind, width) for kind in kinds))
    return Exit.DONE


def _guest(knowledge: Knowledge, os_id: str, settings: Settings) -> GuestCapabilities:
    check_builds(settings)
    guest = knowledge.complete(os_id)
    if guest is None:
        near = knowledge.near(os_id)
        hint = f"did you mean {' or '.join(near)}?" if near else "virtfix policy list shows what is known"
        raise VirtfixError(
            "os-unknown", f"nobody knows the operating system '{printable(os_id, 80)}'", hint=hint
        )
    return settle(guest, settings.builds)


def check(paths: list[str]) -> Exit:
    """Check each file on its own, later ones on top of earlier ones; tell every first mistake."""
    from fixer.policy.load import load  # noqa: PLC0415 - the shipped policies are compiled

    base = policy_files.shipped()
    source = database.OsinfoDb()
    failed = False
    for path in paths:
        try:
            files = policy_files.user_files([path])
        except VirtfixError as error:
            failed = _told(error)
            continue
        for name, data in files:
            try:
                checked = load([(name, data)], base)
                _check_systems(checked, base, source)
            except VirtfixError as error:
                failed = _told(error)
                continue
            base = checked
            sys.stdout.write(f"{printable(name)}: right\n")
    return Exit.ERROR if failed else Exit.DONE


def _check_systems(checked: PolicySet, before: PolicySet, source: database.OsinfoDb) -> None:
    """Refuse a mapping to an OS that nobody knows, which no plan could use."""
    knowledge = Knowledge(checked, source)
    for entry in checked.mapping[len(before.mapping) :]:
        if knowledge.find(entry.os) is None:
            near = knowledge.near(entry.os)
            hint = f"did you mean {' or '.join(near)}?" if near else "virtfix policy list shows what is known"
            raise VirtfixError(
                "policy-invalid",
                f'nobody knows the operating system "{entry.os}"',
                where=entry.where,
                hint=hint,
            )


def _told(error: VirtfixError) -> bool:
    sys.stdout.flush()
    sys.stderr.write(f"virtfix: {error}\n")
    return True


def schema() -> Exit:
    from fixer.policy.schema import json_schema  # noqa: PLC0415

    _print_json(json_schema())
    return Exit.DONE


def diff(old: str, new: str, form: str, *, alone: bool, detailed: bool) -> Exit:
    """Print the operating systems whose verdict differs."""
    from fixer.policy.compare import compare  # noqa: PLC0415

    changes = compare(_set(old, alone=alone), _set(new, alone=alone))
    if form == "json":
        _print_json([change.to_json() for change in changes])
    else:
        sys.stdout.writelines(f"{change.text}\n" for change in changes)
        count = len({change.os for change in changes})
        sys.stderr.write(f"virtfix: {count} operating system{'s' * (count != 1)} with another verdict\n")
    return Exit.PENDING if detailed and changes else Exit.DONE


def _set(path: str, *, alone: bool) -> PolicySet:
    if path == "shipped":
        return policy_files.shipped()
    from fixer.policy.load import load  # noqa: PLC0415

    return load(policy_files.user_files([path]), None if alone else policy_files.shipped())


def test(settings: Settings) -> Exit:
    """Run the expectations of the shipped policies and of those given; tell each that does not hold."""
    from fixer.policy.expect import broken  # noqa: PLC0415
    from fixer.policy.load import load  # noqa: PLC0415

    policies = load([*policy_files.shipped_files(), *policy_files.user_files(settings.policies)])
    found = broken(policies, settings.today)
    for one in found:
        sys.stderr.write(f"virtfix: {printable(one.where)}: {printable(one.what)}\n")
    total = len(policies.expected)
    wrong = len({one.entry for one in found})
    told = "all hold" if not found else f"{total - wrong} hold, {wrong} do not"
    sys.stdout.write(f"{total} expectations: {told}\n")
    return Exit.ERROR if found else Exit.DONE


def sync(path: str) -> Exit:
    """Write the snapshot of osinfo-db. Raises VirtfixError where there is none to read."""
    folders = database.system_folders()
    if not path and not folders:
        raise VirtfixError(
            "osinfo.none",
            "osinfo-db is not installed",
            hint="install the package osinfo-db, or give --osinfo-db DIR or an archive",
        )
    snapshot = database.compile_path(path) if path else database.Folders(folders).compile()
    place = database.write_snapshot(snapshot)
    sys.stdout.write(
        f"osinfo-db {snapshot.version}: {len(snapshot)} operating systems -> {printable(str(place))}\n"
    )
    return Exit.DONE


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
