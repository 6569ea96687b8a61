"""What a command line says beside the values of its flags, and the folder that it names."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from engine import UserError, going_on, sources
from engine.command_line import flag
from engine.manual import Mark, describe
from settings.config import Config, differing
from settings.effects import Plan, without_effect


@dataclass(frozen=True)
class Said:
    """The words of a command line, the flags that it gives, and whether to begin anew."""

    words: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    anew: bool = False


def claimed(config: Config, said: Said) -> AbstractContextManager[going_on.Kept]:
    """Take the folder of a run, new or to go on in, and let go of it when the context ends.

    Raises `UserError` if this run may not work there.
    """
    if said.anew:
        check_inputs_stay(config)
    files = [name for name in (config.general, config.recipes) if name]
    return going_on.claimed(
        Path(config.out),
        sources.digests(config.worlds, files),
        functools.partial(differing, config),
        command=said.words,
        anew=said.anew,
        every=config.save_every,
    )


def check_inputs_stay(config: Config) -> None:
    """Raise `UserError` if a folder that is to be begun anew holds what the command needs."""
    out = Path(config.out).resolve()
    for name in ("model", "warmed", "general", "recipes"):
        value = getattr(config, name)
        if value and Path(value).resolve().is_relative_to(out):
            problem = "lies in the folder that --anew is to empty"
            raise UserError(f"{flag(name)} {value}: {problem}; move it, or name another --out")


def announce(config: Config, said: Said, kept: going_on.Kept, mark: Mark) -> None:
    """Print what is about to be done, and leave it in the run's folder."""
    settings = [f"{name}={value}" for name, value in asdict(config).items()]
    print(" ".join(settings), flush=True)
    if kept.record:
        print(kept.whereabouts(config.method != "bc"), flush=True)
    else:
        if config.model:
            print(describe(mark))
        for_nothing = without_effect(Plan(config, mark.taught), said.given)
        if for_nothing:
            print(f"Without effect in this run: {', '.join(for_nothing)}.")
    kept.begin(asdict(config))
