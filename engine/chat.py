"""A chat model's turns as token ids, whatever its template writes around them.

The template's pieces are found once (`engine.chat_pieces`).  Ids are those of the whole rendering:
a turn is tokenized from its first special token to where the other speaks, since a tokenizer reads
a text by what stands around it, and never across a special token.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from engine.chat_pieces import ASKS, THOUGHT, take_apart
from engine.chat_rendering import Rendering


class Template:
    """The turns of a dialogue as token ids.

    `to_user` stands before every user turn but the first, and its first token, `end`, ends the
    assistant's; `unspoken` are the special tokens, and others that tell whose turn it is, which no
    reply holds.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises `UserError` for a template that is missing or does not render turn by turn."""
        self._tokenize = functools.partial(tokenizer, add_special_tokens=False)
        self._rendering = Rendering(tokenizer)
        special = special_tokens(tokenizer)
        signs = special | sign_tokens(tokenizer)
        self._pieces = take_apart(self._rendering, pattern(special), pattern(signs))
        roles = {sign for sign in signs if any(sign in role for role in self._pieces.roles)}
        words = role_words(self._pieces.roles, special | roles)
        self._marks = pattern({*special, *roles, *words})
        ids = {tokenizer.convert_tokens_to_ids(token) for token in special | roles}
        self.to_user = self._ids(self._pieces.to_user)
        self.end = self.to_user[0]
        self.unspoken = sorted(ids - {self.end})
        unknown = {tokenizer.unk_token_id}  # which an odd letter becomes, and no mark
        turning = {self.end, *map(tokenizer.convert_tokens_to_ids, roles)}
        self._signs = Signs(tokenizer, turning | (ids - unknown), pattern(words) if words else None)
        self._context = self._before_a_reply(pattern(special))
        self._give_spaces_to_replies()
        self._signs_of: dict[Callable[[str], tuple[int, ...]], list[Any]] = {}
        cached = functools.lru_cache(maxsize=200_000)  # much is said often
        self.opening = cached(self._opening)
        self.turn = cached(self._turn)
        self.reply = cached(self._reply)

    def _opening(self, text: str) -> tuple[int, ...]:
        """Return the ids of the first user turn, up to where the assistant speaks."""
        return self._safe(self._read_first, text)

    def _turn(self, text: str) -> tuple[int, ...]:
        """Return the ids from the end of an assistant's turn to where it speaks again."""
        return self._safe(self._read, text)

    def _reply(self, text: str) -> tuple[int, ...]:
        """Return the ids of an assistant's turn, without the one that ends it."""
        return self._safe(self._say, text)

    def _safe(self, piece: Callable[[str], tuple[int, ...]], text: str) -> tuple[int, ...]:
        """Return the ids of a piece in which nothing but the template opens or ends a turn.

        What would, becomes a space.  The ids tell, not the text: a tokenizer may find a mark that
        is written otherwise, in other letters for instance, and a template may write one itself.
        """
        if piece not in self._signs_of:
            self._signs_of[piece] = self._signs.of(piece("hello"))
        for harmless in less_and_less(self._marks.sub(" ", text)):
            ids = piece(harmless)
            if self._signs.of(ids) == self._signs_of[piece]:
                break
        return ids

    def _read_first(self, text: str) -> tuple[int, ...]:
        return self._ids(self._pieces.head + self._asked(text) + self._pieces.prompt)

    def _read(self, text: str) -> tuple[int, ...]:
        return self._ids(self._pieces.to_user + self._asked(text) + self._pieces.prompt)

    def _say(self, text: str) -> tuple[int, ...]:
        said = self._said(text)
        before = self._ids(self._context)
        ids = self._ids(self._context + said + self._pieces.end)
        if ids[: len(before)] == before:
            return ids[len(before) : -1]
        # A reply that would change the tokens before it, which have been read when it is said.
        return self._ids(self._pieces.end + said + self._pieces.end)[1:-1]

    def _asked(self, text: str) -> str:
        """Return what the template makes of a user's text: most often the text, or trimmed."""
        head, prompt = self._pieces.head, self._pieces.prompt
        rendered = self._rendered(text, ask=True)
        if not rendered.endswith(prompt):
            rendered = rendered.rstrip(" ")  # spaces that were given to replies
        if rendered.startswith(head) and rendered.endswith(prompt):
            return rendered[len(head) : len(rendered) - len(prompt)]
        return text

    def _said(self, text: str) -> str:
        """Return what the template makes of an assistant's text in the last turn.

        A template that drops words of it, as of a thought, or writes them behind something else
        than is read before a reply, is not followed: the text stays as it is.
        """
        pieces = self._pieces
        before = pieces.head + ASKS[0] + pieces.known
        rendered = self._rendered(ASKS[0], text, ask=False)
        if rendered.startswith(before) and rendered.endswith(pieces.closing):
            said = rendered[len(before) :].removesuffix(pieces.closing)
            if "".join(text.split()) in "".join(said.split()):
                return said + pieces.trail
        return pieces.lead + text + pieces.trail

    def _rendered(self, *turns: str, ask: bool) -> str:
        try:
            return self._rendering.text(*turns, ask=ask)
        except Exception:  # the template refuses this text, whatever a stranger's program raises
            return ""

    def _give_spaces_to_replies(self) -> None:
        """Move spaces at the end of the prompt into the reply, if its first word takes them."""
        ids = self._ids(self._context)
        if self._ids(self._context + self._pieces.lead + "Action")[: len(ids)] != ids:
            context = self._context.rstrip(" ")
            self._pieces = replace(
                self._pieces,
                prompt=self._pieces.prompt.rstrip(" "),
                known=self._pieces.known.rstrip(" "),
                lead=self._context.removeprefix(context) + self._pieces.lead,
            )
            self._context = context

    def _before_a_reply(self, special: re.Pattern[str]) -> str:
        """Return the end of an opening, as much of it as a tokenizer needs to read a reply."""
        opening = self._pieces.head + ASKS[0] + self._pieces.prompt
        starts = [found.start() for found in special.finditer(opening)]
        return opening[starts[-1] :] if starts else opening

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenize(text)["input_ids"])


