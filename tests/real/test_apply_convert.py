"""Conversions carried out on libvirt's QEMU driver: applied, started, put back; and the one that takes two steps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("libvirt")

from redefining import PREFIX, inactive

if TYPE_CHECKING:
    from pathlib import Path

    import libvirt
    from redefining import Host

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("oracle")]

TEMPLATE = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{image}'/>
      <target dev='hda' bus='ide'/></disk>
    <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
    <graphics type='vnc' passwd='hunter2'><listen type='none'/></graphics>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>"""


def defined(host: Host, name: str, machine: str = "pc") -> libvirt.virDomain:
    image = host.image(f"{name}.raw")
    return host.connection.defineXML(TEMPLATE.format(name=PREFIX + name, machine=machine, image=image))


def test_there_and_back(host: Host) -> None:
    """The host's own versioned type is written; the domain starts on Q35; rollback gives the old bytes back."""
    domain = defined(host, "moves")
    before = inactive(domain)
    done = host.virtfix("apply", "--domain", domain.name(), "--machine", "q35", "--os", "rhel6.9", "--yes")
    assert (done.code, done.err.count("1 changed")) == (0, 1), done
    after = inactive(domain)
    machine = re.search("machine='([^']+)'", after)
    assert machine is not None
    assert re.fullmatch(r"pc-q35-\d+\.\d+", machine[1]), "the floating alias is never written"
    assert "passwd='hunter2'" in after
    assert "bus='sata'" in after
    assert "<target dev='hda'" in after
    domain.create()
    assert re.search(r"machine='pc-q35-", domain.XMLDesc(0))
    domain.destroy()
    again = host.virtfix("apply", "--domain", domain.name(), "--machine", "q35", "--os", "rhel6.9", "--yes")
    assert again.err.count("1 unchanged") == 1, again
    undone = host.virtfix("rollback", done.run, "--yes")
    assert undone.code == 0, undone
    assert inactive(domain) == before


def test_uefi_is_taken_as_libvirt_makes_it(host: Host) -> None:
    """What libvirt adds beside firmware='efi' is no difference from what was meant; the domain starts."""
    domain = defined(host, "uefi")
    arguments = ("--machine", "q35", "--firmware", "efi", "--esp", "--os", "rhel7.9", "--yes")
    done = host.virtfix("apply", "--domain", domain.name(), *arguments)
    assert (done.code, done.err.count("1 changed")) == (0, 1), done
    domain.create()
    assert "firmware='efi'" in inactive(domain)
    domain.destroy()


def test_a_saved_plan_is_carried_out(host: Host, tmp_path: Path) -> None:
    """Through JSON, by its edits."""
    domain = defined(host, "saved")
    saved = tmp_path / "plan.json"
    chosen = ("--domain", domain.name(), "--machine", "q35", "--os", "rhel6.9")
    assert host.virtfix("plan", *chosen, "--out", saved).code == 0
    plan = json.loads(saved.read_text())
    assert plan["machine"]["after"]["family"] == "q35"
    done = host.virtfix("apply", saved, "--yes")
    assert (done.code, done.err.count("1 changed")) == (0, 1), done
    assert "pc-q35-" in inactive(domain)


def test_two_steps_for_a_guest_that_must_meet_its_driver(host: Host) -> None:
    """Windows 7 on IDE: refused at once, then a helper, then, on its owner's word, Q35 without the helper."""
    domain = defined(host, "windows")
    before = inactive(domain)
    chosen = ("--domain", domain.name(), "--machine", "q35", "--os", "win7")
    refused = host.virtfix("apply", *chosen, "--yes")
    assert inactive(domain) == before
    assert (refused.code, refused.err.count("1 blocked")) == (4, 1), refused

    first = host.virtfix("apply", *chosen, "--staged", "--yes")
    assert (first.code, first.err.count("1 changed")) == (0, 1), first
    helped = inactive(domain)
    assert "virtfix-helper" in helped
    assert "pc-i440fx" in helped
    domain.create()  # the owner starts it once
    domain.destroy()
    waiting = host.virtfix("apply", *chosen, "--staged", "--yes")
    assert inactive(domain) == helped
    assert (waiting.code, waiting.err.count("give --driver-bound")) == (4, 1), waiting

    second = host.virtfix("resume", first.run, "--driver-bound")
    assert (second.code, second.err.count("1 changed")) == (0, 1), second
    after = inactive(domain)
    assert "virtfix-helper" not in after
    assert "pc-q35" in after
    assert "<target dev='hda' bus='sata'/>" in after
    domain.create()
    domain.destroy()

    wrong = host.virtfix("resume", second.run, "--driver-bound")
    assert wrong.code == 1
    assert "is no first step" in wrong.err
