"""Exercise 2, `mcts.select`: from the root to the leaf that is expanded next (paper, Phase I).

`uct` is stood in for: a child's score is simply its `value_sum`, so that every tree can be read by
eye.  A finished child, below which every leaf was reached, takes no further simulation.
"""

import pytest

import mcts
from course.handmade import check, child, hold, shown
from mcts import Node

pytestmark = pytest.mark.ex2


@pytest.fixture(autouse=True)
def questions(monkeypatch):
    """What `select` asks `uct`: (value_sum, visits, parent_visits, c_uct) of every child."""
    questions = []

    def score(value_sum, visits, parent_visits, c_uct):
        questions.append((value_sum, visits, parent_visits, c_uct))
        return value_sum

    monkeypatch.setattr(mcts, "uct", score)
    return questions


PASSED_OVER = "a finished child is passed over: nothing is left to find out below it"


def way(node):
    """The actions that lead to a node."""
    return [above.step.action for above in node.path()]


def walk(root):
    """The actions on the way down to where `select` stops."""
    try:
        return way(mcts.select(root, 0.25))
    except (AttributeError, ValueError, IndexError) as error:
        problem = (
            "the walk came to a node of which no child was taken: is one that is not finished,"
        )
        pytest.fail(f"{problem} whatever its score, passed over? ({error!r})", pytrace=False)


def test_shape_a_node_of_the_tree_comes_back():
    root = Node(visits=1, expanded=True)
    only = child(root, "left")
    got = mcts.select(root, 0.25)
    hold(isinstance(got, Node), f"select returns the node it stops at; got {shown(got)}")
    stop = way(got) or "the root"
    hold(got is only, f"from a root with one child the walk leads there; it stopped at {stop}")


def test_example_two_levels(questions):
    #           root N=12
    #   left 2.0 N=8     right 3.0 N=4  (expanded)
    #                    up 0.5 N=1      down 0.25 N=3
    root = Node(visits=12, expanded=True)
    child(root, "left", visits=8, value_sum=2.0)
    right = child(root, "right", visits=4, value_sum=3.0, expanded=True)
    child(right, "up", visits=1, value_sum=0.5)
    child(right, "down", visits=3, value_sum=0.25)
    check(
        "the walk down, the scores being left 2.0, right 3.0; below right: up 0.5, down 0.25",
        way(mcts.select(root, 0.25)),
        ["right", "up"],
        (["right"], "the walk goes on while the node is expanded, not for one level"),
        (["left"], "the child of highest UCT is taken; left has the most visits, or the least"),
        (["right", "down"], "the highest UCT decides on every level; down has the most visits"),
        ([], "the root is expanded, so the walk goes on from it"),
    )
    hold(questions, "the scores are those of `uct`; it was never asked")
    own_visits = [(0.25, 3, 3, 0.25), (0.5, 1, 1, 0.25), (2.0, 8, 8, 0.25), (3.0, 4, 4, 0.25)]
    of_root = [(0.25, 3, 12, 0.25), (0.5, 1, 12, 0.25), (2.0, 8, 12, 0.25), (3.0, 4, 12, 0.25)]
    check(
        "what uct was asked: (value_sum, visits, parent_visits, c_uct)",
        sorted(set(questions)),
        [(0.25, 3, 4, 0.25), (0.5, 1, 4, 0.25), (2.0, 8, 12, 0.25), (3.0, 4, 12, 0.25)],
        (own_visits, "parent_visits are the visits of the node above, not the child's own"),
        (of_root, "parent_visits are those of the node directly above, not the root's"),
    )


def test_example_the_mean_value_alone_does_not_decide():
    root = Node(visits=9, expanded=True)
    child(root, "mean 0.4", visits=8, value_sum=3.2)
    child(root, "mean 1.0", visits=1, value_sum=1.0)
    check(
        "the child taken, of UCT 3.2 (mean 0.4) and UCT 1.0 (mean 1.0)",
        way(mcts.select(root, 0.25)),
        ["mean 0.4"],
        (["mean 1.0"], "UCT decides; this is the child of highest q, or of fewest visits"),
    )


def test_example_a_finished_child_is_passed_over():
    #            root N=9
    #   known 5.0     worse 0.5     open 1.0
    #   (finished)
    #   end 5.0
    root = Node(visits=9, expanded=True)
    known = child(root, "known", visits=6, value_sum=5.0, expanded=True, finished=True)
    child(known, "end", visits=6, value_sum=5.0, done=True)
    child(root, "worse", visits=1, value_sum=0.5)
    child(root, "open", visits=2, value_sum=1.0)
    check(
        "the walk down, the scores being known 5.0 (finished), worse 0.5, open 1.0",
        walk(root),
        ["open"],
        (["known"], PASSED_OVER),
        (["known", "end"], PASSED_OVER),
        ([], "the walk does not stop above a finished child: it goes on to the best of the others"),
        (["worse"], "of the children that are not finished, the one of highest UCT is taken"),
    )