class Signs:
    """What tells in ids whose turn it is: some tokens, and words that are no tokens."""

    def __init__(self, tokenizer: Any, tokens: set[int], words: re.Pattern[str] | None) -> None:
        self._decode = tokenizer.decode
        self._tokens = tokens
        self._words = words

    def of(self, ids: Sequence[int]) -> list[Any]:
        """Return the signs in some ids, in order, tokens first."""
        signs: list[Any] = [token for token in ids if token in self._tokens]
        if self._words:
            signs += self._words.findall(self._decode(ids))
        return signs


def less_and_less(text: str) -> Iterator[str]:
    """Yield a text, then what is left of it without signs, without strange letters, and nothing."""
    yield text
    yield re.sub(r"[^\w\s]", " ", text)
    yield re.sub(r"[^A-Za-z0-9\s]", " ", text)
    yield ""


def special_tokens(tokenizer: Any) -> set[str]:
    """Return the tokenizer's special tokens, those included that have no role of their own."""
    tokens = set(tokenizer.all_special_tokens)
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            tokens.add(str(token))
    return {token for token in tokens if token.strip()}


def sign_tokens(tokenizer: Any) -> set[str]:
    """Return the added tokens that look like marks, special or not, but those around a thought."""
    tokens = map(str, tokenizer.added_tokens_decoder.values())
    return {token for token in tokens if re.search(r"[^\w\s]", token) and not THOUGHT.search(token)}


def role_words(roles: Iterable[str], tokens: Iterable[str]) -> set[str]:
    """Return what tells whose turn it is and is no token, as `[INST]`, `USER:` and `### Response:`.

    A bare word, as `user` between special tokens, tells nothing without them.
    """
    words = set()
    for role in roles:
        for line in pattern(tokens).sub("\n", role).splitlines():
            word = line.strip()
            if re.search(r"\w", word) and re.search(r"[^\w\s]", word) and not THOUGHT.search(word):
                words.add(word)
    return words


def pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds any of these texts, the longest that fits."""
    longest_first = sorted(texts, key=len, reverse=True)
    alternatives = "|".join(re.escape(text) for text in longest_first)
    return re.compile(alternatives or r"(?!)")
