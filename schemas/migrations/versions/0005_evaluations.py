"""How well models did, judged by the outcomes of jobs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The newest evaluation of a model is what its quality is read from.
VIEW = """
    CREATE VIEW analysis.evaluations AS
    SELECT e.id AS evaluation, e.job_id, e.corpus, o.task, o.name AS model, o.revision, e.created_at,
           m.system, m.endpoint, m.name AS metric, m.value, m.low, m.high, m.n, m."of", m.better, m.note
    FROM sciqueue.evaluations e JOIN sciqueue.models o ON o.id = e.model_id
    CROSS JOIN LATERAL jsonb_to_recordset(e.report->'metrics') AS m (
        system text, endpoint text, name text, value float8, low float8, high float8, n int8, "of" text, better text,
        note text)
"""


def upgrade() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("corpus", sa.Text(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=False),
        sa.Column("versions", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["sciqueue.jobs.id"], name="evaluations_job_id_fkey", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["model_id"], ["sciqueue.models.id"], name="evaluations_model_id_fkey"),
        sa.PrimaryKeyConstraint("id"),
        schema="sciqueue",
    )
    op.create_index("evaluations_job_id", "evaluations", ["job_id"], schema="sciqueue")
    op.create_index("evaluations_model_id", "evaluations", ["model_id"], schema="sciqueue")
    op.execute(VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW analysis.evaluations")
    op.drop_table("evaluations", schema="sciqueue")
