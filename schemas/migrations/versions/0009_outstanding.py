"""The work that is left, in seconds of a device; and what tells crashes and rates without reading all batches"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Of running jobs. What an outcome takes is what workers have measured last; else what the batches show that were done
# last, of this job or, if it has none, of the newest other one with the model. There a batch took from when it began,
# or when the one before it ended on the same worker; the first tells nothing, since a load may have come before it.
VIEW = """
    CREATE VIEW analysis.outstanding AS
    WITH running AS MATERIALIZED (
        SELECT j.task, m.name AS model, c.loaded * j.samples - t.done AS rows, coalesce((
            SELECT k.row_seconds FROM sciqueue.costs k
            WHERE k.model_id = j.model_id AND k.row_seconds IS NOT NULL ORDER BY k.updated_at DESC LIMIT 1
        ), (
            SELECT s.seconds FROM (
                SELECT id, samples FROM sciqueue.jobs
                WHERE model_id = j.model_id ORDER BY id = j.id DESC, id DESC LIMIT 16
            ) o
            CROSS JOIN LATERAL (
                SELECT (extract(epoch FROM sum(b.finished_at - greatest(b.started_at, b.before)))
                        / (sum(b.rows) * o.samples))::float8 AS seconds
                FROM (
                    SELECT rows, started_at, finished_at,
                           lag(finished_at) OVER (PARTITION BY lease_id ORDER BY finished_at) AS before
                    FROM (
                        SELECT rows, lease_id, started_at, finished_at FROM sciqueue.batches
                        WHERE job_id = o.id AND state = 'done' ORDER BY finished_at DESC LIMIT 256
                    ) latest
                ) b WHERE b.before IS NOT NULL
            ) s
            WHERE s.seconds IS NOT NULL ORDER BY o.id = j.id DESC, o.id DESC LIMIT 1
        )) AS seconds
        FROM sciqueue.jobs j
        JOIN sciqueue.models m ON m.id = j.model_id
        JOIN sciqueue.corpora c ON c.id = j.corpus_id
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(succeeded + failed - retrying), 0) AS done FROM sciqueue.tallies WHERE job_id = j.id
        ) t
        WHERE j.state = 'running'
    )
    SELECT task, 'sciqueue.' || task AS queue, model, sum(rows)::int8 AS rows,
           CASE WHEN bool_and(seconds IS NOT NULL) THEN sum(rows * seconds) END AS device_seconds
    FROM running GROUP BY task, model
"""


def upgrade() -> None:
    op.add_column("costs", sa.Column("row_seconds", sa.Double(), nullable=True), schema="sciqueue")
    op.create_index(
        "batches_done",
        "batches",
        ["job_id", "finished_at"],
        schema="sciqueue",
        postgresql_where=sa.text("state = 'done'"),
    )
    op.create_index(
        "batches_crashed", "batches", ["job_id"], schema="sciqueue", postgresql_where=sa.text("crashes > 0")
    )
    op.execute(VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW analysis.outstanding")
    op.drop_index("batches_crashed", table_name="batches", schema="sciqueue")
    op.drop_index("batches_done", table_name="batches", schema="sciqueue")
    op.drop_column("costs", "row_seconds", schema="sciqueue")
