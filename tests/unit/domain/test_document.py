"""Bytes to tree and back: what is read, what is refused, what is written."""

from __future__ import annotations

import codecs
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from fixer.domain.document import MAX_BYTES, MAX_DEPTH, parse
from fixer.domain.writing import Element, Splice, Writer, apply_splices
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixer.domain.document import Node

# --- Reading: what must not matter --------------------------------------------------------------------

TEXT = "<domain><name>\u00fcber</name></domain>"
LATIN = "<?xml version='1.0' encoding='ISO-8859-1'?>"
UTF16 = "<?xml version='1.0' encoding='UTF-16'?>"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(TEXT.encode(), id="UTF-8 without a declaration"),
        pytest.param(codecs.BOM_UTF8 + TEXT.encode(), id="UTF-8 with a byte order mark"),
        pytest.param(b"<?xml version='1.0' encoding='UTF-8'?>" + TEXT.encode(), id="UTF-8 declared"),
        pytest.param((LATIN + TEXT).encode("latin-1"), id="ISO-8859-1"),
        pytest.param((LATIN.replace("'", '"') + TEXT).encode("latin-1"), id="declared in double quotes"),
        pytest.param((LATIN.replace("8859-1", "8859-15") + TEXT).encode("iso8859-15"), id="ISO-8859-15"),
        pytest.param(
            (LATIN.replace("ISO-8859-1", "windows-1252") + TEXT).encode("cp1252"), id="windows-1252"
        ),
        pytest.param(codecs.BOM_UTF16_LE + (UTF16 + TEXT).encode("utf-16-le"), id="UTF-16, little end first"),
        pytest.param(codecs.BOM_UTF16_BE + (UTF16 + TEXT).encode("utf-16-be"), id="UTF-16, big end first"),
        pytest.param((UTF16 + TEXT).encode("utf-16-le"), id="UTF-16 without its mark"),
        pytest.param(TEXT.encode("utf-16-le"), id="UTF-16 that nothing declares, little end first"),
        pytest.param(("\n" + TEXT).encode("utf-16-be"), id="UTF-16 that nothing declares, big end first"),
    ],
)
def test_any_encoding_is_read_and_written_back(data: bytes) -> None:
    """The text is what its encoding says, and encoding the unchanged source gives the very same bytes."""
    document = parse(data)
    name = document.root.find("name")
    assert name is not None
    assert name.text == "\u00fcber"
    assert document.original == data
    assert document.encode(document.source) == data
    assert document.digest == "sha256:" + sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("", "", id="nothing"),
        pytest.param("\n  padded\r\n ", "padded", id="white space around it"),
        pytest.param("a&amp;b&lt;c&gt;d&quot;e&apos;", "a&b<c>d\"e'", id="the five entities"),
        pytest.param("&#65;&#x42;&#x1F600;", "AB\U0001f600", id="character references, decimal and hex"),
        pytest.param("&amp;lt;", "&lt;", id="an escaped reference is not read twice"),
        pytest.param("<![CDATA[a&amp;<b>]]>", "a&amp;<b>", id="CDATA is literal"),
        pytest.param("a<![CDATA[b]]>c<![CDATA[d]]>", "abcd", id="several CDATA sections"),
        pytest.param("a<!-- x -->b", "ab", id="a comment is no text"),
        pytest.param("a<!-- <![CDATA[x]]> -->b", "ab", id="CDATA in a comment is comment"),
        pytest.param("<![CDATA[a<!--b-->c]]>", "a<!--b-->c", id="a comment in CDATA is text"),
        pytest.param("a<?pi x?>b", "ab", id="a processing instruction is no text"),
    ],
)
def test_text_is_what_xml_says(inner: str, expected: str) -> None:
    """Node.text decodes character data as the XML specification has it."""
    document = parse(f"<domain><name>{inner}</name></domain>".encode())
    assert document.root.children[0].text == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        pytest.param("<a/>", {}, id="none"),
        pytest.param("<a x='1' y=\"2\"/>", {"x": "1", "y": "2"}, id="either quote"),
        pytest.param("<a x='\"' y=\"'\"/>", {"x": '"', "y": "'"}, id="the other quote inside"),
        pytest.param("<a x='/>' y='>'/>", {"x": "/>", "y": ">"}, id="what looks like a tag's end"),
        pytest.param("<a\n  x = '1'\r\n\ty\n=\n'2'\n/>", {"x": "1", "y": "2"}, id="over several lines"),
        pytest.param("<a x='&lt;&#65;&quot;'/>", {"x": '<A"'}, id="references"),
        pytest.param("<a q:x='1' xmlns:q='u'/>", {"q:x": "1", "xmlns:q": "u"}, id="prefixes stay as written"),
    ],
)
def test_attributes_are_decoded(tag: str, expected: dict[str, str]) -> None:
    """Attributes come decoded, in whatever way they are quoted."""
    assert parse(f"<domain>{tag}</domain>".encode()).root.children[0].attrs == expected


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param("<!-- <devices><a/></devices> -->", id="a comment"),
        pytest.param("<![CDATA[<devices/>]]>", id="CDATA"),
        pytest.param("<?devices <a/>?>", id="a processing instruction"),
        pytest.param("&lt;devices/&gt;", id="escaped text"),
    ],
)
def test_markup_that_is_none_makes_no_elements(inner: str) -> None:
    """What only looks like an element is not one."""
    assert parse(f"<domain>{inner}</domain>".encode()).root.children == []


