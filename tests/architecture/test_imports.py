"""Who may import whom. The contracts stand in pyproject.toml under [tool.importlinter]."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]

# What remedies may share; otherwise one remedy knows nothing of another.
SHARED_BY_REMEDIES = {"fixer.remedies.base"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("fixer", include_external_packages=True, cache_dir=None)


def test_the_contracts_hold() -> None:
    """Imports go downwards, and what decides touches neither libvirt, processes nor the network."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["libvirt", "libvirt_qemu", "subprocess"])
def test_only_adapters_reach_outside(graph: grimp.ImportGraph, module: str) -> None:
    """libvirt and other programs are reached through the adapters alone."""
    importers = graph.find_modules_that_directly_import(module) if module in graph.modules else set()
    assert {name for name in importers if not name.startswith("fixer.adapters.")} == set()


def test_remedies_do_not_know_one_another(graph: grimp.ImportGraph) -> None:
    """A remedy can be read, added and removed without looking at any other."""
    remedies = graph.find_children("fixer.remedies") - SHARED_BY_REMEDIES
    crossed = {(one, other) for one in remedies for other in graph.find_modules_directly_imported_by(one)}
    assert {(one, other) for one, other in crossed if other in remedies} == set()


def test_only_the_command_line_prints() -> None:
    """Everything below returns values, so that stdout carries what was asked for and nothing else."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "fixer").rglob("*.py"))
        if "cli" not in path.relative_to(ROOT / "fixer").parts
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []
