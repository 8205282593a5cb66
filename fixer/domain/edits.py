"""The closed vocabulary of edits: frozen data, each with what was and what shall be, applied in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from fixer.domain.devices import Address, format_address, number
from fixer.domain.writing import Element, Splice, Writer

if TYPE_CHECKING:
    from fixer.domain.document import Node
    from fixer.domain.model import Domain


class SetAttribute(NamedTuple):
    """Attribute ``name`` of the element ``at`` turns from ``old`` into ``new``; None stands for absent."""

    at: str
    name: str
    old: str | None
    new: str | None
    op: Literal["set-attribute"] = "set-attribute"


class SetAddress(NamedTuple):
    """The PCI address of a device that stands in the XML changes, or is given for the first time."""

    at: str
    old: Address | None
    new: Address
    multifunction: bool
    op: Literal["set-address"] = "set-address"


class AddElement(NamedTuple):
    """A new last child of ``at``. ``key`` is the key of the device that it is, '' for other elements."""

    at: str
    element: Element
    key: str
    op: Literal["add-element"] = "add-element"


class RemoveElement(NamedTuple):
    """The element ``at``, which reads ``old`` in the source, is taken out."""

    at: str
    old: str
    op: Literal["remove-element"] = "remove-element"

    @classmethod
    def of(cls, at: str, node: Node) -> Self:
        return cls(at, node.raw.decode("utf-8"))


Edit = SetAttribute | SetAddress | AddElement | RemoveElement


class StaleEditError(Exception):
    """An edit does not find what it was made for: our own bug, or another document than planned."""


def address_element(address: Address, *, multifunction: bool = False) -> Element:
    """Return <address type='pci' .../> in libvirt's own spelling (virDomainDeviceInfoFormat)."""
    attrs = {"type": "pci", **_fields(address)}
    if multifunction:
        attrs["multifunction"] = "on"
    return Element("address", attrs)


def new_controller(
    model: str, index: int, address: Address, *, chassis: int | None = None, multifunction: bool = False
) -> AddElement:
    """Return the edit that adds a PCI controller; its chassis is written where libvirt would take another."""
    attrs = {"type": "pci", "index": str(index), "model": model}
    target = () if chassis in {None, index} else (Element("target", {"chassis": str(chassis)}),)
    children = (*target, address_element(address, multifunction=multifunction))
    return AddElement("domain/devices", Element("controller", attrs, children), f"controller[pci {index}]")


def onto(element: Element, edit: Edit, child: str) -> Element:
    """Return an element that is not written yet as an edit of it, or of its ``child`` ('' for itself), leaves it."""
    attrs, children = dict(element.attrs), list(element.children)
    if isinstance(edit, SetAddress):
        children = [one for one in children if one.name != "address"]
        children.append(address_element(edit.new, multifunction=edit.multifunction))
    elif isinstance(edit, RemoveElement):
        children = [one for one in children if one.name != child]
    elif child:
        at = next(number for number, one in enumerate(children) if one.name == child)
        children[at] = onto(children[at], edit, "")
    elif isinstance(edit, AddElement):
        children.append(edit.element)
    else:
        attrs = {name: value for name, value in attrs.items() if name != edit.name}
        if edit.new is not None:
            attrs[edit.name] = edit.new
    return Element(element.name, attrs, tuple(children), element.text)


def _fields(address: Address) -> dict[str, str]:
    return {
        "domain": "0x0000",
        "bus": f"0x{address >> 8:02x}",
        "slot": f"0x{address >> 3 & 31:02x}",
        "function": f"0x{address & 7:x}",
    }


def splices(domain: Domain, edits: tuple[Edit, ...]) -> list[Splice]:
    """Turn edits into byte ranges of the domain's source, in order. Raises StaleEditError."""
    writer = Writer(domain.document)
    created: dict[str, list[Element]] = {}
    for edit in edits:
        if isinstance(edit, SetAttribute):
            node = _node(domain, edit.at)
            if node.attrs.get(edit.name) != edit.old:
                raise StaleEditError(f"{edit.at}/@{edit.name} is not {edit.old!r}")
            writer.set_attribute(node, edit.name, edit.new)
        elif isinstance(edit, SetAddress):
            _set_address(domain, writer, edit)
        elif isinstance(edit, RemoveElement):
            node = _node(domain, edit.at)
            if node.raw.decode("utf-8") != edit.old:
                raise StaleEditError(f"{edit.at} is not what it was")
            writer.remove(node)
        elif domain.find(edit.at) is None and edit.at in {"domain/devices", "override", "commandline"}:
            created.setdefault(_name_of(edit), []).append(edit.element)
        else:
            writer.add_child(_node(domain, edit.at), edit.element)
    for name, elements in created.items():
        writer.add_child(domain.root, Element(name, {}, tuple(elements)))
    return writer.splices()


def _name_of(edit: AddElement) -> str:
    """Return the name of a container that the domain lacks; those of QEMU take the prefix of their child."""
    return "devices" if edit.at == "domain/devices" else f"{edit.element.name.partition(':')[0]}:{edit.at}"


def _node(domain: Domain, ref: str) -> Node:
    node = domain.find(ref)
    if node is None:
        raise StaleEditError(f"there is no {ref}")
    return node


def _set_address(domain: Domain, writer: Writer, edit: SetAddress) -> None:
    device = domain.by_key.get(edit.at)
    if device is None or device.node is None or device.address != edit.old:
        raise StaleEditError(f"{edit.at} is not at {format_address(edit.old) if edit.old else 'no address'}")
    node = device.address_node
    if node is None:
        writer.add_child(device.node, address_element(edit.new, multifunction=edit.multifunction))
        return
    for name, value in _fields(edit.new).items():
        present = node.attrs.get(name)
        if number(present or "0") != number(value):
            writer.set_attribute(node, name, value)
    if edit.multifunction != (device.multifunction == "on"):
        writer.set_attribute(node, "multifunction", "on" if edit.multifunction else None)
