"""The warm-up's lessons: what the expert shows, and true verdicts on noisy episodes."""

import random
import re
from collections import Counter

from doubles import Corridor, first_bad

import envs
from agent_r import BAD, GOOD, Episode, Step, parse_verdict
from envs import Lab
from train import demonstration, judged_episode


def questions_of(messages):
    return [message["content"] for message in messages[::2]]


def answers_of(messages):
    return [message["content"] for message in messages[1::2]]


def test_the_judges_lessons_tell_the_truth_of_every_action():
    rng = random.Random(5)
    world = Lab()
    verdict_counts = Counter()
    pool = ["go attic", "take rope", "put map", "dance"]
    for task in world.tasks("train")[:40]:
        messages = judged_episode(world, task, pool, rng)
        assert all(message["loss"] for message in messages[1::2])
        questions = questions_of(messages)
        actions = [text.splitlines()[-2].removeprefix("Action: ") for text in questions]
        verdicts = [parse_verdict(text) for text in answers_of(messages)]
        assert first_bad(verdicts) == envs.first_error(Lab(), task, actions)
        steps = [Step(f"Action: {action}", "", "", 0.0) for action in actions]
        played = Episode(Lab(), task, steps)
        assert played.done
        for t, question in enumerate(questions):
            assert question == played.trajectory.judge_turn(t, first=t == 0)
        verdict_counts.update(verdicts)
    assert set(verdict_counts) == {GOOD, BAD}
    assert min(verdict_counts.values()) > 50


def test_noise_in_judged_episodes_is_as_frequent_and_of_the_kinds_that_are_said():
    rng = random.Random(0)
    verdicts = Counter()
    anywhere = 0
    fields = set()
    for task in Lab().tasks("train")[:400]:
        messages = judged_episode(Lab(), task, ["from anywhere"], rng)
        fields |= {(*message.keys(), message["role"]) for message in messages}
        verdicts.update(parse_verdict(text) for text in answers_of(messages))
        anywhere += sum("from anywhere" in text for text in questions_of(messages))
    assert fields == {("role", "content", "user"), ("role", "content", "loss", "assistant")}
    assert 0.2 < verdicts[BAD] / verdicts.total() < 0.4
    assert 0.03 < anywhere / verdicts.total() < 0.08, "0.35 times 0.15"


class Golden(Corridor):
    """A corridor that knows a way from the start only; `jump` is no action, `left` leads away."""

    def gold(self):
        return ["right", "right"]

    def choices(self):
        return ["left", "jump"]


def test_a_world_with_a_gold_path_alone_is_shown_by_it():
    shown = demonstration(Golden(), "train-0")
    assert [step.reply for step in shown.steps] == ["Action: right", "Action: right"]
    assert all(step.learned for step in shown.steps)


def test_a_world_with_a_gold_path_alone_is_judged_by_what_was_put_into_it():
    rng = random.Random(0)
    spoilt = 0
    mended = 0
    for _ in range(200):
        messages = judged_episode(Golden(), "train-0", ["left"], rng)
        actions = [re.findall(r"Action: (.+)", text)[-1] for text in questions_of(messages)]
        verdicts = [text.removeprefix("Judgment: ") for text in answers_of(messages)]
        assert verdicts == [GOOD if action == "right" else BAD for action in actions]
        if verdicts[-1] == BAD:
            spoilt += 1
            count = verdicts.count(BAD)
            assert count == 1, "behind the first mistake on a spoilt path nothing is known"
        else:
            mended += "jump" in actions
            counts = (actions.count("right"), actions.count("left"))
            assert counts == (2, 0), "only the harmless is judged to the end"
    assert min(spoilt, mended) > 5
