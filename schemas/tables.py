"""The tables, all in PostgreSQL schema `sciqueue`; analysts use the views of schema `analysis` instead.

Bulk tables (`items` and the outcome tables) carry no foreign keys: a check a row would cost more than the
row, and the ledger is their only writer.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

SCHEMA = "sciqueue"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={"ix": "%(table_name)s_%(column_0_N_name)s", "fk": "%(table_name)s_%(column_0_name)s_fkey"},
)


def _identity() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _created() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


corpora = Table(
    "corpora",
    metadata,
    _identity(),
    Column("name", Text, nullable=False, unique=True),
    Column("content", Text, nullable=False),  # schemas.items.ContentKind
    Column("source", Text, nullable=False),
    Column("loaded", BigInteger, nullable=False, server_default=text("0")),  # rows so far: the next row's number
    Column("rejected", BigInteger, nullable=False, server_default=text("0")),
    Column("digest", LargeBinary, nullable=False),  # rolling hash of the rows so far, to recognize the source again
    Column("sealed_at", DateTime(timezone=True)),
    _created(),
)

items = Table(
    "items",
    metadata,
    Column("corpus_id", BigInteger, primary_key=True),
    Column("row", BigInteger, primary_key=True),
    Column("custom_id", Text),
    Column("smiles", Text),  # molecules as the user wrote them, and prompts
    Column("paper", JSONB),  # schemas.items.Paper
    Column("columns", JSON),  # the source's other columns, given back by exports; json keeps their order
    Column("size", Integer, nullable=False),  # characters: the estimate that batches are cut by
    Column("error_code", Text),  # set: the row was rejected while loading
    Column("error", Text),
)

models = Table(
    "models",
    metadata,
    _identity(),
    Column("name", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("entry", JSONB, nullable=False),  # schemas.registry.ModelEntry, as it was when the job was submitted
    Column("endpoints", ARRAY(Text), nullable=False),
    Column("need", BigInteger),  # bytes that a worker must have for it; null: not known yet
    _created(),
    UniqueConstraint("name", "revision"),
)

costs = Table(
    "costs",
    metadata,
    Column("model_id", BigInteger, ForeignKey(models.c.id), primary_key=True),
    Column("device", Text, primary_key=True),  # a type of device, such as a GPU's name, not one of them
    Column("learnt", JSONB, nullable=False),  # workers.cost.CostModel.state
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("row_seconds", Double),  # seconds of the device that an outcome took; null before any was measured
)

jobs = Table(
    "jobs",
    metadata,
    _identity(),
    Column("corpus_id", BigInteger, ForeignKey(corpora.c.id), nullable=False),
    Column("model_id", BigInteger, ForeignKey(models.c.id), nullable=False),
    Column("task", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("samples", Integer, nullable=False, server_default=text("1")),  # outcomes a row
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("weight", Double, nullable=False),  # share among jobs: low 1, normal 4, high 16
    Column("batch_rows", Integer, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("cut_row", BigInteger, nullable=False, server_default=text("0")),  # rows below are in batches
    Column("step", BigInteger),  # of a training run: how far it is, of how many; null for other tasks
    Column("steps", BigInteger),
    Column("reason", Text),  # why it is paused, when it was not the user
    _created(),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('running', 'paused', 'done', 'cancelled')", name="jobs_state_check"),
    Index(None, "corpus_id"),
    Index("jobs_live", "task", postgresql_where=text("state IN ('running', 'paused')")),
)

evaluations = Table(
    "evaluations",
    metadata,
    _identity(),
    Column("job_id", BigInteger, ForeignKey(jobs.c.id, ondelete="SET NULL")),  # null: the job was deleted since
    Column("model_id", BigInteger, ForeignKey(models.c.id), nullable=False),
    Column("corpus", Text, nullable=False),  # its name
    Column("report", JSONB, nullable=False),  # producer.evaluation.metric.Report
    Column("versions", JSONB, nullable=False),  # software that judged
    _created(),
    Index(None, "job_id"),
    Index(None, "model_id"),
)

tallies = Table(
    "tallies",
    metadata,
    Column("job_id", BigInteger, ForeignKey(jobs.c.id), primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("succeeded", BigInteger, nullable=False, server_default=text("0")),
    Column("failed", BigInteger, nullable=False, server_default=text("0")),
    Column("retrying", BigInteger, nullable=False, server_default=text("0")),  # failures that are computed again
)

leases = Table(
    "leases",
    metadata,
    _identity(),
    Column("worker", Text, nullable=False),  # device@host, as Flower shows it
    Column("device", Text, nullable=False),
    Column("pid", Integer, nullable=False),  # with the worker's name: lets a supervisor report this one's death
    Column("queues", ARRAY(Text), nullable=False),  # what it takes, its size apart: schemas.items.sized
    Column("memory", BigInteger),  # bytes that it has for models; null: it needs none
    Column("slots", Integer, nullable=False),
    Column("versions", JSONB, nullable=False),  # software, for provenance
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Column("closed_for", Text),
    CheckConstraint("closed_for IN ('lapsed', 'stopped')", name="leases_closed_for_check"),
    Index("leases_live", "id", postgresql_where=text("closed_at IS NULL")),
)

# Which workers there should be, and how far they are; a row is its supervisor's for as long as that one lives.
workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),  # device@host, as in leases
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),  # of its supervisor
    Column("device", Text, nullable=False),  # cpu or cuda
    Column("place", Integer, nullable=False),  # among those of its host
    Column("wanted", Boolean, nullable=False, server_default=text("true")),
    Column("state", Text, nullable=False, server_default=text("'down'")),
    Column("reason", Text),  # set: why its supervisor has given it up
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("state IN ('up', 'draining', 'down')", name="workers_state_check"),
)

batches = Table(
    "batches",
    metadata,
    _identity(),
    Column("job_id", BigInteger, ForeignKey(jobs.c.id), nullable=False),
    Column("first_row", BigInteger, nullable=False),
    Column("end_row", BigInteger, nullable=False),  # exclusive
    Column("only_rows", ARRAY(BigInteger)),  # set: only these of the range, for a retry
    Column("rows", Integer, nullable=False),
    Column("cost", Double, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("crashes", Integer, nullable=False, server_default=text("0")),
    Column("lease_id", BigInteger, ForeignKey(leases.c.id)),
    Column("parent_id", BigInteger),
    Column("retry", Boolean, nullable=False, server_default=text("false")),
    Column("queue", Text),  # that its last message was sent to
    Column("dispatched_at", DateTime(timezone=True)),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint(
        "state IN ('pending', 'queued', 'running', 'done', 'failed', 'cancelled', 'split')", name="batches_state_check"
    ),
    Index("batches_pending", "job_id", "id", postgresql_where=text("state = 'pending'")),
    Index("batches_queued", "dispatched_at", postgresql_where=text("state = 'queued'")),
    Index("batches_running", "lease_id", postgresql_where=text("state = 'running'")),
    Index("batches_done", "job_id", "finished_at", postgresql_where=text("state = 'done'")),
    Index("batches_crashed", "job_id", postgresql_where=text("crashes > 0")),
    Index(None, "job_id"),
)

leadership = Table(
    "leadership",
    metadata,
    Column("role", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)


def _outcome_table(name: str, *columns: Column[object], samples: bool = False) -> Table:
    """A task's outcomes: results and failures under one key, so that exactly one exists for each row."""
    return Table(
        name,
        metadata,
        Column("job_id", BigInteger, primary_key=True),
        Column("row", BigInteger, primary_key=True),
        *([Column("sample", Integer, primary_key=True)] if samples else []),
        Column("batch_id", BigInteger, nullable=False),
        *columns,
        Column("error_code", Text),  # schemas.errors.RowError; null for a result
        Column("error", Text),
        Index(f"{name}_failures", "job_id", "row", postgresql_where=text("error_code IS NOT NULL")),
    )


summaries = _outcome_table(
    "summaries",
    Column("text", Text),
    Column("sentences", JSONB),
    Column("coverage", REAL),
    Column("tokens", Integer),
    Column("support", REAL),
)

predictions = _outcome_table(
    "predictions",
    Column("standardized", Text),
    Column("inchikey", Text),
    Column("values", ARRAY(REAL)),
    Column("spread", ARRAY(REAL)),
    Column("percentile", ARRAY(REAL)),
)

generations = _outcome_table(
    "generations",
    Column("smiles", Text),
    Column("valid", Boolean),
    Column("nll", REAL),
    Column("tokens", Integer),
    Column("seed", BigInteger),
    Column("canonical", Text),
    Column("inchikey", Text),
    Column("qed", REAL),
    Column("sa", REAL),
    Column("logp", REAL),
    Column("mw", REAL),
    Column("tpsa", REAL),
    Column("scaffold", Text),
    Column("alerts", ARRAY(Text)),
    samples=True,
)

trainings = _outcome_table(
    "trainings",
    Column("model", Text),  # its name in the registry of the worker's machine
    Column("revision", Text),
    Column("folder", Text),
    Column("card", JSONB),
)
