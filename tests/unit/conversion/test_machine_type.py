"""Which machine type a conversion takes: a name that the owner gives, a twin, or what the host offers."""

from __future__ import annotations

import pytest

from fixer.conversion.machine_type import Wanted, below_preferred, choose, read_wanted, too_old
from fixer.domain.machine import Family, Machine, family_of
from fixer.domain.target import Target
from fixer.errors import VirtfixError

Q35, PC = Wanted(Family.Q35, ""), Wanted(Family.I440FX, "")


def machine(name: str) -> Machine:
    return Machine(name, "x86_64", family_of(name) if name else Family.I440FX, "")


def host(*names: str, only: str = "", **aliases: str) -> Target:
    return Target("caps.xml", frozenset({*names, *aliases}), only, aliases=aliases)


# --- What --machine says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("q35", Q35),
        ("pc", PC),
        ("q35=pc-q35-8.2", Wanted(Family.Q35, "pc-q35-8.2")),
        ("pc=pc-i440fx-8.2", Wanted(Family.I440FX, "pc-i440fx-8.2")),
        ("pc-q35-rhel7.6.0", Wanted(Family.Q35, "pc-q35-rhel7.6.0")),
        ("q35=pc-q35-jammy-hpb", Wanted(Family.Q35, "pc-q35-jammy-hpb")),
        ("pc=rhel6.6.0", Wanted(Family.I440FX, "rhel6.6.0")),
        ("pc-1.0-precise", Wanted(Family.I440FX, "pc-1.0-precise")),
    ],
)
def test_what_machine_takes(text: str, wanted: Wanted) -> None:
    """A board, a board and a type, or the type alone, which names its board."""
    assert read_wanted(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("q35=", id="no type"),
        pytest.param("pc=", id="no type of pc"),
        pytest.param("=pc-q35-8.2", id="no board"),
        pytest.param("q36", id="no such board"),
        pytest.param("Q35", id="another case"),
        pytest.param("q35=pc-i440fx-8.2", id="a type of the other board"),
        pytest.param("pc=pc-q35-8.2", id="a type of the other board, for pc"),
        pytest.param("q35=virt-8.2", id="a type of another architecture"),
        pytest.param("virt-8.2", id="a type of another architecture alone"),
        pytest.param("q35=q35", id="an alias"),
        pytest.param("pc=pc", id="an alias, for pc"),
        pytest.param("ubuntu-q35", id="Ubuntu's alias alone"),
        pytest.param("q35=ubuntu-q35", id="Ubuntu's alias"),
        pytest.param("pc=ubuntu", id="Ubuntu's alias, for pc"),
        pytest.param("q35=pc-q35", id="a prefix without a version"),
        pytest.param("q35=pc-q35-8.2=x", id="two types"),
        pytest.param("q35=pc-q35-8.2\n", id="a line end"),
        pytest.param("q35=pc-q35-8.2,usb=off", id="QEMU's options"),
    ],
)
def test_what_machine_does_not_take(text: str) -> None:
    """Whatever names no versioned machine type is refused, with the right way to write it."""
    with pytest.raises(VirtfixError) as caught:
        read_wanted(text)
    error = caught.value
    assert (error.code, error.where) == ("usage.machine", "--machine")
    assert error.hint == "write it as q35=pc-q35-8.2"


def test_what_it_does_not_take_is_told_safely() -> None:
    """What the user typed is shown without the codes that would move a cursor."""
    with pytest.raises(VirtfixError) as caught:
        read_wanted("q35=\x1b[2J")
    assert "\x1b" not in str(caught.value)


# --- Without a host -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted", "chosen"),
    [
        ("pc-i440fx-6.2", Q35, "pc-q35-6.2"),
        ("pc-i440fx-2.4", Q35, "pc-q35-2.4"),
        ("pc-i440fx-10.0", Q35, "pc-q35-10.0"),
        ("pc-i440fx-rhel7.6.0", Q35, "pc-q35-rhel7.6.0"),
        ("pc-i440fx-rhel7.3.0", Q35, "pc-q35-rhel7.3.0"),
        ("pc-i440fx-jammy", Q35, "pc-q35-jammy"),
        ("pc-i440fx-jammy-hpb", Q35, "pc-q35-jammy-hpb"),
        ("pc-q35-6.2", PC, "pc-i440fx-6.2"),
        ("pc-q35-rhel7.6.0", PC, "pc-i440fx-rhel7.6.0"),
        ("pc-q35-focal", PC, "pc-i440fx-focal"),
        ("pc", Wanted(Family.Q35, "pc-q35-8.2"), "pc-q35-8.2"),
        ("", Wanted(Family.Q35, "pc-q35-8.2"), "pc-q35-8.2"),
        ("pc-0.13", Wanted(Family.Q35, "pc-q35-rhel9.4.0"), "pc-q35-rhel9.4.0"),
    ],
)
def test_a_twin_or_the_name(name: str, wanted: Wanted, chosen: str) -> None:
    """Without a word of the host it is the same version of the other board, or the name that is given."""
    assert choose(machine(name), wanted, None) == chosen


