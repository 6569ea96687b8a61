"""extras.depths: the success of runs on textcraft by the depth of their goals."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from crafting import needs_textcraft, package_book

from extras.depths import Run, gain_cell, table_by_depth
from extras.evidence import crossed_interval, interval_in_words, mean_with_interval
from worlds.textcraft import TextCraft


def run_of(tasks, gains):
    return Run("agent-r", {1: tasks}, {0: [0.0] * len(tasks), 1: gains}, {})


def test_a_gain_crosses_runs_with_the_tasks_that_all_of_them_have_in_whatever_order():
    gains = np.array([[1.0, 0.5, 0.0, 0.0], [1.0, 0.5, 0.5, 0.0]])
    runs = [run_of(["a", "b", "c", "d"], gains[0]), run_of(["d", "c", "b", "a"], gains[1][::-1])]
    assert gain_cell(runs, 1) == interval_in_words(crossed_interval(gains))
    apart = [runs[0], run_of(["a", "b", "c", "e"], gains[1])]
    assert gain_cell(apart, 1) == mean_with_interval([list(gains)])
    assert gain_cell(apart, 1) != gain_cell(runs, 1)


@needs_textcraft
def test_success_of_a_run_is_told_by_the_depth_of_its_goals(tmp_path):
    book, tasks = package_book(), TextCraft().tasks("test")
    depth = {task: book.goals[task.removesuffix("-0").replace("_", " ")] for task in tasks}
    episodes = [
        {"env": env, "iteration": k, "task": task, "score": float(depth[task] <= k)}
        for k in (0, 2)
        for env in ("lab", "textcraft")
        for task in tasks
    ]
    (tmp_path / "perfect").mkdir()
    for folder, scores in ((tmp_path, {}), (tmp_path / "perfect", {"score": 1.0})):
        (folder / "episodes.jsonl").write_text(
            "".join(json.dumps(e | scores) + "\n" for e in episodes)
        )
        (folder / "config.json").write_text('{"recipes": "", "method": "agent-r"}')
    command = [sys.executable, "-m", "extras.depths"]
    told = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=True)
    heading, _, before, after = told.stdout.splitlines()
    columns = "all | depth 1 (31) | depth 2 (41) | depth 3 (25) | depth 4 (3) | above iteration 0"
    assert heading == f"| iteration | {columns} |"
    assert before == "| agent-r, 0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |  |"
    assert after == "| agent-r, 2 | 72.0 | 100.0 | 100.0 | 0.0 | 0.0 | 72.0 |", "no spread of one"
    told = subprocess.run(
        [*command, tmp_path, tmp_path / "perfect"], capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines()[0] == heading  # the goals of one run: the rest are the mean's
    mean = "| agent-r, 2 | 86.0 (72, 100) | 100.0 | 100.0 | 50.0 | 50.0 | 36.0 (-421.4 to 493.4) |"
    assert told.stdout.splitlines()[3] == mean, "crossed: t with one degree of freedom"
    (tmp_path / "perfect" / "config.json").write_text('{"recipes": "", "method": "bc"}')
    told = subprocess.run(
        [*command, tmp_path, tmp_path / "perfect"], capture_output=True, text=True, check=True
    )
    assert [line.split("|")[1:3] for line in told.stdout.splitlines()[2:]] == [
        [" agent-r, 0 ", " 0.0 "],
        [" agent-r, 2 ", " 72.0 "],
        [" bc, 0 ", " 100.0 "],
        [" bc, 2 ", " 100.0 "],
    ], "methods are told apart"
    (tmp_path / "episodes.jsonl").write_text(json.dumps(episodes[0]) + "\n")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "episodes.jsonl").write_text("junk")
    wrong = (
        ([tmp_path], "holds no episode"),
        ([tmp_path / "moon"], "can be read"),
        ([tmp_path / "junk"], "can be read"),
        ([tmp_path / "perfect", tmp_path / "moon"], "moon: no run"),
        ([], "the following arguments are required: run"),
    )
    for folders, part in wrong:
        told = subprocess.run([*command, *folders], capture_output=True, text=True)
        assert (told.returncode, told.stdout) == (2, "")
        assert part in told.stderr
        assert "Traceback" not in told.stderr


@needs_textcraft
def test_the_table_of_the_results_is_that_of_the_runs_in_the_repository():
    root = Path(__file__).parent.parent
    text = (root / "results" / "README.md").read_text(encoding="utf-8")
    part = text[text.index("### TextCraft") : text.index("## What is not comparable")]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    assert len(rows) > 5
    made = table_by_depth(sorted((root / "results" / "textcraft").iterdir())).splitlines()
    interval = re.compile(r" \(\S+ to \S+\)")  # the last digit may be another on another machine
    assert {interval.sub("", row) for row in rows} <= {interval.sub("", row) for row in made}
