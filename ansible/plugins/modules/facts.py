#!/usr/bin/python
# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: virtfix audit, as facts."""

DOCUMENTATION = r"""
module: facts
short_description: Tell which libvirt domains are broken, pending or right
version_added: 0.1.0
description:
  - Looks at the libvirt domains of a host as they run and as they are defined, by C(virtfix audit) over a read-only
    connection, and sets the fact RV(ansible_facts.virtfix).
  - A domain that can not be looked at is among RV(ansible_facts.virtfix.failed), with a warning. The others are there.
attributes:
  check_mode:
    description: Can run in check mode and return what it would otherwise.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
  facts:
    description: Sets facts of the host.
    support: full
extends_documentation_fragment:
  - virtfix.libvirt.options
  - virtfix.libvirt.options.connect
  - virtfix.libvirt.options.choice
  - virtfix.libvirt.options.guest
seealso:
  - module: virtfix.libvirt.plan
  - module: virtfix.libvirt.apply
author:
  - The virtfix maintainers (@virtfix)
"""

EXAMPLES = r"""
- name: Look at all domains of the host
  virtfix.libvirt.facts:
    all: true

- name: Say which ones have to be stopped and started
  ansible.builtin.debug:
    var: virtfix.pending

- name: Nothing is broken, now or at the next start
  ansible.builtin.assert:
    that: virtfix.broken | length == 0
"""

RETURN = r"""
ansible_facts:
  description: Facts of the host.
  returned: success
  type: dict
  contains:
    virtfix:
      description: The domains that were looked at.
      type: dict
      contains:
        broken:
          description: Names of domains with devices that their guests can not drive, now or at their next start.
          type: list
          elements: str
        pending:
          description: Names of domains that are mended, and run with their old devices until they are stopped and started.
          type: list
          elements: str
        right:
          description: Names of domains where nothing is to do.
          type: list
          elements: str
        unknown:
          description: Names of domains whose guest nobody names.
          type: list
          elements: str
        ignored:
          description: Names of domains that are not judged, as the site leaves them alone or they are no such machines.
          type: list
          elements: str
        failed:
          description: Names of domains that could not be looked at.
          type: list
          elements: str
        version:
          description: Version of virtfix on the managed host.
          type: str
        domains:
          description: Each domain.
          type: list
          elements: dict
          contains:
            name:
              description: Name of the domain.
              type: str
            uuid:
              description: UUID of the domain.
              type: str
            uri:
              description: The connection.
              type: str
            state:
              description: V(running), V(paused) or V(off).
              type: str
            verdict:
              description: The verdict in the words of virtfix, as V(breaks at next start).
              type: str
            reason:
              description: A sentence for an unknown guest, what is not judged, and errors.
              type: str
            guest:
              description: Id of its guest OS.
              type: str
            interface:
              description: V(legacy), V(modern) or V(depends).
              type: str
            wrong_now:
              description: Devices of the running machine that its guest can not drive.
              type: list
              elements: str
            wrong_next:
              description: The same of the definition.
              type: list
              elements: str
            notes:
              description: Conflicting evidence, a managed save, and the like.
              type: list
              elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.virtfix.libvirt.plugins.module_utils import options, results
from ansible_collections.virtfix.libvirt.plugins.module_utils.program import Program

GROUPS = (options.CONNECT, options.CHOICE, options.GUEST)


def main():
    module = AnsibleModule(argument_spec=options.spec(*GROUPS), supports_check_mode=True)
    wrong = options.selection_problem(module.params)
    if wrong:
        module.fail_json(msg=wrong)
    program = Program(module)
    words = [*options.arguments(module.params, *GROUPS), "--format=json"]
    _code, found = program.read(
        "audit", words, lambda text: results.facts(results.listed(text), program.version)
    )
    for one in found["domains"]:
        if one["name"] in found["failed"]:
            module.warn("virtfix audit: {}: {}".format(one["name"], one["reason"] or one["verdict"]))
    module.exit_json(changed=False, ansible_facts={"virtfix": found})


if __name__ == "__main__":
    main()
