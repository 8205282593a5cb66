"""Writes completions/ for bash, zsh and fish from the commands: python docs/generate_completion.py [--check].

The scripts know commands, options and their words by themselves and do not start virtfix, so a key press costs
nothing. Names of domains come from virsh, of connections to this machine only.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import command_tree
from command_tree import PROGRAM, ROOT
from completion_bash import bash
from completion_fish import fish
from completion_zsh import zsh

FOLDER = ROOT / "completions"


def scripts() -> dict[Path, str]:
    """Return the text of each script."""
    root = command_tree.tree()
    return {
        FOLDER / f"{PROGRAM}.bash": bash(root),
        FOLDER / f"_{PROGRAM}": zsh(root),
        FOLDER / f"{PROGRAM}.fish": fish(root),
    }


if __name__ == "__main__":
    command_tree.main("docs/generate_completion.py", scripts(), FOLDER)
