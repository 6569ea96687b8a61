"""World and lab: the rules, the expert, the splits, the truth, worlds by name, and bad input.

The worlds in worlds/ have files of their own.
"""

import math
import random
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from doubles import Corridor

import envs
from engine import UserError
from envs import (
    ANSWERED,
    CHANGED,
    REFUSED,
    SPLITS,
    WORLD_MODULES,
    Lab,
    World,
    distance,
    first_error,
    make_world,
)

# Derived from the description of the house alone: downstairs all rooms open into each other,
# upstairs each opens onto the landing, and stairs lead from the hall to the landing.
DOWN = ["hall", "kitchen", "garden", "garage", "office", "pantry"]
UP = ["bedroom", "bathroom", "study", "nursery", "attic"]
ROOMS = [*DOWN, "landing", *UP]
DOORS = (
    {room: {*DOWN} for room in DOWN}
    | {room: {"landing"} for room in UP}
    | {"landing": {*UP, "hall"}}
)
DOORS["hall"] = {*DOWN, "landing"}

# Layout 0 hides the things in the order of their names: lamp in the kitchen, cup in the garden, ...
AT = dict(zip(Lab.THINGS, [*DOWN[1:], *UP], strict=True))


def lab(task="cup-pantry-hall-0", *actions):
    """A lab in which these actions have been taken."""
    world = Lab()
    world.reset(options={"task": task})
    for action in actions:
        world.step(action)
    return world


def say(world, *actions):
    return [world.step(action)[0] for action in actions]


def distances():
    """Room -> room -> doors between them, by breadth-first search."""
    found = {}
    for start in ROOMS:
        found[start], edge = {start: 0}, [start]
        for room in edge:
            for door in sorted(DOORS[room] - found[start].keys()):
                found[start][door] = found[start][room] + 1
                edge.append(door)
    return found


FAR = distances()


# --- the interface


def test_reset_and_step_have_gymnasiums_shape():
    world = Corridor()
    assert world.reset(seed=3, options={"task": "test-0"}) == (
        "place 2.",
        {"instruction": "reach place 4 (test-0).", "score": 0.0},
    )
    silent = {"effect": ""}
    assert world.step("right") == ("place 3.", 0.0, False, False, {"score": 0.0, **silent})
    assert world.step("right") == ("place 4.", 1.0, True, False, {"score": 1.0, **silent})


def test_an_episode_is_truncated_at_the_step_limit_and_not_before():
    world = Corridor()
    world.reset(options={"task": "test-0"})
    ends = [world.step("stay")[2:4] for _ in range(world.step_limit)]
    assert ends == [(False, False)] * (world.step_limit - 1) + [(False, True)]


def test_an_episode_that_ends_on_the_last_step_is_terminated_and_not_truncated():
    world = Corridor()
    world.reset(options={"task": "test-0"})
    say(world, *["stay"] * (world.step_limit - 2), "right")
    assert world.step("right")[1:4] == (1.0, True, False)


@pytest.mark.parametrize(
    "actions", [["right", "right"], ["stay"] * Corridor.step_limit], ids=["ended", "truncated"]
)
def test_no_step_can_be_taken_once_the_episode_is_over(actions):
    world = Corridor()
    world.reset(options={"task": "test-0"})
    say(world, *actions)
    with pytest.raises(RuntimeError, match="corridor is over; call reset"):
        world.step("left")
    world.reset(options={"task": "test-0"})
    assert world.step("left")[0] == "place 1."


def test_no_step_can_be_taken_before_the_first_reset():
    with pytest.raises(RuntimeError, match="call reset"):
        Lab().step("go hall")


