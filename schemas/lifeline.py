"""Processes that must not outlive the one that looks after them, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with(parent: int | None, how: signal.Signals = signal.SIGTERM) -> None:
    """Have this process sent a signal when its parent dies. Does nothing without a parent, or off Linux.

    To Linux the parent is the thread that started this process: that one must live as long as the parent is to.
    """
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(0)
