"""The report: the tables and the pictures of what the finished runs left.

Each section is a function that returns its paragraphs, `markdown` puts them in their order, and
`PICTURES` are those of the paper's figures.  What was not run yet is a dash.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from engine import UserError
from extras import plan
from extras.evidence import (
    Evidence,
    Series,
    crossed_interval,
    interval_in_words,
    mean_with_deviation,
    mean_with_interval,
    mean_with_seeds,
    means,
    percent,
    read_evidence,
)
from extras.plan import ABLATIONS, BENCHMARKS, METHODS, RATES, TRIED, VARIANTS, WORLDS

LABELS = (*METHODS, *VARIANTS)


def write(seeds: int) -> None:
    """Write the report and its pictures beside the results.

    Raises `UserError` if there is no finished run, or if matplotlib is missing, in which case the
    report alone is written.
    """
    path = plan.FOLDER / "report.md"
    path.write_text(markdown(seeds), encoding="utf-8")
    draw_pictures(seeds)


def markdown(seeds: int) -> str:
    """Return the whole report.  Raises `UserError` if there is no finished run."""
    evidence = read_evidence(seeds)
    recovery = "Recovery: score from inside a failed prefix (Table 3)"
    paragraphs = introduction(seeds)
    paragraphs += overview(evidence)
    paragraphs += final_scores(evidence)
    paragraphs += leads(evidence)
    paragraphs += final_figures(evidence, "recovery", recovery)
    paragraphs += final_figures(evidence, "loops", "Loops: share of repeated steps")
    paragraphs += figures_by_iteration(evidence, "score", "Score by iteration (Figure 3)")
    paragraphs += figures_by_iteration(evidence, "loops", "Loops by iteration (Figure 4)")
    paragraphs += agent_r_by_iteration(evidence)
    paragraphs += one_model_or_several(evidence)
    paragraphs += benchmarks(evidence)
    paragraphs += ablations(evidence)
    paragraphs += learning_rates()
    return "\n\n".join(paragraphs) + "\n"


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * len(headings)
    lines = []
    for cells in (headings, rule, *rows):
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# --- the sections


def introduction(seeds: int) -> list[str]:
    """Return the heading, what the report is made from, and what is missing."""
    return [
        "# What was measured",
        "Made by `python -m extras.reproduce --report` from the files beside it, on test tasks; "
        "what is neither a length nor a count is times 100. Intervals are 95 % t intervals over "
        f"seeds, whose differences are paired by task. Seeds {plan.FIRST_SEED} to "
        f"{plan.FIRST_SEED + seeds - 1}. {missing_in_words(seeds)}",
    ]


def missing_in_words(seeds: int) -> str:
    """Return how many runs of the plan have no result yet, and which, the seeds of each method."""
    planned = plan.runs(seeds)
    seeds_of: dict[str, list[int]] = {}
    for name, arguments in planned.items():
        if not plan.is_finished(name, arguments):
            series, _, seed = name.rpartition(" ")
            seeds_of.setdefault(series, []).append(int(seed))
    if not seeds_of:
        return "Of the plan nothing is missing."
    series_of: dict[str, list[str]] = {}
    for series, missing in seeds_of.items():
        series_of.setdefault(numbers_in_words(missing), []).append(series)
    which = [f"{', '.join(series)} ({numbers})" for numbers, series in series_of.items()]
    count = sum(map(len, seeds_of.values()))
    return f"Of the plan's {len(planned)} runs {count} are missing: {'; '.join(which)}."


def numbers_in_words(numbers: Sequence[int]) -> str:
    """Return ascending numbers such as "20 to 24", or one by one where they have gaps."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def overview(evidence: Evidence) -> list[str]:
    """Return the section that comes first: world by method, and what Agent-R adds."""
    rows = []
    for world in (*WORLDS, *BENCHMARKS):
        agent_r = evidence.of(world, "agent-r")
        cells = [world, mean_cell(world, agent_r.scores(0))]
        for method in METHODS:
            cells.append(mean_cell(world, evidence.of(world, method).scores()))
        cells.append(mean_cell(world, agent_r.rises(None)))
        cells.append(lead_over_best(evidence, world))
        rows.append(cells)
    headings = ["world", "before", *METHODS, "above its start", "above the best baseline"]
    return [
        "## All worlds, all methods",
        "Score after the last iteration: the mean, and its interval; then what Agent-R has above "
        "its start, and above the baseline whose mean is highest.",
        table(headings, rows),
    ]


