"""Judged pairs as lines of `verdicts.jsonl`: what the critic said, and what was made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent_r import JUDGE_ANSWER, Trajectory, parse_verdict
from critique import Judged, shared_replies
from mcts import Node, Tree
from records.trees import places


def to_records(
    trees: Mapping[str, Sequence[Tree]],
    judged: Mapping[str, Sequence[Judged]],
    data: Sequence[Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Yield a line for each judged pair of an iteration, in the order in which it was judged.

    `trees` and `judged` are by world; `data` are the lines of `data.jsonl`, whose revisions stand
    there in the same order.  Numbers of lines count from 1, nodes are indexes into their tree.
    """
    revisions = (number for number, line in enumerate(data, 1) if line["kind"] == "revision")
    before = 0  # trees of the worlds before
    number = 0  # of the pair
    for name, world_trees in trees.items():
        tree_numbers = {id(tree): before + place for place, tree in enumerate(world_trees, 1)}
        before += len(world_trees)
        made: dict[int, int] = {}  # the pair of each revision so far, by its id
        place: dict[int, int] = {}
        tree = None
        for case in judged.get(name, ()):
            number += 1
            if case.pair.tree is not tree:
                tree = case.pair.tree
                place = places(tree)
            leaves = case.pair.goods
            outcome: dict[str, Any] = {}
            if case.error is None:
                outcome["dropped"] = "no_error"
            elif case.revision is None:
                outcome["dropped"] = "not_executable"
            else:
                good, back = used(case)
                chained = len(case.goods) - len(leaves)  # revisions come before the leaves
                outcome = {"made": next(revisions), "back": back}
                if good < chained:
                    outcome["chained"] = made[id(case.goods[good])]
                elif good > chained:
                    outcome["spliced_with"] = place[id(leaves[good - chained])]
                made[id(case.revision)] = number
            yield {
                "env": name,
                "task": case.trajectory.task,
                "tree": tree_numbers[id(tree)],
                "bad": place[id(case.pair.bad)],
                "good": place[id(leaves[0])],
                "shared": place[id(shared_node(case))],
                "start": case.start,
                "verdicts": verdict_records(case.trajectory),
                "error": case.error,
                "thought": case.thought,
                **outcome,
            }


def shared_node(case: Judged) -> Node:
    """Return the node behind which a pair's two leaves part, and the judge was asked."""
    path = case.pair.bad.path()
    return path[case.start - 1] if case.start else case.pair.tree.root


def verdict_records(trajectory: Trajectory) -> list[dict[str, Any]]:
    """Return the verdicts on a trajectory's steps, with the answer where it says more than that."""
    records = []
    for step, answer in trajectory.answers.items():
        verdict = parse_verdict(answer)
        record = {"step": step, "verdict": verdict}
        if answer != JUDGE_ANSWER.format(verdict=verdict):
            record["answer"] = answer
        records.append(record)
    return records


def used(case: Judged) -> tuple[int, int]:
    """Return which of `case.goods` a revision was made with, and how many steps it goes back.

    It is the first that says what the revision says, in the order in which they are tried: whatever
    says the same is carried out in the same way.
    """
    replies = [step.reply for step in case.revision.steps[case.error + 2 :]]
    for index, good in enumerate(case.goods):
        shared = shared_replies(case.trajectory, good)
        for back in (0, 1):
            suffix = good.steps[max(0, shared - back) :]
            fits = back <= shared <= case.error
            if fits and [step.reply for step in suffix] == replies:
                return index, back
    raise ValueError("a revision that none of its good trajectories makes")
