"""Text environments: the interface, one miniature world, and the truth about the first error.

An agent reads an instruction u and observations o, writes actions a, and is paid a score in [0, 1]
at the end: all as text, through Gymnasium's `reset` and `step`.  Given the task a world is
deterministic, so that replaying its actions returns to any state.

Read in order: `World` (what every world shares), `Lab` (rooms, hidden things, doors: the one world
that a reader needs), `distance` and `first_error` (the truth, which only warm-up, measurement and
an ablation ask) and `make_world`, which finds worlds by name.  Other worlds, the benchmarks among
them, stand in worlds/, a file each.  `python -m extras.show play lab` lets you play one by hand.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from engine import UserError
from engine.contracts import answered, begun, imported, own_world

SPLITS = ("train", "validation", "test")

# What an action did, as far as a world says it: it changed something, it was answered but changed
# nothing, or it was refused.  A world that does not say leaves it empty.
CHANGED, ANSWERED, REFUSED = "changed", "answered", "refused"


class EpisodeLostError(UserError):
    """A world that others run lost an episode and cannot bring it back: it is to be begun anew."""


class World:
    """One text environment, playing one episode at a time.

    A new world sets `name` and `step_limit` and writes three methods: `tasks`, `begin` and `act`.
    The methods behind them have a default that says "none"; a world that is to warm up a tiny model
    overrides `expert` (or, if it knows a way from the start alone, `gold`) and `choices`.  No
    action is empty or `revise`, has several lines, or quotes, marks or a dot around it.
    """

    name = "world"
    step_limit = 20  # actions an episode may take
    words = ""  # every word of the world, for a word-level tokenizer; `_` joins two words to one
    parallel = 1  # copies of it that may act at the same time, each in a thread of its own
    manual = ""  # actions and an example, for a model that was not taught here: engine/manual.py
    thinks = False  # whether such a model had better think aloud
    told = ""  # what stands before the task in this copy, of the manual
    warm_up = "train"  # the split that an expert shows, if it is not the one that is searched
    score = 0.0  # r, of the episode so far
    done = True  # whether the episode is over
    won: bool | None = None  # whether the episode is a success; None: it is one with score 1
    begun_anew: int | None = None  # episodes that were lost (`EpisodeLostError`), over all copies
    effect = ""  # of the newest action: CHANGED, ANSWERED or REFUSED; empty in a silent world

    # What a new world must write.
    def tasks(self, split: str) -> Sequence[str]:
        """Return the names of the tasks of one of `SPLITS`; the three are disjoint."""
        raise NotImplementedError

    def begin(self, task: str) -> tuple[str, str]:
        """Set the state to the start of `task`; return the instruction u and the first observation.

        Raises `UserError` for a name that is no task's.
        """
        raise NotImplementedError

    def act(self, action: str) -> str:
        """Carry out one action and return the observation o, also if nothing happened.

        Sets `score`, `done` when the episode has ended, and maybe `effect`.  Never raises for what
        an agent says, but may raise `EpisodeLostError`.
        """
        raise NotImplementedError

    # What it may know besides.
    def expert(self) -> list[str] | None:
        """Return the actions of the best way from here to score 1, or None if no way is left.

        A world that does not override this method has no expert at all: see `has_expert`.
        """
        return None

    def gold(self) -> list[str]:
        """Return the actions of one way from the start to score 1; none if the world knows none."""
        return []

    def choices(self) -> list[str]:
        """Return what one might sensibly try here, mistakes included, or nothing.

        Mistakes must look like the expert's actions, else a judge knows them by their looks.
        """
        return []

    def thought(self) -> str:
        """Return what the expert thinks before its next action, or an empty text."""
        return ""

    @property
    def has_expert(self) -> bool:
        """Whether the world knows the best way from everywhere, and so which actions are wrong."""
        return type(self).expert is not World.expert

    @property
    def has_gold(self) -> bool:
        """Whether the world knows a way from the start of a task."""
        return type(self).gold is not World.gold

    # What every world shares.
    def reset(
        self,
        *,
        seed: int | None = None,  # noqa: ARG002, it is there for Gymnasium's sake
        options: dict[str, Any],
    ) -> tuple[str, dict[str, Any]]:
        """Start the task `options["task"]`, which decides everything.

        Returns the first observation and `info` with "instruction" and "score".
        Raises `UserError` for a name that is no task's, and for a world that breaks its word.
        """
        self.score = 0.0
        self.done = False
        self.won = None
        self._steps = 0
        instruction, observation = begun(self, options["task"])
        return observation, {"instruction": instruction, "score": self.score}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action and return (observation, gain in score, terminated, truncated, info).

        Raises `RuntimeError` if the episode is over, `UserError` if the world breaks its word.
        """
        if self.done or self._steps >= self.step_limit:
            raise RuntimeError(f"the episode in {self.name} is over; call reset before step")
        before = self.score
        self.effect = ""
        observation = answered(self, " ".join(action.split()))
        self._steps += 1
        truncated = not self.done and self._steps >= self.step_limit
        info: dict[str, Any] = {"score": self.score, "effect": self.effect}
        if self.won is not None:
            info["won"] = self.won
        return observation, self.score - before, self.done, truncated, info


