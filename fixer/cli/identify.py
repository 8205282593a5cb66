"""virtfix identify: which OS a domain runs, and by what evidence."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from fixer.cli import sources
from fixer.cli.batch import failure, shown
from fixer.cli.exit_codes import Exit
from fixer.cli.wiring import Settings, build_request
from fixer.domain.model import Domain, read_domain
from fixer.errors import VirtfixError, printable
from fixer.planning.planner import who_is
from fixer.report.facts import INTERFACES, fact_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.guest.identify import GuestIdentity


def run(paths: list[str], settings: Settings, form: str, width: int) -> Exit:
    """Print each guest with its evidence; the exit code says whether all are known."""
    request = build_request(settings)
    sources.check_inspections(settings, paths)
    failed = unknown = False
    told: list[dict[str, Any]] = []
    for number, path in enumerate(paths):
        try:
            domain = read_domain(sources.read(path, settings))
            identity = who_is(domain, request, sources.seen(path, domain, settings), always=True)
        except VirtfixError as error:
            sys.stdout.flush()
            sys.stderr.write(failure(path, error).notes)
            failed = True
            continue
        unknown |= identity.capabilities is None
        if form == "json":
            told.append(_json(path, domain, identity))
            continue
        if number:
            sys.stdout.write("\n")
        sys.stdout.writelines(f"{line}\n" for line in _lines(path, domain, identity, width))
    if form == "json":
        value = told[0] if len(paths) == 1 and told else told
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
    return Exit.ERROR if failed else Exit.UNRESOLVED if unknown else Exit.DONE


def _json(path: str, domain: Domain, identity: GuestIdentity) -> dict[str, Any]:
    guest = identity.capabilities
    return {
        "source": path,
        "domain": {"name": domain.name, "uuid": domain.uuid},
        "id": identity.id,
        "name": guest.name if guest is not None else "",
        "how": identity.how,
        "interface": fact_json(guest.interface, guest.sources, dependent=True) if guest is not None else None,
        "builds": dict(identity.builds),
        "conflicts": list(identity.conflicts),
        "evidence": [item._asdict() | {"sentence": item.sentence} for item in identity.items],
    }


def _lines(path: str, domain: Domain, identity: GuestIdentity, width: int) -> Iterator[str]:
    guest = identity.capabilities
    title = printable(domain.name) or "domain without a name"
    yield f"{printable(shown(path))}: {title}"
    if guest is None:
        yield from _wrapped("guest      unknown: give --os ID, or a mapping (--os-map)", width)
    else:
        interface = INTERFACES.get(guest.interface.value, "")
        yield from _wrapped(f"guest      {', '.join(filter(None, (guest.name, interface)))}", width)
        yield from _wrapped(f"known by   {identity.how}", width)
        if guest.interface.condition:
            yield from _wrapped(f"depends    {guest.interface.condition}", width)
    for product, build in identity.builds.items():
        yield from _wrapped(f"{product:<10} {build}", width)
    for sentence in identity.evidence:
        yield from _wrapped(f"evidence   {sentence}", width)
    for sentence in identity.conflicts:
        yield from _wrapped(f"conflict   {sentence}", width)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        printable(text, 2000),
        width,
        initial_indent="  ",
        subsequent_indent=" " * 13,
        break_on_hyphens=False,
        break_long_words=False,
    )
