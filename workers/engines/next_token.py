"""Which token comes next in each row: the most probable or a drawn one, and whether noise could have changed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from workers import sampling
from workers.engines.padding import Ids
from workers.engines.seq2seq_cpu import Manuscript, Seq2SeqParameters

if TYPE_CHECKING:
    from torch import Tensor

# Two logits closer than this share of the row's largest are a tie: several times the most that single precision
# was seen to move them between batch shapes.
NOISE = 2e-5


@dataclass(slots=True, eq=False)
class Stream:
    """One window while its summary is written. `wavering`: noise between batches could have changed a token."""

    source: Ids
    seed: int
    asked: Seq2SeqParameters
    tokens: list[int] = field(default_factory=list)
    wavering: bool = False

    @property
    def shape(self) -> sampling.Shape:
        """How tokens are drawn, where they are."""
        return sampling.Shape(self.asked.temperature, self.asked.top_k, self.asked.top_p)

    def ended(self, ends: frozenset[int]) -> bool:
        """Whether the end token was written, or all that may be."""
        written = len(self.tokens)
        return written == self.asked.max_new_tokens or (written > 0 and self.tokens[-1] in ends)


def streams(manuscript: Manuscript) -> list[Stream]:
    """One stream for each of a paper's windows, in their order."""
    return [Stream(ids, seed, manuscript.asked) for ids, seed in zip(manuscript.windows, manuscript.seeds, strict=True)]


def choose(logits: Tensor, rows: Sequence[Stream]) -> tuple[Tensor, Tensor]:
    """The next token of each row.

    Args:
        logits: single precision, [rows, vocabulary]; those of tokens that must not come are -inf.
        rows: what each has written so far says which of its random numbers is next.

    Returns:
        The tokens [rows], and whether noise in the logits could have led to another token [rows].
    """
    import torch

    best, places = logits.topk(2, dim=-1)
    tokens = places[:, 0].clone()
    wavering = best[:, 0] - best[:, 1] <= NOISE * _largest(logits, best[:, 0])
    drawn = [at for at, row in enumerate(rows) if row.asked.temperature > 0]
    if drawn:
        seeds = np.array([rows[at].seed for at in drawn], dtype=np.uint64)
        numbers = sampling.uniforms(seeds, np.array([len(rows[at].tokens) for at in drawn]))
        tokens[drawn], _, wavering[drawn] = sampling.draw(
            logits[drawn],
            torch.from_numpy(numbers).to(logits.device),
            sampling.Shapes.of([rows[at].shape for at in drawn], logits.device),
        )
    return tokens, wavering


def _largest(logits: Tensor, high: Tensor) -> Tensor:
    """The largest absolute value of each row, but for what must not come; `high` is the largest value."""
    import torch

    low = logits.amin(-1)
    if low.isinf().any():
        low = torch.where(logits.isinf(), high[:, None], logits).amin(-1)
    return torch.maximum(low.abs(), high.abs())
