"""Several processes that torchrun has started make one run; where there is one, nothing is changed.

Each of them carries out the whole method, draws the same and holds the whole model.  What takes
time is shared out: pieces of work (`shared_out`), and training (`spread`, `shares`, `added_up`,
`gather`), for which PyTorch's FSDP2 leaves each process a part of all weights, gradients and
optimizer states.  The first process alone has the folder: it writes, it speaks, and what it alone
knows the others hear by `from_first`.

Read in order: `joined`, `from_first`, `shared_out`, `spread` to `gather`, `whole` and `placed`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor

from engine import UserError, command_line

PATIENCE = timedelta(days=30)  # for the others; one that dies is noticed at once, by its connection


def count() -> int:
    """Return the number of processes of this run."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def index() -> int:
    """Return which of them this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that has the folder and speaks."""
    return index() == 0


# --- one program


def carry_out(program: str, function: Callable[[], object], stopped: str) -> int:
    """Call a function in each process; return the exit status (see engine/command_line.py)."""
    return command_line.carry_out(program, joined(function), stopped)


def joined(function: Callable[[], Any]) -> Callable[[], None]:
    """Return a function that all processes which torchrun has started carry out together.

    If one fails, whoever comes first says why, and all end.  Raises `UserError` where another one
    has died.
    """

    def together() -> None:
        store, place, number = next(rendezvous("env://", timeout=PATIENCE))
        try:
            distributed.init_process_group(
                own_backend(), timeout=PATIENCE, world_size=number, rank=place, store=store
            )
            with silence() if place else contextlib.nullcontext():
                function()
        except BaseException as error:
            if said_already(store):
                sys.stderr = open(os.devnull, "w")  # noqa: SIM115, for as long as the process lives
            if isinstance(error, RuntimeError) and LOST.search(str(error)):
                remedy = "the same command goes on from there, with any number of processes"
                raise UserError(f"another process of this run has ended; {remedy}") from error
            raise
        distributed.destroy_process_group()

    several = distributed.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1
    return together if several else function


# What gloo, NCCL and torch's store say of a process that is gone.
LOST = re.compile("(closed|reset) by peer|broken pipe|remote process|connection was", re.IGNORECASE)


def own_backend() -> str:
    """Return what the processes talk by, and take the GPU of this one, if there are any.

    Raises `UserError` where there are fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return "gloo"
    place = int(os.environ["LOCAL_RANK"])
    if place >= torch.cuda.device_count():
        problem = f"this machine has {torch.cuda.device_count()} GPUs, and one process more"
        remedy = "lower --nproc-per-node, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to use its cores"
        raise UserError(f"{problem}; {remedy}")
    torch.cuda.set_device(place)
    return "cpu:gloo,cuda:nccl"


def said_already(store: distributed.Store) -> bool:
    """Whether another process has told the user already why all end."""
    try:
        return store.add("said", 1) > 1
    except RuntimeError:  # torchrun itself has ended
        return False


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """While this lasts, nothing is printed and no bar shown."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


# --- pieces of work


def from_first(value: Any) -> Any:
    """Return what the first process gives; what the others give is not looked at."""
    if count() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return value if is_first() else values[0]


def shared_out(
    make: Callable[[Sequence[Any]], list[Any]],
    items: Sequence[Any],
    write: Callable[[Any], Any],
) -> list[Any]:
    """Return what `make` makes of items, in order, as `write` writes it and JSON gives it back.

    Each process makes every n-th, so that long and short ones fall to all alike.
    """
    own = items[index() :: count()]
    made = [json.dumps(write(result)) for result in make(own)] if own else []
    everybody: list[list[str]] = [[] for _ in range(count())]
    distributed.all_gather_object(everybody, made)
    records: list[Any] = [None] * len(items)
    for place, lines in enumerate(everybody):
        records[place :: count()] = map(json.loads, lines)
    return records


