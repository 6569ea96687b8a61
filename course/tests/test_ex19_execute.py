"""Exercise 19, `critique.execute`: a splice is played, and kept if it holds (ours, beside Phase I).

What was good at the shared node cannot always be done from where the error led.  So the actions of
a splice are given to the world, and what it really answers is kept.

The worlds are `Street` and `Boxes` in handmade.py, and a street with a toll.
"""

import copy

import pytest

import critique
from agent_r import REVISE, REVISE_ANSWER, Trajectory
from course.handmade import Boxes, Street, check, hold, shown, trajectory
from envs import EpisodeLostError

pytestmark = pytest.mark.ex19


class Losing(Street):
    """A street whose world loses the episode at a step to the left, as a server may."""

    def act(self, action):
        if action == "left":
            raise EpisodeLostError("the world has lost the episode")
        return super().act(action)


class Toll(Street):
    """A street on which a step to the left costs an eighth; house 5 is a success all the same."""

    def begin(self, task):
        self.toll = 0.0
        return super().begin(task)

    def act(self, action):
        self.toll += 0.125 if action == "left" else 0.0
        answer = super().act(action)
        self.won = self.done and self.house == 5
        if self.won:
            self.score = 1.0 - self.toll
        return answer


def splice(*actions, score=1.0, context=0):
    """A splice of these actions, `context` of them not learned, that promises this score."""
    turns = [(action, "as it was recorded.", 0.0) for action in actions]
    made = trajectory("test-0", *turns)
    for step in made.steps[:context]:
        step.learned = False
    if made.steps:
        made.steps[-1].score = score
    return made


def execute(made, world=None):
    """What the world makes of a copy of it."""
    try:
        got = critique.execute(world or Street(), copy.deepcopy(made))
    except ValueError as error:
        if "is over" not in str(error):
            raise
        problem = "an action was taken behind the end: ask `episode.done` before each reply"
        pytest.fail(f"{problem} ({error})", pytrace=False)
    fits = got is None or isinstance(got, Trajectory)
    hold(fits, f"execute returns a Trajectory, or None; got {shown(got)}")
    return got


GOING_BACK = splice("left", REVISE, "right", "right", "right", "right", context=1)


def test_shape_a_trajectory_or_none():
    got = execute(GOING_BACK)
    cause = "the last action may end the episode: only what comes behind the end is too much"
    happy = isinstance(got, Trajectory)
    hold(happy, f"this splice can be carried out; got {shown(got)}\n  likely cause: {cause}")
    check("its task", got.task, "test-0")


def test_example_the_observations_are_the_worlds_own():
    got = execute(GOING_BACK)
    hold(got is not None, "this splice reaches house 5: it is kept")
    seen = [step.observation for step in got.steps]
    recorded = ["as it was recorded."] * 6
    check(
        "the observations of [left, revise, right, right, right, right]",
        seen,
        ["house 1.", REVISE_ANSWER, "house 2.", "house 3.", "house 4.", "house 5."],
        (recorded, "what was recorded may never come: keep what the world answers now"),
        (
            ["house 1.", "nothing happens.", "house 2.", "house 3.", "house 4.", "house 5."],
            "the agent's own loop answers `revise`, no world: give each reply to `Episode.act`",
        ),
    )
    check("the actions", got.actions, GOING_BACK.actions)
    check("the scores", [step.score for step in got.steps], [0.0, 0.0, 0.0, 0.0, 0.5, 1.0])


def test_example_a_step_stays_as_learned_as_it_was():
    got = execute(GOING_BACK)
    hold(got is not None, "this splice reaches house 5: it is kept")
    check(
        "what is learned of the executed splice, its first step being context",
        [step.learned for step in got.steps],
        [False] + [True] * 5,
        ([True] * 6, "give `Episode.act` the step's own `learned`: the bad action is context"),
    )


def test_example_the_replies_are_kept_word_for_word():
    made = copy.deepcopy(GOING_BACK)
    made.steps[0].reply = "Thought: house 5 is behind me.\nAction: left"
    made.steps.insert(0, copy.deepcopy(made.steps[0]))
    made.steps[0].reply = "i do not know."
    made.steps[0].action = ""
    got = execute(made)
    hold(got is not None, "this splice reaches house 5 within seven steps: it is kept")
    said = [step.reply for step in got.steps]
    actions = ["Action: ", *(f"Action: {action}" for action in GOING_BACK.actions)]
    cause = "the thoughts are lost: give `Episode.act` the step's own reply"
    check("the replies", said, [step.reply for step in made.steps], (actions, cause))


