"""What operations took, added up so that percentiles over millions of them are read at once."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE cost_cells (
        start INTEGER NOT NULL,
        span INTEGER NOT NULL,
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        cause TEXT NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (start, span, task, ref, cause)
)""",
    """CREATE TABLE cost_progress (
        source TEXT NOT NULL,
        seq INTEGER NOT NULL,
        content TEXT NOT NULL,
        PRIMARY KEY (source)
)""",
)


def upgrade() -> None:
    """Add the tables; what is on record is added up by the gateway."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
