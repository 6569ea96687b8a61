"""The course: exercises, students' copies of the project, and silent bugs.

Without a flag the command lists the exercises.

    python -m course.exercises --blank DIR               a copy in which the exercises are blank
    python -m course.exercises --blank DIR --only 3,4    the same, these exercises alone
    python -m course.exercises --part 2 DIR              what part 2 needs: part 1 is solved in it
    python -m course.exercises --bug 2 DIR               a copy with one error and without tests

A function is found by its name in the module's syntax tree and only its body is replaced; its
signature, its docstring and everything around it stay as they are.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course.bugs import BUGS
from engine import UserError, command_line

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "python -m course.exercises"
ROOMS = ("engine", "settings")  # which hold modules with exercises

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
    "extras/**/*",
    "docs/*",
    "results/**/*",  # which the README links, and tests compare with what is made of them
)
FOR_STUDENTS = (
    "course/__init__.py",
    "course/handmade.py",
    "course/capstone.md",
    "course/report.md",
    "course/tests/test_ex*.py",
    "tests/*.py",
    "tests/*.json",
)
NOT_COPIED = {
    ROOT / "tests" / "bench.py",  # what it measures against would be answers
    ROOT / "docs" / "grading.md",  # for teachers
}

# What the project's README says of what is not in a copy, and what stands there instead.
OF_THE_COURSE = "\n## The course\n"
COURSE_ROOM = (
    "- `course/`: the exercises and silent bugs. `tests/`, with the benchmark. `results/`:"
)
IN_A_COPY = "- `HANDOUT.md`: what this copy is for. `results/`:"
HANDED_OUT = """
## The course

This is a copy for the course: [HANDOUT.md](HANDOUT.md) says what is to be done in it.

"""


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
        """The module of the function, as `agent_r` or `engine.replies`."""
        parts = self.function.split(".")
        length = 2 if parts[0] in ROOMS else 1
        return ".".join(parts[:length])

    @property
    def name(self) -> str:
        """The function's name in its module."""
        return self.function.removeprefix(f"{self.module}.")

    @property
    def part(self) -> int:
        """The number of the part of the course that it belongs to."""
        return next(part.number for part in PARTS if self.number in part.exercises)

    @property
    def mark(self) -> str:
        """The marker of the exercise's tests."""
        return f"ex{self.number}"

    @property
    def message(self) -> str:
        """What a blank says."""
        return f"Exercise {self.number}: {self.title}"


# The tables of README.md and the markers of pyproject.toml say the same; a test holds them to it.
# An exercise keeps its number for good; the parts have them in the order in which they are solved.
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
        "what `find_first_errors` does with it",
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
    Exercise(
        14,
        "mcts.expand",
        "children of what was sampled, and which is played",
        "Phase I, expansion",
        "`Node`; `expand_all`, which calls it",
    ),
    Exercise(
        15,
        "mcts.graft",
        "hang an episode into the tree",
        "Phase I, simulation",
        "`Node.path`, `Episode`, `finish`",
    ),
    Exercise(
        16,
        "agent_r.Trajectory.judge_turn",
        "what the judge is asked",
        "Table 4, the verifier",
        "`JUDGE_PROMPT`, `JUDGE_TURN`",
    ),
    Exercise(
        17,
        "engine.replies.parse_verdict",
        "what the judge answered",
        "Table 4, the verdicts",
        "`VERDICT`, and what it does not match",
    ),
    Exercise(
        18,
        "critique.ask",
        "which steps the judge is asked about",
        "Phase I, judging the bad actions",
        "`Question`, `judge_turn`, `ChatFormat.opening`, `turn`",
    ),
    Exercise(
        19,
        "critique.execute",
        "a splice that the world carries out",
        "ours, beside Phase I",
        "`Episode.act`, `Trajectory.won`",
    ),
    Exercise(
        20,
        "settings.config.Config.critique_settings",
        "alpha rises with the iterations",
        "Phase I, alpha; Table 2, Direct-Revision",
        "`CritiqueSettings`, `Config.alphas`",
    ),
)


@dataclass(frozen=True)
class Part:
    """A session of the course: exercises in the order in which they are solved."""

    number: int
    title: str
    exercises: tuple[int, ...]
    hours: str


