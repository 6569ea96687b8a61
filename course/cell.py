"""A cell for a stranger's code: a process of its own, with a folder, a clock and little else.

What is tested may loop, fill memory or the disk, end the process, skip its tests or lay hands on
the checker.  So each run of tests is forked from a process that has imported what is ours, and

- writes into its own folder alone, and starts no other process (an audit hook of Python);
- is limited in time, memory and size of files, and is killed with all that it has started;
- is judged by what the test runner reports, test by test, through a pipe: every test that the
  project's own solution passes must have been run and have passed;
- is tried again, behind the tests, with solutions that are known to be wrong: if one passes, or if
  a function of the checker is another than before, the checker was tampered with.

This stands up to mistakes and to tricks, not to malice proper; for that, run the grader in a
container (docs/grading.md).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import resource
import secrets
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import _pytest
import pytest

from course.classroom import place, solution
from course.exercises import ROOT, Exercise, file_of_tests, read, relative
from course.grade import Verdict, module_to_test
from course.wrong import WRONG
from engine import UserError

SECONDS = 45  # of the processor for a run; its conftest.py ends a test that takes longer than ten
PATIENCE = 4  # times as long it may take by the clock, on a busy machine
MEMORY = 2**30  # bytes beyond what is imported already
FILE_SIZE = 2**24  # bytes of a file
REPORT_SIZE = 2**20  # bytes of all reports of a run
TOO_LONG = "it took longer than {} seconds"
CANARIES = 3  # wrong solutions that are tried behind the tests
PYTEST = (
    "-q --tb=line --assert=plain -p no:cacheprovider -p no:unraisableexception -p no:faulthandler"
)
TESTING = ("conftest.py", "pyproject.toml", "course/__init__.py", "course/handmade.py")


# --- one run, seen from outside


@dataclass
class Run:
    """A process that runs tests, and what it has reported so far."""

    process: int
    pipe: int
    secret: str
    ends_at: float
    told: bytearray = field(default_factory=bytearray)
    killed: str = ""  # why, if it was

    def reports(self) -> list[dict[str, Any]]:
        """Return what was reported, without what the code under test has written among it."""
        said = []
        for line in bytes(self.told).split(b"\n"):
            try:
                report = json.loads(line)
            except ValueError:
                continue
            if isinstance(report, dict) and report.get("secret") == self.secret:
                said.append(report)
        return said


def start(folder: Path, function: Callable[[Reporter], None]) -> Run:
    """Fork a process that calls `function` in a cell, with what reports."""
    reading, writing = os.pipe()
    secret = secrets.token_hex(16)
    process = os.fork()
    if process == 0:
        os.close(reading)
        status = 1
        try:
            lock_in(folder)
            function(Reporter(writing, secret))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    return Run(process, reading, secret, time.monotonic() + PATIENCE * SECONDS)


def finish(runs: Sequence[Run]) -> list[Run]:
    """Read what running processes report; return those that have ended, or were ended."""
    over = []
    ready, _, _ = select.select([run.pipe for run in runs], [], [], 0.2)
    for run in runs:
        if run.pipe in ready:
            told = os.read(run.pipe, 65536)
            run.told += told
            if not told:
                over.append(run)
        if len(run.told) > REPORT_SIZE:
            run.killed = "its reports did not end"
        elif time.monotonic() > run.ends_at:
            run.killed = TOO_LONG.format(PATIENCE * SECONDS)
        if run.killed and run not in over:
            over.append(run)
    for run in over:
        end(run)
    return over


def end(run: Run) -> None:
    """End a run with all that it has started."""
    try:
        os.killpg(run.process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has not made its group, or is gone
        os.kill(run.process, signal.SIGKILL)
    _, status = os.waitpid(run.process, 0)
    os.close(run.pipe)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        run.killed = TOO_LONG.format(SECONDS)


@dataclass
class Task:
    """What is to be run in a cell: what is put into its folder, and what then happens there."""

    key: Any
    furnish: Callable[[Path], None]
    function: Callable[[Reporter], None]


def played(tasks: Sequence[Task], folder: Path, jobs: int) -> dict[Any, Run]:
    """Carry out tasks, `jobs` at a time, each in a new folder below `folder`; return their runs."""
    ended: dict[Any, Run] = {}
    running: list[tuple[Run, Task, Path]] = []
    ahead = list(reversed(tasks))
    try:
        while ahead or running:
            while ahead and len(running) < jobs:
                task = ahead.pop()
                own = folder / secrets.token_hex(8)
                task.furnish(own)
                running.append((start(own, task.function), task, own))
            over = finish([run for run, _, _ in running])
            staying = []
            for run, task, own in running:
                if run in over:
                    ended[task.key] = run
                    shutil.rmtree(own, ignore_errors=True)
                else:
                    staying.append((run, task, own))
            running = staying
    finally:
        for run, _, _ in running:
            end(run)
    return ended


# --- one run, seen from inside


class Reporter:
    """Writes reports into a pipe, and is a plugin of pytest."""

    def __init__(self, pipe: int, secret: str) -> None:
        def write(**report: Any) -> None:  # the secret stands in no attribute
            text = json.dumps({**report, "secret": secret})
            os.write(pipe, f"\n{text}\n".encode())

        self.write = write
        self.run = "tests"  # or the number of a canary
        self.stopped = False  # by what ends a process: then its tests have not come to their end

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell which test begins, should it not come to its end."""
        self.write(run=self.run, test=nodeid, outcome="begun", message="")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Tell what a test says, and what its preparation says unless it passes."""
        if report.when != "call" and report.outcome == "passed":
            return
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "skipped"
        self.write(run=self.run, test=report.nodeid, outcome=outcome, message=told(report))

    def pytest_collectreport(self, report: Any) -> None:
        """Tell why tests could not be collected."""
        if report.outcome != "passed":
            self.write(run=self.run, test="", outcome=report.outcome, message=told(report))

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        """Note what stops pytest, unless pytest does it itself: where collecting has failed."""
        self.stopped = not isinstance(excinfo.value, pytest.Session.Interrupted)

    def pytest_internalerror(self) -> None:
        """Note what pytest does not expect, as `sys.exit()` in a module that is imported."""
        self.stopped = True

    def run_tests(self, options: Sequence[str]) -> bool:
        """Run tests; return whether they came to their end, which is then reported."""
        pytest.main([*options], plugins=[self])
        if not self.stopped:
            self.write(run="tests", test="", outcome="over", message="")
        return not self.stopped


def told(report: Any) -> str:
    """Return what a report says, shortened."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        return str(report.longrepr[-1])[:2000]
    if crash is None:
        return str(report.longrepr or "")[:2000]
    message = crash.message.removeprefix("Failed: ")
    if message == crash.message and report.outcome == "failed":
        message += f" ({Path(crash.path).name}, line {crash.lineno})"
    return message[:2000]


