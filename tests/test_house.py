"""The house itself: which module may import which, and how long they may be."""

import ast
from pathlib import Path

import pytest

FLOORS = ("envs", "agent_r", "mcts", "critique", "train")
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("floor", FLOORS)
def test_no_import_runs_up(floor):
    above = {*FLOORS[FLOORS.index(floor) + 1 :], "tests"}
    tree = ast.parse((ROOT / f"{floor}.py").read_text())
    for part in ast.walk(tree):
        names = [part.module or ""] if isinstance(part, ast.ImportFrom) else []
        names += [alias.name for alias in part.names] if isinstance(part, ast.Import) else []
        assert above.isdisjoint(name.split(".")[0] for name in names), f"{floor}.py imports {names}"


def test_the_modules_can_be_read_in_an_afternoon():
    lengths = {floor: len((ROOT / f"{floor}.py").read_text().splitlines()) for floor in FLOORS}
    assert max(lengths.values()) <= 550, lengths
    assert sum(lengths.values()) <= 2200, lengths
