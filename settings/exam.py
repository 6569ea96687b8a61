"""The held-out tasks on which every method is measured, and the judge's marks.

Measuring may ask a world's truth; what is measured may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_r import Episode, Start, Trajectory, mean
from critique import Judged
from engine import UserError
from envs import World, first_error
from settings.config import Config, derive


@dataclass
class Exam:
    """The held-out tasks of one world, and the frozen failed prefixes of recovery (Table 3)."""

    name: str
    make: Callable[[], World]
    tasks: list[str]
    prefixes: list[Start] | None = None  # None until the warmed-up agent has failed
    lost: int = 0  # failures left out of `prefixes`, as nothing can recover from them

    def go_on(
        self,
        prefixes: Mapping[str, tuple[list[Start] | None, int]],
        episodes: Sequence[Mapping[str, Any]],
    ) -> None:
        """Take what a run has left of this exam: by world its prefixes, and all episodes.

        Raises `UserError` if other tasks were played then.
        """
        self.prefixes, self.lost = prefixes.get(self.name, (None, 0))
        played = [one.get("task") for one in episodes if one.get("env") == self.name]
        if played[: len(self.tasks)] not in ([], self.tasks):
            problem = "its tasks are not those, in that order, which it named as the run began"
            remedy = "let tasks name the same ones each time (a set has no order), and use --anew"
            raise UserError(f"the world {self.name}: {problem}; {remedy}")


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


# --- where a world knows one way, from the start alone


def off_the_gold_path(
    trajectories: Sequence[Trajectory], make_world: Callable[[], World]
) -> tuple[list[Start], int]:
    """Return starts for recovery, and how many failures nothing is known to lead back from.

    As `critique.failed_prefixes`, for a world that has no expert but a gold path: a failed
    trajectory is cut just after the first action that is not the path's next one.  Whether there is
    a way back is tried: the whole gold path is taken from there, within the step limit, whatever of
    it is refused where it was taken already.
    """
    starts = []
    lost = 0
    world = make_world()
    for trajectory in trajectories:
        if trajectory.won:
            continue
        world.reset(options={"task": trajectory.task})
        gold = world.gold()
        departure = first_step_off(gold, trajectory.actions)
        if departure is None:  # its context was full before it left the path
            continue
        steps = trajectory.steps[: departure + 1]
        again = Episode(world, trajectory.task, steps)
        for action in gold:
            if not again.done:
                again.act(f"Action: {action}")
        if again.trajectory.won:
            starts.append(Start(trajectory.task, steps))
        else:
            lost += 1
    return starts, lost


def first_step_off(path: Sequence[str], actions: Sequence[str]) -> int | None:
    """Return the index of the first action that is not the path's, None if all of them are."""
    for t, action in enumerate(actions):
        if t >= len(path) or action != path[t]:
            return t
    return None


# --- the judge's marks


def judge_figures(
    truth: Sequence[int | None], errors: Sequence[int | None]
) -> dict[str, float | None]:
    """Return the judge's figures against the truth, the first error of each episode or None.

    Of the episodes with an error: the shares in which the judge named that very step, and it or a
    neighbour.  `false_alarms` is the share of the others in which it called something Bad.
    """
    exact = []
    close = []
    alarms = []
    for right, answer in zip(truth, errors, strict=True):
        if right is None:
            alarms.append(answer is not None)
        else:
            exact.append(answer == right)
            close.append(answer is not None and abs(right - answer) <= 1)
    return {
        "first_error_exact": mean(exact),
        "first_error_within_1": mean(close),
        "false_alarms": mean(alarms),
    }


def exact_as_used(judged: Sequence[Judged], make_world: Callable[[], World]) -> float | None:
    """Return the share of the judged pairs in which the critic named the first true error.

    It counts from the step on from which the critic was asked.  None found, where there is one, is
    wrong, and the reverse as well.  Without an expert, and of no pair, the share is None.
    """
    world = make_world()
    right = []
    for case in judged if world.has_expert else ():
        played = case.trajectory
        truth = first_error(world, played.task, played.actions, case.start)
        right.append(case.error == truth)
    return mean(right)
