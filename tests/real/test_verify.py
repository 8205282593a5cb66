"""virtfix verify on the real QEMU driver, OVMF, SeaBIOS and a real guest, judged by the oracle."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import helpers
import pytest

legacy_guest = pytest.importorskip("legacy_guest")  # needs libvirt-python

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = [pytest.mark.real, pytest.mark.boot, pytest.mark.usefixtures("bootable")]
SAMPLES: Final = helpers.ROOT / "samples"
# The guest of each, where the file does not name it.
GUESTS: Final = {"handwritten-noaddr": ("--os", "centos6.10")}
BIOS: Final = "debian7-bridge"
EVERY: Final = sorted(path.stem for path in SAMPLES.glob("*.xml"))


def start(*arguments: str, **given: Any) -> subprocess.Popen[str]:
    """Start the command as a process: a process has one embedded driver, and this one may have its own."""
    command = [sys.executable, "-m", "fixer.cli.app", "verify", *arguments]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(helpers.ROOT)}
    return subprocess.Popen(command, env=environment, **(options | given))


def verify(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def told(*arguments: str) -> tuple[int, list[Any]]:
    code, out, err = verify(*arguments, "--format", "json")
    assert err == "", err
    return code, json.loads(out)


@pytest.mark.parametrize("sample", EVERY)
def test_before_and_after_are_told_as_the_oracle_has_them(sample: str, oracle: ModuleType) -> None:
    path = SAMPLES / f"{sample}.xml"
    code, states = told(str(path), "--both", *GUESTS.get(sample, ()))
    dump = oracle.define(path.read_bytes())
    missed = [key for key in oracle.modern_only(dump) if key not in oracle.native(dump)]
    before = states[0]["devices"]
    assert len([one for one in before if one["verdict"] == "fail"]) == len(missed)
    numbers = oracle.bus_numbers(dump)
    places = {
        f"{numbers[bus]:02x}:{slot:02x}.{function}"
        for bus, slot, function in oracle.virtio_addresses(dump).values()
    }
    assert {one["address"] for one in before} == places
    assert all(one["expected"] == one["seen"] for state in states for one in state["devices"])
    assert all(one["verdict"] == "pass" for one in states[-1]["devices"])
    assert code == 0
    assert len(states) == (2 if missed else 1)


@pytest.mark.parametrize("strategy", ["integrated", "bridge", "transitional", "override"])
@pytest.mark.parametrize(
    "sample", [*GUESTS, "debian7-bridge", "many-disks-q35", "rhel6-q35-ovmf", "windows2008r2-q35"]
)
def test_every_strategy_ends_in_devices_that_answer(sample: str, strategy: str) -> None:
    """The guest's own view of each of these is in test_samples_boot.py."""
    path = str(SAMPLES / f"{sample}.xml")
    code, (state,) = told(path, "--after", "--strategy", strategy, *GUESTS.get(sample, ()))
    assert code == 0
    assert {one["verdict"] for one in state["devices"]} == {"pass"}
    assert all(one["expected"] == one["seen"] for one in state["devices"])


@pytest.mark.parametrize("sample", [BIOS, "rhel6-q35-ovmf"])
def test_what_is_told_is_what_a_guest_finds(sample: str) -> None:
    """The table and the guest are two witnesses: neither hears the other."""
    code, (before, after) = told(str(SAMPLES / f"{sample}.xml"), "--both", "--boot-guest")
    assert code == 0
    failed = {one["device"] for one in before["devices"] if one["verdict"] == "fail"}
    assert failed
    assert {problem.partition(" ")[0] for problem in before["booted"]["problems"]} == {
        key.partition(" ")[0] for key in failed
    }
    assert after["booted"]["problems"] == []
    found = {thing["device"] for kind in ("disks", "nics") for thing in after["booted"][kind]}
    assert {thing["interface"] for kind in ("disks", "nics") for thing in after["booted"][kind]} == {"legacy"}
    assert found >= {one["device"] for one in after["devices"] if one["driver"] in {"block", "net"}}


def test_a_domain_that_fails_says_so_by_its_exit_code() -> None:
    code, out, err = verify(str(SAMPLES / f"{BIOS}.xml"))
    assert code == 4
    assert err == ""
    assert "FAIL disk[vda]" in out
    assert "virtio 1.0 only" in out


def test_the_owners_files_are_never_opened(tmp_path: Path) -> None:
    """Told by the kernel (inotify): nobody opens them, while the same watch sees a look by this test."""
    image, nvram = tmp_path / "image.qcow2", tmp_path / "vars.fd"
    for file in (image, nvram):
        file.write_bytes(b"precious")
        file.chmod(0o400)
    text = (SAMPLES / "rhel6-q35-ovmf.xml").read_text()
    text = text.replace("/var/lib/libvirt/images/rhel6.10.qcow2", str(image))
    text = text.replace("/var/lib/libvirt/qemu/nvram/rhel6.10_VARS.fd", str(nvram))
    assert text.count(str(tmp_path)) == 2
    domain = tmp_path / "vm.xml"
    domain.write_text(text)
    watch = Watch(image, nvram)
    code, _ = told(str(domain), "--after")
    assert code == 0
    assert watch.events() == []
    image.read_bytes()
    assert watch.events() != []
    assert {file.read_bytes() for file in (image, nvram)} == {b"precious"}


