"""A training run in a process of its own: `python -m workers.training.process WORKER generator DATA …`.

It ends with the worker that started it, and its folder then holds the last whole checkpoint.
"""

from __future__ import annotations

import signal
import sys

from schemas.command import main
from schemas.lifeline import end_with

if __name__ == "__main__":
    end_with(int(sys.argv[1]), signal.SIGKILL)
    sys.argv = ["sciqueue", "train", *sys.argv[2:]]
    main()
