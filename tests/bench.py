"""How fast it is, against the obvious ways: `python -m tests.bench`.

It takes at most ten minutes on one thread and prints one JSON object a line.  Every ratio is
measured in one run, in one process, on the same weights, tasks and settings, in seconds of the
processor, so that whatever else runs on the machine weighs on neither side; of repeats, one way
after the other, the median counts.  The references live here and in `tests/workload.py` and
`tests/against_trl.py`.

A line has `what`, `ours` and `reference` in `unit`, and `ratio`, the one over the other (for
`growth`, the last size over the first).  Names of measurements, given as arguments, run those
alone.

`python -m tests.bench --real FOLDER` measures what needs SmolLM2, with two threads and by the
clock, so on an idle machine.  FOLDER is a checkpoint that was taught TextCraft (`workload.REAL` has
the command).
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
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

import mcts
import train
from agent_r import Actor, Episode, Lockstep, Start, play, together
from engine.dialogues import GREEDY, Dialogues, Sampling
from engine.manual import Mark, tell
from envs import make_world
from tests import against_trl, workload

SEARCH = {"simulations": 8, "branch": 4, "c_uct": 0.25, "temperature": 1.0}
DEPTH = 20  # steps of a searched episode at most
REAL_DEPTH = 3  # with SmolLM2, so that it takes minutes


def report(what, ours, reference, unit, **more):
    """Print one measurement."""
    numbers = {"ours": ours, "reference": reference, "ratio": ours / reference}
    rounded = {name: float(f"{number:.4g}") for name, number in numbers.items()}
    print(json.dumps({"what": what, **rounded, "unit": unit, **more}), flush=True)


def timed(function, clock=time.process_time):
    """Return seconds, of the processor unless told otherwise, and what the function returned."""
    start = clock()
    result = function()
    return clock() - start, result


def repeated(ours, reference, repeats, clock=time.process_time):
    """Return the median seconds of two ways that take turns, and what ours returned last."""
    seconds = ([], [])
    for _ in range(repeats):
        took, result = timed(ours, clock)
        seconds[0].append(took)
        took, _ = timed(reference, clock)
        seconds[1].append(took)
    return statistics.median(seconds[0]), statistics.median(seconds[1]), result


# --- actors


@cache
def kept(name):
    """Return an actor that has learned for a while how to speak at all, on lab or on craft.

    It is the one whose search is the frozen workload, with the model of `train.py --tiny` of then.
    """
    folder = Path(__file__).with_name("actors") / name
    return Actor.load(str(folder), dtype="float32", max_new_tokens=24)


@cache
def lab_lessons():
    """Return the actor that `train.py --tiny` begins with, and the lessons of its warm-up."""
    config = train.Config(**train.TINY | {"env": "lab"})
    worlds = {"lab": make_world("lab")}
    actor = train.make_tiny_actor(config, worlds, "cpu")
    return actor, train.general_data(config, actor, worlds)


# --- searching


@dataclass
class Searched:
    """An actor, and the search that it is to do."""

    actor: Actor
    env: str
    tasks: list[str]
    at_once: int  # trees
    simulations: int = SEARCH["simulations"]
    branch: int = SEARCH["branch"]
    temperature: float = SEARCH["temperature"]
    depth: int = DEPTH

    def search(self):
        settings = mcts.SearchSettings(
            simulations=self.simulations,
            branch=self.branch,
            c_uct=SEARCH["c_uct"],
            max_depth=self.depth,
            rollouts=self.at_once,
        )
        sampling = Sampling(self.temperature)
        return mcts.search(self.actor, self.make_world(), self.tasks, settings, sampling)

    def make_world(self):
        """Return what makes its world, which tells the actor what it was told while it learned."""
        worlds = {self.env: make_world(self.env)}
        mark = Mark.of(self.actor.model.config)
        return tell(worlds, mark)[self.env] if mark else worlds[self.env]

    @property
    def speaking(self):
        """The model that speaks."""
        return self.actor.precision.acting(self.actor.model)

    @property
    def setting(self):
        return {
            "world": self.env,
            "parameters": self.actor.model.num_parameters(),
            "trees": len(self.tasks),
            "at_once": self.at_once,
            "simulations": self.simulations,
            "branch": self.branch,
            "temperature": self.temperature,
            "depth": self.depth,
        }


def searched(name, folder=""):
    """Return the search of a frozen workload: lab, craft, or smollm2 with the checkpoint."""
    if name == "lab":
        return Searched(kept("lab"), "lab", make_world("lab")().tasks("train")[:800], 800)
    if name == "craft":
        return Searched(kept("craft"), "craft", make_world("craft")().tasks("train")[:400], 400)
    actor = Actor.load(folder, dtype="bfloat16", max_new_tokens=120)
    tasks = random.Random(0).sample(make_world("textcraft")().tasks("train"), 64)
    few = {"simulations": 2, "branch": 3, "depth": REAL_DEPTH}
    return Searched(actor, "textcraft", tasks, 64, temperature=0.7, **few)


def visits(trees):
    """Return the number of simulations that were made."""
    return sum(tree.root.visits for tree in trees)


def lab():
    """The search on lab with the model of `train.py --tiny`."""
    measure_search("lab", searched("lab"))


def craft():
    """The search on craft with a model like it, also the released code's way."""
    task = searched("craft")
    measure_search("craft", task)
    measure_sequential(task, seconds=20)