def lock_in(folder: Path) -> None:
    """Shut this process up in its folder: nothing else can be written, and memory is limited."""
    os.setsid()
    os.chdir(folder)
    for name in ("HOME", "TMPDIR", "TEMP", "TMP"):
        os.environ[name] = str(folder)
    importlib.import_module("tempfile").tempdir = None
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 2))
    limit_memory()
    sys.dont_write_bytecode = True
    sys.addaudithook(guard(str(folder.resolve())))


def limit_memory() -> None:
    """Limit what this process may take beyond what it has; macOS knows no such limit, so watch."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
        return
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + MEMORY
    threading.Thread(target=watch_memory, args=(most,), daemon=True).start()


def watch_memory(most: int) -> None:
    """End this process once it has taken more than `most`, as `getrusage` counts."""
    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= most:
        time.sleep(0.05)
    os._exit(1)


# Events of Python that name files to be changed, with the places of their names.
CHANGES = {
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.link": (0, 1),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.utime": (0,),
    "os.setxattr": (0,),
    "os.removexattr": (0,),
}
FORBIDDEN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "os.kill",
    "os.killpg",
    "pty.spawn",
    "signal.pthread_kill",
    "ctypes.dlopen",
    "ctypes.dlsym",
    "socket.connect",
    "socket.bind",
    "socket.sendto",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def guard(folder: str) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that refuses what has nothing to do with an exercise."""
    realpath, join, fsdecode = os.path.realpath, os.path.join, os.fsdecode
    devnull = os.devnull

    def is_inside(path: Any) -> bool:
        if isinstance(path, int):  # a file that is open already
            return True
        real = realpath(fsdecode(path))
        return real in (devnull, folder) or real.startswith(join(folder, ""))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            raise PermissionError(f"{event} is not allowed in an exercise")
        paths: Sequence[Any] = ()
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            paths = arguments[:1]
        elif event in CHANGES:
            paths = [arguments[index] for index in CHANGES[event]]
        for path in paths:
            if not is_inside(path):
                raise PermissionError(
                    f"{fsdecode(path)} lies outside: {event} is not allowed there"
                )

    return hook


