"""What a world loses is begun anew: who takes whose place, and how often."""

from types import SimpleNamespace

from engine.anew import BEGINNINGS, begun_anew


def makers(script):
    """A maker that makes each item as the script says, time after time, and what it was asked."""
    asked = []

    def make(items, beginning):
        asked.append(list(items))
        assert not items or beginning == len(asked)
        made = []
        for item in items:
            lost, size = script[item].pop(0)
            made.append(SimpleNamespace(item=item, lost=lost, size=size, beginnings=1))
        return made

    return make, asked


def test_what_is_not_lost_is_made_once():
    make, asked = makers({"a": [(False, 1)], "b": [(False, 2)]})
    assert [(one.item, one.beginnings) for one in begun_anew(make, ["a", "b"])] == [
        ("a", 1),
        ("b", 1),
    ]
    assert asked == [["a", "b"]]
    assert begun_anew(make, []) == []


def test_what_is_lost_alone_is_made_again_in_its_place():
    script = {"a": [(False, 1)], "b": [(True, 2), (False, 1)], "c": [(True, 3), (False, 4)]}
    make, asked = makers(script)
    made = begun_anew(make, ["a", "b", "c"])
    assert [(one.item, one.size, one.beginnings) for one in made] == [
        ("a", 1, 1),
        ("b", 1, 2),
        ("c", 4, 2),
    ]
    assert asked == [["a", "b", "c"], ["b", "c"]]


def test_it_ends_although_all_is_lost_and_the_worthiest_stands():
    sizes = [2, 5, 3]
    assert len(sizes) == BEGINNINGS
    make, asked = makers({"a": [(True, size) for size in sizes]})
    (made,) = begun_anew(make, ["a"], worth=lambda one: one.size)
    assert (made.size, made.beginnings, len(asked)) == (5, BEGINNINGS, BEGINNINGS)


def test_without_a_worth_the_newest_stands():
    make, _ = makers({"a": [(True, 9), (True, 1), (False, 4)]})
    (made,) = begun_anew(make, ["a"])
    assert made.size == 4
