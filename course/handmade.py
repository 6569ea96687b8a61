"""What the exercises' tests are made of: trees, steps and two small worlds put together by hand.

`check` and `hold` fail in the method's words: what was asked, what came, and the likely mistake.
"""

import math
import numbers

import pytest

from agent_r import Step, Trajectory
from envs import World
from mcts import Node, Tree

# --- failures that explain themselves

LENGTH = 600  # characters of a value that are shown at most
LINE = 80  # characters of a text that is read at a glance


def same(got, expected, within=1e-6):
    """Whether two values are equal, numbers to within rounding: `within` relatively."""
    if isinstance(expected, float) and isinstance(got, numbers.Real):
        return math.isclose(got, expected, rel_tol=within, abs_tol=max(within / 100, 1e-9))
    if isinstance(expected, list | tuple) and type(got) is type(expected):
        pairs = zip(got, expected, strict=False)
        return len(got) == len(expected) and all(same(*pair, within) for pair in pairs)
    return got is expected or got == expected


def shown(value):
    """Return a value as text that can be read at a glance: a node as the way that leads to it."""
    if isinstance(value, Node):
        actions = [node.step.action if node.step else "?" for node in value.path()]
        text = f"the node behind {actions}" if actions else "the root"
    elif isinstance(value, Tree):
        text = f"the tree of the task {value.task!r}"
    elif isinstance(value, list | tuple):
        inner = ", ".join(map(shown, value))
        text = f"[{inner}]" if isinstance(value, list) else f"({inner})"
    elif isinstance(value, dict):
        inner = ", ".join(f"{key!r}: {shown(entry)}" for key, entry in value.items())
        text = f"{{{inner}}}"
    else:
        text = repr(value)
    return text if len(text) <= LENGTH else f"{text[:LENGTH]} ... ({len(text)} characters)"


def parting(got, expected):
    """Return where two long texts part, from the word on in which they do, and how each goes on."""
    place = 0
    while got[place : place + 1] == expected[place : place + 1]:
        place += 1
    place = got.rfind(" ", 0, place) + 1
    begin = max(0, place - LINE // 2)
    before = f"  the same up to: ...{expected[begin:place]!r}"
    ends = [text[place : place + LINE] or "(the end)" for text in (expected, got)]
    return f"{before}\n  then expected:  {ends[0]!r}\n  then got:       {ends[1]!r}"


def check(what, got, expected, *causes, within=1e-6):
    """Fail unless `got` is `expected`.

    Each cause is a pair: what one gets by a common mistake, and the mistake in a sentence.
    """
    __tracebackhide__ = True
    if same(got, expected, within):
        return
    message = f"{what}\n  expected: {shown(expected)}\n  got:      {shown(got)}"
    if isinstance(got, str) and isinstance(expected, str) and len(expected) > LINE:
        message = f"{what}\n{parting(got, expected)}"
    for value, mistake in causes:
        if same(got, value, within):
            message += f"\n  likely cause: {mistake}"
            break
    pytest.fail(message, pytrace=False)


def hold(condition, message):
    """Fail with this message unless the condition holds."""
    __tracebackhide__ = True
    if not condition:
        pytest.fail(message, pytrace=False)


# --- trees and trajectories


def child(
    parent,
    action,
    *,
    thought="",
    visits=1,
    value_sum=0.0,
    score=0.0,
    done=False,
    expanded=False,
    finished=False,
):
    """Hang a new node below `parent`, by the reply that thinks `thought` and takes this action.

    `score` is the episode's score after it.  The end of an episode is finished, as `graft` has it.
    """
    reply = f"Action: {action}"
    if thought:
        reply = f"Thought: {thought}\n{reply}"
    step = Step(reply, action, f"after {action}.", score)
    node = Node(parent, step, done=done, expanded=expanded, visits=visits, value_sum=value_sum)
    node.finished = finished or done
    parent.children[reply] = node
    return node


def below(node, *actions):
    """Return the node that these actions lead to from `node`; what is not there yet is added."""
    for action in actions:
        node = node.children.get(f"Action: {action}") or child(node, action)
    return node


def trajectory(task, *turns):
    """Return a trajectory of turns (action, observation, score), or with their effect as well."""
    steps = []
    for action, observation, score, *effect in turns:
        steps.append(Step(f"Action: {action}", action, observation, score, *effect))
    return Trajectory(task, "instruction", "start.", steps)


# --- worlds


class Street(World):
    """Houses 0 to 5 in a row, beginning at 2: house 5 ends the episode at 1, the river at 0.

    `jump` leads into the river.  Half the score is paid for having been at house 4.  A revision,
    and what cannot be read, costs a step, as everywhere.
    """

    name = "street"
    step_limit = 7
    words = "walk to house 0 1 2 3 4 5. left right jump river. nothing happens."
    CREDIT = (0.0, 0.0, 0.0, 0.0, 0.5, 1.0)  # by house

    def tasks(self, split):
        """Return twenty tasks, all alike."""
        return [f"{split}-{number}" for number in range(20)]

    def begin(self, task):  # noqa: ARG002, all tasks are alike
        """Start at house 2, whatever the task."""
        self.house = 2
        return "walk to house 5.", "house 2."

    def act(self, action):
        """Carry out `left`, `right` or `jump`."""
        if action == "jump":
            self.done = True
            self.score = 0.0
            return "river."
        if action not in ("left", "right"):
            return "nothing happens."
        self.house += 1 if action == "right" else -1
        self.house = max(0, self.house)
        self.done = self.house == 5
        self.score = max(self.score, self.CREDIT[self.house])
        return f"house {self.house}."

    def expert(self):
        """Walk right; from the river there is no way."""
        if self.done:
            return [] if self.score == 1.0 else None
        return ["right"] * (5 - self.house)

    def choices(self):
        """Return all three actions."""
        return ["left", "right", "jump"]


class Boxes(World):
    """A coin lies in one of four boxes; the task's name alone says in which.

    Opening a box shuts the one before.  Half the score is paid for opening the right box, all of it
    for taking the coin.  An empty white box jams the one opened next, which takes a second try:
    what led to the coin from the start falls short behind that mistake.
    """

    name = "boxes"
    step_limit = 6
    COLOURS = ("red", "blue", "green", "white")
    words = " ".join(COLOURS) + (
        " take the coin. open a box. four boxes. coin. empty. stuck. taken. nothing happens."
    )

    def tasks(self, split):
        """Return twenty tasks of each colour."""
        names = []
        for number in range(20):
            for colour in self.COLOURS:
                names.append(f"{colour}-{split}-{number}")
        return names

    def begin(self, task):
        """Start with all boxes shut."""
        self.right = task.split("-")[0]
        self.open = ""
        self.stuck = False
        return "take the coin.", "four boxes."

    def act(self, action):
        """Carry out `take` or `open COLOUR`."""
        if action == "take" and self.open == self.right:
            self.done = True
            self.score = 1.0
            return "taken."
        if action not in self.choices()[1:]:
            return "nothing happens."
        if self.stuck:
            self.stuck = False
            return "stuck."
        self.open = action.removeprefix("open ")
        if self.open == self.right:
            self.score = max(self.score, 0.5)
            return "coin."
        self.stuck = self.open == "white"
        return "empty."

    def expert(self):
        """Open the right box, twice if it is stuck, and take the coin."""
        if self.done:
            return []
        way = ["take"]
        if self.open != self.right:
            way.insert(0, f"open {self.right}")
        if self.stuck:
            way.insert(0, f"open {self.right}")
        return way

    def choices(self):
        """Take the coin, or open any box."""
        return ["take", *(f"open {colour}" for colour in self.COLOURS)]
