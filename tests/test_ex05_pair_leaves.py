"""Exercise 5, `critique.pair_leaves`: which failure is paired with which success (paper, Phase I).

A leaf is good if r >= alpha; a pair needs r(good) - r(bad) > beta.  `shared_steps` is stood in for by a table.
"""

import random

import pytest
from handmade import check, child, hold

import critique
from mcts import Node, Tree

pytestmark = pytest.mark.ex5

SHARED = {}  # (action of one leaf, action of the other) -> how many steps they share; 0 if it is not named


@pytest.fixture(autouse=True)
def _table(monkeypatch):
    SHARED.clear()

    def shared_steps(bad, good):
        names = bad.step.action, good.step.action
        return SHARED.get(names, SHARED.get(names[::-1], 0))

    monkeypatch.setattr(critique, "shared_steps", shared_steps)


def tree_of(**scores):
    """A tree with a leaf for each score, in this order of sampling.

    What else went through a leaf gives it a mean value of 0.6, whatever its own score is.
    """
    root = Node(expanded=True, visits=5)
    for name, score in scores.items():
        child(root, name, visits=5, value_sum=3.0, score=score, done=True)
    return Tree("task", "instruction", "start.", root)


def paired(tree, alpha, beta, pairs=100, seed=0):
    """Name of the bad leaf -> names of its good leaves."""
    drawn = critique.pair_leaves(tree, alpha, beta, pairs, random.Random(seed))
    return {bad.step.action: [good.step.action for good in goods] for bad, goods in drawn}


def test_shape_a_list_of_bad_leaves_each_with_its_good_ones():
    got = critique.pair_leaves(tree_of(bad=0.0, good=1.0), 0.5, 0.2, 4, random.Random(0))
    hold(isinstance(got, list), f"the pairs are a list; got {got!r}")
    hold(len(got) == 1, f"one bad leaf and one good leaf are one pair; got {len(got)}")
    bad, goods = got[0]
    hold(
        isinstance(bad, Node) and isinstance(goods, list), f"a pair is (leaf, list of leaves); got ({bad!r}, {goods!r})"
    )


def test_example_four_leaves():
    tree = tree_of(none=0.0, half=0.5, most=0.75, all=1.0)
    expected = {"none": ["half", "most", "all"], "half": ["most", "all"], "most": ["all"]}
    check(
        "the pairs of leaves scored 0, 0.5, 0.75 and 1, alpha = 0.5, beta = 0.2",
        dict(sorted(paired(tree, 0.5, 0.2).items())),
        dict(sorted(expected.items())),
        ({"none": ["half", "most", "all"]}, "a leaf above alpha can be the bad one of a pair with a still better leaf"),
        ({"half": ["most", "all"], "most": ["all"], "none": ["most", "all"]}, "r >= alpha: a leaf at alpha is good"),
        (
            {"half": ["most"], "most": ["all"], "none": ["half"]},
            "every good leaf that is better enough belongs to the list",
        ),
        (
            {"half": ["all", "most"], "most": ["all"], "none": ["all", "most", "half"]},
            "good leaves that share equally much stay in the order of sampling",
        ),
        ({}, "a leaf's score is that of its last step; q is the mean of all that went through it"),
    )


def test_example_the_good_leaf_with_the_deepest_shared_node_comes_first():
    SHARED.update({("bad", "far"): 1, ("bad", "near"): 5, ("bad", "between"): 3})
    check(
        "the good leaves of a bad one that shares 1 step with far, 5 with near, 3 with between",
        paired(tree_of(far=1.0, near=1.0, bad=0.0, between=1.0), 0.5, 0.2),
        {"bad": ["near", "between", "far"]},
        (
            {"bad": ["far", "between", "near"]},
            "the deepest shared node comes first: a pair that parts late shows the error best",
        ),
        (
            {"bad": ["far", "near", "between"]},
            "the good leaves have to be ordered by the steps they share with the bad one",
        ),
        ({"bad": ["near"]}, "all good leaves are kept, best first: if one cannot be spliced, the next is tried"),
    )


def test_edge_the_gap_must_exceed_beta():
    check(
        "the pairs of leaves scored 0.5 and 0.75, beta = 0.25, which is the gap",
        paired(tree_of(bad=0.5, good=0.75), 0.5, 0.25),
        {},
        ({"bad": ["good"]}, "r(good) - r(bad) > beta is strict: a gap of beta is no pair"),
    )


def test_edge_alpha_itself_is_good_enough():
    check(
        "the pairs of leaves scored 0 and 0.75, alpha = 0.75",
        paired(tree_of(bad=0.0, good=0.75), 0.75, 0.2),
        {"bad": ["good"]},
        ({}, "r >= alpha: a leaf that reaches alpha is good"),
    )
    check("the same with alpha = 0.8", paired(tree_of(bad=0.0, good=0.75), 0.8, 0.2), {})


def test_edge_beta_is_a_gap_and_no_threshold():
    check(
        "the pairs of leaves scored 0.5 and 1, alpha = 0.5, beta = 0.2",
        paired(tree_of(bad=0.5, good=1.0), 0.5, 0.2),
        {"bad": ["good"]},
        ({}, "beta is the gap between the scores, as the experiments were run, not a bound for r(bad)"),
    )


def test_edge_no_leaf_is_better_than_itself():
    check("the pairs of two leaves that both score 1, beta = 0", paired(tree_of(a=1.0, b=1.0), 0.5, 0.0), {})


def test_edge_ties_keep_the_order_of_sampling():
    tree = tree_of(b=1.0, bad=0.0, a=1.0, c=1.0)
    check("the good leaves of a bad one that shares no step with any", paired(tree, 0.5, 0.2), {"bad": ["b", "a", "c"]})


def test_edge_an_episode_without_a_step_has_no_score_to_compare():
    tree = Tree("task", "instruction", "start.", Node(done=True, visits=3))
    try:
        got = paired(tree, 0.0, 0.0)
    except AttributeError:
        pytest.fail("the root has no step, so no score: an episode that ended at once is left out", pytrace=False)
    check("the pairs of a tree whose root is its only leaf", got, {})


def test_property_at_most_so_many_bad_leaves_are_drawn_each_once_by_the_generator_given():
    scores = {f"bad{n}": 0.0 for n in range(12)} | {"good": 1.0, "better": 1.0}
    draws = []
    for seed in range(8):
        drawn = critique.pair_leaves(tree_of(**scores), 0.5, 0.2, 3, random.Random(seed))
        names = [bad.step.action for bad, _ in drawn]
        hold(len(names) == 3, f"3 bad leaves of 12 were asked for; got {len(names)}: {names}")
        hold(len(set(names)) == 3, f"each bad leaf is drawn once; got {names}")
        again = critique.pair_leaves(tree_of(**scores), 0.5, 0.2, 3, random.Random(seed))
        check(f"the bad leaves drawn by seed {seed}, a second time", [bad.step.action for bad, _ in again], names)
        draws.append(tuple(names))
    hold(len(set(draws)) > 4, f"the bad leaves are drawn, not taken from the front; eight seeds gave {set(draws)}")
