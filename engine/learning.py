"""What is learned and nothing else: its logits, which makes training fast, and where it is from.

Read in order: `learned_logits`, `learned_loss` (the same a piece at a time, so that the logits of a
large vocabulary never stand whole in memory), `keep_between_layers`, `learned_shares`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from engine import UserError, llama, processes

PIECE = 2**24  # logits that stand in memory at a time: 64 MiB, and as much again for gradients

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of logits and labels, summed


def learned_logits(
    model: Any, ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels of the learned tokens alone, as if they stood in one row.

    Returned are [1, learned + 1, vocabulary] and [1, learned + 1].
    ids, labels: [rows, length], padded on the right, where no token before the padding sees it: a
    causal model needs no mask.  The head, the widest layer of a language model, is computed only at
    the positions that predict a learned token; the hook narrows what goes into it, so that whatever
    a model does behind its head stays its own.  A plain Llama has its forward pass written out.
    """
    targets = labels[:, 1:]
    learned = targets != -100
    head = model.get_output_embeddings()
    if llama.is_plain(model):
        logits = head(llama.hidden_where(model, ids[:, :-1], learned))
    else:
        with _fed(head, lambda hidden: hidden[:, :-1][learned]):
            logits = model(input_ids=ids, use_cache=False).logits
    return _as_row(logits, targets[learned])


def learned_loss(model: Any, loss: Loss, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return `loss` of the learned tokens, whose logits are made a piece at a time.

    `loss` takes logits and labels as `learned_logits` returns them, and is a sum over tokens.
    Where all logits are few, one piece holds them.  Else they are made once to know the loss, and
    once more for the gradients of it.  Several processes, which have to compute each layer equally
    often, make them in one piece.
    """
    targets = labels[:, 1:]
    learned = targets != -100
    head = model.get_output_embeddings()
    size = max(1, PIECE // len(head.weight))
    if processes.count() > 1 or int(learned.sum()) <= size:
        return loss(*learned_logits(model, ids, labels))

    def loss_of(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # The model reads any one token, for whatever it does behind its head; the piece goes in.
        with _fed(head, lambda _: hidden):
            logits = model(input_ids=ids[:1, :1], use_cache=False).logits
        return loss(*_as_row(logits, targets))

    hidden = _hidden_where(model, ids, learned)
    losses = []
    for piece in zip(hidden.split(size), targets[learned].split(size), strict=True):
        losses.append(checkpoint(loss_of, *piece, use_reentrant=False))
    return torch.stack(losses).sum()


def _hidden_where(model: Any, ids: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    """Return what goes into the head to predict the learned tokens, [learned, width]."""
    if llama.is_plain(model):
        return llama.hidden_where(model, ids[:, :-1], learned)
    seen = []

    def keep(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden[:, :-1][learned])
        return hidden[:1, :1]

    with _fed(model.get_output_embeddings(), keep):
        model(input_ids=ids, use_cache=False)
    return seen[0]


@contextmanager
def _fed(module: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """While this lasts, a module gets what `change` makes of what it would get."""
    hook = module.register_forward_pre_hook(lambda _, given: change(given[0]))
    try:
        yield
    finally:
        hook.remove()


def _as_row(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, [tokens, vocabulary], and what they predict, [tokens], as one row.

    As in any row, position t - 1 predicts token t: a last position that predicts nothing and a
    first label that nobody predicts are added.
    """
    row = torch.nn.functional.pad(logits, (0, 0, 0, 1))
    labels = torch.nn.functional.pad(targets, (1, 0), value=-100)
    return row[None], labels[None]


def keep_between_layers(model: Any) -> None:
    """Let training keep only what goes from layer to layer, and compute the rest once more.

    Raises `UserError` for a model of a family that cannot.
    """
    try:
        model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        problem = f"{type(model).__name__} cannot compute its layers twice"
        raise UserError(f"--checkpointing yes: {problem}; leave it at no") from error


def learned_shares(tally: Counter[str], origins: Sequence[str]) -> dict[str, float | None]:
    """Return the share of each origin in the learned tokens, None where nothing was learned."""
    total = tally.total()
    shares: dict[str, float | None] = {}
    for origin in origins:
        shares[f"learned_{origin}"] = tally[origin] / total if total else None
    return shares
