"""The course played through: copies, solutions and bugs, each in a process forked from this one.

So torch is imported once.  `python -m course.classroom` prints one JSON object, which
tests/test_course.py judges:

    blank      what every test says in the copy in which all exercises are blank
    restored   by exercise: what its own tests say where all others are blank
    solutions  by exercise and name: what its tests say to each solution of right.py and wrong.py
    sample     some rows of the matrix
    alone      by what is wrong elsewhere: what one exercise's tests say all the same
    bugs       by number (0: none is planted): what a small run leaves
    again      what a second run without a bug leaves

`python -m course.classroom --matrix FILE` puts every wrong solution into a sound copy, runs the
tests of all exercises there, and writes a row for each: which exercises fail, and what was said.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import gc
import hashlib
import importlib
import io
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

from course.bugs import BUGS
from course.exercises import (
    EXERCISES,
    ROOT,
    Exercise,
    body_of,
    file_of_tests,
    find,
    path_of,
    read,
    relative,
    with_body,
    write_blank,
    write_bug,
    write_sound,
)
from course.right import RIGHT
from course.wrong import WRONG
from engine import command_line

# Of the project's other tests what is quick, and meets a blank here and there.
SUITE = (
    "tests/test_envs.py",
    "tests/test_mcts.py",
    "tests/test_critique.py",
    "tests/test_branch.py",  # in which several tests have one run in common
)
ALL_EXERCISES = "course/tests/test_ex*_*.py"
SAMPLE = (  # of the matrix: what other exercises call, or what ends a search
    (1, "a child never visited divides by 0"),
    (2, "children instead of expanded"),
    (3, "failures not counted"),
    (16, "no log"),
)
PYTEST = "-q --tb=line --assert=plain -p no:cacheprovider -p no:unraisableexception --rootdir=."
SMALL = (
    "--tiny --env handmade:Boxes --iterations 2 --tasks 40 --simulations 6 --branch 3 --alpha 0.5"
    " --steps 10 --warmup-steps 360 --warmup-tasks 60 --eval-tasks 12 --width 16 --layers 1"
    " --batch-size 512 --micro-batch 256 --lr 0.01 --warmup-lr 0.01 --device cpu --seed 5 --out run"
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

    def pytest_collectreport(self, report: Any) -> None:
        """Keep what could not be collected, under the name of its file."""
        if report.outcome != "passed":
            self.reports[report.nodeid] = Report(report.outcome, str(report.longrepr), 0)


def run_tests(patterns: Sequence[str], *options: str) -> dict[str, Report]:
    """Run the test files of the working folder that these patterns name; all, if there is none."""
    recorder = Recorder()
    files: list[str] = []
    for pattern in patterns:
        files += sorted(map(str, Path().glob(pattern)))
    sys.modules.pop("conftest", None)  # what it remembers is of one run
    pytest.main([*files, *options, *PYTEST.split()], plugins=[recorder])
    return recorder.reports


def run_solutions() -> dict[int, dict[str, Any]]:
    """Return what the tests of each exercise say to each of its solutions, right and wrong."""
    reports: dict[int, dict[str, Any]] = {}
    for exercise in EXERCISES:
        number = exercise.number
        bodies = {f"right {way}": body for way, body in enumerate(RIGHT[number], start=1)}
        bodies |= WRONG[number]
        owner, name = place(exercise)
        ours = getattr(owner, name)
        reports[number] = {}
        for title, body in bodies.items():
            setattr(owner, name, solution(exercise, body))
            reports[number][title] = run_tests([str(file_of_tests(exercise).relative_to(ROOT))])
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
    path = path_of(exercise.module)
    source = path.read_text(encoding="utf-8")
    definition = find(with_body(source, exercise.name, body), exercise.name)
    code = compile(ast.Module([definition], []), path, "exec")  # annotations stay text, as here
    namespace: dict[str, Any] = {}
    exec(code, vars(module), namespace)  # noqa: S102, the code is ours
    return namespace[definition.name]


def small_run(flags: str = "") -> dict[str, Any]:
    """Return what a run of train.py in the working folder leaves, but for times."""
    train = importlib.import_module("train")
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = train.main([*SMALL.split(), *flags.split()])
    if status:
        raise RuntimeError(said.getvalue())
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


def restored_reports(blank: Path) -> dict[int, dict[str, Report]]:
    """Return what each exercise's tests say with its own solution, all others being blank.

    `blank` is a copy in which every exercise is blank; it is left as it was.
    """
    reports = {}
    for exercise in EXERCISES:
        path = blank / relative(exercise.module)
        before = path.read_text(encoding="utf-8")
        body = body_of(read(exercise.module), exercise.name)
        path.write_text(with_body(before, exercise.name, body), encoding="utf-8")
        tests = [str(file_of_tests(exercise).relative_to(ROOT))]
        reports[exercise.number] = apart(blank, run_tests, tests)
        path.write_text(before, encoding="utf-8")
    return reports


@dataclass
class MatrixRow:
    """What the tests of all exercises say where one exercise is solved wrong."""

    exercise: int
    title: str  # of the wrong solution
    failed: list[int]  # the exercises of which tests fail
    messages: list[str]  # what these say


def matrix_row(sound: Path, number: int, title: str) -> MatrixRow:
    """Put one wrong solution into a sound copy, run the tests of all exercises, and take it out."""
    exercise = EXERCISES[number - 1]
    path = sound / relative(exercise.module)
    before = path.read_text(encoding="utf-8")
    path.write_text(with_body(before, exercise.name, WRONG[number][title]), encoding="utf-8")
    reports = apart(sound, run_tests, [ALL_EXERCISES])
    path.write_text(before, encoding="utf-8")
    failed = set()
    messages = []
    for report in reports.values():
        if report.outcome != "passed":
            failed.add(report.exercise)
            messages.append(report.message)
    return MatrixRow(number, title, sorted(failed), messages)


# What is wrong in a copy, as a file and what is put at its end or into it; and whose tests are run.
ALONE = {
    "another exercise loops": ("mcts.py", "select", "while True:\n    pass", "ex12"),
    "the exercise itself loops": ("mcts.py", "select", "while True:\n    pass", "ex2"),
    "another module is no Python": ("critique.py", "", "def half(:\n", "ex1"),
    "its own module is no Python": ("critique.py", "", "def half(:\n", "ex4"),
    "its own module cannot be imported": ("critique.py", "", "nothing_of_this_name\n", "ex4"),
    "a test of the project is no Python": ("tests/test_envs.py", "", "def half(:\n", "ex3"),
}


def alone(sound: Path) -> dict[str, dict[str, Report]]:
    """Return what one exercise's tests say where something else is wrong, by what that is."""
    conftest = sound / "conftest.py"
    limits = conftest.read_text(encoding="utf-8")
    hasty = limits.replace("\nLIMIT = 10\nLATER_LIMIT = 2\n", "\nLIMIT = 1\nLATER_LIMIT = 0.1\n")
    conftest.write_text(hasty, encoding="utf-8")
    said = {}
    for title, (name, function, text, mark) in ALONE.items():
        path = sound / name
        before = path.read_text(encoding="utf-8")
        broken = with_body(before, function, text) if function else before + text
        path.write_text(broken, encoding="utf-8")
        said[title] = apart(sound, run_tests, [], "-m", mark)
        path.write_text(before, encoding="utf-8")
    conftest.write_text(limits, encoding="utf-8")
    return said


