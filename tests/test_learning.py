"""Logits where something is learned: the same loss and the same gradients as the whole logits."""

import pytest
import torch
from families import FAMILIES, family
from transformers import Gemma2Config, Gemma2ForCausalLM

from engine import UserError, learning
from engine.learning import keep_between_layers, learned_logits, learned_loss
from envs import Lab
from settings.config import Config
from train import first_actor, masked_loss
from worlds.presets import TINY


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


# --- the same in pieces


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("name", [*FAMILIES, "gemma2"])
def test_in_pieces_the_loss_and_its_gradients_are_the_same(name, size, monkeypatch):
    model = model_of(name)
    ids, labels = learned_at_random(model, 0.7)
    monkeypatch.setattr(learning, "PIECE", size * model.get_output_embeddings().weight.shape[0])
    whole = masked_loss(model(input_ids=ids).logits, labels)
    pieces = learned_loss(model, masked_loss, ids, labels)
    assert pieces.item() == pytest.approx(whole.item(), rel=1e-5)
    expected = gradients(model, 3 * whole)
    for ours, theirs in zip(gradients(model, 3 * pieces), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=3e-5)
    assert hooks_of(model) == []


def test_no_more_logits_stand_in_memory_than_a_piece_has(monkeypatch):
    """Seen is every tensor that is kept for the gradients, and every call of the loss."""
    model = capped()
    vocabulary = model.config.vocab_size
    ids, labels = learned_at_random(model, 1.0)
    monkeypatch.setattr(learning, "PIECE", 4 * vocabulary)
    rows = []

    def watched(logits, labels):
        rows.append(logits.shape[1] - 1)
        return masked_loss(logits, labels)

    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        loss = learned_loss(model, watched, ids, labels)
    count = int((labels[:, 1:] != -100).sum())
    assert rows == [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    of_logits = {shape[:-1].numel() for shape in kept if shape[-1:] == (vocabulary,)}
    assert of_logits - {model.config.hidden_size} <= {1}, "the one token that the model read"
    loss.backward()
    assert len(rows) == 2 * -(-count // 4), "each piece once more"


def test_the_loss_in_pieces_needs_no_gradients(monkeypatch):
    model = capped()
    ids, labels = learned_at_random(model, 0.7)
    monkeypatch.setattr(learning, "PIECE", 1)
    with torch.no_grad():
        loss = learned_loss(model, masked_loss, ids, labels)
        whole = masked_loss(model(input_ids=ids).logits, labels)
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)


# --- layers that are computed twice


def kept_for_gradients(model, ids, labels):
    """The loss, and how many numbers are kept for its gradients."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = learned_loss(model, masked_loss, ids, labels)
    return loss, sum(kept)


def test_layers_computed_twice_keep_less_and_give_the_same_gradients():
    model = family("llama").model.train()
    ids, labels = learned_at_random(model, 0.3)
    plain, most = kept_for_gradients(model, ids, labels)
    expected = gradients(model, plain)
    keep_between_layers(model)
    loss, least = kept_for_gradients(model, ids, labels)
    assert least < 0.4 * most
    # Two ways through transformers: some processors round them otherwise in the last place.
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    for ours, theirs in zip(gradients(model, loss), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    model.eval()
    model.activation_checkpointing_disable()


def test_a_family_that_cannot_compute_its_layers_twice_is_named(monkeypatch):
    model = capped()
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(UserError, match="--checkpointing yes: Gemma2ForCausalLM cannot"):
        keep_between_layers(model)


@pytest.mark.parametrize("said", ["no", "yes"])
def test_the_flag_decides_and_not_the_size(said):
    config = Config(**TINY | {"checkpointing": said, "width": 32, "layers": 1})
    actor = first_actor(config, {"lab": Lab})
    assert actor.model.is_activation_checkpointing == (said == "yes")
