"""Set disable-legacy=off on the device where it sits.

Through qemu:override (libvirt >= 8.2.0), or, where the site says so, through qemu:commandline with
-global, which is for all devices of a type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixer.domain.devices import is_kept_alias
from fixer.domain.edits import AddElement, Edit, SetAttribute
from fixer.domain.virtio import QEMU_NAMESPACE, qemu_type
from fixer.domain.writing import Element
from fixer.remedies.base import Case, Desk, Offer, alias_for, implicit_with, model_edits, plain_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixer.domain.devices import Device

NAME = "override"
TITLE = "By disable-legacy=off, where they sit"

# The spellings that QEMU takes through libvirt's JSON: a string for the on/off/auto property, a boolean
# for the other (FACTS: overrides).
LEGACY_ON = ("disable-legacy", "string", "off")
GLOBAL = "qemu-commandline"  # of the site's override-form
MODERN_OFF = ("disable-modern", "bool", "true")


def offer(case: Case, desk: Desk) -> Offer:
    if case.hidden:
        return Offer(NAME, "no firmware looks at a function of a slot without function 0")
    if case.companion:
        return Offer(NAME, "the device is right already; it needs a place")
    if desk.site.override_form == GLOBAL and (refusal := _against_global(case, desk)):
        return Offer(NAME, refusal)
    if case.device.node is None and case.device.tag == "controller" and desk.has_siblings(case.device):
        return Offer(NAME, "libvirt would sort it in before the others, once it is written down")
    if case.device.address is None and (desk.settle_all or case.device.variant == "transitional"):
        return Offer(NAME, "it has no address yet, and libvirt's choice would change the order")
    # A device that stays keeps its order by itself, unless one before it was moved behind it.
    if case.current is not None and not case.low < case.current < case.high:
        return Offer(NAME, "a device before it in the guest's order moves behind it")
    if desk.override_quota is not None and case.device not in desk.override_quota:
        return Offer(NAME, f"the firmware has {desk.capacity} I/O windows, and others need them more")
    window = desk.costs_window(case.device)
    if window and desk.windows_left() < 1:
        return Offer(NAME, f"all {desk.capacity} I/O windows of the firmware are used")
    return Offer(NAME, "", desk.price(NAME, moved=False, windows=int(window)))


def _against_global(case: Case, desk: Desk) -> str:
    """Say why -global will not do for a device, '' where it will."""
    if case.legacy_only:
        return "it wants disable-modern too, for this device alone: qemu:override can that"
    if case.properties:
        return "properties of its own are set on it, which -global does not change"
    same = [other for other in desk.domain.modes if qemu_type(other) == qemu_type(case.device)]
    kept = [other.key for other in same if desk.on_port(other) and other not in desk.curing]
    return f"-global would change {', '.join(kept)} too" if kept else ""


def edits(case: Case, offer: Offer, desk: Desk) -> Iterable[Edit]:  # noqa: ARG001 - one shape for all remedies
    if desk.site.override_form == GLOBAL:
        return _global_edits(case.device, desk)
    properties = [LEGACY_ON]
    if case.legacy_only:
        properties.append(MODERN_OFF)
    return property_edits(case.device, desk, properties)


def edits_for_move(case: Case, desk: Desk) -> list[Edit]:
    """Return the property edits that a device needs on top of a conventional slot, mostly none."""
    properties = [LEGACY_ON] if case.forced else []
    if case.legacy_only:
        properties.append(MODERN_OFF)
    if not properties:
        return []
    return property_edits(case.device, desk, properties, written=case.device.node is None)


def property_edits(
    device: Device, desk: Desk, properties: list[tuple[str, str, str]], *, written: bool = False
) -> list[Edit]:
    """Return the edits that give a device these QEMU properties, with the alias that they hang on.

    ``written`` says that another edit writes the device down, alias included.
    """
    found: list[Edit] = []
    # Neither property exists on the -transitional and -non-transitional types (FACTS: overrides).
    if device.variant:
        found += model_edits(device, plain_model(device))
    alias = alias_for(device, desk.domain)
    if alias != device.alias and is_kept_alias(alias):
        if device.node is None:
            found += [] if written else [implicit_with(device, (Element("alias", {"name": alias}),))]
        elif device.alias:
            found.append(SetAttribute(f"{device.key}/alias", "name", device.alias, alias))
        else:
            found.append(AddElement(device.key, Element("alias", {"name": alias}), ""))
    return found + _override_edits(desk, alias, properties)


def _global_edits(device: Device, desk: Desk) -> list[Edit]:
    """Return the edits for -global TYPE.disable-legacy=off; devices of one type share them."""
    found = model_edits(device, plain_model(device)) if device.variant else []
    name, declaration = _namespace(desk)
    setting = f"{qemu_type(device)}.{LEGACY_ON[0]}={LEGACY_ON[2]}"
    arguments = (Element(f"{name}:arg", {"value": value}) for value in ("-global", setting))
    return [*found, *declaration, *(AddElement("commandline", element, setting) for element in arguments)]


def _namespace(desk: Desk) -> tuple[str, list[Edit]]:
    """Return the prefix of libvirt's QEMU namespace, and the edit that declares it where it must be."""
    attrs = desk.domain.root.attrs
    prefix = _prefix(attrs)
    if prefix:
        return prefix, []
    prefix = _free_prefix(attrs)
    return prefix, [SetAttribute("domain", f"xmlns:{prefix}", None, QEMU_NAMESPACE)]


def _override_edits(desk: Desk, alias: str, properties: list[tuple[str, str, str]]) -> list[Edit]:
    domain = desk.domain
    name, declaration = _namespace(desk)
    found: list[Edit] = []
    missing: list[Element] = []
    for key, kind, value in properties:
        present = domain.find(f"override[{alias}]/{key}")
        if present is None:
            missing.append(Element(f"{name}:property", {"name": key, "type": kind, "value": value}))
            continue
        wanted = {"type": kind, "value": value}
        found += [
            SetAttribute(f"override[{alias}]/{key}", attr, present.attrs.get(attr), new)
            for attr, new in wanted.items()
            if present.attrs.get(attr) != new
        ]
    if not missing:
        return found
    if domain.find(f"override[{alias}]/frontend") is not None:
        return found + [AddElement(f"override[{alias}]/frontend", element, "") for element in missing]
    frontend = Element(f"{name}:frontend", {}, tuple(missing))
    if domain.find(f"override[{alias}]") is not None:
        return [*found, AddElement(f"override[{alias}]", frontend, "")]
    entry = Element(f"{name}:device", {"alias": alias}, (frontend,))
    return [*found, *declaration, AddElement("override", entry, "")]


def _prefix(attrs: dict[str, str]) -> str:
    """Return the prefix that the root binds to libvirt's QEMU namespace, '' where it binds none."""
    return next(
        (name[6:] for name, uri in attrs.items() if uri == QEMU_NAMESPACE and name.startswith("xmlns:")), ""
    )


def _free_prefix(attrs: dict[str, str]) -> str:
    """Return libvirt's customary prefix, or another where the owner binds that to something else."""
    return next(name for name in ("qemu", "libvirt-qemu", *_numbered("qemu")) if f"xmlns:{name}" not in attrs)


def _numbered(name: str) -> Iterator[str]:
    return (f"{name}{number}" for number in range(2, 1 << 16))
