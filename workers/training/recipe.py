"""What a training run is made of: its settings, as the card and the run's folder keep them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

HEAD = 64  # width of an attention head


@dataclass(frozen=True, slots=True)
class Recipe:
    """A generator's. Molecules where nothing else is said; `limit` None means all rows of `data`."""

    data: str
    sha256: str  # of the data's file
    limit: int | None
    epochs: float
    width: int
    layers: int
    longest: int  # tokens; longer rows are left out
    batch: int
    learning_rate: float
    precision: Literal["fp32", "bf16"]
    seed: int

    @property
    def inner(self) -> int:
        """The width inside a layer's feed-forward part: 8/3 of the model's, in whole heads, as Llama has it."""
        return -(-self.width * 8 // (3 * HEAD)) * HEAD

    def command(self, name: str) -> str:
        """The call that makes the same model, in a folder of its name."""
        options = {
            "--limit": self.limit,
            "--epochs": self.epochs,
            "--width": self.width,
            "--layers": self.layers,
            "--longest": self.longest,
            "--batch": self.batch,
            "--learning-rate": self.learning_rate,
            "--precision": self.precision,
            "--seed": self.seed,
        }
        return call("generator", self.data, name, options)


def call(kind: str, data: str, name: str, options: Mapping[str, object]) -> str:
    """The call that makes a model of a kind: options with their values, without those of None.

    One of a tuple is said once for each of its values, and one of True without any.
    """
    said = ["sciqueue", "train", kind, data, "-o", name]
    for option, value in options.items():
        if value is True:
            said.append(option)
        elif value is not None:
            for one in value if isinstance(value, tuple) else (value,):
                said += [option, f"{one}"]
    return shlex.join(said)
