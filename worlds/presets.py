"""What `--tiny` and `--model` stand for, and what differs in other worlds than lab: flags' values.

`several` stands for more than one world at a time and is a first guess.  TextCraft is searched at a
lower temperature, since drawn at 1 its long thoughts go astray even in episodes that succeed.  Of
ScienceWorld few tasks are demonstrated, so that the search is of tasks whose way was not shown.
Craft's warm-up is slow and long, since after a hurried one some seeds guess amounts for good.
"""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {
    "tasks": 700,
    "simulations": 6,
    "pairs": 8,
    "alpha": "1.0",
    "eta": 0.8,
    "optimizer": "muon",
    "steps": 800,
    "batch_size": 2048,
    "micro_batch": 2048,
    "lr": 2e-3,
    "dpo_lr": 1e-5,
    "warmup_lr": 2e-3,
    "judge_share": 0.6,
    "warmup_steps": 900,
    "warmup_tasks": 6000,
    "rollouts": 1024,
    "max_new_tokens": 24,
    "judge_tokens": 8,
}

# A model that is brought is not warmed up, and learns from the agent alone; as in the paper, 0.2 is
# the agent's share where there is general data.
BROUGHT: dict[str, Any] = {"warmup_steps": 0, "eta": 1.0}
WITH_GENERAL_DATA: dict[str, Any] = {"eta": 0.2, "warmup_lr": 2e-5}

PRESETS: dict[str, dict[str, Any]] = {
    "shop": {"warmup_steps": 750, "warmup_tasks": 6000, "judge_share": 0.4, "eta": 0.9},
    "craft": {
        "warmup_lr": 1e-3,
        "warmup_steps": 4000,
        "warmup_tasks": 12000,
        "judge_share": 0.15,
        "steps": 1000,
        "eta": 0.7,
    },
    "several": {
        "layers": 3,
        "tasks": 2400,
        "steps": 2700,
        "eta": 0.9,
        "judge_share": 0.25,
        "warmup_steps": 2750,
        "warmup_tasks": 24000,
    },
    "textcraft": {
        "width": 128,
        "layers": 3,
        "lookback": 4,
        "max_new_tokens": 120,
        "tasks": 400,
        "temperature": 0.7,
        "optimizer": "adamw",
        "steps": 600,
        "batch_size": 2048,
        "micro_batch": 2048,
        "lr": 5e-4,
        "eta": 0.5,
        "rollouts": 64,
        "judge_share": 0.2,
        "warmup_lr": 2e-3,
        "warmup_steps": 8000,
        "warmup_tasks": 20000,
    },
    "scienceworld": {
        "width": 128,
        "layers": 3,
        "tasks": 200,
        "simulations": 6,
        "alpha": "0.5,0.7,1.0",
        "eta": 0.5,
        "optimizer": "adamw",
        "lr": 1.5e-3,
        "warmup_lr": 1.5e-3,
        "batch_size": 4096,
        "micro_batch": 4096,
        "steps": 300,
        "rollouts": 50,
        "judge_share": 0.25,
        "warmup_steps": 800,
        "warmup_tasks": 150,
    },
}
