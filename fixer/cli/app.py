"""The command line: options to values, errors to one line, results to exit codes."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fixer import __version__
from fixer.cli.exit_codes import Exit
from fixer.cli.options import (
    GUEST,
    PLANNING,
    RUNNING,
    TARGET,
    All,
    Color,
    Command,
    Detailed,
    Domains,
    DriverBound,
    Exclude,
    Jobs,
    JsonL,
    Limit,
    MaybeFiles,
    Recursive,
    State,
    TextOrJson,
    Validate,
    Wait,
    Yes,
    choice,
    screen,
    takes,
)
from fixer.cli.options import paths as chosen
from fixer.cli.policy_app import app as policy_app
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from fixer.cli.redefine import Wishes
    from fixer.cli.wiring import Settings

# More domains than this are shown by one line each.
_COMPACT_FROM = 10

app = typer.Typer(
    name="virtfix",
    help="Rewrite libvirt domain XML so that guests with legacy virtio drivers keep their devices on Q35.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,  # completions/ has them for three shells, with values
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(policy_app, name="policy")


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"virtfix {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@takes(GUEST | RUNNING | PLANNING | TARGET)
def plan(
    *,
    files: MaybeFiles = None,
    domain: Domains = None,
    every: All = False,
    limit: Limit = 0,
    exclude: Exclude = None,
    wanted: Settings,
    format_: Annotated[
        str,
        typer.Option("--format", "-f", metavar="text|diff|xml|json|kubevirt|nova", help="What to print."),
    ] = "text",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every remedy with its price or refusal.")
    ] = False,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Save the plan as JSON.")] = "",
    fixups: Annotated[
        str,
        typer.Option(
            "--fixups", metavar="DIR", help="Write what guests need where names change, each in a folder."
        ),
    ] = "",
    detailed_exitcode: Detailed = False,
    jobs: Jobs = 0,
    recursive: Recursive = False,
    validate: Validate = False,
    color: Color = "auto",
) -> None:
    """Show what would change, and change nothing."""
    choice("--format", format_, ("text", "diff", "xml", "json", "kubevirt", "nova"))
    wanted = wanted._replace(explain=explain)
    if fixups and not wanted.machine:
        raise VirtfixError("usage.machine", "goes with --machine", where="--fixups")
    from fixer.cli import plan as command  # noqa: PLC0415 - commands load what they use
    from fixer.cli.sources import taken  # noqa: PLC0415

    paths = taken(chosen(files, domain, wanted, everything=every, recursive=recursive), exclude or (), limit)
    if format_ == "xml" and len(paths) > 1:
        raise VirtfixError(
            "usage.xml", f"--format xml prints one domain, not {len(paths)}", hint="use virtfix apply"
        )
    shown = screen(color)
    view = command.View(
        format=format_,
        color=shown.color,
        width=shown.width,
        terminal=shown.terminal,
        compact=len(paths) > _COMPACT_FROM and not explain,
        explain=explain,
        save=bool(out),
        validate=validate,
        fixups=fixups,
    )
    raise typer.Exit(command.run(paths, wanted, view, out=out, jobs=jobs, detailed=detailed_exitcode))


@app.command()
@takes(GUEST | RUNNING)
def identify(
    *,
    files: MaybeFiles = None,
    domain: Domains = None,
    every: All = False,
    wanted: Settings,
    format_: TextOrJson = "text",
    recursive: Recursive = False,
) -> None:
    """Say which OS a domain runs, and by what evidence."""
    choice("--format", format_, ("text", "json"))
    from fixer.cli import identify as command  # noqa: PLC0415

    paths = chosen(files, domain, wanted, everything=every, recursive=recursive)
    raise typer.Exit(command.run(paths, wanted, format_, screen("auto").width))


@app.command()
@takes(GUEST | RUNNING | PLANNING | TARGET)
def apply(
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="Domain XML files, or saved plans.", show_default=False),
    ] = None,
    domain: Domains = None,
    every: All = False,
    output_dir: Annotated[
        str, typer.Option("--output-dir", metavar="DIR", help="Files: write every result there.")
    ] = "",
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Files: replace them, each in one step.")
    ] = False,
    define: Annotated[
        bool, typer.Option("--define", help="Files: define the results on the connection.")
    ] = False,
    backup_suffix: Annotated[
        str, typer.Option("--backup-suffix", metavar="SUFFIX", help="With --in-place: keep the old file so.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite other files in --output-dir.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Change no domain that has unresolved findings.")
    ] = False,
    yes: Yes = False,
    canary: Annotated[
        int,
        typer.Option("--canary", metavar="N", min=0, help="Change N domains, then ask before the others."),
    ] = 0,
    limit: Limit = 0,
    exclude: Exclude = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first domain that fails or is blocked.")
    ] = False,
    remove_managed_save: Annotated[
        bool,
        typer.Option("--remove-managed-save", help="Of domains that are named: give up their saved memory."),
    ] = False,
    make_persistent: Annotated[
        bool, typer.Option("--make-persistent", help="Define transient domains too, which makes them stay.")
    ] = False,
    wanted: Settings,
    format_: TextOrJson = "text",
    jsonl: JsonL = False,
    state_dir: State = "",
    wait: Wait = 0,
    detailed_exitcode: Detailed = False,
    jobs: Jobs = 0,
    recursive: Recursive = False,
    validate: Validate = False,
    color: Color = "auto",
) -> None:
    """Carry out what plan shows: redefine domains, or write files."""
    choice("--format", format_, ("text", "json"))
    to_files = bool(output_dir) or in_place
    if to_files and format_ != "text":
        raise VirtfixError("usage.target", "--format json is for domains, not for files that are written")
    if bool(output_dir) and in_place:
        raise VirtfixError("usage.target", "give either --output-dir DIR or --in-place")
    if backup_suffix and (not in_place or "/" in backup_suffix):
        raise VirtfixError("usage.suffix", "--backup-suffix goes with --in-place and holds no '/'")
    if to_files:
        if domain or every:
            raise VirtfixError("usage.target", "--output-dir and --in-place are for files")
        if define or jsonl or limit or canary or exclude:
            raise VirtfixError(
                "usage.target",
                "--define, --jsonl, --limit, --canary and --exclude are for domains, not for files that are written",
            )
        if not files:
            raise VirtfixError("usage.source", "nothing to write", hint="give domain XML files")
        from fixer.adapters.file_store import expand  # noqa: PLC0415
        from fixer.cli import apply as command  # noqa: PLC0415

        target = command.Target(output_dir, backup_suffix, force, strict, validate)
        from fixer.cli.saved import refuse_plans  # noqa: PLC0415

        paths = list(expand(files, recursive=recursive))
        # A directory gives XML files only.
        refuse_plans(
            files,
            "which is carried out on a connection, not written to files",
            hint="leave --output-dir and --in-place out",
        )
        raise typer.Exit(command.run(paths, wanted, target, jobs=jobs, detailed=detailed_exitcode))
    if remove_managed_save and (every or not domain or any("*" in name for name in domain)):
        raise VirtfixError(
            "usage.managed-save",
            "the memory of a managed save is lost for good",
            where="--remove-managed-save",
            hint="name each domain: --domain NAME, without globs",
        )
    from fixer.cli.redefine import Wishes  # noqa: PLC0415
    from fixer.execution.apply import Allowed  # noqa: PLC0415

    shown = screen(color)
    wishes = Wishes(
        yes,
        "jsonl" if jsonl else format_,
        canary,
        limit,
        tuple(exclude or ()),
        fail_fast,
        wait,
        state_dir,
        Allowed(remove_managed_save, make_persistent, strict),
        shown.width,
        shown.color,
    )
    raise typer.Exit(
        _redefine(files, domain, wanted, wishes, every=every, define=define, detailed=detailed_exitcode)
    )


def _redefine(
    files: list[str] | None,
    domain: list[str] | None,
    wanted: Settings,
    wishes: Wishes,
    *,
    every: bool,
    define: bool,
    detailed: bool,
) -> Exit:
    """Send apply to where its domains come from: saved plans, files to define, or connections."""
    from fixer.cli import saved  # noqa: PLC0415 - commands load what they use

    if files and not (domain or every):
        if define:
            from fixer.cli import define as command  # noqa: PLC0415
            from fixer.cli.wiring import build_request  # noqa: PLC0415

            saved.refuse_plans(files, "no XML", hint="leave --define out")
            return command.run(files, build_request(wanted), wanted, wishes, detailed=detailed)
        if all(map(saved.is_plan, files)):
            return saved.run_plans(files, wanted, wishes, detailed=detailed)
        saved.check_kinds(files)
        raise VirtfixError(
            "usage.target", "what to do with the results? give --output-dir DIR, --in-place or --define"
        )
    if define:
        raise VirtfixError("usage.target", "--define is for files")
    from fixer.cli import redefine  # noqa: PLC0415

    paths = chosen(files, domain, wanted, everything=every, recursive=False, writable=True)
    return redefine.run(paths, wanted, wishes, detailed=detailed)


@app.command()
@takes(GUEST | PLANNING)
def verify(
    *,
    files: MaybeFiles = None,
    domain: Domains = None,
    every: All = False,
    before: Annotated[bool, typer.Option("--before", help="Try the XML as it is (default).")] = False,
    after: Annotated[bool, typer.Option("--after", help="Try what the plan makes of it.")] = False,
    both: Annotated[bool, typer.Option("--both", help="Try both.")] = False,
    boot_guest: Annotated[
        bool, typer.Option("--boot-guest", help="Boot a Linux guest with legacy drivers, too.")
    ] = False,
    guest_kernel: Annotated[
        str, typer.Option("--guest-kernel", metavar="FILE", help="Boot this kernel instead of Debian's.")
    ] = "",
    guest_initrd: Annotated[
        str, typer.Option("--guest-initrd", metavar="FILE", help="The initramfs that goes with it.")
    ] = "",
    kvm: Annotated[bool, typer.Option("--kvm", help="Use KVM; without it, emulation.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="How long to wait for a start.")
    ] = 120,
    wanted: Settings,
    format_: TextOrJson = "text",
    recursive: Recursive = False,
    color: Color = "auto",
) -> None:
    """Start a throw-away copy on real QEMU; tell what its guest finds."""
    choice("--format", format_, ("text", "json"))
    if before + after + both > 1:
        raise VirtfixError("usage.state", "give one of --before, --after and --both")
    from fixer.cli import verify as command  # noqa: PLC0415

    paths = chosen(files, domain, wanted, everything=every, recursive=recursive)
    shown = screen(color)
    how = command.How(
        states=command.BOTH if both else command.AFTER if after else command.BEFORE,
        on=command.place_of_trial(wanted.connections, of_domains=bool(domain or every)),
        kvm=kvm,
        boot_guest=boot_guest,
        kernel=guest_kernel,
        initrd=guest_initrd,
        timeout=timeout,
        form=format_,
        width=shown.width,
        color=shown.color,
    )
    raise typer.Exit(command.run(paths, wanted, how))


@app.command()
@takes(GUEST | RUNNING)
def status(
    *,
    domain: Domains = None,
    every: All = False,
    wanted: Settings,
    format_: TextOrJson = "text",
    jsonl: JsonL = False,
    state_dir: State = "",
    detailed_exitcode: Detailed = False,
) -> None:
    """Tell which domains are right, and which run with old devices."""
    choice("--format", format_, ("text", "json"))
    from fixer.cli import status as command  # noqa: PLC0415

    paths = chosen(None, domain, wanted, everything=every or not domain, recursive=False)
    raise typer.Exit(
        command.run(paths, wanted, "jsonl" if jsonl else format_, state_dir, detailed=detailed_exitcode)
    )


@app.command()
@takes(GUEST | RUNNING)
def audit(
    *,
    domain: Domains = None,
    every: All = False,
    monitor: Annotated[
        bool,
        typer.Option(
            "--monitor", help="Ask QEMU itself (info qtree, query-pci) about running domains; taints them."
        ),
    ] = False,
    qtree: Annotated[
        str,
        typer.Option(
            "--qtree",
            metavar="FILE",
            help="Judge a saved text instead, or - : virsh qemu-monitor-command VM --hmp 'info qtree'.",
        ),
    ] = "",
    wanted: Settings,
    format_: TextOrJson = "text",
    jsonl: JsonL = False,
    color: Color = "auto",
) -> None:
    """Tell which machines are broken, now or after the next start."""
    choice("--format", format_, ("text", "json"))
    shown = screen(color)
    form = "jsonl" if jsonl else format_
    asks = monitor or wanted.negotiated
    from fixer.cli import audit as command  # noqa: PLC0415

    if qtree:
        asked_for = wanted.mappings or wanted.inspections or wanted.connections
        if domain or every or asks or asked_for or wanted.guest_agent:
            raise VirtfixError(
                "usage.qtree",
                "a saved text has no domain to look at or to ask",
                where="--qtree",
                hint="say by --os or --assume what its guest is",
            )
        raise typer.Exit(command.run_qtree(qtree, wanted, form, shown))
    paths = chosen(None, domain, wanted, everything=every or not domain, recursive=False, writable=asks)
    raise typer.Exit(command.run(paths, wanted, form, shown, monitor=asks))


@app.command()
def history(
    run: Annotated[
        str, typer.Option("--run", metavar="ID", help="What became of each domain of this run.")
    ] = "",
    format_: TextOrJson = "text",
    state_dir: State = "",
) -> None:
    """List the runs that changed domains."""
    choice("--format", format_, ("text", "json"))
    from fixer.cli import runs as command  # noqa: PLC0415

    raise typer.Exit(command.history(run, state_dir, format_))


@app.command()
def rollback(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="The run to undo.", show_default=False)] = "",
    domain: Annotated[
        str,
        typer.Option(
            "--domain", metavar="NAME|UUID", help="Only this domain; without a run: its last change."
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also where a domain was changed since: that is lost.")
    ] = False,
    yes: Yes = False,
    format_: TextOrJson = "text",
    jsonl: JsonL = False,
    state_dir: State = "",
    wait: Wait = 0,
    detailed_exitcode: Detailed = False,
) -> None:
    """Put back the definitions that a run replaced, byte for byte."""
    choice("--format", format_, ("text", "json"))
    if not run and not domain:
        raise VirtfixError(
            "usage.source", "what to put back? give a run, or --domain NAME", hint="virtfix history"
        )
    from fixer.cli import runs as command  # noqa: PLC0415
    from fixer.cli.redefine import Wishes  # noqa: PLC0415

    wishes = Wishes(yes=yes, form="jsonl" if jsonl else format_, wait=wait, state=state_dir)
    raise typer.Exit(command.rollback(run, domain, wishes, force=force, detailed=detailed_exitcode))


@app.command()
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run that was cut off, or its first step.")],
    driver_bound: DriverBound = False,
    format_: TextOrJson = "text",
    jsonl: JsonL = False,
    state_dir: State = "",
    wait: Wait = 0,
    detailed_exitcode: Detailed = False,
) -> None:
    """Finish a run that was cut off, or take the second of two steps."""
    choice("--format", format_, ("text", "json"))
    from fixer.cli import runs as command  # noqa: PLC0415
    from fixer.cli.redefine import Wishes  # noqa: PLC0415

    wishes = Wishes(yes=True, form="jsonl" if jsonl else format_, wait=wait, state=state_dir)
    if driver_bound:
        raise typer.Exit(command.next_step(run, wishes, detailed=detailed_exitcode))
    raise typer.Exit(command.resume(run, wishes, detailed=detailed_exitcode))


@app.command()
@takes(GUEST | RUNNING | PLANNING)
def topology(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Domain XML, or - .")],
    after: Annotated[bool, typer.Option("--after", help="Show the planned tree beside it.")] = False,
    wanted: Settings,
    color: Color = "auto",
) -> None:
    """Draw the PCI tree as the guest numbers it."""
    from fixer.cli import topology as command  # noqa: PLC0415

    raise typer.Exit(command.run(file, wanted, screen(color), after=after))


@app.command()
def report(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS...",
            help="What plan, audit, apply and verify printed as JSON: FILE, HOST=FILE, or - .",
            show_default=False,
        ),
    ],
    html: Annotated[str, typer.Option("--html", metavar="FILE", help="Write one page for a browser.")] = "",
    csv: Annotated[str, typer.Option("--csv", metavar="FILE", help="Write a row a domain.")] = "",
    junit: Annotated[
        str, typer.Option("--junit", metavar="FILE", help="Write a test case a domain, for CI.")
    ] = "",
    title: Annotated[str, typer.Option("--title", help="What stands above the page.")] = "virtfix report",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Make one report over all hosts from saved results."""
    from fixer.cli import report as command  # noqa: PLC0415

    raise typer.Exit(command.run(results, command.Wanted(html, csv, junit, title, force)))


