"""The report as one page, as CSV and as JUnit: whole, self-contained, and text stays text."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import zlib
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from reporting import HOSTILE, applied, audited, failed, fleet, gather, gather_all, planned, uuid_of, verified

from fixer.report import csv_text, html, junit, section, svg
from fixer.report.markup import shown
from fixer.report.topology import Node

if TYPE_CHECKING:
    from fixer.report.gathered import Gathered

VOID = {"meta", "input", "link", "br", "path", "rect", "circle"}
# What may stand in the page; an element or attribute of a name that was not escaped is none of these.
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "script",
        "body",
        "a",
        "header",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "nav",
    ),
    *(
        "ul",
        "li",
        "main",
        "section",
        "b",
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "bdi",
    ),
    *("code", "span", "form", "label", "input", "select", "option", "button", "kbd", "noscript", "details"),
    *("summary", "dl", "dt", "dd", "strong", "figure", "figcaption", "svg", "path", "rect", "circle", "text"),
    *("tspan", "pre", "ins", "del"),
}


class Page(HTMLParser):
    """Reads a page: elements with their attributes, text, and whether all that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.bodies: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.bodies:
            self.bodies[self.open[-1]].append(data)
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(gathered: Gathered, title: str = "virtfix report") -> str:
    return "".join(html.render(gathered, title=title, made="Made by a test."))


def unpacked(text: str) -> list[str]:
    """Return the details of all domains of a page with many."""
    blocks = re.findall(r'<script type="text/plain" id="p\d+" data-size="\d+">([^<]*)</script>', text)
    return [one for block in blocks for one in json.loads(zlib.decompress(base64.b64decode(block)))]


@pytest.fixture(scope="module")
def few() -> str:
    return page_of(gather_all(fleet(40)))


@pytest.fixture(scope="module")
def many() -> str:
    return page_of(gather_all(fleet(150)))


def test_the_page_needs_nothing_else(few: str, many: str) -> None:
    """No address of another place is loaded, and the policy of the page would not let it."""
    for text in (few, many):
        page = Page(text)
        for tag, attributes in page.elements:
            assert not {"src", "srcset", "action", "data", "poster", "style"} & set(attributes), tag
            assert tag not in {"link", "img", "iframe", "object", "embed", "base", "video", "audio", "use"}
            assert not any(name.startswith("on") for name in attributes), attributes
        assert all((link["href"] or "").startswith("#") for link in page.named("a"))
        assert "@import" not in text
        assert "url(" not in text


def test_the_policy_names_the_style_and_the_script_by_hash(few: str) -> None:
    """Nothing but the one style and the one script of the page runs."""
    page = Page(few)
    (policy,) = [meta["content"] for meta in page.named("meta") if "http-equiv" in meta]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind in ("style", "script"):
        (body,) = page.bodies[kind]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


def test_hostile_names_stay_text(few: str, many: str) -> None:
    """No name becomes an element or an attribute, and none reorders or hides what stands beside it."""
    for text in (few, many, *unpacked(many)):
        page = Page(text)
        assert {tag for tag, _ in page.elements} <= TAGS
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe]", text
        )
    page = Page(few)
    for name in HOSTILE:
        assert shown(name, 120) in page.text, name
    assert shown(HOSTILE[9]) in page.text, "a long name stands whole in its details"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text_wherever_it_comes_from(name: str) -> None:
    """Hosts, files, devices, sentences, diffs, codes: every text of a result is escaped."""
    plan = planned(name=name, uuid=name, source=name)
    for key in ("findings", "consequences", "changes"):
        plan[key][0] = {field: name if isinstance(old, str) else old for field, old in plan[key][0].items()}
    plan["changes"][0]["mode"] = plan["changes"][0]["address"] = {"before": name, "after": name + "x"}
    plan["guest"] |= {"id": name, "name": name, "how": name, "interface": name, "evidence": [name]}
    plan["machine"] |= {"type": name}
    plan["diff"] = f"--- {name}\n+++ {name}\n@@ -1 +1 @@\n-{name}\n+{name}\n"
    plan["topology"]["before"][3] |= {"device": name, "mode": name, "at": name}
    plan["topology"]["before"][0] |= {"model": name, "bus": name}
    plan["skips"] = [{"subject": name, "reason": name}]
    audit = audited("broken now", name=name, uuid=name, uri=name) | {"reason": name, "notes": [name]}
    done = applied("blocked", name=name, uuid=name, uri=name, code=name, reason=name)
    tried = verified(name) | {"notes": [name], "guest": name}
    tried["devices"][0] |= {"device": name, "why": name}
    gathered = gather([plan, audit, done, tried], host=name, file=name)
    page = Page(page_of(gathered, title=name))
    assert {tag for tag, _ in page.elements} <= TAGS
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    ET.fromstring("".join(junit.render(gathered)))
    rows = list(csv.reader(io.StringIO(csv_text.render(gathered))))
    assert len(rows) == 2
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in rows[1])


