"""What fixer.domain foresees of each virtio device, against what real QEMU shows once real firmware has run.

A cell is a kind of device, a placement, a model and an override. Foreseen and compared are the guest's own bus, slot
and function, the interface (id, revision, BARs), and that the legacy interface answers, or that QEMU refuses.
"""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

import helpers
import pytest

pytest.importorskip("libvirt")
import machines
from machines import KINDS, Machine, Properties, Running, some_at_a_time

from fixer.domain.virtio import Mode, aliases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.domain.devices import Device
    from fixer.domain.model import Domain

pytestmark = [pytest.mark.real, pytest.mark.boot, pytest.mark.xdist_group("oracle")]

# The controllers between the root bus and the device.
PORT, UPSTREAM, DOWNSTREAM = "pcie-root-port", "pcie-switch-upstream-port", "pcie-switch-downstream-port"
PLACEMENTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "q35": {
        "root port": (PORT,),
        "switch": (PORT, UPSTREAM, DOWNSTREAM),
        "pcie.0": (),
        "bridge": (PORT, "pcie-to-pci-bridge"),
        "dmi": ("dmi-to-pci-bridge", "pci-bridge"),
    },
    "pc": {"pci.0": (), "pci-bridge": ("pci-bridge",)},
}
EXPRESS = frozenset({"root port", "switch"})  # such a bus has one slot: eight functions

VIRTIO, TRANSITIONAL, NON_TRANSITIONAL = "virtio", "virtio-transitional", "virtio-non-transitional"
LEGACY = ("disable-legacy", "string", "off")
NO_LEGACY = ("disable-legacy", "string", "on")
NO_MODERN = ("disable-modern", "bool", "true")
SETTINGS: Final[dict[str, Properties]] = {
    "": (),
    "legacy": (LEGACY,),
    "no legacy": (NO_LEGACY,),
    "no modern": (NO_MODERN,),
    "legacy, no modern": (LEGACY, NO_MODERN),
}
# Virtio specification 1.2: transitional ids (4.1.2.1), and the kinds (5) that make modern ids, 0x1040 + kind.
IDS: Final = {
    "net": (0x1000, 1),
    "block": (0x1001, 2),
    "balloon": (0x1002, 5),
    "console": (0x1003, 3),
    "scsi": (0x1004, 8),
    "rng": (0x1005, 4),
    "9p": (0x1009, 9),
}
QEMU_TYPES: Final = {
    "block": "virtio-blk-pci",
    "scsi": "virtio-scsi-pci",
    "net": "virtio-net-pci",
    "balloon": "virtio-balloon-pci",
    "rng": "virtio-rng-pci",
    "console": "virtio-serial-pci",
    "9p": "virtio-9p-pci",
}
MODERN_BAR = 4  # QEMU hw/virtio/virtio-pci.c, modern_mem_bar_idx


class Cell(NamedTuple):
    kind: str
    placement: str
    model: str = VIRTIO
    setting: str = ""

    @property
    def alias(self) -> str:
        return "ua-" + re.sub(r"\W+", "-", "-".join(filter(None, self)))


class Shown(NamedTuple):
    """What a guest finds. ``legacy`` is '' without that interface, else how it does."""

    place: str
    device_id: str
    revision: int
    legacy: str
    modern: bool


@pytest.fixture(scope="module", autouse=True)
def _able() -> None:
    lacking = machines.lacking()
    if lacking:
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(lacking)


# --- Machines of cells ----------------------------------------------------------------------------------


def cells_of(kind: str, *variants: tuple[str, str], without: Iterable[str] = ()) -> list[Cell]:
    """Return a cell for each kind of device, placement and variant (model and setting)."""
    placements = [name for name in PLACEMENTS[kind] if name not in without]
    return [
        Cell(device, placement, *variant)
        for device, placement, variant in itertools.product(KINDS, placements, variants)
    ]


def all_cells(kind: str) -> list[Cell]:
    """Return the cells of a machine type; overrides go with the plain model only (see FIXED)."""
    plain = [(VIRTIO, setting) for setting in SETTINGS]
    return cells_of(kind, *plain, (TRANSITIONAL, ""), (NON_TRANSITIONAL, ""))


def one_balloon(cells: Iterable[Cell], place: str = "root port") -> list[Cell]:
    """Drop all balloons but one: a machine has no more."""
    return [cell for cell in cells if cell.kind != "balloon" or cell == Cell("balloon", place)]


