"""The Linux guest of ``virtfix verify --boot-guest``: Debian's cloud kernel, busybox, and virtio drivers as modules.

It is built on the spot into a cache. With ``force_legacy=1`` its virtio driver prefers the legacy interface; a device
without one falls back to virtio 1.0 and shows VIRTIO_F_VERSION_1, which tells the two apart.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fixer.adapters.file_store import cache_folder, problem
from fixer.errors import VirtfixError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INIT: Final = Path(__file__).with_name("guest-init")
KERNEL_PACKAGE: Final = "linux-image-cloud-amd64"
BUSYBOX: Final = Path("/bin/busybox")
MODULES: Final = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "scsi_common",
    "scsi_mod",
    "virtio_scsi",
    "sd_mod",
    "virtio_console",
    "virtio-rng",
    "virtio_balloon",
)
# A file of the initramfs: name, mode, content.
Entry = tuple[str, int, bytes]


class Guest(NamedTuple):
    """Files to boot."""

    kernel: Path
    initrd: Path


def default_cache() -> Path:
    """Return $VIRTFIX_GUEST_CACHE, or a folder below $XDG_CACHE_HOME."""
    given = os.environ.get("VIRTFIX_GUEST_CACHE")
    if given:
        return Path(given)
    return cache_folder("guest")


def _unavailable(why: str) -> VirtfixError:
    return VirtfixError(
        "verify.guest",
        f"the guest can not be built: {why}",
        hint="give one of your own: --guest-kernel FILE --guest-initrd FILE",
    )


def build_guest(
    cache: Path, more: str = "", add: Callable[[Path, Path], Sequence[Entry]] | None = None
) -> Guest:
    """Build the guest once per recipe; later calls, also of other processes, find it ready. Raises VirtfixError.

    ``add(cache, scratch)`` gives files to add to the initramfs, and ``more`` names them in the recipe.
    """
    if not BUSYBOX.exists():
        raise _unavailable(f"{BUSYBOX} is missing: install busybox-static")
    try:
        return _built(cache, more, add)
    except OSError as error:
        raise problem(error, str(error.filename or cache), "write") from None


def _built(cache: Path, more: str, add: Callable[[Path, Path], Sequence[Entry]] | None) -> Guest:
    parts = (INIT.read_text(), more, *MODULES)
    recipe = hashlib.sha256("\0".join(parts).encode() + BUSYBOX.read_bytes())
    ready = cache / f"guest-{recipe.hexdigest()[:16]}"
    guest = Guest(kernel=ready / "vmlinuz", initrd=ready / "initrd.gz")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as scratch:
                made = Path(scratch) / "guest"
                made.mkdir()
                added = add(cache, Path(scratch)) if add is not None else ()
                _make_guest(_kernel_package(cache), added, Path(scratch), made)
                made.rename(ready)
    return guest


def _kernel_package(cache: Path) -> Path:
    """Return the kernel's package from the cache, or download it."""
    kept = sorted((cache / "packages").glob("linux-image-*.deb"))
    if kept:
        return kept[-1]
    depends = run("apt-cache", "depends", "--important", KERNEL_PACKAGE)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if not found:
        raise _unavailable(f"apt knows no {KERNEL_PACKAGE}: run apt-get update")
    return package(cache, found[1])


def package(cache: Path, name: str) -> Path:
    """Return a package from the cache, or download it."""
    packages = cache / "packages"
    packages.mkdir(exist_ok=True)
    kept = sorted(packages.glob(f"{name}_*.deb"))
    if kept:
        return kept[-1]
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as scratch:
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name, cwd=Path(scratch))
        (package,) = Path(scratch).glob("*.deb")
        return package.rename(packages / package.name)


def _make_guest(kernel_package: Path, added: Sequence[Entry], scratch: Path, into: Path) -> None:
    unpacked = scratch / "unpacked"
    run("dpkg-deb", "-x", str(kernel_package), str(unpacked))
    (kernel,) = unpacked.glob("boot/vmlinuz-*")
    shutil.copy(kernel, into / "vmlinuz")
    files = {path.name.partition(".ko")[0].replace("-", "_"): path for path in unpacked.rglob("*.ko")}
    modules = _with_dependencies([name.replace("-", "_") for name in MODULES], files)
    entries: list[Entry] = [
        ("bin", 0o40755, b""),
        ("dev", 0o40755, b""),
        ("modules", 0o40755, b""),
        ("bin/busybox", 0o100755, BUSYBOX.read_bytes()),
        ("init", 0o100755, INIT.read_bytes()),
        ("modules/order", 0o100644, "".join(f"{name}\n" for name in modules).encode()),
        *((f"modules/{name}.ko", 0o100644, files[name].read_bytes()) for name in modules),
        *added,
    ]
    (into / "initrd.gz").write_bytes(gzip.compress(_cpio(entries), mtime=0))


def _with_dependencies(wanted: list[str], files: dict[str, Path]) -> list[str]:
    """Order modules so that each stands behind what its own modinfo says it needs."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in order:
            return
        if name not in files:
            raise _unavailable(f"the kernel package has no module {name}")
        found = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        for needed in found[1].decode().split(",") if found and found[1] else ():
            add(needed.replace("-", "_"))
        order.append(name)

    for name in wanted:
        add(name)
    return order


def _cpio(entries: list[Entry]) -> bytes:
    """Write a cpio archive in the `newc` format, the one the kernel unpacks."""
    archive = bytearray()
    for inode, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        encoded = name.encode() + b"\0"
        numbers = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        archive += b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
        archive += bytes(-len(archive) % 4)
        archive += content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - names of packages and files of our own
            command, cwd=cwd, env=os.environ | {"LC_ALL": "C"}, check=True, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise _unavailable(f"{command[0]} is missing") from error
    except subprocess.CalledProcessError as error:
        raise _unavailable(f"{' '.join(command)}: {error.stderr.strip()}") from error
    return done.stdout
