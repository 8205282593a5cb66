"""Completion in real shells: commands, options, their words, files, domains; and nothing that a name could run."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "completions"
SHELLS = ("bash", "zsh", "fish")

# What is typed, what has to be offered, what must not be.
CASES = [
    ("virtfix ", {"plan", "apply", "policy", "topology"}, {"show"}),
    ("virtfix pl", {"plan"}, {"apply", "policy"}),
    ("virtfix --ver", {"--version"}, set()),
    ("virtfix policy ", {"show", "explain", "test"}, {"plan", "topology"}),
    ("virtfix plan --str", {"--strategy"}, {"--strict"}),
    ("virtfix apply --str", {"--strategy", "--strict"}, set()),
    ("virtfix policy explain --virt", {"--virtio-win"}, set()),
    ("virtfix plan --strategy ", {"integrated", "bridge", "transitional", "override"}, {"vm.xml"}),
    ("virtfix plan --strategy=o", {"override"}, {"bridge"}),
    ("virtfix plan vm.xml --assume l", {"legacy"}, {"modern"}),
    ("virtfix plan --format ", {"text", "diff", "xml", "json"}, set()),
    ("virtfix apply -f ", {"text", "json"}, {"diff"}),
    ("virtfix plan --machine q35 --firmware ", {"bios", "efi"}, set()),
    ("virtfix plan --machine q35 --layout ", {"keep", "ports"}, set()),
    ("virtfix plan --color ", {"auto", "always", "never"}, set()),
    ("virtfix plan --hotplug d", {"disk"}, {"nic"}),
    ("virtfix plan v", {"vm.xml"}, {"verify"}),
    ("virtfix plan --os rhel6.9 v", {"vm.xml"}, set()),
    ("virtfix plan --os-map=v", {"vm.xml"}, set()),
    ("virtfix apply --output-dir f", {"fixed/"}, {"file.txt"}),
    ("virtfix explain VF00", {"VF001", "VF009"}, {"VF010"}),
    ("virtfix policy explain --kernel 3.10 rhel6.9 di", {"disk"}, set()),
    ("virtfix policy explain di", set(), {"disk"}),
    ("virtfix rollback 2026", {"20261124T101500Z-3fa2"}, {"nothing"}),
    ("virtfix history --run ", {"20261124T101500Z-3fa2"}, set()),
    ("virtfix plan --domain ", {"web1", "web2", "db"}, {"vm.xml"}),
    ("virtfix plan --connect test:///default --domain w", {"web-of-test"}, {"web1"}),
    ("virtfix plan -c qemu+ssh://host/system --domain ", set(), {"web1"}),
    ("virtfix plan --connect=qemu://host/system --domain ", set(), {"web1"}),
    ("virtfix plan --connect qemu:///s", {"qemu:///system", "qemu:///session"}, set()),
]  # fmt: skip


def shell(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        lacking = f"{name} is not installed"
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(lacking)
    return program


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with files, runs, and a virsh that knows some domains."""
    work = tmp_path / "work"
    (work / "fixed").mkdir(parents=True)
    for name in ("vm.xml", "file.txt"):
        (work / name).touch()
    (tmp_path / "state" / "runs" / "20261124T101500Z-3fa2").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    virsh = tmp_path / "bin" / "virsh"
    # Names hold what they like; nothing of them may run.
    virsh.write_text(
        "#!/bin/sh\n"
        'test "$LIBVIRT_AUTOSTART" = 0 || exit 1\n'
        'case "$*" in\n'
        "*test:///default*) echo web-of-test ;;\n"
        "*--connect*) exit 1 ;;\n"
        "*--readonly*list*) printf '%s\\n' web1 web2 db 'odd $(touch ran) name' '`touch ran`' ;;\n"
        "esac\n"
    )
    virsh.chmod(0o755)
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LIBVIRT_", "XDG_"))}
    return kept | {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "VIRTFIX_STATE_DIR": str(place / "state"),
        "HOME": str(place),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def run(place: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=place / "work",
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def in_bash(place: Path, line: str) -> set[str]:
    """Call the function as bash does: its words are parted at = and : too."""
    words = re.findall(r"[^\s:=]+|[:=]+", line)
    if line.endswith(" "):
        words.append("")
    script = (
        f'source "{FOLDER}/virtfix.bash"; COMP_LINE=$1; COMP_POINT=${{#1}}; shift; COMP_WORDS=("$@")\n'
        'COMP_CWORD=$(($# - 1)); _virtfix; for one in "${COMPREPLY[@]}"; do printf \'%s\\n\' "$one"; done\n'
    )
    found = run(place, shell("bash"), "--norc", "-c", script, "bash", line, *words).splitlines()
    # bash puts what stood before the colon in front, and a stroke behind a folder, by itself.
    head = line.rsplit(" ", maxsplit=1)[-1]
    head = head[: head.rfind(":") + 1]
    return {head + one + "/" * (place / "work" / one).is_dir() for one in found}


def in_fish(place: Path, line: str) -> set[str]:
    script = f"source {FOLDER}/virtfix.fish; complete -C $argv[1]"
    told = run(place, shell("fish"), "--no-config", "-c", script, line)
    found = {row.partition("\t")[0] for row in told.splitlines()}
    return {re.sub(r"^--[a-z-]+=", "", one) for one in found}


def in_zsh(place: Path, line: str) -> set[str]:
    """Type the line in an interactive zsh, and ask it for what it would list."""
    setup = place / "zsh"
    setup.mkdir(exist_ok=True)
    # The widget lists through compadd; this one writes down what is added and adds nothing.
    (setup / ".zshrc").write_text(
        f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -u -D; PS1='%% '\n"
        "zstyle ':completion:*' list-prompt ''; LISTMAX=10000\n"
        "compadd() {\n"
        "  if [[ ${@[(I)-[OAD]]} -eq 0 ]]; then\n"
        '    local -a got; builtin compadd -O got "$@"; print -rl -- $got >>$FOUND\n'
        "  fi\n"
        '  builtin compadd "$@"\n'
        "}\n"
    )
    found = place / "found"
    found.write_text("")
    with Terminal([shell("zsh"), "-i"], place, {"ZDOTDIR": str(setup), "FOUND": str(found)}) as terminal:
        terminal.wait_for("% ")
        # The keys behind the tab are taken when the completion is done.
        terminal.type(line + "\t\x15echo DO''NE\n")
        terminal.wait_for("DONE")
    return {name + "/" * (place / "work" / name).is_dir() for name in found.read_text().splitlines()}


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], place: Path, more: dict[str, str]) -> None:
        self.command, self.place, self.more, self.seen = command, place, more, ""

    def __enter__(self) -> Self:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            self.command,
            cwd=self.place / "work",
            env=environment(self.place) | self.more,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self, wait: float) -> bool:
        if not select.select([self.master], [], [], wait)[0]:
            return False
        try:
            more = os.read(self.master, 65536)
        except OSError:  # the program has ended
            return False
        self.seen += more.decode("utf-8", "replace")
        return bool(more)

    def wait_for(self, text: str, limit: float = 30) -> None:
        end = time.monotonic() + limit
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in {self.seen!r}"
            self.read(0.1)

    def settle(self, quiet: float = 0.7) -> None:
        while self.read(quiet):
            pass


