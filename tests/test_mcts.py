"""The search: UCT by its formula, the four phases, a golden tree, and what holds in every tree."""

import json
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from doubles import Corridor, ScriptedActor, episode, grow, lab_player, tiny_actor
from transformers import GPT2Config, GPT2LMHeadModel

import mcts
from agent_r import NO_ACTION, Actor, Episode, Step
from engine.dialogues import Sampling
from engine.tiny import TinyShape, word_tokenizer
from envs import Lab, World
from mcts import (
    Node,
    SearchSettings,
    Tree,
    backpropagate,
    expand,
    graft,
    search,
    select,
    uct,
)
from records.trees import to_record
from worlds.craft import Craft

CORRIDOR = SearchSettings(simulations=9, branch=2, c_uct=1.0)


def onward(turns, copy, luck):
    """Goes on in the direction of its last step (left at first); the second sample turns round."""
    left = len(turns) == 1 or "left" in turns[-2]
    return f"Action: {'right' if left == bool(copy) else 'left'}"


def wanderer(turns, copy, luck):
    """Goes anywhere, always the same way for the same dialogue and sample; is at times no use."""
    draw = random.Random(repr((turns, copy)))
    return draw.choice(["Action: left", "Action: right", "Action: right", "Action: stay", "hm."])


def grow_trees(speak, *, seed=0, tasks=("test-0",), make_world=Corridor, **settings):
    """Search with a scripted actor, or with an actor itself; see CORRIDOR for the settings."""
    actor = ScriptedActor(speak) if callable(speak) else speak
    sampling = Sampling(1.0, seed)
    return search(actor, make_world, tasks, replace(CORRIDOR, **settings), sampling)


def table(tree):
    """Path of actions -> (visits, value_sum), in the order of the tree."""
    return {path_of(node): (node.visits, node.value_sum) for node in tree.root.walk()}


def path_of(node):
    return tuple(step.action for step in node.steps())


def below(node, *actions):
    """The node that these actions, said without a thought, lead to."""
    for action in actions:
        node = node.children[f"Action: {action}"]
    return node


# --- UCT and selection


@pytest.mark.parametrize(
    ("value_sum", "visits", "parent_visits", "c_uct"),
    [(3.0, 4, 9, 0.25), (0.0, 1, 1, 2.0), (1.0, 3, 7, 0.0)],
)
def test_uct_is_the_mean_value_and_the_bonus_of_equation_4(value_sum, visits, parent_visits, c_uct):
    expected = value_sum / visits + c_uct * (math.log(parent_visits) / visits) ** 0.5
    assert uct(value_sum, visits, parent_visits, c_uct) == pytest.approx(expected, abs=1e-12)


def test_uct_of_a_child_never_visited_is_infinite_whatever_the_constant():
    assert uct(0.0, 0, 5, 0.0) == uct(0.0, 0, 1, 3.0) == math.inf


def family(*children):
    """An expanded node whose children have these (visits, value_sum)."""
    root = Node(expanded=True)
    for number, (visits, value_sum) in enumerate(children):
        step = Step(f"Action: {number}", str(number), "", 0.0)
        root.children[step.reply] = Node(root, step, visits=visits, value_sum=value_sum)
        root.visits += visits
    return root


def choice(root, c_uct):
    return select(root, c_uct).step.action


def test_select_takes_the_child_of_highest_uct():
    assert choice(family((9, 6.0), (1, 0.0)), c_uct=0.1) == "0"  # worth more
    assert choice(family((9, 6.0), (1, 0.0)), c_uct=2.0) == "1"  # tried less
    assert choice(family((2, 1.0), (8, 5.0), (2, 1.5)), c_uct=0.0) == "2"


def test_select_takes_a_child_never_visited_before_any_other():
    assert choice(family((3, 3.0), (0, 0.0), (1, 1.0)), c_uct=0.0) == "1"


def test_ties_go_to_the_child_sampled_first():
    assert choice(family((2, 1.0), (2, 1.0)), c_uct=1.0) == "0"
    assert choice(family((2, 2.0), (0, 0.0), (0, 0.0)), c_uct=1.0) == "1"


