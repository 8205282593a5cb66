"""Processes that plan: what they answer, and that they end with who asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("libvirt")

from fixer.cli.planners import _answer
from fixer.cli.sources import DomainRef
from fixer.cli.wiring import Settings, build_request
from fixer.errors import VirtfixError

REFERENCE = DomainRef.of("vm", "00000000-0000-4000-8000-000000000001", "test:///default")
ASKS_AND_WAITS = """
import time
from fixer.cli.planners import Planners
from fixer.cli.wiring import Settings
if __name__ == "__main__":
    with Planners(Settings(), 2) as planners:
        print(*(process.pid for process in planners._processes), flush=True)
        time.sleep(60)
"""


def is_there(process: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def test_planners_end_when_who_asks_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "asks.py"
    script.write_text(ASKS_AND_WAITS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        planners = [int(word) for word in asking.stdout.readline().split()]
        assert planners
        assert all(map(is_there, planners))
        os.kill(asking.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while any(map(is_there, planners)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_there, planners))


def test_a_mistake_in_the_xml_is_an_answer() -> None:
    answer = _answer(build_request(Settings()), Settings(), REFERENCE, b"<domain>", False)
    assert isinstance(answer, VirtfixError)
    assert answer.code == "document.malformed"


def test_a_defect_is_an_answer_that_names_its_place() -> None:
    no_bytes: bytes = None  # type: ignore[assignment]
    answer = _answer(build_request(Settings()), Settings(), REFERENCE, no_bytes, False)
    assert isinstance(answer, VirtfixError)
    assert answer.code == "internal"
    assert "in document.py:" in str(answer)
