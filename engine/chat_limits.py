"""A limit on what a chat template, a stranger's program, may use up: time and memory.

Jinja's sandbox keeps a template from files and from Python's insides, not from ending never or from
writing a text of gigabytes.  So whatever grows here is paid for out of a budget, in characters,
before it is made: what operators, calls and filters make, what is joined, cut out or written.  Time
is looked at in every round of a loop and in every call.  That holds in any thread and on any
system, needs no process of its own, and costs a plain template next to nothing.
"""

from __future__ import annotations

import functools
import math
import re
import threading
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from types import GeneratorType
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.runtime import str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers.utils import chat_template_utils

CHARACTERS = 10**8  # that one rendering may make, what it throws away included

# What makes of its arguments something as large as their product: methods of texts, filters, and
# functions.  All else makes at most their sum.
MULTIPLY = {
    *("replace", "join", "center", "ljust", "rjust", "zfill", "expandtabs", "translate", "indent"),
    *("batch", "slice", "format", "format_map", "tojson", "select", "reject", "map"),
    "generate_lorem_ipsum",
}
SLOW = ("wordwrap", "urlize", "pprint")  # filters that take long for what they make
WIDE = re.compile(r"\d{5}|\*|{[^{}]*{")  # in the text of a format: too wide, or told elsewhere
SEVERAL = (list, tuple, set, range, KeysView, ValuesView, ItemsView)


class Budget(threading.local):
    """What the template that runs in a thread has left; without end where none is limited."""

    end = math.inf  # on the clock of `time.thread_time`, which stands while others compute
    seconds = math.inf
    characters = math.inf

    def pay(self, amount: float) -> None:
        """Take characters out of the budget.  Raises `TimeoutError` or `MemoryError`."""
        if time.thread_time() > self.end:
            raise TimeoutError(f"it does not end within {self.seconds:g} seconds")
        self.characters -= amount
        if self.characters < 0:
            raise MemoryError(f"it makes more than {CHARACTERS:,} characters")


