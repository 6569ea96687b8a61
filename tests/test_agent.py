"""The agent: what is read from a reply, episodes, dialogues as tokens and labels, and play."""

import random
import re
import time

import pytest
from doubles import Corridor, ScriptedActor, episode, tiny_actor
from families import BYTES, DIALOGUE, END, START, WORDS, family

from agent_r import (
    NO_ACTION,
    SEVERAL_ACTIONS,
    ChatFormat,
    Episode,
    Lockstep,
    Start,
    Step,
    Trajectory,
    figures,
    mean,
    parse_action,
    parse_verdict,
    play,
    transcript,
)
from engine.dialogues import GREEDY, Dialogues
from envs import REFUSED, EpisodeLostError, Lab, World

CUP = "cup-pantry-hall-0"  # in layout 0 the cup lies in the garden
LAMP = "lamp-attic-hall-5"

# --- what is read from a reply


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("Action: go hall", "go hall"),
        ("Thought: the lamp is near.\nAction: go hall", "go hall"),
        ("Action:   go   hall  ", "go hall"),
        ("Action: go\thall\r\n", "go hall"),
        ("Action: go hall\nObservation: hall: lamp.", "go hall"),
        ("Action: go hall\nI am done.", "go hall"),
        ("Action:\ngo hall", "go hall"),
        ("Action:go hall", "go hall"),
        ("Action: revise", "revise"),
        ("Action: <user>put lamp", "<user>put lamp"),
        ("Action: ", ""),
        ("Action:", ""),
        ("Action go hall", ""),
        ("go hall", ""),
        ("", ""),
        (" \n\t", ""),
        ("<|im_end|>", ""),
        ("\x00\x1b[2J", ""),
        ("Action: \x07go", "\x07go"),
        ("x" * 10_000, ""),
        ("Action: " + "x" * 10_000, "x" * 10_000),
        ("Action: " + "go " * 10_000, ("go " * 10_000).strip()),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_the_action_is_what_stands_behind_the_label_to_the_end_of_its_line(reply, action):
    assert parse_action(reply) == action


@pytest.mark.parametrize(
    "reply",
    [
        "action: go hall",
        "ACTION: go hall",
        "Action : go hall",
        "Action\uff1a go hall",
        "Action 1: go hall",
        "Action1: go hall",
        "Action #2: go hall",
        "Action (2): go hall",
        "1. Action: go hall",
        "- Action: go hall",
        "> Action: go hall",
        "## Action: go hall",
        "**Action:** go hall",
        "**Action**: go hall",
        "**Action: go hall**",
        "*Action:* *go hall*",
        "__Action:__ go hall",
        "`Action: go hall`",
        "`Action:` `go hall`",
        "Action: `go hall`",
        "Action: ```go hall```",
        "Action:\n```\ngo hall\n```",
        "Action:\n```text\ngo hall\n```\n",
        "Action:\n\n  go hall\n\n",
        "Action: **go hall**",
        "Action: __go hall__",
        'Action: "go hall"',
        "Action: 'go hall'",
        "Action: \u201cgo hall\u201d",
        "Action: \u00abgo hall\u00bb",
        '"Action: go hall"',
        'Action: "go hall',
        "Action: go hall.",
        "Action: go hall...",
        'Action: "go hall".',
        'Action: "go hall."',
        "Action: **`go hall`**.",
        "Thought: **Action** is needed.\n**Action:** go hall.",
        "Thought: i shall write Action: and one action.\nAction: go hall",
        "Thought: a reaction: none. Available actions: two. Action: go hall",
        "thought: on.\naction: go hall",
    ],
    ids=lambda text: ascii(text)[:60],
)
def test_an_action_is_read_however_it_is_dressed(reply):
    assert parse_action(reply) == "go hall"


@pytest.mark.parametrize(
    "action",
    [
        "click[Buy Now]",
        'search["red" shoes, size 5.5]',
        "put a in/on b",
        "get 2 jack o'lantern",
        "say 'yes'",
        'say "go" and "stop"',
        "go living_room",
        "times 2*3*",
        "look at (the) [thing]",
        "go \u00e9t\u00e9",
    ],
)
def test_what_belongs_to_an_action_stays(action):
    assert parse_action(f"Thought: so.\nAction: {action}") == action
    assert parse_action(f"**Action:** {action}.") == action
    assert parse_action(f"Action:\n```\n{action}\n```") == action


