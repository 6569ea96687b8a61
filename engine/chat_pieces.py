"""What a chat template writes around the texts of turns, found by rendering a few dialogues."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine import UserError
from engine.chat_rendering import Rendering

ASKS = ("the first question", "the second question", "the third question")
ANSWERS = ("the first answer", "the second answer")
PROBES = re.compile("|".join([*ASKS, *ANSWERS]))

THOUGHT = re.compile(r"think|thought|reason", re.IGNORECASE)


@dataclass(frozen=True)
class Pieces:
    """The texts between the contents of turns.

    A dialogue is `head`, the user's text, `prompt`, and then by turns a reply and `to_user`, the
    user's text, `prompt`.  `to_user` begins with `end`, the special token that ends a reply.  A
    reply is the assistant's text between `lead` and `trail`: spaces, or a thought without words.
    `known` is what the template writes instead of `prompt` once the reply is known, which differs
    where it drops a thought; `closing` is what it writes behind the last reply of a dialogue.
    `roles` are the texts in which it says whose turn it is.
    """

    head: str
    prompt: str
    known: str
    lead: str
    trail: str
    end: str
    to_user: str
    closing: str
    roles: tuple[str, ...]


def take_apart(rendering: Rendering, special: re.Pattern[str], fed: re.Pattern[str]) -> Pieces:
    """Return the pieces of a template.

    `special` finds the tokenizer's special tokens, `fed` all that no assistant says.  Raises
    `UserError` for one that does not render turn by turn.
    """
    u1, u2, u3 = ASKS
    a1, a2 = ANSWERS
    head, prompt = parts(rendering.probe(u1, ask=True), 2)
    *_, begin, closing = parts(rendering.probe(u1, a1), 3)
    longer = parts(rendering.probe(u1, a1, u2, ask=True), 4)
    to_assistant, to_user = longer[1:3]  # of a turn that is not the last one
    ended = parts(rendering.probe(u1, a1, u2, a2), 5)
    same(ended, (head, to_assistant, to_user, begin, closing))
    longest = parts(rendering.probe(u1, a1, u2, a2, u3, ask=True), 6)
    same(longest, (head, to_assistant, to_user, to_assistant, to_user, prompt))
    whose = common_beginning(prompt, to_assistant, begin)
    prompt, lead = meet(prompt, begin, fed)
    known = prompt if begin.startswith(prompt) else begin
    end, trail = find_end(to_assistant, to_user, closing, special)
    to_user = to_user.removeprefix(trail)
    return Pieces(head, prompt, known, lead, trail, end, to_user, closing, (whose, to_user))


def common_beginning(*texts: str) -> str:
    """Return the longest text that all of these begin with."""
    shortest = min(texts, key=len)
    length = len(shortest)
    while not all(text.startswith(shortest[:length]) for text in texts):
        length -= 1
    return shortest[:length]


def parts(text: str, count: int) -> list[str]:
    """Return what stands around the probes of a rendering.

    Raises `UserError` if there are not as many parts as there must be.
    """
    around = PROBES.split(text)
    if len(around) != count:
        found = len(around) - 1
        raise differs(f"of {count - 1} turns it writes {found} texts as they are, each once")
    return around


def same(found: list[str], expected: tuple[str, ...]) -> None:
    """Raises `UserError` for parts that depend on how long the dialogue is."""
    for one, other in zip(found, expected, strict=True):
        if one != other:
            raise differs(f"{short(other)} becomes {short(one)} in a longer dialogue")


def meet(prompt: str, begin: str, fed: re.Pattern[str]) -> tuple[str, str]:
    """Return what is read before the assistant speaks, and what the assistant's turn begins with.

    `prompt` is what the template writes to let the assistant speak, `begin` what it writes before
    the assistant's text once that is known; `fed` finds tokens that no assistant says.  Raises
    `UserError` if the two do not fit together.
    """
    common = common_beginning(prompt, begin)
    asked = prompt.removeprefix(common)
    known = begin.removeprefix(common)
    if THOUGHT.search(asked) and (not known or is_empty_thought(known, fed)):
        return prompt, ""  # a thought that is dropped once the text is known
    if not asked and fed.search(known):
        return begin, ""
    if not asked and (not known.strip() or THOUGHT.search(known)):
        return prompt, known
    problem = f"lets the assistant speak behind {short(prompt)}"
    raise differs(f"it {problem}, and writes {short(begin)} before what it said")


def is_empty_thought(text: str, fed: re.Pattern[str]) -> bool:
    """Whether a text is nothing but the tags of a thought."""
    words = re.sub(r"\W", "", THOUGHT.sub("", text))
    return bool(THOUGHT.search(text)) and not words and not fed.search(text)


def find_end(
    to_assistant: str, to_user: str, closing: str, special: re.Pattern[str]
) -> tuple[str, str]:
    """Return the special token that ends an assistant's turn, and the text before it.

    Raises `UserError` if there is none, or if the last turn of a dialogue ends otherwise.
    """
    within = special.search(to_user)
    last = special.search(closing)
    users = special.match(to_assistant)  # what ends a user's turn may end the assistant's too
    alike = {found.group() for found in (last, users) if found}
    if not within or (closing.strip(" ") and not (last and within.group() in alike)):
        problem = "does not end every assistant turn with the same token, a special one"
        found = f"{short(to_user)} follows a turn, and {short(closing)} the last one"
        remedy = "give the tokenizer a template that does"
        raise UserError(f"the model's chat template {problem}: {found}; {remedy}")
    return within.group(), to_user[: within.start()]


def differs(difference: str) -> UserError:
    """Return the error that tells how a template does not render turn by turn."""
    remedy = "give the tokenizer another chat template, a plain one would do"
    problem = "does not render turn by turn"
    return UserError(f"the model's chat template {problem}: {difference}; {remedy}")


def short(text: str) -> str:
    """Return a text as it stands in a sentence."""
    return repr(text if len(text) <= 60 else f"{text[:28]} ... {text[-28:]}")
