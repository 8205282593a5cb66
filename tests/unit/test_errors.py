from __future__ import annotations

import pytest

from fixer.errors import VirtfixError, printable


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("vm.xml", id="plain"),
        pytest.param("Möbel 工", id="letters of other scripts"),
        pytest.param("a <b> [red]x[/red] & c", id="markup is text, for whoever prints it to escape"),
        pytest.param("x" * 200, id="as long as may be"),
    ],
)
def test_printable_leaves_text_alone(text: str) -> None:
    """What a terminal shows as it is, stays as it is."""
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a\nb", "a\\u000ab", id="a newline would start a second line"),
        pytest.param("a\rb", "a\\u000db", id="a carriage return would overwrite the line"),
        pytest.param("\x1b[31mred", "\\u001b[31mred", id="an escape sequence would colour the terminal"),
        pytest.param("\x9b31m", "\\u009b31m", id="C1 controls act like escape sequences"),
        pytest.param("a\u202eb", "a\\u202eb", id="a bidirectional override would reorder the text"),
        pytest.param("a\u2028b", "a\\u2028b", id="a line separator is a line end too"),
        pytest.param("a\udc80b", "a\\udc80b", id="a lone surrogate, from a file name that is not UTF-8"),
        pytest.param("x" * 201, "x" * 199 + "\u2026", id="cut at the limit, and said so"),
    ],
)
def test_printable_disarms(text: str, expected: str) -> None:
    """No character of a file's name or content moves the cursor, starts a line or reorders text."""
    assert printable(text) == expected
    assert len(printable(text, 10)) <= 10


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(VirtfixError("c", "broken"), "broken", id="summary alone"),
        pytest.param(VirtfixError("c", "broken", where="3:4"), "3:4: broken", id="place first"),
        pytest.param(VirtfixError("c", "broken", hint="mend it"), "broken; mend it", id="hint last"),
        pytest.param(
            VirtfixError("c", "a\nb", where="x\ny", hint="c\td"),
            "x\\u000ay: a\\u000ab; c\\u0009d",
            id="always one line",
        ),
    ],
)
def test_an_error_is_one_line(error: VirtfixError, expected: str) -> None:
    """A user's mistake is told in one printable line: place, what is wrong, remedy."""
    assert str(error) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param("", "vm.xml", id="no place yet"),
        pytest.param("3:4", "vm.xml:3:4", id="the file goes before line and column"),
    ],
)
def test_at_adds_the_file_and_keeps_the_rest(where: str, expected: str) -> None:
    """Whoever knows the file name adds it; code, summary and hint stay, and the first error is not changed."""
    inner = VirtfixError("some.code", "broken", where=where, hint="mend it")
    outer = inner.at("vm.xml")
    assert (outer.code, outer.summary, outer.where, outer.hint) == (
        "some.code",
        "broken",
        expected,
        "mend it",
    )
    assert inner.where == where
