"""Exercise 5, `critique.pair_leaves`: which failure goes with which success (paper, Phase I).

A leaf is good if r >= alpha; a pair needs r(good) - r(bad) > beta.  `shared_steps` is stood in for
by a table.
"""

import random

import pytest

import critique
from course.handmade import check, child, hold, shown
from critique import CritiqueSettings, Pair
from mcts import Node, Tree

pytestmark = pytest.mark.ex5

SHARED = {}  # (action of one leaf, of the other) -> the steps they share; 0 if it is not named


@pytest.fixture(autouse=True)
def _table(monkeypatch):
    SHARED.clear()

    def shared_steps(bad, good):
        names = (bad.step.action, good.step.action)
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


def draw(tree, alpha, beta, *, pairs=100, seed=0, pairing="deepest"):
    """The pairs that are drawn from a tree."""
    settings = CritiqueSettings(alpha=alpha, beta=beta, pairs=pairs, pairing=pairing)
    try:
        got = critique.pair_leaves(tree, settings, random.Random(seed))
    except ValueError as error:
        if "larger than population" not in str(error):  # of `random.sample`
            raise
        problem = f"`pairs` is at most: there may be fewer to draw from; got {error!r}"
        pytest.fail(problem, pytrace=False)
    hold(isinstance(got, list), f"the pairs are a list; got {shown(got)}")
    for pair in got:
        hold(isinstance(pair, Pair), f"a pair is a `Pair`; got a {type(pair).__name__}")
        alone = "a bad leaf without a good one that is better enough makes no pair"
        hold(pair.goods, f"{alone}; {shown(pair.bad)} has none")
    bads = {id(pair.bad) for pair in got}
    once = (
        "a bad leaf stands in several pairs: it is drawn once, and one `Pair` has all its good ones"
    )
    hold(len(bads) == len(got), f"{once}; got {shown_pairs(got)}")
    return got


def shown_pairs(pairs):
    """The names of the leaves of pairs."""
    return [(one.bad.step.action, [good.step.action for good in one.goods]) for one in pairs]


def named(tree, alpha, beta):
    """Name of the bad leaf -> names of its good leaves, in the order of the bad ones."""
    names = {}
    for pair in draw(tree, alpha, beta):
        names[pair.bad.step.action] = [good.step.action for good in pair.goods]
    return dict(sorted(names.items()))


def test_shape_a_list_of_pairs():
    tree = tree_of(bad=0.0, good=1.0)
    got = draw(tree, 0.5, 0.2)
    hold(len(got) == 1, f"one bad leaf and one good leaf are one pair; got {len(got)}")
    hold(got[0].tree is tree, f"a pair knows its tree; got {shown(got[0].tree)}")
    hold(isinstance(got[0].bad, Node), f"its bad leaf is a node; got {shown(got[0].bad)}")
    hold(isinstance(got[0].goods, list), f"its good leaves are a list; got {shown(got[0].goods)}")


def test_example_four_leaves():
    tree = tree_of(none=0.0, half=0.5, most=0.75, all=1.0)
    two = ["most", "all"]
    three = ["half", "most", "all"]
    check(
        "the pairs of leaves scored 0, 0.5, 0.75 and 1, alpha = 0.5, beta = 0.2",
        named(tree, 0.5, 0.2),
        {"half": two, "most": ["all"], "none": three},
        ({"none": three}, "a leaf above alpha can be the bad one of a pair with a better leaf"),
        ({"half": two, "most": ["all"], "none": two}, "r >= alpha: a leaf at alpha is good"),
        ({"none": two}, "alpha and beta have changed places"),
        (
            {"half": ["most"], "most": ["all"], "none": ["half"]},
            "every good leaf that is better enough belongs to the list",
        ),
        (
            {"half": two[::-1], "most": ["all"], "none": three[::-1]},
            "good leaves that share equally much stay in the order of sampling",
        ),
        ({}, "a leaf's score is that of its last step; q is the mean of all that went through it"),
    )


def test_example_the_good_leaf_with_the_deepest_shared_node_comes_first():
    SHARED.update({("bad", "far"): 1, ("bad", "near"): 5, ("bad", "between"): 3})
    check(
        "the good leaves of a bad one that shares 1 step with far, 5 with near, 3 with between",
        named(tree_of(far=1.0, near=1.0, bad=0.0, between=1.0), 0.5, 0.2),
        {"bad": ["near", "between", "far"]},
        (
            {"bad": ["far", "between", "near"]},
            "the deepest shared node comes first: what parts late shows the error best",
        ),
        (
            {"bad": ["far", "near", "between"]},
            "the good leaves have to be ordered by the steps they share with the bad one",
        ),
        (
            {"bad": ["near"]},
            "all good leaves are kept, best first: if one cannot be spliced, the next is tried",
        ),
    )


def test_edge_the_gap_must_exceed_beta():
    check(
        "the pairs of leaves scored 0.5 and 0.75, beta = 0.25, which is the gap",
        named(tree_of(bad=0.5, good=0.75), 0.5, 0.25),
        {},
        ({"bad": ["good"]}, "r(good) - r(bad) > beta is strict: a gap of beta is no pair"),
    )


def test_edge_alpha_itself_is_good_enough():
    tree = tree_of(bad=0.0, good=0.75)
    check(
        "the pairs of leaves scored 0 and 0.75, alpha = 0.75",
        named(tree, 0.75, 0.2),
        {"bad": ["good"]},
        ({}, "r >= alpha: a leaf that reaches alpha is good"),
    )
    check("the same with alpha = 0.8", named(tree, 0.8, 0.2), {})