# --- lab: a house of hidden things


class Lab(World):
    """Find a hidden thing in a house and put it where it belongs.

    Downstairs every room opens into every other, so a wrong room is undone from anywhere.  Upstairs
    each room has one door, to the landing, so after a wrong room the agent must walk back.  A room
    shows what lies in it only to who stands in it.  Putting a thing down is final, like `focus` in
    ScienceWorld: the right thing in the right room scores 1, anything else ends the episode at 0.
    Partial credit: 0.25 for having found the thing, 0.5 for having taken it, 0.75 for having
    carried it to its room.
    """

    name = "lab"
    step_limit = 24
    manual = (
        "Go through the rooms until you see the thing, take it, go to where it belongs and put it"
        " down. The answer tells what lies in a room. An example:\n"
        "the key is downstairs. put it in the hall.\nkitchen: cup, no key.\n"
        "Thought: no key here, so i look in the garden.\nAction: go garden\ngarden: key.\n"
        "Thought: there is the key.\nAction: take key\ntaken.\n"
        "Thought: it belongs in the hall.\nAction: go hall"
    )
    DOWN = ("hall", "kitchen", "garden", "garage", "office", "pantry")
    UP = ("landing", "bedroom", "bathroom", "study", "nursery", "attic")
    ROOMS = DOWN + UP
    THINGS = ("lamp", "cup", "ball", "book", "key", "shoe", "clock", "coin", "map", "rope")
    HIDING = DOWN[1:] + UP[1:]  # one thing in each; hall and landing stay empty
    LAYOUTS = math.factorial(len(THINGS))
    REFUSALS: ClassVar = {
        "go": "no such door.",
        "take": "that is not here.",
        "put": "you do not hold that.",
    }
    words = " ".join((*ROOMS, *THINGS)) + (
        " the is upstairs downstairs. put it in. you can: go ROOM, take THING, put THING."
        " nothing, no taken done no such door you do not hold that that is not here that breaks it"
        " nothing happens"
    )

    def tasks(self, split: str) -> Sequence[str]:
        """Return 30,000 train, 5,000 validation or 5,000 test tasks.

        They are split by the layout's number modulo 10 (0 to 7, 8 and 9), and by nothing else: the
        same goals, a thing and its destination, stand in all three.
        """
        residues = {"train": range(8), "validation": (8,), "test": (9,)}[split]
        count = 30_000 if split == "train" else 5_000
        rng = random.Random(f"lab {split}")
        names = []
        for number in rng.sample(range(self.LAYOUTS // 10), count):
            thing = rng.choice(self.THINGS)
            destination = rng.choice(self.ROOMS)
            start = rng.choice(self.ROOMS)
            layout = 10 * number + rng.choice(residues)
            names.append(f"{thing}-{destination}-{start}-{layout}")
        return names

    def begin(self, task: str) -> tuple[str, str]:
        """Start a task named THING-DESTINATION-START-LAYOUT.

        The layout is the rank of an order of the things among all their orders.
        """
        rooms = "|".join(self.ROOMS)
        things = "|".join(self.THINGS)
        match = re.fullmatch(f"({things})-({rooms})-({rooms})-([0-9]{{1,7}})", task)
        if not match or int(match[4]) >= self.LAYOUTS:
            form = "THING-DESTINATION-START-LAYOUT, as in lamp-kitchen-hall-0"
            raise UserError(f"lab has no task {task!r}; a task is named {form}")
        self.thing = match[1]
        self.goal = match[2]
        self.room = match[3]
        self.place = self._layout(int(match[4]))  # room -> the thing that lies in it
        self.home = next(room for room, thing in self.place.items() if thing == self.thing)
        self.held: set[str] = set()
        self.seen = {self.room}  # rooms that the agent has been in
        floor = "upstairs" if self.home in self.UP else "downstairs"
        wish = f"the {self.thing} is {floor}. put it in the {self.goal}."
        return f"{wish} you can: go ROOM, take THING, put THING.", self._look()

    def act(self, action: str) -> str:
        """Carry out `go ROOM`, `take THING` or `put THING`; refuse anything else."""
        verb, _, name = action.partition(" ")
        self.effect = CHANGED
        if verb == "go" and name in self._doors():
            self.room = name
            if name in self.seen and not self._wanted_here():
                self.effect = ANSWERED
            self.seen.add(name)
            self._credit()
            return self._look()
        if verb == "take" and self.place.get(self.room) == name:
            self.held.add(self.place.pop(self.room))
            self._credit()
            return "taken."
        if verb == "put" and name in self.held:
            right = name == self.thing and self.room == self.goal
            self.score = float(right)
            self.done = True
            return "done." if right else "that breaks it."
        self.effect = REFUSED
        if len(action.split()) != 2:
            return "nothing happens."
        return self.REFUSALS.get(verb, "nothing happens.")

    def expert(self) -> list[str] | None:
        """Return the shortest way from here to the goal, knowing where the thing lies."""
        if self.done:
            return [] if self.score == 1.0 else None
        if self.thing in self.held:
            return [*self._walk(self.room, self.goal), f"put {self.thing}"]
        fetch = [*self._walk(self.room, self.home), f"take {self.thing}"]
        return [*fetch, *self._walk(self.home, self.goal), f"put {self.thing}"]

    def choices(self) -> list[str]:
        """Return all ways through a door, to take what is here or wanted, to put what is held."""
        moves = [f"go {room}" for room in self._doors() if room != self.room]
        things = sorted({self.thing, self.place.get(self.room, self.thing)})
        takes = [f"take {name}" for name in things]
        puts = [f"put {name}" for name in sorted(self.held)]
        return moves + takes + puts

    def _layout(self, rank: int) -> dict[str, str]:
        left = list(self.THINGS)
        place = {}
        for room in self.HIDING:
            index, rank = divmod(rank, math.factorial(len(left) - 1))
            place[room] = left.pop(index)
        return place

    def _credit(self) -> None:
        if self.thing in self.held:
            earned = 0.75 if self.room == self.goal else 0.5
        elif self.place.get(self.room) == self.thing:
            earned = 0.25
        else:
            earned = 0.0
        self.score = max(self.score, earned)

    def _wanted_here(self) -> bool:
        """Whether being here is of use although the room was seen before: a corridor always is."""
        if self.room not in self.HIDING or self.thing in self.held:
            return True
        return self.place.get(self.room) == self.thing

    def _doors(self) -> tuple[str, ...]:
        if self.room == "landing":
            return (*self.UP[1:], "hall")
        if self.room in self.UP:
            return ("landing",)
        if self.room == "hall":
            return (*self.DOWN, "landing")
        return self.DOWN

    def _look(self) -> str:
        thing = self.place.get(self.room, "nothing")
        if self.thing == thing or self.thing in self.held:
            return f"{self.room}: {thing}."
        return f"{self.room}: {thing}, no {self.thing}."

    def _walk(self, start: str, end: str) -> list[str]:
        if start in self.DOWN and end in self.UP:
            way = [start, "hall", "landing", end]
        elif start in self.UP and end in self.DOWN:
            way = [start, "landing", "hall", end]
        elif start in self.UP:
            way = [start, "landing", end] if start != end else [start]
        else:
            way = [start, end]
        # A room that stands twice in a row is no move.
        return [f"go {room}" for before, room in itertools.pairwise(way) if room != before]


# --- the truth, and worlds by name


def distance(world: World) -> float:
    """Return how many actions the expert needs from here to score 1; infinite if no way is left."""
    way = world.expert()
    return math.inf if way is None else len(way)


def first_error(world: World, task: str, actions: Sequence[str], start: int = 0) -> int | None:
    """Return the index of the first action that did not shorten the way to the goal, if any.

    Errors before index `start` do not count.  This is the truth that the judge is measured against,
    in hindsight; `world` must have an expert and is reset.  Turns that no world sees (`revise`, or
    no action at all) are passed over.
    """
    world.reset(options={"task": task})
    left = distance(world)
    for t, action in enumerate(actions):
        if action in ("", "revise"):  # `agent_r.REVISE`, which this module cannot import
            continue
        world.step(action)
        before = left
        left = distance(world)
        if t >= start and left >= before:
            return t
    return None


WORLD_MODULES = ("shop", "craft", "textcraft", "scienceworld", "agentgym")  # modules of worlds/


def make_world(name: str, recipes: str = "") -> Callable[[], World]:
    """Return a maker of fresh copies of the world `name`.

    A name is `lab`, one of `WORLD_MODULES`, whose own `make_world` gets what stands after a first
    colon, or `module:Class` for anybody's own world.  `recipes`, a folder of recipe files, is
    textcraft's option where its name has none.  Raises `UserError` for a name that is no world's.
    """
    if name == Lab.name:
        return Lab
    module_name, colon, option = name.partition(":")
    if module_name in WORLD_MODULES:
        module = imported(name, f"worlds.{module_name}")
        if module_name == "textcraft":
            option = option or recipes
        return module.make_world(option)
    if not colon:
        known = ", ".join((Lab.name, *WORLD_MODULES))
        raise UserError(
            f"--env {name}: there is no such world; there are {known}, and module:Class"
        )
    return own_world(name, imported(name, module_name), option, World)
