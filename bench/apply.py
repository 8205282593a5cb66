"""Benchmark of `virtfix apply --all`: prints ratios measured in one run, never compares with a stored time.

Usage: python bench/apply.py [N]
Redefines N domains (1,000) on libvirt's QEMU driver (qemu:///embed, where that runs) and 10 N on its test driver,
and compares with as many bare dumpXML + defineXML calls: without a look at libvirt's schema, and with it.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import libvirt

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = (ROOT / "samples" / "rhel6-q35-ovmf.xml").read_text()
QEMU_CONF = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
cgroup_controllers = [ ]
"""
SECURE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


def domain(number: int, kind: str) -> str:
    """Return the sample under another name and UUID, for a driver of ``kind``."""
    text = re.sub(r"<name>.*?</name>", f"<name>bench{number:06d}</name>", SAMPLE, count=1)
    text = re.sub(
        r"<uuid>.*?</uuid>", f"<uuid>{uuid.uuid5(uuid.NAMESPACE_DNS, str(number))}</uuid>", text, count=1
    )
    text = text.replace("type='kvm'", f"type='{kind}'", 1)
    emulator = "" if kind == "test" else "<emulator>/usr/bin/qemu-system-x86_64</emulator>"
    return re.sub(r"<emulator>.*?</emulator>", emulator, text)


def connect(uri: str) -> Any:
    libvirt.registerErrorHandler(lambda *_: None, None)
    if "embed" in uri:
        libvirt.virEventRegisterDefaultImpl()

        def events() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        threading.Thread(target=events, daemon=True).start()
    return libvirt.open(uri)


def bare(uri: str) -> None:
    """The peer: each domain dumped and defined once, nothing else. Prints seconds, without and with the schema."""
    connection = connect(uri)
    times = []
    for flags in (0, libvirt.VIR_DOMAIN_DEFINE_VALIDATE):
        start = time.perf_counter()
        for one in connection.listAllDomains(0):
            connection.defineXMLFlags(one.XMLDesc(SECURE), flags)
        times.append(time.perf_counter() - start)
    print(*times, flush=True)
    os._exit(0)


def fill(uri: str, count: int) -> None:
    connection = connect(uri)
    for number in range(count):
        connection.defineXML(domain(number, "qemu"))
    os._exit(0)


def timed(arguments: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - start


def compare(name: str, uri: str, count: int, scratch: Path) -> None:
    environment = {**os.environ, "VIRTFIX_STATE_DIR": str(scratch / f"state-{name}")}
    this = [sys.executable, __file__]
    told = subprocess.run([*this, "--bare", uri], capture_output=True, text=True, check=True)
    plain, checked = map(float, told.stdout.split())
    command = [sys.executable, "-m", "fixer.cli.app", "apply", "--connect", uri, "--all", "--yes", "--jsonl"]
    ours = timed(command, environment)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(
        f"{name}: {count} domains, {1000 * ours / count:.1f} ms each, start included, "
        f"{ours / plain:.2f} x bare dumpXML + defineXML, {ours / checked:.2f} x with the schema (at most 1.5); "
        f"{memory // 1024} MiB"
    )


def main() -> None:
    if "--bare" in sys.argv:
        bare(sys.argv[-1])
    if "--fill" in sys.argv:
        fill(sys.argv[-2], int(sys.argv[-1]))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(prefix="virtfix-bench-", dir="/tmp") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        node = scratch / "node.xml"
        node.write_text(
            "<node>" + "".join(domain(number, "test") for number in range(10 * count)) + "</node>"
        )
        compare("test", f"test://{node}", 10 * count, scratch)
        if os.geteuid() == 0:
            root = scratch / "root"
            (root / "etc").mkdir(parents=True)
            (root / "etc" / "qemu.conf").write_text(QEMU_CONF)
            uri = f"qemu:///embed?root={root}"
            subprocess.run(
                [sys.executable, __file__, "--fill", uri, str(count)], stderr=subprocess.DEVNULL, check=True
            )
            compare("qemu", uri, count, scratch)


if __name__ == "__main__":
    main()
