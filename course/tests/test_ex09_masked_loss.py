"""Exercise 9, `train.masked_loss`: the cross-entropy of learned tokens, summed (paper, Phase II).

The logits at position t - 1 predict token t, so its label is `labels[:, t]`.
"""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import train
from course import handmade
from course.handmade import hold
from engine.learning import learned_logits

pytestmark = pytest.mark.ex9

NOT = -100
# What a token of this probability costs.
HALF = math.log(2)
QUARTER = math.log(4)
EIGHTH = math.log(8)

# After token 0 come words 0, 1, 2, 3 with these probabilities, and so on.
ROW = [
    [0.125, 0.5, 0.25, 0.125],
    [0.125, 0.125, 0.25, 0.5],
    [0.25, 0.125, 0.125, 0.5],
    [0.5, 0.25, 0.125, 0.125],
]


def logits_for(labels):
    """Logits of those probabilities in every row, [rows, 4, 4], as a model would give them."""
    return torch.tensor([ROW] * len(labels)).log().requires_grad_()


def loss(*labels):
    """The loss of rows of labels."""
    given = torch.tensor(labels)
    got = torch.as_tensor(train.masked_loss(logits_for(labels), given))
    hold(got.dim() == 0, f"the loss is one number; its shape is {tuple(got.shape)}")
    hold(given.tolist() == list(labels), f"the labels are used again: they became {given.tolist()}")
    return got.item()


def check(what, got, expected, *causes):
    """As in handmade.py, to four digits: in whatever order one adds up is right."""
    __tracebackhide__ = True
    handmade.check(what, got, expected, *causes, within=1e-4)


def test_shape_one_number_that_can_be_differentiated():
    labels = [[NOT, 1, 2, 3]]
    got = train.masked_loss(logits_for(labels), torch.tensor(labels))
    hold(isinstance(got, torch.Tensor), f"the loss is a tensor; got {got!r}")
    hold(got.dim() == 0, f"the loss is one number; its shape is {tuple(got.shape)}")
    hold(got.requires_grad, "the loss must lead back to the model's weights; it has no gradient")


def test_example_three_learned_tokens():
    # Position 0 gives word 1 a chance of 0.5, position 1 word 2 0.25, position 2 word 0 0.25.
    check(
        "the loss of labels [-100, 1, 2, 0]: ln 2 + ln 4 + ln 4",
        loss([NOT, 1, 2, 0]),
        HALF + QUARTER + QUARTER,
        (
            EIGHTH + EIGHTH + HALF,
            "the labels are not shifted: position t - 1 predicts token t",
        ),
        (
            (HALF + QUARTER + QUARTER) / 3,
            "the loss is the sum over tokens; `fine_tune` divides by their number",
        ),
        (
            EIGHTH + EIGHTH,
            "shifted the wrong way: position t - 1 predicts token t, not t - 2",
        ),
        (
            -HALF - QUARTER - QUARTER,
            "the sign: cross-entropy is -ln p, and falls as the model learns",
        ),
        (-0.5 - 0.25 - 0.25, "the logarithm is missing: cross-entropy is -ln p"),
        (HALF + QUARTER, "0 is a word as any other; only -100 stands for none"),
        (3.9454, "logits become probabilities once: the softmax was taken twice"),
    )


def test_example_a_bad_action_in_the_context_costs_nothing():
    # Only token 3 is learned, to which position 2 gives a chance of 0.5.
    cause = "tokens were learned whose label is -100; those are context and cost nothing"
    check(
        "the loss of labels [-100, -100, -100, 3]",
        loss([NOT, NOT, NOT, 3]),
        HALF,
        (EIGHTH + EIGHTH + HALF, cause),
        ((EIGHTH + EIGHTH + HALF) / 3, cause),
        (EIGHTH, "the labels are not shifted: position t - 1 predicts token t"),
    )


