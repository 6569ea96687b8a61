"""The critique: pairs, the first error, the splice and its flags, its check by replay, and the dataset's figures."""

import random
import re
from collections import Counter

import pytest
import torch
from doubles import Corridor, ScriptedActor, episode, first_bad, grow, lab_player, tiny_actor

import agent_r
import critique
import envs
import mcts
from agent_r import Episode, Step, Trajectory
from critique import (
    CRITICS,
    REVISION_THOUGHTS,
    Exam,
    criticise,
    demonstration,
    execute,
    find_first_errors,
    good_examples,
    judge_figures,
    judged_episode,
    measure,
    pair_leaves,
    preference_examples,
    revision_examples,
    shared_steps,
    splice,
    verified_splice,
)
from envs import Lab
from mcts import Node, Tree

# Layout 0: lamp in the kitchen, cup in the garden, ball in the garage, ..., shoe in the bedroom, coin in the study.
CUP = "cup-pantry-hall-0"
SOLVED = ["go garden", "take cup", "go pantry", "put cup"]
BROKEN = ["go kitchen", "take lamp", "put lamp"]


def leaf_of(tree, *actions):
    node = tree.root
    for action in actions:
        node = node.children[action]
    return node


def told(task, *actions):
    return episode(Lab, task, *actions).trajectory


def scored_tree(*scores):
    """A tree whose leaves, one step below the root, have these scores; each is named by its place."""
    root = Node(expanded=True)
    for i, score in enumerate(scores):
        root.children[str(i)] = Node(root, Step(f"Action: {i}", str(i), "", score), done=True, visits=1)
    return Tree("task", "instruction", "observation", root)


def pairs_of(tree, alpha, beta, pairs=100, seed=0):
    """The pairs as action of the bad leaf -> actions of its good leaves."""
    paired = pair_leaves(tree, alpha, beta, pairs, random.Random(seed))
    return {bad.step.action: [good.step.action for good in goods] for bad, goods in paired}


# --- pairs


def test_the_shared_steps_of_two_leaves_are_those_of_one_and_the_same_node():
    tree = grow(Lab, CUP, SOLVED, BROKEN, ["go garden", "take cup", "put cup"], ["go kitchen", "go garden", *SOLVED])
    leaves = tree.leaves()
    shared = [[shared_steps(a, b) for b in leaves] for a in leaves]
    assert [leaf.step.action for leaf in leaves] == ["put cup", "put cup", "put lamp", "put cup"]
    assert shared == [[4, 2, 0, 0], [2, 3, 0, 0], [0, 0, 3, 1], [0, 0, 1, 6]]


def test_the_same_actions_on_other_branches_are_not_shared():
    tree = grow(Corridor, "test-0", ["left", "right", "right", "right"], ["stay", "right", "right"])
    assert shared_steps(*tree.leaves()) == 0


def test_a_leaf_is_good_from_alpha_on():
    assert pairs_of(scored_tree(0.0, 0.5, 0.75), alpha=0.5, beta=0.2) == {"0": ["1", "2"], "1": ["2"]}
    assert pairs_of(scored_tree(0.0, 0.5, 0.75), alpha=0.51, beta=0.2) == {"0": ["2"], "1": ["2"]}
    assert pairs_of(scored_tree(0.0, 0.5, 0.75), alpha=0.76, beta=0.2) == {}


def test_a_pair_needs_a_gap_above_beta_and_not_at_it():
    assert pairs_of(scored_tree(0.5, 0.75), alpha=0.5, beta=0.25) == {}
    assert pairs_of(scored_tree(0.5, 0.75), alpha=0.5, beta=0.24) == {"0": ["1"]}
    assert pairs_of(scored_tree(0.75, 0.75), alpha=0.5, beta=0.0) == {}, "a leaf is not better than itself"


def test_the_good_leaf_with_the_deepest_shared_node_comes_first_and_ties_keep_their_order():
    far, near = SOLVED, ["go kitchen", "go garden", "take cup", "go pantry", "put cup"]
    other = ["go office", *SOLVED]
    bad = ["go kitchen", "go garden", "take cup", "put cup"]
    tree = grow(Lab, CUP, other, far, bad, near)
    ((leaf, goods),) = pair_leaves(tree, 1.0, 0.2, 10, random.Random(0))
    assert leaf is leaf_of(tree, *bad)
    assert [shared_steps(leaf, good) for good in goods] == [3, 0, 0]
    assert goods[1:] == [leaf_of(tree, *other), leaf_of(tree, *far)]


def test_at_most_so_many_pairs_are_drawn_each_bad_leaf_once_and_by_the_seed():
    tree = scored_tree(*[0.0] * 20, 1.0)
    drawn = [[*pairs_of(tree, 0.5, 0.2, pairs=4, seed=seed)] for seed in range(10)]
    assert all(len(set(bads)) == 4 for bads in drawn)
    assert drawn == [[*pairs_of(tree, 0.5, 0.2, pairs=4, seed=seed)] for seed in range(10)]
    assert len({tuple(bads) for bads in drawn}) > 5, "the pairs must be drawn, not taken from the front"
    assert len(pairs_of(tree, 0.5, 0.2, pairs=100)) == 20
    assert pairs_of(tree, 0.5, 0.2, pairs=0) == {}


