"""Whether a model's context has room for the worlds that it is to act in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent_r import Actor, Episode
from engine import UserError

LOOKED_AT = 5  # tasks of a world


def check_room(actor: Actor, exams: Sequence[Any]) -> None:
    """Raise `UserError` for a context that is too short for a reply, or for one turn in a world.

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
        lengths = []
        for task in tasks:
            opening = Episode(world, task).trajectory.opening
            lengths.append(len(actor.format.opening(opening)))
        short = [length for length in lengths if not actor.has_room(length)]
        found = f"{exam.name} begins with {min(lengths, default=0)} tokens or more"
        rest = f"and a reply may take {actor.max_new_tokens} (--max-new-tokens)"
        if short and len(short) == len(lengths):
            problem = f"the model's context of {actor.max_length} tokens has no room for one turn"
            raise UserError(f"{problem}: {found}, {rest}; name a model with a longer one")
        if short:
            print(f"{len(short)} of {len(lengths)} tasks of {exam.name} do not fit the context.")