def test_a_world_of_ones_own_must_write_the_three_methods():
    for call in (
        lambda: World().tasks("test"),
        lambda: World().begin("x"),
        lambda: World().act("x"),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_a_world_that_knows_nothing_besides_says_so():
    world = Corridor()
    world.reset(options={"task": "test-0"})
    assert world.expert() is None
    assert world.gold() == []
    assert world.choices() == []
    assert world.thought() == ""
    assert (world.has_expert, world.has_gold) == (False, False)
    assert (world.words, world.parallel, world.warm_up) == ("", 1, "train")


def test_who_writes_an_expert_or_a_gold_path_has_one():
    class Guided(Corridor):
        def expert(self):
            return ["right"] * (4 - self.place)

    class Golden(Corridor):
        def gold(self):
            return ["right", "right"]

    assert (Guided().has_expert, Guided().has_gold) == (True, False)
    assert (Golden().has_expert, Golden().has_gold) == (False, True)
    assert (Lab().has_expert, Lab().has_gold) == (True, False)


# --- the house


def test_the_lab_is_as_large_as_it_should_be():
    assert len({*Lab.DOWN, *Lab.UP}) == 12
    assert sorted({*Lab.DOWN, *Lab.UP}) == sorted(ROOMS)
    assert len({*Lab.THINGS}) == 10
    assert not {*Lab.THINGS} & {*ROOMS}


def test_every_room_has_the_doors_of_the_house_and_no_others():
    for start in ROOMS:
        for room in ROOMS:
            world = lab(f"lamp-hall-{start}-0")
            said = world.step(f"go {room}")[0]
            assert (said == "no such door.") == (room not in DOORS[start]), (
                f"from {start} to {room}: {said}"
            )
            assert said == "no such door." or said.startswith(f"{room}: ")


def test_a_room_shows_its_own_thing_and_that_the_wanted_one_is_missing():
    world = lab("ball-hall-hall-0")
    assert say(world, "go kitchen", "go garage") == ["kitchen: lamp, no ball.", "garage: ball."]
    assert say(world, "take ball", "go garage", "go kitchen") == [
        "taken.",
        "garage: nothing.",
        "kitchen: lamp.",
    ]


def test_hall_and_landing_hide_nothing_and_every_other_room_one_thing():
    for task in Lab().tasks("test")[:50]:
        world = lab(task)
        assert sorted(world.place) == sorted({*ROOMS} - {"hall", "landing"})
        assert sorted(world.place.values()) == sorted(Lab.THINGS)


def test_the_instruction_tells_the_floor_on_which_the_thing_lies_and_not_the_room():
    for thing, room in AT.items():
        _, info = Lab().reset(options={"task": f"{thing}-hall-landing-0"})
        floor = "upstairs" if room in UP else "downstairs"
        assert info["instruction"].startswith(f"the {thing} is {floor}. put it in the hall.")
        assert room not in info["instruction"]


def test_a_layout_is_the_permutation_of_the_things_with_its_rank():
    first, last = lab("lamp-hall-hall-0"), lab(f"lamp-hall-hall-{Lab.LAYOUTS - 1}")
    assert [first.place[room] for room in AT.values()] == [*AT]
    assert [last.place[room] for room in AT.values()] == [*AT][::-1]
    layouts = {tuple(lab(f"lamp-hall-hall-{rank}").place.values()) for rank in range(500)}
    assert len(layouts) == 500


def test_partial_credit_for_finding_taking_and_carrying_and_the_rest_for_putting():
    world = lab("cup-pantry-hall-0")
    told = [
        world.step(a)
        for a in ["go kitchen", "go garden", "take cup", "go office", "go pantry", "put cup"]
    ]
    assert [info["score"] for *_, info in told] == [0.0, 0.25, 0.5, 0.5, 0.75, 1.0]
    assert [reward for _, reward, *_ in told] == [0.0, 0.25, 0.25, 0.0, 0.25, 0.25]
    assert [over for _, _, over, *_ in told] == [False] * 5 + [True]


def test_credit_once_given_is_not_taken_back_by_walking_away():
    world = lab("cup-pantry-hall-0", "go garden", "go kitchen")
    assert world.score == 0.25
    say(world, "go garden", "take cup", "go pantry", "go hall")
    assert world.score == 0.75


def test_rewards_add_up_to_the_score_wherever_the_episode_starts():
    for start in ("hall", "garden", "pantry"):  # the cup lies in the garden
        world = Lab()
        _, info = world.reset(options={"task": f"cup-pantry-{start}-0"})
        told = [
            world.step(action) for action in ["go office", "go garden", "take cup", "go pantry"]
        ]
        assert (
            info["score"] + sum(reward for _, reward, *_ in told) == told[-1][-1]["score"] == 0.75
        ), f"from {start}"


def test_other_things_earn_no_credit():
    assert lab("cup-pantry-hall-0", "go kitchen", "take lamp", "go pantry").score == 0.0


@pytest.mark.parametrize(
    ("actions", "final"),
    [
        (["go garden", "take cup", "put cup"], "put cup"),  # the right thing in the wrong room
        (
            ["go kitchen", "take lamp", "go garden", "take cup", "go pantry", "put lamp"],
            "put lamp",
        ),  # the wrong thing
    ],
    ids=["wrong room", "wrong thing"],
)
def test_a_wrong_put_is_fatal(actions, final):
    world = lab("cup-pantry-hall-0", *actions[:-1])
    before = world.score
    assert before > 0
    said, reward, terminated, truncated, info = world.step(actions[-1])
    assert (said, reward, terminated, truncated, info) == (
        "that breaks it.",
        -before,
        True,
        False,
        {"score": 0.0, "effect": CHANGED},
    )
    assert world.expert() is None


def test_putting_what_is_not_held_is_harmless():
    world = lab("cup-garden-garden-0")  # it lies where it belongs, but nobody has put it there
    assert world.step("put cup")[0] == "you do not hold that."
    assert not world.done
    assert say(world, "take cup", "put cup") == ["taken.", "done."]


def test_a_wrong_room_upstairs_needs_walking_back_and_downstairs_does_not():
    downstairs, upstairs = (
        lab("ball-hall-kitchen-0", "go garden"),
        lab("map-hall-bedroom-0", "go landing", "go study"),
    )
    assert downstairs.step("go garage")[0] == "garage: ball."
    assert upstairs.step("go nursery")[0] == "no such door."
    assert say(upstairs, "go landing", "go nursery") == [
        "landing: nothing, no map.",
        "nursery: map.",
    ]


# --- the expert


@pytest.mark.parametrize("layout", [0, 987_654, Lab.LAYOUTS - 1])
def test_each_action_of_the_expert_shortens_the_shortest_way_by_one_from_every_start_to_every_end(
    layout,
):
    world = Lab()
    for thing in Lab.THINGS:
        for goal in ROOMS:
            for start in ROOMS:
                task = f"{thing}-{goal}-{start}-{layout}"
                world.reset(options={"task": task})
                home = next(room for room, hidden in world.place.items() if hidden == thing)
                way = world.expert()
                assert len(way) == FAR[start][home] + 1 + FAR[home][goal] + 1, task
                assert world.step_limit >= 2 * len(way), task
                for left in range(len(way), 0, -1):
                    way = world.expert()
                    assert len(way) == left, task
                    world.step(way[0])
                assert world.score == 1.0, task
                assert world.expert() == [], task


@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_solves_every_sampled_task(split):
    world = Lab()
    for task in world.tasks(split)[:500]:
        world.reset(options={"task": task})
        for action in world.expert():
            assert not world.done
            world.step(action)
        assert world.score == 1.0, task


def test_no_action_brings_the_goal_nearer_by_more_than_one_and_after_any_detour_there_is_a_way():
    rng, world = random.Random(5), Lab()
    for task in world.tasks("validation")[:150]:
        world.reset(options={"task": task})
        for _ in range(world.step_limit - 9):
            before = len(world.expert())
            action = rng.choice(world.choices())
            world.step(action)
            if world.done:
                break
            assert len(world.expert()) >= before - 1, (task, action)
        for action in world.expert() or ():
            world.step(action)
        assert world.done, task
        assert world.score == 1.0 or world.expert() is None, task


def test_choices_can_all_be_carried_out_but_for_taking_what_is_wanted_elsewhere():
    rng, world = random.Random(6), Lab()
    for task in world.tasks("train")[:60]:
        taken = []
        world.reset(options={"task": task})
        while not world.done and len(taken) < 12:
            for action in world.choices():
                said = lab(task, *taken).step(action)[0]
                assert said not in ("no such door.", "you do not hold that.", "nothing happens."), (
                    task,
                    taken,
                    action,
                )
                assert action == f"take {world.thing}" or said != "that is not here.", (
                    task,
                    taken,
                    action,
                )
            assert world.expert()[0] in world.choices(), (
                "the right action must be among those to choose from"
            )
            taken.append(rng.choice(world.choices()))
            world.step(taken[-1])


# --- tasks and splits


def test_there_are_ten_thousand_different_tasks_and_no_layout_and_goal_stands_in_two_splits():
    world = Lab()
    seen = {split: world.tasks(split) for split in SPLITS}
    assert [len(set(seen[split])) for split in SPLITS] == [30_000, 5_000, 5_000]
    keys = {
        split: {(*t.split("-")[:2], t.split("-")[3]) for t in tasks}
        for split, tasks in seen.items()
    }
    layouts = {split: {int(layout) for *_, layout in found} for split, found in keys.items()}
    for one, other in [("train", "validation"), ("train", "test"), ("validation", "test")]:
        assert not keys[one] & keys[other]
        assert not layouts[one] & layouts[other]
    assert {layout % 10 for layout in layouts["train"]} == {*range(8)}
    assert {layout % 10 for layout in layouts["validation"]} == {8}
    assert {layout % 10 for layout in layouts["test"]} == {9}


def test_every_thing_room_and_start_is_drawn_in_every_split():
    for split in SPLITS:
        things, goals, starts, _ = zip(
            *(task.split("-") for task in Lab().tasks(split)[:2000]), strict=True
        )
        assert ({*things}, {*goals}, {*starts}) == ({*Lab.THINGS}, {*ROOMS}, {*ROOMS})


def test_tasks_and_texts_are_the_same_every_time():
    assert Lab().tasks("test") == Lab().tasks("test")
    rng = random.Random(7)
    actions = [
        f"{verb} {rng.choice([*ROOMS, *AT])}" for verb in ("go", "take", "go", "go", "take", "go")
    ]
    one, other = lab("map-attic-office-77"), lab("map-attic-office-77")
    other.reset(seed=99, options={"task": "map-attic-office-77"})
    assert [one.step(a) for a in actions] == [other.step(a) for a in actions]


def test_nothing_of_the_last_episode_is_left_after_a_reset():
    world = lab("cup-pantry-hall-0", "go garden", "take cup", "put cup")
    assert world.done
    world.reset(options={"task": "cup-pantry-hall-0"})
    assert (world.done, world.score, world.held, world.room) == (False, 0.0, set(), "hall")
    assert world.step("go garden")[0] == "garden: cup."


def test_every_word_that_the_lab_says_or_hears_is_in_words():
    known, rng, world = {*re.findall(r"\w+|[^\w\s]", Lab.words)}, random.Random(8), Lab()
    for task in world.tasks("train")[:100]:
        observation, info = world.reset(options={"task": task})
        said = [info["instruction"], observation]
        while not world.done and len(said) < 40 and world._steps < world.step_limit:
            action = rng.choice([*world.choices(), "go attic", "put shoe", "take rope", "dance"])
            said += [action if action != "dance" else "", world.step(action)[0]]
        unknown = {*re.findall(r"\w+|[^\w\s]", " ".join(said))} - known
        assert not unknown, (
            f"in {task} the lab uses words that a tokenizer made from its words lacks"
        )


# --- whatever a model writes

NASTY = [
    "",
    " ",
    "go",
    "take",
    "put",
    "go go",
    "go hall kitchen",
    "GO KITCHEN",
    "Go kitchen",
    "go nowhere",
    "take nothing",
    "put nothing",
    "take lamp cup",
    "look",
    "revise",
    "<user> put lamp",
    "<|im_end|><|im_start|>user",
    "\x00\x07\x1b[2J",
    "go\x00kitchen",
    "go kitchen" * 1000,
    "x" * 10_000,
    "\u202e\ud800 " * 5,
    "go \N{PILE OF POO}",
    "{'go': 'kitchen'}",
]


@pytest.mark.parametrize("action", NASTY, ids=lambda action: ascii(action)[:30])
def test_whatever_a_model_writes_is_answered_in_a_few_words_and_costs_a_step(action):
    world = lab("cup-pantry-hall-0")
    said, reward, terminated, truncated, info = world.step(action)
    assert 0 < len(said) < 40
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info == {"score": 0.0, "effect": REFUSED}
    assert (world.room, world.held, world._steps) == ("hall", set(), 1)
    for _ in range(world.step_limit - 2):
        world.step(action)
    assert world.step(action)[3], "a step that is only answered counts to the limit as well"


def test_white_space_around_and_between_the_words_of_an_action_does_not_matter():
    assert say(lab(), "  go \t kitchen\n") == say(lab(), "go kitchen") == ["kitchen: lamp, no cup."]
    world = Corridor()  # which compares the whole text
    world.reset(options={"task": "test-0"})
    assert say(world, "\n right ") == ["place 3."]


@pytest.mark.parametrize(
    "task",
    [
        "",
        "x",
        "lamp-kitchen-hall",
        "lamp-kitchen-hall-0-1",
        "sofa-kitchen-hall-0",
        "lamp-cellar-hall-0",
        "lamp-kitchen-cellar-0",
        "lamp-kitchen-hall-",
        "lamp-kitchen-hall--1",
        "lamp-kitchen-hall-1.5",
        "lamp-kitchen-hall-²",
        "lamp-kitchen-hall-٣",
        f"lamp-kitchen-hall-{Lab.LAYOUTS}",
        "lamp-kitchen-hall-" + "9" * 5000,
        "Lamp-kitchen-hall-0",
    ],
    ids=lambda task: task[:30],
)
def test_a_task_that_does_not_exist_is_told_in_one_sentence_that_shows_one_that_does(task):
    with pytest.raises(UserError) as caught:
        Lab().reset(options={"task": task})
    sentence = str(caught.value)
    assert repr(task) in sentence
    assert "\n" not in sentence
    Lab().reset(options={"task": re.search(r"as in (\S+)$", sentence)[1]})


# --- the truth about the first error


def test_the_distance_is_the_length_of_the_experts_way_and_infinite_where_none_is_left():
    assert distance(lab("cup-pantry-hall-0")) == 4
    assert distance(lab("cup-pantry-hall-0", "go garden", "take cup")) == 2
    assert distance(lab("cup-pantry-hall-0", "go garden", "take cup", "go pantry", "put cup")) == 0
    assert distance(lab("cup-pantry-hall-0", "go garden", "take cup", "put cup")) == math.inf
    world = Corridor()
    world.reset(options={"task": "test-0"})
    assert distance(world) == math.inf, "it has no expert"


@pytest.mark.parametrize(
    ("actions", "error"),
    [
        (["go garden", "take cup", "go pantry", "put cup"], None),  # the expert's own way
        (["go garden", "take cup"], None),  # unfinished, but nothing went wrong
        ([], None),
        (["go kitchen", "go garden"], 0),  # a wrong room
        (["go garden", "go garden", "take cup"], 1),  # a step that leads nowhere
        (["go garden", "take lamp", "take cup"], 1),  # what is not there
        (["go garden", "take cup", "put cup"], 2),  # fatal
        (
            ["go garden", "take cup", "go kitchen", "put cup"],
            2,
        ),  # the first error, not the fatal one
        (
            ["", "revise", "go garden", "revise", "", "go landing"],
            5,
        ),  # what the world never sees is passed over
        (["revise", "", "go garden", "take cup", "go pantry", "put cup"], None),
        (["dance"], 0),
    ],
)
def test_the_first_error_is_the_first_action_after_which_the_way_did_not_get_shorter(
    actions, error
):
    assert first_error(Lab(), "cup-pantry-hall-0", actions) == error


def test_the_world_is_reset_before_the_first_error_is_looked_for():
    world = lab("lamp-attic-study-77", "go landing")
    assert first_error(world, "cup-pantry-hall-0", ["go garden", "go garden"]) == 1
    assert (world.thing, world.room) == ("cup", "garden")


@pytest.mark.parametrize(("start", "error"), [(0, 0), (1, 2), (2, 2), (3, 3), (4, None), (9, None)])
def test_errors_before_the_step_that_is_asked_from_do_not_count(start, error):
    actions = ["go kitchen", "go garden", "go office", "dance", "go garden", "revise", "take cup"]
    assert first_error(Lab(), "cup-pantry-hall-0", actions, start) == error


def effects(world, *actions):
    return [world.step(action)[-1]["effect"] for action in actions]


def test_lab_tells_what_changed_what_was_only_answered_and_what_was_refused():
    world = lab("cup-pantry-hall-0")
    assert effects(world, "dance", "take cup", "go attic", "put cup") == [REFUSED] * 4
    assert effects(world, "go kitchen", "take lamp", "go office") == [CHANGED] * 3
    assert effects(world, "go kitchen", "go kitchen") == [ANSWERED] * 2, "nothing wanted lies there"
    assert effects(world, "go garden", "go office", "go garden") == [CHANGED, ANSWERED, CHANGED]
    assert effects(world, "take cup", "go garden", "go kitchen", "go pantry") == [CHANGED] * 4
    assert effects(world, "put cup") == [CHANGED]


def test_walking_back_through_hall_and_landing_changes_something_and_a_new_task_has_seen_nothing():
    world = lab("coin-hall-hall-0")
    way = ["go landing", "go attic", "go landing", "go hall", "go landing", "go bedroom"]
    assert effects(world, *way) == [CHANGED] * 6
    assert effects(world, "go landing", "go attic") == [CHANGED, ANSWERED]
    world.reset(options={"task": "coin-hall-hall-0"})
    assert effects(world, "go landing", "go attic") == [CHANGED] * 2


def test_a_world_that_says_nothing_of_an_action_does_not_repeat_what_it_said_of_the_last():
    class Once(Corridor):
        def act(self, action):
            if action == "left":
                self.effect = REFUSED
            return super().act(action)

    world = Once()
    world.reset(options={"task": "test-0"})
    assert effects(world, "left", "right") == [REFUSED, ""]


def test_walking_through_the_hall_is_no_error_where_the_way_leads_through_it():
    way = [
        "go hall",
        "go landing",
        "go attic",
        "take rope",
        "go landing",
        "go hall",
        "go office",
        "put rope",
    ]
    assert first_error(Lab(), "rope-office-garden-0", way) is None
    assert first_error(Lab(), "rope-office-hall-0", way) == 0  # but from the hall it leads nowhere


def test_the_experts_way_has_no_error_and_a_planted_one_is_found():
    rng, world = random.Random(9), Lab()
    for task in world.tasks("test")[:150]:
        world.reset(options={"task": task})
        way = world.expert()
        assert first_error(world, task, way) is None
        t = rng.randrange(len(way))
        assert first_error(world, task, [*way[:t], "dance", *way[t:]]) == t


# --- worlds by name


def test_make_world_makes_fresh_copies_of_the_worlds_it_names():
    make = make_world("lab")
    one, other = make(), make()
    assert one is not other
    assert isinstance(one, Lab)
    assert [make_world(name)().name for name in ("shop", "craft")] == ["shop", "craft"]
    assert World.parallel == one.parallel == 1


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("shop", ""),
        ("craft:", ""),
        ("agentgym:webshop@http://host:1", "webshop@http://host:1"),
        ("scienceworld", ""),
        ("scienceworld:find-plant+find-animal", "find-plant+find-animal"),
        ("textcraft:folder", "folder"),
    ],
)
def test_a_world_is_imported_when_asked_for_and_gets_what_stands_after_the_first_colon(
    monkeypatch, name, option
):
    asked = []
    module = types.SimpleNamespace(make_world=lambda option: asked.append(option) or Corridor)
    monkeypatch.setitem(sys.modules, f"worlds.{name.partition(':')[0]}", module)
    assert make_world(name) is Corridor
    assert asked == [option]
    make_world(name, "recipes")  # for textcraft alone, and only where its name holds no folder
    assert asked[1] == option


