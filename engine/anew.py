"""Beginning anew what a world that others run has lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

BEGINNINGS = 3  # of one episode or tree; after that it stands as far as it came


def begun_anew(make: Callable[[Sequence[Any]], list[Any]], items: Sequence[Any]) -> list[Any]:
    """Return what `make` makes of items, in order; what comes back `lost` is made once more.

    So nothing that was lost counts beside what takes its place.
    """
    made = make(items)
    for _ in range(BEGINNINGS - 1):
        lost = [index for index, result in enumerate(made) if result.lost]
        if not lost:
            break
        again = make([items[index] for index in lost])
        for index, result in zip(lost, again, strict=True):
            made[index] = result
    return made
