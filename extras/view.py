"""A run as one page, to be opened by a double click: trees, verdicts, splices, tokens, episodes.

    python -m extras.view RUN [--out FILE]

RUN is the folder that `train.py` was given with --out; the page is written to view.html in it,
unless --out names another file.  A run still going on, cut off or of an earlier commit is shown as
far as it goes, and the page says what is missing.  True first errors are added here, where a world
knows them: nobody who judges is told.

Read in order: `page_of` (what the page is told), `Tokens`, `Truth`, `fill` (page and template).
The template is view.html beside this file: texts reach it compressed, and as data alone.
"""

from __future__ import annotations

import argparse
import base64
import functools
import gzip
import hashlib
import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import AutoTokenizer

from agent_r import BAD, ChatFormat
from engine import UserError, command_line
from engine.folder import writing
from envs import World, first_error, make_world
from extras.facts import became, example_facts, pair_facts
from extras.listing import lists_of
from extras.overview import overview
from extras.wording import PAPER
from mcts import SearchSettings
from records.reading import Iteration, Record, RunFolder, read_run

PROGRAM = "python -m extras.view"
TEMPLATE = Path(__file__).with_name("view.html")
CHUNK = 600_000  # characters of records that are unpacked at once
MOST_TOKENS = 6_000_000  # of all examples together; of those beyond, only the counts are shown
MOST_POINTS = 200  # of a curve of losses


@dataclass
class Page:
    """What a page is told: a head, read at once, and lists of records, read when looked at."""

    head: Record = field(default_factory=dict)
    lists: dict[str, list[Any]] = field(default_factory=dict)


def page_of(run: RunFolder) -> Page:
    """Return what the page of a run is told."""
    page = Page()
    truth = Truth(run)
    tokens = Tokens(run)
    iterations = []
    for iteration in tqdm(run.iterations, desc="reading", leave=False, disable=None):
        iterations.append(add_iteration(page, run, iteration, truth, tokens))
    episodes = add_episodes(page, run, truth)
    notes = [*warnings(run, iterations), *tokens.notes, *truth.notes]
    page.head = {
        "name": run.path.resolve().name,
        "config": run.config,
        "overview": overview(run, iterations, episodes),
        "warnings": sorted(notes, key=lambda note: not note["grave"]),
        "paper": PAPER,
        "lists": lists_of(run, iterations, episodes),
        "c_uct": c_uct(run),
        "pieces": tokens.pieces,
    }
    return page


def c_uct(run: RunFolder) -> float:
    """Return the exploration constant of the run's searches."""
    value = run.config.get("c_uct")
    return value if isinstance(value, int | float) else SearchSettings.c_uct


# --- an iteration


def add_iteration(
    page: Page, run: RunFolder, iteration: Iteration, truth: Truth, tokens: Tokens
) -> Record:
    """Add the records of an iteration to the page; return its rows for the head."""
    number = iteration.number
    pairs = iteration.verdicts
    if pairs is None:
        pairs = pairs_of_data(iteration)
    worlds = world_of_trees(run, iteration)
    encoded = [tokens.example(record) for record in iteration.data]
    pair_rows = [pair_row(pair, iteration, truth, run) for pair in pairs]
    pair_of_data = {pair["made"]: place for place, pair in enumerate(pairs, 1) if pair.get("made")}
    of_tree = defaultdict(list)
    for place, pair in enumerate(pairs, 1):
        of_tree[pair.get("tree")].append(place)
    trees = []
    for place, (tree, world) in enumerate(zip(iteration.trees, worlds, strict=True), 1):
        trees.append({**tree_row(tree), "env": world, "pairs": of_tree[place]})
    tree_of_task = {tree["task"]: place for place, tree in enumerate(trees, 1)}
    data = []
    for place, (record, example) in enumerate(zip(iteration.data, encoded, strict=True), 1):
        pair = pair_of_data.get(place)
        env = pair_rows[pair - 1]["env"] if pair else world_of_task(record, trees, run)
        row = {**data_row(record), **example.counts, "env": env, "pair": pair}
        row["tree"] = pairs[pair - 1].get("tree") if pair else tree_of_task.get(record["task"])
        data.append(row)
        row["facts"] = example_facts(row, str(number))
    for pair, row in zip(pairs, pair_rows, strict=True):
        row["facts"] = pair_facts(pair, row, row.pop("actions"), str(number))
        row["became"] = became(row)
    told = [[iteration.trees, trees], [pairs, pair_rows], [iteration.data, data]]
    for name, (records, rows) in zip(("trees", "revisions", "examples"), told, strict=True):
        both = zip(records, rows, strict=True)
        page.lists[f"{name}/{number}"] = [{**record, "row": row} for record, row in both]
    page.lists[f"tokens/{number}"] = [example.kept for example in encoded]
    return {
        "number": number,
        "finished": iteration.finished,
        "verdicts": iteration.verdicts is not None,
        "trees": trees,
        "pairs": pair_rows,
        "data": data,
        "losses": curve(iteration.losses),
    }


