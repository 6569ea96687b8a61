"""The grader: a small class of ten tricks, what it writes, and what it refuses."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from course.exercises import EXERCISES, PARTS, ROOT, read, with_body
from course.grade import Verdict, handed_in, main, module_to_test, parsed, shortened, write_grades
from engine import UserError

if not hasattr(os, "fork"):
    pytest.skip("the grader forks", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parent))
from submissions import OF_FILES, TRICKS, hand_in, play_trick

OF_PART = PARTS[0].exercises
ALL = {exercise.number for exercise in EXERCISES}
# Which exercise of part 1 a trick is tried in; the others are blank, so that it goes fast.
TRIED = dict(zip([*TRICKS, *OF_FILES], OF_PART * 2, strict=True))

# Fails where `learnable` teaches what was context already (silent bug 1).
HUNTED = """
import critique
from agent_r import Step, Trajectory


def test_context_stays_context():
    step = Step("Action: go", "go", "a room.", 0.0, learned=False)
    played = Trajectory("task", "go.", "here.", [step])
    got = critique.learnable(played, critique.CritiqueSettings())
    assert not got.steps[0].learned
"""
COMPARED = """
import inspect

import critique


def test_the_text():
    assert "learned = step.learned" in inspect.getsource(critique.learnable)
"""

# By name: lines of a module that end the process when it is imported; the last two tamper first.
ENDING = {
    "exit": "\nimport sys\nsys.exit(0)\n",
    "interrupted": "\nraise KeyboardInterrupt\n",
    "sham": "\nimport sys\nsys.modules['course.handmade'] = sys\nsys.exit(0)\n",
    "patched": "\nimport pytest, sys\npytest.main = print\nsys.exit(0)\n",
}


def grade(submissions, out, *flags):
    """Grade in a process of its own, with little patience; return rows, reasons, what was said."""
    hasty = "import sys; from course import cell, grade; cell.SECONDS = 6; cell.CANARIES = 2; "
    command = [sys.executable, "-c", hasty + "sys.exit(grade.main(sys.argv[1:]))"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [*command, str(submissions), "--out", str(out), *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    reasons = out.with_name(f"{out.stem}-reasons.md").read_text(encoding="utf-8")
    by_name = {}
    for text in reasons.split("\n## ")[1:]:
        by_name[text.partition(":")[0]] = text
    return rows, by_name, process.stderr


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """(rows, reasons, the folder) of a class: one who is right, and one for each trick."""
    folder = tmp_path_factory.mktemp("class")
    for trick, number in TRIED.items():
        blank = ALL - {number}
        play_trick(folder / "in" / trick, trick, number, folder / "outside", blank=blank)
    hand_in(folder / "in" / "right" / "student", {}, blank=ALL - set(OF_PART))
    (folder / "in" / ".hidden").mkdir()
    before = sorted(path.name for path in folder.rglob("*"))
    rows, reasons, _ = grade(folder / "in", folder / "grades.csv", "--part", "1", "--seed", "3")
    after = sorted(path.name for path in folder.rglob("*"))
    return rows, reasons, set(after) - set(before)


def test_a_row_for_each_student_with_a_column_for_each_exercise(graded):
    rows, _, new = graded
    assert sorted(rows) == sorted([*TRIED, "right"])
    columns = ["name", "total", *(f"ex{number}" for number in OF_PART)]
    assert list(rows["right"].values()) == ["right", "5", *["1"] * 5]
    assert list(rows["right"]) == columns
    assert new == {"grades.csv", "grades-reasons.md"}, "the grader writes nothing else"


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        ("skip", "was skipped, not passed: "),
        ("exit", "the process ended before its tests did"),
        ("patch", "the checker was tampered with"),
        ("loop", "seconds"),
        ("print", ""),
        ("memory", "MemoryError"),
        ("write", "lies outside: open is not allowed there"),
        ("conftest", "the node is expanded from now on"),
        ("missing", "mcts.py was not handed in"),
        ("syntax", "mcts.py, line "),
    ],
)
def test_a_trick_is_worth_nothing_and_the_reason_says_why(graded, trick, reason):
    rows, reasons, _ = graded
    assert rows[trick]["total"] == "0"
    number = TRIED[trick]
    (line,) = [line for line in reasons[trick].split("\n- ") if line.startswith(f"ex{number}: ")]
    assert reason in line
    if trick in TRICKS:
        assert reasons[trick].count("not done: the body is blank") == 4


def test_a_module_that_ends_the_process_is_told_so_and_one_that_tampers_as_well(tmp_path):
    blank = ALL - {1}
    for name, text in ENDING.items():
        hand_in(tmp_path / "in" / name, {}, blank=blank)
        with (tmp_path / "in" / name / "mcts.py").open("a", encoding="utf-8") as file:
            file.write(text)
    hand_in(tmp_path / "in" / "inside", {1: "import pytest\npytest.exit('so', 0)"}, blank=blank)
    hand_in(tmp_path / "in" / "body", {1: "import sys\nsys.exit(0)"}, blank=blank)
    rows, reasons, _ = grade(tmp_path / "in", tmp_path / "grades.csv", "--part", "1")
    assert {row["total"] for row in rows.values()} == {"0"}
    for name in ("exit", "interrupted"):
        assert "ended before its tests did, at the import of the module" in reasons[name], name
    assert "ended before its tests did, at test_" in reasons["inside"]
    assert re.search(r"test_\w+: SystemExit", reasons["body"])
    assert "the checker was tampered with: course/handmade.py" in reasons["sham"]
    assert "the checker was tampered with: pytest.main" in reasons["patched"]


def test_a_test_against_a_silent_bug_that_ends_the_process_is_told_so(tmp_path):
    texts = {name: ENDING[name] + HUNTED for name in ("exit", "interrupted")}
    texts["inside"] = "def test_bug():\n    raise KeyboardInterrupt\n"
    texts["none"] = "x = 1\n"
    texts["broken"] = "import nothing_of_this_name\n"
    for name, text in texts.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "test_bug_1.py").write_text(text, encoding="utf-8")
    rows, reasons, _ = grade(tmp_path / "in", tmp_path / "bugs.csv", "--bugs")
    assert {row["bug1"] for row in rows.values()} == {"0"}
    for name in ("exit", "interrupted", "inside"):
        assert "the process ended before its tests did" in reasons[name], name
    assert "it holds no test" in reasons["none"]
    assert "its tests cannot be collected" in reasons["broken"]


def test_a_test_against_a_silent_bug_must_say_what_the_function_does(tmp_path):
    for name, text in {"caught": HUNTED, "compared": COMPARED, "broken": "def test(:"}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "test_bug_1.py").write_text(text, encoding="utf-8")
    (tmp_path / "in" / "sleeping").mkdir()
    easy = "def test_nothing():\n    assert True\n"
    (tmp_path / "in" / "sleeping" / "test_bug_1.py").write_text(easy, encoding="utf-8")
    rows, reasons, _ = grade(tmp_path / "in", tmp_path / "bugs.csv", "--bugs")
    assert {name: row["bug1"] for name, row in rows.items()} == {
        "broken": "0",
        "caught": "1",
        "compared": "0",
        "sleeping": "0",
    }
    assert "on a copy that is right and written otherwise" in reasons["compared"]
    assert "passes on the copy with the bug as well" in reasons["sleeping"]
    assert "test_bug_1.py, line 1" in reasons["broken"]
    assert rows["caught"]["total"] == "1"


# --- what is told of the folders


def test_what_gets_no_row_is_told_once_by_name(tmp_path):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "__MACOSX").mkdir()
    for name in ("bob.zip", "eve\n.rar", ".DS_Store"):
        (tmp_path / "in" / name).write_bytes(b"PK")
    rows, _, said = grade(tmp_path / "in", tmp_path / "grades.csv", "--part", "1")
    assert [*rows] == ["ada"]
    assert said.count("\n") == 1
    assert said.startswith("grade: ")
    assert "passed over, being no folders: bob.zip, eve\\n.rar;" in said


def test_a_folders_name_is_neither_a_formula_nor_more_than_a_line(tmp_path):
    names = ["=cmd|'calc'!A0", "+1", "-1", "@sum", "new\nline", "two\u2028lines", "no \udceb text"]
    rows = {name: [Verdict(0, "why")] for name in [*names, "Zoë 李", "می\u200cرود"]}
    reasons = write_grades(tmp_path / "out" / "grades.csv", ["ex1"], rows, 0)
    with (tmp_path / "out" / "grades.csv").open(encoding="utf-8", newline="") as file:
        written = [row["name"] for row in csv.DictReader(file)]
    escaped = ["new\\nline", "two\\u2028lines", "no \\udceb text", "Zoë 李", "می\u200cرود"]
    assert written == ["'=cmd|'calc'!A0", "'+1", "'-1", "'@sum", *escaped]
    lines = reasons.read_text(encoding="utf-8").splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    plain = ["=cmd|'calc'!A0", "+1", "-1", "@sum"]
    assert headings == [f"## {name}: 0 of 1" for name in [*plain, *escaped]]


# --- what is taken of a folder


def test_the_other_exercises_of_a_module_are_ours(tmp_path):
    hand_in(tmp_path, {1: "return 0.0", 3: "pass"})
    text = module_to_test(tmp_path, EXERCISES[0])
    assert text == with_body(read("mcts"), "uct", "return 0.0")


def test_a_students_own_helpers_stay(tmp_path):
    hand_in(tmp_path, {1: "return helper()"})
    path = tmp_path / "mcts.py"
    path.write_text(path.read_text() + "\n\ndef helper():\n    return 1.0\n")
    assert "def helper():" in module_to_test(tmp_path, EXERCISES[0])


def test_lines_are_counted_as_python_counts_them(tmp_path):
    hand_in(tmp_path, {1: "return 0.0", 3: "pass"})
    path = tmp_path / "mcts.py"
    signs = "'\x0c \x0b \x1c \x85 \u2028 \u2029'"
    path.write_text(f"\x0cSIGNS = {signs}\n{path.read_text()}", encoding="utf-8")
    text = module_to_test(tmp_path, EXERCISES[0])
    assert text.endswith(with_body(read("mcts"), "uct", "return 0.0"))


def test_a_solution_in_front_of_the_handouts_own_line_is_tested(tmp_path):
    blank = f'raise NotImplementedError("{EXERCISES[0].message}")'
    for body in (f"return 0.0\n{blank}", f"if True:\n    return 0.0\n{blank}"):
        hand_in(tmp_path, {1: body})
        assert blank in module_to_test(tmp_path, EXERCISES[0])
    for body in (blank, f"{blank} from None"):
        hand_in(tmp_path, {1: body})
        with pytest.raises(UserError, match="not done: the body is blank"):
            module_to_test(tmp_path, EXERCISES[0])


@pytest.mark.parametrize("value", [" + ".join(["1"] * 900), f"0x{'f' * 6000}"])
def test_what_cannot_be_written_again_ends_no_grading(tmp_path, value):
    hand_in(tmp_path, {1: f"return 0.0 + 0 * ({value})"})
    assert value in module_to_test(tmp_path, EXERCISES[0])


@pytest.mark.parametrize("beside", [".git", "__MACOSX/student", "__pycache__", ".venv"])
def test_a_folder_of_a_tool_beside_the_inner_folder_is_passed_over(tmp_path, beside):
    hand_in(tmp_path / "student", {1: "return 0.0"})
    (tmp_path / beside).mkdir(parents=True)
    assert module_to_test(tmp_path, EXERCISES[0]) == with_body(read("mcts"), "uct", "return 0.0")


def test_a_folder_that_a_student_made_beside_the_inner_one_is_not(tmp_path):
    hand_in(tmp_path / "student", {})
    (tmp_path / "older").mkdir()
    with pytest.raises(UserError, match="was not handed in"):
        module_to_test(tmp_path, EXERCISES[0])


def test_a_module_that_is_a_link_or_too_long_or_no_text_is_not_read(tmp_path):
    hand_in(tmp_path, {})
    path = tmp_path / "mcts.py"
    path.unlink()
    path.symlink_to(ROOT / "mcts.py")
    with pytest.raises(UserError, match="was not handed in"):
        module_to_test(tmp_path, EXERCISES[0])
    path.unlink()
    path.write_text("#" * 600_000)
    with pytest.raises(UserError, match="longer than"):
        module_to_test(tmp_path, EXERCISES[0])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        module_to_test(tmp_path, EXERCISES[0])
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match="0 definitions of uct"):
        module_to_test(tmp_path, EXERCISES[0])


@pytest.mark.parametrize("place", ["# coding: latin-1", "\n# -*- coding: cp1252 -*-"])
def test_a_module_is_read_in_the_encoding_that_it_declares(tmp_path, place):
    text = f"{place}\n# not coding: latin-1\nname = 'Zoë'\n"
    (tmp_path / "mcts.py").write_bytes(text.encode("latin-1"))
    read_so = handed_in(tmp_path, Path("mcts.py"))
    assert read_so.endswith("\n# not coding: latin-1\nname = 'Zoë'\n")
    names = {}
    exec(compile(read_so.encode(), "mcts.py", "exec"), names)  # as its cell imports it
    assert names["name"] == "Zoë"


@pytest.mark.parametrize("encoding", ["no-such", "hex", "undefined", "utf-16", "ascii", "Punycode"])
def test_a_module_in_no_encoding_of_texts_is_one_reason(tmp_path, encoding):
    remark = "# Zoë" if encoding == "ascii" else "# Zoe-a"
    (tmp_path / "mcts.py").write_text(f"# coding: {encoding}\n{remark}", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"^mcts\.py cannot be read: .+; save it as UTF-8$"
    ) as raised:
        handed_in(tmp_path, Path("mcts.py"))
    assert str(tmp_path) not in str(raised.value)


def test_a_nul_byte_is_told_with_its_line():
    with pytest.raises(UserError, match=r"^mcts\.py, line 2: it holds a NUL byte"):
        parsed("x = 1\ny = '\0'\n", Path("mcts.py"))


@pytest.mark.parametrize("text", ["def f(:", "x = '\0'", "(" * 5000, "  x = 1"])
def test_what_is_no_python_is_one_reason(text):
    with pytest.raises(UserError, match=r"^mcts\.py"):
        parsed(text, Path("mcts.py"))


def test_a_reason_is_short_and_can_be_printed():
    assert shortened("a\x1b[31m\nb") == "a?[31m\nb"
    assert len(shortened("x" * 10_000)) < 1000


# --- the command line


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere", "--out", "g.csv"], "there is no such folder"),
        (["empty", "--out", "g.csv"], "it holds no folder"),
        (["empty"], "--out"),
        (["empty", "--out", "empty"], "must be a file"),
        (["empty", "--out", "g.csv", "--part", "9"], "--part 9: there are 1 to 3"),
        (["empty", "--out", "g.csv", "--part", "1", "--bugs"], "give one of them"),
        (["empty", "--out", "g.csv", "--jobs", "0"], "--jobs 0"),
        (["empty", "--out", "g.csv", "--seed", "x"], "--seed"),
        (["", "--out", "g.csv"], "a path is empty"),
        (["empty", "--out", ""], "a path is empty"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    tmp_path, monkeypatch, capsys, arguments, problem
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert problem in output.err
    assert output.err.startswith("grade: ")
    assert output.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_where_nothing_can_be_written_nothing_is_graded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("course.cell.grade", lambda *_: pytest.fail("it was graded"))
    hand_in(tmp_path / "in" / "student", {})
    (tmp_path / "file").write_text("mine")
    (tmp_path / "g-reasons.md").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for place, problem in (
        ("file/x.csv", "cannot be written"),
        ("g.csv", "g-reasons.md stands there and is no file"),
        ("pipe", "pipe stands there and is no file"),
    ):
        assert main([str(tmp_path / "in"), "--out", str(tmp_path / place)]) == 2
        told = capsys.readouterr().err
        assert problem in told
        assert told.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
