"""What others call an operating system, as libosinfo short ids: os-release, Windows versions, platforms.

Each function returns the ids that a name may stand for, the most exact one first; whoever asks takes the first
that a policy knows.
"""

from __future__ import annotations

import re

# ID of /etc/os-release (os-release(5)), and the family of libosinfo's id where it is another.
_OS_RELEASE = {
    "opensuse-leap": "opensuse",
    "alpine": "alpinelinux",
    "scientific": "scientificlinux",
    "amzn": "amazonlinux",
    "altlinux": "alt",
    "dragonfly": "dragonflybsd",
    "endless": "eos",
    "pop": "popos",
}
_ROLLING = {
    "arch": "archlinux",
    "gentoo": "gentoo",
    "manjaro": "manjaro",
    "void": "voidlinux",
    "opensuse-tumbleweed": "opensusetumbleweed",
    "clear-linux-os": "clearlinux",
}

# Kernel and edition of Windows (Microsoft, "Operating System Version"), and libosinfo's id.
_WINDOWS = {
    ("5.0", False): "win2k",
    ("5.1", False): "winxp",
    ("5.2", False): "winxp",  # XP x64
    ("5.2", True): "win2k3",
    ("6.0", False): "winvista",
    ("6.0", True): "win2k8",
    ("6.1", False): "win7",
    ("6.1", True): "win2k8r2",
    ("6.2", False): "win8",
    ("6.2", True): "win2k12",
    ("6.3", False): "win8.1",
    ("6.3", True): "win2k12r2",
}
# From 10.0 on the build tells: the first build of each release, the latest first.
_WINDOWS_10 = {
    False: ((22000, "win11"), (0, "win10")),
    True: ((26100, "win2k25"), (20348, "win2k22"), (17763, "win2k19"), (0, "win2k16")),
}


def of_os_release(name: str, version: str, pretty: str = "") -> tuple[str, ...]:
    """Return the ids of ID and VERSION_ID of an os-release file; ``pretty`` is PRETTY_NAME."""
    name, version = name.strip().lower(), version.strip().lower()
    if not name:
        return ()
    if name in _ROLLING:
        return (_ROLLING[name],)
    family = _OS_RELEASE.get(name, name)
    major, _, minor = version.partition(".")
    if family == "centos" and "stream" in pretty.lower():
        return (f"centos-stream{major}",)
    if family == "windows":
        return tuple(filter(None, (_OVIRT_WINDOWS.get(version.replace(" ", ""), ""),)))
    if family == "ubuntu" and len(minor) == 1:  # an inspection gives 14.04 as the numbers 14 and 4
        version = f"{major}.0{minor}"
    if family in {"sles", "sled", "sle"}:
        # SUSE writes 12.5 for 12 SP5; from 15 on libosinfo has one family for both products.
        family = "sle" if major.isdecimal() and int(major) >= 15 else family
        return (
            f"{family}{major}sp{minor}" if minor not in {"", "0"} else f"{family}{major}",
            f"{family}{major}",
        )
    return tuple(
        dict.fromkeys(filter(None, (family + version, family + major, f"{family}-{version}", family)))
    )


def of_windows(version: str, *, server: bool, build: str = "") -> tuple[str, ...]:
    """Return the ids of a Windows of kernel ``version`` (6.1) and ``build`` (7601)."""
    key = ".".join(version.strip().split(".")[:2])
    if (key, server) in _WINDOWS:
        return (_WINDOWS[key, server],)
    if key != "10.0":
        return ()
    if not build.isdecimal():  # an older release is the safe answer
        return (_WINDOWS_10[server][-1][1],)
    return (next(found for first, found in _WINDOWS_10[server] if int(build[:9]) >= first),)


def of_kernel(kernel: str) -> tuple[str, ...]:
    """Return the id of a Linux that is known by its kernel alone: ``linux3.10`` for 3.10.0-229.el7."""
    found = re.match(r"(2\.6\.\d{1,3}|\d{1,2}\.\d{1,3})(?!\d)", kernel)
    return (f"linux{found[1]}",) if found else ()


# What says too little to plan by.
_VAGUE = {
    "",
    "linux",
    "windows",
    "win",
    "unix",
    "other",
    "otherlinux",
    "otheros",
    "unknown",
    "hvm",
    "unassigned",
    "generic",
}
_OVIRT_WINDOWS = {
    "xp": "winxp", "2003": "win2k3", "7": "win7", "8": "win8", "10": "win10", "11": "win11", "2008": "win2k8",
    "2008r2": "win2k8r2", "2012": "win2k12", "2012r2": "win2k12r2", "2016": "win2k16", "2019": "win2k19",
    "2022": "win2k22", "2025": "win2k25", "vista": "winvista",
}  # fmt: skip


def of_platform(text: str) -> tuple[str, ...]:
    """Return the ids that a management platform's name of a guest OS may stand for.

    A short id or URI stands for itself. GNOME Boxes adds the number of the medium to a URI; oVirt writes
    rhel_6x64, ubuntu_14_04, windows_2008R2x64 (osinfo-defaults.properties); Vagrant boxes are called
    generic/centos6, debian/wheezy64, bento/centos-6.9.
    """
    text = text.strip().lower()
    if "://" in text:
        return (re.sub(r":\d{1,3}$", "", text),)
    name = text.rpartition("/")[2]
    if name in _VAGUE:
        return ()
    found = [name]
    plain = re.sub(r"(?<=[a-z0-9])[-_]?(x?64|x86_64|amd64|i386)$", "", name)
    windows = re.fullmatch(r"windows[-_]?(?:server[-_]?)?(\w{1,8})", plain)
    if windows is not None:
        return tuple(filter(None, (_OVIRT_WINDOWS.get(windows[1], ""),)))
    found += [plain, re.sub(r"[-_](cloud-base|server|minimal|base)$", "", plain)]
    found += [re.sub(r"(?<=[a-z])[-_](?=\d)", "", item).replace("_", ".") for item in found[1:]]
    if text.count("/") == 1:  # centos/6, debian/wheezy
        family, _, rest = text.partition("/")
        found += [family + rest, family + found[2]]
    return tuple(item for item in dict.fromkeys(found) if item not in _VAGUE)
