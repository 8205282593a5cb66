# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""Options of the modules, and the arguments of virtfix that they become."""

EXECUTABLE = {"executable": {"type": "path", "default": "virtfix"}}

CONNECT = {"connect": {"type": "list", "elements": "str"}}

CHOICE = {
    "domains": {"type": "list", "elements": "str"},
    "all": {"type": "bool", "default": False},
}

GUEST = {
    "os": {"type": "str"},
    "assume": {"type": "str", "choices": ["legacy", "modern"]},
    "kernel": {"type": "str"},
    "virtio_win": {"type": "str"},
    "os_map": {"type": "list", "elements": "path"},
    "inspection": {"type": "list", "elements": "path"},
    "osinfo_db": {"type": "path"},
    "policy": {"type": "list", "elements": "path"},
}

# These connect to write, and change what libvirt says of a domain (it counts as tainted).
ASKING = {
    "guest_agent": {"type": "bool", "default": False},
    "negotiated": {"type": "bool", "default": False},
}

PLANNING = {
    "strategy": {"type": "str", "choices": ["integrated", "bridge", "transitional", "override"]},
    "hotplug": {"type": "list", "elements": "str"},
    "machine": {"type": "str"},
    "firmware": {"type": "str", "choices": ["bios", "efi"]},
    "esp": {"type": "bool", "default": False},
    "layout": {"type": "str", "choices": ["keep", "ports"]},
    "staged": {"type": "bool", "default": False},
    "driver_bound": {"type": "bool", "default": False},
}

# verify tries a copy on the host that it runs on, so it has no target.
TARGET = {"target_capabilities": {"type": "str"}}

TAKING = {
    "limit": {"type": "int", "default": 0},
    "exclude": {"type": "list", "elements": "str"},
}

APPLYING = {
    "canary": {"type": "int", "default": 0},
    "strict": {"type": "bool", "default": False},
    "fail_fast": {"type": "bool", "default": False},
    "make_persistent": {"type": "bool", "default": False},
    "remove_managed_save": {"type": "bool", "default": False},
}

RUN = {
    "state_dir": {"type": "path"},
    "wait": {"type": "float", "default": 0},
}

# Where the argument is not the option's name with dashes.
_FLAGS = {"domains": "--domain"}


def spec(*groups):
    """Return the argument specification that the groups make up together."""
    found = dict(EXECUTABLE)
    for group in groups:
        found.update(group)
    return found


def arguments(params, *groups):
    """Return the options of these groups as arguments of virtfix.

    A value stays in one word with its option, so that none that begins with a dash is taken for an option.
    """
    words = []
    for group in groups:
        for name in group:
            value = params[name]
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            if value is None or value is False or (group[name]["type"] in ("int", "float") and not value):
                continue
            if value is True:
                words.append(flag)
                continue
            values = value if isinstance(value, list) else [value]
            words.extend(f"{flag}={one}" for one in values)
    return words


def selection_problem(params):
    """Return what is wrong with the choice of domains, '' where nothing is."""
    if params["all"] and params["domains"]:
        return "give domains or all, not both"
    if not params["all"] and not params["domains"]:
        # What a variable that is not set leaves behind must not mean every domain.
        return "no domain is chosen: name domains, or set all to true"
    return ""
