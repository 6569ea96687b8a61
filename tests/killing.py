"""A run that is killed again and again beside one that nobody kills.

    python -m tests.killing --kills 100

Each sitting is a process forked from this one, so that torch is imported once.  It is killed with
SIGKILL from outside, at moments drawn by seed, and the same command is given again.
"""

import argparse
import hashlib
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

import train
from engine import checkpoint, folder, going_on

SMALL = shlex.split(
    "--tiny --env course.handmade:Boxes --iterations 2 --tasks 16 --simulations 4 --branch 3 "
    "--alpha 0.5 --steps 10 --warmup-steps 80 --warmup-tasks 40 --eval-tasks 8 --width 16 "
    "--layers 1 --batch-size 512 --micro-batch 512 --lr 0.01 --warmup-lr 0.01 --device cpu "
    "--rollouts 8 --save-every 0.05"
)
LARGER = shlex.split(
    "--tiny --env course.handmade:Boxes --iterations 2 --tasks 600 --simulations 6 --branch 3 "
    "--alpha 0.5 --steps 700 --warmup-steps 900 --warmup-tasks 1500 --eval-tasks 300 --width 32 "
    "--layers 2 --batch-size 1024 --micro-batch 1024 --lr 0.005 --warmup-lr 0.005 --device cpu "
    "--rollouts 40 --save-every 1"
)


# --- a sitting


def sitting(arguments, log, before=lambda: None):
    """Begin to carry out a command in a process of its own; return the process."""
    process = os.fork()
    if process:
        return process
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        torch.set_num_threads(1)
        events = before()
        status = train.main(arguments)
        if events:
            print(f"events: {events['all']}")
        sys.stdout.flush()
    except BaseException as error:  # a child must never come back
        print(f"Traceback: {error!r}", file=sys.stderr)
        status = 99
    finally:
        os._exit(status)


def status_of(process):
    """Wait for a sitting; return its exit status, negative for the signal that ended it."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def has_ended(process):
    """Whether a sitting is over; its status is still to be asked for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def count_events(most):
    """Have this process kill itself at an event: a step, a word from the actor, a file written.

    `most` is the event at which it dies.  Returns the counter.
    """
    events = Counter()

    def watch(owner, name, weight):
        function = getattr(owner, name)

        def watched(*arguments, **named):
            events["all"] += weight
            if events["all"] >= most:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        setattr(owner, name, watched)

    watch(train.Actor, "start", 10)
    watch(train.critique, "splice", 10)
    watch(checkpoint.Progress, "passed", 2)  # there are so many more of them
    watch(folder, "sync", 1)
    return events


READY = "all that was made is read"


def tell_ready():
    """Have this process say when it begins to make what is not there yet."""
    function = going_on.Kept.ready

    def ready(kept):
        function(kept)
        print(READY)

    going_on.Kept.ready = ready


# --- what is left


def left(out):
    """What a run leaves, but for seconds: a digest of each file by its name."""
    digests = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        of_sittings = ("run.json", "run.lock", "digests.json")
        if not path.is_file() or path.name in of_sittings:
            continue
        content = path.read_bytes()
        if name.endswith(("results.jsonl", "metrics.json")):
            content = json.dumps(without_seconds(content)).encode()
        if name == "config.json":
            content = json.dumps({**json.loads(content), "out": ""}).encode()
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def without_seconds(content):
    rows = [json.loads(line) for line in content.splitlines()]
    for row in rows:
        for inner in row.get("rows", [row]):
            inner["seconds"] = 0
    return rows


def stages(log):
    """Where the sittings of a log went on, each with its number."""
    lines = [line for line in log.read_text().splitlines() if ": goes on with the " in line]
    return Counter(line.split(": goes on with the ")[1].split(", at step")[0] for line in lines)


# --- the command


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        log = base / "log"
        began = time.monotonic()
        assert status_of(sitting([*LARGER, "--out", str(base / "whole")], log)) == 0
        whole = time.monotonic() - began
        assert status_of(sitting([*LARGER, "--out", str(base / "whole")], log)) == 0
        began = time.monotonic()
        command = [*LARGER, "--out", str(base / "killed")]
        kills = 0
        startups = []
        while True:
            begun = time.monotonic()
            before = log.read_text().count(READY)
            process = sitting(command, log, tell_ready)
            while log.read_text().count(READY) == before and not has_ended(process):
                time.sleep(0.005)
            startups.append(time.monotonic() - begun)
            if kills < options.kills:
                time.sleep(rng.uniform(0, 2) * (whole / options.kills + 1.0))
                os.kill(process, signal.SIGKILL)
            status = status_of(process)
            if status == 0:
                break
            assert status == -signal.SIGKILL, log.read_text()[-3000:]
            kills += 1
        took = time.monotonic() - began
        same = left(base / "killed") == left(base / "whole")
        startup = sum(startups) / len(startups)
        print(f"unkilled: {whole:.1f} s; killed {kills} times: {took:.1f} s; the same: {same}")
        print(
            f"start-up {startup:.2f} s, interval 1 s: at most {whole + kills * (startup + 1):.1f}"
        )
        print(dict(stages(log)))


if __name__ == "__main__":
    main()