def test_select_stops_at_a_node_not_expanded():
    root = Node()
    assert select(root, 1.0) is root, "a root never expanded is where the first simulation begins"
    root = family((2, 2.0), (1, 0.0))
    best = below(root, "0")
    # Hung below by a rollout, never expanded.
    best.children["on"] = Node(best, Step("on", "on", "", 1.0), visits=1)
    assert select(root, 0.0) is best
    best.expanded = True
    assert select(root, 0.0) is best.children["on"]


def test_select_passes_over_what_is_finished_however_much_it_is_worth():
    root = family((9, 9.0), (9, 1.0), (9, 2.0), (0, 0.0))
    below(root, "0").finished = True
    below(root, "3").finished = True
    assert choice(root, c_uct=0.0) == "2"
    below(root, "2").finished = True
    assert choice(root, c_uct=0.0) == "1"


# --- expansion, and what a rollout leaves behind


def test_the_same_reply_is_one_child_and_another_thought_another():
    node = Node()
    thoughtful = "Thought: no.\nAction: right"
    other = "Thought: yes.\nAction: right"
    assert expand(node, [thoughtful, "Action: left", other, thoughtful, "i am lost", ""]) == 0
    assert node.expanded
    assert [(reply, child.step.action) for reply, child in node.children.items()] == [
        (thoughtful, "right"),
        ("Action: left", "left"),
        (other, "right"),
        ("i am lost", ""),
        ("", ""),
    ]
    assert all(child.step.reply == reply for reply, child in node.children.items())
    assert all(child.parent is node and child.visits == 0 for child in node.children.values())


def test_a_trajectory_holds_the_thought_that_was_played():
    def speak(turns, copy, luck):
        return f"Thought: {len(turns)}, {copy}.\nAction: {'left' if copy == 1 else 'right'}"

    (tree,) = grow_trees(speak, simulations=12, branch=3)
    check(tree, 12, Corridor)
    assert [child.step.action for child in tree.root.children.values()] == [
        "right",
        "left",
        "right",
    ]
    assert len(tree.root.children) == 3
    played = {tuple(step.reply for step in leaf.steps()) for leaf in tree.leaves()}
    assert len(played) == len(tree.leaves())
    assert {replies[0] for replies in played} == set(tree.root.children)
    for leaf in tree.leaves():
        for node, step in zip(leaf.path(), tree.trajectory(leaf).steps, strict=True):
            assert node.parent.children[step.reply] is node


def known(action, *, finished=False):
    """A node one of whose children was visited."""
    node = Node()
    step = Step(f"Action: {action}", action, "place 1.", 0.0)
    node.children[step.reply] = Node(node, step, visits=1, finished=finished)
    return node


def test_the_first_reply_whose_child_was_never_visited_is_played():
    node = known("left")
    assert expand(node, ["Action: left", "Action: left", "Action: right", "Action: stay"]) == 2
    assert [child.step.action for child in node.children.values()] == ["left", "right", "stay"]
    observation = below(node, "left").step.observation
    assert observation == "place 1.", "what is known of a child must not be forgotten"


def test_if_every_reply_leads_where_one_has_been_the_first_that_is_not_finished_is_played():
    assert expand(known("left"), ["Action: left", "Action: left"]) == 0
    node = known("left", finished=True)
    node.children["Action: right"] = Node(node, Step("Action: right", "right", "", 0.0), visits=1)
    assert expand(node, ["Action: left", "Action: right"]) == 1


def test_if_every_reply_leads_where_all_is_known_none_is_played():
    assert expand(known("left", finished=True), ["Action: left", "Action: left"]) is None


def test_graft_hangs_the_steps_beyond_the_node_below_it_and_ends_there():
    root = Node()
    played = episode(Corridor, "test-0", "right", "left", "left", "left")
    leaf = graft(root, played)
    assert list(table(Tree("", "", "", root))) == [
        (),
        ("right",),
        ("right", "left"),
        ("right", "left", "left"),
        ("right", "left", "left", "left"),
    ]
    assert [node.step for node in leaf.path()] == played.trajectory.steps
    assert leaf.steps() == played.trajectory.steps
    assert [node.done for node in root.walk()] == [False] * 4 + [True]
    expanded = [node for node in root.walk() if node.expanded]
    assert not expanded, "a rollout samples one action, it does not expand"


