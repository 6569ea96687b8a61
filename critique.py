"""The critique: from a searched tree to revision trajectories (paper, section 3.2).

In a tree, a bad leaf and a good leaf share the path down to some node.  The actor itself judges the bad actions from
there on; the first it calls Bad is the transition point t'.  The revision trajectory is the bad one up to and
including t', a revision thought, and the good actions after the shared node (equation 6): the agent sees itself err,
notices, and goes another way.

Read in order: `pair_leaves`, `first_error`, `splice`, `execute`, `build_examples`, and the dataset on disk.

Changed from the released code: it pairs any two leaves by their gap in score, and in a quarter of the pairs of one
scripted run the cut fell inside the shared prefix; here every pair has its own shared node and judging starts behind
it.  Ours beside the paper's: `execute`, which replays a splice in the world, since a good suffix that was recorded at
the shared node cannot always be carried out from where the error led.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from agent_r import BAD, REVISE, REVISE_ANSWER, Actor, Episode, Step, Trajectory, mean, parse_verdict
from envs import World
from mcts import Node, Tree

# Short, since a small model gains nothing from a long one; the paper draws from ten sentences of this kind as well.
REVISION_THOUGHTS = (
    "that was wrong.",
    "i made a mistake.",
    "this does not help.",
    "that was a bad step.",
    "i must change my plan.",
    "i need another way.",
    "this is not right.",
    "i took a wrong turn.",
    "let me correct this.",
    "i should try something else.",
)


def shared_steps(bad: Node, good: Node) -> int:
    """How many steps two leaves of one tree share: the depth of their deepest common node."""
    path_a, path_b = bad.path(), good.path()
    return sum(a is b for a, b in zip(path_a, path_b, strict=False))


def pair_leaves(tree: Tree, alpha: float, beta: float, pairs: int, rng: random.Random) -> list[tuple[Node, list[Node]]]:
    """Bad leaves of a tree, each with the good leaves it can be paired with, the deepest shared node first.

    A leaf is good if r >= alpha; a pair needs r(good) - r(bad) > beta.  (The text has r(bad) < beta < r(good); this is
    the form the paper's experiments ran.)  At most `pairs` bad leaves are drawn.
    """
    leaves = [leaf for leaf in tree.leaves() if leaf.step]
    good = [leaf for leaf in leaves if leaf.step.score >= alpha]
    paired = []
    for bad in leaves:
        better = [leaf for leaf in good if leaf.step.score - bad.step.score > beta]
        if better:
            paired.append((bad, sorted(better, key=lambda leaf: -shared_steps(bad, leaf))))
    return rng.sample(paired, min(pairs, len(paired)))


def first_error(verdicts: Sequence[str]) -> int | None:
    """t', the index of the first verdict `Bad`; `Good` and `Uncertain` go on; None if nothing is called Bad."""
    return next((t for t, verdict in enumerate(verdicts) if verdict == BAD), None)


def find_first_errors(
    actor: Actor, trajectories: Sequence[Trajectory], starts: Sequence[int], batch_size: int = 256
) -> list[int | None]:
    """The first step, from `starts[i]` on, that the actor calls Bad in each trajectory; None where there is none.

    One verifier dialogue per trajectory, all in lockstep on one cache: each turn shows the next action and its
    observation, and a trajectory leaves at its first Bad, so nothing behind it is judged.  Greedy.  Revision turns
    are passed over; steps that no longer fit the actor's context are not judged.
    """
    found: list[int | None] = [None] * len(trajectories)
    judged = range(0, len(trajectories), batch_size)
    for first in tqdm(judged, desc="judging", leave=False, disable=None):
        batch = range(first, len(trajectories))[:batch_size]
        queues = {i: _questions(actor, trajectories[i], starts[i]) for i in batch}
        live = [i for i, queue in queues.items() if queue]
        dialogues = actor.start([queues[i][0][1] for i in live]) if live else None
        while live:
            rows = []
            for row, (i, reply) in enumerate(zip(live, dialogues.replies(temperature=0.0), strict=True)):
                t, _ = queues[i].popleft()
                if first_error([parse_verdict(reply)]) == 0:
                    found[i] = t
                elif queues[i]:
                    rows.append(row)
            live = [live[row] for row in rows]
            if live:
                dialogues.select(rows)
                dialogues.feed([queues[i][0][1] for i in live])
    return found


def _questions(actor: Actor, trajectory: Trajectory, start: int) -> deque[tuple[int, list[int]]]:
    """The verifier's turns as (step, token ids), as many as are sure to fit the actor's context."""
    questions: deque[tuple[int, list[int]]] = deque()
    length = 0
    for t in range(start, len(trajectory.steps)):
        if trajectory.steps[t].action != REVISE:
            text = trajectory.judge_turn(t, first=not questions)
            turn = actor.format.turn(text) if questions else actor.format.opening(text)
            length += len(turn) + actor.max_new_tokens
            if length > actor.max_length:
                break
            questions.append((t, turn))
    return questions


def splice(bad: Trajectory, good: Trajectory, shared: int, error: int, thought: str) -> tuple[Trajectory, list[bool]]:
    """The revision trajectory and its loss flags, one per step (equation 6).

    Bad steps up to and including t' = `error` are context and not learned; the revision turn and the good steps
    after the shared node are.  The good observations are kept as they were recorded.
    Raises `ValueError` if t' lies in the shared prefix or behind the bad trajectory's end.
    """
    if not shared <= error < len(bad.steps):
        raise ValueError(f"the first error, step {error}, must lie between {shared} and {len(bad.steps) - 1}")
    before, after = bad.steps[: error + 1], good.steps[shared:]
    turn = Step(f"Thought: {thought}\nAction: {REVISE}", REVISE, REVISE_ANSWER, before[-1].score)
    flags = [False] * len(before) + [True] * (1 + len(after))
    return Trajectory(bad.task, bad.instruction, bad.observation, [*before, turn, *after]), flags


def execute(world: World, revision: Trajectory) -> Trajectory | None:
    """Replay a spliced trajectory in the world: the same actions with true observations.

    None if it cannot be carried out: the episode ends before the last action, within the step limit, or the score
    falls short of what the splice promised.
    """
    episode = Episode(world, revision.task)
    for step in revision.steps:
        if episode.done:
            return None
        episode.act(step.reply)
    return episode.trajectory if episode.trajectory.score >= revision.score else None


def build_examples(
    actor: Actor,
    trees: Sequence[Tree],
    make_world: Callable[[], World],
    alpha: float,
    beta: float,
    pairs: int,
    splice_kind: str,
    rng: random.Random,
    iteration: int,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The dataset of one iteration: (examples, figures).

    Revision examples come from at most `pairs` bad leaves a tree, good examples are at most `pairs` good leaves a
    tree.  `splice_kind` "paper" keeps every splice as it is written; "verified" keeps one that can be executed,
    with its true observations, trying the good leaves in the order of their shared nodes.  The figures are
    `revision_length`, the mean number of bad steps behind the shared node, t' included (Figure 5);
    `executable_share`, of the splices as written; and `counts` of what was kept, and of what was dropped and why.
    """
    drawn = [(tree, bad, goods) for tree in trees for bad, goods in pair_leaves(tree, alpha, beta, pairs, rng)]
    bads = [tree.trajectory(bad) for tree, bad, _ in drawn]
    errors = find_first_errors(actor, bads, [shared_steps(bad, goods[0]) for _, bad, goods in drawn])
    world, counts = make_world(), Counter(revision=0, good=0, dropped_no_error=0, dropped_not_executable=0)
    examples: list[dict[str, Any]] = []
    lengths: list[int] = []
    executable: list[bool] = []
    for (tree, leaf, goods), bad, error in zip(drawn, bads, errors, strict=True):
        if error is None:
            counts["dropped_no_error"] += 1
            continue
        thought = rng.choice(REVISION_THOUGHTS)
        splices = [
            splice(bad, tree.trajectory(good), shared_steps(leaf, good), error, thought)
            for good in (goods if splice_kind == "verified" else goods[:1])
        ]
        executed = (execute(world, revision) for revision, _ in splices)
        first = next(executed)
        executable.append(first is not None)
        revision, flags = splices[0]
        if splice_kind == "verified":
            later = zip(executed, splices[1:], strict=True)
            kept = [(first, flags)] if first else [(e, f) for e, (_, f) in later if e][:1]
            if not kept:
                counts["dropped_not_executable"] += 1
                continue
            revision, flags = kept[0]
        lengths.append(error + 1 - shared_steps(leaf, goods[0]))
        record = {"kind": "revision", "task": tree.task, "iteration": iteration, "score": revision.score}
        examples.append({"messages": revision.messages(flags), **record, "error": error})
        counts["revision"] += 1
    for tree in trees:
        good = [leaf for leaf in tree.leaves() if leaf.step and leaf.step.score >= alpha]
        for leaf in rng.sample(good, min(pairs, len(good))):
            record = {"kind": "good", "task": tree.task, "iteration": iteration, "score": leaf.step.score}
            examples.append({"messages": tree.trajectory(leaf).messages(), **record})
            counts["good"] += 1
    return examples, {
        "revision_length": mean(lengths),
        "executable_share": mean(executable),
        "counts": dict(counts),
    }


def judge_figures(truth: Sequence[int | None], found: Sequence[int | None]) -> dict[str, float | None]:
    """The judge against the truth about the first error of each episode, None standing for none.

    Of the episodes with an error: the shares in which the judge named that very step, and it or a neighbour, and
    the share that always naming the best constant step would get.  `false_alarms` is the share of the episodes
    without an error in which it called something Bad.
    """
    wrong = [(t, f) for t, f in zip(truth, found, strict=True) if t is not None]
    right = [f for t, f in zip(truth, found, strict=True) if t is None]
    constant = Counter(t for t, _ in wrong).most_common(1)
    return {
        "first_error_exact": mean(t == f for t, f in wrong),
        "first_error_within_1": mean(f is not None and abs(t - f) <= 1 for t, f in wrong),
        "first_error_constant": constant[0][1] / len(wrong) if wrong else None,
        "false_alarms": mean(f is not None for f in right),
    }
