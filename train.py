"""The training: warm-up, masked fine-tuning, the eta mix, the iterations, the baselines, and the command line.

In each iteration (Phases I and II) the present actor searches training tasks, its failures become revision
trajectories, and it is fine-tuned with L(theta) = eta * L(revision + good) + (1 - eta) * L(general), where `eta` is the
share of agent data among the examples drawn for a batch, after AgentTuning, whose mix the paper takes over.

A tiny model made here has no pretraining, so `general_data` stands in for an instruction-tuned model: demonstrations
and judged steps of noisy episodes.  So the tiny judge is taught, not found.  After the warm-up nothing asks a world's
truth but the measurements.  Read in order: `Config`, the warm-up, `fine_tune`, `run`, tables, the command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import json
import math
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from tqdm import tqdm

import critique
import mcts
from agent_r import OWN_WORDS, REVISE, Actor, Message, Trajectory, show
from envs import UserError, World, make_world

Encoded = tuple[list[int], list[int]]  # token ids and labels of one example
Pair = tuple[list[int], Encoded, Encoded, float]  # ids of both, the good and the bad example, the reference's margin
Source = tuple[Sequence[Encoded | Pair], float]  # examples, and their share of what is drawn for a batch


@dataclasses.dataclass
class Config:
    """Every flag of the command line, `--max-depth` for `max_depth`; the text beside each is its help."""

    env: str = "lab"  # worlds, separated by commas: lab, shop, craft, one of extras/, or module:Class
    model: str = ""  # folder of a checkpoint to start from; without it a tiny model is made and warmed up
    warmed: str = ""  # folder of a tiny model behind its warm-up (iteration-0/model), which is then not made again
    method: str = "agent-r"  # or a baseline: bc (warm-up data only), optimal (good only), direct-revision, eto
    critic: str = "actor"  # who finds the first error: the actor; or end (the last step), random, truth
    splice: str = "verified"  # verified (keep a splice only if the world can execute it) or paper (keep all)
    pairing: str = "deepest"  # the good leaf for a bad one: deepest (that shares most with it) or any
    iterations: int = 3  # how many times to search and train
    tasks: int = 1000  # training tasks searched in an iteration, over all worlds
    simulations: int = 8  # simulations per tree
    branch: int = 4  # actions sampled when a node is expanded
    max_depth: int = 0  # steps of a searched episode at most; 0: the world's own limit
    c_uct: float = 0.25  # exploration constant of UCT
    alpha: str = "0.5,0.7,1.0"  # score of a good trajectory at least; one, or one per iteration
    beta: float = 0.2  # a good trajectory's score exceeds a bad one's by more than this
    eta: float = 0.2  # share of agent data in the training mix
    dpo_beta: float = 0.1  # how far eto may leave its reference
    pairs: int = 4  # revision trajectories, and good ones, per tree at most
    temperature: float = 1.0  # of the actor while searching; evaluation is greedy
    max_new_tokens: int = 64  # tokens of one reply at most
    steps: int = 1000  # optimisation steps in an iteration
    batch_size: int = 32768  # tokens in an optimisation step
    micro_batch: int = 8192  # tokens in one forward and backward pass
    lr: float = 1e-5  # peak learning rate, after a short rise and before a linear fall
    warmup_lr: float = 1.5e-3  # peak learning rate of the warm-up of a tiny model
    warmup_steps: int = 1500  # optimisation steps of the warm-up of a tiny model
    warmup_tasks: int = 4000  # tasks of each kind of warm-up data, over all worlds
    judge_share: float = 0.4  # share of judged episodes in the general data
    width: int = 64  # hidden size of a tiny model
    layers: int = 2  # layers of a tiny model
    lookback: int = 0  # how many tokens back the heads of its first layer look, so that it can copy; 0: not born so
    rollouts: int = 256  # episodes played, or trees searched, at a time
    eval_tasks: int = 1000  # held-out tasks per world; fewer if the split has fewer
    eval_split: str = "test"  # test, or validation while choosing settings
    seed: int = 0  # decides everything that is drawn
    device: str = "auto"  # auto, cpu, cuda or mps
    dtype: str = "float32"  # of the model: float32 or bfloat16
    recipes: str = ""  # folder of Minecraft's recipe files, for textcraft
    out: str = "runs/tiny"  # new folder for everything the run leaves


# What `--tiny` stands for, and what differs from lab; `several` is a first guess.  TextCraft is searched at a lower
# temperature, since drawn at 1 its long thoughts go astray even in episodes that succeed.
TINY: dict[str, Any] = {
    "tasks": 800, "simulations": 6, "pairs": 8, "alpha": "1.0", "eta": 0.8, "steps": 1800, "batch_size": 1024,
    "micro_batch": 1024, "lr": 1.5e-3, "warmup_steps": 1200, "rollouts": 1024, "max_new_tokens": 24,
}
TINY_FOR: dict[str, dict[str, Any]] = {
    "textcraft": {"width": 128, "layers": 3, "lookback": 4, "max_new_tokens": 120, "tasks": 400, "temperature": 0.7,
        "steps": 600, "batch_size": 2048, "micro_batch": 2048, "lr": 5e-4, "eta": 0.5, "rollouts": 64,
        "judge_share": 0.2, "warmup_lr": 2e-3, "warmup_steps": 8000, "warmup_tasks": 20000},
    "scienceworld": {"width": 128, "layers": 3, "tasks": 100, "simulations": 4, "alpha": "0.5,0.7,1.0", "eta": 0.5,
        "batch_size": 4096, "micro_batch": 4096, "steps": 300, "rollouts": 50, "judge_share": 0.25,
        "warmup_steps": 500, "warmup_tasks": 600},
    "shop": {"warmup_steps": 1500, "warmup_tasks": 6000, "eta": 0.9},
    "craft": {"warmup_steps": 2800, "warmup_tasks": 12000, "judge_share": 0.1, "eta": 0.9},
    "several": {"layers": 3, "tasks": 2400, "steps": 5400, "eta": 0.9, "judge_share": 0.25,
        "warmup_steps": 5500, "warmup_tasks": 24000},
}
CHOICES = {
    "method": ("agent-r", "bc", "optimal", "direct-revision", "eto"), "critic": critique.CRITICS,
    "splice": ("verified", "paper"), "pairing": ("deepest", "any"), "eval_split": ("validation", "test"),
    "device": ("auto", "cpu", "cuda", "mps"), "dtype": ("float32", "bfloat16"),
}
LIMITS = dict.fromkeys(("alpha", "beta", "eta", "judge_share"), (0, 1))  # of other numbers: from 1 on
LIMITS |= dict.fromkeys(("max_depth", "iterations", "warmup_steps", "seed", "c_uct", "lookback"), (0, math.inf))
LIMITS |= dict.fromkeys(("lr", "warmup_lr", "temperature", "dpo_beta"), (1e-9, math.inf))


def derive(config: Config, iteration: int, stage: str) -> random.Random:
    """A random generator of its own for each (seed, iteration, stage), so that no stage disturbs another."""
    return random.Random(f"{config.seed} {iteration} {stage}")


# --- the warm-up: the only data that asks a world's truth

def general_data(config: Config, actor: Actor, worlds: dict[str, Callable[[], World]]) -> list[Source]:
    """Demonstrations and judged episodes with their shares; raises `UserError` for a world without an expert."""
    demonstrations, judged = [], []
    for name, make in worlds.items():
        world, rng, count = make(), derive(config, 0, f"warm-up {name}"), config.warmup_tasks // len(worlds)
        if not (hasattr(world, "expert") or hasattr(world, "gold")):
            raise UserError(f"{name} has no expert to warm a tiny model up with; name a checkpoint with --model")
        tasks = training_tasks(make, getattr(world, "warm_up", "train"))
        shown = [critique.demonstration(world, task) for task in draw(tasks, count, rng)]
        pool = sorted({m["content"].removeprefix("Action: ") for messages in shown for m in messages[1::2]})
        demonstrations += shown
        drawn = tqdm(draw(tasks, count, rng), desc=f"judging {name}", leave=False, disable=None)
        judged += [critique.judged_episode(world, task, pool, rng) for task in drawn]
    return [(encode(actor, demonstrations), 1 - config.judge_share), (encode(actor, judged), config.judge_share)]


@functools.cache
def training_tasks(make: Callable[[], World], split: str = "train") -> Sequence[str]:
    """The names of a world's training tasks; some worlds take a second to list them."""
    return make().tasks(split)