def test_graft_below_an_inner_node_takes_only_the_steps_beyond_it():
    tree = grow(Corridor, "test-0", ["right", "right"])
    inner = below(tree.root, "right")
    leaf = graft(inner, episode(Corridor, "test-0", "right", "left", "right", "right"))
    assert leaf.path()[0] is inner
    assert [node.step.action for node in leaf.path()] == ["right", "left", "right", "right"]


def test_graft_tells_a_sampled_child_what_the_world_answered_and_leaves_known_ones_alone():
    root = Node()
    expand(root, ["Action: right"])
    assert below(root, "right").step.observation == ""
    backpropagate(graft(root, episode(Corridor, "test-0", "right", "right")), 1.0)
    step = below(root, "right").step
    assert step.observation == "place 3."
    graft(root, episode(Corridor, "test-0", "right", "left"))
    assert below(root, "right").step is step


def test_graft_at_a_sampled_child_chosen_only_later_tells_it_what_the_world_answered():
    root = Node()
    expand(root, ["Action: left", "Action: right"])
    right = below(root, "right")
    graft(right, episode(Corridor, "test-0", "right", "left", "left", "left"))
    assert right.step == Step("Action: right", "right", "place 3.", 0.0)


def test_graft_at_a_sampled_child_that_ends_the_episode_tells_it_the_score():
    tree = grow(Corridor, "test-0", ["right", "left", "left", "left"])
    inner = below(tree.root, "right")
    expand(inner, ["Action: right"])
    leaf = graft(below(inner, "right"), episode(Corridor, "test-0", "right", "right"))
    assert leaf is below(inner, "right")
    assert (leaf.done, leaf.step) == (True, Step("Action: right", "right", "place 4.", 1.0))
    assert tree.trajectory(leaf).score == 1.0


def test_graft_of_an_episode_that_took_no_further_step_ends_at_the_node():
    root = Node()
    assert graft(root, episode(Corridor, "test-0")) is root
    assert root.done


def test_backpropagate_counts_the_leaf_and_all_above_it_and_nothing_else():
    tree = grow(
        Corridor,
        "test-0",
        ["right", "right"],
        ["left", "left"],
        ["right", "left", "right", "right"],
    )
    assert table(tree) == {
        (): (3, 2.0),
        ("right",): (2, 2.0),
        ("right", "right"): (1, 1.0),
        ("right", "left"): (1, 1.0),
        ("right", "left", "right"): (1, 1.0),
        ("right", "left", "right", "right"): (1, 1.0),
        ("left",): (1, 0.0),
        ("left", "left"): (1, 0.0),
    }
    assert tree.root.q == pytest.approx(2 / 3)
    assert Node().q == 0.0


def test_a_path_leads_from_below_the_root_and_a_walk_meets_parents_before_children():
    tree = grow(Corridor, "test-0", ["left", "left"], ["right", "right"])
    assert tree.root.path() == []
    assert [node.step.action for node in tree.leaves()[1].path()] == ["right", "right"]
    assert [len(node.path()) for node in tree.root.walk()] == [0, 1, 2, 1, 2]


# --- whole searches


