"""What the conversations of a search have read, so that no token of it is read twice.

The simulations of a tree begin alike: with its opening, and with steps that lead down it.  What has
been read of them stays in one cache, in the order in which it came; a tree of tokens says behind
which column a token was read, and a conversation that begins with known tokens gets a copy of their
columns.  Keys are rotated to their positions when they are read, so that a column may stand
anywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from transformers.cache_utils import Cache

from engine.dialogues import Dialogues, RoomyLayer

BEGINNING = -1  # stands for the column before the first


class Memory:
    """Opens conversations as `start` does, and reads of each only what is not known already."""

    def __init__(self, start: Callable[..., Dialogues]) -> None:
        self._start = start
        self._columns: dict[tuple[int, int], int] = {}  # by the column before, and the token
        self._cache = Cache(layer_class_to_replicate=RoomyLayer)  # of one row
        self._pattern: Dialogues | None = None  # of those to come, without their cache

    @torch.inference_mode()
    def start(self, contexts: Sequence[Sequence[int]], keys: Sequence[int] = ()) -> Dialogues:
        """Open one conversation for each of the contexts, and remember them."""
        known = [self._known(context) for context in contexts]
        if self._pattern is None:
            dialogues = self._start(contexts, keys)
            self._pattern = copy.copy(dialogues)
            self._pattern.cache = None
        else:
            dialogues = self._beginning(known)
            dialogues.draw_by(keys or range(len(contexts)))
            pairs = zip(contexts, known, strict=True)
            dialogues.feed([context[len(columns) :] for context, columns in pairs])
        self._keep(dialogues, contexts, known)
        return dialogues

    def _known(self, context: Sequence[int]) -> list[int]:
        """Return the columns of the longest known beginning of a context.

        The last token is always read, since what is said next follows from it.
        """
        columns: list[int] = []
        column: int | None = BEGINNING
        for token in context[:-1]:
            column = self._columns.get((column, token))
            if column is None:
                break
            columns.append(column)
        return columns

    def _beginning(self, known: Sequence[Sequence[int]]) -> Dialogues:
        """Return conversations in which the tokens of these columns have been read."""
        longest = max(map(len, known))
        gaps = [longest - len(columns) for columns in known]
        padded = [[0] * gap + list(columns) for gap, columns in zip(gaps, known, strict=True)]
        dialogues = copy.copy(self._pattern)
        device = dialogues.mask.device
        columns = torch.tensor(padded, device=device)
        places = torch.arange(longest, device=device)
        dialogues.mask = (places >= torch.tensor(gaps, device=device)[:, None]).long()
        dialogues.length = dialogues.mask.sum(1)
        dialogues.cache = Cache(layers=[copy.copy(layer) for layer in self._cache.layers])
        for layer in dialogues.cache.layers:
            layer.take(columns.new_zeros(len(known)), columns)
        return dialogues

    def _keep(
        self,
        dialogues: Dialogues,
        contexts: Sequence[Sequence[int]],
        known: Sequence[Sequence[int]],
    ) -> None:
        """Append the columns of all tokens that were read for the first time."""
        size = self._cache.get_seq_length()
        new = []  # pairs of a row and the number of a token in it
        for row, (context, columns) in enumerate(zip(contexts, known, strict=True)):
            before = columns[-1] if columns else BEGINNING
            for number in range(len(columns), len(context)):
                following = size + len(new)
                column = self._columns.setdefault((before, context[number]), following)
                if column == following:
                    new.append((row, number))
                before = column
        if not new:
            return
        rows, numbers = torch.tensor(new, device=dialogues.mask.device).unbind(1)
        # Padding sorts behind tokens, and tokens stay in their order.
        columns = dialogues.mask.argsort(dim=1, descending=True, stable=True)[rows, numbers]
        for index, layer in enumerate(dialogues.cache.layers):
            states = [
                part[rows, :, columns].transpose(0, 1)[None] for part in (layer.keys, layer.values)
            ]
            self._cache.update(*states, index)
