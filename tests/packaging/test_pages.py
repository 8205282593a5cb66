"""Man pages, the list of commands and the site: fresh, clean, complete, true to the command line."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixer.cli.exit_codes import Exit

ROOT = Path(__file__).parents[2]
MAN = sorted((ROOT / "man").glob("*.1"))
SCRIPTS = ("generate_man", "generate_cli", "generate_completion")


def module(name: str) -> Any:
    """Load a script of docs/."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "docs"))


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        lacking = f"{name} is not installed"
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(lacking)
    return str(found)


def told(*command: str | Path, **more: str) -> str:
    """Run a program that should find nothing wrong; return all that it says."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **more}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_generated_is_fresh(script: str) -> None:
    """The files in the repository are what the commands of today give."""
    done = subprocess.run(
        [sys.executable, f"docs/{script}.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_pages_are_the_same_each_time(seed: str) -> None:
    """No hash seed, clock or width of a terminal shows in what is generated."""
    code = "import sys; sys.path.insert(0, 'docs'); import generate_man as m, generate_completion as c; print(*m.pages().values(), *c.scripts().values())"  # fmt: skip
    here = "".join(f"{text} " for part in (module("generate_man").pages(), module("generate_completion").scripts()) for text in part.values())  # fmt: skip
    there = told(sys.executable, "-c", code, PYTHONHASHSEED=seed, COLUMNS="40", TZ="Asia/Tokyo")
    assert there.strip() == here.strip()


def test_a_change_is_noticed(tmp_path: Path) -> None:
    """--check compares contents, and finds pages of commands that are gone."""
    tree = module("command_tree")
    kept, old, gone = tmp_path / "a.1", tmp_path / "b.1", tmp_path / "c.1"
    for path in (kept, old, gone):
        path.write_text("text\n")
    wanted = {kept: "text\n", old: "other\n", tmp_path / "new.1": ""}
    assert tree.stale(wanted, tmp_path) == [old, gone, tmp_path / "new.1"]


@pytest.mark.parametrize("page", MAN, ids=lambda path: path.stem)
def test_man_lint(page: Path) -> None:
    """mandoc and groff have nothing to say."""
    assert told(tool("mandoc"), "-T", "lint", "-W", "style", page) == ""
    words = told(
        tool("man"), "--warnings", "-E", "UTF-8", "-l", page, MANWIDTH="80", MANROFFOPT="-ww", MANPAGER="cat"
    )
    assert "warning" not in words


@pytest.mark.parametrize("formatter", ["man", "mandoc"])
def test_what_man_shows_can_be_typed(formatter: str) -> None:
    """Hyphens, quotes and backslashes of options and examples come out as they are typed."""
    command = {"man": [tool("man"), "-l"], "mandoc": [tool("mandoc"), "-T", "utf8"]}[formatter]
    page = ROOT / "man" / "virtfix-apply.1"
    shown = told(*command, page, MANWIDTH="100", MANPAGER="cat", MAN_KEEP_FORMATTING="")
    plain = re.sub(".\b", "", shown)
    assert "virtfix apply --all --yes --exclude 'db*'" in plain
    assert "--backup-suffix SUFFIX" in plain
    assert "--define" in plain


def test_every_command_and_option_has_its_place() -> None:
    """The pages name all commands and options, and each has the sections that belong there."""
    root = module("command_tree").tree()
    for command in root.walk():
        page = (ROOT / "man" / ("-".join(("virtfix", *command.path[:1])) + ".1")).read_text()
        for option in command.options:
            for name in option.names:
                assert re.search(rf"\\fB{re.escape(name.replace('-', chr(92) + '-'))}\\fR", page), (
                    command.name,
                    name,
                )
    for page in MAN:
        sections = re.findall(r'(?m)^\.SH "?([A-Z ]+)"?$', page.read_text())
        wanted = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXIT STATUS",
            "ENVIRONMENT",
            "FILES",
            "SEE ALSO",
        ]
        assert [name for name in sections if name in wanted] == wanted, page.name
        codes = re.findall(r"(?m)^\.TP\n\\fB(\d+)\\fR$", page.read_text())
        assert codes == [str(code.value) for code in Exit], page.name


def test_escapes() -> None:
    """Whatever a help text holds, it is text and no request of the formatter."""
    man = module("generate_man")
    assert man.prose(".so /etc/passwd") == r"\&.so /etc/passwd"
    assert man.prose("'quoted' text") == r"\&'quoted' text"
    assert man.code(r"a\b 'c' -d `e`") == r"a\eb \(aqc\(aq \-d \(gae\(ga"
    assert man.prose("hot-plug by --hot-plug, -1, a - b") == r"hot-plug by \-\-hot\-plug, \-1, a \- b"
    assert man.prose("ä") == r"\[u00E4]"
    assert all(not line.startswith(".") for line in man.prose("word " * 15 + ".word " * 30).splitlines())


def test_examples_are_of_commands_that_exist() -> None:
    """Every example of docs/commands.toml has a command and options that are there."""
    tree = module("command_tree")
    root = tree.tree()
    commands = {command.path: command for command in root.walk()}
    known = {" ".join(path) for path in commands} | {"virtfix"}
    assert {name for name, entry in tree.texts().items() if isinstance(entry, dict)} <= known
    for command in (root, *root.commands):
        for line, _ in tree.examples(command):
            program, *words = shlex.split(line)
            if program != "virtfix":
                continue
            path = max((path for path in commands if tuple(words[: len(path)]) == path), key=len)
            names = {name for option in commands[path].options for name in option.names}
            assert {word for word in words if word.startswith("--")} <= names, line


def test_the_environment_is_told() -> None:
    """Every variable of virtfix's own is in its page."""
    code = "".join(path.read_text() for path in (ROOT / "fixer").rglob("*.py"))
    page = (ROOT / "man" / "virtfix.1").read_text()
    for name in set(re.findall(r"\bVIRTFIX_[A-Z_]+\b", code)):
        assert name in page, name


