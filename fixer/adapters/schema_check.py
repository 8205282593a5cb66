"""Checks a result against libvirt's own schema, where the machine has it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from threading import Lock

from lxml import etree

from fixer.domain.model import read_domain
from fixer.errors import VirtfixError

# libvirt installs its RELAX NG here (docs/schemas in its source tree).
_SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")


@lru_cache(maxsize=1)
def _schema() -> etree.RelaxNG:
    try:
        return etree.RelaxNG(etree.parse(str(_SCHEMA), _parser()))
    except (OSError, etree.LxmlError) as error:
        raise VirtfixError(
            "schema.missing",
            f"libvirt's schema can not be read: {error}",
            where=str(_SCHEMA),
            hint="install libvirt (package libvirt0 or libvirt-libs), or leave --validate out",
        ) from None


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def available() -> bool:
    """Whether libvirt's schema is installed here."""
    return _SCHEMA.is_file()


_one_at_a_time = Lock()  # a schema and its errors belong to one validation


def validate(data: bytes) -> None:
    """Raise VirtfixError where domain XML does not fit libvirt's schema, with the line."""
    with _one_at_a_time:
        _validate(_schema(), data)


def _validate(schema: etree.RelaxNG, data: bytes) -> None:
    try:
        tree = etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        raise VirtfixError("schema.xml", f"libxml2 refuses the XML: {error.msg}") from None
    if schema.validate(tree):
        return
    first = schema.error_log[0] if len(schema.error_log) else None
    reason = first.message if first is not None else "no reason given"
    device = _misfit(schema, data)
    raise VirtfixError(
        "schema.invalid",
        f"does not fit libvirt's schema: {f'{device}: ' if device else ''}{reason}",
        # libxml2 has no line for what is wrong somewhere within <devices>.
        where=str(first.line) if first is not None and first.line else "",
        hint="the source may not fit it either: check it with 'virt-xml-validate'",
    )


def _misfit(schema: etree.RelaxNG, data: bytes) -> str:
    """Return the key of the first device that does not fit by itself, '' where each does."""
    try:
        domain = read_domain(data)
        keys = {device.node: device.key for device in domain.devices if device.node is not None}
    except VirtfixError:
        return ""
    devices, source = domain.root.find("devices"), domain.document.source
    if devices is None:
        return ""
    head, tail = source[: devices.open_end], source[devices.close :]

    def fits(part: bytes) -> bool:
        return bool(schema.validate(etree.fromstring(head + part + tail, _parser())))

    wrong = (child for child in devices.children if not fits(child.raw)) if fits(b"") else iter(())
    return next((keys.get(child, f"<{child.name}>") for child in wrong), "")
