"""What a host offers, by its own word: <domainCapabilities> or <capabilities> of libvirt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.document import parse
from fixer.domain.machine import family_of
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixer.domain.document import Node

# QEMU's x86 targets; a <guest> of another architecture says nothing here.
_X86 = frozenset({"x86_64", "i686"})
MAX_BYTES = 16 * 1024 * 1024


class Target(NamedTuple):
    """What the host offers. What it does not speak of is empty, or 0, and taken for offered.

    ``machines`` are names and aliases; ``only`` is the one machine type that domain capabilities are about;
    ``firmware`` holds bios and efi; ``models`` those of virtio disks; ``libvirt`` and ``qemu`` are versions as
    libvirt writes them (8.2.0 is 8002000). ``aliases`` maps an alias of a machine type to the type that it stands
    for; ``loaders`` are the firmware images that it names.
    """

    where: str
    machines: frozenset[str] = frozenset()
    only: str = ""
    firmware: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    libvirt: int = 0
    qemu: int = 0
    aliases: Mapping[str, str] = {}
    loaders: tuple[str, ...] = ()

    def offers_machine(self, name: str) -> bool:
        """Whether a machine type is offered; an alias is offered where one of its family is."""
        if not name or not (self.machines or self.only):
            return True
        if name in self.machines or name == self.only:
            return True
        return name in {"q35", "pc"} and not self.machines and family_of(name) is family_of(self.only)

    @property
    def offers_transitional(self) -> bool:
        return not self.models or "virtio-transitional" in self.models


def read_target(data: bytes, where: str) -> Target:
    """Return what the XML of ``virsh domcapabilities`` or ``virsh capabilities`` says.

    Raises VirtfixError for anything else.
    """
    kind = "domainCapabilities" if b"<domainCapabilities" in data[:4096] else "capabilities"
    try:
        root = parse(data, kind, MAX_BYTES).root
    except VirtfixError as error:
        place = error.at(where)
        hint = "give the output of 'virsh domcapabilities' or 'virsh capabilities'"
        raise VirtfixError("target.xml", place.summary, where=place.where, hint=hint) from None
    return _of_domain(root, where) if kind == "domainCapabilities" else _of_host(root, where)


def merged(one: Target, other: Target) -> Target:
    """Return what both say together, in the words of ``one`` where both speak."""
    return Target(*(left or right for left, right in zip(one, other, strict=True)))  # type: ignore[arg-type]


def _of_host(root: Node, where: str) -> Target:
    nodes = [
        node
        for guest in root.findall("guest")
        for arch in guest.findall("arch")
        if arch.attrs.get("name") in _X86
        for node in arch.iter()
        if node.name == "machine" and node.text
    ]
    aliases = {node.text: node.attrs["canonical"] for node in nodes if node.attrs.get("canonical")}
    return Target(where, frozenset({*(node.text for node in nodes), *aliases.values()}), aliases=aliases)


def _of_domain(root: Node, where: str) -> Target:
    machine = root.find("machine")
    os_node = root.find("os")
    firmware = _values(os_node, "firmware")
    loader = os_node.find("loader") if os_node is not None else None
    if "pflash" in _values(loader, "type"):
        firmware |= {"efi"}
    images = () if loader is None else tuple(node.text for node in loader.findall("value") if node.text)
    devices = root.find("devices")
    disk = devices.find("disk") if devices is not None else None
    return Target(
        where,
        only=machine.text if machine is not None else "",
        firmware=firmware,
        models=_values(disk, "model"),
        loaders=images,
    )


def _values(node: Node | None, name: str) -> frozenset[str]:
    """Return the values of <enum name='NAME'> of an element."""
    found: set[str] = set()
    for enum in node.findall("enum") if node is not None else ():
        if enum.attrs.get("name") == name:
            found.update(value.text for value in enum.findall("value"))
    return frozenset(found)
