"""What anybody's own world owes: each breach is told in one sentence, before anything is taught."""

import abc
import functools
import random
import re
from collections import deque
from collections.abc import Sequence

import pytest
from test_command_line import QUICK

import train
from agent_r import REVISE
from engine import UserError, contracts
from engine.manual import Mark, tell
from engine.tiny import word_tokenizer
from envs import SPLITS, EpisodeLostError, Lab, World, make_world
from extras import show
from extras.judge import noisy_episodes
from general.lessons import demonstration, judged_episode, lessons
from general.words import check_words_shown, unknown_words


class Coin(World):
    """The README's world: guess the hidden side of a coin."""

    name, step_limit, words = (
        "coin",
        4,
        "guess the side. you can: say SIDE. heads tails no yes lies",
    )

    def tasks(self, split):
        return [f"{side}-{split}-{number}" for number in range(3) for side in ("heads", "tails")]

    def begin(self, task):
        self.side = task.split("-")[0]
        return "guess the side. you can: say SIDE.", "the side lies."

    def act(self, action):
        self.done = action == f"say {self.side}"
        self.score = float(self.done)
        return "yes." if self.done else "no."

    def expert(self):
        return [] if self.done else [f"say {self.side}"]

    def choices(self):
        return ["say heads", "say tails"]


HEADS = {"options": {"task": "heads-train-0"}}


def own(world_class):
    """A copy of a class of this module, loaded as `--env` loads it."""
    return make_world(f"{__name__}:{world_class.__name__}")()


def told(call, *arguments, **named):
    """The sentence in which a call is refused."""
    with pytest.raises(UserError) as refusal:
        call(*arguments, **named)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def refused_run(world_class, folder, capsys, *flags):
    """The sentence in which a run in a world ends."""
    capsys.readouterr()
    names = ("--tiny", "--env", f"{__name__}:{world_class.__name__}", "--out", str(folder / "out"))
    assert train.main([*QUICK, *names, *flags]) == 2
    sentence = capsys.readouterr().err.strip().split("\n")[-1]
    assert sentence.startswith("train.py: ")
    return sentence


def shown(capsys, *words):
    """What a command of extras/show.py prints, and its sentence if it is refused."""
    capsys.readouterr()
    show.main([str(word) for word in words])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return printed.out, printed.err


# --- ways


class NoneExpert(Coin):
    def expert(self):
        return None


class SometimesNone(Coin):
    def expert(self):
        return None if self.side == "tails" else super().expert()


class EmptyExpert(Coin):
    def expert(self):
        return []


class EmptyGold(Coin):
    expert = World.expert

    def gold(self):
        return []


def test_a_sound_world_is_taught():
    world = own(Coin)
    assert demonstration(world, "tails-train-0").actions == ["say tails"]
    assert judged_episode(world, "tails-train-0", ["say heads"], random.Random(0))


@pytest.mark.parametrize("world_class", [NoneExpert, SometimesNone, EmptyGold])
def test_a_world_that_shows_no_way_from_the_start_is_told_so(world_class):
    world = own(world_class)
    for lesson in (demonstration, judged_episode):
        rest = () if lesson is demonstration else (["say heads"], random.Random(0))
        sentence = told(lesson, world, "tails-train-0", *rest)
        assert sentence.startswith("the world coin, task 'tails-train-0': ")
        assert re.search(r"(expert|gold) knows no way from the start", sentence)


def test_an_expert_that_shows_nothing_where_it_has_not_arrived_is_told_so():
    world = own(EmptyExpert)
    world.reset(options={"task": "tails-train-0"})
    assert "expert returns no actions, though the score is not 1" in told(world.expert)


def test_a_run_and_a_revision_without_a_way_end_in_a_sentence(tmp_path, capsys):
    assert "expert knows no way" in refused_run(NoneExpert, tmp_path, capsys)
    _, error = shown(capsys, "revision", f"{__name__}:NoneExpert")
    assert "task 'heads-test-0': expert knows no way" in error


# --- beginnings


