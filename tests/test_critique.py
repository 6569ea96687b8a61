"""The critique: pairs, the first error, the splice, its check by replay, the dataset, figures."""

import copy
import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from doubles import Corridor, ScriptedActor, episode, grow, lab_player, tiny_actor

import critique
import envs
import mcts
from agent_r import REVISE, Episode, Start, Step, Trajectory, parse_action, play
from critique import (
    CRITICS,
    IDLE,
    REVISION_THOUGHTS,
    CritiqueSettings,
    Example,
    Pair,
    Revisions,
    criticise,
    errors_by_critic,
    execute,
    failed_prefixes,
    find_first_errors,
    good_examples,
    idle_steps,
    learnable,
    pair_leaves,
    preference_examples,
    shared_steps,
    splice,
    transition_point,
    verified_splice,
)
from engine.dialogues import Dialogues, Sampling
from envs import ANSWERED, CHANGED, REFUSED, Lab
from mcts import Node, SearchSettings, Tree
from worlds.craft import Craft
from worlds.shop import Shop

# Layout 0: lamp in the kitchen, cup in the garden, ball in the garage, ..., shoe in the bedroom,
# coin in the study.
CUP = "cup-pantry-hall-0"
SOLVED = ["go garden", "take cup", "go pantry", "put cup"]
BROKEN = ["go kitchen", "take lamp", "put lamp"]
SETTINGS = CritiqueSettings(alpha=0.5, beta=0.2, pairs=4)


def leaf_of(tree, *actions):
    node = tree.root
    for action in actions:
        node = node.children[f"Action: {action}"]
    return node


def trajectory_of(task, *actions):
    return episode(Lab, task, *actions).trajectory


def learned_actions(trajectory):
    return [step.action for step in trajectory.steps if step.learned]


def unlearned_actions(trajectory):
    return [step.action for step in trajectory.steps if not step.learned]


def scored_tree(*scores):
    """A tree whose leaves, one step below the root, have these scores and are named by place."""
    root = Node(expanded=True)
    for place, score in enumerate(scores):
        step = Step(f"Action: {place}", str(place), "", score)
        root.children[step.reply] = Node(root, step, done=True, visits=1)
    return Tree("task", "instruction", "observation", root)


def pairs_of(tree, *, alpha, beta, pairs=100, seed=0):
    """The pairs as action of the bad leaf -> actions of its good leaves."""
    settings = CritiqueSettings(alpha, beta, pairs)
    actions = {}
    for pair in pair_leaves(tree, settings, random.Random(seed)):
        actions[pair.bad.step.action] = [good.step.action for good in pair.goods]
    return actions


# --- pairs


def test_the_shared_steps_of_two_leaves_are_those_of_one_and_the_same_node():
    fatal = ["go garden", "take cup", "put cup"]
    late = ["go kitchen", "go garden", *SOLVED]
    leaves = grow(Lab, CUP, SOLVED, BROKEN, fatal, late).leaves()
    shared = [[shared_steps(one, other) for other in leaves] for one in leaves]
    assert [leaf.step.action for leaf in leaves] == ["put cup", "put cup", "put lamp", "put cup"]
    assert shared == [[4, 2, 0, 0], [2, 3, 0, 0], [0, 0, 3, 1], [0, 0, 1, 6]]


def test_the_same_actions_on_other_branches_are_not_shared():
    one = ["left", "right", "right", "right"]
    other = ["stay", "right", "right"]
    assert shared_steps(*grow(Corridor, "test-0", one, other).leaves()) == 0


def test_a_leaf_is_good_from_alpha_on():
    tree = scored_tree(0.0, 0.5, 0.75)
    assert pairs_of(tree, alpha=0.5, beta=0.2) == {"0": ["1", "2"], "1": ["2"]}
    assert pairs_of(tree, alpha=0.51, beta=0.2) == {"0": ["2"], "1": ["2"]}
    assert pairs_of(tree, alpha=0.76, beta=0.2) == {}


def test_a_pair_needs_a_gap_above_beta_and_not_at_it():
    assert pairs_of(scored_tree(0.5, 0.75), alpha=0.5, beta=0.25) == {}
    assert pairs_of(scored_tree(0.5, 0.75), alpha=0.5, beta=0.24) == {"0": ["1"]}
    equals = pairs_of(scored_tree(0.75, 0.75), alpha=0.5, beta=0.0)
    assert equals == {}, "a leaf is not better than itself"


def test_the_good_leaf_with_the_deepest_shared_node_comes_first_and_ties_keep_their_order():
    far = SOLVED
    near = ["go kitchen", "go garden", "take cup", "go pantry", "put cup"]
    other = ["go office", *SOLVED]
    bad = ["go kitchen", "go garden", "take cup", "put cup"]
    tree = grow(Lab, CUP, other, far, bad, near)
    settings = CritiqueSettings(alpha=1.0, beta=0.2, pairs=10)
    (pair,) = pair_leaves(tree, settings, random.Random(0))
    assert pair.tree is tree
    assert pair.bad is leaf_of(tree, *bad)
    assert [shared_steps(pair.bad, good) for good in pair.goods] == [3, 0, 0]
    assert pair.goods[1:] == [leaf_of(tree, *other), leaf_of(tree, *far)]
    assert pair.shared == 3


def test_at_most_so_many_pairs_are_drawn_each_bad_leaf_once_and_by_the_seed():
    tree = scored_tree(*[0.0] * 20, 1.0)

    def bads(seed):
        return list(pairs_of(tree, alpha=0.5, beta=0.2, pairs=4, seed=seed))

    draws = [bads(seed) for seed in range(10)]
    assert all(len(set(draw)) == 4 for draw in draws)
    assert draws == [bads(seed) for seed in range(10)]
    different = {tuple(draw) for draw in draws}
    assert len(different) > 5, "the pairs must be drawn, not taken from the front"
    assert len(pairs_of(tree, alpha=0.5, beta=0.2, pairs=100)) == 20
    assert pairs_of(tree, alpha=0.5, beta=0.2, pairs=0) == {}


def test_an_episode_that_never_began_has_no_pairs():
    tree = Tree("task", "", "", Node(done=True, visits=3))
    settings = CritiqueSettings(alpha=0.0, beta=0.0, pairs=5)
    assert pair_leaves(tree, settings, random.Random(0)) == []


# --- what is learned of a trajectory of the agent's own


