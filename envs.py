"""Text environments: the interface, the miniature worlds, and the truth about the first error.

An agent reads an instruction u and observations o, writes actions a, and is paid a score in [0, 1] at the end: all as
text, through Gymnasium's `reset` and `step`.  Given the task a world is deterministic: replay returns to any state.

Read in order: `World` (what every world shares), `Lab` (rooms, hidden things, doors), `Shop` (WebShop in miniature),
`Craft` (TextCraft's rules on recipes of our own), `first_error` (the truth, for warm-up and measurement only) and
`make_world`, which knows where the benchmarks themselves are: in extras/.  `python envs.py lab` lets you play.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import math
import random
import re
import sys
from collections import Counter, defaultdict, namedtuple
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, ClassVar

SPLITS = ("train", "validation", "test")


class UserError(Exception):
    """A mistake of the user's, told in one sentence that names what was wrong and what would be right."""


class World:
    """One text environment, playing one episode at a time.

    A new world sets `name` and `step_limit` and writes three methods: `tasks`, `begin` and `act`.  One that can be
    warmed up from nothing has two more: `expert() -> list[str] | None`, the best way from here to score 1, None if
    there is none left; and `choices() -> list[str]`, what one might sensibly try here, mistakes included.  A world
    that knows a way from the start only has `gold() -> list[str]` for `expert`, and no truth about mistakes.  What an
    expert thinks before its next action may be told by `thought() -> str`.
    """

    name = "world"
    step_limit = 20  # actions an episode may take
    words = ""  # text that holds every word of the world, for a word-level tokenizer; `_` joins two to one
    parallel = 1  # copies of it that may act at the same time, each in a thread of its own
    warm_up = "train"  # the split that an expert shows, if it is not the one that is searched
    score, done = 0.0, True

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
        """(observation, gain in score, terminated, truncated, info); raises `RuntimeError` if the episode is over."""
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

    name, step_limit = "lab", 24
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
        """30,000 train, 5,000 validation and 5,000 test tasks, split by the layout's number modulo 10: 0-7, 8 and 9."""
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
        told = f"the {self.thing} is {'up' if self.home in self.UP else 'down'}stairs. put it in the {self.goal}."
        return f"{told} you can: go ROOM, take THING, put THING.", self._look()

    def act(self, action: str) -> str:
        """`go ROOM`, `take THING` or `put THING`."""
        parts = action.split()
        verb, name = parts if len(parts) == 2 else ("", "")
        if verb == "go" and name in self._doors():
            self.room = name
        elif verb == "take" and self.place.get(self.room) == name:
            self.held.add(self.place.pop(self.room))
        elif verb == "put" and name in self.held:
            right = name == self.thing and self.room == self.goal
            self.done, self.score = True, float(right)
            return "done." if right else "that breaks it."
        else:
            refusals = {"go": "no such door.", "take": "that is not here.", "put": "you do not hold that."}
            return refusals.get(verb, "nothing happens.")
        if self.thing in self.held:
            self.score = max(self.score, 0.75 if self.room == self.goal else 0.5)
        elif self.place.get(self.room) == self.thing:
            self.score = max(self.score, 0.25)
        return self._look() if verb == "go" else "taken."

    def expert(self) -> list[str] | None:
        """The shortest way from here to the goal, knowing where the thing lies."""
        if self.done:
            return [] if self.score == 1.0 else None
        held = self.thing in self.held
        fetch = [] if held else [*self._walk(self.room, self.home), f"take {self.thing}"]
        return [*fetch, *self._walk(self.room if held else self.home, self.goal), f"put {self.thing}"]

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


# --- shop: only a product's own page tells whether it is the right one

# `category` runs from the general to the special; `options` maps a kind to the labels on offer, in a wish to one.
Product = namedtuple("Product", "title query category price options attributes")
Wish = namedtuple("Wish", "product options attributes limit")  # what an instruction asks for, at a price up to a limit


def shop_reward(wish: Wish, bought: Product, chosen: dict[str, str]) -> float:
    """WebShop's reward r for buying a product with the chosen options (kind -> label), in [0, 1].

    r = r_type * (matched attributes + matched options + [price <= limit]) / (attributes + options + 1), where r_type
    is 1 for a product of the wanted type, else 0.5, and less where hardly a word of the wanted title is in its own.
    """
    words, wanted = wish.product.title.split(), wish.product
    title_score = sum(word in bought.title.split() for word in words) / len(words)
    shared_levels = len({*wanted.category} & {*bought.category})
    match = bought.query == wanted.query or shared_levels >= 2 or title_score > 0.2
    r_type = 0.0 if title_score == 0 else 0.1 if title_score < 0.1 else 1.0 if match else 0.5
    attributes = sum(attribute in bought.attributes for attribute in wish.attributes)
    options = sum(chosen.get(kind) == label for kind, label in wish.options.items())
    matched = attributes + options + (bought.price <= wish.limit)
    return r_type * matched / (len(wish.attributes) + len(wish.options) + 1)


