"""What both directions share: the result, the root bus being laid out, and edits that write places down."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.edits import AddElement, Edit, SetAddress, SetAttribute, address_element
from fixer.domain.writing import Element
from fixer.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixer.domain.devices import Address, Device
    from fixer.domain.model import Domain


class Move(NamedTuple):
    """One device that is not quite what or where it was.

    ``device`` and ``now`` are its keys before and after ('' where it is new or gone); ``was`` and ``becomes`` say
    what it is; addresses are None where it has none on PCI; ``why`` is one phrase.
    """

    device: str
    now: str
    was: str
    becomes: str
    before: Address | None
    after: Address | None
    why: str


class Note(NamedTuple):
    """What guest or owner will notice; ``devices`` are keys before, () where it is the domain."""

    code: str
    devices: tuple[str, ...]
    text: str


def kept_note(count: int) -> tuple[Note, ...]:
    """Return what to say of the devices that stay where they are, nothing where none does."""
    text = f"{count} PCI device{'s' * (count != 1)} at the same bus, slot and function"
    return (Note("kept", (), text),) if count else ()


class Conversion(NamedTuple):
    """What turns a domain into one of another machine.

    ``keys`` maps the keys of devices that are called otherwise afterwards; ``findings`` stay unresolved;
    ``refused`` says why it can not be done: then there are no edits.
    """

    edits: tuple[Edit, ...] = ()
    moves: tuple[Move, ...] = ()
    notes: tuple[Note, ...] = ()
    findings: tuple[Finding, ...] = ()
    refused: tuple[Finding, ...] = ()
    first_step: bool = False  # the machine stays; another step changes it

    @property
    def keys(self) -> dict[str, str]:
        return {move.device: move.now for move in self.moves if move.device and move.device != move.now}


class Wishes(NamedTuple):
    """How to go about a conversion.

    ``ports`` puts virtio behind root ports, ``staged`` takes two steps where a driver has to be bound first,
    ``driver_bound`` is the owner's word that it is; ``virtio_disks`` makes hard disks on IDE virtio disks, and
    ``virtio_unbound`` says that the site wants that of a guest that may not start from them; ``bios`` that the
    firmware becomes BIOS as well.
    """

    ports: bool = False
    staged: bool = False
    driver_bound: bool = False
    virtio_disks: bool = False
    virtio_unbound: bool = False
    bios: bool = False


class NoRoomError(Exception):
    """The new root bus has no place for a device."""


def refusal(device: str, why: str, evidence: str = "libvirt docs/formatdomain.rst") -> Finding:
    """Return why a domain can not be converted."""
    return Finding(Code.NO_CONVERSION, Severity.BREAKS_BOOT, device, why, evidence, curable=False)


class Board:
    """The root bus of the new machine while devices take their places."""

    def __init__(self, domain: Domain, chipset: Iterable[Address]) -> None:
        self.taken: set[Address] = {0, *chipset, *domain.properties.places}

    def take(self, address: Address) -> Address:
        self.taken.add(address)
        return address

    def is_free(self, address: Address) -> bool:
        return address not in self.taken

    def slot_is_free(self, slot: int) -> bool:
        return not any(slot << 3 | function in self.taken for function in range(8))

    def free_slots(self, *, above: int = 0) -> list[int]:
        return [slot for slot in range(above + 1, 0x1F) if self.slot_is_free(slot)]

    def has_head(self, address: Address) -> bool:
        """Tell whether function 0 of its slot is there, without which no firmware looks at the others."""
        return not address & 7 or address & ~7 in self.taken


def seat(device: Device, address: Address, *, multifunction: bool | None = None) -> Iterator[Edit]:
    """Yield the edit that puts a device of the XML at ``address``, none where it stands there."""
    if device.address == address:
        return
    shared = multifunction if multifunction is not None else device.multifunction == "on" and not address & 7
    yield SetAddress(device.key, device.address, address, shared)


def written_down(device: Device, address: Address, index: int | None = None, model: str = "") -> AddElement:
    """Return the edit that writes down, with its place, a device that libvirt adds by itself.

    Its model is left to libvirt where libvirt chose it before; ``index`` and ``model`` are given where they change.
    """
    index = device.index if index is None else index
    place = address_element(address)
    if device.tag == "memballoon":
        element = Element("memballoon", {"model": "virtio"}, (place,))
    elif device.tag == "video":
        element = Element("video", {}, (Element("model", {"type": device.model}), place))
    else:
        attrs = {"type": device.type, "index": str(index)}
        if device.is_bridge or device.type == "usb":
            attrs["model"] = model or device.model
        element = Element("controller", attrs, (place,))
    key = device.key if index == device.index else f"controller[{device.type} {index}]"
    return AddElement("domain/devices", element, key)


def set_machine(domain: Domain, name: str) -> SetAttribute:
    node = domain.find("domain/os/type")
    assert node is not None, "a domain without <type> is refused before"
    return SetAttribute("domain/os/type", "machine", node.attrs.get("machine"), name)


def set_child(device: Device, child: str, name: str, new: str | None) -> Iterator[Edit]:
    """Yield the edit that gives attribute ``name`` of a child element its new value, none where it has it."""
    node = device.node.find(child) if device.node is not None else None
    old = node.attrs.get(name) if node is not None else None
    if node is not None and old != new:
        yield SetAttribute(f"{device.key}/{child}", name, old, new)
