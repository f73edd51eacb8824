"""Judgments, what waits to be judged, calibrations; executions that are tracked; alerts."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE judgments (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        decision_id TEXT NOT NULL,
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        criterion TEXT NOT NULL,
        judge TEXT NOT NULL,
        raw FLOAT,
        score FLOAT,
        sd FLOAT,
        calibrated BOOLEAN NOT NULL,
        method TEXT NOT NULL,
        reason TEXT NOT NULL,
        invalid TEXT,
        reply TEXT,
        features TEXT NOT NULL,
        latency_ms FLOAT,
        input_tokens INTEGER,
        output_tokens INTEGER,
        at FLOAT NOT NULL,
        probability FLOAT NOT NULL,
        signal TEXT,
        used BOOLEAN NOT NULL,
        UNIQUE (decision_id, criterion, judge),
        UNIQUE (id)
)""",
    "CREATE INDEX ix_judgments_at ON judgments (at)",
    "CREATE INDEX ix_judgments_task ON judgments (task, ref)",
    """CREATE TABLE judge_queue (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        decision_id TEXT NOT NULL,
        task TEXT NOT NULL,
        content TEXT NOT NULL,
        created_at FLOAT NOT NULL,
        UNIQUE (decision_id)
)""",
    """CREATE TABLE calibrations (
        judge TEXT NOT NULL,
        criterion TEXT NOT NULL,
        content TEXT NOT NULL,
        at FLOAT NOT NULL,
        PRIMARY KEY (judge, criterion)
)""",
    """CREATE TABLE executions (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        agent TEXT,
        started_at FLOAT NOT NULL,
        finished_at FLOAT,
        success BOOLEAN,
        quality FLOAT,
        ref TEXT,
        decision_id TEXT,
        request_id TEXT,
        metadata TEXT NOT NULL,
        UNIQUE (id)
)""",
    "CREATE INDEX ix_executions_agent ON executions (agent)",
    "CREATE INDEX ix_executions_type ON executions (type, started_at)",
    """CREATE TABLE alerts (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        task TEXT NOT NULL,
        ref TEXT,
        kind TEXT NOT NULL,
        opened_at FLOAT NOT NULL,
        closed_at FLOAT,
        content TEXT NOT NULL,
        UNIQUE (id)
)""",
    "CREATE INDEX ix_alerts_task ON alerts (task)",
)


def upgrade() -> None:
    """Add the tables."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
