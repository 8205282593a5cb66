"""The completion of zsh: one function a command, each a call of _arguments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from command_tree import ANY, DIR, DOMAIN, FILE, NOTE, PROGRAM, RUN, URI, URIS, summary

if TYPE_CHECKING:
    from command_tree import Argument, Command, Option, Value


_HEAD = f"""\
#compdef {PROGRAM}
# {NOTE}

# The domains of a connection to this machine. Another host may be slow or ask for a password, and no daemon is
# started for the sake of a key press.
_virtfix_domains() {{
    local uri=${{${{opt_args[--connect]:-${{opt_args[-c]-}}}}//\\\\:/:}}
    uri=${{uri:-${{LIBVIRT_DEFAULT_URI-}}}}
    [[ $uri == *+* || $uri == *://[^/]* ]] && return 1
    local -a names
    names=(${{(f)"$(LIBVIRT_AUTOSTART=0 SSH_ASKPASS_REQUIRE=never setsid -w timeout 2 virsh --readonly \\
        ${{uri:+--connect}} $uri list --all --name </dev/null 2>/dev/null)"}})
    compadd "$@" -a names
}}

# The runs that are written down.
_virtfix_runs() {{
    local root=${{VIRTFIX_STATE_DIR-}}
    if [[ -z $root ]]; then
        root=${{XDG_STATE_HOME:-$HOME/.local/state}}/virtfix
        ((EUID == 0)) && root=/var/lib/virtfix
    fi
    local -a runs
    runs=($root/runs/*(N/:t))
    compadd "$@" -a runs
}}

_virtfix_uris() {{
    compadd "$@" -- {" ".join(URIS)}
}}
"""
_ACTIONS = {
    FILE: "_files",
    DIR: "_files -/",
    DOMAIN: "_virtfix_domains",
    RUN: "_virtfix_runs",
    URI: "_virtfix_uris",
    ANY: " ",
}


def zsh(root: Command) -> str:
    functions = [_function(command) for command in reversed(root.walk())]
    return _HEAD + "".join(functions) + f'\n_{PROGRAM} "$@"\n'


def _name(command: Command) -> str:
    return "_" + "_".join((PROGRAM, *command.path))


def _function(command: Command) -> str:
    specs = [spec for option in command.options for spec in _option(option)]
    if not command.commands:
        specs += [_argument(number, one) for number, one in enumerate(command.arguments, 1)]
        return f"\n{_name(command)}() {{\n    _arguments -s{_lines(specs)}\n}}\n"
    specs += ["1:command:->command", "*::argument:->arguments"]
    names = [f"{one.path[-1]}:{summary(one.help)}" for one in command.commands]
    listed = "".join(f"\n            {_quote(name)}" for name in names)
    cases = "".join(f"\n        {one.path[-1]}) {_name(one)} ;;" for one in command.commands)
    return f"""
{_name(command)}() {{
    local curcontext=$curcontext state line
    local -a commands
    local -A opt_args
    _arguments -C -s{_lines(specs)}
    case $state in
    command)
        commands=({listed}
        )
        _describe -t commands 'command' commands
        ;;
    arguments)
        case $words[1] in{cases}
        esac
        ;;
    esac
}}
"""


def _lines(specs: list[str]) -> str:
    return "".join(f" \\\n        {_quote(spec)}" for spec in specs)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _option(option: Option) -> list[str]:
    told = re.sub(r"([\[\]\\])", r"\\\1", summary(option.help))
    alone = "*" if option.repeatable else f"({' '.join(option.names)})"
    if "--help" in option.names or "--version" in option.names:
        alone = "(- *)"
    if option.value is None:
        return [f"{alone}{name}[{told}]" for name in option.names]
    tail = f"[{told}]:{_message(option.value)}:{_action(option.value)}"
    return [f"{alone}{name}{'=' if name.startswith('--') else '+'}{tail}" for name in option.names]


def _argument(number: int, argument: Argument) -> str:
    place = "*" if argument.many else f"{number}" if argument.required else f"{number}:"
    return f"{place}:{_message(argument.value)}:{_action(argument.value)}"


def _message(value: Value) -> str:
    return value.metavar.replace("...", "").replace("\\", "\\\\").replace(":", "\\:")


def _action(value: Value) -> str:
    return f"({' '.join(value.choices)})" if value.choices else _ACTIONS[value.kind]
