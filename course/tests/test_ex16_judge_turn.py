"""Exercise 16, `Trajectory.judge_turn`: what the judge is asked (paper, Table 4).

A dialogue of the judge shows one action after the other, each with its observation.  Its first turn
begins with the task and the log of all that came before.
"""

import pytest

import agent_r
from agent_r import JUDGE_PROMPT, REVISE, REVISE_ANSWER
from course.handmade import check, hold, shown, trajectory

pytestmark = pytest.mark.ex16

PLAYED = trajectory(
    "cup-pantry",
    ("go hall", "hall: nothing.", 0.0),
    ("go kitchen", "kitchen: lamp.", 0.25),
    (REVISE, REVISE_ANSWER, 0.25),
    ("take lamp", "taken.", 0.5),
)
SHOWN = (
    "Action: go hall\nObservation: hall: nothing.",
    "Action: go kitchen\nObservation: kitchen: lamp.",
    f"Action: {REVISE}\nObservation: {REVISE_ANSWER}",
    "Action: take lamp\nObservation: taken.",
)
TASK = "instruction\nstart."


def first_turn(log, current, task=TASK):
    return JUDGE_PROMPT.format(task=task, log=log, current=current)


def test_shape_a_text():
    for first in (True, False):
        got = PLAYED.judge_turn(1, first)
        hold(isinstance(got, str), f"a turn is a text; got {shown(got)}")


def test_example_a_later_turn_is_the_action_and_its_observation():
    check(
        "the turn on action 1, go kitchen, in a dialogue that goes on",
        PLAYED.judge_turn(1, first=False),
        SHOWN[1],
        (SHOWN[0], "actions are counted from 0: this is the one before"),
        (SHOWN[2], "actions are counted from 0: this is the next one"),
        (first_turn(SHOWN[0], SHOWN[1]), "task and log stand in the first turn alone"),
        ("Action: go kitchen", "what the world answered is shown as well: by it one judges"),
    )


def test_example_the_first_turn_of_a_dialogue_that_begins_at_the_fourth_action():
    log = "\n".join(SHOWN[:3])
    cause = "the log holds what came before action t, not the action itself: that is `current`"
    check(
        "the first turn on action 3, take lamp",
        PLAYED.judge_turn(3),
        first_turn(log, SHOWN[3]),
        (first_turn("\n".join(SHOWN), SHOWN[3]), cause),
        (first_turn("", SHOWN[3]), "the first turn also holds the log of all before t"),
        (first_turn(SHOWN[2], SHOWN[3]), "the log holds all before t, not the last action alone"),
        (
            first_turn("\n".join([*SHOWN[:2]]), SHOWN[3]),
            "in the log a revision stands like any other turn",
        ),
        (
            first_turn("".join(SHOWN[:3]), SHOWN[3]),
            "each turn of the log stands on lines of its own: join them by a line break",
        ),
        (SHOWN[3], "the first turn of a dialogue also holds what is asked, the task and the log"),
        (
            first_turn(log, SHOWN[3], "cup-pantry"),
            "the task is what the agent was told, not the name it has in the world: `question`",
        ),
        (
            first_turn(log, SHOWN[3], "instruction"),
            "the task is instruction and first observation: `question`",
        ),
    )


def test_edge_a_dialogue_that_begins_at_the_first_action_has_an_empty_log():
    check("the first turn on action 0", PLAYED.judge_turn(0), first_turn("", SHOWN[0]))


def test_edge_the_judge_is_not_told_the_agents_format():
    told = trajectory("cup-pantry", ("go hall", "hall: nothing.", 0.0))
    told.told = "answer with an action."
    cause = "what stands before the task is for the agent: the judge is given `question`"
    wrong = first_turn("", SHOWN[0], f"answer with an action.\n{TASK}")
    check("the first turn", told.judge_turn(0), first_turn("", SHOWN[0]), (wrong, cause))


def test_edge_braces_in_an_observation_are_text():
    told = trajectory("cup-pantry", ("look", "{0} {log}", 0.0), ("go hall", "hall: nothing.", 0.0))
    try:
        got = told.judge_turn(1)
    except (IndexError, KeyError, ValueError) as error:
        cause = "what a world says is text: give it to `format` as a value, never as what is filled"
        pytest.fail(
            f"an observation with braces raises {error!r}\n  likely cause: {cause}", pytrace=False
        )
    log = "Action: look\nObservation: {0} {log}"
    check("the first turn, braces in the log", got, first_turn(log, SHOWN[0]))


def test_edge_the_thought_is_not_judged():
    thinking = trajectory("cup-pantry", ("go hall", "hall: nothing.", 0.0))
    thinking.steps[0].reply = "Thought: it is there.\nAction: go hall"
    wrong = "Action: Thought: it is there.\nAction: go hall\nObservation: hall: nothing."
    cause = "the judge is shown the action that the world was given, not the whole reply"
    got = thinking.judge_turn(0, first=False)
    check("the turn on an action with a thought", got, SHOWN[0], (wrong, cause))


def test_edge_without_a_word_it_is_the_first_turn():
    hold(PLAYED.judge_turn(1) == PLAYED.judge_turn(1, True), "`first` is True unless it is given")


def test_property_turn_after_turn_the_judge_sees_everything_once(rng):
    for _ in range(20):
        turns = []
        for number in range(rng.randint(1, 6)):
            turns.append((f"go {rng.randrange(99)}", f"room {{{number}}} {{log}}.", 0.0))
        played = trajectory("task", *turns)
        start = rng.randrange(len(turns))
        text = played.judge_turn(start)
        for t in range(start + 1, len(turns)):
            text += "\n" + played.judge_turn(t, first=False)
        pairs = [f"Action: {action}\nObservation: {seen}" for action, seen, _ in turns]
        head = agent_r.JUDGE_PROMPT.partition("{log}")[0].format(task=TASK)
        body = text.removeprefix(head).strip("\n")
        check(f"what a dialogue from action {start} on shows", body, "\n".join(pairs))
