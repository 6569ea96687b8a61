"""Another method from the same search: a second run that begins where a first one had searched.

    python -m extras.branch RUN OUT --method optimal [--steps 60 ...]

OUT becomes what `train.py --out OUT` with the command of RUN and these flags would have left
behind the search of iteration 1: warm-up, first evaluation and trees are RUN's, which such a run
would have made just so, since no flag that may be named here has a part in them.  What is printed
is the command that goes on from there.  So several methods share what takes longest, and are
compared on the very same trees.
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
    before = going_on.read_object(run / "config.json")
    record = going_on.read_object(run / going_on.RECORD)
    allowed = ", ".join(command_line.flag(name) for name in sorted(BEHIND))
    for name in flags:
        if name not in BEHIND:
            problem = "has a part in warm-up or search, which are taken over"
            raise UserError(f"{command_line.flag(name)}: {problem}; may be given: {allowed}")
    config = Config(**{**before, **flags, "out": str(out)})
    check(config)
    trees = run / "iteration-1" / "trees.jsonl"
    if not trees.exists():
        raise UserError(f"{run}: its first search is not over, so there is nothing to share")
    if config.method == "bc":
        raise UserError("--method bc: it does not search; begin it with --warmed or --model")
    words = [*record["sittings"][0]["command"]]
    for name, value in flags.items():
        words += [command_line.flag(name), str(value)]
    words += ["--out", str(out)]
    out.mkdir(parents=True, exist_ok=True)
    for name in ("general.jsonl", "recovery.jsonl"):
        if (run / name).exists():
            shutil.copyfile(run / name, out / name)
    for name in ("results.jsonl", "episodes.jsonl"):
        lines = []
        for line in folder.read_lines(run / name):
            if line["iteration"] == 0:
                now = {
                    field: getattr(config, field) for field in ("method", "eta") if field in line
                }
                lines.append(line | now)
        folder.write_lines(out / name, lines)
    shutil.copytree(run / "iteration-0", out / "iteration-0")
    (out / "iteration-1").mkdir()
    shutil.copyfile(trees, out / "iteration-1" / "trees.jsonl")
    sitting = {"command": words, "versions": record["sittings"][0]["versions"]}
    folder.write_lines(
        out / going_on.RECORD, [{"sources": record["sources"], "sittings": [sitting]}]
    )
    folder.write_lines(out / "config.json", [asdict(config)])  # last: now it can be gone on with
    return words


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
