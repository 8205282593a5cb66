"""Benchmark of `virtfix apply --all`: prints ratios measured in one run, never compares with a stored time.

Usage: python bench/apply.py [N]
Redefines N domains (1,000) on a real libvirtd with the QEMU driver, N on that driver in the process (qemu:///embed)
and 10 N on libvirt's test driver, and compares with as many bare dumpXML + defineXML calls: without a look at
libvirt's schema, and with it. Each side is a Python process of its own, whose start counts.
"""

from __future__ import annotations

import os
import re
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
sys.path.insert(0, str(ROOT / "tests" / "real"))

import daemon  # noqa: E402
from legacy_guest import QEMU_CONF  # noqa: E402

SAMPLE = (ROOT / "samples" / "rhel6-q35-ovmf.xml").read_text()
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


def bare(uri: str, flags: int) -> None:
    """The peer: each domain dumped and defined once, nothing else."""
    connection = connect(uri)
    for one in connection.listAllDomains(0):
        connection.defineXMLFlags(one.XMLDesc(SECURE), flags)
    os._exit(0)


def fill(uri: str, count: int) -> None:
    connection = connect(uri)
    for number in range(count):
        connection.defineXML(domain(number, "qemu"))
    os._exit(0)


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Run a command; return its seconds, and the most memory it took in KiB (getrusage(2), ru_maxrss)."""
    start = time.perf_counter()
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss


def ours(uri: str, scratch: Path) -> tuple[float, int]:
    environment = {**os.environ, "VIRTFIX_STATE_DIR": str(scratch / f"state-{time.monotonic_ns()}")}
    command = [sys.executable, "-m", "fixer.cli.app", "apply", "--connect", uri, "--all", "--yes", "--jsonl"]
    return timed(command, environment)


def compare(name: str, uri: str, count: int, scratch: Path) -> int:
    """Print how long it takes beside the peers; return the memory it takes, in KiB."""
    this = [sys.executable, __file__, "--bare", uri]
    plain, _ = timed([*this, "0"], dict(os.environ))
    checked, _ = timed([*this, str(libvirt.VIR_DOMAIN_DEFINE_VALIDATE)], dict(os.environ))
    taken, memory = ours(uri, scratch)
    print(
        f"{name}: {count} domains, {1000 * taken / count:.1f} ms each; {taken / plain:.2f} x bare dumpXML + "
        f"defineXML (at most 1.5), {taken / checked:.2f} x the same with libvirt's schema",
        flush=True,
    )
    return memory


def fill_apart(uri: str, count: int) -> None:
    command = [sys.executable, __file__, "--fill", uri, str(count)]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)


def on_daemon(count: int, scratch: Path) -> None:
    """Measure on a real libvirtd, and how memory grows with the number of domains."""
    with daemon.hosts("few") as (host,):
        fill_apart(host.uri, count // 10)
        _, few = ours(host.uri, scratch)
    with daemon.hosts("many") as (host,):
        fill_apart(host.uri, count)
        many = compare("libvirtd", host.uri, count, scratch)
    print(f"memory: {many / few:.2f} x from {count // 10} domains to {count}, {many // 1024} MiB", flush=True)


def main() -> None:
    if "--bare" in sys.argv:
        bare(sys.argv[-2], int(sys.argv[-1]))
    if "--fill" in sys.argv:
        fill(sys.argv[-2], int(sys.argv[-1]))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(prefix="virtfix-bench-", dir="/tmp") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        if not daemon.unavailable():
            on_daemon(count, scratch)
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
            fill_apart(uri, count)
            compare("qemu", uri, count, scratch)


if __name__ == "__main__":
    main()
