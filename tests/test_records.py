"""What a run leaves in its files comes back as it was, and says what happened."""

import json
import random

import pytest
from doubles import ScriptedActor, episode, first_bad, lab_player, tiny_actor
from test_mcts import grow_trees

import mcts
from agent_r import REVISE, REVISE_ANSWER, Step, Trajectory, parse_verdict
from critique import CRITICS, CritiqueSettings, Example, criticise, splice, up_to_its_score
from envs import Lab
from mcts import backpropagate, select
from records import episodes, verdicts
from records.trees import from_record, to_line, to_record, whole

# --- trees


@pytest.fixture(scope="module")
def trees():
    tasks = Lab().tasks("train")[:30]
    return grow_trees(lab_player, simulations=20, branch=3, tasks=tasks, make_world=Lab)


@pytest.mark.parametrize("write", [to_record, lambda tree: to_line(tree, "lab")])
@pytest.mark.parametrize("kind", ["script", "model"])
def test_a_tree_that_is_read_back_is_the_tree_that_was_written(kind, write):
    speak = lab_player if kind == "script" else tiny_actor()
    tasks = Lab().tasks("train")[:2]
    settings = {"simulations": 5, "branch": 3, "max_depth": 5}
    for tree in grow_trees(speak, seed=1, tasks=tasks, make_world=Lab, **settings):
        record = json.loads(json.dumps(write(tree)))
        again = from_record(record)
        assert write(again) == record
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
        same = dict(pairs)
        assert [same[leaf] for leaf in tree.ends] == again.ends
        assert [same[node] for node in tree.selected] == again.selected


def test_a_line_of_a_file_is_shorter_and_whole_again_when_it_is_read(trees):
    for tree in trees:
        record, line = to_record(tree), to_line(tree, "lab")
        assert {"env": "lab", **record} == whole(line)
        assert len(json.dumps(line)) < 0.85 * len(json.dumps(record))


def test_a_line_of_an_earlier_commit_is_read_as_what_it_can_tell(trees):
    record = to_record(trees[0])
    for key in ("told", "beginnings", "lost", "ends", "selected"):
        del record[key]
    for node in record["nodes"]:
        del node["finished"]
    tree = from_record(record)
    assert (tree.told, tree.beginnings, tree.lost, tree.ends) == ("", 1, False, [])
    assert whole(record)["ends"] is None, "not the same as a search without a simulation"
    assert [node.q for node in tree.root.walk()] == [node.q for node in trees[0].root.walk()]


def test_the_ends_of_the_simulations_count_up_to_the_tree(trees):
    for tree in trees:
        assert len(tree.ends) == tree.root.visits > 0
        stored = [(node.visits, node.value_sum) for node in tree.root.walk()]
        for node in tree.root.walk():
            node.visits = node.value_sum = 0
        for node, leaf in zip(tree.selected, tree.ends, strict=True):
            assert leaf.done
            assert node in [tree.root, *leaf.path()]
            assert node.expanded or node.done or node is leaf
            backpropagate(leaf, leaf.step.score)
        assert [(node.visits, node.value_sum) for node in tree.root.walk()] == stored


def test_what_a_simulation_selected_is_what_select_said(monkeypatch):
    chosen = []

    def note(root, c_uct):
        chosen.append(select(root, c_uct))
        return chosen[-1]

    monkeypatch.setattr(mcts, "select", note)
    (task,) = Lab().tasks("train")[:1]
    settings = {"simulations": 12, "branch": 3, "tasks": [task], "make_world": Lab}
    (tree,) = grow_trees(lab_player, **settings)
    asked = iter(chosen)  # some led to nothing new, and were no simulations
    assert all(node in asked for node in tree.selected)
    assert len(tree.selected) == len(tree.ends) == 12


# --- verdicts


def judged_records(trees, **settings):
    """The cases of a critique of two worlds, their lines, and those of the dataset."""
    halves = {"one": trees[:5], "other": trees[5:]}
    judged = {}
    data = []
    for name, some in halves.items():
        chosen = CritiqueSettings(alpha=0.5, pairs=8, **settings)
        revisions = criticise(ScriptedActor(lab_player), some, Lab, chosen, random.Random(3))
        judged[name] = revisions.judged
        data += [example.record(1) for example in revisions.examples]
        data.append(Example("good", revisions.judged[0].trajectory).record(1))
    lines = list(verdicts.to_records(halves, judged, data))
    cases = [case for some in judged.values() for case in some]
    return list(zip(cases, json.loads(json.dumps(lines)), strict=True)), data


def test_a_line_names_the_leaves_and_the_node_behind_which_they_part(trees):
    pairs, _ = judged_records(trees)
    assert [line["env"] for _, line in pairs] == sorted(line["env"] for _, line in pairs)
    for case, line in pairs:
        tree = trees[line["tree"] - 1]
        nodes = list(tree.root.walk())
        bad, good, shared = (nodes[line[key]] for key in ("bad", "good", "shared"))
        assert tree.trajectory(bad) == case.trajectory
        assert line["task"] == tree.task
        assert bad.done
        assert good.step.score - bad.step.score > 0.2
        assert [*bad.path(), None][line["start"] - 1] is (shared if line["start"] else None)
        assert shared in [tree.root, *good.path()]
        assert not set(bad.path()[line["start"] :]) & set(good.path())


