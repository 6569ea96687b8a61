"""The course: exercises, students' copies of the project, and silent bugs.

Without a flag the command lists the exercises.

    python -m course.exercises --blank DIR               a copy in which the exercises are blank
    python -m course.exercises --blank DIR --only 3,4    the same, these exercises alone
    python -m course.exercises --bug 2 DIR               a copy with one error and without tests

A function is found by its name in the module's syntax tree and only its body is replaced; its
signature, its docstring and everything around it stay as they are.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from course.bugs import BUGS
from engine import UserError

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "python -m course.exercises"

# The files of a copy: of every one, and what a student's has besides.
COPIED = (
    "*.py",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.txt",
    ".gitignore",
    "engine/*.py",
    "general/*.py",
    "records/*.py",
    "settings/*.py",
    "worlds/*.py",
    "extras/*.py",
    "docs/*",
    "course/README.md",
)
FOR_STUDENTS = (
    "course/__init__.py",
    "course/handmade.py",
    "course/tests/test_ex*.py",
    "tests/*.py",
    "results/**/*",  # which tests compare with what is made of them
)
BENCHMARK = ROOT / "tests" / "bench.py"  # not copied: what it measures against would be answers


@dataclass(frozen=True)
class Exercise:
    """A function of the method that a student writes."""

    number: int
    function: str  # by module and name, as in `agent_r.ChatFormat.encode`
    title: str  # what is to be written
    paper: str  # where the paper has it
    read: str  # what to read first

    @property
    def module(self) -> str:
        """The module of the function."""
        return self.function.partition(".")[0]

    @property
    def name(self) -> str:
        """The function's name in its module."""
        return self.function.partition(".")[2]

    @property
    def mark(self) -> str:
        """The marker of the exercise's tests."""
        return f"ex{self.number}"

    @property
    def message(self) -> str:
        """What a blank says."""
        return f"Exercise {self.number}: {self.title}"


# The table of README.md and the markers of pyproject.toml say the same, which a test holds them to.
EXERCISES = (
    Exercise(
        1,
        "mcts.uct",
        "the UCT score of a child",
        "Phase I, UCT",
        "`Node`: `visits`, `value_sum`, `q`",
    ),
    Exercise(
        2,
        "mcts.select",
        "walk down by UCT",
        "Phase I, selection",
        "`uct`; what `expand`, `graft` and `finish` leave",
    ),
    Exercise(
        3,
        "mcts.backpropagate",
        "count a simulation along its path",
        "Phase I, search",
        "`Node.path`",
    ),
    Exercise(
        4,
        "critique.shared_steps",
        "how many steps two leaves share",
        "Phase I, bad and good share a node",
        "`Node.path`, `Tree.leaves`",
    ),
    Exercise(
        5,
        "critique.pair_leaves",
        "bad leaves with their good ones",
        "Phase I, alpha and beta",
        "`shared_steps`, `CritiqueSettings`, `Pair`",
    ),
    Exercise(
        6,
        "critique.transition_point",
        "t', the first Bad",
        "Phase I, the transition point",
        "`parse_verdict`",
    ),
    Exercise(
        7,
        "critique.splice",
        "the revision trajectory, and what of it is learned",
        "Phase I, the four kinds of trajectory",
        "`Step`, `Trajectory`, `revision_turn`",
    ),
    Exercise(
        8,
        "agent_r.ChatFormat.encode",
        "token ids and labels of a dialogue",
        "Phase I, what the loss is taken over",
        "`ChatFormat.opening`, `turn`, `reply`, `end`",
    ),
    Exercise(
        9,
        "train.masked_loss",
        "cross-entropy where something is learned",
        "Phase II, the loss",
        "`ChatFormat.encode`, `pad`",
    ),
    Exercise(
        10,
        "train.Mix.draw",
        "draw an example by the shares of the mix",
        "Phase II, the eta mix",
        "`Source`; how `Run.fine_tune` builds the mix",
    ),
    Exercise(
        11,
        "critique.failed_prefixes",
        "starts for the recovery measure",
        "Table 3",
        "`envs.first_error`, `envs.distance`, `Episode`, `Start`",
    ),
    Exercise(
        12,
        "agent_r.Trajectory.loops",
        "the share of repeated steps",
        "Figure 4",
        "`Step`, `REVISE`",
    ),
    Exercise(
        13,
        "train.dpo_loss",
        "the loss of ETO on pairs",
        "Table 2, ETO",
        "`margin`, `preference`, `with_reference`",
    ),
)


# --- one function of a source text


def find(source: str, name: str) -> ast.FunctionDef:
    """Return the definition with this name, `Class.method` for a method.

    Raises `LookupError` if there is not exactly one.
    """
    node: ast.AST = ast.parse(source)
    for part in name.split("."):
        definitions = []
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef | ast.ClassDef) and inner.name == part:
                definitions.append(inner)
        if len(definitions) != 1:
            count = len(definitions)
            raise LookupError(f"{name}: {count} definitions of {part}, expected one")
        node = definitions[0]
    return node


def with_body(source: str, name: str, body: str) -> str:
    """Return the source with another body of the function `name`; its docstring is kept."""
    function = find(source, name)
    first = function.body[0]
    start = first.lineno - 1
    if ast.get_docstring(function) is not None:
        start = first.end_lineno
    text = textwrap.dedent(body).strip("\n")
    indented = textwrap.indent(text, " " * first.col_offset)
    return with_lines(source, start, function.end_lineno, indented)


