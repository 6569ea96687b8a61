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
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from engine import UserError, exactness, processes
from engine.folder import naming, part_of, sync

REMEDY = "name one that holds a saved model"
WHOLE = "name one with its weights in 16 or 32 bits"
# What transformers would leave in a tokenizer's files, though it says nothing of the tokenizer.
HOW_IT_WAS_LOADED = ("is_local", "local_files_only")
TRAINED = {torch.float32, torch.bfloat16, torch.float16}  # the last two once they are float32


def load(folder: str | Path, device: str) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a folder, never running code that comes with them.

    The weights are float32, whatever they were saved in.  Raises `UserError` for a folder that
    holds no causal language model, or one that lacks weights or cannot act exactly.
    """
    folder = Path(folder)
    check_folder(folder)
    only = {"local_files_only": True, "trust_remote_code": False}
    told = logging.get_verbosity()
    logging.set_verbosity_error()  # what is wrong is told below, in a sentence
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **only)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are refused below, by their names
            **only,
        )
    except Exception as error:  # whatever a broken checkpoint makes the loader raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = "cannot be loaded as a causal language model"
        config = (folder / "config.json").read_text(encoding="utf-8", errors="replace")
        if re.search(r'"quantization_config":\s*{', config):
            problem = f"is quantized; {WHOLE} (it {problem}"
            reason += ")"
        raise UserError(f"{folder}: {problem}: {reason}") from error
    finally:
        logging.set_verbosity(told)
    for name in HOW_IT_WAS_LOADED:
        tokenizer.init_kwargs.pop(name, None)
    check_weights(folder, model, report["missing_keys"])
    check_report(folder, report)
    check_numbers(folder, model)
    check_fields(folder, model, tokenizer)
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
    if (folder / "run.json").is_file():
        problem = "is a run's folder, not a model's"
        raise UserError(f"{folder}: {problem}; name a model in it, such as iteration-0/model")
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


# What the files of a whole language model may hold beside its weights: what is computed anew today,
# and the parts for pictures and sound of larger sisters.  Families name more of it themselves.
NOT_LEARNED = re.compile(
    r"inv_freq|rotary|position_ids|masked_bias|attn\.bias$|vision|visual|image|audio|video|projector"
)


def check_report(folder: Path, report: dict[str, Any]) -> None:
    """Raise `UserError` for weights that the loader did not use: of no layer, or of other sizes."""
    for name, *shapes in report.get("mismatched_keys", ()):
        found, needed = (tuple(shape) for shape in shapes)
        problem = "cannot be loaded as a causal language model"
        problem += f": {name} has the shape {found} in its files, and {needed} by its config.json"
        raise UserError(f"{folder}: {problem}; name one whose files belong together")
    unused = [name for name in report.get("unexpected_keys", ()) if not NOT_LEARNED.search(name)]
    if unused:
        problem = f"holds {len(unused)} weights that its config.json has no place for, such as"
        remedy = "name one whose files belong together"
        raise UserError(f"{folder}: {problem} {min(unused)}; {remedy}")


def check_numbers(folder: Path, model: Any) -> None:
    """Raise `UserError` for weights that were saved as whole numbers, or are not finite."""
    for path in files_of_weights(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no mapping
                kind = file.get_slice(name).get_dtype()
                if not kind.startswith(("F16", "F32", "F64", "BF16")) and not NOT_LEARNED.search(
                    name
                ):
                    problem = f"its weight {name} is saved as {kind}, as of a packed model"
                    raise UserError(f"{folder}: {problem}; {WHOLE}")
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            problem = f"its weight {name} holds what are no finite numbers"
            remedy = "name one that was saved before its training went astray"
            raise UserError(f"{folder}: {problem}; {remedy}")


def files_of_weights(folder: Path) -> list[Path]:
    """Return the safetensors files that a model was loaded from; others may lie beside them."""
    whole = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        return []
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(names))]


def check_fields(folder: Path, model: Any, tokenizer: Any) -> None:
    """Raise `UserError` for fields that nobody looks at before the model is trained or reads."""
    for name, value in model.config.get_text_config().to_dict().items():
        share = isinstance(value, int | float) and ("dropout" in name or "pdrop" in name)
        if share and not 0 <= value <= 1:
            problem = f"its config.json has {name} {value}, and a share is at least 0 and at most 1"
            raise UserError(f"{folder}: {problem}; mend it")
    if not isinstance(tokenizer.model_max_length, int | float):
        problem = f"model_max_length is {tokenizer.model_max_length!r}, which is no number"
        raise UserError(f"{folder}: in its tokenizer_config.json {problem}; mend it")


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
    what is remembered would not fit what is new, so that they end where that begins.  Raises
    `UserError` for a length that is none.
    """
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None)
    length = 10**9 if length is None else length
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [kind for kind in rope.values() if isinstance(kind, dict)] or [rope]
    if length < 1:
        raise UserError(f"the model's config.json has a context of {length} tokens; mend it")
    for kind in kinds:  # one for all layers, or one for each kind of layer
        if kind.get("rope_type") in ("longrope", "dynamic"):
            length = min(length, kind.get("original_max_position_embeddings") or length)
    return length


WEIGHTS = re.compile(r"\.(safetensors|bin)(\.index\.json)?$")


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint beside its place and move it there once it is whole.

    It takes the place of one that stands there already; what else somebody put there stays.  Of
    several processes the first one writes.
    """
    if not processes.is_first():
        return
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
def check_still_sound(model: Any, what: str) -> None:
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
    if torch.backends.mps.is_available() and processes.count() == 1:
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return available[0]
    if name not in available:
        raise UserError(f"--device {name}: this machine has none; use --device cpu")
    return name
