"""Lessons for a model that cannot act yet, made of a world's truth: the warm-up's.

`lessons` makes both kinds: `demonstration` shows the expert's way; `judged_episode` is a judge's
dialogue over a noisy episode, with the true verdicts.  After the warm-up nothing asks a world's
truth but the measurements (and two ablations: see `train.py`).
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from agent_r import BAD, GOOD, JUDGE_ANSWER, REVISE, Episode, Message, Trajectory, parse_action
from critique import REVISION_THOUGHTS, revision_turn
from engine import UserError
from engine.anew import BEGINNINGS
from engine.contracts import broken
from engine.pieces import in_pieces
from envs import EpisodeLostError, World

AT_A_TIME = 16  # lessons in a piece of work


def can_teach(world: World, name: str, taught: bool, thoughts: str) -> bool:
    """Tell whether lessons can be made of a world; a model that was `taught` can do without.

    Raises `UserError` where another cannot, and for an expert that does not show the thoughts that
    are asked for.
    """
    if not (world.has_expert or world.has_gold):
        if taught:
            return False
        model = "model" if world.told else "tiny model"
        remedy = "leave out --warmup-steps" if world.told else "name a checkpoint with --model"
        raise UserError(f"{name} has no expert to warm a {model} up with; {remedy}")
    if thoughts == "yes" and type(world).thought is World.thought:
        remedy = "use --thoughts auto, or leave out --warmup-steps"
        raise UserError(f"--thoughts yes: the expert of {name} thinks nothing; {remedy}")
    return True


def lessons(
    world: World, shown: Sequence[str], judged: Sequence[str], rng: random.Random
) -> tuple[list[list[Message]], list[list[Message]]]:
    """Return demonstrations of some tasks of a world and judged episodes of others, as dialogues.

    What the expert did in the ones is among the mistakes that are made in the others.  Raises
    `UserError` if there is no way to show.
    """

    def show(tasks: Sequence[str]) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        for task in tasks:
            shown = demonstration(world, task)
            records.append({"messages": shown.messages()})
            if not shown.won:
                records[-1]["failed"] = True
        return records

    def judge(tasks: Sequence[str]) -> list[list[Message]]:
        return [judged_episode(world, task, actions, rng) for task in tasks]

    as_line = {"write": lambda messages: {"messages": messages}, "read": itemgetter("messages")}
    records = in_pieces(show, shown, AT_A_TIME)
    demonstrations = [record["messages"] for record in records]
    tell_failed(world, records)
    pool: set[str] = set()
    for messages in demonstrations:
        pool.update(parse_action(said["content"]) for said in messages[1::2])
    actions = sorted(pool)
    label = f"judged episodes of {world.name}"
    return demonstrations, in_pieces(judge, judged, AT_A_TIME, label=label, rng=rng, **as_line)


def tell_failed(world: World, records: Sequence[dict[str, Any]]) -> None:
    """Print how many demonstrations end without success, as gold paths may (an expert's may not).

    Raises `UserError` if all of them do, and not for want of steps alone.
    """
    failed = [record["messages"] for record in records if "failed" in record]
    if not failed:
        return
    cut = sum(len(messages) // 2 >= world.step_limit for messages in failed)
    of = f"of {len(records)} demonstrations of {world.name}, which follow its gold paths,"
    if len(failed) == len(records) and cut < len(failed):
        remedy = "gold must return a way to it; mend it and begin with --anew"
        raise UserError(f"the world {world.name}: none {of} ends in success; {remedy}")
    limit = f"{cut} of them at its step_limit of {world.step_limit}"
    print(f"{len(failed)} {of} end without success, {limit}.")


def begun_again(lesson: Callable[..., Any]) -> Callable[..., Any]:
    """Let a lesson be made anew if the world loses its episode; in the end it raises that."""

    @functools.wraps(lesson)
    def made(*args: Any, **named: Any) -> Any:
        for _ in range(BEGINNINGS - 1):
            with contextlib.suppress(EpisodeLostError):
                return lesson(*args, **named)
        return lesson(*args, **named)

    return made


@begun_again
def demonstration(world: World, task: str) -> Trajectory:
    """Return the expert's way through `task`, with its thoughts, or the world's gold path.

    Raises `UserError` if there is none, or if the expert's does not end in success.  A gold path
    may be longer than an episode, as many of ScienceWorld's are, and is shown as far as that goes.
    """
    episode = Episode(world, task)
    way = way_from_start(world)
    for action in way:
        if not episode.done:
            thought = world.thought()
            said = f"Thought: {thought}\n" if thought else ""
            take_turn(episode, f"{said}Action: {action}")
    if world.has_expert and not episode.trajectory.won:
        if len(way) > episode.limit:
            problem = f"takes {len(way)} actions, and step_limit is {world.step_limit}"
        else:
            problem = f"ends at score {episode.trajectory.score:g}, by {', '.join(way)}"
        raise broken(world, f"the way that expert returns {problem}; it must end in success")
    return episode.trajectory


def way_from_start(world: World) -> Sequence[str]:
    """Return the expert's way in an episode that has just begun, or else the gold path.

    Raises `UserError` where there is none.
    """
    way = world.expert() if world.has_expert else world.gold()
    if not way:
        shown = "expert" if world.has_expert else "gold"
        problem = f"{shown} knows no way from the start (it returns {way!r})"
        raise broken(world, f"{problem}; it must show one in each task that is taught")
    return way


def take_turn(episode: Episode, reply: str) -> None:
    """Take a turn of a lesson.  Raises `EpisodeLostError` if the world loses the episode."""
    episode.act(reply)
    if episode.lost:
        told = broken(episode.world, "it loses the episode", parse_action(reply))
        raise EpisodeLostError(str(told))


@begun_again
def judged_episode(
    world: World, task: str, pool: Sequence[str], rng: random.Random
) -> list[Message]:
    """Return a judge's dialogue over a noisy episode: each action, its answer, the true verdict.

    The expert acts, but a share of the actions are others (see `stray_action`), in some episodes
    few and in some most, since some agents go astray once and some have lost their way.  Every
    other time some steps of the way are sound and the next one is not, since the way to a shared
    node is mostly a good one.  An action is Good if it shortened the way to the goal.  In a world
    that knows a gold path alone, the others are put between the actions of the path, and are Bad;
    if such an episode ends below 1, a mistake may have spoilt the path, and nothing is judged
    behind the first.  Behind every other mistake a revision turn stands in the log, as it does in
    an agent's that has learned to revise.  `draw_questions` says what the judge is asked about.
    Raises `UserError` where no way is known.
    """
    episode = Episode(world, task)
    verdicts: dict[int, str] = {}  # of the steps that were judged
    strays = rng.uniform(0.1, 0.7) if world.has_expert else 0.15
    way: Sequence[str] | None = way_from_start(world)
    first_stray = rng.randrange(len(way)) if rng.random() < 0.5 else -1  # -1: any
    while way and not episode.done:
        action = way[0]
        step = len(episode.trajectory.steps)
        if step == first_stray or (step > first_stray and rng.random() < strays):
            action = stray_action(episode, pool, rng)
        take_turn(episode, f"Action: {action}")
        if world.has_expert:
            left = world.expert()
        elif action == way[0]:
            left = way[1:]
        else:
            left = way
        shorter = left is not None and len(left) < len(way)
        verdicts[step] = GOOD if shorter else BAD
        way = left
        if not shorter and not episode.done and rng.random() < 0.5:
            thought = rng.choice(REVISION_THOUGHTS)
            episode.act(revision_turn(thought, episode.trajectory.score).reply)
    steps = list(verdicts)
    if not world.has_expert and not episode.trajectory.won:
        errors = [t for t in steps if verdicts[t] == BAD]
        steps = [t for t in steps if not errors or t <= errors[0]]
    asked = draw_questions(steps, verdicts, rng)
    messages: list[Message] = []
    for t in asked:
        question = episode.trajectory.judge_turn(t, first=t == asked[0])
        answer = JUDGE_ANSWER.format(verdict=verdicts[t])
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer, "loss": True})
    return messages


def draw_questions(
    steps: Sequence[int], verdicts: dict[int, str], rng: random.Random
) -> Sequence[int]:
    """Return the steps that the judge is asked about: those it would be asked about in use, or all.

    In use it is asked from a shared node on, with the steps before as its log, up to its first Bad.
    A shared node stands shortly before a mistake, and often just behind another.  So three times in
    four these begin with one of the mistakes, up to two steps before it or just behind it, and end
    with the next; where there is none they begin anywhere.
    """
    if not steps or rng.random() >= 0.75:
        return steps
    errors = [place for place, t in enumerate(steps) if verdicts[t] == BAD]
    first = rng.randrange(len(steps))
    if errors:
        error = rng.choice(errors)
        first = rng.randint(max(0, error - 2), min(error + 1, len(steps) - 1))
    for place in errors:
        if place >= first:
            return steps[first : place + 1]
    return steps[first:]


def stray_action(episode: Episode, pool: Sequence[str], rng: random.Random) -> str:
    """Draw an action that may be a mistake.

    Mostly one that might seem sensible where the episode stands, else one from anywhere (`pool`) or
    one that was taken before; an empty one where none is known.
    """
    kind = rng.random()
    if kind < 0.7:
        options = episode.world.choices()
    elif kind < 0.85:
        options = pool
    else:
        options = [action for action in episode.trajectory.actions if action != REVISE]
    return rng.choice(options or pool or [""])
