"""What the tests of redefinition share: domains on a real QEMU driver, and virtfix run on them.

The driver runs inside a process, and a process can have one. Tests of states use the one of this process and run
the command line in it; tests of sudden ends fill a root of their own, by this file run as a program.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

import libvirt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = Path(__file__).parents[2]
PREFIX: Final = "guest-redefined-"  # guest-: what the guard of the driver ends
PASSWORD: Final = "hunter2"
BOTH: Final = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
EMULATOR: Final = "/usr/bin/qemu-system-x86_64"
# Whatever a domain has beside its definition must not keep a test from cleaning up.
WHOLLY: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
)
RUN_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def run(self) -> str:
        """Return the id of the run that it told of."""
        found = RUN_ID.findall(self.err)
        assert found, self.err
        return found[-1]


def xml_of(
    name: str,
    *,
    identity: str = "",
    os_id: str = "http://redhat.com/rhel/6.9",
    disk: Path | None = None,
    os_extra: str = "",
    machine: str = "q35",
) -> str:
    """Return a domain that starts in a blink, needs nothing of the host, and whose guest misses its devices."""
    disk_xml = ""
    if disk is not None:
        disk_xml = (
            f"<disk type='file' device='disk'><driver name='qemu' type='{disk.suffix[1:]}'/>"
            f"<source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"
        )
    libosinfo = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
    return f"""<domain type='qemu'>
  <name>{name}</name>
  <uuid>{identity or uuid.uuid4()}</uuid>
  <title>Of the owner: {name}</title>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo='{libosinfo}'><libosinfo:os id='{os_id}'/></libosinfo:libosinfo>
    <site:note xmlns:site='urn:example:site'>rack 7, &lt;do not touch&gt;</site:note>
  </metadata>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='{machine}'>hvm</type>{os_extra}</os>
  <features><acpi/></features>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>{EMULATOR}</emulator>{disk_xml}
    <controller type='usb' model='none'/>
    <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
    <graphics type='vnc' passwd='{PASSWORD}'><listen type='none'/></graphics>
    <video><model type='vga'/></video>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>"""


# --- in this process ----------------------------------------------------------------------------------


class Person(io.StringIO):
    """Somebody at a terminal, who may do something else before answering."""

    def __init__(self, answer: str, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._answer, self._meanwhile = answer, meanwhile

    def isatty(self) -> bool:
        return True

    def readline(self, _size: int = -1) -> str:
        self._meanwhile()
        return self._answer + "\n"


class Host:
    """The driver of this process, with a state directory of the test's own."""

    def __init__(self, connection: libvirt.virConnect, folder: Path) -> None:
        self.connection = connection
        self.folder = folder
        self.state = folder / "state"
        self.uri = str(connection.getURI())
        self.said: list[str] = []

    def define(self, name: str, **given: Any) -> libvirt.virDomain:
        return self.connection.defineXML(xml_of(PREFIX + name, **given))

    def image(self, name: str) -> Path:
        """Make a disk image; its suffix is its format."""
        path = self.folder / name
        command = ["qemu-img", "create", "-q", "-f", path.suffix[1:], str(path), "1M"]
        subprocess.run(command, check=True, capture_output=True)
        return path

    def virtfix(self, *arguments: object, person: Person | None = None) -> Done:
        """Run the command line in this process, on its connection."""
        from fixer.cli.app import main

        words = [str(argument) for argument in arguments]
        if words[0] in {"apply", "status", "plan"}:
            words[1:1] = ["--connect", self.uri]
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with contextlib.ExitStack() as patched:
            environment = {"VIRTFIX_STATE_DIR": str(self.state), "NO_COLOR": "1", "COLUMNS": "200"}
            patched.enter_context(mock.patch.dict(os.environ, environment))
            streams = {"stdin": person or io.StringIO(), "stdout": out, "stderr": err}
            for name, value in ({"argv": ["virtfix", *words]} | streams).items():
                patched.enter_context(mock.patch.object(sys, name, value))
            code: Any = 0
            try:
                main()
            except SystemExit as stop:
                code = stop.code
        done = Done(int(code or 0), *(stream.buffer.getvalue().decode() for stream in (out, err)))
        self.said += done[1:]
        return done

    def status(self, domain: libvirt.virDomain) -> dict[str, str]:
        done = self.virtfix("status", "--domain", domain.name(), "--format", "json")
        assert done.code == 0, done
        (standing,) = json.loads(done.out)
        return standing

    def clean(self) -> None:
        """End and forget all domains of these tests, whatever state they are in."""
        for domain in self.connection.listAllDomains():
            if domain.name().startswith(PREFIX):
                with contextlib.suppress(libvirt.libvirtError):
                    domain.destroy()
                with contextlib.suppress(libvirt.libvirtError):
                    domain.undefineFlags(WHOLLY)


def inactive(domain: libvirt.virDomain) -> str:
    return str(domain.XMLDesc(BOTH))


def live(domain: libvirt.virDomain) -> str:
    return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE))


# --- in processes of their own ------------------------------------------------------------------------

GUARD: Final = """\
cat >/dev/null
for pid in "$1"/*/run/qemu/guest-*.pid; do [ -e "$pid" ] && kill -9 "$(cat "$pid")"; done
umount "$1"/small 2>/dev/null
rm -rf "$1"
"""