def test_few_domains_are_plain_and_many_are_packed(few: str, many: str) -> None:
    """Few can be read without a script; of many the list can, and every detail is there, packed."""
    assert Page(few).named("svg")
    assert unpacked(few) == []
    assert "<noscript>" not in few
    page, details = Page(many), unpacked(many)
    assert not page.named("svg")
    assert "<noscript>" in many
    assert len(details) == len(page.named("details")) == 150
    entries = gather_all(fleet(150)).entries
    assert details == [section.render(entry) for entry in entries]


def test_the_same_results_make_the_same_page() -> None:
    """No order of sets, no clock."""
    assert page_of(gather_all(fleet(120))) == page_of(gather_all(fleet(120)))


def test_headings_landmarks_and_labels(few: str) -> None:
    """Headings go down by one, tables have captions and heads, fields have labels, the language is said."""
    page = Page(few)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.named("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main"):
        assert len(page.named(landmark)) == 1
    assert len(page.named("table")) == len(page.named("caption"))
    assert all(head.get("scope") in {"col", "row"} for head in page.named("th"))
    assert all(picture.get("aria-label") for picture in page.named("svg"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(link["href"] or "")[1:] for link in page.named("a")} <= set(ids)


def test_the_page_shows_all_of_a_domain() -> None:
    """Findings, devices, both trees, the difference, consequences, names, evidence, and four commands."""
    results = [
        audited("broken now", name="vm", uuid=uuid_of(1)),
        planned("conversion", name="vm", uuid=uuid_of(1), source="vm"),
        applied("blocked", name="vm", uuid=uuid_of(1), reason="has a managed save"),
        verified("vm", passed=False),
        verified("vm", "after", passed=True),
    ]
    text = page_of(gather(results))
    page = Page(text)
    heads = {
        "Findings",
        "Devices that change",
        "PCI tree",
        "Difference",
        "Names in the guest",
        "Evidence and notes",
    }
    heads |= {"Devices as audited", "Verified on real QEMU: before", "What guest and owner will notice"}
    told = re.findall(r"<h4>(.*?)</h4>", text)
    assert heads <= set(told)
    assert {"Audit", "Plan", "Apply", "Verify"} <= set(told)
    assert len(page.named("svg")) == 2
    assert page.named("ins")
    assert page.named("del")
    for word in (
        "has a managed save",
        "before: FAIL",
        "after: PASS",
        "guests/rhel.yaml:221",
        "pc-q35-8.2",
    ):
        assert word in page.text, word


def test_a_plan_without_a_tree_shows_the_devices_that_change() -> None:
    """Plans of older versions hold no tree: what changes is drawn by the addresses."""
    plan = planned(uuid=uuid_of(1))
    del plan["topology"]
    page = Page(page_of(gather([plan])))
    assert len(page.named("svg")) == 2
    assert "the plan does not hold the tree" in page.text


def test_no_domain_at_all_is_a_page_too() -> None:
    """Hosts without domains make a page that says so."""
    page = Page(page_of(gather([])))
    assert "There are no domains." in page.text


def test_a_failed_plan_says_why() -> None:
    """A guest that nobody names is told in the card of the plan."""
    page = Page(page_of(gather([failed("vm.xml")])))
    assert "which OS the guest runs is not known" in page.text


def test_the_picture_draws_every_row() -> None:
    """A row a device; what changes stands out, and signs say by their form what their colour says."""
    nodes = [
        Node(0, "", "", model="pcie-root", bus="00"),
        Node(1, "02.0", "controller[pci 1]", model="pcie-root-port", bus="01", mark="added"),
        Node(2, "00.0", "disk[vda]", "modern-only"),
        Node(1, "03.0", "disk[" + "x" * 200 + "]", "transitional", mark="unwritten"),
    ]
    text = svg.tree(nodes, "a tree", {"disk[vda]"})
    root = ET.fromstring(text)
    rows = ["".join(row.itertext()) for row in root.findall("text")]
    assert len(rows) == len(nodes)
    assert "root port 1" in rows[1]
    assert "added by libvirt" in rows[1]
    assert "…" in rows[3]
    assert len(root.findall("rect[@class='hit']")) == 1
    assert len(root.findall("path[@class='bad']")) == 1
    assert len(root.findall("circle[@class='good']")) == 1


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_enough_in_both_colour_schemes() -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for each colour of text on each ground that it stands on."""
    style = html._asset("report.css")
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        pairs = [(text, ground) for text in ("text", "dim", "link") for ground in ("page", "panel", "raised")]
        tones = ("red", "amber", "violet", "blue", "green", "grey")
        pairs += [(tone, ground) for tone in tones for ground in ("page", "panel", f"{tone}-b")]
        pairs += [("red", "grey-b"), ("amber", "grey-b")]
        pairs += [(text, "hit") for text in ("text", "red", "green", "amber", "dim")]
        for text, ground in pairs:
            one, other = sorted((_luminance(colors[text]), _luminance(colors[ground])), reverse=True)
            assert (one + 0.05) / (other + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1", "\t=1", "\r=1", "＝1"])
def test_no_cell_is_a_formula(text: str) -> None:
    """A spreadsheet computes nothing that a domain is called."""
    assert csv_text.guarded(text).startswith("'")


def test_csv_has_a_row_a_domain() -> None:
    """All rows have all columns, and say what stands in the results."""
    results = [
        planned(name="vm", uuid=uuid_of(1), source="vm"),
        applied("changed", name="vm", uuid=uuid_of(1), pending_restart=True),
        verified("vm", "after", passed=True),
    ]
    rows = list(csv.DictReader(io.StringIO(csv_text.render(gather(results, host="kvm1")))))
    assert len(rows) == 1
    shown_ones = {
        "host": "kvm1",
        "domain": "vm",
        "stands": "right at next start",
        "os": "rhel6.10",
        "plan": "pending",
    }
    shown_ones |= {
        "apply": "changed",
        "pending_restart": "yes",
        "verify_after": "pass",
        "devices_to_change": "6",
    }
    assert {key: rows[0][key] for key in shown_ones} == shown_ones
    big = list(csv.reader(io.StringIO(csv_text.render(gather_all(fleet(60))))))
    assert {len(row) for row in big} == {len(csv_text.HEADS)}
    assert len(big) == 61


def test_junit_counts_what_it_holds() -> None:
    """Failures, errors and skipped ones are those that are counted; broken is a failure, unjudged is skipped."""
    results = [
        audited("broken now", name="a", uuid=uuid_of(1)),
        audited("right", name="b", uuid=uuid_of(2)),
        audited("not judged", name="c", uuid=uuid_of(3)),
        audited("error", name="d", uuid=uuid_of(4)),
        audited("unknown guest", name="b", uuid=uuid_of(5)),
    ]
    root = ET.fromstring("".join(junit.render(gather(results))))
    (suite,) = root.findall("testsuite")
    assert suite.attrib == {
        "name": "qemu:///system",
        "tests": "5",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    told = {case.get("name"): [inner.tag for inner in case] for case in suite}
    assert told == {
        "a": ["failure"],
        f"b ({uuid_of(2)})": [],
        f"b ({uuid_of(5)})": ["failure"],
        "c": ["skipped"],
        "d": ["error"],
    }
    whole = ET.fromstring("".join(junit.render(gather_all(fleet(80)))))
    for element in (whole, *whole.findall("testsuite")):
        cases = list(element.iter("testcase"))
        assert int(element.attrib["tests"]) == len(cases)
        for kind, inner in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(element.attrib[kind]) == sum(case.find(inner) is not None for case in cases)