def test_edge_beta_is_a_gap_and_no_threshold():
    check(
        "the pairs of leaves scored 0.5 and 1, alpha = 0.5, beta = 0.2",
        named(tree_of(bad=0.5, good=1.0), 0.5, 0.2),
        {"bad": ["good"]},
        ({}, "beta is the gap between the scores, as the experiments ran, no bound for r(bad)"),
    )


def test_edge_no_leaf_is_better_than_itself():
    what = "the pairs of two leaves that both score 1, beta = 0"
    check(what, named(tree_of(a=1.0, b=1.0), 0.5, 0.0), {})


def test_edge_a_success_that_pays_less_is_good_too():
    tree = tree_of(bad=0.25, won=0.75)
    tree.root.children["Action: won"].step.won = True  # the world says so itself
    check(
        "the pairs of leaves scored 0.25 and 0.75, of which the world calls the second a success",
        named(tree, 1.0, 0.2),
        {"bad": ["won"]},
        ({}, "what is good is the step's own word: `Step.is_good(alpha)`"),
    )


def test_edge_the_number_of_pairs_is_no_limit_to_the_good_leaves():
    tree = tree_of(bad=0.0, one=1.0, two=1.0, three=1.0)
    for seed in range(6):
        check(
            "the pairs of a tree with one bad leaf and three good ones, one pair at most",
            shown_pairs(draw(tree, 0.5, 0.2, pairs=1, seed=seed)),
            [("bad", ["one", "two", "three"])],
            ([], "draw among the bad leaves that have a good one, not among all leaves"),
            ([("bad", ["one"])], "`pairs` counts bad leaves; each keeps all of its good ones"),
        )


def test_edge_a_success_that_pays_less_may_be_the_bad_one():
    tree = tree_of(won=0.25, more=1.0)
    tree.root.children["Action: won"].step.won = True
    check(
        "the pairs of leaves scored 0.25, a success by the world's word, and 1, beta = 0.2",
        named(tree, 1.0, 0.2),
        {"won": ["more"]},
        ({}, "what makes a pair is the gap between the scores: a good leaf may be the bad one"),
    )


def test_edge_the_order_is_the_same_whatever_the_pairing():
    SHARED.update({("bad", "far"): 1, ("bad", "near"): 5})
    (pair,) = draw(tree_of(far=1.0, bad=0.0, near=1.0), 0.5, 0.2, pairing="any")
    check(
        "the good leaves of a bad one that shares 1 step with far, 5 with near, pairing any",
        [good.step.action for good in pair.goods],
        ["near", "far"],
        (["far", "near"], "`draw_pairs` sees to the pairing: the deepest comes first here"),
    )


def test_edge_ties_keep_the_order_of_sampling():
    tree = tree_of(b=1.0, bad=0.0, a=1.0, c=1.0)
    what = "the good leaves of a bad one that shares no step with any"
    check(what, named(tree, 0.5, 0.2), {"bad": ["b", "a", "c"]})


def test_edge_an_episode_without_a_step_has_no_score_to_compare():
    tree = Tree("task", "instruction", "start.", Node(done=True, visits=3))
    try:
        got = named(tree, 0.0, 0.0)
    except AttributeError as error:
        if "NoneType" not in str(error):
            raise
        problem = "the root has no step, so no score: an episode that ended at once is left out"
        pytest.fail(problem, pytrace=False)
    check("the pairs of a tree whose root is its only leaf", got, {})


def test_property_every_pair_of_leaves_is_one_that_the_condition_names(rng):
    for _ in range(20):
        scores = {f"leaf{number}": rng.randint(0, 8) / 8 for number in range(7)}
        alpha = rng.randint(1, 8) / 8
        beta = rng.randint(0, 4) / 8
        expected = {}
        for bad, low in sorted(scores.items()):
            goods = [good for good, r in scores.items() if r >= alpha and r - low > beta]
            if goods:
                expected[bad] = goods
        what = f"the pairs of leaves with the scores {scores}, alpha = {alpha}, beta = {beta}"
        check(what, named(tree_of(**scores), alpha, beta), expected)


def test_property_at_most_so_many_bad_leaves_are_drawn_each_once_by_the_generator_given():
    failures = {f"bad{number}": 0.0 for number in range(12)}
    tree = tree_of(**failures, good=1.0, better=1.0)
    draws = set()
    for seed in range(8):
        names = [pair.bad.step.action for pair in draw(tree, 0.5, 0.2, pairs=3, seed=seed)]
        among = "12 bad leaves have a good one, and 3 of them are asked for"
        hold(len(names) == 3, f"{among}; got {len(names)}: {names}")
        again = [pair.bad.step.action for pair in draw(tree, 0.5, 0.2, pairs=3, seed=seed)]
        cause = "whatever is drawn, the generator that was given draws it"
        check(f"the bad leaves drawn by seed {seed}, a second time", again, names, (again, cause))
        draws.add(tuple(names))
    wish = "the bad leaves are drawn, not taken from the front"
    hold(len(draws) > 4, f"{wish}; eight seeds gave {draws}")
    ever = set()
    for seed in range(60):
        ever |= {pair.bad.step.action for pair in draw(tree, 0.5, 0.2, pairs=3, seed=seed)}
    never = sorted(set(failures) - ever)
    hold(not never, f"each bad leaf may be drawn; in 60 draws of 3 of 12 these never were: {never}")
