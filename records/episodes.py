"""Held-out episodes as lines of `episodes.jsonl`: what each came to, and the steps of some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from agent_r import REVISE, Trajectory
from records.trajectories import step_record
from records.trees import STEP, brief

# Episodes of an evaluation whose steps are kept.  The tasks of an exam are the same in every
# iteration and stand in random order, so that the first ones are a fixed sample.
SAMPLE = 100


def to_records(trajectories: Sequence[Trajectory], worlds: int) -> Iterator[dict[str, Any]]:
    """Yield a line for each episode of one world; all `worlds` together have `SAMPLE` with steps.

    `revisions` counts the turns in which the agent took something back.
    """
    for number, played in enumerate(trajectories):
        line: dict[str, Any] = {
            "task": played.task,
            "score": played.score,
            "steps": len(played.steps),
            "won": played.won,
            "loops": played.loops(),
            "revisions": played.actions.count(REVISE),
        }
        if number < SAMPLE // worlds:
            line["played"] = {
                "told": played.told,
                "instruction": played.instruction,
                "observation": played.observation,
                "steps": [brief(step_record(step), STEP) for step in played.steps],
            }
        yield line