def test_the_site(tmp_path: Path) -> None:
    """mkdocs builds it without a warning; nothing in it is fetched from elsewhere, and no script is in it by mistake."""
    if importlib.util.find_spec("mkdocs") is None:
        lacking = "mkdocs is not installed: pip install '.[docs]'"
        (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(lacking)
    words = told(sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site")
    assert "WARNING" not in words
    pages = {
        path.relative_to(tmp_path / "site"): path.read_text() for path in (tmp_path / "site").rglob("*.html")
    }
    assert {Path("index.html"), Path("tutorial.html"), Path("cli.html"), Path("architecture.html")} <= set(
        pages
    )
    for name, page in pages.items():
        loaded = re.findall(r'(?:<script[^>]*src|<link[^>]*href|<img[^>]*src)="([^"]+)"', page)
        assert [address for address in loaded if re.match(r"\w+:|//", address)] == [], name
    style = [path.read_text() for path in (tmp_path / "site").rglob("*.css")]
    assert not [one for one in style if re.search(r"url\([\"']?(https?:)?//|@import [\"']?http", one)]
    assert not list((tmp_path / "site").rglob("*.py"))


def test_links_out_of_the_site() -> None:
    """A link to a file that the site does not have becomes its text and path; others stay."""
    named = module("site_links").outside_named
    assert named("see [guest-init](../fixer/x) now", "verify.md") == "see guest-init (`fixer/x`) now"
    assert named("[`fixer/x`](../fixer/x)", "verify.md") == "`fixer/x`"
    for kept in ("[a](policy.md#b)", "[a](#b)", "[a](https://x.org/)"):
        assert named(kept, "verify.md") == kept
    assert named("[a](../policy.md)", "findings/VF001.md") == "[a](../policy.md)"


def test_bars_in_code() -> None:
    """Code in a table shows its bars alone; other code is left as it is."""
    shown = module("site_links").bars_in_code
    assert shown(r"| `a\|b` | `c` |") == "| <code>a&#124;b</code> | `c` |"
    assert shown(r"`a\|b`") == r"`a\|b`"