PARTS = (
    Part(1, "search", (1, 2, 14, 3, 15), "2 to 3"),
    Part(2, "critique", (4, 20, 5, 16, 18, 17, 6, 7, 19), "3"),
    Part(3, "training and measuring", (8, 9, 10, 12, 11, 13), "3"),
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


def body_of(source: str, name: str) -> str:
    """Return the text of a function's body, without its docstring."""
    function = find(source, name)
    first = function.body[0]
    start = first.lineno - 1
    if ast.get_docstring(function) is not None:
        start = first.end_lineno
    return textwrap.dedent("\n".join(lines_of(source)[start : function.end_lineno]))


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
    lines = lines_of(source)
    text = "\n".join(lines[start:end])
    count = text.count(old)
    if count != 1:
        raise LookupError(f"{name}: {old!r} stands there {count} times, expected once")
    return with_lines(source, start, end, text.replace(old, new))


def lines_of(source: str) -> list[str]:
    """Return the lines of a source text as Python counts them: a form feed, say, ends none."""
    return re.split(r"\r\n|\r|\n", source.removesuffix("\n"))


def with_lines(source: str, start: int, end: int, text: str) -> str:
    """Return the source with `text` for its lines from `start` up to `end`, counted from 0.

    Raises `SyntaxError` if that is no Python.
    """
    lines = lines_of(source)
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
    exercises = list(exercises)
    title = "The exercises"
    handout = students_handout(title, exercises)
    write_students_copy(folder, exercises, EXERCISES, handout)


def write_sound(folder: Path) -> None:
    """Write a copy in which everything is as it is here; raises `UserError` as `write_blank`."""
    write_students_copy(folder, [], EXERCISES, "# A sound copy, with all solutions\n")


def write_part(folder: Path, number: int) -> None:
    """Write what one part of the course needs: earlier parts are solved in it, this one is blank.

    What later parts ask for is blank as well, without its tests.  Raises `UserError` if there is no
    such part, or if something stands at `folder` already.
    """
    numbers = [part.number for part in PARTS]
    if number not in numbers:
        raise UserError(f"--part {number}: there is no such part; there are 1 to {numbers[-1]}")
    part = PARTS[number - 1]
    blank = [exercise for exercise in EXERCISES if exercise.part >= number]
    tested = [exercise for exercise in EXERCISES if exercise.part <= number]
    title = f"Part {number}: {part.title}"
    handout = students_handout(title, exercises_of(part))
    write_students_copy(folder, blank, tested, handout)


def exercises_of(part: Part) -> list[Exercise]:
    """Return the exercises of a part in the order in which they are solved."""
    return [EXERCISES[number - 1] for number in part.exercises]


def write_students_copy(
    folder: Path, blank: Sequence[Exercise], tested: Sequence[Exercise], handout: str
) -> None:
    """Write a copy in which the exercises of `blank` are blank, with the tests of `tested`."""
    texts: dict[Path, str] = {}
    for exercise in blank:
        path = path_of(exercise.module)
        source = texts.get(path) or read(exercise.module)
        texts[path] = blanked(source, exercise)
    texts[ROOT / "HANDOUT.md"] = handout
    untested = set()
    for exercise in EXERCISES:
        if exercise not in tested:
            untested.add(file_of_tests(exercise))
    write_copy(folder, COPIED + FOR_STUDENTS, texts, untested)


def write_bug(folder: Path, number: int) -> None:
    """Write a copy with planted error `number`; it has no tests, since they would give it away.

    Raises `UserError` if there is no such error, or if something stands at `folder` already.
    """
    if number not in BUGS:
        numbers = f"there are {min(BUGS)} to {max(BUGS)}"
        raise UserError(f"--bug {number}: there is no such bug; {numbers}")
    bug = BUGS[number]
    planted = with_edit(read(bug.module), bug.name, bug.old, bug.new)
    handout = read_text("hunt.md").replace("{number}", str(number)).replace("{hint}", bug.hint)
    texts = {path_of(bug.module): planted, ROOT / "HANDOUT.md": handout}
    write_copy(folder, COPIED, texts)


def students_handout(title: str, exercises: Sequence[Exercise]) -> str:
    """Return the text that tells a student what a copy is for and how to work in it."""
    first = exercises[0]
    text = read_text("handout.md")
    text = text.replace("{title}", title).replace("{table}", table(exercises))
    return text.replace("{first}", first.mark).replace("{module}", str(relative(first.module)))


def table(exercises: Sequence[Exercise]) -> str:
    """Return the exercises as a table in Markdown."""
    lines = ["| exercise | function | paper | read first | tests |", "|---|---|---|---|---|"]
    for exercise in exercises:
        what = f"{exercise.number} {exercise.title} | `{exercise.function}`"
        run = f"`pytest -m {exercise.mark}`"
        lines.append(f"| {what} | {exercise.paper} | {exercise.read} | {run} |")
    return "\n".join(lines)


def path_of(module: str) -> Path:
    """Return the file of a module."""
    return ROOT / relative(module)


def relative(module: str) -> Path:
    """Return the path of a module's file within the project, or within a copy of it."""
    return Path(*module.split(".")).with_suffix(".py")


def file_of_tests(exercise: Exercise) -> Path:
    """Return the file with the tests of an exercise."""
    (path,) = (ROOT / "course" / "tests").glob(f"test_ex{exercise.number:02}_*.py")
    return path


def read(module: str) -> str:
    """Return the source of a module."""
    return path_of(module).read_text(encoding="utf-8")


def read_text(name: str) -> str:
    """Return one of the course's texts."""
    return (ROOT / "course" / name).read_text(encoding="utf-8")


def readme_of_a_copy() -> str:
    """Return the project's README as a copy has it: it names nothing that is not in the copy.

    Raises `LookupError` if the README does not say of the course what it should.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for piece in (OF_THE_COURSE, COURSE_ROOM):
        if text.count(piece) != 1:
            raise LookupError(f"README.md: {piece!r} stands there {text.count(piece)} times")
    before, _, after = text.replace(COURSE_ROOM, IN_A_COPY).partition(OF_THE_COURSE)
    _, heading, rest = after.partition("\n## ")
    return before + HANDED_OUT + heading.removeprefix("\n") + rest


def write_copy(
    folder: Path,
    patterns: Sequence[str],
    texts: Mapping[Path, str],
    left_out: Iterable[Path] = (),
) -> None:
    """Write the project's files of these patterns to a new folder, `texts` instead of their own.

    Raises `UserError` if something stands at `folder` already.
    """
    occupied = folder.exists()
    if folder.is_dir():
        occupied = any(folder.iterdir())
    if occupied:
        remedy = "name a new folder, or remove it"
        raise UserError(f"{folder}: something stands there already; {remedy}")
    missing = {*NOT_COPIED, *left_out}
    for pattern in patterns:
        for path in ROOT.glob(pattern):
            compiled = "__pycache__" in path.parts
            if path.is_file() and path not in missing and not compiled:
                target = folder / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    for path, text in {ROOT / "README.md": readme_of_a_copy(), **texts}.items():
        target = folder / path.relative_to(ROOT)
        target.write_text(text, encoding="utf-8")


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
    text = "write what part N needs to the new folder"
    parser.add_argument("--part", nargs=2, metavar=("N", "DIR"), help=text)
    text = "write a copy with planted error N to the new folder"
    parser.add_argument("--bug", nargs=2, metavar=("N", "DIR"), help=text)
    given = parser.parse_args(arguments)
    if given.only is not None and given.blank is None:
        refuse("--only says what to blank; give --blank DIR as well")
    copies = [flag for flag in (given.blank, given.part, given.bug) if flag is not None]
    if len(copies) > 1:
        refuse("--blank, --part and --bug make a copy each; give one of them")
    return given


def numbered(flag: str, values: Sequence[str]) -> tuple[int, Path]:
    """Return the number and the folder that were given to a flag; raises `UserError`."""
    number, folder = values
    if not number.isdecimal():
        refuse(f"{flag} {number}: must be a number")
    return int(number), Path(folder)


def run(given: argparse.Namespace) -> None:
    """Write the copy that was asked for, or list the exercises; raises `UserError`."""
    if given.blank is not None:
        exercises = EXERCISES if given.only is None else chosen(given.only)
        write_blank(Path(given.blank), exercises)
        numbers = ", ".join(str(exercise.number) for exercise in exercises)
        then = f"there, run pytest -m {exercises[0].mark}; HANDOUT.md says the rest"
        print(f"{given.blank}: exercises {numbers} are blank; {then}")
    elif given.part is not None:
        number, folder = numbered("--part", given.part)
        write_part(folder, number)
        part = PARTS[number - 1]
        numbers = ", ".join(map(str, part.exercises))
        then = f"there, run pytest -m ex{part.exercises[0]}; HANDOUT.md says the rest"
        print(f"{folder}: part {number}, {part.title}: exercises {numbers} are blank; {then}")
    elif given.bug is not None:
        number, folder = numbered("--bug", given.bug)
        write_bug(folder, number)
        effect = "nothing fails, and the agent is taught something worse; read HANDOUT.md"
        print(f"{folder}: one error is planted; {effect}")
    else:
        for part in PARTS:
            print(f"part {part.number}: {part.title}")
            for exercise in exercises_of(part):
                what = f"{exercise.title} ({exercise.paper})"
                print(f"{exercise.number:4}  {exercise.function:41}  {what}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    return command_line.carry_out("exercises", lambda: run(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
