"""The page of a run: what it is told, and what a browser shows of it and does."""

import base64
import gzip
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from doubles import read_lines, tiny_actor
from small_runs import CONFIG, write_run

import mcts
from agent_r import ChatFormat, parse_action
from engine import folder
from envs import Lab, first_error
from extras import picture, view, wording
from records.reading import read_run
from records.trees import from_record, whole

TEMPLATE = view.TEMPLATE.read_text(encoding="utf-8")
PLACES = ("overview", "trees/1", "revisions/1", "examples/1", "episodes")


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "small")


@pytest.fixture(scope="module")
def page_path(run_path):
    return view.write_page(run_path)


def lines_of(run_path, number, name):
    return read_lines(run_path / f"iteration-{number}" / f"{name}.jsonl")


def head_of(path):
    """The head of a page, and the records of its lists, unpacked as the browser does it."""
    text = path.read_text(encoding="utf-8")
    scripts = dict(re.findall(r'octet-stream" id="(\w+)">([A-Za-z0-9+/=]+)</script>', text))
    unpacked = {name: gzip.decompress(base64.b64decode(data)) for name, data in scripts.items()}
    head = json.loads(unpacked["head"])
    lists = {}
    for name, chunks in head["chunks"].items():
        records = []
        for chunk, count in chunks:
            lines = unpacked[chunk].split(b"\n")
            assert len(lines) == count
            records += [json.loads(line) for line in lines]
        lists[name] = records
    return head, lists


def warned(path):
    return " ".join(note["text"] for note in head_of(path)[0]["warnings"])


# --- the file


def test_the_template_is_one_that_can_be_read():
    lines = TEMPLATE.split("\n")
    assert len(lines) <= 801
    assert max(map(len, lines)) <= 130
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch("):
        assert word not in TEMPLATE


def test_the_page_may_load_nothing_and_run_nothing_but_its_own(page_path):
    text = page_path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "base-uri", "form-action", "style-src", "script-src"}
    assert all(value.startswith("'sha256-") for name, value in rules.items() if "script" in name)
    assert "unsafe" not in policy
    assert not re.search(r'(src|href)="(?!#)', text)
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_every_record_reaches_the_page_whole(run_path, page_path):
    _, lists = head_of(page_path)
    for number in (1, 2):
        for name, kind in (("trees", "trees"), ("verdicts", "revisions"), ("data", "examples")):
            records = lines_of(run_path, number, name)
            assert len(records) == len(lists[f"{kind}/{number}"]) > 10
            for record, told in zip(records, lists[f"{kind}/{number}"], strict=True):
                record = whole(record) if name == "trees" else record
                assert {key: told[key] for key in record} == record


def test_the_page_of_a_run_is_made_again_to_the_letter(run_path, page_path, tmp_path):
    assert view.write_page(run_path, tmp_path / "again.html").read_bytes() == page_path.read_bytes()


# --- what the page is told


def test_the_judge_is_compared_with_the_truth_from_where_it_was_asked(run_path, page_path):
    _, lists = head_of(page_path)
    seen = set()
    for pair in lists["revisions/1"]:
        tree = from_record(lists["trees/1"][pair["tree"] - 1])
        bad = list(tree.root.walk())[pair["bad"]]
        truth = first_error(Lab(), pair["task"], tree.trajectory(bad).actions, pair["start"])
        assert pair["row"]["truth"] == truth
        assert pair["row"]["judge"] == view.compared(pair["error"], truth)
        seen.add(pair["row"]["judge"])
    assert len(seen) > 2


@pytest.mark.parametrize(
    ("error", "truth", "word"),
    [
        (3, 3, "exact"),
        (None, None, "exact"),
        (2, 3, "early"),
        (4, 3, "late"),
        (None, 3, "missed"),
        (3, None, "alarm"),
    ],
)
def test_a_verdict_against_the_truth_by_hand(error, truth, word):
    assert view.compared(error, truth) == word
    assert word in wording.JUDGE


def test_a_curve_is_the_mean_of_stretches_and_shows_what_is_no_number():
    losses = [{"step": n, "loss": float(n)} for n in range(1, 401)]
    points = view.curve(losses)
    assert len(points) == 200
    assert points[0] == [2, 1.5]
    assert points[-1] == [400, 399.5]
    assert view.curve([{"step": 1, "loss": math.nan}]) == [[1, None]]
    assert view.curve([]) == []


def test_what_changed_is_told_against_the_iteration_before(page_path):
    head, _ = head_of(page_path)
    (table,) = (one for one in head["overview"]["tables"] if one["title"] == "What changed")
    assert table["rows"] == [
        [
            "in iteration 1, against 0",
            ["40", "episodes?change=gained-1"],
            ["0", "episodes?change=lost-1"],
        ],
        [
            "in iteration 2, against 1",
            ["0", "episodes?change=gained-2"],
            ["20", "episodes?change=lost-2"],
        ],
    ]


# --- runs that are not whole, and what is no run


def changed_run(run_path, tmp_path):
    path = tmp_path / "changed"
    shutil.copytree(run_path, path, ignore=shutil.ignore_patterns("view.html", "model"))
    return path


