"""Benchmark runs and graded answers."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE benchmark_runs (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        suite TEXT NOT NULL,
        digest TEXT NOT NULL,
        task TEXT NOT NULL,
        items INTEGER NOT NULL,
        refs TEXT NOT NULL,
        state TEXT NOT NULL,
        started_at FLOAT NOT NULL,
        finished_at FLOAT,
        problems TEXT NOT NULL,
        UNIQUE (id)
)""",
    """CREATE TABLE benchmark_items (
        digest TEXT NOT NULL,
        item TEXT NOT NULL,
        ref TEXT NOT NULL,
        suite TEXT NOT NULL,
        task TEXT NOT NULL,
        score FLOAT NOT NULL,
        why TEXT NOT NULL,
        latency_ms FLOAT NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        answer_hash TEXT NOT NULL,
        answer TEXT,
        at FLOAT NOT NULL,
        PRIMARY KEY (digest, item, ref)
)""",
    "CREATE INDEX ix_benchmark_items_suite ON benchmark_items (suite, task)",
)


def upgrade() -> None:
    """Add the tables."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
