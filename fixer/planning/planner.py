"""From a domain, a guest and a site to a proved plan."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from fixer.diagnose import diagnose
from fixer.domain.devices import short_address
from fixer.domain.edits import splices as splices_of
from fixer.domain.model import read_domain
from fixer.domain.pci import EXPRESS_PORTS
from fixer.errors import VirtfixError
from fixer.findings import Code, Finding, Severity, Skip, severity_of
from fixer.guest.clues import NOTHING_SEEN, gather, subject_of
from fixer.guest.identify import identify
from fixer.planning.consequences import consequences
from fixer.planning.offering import lacking, offered
from fixer.planning.plan import Change, Consequence, Guest, Plan, untouched
from fixer.planning.prove import ProofError, prove, result_of
from fixer.planning.solve import Choice, Settling, solve
from fixer.policy.rules import rule_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixer.domain.devices import Device
    from fixer.domain.model import Domain
    from fixer.domain.target import Target
    from fixer.guest.clues import Seen
    from fixer.guest.identify import GuestIdentity
    from fixer.guest.knowledge import Knowledge
    from fixer.policy.model import GuestCapabilities, SitePreferences


class Request(NamedTuple):
    """What the user asked for, apart from the domain.

    ``builds`` maps kernel and virtio-win to the builds that the owner states; ``today`` is the date
    (2027-03-31) by which rules of the site end. ``target`` is what the host offers that the domain will run on,
    ``host`` what the one offers that it is defined on. ``machine`` (q35, q35=NAME, pc, ...) and ``firmware`` (bios,
    efi) are what it is converted to, '' for neither; ``esp`` says that the guest's disk has an EFI system partition;
    ``layout`` is keep, or ports for root ports; ``staged`` and ``driver_bound`` are the wishes of a conversion
    (fixer.conversion.board.Wishes).
    """

    knowledge: Knowledge
    site: SitePreferences
    os: str | None = None
    assume: str | None = None
    all_offers: bool = False
    builds: Mapping[str, str] = {}
    today: str = ""
    target: Target | None = None
    machine: str = ""
    firmware: str = ""
    esp: bool = False
    host: Target | None = None
    layout: str = "keep"
    staged: bool = False
    driver_bound: bool = False


def plan_bytes(data: bytes, request: Request, seen: Seen = NOTHING_SEEN) -> Plan:
    """Plan one domain XML. ``seen`` is what was learnt of the domain beside it.

    Raises VirtfixError for XML that libvirt would not accept and for a guest that nobody names,
    ProofError where the plan fails its own checks.
    """
    return make_plan(read_domain(data), request, seen)


def make_plan(domain: Domain, request: Request, seen: Seen = NOTHING_SEEN) -> Plan:
    """Plan a domain that was read."""
    identity = who_is(domain, request, seen)
    if not domain.machine.applicable:
        return untouched(domain, _guest_value(identity, judged=False), Skip("domain", domain.machine.reason))
    ruling = rule_for(request.site, subject_of(domain, identity.id), request.today)
    notes = tuple(Skip("site", note) for note in ruling.notes)
    if ruling.excluded:
        return untouched(domain, _guest_value(identity), Skip("domain", ruling.excluded), *notes)
    if identity.capabilities is None:
        return _without_guest(domain, identity, request)
    request = request._replace(site=offered(ruling.site, request.target))
    guest = _guest_value(identity)
    plan = (
        _converted(domain, identity.capabilities, guest, request, seen)
        if request.machine or request.firmware
        else _plan_for(domain, identity.capabilities, guest, request)
    )
    plan.skips += notes
    plan.unresolved += tuple(_raw_devices(plan.after, identity.capabilities))
    plan.unresolved += tuple(_unbootable(plan.after, identity.capabilities))
    if request.target is not None:
        plan.unresolved += tuple(lacking(plan.after, request.target))
    return plan


def who_is(
    domain: Domain, request: Request, seen: Seen = NOTHING_SEEN, *, always: bool = False
) -> GuestIdentity:
    """Return the guest of a domain. Raises VirtfixError for an --os that nobody knows.

    A machine that virtfix does not judge needs no guest, and so no --os that is right, but for ``always``.
    """
    option = request.os if always or domain.machine.applicable else None
    mapping = request.knowledge.policies.mapping
    clues = gather(domain, option, mapping, seen)
    remarks = list(seen.remarks)
    if mapping and not any(clue.kind == "mapping" for clue in clues):
        remarks.append("no entry of the mapping fits this domain")
    return identify(
        clues,
        request.assume,
        request.knowledge,
        observation=seen.observation,
        builds=request.builds,
        remarks=remarks,
    )


def _converted(
    domain: Domain, capabilities: GuestCapabilities, guest: Guest, request: Request, seen: Seen
) -> Plan:
    from fixer.conversion.firmware import Esp  # noqa: PLC0415 - conversions only
    from fixer.planning.convert import convert  # noqa: PLC0415

    esp = Esp("--esp" if request.esp else seen.esp)

    def cure(result: Domain) -> Plan:
        return _plan_for(result, capabilities, guest, request)

    return convert(domain, capabilities, guest, request, esp, cure)


def _plan_for(domain: Domain, capabilities: GuestCapabilities, guest: Guest, request: Request) -> Plan:
    findings, left = _sorted_out(domain, diagnose(domain, capabilities), request.site)
    if not findings:
        starving = () if capabilities.is_modern else _starving(domain, request.site)
        return untouched(domain, guest, *_skips(left), unresolved=starving)
    # What libvirt would place by itself can land elsewhere once others move. Only then are all devices
    # given addresses, which changes more of the file; and only if that fails too may devices that this
    # guest does not drive by virtio change their order.
    for settling in (Settling.MOVED, Settling.ALL):
        try:
            return _solved(domain, capabilities, guest, request, (findings, left), settling)
        except ProofError as error:
            if error.invariant not in {4, 5, 7}:
                raise
    return _solved(domain, capabilities, guest, request, (findings, left), Settling.DRIVEN)


def _raw_devices(after: Domain, guest: GuestCapabilities) -> Iterator[Finding]:
    """Yield the virtio devices of qemu:commandline behind express ports, which are nobody's to move but their owner's."""
    if guest.is_modern or not after.properties.raw_virtio:
        return
    layout = after.layout
    assert layout is not None
    ports = {f"pci.{bus.index}" for bus in layout.buses if bus.model in EXPRESS_PORTS}
    for raw in after.properties.raw_virtio:
        if raw.bus in ports:
            why = f"its {raw.type} on {raw.bus}, behind an express port, is modern-only: give it bus=pcie.0 or disable-legacy=off"
            severity = severity_of("block" if "-blk" in raw.type or "-scsi" in raw.type else "")
            yield Finding(Code.MODERN_ONLY, severity, "commandline", why, f"line {raw.line}", curable=False)


def _unbootable(after: Domain, guest: GuestCapabilities) -> Iterator[Finding]:
    if after.firmware.kind == "uefi" and guest.uefi.value == "no":
        why = f"{guest.name} can not boot by UEFI, and the firmware is UEFI ({after.firmware.how})"
        yield Finding(Code.NO_UEFI, Severity.BREAKS_BOOT, "domain", why, guest.uefi.where, curable=False)


def _sorted_out(
    domain: Domain, found: list[Finding], site: SitePreferences
) -> tuple[list[Finding], list[Finding]]:
    """Part findings into those to cure and those of kinds that the site leaves alone."""
    findings, left = [], []
    for finding in found:
        reason = site.excluded.get(domain.by_key[finding.device].driver)
        if reason is None:
            findings.append(finding)
        else:
            left.append(finding._replace(why=reason, curable=False))
    return findings, left


def _skips(left: list[Finding]) -> tuple[Skip, ...]:
    return tuple(Skip(finding.device, finding.why) for finding in left)


def _solved(
    domain: Domain,
    capabilities: GuestCapabilities,
    guest: Guest,
    request: Request,
    found: tuple[list[Finding], list[Finding]],
    settling: Settling,
) -> Plan:
    findings, left = found
    solution = solve(
        domain, capabilities, request.site, findings + left, settling, all_offers=request.all_offers
    )
    splices = splices_of(domain, solution.edits)
    after = result_of(domain, splices) if splices else domain
    unresolved = tuple([finding for finding in findings if not finding.curable] + _refused(solution.choices))
    unresolved += _starving(domain, request.site)
    if splices:
        prove(
            domain,
            after,
            guest=capabilities,
            unresolved=(*unresolved, *left),
            edits=solution.edits,
            splices=splices,
            capacity=solution.capacity,
            strict=settling is not Settling.DRIVEN,
        )
    changes = tuple(_change(domain, after, choice) for choice in solution.choices if choice.taken is not None)
    return Plan(
        domain,
        after,
        guest=guest,
        findings=tuple(findings),
        unresolved=unresolved,
        changes=changes,
        edits=solution.edits,
        splices=splices,
        consequences=_wishes(domain, solution.choices, request)
        + consequences(domain, after, changes, capabilities, solution.capacity),
        skips=_skips(left),
    )


def _wishes(domain: Domain, choices: tuple[Choice, ...], request: Request) -> tuple[Consequence, ...]:
    """Say where a strategy that was asked for could not be kept, and what kind of XML this is not."""
    refused: dict[str, list[str]] = {}
    for choice in choices:
        wanted = request.site.strategy_for(choice.case.device.driver)
        for offer in choice.offers:
            if offer.remedy == wanted and offer.refusal:
                refused.setdefault(f"{wanted} was asked for and can not be: {offer.refusal}", []).append(
                    choice.case.device.key
                )
    found = [Consequence("strategy", tuple(devices), text) for text, devices in refused.items()]
    if "id" in domain.root.attrs and choices:
        text = "this is the XML of a running domain; its inactive XML may differ (virsh dumpxml --inactive)"
        found.append(Consequence("live-xml", (), text))
    return tuple(found)


def _refused(choices: tuple[Choice, ...]) -> list[Finding]:
    """Turn curable findings for which no remedy was feasible into unresolved ones that say why."""
    return [
        choice.finding._replace(
            why=f"{choice.finding.why}; no remedy: "
            + "; ".join(f"{offer.remedy}: {offer.refusal}" for offer in choice.offers),
            curable=False,
        )
        for choice in choices
        if choice.taken is None and choice.finding is not None
    ]


def _starving(domain: Domain, site: SitePreferences) -> tuple[Finding, ...]:
    """Return a finding where the domain as it is takes more I/O windows than its firmware has."""
    capacity = site.windows_for(domain.firmware.kind, domain.machine.family)
    windows = domain.io_windows
    used = sum(windows.values())
    if used <= capacity:
        return ()
    assert domain.layout is not None
    at = domain.layout.at
    # Seen: OVMF leaves out the lowest ports, as many as it lacks room for; SeaBIOS maps nothing and stops.
    ports, over = sorted(windows), used - capacity
    freed = itertools.accumulate((windows[top] for top in ports), initial=0)
    stops = domain.firmware.kind == "bios"
    lowest = ports[: next(count for count, size in enumerate(freed) if size >= over)]
    starving = set(ports if stops else lowest)
    first = [device for device, address in at.items() if domain.layout.top[address >> 8] in starving]
    what = "SeaBIOS maps nothing and stops" if stops else "the lowest buses starve"
    why = f"{used} ports with I/O below them, and the firmware has room for {capacity}: {what}"
    names = ", ".join(device.key for device in first if not device.is_bridge)
    return (Finding(Code.IO_WINDOWS, Severity.BREAKS_BOOT, names, why, domain.firmware.how, curable=False),)


def _change(before: Domain, after: Domain, choice: Choice) -> Change:
    device, taken = choice.case.device, choice.taken
    assert taken is not None
    now = after.by_key[device.key]
    return Change(
        device=device.key,
        driver=device.driver,
        mode_before=before.modes[device].value,
        mode_after=after.modes[now].value,
        address_before=_place(before, device),
        address_after=_place(after, now),
        listed=device.address is not None,
        remedy=taken.remedy,
        why=taken.note or _why(choice),
        price=taken.price,
        others=tuple(offer for offer in choice.offers if offer is not taken),
    )


def _why(choice: Choice) -> str:
    assert choice.taken is not None
    dearer = [f"{o.remedy} {o.price}" for o in choice.offers if not o.refusal and o is not choice.taken]
    if choice.finding is None:
        return "has no address yet and must stay in order among those that move"
    if dearer:
        return f"price {choice.taken.price}; others: {', '.join(dearer)}"
    refused = [offer for offer in choice.offers if offer.refusal]
    return (
        f"{refused[0].remedy} is not feasible: {refused[0].refusal}"
        if refused
        else f"price {choice.taken.price}"
    )


def _place(domain: Domain, device: Device) -> str:
    assert domain.layout is not None
    address = domain.layout.at.get(device)
    return "" if address is None else short_address(address)


def _guest_value(identity: GuestIdentity, *, judged: bool = True) -> Guest:
    guest = identity.capabilities
    builds = tuple(f"{product} {build}" for product, build in identity.builds.items())
    if guest is None or not judged:
        name = guest.name if guest is not None else ""
        return Guest(identity.id, name, "", identity.how, identity.evidence, "", builds=builds)
    fact = guest.interface
    return Guest(
        identity.id,
        guest.name,
        fact.value,
        identity.how,
        identity.evidence,
        fact.where,
        identity.conflicts,
        builds,
    )


def _without_guest(domain: Domain, identity: GuestIdentity, request: Request) -> Plan:
    """Plan for a guest that nobody names: fine where even a legacy guest would need nothing."""
    converts = request.machine or request.firmware  # what it drives beside virtio decides then
    from fixer.policy.model import ASSUMED_LEGACY  # noqa: PLC0415 - the rare way

    if not converts and not any(finding.curable for finding in diagnose(domain, ASSUMED_LEGACY)):
        guest = Guest("", "unknown guest", "", "unknown", identity.evidence, "")
        return untouched(
            domain, guest, Skip("guest", "unknown, and no device would change for a legacy guest")
        )
    told = "; ".join(identity.evidence) if identity.items else "nothing says which OS the guest runs"
    raise VirtfixError(
        "guest.unknown",
        f"which OS the guest runs is not known: {told}",
        hint="give --os ID (as 'rhel6.9'), or --assume legacy|modern",
    )
