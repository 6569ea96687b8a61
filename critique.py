"""The critique: from a searched tree to revision trajectories (paper, Phase I).

In a tree, a bad leaf and a good leaf share the path down to some node.  The actor itself judges the bad actions from
there on; the first it calls Bad is the transition point t'.  The revision trajectory is the bad one through t', then
a revision thought, and the good actions after the shared node: the agent errs, notices, and goes another way.

Read in order: `pair_leaves`, `find_first_errors`, `splice`, `execute`, `revision_examples`, `measure`.
`python critique.py` shows one revision.

Changed from the released code, which pairs any two leaves by their gap in score and may cut inside the shared prefix:
every pair has its own shared node, and judging starts behind it.  Ours beside the paper's: `execute`, which replays a
splice in the world, since what was good at the shared node cannot always be carried out from where the error led.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

import agent_r
from agent_r import BAD, GOOD, REVISE, Actor, Episode, Message, Step, Trajectory, parse_verdict, play, show
from envs import World
from envs import first_error as true_first_error
from mcts import Node, Tree

# Short, since a small model gains nothing from a long one; the paper draws from ten sentences of this kind as well.
REVISION_THOUGHTS = ("that was wrong.", "i made a mistake.", "this does not help.", "that was a bad step.",
    "i must change my plan.", "i need another way.", "this is not right.", "i took a wrong turn.",
    "let me correct this.", "i should try something else.")


def shared_steps(bad: Node, good: Node) -> int:
    """How many steps two leaves of one tree share: the depth of their deepest common node."""
    return sum(a is b for a, b in zip(bad.path(), good.path(), strict=False))


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
    """t', the index of the first verdict `Bad` (paper, Phase I); `Good` and `Uncertain` go on; None without a `Bad`."""
    return next((t for t, verdict in enumerate(verdicts) if verdict == BAD), None)


def find_first_errors(
    actor: Actor, trajectories: Sequence[Trajectory], starts: Sequence[int], batch_size: int = 256
) -> list[int | None]:
    """For each trajectory t', the first step, from `starts[i]` on, that the actor calls Bad; None if there is none.

    One verifier dialogue per trajectory, all in lockstep on one cache: each turn shows the next action and its
    observation, and a trajectory leaves at its first Bad, so nothing behind it is judged.  Greedy.  Revision turns
    are passed over; steps that no longer fit the actor's context are not judged.
    """
    found: list[int | None] = []
    for first in tqdm(range(0, len(trajectories), batch_size), desc="judging", leave=False, disable=None):
        batch = slice(first, first + batch_size)
        questions = [_questions(actor, *pair) for pair in zip(trajectories[batch], starts[batch], strict=True)]
        verdicts: list[list[str]] = [[] for _ in questions]
        live = [i for i, asked in enumerate(questions) if asked]
        dialogues = actor.start([questions[i][0][1] for i in live]) if live else None
        while live:
            rows = []
            for row, (i, reply) in enumerate(zip(live, dialogues.replies(temperature=0.0), strict=True)):
                verdicts[i].append(parse_verdict(reply))
                if verdicts[i][-1] != BAD and len(verdicts[i]) < len(questions[i]):
                    rows.append(row)
            live = [live[row] for row in rows]
            if live:
                dialogues.select(rows)
                dialogues.feed([questions[i][len(verdicts[i])][1] for i in live])
        errors = map(first_error, verdicts)
        found += [None if t is None else asked[t][0] for t, asked in zip(errors, questions, strict=True)]
    return found


def _questions(actor: Actor, trajectory: Trajectory, start: int) -> list[tuple[int, list[int]]]:
    """The verifier's turns as (step, token ids), as many as are sure to fit the actor's context."""
    questions: list[tuple[int, list[int]]] = []
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


