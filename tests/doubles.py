"""Toy doubles: a corridor for a world, a script for an actor, and a tiny untrained actor."""

import json
import random
import re

import torch

import agent_r
from agent_r import Actor, Episode
from critique import REVISION_THOUGHTS
from engine.chance import key
from engine.dialogues import GREEDY
from engine.tiny import TinyShape
from envs import Lab, World
from mcts import Node, Tree, backpropagate, graft


class Corridor(World):
    """Places 0 to 4 in a row, the start at 2: place 0 is a pit and ends at 0, place 4 ends at 1."""

    name = "corridor"
    step_limit = 6

    def tasks(self, split):
        return [f"{split}-{number}" for number in range(3)]

    def begin(self, task):
        self.place = 2
        return f"reach place 4 ({task}).", "place 2."

    def act(self, action):
        self.place += {"left": -1, "right": 1}.get(action, 0)
        self.done = self.place in (0, 4)
        self.score = float(self.place == 4)
        return f"place {self.place}."


class ScriptedActor:
    """Speaks by `speak(turns, copy, luck)`; to it, a whole turn is one token, the text itself.

    `turns` are the texts of the dialogue so far, `copy` counts the rows above that hold the same
    dialogue (the samples of one leaf), `luck` in [0, 1) is drawn by the row's key and the number of
    turns (0 when greedy).
    """

    max_new_tokens = 1
    judge_tokens = 1

    def __init__(self, speak, max_length=10**9):
        self.speak = speak
        self.max_length = max_length
        self.format = self

    def opening(self, text):
        return [text]

    def turn(self, text):
        return [text]

    def encode(self, messages):
        return [message["content"] for message in messages], []

    def start(self, contexts, keys=()):
        return ScriptedDialogues(self, contexts, keys)

    def memory(self):
        return self

    def has_room(self, length):
        return length + self.max_new_tokens <= self.max_length


class ScriptedDialogues:
    """What `Dialogues` does, on lists of texts."""

    def __init__(self, actor, contexts, keys=()):
        self.actor = actor
        self.rows = [list(row) for row in contexts]
        self.draw_by(keys or range(len(contexts)))

    def draw_by(self, keys):
        self.keys = list(keys)

    def replies(self, sampling=GREEDY, limit=0):
        before = [tuple(turns) for turns in self.rows]
        said = []
        for row, turns in enumerate(self.rows):
            luck = 0.0
            if sampling.temperature:
                luck = random.Random(key(sampling.seed, self.keys[row], len(turns))).random()
            copy = before[:row].count(before[row])
            reply = self.actor.speak(list(turns), copy, luck)
            said.append(reply)
            turns.append(reply)
        return said

    def select(self, rows):
        keys = []
        for place, row in enumerate(rows):
            copies = list(rows[:place]).count(row)
            keys.append(key(self.keys[row], copies) if copies else self.keys[row])
        self.rows = [list(self.rows[row]) for row in rows]
        self.keys = keys

    def branch(self, count):
        self.select([row for row in range(len(self.rows)) for _ in range(count)])

    def fork(self, rows):
        keys = [self.keys[row] for row in rows]
        return ScriptedDialogues(self.actor, [self.rows[row] for row in rows], keys)

    def feed(self, rows):
        for turns, new in zip(self.rows, rows, strict=True):
            turns += new

    def lengths(self):
        return [len(turns) for turns in self.rows]


def lab_player(turns, copy, luck):
    """Plays the lab not too badly, and judges by what an observation shows; both err at times."""
    last = turns[-1]
    if turns[0].startswith("Judge"):
        seen = last.rpartition("Observation:")[2]
        lost = re.search(r"(kitchen|garage|office|attic|study): .*, no |not ", seen)
        return f"Judgment: {'Bad' if lost else 'Good'}"
    thing, goal = re.match(r"the (\w+) is \w+\. put it in the (\w+)\.", turns[0]).groups()
    rooms = Lab.UP if "upstairs" in turns[0].partition("put")[0] else Lab.DOWN
    if "taken." in turns:
        wanted = f"put {thing}" if last.startswith(f"{goal}:") else f"go {goal}"
        rooms = ("landing", "hall")
    else:
        wanted = f"take {thing}" if f": {thing}" in last else ""
    if wanted and luck < 0.7:
        return f"Action: {wanted}"
    if luck > 0.97:
        return "i do not know."
    return f"Action: go {rooms[int(luck * 997) % len(rooms)]}"


def tiny_actor(seed=0, max_new_tokens=24, **sizes):
    """An untrained tiny actor that has the words of the lab, of the judge and of revisions.

    `sizes` are those of `TinyShape`.
    """
    torch.manual_seed(seed)
    prompts = [agent_r.JUDGE_PROMPT, agent_r.JUDGE_TURN, agent_r.NO_ACTION, agent_r.REVISE_ANSWER]
    labels = "Thought: Action: revise Observation: Task: Log: Judgment: Good Bad Uncertain"
    text = " ".join([Lab.words, *prompts, *REVISION_THOUGHTS, labels])
    return Actor.tiny(text, TinyShape(**sizes), max_new_tokens=max_new_tokens)


def read_lines(path):
    """The JSON objects of a file, one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def first_bad(verdicts):
    """The index of the first Bad; None if there is none."""
    return verdicts.index("Bad") if "Bad" in verdicts else None


def episode(make_world, task, *actions):
    """The episode in which these actions are taken."""
    played = Episode(make_world(), task)
    for action in actions:
        played.act(f"Action: {action}")
    return played


def grow(make_world, task, *ways):
    """A tree of these episodes, each a list of actions, as if a simulation had taken it."""
    start = Episode(make_world(), task).trajectory
    tree = Tree(task, start.instruction, start.observation, Node())
    for actions in ways:
        played = episode(make_world, task, *actions)
        backpropagate(graft(tree.root, played), played.trajectory.score)
    return tree


def lesson_of(messages):
    """A judge's dialogue: the actions of its log but revisions, and its (action, verdict) pairs."""
    log = []
    steps = []
    for question, answer in zip(messages[::2], messages[1::2], strict=True):
        *before, action = re.findall(r"Action: (.*)\nObservation:", question["content"])
        assert not (before and log), "the first question alone has a log"
        log = log or before
        steps.append((action, answer["content"].split()[-1]))
    return [action for action in log if action != "revise"], steps
