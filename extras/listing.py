"""The lists of a run's page: its trees, judged pairs, examples and held-out episodes.

A row has cells, under `keys` what it is to each filter, and under `to` the panel that it opens.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from extras.overview import changed, played_in
from extras.wording import (
    EPISODE_COLUMNS,
    EPISODE_FILTERS,
    EXAMPLE_COLUMNS,
    EXAMPLE_FILTERS,
    JUDGE,
    NONE,
    PAIR_COLUMNS,
    PAIR_FILTERS,
    PANELS,
    TREE_COLUMNS,
    TREE_FILTERS,
    dash,
)
from records.reading import Record, RunFolder

ListColumn = tuple[str, str, bool]
Filters = Mapping[str, tuple[str, Mapping[str, str]]]


def lists_of(run: RunFolder, iterations: Sequence[Record], episodes: Sequence[Record]) -> Record:
    """Return every list of a page by its address, and in each row the address of its panel."""
    lists: Record = {}
    if episodes:
        lists["episodes"] = episode_list(run, episodes)
    for iteration in iterations:
        if any(iteration[kind] for kind in ("trees", "data", "pairs")):
            number = iteration["number"]
            lists[f"trees/{number}"] = tree_list(run, iteration)
            lists[f"revisions/{number}"] = pair_list(run, iteration)
            lists[f"examples/{number}"] = example_list(run, iteration)
    for address, told in lists.items():
        for place, row in enumerate(told["rows"], 1):
            row["to"] = panel_of(run, address, row, place)
    return lists


def panel_of(run: RunFolder, address: str, row: Record, place: int) -> str:
    """Return the address of the panel that a list's row opens; `place` is counted from 1."""
    kind, _, number = address.partition("/")
    if kind == "episodes":
        return episode_place(run, row, place)
    return f"{PANELS[kind]}/{number}/{place}"


def episode_place(run: RunFolder, row: Record, place: int) -> str:
    """Return the address of a held-out task: its name, or its place where no address holds it."""
    try:
        task = quote(row["cells"][0], safe="")
    except UnicodeEncodeError:  # half a surrogate
        task = f"~{place}"
    if len(run.worlds) > 1:
        return f"episode/{task}?world={quote(row['keys']['world'], errors='replace')}"
    return f"episode/{task}"


def listing(
    run: RunFolder,
    title: str,
    columns: Sequence[ListColumn],
    filters: Filters,
    rows: Sequence[Record],
) -> Record:
    """Return a list, with the filters that have something to choose from."""
    by_world = ("world", {name: name for name in run.worlds})
    shown = {}
    for name, (heading, options) in {**filters, "world": by_world}.items():
        if len(options) > 1:
            shown[name] = (heading, options)
    return {"title": title, "columns": columns, "filters": shown, "rows": rows}


def score(value: float | None) -> str:
    """Return a score as text."""
    return NONE if value is None else f"{value:.2f}"


# --- trees


def tree_list(run: RunFolder, iteration: Record) -> Record:
    """Return the list of an iteration's trees."""
    rows = [tree_row(tree) for tree in iteration["trees"]]
    return listing(run, "Search trees", TREE_COLUMNS, TREE_FILTERS, rows)


def tree_row(tree: Record) -> Record:
    """Return the row of a tree."""
    cells = [
        tree["task"],
        score(tree["best"]),
        score(tree["worst"]),
        tree["simulations"],
        tree["leaves"],
        tree["nodes"],
        len(tree["pairs"]),
    ]
    leaves = "none"
    if tree["leaves"]:
        leaves = "alike" if tree["best"] == tree["worst"] else "mixed"
    pairs = "some" if tree["pairs"] else "none"
    return {"cells": cells, "keys": {"leaves": leaves, "pairs": pairs, "world": tree["env"]}}


# --- judged pairs


def pair_list(run: RunFolder, iteration: Record) -> Record:
    """Return the list of an iteration's judged pairs, those that were dropped among them."""
    rows = [pair_row(pair) for pair in iteration["pairs"]]
    made = listing(run, "Judged pairs and their revisions", PAIR_COLUMNS, PAIR_FILTERS, rows)
    return {**made, "also": f"examples/{iteration['number']}"}


