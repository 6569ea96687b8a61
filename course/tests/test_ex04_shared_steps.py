"""Exercise 4, `critique.shared_steps`: the depth of the last node that two leaves share (Phase I).

The steps that bad and good share are the *initial* part of the revision trajectory; where they
part, judging begins.
"""

import pytest

import critique
from course.handmade import below, check, child, hold, shown
from mcts import Node

pytestmark = pytest.mark.ex4


def test_shape_a_whole_number():
    root = Node()
    got = critique.shared_steps(below(root, "a"), below(root, "b"))
    hold(type(got) is int, f"a number of steps is an int; got {shown(got)}")


def test_example_two_rooms_in_common():
    root = Node()
    bad = below(root, "go hall", "go kitchen", "take cup", "put cup")
    good = below(root, "go hall", "go kitchen", "go garden", "take ball", "put ball")
    check(
        "the steps shared by [hall, kitchen, cup, put cup] and [hall, kitchen, garden, ball, put]",
        critique.shared_steps(bad, good),
        2,
        (3, "steps are counted, not nodes: the root is shared but no step led to it"),
        (1, "both steps up to the shared node count, also the one that led to it"),
        (4, "this is the length of the shorter path; only what both have in common counts"),
        (0, "nodes are the same when they are one and the same object (`is`)"),
    )


def test_edge_parted_at_the_root():
    root = Node()
    got = critique.shared_steps(below(root, "a"), below(root, "b"))
    check("the steps shared by leaves that part at the root", got, 0)


def test_edge_the_same_actions_on_other_branches_are_not_shared():
    root = Node()
    bad = below(root, "stay", "right", "right")
    good = below(root, "left", "right", "right", "right")
    cause = "the same action after different ones leads to another state: compare the nodes"
    check(
        "the steps shared by [stay, right, right] and [left, right, right, right]",
        critique.shared_steps(bad, good),
        0,
        (2, cause),
        (1, cause),
    )


def test_edge_the_same_action_with_another_thought_leads_to_another_node():
    root = Node()
    hall = below(root, "go hall")
    bad = child(hall, "go kitchen", thought="the cup is there.")
    good = child(hall, "go kitchen", thought="the lamp is there.")
    check(
        "the steps shared by [hall, kitchen] and [hall, kitchen], thought otherwise at the second",
        critique.shared_steps(below(bad, "wait"), below(good, "take cup")),
        1,
        (2, "nodes are told apart by the whole reply, thought included: compare the nodes"),
    )


def test_edge_what_the_world_answers_is_no_state():
    root = Node()
    hall = below(root, "go hall")
    leaves = []
    for action in ("open box", "open drawer"):
        node = child(hall, action)
        node.step.observation = "nothing happens."
        leaves.append(below(node, "wait"))
    cause = "another action may be answered in the same words: compare the nodes"
    what = "the steps shared by [hall, box, wait] and [hall, drawer, wait], answered alike"
    check(what, critique.shared_steps(*leaves), 1, (2, cause), (3, cause))


def test_edge_a_leaf_shares_all_its_steps_with_itself():
    leaf = below(Node(), "a", "b", "c")
    what = "the steps a leaf three steps deep shares with itself"
    check(what, critique.shared_steps(leaf, leaf), 3)


def test_edge_one_leaf_above_the_other():
    root = Node()
    above = below(root, "a", "b")
    deeper = below(root, "a", "b", "c")
    check("the steps [a, b] and [a, b, c] share", critique.shared_steps(above, deeper), 2)


def test_property_it_is_the_depth_of_the_node_where_the_paths_part_whichever_comes_first(rng):
    for _ in range(40):
        depth, left, right = (rng.randint(0, 4) for _ in range(3))
        fork = below(Node(), *["on"] * depth)
        one = below(fork, "left", *["on"] * left)
        other = below(fork, "right", *["on"] * right)
        what = f"the steps shared after a fork at depth {depth}, {left + 1} and {right + 1} more"
        check(what, critique.shared_steps(one, other), depth)
        check(f"{what}, the other way round", critique.shared_steps(other, one), depth)
