"""Every flag of `train.py`, what it means and its default, and the seeds of all that is drawn."""

from __future__ import annotations

import operator
import random
from dataclasses import asdict, dataclass, replace
from typing import Any

import critique
from critique import CritiqueSettings
from engine import UserError, command_line, optimizers
from engine.command_line import option
from engine.manual import THOUGHTS

# bc learns from the general data alone, optimal from good trajectories (`Run.make_examples`).
METHODS = ("agent-r", "bc", "optimal", "direct-revision", "eto")
MANY = 10**9  # of whatever a flag counts; more would never end, or fit no memory
WINNERS = ("search", "expert")  # of eto's pairs: as Agent-R's good ones, or as its authors have it


@dataclass(frozen=True)
class Config:
    """Every flag of the command line, `--max-depth` for `max_depth`, with its default and help."""

    env: str = option("lab", "worlds, by commas: lab, one of worlds/, or module:Class")
    model: str = option("", "folder of a checkpoint to begin from; or see --tiny")
    warmed: str = option("", "folder of a warmed-up tiny model (iteration-0/model) to begin from")
    general: str = option("", "JSONL file of dialogues, the general data of --model")
    thoughts: str = option("auto", "if --model is told to think; auto: by world", choices=THOUGHTS)
    method: str = option("agent-r", "the paper's, or a baseline of Table 2", choices=METHODS)
    critic: str = option("actor", "who finds the first error", choices=critique.CRITICS)
    splice: str = option("verified", "which splices are kept", choices=critique.SPLICES)
    pairing: str = option("deepest", "the good leaf for a bad one", choices=critique.PAIRINGS)
    idle: str = option("context", "what idle steps of good data are", choices=critique.IDLE)
    revision_share: float = option(0.5, "of revisions in the agent data", least=0, most=1)
    iterations: int = option(3, "how many times to search and train", least=0, most=1000)
    tasks: int = option(
        1000, "training tasks searched in an iteration, over all worlds", most=10**6
    )
    simulations: int = option(8, "simulations per tree", most=10**6)
    branch: int = option(4, "actions sampled when a node is expanded", most=10**4)
    max_depth: int = option(0, "most steps of a searched episode; 0: the world's own", least=0)
    c_uct: float = option(0.25, "exploration constant of UCT", least=0)
    alpha: str = option(
        "0.5,0.7,1.0", "least score of a good trajectory; one, or one per iteration"
    )
    beta: float = option(0.2, "lead in score that a good one must exceed", least=0, most=1)
    eta: float = option(
        1.0, "share of agent data in the mix; 0.2 beside general data", least=0, most=1
    )
    dpo_beta: float = option(0.1, "how strongly eto is held to its reference", least=1e-9)
    dpo_lr: float = option(1e-6, "peak learning rate of eto, as its authors have it", least=1e-9)
    dpo_pairs: int = option(32, "pairs in an optimisation step of eto")
    dpo_epochs: int = option(3, "passes of eto over the pairs of an iteration")
    winners: str = option("search", "whose good trajectories eto prefers", choices=WINNERS)
    pairs: int = option(4, "revision trajectories, and good ones, per tree at most")
    temperature: float = option(
        1.0, "of the actor while searching; later greedy", least=1e-9, most=1e6
    )
    max_new_tokens: int = option(64, "tokens of one reply at most")
    judge_tokens: int = option(500, "tokens of one answer of the judge at most")
    steps: int = option(1000, "optimisation steps in an iteration")
    batch_size: int = option(32768, "tokens in an optimisation step", most=10**7)
    micro_batch: int = option(8192, "tokens in one forward and backward pass", most=10**7)
    lr: float = option(1e-5, "peak learning rate: a short rise, a linear fall", least=1e-9)
    optimizer: str = option(
        "adamw", "of training and warm-up; eto's is adamw", choices=optimizers.NAMES
    )
    warmup_lr: float = option(1.5e-3, "the same of the warm-up; 2e-5 with --model", least=1e-9)
    warmup_steps: int = option(0, "optimisation steps of the warm-up on general data", least=0)
    warmup_tasks: int = option(
        4000, "tasks of each kind of its lessons, over all worlds", most=10**6
    )
    judge_share: float = option(0.4, "share of judged episodes in the lessons", least=0, most=1)
    width: int = option(64, "hidden size of a tiny model", most=4096)
    layers: int = option(2, "layers of a tiny model", most=128)
    lookback: int = option(
        0, "tokens back that a tiny model can look at its birth", least=0, most=1024
    )
    rollouts: int = option(256, "episodes played, or trees searched, at a time")
    eval_tasks: int = option(1000, "held-out tasks per world; fewer if the split has fewer")
    eval_split: str = option("test", "of the held-out tasks", choices=("validation", "test"))
    seed: int = option(0, "decides everything that is drawn", least=0, most=10**30)
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"))
    dtype: str = option(
        "float32", "to compute in; weights stay float32", choices=("float32", "bfloat16")
    )
    checkpointing: str = option(
        "no", "if training computes layers twice, to save memory", choices=("no", "yes")
    )
    recipes: str = option("", "folder of Minecraft's recipe files, for textcraft")
    save_every: float = option(300.0, "seconds between checkpoints of a training", least=0)
    out: str = option("runs/tiny", "folder for all the run leaves: new, or its own to go on in")

    @property
    def worlds(self) -> list[str]:
        """The names of the worlds."""
        return self.env.split(",")

    @property
    def lessons(self) -> int:
        """Tasks of each kind of lesson; for a model that is brought, if a warm-up is asked for."""
        return self.warmup_tasks if self.warmup_steps or not self.model else 0

    def alphas(self) -> list[float]:
        """Return alpha of each iteration; raises `UserError` for what is no list of scores."""
        try:
            values = [float(part) for part in self.alpha.split(",")]
        except ValueError:
            problem = "must be numbers in [0, 1], separated by commas"
            raise UserError(f"--alpha {self.alpha}: {problem}") from None
        for value in values:
            command_line.check_number("alpha", value, 0, 1)
        if len(values) == 1:
            return values * self.iterations
        if len(values) < self.iterations:
            remedy = f"give one value, or one for each of {self.iterations} iterations"
            raise UserError(f"--alpha {self.alpha}: {remedy}")
        return values

    def critique_settings(self, iteration: int) -> CritiqueSettings:
        """Return the flags that belong to the critique; alpha may rise with the iterations.

        Iterations are counted from 1.  Direct-Revision, a baseline, asks no judge, and keeps the
        whole failure, then the thought, then the good steps: its critic is "end" and its splice
        "paper", whatever the flags say.
        """
        alpha = self.alphas()[iteration - 1]
        settings = CritiqueSettings(
            alpha, self.beta, self.pairs, idle=self.idle, rollouts=self.rollouts
        )
        if self.method == "direct-revision":
            return replace(settings, critic="end", splice="paper")
        return replace(settings, critic=self.critic, splice=self.splice, pairing=self.pairing)


