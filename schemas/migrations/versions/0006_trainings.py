"""Training runs as jobs: how far they are, and the models that they made"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

VIEW = """
    CREATE VIEW analysis.trainings AS
    SELECT j.id AS job_id, i.custom_id AS model, o.revision, o.folder, j.step, j.steps, j.state, j.parameters,
           o.card, o.error_code, o.error
    FROM sciqueue.jobs j
    JOIN sciqueue.items i ON i.corpus_id = j.corpus_id
    LEFT JOIN sciqueue.trainings o ON o.job_id = j.id AND o.row = i.row
    WHERE j.task = 'train'
"""


def upgrade() -> None:
    op.create_table(
        "trainings",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("card", postgresql.JSONB(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "row"),
        schema="sciqueue",
    )
    op.create_index(
        "trainings_failures",
        "trainings",
        ["job_id", "row"],
        schema="sciqueue",
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    for name in ("step", "steps"):
        op.add_column("jobs", sa.Column(name, sa.BigInteger(), nullable=True), schema="sciqueue")
    op.execute(VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW analysis.trainings")
    for name in ("step", "steps"):
        op.drop_column("jobs", name, schema="sciqueue")
    op.drop_table("trainings", schema="sciqueue")
