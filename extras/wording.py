"""What a run's page says: its panels and the paper, its names of outcomes, its columns and filters.

A column of a list is its heading, its width, and whether narrow screens do without.  A filter is
its name and its options: what stands under `keys` of a row, and how it is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.table import Column

# --- the panels

PAPER = {  # what each panel shows of the paper, and which function made it
    "overview": "Table 2, Figures 4 and 5: what the iterations gave. Made by train.measure"
    " and critique.criticise.",
    "trees": "Phase I: one search tree for each training task. Made by mcts.search.",
    "tree": "Phase I: select, expand, rollout, backpropagate. Made by the functions of these names"
    " in mcts.py.",
    "revisions": "Phase I: a failed and a good leaf make a pair, which becomes a revision or is"
    " dropped. Made by critique.pair_leaves and critique.criticise.",
    "revision": "Phase I: bad actions up to t\u2032, a thought, the good actions. Made by"
    " critique.find_first_errors and critique.splice.",
    "examples": "Phase II: what the agent is trained on. Made by critique.criticise and"
    " critique.good_examples.",
    "tokens": "Phase II: the loss is taken on learned tokens alone. Made by"
    " agent_r.ChatFormat.encode.",
    "episodes": "Table 2, Figure 4: held-out tasks, greedily played after each iteration. Made by"
    " train.measure.",
    "episode": "Figure 4: the same held-out task, iteration by iteration. Made by agent_r.play.",
}
PANELS = {"trees": "tree", "revisions": "revision", "examples": "tokens"}  # of a row, by its list

# --- names

NONE = "\u2013"  # in place of a figure that there is not
NOTHING = (NONE, "0")  # how a count is written of which there are none
JUDGE = {
    "exact": "the very step",
    "early": "too early",
    "late": "too late",
    "missed": "missed: an error, and no Bad",
    "alarm": "false alarm: Bad, and no error",
}
OUTCOMES = {
    "made": "made",
    "no_error": "no action called Bad",
    "not_executable": "not executable",
    "too_long": "too long",
    "nothing_learned": "nothing learned",
}
WHY = {
    "no_error": "the critic called no action Bad",
    "not_executable": "the world carries none of its splices out",
    "too_long": "the example does not fit the model's context",
    "nothing_learned": "nothing in the example is learned",
    "unknown": "the run does not say why",
}

# --- the overview

SCORE = Column("score", "score", 100, 1)
REVISION_LENGTH = Column("revision length: bad steps up to t\u2032", "revision_length", 1, 2)
FIGURES = (
    SCORE,
    Column("success", "success", 100, 1),
    Column("recovery from failed beginnings", "recovery", 100, 1),
    Column("loops: steps that repeat", "loops", 100, 1),
    REVISION_LENGTH,
    Column("judge as used: first Bad is the first true error", "first_error_exact_used", 100, 1),
    Column("judge on held-out episodes", "first_error_exact", 100, 1),
    Column("false alarms of the judge", "false_alarms", 100, 1),
    Column("splices that can be carried out as written", "executable_share", 100, 1),
    Column("seconds since the start", "seconds"),
)


@dataclass(frozen=True)
class Count:
    """A count of a row, what it is called, and the outcome of the pairs that it leads to."""

    field: str
    name: str
    outcome: str = ""


COUNTS = (
    Count("revision", "revisions made", "made"),
    Count("good", "good episodes"),
    Count("preference", "preferences"),
    Count("dropped_no_error", "dropped: no action called Bad", "no_error"),
    Count("dropped_not_executable", "dropped: no splice can be carried out", "not_executable"),
    Count("dropped_too_long", "dropped: too long for the context", "too_long"),
    Count("dropped_nothing_learned", "dropped: nothing is learned", "nothing_learned"),
)
CHANGES = ("held-out tasks", "failed before, solved now", "solved before, failed now")

# --- the lists

TREE_COLUMNS = (
    ("task", "1fr", False),
    ("best", "46px", False),
    ("worst", "50px", True),
    ("simulations", "86px", True),
    ("leaves", "54px", True),
    ("nodes", "54px", False),
    ("pairs", "46px", False),
)
TREE_FILTERS = {
    "leaves": ("leaves", {"mixed": "good and bad", "alike": "all score the same", "none": "none"}),
    "pairs": ("pairs", {"some": "some", "none": "none"}),
}

PAIR_COLUMNS = (
    ("task", "1fr", False),
    ("t\u2032", "30px", False),
    ("true", "34px", False),
    ("judge", "190px", True),
    ("length", "52px", True),
    ("became", "210px", True),
    ("", "62px", True),
)
PAIR_FILTERS = {
    "outcome": ("became", OUTCOMES),
    "judge": ("judge", JUDGE),
    "length": ("revision length", {"1": "1", "2": "2", "3": "3 and more"}),
    "way": ("way", {"chained": "chained", "back": "went back a step"}),
}

EXAMPLE_COLUMNS = (
    ("task", "1fr", False),
    ("kind", "84px", False),
    ("score", "50px", True),
    ("learned", "60px", False),
    ("tokens", "56px", True),
    ("", "140px", True),
)
EXAMPLE_FILTERS = {
    "kind": ("kind", {"revision": "revision", "good": "good", "preference": "preference"}),
    "learned": ("learned", {"nothing": "nothing", "something": "something"}),
    "score": ("score", {"full": "1 and more", "less": "below 1"}),
}

EPISODE_COLUMNS = (  # between the task and these, one for each iteration
    ("loops", "50px", True),
    ("revisions", "70px", True),
    ("steps", "80px", True),
)
EPISODE_FILTERS = {  # behind the one by change
    "score": ("at the end", {"solved": "solved", "part": "in part", "zero": "scores 0"}),
    "loops": ("loops", {"none": "none", "some": "up to a third", "many": "more"}),
    "revisions": ("revisions", {"0": "none", "1": "1", "2": "2 and more"}),
    "kept": ("steps", {"kept": "kept", "score": "only score"}),
}


def dash(value: object) -> str:
    """Return a value as text, a dash for None."""
    return NONE if value is None else str(value)