def board(cells: Iterable[Cell], kind: str, *arguments: str, uefi: bool = False) -> Machine:
    """Put cells into one machine, those on express buses as functions of a bus for each model and setting.

    The controllers' indexes run against their slots, so that the guest's bus numbers are others.
    """
    buses: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        buses.setdefault(cell[1:] if cell.placement in EXPRESS else (cell.placement,), []).append(cell)
    bus, devices = 0, []
    numbers = {device: itertools.count() for device in KINDS}
    for slot, (group, there) in reversed(list(enumerate(buses.items(), 3))):  # pc holds slots 1 and 2
        chain = PLACEMENTS[kind][group[0]]
        devices += controllers(chain, bus, slot)
        first = 0 if group[0] in EXPRESS else 4 if chain else 0x16
        last = bus + len(chain) if chain else 0
        for position, cell in enumerate(there):
            place = f"{last:02x}:{first + position // 8:02x}.{position % 8}"
            number = next(numbers[cell.kind])
            devices.append(machines.device(cell.kind, number, place, model=cell.model, alias=cell.alias))
        bus += len(chain)
    set_ones = [cell for there in buses.values() for cell in there if cell.setting]
    overrides = tuple((cell.alias, SETTINGS[cell.setting]) for cell in set_ones)
    return Machine("".join(devices), kind, uefi, overrides, arguments)


def controllers(chain: tuple[str, ...], bus: int, slot: int) -> list[str]:
    """Return a chain of controllers whose indexes follow ``bus``, the first at ``slot`` of the root bus."""
    below = (f"{bus + place:02x}:{int(model == 'pci-bridge'):02x}.0" for place, model in enumerate(chain))
    places = itertools.chain([f"00:{slot:02x}.0"], itertools.islice(below, 1, None))
    return [
        helpers.pci(index, model, at)
        for index, (model, at) in enumerate(zip(chain, places, strict=False), bus + 1)
    ]


def starts(cell: Cell, kind: str) -> bool:
    (mode,) = helpers.read(board([cell], kind).xml()).modes.values()
    return mode is not Mode.NEITHER


# --- The two sides --------------------------------------------------------------------------------------


def foreseen(subject: Domain) -> dict[str, Shown]:
    """Return what fixer.domain says of each virtio device, by its alias."""
    named = aliases(subject.devices)
    return {named[device]: foreseen_of(subject, device, mode) for device, mode in subject.modes.items()}


def foreseen_of(subject: Domain, device: Device, mode: Mode) -> Shown:
    assert subject.layout is not None
    assert mode in {Mode.LEGACY, Mode.TRANSITIONAL, Mode.MODERN_ONLY}
    old, kind = IDS[device.driver]
    has_legacy = mode is not Mode.MODERN_ONLY
    return Shown(
        place=written(subject.layout.order(subject.layout.at[device])),
        device_id=f"{old if has_legacy else 0x1040 + kind:04x}",
        revision=0 if has_legacy else 1,
        legacy="answers" if has_legacy else "",
        modern=mode is not Mode.LEGACY,
    )


def shown(running: Running) -> dict[str, Shown]:
    """Return what QEMU shows of each virtio device, by its alias."""
    return {alias: shown_of(running, one) for alias, one in running.functions().items()}


def shown_of(running: Running, one: machines.Function) -> Shown:
    legacy = ""
    if one.has_io:
        port = one.bars[0]
        legacy = "unmapped" if port is None else "answers" if running.speaks_legacy(port) else "silent"
    return Shown(
        place=written(one.address),
        device_id=f"{one.device_id:04x}",
        revision=running.revision(one.address),
        legacy=legacy,
        modern=one.bars.get(MODERN_BAR) is not None,
    )


def written(address: int) -> str:
    return f"{address >> 8:02x}:{address >> 3 & 31:02x}.{address & 7}"


def differences(machine: Machine) -> list[str]:
    """Start it and return the devices that are not as foreseen."""
    with machine.started() as running:
        seen, expected = shown(running), foreseen(helpers.read(running.xml))
    return [
        f"{alias}: foreseen {expected.get(alias)}, seen {seen.get(alias)}"
        for alias in sorted(seen.keys() | expected.keys())
        if seen.get(alias) != expected.get(alias)
    ]


def assert_as_foreseen(several: dict[str, Machine]) -> None:
    found = some_at_a_time(differences, several)
    wrong = [f"{name}: {line}" for name, lines in found.items() for line in lines]
    assert not wrong, "\n".join(wrong)


# --- Cells that start -----------------------------------------------------------------------------------

BATCH_BALLOONS = {"q35": "root port", "pc": "pci-bridge"}
PARTS = {"q35": 3, "pc": 1}  # mapping BARs takes time by the square of their number


