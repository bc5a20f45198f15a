"""The settings of a property model's training run, as the card and the run's folder keep them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.training.recipe import call


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
    seed: int  # of the first member
    members: int  # of the ensemble, of seeds that follow each other; 1: a single model

    @property
    def seeds(self) -> range:
        """Each member's."""
        return range(self.seed, self.seed + self.members)

    def command(self, name: str) -> str:
        """The call that makes the same model, in a folder of its name."""
        unlabelled = {
            "--pretrain": self.pretrain,
            "--pretrain-limit": self.pretrain_limit,
            "--pretrain-epochs": self.pretrain_epochs,
            "--pretrain-batch": self.pretrain_batch,
            "--pretrain-learning-rate": self.pretrain_learning_rate,
            "--contrast": self.contrast or None,
            "--temperature": self.temperature if self.contrast else None,
        }
        options = {
            "--smiles": self.smiles,
            "--task": self.tasks,
            **(unlabelled if self.pretrain is not None else {}),
            "--epochs": self.epochs,
            "--width": self.width,
            "--layers": self.layers,
            "--longest": self.longest,
            "--batch": self.batch,
            "--learning-rate": self.learning_rate,
            "--dropout": self.dropout,
            "--precision": self.precision,
            "--seed": self.seed,
            "--members": self.members,
            "--augment" if self.augment else "--no-augment": True,
        }
        return call("property", self.data, name, options)
