"""The text of ``info qtree`` to virtio devices: what QEMU says is read, what is cut or no such text is refused."""

from __future__ import annotations

import pytest

from fixer.domain.observed import Function, Region
from fixer.domain.qtree import QemuDevice, Tree, read_qtree
from fixer.domain.virtio import Mode
from fixer.errors import VirtfixError

# QEMU 7.2's own text, a device of each kind, without the properties that nobody reads.
REAL = """\
bus: main-system-bus\r
  type System\r
  dev: ps2-mouse, id ""\r
    gpio-out "" 1\r
  dev: q35-pcihost, id ""\r
    pci-hole64-size = 34359738368 (32 GiB)\r
    bus: pcie.0\r
      type PCIE\r
      dev: virtio-balloon-pci, id "balloon0"\r
        disable-legacy = "off"\r
        disable-modern = false\r
        addr = 05.0\r
        class Class 00ff, addr 00:05.0, pci id 1af4:1002 (sub 1af4:0005)\r
        bar 0: i/o at 0xd000 [0xd03f]\r
        bar 4: mem at 0xfce00000 [0xfce03fff]\r
        bus: virtio-bus\r
          type virtio-pci-bus\r
          dev: virtio-balloon-device, id ""\r
            iommu_platform = false\r
      dev: virtio-rng-pci, id "ua-r"\r
        disable-legacy = "off"\r
        disable-modern = true\r
        class Class 00ff, addr 00:06.0, pci id 1af4:1005 (sub 1af4:0004)\r
        bar 0: i/o at 0xd040 [0xd05f]\r
        bar 1: mem at 0xfea14000 [0xfea14fff]\r
        bus: virtio-bus\r
          type virtio-pci-bus\r
          dev: virtio-rng-device, id ""\r
      dev: VGA, id "video0"\r
        class VGA controller, addr 00:01.0, pci id 1234:1111 (sub 1af4:1100)\r
        bar 0: mem at 0xfb000000 [0xfbffffff]\r
        bar 6: mem at 0xffffffffffffffff [0xfffe]\r
      dev: pcie-root-port, id "pci.7"\r
        class PCI bridge, addr 00:02.5, pci id 1b36:000c (sub 0000:0000)\r
        bar 0: mem at 0xfea1a000 [0xfea1afff]\r
        bus: pci.7\r
          type PCIE\r
          dev: virtio-tablet-pci, id "input0"\r
            disable-legacy = "on"\r
            disable-modern = false\r
            class Class 0980, addr 07:00.0, pci id 1af4:1052 (sub 1af4:1100)\r
            bar 1: mem at 0xfe000000 [0xfe000fff]\r
            bar 4: mem at 0xfc200000 [0xfc203fff]\r
            bus: virtio-bus\r
              type virtio-pci-bus\r
              dev: virtio-tablet-device, id ""\r
      dev: pcie-root-port, id "pci.5"\r
        class PCI bridge, addr 00:02.3, pci id 1b36:000c (sub 0000:0000)\r
        bar 0: mem at 0xfea18000 [0xfea18fff]\r
        bus: pci.5\r
          type PCIE\r
          dev: virtio-serial-pci, id "virtio-serial0"\r
            disable-legacy = "on"\r
            disable-modern = false\r
            class = 1920 (0x780)\r
            class Class 0780, addr 05:00.0, pci id 1af4:1043 (sub 1af4:1100)\r
            bar 1: mem at 0xfe400000 [0xfe400fff]\r
            bar 4: mem at 0xfc600000 [0xfc603fff]\r
            bus: virtio-bus\r
              type virtio-pci-bus\r
              dev: virtio-serial-device, id ""\r
                bus: virtio-serial0.0\r
                  type virtio-serial-bus\r
                  dev: virtserialport, id "channel0"\r
                    name = "org.qemu.guest_agent.0"\r
                    port 1, guest off, host off, throttle off\r
      dev: pcie-root-port, id "pci.1"\r
        class PCI bridge, addr 00:02.0, pci id 1b36:000c (sub 0000:0000)\r
        bar 0: mem at 0xfea15000 [0xfea15fff]\r
        bus: pci.1\r
          type PCIE\r
          dev: pcie-pci-bridge, id "pci.4"\r
            class PCI bridge, addr 01:00.0, pci id 1b36:000e (sub 0000:0000)\r
            bar 0: mem at 0xfdc00000 [0xfdc000ff]\r
            bus: pci.4\r
              type PCI\r
              dev: virtio-scsi-pci-transitional, id "scsi1"\r
                vectors = 4 (0x4)\r
                class SCSI controller, addr 02:01.0, pci id 1af4:1004 (sub 1af4:0008)\r
                bar 0: i/o at 0xc000 [0xc03f]\r
                bar 1: mem at 0xfda00000 [0xfda00fff]\r
                bar 4: mem at 0xfcc00000 [0xfcc03fff]\r
                bus: virtio-bus\r
                  type virtio-pci-bus\r
                  dev: virtio-scsi-device, id ""\r
                    bus: scsi1.0\r
                      type SCSI\r
      dev: mch, id ""\r
        class Host bridge, addr 00:00.0, pci id 8086:29c0 (sub 1af4:1100)\r
  dev: fw_cfg_io, id ""\r
"""


