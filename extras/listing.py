"""The overview and the lists of a run's page: their tables, rows and filters, made of its records.

A cell of a table is a text, or a pair of a text and the place that it leads to.  A row of a list
has the number of its record, its cells, and under `keys` what it is to each filter.
"""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from engine.table import Column
from records.reading import Record, RunFolder

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
FIGURES = (
    Column("score", "score", 100, 1),
    Column("success", "success", 100, 1),
    Column("recovery from failed beginnings", "recovery", 100, 1),
    Column("loops: steps that repeat", "loops", 100, 1),
    Column("revision length: bad steps up to t\u2032", "revision_length", 1, 2),
    Column("judge as used: first Bad is the first true error", "first_error_exact_used", 100, 1),
    Column("judge on held-out episodes", "first_error_exact", 100, 1),
    Column("false alarms of the judge", "false_alarms", 100, 1),
    Column("splices that can be carried out as written", "executable_share", 100, 1),
    Column("seconds since the start", "seconds"),
)
COUNTS = (
    ("revision", "revisions made", "made"),
    ("good", "good episodes", ""),
    ("preference", "preferences", ""),
    ("dropped_no_error", "dropped: no action called Bad", "no_error"),
    ("dropped_not_executable", "dropped: no splice can be carried out", "not_executable"),
    ("dropped_too_long", "dropped: too long for the context", "too_long"),
    ("dropped_nothing_learned", "dropped: nothing is learned", "nothing_learned"),
)

Cell = str | list[str]
Fact = list[Any]  # a name, and cells


# --- the overview


def overview(run: RunFolder, iterations: Sequence[Record], episodes: Sequence[Record]) -> Record:
    """Return the overview: facts, tables, and curves of (x, y)."""
    tables = []
    curves = []
    for world in dict.fromkeys(row["env"] for row in run.rows):
        rows = [row for row in run.rows if row["env"] == world]
        tables.append(figure_table(run, iterations, world, rows))
        several = f" of {world}" if len(run.worlds) > 1 else ""
        for column in (FIGURES[0], FIGURES[4]):
            points = [[row["iteration"], row.get(column.field)] for row in rows]
            points = [[x, column.factor * y] for x, y in points if isinstance(y, int | float)]
            title = column.heading.partition(":")[0].capitalize() + several
            curves.append({"title": f"{title}, by iteration", "points": points, "least": 0})
    tables += [change_table(episodes), judge_table(iterations)]
    for iteration in iterations:
        points = [point for point in iteration["losses"] if point[1] is not None]
        name = f"iteration {iteration['number']}" if iteration["number"] else "the warm-up"
        curves.append({"title": f"Loss of the steps of {name}", "points": points, "least": None})
    return {
        "facts": facts(run),
        "tables": [table for table in tables if table["rows"]],
        "curves": [curve for curve in curves if len(curve["points"]) > 1],
    }


def facts(run: RunFolder) -> list[list[str]]:
    """Return what was run: command, seed, versions."""
    config = run.config
    command = run.origin.get("command")
    name = "command"
    if command is None:
        name = "settings (no command was kept)"
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in config.items() if value]
        command = shlex.join(["python", "train.py", *flags])
    versions = [f"{key} {value}" for key, value in run.origin.get("versions", {}).items()]
    method = f"{config.get('method', 'agent-r')} on {', '.join(run.worlds)}"
    search = [
        f"{config.get('tasks')} tasks an iteration",
        f"{config.get('simulations')} simulations",
    ]
    return [
        [name, command],
        ["method", f"{method}; the critic is {config.get('critic', 'actor')}"],
        ["seed", str(config.get("seed"))],
        ["versions", ", ".join(versions) or "not kept"],
        ["search", ", ".join(search)],
    ]


