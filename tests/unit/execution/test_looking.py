"""Judging devices on a made-up monitor that answers as QEMU does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fixer.domain.guest_report import Found, Thing, is_finished, read_report
from fixer.domain.model import read_domain
from fixer.domain.observed import Handshake, Row, Seen, Tried, Verdict, functions
from fixer.domain.throwaway import Copy
from fixer.domain.virtio import Mode
from fixer.errors import VirtfixError
from fixer.execution import verify
from fixer.execution.verify import look, order_kept, wait_for_firmware
from fixer.policy.model import ASSUMED_LEGACY, ASSUMED_MODERN, Fact
from fixer.report import verification

XML = """<domain type='kvm'><name>g</name><os><type machine='pc-q35-7.2'>hvm</type></os><devices>
<emulator>/q</emulator>
<controller type='usb' model='none'/>
<controller type='pci' index='0' model='pcie-root'/>
<disk type='file' device='disk'><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/>
  <address type='pci' domain='0' bus='0' slot='4' function='0'/></disk>
<memballoon model='none'/>
</devices></domain>"""
IO = {"bar": 0, "type": "io", "address": 0xC000, "size": 128}
MSIX = {"bar": 1, "type": "memory", "address": 0xFE000000, "size": 4096}
MODERN = {"bar": 4, "type": "memory", "address": 0xFD000000, "size": 16384}


def pci(
    regions: list[dict[str, Any]], device: int = 0x1001, name: str = "virtio-disk0"
) -> list[dict[str, Any]]:
    function = {
        "bus": 0, "slot": 4, "function": 0, "qdev_id": name,
        "id": {"vendor": 0x1AF4, "device": device}, "regions": regions,
    }  # fmt: skip
    return [{"bus": 0, "devices": [function]}]


class Machine:
    """Ports of one legacy device, and of PCI configuration."""

    def __init__(self, answer: list[dict[str, Any]], *, broken: str = "", bar: int = 0) -> None:
        self.answer, self.broken, self.bar = answer, broken, bar
        self.status = self.config = 0
        self.paused = False

    def query_pci(self) -> list[dict[str, Any]]:
        return self.answer

    def xml(self) -> bytes:
        return XML.encode()

    def log(self, name: str) -> bytes:
        return b"max supported" if name == "debug" else b""

    def pause(self) -> None:
        self.paused = True

    def human(self, command: str) -> str:
        assert self.paused, "a guest that runs could touch the device at the same time"
        verb, size, port, *value = command.split()
        assert size in {"/b", "/h", "/w"}
        place = int(port, 16)
        if verb == "o":
            if place == 0xCF8:
                self.config = int(value[0], 16) & 0xFF
            elif place == 0xC012:
                self.status = int(value[0], 16)
            return ""
        told = {
            0xC012: 0xFF if self.broken == "status" else self.status,
            0xC000: 0x79006E54,
            0xC00C: 0 if self.broken == "queue" else 256,
            0xCFC: self.bar if self.config == 0x10 else 0x7,
        }
        return f"port[{port}] = {told.get(place, 0xFFFFFFFF):#x}"


def judged(machine: Machine, guest: Any = ASSUMED_LEGACY) -> Row:
    domain = read_domain(XML.encode())
    seen = look(domain, Copy("", {}, {}, (), (), {}), machine, guest, 5)
    (row,) = seen.rows
    return row


NO_DRIVER = ASSUMED_LEGACY._replace(drivers={"block": Fact("no", "x", "y", "z")})
LEGACY_ONLY = ASSUMED_LEGACY._replace(legacy_only=True)
UNMAPPED = {**IO, "address": -1}


@pytest.mark.parametrize(
    ("regions", "given", "guest", "verdict", "why"),
    [
        ([IO, MSIX, MODERN], {}, ASSUMED_LEGACY, Verdict.PASS, ""),
        ([IO, MSIX, MODERN], {}, None, Verdict.PASS, ""),
        ([IO, MSIX, MODERN], {}, LEGACY_ONLY, Verdict.FAIL, "do not bear"),
        ([IO, MSIX], {}, LEGACY_ONLY, Verdict.PASS, ""),
        ([IO, MSIX, MODERN], {"broken": "status"}, ASSUMED_LEGACY, Verdict.FAIL, "status 0 reads back as 0xff"),
        ([IO, MSIX, MODERN], {"broken": "queue"}, ASSUMED_LEGACY, Verdict.FAIL, "no queue 0"),
        ([MSIX, MODERN], {}, ASSUMED_LEGACY, Verdict.FAIL, "no I/O BAR"),
        ([MSIX, MODERN], {}, ASSUMED_MODERN, Verdict.PASS, ""),
        ([{**MSIX, "address": -1}, {**MODERN, "address": -1}], {}, ASSUMED_MODERN, Verdict.FAIL, "no room"),
        ([UNMAPPED, MSIX, MODERN], {}, ASSUMED_LEGACY, Verdict.FAIL, "no room"),
        ([UNMAPPED, MSIX, MODERN], {"bar": 0xC001}, ASSUMED_LEGACY, Verdict.PASS, ""),
        ([UNMAPPED, MSIX, MODERN], {"bar": 0xFFFFFF81}, ASSUMED_LEGACY, Verdict.FAIL, "no room"),
        ([MSIX, MODERN], {}, NO_DRIVER, Verdict.UNJUDGED, "has no driver"),
    ],
)  # fmt: skip
def test_a_device_is_judged_by_what_its_guest_needs(
    regions: list[dict[str, Any]], given: dict[str, Any], guest: Any, verdict: Verdict, why: str
) -> None:
    device = 0x1001 if IO in regions or UNMAPPED in regions else 0x1042
    row = judged(Machine(pci(regions, device), **given), guest)
    assert row.verdict is verdict, row
    assert why in row.why


def test_what_is_not_there_fails() -> None:
    row = judged(Machine(pci([IO, MSIX, MODERN], name="something-else")))
    assert (row.verdict, row.seen, row.address) == (Verdict.FAIL, "absent", "")


def test_devices_whose_back_end_differs_go_by_their_order() -> None:
    rng = "<rng model='virtio'><backend model='random'>{}</backend><alias name='{}'/></rng>"
    nic = "<interface type='{}'><model type='virtio'/><alias name='{}'/></interface>"
    held = "<input type='keyboard' bus='virtio'><alias name='ua-virtfix-stand-in-0028'/></input>"
    ours, theirs = (
        read_domain(XML.replace("</devices>", f"{more}</devices>").encode())
        for more in (
            rng.format("/dev/random", "") + rng.format("/dev/urandom", "") + nic.format("hostdev", "")
            + nic.format("network", "") + "<input type='passthrough' bus='virtio'/>",
            rng.format("/dev/urandom", "rng0") + rng.format("/dev/urandom", "rng1") + nic.format("user", "net0")
            + held + "<input type='keyboard' bus='virtio'><alias name='input0'/></input>",
        )
    )  # fmt: skip
    found = verify._names(ours, Copy("", {}, {}, (), (), {}), theirs)
    assert {device.key: alias for device, alias in found.items()} == {
        "disk[vda]": "virtio-disk0", "rng[/dev/random]": "rng0", "rng[/dev/urandom]": "rng1",
        "interface[?]#2": "net0", "input[passthrough virtio]": "input0",
    }  # fmt: skip


@pytest.mark.parametrize(("guest", "problems"), [(ASSUMED_MODERN, 0), (ASSUMED_LEGACY, 1), (None, 1)])
def test_a_guest_that_speaks_virtio_1_may_use_it(
    guest: Any, problems: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(pci([MODERN]))
    report = b"\nVIRTFIX-BEGIN\nvirtio virtio0 0000:00:04.0 virtio_blk modern\nVIRTFIX-END\n"
    monkeypatch.setattr(machine, "log", lambda _: report)
    found = verify.boot(read_domain(XML.encode()), Copy("", {}, {}, (), (), {}), machine, guest, 5)
    assert len(found.problems) == problems


def test_buses_behind_bridges_are_walked() -> None:
    (bus,) = pci([IO, MSIX, MODERN])
    inner = bus["devices"][0] | {"bus": 2, "slot": 0}
    port = {
        "bus": 0, "slot": 1, "function": 0, "qdev_id": "pci.1", "id": {"vendor": 0x1B36, "device": 12}, "regions": [],
        "pci_bridge": {"bus": {}, "devices": [inner]},
    }  # fmt: skip
    found = functions([{"bus": 0, "devices": [port]}])
    assert [(one.address, one.bridges) for one in found] == [(8, ()), (0x200, (8,))]
    assert found[1].mode is Mode.TRANSITIONAL


def test_a_firmware_that_is_never_ready_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(pci([UNMAPPED]))
    monkeypatch.setattr(machine, "log", lambda _: b"")
    with pytest.raises(VirtfixError, match="not set up PCI within"):
        wait_for_firmware(machine, uefi=False, timeout=0.05)


def test_a_firmware_that_gives_no_sign_is_ready_when_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(pci([IO]))
    monkeypatch.setattr(machine, "log", lambda _: b"")
    monkeypatch.setattr(verify, "_QUIET", 0.1)
    _, notes = wait_for_firmware(machine, uefi=True, timeout=5)
    assert "gives no sign" in notes[0]


CONSOLE = b"""noise\r
VIRTFIX-BEGIN\r
virtio virtio0 0000:00:04.0 virtio_blk legacy\r
virtio virtio1 0000:00:05.0 virtio_net modern\r
virtio virtio2 0000:00:06.0 none legacy\r
virtio virtio3 0000:00:07.0 virtio_blk legacy\r
disk vda 0000:00:04.0 2048 virtio0\r
disk vdb 0000:00:07.0 2056 virtio3\r
nic eth0 52:54:00:00:00:01 0000:00:05.0\r
pci 0000:00:00.0 0x8086 0x29c0 0x060000\r
bar 0000:00:07.0 0 assigned\r
VIRTFIX-END\r
"""


def test_the_report_of_a_guest_is_read() -> None:
    found = read_report(
        CONSOLE, {1 << 20: "disk[vda]"}, {"52:54:00:00:00:01": "interface[52:54:00:00:00:01]"}
    )
    assert is_finished(CONSOLE)
    assert found.disks == (Thing("vda", "disk[vda]", "00:04.0", "legacy"),)  # an old guest would not map vdb
    assert found.nics == (Thing("eth0", "interface[52:54:00:00:00:01]", "00:05.0", "virtio 1.0"),)
    assert [one.driver for one in found.bound] == ["virtio_blk", "virtio_net", "", ""]


def test_a_report_that_is_cut_off_is_not_finished() -> None:
    assert not is_finished(CONSOLE[:200])
    with pytest.raises(VirtfixError, match="nobody understands"):
        read_report(b"\nVIRTFIX-BEGIN\nsh: \x1b[2Joops\nVIRTFIX-END\n", {}, {})


def test_another_order_is_told() -> None:
    one, two = (Thing(f"vd{name}", f"disk[vd{name}]", "", "legacy") for name in "ab")
    assert order_kept(Found((), (one, two), ()), Found((), (one, two), ())) == ()
    (told,) = order_kept(Found((), (one, two), ()), Found((), (two, one), ()))
    assert told == "the order of the disks was disk[vda], disk[vdb], it is disk[vdb], disk[vda]"


@pytest.mark.parametrize("width", [80, 72, 120])
def test_a_long_name_gives_way_where_there_is_no_room(width: int) -> None:
    """As a NIC of the host whose address is unknown beside a mode that is not as expected; the sentence has it whole."""
    row = judged(Machine(pci([IO, MSIX, MODERN])))
    long = row._replace(
        device="filesystem[/a/long/way/to/what/is/shared/with/it]",
        verdict=Verdict.FAIL,
        expected="legacy",
        seen="transitional",
        why="is not as expected",
    )
    lines = verification.render(
        Tried("before", "x", Seen((long, row), 1.0)), "vm.xml", width=width
    ).splitlines()
    assert max(map(len, lines)) <= width
    assert ("…" in lines[2]) == (width < 120)
    assert long.device in lines[-1]


def test_the_report_fits_80_columns_and_has_no_colour_by_itself() -> None:
    row = judged(Machine(pci([IO, MSIX, MODERN])))
    long = row._replace(device="interface[52:54:00:de:b7:01]")
    bad = row._replace(
        device="disk[\x1b[2Jx]", verdict=Verdict.FAIL, handshake=Handshake(failed="x"), why="y" * 200
    )
    tried = Tried("before", "judged for RHEL 6", Seen((long, bad), 1.0, ("a note",)))
    text = verification.render(tried, "vm.xml")
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "\x1b[31mFAIL" in verification.render(tried, "vm.xml", color=True)
    value = json.loads(json.dumps(verification.values(tried, "vm.xml")))
    assert [one["verdict"] for one in value["devices"]] == ["pass", "fail"]
    assert value["passed"] is False
    assert re.fullmatch(r"0x[0-9a-f]{8}", value["devices"][0]["handshake"]["features"])
