"""A Llama's forward pass written out: the same numbers with less work.

transformers computes every layer at every token.  What is learned is a fraction of them, and what
an agent says next follows from the last token alone; there the last layer has to answer, and
elsewhere it is asked for keys and values and nothing more.  And a pass of a small model is many
small operations, so the two that consist of many, the norm and the rotary embedding, have their
gradients written by hand here.

Read in order: `hidden_where` (for training), `hidden_last` (for acting), `pass_layer`, `attend`,
and the two operations, `Normal` and `Turned`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import rms_norm, scaled_dot_product_attention
from transformers import LlamaForCausalLM
from transformers.cache_utils import Cache


def is_plain(model: Any) -> bool:
    """Return whether what stands here is all that a model does on the way to its head.

    A class derived from Llama, such as one that is spread over processes, may do more.
    """
    if type(model) is not LlamaForCausalLM or model.is_activation_checkpointing:
        return False
    return not model.config.attention_dropout


def hidden_where(model: LlamaForCausalLM, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return what the head reads at the wanted places, row after row, [wanted, width].

    ids, wanted: [rows, length], the rows padded on the right, where no token before the padding
    sees it.
    """
    base = model.model
    hidden = base.embed_tokens(ids)
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    turns = base.rotary_emb(hidden, positions)
    *layers, last = base.layers[: base.config.num_hidden_layers]
    for layer in layers:
        hidden = pass_layer(layer, hidden, turns)
    most = int(wanted.sum(1).max())  # of a row; in a row with fewer, other places fill up
    # Stable, so that places of a row stay in order, as what they predict is.
    places = wanted.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    before = torch.arange(ids.shape[1], device=ids.device) <= places[:, :, None]
    hidden = pass_layer(last, hidden, turns, before[:, None], places=places)
    return Normal.of(base.norm, hidden[wanted.gather(1, places)])


def hidden_last(
    model: LlamaForCausalLM,
    ids: torch.Tensor,
    positions: torch.Tensor,
    seen: torch.Tensor,
    cache: Cache,
    *,
    asked: int,
) -> torch.Tensor:
    """Return what the head reads at the last `asked` tokens of each row, [rows, asked, width].

    ids, positions: [rows, new], of the tokens that are new.  seen: [rows, new, columns], whether a
    new token sees a column of the cache, which gets the new ones as its last.
    """
    base = model.model
    hidden = base.embed_tokens(ids)
    turns = base.rotary_emb(hidden, positions)
    seen = seen[:, None]
    *layers, last = base.layers[: base.config.num_hidden_layers]
    for layer in layers:
        hidden = pass_layer(layer, hidden, turns, seen, cache=cache)
    rows, new = ids.shape
    places = torch.arange(new - asked, new, device=ids.device).expand(rows, asked)
    seen = seen[:, :, -asked:]
    hidden = pass_layer(last, hidden, turns, seen, cache=cache, places=places)
    return Normal.of(base.norm, hidden)


# So many places read keys in bfloat16 faster by plain products, on a CPU: one token of 32 rows over
# 800 columns of SmolLM2 in 3.1 ms a layer, not 5.0.
FEW = 9

Turns = tuple[torch.Tensor, torch.Tensor]  # cosines, sines of positions, [1 or rows, length, size]


