"""The warm-up's lessons: what the expert shows, and true verdicts on noisy episodes."""

import random
import re
from collections import Counter

import pytest
from doubles import Corridor, first_bad

import envs
from agent_r import BAD, GOOD, REVISE, Episode, parse_verdict
from envs import Lab
from general import lessons
from general.lessons import demonstration, judged_episode


def questions_of(messages):
    return [message["content"] for message in messages[::2]]


def answers_of(messages):
    return [message["content"] for message in messages[1::2]]


@pytest.fixture
def played(monkeypatch):
    """The episodes that are played while lessons are made, the latest last."""
    episodes = []

    class Recorded(Episode):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            episodes.append(self)

    monkeypatch.setattr(lessons, "Episode", Recorded)
    return episodes


def test_the_judges_lessons_tell_the_truth_of_every_action_from_any_step_on(played):
    rng = random.Random(5)
    world = Lab()
    verdict_counts = Counter()
    starts = Counter()
    logged = 0  # revisions before the step from which the judge is asked
    cut = 0  # dialogues that end before the episode does
    pool = ["go attic", "take rope", "put map", "dance"]
    tasks = world.tasks("train")[:150]
    for task in tasks:
        messages = judged_episode(world, task, pool, rng)
        assert all(message["loss"] for message in messages[1::2])
        trajectory = played[-1].trajectory
        assert played[-1].done
        acting = [t for t, step in enumerate(trajectory.steps) if step.action != REVISE]
        questions = questions_of(messages)
        (begun,) = [t for t in acting if trajectory.judge_turn(t, first=True) == questions[0]]
        asked = acting[acting.index(begun) :][: len(questions)]
        for t, question in zip(asked, questions, strict=True):
            assert question == trajectory.judge_turn(t, first=t == asked[0])
        verdicts = [parse_verdict(text) for text in answers_of(messages)]
        for t, verdict in zip(asked, verdicts, strict=True):
            wrong = envs.first_error(Lab(), task, trajectory.actions[: t + 1], t) == t
            assert verdict == (BAD if wrong else GOOD)
        first = first_bad(verdicts)
        error = envs.first_error(Lab(), task, trajectory.actions, asked[0])
        assert error == (None if first is None else asked[first])
        cut += asked[-1] != acting[-1]
        assert asked[-1] in (acting[-1], error), "it ends with a mistake, if not with the episode"
        verdict_counts.update(verdicts)
        starts[asked[0]] += 1
        logged += REVISE in trajectory.actions[: asked[0]]
    assert set(verdict_counts) == {GOOD, BAD}
    assert min(verdict_counts.values()) > 50
    assert 0.25 < starts[0] / len(tasks) < 0.6, "one time in four from the first, and by chance"
    assert len(starts) > 4
    assert logged > 20
    assert cut > 40


def test_behind_every_other_mistake_the_agent_revises(played):
    rng = random.Random(1)
    mistakes = 0
    revisions = 0
    for task in Lab().tasks("train")[:200]:
        judged_episode(Lab(), task, ["dance"], rng)
        actions = played[-1].trajectory.actions
        for t, action in enumerate(actions[:-1]):
            if action == REVISE:
                assert envs.first_error(Lab(), task, actions[:t], t - 1) == t - 1
                revisions += 1
            elif envs.first_error(Lab(), task, actions[: t + 1], t) == t:
                mistakes += 1
    assert 0.4 < revisions / mistakes < 0.6


def test_noise_in_judged_episodes_is_as_frequent_and_of_the_kinds_that_are_said():
    rng = random.Random(0)
    verdicts = Counter()
    anywhere = 0
    fields = set()
    for task in Lab().tasks("train")[:400]:
        messages = judged_episode(Lab(), task, ["from anywhere"], rng)
        fields |= {(*message.keys(), message["role"]) for message in messages}
        verdicts.update(parse_verdict(text) for text in answers_of(messages))
        actions = [re.findall("Action: (.*)", text)[-1] for text in questions_of(messages)]
        anywhere += actions.count("from anywhere")
    assert fields == {("role", "content", "user"), ("role", "content", "loss", "assistant")}
    assert 0.3 < verdicts[BAD] / verdicts.total() < 0.5
    assert 0.12 < anywhere / verdicts[BAD] < 0.25, "0.15 of the strays, of which not all are Bad"


