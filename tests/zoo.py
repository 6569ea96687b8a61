"""Families of models, made small and random, and whether each acts exactly: `python -m tests.zoo`.

It takes about a minute and writes the table of `docs/families.md`.  Every model is saved to a
folder, loaded from it as a user's would be, and speaks four turns in rows of different length that
are padded, forked and left.  It is exact if every reply is, token for token, what the model says to
the whole dialogue without a cache.  Windows and chunks are shorter than a turn.  Names of families,
given as arguments, try those alone and write nothing.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from agent_r import Actor
from engine import UserError, loading
from engine.dialogues import GREEDY
from engine.tiny import word_tokenizer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "families.md"
HEARD = ["kitchen: lamp, no cup.", "ok.", "no such door. you do not hold that.", "taken."]
TOKENIZER = word_tokenizer(" ".join(HEARD))

SHAPE = {
    "vocab_size": len(TOKENIZER),
    "num_hidden_layers": 4,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"head_dim": 8}
WINDOW = {"sliding_window": 7}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_group": 1,
    "topk_group": 1,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_expand": 2}
SLIDING = ["sliding_attention", "full_attention"] * 2


def rope(kind, **more):
    """The parameters of a rotary embedding."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


@dataclass(frozen=True)
class Family:
    """A family: the name it is known by, transformers' own, and how it is made small."""

    name: str
    kind: str
    change: dict = field(default_factory=dict)
    without: tuple = ()  # what of the shape it does not know

    def config(self):
        """The configuration of a small model."""
        shape = {key: value for key, value in SHAPE.items() if key not in self.without}
        return AutoConfig.for_model(self.kind, **{**shape, **self.change})


