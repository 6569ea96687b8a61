"""Which flags have an effect in which runs: what was given for nothing is told at the start."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from engine.command_line import flag
from settings.config import Config


@dataclass(frozen=True)
class Plan:
    """What a run will do, by its configuration and by whether its model was taught here before."""

    config: Config
    taught: bool = False

    @property
    def warms_up(self) -> bool:
        """Whether there is a warm-up."""
        config = self.config
        return config.warmup_steps > 0 and not config.warmed and not self.taught

    @property
    def imitates(self) -> bool:
        """Whether an iteration trains on a mix of examples; eto trains on pairs."""
        return self.config.iterations > 0 and self.config.method != "eto"

    @property
    def searches(self) -> bool:
        """Whether an iteration searches."""
        return self.config.iterations > 0 and self.config.method != "bc"

    def is_of(self, *methods: str) -> bool:
        """Whether an iteration is carried out by one of these methods."""
        return self.config.iterations > 0 and self.config.method in methods

    @property
    def prefers_found_ones(self) -> bool:
        """Whether eto prefers good trajectories of the search, not the expert's."""
        return self.is_of("eto") and self.config.winners == "search"

    @property
    def uses_general_data(self) -> bool:
        """Whether anything is learned from general data."""
        beside = self.imitates and (self.config.method == "bc" or self.config.eta < 1)
        return self.warms_up or beside

    @property
    def has_lessons(self) -> bool:
        """Whether lessons are among the general data that is learned from."""
        return self.config.lessons > 0 and self.uses_general_data


# A flag that stands in neither list would be forgotten, which a test looks after.
ALWAYS = (
    "env",
    "model",
    "warmed",
    "method",
    "iterations",
    "max_new_tokens",
    "judge_tokens",
    "rollouts",
    "eval_tasks",
    "eval_split",
    "seed",
    "device",
    "dtype",
    "checkpointing",
    "save_every",
    "out",
)

REVISING = ("agent-r", "direct-revision")
LEARNING = (*REVISING, "optimal")  # from trajectories
IN_SOME_RUNS = {
    "general": lambda plan: plan.uses_general_data,
    "thoughts": lambda plan: bool(plan.config.model),
    "critic": lambda plan: plan.is_of("agent-r"),
    "splice": lambda plan: plan.is_of("agent-r"),
    "pairing": lambda plan: plan.is_of("agent-r"),
    "idle": lambda plan: plan.is_of(*LEARNING) or plan.prefers_found_ones,
    "revision_share": lambda plan: plan.is_of(*REVISING) and plan.config.eta > 0,
    "tasks": lambda plan: plan.searches,
    "simulations": lambda plan: plan.searches,
    "branch": lambda plan: plan.searches,
    "max_depth": lambda plan: plan.searches,
    "c_uct": lambda plan: plan.searches,
    "temperature": lambda plan: plan.searches,
    "alpha": lambda plan: plan.searches,
    "beta": lambda plan: plan.is_of(*REVISING, "eto"),
    "pairs": lambda plan: plan.searches,
    "eta": lambda plan: plan.is_of(*LEARNING),
    "dpo_beta": lambda plan: plan.is_of("eto"),
    "dpo_lr": lambda plan: plan.is_of("eto"),
    "dpo_pairs": lambda plan: plan.is_of("eto"),
    "dpo_epochs": lambda plan: plan.is_of("eto"),
    "winners": lambda plan: plan.is_of("eto"),
    "steps": lambda plan: plan.imitates,
    "lr": lambda plan: plan.imitates,
    "batch_size": lambda plan: plan.imitates or plan.warms_up,
    "micro_batch": lambda plan: plan.imitates or plan.warms_up,
    "optimizer": lambda plan: plan.imitates or plan.warms_up,
    "warmup_lr": lambda plan: plan.warms_up,
    "warmup_steps": lambda plan: not plan.config.warmed and not plan.taught,
    "warmup_tasks": lambda plan: plan.has_lessons,
    "judge_share": lambda plan: plan.has_lessons,
    "width": lambda plan: not plan.config.model,
    "layers": lambda plan: not plan.config.model,
    "lookback": lambda plan: not plan.config.model,
    "recipes": lambda plan: "textcraft" in plan.config.worlds,
}


def without_effect(plan: Plan, given: Collection[str]) -> list[str]:
    """Return those of the flags given that change nothing in this run."""
    flags = []
    for name, has_effect in IN_SOME_RUNS.items():
        if name in given and not has_effect(plan):
            flags.append(flag(name))
    return flags
