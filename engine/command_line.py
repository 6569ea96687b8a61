"""A command line made from a dataclass: every field is a flag, beside its help and its limits."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

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


def parser(options: type, program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser that knows every field of the dataclass `options`, and raises `UserError`."""
    result = argparse.ArgumentParser(program, description=description, allow_abbrev=False)
    types = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        text = f"{field.metadata['help']} (default {field.default!r})"
        result.add_argument(
            flag(field.name),
            type=types[field.name],
            default=argparse.SUPPRESS,
            help=text.replace("%", "%%"),
        )

    def fail(message: str) -> None:
        raise UserError(f"{message}; {program} --help lists the flags")

    result.error = fail
    return result


def check(options: Any) -> None:
    """Raise `UserError` for the first field of a dataclass whose value is not allowed."""
    for field in dataclasses.fields(options):
        choices = field.metadata["choices"]
        value = getattr(options, field.name)
        if choices and value not in choices:
            raise UserError(f"{flag(field.name)} {value}: must be one of {', '.join(choices)}")
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if not isinstance(value, str):
            check_number(field.name, value, field.metadata["least"], field.metadata["most"])


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Raise `UserError` for a number outside its limits, infinity or what is no number."""
    if least <= value <= most and value != math.inf:
        return
    ends = "on" if most == math.inf else f"to {most}"
    raise UserError(f"{flag(name)} {value}: must be a number from {least} {ends}")


def carry_out(program: str, function: Callable[[], object]) -> int:
    """Call a function; return the exit status of the program.

    A user's mistake, and a file that cannot be written, is one sentence on standard error and
    status 2.
    """
    try:
        function()
        return 0
    except UserError as error:
        status = 2
        message = str(error)
    except OSError as error:  # a full disk, a folder that may not be written
        status = 2
        message = f"{error.filename or 'a file'} cannot be written: {error.strerror or error}"
    except NotImplementedError as error:
        if not str(error).startswith("Exercise "):  # a blank of the course
            raise
        status = 2
        message = f"{error}, is not written yet"
    except KeyboardInterrupt:
        status = 130
        message = "stopped; what was finished is in the folder of --out"
    print(f"{program}: {message}", file=sys.stderr)
    return status