def mean_cell(world: str, samples: list[np.ndarray]) -> str:
    """Return the mean over seeds of values, [tasks] of every seed, with the world's interval."""
    if world in BENCHMARKS:
        return crossed_cell(samples)
    return mean_with_interval([samples])


def lead_over_best(evidence: Evidence, world: str) -> str:
    """Return what Agent-R scores above the best of the baselines, and which one it is.

    Where that one has run with fewer seeds, they are named.
    """
    averages = {}
    for method in METHODS:
        scores = means(evidence.of(world, method).scores())
        if method != "agent-r" and scores:
            averages[method] = fmean(scores)
    if not averages:
        return "-"
    best = max(averages, key=averages.__getitem__)
    agent_r, baseline = (evidence.of(world, method) for method in ("agent-r", best))
    lead = f"{best}: {mean_cell(world, agent_r.gains(baseline))}"
    if agent_r.results.keys() <= baseline.results.keys():
        return lead
    return f"{lead}, seeds {numbers_in_words(sorted(baseline.results))}"


def final_scores(evidence: Evidence) -> list[str]:
    """Return the section on the score of all methods after their last iteration."""
    rows = [["before (iteration 0)", *score_cells(evidence, "agent-r", 0)]]
    for method in LABELS:
        rows.append([method, *score_cells(evidence, method)])
    return [
        "## Score after the last iteration (the paper's Table 2)",
        "Mean, and each seed; of the average over the worlds the interval.",
        table(["method", *WORLDS, "average"], rows),
    ]


def score_cells(evidence: Evidence, method: str, iteration: int | None = None) -> list[str]:
    """Return the scores of a method in each world, and their average."""
    groups = [evidence.of(world, method).scores(iteration) for world in WORLDS]
    cells = [mean_with_seeds(means(samples)) for samples in groups]
    return [*cells, mean_with_interval(groups)]


def leads(evidence: Evidence) -> list[str]:
    """Return the paragraphs on what Agent-R scores above each baseline."""
    rows = []
    for method in LABELS:
        if method != "agent-r":
            rows.append([method, *lead_cells(evidence, method)])
    headings = ["Agent-R above", *WORLDS, "average", "average, its best iteration", "least"]
    return [
        "What Agent-R scores above each baseline, paired by task; then above that iteration of the "
        "baseline which is best on these very tasks; and the least that any seed has above it in "
        "any world:",
        table(headings, rows),
        "The same after each iteration, since what all come to in the end says little where that "
        "is nearly everything:",
        table(*leads_by_iteration(evidence)),
    ]


