"""Whether a guest finds its devices: asked of real QEMU after real firmware, on a throw-away copy.

The legacy handshake (virtio specification 1.2, sections 2.1 and 4.1.4.10) is done on the I/O ports themselves, as a
guest's driver would.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from fixer.diagnose import acceptable_modes
from fixer.domain.devices import short_address
from fixer.domain.guest_report import is_finished, read_report
from fixer.domain.model import read_domain
from fixer.domain.observed import UNMAPPED, Handshake, Row, Seen, Verdict, functions
from fixer.domain.throwaway import STAND_IN
from fixer.domain.virtio import NATIVE_DRIVERS, Mode
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from fixer.domain.devices import Address, Device
    from fixer.domain.guest_report import Found
    from fixer.domain.model import Domain
    from fixer.domain.observed import Function, Region
    from fixer.domain.throwaway import Copy
    from fixer.execution.ports import Trial
    from fixer.policy.model import GuestCapabilities

_POLL = 0.02
# Firmware that gives no sign is taken to be ready when PCI has not changed for so long.
_QUIET = 3.0
# SeaBIOS counts processors after it has set up PCI (src/post.c, qemu_platform_setup); a release build of OVMF says
# nothing on the debug port, but clears the console, which it finds by PCI enumeration (BdsDxe).
_SEABIOS_READY = b"max supported"
# Where I/O space runs out it stops before that, with nothing mapped (src/fw/pciinit.c, pci_setup).
_SEABIOS_STOPPED = b"PCI: out of I/O address space"
# Ports of PCI configuration mechanism #1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2).
_CONFIG_ADDRESS, _CONFIG_DATA, _ENABLE = 0xCF8, 0xCFC, 0x80000000
_LAST_PORT = 0xFFFF  # x86 has 64 Ki ports
_COMMAND, _BAR0, _DECODE = 0x04, 0x10, 0x7  # I/O, memory, bus master
# Registers of the legacy interface (virtio specification 1.2, section 4.1.4.10).
_FEATURES, _QUEUE_SIZE, _STATUS = 0, 12, 18
# Reset; ACKNOWLEDGE and DRIVER. Each question takes QEMU's monitor a millisecond, so what is written last is read.
_HANDSHAKE = ((0,), (1, 3))


def look(domain: Domain, copy: Copy, trial: Trial, guest: GuestCapabilities | None, timeout: float) -> Seen:
    """Wait for the firmware and judge each virtio device. Raises VirtfixError where that can not be done.

    A ``guest`` of None is judged as one with legacy drivers only.
    """
    ready, notes = wait_for_firmware(trial, uefi=domain.firmware.kind == "uefi", timeout=timeout)
    trial.pause()
    found = functions(trial.query_pci())
    by_name = {function.name: function for function in found if function.name}
    names = _names(domain, copy, read_domain(trial.xml()))
    rows = [
        _row(
            domain, device, by_name.get(names.get(device, "")), trial, guest, left=device.key in copy.left_out
        )
        for device in domain.modes
    ]
    return Seen(tuple(rows), ready, (*copy.notes, *notes))


def wait_for_firmware(trial: Trial, *, uefi: bool, timeout: float) -> tuple[float, tuple[str, ...]]:
    """Wait until PCI is set up; return the seconds it took, and notes. Raises VirtfixError ``verify.firmware``."""
    start = changed = time.monotonic()
    last: object = None
    while True:
        now = time.monotonic()
        told = trial.log("serial" if uefi else "debug")
        if (uefi and told) or _SEABIOS_READY in told:
            return now - start, ()
        if _SEABIOS_STOPPED in told:
            return now - start, ("SeaBIOS stops: it is out of I/O address space",)
        if now - changed > _QUIET / 10:  # seldom: each question stops the guest for a moment
            state = [(one.address, one.regions) for one in functions(trial.query_pci())]
            if state != last:
                last, changed = state, now
            elif now - changed > _QUIET and _is_mapped(state):
                return changed - start, (
                    f"the firmware gives no sign: PCI has not changed for {_QUIET:.0f} s",
                )
        if now - start > timeout:
            raise VirtfixError(
                "verify.firmware",
                f"its firmware has not set up PCI within {timeout:.0f} s",
                hint="give it longer: --timeout SECONDS",
            )
        time.sleep(_POLL)


def _is_mapped(state: list[tuple[Address, tuple[Region, ...]]]) -> bool:
    return any(region.address != UNMAPPED for _, regions in state for region in regions)


def _names(domain: Domain, copy: Copy, live: Domain) -> dict[Device, str]:
    """Return the alias of each virtio device in the running copy.

    What is not known by its place goes by its order: a copy has back ends of its own, and so other keys.
    """
    found: dict[Device, str] = {}
    for tag in _BY_ORDER:
        ours = [device for device in domain.modes if device.tag == tag and device.key not in copy.left_out]
        theirs = [
            device
            for device in live.devices
            if device.tag == tag and device.driver and not device.alias.startswith(STAND_IN)
        ]
        if len(ours) == len(theirs):
            found.update((mine, other.alias) for mine, other in zip(ours, theirs, strict=True))
    for device in domain.modes:
        other = live.by_key.get(device.key)
        if device not in found and other is not None:
            found[device] = other.alias
    return found


# Tags whose elements libvirt keeps in the order of the XML; disks and controllers it sorts.
_BY_ORDER = ("interface", "rng", "crypto", "input")


def boot(
    domain: Domain,
    copy: Copy,
    trial: Trial,
    guest: GuestCapabilities | None,
    timeout: float,
    seen: Seen | None = None,
) -> Found:
    """Wait for the report of a Linux guest; say which devices it misses. Raises VirtfixError.

    ``seen`` is where they were seen; without it they are looked for where they are expected.
    """
    asked = time.monotonic()
    end = asked + timeout
    while not is_finished(trial.log("serial")):
        now = time.monotonic()
        if now > asked + _QUIET:
            trial.query_pci()  # one that has ended does not answer
            asked = now
        if now > end:
            raise VirtfixError(
                "verify.boot",
                f"the guest has not reported within {timeout:.0f} s",
                hint="give it longer: --timeout SECONDS",
            )
        time.sleep(_POLL)
    found = read_report(trial.log("serial"), copy.disks, copy.nics)
    # The driver falls back to virtio 1.0, which is as good for a guest that speaks it.
    modern = guest is not None and guest.is_modern
    driven = {one.address for one in found.bound if one.driver and (one.legacy or modern)}
    layout = domain.layout
    assert layout is not None, "only machines that are judged are tried"
    places = {row.device: row.address for row in seen.rows} if seen is not None else {}
    missing = [
        device.key
        for device in domain.modes
        if device.driver in _LINUX_DRIVES
        and not (guest is not None and guest.drives(device.driver).value == "no")
        and device.key not in copy.left_out
        and (places.get(device.key) or short_address(layout.order(layout.at[device]))) not in driven
    ]
    kind = "driver" if modern else "legacy driver"
    return found._replace(problems=tuple(f"{key} is not driven by a {kind}" for key in missing))


def order_kept(before: Found, after: Found) -> tuple[str, ...]:
    """Return a sentence for disks, and one for NICs, that the guest finds in another order than before."""
    told = []
    for kind, old, new in (("disks", before.disks, after.disks), ("NICs", before.nics, after.nics)):
        was, now = [one.device for one in old], [one.device for one in new]
        if was != now:
            told.append(
                f"the order of the {kind} was {', '.join(was) or 'none'}, it is {', '.join(now) or 'none'}"
            )
    return tuple(told)


# The drivers of the guest that is booted (fixer/adapters/guest_image.py).
_LINUX_DRIVES = frozenset({"block", "net", "scsi", "console", "balloon", "rng"})


def _row(
    domain: Domain,
    device: Device,
    function: Function | None,
    trial: Trial,
    guest: GuestCapabilities | None,
    *,
    left: bool,
) -> Row:
    layout = domain.layout
    assert layout is not None, "only machines that are judged are tried"
    order = layout.order(layout.at[device])
    row = Row(
        device.key,
        device.driver,
        short_address(order) if order >= 0 else "",
        *("", "", ""),
        None,
        domain.modes[device].value,
        "left out" if left else "absent",
        Verdict.UNJUDGED if left else Verdict.FAIL,
        "it can not be tried without its host" if left else "QEMU does not show it",
    )
    if function is None:
        return row
    handshake = None
    if function.io is not None:
        function, handshake = _shake(function, trial)
    io = function.io
    row = row._replace(
        address=short_address(function.address),
        pci_id=f"{function.vendor:04x}:{function.device:04x}",
        io=f"{io.address:#06x}" if io is not None and io.address != UNMAPPED else "",
        handshake=handshake,
        seen=_seen(device, function).value,
    )
    verdict, why = _judge(device, function, handshake, guest)
    return row._replace(verdict=verdict, why=why)


def _seen(device: Device, function: Function) -> Mode:
    native = device.driver in NATIVE_DRIVERS and function.mode is Mode.MODERN_ONLY
    return Mode.NATIVE if native else function.mode


def _judge(
    device: Device, function: Function, handshake: Handshake | None, guest: GuestCapabilities | None
) -> tuple[Verdict, str]:
    if guest is not None and guest.drives(device.driver).value == "no":
        return Verdict.UNJUDGED, f"{guest.name} has no driver for it"
    if guest is not None and guest.is_modern:
        if any(region.address != UNMAPPED for region in function.regions if region.bar != 6):
            return Verdict.PASS, ""
        return Verdict.FAIL, "the firmware gave it no room: none of its BARs is mapped"
    if device.driver in NATIVE_DRIVERS:
        return Verdict.UNJUDGED, "such a device never had a legacy interface"
    if function.io is None:
        return Verdict.FAIL, "virtio 1.0 only: no I/O BAR"
    if function.io.address == UNMAPPED or handshake is None:
        return Verdict.FAIL, "the firmware gave it no room: its I/O BAR is not mapped"
    if handshake.failed:
        return Verdict.FAIL, handshake.failed
    if guest is not None and function.mode not in acceptable_modes(guest):
        return Verdict.FAIL, f"it offers virtio 1.0 too, which the drivers of {guest.name} do not bear"
    return Verdict.PASS, ""


# --- on the ports -------------------------------------------------------------------------------------


def _shake(function: Function, trial: Trial) -> tuple[Function, Handshake | None]:
    """Do the legacy handshake; return the function with its I/O BAR as a guest would enable it."""
    io = function.io
    assert io is not None
    address = io.address
    if address == UNMAPPED:
        address = _config(trial, function.address, _BAR0) & ~3
        if not 0 < address <= _LAST_PORT:  # all ones: the firmware has asked for its size and given up
            return function, None
        regions = tuple(
            region._replace(address=address) if region is io else region for region in function.regions
        )
        function = function._replace(regions=regions)
        _decode(trial, function.address)
    shaken = _handshake(trial, address)
    if shaken.failed and function.bridges:
        # Firmware need not have switched the bridges on; a guest does.
        for place in function.bridges:
            _decode(trial, place)
        shaken = _handshake(trial, address)
    return function, shaken


def _handshake(trial: Trial, address: int) -> Handshake:
    for written in _HANDSHAKE:
        for status in written:
            _write(trial, address + _STATUS, status, 1)
        told = _read(trial, address + _STATUS, 1)
        if told != written[-1]:
            return Handshake(failed=f"status {written[-1]} reads back as {told:#x}")
    features = _read(trial, address + _FEATURES, 4)
    # The reset has selected queue 0.
    queue = _read(trial, address + _QUEUE_SIZE, 2)
    return Handshake(features, queue, "it has no queue 0" if queue in {0, 0xFFFF} else "")


def _decode(trial: Trial, place: Address) -> None:
    """Switch decoding on, as a guest does before it touches a device."""
    command = _config(trial, place, _COMMAND) & 0xFFFF
    if command & _DECODE != _DECODE:
        _write(trial, _CONFIG_ADDRESS, _ENABLE | place << 8 | _COMMAND, 4)
        _write(trial, _CONFIG_DATA, command | _DECODE, 2)


def _config(trial: Trial, place: Address, register: int) -> int:
    _write(trial, _CONFIG_ADDRESS, _ENABLE | place << 8 | register, 4)
    return _read(trial, _CONFIG_DATA, 4)


# The human monitor remembers the size of the last access, so it is always given (QEMU hmp-commands.hx).
_SIZES = {1: "b", 2: "h", 4: "w"}


def _read(trial: Trial, port: int, size: int) -> int:
    told = trial.human(f"i /{_SIZES[size]} {port:#x}")
    found = re.search(r"=\s*(0x[0-9a-fA-F]+)", told)
    if found is None:
        raise VirtfixError("verify.monitor", f"QEMU does not read port {port:#x}: {told[:80]}")
    return int(found[1], 16)


def _write(trial: Trial, port: int, value: int, size: int) -> None:
    trial.human(f"o /{_SIZES[size]} {port:#x} {value:#x}")