def test_namespaces_are_resolved_where_they_are_in_scope() -> None:
    """A prefix means what the nearest declaration says, and nothing where there is none."""
    root = parse(
        b"<domain xmlns:q='outer' xmlns='main'><q:a><q:a xmlns:q='inner'/><q:a/></q:a><a/><r:a/><q:b/></domain>"
    ).root
    outer, plain = root.children[:2]
    assert root.children_in("outer", "a") == [outer]
    assert root.children_in("main", "a") == [plain]
    assert root.children_in("", "a") == []
    assert root.children_in("inner", "a") == []
    assert outer.children_in("inner", "a") == outer.children[:1]
    assert outer.children_in("outer", "a") == [], "what binds the prefix stands further out"
    assert outer.children_in("outer", "a", root.attrs) == outer.children[1:]


def test_iter_goes_in_document_order_at_any_depth() -> None:
    """Iteration needs no recursion: the deepest tree that is accepted passes."""
    deep = b"<domain>" + b"<a>" * (MAX_DEPTH - 1) + b"</a>" * (MAX_DEPTH - 1) + b"<z/></domain>"
    assert [node.name for node in parse(deep).root.iter()] == ["domain"] + ["a"] * (MAX_DEPTH - 1) + ["z"]
    assert [n.name for n in parse(b"<domain><a><b/></a><c/></domain>").root.iter()] == [
        "domain",
        "a",
        "b",
        "c",
    ]


# --- Refusals -----------------------------------------------------------------------------------------

