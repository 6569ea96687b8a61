"""The course: exercises, students' copies of the repository, and silent bugs.  Without flags it lists what there is.

    python -m tests.exercises --blank DIR               a copy in which the exercises' functions are blank
    python -m tests.exercises --blank DIR --only 3,4    the same, these exercises alone
    python -m tests.exercises --bug 2 DIR               a copy with one planted error, and without tests

A function is found by its name in the module's syntax tree and only its body is replaced; signature, docstring and
everything around it stay as they are.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("*.py", "README.md", "LICENSE", "pyproject.toml", "requirements.txt", ".gitignore", "extras/*.py")
ANSWERS = ("exercises.py", "wrong.py", "bugs.py", "test_course.py", "bench.py")  # not for a student's tests/


@dataclass(frozen=True)
class Exercise:
    """A function of the method that a student writes; `name` is qualified, as in `ChatFormat.encode`."""

    number: int
    module: str
    name: str
    title: str  # what is to be written, in a few words
    paper: str
    read: str  # what to read first

    @property
    def mark(self) -> str:
        return f"ex{self.number}"

    @property
    def message(self) -> str:
        return f"Exercise {self.number}: {self.title}"


EXERCISES = (
    Exercise(1, "mcts", "uct", "the UCT score of a child", "Phase I, UCT", "`Node`: `visits`, `value_sum`, `q`"),
    Exercise(2, "mcts", "select", "walk down by UCT", "Phase I, selection", "`uct`; what `expand` and `graft` leave"),
    Exercise(3, "mcts", "backpropagate", "count a simulation along its path", "Phase I, search", "`Node.path`"),
    Exercise(
        4, "critique", "shared_steps", "how many steps two leaves share", "Phase I, bad and good share a node",
        "`Node.path`, `Tree.leaves`",
    ),
    Exercise(
        5, "critique", "pair_leaves", "bad leaves with their good ones", "Phase I, alpha and beta",
        "`shared_steps`; README on alpha and beta",
    ),
    Exercise(6, "critique", "first_error", "t', the first Bad", "Phase I, the transition point", "`parse_verdict`"),
    Exercise(
        7, "critique", "splice", "the revision trajectory and its loss flags", "Phase I, the four kinds of trajectory",
        "`Step`, `Trajectory`, `Trajectory.learned`",
    ),
    Exercise(
        8, "agent_r", "ChatFormat.encode", "token ids and labels of a dialogue", "Phase I, what the loss is taken over",
        "`ChatFormat.opening`, `turn`, `_content`, `end`",
    ),
    Exercise(
        9, "train", "masked_loss", "cross-entropy where something is learned", "Phase II, the loss",
        "`ChatFormat.encode`, `pad`",
    ),
    Exercise(
        10, "train", "draw_batches.next_example", "draw an example by the shares of the mix", "Phase II, the eta mix",
        "the docstring of `draw_batches`; how `run` builds the mix",
    ),
    Exercise(
        11, "critique", "failed_prefixes", "starts for the recovery measure", "Table 3", "`envs.first_error`, `Episode`"
    ),
    Exercise(12, "agent_r", "Trajectory.loops", "the share of repeated steps", "Figure 4", "`Step`, `REVISE`"),
    Exercise(13, "train", "dpo_loss", "the loss of ETO on pairs", "Table 2, ETO", "`margin`, `preference`, `pair_up`"),
)  # fmt: skip


class CourseError(Exception):
    """A mistake on the command line, told in one sentence."""


# --- one function of a source text


def find(source: str, name: str) -> ast.FunctionDef:
    """The definition with this qualified name; raises `LookupError` if there is not exactly one."""
    node: ast.AST = ast.parse(source)
    for part in name.split("."):
        found = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part]
        if len(found) != 1:
            raise LookupError(f"{name}: {len(found)} definitions of {part}, expected one")
        (node,) = found
    return node


def with_body(source: str, name: str, body: str) -> str:
    """The source with another body of the function `name`; its signature and docstring are kept."""
    function, lines = find(source, name), source.splitlines()
    first = function.body[0]
    start = first.end_lineno if ast.get_docstring(function) is not None else first.lineno - 1
    new = textwrap.indent(textwrap.dedent(body).strip("\n"), " " * first.col_offset)
    changed = "\n".join([*lines[:start], *new.splitlines(), *lines[function.end_lineno :]]) + "\n"
    ast.parse(changed)
    return changed


def with_edits(source: str, name: str, edits: Iterable[tuple[str, str]]) -> str:
    """The source with pieces of one function replaced, each of which must stand there exactly once."""
    function, lines = find(source, name), source.splitlines()
    text = "\n".join(lines[function.lineno - 1 : function.end_lineno])
    for old, new in edits:
        if text.count(old) != 1:
            raise LookupError(f"{name}: {old!r} stands there {text.count(old)} times, expected once")
        text = text.replace(old, new)
    changed = "\n".join([*lines[: function.lineno - 1], text, *lines[function.end_lineno :]]) + "\n"
    ast.parse(changed)
    return changed


def blanked(source: str, exercise: Exercise) -> str:
    """The source with the body of this exercise's function blank."""
    return with_body(source, exercise.name, f'raise NotImplementedError("{exercise.message}")')


