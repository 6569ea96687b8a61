"""The evidence: all methods, worlds, seeds and ablations, run side by side, and one report from what they left.

    python -m extras.reproduce                   goes on where it stopped; needs hours
    python -m extras.reproduce --report          the report alone, from what is there

First come the trials of each method's learning rate.  Every run is `train.py --tiny` in a process and on a thread of
its own; those of one world and seed begin from the same warm-up, which is made once.  What a run leaves is condensed to
one small file, results/reproduce/NAME.json, with its arguments; the report knows nothing else.  A run that was cut off
begins again.
Intervals are 95 % bootstrap intervals over seeds and, within a seed, over tasks; differences are paired by task.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from critique import mean
from envs import UserError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "reproduce"
WORLDS, METHODS = ("lab", "shop", "craft"), ("bc", "optimal", "direct-revision", "eto", "agent-r")
RATES = dict.fromkeys(METHODS, ("7.5e-4", "1.5e-3", "3e-3", "6e-3"))  # each method's trials
RATES["eto"] = ("1e-5", "3e-5", "1e-4", "3e-4")
TRIAL = ["--iterations", "1", "--eval-split", "validation", "--eval-tasks", "400", "--seed", "100"]
SEEKING = ["--env", "extras.seeking:SeekingLab"]
ABLATIONS = {  # on lab, what differs from agent-r: in words, in flags
    "critic truth": ("first error: the truth", ["--critic", "truth"]),
    "critic random": ("first error: any step behind the shared node", ["--critic", "random"]),
    "critic end": ("first error: the last step", ["--critic", "end"]),
    "splice paper": ("splice as published", ["--splice", "paper"]),
    "pairing any": ("any pair, not the one with the deepest shared node", ["--pairing", "any"]),
    "alpha rising": ("alpha 0.5, 0.7, 1.0 in turn, not 1.0", ["--alpha", "0.5,0.7,1.0"]),
    "eta 0.2": ("eta 0.2, not 0.8", ["--eta", "0.2"]),
    "eta 0.5": ("eta 0.5", ["--eta", "0.5"]),
    "simulations 3": ("3 simulations a tree, not 6", ["--simulations", "3"]),
    "simulations 12": ("12 simulations", ["--simulations", "12"]),
    "seeking expert": ("an expert that sees only what the agent sees", SEEKING),
    "seeking expert bc": ("the same, `bc`", [*SEEKING, "--method", "bc"]),
}


LOCKS: dict[str, threading.Lock] = {}  # of the warm-ups, each made by one run only


# --- running

def trials() -> dict[str, list[str]]:
    """The runs that choose the learning rates: one iteration on lab's validation tasks, as many for each method."""
    return {
        f"trial {method} {rate}": ["--env", "lab", "--method", method, "--lr", rate, *TRIAL]
        for method, rates in RATES.items()
        for rate in rates
    }


def chosen(method: str) -> str:
    """The learning rate that scored most in a method's trials; the second one until all are finished."""
    found = {rate: place(f"trial {method} {rate}") for rate in RATES[method]}
    if not all(path.exists() for path in found.values()):
        return RATES[method][1]
    lefts = {rate: json.loads(path.read_text(encoding="utf-8")) for rate, path in found.items()}
    return max(lefts, key=lambda rate: scores(lefts[rate], "lab", last(lefts[rate])).mean())


def plan(seeds: int) -> dict[str, list[str]]:
    """The name of every run behind the trials and its arguments, in their order: whole seeds first."""
    runs = {}
    for seed, method, world in itertools.product(range(seeds), METHODS, WORLDS):
        arguments = ["--env", world, "--method", method, "--lr", chosen(method), "--seed", str(seed)]
        runs[f"{world} {method} {seed}"] = arguments
    ours = ["--lr", chosen("agent-r")]
    for seed, (name, (_, changes)) in itertools.product(range(min(3, seeds)), ABLATIONS.items()):
        runs[f"lab {name} {seed}"] = ["--env", "lab", *ours, "--seed", str(seed), *changes]
    for seed in range(min(3, seeds)):
        runs[f"several agent-r {seed}"] = ["--env", ",".join(WORLDS), *ours, "--seed", str(seed)]
    return runs


def place(name: str) -> Path:
    """The file that a finished run leaves."""
    return FOLDER / f"{name.replace(' ', '-')}.json"


