"""Exercise 11, `critique.failed_prefixes`: where recovery is measured from (paper, Table 3).

A failed episode is cut just after its first error, which the world's truth tells.  A start from
which nobody could reach the goal within the step limit measures nothing; it is left out and
counted.

The world is `Street` in handmade.py: from house 2 three times `right` to house 5; `jump` ends the
episode at 0; seven steps at most.
"""

import pytest

import critique
from agent_r import Episode, Start, Step
from course.handmade import Street, check, hold, shown

pytestmark = pytest.mark.ex11


def played(*actions, task="test-0"):
    """The trajectory of these actions on the street."""
    episode = Episode(Street(), task)
    for action in actions:
        episode.act(f"Action: {action}")
    return episode.trajectory


def prefixes(*trajectories):
    """(the actions of each start, how many failures were left out)."""
    starts, lost = critique.failed_prefixes(trajectories, Street)
    for start in starts:
        kind = type(start).__name__
        hold(isinstance(start, Start), f"a start is a `Start`; got a {kind}")
    return [[step.action for step in start.steps] for start in starts], lost


FAILED = played("right", "left", "left", "left", "left", "left", "left")  # its first error: step 1
SOLVED = played("right", "right", "right")
JUMPED = played("right", "jump")


def test_shape_starts_and_a_number():
    got = critique.failed_prefixes([FAILED], Street)
    is_pair = isinstance(got, tuple) and len(got) == 2
    hold(is_pair, f"failed_prefixes returns (starts, left out); got {shown(got)}")
    starts, lost = got
    kinds = isinstance(starts, list) and type(lost) is int
    hold(kinds, f"starts are a list, left out is a number; got {shown(got)}")
    hold(len(starts) == 1, f"one failed episode gives one start; got {len(starts)}")
    kind = type(starts[0]).__name__
    hold(isinstance(starts[0], Start), f"a start is a `Start`; got a {kind}")
    check("the task of the start", starts[0].task, "test-0")
    are_steps = all(isinstance(step, Step) for step in starts[0].steps)
    hold(are_steps, f"a start holds the steps taken already; got {shown(starts[0].steps)}")


def test_example_the_error_belongs_to_the_prefix():
    check(
        "the start made of [right, left, left, ...], whose first error is step 1, and the left out",
        prefixes(FAILED),
        ([["right", "left"]], 0),
        (
            ([["right"]], 0),
            "recovery begins just after the error: step t belongs to the prefix",
        ),
        (
            ([["right", "left", "left"]], 0),
            "one step too many: the prefix ends with the error itself",
        ),
        (
            ([], 1),
            "the whole episode was replayed; only from just behind the error can one recover",
        ),
        (([["left"]], 0), "the steps up to the error, not the error alone"),
    )


def test_example_a_solved_episode_has_nothing_to_recover_from():
    cause = "a success is not a failure left out"
    check("the starts made of a solved episode", prefixes(SOLVED), ([], 0), (([], 1), cause))
    detour = played("left", "right", "right", "right", "right")
    check(
        "the starts made of one that erred first and reached house 5 all the same",
        prefixes(detour),
        ([], 0),
        (([["left"]], 0), "only failures"),
    )


def test_example_the_very_first_step_can_be_the_error():
    check(
        "the start made of [left, left, ...], whose first error is step 0",
        prefixes(played("left", "left", "left", "left", "left", "left", "left")),
        ([["left"]], 0),
        (([], 0), "step 0 is a step like any other, and 0 is not None: ask for None"),
        (([["left", "left"]], 0), "the search for an error begins at step 0"),
    )


def test_example_half_a_score_is_a_failure():
    half = played("right", "right", "left", "left", "left", "left", "left")
    check("the score of an episode that came as far as house 4", half.score, 0.5)
    cause = "an episode has failed if it is no success (`won`), which half a score is not"
    check("its start", prefixes(half), ([["right", "right", "left"]], 0), (([], 0), cause))


