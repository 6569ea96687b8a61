"""Exercise 12, `Trajectory.loops`: the share of steps that repeat others (paper, Figure 4)."""

import numbers

import pytest

from agent_r import NO_ACTION, REVISE
from course.handmade import check, hold, trajectory

pytestmark = pytest.mark.ex12


def loops(*turns):
    """`loops` of the trajectory of these (action, observation) pairs."""
    played = trajectory("task", *((action, observation, 0.0) for action, observation in turns))
    try:
        return played.loops()
    except ZeroDivisionError:
        pass
    problem = f"no step is left to take a share of in {turns}: the share of loops is then 0"
    pytest.fail(problem, pytrace=False)


def test_shape_a_share():
    got = loops(("go hall", "hall."), ("go hall", "hall."))
    is_share = isinstance(got, numbers.Real) and 0 <= got <= 1
    hold(is_share, f"loops is a share, between 0 and 1; got {got!r}")


def test_example_five_steps_of_which_two_repeat():
    turns = [
        ("go hall", "hall."),
        ("take cup", "no cup."),
        ("go hall", "hall."),
        ("go garden", "garden."),
        ("take cup", "no cup."),
    ]
    check(
        "loops of [hall, cup, hall, garden, cup] with the same answers each time",
        loops(*turns),
        0.4,
        (0.0, "a loop need not be immediate: any pair already seen in the episode counts"),
        (2, "loops is a share of the steps, not a number of them"),
        (0.6, "this is the share of different steps; loops are the others"),
        (2 / 3, "the share is of all steps, not of the different ones"),
        (0.8, "the first time is no repetition"),
        (0.5, "the share is of all steps"),
    )


def test_edge_the_same_action_with_another_answer_is_no_loop():
    check(
        "loops of taking the cup twice, first in vain and then with success",
        loops(("take cup", "no cup."), ("take cup", "taken.")),
        0.0,
        (0.5, "a loop repeats action and observation: here something new was seen"),
    )


def test_edge_another_action_with_the_same_answer_is_no_loop():
    check(
        "loops of two actions that are answered alike",
        loops(("take cup", "that is not here."), ("take lamp", "that is not here.")),
        0.0,
        (0.5, "a loop repeats action and observation: here something new was tried"),
    )


def test_edge_a_revision_is_neither_a_loop_nor_a_step_to_count():
    hall = ("go hall", "hall.")
    garden = ("go garden", "garden.")
    revise = (REVISE, "ok.")
    check(
        "loops of [hall, revise, garden, revise, hall]",
        loops(hall, revise, garden, revise, hall),
        1 / 3,
        (0.4, "two revisions are not a loop: leave them out"),
        (0.2, "revisions are left out of the number of steps as well"),
    )


def test_edge_a_turn_without_an_action_is_a_step():
    silence = ("", NO_ACTION)
    check(
        "loops of [hall, nothing, nothing], where nothing is a turn without an action",
        loops(("go hall", "hall."), silence, silence),
        1 / 3,
        (0.0, "a turn without an action is a step like any other, and may be repeated"),
        (1 / 2, "a turn without an action counts among the steps"),
    )


def test_edge_no_steps():
    check("loops of an episode without a step", loops(), 0.0)
    check("loops of an episode of one revision", loops((REVISE, "ok.")), 0.0)


def test_edge_a_revision_right_behind_another_is_a_repeat():
    revise = (REVISE, "ok.")
    check(
        "loops of an episode of four revisions and nothing else",
        loops(revise, revise, revise, revise),
        1.0,
        (0.0, "who says nothing but `revise` loops"),
        (0.75, "the first revision is no step to count"),
        (2 / 3, "a revision right behind another is a repeat"),
    )
    check(
        "loops of [hall, revise, revise, garden]",
        loops(("go hall", "hall."), revise, revise, ("go garden", "garden.")),
        1 / 3,
        (0.0, "a revision right behind another is a step, and a repeat"),
        (1 / 2, "a revision right behind another counts among the steps too"),
        (1 / 4, "a revision behind an action is no step to count"),
    )
    check(
        "loops of [hall, revise, revise, revise]",
        loops(("go hall", "hall."), revise, revise, revise),
        2 / 3,
        (1 / 2, "each revision that stands right behind another is a repeat, the third too"),
    )


def test_property_the_order_of_the_steps_does_not_matter_and_repeats_add_up(rng):
    for _ in range(30):
        different = rng.randint(1, 5)
        repeated = rng.randint(0, 5)
        turns = [(f"go {number}", "a room.") for number in range(different)]
        turns += [rng.choice(turns) for _ in range(repeated)]
        rng.shuffle(turns)
        what = f"loops of {different} different steps and {repeated} repeated ones"
        check(what, loops(*turns), repeated / (different + repeated))
