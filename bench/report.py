"""Benchmark of `virtfix report`: prints ratios measured in one run, never compares with a stored time.

Usage: python bench/report.py [N]
Makes one page of the plans of N (5,000) domains, and compares with reading the same JSON and with planning them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import fleet  # noqa: E402
import plan  # noqa: E402


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory(prefix="virtfix-report-") as name:
        folder = Path(name)
        (folder / "xml").mkdir()
        fleet.write(folder / "xml", plan.domain_of_5_kb(), 0, count)
        plans, page = folder / "plans.json", folder / "page.html"
        start = time.perf_counter()
        with plans.open("wb") as file:
            command = [*plan.VIRTFIX, "plan", str(folder / "xml"), "--format", "json"]
            subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=True)
        planning = time.perf_counter() - start
        data = plans.read_bytes()
        reading = plan.best(lambda: json.loads(data), 3)
        start = time.perf_counter()
        peak = plan.peak_of([*plan.VIRTFIX, "report", str(plans), "--html", str(page)])
        taken = time.perf_counter() - start
        print(
            f"report: {count} domains, {len(data) / 1e6:.0f} MB of JSON to a page of {page.stat().st_size / 1e6:.1f} MB: "
            f"{taken:.1f} s, {taken / reading:.1f} x reading the JSON, {taken / planning:.2f} x planning them; "
            f"{peak // 1024} MiB"
        )


if __name__ == "__main__":
    main()
