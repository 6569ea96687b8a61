"""Search trees as lines of `trees.jsonl`, and back."""

from __future__ import annotations

from typing import Any

from agent_r import Step
from mcts import Node, Tree
from records.trajectories import step_record


def to_record(tree: Tree) -> dict[str, Any]:
    """Return a tree as one JSON object: its nodes, parents first, each with its parent's index."""
    place: dict[int, int] = {}
    nodes = []
    for node in tree.root.walk():
        place[id(node)] = len(nodes)
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
    return {**opening, "beginnings": tree.beginnings, "lost": tree.lost, "nodes": nodes}


def from_record(record: dict[str, Any]) -> Tree:
    """Return the tree that `to_record` made this object of."""
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
    return Tree(**opening, root=nodes[0], lost=record["lost"], beginnings=record["beginnings"])
