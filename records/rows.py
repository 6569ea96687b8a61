"""The rows of `results.jsonl` as a person reads them: a table, and one episode."""

from __future__ import annotations

from collections.abc import Sequence

from agent_r import REVISE, Trajectory, transcript
from engine.table import Column

LEARNED = ("general", "revision", "good")  # the kinds of sources

# What the rows of one evaluation have in common, or what a mean of says nothing.
ALIKE = ("method", "iteration", "env", "split", "seed", "tasks", "trained_tokens", "seconds", "eta")
ALIKE += tuple(f"learned_{kind}" for kind in LEARNED)

COLUMNS = (  # scores and shares are times 100, as in the paper
    Column("iter", "iteration"),
    Column("score", "score", 100, 1),
    Column("success", "success", 100, 1),
    Column("recovery", "recovery", 100, 1),
    Column("loops", "loops", 100, 1),
    Column("rev.length", "revision_length", 1, 2),
    Column("judge exact", "first_error_exact", 100, 1),
    Column("as used", "first_error_exact_used", 100, 1),
    Column("false alarms", "false_alarms", 100, 1),
    Column("executable", "executable_share", 100, 1),
    Column("seconds", "seconds"),
)


def revised_episode(trajectories: Sequence[Trajectory]) -> str:
    """Return one held-out episode with a revision, as text: the best scored, then the shortest."""
    revised = [played for played in trajectories if REVISE in played.actions]
    if not revised:
        return "No held-out episode of the last evaluation holds a revision."
    best = min(revised, key=lambda played: (-played.score, len(played.steps)))
    title = "A held-out episode that the agent revised"
    return f"{title} (task {best.task}, score {best.score:.2f}):\n{transcript(best)}"