def draw(tasks: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """`count` tasks, none drawn twice before all were drawn once.  Raises `UserError` if there are none."""
    if not tasks:
        raise UserError("a world of --env has no training tasks; with --recipes, name a folder with more recipes")
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(tasks, min(count - len(drawn), len(tasks)))
    return drawn


def make_tiny_actor(config: Config, worlds: dict[str, Callable[[], World]], device: str) -> Actor:
    """A small Llama over the words of the worlds and of our own prompts, its weights drawn from the seed."""
    text = " ".join((*(make().words for make in worlds.values()), OWN_WORDS, *critique.REVISION_THOUGHTS))
    torch.manual_seed(derive(config, 0, "weights").getrandbits(32))  # transformers draws weights globally
    return Actor.tiny(text, device, config.width, config.layers, config.max_new_tokens, lookback=config.lookback)


# --- Phase II: fine-tuning

def encode(actor: Actor, dialogues: Sequence[list[Message]]) -> list[Encoded]:
    """Token ids and labels of each dialogue that fits the actor's context; one that does not is dropped whole."""
    encoded = [actor.format.encode(messages) for messages in dialogues]
    return [(ids, labels) for ids, labels in encoded if len(ids) <= actor.max_length]


def draw_batches(
    mix: Sequence[Source], steps: int, batch_size: int, micro_batch: int, rng: random.Random
) -> Iterator[list[list[Encoded]]]:
    """`steps` batches of about `batch_size` tokens, each a list of micro-batches of examples of like length.

    `mix` lists sources with their shares: every example is drawn from a source with the probability that is its
    share (the eta mix of Phase II), and within a source each is drawn once before any is drawn again.
    """
    sources, shares = zip(*mix, strict=True)
    decks: list[list[int]] = [[] for _ in sources]
    micro_batch = min(micro_batch, batch_size)
    per_step, ready = round(batch_size / micro_batch), []

    def next_example() -> Encoded | Pair:
        (k,) = rng.choices(range(len(sources)), shares)
        if not decks[k]:
            decks[k] = rng.sample(range(len(sources[k])), len(sources[k]))
        return sources[k][decks[k].pop()]

    for _ in range(steps):
        while len(ready) < per_step:
            # Sort a stretch of examples by length and cut it up: hardly any padding, and the mix stays as drawn.
            window = [next_example()]
            while sum(len(example[0]) for example in window) < 16 * batch_size:
                window += [next_example() for _ in range(16)]
            cut: list[list[Encoded]] = [[]]
            for example in sorted(window, key=lambda example: len(example[0])):
                if cut[-1] and len(example[0]) * (len(cut[-1]) + 1) > micro_batch:
                    cut.append([])
                cut[-1].append(example)
            ready += rng.sample(cut, len(cut))
        yield [ready.pop() for _ in range(per_step)]


def masked_loss(model: transformers.PreTrainedModel, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy of the next token, where its label is not -100.

    ids, labels: [rows, length], padded on the right, where no token before the padding sees it: a causal model
    needs no mask.  The last layer, the widest of a language model, is computed only where something is learned.
    """
    targets = labels[:, 1:]
    learned = targets != -100
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, hidden: hidden[0][:, :-1][learned])
    logits = model(input_ids=ids, use_cache=False).logits  # [learned tokens, vocabulary]
    hook.remove()
    return torch.nn.functional.cross_entropy(logits.float(), targets[learned], reduction="sum")


def pad(batch: Sequence[Encoded], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels of a micro-batch, [rows, longest], padded on the right."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in batch])
    return ids.to(device), labels.to(device)


def imitation(actor: Actor, micro: Sequence[Encoded]) -> tuple[torch.Tensor, int]:
    """The summed loss of a micro-batch of examples, and the number of tokens that are learned."""
    ids, labels = pad(micro, actor.device)
    return masked_loss(actor.model, ids, labels), int((labels[:, 1:] != -100).sum())


def margin(actor: Actor, good: Encoded, bad: Encoded) -> torch.Tensor:
    """How much likelier the good one is, log pi(good) - log pi(bad), over what the agent itself says in them."""
    losses = [masked_loss(actor.model, *pad([example], actor.device)) for example in (good, bad)]
    return losses[1] - losses[0]


def dpo_loss(margins: torch.Tensor, reference: torch.Tensor, dpo_beta: float) -> torch.Tensor:
    """-log sigmoid(dpo_beta * (margin - the reference's margin)), summed: the loss of DPO, on trajectories in ETO."""
    return -torch.nn.functional.logsigmoid(dpo_beta * (margins - reference)).sum()


def preference(actor: Actor, micro: Sequence[Pair], dpo_beta: float) -> tuple[torch.Tensor, int]:
    """ETO's summed loss of a micro-batch of pairs, and their number."""
    margins = torch.stack([margin(actor, good, bad) for _, good, bad, _ in micro])
    return dpo_loss(margins, margins.new_tensor([pair[3] for pair in micro]), dpo_beta), len(micro)


@torch.no_grad()
def pair_up(actor: Actor, examples: Sequence[dict[str, Any]]) -> list[Pair]:
    """ETO's pairs of a good and a bad trajectory; the actor as it is now is their reference."""
    both = [encode(actor, [example["messages"], example["rejected"]]) for example in examples]
    fitting = [pair for pair in both if len(pair) == 2]
    return [(good[0] + bad[0], good, bad, float(margin(actor, good, bad))) for good, bad in fitting]


def fine_tune(
    actor: Actor, batches: Iterator[list[list[Any]]], steps: int, lr: float, label: str,
    objective: Callable[[Actor, Sequence[Any]], tuple[torch.Tensor, int]] = imitation,
) -> int:
    """Full fine-tuning with AdamW on the mean of an objective over each batch; returns the tokens processed."""
    model = actor.model.train()
    if model.num_parameters() > 1e9:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    rise = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / rise, 1.0, 1.05 - i / steps))
    tokens = 0
    for batch in tqdm(batches, total=steps, desc=label, leave=False, disable=None):
        learned = 0
        for micro in batch:
            loss, count = objective(actor, micro)
            loss.backward()
            learned += count
            tokens += sum(len(example[0]) for example in micro)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        torch._foreach_div_(gradients, max(1, learned))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
    model.eval()
    return tokens


# --- the iterations

def run(config: Config) -> list[dict[str, Any]]:
    """The whole method; returns the rows of `results.jsonl`.  Everything else is left in the folder `config.out`.

    Raises `UserError` for a setting that cannot be used and for an `out` that holds something already.
    """
    alphas, out, device = check(config), Path(config.out), pick_device(config.device)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: something stands there already; name a new folder, or remove it")
    worlds = {name: make_world(name, config.recipes or None) for name in config.env.split(",")}
    exams = []
    for name, make in worlds.items():
        tasks = make().tasks(config.eval_split)
        count = min(config.eval_tasks, len(tasks))
        exams.append(critique.Exam(name, make, derive(config, 0, f"exam {name}").sample(tasks, count)))
    how = (device, config.dtype, config.max_new_tokens)
    actor = Actor.load(config.model, *how) if config.model else make_tiny_actor(config, worlds, device)
    if config.warmed:
        cold, actor = actor, Actor.load(config.warmed, *how)
        if actor.tokenizer.get_vocab() != cold.tokenizer.get_vocab():
            raise UserError(f"--warmed {config.warmed}: knows other words; name a model of --env {config.env}")
    actor.model.to(getattr(torch, config.dtype)).get_input_embeddings().requires_grad_(not config.lookback)
    general = [] if config.model else general_data(config, actor, worlds)
    out.mkdir(parents=True, exist_ok=True)
    write_lines(out / "config.json", [dataclasses.asdict(config)])
    print(" ".join(f"{key}={value}" for key, value in dataclasses.asdict(config).items()), flush=True)

    rows, episodes, agent_data, started = [], [], [], time.perf_counter()
    found = dict.fromkeys(worlds, dict.fromkeys(("revision_length", "executable_share", "counts")))
    tokens = train_on(config, actor, general, 0 if config.warmed else config.warmup_steps, 0)
    for iteration in range(config.iterations + 1):
        folder = out / f"iteration-{iteration}"
        folder.mkdir()
        if iteration:
            trees, examples = [], []
            for name, make in worlds.items() if config.method != "bc" else ():
                grown, built, found[name] = self_examples(config, actor, name, make, iteration, alphas[iteration - 1])
                trees, examples = trees + grown, examples + built
            write_lines(folder / "trees.jsonl", map(mcts.to_record, trees))
            write_lines(folder / "data.jsonl", examples)
            if config.method == "eto":
                mix: list[Source] = [(pair_up(actor, examples), 1.0)]
            else:  # all agent data so far, from the weights of the iteration before
                agent_data += encode(actor, [example["messages"] for example in examples])
                mix = [(agent_data, config.eta), *((source, (1 - config.eta) * share) for source, share in general)]
            tokens = train_on(config, actor, mix, config.steps, iteration)
        for exam in exams:
            measured, trajectories = critique.measure(actor, exam, config.rollouts)
            head = {"method": config.method, "iteration": iteration, "env": exam.name}
            head |= {"split": config.eval_split, "seed": config.seed}
            spent = {"trained_tokens": tokens, "seconds": round(time.perf_counter() - started, 1)}
            rows.append({**head, **measured, **found[exam.name], **spent})
            episodes += [{**head, "task": t.task, "score": t.score, "steps": len(t.steps)} for t in trajectories]
        if len(exams) > 1:
            rows.append(average(rows[-len(exams) :]))
        write_lines(folder / "metrics.json", [{"rows": [row for row in rows if row["iteration"] == iteration]}])
        write_lines(out / "results.jsonl", rows)
        write_lines(out / "episodes.jsonl", episodes)
        save_whole(actor, folder / "model")
        print(table(rows if iteration == config.iterations else rows[-len(exams) - (len(exams) > 1) :]), flush=True)
    print(revised_episode(trajectories))
    return rows


def self_examples(
    config: Config, actor: Actor, name: str, make: Callable[[], World], iteration: int, alpha: float
) -> tuple[list[mcts.Tree], list[dict[str, Any]], dict[str, Any]]:
    """Phase I on one world: search its training tasks, judge the failures, splice: (trees, examples, figures)."""
    count = config.tasks // len(config.env.split(","))
    tasks = draw(training_tasks(make), count, derive(config, iteration, f"tasks {name}"))
    generator = torch.Generator(actor.device)
    generator.manual_seed(derive(config, iteration, f"search {name}").getrandbits(32))
    sampling = (config.simulations, config.branch, config.c_uct, config.temperature, generator)
    trees = mcts.search(actor, make, tasks, *sampling, batch_size=config.rollouts, max_depth=config.max_depth)
    rng, thresholds = derive(config, iteration, f"splice {name}"), (alpha, config.beta, config.pairs)
    found: dict[str, Any] = {"revision_length": None, "executable_share": None, "counts": {}}
    examples: list[dict[str, Any]] = []
    if config.method in ("agent-r", "direct-revision"):
        direct = config.method == "direct-revision"  # the whole failure, then the thought, then the good steps
        how = ("paper", "end", "deepest") if direct else (config.splice, config.critic, config.pairing)
        examples, found = critique.revision_examples(actor, trees, make, *thresholds, *how, rng, iteration)
    if config.method == "eto":
        examples = critique.preference_examples(trees, *thresholds, rng, iteration)
    else:
        examples += critique.good_examples(trees, alpha, config.pairs, rng, iteration)
    found["counts"] |= Counter(example["kind"] for example in examples)
    dialogues = [[e[key] for key in ("messages", "rejected") if key in e] for e in examples]  # two in a pair of ETO
    found["counts"]["dropped_too_long"] = sum(len(encode(actor, both)) < len(both) for both in dialogues)
    return trees, examples, found


def train_on(config: Config, actor: Actor, mix: Sequence[Source], steps: int, iteration: int) -> int:
    """Phase II: fine-tune on sources by share, the share of an empty one going to the others; the tokens processed."""
    mix = [(source, share) for source, share in mix if source and share]
    if not mix or not steps:
        return 0
    torch.manual_seed(derive(config, iteration, "dropout").getrandbits(32))  # dropout knows no other generator
    batches = draw_batches(mix, steps, config.batch_size, config.micro_batch, derive(config, iteration, "batches"))
    prefers = config.method == "eto" and iteration
    objective = functools.partial(preference, dpo_beta=config.dpo_beta) if prefers else imitation
    lr = config.lr if iteration else config.warmup_lr
    return fine_tune(actor, batches, steps, lr, f"training, iteration {iteration}", objective)


# --- what a person reads

COLUMNS = {  # heading -> (field of a row, factor, decimals)
    "iter": ("iteration", 1, 0), "score": ("score", 100, 1), "success": ("success", 100, 1),
    "recovery": ("recovery", 100, 1), "loops": ("loops", 100, 1), "rev.length": ("revision_length", 1, 2),
    "judge exact": ("first_error_exact", 100, 1), "false alarms": ("false_alarms", 100, 1),
    "executable": ("executable_share", 100, 1), "seconds": ("seconds", 1, 0),
}


def average(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row `average`: every figure's mean over the worlds that have it."""
    combined = dict(rows[-1], env="average", tasks=sum(row["tasks"] for row in rows))
    for key, value in combined.items():
        if key not in ("method", "iteration", "env", "split", "seed", "tasks", "trained_tokens", "seconds"):
            numbers = [row[key] for row in rows if isinstance(row[key], int | float)]
            combined[key] = None if isinstance(value, dict) else critique.mean(numbers)
    return combined


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as one aligned table; scores and shares times 100, as in the paper."""
    width = max(len("world"), *(len(row["env"]) for row in rows))
    lines = [f"{'world':{width}}" + "".join(f"{heading:>13}" for heading in COLUMNS)]
    for row in rows:
        values = [(row.get(key), factor, decimals) for key, factor, decimals in COLUMNS.values()]
        cells = ["-" if value is None else f"{factor * value:.{decimals}f}" for value, factor, decimals in values]
        lines.append(f"{row['env']:{width}}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def revised_episode(trajectories: Sequence[Trajectory]) -> str:
    """One held-out episode in which the agent noticed a mistake, as text: the best scored, then the shortest."""
    revised = [t for t in trajectories if any(step.action == REVISE for step in t.steps)]
    if not revised:
        return "No held-out episode of the last evaluation holds a revision."
    best = min(revised, key=lambda t: (-t.score, len(t.steps)))
    return f"A held-out episode that the agent revised (task {best.task}, score {best.score:.2f}):\n{show(best)}"


# --- the command line

def check(config: Config) -> list[float]:
    """Alpha for each iteration; raises `UserError` for a value that cannot be used, naming its flag."""
    for field, allowed in CHOICES.items():
        if getattr(config, field) not in allowed:
            raise UserError(f"{flag(field)} {getattr(config, field)}: must be one of {', '.join(allowed)}")
    try:
        alphas = [float(part) for part in config.alpha.split(",")]
    except ValueError:
        raise UserError(f"--alpha {config.alpha}: must be numbers in [0, 1], separated by commas") from None
    numbers = [(field.name, getattr(config, field.name)) for field in dataclasses.fields(Config) if field.type != "str"]
    for field, value in [*numbers, *(("alpha", alpha) for alpha in alphas)]:
        low, high = LIMITS.get(field, (1, math.inf))
        if not low <= value <= high or value == math.inf:
            ends = "on" if high == math.inf else f"to {high}"
            raise UserError(f"{flag(field)} {value}: must be a number from {low} {ends}")
    if config.model and (config.method == "bc" or config.warmed):
        raise UserError("--method bc and --warmed need the warm-up data of --tiny, and there is none with --model")
    if config.width % 32 and config.width not in (8, 16):
        raise UserError(f"--width {config.width}: must be 8, 16 or a multiple of 32, the width of an attention head")
    if len(alphas) not in (1, config.iterations) and len(alphas) < config.iterations:
        raise UserError(f"--alpha {config.alpha}: give one value, or one for each of {config.iterations} iterations")
    return alphas * config.iterations if len(alphas) == 1 else alphas


def flag(field: str) -> str:
    """The command-line name of a field of `Config`."""
    return "--" + field.replace("_", "-")


def pick_device(name: str) -> str:
    """The device to compute on; `auto` takes a GPU if there is one.  Raises `UserError` for one that is not there."""
    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if name not in ("auto", *there):
        raise UserError(f"--device {name}: this machine has none; use --device cpu")
    return there[0] if name == "auto" else name


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records as JSON, one a line; the file appears when it is whole."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    part.replace(path)


def save_whole(actor: Actor, folder: Path) -> None:
    """Write a checkpoint beside its place and move it there once it is whole."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        actor.save(part)
    except SafetensorError as error:  # how its writer tells of a full disk
        raise OSError(None, str(error), str(folder)) from error
    part.rename(folder)


def parse(arguments: Sequence[str] | None = None) -> Config:
    """The configuration: the defaults of `Config`, then the preset of `--tiny`, then the flags given."""

    def fail(message: str) -> None:
        raise UserError(f"{message}; train.py --help lists the flags")

    helps = dict(re.findall(r"^    (\w+): \w+ = .*?  # (.*)$", inspect.getsource(Config), re.MULTILINE))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--tiny", action="store_true", help="train a tiny model from nothing; any flag overrides")
    types = {"str": str, "int": int, "float": float}
    for field in dataclasses.fields(Config):
        text = f"{helps[field.name]} (default {field.default!r})".replace("%", "%%")
        parser.add_argument(flag(field.name), type=types[field.type], default=argparse.SUPPRESS, help=text)
    parser.error = fail
    given = vars(parser.parse_args(arguments))
    tiny = given.pop("tiny")
    if not tiny and "model" not in given:
        raise UserError("name a checkpoint with --model FOLDER, or use --tiny to train a tiny model from nothing")
    env = given.get("env", "lab")
    preset = TINY | TINY_FOR.get("several" if "," in env else env.partition(":")[0], {}) if tiny else {}
    return Config(**(preset | given))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one configuration; the exit status.  A user's mistake is one sentence on standard error and status 2."""
    transformers.utils.logging.disable_progress_bar()  # saving a small model is no news
    try:
        run(parse(arguments))
        return 0
    except UserError as error:
        status, told = 2, error
    except OSError as error:  # a full disk, a folder that may not be written
        status, told = 2, f"{error.filename or 'a file'} cannot be written: {error.strerror or error}"
    except KeyboardInterrupt:
        status, told = 130, "stopped; what was finished is in the folder of --out"
    print(f"train.py: {told}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