def test_golden_tree():
    """Nine simulations by hand, c_uct = 1.

    1. The root is expanded to left and right; left is played, and on to the left: the pit.
    2. Right was never visited: expanded to right and left; right is played: the goal.
    3. Right (1 + 0.83) before left (0.83); of its children right is finished, so left; from there
       the pit.
    4-5. Right (1.24 > 1.05, 1.35 > 1.18), below it left, whose child right is fresh: the goal; and
       then left below that, as the goal is finished: the pit.
    6. Left (1.27) before right (1.13).  The rollout had hung left below it, so right is fresh, is
       played, and on to the right: the goal.
    7. Left (0.5 + 0.95) before right (1.17); left again is finished, so right, of whose children
       left is fresh: the pit.
    8-9. Right (1.20 > 1.14, 1.25 > 1.17), at whose far end the sixth step ends the episode: once at
       the goal, once in the middle.
    """
    (tree,) = grow_trees(onward)
    assert table(tree) == {
        (): (9, 4.0),
        ("left",): (3, 1.0),
        ("left", "left"): (1, 0.0),
        ("left", "right"): (2, 1.0),
        ("left", "right", "right"): (1, 1.0),
        ("left", "right", "right", "right"): (1, 1.0),
        ("left", "right", "left"): (1, 0.0),
        ("left", "right", "left", "left"): (1, 0.0),
        ("right",): (6, 3.0),
        ("right", "right"): (1, 1.0),
        ("right", "left"): (5, 2.0),
        ("right", "left", "left"): (1, 0.0),
        ("right", "left", "left", "left"): (1, 0.0),
        ("right", "left", "right"): (4, 2.0),
        ("right", "left", "right", "right"): (1, 1.0),
        ("right", "left", "right", "left"): (3, 1.0),
        ("right", "left", "right", "left", "left"): (1, 0.0),
        ("right", "left", "right", "left", "left", "left"): (1, 0.0),
        ("right", "left", "right", "left", "right"): (2, 1.0),
        ("right", "left", "right", "left", "right", "right"): (1, 1.0),
        ("right", "left", "right", "left", "right", "left"): (1, 0.0),
    }
    assert list(table(tree))[1:9] == [
        ("left",),
        ("left", "left"),
        ("left", "right"),
        ("left", "right", "right"),
        ("left", "right", "right", "right"),
        ("left", "right", "left"),
        ("left", "right", "left", "left"),
        ("right",),
    ], "children stand in the order of sampling"
    for node in tree.root.walk():
        if node.visits and node.step:
            path = path_of(node)
            place = 2 + path.count("right") - path.count("left")
            assert node.step.observation == f"place {place}."
    expanded = {" ".join(path_of(node)) for node in tree.root.walk() if node.expanded}
    zigzag = ["right", "left", "right", "left", "right"]
    assert expanded == {"", "left", "left right", *(" ".join(zigzag[:n]) for n in range(1, 6))}
    finished = [node for node in tree.root.walk() if node.finished and not node.done]
    assert [path_of(node) for node in finished] == [tuple(zigzag)]


class PlainUCT:
    """The same search told anew on paths of actions, the corridor's rules written out."""

    def __init__(self, speak, branch, c_uct):
        self.speak = speak
        self.branch = branch
        self.c_uct = c_uct
        self.visits = Counter()
        self.value = Counter()
        self.sampled = {}  # path -> the actions that were sampled behind it

    def act(self, turns, copy=0):
        """The action that the actor takes; empty if it says something else."""
        return self.speak(turns, copy, 0.0).removeprefix("Action: ").replace("hm.", "")

    def after(self, path):
        """The dialogue behind a path, whether the episode is over, and its score."""
        turns = ["reach place 4 (test-0).\nplace 2."]
        place = 2
        for action in path:
            place += {"left": -1, "right": 1}.get(action, 0)
            turns += [f"Action: {action}", f"place {place}."] if action else ["hm.", NO_ACTION]
        over = place in (0, 4) or len(path) == 6
        return turns, over, float(place == 4)

    def worth(self, path):
        visits = self.visits[path]
        if not visits:
            return math.inf
        bonus = math.sqrt(math.log(self.visits[path[:-1]]) / visits)
        return self.value[path] / visits + self.c_uct * bonus

    def finished(self, path):
        """Whether there is nothing left to find out below a path."""
        if self.after(path)[1]:
            return self.visits[path] > 0
        if path not in self.sampled:
            return False
        return all(self.finished((*path, action)) for action in self.sampled[path])

    def select(self):
        path = ()
        while path in self.sampled:
            ahead = [(*path, action) for action in self.sampled[path]]
            path = max((other for other in ahead if not self.finished(other)), key=self.worth)
        return path

    def expand(self, path):
        """The path with the action that is to be played behind it; None if all is known there."""
        turns, _, _ = self.after(path)
        actions = [self.act(turns, copy) for copy in range(self.branch)]
        before = [other[-1] for other in self.visits if other and other[:-1] == path]
        self.sampled[path] = list(dict.fromkeys([*before, *actions]))
        ahead = [(*path, action) for action in actions]
        fresh = [other for other in ahead if not self.visits[other]]
        fresh += [other for other in ahead if not self.finished(other)]
        return fresh[0] if fresh else None

    def simulate(self):
        path = self.select()
        if not self.after(path)[1]:
            path = self.expand(path)
        if path is None:
            return
        while not self.after(path)[1]:
            path = (*path, self.act(self.after(path)[0]))
        for length in range(len(path) + 1):
            self.visits[path[:length]] += 1
            self.value[path[:length]] += self.after(path)[2]

    def table(self):
        """Path -> (visits, value_sum)."""
        return {path: (count, self.value[path]) for path, count in self.visits.items() if count}


