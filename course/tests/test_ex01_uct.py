"""Exercise 1, `mcts.uct`: UCT(s) = Q(s) + c_uct * sqrt(ln N(parent) / N(s)) (paper, Phase I)."""

import math
import numbers

import pytest

import mcts
from course.handmade import check, hold, shown

pytestmark = pytest.mark.ex1


def test_shape_a_score_is_one_number():
    score = mcts.uct(1.0, 2, 4, 0.25)
    is_number = isinstance(score, numbers.Real)
    hold(is_number, f"the UCT score of a child is a number; got {shown(score)}")


def test_example_a_child_visited_4_of_9_times():
    # Q = 3 / 4 = 0.75; ln 9 = 2.1972; 2.1972 / 4 = 0.5493; its root 0.7412; times 0.25: 0.1853.
    check(
        "the UCT of a child of value 3.0 and 4 visits below a parent of 9 visits, c_uct = 0.25",
        round(mcts.uct(3.0, 4, 9, 0.25), 4),
        0.9353,
        (0.8972, "the logarithm is of the parent's visits; this is what the child's own give"),
        (0.8481, "the child's and the parent's visits have changed places under the root"),
        (3.1853, "Q(s) is the mean: value_sum has to be divided by the visits"),
        (0.3728, "the mean was divided by the visits twice; value_sum is a sum and q its mean"),
        (0.8426, "the division by N(s) belongs under the root"),
        (0.8873, "the root is missing"),
        (1.1206, "c_uct belongs in front of the root, not under it"),
        (1.4912, "the bonus has to be multiplied by c_uct"),
        (1.125, "it is ln N(parent), not N(parent)"),
        (0.8721, "the natural logarithm is meant, not that to base 10"),
    )


def test_example_without_exploration_the_score_is_the_mean_value():
    check(
        "UCT with c_uct = 0 and value 1.5 in 2 visits",
        mcts.uct(1.5, 2, 7, 0.0),
        0.75,
        (1.5, "Q(s) is the mean"),
    )


@pytest.mark.parametrize("c_uct", [0.25, 0.0])
def test_edge_a_child_never_visited_comes_first(c_uct):
    try:
        score = mcts.uct(0.0, 0, 5, c_uct)
    except ZeroDivisionError:
        problem = (
            "a child never visited is worth infinity: divide neither mean nor bonus by 0 visits"
        )
        pytest.fail(problem, pytrace=False)
    cause = "whatever c_uct is, a child that was never tried comes before any other"
    what = f"the UCT of a child never visited, c_uct = {c_uct}"
    check(what, score, math.inf, (score, cause))


def test_edge_the_only_simulation_earns_no_bonus():
    what = "UCT where parent and child were visited once: ln 1 = 0"
    check(what, mcts.uct(0.5, 1, 1, 2.0), 0.5)


def test_property_what_it_adds_to_the_mean_tells_the_visits_of_the_parent(rng):
    for _ in range(50):
        q = rng.random()
        visits = rng.randint(1, 9)
        parent = rng.randint(2, 30)
        c_uct = rng.uniform(0.5, 2)
        bonus = mcts.uct(q * visits, visits, parent, c_uct) - q
        case = f"Q = {q:.3f}, N(s) = {visits}, N(parent) = {parent}, c_uct = {c_uct:.3f}"
        hold(bonus > 0, f"{case}: a child visited before is worth more than its mean")
        what = f"{case}: N(parent) computed back from the score, as exp(N(s) ((UCT - Q) / c_uct)^2)"
        check(what, math.exp(visits * (bonus / c_uct) ** 2), float(parent))


def test_property_more_visits_elsewhere_make_a_child_more_worth_trying(rng):
    for _ in range(50):
        q = rng.random()
        visits = rng.randint(1, 9)
        parent = rng.randint(10, 30)
        c_uct = rng.uniform(0.1, 2)
        score = mcts.uct(q * visits, visits, parent, c_uct)
        more = mcts.uct(q * visits, visits, parent + 5, c_uct)
        often = mcts.uct(q * (visits + 1), visits + 1, parent, c_uct)
        case = f"Q = {q:.3f}, N(s) = {visits}, N(parent) = {parent}, c_uct = {c_uct:.3f}"
        rises = "with 5 more visits of the parent the score must rise"
        hold(more > score, f"{case}: {rises}; it went {score} -> {more}")
        falls = "with one more visit of the same mean it must fall"
        hold(often < score, f"{case}: {falls}; it went {score} -> {often}")
