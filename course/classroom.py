"""The course played through: copies, solutions and bugs, each in a process forked from this one.

So torch is imported once.  `python -m course.classroom` prints one JSON object, which
tests/test_course.py judges:

    blank      what every test says in the copy in which all exercises are blank
    restored   by exercise: the same of the exercises' tests, this one's own solution in its place
    solutions  by exercise and name: what its tests say to each solution of wrong.py
    bugs       by number (0: none is planted): what a small run leaves
    again      what a second run without a bug leaves
"""

from __future__ import annotations

import ast
import dataclasses
import gc
import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from course import wrong
from course.bugs import BUGS
from course.exercises import EXERCISES, ROOT, Exercise, find, with_body, write_blank, write_bug

# Of the project's other tests what is quick, and meets a blank here and there.
SUITE = ("tests/test_envs.py", "tests/test_mcts.py", "tests/test_critique.py")
ALL_EXERCISES = "course/tests/test_ex*_*.py"
PYTEST = "-q --tb=line --assert=plain -p no:cacheprovider -p no:unraisableexception --rootdir=."
SMALL = (
    "--tiny --env handmade:Boxes --iterations 2 --tasks 30 --simulations 6 --branch 3 --alpha 0.5"
    " --steps 10 --warmup-steps 360 --warmup-tasks 60 --eval-tasks 12 --width 16 --layers 1"
    " --batch-size 512 --micro-batch 512 --lr 0.01 --warmup-lr 0.01 --device cpu --out run"
)


# --- what runs in a process of its own


@dataclass
class Report:
    """What a test said."""

    outcome: str  # "passed", "failed" or "skipped"
    message: str
    exercise: int  # whose test it is, 0 for another's


class Recorder:
    """A plugin of pytest that keeps the report of every test, by its name."""

    def __init__(self) -> None:
        self.reports: dict[str, Report] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep what a test says itself, and what its preparation says unless it passes."""
        if report.when != "call" and report.outcome == "passed":
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else str(report.longrepr or "")
        exercise = 0
        for marked in EXERCISES:
            if marked.mark in report.keywords:
                exercise = marked.number
        self.reports[report.nodeid] = Report(report.outcome, message, exercise)


def run_tests(patterns: Sequence[str]) -> dict[str, Report]:
    """Run the test files of the working folder that these patterns name."""
    recorder = Recorder()
    files: list[str] = []
    for pattern in patterns:
        files += sorted(map(str, Path().glob(pattern)))
    pytest.main([*files, *PYTEST.split()], plugins=[recorder])
    return recorder.reports


def run_solutions() -> dict[int, dict[str, Any]]:
    """Return what the tests of each exercise say to each of its solutions, `right` among them."""
    reports: dict[int, dict[str, Any]] = {}
    for exercise in EXERCISES:
        number = exercise.number
        bodies = {"right": wrong.RIGHT[number], **wrong.WRONG[number]}
        owner, name = place(exercise)
        ours = getattr(owner, name)
        reports[number] = {}
        for title, body in bodies.items():
            setattr(owner, name, solution(exercise, body))
            reports[number][title] = run_tests([f"course/tests/test_ex{number:02}_*.py"])
        setattr(owner, name, ours)
    return reports


def place(exercise: Exercise) -> tuple[Any, str]:
    """Return the module or class that holds the exercise's function, and the name it has there."""
    owner = importlib.import_module(exercise.module)
    *classes, name = exercise.name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, name


def solution(exercise: Exercise, body: str) -> Any:
    """Return the exercise's function with another body, as its own module would define it."""
    module = importlib.import_module(exercise.module)
    path = Path(module.__file__)
    source = path.read_text(encoding="utf-8")
    definition = find(with_body(source, exercise.name, body), exercise.name)
    code = compile(ast.Module([definition], []), path, "exec")  # annotations stay text, as here
    namespace: dict[str, Any] = {}
    exec(code, vars(module), namespace)  # noqa: S102, the code is ours
    return namespace[definition.name]


def small_run() -> dict[str, Any]:
    """Return what a run of train.py in the working folder leaves, but for times."""
    train = importlib.import_module("train")
    torch.set_num_threads(1)
    status = train.main(SMALL.split())
    rows = []
    for line in Path("run/results.jsonl").read_text().splitlines():
        rows.append(json.loads(line) | {"seconds": 0})
    digests = {}
    for path in sorted(Path("run/iteration-2").rglob("*")):
        if path.suffix in (".jsonl", ".safetensors"):
            digests[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"status": status, "rows": rows, "digests": digests}


# --- how it gets there


def apart(folder: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `function` returns when a process of its own calls it in `folder`."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, fork, initializer=move_to, initargs=(folder,)) as pool:
        return pool.submit(function, *arguments).result()


def move_to(folder: Path) -> None:
    """Let this process work in a copy: with its modules, and silently."""
    os.chdir(folder)
    elsewhere = [path for path in sys.path if Path(path or ".") != ROOT]
    sys.path[:] = [str(folder), str(ROOT / "course"), *elsewhere]  # there: the world `handmade`
    modules = [path.stem for path in ROOT.glob("*.py")]
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    for name in list(sys.modules):
        if name.partition(".")[0] in (*modules, *packages):
            del sys.modules[name]
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, open to the end
    sys.stderr = sys.stdout


def restored_reports(folder: Path) -> dict[int, dict[str, Report]]:
    """Return what the exercises' tests say in copies in which all but one are blank."""
    reports = {}
    for exercise in EXERCISES:
        others = [other for other in EXERCISES if other is not exercise]
        copy = folder / f"restored-{exercise.number}"
        write_blank(copy, others)
        reports[exercise.number] = apart(copy, run_tests, [ALL_EXERCISES])
    return reports


def bug_run(copy: Path) -> dict[str, Any]:
    """Return what a small run in a copy leaves, or the error that ended it."""
    try:
        return apart(copy, small_run)
    except Exception:
        return {"error": traceback.format_exc()}


def main() -> None:
    """Make all copies, run all of it, print what was said."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    importlib.import_module("train")  # what it imports stays; each process imports ours anew
    gc.freeze()  # what is shared with the children stays shared
    results: dict[str, Any] = {"bugs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_blank(folder / "blank")
        results["blank"] = apart(folder / "blank", run_tests, [ALL_EXERCISES, *SUITE])
        results["restored"] = restored_reports(folder)
        results["solutions"] = apart(ROOT, run_solutions)
        write_blank(folder / "sound", [])
        results["bugs"][0] = bug_run(folder / "sound")
        for number in BUGS:
            copy = folder / f"bug-{number}"
            write_bug(copy, number)
            results["bugs"][number] = bug_run(copy)
        write_blank(folder / "again", [])
        results["again"] = bug_run(folder / "again")
    print(json.dumps(results, default=dataclasses.asdict))


if __name__ == "__main__":
    main()
