"""Standing orders about versions: pins, preloading, keep-alive, numbers of copies."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENT = """CREATE TABLE directives (
        ref TEXT NOT NULL,
        pinned BOOLEAN NOT NULL,
        preload BOOLEAN NOT NULL,
        keep_alive_s FLOAT,
        min_copies INTEGER NOT NULL,
        max_copies INTEGER NOT NULL,
        PRIMARY KEY (ref),
        FOREIGN KEY(ref) REFERENCES versions (ref)
)"""


def upgrade() -> None:
    """Add the table."""
    op.get_bind().exec_driver_sql(STATEMENT)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
