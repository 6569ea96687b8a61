"""The held-out tasks on which every method is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent_r import Start
from engine import UserError
from envs import World
from settings.config import Config, derive


@dataclass
class Exam:
    """The held-out tasks of one world, and the frozen failed prefixes of recovery (Table 3)."""

    name: str
    make: Callable[[], World]
    tasks: list[str]
    prefixes: list[Start] | None = None  # None until the warmed-up agent has failed
    lost: int = 0  # failures left out of `prefixes`, as nothing can recover from them


def make_exam(config: Config, name: str, make: Callable[[], World]) -> Exam:
    """Draw the same held-out tasks for every method; raises `UserError` for a truth not known."""
    world = make()
    if config.critic == "truth" and not world.has_expert:
        raise UserError(f"--critic truth: {name} has no expert, so nobody knows the truth")
    if config.winners == "expert" and not (world.has_expert or world.has_gold):
        raise UserError(f"--winners expert: {name} has no expert; use --winners search")
    tasks = world.tasks(config.eval_split)
    count = min(config.eval_tasks, len(tasks))
    return Exam(name, make, derive(config, 0, f"exam {name}").sample(tasks, count))
