"""Conversions to Q35 side by side: what becomes of the devices of the same domains, by libvirt's own word.

Usage: python bench/convert.py [N]
Takes N (100) generated i440FX domains and the sample, converts each by virtfix and by virt-xml --convert-to-q35, lets
libvirt's QEMU driver define all of them, and counts. Where no virt-xml knows that option (virt-manager 5 does), what its
documentation and source say stands in for it: machine q35, PCI and IDE controllers and all PCI addresses taken out, IDE
disks on SATA under new names, e1000 made e1000e.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from lxml import etree

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "real")]

import generator  # noqa: E402
import helpers  # noqa: E402
import libvirt  # noqa: E402
import oracle  # noqa: E402

from fixer.planning.planner import plan_bytes  # noqa: E402

SAMPLE = ROOT / "samples" / "i440fx-rhel6.xml"
DRIVEN = {"virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "virtio_scsi", "virtio_rng"}


def knows_option() -> bool:
    program = shutil.which("virt-xml")
    if program is None:
        return False
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return "--convert-to-q35" in done.stdout


def by_virtfix(xml: str) -> str:
    request = helpers.request("rhel6")._replace(machine="q35=pc-q35-7.2")
    return plan_bytes(xml.encode(), request).result.decode()


def by_virt_xml(xml: str) -> str:
    command = ["virt-xml", "--edit", "--convert-to-q35", "--print-xml"]
    return subprocess.run(command, input=xml, capture_output=True, text=True, check=True).stdout


def as_described(xml: str) -> str:
    """Return what virt-xml is said to make of a domain."""
    root = etree.fromstring(xml.encode())
    root.find("os/type").set("machine", "q35")
    devices = root.find("devices")
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for element in list(devices):
        if element.tag == "controller" and element.get("type") in {"pci", "ide"}:
            devices.remove(element)
            continue
        target = element.find("target")
        if element.tag == "disk" and target is not None and target.get("bus") == "ide":
            used = {one.get("dev") for one in devices.iterfind("disk/target")}
            target.set(
                "dev", next(name for name in (f"sd{letter}" for letter in letters) if name not in used)
            )
            target.set("bus", "sata")
            for address in element.findall("address"):
                element.remove(address)
        model = element.find("model")
        if element.tag == "interface" and model is not None and model.get("type") == "e1000":
            model.set("type", "e1000e")
        for address in element.findall("address[@type='pci']"):
            element.remove(address)
    return etree.tostring(root, encoding="unicode")


def count(before: str, after: str) -> Counter[str]:
    """Return how many devices live, sit where they sat, and in which order."""
    found: Counter[str] = Counter()
    old = {device.key: device for device in oracle.pci_devices(before)}
    new = {device.key: device for device in oracle.pci_devices(after)}
    dead = set(oracle.modern_only(after))
    for key, device in old.items():
        if key.startswith("controller[") and device.driver not in DRIVEN:
            continue  # the chipset's own: both tools replace them
        found["devices"] += 1
        found["same address"] += key in new and new[key].where == device.where
        if device.driver in DRIVEN:
            found["virtio"] += 1
            found["virtio alive"] += key in new and key not in dead
    orders = oracle.guest_order(before), oracle.guest_order(after)
    found["domains"] += 1
    found["same order"] += all(orders[0].get(kind) == orders[1].get(kind) for kind in DRIVEN)
    targets = [set(re.findall(r"<target dev='([^']+)'", text)) for text in (before, after)]
    found["same targets"] += targets[0] == targets[1]
    return found


def domains(number: int) -> list[str]:
    found = [SAMPLE.read_text()]
    for seed in range(number):
        rng = random.Random(seed)
        xml = generator.domain(rng, "pc")
        found.append(oracle.define(xml))
    return found


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    libvirt.registerErrorHandler(lambda *_: None, None)
    real = knows_option()
    ways = {
        "virtfix": by_virtfix,
        "virt-xml" if real else "virt-xml, as described": by_virt_xml if real else as_described,
    }
    totals: dict[str, Counter[str]] = {name: Counter() for name in ways}
    for xml in domains(number):
        before = oracle.define(xml)
        for name, convert in ways.items():
            try:
                totals[name] += count(before, oracle.define(convert(before)))
            except libvirt.libvirtError:
                totals[name]["refused by libvirt"] += 1
    print("for a RHEL 6 guest:")
    for name, total in totals.items():
        print(
            f"{name}: of {total['devices']} devices {total['same address']} keep their address; of {total['virtio']} "
            f"virtio devices {total['virtio alive']} are alive; of {total['domains']} domains {total['same order']} keep "
            f"the order of their devices, {total['same targets']} all target names; {total['refused by libvirt']} refused"
        )
    sys.stdout.flush()
    os._exit(0)  # the embedded driver's threads would keep the interpreter waiting


if __name__ == "__main__":
    main()
