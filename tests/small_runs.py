"""The folder of a run, written as train.py writes it, of an agent that a script plays."""

import random

from doubles import ScriptedActor, episode, lab_player, tiny_actor
from test_mcts import grow_trees

from critique import CritiqueSettings, criticise, good_examples
from engine import folder
from envs import Lab
from records import episodes, verdicts
from records.trees import to_line

CONFIG = {
    "env": "lab",
    "method": "agent-r",
    "critic": "actor",
    "iterations": 2,
    "tasks": 60,
    "simulations": 8,
    "c_uct": 0.25,
    "seed": 5,
}


def write_iteration(path, number):
    """Trees, verdicts, data and losses of an iteration of a scripted agent."""
    out = path / f"iteration-{number}"
    out.mkdir(parents=True)
    tasks = Lab().tasks("train")[60 * number : 60 * number + 60]
    settings = {"simulations": 8, "branch": 3, "tasks": tasks, "make_world": Lab}
    trees = grow_trees(lab_player, seed=number, c_uct=CONFIG["c_uct"], **settings)
    rng = random.Random(number)
    rules = CritiqueSettings(alpha=0.5, pairs=8)
    revisions = criticise(ScriptedActor(lab_player), trees, Lab, rules, rng)
    examples = [*revisions.examples, *good_examples(trees, rules, rng)]
    data = [example.record(number) for example in examples]
    folder.write_lines(out / "trees.jsonl", [to_line(tree, "lab") for tree in trees])
    folder.write_lines(out / "data.jsonl", data)
    judged = {"lab": revisions.judged}
    folder.write_lines(out / "verdicts.jsonl", verdicts.to_records({"lab": trees}, judged, data))
    losses = [{"step": n, "loss": 3 / n, "lr": 0.1, "learned": 9, "tokens": n} for n in range(1, 9)]
    folder.write_lines(out / "losses.jsonl", losses)
    figures = revisions.figures()
    figures["counts"] |= {"good": len(examples) - len(revisions.examples)}
    return figures


def write_run(path):
    """A finished run of two iterations, the second of which loses tasks that the first solved."""
    path.mkdir()
    folder.write_lines(path / "config.json", [CONFIG])
    folder.write_lines(
        path / "run.json", [{"sittings": [{"command": ["train.py"], "versions": {"a": "1"}}]}]
    )
    rows = []
    lines = []
    tasks = Lab().tasks("test")[:120]
    for number in range(3):
        figures = write_iteration(path, number) if number else {}
        solved = (40, 80, 60)[number]
        played = []
        for place, task in enumerate(tasks):
            world = Lab()
            world.reset(options={"task": task})
            stray = ["go nowhere", "revise", "go nowhere", "go nowhere"]
            played.append(
                episode(Lab, task, *(world.expert() if place < solved else stray)).trajectory
            )
        of_run = {"method": "agent-r", "iteration": number, "env": "lab"}
        lines += [{**of_run, **line} for line in episodes.to_records(played, 1)]
        share = solved / len(tasks)
        rows.append({**of_run, "score": share, "success": share, **figures})
        out = path / f"iteration-{number}"
        out.mkdir(exist_ok=True)
        folder.write_lines(out / "metrics.json", [{"rows": rows[-1:]}])
    folder.write_lines(path / "results.jsonl", rows)
    folder.write_lines(path / "episodes.jsonl", lines)
    tiny_actor().save(path / "iteration-0" / "model")
    return path