def figure_table(
    run: RunFolder, iterations: Sequence[Record], world: str, rows: Sequence[Record]
) -> Record:
    """Return the figures of a world, a column for each iteration; counts lead to their pairs."""
    lines: list[list[Cell]] = []
    for column in FIGURES:
        if any(isinstance(row.get(column.field), int | float) for row in rows):
            lines.append([column.heading, *(figure(column, row) for row in rows)])
    kept = {iteration["number"] for iteration in iterations if iteration["verdicts"]}
    for field, name, outcome in COUNTS:
        cells: list[Cell] = []
        for row in rows:
            many = (row.get("counts") or {}).get(field)
            cell: Cell = "\u2013" if many is None else f"{many:g}"
            if many and outcome and row["iteration"] in kept and world in run.worlds:
                of_world = f"&world={quote(world)}" if len(run.worlds) > 1 else ""
                cell = [cell, f"revisions/{row['iteration']}?outcome={outcome}{of_world}"]
            cells.append(cell)
        if set(map(str, cells)) - {"\u2013", "0"}:
            lines.append([name, *cells])
    title = f"After each iteration: {world}" if len(run.worlds) > 1 else "After each iteration"
    numbers = [str(row["iteration"]) for row in rows]
    note = "Shares and scores are times 100."
    return {"title": title, "columns": ["iteration", *numbers], "rows": lines, "note": note}


def figure(column: Column, row: Record) -> str:
    """Return a figure as text, a dash where there is none."""
    return column.cell(row) if isinstance(row.get(column.field), int | float) else "\u2013"


def change_table(episodes: Sequence[Record]) -> Record:
    """Return how many held-out tasks each iteration gained and lost; they lead to these."""
    rows: list[list[Cell]] = []
    numbers = played_in(episodes)
    for before, after in itertools.pairwise(numbers):
        tally = Counter(changed(episode, before, after) for episode in episodes)
        cells = [
            [str(tally[kind]), f"episodes?change={kind}-{after}"] for kind in ("gained", "lost")
        ]
        rows.append([f"in iteration {after}, against {before}", *cells])
    columns = ["held-out tasks", "failed before, solved now", "solved before, failed now"]
    return {"title": "What changed", "columns": columns, "rows": rows, "note": ""}


def judge_table(iterations: Sequence[Record]) -> Record:
    """Return what the judge gets wrong, most first, and at which actions."""
    judged = [one for one in iterations if any(pair["judge"] for pair in one["pairs"])]
    total = Counter(pair["judge"] for one in judged for pair in one["pairs"] if pair["judge"])
    wrong = sorted(list(JUDGE)[1:], key=lambda kind: -total[kind])
    rows: list[list[Cell]] = []
    for kind in ["exact", *wrong]:
        row: list[Cell] = [JUDGE[kind]]
        for one in judged:
            pairs = [pair for pair in one["pairs"] if pair["judge"] == kind]
            verbs = Counter(pair["verb"] for pair in pairs if pair.get("verb"))
            often = ", ".join(f"{verb} {many}" for verb, many in verbs.most_common(3))
            text = f"{len(pairs)} ({often})" if often and kind != "exact" else str(len(pairs))
            row.append([text, f"revisions/{one['number']}?judge={kind}"] if pairs else "0")
        rows.append(row)
    note = ""
    if judged:
        worst = f"Most often wrong: {JUDGE[wrong[0]]}, {total[wrong[0]]} of {total.total()} pairs."
        note = worst if total[wrong[0]] else "It was never wrong."
        note += " In brackets: the first word of the action that was called Bad, or was missed."
    columns = ["the first Bad is", *(f"iteration {one['number']}" for one in judged)]
    rows = rows if judged else []
    return {"title": "What the judge gets wrong", "columns": columns, "rows": rows, "note": note}


# --- what stands above a pair and an example


