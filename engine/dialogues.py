"""A batch of running conversations on one key-value cache: what makes acting fast.

Playing a text environment is reading a little and saying a little, over and over.  The cache of a
conversation lives as long as the conversation, so that only what is new is ever fed to the model.

Read in order: `Sampling`, `Speaker`, `RoomyLayer` (a cache that grows in place), `Dialogues`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from engine import chance
from engine.masks import masks_by_tokens


@dataclass(frozen=True)
class Sampling:
    """How a model speaks: greedily at temperature 0, else by draws that the seed decides.

    What is drawn for a token depends on the seed, on the key of its conversation and on how many
    tokens stand before it, and on no other conversation.
    """

    temperature: float = 0.0
    seed: int = 0


GREEDY = Sampling()
SHARED = 16  # tokens that a batch of conversations must begin with in common to read them once


@dataclass(frozen=True)
class Speaker:
    """A causal language model, and what it takes to let it speak one turn after another."""

    model: Any
    end: int  # the token that ends a turn
    unspoken: Sequence[int]  # tokens that are never said, such as those of roles
    max_new_tokens: int  # of one reply
    decode: Callable[[tuple[int, ...]], str]


class RoomyLayer(DynamicLayer):
    """A cache layer with spare room: it appends in place, where `DynamicLayer` copies all it holds.

    `room` holds keys and values as [rows, heads, size, width]; the first columns are in use.
    """

    def update(self, key_states, value_states, *args, **kwargs):  # noqa: ARG002
        """Append states, [rows, heads, new, width]; return all, [rows, heads, length, width]."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        both = (key_states, value_states)
        if not start:
            self.lazy_initialization(key_states, value_states)
            self.room = [states[:, :, :0] for states in both]
        for index, states in enumerate(both):
            if end > self.room[index].shape[2]:
                self.room[index] = larger(self.room[index][:, :, :start], spacious(end))
            self.room[index][:, :, start:end] = states
        self._use(end)
        return self.keys, self.values

    def take(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Keep of row `rows[i]` what stands in `columns[i]`, in that order, with room behind it.

        rows: [new rows]; columns: [new rows, new length].
        """
        length = columns.shape[1]
        # What is copied into the room behind says nothing.
        columns = torch.nn.functional.pad(columns, (0, spacious(length) - length))
        narrowed = []  # a new list, since forks share the old one
        for room in self.room:
            _, heads, size, width = room.shape
            of_head = heads * rows[:, None] + torch.arange(heads, device=rows.device)
            index = size * of_head[:, :, None] + columns[:, None]
            states = room.flatten(0, 2).index_select(0, index.flatten())
            narrowed.append(states.view(*index.shape, width))
        self.room = narrowed
        self._use(length)

    def _use(self, length: int) -> None:
        """Count so many columns of the room as the layer's own."""
        self.keys, self.values = (states[:, :, :length] for states in self.room)


def spacious(length: int) -> int:
    """Return for how many columns there is to be room where so many are in use."""
    return length + max(32, length // 4)


def larger(states: torch.Tensor, size: int) -> torch.Tensor:
    """Return states, [rows, heads, length, width], with room for `size` columns."""
    rows, heads, length, width = states.shape
    room = states.new_empty(rows, heads, size, width)
    room[:, :, :length] = states
    return room


class Dialogues:
    """A batch of running conversations; what is fed and said is appended to one cache.

    New tokens are padded on the left to the longest of the batch and the padding is masked out, so
    that rows of different lengths share one cache; positions count real tokens alone.  Every row
    has a key, on which what is drawn in it depends.
    """

    def __init__(
        self, speaker: Speaker, contexts: Sequence[Sequence[int]], keys: Sequence[int] = ()
    ) -> None:
        """Open one conversation for each of the contexts, lists of token ids.

        Without `keys` each is told apart by its place.
        """
        self.speaker = speaker
        rows = len(contexts)
        beginning = common_beginning(contexts)
        if rows > 1 and len(beginning) >= SHARED:
            self._begin(1)
            self.feed([beginning])
            self.select([0] * rows)
            contexts = [context[len(beginning) :] for context in contexts]
        else:
            self._begin(rows)
        self.draw_by(keys or range(rows))
        self.feed(contexts)

    def _begin(self, rows: int) -> None:
        device = self.speaker.model.device
        self.cache = Cache(layer_class_to_replicate=RoomyLayer)
        self.mask = torch.zeros(rows, 0, dtype=torch.long, device=device)
        self.length = torch.zeros(rows, dtype=torch.long, device=device)  # tokens of each row
        # A tensor, so that the head is shown a copy.  Shown a part of something larger, torch would
        # copy the weights of the head instead, once for each row.
        self.last = torch.tensor([-1], device=device)
        self.draw_by(range(rows))

    def draw_by(self, keys: Sequence[int]) -> None:
        """Give each row the key by which its tokens are drawn from now on."""
        self.keys = torch.tensor(list(keys), dtype=torch.long, device=self.mask.device)

    def lengths(self) -> list[int]:
        """Return the number of tokens in each row."""
        return self.length.tolist()

    @torch.inference_mode()
    def feed(self, rows: Sequence[Sequence[int]]) -> None:
        """Append token ids, one or more, to each row; keep the logits of the last token."""
        width = max(len(row) for row in rows)
        padded = []
        gaps = []
        for row in rows:
            gap = width - len(row)
            gaps.append(gap)
            padded.append([self.speaker.end] * gap + list(row))
        device = self.mask.device
        ids = torch.tensor(padded, device=device)
        columns = torch.arange(width, device=device)
        new = columns >= torch.tensor(gaps, device=device)[:, None]
        self._forward(ids, new.long())

    @torch.inference_mode()
    def replies(self, sampling: Sampling = GREEDY, limit: int = 0) -> list[str]:
        """Let the model speak in every row, to its end of turn or the limit; return the texts.

        `limit` is the number of tokens of a reply at most; 0 stands for the speaker's own.  The
        end-of-turn token itself is left to the next turn, which begins with it; so every row must
        be fed before the next replies.
        """
        rows = self._speak(sampling, limit or self.speaker.max_new_tokens)
        return [self.speaker.decode(tuple(row)) for row in rows]

    def pad(self, columns: int) -> None:
        """Append columns of padding to every row."""
        rows = len(self.mask)
        for layer in self.cache.layers:
            nothing = [states[:, :, :1].new_zeros(()) for states in layer.room]
            shapes = [(rows, states.shape[1], columns, states.shape[3]) for states in layer.room]
            layer.update(*map(torch.Tensor.expand, nothing, shapes))
        self.mask = torch.nn.functional.pad(self.mask, (0, columns))

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; naming a row several times forks its conversation.

        The first copy of a row goes on with its key, each other one has a key of its own.
        """
        much_padding = self.mask.shape[1] > 1.25 * max(self.lengths())
        everything = list(range(len(self.mask)))
        if much_padding or list(rows) != everything:
            self._take(rows)

    def fork(self, rows: Sequence[int]) -> Dialogues:
        """Return a copy of some of these conversations, to be carried on by itself.

        What it says is drawn by the same keys.
        """
        part = copy.copy(self)
        part.cache = Cache(layers=[copy.copy(layer) for layer in self.cache.layers])
        part._take(rows)
        return part

    def _forward(self, ids: torch.Tensor, new: torch.Tensor) -> None:
        """Read ids where `new` is 1, both [rows, width]; set the logits, [rows, vocabulary]."""
        positions = self.length[:, None] + new.cumsum(1) - 1
        self.length = self.length + new.sum(1)
        self.mask = torch.cat([self.mask, new], dim=1)
        with masks_by_tokens():
            output = self.speaker.model(
                input_ids=ids,
                attention_mask=self.mask,
                position_ids=positions.clamp(min=0),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=self.last,
            )
        self.logits = output.logits[:, -1].float()

    def _sample(self, sampling: Sampling) -> torch.Tensor:
        """Draw one token for each row from its newest logits, [rows]; at 0 take the likeliest."""
        size = self.logits.shape[1]
        unspoken = [token for token in self.speaker.unspoken if token < size]
        self.logits[:, unspoken] = -torch.inf
        if sampling.temperature == 0:
            return self.logits.argmax(-1)
        chances = torch.softmax(self.logits / sampling.temperature, dim=-1)
        keys = chance.mixed(chance.mixed(self.keys, sampling.seed), self.length)
        return chance.draw(chances, chance.uniform(keys))

    def _speak(self, sampling: Sampling, limit: int) -> list[list[int]]:
        """Return the token ids of a reply in every row, `limit` at most, without the end of turn.

        As soon as half of the rows are silent, the others go on in a fork, which `_join` puts back.
        That makes the sampled replies of lab's search 1.35 times as fast and the whole search 1.16
        times (`python -m tests.bench fork_and_join`).
        """
        replies: list[list[int]] = [[] for _ in self.mask]
        speaking = torch.ones(len(self.mask), dtype=torch.bool, device=self.mask.device)
        for left in range(limit - 1, -1, -1):
            tokens = self._sample(sampling)
            speaking &= tokens != self.speaker.end
            rows = speaking.nonzero()[:, 0].tolist()
            said = tokens[speaking]
            for row, token in zip(rows, said.tolist(), strict=True):
                replies[row].append(token)
            if 2 * len(rows) > len(replies):
                self._forward(tokens[:, None], speaking[:, None].long())
                continue
            if rows:
                part = self.fork(rows)
                start = part.mask.shape[1]
                part._forward(said[:, None], part.mask.new_ones(len(rows), 1))
                for row, rest in zip(rows, part._speak(sampling, left), strict=True):
                    replies[row] += rest
                self._join(part, start, rows)
            break
        return replies

    def _join(self, part: Dialogues, start: int, rows: Sequence[int]) -> None:
        """Append what `part`, a fork of `rows`, has from `start` on; elsewhere it is padding."""

        def spread(states: torch.Tensor) -> torch.Tensor:
            whole = states.new_zeros(len(self.mask), *states.shape[1:])
            whole[rows] = states
            return whole

        for layer, longer in zip(self.cache.layers, part.cache.layers, strict=True):
            keys = spread(longer.keys[:, :, start:])
            values = spread(longer.values[:, :, start:])
            layer.update(keys, values)
        self.mask = torch.cat([self.mask, spread(part.mask[:, start:])], dim=1)
        self.length = self.mask.sum(1)

    @torch.inference_mode()
    def _take(self, numbers: Sequence[int]) -> None:
        device = self.mask.device
        rows = torch.tensor(numbers, dtype=torch.long, device=device)
        copies = torch.tensor(copies_before(numbers), device=device)
        own = chance.mixed(self.keys[rows], -copies)
        self.keys = torch.where(copies > 0, own, self.keys[rows])
        self.mask = self.mask[rows]
        self.length = self.length[rows]
        self.logits = self.logits[rows]
        # The tokens of each row in their order, behind no more padding than there must be.
        longest = max(self.lengths())
        columns = self.mask.argsort(dim=1, stable=True)[:, -longest:]
        self.mask = self.mask.gather(1, columns)
        for layer in self.cache.layers:
            layer.take(rows, columns)


def common_beginning(contexts: Sequence[Sequence[int]]) -> Sequence[int]:
    """Return the tokens that all contexts begin with, without the last token of any."""
    least, most = min(contexts), max(contexts)  # what these two share, all share
    limit = min(map(len, contexts)) - 1
    for number in range(limit):
        if least[number] != most[number]:
            return least[:number]
    return least[:limit]


def copies_before(rows: Sequence[int]) -> list[int]:
    """Return for every row how often it was named before."""
    seen: Counter[int] = Counter()
    copies = []
    for row in rows:
        copies.append(seen[row])
        seen[row] += 1
    return copies
