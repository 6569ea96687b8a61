"""Exercise 7, `critique.splice`: the revision trajectory and what of it is learned (paper, Phase I).

instruction, [shared beginning, bad actions up to and including t'], revision turn, [good actions after the fork]
              context, not learned                                    learned        learned
"""

import copy

import pytest
from handmade import check, hold, told

import critique
from agent_r import REVISE, REVISE_ANSWER, Trajectory

pytestmark = pytest.mark.ex7

# They part after one step; the first error is step 2, taking the lamp.
BAD = told(
    "cup-pantry",
    ("go hall", "hall: nothing.", 0.0),
    ("go kitchen", "kitchen: lamp, no cup.", 0.125),
    ("take lamp", "taken.", 0.25),
    ("put lamp", "that breaks it.", 0.0),
)
GOOD = told(
    "cup-pantry",
    ("go hall", "hall: nothing.", 0.0),
    ("go garden", "garden: cup.", 0.25),
    ("take cup", "taken.", 0.5),
    ("put cup", "done.", 1.0),
)
SHARED, ERROR, THOUGHT = 1, 2, "that was wrong."
BEFORE, AFTER = ["go hall", "go kitchen", "take lamp"], ["go garden", "take cup", "put cup"]


def splice(bad=BAD, good=GOOD, shared=SHARED, error=ERROR, **ours):
    try:
        return critique.splice(copy.deepcopy(bad), copy.deepcopy(good), shared, error, THOUGHT, **ours)
    except ValueError as problem:
        if shared <= error < len(bad.steps):
            where = f"t' = {error} lies behind the {shared} shared steps and within the {len(bad.steps)} of the bad one"
            pytest.fail(f"{where}: nothing to refuse; got {problem!r}", pytrace=False)
        raise


def actions(trajectory):
    return [step.action for step in trajectory.steps]


def test_shape_a_trajectory_and_a_flag_for_each_of_its_steps():
    got = splice()
    hold(isinstance(got, tuple) and len(got) == 2, f"splice returns (trajectory, flags); got {got!r}")
    revision, flags = got
    hold(isinstance(revision, Trajectory), f"the revision is a Trajectory; got {revision!r}")
    counted = f"{len(revision.steps)} steps, {len(flags)} flags"
    hold(len(revision.steps) == len(flags), f"each step has a flag, the revision turn as well; got {counted}")
    hold(all(type(flag) is bool for flag in flags), f"a flag is True or False; got {flags}")
    head = (revision.task, revision.instruction, revision.observation)
    check("task, instruction and first observation", head, (BAD.task, BAD.instruction, BAD.observation))


def test_example_the_actions():
    check(
        "the actions of the revision, parted after 1 step, t' = 2",
        actions(splice()[0]),
        [*BEFORE, REVISE, *AFTER],
        (["go hall", "go kitchen", REVISE, *AFTER], "t' itself belongs to the context: the agent must see its error"),
        ([*actions(BAD), REVISE, *AFTER], "the bad part ends with t'; keeping the whole failure is Direct-Revision"),
        ([*BEFORE, REVISE, *actions(GOOD)], "the good actions begin behind the shared node, not at the root"),
        ([*BEFORE, REVISE, "put cup"], "the good actions begin behind the shared node, not behind t'"),
        ([*BEFORE, REVISE, "take cup", "put cup"], "the first good action behind the shared node is missing"),
        ([*BEFORE, *AFTER], "the revision turn is missing, in which the agent says that it was wrong"),
        (["go hall", REVISE, *AFTER], "the bad actions behind the shared node, up to t', are missing"),
        (
            [*BEFORE, "wait", *AFTER],
            "the action of the revision turn is REVISE; `wait` is a real action of ScienceWorld",
        ),
    )


def test_example_what_is_learned():
    never, always = [False] * 3, [True] * 4
    check(
        "the loss flags of [hall, kitchen, lamp | revise | garden, cup, put]",
        splice()[1],
        never + always,
        ([True] * 7, "bad actions are context: with loss=True the agent is trained to err"),
        ([True, False, False, *always], "the shared beginning is context as well"),
        ([False] * 4 + [True] * 3, "the revision turn is learned: noticing the error is what Agent-R teaches"),
        ([*never, True, False, False, False], "the good actions behind the revision turn are learned"),
        ([False, False, True, *always], "t' is a bad action: it is not learned"),
        ([False] * 7, "nothing would be learned"),
    )


