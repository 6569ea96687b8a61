"""A tokenizer's chat template, taken apart into what stands between the contents of turns."""

from __future__ import annotations

import functools
import re
from typing import Any

from jinja2 import TemplateError

from engine import UserError

USER = "user content"
ASSISTANT = "assistant content"


class Template:
    """The pieces of a chat template as token ids, and what a turn's text becomes between them.

    `head` stands before the first user turn, `to_assistant` between a user's text and the
    assistant's, `to_user` between an assistant's text and the next user's.  `end`, the first token
    of `to_user`, ends an assistant's turn; `unspoken` are the special tokens that no turn holds.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises `UserError` for a template that is missing or does not render turn by turn."""
        self._tokenize = functools.partial(tokenizer, add_special_tokens=False)
        self._ids = functools.lru_cache(maxsize=200_000)(self._text_ids)  # much is said often
        self._marker = marker_pattern(tokenizer)
        head, to_assistant, to_user, tail = take_apart(tokenizer)
        self.head = self._ids(head)
        self.to_assistant = self._ids(to_assistant)
        self.to_user = self._ids(to_user)
        ends = {self._ids(piece)[:1] for piece in (tail, to_user)}
        if len(ends) > 1 or ends == {()}:
            reason = "does not end every assistant turn with the same token"
            raise UserError(f"the model's chat template {reason}")
        self.end = self.to_user[0]
        special = set(tokenizer.all_special_ids)
        for token, added in tokenizer.added_tokens_decoder.items():
            if added.special:  # also one that has no role of its own in the tokenizer
                special.add(token)
        self.unspoken = sorted(special - {self.end})

    def content(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a turn's text.

        A special or added token in it becomes a space: else a text could open another role's turn.
        """
        return self._ids(self._marker.sub(" ", text))

    def _text_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenize(text)["input_ids"])


def marker_pattern(tokenizer: Any) -> re.Pattern[str]:
    """Return a pattern that finds the tokenizer's special and added tokens in a text."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    markers = {*tokenizer.all_special_tokens, *added}
    longest_first = sorted(markers, key=len, reverse=True)
    alternatives = "|".join(re.escape(marker) for marker in longest_first)
    return re.compile(alternatives or r"(?!)")


def take_apart(tokenizer: Any) -> tuple[str, str, str, str]:
    """Return the texts before the first turn, before an assistant's, behind it, and at the end.

    Raises `UserError` for a template that is missing or does not render turn by turn.
    """
    if not getattr(tokenizer, "chat_template", None):
        remedy = "use a model that was made for chat"
        raise UserError(f"the model's tokenizer has no chat template; {remedy}")
    user = {"role": "user", "content": USER}
    assistant = {"role": "assistant", "content": ASSISTANT}
    render = functools.partial(tokenizer.apply_chat_template, tokenize=False)
    try:
        whole = render([user, assistant, user, assistant])
        opened = render([user, assistant, user], add_generation_prompt=True)
    except TemplateError as error:
        raise UserError(f"the model's chat template cannot be rendered: {error}") from error
    pieces = re.split(f"{USER}|{ASSISTANT}", whole)
    if len(pieces) == 5:
        head, to_assistant, to_user, _, tail = pieces
        turns = (head, USER, to_assistant, ASSISTANT, to_user, USER, to_assistant)
        if opened == "".join(turns):
            return head, to_assistant, to_user, tail
    remedy = "a plain one would do"
    raise UserError(f"the model's chat template does not render turn by turn; {remedy}")
