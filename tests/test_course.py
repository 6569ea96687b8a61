"""The course itself: blanks fail their own tests alone, wrong solutions are caught, bugs are silent."""

import ast
import json
import os
import subprocess
import sys

import pytest

from tests import wrong
from tests.bugs import BUGS
from tests.exercises import (
    ANSWERS,
    EXERCISES,
    ROOT,
    blanked,
    find,
    main,
    with_body,
    with_edits,
    write_bug,
)

if not hasattr(os, "fork"):
    pytest.skip("the course is tested by forking", allow_module_level=True)


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """What tests/classroom.py heard: one process for all copies and solutions."""
    folder = tmp_path_factory.mktemp("course")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.classroom", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    heard = json.loads(done.stdout.splitlines()[-1])
    return heard | {"folder": folder, "errors": done.stderr}


NUMBERS = [exercise.number for exercise in EXERCISES]


def source(module):
    return (ROOT / f"{module}.py").read_text(encoding="utf-8")


# --- the exercises


def test_there_are_at_least_eight_exercises_numbered_from_one_each_with_files_and_a_registered_mark():
    assert list(range(1, len(EXERCISES) + 1)) == NUMBERS
    assert len(EXERCISES) >= 8
    configured = (ROOT / "pyproject.toml").read_text()
    for number in NUMBERS:
        (file,) = (ROOT / "tests").glob(f"test_ex{number:02}_*.py")
        assert f"pytestmark = pytest.mark.ex{number}\n" in file.read_text()
        assert f'"ex{number}: ' in configured
    assert f'"ex{len(EXERCISES) + 1}: ' not in configured


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_an_exercise_is_a_short_body(exercise):
    function = find(source(exercise.module), exercise.name)
    lines = source(exercise.module).splitlines()[function.lineno - 1 : function.end_lineno]
    described = (function.body[0].end_lineno - function.body[0].lineno + 1) if len(function.body) > 1 else 0
    assert len(lines) - described <= 30, "an exercise is 5 to 20 lines, and the lines of its signature"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_nothing_but_the_body_is_blank(exercise):
    before, after = source(exercise.module).splitlines(), blanked(source(exercise.module), exercise).splitlines()
    function = find("\n".join(before), exercise.name)
    blank = find("\n".join(after), exercise.name)
    (gap,) = [n for n, line in enumerate(after) if "NotImplementedError(" in line and exercise.message in line]
    assert after[:gap] == before[:gap]
    assert after[gap + 1 :] == before[function.end_lineno :]
    assert blank.end_lineno == gap + 1
    assert ast.dump(function.args) == ast.dump(blank.args)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_exercise_has_a_test_of_each_kind_in_the_order_a_student_needs_them(heard, number):
    names = [node.rpartition("::")[2] for node, (_, _, mark) in heard["blank"].items() if mark == number]
    kinds = [name.split("_")[1] for name in names]
    order = ["shape", "example", "edge", "property"]
    assert list(dict.fromkeys(kinds)) == order, names
    assert kinds == sorted(kinds, key=order.index), names


@pytest.mark.parametrize("number", NUMBERS)
def test_in_a_blank_copy_every_test_of_an_exercise_fails_with_the_exercises_own_message(heard, number):
    message = f"NotImplementedError: {EXERCISES[number - 1].message}"
    mine = {node: told for node, told in heard["blank"].items() if told[2] == number}
    assert len(mine) >= 4
    for node, (outcome, said, _) in mine.items():
        assert outcome == "failed", f"{node} passes with a blank"
        assert said.startswith(message), f"{node}: {said}"


def test_in_a_blank_copy_everything_else_passes_or_waits_for_an_exercise(heard):
    others = {node: told for node, told in heard["blank"].items() if not told[2]}
    outcomes = [outcome for outcome, _, _ in others.values()]
    failed = [f"{node}: {said}" for node, (outcome, said, _) in others.items() if outcome == "failed"]
    assert not failed, failed
    assert outcomes.count("passed") > 50
    skipped = [said for outcome, said, _ in others.values() if outcome == "skipped"]
    assert sum("waits for Exercise" in said for said in skipped) > 20


@pytest.mark.parametrize("number", NUMBERS)
def test_a_solution_restored_alone_makes_exactly_its_own_tests_pass(heard, number):
    said = heard["restored"][str(number)]
    assert said.keys() == {node for node, (_, _, mark) in heard["blank"].items() if mark}
    for node, (outcome, message, mark) in said.items():
        assert outcome == ("passed" if mark == number else "failed"), f"{node}: {message}"
        if mark != number:
            assert message.startswith(f"NotImplementedError: Exercise {mark}:"), f"{node}: {message}"


# --- solutions


WRONG = [(number, name) for number, solutions in wrong.WRONG.items() for name in solutions]


