"""Grades of a class: which exercises the tests accept, a row for each student.

    python -m course.grade SUBMISSIONS/ --out grades.csv             all exercises
    python -m course.grade SUBMISSIONS/ --out grades.csv --part 1    those of part 1
    python -m course.grade SUBMISSIONS/ --out bugs.csv --bugs        the tests against silent bugs

SUBMISSIONS holds a folder for each student.  Of it the modules with exercises are taken and nothing
else; each exercise is tested in a process of its own (`course.cell`), with this project's tests,
with values drawn from a seed that no handout has, and with the other exercises solved as they are
here.  It counts 1 if every one of its tests was run and passed, else 0.  Beside `grades.csv` stands
`grades-reasons.md`, which says why not.

For silent bugs `test_bug_N.py` is taken instead: see `course.hunt`.
"""

from __future__ import annotations

import argparse
import ast
import codecs
import csv
import os
import random
import re
import sys
import tempfile
import tokenize
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course.bugs import BUGS
from course.exercises import (
    EXERCISES,
    PARTS,
    Exercise,
    body_of,
    find,
    read,
    relative,
    with_body,
)
from engine import UserError, command_line
from engine.folder import part_of, writing

PROGRAM = "python -m course.grade"
MODULE_SIZE = 500_000  # characters that a student's module may have
SHOWN = 900  # characters of a reason
DECLARED = re.compile(r"^([ \t\f]*#.*?coding[:=][ \t]*)[-\w.]+", re.ASCII | re.MULTILINE)
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what parsing may raise
FORMULA = ("=", "+", "-", "@")  # how a formula may begin in a spreadsheet
NOT_LEGIBLE = ("Cc", "Cs", "Zl", "Zp")  # signs that steer, halves of a sign, ends of a line


@dataclass
class Verdict:
    """What one exercise of one student is worth, and why not more."""

    points: int
    reason: str = ""


# --- what is handed in


def students_of(folder: Path) -> list[Path]:
    """Return the students' folders, by name; raises `UserError` if there is none."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder; it must hold a folder for each student"
        )
    students = folders_in(folder)
    if not students:
        raise UserError(f"{folder}: it holds no folder; it must hold one for each student")
    return students


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without those that tools leave there."""
    return [path for path in entries(folder) if path.is_dir()]


