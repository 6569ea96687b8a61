"""Beginning anew what a world that others run has lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

BEGINNINGS = 3  # of one episode or tree; after that it stands as far as it came


def begun_anew(
    make: Callable[[Sequence[Any], int], list[Any]],
    items: Sequence[Any],
    worth: Callable[[Any], float] = lambda _: 0,
) -> list[Any]:
    """Return what `make` makes of items, in order; what comes back `lost` is made once more.

    `make` is told which beginning it is, the first being 1.  Of each item one result stands: the
    newest, unless an earlier one is worth more.  Its `beginnings` tell how often it was begun.
    """
    made = make(items, 1)
    for beginning in range(2, BEGINNINGS + 1):
        lost = [index for index, result in enumerate(made) if result.lost]
        if not lost:
            break
        again = make([items[index] for index in lost], beginning)
        for index, result in zip(lost, again, strict=True):
            if worth(result) >= worth(made[index]):
                made[index] = result
            made[index].beginnings = beginning
    return made
