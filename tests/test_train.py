"""The training: the masked loss, the mix of a batch, the warm-up, and the loop at its smallest."""

import dataclasses
import itertools
import json
import math
import random
import re
import shlex
from collections import Counter

import pytest
import torch
import transformers
from doubles import episode, first_bad, lesson_of, read_lines, tiny_actor
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer

import agent_r
import critique
import train
from agent_r import REVISE, REVISE_ANSWER, Actor, Episode, Step, Trajectory
from engine import UserError
from engine.command_line import flag
from engine.dialogues import GREEDY, Dialogues
from engine.learning import learned_logits
from engine.table import average
from envs import Lab, World, first_error, make_world
from general.lessons import demonstration, judged_episode, stray_action
from train import (
    Config,
    Encoded,
    Mix,
    Source,
    check,
    derive,
    draw,
    draw_batches,
    encode,
    encode_record,
    fine_tune,
    imitation,
    masked_loss,
    pad,
)

# The fields that every row of `results.jsonl` has.
PROMISED = set(
    shlex.split(
        "method iteration env split seed tasks score success recovery loops revision_length "
        "first_error_exact first_error_within_1 false_alarms executable_share counts "
        "first_error_exact_used judged_pairs "
        "trained_tokens seconds eta learned_general learned_revision learned_good"
    )
)


class Doors(World):
    """Four doors, of which one opens: only the task's name says which, so most agents err first."""

    name = "doors"
    step_limit = 4
    COLOURS = ("red", "blue", "green", "white")
    words = (
        " ".join(COLOURS) + " open a door. four doors. it opens. it stays shut. nothing happens."
    )

    def tasks(self, split):
        return [f"{colour}-{split}-{number}" for number in range(15) for colour in self.COLOURS]

    def begin(self, task):
        self.right = task.split("-")[0]
        return "open a door.", "four doors."

    def act(self, action):
        if action == f"open {self.right}":
            self.done, self.score = True, 1.0
            return "it opens."
        return "it stays shut." if action in self.choices() else "nothing happens."

    def expert(self):
        return [] if self.done else [f"open {self.right}"]

    def choices(self):
        return [f"open {colour}" for colour in self.COLOURS]


class ShortLab(Lab):
    """The lab with so few steps that a model which only babbles is soon through."""

    step_limit = 3


def tiny(*worlds, **changes):
    """The untrained tiny actor of a run on these worlds."""
    config = Config(**{"width": 16, "layers": 1, **changes})
    makers = {name: make_world(name) for name in worlds or ("lab",)}
    return train.make_tiny_actor(config, makers, "cpu")


def dialogue(*turns):
    """Messages from texts, the user's first; an assistant's is learned unless it begins with -."""
    messages = []
    for index, text in enumerate(turns):
        if index % 2:
            said = text.removeprefix("-")
            messages.append({"role": "assistant", "content": said, "loss": said == text})
        else:
            messages.append({"role": "user", "content": text})
    return messages


def encode_all(actor, *dialogues):
    """The examples of some dialogues, all of which fit."""
    return [encode(actor, messages) for messages in dialogues]


def weights(actor):
    """All weights of an actor, in one row."""
    return torch.cat([p.detach().flatten() for p in actor.model.parameters()])


def gradient(actor):
    """The gradients of all weights, in one row."""
    return torch.cat([p.grad.flatten() for p in actor.model.parameters()])


class BareRun(train.Run):
    """A run of an actor that is there already: no warm-up data, no exams, and no files so far."""

    def __init__(self, config, actor, worlds=None, out=None):
        self.config = config
        self.actor = actor
        self.worlds = worlds or {}
        self.out = out
        self.data_figures = {}
        self.judged = {}


REVISED = dialogue(
    "the lamp is upstairs.\nhall: nothing, no lamp.",
    "-Action: go kitchen",
    "kitchen: cup, no lamp.",
    "-Action: take lamp",
    "that is not here.",
    "Thought: that was wrong.\nAction: revise",
    "ok.",
    "Action: go hall",
)
TAKE_CUP = dialogue("hall: cup.", "Action: take cup")


# --- the masked loss


def test_masked_loss_is_the_sum_over_learned_tokens_one_by_one():
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(30):
        rows, length, words = rng.randint(1, 4), rng.randint(2, 9), rng.randint(2, 12)
        logits = 3 * torch.randn(rows, length, words)
        labels = torch.full((rows, length), -100)
        for row, t in itertools.product(range(rows), range(length)):
            labels[row, t] = rng.choice((-100, rng.randrange(words)))
        expected = 0.0
        for row in range(rows):
            for t in range(1, length):  # the logits at t - 1 predict token t; nothing the first
                if labels[row, t] != -100:
                    scores = [math.exp(x) for x in logits[row, t - 1].tolist()]
                    expected -= math.log(scores[labels[row, t]] / sum(scores))
        got = masked_loss(logits, labels).item()
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-4), f"labels {labels}"


def test_the_last_layer_is_computed_for_learned_tokens_alone_and_the_model_is_left_as_it_was():
    actor = tiny()
    seen = []
    head = actor.model.get_output_embeddings()
    watch = head.register_forward_hook(lambda _, given, out: seen.append(given[0].shape))
    examples = encode_all(actor, REVISED, REVISED[:6])
    ids, labels = pad(examples, actor.device)
    imitation(actor, examples)
    watch.remove()
    assert seen == [((labels[:, 1:] != -100).sum(), 16)]
    assert actor.model(input_ids=ids).logits.shape == (*ids.shape, len(actor.tokenizer))


def test_the_logits_of_learned_tokens_alone_give_the_loss_and_the_gradient_of_all():
    actor = tiny()
    ids, labels = pad(encode_all(actor, REVISED, REVISED[:6], TAKE_CUP), actor.device)
    whole = masked_loss(actor.model(input_ids=ids).logits, labels)
    whole.backward()
    expected = gradient(actor)
    actor.model.zero_grad()
    logits, narrow_labels = learned_logits(actor.model, ids, labels)
    assert logits.shape[:2] == narrow_labels.shape == (1, (labels[:, 1:] != -100).sum() + 1)
    loss = masked_loss(logits, narrow_labels)
    loss.backward()
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    assert torch.allclose(gradient(actor), expected, rtol=1e-3, atol=1e-5)


def test_a_model_that_fails_is_left_as_it_was():
    actor = tiny()
    ids, labels = pad(encode_all(actor, REVISED), actor.device)
    with pytest.raises(IndexError):
        learned_logits(actor.model, ids + 10**6, labels)
    assert actor.model(input_ids=ids).logits.shape == (*ids.shape, len(actor.tokenizer))


def test_nothing_is_learned_where_no_label_is():
    logits = torch.randn(2, 5, 7, requires_grad=True)
    labels = torch.full((2, 5), -100)
    labels[:, 0] = 3  # the first token of a dialogue is nobody's prediction
    loss = masked_loss(logits, labels)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().sum() == 0.0


