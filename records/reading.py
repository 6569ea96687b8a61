"""A run's folder read back, whole or not: one still going on, cut off, or of an earlier commit.

What cannot be read is told as a fault and passed over; what stands before it is read.  Shapes are
checked here, so that who reads a run need not ask again.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import UserError
from records.trees import SIMULATIONS, whole

Record = dict[str, Any]
Shape = dict[str, Any]  # field -> its type, or several

NUMBER = (int, float)
MAYBE_INDEX = (int, type(None))
STEP: Shape = {"reply": str, "action": str, "observation": str, "score": NUMBER}
NODE: Shape = {"parent": MAYBE_INDEX, "step": (dict, type(None)), "visits": int}
NODE |= {"value_sum": NUMBER, "done": bool, "expanded": bool}
OPENING: Shape = {"instruction": str, "observation": str}
TREE: Shape = {"task": str, **OPENING, "nodes": list}
DATA: Shape = {"task": str, "kind": str, "messages": list}
MESSAGE: Shape = {"role": str, "content": str}
VERDICT: Shape = {"task": str, "tree": int, "bad": int, "good": int, "start": int}
VERDICT |= {"error": MAYBE_INDEX, "verdicts": list}
EPISODE: Shape = {"task": str, "iteration": int, "score": NUMBER, "steps": int}
ROW: Shape = {"env": str, "iteration": int, "score": (*NUMBER, type(None))}
LOSS: Shape = {"step": int, "loss": NUMBER}
SITTING: Shape = {"command": list, "versions": dict}

MOST = 2**53  # of a number in these fields
MOST_ANYWHERE = 10**300  # which a float can still be

# What a record may have besides, or may have as null.
MAYBE: Shape = {"env": str, "score": NUMBER, "error": int, "dropped": str, "thought": str}
MAYBE |= {"back": int, "chained": int, "made": int, "spliced_with": int, "shared": int}
MAYBE |= {"told": str, "won": bool, "loops": NUMBER, "revisions": int, "played": dict}
MAYBE |= {"effect": str, "counts": dict, "answer": str, "iteration": int}


@dataclass
class Iteration:
    """What an iteration left; `verdicts` is None where the run kept none."""

    number: int
    trees: list[Record] = field(default_factory=list)
    data: list[Record] = field(default_factory=list)
    verdicts: list[Record] | None = None
    losses: list[Record] = field(default_factory=list)
    finished: bool = False


@dataclass
class RunFolder:
    """A run as its files tell it, and what is wrong with these."""

    path: Path
    config: Record
    origin: Record = field(default_factory=dict)  # of run.json; empty where the run has none
    rows: list[Record] = field(default_factory=list)
    episodes: list[Record] = field(default_factory=list)
    iterations: list[Iteration] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def worlds(self) -> list[str]:
        """The names of the run's worlds."""
        return [name.strip() for name in str(self.config.get("env", "lab")).split(",")]

    def models(self) -> list[Path]:
        """Return the folders with a model that the run left, or else the one that it began from."""
        left = [self.path / f"iteration-{one.number}" / "model" for one in self.iterations]
        names = [self.config.get(key) for key in ("model", "warmed")]
        begun_from = [Path(name) for name in names if name and isinstance(name, str)]
        return [folder for folder in (*left, *begun_from) if folder.is_dir()]

    def iteration(self, number: int) -> Iteration:
        """Return one iteration.  Raises `UserError` if the run has none of this number."""
        for iteration in self.iterations:
            if iteration.number == number:
                return iteration
        there = ", ".join(str(iteration.number) for iteration in self.iterations)
        raise UserError(f"{self.path}: has no iteration {number}; it has {there or 'none yet'}")