@pytest.mark.parametrize("branch", [1, 2, 4])
@pytest.mark.parametrize("c_uct", [0.0, 0.25, 2.0])
def test_search_equals_a_plain_uct_on_paths_of_actions(branch, c_uct):
    for seed in range(6):

        def speak(turns, copy, luck, seed=seed):
            return wanderer([seed, *turns], copy, luck)

        (tree,) = grow_trees(speak, simulations=25, branch=branch, c_uct=c_uct)
        visited = {path: counts for path, counts in table(tree).items() if counts[0]}
        plain = PlainUCT(speak, branch, c_uct)
        while plain.visits[()] < 25 and not plain.finished(()):
            plain.simulate()
        assert visited == plain.table(), f"policy {seed}"


def check(tree, simulations, make_world, limit=None):
    """What holds in every tree, whatever the actor says."""
    assert 0 < tree.root.visits <= simulations
    assert tree.root.visits == simulations or tree.root.finished
    for node in tree.root.walk():
        check_node(node)
    for leaf in tree.leaves():
        played = tree.trajectory(leaf)
        assert leaf.visits > 0
        assert limit is None or len(played.steps) <= limit
        world = make_world()
        world.reset(options={"task": tree.task})
        for step in played.steps:
            if step.action:
                observation, *_ = world.step(step.action)
                assert observation == step.observation, "replaying must bring the state back"
        assert world.score == played.score


def check_node(node):
    children = list(node.children.values())
    assert 0.0 <= node.q <= 1.0
    assert node.visits == 0 or node.parent is None or node.parent.visits >= node.visits
    assert all(child.parent is node for child in children)
    assert [child.step.reply for child in children] == list(node.children)
    known = node.expanded and all(child.finished for child in children)
    assert node.finished == (node.done or known)
    if node.done:
        assert not node.children, "an episode goes on behind its end"
        if node.step:
            assert node.value_sum == pytest.approx(node.visits * node.step.score)
    else:
        assert node.visits == sum(child.visits for child in children)
        assert node.value_sum == pytest.approx(sum(child.value_sum for child in children))
        assert node.visits or not node.children


@pytest.mark.parametrize("seed", range(3))
def test_visits_and_values_add_up_in_every_tree_of_a_lab(seed):
    tasks = Lab().tasks("train")[10 * seed : 10 * seed + 5]
    settings = {"simulations": 30, "branch": 4, "c_uct": 0.25}
    trees = grow_trees(lab_player, seed=seed, tasks=tasks, make_world=Lab, **settings)
    assert [tree.task for tree in trees] == tasks
    for tree in trees:
        check(tree, 30, Lab)
    worth = sum(tree.root.q for tree in trees)
    assert 0.0 < worth < 5.0, "a script that always wins or always fails tests nothing"


def test_visits_and_values_add_up_with_an_untrained_model():
    actor = tiny_actor(max_length=300, max_new_tokens=8)
    tasks = Lab().tasks("train")[:3]
    trees = grow_trees(actor, tasks=tasks, make_world=Lab, simulations=3, branch=2, max_depth=4)
    for tree in trees:
        check(tree, 3, Lab, limit=4)


