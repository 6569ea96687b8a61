"""Exercise 7, `critique.splice`: the revision trajectory and what of it is learned (Phase I).

[shared beginning, bad actions up to and including t'], revision turn, [good actions after the fork]
                 context, not learned                      learned        as learned as they were
"""

import copy

import pytest

import critique
from agent_r import REVISE, REVISE_ANSWER, Trajectory
from course.handmade import check, hold, shown, trajectory
from envs import ANSWERED, CHANGED, REFUSED

pytestmark = pytest.mark.ex7

# They part after one step; the first error is step 2, taking the lamp.
BAD = trajectory(
    "cup-pantry",
    ("go hall", "hall: nothing.", 0.0, ANSWERED),
    ("go kitchen", "kitchen: lamp, no cup.", 0.125, CHANGED),
    ("take lamp", "taken.", 0.25, CHANGED),
    ("put lamp", "that breaks it.", 0.0),
)
BAD.steps[2].won = False
GOOD = trajectory(
    "cup-pantry",
    ("go hall", "hall: nothing.", 0.0, ANSWERED),
    ("go garden", "garden: cup.", 0.25, CHANGED),
    ("take cup", "taken.", 0.5, CHANGED),
    ("put cup", "done.", 1.0),
)
GOOD.steps[-1].won = True
SHARED = 1
ERROR = 2
THOUGHT = "that was wrong."
BEFORE = ["go hall", "go kitchen", "take lamp"]
AFTER = ["go garden", "take cup", "put cup"]


def splice(bad=BAD, good=GOOD, *, shared=SHARED, error=ERROR, **ours):
    """The splice of copies, so that a solution that changes them spoils no other test."""
    bad = copy.deepcopy(bad)
    good = copy.deepcopy(good)
    try:
        return critique.splice(bad, good, shared, error, THOUGHT, **ours)
    except ValueError as problem:
        if shared <= error < len(bad.steps):
            where = f"t' = {error} lies behind the {shared} shared steps and before the end"
            pytest.fail(f"{where}: nothing to refuse; got {problem!r}", pytrace=False)
        raise


def marks(revision):
    """Whether each step is learned."""
    return [step.learned for step in revision.steps]


def test_shape_a_trajectory_whose_steps_know_whether_they_are_learned():
    revision = splice()
    hold(isinstance(revision, Trajectory), f"splice returns a Trajectory; got {shown(revision)}")
    are_bools = all(type(mark) is bool for mark in marks(revision))
    hold(are_bools, f"`learned` of a step is True or False; got {marks(revision)}")
    head = (revision.task, revision.instruction, revision.observation)
    expected = (BAD.task, BAD.instruction, BAD.observation)
    check("task, instruction and first observation", head, expected)
    bad = copy.deepcopy(BAD)
    bad.told = "answer with an action."
    cause = "what the agent is told before the task is kept: it is `bad` with other steps"
    check("what is told before the task", splice(bad).told, bad.told, ("", cause))


def test_example_the_actions():
    keep = "the bad part ends with t'; keeping the whole failure is Direct-Revision"
    check(
        "the actions of the revision, parted after 1 step, t' = 2",
        splice().actions,
        [*BEFORE, REVISE, *AFTER],
        (
            ["go hall", "go kitchen", REVISE, *AFTER],
            "t' itself belongs to the context: the agent must see its error",
        ),
        ([*BAD.actions, REVISE, *AFTER], keep),
        (
            [*BEFORE, REVISE, *GOOD.actions],
            "the good actions begin behind the shared node, not at the root",
        ),
        (
            [*BEFORE, REVISE, "put cup"],
            "the good actions begin behind the shared node, not behind t'",
        ),
        (
            [*BEFORE, REVISE, "take cup", "put cup"],
            "the first good action behind the shared node is missing",
        ),
        (
            [*BEFORE, *AFTER],
            "the revision turn is missing, in which the agent says that it was wrong",
        ),
        (
            ["go hall", REVISE, *AFTER],
            "the bad actions behind the shared node, up to t', are missing",
        ),
        (
            [*BEFORE, "wait", *AFTER],
            "the action of the revision turn is REVISE; `wait` is a real action of ScienceWorld",
        ),
    )


