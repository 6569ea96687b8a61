"""craft: the rules one by one, the splits, the expert as a measure of distance, and bad input.

What holds for textcraft as well is tested on both; see test_textcraft.py for the rest.
"""

import hashlib
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from crafting import INSTALLED, both, say, small_craft, some_tasks, split_goals, wander

import envs
from engine import UserError
from engine.tiny import word_tokenizer
from envs import ANSWERED, CHANGED, REFUSED, SPLITS, first_error, make_world
from general.lessons import lessons
from worlds.craft import Craft, Recipe, errands, misread
from worlds.recipes import Book, TaggedRecipe

# --- rules


def test_a_worked_episode():
    env = small_craft()
    assert say(
        env, "inventory", "get 2 oak logs", "craft 4 oak planks using 1 oak logs", "inventory"
    ) == [
        "Inventory: You are not carrying anything",
        "Got 2 oak logs",
        "Crafted 4 oak planks",
        "Inventory: 1 oak logs, 4 oak planks",
    ]
    say(env, "craft 4 oak planks using 1 oak logs", "craft 4 stick using 2 oak planks")
    assert env.inventory == {
        "oak planks": 6,
        "stick": 4,
    }  # what is used up is gone, what is left over stays
    assert (env.score, env.done) == (0.0, False)
    result = env.step("craft 3 sign using 6 oak planks, 1 stick")
    assert result == ("Crafted 3 sign", 1.0, True, False, {"score": 1.0, "effect": CHANGED})
    assert env.inventory == {"stick": 3, "sign": 3}
    assert env.expert() == []


def test_crafting_the_same_thing_twice_is_progress_and_asking_for_what_one_has_is_not():
    env = small_craft()
    crafting = "craft 4 oak planks using 1 oak logs"
    actions = {
        "inventory": ANSWERED,
        "get 2 oak logs": CHANGED,
        "get 1 oak logs": ANSWERED,  # one has that much of it
        "get 9 oak logs": CHANGED,
        "get 1 sign": REFUSED,
        "dance": REFUSED,
        "craft 1 lamp using 3 wax": REFUSED,
    }
    for action, effect in actions.items():
        assert env.step(action)[-1]["effect"] == effect, action
    told = [env.step(crafting) for _ in range(2)]
    assert told[0][0] == told[1][0] == "Crafted 4 oak planks"
    assert [info["effect"] for *_, info in told] == [CHANGED] * 2


@pytest.mark.parametrize("thing", ["stick", "oak planks", "sign", "planks"])
def test_what_a_recipe_makes_and_a_tag_cannot_be_got(thing):
    env = small_craft()
    assert say(env, f"get 1 {thing}") == ["Could not find that"]
    assert env.inventory == {}


def test_what_the_book_does_not_know_is_not_found_and_not_repeated():
    env = small_craft()
    assert say(env, "get 1 moon", "craft 1 moon using 1 oak logs") == [
        "Could not find that",
        "Could not find enough items to craft that",
    ]


@pytest.mark.parametrize("using", ["2 oak logs", "1 oak logs, 1 fir logs", "1 fir logs"])
def test_amounts_and_inputs_must_be_the_recipes_own(using):
    env = small_craft()
    say(env, "get 5 oak logs", "get 5 fir logs")
    assert say(env, f"craft 4 oak planks using {using}") == [
        "Could not find a valid recipe for that"
    ]
    assert env.inventory == {"oak logs": 5, "fir logs": 5}


def test_nothing_of_a_thing_is_no_input():
    env = small_craft()
    say(env, "get 1 oak logs")
    assert (
        say(env, "craft oak planks using 0 oak logs", "craft oak planks using 1 oak logs, 0 nail")
        == ["Could not execute that"] * 2
    )


def test_what_is_not_held_cannot_be_used():
    env = small_craft()
    say(env, "get 1 fir logs", "craft 4 fir planks using 1 fir logs", "get 4 nail")
    assert say(env, "craft 1 crate using 4 fir planks, 5 nail") == [
        "Could not find enough items to craft that"
    ]
    assert env.inventory == {"fir planks": 4, "nail": 4}
    assert say(env, "get 1 nail", "craft 1 crate using 4 fir planks, 5 nail") == [
        "Got 1 nail",
        "Crafted 1 crate",
    ]


def test_an_input_named_twice_counts_twice():
    env = small_craft()
    say(env, "get 1 oak logs", "craft 4 oak planks using 1 oak logs")
    say(env, "craft 4 stick using 2 oak planks")
    assert say(env, "craft 4 stick using 2 oak planks, 2 oak planks") == [
        "Could not find enough items to craft that"
    ]
    assert say(env, "craft 4 stick using 1 oak planks, 1 oak planks") == ["Crafted 4 stick"]


def test_the_order_of_inputs_and_the_amount_of_the_output_are_free():
    env = small_craft("rail")
    say(
        env,
        "get 6 nail",
        "get 1 oak logs",
        "craft oak planks using 1 oak logs",
        "craft 1 stick using 2 oak planks",
    )
    assert say(env, "craft rail using 1 stick,6 nail") == ["Crafted 8 rail"]
    assert env.score == 1.0


