"""What a run leaves in its files comes back as it was."""

import json

import pytest
from doubles import lab_player, tiny_actor
from test_mcts import grow_trees

from envs import Lab
from records.trees import from_record, to_record


@pytest.mark.parametrize("kind", ["script", "model"])
def test_a_tree_that_is_read_back_is_the_tree_that_was_written(kind):
    speak = lab_player if kind == "script" else tiny_actor()
    tasks = Lab().tasks("train")[:2]
    settings = {"simulations": 5, "branch": 3, "max_depth": 5}
    for tree in grow_trees(speak, seed=1, tasks=tasks, make_world=Lab, **settings):
        record = json.loads(json.dumps(to_record(tree)))
        again = from_record(record)
        assert to_record(again) == record
        pairs = list(zip(tree.root.walk(), again.root.walk(), strict=True))
        for old, new in pairs:
            assert (old.step, old.q, old.visits, old.finished) == (
                new.step,
                new.q,
                new.visits,
                new.finished,
            )
            assert list(old.children) == list(new.children)
        for leaf, other in zip(tree.leaves(), again.leaves(), strict=True):
            assert tree.trajectory(leaf) == again.trajectory(other)
