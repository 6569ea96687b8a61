"""Whatever is damaged, missing or mad is told in one sentence: command lines, folders, worlds.

Each harness draws its cases by a seed.  A few seconds of each are tried here; `AGENT_R_CASES=100`
tries that many of a kind (in percent of the full size: 300 command lines, 120 model folders, 200
recipe files, 90 worlds).
"""

import json
import math
import os
import random
import shlex
import shutil
import sys
import time
import types

import numpy as np
import pytest
import torch
from brought import stranger
from safetensors.torch import load_file, save_file
from test_command_line import Blink

import train
from engine import UserError, command_line
from worlds import recipes, textcraft

PERCENT = float(os.environ.get("AGENT_R_CASES", "8"))
QUICK = shlex.split(
    "--iterations 1 --tasks 2 --simulations 2 --branch 2 --steps 2 --warmup-steps 2 "
    "--warmup-tasks 16 --eval-tasks 2 --width 8 --layers 1 --batch-size 256 --micro-batch 256 "
    "--max-new-tokens 6 --judge-tokens 6 --device cpu"
)


def cases(whole):
    """The numbers of the cases of a kind that are tried."""
    return range(max(4, round(whole * PERCENT / 100)))


def sentence(capsys, out, arguments):
    """Carry out a command line; return its sentence, or nothing of a run that went well."""
    capsys.readouterr()
    start = time.monotonic()
    status = train.main([*arguments, "--out", str(out)])
    assert time.monotonic() - start < 10 or status == 0, "it hangs"
    told = capsys.readouterr().err
    assert "Traceback" not in told
    if status == 0:
        rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert rows
        for row in rows:
            assert 0 <= row["score"] <= 1
        return ""
    assert status == 2
    line = told.strip().split("\n")[-1]
    assert line.startswith("train.py: ")
    assert len(line) < 2000
    assert not out.exists() or not any(out.iterdir()) or "the world" in line
    return line


# --- command lines

NUMBERS = [
    "0",
    "-1",
    "1",
    "2",
    "10" * 20,
    "1" + "0" * 21,
    "1e400",
    "nan",
    "inf",
    "",
    "--",
    "x" * 9000,
]
NUMBERS += ["0.5", "1,1", "\0", "\ud800", "2e0", " 3", "0x10", "٣", "1_0"]
TEXTS = [
    "",
    "lab",
    "lab,lab",
    "lab,craft,shop",
    "moon",
    "a\0b",
    "/dev/null",
    "x" * 6000,
    "\n",
    "json:dumps",
]


@pytest.mark.parametrize("case", cases(300))
def test_a_random_command_line(case, tmp_path, capsys):
    rng = random.Random(case)
    parser = command_line.parser(train.Config, "train.py", "")
    flags = [action.option_strings[-1] for action in parser._actions if action.dest != "help"]
    flags = [flag for flag in flags if flag not in ("--out", "--lr", "--warmup-lr")]
    arguments = [*QUICK, *(["--tiny"] if rng.random() < 0.8 else [])]
    for _ in range(rng.randint(1, 3)):
        flag = rng.choice(flags)
        value = rng.choice(rng.choice([NUMBERS, TEXTS]))
        if flag in (
            "--width",
            "--layers",
            "--steps",
            "--warmup-steps",
            "--simulations",
            "--branch",
        ):
            value = value if value not in ("10" * 20,) else "-5"
        arguments += rng.choice([[flag, value], [f"{flag}={value}"], [flag]])
    sentence(capsys, tmp_path / "out", arguments)


def test_no_message_repeats_five_thousand_characters(tmp_path, capsys):
    for flag in ("--env", "--steps", "--method", "--model", "--alpha", "--" + "y" * 5000):
        line = sentence(capsys, tmp_path / "out", ["--tiny", flag, "x" * 5000])
        assert "x" * 500 not in line
        assert "y" * 500 not in line


def test_counts_that_no_world_gets_a_part_of_and_a_world_named_twice_are_refused(tmp_path, capsys):
    three = ["--tiny", "--env", "lab,shop,craft"]
    assert "--tasks 1: " in sentence(capsys, tmp_path / "out", [*three, "--tasks", "1"])
    assert "--warmup-tasks 2: " in sentence(
        capsys, tmp_path / "out", [*three, "--warmup-tasks", "2"]
    )
    assert "lab is named twice" in sentence(
        capsys, tmp_path / "out", ["--tiny", "--env", "lab,lab"]
    )


