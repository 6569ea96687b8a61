"""How exact a judge is against the truth: checkpoints beside one another, on the same episodes.

    python -m extras.judge CHECKPOINT ... [--env lab] [--tasks 100] [--judge-tokens 500]

An episode follows the expert through a validation task, but one action in three is another, as in
the lessons of the warm-up.  It is the same whoever judges, so that a model before and after its
warm-up are asked in the same place.  Printed for each checkpoint: the share of the episodes with an
error in which its first Bad was the first true error, and the same within one step; false alarms in
the others; and the verdicts of its answers, where `none` is an answer without one.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from agent_r import Actor, Episode, Trajectory
from critique import find_first_errors
from engine import UserError, command_line
from engine.dialogues import Dialogues
from engine.loading import pick_device
from engine.replies import VERDICT
from engine.table import Column, table
from envs import World, first_error, make_world
from general.lessons import stray_action, take_turn
from general.room import check_judge
from general.words import check_words_of
from settings.exam import judge_figures

PROGRAM = "python -m extras.judge"
STRAYS = 0.35  # the share of other actions

COLUMNS = (
    Column("exact", "first_error_exact", 100, 1),
    Column("within 1", "first_error_within_1", 100, 1),
    Column("false alarms", "false_alarms", 100, 1),
    Column("Good", "Good"),
    Column("Bad", "Bad"),
    Column("Uncertain", "Uncertain"),
    Column("none", "none"),
)


def noisy_episodes(make: Callable[[], World], count: int) -> list[Trajectory]:
    """Return `count` episodes of validation tasks, the expert's but for stray actions.

    They are the same at every call.  Raises `UserError` for a world without an expert.
    """
    world = make()
    if not world.has_expert:
        raise UserError(f"{world.name} has no expert, so nobody knows the truth; lab or craft do")
    rng = random.Random("judge")
    tasks = world.tasks("validation")
    played = []
    for task in rng.sample(tasks, min(count, len(tasks))):
        episode = Episode(world, task)
        while not episode.done:
            way = world.expert()
            stray = not way or rng.random() < STRAYS
            action = stray_action(episode, world.choices(), rng) if stray else way[0]
            take_turn(episode, f"Action: {action}")
        played.append(episode.trajectory)
    return played


class Heard(Dialogues):
    """Conversations whose answers are counted by their verdicts."""

    verdicts: Counter[str]

    def replies(self, *given: Any, **named: Any) -> list[str]:
        """Return the answers."""
        answers = super().replies(*given, **named)
        for answer in answers:
            verdicts = VERDICT.findall(answer) or ["none"]
            self.verdicts[verdicts[-1].capitalize() if verdicts != ["none"] else "none"] += 1
        return answers


def examine(actor: Actor, played: Sequence[Trajectory], make: Callable[[], World]) -> dict:
    """Return the judge's figures on these episodes, and how often each verdict was given."""
    verdicts: Counter[str] = Counter()

    def start(contexts: Sequence[Sequence[int]], _keys: Sequence[int] = ()) -> Heard:
        dialogues = Heard(actor.speaker, contexts)
        dialogues.verdicts = verdicts
        return dialogues

    actor.start = start
    world = make()
    truth = [first_error(world, trajectory.task, trajectory.actions) for trajectory in played]
    errors = find_first_errors(actor, played, [0] * len(played), batch_size=32)
    counts = {verdict: verdicts[verdict] for verdict in ("Good", "Bad", "Uncertain", "none")}
    return judge_figures(truth, errors) | counts


def compare(checkpoints: Sequence[Path], env: str, tasks: int, judge_tokens: int) -> str:
    """Return a table with a row for each checkpoint; raises `UserError`."""
    make = make_world(env)
    played = noisy_episodes(make, tasks)
    rows = []
    for checkpoint in checkpoints:
        actor = Actor.load(checkpoint, pick_device("auto"))
        actor.judge_tokens = judge_tokens
        check_words_of(actor.tokenizer, make(), env)
        check_judge(actor, played, env)
        rows.append({"env": str(checkpoint), **examine(actor, played, make)})
    return f"{len(played)} episodes of {env}\n{table(rows, COLUMNS)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    parser = command_line.Parser(PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", metavar="CHECKPOINT", type=Path, nargs="+")
    parser.add_argument("--env", metavar="WORLD", default="lab")
    parser.add_argument("--tasks", metavar="N", type=int, default=100)
    parser.add_argument("--judge-tokens", metavar="N", type=int, default=Actor.judge_tokens)
    disable_progress_bar()

    def carry_out() -> None:
        options = parser.parse_args(arguments)
        command_line.check_number("tasks", options.tasks, 1, 10**6)
        command_line.check_number("judge_tokens", options.judge_tokens, 1, 10**6)
        print(compare(options.checkpoints, options.env, options.tasks, options.judge_tokens))

    return command_line.carry_out(PROGRAM, carry_out)


if __name__ == "__main__":
    sys.exit(main())
