"""The house itself: which room may import from which, so that a reader goes down one list once."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
METHOD = ("envs", "agent_r", "mcts", "critique", "train")
ROOMS = {"engine", *METHOD, "general", "settings", "records", "worlds", "extras", "course", "tests"}
HELPERS = {path.stem for path in Path(__file__).parent.glob("*.py")}  # which tests import barely

# What each room may import of ours.  A name stands for all that is below it.
MAY_IMPORT = {
    "engine": {"engine"},
    "envs": {"engine"},
    "agent_r": {"engine", "envs"},
    "mcts": {"engine", "envs", "agent_r"},
    "critique": {"engine", "envs", "agent_r", "mcts"},
    "general": {"engine", "envs", "agent_r", "mcts", "critique", "general"},
    "settings": {"engine", "envs", "agent_r", "mcts", "critique", "settings"},
    "records": {"engine", "envs", "agent_r", "mcts", "critique", "records"},
    "train": {
        "engine",
        "envs",
        "agent_r",
        "mcts",
        "critique",
        "general",
        "settings",
        "records",
        "worlds.presets",
    },
    "worlds": {"engine.UserError", "envs", "worlds"},
    "extras": ROOMS - {"course", "tests"},
    "course": ROOMS - {"tests"},
}
FILES = [ROOT / f"{module}.py" for module in METHOD]
for room in ("engine", "general", "settings", "records", "worlds", "extras", "course"):
    FILES += sorted((ROOT / room).rglob("*.py"))


def imports_of(text, package):
    """The imports of ours in a module's text: pairs of a name and whether a function has it."""
    tree = ast.parse(text)
    inner = set()  # the nodes inside functions
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner.update(ast.walk(node))
    pairs = set()
    for node in ast.walk(tree):
        for name in names_of(node, package):
            room = name.partition(".")[0]
            if room in HELPERS:
                pairs.add((f"tests.{name}", node in inner))
            elif room in ROOMS:
                pairs.add((name, node in inner))
    return pairs


def names_of(node, package):
    """The full names that a node of a syntax tree imports, relative ones from this package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    source = node.module or ""
    if node.level:
        source = f"{package}.{source}".rstrip(".")
    return [f"{source}.{alias.name}" for alias in node.names]


def is_among(name, allowed):
    return any(name == other or name.startswith(f"{other}.") for other in allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_runs_up(path):
    place = path.relative_to(ROOT)
    room = place.parts[0].removesuffix(".py")
    for name, inside in imports_of(path.read_text(encoding="utf-8"), room):
        allowed = MAY_IMPORT[room]
        if inside and room in METHOD:
            allowed = allowed | {"extras"}  # for the function that serves a flag
        assert is_among(name, allowed), f"{place} imports {name}"


def test_every_kind_of_import_is_seen():
    text = """
import os, extras.show as show
from worlds import presets, shop
from . import craft
from .recipes import Book
from collections import Counter

class Room:
    import tests
    import doubles

    def play(self):
        from extras import plan

        async def later():
            import train
"""
    assert imports_of(text, "worlds") == {
        ("extras.show", False),
        ("worlds.presets", False),
        ("worlds.shop", False),
        ("worlds.craft", False),
        ("worlds.recipes.Book", False),
        ("tests", False),
        ("tests.doubles", False),
        ("extras.plan", True),
        ("train", True),
    }
    assert is_among("worlds.presets.PRESETS", {"worlds.presets"})
    assert not is_among("worlds.shop", {"worlds.presets"})
    assert not is_among("envs_of_old", {"envs"})