@pytest.mark.parametrize("name", SHELLS)
def test_what_is_offered(name: str, place: Path) -> None:
    """Commands, options, words, files, runs and domains, each where it belongs."""
    ask = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[name]
    for line, wanted, unwanted in CASES:
        offered = ask(place, line)
        assert wanted <= offered, f"{line!r}: {sorted(wanted - offered)} missing in {sorted(offered)[:20]}"
        assert not offered & unwanted, f"{line!r}: {sorted(offered & unwanted)}"
    assert not list(place.rglob("ran")), "the name of a domain was run"


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_typing(name: str, place: Path) -> None:
    """What is typed on a terminal is completed to what virtfix then gets."""
    if name == "bash":
        command, more = [shell("bash"), "--norc", "-i"], {"PS1": "> "}
        setup = f"source {FOLDER}/virtfix.bash; "
    else:
        command, more = [shell("zsh"), "-f", "-i"], {"PS1": "> "}
        setup = f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -u -D; "
    with Terminal(command, place, more) as terminal:
        terminal.wait_for("> ")
        terminal.type(setup + "virtfix() { printf '<%s>' GOT \"$@\"; echo; }; echo RE''ADY\n")
        terminal.wait_for("READY")
        terminal.settle()
        # Keys are taken one after the other, however long a completion lasts.
        terminal.type("virtfix pla\t--strat\tover\tvm\t")
        terminal.type("\n")
        terminal.wait_for("<vm.xml>")
    assert re.search(r"<GOT><plan><--strategy(=|><)override><vm\.xml>", terminal.seen)


def test_the_scripts_are_fresh() -> None:
    """completions/ is what the commands of today give."""
    check = [sys.executable, "docs/generate_completion.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_shellcheck() -> None:
    """The script for bash has nothing that shellcheck minds."""
    done = subprocess.run(
        [shell("shellcheck"), "-s", "bash", FOLDER / "virtfix.bash"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_real_virsh(tmp_path: Path, place: Path) -> None:
    """The question that the scripts ask is one that virsh answers."""
    if shutil.which("virsh", path="/usr/bin:/usr/local/bin:/bin") is None:
        pytest.skip("virsh is not installed")
    (place / "bin" / "virsh").unlink()
    assert in_bash(place, "virtfix plan --connect test:///default --domain ") == {"test"}
