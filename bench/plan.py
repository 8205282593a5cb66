"""Benchmark of `virtfix plan`: prints ratios measured in one run, never compares with a stored time.

Usage: python bench/plan.py [--quick]
Needs virtfix installed in the Python that runs it; virt-xml (package virtinst) is a peer where present.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "rhel6-q35-ovmf.xml"
VIRTFIX = [sys.executable, "-m", "fixer.cli.app"]
BASELINE = [sys.executable, "-c", "import lxml.etree, yaml"]


def best(action: Callable[[], object], rounds: int) -> float:
    """Return the shortest of several runs in seconds: what the machine's other work disturbs least."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def command(arguments: list[str], stdin: bytes = b"") -> Callable[[], object]:
    return lambda: subprocess.run(arguments, input=stdin, capture_output=True, check=True)


def domain_of_5_kb() -> bytes:
    """Return the sample without its channels and redirections: about 5 KB, all of its virtio devices."""
    tree = etree.fromstring(SAMPLE.read_bytes())
    devices = tree.find("devices")
    assert devices is not None
    for tag in ("channel", "redirdev", "input"):
        for node in devices.findall(tag):
            devices.remove(node)
    for node in devices.findall("controller[@type='usb']"):
        devices.remove(node)
    return etree.tostring(tree)


def single(rounds: int) -> None:
    ours = best(command([*VIRTFIX, "plan", str(SAMPLE), "--format", "diff"]), rounds)
    base = best(command(BASELINE), rounds)
    print(f"one file: {ours * 1000:.0f} ms, {ours / base:.2f} x importing lxml.etree and yaml (at most 3)")
    if shutil.which("virt-xml"):
        convert = ["virt-xml", "--edit", "--convert-to-q35", "--print-diff"]
        try:
            peer = best(command(convert, SAMPLE.read_bytes()), max(rounds // 3, 2))
        except subprocess.CalledProcessError as error:
            print(f"one file: virt-xml refuses the sample: {error.stderr.decode().strip()[:100]}")
            return
        print(f"one file: {ours / peer:.2f} x virt-xml --convert-to-q35 --print-diff (at most 0.5)")


def write_copies(folder: Path, data: bytes, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"vm{number:06}.xml").write_bytes(data)


def bulk(folder: Path, count: int) -> None:
    data = domain_of_5_kb()
    copies = folder / "bulk"
    write_copies(copies, data, count)
    reference = best(lambda: [etree.tostring(etree.fromstring(data)) for _ in range(200)], 5) / 200
    total = best(command([*VIRTFIX, "plan", str(copies), "--format", "diff", "--jobs", "1"]), 3)
    each = total / count
    print(
        f"bulk: {len(data)} bytes a domain, {each * 1e6:.0f} us a domain on one core, start included, "
        f"{each / reference:.1f} x lxml parse and serialise (at most 15)"
    )


def cores_and_memory(folder: Path, counts: tuple[int, int]) -> None:
    data = domain_of_5_kb()
    peaks = []
    for count in counts:
        copies = folder / f"many{count}"
        write_copies(copies, data, count)
        start = time.perf_counter()
        peaks.append(peak_of([*VIRTFIX, "plan", str(copies), "--format", "diff"]))
        parallel = time.perf_counter() - start
    alone = best(command([*VIRTFIX, "plan", str(copies), "--format", "diff", "--jobs", "1"]), 1)
    print(f"bulk: {counts[1]} files on all cores: {alone / parallel:.2f} x as fast as on one")
    print(
        f"bulk: memory of the largest process, {counts[1]} files against {counts[0]}: {peaks[1] / peaks[0]:.2f} x"
    )


def peak_of(arguments: list[str]) -> int:
    """Run a command; return the peak resident size of its largest process in KiB."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
    return int(done.stdout)


def main() -> None:
    quick = "--quick" in sys.argv
    single(5 if quick else 20)
    with tempfile.TemporaryDirectory() as name:
        bulk(Path(name), 300 if quick else 2000)
        cores_and_memory(Path(name), (500, 1500) if quick else (1000, 10000))
    print(f"peak of this script: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} KiB")


if __name__ == "__main__":
    main()
