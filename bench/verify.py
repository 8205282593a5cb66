"""Benchmark of `virtfix verify`: prints ratios measured in one run, never compares with a stored time.

Usage: python bench/verify.py [FILE...]
Each domain's copy is started bare, on a driver in a process of its own, and waited for until its firmware has set up
PCI; beside that, `virtfix verify` does its whole work. Processes and libvirt's start count on both sides.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from fixer.adapters.qemu_bench import QemuBench
from fixer.domain.model import read_domain
from fixer.domain.throwaway import throw_away
from fixer.execution.verify import wait_for_firmware

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ("debian7-bridge", "i440fx-rhel6", "rhel6-q35-ovmf", "many-disks-q35")
ROUNDS = 3


def bare(path: str) -> None:
    """The peer: start the same copy, wait for its firmware, end it."""
    domain = read_domain(Path(path).read_bytes())
    with QemuBench() as bench:
        made = bench.bench(domain)
        copy = throw_away(domain, made)
        with bench.started(copy, made) as trial:
            wait_for_firmware(trial, uefi=domain.firmware.kind == "uefi", timeout=120)


def timed(*arguments: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode not in {0, 4}:
        raise SystemExit(done.returncode)
    return time.perf_counter() - start


def main() -> None:
    if "--bare" in sys.argv:
        bare(sys.argv[-1])
        return
    paths = sys.argv[1:] or [str(ROOT / "samples" / f"{name}.xml") for name in SAMPLES]
    timed(__file__, "--bare", paths[0])  # libvirt learns what QEMU can do
    for path in paths:
        peers, ours = [], []
        for _ in range(ROUNDS):
            peers.append(timed(__file__, "--bare", path))
            ours.append(timed("-m", "fixer.cli.app", "verify", "--assume", "legacy", path))
        print(
            f"{Path(path).stem}: {min(ours):.2f} s, {min(ours) / min(peers):.2f} x the bare start of its copy and "
            f"firmware (at most 1.3)",
            flush=True,
        )


if __name__ == "__main__":
    main()