def splice(
    bad: Trajectory, good: Trajectory, shared: int, error: int, thought: str, back: int = 0,
    learned: Sequence[bool] | None = None,
) -> tuple[Trajectory, list[bool]]:
    """The revision trajectory and its loss flags, one per step (paper, Phase I).

    Bad steps up to and including t' = `error` are context and not learned; the revision turn and the good steps
    after the shared node are, as far as `learned` says (default: all that the agent did not take back).  The good
    observations are kept as they were recorded.  Ours: with `back` > 0 the good steps begin that many before the
    shared node, which walks back to it where the world lets one do so.
    Raises `ValueError` if t' lies in the shared prefix or behind the bad trajectory's end.
    """
    if not shared <= error < len(bad.steps):
        raise ValueError(f"the first error, step {error}, must lie between {shared} and {len(bad.steps) - 1}")
    before, after = bad.steps[: error + 1], good.steps[shared - back :]
    turn = Step(f"Thought: {thought}\nAction: {REVISE}", REVISE, agent_r.REVISE_ANSWER, before[-1].score)
    flags = [False] * len(before) + [True] + list(learned or good.learned())[shared - back :]
    return Trajectory(bad.task, bad.instruction, bad.observation, [*before, turn, *after]), flags


def execute(world: World, revision: Trajectory) -> Trajectory | None:
    """The same actions with true observations; None if the episode ends early or falls short of the splice's score."""
    episode = Episode(world, revision.task)
    for step in revision.steps:
        if episode.done:
            return None
        episode.act(step.reply)
    return episode.trajectory if episode.trajectory.score >= revision.score else None


def verified_splice(
    world: World, bad: Trajectory, goods: Sequence[tuple[Trajectory, list[bool]]], error: int, thought: str
) -> tuple[Trajectory, list[bool]] | None:
    """Ours: the first splice that the world carries out, with its true observations; None if there is none.

    `goods` are better trajectories of the same task with their loss flags, and are tried in that order.  Each is
    tried from the last state it shares with `bad`, as the paper has it, then from one step earlier: an agent that
    went through the wrong door has to come back through it before the good way is open.  (Not from earlier still:
    that would teach it to go through its old mistakes again.)
    """
    for good, learned in goods:
        pairs = zip(bad.steps, good.steps, strict=False)
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0].action == pair[1].action, pairs))
        if shared <= error:
            for back in range(min(shared, 1) + 1):
                revision, flags = splice(bad, good, shared, error, thought, back, learned)
                executed = execute(world, revision)
                if executed:
                    return executed, flags
    return None


CRITICS = ("actor", "end", "random", "truth")  # who finds the first error: the first is the paper's


def criticise(
    critic: str, actor: Actor, bads: Sequence[Trajectory], starts: Sequence[int], make_world: Callable[[], World],
    rng: random.Random,
) -> list[int | None]:
    """The first error t' of each bad trajectory, from `starts[i]` on, by one of `CRITICS`; None if it finds none.

    The actor judges.  To compare with: the last step (Direct-Revision, Table 2), any step, or the truth.
    """
    if critic == "actor":
        return find_first_errors(actor, bads, starts)
    if critic == "end":
        return [len(bad.steps) - 1 for bad in bads]
    if critic == "random":
        return [rng.randrange(start, len(bad.steps)) for bad, start in zip(bads, starts, strict=True)]
    found = [true_first_error(make_world(), bad.task, [step.action for step in bad.steps]) for bad in bads]
    return [None if t is None or t < start else t for t, start in zip(found, starts, strict=True)]


def example(kind: str, trajectory: Trajectory, iteration: int, flags: list[bool] | None = None) -> dict[str, Any]:
    """A line of the dataset; `flags` are the loss flags of the steps, if they are not `Trajectory.learned`."""
    head = {"messages": trajectory.messages(flags), "kind": kind, "task": trajectory.task}
    return {**head, "iteration": iteration, "score": trajectory.score}


def good_examples(trees: Sequence[Tree], alpha: float, pairs: int, rng: random.Random, iteration: int) -> list[Any]:
    """At most `pairs` good leaves a tree."""
    good = [[leaf for leaf in tree.leaves() if leaf.step and leaf.step.score >= alpha] for tree in trees]
    drawn = [(tree, rng.sample(found, min(pairs, len(found)))) for tree, found in zip(trees, good, strict=True)]
    return [example("good", tree.trajectory(leaf), iteration) for tree, leaves in drawn for leaf in leaves]


def preference_examples(
    trees: Sequence[Tree], alpha: float, beta: float, pairs: int, rng: random.Random, iteration: int
) -> list[dict[str, Any]]:
    """The data of ETO (Table 2): good trajectories, each with the bad one that it is preferred to as `rejected`."""
    drawn = [(tree, bad, goods[0]) for tree in trees for bad, goods in pair_leaves(tree, alpha, beta, pairs, rng)]
    return [
        example("preference", tree.trajectory(good), iteration) | {"rejected": tree.trajectory(bad).messages()}
        for tree, bad, good in drawn
    ]


