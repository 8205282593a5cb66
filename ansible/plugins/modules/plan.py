#!/usr/bin/python
# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: virtfix plan."""

DOCUMENTATION = r"""
module: plan
short_description: Show what virtfix would change in libvirt domains
version_added: 0.1.0
description:
  - Plans which devices of libvirt domains must move so that guests with legacy virtio drivers find them, by
    C(virtfix plan). Nothing is changed.
  - The module is never V(changed). To see the difference in diff mode, let C(changed_when) hang on RV(pending), as in
    the examples, or run M(virtfix.libvirt.apply) in check mode.
options:
  strict:
    description:
      - Fail where a finding would stay unresolved.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and return what it would otherwise.
    support: full
  diff_mode:
    description: Returns the unified diff of the plans. Ansible shows it where the task counts as changed.
    support: full
extends_documentation_fragment:
  - virtfix.libvirt.options
  - virtfix.libvirt.options.connect
  - virtfix.libvirt.options.choice
  - virtfix.libvirt.options.taking
  - virtfix.libvirt.options.guest
  - virtfix.libvirt.options.asking
  - virtfix.libvirt.options.planning
  - virtfix.libvirt.options.target
seealso:
  - module: virtfix.libvirt.apply
  - module: virtfix.libvirt.facts
author:
  - The virtfix maintainers (@virtfix)
"""

EXAMPLES = r"""
- name: Plan all domains of the host
  virtfix.libvirt.plan:
    all: true
  register: planned

- name: Plan some, and count hosts as changed where something is to do
  virtfix.libvirt.plan:
    connect: qemu:///system
    domains:
      - web-*
      - mail
    assume: legacy
    exclude: web-test*
    os_map: /etc/virtfix/fleet.yaml
    policy: /etc/virtfix/site.yaml
  register: planned
  changed_when: planned.pending

- name: Plan a conversion to Q35
  virtfix.libvirt.plan:
    domains: old-web
    machine: q35
    strict: true
"""

RETURN = r"""
pending:
  description: Whether there is something to change.
  returned: success
  type: bool
  sample: true
unresolved:
  description: Whether a finding would stay unresolved.
  returned: success
  type: bool
  sample: false
counts:
  description: How many domains have which status.
  returned: always, once virtfix has planned
  type: dict
  sample: {pending: 3, unresolved: 0, unchanged: 2, error: 0}
domains:
  description: One plan a domain. See C(docs/json.md) of virtfix for what the words mean.
  returned: always, once virtfix has planned
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
    uuid:
      description: UUID of the domain, empty where it could not be planned.
      type: str
    status:
      description: V(pending), V(unresolved), V(unchanged) or V(error).
      type: str
    guest:
      description: Id of its guest OS, empty where nobody names it.
      type: str
    machine:
      description: Machine type, family and firmware, and in RV(ignore:after) those of the result.
      type: dict
    changes:
      description: Each device that changes, with remedy, mode and address.
      type: list
      elements: dict
    unresolved:
      description: What would stay wrong, with code, severity, device and reason.
      type: list
      elements: dict
    consequences:
      description: What guest and owner will notice.
      type: list
      elements: str
    skipped:
      description: Why something was left alone.
      type: list
      elements: str
    error:
      description: Why it could not be planned, empty where it could.
      type: str
    code:
      description: A stable word for RV(domains[].error), as V(guest.unknown).
      type: str
virtfix_version:
  description: Version of virtfix on the managed host.
  returned: success
  type: str
  sample: 0.1.0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virtfix.libvirt.plugins.module_utils import options, results
from ansible_collections.virtfix.libvirt.plugins.module_utils.program import Program

STATUSES = ("pending", "unresolved", "unchanged", "error")
GROUPS = (options.CONNECT, options.GUEST, options.ASKING, options.PLANNING, options.TARGET)
STRICT = {"strict": {"type": "bool", "default": False}}


def main():
    module = AnsibleModule(
        argument_spec=options.spec(options.CHOICE, options.TAKING, STRICT, *GROUPS), supports_check_mode=True
    )
    wrong = options.selection_problem(module.params)
    if wrong:
        module.fail_json(msg=wrong)
    program = Program(module)
    words = options.arguments(module.params, *GROUPS)
    chosen = options.arguments(module.params, options.CHOICE, options.TAKING)

    def read(text):
        found = results.plans(text)
        return found, [results.of_plan(plan) for plan in found]

    _code, (plans, domains) = program.read(
        "plan", words + chosen + ["--format=json", "--detailed-exitcode"], read
    )
    answer = {"counts": results.counted(domains, STATUSES), "domains": domains}
    failed = [one for one in domains if one["status"] == "error"]
    if failed:
        told = results.few("{}: {}".format(one["name"], one["error"]) for one in failed)
        why = f"{len(failed)} of {results.domains(len(domains))} can not be planned: {told}"
        program.fail("plan", why, **answer)
    unresolved = [one for one in domains if one["unresolved"]]
    if unresolved and module.params["strict"]:
        told = results.few(
            "{} {}: {}".format(one["name"], one["unresolved"][0]["device"], one["unresolved"][0]["why"])
            for one in unresolved
        )
        program.fail("plan", f"{results.domains(len(unresolved))} would stay unresolved: {told}", **answer)
    if module._diff:
        answer["diff"] = {"prepared": program.diff(words, plans)}
    module.exit_json(
        changed=False,
        pending=any(plan["edits"] for plan in plans),
        unresolved=bool(unresolved),
        virtfix_version=program.version,
        **answer,
    )


if __name__ == "__main__":
    main()
