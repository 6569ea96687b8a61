"""What a search reads and says, frozen, so that whoever reads less gains by it.

`tests/workloads.json` has, by name, the setting of a search and its forward passes as they were
before acting was made faster (commit 3a661bc).  A tree's opening was read once there, a path anew
in each simulation.  Of a pass only the rows that read or say something count, and only tokens, no
padding: the number of rows, and on their mean the tokens that are new and those that stand before
them.  Passes that are alike are counted: [rows, new tokens, tokens before, passes].  Rows are
rounded to two digits and tokens before to a multiple of 16, so that the file stays small.

The code that recorded it stands in that commit's follower, d453c18.  The actors of lab and craft,
warmed up there, are kept in `tests/actors` (weights in float16), since another one says more, or
less; that of SmolLM2 is made by the command that stands at `REAL`.  Its workload is not in the
file: with `DEPTH = 3`, our `REAL_DEPTH`, in tests/bench.py of d453c18 the command
`python -m tests.workload smollm2 FOLDER` adds it to the file there, which is copied here.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers.cache_utils import Cache, DynamicLayer

FILE = Path(__file__).with_name("workloads.json")

REAL = """python train.py --model models/smollm2 --env textcraft
    --batch-size 2048 --micro-batch 2048 --warmup-lr 2e-4 --warmup-tasks 400 --judge-share 0.375
    --max-new-tokens 120 --judge-tokens 12
    --eval-tasks 1 --dtype bfloat16 --eta 1 --warmup-steps 20 --iterations 0 --out runs/warm"""


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


def has(name):
    """Whether a workload has been frozen."""
    return name in json.loads(FILE.read_text(encoding="utf-8"))


def load(name):
    """Return a frozen workload: its setting, `read` and `said` of all its passes, and `passes`."""
    return json.loads(FILE.read_text(encoding="utf-8"))[name]