def test_a_get_of_nothing_or_of_a_thousand_is_no_action():
    env = small_craft()
    assert say(env, "get 0 nail", "get 1000 nail") == ["Could not execute that"] * 2
    assert say(env, "get 999 nail", "get 1 nail") == ["Got 999 nail", "Got 1 nail"]
    assert env.inventory == {"nail": 1000}


def test_the_episode_is_cut_at_the_step_limit():
    env = small_craft()
    assert [env.step("inventory")[3] for _ in range(20)] == [False] * 19 + [True]


# --- prompt


def test_a_prompt_holds_the_recipes_its_goal_needs_and_two_others_at_most_in_some_order():
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
        assert env.step("get 64 powder")[0] == "Could not find that", (
            "the word stands for three things and is none"
        )
        assert first_error(env, task, [f"get 64 {powder}"]) is None
    assert all(found[powder] > 150 for powder in env.POWDERS)


def test_choices_of_the_small_world_name_every_powder_and_never_the_word_for_it():
    env = Craft()
    env.reset(options={"task": "oak_mug-0"})
    env.commands = ["craft 2 mug using 3 oak, 4 powder", "craft 3 axe using 1 bar, 2 rod"]
    powders = ("coal", "sand", "salt")
    assert sorted(env.choices()) == sorted(
        [
            *(f"craft 2 mug using 3 oak, 4 {powder}" for powder in powders),
            *(f"craft mug using 3 oak, 4 {powder}" for powder in powders),
            *(f"craft mug using 1 oak, 2 {powder}" for powder in powders),
            *("craft 3 axe using 1 bar, 2 rod", "craft axe using 1 bar, 2 rod"),
            "craft axe using 3 bar, 4 rod",
            *(f"get {amount} {powder}" for amount in (4, 64) for powder in powders),
            *("get 3 oak", "get 1 bar", "get 2 rod"),
            *("get 64 oak", "get 64 bar", "get 64 rod"),
        ]
    )
    env.commands = ["craft 1 fire charge using 1 gunpowder, 1 blaze powder"]
    crafts = [*env.commands, "craft fire charge using 1 gunpowder, 1 blaze powder"]
    gets = ["get 1 gunpowder", "get 64 gunpowder", "get 1 blaze powder", "get 64 blaze powder"]
    assert env.choices() == [*crafts, *gets]


@pytest.mark.parametrize(
    ("inputs", "line", "expected"),
    [
        ("2 bar, 1 rod", "7 elm, 8 coal", "7 bar, 8 rod"),
        ("2 oak planks", "4 wax, 1 coal", "4 oak planks"),
        ("5 bar, 6 elm", "3 planks", "3 bar, 6 elm"),
        ("1 disc 13, 6 elm", "3 disc 4, 7 oak", "3 disc 13, 7 elm"),
    ],
)
def test_who_misreads_takes_the_amounts_of_another_line(inputs, line, expected):
    assert misread(inputs, line) == expected


def test_what_the_expert_does_in_the_small_world_is_among_the_choices_wherever_it_stands():
    env, rng = Craft(), random.Random(0)
    for task in rng.sample(env.tasks("train"), 100):
        env.reset(options={"task": task})
        done = False
        while not done:
            action = env.expert()[0]
            assert action in env.choices()
            _, _, terminated, truncated, _ = env.step(action)
            done = terminated or truncated


@both
def test_what_looks_like_the_experts_way_and_is_refused_is_among_the_judged_mistakes(make):
    """Else a judge learns that what looks like the expert's way is good, whatever the answer."""
    env, rng = make(), random.Random(0)
    tasks = rng.sample(list(env.tasks("train")), 300)
    _, judged = lessons(env, tasks[:20], tasks[20:], rng)
    kinds = {  # what is done, and what is answered
        "get 64 [a-z]": "Could not find",
        "craft [a-z]": "Could not find enough",
        "craft [a-z ]+ using": "Could not find a valid recipe",
    }
    verdicts = {kind: Counter() for kind in kinds}
    for messages in judged:
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            action, _, observation = question["content"].rpartition("Action: ")[2].partition("\n")
            for kind, refusal in kinds.items():
                if re.match(kind, action) and refusal in observation:
                    verdicts[kind][answer["content"]] += 1
    for counts in verdicts.values():
        assert list(counts) == ["Judgment: Bad"]
        assert counts["Judgment: Bad"] >= 5


def test_in_the_small_world_amounts_and_powder_change_from_number_to_number():
    env, recipes, powders = Craft(), set(), set()
    for number in range(30):
        env.reset(options={"task": f"oak_axe-{number}"})
        recipes |= {str(recipe) for recipe in env.ways["axe"]}
        powders |= env.gettable - {"oak"}
    assert len(recipes) >= 10
    assert powders == {"coal", "sand", "salt"}


def test_the_prompt_of_a_task_never_changes():
    """A guard for published figures: if this fails, every split and prompt of craft is another."""
    env = Craft()
    texts = [
        repr(env.reset(options={"task": task}))
        for split in SPLITS
        for task in env.tasks(split)[:300]
    ]
    assert hashlib.sha256("".join(texts).encode()).hexdigest()[:16] == "0c8df18ba42a1db1"


