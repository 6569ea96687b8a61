"""Chat templates of many families: what each writes around a text, and what comes of it in ids.

The tokenizers are small ones, trained here; the templates have the traits of published ones.
"""

import datetime
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor

import published
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from agent_r import ChatFormat
from engine import UserError, chat_rendering
from engine.chat import Template
from engine.chat_limits import BoundedEnvironment

resource = pytest.importorskip("resource")  # Linux and macOS

MARKS = ("<s>", "</s>", "<|user|>", "<|bot|>", "<|end|>", "<|final|>", "<|back|>")
CORPUS = [
    "USER: ASSISTANT: [INST] the cup is downstairs. hall: nothing, no cup. [/INST]\n\n\n",
    "Thought: that was wrong.\nAction: go kitchen\n\nAction: put cup Action: go </think>\n<think>",
    "user\nassistant\nmodel\n### Instruction:\n### Response:\n 12345 3.14 <b>tags</b>",
] * 3


def byte_level():
    """A tokenizer of GPT-2's kind: words with the space before them, bytes where it must."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    return trained(tokenizer, trainer)


def sentence_piece(metaspace=False):
    """A tokenizer of Llama 2's kind, which writes a space before a text, in one of two ways."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # no token across words
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    special = ["<unk>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    fast = trained(tokenizer, trainer, unk_token="<unk>")
    if metaspace:
        whole_text = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        fast.backend_tokenizer.pre_tokenizer = whole_text
    else:
        prepend = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        fast.backend_tokenizer.pre_tokenizer = None
        fast.backend_tokenizer.normalizer = normalizers.Sequence(prepend)
    return fast


def trained(tokenizer, trainer, **options):
    """The tokenizer with the marks of the templates, `<think>` and an added line break among them.

    No piece of it holds a line break, as none of Llama 2's does.
    """
    tokenizer.train_from_iterator([text.replace("\n", " ") for text in CORPUS], trainer)
    parts = json.loads(tokenizer.to_str())
    parts["added_tokens"] = []  # the bytes are ordinary pieces
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", **options
    )
    added = [AddedToken(mark, special=True, normalized=False) for mark in MARKS]
    fast.add_tokens([*added, AddedToken("<think>"), AddedToken("</think>"), AddedToken("\n\n")])
    return fast


KINDS = {
    "bytes": byte_level(),
    "prepend": sentence_piece(),
    "metaspace": sentence_piece(metaspace=True),
}


def turns(user, assistant, ask="", before=""):
    """A template that writes these for a turn of each role."""
    return (
        f"{before}{{% for m in messages %}}{{% if m.role == 'user' %}}{user}"
        f"{{% else %}}{assistant}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{ask}{{% endif %}}"
    )


USER = "<|user|>\n{{ m.content }}<|end|>\n"
SAID = "{{ m.content.split('</think>')[-1].strip() }}"
THOUGHTLESS = "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}"

# Each writes every turn alike: ids are those of the whole rendering.
PLAIN = {
    "marks": turns(USER, "<|bot|>\n{{ m.content }}<|end|>\n", "<|bot|>\n"),
    "trimmed": turns(
        USER.replace("content", "content|trim"), "<|bot|>{{ m.content|trim }}</s>", "<|bot|>"
    ),
    "a space of the content (Mistral)": turns(
        "[INST] {{ m.content }} [/INST]", " {{ m.content }}</s>", before="<s>"
    ),
    "spaces around it (Llama 2)": turns(
        "<s>[INST] {{ m.content.strip() }} [/INST]", " {{ m.content.strip() }} </s>"
    ),
    "words for roles (Vicuna)": turns(
        "USER: {{ m.content }} ", "ASSISTANT: {{ m.content }}</s>", "ASSISTANT:", "<s>a chat. "
    ),
    "nothing ends the last turn (GLM-4)": turns(
        "<|user|>\n{{ m.content }}", "<|bot|>\n{{ m.content }}", "<|bot|>\n", "<s>"
    ),
    "an end only between turns (Apertus)": turns(
        "{% if not loop.first %}<|back|>{% endif %}<|user|>{{ m.content }}<|end|>",
        "<|bot|>{{ m.content }}",
        "<|bot|>",
    ),
}

