"""Exercise 18, `critique.ask`: which steps the judge is asked about (paper, Phase I).

The judge is asked from the shared node on, about one action after the other.  Its dialogue must fit
its context: each turn counts its tokens and the most that an answer may take.

The actor is a toy: a turn of its dialogue is five tokens long, or three if it opens the dialogue;
the trajectory's turns are stood in for by `first 2` and `next 3`.
"""

import pytest

import critique
from agent_r import REVISE, REVISE_ANSWER, Trajectory
from course.handmade import check, hold, shown, trajectory
from critique import Question

pytestmark = pytest.mark.ex18


class Format:
    """Turns as tokens: the text, then noughts up to the length."""

    def opening(self, text):
        return ["opening", text, 0]

    def turn(self, text):
        return ["turn", text, 0, 0, 0]


class Judge:
    """What `ask` needs of an actor."""

    def __init__(self, max_length=10**6, judge_tokens=2):
        self.format = Format()
        self.max_length = max_length
        self.judge_tokens = judge_tokens


@pytest.fixture(autouse=True)
def _turns(monkeypatch):
    def judge_turn(self, t, first=True):
        return f"{'first' if first else 'next'} {t}"

    monkeypatch.setattr(Trajectory, "judge_turn", judge_turn)


def played(*actions):
    turns = []
    for action in actions:
        turns.append((action, REVISE_ANSWER if action == REVISE else "seen.", 0.0))
    return trajectory("task", *turns)


FIVE = played("a", "b", "c", "d", "e")


def asked(trajectory, start, **sizes):
    """(step, kind of turn, its text) of every question."""
    questions = critique.ask(Judge(**sizes), trajectory, start)
    hold(isinstance(questions, list), f"the questions are a list; got {shown(questions)}")
    for question in questions:
        kind = type(question).__name__
        hold(isinstance(question, Question), f"a question is a `Question`; got a {kind}")
    return [(question.step, *question.ids[:2]) for question in questions]


def test_shape_a_list_of_questions():
    questions = critique.ask(Judge(), FIVE, 3)
    hold(isinstance(questions, list), f"the questions are a list; got {shown(questions)}")
    kinds = [isinstance(question, Question) for question in questions]
    hold(all(kinds), f"a question is a `Question`; got {shown(questions)}")
    check("how many there are, of five steps from step 3 on", len(questions), 2)


def test_example_from_the_shared_node_on():
    check(
        "the questions about steps [a, b, c, d, e] from step 2 on",
        asked(FIVE, 2),
        [(2, "opening", "first 2"), (3, "turn", "next 3"), (4, "turn", "next 4")],
        (
            [(2, "opening", "first 2"), (3, "opening", "first 3"), (4, "opening", "first 4")],
            "one dialogue: the first turn opens it, with task and log, the others follow in it",
        ),
        (
            [(2, "turn", "next 2"), (3, "turn", "next 3"), (4, "turn", "next 4")],
            "the first question opens the dialogue: it holds the task and the log",
        ),
        (
            [(0, "opening", "first 2"), (1, "turn", "next 3"), (2, "turn", "next 4")],
            "a question knows the step of the trajectory, not its place among the questions",
        ),
        (
            [(0, "opening", "first 0"), *((t, "turn", f"next {t}") for t in (1, 2, 3, 4))],
            "what bad and good share is not judged: begin at `start`",
        ),
        (
            [(2, "turn", "first 2"), (3, "turn", "next 3"), (4, "turn", "next 4")],
            "the first question opens the dialogue: `opening`, not `turn`",
        ),
        (
            [(2, "opening", "first 2"), (3, "turn", "first 3"), (4, "turn", "first 4")],
            "only the first question holds the task and the log",
        ),
    )


def test_edge_nobody_is_asked_about_a_revision():
    steps = played("a", REVISE, "c", REVISE, "e")
    check(
        "the questions about [a, revise, c, revise, e] from step 0 on",
        asked(steps, 0),
        [(0, "opening", "first 0"), (2, "turn", "next 2"), (4, "turn", "next 4")],
        (
            [(0, "opening", "first 0"), *((t, "turn", f"next {t}") for t in (1, 2, 3, 4))],
            "to revise is no action of the world: pass over it",
        ),
        ([(0, "opening", "first 0")], "a revision is passed over; the questions go on behind it"),
    )


def test_edge_a_revision_at_the_start_leaves_the_opening_to_the_next():
    check(
        "the questions about [a, revise, c, d] from step 1 on",
        asked(played("a", REVISE, "c", "d"), 1),
        [(2, "opening", "first 2"), (3, "turn", "next 3")],
        (
            [(2, "turn", "next 2"), (3, "turn", "next 3")],
            "the first question that is asked opens the dialogue, wherever it stands",
        ),
    )


def test_edge_as_many_as_are_sure_to_fit():
    # 3 + 2, then 5 + 2, then 5 + 2: 5, 12 and 19 tokens.
    cause = "a context of exactly so many tokens holds them"
    too_many = "each answer may take `judge_tokens`: they count before it is given"
    for length, count in ((19, 3), (18, 2), (12, 2), (11, 1), (5, 1), (4, 0)):
        check(
            f"how many questions fit a context of {length} tokens; they end at 5, 12 and 19",
            len(asked(FIVE, 2, max_length=length)),
            count,
            (count + 1, too_many),
            (count - 1, cause),
        )


def test_edge_nothing_behind_a_question_that_does_not_fit():
    class Uneven(Format):
        def turn(self, text):
            return ["turn", text, *[0] * (30 if text == "next 1" else 0)]

    actor = Judge(max_length=20)
    actor.format = Uneven()
    steps = [question.step for question in critique.ask(actor, FIVE, 0)]
    cause = "a dialogue has no gaps: where a turn does not fit it ends"
    what = "the steps asked about if step 1 is too long and those behind it are short"
    check(what, steps, [0], ([0, 2, 3, 4], cause), ([0, 2, 3], cause))


def test_edge_no_step_no_question():
    check("the questions about no step", asked(played(), 0), [])
    check("the questions behind the last step", asked(FIVE, 5), [])


def test_property_steps_in_order_without_revisions_and_the_longest_that_fits(rng):
    for _ in range(60):
        actions = rng.choices(("go", REVISE), (3, 1), k=rng.randint(1, 9))
        start = rng.randrange(len(actions))
        tokens = rng.randint(0, 6)
        limit = rng.randint(3, 60)
        steps = [t for t in range(start, len(actions)) if actions[t] != REVISE]
        ends = [3 + tokens + place * (5 + tokens) for place in range(len(steps))]
        expected = [t for t, end in zip(steps, ends, strict=True) if end <= limit]
        case = f"{actions} from {start} on, {limit} tokens, answers of {tokens}"
        got = [
            step
            for step, *_ in asked(played(*actions), start, max_length=limit, judge_tokens=tokens)
        ]
        check(f"the steps asked about, of {case}", got, expected)
