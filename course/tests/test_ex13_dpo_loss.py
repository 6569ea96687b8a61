"""Exercise 13, `train.dpo_loss`: -log sigmoid(dpo_beta * (margin - the reference's)) (Table 2)."""

import math

import pytest
import torch

import train
from course.handmade import check, hold

pytestmark = pytest.mark.ex13


def loss(margins, reference_margins, dpo_beta=1.0):
    got = train.dpo_loss(torch.tensor(margins), torch.tensor(reference_margins), dpo_beta)
    hold(got.dim() == 0, f"the loss of all pairs is one number; its shape is {tuple(got.shape)}")
    return float(got)


def cost(z):
    """-log sigmoid(z), by hand."""
    return math.log1p(math.exp(-z))


def test_shape_one_number_that_can_be_differentiated():
    margins = torch.tensor([1.0, -2.0], requires_grad=True)
    got = train.dpo_loss(margins, torch.zeros(2), 0.1)
    hold(isinstance(got, torch.Tensor), f"the loss is a tensor; got {got!r}")
    hold(got.dim() == 0, f"the loss of all pairs is one number; its shape is {tuple(got.shape)}")
    leads_back = "the loss must lead back to the policy's margins; it does not"
    hold(got.requires_grad, leads_back)
    got.backward()
    hold(margins.grad is not None, leads_back)


def test_example_one_pair():
    # The policy prefers the good one by 3, the reference by 1: with dpo_beta 0.5 the loss is
    # -log sigmoid(1).
    check(
        "the loss of a pair with margin 3, reference 1 and dpo_beta 0.5",
        loss([3.0], [1.0], 0.5),
        cost(1.0),
        (cost(-1.0), "the reference's margin is taken from the policy's, not the other way round"),
        (cost(1.5), "the reference is left out"),
        (cost(2.0), "dpo_beta is left out"),
        (cost(2.0 / 0.5), "dpo_beta multiplies, it does not divide"),
        (cost(0.5), "dpo_beta weighs the difference of both margins, not the policy's alone"),
        (-cost(1.0), "the loss is the negative logarithm"),
        (-1 / (1 + math.exp(-1.0)), "the logarithm of the sigmoid is missing"),
    )


def test_example_a_sum_over_pairs():
    mean = (cost(1.0) + cost(-1.0)) / 2
    check(
        "the loss of two pairs",
        loss([1.0, -1.0], [0.0, 0.0]),
        cost(1.0) + cost(-1.0),
        (mean, "the loss is the sum over pairs; `fine_tune` divides by their number"),
        (cost(0.0), "each pair has a logarithm of its own"),
    )


def test_edge_at_the_reference_every_pair_costs_log_two():
    got = loss([4.0, 0.0, -7.0], [4.0, 0.0, -7.0])
    check("the loss of three pairs at the reference", got, 3 * math.log(2))


def test_edge_large_margins_stay_finite():
    got = [loss([z], [0.0]) for z in (500.0, -500.0)]
    rule = "the loss of a bad pair is finite: take the logarithm of the sigmoid at once"
    hold(math.isfinite(got[1]), rule)
    check("the losses at margins 500 and -500", got, [0.0, 500.0])


def test_property_it_is_the_cost_of_each_pair_by_hand(rng):
    for _ in range(20):
        count = rng.randint(1, 4)
        margins = [rng.uniform(-4, 4) for _ in range(count)]
        references = [rng.uniform(-4, 4) for _ in range(count)]
        dpo_beta = rng.uniform(0.05, 2)
        expected = 0.0
        for margin, reference in zip(margins, references, strict=True):
            expected += cost(dpo_beta * (margin - reference))
        what = f"the loss at margins {margins}, references {references}, dpo_beta {dpo_beta}"
        check(what, loss(margins, references, dpo_beta), expected, within=1e-4)


def test_property_a_better_margin_costs_less_and_is_pulled_less():
    margins = torch.linspace(-4, 4, 9, requires_grad=True)
    losses = [loss([z], [0.5], 0.7) for z in margins.tolist()]
    falling = losses == sorted(losses, reverse=True)
    hold(falling, "the more a good trajectory is preferred, the lower the loss")
    train.dpo_loss(margins, torch.full((9,), 0.5), 0.7).sum().backward()
    pulls = margins.grad.tolist()
    hold(all(pull < 0 for pull in pulls), "the gradient must raise every margin")
    hold(pulls == sorted(pulls), "what is wrong already is pulled hardest")
