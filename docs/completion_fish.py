"""The completion of fish: a line for each candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_tree import ANY, DIR, DOMAIN, FILE, NOTE, PROGRAM, RUN, URI, URIS, groups, path_of, summary

if TYPE_CHECKING:
    from command_tree import Command, Value


_HEAD = """\
# fish completion for {program}
# {note}

# Whether the command line so far is of the command $wanted, with $number arguments, if that is given.
function __virtfix_at -a wanted number
    set -l valued {valued}
    set -l groups {groups}
    set -l words (commandline -opc)
    set -e words[1]
    set -l path
    set -l count 0
    set -l skip 0
    for word in $words
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            contains -- $word $valued; and set skip 1
        else if test -z "$path"; or contains -- "$path" $groups
            set -a path $word
            set path "$path"
        else
            set count (math $count + 1)
        end
    end
    test "$path" = "$wanted"; and test -z "$number" -o "$count" = "$number"
end

# Prints the domains of a connection to this machine. Another host may be slow or ask for a password, and no
# daemon is started for the sake of a key press.
function __virtfix_domains
    set -l uri $LIBVIRT_DEFAULT_URI
    set -l before
    for word in (commandline -opc)
        if string match -q -- '--connect=*' $word
            set uri (string replace -- '--connect=' '' $word)
        else if contains -- "$before" --connect -c
            set uri $word
        end
        set before $word
    end
    string match -qr -- '[+]|://[^/]' "$uri"; and return
    set -l connect
    test -n "$uri"; and set connect --connect $uri
    LIBVIRT_AUTOSTART=0 SSH_ASKPASS_REQUIRE=never setsid -w timeout 2 virsh --readonly $connect list --all --name \\
        </dev/null 2>/dev/null | string match -r '.+'
end

# Prints the runs that are written down.
function __virtfix_runs
    set -l root $VIRTFIX_STATE_DIR
    if test -z "$root"
        set root $HOME/.local/state/virtfix
        test -n "$XDG_STATE_HOME"; and set root $XDG_STATE_HOME/virtfix
        test (id -u) = 0; and set root /var/lib/virtfix
    end
    for run in $root/runs/*/
        string replace -r '.*/([^/]+)/$' '$1' $run
    end
end

complete -c {program} -f
"""
_ACTIONS = {
    FILE: "-r -F",
    DIR: "-x -a '(__fish_complete_directories)'",
    DOMAIN: "-x -a '(__virtfix_domains)'",
    RUN: "-x -a '(__virtfix_runs)'",
    URI: f"-x -a '{' '.join(URIS)}'",
    ANY: "-x",
}


def fish(root: Command) -> str:
    valued = sorted(
        {name for one in root.walk() for option in one.options if option.value for name in option.names}
    )
    parents = [_quote(path_of(one)) for one in groups(root) if one.path]
    head = _HEAD.format(program=PROGRAM, note=NOTE, valued=" ".join(valued), groups=" ".join(parents))
    return head + "".join(_command(command) for command in root.walk())


def _command(command: Command) -> str:
    path = path_of(command)
    at = f"__virtfix_at {path if len(command.path) == 1 else _quote(path)}"
    lines = [_line(at, f"-a {child.path[-1]} -d {_quote(summary(child.help))}") for child in command.commands]
    for option in command.options:
        names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
        takes = f" {_action(option.value)}" if option.value else ""
        lines.append(_line(at, f"{names}{takes} -d {_quote(summary(option.help))}"))
    for number, argument in enumerate(command.arguments):
        action = _action(argument.value).replace("-r ", "").replace("-x ", "-f ")
        if action != "-x":
            lines.append(_line(at if argument.many else f"{at} {number}", action))
    return "\n" + "\n".join(lines) + "\n"


def _line(condition: str, rest: str) -> str:
    return f"complete -c {PROGRAM} -n {_quote(condition)} {rest}"


def _action(value: Value) -> str:
    return f"-x -a {_quote(' '.join(value.choices))}" if value.choices else _ACTIONS[value.kind]


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
