"""Rules of a site in a plan: what is left alone, what stays where it is, what is never used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, policies

from fixer.domain.model import read_domain
from fixer.guest.knowledge import Knowledge
from fixer.planning.planner import Request, make_plan
from fixer.policy.load import load

if TYPE_CHECKING:
    from fixer.planning.plan import Plan

SAMPLE = (ROOT / "samples" / "rhel6-q35-ovmf.xml").read_bytes()
NIC = "interface[52:54:00:6a:1e:0c]"


def planned(rules: str, *, data: bytes = SAMPLE, today: str = "2026-06-01") -> Plan:
    site = load([("s.yaml", f"format: 1\nkind: site\n{rules}".encode())], policies())
    return make_plan(read_domain(data), Request(Knowledge(site), site.site, today=today))


def remedies(plan: Plan) -> dict[str, str]:
    return {change.device: change.remedy for change in plan.changes}


def test_without_a_rule_all_devices_move() -> None:
    assert set(remedies(planned("")).values()) == {"integrated"}


def test_an_excluded_domain_is_left_alone_with_the_reason() -> None:
    plan = planned(
        "rules:\n  - {match: {name: [rhel6*]}, exclude: frozen until the audit, until: 2026-12-31}\n"
    )
    assert plan.result == SAMPLE
    assert [(skip.subject, skip.reason) for skip in plan.skips] == [
        ("domain", "left alone until 2026-12-31: frozen until the audit (s.yaml:4)")
    ]
    assert plan.unresolved == ()


def test_an_exclusion_that_ended_no_longer_holds_and_is_said() -> None:
    plan = planned("rules:\n  - {exclude: frozen, until: 2026-05-31}\n")
    assert plan.pending
    assert [skip.subject for skip in plan.skips] == ["site"]


def test_an_excluded_kind_stays_and_the_others_are_cured() -> None:
    plan = planned("rules:\n  - {kinds: [net], exclude: no downtime, until: 2026-12-31}\n")
    assert NIC not in remedies(plan)
    assert len(remedies(plan)) == 5
    assert [skip.subject for skip in plan.skips] == [NIC]
    assert plan.after.by_key[NIC].address == plan.domain.by_key[NIC].address


@pytest.mark.parametrize(
    "rules", ["keep-address: [net]\n", "rules:\n  - {kinds: [net], keep-address: yes}\n"]
)
def test_addresses_that_are_kept_leave_the_override(rules: str) -> None:
    plan = planned(rules)
    assert remedies(plan)[NIC] == "override"
    assert plan.after.by_key[NIC].address == plan.domain.by_key[NIC].address
    assert set(remedies(plan).values()) == {"integrated", "override"}


def test_no_move_and_no_override_is_unresolved_with_both_reasons() -> None:
    plan = planned("rules:\n  - {kinds: [net], keep-address: yes, forbid: [override]}\n")
    assert NIC not in remedies(plan)
    (finding,) = plan.unresolved
    assert finding.device == NIC
    assert "override: the site forbids it" in finding.why
    assert "integrated: the site keeps the addresses of net devices" in finding.why


def test_strategies_by_kind_and_domain() -> None:
    plan = planned(
        "rules:\n"
        "  - {match: {os: [rhel6.0..rhel6.10]}, kinds: [block, scsi], strategy: bridge}\n"
        "  - {match: {os: [win7]}, strategy: override}\n"
    )
    assert remedies(plan)["disk[vda]"] == "bridge"
    assert remedies(plan)["controller[scsi 0]"] == "bridge"
    assert remedies(plan)[NIC] == "integrated"


def test_a_remedy_forbidden_for_one_kind_is_used_for_others() -> None:
    plan = planned("rules:\n  - {kinds: [block], forbid: [integrated]}\n")
    assert remedies(plan)["disk[vda]"] != "integrated"
    assert remedies(plan)[NIC] == "integrated"


def test_rules_by_metadata() -> None:
    tagged = SAMPLE.replace(
        b"<metadata>", b"<metadata><s:site xmlns:s='urn:s'><s:tier>prod</s:tier></s:site>", 1
    )
    assert tagged != SAMPLE
    rule = "rules:\n  - {match: {metadata: {tier: prod}}, hotplug: yes}\n"
    assert set(remedies(planned(rule, data=tagged)).values()) == {"bridge"}
    assert set(remedies(planned(rule)).values()) == {"integrated"}