# --- models


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return stranger(tmp_path_factory.mktemp("whole") / "model", positions=700)


def change_config(folder, **change):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def poison(weights, rng):
    weights[rng.choice(sorted(weights))].view(-1)[0] = rng.choice([math.nan, math.inf, -math.inf])


def packed(weights, rng):
    name = rng.choice(sorted(weights))
    weights[name] = weights[name].to(rng.choice([torch.int8, torch.uint8, torch.int64, torch.bool]))


def reshaped(weights, rng):
    name = rng.choice(sorted(weights))
    weights[name] = torch.zeros(rng.choice([(0,), (3,), (2, 2), (1, 1, 1)]))


def cut(folder, rng):
    path = rng.choice([path for path in sorted(folder.iterdir()) if "generation" not in path.name])
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) - 2)])


DAMAGE = {
    "a weight lacks": lambda folder, rng: change_weights(
        folder, lambda weights: weights.pop(rng.choice(sorted(weights)))
    ),
    "a weight more": lambda folder, rng: change_weights(
        folder, lambda weights: weights.update({f"model.more.{rng.random()}": torch.zeros(2)})
    ),
    "no numbers": lambda folder, rng: change_weights(folder, lambda w: poison(w, rng)),
    "packed": lambda folder, rng: change_weights(folder, lambda w: packed(w, rng)),
    "reshaped": lambda folder, rng: change_weights(folder, lambda w: reshaped(w, rng)),
    "layers": lambda folder, rng: change_config(
        folder, num_hidden_layers=rng.choice([-1, 0, 1, 3, 50])
    ),
    "width": lambda folder, rng: change_config(folder, hidden_size=rng.choice([0, 16, 64, "x"])),
    "vocabulary": lambda folder, rng: change_config(folder, vocab_size=rng.choice([0, 5, 9000])),
    "context": lambda folder, rng: change_config(
        folder, max_position_embeddings=rng.choice([-1, 0, 1, 6, 20, "x"])
    ),
    "family": lambda folder, rng: change_config(
        folder, model_type=rng.choice(["t5", "vit", "bert", "nonsense", 5, None, []])
    ),
    "cut": cut,
    "removed": lambda folder, rng: (
        folder / rng.choice(["config.json", "model.safetensors", "tokenizer.json"])
    ).unlink(),
    "no JSON": lambda folder, rng: (
        folder / rng.choice(["config.json", "tokenizer.json", "tokenizer_config.json"])
    ).write_bytes(rng.choice([b"", b"[]", b"5", b"null", b"\0\0", b"\xff", b"{", b'"x"'])),
    "pickled": lambda folder, rng: (folder / "model.safetensors").rename(
        folder / "pytorch_model.bin"
    ),
}


@pytest.mark.parametrize("case", cases(120))
def test_a_damaged_model_folder(case, whole, tmp_path, capsys):
    rng = random.Random(case)
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    kind = list(DAMAGE)[case % len(DAMAGE)]
    DAMAGE[kind](folder, rng)
    line = sentence(
        capsys, tmp_path / "out", [*QUICK, "--warmup-steps", "0", "--model", str(folder)]
    )
    assert line, f"a model was taken though {kind}"


def test_a_context_that_is_too_short_for_one_turn_or_reply_is_refused(tmp_path, capsys):
    short = str(stranger(tmp_path / "model", positions=64))
    plain = [*QUICK, "--warmup-steps", "0", "--model", short]
    assert "has no room for one turn: lab begins with" in sentence(capsys, tmp_path / "out", plain)
    for flag in ("--max-new-tokens", "--judge-tokens"):
        line = sentence(capsys, tmp_path / "out", [*plain, flag, "64"])
        assert line.startswith(f"train.py: {flag} 64: the model's context has 64 tokens")


