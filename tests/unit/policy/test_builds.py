"""Kernel and driver builds as people and programs write them."""

from __future__ import annotations

import pytest

from fixer.policy.builds import parse, settle
from fixer.policy.model import Fact, GuestCapabilities


@pytest.mark.parametrize(
    ("product", "text", "numbers"),
    [
        ("kernel", "3.10.0-327.el7.x86_64", (3, 10, 0, 327)),
        ("kernel", "2.6.32-754.35.1.el6", (2, 6, 32, 754, 35, 1)),
        ("kernel", "4.4.0-31-generic", (4, 4, 0, 31)),
        ("kernel", "5.10", (5, 10)),
        ("kernel", "vmlinuz", ()),
        ("kernel", "", ()),
        ("kernel", "9" * 50, (999999999,)),
        ("virtio-win", "0.1.171", (0, 1, 171)),
        ("virtio-win", "0.1.171-1", (0, 1, 171)),
        ("virtio-win", "171", (0, 1, 171)),
        ("virtio-win", "62.77.104.17100", (0, 1, 171)),
        ("virtio-win", "100.85.104.20800", (0, 1, 208)),
        ("virtio-win", "latest", ()),
        # Other counts of the same driver: Red Hat's products, the first ISOs, DriverVer before 2016.
        ("virtio-win", "1.9.24", ()),
        ("virtio-win", "1.1.16", ()),
        ("virtio-win", "6.0.0.10", ()),
        ("virtio-win", "215.0.0.0", ()),
    ],
)
def test_parse(product: str, text: str, numbers: tuple[int, ...]) -> None:
    assert parse(product, text) == numbers


def guest(**facts: Fact) -> GuestCapabilities:
    interface = facts.pop("interface", Fact("legacy", "s", "likely"))
    return GuestCapabilities("x", "X", "x", interface, drivers=facts)


@pytest.mark.parametrize(
    ("builds", "value"),
    [
        ({}, "depends"),
        ({"kernel": "4.0"}, "no"),
        ({"kernel": "4.2"}, "yes"),
        ({"kernel": "4"}, "depends"),
        ({"virtio-win": "0.1.200"}, "depends"),
    ],
)
def test_a_dependent_answer_is_decided(builds: dict[str, str], value: str) -> None:
    fact = Fact("depends", "s", "likely", "", "", "kernel >= 4.2", "", "kernel 4.2")
    assert settle(guest(gpu=fact), builds).drives("gpu").value == value


def test_a_decided_answer_says_by_what() -> None:
    fact = Fact("depends", "s", "likely", "a note", "", "kernel >= 4.2", "", "kernel 4.2")
    settled = settle(guest(gpu=fact), {"kernel": "5.1"}).drives("gpu")
    assert (settled.note, settled.condition) == ("kernel 5.1 is or follows 4.2; a note", "")


def test_hotplug_is_gained_and_never_lost() -> None:
    """Before the build that mends it, hot-plug still hangs on how the host sets up its bridge."""
    fact = Fact("depends", "s", "likely", "", "", "kernel >= 4.14, or msi=off", "", "kernel 4.14")
    made = guest()._replace(hotplug={"shpc-bridge": fact})
    assert settle(made, {"kernel": "3.10"}).hotplug["shpc-bridge"].value == "depends"
    assert settle(made, {"kernel": "4.18"}).hotplug["shpc-bridge"].value == "yes"