def test_every_simulation_of_the_first_two_adds_a_branch_below_the_root():
    def both(turns, copy, luck):
        return f"Action: {'left' if copy else 'right'}"

    (tree,) = grow_trees(both, simulations=2)
    visits = [(child.step.action, child.visits) for child in tree.root.children.values()]
    assert visits == [("right", 1), ("left", 1)]


def coin(turns, copy, luck):
    return f"Action: {'left' if luck < 0.5 else 'right'}"


class Fork(World):
    """The first of eight steps decides: right leads to score 1, whatever comes after it."""

    name = "fork"
    step_limit = 8

    def begin(self, task):
        self.actions = []
        return f"eight steps ({task}).", "go."

    def act(self, action):
        self.actions.append(action)
        self.done = len(self.actions) == self.step_limit
        self.score = float(self.done and self.actions[0] == "right")
        return f"{len(self.actions)}."


@pytest.mark.parametrize("seed", range(4))
def test_more_simulations_find_the_better_branch(seed):
    settings = {"branch": 8, "c_uct": 0.5, "make_world": Fork, "seed": seed}
    (few,) = grow_trees(coin, simulations=4, **settings)
    (many,) = grow_trees(coin, simulations=100, **settings)
    assert many.root.q > max(few.root.q, 0.8), "simulations must go where the score is"
    right = below(many.root, "right").visits
    left = below(many.root, "left").visits
    assert right > 3 * left > 0


def test_without_exploration_the_search_stays_where_it_first_won_and_with_much_it_spreads():
    (greedy,) = grow_trees(coin, simulations=60, branch=8, c_uct=0.0, make_world=Fork)
    (spread,) = grow_trees(coin, simulations=60, branch=8, c_uct=50.0, make_world=Fork)
    assert below(greedy.root, "left").visits == 1
    assert abs(below(spread.root, "left").visits - 30) <= 2


# --- no simulation where all is known


@pytest.mark.parametrize("branch", [1, 2, 8])
def test_a_small_world_is_searched_to_its_end_and_no_further(branch):
    (tree,) = grow_trees(coin, simulations=10_000, branch=branch)
    check(tree, 10_000, Corridor)
    assert tree.root.finished
    assert tree.root.visits < 100
    if branch == 8:
        assert tree.root.visits >= len(tree.leaves()) >= 15


def test_no_simulation_begins_at_a_finished_node_while_another_is_open(monkeypatch):
    begun = []

    def record(root, c_uct):
        assert not root.finished
        node = select(root, c_uct)
        assert not any(above.finished or above.done for above in (root, *node.path()))
        if root.parent is None:  # a student's may call itself on the way down
            begun.append(node)
        return node

    monkeypatch.setattr(mcts, "select", record)
    tasks = [f"test-{number}" for number in range(5)]
    trees = grow_trees(wanderer, tasks=tasks, simulations=40, branch=4)
    assert len({id(node) for node in begun}) == len(begun), "every node is expanded but once"
    visits = [tree.root.visits for tree in trees]
    assert sum(visits) <= len(begun)
    assert {tree.root.finished for tree in trees} <= {True, False}
    for tree in trees:
        check(tree, 40, Corridor)


def test_with_actions_for_ever_new_every_simulation_reaches_another_leaf():
    def speak(turns, copy, luck):
        return f"Thought: {luck}.\nAction: stay"

    (tree,) = grow_trees(speak, simulations=15, branch=3)
    assert tree.root.visits == len(tree.leaves()) == 15
    assert all(leaf.visits == 1 for leaf in tree.leaves())


# --- many trees, seeds and limits


@pytest.mark.parametrize("rollouts", [1, 2, 7])
def test_a_tree_does_not_depend_on_the_trees_searched_beside_it(rollouts):
    tasks = [f"test-{number}" for number in range(7)]
    settings = {"simulations": 12, "branch": 3, "rollouts": rollouts}
    together = grow_trees(wanderer, tasks=tasks, **settings)
    alone = [grow_trees(wanderer, tasks=[task], **settings)[0] for task in tasks]
    assert [to_record(tree) for tree in together] == [to_record(tree) for tree in alone]
    assert len({json.dumps(to_record(tree)["nodes"]) for tree in alone}) > 1


