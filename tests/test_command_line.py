"""The command line: what is wrong is told in one sentence, and nothing is written over."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from doubles import read_lines
from safetensors import SafetensorError
from transformers import LlamaForCausalLM

import train
from agent_r import Actor
from engine import UserError
from engine import folder as run_folder
from engine.command_line import carry_out
from envs import Lab, World

pytest.importorskip("resource")  # Linux and macOS

# A run that is over in a moment, should it start at all.
QUICK = shlex.split(
    "--iterations 1 --tasks 2 --simulations 2 --branch 2 --steps 2 --warmup-steps 2 "
    "--warmup-tasks 4 --eval-tasks 2 --width 8 --layers 1 --batch-size 256 --micro-batch 256 "
    "--device cpu"
)


BLINK = ("--tiny", "--env", "test_command_line:Blink")


class Blink(World):
    """The smallest world: say `go` and win."""

    name = "blink"
    step_limit = 2
    words = "say go. well done. what now"

    def tasks(self, split):
        return [f"{split}-{number}" for number in range(4)]

    def begin(self, task):
        return "say go.", "now."

    def act(self, action):
        self.done = action == "go"
        self.score = float(self.done)
        return "well done." if self.done else "what now."

    def expert(self):
        return [] if self.done else ["go"]

    def choices(self):
        return ["go", "say"]


class NoExpert(Blink):
    """`Blink`, without anybody who knows the way."""

    name = "no expert"
    expert = World.expert
    choices = World.choices


class NoChoices(Blink):
    """`Blink`, with an expert, but without anybody who says what one might try."""

    name = "no choices"
    choices = World.choices


class Unwritten(World):
    """A world whose author has not written any method yet."""


class NoSteps(Blink):
    """A world that ends before it begins."""

    step_limit = 0


class NoTasks(Blink):
    """A world with nothing to train on."""

    def tasks(self, split):
        return [] if split == "train" else super().tasks(split)


class Plain:
    """No world at all."""


@pytest.fixture
def refused(tmp_path, capsys):
    """Run the command and return its sentence: status 2, and nothing is to be written."""

    def refuse(*arguments, out=None):
        before = everything(tmp_path)
        target = tmp_path / "out" if out is None else out
        capsys.readouterr()
        try:
            status = train.main([*QUICK, *map(str, arguments), "--out", str(target)])
        except SystemExit as stop:  # how argparse refuses
            status = stop.code
        told = capsys.readouterr().err
        assert status == 2, f"the exit status is {status}"
        assert "Traceback" not in told
        lines = told.strip().split("\n")
        assert re.match(r"(train|pytest|[\w.-]+\.py|__main__\.py)(\.py)?: ", lines[-1]), told
        assert len(re.sub(r"\s+", " ", lines[-1])) < 400, f"a sentence, not a page: {lines[-1]}"
        assert everything(tmp_path) == before, "something was written"
        return lines[-1]

    return refuse


def everything(folder):
    """Every path below a folder, with what the files hold."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        contents[path] = path.read_bytes() if path.is_file() else None
    return contents


