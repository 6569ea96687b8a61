"""What the modules show of themselves, in seconds and without training.

    python -m extras.show play [WORLD] [TASK]     lists the worlds, or lets you play a task by hand
    python -m extras.show search [WORLD]          searches one task and prints the tree
    python -m extras.show revision [WORLD]        prints a failure, its verdicts and its revision
    python -m extras.show watch CHECKPOINT        lets a trained agent play a test task

WORLD is a name that `train.py --env` takes.  Only `watch` needs a model, such as the folder
iteration-3/model of a run.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from transformers.utils.logging import disable_progress_bar

import mcts
from agent_r import BAD, GOOD, REVISE, Actor, Episode, Start, Step, Trajectory, play, transcript
from critique import REVISION_THOUGHTS, verified_splice
from engine import UserError
from engine.dialogues import GREEDY, Dialogues, Sampling, Speaker
from engine.manual import marked, tell
from envs import WORLD_MODULES, World, first_error, make_world
from mcts import SearchSettings, Tree

PROGRAM = "python -m extras.show"
READY = ("lab", "shop", "craft")  # worlds that need nothing else, and know right from wrong


# --- play


def list_worlds() -> None:
    """Print every world's name, and what can be played there."""
    for name in READY:
        world = make_world(name)()
        print(f"{name}: {world.__doc__.splitlines()[0]}")
        print(f"    for example {world.tasks('test')[0]}")
    others = [name for name in WORLD_MODULES if name not in READY]
    print(f"{', '.join(others)}: see worlds/")
    print("module:Class: a world of your own")


def play_by_hand(world_name: str, task: str) -> None:
    """Let a person play a task, by default the first test task; an empty line ends it.

    Without a name of a world the worlds are listed.
    """
    if not world_name:
        list_worlds()
        return
    world = make_world(world_name)()
    task = task or world.tasks("test")[0]
    observation, info = world.reset(options={"task": task})
    print(info["instruction"])
    print(observation)
    over = False
    while not over:
        action = input("> ").strip()
        if not action:
            break
        observation, _, terminated, truncated, info = world.step(action)
        over = terminated or truncated
        end = "the end, " if over else ""
        print(f"{observation}  [{end}score {info['score']:.2f}]")


# --- search


class Chance(Dialogues):
    """Conversations about one world, in which an actor says at random what one might try in it."""

    def __init__(
        self,
        speaker: Speaker,
        contexts: Sequence[Sequence[int]],
        keys: Sequence[int] = (),
        *,
        world: World,
        rng: random.Random,
    ) -> None:
        super().__init__(speaker, contexts, keys)
        self.world = world
        self.rng = rng

    def replies(self, sampling: Sampling = GREEDY) -> list[str]:  # noqa: ARG002, chance is chance
        """Return one of the world's choices for each row, all in the state that it is in now."""
        choices = self.world.choices()
        return [f"Action: {self.rng.choice(choices)}" for _ in self.mask]


def search_one(world_name: str) -> None:
    """Search the first training task of a world by a random policy, and print the tree."""
    world = make_world(world_name)()
    if not has_choices(world):
        problem = "does not know what one might sensibly try in it"
        raise UserError(f"{world_name} {problem}; lab, shop and craft do")
    actor = Actor.tiny(world.words)  # reads, but is never asked what to say
    actor.start = functools.partial(Chance, actor.speaker, world=world, rng=random.Random(0))
    settings = SearchSettings(simulations=12, branch=4, max_depth=8)
    sampling = Sampling(1.0)
    tasks = world.tasks("train")[:1]
    (tree,) = mcts.search(actor, lambda: world, tasks, settings, sampling)
    print(outline(tree))


def has_choices(world: World) -> bool:
    """Whether the world says what one might sensibly try in it."""
    return type(world).choices is not World.choices


def outline(tree: Tree) -> str:
    """Return the visited part of a tree as indented text.

    A line shows a node's action, its observation, its visits N and its mean value Q.
    """
    lines = [f"{tree.task}: {tree.instruction} {tree.observation}"]
    for node in tree.root.walk():
        if node.step is None or node.visits == 0:
            continue
        margin = "  " * len(node.path())
        action = node.step.action or "(no action)"
        values = f"N={node.visits} Q={node.q:.2f}"
        end = f"  [ends, score {node.step.score:.2f}]" if node.done else ""
        lines.append(f"{margin}{action} -> {node.step.observation}  {values}{end}")
    return "\n".join(lines)


# --- revision


@dataclass(frozen=True)
class Mended:
    """A failed episode, its first error, and the revision that the world carries out."""

    failure: Trajectory
    error: int
    revision: Trajectory


