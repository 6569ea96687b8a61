"""craft: recipes to be read, counted and chained, by TextCraft's rules and with recipes of our own.

Read in order: `Recipe`, `errands` (a plan once the batches are known) and `Craft`.
"""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

from envs import ANSWERED, CHANGED, REFUSED, UserError, World

STACK = 64  # how much of a thing the expert gets at once, if that is enough


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make `count` of `output` from `inputs`, which maps names to amounts."""

    output: str
    count: int
    inputs: dict[str, int]

    def __str__(self) -> str:
        """Return the line of a prompt, as in `craft 4 stick using 2 planks`."""
        return f"craft {self.count} {self.uncounted}"

    @property
    def uncounted(self) -> str:
        """The recipe without the amount of its output, as in `stick using 2 planks`."""
        inputs = ", ".join(f"{amount} {name}" for name, amount in self.inputs.items())
        return f"{self.output} using {inputs}"

    @property
    def action(self) -> str:
        """The action that crafts it; there the amount of the output need not be said."""
        return f"craft {self.uncounted}"


def errands(batches: Sequence[Recipe], inventory: Counter[str]) -> list[str]:
    """Return the actions that craft these batches in this order, getting whatever runs short.

    There is no limit to what one may get, and a stack is mostly enough; so the exact amounts are
    only for crafting.
    """
    inventory = Counter(inventory)
    actions = []
    for recipe in batches:
        for name, amount in recipe.inputs.items():
            missing = amount - inventory[name]
            if missing > 0:
                stack = max(STACK, missing)
                actions.append(f"get {stack} {name}")
                inventory[name] += stack
        actions.append(recipe.action)
        inventory.subtract(recipe.inputs)
        inventory[recipe.output] += recipe.count
    return actions


def ingredients(inputs: str) -> list[tuple[str, str]]:
    """Return the pairs of an amount and a thing of `2 oak, 4 sand`."""
    return re.findall("([0-9]+) ([^,]+)", inputs)


def misread(inputs: str, line: str) -> str:
    """Return inputs with the amounts of another line's, as far as these reach."""
    amounts = [amount for amount, _ in ingredients(line)]
    things = []
    for place, (amount, thing) in enumerate(ingredients(inputs)):
        if place < len(amounts):
            amount = amounts[place]
        things.append(f"{amount} {thing}")
    return ", ".join(things)


