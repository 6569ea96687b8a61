"""The exam on held-out tasks: every figure of a row by hand, and recovery's frozen prefixes."""

import re

import pytest
from doubles import Corridor, ScriptedActor, episode

from critique import Judged
from envs import Lab
from settings.exam import exact_as_used, first_step_off, judge_figures, off_the_gold_path
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


# --- the judge's marks


def test_the_judges_marks_by_hand():
    #        exact  near  near  far  missed  right, left alone  right, false alarm
    truth = [2, 2, 2, 5, 0, None, None, None]
    errors = [2, 1, 3, 2, None, None, None, 4]
    assert judge_figures(truth, errors) == {
        "first_error_exact": pytest.approx(1 / 5),
        "first_error_within_1": pytest.approx(3 / 5),
        "false_alarms": pytest.approx(1 / 3),
    }


def test_a_judge_that_is_two_steps_off_is_not_within_one():
    figures = judge_figures([3, 3, 3, 3, None, None], [3, 2, 5, None, None, 1])
    expected = {"first_error_exact": 0.25, "first_error_within_1": 0.5, "false_alarms": 0.5}
    assert figures == expected


def test_a_miss_is_not_near_the_first_step():
    assert judge_figures([0, 1], [None, None])["first_error_within_1"] == 0.0


def test_marks_that_nothing_could_earn_are_none():
    assert set(judge_figures([], []).values()) == {None}
    assert judge_figures([None], [None])["first_error_exact"] is None
    assert judge_figures([1], [1])["false_alarms"] is None


def test_truth_and_findings_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        judge_figures([1], [])


# --- the judge as it is used

SOLVED = ["go garden", "take cup", "go pantry", "put cup"]
LONG = ["go kitchen", "go garden", "go kitchen", "take lamp", "put lamp"]


def played(*actions):
    return episode(Lab, "cup-pantry-hall-0", *actions).trajectory


def test_the_share_of_first_errors_named_as_used_by_hand():
    long = played(*LONG)  # wrong at 0, right at 1, wrong from 2 on
    right = played("go kitchen", *SOLVED)  # right from 1 on
    cases = [
        (Judged(long, 0, 0), True),
        (Judged(long, 1, 2), True),
        (Judged(long, 1, 0), False),  # before it was asked
        (Judged(long, 1, None), False),  # none found
        (Judged(long, 3, 4), False),
        (Judged(long, 3, 3), True),
        (Judged(right, 1, None), True),
        (Judged(right, 1, 2), False),  # an error where none is
    ]
    for case, expected in cases:
        assert exact_as_used([case], Lab) == float(expected)
    assert exact_as_used([case for case, _ in cases], Lab) == 0.5
    assert exact_as_used([], Lab) is None
    silent = episode(Corridor, "test-0", "left", "left").trajectory
    assert exact_as_used([Judged(silent, 0, 0)], Corridor) is None


class Trail(Corridor):
    """A corridor that tells one way, from its start alone."""

    def gold(self):
        return ["right", "right"]


class ShortTrail(Trail):
    step_limit = 2


def walked(*actions, world=Trail):
    return episode(world, "test-0", *actions).trajectory


@pytest.mark.parametrize(
    ("actions", "prefix", "lost"),
    [
        (["right", "right"], None, 0),  # solved
        (["stay", "stay"], ["stay"], 0),
        (["right", "left", "stay"], ["right", "left"], 0),
        (["left", "stay"], None, 1),  # the path is too short from there
        (["right", "left", "left", "left"], ["right", "left"], 0),
        (["left", "left"], None, 1),
        (["right"], None, 0),  # its context was full before it went wrong
    ],
)
def test_where_a_way_is_known_from_the_start_alone_it_is_tried_behind_the_first_step_off_it(
    actions, prefix, lost
):
    starts, left_out = off_the_gold_path([walked(*actions)], Trail)
    assert [[step.action for step in start.steps] for start in starts] == (
        [prefix] if prefix else []
    )
    assert left_out == lost


def test_who_goes_on_behind_the_end_of_a_path_has_left_it():
    assert first_step_off(["right"], ["right", "right"]) == 1
    assert first_step_off([], ["right"]) == 0
    assert first_step_off(["right", "right"], ["right"]) is None


def test_a_known_way_must_fit_the_step_limit():
    assert off_the_gold_path([walked("stay", "stay", world=ShortTrail)], ShortTrail) == ([], 1)


def test_recovery_is_measured_from_there_and_the_judge_is_not_where_nobody_knows_an_error():
    def speak(turns, copy, luck):
        return "Action: stay" if len(turns) == 1 else "Action: right"

    row, _ = measure(ScriptedActor(speak), Exam("trail", Trail, ["test-0", "test-1"]), 2)
    assert row["score"] == 1.0
    assert (row["recovery"], row["recovery_prefixes"]) == (None, 0)
    exam = Exam("trail", Trail, ["test-0", "test-1"])
    idler = ScriptedActor(lambda turns, copy, luck: "Action: stay")
    row, _ = measure(idler, exam, 2)
    assert (row["recovery"], row["recovery_prefixes"], row["recovery_left_out"]) == (0.0, 2, 0)
    assert row["first_error_exact"] is None
    row, _ = measure(ScriptedActor(speak), exam, 2)
    assert (row["recovery"], row["recovery_prefixes"]) == (1.0, 2)
