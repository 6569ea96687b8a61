"""Attention masks that count tokens and not columns, so that windows see through padding.

Rows of different length that share one cache have padding between their tokens.  A window of the
last hundred columns then holds fewer than a hundred tokens, and a chunk begins elsewhere in every
row.  Every family of transformers describes its mask by a function of two columns, and one registry
turns it into a tensor: here that function is asked about the columns at which the tokens would
stand if no padding were between them.

Behind such a mask transformers copies keys and values for every head that shares them with others,
which takes longer than attention itself; `heads_share` tells it where torch need not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import masking_utils
from transformers.integrations import sdpa_attention

MASKS = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
KINDS = ("sdpa", "eager")  # of attention that take a mask as a tensor


def closed_up(mask: torch.Tensor) -> torch.Tensor:
    """Return for every column where its token would stand if no padding were behind the first.

    mask: [rows, columns], true where there is a token.  What stands before a row's first token is
    left as it is, since chunks are counted from there.  Of padding it says nothing of use.
    """
    count = mask.long().cumsum(1)
    first = (count == 0).sum(1, keepdim=True)
    return first + count - 1


def by_tokens(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a maker of masks like `make` that counts tokens where `make` counts columns."""

    def make_by_tokens(
        *args: Any, mask_function: Callable, attention_mask: torch.Tensor | None, **kwargs: Any
    ) -> Any:
        plain = mask_function is masking_utils.causal_mask_function  # asks for the order alone
        if plain or attention_mask is None or attention_mask.all():
            return make(*args, mask_function=mask_function, attention_mask=attention_mask, **kwargs)
        places = closed_up(attention_mask)

        def moved(row: Any, head: Any, query: Any, key: Any) -> Any:
            return mask_function(row, head, places[row, query], places[row, key])

        return make(*args, mask_function=moved, attention_mask=attention_mask, **kwargs)

    return make_by_tokens


BY_TOKENS = {kind: by_tokens(MASKS[kind]) for kind in KINDS}


def heads_share(mask: torch.Tensor | None, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether torch lets heads share keys and values, so that they are not copied for each head.

    On a CPU it does so well where several tokens are read at once; for a single one transformers
    has another way, which is better.  Elsewhere transformers decides.
    """
    if key.device.type == "cpu":
        return mask is not None and mask.shape[2] > 1
    return SHARE(mask, key, value)


SHARE = sdpa_attention.use_gqa_in_sdpa


@contextlib.contextmanager
def masks_by_tokens() -> Iterator[None]:
    """While this lasts, every model's masks count tokens, and heads share what they can."""
    MASKS.update(BY_TOKENS)
    sdpa_attention.use_gqa_in_sdpa = heads_share
    try:
        yield
    finally:
        sdpa_attention.use_gqa_in_sdpa = SHARE
        for kind in KINDS:
            del MASKS[kind]
