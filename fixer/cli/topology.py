"""virtfix topology: the PCI tree of a domain, before and after."""

from __future__ import annotations

import sys

from fixer.adapters.file_store import read_input
from fixer.cli.batch import shown
from fixer.cli.exit_codes import Exit
from fixer.cli.plan import plan_source
from fixer.cli.wiring import Screen, Settings, build_request
from fixer.domain.model import read_domain
from fixer.errors import VirtfixError
from fixer.report import topology

# Columns below which two trees beside one another would show too little of both.
_NARROW = 70


def run(path: str, settings: Settings, screen: Screen, *, after: bool) -> Exit:
    """Print the tree, or with ``after`` both trees side by side. Raises VirtfixError."""
    try:
        if not after:
            lines = topology.tree(read_domain(read_input(path)), unicode=screen.unicode)
            sys.stdout.write(topology.render(lines, color=screen.color))
            return Exit.DONE
        plan = plan_source(path, build_request(settings), settings)
    except VirtfixError as error:
        raise (error if error.code.startswith("file.") else error.at(shown(path))) from None
    before = topology.tree(plan.domain, unicode=screen.unicode)
    planned = topology.tree(plan.after, unicode=screen.unicode)
    if screen.width < _NARROW:
        for title, lines in (("before", before), ("after", planned)):
            sys.stdout.write(f"{title}\n{topology.render(lines, color=screen.color)}")
        return Exit.DONE
    text = topology.side_by_side(before, planned, screen.width, color=screen.color, unicode=screen.unicode)
    sys.stdout.write(text)
    return Exit.DONE
