"""Exercise 10, `Mix.draw`: the eta mix (paper, Phase II).

An example is drawn from a source with the probability that is the source's share: eta for the agent
data and 1 - eta for the general data.  Within a source each example is drawn once before any is
drawn again, in an order by lot, anew each time.
"""

import random
from dataclasses import dataclass

import pytest

from course.handmade import check, hold
from train import Mix, Source

pytestmark = pytest.mark.ex10


@dataclass(frozen=True)
class Example:
    """The example of this number in the source `name`; `length` is how many tokens it has."""

    name: str
    number: int
    length: int = 1


def source(name, count, share, *, length=1):
    """A source of so many examples."""
    return Source([Example(name, number, length) for number in range(count)], share)


SEED = []  # of the test, for what a mix draws


@pytest.fixture(autouse=True)
def _seed(rng):
    SEED[:] = [rng.randrange(2**32)]


def draw(*sources, count=512, seed=None):
    """The examples that a mix of these sources gives."""
    mix = Mix(sources, random.Random(SEED[0] if seed is None else seed))
    return [mix.draw() for _ in range(count)]


def shares(*sources):
    """The share of each source among the examples drawn, in the order of the sources."""
    names = [example.name for example in draw(*sources, count=8000)]
    return [names.count(source.examples[0].name) / len(names) for source in sources]


def test_shape_examples_of_the_sources_come_out():
    agent = source("agent", 3, 0.5)
    general = source("general", 3, 0.5)
    strange = set(draw(agent, general)) - {*agent.examples, *general.examples}
    hold(not strange, f"a draw is an example of a source, as it stands there; got {strange}")


def test_example_eta_of_one_fifth():
    eta = 0.2
    got, _ = shares(source("agent", 50, eta), source("general", 50, 1 - eta))
    cause = "the shares decide the source of every single example"
    if abs(got - 0.8) < 0.04:
        cause = "eta and 1 - eta have changed places"
    if abs(got - 0.5) < 0.04:
        cause = "the shares were not asked for: every source is as likely as any other"
    share = f"eta = 0.2 is the share of agent data; {got:.3f} of the examples are"
    hold(abs(got - eta) < 0.02, f"{share}\n  likely cause: {cause}")


def test_example_three_sources():
    expected = [0.5, 0.3, 0.2]
    agent = source("agent", 20, 0.5)
    got = shares(agent, source("shown", 20, 0.3), source("judged", 20, 0.2))
    far = max(abs(one - other) for one, other in zip(got, expected, strict=True))
    hold(far < 0.025, f"the shares of the three sources are {expected}; drawn were {got}")


def test_edge_a_source_with_share_0_stays_out():
    names = {example.name for example in draw(source("agent", 5, 1.0), source("general", 5, 0.0))}
    hold(names == {"agent"}, "eta = 1 is agent data alone; general examples were drawn")


def test_edge_a_source_of_one_example_is_drawn_again_and_again():
    numbers = {example.number for example in draw(source("agent", 1, 1.0))}
    check("the examples of a source of one", numbers, {0})


def test_edge_shares_that_are_left_need_not_add_up_to_one():
    empty = source("general", 0, 0.6)
    names = [example.name for example in draw(source("a", 9, 0.3), empty, source("b", 9, 0.1))]
    got = names.count("a") / len(names)
    cause = "an empty source was left out, so what is left adds up to 0.4: weigh by its sum"
    shares = f"of shares 0.3 and 0.1 the first is three in four; drawn was {got:.3f}"
    hold(abs(got - 0.75) < 0.08, f"{shares}\n  likely cause: {cause}")


def test_edge_the_size_of_a_source_is_not_its_share():
    got, _ = shares(source("agent", 10, 0.5), source("general", 990, 0.5))
    cause = "the sources were thrown together, so that the larger one wins"
    share = f"10 agent examples beside 990 general ones: share 0.5; got {got:.3f}"
    hold(abs(got - 0.5) < 0.025, f"{share}\n  likely cause: {cause}")


def test_edge_the_length_of_examples_is_not_their_share():
    got, _ = shares(source("agent", 30, 0.5, length=8), source("general", 30, 0.5))
    rule = "eta is a share of examples, not of tokens"
    hold(abs(got - 0.5) < 0.03, f"{rule}: 0.5 of them are long ones; got {got:.3f}")


def rounds(count, *, seed):
    """The numbers drawn from the one source of `count` examples, cut into rounds of `count`."""
    examples = draw(source("agent", count, 1.0), count=8 * count, seed=seed)
    numbers = [example.number for example in examples]
    return [numbers[at : at + count] for at in range(0, len(numbers), count)]


@pytest.mark.parametrize("count", [2, 7, 40])
def test_property_each_example_is_drawn_once_before_any_is_drawn_again(count):
    for numbers in rounds(count, seed=SEED[0]):
        rule = f"{count} draws give each of {count} examples once"
        cause = "draw without putting back; when all are used up, begin anew"
        complete = sorted(numbers) == list(range(count))
        hold(complete, f"{rule}; got the numbers {numbers}\n  likely cause: {cause}")


def test_property_the_order_is_drawn_anew_in_every_round():
    orders = rounds(20, seed=SEED[0])
    in_order = list(range(20))
    lot = "examples are drawn by lot"
    hold(in_order not in orders, f"{lot}, not in the order they stand in: {orders[0]}")
    hold(in_order[::-1] not in orders, f"{lot}, not from the back: {orders[0]}")
    hold(orders[0] != orders[1], f"each round is shuffled anew; both are {orders[0]}")


def test_property_the_generator_given_decides_everything():
    sources = (source("agent", 40, 0.5), source("general", 40, 0.5))
    first = draw(*sources, seed=1)
    again = draw(*sources, seed=1)
    cause = "whatever is drawn, the generator that was given draws it: `self.rng`"
    check("the examples drawn with the same seed, a second time", again, first, (again, cause))
    differ = rounds(20, seed=1) != rounds(20, seed=2)
    hold(differ, "another seed draws the examples of a source in another order")
