"""Muon for the matrices of the layers, AdamW for the rest: steps, their size, and going on."""

import copy

import pytest
import torch
from doubles import tiny_actor

from engine.optimizers import NAMES, adamw, make_optimizer, orthogonal
from envs import Lab
from general.lessons import demonstration
from train import encode, fine_tune, imitation


def model_with_gradients(seed=0):
    """A tiny model whose weights have gradients of sizes that have nothing in common."""
    model = copy.deepcopy(tiny_actor().model)
    generator = torch.Generator().manual_seed(seed)
    for number, weight in enumerate(model.parameters()):
        weight.grad = torch.randn(weight.shape, generator=generator) * 10.0 ** (number % 5 - 3)
    return model


def is_matrix_of_a_layer(name, weight):
    return name.startswith("model.layers") and weight.ndim == 2


@pytest.mark.parametrize("shape", [(6, 6), (3, 12), (12, 3), (64, 32)])
def test_what_is_made_orthogonal_keeps_its_directions_and_has_singular_values_about_one(shape):
    matrices = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    matrices *= torch.tensor([1e-4, 1e-2, 1.0, 10.0, 1e4])[:, None, None]
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    found = left.mT @ orthogonal(matrices) @ right.mT
    on_diagonal = found.diagonal(dim1=1, dim2=2)
    assert (found - torch.diag_embed(on_diagonal)).abs().max() < 1e-3, "no direction is mixed in"
    of_use = values / values.norm(dim=1, keepdim=True) > 0.01
    assert on_diagonal[of_use].min() > 0.7
    assert on_diagonal.max() < 1.3


def test_muon_steps_along_the_orthogonal_gradient_and_adamw_does_the_rest():
    model = model_with_gradients()
    other = copy.deepcopy(model)
    for weight, like in zip(other.parameters(), model.parameters(), strict=True):
        weight.grad = like.grad.clone()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    make_optimizer("muon", model, 1e-2).step()
    adamw(other.parameters(), 1e-2).step()
    theirs = dict(other.named_parameters())
    seen = set()
    for name, weight in model.named_parameters():
        moved = (weight - before[name]).detach()
        if is_matrix_of_a_layer(name, weight):
            left, _, right = torch.linalg.svd(weight.grad, full_matrices=False)
            expected = -1e-2 * 0.2 * max(weight.shape) ** 0.5 * (left @ right)
            likeness = (moved * expected).sum() / (moved.norm() * expected.norm())
            assert likeness > 0.9, name
            assert 0.7 < moved.norm() / expected.norm() < 1.2, name
        else:
            assert torch.equal(weight, theirs[name]), name
        seen.add(is_matrix_of_a_layer(name, weight))
    assert seen == {True, False}


def test_momentum_outlives_a_gradient_that_turns_once():
    model = model_with_gradients()
    matrix = model.model.layers[0].mlp.up_proj.weight
    gradient = matrix.grad.clone()
    optimizer = make_optimizer("muon", model, 1e-3)
    for _ in range(20):
        optimizer.step()
    before = matrix.detach().clone()
    matrix.grad = -0.1 * gradient
    optimizer.step()
    assert ((matrix - before) * gradient).sum() < 0, "one small step back does not turn it round"


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_gradient_or_learns_nothing_stays(name):
    model = model_with_gradients()
    frozen = model.get_input_embeddings().weight.requires_grad_(False)
    silent = model.model.layers[0].mlp.gate_proj.weight
    frozen.grad = silent.grad = None
    before = frozen.detach().clone(), silent.detach().clone()
    make_optimizer(name, model, 1e-2).step()
    assert torch.equal(frozen, before[0])
    assert torch.equal(silent, before[1])


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_goes_on_from_its_state_as_if_never_stopped(name):
    model, stopped = model_with_gradients(), model_with_gradients()
    optimizer = make_optimizer(name, model, 1e-3)
    first = make_optimizer(name, stopped, 1e-3)
    for one in (optimizer, first):
        one.step()
        one.step()
    second = make_optimizer(name, stopped, 1e-3)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    optimizer.step()
    second.step()
    for weight, like in zip(stopped.parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, like)


def test_muon_learns():
    actor = tiny_actor()
    world = Lab()
    tasks = world.tasks("train")[:4]
    batch = [[encode(actor, demonstration(world, task).messages()) for task in tasks]]

    def loss():
        with torch.no_grad():
            total, learned = imitation(actor, batch[0])
        return total.item() / learned

    before = loss()
    fine_tune(actor, iter([batch] * 30), steps=30, lr=1e-2, algorithm="muon")
    assert loss() < before / 2
