"""Opening and keeping models: what `save_pretrained` leaves, the device, whole folders."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine import UserError, exactness
from engine.folder import naming, part_of, sync

REMEDY = "name one that holds a saved model"
WHOLE = "name one with its weights in 16 or 32 bits"
TRAINED = {torch.float32, torch.bfloat16, torch.float16}  # the last two once they are float32


def load(folder: str | Path, device: str) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a folder, never running code that comes with them.

    The weights are float32, whatever they were saved in.  Raises `UserError` for a folder that
    holds no causal language model, or one that lacks weights or cannot act exactly.
    """
    folder = Path(folder)
    check_folder(folder)
    only = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **only)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **only
        )
    except Exception as error:  # whatever a broken checkpoint makes the loader raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = "cannot be loaded as a causal language model"
        config = (folder / "config.json").read_text(encoding="utf-8", errors="replace")
        if re.search(r'"quantization_config":\s*{', config):
            problem = f"is quantized; {WHOLE} (it {problem}"
            reason += ")"
        raise UserError(f"{folder}: {problem}: {reason}") from error
    check_weights(folder, model, report["missing_keys"])
    check_tokens(folder, model, tokenizer)
    model = model.float().to(device).eval()
    fault = exactness.fault(model)
    if fault:
        remedy = "name a causal model that remembers a key and a value of every token, as Llama's"
        raise UserError(f"{folder}: {type(model).__name__} {fault}; {remedy}")
    return model, tokenizer


def check_folder(folder: Path) -> None:
    """Raise `UserError` for a path that is no folder with a model's configuration."""
    if folder.is_file():
        raise UserError(f"{folder}: is a file, not a folder; {REMEDY}")
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; {REMEDY}")
    if (folder / "adapter_config.json").is_file():
        remedy = "merge it into its model (merge_and_unload) and save that"
        raise UserError(f"{folder}: holds an adapter such as LoRA's, not a whole model; {remedy}")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: there is no config.json in it; {REMEDY}")


def check_weights(folder: Path, model: Any, missing: Collection[str]) -> None:
    """Raise `UserError` for a model that lacks weights, or whose weights are packed."""
    if missing:
        problem = f"lacks {len(missing)} of its weights, such as {min(missing)}"
        raise UserError(f"{folder}: {problem}; name one with its language model's head and all")
    if not {weight.dtype for weight in model.parameters()} <= TRAINED:
        raise UserError(f"{folder}: is quantized, and packed weights cannot be trained; {WHOLE}")
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            remedy = "name one that was saved before its training went astray"
            raise UserError(f"{folder}: {name} holds no finite numbers; {remedy}")


# Tokens that stand for what is no text; a model of text alone may lack them (Gemma 3's smallest).
NO_TEXT = re.compile("image|audio|video")


def check_tokens(folder: Path, model: Any, tokenizer: Any) -> None:
    """Raise `UserError` for a tokenizer with tokens that the embedding or the head has no row for.

    Special tokens that no text holds may lack theirs: those of pictures and sound, and those that
    are not the folder's, which a family's tokenizer adds to whatever it opens.
    """
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    rows = min(len(layer.weight) for layer in layers if layer is not None)
    own = own_added_tokens(folder)
    lacking = []
    for token, index in tokenizer.get_vocab().items():
        if index < rows:
            continue
        added = tokenizer.added_tokens_decoder.get(index)
        special = added is not None and added.special
        foreign = own is not None and token not in own
        if not (special and (foreign or NO_TEXT.search(token))):
            lacking.append((index, token))
    if lacking:
        index, token = min(lacking)
        problem = f"its embedding has {rows} rows, none for token {index} of its tokenizer, {token}"
        remedy = "use the tokenizer that it was saved with, or resize_token_embeddings"
        raise UserError(f"{folder}: {problem}; {remedy}")


def own_added_tokens(folder: Path) -> set[str] | None:
    """Return the tokens that a folder's own tokenizer has added; None if no file lists them."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    added = json.loads(path.read_text(encoding="utf-8")).get("added_tokens", [])
    return {token["content"] for token in added}


def context_length(config: Any) -> int:
    """Return how many tokens a model can read.

    Some families turn all positions otherwise as soon as one row grows long (Phi-3's longrope):
    what is remembered would not fit what is new, so that they end where that begins.
    """
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None) or 10**9
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [kind for kind in rope.values() if isinstance(kind, dict)] or [rope]
    for kind in kinds:  # one for all layers, or one for each kind of layer
        if kind.get("rope_type") in ("longrope", "dynamic"):
            length = min(length, kind.get("original_max_position_embeddings") or length)
    return length


WEIGHTS = re.compile(r"\.(safetensors|bin)(\.index\.json)?$")


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint beside its place and move it there once it is whole.

    It takes the place of one that stands there already; what else somebody put there stays.
    """
    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    with naming(folder), rust_errors(folder):
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_file() and not WEIGHTS.search(path.name) and not (part / path.name).exists():
                shutil.copy2(path, part)
        for path in (*part.iterdir(), part):
            sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    sync(folder.parent)


@contextlib.contextmanager
def rust_errors(path: Path) -> Iterator[None]:
    """While this lasts, a full disk is an `OSError` that names this path, whoever meets it.

    The writers of weights and of tokenizers have exceptions of their own.
    """
    try:
        yield
    except SafetensorError as error:
        raise OSError(None, str(error), str(path)) from error
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


@torch.no_grad()
def check_numbers(model: Any, what: str) -> None:
    """Raise `UserError`, which begins with `what`, for a model that no longer computes numbers."""
    problem = "holds weights that are not finite numbers"
    finite = all(bool(weight.isfinite().all()) for weight in model.parameters())
    if finite:
        problem = "computes what is no finite number"
        ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
        finite = bool(model(input_ids=ids).logits.isfinite().all())
    if not finite:
        raise UserError(f"{what} {problem}")


def pick_device(name: str) -> str:
    """Return the device to compute on; `auto` takes a GPU if there is one.

    Raises `UserError` for a device that this machine does not have.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return available[0]
    if name not in available:
        raise UserError(f"--device {name}: this machine has none; use --device cpu")
    return name
