"""T5 as few, large products: what `transformers` computes with the same weights, for rows at different positions.

Three things make T5 unlike others: attention scores are not divided by the root of the head's size; positions enter
only as a bias by distance, one table a stack, which block 0 holds for all; and where the embeddings were tied in
training, the last hidden state is scaled by d_model^-0.5 before the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.engines.padding import Ids
from workers.engines.t5_cache import T5Cache

Product = Callable[[Tensor], Tensor]
# Tokens of one pass of the encoder: on a CPU more no longer pays and leaves the cache; a GPU wants to be filled.
PASS_TOKENS = {"cpu": 1024, "cuda": 65536}
ROWS = 32  # for which oneDNN arranges packed weights; other counts work with the same arrangement


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the decoder. `read` makes queries, keys and values; `ask` the queries to the source."""

    read: Product
    write: Product
    ask: Product
    answer: Product
    widen: tuple[Product, ...]
    narrow: Product
    norms: tuple[Tensor, Tensor, Tensor]


class T5Network:
    """The weights of a `T5ForConditionalGeneration`, fused. Its own modules stay usable, and share the memory.

    On a CPU the decoder's weights are held a second time, in the arrangement that oneDNN multiplies fastest by.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self._model = model
        self.heads: int = config.num_heads
        self.width: int = config.d_kv
        self.layers: int = config.num_decoder_layers
        self.embedding: Tensor = model.shared.weight
        self.dtype = self.embedding.dtype
        self.device = self.embedding.device
        self._epsilon = config.layer_norm_epsilon
        self._pass_tokens = PASS_TOKENS["cpu" if self.device.type == "cpu" else "cuda"]
        self._gated: bool = config.is_gated_act
        self._scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
        self._act: Callable[[Tensor], Tensor] = model.decoder.block[0].layer[-1].DenseReluDense.act
        blocks = model.decoder.block
        attentions = [block.layer[1].EncDecAttention for block in blocks]
        self._sources = _fuse([part for attention in attentions for part in (attention.k, attention.v)])
        self._blocks = [self._decoder_block(block) for block in blocks]
        self._readers = [
            _fuse([getattr(block.layer[0].SelfAttention, name) for name in "qkv"]) for block in model.encoder.block
        ]
        self._last_norm = model.decoder.final_layer_norm.weight
        self._vocabulary = product(model.lm_head.weight)
        self._before: Tensor = self.embedding.new_zeros((self.heads, 0))
        self._around: Tensor = self.embedding.new_zeros((self.heads, 0))

    @torch.inference_mode()
    def encode(self, texts: Sequence[Ids]) -> list[Tensor]:
        """Keys and values of the source for every block of the decoder: [layers, 2, heads, tokens, width] a text."""
        found: list[Tensor] = []
        begin, filled = 0, 0
        for at, text in enumerate(texts):
            if at > begin and filled + len(text) > self._pass_tokens:
                found += self._encode(texts[begin:at])
                begin, filled = at, 0
            filled += len(text)
        return found + self._encode(texts[begin:])

    def _encode(self, texts: Sequence[Ids]) -> list[Tensor]:
        """One pass: the texts go through the products one behind the other, unpadded, and attend each to itself."""
        lengths = [len(text) for text in texts]
        ids = torch.tensor([token for text in texts for token in text], device=self.device)
        hidden = self.embedding[ids]
        biases = {length: self._bias_around(length) for length in set(lengths)}
        for block, reader in zip(self._model.encoder.block, self._readers, strict=True):
            attention, feed = block.layer[0], block.layer[1]
            read = functional.linear(self._norm(hidden, attention.layer_norm.weight), reader)
            heads = read.view(len(ids), 3, self.heads, self.width).permute(1, 2, 0, 3)
            parts = torch.split(heads, lengths, dim=2)
            seen = [
                functional.scaled_dot_product_attention(
                    part[0][None], part[1][None], part[2][None], attn_mask=biases[length], scale=1.0
                )[0]
                for part, length in zip(parts, lengths, strict=True)
            ]
            joined = torch.cat(seen, dim=1).transpose(0, 1).reshape(len(ids), -1)
            hidden = hidden + functional.linear(joined, attention.SelfAttention.o.weight)
            dense = feed.DenseReluDense
            normed = self._norm(hidden, feed.layer_norm.weight)
            widened = self._act(functional.linear(normed, (dense.wi_0 if self._gated else dense.wi).weight))
            if self._gated:
                widened = widened * functional.linear(normed, dense.wi_1.weight)
            hidden = hidden + functional.linear(widened, dense.wo.weight)
        hidden = self._norm(hidden, self._model.encoder.final_layer_norm.weight)
        shared = functional.linear(hidden, self._sources)
        shared = shared.view(len(ids), self.layers, 2, self.heads, self.width).permute(1, 2, 3, 0, 4)
        return list(torch.split(shared, lengths, dim=3))

    @torch.inference_mode()
    def step(self, tokens: Tensor, cache: T5Cache) -> Tensor:
        """The logits behind one more token a row, in single precision: [rows, vocabulary]. The cache takes it in."""
        rows = len(tokens)
        hidden = self.embedding[tokens]
        flat = (rows * self.heads, 1, -1)
        bias = cache.advance(self.bias_before)
        for layer, block in enumerate(self._blocks):
            read = block.read(self._norm(hidden, block.norms[0])).view(rows, 3, self.heads, self.width)
            keys, values = cache.extend(layer, read[:, 1], read[:, 2])
            hidden = hidden + block.write(_attend(read[:, 0].reshape(flat), keys, values, bias).view(rows, -1))
            asked = block.ask(self._norm(hidden, block.norms[1]))
            keys, values = cache.source(layer)
            hidden = hidden + block.answer(_attend(asked.view(flat), keys, values, cache.mask).view(rows, -1))
            normed = self._norm(hidden, block.norms[2])
            widened = self._act(block.widen[0](normed))
            if self._gated:
                widened = widened * block.widen[1](normed)
            hidden = hidden + block.narrow(widened)
        return self._vocabulary(self._norm(hidden, self._last_norm) * self._scale).float()

    def bias_before(self, count: int) -> Tensor:
        """The decoder's bias to `count` positions, the last of which is the present one: [heads, count]."""
        if count > self._before.shape[1]:
            room = max(256, 2 * count)
            table = self._model.decoder.block[0].layer[0].SelfAttention
            self._before = table.compute_bias(1, room, past_seen_tokens=room - 1)[0, :, 0].to(self.dtype)
        return self._before[:, self._before.shape[1] - count :]

    def _bias_around(self, length: int) -> Tensor:
        """The encoder's bias between all pairs of positions: [1, heads, length, length]."""
        half = (self._around.shape[1] + 1) // 2
        if length > half:
            half = max(256, 2 * length)
            table = self._model.encoder.block[0].layer[0].SelfAttention
            self._around = table.compute_bias(1, 2 * half - 1, past_seen_tokens=half - 1)[0, :, 0].to(self.dtype)
        near = self._around[:, half - length : half + length - 1]
        return near.unfold(1, length, 1).flip(1)[None]  # the window that begins at distance -i is position i's

    def _decoder_block(self, block: Any) -> Block:
        own, source, dense = block.layer[0].SelfAttention, block.layer[1].EncDecAttention, block.layer[2].DenseReluDense
        widen = (dense.wi_0, dense.wi_1) if self._gated else (dense.wi,)
        norms = [part.layer_norm.weight for part in block.layer]
        return Block(
            read=product(_fuse([own.q, own.k, own.v])),
            write=product(own.o.weight),
            ask=product(source.q.weight),
            answer=product(source.o.weight),
            widen=tuple(product(part.weight) for part in widen),
            narrow=product(dense.wo.weight),
            norms=(norms[0], norms[1], norms[2]),
        )

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(hidden, weight.shape, weight, self._epsilon)


def product(weight: Tensor) -> Product:
    """What multiplies rows by a weight [out, in].

    On a CPU with oneDNN the weight is packed for few rows, which doubles the speed of a decoder's step; the packing
    has no public name in torch, so where it is missing the plain product does.
    """
    weight = weight.detach()
    if weight.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
            multiply = torch.ops.mkldnn._linear_pointwise
            multiply(weight.new_zeros((1, weight.shape[1])), packed, None, "none", [], "")
        except (AttributeError, RuntimeError, NotImplementedError):
            return lambda rows: functional.linear(rows, weight)
        return lambda rows: multiply(rows, packed, None, "none", [], "")
    return lambda rows: functional.linear(rows, weight)


def _fuse(modules: Sequence[Any]) -> Tensor:
    """The weights of linear modules as one, of which theirs become views."""
    fused = torch.cat([module.weight.detach() for module in modules])
    for module, part in zip(modules, torch.split(fused, [module.weight.shape[0] for module in modules]), strict=True):
        module.weight.data = part
    return fused


def _attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """One query a row and head: [rows x heads, 1, width] for keys and values [rows x heads, tokens, width]."""
    scores = torch.baddbmm(bias, query, keys.transpose(1, 2))
    return torch.bmm(scores.softmax(-1), values)
