"""The optimizers of the training: AdamW, as the paper has it, and Muon for a tiny model."""

from __future__ import annotations

from typing import Any

import torch

NAMES = ("adamw", "muon")

# Of Newton and Schulz's iteration, x <- a x + b x^3 + c x^5 on the singular values, a round each.
# Each is the best there is for what the round before leaves (Amsel et al. 2025, "The Polar
# Express"): whatever lies between 0.01 and 1 comes to between 0.73 and 1.27.  Keller Jordan's
# coefficients, the same in all rounds, take five for as much.
ROUNDS = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)


def make_optimizer(name: str, model: Any, lr: float) -> torch.optim.Optimizer:
    """Return the optimizer called `name`, one of `NAMES`, of all weights of a model that learn."""
    if name == "muon":
        return Muon(model, lr)
    return adamw(model.parameters(), lr)


def adamw(parameters: Any, lr: float) -> torch.optim.AdamW:
    """Return AdamW without weight decay."""
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the matrices of the layers, AdamW for all other weights.

    A matrix steps by its momentum with all singular values made about one, so that what few tokens
    teach counts as much as what most teach.  A step is as large as AdamW's would be, on the root
    mean square, so that one learning rate serves both (Liu et al. 2025, "Muon is Scalable").

    torch has a Muon of its own, in bfloat16 and a matrix at a time.  This one takes matrices of one
    shape together, which is faster on a CPU where they are as small as a tiny model's.
    """

    MOMENTUM = 0.95

    def __init__(self, model: Any, lr: float) -> None:
        """Take the weights of a model; embeddings and output are not matrices of a layer."""
        learned = [each for each in model.named_parameters() if each[1].requires_grad]
        layers = [p for name, p in learned if p.ndim == 2 and ".layers." in name]
        self.shapes: dict[tuple[int, ...], list[torch.nn.Parameter]] = {}
        for matrix in layers:
            self.shapes.setdefault(tuple(matrix.shape), []).append(matrix)
        taken = set(map(id, layers))
        rest = [parameter for _, parameter in learned if id(parameter) not in taken]
        super().__init__([*layers, *rest], {"lr": lr})
        self.adamw = adamw(rest, lr)
        self.adamw.state = self.state  # one for both, so that `state_dict` holds all of it

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002, it is there for torch's sake
        """Take one step along the gradients that the weights have."""
        lr = self.param_groups[0]["lr"]
        self.adamw.param_groups[0]["lr"] = lr
        self.adamw.step()
        for shape, matrices in self.shapes.items():
            learning = [matrix for matrix in matrices if matrix.grad is not None]
            if learning:
                steps = orthogonal(torch.stack([self.direction(matrix) for matrix in learning]))
                for matrix, step in zip(learning, steps, strict=True):
                    matrix.add_(step, alpha=-lr * 0.2 * max(shape) ** 0.5)

    def direction(self, matrix: torch.nn.Parameter) -> torch.Tensor:
        """Return the mean of the gradients so far, the newest once more (Nesterov's momentum)."""
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - self.MOMENTUM)
        return matrix.grad.lerp(state["momentum"], self.MOMENTUM)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return matrices, [number, rows, columns], with their singular values made about one."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in ROUNDS:
        square = x @ x.mT
        change = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, change, x, beta=a)
    return x
