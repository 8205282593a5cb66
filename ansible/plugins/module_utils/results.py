# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""What virtfix prints, as the values that modules return. Pure: text and values in, values out."""

import json
import re

PLAN_FORMAT = 1
STATUSES = ("changed", "unchanged", "blocked", "failed")
VERDICTS = {
    "broken now": "broken",
    "breaks at next start": "broken",
    "right at next start": "pending",
    "right": "right",
    "unknown guest": "unknown",
    "not judged": "ignored",
    "error": "failed",
}
_SHOWN = 3  # problems that a message tells; the result has all
_RUN = re.compile(r"\brun (\d{8}T\d{6}Z-[0-9a-f]{4,})\s*$", re.MULTILINE)


class FormError(Exception):
    """What was printed is not what this collection can read."""


def _parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        # Its own text tells a person nothing.
        raise FormError("what it printed is no JSON") from None


def listed(text):
    """Return a list of objects, also of one object or of nothing. Raises FormError."""
    value = _parsed(text) if text.strip() else []
    value = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in value):
        raise FormError("what it printed is no list of objects")
    return value


def lines(text):
    """Return the objects of whole lines; the last may be cut off where virtfix was killed."""
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            break
        if isinstance(value, dict):
            found.append(value)
    return found


def run_id(stderr):
    """Return the id of the run that apply or rollback tells of last, '' for none.

    The history lists runs too, but can not tell which of them was of this process.
    """
    found = _RUN.findall(stderr)
    return found[-1] if found else ""


# --- plans --------------------------------------------------------------------------------------------


def plans(text):
    """Return the plans of ``plan --format json``. Raises FormError."""
    found = listed(text)
    for plan in found:
        if plan.get("format") != PLAN_FORMAT:
            raise FormError(
                "its plans have format {}, and this collection reads {}: update the older of both".format(
                    plan.get("format"), PLAN_FORMAT
                )
            )
    return found


def name_of(plan):
    """Return the name of the domain, or of where it comes from if there is no plan for it."""
    return plan.get("domain", {}).get("name") or plan["source"]


def of_plan(plan):
    """Return what a play can decide by; edits and evidence, which are long, stay with virtfix."""
    error = plan.get("error") or {}
    return {
        "name": name_of(plan),
        "uuid": plan.get("domain", {}).get("uuid", ""),
        "status": plan["status"],
        "guest": plan.get("guest", {}).get("id", ""),
        "machine": plan.get("machine", {}),
        "changes": [
            {key: change[key] for key in ("device", "remedy", "mode", "address")}
            for change in plan.get("changes", ())
        ],
        "unresolved": [_finding(finding) for finding in plan.get("unresolved", ())],
        "consequences": [consequence["text"] for consequence in plan.get("consequences", ())],
        "skipped": [skip["reason"] for skip in plan.get("skips", ())],
        "error": _reason(error),
        "code": error.get("code", ""),
    }


def _finding(finding):
    return {key: finding[key] for key in ("code", "severity", "device", "why")}


def _reason(error):
    parts = [error.get(key) for key in ("summary", "hint")]
    return "; ".join(part for part in parts if part)


def counted(values, words):
    """Return how many values have each word as their status."""
    counts = dict.fromkeys(words, 0)
    for value in values:
        counts[value["status"]] = counts.get(value["status"], 0) + 1
    return counts


# --- apply, rollback ----------------------------------------------------------------------------------


def foreseen(plan, uri, strict):
    """Return what apply would tell of a domain, as far as its plan shows it."""
    result = {
        "status": "unchanged",
        "uri": uri,
        "uuid": plan.get("domain", {}).get("uuid", ""),
        "name": name_of(plan),
        "code": "",
        "reason": "",
        "devices": 0,
        "unresolved": len(plan.get("unresolved", ())),
        "pending_restart": False,
        "notes": [],
    }
    if plan["status"] == "error":
        error = plan["error"]
        result.update(status="failed", code=error["code"], reason=_reason(error))
    elif strict and plan["unresolved"]:
        first = plan["unresolved"][0]
        reason = "unresolved: {} {}: {}".format(first["code"], first["device"], first["why"])
        result.update(status="blocked", code="apply.strict", reason=reason)
    elif plan["edits"]:
        result.update(status="changed", devices=len(plan["changes"]))
    else:
        result["code"] = "apply.unchanged"
    return result