BOMB = (
    b"<?xml version='1.0'?>\n<!DOCTYPE d [\n"
     b"<!ENTITY a '" + b"x" * 64 + b"'>\n"
    + b"".join(b"<!ENTITY %c '%s'>\n" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]>\n<domain>&j;</domain>"
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "code", "where", "hint"),
    [
        pytest.param(b"", "document.malformed", "1:1", "the file is empty", id="empty"),
        pytest.param(b" \n\t\n", "document.malformed", "3:1", "the file is empty", id="blank"),
        pytest.param(b"<domain><a>", "document.malformed", "1:12", "dumpxml", id="truncated between tags"),
        pytest.param(b"<domain>\n<a x='", "document.malformed", "2:1", "dumpxml", id="truncated in a tag"),
        pytest.param(
            b"<domain/>\n<domain/>", "document.malformed", "2:1", "a file of its own", id="two roots"
        ),
        pytest.param(
            b"<domain/>junk", "document.malformed", "1:10", "a file of its own", id="text behind the root"
        ),
        pytest.param(b"<domain><a></domain>", "document.malformed", "1:14", "dumpxml", id="tags cross"),
        pytest.param(b"<domain x='1' x='2'/>", "document.malformed", "1:15", "dumpxml", id="attribute twice"),
        pytest.param(b"<domain>&nbsp;</domain>", "document.malformed", "1:9", "dumpxml", id="unknown entity"),
        pytest.param(b"<domain><q:a/></domain>", None, "", "", id="an undeclared prefix is let through"),
        pytest.param(b"\x7fELF\x02\0\0\0", "document.malformed", "1:1", "binary", id="a program"),
        pytest.param(b"QFI\xfb\0\0\0\x03", "document.malformed", "1:4", "binary", id="a disk image"),
        pytest.param(
            b"<domain>\xfc</domain>",
            "document.malformed",
            "1:9",
            "byte 0xfc at offset 8",
            id="Latin-1 undeclared",
        ),
        pytest.param(BOMB, "document.doctype", "2:13", "remove the <!DOCTYPE", id="billion laughs"),
        pytest.param(
            b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>\n<domain>&x;</domain>",
            "document.doctype",
            "1:13",
            "remove the <!DOCTYPE",
            id="an external entity",
        ),
        pytest.param(
            b"<!DOCTYPE domain SYSTEM 'http://127.0.0.1:1/d.dtd'><domain/>",
            "document.doctype",
            "1:51",
            "remove the <!DOCTYPE",
            id="an external document type",
        ),
        pytest.param(
            b"<!DOCTYPE domain><domain/>", "document.doctype", "1:17", "remove", id="even an empty one"
        ),
        pytest.param(b"<html/>", "document.root", "1:1", "virsh dumpxml", id="another root"),
        pytest.param(b"<domstatus><domain/></domstatus>", "document.root", "1:1", "running", id="domstatus"),
        pytest.param(b"<domainsnapshot/>", "document.root", "1:1", "snapshot", id="a snapshot"),
        pytest.param(b"<domaincheckpoint/>", "document.root", "1:1", "checkpoint", id="a checkpoint"),
        pytest.param(
            b"<domainCapabilities/>", "document.root", "1:1", "capabilities", id="domain capabilities"
        ),
        pytest.param(b"<network/>", "document.root", "1:1", "network", id="a network"),
        pytest.param(b"<domains/>", "document.root", "1:1", "several", id="several domains in one"),
        pytest.param(
            b"<Domain/>", "document.root", "1:1", "virsh dumpxml", id="XML knows upper and lower case"
        ),
        pytest.param(
            b"<?xml version='1.0' encoding='UTF-16'?><domain/>",
            "document.encoding",
            "1:1",
            "UTF-8",
            id="says UTF-16 and is not",
        ),
        pytest.param(
            b"<?xml version='1.0' encoding='klingon'?><domain/>",
            "document.encoding",
            "1:1",
            "UTF-8",
            id="an unknown encoding",
        ),
        pytest.param(
            b"<?xml version='1.0' encoding='hex'?><domain/>",
            "document.encoding",
            "1:1",
            "UTF-8",
            id="a codec of bytes",
        ),
        pytest.param(
            b"<?xml version='1.0' encoding='rot13'?><domain/>",
            "document.encoding",
            "1:1",
            "UTF-8",
            id="a codec of letters",
        ),
        pytest.param(
            b"<?xml version='1.0' encoding='raw_unicode_escape'?><domain>\\ud800</domain>",
            "document.encoding",
            "1:1",
            "UTF-8",
            id="an escape for what is no character",
        ),
        pytest.param(
            b"<?xml version='1.0' encoding='unicode_escape'?><domain>\\d</domain>",
            "document.encoding",
            "1:1",
            "UTF-8",
            id="Python's own escapes",
        ),
        pytest.param(
            codecs.BOM_UTF16_LE + "<domain/>".encode("utf-16-le")[:-1],
            "document.encoding",
            "1:1",
            "UTF-8",
            id="half a character at the end",
        ),
        pytest.param(
            b"<domain>\n" + b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH + b"</domain>",
            "document.depth",
            f"2:{3 * (MAX_DEPTH - 1) + 1}",
            "",
            id="too deep by one",
        ),
        pytest.param(
            b"<domain>" + b"<a>" * 100_000, "document.depth", f"1:{9 + 3 * 255}", "", id="far too deep"
        ),
        pytest.param(
            b"<domain>" + b" " * MAX_BYTES + b"</domain>",
            "document.size",
            "",
            "one domain XML a file",
            id="too large",
        ),
    ],
)
def test_what_is_no_domain_is_refused_with_its_place(
    data: bytes, code: str | None, where: str, hint: str
) -> None:
    """Bad input ends in one line with a stable code, the place and a hint; never in another exception."""
    if code is None:
        assert parse(data).root.name == "domain"
        return
    with pytest.raises(VirtfixError) as caught:
        parse(data)
    assert (caught.value.code, caught.value.where) == (code, where)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_the_largest_file_is_still_read() -> None:
    """The size limit is libvirt's: one byte less is accepted."""
    data = b"<domain>" + b" " * (MAX_BYTES - len(b"<domain></domain>")) + b"</domain>"
    assert len(data) == MAX_BYTES
    assert parse(data).original == data


