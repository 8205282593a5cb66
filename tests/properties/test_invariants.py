"""The invariants of docs/architecture.md, for domains that nobody thought of."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from generate import generate
from helpers import LEGACY_ONLY, ROOT, STRATEGIES, check_invariants, corpus, order, plan, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from fixer.errors import VirtfixError

EXAMPLES = int(os.environ.get("VIRTFIX_EXAMPLES", "300"))
BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LEGACY = ("rhel6", "rhel6", "rhel5.5", "fedora19", "win2k8r2", LEGACY_ONLY)
# libvirt refuses these domains too: they ask for more places than there are.
FULL = {"address.room"}

seeds = st.integers(0, 1 << 48)
asked = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from((None, None, *STRATEGIES)),
        "hotplug": st.sampled_from(((), (), ("block",), ("net", "scsi"), ("block", "net", "console", "rng"))),
        "bridge_model": st.sampled_from(("pcie-to-pci-bridge", "pcie-to-pci-bridge", "dmi-to-pci-bridge")),
    }
)


@BOUNDED
@given(seed=seeds, guest=st.sampled_from(LEGACY), asked=asked)
def test_every_plan_for_a_legacy_guest_holds_the_invariants(
    seed: int, guest: str, asked: dict[str, object]
) -> None:
    """Invariants 1 to 8: nothing left, stable, the rest untouched, legal, ordered, within the windows, accounted."""
    xml = generate(Random(seed))
    try:
        made = plan(xml, guest, **asked)
    except VirtfixError as error:
        assert error.code in FULL, xml
        return
    check_invariants(xml, made, guest, **asked)


ruled = st.fixed_dictionaries(
    {
        "keep_address": st.frozensets(st.sampled_from(("block", "net", "scsi", "balloon")), max_size=2),
        "forbid_by_kind": st.dictionaries(
            st.sampled_from(("block", "net", "scsi")), st.frozensets(st.sampled_from(STRATEGIES)), max_size=2
        ),
        "excluded": st.dictionaries(
            st.sampled_from(("net", "console", "rng")), st.just("the owner says so"), max_size=2
        ),
        "strategy_by_kind": st.dictionaries(
            st.sampled_from(("block", "net", "scsi")), st.sampled_from(STRATEGIES), max_size=2
        ),
    }
)


@BOUNDED
@given(seed=seeds, guest=st.sampled_from(LEGACY), rules=ruled)
def test_what_a_site_rules_holds_in_every_plan(seed: int, guest: str, rules: dict[str, Any]) -> None:
    """Kept addresses stay, forbidden remedies are not used, what is left alone is left alone; the proof holds."""
    xml = generate(Random(seed))
    try:
        made = plan(xml, guest, **rules)
    except VirtfixError as error:
        assert error.code in FULL, xml
        return
    for change in made.changes:
        driver = change.driver
        assert change.remedy not in rules["forbid_by_kind"].get(driver, ())
        assert driver not in rules["excluded"]
        if driver in rules["keep_address"] and change.listed:
            assert change.address_before == change.address_after
    for device in made.domain.modes:
        if device.driver in rules["excluded"] and device.address is not None:
            assert made.after.by_key[device.key].address == device.address
    for skip in made.skips:
        assert skip.reason == "the owner says so"


@BOUNDED
@given(seed=seeds, guest=st.sampled_from(("fedora24", "win10", "rhel8")), asked=asked)
def test_a_modern_guest_gets_the_same_bytes(seed: int, guest: str, asked: dict[str, object]) -> None:
    """Invariant 1, whatever is asked for."""
    xml = generate(Random(seed))
    try:
        made = plan(xml, guest, **asked)
    except VirtfixError as error:
        assert error.code in FULL, xml
        return
    assert made.result == xml.encode()
    assert made.unresolved == ()


@BOUNDED
@given(seed=seeds, strategy=st.sampled_from((None, *STRATEGIES)))
def test_nothing_moves_on_i440fx(seed: int, strategy: str | None) -> None:
    """There is no express bus to come from: addresses stay, and so does the order."""
    xml = generate(Random(seed), "pc")
    made = plan(xml, "rhel6", strategy=strategy)
    check_invariants(xml, made, "rhel6", strategy=strategy)
    assert all(change.address_before == change.address_after for change in made.changes)
    assert order(made.after) == order(read(xml))


def test_the_generator_is_worth_its_name() -> None:
    """A property over domains that need nothing would hold by itself: most of these need something."""
    domains = [generate(Random(seed)) for seed in range(200)]
    plans = []
    for xml in domains:
        with suppress(Exception):  # whether it should is for the other properties to say
            plans.append(plan(xml, "rhel6"))
    assert sum(made.pending for made in plans) > 120
    assert sum(not made.pending for made in plans) > 5
    assert {change.remedy for made in plans for change in made.changes} >= {
        "integrated",
        "bridge",
        "transitional",
    }
    assert len({"\r\n" in xml for xml in domains} | {"<!--" in xml for xml in domains}) == 2


# --- Comments and line breaks -------------------------------------------------------------------------


def strew(xml: str, r: Random) -> str:
    """Return the domain with comments between its tags, and with lines joined and broken."""
    head, tag, body = xml.partition("<devices")

    def other(found: re.Match[str]) -> str:
        blank = r.choice((found[1], found[1], "", "\n", " "))
        comments = [r.choice(("", "", "<!-- a -->", "<!-- <address type='pci'/> - -->")) for _ in range(2)]
        return f">{comments[0]}{blank}{comments[1]}<"

    return head + tag + re.sub(r">(\s*)<(?!!)", other, body)


def bare(xml: bytes) -> bytes:
    root = etree.fromstring(xml, etree.XMLParser(remove_comments=True, resolve_entities=False))
    for node in root.iter():
        node.text, node.tail = (None if not (text or "").strip() else text for text in (node.text, node.tail))
    return etree.tostring(root, method="c14n")


@BOUNDED
@given(seed=seeds, guest=st.sampled_from(LEGACY), asked=asked)
def test_comments_and_line_breaks_decide_nothing(seed: int, guest: str, asked: dict[str, object]) -> None:
    """Each edit lands where it would without them."""
    plain = generate(Random(seed))
    strewn = strew(plain, Random(seed))
    try:
        made = plan(plain, guest, **asked)
    except VirtfixError as error:
        with pytest.raises(VirtfixError) as caught:
            plan(strewn, guest, **asked)
        assert caught.value.code == error.code
        return
    assert bare(plan(strewn, guest, **asked).result) == bare(made.result)


# --- 9: same input, same output -----------------------------------------------------------------------

_SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from random import Random
from generate import generate
from helpers import STRATEGIES, plan
for seed in range(40):
    for strategy in (None, *STRATEGIES):
        try:
            made = plan(generate(Random(seed)), "rhel6", strategy=strategy, hotplug=("block", "net") if seed % 3 == 0 else ())
        except Exception as error:  # whether it should is for the other properties to say
            print(seed, strategy, type(error).__name__)
            continue
        print(made.digest_after, made.edits, made.changes, made.unresolved, made.consequences, made.skips)
"""


