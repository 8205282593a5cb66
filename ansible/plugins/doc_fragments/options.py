# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""Documentation that modules share, in the groups of module_utils/options.py."""


class ModuleDocFragment:
    """The groups by their names."""

    DOCUMENTATION = r"""
options:
  executable:
    description:
      - The program C(virtfix) on the managed host, by name or path.
    type: path
    default: virtfix
requirements:
  - virtfix 0.1.0 or later on the managed host, with libvirt-python
attributes:
  platform:
    description: Operating systems on which the module works.
    support: full
    platforms: linux
"""

    CONNECT = r"""
options:
  connect:
    description:
      - URIs of libvirt connections.
      - Without them the default connection of libvirt on the managed host is used.
    type: list
    elements: str
"""

    CHOICE = r"""
options:
  domains:
    description:
      - Domains by name, UUID or glob, in which only C(*) stands for other characters.
      - One that matches nothing is an error.
      - Mutually exclusive with O(all); one of both is needed. An empty list never means all domains.
    type: list
    elements: str
  all:
    description:
      - All domains of the connections.
    type: bool
    default: false
"""

    TAKING = r"""
options:
  limit:
    description:
      - Take the first so many domains only. V(0) means all.
    type: int
    default: 0
  exclude:
    description:
      - Globs of names to leave out.
    type: list
    elements: str
"""

    GUEST = r"""
options:
  os:
    description:
      - The guest OS of the domains, a libosinfo short id or URI, as V(rhel6.9).
      - Without it virtfix takes it from what names it, metadata of the domain first of all.
    type: str
  assume:
    description:
      - What to take a guest for that nobody names. Without it such a domain is an error.
    type: str
    choices: [legacy, modern]
  kernel:
    description:
      - The version of the guest's kernel, where the answer hangs on it.
    type: str
  virtio_win:
    description:
      - The build of the guest's virtio-win drivers, where the answer hangs on it.
    type: str
  os_map:
    description:
      - Files on the managed host that say which domains run what.
    type: list
    elements: path
  inspection:
    description:
      - Reports of virt-inspector on the managed host, or directories of them.
    type: list
    elements: path
  osinfo_db:
    description:
      - The osinfo-db to use instead of the installed one, a directory or an archive.
    type: path
  policy:
    description:
      - Policies on the managed host that add to those of virtfix, or override them.
    type: list
    elements: path
"""

    ASKING = r"""
options:
  guest_agent:
    description:
      - Ask the agent of a running guest which system it is. Connects to write.
    type: bool
    default: false
  negotiated:
    description:
      - Ask QEMU which virtio a running guest took. Connects to write, and taints the domain until it is stopped.
      - In check mode too, for without it the plan would be another one.
    type: bool
    default: false
"""

    PLANNING = r"""
options:
  strategy:
    description:
      - The remedy to prefer wherever it is feasible.
    type: str
    choices: [integrated, bridge, transitional, override]
  hotplug:
    description:
      - Kinds of devices that must keep hot-plug, as V(disk), V(interface), V(scsi), V(all).
    type: list
    elements: str
  machine:
    description:
      - Convert to this machine, V(q35) or V(pc), with an exact type as in V(q35=pc-q35-8.2).
    type: str
  firmware:
    description:
      - Convert to this firmware, where the guest can.
    type: str
    choices: [bios, efi]
  esp:
    description:
      - The disk of the guest has an EFI system partition. Goes with O(firmware=efi).
    type: bool
    default: false
  layout:
    description:
      - Of a conversion to Q35, whether places are kept or virtio devices of modern guests get root ports.
      - Goes with O(machine).
    type: str
    choices: [keep, ports]
  staged:
    description:
      - Convert in two steps where the guest must meet a driver first. Goes with O(machine).
    type: bool
    default: false
  driver_bound:
    description:
      - The guest has run with the driver of step 1, so go on to step 2. Goes with O(machine).
    type: bool
    default: false
"""

    TARGET = r"""
options:
  target_capabilities:
    description:
      - What the host offers that the domains will run on, if it is another one. The output of
        C(virsh domcapabilities) or C(virsh capabilities) in a file on the managed host, or the URI of a connection.
    type: str
"""

    RUN = r"""
options:
  state_dir:
    description:
      - Where runs are written down on the managed host, with the definitions that they replaced.
      - Without it C(/var/lib/virtfix) for root, the place of the XDG rules for others.
    type: path
  wait:
    description:
      - How many seconds to wait for another run to end that uses the same O(state_dir).
    type: float
    default: 0
"""
