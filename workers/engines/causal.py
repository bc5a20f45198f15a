"""Molecules sampled from a decoder-only language model over SMILES: any such `transformers` checkpoint.

Rows with prompts of equal length go through the model together, so nothing is padded and no mask is needed; rows that
have ended leave the batch. A row's randomness is its own (`workers.sampling`), and a row for which noise between
batch shapes could have changed a token is sampled again alone, so a sample does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import ModelUnavailable
from schemas.outcomes import Generation
from schemas.registry import ModelEntry
from workers import sampling
from workers.engines.causal_cpu import PromptWork, Start
from workers.engines.contract import Prepared
from workers.engines.pretrained import read_model, read_tokenizer
from workers.weights import locate

if TYPE_CHECKING:
    import torch

CROWDED = 0.75  # once fewer of a batch's rows than this share are still growing, the others' caches are dropped


@dataclass(slots=True)
class Growing:
    """A sample while it grows. `wavering`: noise could have changed one of its tokens."""

    start: Start
    tokens: list[int]
    nll: float = 0.0
    wavering: bool = False


class CausalEngine:
    """A language model on one device. See the module's docstring; the contract says who calls what."""

    def __init__(self, entry: ModelEntry, folder: Path, device: str) -> None:
        if entry.precision != "fp32":
            raise ModelUnavailable(
                f"model '{entry.name}': in {entry.precision} a sample would depend on what shares its batch; use fp32"
            )
        self.entry = entry
        self._device = device
        self._model = read_model("AutoModelForCausalLM", folder, dtype="float32", device=device)
        tokenizer = read_tokenizer(folder)
        self._ends = _end_tokens(self._model, tokenizer)
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if begin is None or not self._ends:
            raise ModelUnavailable(f"{folder}: the tokenizer names no start or no end token, so nothing can be sampled")
        context = getattr(self._model.config, "max_position_embeddings", None) or entry.limits.max_tokens
        self.cpu = PromptWork(
            tokenizer.backend_tokenizer,
            begin=int(begin),
            special=frozenset(tokenizer.all_special_ids),
            context=min(context, entry.limits.max_tokens),
        )

    def run(self, rows: Sequence[Prepared]) -> Sequence[Generation]:
        """Sample and annotate: one generation for each unit, in order."""
        done: dict[int, Growing] = {}
        lengths = [len(row.data.ids) for row in rows]
        for _, group in groupby(sorted(range(len(rows)), key=lengths.__getitem__), key=lengths.__getitem__):
            members = list(group)
            done |= zip(members, self._sample([rows[at].data for at in members]), strict=True)
        return [self._outcome(row, done[at]) for at, row in enumerate(rows)]

    def _sample(self, starts: Sequence[Start]) -> list[Growing]:
        """Sample from prompts of one length; what may have been swayed by its company once more, alone."""
        grown = self._grow(starts)
        if len(starts) == 1:
            return grown
        return [self._grow([sample.start])[0] if sample.wavering else sample for sample in grown]

    def _grow(self, starts: Sequence[Start]) -> list[Growing]:
        """The sampling loop: one pass for the prompts, then one token a step for all rows that have not ended."""
        import torch

        samples = [Growing(start, []) for start in starts]
        numbers = torch.from_numpy(
            sampling.uniforms([start.seed for start in starts], max(start.steps for start in starts))
        ).to(self._device)
        batch = list(range(len(starts)))  # the rows that the cache holds, in its order
        feed = torch.tensor([start.ids for start in starts], device=self._device)
        past: Any = None
        with torch.inference_mode():
            for step in range(numbers.shape[1]):
                output = self._model(input_ids=feed, past_key_values=past, use_cache=True)
                past = output.past_key_values
                tokens, nlls, wavering = sampling.draw(
                    output.logits[:, -1], numbers[batch, step], [starts[at].shape for at in batch]
                )
                self._record([samples[at] for at in batch], tokens, nlls, wavering)
                growing = [place for place, at in enumerate(batch) if not self._ended(samples[at])]
                if not growing:
                    break
                feed = tokens[:, None]
                if len(growing) < CROWDED * len(batch):
                    chosen = torch.tensor(growing, device=self._device)
                    past.batch_select_indices(chosen)
                    feed = feed[chosen]
                    batch = [batch[place] for place in growing]
        return samples

    def _record(
        self, samples: Sequence[Growing], tokens: torch.Tensor, nlls: torch.Tensor, wavering: torch.Tensor
    ) -> None:
        drawn = zip(samples, tokens.tolist(), nlls.tolist(), wavering.tolist(), strict=True)
        for sample, token, nll, wavers in drawn:
            if not self._ended(sample):
                sample.tokens.append(token)
                sample.nll += nll
                sample.wavering |= wavers

    def _ended(self, sample: Growing) -> bool:
        return len(sample.tokens) == sample.start.steps or (bool(sample.tokens) and sample.tokens[-1] in self._ends)

    def _outcome(self, row: Prepared, sample: Growing) -> Generation:
        """The text as sampled, end token aside; whether it is a molecule is still to be found out."""
        added = [token for token in sample.tokens if token not in self._ends]
        return Generation(
            row=row.row,
            sample=row.sample,
            smiles=self.cpu.text([*sample.start.ids[1:], *added]),
            valid=not self.cpu.special.intersection(added),
            nll=sample.nll,
            tokens=len(sample.tokens),
            seed=sample.start.seed,
        )


def load(entry: ModelEntry, device: str) -> CausalEngine:
    """Load a decoder-only model.

    Raises:
        ModelUnavailable: the weights are missing, changed or refused, the tokenizer has no start or end, or the entry
        asks for less than fp32.
    """
    return CausalEngine(entry, locate(entry.weights), device)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Whatever the checkpoint takes for an end: its generation settings may name several."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)