def test_edge_a_success_is_what_the_world_calls_one():
    class Generous(Street):
        """House 4 counts as a success, though it pays a half."""

        def act(self, action):
            observation = super().act(action)
            self.won = self.score >= 0.5
            return observation

    episode = Episode(Generous(), "test-0")
    for action in ("left", "right", "right", "right", "left", "left", "left"):
        episode.act(f"Action: {action}")
    cause = "whether an episode is a success is told by `Trajectory.won`, not by its score"
    got = critique.failed_prefixes([episode.trajectory], Generous)
    check("the starts made of a success that pays a half", got, ([], 0), (got, cause))


def test_edge_what_nothing_can_recover_from_is_left_out_and_counted():
    check(
        "the starts made of [right, jump]: the river ends the episode",
        prefixes(JUMPED),
        ([], 1),
        (
            ([["right", "jump"]], 0),
            "behind a fatal error there is nothing to recover: ask the world's expert for a way",
        ),
        (([], 0), "what is left out has to be counted"),
    )


def test_edge_a_way_that_no_longer_fits_the_step_limit_is_none():
    # A first error so late can only follow turns that the world never sees: revisions, then left.
    late = played("revise", "revise", "revise", "revise", "left")
    cause = "the steps taken and the way that is left must fit the step limit together"
    check(
        "the starts made of a failure whose error is its fifth turn: two are left, four needed",
        prefixes(late),
        ([], 1),
        (([["revise"] * 4 + ["left"]], 0), cause),
    )
    fits = played("revise", "revise", "left")
    check(
        "the start after three turns, four being needed and four left",
        prefixes(fits),
        ([["revise", "revise", "left"]], 0),
    )


def test_edge_a_failure_without_an_error_is_no_start_and_is_not_counted():
    cause = "the agent made no error: its context was full. There is no first error to cut after"
    check(
        "the starts made of [right, right], cut off by a full context",
        prefixes(played("right", "right")),
        ([], 0),
        (([], 1), cause),
        (([["right", "right"]], 0), cause),
    )


def test_edge_what_gives_no_start_ends_nothing():
    cause = "what gives no start is passed over; the episodes behind it are looked at all the same"
    check(
        "the starts made of a success, a failure without an error, a fatal one, and a failure",
        prefixes(SOLVED, played("right", "right"), JUMPED, FAILED),
        ([["right", "left"]], 1),
        (([], 0), cause),
        (([], 1), cause),
    )


def test_edge_an_episode_that_is_over_is_no_start_whatever_the_expert_says():
    class Ending(Street):
        """The expert names a way from the river too, but there the episode is over."""

        def expert(self):
            return ["right"] * (5 - self.house)

    got = critique.failed_prefixes([JUMPED], Ending)
    cause = "ask the episode whether it is over: nobody plays on from there"
    check("the starts made of an episode that its error ended", got, ([], 1), (got, cause))


def test_edge_no_episodes():
    check("the starts made of no episodes", prefixes(), ([], 0))


def random_episode(rng, task):
    """An episode of actions by lot, most of them right."""
    episode = Episode(Street(), task)
    while not episode.done:
        action = rng.choice(("left", "right", "right", "right", "stay", "jump"))
        episode.act(f"Action: {action}")
    return episode.trajectory


def test_property_starts_keep_their_order_and_every_one_can_be_won(rng):
    episodes = [random_episode(rng, f"test-{number}") for number in range(40)]
    starts, lost = critique.failed_prefixes(episodes, Street)
    failed = [episode.task for episode in episodes if not episode.won]
    check("starts and failures left out, together", len(starts) + lost, len(failed))
    tasks = [start.task for start in starts]
    in_order = [task for task in failed if task in tasks]
    hold(tasks == in_order, f"the starts keep the order of the episodes; got {tasks}")
    for start in starts:
        world = Street()
        again = Episode(world, start.task, start.steps)
        way = world.expert()
        hold(way and not again.done, f"from {again.trajectory.actions} nobody reaches house 5")
        needs = f"from {again.trajectory.actions} it takes {len(way)} more steps"
        fits = len(start.steps) + len(way) <= world.step_limit
        hold(fits, f"{needs}; only 7 are allowed")
