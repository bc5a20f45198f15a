"""A rival in a process of the rivals' environment: it loads once, then works for each line, and answers in JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).parents[2]
RIVALS = Path(sys.prefix) / "rivals" / "bin" / "python"
"""The environment with an older Celery, Ray and CTranslate2, made by `make bench`."""


@contextmanager
def line_rival(module: str, *arguments: object, **environment: str) -> Iterator[Callable[[], Any]]:
    """Start a module of `tests.benchmarks`; yields a function that has it do its work once and returns its answer."""
    process = subprocess.Popen(
        [RIVALS, "-m", f"tests.benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    asked, answered = process.stdin, process.stdout

    def run() -> Any:
        asked.write("go\n")
        asked.flush()
        return json.loads(answered.readline())

    try:
        yield run
    finally:
        asked.close()
        process.wait(60)


def answers() -> TextIO:
    """Where a rival answers. Libraries that write to the standard output are turned to standard error."""
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return kept


def serve(work: Callable[[], Any], to: TextIO) -> None:
    """Do the work for each line that comes in."""
    for _ in sys.stdin:
        to.write(json.dumps(work()) + "\n")
        to.flush()
