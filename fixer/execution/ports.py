"""What execution needs of the world: a place where domains are defined, and one where a run is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixer.domain.state import State


class DomainStore(Protocol):
    """Where domains are defined. Methods raise VirtfixError; ``libvirt.gone`` for one that is not there."""

    @property
    def uri(self) -> str: ...
    def state(self, uuid: str) -> State: ...
    def obstacles(self, uuid: str) -> State:
        """Return what of the state can stand in the way of a definition: a managed save, a job."""

    def xml(self, uuid: str) -> bytes:
        """Return the inactive XML with all that is secret."""

    def check(self, xml: bytes) -> None:
        """Hold XML against the schema, where that can be done before it is defined."""

    def define(self, xml: bytes, *, validate: bool) -> None: ...
    def undefine(self, uuid: str) -> None: ...
    def remove_managed_save(self, uuid: str) -> None: ...


class Journal(Protocol):
    """Where a run is written down before and after each thing that it does."""

    def keep(self, uuid: str, data: bytes) -> str:
        """Store the XML as it was, for good, and return the name under which it lies."""

    def write(self, event: str, facts: Mapping[str, Any], *, wait: bool = True) -> None:
        """Append one event; where ``wait``, come back when it is on disk."""


class Trial(Protocol):
    """A throw-away copy that runs. Methods raise VirtfixError where it does not answer."""

    def query_pci(self) -> list[dict[str, Any]]:
        """Return QEMU's answer to ``query-pci``."""

    def human(self, command: str) -> str:
        """Return the answer of QEMU's human monitor."""

    def xml(self) -> bytes:
        """Return its live XML."""

    def log(self, name: str) -> bytes:
        """Return what came on ``serial``, the first serial port, or on ``debug``, the firmware's debug port."""

    def pause(self) -> None: ...
