"""What micro-batches cost, learnt by the workers"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "costs",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("learnt", postgresql.JSONB(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["sciqueue.models.id"], name="costs_model_id_fkey"),
        sa.PrimaryKeyConstraint("model_id", "device"),
        schema="sciqueue",
    )


def downgrade() -> None:
    op.drop_table("costs", schema="sciqueue")
