"""The training: warm-up, masked fine-tuning, the eta mix, the iterations, and the command line.

In each iteration the present actor searches training tasks, its failures become revision
trajectories (Phase I), and it is fine-tuned on them (Phase II) with

    L(theta) = eta * L(revision + good) + (1 - eta) * L(general),

where `eta` is the probability that an example is drawn from the agent data, after AgentTuning,
whose mix the paper takes over.  It holds over a stretch of batches (see `draw_micro_batches`);
within a batch every learned token weighs the same.

A tiny model made here has no pretraining, so lessons stand in for an instruction-tuned model:
demonstrations, and judged steps of noisy episodes.  So the tiny judge is taught, not found.  A
model that is brought has general data from a file, from such lessons, or from neither.
After the warm-up nothing asks a world's truth but the measurements and two ablations, `--critic
truth` and `--winners expert`.

Read in order: the general data, `Mix` (eta), `masked_loss`, `fine_tune`, `dpo_loss` (ETO, a
baseline), `measure`, `run` (the whole method in ten lines) and `Run` (what each of them does).
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm import tqdm

import critique
import mcts
from agent_r import OWN_WORDS, Actor, Message, Start, Trajectory, figures, play
from critique import Example
from engine import UserError, checkpoint, command_line, folder, processes
from engine.dialogues import Sampling
from engine.going_on import Kept, Reached
from engine.learning import keep_between_layers, learned_loss, learned_shares
from engine.loading import check_still_sound, pick_device
from engine.manual import NOTHING, Mark, marked, tell
from engine.optimizers import make_optimizer
from engine.pieces import in_pieces, kept_in
from engine.precision import Precision
from engine.table import average, table
from engine.tiny import TinyShape, check_size
from envs import World, first_error, make_world
from general.dialogues import read_dialogues
from general.lessons import can_teach, demonstration, lessons
from general.room import check_room
from general.words import check_words_shown
from mcts import SearchSettings, Tree
from records import episodes, stages
from records.rows import ALIKE, COLUMNS, LEARNED, revised_episode
from settings.command import Said, announce, claimed
from settings.config import Config, check, derive
from settings.exam import Exam, exact_as_used, judge_figures, make_exam, off_the_gold_path
from worlds.presets import BROUGHT, PRESETS, TINY, WITH_GENERAL_DATA

# --- general data; its lessons are the only training data that asks a world's truth


def general_data(
    config: Config, actor: Actor, worlds: dict[str, Callable[[], World]]
) -> list[Source]:
    """Return the sources of general data: two kinds of lessons, and the dialogues of a file.

    Where there are lessons and a file, each has half.  Raises `UserError` for a file that cannot be
    used, for a world that knows no way to show, and where nothing fits the actor's context.
    """
    shares = {"a demonstration": 1 - config.judge_share, "a judged episode": config.judge_share}
    dialogues: dict[str, list[list[Message]]] = {what: [] for what in shares}
    if config.general:
        shares = {what: share / 2 if config.lessons else 0.0 for what, share in shares.items()}
        shares["a dialogue"] = 1 - sum(shares.values())
        dialogues["a dialogue"] = read_dialogues(config.general)
    mark = Mark.of(actor.model.config)
    taught = bool(config.model and mark and mark.taught)
    for name, make in worlds.items() if config.lessons else ():
        world = make()
        if can_teach(world, name, taught, config.thoughts):
            rng = derive(config, 0, f"warm-up {name}")
            count = config.lessons // len(worlds)
            tasks = task_names(make, world.warm_up)
            names = (draw(tasks, count, rng), draw(tasks, count, rng))
            demonstrations, judged_episodes = lessons(world, *names, rng)
            check_words_shown(actor.tokenizer, world, demonstrations)
            dialogues["a demonstration"] += demonstrations
            dialogues["a judged episode"] += judged_episodes
    sources = []
    for what, share in shares.items():
        encoded = [encode(actor, messages) for messages in dialogues[what]]
        examples = [example for example in encoded if example]
        if encoded and share and not examples:
            problem = f"longer than the model's context of {actor.max_length} tokens"
            raise UserError(f"{what} is general data, but each of {len(encoded)} is {problem}")
        sources.append(Source(examples, share, left_out=len(encoded) - len(examples)))
    return sources


@functools.cache
def task_names(make: Callable[[], World], split: str) -> Sequence[str]:
    """Return the names of a world's tasks, once; some worlds take a second to list them."""
    return make().tasks(split)


