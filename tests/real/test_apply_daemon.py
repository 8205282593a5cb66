"""Redefining domains through libvirt's daemon: two hosts, migrations, sudden ends, ssh, TLS.

What became of the domains is read by virsh, libvirt and xml.etree, and by nothing of the package under test.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

pytest.importorskip("libvirt")

import daemon
import libvirt
import redefining
from redefining import (
    EMULATOR,
    PASSWORD,
    WHOLLY,
    Done,
    ended,
    inactive,
    wait_until,
    xml_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from daemon import Daemon

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("daemon")]

CONFIG: Final = libvirt.VIR_DOMAIN_AFFECT_CONFIG


class Ground(NamedTuple):
    """Two hosts without domains, and where the runs of one test are written down."""

    alpha: Daemon
    beta: Daemon
    folder: Path

    def start(self, *words: object, state: str = "state") -> subprocess.Popen[str]:
        own = {"VIRTFIX_STATE_DIR": str(self.folder / state), "PYTHONPATH": str(redefining.ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "fixer.cli.app", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=redefining.ROOT,
            env=os.environ | own | {"NO_COLOR": "1"},
        )

    def virtfix(self, *words: object, state: str = "state") -> Done:
        return said(self.start(*words, state=state))


def said(process: subprocess.Popen[str]) -> Done:
    """Return what a command left behind; whatever it did, it told no password and no traceback."""
    done = ended(process)
    assert "Traceback" not in done.err, done.err
    assert PASSWORD not in done.out + done.err
    return done


def results(done: Done) -> dict[str, dict[str, Any]]:
    """Return what --jsonl told of each domain, by name."""
    lines = [json.loads(line) for line in done.out.splitlines()]
    found = {line["name"]: line for line in lines}
    assert len(found) == len(lines), "each domain is told of once"
    return found


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Daemon, Daemon]]:
    reason = daemon.unavailable()
    if reason:
        # Continuous integration may run in a container, which can not have namespaces.
        required = os.environ.get("VIRTFIX_REQUIRE_REAL") and reason != daemon.NO_NAMESPACES
        (pytest.fail if required else pytest.skip)(reason)
    libvirt.registerErrorHandler(lambda *_: None, None)
    with daemon.hosts("alpha") as (alpha,):
        with opened(alpha) as connection:  # libvirt asks QEMU what it can, once
            connection.getDomainCapabilities(EMULATOR, "x86_64", "q35", "qemu")
        with daemon.hosts("beta", like=alpha) as (beta,):
            yield alpha, beta


@pytest.fixture
def ground(pair: tuple[Daemon, Daemon], tmp_path: Path) -> Iterator[Ground]:
    try:
        yield Ground(*pair, tmp_path)
    finally:
        for host in pair:
            clean(host)


@contextlib.contextmanager
def opened(host: Daemon) -> Iterator[libvirt.virConnect]:
    connection = libvirt.open(host.uri)
    try:
        yield connection
    finally:
        connection.close()


def clean(host: Daemon) -> None:
    """End and forget all domains, whatever they have beside their definition."""
    with opened(host) as connection:
        for domain in connection.listAllDomains():
            with contextlib.suppress(libvirt.libvirtError):
                domain.destroy()
            with contextlib.suppress(libvirt.libvirtError):
                domain.undefineFlags(WHOLLY)
    for kind in ("nvram", "snapshot", "checkpoint"):
        shutil.rmtree(host.folder / "var/lib/libvirt/qemu" / kind, ignore_errors=True)


def dump(host: Daemon) -> dict[str, str]:
    """Return the inactive XML of each domain with all secrets, by name."""
    with opened(host) as connection:
        return {domain.name(): inactive(domain) for domain in connection.listAllDomains()}


def fill(host: Daemon, count: int) -> dict[str, str]:
    """Define copies of the samples, and return their XML."""
    with opened(host) as connection:
        redefining._fill(connection, count)
    return dump(host)


def virsh(host: Daemon, *commands: str) -> str:
    done = subprocess.run(
        ["virsh", "-q", "-c", host.uri, "; ".join(commands)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(what: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- what differs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--strategy", "bridge")])
def test_only_what_is_reported_differs_and_every_byte_comes_back(
    ground: Ground, options: tuple[str, ...]
) -> None:
    """Address and driver of the reported devices, and new PCI controllers; nothing else of 40 domains."""
    host = ground.alpha
    furnish(host, ground.folder)
    before, around = dump(host), beside(host)
    assert len(around["--autostart"].split()) == 12 + 2
    assert (around["each"].count("second"), around["each"].count("since"), len(around)) == (1, 1, 6 + 28)
    plans = json.loads(
        ground.virtfix("plan", "--connect", host.uri, "--all", *options, "--format", "json").out
    )
    planned = {plan["domain"]["name"]: plan["changes"] for plan in plans}
    assert len(planned) == len(before) == 40

    done = ground.virtfix("apply", "--connect", host.uri, "--all", "--yes", "--jsonl", *options)
    assert done.code == 0, done
    reported, after = results(done), dump(host)
    added = 0
    for name, old in before.items():
        added += check_difference(old, after[name], planned[name])
        assert reported[name]["devices"] == len(planned[name]), name
        assert (reported[name]["status"] == "changed") == bool(planned[name]) == (old != after[name]), name
    assert sum(map(bool, planned.values())) == 33
    assert bool(added) == bool(options), "a bridge where bridges are asked for"
    assert beside(host) == around

    undone = ground.virtfix("rollback", done.run, "--yes")
    assert (undone.code, "33 changed" in undone.err) == (0, True), undone
    assert dump(host) == before
    assert beside(host) == around


def furnish(host: Daemon, folder: Path) -> None:
    """Define domains with everything that their owner may have made beside what is to be changed."""
    with opened(host) as connection:
        for number, name in enumerate(redefining._fill(connection, 35)):
            variables = f"/var/lib/libvirt/qemu/nvram/{name}_VARS.fd"
            xml = inactive(connection.lookupByName(name))
            domain = connection.defineXML(re.sub(r"(<nvram[^>]*>)[^<]*", rf"\g<1>{variables}", xml))
            if variables in inactive(domain):
                file = host.folder / variables[1:]
                file.parent.mkdir(exist_ok=True)
                file.write_text(f"boot entries of {name}")
            for kind, text, prefix, uri in (
                (libvirt.VIR_DOMAIN_METADATA_TITLE, f"Title <of> {name}", None, None),
                (libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, "Two\nlines", None, None),
                (libvirt.VIR_DOMAIN_METADATA_ELEMENT, "<note>rack 7</note>", "site", "urn:example:site"),
            ):
                domain.setMetadata(kind, text, prefix, uri, CONFIG)
            domain.setAutostart(number % 3 == 0)
        for number in range(5):
            disk = folder / f"snapped{number}.qcow2"
            command = ["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"]
            subprocess.run(command, check=True, capture_output=True)
            connection.defineXML(xml_of(f"snapped{number}", disk=disk)).setAutostart(number % 2)
        checked = connection.lookupByName("snapped4")
        # Only what libvirt knows of it: one with a bitmap in the disk needs a guest that runs.
        checked.checkpointCreateXML(
            f"<domaincheckpoint><name>since</name><creationTime>1</creationTime><disks>"
            f"<disk name='vda' checkpoint='bitmap' bitmap='since'/></disks>{inactive(checked)}</domaincheckpoint>",
            libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE,
        )
    virsh(
        host,
        "snapshot-create-as snapped0 first",
        "snapshot-create-as snapped0 second",
        "snapshot-create-as snapped1 only",
    )


def beside(host: Daemon) -> dict[str, str]:
    """Return what is beside the definitions: what virsh tells, and the files of NVRAM."""
    kinds = ("--uuid", "--autostart", "--persistent", "--inactive", "--with-managed-save")
    found = {kind: virsh(host, f"list --all --name {kind}") for kind in kinds}
    asked = ("desc {} --title", "desc {}", "snapshot-list {} --tree", "checkpoint-list {} --tree")
    found["each"] = virsh(host, *(command.format(name) for name in sorted(dump(host)) for command in asked))
    files = (host.folder / "var/lib/libvirt/qemu/nvram").iterdir()
    return found | {file.name: file.read_text() for file in files}


def check_difference(old: str, new: str, changes: list[dict[str, Any]]) -> int:
    """Check that only what is reported differs; return how many controllers are new."""
    (top, devices), (top_after, devices_after) = parts(old), parts(new)
    assert top == top_after
    assert devices.keys() <= devices_after.keys()
    for name in devices_after.keys() - devices.keys():
        assert name.startswith("controller[pci "), name
    differ = {name for name, device in devices.items() if whole(device) != whole(devices_after[name])}
    assert differ == {change["device"] for change in changes}
    for change in changes:
        device, after = devices[change["device"]], devices_after[change["device"]]
        assert place(after) == change["address"]["after"]
        for element in (device, after):
            for child in [*element.findall("address"), *element.findall("driver")]:
                element.remove(child)
        assert whole(device) == whole(after), change["device"]
    return len(devices_after) - len(devices)


def parts(xml: str) -> tuple[str, dict[str, ET.Element]]:
    """Return a domain without its devices, and each device by a name that stays."""
    root = ET.fromstring(xml)
    devices = root.find("devices")
    assert devices is not None
    root.remove(devices)
    found: dict[str, ET.Element] = {}
    for device in devices:
        name = named(device)
        number = sum(other == name or other.startswith(f"{name}#") for other in found)
        found[f"{name}#{number}" if number else name] = device
    return whole(root), found


def named(device: ET.Element) -> str:
    match device.tag:
        case "disk":
            return f"disk[{device.find('target').get('dev')}]"  # type: ignore[union-attr]
        case "interface":
            return f"interface[{device.find('mac').get('address')}]"  # type: ignore[union-attr]
        case "controller":
            return f"controller[{device.get('type')} {device.get('index')}]"
        case "rng":
            return f"rng[{device.findtext('backend')}]"
    return device.tag


def whole(element: ET.Element) -> str:
    return ET.canonicalize(ET.tostring(element), strip_text=True)


def place(device: ET.Element) -> str:
    """Return a PCI address as plans tell it."""
    address = device.find("address")
    assert address is not None
    bus, slot, function = (int(address.get(part, ""), 16) for part in ("bus", "slot", "function"))
    return f"{bus:02x}:{slot:02x}.{function:x}"


# --- a migration under way ----------------------------------------------------------------------------

# A guest that writes to each page of 512 KiB again and again, so that its migration does not come to an end. CR4 is
# written to because QEMU 7.2 without KVM marks a page as written to only when the guest's TLB does not know it.
DIRTYING: Final = bytes.fromhex(
    "0f20e0"  # start: mov eax, cr4
    "663580000000"  # xor eax, 0x80
    "0f22e0"  # mov cr4, eax
    "b80010"  # mov ax, 0x1000
    "8ed8"  # segment: mov ds, ax
    "31db"  # xor bx, bx
    "fe07"  # page: inc byte [bx]
    "81c30010"  # add bx, 0x1000
    "75f8"  # jnz page
    "050010"  # add ax, 0x1000
    "3d0090"  # cmp ax, 0x9000
    "75ec"  # jne segment
    "ebdb"  # jmp start
)
WRITTEN_TO: Final = 0x11000


class Moving(NamedTuple):
    """A guest that runs on one host and can be moved to the other."""

    domain: libvirt.virDomain
    name: str
    source: Daemon
    target: Daemon


@pytest.fixture
def guest(ground: Ground) -> Iterator[Moving]:
    disk = ground.folder / "boot.raw"
    disk.write_bytes(DIRTYING.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    name = "guest-moving"
    with opened(ground.alpha) as connection:
        domain = connection.defineXML(xml_of(name, disk=disk))
        domain.create()
        seen(lambda: any(domain.memoryPeek(WRITTEN_TO, 1, libvirt.VIR_MEMORY_PHYSICAL)))
        yield Moving(domain, name, ground.alpha, ground.beta)


def migrating(guest: Moving, *more: str) -> subprocess.Popen[str]:
    """Begin to migrate a guest, live, by a process of its own, which can be ended whatever libvirt does."""
    # libvirt's own choice of a port may be that of another test's daemon, too.
    flags = ["--live", "--unsafe", "--persistent", "--migrateuri", f"tcp://127.0.0.1:{free_port()}"]
    command = ["virsh", "-q", "-c", guest.source.uri, "migrate", *flags, *more, guest.name, guest.target.uri]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def under_way(guest: Moving) -> Iterator[subprocess.Popen[str]]:
    """Migrate a guest for as long as nobody aborts the job."""
    virsh(guest.source, f"migrate-setmaxdowntime {guest.name} 1")
    moving = migrating(guest, "--bandwidth", "1")
    try:
        # All was sent once, and what is written to meanwhile is sent again.
        seen(lambda: moving.poll() is not None or 0 < guest.domain.jobInfo()[5] < 1 << 20)
        assert moving.poll() is None, moving.communicate()
        yield moving
        assert moving.poll() is None, moving.communicate()
        assert guest.domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED
        virsh(guest.source, f"domjobabort {guest.name}")
        # "canceled by client", or what broke because of that.
        assert "job 'migration out'" in moving.communicate(timeout=20)[1]
        assert moving.returncode != 0
    finally:
        redefining.kill(moving)


def test_a_domain_that_is_being_migrated_is_left_alone(guest: Moving, ground: Ground) -> None:
    """Blocked while the job lasts, redefined when it was aborted, and on the other host when it has moved."""
    alpha, beta = guest.source, guest.target
    before = dump(alpha)
    command = ("apply", "--connect", alpha.uri, "--domain", guest.name, "--yes", "--jsonl")
    with under_way(guest) as moving:
        done = ground.virtfix(*command)
        assert moving.poll() is None, moving.communicate()
        result = results(done)[guest.name]
        assert (done.code, result["status"], result["code"]) == (4, "blocked", "state.job"), done.out
        assert "run virtfix again when that is over" in result["reason"]
        assert dump(alpha) == before

    done = ground.virtfix(*command)
    result = results(done)[guest.name]
    assert (done.code, result["status"], result["pending_restart"]) == (0, "changed", True), done
    assert dump(alpha) != before
    assert ground.virtfix("rollback", done.run, "--yes").code == 0
    assert dump(alpha) == before

    virsh(alpha, f"migrate-setmaxdowntime {guest.name} 2000")
    moving = migrating(guest, "--undefinesource")
    assert (moving.communicate(timeout=30)[1], moving.returncode) == ("", 0)
    assert dump(alpha) == {}
    moved = dump(beta)
    done = ground.virtfix(*command, "--connect", beta.uri)
    result = results(done)[guest.name]
    assert (done.code, result["status"], result["uri"]) == (0, "changed", beta.uri), done
    assert dump(beta) != moved
    assert "running" in virsh(beta, f"domstate {guest.name}")
    assert ground.virtfix("rollback", done.run, "--yes").code == 0
    # libvirt indents the metadata that came with a migration otherwise than it does when it is defined.
    assert [whole(ET.fromstring(xml)) for xml in dump(beta).values()] == [
        whole(ET.fromstring(moved[guest.name]))
    ]


def test_a_domain_that_is_coming_in_is_left_alone(guest: Moving, ground: Ground) -> None:
    """The host that it comes to has a definition of it already, from before it was moved away."""
    with opened(guest.target) as connection:
        connection.defineXML(inactive(guest.domain))
    before = dump(guest.target)
    with under_way(guest):
        done = ground.virtfix(
            "apply", "--connect", guest.target.uri, "--domain", guest.name, "--yes", "--jsonl"
        )
        assert dump(guest.target) == before
    result = results(done)[guest.name]
    assert (done.code, result["status"], result["code"]) == (4, "blocked", "state.job"), done.out


# --- a daemon that ends -------------------------------------------------------------------------------


def test_a_daemon_that_is_killed_loses_nothing(ground: Ground) -> None:
    """Killed and started again: each domain is its old or its new self; resume, or one more rollback, ends it."""
    alpha = ground.alpha
    with opened(alpha) as connection:
        connection.defineXML(xml_of("guest-going-on")).create()
    old = fill(alpha, 59)
    every = ("apply", "--connect", alpha.uri, "--all", "--yes", "--jsonl")
    done = ground.virtfix(*every, state="first")
    assert done.code == 0, done
    new = dump(alpha)
    assert ground.virtfix("rollback", done.run, "--yes", state="first").code == 0
    assert dump(alpha) == old

    done = cut_off(ground, every, "defined")
    assert f"virtfix resume {done.run} goes on" in done.err
    now = dump(alpha)
    assert now.keys() == old.keys()
    assert [name for name, xml in now.items() if xml not in (old[name], new[name])] == []
    assert now not in (old, new), "in the middle"
    assert "running" in virsh(alpha, "domstate guest-going-on")
    resumed = ground.virtfix("resume", done.run)
    assert resumed.code == 0, resumed
    assert dump(alpha) == new

    cut_off(ground, ("rollback", done.run, "--yes", "--jsonl"), "restored")
    now = dump(alpha)
    assert [name for name, xml in now.items() if xml not in (old[name], new[name])] == []
    assert now not in (old, new), "in the middle"
    undone = ground.virtfix("rollback", done.run, "--yes")
    assert undone.code == 0, undone
    assert dump(alpha) == old
    assert "running" in virsh(alpha, "domstate guest-going-on")


def cut_off(ground: Ground, command: tuple[str, ...], event: str) -> Done:
    """Kill the daemon of alpha in the middle of a command, and start it again; return what the command said."""

    def is_amid() -> bool:
        journals = [path.read_bytes() for path in (ground.folder / "state").glob("runs/*/journal.jsonl")]
        begun, ended_so = (
            b"".join(journals).count(f'"event": "{kind}"'.encode()) for kind in ("planned", event)
        )
        # Some are at their last look before they are defined.
        return ended_so > 7 and (event != "defined" or begun > ended_so + 2)

    process = ground.start(*command)
    wait_until(is_amid, process)
    ground.alpha.kill()
    done = said(process)
    ground.alpha.start()
    assert done.code == 1, done
    assert "libvirt.lost" in done.out, "it was at work"
    return done


# --- ways to a host -----------------------------------------------------------------------------------

SSHD: Final = """\
set -e
folder=$1 socket=$2
mount -t tmpfs tmpfs /run
mkdir /run/sshd /run/libvirt
mount --bind "$socket" /run/libvirt
# Where the account of root is locked, no key opens it.
echo 'root:*:20000:0:99999:7:::' >"$folder/shadow"
mount --bind "$folder/shadow" /etc/shadow
exec "$3" -D -e -f "$folder/sshd_config"
"""
SSHD_CONFIG: Final = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
"""
# Neither the keys nor the known hosts of whoever runs the tests are looked at.
SSH: Final = """\
#!/bin/sh
exec ssh -F none -o UserKnownHostsFile={folder}/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes "$@"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def sshd(host: Daemon, folder: Path) -> Iterator[str]:
    """Run an sshd on a host, whose daemon is where virt-ssh-helper looks for it; yield the URI."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not server or not shutil.which("ssh") or not shutil.which("virt-ssh-helper"):
        pytest.skip("needs sshd, ssh and virt-ssh-helper")
    folder.mkdir()
    port = free_port()
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=folder, port=port))
    (folder / "ssh").write_text(SSH.format(folder=folder))
    (folder / "ssh").chmod(0o755)
    command = host.inside("unshare", "-m", "sh", "-c", SSHD, "sshd", folder, host.folder / "s", server)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        seen(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, (folder / "log").read_text()
        yield f"qemu+ssh://root@127.0.0.1:{port}/system?keyfile={folder}/user&command={folder}/ssh"
    finally:
        process.terminate()
        process.wait()


def check_plan_apply_rollback(ground: Ground, host: Daemon, uri: str) -> None:
    """Check that a URI serves for all; what is done by it is seen by another way."""
    before = fill(host, 5)
    done = ground.virtfix("plan", "--connect", uri, "--all")
    assert (done.code, "4 to change, 1 unchanged" in done.err) == (0, True), done
    assert dump(host) == before
    done = ground.virtfix("apply", "--connect", uri, "--all", "--yes", "--jsonl")
    assert (done.code, "4 changed, 1 unchanged" in done.err) == (0, True), done
    assert {one["uri"] for one in results(done).values()} == {uri}
    after = dump(host)
    assert sum(after[name] != xml for name, xml in before.items()) == 4
    assert f"passwd='{PASSWORD}'" in after["vm001"]
    undone = ground.virtfix("rollback", done.run, "--yes")
    assert (undone.code, "4 changed" in undone.err) == (0, True), undone
    assert dump(host) == before


def check_refused(ground: Ground, host: Daemon, uri: str, why: str) -> None:
    """Check that a URI that does not connect is one line, and changes nothing."""
    before = dump(host)
    done = ground.virtfix("apply", "--connect", uri, "--all", "--yes")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
    assert done.err.startswith(f"virtfix: {uri[:100]}"), done  # a long one is cut
    assert ": can not connect: " in done.err
    assert why in done.err
    assert dump(host) == before


def test_a_host_is_reached_by_ssh(ground: Ground) -> None:
    """Through a real sshd and libvirt's own helper on its side; a host that is not known is one clear line."""
    folder = ground.folder / "ssh"
    with sshd(ground.alpha, folder) as uri:
        check_plan_apply_rollback(ground, ground.alpha, uri)
        assert "Accepted publickey for root" in (folder / "log").read_text()
        (folder / "known_hosts").write_text("")
        check_refused(ground, ground.alpha, uri, "host key is known for")


TLS_CONF: Final = """\
listen_tls = 1
listen_tcp = 0
listen_addr = "127.0.0.1"
tls_port = "{port}"
ca_file = "{folder}/cacert.pem"
cert_file = "{folder}/servercert.pem"
key_file = "{folder}/serverkey.pem"
"""
OPENSSL_CONF: Final = """\
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = clientAuth
"""


def certify(folder: Path) -> Path:
    """Make a CA, and certificates by it for a server and a client, named as libvirt's pkipath wants it."""
    folder.mkdir()
    (folder / "conf").write_text(OPENSSL_CONF)
    for what in ("ca", "server", "client"):
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -config conf"
        command += f" -extensions {what} -subj /CN={what} -keyout {what}key.pem -out {what}cert.pem"
        command += " -CA cacert.pem -CAkey cakey.pem" if what != "ca" else ""
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_a_host_is_reached_by_tls(ground: Ground) -> None:
    """With certificates of a CA of its own; whatever is wrong with one is one clear line."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    good, other = certify(ground.folder / "good"), certify(ground.folder / "other")
    stranger = ground.folder / "stranger"  # to the server: it knows the server's CA, another one made it
    stranger.mkdir()
    for source, name in ((good, "cacert.pem"), (other, "clientcert.pem"), (other, "clientkey.pem")):
        shutil.copy(source / name, stranger)
    port = free_port()
    more = TLS_CONF.format(folder=good, port=port)
    with daemon.hosts("gamma", more=more, like=ground.alpha) as (gamma,):
        uri = f"qemu+tls://127.0.0.1:{port}/system?pkipath="
        check_plan_apply_rollback(ground, gamma, f"{uri}{good}")
        check_refused(ground, gamma, f"{uri}{other}", "Failed to verify peer's certificate")
        check_refused(ground, gamma, f"{uri}{stranger}", "hasn't got a known issuer")
        check_frozen(ground, gamma, f"{uri}{good}")
        elsewhere = uri.replace("127.0.0.1", "localhost")
        check_refused(ground, gamma, f"{elsewhere}{good}", "Failed to verify peer's certificate")
        check_refused(ground, gamma, f"{uri}{ground.folder}", "Cannot read CA certificate")


# Asked each second whether it is there, so that a test need not wait as long as an administrator.
IMPATIENT: Final = """
import sys
from fixer.adapters import libvirt_store
from fixer.cli import app, redefine
libvirt_store._ASKED_EACH, libvirt_store._UNANSWERED, redefine._GRACE = 1, 2, 1.0
sys.argv[0] = "virtfix"
app.main()
"""


def check_frozen(ground: Ground, host: Daemon, uri: str) -> None:
    """Check that a host which answers no more amid a run ends it, and resume finishes it."""
    before = fill(host, 60)
    environment = os.environ | {
        "VIRTFIX_STATE_DIR": str(ground.folder / "frozen"),
        "PYTHONPATH": str(redefining.ROOT),
    }
    words = ["apply", "--connect", uri, "--all", "--yes", "--jsonl"]
    command = [sys.executable, "-c", IMPATIENT, *words]
    daemon_id = int((host.folder / "pid").read_text())
    runs = ground.folder / "frozen" / "runs"
    with subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=-1) as process:
        journals = runs.glob
        assert redefining.wait_until(
            lambda: any(b'"defined"' in path.read_bytes() for path in journals("2*/journal.jsonl")), process
        )
        os.kill(daemon_id, signal.SIGSTOP)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            os.kill(daemon_id, signal.SIGCONT)
    assert (process.returncode, "the connection is lost" in err) == (1, True), err
    (run,) = [path.name for path in runs.iterdir()]
    resumed = ground.virtfix("resume", run, state="frozen")
    assert resumed.code == 0, resumed
    assert sum(xml != before[name] for name, xml in dump(host).items()) == 48


# --- two connections ----------------------------------------------------------------------------------


def test_two_hosts_are_redefined_in_one_run(ground: Ground) -> None:
    """Names and UUIDs are the same on both, definitions are not: each is told with its host, and gets its own back."""
    before = {host.uri: fill(host, count) for host, count in ((ground.alpha, 10), (ground.beta, 7))}
    with opened(ground.beta) as connection:
        for domain in connection.listAllDomains():
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "of beta", None, None, CONFIG)
    before[ground.beta.uri] = dump(ground.beta)
    both = ("--connect", ground.alpha.uri, "--connect", ground.beta.uri)
    done = ground.virtfix("apply", *both, "--all", "--yes", "--jsonl")
    assert (done.code, "17 domains of 17: 14 changed, 3 unchanged" in done.err) == (0, True), done
    lines = [json.loads(line) for line in done.out.splitlines()]
    after = {host.uri: dump(host) for host in (ground.alpha, ground.beta)}
    assert sorted((line["uri"], line["name"]) for line in lines) == sorted(
        (uri, name) for uri, domains in before.items() for name in domains
    )
    for line in lines:
        changed = after[line["uri"]][line["name"]] != before[line["uri"]][line["name"]]
        assert changed == (line["status"] == "changed"), line
        assert ("of beta" in after[line["uri"]][line["name"]]) == (line["uri"] == ground.beta.uri), line

    undone = ground.virtfix("rollback", done.run, "--yes")
    assert (undone.code, "14 changed" in undone.err) == (0, True), undone
    assert {host.uri: dump(host) for host in (ground.alpha, ground.beta)} == before
