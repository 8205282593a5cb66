# Copyright the virtfix maintainers
# Apache License 2.0 (see the LICENSE of virtfix, https://www.apache.org/licenses/LICENSE-2.0)
"""The program virtfix as modules run it: found, of a version that will do, its trouble in one sentence."""

import re

from ansible_collections.virtfix.libvirt.plugins.module_utils import results

MINIMUM = (0, 1, 0)
# Where the role install links it, which is not on every PATH that sudo leaves.
_PLACES = ["/usr/local/bin"]
_OWN = "virtfix: "
_USAGE = "Error: "


def version_in(text):
    """Return the numbers of what ``virtfix --version`` prints, () where that is something else."""
    found = re.match(r"virtfix (\d+(?:\.\d+)*)", text)
    return tuple(int(number) for number in found.group(1).split(".")) if found else ()


def dotted(version):
    """Return numbers as people write a version."""
    return ".".join(str(number) for number in version)


def complaint(code, stderr):
    """Return why a command failed, in one sentence. libvirt writes to standard error too; that is left out."""
    told = [line for line in stderr.splitlines() if line.strip()]
    if code < 0:
        return f"it was ended by signal {-code}"
    if any(line.startswith("Traceback ") for line in told):
        # By its name only: what an exception says may quote what it met, and a domain holds passwords.
        return f"a defect of virtfix, {told[-1].partition(':')[0].strip()}: run it on the host to see more"
    own = [line.partition(_OWN)[2] for line in told if line.startswith(_OWN)]
    usage = [line.partition(_USAGE)[2] for line in told if line.startswith(_USAGE)]
    if usage:
        return f"{usage[-1]} (is virtfix older than this collection?)"
    return own[-1] if own else f"it ended with exit code {code}"


class Program:
    """virtfix on a managed host. Whatever is wrong with it ends the module."""

    def __init__(self, module):
        self.module = module
        wanted = module.params["executable"]
        self.path = module.get_bin_path(wanted, opt_dirs=_PLACES)
        if self.path is None:
            module.fail_json(
                msg=f"virtfix is missing: no executable '{wanted}' on this host; "
                "the role virtfix.libvirt.install installs it"
            )
        self.version = self._checked_version()

    def _checked_version(self):
        code, out, err = self._run(["--version"])
        version = version_in(out)
        if code or not version:
            why = complaint(code, err) if code else "it does not tell a version of virtfix"
            self.module.fail_json(msg=f"{self.path} does not work: {why}")
        if version < MINIMUM:
            self.module.fail_json(
                msg=f"virtfix {dotted(version)} is too old: this collection needs {dotted(MINIMUM)} or later"
            )
        return dotted(version)

    def _run(self, words):
        problem = None
        try:
            # No shell, and no second look at words: a domain may be called $HOME.
            return self.module.run_command(
                [self.path, *words],
                expand_user_and_vars=False,
                handle_exceptions=False,
                environ_update={"NO_COLOR": "1"},
            )
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
        # Outside of the except clause, where Ansible would add a traceback.
        return self.module.fail_json(msg=f"{self.path} does not run: {problem}")

    def run(self, command, words):
        """Run a command; return exit code, standard output, standard error."""
        return self._run([command, *words])

    def fail(self, command, why, **more):
        self.module.fail_json(msg=f"virtfix {command}: {why}", **more)

    def read(self, command, words, read):
        """Run a command that looks only, and return its exit code and what ``read`` makes of its output.

        A command that printed nothing and did not end well has failed as a whole.
        """
        code, out, err = self.run(command, words)
        if code not in (0, 3, 4) and not out.strip():
            self.fail(command, complaint(code, err))
        found = problem = None
        try:
            found = read(out)
        except (results.FormError, KeyError, TypeError) as error:
            problem = str(error) if isinstance(error, results.FormError) else f"its JSON lacks {error}"
        if problem:
            self.fail(command, problem if code in (0, 3, 4) else complaint(code, err))
        return code, found

    def diff(self, words, plans):
        """Return the unified diff of plans that were made already. virtfix leaves passwords out of it."""
        chosen = sorted({plan["domain"]["uuid"] for plan in plans if plan.get("edits")})
        if not chosen:
            return ""
        # By UUID: those that apply would leave out are not shown.
        words = words + ["--format=diff"] + [f"--domain={uuid}" for uuid in chosen]
        code, out, err = self.run("plan", words)
        if code:
            self.fail("plan", complaint(code, err))
        return out