def test_the_hash_seed_does_not_matter() -> None:
    """Two processes that hash strings differently make the same plans, to the byte."""
    folders = json.dumps([str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT)])
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, folders],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "4242")
    ]
    assert outputs[0].count(b"sha256:") > 150, "most of them are plans"
    assert outputs[0] == outputs[1]


# --- Bad input ----------------------------------------------------------------------------------------

NASTY = (
    "", " ", "-1", "0", "1", "0x", "0x1f", "0x20", "99999999999999999999", "08", "on", "off", "yes", "none", "pci", "virtio",
    "virtio-transitional", "virtio-non-transitional", "pcie-root-port", "pcie-to-pci-bridge", "pci-bridge", "pcie-root",
    "dmi-to-pci-bridge", "pcie-expander-bus", "pcie-switch-upstream-port", "scsi", "usb", "sata", "hostdev", "drive", "ccw",
    "ua-", "vda", "sda", "\u00fc", "]]&gt;", "&#10;", "{}", "%s",
)  # fmt: skip


def mutate(xml: str, r: Random) -> bytes:
    """Return the text with one to four wounds: in its bytes, in its attributes, in its tags."""
    data = bytearray(xml.encode())
    for _ in range(r.choice((1, 1, 2, 4))):
        kind = r.randrange(6)
        start = r.randrange(len(data) + 1)
        end = min(len(data), start + r.choice((1, 1, 8, 60, 400)))
        if kind == 0:
            del data[start:end]
        elif kind == 1:
            data[start:start] = data[start:end]
        elif kind == 2:
            data[start:end] = bytes(r.randrange(256) for _ in range(r.choice((1, 4))))
        else:
            data = bytearray(_attribute(data, r, r.choice(NASTY).encode(), swap=kind == 5))
        if not data:
            break
    return bytes(data)


