"""Going on: what a run has left in its folder, and whether the same run may go on from there.

A run is a row of stages, each of which ends with files of its own, written whole; what stands there
is never made again.  `run.json` says by which sources, versions and commands it was made.  What a
folder holds is listed in docs/runs.md.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import UserError, aside, checkpoint, folder, processes, sources
from engine.folder import DIGESTS, LOCK, PART, REMEDY, Claim, read_lines, write_lines

RECORD = "run.json"
# Whatever a run leaves, so that nothing else is ever removed: in its folder, in an iteration's.
FILES = (
    "config.json",
    "results.jsonl",
    "episodes.jsonl",
    "general.jsonl",
    "recovery.jsonl",
    checkpoint.NAME,
    DIGESTS,
    RECORD,  # last, so that a removal that was stopped can be gone on with
)
OF_AN_ITERATION = (
    "trees.jsonl",
    "judging.jsonl",
    "data.jsonl",
    "verdicts.jsonl",
    "losses.jsonl",
    "critique.json",
    "training.json",
    "model.json",
    "exam.jsonl",
    "metrics.json",
)
GROWING = ("general.jsonl", "trees.jsonl", "judging.jsonl", "exam.jsonl")  # see engine/pieces.py


@dataclass
class Reached:
    """The newest iteration of which there is a dataset, a model, a row; one too few: none yet."""

    criticised: int = 0
    trained: int = -1
    measured: int = -1


@dataclass
class Kept:
    """A run's folder while the run works in it: what was there, and what the command was."""

    out: Path
    claim: Claim
    digests: dict[str, str]
    command: Sequence[str] = ()
    reached: Reached = field(default_factory=Reached)
    rows: list[dict[str, Any]] = field(default_factory=list)  # of `results.jsonl`
    versions: dict[str, str] | None = None  # of the newest sitting before
    record: dict[str, Any] | None = None  # of the sittings before, None in a new folder
    episodes: list[dict[str, Any]] = field(default_factory=list)  # of `episodes.jsonl`
    new: bool = False  # whether nothing of a run was there
    set_up: bool = False  # whether nothing that the command says can be wrong any more

    def begin(self, config: dict[str, Any]) -> None:
        """Write what was asked for, by which sources and versions."""
        if self.record is None:
            self.claim.earlier = 0.0
        self.claim.note()
        record = self.record or {"sources": self.digests, "sittings": []}
        sitting = {"command": list(self.command), "versions": sources.versions()}
        record["sittings"].append(sitting)
        write_lines(self.out / RECORD, [record])
        write_lines(self.out / "config.json", [config])

    def ready(self) -> None:
        """Say that the command makes sense; from now on the time counts."""
        self.set_up = True
        self.claim.start_clock()
        if processes.is_first():
            aside.let_go(self.out, remove)

    def trained(self, iteration_folder: Path) -> None:
        """Say that an iteration's model stands in its folder."""
        if processes.is_first():
            list_model(iteration_folder)
            (self.out / checkpoint.NAME).unlink(missing_ok=True)

    def newest_model(self) -> Path | None:
        """Return the folder of the newest model; raises `UserError` if it was taken away."""
        newest = max(self.reached.trained, self.reached.measured)
        if newest < 0:
            return None
        path = self.out / f"iteration-{newest}" / "model"
        if not path.is_dir():
            remedy = "put it back, or begin anew with --anew"
            raise UserError(f"{path}: is not there any more, to go on from; {remedy}")
        return path

    def whereabouts(self, searches: bool) -> str:
        """Return in a sentence where a run goes on, one whose method `searches` or does not."""
        reached = self.reached
        iteration = reached.measured + 1
        path = self.out / f"iteration-{iteration}"
        training = f"training of iteration {iteration}" if iteration else "warm-up"
        if reached.trained >= iteration:
            stage = f"evaluation of iteration {iteration}"
        elif (self.out / checkpoint.NAME).exists():
            step = checkpoint.read_state(self.out / checkpoint.NAME)["step"]
            stage = f"{training}, at step {step}"
        elif not iteration:
            there = (self.out / "general.jsonl").exists()
            stage = training if there else "warm-up data"
        elif reached.criticised >= iteration or not searches:
            stage = training
        elif (path / "trees.jsonl").exists():
            stage = f"judging and splicing of iteration {iteration}"
        else:
            stage = f"search of iteration {iteration}"
        others = []
        for name, version in sources.versions().items():
            before = self.versions.get(name)
            if version != before:
                others.append(f"{name} {version} instead of {before}")
        note = f" It now has {', '.join(others)}, which may change numbers." if others else ""
        return f"{self.out}: goes on with the {stage}.{note}"