def test_the_folder_of_recipes_stands_in_for_textcrafts_alone(monkeypatch):
    asked = []
    for name in ("textcraft", "agentgym"):
        module = types.SimpleNamespace(make_world=lambda option: asked.append(option))
        monkeypatch.setitem(sys.modules, f"worlds.{name}", module)
        make_world(name, "recipes")
        make_world(name)
    assert asked == ["recipes", "", "", ""]


def test_every_other_world_is_a_file_in_worlds():
    folder = Path(envs.__file__).parent / "worlds"
    assert [name for name in WORLD_MODULES if not (folder / f"{name}.py").is_file()] == []


def test_importing_envs_imports_no_other_world_and_no_extra():
    code = (
        "import envs, sys; heavy = ('worlds', 'extras', 'torch')\n"
        "print([name for name in sys.modules if name.split('.')[0] in heavy])"
    )
    where = Path(envs.__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=where, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


def test_a_world_that_cannot_be_imported_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "worlds.scienceworld", None)  # as if it were not there
    with pytest.raises(
        UserError, match=r"^--env scienceworld: the module scienceworld cannot be imported"
    ):
        make_world("scienceworld")


def test_anybodys_own_world_is_named_by_module_and_class():
    assert type(make_world("doubles:Corridor")()) is Corridor


