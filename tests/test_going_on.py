"""A run that was stopped goes on from its folder, and nobody can tell afterwards."""

import dataclasses
import importlib
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import threading
import time
from operator import itemgetter

import pytest
import torch
import transformers
from doubles import read_lines, tiny_actor

import train
from agent_r import Actor
from engine import UserError, aside, checkpoint, going_on, pieces, sources
from engine.command_line import carry_out, flag, sentence
from engine.folder import DIGESTS, LOCK, Claim
from settings.config import METHODS, Config, differing
from settings.effects import ALWAYS, IN_SOME_RUNS, Plan, without_effect

resource = pytest.importorskip("resource")  # Linux and macOS
killing = pytest.importorskip("killing")
if not hasattr(os, "fork"):
    pytest.skip("there is no fork here", allow_module_level=True)

QUICK = shlex.split(
    "--tiny --env course.handmade:Street --iterations 1 --tasks 2 --simulations 2 --branch 2 "
    "--steps 2 --warmup-steps 2 --warmup-tasks 4 --eval-tasks 2 --width 8 --layers 1 "
    "--batch-size 256 --micro-batch 256 --device cpu"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the run that nobody kills."""
    folder = tmp_path_factory.mktemp("whole")
    command = [*killing.SMALL, "--out", str(folder / "run")]
    process = killing.sitting(command, folder / "log", lambda: killing.count_events(10**9))
    assert killing.status_of(process) == 0, (folder / "log").read_text()
    return folder / "run"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The folder of a run that is over in a moment, to be copied."""
    out = tmp_path_factory.mktemp("quick") / "run"
    assert train.main([*QUICK, "--out", str(out)]) == 0
    return out


def everything(folder):
    """Every path below a folder, with what the files hold."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[path] = path.read_bytes() if path.is_file() else None
    return found


def main(capsys, *arguments):
    """Carry out a command here; return its status, what it printed, and what it complained of."""
    capsys.readouterr()
    status = train.main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return status, told.out, told.err


# --- killed, terminated, out of room


def test_a_run_that_is_killed_ten_times_leaves_the_bytes_of_one_that_nobody_kills(whole, tmp_path):
    log = tmp_path / "log"
    command = [*killing.SMALL, "--out", str(tmp_path / "run")]
    (events,) = re.findall(r"^events: (\d+)$", (whole.parent / "log").read_text(), re.MULTILINE)
    rng = random.Random(4)
    kills = 0
    while True:
        most = round(int(events) / 11 * rng.uniform(0.7, 1.3)) if kills < 10 else 10**9
        process = killing.sitting(command, log, lambda most=most: killing.count_events(most))
        status = killing.status_of(process)
        if status == 0:
            break
        assert status == -signal.SIGKILL, log.read_text()
        kills += 1
    assert kills == 10, "it was over before"
    assert len(killing.stages(log)) >= 2, f"all in one place: {killing.stages(log)}"
    assert killing.left(tmp_path / "run") == killing.left(whole)
    assert "Traceback" not in log.read_text()
    rows = read_lines(tmp_path / "run" / "results.jsonl")
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert rows[0]["seconds"] <= rows[1]["seconds"] <= rows[2]["seconds"]


def test_a_file_that_may_not_grow_is_told_by_its_name_and_the_run_goes_on_with_more_room(
    whole, tmp_path
):
    """A limit for every file stands for a full disk: the same writes fail, half done."""
    command = [*killing.SMALL, "--out", str(tmp_path / "run")]
    sizes = [0, 90, 300, 900, 2_000, 6_000, 12_000, 24_000, 32_000, 60_000]
    for size in sizes:
        log = tmp_path / f"log {size}"
        entry, end = os.pipe()  # which has no limit

        def limit(size=size, end=end):
            os.dup2(end, 1)
            os.dup2(end, 2)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        process = killing.sitting(command, log, limit)
        os.close(end)
        with os.fdopen(entry) as file:
            told = file.read()
        status = killing.status_of(process)
        sentence = told.strip().split("\n")[-1]
        assert status == 2, f"{size}: {told}"
        assert sentence.startswith("train.py: "), told
        assert str(tmp_path / "run") in sentence, f"{size}: which file? {sentence}"
        assert "too large" in sentence, sentence
        assert "Traceback" not in told
        for path in (tmp_path / "run").rglob("*.jsonl"):
            read_lines(path)  # what has its name is whole
    process = killing.sitting(command, tmp_path / "log")
    assert killing.status_of(process) == 0, (tmp_path / "log").read_text()
    assert killing.left(tmp_path / "run") == killing.left(whole)


def test_a_run_that_is_asked_to_end_says_so_and_goes_on_later(whole, tmp_path):
    log = tmp_path / "log"
    command = [*killing.SMALL, "--out", str(tmp_path / "run")]
    process = killing.sitting(command, log)
    while not (tmp_path / "run" / "general.jsonl.part").exists():
        time.sleep(0.01)
    os.kill(process, signal.SIGTERM)
    assert killing.status_of(process) == 143
    assert "train.py: stopped; the same command goes on from there" in log.read_text()
    assert killing.status_of(killing.sitting(command, log)) == 0
    assert killing.left(tmp_path / "run") == killing.left(whole)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_folder_that_may_not_be_written_is_told_and_left_alone(tmp_path, capsys):
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut").chmod(0o500)
    status, _, told = main(capsys, *QUICK, "--out", tmp_path / "shut" / "run")
    assert (status, told.count("\n")) == (2, 1)
    assert str(tmp_path / "shut") in told


# --- a folder, and who may work in it


def test_a_finished_run_says_so_prints_its_table_and_changes_nothing(tmp_path, capsys):
    command = [*QUICK, "--out", tmp_path / "run"]
    status, first, _ = main(capsys, *command)
    assert status == 0
    before = everything(tmp_path)
    status, again, told = main(capsys, *command)
    assert (status, told) == (0, "")
    assert "this run is finished" in again
    assert again.split("\n")[1:4] == first.split("\n")[3:6], "the last table"
    assert everything(tmp_path) == before


def test_more_iterations_other_rollouts_and_checkpoints_are_the_same_run(tmp_path, capsys):
    long = [*QUICK, "--alpha", "0.5,0.6"]
    assert main(capsys, *long, "--iterations", 2, "--out", tmp_path / "whole")[0] == 0
    command = [*QUICK, "--out", tmp_path / "run"]
    assert main(capsys, *command, "--iterations", 0, "--alpha", 0.1)[0] == 0
    assert main(capsys, *command, "--alpha", 0.5, "--rollouts", 3)[0] == 0
    flags = ("--iterations", 2, "--save-every", 1, "--alpha", "0.5,0.6")
    status, out, _ = main(capsys, *command, *flags)
    assert status == 0
    assert f"{tmp_path / 'run'}: goes on with the search of iteration 2." in out.split("\n")
    for name in (
        "episodes.jsonl",
        "iteration-2/trees.jsonl",
        "iteration-2/model/model.safetensors",
    ):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["iterations"] == 2


def test_another_configuration_is_refused_with_the_flags_that_differ(quick, tmp_path, capsys):
    command = [*QUICK, "--out", shutil.copytree(quick, tmp_path / "run")]
    before = everything(tmp_path)
    status, out, told = main(capsys, *command, "--seed", 1, "--lr", 0.5, "--iterations", 9)
    assert (status, out) == (2, "")
    assert "holds a run with another --lr, --seed; " in told
    assert told.count("\n") == 1
    assert everything(tmp_path) == before


def test_flags_that_may_be_others_and_flags_that_may_not():
    config = Config(alpha="0.5,0.7,1", iterations=3)
    before = dataclasses.asdict(config)
    same = {"iterations": 2, "rollouts": 1, "device": "cpu", "save_every": 1.0, "out": "elsewhere"}
    assert differing(dataclasses.replace(config, **same), before) == []
    for name, value in before.items():
        if name in same or name == "alpha":
            continue
        other = value + 1 if isinstance(value, int | float) else f"{value}x"
        assert differing(dataclasses.replace(config, **{name: other}), before) == [flag(name)]
    for alpha, iterations, expected in (
        ("0.5,0.7,1.0,0.2", 4, []),
        ("0.50,0.7", 2, []),
        ("0.5", 1, []),
        ("0.5", 2, ["--alpha"]),
        ("0.5,0.7,0.9", 3, ["--alpha"]),
        ("0.6", 0, []),
    ):
        other = dataclasses.replace(config, alpha=alpha, iterations=iterations)
        assert differing(other, before) == expected, alpha
    assert differing(config, {}) == ["--alpha"] * (config.alpha != Config().alpha)


def test_of_two_runs_on_one_folder_the_second_is_refused_and_leaves_all_alone(tmp_path, capsys):
    claim = Claim(tmp_path / "run")
    try:
        (tmp_path / "run" / "config.json").write_text("the other's")
        before = everything(tmp_path)
        for flags in ([], ["--anew"]):
            (tmp_path / "run" / going_on.RECORD).write_text("{}")
            status, out, told = main(capsys, *QUICK, *flags, "--out", tmp_path / "run")
            assert (status, out) == (2, "")
            assert "another run is at work there" in told
            (tmp_path / "run" / going_on.RECORD).unlink()
            assert everything(tmp_path) == before
    finally:
        claim.release()


def test_of_runs_that_are_started_together_one_works_and_the_others_are_refused(tmp_path):
    logs = [tmp_path / f"log {number}" for number in range(4)]
    command = [*QUICK, "--out", str(tmp_path / "a" / "run")]
    processes = [killing.sitting(command, log) for log in logs]
    statuses = [killing.status_of(process) for process in processes]
    for status, log in zip(statuses, logs, strict=True):
        text = log.read_text()
        assert status == 0 or "another run is at work there" in text, text
    assert set(statuses) <= {0, 2}
    assert 0 in statuses
    made = sum(log.read_text().count("seed=0") for log in logs)
    assert made == 1, "who came when all was finished was told so"
    assert len(read_lines(tmp_path / "a" / "run" / "results.jsonl")) == 2


def test_a_claim_dies_with_its_process(tmp_path):
    process = os.fork()
    if not process:
        Claim(tmp_path / "run")
        os.kill(os.getpid(), signal.SIGKILL)
    killing.status_of(process)
    Claim(tmp_path / "run").release()


def test_a_command_that_makes_no_sense_leaves_no_folder_and_no_lock(tmp_path, capsys):
    out = tmp_path / "a" / "b" / "run"
    flags = ("--env", "course.handmade:Street", "--critic", "truth", "--warmed", tmp_path)
    status, _, _ = main(capsys, *QUICK, *flags, "--out", out)
    assert status == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["", " "])
def test_a_folder_without_a_name_is_refused(capsys, out):
    status, _, told = main(capsys, *QUICK, "--out", out)
    assert status == 2
    assert told.startswith("train.py: --out")


WORLD = "from course.handmade import Street\n\n\nclass Lane(Street):\n    name = 'lane'\n"


SHUFFLED = f"""{WORLD}
    turned = False

    def tasks(self, split):
        return super().tasks(split)[:: -1 if self.turned else 1]
"""


def test_a_world_that_names_its_tasks_in_another_order_is_not_gone_on_with(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shuffled.py").write_text(SHUFFLED)
    command = [*QUICK, "--env", "shuffled:Lane", "--out", tmp_path / "run", "--iterations"]
    assert main(capsys, *command, 0)[0] == 0
    world_class = importlib.import_module("shuffled").Lane
    monkeypatch.setattr(world_class, "turned", True)
    status, _, told = main(capsys, *command, 1)
    assert status == 2
    assert "the world shuffled:Lane: its tasks are not those, in that order" in told
    monkeypatch.setattr(world_class, "turned", False)
    assert main(capsys, *command, 1)[0] == 0


def test_a_source_that_was_changed_is_named_with_the_two_ways_on(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lanes.py").write_text(WORLD)
    command = [*QUICK, "--env", "lanes:Lane", "--out", tmp_path / "run"]
    assert main(capsys, *command)[0] == 0
    out = tmp_path / "run"
    strangers = {
        out / "notes.txt": "mine",
        out / "iteration-1" / "notes.txt": "mine too",
        out / "iteration-0" / "model" / "README.md": "and mine",
        out / "iteration-final" / "trees.jsonl": "no iteration of a run's",
    }
    for path, text in strangers.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "lanes.py").write_text(WORLD + "    step_limit = 6\n")
    before = everything(out)
    status, _, told = main(capsys, *command)
    assert status == 2
    for part in ("lanes.py", "--anew", "another --out"):
        assert part in told
    assert everything(out) == before
    status, printed, _ = main(capsys, *command, "--anew")
    assert status == 0
    assert "goes on" not in printed
    assert all(path.read_text() == text for path, text in strangers.items())
    assert len(read_lines(out / "results.jsonl")) == 2


def test_to_begin_anew_removes_all_that_a_run_leaves(quick, tmp_path, capsys):
    shutil.copytree(quick, tmp_path / "run")
    parts = ("iteration-1/trees.jsonl.part", "general.jsonl.part", checkpoint.NAME)
    for name in (*parts, "results.jsonl.part"):
        (tmp_path / "run" / name).write_text("half")
    (tmp_path / "run" / "iteration-1" / "model.part").mkdir()
    going_on.remove(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


@pytest.mark.parametrize(
    "flags",
    [
        ("--env", "labb"),
        ("--model", "nowhere"),
        ("--model", "run/iteration-1/model"),
        ("--warmed", "run/iteration-0/model"),
    ],
    ids=" ".join,
)
def test_a_command_that_makes_no_sense_removes_nothing_with_anew(
    quick, tmp_path, capsys, monkeypatch, flags
):
    monkeypatch.chdir(tmp_path)
    out = shutil.copytree(quick, tmp_path / "run")
    (out / "iteration-1" / "notes.txt").write_text("mine")
    before = everything(out)
    status, _, told = main(capsys, *QUICK, *flags, "--out", "run", "--anew")
    assert status == 2
    assert ("--anew" in told) == ("run/" in flags[1]), "what it would remove is not called missing"
    assert everything(out) == before


@pytest.mark.parametrize("place", [aside.MOVING, aside.WAITING, aside.GONE])
def test_whoever_is_killed_while_a_run_is_replaced_finds_one_of_the_two(
    quick, tmp_path, capsys, place
):
    out = shutil.copytree(quick, tmp_path / "run")
    (out / "iteration-1" / "notes.txt").write_text("mine")
    before = everything(out)
    names = going_on.own_names(out)
    if place == aside.MOVING:
        names = names[::2]
    aside.set_aside(out, names)
    if place == aside.MOVING:
        (out / aside.WAITING).rename(out / place)
    else:
        (out / "general.jsonl.part").write_text("of the new run")
    if place == aside.GONE:
        (out / aside.WAITING).rename(out / place)
        (out / aside.GONE / "config.json").unlink()  # it was on the way
    aside.settle(out, going_on.remove)
    if place == aside.GONE:
        left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert left == {"iteration-1/notes.txt", "general.jsonl.part", LOCK}
    else:
        assert everything(out) == before


def test_a_stranger_s_folder_of_that_name_is_nobodys_run(tmp_path, capsys):
    (tmp_path / aside.WAITING).mkdir()
    (tmp_path / "config.json").write_text("mine")
    status, _, told = main(capsys, *QUICK, "--anew", "--out", tmp_path)
    assert status == 2
    assert "something stands there already" in told
    assert (tmp_path / "config.json").read_text() == "mine"


def test_a_run_without_its_config_is_not_taken_for_one_that_had_not_begun(quick, tmp_path, capsys):
    out = shutil.copytree(quick, tmp_path / "run")
    (out / "config.json").unlink()
    before = everything(out)
    status, _, told = main(capsys, *QUICK, "--out", out)
    assert status == 2
    assert "config.json: is gone" in told
    assert everything(out) == before
    status, _, _ = main(capsys, *QUICK, "--out", out, "--anew")
    assert status == 0
    assert len(read_lines(out / "results.jsonl")) == 2


def test_to_begin_anew_where_no_run_is_refused_too(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("mine")
    status, _, told = main(capsys, *QUICK, "--anew", "--out", tmp_path)
    assert status == 2
    assert "something stands there already" in told
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_was_changed_in_the_folder_itself_is_told_in_a_sentence(quick, tmp_path, capsys):
    out = shutil.copytree(quick, tmp_path / "run")
    for name in ("run.json", "config.json", "results.jsonl"):
        content = (out / name).read_bytes()
        for broken in (b"{", b"", b"[1]", b"\xff"):
            (out / name).write_bytes(broken)
            status, _, told = main(capsys, *QUICK, "--iterations", 2, "--out", out)
            assert status == 2, (name, broken)
            assert told.count("\n") == 1
            (out / name).write_bytes(content)
    (out / "iteration-1" / "model").rename(tmp_path / "model")
    (out / "iteration-0" / "model").rename(tmp_path / "model 0")
    status, _, told = main(capsys, *QUICK, "--iterations", 2, "--out", out)
    assert "is not there any more, to go on from" in told
    assert status == 2


GUARDED = (
    "general.jsonl",
    "recovery.jsonl",
    "results.jsonl",
    "episodes.jsonl",
    "iteration-1/trees.jsonl",
    "iteration-1/data.jsonl",
    "iteration-1/verdicts.jsonl",
    "iteration-1/critique.json",
    "iteration-1/training.json",
)


@pytest.mark.parametrize("name", GUARDED)
def test_a_file_that_lost_a_line_or_all_is_not_gone_on_with(quick, tmp_path, capsys, name):
    out = shutil.copytree(quick, tmp_path / "run")
    text = (out / name).read_text()
    for content in ("[]\n", f"{text}{{}}\n", text[text.find("\n") + 1 :] + "\n"):
        (out / name).write_text(content)
        status, _, told = main(capsys, *QUICK, "--iterations", 2, "--out", out)
        assert status == 2
        assert f"{out / name}: is not as the run left it" in told


@pytest.mark.parametrize("name", [*GUARDED, "iteration-0/model.json", "iteration-1/metrics.json"])
def test_a_file_that_was_taken_away_is_missed(quick, tmp_path, capsys, name):
    out = shutil.copytree(quick, tmp_path / "run")
    (out / name).unlink()
    before = everything(out)
    status, _, told = main(capsys, *QUICK, "--iterations", 2, "--out", out)
    assert status == 2
    assert f"{out / name}: is not there any more; put it back" in told
    assert everything(out) == before


def test_a_new_file_that_never_got_its_name_is_not_missed_and_neither_is_it_later(
    quick, tmp_path, capsys
):
    out = shutil.copytree(quick, tmp_path / "run")
    known = json.loads((out / DIGESTS).read_text())
    known["iteration-1/exam.jsonl"] = ["of what was about to be there"]
    (out / DIGESTS).write_text(json.dumps(known))
    (out / "iteration-1" / "exam.jsonl.part").write_text("{}")
    for _ in range(2):  # the first time sweeps it away
        assert main(capsys, *QUICK, "--out", out)[0] == 0
    assert not (out / "iteration-1" / "exam.jsonl.part").exists()


def test_who_is_stopped_before_a_file_gets_its_name_goes_on_with_the_one_before(
    quick, tmp_path, capsys
):
    out = shutil.copytree(quick, tmp_path / "run")
    known = json.loads((out / DIGESTS).read_text())
    known["results.jsonl"] = ["of the next", *known["results.jsonl"][:1]]
    (out / DIGESTS).write_text(json.dumps(known))
    assert main(capsys, *QUICK, "--iterations", 2, "--out", out)[0] == 0


def test_a_run_that_was_stopped_as_it_wrote_its_first_file_can_begin(tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    for name in (LOCK, DIGESTS, f"{going_on.RECORD}.part"):
        (out / name).write_text("{}")
    assert main(capsys, *QUICK, "--iterations", 0, "--out", out)[0] == 0


@pytest.mark.parametrize("seconds", ['"abc"', "null", "[1]"])
def test_a_time_that_is_none_is_begun_anew(tmp_path, seconds):
    Claim(tmp_path).release()
    (tmp_path / LOCK).write_text(f'{{"process": 1, "seconds": {seconds}}}')
    claim = Claim(tmp_path)
    assert claim.earlier == 0.0
    claim.release()


@pytest.mark.parametrize("content", ["[]", "{", '{"results.jsonl": 3}'])
def test_digests_that_are_none_are_told(quick, tmp_path, capsys, content):
    out = shutil.copytree(quick, tmp_path / "run")
    (out / DIGESTS).write_text(content)
    status, _, told = main(capsys, *QUICK, "--iterations", 2, "--out", out)
    assert status == 2
    assert f"{out / DIGESTS}: is not as the run left it" in told


def test_of_a_folder_that_is_named_as_data_only_what_is_read_is_looked_at(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("a.json", "b.txt", "deep/c.json"):
        (tmp_path / name).write_text("{}")
    found = sources.digests([], [str(tmp_path)]).keys() - sources.digests([], []).keys()
    assert found == {str(tmp_path / "a.json")}


# --- the pieces of a stage


def test_work_that_is_stopped_anywhere_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PAUSE", -1.0)
    expected = [n * n for n in range(10)]
    for stop, torn in itertools.product(range(11), (b"", b"49", b"\0\0\0\n", b'{"a": \n')):
        path = tmp_path / f"{stop} {torn}"
        made = []

        def make(some, made=made, stop=stop):
            if len(made) >= stop:
                raise KeyboardInterrupt
            made += some
            return [n * n for n in some]

        def work(path, make):
            with pieces.kept_in(path):
                first = pieces.in_pieces(make, range(4), 1)
                return first + pieces.in_pieces(make, range(4, 10), 2)

        try:
            work(path, make)
        except KeyboardInterrupt:
            assert not path.exists()
            with (tmp_path / f"{path.name}.part").open("ab") as file:
                file.write(torn)
        again = []

        def make_rest(some, again=again):
            again += some
            return [n * n for n in some]

        assert work(path, make_rest) == expected
        assert sorted({*made, *again}) == list(range(10))
        assert not set(made) & set(again), "made twice"
        assert work(path, lambda some: pytest.fail("all is there")) == expected
        assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_generator_goes_on_from_where_its_results_end(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PAUSE", -1.0)
    as_object = {"write": lambda drawn: {"drawn": drawn}, "read": itemgetter("drawn")}

    def work(stop):
        rng = random.Random(3)

        def make(some):
            if some[0] >= stop:
                raise KeyboardInterrupt
            return [rng.random() for _ in some]

        with pieces.kept_in(tmp_path / "drawn"):
            return pieces.in_pieces(make, range(9), 2, rng=rng, **as_object)

    rng = random.Random(3)
    expected = [rng.random() for _ in range(9)]
    for stop in (4, 6):
        with pytest.raises(KeyboardInterrupt):
            work(stop)
    lines = (tmp_path / "drawn.part").read_bytes().splitlines(keepends=True)
    (tmp_path / "drawn.part").write_bytes(b"".join(lines[:-1]))  # with it goes the newest state
    assert work(99) == expected
    assert work(0) == expected


# --- the training


class GPT2:
    """A small model with dropout, and examples for it."""

    def __init__(self, **change):
        torch.manual_seed(0)
        shape = {"vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 32}
        config = transformers.GPT2Config(**shape | change, resid_pdrop=0.5)
        tiny = tiny_actor()
        self.actor = Actor(transformers.GPT2LMHeadModel(config), tiny.tokenizer)
        self.actor.model.eval()

    def batches(self):
        rng = random.Random(1)
        for _ in range(12):
            ids = [rng.randrange(20) for _ in range(10)]
            yield [[train.Encoded(ids, ids)]]

    def tune(self, stop=99, lr=0.01):
        seen = []

        def objective(actor, batch):
            seen.append(batch)
            if len(seen) > stop:
                raise KeyboardInterrupt
            return train.imitation(actor, batch)

        torch.manual_seed(7)
        named = {"steps": 12, "lr": lr, "objective": objective, "label": "training"}
        return train.fine_tune(self.actor, self.batches(), **named), len(seen)

    def weights(self):
        return torch.cat([weight.detach().flatten() for weight in self.actor.model.parameters()])


def test_a_training_that_was_begun_with_another_model_is_told_so(tmp_path):
    with checkpoint.saved_in(tmp_path, 0.0):
        with pytest.raises(KeyboardInterrupt):
            GPT2().tune(5)
        for change in ({"n_embd": 16}, {"n_layer": 2}):
            with pytest.raises(
                UserError, match="is of a model of another size; put the model back"
            ):
                GPT2(**change).tune()


def test_a_training_that_is_stopped_and_gone_on_with_ends_at_the_same_bits(tmp_path):
    sound = GPT2()
    expected = sound.tune()
    for stop in (0, 1, 5, 11):
        with checkpoint.saved_in(tmp_path, 0.0):
            with pytest.raises(KeyboardInterrupt):
                GPT2().tune(stop)
            stopped = GPT2()
            tokens, steps = stopped.tune()
        assert tokens == expected[0]
        assert steps == 12 - stop, "a step was made again"
        assert torch.equal(stopped.weights(), sound.weights())
        (tmp_path / checkpoint.NAME).unlink()


def test_the_checkpoint_of_another_training_is_not_gone_on_from(tmp_path):
    expected = GPT2().tune()
    with checkpoint.saved_in(tmp_path, 0.0):
        GPT2().tune()
        other = GPT2()
        optimizer = torch.optim.AdamW(other.actor.model.parameters())
        assert checkpoint.Progress(other.actor.model, optimizer, "another", []).step == 0
        assert checkpoint.Progress(other.actor.model, optimizer, "training", []).step == expected[1]


def test_a_checkpoint_is_left_as_often_as_was_said(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint.Progress, "_save", lambda progress: saved.append(progress.step))
    GPT2().tune()
    assert saved == [], "there is no run"
    with checkpoint.saved_in(tmp_path, 1000.0):
        GPT2().tune()
    assert saved == []
    with checkpoint.saved_in(tmp_path, 0.0):
        GPT2().tune()
    assert saved == list(range(1, 13))


@pytest.mark.parametrize("lr", [1e30, 1e20])
def test_a_loss_that_is_no_longer_finite_stops_the_run_and_says_what_would_help(
    tmp_path, capsys, lr
):
    out = tmp_path / "run"
    command = [*QUICK, "--steps", 40, "--lr", lr, "--eta", 0.1, "--out", out]
    for _ in range(2):
        status, _, told = main(capsys, *command)
        assert status == 2
        assert told.count("\n") == 1
        assert "iteration 1" in told
        assert "--lr" in told
        assert not (out / "iteration-1" / "model").exists()
    with pytest.raises(UserError, match=r"no longer a finite number at step \d"):
        GPT2().tune(lr=1e30)


def test_weights_that_are_no_numbers_are_not_loaded(tmp_path):
    actor = tiny_actor()
    with torch.no_grad():
        actor.model.get_input_embeddings().weight[-1, 0] = torch.nan
    actor.save(tmp_path / "model")
    with pytest.raises(UserError, match=r"embed_tokens\.weight holds what are no finite numbers"):
        Actor.load(tmp_path / "model")


def test_a_warmed_up_model_of_another_size_is_refused(quick, tmp_path, capsys):
    model = quick / "iteration-0" / "model"
    for flags in (["--width", 16], ["--layers", 2]):
        status, _, told = main(capsys, *QUICK, *flags, "--warmed", model, "--out", tmp_path / "new")
        assert status == 2
        assert " ".join(map(str, flags)) in told
        assert "--width 8 --layers 1" in told
        assert not (tmp_path / "new").exists()


# --- flags without effect


def test_every_flag_always_has_an_effect_or_is_said_to_have_one_in_some_runs():
    fields = {field.name for field in dataclasses.fields(Config)}
    assert {*ALWAYS, *IN_SOME_RUNS} == fields
    assert not {*ALWAYS} & {*IN_SOME_RUNS}
    brought = {"model": "m", "general": "g", "eta": 0.2}
    plans = [Plan(Config(method=method, env="textcraft")) for method in METHODS]
    plans.append(Plan(Config(**brought, warmup_steps=3, env="lab,textcraft"), taught=True))
    plans.append(Plan(Config(iterations=0, warmed="w", warmup_steps=3)))
    plans.append(Plan(Config(warmup_steps=3, eta=0.5)))
    for name, has_effect in IN_SOME_RUNS.items():
        assert {bool(has_effect(plan)) for plan in plans} == {True, False}, name


@pytest.mark.parametrize(
    ("changes", "taught", "expected"),
    [
        ({}, False, "dpo_lr dpo_beta winners thoughts general recipes warmup_lr"),
        ({"method": "eto"}, False, "critic splice eta lr steps revision_share"),
        ({"method": "eto", "winners": "expert"}, False, "critic splice idle eta lr steps"),
        ({"method": "bc"}, False, "tasks simulations alpha pairs beta eta dpo_lr"),
        ({"method": "direct-revision"}, False, "critic splice pairing winners"),
        ({"model": "m"}, False, "width layers lookback warmup_tasks judge_share"),
        ({"model": "m", "warmup_steps": 9}, True, "warmup_steps warmup_lr width"),
        ({"warmed": "w", "warmup_steps": 9}, False, "warmup_steps warmup_lr"),
        ({"iterations": 0, "warmup_steps": 9}, False, "tasks steps lr eta critic beta"),
    ],
)
def test_flags_that_change_nothing_are_named(changes, taught, expected):
    plan = Plan(Config(**changes), taught)
    names = expected.split()
    every = [field.name for field in dataclasses.fields(Config)]
    found = without_effect(plan, every)
    assert {flag(name) for name in names} <= set(found)
    assert without_effect(plan, []) == []
    useful = [name for name in every if flag(name) not in found]
    assert without_effect(plan, useful) == []


def test_eto_cuts_what_it_prefers_where_idle_says_so():
    assert without_effect(Plan(Config(method="eto")), ["idle"]) == []


def test_a_run_says_in_one_line_what_was_given_for_nothing(tmp_path, capsys):
    flags = ("--dpo-lr", 0.1, "--recipes", "somewhere")
    _, out, _ = main(capsys, *QUICK, *flags, "--out", tmp_path / "run")
    assert out.split("\n")[1] == "Without effect in this run: --dpo-lr, --recipes."
    _, out, _ = main(capsys, *QUICK, "--out", tmp_path / "plain")
    assert "effect" not in out, "what a preset says was not given"


def test_a_message_never_repeats_thousands_of_signs(capsys):
    long = "x" * 5000
    for flags in (("--critic", long), ("--env", long), ("--model", long), (f"--{long}", "1")):
        status, _, told = main(capsys, "--tiny", *flags)
        assert status == 2
        assert len(told) < 2000
    assert sentence("short") == "short"
    assert len(sentence("a" * 900 + "b" * 900)) < 900


def test_signals_are_left_alone_in_a_thread_of_its_own():
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(carry_out("bake.py", lambda: None)))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_what_a_finished_stage_left_behind_is_swept_away(whole, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    left = [out / "iteration-1" / f"{name}.jsonl.part" for name in ("judging", "exam")]
    for path in left:
        path.write_text("{}\n")
    status, *_ = main(capsys, *killing.SMALL, "--out", out)
    assert status == 0
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, UserError("no")])
def test_a_run_that_had_not_begun_leaves_nothing_whatever_stopped_it(tmp_path, error):
    out = tmp_path / "deep" / "run"

    def begin_and_stop():
        with going_on.claimed(out, {}, lambda _: []) as kept:
            kept.begin({})
            raise error

    with pytest.raises((KeyboardInterrupt, MemoryError, UserError)):
        begin_and_stop()
    assert not out.parent.exists()