class Craft(World):
    """Craft one thing by TextCraft's rules, with our own recipes.

    What a recipe makes cannot be got.  A command names what is held, in the recipe's exact amounts;
    the amount of the output is not checked.  The score is 1 once the goal is crafted.

    Amounts change from task to task, so a recipe must be read, not remembered.  Where it says
    powder, coal, sand or salt would do, but only one can be found: an agent must try, notice and
    change its plan.
    """

    name = "craft"
    manual = (
        "Craft the goal. A command says what it needs: get what no command makes, craft the rest"
        " first, and use the very names and amounts of the command. Where a command says powder, it"
        " is coal, sand or salt, whichever of them can be found. An example:\n"
        "Goal: craft rod.\nCrafting commands:\ncraft 3 rod using 2 powder, 4 elm\n"
        "Thought: The rod needs 4 elm.\nAction: get 4 elm\nGot 4 elm\n"
        "Thought: It needs 2 powder too.\nAction: get 2 coal\nCould not find that\n"
        "Thought: There is no coal, so I try sand.\nAction: get 2 sand\nGot 2 sand\n"
        "Thought: I have all of it.\nAction: craft 3 rod using 2 sand, 4 elm"
    )
    POWDERS = ("coal", "sand", "salt")
    MATERIALS = (
        "oak ash elm fir tin iron zinc gold jade opal"
        " ruby bone horn clay wax ice silk wool cork wire"
    )
    words = (
        "You can: get N item, craft N item using N item, inventory. Goal: craft. Crafting commands:"
        " Got Crafted Could not execute that, find enough items to, a valid recipe for. Inventory:"
        f" You are not carrying anything {MATERIALS} bar rod box mug axe cart"
        " powder coal sand salt "
    ) + " ".join(str(number) for number in range(101))

    def tasks(self, split: str) -> Sequence[str]:
        """Return 15,360 train, 1,920 validation or 1,920 test tasks, split by the goal.

        What goes into another goal is not held out.
        """
        goals = []
        parts = []
        for material in self.MATERIALS.split():
            goals += [f"{material}_{thing}" for thing in ("mug", "axe", "cart")]
            parts += [f"{material}_{thing}" for thing in ("bar", "rod", "box")]
        if split == "train":
            names = 64 * (5 * (goals[::5] + goals[1::5] + goals[2::5]) + parts)
        else:
            names = 160 * {"validation": goals[3::5], "test": goals[4::5]}[split]
        return [f"{name}-{number}" for number, name in enumerate(names)]

    def begin(self, task: str) -> tuple[str, str]:
        """Start a task named MATERIAL_PRODUCT-NUMBER.

        The number decides the amounts, the recipes that are shown and the powder that can be found.
        """
        match = re.fullmatch(r"([a-z]+)_(bar|rod|box|mug|axe|cart)-([0-9]{1,9})", task)
        if not match or match[1] not in self.MATERIALS.split():
            form = "MATERIAL_PRODUCT-NUMBER, as in oak_axe-0"
            raise UserError(f"craft has no task {task!r}; a task is named {form}")
        material = match[1]
        goal = match[2]
        rng = random.Random(f"craft {material} {match[3]}")
        powder = rng.choice(self.POWDERS)
        parts = {  # product -> what goes into it; whatever goes in stands above
            "bar": (material, powder),
            "rod": (powder, material),
            "box": ("bar", powder),
            "mug": (material, powder),
            "axe": ("bar", "rod"),
            "cart": ("box", "bar"),
        }
        recipes = _recipes(parts, rng)
        commands = []
        for product in _shown(parts, goal, rng):
            commands.append(str(recipes[product]).replace(powder, "powder"))
        self.gettable = {material, powder}
        ways = {product: [recipe] for product, recipe in recipes.items()}
        return self.open(goal, ways, commands)

    def open(
        self, goal: str, ways: dict[str, list[Recipe]], commands: list[str]
    ) -> tuple[str, str]:
        """Start with nothing in the inventory; return the instruction and the commands.

        `ways` maps whatever can be made to its recipes.
        """
        self.goal = goal
        self.ways = ways
        self.commands = commands
        self.inventory: Counter[str] = Counter()
        abilities = "You can: get N item, craft N item using N item, inventory."
        return f"{abilities} Goal: craft {goal}.", "\n".join(["Crafting commands:", *commands])

    def act(self, action: str) -> str:
        """Carry out `get N item`, `craft N item using N item, N item` or `inventory`."""
        self.effect = REFUSED
        if action == "inventory":
            self.effect = ANSWERED
            holdings = [f"{amount} {name}" for name, amount in self.inventory.items()]
            return f"Inventory: {', '.join(holdings) or 'You are not carrying anything'}"
        get = re.fullmatch(r"get ([1-9][0-9]{0,2}) (.+)", action)
        if get:
            return self._get(get[2], int(get[1]))
        inputs = r"[1-9]\d{0,8} [^,]+(?:, ?[1-9]\d{0,8} [^,]+)*"
        craft = re.fullmatch(f"craft (?:[0-9]+ )?(.+?) using ({inputs})", action)
        if not craft:
            return "Could not execute that"
        spent: Counter[str] = Counter()
        for amount, name in ingredients(craft[2]):
            spent += Counter({name: int(amount)})
        return self._craft(craft[1], spent)

    def expert(self) -> list[str] | None:
        """Return all crafts that are left, in the order of the recipes, with gets where needed."""
        # From the last recipe to the first, all demand for a thing is known when its own turn
        # comes; so how many batches of it are needed is certain.
        demand = Counter({self.goal: 1})
        batches = []
        for ways in reversed(self.ways.values()):
            recipe = ways[0]  # each product has one
            missing = demand[recipe.output] - self.inventory[recipe.output]
            for _ in range(math.ceil(missing / recipe.count)):
                demand.update(recipe.inputs)
                batches.append(recipe)
        return errands(batches[::-1], self.inventory)

    def choices(self) -> list[str]:
        """Craft or get what the prompt shows, with any powder.

        Crafts are said as the prompt has them; as the expert does, without the amount of the
        output; and misread, with the amounts of the line before (the first with the last's).
        Things are got in the amounts of a recipe, and by the stack, as the expert does.
        """
        crafts = []
        gets = []
        for place, command in enumerate(self.commands):
            line_before = self.commands[place - 1].split(" using ")[1]
            for powder in self.POWDERS:
                shown = re.sub(r"(?<=\d )powder", powder, command)
                product, inputs = re.sub(r"^craft \d+ ", "craft ", shown).split(" using ")
                crafts.append(shown)
                crafts.append(f"{product} using {inputs}")
                crafts.append(f"{product} using {misread(inputs, line_before)}")
                for amount, thing in ingredients(inputs):
                    gets.append(f"get {amount} {thing}")
                    gets.append(f"get {STACK} {thing}")
        return [*dict.fromkeys(crafts), *dict.fromkeys(gets)]  # each once

    def _get(self, name: str, amount: int) -> str:
        if name not in self.gettable:
            return "Could not find that"
        # There is no limit to what one may get: more of what one has that much of is no progress.
        self.effect = ANSWERED if self.inventory[name] >= amount else CHANGED
        self.inventory[name] += amount
        return f"Got {amount} {name}"

    def _craft(self, output: str, spent: Counter[str]) -> str:
        if not spent <= self.inventory:
            return "Could not find enough items to craft that"
        for recipe in self.ways.get(output, ()):
            if recipe.inputs == spent:
                self.effect = CHANGED
                self.inventory[output] += recipe.count
                self.inventory -= spent
                self.done = output == self.goal
                self.score = float(self.done)
                return f"Crafted {recipe.count} {output}"
        return "Could not find a valid recipe for that"


def _recipes(parts: dict[str, tuple[str, ...]], rng: random.Random) -> dict[str, Recipe]:
    """Return a recipe for each product, in amounts so various that they cannot be guessed."""
    recipes = {}
    for product, inputs in parts.items():
        amounts = {}
        for name in inputs:
            amounts[name] = rng.randint(1, 2 if name in parts else 9)
        recipes[product] = Recipe(product, rng.randint(2, 9), amounts)
    return recipes


def _shown(parts: dict[str, tuple[str, ...]], goal: str, rng: random.Random) -> list[str]:
    """Return the products whose recipes the goal needs, and up to two others to distract."""
    needed = {goal}
    for product in reversed(parts):
        if product in needed:
            needed.update(parts.keys() & parts[product])
    others = [product for product in parts if product not in needed]
    distractors = rng.sample(others, min(len(others), rng.randint(0, 2)))
    shown = sorted([*needed, *distractors])
    return rng.sample(shown, len(shown))


def make_world(option: str) -> Callable[[], Craft]:
    """Return a maker of copies of the world; raises `UserError` for an option, as it has none."""
    if option:
        raise UserError(f"--env craft:{option}: craft takes no option; name it as in --env craft")
    return Craft
