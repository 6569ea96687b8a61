"""What a search reads and says, frozen: the forward passes of one commit, against which all others
are measured, so that whoever reads less gains by it.

`tests/workloads.json` has, by name, the setting of a search and its passes as they were before
acting was made faster (commit 3a661bc).  A tree's opening was read once there, a path anew in each
simulation.  Of a pass only the rows that read or say something count, and only tokens, no padding:
the number of rows, and on their mean the tokens that are new and those that stand before them.
Passes of the same rows in which one token is said behind the other are one run:
[rows, new tokens, tokens before, passes].

It was recorded by `python -m tests.workload lab`, then `craft`, and for SmolLM2, a checkpoint made
by the command that stands at `REAL`, by `python -m tests.workload smollm2 FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers.cache_utils import Cache, DynamicLayer

FILE = Path(__file__).with_name("workloads.json")

REAL = """python train.py --model models/smollm2 --env textcraft --batch-size 2048 --micro-batch 2048
    --warmup-lr 2e-4 --warmup-tasks 400 --judge-share 0.375 --max-new-tokens 120 --judge-tokens 12
    --eval-tasks 1 --dtype bfloat16 --eta 1 --warmup-steps 20 --iterations 0 --out runs/warm"""


class Record:
    """While it is entered, records the forward passes of a model."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.runs = []
        self.read = 0  # tokens, those that were said included, as they are read as well
        self.said = 0
        self.hook = self.model.register_forward_pre_hook(self.watch, with_kwargs=True)
        return self

    def __exit__(self, *_):
        self.hook.remove()

    def watch(self, _, arguments, named):
        mask = named["attention_mask"]
        width = named["input_ids"].shape[1]
        new = mask[:, -width:].sum(1)
        live = new > 0
        rows = int(live.sum())
        if not rows:
            return
        self.read += int(new.sum())
        self.said += rows if width == 1 else 0
        tokens = max(1, round(new[live].float().mean().item()))
        before = round(mask[live].sum(1).float().mean().item() - new[live].float().mean().item())
        if self.runs:
            last = self.runs[-1]
            goes_on = abs(before - last[2] - last[3]) <= 1
            if last[:2] == [rows, tokens] == [rows, 1] and goes_on:
                last[3] += 1
                return
        self.runs.append([rows, tokens, before, 1])


class Room(DynamicLayer):
    """A layer of a cache in a place that is there already, so that nothing is ever copied."""

    def __init__(self, place):
        super().__init__()
        self.place = place  # numbers, as many as the largest run needs, of keys and of values

    def open(self, rows, heads, length, width):
        """Make room for so many tokens; what stands there is whatever stood there."""
        count = rows * heads * length * width
        self.room = [part[:count].view(rows, heads, length, width) for part in self.place]
        self.is_initialized = True
        self.dtype, self.device = self.room[0].dtype, self.room[0].device

    def stand(self, length):
        """Forget what is behind so many tokens."""
        self.keys, self.values = (part[:, :, :length] for part in self.room)

    def update(self, key_states, value_states, *args, **kwargs):
        start = self.keys.shape[2]
        end = start + key_states.shape[2]
        self.room[0][:, :, start:end] = key_states
        self.room[1][:, :, start:end] = value_states
        self.stand(end)
        return self.keys, self.values


class BareModel:
    """Forward passes and nothing else: rows all alike, no padding, no mask, no copy of a cache."""

    def __init__(self, model, runs):
        self.model = model
        self.runs = runs
        config = model.config
        self.heads = config.num_key_value_heads
        self.width = getattr(config, "head_dim", None)
        self.width = self.width or config.hidden_size // config.num_attention_heads
        largest = max(rows * (before + new * passes) for rows, new, before, passes in runs)
        size = largest * self.heads * self.width
        generator = torch.Generator().manual_seed(0)
        layers = []
        for _ in range(config.num_hidden_layers):
            place = torch.randn(2, size, generator=generator).to(next(model.parameters()).dtype)
            layers.append(Room(place))
        self.cache = Cache(layers=layers)

    @torch.inference_mode()
    def work(self):
        """Run all passes once."""
        for rows, new, before, passes in self.runs:
            length = before + new * passes
            for layer in self.cache.layers:
                layer.open(rows, self.heads, length, self.width)
                layer.stand(before)
            ids = torch.full((rows, new), 7)
            for _ in range(passes):
                output = self.model(input_ids=ids, past_key_values=self.cache, logits_to_keep=1)
                output.logits[:, -1].argmax(-1)


def load(name):
    """Return a frozen workload: its setting, `read` and `said` of all its passes, and `runs`."""
    return json.loads(FILE.read_text(encoding="utf-8"))[name]


def freeze(name, setting, record):
    """Write what was recorded into the file of workloads, a run beside the other."""
    workloads = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    workloads[name] = {**setting, "read": record.read, "said": record.said, "runs": record.runs}
    lines = []
    for key, workload in workloads.items():
        lines.append(f"{json.dumps(key)}: {json.dumps(workload, separators=(',', ':'))}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    from tests import bench

    torch.set_num_threads(1)
    name = sys.argv[1]
    task = bench.searched(name, *sys.argv[2:])
    with Record(task.speaking) as record:
        trees = task.search()
    freeze(name, {**task.setting, "simulations_made": bench.visits(trees)}, record)
