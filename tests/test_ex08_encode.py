"""Exercise 8, `ChatFormat.encode`: token ids, and labels where something is learned (paper, Phase I and Phase II).

The label of a token is its id where it is learned and -100 elsewhere.  Learned are the content of the assistant's
turns with loss=True and the token that ends them, `<end>`.  Tokens are shown as words.
"""

import pytest
from handmade import check, hold

from agent_r import ChatFormat, word_tokenizer

pytestmark = pytest.mark.ex8

TOKENIZER = word_tokenizer(
    "find the cup. kitchen: lamp. ok. garden: cup. Thought: that was wrong. Action: revise go kitchen"
)


def user(text):
    return {"role": "user", "content": text}


def agent(text, loss):
    return {"role": "assistant", "content": text, "loss": loss}


REVISION = [
    user("find the cup."),
    agent("Action: go kitchen", loss=False),
    user("kitchen: lamp."),
    agent("Thought: that was wrong. Action: revise", loss=True),
    user("ok."),
    agent("Action: go garden", loss=True),
]


def encode(messages):
    return ChatFormat(TOKENIZER).encode(messages)


def words(ids):
    return " ".join(TOKENIZER.convert_ids_to_tokens(ids))


def learned(messages):
    """The learned tokens as words, `_` for every stretch that is not learned."""
    ids, labels = encode(messages)
    shown = ["_" if label == -100 else word for word, label in zip(words(ids).split(), labels, strict=True)]
    return " ".join(word for at, word in enumerate(shown) if word != "_" or shown[at - 1 : at] != ["_"])


def test_shape_two_lists_of_whole_numbers_of_the_same_length():
    got = encode(REVISION)
    hold(isinstance(got, tuple) and len(got) == 2, f"encode returns (ids, labels); got {got!r}")
    ids, labels = got
    hold(
        isinstance(ids, list) and isinstance(labels, list), f"ids and labels are lists; got {type(ids)}, {type(labels)}"
    )
    hold(len(ids) == len(labels), f"each token has a label; got {len(ids)} ids and {len(labels)} labels")


def test_example_the_tokens_of_a_revision():
    text = (
        "<user> find the cup . <agent> Action: go kitchen <end> "
        "<user> kitchen : lamp . <agent> Thought: that was wrong . Action: revise <end> "
        "<user> ok . <agent> Action: go garden <end>"
    )
    cause = "the last turn too ends with the end-of-turn token"
    check("the tokens", words(encode(REVISION)[0]), text, (text.removesuffix(" <end>"), cause))


def test_example_what_is_learned_of_a_revision():
    thought, good = "Thought: that was wrong . Action: revise", "Action: go garden"
    check(
        "what is learned",
        learned(REVISION),
        f"_ {thought} <end> _ {good} <end>",
        (
            f"_ Action: go kitchen <end> _ {thought} <end> _ {good} <end>",
            "`go kitchen` is a bad action and has loss=False",
        ),
        (f"_ Action: go kitchen _ {thought} _ {good}", "`go kitchen` has loss=False, and the end tokens are left out"),
        (
            f"_ {thought} _ {good} _",
            "the token that ends a learned turn is learned: else the agent never stops speaking",
        ),
        (f"_ {thought} _ {good} <end>", "<end> is learned after every learned turn, not after the last alone"),
        (f"_ {thought} <end> _ {good} _", "the end token of the last turn is learned as well"),
        (f"_ <end> _ {thought} <end> _ {good} <end>", "<end> of a turn with loss=False is not learned"),
        (f"_ Action: go kitchen _ {thought} <end> _ {good} <end>", "`go kitchen` is a bad action and has loss=False"),
        (
            "_ Action: go kitchen _ <end> _ Action: go garden <end>",
            "each turn has its own flag; this is the one before's",
        ),
        (f"_ <agent> {thought} _ <agent> {good} _", "a label stands at its own token; the shift by one is the loss's"),
        (words(encode(REVISION)[0]), "everything is learned; what is not has the label -100"),
        (f"_ <agent> {thought} <end> _ <agent> {good} <end>", "<agent> is given to the agent, not written by it"),
    )


def test_edge_nothing_is_learned_of_a_dialogue_without_a_learned_turn():
    check(
        "what is learned where the only answer has loss=False",
        learned([user("find the cup."), agent("Action: go garden", loss=False)]),
        "_",
        ("_ Action: go garden <end>", "a turn with loss=False is context"),
        ("_ <end>", "the end token of a turn with loss=False is not learned"),
    )


def test_edge_a_dialogue_that_ends_with_an_observation_is_left_where_the_agent_speaks():
    ids, labels = encode(REVISION[:3])
    text = "<user> find the cup . <agent> Action: go kitchen <end> <user> kitchen : lamp . <agent>"
    check("the tokens", words(ids), text, (text + " <end>", "nothing has been said yet that could end"))
    check("the labels", labels, [-100] * len(ids))
    check("what is learned up to `ok.`", learned(REVISION[:5]), "_ Thought: that was wrong . Action: revise <end> _")


def test_edge_roles_that_do_not_alternate_are_refused():
    for messages in (
        [agent("Action: go garden", loss=True)],
        [user("find the cup."), user("ok.")],
        [*REVISION, agent("", True)],
    ):
        roles = [message["role"] for message in messages]
        try:
            encode(messages)
        except ValueError:
            continue
        pytest.fail(
            f"user and assistant must alternate, the user first; {roles} was encoded, not refused", pytrace=False
        )


def test_property_a_label_is_its_own_token_or_nothing():
    for flags in ((False, False, False), (True, False, True), (False, True, False), (True, True, True)):
        messages = [dict(message) for message in REVISION]
        for message, flag in zip(messages[1::2], flags, strict=True):
            message["loss"] = flag
        ids, labels = encode(messages)
        wrong = [at for at, (token, label) in enumerate(zip(ids, labels, strict=True)) if label not in (-100, token)]
        hold(not wrong, f"labels stand at their own tokens; the shift by one is the loss's. They differ at {wrong}")
        lengths = (4, 8, 4)  # tokens of each assistant turn, <end> included
        expected = sum(length for length, flag in zip(lengths, flags, strict=True) if flag)
        check(f"how many tokens are learned with the flags {flags}", sum(label != -100 for label in labels), expected)
        check("the tokens, which flags do not change", ids, encode(REVISION)[0])
