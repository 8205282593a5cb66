"""virtfix policy: the commands about what guests can drive and what a site prefers."""

from __future__ import annotations

from typing import Annotated

import typer

from fixer.cli.options import (
    Detailed,
    Kernel,
    OsinfoDb,
    Policy,
    TextOrJson,
    VirtioWin,
    choice,
    screen,
    settings,
)

app = typer.Typer(
    help="What guests can drive, and what a site prefers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
System = Annotated[str, typer.Argument(metavar="OS", help="libosinfo short id or URI, as rhel6.9.")]


@app.command("list")
def list_(
    family: Annotated[str, typer.Option(metavar="NAME", help="Only this family, as rhel.")] = "",
    osinfo: Annotated[bool, typer.Option("--osinfo", help="Also what only osinfo-db knows.")] = False,
    policy: Policy = None,
    osinfo_db: OsinfoDb = "",
    format_: TextOrJson = "text",
) -> None:
    """List the operating systems that are known, with the virtio interface of each."""
    choice("--format", format_, ("text", "json"))
    from fixer.cli import policy as command  # noqa: PLC0415 - commands load what they use

    wanted = settings(policy=policy, osinfo_db=osinfo_db)
    raise typer.Exit(command.list_known(wanted, family, format_, osinfo=osinfo))


@app.command()
def show(
    os_id: System,
    kernel: Kernel = "",
    virtio_win: VirtioWin = "",
    policy: Policy = None,
    osinfo_db: OsinfoDb = "",
    format_: TextOrJson = "text",
) -> None:
    """Show all that is known of an OS, each fact with its source and confidence."""
    choice("--format", format_, ("text", "json"))
    from fixer.cli import policy as command  # noqa: PLC0415

    wanted = settings(policy=policy, osinfo_db=osinfo_db, kernel=kernel, virtio_win=virtio_win)
    raise typer.Exit(command.show(wanted, os_id, format_, screen("auto").width))


@app.command()
def explain(
    os_id: System,
    device: Annotated[
        str, typer.Argument(metavar="DEVICE", help="A kind of device: disk, nic, scsi, rng, gpu, ...")
    ],
    kernel: Kernel = "",
    virtio_win: VirtioWin = "",
    policy: Policy = None,
    osinfo_db: OsinfoDb = "",
) -> None:
    """Say how an OS drives a kind of device, where it may sit, and how that is known."""
    from fixer.cli import policy as command  # noqa: PLC0415

    wanted = settings(policy=policy, osinfo_db=osinfo_db, kernel=kernel, virtio_win=virtio_win)
    raise typer.Exit(command.explain(wanted, os_id, device, screen("auto").width))


@app.command()
def check(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Policy files, or directories of them.")
    ],
) -> None:
    """Check policy files: the first mistake of each, with line, column and the nearest right word."""
    from fixer.cli import policy as command  # noqa: PLC0415

    raise typer.Exit(command.check(files))


@app.command()
def schema() -> None:
    """Print the JSON Schema of policies, for editors."""
    from fixer.cli import policy as command  # noqa: PLC0415

    raise typer.Exit(command.schema())


@app.command()
def diff(
    old: Annotated[
        str, typer.Argument(metavar="A", help="Policy file or directory; 'shipped' for virtfix's own.")
    ],
    new: Annotated[str, typer.Argument(metavar="B", help="The same, to compare with.")],
    alone: Annotated[
        bool, typer.Option("--alone", help="Without the shipped policies beneath each.")
    ] = False,
    format_: TextOrJson = "text",
    detailed_exitcode: Detailed = False,
) -> None:
    """Say which operating systems change their verdict between two policy sets."""
    choice("--format", format_, ("text", "json"))
    from fixer.cli import policy as command  # noqa: PLC0415

    raise typer.Exit(command.diff(old, new, format_, alone=alone, detailed=detailed_exitcode))


@app.command()
def test(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="Policy files beside virtfix's own.", show_default=False),
    ] = None,
) -> None:
    """Run the expectations that are written beside policies (expect blocks)."""
    from fixer.cli import policy as command  # noqa: PLC0415

    raise typer.Exit(command.test(settings(policy=files)))


@app.command()
def sync(osinfo_db: OsinfoDb = "") -> None:
    """Keep a compact snapshot of osinfo-db in the user's data directory."""
    from fixer.cli import policy as command  # noqa: PLC0415

    raise typer.Exit(command.sync(osinfo_db))