def test_example_what_falls_short_is_not_kept():
    # From house 1 three steps lead to house 4 alone, which pays half.
    cause = "the splice promised 1, the world pays 0.5: from where the error led it cannot be done"
    got = execute(splice("left", REVISE, "right", "right", "right", context=1))
    check("what becomes of a splice that misses house 5", got, None, (got, cause))


def test_edge_the_score_that_was_promised_is_enough():
    got = execute(splice("right", "right", "left", score=0.5))
    rule = "r(executed) >= r(splice) is enough: half was promised, and half is paid"
    hold(got is not None, f"a splice was thrown away\n  likely cause: {rule}")
    near = execute(splice("right", "right", "left", score=0.505))
    rule = "a hundredth less than was promised is less"
    check("what becomes of a splice that promises 0.505 and pays 0.5", near, None, (near, rule))
    better = execute(splice("right", "right", "right", score=0.5))
    rule = "more than was promised is kept as well"
    hold(better is not None, f"a splice was thrown away\n  likely cause: {rule}")


def test_edge_an_episode_that_ends_early_is_not_kept():
    cause = "the episode was over before the last action: behind the end nothing can be done"
    got = execute(splice("right", "right", "right", "left"))
    check("what becomes of actions behind the end of an episode", got, None, (got, cause))
    got = execute(splice("jump", REVISE, "right", "right", "right", score=0.0))
    check("what becomes of a splice behind the river", got, None, (got, cause))


def test_edge_the_step_limit_ends_an_episode_too():
    on_time = splice("left", "left", REVISE, "right", "right", "right", "right", score=0.5)
    rule = "seven steps fit the limit of seven and pay the half that was promised"
    hold(execute(on_time) is not None, f"{rule}: the last may be the end")
    late = splice("left", "left", *["right"] * 6, score=0.5)
    check("what becomes of eight steps, seven being allowed", execute(late), None)


def test_edge_an_episode_that_is_lost_is_not_kept():
    cause = "the world lost the episode, at the last reply too: it was not carried out (`lost`)"
    for actions in (("right", "right", "left"), ("right", "right", "left", "right")):
        got = execute(splice(*actions, score=0.5), Losing())
        check(f"what becomes of {list(actions)}, lost at left", got, None, (got, cause))


def test_edge_a_success_that_pays_less_is_kept():
    got = execute(splice("left", REVISE, *["right"] * 4, context=1), Toll())
    rule = "a longer way may pay a little less: what the world calls a success is kept (`won`)"
    hold(got is not None, f"a splice was thrown away\n  likely cause: {rule}")
    check("what it pays", got.score, 0.875)


def test_edge_a_world_that_goes_another_way():
    # In Boxes the white box jams the next one, so that the recorded way falls short.
    made = splice("open white", REVISE, "open red", "take")
    made.task = "red-test-0"
    check("what becomes of a splice that jams", execute(made, Boxes()), None)
    again = splice("open white", REVISE, "open red", "open red", "take")
    again.task = "red-test-0"
    got = execute(again, Boxes())
    hold(got is not None, "opened twice the box gives way: this splice is kept")
    seen = [step.observation for step in got.steps]
    check("what the world answered", seen, ["empty.", REVISE_ANSWER, "stuck.", "coin.", "taken."])


def test_edge_the_splice_itself_is_left_as_it_was():
    made = copy.deepcopy(GOING_BACK)
    critique.execute(Street(), made)
    hold(made == GOING_BACK, "the splice is used again: execute must not change it")


def test_property_splices_by_lot_are_kept_where_a_walk_by_hand_gets_there(rng):
    credit = {4: 0.5, 5: 1.0}
    kept = 0
    for _ in range(80):
        actions = rng.choices(("right", "left", REVISE), (5, 2, 1), k=rng.randint(1, 8))
        promised = rng.choice((0.0, 0.5, 1.0))
        house = 2
        best = 0.0
        taken = 0
        for action in actions:
            if house == 5 or taken == 7:
                break
            house = max(0, house + {"right": 1, "left": -1}.get(action, 0))
            best = max(best, credit.get(house, 0.0))
            taken += 1
        expected = taken == len(actions) and best >= promised
        got = execute(splice(*actions, score=promised))
        what = f"whether a splice of {actions} that promises {promised} is kept"
        check(what, got is not None, expected)
        kept += expected
    hold(kept > 5, "some of these are kept")
