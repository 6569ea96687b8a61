"""Running conversations: one cache for many, forks and padding, and how replies are drawn."""

import itertools
import random

import pytest
import torch
from doubles import tiny_actor
from families import FAMILIES, family
from transformers.cache_utils import DynamicLayer

from agent_r import Episode, Start, play
from engine import llama
from engine.dialogues import GREEDY, SHARED, Dialogues, RoomyLayer, Sampling
from envs import Lab

HEARD = ["kitchen: lamp, no cup.", "ok.", "no such door. you do not hold that.", "taken."]


@torch.inference_mode()
def speak_without_cache(actor, ids):
    """Greedy, one row, the whole history anew for every token: the ids of the reply."""
    said = []
    while len(said) < actor.max_new_tokens:
        history = torch.tensor([[*ids, *said]])
        logits = actor.model(input_ids=history, use_cache=False).logits[0, -1]
        unspoken = [token for token in actor.format.template.unspoken if token < len(logits)]
        logits[unspoken] = -torch.inf
        if logits.argmax() == actor.format.end:
            break
        said.append(int(logits.argmax()))
    return said


# --- the cache


@pytest.mark.parametrize("much", [64, 2])  # with 2, what longer rows have more is read in forks
@pytest.mark.parametrize("name", FAMILIES)
def test_acting_with_a_cache_equals_acting_without(monkeypatch, name, much):
    monkeypatch.setattr("engine.dialogues.MUCH", much)
    rng = random.Random(4)
    lengths = set()
    for actor in (family(name, seed) for seed in range(3)):
        openings = [" ".join(rng.choices(HEARD, k=count)) for count in (1, 6, 3, 2)]
        histories = [actor.format.opening(opening) for opening in openings]
        dialogues = actor.start(histories)
        # Row 0 of the second round goes on from row 2 of the first, and so on: some are forked,
        # some are left.
        for rows in ([0, 1, 2, 3], [2, 0, 0, 3, 2], [4, 1, 0], [1, 2]):
            dialogues.select(rows)
            histories = [list(histories[row]) for row in rows]
            assert dialogues.lengths() == [len(history) for history in histories]
            replies = dialogues.replies(GREEDY)
            for reply, history in zip(replies, histories, strict=True):
                said = speak_without_cache(actor, history)
                assert reply == actor.decode(said)
                history += said
                lengths.add(len(said))
            assert dialogues.lengths() == [len(history) for history in histories]
            turns = [actor.format.turn(rng.choice(HEARD)) for _ in histories]
            for history, turn in zip(histories, turns, strict=True):
                history += turn
            dialogues.feed(turns)
    assert len(lengths) > 1, "rows that all speak equally long do not test the padding"


def test_a_greedy_rollout_equals_one_that_reads_the_whole_dialogue_at_every_turn():
    actor = tiny_actor(3, max_new_tokens=6)
    tasks = Lab().tasks("test")[:3]
    trajectories = play(actor, Lab, [Start(task) for task in tasks], batch_size=3)
    for task, trajectory in zip(tasks, trajectories, strict=True):
        alone = Episode(Lab(), task)
        ids = actor.format.opening(alone.trajectory.opening)
        for step in trajectory.steps[:6]:
            said = speak_without_cache(actor, ids)
            alone.act(actor.decode(said))
            assert alone.trajectory.steps[-1] == step
            ids = [*ids, *said, *actor.format.turn(alone.observation)]
        assert len(trajectory.steps) == Lab.step_limit


def test_rows_do_not_disturb_each_other():
    actor = tiny_actor(5)
    starts = [Start(task) for task in Lab().tasks("train")[:4]]
    together = play(actor, Lab, starts, batch_size=4)
    assert together == play(actor, Lab, starts, batch_size=1)


