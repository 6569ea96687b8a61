"""Draws that depend on what is drawn for, and never on what is drawn beside it.

A generator hands out numbers in a row, so that what a conversation gets depends on its neighbours.
Here a number is computed from a key of the conversation and a place in it: the same on any device,
in any batch and in any order.  The mixing is that of SplitMix64 (Steele et al. 2014), on whole
tensors of 64-bit integers, whose products wrap around.

Read in order: `key`, `mixed`, `uniform` and `draw`.
"""

from __future__ import annotations

import hashlib

import torch

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def key(*numbers: int) -> int:
    """Return a key of 64 bits for a list of numbers, as good as never that of another list."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def mixed(keys: torch.Tensor, numbers: torch.Tensor | int) -> torch.Tensor:
    """Return a key for each pair of a key and a number, as good as never that of another pair.

    keys: [rows], 64-bit integers; numbers: one for each row, or one for all.
    """
    if isinstance(numbers, int):
        numbers = torch.full_like(keys, signed(numbers))
    return scrambled(keys + numbers * signed(GOLDEN))


def scrambled(bits: torch.Tensor) -> torch.Tensor:
    """Return 64 bits, each of which depends on each of those given, one to one."""
    bits = bits + signed(GOLDEN)  # without which 0 would remain 0
    bits = (bits ^ shifted(bits, 30)) * signed(FIRST)
    bits = (bits ^ shifted(bits, 27)) * signed(SECOND)
    return bits ^ shifted(bits, 31)


def shifted(bits: torch.Tensor, places: int) -> torch.Tensor:
    """Return bits moved to the right, zeros coming in from the left."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def signed(number: int) -> int:
    """Return the lowest 64 bits of a number as a signed integer, as tensors hold them."""
    return (number + 2**63) % 2**64 - 2**63


def uniform(keys: torch.Tensor) -> torch.Tensor:
    """Return a number in [0, 1) for each mixed key, in float64: its highest 53 bits."""
    return shifted(keys, 11).double() * 2.0**-53


def draw(chances: torch.Tensor, luck: torch.Tensor) -> torch.Tensor:
    """Return for each row the word at which the sum of the chances so far exceeds its luck.

    chances: [rows, words], not negative; luck: [rows], in [0, 1).  A word without a chance is never
    drawn: the sum does not grow there, and luck times the whole sum is less than the whole sum.
    """
    sums = chances.cumsum(-1, dtype=torch.float64)
    reached = luck[:, None] * sums[:, -1:]
    return torch.searchsorted(sums, reached, right=True)[:, 0]