def test_example_what_is_learned():
    never = [False] * 3
    always = [True] * 4
    check(
        "what is learned of [hall, kitchen, lamp | revise | garden, cup, put]",
        marks(splice()),
        never + always,
        ([True] * 7, "bad actions are context: learned, they train the agent to err"),
        ([True, False, False, *always], "the shared beginning is context as well"),
        ([False] * 4 + [True] * 3, "the revision turn is learned: noticing the error is the point"),
        ([*never, True, False, False, False], "the good actions behind the revision are learned"),
        ([False, False, True, *always], "t' is a bad action: it is not learned"),
        ([False] * 7, "nothing would be learned"),
    )


def test_example_the_revision_turn():
    turn = splice().steps[3]
    check("what the agent says", turn.reply, f"Thought: {THOUGHT}\nAction: {REVISE}")
    check(
        "its action and its answer, which the agent's own loop gives",
        (turn.action, turn.observation),
        (REVISE, REVISE_ANSWER),
    )
    cause = "the world has not seen this turn, so the score is what it was after t'"
    check("the score after it", turn.score, 0.25, (turn.score, cause))
    cause = "`learned` stands behind `effect` in a step: give it by its name"
    check("its effect, as no world has seen it", turn.effect, "", (turn.effect, cause))


def test_example_what_the_world_told_of_each_action_is_kept():
    effects = [ANSWERED, CHANGED, CHANGED, "", CHANGED, CHANGED, ""]
    cause = "only `learned` differs from the tree's step; this is lost: use `replace`"
    lost = (["", "", "", "", *effects[4:]], [*effects[:4], "", "", ""], [""] * 7)
    got = [step.effect for step in splice().steps]
    check("the effects of the revision's steps", got, effects, *((one, cause) for one in lost))
    won = [None, None, False, None, None, None, True]
    lost = ([None] * 6 + [True], [None, None, False] + [None] * 4, [None] * 7)
    got = [step.won for step in splice().steps]
    what = "whether the world called it a success, after each step"
    check(what, got, won, *((one, cause) for one in lost))


def test_example_the_trajectories_themselves_stay_as_they_are():
    bad, good = copy.deepcopy((BAD, GOOD))
    critique.splice(bad, good, SHARED, ERROR, THOUGHT)
    spoilt = "the trajectories are the tree's and used again: splice must not change"
    hold(bad == BAD, f"{spoilt} the bad one")
    hold(good == GOOD, f"{spoilt} the good one")


def test_example_observations_are_kept_as_they_were_recorded():
    seen = [step.observation for step in splice().steps]
    bad = [step.observation for step in BAD.steps[:3]]
    good = [step.observation for step in GOOD.steps[1:]]
    check("the observations of the revision", seen, [*bad, REVISE_ANSWER, *good])
    what = "its score, that of the good trajectory: r(revision) = r(good)"
    check(what, splice().score, 1.0)


def test_edge_the_error_is_the_first_action_behind_the_fork_or_the_last_of_all():
    first = splice(error=1).actions
    check("the actions with t' = 1", first, ["go hall", "go kitchen", REVISE, *AFTER])
    last = splice(error=3).actions
    check("the actions with t' = 3, the last step", last, [*BAD.actions, REVISE, *AFTER])


def test_edge_parted_at_the_root():
    revision = splice(shared=0, error=0)
    expected = ["go hall", REVISE, *GOOD.actions]
    check("the actions, parted at once, t' = 0", revision.actions, expected)
    check("what is learned of them", marks(revision), [False] + [True] * 5)


