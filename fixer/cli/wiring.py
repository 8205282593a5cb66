"""The only place where options meet adapters: builds what the commands work with."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from fixer.planning.planner import Request

# What an owner calls a kind of device, and the driver kinds that it stands for.
DEVICE_KINDS = {
    "disk": ("block",),
    "interface": ("net",),
    "nic": ("net",),
    "controller": ("scsi", "console"),
    "memballoon": ("balloon",),
    "filesystem": ("9p",),
    "all": ("block", "net", "scsi", "console", "balloon", "rng", "9p"),
}


class Settings(NamedTuple):
    """What the user asked for: plain values that travel to worker processes."""

    os: str | None = None
    assume: str | None = None
    policies: tuple[str, ...] = ()
    strategy: str | None = None
    hotplug: tuple[str, ...] = ()
    explain: bool = False


@lru_cache(maxsize=1)
def build_request(settings: Settings) -> Request:
    """Load the policies and return what planning needs. Raises VirtfixError."""
    from fixer.adapters.file_store import shipped_policies, user_policies  # noqa: PLC0415 - commands that plan only
    from fixer.planning.planner import Request  # noqa: PLC0415
    from fixer.policy.load import load  # noqa: PLC0415

    policies = load([*shipped_policies(), *user_policies(settings.policies)])
    site = policies.site
    if settings.strategy is not None:
        site = site._replace(strategy=settings.strategy, strategy_by_kind={})
    if settings.hotplug:
        site = site._replace(hotplug=site.hotplug | driver_kinds(settings.hotplug))
    if settings.os is not None and settings.assume is None and policies.find(settings.os) is None:
        near = policies.near(settings.os)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "give a libosinfo id as 'rhel6.9', or --assume"
        )
        raise VirtfixError(
            "os-unknown", f"no policy knows the guest '{settings.os}'", where="--os", hint=hint
        )
    return Request(policies, site, settings.os, settings.assume, settings.explain)


def driver_kinds(names: tuple[str, ...]) -> frozenset[str]:
    """Return the driver kinds behind what --hotplug names. Raises VirtfixError for another name."""
    from fixer.policy.model import KINDS  # noqa: PLC0415

    found: set[str] = set()
    for name in names:
        if name in DEVICE_KINDS:
            found.update(DEVICE_KINDS[name])
        elif name in KINDS:
            found.add(name)
        else:
            known = ", ".join(sorted({*DEVICE_KINDS, *KINDS}))
            raise VirtfixError(
                "hotplug.kind", f"no device kind '{name}'", where="--hotplug", hint=f"one of {known}"
            )
    return frozenset(found)


class Screen(NamedTuple):
    """What standard output can show."""

    color: bool
    width: int
    unicode: bool
    terminal: bool


def screen(color: str) -> Screen:
    """Look at standard output: --color, NO_COLOR (no-color.org), its width and encoding."""
    terminal = sys.stdout.isatty()
    wanted = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if color != "auto":
        wanted = color == "always"
    width = 80
    if terminal or os.environ.get("COLUMNS"):
        import shutil  # noqa: PLC0415

        width = max(shutil.get_terminal_size((80, 24)).columns, 40)
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return Screen(wanted, width, encoding.startswith("utf"), terminal)