def test_an_episode_that_never_began_has_no_pairs():
    tree = Tree("task", "", "", Node(done=True, visits=3))
    assert pair_leaves(tree, 0.0, 0.0, 5, random.Random(0)) == []


# --- the first error


@pytest.mark.parametrize(
    ("verdicts", "error"),
    [
        (["Good", "Bad", "Good"], 1),
        (["Bad", "Bad"], 0),
        (["Uncertain", "Good", "Uncertain", "Bad", "Bad"], 3),
        (["Good", "Uncertain"], None),
        ([], None),
    ],
)
def test_first_bad_action_ends_the_bad_segment(verdicts, error):
    trajectory = Trajectory("task", "do it.", "a place.", [Step("Action: go", "go", "gone.", 0.0)] * len(verdicts))
    actor = ScriptedActor(lambda turns, copy, luck: f"Judgment: {verdicts[len(turns) // 2]}")
    assert find_first_errors(actor, [trajectory], [0]) == [error]


def judge(bad_share):
    """A judge whose verdict depends on what it is asked last, and who keeps what it read."""
    read = []

    def speak(turns, copy, luck):
        read.append(turns)
        draw = random.Random(turns[-1]).random()
        return "Judgment: Bad" if draw < bad_share else "Judgment: Good" if draw < 0.8 else "hm."

    return ScriptedActor(speak), read


def some_episodes(count=40):
    rng, world, found = random.Random(3), Lab(), []
    for task in world.tasks("train")[:count]:
        played = Episode(world, task, limit=rng.randint(1, 12))
        while not played.done:
            played.act(f"Action: {rng.choice([*world.choices(), 'revise', 'dance'])}")
        found.append(played.trajectory)
    return found, [rng.randrange(len(t.steps) + 1) for t in found]


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
    actor, read = judge(bad_share)
    found = find_first_errors(actor, trajectories, starts, batch_size)
    asked = Counter(map(tuple, read))
    read.clear()
    assert found == [judged_alone(actor, *pair) for pair in zip(trajectories, starts, strict=True)]
    assert asked == Counter(map(tuple, read)), "the same questions must be asked, and none behind the first Bad"
    assert bad_share in (0.0, 1.0) or {None, *range(3)} <= set(found)


def test_judging_starts_at_the_first_action_after_the_shared_node_and_passes_over_revisions():
    trajectory = told(CUP, "go kitchen", "revise", "go office", "revise", "go garden")
    questions = []

    def speak(turns, copy, luck):
        questions.append(turns[-1].splitlines()[-2])
        return "Judgment: Good"

    for start, expected in [(0, [0, 2, 4]), (1, [2, 4]), (2, [2, 4]), (3, [4]), (5, [])]:
        questions.clear()
        assert find_first_errors(ScriptedActor(speak), [trajectory], [start]) == [None]
        assert questions == [f"Action: {trajectory.steps[t].action}" for t in expected]


def test_a_trajectory_is_judged_no_further_than_its_context_holds():
    trajectory, asked = told(CUP, *["go kitchen", "go office"] * 4), []

    def speak(turns, copy, luck):
        asked.append(turns)
        return "Judgment: Bad" if len(asked) == 8 else "Judgment: Good"

    # The double counts a turn as a token: two for each question and its answer.
    assert find_first_errors(ScriptedActor(speak, max_length=7), [trajectory], [0]) == [None]
    assert len(asked) == 3
    asked.clear()
    assert find_first_errors(ScriptedActor(speak, max_length=16), [trajectory], [0]) == [7]
    assert find_first_errors(ScriptedActor(speak, max_length=1), [trajectory], [0]) == [None]


def test_judging_nothing_finds_nothing():
    assert find_first_errors(judge(1.0)[0], [], []) == []


def test_an_untrained_model_judges_as_well_and_in_lockstep_as_alone(monkeypatch):
    # What it says is no verdict; so that something is found, a reply is Bad if its letters add up to it.
    monkeypatch.setattr(critique, "parse_verdict", lambda reply: "Bad" if sum(map(ord, reply)) % 3 == 0 else "Good")
    actor = tiny_actor(2)
    actor.max_new_tokens = 4
    trajectories, starts = some_episodes(8)
    alone = [find_first_errors(actor, [t], [s])[0] for t, s in zip(trajectories, starts, strict=True)]
    assert find_first_errors(actor, trajectories, starts) == alone
    assert len(set(alone)) > 2


# --- the splice


