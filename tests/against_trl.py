"""Training beside TRL's SFTTrainer: `python -m tests.against_trl`.

TRL stands in an environment of its own, which sees the packages of this one (README's, .venv):

    python -m venv trl-env
    .venv/bin/python -c "import site; print(site.getsitepackages()[0])" \\
        > trl-env/lib/python3.11/site-packages/beside.pth
    trl-env/bin/pip install trl==1.16.0     # torch and transformers are there already
    trl-env/bin/python -m tests.against_trl

Both train the tiny model of `train.py --tiny` on lab's warm-up data, on one thread, in float32,
about as many tokens a batch; TRL in what was its best setting on a CPU: batches of like length,
fused AdamW, nothing logged or saved.  Its examples are encoded beforehand, as ours are.
"""

from __future__ import annotations

import importlib.util
import json
import random
import statistics
import tempfile
import time

import torch

MISSING = "TRL is not installed here: see the first lines of tests/against_trl.py"


def is_here():
    """Whether TRL can be imported."""
    return importlib.util.find_spec("trl") is not None


def trainer(actor, records, rows=4, steps=1, **settings):
    """Return an SFTTrainer on dialogues, or on examples that are encoded already."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    dialogues = isinstance(records[0], dict)
    if not dialogues:
        records = [{"input_ids": each.ids, "labels": each.labels} for each in records]
        settings["dataset_kwargs"] = {"skip_prepare_dataset": True}
    options = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": rows,
        "max_steps": steps,
        "learning_rate": 1e-6,
        "optim": "adamw_torch_fused",
        "train_sampling_strategy": "group_by_length",
        "gradient_checkpointing": False,
        "assistant_only_loss": dialogues,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "max_length": None,
        **settings,
    }
    return SFTTrainer(
        actor.model,
        SFTConfig(**options),
        train_dataset=Dataset.from_list(records),
        processing_class=actor.tokenizer,
    )


def labels_of(actor, records):
    """Return the ids and labels that SFTTrainer makes of the lines of a data.jsonl."""
    kept = [{"messages": record["messages"]} for record in records]
    prepared = trainer(actor, kept).train_dataset
    return [(row["input_ids"], row["labels"]) for row in prepared]


def differing_loss(actor, examples, imitation):
    """Return how far the loss of one batch is from ours, as a share of it."""
    theirs = trainer(actor, examples, rows=len(examples))
    batch = next(iter(theirs.get_train_dataloader()))
    actor.model.train()
    with torch.no_grad():
        loss = theirs.compute_loss(actor.model, dict(batch)).item()
        ours, learned = imitation(actor, examples)
    actor.model.eval()
    return abs(loss / (ours.item() / learned) - 1)


def tokens_a_second(actor, examples, size, steps):
    """Return what SFTTrainer trains a second, of batches of about `size` tokens."""
    rows = round(size / statistics.mean(example.length for example in examples))
    training = trainer(actor, examples, rows=rows, steps=steps)
    collate = training.data_collator
    tokens = 0

    def counted(batch):
        nonlocal tokens
        tokens += sum(len(row["input_ids"]) for row in batch)
        return collate(batch)

    training.data_collator = counted
    start = time.process_time()
    training.train()
    seconds = time.process_time() - start
    actor.model.eval()
    return tokens / seconds


def main():
    from tests import bench

    if not is_here():
        print(json.dumps({"what": "training_vs_trl", "skipped": MISSING}))
        return
    torch.set_num_threads(1)
    bench.training_vs_trl(random.Random(0))


if __name__ == "__main__":
    main()
