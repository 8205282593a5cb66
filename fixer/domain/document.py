"""Bytes to tree: the one hardened parser.

The tree remembers where each element stands in the bytes, so that ``writing`` can replace byte ranges.
expat gives the positions (``XML_GetCurrentByteIndex``).
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING
from xml.parsers import expat

from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Iterator

# libvirt's RPC carries strings of at most 4 MiB (VIR_NET_MESSAGE_STRING_MAX, src/rpc/virnetprotocol.x
# and REMOTE_STRING_MAX, src/remote/remote_protocol.x): a larger domain XML can not reach a libvirtd.
MAX_BYTES = 4 * 1024 * 1024
# libxml2 refuses deeper trees by itself (xmlParserMaxDepth, parser.c); domain XML needs about ten.
MAX_DEPTH = 256

_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,40})["']""")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_JUNK = expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
# Encodings of text that XML processors know (XML 1.0, section 4.3.3; IANA), under CPython's names.
_TEXT_CODECS = re.compile(
    r"iso8859-\d+|cp\d+|koi8-[ru]|utf-(16|32)(-[lb]e)?|gb2312|gbk|gb18030|big5|shift_jis|euc_(jp|kr)|tis-620"
)
_START_TAG_END = re.compile(rb"""(?:[^>"']|"[^"]*"|'[^']*')*>""")
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(amp|lt|gt|quot|apos));")
_MARKUP = re.compile(r"<!--.*?-->|<\?.*?\?>|<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

# What people hand over instead of a <domain>, and where the domain is to be had.
_WRAPPERS = {
    "domstatus": "this is libvirt's state of a running domain; use 'virsh dumpxml --inactive --security-info NAME'",
    "domainsnapshot": "this is a snapshot; use 'virsh dumpxml --inactive --security-info NAME' of its domain",
    "domaincheckpoint": "this is a checkpoint; use 'virsh dumpxml --inactive --security-info NAME' of its domain",
    "domainCapabilities": "these are the capabilities of a host, not a domain",
    "capabilities": "these are the capabilities of a host, not a domain",
    "network": "this is a libvirt network, not a domain",
    "pool": "this is a storage pool, not a domain",
    "volume": "this is a storage volume, not a domain",
    "domains": "this file holds several domains; give each a file of its own",
}


class Node:
    """One element: name as written, attributes decoded, and where its tags stand in the bytes."""

    # No link upwards and none to the document: a tree without rings is freed as soon as it is let go.
    __slots__ = ("attrs", "children", "close", "name", "source", "start")

    source: bytes
    name: str
    attrs: dict[str, str]
    start: int
    close: int  # first byte of the end tag; expat reports the end of <name/> at the byte behind it
    children: list[Node]

    @property
    def open_end(self) -> int:
        """Byte index behind the ``>`` of the start tag."""
        found = _START_TAG_END.match(self.source, self.start)
        assert found is not None, "expat accepted this tag"
        return found.end()

    @property
    def empty_tag(self) -> bool:
        """Whether the element is written <name/>."""
        source, close = self.source, self.close
        if source[close - 2 : close] != b"/>":
            return False
        # What no end tag follows here is none itself; else "/>" may be character data, and the start tag tells.
        return source[close : close + 2] != b"</" or close == self.open_end

    @property
    def end(self) -> int:
        """Byte index behind the whole element."""
        return self.close if self.empty_tag else self.source.index(b">", self.close) + 1

    @property
    def line(self) -> int:
        return self.source.count(b"\n", 0, self.start) + 1

    @property
    def raw(self) -> bytes:
        return self.source[self.start : self.end]

    @property
    def text(self) -> str:
        """Character data directly inside an element without children, entities decoded, trimmed."""
        if self.empty_tag or self.children:
            return ""
        return _unescape(self.source[self.open_end : self.close].decode("utf-8")).strip()

    def find(self, name: str) -> Node | None:
        for child in self.children:
            if child.name == name:
                return child
        return None

    def findall(self, name: str) -> list[Node]:
        return [child for child in self.children if child.name == name]

    def iter(self) -> Iterator[Node]:
        """Every element of this subtree, in document order, without recursion."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children))

    def children_in(self, uri: str, local: str, scope: dict[str, str] | None = None) -> list[Node]:
        """Return the children that are ``local`` of the namespace ``uri``, whatever their prefix.

        ``scope`` are the attributes that bind prefixes further out (Namespaces in XML 1.0, section 6.1).
        """
        bound = {**(scope or {}), **self.attrs}
        found = []
        for child in self.children:
            prefix, _, name = child.name.rpartition(":")
            if name == local:
                key = f"xmlns:{prefix}" if prefix else "xmlns"
                if child.attrs.get(key, bound.get(key)) == uri:
                    found.append(child)
        return found


class Document:
    """A parsed domain XML. ``source`` is UTF-8; ``original`` are the bytes as they were given."""

    __slots__ = ("encoding", "original", "root", "source")

    def __init__(self, original: bytes, source: bytes, encoding: str, root: str = "domain") -> None:
        """Build the tree. Raises VirtfixError for what is not well-formed or has another root element."""
        self.original = original
        self.source = source
        self.encoding = encoding
        self.root = _tree(source)
        _refuse_foreign(self.root, root)

    @property
    def digest(self) -> str:
        return digest(self.original)

    def encode(self, source: bytes) -> bytes:
        """Turn rewritten UTF-8 back into the encoding of the original."""
        return (
            source
            if self.encoding == "utf-8"
            else _encode(source.decode("utf-8"), self.encoding, self.original)
        )


def digest(data: bytes) -> str:
    from hashlib import sha256  # noqa: PLC0415 - loads OpenSSL, which a diff does without

    return "sha256:" + sha256(data).hexdigest()


def parse(data: bytes, root: str = "domain", limit: int = MAX_BYTES) -> Document:
    """Parse domain XML, or another document of at most ``limit`` bytes whose root element is ``root``.

    Raises VirtfixError with a place ``LINE:COLUMN`` for what is too large, too deep, not well-formed,
    carries a document type (entities could hide in it) or has another root.
    """
    if len(data) > limit:
        of_a_domain = ", the most that libvirt takes for a domain" if root == "domain" else ""
        raise VirtfixError(
            "document.size",
            f"larger than {limit // 1024 // 1024} MiB{of_a_domain}",
            hint="give one domain XML a file" if root == "domain" else _PRODUCERS[root],
        )
    source, encoding = _to_utf8(data)
    return Document(data, source, encoding, root)


def _to_utf8(data: bytes) -> tuple[bytes, str]:
    encoding = _encoding(data)
    if encoding == "utf-8":
        return data, encoding
    try:
        known = _TEXT_CODECS.fullmatch(codecs.lookup(encoding).name)
        text = data.decode(encoding) if known else ""
        source, back = text.encode("utf-8"), _encode(text, encoding, data)
    except (LookupError, UnicodeError):
        known = None
    if known is None:
        raise VirtfixError(
            "document.encoding",
            f"is not the text in {encoding} that it says it is",
            where="1:1",
            hint="save it as UTF-8",
        )
    if back != data:
        raise VirtfixError(
            "document.encoding",
            f"text in {encoding} that could not be written back byte for byte",
            where="1:1",
            hint="save it as UTF-8",
        )
    return source, encoding


def _encoding(data: bytes) -> str:
    for bom, name in _BOMS:
        if data.startswith(bom):
            return name
    # expat takes this for UTF-16 whatever it is told (initScan, xmltok_ns.c and xmltok.c).
    if data[1:2] == b"\0":
        return "utf-16-le"
    if data[:1] == b"\0":
        return "utf-16-be"
    declared = _DECLARED.match(data)
    name = declared[1].decode("ascii").lower() if declared else "utf-8"
    return "utf-8" if name in {"utf-8", "utf8", "us-ascii", "ascii"} else name


def _encode(text: str, encoding: str, original: bytes) -> bytes:
    if encoding in {"utf-16", "utf-32"}:  # these codecs write a BOM of the machine's own byte order
        big = original.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
        return ("\ufeff" + text).encode(f"{encoding}-{'be' if big else 'le'}")
    return text.encode(encoding)


def _tree(source: bytes) -> Node:
    # The transcoded text may still declare its old encoding; the argument overrides it.
    parser = expat.ParserCreate("utf-8")
    open_nodes: list[Node] = []
    roots: list[Node] = []
    push, pop = open_nodes.append, open_nodes.pop

    def start(name: str, attrs: dict[str, str]) -> None:
        node = Node()  # without __init__: a tenth of the time of a plan goes by here
        node.source, node.name, node.attrs, node.children = source, name, attrs, []
        node.start = parser.CurrentByteIndex
        (open_nodes[-1].children if open_nodes else roots).append(node)
        push(node)
        if len(open_nodes) > MAX_DEPTH:
            raise VirtfixError(
                "document.depth",
                f"nested deeper than {MAX_DEPTH} elements",
                where=_place(parser),
                hint="domain XML needs about ten",
            )

    def end(_name: str) -> None:
        pop().close = parser.CurrentByteIndex

    def doctype(*_: object) -> None:
        raise VirtfixError(
            "document.doctype",
            "has a document type declaration, which could hide entities",
            where=_place(parser),
            hint="remove the <!DOCTYPE ...>; nothing here needs one",
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(source, True)
    except expat.ExpatError as error:
        raise VirtfixError(
            "document.malformed",
            f"not well-formed XML: {expat.ErrorString(error.code)}",
            where=f"{error.lineno}:{error.offset + 1}",
            hint=_malformed_hint(source, error.code),
        ) from None
    finally:  # the handlers know the parser, and it knows them
        parser.StartElementHandler = parser.EndElementHandler = parser.StartDoctypeDeclHandler = None
    return roots[0]


def _place(parser: expat.XMLParserType) -> str:
    return f"{parser.CurrentLineNumber}:{parser.CurrentColumnNumber + 1}"


def _malformed_hint(source: bytes, code: int) -> str:
    if not source.strip():
        return "the file is empty"
    if code == _JUNK:
        return "something follows the end of the domain; give each domain a file of its own"
    if b"\0" in source[:4096]:
        return "this is binary data; give the output of 'virsh dumpxml --inactive --security-info NAME'"
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte 0x{source[error.start]:02x} at offset {error.start} is not UTF-8; declare the encoding or save as UTF-8"
    return "compare with 'virsh dumpxml --inactive --security-info NAME'"


_PRODUCERS = {
    "domain": "give the output of 'virsh dumpxml --inactive --security-info NAME'",
    "operatingsystems": "give the output of virt-inspector",
    "domainCapabilities": "give the output of 'virsh domcapabilities' or 'virsh capabilities'",
    "capabilities": "give the output of 'virsh domcapabilities' or 'virsh capabilities'",
}


def _refuse_foreign(root: Node, wanted: str) -> None:
    if root.name == wanted:
        return
    hint = _PRODUCERS[wanted]
    if wanted == "domain":
        hint = _WRAPPERS.get(root.name, hint)
    raise VirtfixError(
        "document.root", f"the root element is <{root.name}>, not <{wanted}>", where="1:1", hint=hint
    )


def _unescape(text: str) -> str:
    if "<" in text:
        text = _MARKUP.sub(lambda found: (found[1] or "").replace("&", "&amp;"), text)
    if "&" not in text:
        return text
    return _REFERENCE.sub(
        lambda found: _NAMED[found[3]] if found[3] else chr(int(found[1], 16) if found[1] else int(found[2])),
        text,
    )
