"""Runs exercises and bug copies, each in a process forked from this one, so that torch is imported once.

`python -m tests.classroom FOLDER` makes the copies in FOLDER and prints one JSON object, which test_course.py judges:

    blank      what every test says in the copy in which all exercises are blank
    restored   by exercise: the same, with this one's own solution in its place
    solutions  by exercise and name: what its tests say to each solution of wrong.py
    bugs       by number (0: none is planted): what a small run leaves
    again      what a second run without a bug leaves
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import gc
import hashlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import wrong
from tests.bugs import BUGS
from tests.exercises import EXERCISES, ROOT, Exercise, find, with_body, write_blank, write_bug

SUITE = ("test_envs.py", "test_mcts.py", "test_critique.py")  # of the rest of the suite, what is quick
SMALL = (
    "--tiny --env handmade:Boxes --iterations 2 --tasks 30 --simulations 6 --branch 3 --alpha 0.5 --steps 10 "
    "--warmup-steps 120 --warmup-tasks 60 --eval-tasks 12 --width 16 --layers 1 --batch-size 512 --micro-batch 512 "
    "--lr 0.01 --warmup-lr 0.01 --device cpu"
)


class Recorder:
    """What pytest reports: node -> (outcome, message, number of its exercise or 0)."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[str, str, int]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            crash = getattr(report.longrepr, "reprcrash", None)
            marks = [int(key[2:]) for key in report.keywords if key[:2] == "ex" and key[2:].isdigit()]
            message = crash.message if crash else str(report.longrepr or "")
            self.said[report.nodeid] = (report.outcome, message, marks[0] if marks else 0)


def said(*files: str) -> dict[str, tuple[str, str, int]]:
    """Run these test files of the working folder."""
    recorder = Recorder()
    plain = ["-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
    pytest.main([*files, *plain, f"--rootdir={Path.cwd()}"], plugins=[recorder])
    return recorder.said


def apart(folder: Path, function: Callable[[], Any]) -> Any:
    """What `function` returns when called in `folder` by a process of its own; its output is thrown away."""
    result = Path(os.environ["COURSE_FOLDER"], "result.json")
    result.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            os.chdir(folder)
            sys.path[:] = [str(folder), str(ROOT / "tests"), *(path for path in sys.path if Path(path or ".") != ROOT)]
            with (
                open(os.devnull, "w") as nowhere,
                contextlib.redirect_stdout(nowhere),
                contextlib.redirect_stderr(nowhere),
            ):
                result.write_text(json.dumps(function()))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.waitpid(child, 0)
    return json.loads(result.read_text()) if result.exists() else None


def exercise_files(number: int | None = None) -> list[str]:
    """The test files of one exercise, or of all."""
    return sorted(map(str, Path("tests").glob(f"test_ex{number:02}_*.py" if number else "test_ex*_*.py")))


def place(exercise: Exercise) -> tuple[Any, str]:
    """Where the exercise's function stands: (module or class, name); of a function inside another, the outer one."""
    outer, *inner = exercise.name.split(".")
    module = importlib.import_module(exercise.module)
    holder = getattr(module, outer)
    return (holder, inner[0]) if isinstance(holder, type) else (module, outer)


def made(exercise: Exercise, body: str) -> Any:
    """The exercise's function with another body, as its own module would define it."""
    module = importlib.import_module(exercise.module)
    owner, name = place(exercise)
    source = with_body(Path(module.__file__).read_text(encoding="utf-8"), exercise.name, body)
    definition = find(source, exercise.name if isinstance(owner, type) else name)
    code = compile(ast.Module([definition], []), module.__file__, "exec", __future__.annotations.compiler_flag)
    defined: dict[str, Any] = {}
    exec(code, vars(module), defined)
    return defined[name]


def solutions() -> dict[int, dict[str, Any]]:
    """What the tests of each exercise say to each of its solutions; the right one is called `right`."""
    heard: dict[int, dict[str, Any]] = {}
    for exercise in EXERCISES:
        owner, name = place(exercise)
        ours, heard[exercise.number] = getattr(owner, name), {}
        for title, body in {"right": wrong.RIGHT[exercise.number], **wrong.WRONG[exercise.number]}.items():
            setattr(owner, name, made(exercise, body))
            heard[exercise.number][title] = said(*exercise_files(exercise.number))
        setattr(owner, name, ours)
    return heard


def small_run() -> dict[str, Any]:
    """What a run of train.py in the working folder leaves, without times."""
    train = importlib.import_module("train")

    torch.set_num_threads(1)
    status = train.main([*SMALL.split(), "--out", "run"])
    rows = [json.loads(line) for line in Path("run/results.jsonl").read_text().splitlines()]
    last = sorted(Path("run/iteration-2").rglob("*"))
    digests = {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in last if p.suffix in (".jsonl", ".safetensors")
    }
    return {"status": status, "rows": [{**row, "seconds": 0} for row in rows], "digests": digests}


def main(folder: Path) -> None:
    """Make all copies, run all of it, print what was said."""
    os.environ.update(COURSE_FOLDER=str(folder), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    importlib.import_module("train")  # What it imports stays and takes seconds; our modules come from each copy.
    for path in ROOT.glob("*.py"):
        sys.modules.pop(path.stem, None)
    gc.freeze()  # what is shared with the children stays shared
    heard: dict[str, Any] = {"restored": {}, "bugs": {}}
    write_blank(folder / "blank")
    heard["blank"] = apart(folder / "blank", lambda: said(*exercise_files(), *(f"tests/{name}" for name in SUITE)))
    for exercise in EXERCISES:
        copy = folder / f"restored-{exercise.number}"
        write_blank(copy, [other for other in EXERCISES if other is not exercise])
        heard["restored"][exercise.number] = apart(copy, lambda: said(*exercise_files()))
    heard["solutions"] = apart(ROOT, solutions)
    for number in (0, *BUGS):
        copy = folder / f"bug-{number}"
        write_bug(copy, number) if number else write_blank(copy, [])
        heard["bugs"][number] = apart(copy, small_run)
    write_blank(folder / "again", [])
    heard["again"] = apart(folder / "again", small_run)
    print(json.dumps(heard))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