def devices(text: str) -> dict[str, QemuDevice]:
    return {device.id: device for device in read_qtree(text.encode()).devices}


def test_what_qemu_says_is_read() -> None:
    """Each virtio device with bus, ids, I/O BAR and interface, in the order of the guest's own bus numbers."""
    told = [(one.id, one.kind, one.bus, one.pci_id, one.io, one.mode.value) for one in devices(REAL).values()]
    assert told == [
        ("balloon0", "balloon", "pcie.0", "1af4:1002", "0xd000", "transitional"),
        ("ua-r", "rng", "pcie.0", "1af4:1005", "0xd040", "legacy"),
        ("scsi1", "scsi", "pci.4", "1af4:1004", "0xc000", "transitional"),
        ("virtio-serial0", "console", "pci.5", "1af4:1043", "none", "modern-only"),
        ("input0", "input", "pci.7", "1af4:1052", "none", "virtio 1.0"),
    ]
    assert devices(REAL)["scsi1"].function == Function(
        0x0208,
        0x1AF4,
        0x1004,
        "scsi1",
        (
            Region(0, True, 0xC000, 64),
            Region(1, False, 0xFDA00000, 4096),
            Region(4, False, 0xFCC00000, 16384),
        ),
        (),
    )
    one = devices(REAL)["virtio-serial0"]
    assert (one.type, one.bus_type, one.express) == ("virtio-serial-pci", "PCIE", True)
    assert (one.disable_legacy, one.disable_modern) == ("on", "false")


def test_the_rule_makes_of_properties_and_bus_what_ids_and_bars_show() -> None:
    assert {name: one.ruled for name, one in devices(REAL).items()} == {
        name: one.mode for name, one in devices(REAL).items()
    }


# --- The rule -----------------------------------------------------------------------------------------


def below(bus: str, *lines: str, kind: str = "virtio-blk-pci") -> str:
    """Return a machine with one device: on a root bus, or behind one or more bridges (BUS > BUS > ...)."""
    text = ["bus: main-system-bus", "  type System", '  dev: some-host, id ""']
    indent = " " * 4
    for number, part in enumerate(bus.split(" > ")):
        if number:
            text += [
                f'{indent}dev: bridge, id "b{number}"',
                f"{indent}  class PCI bridge, addr 00:02.0, pci id 1b36:000c (sub 0000:0000)",
            ]
            indent += "  "
        text += [f"{indent}bus: pci.{number}", f"{indent}  type {part}"]
        indent += "  "
    text += [f'{indent}dev: {kind}, id "x"', *(f"{indent}  {line}" for line in lines)]
    return "\n".join([*text, f"{indent}  bus: virtio-bus", ""])


MODERN = (
    "class SCSI controller, addr 01:00.0, pci id 1af4:1042 (sub 1af4:1100)",
    "bar 4: mem at 0xfe00 [0xffff]",
)
BOTH = (
    "class SCSI controller, addr 00:03.0, pci id 1af4:1001 (sub 1af4:0002)",
    "bar 0: i/o at 0xc000 [0xc07f]",
    "bar 4: mem at 0xfe00 [0xffff]",
)


