"""What models need and workers have, and which queue a message went to; the fair share's times are the dispatcher's"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("need", sa.BigInteger(), nullable=True), schema="sciqueue")
    op.add_column("leases", sa.Column("memory", sa.BigInteger(), nullable=True), schema="sciqueue")
    op.add_column("batches", sa.Column("queue", sa.Text(), nullable=True), schema="sciqueue")
    op.drop_column("jobs", "served", schema="sciqueue")
    # What was on its way to the queues of before is sent again.
    op.execute("UPDATE sciqueue.batches SET state = 'pending', fence = fence + 1 WHERE state = 'queued'")


def downgrade() -> None:
    op.add_column(
        "jobs", sa.Column("served", sa.Double(), server_default=sa.text("0"), nullable=False), schema="sciqueue"
    )
    op.drop_column("batches", "queue", schema="sciqueue")
    op.drop_column("leases", "memory", schema="sciqueue")
    op.drop_column("models", "need", schema="sciqueue")
