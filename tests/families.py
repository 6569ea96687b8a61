"""Small random actors of several families of models, two tokenizers, and a dialogue for them."""

import torch
from doubles import tiny_actor
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from agent_r import Actor
from envs import Lab

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
START, END = "<|im_start|>", "<|im_end|>"

DIALOGUE = [
    {"role": "user", "content": "the cup is downstairs.\nhall: nothing, no cup."},
    {"role": "assistant", "content": "Action: go kitchen", "loss": False},
    {"role": "user", "content": "kitchen: lamp, no cup."},
    {"role": "assistant", "content": "Thought: that was wrong.\nAction: revise", "loss": True},
    {"role": "user", "content": "ok."},
    {"role": "assistant", "content": "Action: go garden", "loss": True},
]


def byte_tokenizer():
    """A byte-level tokenizer trained on the lab's texts, with the template of the Qwen family."""
    texts = [Lab.words, "user assistant Thought: Action: go put take\n"] * 4
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, 320, show_progress=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer)
    fast.add_special_tokens({"eos_token": END, "additional_special_tokens": [START]})
    fast.chat_template = CHATML
    return fast


BYTES = byte_tokenizer()
WORDS = tiny_actor().tokenizer

SHAPE = {
    "vocab_size": len(BYTES),
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
}
GPT2_SHAPE = {
    "vocab_size": len(BYTES),
    "n_layer": 2,
    "n_embd": 32,
    "n_head": 4,
    "n_positions": 512,
    "initializer_range": 0.25,
}
FAMILIES = ["tiny", "llama", "qwen2", "gpt2"]


def family(name, seed=0, max_new_tokens=None):
    """A small random actor in the shape of a family; its end-of-turn token is made likely."""
    torch.manual_seed(seed)
    if name == "tiny":
        actor = tiny_actor(seed, max_new_tokens or 24)
    elif name == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SHAPE))
        actor = Actor(model, BYTES, max_new_tokens or 12)
    elif name == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=False))
        actor = Actor(model, BYTES, max_new_tokens or 12)
    else:
        model = GPT2LMHeadModel(GPT2Config(**GPT2_SHAPE))
        actor = Actor(model, BYTES, max_new_tokens or 12)
    actor.model.eval()
    actor.model.get_output_embeddings().weight.data[actor.format.end] *= 3.0
    return actor
