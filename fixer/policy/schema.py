"""The policy format, written down once.

``DOCUMENTS`` is the format as data, in the vocabulary of JSON Schema (draft 2020-12). The module ``check``
walks it and speaks to people; ``json_schema`` publishes the same data for editors. Only keywords that the
walker knows may be used here (a test holds that).
"""

from __future__ import annotations

from typing import Any

from fixer.policy import model

FORMAT = "1"

Spec = dict[str, Any]


def _text(description: str) -> Spec:
    return {"type": "string", "minLength": 1, "description": description}


def _words(names: tuple[str, ...], description: str = "") -> Spec:
    # YAML 1.1 reads yes and no as booleans; editors show them so, hence both spellings are published.
    booleans = [word == "yes" for word in names if word in {"yes", "no"}]
    spec: Spec = {"enum": [*names, *booleans]}
    return {**spec, "description": description} if description else spec


def _version(description: str) -> Spec:
    return {"type": ["string", "number"], "description": description}


def _date(description: str) -> Spec:
    return {"type": "string", "format": "date", "description": description}


def _list(items: Spec, description: str) -> Spec:
    return {"type": "array", "items": items, "description": description}


def _some(items: Spec, description: str) -> Spec:
    """Return a list that holds something: an empty one would name all or none, and nobody knows which."""
    return {**_list(items, description), "minItems": 1}


def _object(properties: Spec, required: tuple[str, ...], description: str = "") -> Spec:
    spec: Spec = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        spec["required"] = list(required)
    return {**spec, "description": description} if description else spec


def _keyed(names: tuple[str, ...], value: Spec, description: str) -> Spec:
    """Return a mapping whose keys are ``names``; several may share one value, separated by commas."""
    one = "|".join(names)  # letters, digits and dashes: nothing to escape
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^({one})(, *({one}))*$"},
        "x-names": list(names),
        "additionalProperties": value,
        "description": description,
    }


def _plain_keyed(names: tuple[str, ...], value: Spec, description: str) -> Spec:
    return {
        "type": "object",
        "propertyNames": {"enum": list(names)},
        "additionalProperties": value,
        "description": description,
    }


def _fact(value: Spec) -> Spec:
    """Return a fact whose answer is ``value``; one that depends has to say on what."""
    spec = _object(
        {
            "value": value,
            "source": _text("A key of this file's sources."),
            "confidence": _words(model.CONFIDENCES, "confirmed: the source was read; likely: derived."),
            "note": _text("One sentence for a person."),
            "since": {
                "type": ["string", "number"],
                "description": "The answer holds from this release on; before it the answer is no. Quote it.",
            },
            "condition": _text("On what the answer depends, as 'virtio-win >= 0.1.126 is modern'."),
            "legacy-until": _text("The first kernel or driver build that is modern, as 'kernel 4.0'."),
            "needs": _text(
                "The first kernel or driver build for which the answer is yes, as 'kernel 4.1'; it decides where the build is known."
            ),
        },
        ("value", "source", "confidence"),
    )
    return {
        **spec,
        "if": {"properties": {"value": {"const": "depends"}}, "required": ["value"]},
        "then": {"required": ["condition"]},
    }


def _ref(name: str) -> Spec:
    return {"$ref": f"#/$defs/{name}"}