@pytest.mark.parametrize("make_world", [Lab, Craft])
def test_a_models_trees_do_not_depend_on_how_they_are_cut_into_batches(make_world):
    torch.manual_seed(0)
    text = " ".join([make_world.words, "Action: Thought: revise"])
    actor = Actor.tiny(text, TinyShape(width=32, layers=1), max_new_tokens=3)
    tasks = make_world().tasks("train")[:70]
    settings = {"make_world": make_world, "simulations": 3, "branch": 2, "max_depth": 3}
    cuts = [
        grow_trees(actor, tasks=tasks, rollouts=rollouts, **settings) for rollouts in (1, 17, 64)
    ]
    records = [[json.dumps(to_record(tree)) for tree in trees] for trees in cuts]
    for others in records[1:]:
        same = sum(one == other for one, other in zip(records[0], others, strict=True))
        assert same >= 0.99 * len(tasks) - 1, "but for rounding at a coin's edge"
    assert len(set(records[0])) == len(tasks)
    parts = []
    for chosen in (range(30, 70), range(30)):
        part = search(
            actor,
            make_world,
            [tasks[number] for number in chosen],
            replace(CORRIDOR, simulations=3, branch=2, max_depth=3),
            Sampling(1.0),
            numbers=chosen,
        )
        parts = [json.dumps(to_record(tree)) for tree in part] + parts
    assert sum(one == other for one, other in zip(records[0], parts, strict=True)) >= len(tasks) - 1


def test_each_simulation_of_a_tree_and_each_tree_of_a_task_draws_anew():
    def speak(turns, copy, luck):
        return f"Thought: {luck}.\nAction: stay"

    one, other = grow_trees(speak, tasks=["test-0"] * 2, simulations=4, branch=2, max_depth=3)
    assert to_record(one) != to_record(other)
    thoughts = [node.step.reply for tree in (one, other) for node in tree.root.walk() if node.step]
    assert len(set(thoughts)) == len(thoughts)


def test_no_tasks_give_no_trees():
    assert grow_trees(coin, tasks=[]) == []


@pytest.mark.parametrize("kind", ["script", "model"])
def test_the_same_seed_gives_the_same_trees_and_another_seed_others(kind):
    speak = lab_player if kind == "script" else tiny_actor()
    tasks = Lab().tasks("train")[:3]
    settings = {"simulations": 3, "branch": 3, "max_depth": 5}
    texts = []
    for seed in (1, 1, 2):
        trees = grow_trees(speak, seed=seed, tasks=tasks, make_world=Lab, **settings)
        texts.append(json.dumps([to_record(tree) for tree in trees]))
    one, again, other = texts
    assert one == again
    assert one != other


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_episode_goes_deeper_than_max_depth(depth):
    (tree,) = grow_trees(wanderer, simulations=20, branch=3, max_depth=depth)
    check(tree, 20, Corridor, limit=depth)
    assert max(len(leaf.path()) for leaf in tree.leaves()) == depth


def test_max_depth_beyond_the_worlds_limit_changes_nothing():
    (one,) = grow_trees(wanderer, simulations=20, branch=3, max_depth=0)
    (other,) = grow_trees(wanderer, simulations=20, branch=3, max_depth=100)
    assert to_record(one) == to_record(other)


@pytest.mark.parametrize(
    ("max_length", "steps"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (13, 6), (14, 6)]
)
def test_an_episode_that_no_longer_fits_the_context_ends_with_its_score_so_far(max_length, steps):
    def stay(turns, copy, luck):
        return "Action: stay"

    # The double counts a turn as a token: one for the opening, two more a step, one to be kept
    # free for a reply.
    (tree,) = grow_trees(ScriptedActor(stay, max_length), simulations=3)
    # The last of the nodes, expanded, leads to the leaf that the first simulation reached.
    visits = min(3, max(1, steps - 1))
    assert table(tree) == {("stay",) * t: (visits, 0.0) for t in range(steps + 1)}
    check(tree, 3, Corridor)


def test_a_task_that_never_fits_the_context_is_a_tree_of_its_root_alone():
    (tree,) = grow_trees(ScriptedActor(coin, max_length=1), simulations=3)
    assert table(tree) == {(): (1, 0.0)}, "there is nothing to find out by another simulation"
    assert tree.root.done
    assert to_record(tree)["nodes"][0]["done"]