def pairs_of_data(iteration: Iteration) -> list[Record]:
    """Return what a run without verdicts tells of its pairs: the revisions that were made."""
    pairs = []
    for place, record in enumerate(iteration.data, 1):
        if record["kind"] == "revision":
            error = record.get("error")
            known = {"task": record["task"], "error": error, "made": place, "verdicts": []}
            pairs.append(known)
    return pairs


def world_of_trees(run: RunFolder, iteration: Iteration) -> list[str]:
    """Return the world of each tree; runs that did not say have as many of each, in order."""
    each = max(1, -(-len(iteration.trees) // len(run.worlds)))
    worlds = []
    for place, tree in enumerate(iteration.trees):
        guess = run.worlds[min(place // each, len(run.worlds) - 1)]
        worlds.append(str(tree.get("env", guess)))
    return worlds


def world_of_task(record: Record, trees: Sequence[Record], run: RunFolder) -> str:
    """Return the world of an example, which is that of a tree with its task."""
    if len(run.worlds) > 1:
        for tree in trees:
            if tree["task"] == record["task"]:
                return tree["env"]
    return run.worlds[0]


def tree_row(tree: Record) -> Record:
    """Return a tree as a row of a list."""
    scores = [node["step"]["score"] for node in tree["nodes"] if node["done"] and node["step"]]
    return {
        "task": tree["task"],
        "nodes": len(tree["nodes"]),
        "simulations": tree["nodes"][0]["visits"],
        "leaves": len(scores),
        "best": max(scores, default=None),
        "worst": min(scores, default=None),
        "lost": tree["lost"],
    }


def pair_row(pair: Record, iteration: Iteration, truth: Truth, run: RunFolder) -> Record:
    """Return a judged pair as a row of a list, with the true first error where it is known."""
    row: Record = {"env": str(pair.get("env", run.worlds[0]))}
    for name in ("task", "tree", "error", "made", "dropped", "back", "chained"):
        row[name] = pair.get(name)
    if row["dropped"] is None and row["made"] is None:
        row["dropped"] = "unknown"
    if row["made"]:
        row["dropped"] = iteration.data[row["made"] - 1].get("dropped")
    row["length"] = None
    row["truth"] = row["judge"] = None  # "judge": how its answer stands to the truth
    row["actions"] = []
    if pair.get("tree"):
        nodes = iteration.trees[pair["tree"] - 1]["nodes"]
        steps = steps_to(nodes, pair["bad"])
        row["bad"] = nodes[pair["bad"]]["step"]["score"] if steps else 0.0
        row["good"] = (nodes[pair["good"]]["step"] or {"score": 0.0})["score"]
        if pair["error"] is not None:
            row["length"] = pair["error"] + 1 - pair["start"]
        actions = [step["action"] for step in steps]
        known, row["truth"] = truth.first_error(row["env"], pair["task"], actions, pair["start"])
        if known:
            row["judge"] = compared(pair["error"], row["truth"])
        row["actions"] = actions
        blamed = row["truth"] if row["judge"] == "missed" else pair["error"]
        if blamed is not None and blamed < len(actions):
            row["verb"] = actions[blamed].partition(" ")[0][:40] or "no action"
    return row


def steps_to(nodes: Sequence[Record], index: int) -> list[Record]:
    """Return the steps from the root to a node of a tree's record."""
    steps = []
    while nodes[index]["parent"] is not None:
        steps.append(nodes[index]["step"])
        index = nodes[index]["parent"]
    return steps[::-1]


def compared(error: int | None, truth: int | None) -> str:
    """Return how the critic's first error stands to the true one."""
    if error == truth:
        return "exact"
    if error is None:
        return "missed"
    if truth is None:
        return "alarm"
    return "early" if error < truth else "late"


def data_row(record: Record) -> Record:
    """Return an example as a row of a list."""
    fields = {name: record.get(name) for name in ("task", "kind", "score", "dropped")}
    return {**fields, "turns": len(record["messages"]) // 2}


def curve(losses: Sequence[Record]) -> list[list[float | None]]:
    """Return (step, mean loss) of stretches of the training; None where it was no number."""
    width = max(1, math.ceil(len(losses) / MOST_POINTS))
    points: list[list[float | None]] = []
    for first in range(0, len(losses), width):
        stretch = losses[first : first + width]
        mean = sum(line["loss"] for line in stretch) / len(stretch)
        points.append([stretch[-1]["step"], round(mean, 5) if math.isfinite(mean) else None])
    return points


# --- the episodes


def add_episodes(page: Page, run: RunFolder, truth: Truth) -> list[Record]:
    """Add the held-out episodes to the page, a record for each task; return their rows."""
    rows: dict[tuple[str, str], Record] = {}
    kept: dict[tuple[str, str], Record] = {}
    for episode in run.episodes:
        env = str(episode.get("env", run.worlds[0]))
        key = (env, episode["task"])
        row = rows.setdefault(key, {"env": env, "task": episode["task"], "played": {}})
        figures = {name: episode.get(name) for name in ("score", "steps", "loops", "revisions")}
        won = episode.get("won")
        figures["won"] = episode["score"] >= 1 if won is None else bool(won)
        played = episode.get("played")
        if played is not None:
            actions = [step["action"] for step in played["steps"]]
            if not figures["won"]:
                _, figures["error"] = truth.first_error(env, episode["task"], actions, 0)
            kept.setdefault(key, {})[str(episode["iteration"])] = played
        row["kept"] = key in kept
        row["played"][str(episode["iteration"])] = figures
    page.lists["episodes"] = [{"row": row, "kept": kept.get(key)} for key, row in rows.items()]
    return list(rows.values())


# --- what one should see first


def warnings(run: RunFolder, iterations: Sequence[Record]) -> list[Record]:
    """Return what is amiss or missing, as sentences with the panel that shows it."""
    notes = [warning(fault) for fault in run.faults]
    planned = run.config.get("iterations")
    last = max((row["iteration"] for row in run.rows), default=None)
    if last is None:
        notes.append(warning("This run has no results yet: it goes on, or was cut off."))
    elif isinstance(planned, int) and last < planned:
        text = f"This run has {last} of its {planned} iterations: it goes on, or was cut off."
        notes.append(warning(text))
    for told, iteration in zip(iterations, run.iterations, strict=True):
        notes += warnings_of_iteration(run, told, iteration)
    if not run.episodes:
        notes.append(warning("No episode is told of: episodes.jsonl is missing or empty."))
    elif not any("played" in episode for episode in run.episodes):
        notes.append(warning("This run kept no steps of episodes, only their scores."))
    return notes


def warnings_of_iteration(run: RunFolder, told: Record, iteration: Iteration) -> list[Record]:
    """Return what is amiss or missing in an iteration."""
    number = iteration.number
    where = f"Iteration {number}"
    notes = []
    if any(point[1] is None for point in told["losses"]):
        notes.append(warning(f"{where}: the loss was no number at some steps.", grave=True))
    if not number:
        return notes
    empty = [place for place, row in enumerate(told["data"], 1) if row.get("learned") == 0]
    if empty:
        text = f"{where}: nothing is learned in {len(empty)} examples, such as {empty[0]}."
        notes.append(warning(text, f"tokens/{number}/{empty[0]}", grave=True))
    revises = run.config.get("method", "agent-r") in ("agent-r", "direct-revision")
    if revises and iteration.trees:
        if iteration.verdicts == []:
            text = f"{where}: no pair was found, so that there is nothing to revise."
            notes.append(warning(text, f"trees/{number}", grave=True))
        if iteration.verdicts and all(pair["error"] is None for pair in iteration.verdicts):
            text = f"{where}: the judge is silent: it called none of the actions {BAD}."
            notes.append(warning(text, f"revisions/{number}", grave=True))
        if iteration.verdicts is None and (iteration.data or iteration.finished):
            text = f"{where}: verdicts were not kept, nor pairs that were dropped."
            notes.append(warning(text))
        elif not any(row["kind"] == "revision" for row in told["data"]):
            text = f"{where}: there is no revision among the examples."
            notes.append(warning(text, f"revisions/{number}"))
    if iteration.trees and all(tree["ends"] is None for tree in iteration.trees):
        text = f"{where}: the ends of simulations were not kept, so that none can be replayed."
        notes.append(warning(text))
    if not iteration.finished:
        notes.append(warning(f"{where} is not finished."))
    return notes


def warning(text: str, panel: str = "", *, grave: bool = False) -> Record:
    """Return a sentence for the top of the page, with the panel that it is about."""
    return {"text": text, "panel": panel, "grave": grave}


# --- tokens


@dataclass
class Encoded:
    """An example's counts, and what is kept of its tokens: None where there are too many."""

    counts: Record
    kept: Record | None


class Tokens:
    """Examples as the run's own model reads them, by `ChatFormat.encode`."""

    def __init__(self, run: RunFolder) -> None:
        self.notes: list[Record] = []
        self.pieces: dict[int, list[Any]] = {}  # token -> its text, and 1 if it is special
        self.left = MOST_TOKENS
        self.format: ChatFormat | None = None
        if any(iteration.data for iteration in run.iterations):
            self.open(run)

    def open(self, run: RunFolder) -> None:
        """Take the tokenizer of the run's first model."""
        reason = "the run left no model"
        for folder in run.models()[:1]:
            try:
                self.tokenizer = AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
                self.format = ChatFormat(self.tokenizer)
            except Exception as error:  # whatever a broken checkpoint makes the loader raise
                reason = " ".join(str(error).split())[:200] or type(error).__name__
        if self.format is None:
            self.notes.append(warning(f"Tokens cannot be shown: {reason}."))

    def example(self, record: Record) -> Encoded:
        """Return an example's tokens, the rejected dialogue of a preference behind the other."""
        if self.format is None:
            return Encoded({}, None)
        dialogues = [record["messages"]]
        if record.get("rejected"):
            dialogues.append(record["rejected"])
        try:
            sides = [self.side(messages) for messages in dialogues]
        except TypeError:  # half a surrogate, which is no text to a tokenizer
            return Encoded({}, None)
        counts = Counter()
        for side in sides:
            counts["tokens"] += len(side["ids"])
            counts["learned"] += sum(side["runs"][1::2])
        self.left -= counts["tokens"]
        if self.left < 0:
            if not any("only the counts" in note["text"] for note in self.notes):
                text = f"Of examples beyond {MOST_TOKENS:,} tokens only the counts are shown."
                self.notes.append(warning(text))
            return Encoded(dict(counts), None)
        for side in sides:
            for token in side["ids"]:
                if token not in self.pieces:
                    self.pieces[token] = self.piece(token)
        return Encoded(dict(counts), {"sides": sides})

    def side(self, messages: Sequence[Record]) -> Record:
        """Return a dialogue's tokens, what of them is learned, and where its turns begin.

        `runs` are lengths of stretches, in turn not learned and learned.
        """
        ids, labels = self.format.encode(messages)
        runs = [0]
        for label in labels:
            learned = label != -100
            if learned != (len(runs) % 2 == 0):
                runs.append(0)
            runs[-1] += 1
        return {"ids": ids, "runs": runs, "turns": self.turns(messages)}

    def turns(self, messages: Sequence[Record]) -> list[int]:
        """Return the lengths of the turns in tokens; the token that ends one is its last."""
        lengths = []
        for index, message in enumerate(messages):
            if index == 0:
                lengths.append(len(self.format.opening(message["content"])))
            elif index % 2:
                lengths.append(len(self.format.reply(message["content"])) + 1)
            else:
                lengths.append(len(self.format.turn(message["content"])) - 1)
        return lengths

    def piece(self, token: int) -> list[Any]:
        """Return the text of a token, and 1 if it is special; part of a letter as it is named."""
        text = self.tokenizer.decode([token])
        if not text or "\ufffd" in text:
            text = str(self.tokenizer.convert_ids_to_tokens(token))
        return [text, int(token in self.tokenizer.all_special_ids)]


# --- the truth, which measures and never judges


class Truth:
    """The true first errors, of the worlds that know them."""

    def __init__(self, run: RunFolder) -> None:
        self.recipes = str(run.config.get("recipes") or "")
        self.notes: list[Record] = []

    def first_error(
        self, name: str, task: str, actions: Sequence[str], start: int
    ) -> tuple[bool, int | None]:
        """Return whether the truth is known, and the first error from a step on."""
        world = self.world(name)
        if world is None:
            return False, None
        try:
            return True, first_error(world, task, actions, start)
        except (UserError, RuntimeError):  # no task of this world, or another way through it
            return False, None

    @functools.cache  # noqa: B019, one truth a page
    def world(self, name: str) -> World | None:
        """Return the world of a name, or None, with a note, where none knows the truth."""
        try:
            world = make_world(name, self.recipes)()
        except UserError as error:
            self.notes.append(warning(f"True first errors of {name} are not shown: {error}"))
            return None
        if not world.has_expert:
            text = f"True first errors of {name} are not shown: it has no expert who knows them."
            self.notes.append(warning(text))
            return None
        return world


# --- page and template


def fill(template: str, page: Page) -> str:
    """Return the page: the template with its data, and a policy that forbids every request.

    Data is compressed and in base64, so that no text can end the script that holds it.
    """
    head = dict(page.head)
    head["chunks"] = {}
    scripts = []
    for name, records in page.lists.items():
        head["chunks"][name] = []
        for chunk in chunks(list(map(dumped, records))):
            head["chunks"][name].append([f"d{len(scripts)}", len(chunk)])
            scripts.append(script(f"d{len(scripts)}", "\n".join(chunk)))
    scripts.append(script("head", dumped(head)))
    filled = template.replace("<!-- data -->", "\n".join(scripts))
    return filled.replace("POLICY", policy(template))


def chunks(lines: Sequence[str]) -> list[list[str]]:
    """Return lines in stretches of about `CHUNK` characters."""
    stretches: list[list[str]] = []
    length = CHUNK
    for line in lines:
        if length >= CHUNK:
            stretches.append([])
            length = 0
        stretches[-1].append(line)
        length += len(line)
    return stretches


def dumped(record: Any) -> str:
    """Return a record as JSON that a browser reads: what is no number, as NaN, becomes null."""
    try:
        return json.dumps(record, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(finite(record), separators=(",", ":"))


def finite(value: Any) -> Any:
    """Return a value in which nothing is infinite or not a number."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def script(name: str, text: str) -> str:
    """Return an element that holds a text as data."""
    packed = base64.b64encode(gzip.compress(text.encode("ascii"), 9, mtime=0)).decode("ascii")
    return f'<script type="application/octet-stream" id="{name}">{packed}</script>'


def policy(template: str) -> str:
    """Return a policy under which nothing is loaded, and only the template's own parts are run."""
    parts = ["default-src 'none'", "base-uri 'none'", "form-action 'none'"]
    for kind, tag in (("style-src", "style"), ("script-src", "script")):
        hashes = []
        for body in re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(body.encode("utf-8")).digest())
            hashes.append(f"'sha256-{digest.decode('ascii')}'")
        parts.append(f"{kind} {' '.join(hashes)}")
    return "; ".join(parts)


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run and return its path; raises `UserError`."""
    run = read_run(folder)
    out = out or folder / "view.html"
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; name a file, such as {out / 'view.html'}")
    if out.exists() and not out.is_file():
        raise UserError(f"--out {out}: is no file that a page could replace; name another")
    text = fill(TEMPLATE.read_text(encoding="utf-8"), page_of(run))
    with writing(out.resolve()) as part:  # of a link the file that it leads to
        part.write_text(text, encoding="utf-8")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default RUN/view.html")
    options = parser.parse_args(arguments)

    def carry_out() -> None:
        out = write_page(options.run, options.out)
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; open it in a browser")

    return command_line.carry_out(PROGRAM, carry_out)


if __name__ == "__main__":
    sys.exit(main())