def test_a_run_that_has_just_begun_has_a_page_that_says_so(tmp_path):
    folder.write_lines(tmp_path / "config.json", [CONFIG])
    assert "This run has no results yet" in warned(view.write_page(tmp_path))


def test_a_run_going_on_says_how_far_it_is(run_path, tmp_path):
    path = changed_run(run_path, tmp_path)
    for name in ("metrics.json", "data.jsonl", "verdicts.jsonl", "losses.jsonl"):
        (path / "iteration-2" / name).unlink()
    rows = read_lines(path / "results.jsonl")[:2]
    folder.write_lines(path / "results.jsonl", rows)
    told = warned(view.write_page(path))
    assert "1 of its 2 iterations" in told
    assert "Iteration 2 is not finished" in told
    assert "Tokens cannot be shown" in told


@pytest.mark.parametrize("name", ["trees.jsonl", "verdicts.jsonl", "data.jsonl", "losses.jsonl"])
@pytest.mark.parametrize("ruin", ["cut", "null", "number", "nested"])
def test_a_file_that_was_cut_off_is_shown_as_far_as_it_goes(run_path, tmp_path, name, ruin):
    path = changed_run(run_path, tmp_path)
    file = path / "iteration-1" / name
    lines = file.read_bytes().splitlines(keepends=True)
    bad = {"cut": lines[2][:-9], "null": b"null", "number": b"7", "nested": b"[" * 99999}[ruin]
    file.write_bytes(b"".join([*lines[:2], bad]))
    told = warned(view.write_page(path))
    assert f"iteration-1/{name}: line 3 " in told
    kind = {"trees.jsonl": "trees/1", "verdicts.jsonl": "revisions/1", "data.jsonl": "examples/1"}
    if name in kind:
        assert len(head_of(path / "view.html")[0]["lists"][kind[name]]["rows"]) == 2


SPOILT = {
    "trees": [
        ("nodes", 7),
        ("nodes", []),
        ("nodes", [{"parent": 0}]),
        ("ends", [10**6]),
        ("ends", []),
        ("selected", None),
        ("task", None),
    ],
    "verdicts": [
        ("tree", 0),
        ("tree", 10**6),
        ("bad", -1),
        ("made", 10**6),
        ("verdicts", [3]),
        ("verdicts", [{"step": 10**20, "verdict": "Bad"}]),
        ("chained", 2),
        ("error", 10**20),
        ("thought", 3),
    ],
    "data": [
        ("messages", []),
        ("messages", [{"role": "user"}]),
        ("kind", 3),
        ("score", 10**20),
        ("anything", 10**400),
    ],
    "losses": [("step", 10**20), ("loss", 10**400)],
}


@pytest.mark.parametrize(
    ("name", "key", "value"), [(n, *pair) for n in SPOILT for pair in SPOILT[n]]
)
def test_a_record_that_no_run_writes_is_named_and_passed_over(run_path, tmp_path, name, key, value):
    path = changed_run(run_path, tmp_path)
    records = lines_of(path, 1, name)
    records[1][key] = value
    folder.write_lines(path / "iteration-1" / f"{name}.jsonl", records)
    assert f"iteration-1/{name}.jsonl: line 2 " in warned(view.write_page(path))


@pytest.mark.parametrize(
    "sitting", [3, None, {"command": "train.py"}, {"command": [], "versions": ["torch"]}]
)
def test_a_sitting_that_no_run_writes_is_named_and_passed_over(run_path, tmp_path, sitting):
    path = changed_run(run_path, tmp_path)
    folder.write_lines(path / "run.json", [{"sources": {}, "sittings": [sitting]}])
    assert "run.json: line 1 has " in warned(view.write_page(path))


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_page_replaces_nothing_but_files(run_path, tmp_path, capsys, kind):
    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
        assert view.main([str(run_path), "--out", str(place)]) == 2
        assert "is no file that a page could replace" in capsys.readouterr().err
        assert place.is_fifo()
    else:
        (tmp_path / "page.html").write_text("before")
        place.symlink_to(tmp_path / "page.html")
        assert view.main([str(run_path), "--out", str(place)]) == 0
        assert place.is_symlink()
        assert (tmp_path / "page.html").read_text().startswith("<!")


def test_a_run_of_an_earlier_commit_shows_what_it_kept(run_path, tmp_path):
    path = changed_run(run_path, tmp_path)
    (path / "run.json").unlink()
    for number in (1, 2):
        old = path / f"iteration-{number}"
        (old / "verdicts.jsonl").unlink()
        trees = [whole(record) for record in read_lines(old / "trees.jsonl")]
        for tree in trees:
            del tree["ends"], tree["selected"], tree["told"], tree["lost"], tree["env"]
            for node in tree["nodes"]:
                del node["finished"]
        folder.write_lines(old / "trees.jsonl", trees)
    lines = read_lines(path / "episodes.jsonl")
    for line in lines:
        for key in ("played", "won", "loops", "revisions"):
            line.pop(key, None)
    folder.write_lines(path / "episodes.jsonl", lines)
    told = warned(view.write_page(path))
    assert "verdicts were not kept" in told
    assert "none can be replayed" in told
    assert "kept no steps of episodes" in told
    head, _ = head_of(path / "view.html")
    made = [line for line in lines_of(path, 1, "data") if line["kind"] == "revision"]
    assert len(head["lists"]["revisions/1"]["rows"]) == len(made)
    assert head["overview"]["facts"][0][0] == "settings (no command was kept)"