def train(arguments: list[str], out: Path, name: str) -> None:
    """`train.py --tiny` in a process of its own, its folder `out` there only when it is whole; raises `UserError`."""
    part = out.with_name(out.name + ".part")
    for old in (part, out):  # of a run that was cut off
        shutil.rmtree(old, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "train.py", "--tiny", *arguments, "--out", str(part)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise UserError(f"{name}: {(done.stderr.strip().splitlines() or ['it was stopped'])[-1]}")
    part.rename(out)


def warmed(arguments: list[str]) -> list[str]:
    """The flag that names the warm-up of these arguments' world and seed; who needs it first makes it, others wait."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    world, seed = given["--env"], given["--seed"]
    folder = ROOT / "runs" / "reproduce" / re.sub(r"\W+", "-", f"warm-up {world} {seed}")
    with LOCKS.setdefault(folder.name, threading.Lock()):
        if not folder.exists():
            train(["--env", world, "--seed", seed, "--iterations", "0", "--eval-tasks", "1"], folder, folder.name)
    return ["--warmed", str(folder / "iteration-0" / "model")]


def run(name: str, arguments: list[str]) -> None:
    """One run, condensed; raises `UserError` if it fails."""
    folder = ROOT / "runs" / "reproduce" / name.replace(" ", "-")
    train([*arguments, *warmed(arguments)], folder, name)
    place(name).parent.mkdir(parents=True, exist_ok=True)
    part = place(name).with_suffix(".part")
    part.write_text(json.dumps(condensed(folder, arguments)) + "\n", encoding="utf-8")
    part.replace(place(name))
    shutil.rmtree(folder)


def condensed(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Of a run's folder: the command's arguments, the rows, and the scores of each world's tasks by iteration."""
    rows, episodes = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("results.jsonl", "episodes.jsonl")
    )
    scores: dict[str, dict[str, list[float]]] = {}
    for episode in episodes:  # the tasks are the same in every iteration, and in every run of a world and seed
        of_world = scores.setdefault(episode["env"], {})
        of_world.setdefault(str(episode["iteration"]), []).append(round(episode["score"], 3))
    return {"arguments": arguments, "rows": rows, "scores": scores}


def run_all(runs: dict[str, list[str]], jobs: int, end: float) -> None:
    """Run what is missing of these, `jobs` at a time, beginning none after `end` (of `time.monotonic`)."""
    missing = {name: arguments for name, arguments in runs.items() if not place(name).exists()}
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(missing), desc="runs", disable=None) as bar:

        def work(name: str) -> None:
            if time.monotonic() < end:
                run(name, missing[name])
            bar.update()

        try:
            for _ in pool.map(work, missing):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


# --- reading back

Runs = dict[tuple[str, str], dict[int, Any]]  # (world, method or ablation) -> seed -> what its run left


def read_back(seeds: int) -> Runs:
    """The finished runs of the plan."""
    runs: Runs = {}
    for name in plan(seeds):
        if place(name).exists():
            world, rest = name.split(" ", 1)
            label, _, seed = rest.rpartition(" ")
            runs.setdefault((world, label), {})[int(seed)] = json.loads(place(name).read_text(encoding="utf-8"))
    return runs


def named(left: dict[str, Any], world: str) -> str:
    """What a run calls a world: a variant of it, such as `SEEKING`, has another name."""
    return world if world in left["scores"] else min(left["scores"])


def figure(left: dict[str, Any], world: str, name: str, iteration: int) -> float | None:
    """One figure of a run's rows."""
    (row,) = (r for r in left["rows"] if r["env"] == named(left, world) and r["iteration"] == iteration)
    return row[name]


def last(left: dict[str, Any]) -> int:
    """A run's last iteration."""
    return max(row["iteration"] for row in left["rows"])


def scores(left: dict[str, Any], world: str, iteration: int) -> np.ndarray:
    """The score of every task, [tasks]."""
    return np.array(left["scores"][named(left, world)][str(iteration)])


def interval(groups: list[list[np.ndarray]], draws: int = 10_000) -> tuple[float, float, float]:
    """Mean over worlds of the mean over seeds and tasks, and its 95 % bootstrap interval.

    `groups[w][s]` holds the values of world w's tasks with seed s, [tasks]; worlds are fixed, seeds and tasks drawn.
    """
    rng, of_worlds = np.random.default_rng(0), []
    for samples in groups:  # how often each seed is drawn, and each kind of value among its tasks, is multinomial
        times = rng.multinomial(len(samples), np.full(len(samples), 1 / len(samples)), size=draws)  # [draws, seeds]
        total = np.zeros(draws)
        for values, drawn in zip(samples, times.T, strict=True):
            kinds, counts = np.unique(values, return_counts=True)
            total += rng.multinomial(drawn * len(values), counts / len(values)) @ kinds / len(values)
        of_worlds.append(total / len(samples))
    low, high = np.percentile(np.mean(of_worlds, axis=0), [2.5, 97.5])
    middle = np.mean([np.mean([values.mean() for values in samples]) for samples in groups])
    return float(middle), float(low), float(high)


