"""Asks a running guest what it is: through the guest agent, and through QEMU's view of its virtio drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixer.adapters.libvirt_store import message
from fixer.adapters.monitor import MonitorError, execute
from fixer.guest.clues import Clue, Seen, of_agent
from fixer.guest.negotiated import Observation, read_status

if TYPE_CHECKING:
    from fixer.adapters.libvirt_store import LibvirtStore

# An agent that is there answers in milliseconds; libvirt's own default is 5 s, for each command.
_AGENT_SECONDS = 5
# A guest has at most a few hundred devices; QEMU's PCI leaves room for 256 buses of 256 functions.
_MAX_DEVICES = 4096


def ask(store: LibvirtStore, uuid: str, name: str, *, agent: bool, negotiated: bool) -> Seen:
    """Return what the domain's running guest says. What can not be asked is a remark, not an error."""
    domain = store.find(uuid, name)
    if domain is None:
        return Seen(remarks=(f"{store.uri} has no such domain: its guest was not asked",))
    libvirt = _libvirt()
    try:
        if domain.state()[0] not in {libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED}:
            return Seen(remarks=("the domain does not run: its guest was not asked",))
    except libvirt.libvirtError as error:
        return Seen(remarks=(f"its guest was not asked: {message(error)}",))
    clues: tuple[Clue, ...] = ()
    observation = None
    remarks: list[str] = []
    if agent:
        clues = _ask_agent(domain, remarks)
    if negotiated:
        observation = _ask_qemu(domain, remarks)
    return Seen(clues, observation, tuple(remarks))


def _libvirt() -> Any:
    import libvirt  # noqa: PLC0415 - the store has loaded it

    return libvirt


def _ask_agent(domain: Any, remarks: list[str]) -> tuple[Clue, ...]:
    """Ask through virDomainGetGuestInfo (libvirt >= 5.7.0), which does not taint the domain."""
    libvirt = _libvirt()
    try:
        if hasattr(domain, "agentSetResponseTimeout"):
            domain.agentSetResponseTimeout(_AGENT_SECONDS)
        said = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS)
    except (libvirt.libvirtError, AttributeError) as error:
        reason = message(error) if isinstance(error, libvirt.libvirtError) else "libvirt 5.7.0 is needed"
        remarks.append(f"the guest agent did not answer: {reason}")
        return ()
    clue = of_agent({key.removeprefix("os."): str(value) for key, value in said.items()})
    if clue is None:
        remarks.append("the guest agent does not say which system it runs in")
    return () if clue is None else (clue,)


def _ask_qemu(domain: Any, remarks: list[str]) -> Observation | None:
    """Ask QMP x-query-virtio and x-query-virtio-status (QEMU >= 7.2), which taints the domain."""
    try:
        listed = execute(domain, "x-query-virtio")
        devices = [
            read_status(str(item["path"]), str(item["name"]), _status(domain, str(item["path"])))
            for item in listed[:_MAX_DEVICES]
        ]
    except (MonitorError, KeyError, TypeError) as error:
        remarks.append(f"QEMU does not say what the guest negotiated: {error}")
        return None
    return Observation(tuple(devices))


def _status(domain: Any, path: str) -> dict[str, Any]:
    status = execute(domain, "x-query-virtio-status", path=path)
    return status if isinstance(status, dict) else {}
