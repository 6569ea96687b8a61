"""The training: the masked loss, the mix of a batch, the warm-up, and the whole loop at its smallest."""

import dataclasses
import itertools
import json
import math
import random
import re
import shlex
import types
from collections import Counter

import pytest
import torch
import transformers
from doubles import first_bad, read_lines, tiny_actor
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer

import agent_r
import critique
import train
from agent_r import REVISE, REVISE_ANSWER, Actor, Episode, Step, Trajectory
from critique import demonstration
from envs import Lab, UserError, World, first_error, make_world
from train import Config, average, check, derive, draw, draw_batches, encode, fine_tune, masked_loss, pad

# The fields of a row that ../DESIGN.md promises for `results.jsonl`.
PROMISED = {
    *("method", "iteration", "env", "split", "seed", "tasks", "score", "success", "recovery", "loops"),
    *("revision_length", "first_error_exact", "first_error_within_1", "false_alarms", "executable_share", "counts"),
    *("trained_tokens", "seconds"),
}


class Doors(World):
    """Four doors; the task's name alone says which one opens, so whoever opens one may well have to open another."""

    name = "doors"
    step_limit = 4
    COLOURS = ("red", "blue", "green", "white")
    words = " ".join(COLOURS) + " open a door. four doors. it opens. it stays shut. nothing happens."

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
    return train.make_tiny_actor(config, {name: make_world(name) for name in worlds or ("lab",)}, "cpu")


def dialogue(*turns):
    """Messages from texts, the first of which is the user's; an assistant's text is learned unless it starts with -."""
    messages = []
    for index, text in enumerate(turns):
        if index % 2:
            messages.append({"role": "assistant", "content": text.removeprefix("-"), "loss": text[0] != "-"})
        else:
            messages.append({"role": "user", "content": text})
    return messages


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


# ---------------------------------------------------------------------------------------------------------------
# the masked loss


class Says(torch.nn.Module):
    """A model whose last layer passes on what it is given: it says `logits` whatever it reads."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.head = logits, torch.nn.Identity()

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, use_cache):
        return types.SimpleNamespace(logits=self.head(self.logits))


def test_masked_loss_is_the_sum_over_learned_tokens_one_by_one():
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(30):
        rows, length, words = rng.randint(1, 4), rng.randint(2, 9), rng.randint(2, 12)
        logits = 3 * torch.randn(rows, length, words)
        labels = [[rng.choice((-100, rng.randrange(words))) for _ in range(length)] for _ in range(rows)]
        expected = 0.0
        for row in range(rows):
            for t in range(1, length):  # the logits at t - 1 predict token t; nothing predicts the first token
                if labels[row][t] != -100:
                    scores = [math.exp(x) for x in logits[row, t - 1].tolist()]
                    expected -= math.log(scores[labels[row][t]] / sum(scores))
        got = masked_loss(Says(logits), None, torch.tensor(labels)).item()
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-4), f"labels {labels}"


def test_the_last_layer_is_computed_for_learned_tokens_alone_and_the_model_is_left_as_it_was():
    actor, seen = tiny(), []
    head = actor.model.get_output_embeddings()
    watch = head.register_forward_hook(lambda _, given, out: seen.append(given[0].shape))
    ids, labels = pad(encode(actor, [REVISED, REVISED[:6]]), actor.device)
    masked_loss(actor.model, ids, labels)
    watch.remove()
    assert seen == [((labels[:, 1:] != -100).sum(), 16)]
    assert actor.model(input_ids=ids).logits.shape == (*ids.shape, len(actor.tokenizer))


def test_nothing_is_learned_where_no_label_is():
    logits = torch.randn(2, 5, 7, requires_grad=True)
    labels = torch.full((2, 5), -100)
    labels[:, 0] = 3  # the first token of a dialogue is nobody's prediction
    loss = masked_loss(Says(logits), None, labels)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().sum() == 0.0


def test_the_loss_of_half_precision_logits_is_computed_in_full_precision():
    logits = (5 * torch.randn(2, 6, 50)).bfloat16()
    labels = torch.randint(50, (2, 6))
    loss = masked_loss(Says(logits), None, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == masked_loss(Says(logits.float()), None, labels).item()


def test_only_revision_turn_and_good_suffix_move_the_weights():
    actor = tiny()
    ids, labels = pad(encode(actor, [REVISED]), actor.device)
    logits = actor.model(input_ids=ids).logits.detach().requires_grad_()
    masked_loss(Says(logits), ids, labels).backward()
    moved = logits.grad[0].abs().sum(-1) > 0  # [length]: position t predicts token t + 1
    learned = [int(ids[0, t + 1]) for t in range(ids.shape[1] - 1) if moved[t]]
    tokens = actor.tokenizer.convert_ids_to_tokens(learned)
    suffix = "Thought: that was wrong . Action: revise <end> Action: go hall <end>"
    assert " ".join(tokens) == suffix, "learned are the revision turn, the good actions and their end-of-turn tokens"


def test_bad_prefix_and_user_turns_have_no_label():
    actor = tiny()
    ((ids, labels),) = encode(actor, [REVISED])
    assert len(ids) == len(labels)
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
    unlearned = [token for token, label in zip(ids, labels, strict=True) if label == -100]
    text = " ".join(actor.tokenizer.convert_ids_to_tokens(unlearned))
    for turn in ("Action: go kitchen", "Action: take lamp", "that is not here", "<agent> Action: take lamp <end>"):
        assert turn in text, f"{turn!r} is not to be learned"
    assert "Thought:" not in text
    assert "go hall" not in text


def test_a_bad_action_leaves_no_trace_in_the_gradient_when_only_its_own_label_would_change():
    """Turning the flag of a bad action on must change the gradient, turning a user turn's text must not be learned."""
    actor = tiny()
    learned = [dict(message) for message in REVISED]
    learned[3]["loss"] = True
    gradients = []
    for messages in (REVISED, REVISED, learned):
        actor.model.zero_grad()
        masked_loss(actor.model, *pad(encode(actor, [messages]), actor.device)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in actor.model.parameters()]))
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.allclose(gradients[0], gradients[2]), "the flag of `Action: take lamp` decides nothing"


