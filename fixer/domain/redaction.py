"""What must not be shown of a domain: passwords and keys give way to a fixed mark.

They stand in attributes of graphics (``passwd``), in cookies of disks, in what goes to QEMU's command line or
environment, and in metadata of the careless. References to secrets of libvirt (<secret usage=''/>) are no secrets.
"""

from __future__ import annotations

import re

MARK = "[secret]"

_QUOTED = r"""("[^"]*"|'[^']*')"""
# Names under which people keep secrets, also as part of a longer name.
_SECRETS = (
    *(
        "passwd",
        "password",
        "passphrase",
        "rootpw",
        "sshpw",
        "pwd",
        "secret",
        "token",
        "cookie",
        "credential",
    ),
    *(f"{what}{joint}key" for what in ("api", "private", "access") for joint in ("", "-", "_", "-_")),
)
_WORDS = "|".join(_SECRETS)
# A whole name with such a word: looked through once, or hostile text would take the square of the time.
_NAME = rf"(?=[\w.-]*(?:{_WORDS}))[\w.-]++"
_BARE_NAME = rf"(?<![\w.-]){_NAME}"  # where nothing that stands before it says where it begins
_ATTRIBUTE = re.compile(rf"(?i)({_BARE_NAME}\s*=\s*){_QUOTED}")
# <qemu:env name='X_TOKEN' value='...'/>, in either order of its attributes.
_NAMED_VALUE = re.compile(rf"(?i)(name\s*=\s*[\"']{_NAME}[\"'][^<>]*?\bvalue\s*=\s*){_QUOTED}")
_VALUE_NAMED = re.compile(rf"(?i)(\bvalue\s*=\s*){_QUOTED}([^<>]*?\bname\s*=\s*[\"']{_NAME}[\"'])")
# An argument: key=value,... as QEMU takes it, or JSON; and a bare argument that looks like a key.
_PAIR = re.compile(rf"(?i)({_BARE_NAME}\s*[=:]\s*(?:&quot;|[\"'])?)([^\s,;&<>\"']+)")
_JSON_PAIR = re.compile(rf"(?i)((?:&quot;|[\"']){_NAME}(?:&quot;|[\"'])\s*:\s*(?:&quot;|[\"']))([^&<>\"']+)")
_DATA = re.compile(r"(?i)(\bqom-type=secret\w*|\bsecret,[^<>]*?)\bdata=[^\s,;&<>\"']+")
_ELEMENT = re.compile(rf"(?is)(<(?:[\w.-]+:)?{_NAME}(?:\s[^<>]*)?(?<!/)>)([^<>]*[^<>\s][^<>]*)(</)")
_LONG_KEY = re.compile(
    r"(?<![\w/+.-])(?=[A-Za-z0-9+/_-]*\d)(?=[A-Za-z0-9+/_-]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}(?![\w/.-])"
)
# A pair in the query of a URL: ?token=..., &amp;token=..., query='token=...' of <source>.
_QUERY = re.compile(rf"(?i)((?:[?;]|\bquery\s*=\s*[\"']){_NAME}=)([^&;<>\"'\s]+)")
_COMMANDLINE = re.compile(r"(?s)(<(?:[\w.-]+:)?(?:arg|env)\b|<cmdline>)([^<>]*)")
# user:password@ of a URL, wherever it stands.
_URL_USER = re.compile(r"(\b[A-Za-z][\w+.-]{0,20}://[^\s/:@<>\"']{0,200}:)([^\s/@<>\"']+)(?=@)")
# An option within the name of an RBD image: pool/image:id=admin:key=...:mon_host=...
_RBD = re.compile(r"(:key=)([^:;<>\"'\s]+)")
# <entry name='opt/org/password'>...</entry> of fw_cfg, and its form on the command line.
_ENTRY = re.compile(
    rf"(?is)(<entry\b[^<>]*\bname\s*=\s*[\"'][^<>\"']*(?:{_WORDS})[^<>\"']*[\"'][^<>]*(?<!/)>)([^<>]+)(</)"
)
_FW_CFG = re.compile(r"(?i)(\bname=opt/[^<>\"']{0,200}?,string=)([^<>\"']+)")


def redact(text: str) -> str:
    """Return XML, or a part of it, with every value that looks like a secret marked; lines stay lines."""
    if not may_hold_secrets(text):
        return text
    text = _VALUE_NAMED.sub(lambda found: f"{found[1]}{_mark(found[2])}{found[3]}", text)
    for pattern in (_NAMED_VALUE, _ATTRIBUTE):
        text = pattern.sub(lambda found: found[1] + _mark(found[2]), text)
    text = _QUERY.sub(lambda found: found[1] + MARK, text)
    for pattern in (_URL_USER, _RBD):
        text = pattern.sub(lambda found: found[1] + MARK, text)
    text = _ENTRY.sub(lambda found: f"{found[1]}{_hidden(found[2])}{found[3]}", text)
    text = _ELEMENT.sub(lambda found: f"{found[1]}{_hidden(found[2])}{found[3]}", text)
    return _COMMANDLINE.sub(lambda found: found[1] + _argument(found[2]), text)


# What one of the patterns needs, in small letters. Most text has none of it and is let through at once: to look for
# each costs a twentieth of what one pattern takes that heeds no case. The keys are many, but all end alike.
_NEEDED = (
    *(word for word in _SECRETS if not word.endswith("key")),
    *("<cmdline>", "<arg", ":arg", "<env", ":env", ":key="),
)
_KEYS = tuple(word for word in _SECRETS if word.endswith("key"))


def may_hold_secrets(text: str) -> bool:
    """Tell whether ``redact`` has to look at a text; where it says no, of all lines of a text, nothing is marked."""
    small = text.casefold()
    return (
        any(word in small for word in _NEEDED)
        or ("key" in small and any(word in small for word in _KEYS))
        or ("://" in small and "@" in small)
    )


def _hidden(text: str) -> str:
    return MARK + "\n" * text.count("\n")


def _mark(quoted: str) -> str:
    return f"{quoted[0]}{_hidden(quoted)}{quoted[0]}"


def _argument(text: str) -> str:
    text = _DATA.sub(lambda found: f"{found[1]}data={MARK}", text)
    text = _FW_CFG.sub(lambda found: found[1] + MARK, text)
    for pattern in (_JSON_PAIR, _PAIR):
        text = pattern.sub(
            lambda found: found[1] + (found[2] if MARK in found[2] else _hidden(found[2])), text
        )
    return _LONG_KEY.sub(MARK, text)
