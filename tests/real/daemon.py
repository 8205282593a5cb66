"""Real libvirtds with the QEMU driver, each on a host of its own as far as libvirt can tell.

A mount namespace gives each its own folders under the paths that are built into libvirt; a UTS namespace and a
host UUID make two of them two hosts, between which a domain can be migrated.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from legacy_guest import QEMU_CONF

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONF: Final = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{host}"
unix_sock_dir = "{folder}/s"
{more}
"""
_CLOSED: Final = "listen_tls = 0\nlisten_tcp = 0"
_OWN: Final = ("etc/libvirt", "var/lib/libvirt", "var/cache/libvirt", "run/libvirt", "var/log/libvirt")
_START: Final = """\
set -e
mount --make-rprivate /
folder=$1 name=$2; shift 2
for path in "$@"; do mkdir -p "/$path"; mount --bind "$folder/$path" "/$path"; done
hostname "$name"
exec libvirtd --listen --config "$folder/libvirtd.conf" --pid-file "$folder/pid"
"""


NO_NAMESPACES: Final = "no mount namespaces here"


def unavailable() -> str:
    """Return why no daemon can run here, '' where one can."""
    if os.geteuid() or not shutil.which("libvirtd") or not shutil.which("unshare"):
        return "a libvirtd of its own needs root, libvirtd and unshare"
    probe = subprocess.run(["unshare", "-m", "-u", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else NO_NAMESPACES


class Daemon:
    """One libvirtd. It can be killed and started again: its domains stay, as those of a host do."""

    def __init__(self, folder: Path, name: str, more: str = _CLOSED, like: Daemon | None = None) -> None:
        self.folder, self.name = folder, name
        for path in _OWN:
            (folder / path).mkdir(parents=True)
        if like is not None:  # what libvirt has learnt of QEMU, which takes it seconds
            known = "var/cache/libvirt"
            shutil.copytree(like.folder / known, folder / known, dirs_exist_ok=True)
        (folder / "s").mkdir()
        (folder / "etc/libvirt/qemu.conf").write_text(QEMU_CONF)
        conf = _CONF.format(host=uuid.uuid4(), folder=folder, more=more)
        (folder / "libvirtd.conf").write_text(conf)
        self.uri = f"qemu+unix:///system?socket={folder}/s/libvirt-sock"
        self.start()

    def start(self) -> None:
        # The socket of one that was killed would look like that of one that listens.
        shutil.rmtree(self.folder / "s")
        (self.folder / "s").mkdir()
        (self.folder / "pid").unlink(missing_ok=True)
        # Tests that are killed can not stop it: it is told when they end (prctl(2), PR_SET_PDEATHSIG).
        command = ["setpriv", "--pdeathsig", "TERM", "unshare", "-m", "-u"]
        command += ["sh", "-c", _START, "start", str(self.folder), self.name, *_OWN]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _listens(self) -> bool:
        # The socket is there before anybody listens on it.
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(f"{self.folder}/s/libvirt-sock") == 0

    def inside(self, *command: object) -> list[str]:
        """Return a command that runs on this host: it sees the folders of this daemon, and its name."""
        return ["nsenter", "-t", str(self.process.pid), "-m", "-u", *map(str, command)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the daemon and its guests."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.kill()
        for file in (self.folder / "run/libvirt/qemu").glob("*.pid"):
            if file.name == "driver.pid":  # the daemon's own, which has ended
                continue
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


@contextlib.contextmanager
def hosts(*names: str, more: str = _CLOSED, like: Daemon | None = None) -> Iterator[list[Daemon]]:
    """Run a daemon for each name; their domains and folders go with them."""
    with tempfile.TemporaryDirectory(prefix="virtfix-", dir="/tmp") as place:  # short: sockets, 107 bytes
        Path(place).chmod(0o755)
        with contextlib.ExitStack() as running:
            found = []
            for name in names:
                (Path(place) / name).mkdir()
                found.append(Daemon(Path(place) / name, name, more, like))
                running.callback(found[-1].stop)
            yield found
