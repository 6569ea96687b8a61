"""ScienceWorld, the benchmark of 30 kinds of school experiments in a house of ten rooms.

    pip install scienceworld==1.2.3
    apt install default-jre-headless    # Java 8 or later; brew install openjdk
    python train.py --tiny --env scienceworld:find-plant+find-animal    # all kinds: scienceworld

Tasks, splits, observations and scores are the package's own, without simplifications, as in
AgentGym's server.  The game is a Java program, and we talk to it directly: the package's `step`
also lists every valid action and looks at room and inventory, which takes ten times as long as the
step itself.

A few Java processes, each with many games in it, are shared by all copies of the world.  Three
things that the games of one process share would make an episode depend on its neighbours, or differ
when it is played again: the random generator, which is seeded here before every step; the counter
that numbers new things, which is put back to where the game left it; and the order of things in a
room, which comes from Java's identity hashes, set here to one constant.  So every episode can be
replayed, as the search does, which the game by itself does not allow.

Read in order: `in_its_thread` and `Machine` (a Java process), `pick` (which process comes next),
`ScienceWorld`, `vocabulary`, `make_world`.
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
from dataclasses import dataclass
from typing import Any

from envs import ANSWERED, CHANGED, REFUSED, SPLITS, UserError, World
from worlds.manuals import SCIENCEWORLD

PACKAGE = "pip install scienceworld==1.2.3"
JAVA = "Java 8 or later (apt install default-jre-headless, or brew install openjdk)"
# The number of Java processes: 0.5 GB of memory each, and a core of its own while it is busy.
MACHINES = min(2, os.cpu_count() or 1)
OPTIONS = (
    "-Xmx1g",  # 200 games take 80 MB
    "-XX:+UseSerialGC",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",  # all identity hashes alike, so that sets keep the order of insertion
    "-XX:+ExitOnOutOfMemoryError",
)
VERBS = ("go to", "open", "focus on", "pick up", "look around", "inventory", "wait1")
UNKNOWN = "No known action matches that input."  # the game's own words
# How the game refuses in other words, in answers of one line.
REFUSAL = re.compile(
    r"^(no known action|unknown action|ambiguous request|something can't|you (can't|must) )"
    r"|^(it'?s not clear|i'm not sure|that (can't|object|is already))"
    r"|can't be| is not | isn't | is already | does(n't| not) |not movable|appears broken",
    re.IGNORECASE,
)
LOOKS = ("look", "inventory", "examine", "read", "task", "focus on", "help")  # change no thing


# --- the Java side


@dataclass(frozen=True)
class Answer:
    """What the game says to one action."""

    observation: str
    score: float  # of the episode so far; below 0 after a wrong focus, which ends it
    completed: bool
    things: int  # the counter that numbers new things, after this step


def in_its_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method of `Machine` run in the machine's own thread.

    So a process does one thing at a time, and Ctrl-C never strikes inside py4j, which would stumble
    over it.  The method then raises `UserError` if the process is gone.
    """

    @functools.wraps(method)
    def call(machine: Machine, *arguments: Any) -> Any:
        from py4j.protocol import Py4JError

        try:
            return machine.thread.submit(method, machine, *arguments).result()
        except (Py4JError, OSError) as error:
            reason = "its Java process ended, killed from outside or out of memory; start again"
            raise UserError(f"scienceworld: {reason}") from error

    return call


