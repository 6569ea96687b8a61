"""The critique: from a searched tree to revision trajectories (paper, Phase I).

In a tree, a bad leaf and a good leaf share the path down to some node.  The actor itself judges the
bad actions from there on; the first it calls Bad is the transition point t'.  The revision
trajectory is the bad one through t', then a revision thought, and the good actions after the shared
node: the agent errs, notices, and goes another way.

Read in order: `pair_leaves`, `find_first_errors` (the judge), `splice`, `execute`, `criticise`,
`failed_prefixes` (measuring: it may ask a world's truth, and so may `--critic truth`).
`python -m extras.show revision` shows one revision.

Changed from the released code, which pairs any two leaves by their gap in score and may cut inside
the shared prefix: every pair has its own shared node, and judging starts behind it.  Ours beside
the paper's: `execute`, which replays a splice in the world, since what was good at the shared node
cannot always be carried out from where the error led.
"""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent_r import (
    BAD,
    REVISE,
    REVISE_ANSWER,
    Actor,
    Episode,
    Start,
    Step,
    Trajectory,
    mean,
    parse_verdict,
)
from engine.pieces import for_first, in_pieces
from envs import CHANGED, REFUSED, World, distance, first_error
from mcts import Node, Tree

# Short, since a small model gains nothing from a long one; the paper draws from ten of this kind.
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

CRITICS = ("actor", "end", "random", "truth")  # who finds the first error; the first is the paper's
SPLICES = ("verified", "paper")  # keep what the world can carry out, or all as it is written
IDLE = ("context", "learned")  # what refused steps and idle repeats are in good trajectories
PAIRINGS = ("deepest", "any")  # the good leaf for a bad one: that it shares most with, or any


@dataclass(frozen=True)
class CritiqueSettings:
    """Which leaves make a pair, who judges, and which splices are kept."""

    alpha: float = 1.0  # the least score of a good trajectory
    beta: float = 0.2  # what r(good) - r(bad) must exceed
    pairs: int = 4  # of a tree at most
    critic: str = "actor"
    splice: str = "verified"
    pairing: str = "deepest"
    idle: str = "context"  # whether idle steps of good trajectories are context or learned
    rollouts: int = 256  # dialogues that are judged at a time


@dataclass
class Pair:
    """A bad leaf of a tree with the good leaves that go with it.

    The first is the one that it is paired with: that with the deepest shared node, unless the
    pairing is "any".  The others are tried where its splice cannot be carried out.
    """

    tree: Tree
    bad: Node
    goods: list[Node]

    @property
    def shared(self) -> int:
        """How many steps the bad leaf shares with the first of the good ones."""
        return shared_steps(self.bad, self.goods[0])

    @functools.cached_property
    def failure(self) -> Trajectory:
        """The bad leaf's trajectory, which keeps what the judge answers about it."""
        return self.tree.trajectory(self.bad)


@dataclass
class Example:
    """A dialogue for training: a line of the dataset before it is written."""

    kind: str  # "revision", "good" or "preference"
    trajectory: Trajectory
    error: int | None = None  # t' of a revision
    rejected: Trajectory | None = None  # what the trajectory of a preference is preferred to

    def record(self, iteration: int) -> dict[str, Any]:
        """Return the example as a JSON object, with its dialogue as messages."""
        fields: dict[str, Any] = {
            "messages": self.trajectory.messages(),
            "kind": self.kind,
            "task": self.trajectory.task,
            "iteration": iteration,
            "score": self.trajectory.score,
        }
        if self.error is not None:
            fields["error"] = self.error
        if self.rejected is not None:
            fields["rejected"] = self.rejected.messages()
        return fields


# --- pairs


def shared_steps(bad: Node, good: Node) -> int:
    """Return how many steps two leaves of a tree share: the depth of their deepest common node."""
    count = 0
    for one, other in zip(bad.path(), good.path(), strict=False):
        if one is not other:
            break
        count += 1
    return count


