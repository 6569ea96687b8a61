"""The agent: trajectories, the actor (a causal language model that acts and judges), and play.

The actor pi_theta writes one assistant turn per step, `Thought: ...` (optional) and `Action: ...`,
and reads the world's answer as the next user turn (ReAct style).  The same weights also judge:
they answer the question "was this action good?" (the paper's verifier, Phase I), which is how
Agent-R finds its own first error.

Read in order: `Step` and `Trajectory` (data), `Episode` (a world and the trajectory through it),
`ChatFormat` (messages -> tokens and labels), `Actor`, `Lockstep` and `play` (many episodes at the
same time), `figures`.  `python -m extras.show watch CHECKPOINT` lets one watch a trained agent.

Changed from the released code: the revision turn is `revise`, not `wait`, a real action of
ScienceWorld; a verdict is the last judgement of an answer, where the released code takes words
found anywhere ("not good") if there is none; a context that overflows ends the episode uncut, where
it deletes turns from the middle.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine import chance, loading
from engine.anew import begun_anew
from engine.chat import Template
from engine.dialogues import GREEDY, Dialogues, Sampling, Speaker
from engine.memory import Memory
from engine.precision import Precision
from engine.replies import actions_of, parse_action, parse_verdict  # noqa: F401, of the judge
from engine.threads import together
from engine.tiny import TinyShape, tiny_model, word_tokenizer
from envs import REFUSED, EpisodeLostError, World

Message = dict[str, Any]  # {"role": "user" | "assistant", "content": str, "loss": bool (assistant)}

# The action of a revision turn: the agent's own loop answers it, and no world sees it.
REVISE = "revise"
REVISE_ANSWER = "ok."
NO_ACTION = "no action. write Action: and then one action."
# In words that `NO_ACTION` has, so that a tiny model knows them.
SEVERAL_ACTIONS = "one action. write Action: and then one action."

GOOD, BAD, UNCERTAIN = "Good", "Bad", "Uncertain"
JUDGE_PROMPT = (  # what the verdicts mean is the paper's Table 4
    "Judge each action. Good: it greatly helps the task. Bad: it greatly harms it. "
    "Uncertain: all else. Reasons first, last line Judgment: and one of the three.\n"
    "Task: {task}\nLog: {log}\n{current}"
)
JUDGE_TURN = "Action: {action}\nObservation: {observation}"
JUDGE_ANSWER = "Judgment: {verdict}"

# What a tiny model's tokenizer must know beside the words of its worlds.
OWN_WORDS = " ".join(
    ("Thought: Action:", REVISE, REVISE_ANSWER, NO_ACTION, JUDGE_PROMPT, JUDGE_TURN, JUDGE_ANSWER)
)


# --- data


@dataclass
class Step:
    """One turn of the agent and its answer, and whether the agent is trained on it."""

    reply: str  # what the agent wrote
    action: str  # a, read from the reply; empty if there was none
    observation: str  # o
    score: float  # r of the episode after this step
    effect: str = ""  # of the action, as the world told it: see `envs.CHANGED`
    learned: bool = True
    won: bool | None = None  # whether the episode is a success now, if the world says so itself

    def is_good(self, alpha: float) -> bool:
        """Whether an episode that ends here is good: r >= alpha, or a success that pays less."""
        return bool(self.won) or self.score >= alpha


@dataclass
class Trajectory:
    """tau = (u, o_0, a_0, o_1, a_1, ...): instruction, first observation and the steps."""

    task: str
    instruction: str
    observation: str
    steps: list[Step] = field(default_factory=list)
    told: str = ""  # what stands before all this, for a model that was brought: engine/manual.py
    answers: dict[int, str] = field(default_factory=dict, compare=False)  # of the judge, by step

    @property
    def score(self) -> float:
        """r(tau), the score of the last step, in [0, 1]."""
        return self.steps[-1].score if self.steps else 0.0

    @property
    def won(self) -> bool:
        """Whether the episode is a success: the world's own word, or else r = 1."""
        if not self.steps:
            return False
        won = self.steps[-1].won
        if won is None:
            return self.score >= 1.0
        return won

    @property
    def question(self) -> str:
        """Instruction and first observation."""
        return f"{self.instruction}\n{self.observation}"

    @property
    def opening(self) -> str:
        """The first user turn: what the agent is told of the format, if anything, and the task."""
        return f"{self.told}\n{self.question}" if self.told else self.question

    @property
    def actions(self) -> list[str]:
        """The action of every step."""
        return [step.action for step in self.steps]

    def context(self) -> list[Message]:
        """Return the dialogue up to the newest observation, where the agent speaks next."""
        messages: list[Message] = [{"role": "user", "content": self.opening}]
        for step in self.steps:
            said = {"role": "assistant", "content": step.reply, "loss": step.learned}
            messages.append(said)
            messages.append({"role": "user", "content": step.observation})
        return messages

    def messages(self) -> list[Message]:
        """Return the dialogue up to the last action, without its answer: what one trains on."""
        context = self.context()
        return context[:-1] if self.steps else context

    def loops(self) -> float:
        """Return the share of steps that repeat an (action, observation) pair already seen.

        A revision turn is no step and no repeat; right behind another one it is both: who says
        nothing but `revise` loops.  (The paper's Figure 4 counts repeated sequences of actions
        by their length; this is another measure of the same.)
        """
        seen = set()
        counted = 0
        repeated = 0
        previous = ""
        for step in self.steps:
            turn = (step.action, step.observation)
            if step.action != REVISE or previous == REVISE:
                counted += 1
                repeated += turn in seen
            seen.add(turn)
            previous = step.action
        return repeated / counted if counted else 0.0

    def judge_turn(self, t: int, first: bool = True) -> str:
        """Return the judge's turn on action t and its observation (paper, Table 4).

        The first turn of a dialogue fills JUDGE_PROMPT: `question`, and as log a JUDGE_TURN of each
        step before t, on lines of its own (none at t = 0).  A revision stands there like any other
        step, though nobody is asked about it.
        """
        turns = []
        for step in self.steps[: t + 1]:
            turns.append(JUDGE_TURN.format(action=step.action, observation=step.observation))
        if not first:
            return turns[t]
        return JUDGE_PROMPT.format(task=self.question, log="\n".join(turns[:t]), current=turns[t])


