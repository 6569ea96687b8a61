"""Exercise 15, `mcts.graft`: the steps of a simulation become part of the tree (paper, Phase I).

An episode that was replayed to a node went on from there to its end.  The world is `Street` in
handmade.py: from house 2 three times `right` to house 5; `jump` ends the episode at 0.
"""

import pytest

import mcts
from agent_r import Episode, Step
from course.handmade import Street, check, child, hold, shown
from mcts import Node

pytestmark = pytest.mark.ex15


def played(*actions):
    """The episode of these actions."""
    episode = Episode(Street(), "train-0")
    for action in actions:
        episode.act(f"Action: {action}")
    return episode


def graft(node, *actions):
    """The leaf of an episode of these actions, which went through the node."""
    leaf = mcts.graft(node, played(*actions))
    hold(isinstance(leaf, Node), f"graft returns the leaf, a node; got {shown(leaf)}")
    return leaf


def same_step(what, got, expected):
    """Fail unless a node's step is the episode's, naming what it lacks."""
    hold(isinstance(got, Step), f"{what} has a step; got {shown(got)}")
    lacking = [name for name, value in vars(expected).items() if getattr(got, name) != value]
    cause = "it takes the episode's whole step, with answer, score and what the world says"
    values = ", ".join(f"{name} is {getattr(got, name)!r}" for name in lacking)
    hold(not lacking, f"{what}: {cause}; {values}")


def way(node):
    """The actions that lead to a node."""
    return [above.step.action for above in node.path()]


def test_shape_the_leaf_comes_back():
    root = Node()
    leaf = graft(root, "jump")
    top = leaf
    while top.parent is not None:
        top = top.parent
    hold(top is root, "the leaf hangs in the tree: from it one comes up to the root")
    check("the way to it", way(leaf), ["jump"])


def test_example_a_whole_episode_below_the_root():
    root = Node()
    leaf = graft(root, "right", "right", "right")
    check(
        "the way to the leaf of [right, right, right]",
        way(leaf),
        ["right"] * 3,
        (["right"], "every step hangs below the one before it, not below the root"),
        ([], "the leaf is where the episode ended"),
    )
    answers = [node.step.observation for node in leaf.path()]
    check("what the world answered on the way", answers, ["house 3.", "house 4.", "house 5."])
    check("the score at the leaf", leaf.step.score, 1.0)
    hold(leaf.done, "the leaf is the end of an episode: mark it as done")
    marks = [node.done for node in leaf.path()[:-1]]
    check("whether an episode ended on the way", marks, [False, False])
    visits = [root.visits, *(node.visits for node in leaf.path())]
    check("the visits on the way, which `backpropagate` counts", visits, [0] * 4)
    expanded = [node.expanded for node in leaf.path()]
    cause = "a rollout samples one action and expands nothing"
    check("whether what a rollout leaves is expanded", expanded, [False] * 3, ([True] * 3, cause))


def test_example_only_what_lies_beyond_the_node_is_new():
    root = Node()
    right = child(root, "right", visits=1)
    right.step = played("right").trajectory.steps[0]
    leaf = graft(right, "right", "jump")
    check(
        "the way to the leaf of [right, jump], grafted at the node behind right",
        way(leaf),
        ["right", "jump"],
        (["right", "right", "jump"], "the steps up to the node are in the tree already"),
        (["right"], "the steps beyond the node are missing"),
    )
    hold(leaf.parent is right, "the new node hangs below the node that was given")


def test_edge_a_sampled_node_learns_what_the_world_answered():
    root = Node(expanded=True)
    mark = child(root, "right", visits=0)
    mark.step.observation = ""  # it was sampled, and never played
    leaf = graft(mark, "right", "right", "right")
    answer = mark.step.observation
    cause = "a node visited for the first time takes the episode's step, which has the answer"
    check("what the world answered to the sampled action", answer, "house 3.", ("", cause))
    check("the way to the leaf", way(leaf), ["right"] * 3)
    root = Node(expanded=True)
    mark = child(root, "jump", visits=0)
    graft(mark, "jump")
    expected = played("jump").trajectory.steps[0]
    same_step("a sampled node at which the episode ends", mark.step, expected)


