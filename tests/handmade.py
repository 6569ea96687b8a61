"""What the exercises' tests are made of: nodes and steps put together by hand, and failures in the method's words."""

import math
import numbers

import pytest

from agent_r import Step, Trajectory
from envs import World
from mcts import Node


def same(got, expected):
    """Equal, and numbers to within rounding."""
    if isinstance(expected, float) and isinstance(got, numbers.Real):
        return math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(expected, list | tuple) and type(got) is type(expected):
        return len(got) == len(expected) and all(map(same, got, expected))
    return got is expected or got == expected


def check(what, got, expected, *causes):
    """Fail unless `got` is `expected`; each cause is a pair (what one gets by it, the mistake in a sentence)."""
    __tracebackhide__ = True
    if not same(got, expected):
        likely = next((f"\n  likely cause: {mistake}" for value, mistake in causes if same(got, value)), "")
        pytest.fail(f"{what}\n  expected: {expected!r}\n  got:      {got!r}{likely}", pytrace=False)


def hold(condition, message):
    """Fail with this message unless the condition holds."""
    __tracebackhide__ = True
    if not condition:
        pytest.fail(message, pytrace=False)


def child(parent, action, visits=1, value_sum=0.0, score=0.0, done=False, expanded=False):
    """A new node below `parent`, by this action; `score` is the episode's score after it."""
    step = Step(f"Action: {action}", action, f"after {action}.", score)
    node = Node(parent, step, done=done, expanded=expanded, visits=visits, value_sum=value_sum)
    parent.children[action] = node
    return node


def down(node, *actions):
    """Nodes one below the other from `node` on; the last one."""
    for action in actions:
        node = node.children.get(action) or child(node, action)
    return node


def told(task, *turns):
    """A trajectory of turns (action, observation, score)."""
    steps = [Step(f"Action: {action}", action, observation, score) for action, observation, score in turns]
    return Trajectory(task, "instruction", "start.", steps)


class Street(World):
    """Houses 0 to 5 in a row, beginning at 2.  House 5 ends the episode at 1, `jump` into the river ends it at 0.

    Half the score is paid for having been at house 4.  `revise` and what cannot be read cost a step, as everywhere.
    """

    name = "street"
    step_limit = 7
    words = "walk to house 0 1 2 3 4 5. left right jump river. nothing happens."

    def tasks(self, split):
        return [f"{split}-{number}" for number in range(20)]

    def begin(self, task):
        self.house = 2
        return "walk to house 5.", "house 2."

    def act(self, action):
        if action == "jump":
            self.done, self.score = True, 0.0
            return "river."
        if action not in ("left", "right"):
            return "nothing happens."
        self.house = max(0, self.house + (1 if action == "right" else -1))
        self.done, self.score = self.house == 5, max(self.score, {4: 0.5, 5: 1.0}.get(self.house, 0.0))
        return f"house {self.house}."

    def expert(self):
        if self.done:
            return [] if self.score == 1.0 else None
        return ["right"] * (5 - self.house)

    def choices(self):
        return ["left", "right", "jump"]


class Boxes(World):
    """A coin lies in one of four boxes; the task's name alone says in which.  Opening a box shuts the one before.

    Half the score is paid for opening the right box, all of it for taking the coin.  An empty white box jams the one
    opened next, which takes a second try: what led to the coin from the start falls short behind that mistake.
    """

    name = "boxes"
    step_limit = 6
    COLOURS = ("red", "blue", "green", "white")
    words = " ".join(COLOURS) + " take the coin. open a box. four boxes. coin. empty. stuck. taken. nothing happens."

    def tasks(self, split):
        return [f"{colour}-{split}-{number}" for number in range(20) for colour in self.COLOURS]

    def begin(self, task):
        self.right, self.open, self.stuck = task.split("-")[0], "", False
        return "take the coin.", "four boxes."

    def act(self, action):
        if action == "take" and self.open == self.right:
            self.done, self.score = True, 1.0
            return "taken."
        if action not in self.choices()[1:]:
            return "nothing happens."
        if self.stuck:
            self.stuck = False
            return "stuck."
        self.open = action.removeprefix("open ")
        self.stuck = self.open == "white" != self.right
        self.score = max(self.score, 0.5 * (self.open == self.right))
        return "coin." if self.open == self.right else "empty."

    def expert(self):
        openings = (self.open != self.right) + self.stuck
        return [] if self.done else [f"open {self.right}"] * openings + ["take"]

    def choices(self):
        return ["take", *(f"open {colour}" for colour in self.COLOURS)]
