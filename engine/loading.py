"""Opening and keeping models: what `save_pretrained` leaves, the device, whole folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine import UserError


def load(folder: str | Path, device: str, dtype: str) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a folder, never running code that comes with them.

    Raises `UserError` for a folder that holds no causal language model.
    """
    if not (Path(folder) / "config.json").is_file():
        problem = "there is no such folder, or no config.json"
        raise UserError(f"{folder}: {problem}; name one that holds a saved model")
    only = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **only)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **only)
    except Exception as error:  # whatever a broken checkpoint makes the loader raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = "cannot be loaded as a causal language model"
        raise UserError(f"{folder}: {problem}: {reason}") from error
    return model.to(device).eval(), tokenizer


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint beside its place and move it there once it is whole.

    It takes the place of one that stands there already.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    except SafetensorError as error:  # how its writer tells of a full disk
        raise OSError(None, str(error), str(folder)) from error
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


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
