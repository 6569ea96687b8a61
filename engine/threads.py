"""Worlds with a process of their own act at the same time, each in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def together(
    function: Callable[..., Any], worlds: Sequence[Any], *arguments: Sequence[Any]
) -> list[Any]:
    """Call `function` on the i-th of each of the arguments, for all i; return the results in order.

    It runs in as many threads as copies of the worlds may act at a time; `worlds` is no argument.
    """
    workers = min((world.parallel for world in worlds), default=1)
    if workers == 1:
        return list(map(function, *arguments))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, *arguments))