class Foreign:
    """A world that knows nothing of ours: two switches, both of which must be on."""

    step_limit = 4

    def tasks(self, split):
        return [f"{split}-0"]

    def reset(self, *, seed=None, options):
        self.switches = {"left": False, "right": False}
        return "both are off.", {"instruction": f"turn on both ({options['task']}).", "score": 0.0}

    def step(self, action):
        if action in self.switches:
            self.switches[action] = not self.switches[action]
        on = all(self.switches.values())
        return f"{action}.", float(on), on, False, {"score": float(on)}


class ForeignExpert(Foreign):
    """The same, and it knows the way."""

    def expert(self):
        return [name for name, on in self.switches.items() if not on]


def test_a_class_that_inherits_nothing_and_has_no_expert_is_a_world_all_the_same():
    make = make_world(f"{__name__}:Foreign")
    world = make()
    assert world is not make()
    assert isinstance(world, Foreign)
    assert isinstance(world, World)
    assert world.reset(options={"task": "test-0"}) == (
        "both are off.",
        {"instruction": "turn on both (test-0).", "score": 0.0},
    )
    assert world.step("left") == ("left.", 0.0, False, False, {"score": 0.0})
    assert world.step("right") == ("right.", 1.0, True, False, {"score": 1.0})
    assert (world.tasks("train"), world.step_limit) == (["train-0"], 4)
    assert (world.has_expert, world.has_gold) == (False, False)
    assert (world.expert(), world.gold(), world.choices(), world.thought()) == (None, [], [], "")
    assert (world.words, world.parallel, world.warm_up) == ("", 1, "train")
    assert not hasattr(Foreign, "expert"), "the class itself is left as it is"