def problem(found):
    """Return one sentence for what failed or is blocked, '' where all is well."""
    bad = [one for one in found if one["status"] in ("failed", "blocked")]
    if not bad:
        return ""
    return "{} of {} not well: {}".format(
        len(bad),
        domains(len(found)),
        few("{} {}: {}".format(one["name"], one["status"], one["reason"] or one["code"]) for one in bad),
    )


def domains(count):
    """Return a number of domains in words."""
    return "{} domain{}".format(count, "" if count == 1 else "s")


def few(texts):
    """Return the first of many sentences as one."""
    texts = list(texts)
    more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return "; ".join(texts[:_SHOWN] + more)


def to_put_back(history, domain):
    """Return the domains of a run that a rollback would put back.

    Where nothing was replaced, or all of it is back, rollback is an error and for a play nothing to do.
    """
    return [
        one
        for one in history["domains"]
        if one["status"] not in ("restored", "kept old")
        and (not domain or domain == one["name"] or domain.lower() == one["uuid"])
    ]


def latest(runs):
    """Return the id of the last run that changed definitions, '' for none; also one that was undone since.

    That it was undone must not make an older run the latest: a second rollback would go back further.
    """
    for run in reversed(runs):
        if run["command"] in ("apply", "define") and run["counts"]:
            return run["run"]
    return ""


# --- audit, verify ------------------------------------------------------------------------------------


def facts(audited, version):
    """Return the facts of a host: names by what is to do, and each domain."""
    found = {word: [] for word in sorted(set(VERDICTS.values()))}
    for one in audited:
        # A verdict that a later virtfix may bring is nothing to act upon unseen.
        found[VERDICTS.get(one["verdict"], "failed")].append(one["name"])
    found["version"] = version
    found["domains"] = [_audited(one) for one in audited]
    return found


def _audited(one):
    guest = one.get("guest") or {}
    return {
        "name": one["name"],
        "uuid": one["uuid"],
        "uri": one["uri"],
        "state": one["state"],
        "verdict": one["verdict"],
        "reason": one["reason"],
        "guest": guest.get("id", ""),
        "interface": guest.get("interface", ""),
        "wrong_now": _devices(one.get("now")),
        "wrong_next": _devices(one.get("next")),
        "notes": one["notes"],
    }


def _devices(side):
    return [finding["device"] for finding in (side or {}).get("findings", ())]


def of_copy(copy):
    """Return what a copy that verify tried has shown."""
    error = copy.get("error") or {}
    return {
        "name": copy["source"],
        "state": copy.get("state", ""),
        "passed": bool(copy.get("passed")) and not error,
        "failed": [
            {"device": device["device"], "why": device["why"]}
            for device in copy.get("devices", ())
            if device["verdict"] == "fail"
        ],
        "problems": (copy.get("booted") or {}).get("problems", []),
        "notes": copy.get("notes", []),
        "error": error.get("summary", ""),
    }


def copy_problem(copies, state):
    """Return one sentence for the copies that do not pass, '' where all do; of both, the plan counts."""
    told = []
    for copy in copies:
        if copy["passed"] or (state == "both" and copy["state"] == "before" and not copy["error"]):
            continue
        reasons = ["{}: {}".format(device["device"], device["why"]) for device in copy["failed"]]
        reasons = [copy["error"]] if copy["error"] else reasons + list(copy["problems"])
        told.append("{} ({}): {}".format(copy["name"], copy["state"] or state, few(reasons)))
    return few(told)
