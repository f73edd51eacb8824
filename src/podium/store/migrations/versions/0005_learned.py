"""What learners keep between runs, whole, by name."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENT = """CREATE TABLE learned (
        name TEXT NOT NULL,
        content BLOB NOT NULL,
        saved_at FLOAT NOT NULL,
        PRIMARY KEY (name)
)"""


def upgrade() -> None:
    """Add the table."""
    op.get_bind().exec_driver_sql(STATEMENT)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