@pytest.mark.parametrize(
    "reply",
    [
        "Action: go hall\nAction: take lamp",
        "Action 1: go hall\nAction 2: take lamp",
        "**Action:** go hall\nObservation: hall.\n**Action:** take lamp",
        "action: go hall\n\naction: go hall",
        "Thought: i go. Action: go hall Action: take lamp",
        "Thought: i go.\nAction: go hall Action: take lamp",
        "Action: go hall Action:",
        "Action: revise\nAction: go hall",
    ],
)
def test_several_actions_in_one_reply_are_one_mistake(reply):
    played = Episode(Lab(), CUP)
    place = played.world.room
    played.act(reply)
    (step,) = played.trajectory.steps
    assert step.action == ""
    assert step.observation == SEVERAL_ACTIONS
    assert step.effect == REFUSED
    assert played.world.room == place, "the world saw none of them"
    played.act("i do not know.")
    assert played.observation == NO_ACTION


def test_a_tiny_model_can_read_the_answer_to_several_actions():
    actor = tiny_actor()
    assert actor.decode(actor.tokenizer(SEVERAL_ACTIONS)["input_ids"]) == SEVERAL_ACTIONS
    assert set(SEVERAL_ACTIONS.split()) <= set(NO_ACTION.split()), "its words stay as they were"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Judgment: Good", "Good"),
        ("Judgment: Bad", "Bad"),
        ("Judgment: Uncertain", "Uncertain"),
        ("Judgment: Bad.", "Bad"),
        ("It went to an empty room.\nJudgment: Bad", "Bad"),
        ("Judgment: Bad\n\n  ", "Bad"),
        ("  Judgment: Good  ", "Good"),
        ("Judgment: Good\nJudgment: Bad", "Bad"),
        ("Judgment: Bad\nJudgment: Good", "Good"),
        # dressed as models dress it
        ("Judgment: Bad\nI hope this helps.", "Bad"),
        ("Therefore, Judgment: Bad", "Bad"),
        ("Judgement: bad.", "Bad"),
        ("**Judgment: Bad**", "Bad"),
        ("**Judgment:** Bad", "Bad"),
        ("**Judgement**: *Good*", "Good"),
        ("## Judgment: __Uncertain__", "Uncertain"),
        ('Judgment: "Bad"', "Bad"),
        ("Judgment: `Good`.", "Good"),
        ("My judgment is Bad.", "Bad"),
        ("Judgment: Bad, as it is a loop.", "Bad"),
        ("judgment :\nBad", "Bad"),
        ("Judgment: good\nOn second thought, Judgment: bad", "Bad"),
        ("Judgment: Good, Bad or Uncertain?\nJudgment: Bad", "Bad"),
        ("Judgment: Bad\nThis is not good.", "Bad"),
        ("Judgment: [Bad]", "Bad"),
        ("Judgment: (Bad)", "Bad"),
        ("Judgment: <Bad>", "Bad"),
        ("<b>Judgment:</b> <b>Bad</b>", "Bad"),
        ("Judgment: _Bad_", "Bad"),
        ("__Judgment__: Bad", "Bad"),
        ("Judgment: \u201cBad\u201d", "Bad"),
        ("Judgment\uff1aBad", "Bad"),
        ("Judgment - Bad", "Bad"),
        ("JUDGMENT = BAD", "Bad"),
        ("Judgment -> Bad", "Bad"),
        ("### **Judgment**\n\n**Bad**", "Bad"),
        ('{"Judgment": "Bad"}', "Bad"),
        # no judgement, so nobody knows
        ("Judgment: [Good/Bad/Uncertain]", "Uncertain"),
        ("Judgment: <Good|Bad|Uncertain>", "Uncertain"),
        ("my judgment is not good", "Uncertain"),
        ("Judgmental: Bad", "Uncertain"),
        ("Judgment: Good, Bad or Uncertain", "Uncertain"),
        ("Judgment: Good or Bad?", "Uncertain"),
        ("Judgment: Good, Bad\nbecause of that", "Uncertain"),
        ("Judgment: Bad, good try", "Bad"),  # no list: something else is said of it
        ("Judgment: **Good** / **Bad** / **Uncertain**", "Uncertain"),
        ("Judgment: not bad", "Uncertain"),
        ("this is not bad", "Uncertain"),
        ("Judgment: not good", "Uncertain"),
        ("Judgment: Not Good", "Uncertain"),
        ("Judgment: good", "Good"),
        ("judgment: Good", "Good"),
        ("Judgment: BAD", "Bad"),
        ("Judgment:Bad", "Bad"),
        ("Judgment: Good or Bad", "Uncertain"),
        ("Judgment: Good because it helps", "Good"),
        ("My Judgment: Bad", "Bad"),
        ("The action is Good", "Uncertain"),
        ("Good", "Uncertain"),
        ("Judgment:", "Uncertain"),
        ("Judgment: Badly", "Uncertain"),
        ("Judgment: Good!", "Good"),
        ("", "Uncertain"),
        ("\n \n", "Uncertain"),
        ("<|im_end|>", "Uncertain"),
        ("\x00Judgment: Bad", "Bad"),
        ("Bad " * 10_000, "Uncertain"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_the_verdict_is_the_last_judgement_however_it_is_dressed(reply, verdict):
    assert parse_verdict(reply) == verdict


@pytest.mark.parametrize("dress", ["<_>", "<__>", "<b_>", "<1>", "</b>", "**"])
def test_a_verdict_in_any_dress_is_read_at_once(dress):
    began = time.perf_counter()
    assert parse_verdict(f"Judgment: {dress * 200}x") == "Uncertain"
    assert time.perf_counter() - began < 1


# --- trajectories and episodes


def trajectory_of(make_world, task, *actions):
    return episode(make_world, task, *actions).trajectory


class Listener(Corridor):
    """A corridor that remembers what it heard."""

    def __init__(self):
        self.heard = []

    def act(self, action):
        self.heard.append(action)
        return super().act(action)


def test_a_revision_is_answered_by_the_loop_costs_a_step_and_never_reaches_the_world():
    played = Episode(Listener(), "test-0")
    for reply in ("Action: left", "Thought: wrong.\nAction: revise", "Action: right"):
        played.act(reply)
    assert played.world.heard == ["left", "right"]
    revision = Step("Thought: wrong.\nAction: revise", "revise", "ok.", 0.0)
    assert played.trajectory.steps[1] == revision
    for reply in ["Action: revise"] * 3:
        assert not played.done
        played.act(reply)
    assert played.done, "the step limit counts revisions"


@pytest.mark.parametrize(
    "reply", ["", "i do not know", "Action:", "x" * 10_000, "\x00", "Judgment: Bad", "<user>"]
)
def test_a_reply_without_an_action_is_answered_by_the_loop_and_costs_a_step(reply):
    played = Episode(Listener(), "test-0")
    for _ in range(Corridor.step_limit):
        assert not played.done
        played.act(reply)
    assert played.done
    assert played.world.heard == []
    assert {step.observation for step in played.trajectory.steps} == {NO_ACTION}
    assert played.trajectory.steps[0].reply == reply


def test_a_turn_without_the_world_keeps_the_score_so_far():
    played = episode(Lab, CUP, "go garden", "take cup", "revise")
    played.act("hm")
    assert [step.score for step in played.trajectory.steps] == [0.25, 0.5, 0.5, 0.5]
    assert played.trajectory.score == 0.5


def test_a_fatal_action_takes_the_score_away_and_ends_the_episode():
    played = episode(Lab, CUP, "go garden", "take cup", "put cup")
    assert played.done
    assert played.trajectory.score == 0.0


@pytest.mark.parametrize(("max_depth", "steps"), [(0, 6), (1, 1), (4, 4), (6, 6), (100, 6)])
def test_an_episode_ends_at_its_limit_or_the_worlds_own_if_that_is_less(max_depth, steps):
    played = Episode(Corridor(), "test-0", max_depth=max_depth)
    while not played.done:
        played.act("Action: revise")  # the world, which has a limit of its own, hears nothing of it
    assert len(played.trajectory.steps) == steps


class Impatient(Corridor):
    """A corridor that breaks an episode off before its step limit."""

    def step(self, action):
        observation, gain, terminated, _, info = super().step(action)
        return observation, gain, terminated, self._steps == 2, info


def test_an_episode_ends_where_the_world_breaks_it_off():
    played = episode(Impatient, "test-0", "stay")
    assert not played.done
    played.act("Action: stay")
    assert played.done
    assert len(played.trajectory.steps) == 2


def test_replaying_the_steps_of_a_trajectory_brings_it_back():
    rng = random.Random(1)
    world = Lab()
    for task in world.tasks("train")[:30]:
        played = Episode(world, task)
        while not played.done:
            action = rng.choice([*world.choices(), "revise", "", "dance"])
            played.act(rng.choice(["", "Thought: so.\n"]) + f"Action: {action}")
        again = Episode(Lab(), task, played.trajectory.steps)
        assert again.trajectory == played.trajectory
        assert again.done


def test_a_replay_records_the_worlds_own_answers_and_not_those_it_was_given():
    again = Episode(Corridor(), "test-0", [Step("Action: right", "right", "a lie", 1.0)])
    assert again.trajectory.steps == [Step("Action: right", "right", "place 3.", 0.0)]
    assert again.observation == "place 3."


def test_the_newest_observation_is_the_first_one_before_any_step():
    assert Episode(Corridor(), "test-0").observation == "place 2."


def test_messages_written_by_hand():
    trajectory = trajectory_of(Corridor, "test-0", "left", "right")
    trajectory.steps[0].learned = False
    dialogue = [
        {"role": "user", "content": "reach place 4 (test-0).\nplace 2."},
        {"role": "assistant", "content": "Action: left", "loss": False},
        {"role": "user", "content": "place 1."},
        {"role": "assistant", "content": "Action: right", "loss": True},
        {"role": "user", "content": "place 2."},
    ]
    assert trajectory.context() == dialogue
    messages = trajectory.messages()
    assert messages == dialogue[:-1], "nothing is said after the last observation"


def test_a_turn_is_learned_unless_something_else_is_said():
    played = Episode(Corridor(), "test-0")
    played.act("Action: left")
    played.act("Action: right", learned=False)
    played.act("Action: revise", learned=False)
    played.act("hm", learned=False)
    played.act("Action: right", learned=True)
    learned = [True, False, False, False, True]
    assert [step.learned for step in played.trajectory.steps] == learned
    assert [message["loss"] for message in played.trajectory.messages()[1::2]] == learned


def test_before_the_first_step_the_dialogue_is_the_opening_alone():
    opening = [{"role": "user", "content": "reach place 4 (test-0).\nplace 2."}]
    trajectory = trajectory_of(Corridor, "test-0")
    assert trajectory.messages() == trajectory.context() == opening


def test_the_first_question_of_the_judge_tells_task_and_log_and_later_ones_only_what_is_new():
    trajectory = trajectory_of(Corridor, "test-0", "left", "right", "stay")
    assert trajectory.judge_turn(1) == (
        "Judge each action. Good: it greatly helps the task. Bad: it greatly harms it. "
        "Uncertain: all else. Reasons first, last line Judgment: and one of the three.\n"
        "Task: reach place 4 (test-0).\nplace 2.\n"
        "Log: Action: left\nObservation: place 1.\n"
        "Action: right\nObservation: place 2."
    )
    assert trajectory.judge_turn(2, first=False) == "Action: stay\nObservation: place 2."
    assert "stay" not in trajectory.judge_turn(1), "the judge must not see what comes after"


@pytest.mark.parametrize(
    ("turns", "loops"),
    [
        ([], 0.0),
        (["ab"], 0.0),
        (["ab", "ab"], 1 / 2),
        (["ab", "ac", "ab", "ab"], 2 / 4),  # the same action told something new is no loop
        (["ab", "cb"], 0.0),
        (["ab", "revise", "ac", "revise", "ab"], 1 / 3),  # they are neither steps nor repeats,
        (["ab", "revise", "revise", "ab"], 2 / 3),  # but one right behind another is both
        (["revise"], 0.0),
        (["revise", "revise", "revise"], 1.0),
    ],
)
def test_loops_are_the_share_of_steps_that_repeat_an_action_and_its_observation(turns, loops):
    trajectory = Trajectory("", "", "")
    for turn in turns:
        action, observation = ("revise", "ok.") if turn == "revise" else turn
        trajectory.steps.append(Step(f"Action: {action}", action, observation, 0.0))
    assert trajectory.loops() == pytest.approx(loops)


# --- messages to tokens and labels

TOKENIZERS = pytest.mark.parametrize("tokenizer", [WORDS, BYTES], ids=["words", "bytes"])
FLAGS = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]