CUP = "the cup is downstairs.\nhall: nothing, no cup."
ODD = [
    "<b>3 items</b> &amp; <h1>x</h1>\n\n\n<table>\n\tend",
    "  spaces on both sides  ",
    "<think>hm</think> go",
    "漢字 é 🙂 12345 3.14",
    "a  b   c",
    "",
]
DIALOGUES = [
    [CUP],
    [CUP, "Action: go kitchen"],
    [CUP, "Action: go kitchen", "ok."],
    [CUP, "Thought: that was wrong.\nAction: go", "ok.", "Action: put cup"],
    *[[odd] for odd in ODD],
    *[[CUP, "Action: go", odd] for odd in ODD],
    *[[CUP, odd, CUP] for odd in ODD if "\n\n" not in odd],
]


def with_template(kind, template):
    tokenizer = KINDS[kind]
    tokenizer.chat_template = template
    return tokenizer


def messages_of(dialogue):
    roles = itertools.cycle(["user", "assistant"])
    return [
        {"role": role, "content": text, "loss": True}
        for role, text in zip(roles, dialogue, strict=False)
    ]


def whole(tokenizer, dialogue, **options):
    """The ids of the template's own rendering, up to where the assistant speaks if it is next."""
    asks = len(dialogue) % 2 == 1
    messages = messages_of(dialogue)
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=asks, return_dict=False, **options
    )


def ours(tokenizer, dialogue):
    return ChatFormat(tokenizer).encode(messages_of(dialogue))[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trait", PLAIN)
def test_the_ids_of_a_dialogue_are_the_whole_renderings(kind, trait):
    tokenizer = with_template(kind, PLAIN[trait])
    end = ChatFormat(tokenizer).end
    for dialogue in DIALOGUES:
        ids, expected = ours(tokenizer, dialogue), whole(tokenizer, dialogue)
        if len(dialogue) % 2 == 0:
            assert ids[-1] == end
            ids = ids[: len(expected)]  # the template may leave the end of the last turn away
            expected = expected[: len(ids)]  # or write a line break behind it
        assert ids == expected, (kind, dialogue)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trait", PLAIN)
def test_what_is_read_while_acting_is_what_is_trained_on(kind, trait):
    chat = ChatFormat(with_template(kind, PLAIN[trait]))
    for first, said, second in itertools.product(ODD[:3], ODD, ODD[:3]):
        ids, _ = chat.encode(messages_of([first, said, second]))
        assert ids == chat.opening(first) + chat.reply(said) + chat.turn(second)
        assert chat.turn(second)[0] == chat.end


@pytest.mark.parametrize("kind", KINDS)
def test_a_space_at_the_end_of_the_prompt_is_left_to_the_reply_that_takes_it(kind):
    template = turns("<s>Q: {{ m.content }}\n", "A: {{ m.content }}</s>", "A: ")
    tokenizer = with_template(kind, template)
    for dialogue in ([CUP, "Action: go"], [CUP, "Action: go", "ok.", "Thought: x"]):
        assert ours(tokenizer, dialogue) == whole(tokenizer, dialogue)
    opening, answer = ChatFormat(tokenizer).opening(CUP), whole(tokenizer, [CUP, "Action: go"])
    assert answer[: len(opening)] == opening


OPENED = turns(USER, f"<|bot|>\n{SAID}<|end|>\n", "<|bot|>\n<think>\n")
UNWANTED = "{% if enable_thinking is defined and not enable_thinking %}"
SHUT = turns(USER, f"<|bot|>\n{SAID}<|end|>\n", f"<|bot|>\n{UNWANTED}<think></think>{{% endif %}}")
QWEN = turns(
    USER,
    f"<|bot|>\n{THOUGHTLESS}{SAID}<|end|>\n",
    f"<|bot|>\n{UNWANTED}<think>\n\n</think>\n\n{{% endif %}}",
)


def test_a_prompt_that_opens_a_thought_is_read_in_every_turn():
    tokenizer = with_template("bytes", OPENED)
    chat = ChatFormat(tokenizer)
    think = tokenizer.convert_tokens_to_ids("<think>")
    assert chat.opening(CUP) == whole(tokenizer, [CUP])
    ids, _ = chat.encode(messages_of([CUP, "Action: go", "ok.", "Action: put cup", "ok."]))
    assert ids.count(think) == 3
    assert chat.reply("  Action: go ") == chat.reply("Action: go")  # trimmed by the template
    ids, _ = chat.encode(messages_of([CUP, "hm\n</think>\n\nAction: go"]))
    assert tokenizer.decode(ids).endswith("<think>\nhm\n</think>\n\nAction: go<|end|>")


@pytest.mark.parametrize("template", [SHUT, QWEN])
def test_a_template_that_can_do_without_thoughts_is_asked_to(template):
    tokenizer = with_template("bytes", template)
    chat = ChatFormat(tokenizer)
    assert chat.opening(CUP) == whole(tokenizer, [CUP], enable_thinking=False)
    assert chat.opening(CUP) != whole(tokenizer, [CUP])


def test_where_earlier_thoughts_are_dropped_the_last_turn_is_the_templates():
    tokenizer = with_template("bytes", QWEN)
    chat = ChatFormat(tokenizer)
    dialogue = [CUP, "Action: go", "ok.", "  Action: put cup "]
    expected = whole(tokenizer, dialogue, enable_thinking=False)
    last = [*chat.turn(dialogue[2]), *chat.reply(dialogue[3]), chat.end]
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert expected[-len(last) - 1 :] == [*last, *newline]


def test_a_template_that_insists_on_thoughts_is_let_have_them():
    insists = "{% if enable_thinking is defined %}{{ raise_exception('no') }}{% endif %}"
    tokenizer = with_template("bytes", insists + PLAIN["marks"])
    assert ours(tokenizer, [CUP]) == whole(tokenizer, [CUP])


def test_a_channel_that_nobody_can_say_is_read():
    # As `<|channel|>final<|message|>` of gpt-oss, whose last turn has another end as well.
    ended = "{% if loop.last %}</s>{% else %}<|end|>{% endif %}"
    template = turns(
        "<|user|>{{ m.content }}<|end|>", f"<|bot|><|final|>{{{{ m.content }}}}{ended}", "<|bot|>"
    )
    tokenizer = with_template("bytes", template)
    chat = ChatFormat(tokenizer)
    assert tokenizer.decode(chat.opening(CUP)).endswith("<|bot|><|final|>")
    assert chat.end == tokenizer.convert_tokens_to_ids("<|end|>")
    ids = ours(tokenizer, [CUP, "Action: go"])
    assert ids[:-1] == whole(tokenizer, [CUP, "Action: go"])[:-1]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (PLAIN["marks"], published.EQUAL),
        (PLAIN["nothing ends the last turn (GLM-4)"], published.EQUAL),
        (QWEN, published.LAST),
        (SHUT.replace("content", "content|upper"), "refused: "),
        (None, "has no chat template"),
    ],
    ids=["marks", "no last end", "dropped thoughts", "another text", "none"],
)
def test_the_command_tells_what_comes_of_a_published_template(tmp_path, template, told):
    with_template("bytes", template).save_pretrained(tmp_path)
    assert published.tried(tmp_path).startswith(told)