def measure_search(name, task, repeats=3, clock=time.process_time):
    """`search_vs_bare_model`: simulations a second, against the passes of the frozen workload."""
    frozen = workload.load(name)
    bare = workload.BareModel(task.speaking, frozen["passes"])
    task.search()  # whatever is slower the first time
    ours, theirs, trees = repeated(task.search, bare.work, repeats, clock)
    made = visits(trees)
    rates = (made / ours, frozen["simulations_made"] / theirs)
    counts = {"simulations_made": made, "frozen": frozen["simulations_made"]}
    unit = "simulations a second"
    report("search_vs_bare_model", *rates, unit, name=name, **task.setting, **counts)


def measure_sequential(task, seconds):
    """`search_vs_sequential`: the released code's way, so many seconds of it."""
    took, trees = timed(task.search)
    nodes = sum(count_nodes(tree.root) for tree in trees)
    theirs = sequential_rate(task.actor, task.env, task.tasks, seconds)
    report("search_vs_sequential", nodes / took, theirs, "tree nodes a second", **task.setting)


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


# --- replies: the rows that still speak go on in a fork


def fork_and_join():
    """Replies with the fork that the rows still speaking go on in, against a plain loop."""
    for name, trees in (("craft", 200), ("lab", 256)):
        task = searched(name)
        task.tasks = task.tasks[:trees]
        measure_replies(task)


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
            samplings[name, "sampled"] = Sampling(1.0)
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


def measure_replies(task):
    with Duel() as duel:
        trees = task.search()
    setting = task.setting
    unit = "generated tokens a second"
    same = duel.alike / duel.turns
    ours = duel.rate("ours", "greedy")
    theirs = duel.rate("reference", "greedy")
    report("fork_and_join_greedy", ours, theirs, unit, **setting, same_replies=same)
    ours = duel.rate("ours", "sampled")
    theirs = duel.rate("reference", "sampled")
    report("fork_and_join_sampled", ours, theirs, unit, **setting)
    plainly = partial(searched_plainly, task)
    ours, theirs, trees = repeated(task.search, plainly, repeats=1)
    rates = (visits(trees) / ours, visits(trees) / theirs)
    report("fork_and_join_search", *rates, "simulations a second", **setting)


def searched_plainly(task):
    """Search without the fork."""
    own_way = Dialogues._speak
    Dialogues._speak = speak_without_a_fork
    try:
        task.search()
    finally:
        Dialogues._speak = own_way


# --- playing


