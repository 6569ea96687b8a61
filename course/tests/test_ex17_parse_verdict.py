"""Exercise 17, `parse_verdict`: the judge's answer is read (paper, Table 4).

Models dress a verdict in many ways, and speak of judging before they judge.
"""

import pytest

from agent_r import BAD, GOOD, UNCERTAIN
from course.handmade import check, hold, shown
from engine import replies

pytestmark = pytest.mark.ex17


def read(reply):
    """What `parse_verdict` reads in a reply."""
    got = replies.parse_verdict(reply)
    problem = "a verdict is GOOD, BAD or UNCERTAIN, written as these constants are"
    hold(got in (GOOD, BAD, UNCERTAIN), f"{problem}; of {reply!r} came {shown(got)}")
    return got


def test_shape_one_of_three_words():
    for verdict in (GOOD, BAD, UNCERTAIN):
        check(f"what `Judgment: {verdict}` says", read(f"Judgment: {verdict}"), verdict)


def test_example_reasons_first_the_judgement_in_the_last_line():
    reply = "Going on is good in itself, but the cup is upstairs.\nJudgment: Bad"
    check(
        "the verdict of reasons that call something good, and `Judgment: Bad` below them",
        read(reply),
        BAD,
        (GOOD, "a word in the reasons is no judgement: read what stands behind `Judgment:`"),
        (UNCERTAIN, "there is a judgement, in the last line"),
    )


@pytest.mark.parametrize(
    "reply",
    [
        "Judgment: bad",
        "JUDGMENT: BAD",
        "Judgement: Bad.",
        "**Judgment:** Bad",
        "**Judgment: Bad**",
        'Therefore, Judgment: "Bad".',
        "The judgment is bad.",
        "Judgment: Bad, good try",
    ],
)
def test_example_however_it_is_dressed(reply):
    check(f"the verdict of {reply!r}", read(reply), BAD)


def test_edge_the_last_judgement_counts():
    check(
        "the verdict of `Judgment: Good` and, on second thoughts, `Judgment: Bad`",
        read("Judgment: Good\nBut wait, the lamp breaks.\nJudgment: Bad"),
        BAD,
        (GOOD, "of several judgements the last one counts"),
    )


@pytest.mark.parametrize("reply", ["", "this was a bad idea.", "not good", "good good good"])
def test_edge_no_judgement_is_uncertain(reply):
    cause = "without a judgement nothing is known (the released code took any word): Uncertain"
    got = read(reply)
    check(f"the verdict of {reply!r}", got, UNCERTAIN, (got, cause))


def test_edge_a_judgement_that_is_none_of_the_three_is_uncertain():
    for reply in ("Judgment: not bad", "Judgment: Good, Bad or Uncertain", "Judgment: none"):
        check(f"the verdict of {reply!r}", read(reply), UNCERTAIN)


@pytest.mark.parametrize(
    "reply",
    ["Judgment: Bad\nThe lamp was not asked for.", "**Judgment**:\n\nBad", "Judgment:\nBad"],
)
def test_edge_a_judgement_may_stand_anywhere(reply):
    cause = "what is looked for is a label and a verdict, on whichever line or lines they are"
    check(f"the verdict of {reply!r}", read(reply), BAD, (UNCERTAIN, cause))


def test_property_what_stands_before_the_judgement_changes_nothing(rng):
    words = ["good", "bad", "uncertain", "the cup.", "judge", "a judgment", "so,", "not bad\n"]
    for _ in range(60):
        verdict = rng.choice((GOOD, BAD, UNCERTAIN))
        reasons = " ".join(rng.choices(words, k=rng.randint(0, 6)))
        judgements = "".join(
            f"\nJudgment: {rng.choice((GOOD, BAD, UNCERTAIN))}" for _ in range(rng.randint(0, 2))
        )
        reply = f"{reasons}{judgements}\nJudgment: {verdict}"
        check(f"the verdict of {reply!r}", read(reply), verdict)
