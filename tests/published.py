"""Chat templates as they are published, and what comes of them: `python -m tests.published`.

    python -m tests.published FOLDER ...

Each folder holds the tokenizer of a published model, `tokenizer.json` and `tokenizer_config.json`,
with its chat template.  Dialogues of one to six turns in odd texts are encoded and compared with
what transformers' `apply_chat_template` makes of them, ids with ids, and every mark of the template
is put into texts to forge a turn.  A line a folder says what came out.  Needs no weights.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from agent_r import ChatFormat
from engine import UserError
from engine.chat import sign_tokens, special_tokens

TEXTS = (
    "the cup is downstairs.\nhall: nothing, no cup.",
    "Thought: that was wrong.\nAction: go kitchen",
    "Action: search[red shoes, size 9.5]",
    "<b>3 items</b> &amp; <h1>x</h1>\n\n\n<table>\n\tend",
    "  spaces on both sides  ",
    "漢字 é 🙂 12345 3.14",
    "a  b   c\n\n\n\nd",
    "<think>hm</think> go",
    "",
)
DIALOGUES = 20
TODAY = "26 Jul 2024"  # as in engine/chat_rendering.py
EQUAL = "equal in all dialogues"
LAST = "equal in the last turn; earlier thoughts are dropped by the template"
OTHER = "other ids in {} of {} dialogues, first in {!r}"


def dialogues() -> list[list[str]]:
    """Return texts of user and assistant in turn: each odd text as both, then some drawn."""
    rng = random.Random(0)
    made = [list(TEXTS[:turns]) for turns in range(1, 4)]
    while len(made) < DIALOGUES:
        made.append(rng.choices(TEXTS, k=rng.randint(1, 6)))
    return made


def messages(dialogue: Sequence[str]) -> list[dict[str, Any]]:
    """Return a dialogue as messages, all learned."""
    roles = itertools.cycle(["user", "assistant"])
    return [
        {"role": role, "content": text, "loss": True}
        for role, text in zip(roles, dialogue, strict=False)
    ]


def rendered(tokenizer: Any, dialogue: Sequence[str]) -> list[int]:
    """Return the ids of the template's own rendering, up to where the assistant speaks if next."""
    options = {"add_generation_prompt": len(dialogue) % 2 == 1, "return_dict": False}
    options["date_string"] = TODAY
    try:
        return tokenizer.apply_chat_template(messages(dialogue), **options, enable_thinking=False)
    except Exception:  # a template that insists on thoughts, whatever it raises
        return tokenizer.apply_chat_template(messages(dialogue), **options)


def closing(chat: ChatFormat, tokenizer: Any) -> list[int]:
    """Return what the template writes behind the end of the last turn: nothing, a line, a prompt.

    It is the end itself where the template leaves it away.
    """
    dialogue = TEXTS[:2]
    ids, _ = chat.encode(messages(dialogue))
    expected = rendered(tokenizer, dialogue)
    return expected[len(ids) :] or ids[len(expected) :]


def same(chat: ChatFormat, tokenizer: Any, dialogue: Sequence[str], behind: list[int]) -> str:
    """Return how a dialogue's ids compare with the template's own, which may go on `behind`."""
    ids, _ = chat.encode(messages(dialogue))
    expected = rendered(tokenizer, dialogue)
    if len(dialogue) % 2 == 0 and expected in (ids + behind, ids[: len(ids) - len(behind)]):
        return EQUAL
    if ids == expected:
        return EQUAL
    said = len(dialogue) % 2 == 0
    last = list(chat.turn(dialogue[-2] if said else dialogue[-1]))
    if said:
        last += [*chat.reply(dialogue[-1]), chat.end]
    for whole in (last, last + behind):
        if len(dialogue) > 2 and expected[len(expected) - len(whole) + 1 :] == whole[1:]:
            return LAST
    return OTHER


def forged(chat: ChatFormat, tokenizer: Any) -> list[str]:
    """Return the marks that open or end a turn from within a text."""
    marks = sorted(special_tokens(tokenizer) | sign_tokens(tokenizer))
    turning = {chat.end, *chat.template.unspoken}

    def turns(ids: Sequence[int]) -> Counter[int]:
        return Counter(token for token in ids if token in turning)

    return [
        mark
        for mark in marks
        for piece in (chat.opening, chat.turn, chat.reply)
        if turns(piece(f"go {mark} put")) != turns(piece("go put"))
    ]


def tried(folder: Path) -> str:
    """Return what comes of a folder's template, in words."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except ValueError:  # its class is code of its own, which is not run
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    if tokenizer.chat_template is None:
        return "has no chat template"
    try:
        chat = ChatFormat(tokenizer)
    except UserError as error:
        return f"refused: {error}"
    behind = closing(chat, tokenizer)
    outcomes = [(same(chat, tokenizer, dialogue, behind), dialogue) for dialogue in dialogues()]
    others = [dialogue for outcome, dialogue in outcomes if outcome == OTHER]
    told = LAST if any(outcome == LAST for outcome, _ in outcomes) else EQUAL
    if others:
        told = OTHER.format(len(others), len(outcomes), others[0])
    marks = forged(chat, tokenizer)
    return f"{told}; FORGED by {marks}" if marks else told


def main(folders: Sequence[str]) -> int:
    """Print a line for each folder; return the exit status."""
    if not folders:
        print(__doc__)
        return 2
    logging.set_verbosity_error()
    for name in folders:
        there = (Path(name) / "tokenizer.json").exists()
        told = tried(Path(name)) if there else "has no tokenizer.json"
        print(f"{name}: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