@pytest.mark.parametrize(
    ("actions", "learned"),
    [
        ("left right", [True, True]),
        ("left revise right", [False, True, True]),  # left was taken back
        ("revise right", [True, True]),
        ("right stay revise stay revise", [True, False, True, False, True]),
        ("", []),
    ],
)
def test_every_action_is_learned_but_those_that_the_agent_took_back(actions, learned):
    trajectory = episode(Corridor, "test-0", *actions.split()).trajectory
    marked = learnable(trajectory, SETTINGS)
    assert [step.learned for step in marked.steps] == learned
    assert [message["loss"] for message in marked.messages()[1::2]] == learned
    assert marked.actions == trajectory.actions
    assert all(step.learned for step in trajectory.steps), "the one given stays as it was"


def marked_actions(make_world, task, *actions, idle="context"):
    """The actions of an episode that are learned, as (place, action)."""
    trajectory = episode(make_world, task, *actions).trajectory
    steps = learnable(trajectory, replace(SETTINGS, idle=idle)).steps
    return [(t, step.action) for t, step in enumerate(steps) if step.learned]


def all_but(actions, *places):
    return [(t, action) for t, action in enumerate(actions) if t not in places]


@pytest.mark.parametrize(
    ("make_world", "task", "actions", "idle"),
    [
        (Lab, CUP, ["dance", *SOLVED], [0]),  # refused, though for the first time
        (Lab, CUP, ["take cup", "no such door", *SOLVED], [0, 1]),
        # An empty room seen before, from another one.
        (Lab, CUP, ["go kitchen", "go office", "go kitchen", *SOLVED], [2]),
        # On the landing, a corridor, one is again and again.
        (Lab, "coin-hall-hall-0", ["go landing", "go attic", "go landing", "go study"], []),
        # With the thing in hand a room is on the way.
        (Lab, CUP, ["go kitchen", "go garden", "take cup", "go kitchen", "go pantry"], []),
        # What a world that is silent answers twice.
        (Corridor, "test-0", ["left", "right", "left", "right"], [2, 3]),
        (Corridor, "test-0", ["left", "revise", "right", "revise", "stay"], [0, 2]),
    ],
)
def test_idle_steps_are_context_and_all_else_is_learned(make_world, task, actions, idle):
    assert marked_actions(make_world, task, *actions) == all_but(actions, *idle)


def test_with_idle_learned_only_what_was_taken_back_is_context():
    actions = ["dance", "go kitchen", "go office", "go kitchen", "revise", *SOLVED]
    assert marked_actions(Lab, CUP, *actions) == all_but(actions, 0, 3)
    assert marked_actions(Lab, CUP, *actions, idle="learned") == all_but(actions, 3)


def test_a_turn_without_an_action_is_idle_and_a_revision_never():
    played = Episode(Lab(), CUP)
    for reply in ("i do not know.", "Action: revise", "Action: revise", "Action: go garden"):
        played.act(reply)
    assert idle_steps(played.trajectory) == [True, False, False, False]


def test_a_repeat_is_idle_unless_the_world_says_that_it_changed_something():
    def steps(effect):
        return [Step("Action: get", "get", "got.", 0.0, effect)] * 3

    for effect, idle in [(CHANGED, False), (ANSWERED, True), ("", True)]:
        assert idle_steps(Trajectory("", "", "", steps(effect))) == [False, idle, idle]
    assert idle_steps(Trajectory("", "", "", steps(REFUSED))) == [True] * 3
    others = [replace(step, observation=f"{t}") for t, step in enumerate(steps(ANSWERED))]
    assert idle_steps(Trajectory("", "", "", others)) == [False] * 3


def test_what_was_unlearned_before_stays_so():
    trajectory = trajectory_of(CUP, *SOLVED)
    trajectory.steps[1].learned = False
    for idle in IDLE:
        marked = learnable(trajectory, replace(SETTINGS, idle=idle))
        assert [step.learned for step in marked.steps] == [True, False, True, True]


# --- the first error

VERDICTS = pytest.mark.parametrize(
    ("verdicts", "error"),
    [
        (["Good", "Bad", "Good"], 1),
        (["Bad", "Bad"], 0),
        (["Uncertain", "Good", "Uncertain", "Bad", "Bad"], 3),
        (["Good", "Uncertain"], None),
        ([], None),
    ],
)


@VERDICTS
def test_first_bad_action_ends_the_bad_segment(verdicts, error):
    steps = [Step("Action: go", "go", "gone.", 0.0)] * len(verdicts)
    trajectory = Trajectory("task", "do it.", "a place.", steps)

    def speak(turns, copy, luck):
        return f"Judgment: {verdicts[len(turns) // 2]}"

    assert find_first_errors(ScriptedActor(speak), [trajectory], [0]) == [error]


@VERDICTS
def test_the_transition_point_is_the_first_bad_verdict(verdicts, error):
    assert transition_point(verdicts) == error


def judge(bad_share):
    """A judge whose verdict depends on what it is asked last; and the dialogues that it read."""
    dialogues = []

    def speak(turns, copy, luck):
        dialogues.append(turns)
        draw = random.Random(turns[-1]).random()
        if draw < bad_share:
            return "Judgment: Bad"
        return "Judgment: Good" if draw < 0.8 else "hm."

    return ScriptedActor(speak), dialogues


def some_episodes(count=40):
    """Episodes of the lab, long and short, and a step of each."""
    rng = random.Random(3)
    world = Lab()
    trajectories = []
    for task in world.tasks("train")[:count]:
        played = Episode(world, task, max_depth=rng.randint(1, 12))
        while not played.done:
            played.act(f"Action: {rng.choice([*world.choices(), 'revise', 'dance'])}")
        trajectories.append(played.trajectory)
    return trajectories, [rng.randrange(len(played.steps) + 1) for played in trajectories]


def judged_alone(actor, trajectory, start):
    """The verifier's dialogue of one trajectory, by hand."""
    turns = []
    for t in range(start, len(trajectory.steps)):
        if trajectory.steps[t].action == "revise":
            continue
        turns.append(trajectory.judge_turn(t, first=not turns))
        turns.append(actor.speak(list(turns), 0, 0.0))
        if turns[-1] == "Judgment: Bad":
            return t
    return None


@pytest.mark.parametrize("batch_size", [1, 7, 256])
@pytest.mark.parametrize("bad_share", [0.0, 0.15, 0.5, 1.0])
def test_judging_in_lockstep_equals_judging_one_trajectory_at_a_time(bad_share, batch_size):
    trajectories, starts = some_episodes()
    actor, dialogues = judge(bad_share)
    errors = find_first_errors(actor, trajectories, starts, batch_size)
    questions = Counter(tuple(turns) for turns in dialogues)
    dialogues.clear()
    for trajectory, start, error in zip(trajectories, starts, errors, strict=True):
        assert judged_alone(actor, trajectory, start) == error
    expected = Counter(tuple(turns) for turns in dialogues)
    assert questions == expected, "the same must be asked, and nothing behind the first Bad"
    assert bad_share in (0.0, 1.0) or {None, *range(3)} <= set(errors)


