"""The unified diff of a plan: made from splices, and yet what diff and patch know."""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, plan
from hypothesis import given, settings
from hypothesis import strategies as st

from fixer.domain.writing import Splice, apply_splices
from fixer.report.diff import for_terminal, unified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES = sorted((ROOT / "samples").glob("*.xml"))
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n")


def made(source: bytes, *splices: tuple[int, int, bytes], name: str = "vm.xml") -> bytes:
    planned = SimpleNamespace(
        domain=SimpleNamespace(document=SimpleNamespace(source=source)),
        splices=[Splice(*splice) for splice in splices],
    )
    return unified(planned, name)


def applied(source: bytes, diff: bytes) -> bytes:
    """Apply a unified diff with no tolerance: every line number, count and context line must fit."""
    if not diff:
        return source
    lines, out, at = _split(source), [], 0
    body = _split(diff)
    assert body[0].startswith(b"--- ")
    assert body[1].startswith(b"+++ ")
    index = 2
    while index < len(body):
        head = _HUNK.fullmatch(body[index])
        assert head, body[index]
        start, old, new_start, new = (int(field) if field is not None else 1 for field in head.groups())
        first = start - 1 if old else start
        assert first >= at, "hunks are in order and apart"
        out += lines[at:first]
        assert len(out) == (new_start - 1 if new else new_start)
        at, index = first, index + 1
        while old or new:
            sign, line = body[index][:1], body[index][1:]
            index += 1
            if body[index : index + 1] == [b"\\ No newline at end of file\n"]:
                line, index = line.removesuffix(b"\n"), index + 1
            if sign in b" -":
                assert lines[at] == line
                at, old = at + 1, old - 1
            if sign in b" +":
                out.append(line)
                new -= 1
    out += lines[at:]
    assert all(line.endswith(b"\n") for line in out[:-1]), "only the last line may lack its newline"
    return b"".join(out)


