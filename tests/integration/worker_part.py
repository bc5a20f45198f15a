"""A worker's part in tests of the producer: a lab's models, made-up outcomes, and the ledger's steps to record them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from producer.client import Client
from schemas.database import Database
from schemas.errors import RowError
from schemas.items import Item, Molecule, Rejected, Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.claims import ClaimedBatch
from schemas.ledger.dispatches import Lane
from schemas.ledger.leases import WorkerInfo
from schemas.message import BatchMessage
from schemas.outcomes import Failed, Generation, Outcome, Prediction, Summary, SummarySentence
from schemas.settings import Settings

MODELS = """
[two]
task = "predict"
engine = "fake"
default = true
endpoints = [{ name = "logS", kind = "regression" }, { name = "zeta", kind = "probability" }]
parameters = { threshold = 0.5, note = "" }
limits = { batch_rows = 4, batch_size = 100000, token_budget = 1000, max_rows = 100, max_tokens = 100 }

[other]
task = "predict"
engine = "fake"
endpoints = [{ name = "logS", kind = "regression" }]
limits = { batch_rows = 4, batch_size = 100000, token_budget = 1000, max_rows = 100, max_tokens = 100 }
"""

TABLE = "zeta,smiles,id,row,a\nz0,C,m0,first,1\nz1,CC,m1,second,2\nz2,,m2,third,3\nz3,CCCC,m3,fourth,4\n"

Answer = Callable[[Item, int], Outcome]


@contextmanager
def lab(database_url: str, folder: Path) -> Iterator[Client]:
    """A client with the models above; `folder` gets them, and a table of molecules, `some mols.csv`."""
    models = folder / "models.toml"
    models.write_text(MODELS)
    (folder / "some mols.csv").write_text(TABLE)
    with Client(database_url, Settings(home=folder, models_file=models)) as client:
        yield client


def send(database: Database, task: Task, most: int = 1000) -> list[BatchMessage]:
    """Cut the task's jobs into batches and hand out at most that many, as the dispatcher does."""
    cuts.cut(database, 1000)
    with database.transaction() as connection:
        waiting = [found.batch for found in dispatches.waiting(connection, Lane(task, None), most)][:most]
    return [sent.message for sent in dispatches.dispatch(database, waiting, task.queue)]


def predict(item: Item, sample: int) -> Outcome:
    if isinstance(item.content, Rejected):
        return Failed(item.row, item.content.code, item.content.message)
    assert isinstance(item.content, Molecule)
    if item.content.smiles == "CCCC":
        return Failed(item.row, RowError.TOO_LONG, "too long")
    size = float(len(item.content.smiles))
    return Prediction(item.row, item.content.smiles, "KEY", [size, 0.1], [0.25, None], [50.0, None])


def generate(item: Item, sample: int) -> Outcome:
    if sample == 1:
        return Failed(item.row, RowError.TIMEOUT, "slow", sample)
    return Generation(item.row, sample, "C(", False, 1.5, 3, 7 + sample, alerts=("pains",))


def summarize(item: Item, sample: int) -> Outcome:
    return Summary(item.row, "Short.", (SummarySentence("Short.", 0, 1, 0.5),), 1.0, 2, support=0.25)


def work(database: Database, task: Task, answer: Answer, *, batches: int = 100) -> None:
    """Do what the dispatcher and a worker do, for at most that many batches."""
    lease = leases.take(database, WorkerInfo("cpu0@test", "cpu", 1, [task.queue], 8, {}), 60.0)
    for message in send(database, task, batches):
        batch = claims.claim(database, message, lease)
        assert isinstance(batch, ClaimedBatch)
        claims.complete(database, batch, [answer(item, s) for item in batch.items for s in range(batch.samples)])
    jobs.finish(database)


def predict_one(item: Item, sample: int) -> Outcome:
    if isinstance(item.content, Rejected):
        return Failed(item.row, item.content.code, item.content.message)
    return Prediction(item.row, "s", "k", [1.0], [0.5], [None])