def write_matrix(file: Path) -> None:
    """Write a row for every wrong solution, as it is made, and what is not as it should be."""
    with tempfile.TemporaryDirectory() as name, file.open("w", encoding="utf-8") as lines:
        sound = Path(name) / "sound"
        write_sound(sound)
        for number, solutions in WRONG.items():
            for title in solutions:
                row = matrix_row(sound, number, title)
                print(json.dumps(dataclasses.asdict(row)), file=lines, flush=True)
                if row.failed != [number]:
                    print(f"exercise {number}, {title}: failed are {row.failed}")


def bug_run(copy: Path) -> dict[str, Any]:
    """Return what a small run in a copy leaves, or the error that ended it."""
    try:
        return apart(copy, small_run)
    except Exception:
        return {"error": traceback.format_exc()}


def play_through() -> dict[str, Any]:
    """Make all copies, run all of it, and return what was said."""
    results: dict[str, Any] = {"bugs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_blank(folder / "blank")
        results["blank"] = apart(folder / "blank", run_tests, [ALL_EXERCISES, *SUITE])
        results["restored"] = restored_reports(folder / "blank")
        results["solutions"] = apart(ROOT, run_solutions)
        write_sound(folder / "sound")
        results["sample"] = [matrix_row(folder / "sound", *row) for row in SAMPLE]
        results["alone"] = alone(folder / "sound")
        results["bugs"][0] = bug_run(folder / "sound")
        for number in BUGS:
            copy = folder / f"bug-{number}"
            write_bug(copy, number)
            results["bugs"][number] = bug_run(copy)
        write_sound(folder / "again")
        results["again"] = bug_run(folder / "again")
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the course through and print it, or write the matrix; return the exit status."""

    def carry_out() -> None:
        parser = command_line.Parser("classroom.py", description="The whole course, played.")
        parser.add_argument("--matrix", type=Path, metavar="FILE", help="each wrong solution")
        play_or_write(parser.parse_args(arguments).matrix)

    return command_line.carry_out("classroom.py", carry_out)


def play_or_write(matrix: Path | None) -> None:
    """Play the course through and print it, or write the matrix."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    importlib.import_module("train")  # what it imports stays; each process imports ours anew
    gc.freeze()  # what is shared with the children stays shared
    if matrix is not None:
        write_matrix(matrix)
    else:
        print(json.dumps(play_through(), default=dataclasses.asdict))


if __name__ == "__main__":
    sys.exit(main())