def test_a_roomy_layer_holds_what_a_plain_layer_holds():
    rng = random.Random(6)
    for seed in range(20):
        torch.manual_seed(seed)
        roomy = RoomyLayer()
        plain = DynamicLayer()
        rows = rng.randint(1, 4)
        for _ in range(12):
            keys = torch.randn(rows, 2, rng.choice([1, 1, 7, 50]), 3)
            ours = roomy.update(keys, keys + 1)
            theirs = plain.update(keys, keys + 1)
            for one, other in zip(ours, theirs, strict=True):
                assert torch.equal(one, other)
            length = plain.get_seq_length()
            assert roomy.get_seq_length() == length
            if rng.random() < 0.4:
                chosen = torch.tensor(rng.choices(range(rows), k=rng.randint(1, 5)))
                width = rng.randint(1, length)  # columns to keep, others for every row
                columns = torch.stack([torch.randperm(length)[:width] for _ in chosen])
                roomy.take(chosen, columns)
                plain.batch_select_indices(chosen)
                index = columns[:, None, :, None].expand(-1, 2, -1, 3)
                plain.keys = plain.keys.gather(2, index)
                plain.values = plain.values.gather(2, index)
                rows = len(chosen)


# --- forks and padding


def test_hardly_any_padding_is_read_where_few_rows_are_long(monkeypatch):
    read = []
    forward = Dialogues._forward

    def watch(dialogues, ids, new):
        read.append((ids.numel(), int(new.sum())))
        forward(dialogues, ids, new)

    monkeypatch.setattr(Dialogues, "_forward", watch)
    lengths = [300, 20, 25, 210, 22, 24, 23, 300]
    generator = torch.Generator().manual_seed(1)
    beginning = list(range(5, 5 + SHARED))
    rows = []
    for length in lengths:
        own = torch.randint(5, 30, (length,), generator=generator).tolist()
        rows.append([*beginning, *own])
    actor = tiny_actor()
    together = actor.start(rows)
    assert together.lengths() == [len(row) for row in rows]
    passes, tokens = (sum(column) for column in zip(*read[1:], strict=True))  # but for the first
    assert sum(lengths) - 8 <= tokens <= sum(lengths)  # own ones may begin alike as well
    assert passes < 1.3 * tokens, "in one pass it would be 2.6 times as many"
    for row, ids in enumerate(rows):
        torch.testing.assert_close(together.logits[row], actor.start([ids]).logits[0])


def test_what_a_fork_says_is_unknown_to_the_original_and_to_other_forks():
    actor = family("tiny")
    opening = actor.format.opening("hall: nothing.")
    turns = [actor.format.turn("ok."), actor.format.turn("kitchen: lamp.")]
    dialogues = actor.start([opening, opening])
    forks = [dialogues.fork([0, 1]), dialogues.fork([0, 1])]
    for fork, turn in zip(forks, turns, strict=True):
        fork.feed([turn, turn])
    for fork, turn in zip(forks, turns, strict=True):
        assert fork.replies() == actor.start([[*opening, *turn]] * 2).replies()
    assert dialogues.lengths() == [len(opening)] * 2
    assert dialogues.replies() == actor.start([opening] * 2).replies()


def test_padding_does_not_pile_up():
    """Rows that speak in turns leave padding; it goes before it is a quarter of the columns."""
    actor = family("tiny")
    dialogues = actor.start([actor.format.opening("hall: nothing.")] * 2)
    long = actor.format.turn("taken. " * 20)
    for index in range(10):
        dialogues.feed([long, long[:1]] if index % 2 else [long[:1], long])
        dialogues.select([0, 1])
        assert dialogues.mask.shape[1] <= 1.25 * max(dialogues.lengths())


def test_forked_rows_go_their_own_ways():
    actor = family("tiny")
    opening = actor.format.opening("hall: nothing.")
    dialogues = actor.start([opening])
    dialogues.select([0, 0])
    turns = [actor.format.turn("kitchen: lamp."), actor.format.turn("attic: shoe. taken.")]
    dialogues.feed(turns)
    both = dialogues.replies()
    for turn, reply in zip(turns, both, strict=True):
        alone = actor.start([[*opening, *turn]])
        assert alone.replies() == [reply]


def test_the_head_is_shown_the_last_tokens_alone_and_no_part_of_something_larger():
    """Of a part of a larger tensor torch makes as many copies of the head's weights as rows."""
    actor = family("tiny")
    shown = []
    head = actor.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    dialogues = actor.start([[5, 6, 7], [8, 9]])
    dialogues.feed([[6], [7, 8, 9]])
    assert len(shown) == 2
    for hidden in shown:
        assert hidden.shape[:2] == (2, 1)
        assert hidden.is_contiguous()