def over_all(number: int | None) -> int | None:
    """Return the sum of a number over all processes; None where it is counted nowhere."""
    if count() == 1 or number is None:
        return number
    total = torch.tensor(number)
    distributed.all_reduce(total)
    return int(total)


# --- training


def spread(actor: Any, optimizer: str) -> Any:
    """Return the model of an actor, ready to be trained by all processes until `gather`.

    It becomes a sharded copy; the whole one, which the actor's speaker keeps, holds no memory
    meanwhile.  For Muon it stays whole: a step needs whole matrices, and it is for tiny models, for
    which the many small messages of FSDP2 would take longer than the step itself.
    """
    if count() > 1:
        torch.manual_seed(torch.initial_seed() + index())  # dropout is another everywhere
        if optimizer != "muon":
            actor.model = sharded(actor.model, actor.precision.dtype)
    return actor.model.train()


def sharded(model: Any, dtype: torch.dtype) -> Any:
    """Return a copy of a model of which each process has a part; the model itself is emptied.

    A layer is made whole while it computes, in `dtype`; words and head, in float32, for a step's
    forward and backward pass.
    """
    weights = {}  # of the copy, by the id of the model's, which they share their memory with
    for weight in model.parameters():
        weights[id(weight)] = torch.nn.Parameter(weight.detach(), weight.requires_grad)
    parts = copy.deepcopy(model, weights)
    mesh = init_device_mesh(model.device.type, (count(),))
    of_layers = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    for module in reversed(list(parts.modules())):
        if type(module).__name__ in (model._no_split_modules or ()):
            fully_shard(module, mesh=mesh, mp_policy=of_layers)
    fully_shard(parts, mesh=mesh)
    for module in parts.modules():
        if isinstance(module, FSDPModule):  # gradients are summed: `fine_tune` makes the mean
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows nothing else
    for weight in model.parameters():
        weight.data = weight.data.new_empty(0)
    return parts


def shares(batch: Sequence[list[Any]]) -> Iterator[tuple[list[Any], int]]:
    """Yield the micro-batches of a step that are this process's, each with its weight, 1 or 0.

    All processes have equally many, since no layer is whole without all.  Where they do not come
    out even, the last ones are cut up by rows; who gets none reads one for nothing.
    """
    number = count()
    even = len(batch) - len(batch) % number
    for micro_batch in batch[index() : even : number]:
        yield micro_batch, 1
    for micro_batch in batch[even:]:
        rows = micro_batch[index() :: number]
        yield rows or micro_batch[:1], int(bool(rows))


def added_up(model: Any, learned: int, loss: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Return how much all processes have learned in a step, and their loss.

    The gradients of a model that is whole everywhere are added up as well.
    """
    if count() == 1:
        return learned, loss
    sums = torch.tensor([learned, float(loss)], dtype=torch.float64)
    distributed.all_reduce(sums)
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    if not isinstance(gradients[0], DTensor):
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, summed in zip(gradients, together.split(sizes), strict=True):
            gradient.copy_(summed.view_as(gradient))
    return int(sums[0]), sums[1]


def gather(actor: Any) -> None:
    """End a training: on every process the whole model has the weights that all have trained."""
    trained = actor.model
    if isinstance(trained, FSDPModule):
        actor.model = actor.speaker.model
        for weight, part in zip(actor.model.parameters(), trained.parameters(), strict=True):
            weight.data = whole(part.detach())
    actor.model.eval()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is, whole; all processes have to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def to_keep(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor, whole, to be written by the first process; the others get an empty one."""
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
        return tensor.cpu() if is_first() else tensor.new_empty(0)
    return tensor


def placed(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return what was kept of a weight, or of its size, as the weight is: sharded or whole."""
    if not isinstance(weight, DTensor) or tensor.shape != weight.shape:
        return tensor
    tensor = tensor.to(weight.device)
    return distribute_tensor(tensor, weight.device_mesh, weight.placements, src_data_rank=None)
