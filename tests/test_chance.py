"""Draws by key: SplitMix64 against plain integers, uniform, and never a word without a chance."""

import random

import pytest
import torch

from engine.chance import draw, key, mixed, signed, uniform

MASK = 2**64 - 1


def splitmix(state):
    """One step of SplitMix64 on a Python integer, as its authors wrote it."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_keys_are_mixed_as_plain_integers_are():
    rng = random.Random(0)
    keys = [0, -1, 2**63 - 1, -(2**63), *(signed(rng.getrandbits(64)) for _ in range(50))]
    numbers = [0, 1, -1, 7, *(rng.randrange(-(10**6), 10**6) for _ in range(50))]
    expected = []
    for one, number in zip(keys, numbers, strict=True):
        expected.append(splitmix((one + number * 0x9E3779B97F4A7C15) & MASK))
    made = mixed(torch.tensor(keys), torch.tensor(numbers)).tolist()
    assert [one & MASK for one in made] == [one & MASK for one in expected]
    luck = uniform(torch.tensor(made)).tolist()
    assert luck == [(one >> 11) / 2**53 for one in expected]
    assert splitmix(0) == 0xE220A8397B1DCDAF, "the first number that SplitMix64 draws from seed 0"


def test_one_number_for_all_keys_may_have_any_size():
    keys = torch.arange(3)
    assert torch.equal(mixed(keys, 5), mixed(keys, torch.tensor([5, 5, 5])))
    assert torch.equal(mixed(keys, 2**64 + 5), mixed(keys, 5))
    assert not torch.equal(mixed(keys, 2**63), mixed(keys, 0))


def test_a_key_tells_lists_of_numbers_apart():
    lists = [(), (0,), (0, 0), (1, 2), (12,), (2, 1), (-1,), (2**70,), (2**70 + 2**64,)]
    keys = {key(*numbers) for numbers in lists}
    assert len(keys) == len(lists)
    assert all(-(2**63) <= one < 2**63 for one in keys)
    assert key(1, 2) == key(1, 2)


def chi_square(luck, cells):
    """How far draws are from uniform over so many cells, in standard deviations of chi-square."""
    counts = torch.histc(luck.float(), cells, 0, 1)
    expected = len(luck) / cells
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    return (statistic - (cells - 1)) / (2 * (cells - 1)) ** 0.5


@pytest.mark.parametrize("by", ["key", "place", "seed"])
def test_neighbours_are_uniform_and_have_nothing_to_do_with_each_other(by):
    numbers = torch.arange(40_000)
    keys = torch.full_like(numbers, key(3))
    if by == "key":
        luck = uniform(mixed(numbers, 17))
    elif by == "place":
        luck = uniform(mixed(keys, numbers))
    else:
        luck = uniform(mixed(mixed(keys, numbers), 17))
    assert abs(chi_square(luck, 100)) < 4
    for lag in (1, 2, 64):
        pairs = (luck[:-lag] * 10).floor() * 10 + (luck[lag:] * 10).floor()
        assert abs(chi_square((pairs + 0.5) / 100, 100)) < 4
    assert float(luck.min()) >= 0
    assert float(luck.max()) < 1


def test_a_word_is_where_the_sum_of_the_chances_exceeds_the_luck():
    chances = torch.tensor([[0.25, 0.0, 0.5, 0.25]]).repeat(6, 1)
    luck = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert draw(chances, luck).tolist() == [0, 0, 2, 2, 3, 3]


def test_no_word_without_a_chance_is_drawn_however_near_to_1_the_luck_is():
    generator = torch.Generator().manual_seed(0)
    chances = torch.rand(300, 500, generator=generator)
    chances[torch.rand(300, 500, generator=generator) < 0.5] = 0.0
    chances[:, 0] = chances[:, -50:] = 0.0
    chances[:100] *= 1e-30
    for luck in (0.0, 2.0**-53, 0.5, 1 - 2.0**-53):
        words = draw(chances, torch.full((300,), luck, dtype=torch.float64))
        assert (chances.gather(1, words[:, None]) > 0).all()


def test_words_are_drawn_as_often_as_their_chances_say():
    logits = torch.tensor([2.0, 0.0, -torch.inf, 1.0, -3.0])
    for temperature in (1.0, 0.5):
        chances = torch.softmax(logits / temperature, -1)
        rows = 50_000
        luck = uniform(mixed(torch.arange(rows), 5))
        words = draw(chances.expand(rows, -1), luck)
        counts = words.bincount(minlength=5)
        expected = rows * chances
        possible = chances > 0
        statistic = ((counts - expected) ** 2 / expected)[possible].sum()
        assert counts[2] == 0
        assert statistic < 16.3, "chi-square of three degrees of freedom, 0.1 %"