def rollout_cache():
    """Greedy episodes on lab with the cache, against reading the whole dialogue at every turn."""
    actor = kept("lab")
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
    actor, general = lab_lessons()
    rng = random.Random(0)
    size = 4096
    steps = 60
    batches = drawn(general, rng, size, steps)
    arrival = [example for batch in batches for example in batch[0]]
    rng.shuffle(arrival)
    padded = padded_batches(arrival, size)
    differences = []
    with torch.no_grad():
        for (micro_batch,) in batches[:5]:
            ours, _ = train.imitation(actor, micro_batch)
            theirs = obvious_loss(actor, micro_batch)
            differences.append(abs(theirs / ours - 1).item())
    obvious = partial(train_obviously, actor, padded)
    ours, theirs, tokens = repeated(partial(tuned, actor, batches), obvious, repeats=3)
    unit = "tokens a second"
    apart = max(differences)
    report("training", tokens / ours, tokens / theirs, unit, loss_differs_by=apart)
    limit = matrix_limit(actor.model, size)
    report("training_vs_matrix_limit", tokens / ours, limit, unit)
    training_vs_trl(rng)


def training_vs_trl(rng):
    """The same in batches as large as `train.py --tiny` has, and half as large, against TRL.

    TRL's SFTTrainer, if it is here; each way takes a batch in one piece.
    """
    if not against_trl.is_here():
        line = {"what": "training_vs_trl", "skipped": against_trl.MISSING}
        print(json.dumps(line), flush=True)
        return
    for size, steps in ((1024, 100), (2048, 50)):
        measure_trl(rng, size, steps)


def measure_trl(rng, size, steps):
    """`training_vs_trl`: tokens a second in batches of about `size` tokens."""
    actor, general = lab_lessons()
    rates = ([], [])
    for _ in range(3):
        batches = drawn(general, rng, size, steps)
        seconds, tokens = timed(partial(tuned, actor, batches))
        rates[0].append(tokens / seconds)
        examples = [example for batch in batches for example in batch[0]]
        rates[1].append(against_trl.tokens_a_second(actor, examples, size, steps))
    apart = against_trl.differing_loss(actor, batches[0][0], train.imitation)
    ours, theirs = map(statistics.median, rates)
    unit = "tokens a second"
    more = {"tokens_a_batch": size, "loss_differs_by": apart}
    report("training_vs_trl", ours, theirs, unit, **more)


def drawn(general, rng, size, steps):
    """Return so many batches of one micro-batch, of about `size` tokens."""
    return list(train.draw_batches(train.Mix(general, rng), steps, size, size))


def tuned(actor, batches):
    """Train on batches at a rate that changes nothing to speak of; return the tokens."""
    return train.fine_tune(actor, iter(batches), steps=len(batches), lr=1e-6)


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
    actor = kept("lab")
    with tempfile.TemporaryDirectory() as folder:
        actor.save(Path(folder) / "model")
        of_trees = {}
        for trees in (8, 32, 128, 512):
            of_trees[trees] = measured_apart(f"{folder}/model", trees, SEARCH["simulations"])
        report_growth("trees", of_trees)
        of_simulations = {}
        for simulations in (8, 16, 32, 64, 128):
            of_simulations[simulations] = measured_apart(f"{folder}/model", 64, simulations)
        report_growth("simulations", of_simulations)


def report_growth(what, measured):
    """Report time and memory by size: of `measured` a value is seconds, simulations and MiB.

    Time counts for each simulation that was made: a tree whose leaves are all known makes no more.
    """
    sizes = list(measured)
    each = [seconds / made for seconds, made, _ in measured.values()]
    peaks = [mebibytes for *_, mebibytes in measured.values()]
    made = [simulations for _, simulations, _ in measured.values()]
    values = {"sizes": sizes, "values": [round(1000 * value, 3) for value in each], "made": made}
    unit = "milliseconds for each simulation made"
    report(f"growth_time_{what}", 1000 * each[-1], 1000 * each[0], unit, **values)
    values = {"sizes": sizes, "values": [round(value, 1) for value in peaks]}
    unit = "MiB at the peak, above the loaded model"
    report(f"growth_memory_{what}", peaks[-1], peaks[0], unit, **values)


