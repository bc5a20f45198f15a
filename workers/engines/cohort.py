"""Rows that go through a decoder-only model together, each cohort of them with its own keys and values.

Rows that were admitted together have the same age, so their attention needs neither mask nor padding, and it reads no
further back than they go. All else in the model is computed for the rows of all cohorts at once: `Joint` slips an
attention of its own into the model, as `transformers` provides for. Where a model does not take it, `Separate` passes
one cohort after the other through the model as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from schemas.errors import ModelUnavailable

ATTENTION = "cohorts"  # the name that the attention below goes by in transformers
ROOM = 32  # positions that are allotted at first; twice as many whenever they are full
AGREED = 1e-3  # how far apart two computations of the same logits may be, as a share of the largest


class Storage:
    """One cohort's keys and values: written in place, [rows, heads, room, width] a layer."""

    def __init__(self) -> None:
        self._layers: dict[int, list[torch.Tensor]] = {}

    def write(self, layer: int, age: int, *fresh: torch.Tensor) -> list[torch.Tensor]:
        """Put fresh keys and values behind the `age` positions that are there, and return the whole of both."""
        end = age + fresh[0].shape[2]
        held = self._layers.get(layer)
        if held is None or held[0].shape[2] < end:
            held = self._layers[layer] = [
                _with_room(fresh[at], None if held is None else held[at][:, :, :age], max(ROOM, 2 * age, end))
                for at in range(len(fresh))
            ]
        for store, part in zip(held, fresh, strict=True):
            store[:, :, age:end] = part
        return [store[:, :, :end] for store in held]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep these rows alone. Named as in the caches of `transformers`, all of which take fewer rows there."""
        for layer, held in self._layers.items():
            self._layers[layer] = [store.index_select(0, beam_idx) for store in held]


def _with_room(like: torch.Tensor, old: torch.Tensor | None, room: int) -> torch.Tensor:
    store = like.new_empty((like.shape[0], like.shape[1], room, like.shape[3]))
    if old is not None:
        store[:, :, : old.shape[2]] = old
    return store


@dataclass(slots=True, eq=False)
class Cohort:
    """So many rows of one age: the positions of theirs that the cache holds."""

    rows: int
    cache: Any
    age: int = 0

    def keep(self, places: Sequence[int], device: str) -> None:
        """Drop all rows but these."""
        self.cache.reorder_cache(torch.tensor(places, dtype=torch.int64, device=device))
        self.rows = len(places)


class Forward(Protocol):
    """How cohorts go through a model."""

    def cohort(self, rows: int) -> Cohort:
        """A new one, of age 0."""
        ...

    def next(self, cohorts: Sequence[Cohort], ids: torch.Tensor) -> torch.Tensor:
        """Append these tokens, [rows of all cohorts, tokens]; the logits after the last, [rows, vocabulary].

        More than one token at once are for new cohorts only.
        """
        ...

    def alone(self, ids: torch.Tensor) -> torch.Tensor:
        """The logits after one row's tokens, [1, tokens], computed from nothing else: [1, vocabulary]."""
        ...


class Separate:
    """Cohorts one after the other, each with the cache that the model makes for itself. Suits any model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        # A prompt's pass has no need of the logits in between.
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}

    def cohort(self, rows: int) -> Cohort:
        """See Forward."""
        return Cohort(rows, DynamicCache(config=self._model.config))

    def next(self, cohorts: Sequence[Cohort], ids: torch.Tensor) -> torch.Tensor:
        """See Forward."""
        found = []
        for cohort, part in zip(cohorts, torch.split(ids, [cohort.rows for cohort in cohorts]), strict=True):
            output = self._model(input_ids=part, past_key_values=cohort.cache, use_cache=True, **self._last)
            cohort.age += ids.shape[1]
            found.append(output.logits[:, -1])
        return torch.cat(found)

    def alone(self, ids: torch.Tensor) -> torch.Tensor:
        """See Forward."""
        logits: torch.Tensor = self._model(input_ids=ids, use_cache=False, **self._last).logits[:, -1]
        return logits


class Joint(Separate):
    """All cohorts at once, but for their attention."""

    def cohort(self, rows: int) -> Cohort:
        """See Forward."""
        return Cohort(rows, Storage())

    def next(self, cohorts: Sequence[Cohort], ids: torch.Tensor) -> torch.Tensor:
        """See Forward."""
        tokens = ids.shape[1]
        ages = [age for cohort in cohorts for age in [cohort.age] * cohort.rows]
        positions = torch.tensor(ages)[:, None] + torch.arange(tokens)
        output = self._model(
            input_ids=ids, position_ids=positions.to(ids.device), use_cache=False, cohorts=cohorts, **self._last
        )
        for cohort in cohorts:
            cohort.age += tokens
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cohorts: Sequence[Cohort] = (),
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each cohort, [rows, heads, tokens, width]; without cohorts, that of rows without a past."""
    causal = query.shape[2] > 1
    if not cohorts:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, is_causal=causal)
    sizes = [cohort.rows for cohort in cohorts]
    found = []
    parts = (torch.split(whole, sizes) for whole in (query, key, value))
    for cohort, asked, *fresh in zip(cohorts, *parts, strict=True):
        keys, values = cohort.cache.write(module.layer_idx, cohort.age, *fresh)
        part, _none = sdpa_attention_forward(module, asked, keys, values, None, scaling=scaling, is_causal=causal)
        found.append(part)
    return found[0] if len(found) == 1 else torch.cat(found), None


def forward(model: Any, context: int) -> Forward:
    """The better way for this model to take cohorts: `Joint` where it is shown to give the model's own logits.

    `context` is the most positions that a row will have: within a sliding window, its attention is a full one.

    Raises:
        ModelUnavailable: a token a step, the model gives other logits than for all tokens at once.
    """
    own = model.config._attn_implementation
    window = getattr(model.config, "sliding_window", None) or context
    kinds = set(getattr(model.config, "layer_types", None) or [])
    full = window >= context and kinds <= {"full_attention", "sliding_attention"}
    ids = (torch.arange(24).view(4, 6) * 7 % model.config.vocab_size).to(model.device)
    separate = Separate(model)
    with torch.inference_mode():
        expected = torch.cat([separate.alone(row[None]) for row in ids])
        if own == "sdpa" and model._supports_attention_backend and full:
            AttentionInterface.register(ATTENTION, _attend)
            model.set_attn_implementation(ATTENTION)
            joint = Joint(model)
            if _agrees(joint, ids, expected):
                return joint
            model.set_attn_implementation(own)
        if _agrees(separate, ids, expected):
            return separate
    raise ModelUnavailable("the model does not keep what it has read in a cache as decoder-only transformers do")


def _agrees(way: Forward, ids: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether rows of two ages, [4, tokens], get the logits that are expected after their last tokens."""
    tokens = ids.shape[1]
    old, young = way.cohort(2), way.cohort(2)
    try:
        way.next([old], ids[:2, : tokens - 2])
        for at in range(2):
            found = way.next([old, young], torch.cat([ids[:2, at - 2], ids[2:, at]])[:, None])
        ended = found[:2]
        for at in range(2, tokens):
            found = way.next([young], ids[2:, at : at + 1])
    except (AttributeError, TypeError, ValueError, RuntimeError):  # it is called as its architecture does not foresee
        return False
    difference = (torch.cat([ended, found]) - expected).abs().max()
    return bool(difference <= AGREED * expected.abs().max())
