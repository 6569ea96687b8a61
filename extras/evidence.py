"""The evidence: what the finished runs left, side by side, and how sure their means are.

Intervals are 95 % t intervals over seeds; differences are taken task by task, then averaged in each
seed.  (A bootstrap over five seeds covers 86 % and over three 76 %, not 95.)  Where the same tasks
serve all seeds, these are crossed: see `crossed_interval`.

Read in order: `Series` (one method in one world, by seed), `Evidence` (all series), `interval`, and
the functions that put a mean into words.
"""

from __future__ import annotations

import math
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

    def gains(
        self, other: Series, iteration: int | None = None, *, best: bool = False
    ) -> list[np.ndarray]:
        """Return what this scores above `other`, task by task, for every seed that both have run.

        An iteration is compared, by default the last, with the same of `other`, or with `best` with
        that one of it which is best on these very tasks.  Each array is [tasks].
        """
        gains = []
        for seed in sorted(self.results.keys() & other.results.keys()):
            scores = self.results[seed].scores(self.world, iteration)
            baseline = other.results[seed]
            if best:
                gains.append(scores - baseline.best_scores(self.world))
            else:
                gains.append(scores - baseline.scores(self.world, iteration))
        return gains

    def rises(self, iteration: int | None) -> list[np.ndarray]:
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
    """Return the finished runs of the plan.

    Raises `UserError` if there is none, or one that is not of the plan.
    """
    results: dict[tuple[str, str], dict[int, Result]] = {}
    for name, arguments in plan.runs(seeds).items():
        if plan.is_finished(name, arguments):
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
    """A mean and its 95 % interval, whose ends are not a number where nothing tells the spread."""

    mean: float
    low: float
    high: float


# The 97.5 % quantile of Student's t for 1, 2, ... degrees of freedom.
T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def t_quantile(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t, with fewer degrees of freedom between two."""
    return T_QUANTILES[min(max(int(freedom), 1), len(T_QUANTILES)) - 1]


def around(mean: float, parts: Sequence[tuple[float, int]]) -> Interval:
    """Return the t interval of a mean whose variance is a sum of parts, each with its freedom.

    The degrees of freedom of the sum are those of Welch and Satterthwaite.  A part may be negative,
    as that of the residual is in `crossed_interval`.
    """
    variance = max(0.0, sum(part for part, _ in parts))
    if variance == 0:
        return Interval(mean, mean, mean)
    freedom = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    half = t_quantile(freedom) * variance**0.5
    return Interval(mean, mean - half, mean + half)


def interval(groups: list[list[np.ndarray]]) -> Interval:
    """Return the mean over worlds of the mean over seeds and tasks, with its t interval.

    `groups[w][s]` holds the values of world w's tasks with seed s, [tasks].  The worlds are fixed;
    a seed's mean is one observation, in which the luck of its tasks is included.
    """
    world_means = []
    parts = []
    for samples in groups:
        of_seeds = means(samples)
        world_means.append(fmean(of_seeds))
        if len(of_seeds) > 1:
            variance = float(np.var(of_seeds, ddof=1))
            parts.append((variance / len(of_seeds) / len(groups) ** 2, len(of_seeds) - 1))
    mean = fmean(world_means)
    if len(parts) < len(groups):  # one seed tells no spread
        return Interval(mean, math.nan, math.nan)
    return around(mean, parts)


def crossed_interval(values: np.ndarray) -> Interval:
    """Return the mean of values, [seeds, tasks], with its interval, where seeds share the tasks.

    Seeds and tasks are both drawn, so that another hundred tasks might have given another mean even
    with all seeds there are.  The variance of the mean is that of the two-way analysis of variance
    without repetition: (MS of seeds + MS of tasks - MS of the rest) / (seeds * tasks).
    """
    seeds, tasks = values.shape
    mean = float(values.mean())
    if seeds < 2 or tasks < 2:
        return Interval(mean, math.nan, math.nan)
    by_seed = values.mean(1, keepdims=True)
    by_task = values.mean(0, keepdims=True)
    rest = values - by_seed - by_task + mean
    of_seeds = tasks * float(by_seed.var(ddof=1))
    of_tasks = seeds * float(by_task.var(ddof=1))
    freedom = (seeds - 1) * (tasks - 1)
    of_rest = float((rest**2).sum()) / freedom
    # Neither less than either alone: a negative part is an accident of the draw.
    total = max(of_seeds + of_tasks - of_rest, of_seeds, of_tasks)
    parts = [(of_seeds, seeds - 1), (of_tasks, tasks - 1)]
    if total == of_seeds + of_tasks - of_rest:
        parts.append((-of_rest, freedom))
    else:
        parts = [max(parts)]
    return around(mean, [(part / values.size, freedom) for part, freedom in parts])


def means(samples: Sequence[np.ndarray]) -> list[float]:
    """Return the mean of each seed's values."""
    return [float(values.mean()) for values in samples]


def mean_with_interval(groups: list[list[np.ndarray]]) -> str:
    """Return mean and interval times 100, such as "36.0 (29.7 to 42.3)".

    `groups` are those of `interval`; where one of them is empty it is a dash, and where one has a
    single seed the mean alone.
    """
    if not groups or not all(groups):
        return "-"
    return interval_in_words(interval(groups))


def interval_in_words(found: Interval) -> str:
    """Return mean and interval times 100, or the mean alone where there is no interval."""
    if math.isnan(found.low):
        return percent(found.mean)
    mean, low, high = map(percent, found)
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
