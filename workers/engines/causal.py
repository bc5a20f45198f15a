"""Molecules sampled from a decoder-only language model over SMILES: any such `transformers` checkpoint.

Samples that have ended leave and waiting ones join while the rest grows (`workers.engines.causal_decoding`). A row's
randomness is its own (`workers.sampling`), and a draw that noise between batch shapes could have changed is made from
logits computed for that row alone, so a sample does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import ModelUnavailable
from schemas.outcomes import Generation
from schemas.registry import ModelEntry
from workers.engines.causal_cpu import PromptWork
from workers.engines.contract import Prepared
from workers.engines.pretrained import read_model, read_tokenizer
from workers.weights import locate

if TYPE_CHECKING:
    from workers.engines.causal_decoding import CausalDecoding


class CausalEngine:
    """A language model on one device. See the module's docstring; the contract says who calls what."""

    pads = True

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
        context = min(context, entry.limits.max_tokens)
        self.cpu = PromptWork(
            tokenizer.backend_tokenizer,
            begin=int(begin),
            special=frozenset(tokenizer.all_special_ids),
            context=context,
        )
        from workers.engines import cohort  # imports torch

        self._forward = cohort.forward(self._model, context)
        self._is_end = np.zeros(self._model.get_output_embeddings().weight.shape[0], dtype=np.bool_)
        self._is_end[list(self._ends)] = True

    def run(self, rows: Sequence[Prepared]) -> Sequence[Generation]:
        """Sample to the end: one generation for each unit, in order."""
        decoding = self.decode()
        decoding.admit(rows)
        done: dict[int, Generation] = {}
        while len(done) < len(rows):
            done |= {id(unit): outcome for unit, outcome in decoding.step()}
        return [done[id(row)] for row in rows]

    def decode(self) -> CausalDecoding:
        """Nothing yet; rows of any prompts, lengths and parameters may join."""
        from workers.engines.causal_decoding import CausalDecoding

        return CausalDecoding(self._forward, self._is_end, self._device, self._outcome)

    def _outcome(self, row: Prepared, tokens: list[int], nll: float) -> Generation:
        """The text as sampled, end token aside; whether it is a molecule is still to be found out."""
        added = [token for token in tokens if token not in self._ends]
        return Generation(
            row=row.row,
            sample=row.sample,
            smiles=self.cpu.text([*row.data.ids[1:], *added]),
            valid=not self.cpu.special.intersection(added),
            nll=nll,
            tokens=len(tokens),
            seed=row.data.seed,
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
