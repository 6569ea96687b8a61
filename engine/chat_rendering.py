"""Rendering dialogues by a chat template, a stranger's program that may do anything."""

from __future__ import annotations

import datetime
from typing import Any

from engine import UserError
from engine.chat_limits import limited

# The day that a template is told when it asks for today's: what an agent reads must not change
# over night.  It is the one that the templates of Llama 3 name where they cannot ask.
TODAY = datetime.datetime(2024, 7, 26)

SECONDS = 2.0  # that one rendering may compute
LONGEST = 1_000_000  # characters of a template, and of its rendering of a few short turns


class Rendering:
    """A tokenizer's default chat template, rendered on one and the same day.

    It is asked to do without thoughts, which only templates that know `enable_thinking` hear.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises `UserError` for a tokenizer without a default template, or with a broken one."""
        if not getattr(tokenizer, "chat_template", None):
            remedy = "use a model that was made for chat"
            raise UserError(f"the model's tokenizer has no chat template; {remedy}")
        try:
            template = tokenizer.get_chat_template()
        except ValueError as error:  # several, and none of them is the default
            names = ", ".join(sorted(tokenizer.chat_template))
            remedy = "name one of them default"
            raise UserError(f"the model's chat template is one of {names}; {remedy}") from error
        if len(template) > LONGEST:
            problem = f"is a text of {len(template):,} characters"
            remedy = "give the tokenizer another chat template, a plain one would do"
            raise UserError(f"the model's chat template {problem}; {remedy}")
        self._template = f"{date_macro()}\n{template}"  # jinja drops a line break after a block
        self._apply = tokenizer.apply_chat_template
        self._options: dict[str, Any] = {"enable_thinking": False}
        try:
            self.probe("hello", ask=True)
        except UserError as error:
            if isinstance(error.__cause__, TimeoutError | MemoryError):
                raise
            self._options = {}  # a template may insist on thoughts
            self.probe("hello", ask=True)

    def text(self, *turns: str, ask: bool = False) -> str:
        """Return a dialogue's text, user and assistant by turns; `ask` lets the assistant speak.

        Raises whatever goes wrong in the template, `TimeoutError` and `MemoryError` if it uses up
        too much.
        """
        messages = []
        for index, turn in enumerate(turns):
            messages.append({"role": ("user", "assistant")[index % 2], "content": turn})
        with limited(SECONDS):
            return self._apply(
                messages,
                chat_template=self._template,
                add_generation_prompt=ask,
                tokenize=False,
                **self._options,
            )

    def probe(self, *turns: str, ask: bool = False) -> str:
        """Return the same as `text` of a template that is not trusted yet.

        Raises `UserError` for whatever goes wrong in it, a rendering without end included.
        """
        remedy = "give the tokenizer another chat template, a plain one would do"
        try:
            text = self.text(*turns, ask=ask)
        except Exception as error:  # the template is a program, and may raise anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            problem = f"cannot be rendered: {reason}"
            raise UserError(f"the model's chat template {problem}; {remedy}") from error
        if len(text) > LONGEST:
            problem = f"writes {len(text):,} characters for {len(turns)} short turns"
            raise UserError(f"the model's chat template {problem}; {remedy}")
        return text


def date_macro() -> str:
    """Return a macro of jinja that stands before a template and takes the clock's place."""
    filters = ""
    for directive in "aAbBdmyYHIMSjp":
        filters += f' | replace("%{directive}", "{TODAY.strftime("%" + directive)}")'
        bare = TODAY.strftime("%" + directive).lstrip("0")  # as `%-d`, the day without its zero
        filters += f' | replace("%-{directive}", "{bare}")'
    return f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}"
