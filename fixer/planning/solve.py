"""Chooses a remedy for each finding by price, within order, places and I/O windows.

Devices are taken in the guest's enumeration order. Each must keep its rank among the devices of its
driver: behind those before it, wherever they went, and before those after it that stay.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.devices import PCI
from fixer.domain.edits import SetAddress
from fixer.domain.places import FIRST, LAST, Rank
from fixer.domain.virtio import VIRTIO_PROPERTIES
from fixer.remedies import load_remedies
from fixer.remedies.base import Case, Desk, Offer
from fixer.remedies.override import edits_for_move

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.domain.devices import Device
    from fixer.domain.edits import Edit
    from fixer.domain.model import Domain
    from fixer.domain.pci import Bus
    from fixer.findings import Finding
    from fixer.policy.model import GuestCapabilities, SitePreferences
    from fixer.remedies.base import Remedy


class Settling(Enum):
    """Which devices without an address get one."""

    MOVED = "those that move, and those whose order hangs on them"
    DRIVEN = "all of the drivers that have something to cure"
    ALL = "every PCI device"


class Choice(NamedTuple):
    """A device with the offer that was taken (None: nothing was feasible) and all that were made.

    ``finding`` is None for a companion: a device that sits right, but has no address of its own yet and
    must get one so that it keeps its order among those that move.
    """

    finding: Finding | None
    case: Case
    taken: Offer | None
    offers: tuple[Offer, ...]

    @property
    def moves(self) -> bool:
        return self.taken is not None and self.taken.spot is not None


class Solution(NamedTuple):
    """The choices, their edits, and the I/O windows that the firmware has."""

    choices: tuple[Choice, ...]
    edits: tuple[Edit, ...]
    capacity: int


def solve(
    domain: Domain,
    guest: GuestCapabilities,
    site: SitePreferences,
    findings: list[Finding],
    settling: Settling = Settling.MOVED,
    *,
    all_offers: bool,
) -> Solution:
    """Choose a remedy for every curable finding. ``all_offers`` asks every remedy, to show their prices."""
    settle_all = settling is not Settling.MOVED
    todo: dict[Device, Finding | None] = {domain.by_key[f.device]: f for f in findings if f.curable}
    task = _Task(
        domain,
        guest,
        site,
        todo,
        lost={f.device for f in findings if not f.curable},
        remedies=load_remedies(),
        all_offers=all_offers,
        settle_all=settle_all,
    )
    if settle_all:
        todo.update(dict.fromkeys(_floating(task, {device.driver for device in domain.modes})))
    desk, choices = _best(task)
    moved = {choice.case.device.driver for choice in choices if choice.moves}
    companions = _floating(task, moved)
    if companions:
        todo.update(dict.fromkeys(companions))
        desk, choices = _best(task)
    edits = _edits(choices, desk, task.remedies)
    if edits and settling is Settling.ALL:
        settled = {choice.case.device for choice in choices if choice.taken is not None}
        edits += tuple(
            edit for device in domain.devices if device not in settled for edit in _pin(device, desk)
        )
    return Solution(tuple(choices), edits, desk.capacity)


class _Task(NamedTuple):
    """What is to be settled: ``todo`` are the devices to cure and their companions, ``lost`` the keys of the others."""

    domain: Domain
    guest: GuestCapabilities
    site: SitePreferences
    todo: dict[Device, Finding | None]
    lost: set[str]
    remedies: dict[str, Remedy]
    all_offers: bool
    settle_all: bool


def _floating(task: _Task, drivers: set[str]) -> list[Device]:
    """Return the devices of ``drivers`` without an address: their order could change when others move."""
    return [
        device
        for device in task.domain.modes
        if device.driver in drivers
        and device.driver not in task.site.excluded
        and device.address is None
        and device not in task.todo
        and device.key not in task.lost
    ]


def _best(task: _Task) -> tuple[Desk, list[Choice]]:
    """Settle, and where devices are left without a remedy, once more with new bridges before those of the XML.

    The free slots of a bridge of the XML may be too few for all the devices before the next one on it.
    """
    found = _with_heads(task, new_first=False)
    if not _left(found[1]) or not found[0].places.bridges(hotplug=False):
        return found
    return min(found, _with_heads(task, new_first=True), key=lambda pair: _left(pair[1]))


def _left(choices: list[Choice]) -> int:
    return sum(choice.taken is None and choice.finding is not None for choice in choices)


def _with_heads(task: _Task, *, new_first: bool) -> tuple[Desk, list[Choice]]:
    """Settle so that no function 0 leaves functions behind in its slot, where no firmware would look at them."""
    stuck: set[Device] = set()
    while True:
        desk, choices = _settle(task, stuck, new_first=new_first)
        left_behind = _left_behind(task.domain, choices) - stuck
        if not left_behind:
            return desk, choices
        stuck |= left_behind


def _left_behind(domain: Domain, choices: list[Choice]) -> set[Device]:
    assert domain.layout is not None
    moving = {choice.case.device for choice in choices if choice.moves}
    layout = domain.layout
    return {other for device in moving for other in layout.headed_by(layout.at[device])} - moving


def _settle(task: _Task, stuck: set[Device], *, new_first: bool) -> tuple[Desk, list[Choice]]:
    domain, guest, site, todo = task.domain, task.guest, task.site, task.todo
    desk = Desk(domain, site, settle_all=task.settle_all)
    desk.curing = frozenset(todo)
    desk.new_first = new_first
    layout = domain.layout
    assert layout is not None
    devices = sorted(todo, key=lambda device: layout.order(layout.at[device]))
    _share_out(desk, devices)
    moving = {
        device
        for device in devices
        if todo[device] is None or not desk.stays(device, legacy_only=guest.legacy_only)
    }
    ranks = _Ranks(domain, desk, moving, task.lost)
    choices = []
    for device in devices:
        case = _case(task, device, ranks, stuck)
        wanted = site.strategy_for(device.driver)
        offers = _offers(case, desk, task.remedies, wanted, all_offers=task.all_offers)
        taken = _cheapest(offers, wanted)
        if taken is not None:
            desk.commit(case, taken)
        ranks.settle(device, taken)
        choices.append(Choice(todo[device], case, taken, tuple(offers)))
    return desk, choices


def _share_out(desk: Desk, todo: list[Device]) -> None:
    """Lay out pcie.0 for those that will want it, and share the I/O windows among the overrides.

    Where the windows do not suffice for all overrides, the first devices give way: on pcie.0 they stay
    before the others. Where hot-plug forbids that, the last ones do, onto a bridge, which takes a window.
    """
    site = desk.site
    overrides = [device for device in todo if site.strategy_for(device.driver) == "override"]
    new_ports = {desk.bus_of(device) for device in overrides if desk.costs_window(device)}
    room = max(desk.windows_left(), 0)
    if len(new_ports) > room:
        if any(
            device.driver in site.hotplug or site.forbids("integrated", device.driver) for device in overrides
        ):
            keep = _affordable(desk, overrides, max(room - 1, 0))
        else:
            keep = _affordable(desk, overrides[::-1], room)
        desk.override_quota = frozenset(keep)
    wanting = [device for device in todo if _may_integrate(desk, device)]
    desk.places.reclaim(wanting)
    # A slot is kept for a bridge where one may be needed, which costs nothing while there is room.
    crowded = len(wanting) > len(desk.places.free_slots())
    desk.places.plan_root(len(wanting), spare=1 if crowded or len(wanting) < len(todo) else 0)


def _affordable(desk: Desk, devices: list[Device], room: int) -> Iterator[Device]:
    """Yield the devices whose I/O windows fit into ``room``, the first first; many cost none, or share one."""
    paid: set[int] = set()
    for device in devices:
        bus = desk.bus_of(device)
        if desk.costs_window(device) and bus not in paid:
            if len(paid) >= room:
                continue
            paid.add(bus)
        yield device


def _may_integrate(desk: Desk, device: Device) -> bool:
    site = desk.site
    if device.driver in site.hotplug or device.driver in site.keep_address:
        return False
    if site.forbids("integrated", device.driver):
        return False
    wanted = site.strategy_for(device.driver)
    if wanted == "override":
        return desk.override_quota is not None and device not in desk.override_quota
    return wanted in {None, "integrated"}


class _Ranks:
    """Ranks of the devices of each driver, as they are settled one after the other."""

    def __init__(self, domain: Domain, desk: Desk, moving: set[Device], lost: set[str]) -> None:
        layout = domain.layout
        assert layout is not None
        self.current: dict[Device, Rank] = {}
        self._low: dict[str, Rank] = {}
        self._staying: dict[str, list[Rank]] = {}
        for driver, devices in domain.by_driver.items():
            for device in devices:
                rank = self.current[device] = desk.places.rank(layout.at[device])
                # One that the guest does not drive, and that has no place of its own, binds nobody.
                if device not in moving and (device.address is not None or device.key not in lost):
                    self._staying.setdefault(driver, []).append(rank)

    def bounds(self, device: Device) -> tuple[Rank, Rank]:
        """Return the ranks between which ``device`` must end."""
        current = self.current[device]
        staying = self._staying.get(device.driver, ())
        before = [rank for rank in staying if rank < current]
        after = [rank for rank in staying if rank > current]
        low = max(before, default=FIRST)
        return max(low, self._low.get(device.driver, FIRST)), min(after, default=LAST)

    def settle(self, device: Device, taken: Offer | None) -> None:
        rank = self.current[device] if taken is None or taken.spot is None else taken.spot.rank
        self._low[device.driver] = max(rank, self._low.get(device.driver, FIRST))


def _case(task: _Task, device: Device, ranks: _Ranks, stuck: set[Device]) -> Case:
    domain = task.domain
    low, high = ranks.bounds(device)
    return Case(
        device=device,
        mode=domain.modes[device],
        current=ranks.current[device],
        low=low,
        high=high,
        keep_hotplug=device.driver in task.site.hotplug,
        pinned=_pinned(task, device, stuck),
        legacy_only=task.guest.legacy_only,
        hidden=domain.is_hidden(device),
        companion=task.todo[device] is None,
        forced=_forced(domain, device),
        properties=_has_properties(domain, device),
    )


def _pinned(task: _Task, device: Device, stuck: set[Device]) -> str:
    if device.driver in task.site.keep_address:
        return f"the site keeps the addresses of {device.driver} devices"
    layout = task.domain.layout
    assert layout is not None
    if device.address is None:
        return ""
    others = layout.headed_by(layout.at[device])
    left = [other.key for other in others if other not in task.todo or other in stuck]
    return f"it is function 0 for {', '.join(left)}, which would vanish" if left else ""


def _has_properties(domain: Domain, device: Device) -> bool:
    if domain.properties.none:
        return False
    alias = domain.aliases.get(device, "")
    return any(domain.properties.get(device, name, alias) for name in VIRTIO_PROPERTIES)


def _forced(domain: Domain, device: Device) -> bool:
    """Tell whether a property keeps the legacy interface off wherever the device sits."""
    if domain.properties.none:
        return False
    value = domain.properties.get(device, "disable-legacy", domain.aliases.get(device, ""))
    return value not in {"", "auto", "off"}


def _offers(
    case: Case, desk: Desk, remedies: dict[str, Remedy], wanted: str | None, *, all_offers: bool
) -> list[Offer]:
    """Ask the remedies, the wanted one first, then by their weight, until one is feasible or all were asked."""
    weights = desk.site.weights
    names = desk.by_weight.get(wanted)
    if names is None:
        names = desk.by_weight[wanted] = sorted(
            remedies, key=lambda name: (name != wanted, weights.get(name, 0), name)
        )
    offers: list[Offer] = []
    best: int | None = None
    for name in names:
        if desk.site.forbids(name, case.device.driver):
            offers.append(Offer(name, "the site forbids it"))
            continue
        # A remedy costs its weight at least, so dearer ones need not be asked once one is found.
        if best is not None and not all_offers and weights.get(name, 0) >= best:
            break
        offer = remedies[name].offer(case, desk)
        offers.append(offer)
        if not offer.refusal:
            if name == wanted and not all_offers:
                break
            best = offer.price if best is None else min(best, offer.price)
    return offers


def _cheapest(offers: list[Offer], wanted: str | None) -> Offer | None:
    """Return the wanted offer, else the cheapest; of equal ones the first asked, so that --explain decides alike."""
    feasible = [offer for offer in offers if not offer.refusal]
    return min(feasible, key=lambda offer: (offer.remedy != wanted, offer.price), default=None)


def _edits(choices: list[Choice], desk: Desk, remedies: dict[str, Remedy]) -> tuple[Edit, ...]:
    found: list[Edit] = []
    for bridge in desk.bridges:
        found += bridge.controllers()
    moves = any(choice.moves for choice in choices)
    for choice in choices:
        if choice.taken is not None:
            if moves and choice.taken.spot is None:
                found += _pin(choice.case.device, desk)
            found += remedies[choice.taken.remedy].edits(choice.case, choice.taken, desk)
            if choice.taken.spot is not None:
                found += edits_for_move(choice.case, desk)
    return tuple(dict.fromkeys(found))


def _pin(device: Device, desk: Desk) -> list[Edit]:
    """Write down where libvirt would put a device that stays: a place that another leaves would draw it."""
    layout = desk.places.layout
    address = layout.at.get(device)
    if device.node is None or device.address is not None or device.is_bridge or address is None:
        return []
    bus = layout.buses[address >> 8]
    if not bus.index or (bus.made_up and not _same_again(bus, device, desk)):
        return []
    return [SetAddress(device.key, None, address, multifunction=False)]


def _same_again(bus: Bus, device: Device, desk: Desk) -> bool:
    """Tell whether libvirt makes the same controller again for an address on a bus that it made up."""
    if desk.bridges:  # they take the indexes that libvirt would
        return False
    made = "pcie-to-pci-bridge" if device.connect & PCI else "pcie-root-port"
    return bus.model == made
