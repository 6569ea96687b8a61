"""The course itself: blanks fail their own tests alone, wrong solutions die, bugs are silent."""

import ast
import json
import math
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections import Counter

import pytest

import conftest
import critique
from agent_r import ChatFormat, Step, Trajectory
from course import classroom as classroom_of_the_course
from course import figures, hunt, mutants
from course.bugs import BUGS
from course.classroom import SAMPLE, Report
from course.exercises import (
    EXERCISES,
    PARTS,
    ROOT,
    blanked,
    body_of,
    exercises_of,
    file_of_tests,
    find,
    main,
    read,
    relative,
    table,
    with_body,
    with_edit,
    write_bug,
)
from course.handmade import check, child, shown
from course.mutants import mutants_of
from course.right import RIGHT
from course.wrong import WRONG
from engine.command_line import carry_out
from engine.tiny import word_tokenizer
from mcts import Node

if not hasattr(os, "fork"):
    pytest.skip("the course is tested by forking", allow_module_level=True)

NUMBERS = [exercise.number for exercise in EXERCISES]
each_number = pytest.mark.parametrize("number", NUMBERS)
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


@pytest.fixture(scope="module")
def classroom():
    """What course.classroom prints: one process for all copies and solutions."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "course.classroom"]
    process = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.splitlines()[-1])


def reports(fields):
    """The reports of tests, by name, as the classroom made them."""
    return {test: Report(**report) for test, report in fields.items()}


# --- the exercises


def test_there_are_at_least_eight_exercises_numbered_from_one_each_with_a_file_of_tests():
    assert list(range(1, len(EXERCISES) + 1)) == NUMBERS
    assert len(EXERCISES) >= 8
    for exercise in EXERCISES:
        (file,) = (ROOT / "course" / "tests").glob(f"test_ex{exercise.number:02}_*.py")
        text = file.read_text(encoding="utf-8")
        assert f"pytestmark = pytest.mark.{exercise.mark}\n" in text
        assert text.startswith(f'"""Exercise {exercise.number}, `')
        assert f"`{exercise.name}`" in text or f"`{exercise.function}`" in text


def test_pytest_knows_the_marks_by_the_exercises_titles():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = settings["tool"]["pytest"]["ini_options"]["markers"]
    assert markers == [f"{exercise.mark}: {exercise.title}" for exercise in EXERCISES]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.title)
def test_the_tables_of_the_readme_are_made_from_the_exercises(part):
    text = (ROOT / "course" / "README.md").read_text(encoding="utf-8")
    expected = table(exercises_of(part))
    assert expected in text.split("\n\n"), f"in README.md there should stand:\n{expected}"
    numbers = ", ".join(map(str, part.exercises))
    row = f"| {part.number} | {part.title} | {numbers} | {len(part.exercises)} | {part.hours} |"
    assert row in text, f"in the plan there should stand:\n{row}"


def test_every_exercise_belongs_to_one_part():
    numbers = [number for part in PARTS for number in part.exercises]
    assert sorted(numbers) == NUMBERS
    assert all(exercise.number in PARTS[exercise.part - 1].exercises for exercise in EXERCISES)


@each_exercise
def test_an_exercise_is_a_short_body(exercise):
    source = read(exercise.module)
    function = find(source, exercise.name)
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1
    length = function.end_lineno - function.lineno + 1 - docstring
    assert length <= 30, "an exercise is 5 to 20 lines, and the lines of its signature"


@each_exercise
def test_nothing_but_the_body_is_blank(exercise):
    source = read(exercise.module)
    before = source.splitlines()
    after = blanked(source, exercise).splitlines()
    function = find(source, exercise.name)
    blank = find("\n".join(after), exercise.name)
    gap = blank.end_lineno - 1
    assert after[gap].strip() == f'raise NotImplementedError("{exercise.message}")'
    assert after[:gap] == before[:gap]
    assert after[gap + 1 :] == before[function.end_lineno :]
    assert ast.dump(function.args) == ast.dump(blank.args)
    assert ast.get_docstring(function) == ast.get_docstring(blank)


@each_number
def test_each_exercise_has_a_test_of_each_kind_in_the_order_a_student_needs_them(classroom, number):
    kinds = []
    for test, report in reports(classroom["blank"]).items():
        if report.exercise == number:
            kinds.append(test.rpartition("::")[2].split("_")[1])
    order = ["shape", "example", "edge", "property"]
    assert list(dict.fromkeys(kinds)) == order
    assert kinds == sorted(kinds, key=order.index)


@each_number
def test_in_a_blank_copy_every_test_of_an_exercise_fails_with_its_own_message(classroom, number):
    message = f"NotImplementedError: {EXERCISES[number - 1].message}"
    count = 0
    for test, report in reports(classroom["blank"]).items():
        if report.exercise == number:
            count += 1
            assert report.outcome == "failed", f"{test} passes with a blank"
            assert report.message == message, test
    assert count >= 4


def test_in_a_blank_copy_everything_else_passes_or_waits_for_an_exercise(classroom):
    outcomes = Counter()
    for test, report in reports(classroom["blank"]).items():
        if report.exercise:
            continue
        assert report.outcome != "failed", f"{test}: {report.message}"
        waits = "waits for Exercise" in report.message
        outcomes["waits" if waits else report.outcome] += 1
    assert outcomes["passed"] > 50
    assert outcomes["waits"] > 20


@each_number
def test_a_solution_restored_alone_makes_its_own_tests_pass(classroom, number):
    restored = reports(classroom["restored"][str(number)])
    blank = reports(classroom["blank"])
    assert restored.keys() == {test for test, one in blank.items() if one.exercise == number}
    for test, report in restored.items():
        assert report.outcome == "passed", f"{test}: {report.message}"


# --- solutions


EACH_WRONG = [(number, title) for number, solutions in WRONG.items() for title in solutions]


def test_there_are_three_right_solutions_of_each_exercise_and_at_least_five_wrong_ones():
    assert list(WRONG) == list(RIGHT) == NUMBERS
    assert all(len(solutions) >= 5 for solutions in WRONG.values())
    for exercise in EXERCISES:
        ours = find(read(exercise.module), exercise.name)
        bodies = {ast.dump(ast.Module(ours.body[1:], []))}
        bodies |= {ast.dump(ast.parse(body.strip("\n"))) for body in dedented(RIGHT, exercise)}
        assert len(bodies) == 4, "each is written otherwise"


def dedented(solutions, exercise):
    """The bodies of an exercise's solutions, as a module of their own."""
    return [textwrap.dedent(body) for body in solutions[exercise.number]]


@pytest.mark.parametrize("way", [1, 2, 3])
@each_number
def test_a_right_solution_that_is_written_otherwise_passes(classroom, number, way):
    of_solution = reports(classroom["solutions"][str(number)][f"right {way}"])
    assert of_solution
    for test, report in of_solution.items():
        assert report.outcome == "passed", f"{test}: {report.message}"


@pytest.mark.parametrize(
    ("number", "title"), EACH_WRONG, ids=lambda value: str(value).replace(" ", "-")
)
def test_a_wrong_solution_is_caught_and_the_mistake_is_named(classroom, number, title):
    messages = []
    for report in reports(classroom["solutions"][str(number)][title]).values():
        if report.outcome == "failed":
            messages.append(report.message)
    assert messages, "no test of the exercise catches it"
    for message in messages:
        assert "SyntaxError" not in message, message
        assert "NameError" not in message, message
    sentences = [message for message in messages if message.startswith("Failed: ")]
    assert sentences, f"it is caught by a crash alone: {messages}"


def test_where_one_exercise_is_wrong_that_one_fails_and_no_other(classroom):
    assert len(classroom["sample"]) == len(SAMPLE)
    for row in classroom["sample"]:
        assert row["failed"] == [row["exercise"]], row["title"]
        sentences = [message for message in row["messages"] if message.startswith("Failed: ")]
        assert sentences, row["messages"]


def test_an_exercise_is_tested_alone_whatever_is_wrong_elsewhere(classroom):
    for title in ("another exercise loops", "another module is no Python"):
        for test, report in reports(classroom["alone"][title]).items():
            assert report.exercise, test
            assert report.outcome == "passed", f"{title}: {test}: {report.message}"
    tests = reports(classroom["alone"]["a test of the project is no Python"])
    assert {report.exercise for report in tests.values()} == {3}


def test_a_test_that_does_not_end_is_stopped(classroom):
    of_loop = reports(classroom["alone"]["the exercise itself loops"])
    stopped = [report.message for report in of_loop.values() if report.outcome == "failed"]
    assert len(stopped) > 5
    assert all(message.startswith("Failed: stopped after") for message in stopped)
    assert all(re.search(r"for ever, at \w+\.py, line \d+\?", message) for message in stopped)


def test_a_module_that_cannot_be_imported_is_told_in_one_line(classroom):
    (report,) = reports(classroom["alone"]["its own module is no Python"]).values()
    lines = len((ROOT / "critique.py").read_text(encoding="utf-8").splitlines()) + 1
    assert report.message == f"critique.py, line {lines}: invalid syntax: `def half(:`"
    (report,) = reports(classroom["alone"]["its own module cannot be imported"]).values()
    problem = "NameError: name 'nothing_of_this_name' is not defined"
    assert report.message == f"critique.py, line {lines}: {problem}"


def test_where_a_package_is_missing_the_environment_is_named_and_where_ours_is_it_is_not():
    told = conftest.remedy(ModuleNotFoundError("no", name="tqdm.auto"))
    assert told.endswith("source .venv/bin/activate")
    assert conftest.remedy(ModuleNotFoundError("no", name="engine.nothing")) == ""
    assert conftest.remedy(ModuleNotFoundError("no", name="train")) == ""
    assert conftest.remedy(ImportError("no")) == ""


def test_a_mutant_is_one_small_change():
    body = "if a < 1:\n    return b[1:]\nreturn None"
    changed = dict(mutants_of(body))
    assert {"if a <= 1:", "if a < 2:", "if not a < 1:", "return b[:]", "return None"} <= set(
        changed
    )
    assert all(text != ast.unparse(ast.parse(body)) for text in changed.values())


def test_a_blank_ends_a_command_in_one_sentence(capsys):
    def blank():
        raise NotImplementedError(EXERCISES[1].message)

    assert carry_out("train.py", blank) == 2
    sentence = "train.py: Exercise 2: walk down by UCT, is not written yet\n"
    assert capsys.readouterr().err == sentence

    def unfinished_world():
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        carry_out("train.py", unfinished_world)


@pytest.mark.parametrize("length", [3, 3000])
def test_a_tree_is_shown_at_a_glance(length):
    root = Node()
    leaf = root
    for number in range(length):
        leaf = child(leaf, f"step {number}")
    assert shown(root) == "the root"
    assert shown([root, 1]) == "[the root, 1]"
    assert shown(leaf).startswith("the node behind ['step 0', 'step 1', 'step 2'")
    with pytest.raises(pytest.fail.Exception) as failure:
        check("the leaf", leaf, root)
    assert len(str(failure.value)) < 1500


def test_our_own_refusals_name_what_was_wrong():
    step = Step("Action: go", "go", "a room.", 0.0)
    bad = Trajectory("task", "go.", "here.", [step, step, step])
    with pytest.raises(ValueError, match="step 0, must lie between 1 and 2"):
        critique.splice(bad, bad, 1, 0, "hm.")
    user = {"role": "user", "content": "go"}
    chat = ChatFormat(word_tokenizer("go"))
    with pytest.raises(ValueError, match="turn 1 is a user turn; user and assistant must"):
        chat.encode([user, user])


# --- silent bugs


@pytest.mark.parametrize("number", BUGS)
def test_a_bug_is_silent_and_changes_what_a_run_leaves(classroom, number):
    sound = classroom["bugs"]["0"]
    planted = classroom["bugs"][str(number)]
    assert "error" not in sound, sound["error"]
    assert sound["rows"][-1]["counts"]["revision"], "a run without revisions would show nothing"
    assert "error" not in planted, planted["error"]
    assert planted["status"] == 0
    assert planted["digests"].keys() == sound["digests"].keys()
    assert planted["digests"] != sound["digests"], "the planted error changes nothing"


def test_the_run_without_a_bug_is_the_same_every_time(classroom):
    assert classroom["bugs"]["0"]["digests"] == classroom["again"]["digests"]


def test_every_figure_of_the_bugs_can_be_read_from_a_run():
    command = [sys.executable, "-m", "course.figures", "--sound"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    measured = {int(bug): value for bug, value in json.loads(process.stdout).items()}
    assert set(measured) == set(BUGS) == set(figures.FIGURES)
    assert all(math.isfinite(value) for value in measured.values()), measured
    assert measured[2] == measured[3] == 1.0
    assert measured[1] == measured[9] == 0.0


@pytest.mark.parametrize("number", BUGS)
def test_a_bug_is_one_small_change_of_one_module_and_comes_without_tests_and_answers(
    tmp_path, number
):
    copy = tmp_path / "copy"
    write_bug(copy, number)
    assert not (copy / "tests").exists()
    assert not (copy / "course").exists()
    handout = (copy / "HANDOUT.md").read_text(encoding="utf-8")
    assert BUGS[number].hint in handout
    assert f"test_bug_{number}.py" in handout
    changed = []
    for path in ROOT.glob("*.py"):
        before = path.read_text(encoding="utf-8").splitlines()
        after = (copy / path.name).read_text(encoding="utf-8").splitlines()
        if after != before:
            changed.append(path.stem)
            assert len(set(after) - set(before)) <= 6, "a planted error is not seen at a glance"
            assert len(set(before) - set(after)) <= 6, "a planted error is not seen at a glance"
    assert changed == [BUGS[number].module]
    assert len(BUGS[number].answer) > 60


@pytest.mark.parametrize("number", BUGS)
def test_a_bug_stands_in_no_exercise_and_its_function_can_be_written_otherwise(number):
    bug = BUGS[number]
    assert f"{bug.module}.{bug.name}" not in {exercise.function for exercise in EXERCISES}
    texts = hunt.versions(bug)
    assert len(texts) == len(set(texts.values())) == 4
    for name in hunt.RIGHT[1:]:
        assert bug.old not in body_of(texts[name], bug.name)


@pytest.mark.parametrize("number", BUGS)
def test_by_its_text_the_copy_with_the_bug_cannot_be_told_from_the_right_ones(number):
    """Whoever searches for whole lines, of the bug or of the sound function, finds them in both."""
    bug = BUGS[number]
    found = {}
    for version, source in hunt.versions(bug).items():
        found[version] = ast.get_source_segment(source, find(source, bug.name))
    sound = read(bug.module)
    planted = with_edit(sound, bug.name, bug.old, bug.new)
    wrong = "\n".join(hunt.lines_with(planted, bug.name, bug.new))
    right = "\n".join(hunt.lines_with(sound, bug.name, bug.old))
    first, second, third, last = [text.count(wrong) for text in found.values()]
    assert first == 0
    assert min(second, third) > last == 1
    assert right in found[hunt.PLANTED]


def test_the_teachers_table_says_where_each_bug_is_and_what_it_does():
    text = (ROOT / "course" / "teacher.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows == [
        f"| {number} | `{bug.module}.{bug.name}` | {bug.answer} |" for number, bug in BUGS.items()
    ]


# --- the house


def test_nothing_imports_the_course():
    folders = ("", "engine", "worlds", "extras", "tests")
    for path in [path for folder in folders for path in (ROOT / folder).glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            rooms = {name.partition(".")[0] for name in names}
            assert "course" not in rooms, f"{path.relative_to(ROOT)} imports the course"


# --- the command line


def refusal(capsys, *arguments):
    """The one sentence on standard error of a command line that is refused."""
    assert main([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert output.err.startswith("exercises: ")
    assert output.err.count("\n") == 1
    return output.err


@pytest.mark.parametrize("command", [figures, mutants, classroom_of_the_course])
def test_a_command_of_the_course_that_is_mistyped_is_told_and_not_begun(capsys, command):
    assert command.main(["--sond"]) == 2
    told = capsys.readouterr().err
    assert "--help lists the flags" in told
    assert told.count("\n") == 1


def test_only_some_exercises_can_be_blank(tmp_path, capsys):
    assert main(["--blank", str(tmp_path / "copy"), "--only", "3, 6"]) == 0
    assert "exercises 3, 6 are blank; there, run pytest -m ex3" in capsys.readouterr().out
    numbers = []
    for exercise in EXERCISES:
        text = (tmp_path / "copy" / relative(exercise.module)).read_text(encoding="utf-8")
        if f'NotImplementedError("{exercise.message}")' in text:
            numbers.append(exercise.number)
    assert numbers == [3, 6]


def test_a_students_copy_holds_no_answer_and_everything_that_pytest_needs(tmp_path):
    copy = tmp_path / "copy"
    assert main(["--blank", str(copy)]) == 0
    course = {str(path.relative_to(copy)) for path in (copy / "course").rglob("*.py")}
    tests = {f"course/tests/{path.name}" for path in (ROOT / "course" / "tests").glob("test_ex*")}
    assert course == {"course/__init__.py", "course/handmade.py", *tests}
    assert not (copy / "tests" / "bench.py").exists()
    others = {ROOT / relative(exercise.module) for exercise in EXERCISES}
    others |= {ROOT / "README.md", ROOT / "tests" / "bench.py", ROOT / "docs" / "grading.md"}
    for folder in ("", "engine", "settings", "worlds", "extras", "tests", "docs", "results"):
        for path in (ROOT / folder).glob("[!.]*"):
            if not path.is_file() or path in others:
                continue
            same = (copy / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
            assert same, f"{path} is not copied"


@pytest.mark.parametrize("command", [["--blank"], ["--part", "2"], ["--bug", "3"]], ids=" ".join)
def test_the_texts_of_a_copy_name_nothing_that_is_not_in_it(tmp_path, command):
    copy = tmp_path / "copy"
    assert main([*command, str(copy)]) == 0
    texts = [copy / "README.md", copy / "HANDOUT.md", *copy.glob("course/*.md")]
    for path in texts:
        text = path.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", text):
            assert (path.parent / link).exists(), f"{path.name} links {link}"
        for module in re.findall(r"python -m (course[.\w]*)", text):
            raise AssertionError(f"{path.name} names {module}, which is not handed out")
        for name in re.findall(r"`((?:course|tests|docs|results)/[\w./]*)`", text):
            assert (copy / name).exists(), f"{path.name} names {name}"


def test_a_part_has_earlier_parts_solved_and_no_tests_of_later_ones(tmp_path, capsys):
    assert main(["--part", "2", str(tmp_path / "copy")]) == 0
    assert "part 2, critique: exercises 4, 20, 5" in capsys.readouterr().out
    for exercise in EXERCISES:
        text = (tmp_path / "copy" / relative(exercise.module)).read_text(encoding="utf-8")
        is_blank = f'NotImplementedError("{exercise.message}")' in text
        assert is_blank == (exercise.part >= 2), exercise.name
        tests = tmp_path / "copy" / file_of_tests(exercise).relative_to(ROOT)
        assert tests.exists() == (exercise.part <= 2), exercise.name


def test_an_empty_folder_will_do(tmp_path):
    assert main(["--blank", str(tmp_path), "--only", "1"]) == 0


def test_a_list_of_all_exercises_is_what_one_gets_without_flags(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(EXERCISES) + len(PARTS)
    for part in PARTS:
        place = lines.index(f"part {part.number}: {part.title}")
        for line, exercise in zip(lines[place + 1 :], exercises_of(part), strict=False):
            assert exercise.function in line


@pytest.mark.parametrize("command", [["--blank"], ["--part", "1"], ["--bug", "1"]])
def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path, capsys, command):
    file = tmp_path / "mine"
    file.write_text("work")
    assert "something stands there already" in refusal(capsys, *command, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert "something stands there already" in refusal(capsys, *command, file)
    assert file.read_text() == "work"
    assert "cannot be written" in refusal(capsys, *command, file / "below")


@pytest.mark.parametrize("only", ["0", "99", "3,99", "three", "", "3,", "3-4", "-1"])
def test_an_unknown_exercise_is_refused_before_anything_is_written(tmp_path, capsys, only):
    sentence = refusal(capsys, "--blank", tmp_path / "copy", f"--only={only}")
    assert f"there are 1 to {len(EXERCISES)}" in sentence
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("flag", ["--bug", "--part"])
@pytest.mark.parametrize("number", ["0", "99", "one", "1.5"])
def test_an_unknown_number_is_refused_before_anything_is_written(tmp_path, capsys, flag, number):
    assert f"{flag} {number}" in refusal(capsys, flag, number, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "3"],
        ["--blank"],
        ["--bug", "1"],
        ["--blank", "x", "--bug", "1", "y"],
        ["--blank", "x", "--part", "1", "y"],
        ["--part", "1"],
        ["--blnk", "x"],
        ["x"],
    ],
    ids=" ".join,
)
def test_a_command_line_that_makes_no_sense_is_refused(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    refusal(capsys, *arguments)
    assert not list(tmp_path.iterdir())


# --- one function of a source text

SOURCE = '''
def outer(x,
          y):
    """Says y."""
    # a comment of the body
    z = y

    def inner(q):
        return q

    return inner(z)


class Thing:
    def outer(self):
        return 1
'''


def test_a_body_is_replaced_and_nothing_else():
    head = SOURCE[: SOURCE.index("    # a comment")]
    rest = SOURCE[SOURCE.index("\n\nclass") :]
    assert with_body(SOURCE, "outer", "return x") == f"{head}    return x\n{rest}"
    of_inner = SOURCE.replace("return q", "return 2 * q")
    assert with_body(SOURCE, "outer.inner", "return 2 * q") == of_inner
    of_method = SOURCE.replace("return 1", "return 2")
    assert with_body(SOURCE, "Thing.outer", "return 2") == of_method


def test_a_function_that_is_not_there_is_named():
    with pytest.raises(LookupError, match=r"Thing\.inner"):
        find(SOURCE, "Thing.inner")
    with pytest.raises(LookupError, match="2 definitions"):
        find(SOURCE + SOURCE, "outer")


def test_an_edit_must_fit_exactly_once():
    changed = SOURCE.replace("return q", "return -q")
    assert with_edit(SOURCE, "outer", "return q", "return -q") == changed
    with pytest.raises(LookupError, match="2 times"):
        with_edit(SOURCE, "outer", "return ", "return 1 + ")
    with pytest.raises(LookupError, match="0 times"):
        with_edit(SOURCE, "outer.inner", "return inner(z)", "return z")
