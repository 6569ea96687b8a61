"""Search trees as lines of `trees.jsonl`, and back; every field is told in docs/files.md."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agent_r import Step
from mcts import Node, Tree, backpropagate, finish, select

# What a node or a step is without being told; a file leaves it out, which makes a third of it.
NODE = {"visits": 0, "value_sum": 0.0, "done": False, "expanded": False, "finished": False}
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
    of_search = {"beginnings": tree.beginnings, "lost": tree.lost}
    ends = [place[id(leaf)] for leaf in tree.ends]
    return {**opening, **of_search, "nodes": nodes, "ends": ends}


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

    Lines of earlier commits lack some fields too: `ends` is None where simulations were not kept.
    """
    nodes = []
    for fields in record["nodes"]:
        step = STEP | fields["step"] if fields["step"] else None
        nodes.append({**NODE, **fields, "step": step})
    opening = {"told": "", "beginnings": 1, "lost": False, "ends": None}
    return {**opening, **record, "nodes": nodes}


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
    ends = [nodes[index] for index in record["ends"] or ()]
    of_search = {"lost": record["lost"], "beginnings": record["beginnings"], "ends": ends}
    return Tree(**opening, root=nodes[0], **of_search)


def selections(record: dict[str, Any], c_uct: float) -> list[int] | None:
    """Return the node that each simulation of a tree's record selected, by `mcts.select` itself.

    The search is gone through again, from the leaves at which its simulations ended.  An expansion
    that brought nothing new ended at none; it shows in what is selected next.  It is None where the
    leaves were not kept, or are not those of a search with this `c_uct`.
    """
    if record["ends"] is None:
        return None
    tree = from_record(record)
    place = places(tree)
    expanded = {node for node in tree.root.walk() if node.expanded}
    for node in tree.root.walk():
        node.visits = 0
        node.value_sum = 0.0
        node.done = node.expanded = node.finished = False
    chosen = []
    for leaf in tree.ends:
        way = {tree.root, *leaf.path()}
        node = None
        while not tree.root.finished:
            node = select(tree.root, c_uct)
            if node in way or node not in expanded:
                break
            node.expanded = True
            finish(node)
        if node not in way or tree.root.finished:
            return None
        chosen.append(place[id(node)])
        node.expanded = node in expanded
        leaf.done = True
        finish(leaf)
        backpropagate(leaf, leaf.step.score if leaf.step else 0.0)
    return chosen


def step_record(step: Step) -> dict[str, Any]:
    """Return a step as a JSON object; whether it is learned is not the tree's to say."""
    fields = asdict(step)
    del fields["learned"]
    if step.won is None:
        del fields["won"]
    return fields
