"""Weights in float32, computing in a cheaper type.

A step of 1e-5 is lost in a weight of bfloat16, which has eight bits: next to all would stay as they
are.  So weights and optimizer are float32 whatever the type.  While training, products are computed
in the type (torch's autocast); while acting, a copy of the weights in it speaks.
"""

from __future__ import annotations

import copy
import re
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from engine import UserError

SLOW = 2  # from so many times the seconds of float32 on, the type is called slow


class Precision:
    """The type that an actor computes in; in float32 nothing is copied."""

    def __init__(self, dtype: str = "float32") -> None:
        self.name = dtype
        self.dtype = getattr(torch, dtype)
        self._copy: Any = None

    def acting(self, model: Any) -> Any:
        """Return what speaks: the model, or its copy, which is kept until weights are trained."""
        if self.dtype == torch.float32:
            return model
        if self._copy is None:
            self._copy = in_type(model, self.dtype)
        return self._copy

    def training(self, model: Any) -> AbstractContextManager[Any]:
        """Return what a loss is computed in; the copy is dropped, since it will be old soon."""
        self._copy = None
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(model.device.type, self.dtype)

    def check(self, model: Any) -> None:
        """Raise `UserError` for a model that cannot compute in the type; say where it is slow."""
        if self.dtype == torch.float32:
            return
        ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
        try:
            with torch.no_grad(), self.training(model):
                model(input_ids=ids)
            with torch.no_grad():
                self.acting(model)(input_ids=ids)
        except RuntimeError as error:  # of a family that mixes types where torch allows one
            reason = " ".join(str(error).split())[:150]
            problem = f"{type(model).__name__} cannot compute in it ({reason})"
            raise UserError(f"--dtype {self.name}: {problem}; use float32") from error
        if model.device.type == "cpu":
            self._say_if_slow()

    def _say_if_slow(self) -> None:
        """Say so if this processor has no instructions for the type, as many have none."""
        times = seconds_of_a_product(self.dtype) / seconds_of_a_product(torch.float32)
        if times >= SLOW:
            problem = f"this processor takes {times:.0f} times as long in it as in float32"
            remedy = "without --dtype the run is faster, and takes more memory"
            print(f"--dtype {self.name}: {problem}; {remedy}", file=sys.stderr)


def seconds_of_a_product(dtype: torch.dtype) -> float:
    """Return how long the processor takes for a product of matrices, the best of three times."""
    given = torch.ones(128, 512, dtype=dtype)
    weight = torch.ones(512, 512, dtype=dtype)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        given @ weight
        took.append(time.perf_counter() - start)
    return min(took)


@torch.no_grad()
def in_type(model: Any, dtype: torch.dtype) -> Any:
    """Return a copy of a model with its weights in another type, ready to act.

    Buffers, such as the frequencies of positions, and what the model's family keeps in float32 stay
    as they are.  Nothing is copied in the old type on the way.
    """
    kept = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    names = "|".join(rf"(^|\.){name}($|\.)" for name in kept)
    made = {}  # by the id of the old one, as `copy.deepcopy` wants to know it: tied weights stay so
    for name, weight in model.named_parameters():
        exact = bool(names) and re.search(names, name)
        data = weight.detach().to(torch.float32 if exact else dtype, copy=True)
        made[id(weight)] = torch.nn.Parameter(data, requires_grad=False)
    return copy.deepcopy(model, made).eval()