def test_edge_nothing_to_learn_costs_nothing():
    labels = [[NOT] * 4, [NOT] * 4]
    logits = logits_for(labels)
    got = torch.as_tensor(train.masked_loss(logits, torch.tensor(labels)))
    cause = "a mean over no token is not a number; sum"
    check("the loss where every label is -100", got.item(), 0.0, (got.item(), cause))
    if got.requires_grad:
        got.backward()
    moves = logits.grad is not None and bool(logits.grad.abs().sum())
    hold(not moves, "where nothing is learned, nothing moves; the gradient is not zero")


def test_edge_a_token_that_was_thought_impossible_costs_much_and_not_infinitely_much():
    logits = torch.tensor([[[0.0, 300.0], [0.0, 0.0]]])
    got = train.masked_loss(logits, torch.tensor([[NOT, 0]])).item()
    cause = "take the logarithm of the softmax at once: by itself a small probability becomes 0"
    check("the loss of a token of probability exp(-300)", got, 300.0, (math.inf, cause))


def test_edge_nobody_predicts_the_first_token():
    what = "the loss of labels [2, -100, -100, -100]: no position stands before it"
    check(what, loss([2, NOT, NOT, NOT]), 0.0)


def test_edge_no_row_predicts_the_next_one():
    cause = "each row is shifted by itself: the last position of a row predicts nothing"
    check(
        "the loss of the rows [-100, -100, -100, -100] and [1, -100, -100, -100]",
        loss([NOT, NOT, NOT, NOT], [1, NOT, NOT, NOT]),
        0.0,
        (QUARTER, cause),
    )


def test_edge_rows_add_up_and_padding_costs_nothing():
    both = 2 * HALF + 2 * QUARTER
    check(
        "the loss of the rows [-100, 1, 2, 0] and [-100, 1, -100 (padding), -100 (padding)]",
        loss([NOT, 1, 2, 0], [NOT, 1, NOT, NOT]),
        both,
        (both / 4, "rows and tokens are summed, not averaged"),
        (both / 2, "rows are summed, not averaged"),
    )


@pytest.mark.parametrize(
    "labels",
    [
        [[NOT, 1, NOT, 3]],
        [[NOT, NOT, 2, 3]],
        [[1, 1, NOT, NOT]],
        [[NOT, 1, NOT, NOT], [NOT, NOT, NOT, 2]],
    ],
)
def test_property_only_the_positions_before_a_learned_token_move(labels):
    logits = logits_for(labels)
    got = train.masked_loss(logits, torch.tensor(labels))
    hold(got.requires_grad, "the loss must lead back to the model's weights; it has no gradient")
    got.backward()
    moved = (logits.grad.abs().sum(-1) > 1e-9).nonzero().tolist()
    before = []
    own = []
    for row, line in enumerate(labels):
        for t, label in enumerate(line):
            if label != NOT:
                own.append([row, t])
            if label != NOT and t > 0:
                before.append([row, t - 1])
    cause = "these are the learned tokens' own positions; the ones before predict them"
    check(f"the (row, position) pairs that labels {labels} move", moved, before, (own, cause))


def test_property_it_is_the_loss_of_a_real_model_token_by_token_and_of_its_learned_logits_alone(
    rng,
):
    torch.manual_seed(rng.randrange(2**32))
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=9, num_attention_heads=1, bos_token_id=None, eos_token_id=None, **sizes
    )
    model = LlamaForCausalLM(config)
    ids = torch.randint(9, (3, 7))
    labels = torch.where(torch.rand(3, 7) < 0.5, ids, NOT)
    logits = model(input_ids=ids).logits
    chances = logits.log_softmax(-1)
    expected = 0.0
    for row in range(3):
        for t in range(1, 7):
            if labels[row, t] != NOT:
                expected -= chances[row, t - 1, labels[row, t]].item()
    whole = train.masked_loss(logits, labels).item()
    check("the loss of a model's logits, token by token", whole, expected)
    part = train.masked_loss(*learned_logits(model, ids, labels)).item()
    what = "the loss of the logits at learned tokens alone, which is what training computes"
    check(what, part, expected)
