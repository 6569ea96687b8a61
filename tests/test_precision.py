"""Computing in bfloat16: the weights are float32 and learn as if all were; a copy acts."""

import random

import pytest
import torch
import zoo
from doubles import tiny_actor
from transformers import LlamaConfig, LlamaForCausalLM

from agent_r import Actor
from engine import UserError, precision
from engine.precision import Precision, in_type
from train import Encoded, fine_tune, imitation

SIZE = len(zoo.TOKENIZER)


def small_actor(dtype):
    torch.manual_seed(0)
    config = LlamaConfig(**{**zoo.SHAPE, "num_hidden_layers": 1}, initializer_range=0.1)
    return Actor(LlamaForCausalLM(config).eval(), zoo.TOKENIZER, 8, dtype)


def sentences(count):
    """Examples that hold every token, all of them learned."""
    rng = random.Random(0)
    rows = [rng.sample(range(SIZE), SIZE) for _ in range(count)]
    return [Encoded(row, row) for row in rows]


def weights(actor):
    return torch.cat([weight.detach().flatten().clone() for weight in actor.model.parameters()])


@torch.no_grad()
def loss_of(actor, examples):
    loss, count = imitation(actor, examples)
    return loss.item() / count


def learn(actor, steps):
    """How far the loss falls on the very batches that are learned, and the share of weights moved.

    At a rate of 1e-5, which is lost in a weight that has eight bits.
    """
    examples = sentences(4)
    before, loss = weights(actor), loss_of(actor, examples)
    fine_tune(actor, iter([[examples]] * steps), steps=steps, lr=1e-5)
    moved = (weights(actor) != before).float().mean().item()
    return loss - loss_of(actor, examples), moved


def test_small_steps_are_not_lost_in_bfloat16():
    expected, _ = learn(small_actor("float32"), 200)
    fall, moved = learn(small_actor("bfloat16"), 200)
    assert expected > 0.05
    assert fall > 0.9 * expected
    assert moved > 0.95


def test_weights_gradients_and_optimizer_are_float32_and_products_are_not(monkeypatch):
    actor = small_actor("bfloat16")
    seen = set()
    step = torch.optim.AdamW.step

    def watched_step(optimizer, *arguments, **named):
        result = step(optimizer, *arguments, **named)
        for group in optimizer.param_groups:
            for weight in group["params"]:
                seen.update([("weight", weight.dtype), ("gradient", weight.grad.dtype)])
                seen.add(("average", optimizer.state[weight]["exp_avg"].dtype))
        return result

    def watch_product(_, inputs, output):
        seen.add(("product", output.dtype))

    monkeypatch.setattr(torch.optim.AdamW, "step", watched_step)
    actor.model.model.layers[0].mlp.up_proj.register_forward_hook(watch_product)
    learn(actor, 1)
    exact = {(name, torch.float32) for name in ("weight", "gradient", "average", "product")}
    assert seen == exact | {("product", torch.bfloat16)}, "the loss above is taken in float32"


def test_the_copy_that_acts_is_kept_until_weights_are_trained_and_then_made_anew():
    actor = small_actor("bfloat16")
    opening = actor.format.opening(zoo.HEARD[0])
    first = actor.start([opening]).speaker.model
    assert actor.start([opening]).speaker.model is first
    assert {weight.dtype for weight in first.parameters()} == {torch.bfloat16}
    assert not first.training
    during = []

    def objective(actor, examples):
        during.append(actor.precision._copy)
        return imitation(actor, examples)

    fine_tune(actor, iter([[sentences(2)]]), steps=1, lr=0.1, objective=objective)
    assert during == [None], "it takes no memory while training"
    second = actor.start([opening]).speaker.model
    assert second is not first
    for copied, weight in zip(second.parameters(), actor.model.parameters(), strict=True):
        assert torch.equal(copied, weight.bfloat16())


def test_in_float32_the_model_itself_acts_and_nothing_is_cast():
    actor = small_actor("float32")
    assert actor.start([[1, 2]]).speaker.model is actor.model
    with actor.precision.training(actor.model):
        assert not torch.is_autocast_enabled("cpu")


def test_a_copy_ties_what_is_tied_and_keeps_positions_exact():
    model = tiny_actor().model  # its head is its embedding
    model._keep_in_fp32_modules_strict = {"mlp.up_proj"}
    copied = in_type(model, torch.bfloat16)
    assert copied.get_output_embeddings().weight is copied.get_input_embeddings().weight
    assert copied.model.rotary_emb.inv_freq.dtype == torch.float32
    exact = {name for name, weight in copied.named_parameters() if weight.dtype == torch.float32}
    assert exact == {f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1)}
    assert copied.model.embed_tokens.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


def test_a_model_that_cannot_compute_in_the_type_is_told():
    """XGLM adds positions in float32 to words in bfloat16, which torch does not normalise."""
    (family,) = [family for family in zoo.FAMILIES if family.kind == "xglm"]
    model = zoo.make(family)
    Precision("float32").check(model)
    with pytest.raises(UserError, match="--dtype bfloat16: XGLMForCausalLM cannot compute"):
        Precision("bfloat16").check(model)
    Precision("bfloat16").check(tiny_actor().model)


@pytest.mark.parametrize(("times", "said"), [(17.2, "17 times as long"), (1.9, "")])
def test_a_type_that_the_processor_has_no_instructions_for_is_called_slow(
    monkeypatch, capsys, times, said
):
    took = {torch.float32: 0.01, torch.bfloat16: 0.01 * times}
    monkeypatch.setattr(precision, "seconds_of_a_product", took.__getitem__)
    Precision("bfloat16").check(tiny_actor().model)
    told = capsys.readouterr().err
    assert said in told
    assert bool(told) == bool(said)
    Precision("float32").check(tiny_actor().model)
    assert capsys.readouterr().err == "", "float32 is what it is compared with"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_product_takes_is_measured_in_each_type(monkeypatch, dtype):
    ticks = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])  # from one to the next 5, 2 and 3
    monkeypatch.setattr(precision.time, "perf_counter", ticks.__next__)
    assert precision.seconds_of_a_product(dtype) == 2.0