@contextlib.contextmanager
def guarded_folder() -> Iterator[Path]:
    """Make a folder for roots; a process that outlives this one ends their guests and removes it."""
    folder = Path(
        tempfile.mkdtemp(prefix="virtfix-", dir="/tmp")
    )  # short: sockets below it, 107 bytes at most
    folder.chmod(0o755)
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "guard", str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield folder
    finally:
        guard.communicate()


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Fleet:
    """Domains of a root that this process does not open: each command is a process of its own."""

    def __init__(self, folder: Path, name: str, count: int, *, like: Fleet | None = None) -> None:
        self.root = folder / name
        if like is not None:  # what libvirt has learnt of QEMU, which takes it seconds
            shutil.copytree(like.root / "cache", self.root / "cache")
        self.state = folder / f"{name}-state"
        self.uri = f"qemu:///embed?root={self.root}"
        self.names: list[str] = json.loads(self._helper("fill", str(count)))

    def dump(self) -> dict[str, str]:
        """Return the inactive XML of each domain with all secrets, by name, read by a fresh driver."""
        return json.loads(self._helper("dump"))

    def _helper(self, *arguments: str) -> str:
        verb, *rest = arguments
        command = [sys.executable, __file__, verb, str(self.root), *rest]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments: object, state: Path | None = None, **given: Any) -> subprocess.Popen[str]:
        words = [str(argument) for argument in arguments]
        if words[0] in {"apply", "status", "plan"}:
            words[1:1] = ["--connect", self.uri]
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": os.environ | self.environment(state),
            # Whoever runs the tests in the background of a shell ignores Ctrl-C, and hands that down.
            "preexec_fn": _heed_interrupts,
        }
        return subprocess.Popen([sys.executable, "-m", "fixer.cli.app", *words], **(options | given))

    def environment(self, state: Path | None = None) -> dict[str, str]:
        return {"VIRTFIX_STATE_DIR": str(state or self.state), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def virtfix(self, *arguments: object, state: Path | None = None, **given: Any) -> Done:
        return ended(self.start(*arguments, state=state, **given))

    def runs(self) -> list[str]:
        """Return the ids of the runs, the latest last; also of those of which nothing is written yet."""
        begun: list[tuple[int, str]] = []
        for path in (self.state / "runs").glob("*"):
            with contextlib.suppress(FileNotFoundError):  # one that gets its name this moment
                begun.append((path.stat().st_mtime_ns, path.name))
        return [name for _, name in sorted(begun)]


def ended(process: subprocess.Popen[str]) -> Done:
    """Wait for a process; what libvirt itself writes to standard error is left out."""
    out, err = process.communicate(timeout=120)
    own = [
        line
        for line in err.splitlines(keepends=True)
        if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.", line)
    ]
    return Done(process.returncode, out, "".join(own))


def kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_until(seen: Callable[[], object], process: subprocess.Popen[str]) -> bool:
    """Wait until something is there; False where the process ended before."""
    while not seen():
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    return True


# --- as a program -------------------------------------------------------------------------------------

SAMPLES: Final = ("rhel6-q35-ovmf", "many-disks-q35", "debian7-bridge", "windows2008r2-q35", "already-right")


def _open(root: Path) -> libvirt.virConnect:
    from legacy_guest import QEMU_CONF

    (root / "etc").mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    (root / "etc" / "qemu.conf").write_text(QEMU_CONF)
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def run_events() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run_events, daemon=True).start()
    return libvirt.open(f"qemu:///embed?root={root}")


def _fill(connection: libvirt.virConnect, count: int) -> list[str]:
    """Define copies of the samples, fitted to this host; every other with a password."""
    made = []
    for number in range(count):
        text = (ROOT / "samples" / f"{SAMPLES[number % len(SAMPLES)]}.xml").read_text()
        name = f"vm{number:03d}"
        for pattern, new in (
            (r"<name>.*?</name>", f"<name>{name}</name>"),
            (r"<uuid>.*?</uuid>", f"<uuid>{uuid.uuid5(uuid.NAMESPACE_DNS, name)}</uuid>"),
            (r"<domain([^>]*)type='kvm'", r"<domain\1type='qemu'"),
            (r"<emulator>.*?</emulator>", f"<emulator>{EMULATOR}</emulator>"),
            (r"machine='pc-q35-[^']*'", "machine='q35'"),
            (r"machine='pc-i440fx-[^']*'", "machine='pc'"),
            (r"<cpu mode='host-[^>]*?(/>|>.*?</cpu>)", ""),
        ):
            text = re.sub(pattern, new, text, flags=re.DOTALL)
        if number % 2:
            text = re.sub(r"(<graphics type='(?:vnc|spice)')", rf"\1 passwd='{PASSWORD}'", text, count=1)
        connection.defineXML(text)
        made.append(name)
    return made


def _main(verb: str, root: str, *rest: str) -> None:
    connection = _open(Path(root))
    answer: Any = None
    if verb == "fill":
        answer = _fill(connection, int(rest[0]))
    else:
        answer = {domain.name(): inactive(domain) for domain in connection.listAllDomains()}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    connection.close()
    os._exit(0)  # the event loop does not end


if __name__ == "__main__":
    _main(*sys.argv[1:])