def test_judging_starts_at_the_first_action_after_the_shared_node_and_passes_over_revisions():
    trajectory = trajectory_of(CUP, "go kitchen", "revise", "go office", "revise", "go garden")
    questions = []

    def speak(turns, copy, luck):
        questions.append(turns[-1].splitlines()[-2])
        return "Judgment: Good"

    for start, expected in [(0, [0, 2, 4]), (1, [2, 4]), (2, [2, 4]), (3, [4]), (5, [])]:
        questions.clear()
        assert find_first_errors(ScriptedActor(speak), [trajectory], [start]) == [None]
        assert questions == [f"Action: {trajectory.actions[t]}" for t in expected]


def test_a_trajectory_is_judged_no_further_than_its_context_holds():
    trajectory = trajectory_of(CUP, *["go kitchen", "go office"] * 4)
    asked = []

    def speak(turns, copy, luck):
        asked.append(turns)
        return "Judgment: Bad" if len(asked) == 8 else "Judgment: Good"

    # The double counts a turn as a token: two for each question and its answer.
    assert find_first_errors(ScriptedActor(speak, max_length=7), [trajectory], [0]) == [None]
    assert len(asked) == 3
    asked.clear()
    assert find_first_errors(ScriptedActor(speak, max_length=16), [trajectory], [0]) == [7]
    assert find_first_errors(ScriptedActor(speak, max_length=1), [trajectory], [0]) == [None]


def test_the_judges_answers_take_room_by_its_own_limit():
    trajectory = trajectory_of(CUP, *["go kitchen", "go office"] * 4)
    actor = ScriptedActor(lambda turns, copy, luck: "Judgment: Good", max_length=20)
    assert len(critique.ask(actor, trajectory, 0)) == 8
    actor.judge_tokens = 4
    assert len(critique.ask(actor, trajectory, 0)) == 4, "a question and an answer are five"
    actor.max_new_tokens = 100
    assert len(critique.ask(actor, trajectory, 0)) == 4


def test_judge_tokens_limit_the_judge_alone(monkeypatch):
    limits = []
    speak = Dialogues._speak

    def record(dialogues, sampling, limit):
        limits.append(limit)
        return speak(dialogues, sampling, 1)

    monkeypatch.setattr(Dialogues, "_speak", record)
    actor = tiny_actor(max_new_tokens=5)
    actor.judge_tokens = 3
    find_first_errors(actor, [trajectory_of(CUP, *BROKEN)], [0])
    assert set(limits) == {3}
    limits.clear()
    play(actor, Lab, [Start(CUP)], batch_size=1, label="")
    assert set(limits) == {5}


def test_judging_nothing_finds_nothing():
    actor, _ = judge(1.0)
    assert find_first_errors(actor, [], []) == []


def test_an_untrained_model_judges_as_well_and_in_lockstep_as_alone(monkeypatch):
    # What it says is no verdict; so that something is found, a reply is Bad if its letters add up
    # to it.
    def verdict(reply):
        return "Bad" if sum(map(ord, reply)) % 3 == 0 else "Good"

    monkeypatch.setattr(critique, "parse_verdict", verdict)
    actor = tiny_actor(2, max_new_tokens=4)
    trajectories, starts = some_episodes(8)
    alone = []
    for trajectory, start in zip(trajectories, starts, strict=True):
        alone += find_first_errors(actor, [trajectory], [start])
    assert find_first_errors(actor, trajectories, starts) == alone
    assert len(set(alone)) > 2


# --- the splice


def test_a_splice_equals_a_message_list_written_by_hand():
    bad = trajectory_of(CUP, "go kitchen", "go office", "go garage", "take ball", "put ball")
    good = trajectory_of(CUP, "go kitchen", "go garden", "take cup", "go pantry", "put cup")
    revision = splice(bad, good, shared=1, error=2, thought="that was wrong.")
    instruction = (
        "the cup is downstairs. put it in the pantry. you can: go ROOM, take THING, put THING."
    )
    assert revision.messages() == [
        {"role": "user", "content": f"{instruction}\nhall: nothing, no cup."},
        {"role": "assistant", "content": "Action: go kitchen", "loss": False},
        {"role": "user", "content": "kitchen: lamp, no cup."},
        {"role": "assistant", "content": "Action: go office", "loss": False},
        {"role": "user", "content": "office: book, no cup."},
        {"role": "assistant", "content": "Action: go garage", "loss": False},
        {"role": "user", "content": "garage: ball, no cup."},
        {"role": "assistant", "content": "Thought: that was wrong.\nAction: revise", "loss": True},
        {"role": "user", "content": "ok."},
        {"role": "assistant", "content": "Action: go garden", "loss": True},
        {"role": "user", "content": "garden: cup."},
        {"role": "assistant", "content": "Action: take cup", "loss": True},
        {"role": "user", "content": "taken."},
        {"role": "assistant", "content": "Action: go pantry", "loss": True},
        {"role": "user", "content": "pantry: key."},
        {"role": "assistant", "content": "Action: put cup", "loss": True},
    ]
    assert (revision.task, revision.score) == (CUP, 1.0)
    for part in (bad, good):
        assert len(part.steps) == 5, "a splice must leave its parts as they were"
        assert all(step.learned for step in part.steps)


@pytest.mark.parametrize("error", range(5))
def test_bad_actions_are_never_learned_and_thought_and_good_actions_always(error):
    bad = trajectory_of(CUP, "go kitchen", "go office", "go garage", "take ball", "put ball")
    revision = splice(bad, trajectory_of(CUP, *SOLVED), 0, error, "hm.")
    assert unlearned_actions(revision) == bad.actions[: error + 1]
    assert learned_actions(revision) == ["revise", *SOLVED]


def test_a_step_that_the_good_episode_took_back_itself_is_not_learned():
    good = learnable(trajectory_of(CUP, "go garden", "go office", "revise", *SOLVED), SETTINGS)
    revision = splice(trajectory_of(CUP, *BROKEN), good, 0, 1, "hm.")
    assert unlearned_actions(revision) == ["go kitchen", "take lamp", "go office"]


def test_the_revision_turn_is_learned_even_if_the_good_actions_begin_with_another():
    good = learnable(trajectory_of(CUP, "revise", *SOLVED), SETTINGS)
    revision = splice(trajectory_of(CUP, *BROKEN), good, 0, 0, "hm.")
    assert revision.steps[1].reply == "Thought: hm.\nAction: revise"
    assert revision.steps[1].learned


