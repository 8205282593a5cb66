"""Bad input: one clear line that names the file, exit 1, nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_runner import SAMPLES

if TYPE_CHECKING:
    from cli_runner import Run

GOOD = (SAMPLES / "rhel6-q35-ovmf.xml").read_bytes()
BALLOON = b"<address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>"


def balloon_at(**fields: str) -> bytes:
    """Return the sample with another address of its memballoon."""
    address = BALLOON
    for name, value in fields.items():
        address = re.sub(rf"{name}='[^']*'".encode(), f"{name}='{value}'".encode(), address)
    assert GOOD.count(BALLOON) == 1
    return GOOD.replace(BALLOON, address)


def small(devices: str, head: str = "") -> bytes:
    return (
        f"{head}<domain type='kvm'><name>t</name><os><type arch='x86_64' machine='q35'>hvm</type></os>"
        f"<devices>{devices}</devices></domain>"
    ).encode()


def controller(index: int, model: str, bus: int, slot: int = 0) -> str:
    return (
        f"<controller type='pci' index='{index}' model='{model}'>"
        f"<address type='pci' bus='{bus:#x}' slot='{slot:#x}'/></controller>"
    )


LAUGHS = "<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'><!ENTITY c '&b;&b;&b;'>]>"
EXTERNAL = "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
DISKS = "".join(
    f"<disk type='file' device='disk'><target dev='vd{chr(97 + n // 26)}{chr(97 + n % 26)}' bus='virtio'/></disk>"
    for n in range(300)
)

# Name, bytes, and a word that the line must hold.
BAD = {
    "truncated": (GOOD[:3000], "not well-formed"),
    "cut in an attribute": (GOOD[: GOOD.index(b"bus='virtio'") + 7], "not well-formed"),
    "binary": (bytes(range(256)) * 40, "binary"),
    "ELF": (b"\x7fELF\x02\x01\x01" + bytes(200), "binary"),
    "empty": (b"", "empty"),
    "blank": (b" \n\t\n", "empty"),
    "text": (b"no XML at all\n", "not well-formed"),
    "more than 4 MiB": (GOOD.replace(b"</domain>", b" " * (5 << 20) + b"</domain>"), "MiB"),
    "billion laughs": (small("&c;", LAUGHS), "document type"),
    "external entity": (small("&x;", EXTERNAL), "document type"),
    "external DTD": (small("", "<!DOCTYPE d SYSTEM 'http://localhost/d.dtd'>"), "document type"),
    "undeclared entity": (small("&nbsp;"), "not well-formed"),
    "wrong root": (b"<network><name>default</name></network>", "<network>"),
    "a snapshot": (b"<domainsnapshot><domain/></domainsnapshot>", "snapshot"),
    "a status file": (b"<domstatus><domain/></domstatus>", "<domstatus>"),
    "two documents": (b"<domain/>" * 2, "not well-formed"),
    "deep": (small("<a>" * 3000 + "</a>" * 3000), "nested"),
    "not the encoding it says": (b"<?xml version='1.0' encoding='utf-16'?>" + small(""), "utf-16"),
    "an unknown encoding": (b"<?xml version='1.0' encoding='no-such'?>" + small(""), "no-such"),
    "Latin 1 without saying so": (GOOD.replace(b"<name>", b"<name>\xe9"), "UTF-8"),
    "a NUL": (small("\0"), "not well-formed"),
    "an address twice": (balloon_at(bus="0x04"), "taken"),
    "bus out of range": (balloon_at(bus="0x1ff"), "0xff"),
    "slot out of range": (balloon_at(slot="0x20"), "0x1f"),
    "function out of range": (balloon_at(function="0x8"), "range"),
    "no number": (balloon_at(bus="four"), "four"),
    "slot that a port has not": (balloon_at(slot="0x01"), "slot"),
    "controllers in a ring": (
        small(controller(1, "pci-bridge", 2, 1) + controller(2, "pci-bridge", 1, 1)),
        "itself",
    ),
    "a controller on its own bus": (small(controller(1, "pci-bridge", 1, 1)), "itself"),
    "300 disks": (small(DISKS), "place"),
    "no guest named": (small(""), "--os"),
}
COMMANDS = {
    "plan": ("plan",),
    "diff": ("plan", "--format", "diff"),
    "xml": ("plan", "--format", "xml"),
    "topology": ("topology", "--after"),
    "apply": ("apply", "--in-place"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", BAD)
def test_one_line(virtfix: Run, tmp_path: Path, name: str, command: str) -> None:
    """Exit 1; one line on standard error with file and reason; nothing on standard output; no change."""
    data, word = BAD[name]
    file = tmp_path / "vm.xml"
    file.write_bytes(data)
    os_option = () if name == "no guest named" else ("--os", "rhel6")
    done = virtfix(*COMMANDS[command], file, *os_option)
    assert done.code == 1
    line = done.error_line()
    assert line.startswith(f"virtfix: {file}:")
    assert word in line
    assert line.isprintable()
    assert file.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["vm.xml"]


@pytest.mark.parametrize("name", ["truncated", "binary", "empty", "billion laughs", "deep", "300 disks"])
def test_a_shell_sees_the_same(process: Run, tmp_path: Path, name: str) -> None:
    """Also from a process of its own, on standard input."""
    done = process("plan", "-", "--os", "rhel6", stdin=BAD[name][0])
    assert done.code == 1
    assert done.error_line().startswith("virtfix: standard input:")


def test_one_bad_file_does_not_stop_the_others(virtfix: Run, tmp_path: Path) -> None:
    """Of all the bad files and a good one, the good one is planned."""
    bad = [data for name, (data, _) in BAD.items() if name != "no guest named"]
    for number, data in enumerate(bad):
        (tmp_path / f"bad{number}.xml").write_bytes(data)
    (tmp_path / "good.xml").write_bytes(GOOD)
    done = virtfix("plan", tmp_path, "--format", "diff", "--os", "rhel6")
    assert done.code == 1
    assert done.text.startswith(f"--- {tmp_path}/good.xml\n")
    lines = done.err.splitlines()
    assert len(lines) == len(bad) + 1
    assert all(line.startswith("virtfix: ") for line in lines)
    assert lines[-1] == f"virtfix: {len(bad) + 1} domains: 1 to change, {len(bad)} failed"


# --- Files --------------------------------------------------------------------------------------------


def test_missing_and_unreadable_files(virtfix: Run, tmp_path: Path) -> None:
    """They are named, with the system's reason in words."""
    nosuch = tmp_path / "nosuch.xml"
    done = virtfix("plan", nosuch)
    assert done.code == 1
    assert done.error_line() == f"virtfix: {nosuch}: can not read: no such file or directory; check the name"
    done = virtfix("plan", nosuch / "deeper.xml")
    assert done.error_line().startswith(f"virtfix: {nosuch}/deeper.xml: can not read: ")


