"""Exercise 3, `mcts.backpropagate`: the final score counts along the path (paper, Phase I)."""

import pytest

import mcts
from course.handmade import below, check, child, hold, shown
from mcts import Node

pytestmark = pytest.mark.ex3


def counts(*nodes):
    """(visits, value_sum) of each node."""
    return [(node.visits, node.value_sum) for node in nodes]


def new_path():
    """A root that was never visited, and two nodes below it: root, left, leaf."""
    root = Node()
    left = child(root, "left", visits=0)
    leaf = child(left, "on", visits=0)
    return root, left, leaf


def test_shape_the_tree_itself_is_changed():
    _, _, leaf = new_path()
    got = mcts.backpropagate(leaf, 1.0)
    hold(got is None, f"backpropagate changes the nodes and returns nothing; got {shown(got)}")
    hold(leaf.visits == 1, f"the leaf was visited once; its visits are {leaf.visits}")


def test_example_one_simulation_worth_three_quarters():
    root, left, leaf = new_path()
    mcts.backpropagate(leaf, 0.75)
    one = (1, 0.75)
    none = (0, 0.0)
    check(
        "(visits, value_sum) of root, inner node and leaf after one simulation worth 0.75",
        counts(root, left, leaf),
        [one, one, one],
        ([none, one, one], "the root is left out: its visits stand in the logarithm of UCT"),
        ([one, one, none], "the leaf itself is left out: begin at the leaf, not at its parent"),
        ([none, none, one], "only the leaf was counted: go up along `parent` to the root"),
        ([(1, 0.0), (1, 0.0), one], "visits count on the whole path, the value at the leaf alone"),
        ([one, (1, -0.75), one], "there is one player here: the value keeps its sign on the way"),
    )


def test_example_a_second_simulation_adds_to_the_first():
    root, left, leaf = new_path()
    right = child(root, "right", visits=0)
    mcts.backpropagate(leaf, 1.0)
    mcts.backpropagate(right, 0.5)
    others = [(1, 1.0), (1, 1.0), (1, 0.5)]
    check(
        "(visits, value_sum) of root, left, its leaf and right after 1.0 at the leaf, 0.5 at right",
        counts(root, left, leaf, right),
        [(2, 1.5), *others],
        ([(2, 0.5), *others], "the second value has replaced the first; values are summed"),
        ([(2, 0.75), *others], "value_sum is the sum; the mean is `q`, which divides by visits"),
        ([(2, 1.0), *others], "values are summed; this keeps the largest"),
        ([(2, 1.25), *others], "value_sum is the sum; a mean of means is none"),
        ([(0, 0.0), *others], "the root is left out: go up until there is no parent"),
        ([(2, 1.5)] * 4, "only the nodes above the leaf are counted, not all of the tree"),
    )
    check("Q of the root, the mean of 1.0 and 0.5", root.q, 0.75)


def test_edge_a_root_alone():
    root = Node()
    mcts.backpropagate(root, 0.5)
    what = "(visits, value_sum) of a root that is itself the leaf"
    cause = "the root is left out: it counts as every other node"
    check(what, counts(root), [(1, 0.5)], ([(0, 0.0)], cause))


def test_edge_a_failure_is_a_visit_too():
    root, left, leaf = new_path()
    mcts.backpropagate(leaf, 0.0)
    cause = "a failed simulation is counted as well: that is how a bad branch falls behind"
    check(
        "(visits, value_sum) after a simulation worth 0",
        counts(root, left, leaf),
        [(1, 0.0)] * 3,
        ([(0, 0.0)] * 3, cause),
    )


def test_property_every_node_has_the_visits_and_values_of_the_simulations_through_it(rng):
    for _ in range(20):
        root = Node()
        nodes = [root]
        for number in range(15):
            nodes.append(child(rng.choice(nodes), str(number), visits=0))
        through = {id(node): [] for node in nodes}
        for _ in range(30):
            leaf = rng.choice(nodes)
            value = rng.choice((0.0, 0.25, 0.5, 1.0))
            mcts.backpropagate(leaf, value)
            for node in (root, *leaf.path()):
                through[id(node)].append(value)
        for node in nodes:
            values = through[id(node)]
            where = f"a node at depth {len(node.path())}"
            what = f"(visits, value_sum) of {where} after simulations worth {values} through it"
            check(what, counts(node), [(len(values), sum(values))])


def test_property_the_depth_of_the_leaf_does_not_matter():
    root = Node()
    leaf = below(root, *"abcdefgh")
    mcts.backpropagate(leaf, 1.0)
    what = "the value that reaches the root from eight levels below"
    left_out = "the root is left out: go up until there is no parent"
    cause = "the final score is not discounted on its way up"
    check(what, root.value_sum, 1.0, (0.0, left_out), (root.value_sum, cause))