def measured_apart(folder, trees, simulations):
    """Return what `one` prints in a process of its own."""
    command = [sys.executable, "-m", "tests.bench", "--one", folder, str(trees), str(simulations)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


def one(folder, trees, simulations):
    """Search once, for `growth`; print seconds, simulations and MiB above those before (Linux)."""
    actor = Actor.load(folder, max_new_tokens=24)
    tasks = make_world("lab")().tasks("train")
    Searched(actor, "lab", tasks[-2:], 1024, simulations=1).search()  # whatever is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    task = Searched(actor, "lab", tasks[:trees], 1024, simulations=simulations)
    seconds, trees = timed(task.search)
    print(json.dumps([seconds, visits(trees), max(1.0, memory("VmHWM") - before)]))


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


# --- what needs SmolLM2, a checkpoint that was taught TextCraft


def real_search(folder):
    """The search on TextCraft, 64 rows in bfloat16, against the passes of the frozen workload.

    That one is the checkpoint's own, so it is frozen on the machine that measures.
    """
    if not workload.has("smollm2"):
        remedy = "tests/workload.py says how to add it"
        print(f"real_search: {workload.FILE.name} has no smollm2; {remedy}")
        return
    task = searched("smollm2", folder)
    measure_search("smollm2", task, repeats=1, clock=time.perf_counter)


def real_episodes(folder, count=64):
    """The same greedy episodes by `play`, and by transformers' own `generate`."""
    task = searched("smollm2", folder)
    make = shortened(task.make_world(), task.depth)
    tasks = make().tasks("test")[:count]
    starts = [Start(name) for name in tasks]
    clock = time.perf_counter
    ours, played = timed(lambda: play(task.actor, make, starts, batch_size=count), clock)
    theirs, others = timed(lambda: generated_episodes(task.actor, make, tasks), clock)
    same = sum(a == b for a, b in zip(played, others, strict=True))
    scores = [statistics.mean(each.score for each in way) for way in (played, others)]
    more = {"episodes": count, "same_episodes": same, "scores": scores}
    report("episodes_vs_generate", count / ours, count / theirs, "episodes a second", **more)


def shortened(make, steps):
    """Return what makes a world whose episodes end after so many steps."""

    def make_shorter():
        world = make()
        world.step_limit = steps
        return world

    return make_shorter


@torch.inference_mode()
def generated_episodes(actor, make, tasks):
    """Play as one would with the library alone: all dialogues anew at every turn, padded left."""
    model = actor.precision.acting(actor.model)
    end = actor.format.end
    episodes = [Episode(make(), task) for task in tasks]
    while live := [episode for episode in episodes if not episode.done]:
        contexts = [actor.format.encode(episode.trajectory.context())[0] for episode in live]
        longest = max(len(context) for context in contexts)
        ids = torch.tensor([[end] * (longest - len(row)) + row for row in contexts])
        gaps = torch.tensor([longest - len(context) for context in contexts])
        output = model.generate(
            ids,
            attention_mask=(torch.arange(longest) >= gaps[:, None]).long(),
            do_sample=False,
            max_new_tokens=actor.max_new_tokens,
            eos_token_id=end,
            pad_token_id=end,
            suppress_tokens=actor.format.template.unspoken,
        )
        for episode, said in zip(live, output[:, longest:].tolist(), strict=True):
            reply = said[: said.index(end)] if end in said else said
            episode.act(actor.decode(reply))
            length = len(actor.format.encode(episode.trajectory.context())[0])
            episode.done = episode.done or not actor.has_room(length)
    return [episode.trajectory for episode in episodes]


ALL = (lab, craft, fork_and_join, rollout_cache, training, growth, scienceworld)
REAL = (real_search, real_episodes)


def main(arguments):
    torch.set_num_threads(1)
    if arguments[:1] == ["--one"]:
        one(arguments[1], int(arguments[2]), int(arguments[3]))
        return
    given = ()
    measurements = ALL
    if arguments[:1] == ["--real"]:
        torch.set_num_threads(2)
        given = (arguments[1],)
        measurements = REAL
        arguments = arguments[2:]
    for measurement in measurements:
        if not arguments or measurement.__name__ in arguments:
            measurement(*given)


if __name__ == "__main__":
    main(sys.argv[1:])
