"""The best step of a run by a score on the validation part, kept in its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback

from workers.training.progress import tell

_FILE = "best.safetensors"


class Best(TrainerCallback):
    """Judges the model every so many steps and at the end; `weights` are those with the highest score so far.

    They travel in the checkpoints, so a run that goes on knows them.
    """

    def __init__(self, judge: Callable[[Any], float], every: int, checkpoints: Path, begun: Path | None) -> None:
        self._judge = judge
        self._every = every
        self._checkpoints = checkpoints
        self.weights: dict[str, Tensor] = {}
        self.step, self.score = 0, float("-inf")
        if begun is not None:
            with safe_open(begun / _FILE, "pt") as kept:
                self.weights = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 - no mapping
                about = kept.metadata()
            self.step, self.score = int(about["step"]), float(about["score"])

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Judge if it is time."""
        if state.global_step % self._every and state.global_step < state.max_steps:
            return
        score = self._judge(model)
        better = score > self.score or not self.weights
        if better:
            self.step, self.score = state.global_step, score
            self.weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        tell(f"step {state.global_step:,}: validation {score:.4f}{', the best so far' if better else ''}")

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Keep the best; before the first judging, what there is."""
        weights = self.weights or {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        about = {"step": str(self.step), "score": repr(self.score)}
        save_file(weights, self._checkpoints / f"checkpoint-{state.global_step}" / _FILE, metadata=about)
