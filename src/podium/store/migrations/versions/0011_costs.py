"""To whom attempts are charged; operations without a decision; sums by the hour; price tables."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE charges (
        decision_id TEXT NOT NULL,
        charged_to TEXT NOT NULL,
        PRIMARY KEY (decision_id)
)""",
    "CREATE INDEX ix_charges_charged_to ON charges (charged_to)",
    """CREATE TABLE operations (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        at FLOAT NOT NULL,
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        request_id TEXT,
        success BOOLEAN NOT NULL,
        cost BLOB NOT NULL,
        cause TEXT NOT NULL,
        charged_to TEXT,
        UNIQUE (id)
)""",
    "CREATE INDEX ix_operations_charged_to ON operations (charged_to)",
    "CREATE INDEX ix_operations_request_id ON operations (request_id)",
    "CREATE INDEX ix_operations_at ON operations (at)",
    """CREATE TABLE spending (
        hour INTEGER NOT NULL,
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        cause TEXT NOT NULL,
        operations INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        wall_ms FLOAT NOT NULL,
        cpu_ms FLOAT NOT NULL,
        cpu_samples INTEGER NOT NULL,
        gpu_ms FLOAT NOT NULL,
        gpu_samples INTEGER NOT NULL,
        energy_mwh FLOAT NOT NULL,
        energy_samples INTEGER NOT NULL,
        energy_estimated INTEGER NOT NULL,
        memory_mb_ms FLOAT NOT NULL,
        memory_wall_ms FLOAT NOT NULL,
        peak_memory_mb FLOAT,
        input_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        token_samples INTEGER NOT NULL,
        tokens_estimated INTEGER NOT NULL,
        price_microusd INTEGER NOT NULL,
        price_samples INTEGER NOT NULL,
        PRIMARY KEY (hour, task, ref, cause)
)""",
    """CREATE TABLE price_tables (
        version TEXT NOT NULL,
        content TEXT NOT NULL,
        first_used_at FLOAT NOT NULL,
        PRIMARY KEY (version)
)""",
)


def upgrade() -> None:
    """Add the tables."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
