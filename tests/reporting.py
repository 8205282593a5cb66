"""Results of a fleet for tests of reports: plans of the samples, and what audit, apply and verify print of them."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from helpers import ROOT, plan, request

from fixer.planning.planner import plan_bytes
from fixer.report.gathered import Gathered
from fixer.report.plan_json import render
from fixer.report.results import Origin, read

if TYPE_CHECKING:
    from collections.abc import Iterable

SAMPLES = ("rhel6-q35-ovmf", "debian7-bridge", "many-disks-q35", "windows2008r2-q35", "already-right")

# Names that would be markup, formulas, or would reorder what stands beside them.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>window.hit=1</script>",
    "\"'><svg onload=window.hit=1>",
    "]]><!--",
    '=HYPERLINK("http://x","y")',
    "\u202eright to left\u2066",
    "bell\x07 line\nfeed \x1b[31mred",
    "lone \ud800 surrogate",
    "\u05d0\u05d1\u05d2 \u0627\u0628",
    "long " + "n" * 4091,
    "{{constructor.constructor('window.hit=1')()}}",
    "-->\u0000\ufffe",
)


@cache
def _plan(sample: str) -> str:
    return render(plan((ROOT / "samples" / f"{sample}.xml").read_bytes(), None), f"samples/{sample}.xml")


@cache
def _conversion() -> str:
    xml = (ROOT / "samples" / "i440fx-rhel6.xml").read_bytes()
    return render(plan_bytes(xml, request("rhel6")._replace(machine="q35=pc-q35-8.2")), "mail")


def planned(sample: str = SAMPLES[0], *, name: str = "", uuid: str = "", source: str = "") -> dict[str, Any]:
    """Return a plan of a sample as JSON values, under another name where one is given."""
    value: dict[str, Any] = json.loads(_conversion() if sample == "conversion" else _plan(sample))
    value["domain"]["name"] = name or value["domain"]["name"]
    value["domain"]["uuid"] = uuid or value["domain"]["uuid"]
    value["source"] = source or name or value["source"]
    return value


def failed(source: str, code: str = "guest.unknown") -> dict[str, Any]:
    error = {"code": code, "summary": "which OS the guest runs is not known", "where": "", "hint": ""}
    return {"format": 1, "tool": "virtfix 0.1.0", "source": source, "status": "error", "error": error}


def finding(device: str = "disk[vda]", code: str = "VF001") -> dict[str, str]:
    return {
        "code": code,
        "severity": "breaks boot",
        "device": device,
        "why": "modern-only at 04:00.0: no I/O BAR, PCI id 1af4:104x; a legacy driver does not bind",
        "evidence": "guests/rhel.yaml:221",
    }


def audited(
    verdict: str, *, name: str = "vm", uuid: str = "", uri: str = "qemu:///system", running: bool = True
) -> dict[str, Any]:
    """Return what audit prints of a domain with this verdict."""
    now_wrong = verdict in {"broken now", "right at next start"}
    next_wrong = verdict in {"broken now", "breaks at next start"}
    judged = verdict not in {"unknown guest", "not judged", "error"}
    guest = {"id": "rhel6.10", "name": "RHEL 6.0-6.10", "interface": "legacy", "how": "metadata"}
    look = {"by": "live XML", "findings": [finding()] if now_wrong else []}
    definition = {"by": "definition", "findings": [finding()] if next_wrong else []}
    row = {
        "device": "disk[vda]",
        "kind": "block",
        "now": "modern-only",
        "next": "modern-only",
        "negotiated": "",
    }
    return {
        "uri": uri,
        "uuid": uuid,
        "name": name,
        "state": "running" if running else "off",
        "verdict": verdict,
        "reason": "" if judged else "a reason",
        "guest": guest if judged else None,
        "now": look if judged and running else None,
        "next": definition if judged else None,
        "devices": [{**row, "qemu": None}] if judged else [],
        "notes": ["has a managed save"] if verdict == "broken now" else [],
    }


def applied(
    status: str, *, name: str = "vm", uuid: str = "", uri: str = "qemu:///system", **more: Any
) -> dict[str, Any]:
    base = {"status": status, "uri": uri, "uuid": uuid, "name": name, "code": "", "reason": "", "devices": 0}
    return {**base, "unresolved": 0, "pending_restart": False, "notes": [], **more}


def verified(source: str, state: str = "before", *, passed: bool = False) -> dict[str, Any]:
    row = {
        "device": "disk[vda]",
        "driver": "block",
        "expected_address": "04:00.0",
        "address": "04:00.0",
        "pci_id": "1af4:1042",
        "io": "",
        "handshake": None,
        "expected": "modern-only",
        "seen": "modern-only",
        "verdict": "pass" if passed else "fail",
        "why": "" if passed else "no I/O BAR",
    }
    notes = ["a video model of this host stands in"]
    told = {"source": source, "state": state, "guest": "judged for RHEL 6", "passed": passed, "seconds": 1.2}
    return {**told, "devices": [row], "notes": notes}


def uuid_of(number: int) -> str:
    return str(UUID(int=(1 << 120) + number))


def fleet(count: int) -> dict[str, list[dict[str, Any]]]:
    """Return the results of ``count`` domains on 25 hosts, by host: every state, and every hostile name."""
    verdicts = (
        "broken now",
        "breaks at next start",
        "right",
        "right at next start",
        "unknown guest",
        "not judged",
    )
    hosts: dict[str, list[dict[str, Any]]] = {}
    for number in range(count):
        host = f"kvm{number % 25:02}.example.org"
        hostile = number < len(HOSTILE)
        name = HOSTILE[number] if hostile else f"vm-{number:05}"
        uuid, sample = uuid_of(number), [*SAMPLES, "conversion"][number % 6]
        found = hosts.setdefault(host, [])
        found.append(planned(sample, name=name, uuid=uuid))
        if number % 3 != 1:
            running = number % 4 != 0
            found.append(audited(verdicts[number % 6], name=name, uuid=uuid, running=running))
        if number % 5 == 0:
            found.append(applied("changed", name=name, uuid=uuid, devices=6, pending_restart=number % 2 == 0))
        if number % 7 == 0:
            found.append(verified(name))
            found.append(verified(name, "after", passed=number % 2 == 0))
    return hosts


def gather(results: Iterable[dict[str, Any]], host: str = "", file: str = "r.json") -> Gathered:
    """Return these results, gathered from one file."""
    return gather_all({host: list(results)}, file)


def gather_all(hosts: dict[str, list[dict[str, Any]]], file: str = "") -> Gathered:
    gathered = Gathered()
    for host, results in hosts.items():
        name = file or f"{host}.json"
        gathered.open(host, name)
        for value in results:
            gathered.add(read(json.loads(json.dumps(value)), Origin(host, name)))
    return gathered.finish()