def test_edge_a_root_never_expanded_is_where_the_first_simulation_begins():
    root = Node()
    same = mcts.select(root, 0.25) is root
    hold(same, "a root that was never expanded is itself the node to expand")


def test_edge_a_node_with_children_that_was_never_expanded_is_a_place_to_stop():
    root = Node(visits=2, expanded=True)
    left = child(root, "left", visits=2, value_sum=1.0)
    child(left, "on")  # hung below by a rollout, which samples one action and expands nothing
    check(
        "where the walk stops, left having a child from a rollout but never having been expanded",
        way(mcts.select(root, 0.25)),
        ["left"],
        (["left", "on"], "ask the node whether it is `expanded`, not whether it has children"),
    )


def test_edge_the_end_of_an_episode_is_finished_and_so_passed_over():
    root = Node(visits=3, expanded=True)
    child(root, "left", visits=2, value_sum=1.0, done=True)
    child(root, "right", visits=1, value_sum=0.5)
    check(
        "where the walk stops, the scores being left 1.0, where the episode ended, and right 0.5",
        walk(root),
        ["right"],
        (["left"], PASSED_OVER),
    )


def test_edge_a_finished_child_is_passed_over_even_where_all_others_are_worth_nothing():
    root = Node(visits=3, expanded=True)
    child(root, "first", visits=1, done=True)
    child(root, "second", visits=1)
    child(root, "third", visits=1, value_sum=-1.0)
    check(
        "where the walk stops, the scores being first 0 (finished), second 0, third -1",
        walk(root),
        ["second"],
        (["first"], PASSED_OVER),
    )


def test_edge_on_every_level():
    root = Node(visits=6, expanded=True)
    left = child(root, "left", visits=6, value_sum=4.0, expanded=True)
    child(left, "up", visits=4, value_sum=3.0, done=True)
    child(left, "down", visits=2, value_sum=1.0)
    check(
        "where the walk stops; below left: up 3.0, which is finished, and down 1.0, which is not",
        walk(root),
        ["left", "down"],
        (["left", "up"], PASSED_OVER),
        (["left"], "left itself is not finished and was expanded: the walk goes on to down"),
    )


def test_edge_ties_go_to_the_child_sampled_first():
    root = Node(visits=3, expanded=True)
    for action in ("first", "second", "third"):
        child(root, action, value_sum=1.0)
    cause = "of equals the one sampled first is taken: `>` keeps it, `>=` and sorting do not"
    check(
        "the child taken of three with the same UCT",
        way(mcts.select(root, 0.25)),
        ["first"],
        (["third"], cause),
    )


def random_nodes(rng):
    """The nodes of a tree of 26, the root first; all but leaves are expanded.

    Ends of episodes are finished, and so is what has nothing but finished children.  A leaf that
    goes on hangs below the root, which is therefore not finished.
    """
    nodes = [Node(visits=1, expanded=True)]
    going_on = child(nodes[0], "on", value_sum=rng.random())
    while len(nodes) < 25:
        above = rng.choice([node for node in nodes if not node.done])
        above.expanded = True
        visits = rng.randint(1, 5)
        value_sum = rng.random()
        done = rng.random() < 0.4
        action = str(len(nodes))
        nodes.append(child(above, action, visits=visits, value_sum=value_sum, done=done))
    for node in reversed(nodes):  # a child always stands behind its parent
        below = [one.finished for one in node.children.values()]
        node.finished = node.done or (node.expanded and all(below))
    return [*nodes, going_on]


def marks(nodes):
    """What `select` must leave as it is."""
    return [(node.visits, node.value_sum, node.expanded, node.finished) for node in nodes]


def test_property_no_child_beside_the_way_has_a_higher_score_and_the_tree_is_left_as_it_was(rng):
    for _ in range(30):
        nodes = random_nodes(rng)
        before = marks(nodes)
        walk(nodes[0])
        end = mcts.select(nodes[0], 0.25)
        for node in end.path():
            through = f"the walk {way(end)} leads to {way(node)}, which is finished"
            hold(not node.finished, f"{through}; {PASSED_OVER}")
            siblings = [one for one in node.parent.children.values() if not one.finished]
            best = max(siblings, key=lambda sibling: sibling.value_sum)
            names = f"{best.step.action} has a higher score than {node.step.action}"
            hold(node is best, f"on the way {way(end)}, {names}")
        hold(not end.expanded, f"the walk stopped at {way(end)}, which is expanded")
        check("visits, values and marks of the tree after selecting", marks(nodes), before)