class DoneAtBegin(Coin):
    def begin(self, task):
        self.done = True
        return super().begin(task)


class OwnStart(Coin):
    def reset(self, *, seed=None, options):
        return "the side lies.", {"instruction": "guess.", "score": 0.0}


class StaleSteps(Coin):
    def reset(self, *, seed=None, options):
        self.done, self.side = False, "heads"
        return "the side lies.", {"instruction": "guess.", "score": 0.0}


class CallsOurs(Coin):
    def reset(self, *, seed=None, options):
        return World.reset(self, seed=seed, options=options)


def test_an_episode_that_is_over_before_its_first_action_is_refused():
    reset = own(DoneAtBegin).reset
    with pytest.raises(UserError, match=r"task 'heads-test-0': begin has set done, but no episode"):
        reset(options={"task": "heads-test-0"})


@pytest.mark.parametrize("world_class", [OwnStart, StaleSteps])
def test_a_reset_that_leaves_the_episode_over_is_refused(world_class):
    world = own(world_class)
    with pytest.raises(UserError, match=r"task 'a': reset leaves the episode over.* World.reset"):
        world.reset(options={"task": "a"})


def test_a_reset_that_calls_ours_is_a_good_one():
    world = own(CallsOurs)
    for _ in range(2):
        world.reset(options={"task": "heads-test-0"})
        assert world.step("say heads")[1:3] == (1.0, True)


class ScoreProperty(Coin):
    @property
    def score(self):
        return 0.5


class DoneProperty(Coin):
    @property
    def done(self):
        return False


@pytest.mark.parametrize("field", ["score", "done"])
def test_a_property_in_the_place_of_what_is_set_is_refused(field):
    name = f"{__name__}:{field.capitalize()}Property"
    sentence = told(make_world, name)
    assert sentence.startswith(f"--env {name}: its {field} is a property that cannot be set")


# --- lost episodes, and nothing to choose from


class Lost(Coin):
    """A world that loses its first `LOSSES` episodes."""

    LOSSES = 99

    def begin(self, task):
        self.begun = getattr(self, "begun", 0) + 1
        return super().begin(task)

    def act(self, action):
        if self.begun <= self.LOSSES:
            raise EpisodeLostError("gone")
        return super().act(action)


class LostTwice(Lost):
    LOSSES = 2


def test_a_lesson_whose_episode_is_lost_is_begun_anew_and_then_refused():
    for lesson, rest in ((demonstration, ()), (judged_episode, (["say tails"], random.Random(1)))):
        assert lesson(own(LostTwice), "heads-train-0", *rest)
        sentence = told(lesson, own(Lost), "heads-train-0", *rest)
        assert re.search(r"task 'heads-train-0', action 'say \w+': it loses the episode", sentence)
    assert "it loses the episode" in told(noisy_episodes, lambda: own(Lost), 2)


class NoChoice(Coin):
    def choices(self):
        return []


def test_where_there_is_nothing_to_choose_from_nothing_is_done(capsys):
    assert noisy_episodes(lambda: own(NoChoice), 6)
    tree, error = shown(capsys, "search", f"{__name__}:NoChoice")
    assert "(no action) -> no action." in tree
    assert not error
    assert not shown(capsys, "revision", f"{__name__}:NoChoice")[1].startswith("Traceback")


# --- ways that do not arrive


class WrongExpert(Coin):
    def expert(self):
        return [] if self.done else ["say edge"]


class LongExpert(Coin):
    def expert(self):
        return [] if self.done else ["say edge"] * 9 + [f"say {self.side}"]


class WrongGold(WrongExpert):
    expert = World.expert

    def gold(self):
        return ["say edge", "say edge"]


class LongGold(LongExpert):
    expert = World.expert

    def gold(self):
        long = self.side == "tails"
        return ["say edge"] * 9 * long + [f"say {self.side}"]


