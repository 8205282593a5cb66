"""Each edit of the vocabulary: what it writes, and that it refuses what it was not made for."""

from __future__ import annotations

import pytest
from helpers import QEMU, at, disk, domain, nic, nic_key, places, read

from fixer.domain.edits import (
    AddElement,
    Edit,
    SetAddress,
    SetAttribute,
    StaleEditError,
    address_element,
    splices,
)
from fixer.domain.writing import Element, apply_splices

VDA_AT_3 = 3 << 3


def edited(xml: str, *edits: Edit) -> str:
    subject = read(xml)
    result = apply_splices(subject.document.source, splices(subject, edits))
    return result.decode()


def test_no_edits_give_no_splices() -> None:
    """Nothing asked, nothing written."""
    assert splices(read(domain(disk("vda"))), ()) == []


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        pytest.param(
            SetAttribute("disk[vda]", "model", None, "virtio-transitional"),
            "<disk type='file' device='disk'>",
            "<disk type='file' device='disk' model='virtio-transitional'>",
            id="an attribute that was not there",
        ),
        pytest.param(
            SetAttribute(nic_key(1) + "/model", "type", "virtio", "virtio-transitional"),
            "<model type='virtio'/>",
            "<model type='virtio-transitional'/>",
            id="an attribute of a child",
        ),
        pytest.param(
            SetAttribute("disk[vda]", "device", "disk", None), "<disk type='file' device='disk'>", "<disk type='file'>",
            id="an attribute that goes"),
        pytest.param(
            SetAttribute("domain", "xmlns:qemu", None, QEMU),
            "<domain type='kvm'>",
            f"<domain type='kvm' xmlns:qemu='{QEMU}'>",
            id="a namespace of the root",
        ),
        pytest.param(
            SetAttribute("domain/os", "firmware", None, "efi"), "  <os>", "  <os firmware='efi'>", id="a child of the root"
        ),
        pytest.param(
            SetAddress("disk[vda]", VDA_AT_3, 4 << 3, multifunction=False),
            "bus='0x00' slot='0x03'",
            "bus='0x00' slot='0x04'",
            id="another slot: only that attribute",
        ),
        pytest.param(
            SetAddress("disk[vda]", VDA_AT_3, 2 << 8 | 1 << 3 | 7, multifunction=False),
            "bus='0x00' slot='0x03' function='0x0'",
            "bus='0x02' slot='0x01' function='0x7'",
            id="another bus, slot and function",
        ),
        pytest.param(
            SetAddress("disk[vda]", VDA_AT_3, 4 << 3, multifunction=True),
            "slot='0x03' function='0x0'/>",
            "slot='0x04' function='0x0' multifunction='on'/>",
            id="a function 0 of several",
        ),
        pytest.param(
            SetAddress(nic_key(1), None, 5 << 3, multifunction=False),
            "<model type='virtio'/></interface>",
            f"<model type='virtio'/>{at('00:05.0')}</interface>",
            id="a first address",
        ),
        pytest.param(
            AddElement("disk[vda]", Element("alias", {"name": "ua-a"}), ""),
            at("00:03.0") + "</disk>",
            at("00:03.0") + "<alias name='ua-a'/></disk>",
            id="a child of a device",
        ),
        pytest.param(
            AddElement("domain/devices", Element("memballoon", {"model": "none"}), "memballoon"),
            "</interface>\n",
            "</interface>\n    <memballoon model='none'/>\n",
            id="a device",
        ),
    ],
)  # fmt: skip
def test_an_edit_writes_what_it_says(edit: Edit, old: str, new: str) -> None:
    """One edit changes one place, in the spelling of libvirt and the style of the file."""
    xml = domain(disk("vda", "00:03.0") + nic(1))
    assert xml.count(old) == 1
    assert edited(xml, edit) == xml.replace(old, new)


@pytest.mark.parametrize(
    ("address", "multifunction", "old", "new"),
    [
        pytest.param(
            "<address type='pci' slot='3'/>",
            False,
            "<address type='pci' slot='3'/>",
            "<address type='pci' slot='0x04'/>",
            id="parts that are left out and fit stay out",
        ),
        pytest.param(
            "<address type='pci' bus='0' slot='3' function='00'/>",
            False,
            "slot='3'",
            "slot='0x04'",
            id="other spellings of the same number stay",
        ),
        pytest.param(
            "<address type='pci' slot='3' multifunction='on'/>",
            False,
            " slot='3' multifunction='on'/>",
            " slot='0x04'/>",
            id="multifunction goes where the new slot has one function",
        ),
        pytest.param(
            "<address type='pci' slot='3' multifunction='on'/>",
            True,
            "slot='3'",
            "slot='0x04'",
            id="multifunction stays where it is wanted",
        ),
        pytest.param(
            "<address type='pci' slot='3' multifunction='off'/>",
            True,
            "slot='3' multifunction='off'",
            "slot='0x04' multifunction='on'",
            id="multifunction off gives way",
        ),
        pytest.param(
            '<address  type = "pci"\n  slot="0x03" />',
            False,
            'slot="0x03"',
            'slot="0x04"',
            id="quotes and white space stay",
        ),
    ],
)
def test_an_address_changes_no_more_than_it_must(
    address: str, multifunction: bool, old: str, new: str
) -> None:
    """Only the attributes that say something else are written again."""
    xml = domain(disk("vda", inner=address))
    edit = SetAddress("disk[vda]", VDA_AT_3, 4 << 3, multifunction=multifunction)
    assert edited(xml, edit) == xml.replace(old, new)