# --- Where things stand -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "empty"),
    [
        pytest.param("<a/>", True, id="self-closing"),
        pytest.param("<a />", True, id="self-closing with a space"),
        pytest.param("<a x='1'/>", True, id="self-closing with an attribute"),
        pytest.param("<a x='>'/>", True, id="an angle bracket in a value"),
        pytest.param("<a\n x='1'\n/>", True, id="over several lines"),
        pytest.param("<a></a>", False, id="a pair of tags"),
        pytest.param("<a></a >", False, id="a space in the end tag"),
        pytest.param('<a x="/"></a>', False, id="a slash at the end of a value"),
        pytest.param('<a x="/>"></a>', False, id="an end of tag in a value"),
        pytest.param("<a>/></a>", False, id="an end of tag in the text"),
        pytest.param("<a><b/></a>", False, id="a self-closing child"),
        pytest.param("<a>\u00fc</a>", False, id="letters of several bytes"),
        pytest.param("<a><!-- </a> --></a>", False, id="an end tag in a comment"),
        pytest.param("<a><![CDATA[</a>]]></a>", False, id="an end tag in CDATA"),
    ],
)
def test_raw_is_exactly_the_element(tag: str, empty: bool) -> None:
    """Start, end and raw of an element cover its tags and nothing else, and tell the two empty forms apart."""
    text = f"<domain>\u00e4 {tag} \u00f6</domain>"
    document = parse(text.encode())
    node = document.root.children[0]
    assert node.raw.decode() == tag
    assert node.empty_tag is empty
    assert document.source[: node.start] == b"<domain>\xc3\xa4 "
    assert document.source[node.end :] == b" \xc3\xb6</domain>"
    assert document.root.raw == text.encode()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_lines_are_counted_from_one(newline: bytes) -> None:
    """Node.line is the line that an editor shows."""
    root = parse(newline.join([b"<domain>", b"  <a/>", b"", b"  <b", b"    x='1'/><c/>", b"</domain>"])).root
    assert [node.line for node in root.iter()] == [1, 2, 4, 5]


# --- Writing ------------------------------------------------------------------------------------------


def written(text: str, *changes: Callable[[Writer, Node], None], encoding: str = "utf-8") -> str:
    """Apply changes to the first <a> of the text, or to the root where it has none."""
    document = parse(text.encode(encoding))
    writer = Writer(document)
    target = next((node for node in document.root.iter() if node.name == "a"), document.root)
    for change in changes:
        change(writer, target)
    result = document.encode(apply_splices(document.source, writer.splices()))
    parse(result)  # what is written is read again
    return result.decode(encoding)


def put(name: str, value: str | None) -> Callable[[Writer, Node], None]:
    return lambda writer, node: writer.set_attribute(node, name, value)


def add(name: str = "c", *children: Element, **attrs: str) -> Callable[[Writer, Node], None]:
    return lambda writer, node: writer.add_child(node, Element(name, attrs, children))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<domain/>", id="the smallest"),
        pytest.param(
            "\ufeff<domain>\r\n\t<a  x = '1'\ty=\"2\" />\r\n</domain>\r\n<!-- end -->", id="odd white space"
        ),
        pytest.param(
            "<?xml version='1.0'?>\n<!-- c --><?pi?>\n<domain>&#65;<![CDATA[x]]></domain>\n\n", id="prologue"
        ),
    ],
)
def test_no_change_gives_the_same_text(text: str) -> None:
    """A writer that was asked for nothing writes nothing."""
    assert written(text) == text