def pair_leaves(tree: Tree, settings: CritiqueSettings, rng: random.Random) -> list[Pair]:
    """Return bad leaves of a tree, at most `settings.pairs` drawn by `rng`, with their good leaves.

    A leaf is good by `Step.is_good`; a pair needs r(good) - r(bad) > beta, as the paper ran it (its
    text has r(bad) < beta < r(good)).  All good ones are kept, the deepest shared node first, then
    as sampled; a good leaf may be the bad one of a pair.  A root has no step: no leaf.
    """
    leaves = [leaf for leaf in tree.leaves() if leaf.step]
    good_leaves = [leaf for leaf in leaves if leaf.step.is_good(settings.alpha)]
    pairs = []
    for bad in leaves:
        goods = [leaf for leaf in good_leaves if leaf.step.score - bad.step.score > settings.beta]
        if goods:
            goods.sort(key=functools.partial(shared_steps, bad), reverse=True)
            pairs.append(Pair(tree, bad, goods))
    return rng.sample(pairs, min(settings.pairs, len(pairs)))


# --- what is learned of an agent's own trajectory


def learnable(trajectory: Trajectory, settings: CritiqueSettings) -> Trajectory:
    """Return a trajectory of the agent's own, without learning where it stumbled.

    Ours: a step behind which the agent revised is context, and so is an idle one: who stumbles into
    success is not to be taught to stumble.  With `settings.idle` "learned", the paper's way, idle
    steps are learned.
    """
    idle = idle_steps(trajectory)
    steps = []
    for t, step in enumerate(trajectory.steps):
        learned = step.learned
        if t + 1 < len(trajectory.steps) and trajectory.steps[t + 1].action == REVISE:
            learned = False
        if settings.idle == "context" and idle[t]:
            learned = False
        steps.append(replace(step, learned=learned))
    return replace(trajectory, steps=steps)


def up_to_its_score(
    trajectory: Trajectory, settings: CritiqueSettings, least: int = 1
) -> Trajectory:
    """Return a good trajectory without the steps behind the one that brought it to its score.

    Ours: where a world pays in part, an agent may go on to the step limit and gain nothing, which
    is not to be learned, and leaves no room for a revision in front of it.  At least `least` steps
    stay.  With `settings.idle` "learned", the paper's way, all stay.
    """
    last = trajectory.steps[-1]
    for count, step in enumerate(trajectory.steps, 1):
        there = step.score >= last.score and bool(step.won) == bool(last.won)
        if there and count >= least and settings.idle == "context":
            return replace(trajectory, steps=trajectory.steps[:count])
    return trajectory


def idle_steps(trajectory: Trajectory) -> list[bool]:
    """Tell for every step whether it was idle: refused, or a repeat that changed nothing.

    A repeat is an (action, observation) that the trajectory has seen already.  Where the world says
    that it changed something, as by crafting the same thing once more, it is progress all the same.
    """
    seen = set()
    idle = []
    for step in trajectory.steps:
        turn = (step.action, step.observation)
        repeat = turn in seen and step.effect != CHANGED
        idle.append(step.action != REVISE and (step.effect == REFUSED or repeat))
        seen.add(turn)
    return idle


# --- the judge


@dataclass
class Question:
    """A turn of the judge's dialogue: the index of the step that it asks about, and its tokens."""

    step: int
    ids: list[int]
    answer: str | None = None  # None until it is asked


def answers_to(questions: Sequence[Question]) -> dict[int, str]:
    """Return the answers of one dialogue by step, as far as it was asked."""
    return {one.step: one.answer for one in questions if one.answer is not None}


# How the answers are kept while there are more to come: arguments of `in_pieces`.
ANSWERS = {"label": "judging", "write": lambda answers: list(answers.items()), "read": dict}


def transition_point(verdicts: Sequence[str]) -> int | None:
    """Return t', the index of the first verdict `Bad`; None without one (paper, Phase I).

    `Good` and `Uncertain` go on.
    """
    for t, verdict in enumerate(verdicts):
        if verdict == BAD:
            return t
    return None


