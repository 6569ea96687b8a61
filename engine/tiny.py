"""A model small enough to be trained from nothing in minutes, and a tokenizer over its words.

It is an ordinary `LlamaForCausalLM` with an ordinary `PreTrainedTokenizerFast`, so that one code
path serves it and a model of eight billion parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine import UserError
from engine.lookback import look_back
from engine.manual import Mark

# What stands within `generation` is what is learned, for whoever trains on our data with another
# trainer: the content of an assistant's turn and its end, unless its `loss` is false.
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}<user>{{ m['content'] }}"
    "{% elif m['loss'] is defined and not m['loss'] %}<agent>{{ m['content'] }}<end>"
    "{% else %}<agent>{% generation %}{{ m['content'] }}<end>{% endgeneration %}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<agent>{% endif %}"
)


@dataclass(frozen=True)
class TinyShape:
    """The size of a tiny model; with `lookback` it is born able to copy (see `engine.lookback`)."""

    width: int = 64  # of the hidden state
    layers: int = 2
    lookback: int = 0  # how many tokens back the heads of its first layer look
    max_length: int = 2048  # tokens of its context


def tiny_model(tokenizer: PreTrainedTokenizerFast, shape: TinyShape) -> LlamaForCausalLM:
    """Return a small random Llama; its weights are drawn from torch's own generator."""
    heads = max(1, shape.width // 32)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=heads,
        num_key_value_heads=1,  # a small cache to read
        intermediate_size=4 * shape.width,
        initializer_range=shape.width**-0.5,
        max_position_embeddings=shape.max_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Mark().put(config)  # it hears no manual, whose words it does not know
    if not shape.lookback:
        return LlamaForCausalLM(config)
    config.attention_bias = True  # so that a head can attend to a distance, whatever stands there
    config.num_key_value_heads = heads
    config.intermediate_size = shape.width
    config.initializer_range = 0.3 * shape.width**-0.5
    model = LlamaForCausalLM(config)
    look_back(model, shape.lookback)
    return model


def check_size(config: Any, expected: Any, what: str) -> None:
    """Raise `UserError`, which begins with `what`, for a model of another width or depth."""
    sizes = []
    for told in (config, expected):
        sizes.append(f"--width {told.hidden_size} --layers {told.num_hidden_layers}")
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{what}: was made with {sizes[0]}, and this run with {sizes[1]}; make them alike"
        )
    if config.intermediate_size != expected.intermediate_size:
        raise UserError(f"{what}: one of the two was born with --lookback, the other without")


def word_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer over the words of `text`, with a three-marker chat template.

    White space is dropped and put back by rule, and labels such as `Action:` are one token, so that
    dialogues stay short.  What `text` joins by `_` is one token where it stands side by side:
    `oak_planks` for oak planks, `,_2` for `, 2`.  Whatever is read is read with spaces for `_`, as
    a world may write its names so.
    """
    splitter = pre_tokenizers.Split(word_pattern(text), "removed", invert=True)
    pieces = splitter.pre_tokenize_str(text.replace("_", " "))
    words = sorted({word for word, _ in pieces})
    markers = ["<pad>", "<unk>", "<user>", "<agent>", "<end>"]
    vocabulary = {word: index for index, word in enumerate([*markers, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace("_", " ")
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=["<user>", "<agent>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def word_pattern(text: str) -> Regex:
    """Return what one token may be: a label, a joined name of `text`, a word or a sign."""
    labels = r"(Thought|Action|Judgment|Observation|Task|Log):"
    names = {name.replace("_", " ") for name in re.findall(r"[^\s_]+_\S+", text)}
    longest_first = sorted(names, key=len, reverse=True)
    joined = "|".join(re.escape(name) for name in longest_first) or "(?!)"
    return Regex(rf"{labels}|(\b|(?=\W))({joined})\b|\w+|[^\w\s]")