def derive(config: Config, iteration: int, stage: str) -> random.Random:
    """Return a generator for (seed, iteration, stage) alone, so that no stage disturbs another."""
    return random.Random(f"{config.seed} {iteration} {stage}")


# What may be another when a run goes on.  Trees, weights and scores do not follow from it.
FREE = {"out", "iterations", "rollouts", "device", "save_every"}


def differing(config: Config, before: dict[str, Any]) -> list[str]:
    """Return the flags in which a configuration is another than `before`, that of a folder's run.

    Of alpha, the values of the iterations that both have count.
    """
    defaults = asdict(Config())
    flags = []
    for name, value in asdict(config).items():
        was = before.get(name, defaults[name])
        same = value == was or name in FREE
        if name == "alpha" and not same:
            same = same_alphas(config, was, before.get("iterations"))
        if not same:
            flags.append(command_line.flag(name))
    return flags


def same_alphas(config: Config, alpha: Any, iterations: Any) -> bool:
    """Whether alpha is the same in each iteration that a configuration and one before have."""
    try:
        alphas = replace(config, alpha=alpha, iterations=iterations).alphas()
    except (UserError, TypeError, AttributeError):  # nobody here has written that
        return False
    return all(map(operator.eq, config.alphas(), alphas[:iterations]))


def check(config: Config) -> None:
    """Raise `UserError` for a value that cannot be used, naming its flag."""
    command_line.check(config, MANY)
    if not config.out.strip() or "\0" in config.out:
        raise UserError("--out: an empty name, or one that no file can have; name a folder")
    config.alphas()
    check_worlds(config)
    general = config.general or config.lessons
    if config.model and (config.warmed or (config.method == "bc" and not general)):
        problem = "need the warm-up data of --tiny, or bc another: with --model, name a file with"
        remedy = "--general or ask for --warmup-steps, and name a warmed-up model with --model"
        raise UserError(f"--method bc and --warmed {problem} {remedy}")
    if config.model and config.eta != 1 and not general:
        remedy = "name a file with --general, or ask for --warmup-steps; else leave it at 1"
        raise UserError(f"--eta {config.eta}: there is no general data to learn beside; {remedy}")
    if not config.model and (config.general or config.thoughts != "auto"):
        problem = "are for a model named by --model; a tiny one knows its worlds' words alone"
        raise UserError(f"--general and --thoughts {problem}")
    if config.width % 32 and config.width not in (8, 16):
        remedy = "must be 8, 16 or a multiple of 32, the width of an attention head"
        raise UserError(f"--width {config.width}: {remedy}")


def check_worlds(config: Config) -> None:
    """Raise `UserError` for a world that is named twice, or counts too small for all of them."""
    names = config.worlds
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--env {config.env}: {name} is named twice; name each world once")
    for flag, count in (("--tasks", config.tasks), ("--warmup-tasks", config.warmup_tasks)):
        if count < len(names):
            remedy = f"it is for all {len(names)} worlds together, so at least {len(names)}"
            raise UserError(f"{flag} {count}: {remedy}")