def find_first_errors(
    actor: Actor, trajectories: Sequence[Trajectory], starts: Sequence[int], batch_size: int = 256
) -> list[int | None]:
    """Return for each trajectory t', the first step from `starts[i]` on that the actor calls Bad.

    It is None where there is no such step.  Answers are greedy, and each trajectory keeps its own;
    revision turns are passed over; steps that no longer fit the actor's context are not judged.
    """

    def judge_some(indexes: Sequence[int]) -> list[dict[int, str]]:
        questions = [ask(actor, trajectories[index], starts[index]) for index in indexes]
        judge(actor, questions)
        return [answers_to(asked) for asked in questions]

    every = range(len(trajectories))
    errors = []
    # In pieces, each of which is kept as soon as it is made, should the run be stopped.
    for index, answers in enumerate(in_pieces(judge_some, every, batch_size, **ANSWERS)):
        trajectories[index].answers = answers
        steps = list(answers)  # those that were asked about, in their order
        point = transition_point([parse_verdict(answers[step]) for step in steps])
        errors.append(None if point is None else steps[point])
    return errors


def ask(actor: Actor, trajectory: Trajectory, start: int) -> list[Question]:
    """Return the judge's questions from step `start` on, as many as are sure to fit.

    The first opens the dialogue.  Revisions are passed over.  Answers may take all `judge_tokens`;
    a dialogue of `max_length` tokens fits.  Behind a question that does not, none is asked.
    """
    questions: list[Question] = []
    length = 0
    for t in range(start, len(trajectory.steps)):
        if trajectory.steps[t].action == REVISE:
            continue
        text = trajectory.judge_turn(t, first=not questions)
        ids = actor.format.turn(text) if questions else actor.format.opening(text)
        length += len(ids) + actor.judge_tokens
        if length > actor.max_length:
            break
        questions.append(Question(t, ids))
    return questions


def judge(actor: Actor, questions_of: Sequence[list[Question]]) -> None:
    """Ask the actor the questions of each trajectory, up to the first that it answers by Bad.

    Each question keeps its answer.  All dialogues are held at once, on one cache: each turn shows
    the next action and its observation.  (The released code asks about every action in a fresh
    prompt; such a prompt holds one verdict, which taught a small model far less.)
    """
    asked = [0] * len(questions_of)  # so many of each trajectory's, and the place of the next
    live = [index for index, questions in enumerate(questions_of) if questions]
    if live:
        dialogues = actor.start([questions_of[index][0].ids for index in live])
    while live:
        staying = []  # places in `live`
        for place, reply in enumerate(dialogues.replies(limit=actor.judge_tokens)):
            index = live[place]
            questions = questions_of[index]
            questions[asked[index]].answer = reply
            asked[index] += 1
            if parse_verdict(reply) != BAD and asked[index] < len(questions):
                staying.append(place)
        live = [live[place] for place in staying]
        if live:
            dialogues.select(staying)
            dialogues.feed([questions_of[index][asked[index]].ids for index in live])


def errors_by_critic(
    actor: Actor,
    pairs: Sequence[Pair],
    make_world: Callable[[], World],
    critic: str,
    rng: random.Random,
    *,
    rollouts: int = 256,
) -> list[int | None]:
    """Return t' of each pair's bad trajectory, from the shared node on, by one of `CRITICS`.

    The actor judges.  To compare with: the last step (Direct-Revision, Table 2), any step, or the
    truth.  It is None where the critic finds no error.
    """
    bads = [pair.failure for pair in pairs]
    starts = [pair.shared for pair in pairs]
    if critic == "actor":
        return find_first_errors(actor, bads, starts, rollouts)
    errors: list[int | None] = []
    for bad, start in zip(bads, starts, strict=True):
        if critic == "end":
            errors.append(len(bad.steps) - 1)
        elif critic == "random":
            errors.append(rng.randrange(start, len(bad.steps)))
        else:
            errors.append(first_error(make_world(), bad.task, bad.actions, start))
    return errors


# --- the splice


def revision_turn(thought: str, score: float) -> Step:
    """Return the turn in which the agent admits a mistake; its own loop answers it."""
    return Step(f"Thought: {thought}\nAction: {REVISE}", REVISE, REVISE_ANSWER, score)


def splice(
    bad: Trajectory, good: Trajectory, shared: int, error: int, thought: str, *, back: int = 0
) -> Trajectory:
    """Return the revision trajectory (paper, Phase I): `bad` with other steps.

    Bad steps up to and including t' = `error` are context and not learned.  The `revision_turn`,
    with the score after t', is learned.  The good steps after the shared node keep their `learned`
    and the observations that were recorded.  `bad` and `good` themselves stay as they are.  Ours:
    with `back` > 0 the good steps begin that many before the shared node, which walks back to it
    where the world lets one do so.
    Raises `ValueError` if t' lies in the shared prefix or behind the bad trajectory's end.
    """
    if not shared <= error < len(bad.steps):
        last = len(bad.steps) - 1
        raise ValueError(f"the first error, step {error}, must lie between {shared} and {last}")
    context = [replace(step, learned=False) for step in bad.steps[: error + 1]]
    turn = revision_turn(thought, context[-1].score)
    return replace(bad, steps=[*context, turn, *good.steps[shared - back :]], answers={})


