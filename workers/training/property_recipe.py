"""The settings of a property model's training run, as the card and the run's folder keep them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PropertyRecipe:
    """`epochs` are of the labelled molecules, `pretrain_epochs` of the unlabelled ones; `tasks` are columns."""

    data: str
    sha256: str  # of the data's file
    smiles: str  # its column
    tasks: tuple[str, ...]  # none: every column of numbers
    epochs: float
    pretrain: str | None  # SMILES by name or file, or the folder of an encoder that was pretrained before
    pretrain_sha256: str | None  # of its file; of the folder's weights
    pretrain_limit: int | None
    pretrain_epochs: float
    contrast: bool
    temperature: float  # of the contrast
    width: int
    layers: int
    longest: int  # tokens; longer molecules are left out
    batch: int
    pretrain_batch: int
    learning_rate: float
    pretrain_learning_rate: float
    dropout: float
    augment: bool  # a molecule is written from another atom each time
    precision: Literal["fp32", "bf16"]
    seed: int

    def command(self, name: str) -> str:
        """The call that makes the same model, in a folder of its name."""
        said = ["--smiles", self.smiles]
        for task in self.tasks:
            said += ["--task", task]
        if self.pretrain is not None:
            limit = [] if self.pretrain_limit is None else ["--pretrain-limit", f"{self.pretrain_limit}"]
            said += ["--pretrain", self.pretrain, *limit, "--pretrain-epochs", f"{self.pretrain_epochs}"]
            said += ["--pretrain-batch", f"{self.pretrain_batch}"]
            said += ["--pretrain-learning-rate", f"{self.pretrain_learning_rate}"]
            if self.contrast:
                said += ["--contrast", "--temperature", f"{self.temperature}"]
        for option, value in {
            "--epochs": self.epochs,
            "--width": self.width,
            "--layers": self.layers,
            "--longest": self.longest,
            "--batch": self.batch,
            "--learning-rate": self.learning_rate,
            "--dropout": self.dropout,
            "--precision": self.precision,
            "--seed": self.seed,
        }.items():
            said += [option, f"{value}"]
        said.append("--augment" if self.augment else "--no-augment")
        return shlex.join(["sciqueue", "train", "property", self.data, "-o", name, *said])
