"""The completion of bash."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING

from command_tree import NOTE, PROGRAM, URI, URIS, groups, path_of

if TYPE_CHECKING:
    from command_tree import Command, Value


_HEAD = f"""\
# bash completion for {PROGRAM}
# {NOTE}

# Prints the domains of a connection to this machine. Another host may be slow or ask for a password, and no daemon
# is started for the sake of a key press.
_virtfix_domains() {{
    local uri=${{1:-${{LIBVIRT_DEFAULT_URI-}}}}
    [[ $uri == *+* || $uri == *://[!/]* ]] && return
    LIBVIRT_AUTOSTART=0 SSH_ASKPASS_REQUIRE=never setsid -w timeout 2 virsh --readonly \\
        ${{uri:+--connect "$uri"}} list --all --name </dev/null 2>/dev/null
}}

# Prints the runs that are written down.
_virtfix_runs() {{
    local root=${{VIRTFIX_STATE_DIR-}} run
    if [[ -z $root ]]; then
        root=${{XDG_STATE_HOME:-$HOME/.local/state}}/virtfix
        ((EUID == 0)) && root=/var/lib/virtfix
    fi
    for run in "$root"/runs/*/; do
        run=${{run%/}}
        [[ -d $run ]] && printf '%s\\n' "${{run##*/}}"
    done
}}

# Takes the lines of standard input that begin with $1 as candidates. A name is never expanded: it may hold
# anything.
_virtfix_take() {{
    local name
    while IFS= read -r name; do
        [[ -n $name && $name == "$1"* ]] && COMPREPLY+=("$(printf %q "$name")")
    done
}}
"""

_MAIN = r"""
_virtfix() {
    COMPREPLY=()
    local -a words=()
    local word cur kind value='' connect='' path='' prefix='' REPLY='' glue='' dashes=''
    local -i i count=0
    # bash parts words at = and : too; here they are whole again.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -z $word && ${COMP_LINE:COMP_POINT-1:1} == ' ' ]]; then
            glue=''
        elif [[ $word == [:=]* ]]; then
            glue=1
        fi
        if [[ $glue && ${#words[@]} -gt 0 ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        glue=''
        [[ $word == *[:=] ]] && glue=1
    done
    cur=${words[${#words[@]} - 1]}
    for word in "${words[@]:0:${#words[@]}-1}"; do
        if [[ $value ]]; then
            [[ $value == --connect || $value == -c ]] && connect=$word
            value=''
        elif [[ $word == -- && -z $dashes ]]; then
            dashes=1
        elif [[ $word == -?* && -z $dashes ]]; then
            [[ $word == --connect=* ]] && connect=${word#*=}
            _virtfix_value "$path" "$word" && value=$word
        elif _virtfix_commands "$path"; then
            path="${path:+$path }$word"
        else
            count+=1
        fi
    done
    kind=''
    if [[ $value ]]; then
        _virtfix_value "$path" "$value" && kind=$REPLY
    elif [[ $cur == --*=* && -z $dashes ]]; then
        prefix=${cur%%=*}=
        cur=${cur#*=}
        _virtfix_value "$path" "${prefix%=}" && kind=$REPLY
    elif [[ $cur == -* && -z $dashes ]]; then
        _virtfix_options "$path" && kind="words $REPLY"
    elif _virtfix_commands "$path"; then
        kind="words $REPLY"
    else
        _virtfix_argument "$path" "$count" && kind=$REPLY
    fi
    case $kind in
    'words '*) mapfile -t COMPREPLY < <(compgen -W "${kind#words }" -- "$cur") ;;
    # readline's own way is the second choice: it knows quotes.
    file)
        compopt -o filenames -o default 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    dir)
        compopt -o filenames -o dirnames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        ;;
    domain) _virtfix_take "$cur" < <(_virtfix_domains "$connect") ;;
    run) _virtfix_take "$cur" < <(_virtfix_runs) ;;
    esac
    # What stands before the last = or : is not replaced by bash, where it parts words there.
    if [[ $COMP_WORDBREAKS != *=* && $prefix ]]; then
        COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
    fi
    if [[ $COMP_WORDBREAKS == *:* && $cur == *:* ]]; then
        prefix=${cur%"${cur##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
}

complete -F _virtfix virtfix
"""


def bash(root: Command) -> str:
    commands = [(path_of(one), " ".join(child.path[-1] for child in one.commands)) for one in groups(root)]
    options = [
        (path_of(one), " ".join(name for option in one.options for name in option.names))
        for one in root.walk()
    ]
    arguments = [
        (f"{path_of(one)}:{'*' if argument.many else number}", _kind(argument.value))
        for one in root.walk()
        for number, argument in enumerate(one.arguments)
    ]
    parts = [
        _HEAD,
        _table("commands", "The commands of a group.", "$1", commands),
        _table("options", "The options of a command.", "$1", options),
        _table("value", "What an option takes; a switch takes nothing.", "$1:$2", _values(root)),
        _table("argument", "What stands at a place of the command line.", "$1:$2", arguments),
        _MAIN,
    ]
    return "".join(parts)


def _table(name: str, what: str, key: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"    {_pattern(row)}) REPLY='{value}' ;;" for row, value in rows if value]
    body = "\n".join([f"    case {key} in", *lines, "    *) return 1 ;;", "    esac"])
    return f"\n# {what}\n_virtfix_{name}() {{\n{body}\n}}\n"


def _pattern(row: str) -> str:
    quoted = re.sub(r"[^*]+", lambda part: shlex.quote(part[0]) if " " in part[0] else part[0], row)
    return quoted or "''"


def _values(root: Command) -> list[tuple[str, str]]:
    """Return what each option takes: where commands differ, the exceptions before the rule."""
    found: dict[str, dict[str, str]] = {}
    for command in root.walk():
        for option in command.options:
            for name in option.names if option.value else ():
                found.setdefault(name, {})[path_of(command)] = _kind(option.value)
    rows = []
    for name, kinds in found.items():
        usual = Counter(kinds.values()).most_common(1)[0][0]
        rows += [(f"{path}:{name}", kind) for path, kind in kinds.items() if kind != usual]
        rows.append((f"*:{name}", usual))
    return rows


def _kind(value: Value | None) -> str:
    words = value.choices or (URIS if value.kind == URI else ()) if value else ()
    return f"words {' '.join(words)}" if words else value.kind if value else ""
