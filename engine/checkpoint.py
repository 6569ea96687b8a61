"""How far a training has come: weights, optimizer and random state, in one file now and then.

The file takes the place of the one before.  Batches are drawn again up to the step, and the
learning rate follows from it, so neither is kept.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file

from engine import UserError, processes
from engine.folder import writing
from engine.loading import rust_errors

NAME = "checkpoint.safetensors"
REMEDY = (
    "a lower learning rate would help (--lr, of the warm-up --warmup-lr, of eto --dpo-lr), "
    "in another --out or with --anew"
)


@dataclass(frozen=True)
class Place:
    """Where the run that is being carried out keeps its checkpoint, and how often."""

    path: Path
    every: float  # seconds


_places: list[Place] = []


@contextlib.contextmanager
def saved_in(folder: Path, every: float) -> Iterator[None]:
    """While this lasts, whatever is trained leaves a checkpoint every so many seconds."""
    _places.append(Place(folder / NAME, every))
    try:
        yield
    finally:
        _places.pop()


def read_state(path: Path) -> dict[str, Any]:
    """Return the label of the training that a checkpoint is of, its steps and its tokens.

    Raises `UserError` for a file that is none.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            return json.loads(file.metadata()["state"])
    except (safetensors.SafetensorError, LookupError, TypeError, ValueError):
        remedy = "remove it, and its training begins anew"
        raise UserError(f"{path}: is not as the run left it; {remedy}") from None


LOOK = 32  # steps between two looks at the loss, since each waits for the device


class Progress:
    """How far a training is: the steps behind it and the tokens that they took."""

    def __init__(
        self, model: Any, optimizer: torch.optim.Optimizer, label: str, report: list[Any]
    ) -> None:
        """Go on from the checkpoint of this very training, if there is one.

        `report` holds what there is to say of each step so far.
        """
        self.model = model
        self.optimizer = optimizer
        self.label = label
        self.report = report
        self.step = 0
        self.tokens = 0
        self.place = _places[-1] if _places else None
        self.saved = time.monotonic()
        self.finite = torch.ones((), dtype=torch.bool, device=model.device)
        if self.place and self.place.path.exists():
            state = read_state(self.place.path)
            if state["label"] == label:
                self._load(state)

    def passed(self, tokens: int, norm: torch.Tensor) -> None:
        """Count a step, with its tokens and its gradient's norm; leave a checkpoint if it is time.

        Raises `UserError` for a loss that is no longer finite, some steps later at the most.
        """
        self.step += 1
        self.tokens += tokens
        self.finite &= processes.whole(norm).isfinite()
        due = self.place and time.monotonic() - self.saved >= self.place.every
        due = processes.from_first(due)
        if due or self.step % LOOK == 0:
            self.check()
        if due:
            self._save()

    def check(self) -> None:
        """Raise `UserError` if the loss of any step was not finite."""
        if not self.finite:
            problem = f"the loss is no longer a finite number at step {self.step}"
            raise UserError(f"{self.label}: {problem}; {REMEDY}")

    def _save(self) -> None:
        tensors = {"random.cpu": torch.get_rng_state()}
        generator = device_generator(self.model)
        if generator:
            tensors["random.device"] = generator.get_rng_state()
        for name, weight in self.model.named_parameters():
            tensors[f"model.{name}"] = processes.to_keep(weight.detach()).contiguous()
        for index, values in self.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensor = processes.to_keep(torch.as_tensor(value))
                tensors[f"optimizer.{index}.{name}"] = tensor.contiguous()
        state = {"label": self.label, "step": self.step, "tokens": self.tokens}
        state["report"] = self.report
        if processes.is_first():
            with writing(self.place.path) as part, rust_errors(self.place.path):
                save_file(tensors, part, metadata={"state": json.dumps(state)})
        self.saved = time.monotonic()

    @torch.no_grad()
    def _load(self, state: dict[str, Any]) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        values: dict[int, dict[str, torch.Tensor]] = {}
        with safetensors.safe_open(self.place.path, "pt") as file:
            self._check_shapes(file)
            for name, weight in self.model.named_parameters():
                weight.copy_(processes.placed(file.get_tensor(f"model.{name}"), weight))
            if processes.is_first():  # else dropout would be the same on all
                self._set_random(file)
            for name in file.keys():  # noqa: SIM118, it is no mapping
                if name.startswith("optimizer."):
                    _, index, key = name.split(".", 2)
                    tensor = processes.placed(file.get_tensor(name), weights[int(index)])
                    values.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": values})
        self.step = state["step"]
        self.tokens = state["tokens"]
        self.report[:] = state["report"]

    def _check_shapes(self, file: Any) -> None:
        """Raise `UserError` for a checkpoint of another model, as of one that was replaced."""
        shapes = {name: list(weight.shape) for name, weight in self.model.named_parameters()}
        found = {}
        for name in file.keys():  # noqa: SIM118, it is no mapping
            if name.startswith("model."):
                found[name.removeprefix("model.")] = file.get_slice(name).get_shape()
        if found != shapes:
            remedy = "put the model back with which it was begun, or begin anew with --anew"
            raise UserError(f"{self.place.path}: is of a model of another size; {remedy}")

    def _set_random(self, file: Any) -> None:
        torch.set_rng_state(file.get_tensor("random.cpu"))
        generator = device_generator(self.model)
        if generator and "random.device" in file.keys():  # noqa: SIM118, it is no mapping
            generator.set_rng_state(file.get_tensor("random.device"))


def device_generator(model: Any) -> Any:
    """Return the module of torch that has the random state of a model's device, none of a CPU's."""
    return {"cuda": torch.cuda, "mps": torch.mps}.get(model.device.type)
