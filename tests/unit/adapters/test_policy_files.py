"""Where policies are found, and that their compiled form is used only where it is fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixer.adapters import policy_files
from fixer.errors import VirtfixError
from fixer.policy import compiled
from fixer.policy.load import load

if TYPE_CHECKING:
    from pathlib import Path


def test_shipped_policies_are_found() -> None:
    """Guests first, then sites: sites build on nothing of theirs, and the order is fixed."""
    found = [name for name, _ in policy_files.shipped_files()]
    assert found == sorted(found)
    assert "site/default.yaml" in found


def test_user_policies(tmp_path: Path) -> None:
    """Files in the order given, of directories all *.yaml by name."""
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (tmp_path / name).write_text(name)
    single = tmp_path / "c.txt"
    found = policy_files.user_files([str(single), str(tmp_path)])
    assert [data for _, data in found] == [b"c.txt", b"a.yaml", b"b.yaml"]
    with pytest.raises(VirtfixError) as error:
        policy_files.user_files([str(tmp_path / "nosuch.yaml")])
    assert error.value.code == "file.read"


def test_compiled_policies_are_fresh() -> None:
    """A release is never slow to start: python docs/generate_policy.py has been run."""
    files = policy_files.shipped_files()
    data = (policy_files.shipped_root() / policy_files.COMPILED).read_bytes()
    assert compiled.parse(data, compiled.digest(files)) is not None


def test_compiled_policies_say_the_same() -> None:
    """Every id has the same facts, places and sources by either way."""
    files = policy_files.shipped_files()
    read, fast = load(files), policy_files.shipped()
    assert fast.known() == read.known()
    assert fast.site == read.site
    for os_id in (*read.known(), "http://redhat.com/rhel/6.9", "rhel6", "zzz", "fedora99"):
        assert fast.find(os_id) == read.find(os_id), os_id


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped policies that the tests may spoil."""
    for name, data in policy_files.shipped_files():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    original = policy_files.shipped_root() / policy_files.COMPILED
    (tmp_path / policy_files.COMPILED).write_bytes(original.read_bytes())
    monkeypatch.setattr(policy_files, "shipped_root", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("spoilt", [b"", b"{}", b"{", b"[1]\n", b"\xff\xfe", b'{"version":1,"digest":""}\n'])
def test_a_broken_compiled_form_is_not_used(copied: Path, spoilt: bytes) -> None:
    (copied / policy_files.COMPILED).write_bytes(spoilt)
    guest = policy_files.shipped().find("rhel6.9")
    assert guest is not None
    assert guest.interface.value == "legacy"


def test_a_stale_compiled_form_is_not_used(copied: Path) -> None:
    """An edit of the YAML holds at once."""
    file = copied / "guests" / "rhel.yaml"
    text = file.read_text()
    file.write_text(text.replace("name: RHEL 6.0-6.10", "name: Edited", 1))
    guest = policy_files.shipped().find("rhel6.9")
    assert guest is not None
    assert guest.name.startswith("Edited")


def test_missing_policies_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(policy_files, "__file__", str(tmp_path / "fixer" / "adapters" / "x.py"))
    with pytest.raises(VirtfixError, match="not installed"):
        policy_files.shipped_root()