def batches(kind: str, *, uefi: bool) -> dict[str, Machine]:
    """Return machines with all cells of a machine type, of the balloon one."""
    cells = [cell for cell in one_balloon(all_cells(kind), BATCH_BALLOONS[kind]) if starts(cell, kind)]
    parts = PARTS[kind]
    return {f"{kind} {part}": board(cells[part::parts], kind, uefi=uefi) for part in range(parts)}


@pytest.mark.parametrize("uefi", [False, True], ids=["SeaBIOS", "OVMF"])
def test_each_cell_is_as_foreseen(uefi: bool) -> None:
    """Many cells in one start; of the balloon, of which a machine has one, a single cell."""
    several = batches("q35", uefi=uefi) | batches("pc", uefi=uefi)
    for machine in several.values():
        modes = set(helpers.read(machine.xml()).modes.values())
        assert modes == {Mode.LEGACY, Mode.TRANSITIONAL, Mode.MODERN_ONLY}
    assert_as_foreseen(several)


def test_each_cell_of_the_balloon_is_as_foreseen() -> None:
    """Each a start, of SeaBIOS; what a switch or a forbidden legacy interface does is no matter of the kind."""
    balloons = [
        (kind, cell)
        for kind in PLACEMENTS
        for cell in all_cells(kind)
        if cell.kind == "balloon" and cell.placement != "switch" and cell.setting != "no legacy"
    ]
    several = {f"{kind} {cell}": board([cell], kind) for kind, cell in balloons if starts(cell, kind)}
    assert len(several) == 35  # 6 variants in 6 placements, less the one that is refused
    assert_as_foreseen(several)


def for_types(kinds: Iterable[str], *settings: str) -> tuple[str, ...]:
    """Return -global for the QEMU types of these kinds."""
    values = (f"{QEMU_TYPES[kind]}.{setting}" for kind in kinds for setting in settings)
    return tuple(itertools.chain.from_iterable(("-global", value) for value in values))


PLAIN = one_balloon(cells_of("q35", (VIRTIO, "")))
ALL_MODELS = one_balloon(cells_of("q35", (VIRTIO, ""), (TRANSITIONAL, ""), (NON_TRANSITIONAL, "")))
BY_TYPE = for_types(KINDS, "disable-legacy=off", "disable-modern=on")
GLOBALS: Final[dict[str, Machine]] = {
    "legacy for all": board(PLAIN, "q35", "-global", "virtio-pci.disable-legacy=off"),
    "no modern for all": board(
        one_balloon(cells_of("q35", (VIRTIO, ""), without=EXPRESS), "bridge"),
        "q35",
        "-global",
        "driver=virtio-pci,property=disable-modern,value=true",
    ),
    "by type, which is not that of other models": board(ALL_MODELS, "q35", *BY_TYPE, uefi=True),
    "the last one holds": board(
        PLAIN,
        "q35",
        *for_types(("rng", "scsi"), "disable-legacy=off"),
        *("-global", "virtio-pci.disable-legacy=on"),
        *for_types(("block", "net"), "disable-legacy=off"),
    ),
    "an override holds against it": board(
        [cell._replace(setting="no legacy") for cell in PLAIN],
        "q35",
        "-global",
        "virtio-pci.disable-legacy=off",
    ),
}


def test_machine_types_up_to_2_6_are_as_foreseen() -> None:
    """They make virtio legacy behind root ports too; the next one does not."""
    device = helpers.port(1, "00:03.0") + machines.device("block", 0, "01:00.0")
    old, new = Machine(device, kind="pc-q35-2.6"), Machine(device, kind="pc-q35-2.7")
    assert set(helpers.read(old.xml()).modes.values()) == {Mode.LEGACY}
    assert set(helpers.read(new.xml()).modes.values()) == {Mode.MODERN_ONLY}
    assert_as_foreseen({"2.6": old, "2.7": new})


def test_globals_of_the_command_line_are_as_foreseen() -> None:
    """-global in qemu:commandline is for all devices of a type."""
    assert_as_foreseen(GLOBALS)


def test_overrides_by_the_aliases_that_libvirt_makes_up() -> None:
    """Without an alias of the owner's, an override finds its device by virtio-disk0, net0, scsi0."""
    made_up = ("virtio-disk0", "scsi0", "net0", "balloon0", "rng0", "virtio-serial0", "fs0")
    devices = (machines.device(kind, 0, f"{bus:02x}:00.0") for bus, kind in enumerate(KINDS, 1))
    machine = Machine(
        helpers.ports(len(KINDS), slot=3) + "".join(devices),
        overrides=tuple((alias, (LEGACY,)) for alias in made_up),
    )
    assert set(helpers.read(machine.xml()).modes.values()) == {Mode.TRANSITIONAL}
    assert_as_foreseen({"": machine})


