"""The hunt for silent bugs: what a test that is handed in is worth.

It must fail where the bug is planted, and pass in the sound project and in two right copies of it,
in which the same function is written otherwise.  So searching the source does not help: the right
copies say in their docstring, more than once, what the planted line says, and have the sound line
nowhere; the copy with the bug says the sound line there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from course import cell
from course.bugs import BUGS, Bug
from course.cell import Reporter, Run, Task
from course.exercises import find, lines_of, read, relative, with_edit, with_lines
from course.grade import Verdict, handed_in, parsed
from engine import UserError

PLANTED = "planted"
RIGHT = ("sound", "right and written otherwise", "right and written otherwise again")


def versions(bug: Bug) -> dict[str, str]:
    """Return the module of a bug in its right versions, and with the bug planted."""
    sound = read(bug.module)
    texts = {RIGHT[0]: sound}
    for name, edits in zip(RIGHT[1:], bug.otherwise, strict=True):
        text = sound
        for old, new in edits:
            text = with_edit(text, bug.name, old, new)
        texts[name] = text
    planted = with_edit(sound, bug.name, bug.old, bug.new)
    for name in RIGHT[1:]:
        texts[name] = with_remark(texts[name], bug.name, 2 * lines_with(planted, bug.name, bug.new))
    texts[PLANTED] = with_remark(planted, bug.name, lines_with(sound, bug.name, bug.old))
    return texts


def lines_with(source: str, name: str, piece: str) -> list[str]:
    """Return the whole lines of a function in which a piece of it stands first."""
    function = find(source, name)
    lines = lines_of(source)[function.lineno - 1 : function.end_lineno]
    before, _, _ = "\n".join(lines).partition(piece)
    first = before.count("\n")
    return lines[first : first + piece.rstrip("\n").count("\n") + 1]


def with_remark(source: str, name: str, lines: Sequence[str]) -> str:
    """Return the source with lines more, just as they are, in the docstring of a function."""
    docstring = find(source, name).body[0]
    last = lines_of(source)[docstring.end_lineno - 1].removesuffix('"""')
    remark = [last, "", *lines, f'{" " * docstring.col_offset}"""']
    return with_lines(source, docstring.end_lineno - 1, docstring.end_lineno, "\n".join(remark))


def hunting(key: tuple[str, int, str], module: str, text: str, test: str) -> Task:
    """Return the task of running a test on one version of a module."""
    name = f"test_bug_{key[1]}.py"

    def furnish(folder: Path) -> None:
        path = folder / relative(module)
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        (folder / name).write_text(test, encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def run(reporter: Reporter) -> None:
        cell.move_in(module)
        reporter.run_tests([name, "--rootdir=.", *cell.PYTEST.split()])

    return Task(key, furnish, run)


def outcomes(run: Run) -> tuple[dict[str, str], str]:
    """Return what each test said, and why the run counts for nothing, if it does."""
    said = {}
    over = False
    for report in run.reports():
        over = over or report["outcome"] == "over"
        if report["outcome"] not in ("over", "begun"):
            said[report["test"]] = report["outcome"]
    if run.killed or not over:
        return said, run.killed or "the process ended before its tests did"
    if not said:
        return said, "it holds no test"
    if "" in said:
        return said, "its tests cannot be collected"
    return said, ""


def verdict_of(runs: dict[str, Run]) -> Verdict:
    """Return what a test is worth by its runs on all versions."""
    names = set()
    for version in RIGHT:
        said, problem = outcomes(runs[version])
        failed = [test for test, outcome in said.items() if outcome != "passed"]
        if problem or failed:
            why = problem or f"{failed[0].rpartition('::')[2]} does not pass"
            return Verdict(0, f"on a copy that is {version}: {why}")
        names.update(said)
    said, problem = outcomes(runs[PLANTED])
    if problem:
        return Verdict(0, f"on the copy with the bug: {problem}")
    if names != set(said):
        return Verdict(0, "its tests are others on the copy with the bug")
    if "failed" not in said.values():
        return Verdict(0, "it passes on the copy with the bug as well")
    return Verdict(1)


def grade(students: Sequence[Path], folder: Path, jobs: int) -> dict[str, list[Verdict]]:
    """Return what each student's tests are worth, bug after bug."""
    cell.prepare()
    texts = {number: versions(bug) for number, bug in BUGS.items()}
    verdicts: dict[tuple[str, int], Verdict] = {}
    tasks = []
    for student in students:
        for number, bug in BUGS.items():
            path = Path(f"test_bug_{number}.py")
            try:
                test = handed_in(student, path)
                parsed(test, path)
            except UserError as error:
                verdicts[student.name, number] = Verdict(0, str(error))
                continue
            for version, text in texts[number].items():
                tasks.append(hunting((student.name, number, version), bug.module, text, test))
    runs = cell.played(tasks, folder, jobs)
    rows = {}
    for student in students:
        rows[student.name] = []
        for number in BUGS:
            key = (student.name, number)
            if key not in verdicts:
                verdicts[key] = verdict_of({name: runs[*key, name] for name in texts[number]})
            rows[student.name].append(verdicts[key])
    return rows
