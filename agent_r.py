"""The agent: trajectories, the actor (a causal language model that acts and judges), rollouts and evaluation.

The actor pi_theta writes one assistant turn per step, `Thought: ...` (optional) and `Action: ...`, and reads the
world's answer as the next user turn (ReAct style).  The same weights also answer the verifier's question "was this
action good?" (paper, Phase I), which is how Agent-R finds its own first error.

Read in order: `Step` and `Trajectory` (data), `Episode` (a world and the trajectory through it), `ChatFormat`
(messages -> tokens and labels), `Dialogues` (a batch of running conversations on one key-value cache), `Actor`, `play`.
`python agent_r.py CHECKPOINT` lets one watch a trained agent.

Changed from the released code: the revision turn is `revise`, not `wait`, a real action of ScienceWorld; a verdict is
read from the last line alone, not found anywhere ("not good"); a context that overflows ends the episode uncut.
"""

from __future__ import annotations

import copy
import functools
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.cache_utils import Cache, DynamicLayer

from envs import UserError, World

Message = dict[str, Any]  # {"role": "user" | "assistant", "content": str, "loss": bool (assistant turns only)}

REVISE, REVISE_ANSWER = "revise", "ok."  # the action of a revision turn: the agent's loop answers it, no world sees it
NO_ACTION = "no action. write Action: and then one action."
JUDGE_PROMPT = (
    "Judge each action: reasons first, last line Judgment: Good, Bad or Uncertain.\nTask: {task}\nLog: {log}\n{current}"
)
JUDGE_TURN = "Action: {action}\nObservation: {observation}"
JUDGE_ANSWER = "Judgment: {verdict}"
GOOD, BAD, UNCERTAIN = "Good", "Bad", "Uncertain"
OWN_WORDS = f"Thought: Action: {REVISE} {REVISE_ANSWER} {NO_ACTION} {JUDGE_PROMPT} {JUDGE_TURN} {JUDGE_ANSWER}"


# --- data

@dataclass
class Step:
    """One turn: what the agent wrote, the action read from it, the observation o, and the score after it."""

    reply: str
    action: str
    observation: str
    score: float


@dataclass
class Trajectory:
    """tau = (u, o_0, a_0, o_1, a_1, ...): the instruction, the first observation and the steps taken from there."""

    task: str
    instruction: str
    observation: str
    steps: list[Step] = field(default_factory=list)

    @property
    def score(self) -> float:
        """r(tau), the score of the last step, in [0, 1]."""
        return self.steps[-1].score if self.steps else 0.0

    @property
    def opening(self) -> str:
        """The first user turn: instruction and first observation."""
        return f"{self.instruction}\n{self.observation}"

    def learned(self) -> list[bool]:
        """Which steps of a good trajectory are learned: all but those that the agent itself took back."""
        return [step.action != REVISE for step in self.steps[1:]] + [True] * bool(self.steps)

    def messages(self, loss: Sequence[bool] | None = None) -> list[Message]:
        """The dialogue up to the last action, without its answer; `loss[t]`, or `learned`: whether t is learned."""
        return self.context(loss)[: 2 * len(self.steps) or 1]

    def context(self, loss: Sequence[bool] | None = None) -> list[Message]:
        """The dialogue up to the newest observation, where the agent speaks next."""
        messages: list[Message] = [{"role": "user", "content": self.opening}]
        for step, flag in zip(self.steps, self.learned() if loss is None else loss, strict=True):
            messages.append({"role": "assistant", "content": step.reply, "loss": flag})
            messages.append({"role": "user", "content": step.observation})
        return messages

    def loops(self) -> float:
        """The share of steps that repeat an (action, observation) pair already seen (paper, Figure 4)."""
        turns = [(step.action, step.observation) for step in self.steps if step.action != REVISE]
        return 1.0 - len(set(turns)) / len(turns) if turns else 0.0

    def judge_turn(self, t: int, first: bool = True) -> str:
        """The verifier's turn on action t and its observation; the first of a dialogue has task and log before t."""
        turns = [JUDGE_TURN.format(action=s.action, observation=s.observation) for s in self.steps[: t + 1]]
        if not first:
            return turns[t]
        return JUDGE_PROMPT.format(task=self.opening, log="\n".join(turns[:t]), current=turns[t])


