"""A command line made from a dataclass: every field is a flag, beside its help and its limits."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import math
import os
import signal
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine import UserError


def option(
    default: Any,
    help_text: str,
    *,
    least: float = 1,
    most: float = math.inf,
    choices: Sequence[str] = (),
) -> Any:
    """Return a field of a dataclass that is a flag; a number's limits belong to what is allowed."""
    metadata = {"help": help_text, "least": least, "most": most, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def flag(name: str) -> str:
    """Return the command line's name of a field."""
    return "--" + name.replace("_", "-")


WORD, SENTENCE = 240, 1600  # characters of a word and of a sentence that are told at most


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one sentence, where argparse prints its usage as well."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Raise `UserError`."""
        raise UserError(f"{message}; {self.prog} --help lists the flags")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, of which each must be a text that a file may be called by."""
        for argument in sys.argv[1:] if args is None else args:
            if "\0" in argument or not is_text(argument):
                self.error(f"argument {argument!r} holds what is no character of a text")
            if argument.startswith("--") and argument.endswith("=--"):  # which argparse falls over
                self.error(f"argument {argument.removesuffix('=--')}: -- is no value")
        return super().parse_known_args(args, namespace)


def is_text(argument: str) -> bool:
    """Whether an argument is no heap of bytes in another encoding than the terminal's."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def named(text: str) -> str:
    """Return a text that names something; raises `ValueError` for an empty one."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty text names nothing; leave the flag out")
    return text


def parser(options: type, program: str, description: str) -> Parser:
    """Return a parser that knows every field of the dataclass `options`, and raises `UserError`."""
    result = Parser(program, description=description)
    types = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        text = f"{field.metadata['help']} (default {field.default!r})"
        result.add_argument(
            flag(field.name),
            type=named if field.default == "" else types[field.name],
            default=argparse.SUPPRESS,
            help=text.replace("%", "%%"),
        )
    return result


def check(options: Any, count: float = math.inf) -> None:
    """Raise `UserError` for the first field of a dataclass whose value is not allowed.

    A whole number without a limit of its own may be `count` at most.
    """
    for field in dataclasses.fields(options):
        choices = field.metadata["choices"]
        value = getattr(options, field.name)
        if choices and value not in choices:
            raise UserError(f"{flag(field.name)} {value}: must be one of {', '.join(choices)}")
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if not isinstance(value, str):
            most = field.metadata["most"]
            if most == math.inf and isinstance(value, int):
                most = count
            check_number(field.name, value, field.metadata["least"], most)


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Raise `UserError` for a number outside its limits, infinity or what is no number."""
    if least <= value <= most and value != math.inf:
        return
    ends = "on" if most == math.inf else f"to {most:,}"
    raise UserError(f"{flag(name)} {value}: must be a number from {least} {ends}")


def carry_out(
    program: str, function: Callable[[], object], stopped: str = "what was finished is kept"
) -> int:
    """Call a function; return the exit status of the program.

    A user's mistake, and a file that cannot be written, is one sentence on standard error and
    status 2.  To be terminated is to be stopped, as by Ctrl-C; `stopped` says what is left then.
    """
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out.encoding.lower() != "utf-8":
        out.reconfigure(errors="backslashreplace")  # of what its terminal has no sign for
    try:
        with terminated_as_stopped():
            function()
        return 0
    except UserError as error:
        status = 2
        message = str(error)
    except BrokenPipeError:  # `| head` has read enough
        status = 141  # as of a program that the signal has ended
        message = f"nobody reads what is printed; {stopped}"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left, at exit
    except FileNotFoundError as error:
        status = 2
        message = f"{first_missing(error.filename)}: there is no such file or folder"
    except OSError as error:  # a full disk, a folder that may not be written
        status = 2
        message = f"{error.filename or 'a file'} cannot be written: {error.strerror or error}"
    except NotImplementedError as error:
        status = 2
        message = blank(error)
    except Terminated:
        status = 143
        message = f"stopped; {stopped}"
    except KeyboardInterrupt:
        status = 130
        message = f"stopped; {stopped}"
    print(f"{program}: {sentence(message)}", file=sys.stderr)
    return status


def first_missing(name: str | None) -> str:
    """Return which file is not there, or the first of the folders that should hold it."""
    if name is None:
        return "a file"
    path = Path(name)
    missing = [folder for folder in path.parents if not folder.exists()]
    return str(missing[-1] if missing else path)


def blank(error: NotImplementedError) -> str:
    """Return what to say of a blank of the course; raise any other error again."""
    if not str(error).startswith("Exercise "):
        raise error
    return f"{error}, is not written yet"


class Terminated(KeyboardInterrupt):
    """The process was asked to end, as a cluster does when the time is up."""


@contextlib.contextmanager
def terminated_as_stopped() -> Iterator[None]:
    """While this lasts, SIGTERM raises `Terminated`, so that whatever is open is closed.

    What is raised while Python clears something away, as a bar that is done, it only reports; a
    stop that was lost so is asked for once more.
    """
    report = sys.unraisablehook

    def stop(*_: Any) -> None:
        raise Terminated

    def ask_again(lost: Any) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            report(lost)
            return
        number = signal.SIGTERM if isinstance(lost.exc_value, Terminated) else signal.SIGINT
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()

    if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    sys.unraisablehook = ask_again
    try:
        yield
    finally:
        sys.unraisablehook = report
        signal.signal(signal.SIGTERM, before)


def sentence(message: str) -> str:
    """Return a message on one line; what is too long to be read is told by its ends."""
    text = "".join(sign if sign.isprintable() else " " for sign in message)
    words = [ends(word, WORD) for word in text.split(" ")]
    return ends(" ".join(words), SENTENCE)


def ends(text: str, length: int) -> str:
    """Return a text, or its beginning and its end if it is longer than that."""
    half = length // 2 - 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"
