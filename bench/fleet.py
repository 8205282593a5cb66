"""Benchmark of large fleets: prints ratios measured in one run, never compares with a stored time.

Usage: python bench/fleet.py [LARGEST]
Plans 100, 1,000, 10,000 and LARGEST (100,000) domain files on all cores; prints how fast each domain is against those
of 1,000, and the memory of the largest process against that of 100. Needs 6 KiB of disk a domain.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import plan  # noqa: E402


def write(folder: Path, data: bytes, start: int, count: int) -> None:
    """Write domains of their own name and UUID: a fleet is not one file many times."""
    for number in range(start, count):
        text = data.replace(b"<name>", b"<name>%06d-" % number, 1)
        text = re.sub(
            rb"<uuid>.*?</uuid>", b"<uuid>%s</uuid>" % str(uuid.UUID(int=number)).encode(), text, count=1
        )
        (folder / f"vm{number:06}.xml").write_bytes(text)


def main() -> None:
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    data = plan.domain_of_5_kb()
    found: dict[int, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory(prefix="virtfix-fleet-") as name:
        folder, done = Path(name), 0
        for count in sorted({100, 1000, 10_000, largest}):
            write(folder, data, done, count)
            done = count
            begin = time.perf_counter()
            peak = plan.peak_of([*plan.VIRTFIX, "plan", str(folder), "--format", "diff"])
            found[count] = (time.perf_counter() - begin) / count, peak
    for count, (each, peak) in found.items():
        print(
            f"fleet: {count} files: {each * 1e6:.0f} us a domain, {found[1000][0] / each:.2f} x the throughput of 1000"
            f"{' (at least 0.5)' if count == largest else ''}; largest process {peak // 1024} MiB, "
            f"{peak / found[100][1]:.2f} x that of 100"
        )


if __name__ == "__main__":
    main()