@pytest.mark.parametrize(
    "tag",
    [
        pytest.param("<a/>", id="no attributes"),
        pytest.param("<a xx='1' ax='2'/>", id="names that contain it"),
        pytest.param("<a y='x=\"1\"'/>", id="a value that looks like it"),
    ],
)
def test_removing_what_is_not_there_changes_nothing(tag: str) -> None:
    """Removing an absent attribute leaves the tag alone, look-alikes included."""
    assert written(f"<domain>{tag}</domain>", put("x", None)) == f"<domain>{tag}</domain>"


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        pytest.param("<a x='1'/>", put("x", "2"), "<a x='2'/>", id="single quotes stay"),
        pytest.param('<a x="1"/>', put("x", "2"), '<a x="2"/>', id="double quotes stay"),
        pytest.param("<a x='1' y=\"2\"/>", put("y", "3"), "<a x='1' y=\"3\"/>", id="each keeps its own"),
        pytest.param("<a  x = '1' />", put("x", "2"), "<a  x = '2' />", id="white space stays"),
        pytest.param(
            "<a y='>' x='1'></a>", put("x", "2"), "<a y='>' x='2'></a>", id="behind an angle bracket"
        ),
        pytest.param("<a xx='1' x='1'/>", put("x", "2"), "<a xx='1' x='2'/>", id="behind a longer name"),
        pytest.param(
            "<a y='x=1' x='1'/>", put("x", "2"), "<a y='x=1' x='2'/>", id="behind a value that looks like it"
        ),
        pytest.param("<a x=''/>", put("x", "2"), "<a x='2'/>", id="an empty value"),
        pytest.param("<a x='&lt;&#10;'/>", put("x", "2"), "<a x='2'/>", id="references in the old value"),
        pytest.param(
            "<a q:x='1' xmlns:q='u'/>", put("q:x", "2"), "<a q:x='2' xmlns:q='u'/>", id="a prefixed name"
        ),
        pytest.param(
            "<a \u00fc='1' x='1'/>", put("x", "2"), "<a \u00fc='1' x='2'/>", id="behind letters of two bytes"
        ),
        pytest.param("<a/>", put("x", "2"), "<a x='2'/>", id="added to a bare tag"),
        pytest.param("<a />", put("x", "2"), "<a x='2' />", id="added before the space"),
        pytest.param("<a></a>", put("x", "2"), "<a x='2'></a>", id="added to a pair of tags"),
        pytest.param("<a>t</a>", put("x", "2"), "<a x='2'>t</a>", id="added to an element with text"),
        pytest.param("<a y='1'/>", put("x", "2"), "<a y='1' x='2'/>", id="added last, in single quotes"),
        pytest.param('<a y="1"/>', put("x", "2"), '<a y="1" x="2"/>', id="added last, in double quotes"),
        pytest.param(
            '<a/><b y="1" z="1"/>', put("x", "2"), '<a x="2"/><b y="1" z="1"/>', id="quotes of the file"
        ),
        pytest.param("<a x='1' y='2'/>", put("x", None), "<a y='2'/>", id="removed in front"),
        pytest.param("<a x='1' y='2'/>", put("y", None), "<a x='1'/>", id="removed behind"),
        pytest.param("<a x='1'/>", put("x", None), "<a/>", id="the only one removed"),
        pytest.param("<a\n  x='1'\n  y='2'/>", put("y", None), "<a\n  x='1'/>", id="removed with its line"),
        pytest.param("<a x='1'/>", put("x", "a&b<c"), "<a x='a&amp;b&lt;c'/>", id="markup is escaped"),
        pytest.param(
            "<a x='1'/>", put("x", 'it\'s ""'), "<a x='it&apos;s \"\"'/>", id="its own quote is escaped"
        ),
        pytest.param('<a x="1"/>', put("x", "it's \""), '<a x="it\'s &quot;"/>', id="the other quote is not"),
        pytest.param(
            "<a x='1'/>", put("x", "a\n\t\rb"), "<a x='a&#10;&#9;&#13;b'/>", id="white space is kept"
        ),
        pytest.param("<a/>", put("x", "\u00fc<"), "<a x='\u00fc&lt;'/>", id="an added value is escaped"),
    ],
)
def test_attributes_are_written_in_the_style_of_the_file(
    before: str, change: Callable[[Writer, Node], None], after: str
) -> None:
    """Only the attribute changes; quotes, order and white space of the tag stay."""
    assert written(f"<domain>{before}</domain>", change) == f"<domain>{after}</domain>"