def told(groups: list[list[np.ndarray]]) -> str:
    """Mean and interval, times 100."""
    if not groups or not all(groups):
        return "-"
    middle, low, high = (round(100 * value, 1) + 0.0 for value in interval(groups))  # + 0.0: no minus before 0
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def each(samples: list[np.ndarray]) -> str:
    """Mean, and that of each seed, times 100."""
    means = [100 * float(values.mean()) for values in samples]
    if len(means) < 2:
        return f"{means[0]:.1f}" if means else "-"
    return f"{mean(means):.1f} ({', '.join(f'{value:.1f}' for value in means)})"


def spread(samples: list[np.ndarray], unit: float = 100.0) -> str:
    """Mean and sample standard deviation over seeds, in hundredths or another unit."""
    means, digits = [unit * float(values.mean()) for values in samples], 1 if unit > 1 else 2
    around = f" ± {np.std(means, ddof=1):.{digits}f}" if len(means) > 1 else ""
    return f"{mean(means):.{digits}f}{around}" if means else "-"


def of_seeds(runs: Runs, world: str, label: str, name: str, iteration: int | None = None) -> list[np.ndarray]:
    """A figure of every seed's row, each an array of one; seeds in which it does not apply are left out."""
    lefts = runs.get((world, label), {}).values()
    values = [figure(left, world, name, last(left) if iteration is None else iteration) for left in lefts]
    return [np.array([value]) for value in values if value is not None]


def of_tasks(runs: Runs, world: str, label: str, iteration: int | None = None) -> list[np.ndarray]:
    """The scores of every seed's tasks."""
    lefts = runs.get((world, label), {}).values()
    return [scores(left, world, last(left) if iteration is None else iteration) for left in lefts]


def gains(runs: Runs, world: str, label: str, other: str, best: bool = False) -> list[np.ndarray]:
    """For every seed that both have run, what `label` scores above `other`, task by task.

    Compared are their last iterations, or with `best` that iteration of `other` that does best on these very tasks.
    """

    def theirs(left: dict[str, Any]) -> np.ndarray:
        steps = range(1 + last(left)) if best else [last(left)]
        return max((scores(left, world, step) for step in steps), key=np.mean)

    ours, others = runs.get((world, label), {}), runs.get((world, other), {})
    return [scores(ours[s], world, last(ours[s])) - theirs(others[s]) for s in sorted(ours.keys() & others.keys())]


def rises(runs: Runs, world: str, label: str, step: int) -> list[np.ndarray]:
    """For every seed, what an iteration scores above iteration 0, task by task."""
    lefts = runs.get((world, label), {}).values()
    return [scores(left, world, step) - scores(left, world, 0) for left in lefts]


def only(runs: Runs, seeds: Collection[int]) -> Runs:
    """The runs of some seeds."""
    return {name: {seed: left for seed, left in lefts.items() if seed in seeds} for name, lefts in runs.items()}


# --- the report

