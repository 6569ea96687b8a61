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

Read in order: `spoken` and `Machine` (a Java process), `pick` (the pool), `ScienceWorld`, `vocabulary`, `make_world`.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import random
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from envs import SPLITS, UserError, World

PACKAGE = "pip install scienceworld==1.2.3"
JAVA = "Java 8 or later (apt install default-jre-headless, or brew install openjdk)"
MACHINES = min(2, os.cpu_count() or 1)  # Java processes: 0.5 GB of memory each, and a core of its own while busy
OPTIONS = (
    "-Xmx1g",  # 200 games take 80 MB
    "-XX:+UseSerialGC",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",  # all identity hashes alike, so that sets keep the order of insertion
    "-XX:+ExitOnOutOfMemoryError",
)
VERBS = ("go to", "open", "focus on", "pick up", "look around", "inventory", "wait1")
UNKNOWN = "No known action matches that input."  # the game's own words


# --- the Java side


def spoken(method: Callable[..., Any]) -> Callable[..., Any]:
    """Have a method of `Machine` run in the machine's own thread; it raises `UserError` if the process is gone.

    So a process does one thing at a time, and Ctrl-C never strikes inside py4j, which would stumble over it.
    """

    @functools.wraps(method)
    def wrapped(machine: Machine, *arguments: Any) -> Any:
        from py4j.protocol import Py4JError

        try:
            return machine.thread.submit(method, machine, *arguments).result()
        except (Py4JError, OSError) as error:
            message = "scienceworld: its Java process ended, killed from outside or out of memory; start again"
            raise UserError(message) from error

    return wrapped


class Machine:
    """A Java process that plays one step at a time, of any of the games it holds.

    It ends with ours, however that ends, since it waits for the end of its standard input; Ctrl-C does not reach it.
    """

    def __init__(self) -> None:
        """Raises `UserError` if Java is missing or does not start."""
        from py4j.java_gateway import launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH

        java, ways = find_java(), {"die_on_exit": True, "create_new_process_group": True, "return_proc": True}
        ways["cwd"] = BASEPATH  # where the game's table of types lies, which it would write anew elsewhere
        try:
            port, self.process = launch_gateway(classpath=JAR_PATH, javaopts=[*OPTIONS], java_path=java, **ways)
        except (OSError, ValueError) as error:  # it printed no port
            raise UserError(f"scienceworld: {java} does not start; install {JAVA}") from error
        self.idle: list[Any] = []  # games whose world copy is gone, to be used again: making one takes 30 ms
        self.thread = ThreadPoolExecutor(1)
        for logger in (logging.getLogger(), logging.getLogger("py4j.java_gateway")):  # py4j writes to both
            logger.addFilter(not_from_py4j)
        self.connect(port)

    @spoken
    def connect(self, port: int) -> None:
        """Find what the games share."""
        from py4j.java_gateway import GatewayParameters, JavaGateway

        self.jvm = JavaGateway(gateway_parameters=GatewayParameters(port=port)).jvm
        java = self.jvm.java
        # What the game prints is thrown away in Java, where py4j would have a thread here read it.
        java.lang.System.setOut(java.io.PrintStream(java.io.FileOutputStream(os.devnull)))
        self.random = java.lang.Class.forName("scala.util.Random$").getField("MODULE$").get(None)
        self.counter = self.jvm.util.UniqueIdentifier

    @spoken
    def borrow(self) -> Any:
        """An idle game, or a new one."""
        return self.idle.pop() if self.idle else self.jvm.scienceworld.runtime.pythonapi.PythonInterface()

    @spoken
    def load(self, game: Any, task: str, gold: bool = False) -> tuple[str, int, list[str]]:
        """Put `game` to the start of `task`: (description, number of things, gold path).

        Only with `gold` the game finds a way to the goal (0.15 s more).
        """
        kind, _, variation = task.rpartition("-")
        game.load(kind, int(variation), "", gold)
        getattr(game, "taskMaker_$eq")(None)  # 5 MB that only loading needs
        return game.getTaskDescription(), self.counter.count(), list(game.getGoldActionSequence())

    @spoken
    def step(self, game: Any, action: str, seed: int, things: int) -> tuple[str, float, bool, int]:
        """Take one step with what the games share set: (observation, score, completed, number of things)."""
        from py4j.protocol import Py4JJavaError

        self.random.setSeed(seed)
        getattr(self.counter, "count_$eq")(things)
        try:
            observation = game.step(action)
        except Py4JJavaError:  # the game's own mistake
            observation = UNKNOWN
        return observation, game.getScore(), game.getCompleted(), self.counter.count()

    @spoken
    def valid(self, game: Any) -> list[str]:
        """What the game would carry out; in alphabetical order."""
        return sorted(game.getValidActionObjectCombinations())

    @spoken
    def names(self, game: Any) -> list[str]:
        """The names of all things in all rooms, and the forms of actions."""
        things = json.loads(game.getAllObjectIdsTypesReferentsLUTJSON()).values()
        return [*game.getPossibleActions(), *(name for thing in things for name in thing["referents"])]

    @spoken
    def variations(self, game: Any, kind: str) -> list[list[int]]:
        """The numbers of the train, dev and test variations; `game` must be loaded anew after this."""
        getattr(game, "taskMaker_$eq")(self.jvm.scienceworld.tasks.TaskMaker1())
        getattr(game, "taskStr_$eq")(kind)
        lists = (game.getVariationsTrain(), game.getVariationsDev(), game.getVariationsTest())
        return [[int(number) for number in re.findall("[0-9]+", found.toString())] for found in lists]


