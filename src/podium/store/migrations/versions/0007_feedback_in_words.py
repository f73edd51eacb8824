"""Feedback without a score, with labels and corrections; what is known of tasks."""

from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "DROP INDEX ix_feedback_request_id",
    "ALTER TABLE feedback RENAME TO feedback_before",
    """CREATE TABLE feedback (
        decision_id TEXT NOT NULL,
        source TEXT NOT NULL,
        request_id TEXT NOT NULL,
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        score FLOAT,
        at FLOAT NOT NULL,
        comment TEXT,
        label TEXT,
        correction_hash TEXT,
        correction_chars INTEGER,
        PRIMARY KEY (decision_id, source)
)""",
    """INSERT INTO feedback (decision_id, source, request_id, task, ref, score, at, comment)
        SELECT decision_id, source, request_id, task, ref, score, at, comment FROM feedback_before""",
    "DROP TABLE feedback_before",
    "CREATE INDEX ix_feedback_request_id ON feedback (request_id)",
    """CREATE TABLE knowledge (
        task TEXT NOT NULL,
        content TEXT NOT NULL,
        PRIMARY KEY (task)
)""",
)


def upgrade() -> None:
    """Make room for both; a score is no longer needed, which SQLite can only say in a new table."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