class Episode:
    """A world and the trajectory through it; its step limit counts every turn, revisions too."""

    def __init__(
        self, world: World, task: str, steps: Iterable[Step] = (), max_depth: int = 0
    ) -> None:
        """Start `task` and replay the replies of `steps`.

        A `max_depth` that is not 0 may shorten the world's own step limit.
        """
        observation, info = world.reset(options={"task": task})
        self.world = world
        self.limit = min(max_depth or world.step_limit, world.step_limit)
        self.done = False
        self.lost = False  # whether the world lost it, so that it has to be begun anew
        self.beginnings = 1
        self.trajectory = Trajectory(task, info["instruction"], observation, told=world.told)
        self.replay(steps)

    @property
    def observation(self) -> str:
        """The newest observation."""
        if self.trajectory.steps:
            return self.trajectory.steps[-1].observation
        return self.trajectory.observation

    def replay(self, steps: Iterable[Step]) -> None:
        """Take the replies of `steps`, as far as the world keeps the episode."""
        for step in steps:
            if not self.lost:
                self.act(step.reply)

    def act(self, reply: str, learned: bool = True) -> None:
        """Take one turn.

        A turn with no action or several, or with a revision, costs a step and is answered by the
        agent's own loop; any other goes to the world, which may lose the episode.
        """
        action = parse_action(reply)
        score = self.trajectory.score
        effect = ""
        won = None
        if action == "":
            observation = SEVERAL_ACTIONS if len(actions_of(reply)) > 1 else NO_ACTION
            effect = REFUSED
        elif action == REVISE:
            observation = REVISE_ANSWER
        else:
            try:
                observation, _, terminated, truncated, info = self.world.step(action)
            except EpisodeLostError:
                self.lost = self.done = True
                return
            score = info["score"]
            effect = info.get("effect", "")
            won = info.get("won")
            self.done = terminated or truncated
        self.trajectory.steps.append(Step(reply, action, observation, score, effect, learned, won))
        if len(self.trajectory.steps) >= self.limit:
            self.done = True


# --- from messages to tokens


