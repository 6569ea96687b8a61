"""Whether a model's context has room for the worlds that it is to act in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agent_r import Actor, Episode, Step, Trajectory
from critique import ask
from engine import UserError
from general.words import check_words_of

LOOKED_AT = 5  # tasks of a world


def check_room(actor: Actor, exams: Sequence[Any]) -> None:
    """Raise `UserError` for a context without room for a reply, a turn in a world, or a judge's.

    So it does for a tiny model that was made for another world, and lacks the words of this one.

    Of each world some held-out tasks are begun; if a few of them do not fit, that is printed, since
    such an episode ends before its first step.
    """
    limits = {"--max-new-tokens": actor.max_new_tokens, "--judge-tokens": actor.judge_tokens}
    for flag, tokens in limits.items():
        if tokens >= actor.max_length:
            remedy = "give fewer, so that there is something left to read"
            problem = f"the model's context has {actor.max_length} tokens in all"
            raise UserError(f"{flag} {tokens}: {problem}; {remedy}")
    for exam in exams:
        tasks = exam.tasks[:LOOKED_AT]
        world = exam.make()
        check_words_of(actor.tokenizer, world, exam.name)
        begun = [Episode(world, task).trajectory for task in tasks]
        lengths = [len(actor.format.opening(trajectory.opening)) for trajectory in begun]
        short = [length for length in lengths if not actor.has_room(length)]
        found = f"{exam.name} begins with {min(lengths, default=0)} tokens or more"
        rest = f"and a reply may take {actor.max_new_tokens} (--max-new-tokens)"
        if short and len(short) == len(lengths):
            problem = f"the model's context of {actor.max_length} tokens has no room for one turn"
            raise UserError(f"{problem}: {found}, {rest}; name a model with a longer one")
        if short:
            print(f"{len(short)} of {len(lengths)} tasks of {exam.name} do not fit the context.")
        check_judge(actor, begun, exam.name)


def check_judge(actor: Actor, trajectories: Sequence[Trajectory], name: str) -> None:
    """Raise `UserError` if the judge can be asked about the first step of none of these."""
    asked = []
    for trajectory in trajectories:
        shortest = replace(trajectory, steps=[Step("", "", "", 0.0)])
        asked.append(ask(actor, shortest, 0))
    if asked and not any(asked):
        problem = f"no question on {name} fits beside it into the context of {actor.max_length}"
        raise UserError(f"--judge-tokens {actor.judge_tokens}: {problem} tokens; give fewer")
