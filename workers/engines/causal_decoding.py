"""Samples while they grow: all of them by one token a step, each from its own prompt and with its own randomness.

What is known of the samples stands in arrays with a row each, in the order of their cohorts (`workers.engines.cohort`).
The prompts of a cohort go in at once as far as the shortest of them reaches; what longer ones have more is fed a token
a step in the place of tokens drawn. So nothing is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.outcomes import Generation
from workers import sampling
from workers.engines.cohort import Cohort, Forward
from workers.engines.contract import Prepared

CROWDED = 0.75  # once fewer of a cohort's rows than this share are still growing, the others are dropped
ALIKE = 16  # prompts that differ by more tokens than this go into cohorts of their own

Finish = Callable[[Prepared, list[int], float], Generation]
"""Makes a sample's outcome of its unit, its tokens behind the prompt and its negative log-likelihood."""


@dataclass(slots=True)
class _Samples:
    """Arrays with one row a sample. `text` holds prompt and tokens drawn; `prompt` and `most` bound both in length."""

    unit: NDArray[np.object_]
    text: NDArray[np.int64]
    prompt: NDArray[np.int64]
    most: NDArray[np.int64]
    seed: NDArray[np.uint64]
    nll: NDArray[np.float64]
    growing: NDArray[np.bool_]

    @staticmethod
    def of(units: Sequence[Prepared]) -> _Samples:
        prompt = np.array([len(unit.data.ids) for unit in units], dtype=np.int64)
        most = prompt + [unit.data.steps for unit in units]
        text = np.zeros((len(units), int(most.max(initial=0))), dtype=np.int64)
        boxes = np.empty(len(units), dtype=np.object_)
        for at, unit in enumerate(units):
            text[at, : prompt[at]] = unit.data.ids
            boxes[at] = unit
        seed = np.array([unit.data.seed for unit in units], dtype=np.uint64)
        return _Samples(boxes, text, prompt, most, seed, np.zeros(len(units)), np.ones(len(units), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.prompt)

    def followed_by(self, others: _Samples) -> _Samples:
        width = max(self.text.shape[1], others.text.shape[1])
        for part in (self, others):
            part.text = np.pad(part.text, ((0, 0), (0, width - part.text.shape[1])))
        return _Samples(*(np.concatenate([getattr(self, f.name), getattr(others, f.name)]) for f in fields(self)))

    def kept(self, rows: NDArray[np.int64]) -> _Samples:
        return _Samples(*(getattr(self, field.name)[rows] for field in fields(self)))


class CausalDecoding:
    """The `Decoding` of decoder-only models."""

    def __init__(self, forward: Forward, ends: NDArray[np.bool_], device: str, finish: Finish) -> None:
        """`ends` tells for each token of the vocabulary whether it ends a sample."""
        self._forward = forward
        self._ends = ends
        self._device = device
        self._finish = finish
        self._cohorts: list[Cohort] = []
        self._samples = _Samples.of([])
        self._shapes: sampling.Shapes | None = None  # of the rows as they are; None after they changed

    @torch.inference_mode()
    def admit(self, rows: Sequence[Prepared]) -> None:
        """Let samples join, in cohorts of prompts that are about as long."""
        alike: list[Prepared] = []
        for unit in sorted(rows, key=lambda unit: len(unit.data.ids)):
            if alike and len(unit.data.ids) > len(alike[0].data.ids) + ALIKE:
                self._begin(alike)
                alike = []
            alike.append(unit)
        if alike:
            self._begin(alike)

    def _begin(self, units: Sequence[Prepared]) -> None:
        fresh = _Samples.of(units)
        cohort = self._forward.cohort(len(units))
        if together := int(fresh.prompt.min()) - 1:  # the last token is left for the first step
            self._forward.next([cohort], torch.from_numpy(fresh.text[:, :together]).to(self._device))
        self._cohorts.append(cohort)
        self._samples = self._samples.followed_by(fresh)
        self._shapes = None

    @torch.inference_mode()
    def step(self) -> Sequence[tuple[Prepared, Generation]]:
        """Let every sample grow by one token; those that ended by it.

        Raises:
            FloatingPointError: the model's logits are no numbers.
        """
        samples = self._samples
        every = np.arange(len(samples))
        ages = np.repeat([cohort.age for cohort in self._cohorts], [cohort.rows for cohort in self._cohorts])
        ids = torch.from_numpy(samples.text[every, ages][:, None])
        logits = self._forward.next(self._cohorts, ids.to(self._device))
        ages += 1
        drawing = samples.growing & (ages >= samples.prompt)
        numbers = sampling.uniforms(samples.seed, np.maximum(ages - samples.prompt, 0))
        if self._shapes is None:
            self._shapes = sampling.Shapes.of([unit.data.shape for unit in samples.unit], self._device)
        tokens, nlls, wavering = _drawn(logits, numbers, self._shapes)
        for row in np.flatnonzero(wavering & drawing).tolist():
            tokens[row], nlls[row] = self._alone(row, int(ages[row]), float(numbers[row]))
        if not np.isfinite(nlls[drawing]).all():
            raise FloatingPointError("the model's logits are no numbers")
        samples.text[every[drawing], ages[drawing]] = tokens[drawing]
        samples.nll[drawing] += nlls[drawing]
        ended = drawing & (self._ends[tokens] | (ages + 1 == samples.most))
        samples.growing &= ~ended
        outcomes = []
        for row in np.flatnonzero(ended).tolist():
            unit = samples.unit[row]
            added = samples.text[row, samples.prompt[row] : ages[row] + 1].tolist()
            outcomes.append((unit, self._finish(unit, added, float(samples.nll[row]))))
        if outcomes:
            self._drop()
        return outcomes

    def _alone(self, row: int, age: int, number: float) -> tuple[int, float]:
        """Draw one sample's token from logits that no other row has had a part in."""
        samples = self._samples
        logits = self._forward.alone(torch.from_numpy(samples.text[row : row + 1, :age]).to(self._device))
        shapes = sampling.Shapes.of([samples.unit[row].data.shape], self._device)
        tokens, nlls, _ = _drawn(logits, np.array([number]), shapes)
        return int(tokens[0]), float(nlls[0])

    def _drop(self) -> None:
        """Drop the rows that have ended from cohorts that have become sparse."""
        kept: list[NDArray[np.int64]] = []
        begin = 0
        for cohort in self._cohorts:
            places = np.flatnonzero(self._samples.growing[begin : begin + cohort.rows])
            rows = cohort.rows
            if len(places) >= CROWDED * rows:
                kept.append(np.arange(begin, begin + rows))
            else:
                kept.append(begin + places)
                cohort.keep(places.tolist(), self._device)
            begin += rows
        if sum(map(len, kept)) < begin:
            self._samples = self._samples.kept(np.concatenate(kept))
            self._cohorts = [cohort for cohort in self._cohorts if cohort.rows]
            self._shapes = None


def _drawn(
    logits: torch.Tensor, numbers: NDArray[np.float64], shapes: sampling.Shapes
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """`sampling.draw`, fetched from the device at once."""
    tokens, nlls, wavering = sampling.draw(logits, torch.from_numpy(numbers).to(logits.device), shapes)
    found = torch.stack([tokens.double(), nlls, wavering.double()]).cpu().numpy()
    return found[0].astype(np.int64), found[1], found[2] != 0
