"""What fine-tuning a summarizer is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.training.recipe import call


@dataclass(frozen=True, slots=True)
class SummarizerRecipe:
    """A summarizer's. `limit` None means all rows of `data`; `revision` is the base's, as `Base` has it."""

    data: str
    sha256: str  # of the data's file
    target: str  # `abstract`, or a column
    base: str
    revision: str
    limit: int | None
    epochs: float
    source_tokens: int  # read at once, the prefix included
    target_tokens: int  # written at most
    prefix: str
    batch: int
    learning_rate: float
    weight_decay: float
    precision: Literal["fp32", "bf16"]
    seed: int

    def command(self, name: str) -> str:
        """The call that makes the same model, in a folder of its name."""
        options = {
            "--from": self.base,
            "--revision": self.revision if len(self.revision) == 40 else None,  # a commit; a folder has none
            "--target": self.target,
            "--limit": self.limit,
            "--epochs": self.epochs,
            "--source-tokens": self.source_tokens,
            "--target-tokens": self.target_tokens,
            "--prefix": self.prefix,
            "--batch": self.batch,
            "--learning-rate": self.learning_rate,
            "--weight-decay": self.weight_decay,
            "--precision": self.precision,
            "--seed": self.seed,
        }
        return call("summarizer", self.data, name, options)