def read_run(path: Path) -> RunFolder:
    """Return what stands in a run's folder.  Raises `UserError` for what is no run's folder."""
    remedy = "name the folder that train.py was given with --out"
    if not path.is_dir():
        problem = "is a file, not a folder" if path.exists() else "there is no such folder"
        raise UserError(f"{path}: {problem}; {remedy}")
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: holds no config.json; {remedy}")
    run = RunFolder(path, {})
    configs = read_lines(run, path / "config.json", {})
    if not configs:
        raise UserError(f"{path / 'config.json'}: is no JSON object; {remedy}")
    run.config = configs[0]
    origins = read_lines(run, path / "run.json", {"sittings": list}, check_origin)
    sittings = origins[0]["sittings"] if origins else []
    for sitting in sittings[-1:]:
        words = ["python", "train.py", *map(str, sitting["command"])]
        run.origin = {"command": shlex.join(words), "versions": sitting["versions"]}
    run.rows = read_lines(run, path / "results.jsonl", ROW, check_row)
    run.episodes = read_lines(run, path / "episodes.jsonl", EPISODE, check_episode)
    numbers = []
    for folder in path.glob("iteration-*"):
        number = folder.name.removeprefix("iteration-")
        if folder.is_dir() and number.isascii() and number.isdigit():
            numbers.append(int(number))
    run.iterations = [read_iteration(run, number) for number in sorted(numbers)]
    return run


def read_iteration(run: RunFolder, number: int) -> Iteration:
    """Return what an iteration's folder holds so far."""
    folder = run.path / f"iteration-{number}"
    trees = read_lines(run, folder / "trees.jsonl", TREE, check_tree)
    data = read_lines(run, folder / "data.jsonl", DATA, check_data)
    verdicts = None
    if (folder / "verdicts.jsonl").is_file():
        made = []  # of the pairs so far, whether each became a revision

        def check(record: Record) -> None:
            check_verdict(record, trees, data)
            chained = record.get("chained") or 0
            if chained and not (1 <= chained <= len(made) and made[chained - 1]):
                raise FaultError(f"is chained with pair {chained}, which made no revision")
            made.append(bool(record.get("made")))

        verdicts = read_lines(run, folder / "verdicts.jsonl", VERDICT, check)
    losses = read_lines(run, folder / "losses.jsonl", LOSS)
    finished = (folder / "metrics.json").is_file()
    return Iteration(number, trees, data, verdicts, losses, finished)


class FaultError(Exception):
    """A record is not what it should be: told in the words that end `line N ...`."""


