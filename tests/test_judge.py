"""The judge of checkpoints against the truth, on the same noisy episodes."""

import re

import pytest
from doubles import Corridor, tiny_actor

from engine import UserError
from engine.dialogues import Dialogues
from envs import Lab, first_error
from extras import judge
from extras.judge import examine, noisy_episodes


def test_the_episodes_are_the_same_at_every_call_and_mostly_hold_an_error():
    played = noisy_episodes(Lab, 12)
    assert [p.actions for p in played] == [p.actions for p in noisy_episodes(Lab, 12)]
    assert len({p.task for p in played}) == 12
    assert {p.task for p in played} <= set(Lab().tasks("validation"))
    errors = [first_error(Lab(), p.task, p.actions) for p in played]
    assert sum(error is not None for error in errors) > 4
    with pytest.raises(UserError, match="corridor has no expert"):
        noisy_episodes(Corridor, 3)


def test_verdicts_are_counted_and_the_truth_is_exact(monkeypatch):
    actor = tiny_actor()
    actor.judge_tokens = 4
    played = noisy_episodes(Lab, 10)
    truth = [first_error(Lab(), p.task, p.actions) for p in played]

    def say(text):
        monkeypatch.setattr(Dialogues, "replies", lambda self, *_, **__: [text] * len(self.mask))
        return examine(actor, played, Lab)

    figures = say("Judgment: Bad")
    errors = [error for error in truth if error is not None]
    assert figures["first_error_exact"] == sum(error == 0 for error in errors) / len(errors)
    assert figures["Bad"] == 10
    figures = say("i do not know.")
    assert figures["first_error_exact"] == 0
    assert figures["none"] == sum(len(p.steps) for p in played)
    assert figures["Good"] == figures["Bad"] == figures["Uncertain"] == 0
    figures = say("Judgment: good.")
    assert figures["Good"] > 10


def test_the_command_prints_a_row_for_each_checkpoint(tmp_path, capsys):
    for name in ("one", "two"):
        tiny_actor().save(tmp_path / name)
    paths = [str(tmp_path / name) for name in ("one", "two")]
    assert judge.main([*paths, "--tasks", "2", "--judge-tokens", "4"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 episodes of lab\n")
    for path in paths:
        assert re.search(rf"^{re.escape(path)} ", told, re.MULTILINE)
    assert judge.main([str(tmp_path / "three")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert judge.main([*paths, "--tasks", "2", "--env", "craft"]) == 2
    assert "the model lacks words of craft, " in capsys.readouterr().err
    assert judge.main([*paths, "--tasks", "0"]) == 2
    assert "--tasks 0" in capsys.readouterr().err
