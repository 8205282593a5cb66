#!/usr/bin/python
# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: virtfix verify."""

DOCUMENTATION = r"""
module: verify
short_description: Try throw-away copies of libvirt domains on real QEMU
version_added: 0.1.0
description:
  - Starts a throw-away copy of each domain on the managed host and tells whether its guest finds its virtio devices, by
    C(virtfix verify). Images, NVRAM and networks of the domains are not touched.
  - The module fails where a device does not pass, so it can stand as a test in a play.
  - Each copy is started in turn and takes some seconds, without KVM and with a large firmware more.
options:
  state:
    description:
      - Whether to try the definition as it is (V(before)), as its plan leaves it (V(after)), or both. Of V(both) only the
        copy after the plan has to pass.
    type: str
    choices: [before, after, both]
    default: before
  boot_guest:
    description:
      - Boot a Linux guest with legacy drivers on top. The first time it is built, from packages of the distribution.
    type: bool
    default: false
  kvm:
    description:
      - Use KVM instead of emulation.
    type: bool
    default: false
  timeout:
    description:
      - How many seconds to wait for the firmware of a copy.
    type: int
    default: 120
attributes:
  check_mode:
    description: Tries the copies in check mode too, as nothing of the host changes.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
extends_documentation_fragment:
  - virtfix.libvirt.options
  - virtfix.libvirt.options.connect
  - virtfix.libvirt.options.choice
  - virtfix.libvirt.options.guest
  - virtfix.libvirt.options.planning
requirements:
  - QEMU, libvirt's QEMU driver and the firmware of the domains on the managed host
seealso:
  - module: virtfix.libvirt.apply
  - module: virtfix.libvirt.facts
author:
  - The virtfix maintainers (@virtfix)
"""

EXAMPLES = r"""
- name: Prove the plan of one domain before the fleet gets it
  virtfix.libvirt.verify:
    domains: web-1
    state: after

- name: Prove what was defined, with a guest that boots
  virtfix.libvirt.verify:
    domains: web-1
    boot_guest: true
    kvm: true
"""

RETURN = r"""
passed:
  description: Whether every device that a guest drives is there for it.
  returned: always, once virtfix has run
  type: bool
  sample: true
copies:
  description: The copies that were tried.
  returned: always, once virtfix has run
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
    state:
      description: V(before) or V(after).
      type: str
    passed:
      description: Whether nothing failed.
      type: bool
    failed:
      description: The devices that do not pass, with the reason.
      type: list
      elements: dict
    problems:
      description: What the guest that was booted misses.
      type: list
      elements: str
    notes:
      description: What is not as in the domain.
      type: list
      elements: str
    error:
      description: Why it could not be tried, empty where it could.
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

OWN = {
    "boot_guest": {"type": "bool", "default": False},
    "kvm": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 120},
}
STATE = {"state": {"type": "str", "choices": ["before", "after", "both"], "default": "before"}}
GROUPS = (options.CONNECT, options.CHOICE, options.GUEST, options.PLANNING, OWN)


def main():
    module = AnsibleModule(argument_spec=options.spec(STATE, *GROUPS), supports_check_mode=True)
    wrong = options.selection_problem(module.params)
    if wrong:
        module.fail_json(msg=wrong)
    program = Program(module)
    state = module.params["state"]
    words = [*options.arguments(module.params, *GROUPS), f"--{state}", "--format=json"]
    code, copies = program.read(
        "verify", words, lambda text: [results.of_copy(one) for one in results.listed(text)]
    )
    if code:
        why = results.copy_problem(copies, state) or f"it ended with exit code {code}"
        program.fail("verify", why, passed=False, copies=copies)
    module.exit_json(changed=False, passed=True, copies=copies, virtfix_version=program.version)


if __name__ == "__main__":
    main()