class Shop(World):
    """WebShop in miniature: search, open a product, choose its options and buy.

    Results tell title and price; a product's page its colors and sizes, a click there its feature, with what is missing
    from the wish, since a tiny model compares badly.  Whoever opened the wrong one must go back or search again.
    Searching finds kinds, not brands, and works on every page (WebShop's on the first alone).  Only buying pays.
    """

    name, step_limit = "shop", 18
    THINGS: ClassVar = {"wear": "hat belt", "kitchen": "mug bowl", "home": "lamp clock", "play": "ball doll"}
    LABELS: ClassVar = {"colors": "red blue green black white pink grey gold", "sizes": "tiny small large huge"}
    MATERIALS = "wool silk steel glass cork wood clay felt jade linen straw brass"
    BRANDS = "nova zeta orion luna apex vega terra aura delta lyra onyx rhea"
    FEATURES = "light warm soft smooth shiny round flat sturdy plain rare new handmade"
    words = " ".join((MATERIALS, BRANDS, FEATURES, *LABELS.values(), *THINGS.values())) + (
        " buy a: b c d price, up to 10 20 30 40 50 60 70 80 90. you can: search WORDS, click LABEL. next prev back"
        " features description by chosen bought. the search page; colors: sizes: no nothing happens"
    )

    @staticmethod
    @cache
    def stock() -> tuple[list[Product], dict[str, Wish]]:
        """288 products, always the same; by name each wish that one alone fulfils, under the highest limit."""
        rng, products, found, sellers = random.Random("shop"), [], {}, defaultdict(list)
        kinds = itertools.product(Shop.MATERIALS.split(), Shop.THINGS.items())
        for kind, thing, room in ((f"{m} {t}", t, room) for m, (room, things) in kinds for t in things.split()):
            for brand in rng.sample(Shop.BRANDS.split(), 3):
                options = {name: rng.sample(labels.split(), 2) for name, labels in Shop.LABELS.items()}
                price, features = 10 * rng.randint(1, 9), rng.sample(Shop.FEATURES.split(), 1)
                products.append(Product(f"{brand} {kind}", kind, (room, thing, kind), price, options, features))
                for asked in itertools.product(*options.values(), features):
                    sellers[asked].append(products[-1])
        for asked, product in ((asked, product) for asked, offers in sellers.items() for product in offers):
            wish = Wish(product, dict(zip(Shop.LABELS, asked, strict=False)), asked[-1:], 90)
            rivals = [o for o in sellers[asked] if o is not product and shop_reward(wish, o, wish.options) == 1]
            limit = min((rival.price for rival in rivals), default=100) - 10
            if product.price <= limit:
                found["-".join((*product.title.split(), *asked))] = wish._replace(limit=limit)
        return products, found

    @staticmethod
    @lru_cache(maxsize=2**16)
    def results(query: str, order: int) -> list[Product]:
        """The products whose kind shares most words with a query, if any, in the order in which a task shows them."""
        products, rng = Shop.stock()[0], random.Random(order)
        ranked = sorted((rng.random(), index) for index in range(len(products)))
        shared = [len({*query.split()}.intersection(product.query.split())) for product in products]
        most = max(1, *shared)
        return [products[index] for _, index in ranked if shared[index] == most]

    def tasks(self, split: str) -> Sequence[str]:
        """20,000 train, 2,000 validation and 2,000 test tasks; no kind of product is wanted in two splits."""
        kinds = sorted({product.query for product in self.stock()[0]})
        random.Random("shop").shuffle(kinds)
        kinds = {"train": kinds[32:], "validation": kinds[:16], "test": kinds[16:32]}[split]
        names = [name for name, wish in self.stock()[1].items() if wish.product.query in kinds]
        rng = random.Random(f"shop {split}")
        return [f"{rng.choice(names)}-{order}" for order in range(20_000 if split == "train" else 2_000)]

    def begin(self, task: str) -> tuple[str, str]:
        """A task is named BRAND-MATERIAL-THING-COLOR-SIZE-FEATURE-ORDER, the order being that of the results."""
        match, wishes = re.fullmatch(r"([a-z-]+)-([0-9]{1,9})", task), self.stock()[1]
        if not match or match[1] not in wishes:
            raise UserError(f"shop has no task {task!r}; a task is named as in {min(wishes)}-0")
        self.wish, self.order = wishes[match[1]], int(match[2])
        self.found, self.page, self.item, self.chosen = [], 0, None, {}
        asked = ", ".join((*self.wish.options.values(), *self.wish.attributes, f"price up to {self.wish.limit}"))
        return f"buy a {self.wish.product.query}: {asked}. you can: search WORDS, click LABEL.", self._look()

    def act(self, action: str) -> str:
        """`search WORDS` or `click LABEL`."""
        verb, _, label = action.partition(" ")
        if verb == "search" and label:
            self.found, self.page, self.item = self.results(label, self.order), 0, None
        elif verb != "click" or label not in self._labels():
            return "nothing happens."
        elif label in ("next", "prev"):
            self.page += 1 if label == "next" else -1
        elif label == "back":
            self.found, self.page, self.item = (self.found, self.page, None) if self.item else ([], 0, None)
        elif self.item is None:
            self.item, self.chosen = self._shown()[label], {}
        elif label == "buy":
            self.done, self.score = True, shop_reward(self.wish, self.item, self.chosen)
            return "bought."
        elif label in ("features", "description"):
            missed = "".join(f", no {wanted}" for wanted in self.wish.attributes if wanted not in self.item.attributes)
            said = f"features: {' '.join(self.item.attributes)}{missed}."
            return said if label == "features" else f"by {self.item.title.split()[0]}."
        else:
            self.chosen |= {kind: label for kind, labels in self.item.options.items() if label in labels}
            return f"{label} chosen."
        return self._look()

    def expert(self) -> list[str] | None:
        """The shortest way from here to buying what is wanted, knowing which product it is."""
        if self.done:
            return [] if self.score == 1.0 else None
        product, options = self.wish.product, self.wish.options.items()
        if self.item is product:
            return [*(f"click {label}" for kind, label in options if self.chosen.get(kind) != label), "click buy"]
        # From here, or by a search: none shows it on an earlier page than one for its kind, as all keep the order.
        ways, starts = [], [(["click back"] * bool(self.item), self.found, self.page)] * (product in self.found)
        for way, found, page in [*starts, ([f"search {product.query}"], self.results(product.query, self.order), 0)]:
            to, place = divmod(found.index(product), 4)
            turns = ["click next" if to > page else "click prev"] * abs(to - page)
            labels = ("abcd"[place], *self.wish.options.values(), "buy")
            ways.append([*way, *turns, *(f"click {label}" for label in labels)])
        return min(ways, key=len)

    def choices(self) -> list[str]:
        """Click anything, or search for the wanted kind, or for a part of it."""
        words = self.wish.product.query.split()
        return [*(f"click {label}" for label in self._labels()), *(f"search {w}" for w in (" ".join(words), *words))]

    def _shown(self) -> dict[str, Product]:
        return dict(zip("abcd", self.found[4 * self.page :], strict=False))

    def _labels(self) -> list[str]:
        if self.item:
            return [*itertools.chain(*self.item.options.values()), "features", "description", "buy", "back"]
        turns = ["next"] * (4 * self.page + 4 < len(self.found)) + ["prev"] * (self.page > 0)
        return [*self._shown(), *turns, *["back"] * bool(self.found)]

    def _look(self) -> str:
        if self.item:
            lists = (f"{kind}: {' '.join(labels)}" for kind, labels in self.item.options.items())
            missed = (f", no {o}" * (o not in self.item.options[kind]) for kind, o in self.wish.options.items())
            return f"{self.item.title}: {'; '.join(map(str.__add__, lists, missed))}."
        shown = [f"{label} {p.title} {p.price}" for label, p in self._shown().items()] or ["the search page"]
        return "; ".join(shown + ["next"] * ("next" in self._labels())) + "."