@contextlib.contextmanager
def claimed(
    out: Path,
    digests: dict[str, str],
    differing: Callable[[dict[str, Any]], list[str]],
    *,
    command: Sequence[str] = (),
    anew: bool = False,
    every: float = 300.0,
) -> Iterator[Kept]:
    """Take the folder of a run, new or to go on in, and let go of it when this ends.

    `differing` names the flags in which a configuration differs from that of the command.  Nothing
    is changed before it is sure that this run may work there.  Raises `UserError` if it may not;
    then, and when the command turns out to make no sense, everything is as before.  Of several
    processes the first one takes it and tells the others what is there.
    """
    if not processes.is_first():
        with checkpoint.saved_in(out, every):
            yield processes.from_first(None)
        return
    check_usable(out)
    claim = Claim(out)
    kept = Kept(out, claim, digests, command)
    earlier = claim.earlier
    try:
        aside.settle(out, remove)
        check_usable(out)  # somebody may have been quicker
        if anew:
            aside.set_aside(out, own_names(out))
        elif not (out / "config.json").exists():  # stopped as it began
            check_nothing_made(out)
            remove(out)
        kept.new = not (out / RECORD).exists()
        if not kept.new:
            look_around(kept, differing)
        with folder.at_work(claim), checkpoint.saved_in(out, every):
            yield processes.from_first(kept)
    finally:
        if kept.new and not kept.set_up:  # whatever stopped it, it had not begun
            remove(out)
            brought_back = aside.bring_back(out)
            if brought_back:
                claim.stop_clock(earlier)
            claim.release(remove=not brought_back)
        claim.release()


def check_usable(out: Path) -> None:
    """Raise `UserError` for a place that holds something that is no run of ours."""
    replaced = any((out / name).is_dir() for name in aside.NAMES)
    if replaced and (out / LOCK).exists():  # a run that was about to be replaced
        return
    if out.is_dir() and not (out / RECORD).exists():
        # Of a run that was stopped before it had begun.
        ours = {LOCK, RECORD + PART, DIGESTS, DIGESTS + PART}
        if {path.name for path in out.iterdir()} <= ours:
            return
    if not (out / RECORD).is_file():
        folder.check_free(out)


def check_nothing_made(out: Path) -> None:
    """Raise `UserError` if a run has made something in a folder that lacks its config.json."""
    made = [out / name for name in ("results.jsonl", "general.jsonl") if (out / name).exists()]
    made += iteration_folders(out)
    if made:
        problem = f"is gone, and without it nobody can tell what made {made[0].name}"
        raise UserError(f"{out / 'config.json'}: {problem}; put it back, or begin anew with --anew")


def look_around(kept: Kept, differing: Callable[[dict[str, Any]], list[str]]) -> None:
    """Read what is there; raises `UserError` if it is another run's, or was made otherwise."""
    out = kept.out
    config = read_object(out / "config.json")
    flags = differing(config)
    ways = "begin anew with --anew, or name another --out"
    if flags:
        problem = f"holds a run with another {', '.join(flags)}"
        raise UserError(f"--out {out}: {problem}; give what it was begun with, {ways}")
    record = read_object(out / RECORD)
    try:
        names = sources.changed(record["sources"], kept.digests)
        kept.versions = record["sittings"][-1]["versions"]
    except (LookupError, TypeError, AttributeError):
        raise UserError(f"{out / RECORD}: is not as the run left it; {ways}") from None
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        problem = f"what made it was changed since ({', '.join(names[:5])}{more})"
        raise UserError(f"--out {out}: {problem}; {ways}, or undo the change")
    kept.record = record
    check_unchanged(out)
    if (out / "results.jsonl").exists():
        kept.rows = read_lines(out / "results.jsonl")
        known = [isinstance(row, dict) and "iteration" in row for row in kept.rows]
        if not known or not all(known):
            raise UserError(f"{out / 'results.jsonl'}: is not as the run left it; {ways}")
    for path in iteration_folders(out):
        if (path / "critique.json").exists():
            kept.reached.criticised = max(kept.reached.criticised, number(path))
        if (path / "model" / "config.json").exists():
            if not (path / "model.json").exists():  # stopped between the two
                list_model(path)
            kept.reached.trained = max(kept.reached.trained, number(path))
    for row in kept.rows:
        kept.reached.measured = max(kept.reached.measured, row["iteration"])
    if kept.reached.measured >= 0:
        every = read_lines(out / "episodes.jsonl")
        kept.episodes = [one for one in every if one["iteration"] <= kept.reached.measured]
    seconds = [row["seconds"] for row in kept.rows]
    kept.claim.earlier = max([kept.claim.earlier, *seconds])
    folder.forget_unfinished(out)
    sweep(out)
    sweep_stages(out, kept.reached)


