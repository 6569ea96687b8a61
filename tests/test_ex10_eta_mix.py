"""Exercise 10, `next_example` in `train.draw_batches`: the eta mix (paper, Phase II).

An example is drawn from a source with the probability that is the source's share, eta for the agent data and 1 - eta
for the general data.  Within a source each example is drawn once before any is drawn again.
"""

import random

import pytest
from handmade import check, hold

import train

pytestmark = pytest.mark.ex10


class Source(list):
    """Examples of so many tokens, each token being (name, number); remembers which numbers were drawn, in order."""

    def __init__(self, name, count, length=1):
        super().__init__(([(name, number)] * length, [-100]) for number in range(count))
        self.drawn = []

    def __getitem__(self, number):
        self.drawn.append(number)
        return super().__getitem__(number)


def draw(mix, steps=8, seed=0):
    """The (name, number) of each example, in the order of the batches."""
    batches = train.draw_batches(mix, steps, 16, 16, random.Random(seed))
    return [ids[0] for batch in batches for micro in batch for ids, _ in micro]


def shares(*mix):
    """The shares of the examples drawn that came from each source."""
    draw(mix, steps=400)
    counts = [len(source.drawn) for source, _ in mix]
    hold(
        sum(counts), "choose the source by its share, then an example of it by its number; no source was asked for one"
    )
    return [count / sum(counts) for count in counts]


def test_shape_examples_of_the_sources_come_out():
    drawn = draw([(Source("agent", 3), 0.5), (Source("general", 3), 0.5)])
    known = {(name, number) for name in ("agent", "general") for number in range(3)}
    hold(drawn and set(drawn) <= known, f"a batch holds the examples of the sources; got {set(drawn) - known}")


def test_example_eta_of_one_fifth():
    eta = 0.2
    got, _ = shares((Source("agent", 50), eta), (Source("general", 50), 1 - eta))
    likely = (
        "eta and 1 - eta have changed places" if abs(got - 0.8) < 0.04
        else "the shares were not asked for: every source is as likely as any other" if abs(got - 0.5) < 0.04
        else "the shares decide the source of every single example"
    )  # fmt: skip
    hold(
        abs(got - eta) < 0.02,
        f"eta = 0.2 is the share of agent data; {got:.3f} of the examples are\n  likely cause: {likely}",
    )


def test_example_three_sources():
    expected = [0.5, 0.3, 0.2]
    got = shares(
        *((Source(name, 20), share) for name, share in zip(("agent", "shown", "judged"), expected, strict=True))
    )
    far = max(abs(one - other) for one, other in zip(got, expected, strict=True))
    hold(far < 0.025, f"the shares of the three sources are {expected}; drawn were {got}")


def test_edge_a_source_with_share_0_stays_out():
    drawn = draw([(Source("agent", 5), 1.0), (Source("general", 5), 0.0)])
    hold(all(name == "agent" for name, _ in drawn), "eta = 1 is agent data alone; general examples were drawn")


def test_edge_a_source_of_one_example_is_drawn_again_and_again():
    check("the examples of a source of one", set(draw([(Source("agent", 1), 1.0)])), {("agent", 0)})


def test_edge_the_size_of_a_source_is_not_its_share():
    got, _ = shares((Source("agent", 10), 0.5), (Source("general", 990), 0.5))
    likely = "the sources were thrown together, so that the larger one wins"
    hold(
        abs(got - 0.5) < 0.025,
        f"10 agent examples beside 990 general ones: share 0.5; got {got:.3f}\n  likely cause: {likely}",
    )


def test_edge_the_length_of_examples_is_not_their_share():
    got, _ = shares((Source("agent", 30, length=8), 0.5), (Source("general", 30), 0.5))
    hold(abs(got - 0.5) < 0.03, f"eta is a share of examples, not of tokens: 0.5 of them are long ones; got {got:.3f}")


def rounds(count, seed=0):
    """The numbers drawn from the one source of `count` examples, cut into rounds of `count`."""
    source = Source("agent", count)
    draw([(source, 1.0)], seed=seed)
    return [source.drawn[at : at + count] for at in range(0, len(source.drawn) - count + 1, count)]


@pytest.mark.parametrize("count", [2, 7, 40])
def test_property_each_example_is_drawn_once_before_any_is_drawn_again(count):
    for drawn in rounds(count):
        likely = "draw without putting back; when all are used up, begin anew"
        hold(
            sorted(drawn) == list(range(count)),
            f"{count} draws give each of {count} examples once; got {drawn}\n  {likely}",
        )


def test_property_the_order_is_drawn_anew_in_every_round():
    orders = rounds(20)
    hold(list(range(20)) not in orders, f"examples are drawn by lot, not in the order they stand in: {orders[0]}")
    hold(list(range(20))[::-1] not in orders, f"examples are drawn by lot, not from the back: {orders[0]}")
    hold(orders[0] != orders[1], f"each round is shuffled anew; both are {orders[0]}")


def test_property_the_generator_given_decides_everything():
    mix = [(Source("agent", 40), 0.5), (Source("general", 40), 0.5)]
    check("the examples drawn with the same seed, a second time", draw(mix, seed=1), draw(mix, seed=1))
    hold(rounds(20, seed=1) != rounds(20, seed=2), "another seed draws the examples of a source in another order")
