"""Whether a model acts exactly: rows of different length on one cache as each row by itself.

What a family does with padding and with a cache that is forked is told by no field of its
configuration.  So it is tried, on a handful of tokens, whenever a model is loaded.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from engine.dialogues import Dialogues, Speaker
from engine.memory import Memory

SHORT = 3  # tokens that a window has while it is tried: fewer than a row of the trial
LAYERS = 8  # that are tried at least; families that mix layers repeat themselves after so many
GAP = 512  # columns of padding in the midst of the trial, which cost a model nothing to read
TOLERANCE = 3e-4  # of the spread of the logits; float32 rounds to a tenth of it at most

# What families call a number of tokens after which attention changes.
WINDOWS = (
    "sliding_window",
    "window_size",
    "local_attention",
    "attention_chunk_size",
    "floor_scale",
)


def fault(model: Any) -> str:
    """Return what keeps a model from acting exactly, as the end of a sentence; empty if nothing.

    Three rows are read in turns, as `Dialogues` reads them, and each as a whole without a cache:
    five passes over some twenty tokens.  The first layers stand for all; where something is found,
    all have their say, since some families count their layers in other places too.
    """
    if model.get_output_embeddings() is None:
        return "has no head that says tokens"
    with short_windows(model), torch.inference_mode():
        with few_layers(model):
            found = fault_of_trial(Trial(model))
        return found and fault_of_trial(Trial(model))


def fault_of_trial(trial: Trial) -> str:
    """Return what is found in one trial; empty if nothing."""
    try:
        whole = trial.read_whole()
    except Exception as error:  # whatever a model makes of its first tokens
        return f"cannot read plain tokens ({told(error)})"
    if not whole.isfinite().all():
        return "says no finite numbers, so its weights are broken"
    if not trial.is_causal(whole):
        return "is no causal language model: it looks at what comes later"
    try:
        cached = trial.read_in_turns()
    except Exception as error:  # whatever a family without such a memory makes of ours
        memory = "remembers something else than a key and a value of every token"
        return f"{memory}, which cannot be forked and padded ({told(error)})"
    if distance(cached, trial.said(whole)) > TOLERANCE:
        return "says something else when rows of different length share a cache"
    return ""


def told(error: Exception) -> str:
    """Return what an error says, on one line and not too long."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:150]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return how far logits are from others in units of their spread, in the median of the cases.

    Not at most: where experts are mixed, rounding now and then decides between two, in one case.
    one, other: [cases, vocabulary].
    """
    far = (one - other).square().mean(-1).sqrt()
    return float((far / other.std(-1)).nan_to_num(torch.inf).median())


class Trial:
    """Three rows, of which two begin alike, and two turns that they hear.

    Rows and turns are of different length, so that there is padding before and between tokens.
    """

    lengths = ((6, 1, 1), (2, 4, 1), (6, 2, 1))  # of beginning and turns, for each row

    def __init__(self, model: Any) -> None:
        self.model = model
        generator = torch.Generator().manual_seed(0)
        size = len(model.get_input_embeddings().weight)
        self.rows = torch.randint(size, (3, 9), generator=generator).tolist()
        self.rows[2][:6] = self.rows[0][:6]

    def piece(self, row: int, turn: int) -> list[int]:
        """Return what a row reads in a turn, 0 for its beginning."""
        start = sum(self.lengths[row][:turn])
        return self.rows[row][start : start + self.lengths[row][turn]]

    def read_whole(self) -> torch.Tensor:
        """Return the logits of all tokens, read at once: [rows, length, vocabulary].

        Rows go on behind their last turn, which changes nothing before.
        """
        ids = torch.tensor(self.rows, device=self.model.device)
        return self.model(input_ids=ids, use_cache=False).logits.float()

    def said(self, whole: torch.Tensor) -> torch.Tensor:
        """Return the logits behind the last turn of every row, [rows, vocabulary]."""
        ends = [sum(lengths) - 1 for lengths in self.lengths]
        return whole[range(len(ends)), ends]

    def is_causal(self, whole: torch.Tensor) -> bool:
        """Whether rows that begin alike and go on differently have the same logits so far."""
        beginning = self.lengths[0][0]
        return distance(whole[0, :beginning], whole[2, :beginning]) <= TOLERANCE

    def read_in_turns(self) -> torch.Tensor:
        """Return the logits behind the last turn of every row, read as they come and on one cache.

        The beginnings come from a memory, which puts their tokens anywhere; the third row is forked
        from the first behind its beginning, and much padding is put before the last turn: a family
        that counts columns anywhere loses sight of what came before.
        Raises `ValueError` if what is remembered is not a key and a value of every token.
        """
        memory = Memory(functools.partial(Dialogues, Speaker(self.model, 0, (), 1, str)))
        memory.start([self.piece(1, 0), self.piece(0, 0)])
        dialogues = memory.start([self.piece(0, 0), self.piece(1, 0)])
        if dialogues.cache.get_seq_length() != dialogues.mask.shape[1]:
            raise ValueError("nothing is in the cache of keys and values")
        dialogues.select([0, 1, 0])
        dialogues.feed([self.piece(row, 1) for row in range(3)])
        dialogues.pad(GAP)
        dialogues.feed([self.piece(row, 2) for row in range(3)])
        return dialogues.logits


@contextlib.contextmanager
def lowered(owners: Iterable[Any], limits: dict[str, int]) -> Iterator[None]:
    """While this lasts, attributes of these names are no larger than their limits."""
    changed = []
    for owner in {id(owner): owner for owner in owners}.values():
        for name, limit in limits.items():
            value = vars(owner).get(name)
            if isinstance(value, int) and value > limit:
                changed.append((owner, name, value))
                setattr(owner, name, limit)
    try:
        yield
    finally:
        for owner, name, value in changed:
            setattr(owner, name, value)


def short_windows(model: Any) -> contextlib.AbstractContextManager[None]:
    """While this lasts, windows and chunks are shorter than the rows of a trial."""
    modules = list(model.modules())
    configs = [module.config for module in modules if hasattr(module, "config")]
    owners = [*modules, *configs, model.config.get_text_config()]
    return lowered(owners, dict.fromkeys(WINDOWS, SHORT))


def few_layers(model: Any) -> contextlib.AbstractContextManager[None]:
    """While this lasts, most families run their first layers alone, one of each kind among them."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or []
    layers = max([LAYERS, *(kinds.index(kind) + 1 for kind in {*kinds})])
    return lowered([config], {"num_hidden_layers": layers})
