"""The evidence: what the finished runs left, side by side, and how sure their means are.

Intervals are 95 % bootstrap intervals over seeds and, within a seed, over tasks; differences are
paired by task.

Read in order: `Series` (one method in one world, by seed), `Evidence` (all series), `interval`, and
the functions that put a mean into words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from engine import UserError
from extras import plan
from extras.plan import Result


@dataclass(frozen=True)
class Series:
    """The results of one method or ablation in one world, by seed.

    Wherever an iteration is asked for, None is the last one of each run.
    """

    world: str
    results: dict[int, Result]

    def scores(self, iteration: int | None = None) -> list[np.ndarray]:
        """Return the scores of every seed's tasks, each [tasks]."""
        return [result.scores(self.world, iteration) for result in self.results.values()]

    def figures(self, name: str, iteration: int | None = None) -> list[Any]:
        """Return a figure of every seed; the seeds in which it does not apply are left out."""
        figures = []
        for result in self.results.values():
            figure = result.figure(self.world, name, iteration)
            if figure is not None:
                figures.append(figure)
        return figures

    def gains(self, other: Series, *, best: bool = False) -> list[np.ndarray]:
        """Return what this scores above `other`, task by task, for every seed that both have run.

        The last iterations are compared, or with `best` the last one of this with that iteration
        of `other` which is best on these very tasks.  Each array is [tasks].
        """
        gains = []
        for seed in sorted(self.results.keys() & other.results.keys()):
            scores = self.results[seed].scores(self.world)
            baseline = other.results[seed]
            if best:
                gains.append(scores - baseline.best_scores(self.world))
            else:
                gains.append(scores - baseline.scores(self.world))
        return gains

    def rises(self, iteration: int) -> list[np.ndarray]:
        """Return what an iteration scores above iteration 0, task by task, each [tasks]."""
        rises = []
        for result in self.results.values():
            before = result.scores(self.world, 0)
            rises.append(result.scores(self.world, iteration) - before)
        return rises

    def only(self, seeds: Iterable[int]) -> Series:
        """Return the results of some seeds alone."""
        results = {seed: self.results[seed] for seed in self.results if seed in seeds}
        return Series(self.world, results)


@dataclass(frozen=True)
class Evidence:
    """The finished runs, by (world, label) and seed; a label names a method or an ablation."""

    results: dict[tuple[str, str], dict[int, Result]]

    def of(self, world: str, label: str) -> Series:
        """Return the series of a method or ablation in a world; it is empty if none was run."""
        return Series(world, self.results.get((world, label), {}))

    @property
    def iterations(self) -> range:
        """The iterations of the longest run."""
        last = 0
        for by_seed in self.results.values():
            for result in by_seed.values():
                last = max(last, result.last)
        return range(last + 1)


def read_evidence(seeds: int) -> Evidence:
    """Return the finished runs of the plan.  Raises `UserError` if there is none."""
    results: dict[tuple[str, str], dict[int, Result]] = {}
    for name in plan.runs(seeds):
        if plan.result_file(name).exists():
            world, _, rest = name.partition(" ")
            label, _, seed = rest.rpartition(" ")
            by_seed = results.setdefault((world, label), {})
            by_seed[int(seed)] = plan.read_result(name)
    if not results:
        command = "python -m extras.reproduce makes them, in hours"
        raise UserError(f"{plan.FOLDER} holds no finished run; {command}")
    return Evidence(results)


# --- means and how sure they are, as numbers and as text


class Interval(NamedTuple):
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def interval(groups: list[list[np.ndarray]], draws: int = 10_000) -> Interval:
    """Return the mean over worlds of the mean over seeds and tasks, with its interval.

    `groups[w][s]` holds the values of world w's tasks with seed s, [tasks].  The worlds are fixed;
    seeds and tasks are drawn, `draws` times.
    """
    rng = np.random.default_rng(0)
    world_means = []
    resampled = []
    for samples in groups:
        world_means.append(np.mean(means(samples)))
        resampled.append(resampled_means(samples, draws, rng))
    mean = float(np.mean(world_means))
    low, high = np.percentile(np.mean(resampled, axis=0), [2.5, 97.5])
    return Interval(mean, float(low), float(high))


def resampled_means(samples: list[np.ndarray], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the mean of one world's values in every draw, [draws].

    A draw takes as many seeds as there are, with replacement, and then as many tasks of each.  How
    often each seed is taken is multinomial, and so is how often each value is among its tasks.
    """
    seeds = len(samples)
    times_taken = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)  # [draws, seeds]
    total = np.zeros(draws)
    for values, times in zip(samples, times_taken.T, strict=True):
        tasks = len(values)
        levels, counts = np.unique(values, return_counts=True)
        levels_taken = rng.multinomial(times * tasks, counts / tasks)  # [draws, levels]
        total += levels_taken @ levels / tasks
    return total / seeds


def means(samples: Sequence[np.ndarray]) -> list[float]:
    """Return the mean of each seed's values."""
    return [float(values.mean()) for values in samples]


def mean_with_interval(groups: list[list[np.ndarray]]) -> str:
    """Return mean and interval times 100, such as "36.0 (29.7 to 42.3)".

    `groups` are those of `interval`; where one of them is empty it is a dash.
    """
    if not groups or not all(groups):
        return "-"
    mean, low, high = map(percent, interval(groups))
    return f"{mean} ({low} to {high})"


def mean_with_seeds(values: Sequence[float]) -> str:
    """Return the mean and the value of each seed times 100, such as "50.0 (30.0, 70.0)"."""
    if not values:
        return "-"
    if len(values) == 1:
        return percent(values[0])
    mean = fmean(100 * value for value in values)
    each = ", ".join(map(percent, values))
    return f"{mean:.1f} ({each})"


def mean_with_deviation(values: Sequence[float], scale: float = 100.0, digits: int = 1) -> str:
    """Return mean and sample standard deviation over seeds, such as "50.0 ± 20.0".

    Both are multiplied by `scale` and have so many digits behind the point.
    """
    if not values:
        return "-"
    scaled = [scale * value for value in values]
    mean = f"{fmean(scaled):.{digits}f}"
    if len(values) == 1:
        return mean
    deviation = np.std(scaled, ddof=1)
    return f"{mean} ± {deviation:.{digits}f}"


def percent(value: float) -> str:
    """Return a value times 100 with one digit behind the point, and no minus before 0."""
    rounded = round(100 * value, 1)
    return f"{rounded + 0.0:.1f}"