def with_edit(source: str, name: str, old: str, new: str) -> str:
    """Return the source with a piece of the function `name` replaced.

    Raises `LookupError` if `old` does not stand in the function exactly once.
    """
    function = find(source, name)
    start = function.lineno - 1
    end = function.end_lineno
    lines = source.splitlines()
    text = "\n".join(lines[start:end])
    count = text.count(old)
    if count != 1:
        raise LookupError(f"{name}: {old!r} stands there {count} times, expected once")
    return with_lines(source, start, end, text.replace(old, new))


def with_lines(source: str, start: int, end: int, text: str) -> str:
    """Return the source with `text` for its lines from `start` up to `end`, counted from 0.

    Raises `SyntaxError` if that is no Python.
    """
    lines = source.splitlines()
    lines[start:end] = [text]
    changed = "\n".join(lines) + "\n"
    ast.parse(changed)
    return changed


def blanked(source: str, exercise: Exercise) -> str:
    """Return the source with the body of this exercise's function blank."""
    return with_body(source, exercise.name, f'raise NotImplementedError("{exercise.message}")')


# --- copies of the project


def write_blank(folder: Path, exercises: Iterable[Exercise] = EXERCISES) -> None:
    """Write a student's copy: these exercises are blank, and nothing in it holds an answer.

    Raises `UserError` if something stands at `folder` already.
    """
    sources: dict[str, str] = {}
    for exercise in exercises:
        source = sources.get(exercise.module) or read(exercise.module)
        sources[exercise.module] = blanked(source, exercise)
    write_copy(folder, COPIED + FOR_STUDENTS, sources)


def write_bug(folder: Path, number: int) -> None:
    """Write a copy with planted error `number`; it has no tests, since they would give it away.

    Raises `UserError` if there is no such error, or if something stands at `folder` already.
    """
    if number not in BUGS:
        numbers = f"there are {min(BUGS)} to {max(BUGS)}"
        raise UserError(f"--bug {number}: there is no such bug; {numbers}")
    bug = BUGS[number]
    sound = read(bug.module)
    planted = with_edit(sound, bug.name, bug.old, bug.new)
    write_copy(folder, COPIED, {bug.module: planted})


def read(module: str) -> str:
    """Return the source of a module."""
    return (ROOT / f"{module}.py").read_text(encoding="utf-8")


def write_copy(folder: Path, patterns: Sequence[str], sources: dict[str, str]) -> None:
    """Write the project's files of these patterns to a new folder, `sources` for their modules.

    Raises `UserError` if something stands at `folder` already.
    """
    occupied = folder.exists()
    if folder.is_dir():
        occupied = any(folder.iterdir())
    if occupied:
        remedy = "name a new folder, or remove it"
        raise UserError(f"{folder}: something stands there already; {remedy}")
    for pattern in patterns:
        for path in ROOT.glob(pattern):
            if path.is_file() and path != BENCHMARK:
                target = folder / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    for module, source in sources.items():
        path = folder / f"{module}.py"
        path.write_text(source, encoding="utf-8")


# --- the command line


def chosen(text: str) -> list[Exercise]:
    """Return the exercises of a list such as `3,4`; raises `UserError` for one that is none."""
    numbers = [part.strip() for part in text.split(",")]
    known = {str(exercise.number) for exercise in EXERCISES}
    for number in numbers:
        if number not in known:
            problem = f"there is no exercise {number or '(empty)'}"
            raise UserError(f"--only {text}: {problem}; there are 1 to {len(EXERCISES)}")
    return [exercise for exercise in EXERCISES if str(exercise.number) in numbers]


def refuse(message: str) -> None:
    """Raise `UserError` for a command line that makes no sense."""
    raise UserError(f"{message}; --help lists the flags")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the flags that were given; raises `UserError` if they make no sense together."""
    title = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(PROGRAM, description=title, allow_abbrev=False)
    parser.error = refuse
    parser.add_argument("--blank", metavar="DIR", help="write a student's copy to the new folder")
    parser.add_argument("--only", metavar="N,N", help="with --blank: blank these exercises alone")
    text = "write a copy with planted error N to the new folder"
    parser.add_argument("--bug", nargs=2, metavar=("N", "DIR"), help=text)
    given = parser.parse_args(arguments)
    if given.only is not None and given.blank is None:
        refuse("--only says what to blank; give --blank DIR as well")
    if given.blank is not None and given.bug is not None:
        refuse("--blank and --bug make a copy each; give one of them")
    return given


def run(given: argparse.Namespace) -> None:
    """Write the copy that was asked for, or list the exercises; raises `UserError`."""
    if given.blank is not None:
        exercises = EXERCISES if given.only is None else chosen(given.only)
        write_blank(Path(given.blank), exercises)
        numbers = ", ".join(str(exercise.number) for exercise in exercises)
        then = f"there, run pytest -m {exercises[0].mark}"
        print(f"{given.blank}: exercises {numbers} are blank; {then}")
    elif given.bug is not None:
        number, folder = given.bug
        if not number.isdecimal():
            refuse(f"--bug {number}: must be a number")
        write_bug(Path(folder), int(number))
        effect = "nothing fails, and the agent is taught something worse"
        print(f"{folder}: one error is planted; {effect}")
    else:
        for exercise in EXERCISES:
            what = f"{exercise.title} ({exercise.paper})"
            print(f"{exercise.number:2}  {exercise.function:27}  {what}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status.

    A user's mistake is one sentence on standard error and status 2.
    """
    try:
        run(parse(arguments))
        return 0
    except UserError as error:
        message = str(error)
    except OSError as error:  # a full disk, a folder that may not be written
        message = f"{error.filename or 'a file'} cannot be written: {error.strerror or error}"
    print(f"exercises: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
