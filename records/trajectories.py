"""Trajectories as JSON objects, and back: episodes that were played, and where others begin."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agent_r import Start, Step, Trajectory


def to_record(trajectory: Trajectory) -> dict[str, Any]:
    """Return a trajectory as a JSON object."""
    return {
        "task": trajectory.task,
        "told": trajectory.told,
        "instruction": trajectory.instruction,
        "observation": trajectory.observation,
        "steps": [step_record(step) for step in trajectory.steps],
    }


def from_record(record: dict[str, Any]) -> Trajectory:
    """Return the trajectory that `to_record` made this object of."""
    steps = [Step(**fields) for fields in record["steps"]]
    return Trajectory(**{**record, "steps": steps})


def step_record(step: Step) -> dict[str, Any]:
    """Return a step as a JSON object; whether it is learned is not the episode's to say."""
    fields = asdict(step)
    del fields["learned"]
    if step.won is None:
        del fields["won"]
    return fields


def start_record(start: Start) -> dict[str, Any]:
    """Return where an episode is to begin as a JSON object."""
    return {"task": start.task, "steps": [step_record(step) for step in start.steps]}


def start_of(record: dict[str, Any]) -> Start:
    """Return the start that `start_record` made this object of."""
    return Start(record["task"], [Step(**fields) for fields in record["steps"]])