def test_example_the_revision_turn():
    turn = splice()[0].steps[3]
    check("what the agent says", turn.reply, f"Thought: {THOUGHT}\nAction: {REVISE}")
    check(
        "its action and its answer, which the agent's own loop gives",
        (turn.action, turn.observation),
        (REVISE, REVISE_ANSWER),
    )
    cause = "the world has not seen this turn, so the score is what it was after t'"
    check("the score after it", turn.score, 0.25, (turn.score, cause))


def test_example_observations_are_kept_as_they_were_recorded():
    seen = [step.observation for step in splice()[0].steps]
    expected = [s.observation for s in BAD.steps[:3]] + [REVISE_ANSWER] + [s.observation for s in GOOD.steps[1:]]
    check("the observations of the revision", seen, expected)
    check("its score, that of the good trajectory: r(revision) = r(good)", splice()[0].score, 1.0)


def test_edge_the_error_is_the_first_action_behind_the_fork_or_the_last_of_all():
    check("the actions with t' = 1", actions(splice(error=1)[0]), ["go hall", "go kitchen", REVISE, *AFTER])
    check("the actions with t' = 3, the last step", actions(splice(error=3)[0]), [*actions(BAD), REVISE, *AFTER])


def test_edge_parted_at_the_root():
    revision, flags = splice(shared=0, error=0)
    check("the actions, parted at once, t' = 0", actions(revision), ["go hall", REVISE, *actions(GOOD)])
    check("their flags", flags, [False] + [True] * 5)


@pytest.mark.parametrize("error", [0, 4])
def test_edge_an_error_that_no_bad_action_made_is_refused(error):
    where = "lies in the shared beginning" if error == 0 else "lies behind the end of the bad trajectory"
    try:
        got = splice(error=error)
    except ValueError:
        return
    except IndexError as problem:
        pytest.fail(f"t' = {error} {where}: say so with a ValueError; got {problem!r}", pytrace=False)
    pytest.fail(f"t' = {error} {where}: ValueError expected; got the actions {actions(got[0])}", pytrace=False)


def test_edge_what_the_good_episode_took_back_itself_is_not_learned():
    good = copy.deepcopy(GOOD)
    for at, action in ((1, "go office"), (2, REVISE)):
        good.steps.insert(at, told("", (action, "ok.", 0.0)).steps[0])
    # good: hall, office, revise, garden, take cup, put cup: going to the office was taken back.
    check(
        "the flags of [hall, kitchen, lamp | revise | office, revise, garden, cup, put]",
        splice(good=good)[1],
        [False] * 3 + [True] + [False, True, True, True, True],
        ([False] * 3 + [True] * 6, "ask `good.learned()`: the step that it took back is context"),
        (
            [False] * 3 + [True] + [True, False, True, True, True],
            "take the flags from the shared node on, like the steps",
        ),
    )


def test_edge_flags_that_are_given_stand():
    check(
        "the flags with learned = [True, False, True, False] for the good trajectory",
        splice(learned=[True, False, True, False])[1],
        [False] * 3 + [True] + [False, True, False],
        ([False] * 3 + [True] + [True, True, True], "`learned`, if given, decides for the good steps"),
        ([False] * 3 + [True] + [True, False, True], "flags are taken from the shared node on, like the steps"),
        ([False] * 3 + [True] + [True, False, True, False], "flags are taken from the shared node on, like the steps"),
    )


def test_edge_one_step_back():
    revision, flags = splice(back=1)
    check(
        "the actions with back = 1",
        actions(revision),
        [*BEFORE, REVISE, "go hall", *AFTER],
        ([*BEFORE, REVISE, *AFTER], "with `back` the good steps begin that many before the shared node"),
        ([*BEFORE, REVISE, *AFTER[1:]], "`back` steps before the shared node, not behind it"),
    )
    check("their flags", flags, [False] * 3 + [True] * 5)


def test_property_every_place_to_part_and_to_err():
    bad, good = (told("task", *((f"{name}{i}", f"o{i}", 0.0) for i in range(6))) for name in ("b", "g"))
    kept, spoilt = (
        copy.deepcopy((bad, good)),
        "the trajectories of the tree are used again: splice must not change them",
    )
    for shared in range(6):
        for error in range(shared, 6):
            revision, flags = critique.splice(bad, good, shared, error, THOUGHT)
            expected = [f"b{i}" for i in range(error + 1)] + [REVISE] + [f"g{i}" for i in range(shared, 6)]
            hold((bad, good) == kept, spoilt)
            check(f"the actions, parted after {shared} steps, t' = {error}", actions(revision), expected)
            check("how many flags are True: the revision turn and the good steps", sum(flags), 1 + 6 - shared)