class ChatFormat:
    """Dialogues as token ids, with labels where something is learned.

    A dialogue is tokenized piece by piece, so that what an agent reads while acting, when every
    turn is fed as it comes, are the very tokens that it is trained on.  (What it says stays in its
    memory as it was sampled and is trained on as its text is tokenized, which a byte-pair model may
    now and then do otherwise.)
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises `UserError` for a chat template that does not render turn by turn."""
        self.template = Template(tokenizer)
        self.end = self.template.end  # the end-of-turn token, said by the actor and trained on

    def opening(self, text: str) -> list[int]:
        """Return the tokens of a dialogue's first user turn, up to where the assistant speaks."""
        return list(self.template.opening(text))

    def turn(self, text: str) -> list[int]:
        """Return the tokens from an assistant turn's end through the user turn `text`.

        They begin with the end-of-turn token and end where the assistant speaks.
        """
        return list(self.template.turn(text))

    def reply(self, text: str) -> list[int]:
        """Return the tokens of an assistant turn, without the one that ends it."""
        return list(self.template.reply(text))

    def encode(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Return a dialogue as (token ids, labels): a label is the id if it is learned, else -100.

        Learned are the content of assistant turns with a true `loss` and the token that ends them.
        A dialogue that ends with a user turn is encoded up to where the assistant speaks.
        Raises `ValueError` if the roles do not alternate, the user first.
        """
        ids: list[int] = []
        labels: list[int] = []
        learned = False  # whether the turn before is
        for index, message in enumerate(messages):
            role = ("user", "assistant")[index % 2]
            if message["role"] != role:
                problem = "user and assistant must alternate"
                raise ValueError(f"turn {index} is a {message['role']} turn; {problem}")
            if role == "assistant":
                learned = message["loss"]
                piece = self.reply(message["content"])
                ids += piece
                labels += piece if learned else [-100] * len(piece)
                continue
            piece = self.turn(message["content"]) if index else self.opening(message["content"])
            ids += piece
            labels += [-100] * len(piece)
            if learned:  # the piece begins with the token that ends the turn before
                labels[-len(piece)] = self.end
        if messages[-1]["role"] == "assistant":
            ids.append(self.end)
            labels.append(self.end if learned else -100)
        return ids, labels


# --- the actor


class Actor:
    """pi_theta: any Hugging Face causal language model whose tokenizer has a chat template."""

    judge_tokens = 500  # of one answer of the judge at most, as in the released code

    def __init__(
        self, model: Any, tokenizer: Any, max_new_tokens: int = 64, dtype: str = "float32"
    ) -> None:
        """Raises `UserError` if the chat template cannot be used; computes in `dtype`."""
        self.model = model
        self.tokenizer = tokenizer
        self.format = ChatFormat(tokenizer)
        self.device = model.device
        self.precision = Precision(dtype)
        self.max_length = loading.context_length(model.config)  # tokens of a context
        decode = functools.lru_cache(maxsize=200_000)(self.decode)  # much is said often
        unspoken = self.format.template.unspoken
        self.speaker = Speaker(model, self.format.end, unspoken, max_new_tokens, decode)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "cpu",
        dtype: str = "float32",
        max_new_tokens: int = 64,
    ) -> Actor:
        """Return the actor that `save` or anybody's `save_pretrained` left in a folder.

        Raises `UserError` for a folder that holds no chat model.
        """
        model, tokenizer = loading.load(folder, device)
        actor = cls(model, tokenizer, max_new_tokens, dtype)
        actor.precision.check(model)
        return actor

    @classmethod
    def tiny(
        cls,
        text: str,
        shape: TinyShape = TinyShape(),  # noqa: B008, it is frozen
        device: str = "cpu",
        max_new_tokens: int = 24,
    ) -> Actor:
        """Return a small random model over the words of `text`; torch's own generator draws it."""
        tokenizer = word_tokenizer(text)
        model = tiny_model(tokenizer, shape)
        return cls(model.to(device).eval(), tokenizer, max_new_tokens)

    def save(self, folder: Path) -> None:
        """Write model and tokenizer, chat template included, for `load` or `from_pretrained`."""
        loading.save(self.model, self.tokenizer, folder)

    def start(self, contexts: Sequence[Sequence[int]], keys: Sequence[int] = ()) -> Dialogues:
        """Open one conversation for each context, a list of token ids; see `Dialogues`."""
        speaker = replace(self.speaker, model=self.precision.acting(self.model))
        return Dialogues(speaker, contexts, keys)

    def memory(self) -> Memory:
        """Return what opens conversations as `start` does, and reads what they share once."""
        return Memory(self.start)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a turn, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    @property
    def max_new_tokens(self) -> int:
        """The tokens of one reply at most."""
        return self.speaker.max_new_tokens

    def has_room(self, length: int) -> bool:
        """Whether a reply still fits into the context behind `length` tokens."""
        return length + self.max_new_tokens <= self.max_length


# --- play: many episodes at the same time


@dataclass
class Start:
    """Where an episode is to begin: a task, and the steps that have been taken in it already."""

    task: str
    steps: Sequence[Step] = ()


class Lockstep:
    """Episodes that are played turn by turn at the same time, each in a row of one batch.

    An episode that is over leaves, and so does one that no longer fits the actor's context: it ends
    with its score so far.  `rows[i]` is the place of `live[i]` among the episodes that were given.
    """

    def __init__(
        self,
        actor: Actor,
        episodes: Sequence[Episode],
        memory: Memory | None = None,
        keys: Sequence[int] = (),
    ) -> None:
        """Open a conversation for every episode that is still running.

        What stands in a `memory` is not read again.  What is drawn in an episode depends on its
        key, else on its place.
        """
        keys = keys or range(len(episodes))
        self.actor = actor
        self.rows: list[int] = []
        self.live: list[Episode] = []
        contexts = []
        for row, episode in enumerate(episodes):
            if episode.done:
                continue
            context, _ = actor.format.encode(episode.trajectory.context())
            episode.done = not actor.has_room(len(context))
            if not episode.done:
                self.rows.append(row)
                self.live.append(episode)
                contexts.append(context)
        if self.live:
            start = memory.start if memory else actor.start
            self.dialogues = start(contexts, [keys[row] for row in self.rows])

    def advance(self, replies: Sequence[str]) -> None:
        """Let every episode take a turn and hear the answer; those that are over leave."""
        worlds = [episode.world for episode in self.live]
        together(Episode.act, worlds, self.live, replies)
        lengths = self.dialogues.lengths()
        staying = []
        turns = []
        for index, episode in enumerate(self.live):
            turn = self.actor.format.turn(episode.observation)
            if not self.actor.has_room(lengths[index] + len(turn)):
                episode.done = True
            if not episode.done:
                staying.append(index)
                turns.append(turn)
        self.keep(staying)
        if staying:
            self.dialogues.select(staying)
            self.dialogues.feed(turns)

    def keep(self, indexes: Sequence[int]) -> None:
        """Keep these of the live episodes; the caller selects the rows of their dialogues."""
        self.rows = [self.rows[index] for index in indexes]
        self.live = [self.live[index] for index in indexes]

    def finish(self, sampling: Sampling) -> None:
        """Play all episodes to their ends."""
        while self.live:
            self.advance(self.dialogues.replies(sampling))


def play(
    actor: Actor,
    make_world: Callable[[], World],
    starts: Sequence[Start],
    *,
    batch_size: int,
    sampling: Sampling = GREEDY,
    label: str = "playing",
) -> list[Trajectory]:
    """Play one episode from each start, `batch_size` at a time; return them in order.

    What is drawn in an episode depends on its place among the starts, and on no other episode.
    """
    worlds = [make_world() for _ in starts[:batch_size]]

    def play_all(numbered: Sequence[tuple[int, Start]], beginning: int) -> list[Episode]:
        played: list[Episode] = []
        with tqdm(total=len(numbered), desc=label, leave=False, disable=None) as bar:
            for first in range(0, len(numbered), batch_size):
                batch = numbered[first : first + batch_size]
                tasks = [start.task for _, start in batch]
                steps = [start.steps for _, start in batch]
                keys = [chance.key(number, beginning) for number, _ in batch]
                episodes = together(Episode, worlds[: len(batch)], worlds, tasks, steps)
                Lockstep(actor, episodes, keys=keys).finish(sampling)
                played += episodes
                bar.update(len(batch))
        return played

    return [episode.trajectory for episode in begun_anew(play_all, list(enumerate(starts)))]


# --- figures of play, and a trajectory to read


def mean(values: Iterable[float]) -> float | None:
    """Return the mean of some values, None of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else None


def figures(trajectories: Sequence[Trajectory]) -> dict[str, float | None]:
    """Return mean score, share of full successes, and loops over all and over failed episodes.

    Each lies in [0, 1]; a figure over no episode is None.
    """
    failures = [trajectory for trajectory in trajectories if not trajectory.won]
    return {
        "score": mean(trajectory.score for trajectory in trajectories),
        "success": mean(float(trajectory.won) for trajectory in trajectories),
        "loops": mean(trajectory.loops() for trajectory in trajectories),
        "loops_failed": mean(trajectory.loops() for trajectory in failures),
    }


def transcript(trajectory: Trajectory, marked: Callable[[Step], bool] | None = None) -> str:
    """Return a trajectory as text, a `*` in the margin of the steps for which `marked` is true.

    On a terminal these stand out in green.
    """
    lines = [trajectory.question]
    for step in trajectory.steps:
        reply = " ".join(step.reply.split())
        if marked is None or not marked(step):
            lines.append(f"  {reply}")
        elif sys.stdout.isatty():
            lines.append(f"\033[32m* {reply}\033[0m")
        else:
            lines.append(f"* {reply}")
        lines.append(f"    {step.observation}")
    return "\n".join(lines)
