"""The overview of a run's page: the figures of each iteration, what changed, where the judge errs.

A cell of a table is a text, or a pair of a text and the place that it leads to.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from urllib.parse import quote

from engine.table import Column
from extras.facts import run_facts
from extras.wording import (
    CHANGES,
    COUNTS,
    FIGURES,
    JUDGE,
    NONE,
    NOTHING,
    REVISION_LENGTH,
    SCORE,
    Count,
)
from records.reading import Record, RunFolder

Cell = str | list[str]


def overview(run: RunFolder, iterations: Sequence[Record], episodes: Sequence[Record]) -> Record:
    """Return the overview: facts, tables, and curves of (x, y)."""
    tables = []
    curves = []
    for world in dict.fromkeys(row["env"] for row in run.rows):
        rows = [row for row in run.rows if row["env"] == world]
        tables.append(figure_table(run, iterations, world, rows))
        curves.append(figure_curve(run, world, rows, SCORE))
        curves.append(figure_curve(run, world, rows, REVISION_LENGTH))
    tables.append(change_table(episodes))
    tables.append(judge_table(iterations))
    for iteration in iterations:
        curves.append(loss_curve(iteration))
    return {
        "facts": run_facts(run),
        "tables": [table for table in tables if table["rows"]],
        "curves": [curve for curve in curves if len(curve["points"]) > 1],
    }


def of_world(run: RunFolder, world: str, words: str) -> str:
    """Return words that tell a world from the others of a run, none where there is one."""
    return words.format(world) if len(run.worlds) > 1 else ""


# --- curves


def figure_curve(run: RunFolder, world: str, rows: Sequence[Record], column: Column) -> Record:
    """Return a figure of a world by iteration."""
    points = []
    for row in rows:
        if has_figure(row, column):
            points.append([row["iteration"], column.factor * row[column.field]])
    name = column.heading.partition(":")[0].capitalize()
    title = f"{name}{of_world(run, world, ' of {}')}, by iteration"
    return {"title": title, "points": points, "least": 0}


def loss_curve(iteration: Record) -> Record:
    """Return the loss by step of an iteration's training, or of the warm-up."""
    points = [point for point in iteration["losses"] if point[1] is not None]
    number = iteration["number"]
    name = f"iteration {number}" if number else "the warm-up"
    return {"title": f"Loss of the steps of {name}", "points": points, "least": None}


# --- the figures of each iteration


def figure_table(
    run: RunFolder, iterations: Sequence[Record], world: str, rows: Sequence[Record]
) -> Record:
    """Return the figures of a world, a column for each iteration; counts lead to their pairs."""
    lines: list[list[Cell]] = []
    for column in FIGURES:
        if any(has_figure(row, column) for row in rows):
            lines.append([column.heading, *(figure(row, column) for row in rows)])
    judged = {iteration["number"] for iteration in iterations if iteration["verdicts"]}
    for count in COUNTS:
        cells: list[Cell] = []
        for row in rows:
            cell: Cell = counted(row, count)
            leads = row["iteration"] in judged and world in run.worlds
            if leads and count.outcome and cell not in NOTHING:
                filters = f"outcome={count.outcome}{of_world(run, quote(world), '&world={}')}"
                cell = [cell, f"revisions/{row['iteration']}?{filters}"]
            cells.append(cell)
        if any(cell not in NOTHING for cell in cells):
            lines.append([count.name, *cells])
    columns = ["iteration", *(str(row["iteration"]) for row in rows)]
    title = f"After each iteration{of_world(run, world, ': {}')}"
    note = "Shares and scores are times 100."
    return {"title": title, "columns": columns, "rows": lines, "note": note}


def has_figure(row: Record, column: Column) -> bool:
    """Return whether a row has a number in a column."""
    return isinstance(row.get(column.field), int | float)


def figure(row: Record, column: Column) -> str:
    """Return a figure as text, a dash where there is none."""
    return column.cell(row) if has_figure(row, column) else NONE


def counted(row: Record, count: Count) -> str:
    """Return a count as text, a dash where there is none."""
    counts = row.get("counts") or {}
    number = counts.get(count.field)
    return NONE if number is None else f"{number:g}"


# --- what changed


def change_table(episodes: Sequence[Record]) -> Record:
    """Return how many held-out tasks each iteration gained and lost; they lead to these."""
    rows: list[list[Cell]] = []
    for before, after in itertools.pairwise(played_in(episodes)):
        tally = Counter(changed(episode, before, after) for episode in episodes)
        row: list[Cell] = [f"in iteration {after}, against {before}"]
        for kind in ("gained", "lost"):
            row.append([str(tally[kind]), f"episodes?change={kind}-{after}"])
        rows.append(row)
    return {"title": "What changed", "columns": list(CHANGES), "rows": rows, "note": ""}


def played_in(episodes: Sequence[Record]) -> list[int]:
    """Return the iterations in which episodes were played."""
    numbers = set()
    for episode in episodes:
        numbers.update(int(number) for number in episode["played"])
    return sorted(numbers)


def changed(episode: Record, before: int, after: int) -> str:
    """Return whether a task was "gained" or "lost" from one iteration to another, or neither."""
    one = episode["played"].get(str(before))
    other = episode["played"].get(str(after))
    if not one or not other or one["won"] == other["won"]:
        return ""
    return "gained" if other["won"] else "lost"


# --- where the judge errs


def judge_table(iterations: Sequence[Record]) -> Record:
    """Return what the judge gets wrong, most first, and at which actions."""
    judged = []
    total: Counter[str] = Counter()
    for iteration in iterations:
        kinds = Counter(pair["judge"] for pair in iteration["pairs"] if pair["judge"])
        if kinds:
            judged.append(iteration)
            total += kinds
    wrong = [kind for kind in JUDGE if kind != "exact"]
    wrong.sort(key=lambda kind: -total[kind])
    rows: list[list[Cell]] = []
    if judged:
        for kind in ("exact", *wrong):
            rows.append([JUDGE[kind], *(judge_cell(iteration, kind) for iteration in judged)])
    return {
        "title": "What the judge gets wrong",
        "columns": ["the first Bad is", *(f"iteration {one['number']}" for one in judged)],
        "rows": rows,
        "note": judge_note(total, wrong[0]) if judged else "",
    }


def judge_cell(iteration: Record, kind: str) -> Cell:
    """Return how many of an iteration's pairs were judged so, with the actions that often were."""
    pairs = [pair for pair in iteration["pairs"] if pair["judge"] == kind]
    if not pairs:
        return "0"
    text = str(len(pairs))
    verbs = Counter(pair["verb"] for pair in pairs if pair.get("verb"))
    if verbs and kind != "exact":
        often = [f"{verb} {number}" for verb, number in verbs.most_common(3)]
        text += f" ({', '.join(often)})"
    return [text, f"revisions/{iteration['number']}?judge={kind}"]


def judge_note(total: Counter[str], worst: str) -> str:
    """Return what the judge gets wrong most often, and what stands in brackets."""
    note = "It was never wrong."
    if total[worst]:
        note = f"Most often wrong: {JUDGE[worst]}, {total[worst]} of {total.total()} pairs."
    return f"{note} In brackets: the first word of the action that was called Bad, or was missed."
