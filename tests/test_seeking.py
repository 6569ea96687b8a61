"""seeking: lab with an expert that sees only what the agent sees."""

import random

from envs import Lab, make_world
from worlds.seeking import SeekingLab


def seeking(task):
    world = SeekingLab()
    world.reset(options={"task": task})
    return world


def test_the_seeking_expert_goes_through_the_told_floor_until_it_sees_the_thing():
    for task in random.Random(0).sample(Lab().tasks("train"), 200):
        world, knowing = seeking(task), Lab()
        knowing.reset(options={"task": task})
        floor = [
            room for room in (Lab.UP if world.home in Lab.UP else Lab.DOWN) if room in Lab.HIDING
        ]
        entered, way = [], world.expert()
        assert len(way) >= len(knowing.expert())
        while not world.done:
            entered += [world.room] if world.room in floor and world.thing not in world.held else []
            assert world.expert() == way, "it goes on as it said"
            world.step(way.pop(0))
        assert world.score == 1.0
        before = [room for room in dict.fromkeys(entered) if room in floor]
        others = [room for room in before if room not in (world.home, task.split("-")[2])]
        assert others == [room for room in floor if room in others], "in one order"
        ahead = floor[: floor.index(world.home)]
        assert {*ahead} <= {*before} or task.split("-")[2] == world.home, (
            "none in between is left out"
        )


def test_what_the_seeking_expert_does_depends_only_on_what_was_seen():
    first = {}
    for task in random.Random(1).sample(Lab().tasks("train"), 2000):
        world = seeking(task)
        told = (task.split("-")[1:3], world.home in Lab.UP, world.place.get(world.room))
        if world.home != world.room:
            first.setdefault(str(told), set()).add(world.expert()[0])
    assert len(first) > 200
    assert all(len(actions) == 1 for actions in first.values())


def test_the_seeking_expert_gives_up_where_labs_does():
    for task in random.Random(2).sample(Lab().tasks("train"), 300):
        world = seeking(task)
        other = world.place.get(world.room, world.thing)
        if other != world.thing:
            assert [world.step(f"{verb} {other}")[0] for verb in ("take", "put")] == [
                "taken.",
                "that breaks it.",
            ]
            assert world.expert() is None


def test_the_seeking_lab_is_named_by_module_and_class():
    assert type(make_world("worlds.seeking:SeekingLab")()) is SeekingLab
    assert SeekingLab().has_expert


def test_all_but_the_expert_is_labs():
    world, labs = SeekingLab(), Lab()
    for split in ("train", "validation", "test"):
        assert world.tasks(split) == labs.tasks(split)
    task = labs.tasks("test")[0]
    assert world.reset(options={"task": task}) == labs.reset(options={"task": task})
    for action in labs.expert():
        assert world.choices() == labs.choices()
        assert world.step(action) == labs.step(action)