def not_from_py4j(record: logging.LogRecord) -> bool:
    """Keep py4j's traceback of a broken connection off the screen: it is told as a `UserError`."""
    return record.module != "java_gateway"


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
    step_limit = 30  # gold paths of the four find-* kinds have 3 to 16 actions; of other kinds, 6 to 178
    parallel = 4 * MACHINES  # more than machines, so that one is waiting wherever a machine becomes free

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds
        self.machine: Machine | None = None

    @property
    def words(self) -> str:
        """The words of thirty tasks of each split, collected once (some twenty seconds)."""
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
            machine = pick()
            self.game = machine.borrow()
            weakref.finalize(self, machine.idle.append, self.game)
            self.machine = machine
        self.task, self.rng = task, random.Random(task)  # decides what is left to chance, such as where animals go
        instruction, self.things, _ = self.machine.load(self.game, task)
        observation = self.act("look around")
        self.score, self.done = 0.0, False
        return instruction, observation

    def act(self, action: str) -> str:
        """Whatever the game makes of the action; `wait` is one of its actions like any other."""
        answer = self.machine.step(self.game, action, self.rng.getrandbits(48), self.things)
        observation, score, completed, self.things = answer
        self.score, self.done = max(0.0, score), completed or score < 0
        return observation

    def gold(self) -> list[str]:
        """Actions that lead from the start of this task to score 1; not always the shortest."""
        return list(gold_path(self.task))

    def choices(self) -> list[str]:
        """Of the actions that the game would carry out here, those of the simplest verbs (50 ms)."""
        return [action for action in self.machine.valid(self.game) if action.startswith(VERBS)]


@functools.lru_cache(maxsize=10_000)
def gold_path(task: str) -> tuple[str, ...]:
    """The way that the game itself finds from the start of `task` (0.15 s)."""
    machine = pick()
    game = machine.borrow()
    path = machine.load(game, task, True)[2]
    machine.idle.append(game)
    return tuple(path)


@functools.cache
def variations(kind: str) -> dict[str, list[int]]:
    """The numbers of the variations of each split."""
    machine = pick()
    game = machine.borrow()
    numbers = machine.variations(game, kind)
    machine.idle.append(game)
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
            texts |= dict.fromkeys([info["instruction"], observation, *world.machine.names(world.game)])
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