def test_the_actor_is_shown_the_true_dialogue_at_every_turn():
    asked = []

    def speak(turns, copy, luck):
        asked.append(turns)
        return coin(turns, copy, luck)

    grow_trees(speak, simulations=10, branch=3)
    for turns in asked:
        world = Corridor()
        observation, info = world.reset(options={"task": "test-0"})
        expected = [f"{info['instruction']}\n{observation}"]
        for reply in turns[1::2]:
            expected += [reply, world.step(reply.removeprefix("Action: "))[0]]
        assert turns == expected


# --- on disk


def test_a_record_holds_every_node_and_can_be_written_as_json():
    tasks = Lab().tasks("train")[:3]
    for tree in grow_trees(lab_player, simulations=20, branch=3, tasks=tasks, make_world=Lab):
        record = json.loads(json.dumps(to_record(tree)))
        assert record["task"] == tree.task
        assert record["instruction"] == tree.instruction
        assert record["observation"] == tree.observation
        nodes = list(tree.root.walk())
        for node, entry in zip(nodes, record["nodes"], strict=True):
            assert entry == {
                "parent": nodes.index(node.parent) if node.parent else None,
                "step": node.step and step_fields(node.step),
                "visits": node.visits,
                "value_sum": node.value_sum,
                "done": node.done,
                "expanded": node.expanded,
                "finished": node.finished,
            }


FIELDS = ("reply", "action", "observation", "score", "effect")


def step_fields(step):
    return {name: getattr(step, name) for name in FIELDS}


def test_a_record_names_parents_before_children_by_their_index():
    nodes = to_record(grow(Corridor, "test-0", ["right", "right"], ["left", "left"]))["nodes"]
    assert [node["parent"] for node in nodes] == [None, 0, 1, 0, 3]
    assert nodes[0]["step"] is None
    actions = [node["step"]["action"] for node in nodes[1:]]
    assert actions == ["right", "right", "left", "left"]


# --- openings of many lengths


def test_trees_come_back_in_the_order_of_the_tasks_whatever_the_length_of_their_openings():
    actor = Actor.tiny(Craft.words, TinyShape(width=8, layers=1))
    tasks = ["oak_cart-1", "oak_bar-2", "ash_axe-3", "elm_mug-4", "elm_box-5"]
    starts = [Episode(Craft(), task).trajectory for task in tasks]
    lengths = [len(actor.format.opening(start.opening)) for start in starts]
    assert lengths != sorted(lengths), "tasks in the order of their lengths would test nothing"
    settings = SearchSettings(simulations=1, branch=2, rollouts=2, max_depth=2)
    trees = search(actor, Craft, tasks, settings, Sampling(1.0))
    for tree, start in zip(trees, starts, strict=True):
        assert tree.task == start.task
        assert tree.instruction == start.instruction
        assert tree.observation == start.observation
        (leaf,) = tree.leaves()
        played = Episode(Craft(), tree.task, tree.trajectory(leaf).steps)
        expected = tree.trajectory(leaf)
        assert played.trajectory == expected, "a tree must hold what its own task answers"


def test_a_model_with_learned_positions_is_never_shown_an_opening_beyond_its_context():
    torch.manual_seed(0)
    tokenizer = word_tokenizer(Craft.words)
    vocabulary = len(tokenizer)
    config = GPT2Config(vocab_size=vocabulary, n_positions=56, n_embd=8, n_layer=1, n_head=1)
    actor = Actor(GPT2LMHeadModel(config).eval(), tokenizer, max_new_tokens=4)
    tasks = ["oak_cart-1", "ash_mug-7"]
    opening = Episode(Craft(), tasks[0]).trajectory.opening
    assert len(actor.format.opening(opening)) > 56
    settings = SearchSettings(simulations=2, branch=2)
    trees = search(actor, Craft, tasks, settings, Sampling(1.0))
    root = trees[0].root
    assert root.visits == 1
    assert not root.children, "what does not fit the context ends with its score so far"
