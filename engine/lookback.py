"""A tiny model that is born able to copy, for worlds in which much is looked up.

What a pretrained model can do and a small random one learns late or never is to find a name in the
prompt, among hundreds, and to say what stands beside it.  The circuits are known: induction heads
(Olsson et al. 2022), and output projections that undo the value projections (mimetic
initialisation, Trockman and Kolter 2023).  Here they are there from the start, and all but the
vectors of words are free to change: so what one name teaches holds for all.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

FREQUENCIES = 6  # of the rotary embedding, the fastest: those that tell a distance of a few tokens
SHARPNESS = 8.0  # of the first layer's attention to one distance
MATCH = 4.0  # how strongly the second layer attends to where its sketches agree
WRITE = 0.3  # how strongly the first layer writes a sketch beside the words
WORDS = 32**0.5  # how much the words outweigh what layers add to them


@torch.no_grad()
def look_back(model: LlamaForCausalLM, farthest: int) -> None:
    """Set the weights of a random model so that it copies, comparing at most `farthest` words back.

    Words fill the first half of the hidden state and outweigh what layers add.  Head d of the first
    layer writes a sketch of the word d back to a place of its own in the second half.  Head d of
    the second layer finds where the last word and the one d - 1 before it stood already, and sees
    what followed.  Later layers say what they look at.
    """
    first, *later = (layer.self_attn for layer in model.model.layers)
    width = model.config.hidden_size
    model.model.embed_tokens.weight.mul_(WORDS)
    model.model.embed_tokens.weight[:, width // 2 :] = 0
    distances = min(farthest, model.config.num_attention_heads)
    sketches = sketch_readers(width, distances, first.head_dim)
    write_sketches(first, sketches, model.model.rotary_emb.inv_freq)
    if later:
        compare_sketches(later[0], sketches)
    for attention in later:
        attention.o_proj.weight.copy_(attention.v_proj.weight.T)


def sketch_readers(width: int, distances: int, head_dim: int) -> torch.Tensor:
    """Return maps from the hidden state to sketches of words, [1 + distances, numbers, width].

    The first reads the sketch of the word itself off the half of the words, by a random projection;
    the one of index d reads the sketch of the word d back where the first layer wrote it.
    """
    half = width // 2
    numbers = min(half // distances, head_dim // 2)  # of a sketch; a head has room for two
    readers = torch.zeros(1 + distances, numbers, width)
    readers[0, :, :half] = torch.randn(numbers, half) / half**0.5
    places = torch.eye(distances * numbers).view(distances, numbers, -1)
    readers[1:, :, half : half + distances * numbers] = places
    return readers


def write_sketches(
    attention: LlamaAttention, sketches: torch.Tensor, frequencies: torch.Tensor
) -> None:
    """Let head d of the first layer look d words back and write that word's sketch to its place.

    Query and key are constant, so that what a head attends to is a matter of position alone: the
    rotary embedding turns the key by its distance, and the query is turned beforehand by d.
    """
    distances, numbers = len(sketches) - 1, sketches.shape[1]
    heads = attention.config.num_attention_heads
    steps = torch.arange(1, 1 + distances)[:, None]
    turns = steps * frequencies[:FREQUENCIES]  # [distances, frequencies], in radians
    query = attention.q_proj.bias.view(heads, 2, -1)[:distances, :, :FREQUENCIES]
    query[:] = SHARPNESS * torch.stack([turns.cos(), -turns.sin()], dim=1)
    key = attention.k_proj.bias.view(heads, 2, -1)[:distances, :, :FREQUENCIES]
    key[:, 0] = SHARPNESS
    value = attention.v_proj.weight.unflatten(0, (heads, -1))[:distances]
    value[:, :numbers] = sketches[0]
    output = attention.o_proj.weight.T.unflatten(0, (heads, -1))[:distances]
    output[:] = 0
    output[:, :numbers] = WRITE * sketches[1:]


def compare_sketches(attention: LlamaAttention, sketches: torch.Tensor) -> None:
    """Let head d of the second layer attend to where the last word and another stood before.

    A query holds the sketches of the last word and of the one d - 1 before it; a key those of the
    words one and d back, so that they agree just behind an earlier place of both.
    """
    distances, numbers = len(sketches) - 1, sketches.shape[1]
    heads = attention.config.num_attention_heads
    last_word = sketches[:1].expand(distances, -1, -1)
    query = attention.q_proj.weight.unflatten(0, (heads, -1))[:distances]
    query[:] = 0
    query[:, : 2 * numbers] = MATCH * torch.cat([last_word, sketches[:-1]], dim=1)
    word_before = sketches[1:2].expand(distances, -1, -1)
    key = attention.k_proj.weight.unflatten(0, (heads, -1))[:distances]
    key[:, : 2 * numbers] = MATCH * torch.cat([word_before, sketches[1:]], dim=1)