def parse_action(reply: str) -> str:
    """The text after the last `Action:`, to the end of its line; empty if the reply has none."""
    _, label, rest = reply.rpartition("Action:")
    return " ".join(rest.strip().split("\n")[0].split()) if label else ""


def parse_verdict(reply: str) -> str:
    """`Good`, `Bad` or `Uncertain` from the last line, read strictly; anything else is `Uncertain`."""
    lines = reply.strip().splitlines()
    match = re.fullmatch(r"Judgment: (Good|Bad|Uncertain)\.?", lines[-1].strip()) if lines else None
    return match[1] if match else UNCERTAIN


class Episode:
    """A world and the trajectory through it.  The step limit counts every turn, revisions included."""

    def __init__(self, world: World, task: str, steps: Iterable[Step] = (), limit: int = 0) -> None:
        """Start `task` and replay the replies of `steps`; a `limit` that is not 0 may shorten the world's own."""
        observation, info = world.reset(options={"task": task})
        self.world, self.limit, self.done = world, min(limit or world.step_limit, world.step_limit), False
        self.trajectory = Trajectory(task, info["instruction"], observation)
        for step in steps:
            self.act(step.reply)

    @property
    def observation(self) -> str:
        """The newest observation."""
        return self.trajectory.steps[-1].observation if self.trajectory.steps else self.trajectory.observation

    def act(self, reply: str) -> None:
        """Take one turn; without an action, or with a revision, it costs a step and is answered by the loop itself."""
        steps, action = self.trajectory.steps, parse_action(reply)
        observation, score, over = REVISE_ANSWER if action else NO_ACTION, self.trajectory.score, False
        if action not in ("", REVISE):
            observation, _, terminated, truncated, info = self.world.step(action)
            score, over = info["score"], terminated or truncated
        steps.append(Step(reply, action, observation, score))
        self.done = over or len(steps) >= self.limit


# --- from messages to tokens

