"""Every module shows itself: what its `main` prints, and what it refuses in one sentence."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from doubles import tiny_actor

import agent_r
import critique
import envs
import mcts
from agent_r import REVISE, Step, Trajectory
from extras import show


@pytest.fixture
def shown(capsys):
    """Run a main in this process; returns what it printed."""

    def run(main, *words):
        assert show.command(main, words) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    tiny_actor(width=8, layers=1).save(folder)
    return str(folder)


def test_the_worlds_are_listed_each_with_a_task_that_can_be_played(shown):
    told = shown(show.play_by_hand)
    for name in envs.BUILT_IN:
        (task,) = re.search(rf"^{name}: .+\n    for example (\S+)$", told, re.MULTILINE).groups()
        envs.make_world(name)().reset(options={"task": task})
    assert all(name in told for name in envs.EXTRAS)


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
    typed(monkeypatch, "dance", "go kitchen", "take lamp", "go garden", "put lamp", "never asked for")
    assert shown(show.play_by_hand, "lab", "lamp-kitchen-hall-0").splitlines()[2:] == [
        "nothing happens.  [score 0.00]",
        "kitchen: lamp.  [score 0.25]",
        "taken.  [score 0.75]",
        "garden: cup.  [score 0.75]",
        "that breaks it.  [the end, score 0.00]",
    ]


def test_an_expert_types_its_way_to_the_end(shown, monkeypatch):
    world, task = envs.Lab(), envs.Lab().tasks("test")[0]
    world.reset(options={"task": task})
    typed(monkeypatch, *world.expert(), "never asked for")
    assert shown(show.play_by_hand, "lab").endswith("done.  [the end, score 1.00]\n")


@pytest.mark.parametrize("lines", [(), ("",), ("go hall",), ("go hall", "  ", "go garden")])
def test_an_empty_line_or_the_end_of_the_file_ends_it_cleanly(shown, monkeypatch, lines):
    typed(monkeypatch, *lines)
    assert "[the end" not in shown(show.play_by_hand, "lab")


def test_a_world_of_ones_own_is_played_by_the_script_itself(tmp_path):
    (tmp_path / "own.py").write_text(
        "from envs import UserError, World\n\n"
        "class Own(World):\n"
        "    def tasks(self, split): return ['one']\n"
        "    def begin(self, task):\n"
        "        if task != 'one': raise UserError('own has one task')\n"
        "        return 'say go.', 'now.'\n"
        "    def act(self, action): return f'you said {action}.'\n"
    )

    def play(*words):
        command = [sys.executable, envs.__file__, "own:Own", *words]
        path = {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, input="go\n", env=path, capture_output=True, text=True, check=False)

    assert "you said go.  [score 0.00]" in play().stdout
    refused = play("two")
    assert (refused.returncode, refused.stderr) == (2, "envs.py: own has one task\n")


def test_a_tree_is_grown_and_printed(shown):
    told = shown(show.search_one, "craft").splitlines()
    visits = [int(count) for count in re.findall(r"^  \S.* N=(\d+) Q=", "\n".join(told), re.MULTILINE)]
    assert sum(visits) == 12, "every simulation goes through a child of the root"
    assert sum("[ends, score" in line for line in told) > 5
    assert shown(show.search_one, "craft").splitlines() == told, "the same every time"


@pytest.mark.parametrize("world", envs.BUILT_IN)
def test_a_failed_episode_is_judged_and_revised(shown, world):
    failed, revision = shown(show.revise_one, world).split("\n\n")
    assert re.search(r"score 0\.\d\d", failed)
    verdicts = re.findall(r"\[(Good|Bad, the first error|not judged)\]$", failed, re.MULTILINE)
    error = verdicts.index("Bad, the first error")
    assert verdicts == ["Good"] * error + ["Bad, the first error"] + ["not judged"] * (len(verdicts) - error - 1)
    margins = re.findall(r"^([* ]) (?:Thought|Action): ", revision, re.MULTILINE)
    assert margins == [" "] * (error + 1) + ["*"] * (len(margins) - error - 1)
    assert "(score 1.00)" in revision
    assert "\033" not in revision, "no colours where nobody sees them"


def test_marked_steps_are_green_on_a_terminal(monkeypatch):
    steps = [Step("Action: err", "err", "no.", 0.0), Step(f"Thought: hm.\nAction: {REVISE}", REVISE, "ok.", 0.0)]
    trajectory = Trajectory("task", "do it.", "a place.", steps)
    plain = "do it.\na place.\n  Action: err\n    no.\n* Thought: hm. Action: revise\n    ok."
    assert agent_r.show(trajectory, [False, True]) == plain
    assert agent_r.show(trajectory) == plain.replace("* ", "  ")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert agent_r.show(trajectory, [False, True]).split("\n")[4] == "\033[32m* Thought: hm. Action: revise\033[0m"


def test_an_agent_plays_a_test_task(shown, checkpoint):
    first = envs.Lab().tasks("test")[0]
    assert f"task {first}, score 0." in shown(show.watch, checkpoint)
    assert "task cup-pantry-hall-9, score 0." in shown(show.watch, checkpoint, "--task", "cup-pantry-hall-9")


@pytest.mark.parametrize(
    ("main", "words", "because"),
    [
        (show.play_by_hand, ["moon"], "there is no such world"),
        (show.play_by_hand, ["lab", "tidy-up"], "lab has no task 'tidy-up'"),
        (show.search_one, ["moon"], "there is no such world"),
        (show.search_one, ["test_show:Mute"], "test_show:Mute does not know"),
        (show.revise_one, ["moon"], "there is no such world"),
        (show.revise_one, ["test_show:Mute"], "test_show:Mute cannot tell"),
        (show.watch, ["nowhere"], "there is no such folder"),
        (show.watch, ["CHECKPOINT", "--env", "moon"], "there is no such world"),
        (show.watch, ["CHECKPOINT", "--task", "tidy-up"], "lab has no task 'tidy-up'"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(capsys, checkpoint, main, words, because):
    assert show.command(main, [checkpoint if word == "CHECKPOINT" else word for word in words]) == 2
    told = capsys.readouterr().err.split("\r")[-1]
    assert because in told
    assert told.count("\n") == 1


class Mute(envs.World):
    """A world that tells nobody what might be done."""

    tasks, begin, act = envs.Lab.tasks, envs.Lab.begin, envs.Lab.act


@pytest.mark.parametrize("module", [agent_r, critique, mcts])
def test_each_module_is_a_script(module):
    command = [sys.executable, module.__file__, "-h"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"usage: {Path(module.__file__).name}")
