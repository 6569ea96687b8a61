"""ScienceWorld: what the world makes of the game's answers (with a fake), and the game itself.

The game is played where it is installed.
"""

import gc
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.tiny import word_tokenizer
from envs import ANSWERED, CHANGED, REFUSED, SPLITS, UserError, World
from general.words import unknown_words
from worlds import scienceworld

HAVE = importlib.util.find_spec("scienceworld") and importlib.util.find_spec("py4j")
needs_package = pytest.mark.skipif(not HAVE, reason="needs pip install scienceworld==1.2.3")
needs_game = pytest.mark.skipif(
    not (HAVE and shutil.which("java")), reason="needs pip install scienceworld and Java"
)
FIND = ("find-living-thing", "find-non-living-thing", "find-plant", "find-animal")
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


# --- with a fake in the place of the Java process


class FakeMachine:
    """Answers from a script, action -> (observation, score, completed), and notes what is asked."""

    def __init__(self, script):
        self.script, self.told, self.idle = script, [], []
        self.score, self.completed = 0.0, False

    def borrow(self):
        return "game"

    def load(self, game, task):
        self.told.append((game, task))
        self.score, self.completed = 0.0, False
        return "Find a plant.", 100

    def step(self, game, action, seed, things):
        self.told.append((game, action, seed, things))
        nothing = ("What?", self.score, self.completed)
        observation, self.score, self.completed = self.script.get(action, nothing)
        return scienceworld.Answer(observation, self.score, self.completed, things + 1)


@pytest.fixture
def fake(monkeypatch):
    machine = FakeMachine(
        {
            "look around": ("A room.", 0.0, False),
            "open door": ("Open.", 0.25, False),
            "focus on plant": ("You focus.", 1.0, True),
            "focus on air": ("You focus.", -1.0, False),
        }
    )
    sets = {"train": [0, 1], "validation": [2], "test": [3]}
    monkeypatch.setattr(scienceworld, "pick", lambda: machine)
    by_kind = {"a": sets, "b": {**sets, "train": [0, 1, 4]}}
    monkeypatch.setattr(scienceworld, "variations", by_kind.__getitem__)
    return machine


def begun(kinds=("a", "b"), task="a-0"):
    world = scienceworld.ScienceWorld(kinds)
    return world, world.reset(options={"task": task})


def test_instruction_and_look_open_an_episode(fake):
    world, (observation, info) = begun()
    assert (observation, info) == ("A room.", {"instruction": "Find a plant.", "score": 0.0})
    assert isinstance(world, World)
    assert world.parallel >= 1


def test_score_is_the_games_and_success_ends(fake):
    world, _ = begun()
    info = {"score": 0.25, "effect": CHANGED}
    assert world.step("open door")[1:] == (0.25, False, False, info)
    info = {"score": 1.0, "effect": ANSWERED}
    assert world.step("focus on plant")[1:] == (0.75, True, False, info)


def test_wrong_focus_ends_the_episode_at_zero(fake):
    world, _ = begun()
    world.step("open door")
    assert world.step("focus on air")[2:] == (True, False, {"score": 0.0, "effect": ANSWERED})


@pytest.mark.parametrize(
    ("action", "observation", "effect"),
    [
        ("go to hallway", "You move to the hallway.", CHANGED),
        ("open door to hallway", "The door is now open.", CHANGED),
        ("move flower pot 2 to red box", "You move the flower pot 2 to the red box.", CHANGED),
        ("wait1", "You decide to wait for 1 iterations.", CHANGED),
        ("look around", "This room is called the hallway. In it, you see:\n\tthe agent", ANSWERED),
        ("look at table", "a table. On the table is: nothing.\nIt is not open.", ANSWERED),
        ("inventory", "In your inventory, you see:\n\tan orange", ANSWERED),
        ("focus on egg parrot", "You focus on the parrot egg.", ANSWERED),
        ("open door to hallway", "The door is already open.", REFUSED),
        ("go to greenhouse", "It's not clear how to get there from here.", REFUSED),
        ("go to shelf", "Its not clear how to go to/through a shelf.", REFUSED),
        ("open kitchen", "The kitchen is not openable.", REFUSED),
        ("move stove to red box", "The stove is not moveable.", REFUSED),
        ("move red box to red box", "You can't move something into itself.", REFUSED),
        (
            "move egg in fridge",
            "That can't be moved there, because the fridge isn't open.",
            REFUSED,
        ),
        ("pick up cup", "That object already appears to be in the inventory.", REFUSED),
        ("look in chair", "It's not clear how to look inside of that.", REFUSED),
        ("eat table", "the table is not edible.", REFUSED),
        ("blub", "No known action matches that input.", REFUSED),
        ("blub", "Unknown action.  Type 'help' for a list of actions.", REFUSED),
    ],
)
def test_the_games_answer_tells_what_an_action_did(action, observation, effect):
    assert scienceworld.effect_of(action, observation) == effect


