"""Exercise 14, `mcts.expand`: children of what was sampled, and which is played (paper, Phase I).

Nodes are told apart by the whole reply.  A child knows its reply and its action alone until a
simulation goes through it.
"""

import pytest

import mcts
from agent_r import Step
from course.handmade import check, child, hold, shown
from mcts import Node

pytestmark = pytest.mark.ex14


def reply(action, thought=""):
    """What an agent writes."""
    return f"Thought: {thought}\nAction: {action}" if thought else f"Action: {action}"


def replies(*actions):
    return [reply(action) for action in actions]


def test_shape_an_index_and_a_node_with_children():
    node = Node()
    got = mcts.expand(node, replies("left", "right"))
    hold(type(got) is int, f"what comes back is the index of a reply, an int; got {shown(got)}")
    kinds = [type(below) for below in node.children.values()]
    check("what hangs below the node", kinds, [Node, Node])


def test_example_three_replies_of_which_two_are_the_same():
    node = Node()
    got = mcts.expand(node, replies("left", "right", "left"))
    check(
        "the replies by which the children are found",
        list(node.children),
        replies("left", "right"),
        (["left", "right"], "children are found by the whole reply, not by its action"),
    )
    check("the index of the reply to play", got, 0, (None, "no child was visited yet: play one"))
    hold(node.expanded, "the node is expanded from now on: `select` asks for the mark")
    steps = [below.step for below in node.children.values()]
    expected = [Step(reply(action), action, "", 0.0) for action in ("left", "right")]
    whole = [Step(reply(action), reply(action), "", 0.0) for action in ("left", "right")]
    check(
        "the steps of the children, which no world has seen",
        steps,
        expected,
        ([None] * 2, "a child has a step, which knows the reply and the action read from it"),
        (whole, "the action is read from the reply: `parse_action`"),
    )
    parents = [below.parent is node for below in node.children.values()]
    hold(all(parents), "each child knows the node above it: `backpropagate` goes up there")
    visits = [below.visits for below in node.children.values()]
    cause = "to be sampled is no visit: `backpropagate` counts"
    check("the visits of the children", visits, [0, 0], ([1, 1], cause), ([1, 0], cause))


def test_example_a_child_that_was_visited_already_is_left_for_a_new_one():
    node = Node()
    child(node, "left", visits=2)
    got = mcts.expand(node, replies("left", "left", "right", "up"))
    check(
        "the index to play of [left, left, right, up], left having been visited by a rollout",
        got,
        2,
        (0, "the first child that was never visited is played; left was"),
        (1, "the index is that of the reply, not of the child: replies may be the same"),
        (3, "of two that were never visited the first is played"),
    )


def test_edge_a_child_from_a_rollout_stays_what_it_is():
    node = Node()
    old = child(node, "left", visits=2, value_sum=1.5, score=0.5)
    mcts.expand(node, replies("left", "right"))
    now = node.children[reply("left")]
    hold(
        now is old, "a child that was there keeps its visits, value and children: do not replace it"
    )
    got = (old.visits, old.value_sum, old.step.observation)
    check("its visits, value and observation", got, (2, 1.5, "after left."))


def test_edge_the_same_action_with_another_thought_is_another_child():
    node = Node()
    said = [reply("left", "the cup is there."), reply("left", "why not.")]
    mcts.expand(node, said)
    check(
        "how many children two thoughts with the same action make",
        len(node.children),
        2,
        (1, "nodes are told apart by the whole reply, thought included"),
    )


def test_edge_a_reply_without_an_action_is_a_child_too():
    node = Node()
    mcts.expand(node, ["i do not know."])
    actions = [below.step.action for below in node.children.values()]
    check("the action of a child whose reply has none", actions, [""])


def test_edge_where_all_were_visited_one_that_is_not_finished_is_played():
    node = Node()
    child(node, "end", visits=1, done=True)
    child(node, "open", visits=3)
    child(node, "also open", visits=1)
    check(
        "the index to play of [end (finished), open, also open], all visited",
        mcts.expand(node, replies("end", "open", "also open")),
        1,
        (0, "below a finished child nothing is left to find out"),
        (2, "the first that is not finished, not that of fewest visits"),
        (None, "all were visited, but below two of them something is left"),
    )


def test_edge_one_never_visited_comes_before_one_that_is_not_finished():
    node = Node()
    child(node, "open", visits=1)
    check(
        "the index to play of [open (visited), new]",
        mcts.expand(node, replies("open", "new")),
        1,
        (0, "first is looked for a child that was never visited, in all replies"),
    )


def test_edge_where_all_are_finished_there_is_nothing_to_play():
    node = Node()
    child(node, "end", visits=1, done=True)
    got = mcts.expand(node, replies("end", "end"))
    cause = "where every reply leads to what is known, None: no simulation is spent"
    check("the index to play of [end, end], which is finished", got, None, (0, cause), (-1, cause))
    hold(node.expanded, "the node is expanded from now on, whatever was sampled")


def test_property_by_lot(rng):
    for _ in range(60):
        node = Node()
        actions = [f"room {number}" for number in range(5)]
        known = rng.sample(actions, rng.randint(0, 5))
        for action in known:
            child(node, action, visits=rng.randint(1, 3), finished=rng.random() < 0.6)
        said = rng.choices(actions, k=rng.randint(1, 5))
        told = {below.step.action: below.finished for below in node.children.values()}
        got = mcts.expand(node, replies(*said))
        new = [index for index, action in enumerate(said) if action not in known]
        going_on = [index for index, action in enumerate(said) if not told.get(action)]
        expected = [*new, *going_on, None][0]
        before = {action: "finished" if done else "open" for action, done in told.items()}
        case = f"replies {said}, visited before {before}"
        check(f"the index to play of {case}", got, expected)
        names = [below.step.action for below in node.children.values()]
        in_order = [*known, *dict.fromkeys(action for action in said if action not in known)]
        check(f"the children in the order of sampling, of {case}", names, in_order)