@pytest.mark.parametrize(
    ("name", "wanted", "told"),
    [
        pytest.param("pc", Q35, "'pc' has no q35 type", id="a floating alias"),
        pytest.param("ubuntu", Q35, "'ubuntu' has no q35 type", id="Ubuntu's alias"),
        pytest.param("q35", PC, "'q35' has no pc type", id="the other alias"),
        pytest.param("", Q35, "the domain names no machine type", id="no type at all"),
        pytest.param("pc-0.13", Q35, "'pc-0.13' has no q35 type", id="older than Q35"),
        pytest.param("pc-1.0-precise", Q35, "'pc-1.0-precise' has no q35 type", id="Ubuntu's old form"),
        pytest.param("pc-i440fx-2.3", Q35, "'pc-i440fx-2.3' has no q35 type", id="a Q35 that QEMU dropped"),
        pytest.param("rhel6.6.0", Q35, "'rhel6.6.0' has no q35 type", id="RHEL 6"),
        pytest.param("pc-i440fx-rhel7.2.0", Q35, "has no q35 type", id="RHEL before 7.3"),
        pytest.param("pc-q35-4.0.1", PC, "has no pc type", id="4.0.1 is a Q35 alone"),
        pytest.param("pc-q35-rhel8.2.0", PC, "has no pc type", id="the last i440FX of RHEL is 7.6.0"),
        pytest.param("pc-q35-rhel9.4.0", PC, "has no pc type", id="RHEL 9"),
    ],
)
def test_no_sure_twin(name: str, wanted: Wanted, told: str) -> None:
    """A type that is not sure to exist is not made up: the owner names one, or the host says what it has.

    (QEMU hw/i386/pc_q35.c and pc_piix.c: pc_q35_4_0_1 has no counterpart; RHEL's qemu-kvm 4.2 and later
    define no pc-i440fx-rhel8 or -rhel9.)
    """
    with pytest.raises(VirtfixError) as caught:
        choose(machine(name), wanted, None)
    error = caught.value
    assert error.code == "machine.version"
    assert told in error.summary
    alias = "q35=pc-q35-" if wanted is Q35 else "pc=pc-i440fx-"
    assert f"--machine {alias}" in error.hint
    assert "--target-capabilities" in error.hint


# --- With a host --------------------------------------------------------------------------------------


UPSTREAM = host(
    "pc-q35-7.2", "pc-q35-8.2", "pc-q35-10.0", "pc-i440fx-8.2", "pc-i440fx-10.0", q35="pc-q35-10.0"
)
RHEL = host(
    "pc-q35-rhel7.6.0", "pc-q35-rhel8.6.0", "pc-q35-rhel9.4.0", "pc-i440fx-rhel7.6.0", q35="pc-q35-rhel9.4.0"
)
NO_ALIAS = host("pc-q35-5.2", "pc-q35-10.0", "pc-q35-9.2")
UBUNTU = host("ubuntu-q35", "pc-q35-jammy", "pc-q35-noble", "pc-q35-8.2", q35="pc-q35-8.2")