# --- sampling


def test_sampling_is_reproduced_by_the_seed():
    actor = tiny_actor()

    def sample(seed, temperature=1.0):
        dialogues = actor.start([actor.format.opening("hall: nothing.")] * 8)
        return dialogues.replies(Sampling(temperature, seed))

    assert sample(1) == sample(1) != sample(2)
    assert len(set(sample(1))) > 1, "at temperature 1 the same context is answered differently"
    assert len(set(sample(1, temperature=0.0))) == 1


def replies_by_key(actor, keys, others=()):
    """The replies of conversations with these keys, in a batch with others, by key."""
    opening = actor.format.opening("hall: nothing.")
    longer = actor.format.opening("kitchen: lamp, no cup. taken.")
    rows = [(key, opening) for key in keys] + [(key, longer) for key in others]
    random.Random(str(rows)).shuffle(rows)
    dialogues = actor.start([context for _, context in rows], [key for key, _ in rows])
    replies = dialogues.replies(Sampling(1.0, seed=5))
    return {key: reply for (key, _), reply in zip(rows, replies, strict=True) if key in keys}


def test_what_is_drawn_depends_on_the_key_and_not_on_the_batch():
    actor = tiny_actor()
    keys = [3, 1, 4, 15, 92]
    together = replies_by_key(actor, keys, others=range(100, 120))
    assert len(set(together.values())) == len(keys)
    for key in keys:
        assert replies_by_key(actor, [key])[key] == together[key]
    assert replies_by_key(actor, keys[:2], others=[7]) == {key: together[key] for key in keys[:2]}


def test_copies_of_a_row_draw_for_themselves_and_the_first_goes_on_with_its_key():
    actor = tiny_actor()
    opening = actor.format.opening("hall: nothing.")
    keys = [8, 9]
    alone = actor.start([opening] * 2, keys).replies(Sampling(1.0))
    forked = actor.start([opening] * 2, keys)
    forked.select([1, 0, 1, 1, 0])
    said = forked.replies(Sampling(1.0))
    assert (said[0], said[1]) == (alone[1], alone[0])
    assert len(set(said)) == 5
    assert forked.fork([3]).keys[0] == forked.keys[3], "a fork says what its row would have said"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("count", [2, 5])
def test_branches_stand_in_one_row_and_speak_as_forks_do(count, temperature):
    actor = tiny_actor(max_new_tokens=6)
    sampling = Sampling(temperature, seed=3)
    openings = [actor.format.opening("hall: nothing."), actor.format.opening("attic: shoe, cup.")]
    side_by_side = actor.start(openings)
    forked = actor.start(openings)
    side_by_side.branch(count)
    forked.select([row for row in range(2) for _ in range(count)])
    for layer in side_by_side.cache.layers:
        assert len(layer.keys) == 2, "what they have in common is not copied"
    replies = side_by_side.replies(sampling)
    assert replies == forked.replies(sampling)
    assert len({len(reply.split()) for reply in replies}) > 1 or not temperature
    assert side_by_side.lengths() == forked.lengths()
    turn = actor.format.turn("kitchen: lamp.")
    chosen = [1, 2 * count - 1, 1]
    for dialogues in (side_by_side, forked):
        dialogues.select(chosen)
        dialogues.feed([turn] * 3)
        assert dialogues.siblings == 1
    torch.testing.assert_close(side_by_side.logits, forked.logits)
    assert side_by_side.replies(sampling) == forked.replies(sampling)


def test_branches_that_are_fed_at_once_hear_what_each_of_them_said():
    actor = tiny_actor(max_new_tokens=6)
    openings = [actor.format.opening("hall: nothing."), actor.format.opening("attic: shoe, cup.")]
    turns = [actor.format.turn("taken. " * number) for number in range(1, 7)]
    logits = []
    for how in ("branch", "select"):
        dialogues = actor.start(openings)
        if how == "branch":
            dialogues.branch(3)
        else:
            dialogues.select([0, 0, 0, 1, 1, 1])
        dialogues.replies(Sampling(1.0))
        dialogues.feed(turns)
        logits.append(dialogues.logits)
    torch.testing.assert_close(*logits)