DEFS: dict[str, Spec] = {
    "answer": _fact(_words(model.ANSWERS)),
    "interface": _fact(_words(model.INTERFACES)),
    "version": _fact({"type": ["string", "number"]}),
    "nic": _fact(_words(model.NIC_RULES)),
    "disk": _fact(_words(model.DISK_RULES)),
}
DEFS["release"] = _object(
    {
        "name": _text("The name for a person."),
        "osinfo": _some(
            _text("An id, a glob (rhel8.*), a range (rhel6.0..rhel6.10) or an open range (fedora24..)."),
            "libosinfo short ids. The last release that matches wins.",
        ),
        "uri": _list(_text("A URI or a glob."), "libosinfo URIs whose last two parts do not make the id."),
        "like": _text("The id of an earlier release whose facts hold unless stated here."),
        "kernel": _ref("version"),
        "interface": _ref("interface"),
        "drivers": _keyed(model.KINDS, _ref("answer"), "Driver kinds; 'gpu, input' states one fact of both."),
        "uefi": _ref("answer"),
        "secure-boot": _ref("answer"),
        "chipset": _keyed(model.CHIPSET_PARTS, _ref("answer"), "Other parts of a Q35 machine."),
        "hotplug": _keyed(model.HOTPLUG_WAYS, _ref("answer"), "Ways to hot-plug."),
        "nic-naming": _ref("nic"),
        "disk-naming": _ref("disk"),
        "quirks": _list(_text("A short id, a colon, a sentence."), "What else stops this guest."),
        "notes": _list(_text("A sentence."), "For people."),
        "legacy-only": {"type": "boolean", "description": "Wants disable-modern on top."},
    },
    ("name", "osinfo"),
)

_EXPECTED_GUEST: Spec = _object(
    {
        "os": _text("The libosinfo short id or URI that is asked for."),
        "kernel": _version("The kernel that the guest is known to run."),
        "virtio-win": _version("The virtio-win build that the guest is known to have."),
        "interface": _words(model.INTERFACES),
        "drivers": _keyed(model.KINDS, _words(model.ANSWERS), "Driver kinds and the answer of each."),
        "uefi": _words(model.ANSWERS),
        "secure-boot": _words(model.ANSWERS),
    },
    ("os",),
    "What 'virtfix policy test' shall find.",
)

_PRICE: Spec = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_GLOBS = "; * stands for any run of characters."
_DOMAIN: Spec = {
    "name": _some(_text("A name or a glob."), "Names of domains" + _GLOBS),
    "uuid": _some(_text("A UUID."), "UUIDs of domains."),
    "metadata": {
        "type": "object",
        "additionalProperties": _text("A value or a glob."),
        "description": "By key: an element's name, a path of names below <metadata>, the last may be @attribute.",
    },
}
_OS: Spec = {
    "os": _some(_text("An id, a glob, a range: as in osinfo."), "Operating systems by libosinfo id.")
}

_RULE: Spec = _object(
    {
        "match": _object(
            {**_DOMAIN, **_OS}, (), "Each key that is given must fit; without any, all domains."
        ),
        "kinds": _some(_words(model.KINDS), "The driver kinds that it is about; without any, all."),
        "strategy": _words(model.REMEDIES, "Use this remedy wherever it is feasible."),
        "hotplug": {"type": "boolean", "description": "Whether the kinds must stay hot-pluggable."},
        "forbid": _list(_words(model.REMEDIES), "Remedies that are not used."),
        "keep-address": {"type": "boolean", "description": "Whether the kinds must keep their PCI address."},
        "weights": _plain_keyed(model.WEIGHTS, _PRICE, "Prices for these domains; not together with kinds."),
        "exclude": _text("Why the domain, or these kinds of it, are left alone. Wants until."),
        "until": _date("The last day on which it holds, as 2027-03-31."),
    },
    (),
    "A preference for some domains or kinds; later rules override earlier ones.",
)
_MAPPED: Spec = _object(
    {
        "match": _object(_DOMAIN, (), "Each key that is given must fit."),
        "os": _text("The libosinfo short id or URI of what these domains run."),
        "kernel": _version("The kernel that they are known to run."),
        "virtio-win": _version("The virtio-win build that they are known to have."),
    },
    ("match", "os"),
    "What some domains run; the last entry that fits holds.",
)
_EXPECTED_SITE: Spec = _object(
    {
        "name": _text("The domain's name."),
        "uuid": _text("The domain's UUID."),
        "os": _text("The id of its guest."),
        "metadata": {
            "type": "object",
            "additionalProperties": _text("A value."),
            "description": "Metadata by key.",
        },
        "date": _date("The day on which it is asked, as 2027-03-31; today where it is left out."),
        "kind": _words(model.KINDS),
        "strategy": _words((*model.REMEDIES, "none")),
        "hotplug": {"type": "boolean"},
        "keep-address": {"type": "boolean"},
        "forbid": _list(_words(model.REMEDIES), "All remedies that are forbidden."),
        "excluded": {"type": "boolean"},
    },
    ("kind",),
    "What 'virtfix policy test' shall find for one kind of device of such a domain.",
)
_EXPECTED_MAPPING: Spec = _object(
    {
        "name": _text("The domain's name."),
        "uuid": _text("The domain's UUID."),
        "metadata": {
            "type": "object",
            "additionalProperties": _text("A value."),
            "description": "Metadata by key.",
        },
        "os": _text("The OS that is found; none: no entry fits."),
    },
    ("os",),
    "What 'virtfix policy test' shall find for such a domain.",
)