def _attribute(data: bytearray, r: Random, value: bytes, *, swap: bool) -> bytes:
    """Give one attribute another value, or that of another attribute."""
    spans = []
    at = 0
    while (equals := data.find(b"=", at)) >= 0:
        quote = data[equals + 1 : equals + 2]
        close = data.find(quote, equals + 2) if quote in (b"'", b'"') else -1
        at = equals + 1
        if close > 0:
            spans.append((equals + 2, close))
            at = close + 1
    if not spans:
        return bytes(data)
    start, end = r.choice(spans)
    if swap:
        other = r.choice(spans)
        value = bytes(data[other[0] : other[1]])
    return bytes(data[:start]) + value + bytes(data[end:])


@settings(parent=BOUNDED, max_examples=EXAMPLES * 4)
@given(
    seed=seeds, guest=st.sampled_from((*LEGACY, "fedora24")), strategy=st.sampled_from((None, *STRATEGIES))
)
def test_whatever_is_broken_ends_in_one_kind_of_error(seed: int, guest: str, strategy: str | None) -> None:
    """A mutilated file is planned, or refused by a VirtfixError: no other exception, and nothing half done."""
    r = Random(seed)
    wounded = mutate(generate(r), r)
    try:
        made = plan(wounded, guest, strategy=strategy)
    except VirtfixError as error:
        assert error.code
        assert "\n" not in str(error)
        return
    if not made.edits:
        assert made.result == wounded
    assert plan(made.result, guest, strategy=strategy).edits == ()


# --- Domains of other projects ------------------------------------------------------------------------


@pytest.mark.skipif(not corpus(), reason="no corpus: set VIRTFIX_CORPUS to a folder of domain XML")
def test_the_corpus_is_planned() -> None:
    """Every file is planned for a legacy guest with each strategy, or refused by a VirtfixError."""
    planned, wrong = 0, {}
    for path in corpus():
        data = path.read_bytes()
        for guest in ("rhel6", LEGACY_ONLY):
            for strategy in (None, *STRATEGIES):
                try:
                    made = plan(data, guest, strategy=strategy)
                    check_invariants(data, made, guest, strategy=strategy)
                    planned += 1
                except VirtfixError:
                    continue
                except Exception as error:  # noqa: BLE001 - the list of all that fails says more than the first
                    wrong[f"{path.name}, {guest}, {strategy}"] = f"{type(error).__name__}: {error}"
    assert wrong == {}
    assert planned > len(corpus()), "most of it is domain XML"


@pytest.mark.skipif(not corpus(), reason="no corpus: set VIRTFIX_CORPUS to a folder of domain XML")
@pytest.mark.parametrize("guest", ["fedora24", "win10"])
def test_the_corpus_stays_as_it_is_for_a_modern_guest(guest: str) -> None:
    """The same bytes, for every file that is a domain at all."""
    same = 0
    for path in corpus():
        data = path.read_bytes()
        try:
            assert plan(data, guest).result == data, path
        except VirtfixError:
            continue
        same += 1
    assert same * 2 > len(corpus()), "most of it is domain XML"