# --- copies of the repository


def copy_to(folder: Path, tests: Collection[str], change: Callable[[dict[str, str]], None]) -> None:
    """Write a copy of the repository with these files of tests/; `change` works on the sources, by module.

    Raises `CourseError` if something stands at `folder` already or it cannot be written.
    """
    sources = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("*.py")}
    change(sources)
    files = [path for pattern in COPIED for path in sorted(ROOT.glob(pattern))] + [ROOT / "tests" / n for n in tests]
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CourseError(f"{folder}: something stands there already; name a new folder, or remove it")
        for path in files:
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.parent == ROOT and path.suffix == ".py":
                target.write_text(sources[path.stem], encoding="utf-8")
            else:
                shutil.copyfile(path, target)
    except OSError as error:
        raise CourseError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error


def write_blank(folder: Path, exercises: Iterable[Exercise] = EXERCISES) -> None:
    """Write a student's copy: these exercises are blank, and nothing in tests/ holds an answer."""

    def change(sources: dict[str, str]) -> None:
        for exercise in exercises:
            sources[exercise.module] = blanked(sources[exercise.module], exercise)

    copy_to(folder, sorted(p.name for p in (ROOT / "tests").glob("*.py") if p.name not in ANSWERS), change)


def write_bug(folder: Path, number: int) -> None:
    """Write a copy with planted error `number`; it has no tests, since the suite's would give it away."""
    from tests.bugs import BUGS  # the answers, which a student's copy does not have

    if number not in BUGS:
        raise CourseError(f"--bug {number}: there is no such bug; there are {min(BUGS)} to {max(BUGS)}")
    bug = BUGS[number]

    def change(sources: dict[str, str]) -> None:
        plant = with_body if isinstance(bug.change, str) else with_edits
        sources[bug.module] = plant(sources[bug.module], bug.name, bug.change)

    copy_to(folder, (), change)


# --- the command line


def chosen(text: str) -> list[Exercise]:
    """The exercises of a list such as `3,4`."""
    by_number = {str(exercise.number): exercise for exercise in EXERCISES}
    for part in (parts := [part.strip() for part in text.split(",")]):
        if part not in by_number:
            raise CourseError(
                f"--only {text}: there is no exercise {part or '(empty)'}; there are 1 to {len(EXERCISES)}"
            )
    return [exercise for exercise in EXERCISES if str(exercise.number) in parts]


def fail(message: str) -> None:
    """Refuse a command line."""
    raise CourseError(f"{message}; --help lists the flags")


def run(arguments: list[str] | None) -> None:
    """Carry out one command line; raises `CourseError`."""
    parser = argparse.ArgumentParser(
        "python -m tests.exercises", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--blank", metavar="DIR", help="write a student's copy to the new folder DIR")
    parser.add_argument("--only", metavar="N,N", help="with --blank: blank these exercises alone")
    parser.add_argument("--bug", nargs=2, metavar=("N", "DIR"), help="write a copy with planted error N to DIR")
    parser.error = fail
    given = parser.parse_args(arguments)
    if given.only is not None and given.blank is None:
        fail("--only says what to blank; give --blank DIR as well")
    if given.blank is not None and given.bug is not None:
        fail("--blank and --bug make a copy each; give one of them")
    if given.blank is not None:
        exercises = EXERCISES if given.only is None else chosen(given.only)
        write_blank(Path(given.blank), exercises)
        blank = ", ".join(str(exercise.number) for exercise in exercises)
        print(f"{given.blank}: exercises {blank} are blank; there, run pytest -m ex{exercises[0].number}")
    elif given.bug is not None:
        number, folder = given.bug
        if not number.isdecimal():
            fail(f"--bug {number}: must be a number")
        write_bug(Path(folder), int(number))
        print(f"{folder}: one error is planted; nothing fails, and the agent is taught something worse")
    else:
        for e in EXERCISES:
            print(f"{e.number:2}  {e.module + '.' + e.name:35}  {e.title} ({e.paper})")


def main(arguments: list[str] | None = None) -> int:
    """The exit status; a user's mistake is one sentence on standard error and status 2."""
    try:
        run(arguments)
    except CourseError as error:
        print(f"exercises: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