# --- an exercise in a cell


def furnish(folder: Path, exercise: Exercise, text: str) -> None:
    """Put a student's module and our tests of the exercise into a new folder."""
    tests = str(file_of_tests(exercise).relative_to(ROOT))
    for name in (*TESTING, tests):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    module = folder / relative(exercise.module)
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(text, encoding="utf-8")


def run_exercise(reporter: Reporter, exercise: Exercise, seed: int) -> None:
    """Run the tests of an exercise on the module in the working folder, then try the checker."""
    tests = str(file_of_tests(exercise).relative_to(ROOT))
    move_in(exercise.module)
    checker = functions_of_pytest()
    options = [tests, "--rootdir=.", f"--drawn={seed}", *PYTEST.split()]
    came_to_end = reporter.run_tests([*options, "-x"])
    now = functions_of_pytest()
    changed = ", ".join(name for name, function in checker.items() if now.get(name) != function)
    # Tests that came to their end have imported it; others may have been stopped before.
    is_needed = came_to_end or "course.handmade" in sys.modules
    if is_needed and handmade_functions() != compiled_functions():
        changed = "course/handmade.py"
    if changed:
        reporter.write(run="canary", test=changed, outcome="changed", message="")
    if not came_to_end:
        return
    owner, name = place(exercise)
    titles = sorted(WRONG[exercise.number])
    for title in random.Random(seed).sample(titles, CANARIES):
        setattr(owner, name, solution(exercise, WRONG[exercise.number][title]))
        reporter.run = f"canary {title}"
        pytest.main([*options, "-x"], plugins=[reporter])
    reporter.write(run="canary", test="", outcome="over", message="")


def move_in(module: str) -> None:
    """Let the working folder's module be imported for ours, and all that import it anew."""
    here = os.getcwd()
    sys.path[:] = [here, *(path for path in sys.path if path)]
    package, _, name = module.rpartition(".")
    if package:
        sys.modules[package].__path__.insert(0, os.path.join(here, package))
        delattr(sys.modules[package], name)
    for loaded in list(sys.modules):
        room = loaded.partition(".")[0]
        if loaded == module or room in ABOVE.get(module, ABOVE["agent_r"]):
            del sys.modules[loaded]


ABOVE = {  # what imports a module, and is therefore imported anew
    "agent_r": {"mcts", "critique", "settings", "records", "general", "train", "course"},
    "mcts": {"critique", "settings", "records", "general", "train", "course"},
    "critique": {"settings", "general", "train", "course"},
    "settings.config": {"train", "course"},
    "train": {"course"},
    "engine.replies": {
        *("agent_r", "mcts", "critique", "settings", "records", "general", "train", "course")
    },
}


def functions_of_pytest() -> dict[str, tuple[int, CodeType]]:
    """Return the functions of pytest, by module and name: which object, and with which code."""
    functions = {}
    for name, module in list(sys.modules.items()):
        if name != "pytest" and not name.startswith(f"{_pytest.__name__}."):
            continue
        for key, value in list(vars(module).items()):
            inner = vars(value).items() if isinstance(value, type) else [("", value)]
            for part, function in list(inner):
                if isinstance(function, FunctionType):
                    functions[f"{name}.{key}.{part}"] = (id(function), function.__code__)
    return functions


def handmade_functions() -> dict[str, CodeType]:
    """Return the code of the checker's functions as it is now."""
    module = sys.modules.get("course.handmade")
    functions = {}
    for name in compiled_functions():
        function = getattr(module, name, None)
        code = getattr(function, "__code__", None)
        functions[name] = code
    return functions


