"""Logits where something is learned: the same loss and the same gradients as the whole logits."""

import pytest
import torch
from families import FAMILIES, family
from transformers import Gemma2Config, Gemma2ForCausalLM

from engine.learning import learned_logits
from train import masked_loss


def capped():
    """A small random model that bends its logits behind the head, as Gemma 2 does."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
        final_logit_softcapping=2.0,
        attn_implementation="eager",
    )
    return Gemma2ForCausalLM(config).eval()


def model_of(name):
    return capped() if name == "gemma2" else family(name).model


def learned_at_random(model, share):
    """Three rows of tokens, the last two padded on the right, and labels for some of them."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(model.config.vocab_size, (3, 9), generator=generator)
    labels = ids.masked_fill(torch.rand(3, 9, generator=generator) >= share, -100)
    labels[1, 6:] = -100
    labels[2, 4:] = -100
    return ids, labels


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def hooks_of(model):
    return list(model.get_output_embeddings()._forward_pre_hooks)


@pytest.mark.parametrize("share", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("name", [*FAMILIES, "gemma2"])
def test_the_loss_and_its_gradients_are_those_of_the_whole_logits(name, share):
    model = model_of(name)
    ids, labels = learned_at_random(model, share)
    assert (labels[:, 1:] != -100).any()
    whole = masked_loss(model(input_ids=ids).logits, labels)
    narrow = masked_loss(*learned_logits(model, ids, labels))
    assert narrow.item() == pytest.approx(whole.item(), rel=1e-5)
    expected = gradients(model, whole)
    for ours, theirs in zip(gradients(model, narrow), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_softcap_of_the_model_above_is_felt():
    model = capped()
    ids, labels = learned_at_random(model, 0.7)
    with_cap = masked_loss(*learned_logits(model, ids, labels))
    model.config.final_logit_softcapping = None
    assert abs(masked_loss(*learned_logits(model, ids, labels)) - with_cap) > 0.1


def test_logits_are_returned_as_one_row_in_which_a_position_predicts_the_next():
    model = capped()
    ids, labels = learned_at_random(model, 0.7)
    logits, row = learned_logits(model, ids, labels)
    predicted = (labels[:, 1:] != -100).nonzero().tolist()  # position t - 1 predicts token t
    assert logits.shape == (1, len(predicted) + 1, model.config.vocab_size)
    assert row.shape == (1, len(predicted) + 1)
    assert row[0, 0] == -100
    whole = model(input_ids=ids).logits
    for place, (line, position) in enumerate(predicted):
        assert row[0, place + 1] == labels[line, position + 1]
        torch.testing.assert_close(logits[0, place], whole[line, position])


def test_where_nothing_is_learned_the_loss_is_nothing_and_moves_nothing():
    model = capped()
    ids, _ = learned_at_random(model, 1.0)
    labels = torch.full_like(ids, -100)
    labels[:, 0] = ids[:, 0]  # the first token is predicted by nobody
    loss = torch.as_tensor(masked_loss(*learned_logits(model, ids, labels)))
    assert loss.item() == 0.0
    if loss.requires_grad:
        assert not any(gradient.any() for gradient in gradients(model, loss))


@pytest.mark.parametrize("name", [*FAMILIES, "gemma2"])
def test_the_model_is_left_as_it_was(name):
    model = model_of(name)
    ids, labels = learned_at_random(model, 0.7)
    before = model(input_ids=ids).logits
    learned_logits(model, ids, labels)
    assert hooks_of(model) == []
    assert torch.equal(model(input_ids=ids).logits, before)


def test_no_hook_is_left_behind_when_the_model_raises():
    model = capped()
    ids, labels = learned_at_random(model, 0.7)
    before = model(input_ids=ids).logits
    unknown = torch.full_like(ids, model.config.vocab_size)
    with pytest.raises(IndexError):
        learned_logits(model, unknown, labels)
    assert hooks_of(model) == []
    assert torch.equal(model(input_ids=ids).logits, before)
