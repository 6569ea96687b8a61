"""A small chat model that was never here, as somebody might bring it, and runs of it."""

import shlex

import torch
from doubles import read_lines
from families import BYTES, SHAPE
from transformers import LlamaConfig, LlamaForCausalLM

import train
from envs import Lab


class ShortLab(Lab):
    """The lab with so few steps that a model which only babbles is soon through.

    Its tasks are some of the lab's that can be done in so few.
    """

    step_limit = 3

    def tasks(self, split):
        short = []
        for task in super().tasks(split)[:500]:
            self.reset(options={"task": task})
            if len(self.expert()) <= self.step_limit:
                short.append(task)
        return short


# alpha 0 and idle steps learned: whatever a random model babbles is something to train on.
QUICK = shlex.split(
    "--env brought:ShortLab --iterations 1 --tasks 2 --simulations 2 --branch 2 --alpha 0 "
    "--steps 2 --eval-tasks 2 --batch-size 1024 --micro-batch 1024 --lr 0.001 --device cpu "
    "--idle learned --max-new-tokens 8 --judge-tokens 8 --warmup-tasks 6"
)


def stranger(folder, positions=2048):
    """Save a small random model with an ordinary tokenizer; return its folder."""
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE | {"max_position_embeddings": positions})
    LlamaForCausalLM(config).save_pretrained(folder)
    BYTES.save_pretrained(folder)
    return folder


class Run:
    """A finished run with `--model`: its rows, and the files of its iterations."""

    def __init__(self, out, model, *arguments):
        self.out = out
        arguments = [*QUICK, "--model", str(model), *map(str, arguments), "--out", str(out)]
        assert train.main(arguments) == 0
        self.rows = read_lines(out / "results.jsonl")

    def model(self, iteration):
        return self.out / f"iteration-{iteration}" / "model"

    def weights(self, iteration):
        return (self.model(iteration) / "model.safetensors").read_bytes()

    def data(self, iteration):
        return read_lines(self.out / f"iteration-{iteration}" / "data.jsonl")

    def first_turns(self, iteration):
        return [record["messages"][0]["content"] for record in self.data(iteration)]
