"""What the modules show of themselves, in seconds and without training.

    python -m extras.show play [WORLD] [TASK]     lists the worlds, or lets you play a task by hand
    python -m extras.show search [WORLD]          searches one task and prints the tree
    python -m extras.show search RUN K N          prints the Nth tree of a run's iteration K
    python -m extras.show revision [WORLD]        prints a failure, its verdicts and its revision
    python -m extras.show revision RUN K N        prints the Nth judged pair of a run's iteration K
    python -m extras.show watch CHECKPOINT        lets a trained agent play a test task

WORLD is a name that `train.py --env` takes, RUN the folder that it was given with --out.  Only
`watch` needs a model, such as the folder iteration-3/model of a run.
"""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

import mcts
from agent_r import BAD, GOOD, REVISE, Actor, Episode, Start, Step, Trajectory, play, transcript
from critique import REVISION_THOUGHTS, verified_splice
from engine import UserError, command_line
from engine.dialogues import GREEDY, Dialogues, Sampling, Speaker
from engine.manual import marked, tell
from envs import WORLD_MODULES, World, first_error, make_world
from extras.wording import WHY
from general.lessons import take_turn, way_from_start
from general.words import check_words_of
from mcts import SearchSettings, Tree
from records.reading import Record, read_run
from records.trees import from_record

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
        choices = self.world.choices() or [""]  # where there are none, nothing is done
        return [f"Action: {self.rng.choice(choices)}" for _ in self.mask]


def search_one(world_name: str, iteration: int | None = None, number: int | None = None) -> None:
    """Search the first training task of a world by a random policy, and print the tree.

    With an iteration and a number, the name is a run's folder, and a tree of it is printed.
    """
    if iteration is not None:
        show_tree(world_name, iteration, whole_number(number))
        return
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


# --- a run's own trees and pairs


def whole_number(number: int | None) -> int:
    """Return a number that was given.  Raises `UserError` where it was left out."""
    if number is None:
        raise UserError("name the number behind the iteration, as in: RUN 1 17")
    return number


def numbered(records: Sequence[Record], number: int, what: str) -> Record:
    """Return a record by its number, from 1 on.  Raises `UserError` if there is none."""
    if not 1 <= number <= len(records):
        there = f"there are {len(records)}, from 1 on" if records else "there is none"
        raise UserError(f"{what} {number} is not in that iteration; {there}")
    return records[number - 1]


def show_tree(run: str, iteration: int, number: int) -> None:
    """Print a tree that a run searched, by its number in `trees.jsonl`."""
    trees = read_run(Path(run)).iteration(iteration).trees
    print(outline(from_record(numbered(trees, number, "tree"))))


def show_pair(run: str, iteration: int, number: int) -> None:
    """Print a judged pair of a run, by its number in `verdicts.jsonl`, and what became of it."""
    left = read_run(Path(run)).iteration(iteration)
    if left.verdicts is None:
        raise UserError(f"{run}: iteration {iteration} kept no verdicts; runs of today keep them")
    pair = numbered(left.verdicts, number, "pair")
    tree = from_record(left.trees[pair["tree"] - 1])
    nodes = list(tree.root.walk())
    bad = tree.trajectory(nodes[pair["bad"]])
    good = tree.trajectory(nodes[pair.get("spliced_with", pair["good"])])
    said = {verdict["step"]: verdict["verdict"] for verdict in pair["verdicts"]}
    print(f"A failed episode (score {bad.score:.2f}) of tree {pair['tree']}, as it was judged:")
    print(bad.question)
    for t, step in enumerate(bad.steps):
        verdict = said.get(t, "shared" if t < pair["start"] else "not judged")
        if t == pair["error"]:
            verdict = f"{BAD}, t' = {t}"
        print(f"  {step.reply}")
        print(f"    {step.observation}  [{verdict}]")
    print(f"\nThe good one (score {good.score:.2f}), from where they part:")
    for step in good.steps[pair["start"] :]:
        print(f"  {step.reply}")
        print(f"    {step.observation}")
    if not pair.get("made"):
        print(f"\nThere is no revision: {WHY.get(pair.get('dropped'), WHY['unknown'])}.")
        return
    if pair.get("chained"):
        print(f"\nIt was spliced with the revision of pair {pair['chained']} in its place.")
    print("\nThe revision; only what is marked * is learned:")
    for message in left.data[pair["made"] - 1]["messages"]:
        learned = "*" if message.get("loss") else " "
        text = " ".join(message["content"].split())
        print(f"{learned} {text}" if message["role"] == "assistant" else f"    {text}")


# --- revision


@dataclass(frozen=True)
class Mended:
    """A failed episode, its first error, and the revision that the world carries out."""

    failure: Trajectory
    error: int
    revision: Trajectory


def revise_one(world_name: str, iteration: int | None = None, number: int | None = None) -> None:
    """Print a failed episode, judged by the truth, and its revision, what is learned marked `*`.

    With an iteration and a number, the name is a run's folder, and a judged pair of it is printed.
    """
    if iteration is not None:
        show_pair(world_name, iteration, whole_number(number))
        return
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
    way = [Step(f"Action: {action}", action, "", 0.0) for action in way_from_start(world)]
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
        take_turn(episode, f"Action: {rng.choice(choices or [''])}")
    return episode.trajectory


# --- watch


def watch(checkpoint: str, env: str, task: str) -> None:
    """Let a trained agent play a task, by default the first test task; its revisions are marked."""
    disable_progress_bar()  # loading a small model is no news
    actor = Actor.load(checkpoint)
    mark = marked(actor.model.config, "auto")
    make = tell({env: make_world(env)}, mark)[env]
    check_words_of(actor.tokenizer, make(), env)
    task = task or make().tasks("test")[0]
    (trajectory,) = play(actor, make, [Start(task)], batch_size=1)
    print(transcript(trajectory, lambda step: step.action == REVISE))
    print(f"task {trajectory.task}, score {trajectory.score:.2f}")


# --- the command line


class Parser(command_line.Parser):
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
    command.add_argument("world_name", metavar="WORLD|RUN", nargs="?", default="lab")
    command.add_argument("iteration", metavar="K", type=int, nargs="?")
    command.add_argument("number", metavar="N", type=int, nargs="?")
    command.set_defaults(function=search_one)

    summary = "print a failed episode, its verdicts and its revision"
    command = commands.add_parser("revision", help=summary, description=revise_one.__doc__)
    command.add_argument("world_name", metavar="WORLD|RUN", nargs="?", default="lab")
    command.add_argument("iteration", metavar="K", type=int, nargs="?")
    command.add_argument("number", metavar="N", type=int, nargs="?")
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
        print(f"{PROGRAM}: {command_line.sentence(str(error))}", file=sys.stderr)
        return 2
    except NotImplementedError as error:
        print(f"{PROGRAM}: {command_line.blank(error)}", file=sys.stderr)
        return 2
    except (EOFError, KeyboardInterrupt):
        print()
    except BrokenPipeError:  # `| head` has read enough; what is left goes nowhere, also at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
