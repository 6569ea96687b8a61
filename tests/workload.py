"""What a search reads and says, frozen, so that whoever reads less gains by it.

`tests/workloads.json` has, by name, the setting of a search and its forward passes as they were
before acting was made faster (commit 3a661bc).  A tree's opening was read once there, a path anew
in each simulation.  Of a pass only the rows that read or say something count, and only tokens, no
padding: the number of rows, and on their mean the tokens that are new and those that stand before
them.  Passes that are alike are counted: [rows, new tokens, tokens before, passes].  Rows are
rounded to two digits and tokens before to a multiple of 16, so that the file stays small.

It was recorded by `python -m tests.workload lab`, then `craft`, and for SmolLM2, a checkpoint made
by the command that stands at `REAL`, by `python -m tests.workload smollm2 FOLDER`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import torch
from transformers.cache_utils import Cache, DynamicLayer

FILE = Path(__file__).with_name("workloads.json")

REAL = """python train.py --model models/smollm2 --env textcraft
    --batch-size 2048 --micro-batch 2048 --warmup-lr 2e-4 --warmup-tasks 400 --judge-share 0.375
    --max-new-tokens 120 --judge-tokens 12
    --eval-tasks 1 --dtype bfloat16 --eta 1 --warmup-steps 20 --iterations 0 --out runs/warm"""


class Record:
    """While it is entered, records the forward passes of a model."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.passes = Counter()
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
        self.passes[alike(rows, tokens, before)] += 1


def alike(rows, tokens, before):
    """Return what stands for a pass: rows with two digits, tokens before it by sixteens."""
    return int(float(f"{rows:.1e}")), tokens, round(before / 16) * 16


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

    def __init__(self, model, passes):
        self.model = model
        self.passes = passes
        config = model.config
        self.heads = config.num_key_value_heads
        self.width = getattr(config, "head_dim", None)
        self.width = self.width or config.hidden_size // config.num_attention_heads
        largest = max(rows * (before + new) for rows, new, before, _ in passes)
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
        for rows, new, before, count in self.passes:
            ids = torch.full((rows, new), 7)
            for layer in self.cache.layers:
                layer.open(rows, self.heads, before + new, self.width)
            for _ in range(count):
                for layer in self.cache.layers:
                    layer.stand(before)
                output = self.model(input_ids=ids, past_key_values=self.cache, logits_to_keep=1)
                output.logits[:, -1].argmax(-1)


def load(name):
    """Return a frozen workload: its setting, `read` and `said` of all its passes, and `passes`."""
    return json.loads(FILE.read_text(encoding="utf-8"))[name]


def freeze(name, setting, record):
    """Write what was recorded into the file of workloads, beside the others."""
    workloads = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    passes = [[*key, count] for key, count in sorted(record.passes.items(), reverse=True)]
    workloads[name] = {**setting, "read": record.read, "said": record.said, "passes": passes}
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
