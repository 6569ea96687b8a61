"""Several processes make one run: the same trees, data and weights, one voice, one end."""

import itertools
import os
import random
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from doubles import read_lines, tiny_actor
from several import Together, in_processes
from torch import distributed

import train
from engine import UserError, checkpoint, processes
from engine.learning import keep_between_layers
from engine.pieces import in_pieces, kept_in
from engine.precision import Precision
from train import Encoded, Preference, fine_tune, preference

ROOT = Path(__file__).resolve().parent.parent
SMALL = shlex.split(
    "--tiny --env course.handmade:Boxes --tasks 16 --simulations 4 --branch 3 --alpha 0.5 "
    "--steps 6 --warmup-steps 40 --warmup-tasks 40 --eval-tasks 8 --width 16 --layers 1 "
    "--batch-size 512 --micro-batch 256 --lr 0.01 --warmup-lr 0.01 --device cpu --rollouts 5"
)

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and distributed.is_gloo_available()), reason="needs fork and gloo"
)


def run_in_processes(folder, number, arguments):
    """Carry out a command line of train.py; return the exit statuses and what was said."""
    together = Together(folder, number, lambda _: train.main(arguments))
    return together.statuses(), together.said()


# --- training


def examples(rng, vocabulary, count=12):
    made = []
    for _ in range(count):
        length = rng.randrange(5, 40)
        ids = [rng.randrange(vocabulary) for _ in range(length)]
        learned = rng.random() ** 3  # of some next to nothing is learned, of others next to all
        made.append(Encoded(ids, [one if rng.random() < learned else -100 for one in ids]))
    return made


def batches(steps=4, rows=(3, 1, 2, 1)):
    rng = random.Random(0)
    vocabulary = len(tiny_actor().tokenizer)
    made = []
    for step in range(steps):
        micros = [examples(rng, vocabulary, count) for count in rows[: 1 + step % len(rows)]]
        made.append(micros)
    return made


def trained(algorithm="adamw", dtype="float32", *, layered=False, frozen=False, **settings):
    """The weights of a tiny actor after some steps, and what was told of each."""
    norms = []
    passed = checkpoint.Progress.passed

    def noted(progress, tokens, norm):
        norms.append(float(processes.whole(norm)))
        passed(progress, tokens, norm)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(checkpoint.Progress, "passed", noted)
    actor = tiny_actor(width=32, layers=2)
    actor.precision = Precision(dtype)
    if layered:
        keep_between_layers(actor.model)
    if frozen:
        actor.model.get_input_embeddings().requires_grad_(False)
    report = []
    made = settings.pop("made", None) or batches()
    tokens = fine_tune(
        actor, iter(made), steps=len(made), lr=1e-2, algorithm=algorithm, report=report, **settings
    )
    monkeypatch.undo()
    assert not actor.model.training
    assert actor.start([[1, 2]]).replies()  # it acts again
    losses = [line["loss"] for line in report]
    return weights_of(actor), tokens, losses, [line["learned"] for line in report], norms


def weights_of(actor):
    return torch.cat([weight.detach().flatten() for weight in actor.model.parameters()])


def apart(one, other):
    return float((one - other).norm() / other.norm())