LLAMA_3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
LONG = rope("longrope", short_factor=[1.0] * 4, long_factor=[4.0] * 4)
LONG["original_max_position_embeddings"] = 256
GEMMA_3 = {
    "text_config": {**SHAPE, **HEADS, **WINDOW, "layer_types": SLIDING},
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
    "mm_tokens_per_image": 4,
    "image_token_index": 3,
    "boi_token_index": 3,
    "eoi_token_index": 3,
}
LINEAR = ["linear_attention", "full_attention"] * 2
HYBRID = {
    "layer_types": LINEAR,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

FAMILIES = [
    Family("Llama 2, SmolLM2, Falcon 3", "llama"),
    Family("Llama 3 to 3.3", "llama", LLAMA_3),
    Family(
        "Llama 4, text, without its tuned temperature",
        "llama4_text",
        {
            **EXPERTS,
            **HEADS,
            "attention_chunk_size": 9,
            "intermediate_size_mlp": 64,
            "attn_temperature_tuning": False,
            "no_rope_layers": [1, 1, 1, 0],
        },
    ),
    Family("SmolLM3", "smollm3", {**WINDOW, "use_sliding_window": True, "layer_types": SLIDING}),
    Family("Qwen 2 and 2.5", "qwen2"),
    Family(
        "Qwen 2 with a window",
        "qwen2",
        {
            **WINDOW,
            "use_sliding_window": True,
            "max_window_layers": 2,
        },
    ),
    Family("Qwen 2 MoE", "qwen2_moe", EXPERTS),
    Family("Qwen 3", "qwen3", HEADS),
    Family("Qwen 3 MoE", "qwen3_moe", {**EXPERTS, **HEADS}),
    Family("Mistral 0.1", "mistral", WINDOW),
    Family("Mistral 0.3, Nemo, Small", "mistral", {"sliding_window": None}),
    Family("Mixtral", "mixtral", {**EXPERTS, **WINDOW}),
    Family("Ministral", "ministral", {**WINDOW, **HEADS, "layer_types": SLIDING}),
    Family("Ministral 3", "ministral3", HEADS),
    Family("Gemma", "gemma", HEADS),
    Family("Gemma 2", "gemma2", {**HEADS, **WINDOW}),
    Family("Gemma 3, text", "gemma3_text", {**HEADS, **WINDOW, "layer_types": SLIDING}),
    Family("Gemma 3 with pictures", "gemma3", GEMMA_3, tuple(SHAPE)),
    Family(
        "Gemma 3n, text",
        "gemma3n_text",
        {
            **HEADS,
            **WINDOW,
            "layer_types": SLIDING,
            "num_kv_shared_layers": 0,
            "vocab_size_per_layer_input": len(TOKENIZER),
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    Family(
        "Gemma 3n, text, with shared keys",
        "gemma3n_text",
        {
            **HEADS,
            **WINDOW,
            "layer_types": SLIDING,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": len(TOKENIZER),
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    Family(
        "Gemma 4, text, with shared keys",
        "gemma4_text",
        {
            **HEADS,
            **WINDOW,
            "layer_types": SLIDING,
            "num_kv_shared_layers": 2,
            "global_head_dim": 8,
            "vocab_size_per_layer_input": len(TOKENIZER),
            "hidden_size_per_layer_input": 8,
        },
    ),
    Family("VaultGemma", "vaultgemma", {**HEADS, **WINDOW}),
    Family("Phi 1 and 2", "phi"),
    Family("Phi-3 and Phi-4", "phi3", WINDOW),
    Family("Phi-3 and Phi-4 mini, longrope", "phi3", LONG),
    Family("Phi-3.5 MoE", "phimoe", {**EXPERTS, **WINDOW}),
    Family("gpt-oss", "gpt_oss", {**EXPERTS, **HEADS, **WINDOW}),
    Family("OLMo", "olmo"),
    Family("OLMo 2", "olmo2"),
    Family("OLMo 3", "olmo3", {**WINDOW, "layer_types": SLIDING}),
    Family("OLMoE", "olmoe", EXPERTS),
    Family("Granite 3", "granite"),
    Family("Granite 3 MoE", "granitemoe", EXPERTS),
    Family(
        "Granite 4, attention only",
        "granitemoehybrid",
        {
            **EXPERTS,
            **MAMBA,
            "layer_types": ["attention"] * 4,
            "position_embedding_type": "rope",
        },
    ),
    Family("GLM-4 of 2024", "glm", HEADS),
    Family("GLM-4-0414", "glm4", HEADS),
    Family("GLM-4.5", "glm4_moe", {**EXPERTS, **HEADS}),
    Family("Command R", "cohere"),
    Family("Command R7B and A", "cohere2", {**WINDOW, "layer_types": SLIDING}),
    Family("Falcon, Falcon 2", "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    Family(
        "Falcon-RW, with alibi",
        "falcon",
        {
            "alibi": True,
            "new_decoder_architecture": False,
            "multi_query": False,
            "bias": True,
        },
    ),
    Family("StarCoder", "gpt_bigcode"),
    Family("StarCoder 2", "starcoder2", WINDOW),
    Family("StableLM", "stablelm"),
    Family("GPT-2", "gpt2"),
    Family("GPT-J", "gptj", {"rotary_dim": 4}),
    Family("CodeGen", "codegen", {"rotary_dim": 4}),
    Family("GPT-NeoX, Pythia", "gpt_neox"),
    Family("OPT", "opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    Family("BLOOM", "bloom"),
    Family("Exaone 4", "exaone4", {**WINDOW, "layer_types": SLIDING}),
    Family("Nemotron", "nemotron"),
    Family("DeepSeek-V2", "deepseek_v2", {**EXPERTS, **LATENT}),
    Family("DeepSeek-V3 and R1", "deepseek_v3", {**EXPERTS, **LATENT}),
    Family("MiniCPM3", "minicpm3", LATENT),
    Family("Apertus", "apertus"),
    Family("Arcee", "arcee"),
    Family("SEED-OSS", "seed_oss", HEADS),
    Family("ERNIE 4.5", "ernie4_5", HEADS),
    Family("Hunyuan", "hunyuan_v1_dense", HEADS),
    Family("MiniMax-M2", "minimax_m2", {**EXPERTS, **HEADS}),
    Family("dots.llm1", "dots1", {**EXPERTS, **HEADS, "n_shared_experts": 1}),
    Family(
        "MiMo-V2-Flash", "mimo_v2_flash", {**EXPERTS, **HEADS, **WINDOW, "layer_types": SLIDING}
    ),
    Family("nanochat", "nanochat"),
    Family("ModernBERT decoder", "modernbert-decoder", {"local_attention": 14}),
    Family("DiffLlama", "diffllama"),
    Family("XGLM", "xglm", {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 64}),
    Family(
        "Llama 4, text",
        "llama4_text",
        {
            **EXPERTS,
            **HEADS,
            "attention_chunk_size": 9,
            "intermediate_size_mlp": 64,
            "no_rope_layers": [1, 1, 1, 0],
        },
    ),
    Family("Mamba", "mamba", {"state_size": 8}),
    Family("Mamba 2", "mamba2", {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1}),
    Family("Falcon Mamba", "falcon_mamba", {"state_size": 8}),
    Family("RWKV", "rwkv", {"attention_hidden_size": 32}),
    Family("MPT", "mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, ("hidden_size",)),
    Family(
        "GPT-Neo",
        "gpt_neo",
        {
            "attention_types": [[["global", "local"], 2]],
            "num_layers": 4,
            "num_heads": 4,
            "window_size": 7,
        },
    ),
    Family("Jamba", "jamba", {**EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1}),
    Family("Bamba", "bamba", {**MAMBA, "attn_layer_indices": [1, 3]}),
    Family("Falcon H1", "falcon_h1", {**MAMBA, "mamba_d_ssm": 64}),
    Family(
        "Granite 4, hybrid",
        "granitemoehybrid",
        {
            **EXPERTS,
            **MAMBA,
            "layer_types": ["mamba", "attention"] * 2,
        },
    ),
    Family(
        "Nemotron-H",
        "nemotron_h",
        {
            "hybrid_override_pattern": "M*M*",
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 1,
            **HEADS,
        },
    ),
    Family("LFM2", "lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
    Family("Qwen3-Next", "qwen3_next", {**EXPERTS, **HEADS, **HYBRID}),
    Family("Qwen3.5, text", "qwen3_5_text", {**HEADS, **HYBRID}),
    Family("MiniMax-01", "minimax", {**EXPERTS, **HEADS, "layer_types": LINEAR}),
    Family(
        "RecurrentGemma",
        "recurrent_gemma",
        {
            "block_types": ["recurrent", "attention"],
            "attention_window_size": 7,
        },
    ),
    Family("DeepSeek-V3.2", "deepseek_v32", {**EXPERTS, **LATENT}),
    Family("GPT", "openai-gpt"),
    Family("BERT", "bert"),
    Family("RoBERTa", "roberta"),
]


def make(family, seed=0):
    """A small random model of a family, whose weights are wide enough to make it talk."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(family.config())
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.25)
    head = model.get_output_embeddings()
    if head is not None:
        head.weight.data[TOKENIZER.eos_token_id] *= 3.0  # turns of different length
    return model.eval()


@torch.inference_mode()
def speak_without_cache(actor, ids):
    """The ids of a greedy reply, the whole dialogue being read anew for every token."""
    said = []
    unspoken = [token for token in actor.format.template.unspoken if token < SHAPE["vocab_size"]]
    while len(said) < actor.max_new_tokens:
        history = torch.tensor([[*ids, *said]])
        logits = actor.model(input_ids=history, use_cache=False).logits[0, -1]
        logits[unspoken] = -torch.inf
        if logits.argmax() == actor.format.end:
            break
        said.append(int(logits.argmax()))
    return said


def differences(actor):
    """How many replies of four turns differ from those without a cache, and how many there were.

    Row 0 of the second turn goes on from row 2 of the first, and so on: some are forked, some left.
    """
    rng = random.Random(4)
    openings = [" ".join(rng.choices(HEARD, k=count)) for count in (1, 6, 3, 2)]
    histories = [actor.format.opening(opening) for opening in openings]
    dialogues = actor.start(histories)
    different = 0
    replies = []
    for rows in ([0, 1, 2, 3], [2, 0, 0, 3, 2], [4, 1, 0], [1, 2]):
        dialogues.select(rows)
        histories = [list(histories[row]) for row in rows]
        said_in_turn = dialogues.replies(GREEDY)
        for reply, history in zip(said_in_turn, histories, strict=True):
            said = speak_without_cache(actor, history)
            different += reply != actor.decode(said)
            history += said
        replies += said_in_turn
        assert dialogues.lengths() == [len(history) for history in histories]
        turns = [actor.format.turn(rng.choice(HEARD)) for _ in histories]
        for history, turn in zip(histories, turns, strict=True):
            history += turn
        dialogues.feed(turns)
    return different, {len(reply.split()) for reply in replies}


def load(family, seed=0):
    """The actor that a family's small model is when it was saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        loading.save(make(family, seed), TOKENIZER, Path(folder) / "model")
        return Actor.load(Path(folder) / "model", max_new_tokens=8)


def verdict(family):
    """`exact`, `wrong`, or `refused` and why, of a family's small models."""
    lengths = set()
    for seed in range(5):
        try:
            actor = load(family, seed)
        except UserError as error:
            told = str(error).partition(": ")[2].rpartition(";")[0]
            return "refused", told.partition(" ")[2]
        different, lengths_of_replies = differences(actor)
        if different:
            return "wrong", f"{different} replies"
        lengths |= lengths_of_replies
        if len(lengths) > 1:  # replies of one length test no padding
            return "exact", ""
    raise ValueError(f"{family.name}: all replies are equally long")


def row(family):
    """A family's line of the page's table."""
    word, reason = verdict(family)
    reason = re.sub(r" \(.*", "", reason)  # what transformers says of it
    return f"| {family.name} | `{family.kind}` | {word} | {reason} |"


def rows_of(page):
    """The lines of the page's table, each of a family."""
    return re.findall(r"^\| .* \| `.*` \| (?:exact|refused|wrong) \| .*\|$", page, re.MULTILINE)


def main(names):
    """Try the families of these names, or all of them and write the page's table."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    chosen = [family for family in FAMILIES if not names or {family.name, family.kind} & {*names}]
    rows = []
    for family in chosen:
        start = time.perf_counter()
        rows.append(row(family))
        print(f"{time.perf_counter() - start:5.2f} s {rows[-1]}", flush=True)
    if names:
        return
    if not PAGE.exists():
        return
    page = PAGE.read_text(encoding="utf-8")
    old = rows_of(page)
    PAGE.write_text(page.replace("\n".join(old), "\n".join(rows)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
