"""Flags made from a dataclass: their names and types, and what is refused by its name."""

import math
from dataclasses import dataclass

import pytest

from engine import UserError
from engine.command_line import check, check_number, flag, option, parser


@dataclass(frozen=True)
class Bakery:
    """Options of a bakery."""

    flour: str = option("rye", "what it is baked of", choices=("rye", "wheat"))
    sign: str = option("", "what stands above the door")
    loaves: int = option(3, "how many, 100 % of them fresh")
    max_heat: float = option(0.5, "share of the oven's heat", least=0, most=1)
    price: float = option(2.5, "of a loaf", least=0)


def parse(*words):
    return vars(parser(Bakery, "bake.py", "Bake bread.").parse_args(words))


def test_a_flag_is_the_name_of_its_field_with_hyphens():
    assert flag("max_heat") == "--max-heat"
    assert flag("price") == "--price"


def test_flags_that_are_given_come_in_the_type_of_their_field_and_others_do_not_come():
    assert parse() == {}
    assert parse("--loaves", "12", "--max-heat", "1") == {"loaves": 12, "max_heat": 1.0}
    assert type(parse("--max-heat", "1")["max_heat"]) is float
    assert Bakery(**parse("--flour=wheat")) == Bakery(flour="wheat")


def test_the_help_has_every_flag_with_its_text_and_its_default(capsys):
    with pytest.raises(SystemExit) as left:
        parse("--help")
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Bake bread." in text
    assert "--flour FLOUR what it is baked of (default 'rye')" in text
    assert "--loaves LOAVES how many, 100 % of them fresh (default 3)" in text
    assert "--max-heat MAX_HEAT share of the oven's heat (default 0.5)" in text


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--loaves", "many"], "invalid int value: 'many'"),
        (["--loaves", "1.5"], "invalid int value: '1.5'"),
        (["--price", "much"], "invalid float value: 'much'"),
        (["--price"], "expected one argument"),
        (["--cakes", "1"], "unrecognized arguments: --cakes 1"),
        (["--loa", "1"], "unrecognized arguments: --loa 1"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence_that_says_where_the_flags_are(words, part):
    with pytest.raises(UserError) as caught:
        parse(*words)
    assert part in str(caught.value)
    assert str(caught.value).endswith("; bake.py --help lists the flags")
    assert "\n" not in str(caught.value)


def test_the_defaults_are_allowed_and_a_text_without_choices_may_be_anything():
    check(Bakery())
    check(Bakery(sign="-1 to nan"))


@pytest.mark.parametrize("flour", ["", "Rye", "oats", "rye,wheat"])
def test_a_text_that_is_none_of_its_choices_is_refused_with_the_choices(flour):
    with pytest.raises(UserError) as caught:
        check(Bakery(flour=flour))
    assert str(caught.value) == f"--flour {flour}: must be one of rye, wheat"


@pytest.mark.parametrize("heat", [0, 0.0, 1e-9, 0.5, 1, 1.0])
def test_the_limits_belong_to_what_is_allowed(heat):
    check(Bakery(max_heat=heat))


@pytest.mark.parametrize("heat", [-1e-9, 1.0000001, 2, -math.inf, math.inf, math.nan])
def test_a_number_outside_its_limits_is_refused(heat):
    with pytest.raises(UserError) as caught:
        check(Bakery(max_heat=heat))
    assert str(caught.value) == f"--max-heat {heat}: must be a number from 0 to 1"


def test_a_number_without_an_upper_limit_may_be_as_large_as_a_number_can_be():
    check(Bakery(price=1e308, loaves=10**30))


@pytest.mark.parametrize("price", [-0.1, -math.inf, math.inf, math.nan])
def test_infinity_and_what_is_no_number_are_refused_also_without_an_upper_limit(price):
    with pytest.raises(UserError) as caught:
        check(Bakery(price=price))
    assert str(caught.value) == f"--price {price}: must be a number from 0 on"


def test_a_number_begins_at_one_unless_something_else_is_said():
    check(Bakery(loaves=1))
    with pytest.raises(UserError, match="--loaves 0: must be a number from 1 on"):
        check(Bakery(loaves=0))


def test_a_text_that_is_no_choice_is_told_before_a_number_out_of_its_limits():
    with pytest.raises(UserError, match="--flour oats"):
        check(Bakery(flour="oats", loaves=0, price=-1))
    with pytest.raises(UserError, match="--loaves 0"):
        check(Bakery(loaves=0, price=-1))


def test_a_number_can_be_checked_by_itself():
    check_number("warmup_lr", 0.5, 0, 1)
    with pytest.raises(UserError, match="--warmup-lr nan: must be a number from 0 to 1"):
        check_number("warmup_lr", math.nan, 0, 1)