class Machine:
    """A Java process that plays one step at a time, of any of the games it holds.

    It ends with ours, however that ends, since it waits for the end of its standard input; Ctrl-C
    does not reach it.
    """

    def __init__(self) -> None:
        """Start the process.  Raises `UserError` if Java is missing or does not start."""
        from py4j.java_gateway import launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH

        java = find_java()
        try:
            port, self.process = launch_gateway(
                java_path=java,
                javaopts=list(OPTIONS),
                classpath=JAR_PATH,
                cwd=BASEPATH,  # where the game's table of types lies; elsewhere it writes a new one
                die_on_exit=True,
                create_new_process_group=True,
                return_proc=True,
            )
        except (OSError, ValueError) as error:  # ValueError: it printed no port
            raise UserError(f"scienceworld: {java} does not start; install {JAVA}") from error
        # Games whose copy of the world is gone, to be used again: a new one takes 30 ms.
        self.idle: list[Any] = []
        self.thread = ThreadPoolExecutor(1)
        # py4j writes to both loggers.
        logging.getLogger().addFilter(not_from_py4j)
        logging.getLogger("py4j.java_gateway").addFilter(not_from_py4j)
        self.connect(port)

    @in_its_thread
    def connect(self, port: int) -> None:
        """Connect to the process and look up what its games share."""
        from py4j.java_gateway import GatewayParameters, JavaGateway

        self.jvm = JavaGateway(gateway_parameters=GatewayParameters(port=port)).jvm
        java = self.jvm.java
        # What the game prints is thrown away in Java; py4j would have a thread here read it.
        nowhere = java.io.FileOutputStream(os.devnull)
        java.lang.System.setOut(java.io.PrintStream(nowhere))
        random_class = java.lang.Class.forName("scala.util.Random$")
        self.random = random_class.getField("MODULE$").get(None)
        self.counter = self.jvm.util.UniqueIdentifier

    @in_its_thread
    def borrow(self) -> Any:
        """Return an idle game, or a new one."""
        if self.idle:
            return self.idle.pop()
        return self.jvm.scienceworld.runtime.pythonapi.PythonInterface()

    @in_its_thread
    def load(self, game: Any, task: str) -> tuple[str, int]:
        """Put `game` to the start of `task`; return its description and the number of things.

        The second is where the counter that numbers new things stands.
        """
        load_task(game, task, find_gold=False)
        return game.getTaskDescription(), self.counter.count()

    @in_its_thread
    def gold(self, game: Any, task: str) -> tuple[str, ...]:
        """Put `game` to the start of `task`; return the way to the goal that the game finds."""
        load_task(game, task, find_gold=True)
        return tuple(game.getGoldActionSequence())

    @in_its_thread
    def step(self, game: Any, action: str, seed: int, things: int) -> Answer:
        """Take one step in `game`, with what the games share set to `seed` and `things`."""
        from py4j.protocol import Py4JJavaError

        self.random.setSeed(seed)
        assign(self.counter, "count", things)
        try:
            observation = game.step(action)
        except Py4JJavaError:  # the game's own mistake
            observation = UNKNOWN
        score = game.getScore()
        return Answer(observation, score, game.getCompleted(), self.counter.count())

    @in_its_thread
    def valid_actions(self, game: Any) -> list[str]:
        """Return what the game would carry out, in alphabetical order."""
        return sorted(game.getValidActionObjectCombinations())

    @in_its_thread
    def names(self, game: Any) -> list[str]:
        """Return the forms of actions and the names of all things in all rooms."""
        names = list(game.getPossibleActions())
        things = json.loads(game.getAllObjectIdsTypesReferentsLUTJSON())
        for thing in things.values():
            names += thing["referents"]
        return names

    @in_its_thread
    def variations(self, game: Any, kind: str) -> dict[str, list[int]]:
        """Return the numbers of the variations of each split.

        `game` must be loaded anew after this.
        """
        assign(game, "taskMaker", self.jvm.scienceworld.tasks.TaskMaker1())
        assign(game, "taskStr", kind)
        return {
            "train": numbers_in(game.getVariationsTrain()),
            "validation": numbers_in(game.getVariationsDev()),
            "test": numbers_in(game.getVariationsTest()),
        }


def load_task(game: Any, task: str, *, find_gold: bool) -> None:
    """Put `game` to the start of `task`.

    With `find_gold` the game also looks for a way to the goal, which takes 0.15 s more.
    """
    kind, _, variation = task.rpartition("-")
    simplifications = ""
    game.load(kind, int(variation), simplifications, find_gold)
    assign(game, "taskMaker", None)  # 5 MB that only loading needs


def assign(owner: Any, variable: str, value: Any) -> None:
    """Set a variable of a Scala object, by a method whose name Python cannot write."""
    setter = getattr(owner, f"{variable}_$eq")
    setter(value)


def numbers_in(sequence: Any) -> list[int]:
    """Return the numbers in a sequence of Scala's, read from its text."""
    return [int(digits) for digits in re.findall("[0-9]+", sequence.toString())]


def not_from_py4j(record: logging.LogRecord) -> bool:
    """Keep py4j's traceback of a broken connection off the screen: a `UserError` tells of it."""
    return record.module != "java_gateway"


def find_java() -> str:
    """Return the path of `java`, from JAVA_HOME if it has one.

    Raises `UserError` if there is none.
    """
    java = None
    home = os.environ.get("JAVA_HOME")
    if home:
        java = shutil.which(os.path.join(home, "bin", "java"))
    if java is None:
        java = shutil.which("java")
    if java is None:
        raise UserError(f"scienceworld is a Java program, and there is no java; install {JAVA}")
    return java


_machines: dict[int, Machine] = {}
_turns = itertools.count()
_machines_lock = threading.Lock()


def pick() -> Machine:
    """Return the next Java process in turn, started if it does not run."""
    with _machines_lock:
        place = next(_turns) % MACHINES
        machine = _machines.get(place)
        if machine is None or machine.process.poll() is not None:
            machine = Machine()
            _machines[place] = machine
        return machine


# --- the world


