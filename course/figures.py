"""What each silent bug does in numbers: small runs in a toy world, five seeds each.

`python -m course.figures` prints a table in Markdown: for each bug the figure in which it shows, in
the sound copy and in that with the bug, with the range over the seeds.  It takes some minutes of
one core.  `python -m course.figures --sound` prints the figures of one sound run alone.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from course.bugs import BUGS
from course.classroom import apart, small_run
from course.exercises import write_bug, write_sound
from engine import command_line

SEEDS = range(5)
Lines = list[dict[str, Any]]


def left(name: str) -> Lines:
    """Return the lines of this name that both iterations of a run have left, with the iteration."""
    lines = []
    for iteration in (1, 2):
        for text in Path(f"run/iteration-{iteration}/{name}").read_text().splitlines():
            lines.append({"iteration": iteration, **json.loads(text)})
    return lines


def mean(values: Iterable[float]) -> float:
    """Return the mean of some values; no number if there are none."""
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def learned_before_the_revision() -> float:
    """Return the share of the turns before the first revision turn that are learned."""
    learned = []
    for example in of_kind("revision"):
        for turn in said(example):
            if "Action: revise" in turn["content"]:
                break
            learned.append(turn["loss"])
    return mean(learned)


def said(example: dict[str, Any]) -> Lines:
    """Return the agent's own turns of an example."""
    return [turn for turn in example["messages"] if turn["role"] == "assistant"]


def of_kind(kind: str) -> Lines:
    """Return the examples of a kind."""
    return [example for example in left("data.jsonl") if example["kind"] == kind]


def really_heard() -> float:
    """Return the share of the revisions of which the world gives every observation."""
    agent_r = importlib.import_module("agent_r")
    world = importlib.import_module("handmade").Boxes()
    right = []
    for example in of_kind("revision"):
        episode = agent_r.Episode(world, example["task"])
        for turn in said(example):
            episode.act(turn["content"])
        heard = [turn["content"] for turn in episode.trajectory.messages()]
        right.append(heard == [turn["content"] for turn in example["messages"]])
    return mean(right)


def leaves_of_a_tree() -> float:
    """Return how many episodes ended in a tree, on average."""
    trees = left("trees.jsonl")
    return mean(sum(node.get("done", False) for node in tree["nodes"]) for tree in trees)


def tasks_searched_again() -> float:
    """Return the share of the tasks of iteration 2 that iteration 1 has searched."""
    trees = left("trees.jsonl")
    first = {tree["task"] for tree in trees if tree["iteration"] == 1}
    return mean(tree["task"] in first for tree in trees if tree["iteration"] == 2)


def failures_called_good() -> float:
    """Return the share of the good examples that score less than alpha, which is 0.5 here."""
    return mean(example["score"] < 0.5 for example in of_kind("good"))


def pairs_without_an_error() -> float:
    """Return the share of the pairs that were dropped, as the judge found no error."""
    counts = [row["counts"] for row in rows() if row["iteration"]]
    dropped = sum(count["dropped_no_error"] for count in counts)
    judged = sum(row["judged_pairs"] for row in rows() if row["iteration"])
    return dropped / judged if judged else math.nan


def rows() -> Lines:
    """Return the rows of a run's results."""
    return [json.loads(line) for line in Path("run/results.jsonl").read_text().splitlines()]


def general_share() -> float:
    """Return the share of general data among the learned tokens, over both iterations."""
    shares = [row["learned_general"] for row in rows() if row["iteration"]]
    return mean(share for share in shares if share is not None)


def tokens_counted() -> float:
    """Return how many tokens training counts as learned, for each that the examples mark so."""
    counted = sum(step["learned"] for step in left("losses.jsonl"))
    (first, second) = left("training.json")
    marked = sum(first["learned"].values()) + sum(second["learned"].values())
    return counted / marked if marked else math.nan


def loss_of_the_warm_up() -> float:
    """Return the loss of the last fifty steps of the warm-up."""
    lines = Path("run/iteration-0/losses.jsonl").read_text().splitlines()[-50:]
    return mean(json.loads(line)["loss"] for line in lines)


FIGURES: dict[int, tuple[str, Callable[[], float]]] = {
    1: ("turns before the revision that are learned", learned_before_the_revision),
    2: ("tokens counted as learned, for each that is marked", tokens_counted),
    3: ("revisions whose observations the world gives", really_heard),
    4: ("loss at the end of the warm-up", loss_of_the_warm_up),
    5: ("general data among the learned tokens", general_share),
    6: ("ends of episodes in a tree", leaves_of_a_tree),
    7: ("tasks of iteration 2 searched before", tasks_searched_again),
    8: ("pairs in which the judge finds no error", pairs_without_an_error),
    9: ("good examples that score less than alpha", failures_called_good),
}


def run_and_measure(seed: int, number: int) -> dict[int, float]:
    """Return the figures of a small run with this seed; of bug `number`, or of all for 0."""
    small_run(f"--seed {seed} --eval-tasks 80")
    wanted = [number] if number else list(FIGURES)
    return {bug: FIGURES[bug][1]() for bug in wanted}


def told(values: list[float]) -> str:
    """Return the mean of some values and their range."""
    values = [value for value in values if not math.isnan(value)]
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or with `--sound` the figures of a sound run; return the exit status."""

    def carry_out() -> None:
        parser = command_line.Parser("figures.py", description="What each silent bug does.")
        parser.add_argument("--sound", action="store_true", help="of one sound run alone")
        measure(parser.parse_args(arguments).sound)

    return command_line.carry_out("figures.py", carry_out)


def measure(sound_alone: bool) -> None:
    """Run everything and print the table, or the figures of a sound run."""
    os.environ["OMP_NUM_THREADS"] = "1"
    importlib.import_module("train")
    measured: dict[int, list[dict[int, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        if sound_alone:
            write_sound(Path(name) / "sound")
            print(json.dumps(apart(Path(name) / "sound", run_and_measure, SEEDS[0], 0)))
            return
        for number in (0, *BUGS):
            measured[number] = []
            for seed in SEEDS:
                copy = Path(name) / f"{number}-{seed}"
                if number:
                    write_bug(copy, number)
                else:
                    write_sound(copy)
                measured[number].append(apart(copy, run_and_measure, seed, number))
    print("| bug | what shows it | sound | with the bug |")
    print("|---|---|---|---|")
    for number, (what, _) in FIGURES.items():
        sound = told([values[number] for values in measured[0]])
        planted = told([values[number] for values in measured[number]])
        print(f"| {number} | {what} | {sound} | {planted} |")


if __name__ == "__main__":
    sys.exit(main())