def leads_by_iteration(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of what Agent-R scores above each baseline in each iteration."""
    later = evidence.iterations[1:]
    headings = ["world", "Agent-R above"]
    headings += [f"iteration {iteration}" for iteration in later]
    rows = []
    for world, method in itertools.product(WORLDS, METHODS):
        agent_r = evidence.of(world, "agent-r")
        other = evidence.of(world, method)
        if method != "agent-r":
            leads = [agent_r.gains(other, iteration) for iteration in later]
            rows.append([world, method, *(mean_with_interval([of_all]) for of_all in leads)])
    return headings, rows


def lead_cells(evidence: Evidence, baseline: str) -> list[str]:
    """Return the lead in each world, on average, over the best iteration, and at the least."""
    leads = []
    leads_over_best = []
    for world in WORLDS:
        agent_r = evidence.of(world, "agent-r")
        other = evidence.of(world, baseline)
        leads.append(agent_r.gains(other))
        leads_over_best.append(agent_r.gains(other, best=True))
    cells = [mean_with_interval([of_world]) for of_world in leads]
    of_seeds = means(list(itertools.chain(*leads)))
    least = "-"
    if of_seeds:
        least = percent(min(of_seeds))
    return [*cells, mean_with_interval(leads), mean_with_interval(leads_over_best), least]


def final_figures(evidence: Evidence, name: str, title: str) -> list[str]:
    """Return the section on a figure of all methods after their last iteration."""
    rows = [["before (iteration 0)", *figure_cells(evidence, "agent-r", name, 0)]]
    for method in LABELS:
        rows.append([method, *figure_cells(evidence, method, name)])
    return [
        f"## {title}",
        "After the last iteration: mean, and each seed.",
        table(["method", *WORLDS], rows),
    ]


def figure_cells(
    evidence: Evidence, method: str, name: str, iteration: int | None = None
) -> list[str]:
    """Return a figure of a method in each world."""
    cells = []
    for world in WORLDS:
        figures = evidence.of(world, method).figures(name, iteration)
        cells.append(mean_with_seeds(figures))
    return cells


def figures_by_iteration(evidence: Evidence, name: str, title: str) -> list[str]:
    """Return the section on a figure of all methods in every iteration."""
    headings = ["world", "method"]
    headings += [f"iteration {iteration}" for iteration in evidence.iterations]
    rows = []
    for world, method in itertools.product(WORLDS, METHODS):
        series = evidence.of(world, method)
        cells = [world, method]
        for iteration in evidence.iterations:
            cells.append(mean_with_deviation(series.figures(name, iteration)))
        rows.append(cells)
    return [
        f"## {title}",
        "Mean and sample standard deviation over seeds.",
        table(headings, rows),
        f"![{title}]({name}.svg)",
    ]


def agent_r_by_iteration(evidence: Evidence) -> list[str]:
    """Return the section on how Agent-R plays, and what it makes of its failures."""
    plays = []
    revisions = []
    for world, iteration in itertools.product(WORLDS, evidence.iterations):
        series = evidence.of(world, "agent-r")
        start = [world, str(iteration)]
        plays.append(start + play_cells(series, iteration))
        revisions.append(start + revision_cells(series, iteration))
    start = ["world", "iteration"]
    return [
        "## Agent-R by iteration (Table 1, Figure 5)",
        "Mean and sample standard deviation over seeds; how it plays, then what it makes of its "
        "failures.",
        table(start + PLAY_HEADINGS, plays),
        table(start + REVISION_HEADINGS, revisions),
        "![Bad steps before a revision by iteration](revision_length.svg)",
    ]


PLAY_HEADINGS = [
    "score",
    "above iteration 0",
    "success",
    "success by seed",
    "recovery",
    "loops",
]


def play_cells(series: Series, iteration: int) -> list[str]:
    """Return the cells under `PLAY_HEADINGS`."""
    gain = ""
    if iteration:
        gain = mean_with_interval([series.rises(iteration)])
    successes = series.figures("success", iteration)
    by_seed = " ".join(map(percent, successes))
    return [
        figure_cell(series, "score", iteration),
        gain,
        mean_with_deviation(successes),
        by_seed or "-",
        figure_cell(series, "recovery", iteration),
        figure_cell(series, "loops", iteration),
    ]


REVISION_HEADINGS = [
    "revisions",
    "good",
    "revision length",
    "executable as written",
    "judge exact",
    "false alarms",
]


def revision_cells(series: Series, iteration: int) -> list[str]:
    """Return the cells under `REVISION_HEADINGS`."""
    lengths = series.figures("revision_length", iteration)
    return [
        mean_count(series, "revision", iteration),
        mean_count(series, "good", iteration),
        mean_with_deviation(lengths, scale=1.0, digits=2),
        figure_cell(series, "executable_share", iteration),
        figure_cell(series, "first_error_exact", iteration),
        figure_cell(series, "false_alarms", iteration),
    ]


def figure_cell(series: Series, name: str, iteration: int | None = None) -> str:
    """Return mean and standard deviation of a figure."""
    return mean_with_deviation(series.figures(name, iteration))


def mean_count(series: Series, kind: str, iteration: int) -> str:
    """Return the mean number of examples of a kind."""
    counts = series.figures("counts", iteration)
    numbers = [count[kind] for count in counts if kind in count]
    return f"{fmean(numbers):.0f}" if numbers else "-"


def one_model_or_several(evidence: Evidence) -> list[str]:
    """Return the section on one model on all worlds beside one for each."""
    models = one_model_and_several(evidence)
    rows = []
    for label, iteration in itertools.product(MODELS, evidence.iterations):
        of_worlds = [means(models.of(world, label).scores(iteration)) for world in WORLDS]
        averages = [fmean(of_seed) for of_seed in zip(*of_worlds, strict=True)]
        cells = [mean_with_seeds(scores) for scores in (*of_worlds, averages)]
        rows.append([f"{label}, iteration {iteration}", *cells])
    return [
        "## One model on all worlds, or one for each (Table 6, Figure 6)",
        "Score of Agent-R, of the same seeds.",
        table(["model", *WORLDS, "average"], rows),
        "![One model on all worlds, or one for each](several.svg)",
    ]


MODELS = ("one model", "one for each")  # of the labels of that section


def one_model_and_several(evidence: Evidence) -> Evidence:
    """Return one model on all worlds and one for each, labelled as in `MODELS`.

    They are of the seeds that have been run of all four.
    """
    one_model = evidence.of("several", "agent-r")
    shared = set(one_model.results)
    for world in WORLDS:
        shared &= evidence.of(world, "agent-r").results.keys()
    results = {}
    for world in WORLDS:
        one_for_each = evidence.of(world, "agent-r")
        results[world, "one model"] = one_model.only(shared).results
        results[world, "one for each"] = one_for_each.only(shared).results
    return Evidence(results)


def benchmarks(evidence: Evidence) -> list[str]:
    """Return the section on the benchmarks: every method by iteration, and Agent-R's leads."""
    headings = ["benchmark", "method", "seeds"]
    headings += [f"iteration {iteration}" for iteration in evidence.iterations]
    headings += ["success, last", "above iteration 0", "Agent-R above it"]
    rows = []
    for world, method in itertools.product(BENCHMARKS, METHODS):
        series = evidence.of(world, method)
        cells = [world, method, numbers_in_words(sorted(series.results)) or "-"]
        for iteration in evidence.iterations:
            cells.append(mean_with_deviation(means(series.scores(iteration))))
        cells.append(mean_with_deviation(series.figures("success")))
        cells.append(crossed_cell(series.rises(None)))
        lead = evidence.of(world, "agent-r").gains(series) if method != "agent-r" else []
        rows.append([*cells, crossed_cell(lead)])
    return [
        "## The benchmarks",
        "Score, mean and sample standard deviation over seeds; differences paired by task. As all "
        "seeds are tested on the same tasks, their intervals are of seeds and tasks crossed.",
        table(headings, rows),
        "How a method plays behind each iteration, and what it makes of its failures; dropped is "
        "the share of its pairs of which the world carries out no splice.",
        table(BENCHMARK_HEADINGS, benchmark_rows(evidence)),
    ]


BENCHMARK_HEADINGS = [
    "benchmark",
    "method",
    "iteration",
    "success",
    "recovery",
    "loops",
    "revisions",
    "good",
    "dropped",
    "revision length",
]


def benchmark_rows(evidence: Evidence) -> list[list[str]]:
    """Return the rows under `BENCHMARK_HEADINGS`, of what was run."""
    rows = []
    for world, method, iteration in itertools.product(BENCHMARKS, METHODS, evidence.iterations):
        series = evidence.of(world, method)
        if series.results:
            rows.append([world, method, str(iteration), *benchmark_cells(series, iteration)])
    return rows


def benchmark_cells(series: Series, iteration: int) -> list[str]:
    """Return the cells of figures under `BENCHMARK_HEADINGS`."""
    lengths = series.figures("revision_length", iteration)
    return [
        figure_cell(series, "success", iteration),
        figure_cell(series, "recovery", iteration),
        figure_cell(series, "loops", iteration),
        mean_count(series, "revision", iteration),
        mean_count(series, "good", iteration),
        dropped_share(series, iteration),
        mean_with_deviation(lengths, scale=1.0, digits=2),
    ]


def dropped_share(series: Series, iteration: int) -> str:
    """Return the share of all seeds' pairs that was dropped since no splice can be executed."""
    pairs = 0
    dropped = 0
    for counts in series.figures("counts", iteration):
        outcomes = ("revision", "dropped_no_error", "dropped_not_executable")
        pairs += sum(counts.get(outcome, 0) for outcome in outcomes)
        dropped += counts.get("dropped_not_executable", 0)
    return percent(dropped / pairs) if pairs else "-"


def crossed_cell(differences: Sequence[np.ndarray]) -> str:
    """Return the mean of differences, [tasks] of every seed, with its crossed interval."""
    if not differences:
        return "-"
    return interval_in_words(crossed_interval(np.array(differences)))


def ablations(evidence: Evidence) -> list[str]:
    """Return the section on the ablations, beside Agent-R of the same seeds."""
    rows = [["Agent-R", *ablation_cells(evidence, "agent-r")]]
    for label, ablation in ABLATIONS.items():
        rows.append([ablation.words, *ablation_cells(evidence, label)])
    headings = ["what differs", "before", "score", "above Agent-R", "recovery", "loops"]
    pairs = [
        pair_row(evidence, "seeking expert", "seeking expert bc"),
        pair_row(evidence, "splice paper", "direct-revision"),
    ]
    return [
        "## Ablations on lab",
        "Mean, and each seed; above Agent-R paired by task. The seeking expert goes from room to "
        "room.",
        table(headings, rows),
        table(["on lab", "against", "score, paired by task"], pairs),
    ]


def of_few_seeds(evidence: Evidence, label: str) -> Series:
    """Return a series on lab, of the seeds that the ablations have."""
    return evidence.of("lab", label).only(range(plan.FIRST_SEED, plan.FIRST_SEED + plan.FEW_SEEDS))


def ablation_cells(evidence: Evidence, label: str) -> list[str]:
    """Return what an ablation, or Agent-R itself, comes to."""
    series = of_few_seeds(evidence, label)
    gain = ""
    if label != "agent-r":
        gain = lead_cell(series, of_few_seeds(evidence, "agent-r"))
    return [
        mean_with_deviation(means(series.scores(0))),
        mean_with_seeds(means(series.scores())),
        gain,
        figure_cell(series, "recovery"),
        figure_cell(series, "loops"),
    ]


def lead_cell(series: Series, other: Series) -> str:
    """Return what one series scores above another, with its interval."""
    return mean_with_interval([series.gains(other)])


def pair_row(evidence: Evidence, label: str, other: str) -> list[str]:
    """Return two labels and what the first scores above the second."""
    lead = lead_cell(of_few_seeds(evidence, label), of_few_seeds(evidence, other))
    return [label, other, lead]


def learning_rates() -> list[str]:
    """Return the section on the trials of the learning rates."""
    widest = max(len(rates) for rates in RATES.values())
    rows = []
    for method in TRIED:
        cells = [method]
        for rate in RATES[method]:
            score = plan.trial_score(method, rate)
            words = "-" if score is None else percent(score)
            cells.append(f"{rate}: {words}")
        cells += [""] * (widest - len(RATES[method]))
        rows.append(cells)
    return [
        "## Learning rates",
        "Score of 400 validation tasks of lab after one iteration, mean of seeds "
        f"{', '.join(map(str, plan.TRIAL_SEEDS))}; each method's best was taken. Agent-R has the "
        f"preset's, {plan.best_rate('agent-r')}.",
        table(["method", "lowest", *[""] * (widest - 1)], rows),
    ]


# --- the pictures


@dataclass(frozen=True)
class Picture:
    """A figure by iteration: a panel for each world, and in it a line for each label."""

    name: str  # of the file
    figure: str
    title: str
    labels: Sequence[str] = METHODS
    same_scale: bool = True  # in all panels


PICTURES = (
    Picture("score", "score", "score"),
    Picture("loops", "loops", "share of repeated steps"),
    Picture("revision_length", "revision_length", "bad steps before a revision", same_scale=False),
    Picture("several", "score", "score of agent-r", labels=MODELS),
)


def draw_pictures(seeds: int) -> None:
    """Draw all `PICTURES` beside the report.  Raises `UserError` if matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        install = "pip install matplotlib==3.10.8"
        raise UserError(f"the pictures need matplotlib: {install}") from None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "agent-r"  # the same picture is the same file
    evidence = read_evidence(seeds)
    models = one_model_and_several(evidence)
    evidence = Evidence(evidence.results | models.results)
    for picture in PICTURES:
        draw(picture, evidence)


def draw(picture: Picture, evidence: Evidence) -> None:
    """Draw one picture into its file."""
    from matplotlib import pyplot

    canvas, panels = pyplot.subplots(
        ncols=len(WORLDS),
        figsize=(10, 3),
        layout="constrained",
        sharey=picture.same_scale,
    )
    for panel, world in zip(panels, WORLDS, strict=True):
        for number, label in enumerate(picture.labels):
            series = evidence.of(world, label)
            line = mean_figures(series, picture.figure, evidence.iterations)
            if line:
                style = {"color": f"C{number}", "marker": "o", "label": label}
                panel.plot(line.keys(), line.values(), **style)
        panel.set(title=world, xlabel="iteration", xticks=evidence.iterations)
    panels[0].set_ylabel(picture.title)
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, fontsize="small", loc="outside right")
    path = plan.FOLDER / f"{picture.name}.svg"
    canvas.savefig(path, metadata={"Date": None})
    pyplot.close(canvas)


def mean_figures(series: Series, name: str, iterations: range) -> dict[int, float]:
    """Return the mean of a figure over seeds by iteration; where it does not apply is none."""
    by_iteration = {}
    for iteration in iterations:
        figures = series.figures(name, iteration)
        if figures:
            by_iteration[iteration] = float(np.mean(figures))
    return by_iteration