# --- expert


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


@both
def test_no_action_brings_the_goal_nearer_by_more_than_one(make):
    """So the expert's plans are the shortest there are: a shorter one would show as a leap."""
    env = make()
    rng = random.Random(1)
    tasks = env.tasks("train")
    for _ in range(150):
        env.reset(options={"task": rng.choice(tasks)})
        for _ in range(8):
            before = len(env.expert())
            wander(env, rng, 1)
            assert len(env.expert()) >= before - 1


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


def test_the_small_world_leaves_twice_the_steps_its_expert_needs():
    env = Craft()
    lengths = []
    for task in some_tasks(env):
        env.reset(options={"task": task})
        lengths.append(len(env.expert()))
    assert min(lengths) >= 3
    assert 2 * max(lengths) <= env.step_limit


def test_the_small_worlds_planner_agrees_with_the_one_that_searches():
    env, rng = Craft(), random.Random(4)
    for task in rng.sample(env.tasks("train"), 400):
        env.reset(options={"task": task})
        book = Book([TaggedRecipe(r.output, r.count, r.inputs) for (r,) in env.ways.values()])
        names = rng.sample([*env.ways, *sorted(env.gettable)], 3)
        held = {name: rng.randint(0, 5) for name in names if name != env.goal}
        env.inventory = +Counter(held)
        assert book.gettable == env.gettable
        assert len(env.expert()) == len(book.plan(env.goal, env.inventory)), (task, held)


# --- goals and splits


def test_the_small_world_holds_out_enough_to_measure():
    env = Craft()
    splits = split_goals(env)
    assert [len(splits[split]) for split in SPLITS] == [96, 12, 12]
    assert [len(env.tasks(split)) for split in SPLITS] == [15360, 1920, 1920]
    for split in ("validation", "test"):
        assert {goal.split()[1] for goal in splits[split]} == {"mug", "axe", "cart"}
    seen = {word for goal in splits["train"] for word in goal.split()}
    assert {
        word for goal in splits["test"] for word in goal.split()
    } <= seen  # the combination is new


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
    held_out, train = (
        {*splits["test"], *splits["validation"]},
        {*env.tasks("train"), *env.tasks(env.warm_up)},
    )
    for task in some_tasks(env):
        env.reset(options={"task": task})
        if not task.startswith("disguised_"):  # in disguise, names mean other things
            assert not held_out & {
                name for ways in env.ways.values() for way in ways for name in way.inputs
            }
        if task in train:
            crafted = {
                action.split(" using ")[0].split(" ", 1)[1]
                for action in env.expert()
                if action[0] == "c"
            }
            assert crafted
            assert not crafted & held_out


@both
def test_every_word_that_appears_is_in_words(make):
    env = make()
    tokenizer = word_tokenizer(env.words)
    for task in some_tasks(env):
        observation, info = env.reset(options={"task": task})
        texts = [info["instruction"], observation, env.goal]
        plan = env.expert()
        texts += plan
        last = plan[-1]
        used = re.split("[0-9]+ ", last)[-1]  # one of its inputs
        wrong = [last, "inventory", f"{last}, {used}", f"get 64 {env.goal}", f"get {used}"]
        for action in (*wrong, *plan[:-1], last.replace(env.goal, used), "inventory", last):
            texts.append(env.act(action))
        assert env.done
        assert tokenizer.unk_token_id not in tokenizer(" ".join(texts))["input_ids"], task


# --- determinism

TEXTS = """
import hashlib, sys
from envs import SPLITS
from worlds.craft import Craft
from worlds.textcraft import TextCraft
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
            command,
            cwd=where,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == (6 if INSTALLED else 3)


@both
def test_a_task_alone_decides_its_texts_whatever_was_played_before_and_elsewhere(make):
    one, other = make(), make()
    tasks = [*one.tasks("test")[:20], *one.tasks(one.warm_up)[:20]]
    first = [one.reset(options={"task": task}) for task in tasks]
    assert len({prompt for prompt, _ in first}) == len(tasks)
    for seed, task in enumerate(other.tasks("train")[:50]):
        random.seed(seed)
        other.reset(options={"task": task})
        say(other, *other.expert())
    assert one.inventory == {}
    backwards = [other.reset(options={"task": task}) for task in reversed(tasks)]
    assert first == backwards[::-1] == [make().reset(options={"task": task}) for task in tasks]


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


# --- whatever a model writes

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
    env = small_craft()
    for send in (env.act, lambda action: env.step(action)[0]):
        env.inventory = Counter({"stick": 1})
        answer = send(action)
        if env.inventory == {
            "stick": 1,
            "nail": 1,
        }:  # the interface trims white space, as in "get 1 nail\n"
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


# --- the world by name


def test_craft_is_made_by_name_and_refuses_an_option():
    make = make_world("craft")
    assert isinstance(make(), Craft)
    assert make() is not make()
    with pytest.raises(UserError) as caught:
        make_world("craft:oak")
    assert str(caught.value) == "--env craft:oak: craft takes no option; name it as in --env craft"