def write(path, content):
    """Write bytes or a text."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny checkpoint that can be used."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    config = train.Config(width=8, layers=1)
    train.make_tiny_actor(config, {"lab": Lab}, "cpu").save(folder)
    return folder


def copy(model, folder, **files):
    """A checkpoint with other contents for some of its files; None leaves the file out."""
    folder.mkdir()
    for path in model.iterdir():
        content = files.get(path.name.replace(".", "_"), path.read_bytes())
        if content is not None:
            write(folder / path.name, content)
    return folder


# --- what works


def test_a_quick_run_of_ones_own_world_works(tmp_path, capsys):
    out = tmp_path / "a" / "b"
    assert train.main([*QUICK, *BLINK, "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    first = told.out.split("\n")[0]
    for setting in ("env=test_command_line:Blink", "steps=2", f"eta={train.TINY['eta']}", "seed=0"):
        assert setting in first.split(), "the resolved configuration is printed first"
    rows = read_lines(out / "results.jsonl")
    assert [row["iteration"] for row in rows] == [0, 1]


def test_the_world_that_stands_in_the_readme_works_as_it_stands_there(tmp_path, monkeypatch):
    readme = (Path(train.__file__).parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "coin.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    arguments = [*QUICK, "--tiny", "--env", "coin:Coin"]
    assert train.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert len(read_lines(tmp_path / "out" / "results.jsonl")) == 2


def test_a_world_with_an_expert_but_without_choices_works(tmp_path):
    arguments = [*QUICK, "--tiny", "--env", "test_command_line:NoChoices"]
    assert train.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    rows = read_lines(tmp_path / "out" / "results.jsonl")
    assert rows[0]["trained_tokens"] > 0, "it was warmed up"
    for row in rows:  # episodes with an error have the one figure, those without the other
        known = [row["false_alarms"], row["first_error_exact"]]
        assert any(figure is not None for figure in known), "the truth is known"


def test_an_empty_folder_is_as_good_as_a_new_one(tmp_path):
    (tmp_path / "out").mkdir()
    arguments = [*QUICK, "--iterations", "0", *BLINK]
    assert train.main([*arguments, "--out", str(tmp_path / "out")]) == 0


def test_the_script_itself_refuses_in_one_sentence(tmp_path):
    command = [sys.executable, str(Path(train.__file__)), "--tiny", "--env", "moon"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("train.py: --env moon: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_stopping_a_run_is_no_error_of_the_program(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", stop)
    assert train.main(["--tiny"]) == 130
    assert capsys.readouterr().err.startswith("train.py: stopped")


# --- flags and values


def test_neither_tiny_nor_model_is_refused(refused):
    told = refused()
    assert "--model" in told
    assert "--tiny" in told


def test_unknown_flags_are_refused(refused):
    assert "--speed" in refused("--tiny", "--speed", "9")
    assert "word" in refused("--tiny", "word")
    assert "--tiny" in refused("--tiny=yes")


def test_flags_are_not_abbreviated(refused):
    assert "--iter" in refused("--tiny", "--iter", "1")
    assert "--temp" in refused("--tiny", "--temp", "1")


def test_words_for_numbers_are_refused(refused):
    for flag in ("--steps", "--lr", "--eta", "--seed", "--max-depth"):
        told = refused("--tiny", flag, "many")
        assert flag in told
        assert "many" in told
    assert "--steps" in refused("--tiny", "--steps", "1.5")
    assert "--steps" in refused("--tiny", "--steps")


def test_argparse_too_complains_in_one_sentence(capsys):
    with pytest.raises((SystemExit, UserError)):
        train.parse(["--tiny", "--speed", "9"])
    told = capsys.readouterr().err.strip()
    assert "\n" not in told, "the sentence is lost below a list of all flags"


OUT_OF_RANGE = {
    "--method": ["dpo"],
    "--splice": ["loose"],
    "--device": ["tpu"],
    "--dtype": ["int8"],
    "--eval-split": ["dev"],
    "--alpha": ["1.2", "0.5,-1", "high"],
    "--beta": ["-0.1", "nan"],
    "--eta": ["1.5", "nan"],
    "--judge-share": ["2"],
    "--c-uct": ["-1"],
    "--seed": ["-1"],
    "--max-depth": ["-1"],
    "--iterations": ["-1"],
    "--lr": ["0"],
    "--temperature": ["0", "1e+39"],
    "--width": ["12"],
    "--layers": ["0"],
    "--pairs": ["0"],
    "--steps": ["0"],
    "--tasks": ["0"],
    "--branch": ["0"],
    "--simulations": ["0"],
    "--eval-tasks": ["0"],
    "--batch-size": ["0"],
    "--micro-batch": ["0"],
}


@pytest.mark.parametrize(
    ("flag", "value"), [(flag, value) for flag, values in OUT_OF_RANGE.items() for value in values]
)
def test_values_out_of_range_are_refused_before_anything_is_made(refused, flag, value):
    told = refused("--tiny", flag, value)
    assert told.startswith(f"train.py: {flag} ")
    assert value.split(",")[-1] in told


def test_too_few_alphas_are_refused(refused):
    assert "3 iterations" in refused("--tiny", "--iterations", "3", "--alpha", "0.5,0.7")


def test_a_device_that_is_not_there_is_refused(refused, monkeypatch):
    monkeypatch.setattr(train.torch.cuda, "is_available", lambda: False)
    assert "--device cuda" in refused("--tiny", "--device", "cuda")


def test_what_a_terminal_cannot_say_is_escaped():
    program = "from engine.command_line import carry_out; carry_out('x', lambda: print('\u2028'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(train.__file__).parent,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"\\u2028\n"


LOST = """
import os, signal, sys, time
from engine.command_line import carry_out

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` would ignore it

class Bar:
    def __del__(self):
        os.kill(os.getpid(), signal.SIG{name})
        time.sleep(0.01)

def work():
    Bar()
    for _ in range(500):
        time.sleep(0.01)

sys.exit(carry_out("work", work))
"""


@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("INT", 130)])
def test_to_be_stopped_while_something_is_cleared_away_is_to_be_stopped(name, status):
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(name=name)],
        cwd=Path(train.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stderr == "work: stopped; what was finished is kept\n"


# --- worlds


@pytest.mark.parametrize("name", ["moon", "", "lab,moon", "lab,", "Lab", " lab"])
def test_unknown_worlds_are_refused(refused, name):
    told = refused("--tiny", "--env", name)
    assert "there is no such world" in told
    assert "craft" in told, "the sentence says which worlds there are"


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("no_such_module:World", "cannot be imported"),
        ("no.such.module:World", "cannot be imported"),
        ("test_command_line:Missing", "no world"),
        ("test_command_line:", "no world"),
        ("test_command_line:Plain", "it has no tasks"),
        ("json:dumps", "it has no tasks"),
    ],
)
def test_modules_and_classes_that_are_no_worlds_are_refused(refused, name, because):
    told = refused("--tiny", "--env", name)
    assert f"--env {name}" in told
    assert because in told


@pytest.mark.parametrize("name", [":World", ".:World", "..envs:Lab"])
def test_names_that_are_no_modules_are_refused(refused, name):
    assert f"--env {name}" in refused("--tiny", "--env", name)


def test_a_class_without_methods_is_no_world(refused):
    assert "tasks" in refused("--tiny", "--env", "test_command_line:Unwritten")


def test_a_world_without_steps_is_refused(refused):
    assert "step" in refused("--tiny", "--env", "test_command_line:NoSteps")


def test_a_world_without_an_expert_cannot_warm_up_a_tiny_model(refused):
    told = refused("--tiny", "--env", "test_command_line:NoExpert")
    assert "expert" in told
    assert "--model" in told


def test_a_world_without_training_tasks_is_refused(refused, patience):
    assert "train" in refused("--tiny", "--env", "test_command_line:NoTasks")


@pytest.fixture
def patience():
    """A minute at most for what must not go on for ever."""

    def late(*_):
        pytest.fail("this never ends")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 60.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


# --- recipes

PLANKS = {
    "type": "minecraft:crafting_shapeless",
    "ingredients": [{"item": "minecraft:log"}],
    "result": {"item": "minecraft:planks", "count": 4},
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", "{"),
        ("empty.json", ""),
        ("list.json", "[1, 2]"),
        ("other.json", '{"title": "a poem"}'),
        ("bytes.json", b"\xff\xfe\x00"),
        ("negative.json", json.dumps(PLANKS).replace("4", "-4")),
    ],
)
def test_a_broken_recipe_file_is_named(refused, tmp_path, name, content):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "planks.json").write_text(json.dumps(PLANKS))
    write(tmp_path / "recipes" / name, content)
    assert name in refused("--tiny", "--env", "textcraft", "--recipes", tmp_path / "recipes")


def test_a_folder_without_recipes_is_refused(refused, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "readme.txt").write_text("nothing here")
    for folder in (tmp_path / "recipes", tmp_path / "missing", tmp_path / "recipes" / "readme.txt"):
        told = refused("--tiny", "--env", "textcraft", "--recipes", folder)
        assert str(folder) in told
        assert "--recipes" in told


def test_too_few_recipes_to_train_on_are_refused(refused, tmp_path, patience):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "planks.json").write_text(json.dumps(PLANKS))
    told = refused("--tiny", "--env", "textcraft", "--recipes", tmp_path / "recipes")
    assert "train" in told or "recipe" in told


# --- models


def test_a_model_folder_that_is_missing_or_holds_no_model_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a file")
    for folder in (tmp_path / "missing", tmp_path / "empty", tmp_path / "file"):
        for flags in (["--model"], ["--tiny", "--warmed"]):
            assert f": {folder}: " in refused(*flags, folder)


def test_a_model_without_a_chat_template_is_refused(refused, model, tmp_path):
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    files = {"chat_template_jinja": None, "tokenizer_config_json": json.dumps(settings)}
    told = refused("--model", copy(model, tmp_path / "model", **files))
    assert "chat template" in told


@pytest.mark.parametrize(
    "template", ["{% for %}", "{{ messages[0]['content'] }}", "{{ no_such_function() }}", "text"]
)
def test_a_chat_template_that_does_not_render_turn_by_turn_is_refused(
    refused, model, tmp_path, template
):
    folder = copy(model, tmp_path / "model", chat_template_jinja=template)
    assert "chat template" in refused("--model", folder)


@pytest.mark.parametrize("content", ["{", "", "[]", "{}", '{"model_type": "no such family"}'])
def test_a_broken_model_configuration_is_refused(refused, model, tmp_path, content):
    folder = copy(model, tmp_path / "model", config_json=content)
    assert f": {folder}: " in refused("--model", folder)


@pytest.mark.parametrize(
    "files",
    [
        {"model_safetensors": None},
        {"model_safetensors": b"too short to be a header"},
        {"tokenizer_json": "{"},
        {"tokenizer_json": None},
    ],
)
def test_a_checkpoint_with_a_missing_or_broken_file_is_refused(refused, model, tmp_path, files):
    folder = copy(model, tmp_path / "model", **files)
    assert f": {folder}: " in refused("--model", folder)


@pytest.mark.parametrize("where", ["config_json", "tokenizer_config_json"])
def test_code_that_comes_with_a_model_is_never_run_and_nobody_is_asked_whether_to(
    refused, model, tmp_path, monkeypatch, where
):
    def ask(prompt=""):
        asked.append(prompt)
        return "y"

    asked = []
    monkeypatch.setattr("builtins.input", ask)
    settings = json.loads((model / (where.replace("_json", ".json"))).read_text())
    if where == "config_json":
        settings |= {"model_type": "stranger"}
        settings["auto_map"] = {
            "AutoConfig": "stranger.Config",
            "AutoModelForCausalLM": "stranger.Model",
        }
    else:
        settings |= {
            "tokenizer_class": "Stranger",
            "auto_map": {"AutoTokenizer": [None, "stranger.Stranger"]},
        }
    folder = copy(model, tmp_path / "model", **{where: json.dumps(settings)})
    (folder / "stranger.py").write_text(
        f"open({str(tmp_path / 'executed')!r}, 'w').close()\nraise RuntimeError('executed')\n"
    )
    with contextlib.suppress(UserError):  # without its code, the model may be refused or be loaded
        Actor.load(folder)
    assert not (tmp_path / "executed").exists(), "code of a model folder was executed"
    assert not asked, f"somebody was asked: {asked[0]}"


# --- where the run is left


def test_a_folder_that_holds_another_run_is_left_as_it_is(refused, tmp_path):
    (tmp_path / "out" / "iteration-0").mkdir(parents=True)
    (tmp_path / "out" / "results.jsonl").write_text('{"score": 1.0}\n')
    told = refused(*BLINK)
    assert f"--out {tmp_path / 'out'}: something stands there already" in told


def test_a_folder_that_holds_another_run_is_refused_before_any_data_is_made(
    refused, tmp_path, monkeypatch
):
    monkeypatch.setattr(train, "general_data", lambda *_: pytest.fail("the warm-up data was made"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text("{}\n")
    assert "something stands there already" in refused("--tiny")


def test_a_file_where_the_folder_should_be_is_left_as_it_is(refused, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert "--out" in refused(*BLINK)


def test_a_folder_that_cannot_be_made_is_told(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    told = refused(*BLINK, out=tmp_path / "file" / "below")
    assert str(tmp_path / "file") in told


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "results.jsonl"
    run_folder.write_lines(path, [{"row": 1}])

    def records():
        yield {"row": 2}
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run_folder.write_lines(path, records())
    assert read_lines(path) == [{"row": 1}], "the file before stays until the next is whole"


def test_a_full_disk_is_told_and_leaves_no_half_file_under_a_name_of_its_own(
    tmp_path, monkeypatch, capsys
):
    def full(path, records):
        if path.name == "data.jsonl":
            path.with_name("data.jsonl.part").write_text('{"messages": [{"ro')
            raise OSError(28, "No space left on device")
        write_lines(path, records)

    write_lines = run_folder.write_lines
    monkeypatch.setattr(run_folder, "write_lines", full)
    out = tmp_path / "out"
    assert train.main([*QUICK, *BLINK, "--out", str(out)]) == 2
    lines = capsys.readouterr().err.strip().split("\n")
    assert lines[-1].startswith("train.py: ")
    assert "No space left on device" in lines[-1]
    assert not (out / "iteration-1" / "data.jsonl").exists()
    assert not (out / "iteration-1" / "model").exists()
    for path in out.rglob("*.jsonl"):
        assert read_lines(path), "what is there is whole"


def test_a_checkpoint_that_does_not_fit_on_the_disk_is_told(model, tmp_path, capsys, monkeypatch):
    def half_written(self, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", half_written)
    out = tmp_path / "out"
    arguments = ["--env", "lab", "--model", str(model), "--iterations", "0"]
    assert train.main([*QUICK, *arguments, "--out", str(out)]) == 2
    sentence = capsys.readouterr().err.strip().split("\n")[-1]
    assert sentence.startswith("train.py: ")
    assert "No space left on device" in sentence
    assert not (out / "iteration-0" / "model").exists(), "a half checkpoint where a whole should be"


def test_what_a_stopped_run_left_half_written_is_written_anew(model, tmp_path):
    actor = Actor.load(model)
    (tmp_path / "model.part").mkdir()
    (tmp_path / "model.part" / "leftover").write_text("half")
    actor.save(tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert "leftover" not in names
    assert not (tmp_path / "model.part").exists()


def test_whoever_reads_no_further_ends_a_program_without_a_traceback():
    program = "import sys; from engine.command_line import carry_out; "
    program += "sys.exit(carry_out('p', lambda: [print('x' * 999) for _ in range(9999)]))"
    shell = f'"{sys.executable}" -c "{program}" | head -n 1 >&2; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.stdout == "141\n"
    assert done.stderr.splitlines()[1:] == [
        "p: nobody reads what is printed; what was finished is kept"
    ]


def test_a_file_that_is_missing_is_not_said_to_be_unwritable(tmp_path, capsys):
    assert carry_out("p", (tmp_path / "lost").read_text) == 2
    assert capsys.readouterr().err == f"p: {tmp_path / 'lost'}: there is no such file or folder\n"