def test_a_line_holds_the_verdicts_up_to_the_first_bad(trees):
    pairs, _ = judged_records(trees)
    long = 0
    for case, line in pairs:
        steps = [verdict["step"] for verdict in line["verdicts"]]
        words = [verdict["verdict"] for verdict in line["verdicts"]]
        asked = [
            t for t, a in enumerate(case.trajectory.actions) if a != REVISE and t >= case.start
        ]
        assert steps == asked[: len(steps)]
        point = first_bad(words)
        assert line["error"] == case.error == (None if point is None else steps[point])
        assert point in (None, len(words) - 1), "nothing is asked behind the first Bad"
        long += len(words) > 1
        assert not any("answer" in verdict for verdict in line["verdicts"]), "it says no more"
    assert long > 5


def test_an_answer_that_says_more_than_its_verdict_is_kept_as_it_was_given():
    played = episode(Lab, "cup-pantry-hall-0", "go kitchen", "go hall").trajectory
    played.answers = {0: "it is far.\nJudgment: Uncertain", 1: "Judgment: Bad", 3: ""}
    assert verdicts.verdict_records(played) == [
        {"step": 0, "verdict": "Uncertain", "answer": "it is far.\nJudgment: Uncertain"},
        {"step": 1, "verdict": "Bad"},
        {"step": 3, "verdict": "Uncertain", "answer": ""},
    ]
    for record in verdicts.verdict_records(played):
        assert record["verdict"] == parse_verdict(record.get("answer", "Judgment: Bad"))


@pytest.mark.parametrize("kind", ["verified", "paper"])
def test_a_line_says_what_a_pair_became_of_which_it_can_be_made_again(trees, kind):
    pairs, data = judged_records(trees, splice=kind)
    lines = [line for _, line in pairs]
    seen = {"chained": 0, "back": 0, "spliced_with": 0}
    for case, line in pairs:
        if case.revision is None:
            assert line["dropped"] == ("no_error" if case.error is None else "not_executable")
            assert "made" not in line
            continue
        assert "dropped" not in line
        record = data[line["made"] - 1]
        assert (record["kind"], record["error"]) == ("revision", line["error"])
        tree = trees[line["tree"] - 1]
        nodes = list(tree.root.walk())
        if "chained" in line:
            good = trajectory_of(data[lines[line["chained"] - 1]["made"] - 1])
        else:
            good = tree.trajectory(nodes[line.get("spliced_with", line["good"])])
        replies = [step.reply for step in case.trajectory.steps]
        shared = 0
        while replies[shared] == good.steps[shared].reply:
            shared += 1
        bad = case.trajectory
        if kind == "verified" and "chained" not in line:
            good = up_to_its_score(good, CritiqueSettings(), shared + 1)
        again = splice(bad, good, shared, line["error"], line["thought"], back=line["back"])
        said = [message["content"] for message in record["messages"][1::2]]
        assert [step.reply for step in again.steps] == said
        for key in seen:
            seen[key] += bool(line.get(key))
    assert {line.get("dropped") for line in lines} >= {None, "no_error"}
    made = [line["made"] for line in lines if "made" in line]
    assert made == [n for n, record in enumerate(data, 1) if record["kind"] == "revision"]
    if kind == "verified":
        assert min(seen.values()) > 0, f"one way was never gone: {seen}"


def trajectory_of(record):
    """What a revision of the dataset says, as a trajectory."""
    steps = []
    for message in record["messages"][1::2]:
        steps.append(Step(message["content"], "", "", 0.0))
    return Trajectory(record["task"], "", "", steps)


@pytest.mark.parametrize("critic", CRITICS[1:])
def test_a_critic_that_is_not_asked_gives_no_verdicts(trees, critic):
    pairs, _ = judged_records(trees, critic=critic)
    for case, line in pairs:
        assert line["verdicts"] == []
        assert line["error"] == case.error


# --- episodes, and where a run comes from


def test_an_episode_keeps_what_it_came_to_and_the_first_ones_their_steps():
    task = "cup-pantry-hall-0"
    played = episode(Lab, task, "go kitchen", "go kitchen", "revise", "go garden").trajectory
    lines = json.loads(json.dumps(list(episodes.to_records([played] * 60, worlds=2))))
    assert [("played" in line) for line in lines] == [True] * 50 + [False] * 10
    for line in lines:
        assert (line["task"], line["score"], line["steps"]) == (task, 0.25, 4)
        assert (line["won"], line["loops"], line["revisions"]) == (False, 1 / 3, 1)
    kept = lines[0]["played"]
    assert kept["instruction"] == played.instruction
    assert kept["observation"] == played.observation
    assert [step["action"] for step in kept["steps"]] == played.actions
    assert [Step(**{"observation": "", "score": 0.0, **step}) for step in kept["steps"]] == (
        played.steps
    )
    assert kept["steps"][2]["observation"] == REVISE_ANSWER
