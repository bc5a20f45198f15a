"""Checkpoints that a kill at any instant leaves usable: one counts only once it is marked as whole."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

KEPT = 2  # the one before stays until the next one is whole
_WHOLE = "whole"  # an empty file, written last


def last_whole(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`; what a kill has left half-written is removed."""
    while found := folder.is_dir() and get_last_checkpoint(str(folder)):  # type: ignore[no-untyped-call]
        if (Path(found) / _WHOLE).exists():
            return Path(found)
        shutil.rmtree(found)
    return None


class Checkpoints(TrainerCallback):
    """Asks for a checkpoint every so often, by the clock, and at the end; marks it, and tells `saved` of it.

    SIGTERM asks for one, too, and ends the process with it.
    """

    def __init__(self, folder: Path, seconds: float, saved: Callable[[Path], None]) -> None:
        self._folder = folder
        self._seconds = seconds
        self._saved = saved
        self._last = time.monotonic()
        self._stopping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """From now on there is something to save when the process is to end."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """No more."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_signal(self, *_: Any) -> None:
        self._stopping = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Whether it is time."""
        if self._stopping or time.monotonic() - self._last >= self._seconds or state.global_step >= state.max_steps:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All of it has been written."""
        checkpoint = self._folder / f"checkpoint-{state.global_step}"
        (checkpoint / _WHOLE).touch()
        if self._stopping:  # what is made of a checkpoint may take longer than we are given
            sys.exit(128 + signal.SIGTERM)
        self._saved(checkpoint)
        self._last = time.monotonic()
