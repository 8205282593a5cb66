#!/usr/bin/python
# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: virtfix rollback."""

DOCUMENTATION = r"""
module: rollback
short_description: Put back the definitions that a run of virtfix replaced
version_added: 0.1.0
description:
  - Puts back the definitions that a run of M(virtfix.libvirt.apply) replaced, byte for byte, by C(virtfix rollback).
  - What is put back already is left as it is, so a second rollback of a run changes nothing.
  - The module fails where a domain failed or is blocked, as one that was changed since the run.
options:
  run:
    description:
      - Id of the run, as M(virtfix.libvirt.apply) returns it.
      - V(latest) is the last run of O(state_dir) that changed definitions, be it undone or not. A second rollback of
        it goes no further back.
    type: str
    required: true
  domain:
    description:
      - Put back this domain only, by name or UUID. Without it all domains of the run.
    type: str
  force:
    description:
      - Put back domains too that were changed since. Those changes are lost.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells from the records of runs what would be put back.
    support: partial
    details:
      - What stands in the way, as a domain that was changed since, is not foreseen.
  diff_mode:
    description: The old definitions hold passwords, so no difference is shown.
    support: none
extends_documentation_fragment:
  - virtfix.libvirt.options
  - virtfix.libvirt.options.run
seealso:
  - module: virtfix.libvirt.apply
author:
  - The virtfix maintainers (@virtfix)
"""

EXAMPLES = r"""
- name: Undo the run of this play
  virtfix.libvirt.rollback:
    run: "{{ applied.run }}"

- name: Undo the last run of each host, where there is one
  virtfix.libvirt.rollback:
    run: latest
    state_dir: /var/lib/virtfix

- name: Undo what a run did to one domain
  virtfix.libvirt.rollback:
    run: 20300402T221536Z-0000
    domain: web-1
"""

RETURN = r"""
run:
  description: Id of the run that was undone. Empty where O(run=latest) and no run changed anything.
  returned: success
  type: str
  sample: 20300402T221536Z-0000
counts:
  description: How many domains have which status. Those that were put back before are not counted.
  returned: always, but where virtfix could not begin or was cut off
  type: dict
  sample: {changed: 3, unchanged: 0, blocked: 0, failed: 0}
domains:
  description: What became of each domain, as M(virtfix.libvirt.apply) returns it.
  returned: always, once virtfix has run
  type: list
  elements: dict
virtfix_version:
  description: Version of virtfix on the managed host.
  returned: success
  type: str
  sample: 0.1.0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virtfix.libvirt.plugins.module_utils import options, results
from ansible_collections.virtfix.libvirt.plugins.module_utils.program import Program, complaint

OWN = {
    "run": {"type": "str", "required": True},
    "domain": {"type": "str"},
    "force": {"type": "bool", "default": False},
}
STATE = {"state_dir": options.RUN["state_dir"]}


def chosen_run(program, params):
    """Return the id of the run that is meant, '' where there is none."""
    if params["run"] != "latest":
        return params["run"]
    words = [*options.arguments(params, STATE), "--format=json"]
    return program.read("history", words, lambda text: results.latest(results.listed(text)))[1]


def recorded(program, params, run):
    """Return the whole id of a run, and the domains that its rollback would put back."""
    words = [*options.arguments(params, STATE), "--format=json", f"--run={run}"]

    def read(text):
        (history,) = results.listed(text)
        return history["run"], results.to_put_back(history, params["domain"])

    return program.read("history", words, read)[1]


def put_back(program, params, run):
    """Put definitions back; return exit code, what became of each domain, and what it complained of."""
    words = options.arguments(params, options.RUN)
    words += ["--domain={}".format(params["domain"])] if params["domain"] else []
    words += ["--force"] if params["force"] else []
    code, out, err = program.run("rollback", [*words, "--yes", "--jsonl", "--", run])
    return code, results.lines(out), complaint(code, err)


def main():
    module = AnsibleModule(argument_spec=options.spec(OWN, options.RUN), supports_check_mode=True)
    program = Program(module)
    run = chosen_run(program, module.params)
    waiting = []
    if run:
        run, waiting = recorded(program, module.params, run)
    code, domains, told = 0, [], ""
    if waiting and module.check_mode:
        domains = [
            {"status": "changed", "uri": one["uri"], "uuid": one["uuid"], "name": one["name"]}
            for one in waiting
        ]
    elif waiting:
        code, domains, told = put_back(program, module.params, run)
    answer = {
        "changed": any(one["status"] == "changed" for one in domains),
        "run": run,
        "counts": results.counted(domains, results.STATUSES),
        "domains": domains,
    }
    wrong = results.problem(domains)
    if code and (not wrong or code not in (1, 4)):
        # It was cut off, or never began: nobody can count what was not come to, and failed_when must not.
        del answer["counts"]
        wrong = told
    if wrong:
        program.fail("rollback", wrong, **answer)
    module.exit_json(virtfix_version=program.version, **answer)


if __name__ == "__main__":
    main()