def execute(world: World, revision: Trajectory) -> Trajectory | None:
    """Return the same replies, learned or not, with the observations that the world really gives.

    It is None if the episode ends before the last reply, or is lost.  It is also None if it pays
    less than the splice and is no success: a longer way may pay a little less.
    """
    episode = Episode(world, revision.task)
    for step in revision.steps:
        if episode.done:
            return None
        episode.act(step.reply, step.learned)
    executed = episode.trajectory
    holds = executed.won or executed.score >= revision.score
    return executed if holds and not episode.lost else None


def verified_splice(
    world: World, bad: Trajectory, goods: Sequence[Trajectory], error: int, thought: str
) -> Trajectory | None:
    """Return the first splice that the world carries out, with its true observations; None without.

    Ours.  `goods` are better trajectories of the same task and are tried in that order.  Each is
    tried from the last state it shares with `bad`, as the paper has it, then from one step earlier:
    an agent that went through the wrong door has to come back through it before the good way is
    open.  (Not from earlier still: that would teach it to go through its old mistakes again.)
    """
    for good in goods:
        shared = shared_replies(bad, good)
        if shared > error:  # this one takes the criticised step too, and shows no other way
            continue
        for back in (0, 1):
            if back <= shared:
                revision = splice(bad, good, shared, error, thought, back=back)
                executed = execute(world, revision)
                if executed is not None:
                    return executed
    return None


def shared_replies(bad: Trajectory, good: Trajectory) -> int:
    """Return how many replies two trajectories of a task begin with in common.

    Within a tree that is the depth of their shared node; but a revision stands in no tree.
    """
    count = 0
    for one, other in zip(bad.steps, good.steps, strict=False):
        if one.reply != other.reply:
            break
        count += 1
    return count


# --- the dataset of an iteration


@dataclass
class Judged:
    """A bad trajectory as the critic was asked about it, its answer, and what was made of it."""

    trajectory: Trajectory
    start: int
    error: int | None
    pair: Pair | None = None
    goods: Sequence[Trajectory] = ()  # what it was spliced with, in the order in which it was tried
    thought: str = ""  # of the revision turn
    revision: Trajectory | None = None  # None where the pair was dropped


@dataclass
class Revisions:
    """What the critique made of the trees of one world: examples, and how it went."""

    examples: list[Example] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # bad steps behind the shared node, with t'
    executable: list[bool] = field(default_factory=list)  # whether a splice as written can be done
    without_error: int = 0  # pairs dropped, as the critic found nothing wrong
    not_executable: int = 0  # pairs dropped, as the world carries none of their splices out
    judged: list[Judged] = field(default_factory=list)  # every pair, to be measured and kept

    def figures(self) -> dict[str, Any]:
        """Return revision length (Figure 5), executable share, and what was kept and dropped."""
        counts = {
            "revision": len(self.examples),
            "dropped_no_error": self.without_error,
            "dropped_not_executable": self.not_executable,
        }
        return {
            "revision_length": mean(self.lengths),
            "executable_share": mean(self.executable),
            "counts": counts,
        }


