"""How far a paper supports its summary"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As it is in 0002. What is new comes last, so that the view is replaced in place: analysts' own may stand on it.
VIEW = """
    VIEW analysis.summaries AS
        SELECT o.job_id, o.row, i.custom_id, i.paper->>'title' AS title, i.paper->'identifiers'->>'doi' AS doi,
               i.paper->'identifiers'->>'pmid' AS pmid, i.paper->'identifiers'->>'pmcid' AS pmcid,
               o.text AS summary, o.sentences, o.coverage, o.tokens{added}
        FROM sciqueue.summaries o
        JOIN sciqueue.jobs j ON j.id = o.job_id
        JOIN sciqueue.items i ON i.corpus_id = j.corpus_id AND i.row = o.row
        WHERE o.error_code IS NULL
"""


def upgrade() -> None:
    op.add_column("summaries", sa.Column("support", sa.REAL(), nullable=True), schema="sciqueue")
    op.execute("CREATE OR REPLACE" + VIEW.format(added=", o.support"))


def downgrade() -> None:
    op.execute("DROP VIEW analysis.summaries")
    op.execute("CREATE" + VIEW.format(added=""))
    op.drop_column("summaries", "support", schema="sciqueue")