def turns_of(tokenizer, ids):
    """The places of each assistant turn, its end included, found by the roles' markers alone."""
    text = [tokenizer.decode([token]) for token in ids]
    starts = [place + 1 for place, token in enumerate(text) if token == "<agent>"]
    if tokenizer is BYTES:
        starts = []
        for mark in [place for place, token in enumerate(text) if token == START]:
            line = next(place for place in range(mark, len(text)) if "\n" in text[place])
            if "".join(text[mark + 1 : line]) == "assistant":
                starts.append(line + 1)
    turns = []
    for start in starts:
        end = ids.index(tokenizer.eos_token_id, start)
        turns.append(range(start, end + 1))
    return turns


@TOKENIZERS
@pytest.mark.parametrize("flags", FLAGS)
def test_exactly_the_learned_turns_are_trained_with_the_token_that_ends_them(tokenizer, flags):
    messages = [dict(message) for message in DIALOGUE]
    for message, flag in zip(messages[1::2], flags, strict=True):
        message["loss"] = flag
    ids, labels = ChatFormat(tokenizer).encode(messages)
    expected = [-100] * len(ids)
    for turn, flag in zip(turns_of(tokenizer, ids), flags, strict=True):
        for place in turn:
            expected[place] = ids[place] if flag else -100
    shown = tokenizer.decode([label for label in labels if label != -100])
    assert labels == expected, f"trained is: {shown}"
    for message, flag in zip(messages[1::2], flags, strict=True):
        squeezed = "".join(message["content"].split())
        assert (squeezed in "".join(shown.split())) == flag