@needs_game
def test_the_game_refuses_in_the_words_that_are_known(make):
    world = make()
    world.reset(options={"task": "find-plant-17"})
    for action, effect in {
        "look around": ANSWERED,
        "inventory": ANSWERED,
        "blub": REFUSED,
        "open door to hallway and kitchen": REFUSED,
        "go to moon": REFUSED,
        "open agent": REFUSED,
        "move agent to agent": REFUSED,
        "wait1": CHANGED,
    }.items():
        world.step(action)
        assert world.effect == effect, action


def test_actions_reach_the_game_untouched_and_cost_a_step(fake):
    world, _ = begun()
    for action in ("wait", "wait1", "blub", "", "0"):
        assert world.step(action)[0] == "What?"
        assert fake.told[-1][1] == action
    assert world._steps == 5


def test_what_games_share_is_set_before_every_step_and_the_same_each_time(fake):
    def told():
        fake.told.clear()
        begun()[0].step("open door")
        return list(fake.told)

    first = told()
    assert first == told()
    assert [entry[:2] for entry in first] == [
        ("game", "a-0"),
        ("game", "look around"),
        ("game", "open door"),
    ]
    assert [entry[3] for entry in first[1:]] == [100, 101]
    assert first[1][2] != first[2][2]


def test_kinds_take_turns_and_splits_are_the_packages(fake):
    world, _ = begun()
    assert world.tasks("train") == ["a-0", "b-0", "a-1", "b-1", "b-4"]
    assert world.tasks("validation") == ["a-2", "b-2"]
    assert world.tasks("test") == ["a-3", "b-3"]


@pytest.mark.parametrize("task", ["a-4", "c-0", "a", "", "a-00", "a--1", "a-1.5", "a-x"])
def test_unknown_task_is_refused(fake, task):
    with pytest.raises(UserError, match="KIND-NUMBER, as in a-0"):
        begun(task=task)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scienceworld", None)
    monkeypatch.setitem(sys.modules, "scienceworld.constants", None)
    with pytest.raises(UserError, match=r"pip install scienceworld==1\.2\.3"):
        scienceworld.make_world("")


@needs_package
def test_missing_java_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UserError, match="default-jre-headless"):
        scienceworld.make_world("")


@needs_package
@POSIX
def test_java_that_does_not_start_is_named(monkeypatch, tmp_path):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UserError, match="does not start"):
        scienceworld.Machine()


@needs_game
@pytest.mark.parametrize("option", ["find-plants", "find-plant+", "find-plant,find-animal", "+"])
def test_unknown_kind_is_refused_and_the_known_named(option):
    with pytest.raises(UserError, match=r"there is no kind of task .*there are boil, .*find-plant"):
        scienceworld.make_world(option)


# --- with the game


@pytest.fixture(scope="module")
def make():
    return scienceworld.make_world("+".join(FIND))


def play(world, task, actions):
    """Everything an episode says."""
    said = [world.reset(options={"task": task})]
    for action in actions:
        if not world.done:
            said.append(world.step(action))
    return said


@needs_game
def test_splits_are_disjoint_and_all_kinds_are_there(make):
    splits = [make().tasks(split) for split in SPLITS]
    assert [len(split) for split in splits] == [600, 300, 300]
    assert len(set().union(*splits)) == 1200
    assert splits[0][:5] == [f"{kind}-0" for kind in FIND] + ["find-living-thing-1"]
    assert len(scienceworld.make_world()().kinds) == 30


@needs_game
def test_gold_reaches_score_1_and_every_copy_tells_the_same(make):
    worlds = [make() for _ in range(4)]
    tasks = [f"{kind}-{3 * number}" for number, kind in enumerate(FIND)]
    alone = []
    for task in tasks:
        worlds[0].reset(options={"task": task})
        path = worlds[0].gold()
        alone.append((path, play(worlds[0], task, path)))
        assert alone[-1][1][-1][2:4] == (True, False)
        assert alone[-1][1][-1][4]["score"] == 1.0
        assert play(make(), task, path) == alone[-1][1]
    # Interleaved, and from several threads at once.
    with ThreadPoolExecutor(4) as threads:
        starts = threads.map(lambda w, t: w.reset(options={"task": t}), worlds, tasks)
        said = [[start] for start in starts]
        for step in range(max(len(path) for path, _ in alone)):
            live = [i for i, (path, _) in enumerate(alone) if step < len(path)]
            answers = threads.map(lambda i, t=step: worlds[i].step(alone[i][0][t]), live)
            for i, answer in zip(live, answers, strict=True):
                said[i].append(answer)
    assert said == [expected for _, expected in alone]


