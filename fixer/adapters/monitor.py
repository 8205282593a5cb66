"""QEMU's monitor, through libvirt. Each call taints the domain (custom-monitor)."""

from __future__ import annotations

import json
from typing import Any

from fixer.adapters.libvirt_store import message


class MonitorError(Exception):
    """QEMU or libvirt refused a command; the text is for people."""


def execute(domain: Any, command: str, **arguments: Any) -> Any:
    """Return the answer of a QMP command. Raises MonitorError."""
    asked = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
    try:
        answer = json.loads(_ask(domain, asked, 0))
    except ValueError:
        raise MonitorError("its answer is no JSON") from None
    if "return" not in answer:
        said = answer.get("error", {})
        if said.get("class") == "CommandNotFound":
            raise MonitorError(f"its QEMU has no {command}")
        raise MonitorError(f"it refuses {command}: {said.get('desc', '')}")
    return answer["return"]


def human(domain: Any, command: str) -> str:
    """Return what the human monitor answers to a command. Raises MonitorError."""
    return _ask(domain, command, 1)  # VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP


def _ask(domain: Any, command: str, flags: int) -> str:
    import libvirt  # noqa: PLC0415 - the store has loaded it

    try:
        import libvirt_qemu  # noqa: PLC0415 - few commands need it

        return str(libvirt_qemu.qemuMonitorCommand(domain, command, flags))
    except ImportError as error:
        raise MonitorError(f"the module libvirt_qemu can not be loaded ({error})") from None
    except libvirt.libvirtError as error:
        raise MonitorError(message(error)) from None