def test_there_are_at_least_24_wrong_solutions_and_some_for_each_exercise():
    assert len(WRONG) >= 24
    assert list(wrong.WRONG) == list(wrong.RIGHT) == NUMBERS
    assert all(len(solutions) >= 5 for solutions in wrong.WRONG.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_another_right_solution_passes(heard, number):
    said = heard["solutions"][str(number)]["right"]
    failed = {node: message for node, (outcome, message, _) in said.items() if outcome != "passed"}
    assert said
    assert not failed, failed


@pytest.mark.parametrize(("number", "name"), WRONG, ids=lambda value: str(value).replace(" ", "-"))
def test_a_wrong_solution_is_caught_and_told_in_a_sentence(heard, number, name):
    said = heard["solutions"][str(number)][name]
    failed = [message for outcome, message, _ in said.values() if outcome == "failed"]
    assert failed, "no test of the exercise catches it"
    assert not any("SyntaxError" in message or "NameError" in message for message in failed), failed
    told = [message for message in failed if message.startswith("Failed: ")]
    assert told, f"it is caught by a crash alone: {failed}"


# --- silent bugs


@pytest.mark.parametrize("number", BUGS)
def test_a_bug_is_silent_and_changes_what_a_run_leaves(heard, number):
    sound, planted = heard["bugs"]["0"], heard["bugs"][str(number)]
    assert sound is not None, heard["errors"]
    assert sound["rows"][-1]["counts"]["revision"], "a run without revisions would show nothing"
    assert planted is not None, heard["errors"]
    assert planted["status"] == 0
    assert planted["digests"].keys() == sound["digests"].keys()
    assert planted["digests"] != sound["digests"], "the planted error changes nothing"


def test_the_run_without_a_bug_is_the_same_every_time(heard):
    assert heard["bugs"]["0"]["digests"] == heard["again"]["digests"]


@pytest.mark.parametrize("number", BUGS)
def test_a_bug_is_one_small_change_of_one_module_and_comes_without_tests_and_answers(tmp_path, number):
    write_bug(tmp_path / "copy", number)
    assert not (tmp_path / "copy" / "tests").exists()
    differ = [p.name for p in ROOT.glob("*.py") if p.read_text() != (tmp_path / "copy" / p.name).read_text()]
    assert differ == [f"{BUGS[number].module}.py"]
    before, after = (set((at / differ[0]).read_text().splitlines()) for at in (ROOT, tmp_path / "copy"))
    assert len(after - before) <= 6, "a planted error is not seen at a glance"
    assert len(BUGS[number].answer) > 60


# --- the command line


def refused(capsys, *arguments):
    """The one sentence on standard error of a command line that is refused."""
    assert main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.startswith("exercises: ")
    assert told.err.count("\n") == 1
    return told.err


def test_only_some_exercises_can_be_blank(tmp_path, capsys):
    assert main(["--blank", str(tmp_path / "copy"), "--only", "3, 6"]) == 0
    assert "exercises 3, 6 are blank" in capsys.readouterr().out
    texts = {
        module: (tmp_path / "copy" / f"{module}.py").read_text() for module in ("agent_r", "mcts", "critique", "train")
    }
    blank = [e.number for e in EXERCISES if f'NotImplementedError("{e.message}")' in texts[e.module]]
    assert blank == [3, 6]


def test_a_students_copy_holds_no_answer_and_everything_that_pytest_needs(tmp_path):
    assert main(["--blank", str(tmp_path / "copy")]) == 0
    tests = {path.name for path in (tmp_path / "copy" / "tests").iterdir()}
    assert not tests & {*ANSWERS}
    assert {"doubles.py", "handmade.py", "conftest.py", "test_ex01_uct.py", "test_envs.py"} <= tests
    for name in ("README.md", "requirements.txt", "pyproject.toml", "envs.py"):
        assert (tmp_path / "copy" / name).read_bytes() == (ROOT / name).read_bytes()


def test_an_empty_folder_will_do(tmp_path):
    assert main(["--blank", str(tmp_path), "--only", "1"]) == 0


def test_a_list_of_all_exercises_is_what_one_gets_without_flags(capsys):
    assert main([]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(EXERCISES)


@pytest.mark.parametrize("command", [["--blank"], ["--bug", "1"]])
def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path, capsys, command):
    (tmp_path / "mine").write_text("work")
    assert "something stands there already" in refused(capsys, *command, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert "something stands there already" in refused(capsys, *command, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "work"
    assert "cannot be written" in refused(capsys, *command, tmp_path / "mine" / "below")


@pytest.mark.parametrize("only", ["0", "99", "3,99", "three", "", "3,", "3-4", "-1"])
def test_an_unknown_exercise_is_refused_before_anything_is_written(tmp_path, capsys, only):
    told = refused(capsys, "--blank", tmp_path / "copy", f"--only={only}")
    assert f"there are 1 to {len(EXERCISES)}" in told
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("number", ["0", "99", "one", "1.5"])
def test_an_unknown_bug_is_refused_before_anything_is_written(tmp_path, capsys, number):
    assert f"--bug {number}" in refused(capsys, "--bug", number, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--only", "3"], ["--blank"], ["--bug", "1"], ["--blank", "x", "--bug", "1", "y"], ["--blnk", "x"], ["x"]],
)
def test_a_command_line_that_makes_no_sense_is_refused(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    refused(capsys, *arguments)
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
    changed = with_body(SOURCE, "outer", "return x")
    assert changed == SOURCE[: SOURCE.index("    # a comment")] + "    return x\n" + SOURCE[SOURCE.index("\n\nclass") :]
    assert with_body(SOURCE, "outer.inner", "return 2 * q") == SOURCE.replace("return q", "return 2 * q")
    assert with_body(SOURCE, "Thing.outer", "return 2") == SOURCE.replace("return 1", "return 2")


def test_a_function_that_is_not_there_is_named():
    with pytest.raises(LookupError, match=r"Thing\.inner"):
        find(SOURCE, "Thing.inner")
    with pytest.raises(LookupError, match="2 definitions"):
        find(SOURCE + SOURCE, "outer")


def test_an_edit_must_fit_exactly_once():
    assert with_edits(SOURCE, "outer", [("return q", "return -q")]) == SOURCE.replace("return q", "return -q")
    with pytest.raises(LookupError, match="2 times"):
        with_edits(SOURCE, "outer", [("return ", "return 1 + ")])
    with pytest.raises(LookupError, match="0 times"):
        with_edits(SOURCE, "outer.inner", [("return inner(z)", "return z")])