def _split(data: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+", data)


# Text with what makes diffs hard: equal lines, empty lines, CRLF, lone CR, no newline at the end.
PIECE = st.sampled_from(
    [b"", b"a", b"b", b"\n", b"a\n", b"b\n", b"\n\n", b"a\r\n", b"\r\n", b"\r", b"long line\n"]
)
TEXT = st.lists(PIECE, max_size=40).map(b"".join)


@st.composite
def edited(draw: Callable) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """Draw a text, not empty, and splices in order that do not overlap and each change something."""
    source = draw(TEXT.filter(bool))
    ends = sorted(draw(st.lists(st.integers(0, len(source)), max_size=12).filter(lambda x: len(x) % 2 == 0)))
    splices = [(start, end, draw(TEXT)) for start, end in zip(ends[::2], ends[1::2], strict=True)]
    return source, [splice for splice in splices if source[splice[0] : splice[1]] != splice[2]]


@given(edited())
@settings(max_examples=600, deadline=None)
def test_the_diff_says_what_the_splices_do(case: tuple[bytes, list[tuple[int, int, bytes]]]) -> None:
    """Applied without any tolerance, the diff gives the spliced text; backwards it gives the source."""
    source, splices = case
    result = apply_splices(source, [Splice(*splice) for splice in splices])
    diff = made(source, *splices)
    assert applied(source, diff) == result
    assert applied(result, _reversed(diff)) == source
    assert diff or source == result


def _reversed(diff: bytes) -> bytes:
    turned = []
    for line in _split(diff):
        head = _HUNK.fullmatch(line)
        if head:
            old, new = re.findall(rb"[-+]([\d,]+)", line)
            turned.append(b"@@ -%s +%s @@\n" % (new, old))
        elif line.startswith((b"---", b"+++")):
            turned.append(line)
        else:
            turned.append(line.translate(bytes.maketrans(b"+-", b"-+"))[:1] + line[1:])
    return b"".join(turned)


@given(edited())
@settings(max_examples=200, deadline=None)
def test_the_hunks_are_those_of_difflib(case: tuple[bytes, list[tuple[int, int, bytes]]]) -> None:
    """Three lines of context, as difflib and diff -u give them: no hunk starts or ends with a change alone."""
    source, splices = case
    diff = made(source, *splices)
    for hunk in re.split(rb"(?m)^@@.*\n", diff)[1:]:
        signs = [line[:1] for line in _split(hunk) if not line.startswith(b"\\")]
        changes = [index for index, sign in enumerate(signs) if sign != b" "]
        assert changes, "a hunk changes something"
        assert changes[0] <= 3
        assert len(signs) - 1 - changes[-1] <= 3


def test_one_change_is_shown_as_difflib_shows_it() -> None:
    """For a plain change the very same bytes as difflib's, header included."""
    source = b"".join(b"line %d\n" % n for n in range(20))
    at = source.index(b"line 9")
    result = source.replace(b"line 9\n", b"LINE 9\n")
    expected = difflib.diff_bytes(
        difflib.unified_diff, _split(source), _split(result), b"vm.xml", b"vm.xml", lineterm=b"\n"
    )
    assert made(source, (at, at + 4, b"LINE")) == b"".join(expected)


@pytest.mark.parametrize(
    ("source", "splice", "expected"),
    [
        pytest.param(
            b"<a>\n<b/>",
            (5, 6, b"c"),
            b"@@ -1,2 +1,2 @@\n <a>\n-<b/>\n\\ No newline at end of file\n+<c/>\n\\ No newline at end of file\n",
            id="the last line lacks its newline on both sides",
        ),
        pytest.param(
            b"<a>\n<b/>",
            (8, 8, b"\n"),
            b"@@ -1,2 +1,2 @@\n <a>\n-<b/>\n\\ No newline at end of file\n+<b/>\n",
            id="the newline is added",
        ),
        pytest.param(
            b"<a>\r\n<b/>\r\n",
            (6, 7, b"c"),
            b"@@ -1,2 +1,2 @@\n <a>\r\n-<b/>\r\n+<c/>\r\n",
            id="CRLF stays in the lines",
        ),
        pytest.param(b"x\n", (0, 2, b""), b"@@ -1 +0,0 @@\n-x\n", id="all is removed"),
    ],
)
def test_line_ends(source: bytes, splice: tuple[int, int, bytes], expected: bytes) -> None:
    """What ends a line is part of the line, and its absence is said as diff says it."""
    assert made(source, splice) == b"--- vm.xml\n+++ vm.xml\n" + expected


@given(edited())
@settings(max_examples=400, deadline=None)
def test_edits_inside_lines(case: tuple[bytes, list[tuple[int, int, bytes]]]) -> None:
    """The same where each splice keeps the line ends that it covers, as attributes and addresses do."""
    source, splices = case
    kept = [(start, end, new) for start, end, new in splices if b"\n" not in source[start:end]]
    diff = made(source, *kept)
    result = apply_splices(source, [Splice(*splice) for splice in kept])
    assert applied(source, diff) == result
    assert applied(result, _reversed(diff)) == source


def test_devices_on_a_line_of_their_own() -> None:
    """<devices> that holds a newline alone, in a document on one line, is where a real plan drops a newline."""
    data = (
        b"<domain type='kvm'><name>t</name><os><type arch='x86_64' machine='q35'>hvm</type></os>"
        b"<devices>\n</devices></domain>\n"
    )
    planned = plan(data, "rhel6")
    assert applied(data, unified(planned, "vm.xml")) == planned.result


@pytest.mark.parametrize("strategy", ["integrated", "bridge", "override"])
@pytest.mark.parametrize("crlf", [False, True], ids=["LF", "CRLF"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_patch_takes_it(sample: Path, strategy: str, tmp_path: Path, *, crlf: bool) -> None:
    """``virtfix plan --format diff FILE | patch -p0`` gives the bytes that ``apply`` writes."""
    patch = shutil.which("patch")
    assert patch, "patch is not installed"
    data = sample.read_bytes()
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    planned = plan(data, "centos6.10", strategy=strategy)
    file = tmp_path / "vm.xml"
    file.write_bytes(data)
    diff = unified(planned, "vm.xml")
    if diff:
        done = subprocess.run(
            [patch, "-p0", "--binary"], input=diff, cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout
        assert b"fuzz" not in done.stdout
    assert file.read_bytes() == planned.result


def test_a_file_name_can_not_forge_a_diff() -> None:
    """A newline in the name would start a line of its own."""
    assert made(b"a\n", (0, 1, b"b"), name="x\n+++ /etc/passwd").startswith(
        b"--- x\\u000a+++ /etc/passwd\t\n+++ x\\u000a+++ /etc/passwd\t\n@@"
    )


@pytest.mark.parametrize("color", [False, True])
def test_a_terminal_is_safe(color: bool) -> None:
    """Control and reordering characters of the file are shown, not obeyed."""
    text = for_terminal("-\x1b[2J\x07\x9b1m\u202eabc\r\n".encode(), color=color)
    own = re.sub("\x1b\\[(1|31|32|36|0)m", "", text)
    assert own == "-\\u001b[2J\\u0007\\u009b1m\\u202eabc\n"
    assert ("\x1b" in text) == color


def test_colours_name_the_kind_of_line() -> None:
    """Removed red, added green, places cyan, names bold, context plain; each line is reset at its end."""
    shown = for_terminal(b"--- a\n+++ a\n@@ -1 +1 @@\n-x\n+y\n z\n", color=True)
    assert shown == (
        "\x1b[1m--- a\x1b[0m\n\x1b[1m+++ a\x1b[0m\n\x1b[36m@@ -1 +1 @@\x1b[0m\n"
        "\x1b[31m-x\x1b[0m\n\x1b[32m+y\x1b[0m\n z\n"
    )


def test_a_comment_that_looks_like_a_header_keeps_its_colour() -> None:
    """A removed line ``-- x`` prints as ``--- x``; it is a change all the same."""
    diff = made(b"-- x\ny\n", (0, 1, b"+"))
    assert "\x1b[31m--- x\x1b[0m" in for_terminal(diff, color=True)


# --- Secrets ------------------------------------------------------------------------------------------

_DISKS = """<domain type='kvm'>
  <name>vm</name>
  <os><type machine='pc-q35-6.2'>hvm</type></os>
  <devices>
    <disk type='network'>
      <source protocol='https' name='a'>
        <cookies>
          <cookie name='sess'>SECRETONE</cookie>
        </cookies>
      </source>
      <target dev='vda' bus='virtio'/>
      <encryption format='luks'>
        <secret type='passphrase' uuid='b23d8b7b-1b2d-4b61-a1b7-9a4c0b7f0002'/>
      </encryption>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </disk>
    <disk type='file'>
      <target dev='vdb' bus='virtio'/>
      <encryption format='luks'>
        <secret type='passphrase' uuid='b23d8b7b-1b2d-4b61-a1b7-9a4c0b7f0003'/>
      </encryption>
      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
    </disk>
    <memballoon model='none'/>
  </devices>
  <metadata>
    <my:private-key xmlns:my='x'>
      SECRETTWO
      SECRETTWO
    </my:private-key>
  </metadata>
</domain>
"""


def _marked(text: str) -> bytes:
    key = "\n      SECRETTWO\n      SECRETTWO\n    <"
    assert key in text
    return text.replace("SECRETONE", "[secret]").replace(key, "[secret]\n\n\n<").encode()


@pytest.mark.parametrize("strategy", ["integrated", "transitional", "override", "bridge"])
def test_a_reference_to_a_secret_is_none_and_hunks_stay_whole(strategy: str) -> None:
    """<secret/> of libvirt names a secret and holds none: nothing up to the next end tag is one."""
    made_of = plan(_DISKS, "rhel6.9", strategy=strategy)
    hidden = unified(made_of, "vm.xml")
    assert b"SECRET" not in hidden
    assert applied(_marked(_DISKS), hidden) == _marked(made_of.result.decode())
    assert b"uuid='b23d8b7b" in hidden or strategy in {"override", "bridge"}
