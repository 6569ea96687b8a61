"""Processes as torchrun starts them, but forked; and what several gain: `python -m tests.several`.

    python -m tests.several trees FOLDER lab        # which trees part, by processes and --rollouts
    python -m tests.several search FOLDER craft     # how long a search takes 1 and 2 processes
    python -m tests.several training FOLDER         # steps of a model that is brought, and memory

FOLDER holds a trained model.  Ways take turns.  Seconds are of the clock, on an idle machine, and
of the processor: of whichever process takes most, which a busy machine does not lengthen.
"""

import argparse
import functools
import os
import pickle
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import mcts
from agent_r import Actor
from engine import processes
from engine.dialogues import Sampling
from engine.pieces import in_pieces
from engine.precision import Precision
from envs import make_world
from records import trees
from train import Encoded, fine_tune

STORES = """
import sys
from torch import distributed
stores = []
for _ in sys.stdin:  # until whoever started this has ended
    stores.append(distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False))
    print(stores[-1].port, flush=True)
"""


@functools.cache
def stores():
    """A process that opens stores such as torchrun has, one for each line that it is told.

    They stand in a process of their own: they have threads, and what is forked beside threads may
    find a lock taken for ever.
    """
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", STORES], stdin=pipe, stdout=pipe, text=True)


def port_of_new_store():
    print(file=stores().stdin, flush=True)
    return int(stores().stdout.readline())