def test_the_same_example_with_its_mask_written_out():
    ids, labels = ChatFormat(WORDS).encode(DIALOGUE)
    marked = []
    for token, label in zip(ids, labels, strict=True):
        word = WORDS.decode([token])
        marked.append(f"[{word}]" if label == token else word)
    assert " ".join(marked) == (
        "<user> the cup is downstairs . hall : nothing , no cup . <agent> Action: go kitchen <end> "
        "<user> kitchen : lamp , no cup . <agent> "
        "[Thought:] [that] [was] [wrong] [.] [Action:] [revise] [<end>] <user> ok . "
        "<agent> [Action:] [go] [garden] [<end>]"
    )


@pytest.mark.parametrize("roles", ["aa", "uu", "uaa", "uauu", "su"])
def test_roles_that_do_not_alternate_are_refused(roles):
    name = {"u": "user", "a": "assistant", "s": "system"}
    messages = [{"role": name[role], "content": "hall", "loss": True} for role in roles]
    with pytest.raises(ValueError, match=r"^"):  # in whatever words
        ChatFormat(WORDS).encode(messages)


def test_what_an_agent_reads_turn_by_turn_is_what_it_is_trained_on():
    chat_format = ChatFormat(BYTES)
    last = {"role": "user", "content": "garden: cup."}
    acting = chat_format.opening(DIALOGUE[0]["content"])
    for said, heard in zip(DIALOGUE[1::2], [*DIALOGUE[2::2], last], strict=True):
        acting += chat_format.reply(said["content"])
        acting += chat_format.turn(heard["content"])
    assert acting == chat_format.encode([*DIALOGUE, last])[0]