def pair_facts(pair: Record, row: Record, actions: Sequence[str], place: str) -> list[Fact]:
    """Return what is known of a judged pair; `place` is its iteration's number."""

    def at(step: int) -> str:
        return f"step {step}: {actions[step]}" if step < len(actions) else f"step {step}"

    made = [[f"example {row['made']}: its tokens", f"tokens/{place}/{row['made']}"]]
    facts: list[Fact] = [["became", became(row), *(made if row["made"] else [])]]
    error, truth = row["error"], row["truth"]
    facts.append(["called Bad", "no action" if error is None else f"t\u2032 = {at(error)}"])
    if row["judge"]:
        steps = abs(error - truth) if row["judge"] in ("early", "late") else 0
        by = f", by {steps} step{'s' if steps > 1 else ''}" if steps else ""
        facts.append(["true first error", "none" if truth is None else at(truth)])
        facts.append(["the judge named", JUDGE[row["judge"]] + by])
    else:
        facts.append(["true first error", "not known"])
    facts.append(["revision length", dash(row["length"])])
    if pair.get("tree"):
        tree = f"tree/{place}/{pair['tree']}"
        nodes = {"failed": pair["bad"], "good": pair.get("spliced_with", pair["good"])}
        if "shared" in pair:
            nodes["shared"] = pair["shared"]
        leads = [[f"{name} node {node}", f"{tree}?node={node}"] for name, node in nodes.items()]
        facts.append([f"tree {pair['tree']}", *leads])
    if pair.get("thought"):
        facts.append(["thought", pair["thought"]])
    if row["back"]:
        facts.append(["went back", "one step before the shared node, as it has to be walked"])
    if row["chained"]:
        lead = [f"the revision of pair {row['chained']}", f"revision/{place}/{row['chained']}"]
        facts.append(["chained", "the good side is an earlier revision", lead])
    return facts


def became(row: Record) -> str:
    """Return what a pair or an example became, in words."""
    if row["dropped"]:
        return f"\u2717 dropped: {WHY.get(row['dropped'], row['dropped'])}"
    return "\u2713 a revision" if "made" in row else "\u2713 an example"


def example_facts(row: Record, place: str) -> list[Fact]:
    """Return what is known of an example; `place` is its iteration's number."""
    facts: list[Fact] = [["kind", row["kind"]], ["task", row["task"]], ["became", became(row)]]
    if "tokens" in row:
        facts.append(["tokens", f"{row['learned']} learned of {row['tokens']}"])
    if row["pair"]:
        lead = [f"pair {row['pair']}: its splice", f"revision/{place}/{row['pair']}"]
        facts.append(["made of", lead])
    if row["tree"]:
        facts.append(["from", [f"tree {row['tree']}", f"tree/{place}/{row['tree']}"]])
    return facts


# --- the lists


Options = dict[str, str]  # what a filter knows, with its name


def listing(
    title: str,
    columns: Sequence[tuple[str, str, bool]],
    filters: Mapping[str, tuple[str, Options]],
    rows: Iterable[Record],
) -> Record:
    """Return a list; a column is its heading, its width and whether narrow screens do without."""
    shown = {name: given for name, given in filters.items() if len(given[1]) > 1}
    return {"title": title, "columns": columns, "filters": shown, "rows": list(rows)}


PANELS = {"trees": "tree", "revisions": "revision", "examples": "tokens"}  # of a row, by its list


def lists_of(run: RunFolder, iterations: Sequence[Record], episodes: Sequence[Record]) -> Record:
    """Return every list of a page by its address, and in each row the address of its panel."""
    lists = {"episodes": episode_list(run, episodes)} if episodes else {}
    for iteration in iterations:
        if any(iteration[kind] for kind in ("trees", "data", "pairs")):
            number = iteration["number"]
            lists[f"trees/{number}"] = tree_list(run, iteration)
            lists[f"revisions/{number}"] = pair_list(run, iteration)
            lists[f"examples/{number}"] = example_list(run, iteration)
    for name, told in lists.items():
        kind, _, number = name.partition("/")
        for place, row in enumerate(told["rows"], 1):
            if kind == "episodes":
                row["to"] = episode_place(run, row, place)
            else:
                row["to"] = f"{PANELS[kind]}/{number}/{place}"
    return lists


def episode_place(run: RunFolder, row: Record, number: int) -> str:
    """Return the address of a held-out task: its name, or its number where no address holds it."""
    try:
        task = quote(row["cells"][0], safe="")
    except UnicodeEncodeError:  # half a surrogate
        task = f"~{number}"
    if len(run.worlds) > 1:
        return f"episode/{task}?world={quote(row['keys']['world'], errors='replace')}"
    return f"episode/{task}"