def read_lines(
    run: RunFolder,
    path: Path,
    shape: Shape,
    check: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Return the records of a file up to the first that cannot be read; none without the file.

    What cannot be read is added to the faults of the run.
    """
    records: list[Record] = []
    if not path.is_file():
        return records
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_int=whole_number)
            fits(record, shape)
            if check:
                check(record)
        except (ValueError, RecursionError):
            fault = "is no whole JSON"
        except FaultError as error:
            fault = str(error)
        else:
            records.append(record)
            continue
        place = path.relative_to(run.path)
        run.faults.append(f"{place}: line {number} {fault}; only what stands before it is shown")
        break
    return records


def whole_number(digits: str) -> int:
    """Return a whole number of a file.  Raises `FaultError` for one that no float can be."""
    number = int(digits)
    if abs(number) > MOST_ANYWHERE:
        raise FaultError("holds a number larger than a run writes")
    return number


def fits(record: Any, shape: Shape) -> None:
    """Raise `FaultError` unless a record is an object with these fields."""
    if not isinstance(record, dict):
        raise FaultError("is no JSON object")
    for name, kind in shape.items():
        if name not in record:
            raise FaultError(f"has no {name}")
        value = record[name]
        is_kind = isinstance(value, kind)
        if isinstance(value, bool) and kind is not bool:
            is_kind = False
        if not is_kind:
            raise FaultError(f"has another {name} than a run writes")
        if isinstance(value, int) and abs(value) > MOST:
            raise FaultError(f"has a larger {name} than a run writes")
    for name in MAYBE.keys() & record.keys() - shape.keys():
        if record[name] is not None:
            fits({name: record[name]}, {name: MAYBE[name]})


def check_origin(record: Record) -> None:
    """Raise `FaultError` for sittings that are none; fill in what one need not say."""
    for index, sitting in enumerate(record["sittings"]):
        if not isinstance(sitting, dict):
            raise FaultError("has a sitting that is no object")
        record["sittings"][index] = {"command": [], "versions": {}, **sitting}
        fits(record["sittings"][index], SITTING)


def check_row(record: Record) -> None:
    """Raise `FaultError` for a row whose counts are none."""
    counts = record.get("counts") or {}
    fits(counts, dict.fromkeys(counts, (*NUMBER, type(None))))


def check_steps(steps: Any) -> None:
    """Raise `FaultError` for what are no steps; fill in what they need not say."""
    if not isinstance(steps, list):
        raise FaultError("has no list of steps")
    for index, step in enumerate(steps):
        steps[index] = filled(step)


def filled(step: Any) -> Record:
    """Return a step with what it need not say.  Raises `FaultError` for what is none."""
    if not isinstance(step, dict):
        raise FaultError("has a step that is no object")
    step = {"observation": "", "score": 0.0, "effect": "", **step}
    fits(step, STEP)
    return step


def check_tree(record: Record) -> None:
    """Raise `FaultError` for what is no tree; make it `whole`."""
    for node in record["nodes"]:
        fits(node, {"parent": MAYBE_INDEX, "step": (dict, type(None))})
    record.update(whole(record))
    for index, node in enumerate(record["nodes"]):
        fits(node, NODE)
        root = index == 0
        if root != (node["parent"] is None) or root != (node["step"] is None):
            raise FaultError(f"has a node {index} without its parent or its step")
        if not root:
            if not 0 <= node["parent"] < index:
                raise FaultError(f"has a node {index} that stands before its parent")
            node["step"] = filled(node["step"])
    if not record["nodes"]:
        raise FaultError("has no nodes")
    if record["ends"] is not None:
        for name in SIMULATIONS:
            check_indexes(record[name], len(record["nodes"]), name)
        check_simulations(record)


def check_simulations(record: Record) -> None:
    """Raise `FaultError` unless each simulation ended at or below the node that it selected."""
    nodes = record["nodes"]
    if len(record["selected"]) != len(record["ends"]):
        raise FaultError("has not as many selected nodes as ends")
    for selected, end in zip(record["selected"], record["ends"], strict=True):
        while end is not None and end != selected:
            end = nodes[end]["parent"]
        if end is None:
            raise FaultError("has a simulation that ended elsewhere than below what it selected")


def check_indexes(indexes: Any, count: int, name: str) -> None:
    """Raise `FaultError` for what is no list of indexes below `count`."""
    if not isinstance(indexes, list) or any(type(index) is not int for index in indexes):
        raise FaultError(f"has other {name} than a run writes")
    if any(not 0 <= index < count for index in indexes):
        raise FaultError(f"names a node in {name} that is not there")


def check_data(record: Record) -> None:
    """Raise `FaultError` for an example whose dialogues are none."""
    for name in ("messages", "rejected"):
        messages = record.get(name, record["messages"])
        if not isinstance(messages, list) or not messages:
            raise FaultError(f"has no {name}")
        for index, message in enumerate(messages):
            fits(message, MESSAGE)
            if message["role"] != ("user", "assistant")[index % 2]:
                raise FaultError("has turns of user and assistant that do not alternate")
            if index % 2:
                fits(message, {"loss": bool})


def check_verdict(record: Record, trees: list[Record], data: list[Record]) -> None:
    """Raise `FaultError` for a judged pair that names what is not there."""
    if not 1 <= record["tree"] <= len(trees):
        raise FaultError(f"names tree {record['tree']}, which is not there")
    nodes = trees[record["tree"] - 1]["nodes"]
    leaves = [record["bad"], record["good"], record.get("spliced_with", record["good"])]
    leaves.append(record.get("shared", 0))
    check_indexes(leaves, len(nodes), "leaves")
    made = record.get("made")
    if made is not None and not (type(made) is int and 1 <= made <= len(data)):
        raise FaultError(f"names example {made}, which is not there")
    for verdict in record["verdicts"]:
        fits(verdict, {"step": int, "verdict": str})


def check_episode(record: Record) -> None:
    """Raise `FaultError` for an episode whose steps are none."""
    if record.get("played") is not None:
        fits(record["played"], {**OPENING, "steps": list})
        check_steps(record["played"]["steps"])