def test_padding_does_not_change_the_loss():
    actor = tiny()
    examples = encode(actor, [REVISED, REVISED[:6], dialogue("hall: cup.", "Action: take cup")])
    assert len({len(ids) for ids, _ in examples}) == 3
    ids, labels = pad(examples, actor.device)
    lengths = [len(example) for example, _ in examples]
    assert ids.shape == (3, max(lengths))
    assert all((labels[row, n:] == -100).all() for row, n in enumerate(lengths)), "padding is never learned"
    together = masked_loss(actor.model, ids, labels).item()
    alone = 0.0
    for example in examples:
        ids, labels = pad([example], actor.device)
        assert ids.shape[1] == len(example[0])
        logits = actor.model(input_ids=ids).logits[0, :-1]
        alone += torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum").item()
    assert together == pytest.approx(alone, rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------
# fine-tuning


def lab_examples(actor, count):
    rng = random.Random(1)
    world = Lab()
    return encode(actor, [demonstration(world, task) for task in rng.sample(world.tasks("train"), count)])


def test_micro_batches_add_up_to_the_batch():
    def learned(cut):
        actor = tiny()
        # One example with a single short answer beside three with many: a mean per micro-batch would weigh it most.
        examples = encode(actor, [dialogue("hall: cup.", "Action: take cup")]) + lab_examples(actor, 3)
        fine_tune(actor, iter([[examples[i:j] for i, j in cut]] * 3), 3, 1e-2, "")
        return torch.cat([p.detach().flatten() for p in actor.model.parameters()])

    whole = learned([(0, 4)])
    start = torch.cat([p.detach().flatten() for p in tiny().model.parameters()])
    assert (whole - start).abs().max() > 1e-2
    for cut in ([(0, 1), (1, 4)], [(0, 2), (2, 4)], [(0, 1), (1, 2), (2, 3), (3, 4)]):
        assert (learned(cut) - whole).abs().max() < 1e-3, f"micro-batches {cut} give other weights than one batch"


def test_a_step_follows_the_mean_loss_of_all_its_learned_tokens_and_is_cut_to_length_one(monkeypatch):
    seen, clip = [], torch.nn.utils.clip_grad_norm_

    def watched(parameters, longest):
        parameters = list(parameters)
        seen.append(torch.cat([p.grad.flatten() for p in parameters]))
        assert longest == 1.0
        return clip(parameters, longest)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    actor = tiny()
    first, second, third = lab_examples(actor, 3)
    (ids, labels) = first
    single = (ids, [-100] * (len(ids) - 1) + labels[-1:])  # one token alone is learned
    opening = (ids, [-100, ids[1], *[-100] * (len(ids) - 2)])  # and the first that can be
    for micros in ([[first], [second, third]], [[single]], [[opening], [first, second]]):
        examples = [example for micro in micros for example in micro]
        learned = sum(label != -100 for _, labels in examples for label in labels)
        (masked_loss(actor.model, *pad(examples, actor.device)) / learned).backward()
        expected = torch.cat([p.grad.flatten() for p in actor.model.parameters()])
        actor.model.zero_grad()
        fine_tune(actor, iter([micros]), 1, 1e-9, "")
        assert torch.allclose(seen[-1], expected, rtol=1e-3, atol=1e-6)
    assert seen[1].norm() > 1, "there is something to cut"


def test_fine_tuning_counts_real_tokens_and_lowers_the_loss():
    actor = tiny()
    examples = lab_examples(actor, 6) + encode(actor, [dialogue("hall: cup.", "Action: take cup")])

    def loss():
        ids, labels = pad(examples, actor.device)
        with torch.no_grad():
            total = masked_loss(actor.model, ids, labels)
        return total.item() / (labels[:, 1:] != -100).sum().item()

    before = loss()
    tokens = fine_tune(actor, iter([[examples[:3], examples[3:]]] * 30), 30, 1e-2, "")
    assert tokens == 30 * sum(len(ids) for ids, _ in examples), "padding is no token"
    assert loss() < before / 2
    assert not actor.model.training, "the actor must come back ready to act"
    assert all(p.grad is None for p in actor.model.parameters())


def test_a_batch_without_anything_to_learn_changes_nothing():
    actor = tiny()
    before = [p.detach().clone() for p in actor.model.parameters()]
    examples = encode(actor, [dialogue("hall: cup.", "-Action: take cup")])
    fine_tune(actor, iter([[examples]]), 1, 1e-2, "")
    assert all(torch.equal(old, new) for old, new in zip(before, actor.model.parameters(), strict=True))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_a_remnant(monkeypatch):
    rates = []

    class Watched(torch.optim.AdamW):
        def step(self, *arguments, **options):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments, **options)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    actor = tiny()
    example = encode(actor, [dialogue("hall: cup.", "Action: take cup")])
    for steps in (1, 2, 10, 50, 60):
        rates.clear()
        fine_tune(actor, iter([[example]] * steps), steps, 1e-3, "")
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
    bars, optimizers = [], []
    optimizer = torch.optim.AdamW
    monkeypatch.setattr(train, "tqdm", lambda batches, **given: bars.append(given) or batches)
    monkeypatch.setattr(torch.optim, "AdamW", lambda *a, **given: optimizers.append(given) or optimizer(*a, **given))
    actor = tiny()
    fine_tune(actor, iter([[encode(actor, [dialogue("hall: cup.", "Action: take cup")])]] * 2), 2, 1e-3, "training")
    assert bars == [{"total": 2, "desc": "training", "leave": False, "disable": None}]
    assert (optimizers[0]["betas"], optimizers[0]["weight_decay"]) == ((0.9, 0.98), 0.0)


@pytest.mark.parametrize("iteration", [0, 2])
@pytest.mark.parametrize("method", ["agent-r", "eto"])
def test_training_hands_on_what_the_settings_say(monkeypatch, method, iteration):
    drawn, tuned = [], []
    monkeypatch.setattr(train, "draw_batches", lambda *given: drawn.append(given) or "batches")
    monkeypatch.setattr(train, "fine_tune", lambda *given: tuned.append(given) or 7)
    config = Config(method=method, lr=0.2, warmup_lr=0.1, batch_size=50, micro_batch=40, dpo_beta=0.3, seed=5)
    mix = [([([1], [1])], 0.4)]
    assert train.train_on(config, "actor", mix, 9, iteration) == 7
    assert torch.initial_seed() == train.derive(config, iteration, "dropout").getrandbits(32)
    ((given, *sizes, rng),) = drawn
    assert (given, sizes) == (mix, [9, 50, 40])
    assert rng.random() == train.derive(config, iteration, "batches").random()
    ((*given, label, objective),) = tuned
    assert given == ["actor", "batches", 9, 0.2 if iteration else 0.1]
    assert label == f"training, iteration {iteration}"
    if method == "eto" and iteration:
        assert (objective.func, objective.keywords) == (train.preference, {"dpo_beta": 0.3})
    else:
        assert objective is train.imitation


# ---------------------------------------------------------------------------------------------------------------
# batches


def numbered(source, count, shortest, longest, rng):
    """Examples whose tokens all name their source and number, so that each is recognised wherever it turns up."""
    return [([1000 * source + n] * rng.randint(shortest, longest), [-100]) for n in range(count)]


