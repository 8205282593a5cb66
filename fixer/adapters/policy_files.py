"""Where policies are: those that come with virtfix, and those that a user names."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fixer.adapters.file_store import is_file, problem, read_input
from fixer.errors import VirtfixError
from fixer.policy import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixer.policy.match import PolicySet

COMPILED = "compiled.json"


def shipped_root() -> Path:
    """Return the folder of the policies that come with virtfix: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    for root in (package / "policies", package.parent / "policies"):
        if (root / "guests").is_dir():
            return root
    raise VirtfixError(
        "policy.missing", "the policies that virtfix ships are not installed", hint="install it again"
    )


def shipped_files() -> list[tuple[str, bytes]]:
    """Return (name, bytes) of the policies that come with virtfix."""
    root = shipped_root()
    found = []
    for folder in ("guests", "site"):
        names = sorted(name for name in os.listdir(root / folder) if name.endswith(".yaml"))
        found += [(f"{folder}/{name}", (root / folder / name).read_bytes()) for name in names]
    return found


def shipped() -> PolicySet:
    """Return the policies that come with virtfix, from their compiled form where that is fresh."""
    files = shipped_files()
    made_from = compiled.digest(files)
    try:
        data = (shipped_root() / COMPILED).read_bytes()
    except OSError:
        data = b""
    found = compiled.parse(data, made_from)
    if found is not None:
        return found
    from fixer.policy.load import load  # noqa: PLC0415 - the YAML reader is not needed where all is compiled

    return load(files)


def user_files(paths: Iterable[str]) -> list[tuple[str, bytes]]:
    """Return policy files given by the user: files, and the *.yaml of directories."""
    found: list[tuple[str, bytes]] = []
    for path in paths:
        files = [path]
        if os.path.isdir(path):
            if not os.access(path, os.R_OK | os.X_OK):
                raise problem(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), path, "read")
            files = sorted(str(file) for file in Path(path).glob("**/*.yaml") if is_file(file))
        if not files:
            raise VirtfixError("policy.none", "has no *.yaml", where=path, hint="give a policy file")
        found += [(file, read_input(file)) for file in files]
    return found