def compiled_functions() -> dict[str, CodeType]:
    """Return the code of the checker's functions as their source has it."""
    path = Path("course/handmade.py").resolve()
    source = (ROOT / "course" / "handmade.py").read_text(encoding="utf-8")
    code = compile(source, path, "exec", dont_inherit=True)
    functions = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and constant.co_name in (
            "check",
            "hold",
            "same",
            "shown",
        ):
            functions[constant.co_name] = constant
    return functions


# --- grades


def verdict_of(run: Run, expected: Sequence[str]) -> Verdict:
    """Return what an exercise is worth by the reports of its run; `expected` are its tests."""
    begun = ""
    passed = set()
    over = set()
    canaries: dict[str, bool] = {}  # whether a test has failed
    for report in run.reports():
        part, test, outcome = report["run"], report["test"], report["outcome"]
        if outcome == "over":
            over.add(part)
        elif outcome == "changed":
            return Verdict(0, f"the checker was tampered with: {test} is not as it was")
        elif part != "tests":
            canaries[part] = canaries.get(part, False) or outcome == "failed"
        elif outcome == "begun":
            begun = test
        elif outcome == "passed":
            passed.add(test)
        else:
            where = test.rpartition("::")[2] or "its tests cannot be collected"
            was = "" if outcome == "failed" else f" was {outcome}, not passed"
            return Verdict(0, f"{where}{was}: {report['message']}")
    at = begun.rpartition("::")[2] or "the import of the module"
    if run.killed:
        return Verdict(0, f"{run.killed}, at {at}")
    if "tests" not in over:
        return Verdict(0, f"the process ended before its tests did, at {at}")
    missing = set(expected) - passed
    if missing:
        name = min(missing).rpartition("::")[2]
        return Verdict(0, f"{len(missing)} tests did not pass, among them {name}")
    if "canary" not in over or len(canaries) < CANARIES:
        return Verdict(0, "the checker was tampered with: it does not come to its end any more")
    for part, has_failed in canaries.items():
        if not has_failed:
            wrong = part.removeprefix("canary ")
            return Verdict(0, f"the checker was tampered with: a wrong solution passes ({wrong})")
    return Verdict(1)


def grade(
    students: Sequence[Path], exercises: Sequence[Exercise], folder: Path, seed: int, jobs: int
) -> dict[str, list[Verdict]]:
    """Return what each exercise of each student is worth, as many runs at a time as `jobs`.

    Raises `UserError` if the project's own solution does not pass.
    """
    prepare()
    expected = rehearse(exercises, folder, seed, jobs)
    verdicts: dict[Any, Verdict] = {}
    tasks = []
    for student in students:
        for exercise in exercises:
            key = (student.name, exercise.number)
            try:
                text = module_to_test(student, exercise)
            except UserError as error:
                verdicts[key] = Verdict(0, str(error))
                continue
            tasks.append(testing(key, exercise, text, seed))
    for key, run in played(tasks, folder, jobs).items():
        verdicts[key] = verdict_of(run, expected[key[1]])
    rows = {}
    for student in students:
        rows[student.name] = [verdicts[student.name, one.number] for one in exercises]
    return rows


def prepare() -> None:
    """Import what every run needs, once for all of them."""
    importlib.import_module("train")
    importlib.import_module("course.handmade")
    gc.freeze()  # what is shared with the processes stays shared


def rehearse(
    exercises: Sequence[Exercise], folder: Path, seed: int, jobs: int
) -> dict[int, list[str]]:
    """Return the tests of each exercise, by its number.

    Raises `UserError` if the project's own solution does not pass them.
    """
    tasks = [testing(one.number, one, read(one.module), seed) for one in exercises]
    expected = {}
    for number, run in played(tasks, folder, jobs).items():
        tests = []
        for report in run.reports():
            if report["run"] == "tests" and report["outcome"] == "passed":
                tests.append(report["test"])
        verdict = verdict_of(run, tests)
        if not verdict.points or not tests:
            problem = "the project's own solution does not pass here"
            raise UserError(f"exercise {number}: {problem}: {verdict.reason}")
        expected[number] = tests
    return expected


def testing(key: Any, exercise: Exercise, text: str, seed: int) -> Task:
    """Return the task of testing an exercise on a module's text."""

    def furnish_cell(folder: Path) -> None:
        furnish(folder, exercise, text)

    def test(reporter: Reporter) -> None:
        run_exercise(reporter, exercise, seed)

    return Task(key, furnish_cell, test)
