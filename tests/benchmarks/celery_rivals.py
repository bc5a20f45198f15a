"""What a lab writes with Celery alone: a task a molecule, the result in Celery's backend.

Workers are started by `celery_worker`. RIVAL_BROKER and RIVAL_CHECKPOINT tell them where broker and model are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

from celery import Celery
from celery.result import ResultSet

from schemas.endpoints import find_servers
from tests.acceptance.lab import Lab
from tests.benchmarks.line_rival import ROOT

_BROKER = os.environ.get("RIVAL_BROKER", "memory://")
app = Celery("rivals", broker=_BROKER, backend=_BROKER)
app.conf.worker_prefetch_multiplier = 128
app.conf.broker_connection_retry_on_startup = True


@cache
def model() -> Any:
    """The checkpoint's probabilities of some SMILES, loaded with the first: a function of list to list."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(2)
    folder = os.environ["RIVAL_CHECKPOINT"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def probabilities(smiles: Sequence[str]) -> list[list[float]]:
        inputs = tokenizer(list(smiles), padding=True, return_tensors="pt")
        with torch.inference_mode():
            found: list[list[float]] = (
                network(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
                .logits.sigmoid()
                .tolist()
            )
        return found

    return probabilities


@app.task(name="classify")
def classify(smiles: str) -> list[float]:
    """One molecule."""
    found: list[float] = model()([smiles])[0]
    return found


@app.task(name="checksum")
def checksum(smiles: str) -> int:
    """No work at all."""
    return crc32(smiles.encode())


@contextmanager
def celery_worker(
    site: Lab, module: str, pool: str, *, python: Path = Path(sys.executable), checkpoint: Path = Path()
) -> Iterator[Celery]:
    """A worker with one process over a lab's broker, in another database there; yields what sends to it."""
    broker = find_servers(site.settings).broker_url.rsplit("/", 1)[0] + "/5"
    environment = os.environ | {
        "RIVAL_BROKER": broker,
        "RIVAL_CHECKPOINT": str(checkpoint),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "2",
    }
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR")
    command = [python, "-m", "celery", "-A", f"tests.benchmarks.{module}", "worker", "-P", pool, "-c", "1", *quiet]
    worker = subprocess.Popen([*map(str, command), "-Q", module], cwd=ROOT, env=environment)
    try:
        sender = Celery(broker=broker, backend=broker)
        sender.conf.task_default_queue = module
        yield sender
    finally:
        worker.terminate()
        worker.wait(60)


def ask_all(sender: Celery, task: str, rows: Sequence[Any]) -> list[Any]:
    """Send a task for each row and wait for all results, in order."""
    found: list[Any] = ResultSet([sender.send_task(task, [row]) for row in rows], app=sender).join_native(timeout=600)
    return found