def test_an_address_that_means_none_is_filled_in() -> None:
    """An <address> that leaves the choice to libvirt is written over, not joined by a second one."""
    xml = domain(disk("vda", inner="<address type='pci'/>"))
    found = edited(xml, SetAddress("disk[vda]", None, 4 << 3, multifunction=False))
    assert found.count("<address") == 1
    assert places(read(found))["disk[vda]"] == "00:04.0"


def test_containers_that_are_missing_are_made() -> None:
    """A domain without <devices> gets it; the first override makes <qemu:override>, both as last children."""
    xml = "<domain type='kvm'>\n  <name>t</name>\n</domain>\n"
    balloon = AddElement("domain/devices", Element("memballoon", {"model": "none"}), "memballoon")
    rng = AddElement("domain/devices", Element("rng", {"model": "virtio"}), "rng")
    device = AddElement("override", Element("qemu:device", {"alias": "ua-a"}), "")
    namespace = SetAttribute("domain", "xmlns:qemu", None, QEMU)
    assert edited(xml, balloon, rng, namespace, device) == (
        f"<domain type='kvm' xmlns:qemu='{QEMU}'>\n"
        "  <name>t</name>\n"
        "  <devices>\n    <memballoon model='none'/>\n    <rng model='virtio'/>\n  </devices>\n"
        "  <qemu:override>\n    <qemu:device alias='ua-a'/>\n  </qemu:override>\n"
        "</domain>\n"
    )


def test_an_override_that_is_there_is_joined() -> None:
    """A second device goes into the <qemu:override> of the file, whatever its prefix."""
    tail = f"  <q:override xmlns:q='{QEMU}'>\n    <q:device alias='ua-a'/>\n  </q:override>\n"
    xml = domain(tail=tail)
    assert edited(xml, AddElement("override", Element("q:device", {"alias": "ua-b"}), "")) == xml.replace(
        "<q:device alias='ua-a'/>\n", "<q:device alias='ua-a'/>\n    <q:device alias='ua-b'/>\n"
    )


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(SetAttribute("disk[vda]", "type", "block", "x"), id="another old value"),
        pytest.param(SetAttribute("disk[vda]", "type", None, "x"), id="an attribute that should be absent"),
        pytest.param(
            SetAttribute("disk[vda]", "model", "virtio", "x"), id="an attribute that should be there"
        ),
        pytest.param(SetAttribute("disk[vdb]", "type", None, "x"), id="no such device"),
        pytest.param(SetAttribute("disk[vda]/driver", "type", None, "x"), id="no such child"),
        pytest.param(SetAddress("disk[vda]", None, 8, multifunction=False), id="it has an address already"),
        pytest.param(SetAddress("disk[vda]", 4 << 3, 8, multifunction=False), id="it sits elsewhere"),
        pytest.param(SetAddress("disk[vdb]", None, 8, multifunction=False), id="an address for nobody"),
        pytest.param(
            SetAddress("memballoon", None, 8, multifunction=False), id="a device that is not written"
        ),
        pytest.param(AddElement("disk[vdb]", Element("alias", {}), ""), id="a child for nobody"),
        pytest.param(
            AddElement("override[ua-a]", Element("q:frontend", {}), ""), id="an override that is not there"
        ),
    ],
)
def test_stale_edits_are_refused(edit: Edit) -> None:
    """An edit is its own precondition: made for another document, it does not touch this one."""
    with pytest.raises(StaleEditError):
        splices(read(domain(disk("vda", "00:03.0"))), (edit,))


def test_libvirts_own_spelling_of_an_address() -> None:
    """domain, bus, slot and function in hexadecimal, as virDomainDeviceInfoFormat writes them."""
    assert address_element(0x1F << 8 | 0x1E << 3 | 7).attrs == {
        "type": "pci",
        "domain": "0x0000",
        "bus": "0x1f",
        "slot": "0x1e",
        "function": "0x7",
    }
    assert address_element(8, multifunction=True).attrs["multifunction"] == "on"
