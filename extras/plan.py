"""The plan of the reproduction: which runs there are, and what each of them leaves.

Five methods play three worlds, with several seeds each, and beside them two variants: the splice as
published, and ETO as its authors run it, preferring the expert's trajectories.  Then come the
ablations on lab, one model on all worlds, and five methods on two benchmarks.  Before all of them
come the trials, which choose each method's learning rate on validation tasks and seeds of their
own.

A run has a name, such as "lab agent-r 20", and arguments of `train.py --tiny`.  What it leaves is
one small file, such as results/methods/lab-agent-r-20.json, which holds a `Result`.
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

from engine import UserError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "methods"

WORLDS = ("lab", "shop", "craft")
METHODS = ("bc", "optimal", "direct-revision", "eto", "agent-r")

# On the benchmarks every seed is tested on the same tasks: five sets of distractors for each of
# TextCraft's 100 test goals, all test variations of four kinds of ScienceWorld.
FIND = "find-living-thing+find-non-living-thing+find-plant+find-animal"
BENCHMARKS = {
    "textcraft": "--env textcraft --eval-tasks 500",
    "scienceworld": f"--env scienceworld:{FIND} --eval-tasks 300",
}

# What also plays all three worlds, with the learning rate of the method that it is a variant of.
VARIANTS = {
    "splice paper": ("agent-r", "--splice paper"),
    "eto expert": ("eto", "--winners expert"),
}

# The learning rates that are tried: the best of a method must not be the edge of its grid.
# Agent-R has the preset's, which was chosen with it, in whole runs on validation tasks.
RATES = dict.fromkeys(METHODS, ("5e-4", "1e-3", "2e-3", "4e-3", "8e-3"))
RATES["agent-r"] = ("2e-3",)
RATES["bc"] = ("2.5e-4", "5e-4", "1e-3", "2e-3", "4e-3", "8e-3")
RATES["optimal"] = (*RATES["optimal"], "1.6e-2")
RATES["eto"] = ("1e-6", "3e-6", "1e-5", "3e-5", "1e-4", "3e-4", "1e-3")
TRIED = tuple(method for method in METHODS if len(RATES[method]) > 1)
TRIAL = "--env lab --iterations 1 --eval-split validation --eval-tasks 400"
TRIAL_SEEDS = (100, 101, 102)

FIRST_SEED = 20  # of the runs; nothing was chosen on their test tasks
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

    A trial is one iteration with one method, learning rate and seed, scored on lab's validation
    tasks.
    """
    arguments = {}
    for method in TRIED:
        for rate, seed in itertools.product(RATES[method], TRIAL_SEEDS):
            flags = f"{TRIAL} --seed {seed} --method {method} {rate_flag(method)} {rate}"
            arguments[f"trial {method} {rate} {seed}"] = flags.split()
    return arguments


def rate_flag(method: str) -> str:
    """Return the flag of a method's learning rate."""
    return "--dpo-lr" if method == "eto" else "--lr"


def runs(seeds: int) -> dict[str, list[str]]:
    """Return the arguments of each run behind the trials by its name, in their order.

    The methods come first, whole seeds one after the other, then their variants, the ablations, one
    model on all worlds, and the benchmarks, with the rates of their presets.
    """
    arguments = {}
    flags_of = {}  # what a method or variant differs in
    for method in METHODS:
        flags_of[method] = f"--method {method} {rate_flag(method)} {best_rate(method)}"
    for variant, (method, flags) in VARIANTS.items():
        flags_of[variant] = f"{flags_of[method]} {flags}"
    all_seeds = range(FIRST_SEED, FIRST_SEED + seeds)
    few_seeds = all_seeds[:FEW_SEEDS]
    for labels in (METHODS, VARIANTS):
        for seed, label, world in itertools.product(all_seeds, labels, WORLDS):
            flags = f"--env {world} --seed {seed} {flags_of[label]}"
            arguments[f"{world} {label} {seed}"] = flags.split()
    for seed, (label, ablation) in itertools.product(few_seeds, ABLATIONS.items()):
        flags = f"--env lab --seed {seed} {flags_of['agent-r']} {ablation.flags}"
        arguments[f"lab {label} {seed}"] = flags.split()
    for seed in few_seeds:
        flags = f"--env {','.join(WORLDS)} --seed {seed} {flags_of['agent-r']}"
        arguments[f"several agent-r {seed}"] = flags.split()
    for seed, method, world in itertools.product(all_seeds, METHODS, BENCHMARKS):
        flags = f"{BENCHMARKS[world]} --seed {seed} --method {method}"
        arguments[f"{world} {method} {seed}"] = flags.split()
    return arguments


def best_rate(method: str) -> str:
    """Return the learning rate that scored most in a method's trials.

    While a trial is missing it is the one in the middle.
    """
    scores = {rate: trial_score(method, rate) for rate in RATES[method]}
    if None in scores.values():
        return RATES[method][len(RATES[method]) // 2]
    return max(scores, key=scores.__getitem__)


def trial_score(method: str, rate: str) -> float | None:
    """Return the mean score of the tasks of a rate's trials, or None if one has not been run."""
    scores = []
    for seed in TRIAL_SEEDS:
        name = f"trial {method} {rate} {seed}"
        if not result_file(name).exists():
            return None
        scores.append(float(read_result(name).scores("lab").mean()))
    return sum(scores) / len(scores)


# --- what a run leaves


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: its command, its figures, and the score of every task.

    The tasks are the same in each iteration, and in each run of a world and seed; on a benchmark
    they are those of every seed, in the order of their names.
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


def is_finished(name: str, arguments: list[str]) -> bool:
    """Whether the run `name`, which has these arguments of `train.py --tiny`, has left its result.

    Raises `UserError` if what is there was left by other arguments: the plan has changed since, and
    figures of two plans are not to be compared.
    """
    path = result_file(name)
    if not path.exists():
        return False
    left_by = read_result(name).arguments
    if left_by != arguments:
        commands = f"{' '.join(left_by)!r}, where the plan has {' '.join(arguments)!r}"
        raise UserError(f"{path} is the result of {commands}; move it away to have it run again")
    return True


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