def draw(tasks: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """Return `count` tasks, none of them twice before each was drawn once.

    Raises `UserError` if there are none.
    """
    if not tasks:
        problem = "a world of --env has no training tasks"
        raise UserError(f"{problem}; with --recipes, name a folder with more recipes")
    names: list[str] = []
    while len(names) < count:
        names += rng.sample(tasks, min(count - len(names), len(tasks)))
    return names


def make_tiny_actor(config: Config, worlds: dict[str, Callable[[], World]], device: str) -> Actor:
    """Return a small model over the words of the worlds and of our prompts, drawn by the seed."""
    words = [make().words for make in worlds.values()]
    text = " ".join((*words, OWN_WORDS, *critique.REVISION_THOUGHTS))
    seed = derive(config, 0, "weights").getrandbits(32)
    torch.manual_seed(seed)  # transformers draws weights from torch's own generator
    shape = TinyShape(config.width, config.layers, config.lookback)
    return Actor.tiny(text, shape, device, config.max_new_tokens)


# --- Phase II: the mix


@dataclass(frozen=True)
class Encoded:
    """An example as the model reads it: token ids, and labels, -100 where nothing is learned."""

    ids: list[int]
    labels: list[int]

    @property
    def length(self) -> int:
        """The number of its tokens."""
        return len(self.ids)

    @property
    def learned(self) -> int:
        """The number of tokens that are learned; the first of a dialogue never is."""
        return sum(label != -100 for label in self.labels[1:])


@dataclass(frozen=True)
class Preference:
    """An example of ETO: a good and a bad dialogue, and the margin that the reference has."""

    good: Encoded
    bad: Encoded
    reference_margin: float = 0.0

    @property
    def length(self) -> int:
        """The number of tokens of both."""
        return self.good.length + self.bad.length

    @property
    def learned(self) -> int:
        """The number of tokens that are learned, of both."""
        return self.good.learned + self.bad.learned


@dataclass(frozen=True)
class Source:
    """Examples of one origin, and their share of what is drawn for a batch."""

    examples: Sequence[Encoded | Preference]
    share: float
    kind: str = "general"
    left_out: int = 0  # dialogues that do not fit the actor's context


def encode(actor: Actor, messages: Sequence[Message]) -> Encoded | None:
    """Return a dialogue as token ids and labels; None if it does not fit the actor's context.

    Nothing is ever cut: what does not fit is left out whole.
    """
    ids, labels = actor.format.encode(messages)
    return Encoded(ids, labels) if len(ids) <= actor.max_length else None


def encode_record(actor: Actor, record: dict[str, Any]) -> Encoded | Preference | None:
    """Return a line of the dataset as token ids; None if it does not fit the actor's context."""
    dialogue = encode(actor, record["messages"])
    if "rejected" not in record or dialogue is None:
        return dialogue
    rejected = encode(actor, record["rejected"])
    return Preference(dialogue, rejected) if rejected else None


class Mix:
    """The eta mix of Phase II: sources of examples, each drawn from with its share's probability.

    Within a source each example is drawn once before any is drawn again, in an order by lot, anew
    each time.  Empty sources are passed over; the others share their weight.
    """

    def __init__(self, sources: Sequence[Source], rng: random.Random) -> None:
        self.sources = [source for source in sources if source.examples and source.share]
        self.rng = rng
        self.decks: list[list[int]] = [[] for _ in self.sources]  # numbers still to come
        self.learned: Counter[str] = Counter()  # tokens of the batches made of it, by kind
        self.kinds = {id(drawn): source.kind for source in sources for drawn in source.examples}

    def draw(self) -> Encoded | Preference:
        """Return the next example: choose the source by its share, then one of its examples."""
        shares = [source.share for source in self.sources]
        (chosen,) = self.rng.choices(range(len(self.sources)), shares)
        examples = self.sources[chosen].examples
        deck = self.decks[chosen]
        if not deck:
            deck += self.rng.sample(range(len(examples)), len(examples))
        return examples[deck.pop()]


Batch = list[list[Any]]  # micro-batches of examples


def draw_batches(mix: Mix, steps: int, batch_size: int, micro_batch: int) -> Iterator[Batch]:
    """Yield `steps` batches of about `batch_size` tokens, each a list of micro-batches.

    A micro-batch holds examples of like length, at most about `micro_batch` tokens with padding.
    """
    micro_batch = min(micro_batch, batch_size)
    per_step = round(batch_size / micro_batch)
    ready: Batch = []
    for _ in range(steps):
        while len(ready) < per_step:
            ready += draw_micro_batches(mix, 16 * batch_size, micro_batch)
        batch = [ready.pop() for _ in range(per_step)]
        for example in itertools.chain(*batch):
            mix.learned[mix.kinds[id(example)]] += example.learned
        yield batch


def draw_micro_batches(mix: Mix, tokens: int, micro_batch: int) -> Batch:
    """Return micro-batches of at least `tokens` tokens together, in random order.

    A stretch of examples is sorted by length and cut up, so that there is hardly any padding: the
    mix stays as drawn over the stretch, though a single batch may hold one kind of example alone.
    """
    stretch = [mix.draw()]
    length = stretch[0].length
    while length < tokens:
        for _ in range(16):
            stretch.append(mix.draw())
            length += stretch[-1].length
    stretch.sort(key=lambda example: example.length)
    pieces: Batch = [[]]
    for example in stretch:
        if pieces[-1] and example.length * (len(pieces[-1]) + 1) > micro_batch:
            pieces.append([])
        pieces[-1].append(example)
    return mix.rng.sample(pieces, len(pieces))


# --- Phase II: fine-tuning


def pad(batch: Sequence[Encoded], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and labels of a micro-batch, [rows, longest], padded on the right."""
    longest = max(example.length for example in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), -100)
    for row, example in enumerate(batch):
        ids[row, : example.length] = torch.tensor(example.ids)
        labels[row, : example.length] = torch.tensor(example.labels)
    return ids.to(device), labels.to(device)


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of the next token, where its label is not -100.

    logits: [rows, length, vocabulary], labels: [rows, length].  The logits at position t - 1
    predict token t.  The sum, not the mean: whoever feeds a batch in pieces adds them up and
    divides by the number of learned tokens of all.
    """
    predictions = logits[:, :-1].flatten(0, 1)
    targets = labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(
        predictions.float(), targets, ignore_index=-100, reduction="sum"
    )


def imitation(actor: Actor, batch: Sequence[Encoded]) -> tuple[torch.Tensor, int]:
    """Return the summed loss of a micro-batch of examples, and its number of learned tokens."""
    ids, labels = pad(batch, actor.device)
    loss = learned_loss(actor.model, masked_loss, ids, labels)
    return loss, int((labels[:, 1:] != -100).sum())


def fine_tune(
    actor: Actor,
    batches: Iterator[Batch],
    *,
    steps: int,
    lr: float,
    algorithm: str = "adamw",
    objective: Callable[..., tuple[torch.Tensor, int]] = imitation,
    label: str = "training",
    report: list[Row] | None = None,
) -> int:
    """Fine-tune all weights on the mean of an objective over each batch, with AdamW or Muon.

    `algorithm` is one of `engine.optimizers.NAMES`.  Several processes share each batch out; what
    one of them reads for nothing, since all must read equally often, has weight 0, all else 1.
    The learning rate rises to `lr` over a twentieth of the steps, then falls linearly to a
    twentieth of it.  Returns the number of tokens processed; `report` gets a line for each step.
    Raises `UserError` if the loss is no longer finite.
    """
    model = processes.spread(actor, algorithm)
    optimizer = make_optimizer(algorithm, model, lr)
    rise = max(1, steps // 20)

    def rate(step: int) -> float:
        return min((step + 1) / rise, 1.0, 1.05 - step / steps)

    progress = checkpoint.Progress(model, optimizer, label, [] if report is None else report)
    bar = tqdm(batches, total=steps, desc=label, leave=False, disable=None)
    for step, batch in enumerate(bar):
        if step < progress.step:  # learned before the run was stopped
            continue
        optimizer.param_groups[0]["lr"] = lr * rate(step)
        tokens = sum(example.length for example in itertools.chain(*batch))
        count = 0  # of learned tokens, or of pairs
        total = torch.zeros((), device=actor.device)
        for micro_batch, weight in processes.shares(batch):
            with actor.precision.training(model):
                loss, learned = objective(actor, micro_batch)
            (weight * loss).backward()
            total += weight * loss.detach()
            count += weight * learned
        count, total = processes.added_up(model, count, total)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= max(1, count)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if report is not None:
            line = {"step": step + 1, "loss": float(total) / max(1, count), "learned": count}
            now = {"lr": optimizer.param_groups[0]["lr"], "tokens": progress.tokens + tokens}
            report.append({**line, **now})
        progress.passed(tokens, norm)
    progress.check()
    processes.gather(actor)
    return progress.tokens


# --- ETO, a baseline of Table 2: direct preference optimisation on whole trajectories


def margin(actor: Actor, good: Encoded, bad: Encoded) -> torch.Tensor:
    """Return log pi(good) - log pi(bad), over what the agent itself says in the two dialogues."""
    losses = []
    for example in (good, bad):
        ids, labels = pad([example], actor.device)
        losses.append(learned_loss(actor.model, masked_loss, ids, labels))
    return losses[1] - losses[0]


def dpo_loss(
    margins: torch.Tensor, reference_margins: torch.Tensor, dpo_beta: float
) -> torch.Tensor:
    """Return -log sigmoid(dpo_beta * (margin - the reference's margin)), summed over pairs.

    margins, reference_margins: [pairs].
    """
    gains = dpo_beta * (margins - reference_margins)
    return -torch.nn.functional.logsigmoid(gains).sum()


def preference(
    actor: Actor, batch: Sequence[Preference], dpo_beta: float
) -> tuple[torch.Tensor, int]:
    """Return ETO's summed loss of a micro-batch of pairs, and their number."""
    margins = torch.stack([margin(actor, pair.good, pair.bad) for pair in batch])
    references = margins.new_tensor([pair.reference_margin for pair in batch])
    return dpo_loss(margins, references, dpo_beta), len(batch)


def preference_batches(
    pairs: Sequence[Preference], epochs: int, size: int, rng: random.Random
) -> list[Batch]:
    """Return `epochs` passes over the pairs, each in another order, `size` pairs a step.

    So its authors train ETO: 32 pairs a step, three epochs; hundreds of passes over few pairs are
    another method, and collapse.  A micro-batch is one pair.
    """
    batches = []
    for _ in range(epochs):
        order = rng.sample(pairs, len(pairs))
        for first in range(0, len(order), size):
            batches.append([[pair] for pair in order[first : first + size]])
    return batches


@torch.no_grad()
def with_reference(actor: Actor, pairs: Sequence[Preference]) -> list[Preference]:
    """Return the pairs with the margins of the actor as it is now, who is their reference."""
    referenced = []
    for pair in pairs:
        with actor.precision.training(actor.model):
            value = float(margin(actor, pair.good, pair.bad))
        referenced.append(replace(pair, reference_margin=value))
    return referenced


# --- evaluation, which may ask the truth

Row = dict[str, Any]  # of results.jsonl


def measure(actor: Actor, exam: Exam, rollouts: int) -> tuple[Row, list[Trajectory]]:
    """Return figures of greedy play on held-out tasks and the trajectories; set the prefixes.

    A figure that needs an expert, or a gold path, is None in a world without one.
    """

    def play_some(starts: Sequence[Start]) -> list[Trajectory]:
        return play(actor, exam.make, starts, batch_size=rollouts, label=f"testing {exam.name}")

    starts = [Start(task) for task in exam.tasks]
    episodes = in_pieces(play_some, starts, rollouts, **stages.EPISODES)
    row: Row = {"tasks": len(exam.tasks), **figures(episodes)}
    row.update(recovery=None, recovery_prefixes=None, recovery_left_out=None)
    row.update(judge_figures([], []))  # None, each of them
    world = exam.make()
    row["begun_anew"] = processes.over_all(world.begun_anew)
    if not (world.has_expert or world.has_gold):
        return row, episodes
    if exam.prefixes is None:
        find = critique.failed_prefixes if world.has_expert else off_the_gold_path
        exam.prefixes, exam.lost = processes.from_first(find(episodes, exam.make))
    if exam.prefixes:
        recovered = in_pieces(play_some, exam.prefixes, rollouts, **stages.EPISODES)
        row["recovery"] = figures(recovered)["score"]
    row["recovery_prefixes"] = len(exam.prefixes)
    row["recovery_left_out"] = exam.lost
    if not world.has_expert:
        return row, episodes
    truth = [first_error(world, played.task, played.actions) for played in episodes]
    from_the_first = [0] * len(episodes)
    errors = critique.find_first_errors(actor, episodes, from_the_first, rollouts)
    row.update(judge_figures(truth, errors))
    return row, episodes


# --- the iterations


def run(config: Config, said: Said = Said()) -> list[Row]:  # noqa: B008, it is frozen
    """Carry out the whole method; return the rows of `results.jsonl`.

    Everything else is left in the folder `config.out`; what stands there already, as the same run
    was stopped, is read and not made again (engine/going_on.py).  Raises `UserError` for a setting
    that cannot be used and for an `out` that holds something else.
    """
    check(config)
    with claimed(config, said) as kept:
        if kept.reached.measured >= config.iterations:
            print(f"{config.out}: this run is finished.\n{table(kept.rows, COLUMNS)}")
            return kept.rows
        this = Run(config, kept, said)
        this.warm_up()
        this.evaluate(0)
        for iteration in range(1, config.iterations + 1):
            trees = this.search(iteration)
            examples = this.criticise(trees, iteration)
            this.fine_tune(examples, iteration)
            this.evaluate(iteration)
        print(revised_episode(this.trajectories))
        return this.rows


NO_DATA = {"revision_length": None, "executable_share": None, "counts": None}


class Run:
    """One run of the method: the actor, the worlds, and what outlives an iteration.

    A method whose outcome is in the folder already returns what it finds there.
    """

    reached = Reached()

    def __init__(self, config: Config, kept: Kept, said: Said) -> None:
        """Check everything that can be checked, then begin or go on; raises `UserError`."""
        self.config = config
        self.kept = kept
        self.out = kept.out
        self.reached = kept.reached
        self.worlds = {name: make_world(name, config.recipes) for name in config.worlds}
        self.actor = first_actor(config, self.worlds, kept.newest_model())
        # What the agent hears before a task is the same wherever it plays: see engine/manual.py.
        thoughts = config.thoughts if config.model else NOTHING
        self.mark = marked(self.actor.model.config, thoughts)
        self.worlds = tell(self.worlds, self.mark)
        self.exams = [make_exam(config, name, make) for name, make in self.worlds.items()]
        prefixes = stages.read_prefixes(self.out)
        for exam in self.exams:
            exam.go_on(prefixes, kept.episodes)
        announce(config, said, kept, self.mark)
        with kept_in(self.out / "general.jsonl"):
            self.general = general_data(config, self.actor, self.worlds)
        check_room(self.actor, self.exams)
        left_out = sum(source.left_out for source in self.general)
        if left_out:
            print(f"General data: {left_out} dialogues left out, too long for the model's context.")
        self.agent_data: dict[str, list[Encoded]] = {"revision": [], "good": []}  # so far
        self.judged: dict[str, list[critique.Judged]] = {}  # of this iteration, by world
        self.data_figures = dict.fromkeys(self.worlds, NO_DATA)  # of this iteration's examples
        self.tokens = 0  # trained in this iteration
        self.learned: Counter[str] = Counter()  # of them by the kind of their source
        self.losses: list[Row] = []  # of each step of this training
        self.rows = kept.rows
        self.episodes = kept.episodes
        self.trajectories: list[Trajectory] = []  # of the last evaluation
        kept.ready()

    def iteration_folder(self, iteration: int) -> Path:
        """Return the folder of an iteration, which is there from now on."""
        path = self.out / f"iteration-{iteration}"
        path.mkdir(exist_ok=True)
        return path

    def warm_up(self) -> None:
        """Teach a model to act and to judge, unless it was taught here before."""
        if self.reached.trained >= 0:
            return
        if not self.mark.taught:
            self.train_on(self.general, 0)
        elif self.config.model and self.config.warmup_steps:
            print("No warm-up: the model was taught here already, and goes on from there.")

    def search(self, iteration: int) -> dict[str, list[Tree]]:
        """Phase I: search training tasks with the agent as it is; return each world's trees."""
        if iteration <= self.reached.criticised:  # nobody needs the trees any more
            return {}
        with kept_in(self.iteration_folder(iteration) / "trees.jsonl"):
            return {name: self.search_world(name, iteration) for name in self.worlds}

    def search_world(self, name: str, iteration: int) -> list[Tree]:
        """Return the trees of one world; with bc there are none."""
        config = self.config
        if config.method == "bc":
            return []
        count = config.tasks // len(self.worlds)
        rng = derive(config, iteration, f"tasks {name}")
        tasks = draw(task_names(self.worlds[name], "train"), count, rng)
        settings = SearchSettings(
            config.simulations, config.branch, config.c_uct, config.max_depth, config.rollouts
        )
        seed = derive(config, iteration, f"search {name}").getrandbits(32)
        sampling = Sampling(config.temperature, seed)

        def search_some(numbers: Sequence[int]) -> list[Tree]:
            some = [tasks[number] for number in numbers]
            world = self.worlds[name]
            return mcts.search(self.actor, world, some, settings, sampling, numbers=numbers)

        return in_pieces(search_some, range(count), config.rollouts, **stages.trees_of(name))

    def criticise(self, trees: dict[str, list[Tree]], iteration: int) -> dict[str, list[Any]]:
        """Phase I: make what the method learns of the trees; return it encoded, of all worlds."""
        path = self.iteration_folder(iteration)
        encoded: dict[str, list[Any]] = {"revision": [], "good": [], "preference": []}
        if iteration <= self.reached.criticised:
            self.data_figures.update(stages.read_figures(path))
            self.judged = stages.read_judged(path)
            for record in folder.read_lines(path / "data.jsonl"):
                self.add_encoded(record, encoded)
            return encoded
        records = []
        with kept_in(path / "judging.jsonl", lasting=False):
            for name, world_trees in trees.items():
                if self.config.method == "bc":
                    continue
                examples, figures = self.make_examples(name, world_trees, iteration)
                self.data_figures[name] = figures
                counts = figures["counts"]
                counts.update(Counter(example.kind for example in examples))
                counts["simulations"] = sum(tree.root.visits for tree in world_trees)
                counts["dropped_too_long"] = 0
                counts["dropped_nothing_learned"] = 0
                for example in examples:
                    record = example.record(iteration)
                    records.append(record)
                    dropped = self.add_encoded(record, encoded)
                    if dropped:
                        record["dropped"] = dropped
                        counts[f"dropped_{dropped}"] += 1
            stages.write_critique(path, records, self.data_figures, trees, self.judged)
        return processes.from_first(encoded)

    def add_encoded(self, record: dict[str, Any], encoded: dict[str, list[Any]]) -> str:
        """Add a line of the dataset, encoded, to those of its kind; return why not, if so."""
        tokens = encode_record(self.actor, record)
        if tokens is None:
            return "too_long"
        if not tokens.learned:
            return "nothing_learned"
        encoded[record["kind"]].append(tokens)
        return ""

    def make_examples(
        self, name: str, trees: Sequence[Tree], iteration: int
    ) -> tuple[list[Example], dict[str, Any]]:
        """Return what the method learns from the trees of one world, and the figures of a row."""
        method = self.config.method
        settings = self.config.critique_settings(iteration)
        rng = derive(self.config, iteration, f"splice {name}")
        if method == "eto":
            preferences = critique.preference_examples(trees, settings, rng)
            if self.config.winners == "expert":
                world = self.worlds[name]()
                for example in preferences:
                    example.trajectory = demonstration(world, example.trajectory.task)
            return preferences, {**NO_DATA, "counts": {}}
        goods = critique.good_examples(trees, settings, rng)  # first, so that optimal has the same
        if method == "optimal":
            return goods, {**NO_DATA, "counts": {}}
        revisions = critique.criticise(self.actor, trees, self.worlds[name], settings, rng)
        self.judged[name] = revisions.judged
        return [*revisions.examples, *goods], revisions.figures()

    def fine_tune(self, examples: dict[str, list[Any]], iteration: int) -> None:
        """Phase II: train on all agent data so far, mixed with general data; ETO on its pairs."""
        if self.config.method == "eto":
            self.prefer(examples["preference"], iteration)
            return
        for kind, data in self.agent_data.items():
            data += examples[kind]
        rest = 1 - self.config.eta
        if self.config.method == "bc":  # has nothing else
            rest = 1.0
        general = [replace(source, share=rest * source.share) for source in self.general]
        self.train_on([*self.agent_sources(), *general], iteration)

    def agent_sources(self) -> list[Source]:
        """Return revisions and good trajectories as sources that have eta of the mix together.

        Ours: each kind has a share of its own, so that neither drowns the other; where there is but
        one kind, it has all of it.
        """
        shares = {"revision": self.config.revision_share, "good": 1 - self.config.revision_share}
        present = {kind: share for kind, share in shares.items() if self.agent_data[kind]}
        total = sum(present.values()) or 1.0
        sources = []
        for kind, share in present.items():
            share *= self.config.eta / total
            sources.append(Source(self.agent_data[kind], share, kind))
        return sources

    def prefer(self, examples: Sequence[Preference], iteration: int) -> None:
        """Train as ETO does: some epochs over the pairs of this iteration, at a rate of its own."""
        if iteration <= self.reached.trained:
            return
        pairs = with_reference(self.actor, examples)
        rng = derive(self.config, iteration, "batches")
        batches = preference_batches(pairs, self.config.dpo_epochs, self.config.dpo_pairs, rng)
        self.tokens = 0
        self.learned = Counter()
        self.losses = []
        torch.manual_seed(derive(self.config, iteration, "dropout").getrandbits(32))
        if batches:
            self.tokens = fine_tune(
                self.actor,
                iter(batches),
                steps=len(batches),
                lr=self.config.dpo_lr,
                objective=functools.partial(preference, dpo_beta=self.config.dpo_beta),
                label=f"training, iteration {iteration}",
                report=self.losses,
            )

    def train_on(self, sources: Sequence[Source], iteration: int) -> None:
        """Train on a mix from the present weights, in iteration 0 for the warm-up."""
        if iteration <= self.reached.trained:
            return
        config = self.config
        steps = config.steps if iteration else config.warmup_steps
        mix = Mix(sources, derive(config, iteration, "batches"))
        self.tokens = 0
        self.learned = mix.learned
        self.losses = []
        if not mix.sources or not steps:
            return
        seed = derive(config, iteration, "dropout").getrandbits(32)
        torch.manual_seed(seed)  # dropout knows no other generator
        self.tokens = fine_tune(
            self.actor,
            draw_batches(mix, steps, config.batch_size, config.micro_batch),
            steps=steps,
            lr=config.lr if iteration else config.warmup_lr,
            algorithm=config.optimizer,
            label=f"training, iteration {iteration}",
            report=self.losses,
        )

    def keep_model(self, iteration: int) -> None:
        """Write the model of an iteration, or read what its training took if it is there."""
        path = self.iteration_folder(iteration)
        if iteration <= self.reached.trained:
            self.tokens, self.learned = stages.read_training(path)
            return
        if self.tokens:
            check_still_sound(self.actor.model, f"iteration {iteration}")
        stages.write_training(path, self.tokens, self.learned, self.losses)
        self.mark.taught = self.mark.taught or self.tokens > 0
        self.mark.put(self.actor.model.config)
        self.actor.save(path / "model")
        self.kept.trained(path)

    def evaluate(self, iteration: int) -> None:
        """Keep the model and play the held-out tasks; write rows and episodes, print the table."""
        if iteration <= self.reached.measured:
            return
        self.keep_model(iteration)
        path = self.iteration_folder(iteration)
        of_run = {"method": self.config.method, "iteration": iteration}
        rows = []
        with kept_in(path / "exam.jsonl", lasting=False):
            for exam in self.exams:
                play_figures, self.trajectories = measure(self.actor, exam, self.config.rollouts)
                split = self.config.eval_split
                of_exam = {"env": exam.name, "split": split, "seed": self.config.seed}
                seconds = round(self.kept.claim.seconds(), 1)
                spent = {"trained_tokens": self.tokens, "seconds": seconds, "eta": self.config.eta}
                spent.update(learned_shares(self.learned, LEARNED))
                judged = self.judged.get(exam.name, [])
                exact = exact_as_used(judged, exam.make)
                in_use = {"first_error_exact_used": exact, "judged_pairs": len(judged)}
                data_figures = {**self.data_figures[exam.name], **in_use}
                rows.append({**of_run, **of_exam, **play_figures, **data_figures, **spent})
                for line in episodes.to_records(self.trajectories, len(self.exams)):
                    self.episodes.append({**of_run, **of_exam, **line})
            if len(rows) > 1:
                rows.append(average(rows, ALIKE))
            self.rows += rows
            prefixes = {exam.name: (exam.prefixes, exam.lost) for exam in self.exams}
            stages.write_prefixes(self.out, prefixes)
            folder.write_lines(path / "metrics.json", [{"rows": rows}])
            folder.write_lines(self.out / "episodes.jsonl", self.episodes)
            folder.write_lines(self.out / "results.jsonl", self.rows)  # last: the stage is over
        last = iteration == self.config.iterations
        print(table(self.rows if last else rows, COLUMNS), flush=True)


def first_actor(
    config: Config, worlds: dict[str, Callable[[], World]], newest: Path | None = None
) -> Actor:
    """Return the actor that a run begins or goes on with, from a folder or new.

    `newest` is the model that the run has left last.  Raises `UserError`.
    """
    device = pick_device(config.device)
    if newest:
        actor = Actor.load(newest, device, config.dtype, config.max_new_tokens)
    elif config.model:
        actor = Actor.load(config.model, device, config.dtype, config.max_new_tokens)
    else:
        actor = make_tiny_actor(config, worlds, device)
    if config.warmed and not newest:
        new = actor  # says what the warmed-up one must be like
        actor = Actor.load(config.warmed, device, config.dtype, config.max_new_tokens)
        if actor.tokenizer.get_vocab() != new.tokenizer.get_vocab():
            problem = f"knows other words; name a model of --env {config.env}"
            raise UserError(f"--warmed {config.warmed}: {problem}")
        check_size(actor.model.config, new.model.config, f"--warmed {config.warmed}")
    actor.judge_tokens = config.judge_tokens
    actor.precision = Precision(config.dtype)
    if config.checkpointing == "yes":
        keep_between_layers(actor.model)
    if config.lookback:  # words stay as drawn, so that what one name teaches holds for all
        actor.model.get_input_embeddings().requires_grad_(False)
    return actor


# --- the command line


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Return the configuration: defaults, then the preset of `--tiny`, then the flags given.

    Raises `UserError` for a command line that makes no sense.
    """
    config, _ = read(arguments)
    return config


def read(arguments: Sequence[str] | None) -> tuple[Config, Said]:
    """Return the configuration, and what else the command line says; raises `UserError`."""
    parser = command_line.parser(Config, "train.py", __doc__.split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model; any flag overrides")
    text = "remove what a run has left in the folder of --out, and begin anew"
    parser.add_argument("--anew", action="store_true", help=text)
    given = vars(parser.parse_args(arguments))
    tiny = given.pop("tiny")
    anew = given.pop("anew")
    if not tiny and not given.get("model"):
        remedy = "or use --tiny to train a tiny model from nothing"
        raise UserError(f"name a checkpoint with --model FOLDER, {remedy}")
    preset: dict[str, Any] = {}
    if tiny:
        env = given.get("env", "lab")
        world = "several" if "," in env else env.partition(":")[0]
        preset = TINY | PRESETS.get(world, {})
    if given.get("model"):
        preset |= BROUGHT
        if given.get("general") or given.get("warmup_steps"):
            preset |= WITH_GENERAL_DATA
    words = sys.argv[1:] if arguments is None else arguments
    return Config(**(preset | given)), Said(tuple(words), tuple(given), anew)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    transformers.utils.logging.disable_progress_bar()  # saving a small model is no news
    stopped = "the same command goes on from there"
    return processes.carry_out("train.py", lambda: run(*read(arguments)), stopped)


if __name__ == "__main__":
    sys.exit(main())
