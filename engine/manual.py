"""What a model that was not taught here is told, and the mark of those that were.

A model that somebody brings knows nothing of `Action:`, so its first turn in every world begins
with the format, the world's manual, and an example.  One that was trained on such turns must go on
hearing them, and one that never heard them (a tiny model) must not begin to; so the mark, the field
`agent_r` of a checkpoint's config.json, keeps what was told, word for word.

Read in order: `Mark`, `first_words` (the text), `tell` (worlds that begin with it).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from engine import UserError
from engine.contracts import is_torn

FIELD = "agent_r"
THOUGHTS = ("auto", "yes", "no")  # whether an agent is to think aloud; auto: as the world needs it
NOTHING = "untold"  # in place of one of these, for a model that hears no manual

FORMAT = {
    True: (
        "Each of your turns is two short lines and nothing else:\n"
        "Thought: what you think\nAction: one action\n"
    ),
    False: "Each of your turns is one line and nothing else:\nAction: one action\n",
}
FIRST_WORDS = (
    "You act in a text world. {format}The world answers, then you go on.\n{manual}Now your task:"
)


@dataclass
class Mark:
    """What a checkpoint says of itself."""

    thoughts: str = NOTHING  # one of THOUGHTS
    taught: bool = False  # whether it was trained here
    told: dict[str, str] = field(default_factory=dict)  # a world's name -> what stands before it

    @classmethod
    def of(cls, config: Any) -> Mark | None:
        """Return the mark of a model's configuration, None of one that was never here.

        Raises `UserError` for a mark that nobody here has written.
        """
        fields = getattr(config, FIELD, None)
        if fields is None:
            return None
        try:
            mark = cls(**fields)
            whole = mark.thoughts in (*THOUGHTS, NOTHING) and isinstance(mark.taught, bool)
            texts = [*mark.told, *mark.told.values()]
        except (TypeError, AttributeError):  # no mapping, or other fields
            whole = False
            texts = []
        if not whole or not all(isinstance(text, str) and not is_torn(text) for text in texts):
            remedy = "remove it, and the model counts as one that was not taught here"
            raise UserError(f"the model's config.json has a broken field {FIELD}; {remedy}")
        return mark

    def put(self, config: Any) -> None:
        """Leave the mark in a model's configuration, with which it is saved."""
        setattr(config, FIELD, asdict(self))


def marked(config: Any, thoughts: str) -> Mark:
    """Return the mark of a model that is brought, one that says `thoughts` if it has none yet.

    Raises `UserError` if it was told otherwise before.
    """
    mark = Mark.of(config)
    if mark is None:
        return Mark(thoughts)
    if thoughts not in ("auto", mark.thoughts):
        problem = f"this model was saved here with thoughts {mark.thoughts!r}, and must go on so"
        raise UserError(f"--thoughts {thoughts}: {problem}; leave the flag out")
    return mark


def first_words(world: Any, thinks: bool) -> str:
    """Return what stands before the task in a world: the format, the manual and its example.

    The lines of a manual that begin with `Thought:` are left out where nobody is to think.
    """
    lines = world.manual.strip().splitlines(keepends=True)
    if not thinks:
        lines = [line for line in lines if not line.startswith("Thought:")]
    manual = "".join(lines).rstrip() + "\n" if lines else ""
    return FIRST_WORDS.format(format=FORMAT[thinks], manual=manual)


def tell(worlds: Mapping[str, Callable[[], Any]], mark: Mark) -> dict[str, Callable[[], Any]]:
    """Return makers of the same worlds, in which an agent with this mark hears what it should.

    What is told for the first time is added to the mark, by the world's own name.  Raises
    `UserError` for two worlds of one name that are to be told different things.
    """
    if mark.thoughts == NOTHING:
        return dict(worlds)
    telling = {}
    said: dict[str, tuple[str, str]] = {}  # a world's own name -> its name here, what it tells
    for name, make in worlds.items():
        world = make()
        thinks = world.thinks if mark.thoughts == "auto" else mark.thoughts == "yes"
        words = first_words(world, thinks)
        other, others_words = said.setdefault(world.name, (name, words))
        if words != others_words:
            problem = f"it calls itself {world.name!r}, and so does {other}, with another manual"
            raise UserError(f"--env {name}: {problem}; set a `name` of its own in its class")
        text = mark.told.setdefault(world.name, words)
        telling[name] = functools.partial(told, make, text, mark.thoughts)
    return telling


def told(make: Callable[[], Any], text: str, thoughts: str) -> Any:
    """Return a copy of a world that begins with `text`; its expert thinks if the agent may."""
    world = make()
    world.told = text
    if thoughts == "no":
        world.thought = str  # `str()` is an empty text
    return world


def describe(mark: Mark) -> str:
    """Return in a sentence what a model that is brought hears, and why."""
    if mark.thoughts == NOTHING:
        return "The model was taught here without a manual, and hears none."
    if mark.taught:
        return "The model was taught here with a manual, and hears it in every first turn."
    return "The model was not taught here: every first turn tells it the format and the actions."
