"""What stands above the panels of a run's page: facts of the run, of a pair, of an example.

A fact is a name and cells.  A cell is a text, or a pair of a text and the place that it leads to.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from extras.wording import JUDGE, WHY, dash
from records.reading import Record, RunFolder

Fact = list[Any]  # a name, and cells


# --- of a run


def run_facts(run: RunFolder) -> list[Fact]:
    """Return what was run: command, seed, versions."""
    config = run.config
    method = config.get("method", "agent-r")
    critic = config.get("critic", "actor")
    versions = []
    for name, version in run.origin.get("versions", {}).items():
        versions.append(f"{name} {version}")
    tasks = config.get("tasks")
    simulations = config.get("simulations")
    return [
        command_fact(run),
        ["method", f"{method} on {', '.join(run.worlds)}; the critic is {critic}"],
        ["seed", str(config.get("seed"))],
        ["versions", ", ".join(versions) or "not kept"],
        ["search", f"{tasks} tasks an iteration, {simulations} simulations"],
    ]


def command_fact(run: RunFolder) -> Fact:
    """Return the command of a run, or one with its settings if none was kept."""
    command = run.origin.get("command")
    if command is not None:
        return ["command", command]
    words = ["python", "train.py"]
    for name, value in run.config.items():
        if value:
            words.append(f"--{name.replace('_', '-')}={value}")
    return ["settings (no command was kept)", shlex.join(words)]


# --- of a judged pair


def pair_facts(pair: Record, row: Record, actions: Sequence[str], place: str) -> list[Fact]:
    """Return what is known of a judged pair; `place` is its iteration's number."""
    facts = [became_fact(row, place)]
    facts += error_facts(row, actions)
    facts.append(["revision length", dash(row["length"])])
    if pair.get("tree"):
        facts.append(tree_fact(pair, place))
    if pair.get("thought"):
        facts.append(["thought", pair["thought"]])
    if row["back"]:
        facts.append(["went back", "one step before the shared node, as it has to be walked"])
    if row["chained"]:
        number = row["chained"]
        lead = [f"the revision of pair {number}", f"revision/{place}/{number}"]
        facts.append(["chained", "the good side is an earlier revision", lead])
    return facts


def became_fact(row: Record, place: str) -> Fact:
    """Return what became of a pair, and where its example is."""
    fact: Fact = ["became", became(row)]
    if row["made"]:
        fact.append([f"example {row['made']}: its tokens", f"tokens/{place}/{row['made']}"])
    return fact


def became(row: Record) -> str:
    """Return what a pair or an example became, in words."""
    if row["dropped"]:
        return f"\u2717 dropped: {WHY.get(row['dropped'], row['dropped'])}"
    return "\u2713 a revision" if "made" in row else "\u2713 an example"


def error_facts(row: Record, actions: Sequence[str]) -> list[Fact]:
    """Return which action was called Bad, which is the first error, and what the judge named."""
    error = row["error"]
    truth = row["truth"]
    called = "no action" if error is None else f"t\u2032 = {step_in_words(error, actions)}"
    facts: list[Fact] = [["called Bad", called]]
    if not row["judge"]:
        facts.append(["true first error", "not known"])
        return facts
    true = "none" if truth is None else step_in_words(truth, actions)
    facts.append(["true first error", true])
    named = JUDGE[row["judge"]]
    if row["judge"] in ("early", "late"):
        steps = abs(error - truth)
        named += f", by {steps} step{'s' if steps > 1 else ''}"
    facts.append(["the judge named", named])
    return facts


def step_in_words(step: int, actions: Sequence[str]) -> str:
    """Return the number of a step, with its action where that is known."""
    if step < len(actions):
        return f"step {step}: {actions[step]}"
    return f"step {step}"


def tree_fact(pair: Record, place: str) -> Fact:
    """Return the tree that a pair is of, with the nodes that it is made of."""
    nodes = {"failed": pair["bad"], "good": pair.get("spliced_with", pair["good"])}
    if "shared" in pair:
        nodes["shared"] = pair["shared"]
    number = pair["tree"]
    fact: Fact = [f"tree {number}"]
    for name, node in nodes.items():
        fact.append([f"{name} node {node}", f"tree/{place}/{number}?node={node}"])
    return fact


# --- of an example


def example_facts(row: Record, place: str) -> list[Fact]:
    """Return what is known of an example; `place` is its iteration's number."""
    facts: list[Fact] = [["kind", row["kind"]], ["task", row["task"]], ["became", became(row)]]
    if "tokens" in row:
        facts.append(["tokens", f"{row['learned']} learned of {row['tokens']}"])
    if row["pair"]:
        lead = [f"pair {row['pair']}: its splice", f"revision/{place}/{row['pair']}"]
        facts.append(["made of", lead])
    if row["tree"]:
        facts.append(["from", [f"tree {row['tree']}", f"tree/{place}/{row['tree']}"]])
    return facts