@pytest.mark.parametrize(
    ("world_class", "part"),
    [
        (WrongExpert, "the way that expert returns ends at score 0, by say edge; it must end in"),
        (LongExpert, "the way that expert returns takes 10 actions, and step_limit is 4; it must"),
    ],
)
def test_a_way_that_does_not_end_in_success_is_not_taught(world_class, part):
    sentence = told(demonstration, own(world_class), "tails-train-0")
    assert sentence.startswith("the world coin, task 'tails-train-0': ")
    assert part in sentence


def test_a_gold_path_that_is_longer_than_an_episode_is_shown_as_far_as_that_goes(capsys):
    world = own(LongGold)
    tasks = world.tasks("train")
    demonstrations, _ = lessons(world, tasks, tasks[:1], random.Random(0))
    assert [len(messages) for messages in demonstrations] == [2, 8] * 3
    assert capsys.readouterr().out == (
        "3 of 6 demonstrations of coin, which follow its gold paths,"
        " end without success, 3 of them at its step_limit of 4.\n"
    )
    assert lessons(own(Coin), tasks, tasks[:1], random.Random(0))
    assert capsys.readouterr().out == ""


# --- what is the world's own, and what must stay as it is


class OwnPlan(Coin):
    """A world that returns the very plan that it goes through, and a deque of what one may try."""

    def begin(self, task):
        told = super().begin(task)
        self.plan = ["say edge", f"say {self.side}"]
        return told

    def act(self, action):
        if action == self.plan[0]:
            self.plan.pop(0)
            self.done = not self.plan
            self.score = float(self.done)
        return "no."

    def expert(self):
        return self.plan

    def choices(self):
        return deque(super().choices())


class CopiedPlan(OwnPlan):
    def expert(self):
        return list(super().expert())


class GoldDeque(Coin):
    expert = World.expert

    def gold(self):
        return deque([f"say {self.side}"])


class Hurried(Coin):
    """A world whose looking is an action: of the expert, by the sides of coins, or of others."""

    def expert(self):
        self.act("say heads")
        return super().expert()

    def thought(self):
        self.done = True
        return ""

    def choices(self):
        self.won = True
        return super().choices()


def test_a_plan_that_the_world_returns_and_goes_through_is_taught_as_it_was():
    world = own(OwnPlan)
    assert demonstration(world, "tails-train-0").actions == ["say edge", "say tails"]
    for seed in range(40):
        dialogues = [
            judged_episode(own(kind), "tails-train-0", ["say heads"], random.Random(seed))
            for kind in (OwnPlan, CopiedPlan)
        ]
        assert dialogues[0] == dialogues[1]


def test_a_way_need_not_be_a_list():
    tasks = own(GoldDeque).tasks("train")
    assert lessons(own(GoldDeque), tasks, tasks, random.Random(0))


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("expert", "score from 0.0 to 1.0"),
        ("thought", "done from False to True"),
        ("choices", "won from None to True"),
    ],
)
def test_a_world_in_which_looking_is_acting_is_told_so(method, change):
    world = own(Hurried)
    world.reset(options={"task": "heads-train-0"})
    assert f": {method} changes {change}; whoever only looks must" in told(getattr(world, method))


# --- copies


class Abstract(Coin, abc.ABC):
    @abc.abstractmethod
    def missing(self): ...


class NoCopy(Coin):
    def __new__(cls):
        return None


class FrozenCoin(Coin):
    def __setattr__(self, name, value):
        raise AttributeError(f"cannot assign to {name}")


class LateLimit(Coin):
    @property
    def step_limit(self):
        return len(self.side)


class OtherLimit(Coin):
    def begin(self, task):
        self.step_limit = "long"
        return super().begin(task)


class Mute(Coin):
    def act(self, action):
        class MuteError(Exception):
            def __str__(self):
                raise RuntimeError("says nothing")

        raise MuteError


class LazyNames(Sequence):
    """Names as a stranger may give them: no slices."""

    def __len__(self):
        return 2

    def __getitem__(self, place):
        if not isinstance(place, int):
            raise TypeError("a number, please")
        return ("heads", "tails")[place]


class LazyTasks(Coin):
    def tasks(self, split):
        return LazyNames()


