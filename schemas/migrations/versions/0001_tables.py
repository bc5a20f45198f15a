"""The ledger's tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "corpora",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("loaded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        schema="sciqueue",
    )
    op.create_table(
        "generations",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("sample", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("smiles", sa.Text(), nullable=True),
        sa.Column("valid", sa.Boolean(), nullable=True),
        sa.Column("nll", sa.REAL(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("canonical", sa.Text(), nullable=True),
        sa.Column("inchikey", sa.Text(), nullable=True),
        sa.Column("qed", sa.REAL(), nullable=True),
        sa.Column("sa", sa.REAL(), nullable=True),
        sa.Column("logp", sa.REAL(), nullable=True),
        sa.Column("mw", sa.REAL(), nullable=True),
        sa.Column("tpsa", sa.REAL(), nullable=True),
        sa.Column("scaffold", sa.Text(), nullable=True),
        sa.Column("alerts", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "row", "sample"),
        schema="sciqueue",
    )
    op.create_index(
        "generations_failures",
        "generations",
        ["job_id", "row"],
        unique=False,
        schema="sciqueue",
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.create_table(
        "items",
        sa.Column("corpus_id", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=True),
        sa.Column("smiles", sa.Text(), nullable=True),
        sa.Column("paper", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("columns", postgresql.JSON(astext_type=sa.Text()), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("corpus_id", "row"),
        schema="sciqueue",
    )
    op.create_table(
        "leadership",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role"),
        schema="sciqueue",
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("versions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_for", sa.Text(), nullable=True),
        sa.CheckConstraint("closed_for IN ('lapsed', 'stopped')", name="leases_closed_for_check"),
        sa.PrimaryKeyConstraint("id"),
        schema="sciqueue",
    )
    op.create_index(
        "leases_live", "leases", ["id"], unique=False, schema="sciqueue", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_table(
        "models",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("entry", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("endpoints", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "revision"),
        schema="sciqueue",
    )
    op.create_table(
        "predictions",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("standardized", sa.Text(), nullable=True),
        sa.Column("inchikey", sa.Text(), nullable=True),
        sa.Column("values", sa.ARRAY(sa.REAL()), nullable=True),
        sa.Column("spread", sa.ARRAY(sa.REAL()), nullable=True),
        sa.Column("percentile", sa.ARRAY(sa.REAL()), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "row"),
        schema="sciqueue",
    )
    op.create_index(
        "predictions_failures",
        "predictions",
        ["job_id", "row"],
        unique=False,
        schema="sciqueue",
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.create_table(
        "summaries",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("sentences", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("coverage", sa.REAL(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "row"),
        schema="sciqueue",
    )
    op.create_index(
        "summaries_failures",
        "summaries",
        ["job_id", "row"],
        unique=False,
        schema="sciqueue",
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("corpus_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("samples", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("served", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("batch_rows", sa.Integer(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("cut_row", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('running', 'paused', 'done', 'cancelled')", name="jobs_state_check"),
        sa.ForeignKeyConstraint(["corpus_id"], ["sciqueue.corpora.id"], name=op.f("jobs_corpus_id_fkey")),
        sa.ForeignKeyConstraint(["model_id"], ["sciqueue.models.id"], name=op.f("jobs_model_id_fkey")),
        sa.PrimaryKeyConstraint("id"),
        schema="sciqueue",
    )
    op.create_index(op.f("jobs_corpus_id"), "jobs", ["corpus_id"], unique=False, schema="sciqueue")
    op.create_index(
        "jobs_live",
        "jobs",
        ["task"],
        unique=False,
        schema="sciqueue",
        postgresql_where=sa.text("state IN ('running', 'paused')"),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("first_row", sa.BigInteger(), nullable=False),
        sa.Column("end_row", sa.BigInteger(), nullable=False),
        sa.Column("only_rows", sa.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("fence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_id", sa.BigInteger(), nullable=True),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("retry", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'queued', 'running', 'done', 'failed', 'cancelled', 'split')",
            name="batches_state_check",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["sciqueue.jobs.id"], name=op.f("batches_job_id_fkey")),
        sa.ForeignKeyConstraint(["lease_id"], ["sciqueue.leases.id"], name=op.f("batches_lease_id_fkey")),
        sa.PrimaryKeyConstraint("id"),
        schema="sciqueue",
    )
    op.create_index(op.f("batches_job_id"), "batches", ["job_id"], unique=False, schema="sciqueue")
    op.create_index(
        "batches_pending",
        "batches",
        ["job_id", "id"],
        unique=False,
        schema="sciqueue",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "batches_queued",
        "batches",
        ["dispatched_at"],
        unique=False,
        schema="sciqueue",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "batches_running",
        "batches",
        ["lease_id"],
        unique=False,
        schema="sciqueue",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "tallies",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("succeeded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("retrying", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["sciqueue.jobs.id"], name=op.f("tallies_job_id_fkey")),
        sa.PrimaryKeyConstraint("job_id", "shard"),
        schema="sciqueue",
    )


def downgrade() -> None:
    op.drop_table("tallies", schema="sciqueue")
    op.drop_index(
        "batches_running", table_name="batches", schema="sciqueue", postgresql_where=sa.text("state = 'running'")
    )
    op.drop_index(
        "batches_queued", table_name="batches", schema="sciqueue", postgresql_where=sa.text("state = 'queued'")
    )
    op.drop_index(
        "batches_pending", table_name="batches", schema="sciqueue", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_index(op.f("batches_job_id"), table_name="batches", schema="sciqueue")
    op.drop_table("batches", schema="sciqueue")
    op.drop_index(
        "jobs_live", table_name="jobs", schema="sciqueue", postgresql_where=sa.text("state IN ('running', 'paused')")
    )
    op.drop_index(op.f("jobs_corpus_id"), table_name="jobs", schema="sciqueue")
    op.drop_table("jobs", schema="sciqueue")
    op.drop_index(
        "summaries_failures",
        table_name="summaries",
        schema="sciqueue",
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.drop_table("summaries", schema="sciqueue")
    op.drop_index(
        "predictions_failures",
        table_name="predictions",
        schema="sciqueue",
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.drop_table("predictions", schema="sciqueue")
    op.drop_table("models", schema="sciqueue")
    op.drop_index("leases_live", table_name="leases", schema="sciqueue", postgresql_where=sa.text("closed_at IS NULL"))
    op.drop_table("leases", schema="sciqueue")
    op.drop_table("leadership", schema="sciqueue")
    op.drop_table("items", schema="sciqueue")
    op.drop_index(
        "generations_failures",
        table_name="generations",
        schema="sciqueue",
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.drop_table("generations", schema="sciqueue")
    op.drop_table("corpora", schema="sciqueue")
