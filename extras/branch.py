"""Another method from the same search: a second run that begins where a first one had searched.

    python -m extras.branch RUN OUT --method optimal [--steps 60 ...]

OUT becomes what `train.py --out OUT` with the command of RUN and these flags would have left
behind the search of iteration 1: warm-up, first evaluation and trees are RUN's, which such a run
would have made just so, since no flag that may be named here has a part in them.  (`bc` searches
nothing: it shares warm-up and first evaluation alone.)  What is printed is the command that goes
on from there.  So several methods share what takes longest, and are compared on the same trees.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine import UserError, command_line, folder, going_on
from settings.config import Config, check

PROGRAM = "python -m extras.branch"

TREES = Path("iteration-1") / "trees.jsonl"

# Flags that come to bear behind the search of an iteration alone.
BEHIND = {
    *("method", "critic", "splice", "pairing", "idle", "revision_share", "iterations", "alpha"),
    *("beta", "eta", "pairs", "steps", "lr", "winners", "save_every"),
    *("dpo_beta", "dpo_lr", "dpo_pairs", "dpo_epochs"),
}


def branch(run: Path, out: Path, flags: dict[str, Any]) -> list[str]:
    """Make the folder `out` of the run `run` with other flags; return the words of its command.

    Raises `UserError` for a run that has not searched yet, for flags that have a part in what was
    made, and if `out` holds something.
    """
    folder.check_free(out)
    config = other_config(run, {**flags, "out": str(out)})
    record = going_on.read_object(run / going_on.RECORD)
    going_on.check_unchanged(run)
    shares_trees = config.method != "bc"
    if shares_trees and not (run / TREES).exists():
        raise UserError(f"{run}: its first search is not over, so there is nothing to share")
    if not (run / "results.jsonl").exists():
        raise UserError(f"{run}: its first evaluation is not over, so there is nothing to share")
    try:
        first = record["sittings"][0]
        words = [word for word in first["command"] if word != "--anew"]
        made_by = {"sources": record["sources"], "sittings": [{**first, "command": words}]}
    except (LookupError, TypeError):
        raise UserError(f"{run / going_on.RECORD}: is not as the run left it") from None
    for name, value in {**flags, "out": out}.items():
        words += [command_line.flag(name), str(value)]
    part = folder.part_of(out)
    shutil.rmtree(part, ignore_errors=True)
    try:
        take_over(run, part, {"method": config.method, "eta": config.eta})
        if shares_trees:
            (part / TREES).parent.mkdir()
            shutil.copyfile(run / TREES, part / TREES)
        folder.write_lines(part / going_on.RECORD, [made_by])
        folder.write_lines(part / "config.json", [asdict(config)])
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # what could not be finished
    return words


def other_config(run: Path, flags: dict[str, Any]) -> Config:
    """Return a run's configuration with other flags; raises `UserError` if they may not differ."""
    for name in flags:
        if name not in {*BEHIND, "out"}:
            problem = "has a part in warm-up or search, which are taken over"
            allowed = ", ".join(command_line.flag(name) for name in sorted(BEHIND))
            raise UserError(f"{command_line.flag(name)}: {problem}; may be given: {allowed}")
    before = going_on.read_object(run / "config.json")
    try:
        config = Config(**{**before, **flags})
    except TypeError:
        raise UserError(f"{run / 'config.json'}: names other flags than there are today") from None
    check(config)
    return config


def take_over(run: Path, out: Path, now: dict[str, Any]) -> None:
    """Copy what a run has made up to its first evaluation; of its rows, what is otherwise `now`."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("general.jsonl", "recovery.jsonl"):
        if (run / name).exists():
            shutil.copyfile(run / name, out / name)
    for name in ("results.jsonl", "episodes.jsonl"):
        lines = []
        for line in folder.read_lines(run / name):
            if not isinstance(line, dict) or "iteration" not in line:
                raise UserError(f"{run / name}: is not as the run left it; {folder.REMEDY}")
            if line["iteration"] == 0:
                lines.append({field: now.get(field, value) for field, value in line.items()})
        folder.write_lines(out / name, lines)
    shutil.copytree(run / "iteration-0", out / "iteration-0")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    parser = command_line.parser(Config, PROGRAM, __doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="the folder of the run whose search is shared")
    parser.add_argument("folder", type=Path, help="the folder of the new run")

    def make() -> None:
        given = vars(parser.parse_args(arguments))
        words = branch(given.pop("run"), given.pop("folder"), given)
        print(f"python train.py {shlex.join(words)}")

    return command_line.carry_out(PROGRAM, make)


if __name__ == "__main__":
    sys.exit(main())