@pytest.mark.parametrize(
    ("world_class", "part"),
    [
        (Abstract, "no copy of it can be made: TypeError: Can't instantiate abstract class"),
        (NoCopy, "no copy of it can be made: calling it gives None"),
        (FrozenCoin, "setting an attribute raises AttributeError: cannot assign to task_now"),
        (LateLimit, "step_limit raises AttributeError: 'LateLimit' object has no attribute"),
    ],
)
def test_a_class_of_which_there_can_be_no_copy_is_told_so(world_class, part):
    assert part in told(make_world(f"{__name__}:{world_class.__name__}"))


def test_a_limit_that_an_episode_sets_is_looked_at():
    assert "its step_limit is 'long'" in told(own(OtherLimit).reset, **HEADS)


def test_an_exception_that_cannot_say_what_it_is_is_told_by_its_name():
    world = own(Mute)
    world.reset(**HEADS)
    assert "act raises MuteError (test_contracts.py, line" in told(world.step, "say heads")


def test_names_of_tasks_are_a_list_from_then_on():
    assert own(LazyTasks).tasks("train") == ["heads", "tails"]


# --- actions that no agent can say


class Says(Coin):
    """An expert that says `SAID`, and a world that waits for it."""

    SAID = "say heads"

    def act(self, action):
        self.done = action == self.SAID
        self.score = float(self.done)
        return "yes." if self.done else "no."

    def expert(self):
        return [] if self.done else [self.SAID]


@pytest.mark.parametrize(
    ("action", "part"),
    [
        ("", "'', which is read as no action"),
        ("revise", "'revise', which is the loop's own word for a revision"),
        ("say heads.", "'say heads.', which reaches the world as 'say heads'"),
        ("say  heads", "'say  heads', which reaches the world as 'say heads'"),
        ("say\nheads", r"'say\nheads', which reaches the world as 'say'"),
        ('"say heads"', "which reaches the world as 'say heads'"),
        ("Action: say heads", "'Action: say heads', which is read as no action"),
    ],
)
def test_an_action_that_the_agents_loop_would_swallow_or_change_is_refused(
    action, part, monkeypatch
):
    monkeypatch.setattr(Says, "SAID", action)
    sentence = told(demonstration, own(Says), "heads-train-0")
    assert sentence.startswith("the world coin, task 'heads-train-0': expert returns the action ")
    assert part in sentence


@pytest.mark.parametrize("action", ["say heads", "Say HEADS!", 'say "a" and "b"', "waiting: 5"])
def test_any_other_action_is_taken_as_it_is(action, monkeypatch):
    monkeypatch.setattr(Says, "SAID", action)
    assert demonstration(own(Says), "heads-train-0").actions == [action]


class Thinks(Coin):
    """An expert whose thought holds an action of its own."""

    def thought(self):
        return "it is heads.\nAction: say heads"


def test_a_thought_that_holds_an_action_is_refused():
    assert "in which a line begins with Action:" in told(demonstration, own(Thinks), "heads-test-0")


# --- words


class NoWords(Coin):
    words = "guess the side. you can: lies"


class EmptyWords(Coin):
    words = ""


class UnknownAnswers(Coin):
    words = "guess the side. you can: say SIDE. heads tails lies"


def test_words_that_a_tiny_model_lacks_are_named_before_it_is_trained(tmp_path, capsys):
    sentence = refused_run(NoWords, tmp_path, capsys)
    assert sentence.endswith(
        "the world coin: its demonstrations hold words that the tiny model does not know,"
        " 'say', 'SIDE', 'heads', 'tails';"
        " name them in its `words`, of which a tiny model's are made"
    )
    assert not list(tmp_path.rglob("model"))
    sentence = refused_run(EmptyWords, tmp_path / "empty", capsys)
    assert "'guess', 'side', 'you', 'can', 'say' and 4 more; name them" in sentence


def test_a_world_of_ours_may_lack_some_words():
    """ScienceWorld gathers its words from some of its tasks."""
    messages = demonstration(Lab(), "lamp-attic-hall-7").messages()
    tokenizer = word_tokenizer("Action: go")
    check_words_shown(tokenizer, Lab(), [messages])
    assert "'the', 'lamp'" in told(check_words_shown, tokenizer, own(Coin), [messages])