def table(headings: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def compared(runs: Runs) -> list[str]:
    """All methods after their last iteration, and what Agent-R has above each."""
    parts = ["## Score after the last iteration (the paper's Table 2)"]
    parts.append("Mean, and each seed; of the average over the worlds the interval.")
    rows = []
    for name, method, step in [("before (iteration 0)", "agent-r", 0), *((name, name, None) for name in METHODS)]:
        groups = [of_tasks(runs, world, method, step) for world in WORLDS]
        rows.append([name, *map(each, groups), told(groups)])
    parts.append(table(["method", *WORLDS, "average"], rows))
    parts.append(
        "What Agent-R scores above each baseline, paired by task; then above that iteration of the baseline which is "
        "best on these very tasks; and the least that any seed has above it in any world:"
    )
    rows = []
    for method in METHODS[:-1]:
        groups = [gains(runs, world, "agent-r", method) for world in WORLDS]
        best = [gains(runs, world, "agent-r", method, best=True) for world in WORLDS]
        means = [float(values.mean()) for samples in groups for values in samples]
        least = f"{100 * min(means):.1f}" if means else "-"
        rows.append([method, *(told([group]) for group in groups), told(groups), told(best), least])
    parts.append(table(["Agent-R above", *WORLDS, "average", "average, its best iteration", "least"], rows))
    titles = {"recovery": "score from inside a failed prefix (Table 3)", "loops": "share of repeated steps"}
    for name, title in titles.items():
        parts += [f"## {name.capitalize()}: {title}", "After the last iteration: mean, and each seed."]
        rows = [["before (iteration 0)", *(each(of_seeds(runs, world, "agent-r", name, 0)) for world in WORLDS)]]
        rows += [[method, *(each(of_seeds(runs, world, method, name)) for world in WORLDS)] for method in METHODS]
        parts.append(table(["method", *WORLDS], rows))
    return parts


def in_turn(runs: Runs, steps: Sequence[int]) -> list[str]:
    """Score and loops of all methods in every iteration."""
    parts = []
    for name, title in {"score": "Score by iteration (Figure 3)", "loops": "Loops by iteration (Figure 4)"}.items():
        parts += [f"## {title}", "Mean and sample standard deviation over seeds."]
        headings = ["world", "method", *(f"iteration {step}" for step in steps)]
        parts.append(table(headings, [
            [world, method, *(spread(of_seeds(runs, world, method, name, step)) for step in steps)]
            for world, method in itertools.product(WORLDS, METHODS)
        ]))
        parts.append(f"![{title}]({name}.svg)")
    return parts


def by_iteration(runs: Runs, steps: Sequence[int]) -> list[str]:
    """How Agent-R plays, and what it makes of its failures, in every iteration."""
    parts = ["## Agent-R by iteration (Table 1, Figure 5)"]
    parts.append("Mean and sample standard deviation over seeds; how it plays, then what it makes of its failures.")
    plays, makes = [], []
    for world, step in itertools.product(WORLDS, steps):
        names = ("score", "success", "recovery", "loops", "revision_length")
        names += ("executable_share", "first_error_exact", "false_alarms")
        found = {name: of_seeds(runs, world, "agent-r", name, step) for name in names}
        gained = told([rises(runs, world, "agent-r", step)]) if step else ""
        of_each = " ".join(f"{100 * float(values[0]):.1f}" for values in found["success"]) or "-"
        score, success, recovery, loops, _, *rest = map(spread, found.values())
        plays.append([world, str(step), score, gained, success, of_each, recovery, loops])
        counts = [figure(left, world, "counts", step) or {} for left in runs.get((world, "agent-r"), {}).values()]
        made = [mean(c[kind] for c in counts if kind in c) for kind in ("revision", "good")]
        cells = ["-" if value is None else f"{value:.0f}" for value in made]
        makes.append([world, str(step), *cells, spread(found["revision_length"], 1.0), *rest])
    headings = ["score", "above iteration 0", "success", "success by seed", "recovery", "loops"]
    parts.append(table(["world", "iteration", *headings], plays))
    headings = ["revisions", "good", "revision length", "executable as written", "judge exact", "false alarms"]
    parts.append(table(["world", "iteration", *headings], makes))
    return [*parts, "![Bad steps before a revision by iteration](revision_length.svg)"]


def several_and_single(runs: Runs) -> Runs:
    """One model on all worlds and one for each, of the seeds of both."""
    both = {(world, "one model"): runs.get(("several", "agent-r"), {}) for world in WORLDS}
    both |= {(world, "one for each"): runs.get((world, "agent-r"), {}) for world in WORLDS}
    return only(both, set.intersection(*map(set, both.values())))


def one_or_several(runs: Runs, steps: Sequence[int]) -> list[str]:
    """One model on all worlds beside one for each, in every iteration."""
    both, rows = several_and_single(runs), []
    for label, step in itertools.product(("one model", "one for each"), steps):
        groups = [of_tasks(both, world, label, step) for world in WORLDS]
        averages = [np.mean([values.mean() for values in of_worlds]) for of_worlds in zip(*groups, strict=True)]
        rows.append([f"{label}, iteration {step}", *map(each, groups), each(averages)])
    parts = ["## One model on all worlds, or one for each (Table 6, Figure 6)", "Score of Agent-R, of the same seeds."]
    parts.append(table(["model", *WORLDS, "average"], rows))
    return [*parts, "![One model on all worlds, or one for each](several.svg)"]


def ablated(runs: Runs) -> list[str]:
    """The ablations beside Agent-R of the same seeds."""
    parts = ["## Ablations on lab"]
    parts.append("Mean, and each seed; above Agent-R paired by task. The seeking expert goes from room to room.")
    runs = only(runs, range(3))
    rows = []
    for label, words in [("agent-r", "Agent-R"), *((label, words) for label, (words, _) in ABLATIONS.items())]:
        before, recovery, loops = map(spread, (
            of_tasks(runs, "lab", label, 0), *(of_seeds(runs, "lab", label, name) for name in ("recovery", "loops"))
        ))
        gained = "" if label == "agent-r" else told([gains(runs, "lab", label, "agent-r")])
        rows.append([words, before, each(of_tasks(runs, "lab", label)), gained, recovery, loops])
    parts.append(table(["what differs", "before", "score", "above Agent-R", "recovery", "loops"], rows))
    pairs = (("seeking expert", "seeking expert bc"), ("splice paper", "direct-revision"))
    rows = [[one, other, told([gains(runs, "lab", one, other)])] for one, other in pairs]
    return [*parts, table(["on lab", "against", "score, paired by task"], rows)]


def tried() -> list[str]:
    """The trials of the learning rates."""
    parts = ["## Learning rates"]
    parts.append("Score of 400 validation tasks of lab after one iteration, seed 100; each method's best was taken.")
    rows = []
    for method, rates in RATES.items():
        found = [place(f"trial {method} {rate}") for rate in rates]
        lefts = [json.loads(path.read_text(encoding="utf-8")) if path.exists() else None for path in found]
        means = ["-" if left is None else f"{100 * scores(left, 'lab', last(left)).mean():.1f}" for left in lefts]
        rows.append([method, *(f"{rate}: {value}" for rate, value in zip(rates, means, strict=True))])
    return [*parts, table(["method", "lowest", "", "", "highest"], rows)]


def report(seeds: int) -> str:
    """The whole report; what was not run yet is a dash."""
    runs = read_back(seeds)
    if not runs:
        raise UserError(f"{FOLDER} holds no finished run; python -m extras.reproduce makes them, in hours")
    steps = range(1 + max(last(left) for lefts in runs.values() for left in lefts.values()))
    missing = [name for name in plan(seeds) if not place(name).exists()]
    start = (
        "Made by `python -m extras.reproduce --report` from results/reproduce, on test tasks; what is neither a length "
        "nor a count is times 100. Intervals are 95 % bootstrap intervals over seeds and tasks. "
        f"Seeds 0 to {seeds - 1}; of the plan are missing: {', '.join(missing) or 'none'}."
    )
    of_steps = (part(runs, steps) for part in (in_turn, by_iteration, one_or_several))
    sections = (compared(runs), *of_steps, ablated(runs), tried())
    return "\n\n".join(["# What was measured", start, *itertools.chain(*sections)]) + "\n"


def pictures(seeds: int) -> None:
    """Score, loops, revision length and one model or several by iteration, a picture each; needs matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("the pictures need matplotlib: pip install matplotlib==3.10.8") from None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "agent-r"  # the same picture is the same file
    from matplotlib import pyplot

    runs = read_back(seeds)
    steps = range(1 + max(last(left) for lefts in runs.values() for left in lefts.values()))
    drawn = {  # a picture each: which figure, of which runs and labels, and its title
        "score": ("score", runs, METHODS, "score"),
        "loops": ("loops", runs, METHODS, "share of repeated steps"),
        "revision_length": ("revision_length", runs, METHODS, "bad steps before a revision"),
        "several": ("score", several_and_single(runs), ("one model", "one for each"), "score of agent-r"),
    }
    for name, (figure_name, lefts, labels, title) in drawn.items():
        size = {"figsize": (10, 3), "layout": "constrained", "sharey": name != "revision_length"}
        whole, axes = pyplot.subplots(1, len(WORLDS), **size)
        for axis, world in zip(axes, WORLDS, strict=True):
            for k, label in enumerate(labels):
                found = [of_seeds(lefts, world, label, figure_name, step) for step in steps]
                shown = [(step, float(np.mean(values))) for step, values in zip(steps, found, strict=True) if values]
                if shown:
                    axis.plot(*zip(*shown, strict=True), color=f"C{k}", marker="o", label=label)
            axis.set(title=world, xlabel="iteration", xticks=steps)
        axes[0].set_ylabel(title)
        whole.legend(*axes[0].get_legend_handles_labels(), fontsize="small", loc="outside right")
        whole.savefig(FOLDER.parent / f"{name}.svg", metadata={"Date": None})
        pyplot.close(whole)


def main() -> int:
    """Run what is missing, then write results/report.md and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each method and world")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs side by side, a thread each")
    parser.add_argument("--hours", type=float, default=8.0, help="no run is begun after that many hours")
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    try:
        if not given.report:
            end = time.monotonic() + 3600 * given.hours
            run_all(trials(), max(1, given.jobs), end)
            run_all(plan(given.seeds), max(1, given.jobs), end)
        (FOLDER.parent / "report.md").write_text(report(given.seeds), encoding="utf-8")
        pictures(given.seeds)
    except UserError as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("reproduce.py: stopped; the finished runs are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