def criticise(
    actor: Actor,
    trees: Sequence[Tree],
    make_world: Callable[[], World],
    settings: CritiqueSettings,
    rng: random.Random,
) -> Revisions:
    """Return the revisions of one iteration, at most `settings.pairs` from each tree."""
    pairs = draw_pairs(trees, settings, rng)
    errors = errors_by_critic(
        actor, pairs, make_world, settings.critic, rng, rollouts=settings.rollouts
    )
    world = make_world()
    revisions = Revisions()
    of_tree: dict[int, list[Trajectory]] = defaultdict(list)  # the revisions of each tree so far
    # Of several processes the first makes them all, and the others hear of it.
    for pair, error in for_first(zip(pairs, errors, strict=True)):
        bad = pair.failure
        judged = Judged(bad, pair.shared, error, pair)
        revisions.judged.append(judged)
        if error is None:
            revisions.without_error += 1
            continue
        goods = [learnable(pair.tree.trajectory(good), settings) for good in pair.goods]
        thought = rng.choice(REVISION_THOUGHTS)
        revision = splice(bad, goods[0], pair.shared, error, thought)
        # Measured as the paper writes it, whatever is kept below.
        revisions.executable.append(execute(world, revision) is not None)
        earlier = of_tree[id(pair.tree)]
        if settings.splice == "verified":
            goods = [
                up_to_its_score(good, settings, 1 + shared_replies(bad, good)) for good in goods
            ]
            # Every other time a revision made before stands in for the good trajectory: an agent
            # that errs twice and revises twice.
            chained = earlier[::-1] if rng.random() < 0.5 else []
            goods = [*chained, *goods]
            revision = verified_splice(world, bad, goods, error, thought)
        judged.goods, judged.thought = goods, thought
        if revision is None:
            revisions.not_executable += 1
            continue
        revision = judged.revision = learnable(revision, settings)
        earlier.append(revision)
        revisions.lengths.append(error + 1 - pair.shared)
        revisions.examples.append(Example("revision", revision, error=error))
    return revisions


def draw_pairs(trees: Sequence[Tree], settings: CritiqueSettings, rng: random.Random) -> list[Pair]:
    """Return the pairs of all trees; with the pairing "any" their good leaves are in any order."""
    pairs = []
    for tree in trees:
        pairs += pair_leaves(tree, settings, rng)
    if settings.pairing == "any":
        for pair in pairs:
            pair.goods = rng.sample(pair.goods, len(pair.goods))
    return pairs


def good_examples(
    trees: Sequence[Tree], settings: CritiqueSettings, rng: random.Random
) -> list[Example]:
    """Return the trajectories of good leaves, at most `settings.pairs` of each tree.

    Ours: a tree in which every leaf succeeds gives none, as nothing is to be learned there.
    """
    examples = []
    for tree in trees:
        leaves = [leaf for leaf in tree.leaves() if leaf.step]
        goods = [leaf for leaf in leaves if leaf.step.is_good(settings.alpha)]
        if all(leaf.step.is_good(1.0) for leaf in leaves):
            continue
        for leaf in rng.sample(goods, min(settings.pairs, len(goods))):
            good = up_to_its_score(tree.trajectory(leaf), settings)
            examples.append(Example("good", learnable(good, settings)))
    return examples


def preference_examples(
    trees: Sequence[Tree], settings: CritiqueSettings, rng: random.Random
) -> list[Example]:
    """Return the data of ETO (Table 2): good trajectories, each with a bad one as `rejected`."""
    examples = []
    for tree in trees:
        for pair in pair_leaves(tree, settings, rng):
            bad = tree.trajectory(pair.bad)
            good = up_to_its_score(tree.trajectory(pair.goods[0]), settings, 1 + pair.shared)
            examples.append(Example("preference", good, rejected=bad))
    return examples


# --- measuring, which may ask the truth


def failed_prefixes(
    trajectories: Sequence[Trajectory], make_world: Callable[[], World]
) -> tuple[list[Start], int]:
    """Return starts for recovery (Table 3), and how many failures nothing can recover from.

    A start is a failed trajectory, one that is not `won`, cut just after its true first error.  A
    failure in which there is no error is passed over.  One is counted, and left out, if its episode
    is over after the cut, or if no way is left that fits the step limit.

    The released code gives a fresh budget of steps behind the prefix.  Here the prefix has spent
    its own steps: the limit is the world's, and an agent that errs in earnest has no other.
    """
    starts = []
    lost = 0
    world = make_world()
    for trajectory in trajectories:
        if trajectory.won:
            continue
        error = first_error(world, trajectory.task, trajectory.actions)
        if error is None:
            continue
        steps = trajectory.steps[: error + 1]
        episode = Episode(world, trajectory.task, steps)
        if episode.done or len(steps) + distance(world) > world.step_limit:
            lost += 1
        else:
            starts.append(Start(trajectory.task, steps))
    return starts, lost