def test_the_token_that_ends_a_turn_is_the_tokenizers_own():
    assert WORDS.decode([ChatFormat(WORDS).end]) == "<end>"
    assert BYTES.decode([ChatFormat(BYTES).end]) == END


# --- episodes in lockstep


def finder(turns, copy, luck):
    """Finds the cup and takes it, then walks on and on."""
    actions = ["go garden", "take cup"] + ["go hall", "go kitchen"] * 20
    return f"Action: {actions[len(turns) // 2]}"


def corridors(*ways):
    """An episode of the corridor for each of these ways, lists of actions."""
    return [episode(Corridor, f"test-{number}", *way) for number, way in enumerate(ways)]


def stubborn(*actions):
    """An actor that says the action of this place again and again in the task of this number."""

    def speak(turns, copy, luck):
        number = int(re.search(r"test-(\d)", turns[0])[1])
        return f"Action: {actions[number]}"

    return ScriptedActor(speak)


def texts_of(played):
    return [message["content"] for message in played.trajectory.context()]


def test_the_rows_of_a_lockstep_are_the_places_of_the_live_among_the_episodes_given():
    episodes = corridors(["left", "left"], [], ["right", "right"], ["right"], ["left"])
    lockstep = Lockstep(ScriptedActor(finder), episodes)
    assert lockstep.rows == [1, 3, 4], "0 and 2 are over already"
    assert lockstep.live == [episodes[1], episodes[3], episodes[4]]
    assert lockstep.dialogues.rows == [texts_of(played) for played in lockstep.live]


