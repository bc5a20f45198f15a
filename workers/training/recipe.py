"""What a training run is made of: its settings, as the card and the run's folder keep them."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from schemas.errors import UsageError

HEAD = 64  # width of an attention head


@dataclass(frozen=True, slots=True)
class Recipe:
    """A generator's. Molecules where nothing else is said; `limit` None means all rows of `data`."""

    data: str
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
        said = [word for name, value in options.items() if value is not None for word in (name, f"{value}")]
        return shlex.join(["sciqueue", "train", "generator", self.data, "-o", name, *said])

    def save(self, folder: Path) -> None:
        """Keep the settings in the run's folder, or compare them with those that the run began with.

        Only `epochs` may be another: the schedule then ends sooner or later.

        Raises:
            UsageError: the folder holds a run with other settings.
        """
        file = folder / "recipe.json"
        if file.exists():
            begun = json.loads(file.read_text("utf-8"))
            other = {
                name: (begun.get(name), value)
                for name, value in asdict(self).items()
                if name != "epochs" and begun.get(name) != value
            }
            if other:
                differences = ", ".join(f"{name} {old} (now {new})" for name, (old, new) in other.items())
                raise UsageError(f"{folder} holds a run with {differences}; go on with those, or name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