class Watched(list):
    """A source that remembers in which order its examples were drawn."""

    def __init__(self, examples):
        super().__init__(examples)
        self.drawn = []

    def __getitem__(self, index):
        self.drawn.append(index)
        return super().__getitem__(index)


def drawn_examples(batches):
    return [ids[0] for batch in batches for micro in batch for ids, _ in micro]


def test_batches_hold_about_as_many_tokens_as_asked_in_micro_batches_within_their_limit():
    rng = random.Random(2)
    for batch_size, micro_batch, longest in ((1024, 256, 40), (600, 200, 30), (512, 512, 60), (4096, 256, 25)):
        source = numbered(0, 50, 5, longest, rng)
        batches = list(draw_batches([(source, 1.0)], 20, batch_size, micro_batch, random.Random(3)))
        assert len(batches) == 20
        for batch in batches:
            for micro in batch:
                assert micro, "an empty micro-batch"
                padded = len(micro) * max(len(ids) for ids, _ in micro)
                assert padded <= micro_batch, f"a micro-batch of {padded} tokens, padding included"
        sizes = [sum(len(ids) for micro in batch for ids, _ in micro) for batch in batches]
        assert max(sizes) <= batch_size
        assert sum(sizes) / 20 > 0.75 * batch_size


def test_a_batch_smaller_than_a_micro_batch_is_no_larger_than_asked():
    source = numbered(0, 50, 5, 20, random.Random(0))
    for batch in draw_batches([(source, 1.0)], 10, 256, 4096, random.Random(0)):
        tokens = sum(len(ids) for micro in batch for ids, _ in micro)
        assert tokens <= 256, f"--batch-size 256 gave a step of {tokens} tokens"


def test_a_batch_size_that_is_no_multiple_of_the_micro_batch_is_met_all_the_same():
    source = numbered(0, 50, 5, 20, random.Random(0))
    batches = list(draw_batches([(source, 1.0)], 20, 1900, 1000, random.Random(0)))
    tokens = sum(len(ids) for batch in batches for micro in batch for ids, _ in micro) / 20
    assert 0.75 * 1900 < tokens < 1.25 * 1900, f"--batch-size 1900 gave steps of {tokens:.0f} tokens"


