"""The evidence: what is run and what not again, what a run leaves, the intervals, the report."""

import json
import math
import re
import time
from pathlib import Path
from statistics import fmean as mean

import numpy as np
import pytest

from engine import UserError
from extras import evidence, plan, report, reproduce


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    monkeypatch.setattr(plan, "FOLDER", tmp_path / "results" / "methods")
    monkeypatch.setattr(plan, "FIRST_SEED", 0)
    plan.FOLDER.mkdir(parents=True)
    return tmp_path


FIGURES = (
    "score",
    "success",
    "recovery",
    "loops",
    "revision_length",
    "executable_share",
    "first_error_exact",
    "false_alarms",
)


def left(world, scores, seed=0, **figures):
    """What a run leaves: `scores[k]` are those of iteration k, a figure is a list by iteration."""
    rows = [
        {"env": world, "iteration": k, "seed": seed, "counts": {"revision": 10 * k, "good": 5}}
        | {name: figures[name][k] if name in figures else None for name in FIGURES}
        for k in range(len(scores))
    ]
    return {
        "rows": rows,
        "scores": {world: {str(k): s for k, s in enumerate(scores)}},
    }


def put(name, run):
    """Leave what a run of the plan leaves."""
    planned = {"arguments": {**plan.trials(), **plan.runs(5)}[name]}
    plan.result_file(name).write_text(json.dumps(planned | run))


def test_the_plan_names_each_run_once_and_every_command_can_be_parsed():
    import train

    runs = plan.runs(5)
    labels = (*plan.METHODS, *plan.VARIANTS)
    compared = [f"{world} {label}" for world in plan.WORLDS for label in labels]
    methods = [name for name in runs if name.rsplit(" ", 1)[0] in compared]
    assert len(methods) == 3 * 5 * 7
    benchmarks = {name for name in runs if name.split()[0] in plan.BENCHMARKS}
    assert len(benchmarks) == 2 * 5 * 5
    assert len(runs) == len(methods) + 3 * len(plan.ABLATIONS) + 3 + len(benchmarks)
    configs = {name: train.parse(["--tiny", *arguments]) for name, arguments in runs.items()}
    for config in configs.values():
        train.check(config)
    different = {str(config) for config in configs.values()}
    assert len(different) == len(runs), "no two runs are alike"
    budgets = {name: configs[name] for name in methods}
    of_world = {(c.env, c.tasks, c.simulations, c.steps) for c in budgets.values()}
    assert len(of_world) == 3, "one budget for all methods of a world"
    seeds = {config.seed for config in configs.values()}
    assert seeds == {20, 21, 22, 23, 24}
    assert not seeds & set(plan.TRIAL_SEEDS), "nothing is chosen on the seeds that are reported"
    first = [f"{world} {method} 20" for world in plan.WORLDS for method in plan.METHODS]
    assert set(list(runs)[:15]) == set(first)
    assert configs["shop eto expert 22"].winners == "expert"
    assert configs["craft splice paper 23"].splice == "paper"


def test_each_method_has_trials_around_its_rate_and_takes_the_one_that_scored_most(project):
    import train

    trials = plan.trials()
    preset = train.parse(["--tiny"])
    assert list(map(float, plan.RATES["agent-r"])) == [preset.lr], "chosen in whole runs, not here"
    assert plan.best_rate("agent-r") == plan.RATES["agent-r"][0]
    assert not [name for name in trials if "agent-r" in name]
    for method in set(plan.METHODS) - {"agent-r"}:
        configs = [
            train.parse(["--tiny", *given])
            for name, given in trials.items()
            if name.startswith(f"trial {method} ")
        ]
        rates = plan.RATES[method]
        assert len(rates) >= 4
        assert [float(rate) for rate in rates] == sorted(map(float, rates))
        tried = {c.dpo_lr if method == "eto" else c.lr for c in configs}
        assert tried == set(map(float, rates))
        assert len(configs) == len(rates) * len(plan.TRIAL_SEEDS)
        assert {(c.method, c.env, c.eval_split) for c in configs} == {(method, "lab", "validation")}
        assert {c.seed for c in configs} == set(plan.TRIAL_SEEDS)
        assert len({c.warmup_lr for c in configs}) == 1, "all begin from the same agent"
    scores = dict(zip(plan.RATES["eto"], (0.4, 0.3, 0.2, 0.2, 0.1, 0.9, 0.5), strict=True))
    for rate, score in scores.items():
        for seed, more in zip(plan.TRIAL_SEEDS, (-0.05, 0.0, 0.05), strict=True):
            assert plan.best_rate("eto") == "3e-5", "the middle one, while trials are missing"
            run = left("lab", [[1.0, 1.0], [score + more, score + more]])
            put(f"trial eto {rate} {seed}", run)
    assert plan.trial_score("eto", "1e-4") == pytest.approx(0.1)
    assert plan.best_rate("eto") == "3e-4"
    command = "--env craft --seed 0 --method eto --dpo-lr 3e-4"
    assert plan.runs(1)["craft eto 0"] == command.split()
    assert plan.runs(1)["craft eto expert 0"] == [*command.split(), "--winners", "expert"]