# --- craft: recipes to be read, counted and chained

@dataclasses.dataclass
class Recipe:
    """How to make `count` of `output` from `inputs`, name -> amount."""

    output: str
    count: int
    inputs: dict[str, int]

    def __str__(self) -> str:
        return f"craft {self.count} {self.output} using " + ", ".join(f"{n} {name}" for name, n in self.inputs.items())


def errands(batches: Sequence[Recipe], held: Counter[str]) -> list[str]:
    """The actions that craft these batches in this order, getting a stack of 64 of whatever runs short.

    There is no limit to what one may get, so only crafting has to know the exact amounts; and a stack is mostly enough.
    """
    actions = []
    for recipe in batches:
        short = {name: max(64, n) for name, n in (Counter(recipe.inputs) - held).items()}
        actions += [f"get {n} {name}" for name, n in short.items()]
        actions.append(str(recipe).replace(f" {recipe.count}", "", 1))  # the amount of the output need not be said
        held = held + Counter(short) - Counter(recipe.inputs) + Counter({recipe.output: recipe.count})
    return actions


class Craft(World):
    """Craft one thing by TextCraft's rules, with our own recipes.  The score is 1 once the goal is crafted.

    What a recipe makes cannot be got.  A command names what is held, in the recipe's exact amounts; the amount of the
    output is not checked.  Amounts change from task to task, so a recipe must be read, not remembered.  Where it says
    powder, coal, sand or salt would do, but only one can be found: an agent must try, notice and change its plan.
    """

    name = "craft"
    POWDERS = ("coal", "sand", "salt")
    MATERIALS = "oak ash elm fir tin iron zinc gold jade opal ruby bone horn clay wax ice silk wool cork wire"
    words = (
        "You can: get N item, craft N item using N item, inventory. Goal: craft. Crafting commands: Got Crafted "
        "Could not execute that, find enough items to, a valid recipe for. Inventory: You are not carrying anything "
        f"{MATERIALS} bar rod box mug axe cart powder coal sand salt " + " ".join(map(str, range(101)))
    )

    def tasks(self, split: str) -> Sequence[str]:
        """15,360 train, 1,920 validation and 1,920 test tasks, by goal; what goes into another goal is not held out."""
        kinds = (("mug", "axe", "cart"), ("bar", "rod", "box"))
        final, parts = ([f"{m}_{thing}" for m in self.MATERIALS.split() for thing in things] for things in kinds)
        train = 5 * (final[::5] + final[1::5] + final[2::5]) + parts
        goals = {"train": 64 * train, "validation": 160 * final[3::5], "test": 160 * final[4::5]}[split]
        return [f"{goal}-{number}" for number, goal in enumerate(goals)]

    def begin(self, task: str) -> tuple[str, str]:
        """A task is named MATERIAL_PRODUCT-NUMBER; the number decides the recipes, those shown and the powder."""
        match = re.fullmatch(r"([a-z]+)_(bar|rod|box|mug|axe|cart)-([0-9]{1,9})", task)
        if not match or match[1] not in self.MATERIALS.split():
            raise UserError(f"craft has no task {task!r}; a task is named MATERIAL_PRODUCT-NUMBER, as in oak_axe-0")
        m, rng = match[1], random.Random(f"craft {match[1]} {match[3]}")
        powder = rng.choice(self.POWDERS)
        parts = {"bar": (m, powder), "rod": (powder, m), "box": ("bar", powder), "mug": (m, powder)}
        parts |= {"axe": ("bar", "rod"), "cart": ("box", "bar")}
        made, needed = {}, {match[2]}
        for name, inputs in parts.items():  # amounts vary so much that guessing is hopeless, and reading is learned
            amounts = {part: rng.randint(1, 2 if part in parts else 9) for part in inputs}
            made[name] = Recipe(name, rng.randint(2, 9), amounts)
        for name in reversed(parts):
            needed.update({*parts[name]} & parts.keys() if name in needed else ())
        others = [name for name in parts if name not in needed]
        shown = sorted({*needed, *rng.sample(others, min(len(others), rng.randint(0, 2)))})  # two at most to distract
        self.gettable, ways = {m, powder}, {name: [recipe] for name, recipe in made.items()}
        commands = [str(made[name]).replace(powder, "powder") for name in rng.sample(shown, len(shown))]
        return self.open(match[2], ways, commands)

    def open(self, goal: str, ways: dict[str, list[Recipe]], commands: list[str]) -> tuple[str, str]:
        """Start with nothing in the inventory; `ways` maps what can be made to its recipes."""
        self.goal, self.ways, self.commands, self.inventory = goal, ways, commands, Counter()
        instruction = f"You can: get N item, craft N item using N item, inventory. Goal: craft {goal}."
        return instruction, "\n".join(["Crafting commands:", *commands])

    def act(self, action: str) -> str:
        """`get N item`, `craft N item using N item, N item` or `inventory`."""
        if match := re.fullmatch(r"get ([1-9][0-9]{0,2}) (.+)", action):
            if match[2] not in self.gettable:
                return "Could not find that"
            self.inventory[match[2]] += int(match[1])
            return f"Got {match[1]} {match[2]}"
        if action == "inventory":
            held = ", ".join(f"{n} {thing}" for thing, n in self.inventory.items())
            return f"Inventory: {held or 'You are not carrying anything'}"
        match = re.fullmatch(r"craft (?:[0-9]+ )?(.+?) using ([1-9]\d{0,8} [^,]+(?:, ?[1-9]\d{0,8} [^,]+)*)", action)
        if not match:
            return "Could not execute that"
        spent = sum((Counter({thing: int(n)}) for n, thing in re.findall("([0-9]+) ([^,]+)", match[2])), Counter())
        if not spent <= self.inventory:
            return "Could not find enough items to craft that"
        recipe = next((recipe for recipe in self.ways.get(match[1], ()) if recipe.inputs == spent), None)
        if not recipe:
            return "Could not find a valid recipe for that"
        self.inventory += Counter({recipe.output: recipe.count})
        self.inventory -= spent
        self.done, self.score = recipe.output == self.goal, float(recipe.output == self.goal)
        return f"Crafted {recipe.count} {recipe.output}"

    def expert(self) -> list[str] | None:
        """All crafts that are left, in the order of the recipes, each behind a get for what it is short of."""
        # From the last recipe to the first, all demand for a thing is known when its own comes: batches are forced.
        demand, batches = Counter({self.goal: 1}), []
        for (recipe,) in reversed(self.ways.values()):
            for _ in range(math.ceil((demand[recipe.output] - self.inventory[recipe.output]) / recipe.count)):
                demand.update(recipe.inputs)
                batches.append(recipe)
        return errands(batches[::-1], self.inventory)

    def choices(self) -> list[str]:
        """Get or craft what the prompt shows, in amounts that recipes name, with any powder."""
        shown = [re.sub(r"(?<=\d )powder", kind, line) for line in self.commands for kind in self.POWDERS]
        inputs = [part for command in shown for part in command.split(" using ")[1].split(", ")]
        return [*dict.fromkeys(shown), *(f"get {part}" for part in dict.fromkeys(inputs))]


