"""What each stage of a run leaves in its files for those behind it, and how that is read back."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent_r import Start
from critique import Judged
from engine import folder
from mcts import Tree
from records import trajectories, trees, verdicts

# How episodes and trees are kept while they are made: arguments of `engine.pieces.in_pieces`.
EPISODES = {"write": trajectories.to_record, "read": trajectories.from_record}


def trees_of(env: str) -> dict[str, Any]:
    """Return how the trees of a world are kept."""
    return {"write": functools.partial(trees.to_line, env=env), "read": trees.from_record}


# --- the critique: `verdicts.jsonl`, `data.jsonl`, `critique.json`


def write_critique(
    path: Path,
    records: Sequence[dict[str, Any]],
    figures: Mapping[str, Any],
    trees: Mapping[str, Sequence[Tree]],
    judged: Mapping[str, Sequence[Judged]],
) -> None:
    """Write the dataset, what the critic said of each pair, and each world's figures."""
    folder.write_lines(path / "data.jsonl", records)
    folder.write_lines(path / "verdicts.jsonl", verdicts.to_records(trees, judged, records))
    folder.write_lines(path / "critique.json", [dict(figures)])  # last: now the stage is over


def read_judged(path: Path) -> dict[str, list[Judged]]:
    """Return what the critic was asked about, by world: a trajectory, from where on, its answer."""
    lines = folder.read_lines(path / "trees.jsonl")
    judged: dict[str, list[Judged]] = {}
    for record in folder.read_lines(path / "verdicts.jsonl"):
        tree = trees.from_record(lines[record["tree"] - 1])
        leaf = list(tree.root.walk())[record["bad"]]
        case = Judged(tree.trajectory(leaf), record["start"], record["error"])
        judged.setdefault(record["env"], []).append(case)
    return judged


def read_figures(path: Path) -> dict[str, Any]:
    """Return each world's figures of the critique."""
    (figures,) = folder.read_lines(path / "critique.json")
    return figures


# --- the training: `losses.jsonl` and `training.json`, written before the model


def write_training(
    path: Path, tokens: int, learned: Counter[str], losses: Sequence[dict[str, Any]]
) -> None:
    """Write each step's loss, the tokens trained on, and how many of each kind were learned."""
    if losses:
        folder.write_lines(path / "losses.jsonl", losses)
    folder.write_lines(path / "training.json", [{"tokens": tokens, "learned": dict(learned)}])


def read_training(path: Path) -> tuple[int, Counter[str]]:
    """Return the tokens that were trained on, and the learned ones by kind."""
    (training,) = folder.read_lines(path / "training.json")
    return training["tokens"], Counter(training["learned"])


# --- the first evaluation: `recovery.jsonl`


def write_prefixes(path: Path, prefixes: Mapping[str, tuple[list[Start] | None, int]]) -> None:
    """Write each world's failed prefixes, None where no way is known, and how many others."""
    records = []
    for name, (starts, lost) in prefixes.items():
        lines = None if starts is None else [trajectories.start_record(start) for start in starts]
        records.append({"env": name, "left_out": lost, "starts": lines})
    folder.write_lines(path / "recovery.jsonl", records)


def read_prefixes(path: Path) -> dict[str, tuple[list[Start] | None, int]]:
    """Return what `write_prefixes` has written; nothing before the first evaluation."""
    written = path / "recovery.jsonl"
    prefixes = {}
    for record in folder.read_lines(written) if written.exists() else ():
        starts = record["starts"]
        if starts is not None:
            starts = [trajectories.start_of(start) for start in starts]
        prefixes[record["env"]] = (starts, record["left_out"])
    return prefixes
