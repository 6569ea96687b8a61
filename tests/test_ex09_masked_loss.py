"""Exercise 9, `train.masked_loss`: the cross-entropy of the next token where something is learned (paper, Phase II).

The logits at position t - 1 predict token t, so its label is `labels[:, t]`.  The model here says what a table holds.
"""

import math
import types

import pytest
import torch
from handmade import check, hold

import train

pytestmark = pytest.mark.ex9

NOT = -100
HALF, QUARTER, EIGHTH = math.log(2), math.log(4), math.log(8)  # what a token of this probability costs


class Says(torch.nn.Module):
    """A model that gives each next token the probabilities of a table, whatever it reads: [rows, length, words]."""

    def __init__(self, probabilities):
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor(probabilities).log())
        self.head = torch.nn.Identity()

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids=None, **_):
        return types.SimpleNamespace(logits=self.head(self.table))


# After token 0 come words 0, 1, 2, 3 with these probabilities, and so on.
ROW = [
    [0.125, 0.5, 0.25, 0.125],
    [0.125, 0.125, 0.25, 0.5],
    [0.25, 0.125, 0.125, 0.5],
    [0.5, 0.25, 0.125, 0.125],
]


def loss(labels, table=None, ids=None):
    labels = torch.tensor(labels)
    model = Says(table or [ROW] * len(labels))
    return model, train.masked_loss(model, torch.tensor(ids) if ids else labels.clamp(min=0), labels)


def test_shape_one_number_that_can_be_differentiated():
    _, got = loss([[NOT, 1, 2, 3]])
    hold(isinstance(got, torch.Tensor), f"the loss is a tensor; got {got!r}")
    hold(got.dim() == 0, f"the loss is one number; its shape is {tuple(got.shape)}")
    hold(got.requires_grad, "the loss must lead back to the model's weights; it has no gradient")


def test_example_three_learned_tokens():
    # Word 1 is told by position 0 with 0.5, word 2 by position 1 with 0.25, word 0 by position 2 with 0.25.
    check(
        "the loss of labels [-100, 1, 2, 0]: ln 2 + ln 4 + ln 4",
        round(loss([[NOT, 1, 2, 0]])[1].item(), 4),
        round(HALF + QUARTER + QUARTER, 4),
        (round(EIGHTH + EIGHTH + HALF, 4), "the labels are not shifted: position t - 1 predicts token t"),
        (
            round((HALF + QUARTER + QUARTER) / 3, 4),
            "the loss is the sum over tokens; `fine_tune` divides by their number",
        ),
        (round(EIGHTH + EIGHTH, 4), "shifted the wrong way: position t - 1 predicts token t, not t - 2"),
        (round(-HALF - QUARTER - QUARTER, 4), "the sign: cross-entropy is -ln p, and falls as the model learns"),
        (round(-0.5 - 0.25 - 0.25, 4), "the logarithm is missing: cross-entropy is -ln p"),
    )


def test_example_a_bad_action_in_the_context_costs_nothing():
    # Token 1 is a bad action; only token 3 is learned, told by position 2 with 0.5.
    check(
        "the loss of labels [-100, -100, -100, 3] on ids [0, 2, 1, 3]",
        round(loss([[NOT, NOT, NOT, 3]], ids=[[0, 2, 1, 3]])[1].item(), 4),
        round(HALF, 4),
        (round(QUARTER + EIGHTH + HALF, 4), "all tokens were learned: only those whose label is not -100 count"),
        (round((QUARTER + EIGHTH + HALF) / 3, 4), "all tokens were learned: only those whose label is not -100 count"),
        (round(EIGHTH, 4), "the labels are not shifted: position t - 1 predicts token t"),
    )


def test_edge_nothing_to_learn_costs_nothing():
    model, got = loss([[NOT] * 4, [NOT] * 4])
    check(
        "the loss where every label is -100", got.item(), 0.0, (got.item(), "a mean over no token is not a number; sum")
    )
    got.backward()
    grad = model.table.grad
    hold(grad is None or not grad.abs().sum(), "where nothing is learned, nothing moves; the gradient is not zero")


def test_edge_nobody_predicts_the_first_token():
    check(
        "the loss of labels [2, -100, -100, -100]: no position stands before it",
        loss([[2, NOT, NOT, NOT]])[1].item(),
        0.0,
    )


def test_edge_rows_add_up_and_padding_costs_nothing():
    check(
        "the loss of the rows [-100, 1, 2, 0] and [-100, 1, -100 (padding), -100 (padding)]",
        round(loss([[NOT, 1, 2, 0], [NOT, 1, NOT, NOT]])[1].item(), 4),
        round(3 * HALF + 2 * QUARTER - HALF, 4),
        (round((2 * HALF + 2 * QUARTER) / 4, 4), "rows and tokens are summed, not averaged"),
        (round((2 * HALF + 2 * QUARTER) / 2, 4), "rows are summed, not averaged"),
    )


def test_property_only_the_positions_before_a_learned_token_move():
    for labels in (
        [[NOT, 1, NOT, 3]],
        [[NOT, NOT, 2, 3]],
        [[1, 1, NOT, NOT]],
        [[NOT, 1, NOT, NOT], [NOT, NOT, NOT, 2]],
    ):
        model, got = loss(labels)
        got.backward()
        moved = [(row, t) for row, t in (model.table.grad.abs().sum(-1) > 1e-9).nonzero().tolist()]
        expected = [(row, t - 1) for row, line in enumerate(labels) for t in range(1, 4) if line[t] != NOT]
        cause = "these are the learned tokens' own positions; the ones before predict them"
        own = [(row, t) for row, line in enumerate(labels) for t in range(4) if line[t] != NOT]
        check(f"the (row, position) pairs that labels {labels} move", moved, expected, (own, cause))


def test_property_a_real_model_is_asked_as_it_is_and_left_as_it_was():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=9, bos_token_id=None, eos_token_id=None, **sizes))
    ids = torch.randint(9, (3, 7))
    labels = torch.where(torch.rand(3, 7) < 0.5, ids, NOT)
    chances = model(input_ids=ids).logits.log_softmax(-1)
    pairs = [(row, t) for row in range(3) for t in range(1, 7) if labels[row, t] != NOT]
    expected = -sum(chances[row, t - 1, labels[row, t]].item() for row, t in pairs)
    check("the loss, token by token", round(train.masked_loss(model, ids, labels).item(), 3), round(expected, 3))
    check("the shape of the logits afterwards", tuple(model(input_ids=ids).logits.shape), (3, 7, 9))
