"""What is learned and nothing else: its logits, which makes training fast, and where it is from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch


def learned_logits(
    model: Any, ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels of the learned tokens alone, as if they stood in one row.

    Returned are [1, learned + 1, vocabulary] and [1, learned + 1].
    ids, labels: [rows, length], padded on the right, where no token before the padding sees it: a
    causal model needs no mask.  The head, the widest layer of a language model, is computed only at
    the positions that predict a learned token; the hook narrows what goes into it, so that whatever
    a model does behind its head stays its own.  As in any row, position t - 1 predicts token t: a
    last position that predicts nothing and a first label that nobody predicts are added.
    """
    targets = labels[:, 1:]
    learned = targets != -100
    head = model.get_output_embeddings()

    def narrow(_: Any, hidden: tuple[torch.Tensor]) -> torch.Tensor:
        return hidden[0][:, :-1][learned]

    hook = head.register_forward_pre_hook(narrow)
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    row = torch.nn.functional.pad(logits, (0, 0, 0, 1))
    row_labels = torch.nn.functional.pad(targets[learned], (1, 0), value=-100)
    return row[None], row_labels[None]


def learned_shares(tally: Counter[str], origins: Sequence[str]) -> dict[str, float | None]:
    """Return the share of each origin in the learned tokens, None where nothing was learned."""
    total = tally.total()
    shares: dict[str, float | None] = {}
    for origin in origins:
        shares[f"learned_{origin}"] = tally[origin] / total if total else None
    return shares
