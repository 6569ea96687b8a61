"""A tiny model born able to copy what it has read, for `--lookback` and worlds like textcraft, where much is looked up.

What a pretrained model can do and a small random one learns late or never is to find a name in the prompt, among
hundreds, and to say what stands beside it.  The circuits are known: induction heads (Olsson et al. 2022), and output
projections that undo the value projections (mimetic initialisation, Trockman and Kolter 2023).  Here they are there
from the start, and all but the vectors of words are free to change: so what one name teaches holds for all.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM


@torch.no_grad()
def look_back(model: LlamaForCausalLM, farthest: int) -> None:
    """Set the weights of a random model so that it copies; `farthest` is how many words back it compares at most.

    Words fill the first half of the hidden state and outweigh what layers add.  Head d of the first layer writes a
    sketch of the word d back to a place of its own in the second half.  Head d of the second finds where the last word
    and the one d - 1 before it stood already, and sees what followed.  Later layers say what they look at.
    """
    first, *later = (layer.self_attn for layer in model.model.layers)
    half, heads = model.config.hidden_size // 2, model.config.num_attention_heads
    model.model.embed_tokens.weight.mul_(32**0.5)[:, half:] = 0
    far = min(farthest, heads)
    room = min(half // far, first.head_dim // 2)  # numbers in a sketch; a head has room for two
    read = torch.zeros(1 + far, room, 2 * half)  # read[d] takes the sketch of the word d back from the hidden state
    read[0, :, :half] = torch.randn(room, half) / half**0.5
    read[1:, :, half : half + far * room] = torch.eye(far * room).view(far, room, -1)
    turns = torch.arange(1, 1 + far)[:, None] * model.model.rotary_emb.inv_freq[:6]  # rotary: the fastest
    query, key = (p.bias.view(heads, 2, -1)[:far, :, :6] for p in (first.q_proj, first.k_proj))
    query[:], key[:, 0] = 8 * torch.stack([turns.cos(), -turns.sin()], dim=1), 8
    value, output = (w.unflatten(0, (heads, -1))[:far] for w in (first.v_proj.weight, first.o_proj.weight.T))
    value[:, :room], output[:] = read[0], 0
    output[:, :room] = 0.3 * read[1:]
    for second in later[:1]:
        query, key = (p.weight.unflatten(0, (heads, -1))[:far] for p in (second.q_proj, second.k_proj))
        query[:] = 0
        query[:, : 2 * room] = 4 * torch.cat([read[:1].expand(far, -1, -1), read[:-1]], dim=1)
        key[:, : 2 * room] = 4 * torch.cat([read[1:2].expand(far, -1, -1), read[1:]], dim=1)
    for attention in later:
        attention.o_proj.weight.copy_(attention.v_proj.weight.T)
