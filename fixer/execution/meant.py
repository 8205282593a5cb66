"""What a plan makes of a domain, apart from why: all that a redefinition needs, and small enough for another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from fixer.execution.compare import without_known
from fixer.planning.codec import encode_edit

if TYPE_CHECKING:
    from fixer.planning.plan import Plan


class Meant(NamedTuple):
    """The XML that is to be in force. ``unresolved`` has a phrase for each finding that stays.

    ``news`` is what of the result was not there before: that has to be held against the schema, unless it is
    ``checked`` already.
    """

    uuid: str
    name: str
    result: bytes
    news: bytes
    edits: list[dict[str, Any]]
    devices: int
    unresolved: tuple[str, ...]
    skipped: str
    checked: bool = False
    refused: str = ""  # why a conversion that was asked for is not made

    @classmethod
    def of(cls, plan: Plan) -> Self:
        return cls(
            plan.domain.uuid.lower(),
            plan.domain.name,
            plan.result,
            without_known(plan.after, plan.domain),
            [encode_edit(edit) for edit in plan.edits],
            len(plan.changes),
            tuple(f"{finding.device}: {finding.why}" for finding in plan.unresolved),
            "; ".join(skip.reason for skip in plan.skips),
            refused=plan.refused,
        )