def test_the_rows_stay_with_their_episodes_when_others_leave():
    episodes = corridors(["left", "left"], [], ["right"], ["left"], [])
    actor = stubborn("left", "left", "right", "left", "stay")
    lockstep = Lockstep(actor, episodes)
    assert lockstep.rows == [1, 2, 3, 4]
    lockstep.advance(lockstep.dialogues.replies())
    assert lockstep.rows == [1, 4], "at place 4 and at place 0 an episode ends"
    assert lockstep.live == [episodes[1], episodes[4]]
    assert lockstep.dialogues.rows == [texts_of(episodes[1]), texts_of(episodes[4])]
    lockstep.advance(lockstep.dialogues.replies())
    assert lockstep.rows == [4]
    lockstep.finish(GREEDY)
    assert (lockstep.rows, lockstep.live) == ([], [])
    assert [played.trajectory.actions for played in episodes] == [
        ["left", "left"],
        ["left", "left"],
        ["right", "right"],
        ["left", "left"],
        ["stay"] * 6,
    ]


def test_a_lockstep_without_a_live_episode_has_no_rows_and_nothing_to_finish():
    episodes = corridors(["left", "left"], ["right", "right"])
    lockstep = Lockstep(ScriptedActor(finder), episodes)
    lockstep.finish(GREEDY)
    assert (lockstep.rows, lockstep.live) == ([], [])
    assert [len(played.trajectory.steps) for played in episodes] == [2, 2]


def test_an_episode_that_no_longer_fits_the_context_has_no_row():
    episodes = corridors(["left", "right", "left"], [], ["stay"])
    actor = stubborn("stay", "stay", "stay")
    actor.max_length = 4
    lockstep = Lockstep(actor, episodes)
    assert lockstep.rows == [1, 2], "seven turns and a reply do not fit into four"
    assert [played.done for played in episodes] == [True, False, False]
    lockstep.advance(lockstep.dialogues.replies())
    assert lockstep.rows == [1], "after two steps the dialogue has five turns"
    assert [played.done for played in episodes] == [True, False, True]


def test_the_live_episodes_are_opened_by_the_memory_each_with_its_key():
    episodes = corridors(["left", "left"], ["right"], [], ["left"])
    actor = stubborn("left", "left", "left", "left")
    opened = []

    class Memory:
        def start(self, contexts, keys):
            opened.append((contexts, keys))
            return actor.start(contexts, keys)

    lockstep = Lockstep(actor, episodes, Memory(), keys=[10, 11, 12, 13])
    assert lockstep.rows == [1, 2, 3]
    assert opened == [([texts_of(episodes[row]) for row in (1, 2, 3)], [11, 12, 13])]


# --- contexts that overflow, and playing


@pytest.mark.parametrize(
    ("max_length", "steps", "score"), [(1, 0, 0.0), (2, 1, 0.25), (6, 3, 0.5), (1000, 24, 0.5)]
)
def test_an_episode_that_no_longer_fits_ends_with_its_score_so_far(max_length, steps, score):
    # The double counts a turn as a token: one for the opening, two more a step, one to be kept
    # free for a reply.
    actor = ScriptedActor(finder, max_length)
    (trajectory,) = play(actor, Lab, [Start(CUP)], batch_size=8)
    assert (len(trajectory.steps), trajectory.score) == (steps, score)