# --- the truth, and worlds by name

def first_error(world: World, task: str, actions: Sequence[str]) -> int | None:
    """The index of the first action after which the way to the goal did not get shorter; None if there is none.

    The truth that the judge is measured against, in hindsight.  Turns that no world sees (`revise`) are passed over.
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


BUILT_IN = {"lab": Lab, "shop": Shop, "craft": Craft}
EXTRAS = ("textcraft", "scienceworld", "agentgym")  # each a module in extras/ with its own `make_world(option)`


def make_world(name: str, recipes: str | None = None) -> Callable[[], World]:
    """A maker of fresh copies of the world `name`: a built-in one, an extra, or `module:Class` for anybody's own.

    An extra gets what stands after the first colon of its name; `recipes`, a folder of recipe files, stands in for
    textcraft's.  Raises `UserError` for a name that is not a world's.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    module_name, colon, option = name.partition(":")
    if not colon and name not in EXTRAS:
        known = ", ".join((*BUILT_IN, *EXTRAS))
        raise UserError(f"--env {name}: there is no such world; there are {known}, and module:Class")
    try:
        module = importlib.import_module(f"extras.{module_name}" if module_name in EXTRAS else module_name)
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"--env {name}: the module {module_name} cannot be imported: {error}") from None
    if module_name in EXTRAS:
        return module.make_world(option or (recipes if module_name == "textcraft" else None) or "")
    world_class = getattr(module, option, None)
    derived = isinstance(world_class, type) and issubclass(world_class, World)
    for method in ("tasks", "begin", "act") if derived else ("tasks", "reset", "step", "step_limit"):
        value = getattr(world_class, method, None)
        if value is None or (derived and value is getattr(World, method)):
            raise UserError(f"--env {name}: no world, as it has no {method}; derive a class from envs.World")
    if world_class.step_limit < 1:
        raise UserError(f"--env {name}: its step_limit is {world_class.step_limit}; it must be at least 1")
    return world_class


if __name__ == "__main__":
    from extras import show

    sys.exit(show.command(show.play_by_hand))