def test_what_went_wrong_stands_first(run_path, tmp_path):
    path = changed_run(run_path, tmp_path)
    tiny_actor().save(path / "iteration-0" / "model")
    data = lines_of(path, 1, "data")
    for message in data[2]["messages"][1::2]:
        message["loss"] = False
    folder.write_lines(path / "iteration-1" / "data.jsonl", data)
    silent = lines_of(path, 2, "verdicts")
    for pair in silent:
        pair.pop("made", None)
        pair.update(error=None, dropped="no_error", verdicts=[])
    folder.write_lines(path / "iteration-2" / "verdicts.jsonl", silent)
    losses = [{"step": 1, "loss": math.nan}]
    folder.write_lines(path / "iteration-2" / "losses.jsonl", losses)
    head, _ = head_of(view.write_page(path))
    grave = [note["text"] for note in head["warnings"] if note["grave"]]
    assert [note["grave"] for note in head["warnings"][: len(grave)]] == [True] * len(grave)
    assert any("nothing is learned in 1 examples, such as 3" in text for text in grave)
    assert any("the judge is silent" in text for text in grave)
    assert any("the loss was no number" in text for text in grave)
    folder.write_lines(path / "iteration-2" / "verdicts.jsonl", [])
    assert "no pair was found" in warned(view.write_page(path))


def test_a_world_that_is_not_here_leaves_the_truth_out(run_path, tmp_path):
    path = changed_run(run_path, tmp_path)
    folder.write_lines(path / "config.json", [{**CONFIG, "env": "nobody:World"}])
    for number in (1, 2):
        for name in ("trees", "verdicts"):
            records = lines_of(path, number, name)
            for record in records:
                record["env"] = "nobody:World"
            folder.write_lines(path / f"iteration-{number}" / f"{name}.jsonl", records)
    head, lists = head_of(view.write_page(path))
    told = [
        note["text"]
        for note in head["warnings"]
        if "True first errors of nobody:World" in note["text"]
    ]
    assert len(told) == 1
    assert {pair["row"]["judge"] for pair in lists["revisions/1"]} == {None}


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["nowhere"], "nowhere: there is no such folder; name the folder that train.py"),
        (["FILE"], "is a file, not a folder"),
        (["EMPTY"], "holds no config.json"),
        (["JUNK"], "config.json: is no JSON object"),
        (["RUN", "--out", "EMPTY"], "is a folder; name a file"),
        (["RUN", "--out", "nowhere/page.html"], "nowhere: there is no such file or folder"),
    ],
)
def test_what_is_no_run_is_refused_in_one_sentence(run_path, tmp_path, capsys, words, because):
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "config.json").write_text("[]")
    named = {
        "FILE": run_path / "config.json",
        "EMPTY": tmp_path / "empty",
        "JUNK": tmp_path / "junk",
        "RUN": run_path,
    }
    assert view.main([str(named.get(word, word)) for word in words]) == 2
    told = capsys.readouterr().err.split("\r")[-1]
    assert because in told
    assert told.count("\n") == 1


# --- in a browser

REQUIRED = "AGENT_R_BROWSER_REQUIRED"  # set where a missing browser is a failure: see .ci/run


DASH, PRIME = "\u2013", "\u2032"

# What a browser is asked, as functions of the page.
ARRIVED = """(address) =>
  document.getElementById("main").dataset.at === (address ?? location.hash)"""
VISIT = """async (place) => {
  location.hash = place;
  const at = () => document.getElementById("main").dataset.at;
  for (let n = 0; at() !== "#" + place && n < 3000; n += 1) {
    await new Promise((go) => setTimeout(go, 5));
  }
  if (at() !== "#" + place) throw new Error("it was never drawn: " + place);
}"""
TOKENS = """() => [...document.querySelectorAll(".token")].map((one) =>
  [Number(one.dataset.id), one.classList.contains("learned")])"""
MARKS = """() => [...document.querySelectorAll("[data-verdict]")].map((one) =>
  [Number(one.closest(".step").dataset.step), one.dataset.verdict])"""
NODES = """() => [...document.querySelectorAll(".node[role=treeitem]")].map((row) =>
  [row.dataset.chain.split(" ").map(Number), ...["n", "q", "uct"].map((name) =>
    row.querySelector(`[data-${name}]`).textContent)])"""
CHOICES = """() => [...document.querySelectorAll(".side table")].map((table) =>
  [...table.querySelectorAll("tr[data-child]")].map((row) =>
    [Number(row.dataset.child), row.dataset.best === "yes", row.textContent,
      row.lastChild.textContent]))"""