@app.command()
def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="A finding, as VF001; without: all.")
    ] = None,
) -> None:
    """Say what a finding means and what helps."""
    from fixer.cli import explain as command  # noqa: PLC0415

    raise typer.Exit(command.run(code, screen("auto").width))


for _each in (*app.registered_commands, *policy_app.registered_commands):
    _each.cls = Command


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error."""
    _open_streams()
    try:
        app()
        sys.stdout.flush()
    except VirtfixError as error:
        _finish(f"virtfix: {error}\n", Exit.USAGE if error.code.startswith("usage.") else Exit.ERROR)
    except KeyboardInterrupt:
        _finish("virtfix: interrupted\n", 130)
    except BrokenPipeError:  # the reader went away: that is its right
        _close_stdout()
        sys.exit(Exit.ERROR)
    except OSError as error:  # files have their own errors; these are of standard output, or met on the way
        if error.filename is not None or error.errno not in {
            errno.ENOSPC,
            errno.EIO,
            errno.EBADF,
            errno.EFBIG,
        }:
            _finish(f"virtfix: {_met(error)}\n", Exit.ERROR)
        _close_stdout()
        _finish(
            f"virtfix: standard output: can not write: {(error.strerror or str(error)).lower()}\n", Exit.ERROR
        )


def _met(error: OSError) -> VirtfixError:
    """Return what a user has to know of an error of the system that no command foresaw."""
    from fixer.adapters.file_store import problem  # noqa: PLC0415 - the rare way

    # Without a name it is the folder that the process is in, which somebody may have removed.
    nameless = "." if error.errno == errno.ENOENT else "the system"
    return problem(error, nameless if error.filename is None else os.fsdecode(error.filename), "use")


def _open_streams() -> None:
    """Give a stream that the caller closed the null device: what is read is empty, what is written is lost.

    What the encoding of a stream lacks is written as an escape: a name must not end a run half-way.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif number == 1:
            stream.reconfigure(errors="backslashreplace")


def _close_stdout() -> None:
    """Let the interpreter's own last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _finish(message: str, code: int) -> None:
    sys.stderr.write(message.encode("utf-8", "backslashreplace").decode("utf-8"))
    sys.exit(code)


if __name__ == "__main__":
    main()