def test_every_token_that_is_read_sees_something_padding_too(monkeypatch):
    """Where a token sees nothing, attention is no number on some devices."""
    actor = tiny_actor()
    seen = []
    hidden_last = llama.hidden_last

    def watch(model, ids, positions, sight, cache, *, asked):
        seen.append(sight.any(-1).all())
        return hidden_last(model, ids, positions, sight, cache, asked=asked)

    monkeypatch.setattr(llama, "hidden_last", watch)
    dialogues = actor.start([[5, 6, 7, 8], [9]])
    dialogues.feed([[6], [7, 8, 9]])
    dialogues.branch(2)
    dialogues.replies()
    assert len(seen) > 3
    assert all(seen)


def test_few_branches_that_still_speak_go_on_without_the_others():
    """Half of the rows are silent early, and in some of the others one branch alone speaks."""
    actor = tiny_actor(max_new_tokens=12)
    opening = actor.format.opening("hall: nothing.")
    rows = 24
    side_by_side, forked = (actor.start([opening] * rows, range(rows)) for _ in range(2))
    side_by_side.branch(2)
    forked.select([row for row in range(rows) for _ in range(2)])
    widths = []
    forward = Dialogues._forward

    def watch(dialogues, ids, new):
        widths.append((dialogues.siblings, len(ids)))
        forward(dialogues, ids, new)

    end = actor.format.end
    ending_soon = torch.nn.functional.one_hot(torch.tensor(end), len(actor.tokenizer)) * 4.0
    actor.model.get_output_embeddings().register_forward_hook(lambda *of: of[2] + ending_soon)
    for dialogues in (side_by_side, forked):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Dialogues, "_forward", watch)
            dialogues.said = dialogues.replies(Sampling(1.0))
    assert side_by_side.said == forked.said
    sizes = {rows for siblings, rows in widths if siblings == 2}
    assert min(sizes) < 2 * rows
    assert side_by_side.lengths() == forked.lengths()


def test_a_family_that_is_not_known_to_be_exact_forks_its_branches():
    actor = family("gpt2")
    dialogues = actor.start([actor.format.opening("hall: nothing.")])
    dialogues.branch(3)
    assert dialogues.siblings == 1
    assert len(dialogues.mask) == len(dialogues.cache.layers[0].keys) == 3


def test_the_next_turn_draws_anew():
    """With the same words to choose from, a row does not say the same thing turn after turn."""
    actor = tiny_actor(max_new_tokens=1)
    for weight in actor.model.parameters():
        weight.data.zero_()  # every word is as likely as any other
    dialogues = actor.start([actor.format.opening("hall: nothing.")] * 50)
    turns = []
    for _ in range(6):
        turns.append(dialogues.replies(Sampling(1.0)))
        dialogues.feed([actor.format.turn("ok.")] * 50)
    repeated = sum(one == other for one, other in itertools.pairwise(turns))
    assert repeated == 0
    firsts = [turn[0] for turn in turns]
    assert len(set(firsts)) > 3


def test_sampling_follows_the_models_own_distribution():
    actor = tiny_actor(max_new_tokens=1)
    rows = 4000
    shares = []
    for temperature in (1.0, 0.5):
        dialogues = actor.start([actor.format.opening("hall: nothing.")])
        p = torch.softmax(dialogues.logits[0] / temperature, -1)
        words = range(len(actor.tokenizer.all_special_tokens), len(p))
        word = max(words, key=p.__getitem__)
        dialogues.select([0] * rows)
        said = dialogues.replies(Sampling(temperature))
        shares.append(said.count(actor.decode([word])) / rows)
        assert shares[-1] == pytest.approx(p[word].item(), abs=0.025)
    assert shares[1] > shares[0] + 0.05, "at a lower temperature the likely word must be likelier"


def test_no_reply_is_longer_than_the_limit_on_new_tokens():
    actor = family("tiny", max_new_tokens=5)
    actor.model.get_output_embeddings().weight.data[actor.format.end] = 0.0
    opening = actor.format.opening("hall: nothing.")
    before = actor.start([opening])
    before.replies()
    assert before.lengths() == [len(opening) + 5]
