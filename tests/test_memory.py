"""What a search has read is read once: conversations from a memory are those that read all."""

import random

import pytest
import torch
from doubles import tiny_actor
from families import FAMILIES, family

from agent_r import Actor
from engine.dialogues import Dialogues, Sampling

HEARD = ["kitchen: lamp, no cup.", "ok.", "no such door. you do not hold that.", "taken."]


def grown(actor, rng, contexts):
    """Each of some contexts gone on with, some of them twice, and one that is new."""
    longer = []
    for context in rng.choices(contexts, k=len(contexts)):
        said = actor.format.reply(rng.choice(["Action: go hall", "Action: take lamp", "hm."]))
        longer.append([*context, *said, *actor.format.turn(rng.choice(HEARD))])
    return [*longer, actor.format.opening(" ".join(rng.choices(HEARD, k=3)))]


@pytest.mark.parametrize("name", FAMILIES)
def test_conversations_from_a_memory_are_those_that_read_everything(name):
    rng = random.Random(1)
    actor = family(name)
    memory = actor.memory()
    contexts = [actor.format.opening(text) for text in (HEARD[0], HEARD[2], " ".join(HEARD))]
    for _ in range(5):
        keys = [rng.getrandbits(60) for _ in contexts]
        ours, plain = memory.start(contexts, keys), actor.start(contexts, keys)
        assert ours.lengths() == plain.lengths() == [len(context) for context in contexts]
        torch.testing.assert_close(ours.logits, plain.logits, atol=1e-4, rtol=1e-4)
        assert ours.replies(Sampling(0.8, seed=3)) == plain.replies(Sampling(0.8, seed=3))
        contexts = grown(actor, rng, contexts)


@pytest.fixture
def read(monkeypatch):
    """How many tokens each pass has read."""
    counts = []
    forward = Dialogues._forward

    def watch(self, ids, new):
        counts.append(int(new.sum()))
        forward(self, ids, new)

    monkeypatch.setattr(Dialogues, "_forward", watch)
    return counts


def test_only_what_is_new_is_read_and_the_last_token(read):
    memory = tiny_actor().memory()
    memory.start([[5, 6, 7, 8], [5, 9]])
    assert read == [6]
    memory.start([[5, 6, 7, 8, 9, 9], [5, 9, 4], [5, 6, 7, 8], [6, 5]])
    assert read[1:] == [2 + 1 + 1 + 2]
    memory.start([[5, 6, 7, 8, 9, 9, 9], [6, 5, 5]])
    assert read[2:] == [1 + 1]


def test_what_is_known_is_kept_once():
    memory = tiny_actor().memory()
    for _ in range(3):
        memory.start([[5, 6, 7], [5, 6, 7], [5, 6, 8]])
    assert memory._cache.get_seq_length() == 4


def test_a_beginning_that_all_share_is_read_once(read):
    actor = tiny_actor()
    beginning = [5 + index % 7 for index in range(30)]
    contexts = [[*beginning, 6, 8], [*beginning, 7], [*beginning, 6, 9, 9]]
    together = actor.start(contexts, keys=[1, 2, 3])
    assert read == [30, 6]
    assert together.keys.tolist() == [1, 2, 3]
    for context, logits in zip(contexts, together.logits, strict=True):
        alone = actor.start([context])
        torch.testing.assert_close(logits, alone.logits[0], atol=1e-4, rtol=1e-4)
    read.clear()
    actor.start([beginning, beginning])
    assert read == [29, 2], "the last token is each row's own, since all rows say something"
    read.clear()
    actor.start([[5, 6, 7], [5, 6, 8]])
    assert read == [6], "for so little a pass of its own costs more than it saves"


def test_what_a_memory_opens_is_of_the_kind_that_it_was_given():
    class Other(Dialogues):
        pass

    actor = tiny_actor()
    actor.start = lambda contexts, keys=(): Other(actor.speaker, contexts, keys)
    memory = Actor.memory(actor)
    for _ in range(2):
        assert type(memory.start([[5, 6], [7]])) is Other
