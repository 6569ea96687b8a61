"""A batch of running conversations on one key-value cache: what makes acting fast.

Playing a text environment is reading a little and saying a little, over and over.  The cache of a
conversation lives as long as the conversation, so that only what is new is ever fed to the model.

Read in order: `Sampling`, `Speaker`, `RoomyLayer` (a cache that grows in place), `Dialogues`.

The branches of a node are siblings: conversations that begin alike and stand in one row of the
cache, so that what they have in common is read once for all and never copied.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from engine import chance, llama
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
MUCH = 64  # tokens that a row must have more than half of the others to read them in a fork
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
    room = states.new_zeros(rows, heads, size, width)  # read and not seen: see `attend_plainly`
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
        self.siblings = 1  # conversations that stand in one row of the cache
        # Of each conversation, the columns of its row that are its own tokens.
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
        """Append token ids, one or more, to each row; keep the logits of the last token.

        What the longer half of the rows has more than the others, if it is much, is read first and
        without the others: so hardly any padding is read, whatever the lengths.
        """
        if self.siblings > 1:
            self._take(range(len(self.mask)))
        lengths = sorted(len(row) for row in rows)
        width = lengths[-1]
        middle = lengths[len(rows) // 2]
        if width >= middle + MUCH and self.mask.shape[1]:  # an empty cache cannot be forked
            self._feed_longer(rows, middle)
            rows = [row[-middle:] for row in rows]
            width = middle
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

    def _feed_longer(self, rows: Sequence[Sequence[int]], rest: int) -> None:
        """Append what rows have before their last `rest` tokens; a fork reads it."""
        longer = [number for number, row in enumerate(rows) if len(row) > rest]
        members = torch.tensor(longer, device=self.mask.device)[:, None]
        part = self._part(members)
        start = part.mask.shape[1]
        part.feed([rows[number][:-rest] for number in longer])
        self._join(part, start, members)

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
        rows = len(self.mask) // self.siblings
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
        if much_padding or self.siblings > 1 or list(rows) != everything:
            self._take(rows)

    def branch(self, count: int) -> None:
        """Fork every conversation, so that `count` stand where one stood; each has its own key.

        What they have in common is not copied: they stand in one row of the cache, side by side,
        and read it together, until some of them are selected.  Where that is not known to be exact,
        they are forked as `select` does.
        """
        rows = [row for row in range(len(self.mask)) for _ in range(count)]
        if not llama.is_plain(self.speaker.model) or self.siblings > 1:
            self.select(rows)
            return
        self.siblings = count
        self._rename(torch.tensor(rows, device=self.mask.device))

    def fork(self, rows: Sequence[int]) -> Dialogues:
        """Return a copy of some of these conversations, to be carried on by itself.

        What it says is drawn by the same keys.
        """
        return self._part(torch.tensor(rows, device=self.mask.device)[:, None])

    def _forward(self, ids: torch.Tensor, new: torch.Tensor) -> None:
        """Read ids where `new` is 1, both [rows, width]; set the logits, [rows, vocabulary]."""
        positions = (self.length[:, None] + new.cumsum(1) - 1).clamp(min=0)
        self.length = self.length + new.sum(1)
        model = self.speaker.model
        if llama.is_plain(model):
            self._forward_plainly(model, ids, positions, new)
            return
        self.mask = torch.cat([self.mask, new], dim=1)
        with masks_by_tokens():
            output = model(
                input_ids=ids,
                attention_mask=self.mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=self.last,
            )
        self.logits = output.logits[:, -1].float()

    def _forward_plainly(
        self, model: Any, ids: torch.Tensor, positions: torch.Tensor, new: torch.Tensor
    ) -> None:
        """Do what `_forward` does by a forward pass that lets siblings read together.

        They say one token each, and what they say stands side by side.
        """
        count = self.siblings
        rows = len(ids) // count
        width = ids.shape[1] * count
        if count > 1:
            new = new * torch.eye(count, dtype=new.dtype, device=new.device).repeat(rows, 1)
        self.mask = torch.cat([self.mask, new], dim=1)
        seen = self.mask.bool().view(rows, count, -1)
        if width > count:
            columns = seen.shape[2]
            before = torch.ones(width, columns, dtype=torch.bool, device=seen.device)
            seen = seen & before.tril(columns - width)
            # Padding sees itself at least: what sees nothing is no number on some devices.
            seen.diagonal(columns - width, 1, 2).fill_(True)
        ids = ids.view(rows, width)
        positions = positions.view(rows, width)
        hidden = llama.hidden_last(model, ids, positions, seen, self.cache, asked=count)
        self.logits = model.lm_head(hidden).flatten(0, 1).float()

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

    def _speak(
        self, sampling: Sampling, limit: int, speaking: torch.Tensor | None = None
    ) -> list[list[int]]:
        """Return the token ids of a reply in every row, `limit` at most, without the end of turn.

        Rows that are not `speaking`, if it is given, say nothing.  As soon as half of the rows of
        the cache are silent, the others go on in a fork, which `_join` puts back.
        `python -m tests.bench fork_and_join` measures what that gains.
        """
        end = self.speaker.end
        if speaking is None:
            speaking = torch.ones(len(self.mask), dtype=torch.bool, device=self.mask.device)
        said = []  # what the rows say, token by token; the end where one is silent
        rest: dict[int, list[int]] = {}  # what rows say in a fork
        for left in range(limit - 1, -1, -1):
            tokens = self._sample(sampling).masked_fill(~speaking, end)
            speaking = tokens != end
            said.append(tokens)
            loud = speaking.view(-1, self.siblings).any(1)
            count = int(loud.sum())
            if not count:
                break
            if 2 * count > len(loud) or not left:
                self._forward(tokens[:, None], speaking[:, None].long())
                continue
            members = self._members(loud.nonzero()[:, 0])
            rows = members.flatten()
            part = self._part(members)
            start = part.mask.shape[1]
            part._forward(tokens[rows, None], speaking[rows, None].long())
            said_there = part._speak(sampling, left, speaking[rows])
            rest = dict(zip(rows.tolist(), said_there, strict=True))
            self._join(part, start, members)
            break
        replies = []
        for row, tokens in enumerate(torch.stack(said, 1).tolist()):
            spoken = tokens[: tokens.index(end)] if end in tokens else tokens
            replies.append(spoken + rest.get(row, []))
        return replies

    def _members(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the numbers of the conversations in rows of the cache, [rows, siblings]."""
        siblings = torch.arange(self.siblings, device=rows.device)
        return self.siblings * rows[:, None] + siblings

    def _join(self, part: Dialogues, start: int, members: torch.Tensor) -> None:
        """Append what `part`, a fork of `members`, has from `start` on; elsewhere it is padding."""

        def spread(states: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
            whole = states.new_zeros(count, *states.shape[1:])
            whole[rows] = states
            return whole

        conversations = len(self.mask)
        rows = members[:, 0] // self.siblings
        for layer, longer in zip(self.cache.layers, part.cache.layers, strict=True):
            both = (longer.keys, longer.values)
            new = [spread(x[:, :, start:], rows, conversations // self.siblings) for x in both]
            layer.update(*new)
        new = spread(part.mask[:, start:], members.flatten(), conversations)
        self.mask = torch.cat([self.mask, new], dim=1)
        self.length = self.mask.sum(1)

    def _part(self, members: torch.Tensor) -> Dialogues:
        part = copy.copy(self)
        part.cache = Cache(layers=[copy.copy(layer) for layer in self.cache.layers])
        part._gather(members)
        return part

    def _take(self, numbers: Sequence[int]) -> None:
        self._gather(torch.tensor(numbers, device=self.mask.device)[:, None])

    @torch.inference_mode()
    def _gather(self, members: torch.Tensor) -> None:
        """Keep conversations, [rows, siblings], those of a row side by side.

        Each row of the cache holds the tokens of its siblings in their order, behind no more
        padding than there must be.
        """
        rows = members[:, 0] // self.siblings
        self._rename(members.flatten())
        self.siblings = members.shape[1]
        mask = self.mask.view(*members.shape, -1)
        used = mask.amax(1)
        longest = int(used.sum(1).max())
        columns = used.argsort(dim=1, stable=True)[:, -longest:]
        of_each = columns[:, None].expand(-1, self.siblings, -1)
        self.mask = mask.gather(2, of_each).flatten(0, 1)
        for layer in self.cache.layers:
            layer.take(rows, columns)

    def _rename(self, numbers: torch.Tensor) -> None:
        """Let the conversations be these, all but their cache: a copy gets a key of its own."""
        copies = torch.tensor(copies_before(numbers.tolist()), device=numbers.device)
        own = chance.mixed(self.keys[numbers], -copies)
        self.keys = torch.where(copies > 0, own, self.keys[numbers])
        self.mask = self.mask[numbers]
        self.length = self.length[numbers]
        self.logits = self.logits[numbers]


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