def test_eta_is_the_share_of_agent_examples_whatever_their_lengths():
    rng = random.Random(4)
    for eta in (0.1, 0.2, 0.8):
        # Agent data five times as long as general data: the share is one of examples, not of tokens.
        agent, shown, judged = (numbered(k, 30, n, 2 * n, rng) for k, n in ((0, 20), (1, 4), (2, 6)))
        mix = [(agent, eta), (shown, (1 - eta) * 0.6), (judged, (1 - eta) * 0.4)]
        names = drawn_examples(draw_batches(mix, 640, 256, 128, rng))
        counts = Counter(name // 1000 for name in names)
        for k, (_, share) in enumerate(mix):
            spread = math.sqrt(len(names) * share * (1 - share))
            assert abs(counts[k] - share * len(names)) < 5 * spread, f"source {k} of {len(names)} at {share}: {counts}"


def test_every_batch_is_mixed_and_not_a_stretch_of_one_source():
    agent, general = (numbered(k, 30, 8, 12, random.Random(k)) for k in (0, 1))
    batches = draw_batches([(agent, 0.5), (general, 0.5)], 40, 2048, 256, random.Random(0))
    for batch in batches:
        share = sum(name < 1000 for name in drawn_examples([batch])) / len(drawn_examples([batch]))
        assert 0.25 < share < 0.75


def test_short_examples_do_not_come_before_long_ones():
    source = numbered(0, 200, 5, 60, random.Random(0))
    batches = draw_batches([(source, 1.0)], 200, 256, 256, random.Random(0))
    lengths = [max(len(ids) for ids, _ in micro) for batch in batches for micro in batch]
    longer = sum(a < b for a, b in itertools.pairwise(lengths))
    shorter = sum(a > b for a, b in itertools.pairwise(lengths))
    assert 0.5 < longer / shorter < 2, "micro-batches are sorted by length, and so are the steps"


def test_each_example_is_drawn_once_before_any_is_drawn_again():
    rng = random.Random(5)
    sources = [Watched(numbered(k, count, 5, 20, rng)) for k, count in enumerate((7, 23, 1))]
    drawn = drawn_examples(draw_batches([(s, 1.0) for s in sources], 40, 256, 128, rng))
    for k, source in enumerate(sources):
        count = len(source)
        for first in range(0, len(source.drawn) - count + 1, count):
            deck = source.drawn[first : first + count]
            assert sorted(deck) == list(range(count)), f"source {k}, examples {deck}: one came twice"
        seen = Counter(name - 1000 * k for name in drawn if name // 1000 == k)
        assert seen <= Counter(source.drawn), "an example stands in more batches than it was drawn for"
    assert sources[1].drawn[:23] != sources[1].drawn[23:46], "a deck is shuffled anew"


def test_drawn_examples_are_not_lost_on_the_way_to_the_batches():
    source = Watched(numbered(0, 60_000, 5, 20, random.Random(6)))  # more than are drawn, so that none comes twice
    names = drawn_examples(draw_batches([(source, 1.0)], 500, 640, 128, random.Random(7)))
    window = 16 * 640 // 5 + 16  # what may still wait at the end, at most
    assert len(source.drawn) > 4 * window
    assert len({*names}) == len(names)
    lost = {*source.drawn[:-window]} - {*names}
    assert len(lost) <= 4 * 128 / 5, "only less than a batch may be left of one window for the next"


def test_batches_depend_on_their_generator_alone():
    source = numbered(0, 40, 5, 30, random.Random(8))
    mix = [(source[:20], 0.3), (source[20:], 0.7)]
    streams = [list(draw_batches(mix, 12, 256, 128, random.Random(seed))) for seed in (1, 1, 2)]
    assert streams[0] == streams[1]
    assert streams[0] != streams[2]


def test_an_example_longer_than_a_micro_batch_comes_alone():
    source = [([n] * (500 if n == 3 else 10), [-100]) for n in range(10)]
    micros = [m for batch in draw_batches([(source, 1.0)], 30, 200, 100, random.Random(0)) for m in batch]
    long = [micro for micro in micros if any(ids[0] == 3 for ids, _ in micro)]
    assert long
    for micro in long:
        assert [len(ids) for ids, _ in micro] == [500]


def test_an_empty_source_leaves_its_share_to_the_others(monkeypatch):
    seen = {}

    def spy(mix, *rest):
        seen["mix"] = list(mix)
        return iter(())

    monkeypatch.setattr(train, "draw_batches", spy)
    monkeypatch.setattr(train, "fine_tune", lambda *a: 7)
    source = [([1], [1])]
    assert train.train_on(Config(), None, [([], 0.2), (source, 0.8), (source, 0.0)], 5, 1) == 7
    assert seen["mix"] == [(source, 0.8)]
    assert train.train_on(Config(), None, [([], 0.2), (source, 0.0)], 5, 1) == 0


# ---------------------------------------------------------------------------------------------------------------
# what is drawn, encoded and told


def test_a_dialogue_that_does_not_fit_is_dropped_whole():
    actor = tiny()
    whole = encode(actor, [REVISED])[0]
    short = dialogue("hall: cup.", "Action: take cup")
    actor.max_length = len(whole[0])
    assert encode(actor, [REVISED, short])[0] == whole, "what just fits is kept"
    actor.max_length -= 1
    assert encode(actor, [short, REVISED, short]) == encode(actor, [short, short])


def test_every_seed_iteration_and_stage_has_a_stream_of_its_own():
    stages = [(seed, i, stage) for seed in (0, 1, 11) for i in (0, 1, 2, 12) for stage in ("a", "b", "batches")]
    drawn = {(s, i, stage): derive(Config(seed=s), i, stage).random() for s, i, stage in stages}
    assert len(set(drawn.values())) == len(stages)
    assert all(derive(Config(seed=s), i, stage).random() == value for (s, i, stage), value in drawn.items())
    other = Config(seed=1, tasks=3, steps=9, method="optimal", eta=0.5)
    assert derive(other, 1, "a").random() == drawn[1, 1, "a"], "only seed, iteration and stage decide"


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


# ---------------------------------------------------------------------------------------------------------------
# settings


def test_each_flag_of_the_design_is_a_field_with_a_help_text(capsys):
    flags = shlex.split(
        "tiny env model method splice iterations tasks simulations branch max-depth c-uct alpha beta eta pairs "
        "temperature steps batch-size lr seed device dtype recipes out"
    )
    with pytest.raises(SystemExit) as stop:
        train.parse(["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for flag in flags:
        assert re.search(rf"^ +--{flag}\b", told, re.MULTILINE), f"--{flag} is missing"
    for field in dataclasses.fields(Config):
        assert re.search(rf"^ +--{field.name.replace('_', '-')} \S+\s+\w", told, re.MULTILINE), f"{field.name}: no help"


def test_explicit_flags_override_the_preset_in_any_order():
    preset = train.parse(["--tiny"])
    assert preset == Config(**train.TINY)
    assert preset.lr != Config().lr
    for arguments in (["--tiny", "--lr", "0.5", "--eta", "0.3"], ["--lr", "0.5", "--eta", "0.3", "--tiny"]):
        assert train.parse(arguments) == dataclasses.replace(preset, lr=0.5, eta=0.3)
    assert train.parse(["--tiny", "--lr", str(Config().lr)]).lr == Config().lr, "a default that is given is given"


def test_without_tiny_there_is_no_preset():
    assert train.parse(["--model", "somewhere"]) == Config(model="somewhere")


def test_textcraft_has_a_larger_tiny_model_which_flags_override_too():
    large = train.parse(["--tiny", "--env", "textcraft"])
    assert (large.width, large.layers) == (128, 3)
    assert large.alpha == train.TINY["alpha"]
    assert train.parse(["--tiny", "--env", "textcraft", "--width", "32"]) == dataclasses.replace(large, width=32)


def test_every_flag_reaches_its_field_in_its_type():
    for field in dataclasses.fields(Config):
        text = {"int": "17", "float": "0.25", "str": "some text"}[field.type]
        got = getattr(train.parse(["--tiny", "--" + field.name.replace("_", "-"), text]), field.name)
        assert got == {"int": int, "float": float, "str": str}[field.type](text)
        assert type(got) is type(getattr(Config(), field.name))


def test_alpha_is_one_for_all_or_one_for_each_iteration():
    assert check(Config(alpha="0.5,0.7,1.0")) == [0.5, 0.7, 1.0]
    assert check(Config(alpha="0.9", iterations=4)) == [0.9] * 4
    assert check(Config(alpha="0,1", iterations=2)) == [0.0, 1.0]
    assert check(Config(iterations=2))[:2] == [0.5, 0.7]
    for alpha, iterations in (("0.5,0.7", 3), ("0.5,0.7,1.0", 4)):
        with pytest.raises(UserError, match=rf"--alpha.*{iterations} iterations"):
            check(Config(alpha=alpha, iterations=iterations))


def test_the_defaults_and_the_preset_are_settings_that_can_be_used():
    check(Config())
    check(train.parse(["--tiny"]))
    check(train.parse(["--tiny", "--env", "textcraft"]))


REFUSED = {
    "alpha": ("-0.1", "1.01", "nan", "0.5,1.5", "", "0.5,", "high"),
    "beta": (-0.01, 1.5, float("nan")),
    "eta": (-0.5, 1.0001, float("nan")),
    "judge_share": (-0.5, 2.0),
    **dict.fromkeys(("lr", "warmup_lr"), (0.0, -1.0, float("inf"), float("nan"))),
    "temperature": (0.0, -1.0, float("nan")),
    "dpo_beta": (0.0, -0.1, float("nan"), float("inf")),
    "critic": ("judge", ""),
    "c_uct": (-0.1, float("nan"), float("inf")),
    **dict.fromkeys(("max_depth", "iterations", "warmup_steps", "seed"), (-1,)),
    **dict.fromkeys(("tasks", "simulations", "branch", "pairs", "steps", "batch_size", "micro_batch"), (0, -3)),
    **dict.fromkeys(("warmup_tasks", "width", "layers", "rollouts", "eval_tasks", "max_new_tokens"), (0, -3)),
    "method": ("dpo", "", "Agent-R"),
    "splice": ("loose",),
    "pairing": ("shared", ""),
    "eval_split": ("train", "dev"),
    "device": ("tpu",),
    "lookback": (-1,),
    "dtype": ("float16",),
}


def test_a_value_out_of_its_range_is_refused_by_the_name_of_its_flag():
    for field, values in REFUSED.items():
        for value in values:
            with pytest.raises(UserError, match=f"--{field.replace('_', '-')} .*") as refusal:
                check(Config(**{field: value}))
            assert str(refusal.value).startswith(f"--{field.replace('_', '-')} ")
            assert str(value).split(",")[-1] in str(refusal.value), "the sentence names the value"
    checked = {field.name for field in dataclasses.fields(Config)} - REFUSED.keys()
    assert checked == {"env", "model", "warmed", "recipes", "out"}, "a setting that no test refuses"


def test_the_ends_of_a_range_belong_to_it():
    check(Config(alpha="0", beta=0.0, eta=0.0, judge_share=0.0, c_uct=0.0, max_depth=0, seed=0, warmup_steps=0))
    check(Config(alpha="1", beta=1.0, eta=1.0, judge_share=1.0, tasks=1, steps=1, pairs=1, branch=1, eval_tasks=1))
    assert check(Config(iterations=0, alpha="0.5")) == []


# ---------------------------------------------------------------------------------------------------------------
# the warm-up


def test_a_demonstration_is_the_way_of_the_expert_and_reaches_the_goal():
    rng = random.Random(9)
    for name in ("lab", "craft"):
        world = make_world(name)()
        for task in rng.sample(world.tasks("train"), 25):
            messages = demonstration(world, task)
            assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
            assert all(m["loss"] is True for m in messages[1::2])
            actions = [m["content"].removeprefix("Action: ") for m in messages[1::2]]
            assert first_error(world, task, actions) is None, f"{name} {task}: {actions}"
            episode = Episode(world, task)
            for action, answer in zip(actions, [*messages[2::2], None], strict=True):
                episode.act(f"Action: {action}")
                assert answer is None or answer["content"] == episode.observation
            assert episode.trajectory.score == 1.0
            assert messages[0]["content"] == episode.trajectory.opening


def judged_steps(messages):
    """The (action, verdict) pairs of a verifier dialogue."""
    questions = [re.findall(r"^Action: (.*)\nObservation:", m["content"], re.MULTILINE) for m in messages[::2]]
    assert all(len(asked) == 1 for asked in questions), "each question shows one action"
    return [(asked[0], m["content"].split()[-1]) for asked, m in zip(questions, messages[1::2], strict=True)]


def test_verdicts_of_judged_episodes_agree_with_the_truth():
    rng = random.Random(10)
    for name in ("lab", "craft"):
        world, bad, total, wrong_start = make_world(name)(), 0, 0, Counter()
        pool = ["go hall", "take lamp"] if name == "lab" else ["inventory", "get 1 oak"]
        for task in rng.sample(world.tasks("train"), 60):
            messages = critique.judged_episode(world, task, pool, rng)
            assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
            assert all(m["loss"] is True for m in messages[1::2])
            steps = judged_steps(messages)
            assert len(steps) <= world.step_limit
            verdicts = [verdict for _, verdict in steps]
            truth = first_error(world, task, [action for action, _ in steps])
            assert first_bad(verdicts) == truth, f"{name} {task}: {steps}"
            # And behind the first error: Good is exactly what brings the goal nearer.
            world.reset(options={"task": task})
            for action, verdict in steps:
                before = len(world.expert())
                world.step(action)
                after = world.expert()
                nearer = after is not None and len(after) < before
                assert verdict == ("Good" if nearer else "Bad"), f"{name} {task}: {action}"
            bad, total = bad + verdicts.count("Bad"), total + len(verdicts)
            wrong_start[truth == 0] += 1
        assert 0.15 < bad / total < 0.35, f"{name}: about every fourth action is to be Bad, not {bad / total:.2f}"
        assert 0.1 < wrong_start[True] / 60 < 0.45, "errors must not all stand at the beginning, nor none"


def test_no_word_of_a_world_is_unknown_to_the_tiny_tokenizer():
    rng = random.Random(11)
    actor = tiny("lab", "craft")
    unknown = actor.tokenizer.unk_token_id
    phrases = [agent_r.JUDGE_ANSWER.format(verdict=v) for v in ("Good", "Bad", "Uncertain")]
    phrases += [f"Thought: {thought}\nAction: {REVISE}" for thought in critique.REVISION_THOUGHTS]
    phrases += [REVISE_ANSWER, agent_r.NO_ACTION, agent_r.JUDGE_PROMPT.format(task="", log="", current="")]
    dialogues = [dialogue("hall", phrase) for phrase in phrases]
    for name in ("lab", "craft"):
        world = make_world(name)()
        for split, count in (("train", 40), ("validation", 20), ("test", 20)):
            tasks = rng.sample(world.tasks(split), count)
            dialogues += [demonstration(world, task) for task in tasks]
            pool = [m["content"].removeprefix("Action: ") for messages in dialogues for m in messages[1::2]]
            dialogues += [critique.judged_episode(world, task, pool, rng) for task in tasks]
            for task in tasks:  # and what the world says to somebody who tries this and that
                episode = Episode(world, task)
                while not episode.done:
                    tried = rng.choice([*world.choices(), *world.choices(), "fly", "get 7 x", "craft 9 z using 3 y"])
                    episode.act(rng.choice((f"Action: {tried}", f"Action: {tried}", "", "Action: revise")))
                dialogues += [[{"role": "user", "content": s.observation}] for s in episode.trajectory.steps]
    for messages in dialogues:
        for message in messages:
            ids = actor.format.encode(dialogue(message["content"]))[0]
            assert unknown not in ids, f"a word is missing: {actor.tokenizer.decode(ids)}"


def test_general_data_is_in_its_shares_and_within_its_numbers():
    config = Config(warmup_tasks=9, judge_share=0.3, width=16, layers=1)
    worlds = {"lab": make_world("lab"), "craft": make_world("craft")}
    (shown, a), (judged, b) = train.general_data(config, train.make_tiny_actor(config, worlds, "cpu"), worlds)
    assert (a, b) == (pytest.approx(0.7), pytest.approx(0.3))
    assert len(shown) == len(judged) == 8, "four tasks of each of the two worlds"


def test_an_expert_shows_the_split_that_a_world_names_and_the_agent_searches_the_training_tasks():
    played = []

    class Shown(Doors):
        name, warm_up = "shown", "lessons"

        def begin(self, task):
            played.append(task.split("-")[1])
            return super().begin(task)

    config = Config(env="shown", warmup_tasks=5, width=16, layers=1, tasks=3, simulations=1, max_new_tokens=2)
    actor = train.make_tiny_actor(config, {"shown": Shown}, "cpu")
    train.general_data(config, actor, {"shown": Shown})
    assert {*played} == {"lessons"}, "neither demonstrations nor judged episodes are of other tasks"
    played.clear()
    train.self_examples(config, actor, "shown", Shown, 1, 1.0)
    assert {*played} == {"train"}


def test_the_weights_of_a_tiny_model_depend_on_the_seed_alone():
    def weights(seed):
        torch.manual_seed(random.randrange(10**6))
        return torch.cat([p.detach().flatten() for p in tiny(seed=seed).model.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


# ---------------------------------------------------------------------------------------------------------------
# what a person reads


def row(**changes):
    empty = dict.fromkeys((*PROMISED, "loops_failed"))
    return {**empty, "env": "lab", "iteration": 1, "tasks": 10, "score": 0.5, "seconds": 12.3, **changes}


def test_the_average_of_worlds_is_over_those_that_have_the_figure():
    rows = [row(score=0.2, recovery=None, loops=0.5), row(env="craft", score=0.7, recovery=0.4, loops=0.1)]
    both = average(rows)
    assert both["env"] == "average"
    assert both["iteration"] == 1
    assert both["tasks"] == 20
    assert both["score"] == pytest.approx(0.45)
    assert both["recovery"] == pytest.approx(0.4)
    assert both["loops"] == pytest.approx(0.3)
    assert both["first_error_exact"] is None


def test_no_figure_of_one_world_is_passed_off_as_the_average():
    rows = [row(first_error_within_1=0.2, loops_failed=0.1), row(first_error_within_1=0.6, loops_failed=0.5)]
    for field, expected in (("first_error_within_1", 0.4), ("loops_failed", 0.3)):
        got = average(rows)[field]
        assert got is None or got == pytest.approx(expected), f"{field} of the row `average` is {got}"


def test_a_table_is_aligned_and_scores_are_times_100():
    rows = [row(score=0.614, success=1.0, loops=0.0), row(env="textcraft", iteration=2, revision_length=2.25)]
    heading, first, second = train.table(rows).split("\n")
    assert len(heading) == len(first) == len(second)
    ends = [heading.index(f" {name}") + 1 + len(name) for name in train.COLUMNS]
    for line in (first, second):
        assert [match.end() for match in re.finditer(r"\S+", line)][1:] == ends, "a cell stands below its heading"
    cells = dict(zip(train.COLUMNS, first.split()[1:], strict=True))
    assert (cells["iter"], cells["score"], cells["success"], cells["loops"]) == ("1", "61.4", "100.0", "0.0")
    assert cells["recovery"] == cells["judge exact"] == "-"
    cells = dict(zip(train.COLUMNS, second.split()[1:], strict=True))
    assert (cells["rev.length"], cells["seconds"]) == ("2.25", "12")


def test_a_table_stays_aligned_when_a_world_has_a_long_name():
    lines = train.table([row(), row(env="my_own_worlds:SunkenPalace")]).split("\n")
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


# ---------------------------------------------------------------------------------------------------------------
# Phase I


def test_phase_one_never_asks_the_truth(monkeypatch):
    """Search, judging and splicing on the lab, its oracle raising; actions are drawn, so that all three have work."""
    actor, rng = tiny(), random.Random(12)

    def babble(dialogues, temperature, generator=None):
        moves = [f"Action: go {room}" for room in Lab.DOWN + Lab.UP]
        said = "Judgment: Bad" if temperature == 0 else None
        return [said or rng.choice(moves) for _ in range(len(dialogues.mask))]

    def oracle(self):
        raise AssertionError("Phase I asked for the truth")

    monkeypatch.setattr(agent_r.Dialogues, "replies", babble)
    monkeypatch.setattr(Lab, "expert", oracle)
    monkeypatch.setattr(Lab, "choices", oracle)
    for splice in ("verified", "paper"):
        config = Config(tasks=6, simulations=6, branch=4, max_depth=8, beta=0.2, splice=splice)
        trees, examples, found = train.self_examples(config, actor, "lab", Lab, 1, 0.25)
        assert len(trees) == 6
        kinds = Counter(example["kind"] for example in examples)
        assert kinds["revision"], "nothing was judged and spliced, so nothing was tested"
        assert kinds["good"]
        assert found["executable_share"] is not None
    with pytest.raises(AssertionError, match="asked for the truth"):
        critique.judged_episode(Lab(), Lab().tasks("train")[0], ["go hall"], rng)


# ---------------------------------------------------------------------------------------------------------------
# the whole loop, at its smallest

SMALL = shlex.split(
    "--tiny --env test_train:Doors --iterations 2 --tasks 20 --simulations 6 --branch 3 --alpha 0.5 --steps 5 "
    "--warmup-steps 100 --warmup-tasks 40 --eval-tasks 6 --width 16 --layers 1 --batch-size 512 --micro-batch 512 "
    "--lr 0.02 --warmup-lr 0.02 --device cpu"
)


def changed(arguments, **flags):
    """These arguments with some flags given otherwise (the last one counts)."""
    given = [(train.flag(name), str(value)) for name, value in flags.items()]
    return [*arguments, *(text for pair in given for text in pair)]


class Run:
    """A finished run: its folder, and all it left, read back."""

    def __init__(self, folder, arguments):
        self.folder, self.iterations = folder, range(1 + train.parse(arguments).iterations)
        assert train.main([*arguments, "--out", str(folder)]) == 0
        self.rows = read_lines(folder / "results.jsonl")
        self.episodes = read_lines(folder / "episodes.jsonl")

    def data(self, iteration):
        return read_lines(self.folder / f"iteration-{iteration}" / "data.jsonl")

    def bytes(self, *names):
        return [(self.folder / f"iteration-{i}" / name).read_bytes() for name in names for i in self.iterations if i]

    def weights(self, iteration):
        return (self.folder / f"iteration-{iteration}" / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("small") / "run", SMALL)


def test_a_run_leaves_its_folder_whole(small):
    left = {str(path.relative_to(small.folder)) for path in small.folder.rglob("*") if path.is_file()}
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


def test_the_fields_of_a_row_say_what_was_run(small):
    for row in small.rows:
        assert (row["method"], row["env"], row["split"]) == ("agent-r", "test_train:Doors", "test")
        assert (row["seed"], row["tasks"]) == (0, 6)
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
        assert all(type(m["loss"]) is bool for m in said), "every assistant turn says whether it is learned"
        assert {m["role"] for m in said} == {"assistant"}
        assert all("loss" not in m for m in example["messages"][::2])
        assert example["task"] in Doors().tasks("train")
        assert example["score"] >= 0.5
    for example in revisions + goods:
        flags = [m["loss"] for m in example["messages"][1::2]]
        actions = [agent_r.parse_action(m["content"]) for m in example["messages"][1::2]]
        assert actions[-1] == f"open {example['task'].split('-')[0]}"
        bad = example["error"] + 1 if example["kind"] == "revision" else 0
        assert not any(flags[:bad]), f"a bad action is learned: {actions[:bad]}, {flags[:bad]}"
        for t in range(bad, len(flags)):  # the agent's own later revisions take back the action before them
            taken_back = REVISE in actions[t + 1 : t + 2]
            assert flags[t] is not taken_back, f"turn {t}, `{actions[t]}`, has loss={flags[t]}"
        if bad:
            turn, answer = example["messages"][2 * bad + 1 : 2 * bad + 3]
            assert turn["content"].endswith(f"\nAction: {REVISE}"), "what is learned first is to revise"
            assert answer["content"] == REVISE_ANSWER


def test_revisions_of_a_run_are_what_the_world_answers(small):
    for example in [e for i in (1, 2) for e in small.data(i)]:
        episode = Episode(Doors(), example["task"])
        assert example["messages"][0]["content"] == episode.trajectory.opening
        for said, answer in zip(example["messages"][1::2], [*example["messages"][2::2], None], strict=True):
            episode.act(said["content"])
            assert answer is None or answer["content"] == episode.observation
        assert episode.trajectory.score == example["score"]


def test_the_same_command_leaves_the_same_bytes(small, tmp_path):
    again = Run(tmp_path / "again", SMALL)
    assert again.bytes("trees.jsonl", "data.jsonl") == small.bytes("trees.jsonl", "data.jsonl")
    assert [{**row, "seconds": 0} for row in again.rows] == [{**row, "seconds": 0} for row in small.rows]
    assert again.episodes == small.episodes
    for i in small.iterations:
        assert again.weights(i) == small.weights(i), f"iteration {i}: other weights"


def test_another_seed_is_another_run(small, tmp_path):
    other = Run(tmp_path / "other", changed(SMALL, seed=1, iterations=1))
    assert other.bytes("trees.jsonl")[0] != small.bytes("trees.jsonl")[0]
    assert {e["task"] for e in other.episodes} != {e["task"] for e in small.episodes}
    assert other.weights(0) != small.weights(0)
    assert {row["seed"] for row in other.rows} == {1}


def test_the_length_of_a_reply_reaches_a_tiny_actor_and_one_that_is_loaded(small, tmp_path, monkeypatch):
    assert train.make_tiny_actor(Config(max_new_tokens=7), {"lab": Lab}, "cpu").max_new_tokens == 7
    lengths, measure = [], critique.measure

    def record(actor, *rest):
        lengths.append(actor.max_new_tokens)
        return measure(actor, *rest)

    monkeypatch.setattr(critique, "measure", record)
    model = small.folder / "iteration-0" / "model"
    Run(tmp_path / "short", changed(SMALL, model=model, iterations=0, max_new_tokens=9))
    assert lengths == [9]


@pytest.mark.parametrize("pairing", ["any", "deepest"])
def test_pairing_and_critic_reach_the_revisions_and_direct_revision_has_its_own(monkeypatch, pairing):
    asked = []
    monkeypatch.setattr(train.mcts, "search", lambda *given, **named: [])
    monkeypatch.setattr(critique, "revision_examples", lambda *given: asked.append(given[6:9]) or ([], {"counts": {}}))
    for method in ("agent-r", "direct-revision"):
        config = Config(method=method, pairing=pairing, critic="truth")
        train.self_examples(config, tiny_actor(), "lab", Lab, 1, 1.0)
    assert asked == [("verified", "truth", pairing), ("paper", "end", "deepest")]


def test_the_warm_up_has_a_learning_rate_of_its_own(small, tmp_path):
    assert Run(tmp_path / "slow", changed(SMALL, lr=1e-4, iterations=0)).weights(0) == small.weights(0)
    assert Run(tmp_path / "cold", changed(SMALL, warmup_lr=1e-4, iterations=0)).weights(0) != small.weights(0)


def test_runs_that_share_a_warm_up_are_what_they_would_have_been_alone(small, tmp_path):
    after = Run(tmp_path / "after", changed(SMALL, warmed=small.folder / "iteration-0" / "model"))
    assert [after.weights(i) for i in after.iterations] == [small.weights(i) for i in small.iterations]
    assert after.bytes("trees.jsonl", "data.jsonl") == small.bytes("trees.jsonl", "data.jsonl")
    assert after.rows[0]["trained_tokens"] == 0
    with pytest.raises(UserError, match="--warmed need the warm-up data"):
        check(Config(model="one", warmed="another"))


def test_with_lookback_the_vectors_of_words_stay_as_they_were_drawn_also_behind_a_shared_warm_up(tmp_path):
    def words(run, iteration):
        model = Actor.load(run.folder / f"iteration-{iteration}" / "model").model
        return model.get_input_embeddings().weight, model.model.layers[0].mlp.up_proj.weight

    born = changed(SMALL, width=32, lookback=1, iterations=1, tasks=4, simulations=2)
    whole = Run(tmp_path / "whole", born)
    after = Run(tmp_path / "after", changed(born, warmed=whole.folder / "iteration-0" / "model"))
    drawn = train.make_tiny_actor(train.parse(born), {"doors": Doors}, "cpu").model.get_input_embeddings().weight
    for run in (whole, after):
        (before, old), (later, new) = words(run, 0), words(run, 1)
        assert torch.equal(before, drawn)
        assert torch.equal(later, drawn)
        assert not torch.equal(old, new)
    assert after.weights(1) == whole.weights(1)


def test_a_warmed_up_model_of_another_world_is_refused(small, tmp_path, capsys):
    arguments = changed(SMALL, env="lab", warmed=small.folder / "iteration-0" / "model", out=tmp_path / "out")
    assert train.main(arguments) == 2
    assert "knows other words; name a model of --env lab" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_optimal_learns_from_good_trajectories_alone_and_searches_the_same_trees_first(small, tmp_path):
    optimal = Run(tmp_path / "optimal", changed(SMALL, method="optimal", iterations=1))
    assert optimal.weights(0) == small.weights(0), "both methods start from the same warmed-up agent"
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
    assert cloned.rows[1]["trained_tokens"] == pytest.approx(small.rows[1]["trained_tokens"], rel=0.1)
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
    eto = Run(tmp_path / "eto", changed(SMALL, method="eto", iterations=1, steps=30))
    assert eto.bytes("trees.jsonl")[0] == small.bytes("trees.jsonl")[0]
    data = eto.data(1)
    assert {example["kind"] for example in data} == {"preference"}
    assert eto.rows[1]["counts"]["preference"] == len(data) > 0
    before, after = (agent_r.Actor.load(eto.folder / f"iteration-{i}" / "model") for i in (0, 1))
    reference, now = ([pair[3] for pair in train.pair_up(actor, data)] for actor in (before, after))
    gained = [b - a for a, b in zip(reference, now, strict=True)]
    assert sum(gained) / len(gained) > 1.0, "good trajectories are likelier against bad ones than for the reference"
    assert eto.rows[1]["trained_tokens"] > 0


def test_a_margin_is_what_the_model_gives_the_words_of_the_agent_alone():
    actor = tiny_actor()
    asked = {"role": "user", "content": "you are in the hall."}
    text = [asked, {"role": "assistant", "content": "Action: go garden", "loss": True}]
    other = [text[0], {"role": "assistant", "content": "Action: take cup", "loss": True}]
    good, bad = encode(actor, [text, other])

    def told(ids, labels):
        with torch.no_grad():
            logs = torch.log_softmax(actor.model(torch.tensor([ids])).logits[0].double(), -1)
        return sum(float(logs[i - 1, label]) for i, label in enumerate(labels) if label != -100)

    assert float(train.margin(actor, good, bad).detach()) == pytest.approx(told(*good) - told(*bad), abs=1e-4)
    (pair,) = train.pair_up(actor, [{"messages": text, "rejected": other}])
    assert pair[0] == good[0] + bad[0], "tokens of both are processed"
    assert pair[3] == pytest.approx(told(*good) - told(*bad), abs=1e-4)
    loss, count = train.preference(actor, [pair, pair], 0.5)
    assert (float(loss.detach()), count) == (pytest.approx(2 * math.log(2), abs=1e-5), 2), "at its reference"


def test_bc_has_nothing_to_learn_from_a_checkpoint_and_says_so():
    with pytest.raises(UserError, match=r"--method bc .* --model"):
        check(Config(method="bc", model="somewhere"))
    check(Config(method="bc"))


def test_a_pair_of_which_one_does_not_fit_is_dropped():
    actor = tiny_actor()
    text = [{"role": "user", "content": "hall."}, {"role": "assistant", "content": "Action: go garden", "loss": True}]
    actor.max_length = len(encode(actor, [text])[0][0])
    longer = [text[0], {"role": "assistant", "content": "Action: go garden garden", "loss": True}]
    assert train.pair_up(actor, [{"messages": text, "rejected": longer}]) == []
    assert len(train.pair_up(actor, [{"messages": text, "rejected": text}])) == 1


def test_a_saved_model_scores_what_its_row_says(small, tmp_path):
    again = Run(tmp_path / "again", changed(SMALL, model=small.folder / "iteration-2" / "model", iterations=0, alpha=1))
    for field in ("score", "success", "loops", "first_error_exact", "false_alarms"):
        assert again.rows[0][field] == small.rows[2][field]
    assert again.rows[0]["trained_tokens"] == 0, "a checkpoint that is brought along is not warmed up"


def test_data_of_all_iterations_is_kept(small, tmp_path, monkeypatch):
    """What is trained on in iteration k is all agent data so far, in the share eta, beside the general data."""
    mixes = []

    def spy(config, actor, mix, steps, iteration):
        mixes.append((iteration, steps, list(mix)))
        return 0

    monkeypatch.setattr(train, "train_on", spy)
    run = Run(tmp_path / "kept", changed(SMALL, steps=1, eta=0.3, judge_share=0.25, alpha=0))
    assert [(i, steps) for i, steps, _ in mixes] == [(0, 100), (1, 1), (2, 1)]
    assert [share for _, share in mixes[0][2]] == [0.75, 0.25]
    for _, _, mix in mixes[1:]:
        assert [share for _, share in mix] == pytest.approx([0.3, 0.7 * 0.75, 0.7 * 0.25])
        assert [source for source, _ in mix[1:]] == [source for source, _ in mixes[0][2]]
    assert len(mixes[2][2][0][0]) == len(run.data(1)) + len(run.data(2))


def test_two_worlds_have_a_row_each_and_their_average(tmp_path, monkeypatch):
    tables = []
    show = train.table
    monkeypatch.setattr(train, "table", lambda rows: tables.append([row["env"] for row in rows]) or show(rows))
    arguments = changed(SMALL, env="lab,craft", iterations=1, eval_tasks=2, tasks=2, simulations=2, branch=2)
    run = Run(tmp_path / "two", changed(arguments, max_depth=2, warmup_steps=2, warmup_tasks=8, steps=1))
    worlds = ["lab", "craft", "average"]
    assert [(row["iteration"], row["env"]) for row in run.rows] == [(i, env) for i in (0, 1) for env in worlds]
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
    run = Run(tmp_path / "validation", changed(SMALL, eval_split="validation", iterations=0, warmup_steps=2))
    assert {row["split"] for row in run.rows} == {"validation"}
    assert all("-validation-" in e["task"] for e in run.episodes)


def test_a_world_without_an_expert_needs_no_truth_when_a_model_is_brought_along(small, tmp_path):
    folder = small.folder / "iteration-0" / "model"
    run = Run(tmp_path / "blind", changed(SMALL, env="test_train:Blind", model=folder, iterations=1))
    for row in run.rows:
        assert row["score"] is not None
        assert row["recovery"] is row["first_error_exact"] is row["false_alarms"] is None


class Blind(World):
    """The doors, without anybody who knows which one opens."""

    name, step_limit, words, COLOURS = "blind", Doors.step_limit, Doors.words, Doors.COLOURS
    tasks, begin, act, choices = Doors.tasks, Doors.begin, Doors.act, Doors.choices


# ---------------------------------------------------------------------------------------------------------------
# models of other families

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer():
    """A byte-level BPE tokenizer trained on a few dialogues of the lab, with a template of the ChatML kind."""
    texts = [m["content"] for task in Lab().tasks("train")[:20] for m in demonstration(Lab(), task)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, "user", "assistant", agent_r.JUDGE_PROMPT, agent_r.NO_ACTION], trainer)
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
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
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


# alpha 0: whatever a random model babbles counts as good, so that there is something to train on.
BROUGHT = shlex.split(
    "--env test_train:ShortLab --iterations 1 --tasks 2 --simulations 2 --branch 2 --alpha 0 --steps 2 --eval-tasks 2 "
    "--batch-size 1024 --micro-batch 1024 --lr 0.001 --device cpu"
)


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
def test_a_model_of_another_family_goes_through_the_whole_loop_and_comes_back_loadable(name, tmp_path):
    folder = family(name, tmp_path / "brought")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run = Run(tmp_path / "run", changed(BROUGHT, model=folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "what was brought is left alone"
    assert [row["trained_tokens"] > 0 for row in run.rows] == [False, True]
    saved = run.folder / "iteration-1" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    assert model.config.model_type == name
    assert tokenizer.chat_template == CHATML
    original = AutoModelForCausalLM.from_pretrained(folder)
    pairs = list(zip(original.parameters(), model.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs), "nothing was learned"
    text = "the lamp is upstairs. \u00e9"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    assert Actor.load(saved).format.end == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_the_seed_decides_what_dropout_leaves_out(tmp_path):
    folder = family("gpt2", tmp_path / "brought")
    assert AutoModelForCausalLM.from_pretrained(folder).config.resid_pdrop > 0
    runs = [Run(tmp_path / f"run{i}", changed(BROUGHT, model=folder)) for i in range(2)]
    assert runs[0].bytes("data.jsonl") == runs[1].bytes("data.jsonl")
    assert runs[0].weights(1) == runs[1].weights(1), "the same command gave other weights"