@pytest.mark.parametrize(
    ("bus", "express"),
    [
        pytest.param("PCIE", False, id="a root bus"),
        pytest.param("PCI", False, id="the bus of an i440FX"),
        pytest.param("PCIE > PCIE", True, id="a root port"),
        pytest.param("PCIE > PCIE > PCIE > PCIE", True, id="a switch"),
        pytest.param("PCIE > PCI", False, id="a DMI bridge"),
        pytest.param("PCIE > PCIE > PCI", False, id="a conventional bridge behind a port"),
        pytest.param("pxb-pcie-bus", False, id="an expander's root bus"),
        pytest.param("pxb-pcie-bus > PCIE", True, id="a port on an expander"),
    ],
)
def test_auto_hangs_on_the_bus(bus: str, express: bool) -> None:
    """QEMU 4.1 and 4.2 leave disable-legacy at auto and keep the mode apart: then only the bus tells."""
    lines = ('disable-legacy = "auto"', "disable-modern = false", *(MODERN if express else BOTH))
    (device,) = read_qtree(below(bus, *lines).encode()).devices
    assert device.express is express
    expected = Mode.MODERN_ONLY if express else Mode.TRANSITIONAL
    assert (device.ruled, device.mode) == (expected, expected)


@pytest.mark.parametrize(
    ("kind", "lines", "expected"),
    [
        ("virtio-blk-pci", ['disable-legacy = "off"', "disable-modern = false"], "transitional"),
        ("virtio-blk-pci", ['disable-legacy = "off"', "disable-modern = true"], "legacy"),
        ("virtio-blk-pci", ['disable-legacy = "on"', "disable-modern = false"], "modern-only"),
        # QEMU 2.6 and older: bits, not on/off/auto.
        ("virtio-blk-pci", ["disable-legacy = true", "disable-modern = false"], "modern-only"),
        ("virtio-blk-pci", ["disable-legacy = false", "disable-modern = true"], "legacy"),
        ("virtio-blk-pci-transitional", [], "transitional"),
        ("virtio-blk-pci-non-transitional", [], "modern-only"),
    ],
)
@pytest.mark.parametrize("bus", ["PCIE", "PCIE > PCIE"])
def test_what_is_said_stands_above_the_bus(bus: str, kind: str, lines: list[str], expected: str) -> None:
    (device,) = read_qtree(below(bus, *lines, *BOTH, kind=kind).encode()).devices
    assert device.ruled.value == expected


def test_what_a_device_shows_stands_above_the_rule() -> None:
    """A driver looks at ids and BARs: an old QEMU that knew no such rule is not misjudged."""
    (device,) = read_qtree(below("PCIE > PCIE", *BOTH).encode()).devices
    assert (device.ruled, device.mode) == (Mode.MODERN_ONLY, Mode.TRANSITIONAL)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ("1af4:1000 (sub 1af4:0001)", "net"),
        ("1af4:1009 (sub 1af4:0009)", "9p"),
        ("1af4:1041 (sub 1af4:1100)", "net"),
        ("1af4:1050 (sub 1af4:1100)", "gpu"),
        ("1af4:1053 (sub 1af4:1100)", "vsock"),
        ("1af4:105a (sub 1af4:1100)", "fs"),
        ("1af4:1069 (sub 1af4:1100)", "type 41"),
        ("1af4:1110 (sub 1af4:1100)", ""),  # ivshmem has virtio's vendor too
        ("8086:1041 (sub 1af4:1100)", ""),
    ],
)
def test_the_ids_say_what_it_is(ids: str, kind: str) -> None:
    """Whatever QEMU calls it: vhost-user, vhost-vdpa and a host's own virtio device are virtio to the guest."""
    lines = (f"class Some, addr 00:03.0, pci id {ids}", "bar 0: i/o at 0xc000 [0xc07f]")
    found = read_qtree(below("PCIE", *lines, kind="vfio-pci").encode()).devices
    assert [one.kind for one in found] == ([kind] if kind else [])


# --- BARs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nowhere", ["0xffffffffffffffff [0x7e]", "0xffffffff [0x7e]"])
def test_an_io_bar_without_an_address(nowhere: str) -> None:
    """PCI_BAR_UNMAPPED has 64 bits, and had 32; another device that is mapped shows that the firmware ran."""
    lines = (BOTH[0], f"bar 0: i/o at {nowhere}", f"bar 4: mem at {nowhere}")
    tree = read_qtree(below("PCIE", *lines).encode())
    assert [one.io for one in tree.devices] == ["unmapped"]
    assert not tree.mapped
    other = below("PCIE", *lines).replace(
        "    bus: pci.0\n      type PCIE\n",
        '    bus: pci.0\n      type PCIE\n      dev: VGA, id ""\n'
        "        class VGA, addr 00:01.0, pci id 1234:1111 (sub 1af4:1100)\n        bar 0: mem at 0x10 [0x1f]\n",
    )
    assert read_qtree(other.encode()).mapped