@pytest.mark.parametrize("command", ["plan", "topology"])
def test_an_empty_argument(virtfix: Run, command: str) -> None:
    """A shell variable that was not set is shown as what it is."""
    done = virtfix(command, "")
    assert done.code == 1
    assert done.error_line() == "virtfix: '': can not read: no such file or directory; check the name"


@pytest.mark.parametrize(
    ("number", "reason"), [(13, "permission denied"), (2, "no such file"), (5, "input/output error")]
)
def test_files_that_fail_when_they_are_read(
    virtfix: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    """A file may vanish, or refuse, between the listing and the reading."""
    file = tmp_path / "vm.xml"
    file.write_bytes(GOOD)
    real = os.open

    def refuse(path: str, *arguments: object, **options: object) -> int:
        if str(path) == str(file):
            raise OSError(number, os.strerror(number), path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    for arguments in (("plan", file), ("plan", tmp_path), ("apply", "--in-place", file), ("topology", file)):
        done = virtfix(*arguments)
        assert done.code == 1
        assert f"{file}: can not read: {reason}" in done.error_line()


def test_a_directory_where_a_file_is_wanted(virtfix: Run, tmp_path: Path) -> None:
    """topology draws one domain."""
    line = virtfix("topology", tmp_path).error_line()
    assert line.startswith(f"virtfix: {tmp_path}: is a directory")


def test_a_dangling_link_in_a_directory(virtfix: Run, tmp_path: Path) -> None:
    """It is told as a missing file, and the others are planned."""
    (tmp_path / "a.xml").symlink_to(tmp_path / "nosuch")
    (tmp_path / "b.xml").write_bytes(GOOD)
    done = virtfix("plan", tmp_path, "--format", "diff")
    assert done.code == 1
    assert done.out.startswith(b"--- ")
    assert f"{tmp_path}/a.xml: can not read: no such file" in done.err


# --- Policies and names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            "format: 1\nkind: site\nname: x\nwieghts: {bridge: 1}\n",
            (":4:1: ", '"wieghts"', '"weights"'),
            id="a key",
        ),
        pytest.param(
            "format: 1\nkind: site\nname: x\nstrategy: brigde\n", (":4:", "brigde", "bridge"), id="a word"
        ),
        pytest.param(
            "format: 1\nkind: site\nname: x\nextends: defualt\n", ("defualt", "default"), id="a profile"
        ),
        pytest.param("format: 9\nkind: site\n", ("format",), id="another format"),
        pytest.param("format: 1\nkind: [\n", (":",), id="no YAML"),
        pytest.param("", ("",), id="nothing"),
        pytest.param("a: &x [1]\nb: *x\n", ("",), id="aliases"),
        pytest.param("!!python/object/apply:os.system ['true']\n", ("",), id="a tag"),
    ],
)
def test_policy_mistakes(virtfix: Run, tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    """File, line, the wrong word and the nearest right one; told once, before any plan."""
    policy = tmp_path / "site.yaml"
    policy.write_text(text)
    done = virtfix("plan", SAMPLES, "--policy", policy)
    assert done.code == 1
    line = done.error_line()
    assert line.startswith(f"virtfix: {policy}")
    assert all(word in line for word in words)


def test_a_policy_that_is_missing(virtfix: Run, tmp_path: Path) -> None:
    """A wrong path is named."""
    for path in (tmp_path / "nosuch.yaml", tmp_path):
        done = virtfix("plan", SAMPLES, "--policy", path)
        assert done.code == 1
        assert done.error_line().startswith(f"virtfix: {path}: ")


NASTY = "a\u009b2J\u202e\u2028b&#10;virtfix: forged&#13;c"


@pytest.mark.parametrize("form", ["text", "diff", "json"])
def test_content_can_not_move_the_cursor(virtfix: Run, tmp_path: Path, form: str) -> None:
    """Control and reordering characters of the XML reach no stream raw, but in the lines of a diff to a pipe."""
    data = GOOD.replace(b"<name>rhel6.10", f"<name>{NASTY}".encode()).replace(
        b"dev='vda'", f"dev='vd{NASTY}'".encode()
    )
    file = tmp_path / "vm.xml"
    file.write_bytes(data)
    done = virtfix("plan", file, "--format", form)
    assert done.code == 0
    assert "\u009b" not in done.err
    assert "\u202e" not in done.err
    if form != "diff":
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", done.text)
    assert not re.search("(?m)^virtfix: forged", done.text + done.err)


@pytest.mark.parametrize(
    "name", ["vm \x1b[31m.xml", "vm\n.xml", "vm\r.xml", "vm\u202e.xml", "[red]vm[bold].xml", "ü.xml"]
)
def test_file_names(virtfix: Run, tmp_path: Path, name: str) -> None:
    """A file may be called anything; what is shown stays one line, and is what it is."""
    file = tmp_path / name
    file.write_bytes(b"<domain>")
    line = virtfix("plan", file).error_line()
    assert line.isprintable()
    file.write_bytes(GOOD)
    done = virtfix("plan", file)
    assert done.code == 0
    assert done.text.splitlines()[0].endswith(": rhel6.10")
    assert "\x1b" not in done.text


def test_a_file_name_that_is_no_text(process: Run, tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are shown escaped, in every format."""
    file = os.fsencode(tmp_path) + b"/vm\xff.xml"
    Path(os.fsdecode(file)).write_bytes(GOOD)
    for form in ("text", "diff", "xml", "json"):
        done = process("plan", os.fsdecode(file), "--format", form)
        assert (done.code, done.err) == (0, "")
    Path(os.fsdecode(file)).write_bytes(b"<domain>")
    done = process("plan", os.fsdecode(file))
    assert "vm\\udcff.xml:1:9" in done.error_line()