def test_a_model_never_reads_more_than_its_context_and_nothing_is_cut_in_the_middle(monkeypatch):
    actor = tiny_actor(max_length=150, max_new_tokens=4)
    lengths = []
    forward = Dialogues._forward

    def watch(self, ids, new):
        forward(self, ids, new)
        lengths.append(max(self.lengths()))

    monkeypatch.setattr(Dialogues, "_forward", watch)
    starts = [Start(task) for task in Lab().tasks("test")[:4]]
    trajectories = play(actor, Lab, starts, batch_size=4)
    assert max(lengths) <= 150
    for trajectory in trajectories:
        assert 0 < len(trajectory.steps) < Lab.step_limit
        ids, _ = actor.format.encode(trajectory.messages())
        assert len(ids) <= 150


def test_the_context_of_an_actor_is_what_its_model_can_hold():
    assert tiny_actor(max_length=77).max_length == 77
    assert family("gpt2").max_length == 512


def test_there_is_room_as_long_as_a_whole_reply_fits_into_the_context():
    actor = tiny_actor(max_length=77, max_new_tokens=7)
    assert actor.has_room(70)
    assert not actor.has_room(71)


def test_playing_goes_on_from_the_steps_taken_already_and_keeps_the_order():
    steps = trajectory_of(Lab, CUP, "go garden").steps
    starts = [Start(CUP, steps), Start(LAMP), Start(CUP)]
    for batch_size in (1, 2, 3):
        trajectories = play(ScriptedActor(finder), Lab, starts, batch_size=batch_size)
        first, second, third = trajectories
        assert first == third, "the script would have taken these very steps"
        assert second.task == LAMP


def test_playing_nothing_gives_nothing():
    assert play(ScriptedActor(finder), Lab, [], batch_size=4) == []


def test_an_episode_that_is_over_already_is_left_as_it_is():
    over = trajectory_of(Corridor, "test-0", "left", "left").steps
    actor = ScriptedActor(finder)
    (trajectory,) = play(actor, Corridor, [Start("test-0", over)], batch_size=4)
    assert trajectory.steps == over


class Echo(World):
    """A world that writes no more than it must."""

    name = "echo"
    step_limit = 2

    def tasks(self, split):
        return ["say"]

    def begin(self, task):
        return "say anything.", "..."

    def act(self, action):
        return action


def test_a_world_needs_no_more_than_the_interface_to_be_played():
    actor = ScriptedActor(lambda turns, copy, luck: "Action: hm")
    (trajectory,) = play(actor, Echo, [Start("say")], batch_size=1)
    assert [step.observation for step in trajectory.steps] == ["hm", "hm"]


class Slow(Corridor):
    """A corridor whose copies may act two at a time, and which remembers how many did."""

    parallel = 2
    acting = 0
    most = 0

    def act(self, action):
        Slow.acting += 1
        Slow.most = max(Slow.most, Slow.acting)
        time.sleep(0.01)
        Slow.acting -= 1
        return super().act(action)


def test_worlds_act_as_many_at_a_time_as_they_allow_and_answer_in_order():
    starts = [Start(f"test-{number % 3}") for number in range(5)]
    actor = ScriptedActor(lambda turns, copy, luck: "Action: right")
    together = play(actor, Slow, starts, batch_size=5)
    assert together == play(actor, Corridor, starts, batch_size=5)
    assert Slow.most == 2


# --- figures, and a trajectory to read


def scored(*scores, actions=None):
    """A trajectory of these scores; each of its actions is another unless they are given."""
    actions = actions or [str(t) for t in range(len(scores))]
    trajectory = Trajectory("", "", "")
    for action, score in zip(actions, scores, strict=True):
        trajectory.steps.append(Step("", action, "seen", score))
    return trajectory


