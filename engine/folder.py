"""The folder of a run: every file of it is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine import UserError


def check_free(folder: Path) -> None:
    """Raise `UserError` if something stands at `folder` already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problem = "something stands there already; name a new folder, or remove it"
        raise UserError(f"--out {folder}: {problem}")


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records as JSON, one a line; the file appears when it is whole."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
    part.replace(path)
