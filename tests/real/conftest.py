"""The real tests share one embedded libvirt driver, and are skipped where it cannot run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import oracle as libvirt_oracle
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from redefining import Host

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # tests/helpers.py


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that use the oracle into one process, where the driver is started once."""
    for item in items:
        if HERE in item.path.parents and "oracle" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real)
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group("oracle"))


@pytest.fixture(scope="session")
def oracle() -> object:
    """Return the module ``oracle`` with its driver running; skip the test where it cannot run.

    With VIRTFIX_REQUIRE_REAL set, as continuous integration has it, that is a failure instead.
    """
    reason = libvirt_oracle.available()
    if reason and os.environ.get("VIRTFIX_REQUIRE_REAL"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return libvirt_oracle


@pytest.fixture(scope="session")
def bootable() -> None:
    """Skip the test where no guest can be booted; fail it where VIRTFIX_REQUIRE_REAL is set."""
    import legacy_guest

    lacking = legacy_guest.why_unavailable()
    if lacking and os.environ.get("VIRTFIX_REQUIRE_REAL"):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)


_opened: dict[Any, Any] = {}


@pytest.fixture
def host(oracle: ModuleType, tmp_path: Path) -> Iterator[Host]:
    """The driver of this process; whatever a test says with it is searched for the password at the end."""
    import legacy_guest
    from redefining import PASSWORD, Host

    from fixer.cli import sources

    made = Host(legacy_guest.connection(), tmp_path)
    made.clean()
    sources._stores.update(_opened)  # the driver bears some twenty connections in the life of a process
    try:
        yield made
    finally:
        made.clean()
        _opened.update(sources._stores)
        sources._stores.clear()
    assert PASSWORD not in "".join(made.said)