WAYS = {
    "adamw": {},
    "muon": {"algorithm": "muon"},
    "layered": {"layered": True},
    "frozen": {"frozen": True},
    "frozen-muon": {"frozen": True, "algorithm": "muon"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [2, 3])
def test_weights_do_not_depend_on_the_number_of_processes(tmp_path, way, number):
    alone, tokens, losses, learned, norms = trained(**WAYS[way])
    assert apart(alone, weights_of(tiny_actor(width=32, layers=2))) > 1e-2
    for weights, *told in in_processes(tmp_path / "p", number, lambda: trained(**WAYS[way])):
        assert apart(weights, alone) < 1e-5
        assert told[0] == tokens
        assert told[1] == pytest.approx(losses, rel=1e-5)
        assert told[2] == learned
        assert told[3] == pytest.approx(norms, rel=1e-4)


def test_in_bfloat16_they_are_as_near_as_it_allows(tmp_path):
    exact, *_ = trained()
    alone, *_ = trained(dtype="bfloat16")
    for weights, *_ in in_processes(tmp_path / "p", 2, lambda: trained(dtype="bfloat16")):
        assert 0 < apart(weights, alone) < apart(alone, exact)


def test_pairs_of_eto_are_shared_out(tmp_path):
    rng = random.Random(1)
    vocabulary = len(tiny_actor().tokenizer)
    made = []
    for count in (3, 1, 4):
        pairs = [Preference(*examples(rng, vocabulary, 2), 0.5) for _ in range(count)]
        made.append([[pair] for pair in pairs])

    def way():
        def objective(actor, batch):
            return preference(actor, batch, 0.3)

        return trained(made=made, objective=objective)

    alone, tokens, losses, learned, norms = way()
    assert learned == [3, 1, 4]
    for weights, *told in in_processes(tmp_path / "p", 2, way):
        assert apart(weights, alone) < 1e-5
        assert told[:3] == [tokens, pytest.approx(losses, rel=1e-5), learned]
        assert told[3] == pytest.approx(norms, rel=1e-4)


def test_each_process_holds_a_part_while_training(tmp_path):
    def parts():
        actor = tiny_actor(width=32, layers=2)
        size = sum(weight.numel() for weight in actor.model.parameters())
        model = processes.spread(actor, "adamw")
        own = sum(weight.to_local().numel() for weight in model.parameters())
        emptied = sum(weight.numel() for weight in actor.speaker.model.parameters())
        replicated = processes.spread(tiny_actor(), "muon")
        return own / size, emptied, isinstance(next(replicated.parameters()).data, torch.Tensor)

    for share, emptied, _ in in_processes(tmp_path / "p", 2, parts):
        assert share == pytest.approx(0.5, abs=0.02)
        assert emptied == 0


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_all_take_part_equally_often_and_each_row_counts_once(number, monkeypatch):
    rng = random.Random(number)
    for _ in range(50):
        rows = itertools.count()
        batch = [
            [next(rows) for _ in range(rng.randrange(1, 6))] for _ in range(rng.randrange(1, 9))
        ]
        counted = []
        times = set()
        most = []
        for place in range(number):
            monkeypatch.setattr(processes, "count", lambda: number)
            monkeypatch.setattr(processes, "index", lambda place=place: place)
            own = list(processes.shares(batch))
            assert all(micro_batch for micro_batch, _ in own)
            times.add(len(own))
            counted += [row for micro_batch, weight in own if weight for row in micro_batch]
            most.append(max(len(micro_batch) for micro_batch, _ in own))
        assert len(times) == 1
        assert sorted(counted) == list(range(next(rows)))


# --- stopped while training, and gone on with by another number


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
@pytest.mark.parametrize(("before", "after"), [(2, 3), (1, 2), (2, 1)])
def test_a_training_goes_on_with_another_number(tmp_path, algorithm, before, after):
    made = batches()
    alone, tokens, losses, *_ = trained(algorithm)

    def some(steps):
        with checkpoint.saved_in(tmp_path, 0.0):
            actor = tiny_actor(width=32, layers=2)
            report = []
            read = fine_tune(
                actor, iter(made[:steps]), steps=4, lr=1e-2, algorithm=algorithm, report=report
            )
        return weights_of(actor), read, [line["loss"] for line in report]

    def carry_out(name, number, steps):
        return (
            in_processes(tmp_path / name, number, lambda: some(steps)) if number > 1 else [some(4)]
        )

    carry_out("before", before, 2) if before > 1 else some(2)
    state = checkpoint.read_state(tmp_path / checkpoint.NAME)
    assert state["step"] == 2
    for weights, *told in carry_out("after", after, 4):
        assert apart(weights, alone) < 1e-5
        assert told == [tokens, pytest.approx(losses, rel=1e-5)]


def test_dropout_is_another_in_each_process(tmp_path):
    def drawn():
        torch.manual_seed(3)
        processes.spread(tiny_actor(), "muon")
        torch.manual_seed(3)
        processes.spread(tiny_actor(), "muon")
        return float(torch.rand(()))

    first, second = in_processes(tmp_path / "p", 2, drawn)
    assert first != second


# --- pieces of work


def test_results_are_in_order_and_in_the_files_of_the_first(tmp_path):
    def make():
        own = []

        def double(items):
            own.append(list(items))
            return [(item, 2 * item) for item in items]

        with kept_in(tmp_path / f"kept-{processes.count()}"):
            first = in_pieces(double, range(7), 2, write=list, read=tuple)
            return first, in_pieces(double, range(7, 8), 2, write=list, read=tuple), own

    first, last, _ = make()
    made = in_processes(tmp_path / "p", 3, make)
    assert [part[:2] for part in made] == [(first, last)] * 3
    assert [part[2] for part in made] == [[[0, 3], [6], [7]], [[1, 4]], [[2, 5]]]
    files = [(tmp_path / f"kept-{number}").read_text() for number in (1, 3)]
    assert files[0] == files[1]


def test_what_one_generator_draws_is_drawn_by_the_first(tmp_path):
    def draw():
        rng = random.Random(0)
        made = []

        def some(items):
            made.append(processes.index())
            return [{"drawn": rng.random()} for _ in items]

        with kept_in(tmp_path / f"drawn-{processes.count()}"):
            return in_pieces(some, range(5), 2, rng=rng), rng.random(), made

    alone = draw()
    results = in_processes(tmp_path / "p", 2, draw)
    assert [result[:2] for result in results] == [alone[:2]] * 2
    assert [result[2] for result in results] == [[0, 0, 0], []]


def test_a_count_is_summed_over_all(tmp_path):
    def sums():
        return processes.over_all(processes.index() + 1), processes.over_all(None)

    assert in_processes(tmp_path / "p", 3, sums) == [(6, None)] * 3
    assert (processes.over_all(5), processes.over_all(None)) == (5, None)


# --- whole runs

OF_ITERATION = ("data.jsonl", "verdicts.jsonl", "critique.json")


def left(out, name):
    rows = read_lines(out / name)
    for row in rows:
        row.pop("seconds", None)
    return rows


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """The folder of a warm-up by one process."""
    out = tmp_path_factory.mktemp("warm") / "run"
    assert train.main([*SMALL, "--iterations", "0", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def from_warm(warm):
    """The flags of a run that begins with its weights."""
    warmed = str(warm / "iteration-0" / "model")
    return [*SMALL, "--iterations", "1", "--warmed", warmed, "--warmup-steps", "0"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, from_warm):
    """The folder of such a run by one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert train.main([*from_warm, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("number", [2, 3])
def test_a_run_of_several_processes_is_that_of_one(tmp_path, alone, from_warm, number):
    out = tmp_path / "run"
    arguments = [*from_warm, "--out", str(out), "--save-every", "0.2"]
    statuses, said = run_in_processes(tmp_path / "p", number, arguments)
    assert statuses == [0] * number, said
    assert said[0].count("No held-out episode") + said[0].count("A held-out episode") == 1
    assert not any(said[1:])
    names = [sorted(str(path.relative_to(at)) for path in at.rglob("*")) for at in (out, alone)]
    assert names[0] == names[1]
    assert read_lines(out / "general.jsonl") == read_lines(alone / "general.jsonl")
    trees = [read_lines(at / "iteration-1" / "trees.jsonl") for at in (out, alone)]
    parted = sum(one != other for one, other in zip(*trees, strict=True))
    assert parted <= 1  # at a coin's edge
    if not parted:
        for name in OF_ITERATION:
            assert read_lines(out / "iteration-1" / name) == read_lines(
                alone / "iteration-1" / name
            )
        assert left(out, "results.jsonl")[0] == left(alone, "results.jsonl")[0]


def test_a_mistake_is_told_once(tmp_path):
    arguments = [*SMALL, "--out", str(tmp_path / "run"), "--beta", "7"]
    statuses, said = run_in_processes(tmp_path / "p", 3, arguments)
    assert statuses == [2, 2, 2]
    assert "".join(said).count("--beta 7.0: must be a number") == 1


def test_torchrun_itself_starts_them(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "train.py", *SMALL, "--out", str(tmp_path / "run"), "--beta", "7"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode
    assert ended.stderr.count("train.py: --beta 7.0: must be a number from 0 to 1\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_stops_one_stops_all(tmp_path, monkeypatch):
    arguments = [*SMALL, "--out", str(tmp_path / "run")]
    search = train.mcts.search

    def stumble(*given, **named):
        if processes.index() == 1:
            raise UserError("the world of one process is broken")
        return search(*given, **named)

    monkeypatch.setattr(train.mcts, "search", stumble)
    statuses, said = run_in_processes(tmp_path / "p", 2, arguments)
    assert statuses == [2, 2], said
    lines = [line for text in said for line in text.splitlines() if line.startswith("train.py: ")]
    assert lines == ["train.py: the world of one process is broken"]
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_dies_ends_all_and_the_run_goes_on_with_another_number(tmp_path, warm, killed):
    out = tmp_path / "run"
    arguments = [*SMALL, "--iterations", "0", "--out", str(out), "--save-every", "0"]

    def die(place):
        passed = checkpoint.Progress.passed

        def passed_once(progress, *given):
            passed(progress, *given)
            if processes.index() == killed and progress.step == 20:
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.Progress.passed = passed_once
        return train.main(arguments)

    together = Together(tmp_path / "died", 2, die)
    statuses, said = together.statuses(), together.said()
    assert statuses[killed] == -signal.SIGKILL
    assert statuses[1 - killed] == 2
    said = "".join(said).splitlines()
    assert [line for line in said if line.startswith("train.py: ")] == [
        "train.py: another process of this run has ended; the same command goes on from there, "
        "with any number of processes"
    ]
    assert "Traceback" not in "".join(said)
    statuses, said = run_in_processes(tmp_path / "after", 3, arguments)
    assert statuses == [0, 0, 0], said
    assert f"{out}: goes on with the warm-up, at step 20." in said[0]
    losses = []
    for at in (out, warm):
        lines = read_lines(at / "iteration-0" / "losses.jsonl")
        losses.append([line["loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