def test_a_value_survives_writing_and_reading() -> None:
    """Whatever goes into an attribute comes out again."""
    value = "&amp; <'\"> \n\t\r \u00fc \U0001f600 ]]> -->"
    for quote in ("'", '"'):
        text = written(f"<domain><a x={quote}1{quote}/></domain>", put("x", value), put("y", value))
        assert parse(text.encode()).root.children[0].attrs == {"x": value, "y": value}


def test_new_text_takes_the_encoding_of_the_file() -> None:
    """A Latin-1 file stays one, the new attribute included."""
    head = "<?xml version='1.0' encoding='ISO-8859-1'?>"
    text = f"{head}<domain><a x='\u00e9'/></domain>"
    assert (
        written(text, put("y", "\u00fc"), encoding="latin-1")
        == f"{head}<domain><a x='\u00e9' y='\u00fc'/></domain>"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "<domain>\n  <a>\n    <b/>\n  </a>\n</domain>",
            "<domain>\n  <a>\n    <b/>\n    <c k='v'/>\n  </a>\n</domain>",
            id="indented like the last child",
        ),
        pytest.param(
            "<domain>\n  <a>\n    <b></b></a>\n</domain>",
            "<domain>\n  <a>\n    <b></b>\n    <c k='v'/></a>\n</domain>",
            id="the end tag on the last child's line",
        ),
        pytest.param(
            "<domain>\n    <a>\n        <b/>\n    </a>\n</domain>",
            "<domain>\n    <a>\n        <b/>\n        <c k='v'/>\n    </a>\n</domain>",
            id="four spaces",
        ),
        pytest.param(
            "<domain>\n\t<a>\n\t\t<b/>\n\t</a>\n</domain>",
            "<domain>\n\t<a>\n\t\t<b/>\n\t\t<c k='v'/>\n\t</a>\n</domain>",
            id="tabs",
        ),
        pytest.param(
            "<domain>\r\n  <a>\r\n    <b/>\r\n  </a>\r\n</domain>",
            "<domain>\r\n  <a>\r\n    <b/>\r\n    <c k='v'/>\r\n  </a>\r\n</domain>",
            id="CRLF",
        ),
        pytest.param(
            "<domain><a><b/></a></domain>", "<domain><a><b/><c k='v'/></a></domain>", id="all on one line"
        ),
        pytest.param(
            "<domain>\n  <a><b/></a>\n</domain>",
            "<domain>\n  <a><b/><c k='v'/></a>\n</domain>",
            id="the parent on one line",
        ),
        pytest.param(
            "<domain>\n  <a/>\n</domain>",
            "<domain>\n  <a>\n    <c k='v'/>\n  </a>\n</domain>",
            id="a self-closing parent opens",
        ),
        pytest.param(
            "<domain>\n  <a x='1' />\n</domain>",
            "<domain>\n  <a x='1'>\n    <c k='v'/>\n  </a>\n</domain>",
            id="its space goes with the slash",
        ),
        pytest.param(
            "<domain>\n  <a></a>\n</domain>",
            "<domain>\n  <a>\n    <c k='v'/>\n  </a>\n</domain>",
            id="an empty pair of tags",
        ),
        pytest.param(
            "<domain>\n  <a>\n  </a>\n</domain>",
            "<domain>\n  <a>\n    <c k='v'/>\n  </a>\n</domain>",
            id="an empty pair over two lines",
        ),
        pytest.param(
            "<domain>\r\n\t<a/>\r\n</domain>",
            "<domain>\r\n\t<a>\r\n\t\t<c k='v'/>\r\n\t</a>\r\n</domain>",
            id="a self-closing parent in CRLF and tabs",
        ),
        pytest.param(
            "<domain><a/></domain>", "<domain><a><c k='v'/></a></domain>", id="self-closing on one line"
        ),
        pytest.param(
            "<domain><a></a></domain>", "<domain><a><c k='v'/></a></domain>", id="empty on one line"
        ),
        pytest.param(
            "<domain>\n  <a>\n    <b/> <!-- why -->\n  </a>\n</domain>",
            "<domain>\n  <a>\n    <b/> <!-- why -->\n    <c k='v'/>\n  </a>\n</domain>",
            id="a comment on the line stays with what it explains",
        ),
        pytest.param(
            "<domain>\n  <a>\n    <b/>\n    <!-- end -->\n  </a>\n</domain>",
            "<domain>\n  <a>\n    <b/>\n    <c k='v'/>\n    <!-- end -->\n  </a>\n</domain>",
            id="a comment on the next line stays last",
        ),
        pytest.param(
            "<domain>\n  <a>\n    <!-- none -->\n  </a>\n</domain>",
            "<domain>\n  <a>\n    <!-- none -->\n    <c k='v'/>\n  </a>\n</domain>",
            id="a parent that holds a comment only",
        ),
        pytest.param(
            '<domain>\n  <a y="1">\n    <b x="1"/>\n  </a>\n</domain>',
            '<domain>\n  <a y="1">\n    <b x="1"/>\n    <c k="v"/>\n  </a>\n</domain>',
            id="the quotes of the file",
        ),
        pytest.param("<domain/>", "<domain><c k='v'/></domain>", id="a root without anything"),
    ],
)
def test_a_child_is_added_in_the_style_of_the_file(before: str, after: str) -> None:
    """New elements take indentation, line ends and quotes from their surroundings; the rest stays."""
    assert written(before, add("c", k="v")) == after