def pass_layer(
    layer: Any,
    hidden: torch.Tensor,
    turns: Turns,
    seen: torch.Tensor | None = None,
    *,
    cache: Cache | None = None,
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the hidden state behind a layer, [rows, length, width], or only at some places.

    seen: [rows, 1, asked, columns], what each place that is asked for sees; None for all before it.
    cache: holds keys and values of tokens before, and gets those of the new ones.
    places: [rows, asked], the places that are asked for; None for all.
    """
    attention = layer.self_attn
    normal = Normal.of(layer.input_layernorm, hidden)
    key = turned(in_heads(attention.k_proj(normal), attention), turns)
    value = in_heads(attention.v_proj(normal), attention)
    if cache is not None:
        key, value = cache.update(key, value, attention.layer_idx)
    if places is not None:
        rows = torch.arange(len(places), device=places.device)[:, None]
        hidden, normal = hidden[rows, places], normal[rows, places]
        cosines, sines = (each.expand(len(hidden), -1, -1) for each in turns)
        turns = (cosines[rows, places], sines[rows, places])
    query = turned(in_heads(attention.q_proj(normal), attention), turns)
    read = attend
    if cache is not None and reads_faster_plainly(query, key):
        read = attend_plainly
    heard = read(query, key, value, seen, attention.scaling)
    hidden = hidden + attention.o_proj(heard.transpose(1, 2).flatten(2))
    return hidden + layer.mlp(Normal.of(layer.post_attention_layernorm, hidden))


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """Return what each head hears, [rows, heads, asked, size].

    query: [rows, heads, asked, size]; key, value: [rows, fewer heads, columns, size].
    """
    shape = query.shape
    if shape[2] == 1:
        query = folded(query, key)
    heard = scaled_dot_product_attention(
        query, key, value, seen, is_causal=seen is None, scale=scale, enable_gqa=True
    )
    return heard.reshape(shape)


def folded(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Return queries as [rows, fewer heads, places, size].

    Heads that share keys become so many places of one head, which read them together.
    """
    return query.reshape(len(query), key.shape[1], -1, query.shape[3])


def reads_faster_plainly(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Return whether `attend_plainly` is faster: for few places, in bfloat16, on a CPU."""
    places = query.shape[1] // key.shape[1] * query.shape[2]
    return places <= FEW and key.dtype == torch.bfloat16 and key.device.type == "cpu"


def attend_plainly(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor, scale: float
) -> torch.Tensor:
    """Return what `attend` returns, by two products of matrices.

    key, value: those of a `RoomyLayer`.  They are read with the room behind them, as products of
    what lies without gaps are faster; no one sees the room, and it must hold numbers.
    """
    rows, heads, asked, size = query.shape
    columns = seen.shape[3]
    key, value = with_room(key), with_room(value)
    room = key.shape[2]
    seen = torch.nn.functional.pad(seen, (0, room - columns))
    scores = folded(query, key) @ key.transpose(2, 3) * scale
    of_each_head = scores.view(rows, heads, asked, room)
    of_each_head = of_each_head.masked_fill(~seen, torch.finfo(scores.dtype).min)
    chances = of_each_head.softmax(-1, dtype=torch.float32).to(value.dtype)
    heard = chances.view(scores.shape) @ value
    return heard.view(rows, heads, asked, size)


def with_room(states: torch.Tensor) -> torch.Tensor:
    """Return keys or values, [rows, heads, columns, size], with the room of their layer behind."""
    rows, heads, _, size = states.shape
    return states.as_strided((rows, heads, states.stride(1) // size, size), states.stride())


def in_heads(projected: torch.Tensor, attention: Any) -> torch.Tensor:
    """Return [rows, length, heads * size] as [rows, heads, length, size]."""
    return projected.unflatten(2, (-1, attention.head_dim)).transpose(1, 2)


def turned(vectors: torch.Tensor, turns: Turns) -> torch.Tensor:
    """Return queries or keys, [rows, heads, length, size], turned by their positions."""
    cosines, sines = (each[:, None] for each in turns)
    if torch.is_grad_enabled():
        return Turned.apply(vectors, cosines, sines)
    return turn(vectors, cosines, sines)


class Turned(torch.autograd.Function):
    """The rotary embedding: number i of a head and number i + size / 2 are turned as a pair."""

    @staticmethod
    def forward(
        ctx: Any, vectors: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
    ) -> torch.Tensor:
        """Return the vectors, turned."""
        ctx.save_for_backward(cosines, sines)
        return turn(vectors, cosines, sines)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient, turned back."""
        cosines, sines = ctx.saved_tensors
        return turn(gradient, cosines, -sines), None, None


def turn(vectors: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Return pairs of numbers turned by angles; those of both halves of a head are the same."""
    half = vectors.shape[-1] // 2
    made = vectors * cosines
    made[..., :half].addcmul_(vectors[..., half:], sines[..., :half], value=-1)
    made[..., half:].addcmul_(vectors[..., :half], sines[..., half:])
    return made


class Normal(torch.autograd.Function):
    """The norm: vectors, [..., width], with a root mean square of one, times a weight."""

    @classmethod
    def of(cls, module: Any, vectors: torch.Tensor) -> torch.Tensor:
        """Return what a norm of a Llama makes of vectors."""
        if torch.is_grad_enabled():
            return cls.apply(vectors, module.weight, module.variance_epsilon)
        return rms_norm(vectors, module.weight.shape, module.weight, module.variance_epsilon)

    @staticmethod
    def forward(
        ctx: Any, vectors: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        """Return the vectors, normal and weighted."""
        square = vectors.pow(2).mean(-1, keepdim=True)
        shrink = torch.rsqrt(square + epsilon)
        normal = vectors * shrink
        ctx.save_for_backward(normal, shrink, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return the gradients of the vectors and of the weight.

        That of a vector is what leaves its length as it is, since length is taken out again.
        """
        normal, shrink, weight = ctx.saved_tensors
        of_weight = (gradient * normal).flatten(0, -2).sum(0)
        of_normal = gradient * weight
        along = (of_normal * normal).mean(-1, keepdim=True)
        return torch.addcmul(of_normal, normal, along, value=-1) * shrink, of_weight, None
