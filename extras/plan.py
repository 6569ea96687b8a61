"""The plan of the reproduction: which runs there are, and what each of them leaves.

Five methods play three worlds, with several seeds each.  Beside them stand the ablations on lab and
one model on all worlds.  Before them come the trials, which choose each method's learning rate.

A run has a name, such as "lab agent-r 0", and arguments of `train.py --tiny`.  What it leaves is
one small file, such as results/reproduce/lab-agent-r-0.json, which holds a `Result`.
`extras/reproduce.py` carries the plan out, `extras/evidence.py` reads the results back, and
`extras/report.py` makes tables and pictures of them.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "reproduce"

WORLDS = ("lab", "shop", "craft")
METHODS = ("bc", "optimal", "direct-revision", "eto", "agent-r")

# The learning rates that are tried, as many for each method.
RATES = dict.fromkeys(METHODS, ("7.5e-4", "1.5e-3", "3e-3", "6e-3"))
RATES["eto"] = ("1e-5", "3e-5", "1e-4", "3e-4")
TRIAL = "--iterations 1 --eval-split validation --eval-tasks 400 --seed 100"

FEW_SEEDS = 3  # as many have the ablations and one model on all worlds, if the methods have more


@dataclass(frozen=True)
class Ablation:
    """What differs from Agent-R on lab."""

    words: str
    flags: str  # of train.py


SEEKING = "--env worlds.seeking:SeekingLab"
ABLATIONS = {
    "critic truth": Ablation("first error: the truth", "--critic truth"),
    "critic random": Ablation("first error: any step behind the shared node", "--critic random"),
    "critic end": Ablation("first error: the last step", "--critic end"),
    "splice paper": Ablation("splice as published", "--splice paper"),
    "pairing any": Ablation("any pair, not the one with the deepest shared node", "--pairing any"),
    "alpha rising": Ablation("alpha 0.5, 0.7, 1.0 in turn, not 1.0", "--alpha 0.5,0.7,1.0"),
    "eta 0.2": Ablation("eta 0.2, not 0.8", "--eta 0.2"),
    "eta 0.5": Ablation("eta 0.5", "--eta 0.5"),
    "simulations 3": Ablation("3 simulations a tree, not 6", "--simulations 3"),
    "simulations 12": Ablation("12 simulations", "--simulations 12"),
    "seeking expert": Ablation("an expert that sees only what the agent sees", SEEKING),
    "seeking expert bc": Ablation("the same, `bc`", f"{SEEKING} --method bc"),
}


# --- what is run


def trials() -> dict[str, list[str]]:
    """Return the arguments of each trial by its name.

    A trial is one iteration with one method and learning rate, scored on lab's validation tasks.
    """
    arguments = {}
    for method in METHODS:
        for rate in RATES[method]:
            flags = f"--env lab --method {method} --lr {rate} {TRIAL}"
            arguments[f"trial {method} {rate}"] = flags.split()
    return arguments


def runs(seeds: int) -> dict[str, list[str]]:
    """Return the arguments of each run behind the trials by its name, in their order.

    The methods come first, whole seeds one after the other, then the ablations, then one model on
    all worlds.
    """
    arguments = {}
    rates = {method: best_rate(method) for method in METHODS}
    for seed, method, world in itertools.product(range(seeds), METHODS, WORLDS):
        flags = f"--env {world} --method {method} --lr {rates[method]} --seed {seed}"
        arguments[f"{world} {method} {seed}"] = flags.split()
    agent_r = f"--lr {rates['agent-r']}"
    few = range(min(FEW_SEEDS, seeds))
    for seed in few:
        for name, ablation in ABLATIONS.items():
            flags = f"--env lab {agent_r} --seed {seed} {ablation.flags}"
            arguments[f"lab {name} {seed}"] = flags.split()
    for seed in few:
        flags = f"--env {','.join(WORLDS)} {agent_r} --seed {seed}"
        arguments[f"several agent-r {seed}"] = flags.split()
    return arguments


def best_rate(method: str) -> str:
    """Return the learning rate that scored most in a method's trials.

    While a trial is missing it is the second one.
    """
    scores = {rate: trial_score(method, rate) for rate in RATES[method]}
    if None in scores.values():
        return RATES[method][1]
    return max(scores, key=scores.__getitem__)


def trial_score(method: str, rate: str) -> float | None:
    """Return the mean score of a trial's tasks at its end, or None if it has not been run."""
    name = f"trial {method} {rate}"
    if not result_file(name).exists():
        return None
    return float(read_result(name).scores("lab").mean())


# --- what a run leaves


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: its command, its figures, and the score of every task.

    The tasks are the same in each iteration, and in each run of a world and seed.
    """

    arguments: list[str]  # of train.py --tiny
    rows: list[dict[str, Any]]  # of the run's results.jsonl: one a world and iteration
    task_scores: dict[str, dict[str, list[float]]]  # world -> iteration -> scores

    @property
    def last(self) -> int:
        """The last iteration."""
        return max(row["iteration"] for row in self.rows)

    def figure(self, world: str, name: str, iteration: int | None = None) -> Any:
        """Return a figure of an iteration, by default the last; None where it does not apply."""
        if iteration is None:
            iteration = self.last
        own_name = self._own_name(world)
        rows = [row for row in self.rows if row["env"] == own_name]
        (row,) = [row for row in rows if row["iteration"] == iteration]
        return row[name]

    def scores(self, world: str, iteration: int | None = None) -> np.ndarray:
        """Return the score of every task after an iteration, by default the last, [tasks]."""
        if iteration is None:
            iteration = self.last
        by_iteration = self.task_scores[self._own_name(world)]
        return np.array(by_iteration[str(iteration)])

    def best_scores(self, world: str) -> np.ndarray:
        """Return the scores of that iteration whose mean is highest, [tasks]."""
        best = self.scores(world, 0)
        for iteration in range(1, self.last + 1):
            scores = self.scores(world, iteration)
            if scores.mean() > best.mean():
                best = scores
        return best

    def _own_name(self, world: str) -> str:
        """Return the name by which this run knows `world`: that of a variant, if it played one."""
        if world in self.task_scores:
            return world
        (variant,) = self.task_scores  # such as SeekingLab, by the name that it had then
        return variant


def result_file(name: str) -> Path:
    """Return the path of the file that the run `name` leaves when it has finished."""
    return FOLDER / f"{name.replace(' ', '-')}.json"


def read_result(name: str) -> Result:
    """Return what the finished run `name` left."""
    content = json.loads(result_file(name).read_text(encoding="utf-8"))
    return Result(content["arguments"], content["rows"], content["scores"])


def write_result(name: str, result: Result) -> None:
    """Write what the run `name` leaves, whole or not at all."""
    path = result_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "arguments": result.arguments,
        "rows": result.rows,
        "scores": result.task_scores,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content) + "\n", encoding="utf-8")
    part.replace(path)
