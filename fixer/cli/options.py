"""The options that several commands share, and what they make of them together."""

from __future__ import annotations

import time
from inspect import Parameter, Signature, signature
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fixer.cli.wiring import Screen, Settings

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Domain XML files, directories of them, or - .")
]
MaybeFiles = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE...]", help="Domain XML files, directories of them, or - .", show_default=False
    ),
]

# Which guest, and what is known of it.
Os = Annotated[
    str | None, typer.Option("--os", metavar="ID", help="Guest OS: libosinfo short id or URI (rhel6.9).")
]
Assume = Annotated[
    str | None, typer.Option(metavar="legacy|modern", help="What to take an unknown guest for.")
]
Kernel = Annotated[
    str,
    typer.Option(metavar="VERSION", help="The guest's kernel, where the answer hangs on it (3.10.0-327)."),
]
VirtioWin = Annotated[
    str, typer.Option("--virtio-win", metavar="BUILD", help="The guest's virtio-win build (0.1.171).")
]
Mapping = Annotated[
    list[str] | None,
    typer.Option("--os-map", metavar="FILE", help="Which domains run what (kind: mapping); repeatable."),
]
Inspection = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|DIR",
        help="Report of virt-inspector, or a directory with NAME.xml or UUID.xml; repeatable.",
    ),
]
OsinfoDb = Annotated[
    str,
    typer.Option(
        "--osinfo-db", metavar="DIR|ARCHIVE", help="The osinfo-db to use instead of the installed one."
    ),
]
Connect = Annotated[
    list[str] | None,
    typer.Option(
        "--connect", "-c", metavar="URI", help="libvirt connection; repeatable; default: libvirt's own."
    ),
]
GuestAgent = Annotated[
    bool, typer.Option("--guest-agent", help="Ask the agent of a running guest which system it is.")
]
Negotiated = Annotated[
    bool,
    typer.Option("--negotiated", help="Ask QEMU which virtio the running guest took; taints the domain."),
]
Domains = Annotated[
    list[str] | None,
    typer.Option("--domain", metavar="NAME|UUID|GLOB", help="Domain of the connection; repeatable."),
]
All = Annotated[bool, typer.Option("--all", help="All domains of the connection.")]

Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Leave these out; repeatable.")
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Take the first N domains only.")]

# What is preferred.
Policy = Annotated[
    list[str] | None, typer.Option(metavar="FILE|DIR", help="Policy that adds or overrides; repeatable.")
]
Strategy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Prefer integrated, bridge, transitional or override wherever it is feasible."
    ),
]
Hotplug = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND", help="Kind that must keep hot-plug: disk, interface, scsi, all, ...; repeatable."
    ),
]

TargetCapabilities = Annotated[
    str,
    typer.Option(
        "--target-capabilities",
        metavar="FILE|URI",
        help="What the host offers that the domain will run on: its (domain) capabilities, or a connection to it.",
    ),
]

# What to convert to.
Machine = Annotated[
    str,
    typer.Option(
        "--machine", metavar="q35|pc[=TYPE]", help="Convert to this machine; devices keep their places."
    ),
]
Firmware = Annotated[
    str, typer.Option("--firmware", metavar="bios|efi", help="Convert to this firmware, where the guest can.")
]
Esp = Annotated[bool, typer.Option("--esp", help="The guest's disk has an EFI system partition.")]
Layout = Annotated[
    str,
    typer.Option(
        "--layout", metavar="keep|ports", help="Of a conversion to q35: places kept, or root ports."
    ),
]

Staged = Annotated[
    bool, typer.Option("--staged", help="Convert in two steps where the guest must meet a driver first.")
]
DriverBound = Annotated[
    bool, typer.Option("--driver-bound", help="The guest has run with the driver: go on to step 2.")
]

# How to run.
Detailed = Annotated[
    bool, typer.Option("--detailed-exitcode", help="Exit 3: changes pending; 4: unresolved.")
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=0, metavar="N", help="Processes for many files; 0: all cores.")
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Take directories with their subdirectories.")
]
Validate = Annotated[
    bool, typer.Option("--validate", help="Check results against libvirt's installed schema.")
]
Color = Annotated[str, typer.Option(metavar="auto|always|never", help="Colour; NO_COLOR is heeded.")]
State = Annotated[
    str,
    typer.Option(
        "--state-dir", metavar="DIR", help="Where runs are written down; default: /var/lib/virtfix, or XDG's."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: for scripts.")]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for another run to end.")
]
JsonL = Annotated[bool, typer.Option("--jsonl", help="Print a JSON object a line, as each domain is done.")]
TextOrJson = Annotated[str, typer.Option("--format", "-f", metavar="text|json", help="What to print.")]


class Command(typer.core.TyperCommand):
    """A command whose options have values where they are given: "" is an unset variable of a script."""

    def invoke(self, ctx: Any) -> Any:
        """Run it. Raises VirtfixError for an option that is empty."""
        for option in self.params:
            source = ctx.get_parameter_source(option.name)
            if option.param_type_name != "option" or source is None or source.name != "COMMANDLINE":
                continue
            value = ctx.params[option.name]
            if isinstance(value, float) and not isfinite(value):
                raise VirtfixError("usage.value", f"{value} is no number of seconds", where=option.opts[0])
            if "" in (value if isinstance(value, (list, tuple)) else (value,)):
                raise VirtfixError(
                    "usage.empty", "is empty", where=option.opts[0], hint="give a value, or leave it out"
                )
        return super().invoke(ctx)


