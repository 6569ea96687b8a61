"""Search trees as lines of `trees.jsonl`, and back; every field is told in docs/files.md."""

from __future__ import annotations

from typing import Any

from agent_r import Step
from mcts import Node, Tree
from records.trajectories import step_record

# What a node or a step is without being told; a file leaves it out, which makes a third of it.
NODE = {"visits": 0, "value_sum": 0.0, "done": False, "expanded": False, "finished": False}
SIMULATIONS = ("selected", "ends")  # for each simulation a node
STEP = {"observation": "", "score": 0.0, "effect": ""}


def places(tree: Tree) -> dict[int, int]:
    """Return the index of each node in the tree's record, by the node's id."""
    return {id(node): index for index, node in enumerate(tree.root.walk())}


def to_record(tree: Tree) -> dict[str, Any]:
    """Return a tree as one JSON object: its nodes, parents first, each with its parent's index."""
    place = places(tree)
    nodes = []
    for node in tree.root.walk():
        nodes.append(
            {
                "parent": place[id(node.parent)] if node.parent else None,
                "step": step_record(node.step) if node.step else None,
                "visits": node.visits,
                "value_sum": node.value_sum,
                "done": node.done,
                "expanded": node.expanded,
                "finished": node.finished,
            }
        )
    opening = {
        "task": tree.task,
        "told": tree.told,
        "instruction": tree.instruction,
        "observation": tree.observation,
    }
    of_search: dict[str, Any] = {"beginnings": tree.beginnings, "lost": tree.lost}
    for name in SIMULATIONS:
        of_search[name] = [place[id(node)] for node in getattr(tree, name)]
    return {**opening, **of_search, "nodes": nodes}


def to_line(tree: Tree, env: str) -> dict[str, Any]:
    """Return a tree as a file has it: with its world, without what need not be said."""
    record = to_record(tree)
    nodes = []
    for fields in record["nodes"]:
        step = fields["step"] and brief(fields["step"], STEP)
        nodes.append(brief({**fields, "step": step}, NODE))
    return {"env": env, **record, "nodes": nodes}


def brief(fields: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return fields without those that have their default."""
    kept = {}
    for key, value in fields.items():
        if key not in defaults or value != defaults[key]:
            kept[key] = value
    return kept


def whole(record: dict[str, Any]) -> dict[str, Any]:
    """Return a line of `trees.jsonl` as `to_record` made it, with everything left out back again.

    Lines of earlier commits lack some fields too: `ends` and `selected` are None
    where simulations were not kept.
    """
    nodes = []
    for fields in record["nodes"]:
        step = STEP | fields["step"] if fields["step"] else None
        nodes.append({**NODE, **fields, "step": step})
    absent = {"told": "", "beginnings": 1, "lost": False, **dict.fromkeys(SIMULATIONS)}
    return {**absent, **record, "nodes": nodes}


def from_record(record: dict[str, Any]) -> Tree:
    """Return the tree of which `to_record` or `to_line` made this object."""
    record = whole(record)
    nodes: list[Node] = []
    for fields in record["nodes"]:
        parent = None if fields["parent"] is None else nodes[fields["parent"]]
        step = Step(**fields["step"]) if fields["step"] else None
        node = Node(
            parent,
            step,
            done=fields["done"],
            expanded=fields["expanded"],
            finished=fields["finished"],
            visits=fields["visits"],
            value_sum=fields["value_sum"],
        )
        if parent is not None:
            parent.children[step.reply] = node
        nodes.append(node)
    opening = {key: record[key] for key in ("task", "instruction", "observation", "told")}
    of_search = {key: record[key] for key in ("lost", "beginnings")}
    for name in SIMULATIONS:
        of_search[name] = [nodes[index] for index in record[name] or ()]
    return Tree(**opening, root=nodes[0], **of_search)