def test_a_tiny_model_of_another_world_is_refused_by_the_words_that_it_lacks(tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(["--tiny", *QUICK, "--iterations", "0", "--out", str(out)]) == 0
    capsys.readouterr()
    model = str(out / "iteration-0" / "model")
    plain = [*QUICK, "--warmup-steps", "0", "--model", model, "--env", "craft"]
    line = sentence(capsys, tmp_path / "out", plain)
    assert line.startswith("train.py: the model lacks words of craft, 'You', "), line


def test_a_judge_that_could_be_asked_nothing_is_refused(tmp_path, capsys):
    model = str(stranger(tmp_path / "model", positions=1024))
    plain = [*QUICK, "--warmup-steps", "0", "--model", model, "--judge-tokens", "1000"]
    line = sentence(capsys, tmp_path / "out", plain)
    assert line.startswith("train.py: --judge-tokens 1000: no question on lab fits beside it")


# --- recipes

PLANKS = {
    "type": "minecraft:crafting_shaped",
    "pattern": ["## ", " # "],
    "key": {"#": {"item": "minecraft:log"}},
    "group": "wood",
    "result": {"item": "minecraft:planks", "count": 4},
}
ODD = [
    None,
    "",
    0,
    -1,
    10**30,
    1.5,
    True,
    [],
    {},
    [[]],
    "a, 2 c",
    "a using 1 b",
    "\0",
    " a",
    "using",
]


def spoilt(value, rng):
    """A copy of a JSON value in which one part is another, or lacks."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.2:
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: spoilt(value[key], rng)}
    return rng.choice(ODD)


@pytest.mark.parametrize("case", cases(200))
def test_a_damaged_recipe_file(case, tmp_path):
    rng = random.Random(case)
    text = json.dumps(spoilt(PLANKS, rng))
    if rng.random() < 0.2:
        text = text[: rng.randrange(len(text))]
    (tmp_path / "planks.json").write_text(text)
    try:
        book = recipes.read_book(tmp_path)
    except UserError as error:
        told = str(error)
        book = None
    if book is None:
        assert str(tmp_path) in told
        return
    for recipe in book.recipes:  # every command says what it means
        world = textcraft.TextCraft(str(tmp_path))
        world.reset(options={"task": f"{recipe.output.replace(' ', '_')}-0"})
        for action in world.expert():
            world.step(action)
        assert world.score == 1.0
        assert isinstance(recipe.count, int)
        assert 1 <= recipe.count <= 10_000


def shapeless(output, *inputs, group=""):
    return {
        "type": "minecraft:crafting_shapeless",
        "ingredients": [{"item": name} for name in inputs],
        "result": {"item": output},
        "group": group,
    }


def test_a_chain_of_recipes_may_be_long(tmp_path):
    for number in range(1200):
        recipe = shapeless(f"c{number + 1:04}", f"c{number:04}")
        (tmp_path / f"{number:04}.json").write_text(json.dumps(recipe))
    start = time.process_time()
    book = recipes.read_book(tmp_path)
    assert book.goals["c1200"] == 1200
    assert time.process_time() - start < 8


def test_many_tags_make_no_search_endless(tmp_path):
    for level in range(6):
        for member in range(30):
            inputs = [f"t{level - 1}"] if level else ["log"]
            recipe = shapeless(f"m{level} {member}", *inputs, group=f"t{level}")
            (tmp_path / f"{level}-{member}.json").write_text(json.dumps(recipe))
    (tmp_path / "z.json").write_text(json.dumps(shapeless("end", "t5")))
    start = time.process_time()
    assert len(recipes.read_book(tmp_path).plan("end", recipes.Counter())) == 8
    assert time.process_time() - start < 8


def test_a_recipe_of_too_many_tags_is_refused_by_name(tmp_path):
    for member in range(30):
        for tag in "abcdef":
            recipe = shapeless(f"{tag}{member}", "log", group=f"t{tag}")
            (tmp_path / f"{tag}{member}.json").write_text(json.dumps(recipe))
    all_tags = shapeless("end", *(f"t{tag}" for tag in "abcdef"))
    (tmp_path / "z.json").write_text(json.dumps(all_tags))
    with pytest.raises(UserError, match=r"craft 1 end using .*729,000,000 ways"):
        recipes.read_book(tmp_path)


# --- worlds


class Plain(Blink):
    """A sound world, of which each case spoils something."""

    name = "plain"


def raising(error):
    def method(self, *args):
        raise error

    return method


def returning(value):
    def method(self, *args):
        return value

    return method


def setting(**state):
    def act(self, action):
        vars(self).update(state)
        return "ok"

    return act


ERRORS = [OSError(28, "No space left"), KeyError("x"), ValueError("bad\nline"), SystemExit(0)]
ERRORS += [
    RecursionError(),
    StopIteration(),
    AssertionError(),
    MemoryError(),
    RuntimeError("x" * 9000),
]
VALUES = [None, 5, b"go", ["go", 5], {"a": 1}, "\ud800", object(), iter(["go"]), float("nan")]
MAD = {}
for method in ("act", "begin", "tasks", "expert", "choices", "__init__"):
    for error in ERRORS:
        MAD[f"{method} raises {type(error).__name__}"] = {method: raising(error)}
for method in ("act", "begin", "tasks"):
    for value in VALUES:
        MAD[f"{method} returns {type(value).__name__} {str(value)[:9]!a}"] = {
            method: returning(value)
        }
for number, value in enumerate([None, "1", math.nan, math.inf, -0.1, 1.1, [1], 1j, np.float32(7)]):
    MAD[f"score {number}"] = {"act": setting(score=value)}
for number, value in enumerate([None, "no", 2, [], 0.5, np.array([True, False]), object()]):
    MAD[f"done {number}"] = {"act": setting(done=value)}
MAD["no tasks"] = {"tasks": returning([])}
MAD["a task twice"] = {"tasks": returning(["a", "a", "b"])}
MAD["no name"] = {"name": ""}
MAD["limit a text"] = {"step_limit": "2"}
MAD["limit a fraction"] = {"step_limit": 1.5}
MAD["words no text"] = {"words": 5}
MAD["no copies"] = {"parallel": 0}
MAD["torn effect"] = {"act": setting(effect=5)}
MAD["won maybe"] = {"act": setting(won="maybe")}
CHOSEN = random.Random(0).sample(sorted(MAD), min(len(MAD), len(cases(90))))


@pytest.fixture
def mad_module(monkeypatch):
    """A module to which a test adds a world, to be named by `--env mad_worlds:Mad`."""
    module = types.ModuleType("mad_worlds")
    monkeypatch.setitem(sys.modules, "mad_worlds", module)
    return module


@pytest.mark.parametrize("kind", CHOSEN)
def test_a_world_that_misbehaves_is_named(kind, mad_module, tmp_path, capsys):
    mad_module.Mad = type("Mad", (Plain,), MAD[kind])
    arguments = [*QUICK, "--tiny", "--env", "mad_worlds:Mad"]
    line = sentence(capsys, tmp_path / "out", arguments)
    assert "the world " in line or "--env mad_worlds:Mad: " in line
    assert "cannot be written" not in line


def test_a_worlds_own_error_is_told_with_its_task_action_kind_and_place():
    mad = type("Mad", (Plain,), {"act": raising(OSError(5, "Input/output error"))})()
    mad.reset(options={"task": "train-0"})
    with pytest.raises(UserError) as caught:
        mad.step("go hall")
    told = str(caught.value)
    assert told.startswith(
        "the world plain, task 'train-0', action 'go hall': act raises OSError: "
    )
    assert "Input/output error (test_hard.py, line " in told


def test_numbers_and_truths_of_numpy_are_good_ones():
    good = setting(score=np.float32(0.5), done=np.bool_(True), won=np.int64(0))
    world = type("Good", (Plain,), {"act": good})()
    world.reset(options={"task": "train-0"})
    _, gain, done, truncated, info = world.step("go")
    assert (gain, done, truncated, info["score"], info["won"]) == (0.5, True, False, 0.5, False)
    assert type(info["score"]) is float
    assert type(done) is bool


BODIES = [
    "raise OSError('x')",
    "raise SystemExit(0)",
    "1/0",
    "import nothing_of_that_name",
    "class :",
]


@pytest.mark.parametrize("body", BODIES)
def test_a_module_that_raises_anything_at_import_is_named(body, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_world.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    line = sentence(capsys, tmp_path / "out", ["--tiny", "--env", "broken_world:World"])
    assert line.startswith("train.py: --env broken_world:World: the module broken_world cannot be")
