"""Monte Carlo Tree Search over an agent's own actions (paper, Phase I).

A node is the state reached by a sequence of replies; since worlds are deterministic, replaying the
actions brings the state back.  One simulation has four phases, each a function here: `select` walks
down by UCT to a node that was never expanded, `expand` adds the replies that the actor samples
there, `rollout` plays one of them to the end of the episode (its steps become part of the tree, by
`graft`), and `backpropagate` counts the final score along the path.

`search` runs one simulation of many trees at a time, so that a batch holds the frontiers of all of
them.  `python -m extras.show search` searches one task with a random policy and prints the tree.

Changed from the released code, which has no separate rollout but expands every level down to a
leaf, and replays the world once per sampled action: here a leaf is replayed once, and an action is
carried out only when it is chosen.  As there, nodes are told apart by the whole reply, thought
included, and no simulation is spent where every leaf is known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from agent_r import Actor, Episode, Lockstep, Step, Trajectory, parse_action, together
from engine import chance
from engine.anew import begun_anew
from engine.dialogues import Dialogues, Sampling
from envs import World


@dataclass(eq=False)
class Node:
    """A state of the search: the step that led to it, and what simulations through it were worth.

    The root has no step.  A child that was sampled but never visited knows its reply and action
    alone.
    """

    parent: Node | None = None
    step: Step | None = None
    done: bool = False  # the episode ended here
    expanded: bool = False
    finished: bool = False  # every leaf below was reached: there is nothing left to find out
    visits: int = 0  # N(s)
    value_sum: float = 0.0
    children: dict[str, Node] = field(default_factory=dict)  # by reply, in order of sampling

    @property
    def q(self) -> float:
        """Q(s), the mean final score of the simulations through this node."""
        return self.value_sum / self.visits if self.visits else 0.0

    def path(self) -> list[Node]:
        """Return the nodes from the root's child to this one."""
        nodes = []
        node = self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        nodes.reverse()
        return nodes

    def steps(self) -> list[Step]:
        """Return the steps that lead from the root to this node."""
        return [node.step for node in self.path()]

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first, children in order of sampling."""
        ahead = [self]
        while ahead:
            node = ahead.pop()
            yield node
            ahead.extend(reversed(node.children.values()))


@dataclass
class Tree:
    """The search tree of one task."""

    task: str
    instruction: str
    observation: str
    root: Node
    lost: bool = False  # the world did not go to a node again as it went before
    beginnings: int = 1  # how often the tree was begun, as it was lost
    told: str = ""  # what stands before the task: see `Trajectory`
    ends: list[Node] = field(default_factory=list)  # the leaf of each simulation, in their order
    selected: list[Node] = field(default_factory=list)  # and the node from which it was played

    def leaves(self) -> list[Node]:
        """Return the nodes at which an episode ended, in order of sampling."""
        return [node for node in self.root.walk() if node.done]

    def trajectory(self, leaf: Node) -> Trajectory:
        """Return the trajectory from the root to `leaf`."""
        steps = leaf.steps()
        return Trajectory(self.task, self.instruction, self.observation, steps, self.told)


@dataclass(frozen=True)
class SearchSettings:
    """How large a search is, and how it weighs what it knows against what it does not."""

    simulations: int = 8  # a tree
    branch: int = 4  # actions sampled when a node is expanded
    c_uct: float = 0.25  # as in the released code
    max_depth: int = 0  # steps of an episode at most; 0: the world's own limit
    rollouts: int = 256  # trees at a time; memory: a cache of as many rows, or of `branch` times


# --- the four phases of a simulation


def uct(value_sum: float, visits: int, parent_visits: int, c_uct: float) -> float:
    """Return UCT(s) = Q(s) + c_uct * sqrt(ln N(parent) / N(s)) (paper, Phase I).

    It is infinite for a child that was never visited, so that each is tried once.
    """
    if visits == 0:
        return math.inf
    return value_sum / visits + c_uct * math.sqrt(math.log(parent_visits) / visits)


def select(root: Node, c_uct: float) -> Node:
    """Go down by highest UCT to a node that was never expanded; `uct` is asked for the scores.

    Ties go to the child that was sampled first.  A finished child is passed over, so that no
    simulation is spent on what is known; the root itself must not be finished.
    """
    node = root
    while node.expanded:
        best = None
        highest = -math.inf
        for child in node.children.values():
            score = uct(child.value_sum, child.visits, node.visits, c_uct)
            if score > highest and not child.finished:
                best = child
                highest = score
        node = best
    return node


def expand(node: Node, replies: Sequence[str]) -> int | None:
    """Expand a node by a child for each new reply; return the index of the reply to play.

    Children are found by the whole reply, and one that is there stays as it is.  A new one's step
    has the reply, the action read from it (`parse_action`), no observation ("") and the score 0.0.
    To play is the first reply whose child was never visited, else the first whose child is not
    finished; None if all of them are, so that there is nothing left to find out.
    """
    node.expanded = True
    for reply in replies:
        if reply not in node.children:
            node.children[reply] = Node(node, Step(reply, parse_action(reply), "", 0.0))
    for index, reply in enumerate(replies):
        if node.children[reply].visits == 0:
            return index
    for index, reply in enumerate(replies):
        if not node.children[reply].finished:
            return index
    return None


def rollout(lockstep: Lockstep, replies: Sequence[str], sampling: Sampling) -> None:
    """Play the chosen replies and go on to the ends of the episodes, the actor being the policy."""
    if lockstep.live:
        lockstep.advance(replies)
        lockstep.finish(sampling)


def backpropagate(leaf: Node, value: float) -> None:
    """Count one simulation of this value at the leaf and at every node above it."""
    node: Node | None = leaf
    while node is not None:
        node.visits += 1
        node.value_sum += value
        node = node.parent


def graft(node: Node, episode: Episode) -> Node:
    """Hang what an episode did beyond `node` below it; return the leaf, `done` and `finish`ed.

    The episode's steps begin at the root; those up to `node` are in the tree.  A node that was
    sampled and never visited, be it `node` itself or one on the way, takes the episode's step, with
    answer, score and all; one that was visited keeps its own.  No visit is counted here.
    """
    steps = episode.trajectory.steps
    depth = len(node.path())
    if node.step and node.visits == 0:
        node.step = steps[depth - 1]
    for step in steps[depth:]:
        child = node.children.setdefault(step.reply, Node(node))
        if child.visits == 0:
            child.step = step
        node = child
    node.done = True
    finish(node)
    return node


def finish(leaf: Node) -> None:
    """Mark a leaf as finished, and every node above it below which nothing is left to find out.

    That is a node that was expanded and whose children are all finished.
    """
    node: Node | None = leaf
    while node is not None:
        below = [child.finished for child in node.children.values()]
        if not node.done and not (node.expanded and all(below)):
            return
        node.finished = True
        node = node.parent


# --- the search

REPLAYS = 30  # tries to reach a node again in a world that orders things otherwise at times


def search(
    actor: Actor,
    make_world: Callable[[], World],
    tasks: Sequence[str],
    settings: SearchSettings,
    sampling: Sampling,
    *,
    numbers: Sequence[int] | None = None,
) -> list[Tree]:
    """Grow one tree for each task; return them in the order of the tasks.

    Trees are searched `settings.rollouts` at a time, all in lockstep.  What is drawn in a tree
    depends on its number alone, its place among the tasks if no `numbers` are given: so some of the
    tasks with their numbers grow the same trees as all do.
    """
    worlds = [make_world() for _ in tasks[: settings.rollouts]]

    def grow(numbered: Sequence[tuple[int, str]], beginning: int) -> list[Tree]:
        names = [task for _, task in numbered]
        keys = [chance.key(number, beginning) for number, _ in numbered]
        return grow_trees(actor, worlds, names, settings, sampling, keys=keys)

    numbered = list(zip(numbers or range(len(tasks)), tasks, strict=True))
    return begun_anew(grow, numbered, worth=lambda tree: tree.root.visits)


def grow_trees(
    actor: Actor,
    worlds: Sequence[World],
    tasks: Sequence[str],
    settings: SearchSettings,
    sampling: Sampling,
    *,
    keys: Sequence[int],
) -> list[Tree]:
    """Grow one tree for each task and its key, in as many worlds at a time as there are."""
    trees = plant(worlds, tasks)
    # Like beside like: openings of the same length share a batch with little padding.
    lengths = [len(actor.format.opening(tree.trajectory(tree.root).opening)) for tree in trees]
    order = sorted(range(len(trees)), key=lengths.__getitem__)
    total = len(trees) * settings.simulations
    with tqdm(total=total, desc="searching", leave=False, disable=None) as bar:
        for first in range(0, len(trees), settings.rollouts):
            chosen = order[first : first + settings.rollouts]
            # Planted once more, since a task stays in its world: another may begin it otherwise.
            batch = plant(worlds, [tasks[index] for index in chosen])
            for index, tree in zip(chosen, batch, strict=True):
                trees[index] = tree
            homes = worlds
            own = [keys[index] for index in chosen]
            memory = actor.memory()
            for simulation in itertools.count():
                leaves = [select(tree.root, settings.c_uct) for tree in batch]
                episodes = replay(homes, batch, leaves, settings.max_depth)
                drawn_by = [chance.key(key, simulation) for key in own]
                lockstep = Lockstep(actor, episodes, memory, drawn_by)
                replies = expand_all(leaves, lockstep, settings.branch, sampling)
                rollout(lockstep, replies, sampling)
                for tree, leaf, episode in zip(batch, leaves, episodes, strict=True):
                    tree.lost = episode.lost
                    if episode.done and not episode.lost:
                        tree.selected.append(leaf)
                        tree.ends.append(graft(leaf, episode))
                        backpropagate(tree.ends[-1], episode.trajectory.score)
                        bar.update()
                going = [k for k, tree in enumerate(batch) if wants_more(tree, settings)]
                batch = [batch[k] for k in going]
                homes = [homes[k] for k in going]
                own = [own[k] for k in going]
                if not batch:
                    break
    return trees


def wants_more(tree: Tree, settings: SearchSettings) -> bool:
    """Whether a tree takes another simulation: it has had too few, and something is left to try."""
    few = tree.root.visits < settings.simulations
    return few and not tree.root.finished and not tree.lost


def plant(worlds: Sequence[World], tasks: Sequence[str]) -> list[Tree]:
    """Return a tree of nothing but its root for each task."""
    trees = []
    size = max(1, len(worlds))
    for first in range(0, len(tasks), size):
        names = tasks[first : first + size]
        episodes = together(Episode, worlds, worlds[: len(names)], names)
        for episode in episodes:
            start = episode.trajectory
            root = Node()
            tree = Tree(start.task, start.instruction, start.observation, root, told=start.told)
            trees.append(tree)
    return trees


def replay(
    worlds: Sequence[World], trees: Sequence[Tree], leaves: Sequence[Node], max_depth: int
) -> list[Episode]:
    """Return an episode of each tree that stands at its leaf."""
    count = len(trees)
    return together(stand, worlds[:count], worlds, trees, leaves, [max_depth] * count)


def stand(world: World, tree: Tree, leaf: Node, max_depth: int) -> Episode:
    """Return an episode that stands at a leaf, with all answers as the tree has them.

    A world that others run may order things otherwise the next time, so it is asked some times;
    if it never goes there again, the episode is lost.
    """
    known = tree.trajectory(leaf)
    told = known.steps if leaf.visits else known.steps[:-1]  # a sampled reply has no answer yet
    observations = [step.observation for step in told]
    for _ in range(REPLAYS):
        episode = Episode(world, tree.task, max_depth=max_depth)
        if episode.trajectory.opening != known.opening:
            continue
        episode.replay(known.steps)
        again = [step.observation for step in episode.trajectory.steps[: len(told)]]
        if again == observations and not episode.lost:
            return episode
    episode.lost = episode.done = True
    return episode


def expand_all(
    leaves: Sequence[Node], lockstep: Lockstep, branch: int, sampling: Sampling
) -> list[str]:
    """Expand every leaf whose episode goes on by `branch` sampled replies; return those to play.

    Where nothing was sampled that leads to anything new, no simulation is made: the episode leaves.
    """
    if not lockstep.live:
        return []
    dialogues: Dialogues = lockstep.dialogues
    dialogues.branch(branch)
    replies = dialogues.replies(sampling)
    staying = []
    chosen = []
    for index, row in enumerate(lockstep.rows):
        first = index * branch
        choice = expand(leaves[row], replies[first : first + branch])
        if choice is None:
            finish(leaves[row])
        else:
            staying.append(index)
            chosen.append(first + choice)
    lockstep.keep(staying)
    if chosen:
        dialogues.select(chosen)
    return [replies[index] for index in chosen]