@pytest.mark.parametrize(
    ("error", "place"),
    [(0, "in the shared beginning"), (4, "behind the end of the bad trajectory")],
)
def test_edge_an_error_that_no_bad_action_made_is_refused(error, place):
    where = f"t' = {error} lies {place}"
    try:
        got = splice(error=error)
    except ValueError:
        return
    except IndexError as problem:
        pytest.fail(f"{where}: say so with a ValueError; got {problem!r}", pytrace=False)
    pytest.fail(f"{where}: ValueError expected; got the actions {got.actions}", pytrace=False)


def test_edge_what_the_good_episode_took_back_itself_is_not_learned():
    good = trajectory(
        "cup-pantry",
        ("go hall", "hall: nothing.", 0.0),
        ("go office", "office: key, no cup.", 0.0),
        (REVISE, REVISE_ANSWER, 0.0),
        ("go garden", "garden: cup.", 0.25),
        ("put cup", "done.", 1.0),
    )
    good.steps[1].learned = False  # it went to the office and took that back
    check(
        "what is learned of [hall, kitchen, lamp | revise | office, revise, garden, put]",
        marks(splice(good=good)),
        [False] * 3 + [True] + [False, True, True, True],
        ([False] * 3 + [True] * 5, "the good steps are as learned as they were, not all learned"),
        (
            [False] * 3 + [True] + [True, False, True, True],
            "a good step keeps its own mark; these are counted from the root",
        ),
    )


def test_edge_the_good_steps_keep_the_marks_they_have():
    good = copy.deepcopy(GOOD)
    good.steps[1].learned = False
    good.steps[3].learned = False
    check(
        "what is learned if the good steps are learned by [True, False, True, False]",
        marks(splice(good=good)),
        [False] * 3 + [True] + [False, True, False],
        ([False] * 3 + [True] * 4, "the good steps are as learned as they were, not anew"),
        (
            [False] * 3 + [True] + [True, False, True],
            "a good step keeps its own mark; these are counted from the root",
        ),
    )


def test_edge_whether_an_idle_step_is_learned_was_decided_before():
    good = copy.deepcopy(GOOD)
    good.steps[2].effect = REFUSED
    check(
        "what is learned if a good step was refused and is learned, as with --idle learned",
        marks(splice(good=good)),
        [False] * 3 + [True] * 4,
        (
            [False] * 3 + [True, True, False, True],
            "`learnable` has marked the good steps already, by the run's settings: keep the marks",
        ),
    )


def test_edge_one_step_back():
    revision = splice(back=1)
    check(
        "the actions with back = 1",
        revision.actions,
        [*BEFORE, REVISE, "go hall", *AFTER],
        (
            [*BEFORE, REVISE, *AFTER],
            "with `back` the good steps begin that many before the shared node",
        ),
        ([*BEFORE, REVISE, *AFTER[1:]], "`back` steps before the shared node, not behind it"),
    )
    check("what is learned of them", marks(revision), [False] * 3 + [True] * 5)


def test_edge_two_steps_back():
    revision = splice(shared=2, back=2)
    expected = [*BEFORE, REVISE, *GOOD.actions]
    cause = "`back` is a number of steps: here the good steps begin two before the shared node"
    less = ([*BEFORE, REVISE, *GOOD.actions[1:]], cause)
    check("the actions, parted after 2 steps, back = 2", revision.actions, expected, less)


def test_property_every_place_to_part_and_to_err(rng):
    drawn = rng.randrange(1000)
    bad, good = (
        trajectory("task", *((f"{name} {drawn}-{number}", "seen.", 0.0) for number in range(6)))
        for name in ("bad", "good")
    )
    for shared in range(6):
        for error in range(shared, 6):
            revision = critique.splice(bad, good, shared, error, THOUGHT)
            context = bad.actions[: error + 1]
            where = f"parted after {shared} steps, t' = {error}"
            expected = [*context, REVISE, *good.actions[shared:]]
            check(f"the actions, {where}", revision.actions, expected)
            learned = [False] * len(context) + [True] * (1 + 6 - shared)
            check(f"what is learned, {where}", marks(revision), learned)
