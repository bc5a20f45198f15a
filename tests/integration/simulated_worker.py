"""A worker without Celery: it dispatches, claims and completes a job's batches through the ledger, in this process."""

from __future__ import annotations

from collections.abc import Callable

from schemas.database import Database
from schemas.errors import RowError
from schemas.items import Item, Paper, Rejected, Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.dispatches import Lane
from schemas.ledger.leases import WorkerInfo
from schemas.outcomes import Failed, Generation, Outcome, Prediction, Summary, SummarySentence

Answer = Callable[[Item, int], Outcome]


def work_off(database: Database, task: Task, answer: Answer, *, batches: int | None = None) -> int:
    """Do all waiting batches of a task, or so many; end the jobs that are complete. Returns how many were done."""
    info = WorkerInfo(
        worker="cpu@test", device="cpu", pid=1, queues=[task.queue], slots=4, versions={"sciqueue": "test"}
    )
    lease = leases.take(database, info, 60.0)
    done = 0
    while batches is None or done < batches:
        cuts.cut(database, 8)
        with database.transaction() as connection:
            waiting = dispatches.waiting(connection, Lane(task, None), 1)
        if not waiting:
            break
        for handed in dispatches.dispatch(database, [waiting[0].batch], task.queue):
            batch = claims.claim(database, handed.message, lease)
            assert batch is not None
            outcomes = [answer(item, sample) for item in batch.items for sample in range(batch.samples)]
            claims.complete(database, batch, outcomes)
            done += 1
    jobs.finish(database)
    leases.close(database, lease)
    return done


def answer(item: Item, sample: int = 0) -> Outcome:
    """An outcome by the item's text alone: what was rejected stays so, and what contains `bad` fails."""
    content = item.content
    if isinstance(content, Rejected):
        return Failed(item.row, content.code, content.message, sample)
    if isinstance(content, Paper):
        sentence = SummarySentence(text=f"About {content.title}.", section=0, sentence=0, score=0.5)
        return Summary(item.row, sentence.text, (sentence,), coverage=0.1, tokens=7)
    if "bad" in content.smiles:
        return Failed(item.row, RowError.INVALID_SMILES, f"'{content.smiles}' is no molecule", sample)
    return Prediction(item.row, content.smiles, "KEY", values=[0.1], spread=[None], percentile=[50.0])


def generation(item: Item, sample: int) -> Outcome:
    """A generated molecule that names its row and sample."""
    smiles = "C" * (item.row + 1) + "O" * sample
    return Generation(
        item.row, sample, smiles, valid=True, nll=0.1, tokens=3, seed=2**40 + sample, qed=0.7, alerts=("a,b", 'c"d')
    )