def tell_passed_over(folder: Path) -> None:
    """Say on standard error what lies among the students' folders and gets no row."""
    names = [legible(path.name) for path in entries(folder) if not path.is_dir()]
    if names:
        what = f"{folder}: passed over, being no folders: {', '.join(names)}"
        print(f"grade: {what}; an archive must be unpacked", file=sys.stderr)


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name, without `.git`, `__pycache__`, `__MACOSX` and such."""
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__"))]


def handed_in(student: Path, path: Path) -> str:
    """Return the text of a student's file, which may lie one folder deeper, as archives are packed.

    Raises `UserError` if there is none that can be read.
    """
    places = [student]
    inner = folders_in(student)
    if len(inner) == 1:
        places.append(inner[0])
    for place in places:
        file = place / path
        if file.is_symlink() or not file.is_file():
            continue
        if file.stat().st_size > MODULE_SIZE:
            raise UserError(f"{path} is longer than {MODULE_SIZE:,} characters")
        try:
            return text_of(file)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
        except (UnicodeError, LookupError, SyntaxError) as error:
            why = str(error).replace(f" for {str(file)!r}", "")
            raise UserError(f"{path} cannot be read: {why}; save it as UTF-8") from None
    raise UserError(f"{path} was not handed in")


def text_of(file: Path) -> str:
    """Return a module's text as Python reads it; where it declares an encoding stands UTF-8.

    Raises `UnicodeError`, `LookupError`, `SyntaxError` or `OSError` for what cannot be read.
    """
    with tokenize.open(file) as opened:
        if codecs.lookup(opened.encoding).name == "punycode":  # takes half a minute for a long text
            raise LookupError("punycode is for names of hosts")
        text = opened.read()
        if opened.encoding.startswith("utf-8"):
            return text
    return DECLARED.sub(r"\1utf-8", text, count=1)  # as which it is written into its cell


def module_to_test(student: Path, exercise: Exercise) -> str:
    """Return a student's module in which every other exercise is solved as it is here.

    Raises `UserError` if there is nothing to test.
    """
    path = relative(exercise.module)
    text = handed_in(student, path)
    parsed(text, path)
    try:
        function = find(text, exercise.name)
    except LookupError as error:
        raise UserError(f"{path}: {error}") from None
    if is_blank(function):
        raise UserError("not done: the body is blank")
    ours = read(exercise.module)
    for other in EXERCISES:
        if other.module == exercise.module and other is not exercise:
            try:
                text = with_body(text, other.name, body_of(ours, other.name))
            except (LookupError, *UNREADABLE):  # it is not there, or stands otherwise: it stays
                continue
    return text


def is_blank(function: ast.FunctionDef) -> bool:
    """Whether a function does nothing but raise the handout's `NotImplementedError`."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    match body:
        case [ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError")))]:
            return True
        case _:
            return False


def parsed(text: str, path: Path) -> ast.Module:
    """Return a text's syntax tree; raises `UserError` for what is no Python."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: it holds a NUL byte, which no Python may")
    try:
        return ast.parse(text)
    except SyntaxError as error:
        at = f", line {error.lineno}" if error.lineno else ""
        line = f": `{error.text.strip()[:80]}`" if error.text else ""
        raise UserError(f"{path}{at}: {error.msg}{line}") from None
    except UNREADABLE as error:
        raise UserError(f"{path} is no Python that can be read: {error}") from None


# --- what comes out


def write_grades(
    out: Path, columns: Sequence[str], rows: dict[str, list[Verdict]], seed: int
) -> Path:
    """Write the table, and the reasons beside it; return the path of the reasons."""
    lines = [["name", "total", *columns]]
    for name, verdicts in rows.items():
        points = [verdict.points for verdict in verdicts]
        lines.append([cell_of(name), str(sum(points)), *map(str, points)])
    reasons = [f"Values were drawn with `--seed {seed}`, which gives the same grades again."]
    for name, verdicts in rows.items():
        total = sum(verdict.points for verdict in verdicts)
        reasons.append(f"\n## {legible(name)}: {total} of {len(verdicts)}\n")
        for column, verdict in zip(columns, verdicts, strict=True):
            if not verdict.points:
                text = shortened(verdict.reason).replace("\n", "\n    ")
                reasons.append(f"- {column}: {text}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    with writing(reasons_beside(out)) as part:
        part.write_text("\n".join(reasons) + "\n", encoding="utf-8")
    return reasons_beside(out)


def reasons_beside(out: Path) -> Path:
    """Return the path of the reasons beside a table."""
    return out.with_name(f"{out.stem}-reasons.md")


def check_places(out: Path) -> None:
    """Raise `UserError` or `OSError` if table and reasons cannot be written, before all the work.

    The table's folder is there from then on.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for path in (out, reasons_beside(out)):
        if path.exists() and not path.is_file():
            raise UserError(f"--out {out}: {path} stands there and is no file; name another table")
        part_of(path).touch()
        part_of(path).unlink()


def shortened(text: str) -> str:
    """Return a reason that fits a page."""
    text = "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text.strip())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def cell_of(name: str) -> str:
    """Return a folder's name as a cell that no spreadsheet takes for a formula."""
    text = legible(name)
    return f"'{text}" if text.startswith(FORMULA) else text


def legible(name: str) -> str:
    """Return a folder's name on one line: what breaks it, or is no character, stands escaped."""
    signs = []
    for sign in name:
        breaks = unicodedata.category(sign) in NOT_LEGIBLE
        signs.append(sign.encode("unicode_escape").decode() if breaks else sign)
    return "".join(signs)


# --- the command line


def refuse(message: str) -> None:
    """Raise `UserError` for a command line that makes no sense."""
    raise UserError(f"{message}; --help lists the flags")


def place(name: str) -> Path:
    """Return a path; raises `UserError` for an empty one, as a variable leaves that is not set."""
    if not name:
        refuse("a path is empty; name a folder, and a table with --out")
    return Path(name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the flags that were given; raises `UserError` if they make no sense together."""
    title = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(PROGRAM, description=title, allow_abbrev=False)
    parser.error = refuse
    parser.add_argument("submissions", type=place, help="holds a folder for each student")
    parser.add_argument("--out", type=place, required=True, metavar="CSV", help="table to write")
    parser.add_argument("--part", type=int, metavar="N", help="grade the exercises of one part")
    parser.add_argument("--bugs", action="store_true", help="grade the tests against silent bugs")
    text = "decides the values that are drawn; by default another every time"
    parser.add_argument("--seed", type=int, metavar="N", help=text)
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"processes at the same time (default {jobs})"
    parser.add_argument("--jobs", type=int, default=jobs, metavar="N", help=text)
    given = parser.parse_args(arguments)
    if given.part is not None and not 1 <= given.part <= len(PARTS):
        refuse(f"--part {given.part}: there are 1 to {len(PARTS)}")
    if given.part is not None and given.bugs:
        refuse("--part and --bugs grade different things; give one of them")
    if given.jobs < 1:
        refuse(f"--jobs {given.jobs}: must be 1 or more")
    if given.out.is_dir():
        refuse(f"--out {given.out}: must be a file, as grades.csv")
    return given


def run(given: argparse.Namespace) -> None:
    """Grade what was handed in; raises `UserError`."""
    from course import cell, hunt  # they import torch, which takes a while

    students = students_of(given.submissions)
    check_places(given.out)
    tell_passed_over(given.submissions)
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory() as name:
        if given.bugs:
            columns = [f"bug{number}" for number in BUGS]
            rows = hunt.grade(students, Path(name), given.jobs)
        else:
            numbers = [exercise.number for exercise in EXERCISES]
            if given.part is not None:
                numbers = list(PARTS[given.part - 1].exercises)
            exercises = [EXERCISES[number - 1] for number in numbers]
            columns = [exercise.mark for exercise in exercises]
            rows = cell.grade(students, exercises, Path(name), seed, given.jobs)
    reasons = write_grades(given.out, columns, rows, seed)
    print(f"{given.out}: {len(rows)} students, {len(columns)} columns; why not, says {reasons}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    return command_line.carry_out("grade", lambda: run(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
