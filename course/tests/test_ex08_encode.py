"""Exercise 8, `ChatFormat.encode`: token ids, and labels where something is learned (Phase I, II).

The label of a token is its id where it is learned and -100 elsewhere.  Learned are the content of
the assistant's turns with loss=True and the token that ends them, `<end>`.  Tokens are shown as
words.
"""

import pytest

from agent_r import ChatFormat
from course.handmade import check, hold, shown
from engine.tiny import word_tokenizer

pytestmark = pytest.mark.ex8

TOKENIZER = word_tokenizer(
    "find the cup. kitchen: lamp. ok. garden: cup. Thought: that was wrong."
    " Action: revise go kitchen"
)


def chat_tokenizer():
    """A tokenizer whose template names the roles by words, and writes more behind a turn's end."""
    tokenizer = word_tokenizer(
        "find the cup. ask the assistant. tell the user. user assistant Action: go garden"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start>", "<pause>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<start>{{ m['role'] }} {{ m['content'] }}<end><pause>{% endfor %}"
        "{% if add_generation_prompt %}<start>assistant {% endif %}"
    )
    return tokenizer


CHAT = chat_tokenizer()


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


def encode(messages, tokenizer=TOKENIZER):
    return ChatFormat(tokenizer).encode(messages)


def words(ids, tokenizer=TOKENIZER):
    return " ".join(tokenizer.convert_ids_to_tokens(ids))


def learned(messages, tokenizer=TOKENIZER):
    """The learned tokens as words, `_` for every stretch that is not learned."""
    ids, labels = encode(messages, tokenizer)
    seen = []
    for word, label in zip(words(ids, tokenizer).split(), labels, strict=True):
        if label != -100:
            seen.append(word)
        elif seen[-1:] != ["_"]:
            seen.append("_")
    return " ".join(seen)


def test_shape_two_lists_of_whole_numbers_of_the_same_length():
    got = encode(REVISION)
    is_pair = isinstance(got, tuple) and len(got) == 2
    hold(is_pair, f"encode returns (ids, labels); got {shown(got)}")
    ids, labels = got
    for numbers in (ids, labels):
        hold(isinstance(numbers, list), f"ids and labels are lists; got {type(numbers)}")
    lengths = f"{len(ids)} ids and {len(labels)} labels"
    hold(len(ids) == len(labels), f"each token has a label; got {lengths}")


def test_example_the_tokens_of_a_revision():
    text = (
        "<user> find the cup . <agent> Action: go kitchen <end> "
        "<user> kitchen : lamp . <agent> Thought: that was wrong . Action: revise <end> "
        "<user> ok . <agent> Action: go garden <end>"
    )
    cause = "the last turn too ends with the end-of-turn token"
    ids, _ = encode(REVISION)
    check(
        "the tokens",
        words(ids),
        text,
        (text.removesuffix(" <end>"), cause),
        (
            text.replace("<end> <user>", "<end> <end> <user>"),
            "`turn` begins with the token that ends the assistant's turn",
        ),
    )


def test_example_what_is_learned_of_a_revision():
    thought = "Thought: that was wrong . Action: revise"
    good = "Action: go garden"
    bad = "Action: go kitchen"
    ids, _ = encode(REVISION)
    answers = "what the world says is read by the agent, not written by it: it is not learned"
    check(
        "what is learned",
        learned(REVISION),
        f"_ {thought} <end> _ {good} <end>",
        (
            f"_ {bad} <end> _ {thought} <end> _ {good} <end>",
            "`go kitchen` is a bad action and has loss=False",
        ),
        (
            f"_ {bad} _ {thought} _ {good}",
            "`go kitchen` has loss=False, and the end tokens are left out",
        ),
        (
            f"_ {thought} _ {good} _",
            "the token that ends a learned turn is learned: else the agent never stops speaking",
        ),
        (
            f"_ {thought} _ {good} <end>",
            "<end> is learned after every learned turn, not after the last alone",
        ),
        (
            f"_ {thought} <end> _ {good} _",
            "the end token of the last turn is learned as well",
        ),
        (
            f"_ <end> _ {thought} <end> _ {good} <end>",
            "<end> of a turn with loss=False is not learned",
        ),
        (
            f"_ {bad} _ {thought} <end> _ {good} <end>",
            "`go kitchen` is a bad action and has loss=False",
        ),
        (
            f"_ {bad} _ <end> _ {good} <end>",
            "each turn has its own flag; this is the one before's",
        ),
        (
            f"_ <agent> {thought} _ <agent> {good} _",
            "a label stands at its own token; the shift by one is the loss's",
        ),
        (words(ids), "everything is learned; what is not has the label -100"),
        (
            f"_ <agent> {thought} <end> _ <agent> {good} <end>",
            "<agent> is given to the agent, not written by it",
        ),
        (
            f"_ <user> kitchen : lamp . <agent> {thought} <end> <user> ok . <agent> {good} <end>",
            answers,
        ),
        (f"<user> find the cup . <agent> _ {thought} <end> _ {good} <end>", answers),
    )