def test_what_is_trained_of_a_revision_is_the_thought_and_what_follows():
    actor = tiny_actor()
    bad = trajectory_of(CUP, *BROKEN)
    revision = splice(bad, trajectory_of(CUP, *SOLVED), 0, 0, "i need another way.")
    ids, labels = actor.format.encode(revision.messages())
    trained = [label for label in labels if label != -100]
    assert actor.tokenizer.decode(trained).split("<end>") == [
        "Thought: i need another way. Action: revise ",
        *(f" Action: {action} " for action in SOLVED),
        "",
    ]
    for token, label in zip(ids, labels, strict=True):
        assert label in (token, -100)


def test_what_a_step_knows_of_its_learning_comes_through_splice_replay_messages_and_labels():
    actor = tiny_actor()
    good = learnable(trajectory_of(CUP, "go garden", "go office", "revise", *SOLVED), SETTINGS)
    revision = splice(trajectory_of(CUP, *BROKEN), good, 0, 1, "that was wrong.")
    actions = ["go kitchen", "take lamp", "revise", "go garden", "go office", "revise", *SOLVED]
    learned = [False, False, True, True, False, True, True, True, True, True]
    executed = execute(Lab(), revision)
    for trajectory in (revision, executed):
        assert trajectory.actions == actions
        assert [step.learned for step in trajectory.steps] == learned
    messages = Example("revision", executed, error=1).record(iteration=1)["messages"]
    assert [message["loss"] for message in messages[1::2]] == learned
    _, labels = actor.format.encode(messages)
    trained = actor.tokenizer.decode([label for label in labels if label != -100])
    turns = [parse_action(turn) for turn in trained.split("<end>")[:-1]]
    assert turns == learned_actions(revision)


@pytest.mark.parametrize(("shared", "error"), [(1, 0), (2, 1), (0, 3), (0, 99), (0, -1)])
def test_a_first_error_in_the_shared_prefix_or_behind_the_end_is_refused(shared, error):
    bad = trajectory_of(CUP, *BROKEN)
    good = trajectory_of(CUP, *SOLVED)
    with pytest.raises(ValueError, match=r"^"):  # in whatever words
        splice(bad, good, shared, error, "hm.")


def test_the_thoughts_can_be_told_by_the_tiny_models_words():
    tokenizer = tiny_actor().tokenizer
    for thought in REVISION_THOUGHTS:
        assert tokenizer.unk_token_id not in tokenizer(thought)["input_ids"], thought
    assert len(set(REVISION_THOUGHTS)) == 10


# --- the splice, carried out


def carried_out(task, bad, good, shared, error):
    """The splice of two lists of actions, and what comes of it in the world."""
    bad_trajectory = trajectory_of(task, *bad)
    revision = splice(bad_trajectory, trajectory_of(task, *good), shared, error, "hm.")
    return revision, execute(Lab(), revision)


def test_a_splice_that_can_be_carried_out_keeps_its_actions_and_gets_the_true_observations():
    bad = ["go kitchen", "take lamp", "put lamp"]
    good = ["go office", "go kitchen", "go garden", "take cup", "go pantry", "put cup"]
    revision, executed = carried_out(CUP, bad, good, 0, 1)
    assert [step.reply for step in executed.steps] == [step.reply for step in revision.steps]
    assert executed.score == revision.score == 1.0
    differences = []
    for written, true in zip(revision.steps, executed.steps, strict=True):
        if written != true:
            differences.append((written.observation, true.observation))
    taken_before = ("kitchen: lamp, no cup.", "kitchen: nothing, no cup.")
    assert differences == [taken_before], "the lamp has been taken before"
    replayed = Episode(Lab(), CUP, revision.steps).trajectory
    for step, written in zip(replayed.steps, revision.steps, strict=True):
        step.learned = written.learned
    assert executed == replayed


def test_the_good_actions_from_the_landing_cannot_be_taken_in_the_bedroom():
    task = "coin-hall-landing-0"
    bad = ["go bedroom", "take shoe", "put shoe"]
    good = ["go study", "take coin", "go landing", "go hall", "put coin"]
    revision, executed = carried_out(task, bad, good, 0, 0)
    assert revision.score == 1.0
    assert executed is None
    back = ["go bedroom", "go landing", *good]
    _, executed = carried_out(task, bad, back, 1, 1)
    assert executed.score == 1.0, "a good leaf that walked back as well shows how"


def test_a_splice_behind_a_fatal_error_cannot_be_carried_out():
    _, executed = carried_out(CUP, BROKEN, SOLVED, 0, 2)
    assert executed is None


@pytest.mark.parametrize(("wrong", "steps"), [(19, 24), (20, 25)])
def test_a_splice_must_fit_the_step_limit_to_the_last_action(wrong, steps):
    bad = (["go kitchen", "go office"] * 12)[:24]
    revision, executed = carried_out(CUP, bad, SOLVED, 0, wrong - 1)
    assert len(revision.steps) == steps, "the wrong actions, the revision turn and the four good"
    if steps > Lab.step_limit:
        assert executed is None
    else:
        assert (len(executed.steps), executed.score) == (24, 1.0)


def test_a_splice_whose_score_falls_short_is_refused_and_one_that_exceeds_it_is_kept():
    steps = trajectory_of(CUP, "go garden", "take cup").steps

    def promise(score):
        last = Step("Action: take cup", "take cup", "", score)
        return Trajectory(CUP, "", "", [*steps[:-1], last])

    assert execute(Lab(), promise(0.51)) is None
    assert execute(Lab(), promise(0.5)).score == 0.5
    assert execute(Lab(), promise(0.0)).score == 0.5


# --- the dataset


def scripted_trees(count=12):
    sampling = Sampling(1.0)
    settings = SearchSettings(simulations=40, branch=4, c_uct=0.25)
    actor = ScriptedActor(lab_player)
    return mcts.search(actor, Lab, Lab().tasks("train")[:count], settings, sampling)


TREES = scripted_trees()
SPLICES = pytest.mark.parametrize("splice_kind", ["paper", "verified"])


def with_splice(splice_kind):
    return replace(SETTINGS, splice=splice_kind)


def dataset(settings, trees=TREES, actor=None, seed=0):
    """The records of an iteration, revisions and good ones, and the figures with their counts."""
    actor = actor or ScriptedActor(lab_player)
    rng = random.Random(seed)
    revisions = criticise(actor, trees, Lab, settings, rng)
    good = good_examples(trees, settings, rng)
    figures = revisions.figures()
    figures["counts"]["good"] = len(good)
    records = [example.record(iteration=2) for example in (*revisions.examples, *good)]
    return records, figures