def test_a_splice_equals_a_message_list_written_by_hand():
    bad = told(CUP, "go kitchen", "go office", "go garage", "take ball", "put ball")
    good = told(CUP, "go kitchen", "go garden", "take cup", "go pantry", "put cup")
    revision, flags = splice(bad, good, shared=1, error=2, thought="that was wrong.")
    instruction = "the cup is downstairs. put it in the pantry. you can: go ROOM, take THING, put THING."
    assert revision.messages(flags) == [
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
    assert (len(bad.steps), len(good.steps)) == (5, 5), "a splice must leave its parts as they were"


@pytest.mark.parametrize("error", range(5))
def test_bad_actions_are_never_learned_and_thought_and_good_actions_always(error):
    bad, good = told(CUP, "go kitchen", "go office", "go garage", "take ball", "put ball"), told(CUP, *SOLVED)
    revision, flags = splice(bad, good, 0, error, "hm.")
    wrong = [s.action for s, learned in zip(revision.steps, flags, strict=True) if not learned]
    right = [s.action for s, learned in zip(revision.steps, flags, strict=True) if learned]
    assert wrong == [step.action for step in bad.steps[: error + 1]]
    assert right == ["revise", *SOLVED]


def test_a_step_that_the_good_episode_took_back_itself_is_not_learned():
    good = told(CUP, "go garden", "go office", "revise", *SOLVED)
    revision, flags = splice(told(CUP, *BROKEN), good, 0, 1, "hm.")
    unlearned = [t for t, learned in enumerate(flags) if not learned]
    assert [revision.steps[t].action for t in unlearned] == ["go kitchen", "take lamp", "go office"]


def test_the_revision_turn_is_learned_even_if_the_good_actions_begin_with_another():
    revision, flags = splice(told(CUP, *BROKEN), told(CUP, "revise", *SOLVED), 0, 0, "hm.")
    assert revision.steps[1].reply == "Thought: hm.\nAction: revise"
    assert flags[1]


def test_what_is_trained_of_a_revision_is_the_thought_and_what_follows():
    actor = tiny_actor()
    revision, flags = splice(told(CUP, *BROKEN), told(CUP, *SOLVED), 0, 0, "i need another way.")
    ids, labels = actor.format.encode(revision.messages(flags))
    assert actor.tokenizer.decode([i for i in labels if i != -100]).split("<end>") == [
        "Thought: i need another way. Action: revise ",
        *(f" Action: {action} " for action in SOLVED),
        "",
    ]
    assert [i for i, label in zip(ids, labels, strict=True) if label not in (i, -100)] == []


@pytest.mark.parametrize(("shared", "error"), [(1, 0), (2, 1), (0, 3), (0, 99), (0, -1)])
def test_a_first_error_in_the_shared_prefix_or_behind_the_end_is_refused(shared, error):
    with pytest.raises(ValueError, match=f"step {error}, must lie between {shared} and 2"):
        splice(told(CUP, *BROKEN), told(CUP, *SOLVED), shared, error, "hm.")


def test_the_thoughts_can_be_told_by_the_tiny_models_words():
    tokenizer = tiny_actor().tokenizer
    for thought in REVISION_THOUGHTS:
        assert tokenizer.unk_token_id not in tokenizer(thought)["input_ids"], thought
    assert len(set(REVISION_THOUGHTS)) == 10


# --- the splice, carried out


def carried_out(task, bad, good, shared, error):
    revision, _ = splice(told(task, *bad), told(task, *good), shared, error, "hm.")
    return revision, execute(Lab(), revision)


def test_a_splice_that_can_be_carried_out_keeps_its_actions_and_gets_the_true_observations():
    bad = ["go kitchen", "take lamp", "put lamp"]
    good = ["go office", "go kitchen", "go garden", "take cup", "go pantry", "put cup"]
    revision, executed = carried_out(CUP, bad, good, 0, 1)
    assert [step.reply for step in executed.steps] == [step.reply for step in revision.steps]
    assert executed.score == revision.score == 1.0
    differ = [(a.observation, b.observation) for a, b in zip(revision.steps, executed.steps, strict=True) if a != b]
    assert differ == [("kitchen: lamp, no cup.", "kitchen: nothing, no cup.")], "the lamp has been taken before"
    assert executed == Episode(Lab(), CUP, revision.steps).trajectory


def test_the_good_actions_from_the_landing_cannot_be_taken_in_the_bedroom():
    task, good = "coin-hall-landing-0", ["go study", "take coin", "go landing", "go hall", "put coin"]
    revision, executed = carried_out(task, ["go bedroom", "take shoe", "put shoe"], good, 0, 0)
    assert revision.score == 1.0
    assert executed is None
    back = ["go bedroom", "go landing", *good]
    revision, executed = carried_out(task, ["go bedroom", "take shoe", "put shoe"], back, 1, 1)
    assert executed.score == 1.0, "a good leaf that walked back as well shows how"


def test_a_splice_behind_a_fatal_error_cannot_be_carried_out():
    assert carried_out(CUP, BROKEN, SOLVED, 0, 2)[1] is None


def test_a_splice_must_fit_the_step_limit_to_the_last_action():
    for wrong, fits in [(19, True), (20, False)]:  # with the revision turn and the four good actions 24 and 25
        bad = (["go kitchen", "go office"] * 12)[:24]
        _, executed = carried_out(CUP, bad, SOLVED, 0, wrong - 1)
        assert (executed is not None) == fits, f"{wrong} wrong actions, then 5 more"
        assert not fits or (len(executed.steps), executed.score) == (24, 1.0)


def test_a_splice_whose_score_falls_short_is_refused_and_one_that_exceeds_it_is_kept():
    steps = told(CUP, "go garden", "take cup").steps
    promise = {score: Trajectory(CUP, "", "", [*steps[:-1], Step("Action: take cup", "take cup", "", score)])
               for score in (0.0, 0.5, 0.51)}  # fmt: skip
    assert execute(Lab(), promise[0.51]) is None
    assert execute(Lab(), promise[0.5]).score == 0.5
    assert execute(Lab(), promise[0.0]).score == 0.5


# --- the dataset


def scripted_trees(count=12, simulations=40):
    generator, actor = torch.Generator().manual_seed(0), ScriptedActor(lab_player)
    return mcts.search(actor, Lab, Lab().tasks("train")[:count], simulations, 4, 0.25, 1.0, generator)


TREES = scripted_trees()


def built(splice_kind, trees=TREES, alpha=0.5, pairs=4, actor=None, seed=0):
    actor = actor or ScriptedActor(lab_player)
    rng = random.Random(seed)
    how = (alpha, 0.2, pairs, splice_kind, "actor", "deepest")
    revisions, found = revision_examples(actor, trees, Lab, *how, rng, iteration=2)
    good = good_examples(trees, alpha, pairs, rng, iteration=2)
    found["counts"]["good"] = len(good)
    return revisions + good, found


def actions_of(example):
    return [agent_r.parse_action(m["content"]) for m in example["messages"] if m["role"] == "assistant"]


@pytest.mark.parametrize("splice_kind", ["paper", "verified"])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_every_pair_is_a_revision_or_dropped_for_a_reason_and_every_example_is_counted(splice_kind, alpha):
    examples, found = built(splice_kind, alpha=alpha)
    counts, rng = found["counts"], random.Random(0)
    pairs = sum(len(pair_leaves(tree, alpha, 0.2, 4, rng)) for tree in TREES)
    assert counts["revision"] + counts["dropped_no_error"] + counts["dropped_not_executable"] == pairs
    assert Counter(example["kind"] for example in examples) == {k: counts[k] for k in ("revision", "good")}
    good = [sum(leaf.step.score >= alpha for leaf in tree.leaves()) for tree in TREES]
    assert counts["good"] == sum(min(4, n) for n in good) > 0
    assert counts["revision"] > 0
    assert counts["dropped_no_error"] > 0
    assert (counts["dropped_not_executable"] > 0) == (splice_kind == "verified")


def test_every_example_has_a_flag_on_each_assistant_turn_and_says_where_it_came_from():
    for example in built("verified")[0]:
        roles = [message["role"] for message in example["messages"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
        assert roles[-1] == "assistant"
        assert all(type(message["loss"]) is bool for message in example["messages"][1::2])
        assert example["iteration"] == 2
        assert example["task"] in {tree.task for tree in TREES}
        assert example["score"] >= 0.5
        if example["kind"] == "good":
            assert all(message["loss"] for message in example["messages"][1::2])
            assert told(example["task"], *actions_of(example)).score == example["score"]
        else:
            error, actions = example["error"], actions_of(example)
            learned = [m["loss"] for m in example["messages"][1::2]]
            assert not any(learned[: error + 1]), "what was bad is context"
            assert learned[error + 1], "the change of mind is learned"
            assert actions[error + 1] == "revise"
            for t in range(error + 2, len(actions)):
                taken_back = actions[t + 1 : t + 2] == ["revise"]
                chained = "revise" in actions[t:]  # a second failure spliced in is context as well
                assert learned[t] is not taken_back or chained


def test_every_verified_revision_is_what_the_world_answers_and_holds_its_score():
    revisions = [example for example in built("verified")[0] if example["kind"] == "revision"]
    for example in revisions:
        replies = [m["content"] for m in example["messages"][1::2]]
        played = Episode(Lab(), example["task"], [Step(reply, "", "", 0.0) for reply in replies])
        heard = [m["content"] for m in example["messages"][::2]]
        assert heard == [m["content"] for m in played.trajectory.messages()[::2]]
        assert played.trajectory.score == example["score"]


def test_the_paper_keeps_what_cannot_be_carried_out_and_the_share_tells_how_much():
    examples, found = built("paper")
    carried = []
    for example in (e for e in examples if e["kind"] == "revision"):
        played = Episode(Lab(), example["task"])
        for m in example["messages"][1::2]:
            if not played.done:
                played.act(m["content"])
        whole = len(played.trajectory.steps) == len(example["messages"]) // 2
        carried.append(whole and played.trajectory.score >= example["score"])
    assert 0.0 < found["executable_share"] < 1.0
    assert found["executable_share"] == pytest.approx(sum(carried) / len(carried))
    assert built("verified")[1]["executable_share"] == found["executable_share"], "it is a share of splices as written"


def calls_bad(wrong):
    """A judge who calls this one action Bad and is uncertain of all others."""

    def speak(turns, copy, luck):
        return f"Judgment: {'Bad' if turns[-1].splitlines()[-2] == f'Action: {wrong}' else 'Uncertain'}"

    return ScriptedActor(speak)


def revised(splice_kind, task, wrong, *ways):
    """The actions of the one revision built from a tree of these episodes (None if it is dropped), and the figures."""
    examples, found = built(splice_kind, [grow(Lab, task, *ways)], alpha=1.0, actor=calls_bad(wrong))
    actions = [actions_of(example) for example in examples if example["kind"] == "revision"]
    assert found["executable_share"] == 0.0, "as the paper has it, none of these can be carried out"
    assert found["counts"]["revision"] + found["counts"]["dropped_not_executable"] == 1
    return (actions[0] if actions else None), found


FETCH = ["go study", "take coin", "go landing", "go hall", "put coin"]  # from the landing


def test_verified_goes_on_to_the_next_good_leaf_where_the_deepest_cannot_be_carried_out():
    task, bad = "coin-hall-hall-0", ["take cup", "go kitchen", "take lamp", "put lamp"]
    # From the kitchen no door leads to the landing; the second good leaf happens to go by way of the hall.
    near, far = ["take cup", "go landing", *FETCH], ["go hall", "go landing", *FETCH]
    assert revised("paper", task, "go kitchen", bad, near, far)[0] == [*bad[:2], "revise", *near[1:]]
    assert revised("verified", task, "go kitchen", bad, near, far)[0] == [*bad[:2], "revise", *far]
    actions, found = revised("verified", task, "go kitchen", bad, near)
    assert actions is None
    assert found["revision_length"] is None, "nothing was built"


def test_verified_may_begin_one_step_before_the_shared_node_and_no_more():
    task, bad = "coin-hall-landing-0", ["go attic", "go landing", "go bedroom", "take shoe", "put shoe"]
    good = ["go attic", "go landing", *FETCH]
    assert revised("paper", task, "go bedroom", bad, good)[0] == [*bad[:3], "revise", *FETCH]
    assert revised("verified", task, "go bedroom", bad, good)[0] == [*bad[:3], "revise", "go landing", *FETCH]
    bad, good = ([*way[:2], "take cup", *way[2:]] for way in (bad, good))
    assert revised("verified", task, "go bedroom", bad, good)[0] is None


def test_verified_does_not_step_back_before_the_beginning():
    task, bad = "coin-hall-landing-0", ["go bedroom", "take shoe", "put shoe"]
    assert revised("verified", task, "go bedroom", bad, FETCH)[0] is None


@pytest.mark.parametrize(("wrong", "length"), [("go kitchen", 1), ("go office", 2), ("take lamp", 3)])
def test_the_revision_length_counts_the_bad_actions_behind_the_shared_node_up_to_the_error(wrong, length):
    bad = ["go pantry", "go kitchen", "go office", "take lamp", "go garage", "take ball", "put ball"]
    tree = grow(Lab, CUP, ["go pantry", *SOLVED], bad)
    (revision, _), found = built("verified", [tree], actor=calls_bad(wrong))
    assert found["revision_length"] == length
    assert revision["error"] == bad.index(wrong)


def test_nothing_to_pair_gives_no_examples_and_no_figures():
    examples, found = built("verified", [grow(Lab, CUP, BROKEN)])
    assert examples == []
    assert (found["revision_length"], found["executable_share"]) == (None, None)
    assert set(found["counts"].values()) == {0}


@pytest.mark.parametrize("splice_kind", ["paper", "verified"])
def test_the_same_seed_builds_the_same_examples(splice_kind):
    assert built(splice_kind) == built(splice_kind)
    assert built(splice_kind, seed=1)[0] != built(splice_kind)[0]


# --- what Phase I may not know


@pytest.fixture
def no_oracle(monkeypatch):
    def oracle(*args):
        raise AssertionError("Phase I asked the world for the truth")

    for owner, name in [
        (envs.Lab, "expert"),
        (envs.Lab, "choices"),
        (envs.Shop, "expert"),
        (envs.Shop, "choices"),
        (envs.Craft, "expert"),
        (envs.Craft, "choices"),
        (envs, "first_error"),
        (critique, "true_first_error"),
    ]:
        monkeypatch.setattr(owner, name, oracle)


@pytest.mark.parametrize("splice_kind", ["paper", "verified"])
def test_phase_one_never_asks_the_truth(no_oracle, splice_kind):
    with pytest.raises(AssertionError, match="asked the world"):
        Lab().expert()
    trees = scripted_trees(4, 40)
    _, found = built(splice_kind, trees)
    assert found["counts"]["revision"] > 0, "without a pair nothing has been judged or spliced"


SHOP = envs.Shop().tasks("train")[0]


@pytest.mark.parametrize(("make_world", "task"), [(Lab, CUP), (envs.Craft, "oak_bar-0"), (envs.Shop, SHOP)])
def test_phase_one_of_an_untrained_model_never_asks_the_truth(no_oracle, make_world, task):
    actor, generator = tiny_actor(), torch.Generator().manual_seed(0)
    actor.max_new_tokens = 6
    trees = mcts.search(actor, make_world, [task] * 2, 3, 2, 0.25, 1.0, generator, max_depth=5)
    for tree in trees:  # a model that knows nothing wins nothing: say that one leaf did, so that there are pairs
        won = tree.leaves()[0]
        tree.root.children["won"] = Node(tree.root, Step("Action: won", "won", "done.", 1.0), done=True, visits=1)
        assert won.step.score < 1.0
    for kind in ("paper", "verified"):
        how = (kind, "actor", "deepest", random.Random(0), 0)
        _, found = revision_examples(actor, trees, make_world, 1.0, 0.2, 4, *how)
        assert found["counts"]["dropped_no_error"] > 0, "the judge was asked; what it says is no verdict"


# --- who finds the first error, and what ETO learns from


def test_each_critic_finds_the_error_in_its_own_way(monkeypatch):
    bads = [told(CUP, "go kitchen", "go garden", *BROKEN), told(CUP, *BROKEN)]
    asked = []
    monkeypatch.setattr(critique, "find_first_errors", lambda *given: asked.append(given) or [2, None])
    actor, rng = object(), random.Random(0)
    assert criticise("actor", actor, bads, [1, 0], Lab, rng) == [2, None]
    assert asked == [(actor, bads, [1, 0])]
    assert criticise("end", actor, bads, [1, 0], Lab, rng) == [4, 2]
    assert criticise("truth", actor, bads, [0, 0], Lab, rng) == [0, 0], "the cup is in the garden: go kitchen is wrong"
    assert criticise("truth", actor, bads, [1, 1], Lab, rng) == [None, None], "an error of the shared steps is no t'"
    drawn = Counter(criticise("random", actor, bads, [1, 2], Lab, rng)[0] for _ in range(400))
    assert set(drawn) == {1, 2, 3, 4}
    assert min(drawn.values()) > 60
    assert {criticise("random", actor, bads, [1, 2], Lab, rng)[1] for _ in range(20)} == {2}
    assert len(asked) == 1
    assert CRITICS == ("actor", "end", "random", "truth")


def test_direct_revision_keeps_the_whole_failure():
    rng = random.Random(0)
    revisions, found = revision_examples(object(), TREES, Lab, 0.5, 0.2, 4, "paper", "end", "deepest", rng, 1)
    assert len(revisions) == found["counts"]["revision"] > 5
    for revision in revisions:
        actions = actions_of(revision)
        tree = next(tree for tree in TREES if tree.task == revision["task"])
        failures = [[step.action for step in tree.trajectory(leaf).steps] for leaf in tree.leaves() if leaf.step]
        assert actions[: actions.index("revise")] in failures
        assert revision["error"] == actions.index("revise") - 1


def test_etos_good_trajectory_is_the_one_that_shares_most_with_the_bad():
    def agree(pair):
        turns = [pair["messages"], pair["rejected"]]
        said = [[m["content"] for m in messages if m["role"] == "assistant"] for messages in turns]
        return next(k for k, (a, b) in enumerate(zip(*said, strict=False)) if a != b)

    deepest = [shared_steps(bad, goods[0]) for tree in TREES for bad, goods in pair_leaves(tree, 0.5, 0.2, 99, random)]
    pairs = preference_examples(TREES, 0.5, 0.2, 99, random, 1)
    assert sum(map(agree, pairs)) >= sum(deepest) > 0


def test_any_pairing_takes_whichever_good_leaf_and_judges_from_where_that_pair_parts(monkeypatch):
    asked = {}
    for pairing in ("deepest", "any"):

        def record(critic, actor, bads, starts, make_world, rng, pairing=pairing):
            asked[pairing] = (bads, starts)
            return [len(bad.steps) - 1 for bad in bads]

        monkeypatch.setattr(critique, "criticise", record)
        revision_examples(object(), TREES, Lab, 0.5, 0.2, 4, "paper", "actor", pairing, random.Random(0), 1)
    assert asked["any"][0] == asked["deepest"][0], "the same failures"
    pairs = list(zip(asked["any"][1], asked["deepest"][1], strict=True))
    assert all(shared <= most for shared, most in pairs)
    assert sum(shared < most for shared, most in pairs) > 3


@pytest.mark.parametrize("splice_kind", ["paper", "verified"])
def test_every_revision_turn_says_one_of_the_thoughts_and_not_always_the_same(splice_kind):
    told = Counter()
    for example in built(splice_kind)[0]:
        for message in example["messages"]:
            if message["role"] == "assistant" and message["content"].endswith(f"Action: {agent_r.REVISE}"):
                told[message["content"].removeprefix("Thought: ").partition("\n")[0]] += 1
    assert told.keys() <= {*REVISION_THOUGHTS}
    assert len(told) > 5


def test_about_every_other_revision_is_chained_with_the_latest_before_it_in_its_tree(monkeypatch):
    made, offered = [], []

    def record(world, bad, goods, error, thought):
        offered.append((bad.task, [good for good, _ in goods]))
        made.append((bad.task, (Trajectory(bad.task, str(len(made)), "", bad.steps), [False] * len(bad.steps))))
        return made[-1][1]

    monkeypatch.setattr(critique, "verified_splice", record)
    monkeypatch.setattr(critique, "criticise", lambda critic, actor, bads, *rest: [len(b.steps) - 1 for b in bads])
    chained = could = 0
    for seed in range(6):
        made.clear()
        offered.clear()
        revision_examples(object(), TREES, Lab, 0.5, 0.2, 8, "verified", "actor", "deepest", random.Random(seed), 1)
        for k, (task, goods) in enumerate(offered):
            before = [revision for name, (revision, _) in made[:k] if name == task][::-1]
            could += bool(before)
            if before and goods[0] in before:
                chained += 1
                assert goods[: len(before)] == before, "the latest first, and all of them"
    assert could > 60
    assert 0.35 < chained / could < 0.65


@pytest.mark.parametrize("critic", ["truth", "random"])
def test_a_critic_that_needs_the_world_or_chance_gets_them(critic):
    how = (Lab, 0.5, 0.2, 4, "paper", critic, "deepest")
    _, found = revision_examples(object(), TREES, *how, random.Random(0), 1)
    assert found["counts"]["revision"] > 2


def test_what_was_never_dropped_is_counted_as_never():
    how = (Lab, 0.5, 0.2, 4, "paper", "end", "deepest")
    _, found = revision_examples(object(), [], *how, random.Random(0), 1)
    assert found["counts"] == {"revision": 0, "dropped_no_error": 0, "dropped_not_executable": 0}


def test_a_verified_splice_learns_what_it_is_told_of_the_good_trajectory():
    good = told(CUP, *SOLVED)
    for learned in ([True] * 4, [False, True, False, True]):
        revision, flags = verified_splice(Lab(), told(CUP, "go kitchen"), [(good, learned)], 0, REVISION_THOUGHTS[3])
        assert flags == [False, True, *learned]
        assert revision.steps[1].reply == f"Thought: {REVISION_THOUGHTS[3]}\nAction: {agent_r.REVISE}"


def test_a_judge_that_is_two_steps_off_is_not_within_one():
    found = judge_figures([3, 3, 3, 3, None, None], [3, 2, 5, None, None, 1])
    assert found == {"first_error_exact": 0.25, "first_error_within_1": 0.5, "false_alarms": 0.5}


def test_noise_in_judged_episodes_is_as_frequent_and_of_the_kinds_that_are_said():
    rng, kinds, roles = random.Random(0), Counter(), set()
    pool = ["from anywhere"]
    for task in Lab().tasks("train")[:400]:
        messages = judged_episode(Lab(), task, pool, rng)
        roles |= {(*m.keys(), m["role"]) for m in messages}
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            bad = answer["content"].endswith(agent_r.BAD)
            kinds["bad" if bad else "good"] += 1
            kinds["anywhere"] += "from anywhere" in question["content"]
    assert roles == {("role", "content", "user"), ("role", "content", "loss", "assistant")}
    total = kinds["bad"] + kinds["good"]
    assert 0.2 < kinds["bad"] / total < 0.4
    assert 0.03 < kinds["anywhere"] / total < 0.08, "0.35 times 0.15"


def test_eto_learns_from_pairs_of_one_tree_that_differ_by_more_than_beta():
    pairs = preference_examples(TREES, 0.5, 0.2, 4, random.Random(0), 3)
    assert len(pairs) > 5
    for pair in pairs:
        tree = next(tree for tree in TREES if tree.task == pair["task"])
        scores = {}
        for leaf in tree.leaves():
            scores[str([m["content"] for m in tree.trajectory(leaf).messages()])] = leaf.step.score
        good, bad = (scores[str([m["content"] for m in messages])] for messages in (pair["messages"], pair["rejected"]))
        assert pair["score"] == good >= 0.5
        assert good - bad > 0.2
        assert (pair["kind"], pair["iteration"]) == ("preference", 3)
        assert all(m["loss"] for m in pair["rejected"][1::2]), "all that the agent said is made less likely"


# --- the judge's lessons and its marks


def test_the_judges_lessons_tell_the_truth_of_every_action():
    rng, world, seen = random.Random(5), Lab(), Counter()
    for task in world.tasks("train")[:40]:
        messages = judged_episode(world, task, ["go attic", "take rope", "put map", "dance"], rng)
        assert all(message["loss"] for message in messages[1::2])
        actions = [m["content"].splitlines()[-2].removeprefix("Action: ") for m in messages[::2]]
        verdicts = [agent_r.parse_verdict(m["content"]) for m in messages[1::2]]
        assert first_bad(verdicts) == envs.first_error(Lab(), task, actions)
        played = Episode(Lab(), task, [Step(f"Action: {action}", "", "", 0.0) for action in actions])
        assert played.done
        asked = [played.trajectory.judge_turn(t, first=t == 0) for t in range(len(actions))]
        assert [m["content"] for m in messages[::2]] == asked
        seen.update(verdicts)
    assert set(seen) == {"Good", "Bad"}
    assert min(seen.values()) > 50


def test_the_judges_marks_by_hand():
    #        exact  near  near  far  missed  right, left alone  right, false alarm
    truth = [2, 2, 2, 5, 0, None, None, None]
    found = [2, 1, 3, 2, None, None, None, 4]
    assert judge_figures(truth, found) == {
        "first_error_exact": pytest.approx(1 / 5),
        "first_error_within_1": pytest.approx(3 / 5),
        "false_alarms": pytest.approx(1 / 3),
    }


def test_a_miss_is_not_near_the_first_step():
    assert judge_figures([0, 1], [None, None])["first_error_within_1"] == 0.0


def test_marks_that_nothing_could_earn_are_none():
    assert set(judge_figures([], []).values()) == {None}
    assert judge_figures([None], [None])["first_error_exact"] is None
    assert judge_figures([1], [1])["false_alarms"] is None


def test_truth_and_findings_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        judge_figures([1], [])


class Told(Corridor):
    """A corridor that knows a way from the start only; `jump` is no action of it and `left` leads away."""

    def gold(self):
        return ["right", "right"]

    def choices(self):
        return ["left", "jump"]


def test_a_world_with_a_gold_path_alone_is_judged_by_what_was_put_into_it():
    assert [m["content"] for m in demonstration(Told(), "train-0")[1::2]] == ["Action: right", "Action: right"]
    rng, spoilt, mended = random.Random(0), 0, 0
    for _ in range(200):
        messages = judged_episode(Told(), "train-0", ["left"], rng)
        actions = [re.findall(r"Action: (.+)", m["content"])[-1] for m in messages[::2]]
        verdicts = [m["content"].removeprefix("Judgment: ") for m in messages[1::2]]
        assert verdicts == ["Good" if action == "right" else "Bad" for action in actions]
        if verdicts[-1] == "Bad":
            spoilt += 1
            assert verdicts.count("Bad") == 1, "behind the first mistake on a spoilt path nothing is known"
        else:
            mended += "jump" in actions
            assert (actions.count("right"), actions.count("left")) == (2, 0), "only the harmless is judged to the end"
    assert min(spoilt, mended) > 5


# --- the whole exam

POOR = {  # what it does for each wish; the last two actions again and again where they do not suffice
    "cup pantry": SOLVED,
    "cup kitchen": ["go garden", "take cup", "go kitchen", "put cup"],
    "lamp pantry": ["go garden", "go office"],
    "ball pantry": ["go garage", "take ball", "put ball"],  # ends in the garage, for good
}
BETTER = POOR | {"lamp pantry": ["go garden", "go kitchen", "take lamp", "go pantry", "put lamp"]}
EXAM = ["cup-pantry-hall-0", "cup-kitchen-hall-0", "lamp-pantry-hall-0", "ball-pantry-hall-0"]
CALLED_BAD = {  # by its judge: a false alarm, the first error, and the step before it
    "the cup is downstairs. put it in the pantry.": "take cup",
    "the lamp is downstairs. put it in the pantry.": "go garden",
    "the ball is downstairs. put it in the pantry.": "take ball",
}


def candidate(script):
    """Acts by the script, and calls Bad what CALLED_BAD names."""

    def speak(turns, copy, luck):
        if turns[0].startswith("Judge"):
            asked = turns[-1].rpartition("Action: ")[2]
            bad = any(wish in turns[0] and asked.startswith(action) for wish, action in CALLED_BAD.items())
            return f"Judgment: {'Bad' if bad else 'Good'}"
        thing, goal = re.match(r"the (\w+) is \w+\. put it in the (\w+)\.", turns[0]).groups()
        actions, said = script[f"{thing} {goal}"], len(turns) // 2
        return f"Action: {actions[said] if said < len(actions) else actions[said % 2 - 2]}"

    return ScriptedActor(speak)


def test_an_exam_by_hand():
    row, trajectories = measure(candidate(POOR), Exam("lab", Lab, EXAM), 2)
    assert [t.task for t in trajectories] == EXAM
    assert [len(t.steps) for t in trajectories] == [4, 4, Lab.step_limit, 3]
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
        "first_error_exact": 1 / 2,
        "first_error_within_1": 1.0,
        "false_alarms": 1 / 2,
    }


def test_recovery_is_measured_from_the_failures_of_the_first_exam():
    exam = Exam("lab", Lab, EXAM)
    measure(candidate(POOR), exam, 4)
    ((task, steps),) = frozen = exam.prefixes
    assert (task, [step.action for step in steps]) == ("lamp-pantry-hall-0", ["go garden"])
    row, _ = measure(candidate(BETTER), exam, 1)
    assert exam.prefixes is frozen
    assert (row["score"], row["recovery"]) == (3 / 4, 1.0)
    assert (row["recovery_prefixes"], row["recovery_left_out"]) == (1, 1)


def test_an_exam_without_failures_has_no_recovery_and_one_without_an_expert_no_truth():
    passed, _ = measure(candidate(POOR), Exam("lab", Lab, EXAM[:2]), 4)
    assert (passed["score"], passed["recovery"]) == (1.0, None)
    assert (passed["recovery_prefixes"], passed["recovery_left_out"]) == (0, 0)
    assert (passed["loops_failed"], passed["first_error_exact"], passed["false_alarms"]) == (None, None, 1 / 2)
    exam = Exam("corridor", Corridor, ["test-0", "test-1"])
    row, (one, other) = measure(ScriptedActor(lambda turns, copy, luck: "Action: right"), exam, 4)
    assert (one.score, other.score, exam.prefixes) == (1.0, 1.0, None)
    known = {"tasks": 2, "score": 1.0, "success": 1.0, "loops": 0.0}
    assert {name: value for name, value in row.items() if value is not None} == known
    assert row.keys() == passed.keys()