def test_the_truth_about_a_foreign_world_is_known_where_it_has_an_expert():
    world = make_world(f"{__name__}:ForeignExpert")()
    assert (world.has_expert, world.has_gold) == (True, False)
    assert first_error(world, "test-0", ["left", "right"]) is None
    assert first_error(world, "test-0", ["left", "left", "right"]) == 1


class NoAct(World):
    """A world that lacks a method."""

    def tasks(self, split):
        return []

    def begin(self, task):
        return "", ""


class NoSteps(Corridor):
    """A world in which nothing can be done."""

    step_limit = 0


class NoStep:
    """A foreign world that lacks a method."""

    step_limit = 1
    tasks = reset = print


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (
            "nowhere",
            "there are lab, shop, craft, textcraft, scienceworld, agentgym, and module:Class",
        ),
        ("lab:", "the module lab cannot be imported"),
        ("", "there are lab"),
        ("no_such_module:World", "no_such_module cannot be imported"),
        (
            "doubles:Nothing",
            "no world, as the module doubles has no class 'Nothing'; it has Corridor",
        ),
        ("doubles:", "no world, as the module doubles has no class ''; it has Corridor"),
        ("json:Json", "no class 'Json'; it has none that is derived from envs.World"),
        ("doubles.py:Corridor", "'doubles.py' cannot be imported, as it is no module's name"),
        ("tests/doubles:Corridor", "name a module, as in coin:Coin, and its folder in PYTHONPATH"),
        ("./doubles:Corridor", "cannot be imported, as it is no module's name"),
        (":World", "'' cannot be imported, as it is no module's name"),
        (".relative:World", "cannot be imported"),
        ("json:loads", "no world, as it has no tasks"),
        ("envs:World", "no world, as it has no tasks; derive a class from envs.World"),
        ("test_envs:NoAct", "no world, as it has no act; derive a class from envs.World"),
        ("test_envs:NoStep", "no world, as it has no step; derive a class from envs.World"),
        ("test_envs:NoSteps", "its step_limit is 0; it must be at least 1"),
    ],
)
def test_a_name_that_is_no_worlds_is_told_in_one_sentence(name, part):
    with pytest.raises(UserError) as caught:
        make_world(name)
    assert part in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