@needs_game
def test_animals_walk_the_same_way_again_whoever_plays_beside(make):
    task, actions = "find-plant-17", [*["wait"] * 8, "look around"]
    first = play(make(), task, actions)
    worlds = [make() for _ in range(2 * scienceworld.MACHINES)]
    for world in worlds:
        world.reset(options={"task": task})
    for action in actions:
        answers = [world.step(action) for world in worlds]
    assert answers == [first[-1]] * len(worlds)


@needs_game
def test_wrong_focus_and_nonsense_in_the_game(make):
    world = make()
    world.reset(options={"task": "find-plant-17"})
    assert world.step('blub \\ "x" é')[0] == scienceworld.UNKNOWN
    assert world.step("")[2:] == (False, False, {"score": 0.0, "effect": REFUSED})
    assert world.step("wait1")[0].startswith("You decide to wait")
    assert "go to greenhouse" not in world.choices()
    assert {"open door to greenhouse", "look around", "focus on axe"} <= set(world.choices())
    assert world.step("focus on axe")[2:] == (True, False, {"score": 0.0, "effect": ANSWERED})


@needs_game
def test_words_hold_what_a_gold_episode_says(make):
    listed = make().words
    assert unknown_words(word_tokenizer(listed), listed.split()) == []
    words = set(re.findall(r"\w+", listed))
    world = make()
    world.reset(options={"task": "find-animal-1"})
    said = play(world, "find-animal-1", path := world.gold())
    texts = [said[0][0], said[0][1]["instruction"], *path, *(answer[0] for answer in said[1:])]
    assert set(re.findall(r"\w+", " ".join(texts))) <= words


@needs_game
def test_the_game_writes_nothing_where_we_stand(make, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    machine = scienceworld.Machine()
    machine.load(machine.borrow(), "find-plant-0")
    assert list(tmp_path.iterdir()) == []
    machine.process.kill()


@needs_game
def test_games_of_forgotten_copies_are_used_again(make):
    machine = scienceworld.pick()
    world = make()
    while world.machine is not machine:
        world = make()
        world.reset(options={"task": "find-plant-0"})
    game = world.game
    del world
    gc.collect()
    assert any(idle is game for idle in machine.idle)


# --- no Java process is left behind

CHILD = """
import os, signal, sys, threading, time
from worlds import scienceworld
from envs import UserError
world = scienceworld.make_world("find-plant")()
world.reset(options={"task": "find-plant-0"})
print(world.machine.process.pid, flush=True)
"""
STEPS = """
while True:
    world.reset(options={"task": "find-plant-0"})
    while not world.done and world._steps < 30: world.step("look around")
"""
FAILING_THREAD = """
thread = threading.Thread(target=lambda: world.act(1 / 0))
thread.start()
thread.join()
"""


def running(pid):
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    stat = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return bool(stat) and not stat.startswith("Z")


def left_behind(pid):
    """Whether the process is still there after ten seconds."""
    until = time.monotonic() + 10
    while running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return running(pid)


def start(code):
    """A child of its own session that plays; (the child, the process id of its Java process)."""
    root = Path(__file__).parent.parent
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD + code],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's `&` would have it ignore this signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    return child, int(child.stdout.readline())


@needs_game
@POSIX
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise ValueError", 1),
        ("os._exit(3)", 3),
        (FAILING_THREAD, 0),
    ],
    ids=["normal exit", "exception", "hard exit", "thread fails"],
)
def test_java_ends_with_the_program(code, status):
    child, pid = start(code)
    _, err = child.communicate(timeout=30)
    assert child.returncode == status
    assert "java" not in err.lower()
    assert not left_behind(pid)


@needs_game
@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_java_ends_with_a_signal_to_the_whole_group(number):
    child, pid = start(STEPS)
    time.sleep(0.5)
    os.killpg(child.pid, number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == -number
    assert "at py4j" not in err
    assert "Exception in thread" not in err
    assert not left_behind(pid)


@needs_game
@POSIX
def test_java_killed_from_outside_is_told_in_one_sentence():
    failure = "except UserError as error:\n    print(error)\n    sys.exit(2)"
    code = f"try:\n    exec({STEPS!r})\n{failure}"
    child, pid = start(code)
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (2, "")
    reason = "its Java process ended, killed from outside or out of memory; start again"
    assert out == f"scienceworld: {reason}\n"
