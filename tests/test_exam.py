"""The exam on held-out tasks: every figure of a row by hand, and recovery's frozen prefixes."""

import re

import pytest
from doubles import Corridor, ScriptedActor

from envs import Lab
from train import Exam, measure

POOR = {  # what it does for each wish; the last two again and again where they do not suffice
    "cup pantry": ["go garden", "take cup", "go pantry", "put cup"],
    "cup kitchen": ["go garden", "take cup", "go kitchen", "put cup"],
    "lamp pantry": ["go garden", "go office"],
    "ball pantry": ["go garage", "take ball", "put ball"],  # ends in the garage, for good
}
FETCH_LAMP = ["go garden", "go kitchen", "take lamp", "go pantry", "put lamp"]
BETTER = {**POOR, "lamp pantry": FETCH_LAMP}
TASKS = ["cup-pantry-hall-0", "cup-kitchen-hall-0", "lamp-pantry-hall-0", "ball-pantry-hall-0"]
CALLED_BAD = {  # by its judge: a false alarm, the first error, and the step before it
    "the cup is downstairs. put it in the pantry.": "take cup",
    "the lamp is downstairs. put it in the pantry.": "go garden",
    "the ball is downstairs. put it in the pantry.": "take ball",
}


def candidate(script):
    """An actor that follows the script, and calls Bad what CALLED_BAD names."""

    def verdict(turns):
        asked = turns[-1].rpartition("Action: ")[2]
        for wish, action in CALLED_BAD.items():
            if wish in turns[0] and asked.startswith(action):
                return "Bad"
        return "Good"

    def speak(turns, copy, luck):
        if turns[0].startswith("Judge"):
            return f"Judgment: {verdict(turns)}"
        thing, goal = re.match(r"the (\w+) is \w+\. put it in the (\w+)\.", turns[0]).groups()
        actions = script[f"{thing} {goal}"]
        t = len(turns) // 2
        if t >= len(actions):
            t = t % 2 - 2
        return f"Action: {actions[t]}"

    return ScriptedActor(speak)


def test_an_exam_by_hand():
    row, trajectories = measure(candidate(POOR), Exam("lab", Lab, TASKS), 2)
    assert [trajectory.task for trajectory in trajectories] == TASKS
    lengths = [len(trajectory.steps) for trajectory in trajectories]
    assert lengths == [4, 4, Lab.step_limit, 3]
    again = 1 - 2 / Lab.step_limit  # two steps, over and over
    assert row == {
        "tasks": 4,
        "score": 1 / 2,
        "success": 1 / 2,
        "loops": pytest.approx(again / 4),
        "loops_failed": pytest.approx(again / 2),
        "recovery": 0.0,
        "recovery_prefixes": 1,
        "recovery_left_out": 1,
        "begun_anew": None,
        "first_error_exact": 1 / 2,
        "first_error_within_1": 1.0,
        "false_alarms": 1 / 2,
    }


def test_recovery_is_measured_from_the_failures_of_the_first_exam():
    exam = Exam("lab", Lab, TASKS)
    measure(candidate(POOR), exam, 4)
    frozen = exam.prefixes
    (start,) = frozen
    assert start.task == "lamp-pantry-hall-0"
    assert [step.action for step in start.steps] == ["go garden"]
    row, _ = measure(candidate(BETTER), exam, 1)
    assert exam.prefixes is frozen
    assert (row["score"], row["recovery"]) == (3 / 4, 1.0)
    assert (row["recovery_prefixes"], row["recovery_left_out"]) == (1, 1)


def test_an_exam_without_failures_has_no_recovery():
    row, _ = measure(candidate(POOR), Exam("lab", Lab, TASKS[:2]), 4)
    assert (row["score"], row["recovery"]) == (1.0, None)
    assert (row["recovery_prefixes"], row["recovery_left_out"]) == (0, 0)
    assert (row["loops_failed"], row["first_error_exact"]) == (None, None)
    assert row["false_alarms"] == 1 / 2


def test_an_exam_in_a_world_without_an_expert_has_no_truth():
    exam = Exam("corridor", Corridor, ["test-0", "test-1"])
    actor = ScriptedActor(lambda turns, copy, luck: "Action: right")
    row, (one, other) = measure(actor, exam, 4)
    assert (one.score, other.score, exam.prefixes) == (1.0, 1.0, None)
    figures = {"tasks": 2, "score": 1.0, "success": 1.0, "loops": 0.0}
    assert {name: value for name, value in row.items() if value is not None} == figures
    with_truth, _ = measure(candidate(POOR), Exam("lab", Lab, TASKS[:1]), 4)
    assert row.keys() == with_truth.keys()
