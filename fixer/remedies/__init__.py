"""The remedies: one file each. This listing is the feature list; they never import one another."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from fixer.remedies.base import Remedy


@lru_cache(maxsize=1)
def load_remedies() -> dict[str, Remedy]:
    """Return every remedy of this package by name, found by walking it."""
    modules = (module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")
    loaded = (importlib.import_module(f"{__name__}.{name}") for name in modules)
    return {module.NAME: cast("Remedy", module) for module in loaded}
