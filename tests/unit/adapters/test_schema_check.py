"""Results against libvirt's own schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers import ROOT, plan

from fixer.adapters import schema_check
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = sorted((ROOT / "samples").glob("*.xml"))
# A schema of one element with one attribute, so that these tests need no libvirt.
TINY = """\
<element name="domain" xmlns="http://relaxng.org/ns/structure/1.0">
  <attribute name="type"/>
  <optional><element name="name"><text/></element></optional>
</element>
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "domain.rng"
    file.write_text(TINY)
    monkeypatch.setattr(schema_check, "_SCHEMA", file)
    schema_check._schema.cache_clear()
    yield file
    schema_check._schema.cache_clear()


@pytest.mark.usefixtures("tiny")
def test_what_fits_passes() -> None:
    """Silence is consent."""
    schema_check.validate(b"<domain type='kvm'><name>x</name></domain>")


@pytest.mark.usefixtures("tiny")
def test_what_does_not_fit_is_told_with_its_line() -> None:
    """The line of the element and the schema's own reason."""
    with pytest.raises(VirtfixError) as error:
        schema_check.validate(b"<domain type='kvm'>\n<nmae>x</nmae>\n</domain>")
    assert error.value.code == "schema.invalid"
    assert error.value.where in {"1", "2"}
    assert "nmae" in error.value.summary


@pytest.mark.usefixtures("tiny")
def test_entities_are_not_expanded() -> None:
    """The schema check opens no file and no address, whatever it is given."""
    data = (
        b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain type='kvm'><name>&x;</name></domain>"
    )
    try:
        schema_check.validate(data)
    except VirtfixError as error:
        assert "root:" not in str(error)


def test_without_libvirt_the_user_is_told(tiny: Path) -> None:
    """--validate needs the schema that libvirt installs."""
    tiny.unlink()
    with pytest.raises(VirtfixError) as error:
        schema_check.validate(b"<domain type='kvm'/>")
    assert error.value.code == "schema.missing"
    assert "--validate" in error.value.hint


@pytest.mark.skipif(not schema_check._SCHEMA.exists(), reason="libvirt's schema is not installed")
@pytest.mark.parametrize("strategy", [None, "integrated", "bridge", "transitional", "override"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_every_result_fits(sample: Path, strategy: str | None) -> None:
    """Samples before and after, with each remedy."""
    data = sample.read_bytes()
    schema_check.validate(data)
    schema_check.validate(plan(data, "centos6.10", strategy=strategy).result)


@pytest.mark.skipif(not schema_check._SCHEMA.exists(), reason="libvirt's schema is not installed")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"/var/lib/libvirt/images/", b"", "schema: disk[vda]: Extra element devices"),
        (b"<input type='tablet'", b"<input type='carpet'", "schema: input[carpet usb]: "),
        (b"<graphics type='spice'", b"<graphics type='spicy'", "schema: <graphics>: "),
        (b"<vcpu placement='static'>2", b"<vcpu placement='static'>two", "schema: Extra element vcpu"),
    ],
)
def test_the_device_that_does_not_fit_is_named(old: bytes, new: bytes, said: str) -> None:
    """libxml2 says of all of them that <devices> is wrong, without a line."""
    data = (ROOT / "samples" / "rhel6-q35-ovmf.xml").read_bytes()
    assert data.count(old) >= 1
    with pytest.raises(VirtfixError) as error:
        schema_check.validate(data.replace(old, new, 1))
    assert said in str(error.value)
    assert error.value.where == ""
