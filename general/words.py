"""Whether a tiny model knows the words of the worlds that it is to act in.

A model that hears a manual was brought, and reads whatever there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agent_r import Message
from engine import UserError
from envs import World

NAMED = 5  # words, where many are missing


def unknown_words(tokenizer: Any, texts: Iterable[str]) -> list[str]:
    """Return the words of some texts that a tokenizer has no token for, each once, in order."""
    unknown: dict[str, None] = {}
    for text in dict.fromkeys(texts):
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        for token, (start, end) in zip(read["input_ids"], read["offset_mapping"], strict=True):
            if token == tokenizer.unk_token_id:
                unknown[text[start:end]] = None
    return list(unknown)


def in_words(missing: Sequence[str]) -> str:
    """Return the first of some words, and how many more there are."""
    some = ", ".join(map(repr, missing[:NAMED]))
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return some + more


def check_words_of(tokenizer: Any, world: World, name: str) -> None:
    """Raise `UserError` if a tiny model was made for another world, and lacks words of this one."""
    if world.told or tokenizer.unk_token_id is None:
        return
    missing = unknown_words(tokenizer, world.words.split())
    if missing:
        problem = f"the model lacks words of {name}, {in_words(missing)}"
        raise UserError(f"{problem}; name one that was made for that world")


def check_words_shown(
    tokenizer: Any, world: World, demonstrations: Sequence[Sequence[Message]]
) -> None:
    """Raise `UserError` if a tiny model lacks words to read the tasks shown, or to act in them.

    Only anybody's own world is looked at, and not what it answers on the way: of ScienceWorld's
    words, which are gathered from some of its tasks, a few are always missing.
    """
    if world.told or tokenizer.unk_token_id is None or not hasattr(world, "kept_here"):
        return
    texts: list[str] = []
    for messages in demonstrations:
        texts.append(messages[0]["content"])
        texts += [said["content"] for said in messages[1::2]]
    missing = unknown_words(tokenizer, texts)
    if missing:
        lacking = in_words(missing)
        problem = f"its demonstrations hold words that the tiny model does not know, {lacking}"
        remedy = "name them in its `words`, of which a tiny model's are made"
        raise UserError(f"the world {world.name}: {problem}; {remedy}")
