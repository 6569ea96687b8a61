"""The tiny model: its size and its birth, its word tokenizer, and the one that is born to copy."""

import random
import re

import against_trl
import pytest
import torch
from doubles import tiny_actor
from families import WORDS

import train
from agent_r import JUDGE_ANSWER, Actor, parse_action, parse_verdict
from engine.tiny import TinyShape, tiny_model, word_tokenizer
from envs import Lab

# --- the model


def test_a_tiny_actor_is_tiny_and_drawn_from_the_global_seed():
    one, same, other = (tiny_actor(seed).model.get_input_embeddings().weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert tiny_actor().model.num_parameters() < 150_000


def born_to_copy():
    """A model over 300 words whose heads look up to four words back."""
    torch.manual_seed(0)
    tokenizer = word_tokenizer(" ".join(f"w{number}" for number in range(300)))
    return tiny_model(tokenizer, TinyShape(width=128, layers=3, lookback=4)).eval()


def test_a_model_born_to_copy_looks_back_then_at_what_followed_and_says_what_it_sees():
    model = born_to_copy()
    model.set_attn_implementation("eager")
    ids = torch.randint(5, 300, (40, 60))
    ids[:, 56:] = ids[:, 17:21]  # the end says again what stands from 17 to 20; 21 came next
    ids[:, 40] = ids[:, 20]  # the last word alone stands here too; 41 came next
    attentions = model(ids, output_attentions=True).attentions  # [rows, heads, query, key] each
    first, second, _ = (layer.detach() for layer in attentions)
    for head in range(4):
        shares = [first[:, head].diagonal(-distance, 1, 2).mean() for distance in range(7)]
        assert shares[head + 1] > 0.8, f"head {head} looks back by {head + 1}"
        assert sorted(shares)[-2] < 0.1, "and nowhere else"
    right = second[:, :, 59, 21].mean(0)  # by head
    half_right = second[:, :, 59, 41].mean(0)
    assert 0.5 < right[0] / half_right[0] < 2, "the first head asks for the last word alone"
    assert right[0] + half_right[0] > 0.6
    assert right[1:].min() > 0.6, "the others for one word before it as well"
    assert (right[1:] / half_right[1:]).min() > 8
    values = torch.randn(20, 128)
    for layer in model.model.layers[1:]:
        said = layer.self_attn.o_proj(layer.self_attn.v_proj(values))
        assert torch.cosine_similarity(said, values).min() > 0.5


@pytest.mark.parametrize("width", [8, 96])  # one head, and three
def test_a_model_born_to_copy_looks_back_as_far_as_it_has_heads(width):
    model = tiny_model(word_tokenizer("a b"), TinyShape(width=width, lookback=4))
    assert torch.isfinite(model(torch.tensor([[5, 6]])).logits).all()


def test_a_model_not_born_to_copy_is_an_ordinary_one():
    plain = tiny_model(word_tokenizer("a b"), TinyShape(width=128)).config
    assert plain.num_key_value_heads == 1
    assert plain.intermediate_size == 512
    assert not plain.attention_bias
    assert plain.rope_parameters["rope_theta"] == 10_000


# --- the tokenizer


def test_names_joined_by_underscores_are_one_token_and_the_longest_wins():
    tokenizer = word_tokenizer("get craft using 1 2 , oak_planks dark_oak_planks oak_wood wood")
    text = "Action: craft 2 dark oak planks using 1 oak planks, 2 wood"
    names = ["craft", "2", "dark oak planks", "using", "1", "oak planks", ",", "2", "wood"]
    assert tokenizer.tokenize(text)[1:] == names
    assert tokenizer.tokenize("get 1 oak wood") == ["get", "1", "oak wood"]
    ends = tokenizer.tokenize("oak planksman")
    assert ends == ["<unk>", "<unk>"], "a name ends where its word ends"
    ids = tokenizer("craft 2 dark oak planks")["input_ids"]
    assert tokenizer.decode(ids) == "craft 2 dark oak planks"


def test_an_amount_can_be_one_token_with_what_stands_before_it():
    words = "craft using_1 using_12 ,_2 , get_64 get 1 2 12 64 oak_planks wood"
    tokenizer = word_tokenizer(words)
    text = "craft oak planks using 1 wood, 2 oak planks"
    tokens = ["craft", "oak planks", "using 1", "wood", ", 2", "oak planks"]
    assert tokenizer.tokenize(text) == tokens
    assert tokenizer.tokenize("using 12 wood, 1 wood") == ["using 12", "wood", ",", "1", "wood"]
    for said in (text, "get 64 wood, 2 oak planks", "get 12 wood, 1 wood"):
        assert tokenizer.decode(tokenizer(said)["input_ids"]) == said


def random_episode(task, rng):
    """The texts of an episode of the lab, and the last action in it."""
    world = Lab()
    first, info = world.reset(options={"task": task})
    texts = [info["instruction"], first]
    for _ in range(world.step_limit):
        action = rng.choice([*world.choices(), "put rope", "go attic"])
        texts.append(f"Action: {action}")
        texts.append(f"Thought: i took a wrong turn. Action: {action}")
        texts.append(world.step(action)[0])
        if world.done:
            break
    return texts, action


def test_the_word_tokenizer_gives_back_all_that_is_said_in_the_lab():
    rng = random.Random(2)
    for task in Lab().tasks("test")[:60]:
        texts, action = random_episode(task, rng)
        for text in texts:
            ids = WORDS(text, add_special_tokens=False)["input_ids"]
            assert WORDS.unk_token_id not in ids, text
            assert re.sub(r"\s", "", WORDS.decode(ids)) == re.sub(r"\s", "", text)
            assert parse_action(WORDS.decode(ids)) == parse_action(text)
        assert parse_action(WORDS.decode(WORDS(f"Action: {action}")["input_ids"])) == action


@pytest.mark.parametrize("verdict", ["Good", "Bad", "Uncertain"])
def test_the_word_tokenizer_gives_back_a_verdict(verdict):
    answer = JUDGE_ANSWER.format(verdict=verdict)
    assert parse_verdict(WORDS.decode(WORDS(answer)["input_ids"])) == verdict


# --- its data in another trainer


def small_run():
    """The folder's tokenizer and two hundred dialogues of the lab, some turns of them learned."""
    rng = random.Random(3)
    records = []
    for task in Lab().tasks("train")[:200]:
        texts, _ = random_episode(task, rng)
        messages = [{"role": "user", "content": f"{texts[0]}\n{texts[1]}"}]
        for place in range(2, len(texts), 3):
            said = rng.choice(texts[place : place + 2])
            messages.append({"role": "assistant", "content": said, "loss": rng.random() < 0.5})
            messages.append({"role": "user", "content": texts[place + 2]})
        messages = messages[:-1]
        messages[-1]["loss"] = True  # a dialogue of which nothing is learned is none
        records.append({"messages": messages, "kind": "good", "task": task})
    return records


def test_the_template_marks_what_is_learned_token_for_token():
    actor = tiny_actor()
    for record in small_run():
        found = actor.tokenizer.apply_chat_template(
            record["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        ids, labels = actor.format.encode(record["messages"])
        assert found["input_ids"] == ids
        assert found["assistant_masks"] == [int(label != -100) for label in labels]


def test_without_a_loss_every_turn_of_the_assistant_is_learned():
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    options = {"return_dict": True, "return_assistant_tokens_mask": True}
    found = tiny_actor().tokenizer.apply_chat_template(messages, **options)
    assert found["assistant_masks"] == [0, 0, 0, 1, 1]


@pytest.mark.skipif(not against_trl.is_here(), reason=against_trl.MISSING)
def test_trl_makes_the_same_labels_and_the_same_loss():
    actor = tiny_actor()
    records = small_run()
    encoded = [train.encode(actor, record["messages"]) for record in records]
    ours = [(example.ids, example.labels) for example in encoded]
    assert against_trl.labels_of(actor, records) == ours
    assert against_trl.differing_loss(actor, encoded[:8], train.imitation) < 1e-5


def test_a_checkpoint_with_the_template_of_before_acts_and_learns_as_it_did():
    plain = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<user>{{ m['content'] }}{% else %}"
        "<agent>{{ m['content'] }}<end>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<agent>{% endif %}"
    )
    actor = tiny_actor()
    before = tiny_actor().tokenizer
    before.chat_template = plain
    old = Actor(actor.model, before)
    messages = small_run()[0]["messages"]
    assert old.format.encode(messages) == actor.format.encode(messages)
    assert old.speaker.unspoken == actor.speaker.unspoken