LINKS = """() => [...document.querySelectorAll("a")].map((one) => one.getAttribute("href"))"""
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, [role=tree], aside")]
  .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.closest("label")))
  .map((one) => one.outerHTML)"""
OPEN_ROW = """(n) => {
  location.hash = document.querySelector(`[data-number="${n}"]`).getAttribute("href"); }"""
OPEN_ALL = """() => { for (const one of document.querySelectorAll("button.more")) one.click(); }"""
COLOURS = """() => [...document.querySelectorAll("main *, header *")]
  .filter((one) => one.offsetParent && !one.closest("[disabled]")
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
  .map((one) => {
    let behind = one;
    const clear = (node) => getComputedStyle(node).backgroundColor === "rgba(0, 0, 0, 0)";
    while (behind.parentElement && clear(behind)) behind = behind.parentElement;
    return [one.textContent.slice(0, 40), getComputedStyle(one).color,
      getComputedStyle(behind).backgroundColor];
  })"""


def absent(reason):
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason}, and {REQUIRED} is set")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed: pip install playwright")
    path = picture.browser_path()
    if path is None:
        absent("there is no Chromium: apt-get install chromium-headless-shell, or set CHROMIUM")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


class Reader:
    """A person at a page, who notes whatever should not happen."""

    def __init__(self, browser, path, **settings):
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **settings}
        )
        self.page = self.context.new_page()
        self.amiss = []
        self.page.on("pageerror", lambda error: self.amiss.append(f"error: {error}"))
        self.page.on("console", lambda line: self.amiss.append(f"console: {line.text}"))
        self.page.on("dialog", lambda dialog: (self.amiss.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("h1")

    def asked(self, url):
        if not url.startswith("file:"):
            self.amiss.append(f"request: {url}")

    def go(self, place):
        """Open a panel by its address."""
        self.page.evaluate(VISIT, place)

    def arrive(self, address=None):
        """Wait until a panel is drawn."""
        self.page.wait_for_function(ARRIVED, arg=address)

    def click(self, selector):
        self.page.click(selector)
        self.arrive()

    def press(self, *names):
        for name in names:
            self.page.keyboard.press(name)
            self.arrive()

    def texts(self, selector):
        return self.page.locator(selector).all_text_contents()

    def title(self):
        return self.page.text_content("h1")

    def close(self):
        self.context.close()
        assert self.amiss == []


@pytest.fixture
def reader(browser, page_path):
    person = Reader(browser, page_path)
    yield person
    person.close()


def test_the_tokens_drawn_as_learned_are_those_of_the_labels(reader, run_path):
    encoder = ChatFormat(tiny_actor().tokenizer)
    examples = lines_of(run_path, 1, "data")[:200]
    assert len(examples) == 200
    for number, record in enumerate(examples, 1):
        reader.go(f"tokens/1/{number}")
        ids, labels = encoder.encode(record["messages"])
        drawn = reader.page.evaluate(TOKENS)
        assert drawn == [[token, label != -100] for token, label in zip(ids, labels, strict=True)]
        learned = sum(label != -100 for label in labels)
        assert f"{learned} learned of {len(ids)}" in reader.page.text_content("dl")
        turns = reader.texts(".turn > span")
        assert turns == ["user", "agent"] * (len(record["messages"]) // 2)


def test_a_pair_is_shown_as_its_record_has_it(reader, run_path):
    pairs = lines_of(run_path, 1, "verdicts")
    data = lines_of(run_path, 1, "data")
    kinds = {"chained": 0, "back": 0, "no_error": 0, "not_executable": 0}
    for number, pair in enumerate(pairs[:60], 1):
        reader.go(f"revision/1/{number}")
        assert reader.page.evaluate(MARKS) == [[v["step"], v["verdict"]] for v in pair["verdicts"]]
        cut = reader.page.locator(".step:has(.cut)")
        if pair["error"] is None:
            assert cut.count() == 0
        else:
            assert cut.get_attribute("data-step") == str(pair["error"])
        told = reader.page.text_content("dl")
        if "made" in pair:
            steps = reader.page.locator('[data-column="3"].step')
            spoken = data[pair["made"] - 1]["messages"][1::2]
            assert steps.count() == len(spoken)
            for t, message in enumerate(spoken):
                assert (parse_action(message["content"]) or message["content"]) in steps.nth(
                    t
                ).text_content()
                learned = "learned" in steps.nth(t).get_attribute("class")
                assert learned == message["loss"]
            parts = [steps.nth(t).get_attribute("data-part") for t in range(len(spoken))]
            assert parts.index("thought") == pair["error"] + 1
            kinds["chained"] += "chained" in pair
            kinds["back"] += pair["back"]
        else:
            assert wording.WHY[pair["dropped"]] in told
            kinds[pair["dropped"]] += 1
    assert min(kinds.values()) > 0, kinds


def test_the_stored_tree_is_shown_with_its_visits_values_and_uct(reader, run_path):
    for number, record in enumerate(lines_of(run_path, 1, "trees")[:12], 1):
        nodes = whole(record)["nodes"]
        reader.go(f"tree/1/{number}")
        rows = reader.page.evaluate(NODES)
        assert sorted(index for chain, *_ in rows for index in chain) == [*range(len(nodes))]
        for chain, visits, q, uct in rows:
            for index in chain:
                assert int(visits) == nodes[index]["visits"]
            first = nodes[chain[0]]
            mean = first["value_sum"] / first["visits"] if first["visits"] else None
            assert q == DASH if mean is None else abs(float(q) - mean) < 0.00501
            if chain[0]:
                above = nodes[first["parent"]]["visits"]
                expected = mcts.uct(first["value_sum"], first["visits"], above, 0.25)
                assert uct == "∞" if math.isinf(expected) else abs(float(uct) - expected) < 0.000501


def test_the_replayed_simulations_are_those_of_the_search(reader, run_path):
    for number, record in enumerate(lines_of(run_path, 1, "trees")[:8], 1):
        tree = from_record(record)
        nodes = list(tree.root.walk())
        stored = [(node.visits, node.value_sum) for node in nodes]
        for node in nodes:
            node.visits, node.value_sum = 0, 0.0
        reader.go(f"tree/1/{number}")
        reader.page.click('[aria-label="before the search"]')
        assert reader.page.locator("[role=treeitem]").count() == 1
        for simulation, leaf in enumerate(tree.ends, 1):
            phases = []
            while True:
                reader.press("]")
                phase = reader.page.text_content("#phase")
                assert phase.startswith(f"Simulation {simulation} of {len(tree.ends)}: ")
                phases.append(phase.split(": ")[1])
                if phases[-1] == "selection":
                    check_choices(reader, nodes)
                if phases[-1] == "backpropagation":
                    break
            assert phases in (
                ["selection", "expansion", "rollout", "backpropagation"],
                ["selection", "rollout", "backpropagation"],
            )
            mcts.backpropagate(leaf, leaf.step.score)
            shown = {}
            for chain, visits, *_ in reader.page.evaluate(NODES):
                shown |= dict.fromkeys(chain, int(visits))
            assert shown == {index: nodes[index].visits for index in shown}
            assert {index for index, node in enumerate(nodes) if node.visits} <= shown.keys()
        assert [(node.visits, node.value_sum) for node in nodes] == stored
        reader.press("]")
        assert reader.page.text_content("#phase") == "The whole tree"
        assert "do not add up" not in reader.page.text_content("main")


def check_choices(reader, nodes):
    """What UCT chose was highest of what was not passed over, by the method's own formula."""
    for table in reader.page.evaluate(CHOICES):
        best = [child for child, chosen, *_ in table if chosen]
        if not best:
            continue
        scores = {}
        for child, *_ in table:
            node = nodes[child]
            scores[child] = mcts.uct(node.value_sum, node.visits, node.parent.visits, 0.25)
        for child, _, text, uct in table:
            known = scores[child]
            assert uct == "∞" if math.isinf(known) else abs(float(uct) - known) < 0.000501
            if known > scores[best[0]]:
                assert "passed over" in text
        open_children = [c for c, *_ in table if scores[c] <= scores[best[0]]]
        assert best == [max(open_children, key=scores.get)]


def test_every_link_leads_somewhere_and_the_way_back_is_there(reader):
    places = {*PLACES, "tree/1/3", "revision/1/1", "revision/1/2", "tokens/1/1", "tokens/1/200"}
    seen = set()
    for _ in range(2):
        found = set()
        for place in sorted(places - seen):
            reader.go(place)
            assert reader.title() != "There is nothing here", place
            hrefs = reader.page.evaluate(LINKS)
            assert all(href.startswith("#") for href in hrefs)
            found.update(href[1:] for href in hrefs[:60])
        seen |= places
        places = set(sorted(found)[:150])
    reader.go("revision/1/1")
    reader.click("dl a:has-text('its tokens')")
    assert reader.title().startswith("Example")
    reader.click("dl a:has-text('its splice')")
    assert reader.title() == "Pair 1 of iteration 1"
    reader.click("dl a:has-text('failed node')")
    assert reader.title().startswith("Tree")
    assert (
        reader.page.locator('[aria-selected="true"] .tag:has-text("failed in pair")').count() == 1
    )
    reader.click('[aria-selected="true"] .tag:has-text("failed in pair") a:text-is("1")')
    assert reader.title() == "Pair 1 of iteration 1"
    reader.page.go_back()
    reader.arrive()
    assert reader.title().startswith("Tree")
    reader.go("tokens/1/1")
    reader.click("dl a:has-text('tree')")
    assert reader.title().startswith("Tree")


def test_everything_works_by_keys(reader):
    reader.press("?")
    assert reader.page.locator("dialog[open]").count() == 1
    reader.page.keyboard.press("Escape")
    assert reader.page.locator("dialog[open]").count() == 0
    reader.go("revisions/1")
    reader.press("j", "j", "k", "j")
    focused = "() => document.activeElement.dataset.number"
    assert reader.page.evaluate(focused) == "2"
    reader.press("Enter")
    assert reader.title() == "Pair 2 of iteration 1"
    reader.press("j")
    assert reader.title() == "Pair 3 of iteration 1"
    reader.press("k", "k")
    reader.page.wait_for_function(
        "() => document.querySelector('h1').textContent === 'Pair 1 of iteration 1'"
    )
    reader.press("u")
    assert reader.page.evaluate("() => location.hash") == "#revisions/1"
    reader.press("/")
    reader.page.keyboard.type("landing")
    reader.press("Enter")
    reader.page.wait_for_function("() => location.hash.includes('text=landing')")
    reader.arrive()
    assert not reader.page.text_content("#count").startswith("0 ")
    reader.go("tree/1/1")
    reader.page.focus('[role="treeitem"][tabindex="0"]')
    chosen = "() => document.querySelector('[aria-selected=true]').dataset.chain"
    assert reader.page.evaluate(chosen) == "0"
    reader.press("ArrowDown")
    first = reader.page.evaluate(chosen)
    assert first.split(" ")[0] == "1"
    reader.press("ArrowUp")
    assert reader.page.evaluate(chosen) == "0"
    reader.press("End")
    last = reader.page.locator("[role=treeitem]").last
    assert last.get_attribute("aria-selected") == "true"
    rows = reader.page.locator("[role=treeitem]").count()
    folded = reader.page.locator('[role=treeitem][aria-expanded="false"]').first
    folded.click()
    chain = reader.page.evaluate(chosen).split(" ")
    reader.press("ArrowRight")
    assert reader.page.locator("[role=treeitem]").count() > rows, chain
    reader.press("ArrowLeft")
    assert reader.page.locator("[role=treeitem]").count() < rows + len(chain)


def test_a_list_is_chosen_from_by_filters_and_by_text(reader, run_path):
    pairs = lines_of(run_path, 1, "verdicts")
    reader.go("revisions/1?outcome=not_executable")
    dropped = [n for n, pair in enumerate(pairs, 1) if pair.get("dropped") == "not_executable"]
    assert reader.page.text_content("#count") == f"{len(dropped)} of {len(pairs)}"
    assert reader.page.locator("a.row").first.get_attribute("data-number") == str(dropped[0])
    reader.click("a.row >> nth=0")
    assert f"({len(dropped)} chosen)" in reader.page.text_content("main")
    reader.click("button:has-text('next')")
    assert reader.title() == f"Pair {dropped[1]} of iteration 1"
    reader.go("trees/1?text=" + "TAKEN.")
    trees = lines_of(run_path, 1, "trees")
    holding = [tree for tree in trees if "taken." in json.dumps(tree).lower()]
    assert reader.page.text_content("#count") == f"{len(holding)} of {len(trees)}"
    reader.page.select_option("select[name=pairs]", "some")
    reader.page.wait_for_function("() => location.hash.includes('pairs=some')")
    reader.arrive()
    used = {pair["tree"] for pair in pairs}
    both = [n for n, tree in enumerate(trees, 1) if tree in holding and n in used]
    assert reader.page.text_content("#count") == f"{len(both)} of {len(trees)}"


def test_a_picture_of_a_panel_is_made_by_a_command(browser, run_path, tmp_path):
    command = [sys.executable, "-m", "extras.picture", run_path, "--place", "revision/1/1"]
    command += ["--out", tmp_path / "page.png", "--width", "500", "--height", "300"]
    root = Path(view.__file__).parent.parent
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    header = (tmp_path / "page.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:]) == (500, 300)


# --- seven questions, as a new user asks them: from the overview, within three clicks


def test_seven_questions_are_answered_within_three_clicks(reader, run_path):
    pairs = lines_of(run_path, 1, "verdicts")
    _, lists = head_of(run_path / "view.html")

    # Which action of revision 17 was called Bad, and which was the true error?
    reader.go("overview")
    reader.click("nav >> text=Revisions")
    reader.click("a[data-number='17']")
    told = reader.page.text_content("dl")
    error, truth = pairs[16]["error"], lists["revisions/1"][16]["row"]["truth"]
    assert ("called Bad" + ("no action" if error is None else f"t{PRIME} = step {error}: ")) in told
    assert ("true first error" + ("none" if truth is None else f"step {truth}: ")) in told

    # Why was this pair dropped?
    reader.go("overview")
    reader.click("tr:has-text('no splice can be carried out') a >> nth=0")
    reader.click("a.row >> nth=0")
    assert "✗ dropped: the world carries none of its splices out" in reader.page.text_content("dl")

    # What UCT made the search go left?
    reader.go("overview")
    reader.click("nav >> text=Trees")
    reader.click("a.row >> nth=0")
    reader.page.select_option("select[aria-label='simulation']", "5")
    assert reader.page.text_content("#phase") == "Simulation 5 of 8: selection"
    assert "UCT" in reader.page.text_content(".side")

    # How many tokens of this example are learned?
    reader.go("overview")
    reader.click("nav >> text=Examples")
    reader.click("a.row >> nth=4")
    assert re.search(r"\d+ learned of \d+", reader.page.text_content("dl"))

    # Which tasks were lost in iteration 2 that were solved before?
    reader.go("overview")
    reader.click("tr:has-text('in iteration 2, against 1') a >> nth=1")
    assert reader.page.text_content("#count") == "20 of 120"

    # Did revisions become shorter?
    reader.go("overview")
    assert reader.page.locator("th:has-text('revision length')").count() == 1
    assert reader.page.locator("figcaption:has-text('Revision length')").count() == 1

    # What does the judge get wrong most?
    assert "Most often wrong: " in reader.page.text_content("main")


# --- texts are hostile

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "\u202egnol eht\u202c",
    "a\u0000b",
    "\ud800 half",
    "half \udfff",
    "x" * 100_000,
    "\U0001f600" * 500,
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "]]>\"'`${alert(1)}\\",
    "&lt;b&gt; &amp; &#0;",
    "\u2066isolated\u2069\u200b\ufeff",
    "line\u2028separated\u2029",
    "\r\n\t tab",
    "\x1b[31mred\x07",
    "<style>*{display:none}</style>",
    "<base href='http://example.com/'><iframe src='//example.com'>",
    "__proto__",
    "\u05d0\u05d1\u05d2 <a href=http://example.com>",
]


def as_shown(text):
    """A text as the page shows it: what nobody would see is named."""
    hidden = re.compile(
        r"(?![\n\t])[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
    )
    return hidden.sub(lambda sign: f"U+{ord(sign[0]):04X}", text)


@pytest.fixture(scope="module")
def hostile_path(run_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "hostile<b>"
    shutil.copytree(run_path, path)
    trees = lines_of(path, 1, "trees")
    data = lines_of(path, 1, "data")
    pairs = lines_of(path, 1, "verdicts")
    for place, text in enumerate(HOSTILE):
        tree = trees[place]
        tree["task"] = tree["instruction"] = tree["observation"] = text
        for node in tree["nodes"][1:3]:
            node["step"] |= {"reply": text, "action": text, "observation": text, "effect": text}
        data[place]["task"] = text
        data[place]["messages"][0]["content"] = text
        data[place]["messages"][1]["content"] = text
        pairs[place] |= {"task": text, "thought": text, "env": text}
        pairs[place]["verdicts"] = [{"step": 0, "verdict": text, "answer": text}]
    folder.write_lines(path / "iteration-1" / "trees.jsonl", trees)
    folder.write_lines(path / "iteration-1" / "data.jsonl", data)
    folder.write_lines(path / "iteration-1" / "verdicts.jsonl", pairs)
    lines = read_lines(path / "episodes.jsonl")
    for place, text in enumerate(HOSTILE):
        for line in lines[place::120]:
            line["task"] = text
            line["played"]["instruction"] = text
            line["played"]["steps"][0] |= {"reply": text, "action": text, "observation": text}
    folder.write_lines(path / "episodes.jsonl", lines)
    config = {**CONFIG, "text": HOSTILE, "env": "lab," + HOSTILE[0]}
    folder.write_lines(path / "config.json", [config])
    folder.write_lines(
        path / "run.json",
        [{"sittings": [{"command": [HOSTILE[0]], "versions": {HOSTILE[2]: HOSTILE[3]}}]}],
    )
    return path


def test_hostile_texts_are_shown_as_they_are_and_do_nothing(browser, hostile_path):
    page = view.write_page(hostile_path)
    assert (
        page.read_bytes().count(b"<script")
        == TEMPLATE.count("<script>")
        + sum(len(chunks) for chunks in head_of(page)[0]["chunks"].values())
        + 1
    )
    person = Reader(browser, page)
    for place in PLACES:
        person.go(place)
    pairs = lines_of(hostile_path, 1, "verdicts")
    data = lines_of(hostile_path, 1, "data")
    for place, text in enumerate(HOSTILE, 1):
        expected = as_shown(text).replace("\r", "")
        made = next(n for n, pair in enumerate(pairs, 1) if pair["tree"] == place or n == place)
        for panel in (
            f"tree/1/{place}",
            f"revision/1/{made}",
            f"revision/1/{place}",
            f"tokens/1/{place}",
        ):
            person.go(panel)
            assert person.title() != "There is nothing here"
            open_everything(person)
        person.go(f"tree/1/{place}")
        open_everything(person)
        assert expected in person.page.text_content("main")
        person.go(f"tokens/1/{place}")
        open_everything(person)
        assert expected in person.page.text_content("main")
        person.go("episodes")
        person.page.evaluate(OPEN_ROW, place)
        person.page.wait_for_selector("h1:has-text('Task')")
        person.arrive()
        open_everything(person)
        assert expected in person.page.text_content("main")
    assert person.page.locator("img, iframe, base, body style").count() == 0
    assert data[0]["task"] == HOSTILE[0]
    person.close()


def open_everything(person):
    person.page.evaluate(OPEN_ALL)


def test_a_long_text_is_never_cut_without_a_button_that_opens_it(browser, hostile_path):
    person = Reader(browser, view.write_page(hostile_path))
    place = 1 + HOSTILE.index("x" * 100_000)
    person.go(f"tree/1/{place}")
    assert "x" * 2000 not in person.page.text_content("main")
    button = person.page.locator(".two ~ *, main > p button.more").first
    assert re.fullmatch(r"99,\d\d\d more characters", button.text_content())
    button.click()
    assert "x" * 100_000 in person.page.text_content("main > p:has(.text)")
    place = 1 + HOSTILE.index("\U0001f600" * 500)
    person.go(f"tree/1/{place}")
    assert "U+D83D" not in person.page.text_content("main"), "no letter is cut in two"
    person.close()


# --- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_its_width_and_reads_well(browser, page_path, scheme, width):
    person = Reader(
        browser, page_path, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    for place in (*PLACES, "tree/1/3", "revision/1/1", "tokens/1/1", "revision/1/5"):
        person.go(place)
        assert person.page.evaluate("() => document.documentElement.scrollWidth") <= width, place
        for text, ink, paper in person.page.evaluate(COLOURS):
            assert contrast(ink, paper) >= 4.5, f"{place}: {text!r} is {ink} on {paper}"
    person.close()


def contrast(one, other):
    def brightness(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


def test_everything_has_a_role_and_a_name(reader):
    for place in (*PLACES, "tree/1/3", "revision/1/1", "tokens/1/1"):
        reader.go(place)
        nameless = reader.page.evaluate(NAMELESS)
        assert nameless == []
        assert reader.page.locator("h1").count() == 1
        told = reader.page.text_content(".paper")
        assert told == wording.PAPER[place.split("/")[0]]
    assert reader.page.locator("main").count() == 1


def test_twenty_thousand_rows_are_a_window_on_them(browser, run_path, tmp_path):
    run = read_run(run_path)
    page = view.page_of(run)
    row = page.head["lists"]["examples/1"]["rows"][0]
    page.head["lists"]["examples/1"]["rows"] = [row] * 20_000
    path = tmp_path / "many.html"
    path.write_text(view.fill(TEMPLATE, page), encoding="utf-8")
    person = Reader(browser, path)
    person.go("examples/1")
    assert person.page.text_content("#count") == "20000 of 20000"
    assert person.page.locator("a.row").count() < 100
    person.page.evaluate("() => { document.querySelector('.rows').scrollTop = 1e9; }")
    person.page.wait_for_selector("a[data-number='20000']")
    assert person.page.locator("a.row").count() < 100
    person.close()


def test_a_run_of_an_eto_shows_both_sides(browser, run_path, tmp_path):
    path = changed_run(run_path, tmp_path)
    tiny_actor().save(path / "iteration-0" / "model")
    folder.write_lines(path / "config.json", [{**CONFIG, "method": "eto"}])
    data = lines_of(path, 1, "data")
    data[0] = {**data[0], "kind": "preference", "rejected": data[1]["messages"]}
    folder.write_lines(path / "iteration-1" / "data.jsonl", data[:1])
    (path / "iteration-1" / "verdicts.jsonl").write_text("")
    person = Reader(browser, view.write_page(path))
    person.go("tokens/1/1")
    assert person.texts("main h2") == ["Preferred", "Rejected"]
    encoder = ChatFormat(tiny_actor().tokenizer)
    tokens = [
        len(encoder.encode(messages)[0]) for messages in (data[0]["messages"], data[0]["rejected"])
    ]
    boxes = person.page.locator(".tokens")
    assert [boxes.nth(n).locator(".token").count() for n in (0, 1)] == tokens
    person.close()


def test_the_judges_reasons_are_one_click_away(browser, run_path, tmp_path):
    path = changed_run(run_path, tmp_path)
    pairs = lines_of(path, 1, "verdicts")
    number = next(n for n, pair in enumerate(pairs, 1) if pair["verdicts"])
    pairs[number - 1]["verdicts"][-1]["answer"] = "it went in circles.\nJudgment: Bad"
    folder.write_lines(path / "iteration-1" / "verdicts.jsonl", pairs)
    person = Reader(browser, view.write_page(path))
    person.go(f"revision/1/{number}")
    person.page.click('summary:has-text("the judge\'s answer")')
    assert person.page.locator("text=it went in circles.").is_visible()
    person.close()


@pytest.mark.parametrize("kind", ["begun", "old"])
def test_a_run_that_is_not_whole_opens_without_a_fault(browser, run_path, tmp_path, kind):
    if kind == "begun":
        path = tmp_path / "begun"
        path.mkdir()
        folder.write_lines(path / "config.json", [CONFIG])
    else:
        path = changed_run(run_path, tmp_path)
        for number in (1, 2):
            (path / f"iteration-{number}" / "verdicts.jsonl").unlink()
    person = Reader(browser, view.write_page(path))
    for place in (
        *PLACES,
        "tree/1/1",
        "revision/1/1",
        "tokens/1/1",
        "episode/nobody",
        "tree/9/9",
        "%E0%A4%A",
    ):
        person.go(place)
        if kind == "begun" and place != "overview":
            assert person.title() == "There is nothing here"
    if kind == "old":
        person.go("revision/1/1")
        assert "kept no verdicts" in person.page.text_content("main")
        person.go("tokens/1/1")
        assert "texts" in person.page.text_content("main")
    person.close()
