"""The only place where options meet adapters: builds what the commands work with."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from fixer.errors import VirtfixError
from fixer.policy.model import Rule, Selector

if TYPE_CHECKING:
    from fixer.adapters.state_dir import StateDir
    from fixer.domain.target import Target
    from fixer.guest.knowledge import Knowledge
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
    """What the user asked for: plain values that travel to worker processes.

    ``today`` is the date (2027-03-31) by which rules of the site end.
    """

    os: str | None = None
    assume: str | None = None
    policies: tuple[str, ...] = ()
    strategy: str | None = None
    hotplug: tuple[str, ...] = ()
    explain: bool = False
    kernel: str = ""
    virtio_win: str = ""
    mappings: tuple[str, ...] = ()
    inspections: tuple[str, ...] = ()
    osinfo_db: str = ""
    connect: str | None = None
    guest_agent: bool = False
    negotiated: bool = False
    today: str = ""
    connections: tuple[str, ...] = ()  # all of them; ``connect`` is the first
    target: str = ""  # file or URI that says what the host offers
    machine: str = ""  # what to convert to: q35, q35=NAME, pc, pc=NAME
    firmware: str = ""  # bios or efi
    esp: bool = False  # the guest's disk has an EFI system partition
    layout: str = "keep"  # or ports: where a conversion puts devices that like a port of their own
    staged: bool = False  # two steps where a driver has to be bound first
    driver_bound: bool = False  # the owner's word that it is

    @property
    def builds(self) -> dict[str, str]:
        stated = {"kernel": self.kernel, "virtio-win": self.virtio_win}
        return {product: build for product, build in stated.items() if build}


def build_knowledge(settings: Settings) -> Knowledge:
    """Load the policies, and osinfo-db beneath them. Raises VirtfixError."""
    from fixer.adapters import policy_files  # noqa: PLC0415 - commands load what they use
    from fixer.adapters.osinfo_db import OsinfoDb  # noqa: PLC0415
    from fixer.guest.knowledge import Knowledge  # noqa: PLC0415

    policies = policy_files.shipped()
    if settings.policies or settings.mappings:
        from fixer.policy.load import load  # noqa: PLC0415 - the shipped policies are compiled

        policies = load(policy_files.user_files(settings.policies), policies)
        before = len(policies.mapping)
        for name, data in policy_files.user_files(settings.mappings):
            policies = load([(name, data)], policies)
            if len(policies.mapping) == before:
                hint = "give other policies by --policy"
                raise VirtfixError("policy-kind", "is no mapping of domains", where=name, hint=hint)
            before = len(policies.mapping)
    return Knowledge(policies, OsinfoDb(settings.osinfo_db, tell=_tell))


def _tell(error: VirtfixError) -> None:
    sys.stderr.write(f"virtfix: {error}\n")


@lru_cache(maxsize=1)
def build_request(settings: Settings) -> Request:
    """Load the policies and return what planning needs. Raises VirtfixError."""
    from fixer.planning.planner import Request  # noqa: PLC0415 - commands that plan only

    check_builds(settings)
    knowledge = build_knowledge(settings)
    site = knowledge.policies.site
    if settings.strategy is not None:  # the command line stands above every rule of the site
        rules = tuple(rule._replace(strategy="") for rule in site.rules)
        site = site._replace(strategy=settings.strategy, strategy_by_kind={}, rules=rules)
    if settings.hotplug:
        kept = driver_kinds(settings.hotplug)
        always = Rule(Selector(), kinds=tuple(sorted(kept)), hotplug=True)
        site = site._replace(hotplug=site.hotplug | kept, rules=(*site.rules, always))
    if settings.os is not None and settings.assume is None and knowledge.find(settings.os) is None:
        near = knowledge.near(settings.os)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "give a libosinfo id as 'rhel6.9', or --assume"
        )
        raise VirtfixError(
            "os-unknown", f"no policy knows the guest '{settings.os}'", where="--os", hint=hint
        )
    return Request(
        knowledge,
        site,
        settings.os,
        settings.assume,
        settings.explain,
        builds=settings.builds,
        today=settings.today,
        target=_target(settings.target) if settings.target else None,
        machine=settings.machine,
        firmware=settings.firmware,
        esp=settings.esp,
        layout=settings.layout,
        staged=settings.staged,
        driver_bound=settings.driver_bound,
    )


def _target(given: str) -> Target:
    """Return what a host offers, by a file or by a connection to it. Raises VirtfixError."""
    from fixer.domain import target  # noqa: PLC0415 - one option needs it

    if "://" in given:
        from fixer.adapters.libvirt_store import LibvirtStore  # noqa: PLC0415 - loads libvirt

        # libvirt answers that to writers only.
        return LibvirtStore(given, writable=True).target()
    from fixer.adapters.file_store import read_input  # noqa: PLC0415

    return target.read_target(read_input(given, target.MAX_BYTES), given)


def check_builds(settings: Settings) -> None:
    from fixer.policy import builds  # noqa: PLC0415

    for product, text in settings.builds.items():
        if not builds.parse(product, text):
            example = "3.10.0-327" if product == builds.KERNEL else "0.1.171"
            raise VirtfixError(
                "usage.build", f"'{text}' is no version", where=f"--{product}", hint=f"write it as {example}"
            )


def state_dir(given: str) -> StateDir:
    """Return where runs are written down: --state-dir, or the place for this user."""
    from fixer.adapters.state_dir import StateDir, state_root  # noqa: PLC0415 - commands that change domains only

    return StateDir(state_root(given))


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
                "usage.kind", f"no device kind '{name}'", where="--hotplug", hint=f"one of {known}"
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
