"""Rows of figures as one aligned table that a person wants to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, the field of a row, and how the value is written."""

    heading: str
    field: str
    factor: int = 1
    decimals: int = 0

    def cell(self, row: dict[str, Any]) -> str:
        """Return the row's value as text, a dash where there is none."""
        value = row.get(self.field)
        return "-" if value is None else f"{self.factor * value:.{self.decimals}f}"


def table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> str:
    """Return the rows as text, each behind the name of its world, the field `env`."""
    names = ["world", *(row["env"] for row in rows)]
    width = max(len(name) for name in names)
    headings = [f"{column.heading:>13}" for column in columns]
    lines = [f"{'world':{width}}" + "".join(headings)]
    for row in rows:
        cells = [f"{column.cell(row):>13}" for column in columns]
        lines.append(f"{row['env']:{width}}" + "".join(cells))
    return "\n".join(lines)


def average(rows: Sequence[dict[str, Any]], alike: Sequence[str]) -> dict[str, Any]:
    """Return the row `average` of several worlds: every figure's mean over the worlds that have it.

    Fields named in `alike` are the last row's, but for `tasks`, which are added up.
    """
    combined = dict(rows[-1], env="average", tasks=sum(row["tasks"] for row in rows))
    for name in combined.keys() - set(alike):
        numbers = [row[name] for row in rows if isinstance(row[name], int | float)]
        combined[name] = sum(numbers) / len(numbers) if numbers else None
    return combined
