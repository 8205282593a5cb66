"""Benchmark of verdicts: prints ratios measured in one run, never compares with a stored time.

Usage: python bench/policy.py
Needs osinfo-db (a directory that libosinfo would find) for the database side.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fixer.adapters import osinfo_db, policy_files
from fixer.guest import osinfo
from fixer.guest.knowledge import Knowledge
from fixer.policy.load import load

if TYPE_CHECKING:
    from collections.abc import Callable


class Source:
    """A snapshot in the place of a database."""

    def __init__(self, snapshot: osinfo.Snapshot) -> None:
        self.version = snapshot.version
        self.record = snapshot.find


def best(action: Callable[[], object], rounds: int) -> float:
    """Return the shortest of several runs in milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def main() -> None:
    folders = osinfo_db.Folders(osinfo_db.system_folders())
    whole = folders.compile()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "osinfo.json"
        file.write_bytes(whole.dump())

        def one() -> None:
            snapshot = osinfo.read_snapshot(file.read_bytes(), "snapshot")
            Knowledge(policy_files.shipped(), Source(snapshot)).find("rhel6.9")

        def every() -> None:
            snapshot = osinfo.read_snapshot(file.read_bytes(), "snapshot")
            knowledge = Knowledge(policy_files.shipped(), Source(snapshot))
            for record in snapshot.records():
                knowledge.find(record.uri)

        compiled, yaml = best(policy_files.shipped, 10), best(lambda: load(policy_files.shipped_files()), 3)
        walk = best(folders.compile, 3)
        single, all_of_them = best(one, 10), best(every, 5)
    print(f"shipped policies: compiled {compiled:.1f} ms, {yaml / compiled:.0f} x faster than from YAML")
    print(
        f"one verdict, all loaded anew: {single:.1f} ms, {walk / single:.0f} x faster than one pass over osinfo-db"
    )
    print(f"{len(whole)} verdicts: {all_of_them:.0f} ms, {walk / all_of_them:.0f} x faster than that pass")


if __name__ == "__main__":
    main()
