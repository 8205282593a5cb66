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


def _list(items: Spec, description: str) -> Spec:
    return {"type": "array", "items": items, "description": description}


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
            "legacy-until": _text("The first kernel or driver build that is modern."),
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
        "osinfo": {
            **_list(
                _text("An id, a glob (rhel8.*), a range (rhel6.0..rhel6.10) or an open range (fedora24..)."),
                "libosinfo short ids. The last release that matches wins.",
            ),
            "minItems": 1,
        },
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

_FORMAT: Spec = {"enum": [FORMAT, 1], "description": "The version of this format."}
_PRICE: Spec = {"type": "integer", "minimum": 0, "maximum": 1_000_000}

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
            "override-form": _words(model.OVERRIDE_FORMS, "How the remedy override is written."),
            "strategy": _words(model.REMEDIES, "Use this remedy wherever it is feasible."),
            "strategy-by-kind": _plain_keyed(
                model.KINDS, _words(model.REMEDIES), "The same for one driver kind."
            ),
            "hotplug": _list(_words(model.KINDS), "Kinds that must stay hot-pluggable."),
            "forbid": _list(_words(model.REMEDIES), "Remedies that are never used."),
            "io-windows": _plain_keyed(
                model.FIRMWARES, {"type": "integer", "minimum": 0, "maximum": 256}, "Room of each firmware."
            ),
        },
        ("format", "kind"),
        "What the site prefers where several remedies are right.",
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
