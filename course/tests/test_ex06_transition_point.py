"""Exercise 6, `critique.transition_point`: t', where the bad trajectory is cut (paper, Phase I)."""

import itertools

import pytest

import critique
from agent_r import BAD, GOOD, UNCERTAIN
from course.handmade import check, hold

pytestmark = pytest.mark.ex6


def test_shape_an_index():
    got = critique.transition_point([GOOD, BAD])
    hold(type(got) is int, f"t' is the index of a step, an int; got {got!r}")


def test_example_the_fifth_action_is_the_first_bad_one():
    verdicts = [GOOD, GOOD, UNCERTAIN, GOOD, BAD, GOOD, BAD]
    check(
        f"t' of {verdicts}",
        critique.transition_point(verdicts),
        4,
        (2, "Uncertain goes on; only Bad stops"),
        (3, "one too early: the index of the Bad action itself, not of the last one before it"),
        (5, "one too late: steps are counted from 0"),
        (6, "the first Bad ends the bad part; this is the last"),
        (0, "Good is the verdict that goes on, Bad the one that stops"),
    )


def test_example_a_judge_that_is_asked_from_the_shared_node_on():
    # Asked was about these three actions, the answers read by `parse_verdict`.  What the index
    # stands for, `find_first_errors` knows: the step of that question.
    answers = {
        "go kitchen": "it may be there. Judgment: Uncertain",
        "take lamp": "nobody asked for a lamp. Judgment: Bad",
        "put lamp": "Judgment: Bad",
    }
    verdicts = [answer.rpartition(" ")[2] for answer in answers.values()]
    check(f"t' of {verdicts}", critique.transition_point(verdicts), 1, (2, "the first Bad"))


def test_edge_the_very_first_action():
    check(
        "t' of [Bad, Good]",
        critique.transition_point([BAD, GOOD]),
        0,
        (None, "index 0 is an index: test for None, not for truth"),
    )


@pytest.mark.parametrize("verdicts", [[], [GOOD], [UNCERTAIN, UNCERTAIN], [GOOD, UNCERTAIN, GOOD]])
def test_edge_nothing_bad(verdicts):
    check(
        f"t' of {verdicts}, in which nothing is called Bad",
        critique.transition_point(verdicts),
        None,
        (-1, "no error is None: -1 would cut at the last step"),
        (len(verdicts), "no error is None; such a pair is dropped and counted"),
        (0, "Uncertain goes on" if UNCERTAIN in verdicts else "Good goes on"),
    )


def test_property_it_is_where_bad_stands_first_in_verdicts_by_lot(rng):
    for _ in range(50):
        verdicts = rng.choices((GOOD, UNCERTAIN, BAD), (4, 4, 1), k=rng.randint(0, 12))
        text = " ".join(verdicts)
        before, bad, _ = text.partition(BAD)
        expected = len(before.split()) if bad else None
        check(f"t' of {verdicts}", critique.transition_point(verdicts), expected)


def test_property_everything_before_is_good_or_uncertain_and_what_follows_does_not_matter():
    for length in range(5):
        for before in itertools.product((GOOD, UNCERTAIN), repeat=length):
            for after in ([], [GOOD], [BAD, UNCERTAIN, BAD]):
                verdicts = [*before, BAD, *after]
                check(f"t' of {verdicts}", critique.transition_point(verdicts), length)
