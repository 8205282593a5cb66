"""virtfix verify: lets real QEMU, the firmware and a guest say whether a domain's devices work."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

from fixer.cli import sources
from fixer.cli.batch import failure, shown
from fixer.cli.exit_codes import Exit
from fixer.cli.wiring import Settings, build_request
from fixer.domain.guest_report import CMDLINE
from fixer.domain.model import read_domain
from fixer.domain.observed import Tried
from fixer.domain.throwaway import Boot, throw_away
from fixer.errors import VirtfixError
from fixer.execution import verify
from fixer.planning.planner import make_plan, who_is
from fixer.report import verification

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixer.adapters.qemu_bench import QemuBench
    from fixer.domain.guest_report import Found
    from fixer.domain.model import Domain
    from fixer.domain.observed import Seen
    from fixer.guest.identify import GuestIdentity
    from fixer.planning.planner import Request

BEFORE, AFTER, BOTH = "before", "after", "both"


class How(NamedTuple):
    """What to try, and how. ``states`` is before, after or both; ``on`` the connection to try it on."""

    states: str = BEFORE
    on: str = ""
    kvm: bool = False
    boot_guest: bool = False
    kernel: str = ""
    initrd: str = ""
    timeout: float = 120
    form: str = "text"
    width: int = 80
    color: bool = False


def place_of_trial(connect: Sequence[str], *, of_domains: bool) -> str:
    """Return the URI of the driver that runs copies, '' for one of our own. Raises VirtfixError.

    Files are tried on the connection that is given. Domains of a connection are read there and tried here, but
    where it is the driver in this process: a process can have one of those.
    """
    from fixer.adapters.libvirt_store import is_local  # noqa: PLC0415 - loads libvirt

    if len(connect) > 1:
        raise VirtfixError("usage.connect", "copies are tried on one connection", where="--connect")
    uri = connect[0] if connect else ""
    if not uri or (of_domains and "/embed" not in uri):
        return ""
    if not uri.startswith("qemu") or not is_local(uri):
        raise VirtfixError(
            "usage.connect",
            f"copies are tried on a QEMU driver of this host, which {uri} is not",
            where="--connect",
            hint="leave it out for a driver of virtfix's own",
        )
    return uri


def run(paths: list[str], settings: Settings, how: How) -> Exit:
    """Try each domain; return the exit code. Raises VirtfixError where nothing can be tried at all."""
    request = build_request(settings)
    boot = _boot(how)
    from fixer.adapters.qemu_bench import QemuBench  # noqa: PLC0415 - loads libvirt

    failed = untried = 0
    told: list[dict[str, object]] = []
    with QemuBench(how.on) as bench:
        for path in paths:
            last = None
            try:
                for tried in _tried(path, request, settings, how, bench, boot):
                    last = tried
                    if how.form == "text":
                        sys.stdout.write(
                            verification.render(tried, shown(path), width=how.width, color=how.color)
                        )
                        sys.stdout.flush()
                    else:
                        told.append(verification.values(tried, path))
            except VirtfixError as error:
                untried += 1
                sys.stderr.write(failure(path, error).notes)
                told.append({"source": path, "error": {"code": error.code, "summary": str(error)}})
                continue
            # The plan is judged by what it leads to.
            failed += last is not None and not last.passed
    if how.form == "json":
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    if untried:
        return Exit.ERROR
    return Exit.UNRESOLVED if failed else Exit.DONE


def _boot(how: How) -> tuple[Boot, Boot] | None:
    """Return what a legacy and a modern guest boot, None where none is wanted. Raises VirtfixError."""
    if bool(how.kernel) != bool(how.initrd):
        raise VirtfixError("usage.kernel", "--guest-kernel and --guest-initrd go together")
    if not how.boot_guest and not how.kernel:
        return None
    kernel, initrd = how.kernel, how.initrd
    if not kernel:
        from fixer.adapters.guest_image import build_guest, default_cache  # noqa: PLC0415

        built = build_guest(default_cache())
        kernel, initrd = str(built.kernel), str(built.initrd)
    else:
        from fixer.adapters.file_store import check_readable  # noqa: PLC0415

        kernel, initrd = check_readable(kernel), check_readable(initrd)
    legacy, modern = (Boot(kernel, initrd, CMDLINE.format(legacy=wanted)) for wanted in (1, 0))
    return legacy, modern


def _tried(
    path: str,
    request: Request,
    settings: Settings,
    how: How,
    bench: QemuBench,
    boot: tuple[Boot, Boot] | None,
) -> Iterator[Tried]:
    """Try a domain as it is, as its plan leaves it, or both."""
    domain = read_domain(sources.read(path, settings))
    if not domain.machine.applicable:
        raise VirtfixError("verify.machine", f"can not be tried: {domain.machine.reason}")
    seen = sources.seen(path, domain, settings)
    identity = who_is(domain, request, seen)
    after = None
    if how.states != BEFORE:
        from fixer.cli.redefine import proved  # noqa: PLC0415 - loads what redefines

        plan = proved(lambda: make_plan(domain, sources.for_host(request, path, settings), seen))
        after = plan.after if plan.pending else domain
    before = None
    if how.states != AFTER:
        before = _one(domain, BEFORE, identity, how, bench, boot[0] if boot else None)
        yield before
    if after is domain and before is not None:
        return  # there is nothing to do, and it was tried
    if after is not None:
        result = _one(after, AFTER, identity, how, bench, boot[0] if boot else None)
        if boot and result.booted is not None and after is not domain:
            # Which order there was shows to a guest that drives virtio 1.0 too.
            was = _booted(domain, identity, how, bench, boot[1])
            order = verify.order_kept(was, result.booted)
            problems = (*result.booted.problems, *order)
            result = result._replace(booted=result.booted._replace(problems=problems))
        yield result


def _one(
    domain: Domain, state: str, identity: GuestIdentity, how: How, bench: QemuBench, boot: Boot | None
) -> Tried:
    guest = identity.capabilities
    name = (
        f"judged for {guest.name}"
        if guest is not None
        else "guest unknown, judged as one with legacy virtio only"
    )
    made = bench.bench(domain, kvm=how.kvm)
    copy = throw_away(domain, made)
    with bench.started(copy, made) as trial:
        seen = verify.look(domain, copy, trial, guest, how.timeout)
    booted = _booted(domain, identity, how, bench, boot, seen) if boot is not None else None
    return Tried(state, name, seen, booted, domain.name, domain.uuid)


def _booted(
    domain: Domain, identity: GuestIdentity, how: How, bench: QemuBench, boot: Boot, seen: Seen | None = None
) -> Found:
    made = bench.bench(domain, kvm=how.kvm)
    copy = throw_away(domain, made, boot)
    with bench.started(copy, made) as trial:
        return verify.boot(domain, copy, trial, identity.capabilities, how.timeout, seen)