ALIASES = {
    "ua-A_b-9": Mode.TRANSITIONAL,
    "ua-": Mode.TRANSITIONAL,
    "ua-disk.0": Mode.MODERN_ONLY,
    "ua-disk:0": Mode.MODERN_ONLY,
    "UA-disk": Mode.MODERN_ONLY,
}


def test_an_override_by_an_alias_that_libvirt_does_not_keep_is_none() -> None:
    """libvirt drops an alias without a word unless it is 'ua-' and letters, digits, '_' and '-'."""
    several = {}
    for alias in ALIASES:
        devices = helpers.port(1, "00:03.0") + machines.device("rng", 0, "01:00.0", alias=alias)
        several[alias] = Machine(devices, overrides=((alias, (LEGACY,)),))
    modes = {alias: [*helpers.read(machine.xml()).modes.values()] for alias, machine in several.items()}
    assert modes == {alias: [mode] for alias, mode in ALIASES.items()}
    assert_as_foreseen(several)


# --- Cells that are refused -----------------------------------------------------------------------------

NEITHER = r"neither modern nor legacy mode is enabled"
NO_PROPERTY = r"Property '[\w-]+transitional\.disable-(legacy|modern)' not found"


def refused_otherwise(why: str, several: dict[str, Machine]) -> dict[str, str]:
    """Start each, and return what is said of those that are not refused for this reason."""
    said = some_at_a_time(Machine.refusal, several)
    # Where QEMU ends before libvirt has connected to it, nobody hears why.
    unheard = {name: several[name] for name, text in said.items() if "Connection re" in text}
    said |= some_at_a_time(Machine.refusal, unheard) if unheard else {}
    return {name: text for name, text in said.items() if not re.search(why, text)}


def test_what_has_neither_interface_is_refused() -> None:
    """disable-modern without disable-legacy=off behind an express port; and nothing else is."""
    refused = [cell for cell in all_cells("q35") if not starts(cell, "q35")]
    assert refused == [cell for cell in cells_of("q35", (VIRTIO, "no modern")) if cell.placement in EXPRESS]
    assert all(starts(cell, "pc") for cell in all_cells("pc"))
    several = {cell.alias: board([cell], "q35") for cell in refused}
    by_global = board([Cell("rng", "root port")], "q35", "-global", "virtio-pci.disable-modern=on")
    assert set(helpers.read(by_global.xml()).modes.values()) == {Mode.NEITHER}
    assert refused_otherwise(NEITHER, {**several, "by -global": by_global}) == {}


# Each kind once, with both models and all settings among them.
FIXED: Final = [
    Cell(kind, "bridge", model, setting)
    for kind, model, setting in zip(
        KINDS,
        itertools.cycle((TRANSITIONAL, NON_TRANSITIONAL)),
        itertools.cycle(list(SETTINGS)[1:]),
        strict=False,
    )
]


def test_models_that_say_the_interface_bear_no_override() -> None:
    """FACTS 6: these types have neither property. No mode says so: it is a rule of its own."""
    several = {cell.alias: board([cell], "q35") for cell in FIXED}
    for_all = ("-global", "virtio-pci.disable-legacy=off")
    several["by -global"] = board([Cell("rng", "bridge", TRANSITIONAL)], "q35", *for_all)
    assert refused_otherwise(NO_PROPERTY, several) == {}


# --- When to look ---------------------------------------------------------------------------------------

BOOTED = {False: ("debug", b"No bootable device"), True: ("serial", b"UEFI Interactive Shell")}


def changes(machine: Machine) -> list[str]:
    """Return the devices that look another way once the firmware has tried to boot."""
    log, last_words = BOOTED[machine.uefi]
    with machine.started() as running:
        before = running.functions()
        assert last_words not in running.said(log)
        running.run_until(lambda: last_words in running.said(log))
        after = running.functions()
    return [alias for alias in before.keys() | after.keys() if before.get(alias) != after.get(alias)]


def test_nothing_changes_once_the_firmware_is_through_with_pci() -> None:
    """What the other tests look at is final: neither drivers of the firmware nor the boot change it."""
    cells = [cell for cell in PLAIN if cell.placement in {"root port", "bridge"}]
    several = {name: board(cells, "q35", uefi=name == "OVMF") for name in ("SeaBIOS", "OVMF")}
    assert some_at_a_time(changes, several) == {"SeaBIOS": [], "OVMF": []}
