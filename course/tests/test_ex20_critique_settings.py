"""Exercise 20, `Config.critique_settings`: alpha rises with the iterations (paper, Phase I).

Early, an agent has few good trajectories, and half a success is something to learn from; later
only the best will do.  Iterations are counted from 1; iteration 0 is the warm-up, without a search.
"""

import pytest

from course.handmade import check, hold, shown
from critique import CritiqueSettings
from settings.config import Config

pytestmark = pytest.mark.ex20


def settings(iteration, **flags):
    try:
        return Config(**flags).critique_settings(iteration)
    except IndexError:
        of = f"iteration {iteration} with --alpha {flags.get('alpha', Config.alpha)}"
        cause = "iterations are counted from 1, and one alpha may be for all: ask `alphas`"
        pytest.fail(f"no alpha was found for {of}\n  likely cause: {cause}", pytrace=False)


def test_shape_settings_of_the_critique():
    got = settings(1)
    hold(isinstance(got, CritiqueSettings), f"settings of the critique; got {shown(got)}")


def test_example_alpha_of_three_iterations():
    got = [settings(iteration, alpha="0.5,0.7,1.0").alpha for iteration in (1, 2, 3)]
    check(
        "alpha in the iterations 1, 2, 3 with --alpha 0.5,0.7,1.0",
        got,
        [0.5, 0.7, 1.0],
        ([0.5] * 3, "alpha rises: each iteration has its own"),
        ([1.0] * 3, "alpha rises: each iteration has its own"),
        ([1.0, 0.5, 0.7], "iterations are counted from 1, a list from 0: this is the one before"),
        ([0.7, 1.0, 0.5], "iterations are counted from 1, a list from 0: this is the next one"),
        (["0.5", "0.7", "1.0"], "alpha is a number: `alphas` reads the flag"),
    )


def test_example_one_alpha_for_all():
    got = [settings(iteration, alpha="0.75", iterations=4).alpha for iteration in (1, 2, 3, 4)]
    cause = "`alphas` gives one for each iteration, whatever the flag names"
    check("alpha in four iterations with --alpha 0.75", got, [0.75] * 4, ([], cause))


def test_edge_every_other_flag_of_the_critique_is_passed_on():
    flags = {
        "beta": 0.35,
        "pairs": 7,
        "idle": "learned",
        "rollouts": 19,
        "critic": "truth",
        "splice": "paper",
        "pairing": "any",
    }
    got = settings(2, **flags)
    for name, value in flags.items():
        cause = f"--{name} is not passed on"
        if name in ("beta", "pairs") and getattr(got, name) == 0.7:
            cause = "alpha stands in its place"
        given = getattr(got, name)
        check(f"`{name}` of the settings with --{name} {value}", given, value, (given, cause))
    check("alpha of the second iteration", got.alpha, 0.7)


def test_edge_direct_revision_keeps_the_whole_failure():
    got = settings(2, method="direct-revision", pairs=7, rollouts=19, beta=0.35, idle="learned")
    check(
        "(critic, splice) of --method direct-revision",
        (got.critic, got.splice),
        ("end", "paper"),
        (
            ("actor", "verified"),
            "this baseline asks no judge: its t' is the last step, and the splice is the paper's",
        ),
        (("end", "verified"), "the baseline keeps the splice as it is written: `paper`"),
        (("actor", "paper"), "the baseline asks no judge: the critic is `end`"),
    )
    rest = (got.alpha, got.beta, got.pairs, got.idle, got.rollouts)
    what = "alpha, beta, pairs, idle and rollouts of it"
    check(what, rest, (0.7, 0.35, 7, "learned", 19))


def test_edge_direct_revision_takes_no_other_critic():
    flags = {"method": "direct-revision", "critic": "truth", "splice": "verified"}
    got = settings(1, **flags)
    check("(critic, splice) if flags say otherwise", (got.critic, got.splice), ("end", "paper"))


@pytest.mark.parametrize("method", ["agent-r", "eto", "optimal"])
def test_edge_every_other_method_has_the_flags(method):
    got = settings(3, method=method, critic="random", splice="paper")
    check(f"(critic, splice) of {method}", (got.critic, got.splice), ("random", "paper"))
    check(f"alpha of {method}", got.alpha, 1.0)


def test_property_alpha_of_any_list_in_any_iteration(rng):
    for _ in range(30):
        values = sorted(rng.randint(0, 100) / 100 for _ in range(rng.randint(2, 5)))
        text = ",".join(map(str, values))
        iteration = rng.randint(1, len(values))
        flags = {"alpha": text, "iterations": len(values), "beta": rng.randint(0, 9) / 10}
        flags["pairs"] = rng.randint(1, 9)
        got = settings(iteration, **flags)
        what = f"(alpha, beta, pairs) of iteration {iteration} with {flags}"
        expected = (values[iteration - 1], flags["beta"], flags["pairs"])
        check(what, (got.alpha, got.beta, got.pairs), expected)
