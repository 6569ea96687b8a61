"""Monte Carlo Tree Search over an agent's own actions (paper, Phase I).

A node is the state reached by a sequence of actions; since worlds are deterministic, replaying the actions brings
the state back.  One simulation is four steps, each a function here: `select` walks down by UCT to a node that was
never expanded, `expand` adds the actions the actor samples there, `rollout` plays one of them to the end of the
episode (its steps become part of the tree), `backpropagate` adds the final score along the path.

`search` runs one simulation of many trees at a time, so that a batch holds the frontiers of all of them.
`python mcts.py` searches one task with a random policy and prints the tree.

Changed from the released code: it has no separate rollout, expanding every level down to a leaf, and replays the
world once per sampled action; here a leaf is replayed once, and an action is carried out only when it is chosen.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from agent_r import Actor, Dialogues, Episode, Step, Trajectory, advance, finish, open_dialogues, parse_action, together
from envs import World


@dataclass(eq=False)
class Node:
    """A state of the search: the step that led to it, and what simulations through it were worth.

    The root has no step.  A child that was sampled but never visited knows its reply and action alone.
    """

    parent: Node | None = None
    step: Step | None = None
    done: bool = False
    expanded: bool = False
    visits: int = 0
    value_sum: float = 0.0
    children: dict[str, Node] = field(default_factory=dict)  # by action, in order of sampling

    @property
    def q(self) -> float:
        """Q(s), the mean final score of the simulations through this node."""
        return self.value_sum / self.visits if self.visits else 0.0

    def path(self) -> list[Node]:
        """The nodes from the root's child to this one."""
        nodes, node = [], self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first, children in order of sampling."""
        ahead = [self]
        while ahead:
            node = ahead.pop()
            yield node
            ahead += reversed(node.children.values())


@dataclass
class Tree:
    """The search tree of one task."""

    task: str
    instruction: str
    observation: str
    root: Node

    def leaves(self) -> list[Node]:
        """The nodes at which an episode ended, in order of sampling."""
        return [node for node in self.root.walk() if node.done]

    def trajectory(self, leaf: Node) -> Trajectory:
        """The trajectory from the root to `leaf`."""
        return Trajectory(self.task, self.instruction, self.observation, [node.step for node in leaf.path()])


def uct(value_sum: float, visits: int, parent_visits: int, c_uct: float) -> float:
    """UCT(s) = Q(s) + c_uct * sqrt(ln N(parent) / N(s)) (paper, Phase I); infinite for a child never visited."""
    if visits == 0:
        return math.inf
    return value_sum / visits + c_uct * math.sqrt(math.log(parent_visits) / visits)


def select(root: Node, c_uct: float) -> Node:
    """Go down by highest UCT, ties to the child sampled first, to a node not expanded or at which the episode ended."""
    node = root
    while node.expanded and not node.done:
        node = max(node.children.values(), key=lambda child: uct(child.value_sum, child.visits, node.visits, c_uct))
    return node


def expand(node: Node, replies: Sequence[str]) -> int:
    """Add a child for each action said; the index of the reply to play: the first never visited, else the first."""
    node.expanded = True
    for reply in replies:
        action = parse_action(reply)
        node.children.setdefault(action, Node(node, Step(reply, action, "", 0.0)))
    fresh = (i for i, reply in enumerate(replies) if node.children[parse_action(reply)].visits == 0)
    return next(fresh, 0)


def graft(node: Node, episode: Episode) -> Node:
    """Hang the steps an episode took beyond `node` below it; return the leaf.

    A `node` that was sampled earlier and is visited for the first time learns only now what the world answered.
    """
    depth = len(node.path())
    if node.step and node.visits == 0:
        node.step = episode.trajectory.steps[depth - 1]
    for step in episode.trajectory.steps[depth:]:
        child = node.children.setdefault(step.action, Node(node))
        if child.visits == 0:
            child.step = step
        node = child
    node.done = True
    return node


def backpropagate(leaf: Node, value: float) -> None:
    """Count one simulation of this value at the leaf and at every node above it."""
    node: Node | None = leaf
    while node is not None:
        node.visits += 1
        node.value_sum += value
        node = node.parent


def simulate(
    actor: Actor, leaves: Sequence[Node], episodes: Sequence[Episode], branch: int,
    temperature: float, generator: torch.Generator, openings: Dialogues | None = None,
) -> None:
    """Expand all leaves and play each to the end of its episode, in one batch; `episodes[i]` stands at `leaves[i]`.

    `openings` are conversations that have heard the openings of the episodes already, all but the last token.
    """
    leaf_of = dict(zip(map(id, episodes), leaves, strict=True))
    live, dialogues = open_dialogues(actor, episodes, openings)
    if live:
        dialogues.select([row for row in range(len(live)) for _ in range(branch)])
        replies = dialogues.replies(temperature, generator)
        chosen = [
            row * branch + expand(leaf_of[id(episode)], replies[row * branch : (row + 1) * branch])
            for row, episode in enumerate(live)
        ]
        dialogues.select(chosen)
        finish(advance(live, dialogues, [replies[i] for i in chosen]), dialogues, temperature, generator)


def search(
    actor: Actor, make_world: Callable[[], World], tasks: Sequence[str], simulations: int, branch: int, c_uct: float,
    temperature: float, generator: torch.Generator, batch_size: int = 256, max_depth: int = 0,
) -> list[Tree]:
    """Grow one tree per task by `simulations` simulations with `branch` sampled actions each.

    Trees are searched `batch_size` at a time, all in lockstep; episodes end at `max_depth` steps, if it is not 0,
    or the world's own limit.  Memory: one key-value cache of `batch_size * branch` rows.
    """
    worlds = [make_world() for _ in tasks[:batch_size]]
    starts: list[Trajectory] = []
    for first in range(0, len(tasks), batch_size):
        names = tasks[first : first + batch_size]
        starts += [episode.trajectory for episode in together(Episode, worlds, worlds[: len(names)], names)]
    heard = [actor.format.opening(start.opening) for start in starts]
    order = sorted(range(len(tasks)), key=lambda index: len(heard[index]))  # like beside like: little padding
    trees = [Tree(start.task, start.instruction, start.observation, Node()) for start in starts]
    with tqdm(total=len(tasks) * simulations, desc="searching", leave=False, disable=None) as bar:
        for first in range(0, len(tasks), batch_size):
            chosen = order[first : first + batch_size]
            batch = [trees[index] for index in chosen]
            # Every simulation begins with its task's opening, which is read once.  Its last token is left to be read
            # with the rest, since what the actor says next follows from the token read last.
            openings = actor.start([heard[index][:-1][: actor.max_length] for index in chosen])
            for _ in range(simulations):
                leaves = [select(tree.root, c_uct) for tree in batch]
                steps = [[node.step for node in leaf.path()] for leaf in leaves]
                names, limits = [tree.task for tree in batch], [max_depth] * len(batch)
                episodes = together(Episode, worlds, worlds[: len(batch)], names, steps, limits)
                simulate(actor, leaves, episodes, branch, temperature, generator, openings)
                for leaf, episode in zip(leaves, episodes, strict=True):
                    backpropagate(graft(leaf, episode), episode.trajectory.score)
                bar.update(len(batch))
    return trees


# --- trees on disk and on the screen

def to_record(tree: Tree) -> dict[str, Any]:
    """A tree as one JSON object: its nodes, parents first, each naming its parent's index."""
    index: dict[int, int] = {}
    nodes = []
    for node in tree.root.walk():
        index[id(node)] = len(nodes)
        place = {"parent": index[id(node.parent)] if node.parent else None, "step": node.step and vars(node.step)}
        nodes.append({**place, **{key: getattr(node, key) for key in ("visits", "value_sum", "done", "expanded")}})
    return {"task": tree.task, "instruction": tree.instruction, "observation": tree.observation, "nodes": nodes}


def show(tree: Tree) -> str:
    """The visited part of a tree as indented text: action, observation, visits and mean value."""
    lines = [f"{tree.task}: {tree.instruction} {tree.observation}"]
    for node in tree.root.walk():
        if node.visits and node.step:
            end = f"  [ends, score {node.step.score:.2f}]" if node.done else ""
            turn = f"{'  ' * len(node.path())}{node.step.action or '(no action)'} -> {node.step.observation}"
            lines.append(f"{turn}  N={node.visits} Q={node.q:.2f}{end}")
    return "\n".join(lines)


if __name__ == "__main__":
    from extras import show

    sys.exit(show.command(show.search_one))