BUDGET = Budget()


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Within this block a template raises once it has run that long, or has made too much."""
    BUDGET.seconds = seconds
    BUDGET.end = time.thread_time() + seconds
    BUDGET.characters = CHARACTERS
    try:
        yield
    finally:
        del BUDGET.seconds, BUDGET.end, BUDGET.characters


def size(value: Any) -> float:
    """Return about how many characters a value has when it is written.

    What is in a list twice counts twice, as it is written and compared twice.
    """
    if isinstance(value, str):
        return len(value) + 1
    parts: Iterable[Any] = ()
    if isinstance(value, SEVERAL):
        parts = value
    elif isinstance(value, Mapping):
        parts = (*value.keys(), *value.values())
    total = 1.0
    for part in parts:
        total += size(part)
        if total > BUDGET.characters:
            break
    return total


def cost(name: str, values: Iterable[Any]) -> float:
    """Return how much a function of this name may make of these arguments.

    A number may say how often something is written, or how wide.
    """
    sizes = []
    for value in values:
        sizes.append(max(1, abs(value)) if isinstance(value, int) else size(value))
    return math.prod(sizes) if name in MULTIPLY else sum(sizes)


def at_hand(value: Any) -> Any:
    """Return a value of which one can tell how large it is: a list in place of what is still made.

    As filters make what they are asked for one by one.
    """
    if not isinstance(value, GeneratorType | map | zip | filter):
        return value
    found = []
    for part in value:
        BUDGET.pay(size(part))
        found.append(part)
    return found


def check_format(text: Any) -> None:
    """Raise `MemoryError` for a format with a width of its own that is out of all measure."""
    if isinstance(text, str) and WIDE.search(text):
        raise MemoryError(f"the format {text[:60]!r} is too wide")


class Writer(CodeGenerator):
    """A compiler of templates that lets everything that grows be paid for."""

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:  # noqa: N802, jinja's
        """Write `a ~ b`."""
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Any) -> None:  # noqa: N802, jinja's
        """Write `a[b]`; a slice is a copy."""
        self._paid(super().visit_Getitem, node, frame, isinstance(node.arg, nodes.Slice))

    def visit_List(self, node: nodes.List, frame: Any) -> None:  # noqa: N802, jinja's
        """Write `[a, b]`."""
        self._paid(super().visit_List, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Any) -> None:  # noqa: N802, jinja's
        """Write `(a, b)`, which may be what a loop assigns to."""
        self._paid(super().visit_Tuple, node, frame, node.ctx == "load")

    def visit_Dict(self, node: nodes.Dict, frame: Any) -> None:  # noqa: N802, jinja's
        """Write `{a: b}`."""
        self._paid(super().visit_Dict, node, frame)

    def _paid(self, visit: Callable[..., None], node: Any, frame: Any, grows: bool = True) -> None:
        if grows:
            self.write("environment.paid(")
        visit(node, frame)
        if grows:
            self.write(")")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which templates pay for what they make."""

    code_generator_class = Writer
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Nothing is computed while a template is compiled.
        super().__init__(*args, **kwargs, optimized=False, finalize=self.written)

    def from_string(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        """Compile a template; all filters have their final meaning by now."""
        kept = {name: self.filters[name] for name in self.filters if name not in SLOW}
        self.filters = {name: paying(name, function) for name, function in kept.items()}
        return super().from_string(source, *args, **kwargs)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Read a template, and let every round of a loop look at the clock."""
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.body.insert(0, nodes.ExprStmt(self._tick(), lineno=loop.lineno))
            if loop.test is not None:
                loop.test = nodes.And(self._tick(), loop.test)
        return template

    @staticmethod
    def _tick() -> nodes.Call:
        return nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None)

    @staticmethod
    def tick() -> bool:
        """Look at the clock."""
        BUDGET.pay(1)
        return True

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Return what a template, a macro or a block has written."""
        found = []
        for piece in pieces:
            BUDGET.pay(len(piece))
            found.append(piece)
        return "".join(found)

    @staticmethod
    def joined(parts: tuple[Any, ...]) -> str:
        """Return `a ~ b`."""
        BUDGET.pay(size(parts))
        return str_join(parts)

    @staticmethod
    def paid(value: Any) -> Any:
        """Return a value that was made of some that were paid for."""
        BUDGET.pay(size(value))
        return value

    @staticmethod
    def written(value: Any) -> Any:
        """Return what is written in two braces; a text is paid for when all is joined."""
        if not isinstance(value, str | int):
            BUDGET.pay(size(value))
        return value

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator makes of two values."""
        left, right = at_hand(left), at_hand(right)
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if numbers and operator == "**":
            BUDGET.pay(digits(left) * max(1, abs(right)))
        elif numbers:
            BUDGET.pay(digits(left) * digits(right))
        elif operator == "+":
            BUDGET.pay(size(left) + size(right))
        else:
            if operator == "%":
                check_format(left)
            BUDGET.pay(cost("format", (left, right)))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __function: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Return what a function, a method or a macro makes of its arguments."""
        name = getattr(__function, "__name__", "")
        method = getattr(__function, "__wrapped__", __function)  # the sandbox wraps `format`
        subject = getattr(method, "__self__", "")
        if name in ("format", "format_map"):
            check_format(subject)
        args = tuple(map(at_hand, args))
        BUDGET.pay(cost(name, (subject, *args, *kwargs.values())))
        return super().call(__context, __function, *args, **kwargs)


def digits(number: float) -> int:
    """Return how many binary digits a number has."""
    return max(1, number.bit_length()) if isinstance(number, int) else 1


def paying(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that pays for what it makes."""
    if getattr(function, "pays", False):
        return function

    @functools.wraps(function)  # what else it wants to be given is written in its attributes
    def pay_first(*args: Any, **kwargs: Any) -> Any:
        if name == "format":
            check_format(args[0])
        args = tuple(map(at_hand, args))
        BUDGET.pay(cost(name, (*args, *kwargs.values())))
        return function(*args, **kwargs)

    pay_first.pays = True
    return pay_first


# Transformers makes its environments by this name; outside of `limited` they behave as before.
chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment
