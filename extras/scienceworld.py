"""ScienceWorld, the benchmark of 30 kinds of school experiments in a house of ten rooms, as a `World`.

    pip install scienceworld==1.2.3     # and Java 8 or later: apt install default-jre-headless, brew install openjdk
    python train.py --tiny --env scienceworld:find-plant+find-animal     # or all kinds: --env scienceworld

Tasks, splits, observations and scores are the package's own, without simplifications, as in AgentGym's server.  The
game is a Java program, and we talk to it directly: the package's `step` also lists every valid action and looks at
room and inventory, which takes ten times as long as the step itself.

A few Java processes, each with many games in it, are shared by all copies of the world.  Three things that the games
of one process share would make an episode depend on its neighbours, or differ when it is played again: the random
generator, which is seeded here before every step; the counter that numbers new things, which is put back to where the
game left it; and the order of things in a room, which comes from Java's identity hashes, set here to one constant.
So every episode can be replayed, as the search does, which the game by itself does not allow.

Read in order: `Machine` (a Java process), `pick` (the pool), `ScienceWorld`, `vocabulary`, `make_world`.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from envs import SPLITS, UserError, World

PACKAGE = "pip install scienceworld==1.2.3"
JAVA = "Java 8 or later (apt install default-jre-headless, or brew install openjdk)"
MACHINES = min(2, os.cpu_count() or 1)  # Java processes: 0.5 GB of memory each, and a core of its own while busy
OPTIONS = (
    "-Xmx1g",  # for some 1,500 games of 0.4 MB each, and what a new one needs for a moment
    "-XX:+UseSerialGC",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",  # all identity hashes alike, so that sets keep the order of insertion
    "-XX:+ExitOnOutOfMemoryError",
)
VERBS = ("go to", "open", "focus on", "pick up", "look around", "inventory", "wait1")
UNKNOWN = "No known action matches that input."  # the game's own words


# --- the Java side


class Machine:
    """A Java process that plays one step at a time, of any of the games it holds.

    It ends with ours, however that ends, since it waits for the end of its standard input; Ctrl-C does not reach it.
    """

    def __init__(self) -> None:
        """Raises `UserError` if Java is missing or does not start."""
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
        from scienceworld.constants import JAR_PATH

        java = find_java()
        try:
            port, self.process = launch_gateway(
                classpath=JAR_PATH,
                javaopts=[*OPTIONS],
                java_path=java,
                die_on_exit=True,
                create_new_process_group=True,
                return_proc=True,
            )
        except (OSError, ValueError) as error:  # it printed no port
            raise UserError(f"scienceworld: {java} does not start; install {JAVA}") from error
        self.lock = threading.RLock()
        self.idle: list[Any] = []  # games whose world copy is gone, to be used again: making one takes 30 ms
        with self.talk():
            self.jvm = JavaGateway(gateway_parameters=GatewayParameters(port=port)).jvm
            java = self.jvm.java
            # What the game prints is thrown away in Java, where py4j would have a thread here read it.
            java.lang.System.setOut(java.io.PrintStream(java.io.FileOutputStream(os.devnull)))
            self.random = java.lang.Class.forName("scala.util.Random$").getField("MODULE$").get(None)
            self.counter = self.jvm.util.UniqueIdentifier

    @contextmanager
    def talk(self) -> Iterator[None]:
        """Have the process to oneself; raises `UserError` if it is gone."""
        from py4j.protocol import Py4JError, Py4JJavaError

        with self.lock:
            try:
                yield
            except Py4JJavaError:  # the game's own mistake
                raise
            except (Py4JError, OSError) as error:
                message = "scienceworld: its Java process ended, killed from outside or out of memory; start again"
                raise UserError(message) from error

    def load(self, game: Any, task: str, gold: bool = False) -> None:
        """Put `game` to the start of `task`, without simplifications; `gold` has it find a way to the goal first."""
        kind, _, variation = task.rpartition("-")
        game.load(kind, int(variation), "", gold)
        getattr(game, "taskMaker_$eq")(None)  # 5 MB that only loading needs

    @contextmanager
    def game(self) -> Iterator[Any]:
        """A game for a moment, with the process to oneself."""
        with self.talk():
            game = self.borrow()
            yield game
            self.idle.append(game)

    def borrow(self) -> Any:
        """An idle game, or a new one."""
        return self.idle.pop() if self.idle else self.jvm.scienceworld.runtime.pythonapi.PythonInterface()


def find_java() -> str:
    """The path of `java`, of JAVA_HOME if that is set; raises `UserError` if there is none."""
    home = os.environ.get("JAVA_HOME")
    java = (shutil.which(os.path.join(home, "bin", "java")) if home else None) or shutil.which("java")
    if java is None:
        raise UserError(f"scienceworld is a Java program, and there is no java; install {JAVA}")
    return java


_machines: dict[int, Machine] = {}
_turns = itertools.count()
_picking = threading.Lock()


def pick() -> Machine:
    """The next Java process in turn, started if it does not run."""
    with _picking:
        turn = next(_turns) % MACHINES
        if turn not in _machines or _machines[turn].process.poll() is not None:
            _machines[turn] = Machine()
        return _machines[turn]


# --- the world


class ScienceWorld(World):
    """Tasks named KIND-VARIATION, as in find-plant-17.  The score is the game's, in [0, 1].

    Focusing on the wrong thing ends an episode at -100, which counts as 0.  There is no `expert`: the game tells one
    way to the goal, from the start only (`gold`), so that nobody knows how far a state in between is from it.
    """

    name = "scienceworld"
    step_limit = 30  # the gold paths of the four find-* kinds have 5 to 14 actions
    parallel = 2 * MACHINES  # twice as many, so that one is waiting wherever a machine becomes free

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds
        self.machine: Machine | None = None

    @property
    def words(self) -> str:
        """The words of sixty training tasks, collected once (ten to twenty seconds)."""
        return vocabulary(self.kinds)

    def tasks(self, split: str) -> Sequence[str]:
        """The package's train, dev and test variations, the kinds taking turns."""
        columns = ([f"{kind}-{number}" for number in variations(kind)[split]] for kind in self.kinds)
        return [task for row in itertools.zip_longest(*columns) for task in row if task]

    def begin(self, task: str) -> tuple[str, str]:
        """The task's description, and what `look around` answers."""
        kind, _, number = task.rpartition("-")
        numbers = itertools.chain(*variations(kind).values()) if kind in self.kinds else ()
        if number not in map(str, numbers):
            raise UserError(f"scienceworld has no task {task!r}; a task is named KIND-NUMBER, as in {self.kinds[0]}-0")
        if self.machine is None:
            self.machine = pick()
            with self.machine.talk():
                self.game = self.machine.borrow()
            weakref.finalize(self, self.machine.idle.append, self.game)
        self.task, self.rng = task, random.Random(task)  # decides what is left to chance, such as where animals go
        with self.machine.talk():
            self.machine.load(self.game, task)
            self.things = self.machine.counter.count()
            instruction = self.game.getTaskDescription()
        observation = self.act("look around")
        self.score, self.done = 0.0, False
        return instruction, observation

    def act(self, action: str) -> str:
        """Whatever the game makes of the action; `wait` is one of its actions like any other."""
        from py4j.protocol import Py4JJavaError

        machine = self.machine
        with machine.talk():
            machine.random.setSeed(self.rng.getrandbits(48))
            getattr(machine.counter, "count_$eq")(self.things)
            try:
                observation = self.game.step(action)
            except Py4JJavaError:
                observation = UNKNOWN
            self.things = machine.counter.count()
            score = self.game.getScore()
            self.done = score < 0 or self.game.getCompleted()
        self.score = max(0.0, score)
        return observation

    def gold(self) -> list[str]:
        """Actions that lead from the start of this task to score 1; not always the shortest."""
        return list(gold_path(self.machine, self.task))

    def choices(self) -> list[str]:
        """Of the actions that the game would carry out here, those of the simplest verbs (50 ms)."""
        with self.machine.talk():
            valid = sorted(self.game.getValidActionObjectCombinations())
        return [action for action in valid if action.startswith(VERBS)]


@functools.lru_cache(maxsize=10_000)
def gold_path(machine: Machine, task: str) -> tuple[str, ...]:
    """The way that the game itself finds from the start of `task` (0.15 s)."""
    with machine.game() as game:
        machine.load(game, task, gold=True)
        return tuple(game.getGoldActionSequence())


@functools.cache
def variations(kind: str) -> dict[str, list[int]]:
    """The numbers of the variations of each split."""
    machine = pick()
    with machine.game() as game:
        getattr(game, "taskMaker_$eq")(machine.jvm.scienceworld.tasks.TaskMaker1())
        getattr(game, "taskStr_$eq")(kind)
        lists = (game.getVariationsTrain(), game.getVariationsDev(), game.getVariationsTest())
        numbers = ([int(number) for number in re.findall("[0-9]+", found.toString())] for found in lists)
        return dict(zip(SPLITS, numbers, strict=True))


@functools.cache
def vocabulary(kinds: tuple[str, ...]) -> str:
    """The names of all things in thirty tasks of each split, and what is said in those for training.

    There the gold path is played with a mistake now and then.  A word that is still missing is unknown to a
    word-level tokenizer.
    """
    world, texts, rng = ScienceWorld(kinds), {UNKNOWN: None}, random.Random("words")
    for split in SPLITS:
        tasks = world.tasks(split)
        for task in rng.sample(tasks, min(30, len(tasks))):
            observation, info = world.reset(options={"task": task})
            with world.machine.talk():
                things = json.loads(world.game.getAllObjectIdsTypesReferentsLUTJSON()).values()
                texts |= dict.fromkeys(world.game.getPossibleActions())
            texts |= dict.fromkeys(name for thing in things for name in thing["referents"])
            texts |= dict.fromkeys([info["instruction"], observation])
            for action in world.gold() if split == "train" else ():
                tried = [rng.choice(world.choices())] if rng.random() < 0.2 else []
                for said in (*tried, action):
                    if not world.done and world._steps < world.step_limit:
                        texts |= dict.fromkeys([said, world.step(said)[0]])
    return "\n".join(texts)


def make_world(option: str = "") -> Callable[[], World]:
    """A maker of copies of the world with the kinds named in `option`, joined by `+`; all thirty if it is empty.

    Raises `UserError` if the package or Java is missing, or for a kind that does not exist.
    """
    try:
        from scienceworld.constants import ID2TASK
    except ImportError:
        raise UserError(f"--env scienceworld needs its package: {PACKAGE}") from None
    find_java()
    kinds = tuple(dict.fromkeys(option.split("+"))) if option else tuple(ID2TASK.values())
    for kind in kinds:
        if kind not in ID2TASK.values():
            known = ", ".join(ID2TASK.values())
            raise UserError(f"--env scienceworld:{option}: there is no kind of task {kind!r}; there are {known}")
    return functools.partial(ScienceWorld, kinds)