def revisions_of(settings, trees=TREES, actor=None, seed=0):
    """What comes of the critique alone; an actor is only needed where the critic is one."""
    return criticise(actor, trees, Lab, settings, random.Random(seed))


def replies_of(record):
    return [message["content"] for message in record["messages"] if message["role"] == "assistant"]


def actions_of(record):
    return [parse_action(reply) for reply in replies_of(record)]


def tree_of(task):
    return next(tree for tree in TREES if tree.task == task)


@SPLICES
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_every_pair_is_a_revision_or_dropped_for_a_reason_and_every_example_is_counted(
    splice_kind, alpha
):
    settings = replace(with_splice(splice_kind), alpha=alpha)
    records, figures = dataset(settings)
    counts = figures["counts"]
    rng = random.Random(0)
    pairs = sum(len(pair_leaves(tree, settings, rng)) for tree in TREES)
    dropped = counts["dropped_no_error"] + counts["dropped_not_executable"]
    assert counts["revision"] + dropped == pairs
    kinds = Counter(record["kind"] for record in records)
    assert kinds == {kind: counts[kind] for kind in ("revision", "good")}
    good = 0
    for tree in TREES:
        scores = [leaf.step.score for leaf in tree.leaves()]
        if min(scores) < 1.0:  # else there is nothing to learn
            good += min(4, sum(score >= alpha for score in scores))
    assert counts["good"] == good > 0
    assert counts["revision"] > 0
    assert counts["dropped_no_error"] > 0
    assert (counts["dropped_not_executable"] > 0) == (splice_kind == "verified")


def test_a_task_in_which_all_succeeds_gives_no_good_example():
    rng = random.Random(0)
    settings = replace(SETTINGS, pairs=100)
    tree = next(tree for tree in TREES if {0.5, 1.0} <= scores_of(tree))
    goods = good_examples([tree], settings, rng)
    assert goods
    solved = copy.deepcopy(tree)
    for leaf in solved.leaves():
        leaf.step = replace(leaf.step, score=1.0)
    assert good_examples([solved], settings, rng) == []
    solved.leaves()[0].step = replace(solved.leaves()[0].step, score=0.75)
    assert len(good_examples([solved], settings, rng)) == len(solved.leaves()), "0.75 is good here"


def scores_of(tree):
    return {leaf.step.score for leaf in tree.leaves()}