# Names of what ``settings`` takes, as commands take them together.
GUEST = frozenset(
    {"os_id", "assume", "kernel", "virtio_win", "os_map", "inspection", "osinfo_db", "connect", "policy"}
)
RUNNING = frozenset({"guest_agent", "negotiated"})
PLANNING = frozenset(
    {"strategy", "hotplug", "machine", "firmware", "esp", "layout", "staged", "driver_bound"}
)
TARGET = frozenset({"target_capabilities"})


def takes(options: frozenset[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options of ``settings`` in the place of its parameter ``wanted``, which they become.

    The command line reads signatures (Typer, get_params_from_function), so the command gets the whole one.
    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            shared = {name: given.pop(name) for name in options}
            command(wanted=settings(**shared), **given)

        parameters: list[Parameter] = []
        for parameter in _parameters(command):
            if parameter.name == "wanted":
                parameters += (option for option in _parameters(settings) if option.name in options)
            else:
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        run.__name__, run.__doc__, run.__annotations__ = command.__name__, command.__doc__, {}
        return run

    return with_options


def _parameters(function: Callable[..., Any]) -> Iterable[Parameter]:
    # Settings are loaded by the commands that run.
    return signature(function, eval_str=True, locals={"Settings": object}).parameters.values()


def settings(
    *,
    os_id: Os = None,
    assume: Assume = None,
    kernel: Kernel = "",
    virtio_win: VirtioWin = "",
    os_map: Mapping = None,
    inspection: Inspection = None,
    osinfo_db: OsinfoDb = "",
    connect: Connect = None,
    guest_agent: GuestAgent = False,
    negotiated: Negotiated = False,
    policy: Policy = None,
    strategy: Strategy = None,
    hotplug: Hotplug = None,
    machine: Machine = "",
    firmware: Firmware = "",
    esp: Esp = False,
    layout: Layout = "keep",
    staged: Staged = False,
    driver_bound: DriverBound = False,
    target_capabilities: TargetCapabilities = "",
) -> Settings:
    """Return options as settings. Raises VirtfixError for a value that an option does not take."""
    from fixer.cli.wiring import Settings, driver_kinds  # noqa: PLC0415 - commands load what they use
    from fixer.policy.model import REMEDIES  # noqa: PLC0415

    choice("--assume", assume, ("legacy", "modern"))
    choice("--strategy", strategy, REMEDIES)
    choice("--firmware", firmware or None, ("bios", "efi"))
    choice("--layout", layout, ("keep", "ports"))
    if not machine:
        _only_for_q35(layout, staged=staged, driver_bound=driver_bound)
    if esp and firmware != "efi":
        raise VirtfixError("usage.firmware", "goes with --firmware efi", where="--esp")
    if machine:
        from fixer.conversion.machine_type import read_wanted  # noqa: PLC0415
        from fixer.domain.machine import Family  # noqa: PLC0415

        if read_wanted(machine).family is not Family.Q35:
            _only_for_q35(layout, staged=staged, driver_bound=driver_bound)
    kinds = tuple(kind for part in hotplug or () for kind in part.split(",") if kind)
    driver_kinds(kinds)
    return Settings(
        os=os_id,
        assume=assume,
        policies=tuple(policy or ()),
        strategy=strategy,
        hotplug=kinds,
        kernel=kernel,
        virtio_win=virtio_win,
        mappings=tuple(os_map or ()),
        inspections=tuple(inspection or ()),
        osinfo_db=osinfo_db,
        connect=connect[0] if connect else None,
        connections=tuple(connect or ()),
        guest_agent=guest_agent,
        negotiated=negotiated,
        today=time.strftime("%Y-%m-%d"),
        target=target_capabilities,
        machine=machine,
        firmware=firmware,
        esp=esp,
        layout=layout,
        staged=staged,
        driver_bound=driver_bound,
    )


def _only_for_q35(layout: str, *, staged: bool, driver_bound: bool) -> None:
    """Refuse options that say how to convert to Q35 where that is not asked for."""
    for option, given in (
        ("--layout", layout != "keep"),
        ("--staged", staged),
        ("--driver-bound", driver_bound),
    ):
        if given:
            raise VirtfixError("usage.machine", "goes with --machine q35", where=option)


def paths(
    files: list[str] | None,
    domains: list[str] | None,
    wanted: Settings,
    *,
    everything: bool,
    recursive: bool,
    writable: bool = False,
) -> list[str]:
    """Return the files, or the domains of the connection. Raises VirtfixError for both or none."""
    if (domains or everything) and files:
        raise VirtfixError("usage.source", "give files or domains of the connection, not both")
    if domains and everything:
        raise VirtfixError("usage.source", "give --domain or --all, not both")
    if domains or everything:
        from fixer.cli.sources import chosen_domains  # noqa: PLC0415

        return chosen_domains(wanted, domains or (), writable=writable)
    if not files:
        raise VirtfixError(
            "usage.source", "nothing to plan", hint="give domain XML files, or --domain NAME, or --all"
        )
    from fixer.adapters.file_store import expand  # noqa: PLC0415

    return list(expand(files, recursive=recursive))


def screen(color: str) -> Screen:
    choice("--color", color, ("auto", "always", "never"))
    from fixer.cli.wiring import screen as look  # noqa: PLC0415

    return look(color)


def choice(option: str, value: str | None, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is none of ``allowed``."""
    if value is not None and value not in allowed:
        raise VirtfixError("usage.value", f"'{value}' is none of {', '.join(allowed)}", where=option)
