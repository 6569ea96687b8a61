"""The modules show themselves: what each command prints, and what it refuses in one sentence."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from doubles import Corridor, grow, read_lines, tiny_actor
from small_runs import write_run

import envs
from agent_r import REVISE, Step, Trajectory, transcript
from extras import show
from mcts import Node, expand
from records.trees import from_record

ROOT = Path(show.__file__).parent.parent


@pytest.fixture
def shown(capsys):
    """Run a command in this process; returns what it printed."""

    def run(*words):
        assert show.main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    tiny_actor(width=8, layers=1).save(folder)
    return str(folder)


def test_the_worlds_are_listed_each_with_a_task_that_can_be_played(shown):
    told = shown("play")
    for name in show.READY:
        (task,) = re.search(rf"^{name}: .+\n    for example (\S+)$", told, re.MULTILINE).groups()
        envs.make_world(name)().reset(options={"task": task})
    assert all(name in told for name in envs.WORLD_MODULES)


def typed(monkeypatch, *lines):
    """Let `input` give these lines and then the end of the file."""
    waiting = iter(lines)

    def answer(prompt):
        line = next(waiting, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr("builtins.input", answer)


def test_a_task_played_by_hand_ends_with_its_episode(shown, monkeypatch):
    lines = ("dance", "go kitchen", "take lamp", "go garden", "put lamp", "never asked for")
    typed(monkeypatch, *lines)
    assert shown("play", "lab", "lamp-kitchen-hall-0").splitlines()[2:] == [
        "nothing happens.  [score 0.00]",
        "kitchen: lamp.  [score 0.25]",
        "taken.  [score 0.75]",
        "garden: cup.  [score 0.75]",
        "that breaks it.  [the end, score 0.00]",
    ]


def test_an_expert_types_its_way_to_the_end(shown, monkeypatch):
    world = envs.Lab()
    world.reset(options={"task": world.tasks("test")[0]})
    typed(monkeypatch, *world.expert(), "never asked for")
    assert shown("play", "lab").endswith("done.  [the end, score 1.00]\n")


@pytest.mark.parametrize("lines", [(), ("",), ("go hall",), ("go hall", "  ", "go garden")])
def test_an_empty_line_or_the_end_of_the_file_ends_it_cleanly(shown, monkeypatch, lines):
    typed(monkeypatch, *lines)
    assert "[the end" not in shown("play", "lab")


def test_a_world_of_ones_own_is_played_by_the_program_itself(tmp_path):
    (tmp_path / "own.py").write_text(
        "from engine import UserError\n"
        "from envs import World\n\n"
        "class Own(World):\n"
        "    def tasks(self, split): return ['one']\n"
        "    def begin(self, task):\n"
        "        if task != 'one': raise UserError('own has one task')\n"
        "        return 'say go.', 'now.'\n"
        "    def act(self, action): return f'you said {action}.'\n"
    )

    def play(*words):
        command = [sys.executable, "-m", "extras.show", "play", "own:Own", *words]
        path = {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            command, cwd=ROOT, input="go\n", env=path, capture_output=True, text=True, check=False
        )

    assert "you said go.  [score 0.00]" in play().stdout
    refused = play("two")
    assert refused.returncode == 2
    assert refused.stderr == "python -m extras.show: own has one task\n"


def test_a_tree_is_grown_and_printed(shown):
    told = shown("search", "craft")
    visits = re.findall(r"^  \S.* N=(\d+) Q=", told, re.MULTILINE)
    assert sum(map(int, visits)) == 12, "every simulation goes through a child of the root"
    assert told.count("[ends, score") > 5
    assert shown("search", "craft") == told, "the same every time"


def test_a_tree_is_indented_text_of_what_was_visited():
    tree = grow(Corridor, "test-0", ["right", "right"], ["right", "left", "left", "left"])
    expand(tree.root, ["Action: never visited"])
    silent = Step("hm.", "", "no action.", 0.0)
    tree.root.children[""] = Node(tree.root, silent, visits=1)
    assert show.outline(tree).splitlines() == [
        "test-0: reach place 4 (test-0). place 2.",
        "  right -> place 3.  N=2 Q=0.50",
        "    right -> place 4.  N=1 Q=1.00  [ends, score 1.00]",
        "    left -> place 2.  N=1 Q=0.00",
        "      left -> place 1.  N=1 Q=0.00",
        "        left -> place 0.  N=1 Q=0.00  [ends, score 0.00]",
        "  (no action) -> no action.  N=1 Q=0.00",
    ]


def test_a_tree_that_was_never_searched_is_its_task_alone():
    tree = grow(Corridor, "test-0")
    assert show.outline(tree) == "test-0: reach place 4 (test-0). place 2."


@pytest.mark.parametrize("world", show.READY)
def test_a_failed_episode_is_judged_and_revised(shown, world):
    failed, revision = shown("revision", world).split("\n\n")
    assert re.search(r"score 0\.\d\d", failed)
    verdicts = re.findall(r"\[(Good|Bad, the first error|not judged)\]$", failed, re.MULTILINE)
    error = verdicts.index("Bad, the first error")
    assert verdicts[:error] == ["Good"] * error
    assert {*verdicts[error + 1 :]} <= {"not judged"}
    margins = re.findall(r"^([* ]) (?:Thought|Action): ", revision, re.MULTILINE)
    assert margins == [" "] * (error + 1) + ["*"] * (len(margins) - error - 1)
    assert "(score 1.00)" in revision
    assert "\033" not in revision, "no colours where nobody sees them"


def test_marked_steps_are_green_on_a_terminal(monkeypatch):
    thought = f"Thought: hm.\nAction: {REVISE}"
    steps = [Step("Action: err", "err", "no.", 0.0), Step(thought, REVISE, "ok.", 0.0)]
    trajectory = Trajectory("task", "do it.", "a place.", steps)

    def text():
        return transcript(trajectory, lambda step: step.action == REVISE)

    plain = "do it.\na place.\n  Action: err\n    no.\n* Thought: hm. Action: revise\n    ok."
    assert text() == plain
    assert transcript(trajectory) == plain.replace("* ", "  ")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert text().split("\n")[4] == "\033[32m* Thought: hm. Action: revise\033[0m"


def test_an_agent_plays_a_test_task(shown, checkpoint):
    first = envs.Lab().tasks("test")[0]
    assert f"task {first}, score 0." in shown("watch", checkpoint)
    told = shown("watch", checkpoint, "--task", "cup-pantry-hall-9")
    assert "task cup-pantry-hall-9, score 0." in told


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["dance"], "invalid choice: 'dance'"),
        (["search", "--speed"], "unrecognized arguments: --speed"),
        (["watch"], "the following arguments are required: CHECKPOINT"),
        (["play", "moon"], "there is no such world"),
        (["play", "lab", "tidy-up"], "lab has no task 'tidy-up'"),
        (["search", "moon"], "there is no such world"),
        (["search", "test_show:Mute"], "test_show:Mute does not know"),
        (["revision", "moon"], "there is no such world"),
        (["revision", "test_show:Mute"], "test_show:Mute cannot tell"),
        (["watch", "nowhere"], "there is no such folder"),
        (["watch", "CHECKPOINT", "--env", "moon"], "there is no such world"),
        (["watch", "CHECKPOINT", "--task", "tidy-up"], "lab has no task 'tidy-up'"),
        (["watch", "CHECKPOINT", "--env", "shop"], "the model lacks words of shop, "),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(capsys, checkpoint, words, because):
    assert show.main([checkpoint if word == "CHECKPOINT" else word for word in words]) == 2
    told = capsys.readouterr().err.split("\r")[-1]
    assert because in told
    assert told.count("\n") == 1


class Mute(envs.World):
    """A world that tells nobody what might be done."""

    tasks = envs.Lab.tasks
    begin = envs.Lab.begin
    act = envs.Lab.act


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("shown") / "run")


def test_a_tree_of_a_run_is_drawn_by_its_number(shown, run_path):
    record = read_lines(run_path / "iteration-1" / "trees.jsonl")[2]
    assert shown("search", run_path, 1, 3).strip() == show.outline(from_record(record))


def test_the_splice_of_a_run_is_drawn_by_its_number(shown, run_path):
    pairs = read_lines(run_path / "iteration-1" / "verdicts.jsonl")
    data = read_lines(run_path / "iteration-1" / "data.jsonl")
    made = next(n for n, pair in enumerate(pairs, 1) if "made" in pair)
    told = shown("revision", run_path, 1, made)
    pair = pairs[made - 1]
    assert told.count(f"[Bad, t' = {pair['error']}]") == 1
    learned = re.findall(r"^\* .*Action: (.*)$", told, re.MULTILINE)
    messages = data[pair["made"] - 1]["messages"]
    spoken = [m["content"].split("Action: ")[-1] for m in messages if m.get("loss")]
    assert learned == spoken
    lost = next(n for n, pair in enumerate(pairs, 1) if pair.get("dropped") == "not_executable")
    assert "no revision: the world carries none of its splices out." in shown(
        "revision", run_path, 1, lost
    )


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["search", "RUN", "7", "1"], "has no iteration 7; it has 0, 1, 2"),
        (["search", "RUN", "1", "0"], "tree 0 is not in that iteration; there are 60"),
        (["revision", "RUN", "1", "9999"], "pair 9999 is not in that iteration; there are "),
        (["revision", "RUN", "1"], "name the number behind the iteration"),
        (["revision", "RUN", "one", "1"], "invalid int value: 'one'"),
        (["search", "nowhere", "1", "1"], "there is no such folder"),
        (["revision", "RUN", "0", "1"], "kept no verdicts"),
    ],
)
def test_what_a_run_does_not_have_is_said_in_one_sentence(capsys, run_path, words, because):
    assert show.main([str(run_path) if word == "RUN" else word for word in words]) == 2
    told = capsys.readouterr().err
    assert because in told
    assert told.count("\n") == 1


def test_without_a_command_the_four_are_listed(shown):
    listed = re.findall(r"^    (\w+) +\w", shown(), re.MULTILINE)
    assert listed == ["play", "search", "revision", "watch"]


def test_the_commands_are_a_program_that_says_how_each_is_called():
    for name in ("play", "search", "revision", "watch"):
        command = [sys.executable, "-m", "extras.show", name, "-h"]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert told.startswith(f"usage: python -m extras.show {name} ")