def test_the_loss_of_half_precision_logits_is_computed_in_full_precision():
    logits = (5 * torch.randn(2, 6, 50)).bfloat16()
    labels = torch.randint(50, (2, 6))
    loss = masked_loss(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == masked_loss(logits.float(), labels).item()


def test_only_revision_turn_and_good_suffix_move_the_weights():
    actor = tiny()
    ids, labels = pad(encode_all(actor, REVISED), actor.device)
    logits = actor.model(input_ids=ids).logits.detach().requires_grad_()
    masked_loss(logits, labels).backward()
    moved = logits.grad[0].abs().sum(-1) > 0  # [length]: position t predicts token t + 1
    learned = [int(ids[0, t + 1]) for t in range(ids.shape[1] - 1) if moved[t]]
    tokens = actor.tokenizer.convert_ids_to_tokens(learned)
    suffix = "Thought: that was wrong . Action: revise <end> Action: go hall <end>"
    assert " ".join(tokens) == suffix, (
        "learned are the revision turn and the good actions, ends too"
    )


def test_bad_prefix_and_user_turns_have_no_label():
    actor = tiny()
    example = encode(actor, REVISED)
    assert len(example.ids) == len(example.labels) == example.length
    pairs = list(zip(example.ids, example.labels, strict=True))
    assert all(label in (-100, token) for token, label in pairs)
    unlearned = [token for token, label in pairs if label == -100]
    text = " ".join(actor.tokenizer.convert_ids_to_tokens(unlearned))
    bad_turn = "<agent> Action: take lamp <end>"
    for turn in ("Action: go kitchen", "Action: take lamp", "that is not here", bad_turn):
        assert turn in text, f"{turn!r} is not to be learned"
    assert "Thought:" not in text
    assert "go hall" not in text


def test_a_bad_action_leaves_no_trace_in_the_gradient_when_only_its_own_label_would_change():
    """The same flags give the same gradient; a bad action's flag turned on gives another."""
    actor = tiny()
    learned = [dict(message) for message in REVISED]
    learned[3]["loss"] = True
    gradients = []
    for messages in (REVISED, REVISED, learned):
        actor.model.zero_grad()
        loss, _ = imitation(actor, encode_all(actor, messages))
        loss.backward()
        gradients.append(gradient(actor))
    assert torch.equal(gradients[0], gradients[1])
    same = torch.allclose(gradients[0], gradients[2])
    assert not same, "the flag of `Action: take lamp` decides nothing"


def test_padding_does_not_change_the_loss():
    actor = tiny()
    examples = encode_all(actor, REVISED, REVISED[:6], TAKE_CUP)
    lengths = [example.length for example in examples]
    assert len({*lengths}) == 3
    ids, labels = pad(examples, actor.device)
    assert ids.shape == (3, max(lengths))
    for row, length in enumerate(lengths):
        assert (labels[row, length:] == -100).all(), "padding is never learned"
    together, count = imitation(actor, examples)
    assert count == (labels[:, 1:] != -100).sum()
    alone = 0.0
    for example in examples:
        ids, labels = pad([example], actor.device)
        assert ids.shape[1] == example.length
        logits = actor.model(input_ids=ids).logits[0, :-1]
        alone += torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum").item()
    assert together.item() == pytest.approx(alone, rel=1e-5)


# --- fine-tuning


def lab_examples(actor, count):
    world = Lab()
    tasks = random.Random(1).sample(world.tasks("train"), count)
    return encode_all(actor, *(demonstration(world, task).messages() for task in tasks))


def test_micro_batches_add_up_to_the_batch():
    def learned(cut):
        actor = tiny()
        # One example with a single short answer beside three with many: a mean per micro-batch
        # would weigh it most.
        examples = encode_all(actor, TAKE_CUP) + lab_examples(actor, 3)
        batch = [examples[i:j] for i, j in cut]
        fine_tune(actor, iter([batch] * 3), steps=3, lr=1e-2)
        return weights(actor)

    whole = learned([(0, 4)])
    assert (whole - weights(tiny())).abs().max() > 1e-2
    for cut in ([(0, 1), (1, 4)], [(0, 2), (2, 4)], [(0, 1), (1, 2), (2, 3), (3, 4)]):
        difference = (learned(cut) - whole).abs().max()
        assert difference < 1e-3, f"micro-batches {cut} give other weights than one batch"


def test_a_step_follows_the_mean_loss_of_all_its_learned_tokens_and_is_cut_to_length_one(
    monkeypatch,
):
    seen = []
    clip = torch.nn.utils.clip_grad_norm_

    def watched(parameters, longest):
        parameters = list(parameters)
        seen.append(torch.cat([p.grad.flatten() for p in parameters]))
        assert longest == 1.0
        return clip(parameters, longest)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    actor = tiny()
    first, second, third = lab_examples(actor, 3)
    ids = first.ids
    single = Encoded(ids, [-100] * (len(ids) - 1) + first.labels[-1:])  # one token is learned
    opening = Encoded(ids, [-100, ids[1], *[-100] * (len(ids) - 2)])  # the first that can be
    for batch in ([[first], [second, third]], [[single]], [[opening], [first, second]]):
        examples = [example for micro_batch in batch for example in micro_batch]
        loss, learned = imitation(actor, examples)
        assert learned == sum(label != -100 for example in examples for label in example.labels)
        (loss / learned).backward()
        expected = gradient(actor)
        actor.model.zero_grad()
        fine_tune(actor, iter([batch]), steps=1, lr=1e-9)
        assert torch.allclose(seen[-1], expected, rtol=1e-3, atol=1e-6)
    assert seen[1].norm() > 1, "there is something to cut"


def test_fine_tuning_counts_real_tokens_and_lowers_the_loss():
    actor = tiny()
    examples = lab_examples(actor, 6) + encode_all(actor, TAKE_CUP)

    def loss():
        with torch.no_grad():
            total, learned = imitation(actor, examples)
        return total.item() / learned

    before = loss()
    batch = [examples[:3], examples[3:]]
    tokens = fine_tune(actor, iter([batch] * 30), steps=30, lr=1e-2)
    assert tokens == 30 * sum(example.length for example in examples), "padding is no token"
    assert loss() < before / 2
    assert not actor.model.training, "the actor must come back ready to act"
    assert all(p.grad is None for p in actor.model.parameters())


def test_a_batch_without_anything_to_learn_changes_nothing():
    actor = tiny()
    before = weights(actor)
    examples = encode_all(actor, dialogue("hall: cup.", "-Action: take cup"))
    fine_tune(actor, iter([[examples]]), steps=1, lr=1e-2)
    assert torch.equal(weights(actor), before)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_a_remnant(monkeypatch):
    rates = []

    class Watched(torch.optim.AdamW):
        def step(self, *arguments, **options):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments, **options)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    actor = tiny()
    batch = [encode_all(actor, TAKE_CUP)]
    for steps in (1, 2, 10, 50, 60):
        rates.clear()
        fine_tune(actor, iter([batch] * steps), steps=steps, lr=1e-3)
        assert len(rates) == steps
        assert max(rates) == pytest.approx(1e-3)
        peak = rates.index(max(rates))
        assert peak < max(1, steps // 20), "the rise takes a twentieth of the steps"
        assert rates[: peak + 1] == sorted(rates[: peak + 1])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert min(rates) > 0
        if steps >= 10:
            assert rates[-1] < 0.2e-3
            falls = [a - b for a, b in zip(rates[peak + 2 :], rates[peak + 3 :], strict=False)]
            assert max(falls) == pytest.approx(min(falls)), "the fall is a straight line"


def test_training_shows_how_far_it_is_and_leaves_nothing_on_the_screen(monkeypatch):
    bars = []
    settings = []
    optimizer = torch.optim.AdamW

    def bar(batches, **options):
        bars.append(options)
        return batches

    def watched(parameters, **options):
        settings.append(options)
        return optimizer(parameters, **options)

    monkeypatch.setattr(train, "tqdm", bar)
    monkeypatch.setattr(torch.optim, "AdamW", watched)
    actor = tiny()
    batch = [encode_all(actor, TAKE_CUP)]
    fine_tune(actor, iter([batch] * 2), steps=2, lr=1e-3, label="training")
    assert bars == [{"total": 2, "desc": "training", "leave": False, "disable": None}]
    assert settings[0]["betas"] == (0.9, 0.98)
    assert settings[0]["weight_decay"] == 0.0


@pytest.mark.parametrize("iteration", [0, 2])
def test_training_hands_on_what_the_settings_say(monkeypatch, iteration):
    drawn, tuned = [], []

    def draw_nothing(*given):
        drawn.append(given)
        return "batches"

    def tune(*given, **named):
        tuned.append((given, named))
        return 7

    monkeypatch.setattr(train, "draw_batches", draw_nothing)
    monkeypatch.setattr(train, "fine_tune", tune)
    config = Config(
        lr=0.2,
        warmup_lr=0.1,
        optimizer="muon",
        steps=9,
        warmup_steps=8,
        batch_size=50,
        micro_batch=40,
        dpo_beta=0.3,
        seed=5,
    )
    sources = [Source([Encoded([1], [1])], 0.4)]
    run = BareRun(config, "actor")
    run.train_on(sources, iteration)
    assert run.tokens == 7
    assert torch.initial_seed() == derive(config, iteration, "dropout").getrandbits(32)
    steps = 9 if iteration else 8
    ((mix, *sizes),) = drawn
    assert sizes == [steps, 50, 40]
    assert mix.sources == sources
    assert mix.rng.random() == derive(config, iteration, "batches").random()
    ((given, named),) = tuned
    assert given == ("actor", "batches")
    rate = 0.2 if iteration else 0.1
    label = f"training, iteration {iteration}"
    which = {"algorithm": "muon", "label": label}
    assert named == {"steps": steps, "lr": rate, **which, "report": []}


# --- batches


def numbered(source, count, shortest, longest, rng):
    """Examples whose tokens all name source and number, so that each is recognised anywhere."""
    examples = []
    for number in range(count):
        length = rng.randint(shortest, longest)
        examples.append(Encoded([1000 * source + number] * length, [-100]))
    return examples


def batches_of(*sources, seed=0, steps, batch_size, micro_batch):
    """Batches from sources, each a list of examples with its share."""
    mix = Mix([Source(examples, share) for examples, share in sources], random.Random(seed))
    return list(draw_batches(mix, steps, batch_size, micro_batch))


class Watched(list):
    """A source that remembers in which order its examples were drawn."""

    def __init__(self, examples):
        super().__init__(examples)
        self.drawn = []

    def __getitem__(self, index):
        self.drawn.append(index)
        return super().__getitem__(index)


def drawn_examples(batches):
    return [example.ids[0] for batch in batches for micro in batch for example in micro]


def count_tokens(batch):
    return sum(example.length for micro in batch for example in micro)


def test_batches_hold_about_as_many_tokens_as_asked_in_micro_batches_within_their_limit():
    rng = random.Random(2)
    sizes = ((1024, 256, 40), (600, 200, 30), (512, 512, 60), (4096, 256, 25))
    for batch_size, micro_batch, longest in sizes:
        source = (numbered(0, 50, 5, longest, rng), 1.0)
        batches = batches_of(
            source, seed=3, steps=20, batch_size=batch_size, micro_batch=micro_batch
        )
        assert len(batches) == 20
        for batch in batches:
            for micro in batch:
                assert micro, "an empty micro-batch"
                padded = len(micro) * max(example.length for example in micro)
                assert padded <= micro_batch, f"a micro-batch of {padded} tokens, padding included"
        tokens = [count_tokens(batch) for batch in batches]
        assert max(tokens) <= batch_size
        assert sum(tokens) / 20 > 0.75 * batch_size


def test_a_batch_smaller_than_a_micro_batch_is_no_larger_than_asked():
    source = (numbered(0, 50, 5, 20, random.Random(0)), 1.0)
    for batch in batches_of(source, steps=10, batch_size=256, micro_batch=4096):
        tokens = count_tokens(batch)
        assert tokens <= 256, f"--batch-size 256 gave a step of {tokens} tokens"


def test_a_batch_size_that_is_no_multiple_of_the_micro_batch_is_met_all_the_same():
    source = (numbered(0, 50, 5, 20, random.Random(0)), 1.0)
    batches = batches_of(source, steps=20, batch_size=1900, micro_batch=1000)
    tokens = sum(count_tokens(batch) for batch in batches) / 20
    assert 0.75 * 1900 < tokens < 1.25 * 1900, f"--batch-size 1900 gave {tokens:.0f} a step"


def test_eta_is_the_share_of_agent_examples_whatever_their_lengths():
    rng = random.Random(4)
    for eta in (0.1, 0.2, 0.8):
        # Agent data five times as long as general data: the share is one of examples, not tokens.
        agent = (numbered(0, 30, 20, 40, rng), eta)
        shown = (numbered(1, 30, 4, 8, rng), (1 - eta) * 0.6)
        judged = (numbered(2, 30, 6, 12, rng), (1 - eta) * 0.4)
        sources = (agent, shown, judged)
        names = drawn_examples(batches_of(*sources, steps=640, batch_size=256, micro_batch=128))
        counts = Counter(name // 1000 for name in names)
        for k, (_, share) in enumerate(sources):
            spread = math.sqrt(len(names) * share * (1 - share))
            error = abs(counts[k] - share * len(names))
            assert error < 5 * spread, f"source {k} of {len(names)} at {share}: {counts}"


def test_every_batch_is_mixed_and_not_a_stretch_of_one_source():
    agent, general = (numbered(k, 30, 8, 12, random.Random(k)) for k in (0, 1))
    batches = batches_of((agent, 0.5), (general, 0.5), steps=40, batch_size=2048, micro_batch=256)
    for batch in batches:
        names = drawn_examples([batch])
        share = sum(name < 1000 for name in names) / len(names)
        assert 0.25 < share < 0.75


def test_short_examples_do_not_come_before_long_ones():
    source = (numbered(0, 200, 5, 60, random.Random(0)), 1.0)
    batches = batches_of(source, steps=200, batch_size=256, micro_batch=256)
    lengths = [max(example.length for example in micro) for batch in batches for micro in batch]
    longer = sum(a < b for a, b in itertools.pairwise(lengths))
    shorter = sum(a > b for a, b in itertools.pairwise(lengths))
    assert 0.5 < longer / shorter < 2, "micro-batches are sorted by length, and so are the steps"


def test_each_example_is_drawn_once_before_any_is_drawn_again():
    rng = random.Random(5)
    sources = [Watched(numbered(k, count, 5, 20, rng)) for k, count in enumerate((7, 23, 1))]
    shares = [(source, 1.0) for source in sources]
    drawn = drawn_examples(batches_of(*shares, seed=5, steps=40, batch_size=256, micro_batch=128))
    for k, source in enumerate(sources):
        count = len(source)
        for first in range(0, len(source.drawn) - count + 1, count):
            deck = source.drawn[first : first + count]
            assert sorted(deck) == list(range(count)), f"source {k}: one of {deck} came twice"
        seen = Counter(name - 1000 * k for name in drawn if name // 1000 == k)
        assert seen <= Counter(source.drawn), "an example stands in more batches than it was drawn"
    assert sources[1].drawn[:23] != sources[1].drawn[23:46], "a deck is shuffled anew"


def test_drawn_examples_are_not_lost_on_the_way_to_the_batches():
    # More than are drawn, so that none comes twice.
    source = Watched(numbered(0, 60_000, 5, 20, random.Random(6)))
    batches = batches_of((source, 1.0), seed=7, steps=500, batch_size=640, micro_batch=128)
    names = drawn_examples(batches)
    window = 16 * 640 // 5 + 16  # what may still wait at the end, at most
    assert len(source.drawn) > 4 * window
    assert len({*names}) == len(names)
    lost = {*source.drawn[:-window]} - {*names}
    assert len(lost) <= 4 * 128 / 5, "only less than a batch may be left of one window for the next"


def test_batches_depend_on_their_generator_alone():
    source = numbered(0, 40, 5, 30, random.Random(8))
    sources = [(source[:20], 0.3), (source[20:], 0.7)]
    streams = []
    for seed in (1, 1, 2):
        streams.append(batches_of(*sources, seed=seed, steps=12, batch_size=256, micro_batch=128))
    assert streams[0] == streams[1]
    assert streams[0] != streams[2]


def test_an_example_longer_than_a_micro_batch_comes_alone():
    source = [Encoded([n] * (500 if n == 3 else 10), [-100]) for n in range(10)]
    batches = batches_of((source, 1.0), steps=30, batch_size=200, micro_batch=100)
    micros = [micro for batch in batches for micro in batch]
    long = [micro for micro in micros if any(example.ids[0] == 3 for example in micro)]
    assert long
    for micro in long:
        assert [example.length for example in micro] == [500]


def test_an_empty_source_leaves_its_share_to_the_others(monkeypatch):
    example = Encoded([1], [1])
    source = Source([example], 0.8)
    mix = Mix([Source([], 0.2), source, Source([Encoded([2], [2])], 0.0)], random.Random(0))
    assert mix.sources == [source]
    assert [mix.draw() for _ in range(20)] == [example] * 20
    monkeypatch.setattr(train, "fine_tune", lambda *given, **named: pytest.fail("nothing to train"))
    run = BareRun(Config(), None)
    run.train_on([Source([], 0.2), Source([example], 0.0)], 1)
    assert run.tokens == 0


# --- what is drawn, encoded and told


def test_a_dialogue_that_does_not_fit_is_dropped_whole():
    actor = tiny()
    whole = encode(actor, REVISED)
    actor.max_length = whole.length
    assert encode(actor, REVISED) == whole, "what just fits is kept"
    actor.max_length -= 1
    assert encode(actor, REVISED) is None
    assert encode(actor, TAKE_CUP) is not None


def test_an_example_that_cannot_be_learned_is_in_the_dataset_and_counted_and_not_trained_on(
    tmp_path,
):
    actor = tiny()
    short = trajectory("short", 1.0, "go hall")
    idle = trajectory("short", 1.0, "go hall")
    idle.steps[0].learned = False
    long = trajectory("long", 1.0, "go hall", "go hall")
    actor.max_length = encode(actor, short.messages()).length
    run = BareRun(Config(), actor, {"lab": Lab}, tmp_path)
    examples = [critique.Example("good", played) for played in (short, long, idle)]
    run.make_examples = lambda name, trees, iteration: (examples, {"counts": {}})
    tokens = encode(actor, short.messages())
    assert run.criticise({"lab": []}, 1) == {"revision": [], "good": [tokens], "preference": []}
    assert run.data_figures["lab"]["counts"] == {
        "simulations": 0,
        "good": 3,
        "dropped_too_long": 1,
        "dropped_nothing_learned": 1,
    }
    assert len(read_lines(tmp_path / "iteration-1" / "data.jsonl")) == 3


def test_every_seed_iteration_and_stage_has_a_stream_of_its_own():
    stages = list(itertools.product((0, 1, 11), (0, 1, 2, 12), ("a", "b", "batches")))
    drawn = {(s, i, stage): derive(Config(seed=s), i, stage).random() for s, i, stage in stages}
    assert len(set(drawn.values())) == len(stages)
    for (s, i, stage), value in drawn.items():
        assert derive(Config(seed=s), i, stage).random() == value
    other = Config(seed=1, tasks=3, steps=9, method="optimal", eta=0.5)
    again = derive(other, 1, "a").random()
    assert again == drawn[1, 1, "a"], "only seed, iteration and stage decide"


def test_tasks_are_drawn_without_repetition_until_there_are_no_more():
    tasks = [f"task {n}" for n in range(10)]
    for seed in range(20):
        some = draw(tasks, 7, random.Random(seed))
        assert len(some) == len(set(some)) == 7
        many = draw(tasks, 34, random.Random(seed))
        assert len(many) == 34
        for first in (0, 10, 20):
            assert sorted(many[first : first + 10]) == tasks
        assert len(set(many[30:])) == 4
        assert draw(tasks, 34, random.Random(seed)) == many
    assert draw(tasks, 0, random.Random(0)) == []
    assert draw(tasks, 7, random.Random(0)) != draw(tasks, 7, random.Random(1))


def test_no_tasks_at_all_is_told_and_not_waited_for():
    class Patience(random.Random):
        left = 100

        def sample(self, *arguments, **options):
            self.left -= 1
            assert self.left, "drawing from an empty split never ends"
            return super().sample(*arguments, **options)

    with pytest.raises((UserError, ValueError)):
        draw([], 3, Patience(0))


# --- settings


def test_each_flag_of_the_design_is_a_field_with_a_help_text(capsys):
    names = shlex.split(
        "tiny env model method splice iterations tasks simulations branch max-depth c-uct alpha "
        "beta eta pairs temperature steps batch-size lr seed device dtype recipes out"
    )
    with pytest.raises(SystemExit) as stop:
        train.parse(["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for name in names:
        assert re.search(rf"^ +--{name}\b", told, re.MULTILINE), f"--{name} is missing"
    for field in dataclasses.fields(Config):
        pattern = rf"^ +{flag(field.name)} \S+\s+\w"
        assert re.search(pattern, told, re.MULTILINE), f"{field.name}: no help"


def test_explicit_flags_override_the_preset_in_any_order():
    preset = train.parse(["--tiny"])
    assert preset == Config(**train.TINY)
    assert preset.lr != Config().lr
    given = ["--lr", "0.5", "--eta", "0.3"]
    for arguments in (["--tiny", *given], [*given, "--tiny"]):
        assert train.parse(arguments) == dataclasses.replace(preset, lr=0.5, eta=0.3)
    default = train.parse(["--tiny", "--lr", str(Config().lr)])
    assert default.lr == Config().lr, "a default that is given is given"


def test_without_tiny_there_is_no_preset():
    assert train.parse(["--model", "somewhere"]) == Config(model="somewhere")


def test_textcraft_has_a_larger_tiny_model_which_flags_override_too():
    large = train.parse(["--tiny", "--env", "textcraft"])
    assert (large.width, large.layers) == (128, 3)
    assert large.alpha == train.TINY["alpha"]
    narrow = train.parse(["--tiny", "--env", "textcraft", "--width", "32"])
    assert narrow == dataclasses.replace(large, width=32)


def test_every_flag_reaches_its_field_in_its_type():
    for field in dataclasses.fields(Config):
        text = {"int": "17", "float": "0.25", "str": "some text"}[field.type]
        got = getattr(train.parse(["--tiny", flag(field.name), text]), field.name)
        assert got == {"int": int, "float": float, "str": str}[field.type](text)
        assert type(got) is type(getattr(Config(), field.name))


def test_alpha_is_one_for_all_or_one_for_each_iteration():
    assert Config(alpha="0.5,0.7,1.0").alphas() == [0.5, 0.7, 1.0]
    assert Config(alpha="0.9", iterations=4).alphas() == [0.9] * 4
    assert Config(alpha="0,1", iterations=2).alphas() == [0.0, 1.0]
    assert Config(iterations=2).alphas()[:2] == [0.5, 0.7]
    rising = Config(alpha="0.5,0.7,1.0")
    assert [rising.critique_settings(i).alpha for i in (1, 2, 3)] == [0.5, 0.7, 1.0]
    for alpha, iterations in (("0.5,0.7", 3), ("0.5,0.7,1.0", 4)):
        with pytest.raises(UserError, match=rf"--alpha.*{iterations} iterations"):
            check(Config(alpha=alpha, iterations=iterations))


def test_what_was_set_reaches_the_search(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(train.mcts, "search", lambda *given, numbers: calls.append(given) or [])
    sizes = {"simulations": 3, "branch": 2, "c_uct": 0.5, "max_depth": 7, "rollouts": 9}
    config = Config(**sizes, temperature=0.6, tasks=4)
    assert BareRun(config, tiny_actor(), {"lab": Lab}, tmp_path).search(1) == {"lab": []}
    ((_, make, tasks, settings, sampling),) = calls
    assert (make, len(tasks)) == (Lab, 4)
    assert dataclasses.asdict(settings) == sizes
    assert sampling.temperature == 0.6


def test_what_was_set_reaches_the_critique():
    config = Config(
        alpha="0.4", beta=0.3, pairs=6, critic="end", splice="paper", pairing="any", rollouts=9
    )
    expected = (0.4, 0.3, 6, "end", "paper", "any", "context", 9)
    assert dataclasses.astuple(config.critique_settings(1)) == expected


def test_the_defaults_and_the_preset_are_settings_that_can_be_used():
    check(Config())
    check(train.parse(["--tiny"]))
    check(train.parse(["--tiny", "--env", "textcraft"]))


REFUSED = {
    "save_every": [-1.0, math.nan, math.inf],
    "alpha": ("-0.1", "1.01", "nan", "0.5,1.5", "", "0.5,", "high"),
    "beta": (-0.01, 1.5, float("nan")),
    "eta": (-0.5, 1.0001, float("nan")),
    "judge_share": (-0.5, 2.0),
    **dict.fromkeys(("lr", "warmup_lr", "dpo_lr"), (0.0, -1.0, float("inf"), float("nan"))),
    "temperature": (0.0, -1.0, float("nan")),
    "dpo_beta": (0.0, -0.1, float("nan"), float("inf")),
    **dict.fromkeys(("critic", "optimizer"), ("judge", "")),
    "c_uct": (-0.1, float("nan"), float("inf")),
    **dict.fromkeys(("max_depth", "iterations", "warmup_steps", "seed"), (-1,)),
    **dict.fromkeys(
        ("tasks", "simulations", "branch", "pairs", "steps", "batch_size", "micro_batch"), (0, -3)
    ),
    **dict.fromkeys(
        ("warmup_tasks", "width", "layers", "rollouts", "eval_tasks", "max_new_tokens"), (0, -3)
    ),
    **dict.fromkeys(("judge_tokens", "dpo_pairs", "dpo_epochs"), (0, -3)),
    "revision_share": (-0.1, 1.1, float("nan")),
    "idle": ("forgotten", ""),
    "method": ("dpo", "", "Agent-R"),
    "splice": ("loose",),
    "winners": ("agent", ""),
    "pairing": ("shared", ""),
    "eval_split": ("train", "dev"),
    "thoughts": ("maybe", ""),
    "device": ("tpu",),
    "lookback": (-1,),
    "dtype": ("float16",),
    "checkpointing": ("maybe", ""),
}


def test_a_value_out_of_its_range_is_refused_by_the_name_of_its_flag():
    for field, values in REFUSED.items():
        for value in values:
            with pytest.raises(UserError, match=f"{flag(field)} .*") as refusal:
                check(Config(**{field: value}))
            assert str(refusal.value).startswith(f"{flag(field)} ")
            assert str(value).split(",")[-1] in str(refusal.value), "the sentence names the value"
    checked = {field.name for field in dataclasses.fields(Config)} - REFUSED.keys()
    free = {"env", "model", "general", "warmed", "recipes", "out"}
    assert checked == free, "a setting that no test refuses"


def test_the_ends_of_a_range_belong_to_it():
    zeros = ("beta", "eta", "judge_share", "c_uct", "max_depth", "seed", "warmup_steps")
    check(Config(alpha="0", **dict.fromkeys(zeros, 0)))
    ones = ("beta", "eta", "judge_share", "tasks", "steps", "pairs", "branch", "eval_tasks")
    check(Config(alpha="1", **dict.fromkeys(ones, 1)))
    none = Config(iterations=0, alpha="0.5")
    check(none)
    assert none.alphas() == []


# --- the warm-up


def test_a_demonstration_is_the_way_of_the_expert_and_reaches_the_goal():
    rng = random.Random(9)
    for name in ("lab", "craft"):
        world = make_world(name)()
        for task in rng.sample(world.tasks("train"), 25):
            shown = demonstration(world, task)
            assert first_error(world, task, shown.actions) is None, f"{name} {task}: {shown}"
            episode = Episode(world, task)
            for step in shown.steps:
                assert step.reply == f"Action: {step.action}"
                episode.act(step.reply)
            assert episode.trajectory == shown, "what the world answers, and every step is learned"
            assert shown.score == 1.0
            messages = shown.messages()
            assert [m["role"] for m in messages] == ["user", "assistant"] * len(shown.steps)
            assert all(m["loss"] is True for m in messages[1::2])


def test_verdicts_of_judged_episodes_agree_with_the_truth():
    rng = random.Random(10)
    for name in ("lab", "craft"):
        world = make_world(name)()
        bad = total = 0
        wrong_start = Counter()
        pool = ["go hall", "take lamp"] if name == "lab" else ["inventory", "get 1 oak"]
        for task in rng.sample(world.tasks("train"), 60):
            messages = judged_episode(world, task, pool, rng)
            assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
            assert all(m["loss"] is True for m in messages[1::2])
            log, steps = lesson_of(messages)
            assert len(log) + len(steps) <= world.step_limit
            verdicts = [verdict for _, verdict in steps]
            actions = [*log, *(action for action, _ in steps)]
            truth = first_error(world, task, actions, len(log))
            found = first_bad(verdicts)
            assert truth == (None if found is None else len(log) + found), f"{name} {task}"
            # And behind the first error: Good is exactly what brings the goal nearer.
            world.reset(options={"task": task})
            for action in log:
                world.step(action)
            for action, verdict in steps:
                before = len(world.expert())
                world.step(action)
                after = world.expert()
                nearer = after is not None and len(after) < before
                assert verdict == ("Good" if nearer else "Bad"), f"{name} {task}: {action}"
            bad += verdicts.count("Bad")
            total += len(verdicts)
            wrong_start[found == 0] += 1
        share = bad / total
        assert 0.2 < share < 0.5, f"{name}: about every third is to be Bad, not {share:.2f}"
        at_once = wrong_start[True] / 60
        assert 0.1 < at_once < 0.45, "errors must not all stand at the beginning, nor none"


class QuietLab(Lab):
    """The lab with an expert, but without anybody who says what one might try."""

    name = "quiet"
    choices = World.choices


def test_a_world_with_an_expert_but_without_choices_warms_up_on_mistakes_from_its_pool():
    rng = random.Random(13)
    world = QuietLab()
    assert world.choices() == []
    strays = Counter()
    for task in world.tasks("train")[:60]:
        lesson = judged_episode(world, task, ["go attic", "take rope"], rng)
        log, steps = lesson_of(lesson)
        actions = [*log, *(action for action, _ in steps)]
        world.reset(options={"task": task})
        for t, action in enumerate(actions):
            if action != world.expert()[0]:
                strays[action if action in ("go attic", "take rope") else "again"] += 1
                assert action in (*actions[:t], "go attic", "take rope")
            world.step(action)
    assert strays["go attic"] > 10
    assert strays["take rope"] > 10

    config = Config(env="quiet", warmup_tasks=6, width=16, layers=1)
    shown, judged = train.general_data(config, tiny(), {"quiet": QuietLab})
    assert len(shown.examples) == len(judged.examples) == 6


def test_where_nothing_is_sensible_and_nothing_was_taken_a_stray_action_is_of_the_pool():
    episode = Episode(QuietLab(), Lab().tasks("train")[0])
    rng = random.Random(14)
    assert {stray_action(episode, ["dance"], rng) for _ in range(100)} == {"dance"}
    episode.act("Action: fly")
    drawn = Counter(stray_action(episode, ["dance"], rng) for _ in range(1000))
    assert drawn.keys() == {"dance", "fly"}
    assert 100 < drawn["fly"] < 200, "15 % of the strays were taken before"


def test_a_world_without_a_way_to_show_is_refused_in_one_sentence():
    with pytest.raises(UserError) as refusal:
        train.general_data(Config(env="blind"), tiny(), {"blind": Blind})
    remedy = "name a checkpoint with --model"
    assert str(refusal.value) == f"blind has no expert to warm a tiny model up with; {remedy}"


def test_no_word_of_a_world_is_unknown_to_the_tiny_tokenizer():
    rng = random.Random(11)
    actor = tiny("lab", "craft")
    unknown = actor.tokenizer.unk_token_id
    texts = [agent_r.JUDGE_ANSWER.format(verdict=v) for v in ("Good", "Bad", "Uncertain")]
    texts += [f"Thought: {thought}\nAction: {REVISE}" for thought in critique.REVISION_THOUGHTS]
    texts += [REVISE_ANSWER, agent_r.NO_ACTION]
    texts.append(agent_r.JUDGE_PROMPT.format(task="", log="", current=""))
    for name in ("lab", "craft"):
        world = make_world(name)()
        for split, count in (("train", 40), ("validation", 20), ("test", 20)):
            tasks = rng.sample(world.tasks(split), count)
            shown = [demonstration(world, task) for task in tasks]
            pool = [action for trajectory in shown for action in trajectory.actions]
            dialogues = [trajectory.messages() for trajectory in shown]
            dialogues += [judged_episode(world, task, pool, rng) for task in tasks]
            texts += [message["content"] for messages in dialogues for message in messages]
            for task in tasks:  # and what the world says to somebody who tries this and that
                episode = Episode(world, task)
                while not episode.done:
                    sensible = world.choices()
                    nonsense = ["fly", "get 7 x", "craft 9 z using 3 y"]
                    tried = rng.choice([*sensible, *sensible, *nonsense])
                    replies = (f"Action: {tried}", f"Action: {tried}", "", "Action: revise")
                    episode.act(rng.choice(replies))
                texts += [step.observation for step in episode.trajectory.steps]
    for text in texts:
        ids = actor.format.opening(text)
        assert unknown not in ids, f"a word is missing: {actor.tokenizer.decode(ids)}"


def test_general_data_is_in_its_shares_and_within_its_numbers():
    config = Config(warmup_tasks=9, judge_share=0.3, width=16, layers=1)
    worlds = {"lab": make_world("lab"), "craft": make_world("craft")}
    actor = train.make_tiny_actor(config, worlds, "cpu")
    shown, judged = train.general_data(config, actor, worlds)
    assert (shown.share, judged.share) == (pytest.approx(0.7), pytest.approx(0.3))
    assert len(shown.examples) == len(judged.examples) == 8, "four tasks of each of the two worlds"


def test_an_expert_shows_the_split_that_a_world_names_and_the_agent_searches_the_training_tasks(
    tmp_path,
):
    played = []

    class Shown(Doors):
        name = "shown"
        warm_up = "lessons"

        def begin(self, task):
            played.append(task.split("-")[1])
            return super().begin(task)

    changes = {"width": 16, "layers": 1, "max_new_tokens": 2}
    config = Config(env="shown", warmup_tasks=5, tasks=3, simulations=1, **changes)
    worlds = {"shown": Shown}
    actor = train.make_tiny_actor(config, worlds, "cpu")
    train.general_data(config, actor, worlds)
    assert {*played} == {"lessons"}, "neither demonstrations nor judged episodes are of other tasks"
    played.clear()
    run = BareRun(config, actor, worlds, tmp_path)
    run.criticise(run.search(1), 1)
    assert {*played} == {"train"}


def test_the_weights_of_a_tiny_model_depend_on_the_seed_alone():
    def drawn(seed):
        torch.manual_seed(random.randrange(10**6))
        return weights(tiny(seed=seed))

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


# --- what a person reads


def row(**changes):
    empty = dict.fromkeys((*PROMISED, "loops_failed"))
    usual = {"env": "lab", "iteration": 1, "tasks": 10, "score": 0.5, "seconds": 12.3}
    return {**empty, **usual, **changes}


def test_the_average_of_worlds_is_over_those_that_have_the_figure():
    lab = row(score=0.2, recovery=None, loops=0.5)
    craft = row(env="craft", score=0.7, recovery=0.4, loops=0.1)
    both = average([lab, craft], train.ALIKE)
    assert both["env"] == "average"
    assert both["iteration"] == 1
    assert both["tasks"] == 20
    assert both["score"] == pytest.approx(0.45)
    assert both["recovery"] == pytest.approx(0.4)
    assert both["loops"] == pytest.approx(0.3)
    assert both["first_error_exact"] is None


def test_no_figure_of_one_world_is_passed_off_as_the_average():
    one = row(first_error_within_1=0.2, loops_failed=0.1)
    other = row(first_error_within_1=0.6, loops_failed=0.5)
    combined = average([one, other], train.ALIKE)
    for field, expected in (("first_error_within_1", 0.4), ("loops_failed", 0.3)):
        got = combined[field]
        assert got is None or got == pytest.approx(expected), f"{field} of `average` is {got}"


def text_table(*rows):
    return train.table(rows, train.COLUMNS)


def test_a_table_is_aligned_and_scores_are_times_100():
    lab = row(score=0.614, success=1.0, loops=0.0)
    craft = row(env="textcraft", iteration=2, revision_length=2.25)
    heading, first, second = text_table(lab, craft).split("\n")
    assert len(heading) == len(first) == len(second)
    names = [column.heading for column in train.COLUMNS]
    ends = [heading.index(f" {name}") + 1 + len(name) for name in names]
    for line in (first, second):
        cell_ends = [match.end() for match in re.finditer(r"\S+", line)][1:]
        assert cell_ends == ends, "a cell stands below its heading"
    cells = dict(zip(names, first.split()[1:], strict=True))
    assert (cells["iter"], cells["score"]) == ("1", "61.4")
    assert (cells["success"], cells["loops"]) == ("100.0", "0.0")
    assert cells["recovery"] == cells["judge exact"] == "-"
    cells = dict(zip(names, second.split()[1:], strict=True))
    assert (cells["rev.length"], cells["seconds"]) == ("2.25", "12")


def test_a_table_stays_aligned_when_a_world_has_a_long_name():
    lines = text_table(row(), row(env="my_own_worlds:SunkenPalace")).split("\n")
    assert len({len(line) for line in lines}) == 1, "\n".join(lines)


def trajectory(task, score, *actions):
    steps = [Step(f"Action: {action}", action, f"saw {action}", score) for action in actions]
    return Trajectory(task, "do it.", "a place.", steps)


def test_the_revised_episode_is_the_best_and_then_the_shortest_that_holds_a_revision():
    unrevised = trajectory("easy", 1.0, "win")
    low = trajectory("low", 0.5, REVISE)
    long = trajectory("long", 1.0, "err", REVISE, "turn", "win")
    short = trajectory("short", 1.0, "err", REVISE, "win")
    text = train.revised_episode([unrevised, low, long, short])
    assert "task short, score 1.00" in text
    assert "do it.\na place." in text
    assert [line.strip() for line in text.split("\n")[3:]] == [
        *("Action: err", "saw err", f"Action: {REVISE}", f"saw {REVISE}", "Action: win", "saw win")
    ]
    assert "No held-out episode" in train.revised_episode([unrevised])


# --- Phase I


def test_phase_one_never_asks_the_truth(monkeypatch, tmp_path):
    """Search, judge and splice on the lab, its oracle raising; drawn actions give them all work."""
    actor = tiny()
    rng = random.Random(12)
    moves = [f"Action: go {room}" for room in Lab.DOWN + Lab.UP]

    def babble(dialogues, sampling=GREEDY, limit=0):
        if sampling.temperature == 0:
            return ["Judgment: Bad"] * len(dialogues.mask)
        return [rng.choice(moves) for _ in range(len(dialogues.mask))]

    def oracle(self):
        raise AssertionError("Phase I asked for the truth")

    monkeypatch.setattr(Dialogues, "replies", babble)
    monkeypatch.setattr(Lab, "expert", oracle)
    monkeypatch.setattr(Lab, "choices", oracle)
    for splice in ("verified", "paper"):
        search = {"tasks": 6, "simulations": 6, "branch": 4, "max_depth": 8}
        config = Config(alpha="0.25", beta=0.2, splice=splice, **search)
        run = BareRun(config, actor, {"lab": Lab}, tmp_path)
        trees = run.search(1)
        assert len(trees["lab"]) == 6
        run.criticise(trees, 1)
        figures = run.data_figures["lab"]
        assert figures["counts"]["revision"], "nothing was judged and spliced, so nothing is tested"
        assert figures["counts"]["good"]
        assert figures["executable_share"] is not None
        records = read_lines(tmp_path / "iteration-1" / "data.jsonl")
        kinds = Counter(record["kind"] for record in records)
        assert kinds["revision"] == figures["counts"]["revision"]
    with pytest.raises(AssertionError, match="asked for the truth"):
        judged_episode(Lab(), Lab().tasks("train")[0], ["go hall"], rng)


# --- the whole loop, at its smallest

SMALL = shlex.split(
    "--tiny --env test_train:Doors --iterations 2 --tasks 20 --simulations 6 --branch 3 "
    "--alpha 0.5 --steps 5 --warmup-steps 100 --warmup-tasks 40 --eval-tasks 6 "
    "--width 16 --layers 1 --batch-size 512 --micro-batch 512 --lr 0.02 --warmup-lr 0.02 "
    "--device cpu --seed 5"
)


def changed(arguments, **flags):
    """These arguments with some flags given otherwise (the last one counts)."""
    result = list(arguments)
    for name, value in flags.items():
        result += [flag(name), str(value)]
    return result


class Run:
    """A finished run: its folder, and all it left, read back."""

    def __init__(self, folder, arguments):
        self.folder = folder
        self.iterations = range(1 + train.parse(arguments).iterations)
        assert train.main([*arguments, "--out", str(folder)]) == 0
        self.rows = read_lines(folder / "results.jsonl")
        self.episodes = read_lines(folder / "episodes.jsonl")

    def trees(self, iteration):
        return read_lines(self.folder / f"iteration-{iteration}" / "trees.jsonl")

    def data(self, iteration):
        return read_lines(self.folder / f"iteration-{iteration}" / "data.jsonl")

    def bytes(self, *names):
        """What the iterations left under these names, one name after the other."""
        folders = [self.folder / f"iteration-{i}" for i in self.iterations if i]
        return [(folder / name).read_bytes() for name in names for folder in folders]

    def model(self, iteration):
        return self.folder / f"iteration-{iteration}" / "model"

    def weights(self, iteration):
        return (self.model(iteration) / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("small") / "run", SMALL)


def test_a_run_leaves_its_folder_whole(small):
    paths = [path for path in small.folder.rglob("*") if path.is_file()]
    left = {str(path.relative_to(small.folder)) for path in paths}
    assert {"config.json", "results.jsonl", "episodes.jsonl"} <= left
    for i in small.iterations:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            assert f"iteration-{i}/model/{name}" in left
        if i:
            assert {f"iteration-{i}/trees.jsonl", f"iteration-{i}/data.jsonl"} <= left
    assert not [name for name in left if ".part" in name]
    suffixes = {name.rpartition(".")[2] for name in left}
    assert not suffixes & {"pt", "pth", "pkl", "bin", "npy"}, "no pickles"
    config = json.loads((small.folder / "config.json").read_text())
    resolved = train.parse([*SMALL, "--out", str(small.folder)])
    assert resolved == Config(**config)
    assert len(small.bytes("trees.jsonl")[0].splitlines()) == 20


def test_every_row_has_every_promised_field(small):
    assert [row["iteration"] for row in small.rows] == [0, 1, 2]
    for row in small.rows:
        lacking = sorted(PROMISED - row.keys())
        assert not lacking, f"the row of iteration {row['iteration']} lacks {lacking}"


def test_a_run_keeps_every_pair_and_every_step_of_training(small):
    assert json.loads((small.folder / "run.json").read_text())["sittings"]
    for row in small.rows:
        folder = small.folder / f"iteration-{row['iteration']}"
        losses = read_lines(folder / "losses.jsonl")
        steps = 5 if row["iteration"] else 100
        assert [line["step"] for line in losses] == [*range(1, steps + 1)]
        assert losses[-1]["tokens"] == row["trained_tokens"]
        assert all(0 < line["loss"] < 20 and line["learned"] > 0 for line in losses)
        rates = [line["lr"] for line in losses]
        assert rates[-1] < max(rates) == pytest.approx(0.02)
        if row["iteration"]:
            pairs = read_lines(folder / "verdicts.jsonl")
            assert len(pairs) == row["judged_pairs"] > 0
            made = [pair for pair in pairs if "made" in pair]
            assert len(made) == row["counts"]["revision"]
            for pair in made:
                record = small.data(row["iteration"])[pair["made"] - 1]
                assert (record["task"], record["error"]) == (pair["task"], pair["error"])
            ends = [tree["ends"] for tree in small.trees(row["iteration"])]
            assert sum(map(len, ends)) == row["counts"]["simulations"]
    kept = [[e["task"] for e in small.episodes if e["iteration"] == i] for i in small.iterations]
    assert kept[0] == kept[1] == kept[2]
    for played in small.episodes:
        assert len(played["played"]["steps"]) == played["steps"]


def test_the_fields_of_a_row_say_what_was_run(small):
    for row in small.rows:
        assert (row["method"], row["env"], row["split"]) == ("agent-r", "test_train:Doors", "test")
        assert (row["seed"], row["tasks"]) == (5, 6)
        assert row["trained_tokens"] > 0
        played = [e for e in small.episodes if e["iteration"] == row["iteration"]]
        assert len(played) == 6
        assert row["score"] == pytest.approx(sum(e["score"] for e in played) / 6)
        assert row["success"] == pytest.approx(sum(e["score"] == 1.0 for e in played) / 6)
        assert len({e["task"] for e in played}) == 6
        assert all("-test-" in e["task"] for e in played)
        if row["iteration"]:
            kinds = Counter(example["kind"] for example in small.data(row["iteration"]))
            assert Counter({kind: row["counts"][kind] for kind in ("revision", "good")}) == kinds
            simulations = sum(tree["nodes"][0]["visits"] for tree in small.trees(row["iteration"]))
            assert row["counts"]["simulations"] == simulations > 0
    warm, later = small.rows[0]["trained_tokens"], small.rows[1]["trained_tokens"]
    assert 0.5 * 100 * 512 < warm <= 100 * 512, "100 steps of about 512 tokens"
    assert 0.5 * 5 * 512 < later <= 5 * 512
    seconds = [row["seconds"] for row in small.rows]
    assert seconds == sorted(seconds)


def test_the_agent_is_shown_its_error_and_learns_only_what_follows(small):
    revisions = [e for i in (1, 2) for e in small.data(i) if e["kind"] == "revision"]
    goods = [e for i in (1, 2) for e in small.data(i) if e["kind"] == "good"]
    assert revisions
    assert goods
    for example in revisions + goods:
        said = example["messages"][1::2]
        assert {m["role"] for m in said} == {"assistant"}
        assert {type(m["loss"]) for m in said} == {bool}, "every turn says whether it is learned"
        assert all("loss" not in m for m in example["messages"][::2])
        assert example["task"] in Doors().tasks("train")
        assert example["score"] >= 0.5
    for example in revisions + goods:
        flags = [m["loss"] for m in example["messages"][1::2]]
        actions = [agent_r.parse_action(m["content"]) for m in example["messages"][1::2]]
        assert actions[-1] == f"open {example['task'].split('-')[0]}"
        bad = example["error"] + 1 if example["kind"] == "revision" else 0
        assert not any(flags[:bad]), f"a bad action is learned: {actions[:bad]}, {flags[:bad]}"
        assert flags[-1], "what solved the task is learned"
        for t in range(bad, len(flags)):  # a later revision of the agent's takes a step back
            taken_back = REVISE in actions[t + 1 : t + 2]
            without_action = actions[t] == ""
            if taken_back or without_action:
                assert not flags[t], f"turn {t}, `{actions[t]}`, has loss={flags[t]}"
        if bad:
            turn, answer = example["messages"][2 * bad + 1 : 2 * bad + 3]
            revised = turn["content"].endswith(f"\nAction: {REVISE}")
            assert revised, "what is learned first is to revise"
            assert answer["content"] == REVISE_ANSWER


def test_revisions_of_a_run_are_what_the_world_answers(small):
    for example in [e for i in (1, 2) for e in small.data(i)]:
        episode = Episode(Doors(), example["task"])
        opening, *turns = example["messages"]
        assert opening["content"] == episode.trajectory.opening
        for said, answer in itertools.zip_longest(turns[::2], turns[1::2]):
            episode.act(said["content"])
            assert answer is None or answer["content"] == episode.observation
        assert episode.trajectory.score == example["score"]


def test_the_same_command_leaves_the_same_bytes(small, tmp_path):
    again = Run(tmp_path / "again", SMALL)
    assert again.bytes("trees.jsonl", "data.jsonl") == small.bytes("trees.jsonl", "data.jsonl")
    for row, other in zip(again.rows, small.rows, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert again.episodes == small.episodes
    for i in small.iterations:
        assert again.weights(i) == small.weights(i), f"iteration {i}: other weights"


def test_another_seed_is_another_run(small, tmp_path):
    other = Run(tmp_path / "other", changed(SMALL, seed=1, iterations=1))
    assert other.bytes("trees.jsonl")[0] != small.bytes("trees.jsonl")[0]
    assert {e["task"] for e in other.episodes} != {e["task"] for e in small.episodes}
    assert other.weights(0) != small.weights(0)
    assert {row["seed"] for row in other.rows} == {1}


def test_the_length_of_a_reply_reaches_a_tiny_actor_and_one_that_is_loaded(
    small, tmp_path, monkeypatch
):
    assert train.make_tiny_actor(Config(max_new_tokens=7), {"lab": Lab}, "cpu").max_new_tokens == 7
    lengths = []
    measure = train.measure

    def record(actor, *rest):
        lengths.append(actor.max_new_tokens)
        return measure(actor, *rest)

    monkeypatch.setattr(train, "measure", record)
    flags = {"model": small.model(0), "iterations": 0, "max_new_tokens": 9}
    Run(tmp_path / "short", changed(SMALL, **flags))
    assert lengths == [9]


@pytest.mark.parametrize("pairing", ["any", "deepest"])
def test_pairing_and_critic_reach_the_revisions_and_direct_revision_has_its_own(
    monkeypatch, pairing
):
    asked = []

    def criticise(actor, trees, make_world, settings, rng):
        asked.append((settings.splice, settings.critic, settings.pairing))
        return critique.Revisions()

    monkeypatch.setattr(critique, "criticise", criticise)
    for method in ("agent-r", "direct-revision"):
        config = Config(method=method, pairing=pairing, critic="truth")
        BareRun(config, tiny_actor(), {"lab": Lab}).make_examples("lab", [], 1)
    assert asked == [("verified", "truth", pairing), ("paper", "end", "deepest")]


def test_the_warm_up_has_a_learning_rate_of_its_own(small, tmp_path):
    slow = Run(tmp_path / "slow", changed(SMALL, lr=1e-4, iterations=0))
    assert slow.weights(0) == small.weights(0)
    cold = Run(tmp_path / "cold", changed(SMALL, warmup_lr=1e-4, iterations=0))
    assert cold.weights(0) != small.weights(0)


def test_runs_that_share_a_warm_up_are_what_they_would_have_been_alone(small, tmp_path):
    after = Run(tmp_path / "after", changed(SMALL, warmed=small.model(0)))
    for i in small.iterations:
        assert after.weights(i) == small.weights(i)
    assert after.bytes("trees.jsonl", "data.jsonl") == small.bytes("trees.jsonl", "data.jsonl")
    assert after.rows[0]["trained_tokens"] == 0
    with pytest.raises(UserError, match="--warmed need the warm-up data"):
        check(Config(model="one", warmed="another"))


def test_with_lookback_the_vectors_of_words_stay_as_they_were_drawn_also_behind_a_shared_warm_up(
    tmp_path,
):
    def words(run, iteration):
        model = Actor.load(run.model(iteration)).model
        return model.get_input_embeddings().weight, model.model.layers[0].mlp.up_proj.weight

    born = changed(SMALL, width=32, lookback=1, iterations=1, tasks=4, simulations=2)
    whole = Run(tmp_path / "whole", born)
    after = Run(tmp_path / "after", changed(born, warmed=whole.model(0)))
    newborn = train.make_tiny_actor(train.parse(born), {"doors": Doors}, "cpu")
    drawn = newborn.model.get_input_embeddings().weight
    for run in (whole, after):
        before, old = words(run, 0)
        later, new = words(run, 1)
        assert torch.equal(before, drawn)
        assert torch.equal(later, drawn)
        assert not torch.equal(old, new)
    assert after.weights(1) == whole.weights(1)


def test_a_warmed_up_model_of_another_world_is_refused(small, tmp_path, capsys):
    out = tmp_path / "out"
    assert train.main(changed(SMALL, env="lab", warmed=small.model(0), out=out)) == 2
    assert "knows other words; name a model of --env lab" in capsys.readouterr().err
    assert not out.exists()


def test_optimal_learns_from_good_trajectories_alone_and_searches_the_same_trees_first(
    small, tmp_path
):
    optimal = Run(tmp_path / "optimal", changed(SMALL, method="optimal", iterations=1))
    assert optimal.weights(0) == small.weights(0), "both start from the same warmed-up agent"
    assert optimal.bytes("trees.jsonl")[0] == small.bytes("trees.jsonl")[0]
    data = optimal.data(1)
    assert data == [example for example in small.data(1) if example["kind"] == "good"]
    assert {example["kind"] for example in data} == {"good"}
    assert optimal.weights(1) != small.weights(1)
    assert {row["method"] for row in optimal.rows} == {"optimal"}


def test_bc_searches_nothing_and_trains_on_the_warm_up_data_for_as_long(small, tmp_path):
    cloned = Run(tmp_path / "bc", changed(SMALL, method="bc", iterations=1))
    assert cloned.weights(0) == small.weights(0)
    assert cloned.bytes("trees.jsonl", "data.jsonl") == [b"", b""]
    assert cloned.weights(1) not in (small.weights(0), small.weights(1))
    as_long = pytest.approx(small.rows[1]["trained_tokens"], rel=0.2)  # five batches
    assert cloned.rows[1]["trained_tokens"] == as_long
    assert cloned.rows[1]["revision_length"] is None


def test_direct_revision_learns_the_thought_behind_whole_failures(small, tmp_path):
    direct = Run(tmp_path / "direct", changed(SMALL, method="direct-revision", iterations=1))
    assert direct.bytes("trees.jsonl")[0] == small.bytes("trees.jsonl")[0]
    revisions = [example for example in direct.data(1) if example["kind"] == "revision"]
    assert len(revisions) >= len([e for e in small.data(1) if e["kind"] == "revision"]) > 0
    for example in revisions:
        turns = [m["content"] for m in example["messages"][1::2]]
        assert agent_r.parse_action(turns[example["error"] + 1]) == REVISE
        assert not any(m["loss"] for m in example["messages"][1 : 2 * example["error"] + 2 : 2])
    longest = max(example["error"] for example in revisions)
    assert longest > max(e["error"] for e in small.data(1) if e["kind"] == "revision")


def test_eto_prefers_the_good_to_the_bad_from_where_the_iteration_began(small, tmp_path):
    changes = {"method": "eto", "iterations": 1, "dpo_lr": 1e-3, "dpo_pairs": 4}
    eto = Run(tmp_path / "eto", changed(SMALL, **changes))
    assert eto.bytes("trees.jsonl")[0] == small.bytes("trees.jsonl")[0]
    data = eto.data(1)
    assert {example["kind"] for example in data} == {"preference"}
    assert eto.rows[1]["counts"]["preference"] == len(data) > 0
    margins = []
    for iteration in (0, 1):
        actor = Actor.load(eto.model(iteration))
        pairs = [encode_record(actor, record) for record in data]
        referenced = train.with_reference(actor, pairs)
        margins.append([pair.reference_margin for pair in referenced])
    gained = [after - before for before, after in zip(*margins, strict=True)]
    assert sum(gained) / len(gained) > 1.0, "the good are likelier than for the reference"
    assert eto.rows[1]["trained_tokens"] > 0


@pytest.mark.parametrize("winners", ["search", "expert"])
def test_the_winners_of_eto_may_be_the_experts_as_its_authors_have_them(winners, monkeypatch):
    task = Lab().tasks("train")[0]
    detour = [step.action for step in demonstration(Lab(), task).steps]
    found = episode(Lab, task, "dance", *detour).trajectory
    pair = critique.Example("preference", found, rejected=episode(Lab, task, "dance").trajectory)
    monkeypatch.setattr(critique, "preference_examples", lambda *_: [pair])
    run = BareRun(Config(method="eto", winners=winners), None, {"lab": Lab})
    (example,), _ = run.make_examples("lab", [], 1)
    assert example.rejected.actions == ["dance"]
    expected = ["dance", *detour] if winners == "search" else detour
    assert example.trajectory.actions == expected


def test_winners_of_the_expert_are_refused_where_there_is_none(tmp_path):
    exam = Config(winners="expert", out=str(tmp_path))
    make = make_world("doubles:Corridor")
    with pytest.raises(UserError, match="--winners expert: corridor has no expert"):
        train.make_exam(exam, "corridor", type("Mute", (type(make()),), {"expert": World.expert}))


def test_a_margin_is_what_the_model_gives_the_words_of_the_agent_alone():
    actor = tiny_actor()
    text = dialogue("you are in the hall.", "Action: go garden")
    other = dialogue("you are in the hall.", "Action: take cup")
    good, bad = encode_all(actor, text, other)

    def told(example):
        with torch.no_grad():
            logits = actor.model(torch.tensor([example.ids])).logits[0]
        logs = torch.log_softmax(logits.double(), -1)
        total = 0.0
        for t, label in enumerate(example.labels):
            if label != -100:
                total += float(logs[t - 1, label])
        return total

    expected = pytest.approx(told(good) - told(bad), abs=1e-4)
    assert float(train.margin(actor, good, bad).detach()) == expected
    pair = encode_record(actor, {"messages": text, "rejected": other})
    assert (pair.good, pair.bad) == (good, bad)
    assert pair.length == good.length + bad.length, "tokens of both are processed"
    (pair,) = train.with_reference(actor, [pair])
    assert pair.reference_margin == expected
    loss, count = train.preference(actor, [pair, pair], 0.5)
    assert count == 2
    at_reference = pytest.approx(2 * math.log(2), abs=1e-5)
    assert float(loss.detach()) == at_reference


def test_bc_has_nothing_to_learn_from_a_checkpoint_and_says_so():
    with pytest.raises(UserError, match=r"--method bc .* --model"):
        check(Config(method="bc", model="somewhere"))
    check(Config(method="bc"))


def test_a_pair_of_which_one_does_not_fit_is_dropped():
    actor = tiny_actor()
    text = dialogue("hall.", "Action: go garden")
    longer = dialogue("hall.", "Action: go garden garden")
    actor.max_length = encode(actor, text).length
    assert encode_record(actor, {"messages": text, "rejected": longer}) is None
    assert encode_record(actor, {"messages": longer, "rejected": text}) is None
    assert encode_record(actor, {"messages": text, "rejected": text}) is not None


def test_a_saved_model_scores_what_its_row_says(small, tmp_path):
    again = Run(tmp_path / "again", changed(SMALL, model=small.model(2), iterations=0, alpha=1))
    for field in ("score", "success", "loops", "first_error_exact", "false_alarms"):
        assert again.rows[0][field] == small.rows[2][field]
    assert again.rows[0]["trained_tokens"] == 0, "a checkpoint that is brought is not warmed up"


def test_data_of_all_iterations_is_kept(tmp_path, monkeypatch):
    """Trained on is all agent data so far, in the share eta, beside the general data."""
    mixes = []

    def spy(run, sources, iteration):
        # A copy of each source, since the agent's data will grow.
        copies = [Source(list(source.examples), source.share) for source in sources]
        mixes.append((iteration, copies))

    monkeypatch.setattr(train.Run, "train_on", spy)
    run = Run(tmp_path / "kept", changed(SMALL, steps=1, eta=0.3, judge_share=0.25, alpha=0))
    assert [iteration for iteration, _ in mixes] == [0, 1, 2]
    _, general = mixes[0]
    assert [source.share for source in general] == [0.75, 0.25]
    for _, sources in mixes[1:]:
        *agent, shown, judged = sources
        assert sum(source.share for source in agent) == pytest.approx(0.3)
        assert [shown.share, judged.share] == pytest.approx([0.7 * 0.75, 0.7 * 0.25])
        for source, of_warm_up in zip((shown, judged), general, strict=True):
            assert source.examples == of_warm_up.examples
    agent_data = mixes[2][1][:-2]
    kept = sum(len(source.examples) for source in agent_data)
    data = [*run.data(1), *run.data(2)]
    teaching = [record for record in data if any(m.get("loss") for m in record["messages"])]
    left_out = sum(row["counts"]["dropped_nothing_learned"] for row in run.rows[1:])
    assert kept == len(teaching) == len(data) - left_out > 0


@pytest.mark.parametrize(
    ("revisions", "goods", "shares"),
    [(3, 9, [0.1, 0.3]), (3, 0, [0.4]), (0, 9, [0.4]), (0, 0, [])],
)
def test_eta_is_the_share_of_all_agent_data_whichever_kinds_there_are(revisions, goods, shares):
    run = BareRun(Config(eta=0.4, revision_share=0.25), None)
    example = Encoded([1], [1])
    run.agent_data = {"revision": [example] * revisions, "good": [example] * goods}
    sources = run.agent_sources()
    assert [source.share for source in sources] == pytest.approx(shares)
    counts = [count for count in (revisions, goods) if count]
    assert [len(source.examples) for source in sources] == counts


@pytest.mark.parametrize(("count", "steps"), [(0, 0), (1, 1), (32, 1), (33, 2), (100, 4)])
def test_eto_takes_each_pair_once_an_epoch_and_32_a_step(count, steps):
    config = Config()
    assert (config.dpo_epochs, config.dpo_pairs, config.dpo_lr) == (3, 32, 1e-6)
    pairs = list(range(count))
    batches = train.preference_batches(pairs, 3, 32, random.Random(0))
    assert len(batches) == 3 * steps
    assert all(len(micro) == 1 for batch in batches for micro in batch)
    epochs = []
    for first in range(0, len(batches), max(1, steps)):
        epoch = batches[first : first + steps]
        assert all(len(batch) == 32 for batch in epoch[:-1])
        epochs.append([pair for batch in epoch for (pair,) in batch])
    assert all(sorted(epoch) == pairs for epoch in epochs)
    if count > 3:
        assert len({tuple(epoch) for epoch in epochs}) == 3, "each epoch in another order"
    again = train.preference_batches(pairs, 3, 32, random.Random(0))
    assert again == batches


def test_eto_trains_at_its_own_rate_and_no_longer_than_its_epochs(monkeypatch):
    calls = []

    def record(actor, batches, *, steps, lr, objective, label, report):
        calls.append((len(list(batches)), steps, lr, objective.keywords))
        return 7

    monkeypatch.setattr(train, "fine_tune", record)
    monkeypatch.setattr(train, "with_reference", lambda actor, pairs: list(pairs))
    config = Config(method="eto", steps=999, lr=0.5, dpo_lr=1e-5, dpo_epochs=2, dpo_pairs=4)
    run = BareRun(config, None)
    run.fine_tune({"revision": [], "good": [], "preference": list(range(10))}, 1)
    assert calls == [(6, 6, 1e-5, {"dpo_beta": config.dpo_beta})]
    assert run.tokens == 7
    run.fine_tune({"revision": [], "good": [], "preference": []}, 2)
    assert (len(calls), run.tokens) == (1, 0)


def test_two_worlds_have_a_row_each_and_their_average(tmp_path, monkeypatch):
    tables = []
    table = train.table

    def watched(rows, columns):
        tables.append([row["env"] for row in rows])
        return table(rows, columns)

    monkeypatch.setattr(train, "table", watched)
    search = {"tasks": 2, "simulations": 2, "branch": 2, "max_depth": 2}
    flags = {"iterations": 1, "eval_tasks": 2, "warmup_steps": 2, "warmup_tasks": 8, "steps": 1}
    run = Run(tmp_path / "two", changed(SMALL, env="lab,craft", **search, **flags))
    worlds = ["lab", "craft", "average"]
    assert [row["env"] for row in run.rows] == worlds * 2
    assert [row["iteration"] for row in run.rows] == [0, 0, 0, 1, 1, 1]
    assert Counter(e["env"] for e in run.episodes) == {"lab": 4, "craft": 4}
    trees = read_lines(run.folder / "iteration-1" / "trees.jsonl")
    assert len(trees) == 2
    assert trees[0]["task"] in Lab().tasks("train")
    assert tables[-1] == worlds * 2, "the last table shows all iterations"
    assert tables[0] == worlds, f"the table after an iteration shows {tables[0]}"


def test_a_run_without_a_warm_up_is_a_run(tmp_path):
    run = Run(tmp_path / "cold", changed(SMALL, iterations=0, warmup_steps=0))
    assert [row["trained_tokens"] for row in run.rows] == [0]


def test_validation_tasks_are_others_than_test_tasks(tmp_path):
    flags = {"eval_split": "validation", "iterations": 0, "warmup_steps": 2}
    run = Run(tmp_path / "validation", changed(SMALL, **flags))
    assert {row["split"] for row in run.rows} == {"validation"}
    assert all("-validation-" in e["task"] for e in run.episodes)


def test_a_world_without_an_expert_needs_no_truth_when_a_model_is_brought_along(small, tmp_path):
    flags = {"env": "test_train:Blind", "model": small.model(0), "iterations": 1}
    run = Run(tmp_path / "blind", changed(SMALL, **flags))
    for row in run.rows:
        assert row["score"] is not None
        assert row["recovery"] is row["first_error_exact"] is row["false_alarms"] is None


class Blind(Doors):
    """The doors, without anybody who knows which one opens."""

    name = "blind"
    expert = World.expert


# --- models of other families

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer():
    """A byte-level BPE tokenizer trained on dialogues of the lab, its template of ChatML's kind."""
    texts = ["user", "assistant", agent_r.JUDGE_PROMPT, agent_r.NO_ACTION]
    for task in Lab().tasks("train")[:20]:
        texts += [message["content"] for message in demonstration(Lab(), task).messages()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = CHATML
    return fast


def family(name, folder):
    """Save a small random checkpoint of another family than ours."""
    tokenizer = byte_tokenizer()
    ends = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if name == "qwen2":
        config = transformers.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            **ends,
        )
    else:
        config = transformers.GPT2Config(
            vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=1024, **ends
        )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# alpha 0 and idle steps learned: whatever a random model babbles is something to train on.
BROUGHT = shlex.split(
    "--env test_train:ShortLab --iterations 1 --tasks 2 --simulations 2 --branch 2 --alpha 0 "
    "--steps 2 --eval-tasks 2 --batch-size 1024 --micro-batch 1024 --lr 0.001 --device cpu "
    "--idle learned"
)


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
def test_a_model_of_another_family_goes_through_the_whole_loop_and_comes_back_loadable(
    name, tmp_path
):
    folder = family(name, tmp_path / "brought")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run = Run(tmp_path / "run", changed(BROUGHT, model=folder))
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == before, "what was brought is left alone"
    assert [row["trained_tokens"] > 0 for row in run.rows] == [False, True]
    model = AutoModelForCausalLM.from_pretrained(run.model(1))
    tokenizer = AutoTokenizer.from_pretrained(run.model(1))
    assert model.config.model_type == name
    assert tokenizer.chat_template == CHATML
    original = AutoModelForCausalLM.from_pretrained(folder)
    pairs = list(zip(original.parameters(), model.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs), "nothing was learned"
    text = "the lamp is upstairs. \u00e9"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    assert Actor.load(run.model(1)).format.end == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_the_seed_decides_what_dropout_leaves_out(tmp_path):
    folder = family("gpt2", tmp_path / "brought")
    assert AutoModelForCausalLM.from_pretrained(folder).config.resid_pdrop > 0
    runs = [Run(tmp_path / f"run{i}", changed(BROUGHT, model=folder)) for i in range(2)]
    assert runs[0].bytes("data.jsonl") == runs[1].bytes("data.jsonl")
    assert runs[0].weights(1) == runs[1].weights(1), "the same command gave other weights"


def test_the_truth_cannot_be_the_critic_of_a_world_that_knows_none():
    class Silent(Lab):
        expert = World.expert

    with pytest.raises(UserError, match="--critic truth: silent has no expert"):
        train.make_exam(Config(critic="truth"), "silent", Silent)
    assert train.make_exam(Config(critic="truth", eval_tasks=3), "lab", Lab).name == "lab"
