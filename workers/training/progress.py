"""How a training run tells what it does: a line every few seconds, and the time that all sittings together took."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

_LINE_EVERY = 10.0  # seconds; on a terminal a line that is written over, every second
_WIDTH = 110


def tell(line: str, *, passing: bool = False) -> None:
    """Write a line; one that is only `passing` is written over by the next where there is a terminal."""
    terminal = sys.stdout.isatty()
    print(f"{line:<{_WIDTH}}" if terminal else line, end="\r" if terminal and passing else "\n", flush=True)


class Stopwatch(TrainerCallback, ExportableState):
    """Wall and processor seconds of the training loop, kept in its checkpoints. Pauses count as wall time alone."""

    def __init__(self, wall: float = 0.0, cpu: float = 0.0) -> None:
        self.wall, self.cpu = wall, cpu
        self._began = (time.monotonic(), time.process_time())

    def _now(self) -> tuple[float, float]:
        return time.monotonic(), time.process_time()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start."""
        self._began = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count."""
        now = self._now()
        self.wall += now[0] - self._began[0]
        self.cpu += now[1] - self._began[1]
        self._began = now

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {"wall": self.wall, "cpu": self.cpu}, "attributes": {}}


class ProgressLine(TrainerCallback):
    """Step, loss, learning rate, rows a second and time left, from one line to the next."""

    def __init__(self, batch: int, rows: str) -> None:
        self._batch, self._rows = batch, rows
        self._last: tuple[int, float] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin counting."""
        self._last = (state.global_step, time.monotonic())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Write the line if it is time."""
        now = time.monotonic()
        if self._last is None or logs is None or "loss" not in logs:
            return
        steps, seconds = state.global_step - self._last[0], now - self._last[1]
        if seconds < (1.0 if sys.stdout.isatty() else _LINE_EVERY):
            return
        self._last = (state.global_step, now)
        left = timedelta(seconds=round((state.max_steps - state.global_step) * seconds / steps))
        tell(
            f"step {state.global_step:,}/{state.max_steps:,}  loss {logs['loss']:.4f}"
            f"  learning rate {logs['learning_rate']:.1e}"
            f"  {steps * self._batch / seconds:,.1f} {self._rows}/s  {left} left",
            passing=True,
        )