@pytest.mark.parametrize(
    ("name", "target", "chosen"),
    [
        pytest.param("pc-i440fx-8.2", UPSTREAM, "pc-q35-8.2", id="it has the twin"),
        pytest.param("pc-i440fx-6.2", UPSTREAM, "pc-q35-7.2", id="newer ones: the oldest of them"),
        pytest.param("pc-i440fx-8.0", UPSTREAM, "pc-q35-8.2", id="older and newer: the next newer"),
        pytest.param("pc-i440fx-9.0", NO_ALIAS, "pc-q35-9.2", id="by number: 10 is more than 9"),
        pytest.param("pc-i440fx-11.0", UPSTREAM, "pc-q35-10.0", id="older ones: what the alias stands for"),
        pytest.param("pc-i440fx-11.0", NO_ALIAS, "pc-q35-10.0", id="older ones, no alias: the newest"),
        pytest.param("pc-i440fx-2.1", UPSTREAM, "pc-q35-7.2", id="a twin that is too old is no matter"),
        pytest.param("pc-0.13", UPSTREAM, "pc-q35-7.2", id="pc-0.13"),
        pytest.param("pc-1.0-precise", UPSTREAM, "pc-q35-7.2", id="pc-1.0-precise"),
        pytest.param("pc", UPSTREAM, "pc-q35-10.0", id="the alias"),
        pytest.param("", UPSTREAM, "pc-q35-10.0", id="no type"),
        pytest.param("pc-i440fx-rhel7.6.0", RHEL, "pc-q35-rhel7.6.0", id="RHEL: the twin"),
        pytest.param("pc-i440fx-rhel7.0.0", RHEL, "pc-q35-rhel7.6.0", id="RHEL: the oldest newer one"),
        pytest.param("rhel6.6.0", RHEL, "pc-q35-rhel7.6.0", id="RHEL 6 on RHEL 9"),
        pytest.param("pc-i440fx-rhel7.6.0", UPSTREAM, "pc-q35-10.0", id="of RHEL, on another host: the alias"),
        pytest.param("pc-i440fx-6.2", RHEL, "pc-q35-rhel9.4.0", id="of QEMU, on RHEL: the alias"),
        pytest.param("pc-i440fx-jammy", UBUNTU, "pc-q35-jammy", id="Ubuntu: the twin"),
        pytest.param("pc-i440fx-bionic", UBUNTU, "pc-q35-8.2", id="Ubuntu: code names have no order"),
        pytest.param("pc-i440fx-2.11", host(only="pc-q35-6.2"), "pc-q35-6.2", id="domain capabilities"),
        pytest.param("pc-i440fx-6.2", host(only="pc-i440fx-8.2"), "pc-q35-6.2", id="those of the other board"),
        pytest.param("pc-i440fx-6.2", host(), "pc-q35-6.2", id="nothing said"),
    ],
)  # fmt: skip
def test_what_the_host_offers_decides(name: str, target: Target, chosen: str) -> None:
    """The twin, else the oldest that is not older, else what the host itself would take."""
    assert choose(machine(name), Q35, target) == chosen


def test_back_on_a_host() -> None:
    """The same to the other side."""
    assert choose(machine("pc-q35-9.0"), PC, UPSTREAM) == "pc-i440fx-10.0"
    assert choose(machine("pc-q35-rhel9.4.0"), PC, RHEL) == "pc-i440fx-rhel7.6.0"


def test_a_named_type_that_the_host_has() -> None:
    assert choose(machine("pc"), Wanted(Family.Q35, "pc-q35-8.2"), UPSTREAM) == "pc-q35-8.2"


@pytest.mark.parametrize("name", ["pc-q35-9.0", "pc-q35-rhel9.4.0"])
def test_a_named_type_that_the_host_lacks(name: str) -> None:
    """It is refused, and the newest that it has are named."""
    many = host("pc-q35-6.2", "pc-q35-7.2", "pc-q35-8.2", "pc-q35-10.0", "pc-i440fx-10.0")
    with pytest.raises(VirtfixError) as caught:
        choose(machine("pc-i440fx-6.2"), Wanted(Family.Q35, name), many)
    error = caught.value
    assert (error.code, error.where) == ("machine.target", "caps.xml")
    assert error.summary == f"does not offer the machine type {name}"
    assert error.hint == "it offers pc-q35-7.2, pc-q35-8.2, pc-q35-10.0"


def test_domain_capabilities_speak_of_one_type_only() -> None:
    """Another type than theirs is not known to be missing: nothing may say that the host does not offer it."""
    try:
        told = choose(machine("pc-i440fx-6.2"), Wanted(Family.Q35, "pc-q35-8.2"), host(only="pc-q35-6.2"))
    except VirtfixError as error:
        told = error.summary
    assert "does not offer" not in told


@pytest.mark.parametrize("wanted", [Q35, Wanted(Family.Q35, "pc-q35-8.2")])
def test_a_host_without_the_board(wanted: Wanted) -> None:
    """A host that speaks of machine types, and of none of this board, has none."""
    with pytest.raises(VirtfixError) as caught:
        choose(machine("pc-i440fx-6.2"), wanted, host("pc-i440fx-6.2", "microvm", pc="pc-i440fx-6.2"))
    assert caught.value.code == "machine.target"
    assert caught.value.summary == "offers no q35 machine type"


# --- Ages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "wished"),
    [
        ("pc-q35-2.3", True, False),
        ("pc-q35-2.4", False, False),
        ("pc-q35-10.0", False, False),
        ("pc-q35-rhel7.2.0", True, True),
        ("pc-q35-rhel7.3.0", False, True),
        ("pc-q35-rhel7.4.0", False, False),
        ("pc-q35-rhel10.0.0", False, False),
        ("pc-q35-jammy", False, False),
        ("q35", False, False),
        ("", False, False),
    ],
)
def test_ages(name: str, old: bool, wished: bool) -> None:
    """What is too old for UEFI, and what Red Hat would rather have newer; without a number nobody knows."""
    assert (too_old(name), below_preferred(name)) == (old, wished)