def test_edge_what_a_template_writes_behind_the_end_is_not_learned():
    messages = [
        user("find the cup."),
        agent("Action: go garden", loss=True),
        user("the cup."),
        agent("Action: go garden", loss=True),
    ]
    good = "Action: go garden <end>"
    check(
        "what is learned with a template that writes `<end> <pause> <start> user` between turns",
        learned(messages, CHAT),
        f"_ {good} _ {good}",
        (
            f"_ {good} <pause> <start> user _ {good}",
            "of what stands between two turns only the first token is said by the agent",
        ),
        (
            f"_ {good} <pause> _ {good}",
            "of what stands between two turns only the first token is said by the agent",
        ),
        (
            f"_ {good} <pause> _ {good} <pause>",
            "the agent says the token that ends its turn, `self.end`, and nothing behind it",
        ),
        (
            f"_ Action: go garden _ {good}",
            "<end> is learned after every learned turn, not after the last alone",
        ),
        (
            f"_ {good} _ Action: go garden _",
            "the end token of the last turn is learned as well",
        ),
    )


def test_edge_the_words_of_a_role_may_stand_in_a_text():
    messages = [
        user("ask the assistant."),
        agent("Action: tell the user.", loss=False),
        user("tell the assistant."),
        agent("Action: ask the assistant.", loss=True),
    ]
    got = learned(messages, CHAT)
    cause = "whose turn it is stands in the message's `role`; the same word may stand in a text"
    check(
        "what is learned where the turns speak of a user and of an assistant",
        got,
        "_ Action: ask the assistant . <end>",
        (got, cause),
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
    cause = "nothing has been said yet that could end"
    check("the tokens", words(ids), text, (text + " <end>", cause))
    check("the labels", labels, [-100] * len(ids))
    expected = "_ Thought: that was wrong . Action: revise <end> _"
    check("what is learned up to `ok.`", learned(REVISION[:5]), expected)


@pytest.mark.parametrize(
    "messages",
    [
        [agent("Action: go garden", loss=True)],
        [user("find the cup."), user("ok.")],
        [*REVISION, agent("", loss=True)],
    ],
    ids=["agent first", "user twice", "agent twice"],
)
def test_edge_roles_that_do_not_alternate_are_refused(messages):
    try:
        encode(messages)
    except ValueError:
        return
    roles = [message["role"] for message in messages]
    rule = "user and assistant must alternate, the user first"
    pytest.fail(f"{rule}; {roles} was encoded, not refused", pytrace=False)


@pytest.mark.parametrize(
    "flags", [(False, False, False), (True, False, True), (False, True, False), (True, True, True)]
)
def test_property_a_label_is_its_own_token_or_nothing(flags):
    messages = [dict(message) for message in REVISION]
    for message, flag in zip(messages[1::2], flags, strict=True):
        message["loss"] = flag
    ids, labels = encode(messages)
    wrong = []
    for at, (token, label) in enumerate(zip(ids, labels, strict=True)):
        if label not in (-100, token):
            wrong.append(at)
    rule = "labels stand at their own tokens; the shift by one is the loss's"
    hold(not wrong, f"{rule}. They differ at {wrong}")
    expected = 0
    for length, flag in zip((4, 8, 4), flags, strict=True):  # tokens of each turn, with <end>
        expected += length if flag else 0
    count = sum(label != -100 for label in labels)
    check(f"how many tokens are learned with the flags {flags}", count, expected)
    check("the tokens, which flags do not change", ids, encode(REVISION)[0])


def test_property_of_dialogues_by_lot_exactly_the_learned_turns_are_learned(rng):
    texts = ["go garden", "go kitchen", "Thought: that was wrong. Action: revise", "the cup."]
    for _ in range(20):
        messages = [user(rng.choice(texts))]
        expected = ["_"]
        for _ in range(rng.randint(1, 5)):
            said = agent(rng.choice(texts), loss=rng.random() < 0.5)
            messages += [said, user(rng.choice(texts))]
            if said["loss"]:
                expected += [words(ChatFormat(TOKENIZER).reply(said["content"])), "<end>", "_"]
        del messages[-1]  # it ends with what the agent said
        if expected[-2:] == ["<end>", "_"] and messages[-1]["loss"]:
            del expected[-1]
        turns = [(message["content"], message.get("loss")) for message in messages]
        check(f"what is learned of {turns}", learned(messages), " ".join(expected))