def test_figures_by_hand():
    trajectories = [
        scored(0.0, 1.0),
        scored(0.5, 0.5, actions=["a", "a"]),
        scored(0.25),
        scored(),
    ]
    assert figures(trajectories) == {
        "score": pytest.approx((1 + 0.5 + 0.25 + 0) / 4),
        "success": 1 / 4,
        "loops": pytest.approx((0 + 1 / 2 + 0 + 0) / 4),
        "loops_failed": pytest.approx((1 / 2 + 0 + 0) / 3),
    }


def test_figures_of_nothing_are_none_and_so_are_failures_where_there_are_none():
    assert set(figures([]).values()) == {None}
    perfect = {"score": 1.0, "success": 1.0, "loops": 0.0, "loops_failed": None}
    assert figures([scored(1.0)]) == perfect
    assert mean([]) is None


def test_a_transcript_has_a_star_in_the_margin_of_the_steps_that_are_marked():
    trajectory = trajectory_of(Corridor, "test-0", "left", "right")
    trajectory.steps[0].reply = "Thought: so.\nAction: left"
    opening = "reach place 4 (test-0).\nplace 2.\n"
    plain = "  Thought: so. Action: left\n    place 1.\n  Action: right\n    place 2."
    assert transcript(trajectory) == opening + plain
    starred = "  Thought: so. Action: left\n    place 1.\n* Action: right\n    place 2."
    assert transcript(trajectory, lambda step: step.action == "right") == opening + starred


# --- success, and episodes that a world loses


class Paying(Corridor):
    """Pays 0.8 for place 4, and says that this is a success."""

    def act(self, action):
        observation = super().act(action)
        self.score *= 0.8
        self.won = self.place == 4
        return observation


def test_success_is_the_world_s_own_word():
    won = episode(Paying, "test-0", "right", "right").trajectory
    lost = episode(Paying, "test-0", "left", "left").trajectory
    assert (won.score, won.won, lost.won) == (0.8, True, False)
    assert figures([won, lost])["success"] == 0.5
    assert won.steps[-1].is_good(1.0)
    assert not won.steps[0].is_good(0.5)


def test_without_a_word_of_the_world_a_success_is_a_score_of_1():
    assert episode(Corridor, "test-0", "right", "right").trajectory.won
    assert not episode(Corridor, "test-0", "right").trajectory.won
    assert not Trajectory("t", "u", "o").won


def test_a_word_of_the_last_episode_is_not_this_one_s():
    world = Paying()
    Episode(world, "test-0", [Step("Action: right", "", "", 0.0)] * 2)
    assert world.won
    Episode(world, "test-0")
    assert world.won is None


class Losing(Corridor):
    """Loses its first `losses` episodes at their second action."""

    losses = 0
    begun: list = []  # noqa: RUF012, all copies write there

    def begin(self, task):
        self.begun.append(task)
        self.count = 0
        return super().begin(task)

    def act(self, action):
        self.count += 1
        if self.count == 2 and Losing.losses:
            Losing.losses -= 1
            raise EpisodeLostError("it is gone")
        return super().act(action)


def to_the_right(turns, copy, luck):
    return "Action: right"


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_an_episode_that_is_lost_is_played_again_and_stands_once(monkeypatch, batch_size):
    monkeypatch.setattr(Losing, "losses", 2)
    monkeypatch.setattr(Losing, "begun", [])
    starts = [Start(f"test-{number}") for number in range(4)]
    played = play(ScriptedActor(to_the_right), Losing, starts, batch_size=batch_size)
    assert [t.task for t in played] == [start.task for start in starts]
    assert [t.actions for t in played] == [["right", "right"]] * 4
    assert [t.score for t in played] == [1.0] * 4
    assert len(Losing.begun) == 6


def test_what_is_lost_in_a_replay_is_lost(monkeypatch):
    monkeypatch.setattr(Losing, "losses", 1)
    lost = Episode(Losing(), "test-0", [Step("Action: right", "", "", 0.0)] * 3)
    assert lost.lost
    assert lost.done
    assert len(lost.trajectory.steps) == 1


def test_an_episode_that_is_lost_every_time_ends_with_what_there_is(monkeypatch):
    monkeypatch.setattr(Losing, "losses", 99)
    (played,) = play(ScriptedActor(to_the_right), Losing, [Start("test-1")], batch_size=3)
    assert (played.actions, played.score) == (["right"], 0.0)
    assert Losing.losses == 96