def world_filter(run: RunFolder) -> dict[str, tuple[str, Options]]:
    """Return the filter by world, which a run of one world does not need."""
    return {"world": ("world", {name: name for name in run.worlds})}


def score(value: float | None) -> str:
    """Return a score as text."""
    return "\u2013" if value is None else f"{value:.2f}"


def dash(value: Any) -> str:
    """Return a value as text, a dash for None."""
    return "\u2013" if value is None else str(value)


def tree_list(run: RunFolder, iteration: Record) -> Record:
    """Return the list of an iteration's trees."""
    columns = [("task", "1fr", False), ("best", "46px", False), ("worst", "50px", True)]
    columns += [("simulations", "86px", True), ("leaves", "54px", True)]
    columns += [("nodes", "54px", False), ("pairs", "46px", False)]
    outcomes = {"mixed": "good and bad", "alike": "all score the same", "none": "none"}
    filters = {"leaves": ("leaves", outcomes), "pairs": ("pairs", {"some": "some", "none": "none"})}
    rows = []
    for tree in iteration["trees"]:
        known = "mixed" if tree["best"] != tree["worst"] else "alike"
        leaves = known if tree["leaves"] else "none"
        pairs = "some" if tree["pairs"] else "none"
        cells = [tree["task"], score(tree["best"]), score(tree["worst"])]
        cells += [tree[name] for name in ("simulations", "leaves", "nodes")]
        keys = {"leaves": leaves, "pairs": pairs, "world": tree["env"]}
        rows.append({"cells": [*cells, len(tree["pairs"])], "keys": keys})
    return listing("Search trees", columns, {**filters, **world_filter(run)}, rows)


def pair_list(run: RunFolder, iteration: Record) -> Record:
    """Return the list of an iteration's judged pairs, those that were dropped among them."""
    columns = [("task", "1fr", False), ("t\u2032", "30px", False), ("true", "34px", False)]
    columns += [("judge", "190px", True), ("length", "52px", True)]
    columns += [("became", "210px", True), ("", "62px", True)]
    filters = {
        "outcome": ("became", OUTCOMES),
        "judge": ("judge", JUDGE),
        "length": ("revision length", {"1": "1", "2": "2", "3": "3 and more"}),
        "way": ("way", {"chained": "chained", "back": "went back a step"}),
    }
    rows = []
    for pair in iteration["pairs"]:
        way = "chained" if pair["chained"] else "1 back" if pair["back"] else ""
        ways = [name for name in ("chained", "back") if pair[name]]
        dropped = f"\u2717 dropped: {str(pair['dropped']).replace('_', ' ')}"
        became = dropped if pair["dropped"] else f"\u2713 example {pair['made']}"
        judge = JUDGE[pair["judge"]] if pair["judge"] else "not known"
        truth = dash(pair["truth"]) if pair["judge"] else ""
        cells = [pair["task"], dash(pair["error"]), truth, judge, dash(pair["length"]), became, way]
        keys = {"outcome": pair["dropped"] or "made", "judge": pair["judge"], "way": ways}
        keys["length"] = str(min(3, pair["length"])) if pair["length"] else None
        rows.append({"cells": cells, "keys": {**keys, "world": pair["env"]}, "also": pair["made"]})
    title = "Judged pairs and their revisions"
    made = listing(title, columns, {**filters, **world_filter(run)}, rows)
    return {**made, "also": f"examples/{iteration['number']}"}