def test_children_of_a_new_element_are_indented_too() -> None:
    """One level of indentation is what the first child of the root has."""
    change = add("c", Element("d", {}, (Element("e", {"k": "a&'b"}),)), Element("f", {}))
    assert written("<domain>\n   <a/>\n</domain>", change) == (
        "<domain>\n   <a>\n      <c>\n         <d>\n            <e k='a&amp;&apos;b'/>\n         </d>\n"
        "         <f/>\n      </c>\n   </a>\n</domain>"
    )
    assert written("<domain><a/></domain>", change) == (
        "<domain><a><c><d><e k='a&amp;&apos;b'/></d><f/></c></a></domain>"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("<a x='1'/>", "<a x='2' y='3'><c/><d/></a>", id="self-closing"),
        pytest.param("<a x='1'></a>", "<a x='2' y='3'><c/><d/></a>", id="empty"),
        pytest.param("<a x='1'><b/></a>", "<a x='2' y='3'><b/><c/><d/></a>", id="with a child"),
    ],
)
def test_changes_of_one_element_go_together(before: str, after: str) -> None:
    """Attributes and children of one element can change at once; children come in the order of asking."""
    changes = (add("c"), put("y", "3"), put("x", "2"), add("d"))
    assert written(f"<domain>{before}</domain>", *changes) == f"<domain>{after}</domain>"


def test_the_last_attribute_can_go_as_a_child_comes() -> None:
    """Removing the attribute next to the slash and opening the tag do not overlap."""
    assert written("<domain><a x='1' /></domain>", put("x", None), add("c")) == "<domain><a><c/></a></domain>"


def test_splices_in_order_leave_the_rest() -> None:
    """apply_splices replaces what it is told, and refuses ranges that overlap."""
    assert apply_splices(b"abcdef", []) == b"abcdef"
    assert (
        apply_splices(b"abcdef", [Splice(0, 0, b"_"), Splice(2, 4, b"X"), Splice(6, 6, b"!")]) == b"_abXef!"
    )
    with pytest.raises(AssertionError):
        apply_splices(b"abcdef", [Splice(2, 4, b""), Splice(3, 5, b"")])


def test_elements_are_equal_by_what_they_say() -> None:
    """Edits are compared and kept in sets: equal elements must be one."""
    one = Element("a", {"x": "1"}, (Element("b", {}),))
    assert one == Element("a", {"x": "1"}, (Element("b", {}),))
    assert hash(one) == hash(Element("a", {"x": "1"}, (Element("b", {}),)))
    assert one != Element("a", {"x": "1"}, (Element("b", {"y": ""}),))
    assert one != "a"
    assert one.to_json() == {
        "name": "a",
        "attrs": {"x": "1"},
        "children": [{"name": "b", "attrs": {}, "children": []}],
    }