def revise_one(world_name: str) -> None:
    """Print a failed episode, judged by the truth, and its revision, what is learned marked `*`."""
    world = make_world(world_name)()
    if not (world.has_expert and has_choices(world)):
        problem = "cannot tell right from wrong at every step"
        raise UserError(f"{world_name} {problem}; lab, shop and craft can")
    mended = mended_failure(world, world.tasks("test")[0])
    if mended is None:
        raise UserError(f"{world_name} let nothing fail that could be mended")
    failure = mended.failure
    print(f"A failed episode (score {failure.score:.2f}), judged by the truth:")
    print(failure.opening)
    for t, step in enumerate(failure.steps):
        if t < mended.error:
            verdict = GOOD
        elif t == mended.error:
            verdict = f"{BAD}, the first error"
        else:
            verdict = "not judged"
        print(f"  {step.reply}")
        print(f"    {step.observation}  [{verdict}]")
    revision = mended.revision
    print(f"\nIts revision (score {revision.score:.2f}); only what is marked * is learned:")
    print(transcript(revision, lambda step: step.learned))


def mended_failure(world: World, task: str) -> Mended | None:
    """Return a failed episode that begins with a good step and can be mended; None without one."""
    world.reset(options={"task": task})
    way = [Step(f"Action: {action}", action, "", 0.0) for action in world.expert()]
    good = Episode(world, task, way).trajectory
    for seed in range(1000):
        failure = chance_episode(world, task, random.Random(seed))
        error = first_error(world, task, failure.actions)
        if failure.won or not error:
            continue
        revision = verified_splice(world, failure, [good], error, REVISION_THOUGHTS[0])
        if revision:
            return Mended(failure, error, revision)
    return None


def chance_episode(world: World, task: str, rng: random.Random) -> Trajectory:
    """Return an episode of eight random actions, the expert's four times as likely as any other."""
    episode = Episode(world, task, max_depth=8)
    while not episode.done:
        choices = list(world.choices())
        way = world.expert()
        if way:
            choices += 4 * [way[0]]
        episode.act(f"Action: {rng.choice(choices)}")
    return episode.trajectory


# --- watch


def watch(checkpoint: str, env: str, task: str) -> None:
    """Let a trained agent play a task, by default the first test task; its revisions are marked."""
    disable_progress_bar()  # loading a small model is no news
    actor = Actor.load(checkpoint)
    mark = marked(actor.model.config, "auto")
    make = tell({env: make_world(env)}, mark)[env]
    task = task or make().tasks("test")[0]
    (trajectory,) = play(actor, make, [Start(task)], batch_size=1)
    print(transcript(trajectory, lambda step: step.action == REVISE))
    print(f"task {trajectory.task}, score {trajectory.score:.2f}")


# --- the command line


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one sentence, where argparse prints its usage as well."""

    def error(self, message: str) -> None:
        """Raise `UserError`."""
        raise UserError(f"{message}; {self.prog} --help lists what it takes")


def command_parser() -> Parser:
    """Return a parser of the four commands; `function` of what it parses carries one out."""
    parser = Parser(PROGRAM, description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    summary = "list the worlds, or play a task of one by hand"
    command = commands.add_parser("play", help=summary, description=play_by_hand.__doc__)
    command.add_argument("world_name", metavar="WORLD", nargs="?", default="")
    command.add_argument("task", metavar="TASK", nargs="?", default="")
    command.set_defaults(function=play_by_hand)

    summary = "search one task and print the tree with visits and values"
    command = commands.add_parser("search", help=summary, description=search_one.__doc__)
    command.add_argument("world_name", metavar="WORLD", nargs="?", default="lab")
    command.set_defaults(function=search_one)

    summary = "print a failed episode, its verdicts and its revision"
    command = commands.add_parser("revision", help=summary, description=revise_one.__doc__)
    command.add_argument("world_name", metavar="WORLD", nargs="?", default="lab")
    command.set_defaults(function=revise_one)

    summary = "let a trained agent play; its revisions are marked"
    command = commands.add_parser("watch", help=summary, description=watch.__doc__)
    command.add_argument("checkpoint", metavar="CHECKPOINT")
    command.add_argument("--env", metavar="WORLD", default="lab")
    command.add_argument("--task", metavar="TASK", default="")
    command.set_defaults(function=watch)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command, or list the commands if none is named; return the exit status.

    A user's mistake is one sentence on standard error and status 2.
    """
    parser = command_parser()
    try:
        options = vars(parser.parse_args(arguments))
        function = options.pop("function", parser.print_help)
        function(**options)
    except UserError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except (EOFError, KeyboardInterrupt):
        print()
    except BrokenPipeError:  # `| head` has read enough; what is left goes nowhere, also at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
