"""virtfix report: one report over all hosts, from what the other commands printed as JSON."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from fixer.adapters.file_store import STDIN, create, is_file, is_folder, read_input
from fixer.cli.batch import shown
from fixer.cli.exit_codes import Exit
from fixer.errors import VirtfixError, printable
from fixer.planning.plan import TOOL
from fixer.report.gathered import Gathered
from fixer.report.results import Origin, read, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_MAX = 256 * 1024 * 1024  # bytes of one file: the results of some 10,000 domains
_MAX_TEXT = "256 MiB"


class Wanted(NamedTuple):
    """Which files to write, '' for none, and what stands above the page."""

    html: str
    csv: str
    junit: str
    title: str
    force: bool


def run(arguments: Sequence[str], wanted: Wanted) -> Exit:
    """Read all results and write what is wanted; a mistake in one file ends it, with nothing written."""
    inputs = [_split(argument) for argument in arguments]
    _check(inputs, wanted)
    gathered = Gathered()
    for host, file in inputs:
        _read(gathered, host, file)
    gathered.finish()
    for path, make in _outputs(gathered, wanted).items():
        data = "".join(make()).encode("utf-8", "backslashreplace")
        create(path, data, like=None, force=wanted.force)
    if not (wanted.html or wanted.csv or wanted.junit):
        from fixer.report import overview  # noqa: PLC0415 - each form loads what it needs

        sys.stdout.writelines(f"{line}\n" for line in overview.render(gathered))
    return Exit.DONE


def _split(argument: str) -> tuple[str, str]:
    """Return host and file of FILE or HOST=FILE. Both may hold '=': the first split that names a file holds."""
    if os.path.lexists(argument):
        return "", argument
    at = argument.find("=")
    while at > 0:
        file = argument[at + 1 :]
        if file == STDIN or os.path.lexists(file):
            return argument[:at], file
        at = argument.find("=", at + 1)
    host, equals, file = argument.partition("=")
    return (host, file) if equals and host and file else ("", argument)


def _check(inputs: Sequence[tuple[str, str]], wanted: Wanted) -> None:
    """Refuse what can not be meant, before anything is read."""
    read_ones = [file for _, file in inputs]
    if read_ones.count(STDIN) > 1:
        raise VirtfixError("usage.source", "standard input is given twice")
    outputs = [path for path in (wanted.html, wanted.csv, wanted.junit) if path]
    taken = {os.path.realpath(file): file for file in read_ones if file != STDIN}
    for path in outputs:
        if path == STDIN:
            raise VirtfixError("usage.target", "a report goes to a file", where="-", hint="give its name")
        if os.path.realpath(path) in taken:
            raise VirtfixError("usage.target", "is read and would be written", where=path)
        if os.path.lexists(path) and not is_file(path):
            raise VirtfixError("file.exists", "is not a regular file", where=path, hint="choose another name")
    if len({os.path.realpath(path) for path in outputs}) < len(outputs):
        raise VirtfixError("usage.target", "two reports would go to one file", hint="give each its own name")


def _read(gathered: Gathered, host: str, file: str) -> None:
    """Read the results of one file. Raises VirtfixError that names file and line."""
    name = shown(file)
    if file != STDIN and is_folder(file):
        raise VirtfixError("file.directory", "is a directory", where=file, hint="give the JSON files in it")
    data = read_input(file, _MAX)
    if len(data) > _MAX:
        raise VirtfixError("report.size", f"is larger than {_MAX_TEXT}", where=name, hint="split it by host")
    gathered.open(host, name)
    origin = Origin(host, name)
    line, count = 1, 0
    try:
        for line, value in values(data):  # noqa: B007 - a mistake is told with the line
            gathered.add(read(value, origin))
            count += 1
    except VirtfixError as error:
        place = name if error.where else f"{name}:line {line}"
        raise error.at(place) from None
    if not count:
        sys.stderr.write(f"virtfix: {printable(name)}: note: holds no results\n")


def _outputs(gathered: Gathered, wanted: Wanted) -> dict[str, Callable[[], Iterable[str]]]:
    """Return what makes each file that is wanted."""
    found: dict[str, Callable[[], Iterable[str]]] = {}
    if wanted.html:
        from fixer.report import html  # noqa: PLC0415

        made = f"Made by {TOOL} on {time.strftime('%Y-%m-%d %H:%M %Z')}."
        found[wanted.html] = lambda: html.render(gathered, title=wanted.title, made=made)
    if wanted.csv:
        from fixer.report import csv_text  # noqa: PLC0415

        found[wanted.csv] = lambda: [csv_text.render(gathered)]
    if wanted.junit:
        from fixer.report import junit  # noqa: PLC0415

        found[wanted.junit] = lambda: junit.render(gathered)
    return found