@pytest.mark.parametrize("variant", ["worlds.seeking:SeekingLab", "extras.seeking:SeekingLab"])
def test_a_variant_of_a_world_goes_by_another_name_in_its_run(project, variant):
    put("lab seeking expert 0", left(variant, [[0.0], [0.5]], recovery=[0.1, 0.2]))
    (result,) = evidence.read_evidence(1).of("lab", "seeking expert").results.values()
    assert result.scores("lab", 1) == 0.5
    assert result.figure("lab", "recovery", 1) == 0.2


def test_only_what_is_missing_is_run_and_none_is_begun_too_late(project, monkeypatch):
    ran = []
    runs = {name: plan.runs(5)[name] for name in ("lab bc 0", "lab bc 1", "lab bc 2", "lab bc 3")}
    monkeypatch.setattr(reproduce, "run", lambda name, arguments: ran.append(name))
    put("lab bc 1", left("lab", [[1.0]]))
    reproduce.run_all(runs, jobs=2, end=time.monotonic() + 60)
    assert sorted(ran) == ["lab bc 0", "lab bc 2", "lab bc 3"]
    reproduce.run_all(runs | {"lab bc 9": []}, jobs=2, end=time.monotonic())
    assert len(ran) == 3


def test_a_result_of_another_command_is_neither_taken_nor_made_anew(project, monkeypatch):
    monkeypatch.setattr(reproduce, "run", lambda name, arguments: pytest.fail("it was run"))
    runs = plan.runs(1)
    put("lab bc 0", left("lab", [[1.0]]) | {"arguments": ["--env", "lab", "--lr", "7"]})
    told = r"lab-bc-0\.json is the result of '--env lab --lr 7', where the plan has '--env lab"
    for use in (
        lambda: reproduce.run_all({"lab bc 0": runs["lab bc 0"]}, jobs=1, end=math.inf),
        lambda: evidence.read_evidence(1),
        lambda: report.missing_in_words(1),
    ):
        with pytest.raises(UserError, match=told):
            use()


def test_a_run_that_fails_is_told_by_its_name_and_leaves_nothing(project):
    (project / "train.py").write_text("import sys; sys.exit('train.py: no luck today')")
    with pytest.raises(UserError, match=r"warm-up-lab-7: train\.py: no luck today"):
        reproduce.run("lab bc 7", ["--env", "lab", "--seed", "7"])
    (project / "train.py").write_text(
        SCRIPT + "if '--warmed' in sys.argv: sys.exit('train.py: no luck today')"
    )
    with pytest.raises(UserError, match=r"lab bc 7: train\.py: no luck today"):
        reproduce.run("lab bc 7", ["--env", "lab", "--seed", "7"])
    assert not list(plan.FOLDER.iterdir())


SCRIPT = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
there = [path.name for path in out.iterdir()] if out.exists() else []
out.mkdir(exist_ok=True)
rows = [{"env": "lab", "iteration": k, "score": k} for k in (0, 1)]
episodes = [{"env": "lab", "iteration": k, "task": t, "score": k / 3} for k in (0, 1) for t in "ab"]
for name, records in (("results", rows), ("episodes", episodes)):
    (out / f"{name}.jsonl").write_text("".join(json.dumps(r) + chr(10) for r in records))
with open("commands", "a") as file:
    print(*sys.argv[1:], "| there:", *there, file=file)
