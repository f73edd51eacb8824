"""What the requests of each key cost."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE key_costs (
        hour INTEGER NOT NULL,
        "key" TEXT NOT NULL,
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
        PRIMARY KEY (hour, "key")
)""",
)


def upgrade() -> None:
    """Add the table."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
