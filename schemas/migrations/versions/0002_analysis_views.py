"""The analysts' views and their read-only role.

Views run with their owner's rights, so a reader needs no access to the ledger's own schema.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ITEM = "i.custom_id, i.paper->>'title' AS title, i.paper->'identifiers'->>'doi' AS doi"
_JOIN = """
    JOIN sciqueue.jobs j ON j.id = o.job_id
    JOIN sciqueue.items i ON i.corpus_id = j.corpus_id AND i.row = o.row
"""

VIEWS = {
    "summaries": f"""
        SELECT o.job_id, o.row, {_ITEM}, i.paper->'identifiers'->>'pmid' AS pmid,
               i.paper->'identifiers'->>'pmcid' AS pmcid, o.text AS summary, o.sentences, o.coverage, o.tokens
        FROM sciqueue.summaries o {_JOIN} WHERE o.error_code IS NULL
    """,
    "predictions": f"""
        SELECT o.job_id, o.row, i.custom_id, i.smiles, o.standardized, o.inchikey, e.endpoint,
               m.entry->'endpoints'->(e.place::int - 1)->>'kind' AS kind,
               m.entry->'endpoints'->(e.place::int - 1)->>'units' AS units, e.value, e.spread, e.percentile
        FROM sciqueue.predictions o {_JOIN}
        JOIN sciqueue.models m ON m.id = j.model_id
        CROSS JOIN LATERAL unnest(m.endpoints, o."values", o.spread, o.percentile)
            WITH ORDINALITY AS e (endpoint, value, spread, percentile, place)
        WHERE o.error_code IS NULL
    """,
    "generations": f"""
        SELECT o.job_id, o.row, o.sample, i.custom_id, i.smiles AS prompt, o.smiles, o.valid, o.canonical, o.inchikey,
               o.nll, o.tokens, o.qed, o.sa, o.logp, o.mw, o.tpsa, o.scaffold, o.alerts, o.seed
        FROM sciqueue.generations o {_JOIN} WHERE o.error_code IS NULL
    """,
    "failures": " UNION ALL ".join(
        f"SELECT o.job_id, o.row, {'o.sample' if table == 'generations' else '0 AS sample'}, j.task, i.custom_id, "
        f"i.smiles, o.error_code, o.error FROM sciqueue.{table} o {_JOIN} WHERE o.error_code IS NOT NULL"
        for table in ("summaries", "predictions", "generations")
    ),
    "provenance": " UNION ALL ".join(
        f"SELECT o.job_id, o.row, {'o.sample' if table == 'generations' else '0 AS sample'}, m.name AS model, "
        "m.revision, j.parameters, m.entry->>'precision' AS precision, l.worker, l.device, l.versions, "
        "o.batch_id, b.started_at, b.finished_at "
        f"FROM sciqueue.{table} o {_JOIN} JOIN sciqueue.models m ON m.id = j.model_id "
        "JOIN sciqueue.batches b ON b.id = o.batch_id LEFT JOIN sciqueue.leases l ON l.id = b.lease_id"
        for table in ("summaries", "predictions", "generations")
    ),
    "jobs": """
        SELECT j.id AS job_id, c.name AS corpus, j.task, m.name AS model, m.revision, j.parameters, j.state,
               c.loaded * j.samples AS total, t.succeeded, t.failed, j.created_at, j.finished_at
        FROM sciqueue.jobs j JOIN sciqueue.corpora c ON c.id = j.corpus_id JOIN sciqueue.models m ON m.id = j.model_id
        CROSS JOIN LATERAL (SELECT coalesce(sum(succeeded), 0)::int8 AS succeeded, coalesce(sum(failed), 0)::int8
                            AS failed FROM sciqueue.tallies WHERE job_id = j.id) t
    """,
}

# A lab's own server may not let us create roles; the views work without one.
ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sciqueue_reader') THEN
        CREATE ROLE sciqueue_reader NOLOGIN;
    END IF;
    GRANT USAGE ON SCHEMA analysis TO sciqueue_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA analysis TO sciqueue_reader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA analysis GRANT SELECT ON TABLES TO sciqueue_reader;
EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
    RAISE NOTICE 'role sciqueue_reader was not made: %', SQLERRM;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS analysis")
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW analysis.{name} AS {query}")
    op.execute(ROLE)


def downgrade() -> None:
    op.execute("DROP SCHEMA analysis CASCADE")
