"""Exercise 4, `critique.shared_steps`: how deep lies the last node that two leaves of a tree share (paper, Phase I).

The steps that bad and good share are the *initial* part of the revision trajectory; where they part, judging begins.
"""

import random

import pytest
from handmade import check, down, hold

import critique
from mcts import Node

pytestmark = pytest.mark.ex4


def test_shape_a_whole_number():
    root = Node()
    got = critique.shared_steps(down(root, "a"), down(root, "b"))
    hold(type(got) is int, f"a number of steps is an int; got {got!r}")


def test_example_two_rooms_in_common():
    root = Node()
    bad = down(root, "go hall", "go kitchen", "take cup", "put cup")
    good = down(root, "go hall", "go kitchen", "go garden", "take ball", "put ball")
    check(
        "the steps shared by [hall, kitchen, cup, put cup] and [hall, kitchen, garden, ball, put ball]",
        critique.shared_steps(bad, good),
        2,
        (3, "steps are counted, not nodes: the root is shared but no step led to it"),
        (1, "both steps up to the shared node count, also the one that led to it"),
        (4, "this is the length of the shorter path; only what both have in common counts"),
        (0, "nodes are the same when they are one and the same object (`is`)"),
    )


def test_edge_parted_at_the_root():
    root = Node()
    check(
        "the steps shared by leaves that part at the root", critique.shared_steps(down(root, "a"), down(root, "b")), 0
    )


def test_edge_the_same_actions_on_other_branches_are_not_shared():
    root = Node()
    bad = down(root, "stay", "right", "right")
    good = down(root, "left", "right", "right", "right")
    check(
        "the steps shared by [stay, right, right] and [left, right, right, right], which part at the first",
        critique.shared_steps(bad, good),
        0,
        (2, "two nodes reached by the same action after different ones are not the same state: compare the nodes"),
        (1, "two nodes reached by the same action after different ones are not the same state: compare the nodes"),
    )


def test_edge_a_leaf_shares_all_its_steps_with_itself():
    leaf = down(Node(), "a", "b", "c")
    check("the steps a leaf three steps deep shares with itself", critique.shared_steps(leaf, leaf), 3)


def test_edge_one_leaf_above_the_other():
    root = Node()
    above = down(root, "a", "b")
    check("the steps [a, b] and [a, b, c] share", critique.shared_steps(above, down(root, "a", "b", "c")), 2)


def test_property_it_is_the_depth_of_the_node_where_the_paths_part_whichever_comes_first():
    rng = random.Random(0)
    for _ in range(40):
        root = Node()
        depth, left, right = (rng.randint(0, 4) for _ in range(3))
        fork = down(root, *("on" for _ in range(depth)))
        a = down(fork, "left", *("on" for _ in range(left)))
        b = down(fork, "right", *("on" for _ in range(right)))
        what = f"the steps shared by leaves that part after {depth} steps and go on for {left + 1} and {right + 1}"
        check(what, critique.shared_steps(a, b), depth)
        check(f"{what}, the other way round", critique.shared_steps(b, a), depth)
