"""Until when a deprecated version is kept warm for a rollback."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE retention (
        ref TEXT NOT NULL,
        keep_until FLOAT NOT NULL,
        PRIMARY KEY (ref),
        FOREIGN KEY(ref) REFERENCES versions (ref)
)""",
)


def upgrade() -> None:
    """Add the table."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