def test_query_pci_stands_above_the_text() -> None:
    """It was asked later: what the guest's firmware has mapped meanwhile counts, by the id of the device."""
    lines = (BOTH[0], "bar 0: i/o at 0xffffffffffffffff [0x7e]")
    tree = read_qtree(below("PCIE", *lines).encode())
    now = Function(0x18, 0x1AF4, 0x1001, "x", (Region(0, True, 0xC000, 128),), ())
    other = now._replace(name="", regions=(Region(0, True, 0xD000, 128),))
    confirmed = tree.confirmed([now, other])
    assert [one.io for one in confirmed.devices] == ["0xc000"]
    assert confirmed.mapped
    assert [one.io for one in tree.confirmed([other]).devices] == ["unmapped"]
    nameless = read_qtree(below("PCIE", *lines).replace('id "x"', 'id ""').encode())
    assert [one.io for one in nameless.confirmed([other]).devices] == ["unmapped"], (
        "that is some other device"
    )


# --- What is no such text, or not all of it -----------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "qtree.none"),
        (b"\x00\xff\xfe" * 100, "qtree.none"),
        (b"<domain type='kvm'><name>x</name></domain>", "qtree.none"),
        (b"bus: main-system-bus\n  type System\n", "qtree.none"),
        (b"error: Failed to connect socket", "qtree.none"),
        (b'dev: virtio-net-pci, id "net0"\n', "qtree.shape"),
        (b'bus: pci.0\n  type PCI\n  dev: a, id ""\n    dev: b, id ""\n', "qtree.shape"),
        ("\n".join(line for line in REAL.splitlines() if "virtio" in line).encode(), "qtree.shape"),
        ("\n".join(line for line in REAL.splitlines() if "class" not in line).encode(), "qtree.cut"),
        (b" " * (4 * 1024 * 1024 + 1), "qtree.size"),
    ],
)
def test_what_is_none_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(VirtfixError) as caught:
        read_qtree(data)
    assert caught.value.code == code
    assert "info qtree" in caught.value.hint


def test_a_text_that_breaks_off_judges_no_device_wrongly() -> None:
    """Cut behind any character, it is refused, or tells of each device that it has what the whole tells."""
    whole = devices(REAL)
    refused = read = 0
    for end in range(len(REAL)):
        try:
            found = devices(REAL[:end])
        except VirtfixError:
            refused += 1
            continue
        read += 1
        assert found.items() <= whole.items(), REAL[:end][-80:]
    assert refused > 500
    assert read > 500


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(REAL.replace("\r", ""), id="line ends of a terminal"),
        pytest.param("\ufeff" + REAL, id="a byte order mark"),
        pytest.param("(qemu) info qtree\r\n" + REAL + "(qemu) ", id="the prompt is there too"),
        pytest.param("".join(f"    {line}\n" for line in REAL.splitlines()), id="indented in a ticket"),
        pytest.param(REAL.replace("\r\n", "\r\n\r\n"), id="empty lines between"),
    ],
)
def test_how_people_paste_it(text: str) -> None:
    assert devices(text) == devices(REAL)


def test_a_hostile_text_costs_no_more_than_its_size() -> None:
    """Deep, wide and long: none of it recurses, and what is not understood is passed over."""
    deep = "".join(f'{" " * 2 * n}bus: b\n{" " * (2 * n + 1)}dev: d, id ""\n' for n in range(1000))
    with pytest.raises(VirtfixError, match="no device of a PCI bus"):
        read_qtree(deep.encode())
    line = f'      dev: x, id "{"y" * 900}"\n        {BOTH[0]}\n        bus: b\n'
    wide = "bus: pci.0\n  type PCI\n" + line * 3000
    assert len(read_qtree(wide.encode()).devices) == 3000
    long = below("PCIE", "x = " + "class , addr " * 200_000, *BOTH)
    assert isinstance(read_qtree(long.encode()), Tree)
    assert len(read_qtree(long.encode()).devices) == 1
