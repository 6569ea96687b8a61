"""The evidence: all methods, worlds, seeds and ablations, run side by side, then one report.

    python -m extras.reproduce                   goes on where it stopped; needs hours
    python -m extras.reproduce --report          the report alone, from what is there

`extras/plan.py` says what is run, `extras/report.py` what is made of it.  Every run is
`train.py --tiny` in a process and on a thread of its own; the runs of a world and seed begin from
the same warm-up, which is made once.  What a run leaves is condensed to one small file.  A run that
was cut off goes on; with `--anew` it begins again, and warm-ups are made again, as they must where
the method has changed since.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine import UserError, command_line
from extras import plan, report

LOCKS: dict[str, threading.Lock] = {}  # one for each warm-up, so that one run only makes it


def run_all(runs: dict[str, list[str]], jobs: int, end: float) -> None:
    """Carry out those of `runs` that have no result yet, `jobs` of them at a time.

    None is begun after `end`, a time of `time.monotonic`.  Raises `UserError` if one fails, or if a
    result is there that is not of the run.
    """
    missing = [name for name in runs if not plan.is_finished(name, runs[name])]
    bar = tqdm(total=len(missing), desc="runs", disable=None)

    def work(name: str) -> None:
        if time.monotonic() < end:
            run(name, runs[name])
        bar.update()

    with bar, ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, name) for name in missing]
        try:
            for future in futures:
                future.result()  # raises what the run has raised
        finally:
            pool.shutdown(cancel_futures=True)


def run(name: str, arguments: list[str]) -> None:
    """Carry out one run and leave its result.  Raises `UserError` if it fails."""
    folder = run_folder(name)
    if not folder.exists():
        warm_up = warm_up_model(arguments)
        train([*arguments, "--warmed", str(warm_up)], folder, name)
    by_name = name.partition(" ")[0] in plan.BENCHMARKS
    plan.write_result(name, condense(folder, arguments, by_name))
    shutil.rmtree(folder)


def run_folder(name: str) -> Path:
    """Return the folder in which a run works, until its result is written."""
    return folder_of_runs() / name.replace(" ", "-")


def folder_of_runs() -> Path:
    """Return the folder of warm-ups, and of runs until their results are written."""
    return plan.ROOT / "runs" / "reproduce"


def warm_up_model(arguments: list[str]) -> Path:
    """Return the folder of the warmed-up model of these arguments' world and seed.

    The run that needs it first makes it, and the others wait.
    """
    values = dict(
        zip(arguments[::2], arguments[1::2], strict=True)
    )  # of a flag given twice the last
    flags = ["--env", values["--env"], "--seed", values["--seed"]]
    name = re.sub(r"\W+", "-", f"warm-up {values['--env']} {values['--seed']}")
    folder = run_folder(name)
    with LOCKS.setdefault(name, threading.Lock()):
        if not folder.exists():
            train([*flags, "--iterations", "0", "--eval-tasks", "1"], folder, name)
    return folder / "iteration-0" / "model"


def train(arguments: list[str], out: Path, name: str) -> None:
    """Run `train.py --tiny` in a process of its own; what was cut off goes on.

    Its folder `out` is there only when it is whole.  Raises `UserError` with the process's own last
    words if it fails.
    """
    part = out.with_name(f"{out.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "train.py", "--tiny", *arguments, "--out", str(part)]
    process = subprocess.run(  # noqa: S603, it is our own command
        command,
        cwd=plan.ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        reason = lines[-1] if lines else "it was stopped"
        raise UserError(f"{name}: {reason}")
    part.rename(out)


def condense(folder: Path, arguments: list[str], by_name: bool) -> plan.Result:
    """Return what is kept of a run's folder: its rows, and the score of each test episode.

    The episodes of an iteration are in the order of the exam, or of the tasks' names.
    """
    scores: dict[str, dict[str, list[float]]] = {}
    episodes = read_lines(folder / "episodes.jsonl")
    if by_name:
        episodes.sort(key=lambda episode: episode["task"])
    for episode in episodes:
        iterations = scores.setdefault(episode["env"], {})
        of_iteration = iterations.setdefault(str(episode["iteration"]), [])
        of_iteration.append(round(episode["score"], 3))
    return plan.Result(arguments, read_lines(folder / "results.jsonl"), scores)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    """Run what is missing, then write results/methods/report.md and its pictures."""
    parser = command_line.Parser(
        "reproduce.py",
        description="The evidence: all methods, worlds, seeds and ablations, run side by side, "
        "and one report from what they left.",
    )
    cores = os.cpu_count() or 1
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each method and world")
    parser.add_argument("--jobs", type=int, default=cores, help="runs side by side, a thread each")
    parser.add_argument(
        "--hours", type=float, default=8.0, help="no run is begun after that many hours"
    )
    parser.add_argument(
        "--anew", action="store_true", help="make warm-ups and what was cut off once more"
    )
    parser.add_argument("--report", action="store_true", help="run nothing")
    try:
        options = parser.parse_args()
        command_line.check_number("seeds", options.seeds, 1, 10**6)
        command_line.check_number("hours", options.hours, 0, 10**6)
        jobs = max(1, options.jobs)
        end = time.monotonic() + 3600 * options.hours
        if options.anew:
            shutil.rmtree(folder_of_runs(), ignore_errors=True)
        if not options.report:
            run_all(plan.trials(), jobs, end)
            run_all(plan.runs(options.seeds), jobs, end)  # with the rates that the trials chose
        report.write(options.seeds)
    except UserError as error:
        print(f"reproduce.py: {command_line.sentence(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("reproduce.py: stopped; the finished runs are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
