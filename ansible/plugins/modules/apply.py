#!/usr/bin/python
# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: virtfix apply."""

DOCUMENTATION = r"""
module: apply
short_description: Redefine libvirt domains so that their guests find their virtio devices
version_added: 0.1.0
description:
  - Redefines libvirt domains by C(virtfix apply). The old definitions are kept on the managed host, and
    M(virtfix.libvirt.rollback) gives them back byte for byte.
  - Running guests are not touched. What is defined takes effect at their next full stop and start.
  - A domain that needs nothing is left as it is, so a second run changes nothing.
  - The module fails where a domain failed or is blocked (a managed save, a migration under way, an unresolved finding
    with O(strict)). What was changed before stays changed, and the result says so.
options:
  canary:
    description:
      - Change so many domains of the host first, and the others only if these are well.
    type: int
    default: 0
  strict:
    description:
      - Change no domain that has an unresolved finding.
    type: bool
    default: false
  fail_fast:
    description:
      - Stop at the first domain that fails or is blocked.
    type: bool
    default: false
  make_persistent:
    description:
      - Define transient domains too, which makes them stay.
    type: bool
    default: false
  remove_managed_save:
    description:
      - Give up the saved memory of the domains, for good. They must be named in O(domains), without globs.
    type: bool
    default: false
attributes:
  check_mode:
    description: Plans only, and returns what the plans make expect.
    support: partial
    details:
      - What stands in the way of a redefinition, as a managed save or a migration, is not foreseen.
  diff_mode:
    description: Shows the unified diff of the plans. virtfix leaves passwords and keys out of it.
    support: full
    details:
      - The plans are made just before the domains are redefined. A domain that changes in between is planned again, so
        in this one case more than what is shown may be done.
extends_documentation_fragment:
  - virtfix.libvirt.options
  - virtfix.libvirt.options.connect
  - virtfix.libvirt.options.choice
  - virtfix.libvirt.options.taking
  - virtfix.libvirt.options.guest
  - virtfix.libvirt.options.asking
  - virtfix.libvirt.options.planning
  - virtfix.libvirt.options.target
  - virtfix.libvirt.options.run
seealso:
  - module: virtfix.libvirt.plan
  - module: virtfix.libvirt.rollback
  - module: virtfix.libvirt.verify
author:
  - The virtfix maintainers (@virtfix)
"""

EXAMPLES = r"""
- name: Redefine what needs it, two domains of the host first
  virtfix.libvirt.apply:
    all: true
    canary: 2
    exclude: db-*
    state_dir: /var/lib/virtfix
  register: applied

- name: Domains with a managed save are left alone; that shall not fail here
  virtfix.libvirt.apply:
    all: true
  register: applied
  failed_when: applied.counts is not defined or applied.counts.failed > 0

- name: Convert a domain to Q35, for another host
  virtfix.libvirt.apply:
    connect: qemu:///system
    domains: old-web
    machine: q35
    target_capabilities: qemu+ssh://new-host/system
    strict: true
"""

RETURN = r"""
run:
  description: Id of the run, for M(virtfix.libvirt.rollback). Empty in check mode.
  returned: always, once virtfix has run
  type: str
  sample: 20300402T221536Z-0000
counts:
  description: How many domains have which status.
  returned: always, but where virtfix could not begin or was cut off
  type: dict
  sample: {changed: 3, unchanged: 2, blocked: 0, failed: 0}
pending_restart:
  description: Names of the domains that run with their old devices until they are shut down and started.
  returned: always, once virtfix has run
  type: list
  elements: str
domains:
  description: What became of each domain.
  returned: always, once virtfix has run
  type: list
  elements: dict
  contains:
    status:
      description: V(changed), V(unchanged), V(blocked) or V(failed).
      type: str
    uri:
      description: The connection. In check mode empty, unless O(connect) has one.
      type: str
    uuid:
      description: UUID of the domain.
      type: str
    name:
      description: Name of the domain.
      type: str
    code:
      description: A stable word, as V(apply.stale) or V(state.managed-save). Empty where all is well.
      type: str
    reason:
      description: The same for a person.
      type: str
    devices:
      description: How many devices changed.
      type: int
    unresolved:
      description: How many findings stay unresolved.
      type: int
    pending_restart:
      description: Whether it runs with its old devices. Not foreseen in check mode.
      type: bool
    notes:
      description: What a redefinition does not reach, as snapshots.
      type: list
      elements: str
virtfix_version:
  description: Version of virtfix on the managed host.
  returned: success
  type: str
  sample: 0.1.0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virtfix.libvirt.plugins.module_utils import options, results
from ansible_collections.virtfix.libvirt.plugins.module_utils.program import Program, complaint

PLANNED_BY = (options.CONNECT, options.GUEST, options.ASKING, options.PLANNING, options.TARGET)


def foresee(program, params):
    """Return the plans that apply would come to, and what it would tell."""
    connect = params["connect"] or []
    uri = connect[0] if len(connect) == 1 else ""

    def read(text):
        found = results.plans(text)
        return found, [results.foreseen(plan, uri, params["strict"]) for plan in found]

    words = options.arguments(params, options.CHOICE, options.TAKING, *PLANNED_BY)
    _code, (plans, domains) = program.read("plan", [*words, "--format=json", "--detailed-exitcode"], read)
    would = {one["uuid"] for one in domains if one["status"] == "changed"}
    return [plan for plan in plans if plan.get("domain", {}).get("uuid") in would], domains


def carry_out(program, params):
    """Redefine; return exit code, what became of each domain, the id of the run, and what it complained of."""
    words = options.arguments(
        params, options.CHOICE, options.TAKING, options.APPLYING, options.RUN, *PLANNED_BY
    )
    code, out, err = program.run("apply", [*words, "--yes", "--jsonl"])
    return code, results.lines(out), results.run_id(err), complaint(code, err)


def main():
    module = AnsibleModule(
        argument_spec=options.spec(
            options.CHOICE, options.TAKING, options.APPLYING, options.RUN, *PLANNED_BY
        ),
        supports_check_mode=True,
    )
    wrong = options.selection_problem(module.params)
    if wrong:
        module.fail_json(msg=wrong)
    program = Program(module)
    diff = ""
    code, domains, run, told = 0, [], "", ""
    if module.check_mode or module._diff:
        plans, domains = foresee(program, module.params)
        if module._diff:
            diff = program.diff(options.arguments(module.params, *PLANNED_BY), plans)
    if not module.check_mode:
        code, domains, run, told = carry_out(program, module.params)
    answer = {
        "changed": any(one["status"] == "changed" for one in domains),
        "run": run,
        "counts": results.counted(domains, results.STATUSES),
        "pending_restart": [one["name"] for one in domains if one["pending_restart"]],
        "domains": domains,
    }
    if module._diff:
        answer["diff"] = {"prepared": diff}
    wrong = results.problem(domains)
    if code and (not wrong or code not in (1, 4)):
        # It was cut off, or never began: nobody can count what was not come to, and failed_when must not.
        del answer["counts"]
        wrong = told
    if wrong:
        program.fail("apply", wrong, **answer)
    module.exit_json(virtfix_version=program.version, **answer)


if __name__ == "__main__":
    main()