def test_edge_a_sampled_child_on_the_way_learns_it_too():
    root = Node(expanded=True)
    sampled = child(root, "right", visits=0)
    sampled.step.observation = ""
    leaf = graft(root, "right", "jump")
    problem = "a child that was sampled is found by its whole reply and gone through, not made anew"
    hold(leaf.parent is sampled, problem)
    answer = sampled.step.observation
    cause = "a child visited for the first time takes the episode's step, which has the answer"
    check("what the world answered to it", answer, "house 3.", ("", cause))
    three = ["right"] * 3
    near = graft(Node(), *three[:2]).parent  # as an episode that was cut off leaves it
    last = child(near.children["Action: right"], "right", visits=0)
    graft(near.children["Action: right"], *three)
    expected = played(*three).trajectory.steps[2]
    same_step("a sampled child at which the episode ends at 1", last.step, expected)


def test_edge_the_same_action_with_another_thought_is_another_node():
    root = Node()
    for thought in ("the river is near.", "why not."):
        episode = Episode(Street(), "train-0")
        episode.act(f"Thought: {thought}\nAction: jump")
        leaf = mcts.graft(root, episode)
        cause = "a node is found by the whole reply, thought included"
        got = leaf.step.reply.split("\n")[0]
        check("what the agent thought on the way", got, f"Thought: {thought}", (got, cause))
    count = len(root.children)
    cause = "nodes are told apart by the whole reply, thought included"
    check("how many nodes two thoughts with the same action make", count, 2, (1, cause))


def test_edge_what_was_visited_before_stays_as_it_is():
    root = Node(visits=3)
    old = child(root, "right", visits=2, value_sum=1.0)
    old.step.observation = "as it was."
    graft(root, "right", "jump")
    now = root.children["Action: right"]
    hold(now is old, "a child that is there is gone through, not made anew")
    cause = "a node that was visited has its step already"
    got = old.step.observation
    check("the answer that it remembers", got, "as it was.", (got, cause))
    check("its visits and its value", (old.visits, old.value_sum), (2, 1.0))
    deep = child(old, "left", visits=1)
    deep.step.observation = "as it was."
    graft(deep, "right", "left", "jump")
    got = deep.step.observation
    check("what a visited node remembers, grafted at itself", got, "as it was.", (got, cause))


def test_edge_an_episode_that_ends_at_the_node_itself():
    root = Node()
    node = child(root, "jump", visits=0)
    leaf = graft(node, "jump")
    hold(leaf is node, f"nothing lies beyond the node: it is the leaf; got {shown(leaf)}")
    hold(leaf.done, "it is done, as the episode ended there")
    root = Node()
    leaf = graft(root)
    hold(leaf is root, f"an episode without a step ends at the root; got {shown(leaf)}")


def test_edge_a_leaf_is_finished_and_so_is_what_has_no_other():
    root = Node(expanded=True)
    leaf = graft(root, "jump")
    what = "whether leaf and root, expanded with this one child, are finished"
    cause = "below the root nothing is left to find out: call `finish` at the leaf"
    got = (leaf.finished, root.finished)
    check(what, got, (True, True), ((True, False), cause), ((False, False), cause))
    other = Node(expanded=True)
    child(other, "left", visits=0)
    graft(other, "jump")
    hold(not other.finished, "a node with a child that was never visited is not finished")


def test_property_the_tree_holds_the_episodes_that_were_grafted(rng):
    for _ in range(15):
        root = Node()
        ways = set()
        for _ in range(8):
            episode = Episode(Street(), "train-0")
            while not episode.done:
                episode.act(f"Action: {rng.choice(('left', 'right', 'jump'))}")
            node = root
            for step in episode.trajectory.steps[: rng.randint(0, 3)]:
                if step.reply not in node.children or node.children[step.reply].done:
                    break
                node = node.children[step.reply]
            leaf = mcts.graft(node, episode)
            steps = episode.trajectory.steps
            check("the steps that lead to the leaf", leaf.steps(), steps)
            for above in leaf.path():
                above.visits += 1
            ways.add(tuple(way(leaf)))
        leaves = [tuple(way(node)) for node in root.walk() if node.done]
        check("the ways to all leaves, each once", sorted(leaves), sorted(ways))