class Together:
    """Processes forked from this one, so that torch is imported once, as torchrun would start them.

    Each carries out `function` with its place; what it prints is in a file.
    """

    def __init__(self, folder, number, function):
        self.folder = folder
        self.number = number
        self.port = port_of_new_store()
        folder.mkdir(exist_ok=True)
        self.ids = [self.start(place, function) for place in range(number)]

    def start(self, place, function):
        process = os.fork()
        if process:
            return process
        status = 99
        try:
            with (self.folder / f"said-{place}").open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout = os.fdopen(1, "w", buffering=1)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            torch.set_num_threads(1)
            os.environ.update(
                RANK=str(place),
                LOCAL_RANK=str(place),
                WORLD_SIZE=str(self.number),
                MASTER_ADDR="localhost",
                MASTER_PORT=str(self.port),
                TORCHELASTIC_RUN_ID="test",
                TORCHELASTIC_USE_AGENT_STORE="True",
            )
            status = function(place)
        except BaseException as error:  # a child must never come back
            print(f"Traceback: {error!r}", file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def statuses(self, seconds=600):
        """Wait for all; return their exit statuses, negative for a signal; kill what hangs."""
        ended = {}
        limit = time.monotonic() + seconds
        while len(ended) < self.number:
            hangs = time.monotonic() > limit
            for process in self.ids:
                if process not in ended:
                    if hangs:
                        os.kill(process, signal.SIGKILL)
                    found, status = os.waitpid(process, 0 if hangs else os.WNOHANG)
                    if found:
                        ended[process] = os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        return [ended[process] for process in self.ids]

    def said(self):
        return [(self.folder / f"said-{place}").read_text() for place in range(self.number)]


def in_processes(folder, number, function):
    """What `function` returns in each of so many processes that make one run."""

    def carry_out(place):
        def keep():
            result = function()
            (folder / f"result-{place}").write_bytes(pickle.dumps(result))

        processes.joined(keep)()
        return 0

    together = Together(folder, number, carry_out)
    assert together.statuses() == [0] * number, together.said()
    return [pickle.loads((folder / f"result-{place}").read_bytes()) for place in range(number)]


# --- what several gain


def searched(folder, env, count, rollouts):
    """Seconds of the clock and of the processor, and the trees of a search as lines."""
    actor = Actor.load(folder, max_new_tokens=24)
    make = make_world(env)
    tasks = make().tasks("train")
    names = random.Random(0).sample(list(tasks), count)
    settings = mcts.SearchSettings(6, 4, 0.25, 0, rollouts)

    def some(numbers):
        chosen = [names[number] for number in numbers]
        return mcts.search(actor, make, chosen, settings, Sampling(1.0, 7), numbers=numbers)

    kept = {"write": lambda tree: trees.to_line(tree, env), "read": trees.from_record}
    some(range(2))
    processes.from_first(None)  # all begin at once
    began = time.monotonic(), time.process_time()
    grown = in_pieces(some, range(count), rollouts, **kept)
    took = time.monotonic() - began[0], time.process_time() - began[1]
    return took, [repr(trees.to_line(tree, env)) for tree in grown]


def compare_trees(options, folder):
    base = None
    for rollouts in options.rollouts:
        for number in options.processes:
            call = lambda rollouts=rollouts: searched(  # noqa: E731
                options.folder, options.env, options.trees, rollouts
            )
            lines = [lines for _, lines in in_processes(folder, number, call)]
            assert all(each == lines[0] for each in lines)
            base = base or lines[0]
            same = sum(map(str.__eq__, base, lines[0]))
            told = f"{number} processes, --rollouts {rollouts}: {same} of {len(base)} the same"
            print(told, flush=True)


def compare_searches(options, folder):
    times = {1: [], 2: []}
    for _ in range(options.repeats):
        for number, taken in times.items():
            call = lambda: searched(  # noqa: E731
                options.folder, options.env, options.trees, options.trees // 2
            )
            taken.append([took for took, _ in in_processes(folder, number, call)])
    report(times)


def stepped(options):
    """Seconds of the clock and of the processor of some steps, and the peak of memory."""
    actor = Actor.load(options.folder)
    actor.precision = Precision(options.dtype)
    rng = random.Random(0)
    words = len(actor.tokenizer)
    batches = []
    for _ in range(1 + options.steps):
        batch = []
        for _ in range(options.micro_batches):
            ids = [rng.randrange(words) for _ in range(options.tokens)]
            batch.append(
                [Encoded(ids, [-100] * (options.tokens // 2) + ids[options.tokens // 2 :])]
            )
        batches.append(batch)
    times = []

    def look():
        processes.from_first(None)
        times.append((time.monotonic(), time.process_time()))

    def watched():
        for batch in batches:
            look()
            yield batch
        look()

    fine_tune(actor, watched(), steps=len(batches), lr=1e-5)
    first, last = times[1], times[-1]  # the first step takes memory
    wall, spent = (b - a for a, b in zip(first, last, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (wall / options.steps, spent / options.steps), peak


def compare_trainings(options, folder):
    times = {1: [], 2: []}
    peaks = {}
    for _ in range(options.repeats):
        for number, taken in times.items():
            results = in_processes(folder, number, lambda: stepped(options))
            taken.append([took for took, _ in results])
            peaks.setdefault(number, []).append(max(peak for _, peak in results))
    report(times)
    for number, most in peaks.items():
        print(f"{number} processes: peak of one {statistics.median(most):.2f} GiB")


def report(times):
    """Print seconds by the number of processes, each way's median, and how they compare."""
    medians = []
    for number, taken in times.items():
        wall = statistics.median(max(clock for clock, _ in every) for every in taken)
        spent = statistics.median(max(spent for _, spent in every) for every in taken)
        medians.append((wall, spent))
        print(f"{number} processes: {wall:.2f} s by the clock, {spent:.2f} s of the processor")
    (wall, spent), (wall_of_two, spent_of_two) = medians
    print(
        f"gain {wall / wall_of_two:.2f} by the clock, {spent / spent_of_two:.2f} of the processor"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ways = {"trees": compare_trees, "search": compare_searches, "training": compare_trainings}
    parser.add_argument("what", choices=ways)
    parser.add_argument("folder")
    parser.add_argument("env", nargs="?", default="craft")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--rollouts", type=int, nargs="+", default=[64, 17, 1])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--micro-batches", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ways[options.what](options, Path(name))


if __name__ == "__main__":
    main()