def test_missing_images_do_not_matter(tmp_path: Path) -> None:
    domain = tmp_path / "vm.xml"
    domain.write_text((SAMPLES / f"{BIOS}.xml").read_text().replace("/var/lib/libvirt", "/nowhere"))
    assert told(str(domain), "--after")[0] == 0


@pytest.mark.parametrize("number", range(6))
def test_killed_at_any_moment_it_leaves_nothing(number: int, tmp_path: Path) -> None:
    rng = random.Random(number)
    sample = rng.choice((BIOS, "rhel6-q35-ovmf"))
    process = start(str(SAMPLES / f"{sample}.xml"), "--both", stdout=subprocess.DEVNULL)
    guard = ""
    end = time.monotonic() + rng.uniform(0.2, 3.0)
    while time.monotonic() < end and process.poll() is None:
        guard = guard or next(iter(children(process.pid)), "")
        time.sleep(0.02)
    process.send_signal(rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))
    _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert wait_for(lambda: not guard or not remains(guard)), remains(guard)


def children(pid: int) -> list[str]:
    """Return what the guard of a process guards: the folder, the last word of its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid and "virtfix-guard" in words:
            found.append(words[-2])
    return found


def remains(folder: str) -> list[str]:
    name = f"guest=virtfix-verify-{Path(folder).name.removeprefix('virtfix-')}"
    left = [folder] if Path(folder).exists() else []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if name.encode() in (process / "cmdline").read_bytes() and "qemu" in str(
                (process / "exe").readlink()
            ):
                left.append(process.name)
        except OSError:
            continue
    return left


def wait_for(seen: Any, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen():
            return True
        time.sleep(0.05)
    return bool(seen())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{sample}", "--before", "--after"), "give one of --before, --after and --both"),
        (("{sample}", "--guest-kernel", "/vmlinuz"), "go together"),
        (("{sample}", "--guest-kernel", "/nowhere/k", "--guest-initrd", "/nowhere/i"), "/nowhere/k: can not read"),
        (("{sample}", "--connect", "qemu+ssh://elsewhere/system"), "copies are tried on a QEMU driver of this host"),
        (("{sample}", "--connect", "test:///default"), "copies are tried on a QEMU driver of this host"),
        (("{arm}",), "can not be tried: architecture 'aarch64' is not x86"),
        (("{broken}",), "not well-formed"),
        (("{sample}", "--timeout", "0"), "timeout"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    arm, broken = tmp_path / "arm.xml", tmp_path / "broken.xml"
    arm.write_text(
        "<domain type='qemu'><name>a</name><os><type arch='aarch64' machine='virt'>hvm</type></os></domain>"
    )
    broken.write_text("<domain>")
    names = {"sample": str(SAMPLES / f"{BIOS}.xml"), "arm": str(arm), "broken": str(broken)}
    code, out, err = verify(*(argument.format(**names) for argument in arguments))
    assert code in {1, 2}
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_one_domain_that_can_not_be_tried_stops_no_other(tmp_path: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text("<domain>")
    code, out, err = verify(str(broken), str(SAMPLES / "i440fx-rhel6.xml"))
    assert code == 1
    assert "broken.xml" in err
    assert "PASS disk[vda]" in out


class Watch:
    """inotify(7), in a few lines: Python's library has none."""

    IN_OPEN, IN_ACCESS, IN_MODIFY = 0x20, 0x1, 0x2

    def __init__(self, *paths: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK)
        for path in paths:
            wanted = self.IN_OPEN | self.IN_ACCESS | self.IN_MODIFY
            assert libc.inotify_add_watch(self.descriptor, str(path).encode(), wanted) >= 0

    def events(self) -> list[int]:
        try:
            data = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return []
        found = []
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            found.append(mask)
            data = data[16 + length :]
        return found


@pytest.mark.skipif(not shutil.which("libvirtd"), reason="libvirtd is not installed")
def test_a_daemon_runs_copies_as_well() -> None:
    import daemon

    reason = daemon.unavailable()
    if reason:
        pytest.skip(reason)
    with daemon.hosts("verify") as (host,):
        code, out, err = verify(str(SAMPLES / f"{BIOS}.xml"), "--connect", host.uri, "--after")
        assert (code, err) == (0, "")
        assert "PASS disk[vda]" in out
        process = start(str(SAMPLES / "rhel6-q35-ovmf.xml"), "--connect", host.uri)
        time.sleep(2)
        process.kill()
        process.communicate()
        import libvirt

        connection = libvirt.open(host.uri)
        assert wait_for(lambda: not connection.listAllDomains())
        connection.close()
