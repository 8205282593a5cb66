"""What libvirt writes in its own way is no difference; what it drops or changes is one."""

from __future__ import annotations

import pytest
from helpers import BARE, ROOT, domain, plan, read

from fixer.execution.compare import differences, misplaced

SAMPLE = (ROOT / "samples" / "rhel6-q35-ovmf.xml").read_text()
MADE = plan(SAMPLE, None)
AFTER = MADE.result.decode()


def changed(old: str, new: str) -> str:
    assert old in AFTER
    return AFTER.replace(old, new, 1)


@pytest.mark.parametrize(
    "got",
    [
        AFTER,
        AFTER.replace("'", '"'),
        changed("<rng model='virtio'>", "<!-- by libvirt --><rng   model='virtio'>"),
        changed("type='pci' domain='0x0000'", "domain='0x0000' type='pci'"),
        AFTER.replace("    ", "\t"),
    ],
)
def test_the_same_in_other_words(got: str) -> None:
    assert differences(MADE.after, got.encode()) == []


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (SAMPLE, "is at 0000:0"),
        (changed("<name>rhel6.10</name>", "<name>other</name>"), "<name> differs"),
        (changed("discard='unmap'", "discard='ignore'"), "disk[vda] differs"),
        (changed("<rng model='virtio'>", "<rng model='virtio-non-transitional'>"), "rng[/dev/urandom]"),
        (changed("<on_poweroff>destroy</on_poweroff>", ""), "<on_poweroff> differs"),
        (
            changed("<source network='default'/>", "<source network='other'/>"),
            "interface[52:54:00:6a:1e:0c] differs",
        ),
        (changed("machine='pc-q35-6.2'", "machine='pc-q35-7.2'"), "<os> differs"),
        (changed("<domain type='kvm'", "<domain type='qemu'"), "<domain> has other attributes"),
        (changed("unit='1'/>", "unit='2'/>"), "differs"),
        (changed("<emulator>/usr/bin/qemu-system-x86_64</emulator>", ""), "<emulator> differs"),
        (changed("<graphics type='spice'", "<graphics type='spice' passwd='x'"), "<graphics> differs"),
        (changed("<channel type='spicevmc'>", "<channel type='pty'>"), "<channel> differs"),
        (
            changed("<memballoon model='virtio'>", "<memballoon model='none'/><memballoon model='virtio'>"),
            "memballoon",
        ),
    ],
)
def test_what_was_lost_is_said(got: str, said: str) -> None:
    assert any(said in phrase for phrase in differences(MADE.after, got.encode())), differences(
        MADE.after, got.encode()
    )


def test_a_dropped_override_is_seen() -> None:
    """libvirt drops qemu:override silently where the namespace is not declared."""
    made = plan(SAMPLE, None, strategy="override")
    start, end = made.result.index(b"<qemu:override>"), made.result.index(b"</qemu:override>")
    got = made.result[:start] + made.result[end + len(b"</qemu:override>") :]
    found = differences(made.after, got)
    assert any("override" in phrase or "modern-only" in phrase for phrase in found), found


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (("0x03", "0x04"), []),
        (("0x04", "0x03"), ["interface[?] is at 0000:00:04.0", "interface[?]#2 is at 0000:00:03.0"]),
        (("0x03",), ["interface[?] is at nowhere", "interface[?]#2 is at nowhere"]),
    ],
)
def test_what_libvirt_gave_a_name_is_known_by_its_order(places: tuple[str, ...], said: list[str]) -> None:
    def written(name: str, slot: str) -> str:
        place = f"<address type='pci' domain='0x0000' bus='0x00' slot='{slot}' function='0x0'/>"
        return f"<interface type='user'>{name}<model type='virtio'/>{place}</interface>"

    ours = read(domain(BARE + written("", "0x03") + written("", "0x04")))
    got = domain(
        BARE + "".join(written(f"<mac address='52:54:00:00:00:0{slot[-1]}'/>", slot) for slot in places)
    )
    found = misplaced(ours, got.encode())
    assert len(found) == len(said), found
    assert all(phrase.startswith(start) for phrase, start in zip(found, said, strict=True)), found