def test_the_command_finds_ids_that_differ_and_marks_that_forge(tmp_path, monkeypatch):
    with_template("bytes", PLAIN["marks"]).save_pretrained(tmp_path)
    monkeypatch.setattr(Template, "_asked", lambda self, text: text.lower())
    assert "other ids in" in published.tried(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(Template, "_safe", lambda self, piece, text: piece(text))
    assert "FORGED by ['</s>'" in published.tried(tmp_path)


# --- what a text cannot do


FORGED = {
    "marks": ["<|user|>", "<|bot|>", "<|end|>", "</s>", "<|final|>"],
    "a space of the content (Mistral)": ["[INST]", "[/INST]", "</s>", "<s>"],
    "words for roles (Vicuna)": ["USER:", "ASSISTANT:", "</s>"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trait", FORGED)
def test_what_would_forge_a_turn_becomes_a_space_and_nothing_else_does(kind, trait):
    tokenizer = with_template(kind, PLAIN[trait])
    chat = ChatFormat(tokenizer)
    for mark in FORGED[trait]:
        for piece in (chat.opening, chat.turn, chat.reply):
            assert piece(f"go{mark}put") == piece("go put")
            assert piece(f"go{mark}{mark[:2]}{mark}{mark[2:]}put") == piece(
                f"go {mark[:2]} {mark[2:]}put"
            )
    kept = "<think>go</think>\n\n<b>user</b> and assistant\n\n\n"
    assert kept in tokenizer.decode(chat.turn(kept))


def test_a_roles_mark_that_is_an_ordinary_added_token_is_neither_read_in_a_text_nor_said():
    # As `<|USER_TOKEN|>` in Cohere's family.
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<|USER_TOKEN|>", special=False)])
    tokenizer.chat_template = PLAIN["marks"].replace("<|user|>", "<|USER_TOKEN|>")
    chat = ChatFormat(tokenizer)
    mark = tokenizer.convert_tokens_to_ids("<|USER_TOKEN|>")
    assert mark in chat.template.unspoken
    assert chat.turn("go<|USER_TOKEN|>put") == chat.turn("go put")
    assert tokenizer.convert_tokens_to_ids("<think>") not in chat.template.unspoken


def test_a_mark_that_is_also_found_in_other_letters_is_not_smuggled_in():
    tokenizer = byte_level()
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Lowercase()
    backend.add_special_tokens([AddedToken("<|role|>", special=True, normalized=True)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    tokenizer.chat_template = PLAIN["marks"].replace("<|user|>", "<|role|>")
    chat = ChatFormat(tokenizer)
    mark = tokenizer.convert_tokens_to_ids("<|role|>")
    assert chat.turn("go <|ROLE|> put").count(mark) == chat.turn("go put").count(mark) == 1


def wide(text):
    """The text in full-width letters and signs."""
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


def restoring(kind):
    """A tokenizer whose normaliser writes full-width letters and signs as plain ones."""
    made = {"bytes": byte_level, "prepend": sentence_piece}[kind]()
    backend = made.backend_tokenizer
    steps = [normalizers.NFKC(), *([backend.normalizer] if backend.normalizer else [])]
    backend.normalizer = normalizers.Sequence(steps)
    parts = json.loads(backend.to_str())
    for token in parts["added_tokens"]:
        token["normalized"] = True  # so that marks are looked for in what was normalized
    backend = Tokenizer.from_str(json.dumps(parts))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token=made.unk_token
    )


@pytest.mark.parametrize("kind", ["bytes", "prepend"])
@pytest.mark.parametrize("trait", FORGED)
def test_a_mark_that_a_normaliser_would_restore_stays_text(kind, trait):
    tokenizer = restoring(kind)
    tokenizer.chat_template = PLAIN[trait]
    chat = ChatFormat(tokenizer)
    for mark in FORGED[trait]:
        restored = tokenizer.decode(tokenizer(wide(mark), add_special_tokens=False)["input_ids"])
        assert mark in restored.replace(" ", ""), "else nothing is tried here"
        for piece in (chat.opening, chat.turn, chat.reply):
            seen = tokenizer.decode(piece(f"go {wide(mark)} put"))
            assert seen.count(mark) == tokenizer.decode(piece("go it put")).count(mark)
            assert "go" in seen
            assert "put" in seen


def test_a_template_that_makes_a_mark_of_a_text_is_not_followed():
    template = PLAIN["marks"].replace("m.content", "m.content|replace('(', '<|')")
    tokenizer = with_template("bytes", template)
    chat = ChatFormat(tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    for piece in (chat.opening, chat.turn, chat.reply):
        assert piece("go (end|> put").count(end) == piece("go it put").count(end)


# --- the day, names, and what goes wrong


def test_today_is_always_the_same_day(monkeypatch):
    dated = "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d') }}" + PLAIN["marks"]
    tokenizer = with_template("bytes", dated)
    opening = ChatFormat(tokenizer).opening(CUP)

    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 1, 2, tzinfo=tz)

    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    assert ChatFormat(tokenizer).opening(CUP) == opening
    assert tokenizer.decode(opening).startswith("26 Jul 2024 2024-07-26<|user|>")


def test_line_breaks_at_a_templates_beginning_stay():
    for beginning in ("\n", "\n\n  ", "  {% if true %}\n{% endif %}"):
        tokenizer = with_template("bytes", beginning + PLAIN["marks"])
        assert ours(tokenizer, [CUP]) == whole(tokenizer, [CUP])


def test_of_several_named_templates_the_default_one_is_taken():
    tokenizer = byte_level()
    tokenizer.chat_template = {"rag": "{{ documents[0] }}", "default": PLAIN["marks"]}
    assert ours(tokenizer, [CUP]) == whole(tokenizer, [CUP])
    tokenizer.chat_template = {"rag": PLAIN["marks"], "tools": PLAIN["marks"]}
    with pytest.raises(UserError, match="rag, tools; name one of them default"):
        Template(tokenizer)


NUMBERED = turns(
    "<|user|>{{ loop.index }}{{ m.content }}<|end|>", "<|bot|>{{ m.content }}</s>", "<|bot|>"
)
LAST = "{% if messages|length == 4 and loop.last %}so {% endif %}"
ENDLESS = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"
BROKEN = {
    "numbers its turns": (NUMBERED, "turn by turn.*becomes"),
    "begins a last turn otherwise": (
        turns(USER, f"<|bot|>{LAST}{{{{ m.content }}}}</s>", "<|bot|>"),
        "turn by turn.*becomes",
    ),
    "leaves the user out": (turns("<|user|>", "<|bot|>{{ m.content }}</s>"), "writes 0 texts"),
    "says it twice": (
        turns(USER + USER, "<|bot|>{{ m.content }}</s>", "<|bot|>"),
        "writes 2 texts",
    ),
    "asks otherwise": (turns(USER, "<|bot|>{{ m.content }}</s>", "<|final|>"), "behind.*writes"),
    "a line break ends": (turns("Q: {{ m.content }}\n", "A: {{ m.content }}\n", "A:"), "special"),
    "a tag ends": (turns("<q>{{ m.content }}", "<a>{{ m.content }}</a>", "<a>"), "special"),
    "ends two ways": (
        turns(
            "<|user|>{{ m.content }}",
            "<|bot|>{{ m.content }}{% if loop.last %}</s>{% endif %}",
            "<|bot|>",
        ),
        "same token",
    ),
    "wrong type": ("{{ 1 + 'one' }}", "cannot be rendered: unsupported operand"),
    "no parts": ("{{ messages[0].content[0]['text'] + 1 }}", "cannot be rendered"),
    "sandbox": ("{{ ''.__class__.__mro__ }}", "cannot be rendered"),
    "changes its data": ("{{ messages.append(1) }}", "cannot be rendered"),
    "divides by zero": ("{{ 1 // 0 }}", "cannot be rendered"),
    "calls itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "cannot be rendered"),
    "loops": (ENDLESS + PLAIN["marks"], "does not end within"),
    "writes without end": ("{{ 'x' * 2000000 }}", "2,000,000 characters"),
    "is long itself": (PLAIN["marks"] + "{# x #}" * 200_000, "text of 1,4.*characters"),
}
TWICE = "{% set x = x ~ x %}"
NAMESPACE = "{% set ns = namespace(x='a', list=[]) %}"
ROUNDS = "{% for i in range(99999) %}"
LONG = "{% set long = 'a' * 1000000 %}"
TOO_MUCH = {  # each would take minutes or gigabytes
    "range": "{% for i in range(10**9) %}{% endfor %}",
    "text": "{{ 'a' * 10**10 }}",
    "list": "{{ [1] * 10**10 }}",
    "power": "{{ 10**(10**9) }}",
    "squares": "{% set x = 10**900 %}" + "{% set x = x * x %}" * 40,
    "doubled": "{% set x = 'ab' %}" + TWICE * 60,
    "added": f"{NAMESPACE}{ROUNDS}{{% set ns.x = ns.x + ns.x %}}{{% endfor %}}",
    "joined": f"{NAMESPACE}{ROUNDS}{{% set ns.x = ns.x ~ ns.x %}}{{% endfor %}}",
    "at once": f"{LONG}{{{{ {' ~ '.join(['long'] * 5000)} }}}}",
    "slices": f"{LONG}{{% set all = [{'long[1:],' * 5000}] %}}",
    "collected": f"{LONG}{NAMESPACE}{ROUNDS}"
    "{% set ns.list = ns.list + [long.upper()] %}{% endfor %}",
    "nested": "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "nested dicts": "{% set x = {} %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x }}",
    "called dicts": "{% set x = {} %}" + "{% set x = dict(a=x, b=x) %}" * 60 + "{{ x }}",
    "filter": "{{ 'a'|center(10**10) }}",
    "method": "{{ 'a'.zfill(10**10) }}",
    "format": "{{ '%10000000000d' % 1 }}",
    "star": "{{ '%*d' % (10**10, 1) }}",
    "format filter": "{{ '%10000000000d'|format(1) }}",
    "format method": "{{ '{:10000000000}'.format(1) }}",
    "inner width": "{{ '{:{w}}'.format(1, w=10**10) }}",
    "mapped width": "{{ '{:{w}}'.format_map({'w': 10**10}) }}",
    "replace": LONG + "{{ long.replace('', long) }}",
    "replace filter": LONG + "{{ long|replace('', long) }}",
    "join": LONG + "{{ range(9999)|map('string')|join(long) }}",
    "lipsum": "{{ lipsum(n=10**9) }}",
    "indent": "{{ 'a\nb'|indent(10**10) }}",
    "tojson": "{{ {'a': [1]}|tojson(indent=10**10) }}",
    "rows": "{{ [1]|batch(10**10, 'x')|list }}",
    "filtered loop": "{% set all = range(99999)|list %}{% for i in all if -1 in all %}{% endfor %}",
    "output": f"{LONG}{ROUNDS}{{{{ long }}}}{{% endfor %}}",
    "block": f"{LONG}{{% set y %}}{ROUNDS}{{{{ long }}}}{{% endfor %}}{{% endset %}}",
    "macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(50) }}",
    "slow filter": "{{ ('a b' * 2000000)|wordwrap(1) }}",
}


@pytest.mark.parametrize("kind", TOO_MUCH)
@pytest.mark.parametrize("main", [True, False], ids=["main", "thread"])
def test_a_template_can_neither_hang_nor_fill_the_memory(kind, main, monkeypatch):
    monkeypatch.setattr(chat_rendering, "SECONDS", 0.2)
    tokenizer = with_template("bytes", TOO_MUCH[kind] + PLAIN["marks"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with ThreadPoolExecutor(1) as pool:
        take = (lambda: Template(tokenizer)) if main else pool.submit(Template, tokenizer).result
        with pytest.raises(UserError, match="chat template cannot be rendered"):
            take()
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB on Linux


def test_a_template_that_only_some_text_lets_grow_cannot_hang_either():
    template = "{% if 'bomb' in messages[-1].content %}{{ 'a' * 10**10 }}{% endif %}"
    chat = ChatFormat(with_template("bytes", template + PLAIN["marks"]))
    assert chat.template.opening("a bomb") != chat.template.opening("a")


def test_a_plain_template_is_rendered_as_transformers_does_without_a_limit():
    """The environment that stands in for jinja's sandbox changes no text."""
    rich = (
        "{% set ns = namespace(n=0) %}{% for m in messages if m.content %}{% set ns.n = ns.n + 1 %}"
        "{{ '%s-%d' | format(m.role, ns.n) }} {{ m.content[1:] ~ m['content'] | upper | tojson }}"
        "{{ 'x' * 3 }} {{ [1, (2, 3), {'a': none}] }} {{ messages | map(attribute='role') | list }}"
        "{% if not loop.first %}{% break %}{% endif %}{% endfor %}{{ 7 % 4 }} {{ 2 ** 5 }} "
        "{% macro f(a, b='c') %}{{ a.replace('h', b) }}{% endmacro %}{{ f('ho') }} "
        "{{ '{:>4}'.format(1) }}"
    )
    bounded = chat_template_utils._cached_compile_jinja_template(rich)
    assert isinstance(bounded.environment, BoundedEnvironment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            chat_template_utils, "ImmutableSandboxedEnvironment", ImmutableSandboxedEnvironment
        )
        plain = chat_template_utils._cached_compile_jinja_template(rich)
    messages = [{"role": "user", "content": "hall"}, {"role": "assistant", "content": "go"}]
    assert bounded.render(messages=messages) == plain.render(messages=messages)


@pytest.mark.parametrize("fault", BROKEN)
def test_what_goes_wrong_in_a_template_is_told_in_one_sentence_with_a_remedy(fault, monkeypatch):
    monkeypatch.setattr(chat_rendering, "SECONDS", 0.5)
    template, part = BROKEN[fault]
    tokenizer = with_template("bytes", template)
    with pytest.raises(UserError, match=part) as caught:
        Template(tokenizer)
    told = str(caught.value)
    assert "\n" not in told
    assert "; give the tokenizer" in told


def test_a_text_that_the_template_refuses_is_taken_as_it_is():
    picky = "{% if 'bomb' in messages[-1].content %}{{ raise_exception('no') }}{% endif %}"
    tokenizer = with_template("bytes", picky + PLAIN["marks"])
    chat = ChatFormat(tokenizer)
    assert "a bomb" in tokenizer.decode(chat.opening("a bomb"))
    assert tokenizer.decode(chat.reply("a bomb")) == "a bomb"