def revision_examples(
    actor: Actor, trees: Sequence[Tree], make_world: Callable[[], World], alpha: float, beta: float, pairs: int,
    splice_kind: str, critic: str, pairing: str, rng: random.Random, iteration: int,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The revisions of one iteration, from at most `pairs` bad leaves a tree: (examples, figures).

    `splice_kind` is "paper" (every splice as it is written) or "verified"; `pairing` is "deepest" (a bad leaf goes
    with the good one it shares most with) or "any", as in the released code.  The figures are `revision_length`, the
    mean number of bad steps behind the shared node, t' included (Figure 5); `executable_share`, of the paper's
    splices; and `counts` of what was kept, and of what was dropped and why.
    """
    drawn = [(tree, bad, goods) for tree in trees for bad, goods in pair_leaves(tree, alpha, beta, pairs, rng)]
    if pairing == "any":
        drawn = [(tree, bad, rng.sample(goods, len(goods))) for tree, bad, goods in drawn]
    bads = [tree.trajectory(leaf) for tree, leaf, _ in drawn]
    starts = [shared_steps(leaf, goods[0]) for _, leaf, goods in drawn]
    errors = criticise(critic, actor, bads, starts, make_world, rng)
    world, counts = make_world(), Counter(revision=0, dropped_no_error=0, dropped_not_executable=0)
    examples, lengths, executable, made = [], [], [], defaultdict(list)  # made: the revisions of each tree so far
    for (tree, _, nodes), bad, shared, error in zip(drawn, bads, starts, errors, strict=True):
        if error is None:
            counts["dropped_no_error"] += 1
            continue
        thought = rng.choice(REVISION_THOUGHTS)
        kept = written = splice(bad, tree.trajectory(nodes[0]), shared, error, thought)
        executable.append(execute(world, written[0]) is not None)
        if splice_kind == "verified":
            goods = [(good, good.learned()) for good in map(tree.trajectory, nodes)]
            # Every other time a revision made before stands in for the good trajectory: two mistakes, two revisions.
            chained = made[id(tree)][::-1] if rng.random() < 0.5 else []
            kept = verified_splice(world, bad, [*chained, *goods], error, thought)
        if kept is None:
            counts["dropped_not_executable"] += 1
            continue
        made[id(tree)].append(kept)
        lengths.append(error + 1 - shared)
        counts["revision"] += 1
        examples.append(example("revision", kept[0], iteration, kept[1]) | {"error": error})
    found = {"revision_length": mean(lengths), "executable_share": mean(executable), "counts": dict(counts)}
    return examples, found


# --- what a tiny model is warmed up with: the only data that asks a world's truth

def demonstration(world: World, task: str) -> list[Message]:
    """The dialogue of the expert's shortest way through `task`, or of the world's gold path.

    A world may have a `thought` that goes before the expert's next action.
    """
    episode = Episode(world, task)
    for action in world.expert() if hasattr(world, "expert") else world.gold():
        if not episode.done:
            thought = f"Thought: {world.thought()}\n" if hasattr(world, "thought") else ""
            episode.act(f"{thought}Action: {action}")
    return episode.trajectory.messages()


def judged_episode(world: World, task: str, pool: Sequence[str], rng: random.Random) -> list[Message]:
    """A verifier dialogue over a noisy episode: every action, its observation and the true verdict.

    The expert acts, but one action in three is another: mostly one that might seem sensible where it stands, else
    one from anywhere (`pool`) or one from before.  An action is Good if it shortened the way to the goal.
    In a world that knows only a gold path, one action in seven is put between those of the path, and is Bad.  If such
    an episode ends below 1, a mistake may have spoilt the path: nothing is judged behind the first.
    """
    episode, verdicts, gold = Episode(world, task), [], not hasattr(world, "expert")
    way = world.gold() if gold else world.expert()
    while way and not episode.done:
        action, tried = way[0], [step.action for step in episode.trajectory.steps]
        if rng.random() < (0.15 if gold else 0.35):
            kind = rng.random()
            action = rng.choice(world.choices() if kind < 0.7 else pool if kind < 0.85 else tried or pool)
        episode.act(f"Action: {action}")
        left = way[action == way[0] :] if gold else world.expert()
        verdicts.append(GOOD if left is not None and len(left) < len(way) else BAD)
        way = left
    if gold and episode.trajectory.score < 1.0 and BAD in verdicts:
        del verdicts[verdicts.index(BAD) + 1 :]
    messages: list[Message] = []
    for t, verdict in enumerate(verdicts):
        messages.append({"role": "user", "content": episode.trajectory.judge_turn(t, first=t == 0)})
        messages.append({"role": "assistant", "content": agent_r.JUDGE_ANSWER.format(verdict=verdict), "loss": True})
    return messages


# --- measuring, which may ask the truth

def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else None


def figures(trajectories: Sequence[Trajectory]) -> dict[str, float | None]:
    """Mean score, share of full successes, and loops over all and over failed episodes (None over none)."""
    return {
        "score": mean(t.score for t in trajectories),
        "success": mean(float(t.score >= 1.0) for t in trajectories),
        "loops": mean(t.loops() for t in trajectories),
        "loops_failed": mean(t.loops() for t in trajectories if t.score < 1.0),
    }


def failed_prefixes(
    trajectories: Sequence[Trajectory], make_world: Callable[[], World]
) -> tuple[list[tuple[str, list[Step]]], int]:
    """Starts for recovery (Table 3), failures cut after their true first error; how many nothing can recover from."""
    starts, lost = [], 0
    world = make_world()
    for trajectory in trajectories:
        if trajectory.score < 1.0:
            t = true_first_error(world, trajectory.task, [step.action for step in trajectory.steps])
            if t is None:
                continue
            steps = trajectory.steps[: t + 1]
            episode = Episode(world, trajectory.task, steps)
            way = None if episode.done else world.expert()
            if way is None or len(steps) + len(way) > world.step_limit:
                lost += 1
            else:
                starts.append((trajectory.task, steps))
    return starts, lost


def judge_figures(truth: Sequence[int | None], found: Sequence[int | None]) -> dict[str, float | None]:
    """The judge against the truth about the first error of each episode, None standing for none.

    Of the episodes with an error: the shares in which the judge named that very step, and it or a neighbour.
    `false_alarms` is the share of the episodes without an error in which it called something Bad.
    """
    wrong = [(t, f) for t, f in zip(truth, found, strict=True) if t is not None]
    right = [f for t, f in zip(truth, found, strict=True) if t is None]
    return {
        "first_error_exact": mean(t == f for t, f in wrong),
        "first_error_within_1": mean(f is not None and abs(t - f) <= 1 for t, f in wrong),
        "false_alarms": mean(f is not None for f in right),
    }


@dataclass
class Exam:
    """The held-out tasks of one world, and the frozen failed prefixes that recovery is measured from (Table 3)."""

    name: str
    make: Callable[[], World]
    tasks: list[str]
    prefixes: list[tuple[str, list[Step]]] | None = None
    lost: int = 0  # failures left out of `prefixes`, as nothing can recover from them


def measure(actor: Actor, exam: Exam, rollouts: int) -> tuple[dict[str, Any], list[Trajectory]]:
    """Figures of greedy play on held-out tasks (None for what needs an expert) and the episodes; sets the prefixes."""
    trajectories = play(actor, exam.make, [(task, ()) for task in exam.tasks], rollouts, label=f"testing {exam.name}")
    row: dict[str, Any] = {"tasks": len(exam.tasks), **figures(trajectories)}
    row.update(dict.fromkeys(("recovery", "recovery_prefixes", "recovery_left_out", *judge_figures([], []))))
    world = exam.make()
    if not hasattr(world, "expert"):
        return row, trajectories
    if exam.prefixes is None:
        exam.prefixes, exam.lost = failed_prefixes(trajectories, exam.make)
    if exam.prefixes:
        recovered = play(actor, exam.make, exam.prefixes, rollouts, label=f"recovering {exam.name}")
        row["recovery"] = figures(recovered)["score"]
    row["recovery_prefixes"], row["recovery_left_out"] = len(exam.prefixes), exam.lost
    truth = [true_first_error(world, t.task, [step.action for step in t.steps]) for t in trajectories]
    found = find_first_errors(actor, trajectories, [0] * len(trajectories), rollouts)
    row.update(judge_figures(truth, found))
    return row, trajectories


if __name__ == "__main__":
    from extras import show

    sys.exit(show.command(show.revise_one))
