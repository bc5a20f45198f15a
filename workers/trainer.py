"""Runs a training job: the call that it names, in a process bound to this worker's life."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import IO

from schemas.database import Database
from schemas.errors import RowError, ServerUnavailable
from schemas.ledger import trainings
from schemas.ledger.claims import ClaimedBatch
from schemas.outcomes import Failed, Trained
from schemas.registry import load_registry
from schemas.revision import revision_of

log = logging.getLogger(__name__)

POLL = 1.0  # seconds between looks at the run and its job
_STEP = re.compile(r"step ([\d,]+)/([\d,]+) ")  # as `workers.training.progress` tells it


class _Run:
    """A run's process, and what it has said."""

    def __init__(self, call: list[str], directory: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.training.process", str(os.getpid()), *call],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.step: tuple[int, int] | tuple[None, None] = (None, None)
        self.last = ""
        assert self.process.stdout is not None  # noqa: S101 - a pipe was asked for
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, said: IO[str]) -> None:
        for line in said:
            if text := line.strip():
                log.info("training: %s", text)
                self.last = text
            if found := _STEP.match(line):
                self.step = (int(found[1].replace(",", "")), int(found[2].replace(",", "")))

    def has_ended(self) -> bool:
        """Whether it has, after at most `POLL` seconds."""
        try:
            self.process.wait(POLL)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join()
        return True

    def end(self, seconds: float) -> None:
        """Ask it to end, and after so many seconds make it."""
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Trainer:
    """Carries out training jobs, one at a time."""

    def __init__(self, database: Database, device: str, patience: float) -> None:
        self._database = database
        self._device = "0" if device == "cuda" else "cpu"  # the first of those that the run sees, which is ours alone
        self._patience = patience
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Have the run end, to be gone on with elsewhere."""
        self._stopping.set()

    def run(self, batch: ClaimedBatch) -> Trained | Failed | None:
        """Train until the end; None if the run was ended before, since it was no longer wanted here."""
        row = batch.items[0].row
        call = [*shlex.split(batch.parameters["call"])[2:], "--device", self._device]
        try:
            run = _Run(call, batch.parameters["directory"])
            try:
                while not run.has_ended():
                    if self._stopping.is_set() or not self._wanted(batch, run):
                        return None
            finally:
                if run.process.poll() is None:
                    run.end(self._patience)
            self._wanted(batch, run)
            if run.process.returncode == 0:
                return _trained(row, Path(batch.parameters["folder"]))
        except Exception as fault:  # whatever it is, the run would meet it again
            log.exception("the training of job %d failed", batch.job)
            return Failed(row, RowError.TRAINING, f"{type(fault).__name__}: {fault}")
        if self._stopping.is_set():
            return None
        code = run.process.returncode
        how = f"ended by signal {-code}" if code < 0 else f"exit status {code}"
        return Failed(row, RowError.TRAINING, f"{run.last.removeprefix('sciqueue: ')} ({how})")

    def _wanted(self, batch: ClaimedBatch, run: _Run) -> bool:
        try:
            return trainings.report(self._database, batch, *run.step)
        except ServerUnavailable:
            return True  # the run needs no database


def _trained(row: int, folder: Path) -> Trained:
    (name,) = tomllib.loads((folder / "models.toml").read_text("utf-8"))
    revision = revision_of(load_registry(folder / "models.toml").get(name))
    return Trained(row, name, revision, str(folder), json.loads((folder / "card.json").read_text("utf-8")))