def check_unchanged(out: Path) -> None:
    """Raise `UserError` if a file of a run was changed, or taken away, since the run wrote it.

    The two that say what the run is are read with care in any case, and told otherwise.
    """
    folder.check_witnessed(out, but=("config.json", RECORD))


def read_object(path: Path) -> dict[str, Any]:
    """Return the one object of a file; raises `UserError` for anything else."""
    records = read_lines(path)
    if len(records) != 1 or not isinstance(records[0], dict):
        raise UserError(f"{path}: is not as the run left it; {REMEDY}")
    return records[0]


def number(path: Path) -> int:
    """Return the number of an iteration's folder, -1 for what only looks like one."""
    digits = path.name.removeprefix("iteration-")
    return int(digits) if digits.isdecimal() else -1


def iteration_folders(out: Path) -> list[Path]:
    """Return the folders of the iterations."""
    return [path for path in out.glob("iteration-*") if number(path) >= 0]


def own_names(out: Path) -> list[str]:
    """Return the names of what a run has left in its folder: its files and its iterations'."""
    names = [name + part for name in FILES for part in ("", PART)]
    return [name for name in names if (out / name).exists()] + [
        path.name for path in iteration_folders(out)
    ]


def sweep(out: Path) -> None:
    """Remove what a stop has left half written, but for what can be gone on with."""
    for name in FILES:
        if name not in GROWING:
            (out / (name + PART)).unlink(missing_ok=True)
    for path in iteration_folders(out):
        shutil.rmtree(path / f"model{PART}", ignore_errors=True)
        for name in OF_AN_ITERATION:
            if name not in GROWING:
                (path / (name + PART)).unlink(missing_ok=True)


def sweep_stages(out: Path, reached: Reached) -> None:
    """Remove what a stage that is over has not come to remove itself."""
    for path in iteration_folders(out):
        if number(path) <= reached.criticised:
            (path / ("judging.jsonl" + PART)).unlink(missing_ok=True)
        if number(path) <= reached.measured:
            (path / ("exam.jsonl" + PART)).unlink(missing_ok=True)


def remove(out: Path) -> None:
    """Remove what a run has left in its folder, and nothing else."""
    (out / "config.json").unlink(missing_ok=True)  # first, so that nobody goes on with the rest
    for path in iteration_folders(out):
        shutil.rmtree(path / f"model{PART}", ignore_errors=True)
        for name in model_files(path):
            (path / "model" / name).unlink(missing_ok=True)
        for name in OF_AN_ITERATION:
            (path / name).unlink(missing_ok=True)
            (path / (name + PART)).unlink(missing_ok=True)
        for emptied in (path / "model", path):
            with contextlib.suppress(OSError):  # a stranger's file lies in it, or it is gone
                emptied.rmdir()
    for name in FILES:
        (out / (name + PART)).unlink(missing_ok=True)
        (out / name).unlink(missing_ok=True)


def list_model(path: Path) -> None:
    """Note beside an iteration's model which files it has, so that only they are ever removed."""
    names = sorted(file.name for file in (path / "model").iterdir())
    write_lines(path / "model.json", [{"files": names}])


def model_files(path: Path) -> list[str]:
    """Return the names of the files that a run has written as an iteration's model."""
    with contextlib.suppress(UserError, LookupError, TypeError, FileNotFoundError):
        (listed,) = read_lines(path / "model.json")
        return [name for name in listed["files"] if Path(name).name == name]
    return []