def pair_row(pair: Record) -> Record:
    """Return the row of a judged pair; under `also` stands the example that it became."""
    judge = "not known"
    truth = ""
    if pair["judge"]:
        judge = JUDGE[pair["judge"]]
        truth = dash(pair["truth"])
    became = f"\u2713 example {pair['made']}"
    if pair["dropped"]:
        became = f"\u2717 dropped: {spaced(pair['dropped'])}"
    way = ""
    if pair["back"]:
        way = "1 back"
    if pair["chained"]:
        way = "chained"
    cells = [pair["task"], dash(pair["error"]), truth, judge, dash(pair["length"]), became, way]
    keys = {
        "outcome": pair["dropped"] or "made",
        "judge": pair["judge"],
        "way": [name for name in ("chained", "back") if pair[name]],
        "length": str(min(3, pair["length"])) if pair["length"] else None,
        "world": pair["env"],
    }
    return {"cells": cells, "keys": keys, "also": pair["made"]}


def spaced(name: Any) -> str:
    """Return the name of an outcome as words."""
    return str(name).replace("_", " ")


# --- examples


def example_list(run: RunFolder, iteration: Record) -> Record:
    """Return the list of an iteration's examples."""
    rows = [example_row(example) for example in iteration["data"]]
    return listing(run, "Examples for training", EXAMPLE_COLUMNS, EXAMPLE_FILTERS, rows)


def example_row(example: Record) -> Record:
    """Return the row of an example."""
    cells = [
        example["task"],
        example["kind"],
        score(example["score"]),
        dash(example.get("learned")),
        dash(example.get("tokens")),
        f"\u2717 {spaced(example['dropped'])}" if example["dropped"] else "",
    ]
    keys = {"kind": example["kind"], "world": example["env"]}
    if "learned" in example:
        keys["learned"] = "something" if example["learned"] else "nothing"
    if example["score"] is not None:
        keys["score"] = "full" if example["score"] >= 1 else "less"
    return {"cells": cells, "keys": keys}


# --- held-out episodes


def episode_list(run: RunFolder, episodes: Sequence[Record]) -> Record:
    """Return the list of held-out tasks, with what each iteration made of them."""
    numbers = played_in(episodes)
    played = [(f"it. {number}", "62px", False) for number in numbers]
    columns = [("task", "1fr", False), *played, *EPISODE_COLUMNS]
    changes = {}
    for before, after in itertools.pairwise(numbers):
        changes[f"gained-{after}"] = f"failed in {before}, solved in {after}"
        changes[f"lost-{after}"] = f"solved in {before}, failed in {after}"
    filters = {"change": ("change", changes), **EPISODE_FILTERS}
    rows = [episode_row(episode, numbers) for episode in episodes]
    return listing(run, "Held-out episodes", columns, filters, rows)


def episode_row(episode: Record, numbers: Sequence[int]) -> Record:
    """Return the row of a held-out task, played in the iterations of these numbers."""
    cells = [episode["task"]]
    for number in numbers:
        cells.append(played_cell(episode["played"].get(str(number))))
    end = episode["played"].get(str(numbers[-1]), {})
    cells.append(score(end.get("loops")))
    cells.append(dash(end.get("revisions")))
    cells.append("kept" if episode["kept"] else "only score")
    return {"cells": cells, "keys": episode_keys(episode, numbers, end)}


def played_cell(played: Record | None) -> str:
    """Return what an iteration made of a task, a dash where it was not played."""
    if not played:
        return NONE
    sign = "\u2713" if played["won"] else "\u2717"
    return f"{sign} {score(played['score'])}"


def episode_keys(episode: Record, numbers: Sequence[int], end: Record) -> Record:
    """Return what a task is to the filters, of which most look at the last iteration."""
    changes = []
    for before, after in itertools.pairwise(numbers):
        changes.append(f"{changed(episode, before, after)}-{after}")
    keys: Record = {
        "change": changes,
        "world": episode["env"],
        "kept": "kept" if episode["kept"] else "score",
    }
    if end:
        keys["score"] = score_key(end)
        keys["loops"] = loops_key(end["loops"])
        keys["revisions"] = revisions_key(end["revisions"])
    return keys


def score_key(end: Record) -> str:
    """Return what the score of an episode is to its filter."""
    if end["won"]:
        return "solved"
    return "part" if end["score"] else "zero"


def loops_key(share: float | None) -> str | None:
    """Return what a share of repeated steps is to its filter; None where it is not known."""
    return of_number(share, 1 / 3, ("none", "some", "many"))


def revisions_key(count: int | None) -> str | None:
    """Return what a number of revisions is to its filter; None where it is not known."""
    return of_number(count, 1, ("0", "1", "2"))


def of_number(value: float | None, few: float, names: Sequence[str]) -> str | None:
    """Return the name of none, at most `few` or more of something; None where it is not known."""
    if value is None:
        return None
    if not value:
        return names[0]
    return names[1] if value <= few else names[2]