"""


def test_of_a_run_only_rows_and_scores_are_kept(project):
    (project / "train.py").write_text(SCRIPT)
    reproduce.run("lab bc 0", ["--env", "lab", "--seed", "0"])
    run = json.loads(plan.result_file("lab bc 0").read_text())
    assert run["arguments"] == ["--env", "lab", "--seed", "0"]
    assert run["scores"] == {"lab": {"0": [0.0, 0.0], "1": [0.333, 0.333]}}
    assert [row["score"] for row in run["rows"]] == [0, 1]
    assert [path.name for path in (project / "runs" / "reproduce").iterdir()] == ["warm-up-lab-0"]


def test_on_a_benchmark_scores_stand_in_the_order_of_the_tasks_names(project):
    (project / "train.py").write_text(SCRIPT.replace('"env": "lab"', '"env": "textcraft"'))
    for text, order in (("ab", [0.0, 1.0]), ("ba", [0.0, 1.0])):
        script = SCRIPT.replace('"score": k / 3', '"score": "ab".index(t)')
        (project / "train.py").write_text(script.replace('in "ab"]', f"in {text!r}]"))
        reproduce.run(f"textcraft bc {text}", ["--env", "textcraft", "--seed", "0"])
        assert plan.read_result(f"textcraft bc {text}").task_scores["lab"]["1"] == order


def test_the_benchmarks_leads_are_crossed(project):
    first = [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.5, 1.0]]
    for seed, scores in enumerate(first):
        put(f"textcraft agent-r {seed}", left("textcraft", scores, success=[0.0, 0.5]))
        put(f"textcraft bc {seed}", left("textcraft", [[0.0, 0.0], [0.0, 1.0]], success=[0, 0.5]))
    text = report.markdown(2)
    (row,) = [line for line in text.splitlines() if line.startswith("| textcraft | bc | 0, 1 |")]
    leads = np.array([[1.0, 0.0], [0.5, 0.0]])
    expected = evidence.interval_in_words(evidence.crossed_interval(leads))
    assert row.split(" | ")[-1] == f"{expected} |"
    (row,) = [
        line for line in text.splitlines() if line.startswith("| textcraft | agent-r | 0, 1 |")
    ]
    rises = np.array([[1.0, 1.0], [0.5, 1.0]])
    expected = evidence.interval_in_words(evidence.crossed_interval(rises))
    assert row.split(" | ")[-2] == expected
    (row,) = [line for line in text.splitlines() if line.startswith("| textcraft | 0.0 (")]
    assert row.split(" | ")[-2] == expected
    lead = evidence.interval_in_words(evidence.crossed_interval(leads))
    assert row.split(" | ")[-1] == f"bc: {lead} |"
    assert "| scienceworld | agent-r | - |" in text


def test_the_benchmarks_tell_what_share_of_the_pairs_was_dropped(project):
    first = {"revision": 6, "dropped_no_error": 1, "dropped_not_executable": 1, "good": 4}
    second = {"revision": 1, "dropped_no_error": 0, "dropped_not_executable": 1, "good": 2}
    for seed, counts in enumerate((first, second)):
        run = left("textcraft", [[0.0], [1.0]], success=[0.0, 1.0])
        run["rows"][0]["counts"] = None
        run["rows"][1]["counts"] = counts
        put(f"textcraft agent-r {seed}", run)
    lines = report.markdown(2).splitlines()
    (row,) = [line for line in lines if line.startswith("| textcraft | agent-r | 1 |")]
    assert row.split(" | ")[-4:-1] == ["4", "3", "20.0"]
    (row,) = [line for line in lines if line.startswith("| textcraft | agent-r | 0 |")]
    assert row.split(" | ")[-4:-1] == ["-", "-", "-"]


def test_a_run_that_was_cut_off_goes_on_and_one_that_was_whole_is_not_run_again(project):
    (project / "train.py").write_text(SCRIPT)
    (project / "runs" / "reproduce" / "lab-bc-0.part" / "iteration-0").mkdir(parents=True)
    reproduce.run("lab bc 0", ["--env", "lab", "--seed", "0"])
    commands = (project / "commands").read_text().splitlines()
    assert commands[-1].endswith("lab-bc-0.part | there: iteration-0"), "train.py finds it"
    plan.result_file("lab bc 0").unlink()
    whole = project / "runs" / "reproduce" / "lab-bc-0"
    whole.mkdir()
    for name in ("results", "episodes"):
        (whole / f"{name}.jsonl").write_text("")
    reproduce.run("lab bc 0", ["--env", "lab", "--seed", "0"])
    assert json.loads(plan.result_file("lab bc 0").read_text())["rows"] == []
    assert (project / "commands").read_text().splitlines() == commands


def test_with_anew_nothing_that_was_there_is_used(project, monkeypatch, capsys):
    (project / "runs" / "reproduce" / "warm-up-lab-0").mkdir(parents=True)
    monkeypatch.setattr("sys.argv", ["reproduce.py", "--anew", "--report"])
    reproduce.main()
    assert not (project / "runs" / "reproduce").exists()


def test_the_runs_of_a_world_and_seed_share_one_warm_up_though_they_begin_side_by_side(project):
    (project / "train.py").write_text(SCRIPT + "import time; time.sleep(0.2)")
    part = project / "runs" / "reproduce" / "warm-up-lab-0.part"  # cut off
    part.mkdir(parents=True)
    runs = {
        f"lab {m} {seed}": ["--env", "lab", "--seed", seed, "--lr", "1"]
        for seed in "01"
        for m in ("bc", "eto")
    }
    reproduce.run_all(runs, jobs=4, end=time.monotonic() + 60)
    commands = (project / "commands").read_text().splitlines()
    made = [line for line in commands if "--warmed" not in line]
    assert sorted(line.split(" --out")[0] for line in made) == [
        f"--tiny --env lab --seed {seed} --iterations 0 --eval-tasks 1" for seed in "01"
    ]
    for line in set(commands) - set(made):
        seed, folder = re.search(r"--seed (\d) .*--warmed (\S+)", line).groups()
        assert folder.endswith(f"runs/reproduce/warm-up-lab-{seed}/iteration-0/model")
    assert len(commands) == 6


def test_an_interval_is_that_of_students_t_over_the_seeds():
    samples = [np.full(200, 0.3), np.array([0.2, 0.6]), np.full(7, 0.5)]  # means 0.3, 0.4, 0.5
    middle, low, high = evidence.interval([samples])
    assert middle == pytest.approx(0.4)
    half = 4.303 * 0.1 / 3**0.5  # with two degrees of freedom
    assert (low, high) == pytest.approx((0.4 - half, 0.4 + half))


def covered(interval_of, draw, truth, times=2000):
    """How often an interval of what `draw` gives holds the truth."""
    intervals = [interval_of(draw()) for _ in range(times)]
    return np.mean([low <= truth <= high for _, low, high in intervals])


@pytest.mark.parametrize("seeds", [3, 5])
def test_an_interval_of_few_seeds_holds_the_truth_as_often_as_it_says(seeds):
    rng = np.random.default_rng(1)

    def draw():
        return [rng.normal(0.6 + rng.normal(0, 0.1), 0.4, 100) for _ in range(seeds)]

    share = covered(lambda samples: evidence.interval([samples]), draw, 0.6)
    assert share == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spreads", [(0.1, 0.4), (0.02, 0.5), (0.2, 0.02)])  # of seeds, of tasks
def test_where_all_seeds_share_their_tasks_the_luck_of_the_tasks_is_in_the_interval(seeds, spreads):
    rng = np.random.default_rng(2)
    of_seeds, of_tasks = spreads

    def draw():
        means = 0.6 + rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, of_tasks, (1, 60))
        return means + rng.normal(0, 0.2, (seeds, 60))

    assert 0.93 <= covered(evidence.crossed_interval, draw, 0.6) <= 1
    apart = covered(lambda values: evidence.interval([list(values)]), draw, 0.6)
    if spreads == (0.02, 0.5):
        assert apart < 0.7, "the interval over seeds alone takes the tasks for granted"


def test_a_crossed_interval_by_hand():
    # Mean squares: of seeds 4, of tasks 4, of the rest 1; so the variance is (4 + 4 - 1) / 4, with
    # 1.75**2 / (1 + 1 + 0.25**2) = 1.5 degrees of freedom, of which the whole one counts.
    middle, low, high = evidence.crossed_interval(np.array([[0.0, 1.0], [1.0, 4.0]]))
    half = 12.706 * 1.75**0.5
    assert (middle, low, high) == pytest.approx((1.5, 1.5 - half, 1.5 + half))
    # Less than a part alone would be an accident of the draw: the rest is 4, the others 1 and 0.
    middle, low, high = evidence.crossed_interval(np.array([[0.0, 2.0], [3.0, 1.0]]))
    assert high - low == pytest.approx(2 * 12.706 * (1 / 4) ** 0.5)


def test_a_single_seed_has_a_mean_and_no_interval():
    assert np.isnan(evidence.interval([[np.full(10, 0.2)]])[1:]).all()
    assert np.isnan(evidence.crossed_interval(np.ones((1, 9)))[1:]).all()
    assert evidence.mean_with_interval([[np.full(10, 0.2)]]) == "20.0"


def test_an_average_over_worlds_weighs_each_alike():
    same = evidence.interval([[np.full(10, 0.2)] * 2, [np.full(1000, 0.8)] * 4])
    assert same == pytest.approx((0.5, 0.5, 0.5))
    # The half of a sum is half as wide; its degrees of freedom are those of both.
    world = [np.array([value]) for value in (0.1, 0.2, 0.3)]
    middle, low, high = evidence.interval([world, world])
    half = 2.776 * (0.01 / 3 / 2) ** 0.5
    assert (middle, low, high) == pytest.approx((0.2, 0.2 - half, 0.2 + half))


def test_the_quantiles_are_those_of_students_t():
    # The density of t with n degrees of freedom, summed up between the quantiles, leaves 5 %.
    for freedom in (1, 2, 4, 9, 30):
        quantile = evidence.t_quantile(freedom)
        x = np.linspace(-quantile, quantile, 200_001)
        density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2)
        scale /= math.sqrt(freedom * math.pi)
        assert scale * np.trapezoid(density, x) == pytest.approx(0.95, abs=2e-4)
    assert evidence.t_quantile(4.9) == evidence.t_quantile(4)
    assert evidence.t_quantile(0.5) == evidence.t_quantile(1)
    assert evidence.t_quantile(1000) == evidence.t_quantile(30)


def test_differences_are_taken_task_by_task_between_like_seeds(project):
    put("lab agent-r 0", left("lab", [[0.0, 0.0], [1.0, 0.5]]))
    put("lab agent-r 1", left("lab", [[0.0, 0.0], [1.0, 1.0]]))
    put("lab bc 1", left("lab", [[0.0, 0.0], [0.0, 0.75]]))
    runs = evidence.read_evidence(5)
    (gain,) = runs.of("lab", "agent-r").gains(runs.of("lab", "bc"))
    assert gain.tolist() == [1.0, 0.25]
    put("lab bc 1", left("lab", [[0.5, 0.75], [0.0, 0.75]]))
    runs = evidence.read_evidence(5)
    (above_its_best,) = runs.of("lab", "agent-r").gains(runs.of("lab", "bc"), best=True)
    assert above_its_best.tolist() == [0.5, 0.25]
    assert evidence.mean_with_interval([[gain]]) == "62.5"


def test_means_are_told_with_each_seed_or_with_their_spread():
    samples = [np.array([0.2, 0.4]), np.array([0.5, 0.5]), np.array([0.7, 0.7])]
    with_seeds = evidence.mean_with_seeds
    with_deviation = evidence.mean_with_deviation
    means = evidence.means(samples)
    assert with_seeds(means) == "50.0 (30.0, 50.0, 70.0)"
    expected = "50.0 ± 20.0"
    assert with_deviation(means) == expected, "the sample standard deviation of 30, 50 and 70"
    assert with_deviation([1.5, 2.5], scale=1.0, digits=2) == "2.00 ± 0.71"
    assert (with_seeds(means[:1]), with_deviation(means[:1])) == ("30.0", "30.0")
    assert (with_seeds([]), with_deviation([])) == ("-", "-")
    assert evidence.mean_with_interval([[]]) == "-"
    in_words = evidence.mean_with_interval([[np.array([-1e-5])] * 2])
    assert in_words == "0.0 (0.0 to 0.0)", "no minus before 0"


def test_the_report_tells_what_the_files_hold_and_dashes_for_the_rest(project):
    figures = {
        "recovery": [0.0, 0.5],
        "loops": [0.4, 0.1],
        "revision_length": [None, 2.0],
        "score": [0.0, 1.0],
    }
    figures |= {"success": [0.0, 0.9], "executable_share": [None, 0.3]}
    figures |= {"first_error_exact": [0.9, 0.8], "false_alarms": [0.2, 0.1]}
    for seed, gain in enumerate((1.0, 0.5)):
        put(f"lab agent-r {seed}", left("lab", [[0.0] * 4, [gain] * 4], seed, **figures))
        put(f"lab bc {seed}", left("lab", [[0.0] * 4, [0.25 * seed] * 4], seed, **figures))
        put(f"lab optimal {seed}", left("lab", [[0.0] * 4, [0.0] * 4], seed, **figures))
    several = left("lab", [[0.1], [0.2]])
    several["scores"] |= {"shop": {"0": [0.1], "1": [0.3]}, "craft": {"0": [0.1], "1": [0.7]}}
    put("several agent-r 1", several)
    for world, score in (("shop", 0.3), ("craft", 0.7)):
        put(f"{world} agent-r 1", left(world, [[0.0], [score]]))
    text = report.markdown(2)
    assert "| agent-r | 75.0 (100.0, 50.0) | 30.0 | 70.0 | 58.3 |" in text
    assert "| before (iteration 0) | 0.0 (0.0, 0.0) | 0.0 | 0.0 | 0.0 |" in text
    assert "| eto | - | - | - | - |" in text
    assert "| lab | agent-r | 0.0 ± 0.0 | 100.0 ± 0.0 |" in text
    assert "| lab | agent-r | 40.0 ± 0.0 | 10.0 ± 0.0 |" in text, "loops by iteration"
    assert "| bc | 62.5 (-414.0 to 539.0) | - | - | - | - | 25.0 |" in text, (
        "and the least of the seeds"
    )
    assert "| agent-r | 50.0 (50.0, 50.0) | - | - |" in text, "recovery"
    assert "| agent-r | 10.0 (10.0, 10.0) | - | - |" in text, "loops"
    start = "| lab | 1 | 100.0 ± 0.0 | 75.0 (-242.6 to 392.6) | 90.0 ± 0.0 | 90.0 90.0"
    assert f"{start} | 50.0 ± 0.0 | 10.0 ± 0.0 |" in text
    assert "| lab | 1 | 10 | 5 | 2.00 ± 0.00 | 30.0 ± 0.0 | 80.0 ± 0.0 | 10.0 ± 0.0 |" in text
    assert "| lab | 0 | 0 | 5 | - | - | 90.0 ± 0.0 | 20.0 ± 0.0 |" in text
    assert "| one model, iteration 1 | 20.0 | 30.0 | 70.0 | 40.0 |" in text
    assert "| one for each, iteration 1 | 50.0 | 30.0 | 70.0 | 50.0 |" in text, (
        "of the seed that both have"
    )
    assert "| Agent-R | 0.0 ± 0.0 | 75.0 (100.0, 50.0) |  | 50.0 ± 0.0 | 10.0 ± 0.0 |" in text
    assert "| the same, `bc` | - | - | - | - | - |" in text
    assert "| seeking expert | seeking expert bc | - |" in text
    rows = [line for line in text.splitlines() if line.startswith("| lab | 0.0 (0.0 to 0.0)")]
    cells = rows[0].split(" | ")
    assert cells[2] == "12.5 (-146.3 to 171.3)", "bc"
    assert cells[7] == "75.0 (-242.6 to 392.6)", "what Agent-R has above its start"
    assert cells[8] == "bc: 62.5 (-414.0 to 539.0) |", "and above the best baseline, not `optimal`"
    runs = len(plan.runs(2))
    start = f"Of the plan's {runs} runs {runs - 9} are missing: shop bc, craft bc, shop optimal, "
    assert start in text, "what lacks the same seeds stands together"
    assert "(0, 1); shop agent-r, craft agent-r, several agent-r (0)." in text
    assert report.numbers_in_words([20, 21, 22]) == "20 to 22"
    assert report.numbers_in_words([20, 22, 23]) == "20, 22, 23"
    assert report.numbers_in_words([20, 21]) == "20, 21"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "runs", lambda seeds: {})
        assert report.missing_in_words(2) == "Of the plan nothing is missing."


def test_the_ablations_stand_beside_agent_r_of_the_same_seeds(project):
    for seed in range(4):
        put(f"lab agent-r {seed}", left("lab", [[0.0], [float(seed == 3)]], seed))
    text = report.markdown(4)
    assert "| agent-r | 25.0 (0.0, 0.0, 0.0, 100.0) |" in text
    assert "| Agent-R | 0.0 ± 0.0 | 0.0 (0.0, 0.0, 0.0) |  | - | - |" in text


ROOT = Path(__file__).parent.parent
INTERVAL = re.compile(r" \(\S+ to \S+\)")


def test_the_report_in_the_repository_is_what_its_runs_say():
    if not (plan.FOLDER / "report.md").exists():
        pytest.skip("its runs are not finished")
    text = (plan.FOLDER / "report.md").read_text(encoding="utf-8")
    assert INTERVAL.sub("", report.markdown(5)) == INTERVAL.sub("", text)


def test_the_tables_of_the_results_are_those_of_the_report():
    results = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    start = results.index("## Lab, shop and craft")
    end = results.index("## The benchmarks")
    rows = [line for line in results[start:end].splitlines() if line.startswith("|")]
    lines = (plan.FOLDER / "report.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 50
    assert [row for row in rows if row not in lines] == []


def test_the_trials_on_scienceworld_are_those_that_are_told(monkeypatch):
    """Table and intervals of docs/gain.md, from results/trials."""
    monkeypatch.setattr(plan, "FOLDER", ROOT / "results" / "trials")
    text = (ROOT / "docs" / "gain.md").read_text(encoding="utf-8")
    table = text[text.index("all from the same warm-up and first search:") :]
    scores = {}  # (method, seed) -> of each iteration the scores of the tasks
    method = ""
    for line in table[: table.index("\n- ")].splitlines()[4:-1]:
        label, seed, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        method = label.strip("`").lower() or method
        result = plan.read_result(f"scienceworld {method} {seed}")
        (world,) = result.task_scores
        scores[method, seed] = [result.scores(world, k) for k in range(result.last + 1)]
        for iteration, cell in enumerate(cells):
            if cell not in ("", "not run"):
                score = 100 * result.figure(world, "score", iteration)
                success = 100 * result.figure(world, "success", iteration)
                assert cell == f"{score:.1f} ({success:.0f})"
    seeds = ("100", "101", "102")
    for iteration in (1, 2):
        agent_r = [scores["agent-r", seed][iteration] for seed in seeds]
        cloned = [scores["bc", seed][iteration] for seed in seeds]
        before = [scores["agent-r", seed][0] for seed in seeds]
        for others in (cloned, before):
            gains = [own - other for own, other in zip(agent_r, others, strict=True)]
            assert evidence.mean_with_interval([gains]) in text


def test_the_table_of_the_readme_is_that_of_the_runs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = evidence.read_evidence(5)
    for world in plan.WORLDS:
        groups = [found.of(world, "agent-r").scores(0)]
        for method in ("bc", "optimal", "eto", "direct-revision", "agent-r"):
            groups.append(found.of(world, method).scores())
        cells = [f"{100 * mean(evidence.means(samples)):.1f}" for samples in groups]
        row = f" | {' | '.join(cells[:-1])} | **{cells[-1]}** |"
        assert any(line.startswith(f"| {world}: ") and row in line for line in text.splitlines())


def test_what_the_presets_give_is_what_their_runs_say():
    text = (ROOT / "docs" / "ours.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| seed | lab | shop | craft |\n")
    rows = [line.strip("|").split("|") for line in table[: table.index("\n\n")].splitlines()[1:]]
    assert len(rows) == 15
    exact = []  # where a hundred pairs were judged or more
    for seed, *cells in rows:
        for world, told in zip(plan.WORLDS, cells, strict=True):
            if not told.strip():
                continue
            figures = []
            for row in plan.read_result(f"{world} agent-r {seed.strip()}").rows:
                figure = f"{100 * row['success']:.1f}"
                if row["iteration"]:
                    share, pairs = row["first_error_exact_used"], row["judged_pairs"]
                    figure += f" ({100 * share:.1f} of {pairs:,})"
                    exact += [share] if pairs >= 100 else []
                figures.append(figure)
            assert told.strip() == ", ".join(figures)
    low = sum(share < 0.9 for share in exact)
    assert (low, len(exact)) == (4, 74)
    assert "below 90 in four of 74 iterations" in text


def test_what_is_told_of_crafts_fresh_seeds_is_what_their_runs_say():
    text = " ".join((ROOT / "results" / "README.md").read_text(encoding="utf-8").split())
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for iteration in (1, 2, 3):
        gains = []
        for seed in (*range(20, 25), *range(30, 35)):
            own = plan.read_result(f"craft agent-r {seed}").scores("craft", iteration)
            other = plan.read_result(f"craft direct-revision {seed}").scores("craft", iteration)
            gains.append(own - other)
        every = evidence.mean_with_interval([gains])
        for words in (evidence.mean_with_interval([gains[5:]]), every):
            assert words in text
    mean_of_all, _, interval = every.partition(" (")
    assert f"over all ten the lead is {mean_of_all}, {interval}" in readme


def test_what_is_told_of_scienceworld_is_what_its_runs_say():
    results = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    section = results[results.index("### ScienceWorld") : results.index("### TextCraft")]
    lines = (plan.FOLDER / "report.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) >= 14
    assert [row for row in rows if row not in lines] == []
    agent_r = evidence.read_evidence(5).of("scienceworld", "agent-r")
    before, after = (100 * mean(evidence.means(agent_r.scores(k))) for k in (0, None))
    (agent_r_row,) = [row for row in rows if row.startswith("| scienceworld | agent-r | 20 to")]
    (cloned_row,) = [row for row in rows if row.startswith("| scienceworld | bc | 20 to")]
    rise = agent_r_row.split(" | ")[-2]
    lead = cloned_row.split(" | ")[-1].removesuffix(" |")
    for name in ("README.md", "results/README.md", "docs/gain.md"):
        text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
        assert f"{rise} " in text
        assert f"{lead} " in text
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"from {before:.1f} to {after:.1f}" in readme
    told = " ".join(section.split())
    (optimal_row,) = [row for row in rows if row.startswith("| scienceworld | optimal | 20 to 23 ")]
    lead = optimal_row.split(" | ")[-1].removesuffix(" |")
    for text in (readme, told):
        assert f"{lead} behind" in text
    recoveries = []
    for seed in (20, 21, 22, 23):
        ours = plan.read_result(f"scienceworld agent-r {seed}")
        theirs = plan.read_result(f"scienceworld optimal {seed}")
        recoveries.append(ours.figure("scienceworld", "recovery", 3))
        ahead = []
        for iteration in (1, 2, 3):
            scores = [each.scores("scienceworld", iteration) for each in (ours, theirs)]
            ahead.append(f"{100 * (scores[0] - scores[1]).mean():.1f}")
        assert f"{ahead[0]}, {ahead[1]} and {ahead[2]} (seed {seed})" in told
    assert f"Agent-R {100 * mean(recoveries):.1f}" in told


def test_what_is_told_of_the_ablations_on_lab_is_what_their_runs_say():
    text = " ".join((ROOT / "results" / "README.md").read_text(encoding="utf-8").split())
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

    def by_iteration(label):
        result = plan.read_result(f"lab {label} 20")
        one, two, three = (f"{100 * result.scores('lab', k).mean():.1f}" for k in (1, 2, 3))
        return f"{one}, {two} and {three}"

    assert f"the judge comes to {by_iteration('agent-r')} after iterations 1 to 3" in text
    assert f"(`--critic truth`) to {by_iteration('critic truth')}, and" in text
    assert f"(`--critic random`) to {by_iteration('critic random')}." in text
    chance, truth, end, optimal = (
        f"{100 * plan.read_result(f'lab {label} 20').scores('lab').mean():.1f}"
        for label in ("critic random", "critic truth", "critic end", "optimal")
    )
    assert f"what is left is `optimal` ({end}, and {optimal})" in text
    drawn = plan.read_result("lab critic random 20")
    right = drawn.figure("lab", "first_error_exact_used", 1)
    late = drawn.figure("lab", "revision_length", 1)
    assert f"In the first iteration {100 * right:.0f} % of the drawn steps" in text
    judged = plan.read_result("lab agent-r 20").figure("lab", "revision_length", 1)
    assert f"the {late:.1f}nd behind the shared node and the judge's the {judged:.1f}th" in text
    assert f"comes to {chance}, the truth to {truth} (one seed)" in readme
    assert f"comes to {by_iteration('alpha rising')} after iterations 1 to 3 (lab, seed 20)" in text
    low, middle = by_iteration("eta 0.2"), by_iteration("eta 0.5")
    assert f"the paper's 0.2 comes to {low}, 0.5 to {middle}, the preset's 0.8 to" in text
    assert f"the preset's 0.8 to {by_iteration('agent-r')} (lab, seed 20)" in text


def test_a_report_on_nothing_is_refused(project):
    with pytest.raises(UserError, match="no finished run"):
        report.markdown(5)


def test_pictures_are_the_same_files_every_time(project):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    figures = {
        "score": [0.0, 1.0],
        "loops": [0.4, 0.1],
        "revision_length": [None, 2.0],
        "recovery": [0.0, 1.0],
    }
    put("lab agent-r 0", left("lab", [[0.0] * 4, [1.0] * 4], **figures))
    pictures = []
    for _ in range(2):
        report.draw_pictures(5)
        paths = plan.FOLDER.glob("*.svg")
        pictures.append({path.name: path.read_bytes() for path in paths})
    names = {"score.svg", "loops.svg", "revision_length.svg", "several.svg"}
    assert pictures[0].keys() == names
    assert pictures[0] == pictures[1]
    assert all(f"]({name})" in report.markdown(5) for name in names), "the report shows them"