class ChatFormat:
    """A tokenizer's chat template, taken apart into the four texts that stand between the contents of turns.

    A dialogue is tokenized piece by piece, so that the tokens an agent sees while acting, when every turn is fed as
    it comes, are the very tokens it is trained on.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises `UserError` for a template that is missing or does not render turn by turn."""
        self.tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise UserError("the model's tokenizer has no chat template; use a model that was made for chat")
        u, a = "user content", "assistant content"
        turns = [{"role": "user", "content": u}, {"role": "assistant", "content": a}] * 2
        render = functools.partial(tokenizer.apply_chat_template, tokenize=False)
        try:
            pieces = re.split(f"{u}|{a}", render(turns))
            opened = render(turns[:3], add_generation_prompt=True)
        except TemplateError as error:
            raise UserError(f"the model's chat template cannot be rendered: {error}") from error
        if len(pieces) != 5 or opened != u.join((pieces[0] + u + pieces[1] + a + pieces[2], pieces[1])):
            raise UserError("the model's chat template does not render turn by turn; a plain one would do")
        self.head, self.to_assistant, self.to_user, _, self.tail = pieces
        markers = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
        self._marker = re.compile("|".join(map(re.escape, sorted(markers, key=len, reverse=True))) or r"(?!)")
        tokenize = functools.partial(tokenizer, add_special_tokens=False)
        self._ids = functools.lru_cache(maxsize=200_000)(lambda text: tuple(tokenize(text)["input_ids"]))
        ends = {self._ids(piece)[:1] for piece in (self.tail, self.to_user)}
        if len(ends) > 1 or ends == {()}:
            raise UserError("the model's chat template does not end every assistant turn with the same token")
        ((self.end,),) = ends  # the end-of-turn token, sampled by the actor and trained on
        self.unspoken = [i for i in tokenizer.all_special_ids if i != self.end]  # not sampled: a turn is text

    def _content(self, text: str) -> tuple[int, ...]:
        # Text that looks like a role's marker stays text: without this, a model could write another role's turn.
        return self._ids(self._marker.sub(" ", text))

    def opening(self, text: str) -> list[int]:
        """Token ids of a dialogue that begins with the user turn `text`, up to where the assistant speaks."""
        return [*self._ids(self.head), *self._content(text), *self._ids(self.to_assistant)]

    def turn(self, text: str) -> list[int]:
        """Token ids from the end of an assistant turn through the user turn `text` to where the assistant speaks."""
        return [*self._ids(self.to_user), *self._content(text), *self._ids(self.to_assistant)]

    def encode(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """A dialogue as (token ids, labels): the label is the id where loss is true, -100 elsewhere.

        Learned are the content of such turns and the token that ends them.  A dialogue that ends with a user turn
        is encoded up to where the assistant speaks.  Raises `ValueError` if the roles do not alternate.
        """
        ids, labels, loss = [], [], False
        for index, message in enumerate(messages):
            if message["role"] != ("user", "assistant")[index % 2]:
                raise ValueError(f"turn {index} is a {message['role']} turn; user and assistant must alternate")
            if message["role"] == "user":
                piece = self.turn(message["content"]) if index else self.opening(message["content"])
                ids += piece
                labels += [-100] * len(piece)
                if loss:
                    labels[-len(piece)] = self.end
            else:
                loss, piece = message["loss"], self._content(message["content"])
                ids += piece
                labels += piece if loss else [-100] * len(piece)
        if messages[-1]["role"] == "assistant":
            ids.append(self.end)
            labels.append(self.end if loss else -100)
        return ids, labels


# --- the actor

class RoomyLayer(DynamicLayer):
    """A cache layer with spare room: appending writes in place, where `DynamicLayer` copies the whole cache.

    `room` holds keys and values as [rows, size, heads, width], of which the first columns are in use.
    """

    def update(self, key_states, value_states, *args, **kwargs):  # noqa: ARG002, the name is the library's
        """Append states of shape [rows, heads, new, width]; return all, [rows, heads, length, width]."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        new = [states.transpose(1, 2) for states in (key_states, value_states)]
        if not start:
            self.lazy_initialization(key_states, value_states)
            self.room = [states[:, :0] for states in new]
        for index, states in enumerate(new):
            if end > self.room[index].shape[1]:
                grown = states.new_empty(len(states), end + max(32, end // 4), *states.shape[2:])
                grown[:, :start] = self.room[index][:, :start]
                self.room[index] = grown
            self.room[index][:, start:end] = states
        self.keys, self.values = (room[:, :end].transpose(1, 2) for room in self.room)
        return self.keys, self.values

    def take(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Keep of row `rows[i]` what stands in `columns[i]`, in that order: [new rows], [new rows, new length]."""
        index = (rows[:, None] * self.room[0].shape[1] + columns).flatten()
        kept = [room.flatten(0, 1).index_select(0, index) for room in self.room]
        self.room = [states.view(*columns.shape, *states.shape[1:]) for states in kept]
        self.keys, self.values = (room.transpose(1, 2) for room in self.room)


class Dialogues:
    """A batch of running conversations on one key-value cache that lives as long as the episodes do.

    Only what is new is ever fed.  New tokens are padded on the left to the longest of the batch and the padding is
    masked out, so rows of different lengths share one cache; positions count real tokens alone.
    """

    def __init__(self, actor: Actor, contexts: Sequence[Sequence[int]]) -> None:
        self.actor = actor
        self.cache = Cache(layer_class_to_replicate=RoomyLayer)
        self.mask = torch.zeros(len(contexts), 0, dtype=torch.long, device=actor.device)  # [rows, length]
        self.feed(contexts)

    @torch.inference_mode()
    def feed(self, rows: Sequence[Sequence[int]]) -> None:
        """Append token ids, one or more, to each row; keep the logits of the last token."""
        width = max(map(len, rows))
        ids = torch.tensor([[self.actor.format.end] * (width - len(row)) + list(row) for row in rows])
        new = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        self._forward(ids.to(self.actor.device), new.to(self.actor.device))

    def _forward(self, ids: torch.Tensor, new: torch.Tensor) -> None:
        start = self.mask.sum(1, keepdim=True)
        self.mask = torch.cat([self.mask, new], dim=1)
        positions = (start + new.cumsum(1) - 1).clamp(min=0)
        cached = {"past_key_values": self.cache, "use_cache": True, "logits_to_keep": 1}
        output = self.actor.model(input_ids=ids, attention_mask=self.mask, position_ids=positions, **cached)
        self.logits = output.logits[:, -1].float()  # [rows, vocabulary]

    @torch.inference_mode()
    def replies(self, temperature: float, generator: torch.Generator | None = None) -> list[str]:
        """Let the actor speak in every row, to its end-of-turn token or the limit; return the texts.

        Temperature 0 is greedy.  The end-of-turn token is left to the next turn, which begins with it.
        """
        return self.actor.decode(self._speak(temperature, generator, self.actor.max_new_tokens))

    def _speak(self, temperature: float, generator: torch.Generator | None, limit: int) -> list[list[int]]:
        """The token ids of a reply in every row, `limit` at most, without the end-of-turn token."""
        written: list[list[int]] = [[] for _ in self.mask]
        speaking = torch.ones(len(self.mask), dtype=torch.bool, device=self.mask.device)
        for left in range(limit - 1, -1, -1):
            tokens = self._sample(temperature, generator)
            speaking = speaking & (tokens != self.actor.format.end)
            rows = speaking.nonzero()[:, 0].tolist()
            for row, token in zip(rows, tokens[speaking].tolist(), strict=True):
                written[row].append(token)
            if 2 * len(rows) <= len(written):  # from here on the silent half would only be carried along
                if rows:
                    part = self.fork(rows)
                    start = part.mask.shape[1]
                    part._forward(tokens[speaking][:, None], part.mask.new_ones(len(rows), 1))
                    for row, rest in zip(rows, part._speak(temperature, generator, left), strict=True):
                        written[row] += rest
                    self._join(part, start, rows)
                break
            self._forward(tokens[:, None], speaking[:, None].long())
        return written

    def _sample(self, temperature: float, generator: torch.Generator | None) -> torch.Tensor:
        """One token for each row, [rows]: drawn from the softmax of the newest logits, or at 0 the likeliest."""
        self.logits[:, [i for i in self.actor.format.unspoken if i < self.logits.shape[1]]] = -torch.inf
        if temperature == 0:
            return self.logits.argmax(-1)
        return torch.multinomial(torch.softmax(self.logits / temperature, dim=-1), 1, generator=generator)[:, 0]

    def _join(self, part: Dialogues, start: int, rows: Sequence[int]) -> None:
        """Append what `part`, a fork of the conversations `rows`, has from `start` on; in the others it is padding."""

        def spread(states: torch.Tensor) -> torch.Tensor:
            whole = states.new_zeros(len(self.mask), *states.shape[1:])
            whole[rows] = states
            return whole

        for layer, grown in zip(self.cache.layers, part.cache.layers, strict=True):
            layer.update(spread(grown.keys[:, :, start:]), spread(grown.values[:, :, start:]))
        self.mask = torch.cat([self.mask, spread(part.mask[:, start:])], dim=1)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; naming a row several times forks its conversation."""
        padded = self.mask.shape[1] > 1.25 * max(self.lengths())
        if padded or list(rows) != list(range(len(self.mask))):
            self._take(torch.tensor(rows, dtype=torch.long, device=self.mask.device))

    def fork(self, rows: Sequence[int]) -> Dialogues:
        """A copy of some of these conversations, to be carried on by itself."""
        part = copy.copy(self)
        part.cache = Cache(layers=[copy.copy(layer) for layer in self.cache.layers])
        part._take(torch.tensor(rows, dtype=torch.long, device=self.mask.device))
        return part

    @torch.inference_mode()
    def _take(self, rows: torch.Tensor) -> None:
        self.mask, self.logits = self.mask[rows], self.logits[rows]
        # The tokens of each row in their order, behind no more padding than there must be.
        columns = self.mask.argsort(dim=1, stable=True)[:, -max(self.lengths()) :]
        self.mask = self.mask.gather(1, columns)
        for layer in self.cache.layers:
            layer.take(rows, columns)

    def lengths(self) -> list[int]:
        """The number of tokens in each row."""
        return self.mask.sum(1).tolist()


class Actor:
    """pi_theta: any Hugging Face causal language model whose tokenizer has a chat template."""

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int = 64) -> None:
        """Raises `UserError` if the chat template cannot be used."""
        self.model, self.tokenizer, self.max_new_tokens = model, tokenizer, max_new_tokens
        self.format = ChatFormat(tokenizer)
        self.device = model.device
        self.max_length = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 10**9
        decode = functools.partial(tokenizer.decode, skip_special_tokens=True)
        self._text = functools.lru_cache(maxsize=200_000)(lambda row: decode(row).strip())  # much is said often

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu", dtype: str = "float32", max_new_tokens: int = 64) -> Actor:
        """What `save_pretrained` left, never running code that comes with it.  Raises `UserError` for no chat model."""
        if not (Path(folder) / "config.json").is_file():
            raise UserError(f"{folder}: there is no such folder, or no config.json; name one that holds a saved model")
        only = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **only)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **only)
        except Exception as error:  # whatever a broken checkpoint makes the loader raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{folder}: cannot be loaded as a causal language model: {reason}") from error
        return cls(model.to(device).eval(), tokenizer, max_new_tokens)

    @classmethod
    def tiny(
        cls, text: str, device: str = "cpu", width: int = 64, layers: int = 2, max_new_tokens: int = 24,
        max_length: int = 2048, lookback: int = 0,
    ) -> Actor:
        """A small random Llama over the words of `text`, from torch's own generator; with `lookback`, born to copy."""
        tokenizer, heads = word_tokenizer(text), max(1, width // 32)
        model = LlamaForCausalLM(LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=(1 if lookback else 4) * width, max_position_embeddings=max_length,
            initializer_range=(0.3 if lookback else 1) * width**-0.5, attention_bias=lookback > 0,
            num_key_value_heads=heads if lookback else 1, tie_word_embeddings=True,  # one: a small cache to read
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ))
        if lookback:
            from extras.lookback import look_back

            look_back(model, lookback)
        return cls(model.to(device).eval(), tokenizer, max_new_tokens)

    def save(self, folder: Path) -> None:
        """Write model and tokenizer, chat template included, for `load` or anybody's `from_pretrained`."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def start(self, contexts: Sequence[Sequence[int]]) -> Dialogues:
        """Open one conversation per context (lists of token ids)."""
        return Dialogues(self, contexts)

    def decode(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Token ids to texts, without special tokens."""
        return [self._text(tuple(row)) for row in rows]


def word_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the words of `text`, with a three-marker chat template.

    White space is dropped and put back by rule, labels such as `Action:` are one token, so dialogues stay short.
    What `text` joins by `_` is one token where it stands side by side: `oak_planks` for oak planks, `,_2` for `, 2`.
    """
    names = sorted({name.replace("_", " ") for name in re.findall(r"[^\s_]+_\S+", text)}, key=len, reverse=True)
    joined = "|".join(map(re.escape, names)) or "(?!)"
    pieces = Regex(rf"(Thought|Action|Judgment|Observation|Task|Log):|(\b|(?=\W))({joined})\b|\w+|[^\w\s]")
    split = pre_tokenizers.Split(pieces, "removed", invert=True)
    words = sorted({word for word, _ in split.pre_tokenize_str(text.replace("_", " "))})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<user>", "<agent>", "<end>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=["<user>", "<agent>"], **named)
    fast.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<user>{{ m['content'] }}{% else %}"
        "<agent>{{ m['content'] }}<end>{% endif %}{% endfor %}{% if add_generation_prompt %}<agent>{% endif %}"
    )
    return fast


# --- rollouts

def together(function: Callable[..., Any], worlds: Sequence[World], *arguments: Sequence[Any]) -> list[Any]:
    """`function` of each of the arguments, in as many threads as copies of the worlds may act at a time."""
    workers = min((getattr(world, "parallel", 1) for world in worlds), default=1)
    if workers == 1:
        return list(map(function, *arguments))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, *arguments))


def open_dialogues(
    actor: Actor, episodes: Sequence[Episode], openings: Dialogues | None = None
) -> tuple[list[Episode], Dialogues | None]:
    """Open a conversation for every episode still running: (those episodes, their dialogues in the same order).

    An episode that does not fit the actor's context is truncated with its score so far.  `openings`, if given, has
    heard the beginning of each of `episodes`, so that only what came after is read.
    """
    contexts = {}
    for row, episode in enumerate(episodes):
        if not episode.done:
            contexts[row] = actor.format.encode(episode.trajectory.context())[0]
            episode.done = len(contexts[row]) + actor.max_new_tokens > actor.max_length
    rows = [row for row in contexts if not episodes[row].done]
    if not rows:
        return [], None
    if openings is None:
        dialogues = actor.start([contexts[row] for row in rows])
    else:
        heard, dialogues = openings.lengths(), openings.fork(rows)
        dialogues.feed([contexts[row][heard[row] :] for row in rows])
    return [episodes[row] for row in rows], dialogues


def advance(live: Sequence[Episode], dialogues: Dialogues, replies: Sequence[str]) -> list[Episode]:
    """Let every episode take one turn and hear the answer; return those that go on, the only rows kept."""
    actor = dialogues.actor
    together(Episode.act, [episode.world for episode in live], live, replies)
    turns = [actor.format.turn(episode.observation) for episode in live]
    for episode, turn, length in zip(live, turns, dialogues.lengths(), strict=True):
        episode.done = episode.done or length + len(turn) + actor.max_new_tokens > actor.max_length
    rows = [row for row, episode in enumerate(live) if not episode.done]
    if rows:
        dialogues.select(rows)
        dialogues.feed([turns[row] for row in rows])
    return [live[row] for row in rows]


def finish(live: list[Episode], dialogues: Dialogues, temperature: float, generator: torch.Generator | None) -> None:
    """Play episodes to their ends in lockstep; row i of `dialogues` is the conversation of `live[i]`."""
    while live:
        live = advance(live, dialogues, dialogues.replies(temperature, generator))


def play(
    actor: Actor, make_world: Callable[[], World], starts: Sequence[tuple[str, Sequence[Step]]], batch_size: int,
    temperature: float = 0.0, generator: torch.Generator | None = None, label: str = "playing",
) -> list[Trajectory]:
    """Play one episode from each start, a task and the steps taken in it already; the trajectories, in order."""
    trajectories = []
    with tqdm(total=len(starts), desc=label, leave=False, disable=None) as bar:
        for first in range(0, len(starts), batch_size):
            batch = starts[first : first + batch_size]
            worlds = [make_world() for _ in batch]
            episodes = together(Episode, worlds, worlds, *zip(*batch, strict=True))
            finish(*open_dialogues(actor, episodes), temperature, generator)
            trajectories += [episode.trajectory for episode in episodes]
            bar.update(len(batch))
    return trajectories


def show(trajectory: Trajectory, marked: Iterable[bool] = ()) -> str:
    """A trajectory as text; steps that are `marked` have a `*` in the margin and stand out in green on a terminal."""
    green, plain = ("\033[32m", "\033[0m") if sys.stdout.isatty() else ("", "")
    lines = [trajectory.opening]
    for step, mark in itertools.zip_longest(trajectory.steps, marked):
        reply = " ".join(step.reply.split())
        lines += [f"{green}* {reply}{plain}" if mark else f"  {reply}", f"    {step.observation}"]
    return "\n".join(lines)


if __name__ == "__main__":
    from extras import show

    sys.exit(show.command(show.watch))
