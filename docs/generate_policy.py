"""Writes what is made from the policies: their compiled form, the JSON Schema, the ledger.

Usage: python docs/generate_policy.py
The ledger needs the osinfo-db of its title; without that one it is left as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


from fixer.adapters import osinfo_db, policy_files  # noqa: E402
from fixer.policy import compiled  # noqa: E402
from fixer.policy.load import load  # noqa: E402
from fixer.policy.schema import json_schema  # noqa: E402
from fixer.report import ledger  # noqa: E402

if TYPE_CHECKING:
    from fixer.guest import osinfo


def files() -> dict[Path, str]:
    """Return the text of each generated file."""
    sources = policy_files.shipped_files()
    policies = load(sources)
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    made = {
        ROOT / "policies" / policy_files.COMPILED: compiled.dump(policies, compiled.digest(sources)),
        ROOT / "policies" / "schema.json": schema,
    }
    snapshot = database()
    if snapshot is not None:
        made[ROOT / "docs" / "ledger.md"] = ledger.render(policies, snapshot)
    return made


def database() -> osinfo.Snapshot | None:
    """Return the installed osinfo-db where it is the one that the ledger is made of."""
    folders = [folder for folder in osinfo_db.system_folders() if folder.parts[:2] == ("/", "usr")]
    found = osinfo_db.Folders(folders) if folders else None
    return found.compile() if found is not None and found.version == ledger.OSINFO_DB else None


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
