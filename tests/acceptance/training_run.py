"""A training run in a process of its own, which tests may kill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.lab import SCIQUEUE


def started(call: Sequence[str], home: Path) -> subprocess.Popen[str]:
    """`sciqueue train …` with what follows, under a home folder of the test's own."""
    return subprocess.Popen(
        [*SCIQUEUE, "train", *call],
        env={**os.environ, "SCIQUEUE_HOME": str(home)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(run: subprocess.Popen[str]) -> str:
    """What a run has said, which must have come to its end."""
    out, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    return out


def whole(folder: Path) -> set[int]:
    """The steps of the whole checkpoints in a run's folder."""
    return {int(mark.parent.name.removeprefix("checkpoint-")) for mark in folder.glob("checkpoints/*/whole")}