def test_words_that_a_world_alone_says_need_not_be_known(tmp_path):
    names = ("--tiny", "--env", f"{__name__}:UnknownAnswers", "--iterations", "0")
    assert train.main([*QUICK, *names, "--out", str(tmp_path / "out")]) == 0


# --- methods of other kinds


class StaticTasks(Coin):
    @staticmethod
    def tasks(split):
        return [f"heads-{split}"]


class ClassTasks(Coin):
    @classmethod
    def tasks(cls, split):
        return [f"{cls.name}-{split}"]


class CalledTasks(Coin):
    tasks = functools.partial("heads-{}".format)  # no method: it is not given the world


def test_static_and_class_methods_are_asked_as_python_asks_them():
    assert own(StaticTasks).tasks("test") == ["heads-test"]
    assert own(ClassTasks).tasks("test") == ["coin-test"]
    assert "tasks('test') returns str 'heads-test'" in told(own(CalledTasks).tasks, "test")


# --- splits, and names of worlds


class Overlap(Coin):
    def tasks(self, split):
        return super().tasks("train" if split == "test" else split)


class ShownTwice(Coin):
    """A world whose expert shows some of the tasks that are searched."""

    warm_up = "easy"

    def tasks(self, split):
        return super().tasks("train")[:2] if split == "easy" else super().tasks(split)


class Halves(Coin):
    """A world that makes its splits of another world's."""

    def tasks(self, split):
        names = super().tasks("train")
        return names[:2] if split == "train" else names[2:4] if split == "test" else names[4:]


def test_splits_that_share_a_task_are_refused_by_its_name(tmp_path, capsys):
    assert refused_run(Overlap, tmp_path, capsys).endswith(
        "the world coin: tasks: 'heads-train-0' stands in both test and train;"
        " the splits must be disjoint"
    )


def test_the_split_that_an_expert_shows_may_share_tasks_and_the_same_may_be_asked_again():
    assert own(Coin), "it is looked at as well"
    for split in ("train", "easy", "test", "train", "validation"):
        assert own(ShownTwice).tasks(split)
        assert split == "easy" or own(Halves).tasks(split)


class Flip(Coin):
    manual = "Say a side. An example:\nthe side lies.\nAction: say heads"


class Flop(Coin):
    manual = "Guess."


def makers(*classes):
    return {
        f"{__name__}:{one.__name__}": make_world(f"{__name__}:{one.__name__}") for one in classes
    }


def test_two_worlds_of_one_name_are_refused_where_they_tell_different_things():
    sentence = told(tell, makers(Flip, Flop), Mark("auto"))
    assert sentence == (
        f"--env {__name__}:Flop: it calls itself 'coin', and so does {__name__}:Flip, with another"
        " manual; set a `name` of its own in its class"
    )
    assert len(tell(makers(Coin, Says), Mark("auto"))) == 2, "they tell the same"
    mark = Mark("auto", told={"coin": "as before"})  # of a model that was taught here
    (make,) = tell(makers(Flip), mark).values()
    assert make().told == "as before"


def test_gold_paths_none_of_which_arrives_are_refused():
    world = own(WrongGold)
    tasks = world.tasks("train")
    sentence = told(lessons, world, tasks, tasks[:1], random.Random(0))
    assert sentence.startswith("the world coin: none of 6 demonstrations of coin, which follow")


def test_what_the_contracts_cannot_import_is_what_it_is_elsewhere():
    assert tuple(SPLITS) == contracts.DISJOINT
    assert contracts.REVISE == REVISE


@pytest.mark.parametrize("name", ["lab", "shop", "craft", "textcraft"])  # ScienceWorld: its tests
def test_each_world_of_ours_names_its_words_so_that_a_tiny_model_knows_them(name):
    try:
        words = make_world(name)().words
    except UserError as error:
        pytest.skip(str(error))
    assert unknown_words(word_tokenizer(words), words.split()) == []
