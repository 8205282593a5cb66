"""What says which OS a domain runs: the owner, the domain's metadata, an inspection, the running guest."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fixer.domain.document import parse
from fixer.errors import VirtfixError, printable
from fixer.guest import names
from fixer.policy.rules import Subject, mapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fixer.domain.document import Node
    from fixer.domain.model import Domain
    from fixer.guest.negotiated import Observation
    from fixer.policy.model import Mapped

# The kinds in the order in which they are heard: the owner's word, labels, what was seen in the guest.
KINDS = ("option", "mapping", "metadata", "platform", "inspection", "agent")
# The owner's own word: nothing but proof of the contrary stands against it.
OWNERS_WORD = frozenset({"option", "mapping"})


class Clue(NamedTuple):
    """One thing that names an OS.

    ``ids`` are the libosinfo ids that it may mean, the most exact first; ``said`` is how it puts it, ``by`` who
    says it. ``builds`` (product -> version) are the kernel and driver builds that come with it.
    """

    kind: str
    by: str
    said: str
    ids: tuple[str, ...]
    builds: Mapping[str, str] = {}


class Seen(NamedTuple):
    """What was learnt of a domain beside its XML: an inspection, the answers of the running guest.

    ``remarks`` say what could not be learnt, and why; ``esp`` names what shows an EFI system partition.
    """

    clues: tuple[Clue, ...] = ()
    observation: Observation | None = None
    remarks: tuple[str, ...] = ()
    esp: str = ""

    def plus(self, other: Seen) -> Seen:
        return Seen(
            self.clues + other.clues,
            other.observation or self.observation,
            self.remarks + other.remarks,
            self.esp or other.esp,
        )


NOTHING_SEEN = Seen()


def gather(
    domain: Domain, os_option: str | None, mapping: Sequence[Mapped], seen: Seen = NOTHING_SEEN
) -> list[Clue]:
    """Return every clue of a domain."""
    found = [of_option(os_option)] if os_option is not None else []
    entry = mapped(mapping, subject_of(domain)) if mapping else None
    if entry is not None:
        found.append(of_mapping(entry))
    return [*found, *of_domain(domain), *seen.clues]


def subject_of(domain: Domain, os_id: str = "") -> Subject:
    """Return a domain as the rules of a site and a mapping see it."""
    return Subject(domain.name, domain.uuid, partial(metadata_values, domain), os_id)


def of_option(os_id: str) -> Clue:
    return Clue("option", "--os", os_id, (os_id,))


def of_mapping(entry: Mapped) -> Clue:
    return Clue("mapping", f"the mapping ({entry.where})", entry.os, (entry.os,), entry.builds)


def of_domain(domain: Domain) -> Iterator[Clue]:
    """Return the clues of a domain's metadata: libosinfo's, then those of management platforms."""
    for uri, place in domain.libosinfo_ids():
        yield Clue("metadata", f"the metadata ({place})", uri, (uri,))
    yield from _of_platforms(domain)


# Elements and attributes below <metadata>, by local name, that management platforms put a guest OS into: Cockpit
# (os_variant), GNOME Boxes (media-id), Nova (os_distro and os_version, image properties), oVirt, Vagrant (box).
_OS_NAMES = frozenset(
    {"os_variant", "osvariant", "media-id", "os_distro", "os", "osid", "os_id", "os-id", "ostype", "os_type", "os-type"}
    | {"guestos", "guest_os", "guest-os", "guestosid", "osinfo", "box", "box_name", "box-name"}
)  # fmt: skip
_PLATFORMS = (
    ("cockpit", "Cockpit"), ("ovirt.org", "oVirt"), ("openstack.org", "OpenStack"), ("vagrant", "Vagrant"),
    ("gnome.org/apps/boxes", "GNOME Boxes"), ("kubevirt", "KubeVirt"), ("opennebula", "OpenNebula"),
)  # fmt: skip
_MAX_VALUE = 200


def _of_platforms(domain: Domain) -> Iterator[Clue]:
    metadata = domain.root.find("metadata")
    if metadata is None:
        return
    for holder in metadata.children:
        namespace = _namespace(holder, (metadata, domain.root)).lower()
        platform = next((name for mark, name in _PLATFORMS if mark in namespace), "")
        if platform:
            yield from _of_platform(platform, list(_properties(holder)))


def _of_platform(platform: str, properties: list[tuple[str, str, Node]]) -> Iterator[Clue]:
    version = next((value for key, value, _ in properties if key == "os_version"), "")
    for key, value, node in properties:
        if key not in _OS_NAMES or not value or len(value) > _MAX_VALUE:
            continue
        said, ids = value, names.of_platform(value)
        if key == "os_distro" and version:
            said, ids = f"{value} {version}", (*names.of_os_release(value, version), *ids)
        if ids:
            yield Clue("platform", f"the {platform} metadata (line {node.line})", said, ids)


def _properties(holder: Node) -> Iterator[tuple[str, str, Node]]:
    """Yield (local name, value, where) of elements, attributes and <property name='NAME'>VALUE</property>."""
    for node in holder.iter():
        name = _local(node.name).lower()
        if name == "property" and "name" in node.attrs:
            yield node.attrs["name"].lower(), node.attrs.get("value", node.text).strip(), node
            continue
        if node.text:
            yield name, node.text, node
        for key, value in node.attrs.items():
            named = name in _OS_NAMES and key in {"id", "name", "value"}
            yield name if named else _local(key).lower(), value.strip(), node


def _namespace(node: Node, outer: Iterable[Node]) -> str:
    prefix = node.name.rpartition(":")[0]
    key = f"xmlns:{prefix}" if prefix else "xmlns"
    return next((scope.attrs[key] for scope in (node, *outer) if key in scope.attrs), "")


def metadata_values(domain: Domain, key: str) -> Iterator[str]:
    """Yield the texts that a domain's metadata has for ``key``.

    A key is a path of local names below <metadata>, as instance/flavor/@name; its last part may be an
    attribute. A single name is looked for everywhere below <metadata>.
    """
    metadata = domain.root.find("metadata")
    if metadata is None:
        return
    *path, last = key.split("/")
    attribute = last.startswith("@")
    if not attribute:
        path.append(last)
    nodes: list[Node] = [metadata]
    if len(path) == 1 and not attribute:
        nodes = [node for node in metadata.iter() if node is not metadata and _local(node.name) == last]
    else:
        for step in path:
            nodes = [child for node in nodes for child in node.children if _local(child.name) == step]
    for node in nodes:
        if attribute:
            yield from (value for name, value in node.attrs.items() if _local(name) == last[1:])
        else:
            yield node.text


def _local(name: str) -> str:
    return name.rpartition(":")[2]


# --- virt-inspector ----------------------------------------------------------------------------------


# Reports with icons and thousands of packages have some MiB.
MAX_REPORT = 64 * 1024 * 1024


def of_inspection(data: bytes, where: str) -> tuple[Clue, ...]:
    """Return a clue for each OS of a virt-inspector report (virt-inspector(1), XML format).

    Raises VirtfixError for what is no such report.
    """
    try:
        root = parse(data, root="operatingsystems", limit=MAX_REPORT).root
    except VirtfixError as error:
        place = error.at(where)
        hint = "give the output of virt-inspector"
        raise VirtfixError("inspection.xml", place.summary, where=place.where, hint=hint) from None
    clues = tuple(_inspected(node, where) for node in root.findall("operatingsystem"))
    if not clues:
        raise VirtfixError(
            "inspection.empty", "names no operating system", where=where, hint="inspect the guest's disks"
        )
    return clues


def esp_in_inspection(data: bytes, where: str) -> str:
    """Return what shows that the guest mounts an EFI system partition, '' where its report shows none."""
    root = parse(data, root="operatingsystems", limit=MAX_REPORT).root
    shown = any(node.name == "mountpoint" and node.text in _ESP_PLACES for node in root.iter())
    return f"the inspection report {where}" if shown else ""


# Where Linux distributions mount it (Boot Loader Specification, "Mount Points").
_ESP_PLACES = frozenset({"/boot/efi", "/efi"})


def _inspected(node: Node, where: str) -> Clue:
    text = {child.name: child.text for child in node.children if not child.children}
    product = text.get("product_name", "")
    version = ".".join(filter(None, (text.get("major_version", ""), text.get("minor_version", ""))))
    if text.get("name") == "windows":
        server = "server" in (text.get("product_variant", "") + product).lower()
        ids = names.of_windows(version, server=server, build=text.get("build_id", ""))
    else:
        ids = names.of_os_release(text.get("distro", ""), version, product)
    stated = text.get("osinfo", "")
    ids = tuple(dict.fromkeys(filter(None, (stated, *ids))))
    builds = _inspected_builds(node, windows=text.get("name") == "windows")
    said = printable(
        stated or product or f"{text.get('distro', '')} {version}".strip() or "an unknown system", 100
    )
    return Clue("inspection", f"the inspection report {where}", said, ids, builds)


_KERNEL_PACKAGE = re.compile(r"(kernel(-(core|uek(-core)?|pae|smp|default))?|linux-image-.*)$")


def _inspected_builds(node: Node, *, windows: bool) -> dict[str, str]:
    """Return the builds that installed applications show: of several kernels the oldest, which may boot."""
    found = []
    holder = node.find("applications")
    for application in holder.findall("application") if holder is not None else ():
        text = {child.name: child.text for child in application.children}
        name = text.get("name", "").lower()
        shown = text.get("display_name", "").lower() or name
        if windows and ("virtio-win" in shown or "virtio-win" in name):
            found.append(text.get("version", ""))
        elif not windows and _KERNEL_PACKAGE.match(name):
            found.append(_kernel_of(name, text))
    product = "virtio-win" if windows else "kernel"
    ranked = sorted(filter(None, found), key=_numbers)
    return {product: ranked[0]} if ranked else {}


def _kernel_of(name: str, text: dict[str, str]) -> str:
    """Return the kernel of a package: linux-image-3.16.0-4-amd64 is called after it, kernel has it as version."""
    called = re.match(r"linux-image-(?:unsigned-)?(\d+\.\d[\w.-]*)", name)
    if called is not None:
        return called[1]
    if name.startswith("linux-image-"):  # a package that only depends on the real one
        return ""
    return "-".join(filter(None, (text.get("version", ""), text.get("release", ""))))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", text))


# --- The guest agent ---------------------------------------------------------------------------------


def of_agent(said: Mapping[str, str]) -> Clue | None:
    """Return the clue of guest-get-osinfo (QEMU, qga/qapi-schema.json), None where it says nothing.

    ``said`` has its members: id, name, pretty-name, version, version-id, variant, variant-id,
    kernel-release, kernel-version, machine.
    """
    name, kernel = said.get("id", ""), said.get("kernel-release", "")
    pretty = said.get("pretty-name", "") or said.get("name", "")
    if name == "mswindows":
        server = "server" in (said.get("variant", "") + said.get("variant-id", "") + pretty).lower()
        ids = names.of_windows(said.get("kernel-version", ""), server=server, build=kernel)
        builds: dict[str, str] = {}
    else:
        ids = names.of_os_release(name, said.get("version-id", ""), pretty)
        builds = {"kernel": kernel} if kernel[:1].isdigit() else {}
        if "freebsd" not in name and "bsd" not in pretty.lower():
            ids = (*ids, *names.of_kernel(kernel))
    if not ids and not builds:
        return None
    release = f"{pretty or name or 'an unknown system'}, kernel {kernel}" if kernel else pretty or name
    return Clue("agent", "the guest agent", printable(release, 120), ids, builds)
