"""A Llama's forward pass written out: transformers' own numbers and gradients, with less work."""

import pytest
import torch
from families import family
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from engine import llama
from engine.dialogues import RoomyLayer
from engine.learning import keep_between_layers, learned_logits, learned_loss
from engine.precision import Precision
from train import masked_loss

SHAPES = {
    "heads share keys": {"num_key_value_heads": 2},
    "one head's keys for all": {"num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True},
    "each head has keys": {"num_key_value_heads": 4, "num_hidden_layers": 1},
    "tied, far positions scaled": {
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1e3, "factor": 4.0},
    },
    "wide heads": {"head_dim": 24, "hidden_act": "gelu"},
}


def small_llama(**shape):
    """A random Llama none of whose weights is as it begins: norms and biases are drawn too."""
    torch.manual_seed(0)
    fixed = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48}
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64}
    model = LlamaForCausalLM(LlamaConfig(**{**fixed, **sizes, **shape}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model.train()


def drawn_tokens(rows, length, share):
    """Token ids, and which of them are wanted: many, few and none in a row."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(40, (rows, length), generator=generator)
    wanted = torch.rand(rows, length, generator=generator) < share
    wanted[1, 2:] = False
    wanted[2] = False
    return ids, wanted


def theirs(model, ids, wanted):
    """What transformers computes at every token, taken at the wanted ones."""
    return model.model(input_ids=ids).last_hidden_state[wanted]


def gradients(model, numbers):
    """The gradients of a sum in which every number counts otherwise."""
    model.zero_grad()
    counts = torch.linspace(-1, 1, numbers.numel()).view_as(numbers)
    (numbers * counts).sum().backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_numbers_and_gradients_are_those_of_transformers(shape, share):
    model = small_llama(**shape)
    assert llama.is_plain(model)
    ids, wanted = drawn_tokens(5, 11, share)
    ours = llama.hidden_where(model, ids, wanted)
    expected = theirs(model, ids, wanted)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    of_theirs = gradients(model, expected)
    for name, gradient in gradients(model, ours).items():
        if of_theirs[name] is None:
            assert name.startswith("lm_head"), name
            continue
        limit = 1e-4 * of_theirs[name].abs().max().item()
        torch.testing.assert_close(gradient, of_theirs[name], rtol=1e-3, atol=limit, msg=name)


def test_in_bfloat16_it_is_as_near_to_float32_as_transformers_is():
    model = small_llama()
    ids, wanted = drawn_tokens(5, 11, 0.5)
    exact = theirs(model, ids, wanted)
    with torch.autocast("cpu", torch.bfloat16):
        ours = llama.hidden_where(model, ids, wanted)
        as_usual = theirs(model, ids, wanted)
    assert ours.dtype == as_usual.dtype
    assert (ours - exact).norm() < 1.5 * (as_usual - exact).norm()
    expected = gradients(model, exact)
    for name, gradient in gradients(model, ours).items():
        if gradient is not None:
            assert (gradient - expected[name]).norm() < 0.1 * expected[name].norm(), name


@pytest.mark.parametrize("operation", ["norm", "rotary embedding"])
def test_gradients_written_by_hand_are_those_of_finite_differences(operation):
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(2, 3, 5, 6, generator=generator, dtype=torch.double, requires_grad=True)
    if operation == "norm":
        weight = torch.rand(6, generator=generator, dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda *of: llama.Normal.apply(*of, 1e-2), (vectors, weight)
        )
    else:
        angles = torch.rand(1, 1, 5, 3, generator=generator, dtype=torch.double).repeat(1, 1, 1, 2)
        turns = (1.5 * angles.cos(), 1.5 * angles.sin())
        assert torch.autograd.gradcheck(lambda of: llama.Turned.apply(of, *turns), vectors)


def test_the_last_layer_answers_where_something_is_wanted_alone():
    model = small_llama()
    ids, wanted = drawn_tokens(5, 11, 0.3)
    seen = {}
    for number, layer in enumerate(model.model.layers):
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj"):

            def watch(_, given, key=(number, name)):
                seen[key] = given[0].shape[:2]

            layer.get_submodule(name).register_forward_pre_hook(watch)
    llama.hidden_where(model, ids, wanted)
    most = int(wanted.sum(1).max())
    assert most < 11
    for (number, name), shape in seen.items():
        keys = name == "self_attn.k_proj"
        assert shape == ((5, most) if number == 2 and not keys else (5, 11)), (number, name)
    assert len(seen) == 12


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_last_tokens_of_rows_that_are_read_in_turns_are_those_of_transformers(shape):
    """Three pieces, padded on the left, on one cache; the last says two tokens for each row."""
    model = small_llama(**shape).eval()
    generator = torch.Generator().manual_seed(2)
    cache = DynamicCache()
    mask = torch.zeros(4, 0, dtype=torch.long)
    pieces = []
    for width, asked in ((5, 1), (1, 1), (4, 2)):
        pieces.append(torch.randint(40, (4, width), generator=generator))
        new = torch.ones(4, width, dtype=torch.long)
        new[1, : width - asked] = 0
        positions = (mask.sum(1, keepdim=True) + new.cumsum(1) - 1).clamp(min=0)
        mask = torch.cat([mask, new], dim=1)
        before = torch.ones(width, mask.shape[1], dtype=torch.bool).tril(mask.shape[1] - width)
        with torch.inference_mode():
            seen = mask.bool()[:, None] & before
            ours = llama.hidden_last(model, pieces[-1], positions, seen, cache, asked=asked)
        whole = torch.cat(pieces, dim=1)
        for row in range(4):
            ids = whole[row][mask[row].bool()][None]
            with torch.inference_mode():
                expected = model.model(input_ids=ids).last_hidden_state[0, -asked:]
            torch.testing.assert_close(ours[row], expected, rtol=1e-4, atol=1e-4)


def test_where_nothing_is_wanted_nothing_is_returned_and_nothing_moves():
    model = small_llama()
    ids, wanted = drawn_tokens(5, 11, 0.5)
    hidden = llama.hidden_where(model, ids, torch.zeros_like(wanted))
    assert hidden.shape == (0, 32)
    moved = [each for each in gradients(model, hidden).values() if each is not None]
    assert not any(each.any() for each in moved)


def test_no_token_sees_what_stands_behind_it():
    model = small_llama()
    ids, wanted = drawn_tokens(5, 11, 0.5)
    wanted[:, 6:] = False
    before = llama.hidden_where(model, ids, wanted)
    ids[:, 6:] = (ids[:, 6:] + 1) % 40
    assert torch.equal(llama.hidden_where(model, ids, wanted), before)


class Derived(LlamaForCausalLM):
    """A Llama that does more than a Llama."""


def test_what_may_do_more_than_a_llama_is_left_to_transformers(monkeypatch):
    dropping = small_llama(attention_dropout=0.1)
    twice = small_llama()
    keep_between_layers(twice)
    derived = Derived(small_llama().config)
    for model in (family("qwen2").model, dropping, twice, derived):
        assert not llama.is_plain(model)
    monkeypatch.setattr(llama, "hidden_where", None)
    ids, wanted = drawn_tokens(5, 11, 0.3)
    learned_logits(derived, ids, ids.masked_fill(~wanted, -100))


def test_the_loss_of_a_plain_llama_goes_this_way(monkeypatch):
    model = small_llama()
    ids, wanted = drawn_tokens(5, 11, 0.3)
    labels = ids.masked_fill(~wanted, -100)
    expected = masked_loss(model(input_ids=ids).logits, labels)
    calls = []
    hidden_where = llama.hidden_where
    monkeypatch.setattr(llama, "hidden_where", lambda *of: calls.append(1) or hidden_where(*of))
    assert learned_loss(model, masked_loss, ids, labels).item() == pytest.approx(expected.item())
    monkeypatch.setattr("engine.learning.PIECE", 1)
    assert learned_loss(model, masked_loss, ids, labels).item() == pytest.approx(expected.item())
    assert len(calls) == 2


def roomy(shape, *, seed):
    """Keys or values of a cache in bfloat16, behind which there is room with other things."""
    rows, heads, columns, size = shape
    generator = torch.Generator().manual_seed(seed)
    room = torch.randn(rows, heads, columns + 5, size, generator=generator).bfloat16()
    return room[:, :, :columns]


@pytest.mark.parametrize("asked", [1, 3])
def test_few_places_read_plainly_what_torch_s_own_attention_reads(asked):
    """Nine heads, three of keys."""
    generator = torch.Generator().manual_seed(asked)
    query = torch.randn(4, 9, asked, 8, generator=generator).bfloat16()
    key, value = roomy((4, 3, 20, 8), seed=1), roomy((4, 3, 20, 8), seed=2)
    seen = torch.rand(4, 1, asked, 20, generator=generator) < 0.5
    seen[:, :, :, -1] = True
    assert llama.reads_faster_plainly(query, key)
    plain = llama.attend_plainly(query, key, value, seen, 0.3)
    torch.testing.assert_close(
        plain, llama.attend(query, key, value, seen, 0.3), rtol=0.03, atol=0.03
    )


def test_a_place_that_sees_nothing_hears_numbers():
    query = torch.ones(2, 2, 1, 8).bfloat16()
    key = roomy((2, 2, 5, 8), seed=1)
    nothing = torch.zeros(2, 1, 1, 5, dtype=torch.bool)
    assert llama.attend_plainly(query, key, key, nothing, 1.0).isfinite().all()


@pytest.mark.parametrize("shape", [{"num_key_value_heads": 1}, {}], ids=["shared keys", "own keys"])
def test_without_a_cache_keys_are_not_read_plainly(shape):
    """They lie otherwise there, with no room behind them."""
    model = small_llama(**shape)
    ids, wanted = drawn_tokens(5, 11, 0.2)
    exact = llama.hidden_where(model, ids, wanted)
    rounded = llama.hidden_where(model.bfloat16(), ids, wanted)
    assert float((rounded - exact).abs().mean()) < 0.05


def test_a_cache_is_read_plainly_in_bfloat16_alone(monkeypatch):
    plainly = []
    attend_plainly = llama.attend_plainly

    def watch(*given):
        plainly.append(given[0].dtype)
        return attend_plainly(*given)

    monkeypatch.setattr(llama, "attend_plainly", watch)
    for dtype in ("float32", "bfloat16"):
        actor = family("llama")
        actor.precision = Precision(dtype)
        actor.start([[5, 6, 7], [8, 9]]).replies(limit=3)
    assert set(plainly) == {torch.bfloat16}


def test_the_room_of_a_cache_holds_numbers():
    """It is read, though no one sees it, and nothing times what is no number is no number."""
    layer = RoomyLayer()
    for new in (3, 40, 1):
        layer.update(*torch.ones(2, 2, 1, new, 4))
        assert all(room.isfinite().all() for room in layer.room)
        assert layer.room[0].shape[2] > layer.keys.shape[2]