def example_list(run: RunFolder, iteration: Record) -> Record:
    """Return the list of an iteration's examples."""
    columns = [("task", "1fr", False), ("kind", "84px", False), ("score", "50px", True)]
    columns += [("learned", "60px", False), ("tokens", "56px", True), ("", "140px", True)]
    kinds = {name: name for name in ("revision", "good", "preference")}
    filters = {
        "kind": ("kind", kinds),
        "learned": ("learned", {"nothing": "nothing", "something": "something"}),
        "score": ("score", {"full": "1 and more", "less": "below 1"}),
    }
    rows = []
    for row in iteration["data"]:
        dropped = f"\u2717 {str(row['dropped']).replace('_', ' ')}" if row["dropped"] else ""
        counts = [dash(row.get("learned")), dash(row.get("tokens"))]
        cells = [row["task"], row["kind"], score(row["score"]), *counts, dropped]
        keys = {"kind": row["kind"], "world": row["env"]}
        if "learned" in row:
            keys["learned"] = "something" if row["learned"] else "nothing"
        if row["score"] is not None:
            keys["score"] = "full" if row["score"] >= 1 else "less"
        rows.append({"cells": cells, "keys": keys})
    return listing("Examples for training", columns, {**filters, **world_filter(run)}, rows)


def episode_list(run: RunFolder, episodes: Sequence[Record]) -> Record:
    """Return the list of held-out tasks, with what each iteration made of them."""
    numbers = played_in(episodes)
    columns = [("task", "1fr", False)]
    columns += [(f"it. {number}", "62px", False) for number in numbers]
    columns += [("loops", "50px", True), ("revisions", "70px", True), ("steps", "80px", True)]
    changes = {}
    for before, after in itertools.pairwise(numbers):
        changes[f"gained-{after}"] = f"failed in {before}, solved in {after}"
        changes[f"lost-{after}"] = f"solved in {before}, failed in {after}"
    filters = {
        "change": ("change", changes or {}),
        "score": ("at the end", {"solved": "solved", "part": "in part", "zero": "scores 0"}),
        "loops": ("loops", {"none": "none", "some": "up to a third", "many": "more"}),
        "revisions": ("revisions", {"0": "none", "1": "1", "2": "2 and more"}),
        "kept": ("steps", {"kept": "kept", "score": "only score"}),
    }
    rows = []
    for episode in episodes:
        end = episode["played"].get(str(numbers[-1]), {})
        cells = [episode["task"]]
        for number in numbers:
            played = episode["played"].get(str(number))
            sign = "\u2713" if played and played["won"] else "\u2717"
            cells.append(f"{sign} {score(played['score'])}" if played else "\u2013")
        cells += [score(end.get("loops")), dash(end.get("revisions"))]
        cells.append("kept" if episode["kept"] else "only score")
        rows.append({"cells": cells, "keys": episode_keys(episode, numbers, end)})
    return listing("Held-out episodes", columns, {**filters, **world_filter(run)}, rows)


def episode_keys(episode: Record, numbers: Sequence[int], end: Record) -> Record:
    """Return what a task is to the filters, of which most look at the last iteration."""
    changes = []
    for before, after in itertools.pairwise(numbers):
        changes.append(f"{changed(episode, before, after)}-{after}")
    keys: Record = {"change": changes, "world": episode["env"]}
    keys["kept"] = "kept" if episode["kept"] else "score"
    if end:
        solved = "solved" if end["won"] else "part"
        keys["score"] = solved if end["won"] or end["score"] else "zero"
        keys["loops"] = of_number(
            end["loops"], lambda value: value <= 1 / 3, ("none", "some", "many")
        )
        few = ("0", "1", "2")
        keys["revisions"] = of_number(end["revisions"], lambda value: value <= 1, few)
    return keys


def of_number(
    value: float | None, few: Callable[[float], bool], names: Sequence[str]
) -> str | None:
    """Return the name of none, few or many of something; None where it is not known."""
    if value is None:
        return None
    if not value:
        return names[0]
    return names[1] if few(value) else names[2]


def played_in(episodes: Sequence[Record]) -> list[int]:
    """Return the iterations in which episodes were played."""
    return sorted({int(number) for episode in episodes for number in episode["played"]})


def changed(episode: Record, before: int, after: int) -> str:
    """Return whether a task was "gained" or "lost" from one iteration to another, or neither."""
    one = episode["played"].get(str(before))
    other = episode["played"].get(str(after))
    if not one or not other or one["won"] == other["won"]:
        return ""
    return "gained" if other["won"] else "lost"