def test_every_example_has_a_flag_on_each_assistant_turn_and_says_where_it_came_from():
    records, _ = dataset(SETTINGS)
    for record in records:
        roles = [message["role"] for message in record["messages"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
        assert roles[-1] == "assistant"
        assert all(type(message["loss"]) is bool for message in record["messages"][1::2])
        assert record["iteration"] == 2
        assert record["task"] in {tree.task for tree in TREES}
        assert record["score"] >= 0.5


def test_every_good_example_is_an_episode_of_which_all_is_learned_but_idle_steps():
    settings = replace(SETTINGS, idle="learned")
    for record in dataset(settings)[0]:
        if record["kind"] == "good":
            assert all(message["loss"] for message in record["messages"][1::2])
    records, _ = dataset(SETTINGS)
    good = [record for record in records if record["kind"] == "good"]
    assert good
    for record in good:
        steps = [Step(reply, "", "", 0.0) for reply in replies_of(record)]
        played = Episode(Lab(), record["task"], steps).trajectory
        learned = [message["loss"] for message in record["messages"][1::2]]
        assert learned == [not idle for idle in idle_steps(played)]
        assert played.score == record["score"]
        assert record.keys() == {"messages", "kind", "task", "iteration", "score"}


def test_every_revision_shows_its_error_and_learns_the_change_of_mind():
    records, _ = dataset(SETTINGS)
    revisions = [record for record in records if record["kind"] == "revision"]
    assert revisions
    shares = []
    for record in revisions:
        error = record["error"]
        actions = actions_of(record)
        learned = [message["loss"] for message in record["messages"][1::2]]
        assert not any(learned[: error + 1]), "what was bad is context"
        assert learned[error + 1], "the change of mind is learned"
        assert actions[error + 1] == "revise"
        steps = [Step(reply, "", "", 0.0) for reply in replies_of(record)]
        idle = idle_steps(Episode(Lab(), record["task"], steps).trajectory)
        for t in range(error + 2, len(actions)):
            taken_back = actions[t + 1 : t + 2] == ["revise"]
            chained = "revise" in actions[t:]  # a second failure spliced in is context as well
            if taken_back or idle[t]:
                assert not learned[t]
            elif not chained:  # what was idle in the good episode stays context
                shares.append(learned[t])
    assert sum(shares) > 0.9 * len(shares) > 0


def test_every_verified_revision_is_what_the_world_answers_and_holds_its_score():
    records, _ = dataset(SETTINGS)
    for record in (record for record in records if record["kind"] == "revision"):
        steps = [Step(reply, "", "", 0.0) for reply in replies_of(record)]
        played = Episode(Lab(), record["task"], steps).trajectory
        observations = [message["content"] for message in record["messages"][::2]]
        assert observations == [message["content"] for message in played.messages()[::2]]
        assert played.score == record["score"]


def test_the_paper_keeps_what_cannot_be_carried_out_and_the_share_tells_how_much():
    records, figures = dataset(with_splice("paper"))
    executable = []
    for record in (record for record in records if record["kind"] == "revision"):
        played = Episode(Lab(), record["task"])
        replies = replies_of(record)
        for reply in replies:
            if not played.done:
                played.act(reply)
        whole = len(played.trajectory.steps) == len(replies)
        executable.append(whole and played.trajectory.score >= record["score"])
    share = figures["executable_share"]
    assert 0.0 < share < 1.0
    assert share == pytest.approx(sum(executable) / len(executable))
    _, verified = dataset(with_splice("verified"))
    assert verified["executable_share"] == share, "it is a share of splices as written"


def calls_bad(wrong):
    """A judge who calls this one action Bad and is uncertain of all others."""

    def speak(turns, copy, luck):
        asked = turns[-1].splitlines()[-2]
        return f"Judgment: {'Bad' if asked == f'Action: {wrong}' else 'Uncertain'}"

    return ScriptedActor(speak)


def revised(splice_kind, task, wrong, *ways):
    """The actions of the one revision built from a tree of these episodes, None if none is."""
    settings = CritiqueSettings(alpha=1.0, splice=splice_kind)
    trees = [grow(Lab, task, *ways)]
    revisions = criticise(calls_bad(wrong), trees, Lab, settings, random.Random(0))
    assert revisions.executable == [False], "as the paper has it, none of these can be carried out"
    assert len(revisions.examples) + revisions.not_executable == 1
    if revisions.examples:
        assert len(revisions.lengths) == 1
        return revisions.examples[0].trajectory.actions
    assert revisions.figures()["revision_length"] is None, "nothing was built"
    return None


FETCH = ["go study", "take coin", "go landing", "go hall", "put coin"]  # from the landing


def test_verified_goes_on_to_the_next_good_leaf_where_the_deepest_cannot_be_carried_out():
    task = "coin-hall-hall-0"
    bad = ["take cup", "go kitchen", "take lamp", "put lamp"]
    # From the kitchen no door leads to the landing; the second good leaf happens to go by way of
    # the hall.
    near = ["take cup", "go landing", *FETCH]
    far = ["go hall", "go landing", *FETCH]
    as_written = revised("paper", task, "go kitchen", bad, near, far)
    assert as_written == [*bad[:2], "revise", *near[1:]]
    verified = revised("verified", task, "go kitchen", bad, near, far)
    assert verified == [*bad[:2], "revise", *far]
    assert revised("verified", task, "go kitchen", bad, near) is None


class Ladder(Corridor):
    """Half of a rung's height is paid, and nothing ends but by the limit of 6 steps."""

    def begin(self, task):
        self.place = 0
        return f"climb ({task}).", "the ground."

    def act(self, action):
        self.place = max(0, self.place + {"down": -1, "up": 1}.get(action, 0))
        self.score = max(self.score, self.place / 8)
        return f"rung {self.place}."


CLIMBED = ["up", "up", "hold", "hold", "hold", "hold"]


def test_what_a_good_episode_does_behind_its_last_gain_is_not_learned_and_leaves_room():
    # Of six steps two gained something; behind a mistake there is room for these, not for all six.
    tree = grow(Ladder, "train-0", CLIMBED, ["down", *["hold"] * 5])
    settings = CritiqueSettings(alpha=0.25)
    (example,) = good_examples([tree], settings, random.Random(0))
    assert example.trajectory.actions == CLIMBED[:2]
    revisions = criticise(calls_bad("down"), [tree], Ladder, settings, random.Random(0))
    assert revisions.executable == [False], "as the paper has it, all six are said"
    assert [one.trajectory.actions for one in revisions.examples] == [
        ["down", "revise", "up", "up"]
    ]
    (preference,) = preference_examples([tree], settings, random.Random(0))
    assert preference.trajectory.actions == CLIMBED[:2], "for every method alike"
    papers = replace(settings, idle="learned")
    (example,) = good_examples([tree], papers, random.Random(0))
    assert example.trajectory.actions == CLIMBED
    revisions = criticise(calls_bad("down"), [tree], Ladder, papers, random.Random(0))
    assert revisions.not_executable == 1


@pytest.mark.parametrize(
    ("scores", "least", "count"),
    [
        ((0.0, 0.5, 0.5), 1, 2),
        ((0.0, 0.5, 0.5), 3, 3),
        ((0.5, 0.0, 0.5), 1, 1),
        ((0.5, 0.75, 0.5), 1, 1),
        ((0.5, 0.75, 0.75), 2, 2),
        ((0.25, 0.5, 1.0), 1, 3),
        ((0.0, 0.0), 1, 1),
    ],
)
def test_a_good_trajectory_ends_where_it_first_had_its_score(scores, least, count):
    steps = [Step("Action: go", "go", "", score) for score in scores]
    trajectory = Trajectory("task", "", "", steps)
    shorter = critique.up_to_its_score(trajectory, CritiqueSettings(), least)
    assert shorter.steps == steps[:count]
    assert len(trajectory.steps) == len(scores)


def test_a_success_that_pays_less_is_not_cut_before_it_is_one():
    won = [None, False, True, None]
    steps = [Step("Action: go", "go", "", 0.9, won=one) for one in won[:3]]
    trajectory = Trajectory("task", "", "", steps)
    assert critique.up_to_its_score(trajectory, CritiqueSettings()).steps == steps


def test_the_good_steps_behind_the_shared_node_are_kept_where_the_score_was_there_before_it():
    # Both have climbed one rung; the bad one's score is lower all the same, as it fell.
    class Steep(Ladder):
        def act(self, action):
            observation = super().act(action)
            self.score = 0.0 if action == "jump" else self.place / 8
            return observation

    bad, good = ["up", "up", "jump"], ["up", "up", "hold", "hold"]
    tree = grow(Steep, "train-0", good, bad)
    settings = CritiqueSettings(alpha=0.25)
    (revision,) = criticise(calls_bad("jump"), [tree], Steep, settings, random.Random(0)).examples
    assert revision.trajectory.actions == [*bad, "revise", "hold"]
    (preference,) = preference_examples([tree], settings, random.Random(0))
    assert preference.trajectory.actions == ["up", "up", "hold"]


def test_verified_may_begin_one_step_before_the_shared_node_and_no_more():
    task = "coin-hall-landing-0"
    bad = ["go attic", "go landing", "go bedroom", "take shoe", "put shoe"]
    good = ["go attic", "go landing", *FETCH]
    as_written = revised("paper", task, "go bedroom", bad, good)
    assert as_written == [*bad[:3], "revise", *FETCH]
    verified = revised("verified", task, "go bedroom", bad, good)
    assert verified == [*bad[:3], "revise", "go landing", *FETCH]
    bad.insert(2, "take cup")
    good.insert(2, "take cup")
    assert revised("verified", task, "go bedroom", bad, good) is None


def test_verified_does_not_step_back_before_the_beginning():
    bad = ["go bedroom", "take shoe", "put shoe"]
    assert revised("verified", "coin-hall-landing-0", "go bedroom", bad, FETCH) is None


@pytest.mark.parametrize(
    ("wrong", "length"), [("go kitchen", 1), ("go office", 2), ("take lamp", 3)]
)
def test_the_revision_length_counts_the_bad_actions_behind_the_shared_node_up_to_the_error(
    wrong, length
):
    bad = [
        "go pantry",
        "go kitchen",
        "go office",
        "take lamp",
        "go garage",
        "take ball",
        "put ball",
    ]
    tree = grow(Lab, CUP, ["go pantry", *SOLVED], bad)
    revisions = revisions_of(SETTINGS, [tree], actor=calls_bad(wrong))
    (revision,) = revisions.examples
    assert revisions.figures()["revision_length"] == length
    assert revision.error == bad.index(wrong)


def test_nothing_to_pair_gives_no_examples_and_no_figures():
    records, figures = dataset(SETTINGS, [grow(Lab, CUP, BROKEN)])
    assert records == []
    assert (figures["revision_length"], figures["executable_share"]) == (None, None)
    assert set(figures["counts"].values()) == {0}


@SPLICES
def test_the_same_seed_builds_the_same_examples(splice_kind):
    settings = with_splice(splice_kind)
    records, figures = dataset(settings)
    assert dataset(settings) == (records, figures)
    others, _ = dataset(settings, seed=1)
    assert others != records


def test_a_record_says_what_stands_in_a_line_of_the_dataset():
    good = trajectory_of(CUP, *SOLVED)
    bad = trajectory_of(CUP, *BROKEN)
    fields = {"messages": good.messages(), "task": CUP, "iteration": 3, "score": 1.0}
    assert Example("good", good).record(3) == {**fields, "kind": "good"}
    revision = {**fields, "kind": "revision", "error": 0}
    assert Example("revision", good, error=0).record(3) == revision
    preference = {**fields, "kind": "preference", "rejected": bad.messages()}
    assert Example("preference", good, rejected=bad).record(3) == preference


# --- what Phase I may not know


@pytest.fixture
def no_oracle(monkeypatch):
    def oracle(*arguments):
        raise AssertionError("Phase I asked the world for the truth")

    for world in (Lab, Shop, Craft):
        monkeypatch.setattr(world, "expert", oracle)
        monkeypatch.setattr(world, "choices", oracle)
    monkeypatch.setattr(envs, "first_error", oracle)
    monkeypatch.setattr(envs, "distance", oracle)
    monkeypatch.setattr(critique, "distance", oracle)


@SPLICES
def test_phase_one_never_asks_the_truth(no_oracle, splice_kind):
    with pytest.raises(AssertionError, match="asked the world"):
        Lab().expert()
    trees = scripted_trees(4)
    _, figures = dataset(with_splice(splice_kind), trees)
    revisions = figures["counts"]["revision"]
    assert revisions > 0, "without a pair nothing has been judged or spliced"


SHOP_TASK = Shop().tasks("train")[0]


@pytest.mark.parametrize(
    ("make_world", "task"), [(Lab, CUP), (Craft, "oak_bar-0"), (Shop, SHOP_TASK)]
)
def test_phase_one_of_an_untrained_model_never_asks_the_truth(no_oracle, make_world, task):
    actor = tiny_actor(max_new_tokens=6)
    sampling = Sampling(1.0)
    search_settings = SearchSettings(simulations=3, branch=2, c_uct=0.25, max_depth=5)
    trees = mcts.search(actor, make_world, [task] * 2, search_settings, sampling)
    # A model that knows nothing wins nothing: say that one leaf did, so that there are pairs.
    for tree in trees:
        assert tree.leaves()[0].step.score < 1.0
        won = Step("Action: won", "won", "done.", 1.0)
        tree.root.children[won.reply] = Node(tree.root, won, done=True, visits=1)
    for kind in ("paper", "verified"):
        settings = CritiqueSettings(alpha=1.0, beta=0.2, pairs=4, splice=kind)
        revisions = criticise(actor, trees, make_world, settings, random.Random(0))
        asked = revisions.without_error
        assert asked > 0, "the judge was asked; what it says is no verdict"


# --- who finds the first error


def pairs_that_share(*pairs):
    """A pair for each (actions of the bad episode, number of steps shared with its good one)."""
    built = []
    for bad, shared in pairs:
        good = [*bad[:shared], "revise", *SOLVED]  # it goes another way there
        tree = grow(Lab, CUP, bad, good)
        built.append(Pair(tree, leaf_of(tree, *bad), [leaf_of(tree, *good)]))
    assert [pair.shared for pair in built] == [shared for _, shared in pairs]
    return built


LONG = ["go kitchen", "go garden", *BROKEN]


def test_the_actor_judges_each_bad_trajectory_from_its_shared_node(monkeypatch):
    asked = []

    def record(*given):
        asked.append(given)
        return [2, None]

    monkeypatch.setattr(critique, "find_first_errors", record)
    actor = object()
    pairs = pairs_that_share((LONG, 1), (BROKEN, 0))
    rng = random.Random(0)
    assert errors_by_critic(actor, pairs, Lab, "actor", rng, rollouts=7) == [2, None]
    bads = [trajectory_of(CUP, *LONG), trajectory_of(CUP, *BROKEN)]
    assert asked == [(actor, bads, [1, 0], 7)]


def test_each_other_critic_finds_the_error_in_its_own_way():
    rng = random.Random(0)

    def errors(critic, *pairs):
        return errors_by_critic(None, pairs_that_share(*pairs), Lab, critic, rng)

    assert errors("end", (LONG, 1), (BROKEN, 0)) == [4, 2]
    truth = errors("truth", (LONG, 0), (BROKEN, 0))
    assert truth == [0, 0], "the cup is in the garden: go kitchen is wrong"
    truth = errors("truth", (LONG, 1), (BROKEN, 1))
    assert truth == [2, 1], "an error of the shared steps is no t', but the next one is"
    assert errors("truth", (["go kitchen", "go garden"], 1)) == [None]
    draws = Counter(errors("random", (LONG, 1))[0] for _ in range(400))
    assert set(draws) == {1, 2, 3, 4}
    assert min(draws.values()) > 60
    assert {errors("random", (BROKEN, 2))[0] for _ in range(20)} == {2}
    assert CRITICS == ("actor", "end", "random", "truth")


@pytest.mark.parametrize("critic", ["truth", "random"])
def test_a_critic_that_needs_the_world_or_chance_gets_them(critic):
    settings = replace(with_splice("paper"), critic=critic)
    assert len(revisions_of(settings).examples) > 2


def test_what_was_never_dropped_is_counted_as_never():
    nothing = {"revision": 0, "dropped_no_error": 0, "dropped_not_executable": 0}
    assert revisions_of(SETTINGS, trees=[]).figures()["counts"] == nothing
    assert Revisions().figures()["counts"] == nothing


def test_direct_revision_keeps_the_whole_failure():
    revisions = revisions_of(replace(with_splice("paper"), critic="end"))
    assert len(revisions.examples) == revisions.figures()["counts"]["revision"] > 5
    for example in revisions.examples:
        actions = example.trajectory.actions
        tree = tree_of(example.trajectory.task)
        failures = [tree.trajectory(leaf).actions for leaf in tree.leaves()]
        assert actions[: actions.index("revise")] in failures
        assert example.error == actions.index("revise") - 1


# --- which good trajectory goes with a bad one


def test_any_pairing_takes_whichever_good_leaf_and_judges_from_where_that_pair_parts(monkeypatch):
    asked = []

    def record(actor, bads, starts, rollouts):
        assert rollouts == 7
        asked.append((bads, starts))
        return [len(bad.steps) - 1 for bad in bads]

    monkeypatch.setattr(critique, "find_first_errors", record)
    for pairing in ("deepest", "any"):
        revisions_of(replace(with_splice("paper"), pairing=pairing, rollouts=7))
    (bads, deepest), (same_bads, starts) = asked
    assert same_bads == bads, "the same failures"
    pairs = list(zip(starts, deepest, strict=True))
    assert all(shared <= most for shared, most in pairs)
    assert sum(shared < most for shared, most in pairs) > 3


@SPLICES
def test_every_revision_turn_says_one_of_the_thoughts_and_not_always_the_same(splice_kind):
    thoughts = Counter()
    records, _ = dataset(with_splice(splice_kind))
    for record in records:
        for reply in replies_of(record):
            if reply.endswith(f"Action: {REVISE}"):
                thoughts[reply.removeprefix("Thought: ").partition("\n")[0]] += 1
    assert thoughts.keys() <= {*REVISION_THOUGHTS}
    assert len(thoughts) > 5


def test_about_every_other_revision_is_chained_with_the_latest_before_it_in_its_tree(monkeypatch):
    earlier = defaultdict(list)  # the revisions of each task so far, the latest first
    chained = []  # of those that could be, which are

    def record(world, bad, goods, error, thought):
        before = earlier[bad.task]
        if before:
            chained.append(goods[0] in before)
            if chained[-1]:
                assert goods[: len(before)] == before, "the latest first, and all of them"
            else:
                assert not any(good in before for good in goods)
        steps = [replace(step, learned=False) for step in bad.steps]
        revision = Trajectory(bad.task, f"revision {len(chained)}, {len(before)}", "", steps)
        before.insert(0, revision)
        return revision

    monkeypatch.setattr(critique, "verified_splice", record)
    for seed in range(6):
        earlier.clear()
        revisions_of(replace(SETTINGS, pairs=8, critic="end"), seed=seed)
    assert len(chained) > 60
    assert 0.35 < sum(chained) / len(chained) < 0.65


@pytest.mark.parametrize("learned", [[True] * 4, [False, True, False, True]])
def test_a_verified_splice_learns_what_it_is_told_of_the_good_trajectory(learned):
    good = trajectory_of(CUP, *SOLVED)
    for step, flag in zip(good.steps, learned, strict=True):
        step.learned = flag
    bad = trajectory_of(CUP, "go kitchen")
    revision = verified_splice(Lab(), bad, [good], 0, REVISION_THOUGHTS[3])
    assert [step.learned for step in revision.steps] == [False, True, *learned]
    expected = f"Thought: {REVISION_THOUGHTS[3]}\nAction: {REVISE}"
    assert revision.steps[1].reply == expected


# --- what ETO learns from


def test_etos_good_trajectory_is_the_one_that_shares_most_with_the_bad():
    settings = replace(SETTINGS, pairs=99)
    most = 0
    for tree in TREES:
        most += sum(pair.shared for pair in pair_leaves(tree, settings, random.Random(0)))
    alike = 0
    for example in preference_examples(TREES, settings, random.Random(0)):
        replies = [step.reply for step in example.trajectory.steps]
        t = 0
        while replies[t] == example.rejected.steps[t].reply:
            t += 1
        alike += t
    assert alike >= most > 0


def test_eto_learns_from_pairs_of_one_tree_that_differ_by_more_than_beta():
    examples = preference_examples(TREES, SETTINGS, random.Random(0))
    assert len(examples) > 5
    for example in examples:
        record = example.record(iteration=3)
        tree = tree_of(record["task"])
        scores = {}  # of all episodes, and of those that end where another one had its score
        for leaf in tree.leaves():
            played = tree.trajectory(leaf)
            for count in range(1, len(played.steps) + 1):
                beginning = replace(played, steps=played.steps[:count])
                scores[contents(beginning.messages())] = beginning.score
        good = scores[contents(record["messages"])]
        bad = scores[contents(record["rejected"])]
        assert record["score"] == good >= 0.5
        assert good - bad > 0.2
        assert (record["kind"], record["iteration"]) == ("preference", 3)
        losses = [message["loss"] for message in record["rejected"][1::2]]
        assert all(losses), "all that the agent said is made less likely"


def contents(messages):
    return tuple(message["content"] for message in messages)


# --- failed prefixes


def test_a_failed_episode_is_cut_just_after_its_first_error():
    failed = trajectory_of(CUP, "go garden", "revise", "take lamp", "go hall", "take cup")
    starts, lost = failed_prefixes([failed], Lab)
    assert starts == [Start(CUP, failed.steps[:3])]
    assert lost == 0


def test_a_prefix_from_which_nothing_leads_to_the_goal_is_left_out_and_counted():
    fatal = trajectory_of(CUP, "go garden", "take cup", "put cup")
    # From the landing it takes 5 actions: go hall, go garden, take cup, go pantry, put cup; the
    # limit is 24.
    astray = ["go landing", "go attic", "go landing"]
    late = trajectory_of(CUP, *["revise"] * 19, *astray)
    in_time = trajectory_of(CUP, *["revise"] * 18, *astray)
    solved = trajectory_of(CUP, "go kitchen", *SOLVED)
    short = trajectory_of(CUP, "go garden")  # failed, but without an error
    starts, lost = failed_prefixes([fatal, late, in_time, solved, short], Lab)
    assert lost == 1 + 1
    assert [len(start.steps) for start in starts] == [19]


# --- what is remembered


def test_every_pair_is_remembered_as_it_was_judged():
    revisions = revisions_of(SETTINGS, actor=ScriptedActor(lab_player))
    found = [case for case in revisions.judged if case.error is not None]
    missed = len(revisions.judged) - len(found)
    assert missed == revisions.without_error > 0
    assert len(found) == len(revisions.examples) + revisions.not_executable
    rng = random.Random(0)
    pairs = [pair for tree in TREES for pair in pair_leaves(tree, SETTINGS, rng)]
    for pair, case in zip(pairs, revisions.judged, strict=True):
        assert case.trajectory == pair.tree.trajectory(pair.bad)
        assert case.start == pair.shared
        assert case.error is None or case.error >= case.start