_FORMAT: Spec = {"enum": [FORMAT, 1], "description": "The version of this format."}

DOCUMENTS: dict[str, Spec] = {
    "guests": _object(
        {
            "format": _FORMAT,
            "kind": {"const": "guests"},
            "family": _text("The family of all releases in this file."),
            "sources": {
                "type": "object",
                "additionalProperties": _text("What the source is."),
                "description": "Every source that a fact names.",
            },
            "releases": _list(_ref("release"), "Later releases override earlier ones."),
            "expect": _list(_EXPECTED_GUEST, "What 'virtfix policy test' holds this file against."),
        },
        ("format", "kind", "family", "releases"),
        "What guest operating systems can drive.",
    ),
    "site": _object(
        {
            "format": _FORMAT,
            "kind": {"const": "site"},
            "name": _text("The profile's name; without one the file adds to the profile before it."),
            "extends": _text("The profile whose preferences hold unless stated here."),
            "weights": _plain_keyed(
                model.WEIGHTS, _PRICE, "The price of each remedy and of its side effects."
            ),
            "bridge-model": _words(model.BRIDGE_MODELS, "The bridge that is added where none is there."),
            "ide-disks": _words(model.IDE_DISKS, "What hard disks on IDE become on Q35."),
            "override-form": _words(model.OVERRIDE_FORMS, "How the remedy override is written."),
            "strategy": _words(model.REMEDIES, "Use this remedy wherever it is feasible."),
            "strategy-by-kind": _plain_keyed(
                model.KINDS, _words(model.REMEDIES), "The same for one driver kind."
            ),
            "hotplug": _list(_words(model.KINDS), "Kinds that must stay hot-pluggable."),
            "forbid": _list(_words(model.REMEDIES), "Remedies that are never used."),
            "keep-address": _list(_words(model.KINDS), "Kinds whose PCI addresses never change."),
            "rules": _list(_RULE, "Preferences for some domains or kinds."),
            "expect": _list(_EXPECTED_SITE, "What 'virtfix policy test' holds this file against."),
            "io-windows": _plain_keyed(
                model.FIRMWARES, {"type": "integer", "minimum": 0, "maximum": 256}, "Room of each firmware."
            ),
        },
        ("format", "kind"),
        "What the site prefers where several remedies are right.",
    ),
    "mapping": _object(
        {
            "format": _FORMAT,
            "kind": {"const": "mapping"},
            "domains": _list(_MAPPED, "Which domains run what."),
            "expect": _list(_EXPECTED_MAPPING, "What 'virtfix policy test' holds this file against."),
        },
        ("format", "kind", "domains"),
        "What the domains of a site run.",
    ),
}


def json_schema() -> dict[str, Any]:
    """Return the format as a JSON Schema (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "virtfix policy",
        "type": "object",
        "required": ["format", "kind"],
        "oneOf": list(DOCUMENTS.values()),
        "$defs": DEFS,
    }