class ScienceWorld(World):
    """Tasks named KIND-VARIATION, as in find-plant-17.  The score is the game's, in [0, 1].

    Focusing on the wrong thing ends an episode at -100, which counts as 0.  There is no `expert`:
    the game tells one way to the goal, from the start only (`gold`), so that nobody knows how far a
    state in between is from it.
    """

    name = "scienceworld"
    manual = SCIENCEWORLD
    step_limit = 30  # gold paths of the four find-* kinds have 3 to 16 actions; of others, 6 to 178
    parallel = 4 * MACHINES  # so that a copy is waiting wherever a machine becomes free

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds
        self.machine: Machine | None = None

    @property
    def words(self) -> str:
        """The words of thirty tasks of each split, collected once (some twenty seconds)."""
        return vocabulary(self.kinds)

    def tasks(self, split: str) -> Sequence[str]:
        """Return the package's train, dev or test variations, the kinds taking turns."""
        columns = []
        for kind in self.kinds:
            columns.append([f"{kind}-{number}" for number in variations(kind)[split]])
        rows = itertools.zip_longest(*columns)
        return [task for task in itertools.chain.from_iterable(rows) if task is not None]

    def begin(self, task: str) -> tuple[str, str]:
        """Return the task's description, and what `look around` answers.

        Raises `UserError` for a name that is no task's.
        """
        if not self._has(task):
            form = f"KIND-NUMBER, as in {self.kinds[0]}-0"
            raise UserError(f"scienceworld has no task {task!r}; a task is named {form}")
        if self.machine is None:
            machine = pick()
            self.game = machine.borrow()
            weakref.finalize(self, machine.idle.append, self.game)
            self.machine = machine
        self.task = task
        self.rng = random.Random(task)  # decides what is left to chance, such as where animals go
        instruction, self.things = self.machine.load(self.game, task)
        observation = self.act("look around")
        self.score = 0.0
        self.done = False
        return instruction, observation

    def act(self, action: str) -> str:
        """Return what the game makes of the action; `wait` is one of its actions like any other."""
        seed = self.rng.getrandbits(48)
        answer = self.machine.step(self.game, action, seed, self.things)
        self.things = answer.things
        self.score = max(0.0, answer.score)
        self.done = answer.completed or answer.score < 0
        self.effect = effect_of(action, answer.observation)
        return answer.observation

    def gold(self) -> list[str]:
        """Return actions that lead from the start of this task to score 1, maybe not the fewest."""
        return list(gold_path(self.task))

    def choices(self) -> list[str]:
        """Return those of the actions that the game would carry out here with the simplest verbs.

        It takes 50 ms.
        """
        actions = self.machine.valid_actions(self.game)
        return [action for action in actions if action.startswith(VERBS)]

    def _has(self, task: str) -> bool:
        kind, _, number = task.rpartition("-")
        if kind not in self.kinds:
            return False
        return any(number in map(str, split) for split in variations(kind).values())


def effect_of(action: str, observation: str) -> str:
    """Return what an action did, by the game's answer: see `World.effect`."""
    if "\n" not in observation and REFUSAL.search(observation):
        return REFUSED
    return ANSWERED if action.startswith(LOOKS) else CHANGED


@functools.lru_cache(maxsize=10_000)
def gold_path(task: str) -> tuple[str, ...]:
    """Return the way that the game itself finds from the start of `task` (0.15 s)."""
    machine = pick()
    game = machine.borrow()
    path = machine.gold(game, task)
    machine.idle.append(game)
    return path


@functools.cache
def variations(kind: str) -> dict[str, list[int]]:
    """Return the numbers of the variations of each split."""
    machine = pick()
    game = machine.borrow()
    splits = machine.variations(game, kind)
    machine.idle.append(game)
    return splits


@functools.cache
def vocabulary(kinds: tuple[str, ...]) -> str:
    """Return the words of thirty tasks of each split, for a word-level tokenizer.

    They are the names of all things in these tasks and what is said in those for training.  A word
    that is still missing is unknown to the tokenizer.
    """
    world = ScienceWorld(kinds)
    rng = random.Random("words")
    texts = [UNKNOWN]
    for split in SPLITS:
        tasks = world.tasks(split)
        for task in rng.sample(tasks, min(30, len(tasks))):
            observation, info = world.reset(options={"task": task})
            texts += [info["instruction"], observation]
            texts += world.machine.names(world.game)
            if split == "train":
                texts += said_on_the_gold_path(world, rng)
    return "\n".join(dict.fromkeys(texts))  # each text once, in the order of appearance


def said_on_the_gold_path(world: ScienceWorld, rng: random.Random) -> list[str]:
    """Play the gold path with a mistake now and then; return the actions and observations."""
    texts = []
    over = False
    for gold in world.gold():
        actions = [gold]
        if rng.random() < 0.2:
            mistake = rng.choice(world.choices())
            actions = [mistake, gold]
        for action in actions:
            if not over:
                observation, _, terminated, truncated, _ = world.step(action)
                over = terminated or truncated
                texts += [action, observation]
    return texts


def make_world(option: str = "") -> Callable[[], World]:
    """Return a maker of copies of the world with the kinds named in `option`, joined by `+`.

    An empty `option` stands for all thirty.  Raises `UserError` if the package or Java is missing,
    or for a kind that does not exist.
    """
    try:
        from scienceworld.constants import ID2TASK
    except ImportError:
        raise UserError(f"--env scienceworld needs its package: {PACKAGE}") from None
    find_java()
    all_kinds = tuple(ID2TASK.values())
    if not option:
        return functools.partial(ScienceWorld, all_kinds)
    kinds = tuple(dict.fromkeys(option.split("+")))
    for kind in kinds:
        if kind not in all_kinds:
            problem = f"there is no kind of task {kind!r}; there are {', '.join(all_kinds)}"
            raise UserError(f"--env scienceworld:{option}: {problem}")
    return functools.partial(ScienceWorld, kinds)
