"""General dialogues from a file, such as people had with an assistant: the paper took ShareGPT.

One JSON object a line, in one of two forms:

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}

User and assistant alternate, the user first; a system turn in front is joined to the first user
turn.  What the assistant says is learned, unless a turn has a false `loss`, as in a run's own
data.jsonl.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent_r import Message
from engine import UserError

# Who speaks, as files of either form call them.
ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
FORMS = {"messages": ("role", "content"), "conversations": ("from", "value")}


def read_dialogues(path: str | Path) -> list[list[Message]]:
    """Return the dialogues of a file, in its order; empty lines are passed over.

    Raises `UserError`, with the line's number, for one that cannot be used.
    """
    try:
        lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UserError(f"--general {path}: cannot be read: {error.strerror}") from None
    dialogues = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            dialogues.append(dialogue_of(json.loads(line)))
        except UserError as error:
            raise UserError(f"--general {path}, line {number}: {error}") from None
        except (ValueError, RecursionError):
            problem = "no JSON; each line must hold one dialogue as a JSON object"
            raise UserError(f"--general {path}, line {number}: {problem}") from None
    if not dialogues:
        raise UserError(f"--general {path}: there is no dialogue in it")
    return dialogues


def dialogue_of(record: Any) -> list[Message]:
    """Return the messages of one line; raises `UserError` for what is no dialogue."""
    forms = [form for form in FORMS if isinstance(record, dict) and form in record]
    if not forms:
        raise UserError(f"must be a JSON object with {' or '.join(FORMS)}")
    turns = record[forms[0]]
    if not isinstance(turns, list):
        raise UserError(f"{forms[0]} must be a list of turns")
    messages: list[Message] = []
    system = ""
    for place, turn in enumerate(turns, 1):
        message = message_of(turn, *FORMS[forms[0]], place)
        if message["role"] == "system" and place == 1:
            system = f"{message['content']}\n\n"
            continue
        expected = ("user", "assistant")[len(messages) % 2]
        if message["role"] != expected:
            order = "user and assistant must alternate, the user first"
            raise UserError(f"turn {place} is the {message['role']}'s; {order}")
        messages.append(message)
    if messages and messages[-1]["role"] == "user":
        messages.pop()  # nobody answers it
    if not any(message.get("loss") for message in messages):
        raise UserError("there is no turn of the assistant's to learn from")
    messages[0]["content"] = system + messages[0]["content"]
    return messages


def message_of(turn: Any, who: str, what: str, place: int) -> Message:
    """Return one turn as a message; `who` and `what` are its fields.  Raises `UserError`."""
    role = turn.get(who) if isinstance(turn, dict) else None
    if not isinstance(role, str) or role not in ROLES:
        raise UserError(f"turn {place} must have a field {who!r}: one of {', '.join(ROLES)}")
    text = turn.get(what)
    if not isinstance(text, str):
        raise UserError(f"turn {place} must have a text as its field {what!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"turn {place} holds half of a character, which is no text") from None
    message: Message = {"role": ROLES[role], "content": text}
    if message["role"] == "assistant":
        message["loss"] = turn.get("loss", True)
        if not isinstance(message["loss"], bool):
            raise UserError(f"turn {place} has a `loss` that is neither true nor false")
        if message["loss"] and not text.strip():
            raise UserError(f"turn {place} is empty, and would teach the assistant to say nothing")
    return message
