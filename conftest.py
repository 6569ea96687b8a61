"""What pytest does here beside running tests: all of it is for the exercises and students' copies.

- `pytest -m ex3` collects the tests of exercise 3 and nothing else, so that what is wrong in
  another exercise cannot stop it.
- A test of an exercise that does not come to an end fails, where the system has an alarm.
- What a module that is no Python stops is told in one line.
- In a student's copy a test of the project that meets a blank waits for that exercise instead of
  failing.  In the project itself there are no blanks.
"""

import contextlib
import random
import re
import signal
import traceback
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
IS_COPY = not (ROOT / "course" / "exercises.py").exists()

# Seconds of the processor that a test may take: of an exercise; of one in which one ran into the
# limit; of the project, in a copy.  Collecting imports torch.
LIMIT = 10
LATER_LIMIT = 2
PROJECT_LIMIT = 120
COLLECTING_LIMIT = 120
PATIENCE = 20  # times as long it may take by the clock, on a busy machine


def pytest_addoption(parser):
    text = "decides what the exercises' tests draw; the grader draws otherwise than the handout"
    parser.addoption("--drawn", default="0", metavar="SEED", help=text)


@pytest.fixture
def rng(request):
    """A generator for what a test draws, the same every time."""
    return random.Random(f"{request.config.getoption('drawn')} {request.node.name}")


@pytest.fixture(scope="session", autouse=IS_COPY)
def _blanks_are_raised():
    """In a copy a command does not end at a blank with a sentence: its test would not hear of it.

    What several tests have in common is made once, and only the first of them is told what it said.
    """
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ImportError, SyntaxError):
            patch.setattr("engine.command_line.blank", raised_again)
        yield


def raised_again(error):
    raise error


# --- one exercise alone


def asked_for(config):
    """The numbers of the exercises whose tests alone `-m` asks for; none if it asks otherwise."""
    expression = config.getoption("markexpr", "")
    if not re.fullmatch(r"\s*ex\d+(\s+or\s+ex\d+)*\s*", expression):
        return set()
    return {int(number) for number in re.findall(r"\d+", expression)}


def exercise_of(path):
    """The number of the exercise whose tests stand in a file, or 0."""
    name = re.fullmatch(r"test_ex(\d+)_\w+\.py", path.name)
    return int(name[1]) if name else 0


def pytest_ignore_collect(collection_path, config):
    numbers = asked_for(config)
    if numbers and collection_path.is_file() and exercise_of(collection_path) not in numbers:
        return True
    return None


# --- a limit of time


class Alarm:
    """Fails what takes longer than so many seconds.  Without timers (Windows) there is no limit."""

    def __init__(self):
        self.rang = set()  # the numbers of exercises in which it rang

    @contextlib.contextmanager
    def within(self, seconds, exercise=0):
        if not seconds or not hasattr(signal, "setitimer"):
            yield
            return

        def ring(number, frame):
            self.rang.add(exercise)
            cause = f"does something repeat for ever{place_of(frame)}?"
            pytest.fail(f"stopped after {seconds} seconds: {cause}", pytrace=False)

        timers = {
            signal.ITIMER_PROF: (signal.SIGPROF, seconds),
            signal.ITIMER_REAL: (signal.SIGALRM, PATIENCE * seconds),
        }
        before = {number: signal.signal(number, ring) for number, _ in timers.values()}
        for timer, (_, limit) in timers.items():
            signal.setitimer(timer, limit, 1)  # and every second, should it be caught
        try:
            yield
        finally:
            for timer in timers:
                signal.setitimer(timer, 0)
            for number, handler in before.items():
                signal.signal(number, handler)


ALARM = Alarm()


def place_of(frame):
    """Where in the modules the program was, as a few words; empty if it was in none of ours."""
    while frame:
        path = shown(frame.f_code.co_filename)
        of_a_module = not path.is_absolute() and path.name != "conftest.py"
        if of_a_module and not {".venv", "tests"} & {*path.parts}:
            return f", at {path}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def limit_of(item):
    """How many seconds a test, or what is made ready for it, may take; 0 is no limit."""
    exercise = exercise_of(item.path)
    if not exercise:
        return PROJECT_LIMIT if IS_COPY else 0
    return LATER_LIMIT if exercise in ALARM.rang else LIMIT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with ALARM.within(limit_of(item), exercise_of(item.path)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with ALARM.within(limit_of(item), exercise_of(item.path)):
        return (yield)


# --- what a report says


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    output = "".join(text for _, text in report.sections)
    if not exercise_of(item.path):
        wait(report, item.path, item.location[1], output)
    elif report.failed and BLANK.match(call.excinfo.exconly()):
        report.longrepr = call.excinfo.exconly()  # nothing of the test's source, with its answers
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    with ALARM.within(COLLECTING_LIMIT):
        report = yield
    if not exercise_of(collector.path):
        wait(report, collector.path, 0)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makemodule(module_path, parent):
    module = yield
    import_module = module._getobj

    def told_in_one_line():
        try:
            return import_module()
        except module.CollectError as error:
            cause = error.__cause__
            broken = broken_module(cause)
            if isinstance(cause, SyntaxError) or (broken and exercise_of(module_path)):
                raise module.CollectError(broken) from None
            raise
        except Exception as error:
            broken = broken_module(error)
            if broken and exercise_of(module_path) and not isinstance(error, NotImplementedError):
                raise module.CollectError(broken) from None
            raise

    module._getobj = told_in_one_line
    return module


def broken_module(error):
    """A line that names the module of ours that could not be imported, where, and why.

    It is empty if none of ours is to blame.
    """
    if isinstance(error, SyntaxError):
        line = f": `{error.text.strip()}`" if error.text else ""
        return f"{shown(error.filename)}, line {error.lineno}: {error.msg}{line}"
    frames = []
    for frame in traceback.extract_tb(error.__traceback__ if error else None):
        if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename:
            frames.append(frame)
    if not frames:
        return ""
    at = f"{shown(frames[-1].filename)}, line {frames[-1].lineno}"
    return f"{at}: {type(error).__name__}: {error}{remedy(error)}"


def remedy(error):
    """What to do where a package is missing: most often the environment is not active."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    package = error.name.partition(".")[0]
    ours = (ROOT / package).exists() or (ROOT / f"{package}.py").exists()
    return "" if ours else "; is the environment active? source .venv/bin/activate"


def shown(filename):
    """A path of ours as it is called from the project's folder."""
    path = Path(filename or "?")
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


# How a failure names a blank: by its error, by the error's repr, by what a command says.
BLANK = re.compile(r"(?:NotImplementedError(?:: |\(['\"])|: )(Exercise \d+): ")


def wait(report, path, line, output=""):
    """Turn a failure at a blank, of a test or of a whole file, into a skip that names it."""
    blank = BLANK.search(f"{report.longrepr}{output}")
    if report.failed and blank:
        report.outcome = "skipped"
        report.longrepr = (str(path), line, f"waits for {blank[1]}")