def test_three_dialogues_in_four_begin_near_a_mistake_and_end_with_the_next():
    rng = random.Random(4)
    steps = [0, 2, 3, 5, 6, 7, 8, 10, 11, 12]
    verdicts = dict.fromkeys(steps, GOOD) | {6: BAD, 11: BAD}
    drawn = [lessons.draw_questions(steps, verdicts, rng) for _ in range(8000)]
    begun = Counter(asked[0] for asked in drawn)
    near = {3, 5, 6, 7, 8, 10, 11, 12}  # around the mistake 6, then around the mistake 11
    assert set(begun) == {0, *near}
    assert begun[0] / 8000 == pytest.approx(1 / 4, abs=0.03)
    for step in near:
        assert begun[step] / 8000 == pytest.approx(3 / 4 / 8, abs=0.02)
    for asked in drawn:
        last = 6 if asked[0] <= 6 else 11 if asked[0] <= 11 else 12
        whole = steps if asked[0] == 0 else steps[steps.index(asked[0]) : steps.index(last) + 1]
        assert asked == whole
    mistake_at_both_ends = {0: BAD, 2: GOOD, 3: BAD}
    drawn = [lessons.draw_questions([0, 2, 3], mistake_at_both_ends, rng) for _ in range(200)]
    assert {tuple(asked) for asked in drawn} == {(0,), (2, 3), (3,), (0, 2, 3)}
    sound = {0: GOOD, 2: GOOD, 3: GOOD}
    begun = Counter(lessons.draw_questions([0, 2, 3], sound, rng)[0] for _ in range(600))
    assert set(begun) == {0, 2, 3}, "anywhere"
    assert lessons.draw_questions([], {}, rng) == []


def test_every_other_judged_episode_begins_with_sound_steps_and_goes_astray_behind_them(
    monkeypatch,
):
    firsts = Counter()  # the step at which the first other action than the expert's was drawn

    def stray(episode, pool, rng):
        steps = episode.trajectory.steps
        if not any(step.action == "dance" for step in steps):
            firsts[len(steps)] += 1
        return "dance"

    monkeypatch.setattr(lessons, "stray_action", stray)
    world = Lab()
    task = world.tasks("train")[0]
    way = len(demonstration(world, task).steps)
    rng = random.Random(2)
    count = 1500
    for _ in range(count):
        judged_episode(world, task, ["dance"], rng)
    assert way > 2
    expected = (0.4 + 1 / way) / 2  # of those that are sound for a while, some for no step
    assert firsts[0] / count == pytest.approx(expected, abs=0.035)
    assert firsts[way - 1] / count > 1 / way / 2, "each step comes first as often"


def test_in_some_judged_episodes_few_actions_go_astray_and_in_some_most(monkeypatch):
    strays = []  # of each episode, how many

    def stray(*_):
        strays[-1] += 1
        return "dance"

    monkeypatch.setattr(lessons, "stray_action", stray)
    world = Lab()
    task = world.tasks("train")[0]
    rng = random.Random(3)
    for _ in range(600):
        strays.append(0)
        judged_episode(world, task, ["dance"], rng)
    many = sum(amount > 8 for amount in strays) / len(strays)
    assert many > 0.04, "were the share the same in all, hardly any had so many"


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
        questions = questions_of(messages)
        actions = [re.findall(r"Action: (.+)", text)[-1] for text in questions]
        before = re.findall(r"Action: (.+)", questions[0])[:-1]
        verdicts = [text.removeprefix("Judgment: ") for text in answers_of(messages)]
        assert verdicts == [GOOD if action == "right" else BAD for action in actions]
        if verdicts[-1] == BAD:
            spoilt += 1
            count = verdicts.count(BAD)
            assert count == 1, "behind the first mistake on a spoilt path nothing is known"
        else:
            actions = before + actions
            mended += "jump" in actions
            counts = (actions.count("right"), actions.count("left"))
            assert counts == (2, 0), "only the harmless is judged to the end"
    assert min(spoilt, mended) > 5
