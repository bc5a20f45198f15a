"""The contrastive part of pretraining: two random SMILES of a molecule are drawn together, others pushed apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import ModernBertForMaskedLM


def info_nce(states: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) of [2 n, width]: row i and row n + i are views of one molecule.

    Each view has to find its other one among all 2 n - 1 by cosine similarity over `temperature`, in nats (NT-Xent).
    """
    unit = functional.normalize(states.float(), dim=-1)
    similar = (unit @ unit.T / temperature).fill_diagonal_(float("-inf"))
    pairs = torch.arange(len(states), device=states.device).roll(len(states) // 2)
    return functional.cross_entropy(similar, pairs)


class ContrastiveForMaskedLM(ModernBertForMaskedLM):  # type: ignore[no-untyped-call]
    """A masked language model whose loss has the contrast of its rows added, as `CollateMasked` lays views out.

    A text stands for its molecule by the mean of its tokens' last states, which is what the classifier reads later.
    """

    temperature = 0.1

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **known: Any) -> Any:
        """See the class."""
        outputs = super().forward(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, output_hidden_states=True, **known
        )
        if labels is not None:
            shown = attention_mask.unsqueeze(-1)
            states = (outputs.hidden_states[-1] * shown).sum(dim=1) / shown.sum(dim=1)
            outputs.loss = outputs.loss + info_nce(states, self.temperature)
        return outputs
